/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The weak-value table (PY-WVD).
 */
#include "unit/item.h"
#include "unit/stopped_death.h"

/* Gets with an owned reference: the object or NULL. */
static struct item *table_get(hapax_table *table, hapax_key key)
{
	void *object = (void *)(uintptr_t)8;
	int status = hapax_table_get(table, key, &object);

	CHECK(status == HAPAX_OK || status == HAPAX_MISS);
	CHECK_EQ(status == HAPAX_OK, object != NULL);
	return object;
}

TEST(PY_WVD_01_values_are_weak_and_keys_are_copied)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1), *y = item_new(env, 2);
	char key[16] = "first";

	table_put(table, HAPAX_BYTES(key, 5), x);
	memcpy(key, "other", 5); /* the caller's bytes are the caller's */
	table_put(table, HAPAX_BYTES(key, 5), y);
	memset(key, 0, sizeof(key));
	CHECK_EQ(hapax_count(x), 1);
	table_check(table, 2);
	CHECK_PTR(table_peek(table, HAPAX_STR("first")), x);
	CHECK_PTR(table_peek(table, HAPAX_STR("other")), y);
	hapax_release(x);
	CHECK(!table_peek(table, HAPAX_STR("first")));
	CHECK_EQ(hapax_table_contains(table, HAPAX_STR("first")), 0);
	CHECK_EQ(hapax_table_size(table), 1);
	CHECK_PTR(table_peek(table, HAPAX_STR("other")), y);
	hapax_release(y);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_WVD_02_a_value_released_right_after_put_is_gone)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);

	for (int i = 0; i < 3000; i++) {
		struct item *x = item_new(env, i);
		int key = i % 7;

		table_put(table, HAPAX_KEY_OF(key), x);
		hapax_release(x);
		CHECK(!table_get(table, HAPAX_KEY_OF(key)));
		CHECK_EQ(hapax_table_size(table), 0);
	}
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_WVD_03_get_gives_the_object_with_a_reference)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x[500];

	for (int i = 0; i < 500; i++) {
		x[i] = item_new(env, i);
		table_put(table, HAPAX_KEY_OF(i), x[i]);
	}
	for (int i = 0; i < 700; i++) {
		struct item *got = table_get(table, HAPAX_KEY_OF(i));

		CHECK_EQ(hapax_table_contains(table, HAPAX_KEY_OF(i)), got != NULL);
		CHECK_PTR(got, i < 500 ? x[i] : NULL);
		if (!got)
			continue;
		CHECK_EQ(hapax_count(got), 2);
		if (i % 2) { /* the reference got is as good as the first */
			hapax_release(x[i]);
			CHECK(item_is_alive(got));
			CHECK_PTR(table_peek(table, HAPAX_KEY_OF(i)), got);
		} else {
			hapax_release(got);
		}
		CHECK_EQ(hapax_count(x[i]), 1);
	}
	for (int i = 0; i < 500; i++)
		hapax_release(x[i]);
	for (int i = 0; i < 500; i++)
		CHECK_EQ(hapax_table_contains(table, HAPAX_KEY_OF(i)), 0);
	table_end(table, 0);
	test_env_end(env);
}

