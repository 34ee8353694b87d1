/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counts of weak references (PY-CNT) and guarded access (PY-PRX).
 */
#include "unit/item.h"

TEST(PY_CNT_01_plain_handles_count_as_one_callbacks_each)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *plain[5], *dup;
	struct probe p[3];

	trace_reset();
	CHECK_EQ(hapax_weak_count(x), 0);
	for (int i = 0; i < 5; i++) {
		plain[i] = weak_of(x);
		CHECK_EQ(hapax_weak_count(x), 1);
	}
	for (int i = 0; i < 3; i++) {
		probe_on(&p[i], i, x, false);
		CHECK_EQ(hapax_weak_count(x), 2 + i);
	}
	CHECK_EQ(hapax_weak_dup(p[0].weak, &dup), HAPAX_OK);
	CHECK_EQ(hapax_weak_count(x), 4);
	CHECK_EQ(hapax_weak_drop(dup), HAPAX_OK);
	CHECK_EQ(hapax_weak_dup(plain[0], &dup), HAPAX_OK);
	CHECK_EQ(hapax_weak_count(x), 4);
	/* the shared record counts until the last of its handles has gone */
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(hapax_weak_drop(plain[i]), HAPAX_OK);
		CHECK_EQ(hapax_weak_count(x), 4);
	}
	CHECK_EQ(hapax_weak_drop(dup), HAPAX_OK);
	CHECK_EQ(hapax_weak_count(x), 3);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
		CHECK_EQ(hapax_weak_count(x), 2 - i);
	}
	/* and it counts again when there is one again */
	plain[0] = weak_of(x);
	CHECK_EQ(hapax_weak_count(x), 1);
	CHECK_PTR(hapax_weak_get(plain[0]), x);
	hapax_release(x);
	CHECK_EQ(hapax_weak_drop(plain[0]), HAPAX_OK);
	CHECK_EQ(hapax_weak_count(x), 0);
	hapax_release(x);
	test_env_end(env);
}

TEST(PY_CNT_01_types_without_weak_references_count_none)
{
	hapax_env *env = test_env();
	struct item *x = item_of(env, &strong_type, 1);

	CHECK_EQ(hapax_weak_count(x), 0);
	hapax_release(x);
	test_env_end(env);
}

static int load_nothing(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct item *item = object;

	(void)key;
	(void)arg;
	(void)error;
	item->live = ITEM_ALIVE;
	return HAPAX_LOAD_OK;
}

TEST(PY_CNT_02_one_registration_per_table_entry)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env), *other = table_new(env);
	struct item *x = item_new(env, 1);
	void *object;

	table_put(table, HAPAX_STR("k"), x);
	CHECK_EQ(hapax_weak_count(x), 1);
	for (int i = 0; i < 1000; i++) {
		CHECK_EQ(hapax_table_get(table, HAPAX_STR("k"), &object), HAPAX_OK);
		hapax_release(object);
	}
	CHECK_EQ(hapax_weak_count(x), 1);
	CHECK_EQ(hapax_count(x), 1);
	table_put(table, HAPAX_STR("k"), x); /* itself again */
	CHECK_EQ(hapax_weak_count(x), 1);
	table_put(table, HAPAX_STR("k2"), x);
	CHECK_EQ(hapax_weak_count(x), 2);
	table_put(other, HAPAX_STR("k"), x);
	CHECK_EQ(hapax_weak_count(x), 3);
	CHECK_EQ(hapax_table_remove(table, HAPAX_STR("k")), HAPAX_OK);
	CHECK_EQ(hapax_weak_count(x), 2);
	hapax_table_clear(other);
	CHECK_EQ(hapax_weak_count(x), 1);
	hapax_table_destroy(other);
	table_check(table, 1);
	hapax_table_destroy(table);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_weak_count(x), 0);
	hapax_release(x);
	test_env_end(env);
}

