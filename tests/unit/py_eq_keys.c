/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Weak handles as keys of tables and caches (PY-EQ).
 */
#include "unit/cached.h"

static hapax_table *keyed(hapax_env *env)
{
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .keys = hapax_weak_keys(), .name = "by handle"};
	hapax_table *table = NULL;

	CHECK_EQ(hapax_table_create(&table, &o), HAPAX_OK);
	return table;
}

static void no_call(hapax_weak *weak, void *ctx)
{
	(void)weak;
	(void)ctx;
}

static hapax_weak *called_on(void *object)
{
	hapax_callback callback = {no_call, NULL, NULL};
	hapax_weak *weak = NULL;

	CHECK_EQ(hapax_weak_new(object, &callback, &weak), HAPAX_OK);
	return weak;
}

TEST(PY_EQ_keys_any_handle_finds_while_the_object_lives)
{
	enum { N = 500 };
	hapax_env *env = test_env();
	hapax_table *table = keyed(env);
	struct item *key[N], *value[N];
	hapax_weak *stored[N], *other[N];

	for (int i = 0; i < N; i++) {
		key[i] = item_new(env, i);
		value[i] = item_new(env, 1000 + i);
		stored[i] = i % 2 ? weak_of(key[i]) : called_on(key[i]);
		other[i] = called_on(key[i]);
		CHECK(!table_peek(table, HAPAX_KEY_OF(other[i])));
		table_put(table, HAPAX_KEY_OF(stored[i]), value[i]);
	}
	for (int i = 0; i < N; i++) {
		CHECK_PTR(table_peek(table, HAPAX_KEY_OF(other[i])), value[i]);
		CHECK_PTR(table_peek(table, HAPAX_KEY_OF(stored[i])), value[i]);
	}
	table_check(table, N);
	/* dead: by the stored one alone */
	for (int i = 0; i < N; i += 2)
		hapax_release(key[i]);
	for (int i = 0; i < N; i++) {
		CHECK_PTR(table_peek(table, HAPAX_KEY_OF(stored[i])), value[i]);
		CHECK_PTR(table_peek(table, HAPAX_KEY_OF(other[i])), i % 2 ? value[i] : NULL);
	}
	/* and another dead one is another key */
	CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(other[0])), HAPAX_MISS);
	table_put(table, HAPAX_KEY_OF(other[0]), value[1]);
	CHECK_PTR(table_peek(table, HAPAX_KEY_OF(stored[0])), value[0]);
	CHECK_PTR(table_peek(table, HAPAX_KEY_OF(other[0])), value[1]);
	CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(other[0])), HAPAX_OK);
	for (int i = 0; i < N; i++) {
		CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(stored[i])), HAPAX_OK);
		CHECK_EQ(hapax_weak_drop(stored[i]), HAPAX_OK);
		CHECK_EQ(hapax_weak_drop(other[i]), HAPAX_OK);
		hapax_release(value[i]);
		if (i % 2)
			hapax_release(key[i]);
	}
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_EQ_keys_of_another_size_are_refused)
{
	hapax_env *env = test_env();
	hapax_table *table = keyed(env);
	struct item *x = item_new(env, 1);
	char bytes[2 * sizeof(void *)] = "";
	void *out;

	for (size_t size = 0; size <= sizeof(bytes); size++) {
		if (size == sizeof(hapax_weak *))
			continue;
		CHECK_EQ(hapax_table_put(table, HAPAX_BYTES(bytes, size), x), HAPAX_EHASH);
		CHECK_EQ(hapax_table_get(table, HAPAX_BYTES(bytes, size), &out), HAPAX_EHASH);
	}
	hapax_release(x);
	table_end(table, 0);
	test_env_end(env);
}

/* Lies at any address. */
TEST(PY_EQ_keys_may_be_unaligned)
{
	hapax_env *env = test_env();
	hapax_table *table = keyed(env);
	struct item *x = item_new(env, 1);
	hapax_weak *weak = weak_of(x), *other = called_on(x);
	char bytes[3 * sizeof(void *)];

	table_put(table, HAPAX_KEY_OF(weak), x);
	for (size_t at = 0; at < 2 * sizeof(void *); at++) {
		memcpy(bytes + at, &other, sizeof(other));
		CHECK_PTR(table_peek(table, HAPAX_BYTES(bytes + at, sizeof(other))), x);
	}
	hapax_release(x);
	CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(other), HAPAX_OK);
	table_end(table, 0);
	test_env_end(env);
}

/* The owner's cell is the key; the table says when it needs it no more. */
static int cells_released;
static void drop_cell(const hapax_key *key, void *ctx)
{
	hapax_weak *weak;

	(void)ctx;
	memcpy(&weak, key->data, sizeof(weak));
	CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
	cells_released++;
}

