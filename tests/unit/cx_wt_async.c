/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gets that do not wait, and loads that end by a token. What executors and event loops have to do with it: async_queue.c. */
#include <sys/wait.h>
#include <unistd.h>

#include "unit/asked.h"

/* ---- present, absent, joining ------------------------------------------------------------------------------------- */

TEST(CX_WT_10_what_is_present_is_told_at_once)
{
	hapax_env *env = test_env();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct item *it = item_new(env, 7);
	struct told t = {0};

	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), it), HAPAX_OK);
	told_ask(&t, cache, "k");
	CHECK_PTR(t.object, it);
	CHECK_EQ(hapax_count(it), 2);
	CHECK(pthread_equal(t.thread, pthread_self()));
	CHECK_EQ(starts_of(&s), 0);
	CHECK_EQ(stats_of(cache).hits, 1);
	CHECK_EQ(stats_of(cache).misses, 0);
	told_end(&t, HAPAX_OK);
	hapax_release(it);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

static void *complete_thread(void *arg)
{
	CHECK_EQ(starts_complete(arg, 0), HAPAX_OK);
	return NULL;
}

/* Waiters of both kinds on one flight: one start, one object, D-11's numbers, and the load's time by the clock. */
TEST(CX_WT_10_D_11_one_token_for_waiters_of_both_kinds)
{
	enum { N = 4 };
	hapax_env *env = test_env_fake();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct told t[N] = {0};
	struct asker a[N];
	char key[8] = "k";
	pthread_t thread;

	CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR(key), NULL, told_done, &t[0]), HAPAX_OK);
	key[0] = 'x'; /* the caller's again */
	CHECK_EQ(starts_of(&s), 1);
	CHECK_STR(s.key[0], "k");
	for (int i = 1; i < N; i++)
		told_ask(&t[i], cache, "k");
	for (int i = 0; i < N; i++)
		ask(&a[i], cache, "k", NULL);
	fake_clock_await_sleepers(N);
	CHECK(!present(cache, "k"));
	fake_clock_advance(5000);
	thread = test_thread(complete_thread, &s);
	for (int i = 0; i < N; i++) {
		told_wait(&t[i]);
		CHECK(pthread_equal(t[i].thread, thread));
		CHECK_PTR(t[i].object, t[0].object);
		CHECK_EQ(answer(&a[i]), HAPAX_OK);
		CHECK_PTR(a[i].out, t[0].object);
	}
	test_join(thread);
	CHECK_EQ(hapax_count(t[0].object), 2 * N);
	CHECK_PTR(present(cache, "k"), t[0].object);
	CHECK_EQ(starts_of(&s), 1);
	CHECK_EQ(stats_of(cache).loads, 1);
	CHECK_EQ(stats_of(cache).load_successes, 1);
	CHECK_EQ(stats_of(cache).misses, 2 * N);
	CHECK_EQ(stats_of(cache).waits, 2 * N - 1);
	CHECK_EQ(stats_of(cache).hits, 0);
	CHECK_EQ(stats_of(cache).load_ns, 5000);
	for (int i = 0; i < N; i++) {
		told_end(&t[i], HAPAX_OK);
		asker_end(&a[i]);
	}
	CHECK_EQ(s.destroyed, 1);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

static void complete_now(struct starts *s, hapax_load *token, int n)
{
	int status = 12345;

	CHECK_EQ(hapax_load_complete(token, starts_item(s, n + 1), &status), HAPAX_OK);
	CHECK_EQ(status, HAPAX_OK);
	if (s->arg)
		hapax_load_drop(token);
}

