/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lifecycle, misuse, ABI. */
#include <sys/wait.h>
#include <unistd.h>

#include "unit/cached.h"

static void get_till_closed(unsigned index, void *arg)
{
	struct source *s = arg;
	void *out;
	int rc;

	if (index == 0) {
		for (int i = 0; i < 3; i++)
			sched_yield();
		hapax_cache_close(s->cache);
		return;
	}
	do {
		uint32_t k = index % 3;

		rc = hapax_cache_get(s->cache, HAPAX_KEY_OF(k), &out);
		if (rc == HAPAX_OK) {
			CHECK(item_is_alive(out));
			hapax_release(out);
		}
	} while (rc == HAPAX_OK);
	CHECK_EQ(rc, HAPAX_ECLOSED);
}

TEST(CX_LIFE_01_after_close_everybody_leaves)
{
	hapax_env *env = test_env();

	for (uint64_t i = scaled(60); i > 0; i--) {
		struct source s = {0};
		hapax_cache *cache = cache_with(env, &s, 0);

		run_threads(4, get_till_closed, &s);
		hapax_cache_close(cache);
		cache_end(cache, 0);
		CHECK_EQ(s.destroyed, loads_of(&s));
	}
	test_env_end(env);
}

struct destroying {
	struct source s;
	struct test_barrier in;
};

/* A call that began before destroy: it finishes, with an object or with CLOSED. */
static int destroy_meanwhile(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)load;
	(void)object;
	(void)key;
	test_barrier_wait(&((struct destroying *)s->arg)->in);
	return GO_ON;
}

static void destroy_or_get(unsigned index, void *arg)
{
	struct destroying *d = arg;
	char key[2] = {(char)('0' + index), 0};
	void *out;
	int rc;

	if (index == 0) {
		test_barrier_wait(&d->in); /* the others are all in their loaders */
		hapax_cache_destroy(d->s.cache);
		return;
	}
	rc = hapax_cache_get(d->s.cache, HAPAX_STR(key), &out);
	CHECK(rc == HAPAX_OK || rc == HAPAX_ECLOSED);
	hapax_release(out);
}

TEST(CX_LIFE_01_destroy_waits_for_calls_in_progress)
{
	hapax_env *env = test_env();

	for (uint64_t i = scaled(40); i > 0; i--) {
		struct destroying d = {.s = {.then = destroy_meanwhile}};

		d.s.arg = &d;
		test_barrier_init(&d.in, 4);
		cache_form(env, &d.s, i % 2);
		run_threads(4, destroy_or_get, &d);
		CHECK_EQ(d.s.destroyed, loads_of(&d.s));
	}
	test_env_end(env);
}

