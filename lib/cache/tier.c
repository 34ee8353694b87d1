/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/tier.c - what the cache itself holds: admission, the bound, letting go. tier.h has the picture.
 *
 * Guarantees. A: a node is in the policy exactly while it is LISTED, and then the cache has one reference to its object;
 * so a node that is in the policy cannot go. B: references are dropped outside the lock. C: letting go does not remove: the
 * entry dies with its object, if nobody else holds that; cost does not depend on who does. D: a claimer that found RETAINED
 * takes the lock before it is through, so nodes stay while the lock's holder works on them.
 *
 * Limits. A claimer that comes between RETAINED and the push of the arrival leaves the reference to whoever lists arrivals
 * next. Weights are below 2^62 each; of a sum that does not fit in 64 bits outsiders see the greatest number.
 */
#include <sched.h>

#include "base/probe.h"
#include "cache/tier.h"
#include "policy/record.h"

/* ---- arrivals ---------------------------------------------------------------------------------------------------- */

/* Whether the bound can hold it at all. */
static bool fits(struct hpx_tier *t, struct hpx_node *n)
{
	/* order: TIER.BOUND relaxed; a limit, no data */
	return !t->bounded || (hpx_node_weight(n) <= hpx_load_relaxed(&t->bound) && hpx_load_relaxed(&t->bound) > 0);
}

void hpx_tier_admit(hapax_cache *c, struct hpx_node *n, struct hpx_object *o)
{
	struct hpx_tier *t = c->tier;
	uint32_t flags;
	struct hpx_node *first;

	/* order: NODE.FLAGS relaxed; set before publication. What remembers that there is no value is always held */
	if (!t->retains && !(hpx_load_relaxed(&n->flags) & HPX_NODE_NEGATIVE))
		return;
	if (!fits(t, n)) {
		/* order: NODE.FLAGS relaxed; the object is held, and its death reads it */
		hpx_or_relaxed(&n->flags, HPX_NODE_HEAVY);
		return;
	}
	/* order: TIER.ARRIVING relaxed; a limit, no data */
	if (hpx_add_relaxed(&t->arriving, 1) >= HPX_ARRIVALS_MAX) {
		hpx_sub_relaxed(&t->arriving, 1);
		return;
	}
	if (!HPX_BROKEN(ADMIT_BORROWS))
		hpx_take_more(o, 1);
	if (hpx_entry_is_record(n->entry))
		hpx_add_relaxed(&n->pins, 1); /* order: NODE.PINS relaxed; the caller has one */
	flags = hpx_load_relaxed(&n->flags); /* order: NODE.FLAGS relaxed; the swap decides */
	do {
		if (flags & (HPX_NODE_RETAINED | HPX_NODE_LEFT)) {
			hpx_sub_relaxed(&t->arriving, 1);
			hpx_node_unpin(n);
			if (!HPX_BROKEN(ADMIT_BORROWS))
				hpx_cache_release(c, o); /* not the last: the caller's is */
			return;
		}
		/* order: NODE.FLAGS acq_rel; against LEFT: one of the two sees the other */
	} while (!hpx_cas_acq_rel(&n->flags, &flags, (flags | HPX_NODE_RETAINED) & ~(uint32_t)HPX_NODE_HEAVY));
	HPX_STOP("tier.admitted");
	first = hpx_load_relaxed(&t->arrivals); /* order: TIER.ARRIVAL relaxed; only copied */
	do
		n->link = first;
	/* order: TIER.ARRIVAL -> acq_rel; the node, its link; and the unlock of who last found nothing here (came_meanwhile) */
	while (!hpx_cas_acq_rel(&t->arrivals, &first, n));
}

/* Under the lock. */
static void arrivals_take(struct hpx_tier *t)
{
	/* order: -> TIER.ARRIVAL acquire */
	struct hpx_node *n = hpx_exchange_acquire(&t->arrivals, NULL), *next, *list = NULL, *last = n;

	if (!n)
		return;
	for (; n; n = next) { /* the newest came first */
		next = n->link;
		n->link = list;
		list = n;
	}
	*t->pending_end = list;
	t->pending_end = &last->link;
}

/* Under the lock, before arrivals are taken: what arrived of a room came before the room's parting. */
static void partings_take(struct hpx_tier *t)
{
	if (!t->parted)
		/* order: -> ROOM.PART acquire; the rooms and their links */
		t->parted = hpx_exchange_acquire(&t->parting, NULL);
}