/* Dead and not yet unlinked: a type with deferred deaths keeps the moment still. */
TEST(PY_WVD_04_removing_the_absent_and_the_dead_is_a_miss)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_of(env, &deferred_type, 1), *y = item_new(env, 2);
	void *object = (void *)(uintptr_t)8;

	items_reset();
	CHECK_EQ(hapax_table_remove(table, HAPAX_STR("k")), HAPAX_MISS);
	CHECK_EQ(hapax_table_pop(table, HAPAX_STR("k"), &object), HAPAX_MISS);
	CHECK(!object);
	table_put(table, HAPAX_STR("k"), x);
	table_put(table, HAPAX_STR("other"), y);
	hapax_release(x);
	CHECK_EQ(items_destroyed_now(), 0);
	object = (void *)(uintptr_t)8;
	CHECK_EQ(hapax_table_remove(table, HAPAX_STR("k")), HAPAX_MISS);
	CHECK_EQ(hapax_table_pop(table, HAPAX_STR("k"), &object), HAPAX_MISS);
	CHECK(!object);
	CHECK_EQ(hapax_table_remove_if(table, HAPAX_STR("k"), x), HAPAX_MISS);
	CHECK_EQ(hapax_table_contains(table, HAPAX_STR("k")), 0);
	CHECK_PTR(table_peek(table, HAPAX_STR("other")), y);
	CHECK_EQ(hapax_run_deferred(env), 1);
	CHECK_EQ(hapax_table_remove(table, HAPAX_STR("k")), HAPAX_MISS);
	CHECK_EQ(items_destroyed_now(), 1);
	table_check(table, 1);

	/* remove and pop of what is there: once */
	CHECK_EQ(hapax_table_pop(table, HAPAX_STR("other"), &object), HAPAX_OK);
	CHECK_PTR(object, y);
	CHECK_EQ(hapax_count(y), 2);
	CHECK_EQ(hapax_table_pop(table, HAPAX_STR("other"), &object), HAPAX_MISS);
	hapax_release(y);
	table_put(table, HAPAX_STR("other"), y);
	CHECK_EQ(hapax_table_remove(table, HAPAX_STR("other")), HAPAX_OK);
	CHECK_EQ(hapax_table_remove(table, HAPAX_STR("other")), HAPAX_MISS);
	CHECK_EQ(hapax_count(y), 1);
	hapax_release(y);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_WVD_04_remove_if_compares_identity)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1), *twin = item_new(env, 1);

	table_put(table, HAPAX_STR("k"), x);
	CHECK_EQ(hapax_table_remove_if(table, HAPAX_STR("k"), twin), HAPAX_MISS);
	CHECK_EQ(hapax_table_remove_if(table, HAPAX_STR("k2"), x), HAPAX_MISS);
	CHECK_PTR(table_peek(table, HAPAX_STR("k")), x);
	CHECK_EQ(hapax_table_remove_if(table, HAPAX_STR("k"), x), HAPAX_OK);
	CHECK_EQ(hapax_table_remove_if(table, HAPAX_STR("k"), x), HAPAX_MISS);
	table_put(table, HAPAX_STR("k"), x);
	table_put(table, HAPAX_STR("k"), twin); /* displaced */
	CHECK_EQ(hapax_table_remove_if(table, HAPAX_STR("k"), x), HAPAX_MISS);
	CHECK_PTR(table_peek(table, HAPAX_STR("k")), twin);
	hapax_release(x);
	hapax_release(twin);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_WVD_06_get_or_put)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1), *y = item_new(env, 2), *z = item_of(env, &deferred_type, 3);
	void *out = NULL;
	bool inserted = false;

	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("k"), x, &out, &inserted), HAPAX_OK);
	CHECK_PTR(out, x);
	CHECK(inserted);
	CHECK_EQ(hapax_count(x), 2);
	hapax_release(out);
	/* live: the existing one; the newcomer is not retained, not registered */
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("k"), y, &out, &inserted), HAPAX_OK);
	CHECK_PTR(out, x);
	CHECK(!inserted);
	CHECK_EQ(hapax_count(x), 2);
	CHECK_EQ(hapax_count(y), 1);
	CHECK_EQ(hapax_weak_count(y), 0);
	hapax_release(out);
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("k"), x, &out, NULL), HAPAX_OK);
	CHECK_PTR(out, x);
	hapax_release(out);
	table_check(table, 1);
	/* dead and unlinked */
	hapax_release(x);
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("k"), y, &out, &inserted), HAPAX_OK);
	CHECK_PTR(out, y);
	CHECK(inserted);
	hapax_release(out);
	/* dead and not yet unlinked */
	table_put(table, HAPAX_STR("z"), z);
	hapax_release(z);
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("z"), y, &out, &inserted), HAPAX_OK);
	CHECK_PTR(out, y);
	CHECK(inserted);
	hapax_release(out);
	CHECK_EQ(hapax_run_deferred(env), 1);
	CHECK_PTR(table_peek(table, HAPAX_STR("z")), y);
	table_check(table, 2);
	/* errors */
	out = y;
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("n"), NULL, &out, &inserted), HAPAX_ENULL);
	CHECK(!out);
	CHECK_EQ(hapax_table_get_or_put(table, HAPAX_STR("n"), y, NULL, &inserted), HAPAX_ENULL);
	CHECK_EQ(hapax_table_contains(table, HAPAX_STR("n")), 0);
	hapax_release(y);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_WVD_07_the_old_value_does_not_remove_the_newer)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x, *y;

	for (int i = 0; i < 100; i++) {
		x = item_new(env, 1);
		y = item_new(env, 2);
		table_put(table, HAPAX_STR("k"), x);
		table_put(table, HAPAX_STR("k"), y);
		CHECK_EQ(hapax_weak_count(x), 0);
		table_check(table, 1);
		hapax_release(x);
		table_check(table, 1);
		CHECK_PTR(table_peek(table, HAPAX_STR("k")), y);
		hapax_testing_drain(env);
		CHECK_PTR(table_peek(table, HAPAX_STR("k")), y);
		hapax_release(y);
		CHECK(!table_peek(table, HAPAX_STR("k")));
	}
	/* x, y, x again: y's death leaves x's second entry */
	x = item_new(env, 1);
	y = item_new(env, 2);
	table_put(table, HAPAX_STR("k"), x);
	table_put(table, HAPAX_STR("k"), y);
	table_put(table, HAPAX_STR("k"), x);
	hapax_release(y);
	CHECK_PTR(table_peek(table, HAPAX_STR("k")), x);
	CHECK_EQ(hapax_weak_count(x), 1);
	table_check(table, 1);
	hapax_release(x);
	table_end(table, 0);
	test_env_end(env);
}

