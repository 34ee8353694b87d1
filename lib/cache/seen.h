/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/seen.h - loads in progress, as they are seen from outside.
 *
 *      loader on a thread's stack     a slot of the thread (struct hpx_loading)        flights.c
 *      reload of a present entry      the list of reloads                              reload.c
 *      token, or a task to be run     the cache's list of open loads                   token.c
 */
#ifndef HPX_SEEN_H
#define HPX_SEEN_H

#include "cache/load.h"

#define HPX_KEY_SEEN 48

/* The beginning of a key, without what a client has put before it. */
struct hpx_key_seen {
	unsigned char bytes[HPX_KEY_SEEN];
	size_t size; /* of the whole key */
};
void hpx_key_see(const hapax_cache *c, const hapax_key *key, struct hpx_key_seen *seen);

struct hpx_flight_seen {
	struct hpx_key_seen key;
	uint64_t age_ns;
	bool exact; /* else it is at least so old */
	int tid;    /* 0: none */
	uint64_t waiters;
};

struct hpx_flights_seen {
	hapax_cache *cache;
	uint64_t now;  /* by its environment's clock */
	struct hpx_flight_seen *at;
	size_t n, room; /* n may be above room: those had none */
};

/* All of them; the caller is in the cache, outside sections and locks. */
void hpx_flights_see(struct hpx_flights_seen *s);
/* One of them, whose key and word stay until this returns. */
void hpx_flight_see(struct hpx_flights_seen *s, const hapax_key *key, uint64_t since, bool exact, int tid, const void *entry,
		    hpx_u64 *word);
void hpx_reloads_see(struct hpx_flights_seen *s);
void hpx_tokens_see(struct hpx_flights_seen *s);

#endif