/* Also when the token is dropped there, and nobody but the waiter holds the object. */
TEST(CX_WT_10_a_token_completed_before_start_returns)
{
	for (int drop = 0; drop < 2; drop++) {
		hapax_env *env = test_env();
		struct starts s = {.then = complete_now, .arg = drop ? &s : NULL};
		hapax_cache *cache = cache_starting(env, &s, 0);
		struct told t = {0};

		told_ask(&t, cache, "k");
		CHECK_EQ(told_calls(&t), 1);
		CHECK_EQ(t.object->id, 1);
		told_end(&t, HAPAX_OK);
		struct item *it = got(cache, "k");
		CHECK_EQ(it->id, 2);
		hapax_release(it);
		CHECK_EQ(s.destroyed, 2);
		CHECK_EQ(stats_of(cache).loads, 2);
		for (int i = 0; !drop && i < 2; i++)
			hapax_load_drop(s.token[i]);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(CX_WT_10_completing_twice_is_refused)
{
	hapax_env *env = test_env();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	hapax_load_error error = {.code = 9};
	struct told t = {0};
	int status = 12345;

	told_ask(&t, cache, "k");
	CHECK_EQ(hapax_load_complete(NULL, starts_item(&s, 5), &status), HAPAX_ENULL);
	CHECK_EQ(s.destroyed, 1); /* consumed in any case */
	CHECK_EQ(hapax_load_complete(s.token[0], NULL, &status), HAPAX_ENULL);
	CHECK_EQ(hapax_load_fail(s.token[0], HAPAX_LOAD_OK, NULL), HAPAX_EOPTION);
	CHECK_EQ(hapax_load_fail(s.token[0], 77, NULL), HAPAX_EOPTION);
	CHECK_EQ(status, 12345);
	CHECK_EQ(told_calls(&t), 0);
	CHECK_EQ(hapax_load_complete(s.token[0], starts_item(&s, 1), &status), HAPAX_OK);
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_load_complete(s.token[0], starts_item(&s, 2), NULL), HAPAX_ETOKEN);
	CHECK_EQ(s.destroyed, 2);
	CHECK_EQ(hapax_load_fail(s.token[0], HAPAX_LOAD_FAIL, &error), HAPAX_ETOKEN);
	CHECK_EQ(error.code, 0); /* consumed */
	CHECK_EQ(t.object->id, 1);
	CHECK_PTR(present(cache, "k"), t.object);
	told_end(&t, HAPAX_OK);
	hapax_load_drop(s.token[0]);
	hapax_load_drop(NULL);
	CHECK_EQ(stats_of(cache).loads, 1);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* A waiter that is told may drop the token under the hands of who completes it. */
static void drop_token(struct told *t) { hapax_load_drop(((struct starts *)t->arg)->token[0]); }

TEST(CX_WT_10_L_12_a_token_dropped_by_who_is_told)
{
	hapax_env *env = test_env();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct told t = {.then = drop_token, .arg = &s};

	told_ask(&t, cache, "k");
	CHECK_EQ(hapax_load_complete(s.token[0], starts_item(&s, 1), NULL), HAPAX_OK);
	told_end(&t, HAPAX_OK);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- failing ------------------------------------------------------------------------------------------------------ */

static int drops;
static void count_drop(void *detail)
{
	CHECK_PTR(detail, &drops);
	__atomic_add_fetch(&drops, 1, __ATOMIC_RELAXED);
}

TEST(CX_WT_10_CX_WT_05_CX_WT_06_a_failure_reaches_waiters_of_both_kinds)
{
	hapax_env *env = test_env_fake();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct told t[3] = {0};
	struct asker a;
	hapax_load_error error = {.code = HAPAX_ENOMEM, .detail = &drops, .drop = count_drop};

	for (int i = 0; i < 3; i++)
		told_ask(&t[i], cache, "k");
	ask(&a, cache, "k", NULL);
	fake_clock_await_sleepers(1);
	CHECK_EQ(hapax_load_fail(s.token[0], HAPAX_LOAD_FAIL, &error), HAPAX_OK);
	CHECK(!error.detail && !error.drop);
	hapax_load_drop(s.token[0]);
	CHECK_EQ(answer(&a), HAPAX_ELOADER);
	CHECK_EQ(a.error.code, HAPAX_ENOMEM);
	CHECK_PTR(a.error.detail, &drops);
	asker_end(&a);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(t[i].error.code, HAPAX_ENOMEM);
		CHECK_PTR(t[i].error.detail, &drops);
		CHECK_EQ(drops, 0);
		told_end(&t[i], HAPAX_ELOADER);
	}
	CHECK_EQ(drops, 1);
	CHECK(!present(cache, "k")); /* nothing is stored: */
	struct told again = {0};
	told_ask(&again, cache, "k");
	CHECK_EQ(starts_of(&s), 2);
	CHECK_EQ(hapax_load_fail(s.token[1], HAPAX_LOAD_NOVALUE, NULL), HAPAX_OK);
	hapax_load_drop(s.token[1]);
	told_end(&again, HAPAX_NOVALUE);
	CHECK_EQ(stats_of(cache).load_failures, 2);
	CHECK_EQ(stats_of(cache).load_novalues, 1);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* An error that nobody waits for any more is dropped all the same. */
TEST(CX_WT_10_L_13_an_error_without_waiters_is_dropped)
{
	hapax_env *env = test_env();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	hapax_get_options try = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT};
	hapax_load_error error = {.code = 1, .detail = &drops, .drop = count_drop};
	void *out = NULL;

	drops = 0;
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &try, &out), HAPAX_INFLIGHT);
	CHECK_EQ(hapax_load_fail(s.token[0], HAPAX_LOAD_NOVALUE, &error), HAPAX_OK);
	CHECK_EQ(drops, 1);
	hapax_load_drop(s.token[0]);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* A dropped token is a failed load: everybody is told so, and nobody starts another one. */
static void drop_one(bool managed)
{
	hapax_env *env = test_env_fake();
	struct starts s = {.managed = managed};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct told t[2] = {0};
	struct asker a[2];

	ask(&a[0], cache, "k", NULL);
	fake_clock_await_sleepers(1);
	ask(&a[1], cache, "k", NULL);
	fake_clock_await_sleepers(2);
	told_ask(&t[0], cache, "k");
	told_ask(&t[1], cache, "k");
	hapax_load_drop(s.token[0]);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(answer(&a[i]), HAPAX_EABANDONED);
		asker_end(&a[i]);
		told_end(&t[i], HAPAX_EABANDONED);
	}
	CHECK_EQ(starts_of(&s), 1);
	CHECK_EQ(stats_of(cache).load_failures, 1);
	CHECK_EQ(stats_of(cache).load_abandoned, 1);
	CHECK_EQ(s.removed, 0);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CX_WT_10_dropping_counts_as_failure)
{
	drop_one(false);
	drop_one(true);
}