TEST(PY_CNT_02_the_entry_an_object_was_made_for_is_free)
{
	hapax_env *env = test_env();
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = load_nothing};
	hapax_cache *cache;
	void *x, *again;

	CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &x), HAPAX_OK);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &again), HAPAX_OK);
		CHECK_PTR(again, x);
		hapax_release(again);
	}
	CHECK_EQ(hapax_weak_count(x), 0);
	CHECK_EQ(hapax_count(x), 1);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k2"), x), HAPAX_OK);
	CHECK_EQ(hapax_weak_count(x), 1);
	hapax_release(x);
	cache_check(cache, 0);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

/* Many entries and handles come and go: the count is exact at rest. */
TEST(PY_CNT_02_counts_after_random_traffic)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1);
	hapax_weak *plain[8] = {0};
	struct probe p[8];
	bool present[32] = {0};
	uint64_t random = test_stream(1);
	uint64_t expected;

	memset(p, 0, sizeof(p));
	for (uint64_t i = 0; i < scaled(20000); i++) {
		int at = (int)test_below(&random, 8), key = (int)test_below(&random, 32);

		trace_reset();
		switch (test_below(&random, 4)) {
		case 0:
			if (plain[at]) {
				CHECK_EQ(hapax_weak_drop(plain[at]), HAPAX_OK);
				plain[at] = NULL;
			} else {
				plain[at] = weak_of(x);
			}
			break;
		case 1:
			if (p[at].weak)
				CHECK_EQ(probe_drop(&p[at]), HAPAX_OK);
			else
				probe_on(&p[at], at, x, true);
			break;
		case 2:
			table_put(table, HAPAX_KEY_OF(key), x);
			present[key] = true;
			break;
		default:
			CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(key)), present[key] ? HAPAX_OK : HAPAX_MISS);
			present[key] = false;
		}
		if (i % 100)
			continue;
		expected = 0;
		for (int j = 0; j < 8; j++)
			expected += p[j].weak != NULL;
		for (int j = 0; j < 8; j++) {
			if (plain[j]) {
				expected++;
				break;
			}
		}
		for (int j = 0; j < 32; j++)
			expected += present[j];
		CHECK_EQ(hapax_weak_count(x), expected);
	}
	hapax_release(x);
	for (int i = 0; i < 8; i++) {
		CHECK_EQ(hapax_weak_drop(plain[i]), HAPAX_OK);
		CHECK_EQ(probe_drop(&p[i]), HAPAX_OK);
	}
	table_end(table, 0);
	test_env_end(env);
}

struct guarded {
	struct item *x;
	hapax_weak *weak;
	hapax_table *table;
	int calls;
	int answer;
};
static int release_the_last_other(void *object, void *arg)
{
	struct guarded *g = arg;

	CHECK_PTR(object, g->x);
	g->calls++;
	hapax_release(g->x); /* the only owner goes */
	CHECK(item_is_alive(object));
	CHECK_EQ(hapax_count(object), 1);
	CHECK_EQ(items_destroyed_now(), 0);
	CHECK_PTR(table_peek(g->table, HAPAX_STR("k")), object);
	CHECK(hapax_weak_alive(g->weak));
	return g->answer;
}
static int must_not_run(void *object, void *arg)
{
	(void)object;
	(void)arg;
	TEST_FAIL("called on a dead object");
}

TEST(PY_PRX_01_the_object_lives_until_the_function_returns)
{
	static const int answers[] = {0, 1, -1, HAPAX_DEAD, HAPAX_EDEAD, INT32_MIN, INT32_MAX};
	hapax_env *env = test_env();

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct guarded g = {item_new(env, 1), NULL, table_new(env), 0, answers[i]};
		struct probe p;
		int result = 12345;

		items_reset();
		trace_reset();
		probe_on(&p, 1, g.x, false);
		g.weak = p.weak;
		table_put(g.table, HAPAX_STR("k"), g.x);
		CHECK_EQ(hapax_with_live(g.weak, release_the_last_other, &g, i % 2 ? NULL : &result), HAPAX_OK);
		if (i % 2 == 0)
			CHECK_EQ(result, answers[i]); /* its own answer, whatever it is */
		CHECK_EQ(g.calls, 1);
		/* that was the last reference: the death is over when with_live has returned */
		CHECK_EQ(items_destroyed_now(), 1);
		CHECK_EQ(p.calls, 1);
		result = 12345;
		CHECK_EQ(hapax_with_live(g.weak, must_not_run, NULL, &result), HAPAX_DEAD);
		CHECK_EQ(probe_drop(&p), HAPAX_OK);
		table_end(g.table, 0);
	}
	test_env_end(env);
}

