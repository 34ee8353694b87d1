/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A release waits for nobody (SD-40): with a thread stopped anywhere in a table or in user code, the last reference of
 * an object stored there can be dropped, and lookups, puts and removals of other keys go on.
 */
#include "unit/item.h"

/* A thread that set `stop_at` stops once at that point. */
static __thread const char *stop_at;
static int stop_hits;
static void wait_there(void);

static void stop_hook(const char *name, void *ctx)
{
	(void)ctx;
	if (!stop_at || strcmp(stop_at, name))
		return;
	stop_at = NULL;
	__atomic_fetch_add(&stop_hits, 1, __ATOMIC_RELAXED);
	wait_there();
}

struct stuck {
	hapax_env *env;
	hapax_table *table;
	hapax_cache *cache;
	const char *where;
	struct item *own; /* an object of the stuck thread's */
	struct test_event inside, go_on;
};

static struct stuck *stuck_now;
static __thread bool stuck_key_ops;
static void wait_there(void)
{
	test_event_set(&stuck_now->inside);
	test_event_wait(&stuck_now->go_on);
}
static int stuck_hash(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)ctx;
	if (stuck_key_ops && !strcmp(stuck_now->where, "hash"))
		wait_there();
	*hash = key->size * UINT64_C(0x9e3779b97f4a7c15);
	return 0;
}
static bool stuck_equal(const hapax_key *a, const hapax_key *b, void *ctx)
{
	(void)ctx;
	if (stuck_key_ops && !strcmp(stuck_now->where, "equal")) {
		stuck_key_ops = false;
		wait_there();
	}
	return a->size == b->size && !memcmp(a->data, b->data, a->size);
}
static void stuck_destructor(struct item *item, void *arg)
{
	(void)item;
	(void)arg;
	wait_there();
}
static void stuck_callback(hapax_weak *weak, void *ctx)
{
	(void)weak;
	(void)ctx;
	wait_there();
}
static int stuck_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)key;
	(void)arg;
	(void)error;
	((struct item *)object)->live = ITEM_ALIVE;
	wait_there();
	return HAPAX_LOAD_OK;
}

static void *get_stuck(void *arg)
{
	struct stuck *s = arg;
	hapax_callback cb = {stuck_callback, NULL, NULL};
	hapax_weak *weak = NULL;
	hapax_iter *iter = NULL;
	void *object = NULL;
	char key[120];
	int status;

	stop_at = s->where;
	stuck_key_ops = true;
	if (!strcmp(s->where, "get.found") || !strcmp(s->where, "hash") || !strcmp(s->where, "equal")) {
		status = hapax_table_get(s->table, HAPAX_STR("x"), &object);
		CHECK(status == HAPAX_OK || status == HAPAX_MISS);
		hapax_release(object);
		/* The point lies where most lookups end; one entry among a hundred may lie elsewhere. */
		memset(key, 'm', sizeof(key));
		for (size_t size = 10; stop_at && strchr(stop_at, '.') && size < 110; size++) {
			status = hapax_table_get(s->table, HAPAX_BYTES(key, size), &object);
			CHECK(status == HAPAX_OK || status == HAPAX_MISS);
			hapax_release(object);
		}
	} else if (!strcmp(s->where, "remove.chosen")) {
		CHECK(hapax_table_remove(s->table, HAPAX_STR("x")) >= 0);
	} else if (!strcmp(s->where, "table.copy")) {
		hapax_testing_table_resize(s->table, 1);
	} else if (!strcmp(s->where, "death.dead")) {
		hapax_release(s->own);
		s->own = NULL;
	} else if (!strcmp(s->where, "iterator")) {
		CHECK_EQ(hapax_table_iterate(s->table, &iter), HAPAX_OK);
		do {
			CHECK_EQ(hapax_iter_next(iter, NULL, &object), HAPAX_OK);
		} while (object != s->own);
		wait_there();
		while (hapax_iter_next(iter, NULL, &object) == HAPAX_OK)
			;
		hapax_iter_close(iter);
	} else if (!strcmp(s->where, "destructor")) {
		s->own->on_destroy = stuck_destructor;
		hapax_release(s->own);
		s->own = NULL;
	} else if (!strcmp(s->where, "callback")) {
		CHECK_EQ(hapax_weak_new(s->own, &cb, &weak), HAPAX_OK);
		hapax_release(s->own);
		s->own = NULL;
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
	} else if (!strcmp(s->where, "loader")) {
		CHECK_EQ(hapax_cache_get(s->cache, HAPAX_STR("x"), &object), HAPAX_OK);
		hapax_release(object);
	} else {
		TEST_FAIL("nowhere");
	}
	stop_at = NULL;
	test_event_set(&s->inside); /* a point that was never passed does not hang the test */
	return NULL;
}

