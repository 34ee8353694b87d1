/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * histogram.h - latencies, with a relative error below 1/128 over the whole range of 64 bits.
 *
 * Log-linear buckets: 128 per power of two. One histogram per thread, written without atomics, merged after the join.
 */
#ifndef HPX_STRESS_HISTOGRAM_H
#define HPX_STRESS_HISTOGRAM_H

#include <stdint.h>

enum { HPX_HISTOGRAM_BITS = 7, HPX_HISTOGRAM_BUCKETS = (64 - HPX_HISTOGRAM_BITS + 1) << HPX_HISTOGRAM_BITS };

typedef struct hpx_histogram {
	uint64_t count, max;
	uint64_t buckets[HPX_HISTOGRAM_BUCKETS];
} hpx_histogram;

static inline unsigned hpx_histogram_bucket(uint64_t value)
{
	unsigned shift;

	if (value < 1u << HPX_HISTOGRAM_BITS)
		return (unsigned)value;
	shift = 63u - (unsigned)__builtin_clzll(value) - HPX_HISTOGRAM_BITS;
	return (shift << HPX_HISTOGRAM_BITS) + (unsigned)(value >> shift);
}

static inline void hpx_histogram_add(hpx_histogram *histogram, uint64_t value)
{
	histogram->buckets[hpx_histogram_bucket(value)]++;
	histogram->count++;
	if (value > histogram->max)
		histogram->max = value;
}

void hpx_histogram_merge(hpx_histogram *into, const hpx_histogram *from);

/* The smallest recorded value, rounded up to its bucket's end, that `part` (0..1) of all do not exceed; 0 if empty. */
uint64_t hpx_histogram_at(const hpx_histogram *histogram, double part);

#endif
