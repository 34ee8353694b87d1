/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Object death (PY-DTH).
 */
#include <errno.h>

#include "unit/item.h"

static int misuses;
static char misuse_text[512];
static void note_misuse(const char *message, void *ctx)
{
	(void)ctx;
	misuses++;
	snprintf(misuse_text, sizeof(misuse_text), "%s", message);
}

static void *dying;
static int refusals;
static void try_to_revive(void)
{
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(hapax_retain(dying), HAPAX_EDEAD);
		refusals++;
	}
	CHECK_EQ(hapax_count(dying), 0);
}
static void revive_in_callback(struct probe *p)
{
	(void)p;
	try_to_revive();
}
static void revive_in_destructor(struct item *item, void *arg)
{
	hapax_table *table = arg;
	void *object;
	bool inserted;

	CHECK_PTR(item, dying);
	try_to_revive();
	CHECK_EQ(hapax_table_put(table, HAPAX_STR("again"), item), HAPAX_EDEAD);
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("again"), item, &object, &inserted), HAPAX_EDEAD);
	CHECK(!object);
	CHECK_EQ(hapax_table_get(table, HAPAX_STR("k"), &object), HAPAX_MISS);
}

TEST(PY_DTH_01_no_resurrection)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1);
	struct probe p;

	hapax_testing_set_misuse(note_misuse, NULL);
	items_reset();
	misuses = refusals = 0;
	dying = x;
	x->on_destroy = revive_in_destructor;
	x->arg = table;
	probe_on(&p, 1, x, false);
	p.then = revive_in_callback;
	table_put(table, HAPAX_STR("k"), x);
	hapax_release(x);
	CHECK_EQ(refusals, 6);
	CHECK_EQ(items_destroyed_now(), 1);
	if (misuses) { /* builds that report misuse name the object's type */
		CHECK_EQ(misuses, 6);
		CHECK(strstr(misuse_text, "item"));
	}
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_live_objects(env), 0);
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_testing_set_misuse(NULL, NULL);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	table_end(table, 0);
	test_env_end(env);
}

struct order {
	hapax_table *table;
	hapax_weak *weak;
	int seen;
};
static void gone_by_now(const struct order *o)
{
	CHECK(!hapax_weak_get(o->weak));
	CHECK(!table_peek(o->table, HAPAX_STR("k")));
}
static void gone_in_callback(struct probe *p)
{
	gone_by_now(p->arg);
	trace("gone");
}
static void gone_in_destructor(struct item *item, void *arg)
{
	CHECK_EQ(hapax_count(item), 0);
	CHECK_EQ(item->id, 7); /* its memory is still its own */
	gone_by_now(arg);
	trace("d%d", item->id);
}

TEST(PY_DTH_02_the_order_of_one_death)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 7);
	struct order o = {table_new(env), weak_of(x), 0};
	hapax_env_stats stats = {.size = sizeof(stats)};
	struct probe p[3];

	trace_reset();
	table_put(o.table, HAPAX_STR("k"), x);
	for (int i = 0; i < 3; i++) {
		probe_on(&p[i], i, x, true);
		p[i].then = gone_in_callback;
		p[i].arg = &o;
	}
	x->on_destroy = gone_in_destructor;
	x->arg = &o;
	CHECK_EQ(hapax_retain(x), HAPAX_OK);
	hapax_release(x);
	CHECK_STR(trace_text, "");
	hapax_release(x);
	CHECK_STR(trace_text, "c2 gone f2 c1 gone f1 c0 gone f0 d7 ");
	hapax_testing_drain(env);
	CHECK_EQ(hapax_env_stats_get(env, &stats), HAPAX_OK);
	CHECK_EQ(stats.objects_born, 1);
	CHECK_EQ(stats.objects_destroyed, 1);
	CHECK_EQ(stats.objects_freed, 1);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(o.weak), HAPAX_OK);
	table_end(o.table, 0);
	test_env_end(env);
}

/* The last of many releases on many threads runs the one death; everything done before any release is visible. */
struct last_release {
	struct item *x;
	int marks[4];
	int sum_seen;
};
static void sum_marks(struct item *item, void *arg)
{
	struct last_release *l = arg;

	(void)item;
	l->sum_seen = l->marks[0] + l->marks[1] + l->marks[2] + l->marks[3];
}
static void mark_and_release(unsigned index, void *arg)
{
	struct last_release *l = arg;

	l->marks[index] = 1; /* plain: ordered by the release */
	hapax_release(l->x);
}