/* Under the lock: all that had arrived of them is listed, and nothing follows. */
static void partings_done(struct hpx_tier *t)
{
	if (t->parted && !t->pending) {
		t->client->depart(t->state, t->parted);
		t->parted = NULL;
	}
}

static void account(struct hpx_tier *t, struct hpx_node *n, bool in)
{
	/* order: TIER.HELD relaxed; under the lock, read by anyone as a number */
	uint64_t held = hpx_load_relaxed(&t->held), before = t->sum;

	t->sum = in ? before + n->policy.weight : before - n->policy.weight;
	if (in)
		t->carries += t->sum < before;
	else
		t->carries -= t->sum > before;
	hpx_store_relaxed(&t->held, in ? held + 1 : held - 1);
	/* order: NODE.FLAGS relaxed; set before it was listed, for good */
	if (HPX_UNLIKELY(hpx_load_relaxed(&n->flags) & HPX_NODE_NEGATIVE)) {
		uint64_t absences = hpx_load_relaxed(&t->absences);

		hpx_store_relaxed(&t->absences, in ? absences + 1 : absences - 1);
	}
	hpx_store_relaxed(&t->weight, t->carries ? UINT64_MAX : t->sum);
}

/* Where hits of it are recorded; order: NODE.SLOT relaxed; a hit that reads an old one is told from its id, or lost */
static void slot_take(struct hpx_tier *t, struct hpx_node *n)
{
	if (t->hits && n->policy.weight)
		hpx_store_relaxed(&n->slot, hpx_hits_take(t->hits, &n->policy));
}

static void slot_give(struct hpx_tier *t, struct hpx_node *n)
{
	if (!t->hits)
		return;
	hpx_hits_give(t->hits, hpx_load_relaxed(&n->slot));
	hpx_store_relaxed(&n->slot, 0);
}

static void list(struct hpx_tier *t, struct hpx_node *n)
{
	hpx_or_relaxed(&n->flags, HPX_NODE_LISTED); /* order: NODE.FLAGS relaxed; under the lock */
	account(t, n, true);
	n->policy.next = n->policy.prev = NULL;
	n->policy.mark = 0;
	n->policy.list = 0;
	if (t->policy && n->policy.weight)
		t->policy->add(t->state, &n->policy);
	slot_take(t, n);
}

/* Out of the policy, or (by evict) out of it already; the reference is the caller's. */
static void unlist(struct hpx_tier *t, struct hpx_node *n, bool remove, uint32_t set)
{
	uint32_t flags = hpx_load_relaxed(&n->flags); /* order: NODE.FLAGS relaxed; the swap decides */

	account(t, n, false);
	slot_give(t, n);
	if (remove && t->policy && n->policy.weight)
		t->policy->remove(t->state, &n->policy);
	/* order: NODE.FLAGS acq_rel; what the policy did with the node before others may finish it */
	while (!hpx_cas_acq_rel(&n->flags, &flags, (flags & ~(uint32_t)(HPX_NODE_RETAINED | HPX_NODE_LISTED)) | set))
		;
}

/* ---- with the lock ----------------------------------------------------------------------------------------------- */

struct batch {
	hapax_cache *cache;
	struct hpx_object *drop[HPX_TIER_BATCH]; /* references of the cache's, to be released after the lock */
	unsigned n, dropped;
	struct hpx_node *left; /* arrivals that were claimed before: each still pinned */
	unsigned demoted;
	bool more;
	bool above; /* the bound */
};

/* Then somebody has to go for it, and the policy should know by then of the hits that came before it. */
static bool is_full_for(struct hpx_tier *t, const struct hpx_node *n)
{
	/* order: TIER.HELD relaxed; under the lock */
	uint64_t now = hpx_load_relaxed(t->weighted ? &t->weight : &t->held), more = t->weighted ? n->policy.weight : 1;

	/* order: TIER.BOUND relaxed; under the lock */
	return t->bounded && hpx_sat_add(now, more) > hpx_load_relaxed(&t->bound);
}