/* What a token brought is held like any other object, and what becomes of it is told once. */
TEST(CX_WT_10_L_8_a_bounded_cache_holds_what_tokens_bring)
{
	hapax_env *env = test_env();
	struct starts s = {.managed = true, .held = 2};
	hapax_cache *cache = cache_starting(env, &s, 0);
	char key[3][2] = {"a", "b", "c"};
	struct told t[3] = {0}, again = {0};

	for (int i = 0; i < 3; i++) {
		told_ask(&t[i], cache, key[i]);
		CHECK_EQ(starts_complete(&s, i), HAPAX_OK);
		told_end(&t[i], HAPAX_OK);
	}
	CHECK_EQ(s.destroyed, 1);
	CHECK_EQ(s.removed, 1);
	CHECK_EQ(stats_of(cache).retained, 2);
	CHECK_EQ(hapax_cache_size(cache), 2);
	told_ask(&again, cache, present(cache, "b") ? "b" : "c");
	told_end(&again, HAPAX_OK);
	CHECK_EQ(stats_of(cache).hits, 1);
	CHECK_EQ(starts_of(&s), 3);
	hapax_cache_close(cache);
	hapax_cache_destroy(cache);
	CHECK_EQ(s.destroyed, 3);
	CHECK_EQ(s.removed, 3);
	test_env_end(env);
}

static struct told joins_inside;
static hapax_cache *join_cache;
static void join_inside(struct starts *s, hapax_load *token, int n)
{
	void *out = (void *)1;

	(void)s;
	(void)token;
	if (n)
		return;
	/* G8: the blocking get of the very key waits for oneself; the other one waits for nobody */
	CHECK_EQ(hapax_cache_get(join_cache, HAPAX_STR("k"), &out), HAPAX_EDEADLK);
	CHECK(!out);
	told_ask(&joins_inside, join_cache, "k");
	CHECK_EQ(told_calls(&joins_inside), 0);
}

/* start() that refuses: its error goes to all who wait; it had no token. */
TEST(CX_WT_10_a_start_that_fails)
{
	for (int blocking = 0; blocking < 2; blocking++) {
		hapax_env *env = test_env();
		struct starts s = {.result = HAPAX_LOAD_FAIL, .code = -5, .then = join_inside};
		hapax_cache *cache = cache_starting(env, &s, 0);
		hapax_load_error error = {.code = 1};
		hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};
		struct told t = {0};
		void *out = NULL;

		memset(&joins_inside, 0, sizeof(joins_inside));
		join_cache = cache;
		if (blocking) {
			CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_ELOADER);
			CHECK_EQ(error.code, -5);
		} else {
			told_ask(&t, cache, "k");
			CHECK_EQ(t.error.code, -5);
			told_end(&t, HAPAX_ELOADER);
		}
		CHECK_EQ(joins_inside.error.code, -5);
		told_end(&joins_inside, HAPAX_ELOADER);
		CHECK_EQ(starts_of(&s), 1);
		CHECK_EQ(stats_of(cache).load_failures, 1);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static void exit_inside(struct starts *s, hapax_load *token, int n)
{
	(void)s;
	(void)token;
	if (!n)
		pthread_exit(NULL);
}

