/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory: every public call with every one of its allocations failing, calls that need none, whose memory it is, and
 * how much garbage there may be.
 */
#include <malloc.h>
#include <sys/mman.h>

#include "unit/cached.h"

/* ---- CX-MEM-01: the sweep -------------------------------------------------------------------------------------- */

/* A world with something of everything in it. Fresh for each attempt, so that what is lazy happens in the attempt. */
struct world {
	hapax_env *env;
	struct source s;
	hapax_cache *cache, *making;
	hapax_table *table, *empty;
	struct item *a, *b; /* a: under "a" in table and cache; b: nowhere */
	hapax_weak *weak;   /* of a */
	hapax_iter *iter;   /* over `table` */
	void *out;
	int frees;
};

static void world_free(void *ctx) { ((struct world *)ctx)->frees++; }
static void world_fn(hapax_weak *weak, void *ctx)
{
	(void)weak;
	(void)ctx;
}

static void world_begin(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->env = test_env();
	w->cache = cache_with(w->env, &w->s, 0);
	w->making = cache_making(w->env, &w->s, 0);
	w->table = table_new(w->env);
	w->empty = table_new(w->env);
	w->a = item_new(w->env, 100);
	w->b = item_new(w->env, 101);
	w->weak = weak_of(w->a);
	w->s.ready[0] = item_new(w->env, 102); /* the loader itself needs no memory */
	w->s.ready[1] = item_new(w->env, 103);
	table_put(w->table, HAPAX_STR("a"), w->a);
	CHECK_EQ(hapax_cache_put(w->cache, HAPAX_STR("a"), w->a), HAPAX_OK);
	CHECK_EQ(hapax_table_iterate(w->table, &w->iter), HAPAX_OK);
}

/* What must be as before when a call has failed. */
struct view {
	size_t table, empty, cache, making;
	uint64_t count_a, count_b, weak_a, weak_b, installed;
	struct item *in_table, *in_cache, *x_table, *x_cache, *x_making;
	int frees, destroyed;
};

static struct view world_view(struct world *w)
{
	struct view v;
	hapax_cache_stats st = stats_of(w->cache);

	memset(&v, 0, sizeof(v));
	v.table = hapax_table_size(w->table);
	v.empty = hapax_table_size(w->empty);
	v.cache = hapax_cache_size(w->cache);
	v.making = hapax_cache_size(w->making);
	v.count_a = hapax_count(w->a);
	v.count_b = hapax_count(w->b);
	v.weak_a = hapax_weak_count(w->a);
	v.weak_b = hapax_weak_count(w->b);
	v.in_table = table_peek(w->table, HAPAX_STR("a"));
	v.in_cache = present(w->cache, "a");
	v.x_table = table_peek(w->table, HAPAX_STR("x"));
	v.x_cache = present(w->cache, "x");
	v.x_making = present(w->making, "x");
	v.installed = st.puts + st.removals + st.replacements + st.collections;
	v.frees = w->frees;
	return v;
}

static void world_end(struct world *w)
{
	hapax_release(w->out);
	hapax_release(w->s.ready[0]);
	hapax_release(w->s.ready[1]);
	hapax_iter_close(w->iter);
	hapax_weak_drop(w->weak);
	hapax_release(w->a);
	hapax_release(w->b);
	table_end(w->table, 0);
	table_end(w->empty, 0);
	stats_check(w->cache);
	stats_check(w->making);
	cache_end(w->cache, 0);
	cache_end(w->making, 0);
	test_env_end(w->env);
}

struct call {
	const char *name;
	int (*run)(struct world *w); /* an out-object goes to w->out or is ended at once */
};

static int call_env_create(struct world *w)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .allocator = test_env_allocator(w->env)->allocator};
	hapax_env *env = (hapax_env *)1;
	int rc = hapax_env_create(&env, &o);

	CHECK((rc == 0) == (env != NULL));
	hapax_env_destroy(env);
	return rc;
}

