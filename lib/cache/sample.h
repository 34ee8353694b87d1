/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/sample.h - which keys are asked for most: hits and misses are sampled, off by default.
 *
 * Hits and misses are counted by their threads anyway. The count times an odd constant, modulo 2^32, is compared with what the cache
 * says: equally distributed, above it once in so many, never when nothing is sampled. So a hit that is not sampled takes a
 * multiplication and a comparison. A sampled one tries for the sketch's lock, and is dropped if that is taken.
 *
 * The sketch is Space-Saving (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams,
 * ICDT 2005): HPX_HEAVY_KEYS counters; a key that has none takes over the smallest, with its count as its possible error. A key with
 * more than one in HPX_HEAVY_KEYS of the samples has a counter. What is told is the count less the error. When there are HPX_HEAVY_MOST
 * samples all counts are halved, so that they are of what has been asked for lately.
 */
#ifndef HPX_SAMPLE_H
#define HPX_SAMPLE_H

#include "cache/seen.h"

#define HPX_HEAVY_KEYS 64
#define HPX_HEAVY_MOST 65536

struct hpx_heavy_key {
	struct hpx_key_seen key;
	uint32_t count; /* less its possible error */
};

/* A copy of what a cache has gathered. */
struct hpx_heavy_keys {
	struct hpx_heavy_key at[HPX_HEAVY_KEYS]; /* the largest first, none of 0 */
	size_t n;
	uint64_t samples; /* of all keys */
	unsigned one_in;  /* 0: nothing is sampled */
};

/* In the cache, outside sections and locks: 0, HAPAX_ENOMEM, HAPAX_EOPTION (a cache without statistics). `asked`: by the
 * application, which comes before those who only look in; else by these. 0: not any more; what was gathered goes when the
 * application says so, and when nobody samples. */
int hpx_sample_set(hapax_cache *c, unsigned one_in, bool asked);
void hpx_sample_get(hapax_cache *c, struct hpx_heavy_keys *out);
/* A forked child; the cache's end. */
void hpx_sample_inherit(hapax_cache *c);
void hpx_sample_free(hapax_cache *c);

#endif