/* Replacements where keys crowd: one hash for all, so that old and new lie anywhere in a long chain. */
static int one_hash(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	*hash = *(const uint64_t *)ctx;
	return 0;
}

TEST(PY_WVD_07_replacements_in_a_crowd)
{
	static const uint64_t hashes[] = {0, 1, UINT64_MAX, UINT64_C(0x8000000000000000)};
	hapax_env *env = test_env();

	for (int h = 0; h < 4; h++) {
		hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
		uint64_t random = test_stream((uint64_t)h);
		struct item *x[200] = {0};
		hapax_table *table;
		size_t live = 0;

		options.keys.hash = one_hash;
		options.keys.ctx = (void *)(uintptr_t)&hashes[h];
		CHECK_EQ(hapax_table_create(&table, &options), HAPAX_OK);
		for (int i = 0; i < (test_slow_build() ? 600 : 2000); i++) {
			int key = (int)test_below(&random, 200);
			struct item *fresh;

			switch (test_below(&random, 3)) {
			case 0:
			case 1:
				fresh = item_new(env, key);
				table_put(table, HAPAX_KEY_OF(key), fresh);
				live += !x[key];
				hapax_release(x[key]);
				x[key] = fresh;
				break;
			default:
				if (test_below(&random, 2)) {
					CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(key)),
						 x[key] ? HAPAX_OK : HAPAX_MISS);
				}
				live -= x[key] != NULL;
				hapax_release(x[key]);
				x[key] = NULL;
			}
			CHECK_PTR(table_peek(table, HAPAX_KEY_OF(key)), x[key]);
		}
		for (int key = 0; key < 200; key++)
			CHECK_PTR(table_peek(table, HAPAX_KEY_OF(key)), x[key]);
		table_check(table, live);
		for (int key = 0; key < 200; key++)
			hapax_release(x[key]);
		table_end(table, 0);
	}
	test_env_end(env);
}

