/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/counters.c - striped counters.
 *
 * A thread has a place (1 to HPX_STRIPES - 1) in every set of counters for as long as it lives; a later thread with the
 * same place goes on with the stripe's values. Threads without a place, without memory, or counting for the first time
 * inside a read section use the shared stripe.
 */
#include <string.h>

#include "reclaim/internal.h"

#define STRIPE_BYTES (HPX_COUNTERS_MAX * sizeof(hpx_u64))

void hpx_counters_init(struct hpx_counters *c, hapax_env *env)
{
	memset(c, 0, sizeof(*c));
	c->env = env;
}

void hpx_counters_fini(struct hpx_counters *c)
{
	for (unsigned i = 0; i < HPX_STRIPES; i++) {
		/* order: COUNTERS.STRIPE relaxed; nobody counts any more */
		hpx_u64 *stripe = hpx_load_relaxed(&c->stripe[i]);

		if (stripe)
			hpx_raw_free(c->env, stripe, STRIPE_BYTES, HPX_CACHE_LINE);
	}
}

uint64_t hpx_count_slow(struct hpx_counters *c, unsigned which, uint64_t n)
{
	int saved = errno;
	hpx_u64 *stripe = NULL;
	uint64_t sum = n;

	if (!hpx_in_section()) {
		hpx_thread_ready();
		if (hpx_self.stripe)
			stripe = hpx_raw_alloc(c->env, STRIPE_BYTES, HPX_CACHE_LINE);
	}
	if (!stripe) {
		/* order: COUNTERS.SUM -> release; as in hpx_count() */
		sum += hpx_add_release(&c->shared[which], n);
	} else {
		memset(stripe, 0, STRIPE_BYTES);
		hpx_init(&stripe[which], n);
		/* order: COUNTERS.STRIPE -> release; its zeros and first count before it is summed */
		hpx_store_release(&c->stripe[hpx_self.stripe], stripe);
	}
	errno = saved;
	return sum;
}

void hpx_counters_prepare(struct hpx_counters *c)
{
	hpx_thread_ready();
	if (!hpx_counters_ready(c))
		hpx_count_slow(c, 0, 0);
}

uint64_t hpx_counters_sum(const struct hpx_counters *c, unsigned which)
{
	/* order: -> COUNTERS.SUM acquire; sums read after this one include what these counts were preceded by */
	uint64_t sum = hpx_load_acquire(&c->shared[which]);

	for (unsigned i = 1; i < HPX_STRIPES; i++) {
		/* order: -> COUNTERS.STRIPE acquire */
		hpx_u64 *stripe = hpx_load_acquire(&c->stripe[i]);

		if (stripe)
			sum += hpx_load_acquire(&stripe[which]); /* order: -> COUNTERS.SUM acquire */
	}
	return sum;
}

void hpx_counters_forget(struct hpx_counters *c, unsigned which)
{
	hpx_init(&c->shared[which], 0);
	for (unsigned i = 1; i < HPX_STRIPES; i++) {
		/* order: COUNTERS.STRIPE relaxed; there is no other thread */
		hpx_u64 *stripe = hpx_load_relaxed(&c->stripe[i]);

		if (stripe)
			hpx_init(&stripe[which], 0);
	}
}