TEST(PY_DTH_02_everything_before_any_release_is_seen)
{
	hapax_env *env = test_env();

	for (uint64_t round = 0; round < scaled(300); round++) {
		struct last_release l = {.x = item_new(env, 1)};

		l.x->on_destroy = sum_marks;
		l.x->arg = &l;
		for (int i = 0; i < 3; i++)
			CHECK_EQ(hapax_retain(l.x), HAPAX_OK);
		run_threads(4, mark_and_release, &l);
		CHECK_EQ(l.sum_seen, 4);
	}
	test_env_end(env);
}

struct chain {
	hapax_env *env;
	struct item *head;
};
static void *release_chain(void *arg)
{
	struct chain *c = arg;

	hapax_release(c->head);
	return NULL;
}

static void long_chain(size_t n)
{
	hapax_env *env = test_env();
	struct chain c = {env, NULL};
	pthread_attr_t attr;
	pthread_t thread;
	size_t made;

	items_reset();
	for (made = 0; made < n; made++) {
		struct item *x = item_new(env, (int)made);

		x->child = c.head;
		c.head = x;
	}
	CHECK_EQ(pthread_attr_init(&attr), 0);
	/* far too little for a frame per object */
	CHECK_EQ(pthread_attr_setstacksize(&attr, test_slow_build() ? 512 * 1024 : 128 * 1024), 0);
	CHECK_EQ(pthread_create(&thread, &attr, release_chain, &c), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
	CHECK_EQ(items_destroyed_now(), n);
	test_env_end(env);
}

TEST(PY_DTH_04_a_long_chain_dies_on_a_small_stack) { long_chain(test_slow_build() ? 200000 : 1000000); }

static void chain_call(hapax_weak *weak, void *ctx)
{
	(void)weak;
	hapax_release(ctx);
}

/* The same where each death is caused by a callback, not by a destructor. */
TEST(PY_DTH_04_a_long_chain_of_callbacks)
{
	hapax_env *env = test_env();
	size_t n = test_slow_build() ? 20000 : 100000;
	hapax_weak **weak = calloc(n, sizeof(*weak));
	struct chain c = {env, NULL};
	pthread_attr_t attr;
	pthread_t thread;

	CHECK(weak);
	items_reset();
	for (size_t i = 0; i < n; i++) {
		struct item *x = item_new(env, (int)i);
		hapax_callback cb = {chain_call, c.head, NULL};

		CHECK_EQ(hapax_weak_new(x, &cb, &weak[i]), HAPAX_OK);
		c.head = x;
	}
	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attr, test_slow_build() ? 512 * 1024 : 128 * 1024), 0);
	CHECK_EQ(pthread_create(&thread, &attr, release_chain, &c), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
	CHECK_EQ(items_destroyed_now(), n);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(hapax_weak_drop(weak[i]), HAPAX_OK);
	free(weak);
	test_env_end(env);
}

static int load_item(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct item *item = object;

	(void)key;
	(void)error;
	item->live = ITEM_ALIVE;
	item->id = ++*(int *)arg;
	return HAPAX_LOAD_OK;
}

struct busy {
	hapax_env *env;
	hapax_table *table;
	hapax_cache *cache;
	struct item *other;
	void *loaded;
	int loads;
};
static void busy_destructor(struct item *item, void *arg)
{
	struct busy *b = arg;
	void *object;
	bool inserted;

	(void)item;
	/* its own key: absent, and free for a successor */
	CHECK_EQ(hapax_table_get(b->table, HAPAX_STR("k"), &object), HAPAX_MISS);
	CHECK_EQ(hapax_table_remove(b->table, HAPAX_STR("k")), HAPAX_MISS);
	CHECK_EQ(hapax_table_get_or_put(b->table, HAPAX_STR("k"), b->other, &object, &inserted), HAPAX_OK);
	CHECK(inserted);
	CHECK_PTR(object, b->other);
	hapax_release(object);
	CHECK_EQ(hapax_table_remove(b->table, HAPAX_STR("n")), HAPAX_OK);
	table_put(b->table, HAPAX_STR("m"), b->other);
	CHECK_EQ(hapax_cache_get(b->cache, HAPAX_STR("k"), &b->loaded), HAPAX_OK);
	CHECK_EQ(hapax_cache_remove(b->cache, HAPAX_STR("k")), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(b->cache, HAPAX_STR("k"), b->other), HAPAX_OK);
	hapax_release(item_new(b->env, 50));
}

