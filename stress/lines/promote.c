/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lines/promote.c - promotion without the contention that brings it about: threads that take turns do not meet. */
#include <time.h>

#include "lines/operations.h"
#include "object/hot.h"

static bool stays(void *cache, void *e)
{
	(void)cache, (void)e;
	return true;
}

void promote(hapax_env *env, void *object)
{
	const struct timespec nap = {.tv_nsec = 200000};
	struct hpx_object *o = hpx_object_of(object);
	unsigned news;

	/* it may be on its way back from an earlier one, which takes a grace period */
	for (unsigned n = 1; !hpx_self.hot || !(hpx_load_relaxed(&o->count) & HPX_HOT); n++) {
		hpx_read_lock();
		news = hpx_hot_met(o, HPX_HOT_MET, stays, NULL, NULL);
		hpx_read_unlock();
		if (news)
			hpx_hot_attend(env);
		if (n % 1024 == 0)
			nanosleep(&nap, NULL);
	}
}
