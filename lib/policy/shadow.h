/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/shadow.h - which keys were let go of lately: no nodes, just 32 bits of a hash and a time for each.
 *
 * Remembered is what came last and adds up to a weight of `span`. Time is the weight that was ever added, cut into bins
 * of a 64th of the span; each bin knows how much of what came in it is remembered, and the oldest bin is forgotten as a
 * whole. Keys are in buckets of eight places, one cache line; a full one forgets its oldest. Two keys may be taken for
 * one, once in some thousand lookups at a million of places.
 *
 * Memory for `span` keys, PLACES at most, is taken once; of that, only what hpx_shadow_use() asked for is written to. A
 * cache bounded by weight has a large span and few keys, and costs pages for those.
 */
#ifndef HPX_POLICY_SHADOW_H
#define HPX_POLICY_SHADOW_H

#include <hapax/policy.h>

#define HPX_SHADOW_WAYS 8
#define HPX_SHADOW_BINS 256

struct hpx_shadow {
	const hapax_allocator *allocator;
	uint64_t *place; /* hash << 32 | time; 0: free */
	size_t room;     /* buckets, a power of two */
	size_t buckets;  /* in use, a power of two */
	size_t sweep;    /* the next bucket that is looked through for what is too old */
	uint64_t now;    /* weight so far */
	uint64_t span;
	unsigned shift;  /* times are kept in units of 1 << shift */
	uint64_t width;  /* of a bin, in these units */
	uint64_t first;  /* the oldest bin that is remembered, numbered from the beginning of time */
	uint64_t total;  /* weight in bins */
	uint64_t bin[HPX_SHADOW_BINS]; /* by number modulo BINS */
};

/* 0 or HAPAX_ENOMEM; `shadow` is all zeroes before. The same again, with another span, changes it: without memory it
 * goes on with the places it has and returns 0. */
int hpx_shadow_init(struct hpx_shadow *shadow, const hapax_allocator *allocator, uint64_t span);
void hpx_shadow_fini(struct hpx_shadow *shadow);
/* At least so many keys are to be remembered, as far as there is room. */
void hpx_shadow_use(struct hpx_shadow *shadow, uint64_t keys);
void hpx_shadow_add(struct hpx_shadow *shadow, uint64_t id, uint64_t weight);
/* Whether it is remembered; if so, not any longer, and `weight` is free for others. */
bool hpx_shadow_take(struct hpx_shadow *shadow, uint64_t id, uint64_t weight);

#endif
