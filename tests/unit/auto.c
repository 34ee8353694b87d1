/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Variables that give back what they hold (hapax/auto.h), however their scope is left. test_env_end() fails for
 * anything that was not given back, and the destructor of an item for anything that was given back twice.
 */
#include "unit/item.h"

/* ---- objects: ways out of a scope -------------------------------------------------------------------------------- */

TEST(auto_end_of_scope_last_first)
{
	hapax_env *env = test_env();

	trace_reset();
	{
		HAPAX_AUTO(struct item *) a = item_traced(env, 1);
		HAPAX_AUTO(const struct item *) b = item_traced(env, 2);
		HAPAX_AUTO(void *) c = item_traced(env, 3);

		CHECK(a && b && c);
		CHECK_STR(trace_text, "");
		{
			HAPAX_AUTO(struct item *) inner = item_traced(env, 4);

			CHECK_EQ(inner->id, 4);
		}
		CHECK_STR(trace_text, "d4 ");
	}
	CHECK_STR(trace_text, "d4 d3 d2 d1 ");
	test_env_end(env);
}

/* Leaves by the `way`-th of its returns, with as many objects. The value is computed while they are still there. */
static int leave(hapax_env *env, int way)
{
	HAPAX_AUTO(struct item *) a = NULL;
	HAPAX_AUTO(struct item *) b = NULL;

	if (way == 0)
		return -1;
	a = item_traced(env, 1);
	if (way == 1)
		return a->id;
	b = item_traced(env, 2);
	if (way == 2)
		return a->id + b->id;
	{
		HAPAX_AUTO(struct item *) c = item_traced(env, 3);

		if (way == 3)
			return a->id + b->id + c->id;
		if (way == 4)
			goto out;
	}
	trace("after");
out:
	trace("out");
	return (int)hapax_count(a);
}

TEST(auto_every_return)
{
	static const struct {
		int value;
		const char *trace;
	} expected[] = {{-1, ""}, {1, "d1 "}, {3, "d2 d1 "}, {6, "d3 d2 d1 "}, {1, "d3 out d2 d1 "},
			{1, "d3 after out d2 d1 "}};
	hapax_env *env = test_env();

	for (int way = 0; way < 6; way++) {
		trace_reset();
		CHECK_EQ(leave(env, way), expected[way].value);
		CHECK_STR(trace_text, expected[way].trace);
	}
	test_env_end(env);
}

TEST(auto_every_turn_of_a_loop)
{
	hapax_env *env = test_env();

	trace_reset();
	for (int i = 0; i < 5; i++) {
		HAPAX_AUTO(struct item *) x = item_traced(env, i);

		if (i == 1)
			continue;
		if (i == 3)
			break;
		trace("end%d", x->id);
	}
	CHECK_STR(trace_text, "end0 d0 d1 end2 d2 d3 ");
	test_env_end(env);
}

TEST(auto_shared_objects_lose_one_reference)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);

	for (uint64_t i = 0; i < 3; i++) {
		HAPAX_AUTO(struct item *) same = x;

		CHECK_EQ(hapax_retain(x), HAPAX_OK);
		CHECK_EQ(hapax_count(same), 2);
	}
	CHECK_EQ(hapax_count(x), 1);
	hapax_release(x);
	test_env_end(env);
}

/* ---- passing on -------------------------------------------------------------------------------------------------- */

static struct item *make(hapax_env *env, bool well)
{
	HAPAX_AUTO(struct item *) x = item_traced(env, 7);

	return well ? hapax_steal(x) : NULL;
}

TEST(auto_steal_passes_the_reference_on)
{
	hapax_env *env = test_env();
	struct item *x;

	trace_reset();
	CHECK(!make(env, false));
	CHECK_STR(trace_text, "d7 ");
	x = make(env, true);
	CHECK(item_is_alive(x));
	CHECK_EQ(hapax_count(x), 1);
	CHECK_STR(trace_text, "d7 ");
	hapax_release(x);
	CHECK_STR(trace_text, "d7 d7 ");
	test_env_end(env);
}

TEST(auto_steal_evaluates_once_and_clears)
{
	hapax_env *env = test_env();
	struct item *row[4] = {item_new(env, 0), item_new(env, 1), NULL, item_new(env, 3)};
	struct { struct item *first; } pair = {NULL}, *at = &pair;
	int i = 0;

	while (i < 4) {
		HAPAX_AUTO(struct item *) x = hapax_steal(row[i++]);

		CHECK(!row[i - 1]);
		CHECK(i == 3 ? !x : x->id == i - 1);
		if (i == 2)
			at->first = hapax_steal(x); /* kept beyond this turn */
	}
	CHECK_EQ(i, 4);
	CHECK_EQ(items_destroyed_now(), 2);
	CHECK(item_is_alive(pair.first));
	hapax_release(hapax_steal(at->first));
	CHECK(!pair.first);
	CHECK_EQ(items_destroyed_now(), 3);
	test_env_end(env);
}

/* ---- every kind -------------------------------------------------------------------------------------------------- */

TEST(auto_nothing_to_give_back)
{
	for (int i = 0; i < 2; i++) {
		HAPAX_AUTO(struct item *) object = NULL;
		HAPAX_AUTO_WEAK(weak) = NULL;
		HAPAX_AUTO_ITER(iter) = NULL;
		HAPAX_AUTO_ERROR(error) = {0};
		HAPAX_AUTO_LOAD(load) = NULL;
		HAPAX_AUTO_TABLE(table) = NULL;
		HAPAX_AUTO_CACHE(cache) = NULL;
		HAPAX_AUTO_COMPLETIONS(queue) = NULL;
		HAPAX_AUTO_ENV(env) = NULL;

		CHECK(!object && !weak && !iter && !error.shared && !load && !table && !cache && !queue && !env);
	}
}

