/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/get.c - getting what is present, and the way to everything else.
 *
 * The hit is find_in() and what is inlined into it: hash, section, table, count. Whatever is not a plain hit
 * is out of line below.
 */
#include <errno.h>

#include "cache/load.h"
#include "cache/request.h"
#include "cache/tier.h"
#include "object/hot.h"
#include "table/lookup.h"

/* Entries beyond their home's first line, and those whose object has just died: the lookup that decides. */
__attribute__((noinline)) static struct hpx_object *find_far(hapax_cache *c, const hapax_key *key, uint64_t hash, void **e)
{
	return hpx_table_lookup(c->table, hash, key, e);
}

/* Hits have been recorded for the policy: now is a time to let it know. */
__attribute__((noinline, cold)) static void tell_policy(hapax_cache *c)
{
	HPX_CACHE_STAY stay;

	if (!hpx_cache_stay(&stay, c, HPX_CACHE_OPEN))
		hpx_tier_recorded(c);
}

/* An entry was there, and its object has died. */
__attribute__((noinline, cold)) static struct hpx_object *find_dead(hapax_cache *c, const hapax_key *key, uint64_t hash, void **e)
{
	hpx_cache_count(c, HPX_CACHE_FAILED_UPGRADES, 1);
	return find_far(c, key, hash, e);
}

/* This thread's first hit here: makes its place for the hits to come, which a section does not allow. */
__attribute__((noinline, cold)) static void first_hit(hapax_cache *c)
{
	HPX_CACHE_STAY stay;

	if (!hpx_cache_stay(&stay, c, HPX_CACHE_OPEN))
		hpx_counters_prepare(&c->counters);
}

/* A managed cache's entry that was looked at, not used: to be hidden from the caller. */
__attribute__((noinline)) static bool hidden(hapax_cache *c, void *e, struct hpx_object *o)
{
	return hpx_node_hidden(c, hpx_node_of(c, e), o);
}

/* In a section: is the entry one whose object may be promoted? Asked before and after it is. */
static bool stays(void *cache, void *e)
{
	hapax_cache *c = cache;
	uint32_t flags;

	/* order: HOT.DEMOTE relaxed; whoever lets go of it has said so before its release, which comes before our promotion in the
	 * count's order, and is seen; or after it, and sees it */
	if (!c->tier)
		return !(hpx_load_relaxed(hpx_word(e)) & HPX_W_GONE);
	flags = hpx_load_relaxed(&hpx_node_of(c, e)->flags);
	return !(flags & (HPX_NODE_LEFT | HPX_NODE_NEGATIVE)) && (c->lingers || flags & HPX_NODE_RETAINED);
}

/* In a section: this thread met another one at the object's count, or has no cells for one that is promoted. */
__attribute__((noinline, cold)) static unsigned met(hapax_cache *c, void *e, struct hpx_object *o, unsigned saw)
{
	return c->promotes ? hpx_hot_met(o, saw, stays, c, e) : 0;
}

/*
 * Present, and its hit a plain one: 0 and the object. Otherwise HAPAX_MISS, with the hash, or an error. HPX_TIER_ATTEND: a
 * managed cache has to look closer.
 */
