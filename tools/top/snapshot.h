/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * top/snapshot.h - one snapshot of a process, from its JSON text; and two of them compared.
 *
 * What a snapshot lacks, or has of another type, is 0 or empty; what is not known here is left alone.
 */
#ifndef TOP_SNAPSHOT_H
#define TOP_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "attach.h"
#include "text.h"

struct hot_key {
	struct foreign key;
	uint64_t samples;
	double share; /* of the samples; NAN: not said */
};

struct flight {
	struct foreign key;
	uint64_t age_ns, waiters;
	int64_t tid; /* 0: no thread runs it */
	bool exact; /* else `age_ns` is the least it can be */
};

struct type {
	struct foreign name;
	uint64_t alive, born;
};

struct environment {
	uint64_t id, garbage, peak, bound, waits, refusals, grace_periods, stalls;
	int64_t stalled_tid;
	struct foreign stalled_name;
	struct type *types;
	size_t ntypes;
	double grace_rate; /* since the snapshot before; NAN: not known */
};

struct cache {
	uint64_t id, hits, misses, loads, load_failures, load_ns, loading, present, retained, weight, demoted, evictions, stale,
		negative, sampled_one_in;
	struct foreign name, kind;
	bool counted;               /* else the cache keeps no statistics */
	bool bounded, weighed;
	uint64_t bound, bound_weight; /* when bounded, weighed */
	struct hot_key *hottest;
	struct flight *flights;
	size_t nhottest, nflights;
	/* each second since the snapshot before; NAN: not known */
	double gets, load_rate, eviction_rate, stale_rate, negative_rate;
	double hit_share, hit_share_ever; /* 0 to 1; NAN: no gets */
};

struct snapshot {
	struct json_object *root; /* what the texts point into */
	struct foreign program, version;
	uint64_t time_ns, monotonic_ns;
	bool truncated;
	struct environment *environments;
	struct cache *caches;
	size_t nenvironments, ncaches;
};

/* NULL: it is no snapshot, and `why` says so. */
struct snapshot *snapshot_parse(struct foreign text, char why[WHY]);
void snapshot_drop(struct snapshot *s); /* NULL is a no-op */
/* Fills in what is counted by time; `before` may be NULL. */
void snapshot_compare(struct snapshot *now, const struct snapshot *before);
/* The JSON text on one line, fit for a terminal, with its newline. */
void snapshot_json(const struct snapshot *s, struct text *out);

enum order { BY_GETS, BY_HITS, BY_LOADS, BY_FLIGHTS, BY_PRESENT, BY_DEMOTED, BY_EVICTIONS, BY_NAME, BY_ID, ORDERS };
extern const char *const order_names[ORDERS];
/* Most first, hit share least first, names and numbers in their order; all the other way round if `reverse`. */
void snapshot_sort(struct snapshot *s, enum order order, bool reverse);
/* The longest flight, or NULL. */
const struct flight *longest_flight(const struct cache *c);

#endif
