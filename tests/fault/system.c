/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fault/system.c - what the system refuses: threads, thread-specific keys, memory, time, sleep, randomness.
 *
 * Faults are put in where hapax calls the C library (support/wrap.h); keys are exhausted for real, and the filters that
 * forbid system calls are real ones (fault/filtered.c).
 */
#include <errno.h>
#include <limits.h>

#include "fault/everything.h"
#include "reclaim/reclaim.h"
#include "support/wrap.h"

#define EVERY UINT64_MAX

/* ---- threads -------------------------------------------------------------------------------------------------------- */

TEST(no_reclaimer_thread_everything_works)
{
	hapax_env *env;

	wrap_fail(WRAP_PTHREAD_CREATE, 1, EVERY, EAGAIN);
	env = quiet_env(0);
	CHECK_EQ(hapax_thread_prepare(env), HAPAX_ETHREAD);
	{
		struct source s = {0};
		hapax_cache *cache = cache_with(env, &s, 0);

		a_little_of_everything(env, cache, 0);
		cache_end(cache, 0);
	}
	CHECK(wrap_failed(WRAP_PTHREAD_CREATE) > 0);
	wrap_off();
	CHECK_EQ(hapax_thread_prepare(env), HAPAX_OK);
	test_env_end(env);
}

/* Without the reclaimer nobody makes room: the bound refuses, and does not wait. With it the same call is admitted. */
TEST(no_reclaimer_thread_the_bound_refuses_until_there_is_one)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = 256 << 10, .log = {.write = log_nothing}};
	hapax_env *env;
	hapax_env_stats s = {.size = sizeof(s)};
	void *object = NULL;
	int rc = 0, born = 0;

	wrap_fail(WRAP_PTHREAD_CREATE, 1, EVERY, EAGAIN);
	env = test_env_options(&o);
	for (; !rc && born < 100000; born++) {
		rc = hapax_new(env, &item_type, 2000, &object);
		if (!rc) {
			((struct item *)object)->live = ITEM_ALIVE;
			hapax_release(object);
		}
	}
	CHECK_EQ(rc, HAPAX_EGARBAGE);
	CHECK(!object);
	CHECK_EQ(hapax_env_stats_get(env, &s), HAPAX_OK);
	CHECK_EQ(s.objects_destroyed, (uint64_t)born - 1);
	CHECK(s.garbage_peak_bytes <= s.garbage_bound_bytes + 2500); /* and the one that was alive when it was reached */
	CHECK(s.garbage_refusals > 0);
	/* once more, without a failure of its own: still refused, still nothing changed */
	CHECK_EQ(hapax_new(env, &item_type, 2000, &object), HAPAX_EGARBAGE);
	wrap_off();
	CHECK_EQ(hapax_new(env, &item_type, 2000, &object), HAPAX_OK);
	((struct item *)object)->live = ITEM_ALIVE;
	hapax_release(object);
	test_env_end(env);
}

/* Creation fails once, and is tried again at the next occasion without anybody asking for it. */
TEST(reclaimer_thread_fails_once)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = 256 << 10, .log = {.write = log_nothing}};
	hapax_env *env;
	void *object;

	wrap_fail(WRAP_PTHREAD_CREATE, 1, 2, EAGAIN);
	env = test_env_options(&o);
	for (int i = 0; i < 3000; i++) {
		int rc = hapax_new(env, &item_type, 2000, &object);

		if (rc) {
			CHECK_EQ(rc, HAPAX_EGARBAGE);
			CHECK_EQ(wrap_seen(WRAP_PTHREAD_CREATE), 1);
			continue;
		}
		((struct item *)object)->live = ITEM_ALIVE;
		hapax_release(object);
	}
	CHECK(wrap_seen(WRAP_PTHREAD_CREATE) >= 2);
	CHECK_EQ(wrap_failed(WRAP_PTHREAD_CREATE), 1);
	wrap_off();
	test_env_end(env);
}

/* ---- thread-specific keys ------------------------------------------------------------------------------------------- */

static unsigned exhaust_keys(pthread_key_t keys[PTHREAD_KEYS_MAX])
{
	unsigned n = 0;

	while (n < PTHREAD_KEYS_MAX && !pthread_key_create(&keys[n], NULL))
		n++;
	CHECK(n < PTHREAD_KEYS_MAX); /* the last one failed */
	return n;
}

static void give_back_keys(const pthread_key_t *keys, unsigned n)
{
	while (n--)
		CHECK_EQ(pthread_key_delete(keys[n]), 0);
}

static pthread_key_t all_keys[PTHREAD_KEYS_MAX];

/* No key for hapax: threads cannot be seen to exit, and go by the shared paths. Later there is one, and it is taken. */
TEST(keys_exhausted_before_the_first_call)
{
	unsigned n = exhaust_keys(all_keys);
	hapax_env *env = quiet_env(0);

	CHECK_EQ(hapax_thread_prepare(env), HAPAX_ETHREAD);
	on_threads(3, env, HAPAX_ETHREAD);
	give_back_keys(all_keys, n);
	CHECK_EQ(hapax_thread_prepare(env), HAPAX_OK);
	on_threads(3, env, HAPAX_OK);
	test_env_end(env);
}

TEST(keys_exhausted_after_the_first_call)
{
	hapax_env *env = quiet_env(0);
	unsigned n;

	CHECK_EQ(hapax_thread_prepare(env), HAPAX_OK);
	n = exhaust_keys(all_keys);
	on_threads(3, env, HAPAX_OK);
	give_back_keys(all_keys, n);
	test_env_end(env);
}