static int nested(void *object, void *arg)
{
	struct guarded *g = arg;
	int depth = ++g->calls, result = -1;

	CHECK_EQ(hapax_count(object), 1 + depth);
	if (depth < 50) {
		CHECK_EQ(hapax_with_live(g->weak, nested, g, &result), HAPAX_OK);
		CHECK_EQ(result, depth + 1);
	}
	CHECK_EQ(hapax_count(object), 1 + depth);
	return depth;
}

TEST(PY_PRX_01_guards_nest)
{
	hapax_env *env = test_env();
	struct guarded g = {item_new(env, 1), NULL, NULL, 0, 0};
	int result = 0;

	g.weak = weak_of(g.x);
	CHECK_EQ(hapax_with_live(g.weak, nested, &g, &result), HAPAX_OK);
	CHECK_EQ(result, 1);
	CHECK_EQ(g.calls, 50);
	CHECK_EQ(hapax_count(g.x), 1);
	hapax_release(g.x);
	CHECK_EQ(hapax_weak_drop(g.weak), HAPAX_OK);
	test_env_end(env);
}

static void dead_inside(struct probe *p)
{
	CHECK_EQ(hapax_with_live(p->weak, must_not_run, NULL, NULL), HAPAX_DEAD);
}
static void dead_in_destructor(struct item *item, void *arg)
{
	(void)item;
	CHECK_EQ(hapax_with_live(arg, must_not_run, NULL, NULL), HAPAX_DEAD);
}

TEST(PY_PRX_02_a_dead_target_is_not_called)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct probe p;

	trace_reset();
	probe_on(&p, 1, x, false);
	p.then = dead_inside;
	x->on_destroy = dead_in_destructor;
	x->arg = p.weak;
	CHECK_EQ(hapax_with_live(p.weak, NULL, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_with_live(NULL, must_not_run, NULL, NULL), HAPAX_DEAD);
	hapax_release(x);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(hapax_with_live(p.weak, must_not_run, NULL, NULL), HAPAX_DEAD);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	test_env_end(env);
}

struct guard_race {
	struct item *x;
	hapax_weak *weak;
	struct test_barrier round;
	hapax_env *env;
	int rounds;
};
static int still_alive(void *object, void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++)
		CHECK(item_is_alive(object));
	return 0;
}
static void guard_against_release(unsigned index, void *arg)
{
	struct guard_race *g = arg;

	for (int i = 0; i < g->rounds; i++) {
		if (index == 0) {
			g->x = item_new(g->env, i);
			g->weak = weak_of(g->x);
		}
		test_barrier_wait(&g->round);
		if (index == 0) {
			hapax_release(g->x);
		} else {
			int status = hapax_with_live(g->weak, still_alive, NULL, NULL);

			CHECK(status == HAPAX_OK || status == HAPAX_DEAD);
		}
		test_barrier_wait(&g->round);
		if (index == 0)
			CHECK_EQ(hapax_weak_drop(g->weak), HAPAX_OK);
	}
}

TEST(PY_PRX_01_guards_racing_with_the_last_release)
{
	hapax_env *env = test_env();
	struct guard_race g = {.env = env, .rounds = (int)scaled(2000)};

	items_reset();
	test_barrier_init(&g.round, 3);
	run_threads(3, guard_against_release, &g);
	CHECK_EQ(items_destroyed_now(), g.rounds);
	test_env_end(env);
}