TEST(CX_LIFE_03_NULL_and_empty_things_are_refused_or_ignored)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_table *table = table_new(env);
	struct item *it = item_new(env, 1);
	hapax_weak *weak = weak_of(it), *none = (hapax_weak *)1;
	hapax_cache_stats st = {.size = sizeof(st)};
	hapax_callback cb;
	void *out = (void *)1;
	int result = 5;

	hapax_release(NULL);
	CHECK(!hapax_weak_get(NULL));
	CHECK(!hapax_weak_alive(NULL));
	CHECK_EQ(hapax_weak_drop(NULL), HAPAX_OK);
	hapax_iter_close(NULL);
	hapax_table_destroy(NULL);
	hapax_cache_destroy(NULL);
	hapax_cache_close(NULL);
	hapax_env_destroy(NULL);
	hapax_load_error_drop(NULL);
	CHECK_EQ(hapax_retain(NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_new(env, NULL, 0, &out), HAPAX_ENULL);
	CHECK(!out);
	CHECK_EQ(hapax_new(env, &item_type, 0, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_new(NULL, NULL, &none), HAPAX_ENULL);
	CHECK(!none);
	CHECK_EQ(hapax_weak_new(it, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_dup(NULL, &none), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_dup(weak, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_callback(weak, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_callback(NULL, &cb), HAPAX_ENULL);
	CHECK_EQ(hapax_with_live(weak, NULL, NULL, &result), HAPAX_ENULL);
	CHECK_EQ(result, 5);
	CHECK_EQ(hapax_table_put(NULL, HAPAX_STR("k"), it), HAPAX_ENULL);
	CHECK_EQ(hapax_table_put(table, HAPAX_STR("k"), NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_table_get(table, HAPAX_STR("k"), NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_table_get(NULL, HAPAX_STR("k"), &out), HAPAX_ENULL);
	CHECK_EQ(hapax_table_pop_any(table, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_table_iterate(table, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_table_copy(table, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_table_snapshot(table, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_stats_get(cache, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_stats_get(NULL, &st), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_iterate(cache, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_get_or_put(cache, HAPAX_STR("k"), it, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_count(it), 1);
	CHECK_EQ(hapax_table_size(table), 0);
	CHECK_EQ(loads_of(&s), 0);
	/* the parts that may be NULL */
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("k"), it, &out, NULL), HAPAX_OK);
	hapax_release(out);
	CHECK_EQ(hapax_table_copy(table, table, NULL), HAPAX_OK);
	hapax_release(it);
	hapax_weak_drop(weak);
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CX_LIFE_04_tables_share_objects)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0), *second = cache_with(env, &s, HAPAX_CACHE_NO_STATS);
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .capacity = 5000};
	hapax_table *one = table_new(env), *two;
	struct item *it = got(cache, "k");

	CHECK_EQ(hapax_table_create(&two, &o), HAPAX_OK);
	table_put(one, HAPAX_STR("k"), it);
	table_put(two, HAPAX_STR("other"), it);
	CHECK_EQ(hapax_cache_put(second, HAPAX_STR("k"), it), HAPAX_OK);
	CHECK_PTR(got(second, "k"), it);
	hapax_release(it);
	hapax_table_destroy(one);
	CHECK_PTR(table_peek(two, HAPAX_STR("other")), it);
	CHECK_PTR(present(cache, "k"), it);
	cache_end(cache, 1); /* the one that made it */
	CHECK_PTR(table_peek(two, HAPAX_STR("other")), it);
	CHECK_PTR(present(second, "k"), it);
	CHECK_EQ(s.destroyed, 0);
	hapax_release(it);
	CHECK_EQ(s.destroyed, 1);
	CHECK(!table_peek(two, HAPAX_STR("other")));
	CHECK(!present(second, "k"));
	table_end(two, 0);
	cache_end(second, 0);
	test_env_end(env);
}

static int nothing_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)object;
	(void)key;
	(void)arg;
	(void)error;
	return HAPAX_LOAD_OK;
}

TEST(CX_LIFE_05_SD_04_hooks_may_be_NULL_and_payloads_empty)
{
	static const hapax_type bare = {HAPAX_TYPE_INIT}; /* no name, no size, no destructor */
	hapax_env *env = test_env();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &bare, .load = nothing_load};
	hapax_callback cb = {NULL, NULL, NULL};
	hapax_cache *cache;
	hapax_weak *weak;
	void *a, *b;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &a), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &b), HAPAX_OK); /* present, though there is nothing in it */
	CHECK_PTR(a, b);
	CHECK_EQ(stats_of(cache).loads, 1);
	CHECK_EQ(stats_of(cache).hits, 1);
	CHECK_EQ(hapax_weak_new(a, &cb, &weak), HAPAX_OK);
	hapax_release(a);
	hapax_release(b);
	CHECK(!hapax_weak_get(weak));
	hapax_weak_drop(weak);
	CHECK_EQ(hapax_new(NULL, &bare, 0, &a), HAPAX_OK); /* the default environment */
	hapax_release(a);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CX_LIFE_05_statistics_that_are_off_read_as_zero)
{
	static const hapax_cache_stats zero = {.size = sizeof(zero)};
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, HAPAX_CACHE_NO_STATS);
	hapax_cache_stats st;

	for (int i = 0; i < 20; i++)
		hapax_release(got(cache, "k"));
	st = stats_of(cache);
	st.size_now = 0;
	CHECK(!memcmp(&st, &zero, sizeof(st)));
	cache_end(cache, 0);
	test_env_end(env);
}

/* A structure of an older or a newer caller: smaller ones lack the tail, larger ones are refused or known. */
TEST(CX_LIFE_05_options_carry_their_size)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache_options co = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s};
	hapax_type type = item_type;
	hapax_cache_stats st = {.size = 3};
	hapax_env_stats es = {.size = 3};
	struct {
		hapax_cache_options o;
		char more[64];
	} newer;
	hapax_cache *cache = NULL;
	void *out;

	memset(&newer, 0, sizeof(newer));
	newer.o = co;
	newer.o.size = sizeof(newer);
	memset(newer.more, 0x11, sizeof(newer.more));
	CHECK_EQ(hapax_cache_create(&cache, &newer.o), HAPAX_EOPTSIZE); /* options this library does not know */
	CHECK(!cache);
	co.size = SIZE_MAX;
	CHECK_EQ(hapax_cache_create(&cache, &co), HAPAX_EOPTSIZE);
	co.size = sizeof(co);
	CHECK_EQ(hapax_cache_create(&cache, &co), HAPAX_OK);
	CHECK_EQ(hapax_cache_stats_get(cache, &st), HAPAX_EOPTSIZE);
	CHECK_EQ(hapax_env_stats_get(env, &es), HAPAX_EOPTSIZE);
	CHECK_EQ(hapax_env_stats_get(env, NULL), HAPAX_ENULL);
	type.struct_size = 0;
	CHECK_EQ(hapax_new(env, &type, 0, &out), HAPAX_ETYPE);
	CHECK(!out);
	cache_end(cache, 0);
	test_env_end(env);
}

