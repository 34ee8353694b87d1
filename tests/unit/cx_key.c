/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keys: bytes and sizes, alignment, ownership, hash and equality functions. Tables and caches share the code, so most
 * laws are tried on both. */
#include <sys/mman.h>
#include <unistd.h>

#include "unit/cached.h"

static hapax_table *table_of(hapax_env *env, const hapax_key_ops *keys)
{
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	hapax_table *table;

	if (keys)
		o.keys = *keys;
	CHECK_EQ(hapax_table_create(&table, &o), HAPAX_OK);
	return table;
}

static hapax_cache *cache_of(hapax_env *env, struct source *s, const hapax_key_ops *keys)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = s};
	hapax_cache *cache;

	if (keys)
		o.keys = *keys;
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	s->env = env;
	s->cache = cache;
	return cache;
}

TEST(CX_KEY_01_empty_keys_are_legal_and_NULL_with_a_size_is_not)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_table *table = table_of(env, NULL);
	hapax_cache *cache = cache_of(env, &s, NULL);
	struct item *it = item_new(env, 1);
	hapax_key null = HAPAX_BYTES(NULL, 0), empty = HAPAX_BYTES("x", 0), bad = HAPAX_BYTES(NULL, 1);
	void *out = (void *)1, *out2;
	bool inserted = true;

	CHECK_EQ(hapax_table_put(table, null, it), HAPAX_OK);
	CHECK_PTR(table_peek(table, empty), it);
	CHECK_EQ(hapax_table_size(table), 1);
	CHECK_EQ(hapax_table_put(table, empty, it), HAPAX_OK);
	CHECK_EQ(hapax_table_size(table), 1);
	CHECK_EQ(hapax_table_remove(table, null), HAPAX_OK);
	CHECK_EQ(hapax_table_remove(table, empty), HAPAX_MISS);
	CHECK_EQ(hapax_cache_get(cache, empty, &out), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, null, &out2), HAPAX_OK);
	CHECK_PTR(out, out2);
	CHECK_EQ(loads_of(&s), 1);
	hapax_release(out);
	hapax_release(out2);

	CHECK_EQ(hapax_table_put(table, bad, it), HAPAX_EKEY);
	CHECK_EQ(hapax_table_get(table, bad, &out), HAPAX_EKEY);
	CHECK(!out);
	out = (void *)1;
	CHECK_EQ(hapax_table_get_or_put(table, bad, it, &out, &inserted), HAPAX_EKEY);
	CHECK(!out);
	CHECK_EQ(hapax_table_remove(table, bad), HAPAX_EKEY);
	CHECK_EQ(hapax_table_remove_if(table, bad, it), HAPAX_EKEY);
	CHECK_EQ(hapax_table_pop(table, bad, &out), HAPAX_EKEY);
	CHECK_EQ(hapax_table_contains(table, bad), HAPAX_EKEY);
	CHECK_EQ(hapax_cache_get(cache, bad, &out), HAPAX_EKEY);
	CHECK_EQ(hapax_cache_get_with(cache, bad, NULL, &out), HAPAX_EKEY);
	CHECK_EQ(hapax_cache_get_if_present(cache, bad, &out), HAPAX_EKEY);
	CHECK_EQ(hapax_cache_get_quietly(cache, bad, &out), HAPAX_EKEY);
	CHECK_EQ(hapax_cache_put(cache, bad, it), HAPAX_EKEY);
	CHECK_EQ(hapax_cache_remove(cache, bad), HAPAX_EKEY);
	CHECK_EQ(hapax_cache_contains(cache, bad), HAPAX_EKEY);
	CHECK_EQ(loads_of(&s), 1);
	CHECK_EQ(hapax_count(it), 1);
	hapax_release(it);
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CX_KEY_02_keys_are_bytes_and_length)
{
	static const struct {
		const char *data;
		size_t size;
	} keys[] = {{"a", 1}, {"a\0", 2}, {"a\0\0", 3}, {"\0", 1}, {"\0\0", 2}, {"", 0}, {"\xff", 1}, {"\xff\xff", 2},
		    {"\0a", 2}, {"a\0b", 3}, {"a\0c", 3}, {"\0\0\0\0\0\0\0\0", 8}, {"\0\0\0\0\0\0\0\0\0", 9},
		    {"abcdefgh", 8}, {"abcdefgh\0", 9}, {"abcdefg", 7}, {"abcdefg\0", 8},
		    {"\xff\xff\xff\xff\xff\xff\xff\xff", 8}, {"\1\0\0\0\0\0\0\0", 8}};
	enum { N = sizeof(keys) / sizeof(*keys) };
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_table *table = table_of(env, NULL);
	hapax_cache *cache = cache_of(env, &s, NULL);
	struct item *it[N];
	void *loaded[N];

	for (int i = 0; i < N; i++) {
		it[i] = item_new(env, i);
		CHECK_EQ(hapax_table_put(table, HAPAX_BYTES(keys[i].data, keys[i].size), it[i]), HAPAX_OK);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_BYTES(keys[i].data, keys[i].size), &loaded[i]), HAPAX_OK);
		CHECK_EQ(((struct item *)loaded[i])->id, i + 1);
	}
	CHECK_EQ(hapax_table_size(table), N);
	CHECK_EQ(hapax_cache_size(cache), N);
	for (int i = 0; i < N; i++) {
		void *out;

		CHECK_PTR(table_peek(table, HAPAX_BYTES(keys[i].data, keys[i].size)), it[i]);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_BYTES(keys[i].data, keys[i].size), &out), HAPAX_OK);
		CHECK_PTR(out, loaded[i]);
		hapax_release(out);
	}
	CHECK_EQ(loads_of(&s), N);
	for (int i = 0; i < N; i++) {
		hapax_release(it[i]);
		hapax_release(loaded[i]);
		CHECK(!table_peek(table, HAPAX_BYTES(keys[i].data, keys[i].size)));
		CHECK_EQ(hapax_table_size(table), N - 1 - i);
	}
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CX_KEY_03_long_keys_up_to_the_limit)
{
	static const size_t sizes[] = {1, 7, 8, 9, 15, 16, 31, 255, 256, 511, 512, 4095, 65535, 65536, 1000003,
				       HAPAX_KEY_MAX - 1, HAPAX_KEY_MAX};
	enum { N = sizeof(sizes) / sizeof(*sizes) };
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_table *table = table_of(env, NULL);
	hapax_cache *cache = cache_of(env, &s, NULL);
	char *bytes = malloc(HAPAX_KEY_MAX);
	struct item *it[N];
	void *out, *loaded[N];

	CHECK(bytes);
	memset(bytes, 'k', HAPAX_KEY_MAX);
	for (int i = 0; i < N; i++) {
		it[i] = item_new(env, i);
		CHECK_EQ(hapax_table_put(table, HAPAX_BYTES(bytes, sizes[i]), it[i]), HAPAX_OK);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_BYTES(bytes, sizes[i]), &loaded[i]), HAPAX_OK);
	}
	for (int i = 0; i < N; i++) {
		CHECK_PTR(table_peek(table, HAPAX_BYTES(bytes, sizes[i])), it[i]);
		CHECK_EQ(hapax_cache_get_if_present(cache, HAPAX_BYTES(bytes, sizes[i]), &out), HAPAX_OK);
		CHECK_PTR(out, loaded[i]);
		hapax_release(out);
		/* the last byte counts */
		bytes[sizes[i] - 1] = 'x';
		CHECK(!table_peek(table, HAPAX_BYTES(bytes, sizes[i])));
		bytes[sizes[i] - 1] = 'k';
	}
	for (int i = 0; i < N; i++) {
		hapax_release(it[i]);
		hapax_release(loaded[i]);
	}
	free(bytes);
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CX_KEY_03_longer_keys_are_refused)
{
	static const size_t sizes[] = {HAPAX_KEY_MAX + 1, (size_t)INT32_MAX, (size_t)1 << 31, UINT32_MAX,
#if SIZE_MAX > UINT32_MAX
				       (size_t)1 << 32, ((size_t)1 << 32) + 1,
#endif
				       SIZE_MAX};
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_table *table = table_of(env, NULL);
	hapax_cache *cache = cache_of(env, &s, NULL);
	struct item *it = item_new(env, 1);
	size_t mapped = sizeof(size_t) > 4 ? ((size_t)1 << 32) + 4096 : (size_t)1 << 26;
	void *lazy = mmap(NULL, mapped, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *out;
	bool inserted;

	if (lazy == MAP_FAILED)
		TEST_SKIP("no 4 GiB of address space");
	CHECK_EQ(hapax_table_put(table, HAPAX_BYTES(lazy, 1), it), HAPAX_OK); /* what truncation would find */
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		hapax_key key = HAPAX_BYTES(lazy, sizes[i]);

		CHECK_EQ(hapax_table_put(table, key, it), HAPAX_EKEYSIZE);
		CHECK_EQ(hapax_table_get(table, key, &out), HAPAX_EKEYSIZE);
		CHECK_EQ(hapax_table_contains(table, key), HAPAX_EKEYSIZE);
		CHECK_EQ(hapax_table_remove(table, key), HAPAX_EKEYSIZE);
		CHECK_EQ(hapax_table_get_or_put(table, key, it, &out, &inserted), HAPAX_EKEYSIZE);
		CHECK_EQ(hapax_cache_get(cache, key, &out), HAPAX_EKEYSIZE);
		CHECK(!out);
		CHECK_EQ(hapax_cache_put(cache, key, it), HAPAX_EKEYSIZE);
	}
	CHECK_EQ(loads_of(&s), 0);
	CHECK_EQ(hapax_table_size(table), 1);
	munmap(lazy, mapped);
	hapax_release(it);
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CX_KEY_04_keys_at_any_address_and_before_a_guard_page)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_table *table = table_of(env, NULL);
	hapax_cache *cache = cache_of(env, &s, NULL);
	long page = sysconf(_SC_PAGESIZE);
	char *map = mmap(NULL, 2 * (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_Alignas(64) char buffer[128], bytes[64];
	uint64_t r = test_stream(4);

	CHECK(map != MAP_FAILED);
	CHECK_EQ(mprotect(map + page, (size_t)page, PROT_NONE), 0);
	for (int i = 0; i < 64; i++)
		bytes[i] = (char)test_random(&r);
	for (size_t size = 0; size <= 64; size++) {
		struct item *it = item_new(env, (int)size);
		char *end = map + page - size;
		void *loaded;

		memcpy(buffer, bytes, size);
		CHECK_EQ(hapax_table_put(table, HAPAX_BYTES(buffer, size), it), HAPAX_OK);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_BYTES(buffer, size), &loaded), HAPAX_OK);
		for (size_t offset = 0; offset < 16; offset++) {
			memset(buffer, 0x55, sizeof(buffer));
			memcpy(buffer + offset, bytes, size);
			CHECK_PTR(table_peek(table, HAPAX_BYTES(buffer + offset, size)), it);
			void *out;
			CHECK_EQ(hapax_cache_get(cache, HAPAX_BYTES(buffer + offset, size), &out), HAPAX_OK);
			CHECK_PTR(out, loaded);
			hapax_release(out);
		}
		memcpy(end, bytes, size); /* nothing readable behind it */
		CHECK_PTR(table_peek(table, HAPAX_BYTES(end, size)), it);
		CHECK_EQ(hapax_table_remove(table, HAPAX_BYTES(end, size)), HAPAX_OK);
		CHECK_EQ(hapax_table_put(table, HAPAX_BYTES(end, size), it), HAPAX_OK);
		hapax_release(it);
		hapax_release(loaded);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_BYTES(end, size), &loaded), HAPAX_OK);
		hapax_release(loaded);
	}
	munmap(map, 2 * (size_t)page);
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CX_KEY_05_SD_31_copied_keys_may_go_at_once)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_table *table = table_of(env, NULL);
	hapax_cache *cache = cache_of(env, &s, NULL);
	struct item *it[50];
	void *loaded[50];
	char name[32];

	for (int i = 0; i < 50; i++) {
		char *key = malloc(32);

		CHECK(key);
		it[i] = item_new(env, i);
		int n = snprintf(key, 32, "key number %d", i);
		CHECK_EQ(hapax_table_put(table, HAPAX_STR(key), it[i]), HAPAX_OK);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR(key), &loaded[i]), HAPAX_OK);
		memset(key, 'z', (size_t)n);
		CHECK(!table_peek(table, HAPAX_STR(key)));
		free(key);
	}
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "key number %d", i);
		CHECK_PTR(table_peek(table, HAPAX_STR(name)), it[i]);
		CHECK_PTR(present(cache, name), loaded[i]);
		hapax_release(it[i]);
		hapax_release(loaded[i]);
	}
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

