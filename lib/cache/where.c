/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/where.c - removal by predicate.
 *
 * One pass in the table's order. The object in question is held while the user looks at it, and nothing else; what is
 * then removed is the very entry that was looked at (in an unmanaged cache one of the same key and object).
 */
#include "cache/compute.h"
#include "cache/tier.h"

#define KEY_ROOM 128 /* longer keys of records in unmanaged caches are copied to the heap */

/* The entry being looked at; given up by its cleanup handler, also when the thread vanishes in the user's code. */
struct look {
	hapax_cache *cache;
	struct hpx_stay stay;
	struct hpx_cursor cursor;
	uint32_t era; /* managed: what is installed from now on is not meant */
	struct hpx_object *object;
	void *entry;
	bool pinned;
	hapax_key key;
	size_t room; /* of a key that is on the heap */
	char copy[KEY_ROOM];
};

static void put_back(struct look *l)
{
	struct hpx_object *o = l->object;

	if (l->pinned)
		hpx_node_unpin(hpx_node_of(l->cache, l->entry));
	if (l->room)
		hpx_free(l->cache->env, (void *)(uintptr_t)l->key.data, l->room, 16);
	l->pinned = false;
	l->room = 0;
	l->object = NULL;
	if (o)
		hpx_cache_release(l->cache, o);
}

static void look_end(struct look *l)
{
	if (!l->stay.cache)
		return;
	put_back(l);
	hpx_cache_stay_end(&l->stay);
}

enum step { STEP_LOOK, STEP_NEXT, STEP_END, STEP_ROOM };

/* In a section: an unmanaged cache's record may go while the user looks at its object: its key is copied. */
static enum step copy_key(struct look *l, void *heap, size_t room)
{
	hapax_key key = hpx_table_key(l->cache->table, l->entry);
	void *to = heap ? heap : l->copy;

	l->key.size = key.size;
	if (key.size > (heap ? room : (size_t)KEY_ROOM))
		return STEP_ROOM;
	if (key.size)
		memcpy(to, key.data, key.size);
	l->key.data = to;
	return STEP_LOOK;
}

/* The next entry. STEP_ROOM: its key needs l->key.size bytes, nothing has been taken. */
static enum step next(struct look *l, void *heap, size_t room)
{
	hapax_cache *c = l->cache;
	struct hpx_cursor cursor = l->cursor;
	enum step step = STEP_LOOK;

	hpx_read_lock();
	l->entry = hpx_table_next(c->table, &cursor, false, &l->object);
	if (!l->entry) {
		step = STEP_END;
	} else if (c->tier) {
		struct hpx_node *n = hpx_node_of(c, l->entry);

		l->pinned = hpx_era_before(n, l->era) && !hpx_node_hidden(c, n, l->object) && hpx_node_pin(n);
		step = l->pinned ? STEP_LOOK : STEP_NEXT;
	} else if (hpx_entry_is_record(l->entry)) {
		step = copy_key(l, heap, room);
	}
	if (step == STEP_LOOK && (c->tier || !hpx_entry_is_record(l->entry)))
		l->key = hpx_table_key(c->table, l->entry);
	hpx_read_unlock();
	if (step != STEP_ROOM)
		l->cursor = cursor;
	return step;
}

/* A key that is too long for the stack. */
static enum step next_with_room(struct look *l)
{
	enum step step = next(l, NULL, 0);

	while (step == STEP_ROOM) {
		size_t room = l->key.size;
		void *heap = hpx_alloc(l->cache->env, room, 16);

		put_back(l);
		if (!heap)
			return STEP_ROOM;
		step = next(l, heap, room);
		if (step == STEP_LOOK && l->key.data == heap)
			l->room = room;
		else
			hpx_free(l->cache->env, heap, room, 16);
	}
	return step;
}

/* Takes exactly what was looked at out. */
static bool take_out(struct look *l)
{
	hapax_cache *c = l->cache;
	struct hpx_object *o = NULL;
	void *e = l->entry;
	uint64_t hash;
	bool mine;

	if (!c->tier && hpx_table_hash(c->table, &l->key, &hash))
		return false;
	hpx_read_lock();
	if (!c->tier)
		o = hpx_table_lookup(c->table, hash, &l->key, &e);
	mine = (c->tier || o == l->object) && hpx_cache_claimed(c, e, hpx_cache_claim(c, e));
	hpx_read_unlock();
	if (o)
		hpx_cache_release(c, o);
	if (!mine)
		return false;
	hpx_cache_left(c, e, l->object, HAPAX_CAUSE_EXPLICIT);
	return true;
}

/* Inside a compute of this very key. By its hash, of which the entry keeps a part only. */
static bool own(struct look *l)
{
	hapax_cache *c = l->cache;
	uint64_t hash;

	/* order: COMPUTE.ACTIVE relaxed; what matters is this thread's own */
	return HPX_UNLIKELY(hpx_load_relaxed(&c->computes.active)) && !hpx_table_hash(c->table, &l->key, &hash) &&
	       hpx_compute_inside(&c->computes, &c->keys, hash, &l->key);
}

static int ask(struct look *l, int (*match)(const hapax_key *key, void *object, void *ctx), void *ctx)
{
	HPX_CACHE_FRAME(l->cache, NULL);
	return match(&l->key, hpx_payload(l->object), ctx);
}

int hapax_cache_remove_where(hapax_cache *cache, int (*match)(const hapax_key *key, void *object, void *ctx), void *ctx,
			     size_t *removed)
{
	__attribute__((cleanup(look_end))) struct look l = {.cache = cache};
	enum step step;
	size_t n = 0;
	int rc = 0;

	if (removed)
		*removed = 0;
	if (!cache || !match)
		return HAPAX_ENULL;
	if (hpx_cache_stay(&l.stay, cache, HPX_CACHE_CLOSED))
		return 0;
	if (cache->tier)
		l.era = hpx_era_begin(cache->tier);
	while ((step = next_with_room(&l)) == STEP_LOOK || step == STEP_NEXT) {
		if (step == STEP_LOOK && !own(&l)) {
			rc = ask(&l, match, ctx);
			n += rc == 1 && take_out(&l);
			if (removed)
				*removed = n;
		}
		put_back(&l);
		if (rc != 0 && rc != 1)
			return HAPAX_ECALLBACK;
	}
	return step == STEP_ROOM ? HAPAX_ENOMEM : 0;
}
