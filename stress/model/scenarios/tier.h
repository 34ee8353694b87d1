/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/tier.h - what the scenarios of caches with a strong tier share: the ledger of removal notifications.
 *
 * Every value that was produced (installed by a put, or loaded) is told of once, when it leaves or is not installed; so at
 * rest what was produced is what is present and what was told, and after the cache has ended all of it was told.
 * A listener is given a value whose destructor has not begun, and none that is still found under its key.
 */
#ifndef HPX_MODEL_TIER_H
#define HPX_MODEL_TIER_H

#include "model/scenarios/kit.h"

/* Their runs are long, and there are many of them. */
#define TIER_SCENARIO(...) SCENARIO_FLAGS(MODEL_LONG, __VA_ARGS__)
#define TIER_IN_TIME(...) SCENARIO_FLAGS(MODEL_LONG | MODEL_IN_TIME, __VA_ARGS__)

enum { TIER_CAUSES = 6, TIER_TTL = 100 /* ns */ };

struct tier {
	struct kit k;
	struct item *a, *b; /* the scenario's, if it holds any */
	bool asks;          /* the listener looks whether what it was told of is still there */
	bool again;         /* one object may be put more than once */
	bool negatives;     /* negative results are remembered */
	bool longer;        /* A may be given out after TIER_TTL */
	uint64_t begun;     /* when the cache was made */
	int status[3];
	unsigned told[KIT_KEYS][TIER_CAUSES], all; /* of values */
	hapax_cause cause[KIT_ITEMS + 1];
	unsigned of[KIT_ITEMS + 1]; /* by object; those that were COLLECTED are not among them */
};

/* Options with the listener. */
hapax_cache_options tier_options(struct tier *s);
/* Opens the kit, creates the cache, puts `entries` values under the keys from 0 on; A, under key 0, is kept if `hold`. */
void tier_open(struct tier *s, unsigned env_flags, const hapax_cache_options *o, unsigned entries, bool hold);
/* A new value is put and not kept. */
void tier_put(struct tier *s, unsigned key);
void tier_let_go_of_a(struct tier *s);
unsigned tier_told(const struct tier *s, unsigned key);
hapax_cache_stats tier_stats(struct tier *s);
/* At rest: structures and ledger, with so many entries; then everything ends, and the ledger is whole. */
void tier_close(struct tier *s, size_t entries);
/* Before tier_close(): no call is under way: what is above the bound has gone without another one. */
void tier_settled(struct tier *s, uint64_t bound);

#endif