/* borrowed keys: struct owned { text, releases } */
struct owned {
	char text[16];
	int releases;
};
static void owned_release(const hapax_key *key, void *ctx)
{
	struct owned *k = (struct owned *)(uintptr_t)key->data; /* text comes first */

	__atomic_fetch_add(&k->releases, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add((int *)ctx, 1, __ATOMIC_RELAXED);
}

TEST(CX_KEY_05_borrowed_keys_are_released_once_each)
{
	enum { N = 200 };
	int total = 0;
	hapax_key_ops ops = {.borrow = true, .release = owned_release, .ctx = &total};
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_table *table = table_of(env, &ops);
	hapax_cache *cache = cache_of(env, &s, &ops);
	struct owned *keys = calloc(3 * N, sizeof(*keys));
	struct item *it[N];
	void *loaded[N], *out;
	int stored = 0;

	CHECK(keys);
	for (int i = 0; i < 3 * N; i++)
		snprintf(keys[i].text, sizeof(keys[i].text), "b%d", i);
	for (int i = 0; i < N; i++) {
		it[i] = item_new(env, i);
		CHECK_EQ(hapax_table_put(table, HAPAX_STR(keys[i].text), it[i]), HAPAX_OK);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR(keys[N + i].text), &loaded[i]), HAPAX_OK);
		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR(keys[2 * N + i].text), it[i]), HAPAX_OK);
		stored += 3;
	}
	hapax_testing_drain(env);
	CHECK_EQ(total, 0);
	/* lookups do not store */
	for (int i = 0; i < N; i++) {
		struct owned k = keys[i];

		CHECK_PTR(table_peek(table, HAPAX_STR(k.text)), it[i]);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR(keys[N + i].text), &out), HAPAX_OK);
		hapax_release(out);
	}
	hapax_testing_drain(env);
	CHECK_EQ(total, 0);
	/* half removed, half die */
	for (int i = 0; i < N; i++) {
		if (i % 2) {
			CHECK_EQ(hapax_table_remove(table, HAPAX_STR(keys[i].text)), HAPAX_OK);
			CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR(keys[N + i].text)), HAPAX_OK);
			CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR(keys[2 * N + i].text)), HAPAX_OK);
		}
		hapax_release(loaded[i]);
		hapax_release(it[i]);
	}
	CHECK_EQ(hapax_table_size(table), 0);
	CHECK_EQ(hapax_cache_size(cache), 0);
	table_end(table, 0);
	cache_end(cache, 0);
	hapax_testing_drain(env);
	CHECK_EQ(total, stored);
	for (int i = 0; i < 3 * N; i++)
		CHECK_EQ(keys[i].releases, 1);
	test_env_end(env);
	free(keys);
}

