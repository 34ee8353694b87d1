/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gets that do not wait, and loads that end by a token. What comes between: cx_wt_async_end.c. Executors and event loops:
 * async_queue.c. */
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