static int call_new_of(struct world *w, size_t extra)
{
	void *out = (void *)1;
	int rc = hapax_new(w->env, &item_type, extra, &out);

	CHECK((rc == 0) == (out != NULL));
	if (rc == 0)
		((struct item *)out)->live = ITEM_ALIVE;
	w->out = out;
	return rc;
}
static int call_new(struct world *w) { return call_new_of(w, 0); }
static int call_new_large(struct world *w) { return call_new_of(w, 100000); }
static int call_new_other(struct world *w)
{
	static const hapax_type other = {HAPAX_TYPE_INIT, .name = "other", .size = 300, .align = 256};
	return hapax_new(w->env, &other, 0, &w->out);
}

static int call_weak_new(struct world *w)
{
	hapax_weak *weak = (hapax_weak *)1;
	int rc = hapax_weak_new(w->b, NULL, &weak);

	CHECK((rc == 0) == (weak != NULL));
	hapax_weak_drop(weak);
	return rc;
}

static int call_weak_new_callback(struct world *w)
{
	hapax_callback cb = {world_fn, w, world_free};
	hapax_weak *weak = (hapax_weak *)1;
	int rc = hapax_weak_new(w->b, &cb, &weak), frees = w->frees;

	CHECK((rc == 0) == (weak != NULL));
	CHECK_EQ(frees, 0); /* a registration that failed frees nothing */
	hapax_weak_drop(weak);
	CHECK_EQ(w->frees, rc == 0);
	w->frees = 0;
	return rc;
}

static int call_weak_dup(struct world *w)
{
	hapax_weak *weak = (hapax_weak *)1;
	int rc = hapax_weak_dup(w->weak, &weak);

	CHECK((rc == 0) == (weak != NULL));
	hapax_weak_drop(weak);
	return rc;
}

static int call_table_create(struct world *w)
{
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = w->env, .capacity = 1000};
	hapax_table *table = (hapax_table *)1;
	int rc = hapax_table_create(&table, &o);

	CHECK((rc == 0) == (table != NULL));
	hapax_table_destroy(table);
	return rc;
}

static int call_table_put(struct world *w) { return hapax_table_put(w->table, HAPAX_STR("x"), w->b); }
static int call_table_put_empty(struct world *w) { return hapax_table_put(w->empty, HAPAX_STR("x"), w->b); }
static int call_table_replace(struct world *w) { return hapax_table_put(w->table, HAPAX_STR("a"), w->b); }
static int call_table_reput(struct world *w) { return hapax_table_put(w->table, HAPAX_STR("a"), w->a); }
static int call_table_get(struct world *w) { return hapax_table_get(w->table, HAPAX_STR("a"), &w->out); }
static int call_table_pop(struct world *w) { return hapax_table_pop(w->table, HAPAX_STR("a"), &w->out); }
static int call_table_pop_any(struct world *w) { return hapax_table_pop_any(w->table, &w->out); }
static int call_table_copy(struct world *w)
{
	size_t copied = 77;
	int rc = hapax_table_copy(w->empty, w->table, &copied);

	CHECK_EQ(copied, rc == 0 ? 1 : 0);
	return rc;
}

static int call_table_get_or_put(struct world *w)
{
	bool inserted = false;
	int rc;

	w->out = (void *)1;
	rc = hapax_table_get_or_put(w->table, HAPAX_STR("x"), w->b, &w->out, &inserted);
	CHECK((rc == 0) == (w->out != NULL));
	if (rc == 0)
		CHECK(inserted && w->out == w->b);
	return rc;
}

static int call_table_snapshot(struct world *w)
{
	hapax_table *table = (hapax_table *)1;
	int rc = hapax_table_snapshot(w->table, &table);

	CHECK((rc == 0) == (table != NULL));
	if (rc == 0)
		CHECK_PTR(table_peek(table, HAPAX_STR("a")), w->a);
	hapax_table_destroy(table);
	return rc;
}

static int call_table_iterate(struct world *w)
{
	hapax_iter *iter = (hapax_iter *)1;
	int rc = hapax_table_iterate(w->table, &iter);

	CHECK((rc == 0) == (iter != NULL));
	hapax_iter_close(iter);
	return rc;
}

