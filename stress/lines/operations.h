/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lines/operations.h - the public operations that are looked at, in steady state. */
#ifndef LINES_OPERATIONS_H
#define LINES_OPERATIONS_H

#include <hapax/hapax.h>

#include "lines/lines.h"

enum { SETS = 3, KEYS = 1024, MANY = 32 };

/* A cache with its objects, of the kind that an operation needs: two of one environment, one of another. */
struct set {
	hapax_env *env;
	hapax_cache *cache;
	hapax_memo *memo;
	void *owner;
	void *object[KEYS];
	void *twin[KEYS]; /* other objects, to be put under the same keys */
	hapax_weak *weak[KEYS];
};

/* What the two workers have in common during a phase, from most to least. */
enum lines_phase { SAME_KEY, OTHER_KEY, OTHER_CACHE, OTHER_ENV, PHASES };
extern const char *const lines_phases[PHASES];

/* Where a worker does it. */
struct seat {
	struct set *set;
	unsigned worker;
	uint64_t key;   /* below KEYS; what is under it is held */
	uint64_t fresh; /* the next key that was never used */
	void *got;
};

enum { NEEDS_MEMO = 1, NEEDS_OWNER = 2, NOT_HELD = 4, NO_SAME_KEY = 8, NEEDS_PROMOTED = 16 };

/* What --check holds an operation to. */
enum {
	LOCK_FREE = 1,      /* no lock, no allocation, no system call */
	NOTHING_SHARED = 2, /* threads with different keys write no line that the other one touches */
	ONE_COUNT = 4,      /* with the same key they write one line in common, the object's count */
	FEW_LINES = 8,      /* and share no more than `reads` lines that nobody writes */
	NO_COUNT = 32,      /* with the same key they write no line in common, and touch none that is written */
	LAST_FREE = 16,     /* the last part, which gives back: no lock, no allocation */
	HIT = LOCK_FREE | NOTHING_SHARED | ONE_COUNT | FEW_LINES
};

struct operation {
	const char *name;
	const char *parts[LINES_PARTS]; /* what is counted each for itself; [1] NULL: one thing */
	void (*run)(struct seat *seat, unsigned part);
	double times; /* that many in one run */
	unsigned needs;
	hapax_cache_options cache;
	const hapax_policy *(*policy)(void);
	unsigned promises;
	double reads;
};
extern const struct operation lines_operations[];

/* As contention would, by this thread: counting it needs no shared line. */
void promote(hapax_env *env, void *object);

int set_make(struct set *set, hapax_env *env, const struct operation *op);
void set_end(struct set *set, const struct operation *op);

#endif