/* Lists what has arrived; what was claimed meanwhile is dropped. */
static void drain(struct hpx_tier *t, struct batch *b)
{
	struct hpx_node *n;

	if (HPX_UNLIKELY(t->client != NULL))
		partings_take(t);
	arrivals_take(t);
	if (t->hits && t->pending && is_full_for(t, t->pending))
		hpx_hits_drain(t->hits, t->policy->hit, t->state);
	while ((n = t->pending) != NULL && b->n < HPX_TIER_BATCH) {
		t->pending = n->link;
		if (!t->pending)
			t->pending_end = &t->pending;
		hpx_sub_relaxed(&t->arriving, 1); /* order: TIER.ARRIVING relaxed; a limit, no data */
		/* order: NODE.FLAGS acquire; a claimer's LEFT */
		if (hpx_load_acquire(&n->flags) & HPX_NODE_LEFT) {
			b->drop[b->n++] = hpx_node_object(n);
			/* order: NODE.FLAGS relaxed; its claimer looks under the lock */
			hpx_and_acq_rel(&n->flags, ~(uint32_t)HPX_NODE_RETAINED);
			/* perhaps the last pin: its claimer may have come by the lock before it was pushed, and gone */
			n->link = b->left;
			b->left = n;
			continue;
		}
		list(t, n);
		/* not the last pin: a claimer that found RETAINED has to come by the lock first */
		if (hpx_entry_is_record(n->entry))
			hpx_sub_relaxed(&n->pins, 1); /* order: NODE.PINS relaxed; as said */
	}
	if (HPX_UNLIKELY(t->client != NULL))
		partings_done(t);
}

static bool above(struct hpx_tier *t)
{
	if (HPX_UNLIKELY(t->client != NULL) && t->client->above(t->state))
		return true;
	/* order: TIER.HELD, TIER.BOUND relaxed; under the lock */
	return t->bounded && hpx_load_relaxed(t->weighted ? &t->weight : &t->held) > hpx_load_relaxed(&t->bound);
}

/* A bound lets go of it; but if its time was over before, that is why it went. */
static uint32_t demotion(hapax_cache *c, struct hpx_node *n)
{
	return c->tier->timed && hpx_tier_now(c) >= hpx_node_lapse(c->tier, n) ? 0 : HPX_NODE_HEAVY;
}

/* What EVICT_REMOVES makes of an eviction. */
static void remove_victim(hapax_cache *c, struct hpx_node *n)
{
	hpx_read_lock();
	hpx_cache_claimed(c, n->entry, hpx_cache_claim(c, n->entry));
	hpx_read_unlock();
}

static void evict(hapax_cache *c, struct batch *b)
{
	struct hpx_tier *t = c->tier;

	if (t->hits && above(t))
		hpx_hits_drain(t->hits, t->policy->hit, t->state);
	while (b->n < HPX_TIER_BATCH && above(t)) {
		hapax_policy_node *victim = t->policy->evict(t->state);
		struct hpx_node *n;

		if (!victim)
			return;
		n = HPX_CONTAINER_OF(victim, struct hpx_node, policy);
		b->drop[b->n++] = hpx_node_object(n);
		b->demoted++;
		HPX_PROBE2(demote, HPX_PROBE_TEXT(c->name), n->entry);
		if (HPX_BROKEN(EVICT_REMOVES))
			remove_victim(c, n);
		unlist(t, n, false, demotion(c, n));
	}
}

static void drop_left(struct batch **given);

static void drop_all(struct batch *given)
{
	struct batch *b __attribute__((cleanup(drop_left))) = given;

	while (b->dropped < b->n)
		hpx_cache_release_hold(b->cache, b->drop[b->dropped++]);
}

/* Something is left only if user code has left its thread. */
static void drop_left(struct batch **given)
{
	if (HPX_UNLIKELY((*given)->dropped < (*given)->n))
		drop_all(*given);
}

/* What is left to do after this batch is done here only if user code has left its thread. */
static void settle_rest(hapax_cache **c)
{
	if (HPX_UNLIKELY(*c != NULL))
		hpx_tier_settle(*c);
}

/* The lock is held, and given up. */
static void finish(hapax_cache *c, struct batch *b)
{
	hapax_cache *rest __attribute__((cleanup(settle_rest))) = c;
	struct hpx_tier *t = c->tier;
	struct hpx_node *n;

	b->above = above(t);
	b->more = t->pending != NULL || (b->n == HPX_TIER_BATCH && b->above);
	pthread_mutex_unlock(&t->lock);
	if (b->demoted)
		hpx_cache_count(c, HPX_CACHE_DEMOTIONS, b->demoted);
	while ((n = b->left) != NULL) {
		b->left = n->link;
		hpx_node_unpin(n);
	}
	b->cache = c;
	drop_all(b);
	rest = NULL;
}

/*
 * After the lock was given up: has something arrived whose adder found it held? A swap of nothing for nothing, because a
 * plain look could be early: either the arrival comes before it and is seen, or it comes after it and so after the unlock,
 * and its adder finds the lock free.
 */
