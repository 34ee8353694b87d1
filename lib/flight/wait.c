/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flight/wait.c - who waits for whom.
 *
 * Problem: thread A loads x and asks for y, thread B loads y and asks for x. Neither load can end.
 *
 *      thread --waits for--> target --owned by--> thread --waits for--> ...
 *
 * A thread waits for one target at most, and a target has one owner at most; so the walk is a chain. Only sleeping
 * threads are looked at: a thread that owns the target and runs is no cycle yet, and walks itself when it comes to sleep.
 * The last one to close a cycle is refused, because every step of all walks happens under one lock.
 *
 * Guarantees: no false alarm, as a target is forgotten (hpx_wait_forget) before its address can be used again; no
 * cycle of sleeping threads. Limits: what the application waits for by its own means is not seen.
 */
#include "flight/flight.h"

static pthread_mutex_t graph_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hpx_thread *sleepers; /* under graph_lock, as are waiting_for and the links of each */

/* `thread` is the caller, or asleep with graph_lock held by the caller: its frames and queue do not change. */
static bool owns(const struct hpx_thread *thread, const void *target)
{
	const struct hpx_frame *frame;

	for (frame = thread->frames; frame; frame = frame->up)
		if (frame->entry == target)
			return true;
	return hpx_death_owned_by(thread, target);
}

static const struct hpx_thread *sleeping_owner(const void *target)
{
	const struct hpx_thread *thread;

	for (thread = sleepers; thread; thread = thread->wait_next)
		if (thread->waiting_for && owns(thread, target))
			return thread;
	return NULL;
}

bool hpx_wait_owned(const void *target)
{
	return target && owns(&hpx_self, target);
}

int hpx_wait_enter(const void *target)
{
	const void *next = target;
	const struct hpx_thread *owner;
	int rc = 0;

	pthread_mutex_lock(&graph_lock);
	/* Each step goes to another sleeper: the sleepers themselves form no cycle, so this ends. */
	while (!rc && next) {
		if (owns(&hpx_self, next)) {
			rc = HAPAX_EDEADLK;
		} else {
			owner = sleeping_owner(next);
			next = owner ? owner->waiting_for : NULL;
		}
	}
	if (!rc) {
		hpx_self.waiting_for = target;
		hpx_self.wait_prev = NULL;
		hpx_self.wait_next = sleepers;
		if (sleepers)
			sleepers->wait_prev = &hpx_self;
		sleepers = &hpx_self;
	}
	pthread_mutex_unlock(&graph_lock);
	return rc;
}

void hpx_wait_leave(void)
{
	pthread_mutex_lock(&graph_lock);
	if (hpx_self.wait_prev)
		hpx_self.wait_prev->wait_next = hpx_self.wait_next;
	else
		sleepers = hpx_self.wait_next;
	if (hpx_self.wait_next)
		hpx_self.wait_next->wait_prev = hpx_self.wait_prev;
	hpx_self.wait_next = hpx_self.wait_prev = NULL;
	hpx_self.waiting_for = NULL;
	pthread_mutex_unlock(&graph_lock);
}

void hpx_wait_forget(const void *target)
{
	struct hpx_thread *thread;

	pthread_mutex_lock(&graph_lock);
	for (thread = sleepers; thread; thread = thread->wait_next)
		if (thread->waiting_for == target)
			thread->waiting_for = NULL;
	pthread_mutex_unlock(&graph_lock);
}

/* The other threads are gone, and with them whoever held the lock. */
static void child(void)
{
	pthread_mutex_init(&graph_lock, NULL);
	sleepers = NULL;
	hpx_self.waiting_for = NULL;
	hpx_self.wait_next = hpx_self.wait_prev = NULL;
}

__attribute__((constructor)) static void register_child(void)
{
	hpx_fork_hook(HPX_FORK_LOCKS, child);
}