static void *ask_and_vanish(void *arg)
{
	void *out;

	CHECK_EQ(hapax_cache_get(arg, HAPAX_STR("k"), &out), 12345); /* it does not return */
	return NULL;
}

static void *ask_async_and_vanish(void *arg)
{
	struct told *t = arg;

	told_ask(t, t->arg, "k");
	CHECK(false);
	return NULL;
}

/* A start() that leaves its thread ends its load; the token is still whose it is. */
TEST(CX_WT_10_L_6_a_start_that_vanishes)
{
	for (int blocking = 0; blocking < 2; blocking++) {
		hapax_env *env = test_env();
		struct starts s = {.then = exit_inside};
		hapax_cache *cache = cache_starting(env, &s, 0);
		struct told t = {.arg = cache};

		if (blocking)
			test_join(test_thread(ask_and_vanish, cache));
		else
			test_join(test_thread(ask_async_and_vanish, &t));
		if (!blocking)
			told_end(&t, HAPAX_EABANDONED);
		CHECK_EQ(hapax_load_complete(s.token[0], starts_item(&s, 1), NULL), HAPAX_ETOKEN);
		CHECK_EQ(s.destroyed, 1);
		hapax_load_drop(s.token[0]);
		CHECK_EQ(stats_of(cache).load_abandoned, 1);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* What was completed may not be what the cache holds: that is the outcome for all. */
TEST(CX_WT_10_a_token_completed_with_an_unfit_object)
{
	hapax_env *env = test_env(), *other = test_env();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct item *foreign = item_new(other, 1), *odd = item_of(env, &deferred_type, 2);
	struct told t[2] = {0};
	int status = 12345;

	told_ask(&t[0], cache, "a");
	told_ask(&t[1], cache, "b");
	CHECK_EQ(hapax_retain(foreign), HAPAX_OK);
	CHECK_EQ(hapax_load_complete(s.token[0], foreign, &status), HAPAX_OK);
	CHECK_EQ(status, HAPAX_EFOREIGN);
	told_end(&t[0], HAPAX_EFOREIGN);
	CHECK_EQ(hapax_retain(odd), HAPAX_OK);
	CHECK_EQ(hapax_load_complete(s.token[1], odd, &status), HAPAX_OK);
	CHECK_EQ(status, HAPAX_ETYPE);
	told_end(&t[1], HAPAX_ETYPE);
	CHECK_EQ(hapax_count(foreign), 1);
	CHECK_EQ(hapax_count(odd), 1);
	hapax_release(foreign);
	hapax_release(odd);
	hapax_run_deferred(env);
	hapax_load_drop(s.token[0]);
	hapax_load_drop(s.token[1]);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
	test_env_end(other);
}

/* ---- fencing ------------------------------------------------------------------------------------------------------ */

TEST(CX_WT_10_CF_LD_09_CF_LD_10_put_remove_and_clear_fence_a_token)
{
	for (int variant = 0; variant < 6; variant++) {
		int how = variant % 3;
		hapax_env *env = test_env();
		struct starts s = {.managed = variant > 2};
		hapax_cache *cache = cache_starting(env, &s, 0);
		struct item *put = item_new(env, 100), *it;
		struct told t = {0}, late = {0};

		told_ask(&t, cache, "k");
		if (how == 0)
			CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), put), HAPAX_OK);
		else if (how == 1)
			CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_MISS);
		else
			hapax_cache_clear(cache);
		told_ask(&late, cache, "k"); /* does not join what was fenced */
		CHECK_EQ(starts_of(&s), how ? 2 : 1);
		CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
		CHECK_EQ(t.object->id, 1); /* its own callers get it */
		CHECK_PTR(present(cache, "k"), how ? NULL : put);
		told_end(&t, HAPAX_OK);
		CHECK_EQ(s.destroyed, 1);
		if (how) {
			CHECK_EQ(told_calls(&late), 0);
			CHECK_EQ(starts_complete(&s, 1), HAPAX_OK);
			CHECK_EQ(late.object->id, 2);
		} else {
			CHECK_PTR(late.object, put);
		}
		it = got(cache, "k");
		CHECK_PTR(it, late.object);
		hapax_release(it);
		told_end(&late, HAPAX_OK);
		hapax_release(put);
		CHECK_EQ(stats_of(cache).superseded, 1);
		if (s.managed) /* what was not installed, and what was */
			CHECK_EQ(s.removed, 2);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* ---- deadlines ---------------------------------------------------------------------------------------------------- */

