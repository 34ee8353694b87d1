/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/node.h - what a managed cache keeps for each entry, and the strong tier (tier.c, leave.c, validity.c).
 *
 * A cache is MANAGED if any option needs to know more of an entry than its object: a bound, retention, validity,
 * negative results, refreshing, a removal listener. Its entries, embedded or records, have a node in front of their key:
 *
 *      [ struct hpx_node ][ key, padded | word ] e
 *
 * FLAGS of a node: whoever sets a bit by the atomic operation that did not find it set owns what follows.
 *      RETAINED    the cache holds one reference to the object; the node is in the policy, or on its way there (arrivals)
 *      LEFT        the entry was claimed (GONE is set, or about to be looked at): it is never retained again
 *      HEAVY       demoted by a bound, or too heavy: its death is a SIZE eviction. Cleared by readmission
 *      NEGATIVE    no value: the object is an empty stand-in that is given to nobody
 *      REFRESHING  a reload of it is running or queued (refresh.c)
 *      BY_PUT      a put fenced its load, or took its place while it was reloaded
 *      LISTED      it is in the policy (under the tier's lock)
 *      EXPIRED     it died after its validity had ended
 *      REWRITTEN   the same object was put again while it was reloaded
 *      OWED        a put found it dead before its death was told: a call of the cache's is its death's to give back
 *
 * Lifetime of a node. Embedded: the object's memory; whoever looks at it outside a section holds the object. Record:
 * `pins`, one for the table (given up by who claimed it, when it is through) and one per thread that looks at it
 * outside a section; the last one finishes the record. Memory goes a grace period after that in both cases.
 *
 * The tier's lock is waited for outside read sections only (a hit tries for it in one), nothing blocks under it, no user code
 * but the policy's runs under it.
 */
#ifndef HPX_CACHE_NODE_H
#define HPX_CACHE_NODE_H

#include <hapax/policy.h>

#include "cache/cache.h"

enum {
	HPX_NODE_RETAINED = 1u << 0,
	HPX_NODE_LEFT = 1u << 1,
	HPX_NODE_HEAVY = 1u << 2,
	HPX_NODE_NEGATIVE = 1u << 3,
	HPX_NODE_REFRESHING = 1u << 4,
	HPX_NODE_BY_PUT = 1u << 5,
	HPX_NODE_LISTED = 1u << 6,
	HPX_NODE_EXPIRED = 1u << 7,
	HPX_NODE_REWRITTEN = 1u << 8,
	HPX_NODE_OWED = 1u << 9
};

struct hpx_timer;

struct hpx_node {
	struct hpx_note note;                 /* dead: in the dying thread's list, if the listener is to be told */
	hapax_cache *cache;
	void *entry;
	struct hpx_node *link;                /* arrivals */
	HPX_ATOMIC(struct hpx_timer *) timer; /* its place in the wheel, or NULL */
	hpx_u32 pins;                         /* records */
	hpx_u32 load_us;                      /* how long its load took */
	uint32_t era;                         /* clears before it was made; constant */
	hpx_u64 written;                      /* when; in caches with time options */
	hpx_u64 used;                         /* last get or put, with retain_idle */
	hpx_u64 deadline;                     /* end of validity (of the plain one, without stale times), or HAPAX_FOREVER */
	hapax_policy_node policy;             /* id, weight: before publication */
	hpx_u64 attend;                       /* from then on a hit is not a plain one */
	hpx_u32 flags;
	hpx_u32 slot;                         /* of recorded policies */
};

#define HPX_NODE_BYTES ((sizeof(struct hpx_node) + 15) & ~(size_t)15)

/* In front of the node, in a cache whose client has rooms. The links are the client's policy's. */
struct hpx_roomed {
	struct hpx_room *room; /* constant; to be followed while the entry is in it, or in a section that found it so */
	struct hpx_roomed *next, *prev;
	hpx_u32 within;        /* in() was called and out() not yet */
};
#define HPX_ROOMED_BYTES ((sizeof(struct hpx_roomed) + 15) & ~(size_t)15)
static inline struct hpx_roomed *hpx_roomed_of(struct hpx_node *n)
{
	return (struct hpx_roomed *)(void *)((char *)n - HPX_ROOMED_BYTES);
}
static inline struct hpx_node *hpx_roomed_node(struct hpx_roomed *r)
{
	return (struct hpx_node *)(void *)((char *)r + HPX_ROOMED_BYTES);
}
static inline bool hpx_has_rooms(const hapax_cache *c) { return HPX_UNLIKELY(c->client != NULL) && c->client->of; }
static inline void hpx_room_in(hapax_cache *c, struct hpx_node *n)
{
	if (!hpx_has_rooms(c))
		return;
	hpx_store_relaxed(&hpx_roomed_of(n)->within, 1); /* order: ROOM.WITHIN relaxed; before the landing, which is the edge */
	c->client->in(hpx_roomed_of(n)->room);
}
/* Whoever sees the entry's end, and they may be two. */
static inline void hpx_room_out(hapax_cache *c, struct hpx_node *n)
{
	/* order: ROOM.WITHIN relaxed; the first of them goes on */
	if (hpx_has_rooms(c) && hpx_exchange_relaxed(&hpx_roomed_of(n)->within, 0))
		c->client->out(hpx_roomed_of(n)->room);
}

/* The node of an entry with a key of `key_size` bytes. */
static inline struct hpx_node *hpx_node_at(hapax_cache *c, void *e, size_t key_size)
{
	size_t keyed = (c->keys.borrow ? sizeof(void *) : (key_size + 7) & ~(size_t)7) + 8;

	return (struct hpx_node *)(void *)((char *)e - ((keyed + 15) & ~(size_t)15) - HPX_NODE_BYTES);
}

static inline struct hpx_node *hpx_node_of(hapax_cache *c, void *e)
{
	/* order: TABLE.PUBLISH relaxed; the size never changes */
	return hpx_node_at(c, e, hpx_word_key_size(hpx_load_relaxed(hpx_word(e))));
}

/* The weight may change under the tier's lock (hpx_tier_reweigh): for those who look without it. */
static inline uint64_t hpx_node_weight(const struct hpx_node *n)
{
	/* order: NODE.WEIGHT relaxed; a number */
	return __atomic_load_n(&n->policy.weight, __ATOMIC_RELAXED);
}
static inline void hpx_node_set_weight(struct hpx_node *n, uint64_t weight)
{
	/* order: NODE.WEIGHT relaxed; before publication, or under the lock */
	__atomic_store_n(&n->policy.weight, weight, __ATOMIC_RELAXED);
}

static inline bool hpx_entry_is_record(void *e)
{
	/* order: TABLE.PUBLISH relaxed; the bit never changes */
	return hpx_load_relaxed(hpx_word(e)) & HPX_W_RECORD;
}

/* The object of an entry that is in the tier, or held. */
static inline struct hpx_object *hpx_node_object(struct hpx_node *n)
{
	/* order: -> TABLE.PUBLISH acquire */
	return hpx_entry_object(n->entry, hpx_load_acquire(hpx_word(n->entry)));
}

/*
 * Managed caches. In a section, the entry's object is held: from now on the entry stays where it is, also outside the
 * section, until unpinned; the object must stay held as long. False: the entry is going.
 */
bool hpx_node_pin(struct hpx_node *n);
void hpx_node_unpin(struct hpx_node *n);

#endif