static int call_iter_next(struct world *w)
{
	hapax_key key = {0};
	void *out = (void *)1;
	int rc = hapax_iter_next(w->iter, &key, &out);

	CHECK((rc == 0) == (out != NULL));
	if (rc == 0) {
		CHECK(key.size == 1 && !memcmp(key.data, "a", 1));
		CHECK_PTR(out, w->a);
		CHECK_EQ(hapax_iter_next(w->iter, NULL, NULL), HAPAX_EMPTY);
	}
	return rc;
}

static int call_cache_create(struct world *w)
{
	struct source s = {0};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = w->env, .type = &item_type, .load = source_load, .arg = &s};
	hapax_cache *cache = (hapax_cache *)1;
	int rc = hapax_cache_create(&cache, &o);

	CHECK((rc == 0) == (cache != NULL));
	hapax_cache_destroy(cache);
	return rc;
}

static int call_get_of(struct world *w, hapax_cache *cache, const char *key)
{
	int destroyed = w->s.destroyed, rc;

	w->out = (void *)1;
	rc = hapax_cache_get(cache, HAPAX_STR(key), &w->out);
	CHECK((rc == 0) == (w->out != NULL));
	if (rc != 0)
		CHECK_EQ(w->s.destroyed, loads_of(&w->s)); /* what was loaded in vain was disposed of */
	else
		CHECK_EQ(w->s.destroyed, destroyed);
	return rc;
}
static int call_cache_get(struct world *w) { return call_get_of(w, w->cache, "x"); }
static int call_cache_get_long(struct world *w)
{
	static char key[3000];

	memset(key, 'y', sizeof(key) - 1);
	return call_get_of(w, w->cache, key);
}
static int call_cache_get_present(struct world *w) { return call_get_of(w, w->cache, "a"); }
static int call_cache_make(struct world *w) { return call_get_of(w, w->making, "x"); }
static bool refuse_a(void *object, void *arg) { return object == ((struct world *)arg)->a; }
static int call_cache_refuse(struct world *w)
{
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .refuse = refuse_a, .refuse_arg = w};
	int rc;

	w->out = (void *)1;
	rc = hapax_cache_get_with(w->cache, HAPAX_STR("a"), &o, &w->out);
	CHECK((rc == 0) == (w->out != NULL));
	CHECK(w->out != (void *)w->a);
	return rc;
}
static int call_cache_if_present(struct world *w) { return hapax_cache_get_if_present(w->cache, HAPAX_STR("a"), &w->out); }
static int call_cache_put(struct world *w) { return hapax_cache_put(w->cache, HAPAX_STR("x"), w->b); }
static int call_cache_replace(struct world *w) { return hapax_cache_put(w->cache, HAPAX_STR("a"), w->b); }
static int call_cache_pop(struct world *w) { return hapax_cache_pop(w->cache, HAPAX_STR("a"), &w->out); }
static int call_cache_get_or_put(struct world *w)
{
	bool inserted = false;
	int rc;

	w->out = (void *)1;
	rc = hapax_cache_get_or_put(w->cache, HAPAX_STR("x"), w->b, &w->out, &inserted);
	CHECK((rc == 0) == (w->out != NULL));
	return rc;
}

static int call_cache_iterate(struct world *w)
{
	hapax_iter *iter = (hapax_iter *)1;
	int rc = hapax_cache_iterate(w->cache, &iter);

	CHECK((rc == 0) == (iter != NULL));
	hapax_iter_close(iter);
	return rc;
}

struct elsewhere {
	struct world *w;
	int (*run)(struct world *w);
	int rc;
};
static void *elsewhere_run(void *arg)
{
	struct elsewhere *e = arg;

	e->rc = e->run(e->w);
	return NULL;
}
static int on_new_thread(struct world *w, int (*run)(struct world *))
{
	struct elsewhere e = {.w = w, .run = run};

	test_join(test_thread(elsewhere_run, &e));
	return e.rc;
}
static int prepare(struct world *w) { return hapax_thread_prepare(w->env); }
static int call_thread_prepare(struct world *w) { return on_new_thread(w, prepare); }
static int call_new_on_new_thread(struct world *w) { return on_new_thread(w, call_new); }
static int call_get_on_new_thread(struct world *w) { return on_new_thread(w, call_cache_get); }
static int call_put_on_new_thread(struct world *w) { return on_new_thread(w, call_table_put); }