TEST(CX_KEY_05_a_borrowed_key_of_a_live_object_goes_with_the_object_or_the_table)
{
	int total = 0;
	hapax_key_ops ops = {.borrow = true, .release = owned_release, .ctx = &total};
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_table *table = table_of(env, &ops);
	hapax_cache *cache = cache_of(env, &s, &ops);
	struct owned a = {.text = "a"}, b = {.text = "b"};
	struct item *it = item_new(env, 1);
	void *loaded;

	CHECK_EQ(hapax_table_put(table, HAPAX_STR(a.text), it), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR(b.text), &loaded), HAPAX_OK);
	hapax_table_destroy(table);
	hapax_cache_destroy(cache);
	hapax_release(it);
	hapax_release(loaded);
	hapax_testing_drain(env);
	CHECK_EQ(a.releases, 1);
	CHECK_EQ(b.releases, 1);
	test_env_end(env);
}

static int hash_constant(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	*hash = *(uint64_t *)ctx;
	return 0;
}

TEST(CX_KEY_08_a_constant_hash_is_correct)
{
	uint64_t value = 7;
	hapax_key_ops ops = {.hash = hash_constant, .ctx = &value};
	hapax_env *env = test_env();
	hapax_table *table = table_of(env, &ops);
	int n = getenv("HAPAX_TEST_SCALE") ? 10000 : test_slow_build() ? 1000 : 4000, seen = 0; /* quadratic */
	struct item **it = calloc((size_t)n, sizeof(*it));
	hapax_iter *iter;
	void *out;

	CHECK(it);
	for (int i = 0; i < n; i++) {
		it[i] = item_new(env, i);
		CHECK_EQ(hapax_table_put(table, HAPAX_KEY_OF(i), it[i]), HAPAX_OK);
	}
	table_check(table, (size_t)n);
	for (int i = 0; i < n; i += 7)
		CHECK_PTR(table_peek(table, HAPAX_KEY_OF(i)), it[i]);
	CHECK_EQ(hapax_table_iterate(table, &iter), HAPAX_OK);
	while (hapax_iter_next(iter, NULL, &out) == HAPAX_OK)
		seen++;
	hapax_iter_close(iter);
	CHECK_EQ(seen, n);
	/* one dies, one is removed, one is replaced: the chain stays whole */
	for (int i = 0; i < n; i += 100) {
		struct item *other = item_new(env, -i);
		int next = i + 1, third = i + 2, rest = i + 3;

		hapax_release(it[i]);
		it[i] = NULL;
		CHECK(!table_peek(table, HAPAX_KEY_OF(i)));
		CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(next)), HAPAX_OK);
		CHECK_EQ(hapax_table_put(table, HAPAX_KEY_OF(third), other), HAPAX_OK);
		CHECK_PTR(table_peek(table, HAPAX_KEY_OF(third)), other);
		CHECK_PTR(table_peek(table, HAPAX_KEY_OF(rest)), it[rest]);
		hapax_release(other);
		CHECK(!table_peek(table, HAPAX_KEY_OF(third)));
	}
	table_check(table, (size_t)(n - 3 * ((n + 99) / 100)));
	hapax_table_clear(table);
	CHECK_EQ(hapax_table_size(table), 0);
	for (int i = 0; i < n; i++)
		hapax_release(it[i]);
	free(it);
	table_end(table, 0);
	test_env_end(env);
}