TEST(PY_EQ_keys_borrowed_say_when_the_handle_may_go)
{
	enum { N = 100 };
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .keys = hapax_weak_keys()};
	hapax_table *table = NULL;
	struct item *key[N], *value[N];
	hapax_weak *cell[N], *other;

	cells_released = 0;
	o.keys.borrow = true;
	o.keys.release = drop_cell;
	CHECK_EQ(hapax_table_create(&table, &o), HAPAX_OK);
	for (int i = 0; i < N; i++) {
		key[i] = item_new(env, i);
		value[i] = item_new(env, i);
		cell[i] = called_on(key[i]);
		table_put(table, HAPAX_KEY_OF(cell[i]), value[i]);
	}
	for (int i = 0; i < N; i++) {
		other = weak_of(key[i]);
		CHECK_PTR(table_peek(table, HAPAX_KEY_OF(other)), value[i]);
		if (i % 3 == 0)
			CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(other)), HAPAX_OK);
		CHECK_EQ(hapax_weak_drop(other), HAPAX_OK);
		if (i % 3 == 1)
			hapax_release(value[i]); /* the entry goes with its value */
		hapax_release(key[i]);
		if (i % 3 != 1)
			hapax_release(value[i]);
	}
	table_end(table, 0);
	hapax_testing_drain(env);
	CHECK_EQ(cells_released, N);
	test_env_end(env);
}

TEST(PY_EQ_keys_of_a_cache)
{
	hapax_env *env = test_env();
	struct source s = {.env = env};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s,
				 .keys = hapax_weak_keys()};
	hapax_cache *cache = NULL;
	struct item *x = item_new(env, 1), *y = item_new(env, 2);
	hapax_weak *a = weak_of(x), *b = called_on(x), *c = called_on(y);
	void *first, *second, *third, *fourth;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(b), &first), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(a), &second), HAPAX_OK);
	CHECK_PTR(second, first);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(c), &third), HAPAX_OK);
	CHECK(third != first);
	CHECK_EQ(loads_of(&s), 2);
	hapax_release(x);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(b), &fourth), HAPAX_OK);
	CHECK_PTR(fourth, first);
	hapax_release(fourth);
	CHECK_EQ(hapax_cache_contains(cache, HAPAX_KEY_OF(a)), 0);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(a), &fourth), HAPAX_OK); /* a key of its own now */
	CHECK(fourth != first);
	CHECK_EQ(loads_of(&s), 3);
	hapax_release(first);
	hapax_release(second);
	CHECK_EQ(hapax_cache_contains(cache, HAPAX_KEY_OF(b)), 0);
	CHECK_EQ(hapax_cache_contains(cache, HAPAX_KEY_OF(a)), 1);
	hapax_release(third);
	hapax_release(fourth);
	cache_end(cache, 0);
	hapax_release(y);
	CHECK_EQ(hapax_weak_drop(a), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(b), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(c), HAPAX_OK);
	test_env_end(env);
}

/*
 * Lookups compare stored keys whose handles are being dropped by an owner who saw their entries go; their nodes become
 * other registrations, and death retires them.
 */
struct goers {
	hapax_env *env;
	hapax_table *table;
	struct item *x, *value;
	hapax_weak *mine;
	struct test_barrier round;
	int rounds;
};

static void comers(unsigned index, void *arg)
{
	struct goers *g = arg;
	hapax_table *other = index ? NULL : table_new(g->env);

	for (int i = 0; i < g->rounds; i++) {
		if (index == 0) {
			g->x = item_new(g->env, i);
			g->mine = weak_of(g->x);
		}
		test_barrier_wait(&g->round);
		if (index == 0) {
			for (int j = 0; j < 10; j++) {
				hapax_weak *weak = called_on(g->x);

				table_put(g->table, HAPAX_KEY_OF(weak), g->value);
				CHECK_EQ(hapax_table_remove(g->table, HAPAX_KEY_OF(weak)), HAPAX_OK);
				CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
				table_put(other, HAPAX_KEY_OF(j), g->x); /* the node again, as a table's */
				if (j % 2)
					CHECK_EQ(hapax_table_remove(other, HAPAX_KEY_OF(j)), HAPAX_OK);
			}
			hapax_release(g->x);
		} else {
			for (int j = 0; j < 40; j++) {
				void *out;
				int rc = hapax_table_get(g->table, HAPAX_KEY_OF(g->mine), &out);

				CHECK(rc == HAPAX_OK || rc == HAPAX_MISS);
				if (rc == HAPAX_OK) {
					CHECK_PTR(out, g->value);
					hapax_release(out);
				}
			}
		}
		test_barrier_wait(&g->round);
		if (index == 0)
			CHECK_EQ(hapax_weak_drop(g->mine), HAPAX_OK);
	}
	if (other)
		table_end(other, 0);
}

TEST(PY_EQ_keys_whose_handles_go_while_they_are_compared)
{
	hapax_env *env = test_env();
	struct goers g = {.env = env, .table = keyed(env), .value = item_new(env, 7), .rounds = (int)scaled(400)};

	test_barrier_init(&g.round, 3);
	run_threads(3, comers, &g);
	table_end(g.table, 0);
	hapax_release(g.value);
	test_env_end(env);
}