TEST(CX_WT_01_CX_WT_02_a_get_that_started_a_token_waits_as_long_as_it_may)
{
	hapax_env *env = test_env_fake();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	hapax_get_options try = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT};
	hapax_get_options until = {HAPAX_GET_OPTIONS_INIT, .deadline = fake_clock_now() + 100};
	void *out = (void *)1;
	struct asker a;

	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("try"), &try, &out), HAPAX_INFLIGHT);
	CHECK(!out);
	CHECK_EQ(starts_of(&s), 1);
	ask(&a, cache, "until", &until);
	fake_clock_await_sleepers(1);
	fake_clock_advance(99);
	CHECK_EQ(fake_clock_sleepers(), 1);
	fake_clock_advance(1);
	CHECK_EQ(answer(&a), HAPAX_ETIMEDOUT);
	asker_end(&a);
	/* the flights go on: they can be joined, and install what they bring */
	struct told t[2] = {0};
	told_ask(&t[0], cache, "try");
	told_ask(&t[1], cache, "until");
	CHECK_EQ(starts_of(&s), 2);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(starts_complete(&s, i), HAPAX_OK);
		CHECK_PTR(present(cache, i ? "until" : "try"), t[i].object);
		told_end(&t[i], HAPAX_OK);
	}
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* CX-TH-08 for a get that started its load: what it waited for goes on. */
TEST(CX_WT_10_CX_TH_08_a_cancelled_starter_leaves_cleanly)
{
	hapax_env *env = test_env_fake();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct told t = {0};
	struct asker a;

	ask(&a, cache, "k", NULL);
	fake_clock_await_sleepers(1);
	told_ask(&t, cache, "k");
	pthread_cancel(a.thread);
	test_join(a.thread);
	CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
	CHECK_EQ(hapax_count(t.object), 1);
	told_end(&t, HAPAX_OK);
	CHECK_EQ(starts_of(&s), 1);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- closing ------------------------------------------------------------------------------------------------------ */

TEST(CX_WT_10_L_12_closing_releases_waiters_and_a_late_object_is_disposed_of_once)
{
	for (int late = 0; late < 8; late++) {
		hapax_env *env = test_env_fake();
		struct starts s = {.managed = late & 4};
		hapax_cache *cache = cache_starting(env, &s, 0);
		struct told t[2] = {0};
		struct asker a;
		int status = 12345;

		told_ask(&t[0], cache, "k");
		told_ask(&t[1], cache, "other");
		ask(&a, cache, "k", NULL);
		fake_clock_await_sleepers(1);
		hapax_cache_close(cache);
		CHECK_EQ(answer(&a), HAPAX_ECLOSED);
		asker_end(&a);
		told_end(&t[0], HAPAX_ECLOSED);
		told_end(&t[1], HAPAX_ECLOSED);
		CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR("k"), NULL, told_done, &t[0]), HAPAX_ECLOSED);
		if (late & 1) /* destroy() does not wait for tokens that nobody completes */
			hapax_cache_destroy(cache);
		if (late & 2) {
			CHECK_EQ(hapax_load_complete(s.token[0], starts_item(&s, 1), &status), HAPAX_OK);
			CHECK_EQ(status, HAPAX_ECLOSED);
			CHECK_EQ(s.destroyed, 1);
			CHECK_EQ(hapax_load_fail(s.token[1], HAPAX_LOAD_NOVALUE, NULL), HAPAX_OK);
			CHECK_EQ(hapax_load_complete(s.token[0], starts_item(&s, 1), NULL), HAPAX_ETOKEN);
			CHECK_EQ(s.destroyed, 2);
		}
		hapax_load_drop(s.token[0]);
		hapax_load_drop(s.token[1]);
		if (!(late & 1)) {
			CHECK_EQ(stats_of(cache).loads, 2);
			stats_check(cache);
			cache_end(cache, 0);
		}
		test_env_end(env);
	}
}

