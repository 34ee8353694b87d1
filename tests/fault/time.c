/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/time.c - clocks that stand, go back or are near their end; sleeps that do not last. */
#include <errno.h>
#include <time.h>

#include "fault/everything.h"
#include "support/wrap.h"

#define EVERY UINT64_MAX

/* ---- clocks of the application ----------------------------------------------------------------------------------- */

static uint64_t told; /* what the clock says; changed atomically */

static uint64_t told_now(void *ctx)
{
	(void)ctx;
	return __atomic_load_n(&told, __ATOMIC_RELAXED);
}

static void tell(uint64_t now) { __atomic_store_n(&told, now, __ATOMIC_RELAXED); }

/* Sleeps are the kernel's, time is the test's: a sleep may end before its time has come, or never see it come. */
static hapax_env *told_env(size_t bound)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .clock = {.now = told_now}, .garbage_bound = bound,
			       .log = {.write = log_nothing}};

	return test_env_options(&o);
}

static const uint64_t instants[] = {0, 1, UINT64_C(1) << 63, UINT64_MAX - HAPAX_SECOND, UINT64_MAX - 1, UINT64_MAX};

/* A joiner with every kind of deadline beside a load that stops until it is told to go on. */
static int join_until(uint64_t now, uint64_t deadline, bool come)
{
	hapax_env *env = told_env(0);
	struct gate gate = GATE_INIT;
	struct source s = {.then = first_stops, .arg = &gate};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = deadline};
	struct asker first, second;
	int status;

	tell(now);
	ask(&first, cache, "k", NULL);
	test_event_wait(&gate.entered);
	ask(&second, cache, "k", &o);
	if (come) {
		while (stats_of(cache).waits != 1)
			test_sleep_ms(1);
		test_event_set(&gate.go);
	}
	status = answer(&second);
	test_event_set(&gate.go);
	CHECK_EQ(answer(&first), HAPAX_OK);
	CHECK_PTR(second.out, status == HAPAX_OK ? first.out : NULL);
	CHECK_EQ(loads_of(&s), 1);
	asker_end(&first);
	asker_end(&second);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
	return status;
}

TEST(waiting_for_ever_by_clocks_that_stand)
{
	for (size_t i = 0; i < sizeof(instants) / sizeof(*instants); i++)
		CHECK_EQ(join_until(instants[i], HAPAX_FOREVER, true), HAPAX_OK);
}

TEST(a_deadline_that_is_over_by_clocks_that_stand)
{
	for (size_t i = 1; i < sizeof(instants) / sizeof(*instants); i++) {
		CHECK_EQ(join_until(instants[i], 1, false), HAPAX_ETIMEDOUT);
		if (instants[i] != HAPAX_FOREVER)
			CHECK_EQ(join_until(instants[i], instants[i], false), HAPAX_ETIMEDOUT);
		CHECK_EQ(join_until(instants[i], HAPAX_NO_WAIT, false), HAPAX_INFLIGHT);
	}
}

/* Centuries ahead: the sleep is as long as the kernel can, and ends with the load. */
TEST(a_deadline_that_never_comes)
{
	CHECK_EQ(join_until(0, UINT64_MAX - 1, true), HAPAX_OK);
	CHECK_EQ(join_until(0, UINT64_C(1) << 63, true), HAPAX_OK);
	CHECK_EQ(join_until(UINT64_MAX - 2, UINT64_MAX - 1, true), HAPAX_OK);
}

/* By the fake clock: time goes back while somebody waits, and the wait lasts that much longer. */
TEST(a_clock_that_goes_back)
{
	hapax_env *env = test_env_fake();
	struct gate gate = GATE_INIT;
	struct source s = {.then = first_stops, .arg = &gate};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = 20 * HAPAX_SECOND};
	struct asker first, second;

	fake_clock_set(10 * HAPAX_SECOND);
	ask(&first, cache, "k", NULL);
	test_event_wait(&gate.entered);
	ask(&second, cache, "k", &o);
	fake_clock_await_sleepers(1);
	fake_clock_set(HAPAX_SECOND);
	fake_clock_advance(18 * HAPAX_SECOND);
	CHECK_EQ(fake_clock_now(), 19 * HAPAX_SECOND);
	fake_clock_await_sleepers(1);
	fake_clock_set(0);
	fake_clock_set(20 * HAPAX_SECOND);
	CHECK_EQ(answer(&second), HAPAX_ETIMEDOUT);
	fake_clock_set(2 * HAPAX_SECOND); /* the load takes less than no time */
	test_event_set(&gate.go);
	CHECK_EQ(answer(&first), HAPAX_OK);
	CHECK_EQ(stats_of(cache).load_ns, 0);
	asker_end(&first);
	asker_end(&second);
	cache_end(cache, 0);
	test_env_end(env);
}