TEST(PY_WVD_09_pop_any_skips_the_dead)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x[60];
	bool seen[60] = {0};
	void *object = (void *)(uintptr_t)8;
	int popped = 0;

	CHECK_EQ(hapax_table_pop_any(table, &object), HAPAX_EMPTY);
	CHECK(!object);
	for (int i = 0; i < 60; i++) {
		x[i] = item_of(env, i % 3 ? &item_type : &deferred_type, i);
		table_put(table, HAPAX_KEY_OF(i), x[i]);
	}
	for (int i = 0; i < 60; i++)
		if (i % 3 == 0 || i % 5 == 0)
			hapax_release(x[i]); /* a third of them dead and still linked */
	for (;;) {
		int status = hapax_table_pop_any(table, &object);
		struct item *item = object;

		if (status == HAPAX_EMPTY)
			break;
		CHECK_EQ(status, HAPAX_OK);
		CHECK(item->id % 3 && item->id % 5);
		CHECK(!seen[item->id]);
		seen[item->id] = true;
		CHECK_EQ(hapax_count(item), 2);
		CHECK_EQ(hapax_table_contains(table, HAPAX_KEY_OF(item->id)), 0);
		hapax_release(item);
		popped++;
	}
	CHECK_EQ(popped, 32);
	CHECK_EQ(hapax_table_pop_any(table, &object), HAPAX_EMPTY);
	CHECK_EQ(hapax_run_deferred(env), 20);
	table_check(table, 0);
	CHECK_EQ(hapax_table_pop_any(table, &object), HAPAX_EMPTY);
	for (int i = 0; i < 60; i++)
		if (i % 3 && i % 5)
			hapax_release(x[i]);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_WVD_10_copying_takes_only_the_live)
{
	hapax_env *env = test_env();
	hapax_table *source = table_new(env), *target = table_new(env);
	struct item *x[200], *mine = item_new(env, 1000);
	size_t copied = 99;

	for (int i = 0; i < 200; i++) {
		x[i] = item_of(env, i % 2 ? &item_type : &deferred_type, i);
		table_put(source, HAPAX_KEY_OF(i), x[i]);
	}
	for (int i = 0; i < 10; i++)
		table_put(target, HAPAX_KEY_OF(i), mine); /* replaced where the source has a live one */
	table_put(target, HAPAX_STR("mine"), mine);
	for (int i = 0; i < 200; i++)
		if (i % 4 >= 2)
			hapax_release(x[i]);
	CHECK_EQ(hapax_table_copy(target, source, &copied), HAPAX_OK);
	CHECK_EQ(copied, 100);
	for (int i = 0; i < 200; i++) {
		struct item *expected = i % 4 < 2 ? x[i] : i < 10 ? mine : NULL;

		CHECK_PTR(table_peek(target, HAPAX_KEY_OF(i)), expected);
	}
	CHECK_PTR(table_peek(target, HAPAX_STR("mine")), mine);
	/* into itself: nothing to do */
	copied = 99;
	CHECK_EQ(hapax_table_copy(target, target, &copied), HAPAX_OK);
	CHECK_EQ(copied, 0);
	CHECK_EQ(hapax_run_deferred(env), 50);
	table_check(source, 100);
	table_check(target, 100 + 4 + 1); /* 2, 3, 6, 7 kept ours */
	CHECK_EQ(hapax_table_copy(target, source, NULL), HAPAX_OK);
	table_check(target, 105);
	for (int i = 0; i < 200; i++)
		if (i % 4 < 2)
			hapax_release(x[i]);
	CHECK_EQ(hapax_run_deferred(env), 50);
	hapax_release(mine);
	table_end(source, 0);
	table_end(target, 0);
	test_env_end(env);
}

TEST(PY_WVD_10_a_copy_that_runs_out_of_memory_says_how_far_it_came)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	hapax_table *source = table_new(env);
	struct item *x[300];
	char big[600];
	int failed = 0;

	memset(big, 'k', sizeof(big));
	for (int i = 0; i < 300; i++) {
		x[i] = item_new(env, i);
		memcpy(big, &i, sizeof(i));
		table_put(source, HAPAX_BYTES(big, sizeof(big)), x[i]); /* too long for the pool */
	}
	for (uint64_t at = 1; at < 2000; at = at * 3 / 2 + 1) {
		hapax_table *target = table_new(env);
		size_t copied = 9999, present = 0;
		int status;

		memory->fail_from = memory->calls + at;
		status = hapax_table_copy(target, source, &copied);
		memory->fail_from = 0;
		if (status) {
			CHECK_EQ(status, HAPAX_ENOMEM);
			CHECK(copied < 300);
			failed++;
		} else {
			CHECK_EQ(copied, 300);
		}
		for (int i = 0; i < 300; i++) {
			void *object;

			memcpy(big, &i, sizeof(i));
			object = table_peek(target, HAPAX_BYTES(big, sizeof(big)));
			CHECK(!object || object == x[i]);
			present += object != NULL;
		}
		CHECK_EQ(present, copied);
		table_check(target, copied);
		CHECK_EQ(hapax_table_copy(target, source, &copied), HAPAX_OK);
		table_end(target, 300);
	}
	CHECK(failed > 0);
	for (int i = 0; i < 300; i++)
		hapax_release(x[i]);
	table_end(source, 0);
	test_env_end(env);
}