/* Only the token is left of everything. */
TEST(CX_WT_10_L_12_a_token_outlives_cache_and_environment)
{
	struct test_allocator memory;
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .start = starts_start};
	struct starts s = {0};
	struct told t = {0};
	hapax_cache *cache;
	hapax_env *env;

	test_allocator_init(&memory, 0);
	eo.allocator = memory.allocator;
	CHECK_EQ(hapax_env_create(&env, &eo), HAPAX_OK);
	o.env = env;
	o.arg = &s;
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	told_ask(&t, cache, "k");
	hapax_cache_destroy(cache);
	told_end(&t, HAPAX_ECLOSED);
	hapax_env_destroy(env);
	CHECK(test_allocator_live(&memory) > 0);
	hapax_load_drop(s.token[0]);
	for (int i = 0; i < 2000 && test_allocator_live(&memory); i++) {
		hapax_reclaim(NULL);
		test_sleep_ms(1);
	}
	CHECK_EQ(test_allocator_live(&memory), 0);
}

static void destroy_inside(struct told *t) { hapax_cache_destroy(t->arg); }

TEST(CX_WT_10_L_10_who_is_told_may_destroy_the_cache)
{
	for (int how = 0; how < 3; how++) {
		hapax_env *env = test_env();
		struct starts s = {0};
		hapax_cache *cache = cache_starting(env, &s, 0);
		struct told t = {.then = destroy_inside, .arg = cache}, other = {0};
		struct item *it = item_new(env, 1);

		told_ask(&other, cache, "other");
		if (how == 0)
			CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), it), HAPAX_OK);
		told_ask(&t, cache, "k");
		if (how == 1)
			CHECK_EQ(starts_complete(&s, 1), HAPAX_OK);
		else if (how == 2)
			hapax_load_drop(s.token[1]);
		told_end(&t, how == 2 ? HAPAX_EABANDONED : HAPAX_OK);
		hapax_release(it);
		told_end(&other, HAPAX_ECLOSED);
		hapax_load_drop(s.token[0]);
		test_env_end(env);
	}
}

/* ---- what is refused ---------------------------------------------------------------------------------------------- */

static bool refuse_nothing(void *object, void *arg)
{
	(void)object;
	(void)arg;
	return false;
}

TEST(CX_WT_10_what_an_asynchronous_get_refuses)
{
	hapax_env *env = test_env();
	struct source s = {0};
	struct starts st = {0};
	hapax_cache *cache = cache_starting(env, &st, 0), *none;
	hapax_cache_options bare = {HAPAX_CACHE_OPTIONS_INIT, .env = env};
	hapax_load_error error;
	struct told t = {0};
	struct {
		hapax_get_options o;
		int status;
	} row[] = {
		{{.size = 3}, HAPAX_EOPTSIZE},
		{{HAPAX_GET_OPTIONS_INIT, .flags = 1}, HAPAX_EFLAGS},
		{{HAPAX_GET_OPTIONS_INIT, .deadline = 5}, HAPAX_EOPTION},
		{{HAPAX_GET_OPTIONS_INIT, .error = &error}, HAPAX_EOPTION},
		{{HAPAX_GET_OPTIONS_INIT, .refuse = refuse_nothing}, HAPAX_EOPTION},
		{{HAPAX_GET_OPTIONS_INIT, .load = source_load, .make = source_make, .arg = &s}, HAPAX_EOPTION},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR("k"), &row[i].o, told_done, &t), row[i].status);
	CHECK_EQ(hapax_cache_get_async(NULL, HAPAX_STR("k"), NULL, told_done, &t), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR("k"), NULL, NULL, &t), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_get_async(cache, (hapax_key){NULL, 1}, NULL, told_done, &t), HAPAX_EKEY);
	CHECK_EQ(hapax_cache_create(&none, &bare), HAPAX_OK);
	CHECK_EQ(hapax_cache_get_async(none, HAPAX_STR("k"), NULL, told_done, &t), HAPAX_ENOLOADER);
	CHECK_EQ(told_calls(&t), 0);
	CHECK_EQ(starts_of(&st), 0);
	cache_end(none, 0);
	cache_end(cache, 0);

	hapax_cache_options two = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load,
				   .start = starts_start};
	CHECK_EQ(hapax_cache_create(&cache, &two), HAPAX_EOPTION);
	two.load = NULL;
	two.make = source_make;
	CHECK_EQ(hapax_cache_create(&cache, &two), HAPAX_EOPTION);
	test_env_end(env);
}

/* An exclusive cache's key is taken as long as the old instance is there: an asynchronous get does not wait for it. */
TEST(CX_WT_10_D_8_an_exclusive_instance_makes_it_busy)
{
	hapax_env *env = test_env();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, HAPAX_CACHE_EXCLUSIVE);
	struct told t[3] = {0};

	told_ask(&t[0], cache, "k");
	CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
	CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_OK);
	told_ask(&t[1], cache, "k");
	told_end(&t[1], HAPAX_EBUSY);
	told_end(&t[0], HAPAX_OK);
	CHECK_EQ(s.destroyed, 1);
	told_ask(&t[2], cache, "k");
	CHECK_EQ(starts_complete(&s, 1), HAPAX_OK);
	told_end(&t[2], HAPAX_OK);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