static inline __attribute__((always_inline)) int find_in(hapax_cache *c, const hapax_key *key, uint64_t *hash, bool counted,
							 bool managed, bool roomed, bool promotes, void **out)
{
	unsigned saw = 0;
	struct hpx_object *o = NULL, *undone = NULL;
	bool far = false, first = false, record = false;
	void *e, *other;
	int rc;

	hpx_read_lock();
	if (HPX_UNLIKELY(hpx_cache_state(c) != HPX_CACHE_OPEN)) {
		hpx_read_unlock();
		return HAPAX_ECLOSED;
	}
	rc = hpx_table_hash_fast(c->table, key, hash);
	if (HPX_UNLIKELY(rc)) {
		hpx_read_unlock();
		return rc;
	}
	e = hpx_table_find(c->table, *hash, key, &far);
	if (HPX_LIKELY(e != NULL)) {
		HPX_STOP("get.found");
		/* order: -> TABLE.PUBLISH acquire; the word that was found is present, its RECORD bit never changes */
		o = hpx_entry_object(e, hpx_load_acquire(hpx_word(e)));
		if (HPX_BROKEN(USE_AFTER_UNLOCK))
			hpx_read_unlock(), hpx_read_lock();
		if (HPX_UNLIKELY(!o || !(promotes ? hpx_take_hot(o, &saw) : hpx_take(o))))
			o = find_dead(c, key, *hash, &other), e = other;
	} else if (far) {
		o = find_far(c, key, *hash, &other), e = other;
	}
	if (managed && o && !(counted ? hpx_tier_hit(c, e, key->size, &record) : !hidden(c, e, o)))
		undone = o, o = NULL;
	if (roomed && o)
		/* order: ROOM.COUNT release; as in hpx_room_count() */
		hpx_add_release(&((struct hpx_room_head *)hpx_roomed_of(hpx_node_at(c, e, key->size))->room)->hits, 1);
	if (promotes && HPX_UNLIKELY(saw) && o)
		saw = met(c, e, o, saw);
	if (HPX_LIKELY(o != NULL) && counted && c->stats) {
		first = !hpx_counters_ready(&c->counters);
		hpx_count(&c->counters, HPX_CACHE_HITS, 1);
	}
	hpx_read_unlock();
	if (HPX_UNLIKELY(!o)) {
		if (undone)
			hpx_cache_release(c, undone);
		if (managed && record) /* the lock was had, and something left to do, though this was no plain hit */
			tell_policy(c);
		return managed ? HPX_TIER_ATTEND : HAPAX_MISS;
	}
	if (promotes && HPX_UNLIKELY(saw))
		hpx_hot_attend(c->env);
	if (HPX_UNLIKELY(first))
		first_hit(c);
	if (HPX_UNLIKELY(record))
		tell_policy(c);
	*out = hpx_payload(o);
	return 0;
}

/* Apart, so that a cache that nothing is asked of has its hits short. */
__attribute__((noinline)) static int find_managed(hapax_cache *c, const hapax_key *key, uint64_t *hash, bool counted, void **out)
{
	return find_in(c, key, hash, counted, true, false, true, out);
}

/* The same for one whose objects may linger. */
__attribute__((noinline)) static int find_lingering(hapax_cache *c, const hapax_key *key, uint64_t *hash, bool counted, void **out)
{
	return find_in(c, key, hash, counted, false, false, true, out);
}

static inline __attribute__((always_inline)) int find(hapax_cache *c, const hapax_key *key, uint64_t *hash, bool counted, void **out)
{
	if (HPX_UNLIKELY(c->tier != NULL))
		return find_managed(c, key, hash, counted, out);
	if (HPX_UNLIKELY(c->promotes))
		return find_lingering(c, key, hash, counted, out);
	return find_in(c, key, hash, counted, false, false, false, out);
}

int hpx_cache_hit(hapax_cache *c, const hapax_key *key, uint64_t *hash, void **out)
{
	return find_in(c, key, hash, true, true, false, true, out);
}

int hpx_cache_hit_in_room(hapax_cache *c, const hapax_key *key, uint64_t *hash, void **out)
{
	return find_in(c, key, hash, true, true, true, true, out);
}

static int get_slow(hapax_cache *c, const hapax_key *key, uint64_t hash, const hapax_get_options *options, void **out);

/* Whatever is not the plain hit below. */
__attribute__((noinline)) static int get_any(hapax_cache *cache, hapax_key key, void **out)
{
	uint64_t hash;
	int rc;

	if (HPX_UNLIKELY(!out))
		return HAPAX_ENULL;
	*out = NULL;
	if (HPX_UNLIKELY(!cache))
		return HAPAX_ENULL;
	rc = find(cache, &key, &hash, true, out);
	return HPX_LIKELY(rc == 0) ? 0 : rc > 0 ? get_slow(cache, &key, hash, NULL, out) : rc;
}

