/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/leave.c - how an entry of a managed cache leaves: once, with one cause, told once.
 *
 *      claimed by a call (it holds the object):   GONE, LEFT --> out of the tier --> told --> record finished
 *      claimed by death:                          GONE, LEFT --> note --> told before the callbacks --> record finished
 *      claimed by a put that found it dead:       GONE, OWED --> its death finds GONE without LEFT, and goes on as above
 *
 * LEFT is set in the section of the claim by whoever holds the object; a death comes after every holder's release, so that
 * GONE without LEFT tells it that nobody else accounts for the entry.
 */
#include <errno.h>

#include "base/probe.h"
#include "cache/tier.h"
#include "object/hot.h"

/* ---- pins -------------------------------------------------------------------------------------------------------- */

bool hpx_node_pin(struct hpx_node *n)
{
	uint32_t pins;

	if (!hpx_entry_is_record(n->entry))
		return true;
	pins = hpx_load_relaxed(&n->pins); /* order: NODE.PINS relaxed; the swap decides */
	while (pins)
		/* order: NODE.PINS acq_rel; a pin comes before the last one is given up */
		if (hpx_cas_acq_rel(&n->pins, &pins, pins + 1))
			return true;
	return false;
}

void hpx_node_unpin(struct hpx_node *n)
{
	/* order: NODE.PINS acq_rel; everybody's use of the node before its end */
	if (hpx_entry_is_record(n->entry) && hpx_sub_acq_rel(&n->pins, 1) == 1)
		hpx_record_finish(n->entry);
}

void hpx_entry_finish(hapax_cache *c, void *e)
{
	if (c->tier)
		hpx_node_unpin(hpx_node_of(c, e));
	else
		hpx_record_finish(e);
}

/* Whoever accounted for the entry is through with it, or user code has left its thread. */
static void through(struct hpx_node **n)
{
	if (!(*n)->cache->exclusive)
		hpx_node_unpin(*n);
}
#define LEAVING __attribute__((cleanup(through))) struct hpx_node

/* ---- telling ----------------------------------------------------------------------------------------------------- */

static void tell(hapax_cache *c, const hapax_key *key, void *object, uint64_t weight, hapax_cause cause)
{
	struct hpx_tier *t = c->tier;
	hapax_removal removal = {.size = sizeof(removal), .key = *key, .object = object, .cause = cause, .weight = weight};
	int rc;

	if (cause == HAPAX_CAUSE_EXPIRED && object) { /* statistics are about values */
		hpx_cache_count(c, HPX_CACHE_EXPIRATIONS, 1);
		hpx_cache_count(c, HPX_CACHE_EVICTED_WEIGHT, weight);
	}
	if (!t->on_removal)
		return;
	hpx_cache_count(c, HPX_CACHE_NOTIFICATIONS, 1);
	{
		HPX_CACHE_FRAME(c, NULL);
		rc = t->on_removal(&removal, t->on_removal_ctx);
	}
	if (rc)
		hpx_cache_count(c, HPX_CACHE_LISTENER_ERRORS, 1);
}

void hpx_cache_unused(hapax_cache *c, const hapax_key *key, struct hpx_object *o, uint64_t weight, hapax_cause cause)
{
	if (c->tier)
		tell(c, key, hpx_payload(o), weight, cause);
}

static void count_cause(hapax_cache *c, hapax_cause cause)
{
	if (cause == HAPAX_CAUSE_EXPLICIT)
		hpx_cache_count(c, HPX_CACHE_REMOVALS, 1);
	else if (cause == HAPAX_CAUSE_REPLACED)
		hpx_cache_count(c, HPX_CACHE_REPLACEMENTS, 1);
}

static bool ended(hapax_cache *c, struct hpx_node *n)
{
	return c->tier->timed && hpx_tier_now(c) >= hpx_node_end(c->tier, n);
}

/* ---- claimed by a call ------------------------------------------------------------------------------------------- */

void hpx_cache_left(hapax_cache *c, void *e, struct hpx_object *o, hapax_cause cause)
{
	hapax_key key;
	uint32_t flags;

	if (!c->tier) {
		if (c->promotes)
			hpx_hot_cool(o);
		count_cause(c, cause);
		HPX_PROBE3(removed, HPX_PROBE_TEXT(c->name), e, (int)cause);
		return;
	}
	LEAVING *n = hpx_node_of(c, e);
	/* order: NODE.FLAGS acq_rel; LEFT: against RETAINED, one of the two sees the other */
	flags = hpx_or_acq_rel(&n->flags, HPX_NODE_LEFT);
	hpx_read_lock();
	hpx_timer_detach(c, n);
	hpx_read_unlock();
	if (flags & HPX_NODE_RETAINED && hpx_tier_take(c, n, HPX_NEVER))
		hpx_cache_release_hold(c, o); /* the cache's; the caller has its own */
	else if (c->promotes)
		hpx_hot_cool(o);
	if (cause != HAPAX_CAUSE_EXPIRED && ended(c, n)) /* also by the end of the cache */
		cause = HAPAX_CAUSE_EXPIRED;
	if (!(flags & HPX_NODE_NEGATIVE))
		count_cause(c, cause);
	HPX_PROBE3(removed, HPX_PROBE_TEXT(c->name), e, (int)cause);
	key = hpx_table_key(c->table, e);
	tell(c, &key, flags & HPX_NODE_NEGATIVE ? NULL : hpx_payload(o), hpx_node_weight(n), cause);
}