static void count_call(hapax_weak *weak, void *ctx)
{
	(void)weak;
	++*(int *)ctx;
}

TEST(auto_handles)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	int calls = 0;

	for (int i = 0; i < 3; i++) {
		hapax_callback cb = {count_call, &calls, NULL};
		HAPAX_AUTO_WEAK(plain) = NULL;
		HAPAX_AUTO_WEAK(watch) = NULL;

		CHECK_EQ(hapax_weak_new(x, NULL, &plain), HAPAX_OK);
		if (i == 1)
			continue;
		CHECK_EQ(hapax_weak_new(x, &cb, &watch), HAPAX_OK);
		CHECK_EQ(hapax_weak_count(x), 2);
	}
	CHECK_EQ(hapax_weak_count(x), 0);
	hapax_release(x);
	CHECK_EQ(calls, 0); /* all were cancelled by then */
	test_env_end(env);
}

TEST(auto_tables_and_iterators)
{
	hapax_env *env = test_env();
	hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	HAPAX_AUTO(struct item *) x = item_new(env, 1);
	HAPAX_AUTO(struct item *) y = item_new(env, 2);

	for (int way = 0; way < 3; way++) {
		HAPAX_AUTO_TABLE(table) = NULL;
		HAPAX_AUTO_ITER(iter) = NULL;
		void *pinned;

		if (way == 0)
			continue;
		CHECK_EQ(hapax_table_create(&table, &options), HAPAX_OK);
		table_put(table, HAPAX_STR("x"), x);
		CHECK_EQ(hapax_weak_count(x), 1);
		if (way == 1)
			continue;
		CHECK_EQ(hapax_table_iterate(table, &iter), HAPAX_OK);
		CHECK_EQ(hapax_iter_next(iter, NULL, &pinned), HAPAX_OK);
		CHECK_PTR(pinned, x);
		CHECK_EQ(hapax_count(x), 2);
	}
	CHECK_EQ(hapax_count(x), 1); /* the iterator let go of it */
	CHECK_EQ(hapax_weak_count(x), 0);
	hapax_release(hapax_steal(x));
	hapax_release(hapax_steal(y));
	test_env_end(env);
}

/* Fails and counts what becomes of the detail. */
static int fail_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)object, (void)key;
	error->code = 5;
	error->detail = arg;
	return HAPAX_LOAD_FAIL;
}

static void drop_detail(void *detail) { ++*(int *)detail; }

static int fail_with_detail(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	error->drop = drop_detail;
	return fail_load(object, key, arg, error);
}

TEST(auto_caches_and_load_errors)
{
	hapax_env *env = test_env();
	int dropped = 0;
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type,
				       .load = fail_with_detail, .arg = &dropped, .max_entries = 8};

	for (int i = 0; i < 3; i++) {
		HAPAX_AUTO_CACHE(cache) = NULL;

		CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
		{
			HAPAX_AUTO_ERROR(error) = {0};
			hapax_get_options how = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};
			void *out;

			CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &how, &out), HAPAX_ELOADER);
			CHECK_EQ(error.code, 5);
			CHECK_PTR(error.detail, &dropped);
			CHECK_EQ(dropped, i);
		}
		CHECK_EQ(dropped, i + 1);
		if (i == 1)
			continue;
		{
			HAPAX_AUTO(struct item *) x = item_new(env, i);

			CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), x), HAPAX_OK);
		}
		CHECK_EQ(items_destroyed_now(), i / 2); /* the cache holds it */
	}
	CHECK_EQ(items_destroyed_now(), 2); /* held by nobody since the caches have gone */
	test_env_end(env);
}

static int start_load(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)key, (void)error;
	*(hapax_load **)arg = load;
	return 0;
}

TEST(auto_load_tokens_and_completion_queues)
{
	hapax_env *env = test_env();
	hapax_load *begun = NULL;
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .start = start_load,
				       .arg = &begun};

	for (int well = 0; well < 2; well++) {
		HAPAX_AUTO_CACHE(cache) = NULL;
		HAPAX_AUTO_COMPLETIONS(queue) = NULL;
		hapax_completion request = {0}, *done;

		CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
		CHECK_EQ(hapax_completions_create(&queue, env), HAPAX_OK);
		CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("k"), NULL, queue, &request), HAPAX_OK);
		{
			HAPAX_AUTO_LOAD(load) = begun;

			CHECK(load);
			CHECK(!hapax_completions_take(queue));
			if (well)
				CHECK_EQ(hapax_load_complete(load, item_new(env, 1), NULL), HAPAX_OK);
		}
		done = hapax_completions_take(queue);
		CHECK_PTR(done, &request);
		CHECK_EQ(done->status, well ? HAPAX_OK : HAPAX_EABANDONED);
		hapax_release(done->object);
		CHECK_EQ(items_destroyed_now(), well);
		if (well) /* given back with the queue, untaken */
			CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("k"), NULL, queue, &request), HAPAX_OK);
	}
	hapax_load_drop(begun);
	test_env_end(env);
}

TEST(auto_environments)
{
	struct test_allocator memory;
	hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT};

	test_allocator_init(&memory, 0);
	options.allocator = memory.allocator;
	for (int i = 0; i < 2; i++) {
		HAPAX_AUTO_ENV(env) = NULL;

		CHECK_EQ(hapax_env_create(&env, &options), HAPAX_OK);
		CHECK(test_allocator_live(&memory) > 0);
		hapax_release(item_new(env, i));
		hapax_testing_drain(env);
	}
	hapax_testing_drain(NULL);
	CHECK_EQ(test_allocator_live(&memory), 0);
	CHECK_EQ(items_destroyed_now(), 2);
}
