/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An entry is put or loaded over whose object has died, on a thread that has not told anybody of it yet; then the cache ends. */
#include <sched.h>

#include "unit/removals.h"
#include "unit/stopped_death.h"

static void *destroy(void *cache)
{
	hapax_cache_destroy(cache);
	return NULL;
}

enum how { BY_PUT, BY_LOAD, BY_COMPUTE, HOWS };

static int answer_new(void *current, const hapax_key *key, void **object, void *item, hapax_load_error *error)
{
	(void)key, (void)error;
	CHECK(!current); /* a dead one is absent */
	CHECK_EQ(hapax_retain(item), HAPAX_OK);
	*object = item;
	return HAPAX_COMPUTE_PUT;
}

static struct item *over(struct tier *t, enum how how, hapax_key key)
{
	struct item *item = NULL;

	if (how == BY_LOAD) {
		CHECK_EQ(hapax_cache_get(t->cache, key, (void **)&item), HAPAX_OK);
		return item;
	}
	item = item_new(t->env, 2);
	if (how == BY_PUT) {
		CHECK_EQ(hapax_cache_put(t->cache, key, item), HAPAX_OK);
	} else {
		void *out = NULL;

		CHECK_EQ(hapax_cache_compute(t->cache, key, answer_new, item, HAPAX_FOREVER, &out, NULL, NULL), HAPAX_OK);
		CHECK_PTR(out, item);
		hapax_release(out);
	}
	return item;
}

/* `silent`: without a listener; then, without any option, the cache has no nodes. */
static void put_over_dying(bool silent, int64_t bound, enum how how, bool ends_first)
{
	struct tier t = {.silent = silent, .loose = true};
	hapax_cache_stats stats = {.size = sizeof(stats)};
	struct item *a, *b;
	pthread_t thread, end = {0};

	tier_begin(&t, PUT, test_env(), (hapax_cache_options){.max_entries = bound});
	a = item_new(t.env, 1);
	CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), a), HAPAX_OK);
	if (bound) /* the cache lets go of it */
		CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
	thread = release_stopped(a);
	b = over(&t, how, HAPAX_STR("k"));
	CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR("k")), 1);
	if (silent && !bound) {
		/* nothing in it waits for that death */
		hapax_cache_destroy(t.cache);
		hapax_testing_drain(t.env);
		test_event_set(&may_be_told);
		test_join(thread);
	} else if (ends_first) {
		end = test_thread(destroy, t.cache);
		for (int i = 0; i < 2000; i++) /* it may come to its end, if it does not wait */
			sched_yield();
		test_event_set(&may_be_told);
		test_join(thread);
		test_join(end);
	} else {
		test_event_set(&may_be_told);
		test_join(thread);
		CHECK_EQ(hapax_cache_stats_get(t.cache, &stats), HAPAX_OK);
		CHECK_EQ(stats.collections, 1);
		CHECK_EQ(stats.replacements, 0);
		CHECK_EQ(hapax_cache_size(t.cache), 1);
		hapax_cache_destroy(t.cache);
	}
	hapax_testing_set_stop(NULL, NULL);
	if (!silent)
		TOLD(&t.r, 0, 0, !bound, 0, !!bound, 1);
	hapax_testing_drain(t.env);
	hapax_release(b);
	free(t.r.all);
	pthread_mutex_destroy(&t.r.lock);
	test_env_end(t.env);
}

static void in_every_way(bool silent, int64_t bound)
{
	for (int how = 0; how < HOWS; how++)
		for (int ends_first = 0; ends_first < 2; ends_first++)
			put_over_dying(silent, bound, (enum how)how, ends_first);
}

TEST(L_12_put_over_what_is_dying_in_a_cache_without_nodes) { in_every_way(true, 0); }
TEST(L_12_CF_RM_03_put_over_what_is_dying_and_told_of) { in_every_way(false, 0); }
TEST(L_12_CF_RM_03_put_over_what_a_bound_let_go_of) { in_every_way(false, 4); }
TEST(L_12_put_over_what_is_dying_in_a_bounded_cache) { in_every_way(true, 4); }
