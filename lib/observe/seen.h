/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* observe/seen.h - what is going on in one cache: its loads, its keys. The caller is in the cache. */
#ifndef HPX_OBSERVE_SEEN_H
#define HPX_OBSERVE_SEEN_H

#include "cache/seen.h"

/* The loads in progress of s->cache, the oldest first, in memory of the default environment: 0 or HAPAX_ENOMEM; drop() follows. */
int hpx_seen_flights_get(struct hpx_flights_seen *s);
void hpx_seen_flights_drop(struct hpx_flights_seen *s);

#endif
