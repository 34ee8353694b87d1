/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * own.c - an application with its own use of liburcu: of the flavour that hapax uses (bp), with sections around hapax's
 * calls and call_rcu(), and of another one (memb).
 *
 * Two pieces of the application's own data, one per flavour, replaced all the time by writers who poison the old one
 * after a grace period of theirs. A reader that sees poison inside its section has lost it. own_memb.c is the other half.
 */
#include "own.h"

#include "harness/team.h"

#include <stdlib.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <urcu/urcu-bp.h>
#pragma GCC diagnostic pop

enum { FRESH = 0x600d, POISON = 0xdead, AT_A_TIME = 64 };

struct datum {
	struct rcu_head head;
	uint64_t value, check;
	hpx_thing *held; /* a reference that the callback of call_rcu() gives back */
};

static struct datum *current;
static hpx_relaxed made, freed, sections;

static void free_datum(struct rcu_head *head)
{
	struct datum *datum = (struct datum *)head;

	hpx_torture_self = hpx_own_callbacks;
	hpx_torture_release(hpx_own_callbacks->torture, datum->held);
	*(volatile uint64_t *)&datum->check = POISON; /* not to be left out, though it is freed */
	free(datum);
	hpx_relaxed_add(&freed, 1);
}

static void replace(hpx_torturer *self)
{
	struct datum *fresh = calloc(1, sizeof(*fresh));
	struct datum *old;

	if (!fresh)
		return;
	fresh->value = hpx_rng_next(&self->rng);
	fresh->check = fresh->value ^ FRESH;
	fresh->held = hpx_torture_get_pure(self, hpx_rng_below(&self->rng, self->torture->keys), HAPAX_FOREVER);
	hpx_relaxed_add(&made, 1);
	/* order: OWN.DATUM -> acq_rel; as rcu_xchg_pointer() */
	old = __atomic_exchange_n(&current, fresh, __ATOMIC_ACQ_REL);
	if (old)
		urcu_bp_call_rcu(&old->head, free_datum);
}

/* hapax's calls that are allowed in a section, within the application's own. */
static void read_bp(hpx_torturer *self, hapax_weak *weak, hpx_thing *held)
{
	hpx_thing *thing;
	struct datum *datum;

	urcu_bp_read_lock();
	/* order: -> OWN.DATUM acquire; stronger than rcu_dereference() */
	datum = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
	thing = hapax_weak_get(weak);
	if (held && !hapax_retain(held))
		hapax_release(held);
	if (datum)
		hpx_sight_look(HPX_SIGHT_OWN_DATA, datum->check == (datum->value ^ FRESH), "a bp reader saw freed data");
	hapax_release(thing);
	urcu_bp_read_unlock();
	(void)self;
	hpx_relaxed_add(&sections, 1);
}

static void read_for_a_while(hpx_torturer *self)
{
	hpx_thing *held =
		hpx_torture_get_pure(self, hpx_rng_below(&self->rng, self->torture->keys), HAPAX_FOREVER);
	hapax_weak *weak = NULL;

	if (held && hapax_weak_new(held, NULL, &weak))
		hpx_sight_look(HPX_SIGHT_STATUS, false, "no handle");
	for (unsigned i = 0; i < AT_A_TIME; i++) {
		read_bp(self, weak, held);
		hpx_own_read_memb();
	}
	hpx_torture_release(self->torture, held);
	(void)hapax_weak_drop(weak);
	hpx_happened(&hpx_own_rcu, AT_A_TIME);
}

static void run(hpx_torturer *self, unsigned which)
{
	hpx_own_register_memb();
	while (!hpx_stopping()) {
		if (which) {
			read_for_a_while(self);
		} else {
			for (unsigned i = 0; i < 8; i++)
				replace(self);
			hpx_own_replace_memb(&self->rng);
			hpx_pause(hpx_rng_below(&self->rng, HAPAX_MILLISECOND));
		}
	}
	hpx_own_unregister_memb();
}

static const char *lacking(void)
{
	return HPX_UNDER_TSAN ? "ThreadSanitizer cannot see liburcu's own edges" : NULL;
}

static int prepare(hpx_torture *torture)
{
	hpx_own_callbacks = hpx_recruit(torture);
	return 0;
}

static void judge(hpx_torture *torture, hpx_result *result)
{
	/* order: OWN.DATUM acq_rel; as above */
	struct datum *last = __atomic_exchange_n(&current, NULL, __ATOMIC_ACQ_REL);

	(void)torture;
	if (last)
		urcu_bp_call_rcu(&last->head, free_datum);
	urcu_bp_barrier();
	hpx_own_end_memb();
	hpx_sight_look(HPX_SIGHT_OWN_DATA, hpx_relaxed_get(&made) == hpx_relaxed_get(&freed), "%llu made, %llu freed",
		       (unsigned long long)hpx_relaxed_get(&made), (unsigned long long)hpx_relaxed_get(&freed));
	hpx_result_note(result, "own_callbacks", "call_rcu() callbacks that used hapax", hpx_relaxed_get(&freed));
}

hpx_torturer *hpx_own_callbacks;

hpx_disturbance hpx_own_rcu = {
	.name = "own-rcu",
	.help = "an application that uses liburcu itself: bp with call_rcu(), and memb",
	.field = "own_sections",
	.label = "own read sections",
	.full = 1000000,
	.threads = 3,
	.lacking = lacking,
	.prepare = prepare,
	.run = run,
	.judge = judge,
};
