/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * result.h - what a run found out: judged, shown as the closing table, written as JSON.
 */
#ifndef HPX_STRESS_RESULT_H
#define HPX_STRESS_RESULT_H

#include "histogram.h"
#include "oracle.h"

#include <hapax/hapax.h>
#include <stdbool.h>
#include <stdio.h>

enum { HPX_RESULT_NOTES = 96, HPX_RESULT_BROKEN = 32 };

typedef struct hpx_note {
	const char *field; /* JSON name; static */
	const char *label; /* row of the table; NULL: JSON only */
	uint64_t value;
} hpx_note;

typedef struct hpx_result {
	const char *command;
	uint64_t seed;
	unsigned threads;
	double seconds;
	bool interrupted;
	bool may_refuse; /* creations with deadlines: HAPAX_EGARBAGE is no fault */
	uint64_t requests, hits, loads, load_errors, lives, overlapping_lives, wrong_values;
	char repeat[512];     /* the command that repeats this run; "": not told */
	uint64_t alive_bytes; /* the most that can be alive at once: garbage may exceed its bound by that (G6) */
	hapax_env_stats env;
	hpx_histogram latency;
	hpx_note notes[HPX_RESULT_NOTES];
	unsigned notes_used;
	struct {
		int error;
		uint64_t count;
	} errors[16];
	unsigned errors_used;
	char broken[HPX_RESULT_BROKEN][256];
	unsigned broken_used; /* may exceed HPX_RESULT_BROKEN; the rest is only counted */
} hpx_result;

/* Where people read: standard output, or standard error when the JSON goes to standard output. */
FILE *hpx_human(const char *json);

/* NULL is fine. Says before the run whether the file can be written. Returns 0, or HPX_EXIT_INPUT after a message. */
int hpx_json_check(const char *command, const char *json);
/* The same for the file of another option. */
int hpx_output_check(const char *command, const char *option, const char *path);

/* One more row and field. */
void hpx_result_note(hpx_result *result, const char *field, const char *label, uint64_t value);
/* A promise was broken: said in a sentence. */
void hpx_result_broken(hpx_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Load errors of one errno. */
void hpx_result_error(hpx_result *result, int error, uint64_t count);

/* Judges what the oracles counted, together; requests, loads and load errors are there already. */
void hpx_result_oracles(hpx_result *result, const hpx_oracle *oracles, unsigned count);
/* After the end: every life that was begun has been destroyed. `begun`: lives and put instances. */
void hpx_result_destructors(hpx_result *result, const hpx_oracle *oracles, unsigned count, uint64_t begun);

/* Compares the cache's own statistics, at rest, with what was counted from outside; takes hits from them. */
void hpx_result_cache(hpx_result *result, hapax_cache *cache);

/*
 * After everything was released and the cache destroyed: reclaims until all that was born has been freed, or ten
 * seconds have passed; judges conservation and garbage.
 */
void hpx_result_settle(hpx_result *result, hapax_env *env);

/* Shows the closing table and writes the JSON (NULL: none; "-": standard output). Returns the exit status. */
int hpx_result_finish(const hpx_result *result, const char *json);

#endif
