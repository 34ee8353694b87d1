/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* expiry/jitter.h - spreading deadlines. */
#ifndef HPX_JITTER_H
#define HPX_JITTER_H

#include <stdint.h>

/* A time in [ttl * (1 - fraction), ttl], as `random` (any 64 bits) says: 0 gives ttl. Not less for a greater ttl. No fraction
 * (0, negative, not a number) and no end (UINT64_MAX): `ttl` as it is. Fractions above 1 are 1. */
uint64_t hpx_jitter(uint64_t ttl, double fraction, uint64_t random);

#endif
