/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy.h - replays recorded traces through bounded caches and says how often each eviction policy would have hit.
 *
 *   main.c       options, the order of the run, the judgement
 *   input.c      the traces of a folder, and the hit ratios of others that lie beside them
 *   replay.c     one point: one trace, one policy, one size, so many threads, through one hapax_cache
 *   summary.c    means, and how many points are worse than exact LRU
 *   report.c     the tables for people, and the JSON
 *   html.c       the page with the curves
 *
 * A POINT is what one cache was asked. Its requests are gets, each with a release right after it: the cache itself is
 * all the retention there is. A hit is a get whose loader was not called. Nothing is left out as warm-up.
 *
 * A SERIES is a trace as it is replayed: with bounds on entries, or, if it has sizes, with bounds on weight. Sized
 * traces are replayed by weight, and by entries too unless the same trace without sizes lies beside it.
 *
 * The weight of an object is the size in the request that loaded it, at least 1, until it is loaded again. The bound is
 * a fraction of what all keys weigh together, each with the size in its last request.
 */
#ifndef HPX_STRESS_POLICY_H
#define HPX_STRESS_POLICY_H

#include "harness/relaxed.h"
#include "trace/trace.h"

#include <hapax/hapax.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int hpx_policy_main(int argc, char **argv);

/* Ratios may be so much below those of exact LRU before a point counts as worse. */
#define HPX_POLICY_BELOW 0.01

enum {
	HPX_POLICY_LEAST = 10, /* smaller caches are left out, in entries */
	HPX_POLICY_BLOCK = 64, /* requests that a thread takes at a time */
	HPX_POLICY_FRACTIONS = 32
};

/* --- input.c --- */

typedef struct hpx_series {
	char *name; /* "web07"; by weight: "adaptsize.kv" */
	hpx_trace *trace;
	bool weighted;
	bool production; /* its name does not begin with lirs- or addr- */
	uint64_t bytes;	 /* what all keys weigh together; 0 unless weighted */
} hpx_series;

/* What others reach. */
typedef struct hpx_reference_row {
	char *trace;
	unsigned algorithm;
	double fraction;
	uint64_t size;
	double ratio;
} hpx_reference_row;

typedef struct hpx_reference {
	unsigned algorithms;
	char **algorithm; /* in the order of the file */
	size_t count;
	hpx_reference_row *rows;
} hpx_reference;

typedef struct hpx_input {
	size_t traces;
	hpx_trace *trace;
	size_t count;
	hpx_series *series; /* sorted by name */
	hpx_reference reference;
} hpx_input;

/* Returns 0, or HPX_EXIT_INPUT after a message. `only`: names of traces, or none for all. */
int hpx_policy_input(hpx_input *input, const char *folder, const char *const *only, unsigned only_count, FILE *to);
void hpx_policy_input_free(hpx_input *input);

/* The row of an algorithm for one size of one trace, or NULL. */
const hpx_reference_row *hpx_reference_find(const hpx_reference *reference, unsigned algorithm, const char *trace,
					    double fraction);
/* -1: not in the file. */
int hpx_reference_algorithm(const hpx_reference *reference, const char *name);

/* --- replay.c --- */

typedef struct hpx_contender {
	const char *name;
	const hapax_policy *(*policy)(void);
	bool weighted_only; /* unless it is asked for by name */
} hpx_contender;

typedef struct hpx_point {
	const hpx_series *series;
	const hpx_contender *contender;
	bool only_compared; /* exact LRU that nobody asked for */
	double fraction;
	uint64_t size; /* entries, or weight */
	unsigned threads;
	/* results */
	bool done;
	uint64_t requests, hits;
	double bytes, hit_bytes; /* weighted */
	double seconds;
	char broken[240]; /* "": nothing */
} hpx_point;

static inline double hpx_point_ratio(const hpx_point *point)
{
	return point->requests ? (double)point->hits / (double)point->requests : 0;
}

/* Replays; the results are in the point. Returns 0, or HPX_EXIT_INPUT after a message (no memory, no threads). */
int hpx_policy_replay(hpx_point *point, uint64_t seed);

/* --- summary.c --- */

typedef struct hpx_run {
	hpx_input input;
	const hpx_contender *contenders[16];
	unsigned contender_count;
	double fractions[HPX_POLICY_FRACTIONS]; /* ascending */
	unsigned fraction_count;
	unsigned threads; /* 1: only the rows of one thread */
	uint64_t seed;
	double seconds;
	size_t count;
	hpx_point *points;
	unsigned broken_used;
	char broken[32][400];
} hpx_run;

typedef struct hpx_summary {
	double mean_all, mean_production, mean_bytes;
	unsigned points, production_points;
	unsigned compared; /* points with one of exact LRU */
	unsigned below;	   /* of them more than HPX_POLICY_BELOW worse */
	double worst;	   /* how much the worst is, 0 or more */
} hpx_summary;

const hpx_point *hpx_run_point(const hpx_run *run, const hpx_series *series, const hpx_contender *contender,
			       double fraction, unsigned threads);
/* Of exact LRU on one thread. */
const hpx_point *hpx_run_lru(const hpx_run *run, const hpx_series *series, double fraction);
/* Over the points of this run. */
hpx_summary hpx_run_summary(const hpx_run *run, const hpx_contender *contender, unsigned threads, bool weighted);
/* Over those points of this run (by entries) that the file has. */
hpx_summary hpx_run_reference(const hpx_run *run, unsigned algorithm);
void hpx_run_broken(hpx_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- report.c, html.c --- */

void hpx_policy_table(const hpx_run *run, FILE *to);
int hpx_policy_json(const hpx_run *run, const char *path);
int hpx_policy_html(const hpx_run *run, const char *path);
/* 0.1 as "10 %"; `buffer` of at least 32. Returns it. */
char *hpx_percent(char *buffer, double fraction);
/* The algorithms of the file that tables show: the known ones, or all if it has none of those. */
bool hpx_policy_shown(const hpx_reference *reference, unsigned algorithm);

#endif
