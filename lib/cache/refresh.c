/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/refresh.c - see refresh.h.
 *
 *      enlist --> WAITING --task, or a get that needs it now--> RUNNING --> installed, discarded or failed --> delisted --> landed
 *
 * Reloads in progress are listed, under one lock for all caches, so that an entry has one at most; REFRESHING in its node
 * says so to hits. A reload is a flight of its own: those who wait for it join its word, and are given the new object, or
 * what went wrong. It holds its entry's object and a pin on its node; installing over exactly that entry decides whether it came
 * too late (install.h). BY_PUT in the node says that a put did it, or that a put wrote the same object again.
 */
#include "cache/backoff.h"
#include "cache/install.h"
#include "cache/refresh.h"
#include "cache/worker.h"

enum { WAITING, RUNNING };

struct hpx_reload {
	hpx_u64 word;             /* of its flight */
	struct hpx_reload *next, *prev;
	hapax_cache *cache;
	struct hpx_over over;     /* the entry, pinned in managed caches, its object held, until it has ended */
	uint64_t hash;
	hapax_key key;            /* borrowed, or what follows */
	size_t bytes;
	unsigned refs;            /* under the lock: who runs it, its task, who is about to join it */
	unsigned state;           /* under the lock */
	unsigned char copy[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
#define BUCKETS 64
static struct hpx_reload *bucket[BUCKETS];

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static struct hpx_reload **bucket_of(const hapax_cache *c, uint64_t hash)
{
	return &bucket[((uintptr_t)c >> 6 ^ hash >> 40) % BUCKETS];
}

/* Under the lock: the reload of the entry with this object. The object is held, so the address is its own. */
static struct hpx_reload *find(hapax_cache *c, uint64_t hash, const struct hpx_object *o, const hapax_key *key)
{
	struct hpx_reload *r;

	for (r = *bucket_of(c, hash); r; r = r->next)
		if (r->cache == c && r->hash == hash && r->over.object == o && r->key.size == key->size &&
		    (!key->size || !memcmp(r->key.data, key->data, key->size)))
			return r;
	return NULL;
}

static void list(struct hpx_reload *r)
{
	struct hpx_reload **head = bucket_of(r->cache, r->hash);

	r->next = *head;
	r->prev = NULL;
	if (*head)
		(*head)->prev = r;
	*head = r;
}

static void delist(struct hpx_reload *r)
{
	*(r->prev ? &r->prev->next : bucket_of(r->cache, r->hash)) = r->next;
	if (r->next)
		r->next->prev = r->prev;
}

static struct hpx_node *node_of(struct hpx_reload *r)
{
	return r->cache->tier ? hpx_node_of(r->cache, r->over.entry) : NULL;
}

static void put(struct hpx_reload *r)
{
	hapax_env *env = r->cache->env;
	bool gone;

	pthread_mutex_lock(&lock);
	gone = !--r->refs;
	pthread_mutex_unlock(&lock);
	if (gone)
		hpx_free(env, r, r->bytes, 16);
}

/* Under the lock: who gets true runs it. */
static bool claim(struct hpx_reload *r)
{
	bool mine = r->state == WAITING;

	r->state = RUNNING;
	return mine;
}

/* A new one with `refs`, or the one that is there (*other, one more reference), or neither: no memory. */
static struct hpx_reload *enlist(hapax_cache *c, const hapax_key *key, uint64_t hash, void *e, struct hpx_object *o,
				 unsigned state, unsigned refs, struct hpx_reload **other)
{
	size_t bytes = sizeof(struct hpx_reload) + (c->keys.borrow ? 0 : key->size);
	struct hpx_reload *r = hpx_alloc(c->env, bytes, 16);

	*other = NULL;
	if (!r)
		return NULL;
	r->cache = c;
	r->over = (struct hpx_over){.entry = e, .object = o};
	r->hash = hash;
	r->key = *key;
	r->bytes = bytes;
	r->refs = refs;
	r->state = state;
	hpx_init(&r->word, HPX_FLIGHT_LOADING);
	if (!c->keys.borrow && key->size) {
		memcpy(r->copy, key->data, key->size);
		r->key.data = r->copy;
	}
	pthread_mutex_lock(&lock);
	*other = find(c, hash, o, key);
	if (*other) {
		(*other)->refs++;
	} else {
		list(r);
		if (c->tier) {
			/* order: NODE.FLAGS relaxed; under the lock; what a put does from now on is for this reload */
			hpx_and_relaxed(&hpx_node_of(c, e)->flags, ~(uint32_t)HPX_NODE_BY_PUT);
			hpx_or_relaxed(&hpx_node_of(c, e)->flags, HPX_NODE_REFRESHING);
		}
	}
	pthread_mutex_unlock(&lock);
	if (*other) {
		hpx_free(c->env, r, bytes, 16);
		return NULL;
	}
	hpx_take_more(o, 1);
	if (c->tier) {
		hpx_node_pin(hpx_node_of(c, e));
		hpx_node_schedule(c, hpx_node_of(c, e));
	}
	return r;
}

/* Its entry may have another one from here on; whoever has joined hears what came of it; entry and object are given up. */
static void finish(struct hpx_reload *r, int status, struct hpx_object *object, uint64_t not_before)
{
	struct hpx_node *n = node_of(r);
	hapax_cache *c = r->cache;
	struct hpx_landing landing;
	uint64_t attend;

	pthread_mutex_lock(&lock);
	delist(r);
	if (n)
		hpx_and_relaxed(&n->flags, ~(uint32_t)HPX_NODE_REFRESHING); /* order: NODE.FLAGS relaxed; under the lock */
	pthread_mutex_unlock(&lock);
	if (n) {
		hpx_node_schedule(c, n);
		attend = hpx_load_relaxed(&n->attend); /* order: NODE.TIME relaxed; each is a time on its own */
		if (attend < not_before && not_before < hpx_load_relaxed(&n->deadline))
			hpx_store_relaxed(&n->attend, not_before);
	}
	/* order: FLIGHT.COMMIT -> release, in the landing */
	hpx_flight_land(&c->flights, r, &r->word, &landing);
	hpx_flight_complete(&c->flights, &landing, status, object, NULL);
	if (c->tier)
		hpx_node_unpin(n);
	hpx_cache_release(c, r->over.object);
	put(r);
}

/* ---- running one ------------------------------------------------------------------------------------------------- */

struct run {
	struct hpx_reload *reload; /* NULL: it has ended */
	hapax_load_fn load;
	hapax_make_fn make;
	void *arg;
	struct hpx_frame frame;
	struct hpx_object *object; /* ours */
	uint64_t begun;
	uint32_t spent_us;
	bool running;              /* the loader is on the stack */
	bool loaded;               /* it has made the object */
};

static void drop_object(hapax_cache *c, struct run *run)
{
	struct hpx_object *o = run->object;

	run->object = NULL;
	if (!o)
		return;
	if (!run->loaded)
		hpx_or_relaxed(&o->count, HPX_NODTOR); /* order: OBJECT.FLAGS relaxed; the release below is the edge */
	hpx_cache_release(c, o);
}

static void count_time(hapax_cache *c, struct run *run)
{
	uint64_t now = hpx_env_now_coarse(c->env), spent = now > run->begun ? now - run->begun : 0;

	run->spent_us = spent / 1000 < UINT32_MAX ? (uint32_t)(spent / 1000) : UINT32_MAX;
	hpx_cache_count(c, HPX_CACHE_NS, spent);
}

static void count_failure(hapax_cache *c)
{
	hpx_cache_count(c, HPX_CACHE_FAILURES, 1);
	hpx_cache_count(c, HPX_CACHE_REFRESH_FAILURES, 1);
}

/* Cleanup handler: the thread goes away inside the loader, or later in user code. */
static void run_end(struct run *run)
{
	struct hpx_reload *r = run->reload;
	hapax_cache *c;

	if (!r)
		return;
	c = r->cache;
	if (run->running) {
		hpx_self.frames = run->frame.up;
		count_time(c, run);
		count_failure(c);
		hpx_cache_count(c, HPX_CACHE_ABANDONED, 1);
	}
	run->reload = NULL;
	drop_object(c, run);
	finish(r, HAPAX_EABANDONED, NULL, 0);
}

/* The loader: its result, and the object that it made. */
static int call_loader(struct run *run, hapax_load_error *error)
{
	struct hpx_reload *r = run->reload;
	hapax_cache *c = r->cache;
	void *made = NULL;
	int result;

	hpx_cache_count(c, HPX_CACHE_LOADS, 1);
	hpx_cache_count(c, HPX_CACHE_REFRESHES, 1);
	run->begun = hpx_env_now_coarse(c->env);
	run->frame = (struct hpx_frame){.up = hpx_self.frames, .cache = c, .entry = r};
	hpx_self.frames = &run->frame;
	run->running = true;
	result = run->make ? run->make(&made, &r->key, run->arg, error)
			   : run->load(hpx_payload(run->object), &r->key, run->arg, error);
	run->running = false;
	hpx_self.frames = run->frame.up;
	count_time(c, run);
	error->shared = NULL;
	run->loaded = result == HAPAX_LOAD_OK;
	if (run->make && run->loaded && made)
		run->object = hpx_object_of(made);
	return result;
}

/* In a section: the entry, if it is still present: then it is claimed. */
static bool claim_entry(struct hpx_reload *r, void **entry)
{
	hapax_cache *c = r->cache;
	struct hpx_object *o;
	void *e = r->over.entry;
	bool mine;

	if (c->tier) {
		*entry = e;
		/* order: NODE.FLAGS relaxed; a put of the same object at this instant may come before */
		if (hpx_load_relaxed(&hpx_node_of(c, e)->flags) & HPX_NODE_BY_PUT)
			return false;
		return hpx_cache_claimed(c, e, hpx_cache_claim(c, e));
	}
	o = hpx_table_lookup(c->table, r->hash, &r->key, &e);
	*entry = e;
	mine = o == r->over.object && hpx_cache_claimed(c, e, hpx_cache_claim(c, e));
	if (o)
		hpx_sub_release(&o->count, 0); /* given up outside */
	return mine;
}
