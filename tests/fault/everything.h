/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/everything.h - a little of everything, on several threads, for tests in which the system refuses things. */
#ifndef TEST_FAULT_EVERYTHING_H
#define TEST_FAULT_EVERYTHING_H

#include "unit/cached.h"

static void death_counted(hapax_weak *weak, void *ctx)
{
	(void)weak;
	__atomic_fetch_add((int *)ctx, 1, __ATOMIC_RELAXED);
}

/* Names differ by `who`, so that several threads may share the cache. */
MAYBE_UNUSED static void a_little_of_everything(hapax_env *env, hapax_cache *cache, unsigned who)
{
	hapax_table *table = table_new(env);
	int deaths = 0;
	hapax_callback callback = {death_counted, &deaths, NULL};

	for (uint32_t i = 0; i < 20; i++) {
		uint64_t name = (uint64_t)who << 32 | i;
		struct item *it = item_new(env, (int)i);
		hapax_weak *weak = NULL;
		void *out = NULL;

		CHECK_EQ(hapax_weak_new(it, &callback, &weak), HAPAX_OK);
		table_put(table, HAPAX_KEY_OF(i), it);
		CHECK_EQ(hapax_table_get(table, HAPAX_KEY_OF(i), &out), HAPAX_OK);
		hapax_release(out);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(name), &out), HAPAX_OK);
		hapax_release(out);
		CHECK_EQ(hapax_cache_put(cache, HAPAX_KEY_OF(name), it), HAPAX_OK);
		CHECK_EQ(hapax_cache_contains(cache, HAPAX_KEY_OF(name)), 1);
		hapax_release(it);
		CHECK(!hapax_weak_get(weak));
		CHECK_EQ(hapax_weak_drop(weak), 0);
		CHECK_EQ(hapax_cache_contains(cache, HAPAX_KEY_OF(name)), 0);
	}
	CHECK_EQ(deaths, 20);
	table_end(table, 0);
}

struct everything {
	hapax_env *env;
	hapax_cache *cache;
	int prepared; /* what hapax_thread_prepare() is to answer */
};

static void everything_on_a_thread(unsigned index, void *arg)
{
	struct everything *e = arg;

	CHECK_EQ(hapax_thread_prepare(e->env), e->prepared);
	a_little_of_everything(e->env, e->cache, index);
	a_little_of_everything(e->env, e->cache, index);
}

MAYBE_UNUSED static void on_threads(unsigned n, hapax_env *env, int prepared)
{
	struct source s = {0};
	struct everything e = {.env = env, .prepared = prepared};

	e.cache = cache_with(env, &s, 0);
	run_threads(n, everything_on_a_thread, &e);
	stats_check(e.cache);
	cache_end(e.cache, 0);
}

#endif