static struct gate equal_gate = GATE_INIT;
static bool equal_slow(const hapax_key *a, const hapax_key *b, void *ctx)
{
	(void)ctx;
	if (a->size == 4 && !memcmp(a->data, "slow", 4) && !test_event_is_set(&equal_gate.go)) {
		test_event_set(&equal_gate.entered);
		test_event_wait(&equal_gate.go);
	}
	return a->size == b->size && !memcmp(a->data, b->data, a->size);
}

static int hash_slow(const hapax_key *key, uint64_t *hash, void *ctx)
{
	*hash = key->size * 31 + *(const unsigned char *)key->data;
	return equal_slow(key, key, ctx) ? 0 : 1;
}

TEST(CX_KEY_10_a_blocking_hash_or_equality_blocks_nobody_else)
{
	for (int hash = 0; hash < 2; hash++) {
		hapax_key_ops ops = {.hash = hash ? hash_slow : NULL, .equal = hash ? NULL : equal_slow};
		hapax_env *env = test_env();
		struct source s = {0};
		hapax_cache *cache = cache_of(env, &s, &ops);
		struct item *other, *slow;
		struct asker a;

		test_event_init(&equal_gate.entered);
		test_event_init(&equal_gate.go);
		test_event_set(&equal_gate.go);
		other = got(cache, "other");
		slow = got(cache, "slow");
		test_event_init(&equal_gate.entered);
		test_event_init(&equal_gate.go);
		ask(&a, cache, "slow", NULL);
		test_event_wait(&equal_gate.entered);
		for (int i = 0; i < 1000; i++) {
			hapax_release(got(cache, "other"));
			CHECK_PTR(present(cache, "other"), other);
		}
		hapax_release(got(cache, "new")); /* writers too */
		test_event_set(&equal_gate.go);
		CHECK_EQ(answer(&a), HAPAX_OK);
		CHECK_PTR(a.out, slow);
		asker_end(&a);
		hapax_release(slow);
		hapax_release(other);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static int hash_fails(const hapax_key *key, uint64_t *hash, void *ctx)
{
	*hash = 5;
	return key->size == 3 ? *(int *)ctx : 0;
}

TEST(CX_KEY_10_a_hash_that_reports_an_error)
{
	int code = -9;
	hapax_key_ops ops = {.hash = hash_fails, .ctx = &code};
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_of(env, &s, &ops);
	hapax_table *table = table_of(env, &ops);
	struct item *it = item_new(env, 1);
	void *out = (void *)1;
	bool inserted;

	for (code = -9; code <= 9; code += 9) {
		int expected = code ? (int)HAPAX_EHASH : (int)HAPAX_OK;

		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("bad"), &out), expected);
		CHECK(!out == !!code);
		hapax_release(out);
		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("bad"), it), expected);
		CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("bad")), expected);
		CHECK_EQ(hapax_table_put(table, HAPAX_STR("bad"), it), expected);
		CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("bad"), it, &out, &inserted), expected);
		hapax_release(out);
		CHECK_EQ(hapax_table_contains(table, HAPAX_STR("bad")), code ? (int)HAPAX_EHASH : 1);
		CHECK_EQ(hapax_table_remove(table, HAPAX_STR("bad")), expected);
	}
	CHECK_EQ(loads_of(&s), 1);
	CHECK_EQ(hapax_count(it), 1);
	hapax_release(it);
	stats_check(cache);
	cache_end(cache, 0);
	table_end(table, 0);
	test_env_end(env);
}

