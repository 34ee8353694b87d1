/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/fork.c - hapax_before_fork() and its companions.
 *
 * Only short locks are taken, none under which anybody waits for readers: so it does not matter whether the application
 * calls liburcu's handlers inside or outside of these. A grace period in progress is abandoned in the child: what waits for
 * it waits for the next.
 */
#include "reclaim/internal.h"

#define HOOKS 16

typedef void hook_function(void);
static HPX_ATOMIC(hook_function *) hooks[HOOKS];
static hpx_u32 hook_count;

void hpx_fork_child_hook(void (*hook)(void))
{
	uint32_t at = hpx_add_relaxed(&hook_count, 1); /* order: FORK.HOOK relaxed; a place */

	if (at >= HOOKS)
		hpx_fatal(__FILE__, __LINE__, "too many fork hooks");
	hpx_store_release(&hooks[at], hook); /* order: FORK.HOOK -> release */
}

static void locks_take(void)
{
	pthread_mutex_lock(&hpx_slow);
	for (hapax_env *env = hpx_envs; env; env = env->next)
		pthread_mutex_lock(&env->pool.lock);
}

static void locks_drop(void)
{
	for (hapax_env *env = hpx_envs; env; env = env->next)
		pthread_mutex_unlock(&env->pool.lock);
	pthread_mutex_unlock(&hpx_slow);
}

void hapax_before_fork(unsigned flags)
{
	int saved = errno;

	/* No hpx_thread_ready(): registering a reader would wait for liburcu's lock, which the application may have. */
	locks_take();
	if (flags & HAPAX_FORK_URCU)
		urcu_bp_before_fork();
	errno = saved;
}

void hapax_after_fork_parent(unsigned flags)
{
	int saved = errno;

	if (flags & HAPAX_FORK_URCU)
		urcu_bp_after_fork_parent();
	locks_drop();
	errno = saved;
}

void hapax_after_fork_child(unsigned flags)
{
	int saved = errno;

	if (flags & HAPAX_FORK_URCU)
		urcu_bp_after_fork_child();
	for (hapax_env *env = hpx_envs; env; env = env->next) {
		env->pinned = 0;
		hpx_init(&env->waiters, 0);
	}
	hpx_threads_after_fork();
	hpx_gp_after_fork();
	hpx_garbage_after_fork();
	locks_drop();
	for (uint32_t i = 0; i < HOOKS; i++) {
		/* order: -> FORK.HOOK acquire */
		hook_function *hook = hpx_load_acquire(&hooks[i]);

		if (hook)
			hook();
	}
	errno = saved;
}
