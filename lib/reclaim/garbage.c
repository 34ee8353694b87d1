/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/garbage.c - the bound on garbage: accounting, and admission of those who create.
 *
 * Who waits here also looks for the reader that keeps the grace period from ending: the thread that runs it cannot.
 */
#include "base/probe.h"
#include "reclaim/internal.h"

void hpx_garbage_add(hapax_env *env, size_t bytes)
{
	/* order: ADMIT.ROOM relaxed; more garbage wakes nobody */
	uint64_t now = hpx_add_relaxed(&env->garbage, bytes) + bytes;
	uint64_t peak = hpx_load_relaxed(&env->peak); /* order: ENV.STATS relaxed; a maximum */

	while (peak < now && !hpx_cas_relaxed(&env->peak, &peak, now))
		;
}

void hpx_garbage_sub(hapax_env *env, size_t bytes)
{
	/* order: ADMIT.ROOM seq_cst; less garbage, then a look for waiters; they enlist, then look at the garbage */
	hpx_add_seq_cst(&env->garbage, (uint64_t)0 - bytes);
	if (HPX_UNLIKELY(hpx_load_seq_cst(&env->waiters)))
		hpx_event_signal(&env->room, env);
}

static bool room(hapax_env *env)
{
	/* order: ADMIT.ROOM seq_cst; see hpx_garbage_sub() */
	return hpx_load_seq_cst(&env->garbage) < hpx_load_relaxed(&env->threshold);
}

static int refuse(hapax_env *env)
{
	hpx_add_relaxed(&env->refusals, 1); /* order: ENV.STATS relaxed */
	return HAPAX_EGARBAGE;
}

struct waiting {
	hapax_env *env;
};

static void leave(struct waiting *w)
{
	hpx_sub_relaxed(&w->env->waiters, 1); /* order: ADMIT.ROOM relaxed; a needless signal at worst */
}

static int wait_for_room(hapax_env *env, uint64_t deadline)
{
	struct waiting w __attribute__((cleanup(leave), unused)) = {env};
	uint64_t step = env->stall_ns / 4 < 50 * HAPAX_MILLISECOND ? env->stall_ns / 4 + 1 : 50 * HAPAX_MILLISECOND;
	uint64_t now, until;
	uint32_t seen;

	hpx_add_seq_cst(&env->waiters, 1); /* order: ADMIT.ROOM seq_cst; see hpx_garbage_sub() */
	hpx_add_relaxed(&env->waits, 1);   /* order: ENV.STATS relaxed */
	for (;;) {
		seen = hpx_event_value(&env->room);
		if (room(env))
			return 0;
		now = hpx_env_now(env);
		if (deadline != HAPAX_FOREVER && now >= deadline)
			return refuse(env);
		hpx_gp_stamp();
		hpx_gp_hurry();
		until = deadline - now < step ? deadline : now + step;
		hpx_event_wait(&env->room, env, seen, until);
		hpx_stall_look(env);
		hpx_pool_poll(env);
	}
}

int hpx_admit(hapax_env *env, uint64_t deadline)
{
	int status, saved;

	if (HPX_BROKEN(BOUND_IGNORED))
		return 0;
	/* order: ADMIT.THRESHOLD relaxed; the bound allows for what is under way */
	if (HPX_LIKELY(hpx_load_relaxed(&env->garbage) < hpx_load_relaxed(&env->threshold)))
		return 0;
	if (hpx_in_section())
		return refuse(env);
	saved = errno;
	hpx_thread_ready();
	pthread_mutex_lock(&hpx_slow);
	hpx_pool_close_own(false);
	pthread_mutex_unlock(&hpx_slow);
	hpx_pool_poll(env);
	if (room(env))
		status = 0;
	else if (deadline == HAPAX_NO_WAIT || (env->flags & HAPAX_ENV_NO_THREAD) || hpx_state.working || !hpx_gp_start()) {
		hpx_gp_wake(env);
		hpx_stall_look(env);
		status = refuse(env);
	} else {
		HPX_PROBE1(garbage__wait, env);
		status = wait_for_room(env, deadline);
		HPX_PROBE2(garbage__waited, env, status);
	}
	errno = saved;
	return status;
}
