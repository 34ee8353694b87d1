/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/get.c - getting what is present. What is not is for miss.c.
 *
 * The hit is find_in() and what is inlined into it: hash, section, table, count. Whatever is not a plain hit is out of line.
 */
#include "cache/load.h"
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
		if (hpx_sampled(c, hpx_count(&c->counters, HPX_CACHE_HITS, 1)))
			hpx_sample_add(c, key, *hash);
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
	return HPX_LIKELY(rc == 0) ? 0 : rc > 0 ? hpx_cache_get_slow(cache, &key, hash, NULL, out) : rc;
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
	return hpx_cache_get_slow(cache, &key, hpx_hash8(key8, cache->table->seed8), NULL, out);
}

/* In the section of a hit, the first of its thread here; or the thread has no place among the counters. */
__attribute__((noinline, cold)) static int get_first(hapax_cache *c, struct hpx_object *o, uint64_t key8, void **out,
						     struct hpx_quick section)
{
	if (hpx_sampled(c, hpx_count(&c->counters, HPX_CACHE_HITS, 1)))
		hpx_sample_add8(c, key8);
	hpx_quick_unlock(&section);
	first_hit(c);
	*out = hpx_payload(o);
	return 0;
}

/* In the section of a hit, which is counted. */
__attribute__((noinline, cold)) static int get_sampled(hapax_cache *c, struct hpx_object *o, uint64_t key8, void **out,
						       struct hpx_quick section)
{
	hpx_sample_add8(c, key8);
	hpx_quick_unlock(&section);
	*out = hpx_payload(o);
	return 0;
}

/* In the section of a hit that met another thread at the object's count, or has no cells. */
__attribute__((noinline, cold)) static int get_met(hapax_cache *c, void *e, struct hpx_object *o, unsigned saw, uint64_t key8,
						   void **out, struct hpx_quick section)
{
	bool first = c->stats && !hpx_counters_ready(&c->counters);

	saw = met(c, e, o, saw);
	if (c->stats && hpx_sampled(c, hpx_count(&c->counters, HPX_CACHE_HITS, 1)))
		hpx_sample_add8(c, key8);
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
		return get_met(cache, e, o, saw, key8, out, section);
	if (HPX_LIKELY(cache->stats)) {
		/* order: COUNTERS.STRIPE relaxed; as in hpx_count() */
		hpx_u64 *stripe = hpx_load_relaxed(&cache->counters.stripe[hpx_self.stripe]);

		if (HPX_UNLIKELY(!stripe))
			return get_first(cache, o, key8, out, section);
		if (hpx_sampled(cache, hpx_count_in(stripe, HPX_CACHE_HITS, 1)))
			return get_sampled(cache, o, key8, out, section);
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
	if (HPX_LIKELY(cache->stats) && hpx_sampled(cache, hpx_count(&cache->counters, HPX_CACHE_HITS, 1)))
		hpx_sample_add8(cache, key8);
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
		rc = hpx_cache_get_slow(cache, &key, hash, options, out);
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
		hpx_cache_asked(c, rc == 0 || rc == HAPAX_NEGATIVE ? HPX_CACHE_HITS : HPX_CACHE_MISSES, key, hash);
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
		if (hpx_sampled(cache, hpx_count(&cache->counters, HPX_CACHE_MISSES, 1)))
			hpx_sample_add(cache, &key, hash);
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