TEST(PY_WVD_11_a_snapshot_is_independent_and_weak)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env), *snapshot;
	struct item *x[100], *late = item_new(env, 500);

	for (int i = 0; i < 100; i++) {
		x[i] = item_of(env, i % 10 ? &item_type : &deferred_type, i);
		table_put(table, HAPAX_KEY_OF(i), x[i]);
	}
	for (int i = 0; i < 100; i += 5)
		hapax_release(x[i]); /* half of these dead and still linked */
	CHECK_EQ(hapax_table_snapshot(table, &snapshot), HAPAX_OK);
	CHECK_EQ(hapax_run_deferred(env), 10);
	table_check(table, 80);
	table_check(snapshot, 80);
	for (int i = 0; i < 100; i++) {
		CHECK_PTR(table_peek(snapshot, HAPAX_KEY_OF(i)), i % 5 ? x[i] : NULL);
		if (i % 5)
			CHECK_EQ(hapax_count(x[i]), 1); /* weakly again */
	}
	/* remove and put in one leave the other */
	for (int i = 1; i < 100; i += 5)
		CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(i)), HAPAX_OK);
	for (int i = 2; i < 100; i += 5)
		CHECK_EQ(hapax_table_remove(snapshot, HAPAX_KEY_OF(i)), HAPAX_OK);
	table_put(table, HAPAX_STR("late"), late);
	CHECK(!table_peek(snapshot, HAPAX_STR("late")));
	table_check(table, 61);
	table_check(snapshot, 60);
	/* a death empties both */
	for (int i = 3; i < 100; i += 5) {
		hapax_release(x[i]);
		CHECK(!table_peek(table, HAPAX_KEY_OF(i)));
		CHECK(!table_peek(snapshot, HAPAX_KEY_OF(i)));
	}
	table_check(table, 41);
	table_check(snapshot, 40);
	hapax_table_clear(table);
	table_check(snapshot, 40);
	table_end(table, 0);
	for (int i = 0; i < 100; i++)
		if (i % 5 && i % 5 != 3)
			hapax_release(x[i]);
	hapax_release(late);
	table_end(snapshot, 0);
	test_env_end(env);
}

/* The same options: a snapshot of a table with its own hash has it too. */
TEST(PY_WVD_11_a_snapshot_keeps_the_options)
{
	static const uint64_t hash = 5;
	hapax_env *env = test_env();
	hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .capacity = 10};
	hapax_table *table, *snapshot, *again;
	struct item *x[40];

	options.keys.hash = one_hash;
	options.keys.ctx = (void *)(uintptr_t)&hash;
	CHECK_EQ(hapax_table_create(&table, &options), HAPAX_OK);
	for (int i = 0; i < 40; i++) {
		x[i] = item_new(env, i);
		table_put(table, HAPAX_KEY_OF(i), x[i]);
	}
	CHECK_EQ(hapax_table_snapshot(table, &snapshot), HAPAX_OK);
	hapax_table_destroy(table);
	CHECK_EQ(hapax_table_snapshot(snapshot, &again), HAPAX_OK);
	for (int i = 0; i < 40; i++) {
		CHECK_PTR(table_peek(snapshot, HAPAX_KEY_OF(i)), x[i]);
		CHECK_PTR(table_peek(again, HAPAX_KEY_OF(i)), x[i]);
		hapax_release(x[i]);
	}
	table_end(snapshot, 0);
	table_end(again, 0);
	test_env_end(env);
}

TEST(PY_WVD_12_clear_leaves_the_objects_alone)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	hapax_table *table = table_new(env);
	struct item *x[300];

	for (int round = 0; round < 3; round++) {
		if (!round)
			for (int i = 0; i < 300; i++)
				x[i] = item_new(env, i);
		for (int i = 0; i < 300; i++)
			table_put(table, HAPAX_KEY_OF(i), x[i]);
		table_check(table, 300);
		memory->fail_from = memory->calls + 1; /* clear needs no memory */
		hapax_table_clear(table);
		memory->fail_from = 0;
		table_check(table, 0);
		for (int i = 0; i < 300; i++) {
			CHECK(item_is_alive(x[i]));
			CHECK_EQ(hapax_count(x[i]), 1);
			CHECK_EQ(hapax_weak_count(x[i]), 0);
			CHECK_EQ(hapax_table_contains(table, HAPAX_KEY_OF(i)), 0);
			CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(i)), HAPAX_MISS);
		}
	}
	hapax_table_clear(table);
	for (int i = 0; i < 300; i++)
		hapax_release(x[i]);
	table_end(table, 0);
	test_env_end(env);
}

struct everywhere {
	hapax_table *table[3];
	int keys;
};
static void nowhere(struct probe *p)
{
	struct everywhere *e = p->arg;

	for (int t = 0; t < 3; t++) {
		for (int key = 0; key < e->keys; key++)
			CHECK(!table_peek(e->table[t], HAPAX_KEY_OF(key)));
		CHECK_EQ(hapax_table_size(e->table[t]), 0);
	}
}