/* ---- claimed by death -------------------------------------------------------------------------------------------- */

/* The note of a death: outside sections, the dead object's memory is still there, and the cache (a call of it is ours). */
static void run_note(struct hpx_note *note)
{
	hapax_cache *c = HPX_CONTAINER_OF(note, struct hpx_node, note)->cache;
	HPX_CACHE_STAY stay = {.cache = c, .saved_errno = errno};
	LEAVING *n = HPX_CONTAINER_OF(note, struct hpx_node, note);
	/* order: NODE.FLAGS relaxed; its own death wrote them last */
	uint32_t flags = hpx_load_relaxed(&n->flags);
	hapax_key key = hpx_table_key(c->table, n->entry);
	hapax_cause cause = HAPAX_CAUSE_COLLECTED;

	if (flags & HPX_NODE_EXPIRED)
		cause = HAPAX_CAUSE_EXPIRED;
	else if (flags & HPX_NODE_HEAVY)
		cause = HAPAX_CAUSE_SIZE;
	tell(c, &key, cause == HAPAX_CAUSE_COLLECTED || flags & HPX_NODE_NEGATIVE ? NULL : hpx_payload(hpx_node_object(n)),
	     hpx_node_weight(n), cause);
}

/* Nobody is told, but a call was taken for this death (HPX_NODE_OWED). */
static void run_leave(struct hpx_note *note)
{
	struct hpx_node *n = HPX_CONTAINER_OF(note, struct hpx_node, note);
	hapax_cache *c = n->cache;

	hpx_node_unpin(n);
	hpx_cache_leave(c);
}

void hpx_leave_dead(hapax_cache *c, void *e, uint64_t before)
{
	struct hpx_node *n = hpx_node_of(c, e);
	bool expired, told;
	uint32_t flags;

	if (before & HPX_W_LOADING)
		return; /* never installed */
	/* order: NODE.FLAGS acq_rel; a claimer's LEFT comes before its release */
	flags = hpx_or_acq_rel(&n->flags, HPX_NODE_LEFT);
	if (flags & HPX_NODE_LEFT && !HPX_BROKEN(TOLD_TWICE))
		return;
	hpx_timer_detach(c, n);
	hpx_room_out(c, n);
	expired = ended(c, n);
	if (expired)
		hpx_or_relaxed(&n->flags, HPX_NODE_EXPIRED); /* order: NODE.FLAGS relaxed; for the note, on this thread */
	HPX_PROBE3(removed, HPX_PROBE_TEXT(c->name), e, (int)(expired ? HAPAX_CAUSE_EXPIRED : flags & HPX_NODE_HEAVY ? HAPAX_CAUSE_SIZE : HAPAX_CAUSE_COLLECTED));
	if (!(flags & HPX_NODE_NEGATIVE)) {
		hpx_cache_count(c, HPX_CACHE_OUT, 1);
		hpx_cache_count(c, HPX_CACHE_COLLECTIONS, !expired);
		if (!expired)
			hpx_cache_count(c, HPX_CACHE_EVICTED_WEIGHT, hpx_node_weight(n));
		hpx_cache_count(c, HPX_CACHE_SIZE_EVICTIONS, !expired && flags & HPX_NODE_HEAVY);
	}
	/* counted as a call: the cache stays until the note has run */
	told = (c->tier->on_removal || expired) && (flags & HPX_NODE_OWED || !hpx_cache_enter(c, HPX_CACHE_ENDING));
	if (told || flags & HPX_NODE_OWED) {
		n->note.run = told ? run_note : run_leave;
		hpx_note_add(&n->note);
	} else if (!c->exclusive) {
		hpx_node_unpin(n);
	}
}

static const hapax_type stand_in = {HAPAX_TYPE_INIT, .name = "negative result", .size = 1};

int hpx_stand_in(hapax_cache *c, struct hpx_object **out)
{
	void *object;
	int rc = hapax_new(c->env, &stand_in, 0, &object);

	*out = rc ? NULL : hpx_object_of(object);
	return rc;
}