/* No plain hit; the key's bytes, which need not be where the caller has them. */
__attribute__((noinline)) static int get_again(hapax_cache *cache, uint64_t key8, void **out)
{
	return get_any(cache, (hapax_key){.data = &key8, .size = 8}, out);
}

/* No tag in the key's line is its own; `ctl`: the line's word. */
__attribute__((noinline)) static int get_absent(hapax_cache *cache, uint64_t key8, uint64_t ctl, void **out)
{
	const hapax_key key = {.data = &key8, .size = 8};

	if (HPX_UNLIKELY(hpx_ctl_far(ctl)))
		return get_any(cache, key, out);
	*out = NULL;
	return get_slow(cache, &key, hpx_hash8(key8, cache->table->seed8), NULL, out);
}

/* In the section of a hit, the first of its thread here. */
__attribute__((noinline, cold)) static int get_first(hapax_cache *c, struct hpx_object *o, void **out, struct hpx_quick section)
{
	hpx_count(&c->counters, HPX_CACHE_HITS, 1);
	hpx_quick_unlock(&section);
	first_hit(c);
	*out = hpx_payload(o);
	return 0;
}

/* In the section of a hit that met another thread at the object's count, or has no cells. */
__attribute__((noinline, cold)) static int get_met(hapax_cache *c, void *e, struct hpx_object *o, unsigned saw, void **out,
						   struct hpx_quick section)
{
	bool first = c->stats && !hpx_counters_ready(&c->counters);

	saw = met(c, e, o, saw);
	if (c->stats)
		hpx_count(&c->counters, HPX_CACHE_HITS, 1);
	hpx_quick_unlock(&section);
	*out = hpx_payload(o);
	if (saw)
		hpx_hot_attend(c->env);
	if (first)
		first_hit(c);
	return 0;
}

/*
 * A plain hit, by a key of eight bytes whose bytes are all there is to it, in a cache that has nothing to ask of its entries.
 * What is anything else is for others, from the beginning; they are called last, so that nothing need be kept for them.
 */
static inline __attribute__((always_inline)) int get_plain(hapax_cache *cache, hapax_key key, bool promotes, void **out)
{
	struct hpx_quick section;
	struct hpx_object *o;
	uint64_t key8, word, ctl;
	unsigned saw = 0;
	void *e;

	/* in an order in which the compiler does not make one condition of several */
	if (HPX_UNLIKELY(key.size != 8) || HPX_UNLIKELY(!cache->table->simple) || HPX_UNLIKELY(!out) ||
	    HPX_UNLIKELY(!hpx_quick_lock(&section)))
		return get_any(cache, key, out);
	if (HPX_UNLIKELY(hpx_cache_state(cache) != HPX_CACHE_OPEN) || HPX_UNLIKELY(!key.data)) {
		hpx_quick_unlock(&section);
		return get_any(cache, key, out);
	}
	key8 = hpx_load8(key.data);
	e = hpx_table_find8(cache->table, hpx_hash8(key8, cache->table->seed8), key8, &word, &ctl);
	if (HPX_UNLIKELY(!e)) {
		hpx_quick_unlock(&section);
		return word ? get_again(cache, key8, out) : get_absent(cache, key8, ctl, out);
	}
	HPX_STOP("get.found");
	o = hpx_entry_object(e, word);
	if (HPX_BROKEN(USE_AFTER_UNLOCK))
		hpx_quick_unlock(&section), hpx_quick_lock(&section);
	if (HPX_UNLIKELY(!o) || HPX_UNLIKELY(!(promotes ? hpx_take_hot(o, &saw) : hpx_take(o)))) {
		hpx_quick_unlock(&section);
		return get_again(cache, key8, out);
	}
	if (promotes && HPX_UNLIKELY(saw))
		return get_met(cache, e, o, saw, out, section);
	if (HPX_LIKELY(cache->stats)) {
		/* order: COUNTERS.STRIPE relaxed; as in hpx_count() */
		hpx_u64 *stripe = hpx_load_relaxed(&cache->counters.stripe[hpx_self.stripe]);

		if (HPX_UNLIKELY(!stripe))
			return get_first(cache, o, out, section);
		/* order: COUNTERS.SUM -> release; as in hpx_count() */
		hpx_store_release(&stripe[HPX_CACHE_HITS], hpx_load_relaxed(&stripe[HPX_CACHE_HITS]) + 1);
	}
	hpx_quick_unlock(&section);
	*out = hpx_payload(o);
	return 0;
}

