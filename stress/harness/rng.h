/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rng.h - seeded random numbers (splitmix64), Zipf ranks, and a checksum. One generator per thread.
 */
#ifndef HPX_STRESS_RNG_H
#define HPX_STRESS_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct hpx_rng {
	uint64_t state;
} hpx_rng;

static inline uint64_t hpx_mix64(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static inline uint64_t hpx_rng_next(hpx_rng *rng)
{
	rng->state += UINT64_C(0x9e3779b97f4a7c15);
	return hpx_mix64(rng->state);
}

/* Streams of one seed that do not follow one another. */
static inline hpx_rng hpx_rng_stream(uint64_t seed, uint64_t stream)
{
	hpx_rng rng = {hpx_mix64(seed + UINT64_C(0x9e3779b97f4a7c15)) ^ hpx_mix64(~stream)};

	return rng;
}

__extension__ typedef unsigned __int128 hpx_uint128;

/* 0 .. n-1, n > 0. The bias of the multiplication is below n / 2^64. */
static inline uint64_t hpx_rng_below(hpx_rng *rng, uint64_t n)
{
	return (uint64_t)(((hpx_uint128)hpx_rng_next(rng) * n) >> 64);
}

/* Once in `n` times. */
static inline int hpx_rng_once_in(hpx_rng *rng, uint64_t n) { return hpx_rng_below(rng, n) == 0; }

static inline double hpx_rng_unit(hpx_rng *rng) { return (double)(hpx_rng_next(rng) >> 11) * 0x1p-53; }

/* A checksum of bytes: finds accidents, keeps out nobody. */
uint64_t hpx_checksum(const void *data, size_t size, uint64_t seed);

/* A seed from the system. */
uint64_t hpx_seed_random(void);

/*
 * Zipf: rank k of 1..n with probability proportional to k^-exponent, exactly, in constant expected time and memory
 * (rejection-inversion; Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
 * distributions", 1996). The struct is read-only after init and may be shared by threads.
 */
typedef struct hpx_zipf {
	uint64_t n;
	double exponent, h_first, h_last, shortcut;
} hpx_zipf;

void hpx_zipf_init(hpx_zipf *zipf, uint64_t n, double exponent); /* n >= 1, exponent >= 0 */
uint64_t hpx_zipf_next(const hpx_zipf *zipf, hpx_rng *rng);	 /* 0 .. n-1, 0 the most frequent */

#endif
