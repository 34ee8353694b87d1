/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* support/threads.c - threads that start together, barriers, events. */
#include "support/support.h"

struct start {
	void (*fn)(unsigned index, void *arg);
	void *arg;
	unsigned index;
	struct test_barrier *barrier;
};

static void *start_thread(void *arg)
{
	struct start *start = arg;

	test_barrier_wait(start->barrier);
	start->fn(start->index, start->arg);
	return NULL;
}

void run_threads(unsigned n, void (*fn)(unsigned index, void *arg), void *arg)
{
	pthread_t *threads = calloc(n, sizeof(*threads));
	struct start *starts = calloc(n, sizeof(*starts));
	struct test_barrier barrier;

	CHECK(n && threads && starts);
	test_barrier_init(&barrier, n);
	for (unsigned i = 0; i < n; i++) {
		starts[i] = (struct start){.fn = fn, .arg = arg, .index = i, .barrier = &barrier};
		threads[i] = test_thread(start_thread, &starts[i]);
	}
	for (unsigned i = 0; i < n; i++)
		test_join(threads[i]);
	free(starts);
	free(threads);
}

pthread_t test_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, fn, arg), 0);
	return thread;
}

void *test_join(pthread_t thread)
{
	void *result = NULL;

	CHECK_EQ(pthread_join(thread, &result), 0);
	return result;
}

void test_barrier_init(struct test_barrier *b, unsigned threads)
{
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->all, NULL);
	b->threads = threads;
	b->waiting = 0;
	b->round = 0;
}

void test_barrier_wait(struct test_barrier *b)
{
	unsigned round;

	pthread_mutex_lock(&b->lock);
	round = b->round;
	if (++b->waiting == b->threads) {
		b->waiting = 0;
		b->round++;
		pthread_cond_broadcast(&b->all);
	}
	while (b->round == round)
		pthread_cond_wait(&b->all, &b->lock);
	pthread_mutex_unlock(&b->lock);
}

void test_event_init(struct test_event *e)
{
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->set_cond, NULL);
	e->set = false;
}

void test_event_set(struct test_event *e)
{
	pthread_mutex_lock(&e->lock);
	e->set = true;
	pthread_cond_broadcast(&e->set_cond);
	pthread_mutex_unlock(&e->lock);
}

static void unlock_mutex(void *lock)
{
	pthread_mutex_unlock(lock);
}

void test_event_wait(struct test_event *e)
{
	pthread_mutex_lock(&e->lock);
	pthread_cleanup_push(unlock_mutex, &e->lock); /* waiting may be cancelled */
	while (!e->set)
		pthread_cond_wait(&e->set_cond, &e->lock);
	pthread_cleanup_pop(1);
}

bool test_event_is_set(struct test_event *e)
{
	bool set;

	pthread_mutex_lock(&e->lock);
	set = e->set;
	pthread_mutex_unlock(&e->lock);
	return set;
}
