/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disturb.h - what is done to a process that uses hapax, beside its workers: each disturbance has threads of its own and
 * is chosen with --with.
 */
#ifndef HPX_STRESS_DISTURB_H
#define HPX_STRESS_DISTURB_H

#include "sights.h"
#include "torture.h"

typedef struct hpx_disturbance {
	const char *name;
	const char *help;
	const char *field, *label; /* of what it counts: JSON name, row of the table */
	uint64_t full;		   /* how many there are to be with --full */
	unsigned threads;	   /* members of the team */
	/* NULL, or why it cannot be done in this build or on this system */
	const char *(*lacking)(void);
	/* Before there are threads. Returns 0, or -1 after a message. May be NULL. */
	int (*prepare)(hpx_torture *torture);
	/* One member's work, until hpx_stopping(); `which` counts its members. */
	void (*run)(hpx_torturer *self, unsigned which);
	/* When all are home and before the caches of the torture go. May be NULL. */
	void (*judge)(hpx_torture *torture, hpx_result *result);
	hpx_relaxed events;
	bool on;
} hpx_disturbance;

extern hpx_disturbance hpx_starved, hpx_stopped, hpx_storm, hpx_short_threads, hpx_forks, hpx_dlopens, hpx_own_rcu,
	hpx_growth, hpx_iterates, hpx_exclusives, hpx_tight_garbage, hpx_closes, hpx_cancels, hpx_deferreds, hpx_barriers;
extern hpx_disturbance *const hpx_disturbances[]; /* NULL-terminated */

static inline void hpx_happened(hpx_disturbance *disturbance, uint64_t times)
{
	if (hpx_sight_breaking != HPX_SIGHT_HAPPENED)
		hpx_relaxed_add(&disturbance->events, times);
}

/* Chooses from "all" or names with commas ("-name" takes one out of what is before). Returns 0, or HPX_EXIT_INPUT after
 * a message. Those that are lacking are left out of "all" and refused by name. */
int hpx_disturb_choose(const char *with);
void hpx_disturb_names(char *text, size_t size); /* those that are on, with commas; "none" */
unsigned hpx_disturb_threads(void);
/* The disturbance of member `index` of all of them, and which of its members that is. */
hpx_disturbance *hpx_disturb_member(unsigned index, unsigned *which);

/* --- for the disturbances --- */

/* A torturer for a thread of a disturbance, before there are threads. */
hpx_torturer *hpx_recruit(hpx_torture *torture);
/* Sleeps, whatever signals come; false when it ended early because the run is stopping. */
bool hpx_pause(uint64_t ns);
/* Waits for a condition that has to come true; false: not within `seconds`. Goes on when the run is stopping. */
bool hpx_await(bool (*condition)(void *ctx), void *ctx, double seconds);
/* An environment of a disturbance's own; on failure the process ends with an input error. */
hapax_env *hpx_own_env(hpx_torture *torture, const hapax_env_options *options);
/* Its end: everything has been released. Judges born = destroyed = freed and the bound, and destroys it. `alive`: bytes
 * that were alive at most. */
void hpx_own_env_end(hapax_env *env, const char *whose, uint64_t alive, hpx_sight bound);
/* No signals of the storm on this thread from here on: for threads that are cancelled. */
void hpx_signals_block(void);

#endif