#define CALL(name) {#name, call_##name}
static const struct call calls[] = {
	CALL(env_create), CALL(new), CALL(new_large), CALL(new_other), CALL(weak_new), CALL(weak_new_callback),
	CALL(weak_dup), CALL(table_create), CALL(table_put), CALL(table_put_empty), CALL(table_replace),
	CALL(table_reput), CALL(table_get), CALL(table_pop), CALL(table_pop_any), CALL(table_copy),
	CALL(table_get_or_put), CALL(table_snapshot), CALL(table_iterate), CALL(iter_next), CALL(cache_create),
	CALL(cache_get), CALL(cache_get_long), CALL(cache_get_present), CALL(cache_make), CALL(cache_refuse),
	CALL(cache_if_present), CALL(cache_put), CALL(cache_replace), CALL(cache_pop), CALL(cache_get_or_put),
	CALL(cache_iterate), CALL(thread_prepare), CALL(new_on_new_thread), CALL(get_on_new_thread),
	CALL(put_on_new_thread),
};

/* Uses up the blocks that the pool has at hand, so that the attempt has to ask for more. */
static void exhaust(struct world *w, void **objects, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (hapax_new(w->env, &item_type, 0, &objects[i]) != 0) {
			objects[i] = NULL;
			return;
		}
		((struct item *)objects[i])->live = ITEM_ALIVE;
	}
}

static void sweep(const struct call *c, bool from_then_on, bool exhausted)
{
	enum { LIMIT = 60, SPARE = 600 };
	static void *spare[SPARE];

	for (uint64_t n = 1;; n++) {
		struct world w;
		struct view before, after;
		struct test_allocator *a;
		uint64_t failures;
		int rc;

		if (n > LIMIT)
			TEST_FAIL("%s still fails at allocation %d", c->name, LIMIT);
		world_begin(&w);
		a = test_env_allocator(w.env);
		before = world_view(&w);
		if (exhausted) {
			a->fail_from = a->calls + 1; /* new objects only from what is there */
			exhaust(&w, spare, SPARE);
		}
		a->fail_from = from_then_on ? a->calls + n : 0;
		a->fail_at = from_then_on ? 0 : a->calls + n;
		failures = a->failures;
		rc = c->run(&w);
		a->fail_at = 0;
		a->fail_from = 0;
		failures = a->failures - failures;
		if (rc != 0) {
			if (rc != HAPAX_ENOMEM && rc != HAPAX_ETHREAD)
				TEST_FAIL("%s, allocation %d: %s", c->name, (int)n, hapax_status_name(rc));
			if (!failures)
				TEST_FAIL("%s: %s without a failed allocation", c->name, hapax_status_name(rc));
			w.out = NULL;
			after = world_view(&w);
			if (memcmp(&before, &after, sizeof(before)))
				TEST_FAIL("%s, allocation %d: the failure left traces", c->name, (int)n);
			rc = c->run(&w);
			if (rc != 0)
				TEST_FAIL("%s after a failure at %d: %s", c->name, (int)n, hapax_status_name(rc));
		}
		for (unsigned i = 0; exhausted && i < SPARE; i++) {
			hapax_release(spare[i]);
			spare[i] = NULL;
		}
		world_end(&w);
		if (!failures)
			return;
	}
}

TEST(CX_MEM_01_each_call_with_each_allocation_failing_once)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		sweep(&calls[i], false, false);
}

TEST(CX_MEM_01_each_call_with_all_allocations_failing_from_one_on)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		sweep(&calls[i], true, false);
}

TEST(CX_MEM_01_each_call_with_the_pool_exhausted)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		sweep(&calls[i], false, true);
		sweep(&calls[i], true, true);
	}
}