/* The same where objects may linger. */
__attribute__((noinline)) static int get_lingering(hapax_cache *cache, hapax_key key, void **out)
{
	return get_plain(cache, key, true, out);
}

/* The same in a cache that asks: its tier is told of the hit, its objects may be promoted. */
__attribute__((noinline)) static int get_asked(hapax_cache *cache, hapax_key key, void **out)
{
	bool record = false, first;
	struct hpx_quick section;
	struct hpx_object *o;
	uint64_t key8, word, ctl;
	unsigned saw = 0;
	void *e;

	if (HPX_UNLIKELY(!cache) || HPX_UNLIKELY(!cache->asks) || HPX_UNLIKELY(key.size != 8) ||
	    HPX_UNLIKELY(!cache->table->simple) || HPX_UNLIKELY(!out) || HPX_UNLIKELY(!hpx_quick_lock(&section)))
		return get_any(cache, key, out);
	if (HPX_UNLIKELY(hpx_cache_state(cache) != HPX_CACHE_OPEN) || HPX_UNLIKELY(!key.data)) {
		hpx_quick_unlock(&section);
		return get_any(cache, key, out);
	}
	key8 = hpx_load8(key.data);
	e = hpx_table_find8(cache->table, hpx_hash8(key8, cache->table->seed8), key8, &word, &ctl);
	if (HPX_UNLIKELY(!e)) {
		hpx_quick_unlock(&section);
		return word ? get_again(cache, key8, out) : get_absent(cache, key8, ctl, out);
	}
	HPX_STOP("get.found");
	o = hpx_entry_object(e, word);
	if (HPX_UNLIKELY(!o) || (cache->tier && !hpx_tier_hit(cache, e, 8, &record)) || HPX_UNLIKELY(!hpx_take_hot(o, &saw))) {
		hpx_quick_unlock(&section);
		return get_again(cache, key8, out);
	}
	if (HPX_UNLIKELY(saw))
		saw = met(cache, e, o, saw);
	first = cache->stats && !hpx_counters_ready(&cache->counters);
	if (HPX_LIKELY(cache->stats))
		hpx_count(&cache->counters, HPX_CACHE_HITS, 1);
	hpx_quick_unlock(&section);
	*out = hpx_payload(o);
	if (HPX_UNLIKELY(saw))
		hpx_hot_attend(cache->env);
	if (HPX_UNLIKELY(first))
		first_hit(cache);
	if (HPX_UNLIKELY(record))
		tell_policy(cache);
	return 0;
}

int hapax_cache_get(hapax_cache *cache, hapax_key key, void **out)
{
	if (HPX_UNLIKELY(!cache) || HPX_UNLIKELY(!cache->plain))
		return HPX_TAKEN_OUT(cache && !cache->tier ? get_lingering(cache, key, out) : get_asked(cache, key, out), out);
	return HPX_TAKEN_OUT(get_plain(cache, key, false, out), out);
}

/* ---- the slow path ----------------------------------------------------------------------------------------------- */

void hpx_call_end(struct hpx_call *call)
{
	if (call->refused)
		hpx_cache_release(call->cache, call->refused);
	if (call->outcome.object)
		hpx_cache_release(call->cache, call->outcome.object);
	hapax_load_error_drop(&call->outcome.error);
	hpx_error_box_free(call->box);
	if (HPX_UNLIKELY(call->request != NULL))
		hpx_request_free(call->request);
	hpx_cache_stay_end(&call->stay);
}

void hpx_call_waited(struct hpx_call *call)
{
	if (!call->waited)
		hpx_cache_count(call->cache, HPX_CACHE_WAITS, 1);
	call->waited = true;
}