static struct gate dying = GATE_INIT;
static void stop_dying(struct item *item, void *arg)
{
	(void)item;
	(void)arg;
	test_event_set(&dying.entered);
	test_event_wait(&dying.go);
}

static void *release_thread(void *arg)
{
	hapax_release(arg);
	return NULL;
}

/* Also while its destructor runs: that is what a blocking get would wait for. */
TEST(CX_WT_10_D_8_a_dying_exclusive_instance_makes_it_busy)
{
	hapax_env *env = test_env();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, HAPAX_CACHE_EXCLUSIVE);
	struct told t[2] = {0}, late = {0};
	pthread_t thread;

	told_ask(&t[0], cache, "k");
	CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
	t[0].object->on_destroy = stop_dying;
	thread = test_thread(release_thread, t[0].object);
	test_event_wait(&dying.entered);
	told_ask(&t[1], cache, "k");
	told_end(&t[1], HAPAX_EBUSY);
	test_event_set(&dying.go);
	test_join(thread);
	told_ask(&late, cache, "k");
	CHECK_EQ(starts_complete(&s, 1), HAPAX_OK);
	told_end(&late, HAPAX_OK);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

/* Tokens handed from start() to threads that complete, fail or drop them; askers of both kinds; a close in the middle. */
enum { BASH_KEYS = 6, BASH_SLOTS = 4096, BASH_ASKERS = 3 };

struct bash {
	hapax_env *env;
	hapax_cache *cache;
	pthread_mutex_t lock;
	hapax_load *waiting[BASH_SLOTS];
	int n, stop, asked, told, given, failed, destroyed;
	uint64_t rounds;
};

static int bash_start(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct bash *b = arg;

	(void)key;
	(void)error;
	pthread_mutex_lock(&b->lock);
	CHECK(b->n < BASH_SLOTS);
	b->waiting[b->n++] = load;
	pthread_mutex_unlock(&b->lock);
	return 0;
}

static hapax_load *bash_take(struct bash *b)
{
	hapax_load *load;

	pthread_mutex_lock(&b->lock);
	load = b->n ? b->waiting[--b->n] : NULL;
	pthread_mutex_unlock(&b->lock);
	return load;
}

static void bash_done(int status, void *object, hapax_load_error *error, void *ctx)
{
	struct bash *b = ctx;

	CHECK(status == HAPAX_OK || status == HAPAX_NOVALUE || status == HAPAX_ELOADER || status == HAPAX_EABANDONED ||
	      status == HAPAX_ECLOSED);
	CHECK((status == 0) == (object != NULL));
	hapax_release(object);
	hapax_load_error_drop(error);
	__atomic_add_fetch(&b->told, 1, __ATOMIC_RELAXED);
}

static void bash_complete(struct bash *b, hapax_load *load, uint64_t how)
{
	hapax_load_error error = {.code = 3, .detail = &drops, .drop = count_drop};
	struct item *item;

	if (how < 5) {
		item = item_new(b->env, 1);
		item->destroyed = &b->destroyed;
		__atomic_add_fetch(&b->given, 1, __ATOMIC_RELAXED);
		CHECK_EQ(hapax_load_complete(load, item, NULL), HAPAX_OK);
	} else if (how == 5) {
		CHECK_EQ(hapax_load_fail(load, HAPAX_LOAD_NOVALUE, NULL), HAPAX_OK);
	} else if (how == 6) {
		__atomic_add_fetch(&b->failed, 1, __ATOMIC_RELAXED);
		CHECK_EQ(hapax_load_fail(load, HAPAX_LOAD_FAIL, &error), HAPAX_OK);
	}
	hapax_load_drop(load);
}