/* A table grows while memory comes and goes: each put either is in or is not. */
TEST(CX_MEM_01_growth_with_random_failures)
{
	hapax_env *env = test_env();
	struct test_allocator *a = test_env_allocator(env);
	hapax_table *table = table_new(env);
	uint64_t r = test_stream(1);
	uint32_t n = (uint32_t)scaled(3000), in = 0;
	struct item *it = item_new(env, 1);

	for (uint32_t k = 0; k < n; k++) {
		int rc;

		if (test_below(&r, 3) == 0)
			a->fail_from = a->calls + 1 + test_below(&r, 3);
		rc = hapax_table_put(table, HAPAX_KEY_OF(k), it);
		a->fail_from = 0;
		CHECK(rc == HAPAX_OK || rc == HAPAX_ENOMEM);
		in += rc == HAPAX_OK;
		CHECK_EQ(hapax_table_contains(table, HAPAX_KEY_OF(k)), rc == HAPAX_OK);
		if (rc != HAPAX_OK) {
			CHECK_EQ(hapax_table_put(table, HAPAX_KEY_OF(k), it), HAPAX_OK);
			in++;
		}
	}
	CHECK_EQ(in, n);
	table_check(table, n);
	for (uint32_t k = 0; k < n; k++)
		CHECK_EQ(hapax_table_contains(table, HAPAX_KEY_OF(k)), 1);
	hapax_release(it);
	table_end(table, 0);
	test_env_end(env);
}

/* ---- CX-MEM-02 ------------------------------------------------------------------------------------------------- */

static int ignore_memory_then(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)s;
	(void)load;
	(void)object;
	(void)key;
	return GO_ON;
}

TEST(CX_MEM_02_what_ends_things_needs_no_memory)
{
	enum { N = 400 };
	static struct probe probes[N];
	hapax_env *env = quiet_env(0);
	struct test_allocator *a = test_env_allocator(env);
	struct source s = {.then = ignore_memory_then};
	hapax_cache *cache = cache_with(env, &s, 0), *making = cache_making(env, &s, 0);
	hapax_table *table = table_new(env), *second = table_new(env);
	hapax_weak *weak[N], *shared[N];
	hapax_iter *iter;
	struct item *it[N];
	void *loaded[N], *made[N], *out;

	for (int i = 0; i < N; i++) {
		it[i] = item_new(env, i);
		table_put(table, HAPAX_KEY_OF(i), it[i]);
		table_put(second, HAPAX_KEY_OF(i), it[i]);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(i), &loaded[i]), HAPAX_OK);
		CHECK_EQ(hapax_cache_get(making, HAPAX_KEY_OF(i), &made[i]), HAPAX_OK);
		weak[i] = weak_of(it[i]);
		CHECK_EQ(hapax_weak_dup(weak[i], &shared[i]), HAPAX_OK);
		hapax_callback cb = {world_fn, NULL, NULL};
		CHECK_EQ(hapax_weak_new(loaded[i], &cb, &probes[i].weak), HAPAX_OK);
	}
	CHECK_EQ(hapax_table_iterate(table, &iter), HAPAX_OK);
	CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_OK);
	a->fail_from = a->calls + 1;
	for (int i = 0; i < N; i++) {
		if (i % 4 == 0)
			CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(i)), HAPAX_OK);
		if (i % 4 == 1)
			CHECK_EQ(hapax_cache_remove(cache, HAPAX_KEY_OF(i)), HAPAX_OK);
		if (i % 4 == 2) {
			CHECK_EQ(hapax_cache_pop(making, HAPAX_KEY_OF(i), &out), HAPAX_OK);
			hapax_release(out);
			CHECK_EQ(hapax_table_remove_if(table, HAPAX_KEY_OF(i), it[i]), HAPAX_OK);
		}
		if (i % 2)
			hapax_weak_drop(weak[i]);
		if (i % 3)
			hapax_weak_drop(probes[i].weak);
	}
	for (int i = 0; i < N / 2; i++) { /* deaths, of what is in and of what is out */
		hapax_release(it[i]);
		hapax_release(loaded[i]);
		hapax_release(made[i]);
	}
	hapax_table_clear(table);
	hapax_cache_clear(making);
	CHECK_EQ(hapax_table_size(table), 0);
	CHECK_EQ(hapax_cache_size(making), 0);
	hapax_iter_close(iter);
	hapax_table_destroy(table);
	hapax_cache_close(cache);
	hapax_cache_destroy(cache);
	hapax_reclaim(env);
	for (int i = N / 2; i < N; i++) {
		hapax_release(it[i]);
		hapax_release(loaded[i]);
		hapax_release(made[i]);
	}
	for (int i = 0; i < N; i++) {
		if (!(i % 2))
			hapax_weak_drop(weak[i]);
		hapax_weak_drop(shared[i]);
		if (!(i % 3))
			hapax_weak_drop(probes[i].weak);
	}
	CHECK_EQ(s.destroyed, 2 * N);
	hapax_cache_destroy(making);
	table_end(second, 0);
	test_env_end(env); /* drains with the allocator still refusing */
}

