/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/fork.c - hapax_before_fork() and its companions.
 *
 * Only short locks are taken. liburcu's handler waits for a grace period in progress, and so for readers: hapax calls it
 * before it takes its locks. An application that calls liburcu's handlers itself may do so before or after hapax's: in the
 * latter case readers are waited for with hapax's locks held, which is why nobody waits for them inside a section
 * (hpx_slow_lock()). A grace period in progress is abandoned in the child: what waits for it waits for the next.
 */
#include "reclaim/internal.h"

#define HOOKS 16

typedef void hook_function(void);
static HPX_ATOMIC(hook_function *) hooks[HPX_FORK_STAGES][HOOKS];
static hpx_u32 hook_count[HPX_FORK_STAGES];

void hpx_fork_hook(enum hpx_fork_stage stage, void (*hook)(void))
{
	uint32_t at = hpx_add_relaxed(&hook_count[stage], 1); /* order: FORK.HOOK relaxed; a place */

	if (at >= HOOKS)
		hpx_fatal(__FILE__, __LINE__, "too many fork hooks");
	hpx_store_release(&hooks[stage][at], hook); /* order: FORK.HOOK -> release */
}

static void run_hooks(enum hpx_fork_stage stage)
{
	for (uint32_t i = 0; i < HOOKS; i++) {
		/* order: -> FORK.HOOK acquire */
		hook_function *hook = hpx_load_acquire(&hooks[stage][i]);

		if (hook)
			hook();
	}
}

static void locks_take(void)
{
	run_hooks(HPX_FORK_BEFORE);
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
	if (flags & HAPAX_FORK_URCU)
		urcu_bp_before_fork();
	locks_take();
	errno = saved;
}

void hapax_after_fork_parent(unsigned flags)
{
	int saved = errno;

	locks_drop();
	run_hooks(HPX_FORK_PARENT);
	if (flags & HAPAX_FORK_URCU)
		urcu_bp_after_fork_parent();
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
	run_hooks(HPX_FORK_LOCKS);
	run_hooks(HPX_FORK_CONTENTS);
	errno = saved;
}