TEST(PY_WVD_13_one_object_under_many_keys_in_many_tables)
{
	static const int keys[] = {1, 2, 30, 500};
	hapax_env *env = test_env();

	for (int n = 0; n < 4; n++) {
		struct everywhere e = {{table_new(env), table_new(env), table_new(env)}, keys[n]};
		struct item *x = item_new(env, 1);
		struct probe first, last;

		trace_reset();
		probe_on(&last, 2, x, false);
		for (int t = 0; t < 3; t++)
			for (int key = 0; key < e.keys; key++)
				table_put(e.table[t], HAPAX_KEY_OF(key), x);
		probe_on(&first, 1, x, false);
		CHECK_EQ(hapax_weak_count(x), 2 + 3 * e.keys);
		CHECK_EQ(hapax_count(x), 1);
		first.then = last.then = nowhere;
		first.arg = last.arg = &e;
		hapax_release(x);
		CHECK_STR(trace_text, "c1 c2 ");
		for (int t = 0; t < 3; t++)
			table_end(e.table[t], 0);
		CHECK_EQ(probe_drop(&first), HAPAX_OK);
		CHECK_EQ(probe_drop(&last), HAPAX_OK);
	}
	test_env_end(env);
}

TEST(PY_WVD_15_putting_an_object_again_under_its_key)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1);
	struct probe p;

	trace_reset();
	probe_on(&p, 1, x, false);
	for (int i = 0; i < 1000; i++) {
		table_put(table, HAPAX_STR("k"), x);
		CHECK_EQ(hapax_weak_count(x), 2);
		CHECK_EQ(hapax_table_size(table), 1);
	}
	table_check(table, 1);
	CHECK_EQ(hapax_count(x), 1);
	CHECK_EQ(p.calls, 0);
	CHECK_EQ(hapax_table_remove(table, HAPAX_STR("k")), HAPAX_OK);
	CHECK_EQ(hapax_table_contains(table, HAPAX_STR("k")), 0);
	table_check(table, 0);
	table_put(table, HAPAX_STR("k"), x);
	hapax_release(x);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_WVD_17_tables_may_go_before_their_values)
{
	hapax_env *env = test_env();
	struct item *x[200];

	for (int round = 0; round < 5; round++) {
		hapax_table *table = table_new(env);

		for (int i = 0; i < 200; i++) {
			x[i] = item_of(env, i % 2 ? &item_type : &deferred_type, i);
			table_put(table, HAPAX_KEY_OF(i), x[i]);
		}
		for (int i = 0; i < 20; i++)
			hapax_release(x[i]); /* half of them with their deaths still queued */
		hapax_table_destroy(table);
		if (round % 2)
			hapax_testing_drain(env);
		for (int i = 20; i < 200; i++) {
			CHECK(item_is_alive(x[i]));
			hapax_release(x[i]);
		}
		CHECK_EQ(hapax_run_deferred(env), 100);
	}
	test_env_end(env);
}

/* The environment's hold goes first, then the table's, then the objects'. */
/* A dead entry was put over before its death was told; then the table goes. The death finds that it has nothing to do with it
 * (it went on to the freed table). */
TEST(PY_WVD_17_destroyed_before_the_death_of_what_was_put_over_is_told)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *a = item_new(env, 1), *b = item_new(env, 2);
	pthread_t thread;
	int key = 1;

	table_put(table, HAPAX_KEY_OF(key), a);
	thread = release_stopped(a);
	table_put(table, HAPAX_KEY_OF(key), b);
	CHECK_PTR(table_peek(table, HAPAX_KEY_OF(key)), b);
	table_check(table, 1);
	hapax_table_destroy(table);
	hapax_testing_drain(env);
	test_event_set(&may_be_told);
	test_join(thread);
	hapax_testing_set_stop(NULL, NULL);
	hapax_release(b);
	CHECK_EQ(items_destroyed_now(), 2);
	test_env_end(env);
}

