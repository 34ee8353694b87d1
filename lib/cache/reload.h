/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache/reload.h - one reload of a present entry: what refresh.c does with it. See reload.c. */
#ifndef HPX_RELOAD_H
#define HPX_RELOAD_H

#include "cache/install.h"

enum { HPX_RELOAD_WAITING, HPX_RELOAD_RUNNING };

struct hpx_reload {
	hpx_u64 word;             /* of its flight */
	struct hpx_reload *next, *prev;
	hapax_cache *cache;
	struct hpx_over over;     /* the entry, pinned in managed caches, its object held, until it has ended */
	uint64_t hash;
	hapax_key key;            /* borrowed, or what follows */
	size_t bytes;
	unsigned refs;            /* under the lock: who runs it, its task, who is about to join it */
	unsigned state;           /* under the lock */
	hpx_u32 rewritten;        /* unmanaged: what REWRITTEN in a node is */
	hpx_u64 begun;            /* its loader; 0: not yet */
	hpx_int tid;              /* the thread that runs it; 0: none, or the application has it */
	unsigned char copy[];
};

/* Outside sections and locks, all of them. */

/* A new one with `refs`, or the one that is there (*other, one more reference), or neither: no memory. The entry is pinned,
 * its object held. */
struct hpx_reload *hpx_reload_enlist(hapax_cache *c, const hapax_key *key, uint64_t hash, void *e, struct hpx_object *o,
				     unsigned state, unsigned refs, struct hpx_reload **other);
void hpx_reload_put(struct hpx_reload *r);
void hpx_reload_unpin(struct hpx_reload **r); /* the same, of a cleanup handler; *r may be NULL */
/* True: the caller runs it, and has one more reference, which its end gives up. */
bool hpx_reload_claim(struct hpx_reload *r);

/* Unmanaged: `o` is about to be put under the key. A reload of that very object there has begun before, and comes too late. */
void hpx_reload_written(hapax_cache *c, const hapax_key *key, uint64_t hash, const struct hpx_object *o);

/* Whoever runs it does one of these. Runs the loader: the status, and with 0 the new object in *out (may be NULL). */
int hpx_reload_run(struct hpx_reload *r, hapax_load_fn load, hapax_make_fn make, void *arg, struct hpx_object **out);
/* The application does it, and completes a token, perhaps before this returns. */
void hpx_reload_start(struct hpx_reload *r, hapax_start_fn start, void *arg);
/* It ends: the entry may have another one, whoever has joined hears what came of it, entry and object are given up. No other
 * reload on account of a hit before `not_before`. */
void hpx_reload_finish(struct hpx_reload *r, int status, struct hpx_object *object, uint64_t not_before);

/* Consumes a reference of one that waits. 0, or why it does not run: then who has joined it gets `otherwise`. */
int hpx_reload_give(struct hpx_reload *r, int otherwise);

#endif