static void release_beside(const char *where)
{
	hapax_env *env = test_env();
	hapax_table_options table_options = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	hapax_cache_options cache_options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = stuck_load};
	struct stuck s = {.env = env, .where = where, .inside = TEST_EVENT_INIT, .go_on = TEST_EVENT_INIT};
	struct item *x = item_new(env, 1), *y = item_new(env, 2), *many[100];
	pthread_t thread;
	struct probe p;
	char key[120];
	void *object;

	trace_reset();
	items_reset();
	stuck_now = &s;
	memset(key, 'm', sizeof(key));
	table_options.keys.hash = stuck_hash;
	table_options.keys.equal = stuck_equal;
	CHECK_EQ(hapax_table_create(&s.table, &table_options), HAPAX_OK);
	CHECK_EQ(hapax_cache_create(&s.cache, &cache_options), HAPAX_OK);
	s.own = item_new(env, 3);
	table_put(s.table, HAPAX_STR("x"), x);
	table_put(s.table, HAPAX_STR("own"), s.own);
	table_put(s.table, HAPAX_STR("yy"), y);
	for (int i = 0; i < 100; i++) {
		many[i] = item_new(env, 100 + i);
		table_put(s.table, HAPAX_BYTES(key, (size_t)i + 10), many[i]);
	}
	CHECK_EQ(hapax_cache_put(s.cache, HAPAX_STR("put"), x), HAPAX_OK);
	probe_on(&p, 1, x, true);
	stop_hits = 0;
	hapax_testing_set_stop(stop_hook, NULL);
	thread = test_thread(get_stuck, &s);
	test_event_wait(&s.inside);
	if (strchr(where, '.'))
		CHECK_EQ(__atomic_load_n(&stop_hits, __ATOMIC_RELAXED), 1);

	/* the last reference of an object stored in the table, and of all its neighbours */
	hapax_release(x);
	if (strcmp(where, "remove.chosen") != 0) { /* a removal holds what it chose until it has returned */
		CHECK_EQ(p.calls, 1);
		CHECK_EQ(p.frees, 1);
	}
	for (int i = 0; i < 100; i += 2)
		hapax_release(many[i]);
	CHECK(items_destroyed_now() >= 50 + p.calls);
	/* lookups of other keys do not wait either, nor do a put and a removal */
	if (p.calls)
		CHECK_EQ(hapax_table_get(s.table, HAPAX_STR("x"), &object), HAPAX_MISS);
	for (int i = 0; i < 100; i++)
		CHECK_PTR(table_peek(s.table, HAPAX_BYTES(key, (size_t)i + 10)), i % 2 ? many[i] : NULL);
	CHECK_PTR(table_peek(s.table, HAPAX_STR("yy")), y);
	table_put(s.table, HAPAX_STR("another"), y);
	CHECK_EQ(hapax_table_remove(s.table, HAPAX_STR("yy")), HAPAX_OK);
	if (p.calls)
		CHECK_EQ(hapax_cache_get_if_present(s.cache, HAPAX_STR("put"), &object), HAPAX_MISS);
	CHECK_EQ(hapax_cache_put(s.cache, HAPAX_STR("put"), y), HAPAX_OK);

	test_event_set(&s.go_on);
	test_join(thread);
	hapax_testing_set_stop(NULL, NULL);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(p.frees, 1);
	CHECK_EQ(hapax_table_get(s.table, HAPAX_STR("x"), &object), HAPAX_MISS);
	CHECK_PTR(table_peek(s.table, HAPAX_STR("another")), y);
	for (int i = 1; i < 100; i += 2)
		hapax_release(many[i]);
	hapax_release(s.own);
	table_check(s.table, 1);
	hapax_release(y);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	table_end(s.table, 0);
	cache_check(s.cache, 0);
	hapax_cache_destroy(s.cache);
	test_env_end(env);
}

TEST(SD_40_release_beside_a_thread_stuck_in_a_lookup) { release_beside("get.found"); }
TEST(SD_40_release_beside_a_thread_stuck_in_hash) { release_beside("hash"); }
TEST(SD_40_release_beside_a_thread_stuck_in_equal) { release_beside("equal"); }
TEST(SD_40_release_beside_a_thread_stuck_in_a_removal) { release_beside("remove.chosen"); }
TEST(SD_40_release_beside_a_thread_stuck_in_a_resize) { release_beside("table.copy"); }
TEST(SD_40_release_beside_a_thread_stuck_in_a_death) { release_beside("death.dead"); }
TEST(SD_40_release_beside_a_thread_stuck_in_an_iteration) { release_beside("iterator"); }
TEST(SD_40_release_beside_a_thread_stuck_in_a_destructor) { release_beside("destructor"); }
TEST(SD_40_release_beside_a_thread_stuck_in_a_callback) { release_beside("callback"); }
TEST(SD_40_release_beside_a_thread_stuck_in_a_loader) { release_beside("loader"); }
