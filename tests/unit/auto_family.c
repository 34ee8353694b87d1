/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Variables that give back what they hold (hapax/auto.h): finalizers, bound callbacks, weak maps and sets, memos, interners.
 * Ways out of a scope: auto.c. Each scope is left in the middle once; test_env_end() fails for what was not given back.
 */
#include "unit/item.h"

TEST(auto_nothing_of_the_family_to_give_back)
{
	for (int i = 0; i < 2; i++) {
		HAPAX_AUTO_FINALIZER(finalizer) = NULL;
		HAPAX_AUTO_BOUND(bound) = NULL;
		HAPAX_AUTO_MAP_ITER(map_iter) = NULL;
		HAPAX_AUTO_SET_ITER(set_iter) = NULL;
		HAPAX_AUTO_WEAK_MAP(map) = NULL;
		HAPAX_AUTO_WEAK_SET(set) = NULL;
		HAPAX_AUTO_MEMO(memo) = NULL;
		HAPAX_AUTO_INTERNER(interner) = NULL;

		CHECK(!finalizer && !bound && !map_iter && !set_iter && !map && !set && !memo && !interner);
	}
}

static int count_run(void *ctx) { return ++*(int *)ctx; }

TEST(auto_finalizers_stay_registered)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	int runs = 0;

	for (int i = 0; i < 3; i++) {
		hapax_finalize what = {count_run, &runs, NULL};
		HAPAX_AUTO_FINALIZER(finalizer) = NULL;

		if (i == 1)
			continue;
		CHECK_EQ(hapax_finalizer_new(x, &what, 0, &finalizer), HAPAX_OK);
		CHECK(hapax_finalizer_alive(finalizer));
	}
	CHECK_EQ(runs, 0);
	hapax_release(x); /* only the handles went with their scope */
	CHECK_EQ(runs, 2);
	test_env_end(env);
}

static int call_nothing(void *target, void *part, void *ctx, void *arg)
{
	(void)target, (void)part, (void)ctx, (void)arg;
	return 0;
}

static void count_free(void *ctx) { ++*(int *)ctx; }

TEST(auto_bound_callbacks)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	int frees = 0;

	for (int i = 0; i < 3; i++) {
		hapax_bound_options options = {HAPAX_BOUND_OPTIONS_INIT, .fn = call_nothing, .target = x, .ctx = &frees,
					       .ctx_free = count_free};
		HAPAX_AUTO_BOUND(bound) = NULL;

		if (i == 1)
			continue;
		CHECK_EQ(hapax_bound_new(&bound, &options), HAPAX_OK);
		CHECK_EQ(frees, i / 2);
	}
	CHECK_EQ(frees, 2);
	CHECK_EQ(hapax_weak_count(x), 0);
	hapax_release(x);
	test_env_end(env);
}

TEST(auto_weak_maps_and_iterators)
{
	hapax_env *env = test_env();
	hapax_weak_map_options options = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env};
	struct item *key = item_new(env, 1);

	for (int way = 0; way < 3; way++) {
		HAPAX_AUTO_WEAK_MAP(map) = NULL;
		HAPAX_AUTO_MAP_ITER(iter) = NULL;
		HAPAX_AUTO(struct item *) data = item_new(env, 2);
		void *pinned;

		if (way == 0)
			continue;
		CHECK_EQ(hapax_weak_map_create(&map, &options), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_put(map, key, data), HAPAX_OK);
		if (way == 1)
			continue;
		CHECK_EQ(hapax_weak_map_iterate(map, &iter), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_next(iter, &pinned, NULL), HAPAX_OK);
		CHECK_PTR(pinned, key);
		CHECK_EQ(hapax_count(key), 2);
	}
	CHECK_EQ(hapax_count(key), 1);
	CHECK_EQ(items_destroyed_now(), 3); /* the data went with the maps */
	hapax_release(key);
	test_env_end(env);
}

TEST(auto_weak_sets_and_iterators)
{
	hapax_env *env = test_env();
	hapax_weak_set_options options = {HAPAX_WEAK_SET_OPTIONS_INIT, .env = env};
	struct item *x = item_new(env, 1);

	for (int way = 0; way < 3; way++) {
		HAPAX_AUTO_WEAK_SET(set) = NULL;
		HAPAX_AUTO_SET_ITER(iter) = NULL;
		void *pinned;

		if (way == 0)
			continue;
		CHECK_EQ(hapax_weak_set_create(&set, &options), HAPAX_OK);
		CHECK_EQ(hapax_weak_set_add(set, x, NULL), HAPAX_OK);
		if (way == 1)
			continue;
		CHECK_EQ(hapax_weak_set_iterate(set, &iter), HAPAX_OK);
		CHECK_EQ(hapax_weak_set_next(iter, &pinned), HAPAX_OK);
		CHECK_EQ(hapax_count(x), 2);
	}
	CHECK_EQ(hapax_count(x), 1);
	CHECK_EQ(hapax_weak_count(x), 0);
	hapax_release(x);
	test_env_end(env);
}

static int make_item(void **result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner, (void)n, (void)error;
	*result = item_new(ctx, (int)args[0].value.i);
	return HAPAX_LOAD_OK;
}

TEST(auto_memos)
{
	hapax_env *env = test_env();
	hapax_memo_options options = {HAPAX_MEMO_OPTIONS_INIT, .env = env, .type = &item_type, .make = make_item, .ctx = env};

	for (int i = 0; i < 3; i++) {
		HAPAX_AUTO_MEMO(memo) = NULL;
		HAPAX_AUTO(struct item *) result = NULL;
		void *out;

		if (i == 1)
			continue;
		CHECK_EQ(hapax_memo_create(&memo, &options), HAPAX_OK);
		CHECK_EQ(hapax_memo_call(memo, NULL, HAPAX_ARGS(hapax_arg_int(i)), &out), HAPAX_OK);
		result = out;
		CHECK_EQ(result->id, i);
		CHECK_EQ(items_destroyed_now(), i / 2);
	}
	CHECK_EQ(items_destroyed_now(), 2);
	test_env_end(env);
}

TEST(auto_interners)
{
	hapax_env *env = test_env();
	hapax_interner_options options = {HAPAX_INTERNER_OPTIONS_INIT, .env = env, .type = &item_type};
	struct item *x = item_new(env, 1);

	for (int i = 0; i < 3; i++) {
		HAPAX_AUTO_INTERNER(interner) = NULL;
		HAPAX_AUTO(void *) same = NULL;

		if (i == 1)
			continue;
		CHECK_EQ(hapax_interner_create(&interner, &options), HAPAX_OK);
		CHECK_EQ(hapax_intern(interner, x, &same, NULL), HAPAX_OK);
		CHECK_PTR(same, x);
		CHECK_EQ(hapax_weak_count(x), 1);
	}
	CHECK_EQ(hapax_weak_count(x), 0);
	CHECK_EQ(hapax_count(x), 1);
	hapax_release(x);
	test_env_end(env);
}
