/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a cache's callables work with goes with the cache: arg_free, and ctx_free of memos. */
#include "unit/cached.h"

struct owned {
	struct source s;
	int freed;
	int freed_in_loader;
};

static void owned_free(void *arg) { ((struct owned *)arg)->freed++; }

static int compute(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner;
	(void)args;
	(void)n;
	(void)error;
	CHECK_EQ(((struct owned *)ctx)->freed, 0);
	((struct item *)result)->live = ITEM_ALIVE;
	return HAPAX_LOAD_OK;
}

static int end_it(struct source *s, int load, void *object, const hapax_key *key)
{
	struct owned *o = (struct owned *)s;

	(void)load;
	(void)object;
	(void)key;
	hapax_cache_destroy(s->cache);
	o->freed_in_loader = o->freed;
	return GO_ON;
}

static hapax_cache *owning(hapax_env *env, struct owned *o, int64_t max_entries)
{
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load,
				       .arg = o, .arg_free = owned_free, .max_entries = max_entries};

	CHECK_EQ(hapax_cache_create(&o->s.cache, &options), HAPAX_OK);
	return o->s.cache;
}

TEST(AF_01_once_when_the_cache_is_destroyed)
{
	hapax_env *env = quiet_env(0);

	for (int64_t bound = 0; bound < 2; bound++) {
		struct owned o = {.freed = 0};
		hapax_cache *cache = owning(env, &o, bound);
		void *held = NULL;

		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &held), HAPAX_OK);
		hapax_cache_close(cache);
		CHECK_EQ(o.freed, 0);
		hapax_cache_destroy(cache);
		CHECK_EQ(o.freed, 1);
		hapax_release(held); /* objects do not need it */
		CHECK_EQ(o.freed, 1);
	}
	test_env_end(env);
}

TEST(AF_02_destroyed_from_inside_not_before_the_loader_has_returned)
{
	hapax_env *env = test_env();

	for (int64_t bound = 0; bound < 2; bound++) {
		struct owned o = {.s = {.then = end_it}};
		hapax_cache *cache = owning(env, &o, bound);
		void *out = NULL;

		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_ECLOSED);
		CHECK_EQ(o.freed_in_loader, 0);
		CHECK_EQ(o.freed, 1);
	}
	test_env_end(env);
}

TEST(AF_03_not_when_nothing_was_created)
{
	struct owned o = {.freed = 0};
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &item_type, .load = source_load,
				       .flags = 1u << 30, .arg = &o, .arg_free = owned_free};
	hapax_memo_options memo_options = {HAPAX_MEMO_OPTIONS_INIT, .type = &item_type, .compute = compute,
					   .flags = 1u << 30, .ctx = &o, .ctx_free = owned_free};
	hapax_cache *cache;
	hapax_memo *memo;

	CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_EFLAGS);
	CHECK_EQ(hapax_memo_create(&memo, &memo_options), HAPAX_EFLAGS);
	CHECK_EQ(o.freed, 0);
}

TEST(AF_04_once_when_the_memo_is_destroyed)
{
	hapax_env *env = test_env();

	for (unsigned owned = 0; owned < 2; owned++) {
		struct owned o = {.freed = 0};
		hapax_memo_options options = {HAPAX_MEMO_OPTIONS_INIT, .env = env, .type = &item_type, .compute = compute,
					      .flags = owned ? HAPAX_MEMO_OWNED : 0, .ctx = &o, .ctx_free = owned_free};
		struct item *owner = owned ? item_new(env, 1) : NULL;
		hapax_memo *memo;
		void *out = NULL;

		CHECK_EQ(hapax_memo_create(&memo, &options), HAPAX_OK);
		CHECK_EQ(hapax_memo_get(memo, owner, HAPAX_STR("k"), &out), HAPAX_OK);
		hapax_release(out);
		hapax_memo_close(memo);
		CHECK_EQ(o.freed, 0);
		hapax_memo_destroy(memo);
		CHECK_EQ(o.freed, 1);
		hapax_release(owner);
		CHECK_EQ(o.freed, 1);
	}
	test_env_end(env);
}
