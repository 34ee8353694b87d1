/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gets that would wait for a load in a queue which waits for them: they run it. */
#include "unit/asked.h"

struct chain {
	hapax_cache *cache;
	struct told told[2];
	struct test_event both;
	int loads, status, fail;
};

/* "a" wants "b". */
static int load_a_wants_b(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct chain *c = arg;
	struct item *it = object;
	void *b = NULL;

	__atomic_fetch_add(&c->loads, 1, __ATOMIC_RELAXED);
	it->live = ITEM_ALIVE;
	if (key->size == 1 && *(const char *)key->data == 'b' && c->fail) {
		error->code = c->fail;
		return HAPAX_LOAD_FAIL;
	}
	if (key->size != 1 || *(const char *)key->data != 'a')
		return HAPAX_LOAD_OK;
	test_event_wait(&c->both);
	c->status = hapax_cache_get(c->cache, HAPAX_STR("b"), &b);
	hapax_release(b);
	return HAPAX_LOAD_OK;
}

static void begin(struct chain *c, hapax_env *env)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = load_a_wants_b, .arg = c};

	test_event_init(&c->both);
	CHECK_EQ(hapax_cache_create(&c->cache, &o), HAPAX_OK);
}

static void end(struct chain *c, hapax_env *env)
{
	cache_check(c->cache, 0);
	hapax_cache_destroy(c->cache);
	test_env_end(env);
}

/* The library's one thread loads "a" and is the one that would have to load "b". */
TEST(G8_L5_a_loader_in_the_queue_gets_what_is_queued_behind_it)
{
	struct chain c = {.status = -1};
	hapax_env *env = test_env();

	begin(&c, env);
	told_ask(&c.told[0], c.cache, "a");
	told_ask(&c.told[1], c.cache, "b");
	test_event_set(&c.both);
	for (int i = 0; i < 2; i++)
		told_wait(&c.told[i]);
	CHECK_EQ(c.status, HAPAX_OK);
	CHECK_EQ(c.loads, 2);
	for (int i = 0; i < 2; i++)
		told_end(&c.told[i], HAPAX_OK);
	end(&c, env);
}

/* Nobody runs the queue while this thread waits. */
TEST(G8_L6_a_get_runs_what_waits_for_maintain)
{
	for (int fail = 0; fail < 2; fail++) {
		struct chain c = {.fail = fail ? 77 : 0};
		hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
		hapax_load_error error = {.code = 0};
		hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT, .error = &error};
		void *out = NULL;

		begin(&c, env);
		told_ask(&c.told[0], c.cache, "b");
		CHECK_EQ(hapax_cache_get_with(c.cache, HAPAX_STR("b"), &o, &out), HAPAX_INFLIGHT); /* may not wait, may not work */
		CHECK_EQ(c.loads, 0);
		o.deadline = HAPAX_FOREVER;
		CHECK_EQ(hapax_cache_get_with(c.cache, HAPAX_STR("b"), &o, &out), fail ? HAPAX_ELOADER : HAPAX_OK);
		CHECK_EQ(c.loads, 1);
		CHECK_EQ(error.code, c.fail);
		hapax_load_error_drop(&error);
		CHECK_EQ(told_calls(&c.told[0]), 1); /* by the same load */
		told_end(&c.told[0], fail ? HAPAX_ELOADER : HAPAX_OK);
		hapax_release(out);
		while (hapax_cache_maintain(c.cache))
			;
		CHECK_EQ(c.loads, 1);
		end(&c, env);
	}
}