static void joined(void *ctx)
{
	hpx_call_waited(ctx);
}

void hpx_call_missed(struct hpx_call *call)
{
	if (!call->missed)
		hpx_cache_count(call->cache, HPX_CACHE_MISSES, 1);
	call->missed = true;
}

int hpx_call_outcome(struct hpx_call *call, struct hpx_object **out)
{
	int rc = call->outcome.status;

	if (rc == HAPAX_EABANDONED && hpx_call_can_load(call))
		return HPX_FLIGHT_AGAIN;
	if (rc == HPX_FLIGHT_DROPPED)
		return HAPAX_EABANDONED;
	if (rc == 0) {
		*out = call->outcome.object;
		call->outcome.object = NULL;
		if (HPX_BROKEN(WAITER_EARLY))
			hpx_take_more(*out, 1);
	}
	return rc;
}

/* In a section, which it leaves: `e` is LOADING. HPX_FLIGHT_AGAIN: look again. */
static int join(struct hpx_call *call, void *e, struct hpx_object **out)
{
	struct hpx_join how = {
		.deadline = call->deadline,
		.box = call->wants_error ? &call->box : NULL,
		.joined = joined,
		.ctx = call,
	};

	if (call->sink)
		return hpx_request_join(call, e);
	/* order: -> ASYNC.LIST acquire; a hint: is anything queued? */
	if (call->deadline == HAPAX_FOREVER && call->looked != e && hpx_load_acquire(&call->cache->async.loads.next)) {
		struct hapax_load *t;

		call->looked = e;
		hpx_read_unlock();
		t = hpx_token_steal(call, e);
		if (!t)
			return HPX_FLIGHT_AGAIN;
		hpx_call_missed(call);
		hpx_call_waited(call);
		return hpx_token_run(t, call, out);
	}
	if (call->wants_error && !call->box) {
		hpx_read_unlock();
		call->box = hpx_error_box_new(call->cache->env);
		return call->box ? HPX_FLIGHT_AGAIN : HAPAX_ENOMEM;
	}
	hpx_flight_join(&call->cache->flights, e, hpx_word(e), &how, &call->outcome);
	hpx_call_missed(call);
	return hpx_call_outcome(call, out);
}

/* In a section, which it leaves: nothing live under the key, but `e` is in the way. */
static int wait_for(struct hpx_call *call, void *e, uint32_t seen, struct hpx_object **out)
{
	/* order: -> TABLE.PUBLISH acquire */
	uint64_t word = hpx_load_acquire(hpx_word(e));

	if ((word & (HPX_W_LOADING | HPX_W_GONE)) == HPX_W_LOADING)
		return join(call, e, out);
	if (call->cache->exclusive && call->sink) {
		hpx_read_unlock();
		hpx_call_missed(call);
		return HAPAX_EBUSY;
	}
	if (call->cache->exclusive) {
		hpx_call_missed(call);
		return hpx_exclusive_wait(call->cache, e, seen, call->deadline, call->held);
	}
	hpx_read_unlock();
	return HPX_FLIGHT_AGAIN;
}

/* Asks the caller about a present object; the call holds it meanwhile, and keeps it when it is refused. */
static bool refused(struct hpx_call *call, struct hpx_object *o)
{
	bool refuse;

	if (!call->refuse)
		return false;
	call->refused = o;
	{
		HPX_CACHE_FRAME(call->cache, NULL);
		refuse = call->refuse(hpx_payload(o), call->refuse_arg);
	}
	if (!refuse)
		call->refused = NULL;
	return refuse;
}

/* A present entry was no answer, or is no value. */
static void count_attended(struct hpx_call *call, int rc)
{
	if (rc == HPX_FLIGHT_AGAIN || call->missed)
		return;
	hpx_cache_count(call->cache, HPX_CACHE_HITS, 1);
	if (rc == HAPAX_NEGATIVE)
		hpx_cache_count(call->cache, HPX_CACHE_NEGATIVE_HITS, 1);
}

