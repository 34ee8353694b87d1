/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/compute.h - which keys of a cache are being computed; see compute.c.
 */
#ifndef HPX_CACHE_COMPUTE_H
#define HPX_CACHE_COMPUTE_H

#include <hapax/compute.h>

#include <pthread.h>

#include "reclaim/reclaim.h"

struct hpx_computing;
struct hpx_computes {
	hpx_u32 active;                        /* how many are listed: nobody else pays */
	pthread_mutex_t lock;
	struct hpx_computing *first, **last;   /* under the lock: the order in which they came */
	struct hpx_event event;                /* one of them has gone; the cache is closed */
};
void hpx_computes_init(struct hpx_computes *computes);
void hpx_computes_fini(struct hpx_computes *computes);
/* In a forked child: those of threads that are gone are taken off the list. */
void hpx_computes_reinit(struct hpx_computes *computes);

bool hpx_compute_owned(struct hpx_computes *computes, const hapax_key_ops *ops, uint64_t hash, const hapax_key *key);
/* This thread is inside the compute function of that very key: what would change, load or wait for it is refused. Outside
 * sections and locks. */
static inline bool hpx_compute_inside(struct hpx_computes *computes, const hapax_key_ops *ops, uint64_t hash,
				      const hapax_key *key)
{
	/* order: COMPUTE.ACTIVE relaxed; what matters is this thread's own */
	return HPX_UNLIKELY(hpx_load_relaxed(&computes->active)) && hpx_compute_owned(computes, ops, hash, key);
}

#endif