static bool came_meanwhile(struct hpx_tier *t)
{
	struct hpx_node *none = NULL;
	struct hpx_room *nobody = NULL;

	if (HPX_BROKEN(ARRIVAL_FORGOTTEN))
		return false;
	/* order: TIER.ARRIVAL, ROOM.PART acq_rel; as said */
	return !hpx_cas_acq_rel(&t->arrivals, &none, NULL) ||
	       (HPX_UNLIKELY(t->client != NULL) && !hpx_cas_acq_rel(&t->parting, &nobody, NULL));
}

bool hpx_tier_unlock(hapax_cache *c)
{
	struct hpx_tier *t = c->tier;
	/* who has more to do than one batch, and finds the lock held when it comes again, leaves it */
	bool left = t->pending || above(t);

	pthread_mutex_unlock(&t->lock);
	return left || came_meanwhile(t);
}

void hpx_tier_settle(hapax_cache *c)
{
	struct hpx_tier *t = c->tier;
	bool more;

	do {
		struct batch b = {.n = 0};

		for (unsigned tries = 0; pthread_mutex_trylock(&t->lock); tries++) {
			/* order: TIER.ARRIVING relaxed; a limit, no data. Below it: the lock's holder looks again after it */
			if (hpx_load_relaxed(&t->arriving) < HPX_ARRIVALS_FEW || tries == HPX_ARRIVALS_YIELDS)
				return;
			sched_yield();
		}
		drain(t, &b);
		evict(c, &b);
		finish(c, &b);
		more = b.more;
	} while (more || came_meanwhile(t));
}

void hpx_tier_part(hapax_cache *c, struct hpx_room *room, struct hpx_room **link)
{
	/* order: ROOM.PART relaxed; only copied */
	struct hpx_room *first = hpx_load_relaxed(&c->tier->parting);

	do
		*link = first;
	/* order: ROOM.PART -> acq_rel; the room, its link; and against came_meanwhile(), as in hpx_tier_admit() */
	while (!HPX_BROKEN(PARTING_LOST) && !hpx_cas_acq_rel(&c->tier->parting, &first, room));
	if (HPX_BROKEN(PARTING_LOST))
		hpx_store_release(&c->tier->parting, room); /* order: ROOM.PART release; as above, in a load and a store */
	HPX_STOP("tier.parting");
	hpx_tier_settle(c);
}

/* The lock's holder has done something else with it: what came meanwhile, and what it listed, is seen to. */
static void settle_after(hapax_cache *c, const struct batch *b)
{
	if (b->more || b->above || came_meanwhile(c->tier))
		hpx_tier_settle(c);
}

bool hpx_tier_take(hapax_cache *c, struct hpx_node *n, uint64_t lapsed_at)
{
	struct hpx_tier *t = c->tier;
	struct batch b;
	bool listed, taken;

	do {
		b = (struct batch){.n = 0};
		pthread_mutex_lock(&t->lock);
		drain(t, &b);
		/* order: NODE.FLAGS relaxed; under the lock */
		listed = hpx_load_relaxed(&n->flags) & HPX_NODE_LISTED;
		/* written again meanwhile, which happens under the lock, it stays */
		taken = listed && (lapsed_at == HPX_NEVER || lapsed_at >= hpx_node_lapse(t, n));
		if (taken)
			unlist(t, n, true, 0);
		finish(c, &b);
	} while (!listed && b.more);
	settle_after(c, &b);
	return taken;
}

bool hpx_tier_replace(hapax_cache *c, struct hpx_node *old, struct hpx_node *fresh, struct hpx_object *o)
{
	struct hpx_tier *t = c->tier;
	struct hpx_object *dropped = NULL;
	struct batch b = {.n = 0};
	uint32_t flags = 0;

	if (!t->policy || !t->policy->replace || !fits(t, fresh) || !hpx_node_weight(old) || !hpx_node_weight(fresh))
		return false;
	pthread_mutex_lock(&t->lock);
	drain(t, &b);
	/* order: NODE.FLAGS relaxed; under the lock. acq_rel: against LEFT, as in admit */
	if (hpx_load_relaxed(&old->flags) & HPX_NODE_LISTED &&
	    hpx_cas_acq_rel(&fresh->flags, &flags, HPX_NODE_RETAINED | HPX_NODE_LISTED)) {
		dropped = hpx_node_object(old);
		hpx_take_more(o, 1);
		account(t, fresh, true);
		t->policy->replace(t->state, &old->policy, &fresh->policy);
		unlist(t, old, false, 0);
		slot_take(t, fresh);
		evict(c, &b);
	}
	finish(c, &b);
	if (dropped)
		hpx_cache_release_hold(c, dropped);
	settle_after(c, &b);
	return dropped != NULL;
}

