/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/hash.h - the hash of a key: XXH3 under the table's secret, or the user's, mixed with it.
 */
#ifndef HPX_TABLE_HASH_H
#define HPX_TABLE_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t hpx_hash_bytes(const void *data, size_t size, uint64_t secret)
{
	if (HPX_LIKELY(size == 8))
		return XXH3_64bits_withSeed(data, 8, secret); /* a constant size: inlines to a few multiplications */
	if (__builtin_constant_p(size) && size == 16)
		return XXH3_64bits_withSeed(data, 16, secret);
	return XXH3_64bits_withSeed(size ? data : "", size, secret);
}

/* Spreads whatever a user's function returns over all bits; equal hashes stay equal, nothing else can be planned. */
static inline uint64_t hpx_hash_mix(uint64_t h, uint64_t secret)
{
	h ^= secret;
	h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
	h = (h ^ h >> 29) * (secret | 1);
	h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}

#endif