/* At the bound creation waits as long as it takes, whatever time it is. */
static void create_at_the_bound(uint64_t now)
{
	hapax_env *env;
	void *object;

	tell(now);
	env = told_env(256 << 10);
	for (int i = 0; i < 1000; i++) {
		CHECK_EQ(hapax_new(env, &item_type, 2000, &object), HAPAX_OK);
		((struct item *)object)->live = ITEM_ALIVE;
		hapax_release(object);
	}
	test_env_end(env);
}

TEST(the_bound_by_clocks_that_stand)
{
	for (size_t i = 0; i < sizeof(instants) / sizeof(*instants); i++)
		create_at_the_bound(instants[i]);
}

/* ---- the system's clock ------------------------------------------------------------------------------------------- */

/* A clock that cannot be read reads 0, always: nothing is made of whatever lay in memory. */
TEST(clock_cannot_be_read)
{
	hapax_env *env = quiet_env(0);
	hapax_env_stats s = {.size = sizeof(s)};

	CHECK(hapax_env_now(env) > 0);
	wrap_fail(WRAP_CLOCK, 1, EVERY, EINVAL);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(hapax_env_now(env), 0);
	on_threads(2, env, HAPAX_OK);
	CHECK(wrap_failed(WRAP_CLOCK) > 10);
	wrap_off();
	hapax_testing_drain(env);
	CHECK_EQ(hapax_env_stats_get(env, &s), HAPAX_OK);
	CHECK_EQ(s.stalls, 0);
	test_env_end(env);
}

/* Each grace period reads the clock twice: with either reading lost none is taken for a stall. */
TEST(clock_fails_now_and_then)
{
	hapax_env *env = quiet_env(HAPAX_ENV_NO_THREAD);
	hapax_env_stats s = {.size = sizeof(s)};

	for (unsigned at = 1; at <= 6; at++) {
		wrap_fail(WRAP_CLOCK, at, at + 1, EINVAL);
		for (int i = 0; i < 3; i++) {
			hapax_release(item_new(env, i));
			hapax_testing_drain(env);
		}
		CHECK_EQ(wrap_failed(WRAP_CLOCK), 1);
	}
	wrap_off();
	CHECK_EQ(hapax_env_stats_get(env, &s), HAPAX_OK);
	CHECK(s.grace_periods >= 18);
	CHECK_EQ(s.stalls, 0);
	test_env_end(env);
}

/* ---- sleeps that do not last -------------------------------------------------------------------------------------- */

static const int futex_errors[] = {EINTR, EAGAIN, ENOSYS};
enum { FUTEX_ERRORS = sizeof(futex_errors) / sizeof(*futex_errors) };