static void bash_thread(unsigned index, void *arg)
{
	struct bash *b = arg;
	uint64_t r = test_stream(index);
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT};
	hapax_load *load;
	void *out;

	if (index < 2) {
		while ((load = bash_take(b)) != NULL || __atomic_load_n(&b->stop, __ATOMIC_ACQUIRE) < BASH_ASKERS)
			if (load)
				bash_complete(b, load, test_below(&r, 8));
		return;
	}
	for (uint64_t i = 0; i < b->rounds; i++) {
		uint32_t k = (uint32_t)test_below(&r, BASH_KEYS);
		uint64_t what = test_below(&r, 8);

		if (index == 2 && i == b->rounds * 9 / 10)
			hapax_cache_close(b->cache);
		if (what < 5) {
			if (!hapax_cache_get_async(b->cache, HAPAX_KEY_OF(k), NULL, bash_done, b))
				__atomic_add_fetch(&b->asked, 1, __ATOMIC_RELAXED);
		} else if (what < 7) {
			o.deadline = what == 5 ? HAPAX_FOREVER : HAPAX_NO_WAIT;
			if (!hapax_cache_get_with(b->cache, HAPAX_KEY_OF(k), &o, &out))
				hapax_release(out);
		} else {
			hapax_cache_remove(b->cache, HAPAX_KEY_OF(k));
		}
	}
	__atomic_add_fetch(&b->stop, 1, __ATOMIC_ACQ_REL);
}

TEST(CX_WT_10_L_3_everybody_is_told_once_whatever_happens)
{
	struct bash b = {.env = test_env(), .lock = PTHREAD_MUTEX_INITIALIZER, .rounds = scaled(4000)};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = b.env, .start = bash_start, .arg = &b};

	drops = 0;
	CHECK_EQ(hapax_cache_create(&b.cache, &o), HAPAX_OK);
	run_threads(2 + BASH_ASKERS, bash_thread, &b);
	for (hapax_load *load; (load = bash_take(&b)) != NULL;)
		bash_complete(&b, load, 0);
	CHECK_EQ(b.told, b.asked);
	CHECK(b.asked > 0);
	CHECK_EQ(b.destroyed, b.given);
	CHECK_EQ(drops, b.failed);
	stats_check(b.cache);
	cache_end(b.cache, 0);
	test_env_end(b.env);
}

/* ---- fork --------------------------------------------------------------------------------------------------------- */

static struct told forked_again;
static void again_in_child(struct told *t)
{
	CHECK_EQ(t->status, HAPAX_EABANDONED);
	told_ask(&forked_again, t->arg, "k"); /* the cache works, from there too */
}

static void child_asks(struct starts *s, hapax_cache *cache, struct told *t)
{
	CHECK_EQ(t[0].status, HAPAX_EABANDONED);
	CHECK_EQ(t[1].status, HAPAX_EABANDONED);
	CHECK_EQ(told_calls(&t[0]) + told_calls(&t[1]), 2);
	/* tokens of the parent's are no good here */
	CHECK_EQ(hapax_load_complete(s->token[0], starts_item(s, 1), NULL), HAPAX_ETOKEN);
	CHECK_EQ(s->destroyed, 1);
	hapax_load_drop(s->token[0]);
	hapax_load_drop(s->token[1]);
	CHECK_EQ(told_calls(&forked_again), 0);
	CHECK_EQ(starts_of(s), 3);
	CHECK_EQ(starts_complete(s, 2), HAPAX_OK);
	told_end(&forked_again, HAPAX_OK);
	stats_check(cache);
	hapax_cache_destroy(cache);
	_exit(0);
}

TEST(CX_TH_06_CX_WT_10_in_a_forked_child_what_was_under_way_is_abandoned)
{
#ifdef TEST_TSAN
	TEST_SKIP("ThreadSanitizer does not follow a multi-threaded fork");
#endif
	hapax_env *env = test_env_fake();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct told t[2] = {{.then = again_in_child, .arg = cache}, {0}};
	struct asker a;
	pid_t child;
	int status;

	told_ask(&t[0], cache, "k");
	told_ask(&t[1], cache, "fenced");
	hapax_cache_remove(cache, HAPAX_STR("fenced"));
	ask(&a, cache, "k", NULL); /* its thread does not come along */
	fake_clock_await_sleepers(1);
	hapax_before_fork(HAPAX_FORK_URCU);
	child = fork();
	if (child == 0) {
		hapax_after_fork_child(HAPAX_FORK_URCU);
		alarm(30);
		child_asks(&s, cache, t);
	}
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	CHECK(child > 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		TEST_FAIL("child ended with status %x", status);
	CHECK_EQ(told_calls(&t[0]), 0); /* the parent goes on as if nothing had happened */
	t[0].then = NULL;
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(starts_complete(&s, i), HAPAX_OK);
		CHECK_EQ(t[i].object->id, i + 1);
		told_end(&t[i], HAPAX_OK);
	}
	CHECK_EQ(answer(&a), HAPAX_OK);
	asker_end(&a);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}
