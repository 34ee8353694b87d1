/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unit/stopped_death.h - a death on a thread that stops before it has told anybody. */
#ifndef TEST_STOPPED_DEATH_H
#define TEST_STOPPED_DEATH_H

#include "support/support.h"

static struct test_event dead, may_be_told;
static __thread bool stops_when_dead;

static void stop_when_dead(const char *name, void *ctx)
{
	(void)ctx;
	if (!stops_when_dead || strcmp(name, "death.dead"))
		return;
	stops_when_dead = false;
	test_event_set(&dead);
	test_event_wait(&may_be_told);
}

static void *release_and_stop(void *object)
{
	stops_when_dead = true;
	hapax_release(object);
	return NULL;
}

/* The last release of `object` on a thread of its own, which stops at DEAD until `may_be_told` is set. */
static pthread_t release_stopped(void *object)
{
	pthread_t thread;

	test_event_init(&dead);
	test_event_init(&may_be_told);
	hapax_testing_set_stop(stop_when_dead, NULL);
	thread = test_thread(release_and_stop, object);
	test_event_wait(&dead);
	return thread;
}

#endif
