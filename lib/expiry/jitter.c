/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* expiry/jitter.c - see jitter.h. */
#include "expiry/jitter.h"

/* The 128-bit product: its upper half, and the lower one. */
static uint64_t multiply(uint64_t a, uint64_t b, uint64_t *low)
{
	uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
	uint64_t ll = al * bl, lh = al * bh, hl = ah * bl;
	uint64_t middle = (ll >> 32) + (uint32_t)lh + (uint32_t)hl;

	*low = (middle << 32) | (uint32_t)ll;
	return ah * bh + (lh >> 32) + (hl >> 32) + (middle >> 32);
}

uint64_t hpx_jitter(uint64_t ttl, double fraction, uint64_t random)
{
	uint64_t low, high, span;

	if (!(fraction > 0) || ttl == UINT64_MAX)
		return ttl;
	if (fraction >= 1) {
		span = ttl;
	} else {
		/* the fraction in units of 2^-63, rounded down: at most it is cut off */
		high = multiply(ttl, (uint64_t)(fraction * 0x1p63), &low);
		span = high << 1 | low >> 63;
	}
	return ttl - multiply(span + 1, random, &low);
}
