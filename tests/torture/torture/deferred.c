/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture/deferred.c - deferred deaths: each is run once, whoever runs them.
 */
#include "torture/torture/parts.h"

struct late {
	uint32_t destroyed; /* atomic */
};

static uint64_t made, ended; /* atomic */

static void destroy(void *object, void *arg)
{
	struct late *l = object;

	(void)arg;
	if (__atomic_exchange_n(&l->destroyed, 1, RELAXED))
		violation("a deferred death ran twice");
	__atomic_fetch_add(&ended, 1, RELAXED);
	linger(8);
}
HAPAX_TYPE(late, struct late, .destroy = destroy, .flags = HAPAX_TYPE_DEFERRED);

void deferred_step(hapax_env *env)
{
	struct late *l;

	for (unsigned n = roll(4); n; n--) {
		if (late_new(env, &l) != 0) {
			violation("hapax_new failed");
			return;
		}
		__atomic_fetch_add(&made, 1, RELAXED);
		hapax_release(l);
	}
	if (roll(2))
		hapax_run_deferred(env);
}

void deferred_judge(hapax_env *env)
{
	while (hapax_run_deferred(env))
		;
	if (made != ended)
		violation("%llu deferred objects made, %llu destroyed", (unsigned long long)made, (unsigned long long)ended);
}