TEST(CX_KEY_11_a_borrowed_key_changed_by_its_owner)
{
	int total = 0;
	hapax_key_ops ops = {.borrow = true, .release = owned_release, .ctx = &total};
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_table *table = table_of(env, &ops);
	hapax_cache *cache = cache_of(env, &s, &ops);
	struct owned k[6] = {{.text = "k0"}, {.text = "k1"}, {.text = "k2"}, {.text = "k3"}, {.text = "k4"}, {.text = "k5"}};
	struct item *it[6];

	for (int i = 0; i < 6; i++) {
		void *loaded;

		it[i] = item_new(env, i);
		CHECK_EQ(hapax_table_put(table, HAPAX_STR(k[i].text), it[i]), HAPAX_OK);
		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR(k[i].text), it[i]), HAPAX_OK);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_BYTES(k[i].text, 1), &loaded), HAPAX_OK); /* "k": one entry */
		hapax_release(loaded);
	}
	for (int i = 0; i < 6; i++)
		memset(k[i].text, 'X', 2);
	/* death still finds its entries, and clear the rest */
	for (int i = 0; i < 3; i++)
		hapax_release(it[i]);
	CHECK_EQ(hapax_table_size(table), 3);
	CHECK_EQ(hapax_cache_size(cache), 3);
	hapax_table_clear(table);
	CHECK_EQ(hapax_table_size(table), 0);
	hapax_cache_clear(cache);
	CHECK_EQ(hapax_cache_size(cache), 0);
	for (int i = 3; i < 6; i++) {
		CHECK(item_is_alive(it[i]));
		hapax_release(it[i]);
	}
	hapax_table_destroy(table);
	hapax_cache_destroy(cache);
	test_env_end(env);
	for (int i = 0; i < 6; i++)
		CHECK_EQ(k[i].releases, 3);
	CHECK_EQ(total, 18);
}

