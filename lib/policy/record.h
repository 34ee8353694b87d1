/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/record.h - hits on their way to a policy that wants to hear of them (HAPAX_POLICY_RECORD); some get lost.
 *
 *      a hit      -> the ring of its thread's stripe: one word {slot, id}, two plain stores, no lock
 *      the drain  -> slot -> node, under the cache's housekeeping lock; is it still that key's? -> policy->hit(node)
 *
 * A slot is a number for a node that is in the policy. It is taken and given back under the lock, so that whatever a
 * slot says there is alive; the number in a ring may be older than that. The word therefore carries 32 bits of the
 * key's hash (hapax_policy_node.id) beside the number, and a hit whose slot has gone to another key is dropped. A slot
 * that came back to its own key takes the hit: it was that key's. No two threads need to agree on anything, so nothing
 * is ordered: each place of a ring is 0 or one whole word, its writer fills it when it finds 0, the drain empties it
 * when it does not.
 *
 * Lost are: hits on nodes without a slot, hits that find their ring full, and, of threads that share stripe 0, hits
 * that meet in one place. Nothing but the order of eviction depends on a hit.
 */
#ifndef HPX_POLICY_RECORD_H
#define HPX_POLICY_RECORD_H

#include <hapax/policy.h>

#include "base/atomic.h"

#define HPX_HITS_RING 64    /* places; at half of that the drain is asked for */
#define HPX_HITS_STRIPES 64 /* at most */
#define HPX_HITS_CHUNKS 26
#define HPX_HITS_CHUNK 64   /* slots of the first chunk; each has twice as many as the one before it */

struct hpx_hits_ring {
	hpx_u64 head; /* the writer's: hits so far */
	hpx_u64 at[HPX_HITS_RING];
} __attribute__((aligned(HPX_CACHE_LINE)));

struct hpx_hits {
	const hapax_allocator *allocator;
	unsigned stripes;
	hpx_u64 used; /* stripes that ever had a hit */
	struct hpx_hits_ring *ring;
	uint64_t tail[HPX_HITS_STRIPES]; /* the drain's, under the lock: where it goes on */
	/* Under the lock: slot -> node, or 2 * next free slot + 1. Slot 0 is nobody's. */
	uintptr_t *chunk[HPX_HITS_CHUNKS];
	uint32_t slots, free, taken;
};

/* For threads of `stripes` stripes, numbered from 0, which several threads may share; one thread at a time has each of
 * the others. NULL without memory. The allocator outlives it. */
struct hpx_hits *hpx_hits_create(const hapax_allocator *allocator, unsigned stripes);
void hpx_hits_destroy(struct hpx_hits *hits);

/* Under the lock. A number for a node that is in the policy; 0 without memory: its hits are lost. */
uint32_t hpx_hits_take(struct hpx_hits *hits, hapax_policy_node *node);
/* Under the lock, before the node leaves the policy's cache; 0 is nothing. */
void hpx_hits_give(struct hpx_hits *hits, uint32_t slot);
/* Under the lock: calls `hit` for what has arrived, at most HPX_HITS_RING per stripe. Returns how many it told. */
unsigned hpx_hits_drain(struct hpx_hits *hits, void (*hit)(void *state, hapax_policy_node *node), void *state);
/* Under the lock, for tests: 0, or -1 and what is wrong. */
int hpx_hits_check(const struct hpx_hits *hits, char *message, size_t size);

/* Anywhere, without the lock: the node with this slot and id was hit. True: drain soon, if the lock is free. */
static inline bool hpx_hits_add(struct hpx_hits *hits, unsigned stripe, uint32_t slot, uint64_t id)
{
	struct hpx_hits_ring *ring = &hits->ring[stripe];
	/* order: HITS.RING relaxed; the writer's own number, and for the sharers of stripe 0 just a place to try */
	uint64_t head = hpx_load_relaxed(&ring->head);
	hpx_u64 *at = &ring->at[head % HPX_HITS_RING];
	uint64_t word = (uint64_t)slot << 32 | (uint32_t)id, empty = 0;

	if (!slot)
		return false;
	/* order: HITS.RING relaxed; a word says all there is, and the drain looks at its slot under the lock */
	if (hpx_load_relaxed(at))
		return true;
	/* order: HITS.RING relaxed; as above. Stripe 0 has several writers */
	if (HPX_UNLIKELY(!stripe) && !hpx_cas_relaxed(at, &empty, word))
		return false;
	/* order: HITS.RING relaxed; as above */
	if (HPX_LIKELY(stripe))
		hpx_store_relaxed(at, word);
	/* order: HITS.RING relaxed; as above */
	hpx_store_relaxed(&ring->head, head + 1);
	/* order: HITS.RING relaxed; a drain that does not see the bit yet leaves the hits to the next */
	if (HPX_UNLIKELY(!(hpx_load_relaxed(&hits->used) >> stripe & 1)))
		hpx_or_relaxed(&hits->used, UINT64_C(1) << stripe);
	return (head + 1) % (HPX_HITS_RING / 2) == 0;
}

#endif
