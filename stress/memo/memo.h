/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memo/memo.h - hapax-stress memo: what a memo costs, beside what it is made of and beside functools.lru_cache.
 *
 *   main.c     options
 *   hits.c     a hit of a memo beside a hit of a cache: short rounds in turn, medians
 *   owners.c   owners that die in random order on several threads: time, results destroyed once each, memory
 *   python.c   CPython's lru_cache in a child process, and a memo of as many threads over the same keys
 *   report.c   tables, JSON
 *
 * Times decide nothing here but the bars that are shown. Broken is what is wrong on any machine: a result that did not die
 * exactly once, counters that do not add up, memory that does not come back.
 */
#ifndef HPX_STRESS_MEMO_H
#define HPX_STRESS_MEMO_H

#include "harness/histogram.h"
#include "harness/result.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

int hpx_memo_main(int argc, char **argv);

enum {
	HPX_MEMO_SIZES = 2,
	HPX_MEMO_SUBJECTS = 8,
	HPX_MEMO_ROWS = HPX_MEMO_SIZES * 2 * HPX_MEMO_SUBJECTS,
	HPX_MEMO_ROUNDS = 999
};
#define HPX_MEMO_BAR 1.3

typedef struct hpx_memo_order {
	uint64_t seed, rounds, threads; /* threads: of deaths, and of calls beside CPython */
	uint64_t entries[HPX_MEMO_SIZES], calls; /* in a round, by each thread */
	uint64_t owners, owned, generations;
	uint64_t python_keys, python_calls, python_rounds, python_limit; /* seconds for each child; 0: no CPython */
} hpx_memo_order;

/* ---- hits -------------------------------------------------------------------------------------------------------- */

typedef struct hpx_memo_row {
	const char *subject, *reference; /* the row that `ratio` compares with; its own name: it is one */
	uint64_t n;
	unsigned threads;
	double ns, ratio; /* of a hit and its release on the processor; over the reference's */
	bool judged;	  /* has to keep HPX_MEMO_BAR */
} hpx_memo_row;

typedef struct hpx_memo_hits {
	unsigned used;
	hpx_memo_row row[HPX_MEMO_ROWS];
} hpx_memo_hits;

/* The parts return 0, or HPX_EXIT_INPUT after a message; what they find broken they tell `result`. */
int hpx_memo_hits_run(hpx_memo_hits *hits, const hpx_memo_order *order, hpx_result *result, FILE *progress);

/* ---- owners ------------------------------------------------------------------------------------------------------ */

enum hpx_memo_kind {
	HPX_MEMO_PLAIN,	  /* owners that never called a memo */
	HPX_MEMO_HOLDING, /* that hold their result themselves and release it in their destructor */
	HPX_MEMO_OWNING,  /* whose result a memo holds */
	HPX_MEMO_KINDS
};

typedef struct hpx_memo_owners {
	hpx_histogram death[HPX_MEMO_KINDS];
	uint64_t total_ns[HPX_MEMO_KINDS];
	uint64_t deaths; /* of each kind */
	uint64_t results, destroyed_once, destroyed_twice, not_destroyed;
	/* Allocated by the environment, and objects alive: before and after all owners; with all of a generation; after it, with
	 * the memo not used since; when the environment has ended. */
	uint64_t bytes_before, bytes_with, bytes_unused, bytes_after, bytes_end, alive_before, alive_after;
	uint64_t drain_ns; /* the longest */
	double entry_ns, entry_plain_ns; /* one owner of many entries: its death, for each; a release of as many objects */
} hpx_memo_owners;

int hpx_memo_owners_run(hpx_memo_owners *owners, const hpx_memo_order *order, hpx_result *result);

/* ---- CPython ----------------------------------------------------------------------------------------------------- */

enum { HPX_MEMO_PYTHON_ROWS = 6 };

typedef struct hpx_memo_python_row {
	const char *subject;
	uint64_t capacity;
	uint64_t hits, misses; /* of the last round */
	double seconds, calls_per_second; /* medians */
	double cpu_ns; /* of the processor for a call; median */
	double ratio, cpu_ratio; /* calls per second, and per second of the processor, over CPython's at the same capacity */
} hpx_memo_python_row;

typedef struct hpx_memo_python {
	char version[64]; /* "": it did not run */
	char why_not[200];
	bool gil;
	unsigned used;
	hpx_memo_python_row row[HPX_MEMO_PYTHON_ROWS];
} hpx_memo_python;

int hpx_memo_python_run(hpx_memo_python *python, const hpx_memo_order *order, hpx_result *result);

/* ---- report ------------------------------------------------------------------------------------------------------ */

struct hpx_memo_all {
	hpx_memo_order order;
	hpx_memo_hits hits;
	hpx_memo_owners owners;
	hpx_memo_python python;
	hpx_result result; /* seed, threads, seconds, what was broken */
};

/* Shows the tables and writes the JSON (NULL: none). Returns the exit status. */
int hpx_memo_report(const struct hpx_memo_all *all, const char *json);

/* The middle one of `count` values, which it sorts. */
double hpx_memo_median(double *value, size_t count);
/* Time that this thread has had of the processor. */
double hpx_memo_cpu_ns(void);
/* An environment, or a message and NULL. */
hapax_env *hpx_memo_env(uint64_t seed, const hapax_allocator *allocator);

#endif
