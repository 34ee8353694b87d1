/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/inherit.c - a cache in the child of a fork: what threads were about to do that did not come along.
 *
 *      calls in progress      forgotten
 *      loads                  abandoned
 *      deaths                 what has died is out, though its death never comes; the size is counted anew
 *      objects                marked as inherited: who held them may not be here
 */
#include "cache/compute.h"
#include "cache/refresh.h"
#include "cache/request.h"
#include "cache/sample.h"
#include "cache/tier.h"
#include "cache/worker.h"

/* A load whose thread did not come along. */
static void vanish(hapax_cache *c, void *e)
{
	struct hpx_landing landing;
	uint64_t before;

	hpx_read_lock();
	hpx_table_claim(c->table, e);
	hpx_read_unlock();
	before = hpx_flight_land(&c->flights, e, hpx_word(e), &landing);
	hpx_cache_count(c, HPX_CACHE_FAILURES, 1);
	hpx_cache_count(c, HPX_CACHE_ABANDONED, 1);
	if (c->tier)
		hpx_or_relaxed(&hpx_node_of(c, e)->flags, HPX_NODE_LEFT); /* order: NODE.FLAGS relaxed; the only thread */
	if (before & HPX_W_RECORD) {
		hpx_entry_finish(c, e);
	} else {
		/* order: OBJECT.FLAGS relaxed; this is the only thread */
		hpx_or_relaxed(&((struct hpx_object *)e)->count, HPX_NODTOR);
		hpx_cache_release(c, e);
	}
}

/*
 * Its object died on a thread that did not come along, and that death does not come to it any more. Out of the table nobody meets
 * it, who would wait for that; not its record's memory, which is the death's, nor a listener, as no destructor is run either.
 */
static void died_before(hapax_cache *c, void *e)
{
	hpx_read_lock();
	hpx_table_claim(c->table, e);
	if (c->tier) {
		struct hpx_node *n = hpx_node_of(c, e);

		/* order: NODE.FLAGS relaxed; the only thread */
		hpx_or_relaxed(&n->flags, HPX_NODE_LEFT);
		hpx_timer_detach(c, n);
		hpx_room_out(c, n);
	}
	hpx_read_unlock();
}

/* Entries whose deaths vanished, but for those of exclusive caches: their keys are blocked. */
static void inherit_dead(hapax_cache *c)
{
	struct hpx_cursor cursor = {0, 0};
	void *e;

	do {
		hpx_read_lock();
		e = c->exclusive ? NULL : hpx_table_next_dead(c->table, &cursor);
		hpx_read_unlock();
		if (e)
			died_before(c, e);
	} while (e);
}

/* Present: once more counted for the size. What vanished threads were about to count is not known. */
static void inherit_live(hapax_cache *c, void *e, struct hpx_object *o)
{
	/* order: NODE.FLAGS relaxed; the only thread */
	if (!c->tier || !(hpx_load_relaxed(&hpx_node_of(c, e)->flags) & HPX_NODE_NEGATIVE))
		hpx_count(&c->counters, HPX_CACHE_IN, 1);
	/* order: OBJECT.FLAGS relaxed; this is the only thread */
	hpx_or_relaxed(&o->count, HPX_INHERITED);
	hpx_cache_release(c, o);
}

/* No call of this thread's own is in progress. */
void hpx_cache_inherit(hapax_cache *c)
{
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *o;
	void *e;

	hpx_flights_reinit(&c->flights);
	hpx_computes_reinit(&c->computes);
	hpx_event_init(&c->event);
	hpx_async_inherit(c);
	hpx_work_drop(c);
	hpx_refresh_inherit(c);
	hpx_sample_inherit(c);
	/* order: CACHE.CALLS relaxed; this is the only thread, and no call of its own is in progress */
	if (hpx_cache_state(c) != HPX_CACHE_ENDING) {
		hpx_init(&c->calls, HPX_CACHE_STRIPED + 1);
		hpx_counters_forget(&c->counters, HPX_CACHE_CAME);
		hpx_counters_forget(&c->counters, HPX_CACHE_WENT);
	}
	inherit_dead(c);
	hpx_counters_forget(&c->counters, HPX_CACHE_IN);
	hpx_counters_forget(&c->counters, HPX_CACHE_OUT);
	do {
		o = NULL;
		hpx_read_lock();
		e = hpx_table_next(c->table, &cursor, true, &o);
		hpx_read_unlock();
		if (o)
			inherit_live(c, e, o);
		else if (e)
			vanish(c, e);
	} while (e);
}
