/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/hash.h - the hash of a key: XXH3 under the table's secret, or the user's, mixed with it.
 */
#ifndef HPX_TABLE_HASH_H
#define HPX_TABLE_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * XXH3 of eight bytes under a secret, in two steps: what depends on the secret alone, once, and the rest. The bytes as a number
 * of the machine's order.
 */
static inline uint64_t hpx_hash8_seed(uint64_t secret)
{
	/* bytes 8 to 23 of XXH3's own secret, as two numbers, one with the other */
	const uint64_t own = UINT64_C(0x1cad21f72c81017c) ^ UINT64_C(0xdb979083e96dd4de);

	return own - (secret ^ (uint64_t)__builtin_bswap32((uint32_t)secret) << 32);
}

static inline uint64_t hpx_hash8(uint64_t bytes, uint64_t seed)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	bytes = __builtin_bswap64(bytes);
#endif
	uint64_t h = (bytes << 32 | bytes >> 32) ^ seed;

	h ^= (h << 49 | h >> 15) ^ (h << 24 | h >> 40);
	h *= UINT64_C(0x9fb21c651e98df25);
	h ^= (h >> 35) + 8;
	h *= UINT64_C(0x9fb21c651e98df25);
	return h ^ h >> 28;
}

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