int hpx_cache_resolve(struct hpx_call *call, struct hpx_object **out)
{
	hapax_cache *c = call->cache;
	bool computing = hpx_compute_inside(&c->computes, &c->keys, call->hash, call->key);
	int rc;

	do {
		uint32_t seen = c->exclusive ? hpx_event_value(&c->event) : 0;
		void *e = NULL;

		if (hpx_cache_state(c) != HPX_CACHE_OPEN)
			return HAPAX_ECLOSED;
		hpx_read_lock();
		*out = hpx_table_lookup(c->table, call->hash, call->key, &e);
		if (!*out && computing) {
			hpx_read_unlock();
			return HAPAX_EDEADLK;
		}
		if (!*out && e) {
			rc = wait_for(call, e, seen, out);
			continue;
		}
		if (*out && c->tier) {
			rc = hpx_tier_attend(c, e, out, !call->missed, call);
			if (rc) {
				*out = NULL;
				count_attended(call, rc);
				continue;
			}
		} else {
			hpx_read_unlock();
		}
		if (!*out) {
			hpx_call_missed(call);
			rc = hpx_cache_load(call, out);
		} else if (refused(call, *out)) {
			hpx_call_missed(call);
			*out = NULL;
			/* whoever refuses may have closed the cache */
			rc = hpx_cache_state(c) != HPX_CACHE_OPEN ? HAPAX_ECLOSED
			     : computing ? HAPAX_EDEADLK : hpx_cache_load(call, out);
			if (call->refused)
				hpx_cache_release(c, call->refused);
			call->refused = NULL;
		} else {
			if (!call->missed)
				hpx_cache_count(c, HPX_CACHE_HITS, 1);
			rc = 0;
		}
	} while (rc == HPX_FLIGHT_AGAIN);
	return rc;
}

/* `missed`: it has been counted. */
__attribute__((noinline)) static int get_call(hapax_cache *c, const hapax_key *key, uint64_t hash,
					      const hapax_get_options *options, bool missed, void **out)
{
	__attribute__((cleanup(hpx_call_end))) struct hpx_call call = {
		.cache = c,
		.key = key,
		.hash = hash,
		.deadline = HAPAX_FOREVER,
		.held = HAPAX_NO_WAIT,
		.load = c->load,
		.make = c->make,
		.start = c->start,
		.arg = c->arg,
		.missed = missed,
	};
	struct hpx_object *o = NULL;
	int rc = hpx_cache_stay(&call.stay, c, HPX_CACHE_OPEN);

	if (rc)
		return rc;
	if (options) {
		call.deadline = call.held = options->deadline;
		call.refuse = options->refuse;
		call.refuse_arg = options->refuse_arg;
		call.wants_error = options->error != NULL;
		if (options->load || options->make) {
			call.load = options->load;
			call.make = options->make;
			call.start = NULL;
			call.arg = options->arg;
		}
	}
	rc = hpx_cache_resolve(&call, &o);
	if (rc == 0) {
		*out = hpx_payload(o);
	} else if (rc == HAPAX_ELOADER && options && options->error) {
		*options->error = call.outcome.error;
		call.outcome.error = (hapax_load_error){.code = 0};
	}
	return rc;
}

__attribute__((noinline)) static int get_slow(hapax_cache *c, const hapax_key *key, uint64_t hash,
					      const hapax_get_options *options, void **out)
{
	int rc = HPX_LIKELY(c->straight && !options) ? hpx_load_straight(c, key, hash, out) : HPX_STRAIGHT_NOT;

	if (HPX_LIKELY(rc != HPX_STRAIGHT_NOT && rc != HPX_FLIGHT_AGAIN))
		return rc;
	return get_call(c, key, hash, options, rc == HPX_FLIGHT_AGAIN, out);
}