/* ---- CX-MEM-05 ------------------------------------------------------------------------------------------------- */

/* An allocator that takes nothing from malloc. Single-threaded use; nothing is ever given back to the system. */
static char *arena;
static size_t arena_used, arena_live;
enum { ARENA = 64 << 20 };
static int arena_ctx;
static void *arena_alloc(size_t size, size_t align, void *ctx)
{
	/* addresses are aligned, not offsets: the arena itself is to a page only */
	size_t at = ((((uintptr_t)arena + arena_used + align - 1) & ~(uintptr_t)(align - 1)) - (uintptr_t)arena);

	CHECK_PTR(ctx, &arena_ctx);
	CHECK(align >= 16 && !(align & (align - 1)));
	if (at + size > ARENA)
		return NULL;
	arena_used = at + size;
	arena_live += size;
	return arena + at;
}

static void arena_free(void *block, size_t size, size_t align, void *ctx)
{
	CHECK_PTR(ctx, &arena_ctx);
	CHECK_EQ(((uintptr_t)block & (align - 1)), 0);
	CHECK((char *)block >= arena && (char *)block + size <= arena + ARENA);
	memset(block, 0xdb, size);
	arena_live -= size;
}

TEST(CX_MEM_05_every_byte_comes_from_the_allocator)
{
#if defined(TEST_ASAN) || defined(TEST_TSAN)
	TEST_SKIP("the sanitizer's malloc has no mallinfo");
#endif
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD,
			       .allocator = {arena_alloc, arena_free, &arena_ctx}};
	struct source s = {0};
	hapax_env *env;
	hapax_cache *cache;
	hapax_table *table;
	static void *held[2000];
	size_t before = 0;

	arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(arena != MAP_FAILED);
	for (int round = 0; round < 2; round++) { /* the first warms up what belongs to the C library */
		before = mallinfo2().uordblks;
		CHECK_EQ(hapax_env_create(&env, &o), HAPAX_OK);
		cache = cache_with(env, &s, 0);
		table = table_new(env);
		for (uint32_t i = 0; i < 2000; i++) {
			hapax_weak *weak;

			CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(i), &held[i]), HAPAX_OK);
			table_put(table, HAPAX_KEY_OF(i), held[i]);
			CHECK_EQ(hapax_weak_new(held[i], NULL, &weak), HAPAX_OK);
			hapax_weak_drop(weak);
		}
		if (round)
			CHECK(mallinfo2().uordblks < before + 1024);
		CHECK(arena_live > sizeof(struct item) * 2000);
		for (uint32_t i = 0; i < 2000; i++)
			hapax_release(held[i]);
		cache_end(cache, 0);
		table_end(table, 0);
		hapax_env_destroy(env);
		for (int i = 0; i < 100 && arena_live; i++)
			hapax_testing_drain(NULL);
		CHECK_EQ(arena_live, 0);
		if (round)
			CHECK(mallinfo2().uordblks < before + 1024);
	}
}

/* ---- CX-MEM-06 ------------------------------------------------------------------------------------------------- */

struct polled {
	hapax_table *table;
	int stop;
};
static void *poll_reader(void *arg)
{
	struct polled *p = arg;
	void *out;

	while (!__atomic_load_n(&p->stop, __ATOMIC_RELAXED)) {
		if (hapax_table_get(p->table, HAPAX_STR("k"), &out) == HAPAX_OK) {
			CHECK(item_is_alive(out));
			hapax_release(out);
		}
		sched_yield();
	}
	return NULL;
}