void hpx_tier_used(hapax_cache *c, struct hpx_node *n)
{
	struct hpx_tier *t = c->tier;
	struct batch b = {.n = 0};

	pthread_mutex_lock(&t->lock);
	drain(t, &b);
	/* order: NODE.FLAGS relaxed; under the lock */
	if (t->policy && n->policy.weight && hpx_load_relaxed(&n->flags) & HPX_NODE_LISTED) {
		if (t->policy->hit)
			t->policy->hit(t->state, &n->policy);
		else if (__atomic_load_n(&n->policy.touched, __ATOMIC_RELAXED) < t->touch_max)
			/* order: NODE.TOUCH relaxed; a hint for the policy */
			__atomic_fetch_add(&n->policy.touched, 1, __ATOMIC_RELAXED);
	}
	finish(c, &b);
	settle_after(c, &b);
}

void hpx_tier_reweigh(hapax_cache *c, struct hpx_node *n, uint64_t weight)
{
	struct hpx_tier *t = c->tier;
	struct hpx_object *o = NULL;
	struct batch b = {.n = 0};

	pthread_mutex_lock(&t->lock);
	drain(t, &b);
	/* order: NODE.FLAGS relaxed; under the lock */
	if (n->policy.weight != weight && hpx_load_relaxed(&n->flags) & HPX_NODE_LISTED) {
		account(t, n, false);
		slot_give(t, n);
		if (t->policy && n->policy.weight)
			t->policy->remove(t->state, &n->policy);
		hpx_node_set_weight(n, weight);
		list(t, n);
		if (!fits(t, n)) {
			o = hpx_node_object(n);
			unlist(t, n, true, HPX_NODE_HEAVY);
		}
	} else {
		hpx_node_set_weight(n, weight);
	}
	finish(c, &b);
	if (o) {
		hpx_cache_count(c, HPX_CACHE_DEMOTIONS, 1);
		HPX_PROBE2(demote, HPX_PROBE_TEXT(c->name), n->entry);
		hpx_cache_release_hold(c, o);
	}
	settle_after(c, &b);
}

bool hpx_tier_hit_exact(hapax_cache *c, struct hpx_node *n, bool *record)
{
	struct hpx_tier *t = c->tier;
	bool listed;

	if (!t->exact || t->expire || t->timed)
		return false;
	for (unsigned tries = 0; pthread_mutex_trylock(&t->lock); tries++) {
		if (tries == HPX_EXACT_TRIES)
			return false;
		hpx_pause();
	}
	/* order: NODE.FLAGS, TIER.ARRIVAL relaxed; under the lock. What has arrived comes first */
	listed = hpx_load_relaxed(&n->flags) & HPX_NODE_LISTED && !t->pending && !hpx_load_relaxed(&t->arrivals);
	if (listed && n->policy.weight)
		t->policy->hit(t->state, &n->policy);
	*record = hpx_tier_unlock(c);
	return listed;
}

void hpx_tier_recorded(hapax_cache *c)
{
	struct hpx_tier *t = c->tier;

	if (pthread_mutex_trylock(&t->lock))
		return;
	if (t->hits)
		hpx_hits_drain(t->hits, t->policy->hit, t->state);
	if (hpx_tier_unlock(c))
		hpx_tier_settle(c);
}

int hapax_cache_set_bound(hapax_cache *cache, int64_t bound)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	struct hpx_tier *t;
	int rc;

	if (!cache)
		return HAPAX_ENULL;
	if (bound <= 0 && bound != HAPAX_ZERO)
		return HAPAX_EOPTION;
	rc = hpx_cache_stay(&stay, cache, HPX_CACHE_OPEN);
	if (rc)
		return rc;
	t = cache->tier;
	if (!t || !t->bounded)
		return HAPAX_EOPTION;
	{
		struct batch b = {.n = 0};

		pthread_mutex_lock(&t->lock);
		drain(t, &b);
		/* order: TIER.BOUND relaxed; a limit, no data */
		hpx_store_relaxed(&t->bound, bound == HAPAX_ZERO ? 0 : (uint64_t)bound);
		t->policy->resize(t->state, hpx_load_relaxed(&t->bound));
		do {
			if (b.more) {
				b = (struct batch){.n = 0};
				pthread_mutex_lock(&t->lock);
				drain(t, &b);
			}
			evict(cache, &b);
			finish(cache, &b);
		} while (b.more);
		settle_after(cache, &b);
	}
	return 0;
}