TEST(PY_WVD_17_any_order_of_teardown)
{
	struct test_allocator memory;

	for (int order = 0; order < 6; order++) {
		hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT};
		static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
		hapax_env *env;
		hapax_table *table;
		struct item *x;

		test_allocator_init(&memory, 0);
		options.allocator = memory.allocator;
		CHECK_EQ(hapax_env_create(&env, &options), HAPAX_OK);
		table = table_new(env);
		x = item_new(env, 1);
		table_put(table, HAPAX_STR("k"), x);
		items_reset();
		for (int i = 0; i < 3; i++) {
			switch (orders[order][i]) {
			case 0:
				hapax_env_destroy(env);
				break;
			case 1:
				hapax_table_destroy(table);
				break;
			default:
				hapax_release(x);
			}
		}
		CHECK_EQ(items_destroyed_now(), 1);
		hapax_testing_drain(NULL);
		CHECK_EQ(test_allocator_live(&memory), 0);
	}
}

/* Against a model: what is present, and the size, after any mix of puts, replacements, removals and deaths. */
TEST(PY_WVD_19_size_is_exact_at_rest)
{
	enum { KEYS = 3000, OBJECTS = 2000 };
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item **x = calloc(OBJECTS, sizeof(*x));
	int *under = calloc(KEYS, sizeof(*under)); /* 1 + which object */
	uint64_t random = test_stream(19), rounds = scaled(300000);
	size_t live = 0;

	CHECK(x && under);
	for (uint64_t i = 0; i < rounds; i++) {
		int key = (int)test_below(&random, KEYS), at = (int)test_below(&random, OBJECTS);
		void *object;

		switch (test_below(&random, 8)) {
		case 0:
		case 1:
		case 2:
			if (!x[at])
				x[at] = item_new(env, at);
			table_put(table, HAPAX_KEY_OF(key), x[at]);
			live += !under[key];
			under[key] = 1 + at;
			break;
		case 3:
			CHECK_EQ(hapax_table_remove(table, HAPAX_KEY_OF(key)), under[key] ? HAPAX_OK : HAPAX_MISS);
			live -= under[key] != 0;
			under[key] = 0;
			break;
		case 4:
			CHECK_EQ(hapax_table_pop(table, HAPAX_KEY_OF(key), &object), under[key] ? HAPAX_OK : HAPAX_MISS);
			CHECK_PTR(object, under[key] ? x[under[key] - 1] : NULL);
			hapax_release(object);
			live -= under[key] != 0;
			under[key] = 0;
			break;
		case 5:
			if (!x[at] || test_below(&random, 4))
				break;
			hapax_release(x[at]);
			x[at] = NULL;
			for (int k = 0; k < KEYS; k++) {
				if (under[k] == 1 + at) {
					under[k] = 0;
					live--;
				}
			}
			break;
		default:
			CHECK_PTR(table_peek(table, HAPAX_KEY_OF(key)), under[key] ? x[under[key] - 1] : NULL);
		}
		if (i % 4096 == 0)
			CHECK_EQ(hapax_table_size(table), live);
	}
	table_check(table, live);
	for (int key = 0; key < KEYS; key++)
		CHECK_PTR(table_peek(table, HAPAX_KEY_OF(key)), under[key] ? x[under[key] - 1] : NULL);
	for (int at = 0; at < OBJECTS; at++)
		hapax_release(x[at]);
	table_end(table, 0);
	free(x);
	free(under);
	test_env_end(env);
}

struct mixers {
	hapax_table *table;
	hapax_env *env;
	uint64_t rounds;
	struct item *kept[4][64];
};
static void mix(unsigned index, void *arg)
{
	struct mixers *m = arg;
	uint64_t random = test_stream(200 + index);
	struct item **x = m->kept[index];

	for (uint64_t i = 0; i < m->rounds; i++) {
		int key = (int)test_below(&random, 100), at = (int)test_below(&random, 64);
		void *object;

		switch (test_below(&random, 4)) {
		case 0:
			if (!x[at])
				x[at] = item_new(m->env, at);
			table_put(m->table, HAPAX_KEY_OF(key), x[at]);
			break;
		case 1:
			hapax_release(x[at]);
			x[at] = NULL;
			break;
		case 2:
			CHECK(hapax_table_remove(m->table, HAPAX_KEY_OF(key)) >= 0);
			break;
		default:
			if (hapax_table_get(m->table, HAPAX_KEY_OF(key), &object) == HAPAX_OK) {
				CHECK(item_is_alive(object));
				hapax_release(object);
			}
		}
	}
}