TEST(CX_MEM_06_garbage_stays_under_its_bound)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = 256 << 10};
	hapax_env *env = test_env_options(&o);
	struct polled p = {.table = table_new(env)};
	hapax_env_stats st = {.size = sizeof(st)};
	pthread_t t = test_thread(poll_reader, &p);

	for (uint64_t i = scaled(50000); i > 0; i--) {
		struct item *it = item_new(env, 1);

		table_put(p.table, HAPAX_STR("k"), it);
		if (i % 2)
			CHECK_EQ(hapax_table_remove(p.table, HAPAX_STR("k")), HAPAX_OK);
		hapax_release(it);
	}
	__atomic_store_n(&p.stop, 1, __ATOMIC_RELAXED);
	test_join(t);
	CHECK_EQ(hapax_env_stats_get(env, &st), HAPAX_OK);
	CHECK_EQ(st.garbage_bound_bytes, 256 << 10);
	/* the bound plus what was alive when it was reached, and a batch of each of three threads */
	CHECK(st.garbage_peak_bytes <= st.garbage_bound_bytes + 4 * (64 << 10));
	CHECK_EQ(st.garbage_refusals, 0);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_env_stats_get(env, &st), HAPAX_OK);
	CHECK_EQ(st.garbage_bytes, 0);
	table_end(p.table, 0);
	test_env_end(env);
}

static struct gate reader_gate = GATE_INIT;
static __thread bool reader_stalls;
static void stall_in_section(const char *name, void *ctx)
{
	(void)ctx;
	if (!reader_stalls || strcmp(name, "get.found"))
		return;
	reader_stalls = false;
	test_event_set(&reader_gate.entered);
	test_event_wait(&reader_gate.go);
}

static void *stalling_reader(void *arg)
{
	void *out = NULL;

	reader_stalls = true;
	CHECK_EQ(hapax_table_get(arg, HAPAX_STR("stall"), &out), HAPAX_OK);
	hapax_release(out);
	return NULL;
}

TEST(CX_MEM_06_a_stalled_reader_refuses_creation_at_the_bound)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD, .garbage_bound = 128 << 10};
	hapax_env *env = test_env_options(&o);
	hapax_table *table = table_new(env);
	struct item *stall = item_new(env, 0), *it;
	hapax_env_stats st = {.size = sizeof(st)};
	hapax_weak *weak = (hapax_weak *)1;
	uint64_t made = 0;
	pthread_t t;
	void *out = NULL;
	int rc;

	table_put(table, HAPAX_STR("stall"), stall);
	hapax_testing_set_stop(stall_in_section, NULL);
	t = test_thread(stalling_reader, table);
	test_event_wait(&reader_gate.entered);
	while ((rc = hapax_new(env, &item_type, 200, &out)) == HAPAX_OK) {
		((struct item *)out)->live = ITEM_ALIVE;
		hapax_release(out);
		if (++made > 1000000)
			TEST_FAIL("no bound on garbage");
	}
	CHECK_EQ(rc, HAPAX_EGARBAGE);
	CHECK(!out);
	CHECK(made > 50);
	CHECK_EQ(hapax_env_stats_get(env, &st), HAPAX_OK);
	CHECK(st.garbage_bytes >= (64 << 10) && st.garbage_peak_bytes <= (128 << 10) + 3 * (64 << 10));
	CHECK(st.garbage_refusals >= 1);
	/* what creates is refused, what ends things goes on */
	CHECK_EQ(hapax_weak_new(stall, NULL, &weak), HAPAX_EGARBAGE);
	CHECK(!weak);
	CHECK_EQ(hapax_weak_count(stall), 1); /* the table's */
	CHECK_EQ(hapax_table_put(table, HAPAX_STR("x"), stall), HAPAX_EGARBAGE);
	CHECK_PTR(table_peek(table, HAPAX_STR("stall")), stall);
	CHECK_EQ(hapax_retain(stall), HAPAX_OK);
	hapax_release(stall);
	CHECK_EQ(hapax_table_remove(table, HAPAX_STR("stall")), HAPAX_OK);
	/* the reader goes on: it drops */
	test_event_set(&reader_gate.go);
	test_join(t);
	hapax_testing_set_stop(NULL, NULL);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_env_stats_get(env, &st), HAPAX_OK);
	CHECK_EQ(st.garbage_bytes, 0);
	CHECK_EQ(hapax_new(env, &item_type, 0, &out), HAPAX_OK);
	it = out;
	it->live = ITEM_ALIVE;
	hapax_release(it);
	hapax_release(stall);
	table_end(table, 0);
	test_env_end(env);
}

