/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* policy/record.c - slots of nodes, and the drain of recorded hits (record.h). */
#include "policy/record.h"

#include "base/check.h"

#define RING_BYTES(stripes) ((stripes) * sizeof(struct hpx_hits_ring))

/* Slot n is in the chunk that begins at CHUNK * (2^k - 1). */
static unsigned chunk_of(uint32_t slot)
{
	return 63 - (unsigned)__builtin_clzll((uint64_t)slot / HPX_HITS_CHUNK + 1);
}

static size_t chunk_bytes(unsigned k)
{
	return ((size_t)HPX_HITS_CHUNK << k) * sizeof(uintptr_t);
}

static uintptr_t *place(const struct hpx_hits *hits, uint32_t slot)
{
	unsigned k = chunk_of(slot);

	return &hits->chunk[k][slot - (uint32_t)HPX_HITS_CHUNK * ((1u << k) - 1)];
}

struct hpx_hits *hpx_hits_create(const hapax_allocator *allocator, unsigned stripes)
{
	struct hpx_hits *hits = allocator->alloc(sizeof(*hits), HPX_CACHE_LINE, allocator->ctx);

	HPX_ASSERT(stripes && stripes <= HPX_HITS_STRIPES);
	if (!hits)
		return NULL;
	memset(hits, 0, sizeof(*hits));
	hits->allocator = allocator;
	hits->stripes = stripes;
	hits->slots = 1;
	hits->ring = allocator->alloc(RING_BYTES(stripes), HPX_CACHE_LINE, allocator->ctx);
	if (!hits->ring) {
		allocator->free(hits, sizeof(*hits), HPX_CACHE_LINE, allocator->ctx);
		return NULL;
	}
	memset(hits->ring, 0, RING_BYTES(stripes));
	return hits;
}

void hpx_hits_destroy(struct hpx_hits *hits)
{
	const hapax_allocator *allocator;

	if (!hits)
		return;
	allocator = hits->allocator;
	for (unsigned k = 0; k < HPX_HITS_CHUNKS && hits->chunk[k]; k++)
		allocator->free(hits->chunk[k], chunk_bytes(k), HPX_CACHE_LINE, allocator->ctx);
	allocator->free(hits->ring, RING_BYTES(hits->stripes), HPX_CACHE_LINE, allocator->ctx);
	allocator->free(hits, sizeof(*hits), HPX_CACHE_LINE, allocator->ctx);
}

uint32_t hpx_hits_take(struct hpx_hits *hits, hapax_policy_node *node)
{
	uint32_t slot = hits->free;

	if (slot) {
		hits->free = (uint32_t)(*place(hits, slot) >> 1);
	} else {
		unsigned k = chunk_of(hits->slots);

		if (k >= HPX_HITS_CHUNKS)
			return 0;
		if (!hits->chunk[k])
			hits->chunk[k] = hits->allocator->alloc(chunk_bytes(k), HPX_CACHE_LINE, hits->allocator->ctx);
		if (!hits->chunk[k])
			return 0;
		slot = hits->slots++;
	}
	*place(hits, slot) = (uintptr_t)node;
	hits->taken++;
	return slot;
}

void hpx_hits_give(struct hpx_hits *hits, uint32_t slot)
{
	if (!slot)
		return;
	HPX_ASSERT(slot < hits->slots && !(*place(hits, slot) & 1));
	*place(hits, slot) = (uintptr_t)hits->free << 1 | 1;
	hits->free = slot;
	hits->taken--;
}

/* The node that has this slot now, or NULL. */
static hapax_policy_node *holder(const struct hpx_hits *hits, uint32_t slot)
{
	return slot >= hits->slots || *place(hits, slot) & 1 ? NULL : (hapax_policy_node *)*place(hits, slot);
}

unsigned hpx_hits_drain(struct hpx_hits *hits, void (*hit)(void *state, hapax_policy_node *node), void *state)
{
	/* order: HITS.RING relaxed; a stripe whose first hit is not seen yet waits for the next drain */
	uint64_t used = hpx_load_relaxed(&hits->used);
	unsigned told = 0;

	for (; used; used &= used - 1) {
		unsigned stripe = (unsigned)__builtin_ctzll(used);

		/* Stripe 0's writers may leave gaps, so that all of it is looked at. */
		for (unsigned n = 0; n < HPX_HITS_RING; n++, hits->tail[stripe]++) {
			hpx_u64 *at = &hits->ring[stripe].at[hits->tail[stripe] % HPX_HITS_RING];
			/* order: HITS.RING relaxed; what the word names is looked at under the lock */
			uint64_t word = hpx_load_relaxed(at);
			hapax_policy_node *node;

			if (!word && stripe)
				break;
			if (!word)
				continue;
			/* order: HITS.RING relaxed; the writer fills places that it finds empty, whenever that is */
			hpx_store_relaxed(at, 0);
			node = holder(hits, (uint32_t)(word >> 32));
			if (!node || (uint32_t)node->id != (uint32_t)word)
				continue;
			hit(state, node);
			told++;
		}
	}
	return told;
}

int hpx_hits_check(const struct hpx_hits *hits, char *message, size_t size)
{
	uint32_t free = 0, taken = 0;

	for (uint32_t slot = hits->free; slot && free <= hits->slots; free++, slot = (uint32_t)(*place(hits, slot) / 2)) {
		if (slot >= hits->slots || !(*place(hits, slot) & 1)) {
			snprintf(message, size, "slot %u is in the free list and is not free", slot);
			return -1;
		}
	}
	for (uint32_t slot = 1; slot < hits->slots; slot++)
		taken += !(*place(hits, slot) & 1);
	if (taken == hits->taken && taken + free + 1 == hits->slots)
		return 0;
	snprintf(message, size, "%u slots: %u taken (counted: %u), %u free", hits->slots - 1, taken, hits->taken, free);
	return -1;
}
