/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Forks under load: hapax's handlers inside, outside, and in place of the application's own of liburcu. */
#include <hapax/testing.h>

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "reclaim/reclaim.h"

#define FORKS 60
#define CHURNERS 2

static hpx_u32 stop;
static hapax_env *env;

static void churn_once(void)
{
	hpx_u64 *b = hpx_pool_alloc(env, 64);

	if (!b)
		abort();
	hpx_read_lock();
	hpx_init(b, 0);
	hpx_read_unlock();
	hpx_pool_retire(env, b, 64, b);
}

static void *churn(void *arg)
{
	(void)arg;
	while (!hpx_load_relaxed(&stop)) {
		if (hpx_admit(env, HAPAX_FOREVER))
			abort();
		churn_once();
	}
	return NULL;
}

static int child(void)
{
	hapax_env_stats stats = {.size = sizeof(stats)};
	hapax_env *other;

	alarm(20);
	for (int i = 0; i < 5000; i++) {
		if (hpx_admit(env, HAPAX_FOREVER))
			return 1;
		churn_once();
	}
	hapax_testing_drain(env);
	if (hapax_env_stats_get(env, &stats) || hapax_env_create(&other, NULL))
		return 2;
	hapax_env_destroy(other);
	return 0;
}

enum order { HAPAX_OUTSIDE, HAPAX_INSIDE, HAPAX_ALONE };

static void fork_under_load(enum order order)
{
	unsigned flags = order == HAPAX_ALONE ? HAPAX_FORK_URCU : 0;
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = 1 << 20};
	pthread_t thread[CHURNERS];
	int status;
	pid_t pid;

	assert_int_equal(hapax_env_create(&env, &o), 0);
	hpx_store_relaxed(&stop, 0);
	for (size_t i = 0; i < CHURNERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, churn, NULL), 0);
	for (int i = 0; i < FORKS; i++) {
		if (order == HAPAX_INSIDE)
			urcu_bp_before_fork();
		hapax_before_fork(flags);
		if (order == HAPAX_OUTSIDE)
			urcu_bp_before_fork();
		pid = fork();
		if (pid) {
			if (order == HAPAX_OUTSIDE)
				urcu_bp_after_fork_parent();
			hapax_after_fork_parent(flags);
			if (order == HAPAX_INSIDE)
				urcu_bp_after_fork_parent();
		} else {
			if (order == HAPAX_OUTSIDE)
				urcu_bp_after_fork_child();
			hapax_after_fork_child(flags);
			if (order == HAPAX_INSIDE)
				urcu_bp_after_fork_child();
			_exit(child());
		}
		assert_true(pid > 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	hpx_store_relaxed(&stop, 1);
	for (size_t i = 0; i < CHURNERS; i++)
		pthread_join(thread[i], NULL);
	hapax_env_destroy(env);
}

/*
 * A fork that holds hapax's locks while liburcu's handler waits for readers, and a reader that needs them: it hung.
 * Here the reader's section lasts until its calls have returned.
 */
static sem_t in_section, locked, called;

static void *call_in_section(void *arg)
{
	hapax_env_stats stats = {.size = sizeof(stats)};

	urcu_bp_read_lock();
	sem_post(&in_section);
	sem_wait(&locked);
	/* a thread that hapax has not seen yet, and one that needs a share */
	hapax_release(arg);
	if (hapax_env_stats_get(env, &stats))
		abort();
	urcu_bp_read_unlock();
	sem_post(&called);
	return NULL;
}

static void a_reader_needs_what_a_fork_holds(void **state)
{
	const hapax_type type = {HAPAX_TYPE_INIT, .name = "released in a section", .size = 64};
	void *object;
	pthread_t thread;

	(void)state;
	alarm(60);
	assert_int_equal(hapax_env_create(&env, NULL), 0);
	assert_int_equal(hapax_new(env, &type, 0, &object), 0);
	sem_init(&in_section, 0, 0);
	sem_init(&locked, 0, 0);
	sem_init(&called, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, call_in_section, object), 0);
	sem_wait(&in_section);
	hapax_before_fork(0);
	sem_post(&locked);
	sem_wait(&called);
	hapax_after_fork_parent(0);
	pthread_join(thread, NULL);
	hapax_env_destroy(env);
	alarm(0);
}

/* The same while a grace period is late, because of that very reader: the statistics look who it is. */
static void *drain(void *arg)
{
	hapax_testing_drain(arg);
	return NULL;
}

static void no_message(hapax_log_level level, const char *message, void *ctx)
{
	(void)level, (void)message, (void)ctx;
}

static void a_stalling_reader_needs_what_a_fork_holds(void **state)
{
	const hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT, .stall_ns = 1, .flags = HAPAX_ENV_NO_THREAD,
					   .log = {.write = no_message}};
	const hapax_type type = {HAPAX_TYPE_INIT, .name = "released in a section", .size = 64};
	hapax_env_stats stats = {.size = sizeof(stats)};
	pthread_t reader, waiter;
	void *object;

	(void)state;
	alarm(60);
	assert_int_equal(hapax_env_create(&env, &options), 0);
	assert_int_equal(hapax_new(env, &type, 0, &object), 0);
	sem_init(&in_section, 0, 0);
	sem_init(&locked, 0, 0);
	sem_init(&called, 0, 0);
	assert_int_equal(pthread_create(&reader, NULL, call_in_section, object), 0);
	sem_wait(&in_section);
	assert_int_equal(pthread_create(&waiter, NULL, drain, env), 0);
	do {
		sched_yield();
		assert_int_equal(hapax_env_stats_get(env, &stats), 0);
	} while (!stats.stalled_tid); /* a grace period waits */
	hapax_before_fork(0);
	sem_post(&locked);
	sem_wait(&called);
	hapax_after_fork_parent(0);
	pthread_join(reader, NULL);
	pthread_join(waiter, NULL);
	hapax_env_destroy(env);
	alarm(0);
}

static void around_the_applications_handlers(void **state)
{
	(void)state;
	fork_under_load(HAPAX_OUTSIDE);
}

static void within_the_applications_handlers(void **state)
{
	(void)state;
	fork_under_load(HAPAX_INSIDE);
}

static void with_liburcu_left_to_hapax(void **state)
{
	(void)state;
	fork_under_load(HAPAX_ALONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reader_needs_what_a_fork_holds),
		cmocka_unit_test(a_stalling_reader_needs_what_a_fork_holds),
		cmocka_unit_test(around_the_applications_handlers),
		cmocka_unit_test(within_the_applications_handlers),
		cmocka_unit_test(with_liburcu_left_to_hapax),
	};

#ifdef HPX_SECTION_TSAN
	return 77; /* ThreadSanitizer does not follow a fork of several threads */
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