TEST(PY_DTH_06_destructors_may_call_anything)
{
	hapax_env *env = test_env();
	struct busy b = {.env = env, .table = table_new(env), .other = item_new(env, 2)};
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = load_item,
				       .arg = &b.loads};
	struct item *x = item_new(env, 1);

	CHECK_EQ(hapax_cache_create(&b.cache, &options), HAPAX_OK);
	x->on_destroy = busy_destructor;
	x->arg = &b;
	table_put(b.table, HAPAX_STR("k"), x);
	table_put(b.table, HAPAX_STR("k2"), x);
	table_put(b.table, HAPAX_STR("n"), b.other);
	CHECK_EQ(hapax_cache_put(b.cache, HAPAX_STR("k"), x), HAPAX_OK);
	hapax_release(x);
	CHECK_EQ(b.loads, 1);
	CHECK_PTR(table_peek(b.table, HAPAX_STR("k")), b.other);
	CHECK_PTR(table_peek(b.table, HAPAX_STR("m")), b.other);
	table_check(b.table, 2);
	cache_check(b.cache, 1);
	hapax_release(b.loaded);
	hapax_release(b.other);
	table_end(b.table, 0);
	cache_check(b.cache, 0);
	hapax_cache_destroy(b.cache);
	test_env_end(env);
}

static void drop_parent(struct item *item, void *arg)
{
	hapax_weak **to_parent = arg;

	(void)item;
	CHECK(!hapax_weak_get(*to_parent)); /* the parent is dying, or dead */
	CHECK_EQ(hapax_weak_drop(*to_parent), HAPAX_OK);
	trace("child");
}

TEST(PY_DTH_07_strong_down_and_weak_up_leaves_nothing)
{
	hapax_env *env = test_env();
	struct item *parent = item_traced(env, 1), *child = item_new(env, 2);
	hapax_weak *up = weak_of(parent);

	trace_reset();
	child->on_destroy = drop_parent;
	child->arg = &up;
	parent->child = child;
	hapax_release(parent);
	CHECK_STR(trace_text, "d1 child ");
	test_env_end(env);
}

static int leaks;
static uint64_t leaked_ids;
static void note_leak(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx)
{
	struct item *item = object;

	CHECK_PTR(ctx, &leaks);
	CHECK_STR(type, "item");
	CHECK_EQ(count, 1);
	CHECK(!inherited);
	CHECK_EQ(key->size, 1);
	CHECK_EQ(((const char *)key->data)[0] - '0', item->id);
	leaked_ids |= UINT64_C(1) << item->id;
	leaks++;
}

TEST(PY_DTH_07_a_strong_cycle_is_named_by_the_leak_report)
{
	hapax_env *env = test_env();
	int loads = 0;
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = load_item,
				       .arg = &loads, .leak = note_leak, .leak_ctx = &leaks};
	hapax_cache *cache;
	void *a, *b, *c;

	leaks = 0;
	leaked_ids = 0;
	items_reset();
	CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("1"), &a), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("2"), &b), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("3"), &c), HAPAX_OK);
	((struct item *)a)->child = b; /* each owns the other */
	((struct item *)b)->child = a;
	hapax_release(c);
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_cache_destroy(cache);
	CHECK_EQ(leaks, 2);
	CHECK_EQ(leaked_ids, 1u << 1 | 1u << 2);
	/* the cycle is broken by hand */
	((struct item *)b)->child = NULL;
	hapax_release(a);
	CHECK_EQ(items_destroyed_now(), 3);
	test_env_end(env);
}