TEST(joiners_whose_sleep_fails)
{
	enum { JOINERS = 3 };

	for (int e = 0; e < FUTEX_ERRORS; e++) {
		hapax_env *env = quiet_env(0);
		struct gate gate = GATE_INIT;
		struct source s = {.then = first_stops, .arg = &gate};
		hapax_cache *cache = cache_with(env, &s, 0);
		struct asker first, joiner[JOINERS], late;
		hapax_get_options soon = {HAPAX_GET_OPTIONS_INIT};

		wrap_fail(WRAP_FUTEX_WAIT, 1, EVERY, futex_errors[e]);
		ask(&first, cache, "k", NULL);
		test_event_wait(&gate.entered);
		for (int i = 0; i < JOINERS; i++)
			ask(&joiner[i], cache, "k", NULL);
		soon.deadline = hapax_env_now(env) + 5 * HAPAX_MILLISECOND;
		ask(&late, cache, "k", &soon);
		CHECK_EQ(answer(&late), HAPAX_ETIMEDOUT);
		while (stats_of(cache).waits != JOINERS + 1)
			test_sleep_ms(1);
		test_event_set(&gate.go);
		CHECK_EQ(answer(&first), HAPAX_OK);
		for (int i = 0; i < JOINERS; i++) {
			CHECK_EQ(answer(&joiner[i]), HAPAX_OK);
			CHECK_PTR(joiner[i].out, first.out);
			asker_end(&joiner[i]);
		}
		CHECK(wrap_failed(WRAP_FUTEX_WAIT) > 0);
		wrap_off();
		CHECK_EQ(loads_of(&s), 1);
		asker_end(&first);
		asker_end(&late);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(the_bound_when_sleeps_fail)
{
	for (int e = 0; e < FUTEX_ERRORS; e++) {
		hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = 256 << 10, .log = {.write = log_nothing}};
		hapax_env *env = test_env_options(&o);
		void *object;

		wrap_fail(WRAP_FUTEX_WAIT, 1, EVERY, futex_errors[e]);
		for (int i = 0; i < 500; i++) {
			CHECK_EQ(hapax_new(env, &item_type, 2000, &object), HAPAX_OK);
			((struct item *)object)->live = ITEM_ALIVE;
			hapax_release(object);
		}
		wrap_off();
		test_env_end(env);
	}
}

/* A dying exclusive instance, a drop that is a barrier, a destroy that waits: none takes a short sleep for the end. */
struct slow {
	struct test_event entered, go;
	int over;
};

static void slow_callback(hapax_weak *weak, void *ctx)
{
	struct slow *s = ctx;

	(void)weak;
	test_event_set(&s->entered);
	test_event_wait(&s->go);
	__atomic_store_n(&s->over, 1, __ATOMIC_RELEASE);
}

static void *release_on_a_thread(void *object)
{
	hapax_release(object);
	return NULL;
}

static void *go_soon(void *arg)
{
	test_sleep_ms(20);
	test_event_set(&((struct slow *)arg)->go);
	return NULL;
}

TEST(a_barrier_drop_whose_sleep_fails)
{
	for (int e = 0; e < FUTEX_ERRORS; e++) {
		hapax_env *env = quiet_env(0);
		struct slow s = {TEST_EVENT_INIT, TEST_EVENT_INIT, 0};
		hapax_callback callback = {slow_callback, &s, NULL};
		struct item *it = item_new(env, 1);
		hapax_weak *weak = NULL;
		pthread_t a, b;

		CHECK_EQ(hapax_weak_new(it, &callback, &weak), HAPAX_OK);
		wrap_fail(WRAP_FUTEX_WAIT, 1, EVERY, futex_errors[e]);
		a = test_thread(release_on_a_thread, it);
		test_event_wait(&s.entered);
		b = test_thread(go_soon, &s);
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
		CHECK_EQ(__atomic_load_n(&s.over, __ATOMIC_ACQUIRE), 1);
		test_join(a);
		test_join(b);
		wrap_off();
		test_env_end(env);
	}
}

static void slow_destructor(struct item *item, void *arg)
{
	struct source *source = arg;

	(void)item;
	slow_callback(NULL, source->arg);
}

TEST(a_successor_and_a_destroy_whose_sleep_fails)
{
	for (int e = 0; e < FUTEX_ERRORS; e++) {
		hapax_env *env = quiet_env(0);
		struct slow slow = {TEST_EVENT_INIT, TEST_EVENT_INIT, 0};
		struct source s = {.arg = &slow, .item_destroyed = slow_destructor};
		hapax_cache *cache = cache_with(env, &s, HAPAX_CACHE_EXCLUSIVE);
		struct item *old = got(cache, "k"), *new;
		pthread_t a, b;

		wrap_fail(WRAP_FUTEX_WAIT, 1, EVERY, futex_errors[e]);
		a = test_thread(release_on_a_thread, old);
		test_event_wait(&slow.entered);
		b = test_thread(go_soon, &slow);
		new = got(cache, "k");
		CHECK_EQ(__atomic_load_n(&slow.over, __ATOMIC_ACQUIRE), 1);
		test_join(a);
		test_join(b);
		hapax_cache_destroy(cache);
		hapax_release(new);
		wrap_off();
		test_env_end(env);
	}
}
