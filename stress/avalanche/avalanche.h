/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * avalanche.h - everything expires at once, while everybody reads.
 *
 * Problem. A cache is filled in one go, so one ttl ends for all entries in one instant; the readers of a popular key
 * then all miss together, and without care each of them loads it, all of them at the same time as all other keys'.
 *
 *   main.c   options, tables, JSON
 *   storm.c  one storm: the clock, the cache, the readers, the accounts
 *
 * The clock is the cache's own and stands still while it is filled, so all entries have the very same deadline. Then it
 * runs as real time does, up to a moment after the last first expiry and before the first second one, and stops there
 * for good. So in the whole storm no key may be loaded more than once, whatever the machine does meanwhile.
 *
 *      fill          ttl * (1 - jitter)      ttl        end = (ttl + 2 ttl (1 - jitter)) / 2     2 ttl (1 - jitter)
 *      0 -----------------[ first expiries ]---------------|
 */
#ifndef HPX_STRESS_AVALANCHE_H
#define HPX_STRESS_AVALANCHE_H

#include "harness/histogram.h"
#include "harness/relaxed.h"

#include <hapax/hapax.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

int hpx_avalanche_main(int argc, char **argv);

enum { HPX_STORM_SLOT_MS = 10, HPX_STORM_SLOTS = 1024, HPX_STORM_CAUSES = 6, HPX_STORM_HOT_OF = 16 };

/* What is asked of one storm. */
typedef struct hpx_storm_order {
	uint64_t entries, hot, ttl_ns, load_ns, seed;
	unsigned threads;
	double jitter; /* below 0.5 */
} hpx_storm_order;

typedef struct hpx_storm {
	hpx_storm_order order;
	double seconds;
	bool interrupted;
	uint64_t requests;		 /* by the readers */
	uint64_t loads, hot_loads;	 /* in the storm, not those that filled the cache */
	uint64_t hot_most, most;	 /* loads of one hot key, of any key */
	uint64_t met;			 /* loaders that met another one of the same key */
	uint64_t first_ns, last_ns;	 /* when hot keys were loaded, from the filling on */
	uint64_t slots[HPX_STORM_SLOTS]; /* loads per HPX_STORM_SLOT_MS */
	uint64_t installed;		 /* all loads that succeeded, with those that filled it */
	uint64_t told[HPX_STORM_CAUSES]; /* notifications by cause */
	uint64_t told_twice, not_told;	 /* objects */
	uint64_t first_expired;		 /* of the first generation: told as expired before the cache was destroyed */
	hpx_histogram latency;		 /* of all calls of the readers */
	hpx_histogram hits;		 /* of those that did not load themselves */
	uint64_t longest_cpu_ns;	 /* the most that a call took of the processor; of every second reader */
	unsigned broken_used;
	char broken[12][240];
} hpx_storm;

/* Returns 0, or HPX_EXIT_INPUT after a message. With `stuck` set threads did not come back: nothing may be freed. */
int hpx_storm_run(hpx_storm *storm, const hpx_storm_order *order, FILE *progress, bool *stuck);

#endif