TEST(PY_DTH_09_null_is_harmless)
{
	errno = 99;
	for (int i = 0; i < 3; i++) {
		hapax_release(NULL);
		CHECK_EQ(hapax_weak_drop(NULL), HAPAX_OK);
		CHECK(!hapax_weak_get(NULL));
		CHECK(!hapax_weak_alive(NULL));
		hapax_table_destroy(NULL);
		hapax_iter_close(NULL);
		hapax_cache_destroy(NULL);
		hapax_env_destroy(NULL);
		hapax_load_error_drop(NULL);
	}
	CHECK_EQ(errno, 99);
	CHECK_EQ(hapax_retain(NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_new(NULL, NULL, 0, NULL), HAPAX_ENULL);
}

static int refs_called, refs_freed;
static void refs_call(hapax_weak *weak, void *ctx)
{
	(void)ctx;
	CHECK(!hapax_weak_get(weak));
	refs_called++;
}
static void refs_free(void *ctx)
{
	(void)ctx;
	refs_freed++;
}

/* `reused`: some registrations took the place of cancelled ones, so that the order has to be restored. */
static void die_without_memory(size_t n, bool reused)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	struct item *x = item_new(env, 1);
	hapax_table *table = table_new(env);
	hapax_callback cb = {refs_call, NULL, refs_free};
	hapax_weak **weak = calloc(n, sizeof(*weak));
	uint64_t calls;

	CHECK(weak);
	refs_called = refs_freed = 0;
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(hapax_weak_new(x, &cb, &weak[i]), HAPAX_OK);
	if (reused) {
		for (size_t i = 0; i < n; i += 3)
			CHECK_EQ(hapax_weak_drop(weak[i]), HAPAX_OK);
		for (size_t i = 0; i < n; i += 3)
			CHECK_EQ(hapax_weak_new(x, &cb, &weak[i]), HAPAX_OK);
		refs_freed = 0;
	}
	for (int i = 0; i < 40; i++)
		table_put(table, HAPAX_KEY_OF(i), x);
	memory->fail_from = memory->calls + 1;
	calls = memory->calls;
	hapax_release(x);
	CHECK_EQ(refs_called, n);
	CHECK_EQ(refs_freed, n);
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK_EQ(memory->calls, calls); /* it did not even ask */
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(hapax_weak_drop(weak[i]), HAPAX_OK);
	CHECK_EQ(hapax_table_size(table), 0);
	memory->fail_from = 0;
	free(weak);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_DTH_10_death_of_50_registrations_needs_no_memory)
{
	items_reset();
	die_without_memory(50, false);
	items_reset();
	die_without_memory(50, true);
}
TEST(PY_DTH_10_death_of_50000_registrations_needs_no_memory)
{
	items_reset();
	die_without_memory(50000, false);
	items_reset();
	die_without_memory(50000, true);
}

/* A cascade of deaths, on a thread that never called hapax before, without memory. */
TEST(PY_DTH_10_a_cascade_on_a_new_thread_needs_no_memory)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	struct chain c = {env, NULL};

	items_reset();
	for (int i = 0; i < 2000; i++) {
		struct item *x = item_new(env, i);

		x->child = c.head;
		c.head = x;
	}
	memory->fail_from = memory->calls + 1;
	test_join(test_thread(release_chain, &c));
	CHECK_EQ(items_destroyed_now(), 2000);
	memory->fail_from = 0;
	test_env_end(env);
}

TEST(PY_DTH_12_objects_outlive_tables_and_caches)
{
	hapax_env *env = test_env();
	hapax_table *table[3];
	hapax_cache *cache;
	int loads = 0;
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = load_item,
				       .arg = &loads};
	struct item *x[50];
	void *made;

	items_reset();
	for (int t = 0; t < 3; t++)
		table[t] = table_new(env);
	CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &made), HAPAX_OK);
	for (int i = 0; i < 50; i++) {
		x[i] = item_new(env, i);
		for (int t = 0; t < 3; t++)
			table_put(table[t], HAPAX_KEY_OF(i), x[i]);
		CHECK_EQ(hapax_cache_put(cache, HAPAX_KEY_OF(i), x[i]), HAPAX_OK);
		table_put(table[0], HAPAX_STR("made"), made);
	}
	hapax_table_destroy(table[0]);
	for (int i = 0; i < 10; i++)
		hapax_release(x[i]);
	table_check(table[1], 40);
	hapax_cache_destroy(cache);
	hapax_testing_drain(env);
	for (int i = 10; i < 20; i++)
		hapax_release(x[i]);
	hapax_table_destroy(table[1]);
	CHECK(item_is_alive(made));
	hapax_release(made);
	for (int i = 20; i < 49; i++)
		hapax_release(x[i]);
	table_check(table[2], 1);
	hapax_table_destroy(table[2]);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_live_objects(env), 1);
	hapax_release(x[49]);
	CHECK_EQ(items_destroyed_now(), 51);
	test_env_end(env);
}

/* Objects that nobody ever looked at die too. */
TEST(PY_DTH_a_type_without_a_destructor)
{
	static const hapax_type bare = {HAPAX_TYPE_INIT};
	hapax_env *env = test_env();
	void *object;
	struct probe p;

	for (int i = 0; i < 100; i++) {
		CHECK_EQ(hapax_new(env, &bare, (size_t)i * 16, &object), HAPAX_OK);
		CHECK_EQ((uintptr_t)object % 16, 0);
		for (int at = 0; at < i * 16; at++)
			CHECK_EQ(((char *)object)[at], 0);
		memset(object, 0xff, (size_t)i * 16);
		trace_reset();
		probe_on(&p, i, object, false);
		hapax_release(object);
		CHECK_EQ(p.calls, 1);
		CHECK_EQ(probe_drop(&p), HAPAX_OK);
	}
	test_env_end(env);
}
