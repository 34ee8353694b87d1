/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * support/clock.c - time that moves only when a test says so, and sleepers that obey it.
 *
 * A sleeper waits on one condition variable; advancing the clock and waking a word both broadcast on it. The word is
 * changed by hapax outside our lock, but hapax wakes after changing it, and waking takes the lock: either the sleeper
 * sees the new value under the lock or it is already asleep when the wake comes.
 */
#include "support/support.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t now_ns = HAPAX_SECOND;
static unsigned sleepers;

static uint64_t fake_now(void *ctx)
{
	(void)ctx;
	return __atomic_load_n(&now_ns, __ATOMIC_ACQUIRE);
}

uint64_t fake_clock_now(void)
{
	return fake_now(NULL);
}

static void leave_sleep(void *ctx)
{
	(void)ctx;
	sleepers--;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void fake_wait(const uint32_t *word, uint32_t expected, uint64_t deadline, void *ctx)
{
	(void)ctx;
	pthread_mutex_lock(&lock);
	sleepers++;
	pthread_cond_broadcast(&changed);
	pthread_cleanup_push(leave_sleep, NULL); /* hapax's waits are cancellation points */
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == expected && now_ns < deadline)
		pthread_cond_wait(&changed, &lock);
	pthread_cleanup_pop(1);
}

static void fake_wake(const uint32_t *word, void *ctx)
{
	(void)word;
	(void)ctx;
	pthread_mutex_lock(&lock);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

void fake_clock_env(hapax_env_options *options)
{
	options->clock = (hapax_clock){.now = fake_now};
}

void fake_clock_attach(hapax_env *env)
{
	static const hapax_testing_time fake = {.now = fake_now, .wait = fake_wait, .wake = fake_wake};

	hapax_testing_set_time(env, &fake);
}

void fake_clock_set(uint64_t now)
{
	pthread_mutex_lock(&lock);
	__atomic_store_n(&now_ns, now, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

void fake_clock_advance(uint64_t ns)
{
	pthread_mutex_lock(&lock);
	__atomic_store_n(&now_ns, now_ns + ns < now_ns ? UINT64_MAX : now_ns + ns, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

unsigned fake_clock_sleepers(void)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = sleepers;
	pthread_mutex_unlock(&lock);
	return n;
}

void fake_clock_await_sleepers(unsigned n)
{
	pthread_mutex_lock(&lock);
	while (sleepers < n)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}
