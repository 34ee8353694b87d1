/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * team.h - the threads of a run: started together, stopped by time, by Ctrl-C or by having finished; with a progress
 * line meanwhile and a watchdog at the end.
 */
#ifndef HPX_STRESS_TEAM_H
#define HPX_STRESS_TEAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Monotonic nanoseconds. */
uint64_t hpx_now(void);

/* What a progress line needs to know; `fill` writes the part after the time into `line`. */
typedef struct hpx_progress {
	FILE *to; /* NULL: none */
	void (*fill)(char *line, size_t size, double seconds, void *ctx);
	void *ctx;
} hpx_progress;

typedef struct hpx_team {
	unsigned threads;
	double seconds; /* 0: until all have finished */
	void (*work)(unsigned index, void *ctx);
	void *ctx;
	hpx_progress progress;
	bool (*enough)(void *ctx); /* NULL, or asked when the time is over: false: go on, up to ten times as long */
	unsigned patience; /* seconds that threads may take to come back once told to stop; 0: 30 */
	/* results */
	double took;
	unsigned stuck; /* threads that did not come back: nothing they use may be freed */
	bool interrupted;
} hpx_team;

/* Runs the team. Returns 0, or HPX_EXIT_INPUT after a message when threads cannot be started (none is running then). */
int hpx_team_run(const char *command, hpx_team *team);

/* True when workers should come home. One relaxed load. */
bool hpx_stopping(void);
void hpx_stop(void);

/* True after SIGINT, SIGTERM or SIGHUP. The second one kills the process. Call hpx_catch_interrupts() early. */
bool hpx_interrupted(void);
void hpx_catch_interrupts(void);

#endif