TEST(key_creation_fails_for_a_while)
{
	hapax_env *env = quiet_env(0);

	wrap_fail(WRAP_KEY_CREATE, 1, 3, EAGAIN); /* the thread's first call tries, and prepare tries again */
	CHECK_EQ(hapax_thread_prepare(env), HAPAX_ETHREAD);
	CHECK_EQ(wrap_failed(WRAP_KEY_CREATE), 2);
	CHECK_EQ(hapax_thread_prepare(env), HAPAX_OK);
	on_threads(3, env, HAPAX_OK);
	wrap_off();
	test_env_end(env);
}

TEST(setspecific_fails)
{
	hapax_env *env = quiet_env(0);

	CHECK_EQ(hapax_thread_prepare(env), HAPAX_OK);
	wrap_fail(WRAP_SETSPECIFIC, 1, EVERY, ENOMEM);
	on_threads(3, env, HAPAX_ETHREAD);
	CHECK(wrap_failed(WRAP_SETSPECIFIC) >= 3);
	wrap_off();
	on_threads(3, env, HAPAX_OK);
	test_env_end(env);
}

static void prepare_twice(unsigned index, void *arg)
{
	(void)index;
	wrap_fail(WRAP_SETSPECIFIC, 1, 3, ENOMEM);
	CHECK_EQ(hapax_thread_prepare(arg), HAPAX_ETHREAD);
	CHECK_EQ(hapax_thread_prepare(arg), HAPAX_OK);
	wrap_off();
}

TEST(setspecific_fails_and_is_tried_again)
{
	hapax_env *env = quiet_env(HAPAX_ENV_NO_THREAD); /* the reclaimer's first call would take one of the failures */

	CHECK_EQ(hapax_thread_prepare(env), HAPAX_OK);
	run_threads(1, prepare_twice, env);
	test_env_end(env);
}

/* ---- memory of the default environment --------------------------------------------------------------------------- */

static const hapax_type large_type = {HAPAX_TYPE_INIT, .name = "large", .size = 1 << 20, .destroy = NULL};

/* malloc() and mmap(): call n fails, once or from then on, until all of it has worked. */
static bool default_world(enum wrap_call call, uint64_t n, bool once)
{
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT};
	hapax_table *table = NULL;
	void *small[40] = {NULL}, *large = NULL;
	uint64_t failed;
	int rc;

	wrap_fail(call, n, once ? n + 1 : EVERY, ENOMEM);
	errno = 4711;
	rc = hapax_table_create(&table, &o);
	CHECK(!rc == !!table);
	for (unsigned i = 0; !rc && i < 40; i++) {
		rc = hapax_new(NULL, &item_type, i * 16, &small[i]);
		CHECK(!rc == !!small[i]);
		if (!rc) {
			((struct item *)small[i])->live = ITEM_ALIVE;
			rc = hapax_table_put(table, HAPAX_KEY_OF(i), small[i]);
		}
	}
	if (!rc)
		rc = hapax_new(NULL, &large_type, 0, &large);
	CHECK(rc == HAPAX_OK || rc == HAPAX_ENOMEM);
	CHECK_EQ(errno, 4711);
	failed = wrap_failed(call);
	CHECK(rc == HAPAX_OK || failed);
	hapax_release(large);
	for (unsigned i = 0; i < 40; i++)
		hapax_release(small[i]);
	wrap_off();
	if (table)
		table_end(table, 0);
	hapax_testing_drain(NULL);
	CHECK_EQ(hapax_testing_live_objects(NULL), 0);
	return failed;
}

static void sweep_default(enum wrap_call call)
{
	unsigned failed = 0;
	uint64_t n;

	CHECK_EQ(hapax_thread_prepare(NULL), HAPAX_OK);
	for (int once = 0; once < 2; once++) {
		for (n = 1; default_world(call, n, once); n++)
			failed++;
		CHECK(n < 500);
	}
	printf("%u failures\n", failed);
#ifndef TEST_ASAN /* there everything is malloc's */
	CHECK(failed);
#else
	CHECK(failed || call == WRAP_MMAP);
#endif
}

TEST(malloc_fails) { sweep_default(WRAP_MALLOC); }
TEST(mmap_fails) { sweep_default(WRAP_MMAP); }

/* ---- randomness ------------------------------------------------------------------------------------------------------ */

/* Without the system's randomness there are other, weaker seeds; environments still differ. */
TEST(getrandom_fails)
{
	hapax_env *env[2] = {NULL, NULL};
	uint64_t a, b;

	wrap_fail(WRAP_GETRANDOM, 1, EVERY, ENOSYS);
	for (int i = 0; i < 2; i++) {
		hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT};

		CHECK_EQ(hapax_env_create(&env[i], &o), HAPAX_OK);
	}
	CHECK(wrap_failed(WRAP_GETRANDOM) >= 2);
	a = hpx_env_random(env[0]);
	b = hpx_env_random(env[1]);
	CHECK(a != b);
	wrap_off();
	hapax_env_destroy(env[0]);
	hapax_env_destroy(env[1]);
}

/* ---- small stacks ---------------------------------------------------------------------------------------------------- */

static void *small_stack(void *arg)
{
	everything_on_a_thread(7, arg);
	return NULL;
}

/* The least stack there is, with as much again for what the checks print. */
TEST(threads_with_the_smallest_stack)
{
	size_t size = (size_t)PTHREAD_STACK_MIN * (test_slow_build() ? 16 : 2);
	hapax_env *env = quiet_env(0);
	struct source s = {0};
	struct everything e = {.env = env};
	pthread_attr_t attr;
	pthread_t thread;

	e.cache = cache_with(env, &s, 0);
	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attr, size), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(pthread_create(&thread, &attr, small_stack, &e), 0);
		test_join(thread);
	}
	pthread_attr_destroy(&attr);
	cache_end(e.cache, 0);
	test_env_end(env);
}