/* The hash of a key is the number in it. */
static int hash_number(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)ctx;
	memcpy(hash, key->data, 8);
	return 0;
}

TEST(CX_KEY_13_any_hash_value_works)
{
	hapax_key_ops ops = {.hash = hash_number};
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_table *table = table_of(env, &ops);
	hapax_cache *cache = cache_of(env, &s, &ops);
	uint64_t values[3 * 64 + 3];
	int n = 0;

	values[n++] = 0;
	values[n++] = UINT64_MAX;
	values[n++] = UINT64_C(0xdeadbeefdeadbeef);
	for (int bit = 1; bit < 64; bit++) {
		values[n++] = UINT64_C(1) << bit;
		values[n++] = (UINT64_C(1) << bit) - 1;
		values[n++] = ~(UINT64_C(1) << bit) ^ (bit == 63); /* the plain one is among those above */
	}
	struct item *it[3 * 64 + 3];
	void *loaded[3 * 64 + 3];
	for (int i = 0; i < n; i++) {
		it[i] = item_new(env, i);
		CHECK_EQ(hapax_table_put(table, HAPAX_KEY_OF(values[i]), it[i]), HAPAX_OK);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(values[i]), &loaded[i]), HAPAX_OK);
		CHECK_EQ(loads_of(&s), i + 1);
	}
	table_check(table, (size_t)n);
	for (int i = 0; i < n; i++) {
		void *out;

		CHECK_PTR(table_peek(table, HAPAX_KEY_OF(values[i])), it[i]);
		CHECK_EQ(hapax_cache_get_if_present(cache, HAPAX_KEY_OF(values[i]), &out), HAPAX_OK);
		CHECK_PTR(out, loaded[i]);
		hapax_release(out);
	}
	for (int i = 0; i < n; i++) {
		hapax_release(it[i]);
		hapax_release(loaded[i]);
		CHECK(!table_peek(table, HAPAX_KEY_OF(values[i])));
	}
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}
