/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* support/heap.c - see heap.h. */
#include <dlfcn.h>

#include "support/heap.h"
#include "support/support.h"

#if defined(__SANITIZE_ADDRESS__)
/* A leaf: nothing is taken under it. Its fork handlers are registered before all others, so it is taken last. */
static pthread_mutex_t heap = PTHREAD_MUTEX_INITIALIZER;
static int (*next_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

void test_heap_enter(void)
{
	pthread_mutex_lock(&heap);
}

void test_heap_leave(void)
{
	pthread_mutex_unlock(&heap);
}

__attribute__((constructor)) static void heap_over_forks(void)
{
	*(void **)&next_create = dlsym(RTLD_NEXT, "pthread_create");
	pthread_atfork(test_heap_enter, test_heap_leave, test_heap_leave);
}

struct beginning {
	void *(*run)(void *);
	void *arg;
	struct test_event begun;
};

static void *begin(void *arg)
{
	struct beginning *b = arg;
	void *(*run)(void *) = b->run;
	void *run_arg = b->arg;

	test_event_set(&b->begun);
	return run(run_arg);
}

/* In front of the sanitizer's own: for the library's threads too. */
__attribute__((visibility("default"))) int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
							  void *(*run)(void *), void *arg)
{
	struct beginning b = {.run = run, .arg = arg};
	int error;

	test_event_init(&b.begun);
	test_heap_enter();
	error = next_create(thread, attr, begin, &b);
	if (!error)
		test_event_wait(&b.begun);
	test_heap_leave();
	return error;
}
#endif
