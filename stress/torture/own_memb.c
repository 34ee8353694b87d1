/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "own.h"

#include <stdlib.h>

#ifdef HAVE_URCU_MEMB
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <urcu/urcu-memb.h>
#pragma GCC diagnostic pop

enum { FRESH = 0xfee1, POISON = 0xdead };

struct datum {
	uint64_t value, check;
};

static struct datum *current;

void hpx_own_register_memb(void) { urcu_memb_register_thread(); }

void hpx_own_unregister_memb(void) { urcu_memb_unregister_thread(); }

void hpx_own_read_memb(void)
{
	struct datum *datum;

	urcu_memb_read_lock();
	/* order: -> OWN.DATUM acquire; stronger than rcu_dereference() */
	datum = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
	if (datum)
		hpx_sight_look(HPX_SIGHT_OWN_DATA, datum->check == (datum->value ^ FRESH), "a memb reader saw freed data");
	urcu_memb_read_unlock();
}

static void swap_in(struct datum *fresh)
{
	/* order: OWN.DATUM -> acq_rel; as rcu_xchg_pointer() */
	struct datum *old = __atomic_exchange_n(&current, fresh, __ATOMIC_ACQ_REL);

	if (!old)
		return;
	urcu_memb_synchronize_rcu();
	*(volatile uint64_t *)&old->check = POISON;
	free(old);
}

void hpx_own_replace_memb(hpx_rng *rng)
{
	struct datum *fresh = malloc(sizeof(*fresh));

	if (!fresh)
		return;
	fresh->value = hpx_rng_next(rng);
	fresh->check = fresh->value ^ FRESH;
	swap_in(fresh);
}

void hpx_own_end_memb(void) { swap_in(NULL); }
#else
void hpx_own_register_memb(void) {}
void hpx_own_unregister_memb(void) {}
void hpx_own_read_memb(void) {}
void hpx_own_replace_memb(hpx_rng *rng) { (void)rng; }
void hpx_own_end_memb(void) {}
#endif
