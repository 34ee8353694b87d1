/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reclaim/testing.c - the testing build's time, drain and counts. */
#include "reclaim/internal.h"

#ifdef HPX_TESTING
#include <hapax/testing.h>

#define DRAIN_ROUNDS 100

void hapax_testing_set_time(hapax_env *env, const hapax_testing_time *time)
{
	env = hpx_env_or_default(env);
	env->time_now = time ? time->now : NULL;
	env->time_wait = time ? time->wait : NULL;
	env->time_wake = time ? time->wake : NULL;
	env->time_ctx = time ? time->ctx : NULL;
}

void hapax_testing_drain(hapax_env *env)
{
	(void)env; /* grace periods are the process's */
	if (hpx_in_section())
		return;
	for (unsigned round = 0; round < DRAIN_ROUNDS && (round < 2 || hpx_gp_due()); round++) {
		hpx_gp_stamp();
		hpx_gp_rounds(3, HPX_WORK_TRIM);
	}
}

uint64_t hapax_testing_live_objects(hapax_env *env)
{
	struct hpx_counters *counters = hpx_env_counters(hpx_env_or_default(env));
	uint64_t freed = hpx_counters_sum(counters, HPX_ENV_FREED);

	return hpx_counters_sum(counters, HPX_ENV_BORN) - freed;
}

size_t hapax_testing_bytes(hapax_env *env)
{
	return hpx_load_relaxed(&hpx_env_or_default(env)->bytes); /* order: ENV.BYTES relaxed; exact at rest */
}
#endif