int hapax_cache_get_with(hapax_cache *cache, hapax_key key, const hapax_get_options *options, void **out)
{
	uint64_t hash;
	int rc;
	HPX_TAKES_FOR_CALLER;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!cache)
		return HAPAX_ENULL;
	if (!options)
		return hapax_cache_get(cache, key, out);
	if (options->size != sizeof(*options))
		return HAPAX_EOPTSIZE;
	if (options->flags)
		return HAPAX_EFLAGS;
	if (options->load && options->make)
		return HAPAX_EOPTION;
	if (options->error)
		*options->error = (hapax_load_error){.code = 0};
	if (!options->refuse)
		rc = find(cache, &key, &hash, true, out);
	else
		rc = hpx_table_hash(cache->table, &key, &hash);
	if (rc > 0 || (rc == 0 && !*out))
		rc = get_slow(cache, &key, hash, options, out);
	return HPX_TAKEN_OUT(rc, out);
}

/* ---- looking without loading ------------------------------------------------------------------------------------- */

/* The same in a managed cache, where it is not a plain hit. */
static int look_closer(hapax_cache *c, const hapax_key *key, uint64_t hash, bool counted, void **out)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	struct hpx_object *o;
	void *e;
	int rc = hpx_cache_stay(&stay, c, HPX_CACHE_OPEN);

	if (rc)
		return rc;
	do {
		e = NULL;
		hpx_read_lock();
		o = hpx_table_lookup(c->table, hash, key, &e);
		if (o && counted) {
			rc = hpx_tier_attend(c, e, &o, true, NULL);
		} else {
			rc = !o || hidden(c, e, o) ? HAPAX_MISS : 0;
			hpx_read_unlock();
			if (o && rc)
				hpx_cache_release(c, o);
		}
	} while (rc == HPX_FLIGHT_AGAIN);
	if (rc == HAPAX_MISS && counted)
		hpx_tier_tick(c);
	if (counted) {
		hpx_cache_count(c, rc == 0 || rc == HAPAX_NEGATIVE ? HPX_CACHE_HITS : HPX_CACHE_MISSES, 1);
		hpx_cache_count(c, HPX_CACHE_NEGATIVE_HITS, rc == HAPAX_NEGATIVE);
	}
	if (rc == 0)
		*out = hpx_payload(o);
	return rc;
}

static int look(hapax_cache *cache, hapax_key key, bool counted, void **out)
{
	uint64_t hash;
	int rc;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!cache)
		return HAPAX_ENULL;
	rc = find(cache, &key, &hash, counted, out);
	if (rc == HPX_TIER_ATTEND)
		return look_closer(cache, &key, hash, counted, out);
	if (rc == HAPAX_MISS && counted && cache->stats) {
		hpx_read_lock(); /* the counters may be going with a cache that is being destroyed */
		hpx_count(&cache->counters, HPX_CACHE_MISSES, 1);
		hpx_read_unlock();
	}
	return rc;
}

int hapax_cache_get_if_present(hapax_cache *cache, hapax_key key, void **out)
{
	return HPX_TAKEN_OUT(look(cache, key, true, out), out);
}

int hapax_cache_get_quietly(hapax_cache *cache, hapax_key key, void **out)
{
	return HPX_TAKEN_OUT(look(cache, key, false, out), out);
}

int hapax_cache_contains(hapax_cache *cache, hapax_key key)
{
	struct hpx_object *o = NULL;
	bool far = false, present = false;
	uint64_t hash;
	void *e = NULL;
	int rc;

	if (!cache)
		return HAPAX_ENULL;
	hpx_read_lock();
	rc = hpx_table_hash(cache->table, &key, &hash);
	if (!rc) {
		e = cache->tier ? NULL : hpx_table_find(cache->table, hash, &key, &far);
		if (e) {
			/* order: -> TABLE.PUBLISH acquire */
			o = hpx_entry_object(e, hpx_load_acquire(hpx_word(e)));
			present = o && !hpx_dead(o);
		}
		o = present ? NULL : hpx_table_lookup(cache->table, hash, &key, &e);
		present = present || (o && !(cache->tier && hidden(cache, e, o)));
	}
	hpx_read_unlock();
	if (o)
		hpx_cache_release(cache, o);
	return rc ? rc : present;
}