/* ---- CX-MEM-08 ------------------------------------------------------------------------------------------------- */

TEST(CX_MEM_08_alignment_and_flexible_sizes)
{
	static const size_t extras[] = {0, 1, 15, 16, 17, 63, 300, 400, 463, 464, 480, 495, 496, 497, 511, 512, 513,
					1000, 4096, 65536, 1 << 20, 32 << 20};
	hapax_env *env = test_env();

	for (size_t align = 0; align <= 4096; align = align ? align * 2 : 1) {
		hapax_type type = {HAPAX_TYPE_INIT, .name = "aligned", .size = 8, .align = align};

		for (size_t i = 0; i < sizeof(extras) / sizeof(*extras); i++) {
			unsigned char *out;
			void *object;
			size_t size = type.size + extras[i], step = size > 8192 ? 997 : 1;

			if (extras[i] > 65536 && align != 0 && align != 4096)
				continue;
			CHECK_EQ(hapax_new(env, &type, extras[i], &object), HAPAX_OK);
			out = object;
			CHECK_EQ((uintptr_t)out % (align < 16 ? 16 : align), 0);
			for (size_t k = 0; k < size; k += step)
				CHECK_EQ(out[k], 0);
			memset(out, 0xaa, size); /* all of it is ours */
			CHECK_EQ(hapax_count(out), 1);
			hapax_release(out);
		}
		hapax_testing_drain(env); /* the type must outlive its objects: one that died may still be quarantined */
	}
	test_env_end(env);
}

TEST(CX_MEM_08_cached_objects_are_aligned_whatever_the_key)
{
	hapax_env *env = test_env();

	for (size_t align = 16; align <= 4096; align *= 4) {
		hapax_type type = item_type;
		struct source s = {0};
		hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &type, .load = source_load, .arg = &s};
		hapax_cache *cache;
		char key[100];

		type.align = align;
		memset(key, 'k', sizeof(key));
		CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
		for (size_t size = 0; size < sizeof(key); size++) {
			void *out;

			CHECK_EQ(hapax_cache_get(cache, HAPAX_BYTES(key, size), &out), HAPAX_OK);
			CHECK_EQ((uintptr_t)out % align, 0);
			hapax_release(out);
		}
		cache_end(cache, 0);
		hapax_testing_drain(env);
	}
	test_env_end(env);
}

TEST(CX_MEM_08_sizes_that_overflow_are_refused)
{
	static const size_t extras[] = {SIZE_MAX, SIZE_MAX - 8, SIZE_MAX - 15, SIZE_MAX - 64, SIZE_MAX / 2 + 1, HAPAX_OBJECT_MAX,
					HAPAX_OBJECT_MAX + 1};
	static const size_t aligns[] = {3, 17, 48, 8192, (size_t)1 << 40, SIZE_MAX};
	hapax_env *env = test_env();
	struct test_allocator *a = test_env_allocator(env);
	uint64_t calls_before;
	void *out;

	calls_before = a->calls;
	for (size_t i = 0; i < sizeof(extras) / sizeof(*extras); i++) {
		out = (void *)1;
		CHECK_EQ(hapax_new(env, &item_type, extras[i], &out), HAPAX_ESIZE);
		CHECK(!out);
	}
	for (size_t i = 0; i < sizeof(aligns) / sizeof(*aligns); i++) {
		hapax_type type = {HAPAX_TYPE_INIT, .size = 8, .align = aligns[i]};

		CHECK_EQ(hapax_new(env, &type, 0, &out), HAPAX_EALIGN);
	}
	CHECK_EQ(a->calls, calls_before);
	/* the largest legal one needs more than there is */
	a->fail_from = a->calls + 1;
	CHECK_EQ(hapax_new(env, &item_type, HAPAX_OBJECT_MAX - sizeof(struct item), &out), HAPAX_ENOMEM);
	CHECK(!out);
	test_env_end(env);
}