/* What is forbidden is said so (cache.h); what is allowed leaves nothing behind: see ld_abandon.c. */
TEST(CX_LIFE_06_an_abandoned_loader_in_an_exclusive_cache)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, HAPAX_CACHE_EXCLUSIVE);

	hapax_release(got(cache, "k"));
	hapax_release(got(cache, "k"));
	CHECK_EQ(s.destroyed, 2);
	cache_end(cache, 0);
	test_env_end(env);
}

static void source_root(char *path, size_t size)
{
	char *end;

#ifdef HAPAX_SOURCE_DIR
	snprintf(path, size, "%s", HAPAX_SOURCE_DIR);
#else
	snprintf(path, size, "%s", __FILE__);
	for (int i = 0; i < 3; i++) /* tests/unit/cx_life.c */
		if ((end = strrchr(path, '/')))
			*end = 0;
		else
			snprintf(path, size, ".");
#endif
	(void)end;
}

static int compile(const char *command, const char *header)
{
	char root[2048], line[4096];

	source_root(root, sizeof(root));
	snprintf(line, sizeof(line), "echo '#include <hapax/%s>' | %s -I'%s/include' -fsyntax-only - >/dev/null 2>&1", header,
		 command, root);
	return system(line);
}

static const char *const headers[] = {"hapax.h", "base.h", "status.h", "env.h", "object.h", "weak.h", "table.h", "cache.h",
				      "testing.h"};

TEST(CX_LIFE_08_headers_compile_alone_in_C_and_Cxx)
{
	if (system("cc --version >/dev/null 2>&1") || system("c++ --version >/dev/null 2>&1"))
		TEST_SKIP("no compiler here");
	test_watchdog(0);
	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
		if (compile("cc -x c -std=c11 -pedantic -Wall -Wextra -Werror", headers[i]))
			TEST_FAIL("%s does not compile as C11", headers[i]);
		if (compile("c++ -x c++ -std=c++17 -pedantic -Wall -Wextra -Werror", headers[i]))
			TEST_FAIL("%s does not compile as C++17", headers[i]);
	}
}

TEST(CX_LIFE_09_headers_compile_for_32_bits)
{
	if (system("echo '#include <string.h>' | cc -m32 -x c -fsyntax-only - >/dev/null 2>&1"))
		TEST_SKIP("no 32-bit headers");
	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++)
		if (compile("cc -m32 -x c -std=c11 -pedantic -Wall -Wextra -Werror", headers[i]))
			TEST_FAIL("%s does not compile for 32 bits", headers[i]);
}

TEST(CX_LIFE_11_the_self_check_walks_everything)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_table *table = table_new(env);
	uint64_t r = test_stream(11);
	static struct item *held[300];
	size_t n = 0;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 200; i++) {
			uint32_t k = (uint32_t)test_below(&r, 300);
			void *out;

			if (held[k]) {
				hapax_release(held[k]);
				held[k] = NULL;
				n--;
			} else {
				CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(k), &out), HAPAX_OK);
				table_put(table, HAPAX_KEY_OF(k), out);
				held[k] = out;
				n++;
			}
		}
		if (round % 5 == 4)
			hapax_testing_table_resize(table, round % 2 ? 1 : -1);
		table_check(table, n);
		cache_check(cache, n);
		stats_check(cache);
	}
	for (int k = 0; k < 300; k++)
		hapax_release(held[k]);
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}
