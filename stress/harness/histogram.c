/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "histogram.h"

#include <math.h>

void hpx_histogram_merge(hpx_histogram *into, const hpx_histogram *from)
{
	for (unsigned i = 0; i < HPX_HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
	into->count += from->count;
	if (from->max > into->max)
		into->max = from->max;
}

/* The largest value that falls into a bucket. */
static uint64_t bucket_end(unsigned bucket)
{
	unsigned shift;
	uint64_t mantissa;

	if (bucket < 2u << HPX_HISTOGRAM_BITS)
		return bucket;
	shift = (bucket >> HPX_HISTOGRAM_BITS) - 1;
	mantissa = bucket - (shift << HPX_HISTOGRAM_BITS);
	return ((mantissa + 1) << shift) - 1;
}

uint64_t hpx_histogram_at(const hpx_histogram *histogram, double part)
{
	uint64_t wanted = (uint64_t)ceil(part * (double)histogram->count);
	uint64_t seen = 0;

	if (wanted == 0)
		wanted = 1;
	for (unsigned i = 0; i < HPX_HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= wanted) {
			uint64_t end = bucket_end(i);

			return end < histogram->max ? end : histogram->max;
		}
	}
	return histogram->max;
}