TEST(PY_WVD_19_size_is_exact_after_concurrent_traffic)
{
	hapax_env *env = test_env();
	struct mixers m = {.table = table_new(env), .env = env, .rounds = scaled(50000)};
	size_t present = 0;

	run_threads(4, mix, &m);
	for (int key = 0; key < 100; key++)
		present += table_peek(m.table, HAPAX_KEY_OF(key)) != NULL;
	table_check(m.table, present);
	for (int t = 0; t < 4; t++)
		for (int i = 0; i < 64; i++)
			hapax_release(m.kept[t][i]);
	table_end(m.table, 0);
	test_env_end(env);
}

/* L10: a put that fails leaves what was there; each allocation fails in turn. */
TEST(PY_WVD_a_failed_put_changes_nothing)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1);
	char key[700];
	unsigned refused = 0;

	memset(key, 'k', sizeof(key));
	for (int i = 0; i < 2000; i++) {
		struct item *old = i % 2 ? item_new(env, 2) : NULL;
		size_t size = 4 + (size_t)i % 690;
		void *object = (void *)(uintptr_t)8;
		uint64_t count;
		bool inserted;
		int status;

		memcpy(key, &i, sizeof(i));
		if (old)
			table_put(table, HAPAX_BYTES(key, size), old);
		count = hapax_weak_count(x);
		memory->fail_from = memory->calls + 1;
		if (i % 3 && !old)
			status = hapax_table_get_or_put(table, HAPAX_BYTES(key, size), x, &object, &inserted);
		else
			status = hapax_table_put(table, HAPAX_BYTES(key, size), x);
		memory->fail_from = 0;
		if (status) {
			CHECK_EQ(status, HAPAX_ENOMEM);
			CHECK_EQ(hapax_weak_count(x), count);
			CHECK_EQ(hapax_count(x), 1);
			CHECK_PTR(table_peek(table, HAPAX_BYTES(key, size)), old);
			if (i % 3 && !old)
				CHECK(!object);
			refused++;
			table_put(table, HAPAX_BYTES(key, size), x);
		} else if (i % 3 && !old) {
			hapax_release(object);
		}
		CHECK_PTR(table_peek(table, HAPAX_BYTES(key, size)), x);
		hapax_release(old);
		CHECK_PTR(table_peek(table, HAPAX_BYTES(key, size)), x);
	}
	CHECK(refused > 0);
	table_check(table, 2000);
	hapax_release(x);
	table_end(table, 0);
	test_env_end(env);
}

TEST(PY_WVD_keys_and_arguments_that_are_refused)
{
	hapax_env *env = test_env(), *other = test_env();
	hapax_table *table = table_new(env);
	struct item *x = item_new(env, 1), *foreign = item_new(other, 2);
	void *object = (void *)(uintptr_t)8;

	CHECK_EQ(hapax_table_put(table, HAPAX_STR("k"), NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_table_put(NULL, HAPAX_STR("k"), x), HAPAX_ENULL);
	CHECK_EQ(hapax_table_put(table, HAPAX_STR("k"), foreign), HAPAX_EFOREIGN);
	CHECK_EQ(hapax_table_put(table, HAPAX_BYTES(NULL, 1), x), HAPAX_EKEY);
	CHECK_EQ(hapax_table_get(table, HAPAX_BYTES(NULL, 1), &object), HAPAX_EKEY);
	CHECK(!object);
	CHECK_EQ(hapax_table_contains(table, HAPAX_BYTES(NULL, 1)), HAPAX_EKEY);
	CHECK_EQ(hapax_table_remove(table, HAPAX_BYTES(NULL, 1)), HAPAX_EKEY);
	CHECK_EQ(hapax_table_put(table, HAPAX_BYTES("", HAPAX_KEY_MAX + 1), x), HAPAX_EKEYSIZE);
	CHECK_EQ(hapax_table_get(table, HAPAX_BYTES("", HAPAX_KEY_MAX + 1), &object), HAPAX_EKEYSIZE);
	table_check(table, 0);
	CHECK_EQ(hapax_weak_count(x), 0);
	/* the empty key is one key */
	table_put(table, HAPAX_BYTES(NULL, 0), x);
	CHECK_PTR(table_peek(table, HAPAX_BYTES("x", 0)), x);
	CHECK_PTR(table_peek(table, HAPAX_STR("")), x);
	table_check(table, 1);
	hapax_release(foreign);
	hapax_release(x);
	table_end(table, 0);
	test_env_end(other);
	test_env_end(env);
}
