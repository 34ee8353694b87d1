/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * histories.h - many short rounds of concurrent calls on a few keys, each recorded and judged; and recorded histories
 * corrupted on purpose, all of which have to be rejected.
 *
 * rounds.c and corrupt.c are for the tests too, which run them on the testing build of hapax.
 */
#ifndef HPX_HISTORIES_H
#define HPX_HISTORIES_H

#include "harness/history.h"
#include "harness/rng.h"

#include <hapax/hapax.h>

/* ---- rounds -------------------------------------------------------------------------------------------------------- */

enum hpx_subject { HPX_SUBJECT_TABLE, HPX_SUBJECT_COLLIDING, HPX_SUBJECT_CACHE, HPX_SUBJECT_MAKING_CACHE,
		   HPX_SUBJECT_BOUNDED, HPX_SUBJECT_EXPIRING, HPX_SUBJECTS };
extern const char *const hpx_subject_names[HPX_SUBJECTS];

enum { HPX_ROUND_THREADS = 4, HPX_ROUND_KEYS = 3, HPX_ROUND_CALLS = 6 }; /* at most; calls of each thread */

struct hpx_rounds {
	/* given */
	hapax_env *env;
	enum hpx_subject subject;
	unsigned threads; /* 2 to HPX_ROUND_THREADS */
	uint64_t first, rounds, seed; /* numbers of rounds: first, first + 1, ... */
	/* Judges one history; false: no more rounds. On the calling thread. */
	bool (*judge)(struct hpx_rounds *r, struct hpx_history *history, uint64_t round);
	void *ctx;
	/* what came of it */
	uint64_t played, events, overlapping; /* events; and of them, such as overlapped another one of their key */
	uint64_t loads, joins, fenced;	      /* loaders run, outcomes shared, loads that something fenced */
	uint64_t unexpected;		      /* calls with a status that they must not have; the last one */
	int unexpected_status;
	uint64_t leftovers; /* rounds after which something was left in the table or cache */
};

/* Returns 0, or a status of hapax's or HAPAX_ETHREAD when it could not begin. */
int hpx_rounds_run(struct hpx_rounds *r);
/* On a thread of a round: takes a little time. For stop points. */
void hpx_rounds_dawdle(void);

/* ---- corruption ---------------------------------------------------------------------------------------------------- */

enum hpx_corruption {
	HPX_CORRUPT_SWAP,	 /* the results of two gets */
	HPX_CORRUPT_STALE,	 /* an object is returned after somebody took it out */
	HPX_CORRUPT_TWO_LIVES,	 /* a load while an object is there */
	HPX_CORRUPT_LOST_PUT,	 /* a miss though an object was put and is held */
	HPX_CORRUPT_TWO_LOADS,	 /* of one key at once, with nothing that fences one of them */
	HPX_CORRUPT_FENCED,	 /* a fenced load is there afterwards */
	HPX_CORRUPT_RISEN,	 /* an object comes back after its death */
	HPX_CORRUPT_FAILURE,	 /* a failure that no load had */
	HPX_CORRUPT_OUTLIVED,	 /* something is there though all that was ever put has died */
	HPX_CORRUPTIONS
};
extern const char *const hpx_corruption_names[HPX_CORRUPTIONS];

struct hpx_corrupted {
	struct hpx_lin_history history;
	struct hpx_lin_event event[HPX_HISTORY_THREADS * HPX_HISTORY_EVENTS + 1];
	struct hpx_lin_hold hold[HPX_HISTORY_THREADS * HPX_HISTORY_HOLDS + 1];
};

/* A copy of a right history, corrupted at a random one of the places where that cannot be right whatever the order of
 * the calls was (corrupt.c says why). False: there is no such place. */
bool hpx_corrupt(struct hpx_corrupted *to, const struct hpx_lin_history *history, enum hpx_corruption how, hpx_rng *rng);

/* ---- the command --------------------------------------------------------------------------------------------------- */

int hpx_histories_main(int argc, char **argv);

#endif
