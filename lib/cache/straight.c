/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/straight.c - the load of a cache that nothing more is asked of: in place, by its own loader, without retention,
 * validity, notification or exclusive instances.
 *
 * It is the load of load.c in one function, for the case that all goes straight: nothing under the key and room in its
 * line, a loader that returns an object, nobody who fences or joins the load meanwhile. A step that does not go straight is
 * taken by the function that decides it elsewhere, with what has been done so far: the search and the put by
 * hpx_cache_resolve() and hpx_table_put(), a loader that failed or left its thread, a close, a fence and waiters by load.c.
 */
#include <errno.h>

#include "base/probe.h"
#include "cache/load.h"
#include "table/quick.h"

struct straight {
	hapax_cache *cache;        /* in it as a call; NULL: not */
	struct hpx_object *object; /* its load is open, its loader on the stack; else NULL */
	uint64_t begun; /* a time to come: it is not timed; as in struct hpx_loading */
	struct hpx_frame frame;
	hapax_load_error error;
	hpx_u64 *stripe; /* this thread's of the cache's counters */
	int saved_errno;
};

/* The loader has left its thread, or something else was not straightforward. */
__attribute__((noinline, cold)) static void leave_late(struct straight *p)
{
	if (p->object) {
		struct hpx_load l = {.cache = p->cache, .frame = p->frame, .entry = p->object, .object = p->object,
				     .begun = p->begun, .running = true, .open = true};

		hpx_load_left(&l);
		hapax_load_error_drop(&p->error);
	}
	hpx_cache_leave(p->cache);
	errno = p->saved_errno;
}

static inline void leave(struct straight *p)
{
	if (HPX_UNLIKELY(p->cache != NULL))
		leave_late(p);
}

/* The loader has returned, and nothing else is straightforward: load.c goes on from here. */
__attribute__((noinline, cold)) static int conclude(struct straight *p, const hapax_key *key, uint64_t hash, int result,
						    uint64_t spent, struct hpx_object **out)
{
	hapax_cache *c = p->cache;
	__attribute__((cleanup(hpx_call_end))) struct hpx_call call = {.cache = c, .key = key, .hash = hash,
		.deadline = HAPAX_FOREVER, .held = HAPAX_NO_WAIT, .load = c->load, .arg = c->arg, .missed = true};
	__attribute__((cleanup(hpx_load_left))) struct hpx_load l = {.call = &call, .cache = c, .entry = p->object,
		.object = p->object, .begun = p->begun, 
		.spent_us = spent / 1000 < UINT32_MAX ? (uint32_t)(spent / 1000) : UINT32_MAX, .open = true};
	int rc;

	p->object = NULL;
	call.outcome.error = p->error;
	rc = hpx_load_settle(&l, result, &call.outcome.error);
	hpx_cache_drop_error(c, &call.outcome.error);
	if (!rc)
		*out = l.object;
	return rc;
}

/* Not published after all. `found` if it was something live that came first. */
__attribute__((noinline, cold)) static int unpublish(hapax_cache *c, struct hpx_object *o, struct hpx_object *found,
						     enum hpx_put_result result)
{
	/* order: ENTRY.GONE relaxed; nobody else changes the word of an entry that was never put */
	hpx_or_relaxed(hpx_word(o), HPX_W_GONE);
	hpx_load_undo(c, o);
	if (found)
		hpx_cache_release(c, found);
	return result == HPX_PUT_NOMEM ? HAPAX_ENOMEM : HPX_FLIGHT_AGAIN;
}

/* Nothing but the straight way: in a section, with the object's memory at hand. NULL: nothing has happened. */
static struct hpx_object *create_quick(hapax_cache *c, const hapax_key *key, uint64_t hash)
{
	struct hpx_object *o = hpx_object_new_quick(c->class, hpx_keyed_quick(c->table, key));

	if (HPX_LIKELY(o != NULL))
		hpx_set_key_quick(c->table, o, key, hash, HPX_W_LOADING);
	return o;
}

/* Outside sections: memory may be asked for, and room waited for. */
__attribute__((noinline, cold)) static int create(hapax_cache *c, const hapax_key *key, uint64_t hash, struct hpx_object **out)
{
	int rc = hpx_object_new(c->class, hpx_table_keyed(c->table, key), c->type->size, HAPAX_FOREVER, out);

	if (!rc)
		hpx_table_set_key(c->table, *out, key, hash, HPX_W_LOADING);
	return rc;
}

/* In a section, which it leaves. 0: published, LOADING. */
static inline int publish(hapax_cache *c, const hapax_key *key, uint64_t hash, struct hpx_vacancy *v, struct hpx_quick *section,
			  struct hpx_object **out)
{
	enum hpx_put_result result = HPX_PUT_DONE;
	struct hpx_object *found = NULL, *o = create_quick(c, key, hash);
	void *other = NULL;
	bool vacant = true;
	int rc;

	if (HPX_UNLIKELY(!o)) {
		hpx_quick_unlock(section);
		rc = create(c, key, hash, &o);
		if (rc)
			return rc;
		if (HPX_UNLIKELY(!hpx_quick_lock(section)))
			return unpublish(c, o, NULL, HPX_PUT_DONE);
		vacant = hpx_table_vacant(c->table, hash, v);
	}
	if (HPX_UNLIKELY(!vacant || !hpx_table_put_quick(c->table, hash, o, v)))
		result = hpx_table_put(c->table, hash, key, o, HPX_PUT_LOAD, &found, &other, NULL, NULL);
	hpx_quick_unlock(section);
	*out = o;
	return HPX_LIKELY(result == HPX_PUT_DONE) ? 0 : unpublish(c, o, found, result);
}

/* Comes in as a call, where nothing is under the key. 0: and is in a section. */
static inline int stay(struct straight *p, hapax_cache *c, uint64_t hash, struct hpx_vacancy *v, struct hpx_quick *section)
{
	int rc = HPX_STRAIGHT_NOT;

	/* a thread's first call here makes its place among the counters, outside sections */
	if (HPX_UNLIKELY(!hpx_self.id) || HPX_UNLIKELY(!hpx_quick_lock(section)))
		return rc;
	/* order: COUNTERS.STRIPE relaxed; as in hpx_count() */
	p->stripe = hpx_load_relaxed(&c->counters.stripe[hpx_self.stripe]);
	if (HPX_LIKELY(p->stripe != NULL) && HPX_LIKELY(hpx_table_vacant(c->table, hash, v))) {
		if (HPX_LIKELY(hpx_cache_state(c) == HPX_CACHE_OPEN)) {
			hpx_count_in(p->stripe, HPX_CACHE_CAME, 1); /* as hpx_cache_enter_quick() */
			p->cache = c;
			return 0;
		}
		rc = HAPAX_ECLOSED;
	}
	hpx_quick_unlock(section);
	return rc;
}

/* As hpx_cache_leave(). */
static inline void go(struct straight *p, hapax_cache *c, struct hpx_quick *section)
{
	p->cache = NULL;
	if (HPX_UNLIKELY(!hpx_quick_lock(section))) {
		hpx_cache_leave(c);
	} else if (HPX_UNLIKELY(hpx_cache_state(c) == HPX_CACHE_ENDING)) {
		hpx_cache_leave_ending(c);
	} else {
		hpx_count_in(p->stripe, HPX_CACHE_WENT, 1);
		hpx_quick_unlock(section);
	}
}

/*
 * For how many loads this one is timed. Two readings of the clock are a tenth of a load that takes no time, and what sums of coarse
 * readings say of such loads is a matter of chance anyway: so when a thread has had many of them here, one in SAMPLE is timed
 * for all, chosen by what has nothing to do with how long it takes. A clock that was given is read for each.
 */
#define MANY 1024
#define QUICK_SHIFT 14 /* in the mean, in nanoseconds */
#define SAMPLE 8

static inline unsigned timed(const hapax_cache *c, hpx_u64 *stripe, uint64_t hash)
{
	/* order: COUNTERS.SUM relaxed; this thread's own */
	uint64_t loads = hpx_load_relaxed(&stripe[HPX_CACHE_LOADS]);

	if (HPX_UNLIKELY(!c->samples || loads < MANY || hpx_load_relaxed(&stripe[HPX_CACHE_NS]) >> QUICK_SHIFT >= loads))
		return 1;
	return ((loads * UINT64_C(0x9e3779b97f4a7c15) ^ hash) >> 32) % SAMPLE ? 0 : SAMPLE;
}

/* The object is what is present, and nobody fenced or joined its load. False: nothing has happened. */
static inline bool land(struct hpx_object *o, uint64_t word)
{
	/* order: FLIGHT.COMMIT -> acq_rel; the object's contents before it can be found */
	return hpx_cas_acq_rel(hpx_word(o), &word, word & ~HPX_W_LOADING);
}

int hpx_load_straight(hapax_cache *c, const hapax_key *key, uint64_t hash, void **out)
{
	__attribute__((cleanup(leave))) struct straight p;
	struct hpx_quick section;
	struct hpx_vacancy v;
	struct hpx_object *o;
	uint64_t spent = 0;
	int rc, saved = errno;
	const bool stats = c->stats;
	unsigned stands = 0;

	p.cache = NULL;
	/* order: COMPUTE.ACTIVE relaxed; what matters is this thread's own */
	if (hpx_load_relaxed(&c->computes.active) || HPX_BROKEN(PUBLISH_BEFORE_INIT) || HPX_BROKEN(RELAXED_COMMIT))
		return HPX_STRAIGHT_NOT;
	p.object = NULL;
	p.saved_errno = saved;
	rc = stay(&p, c, hash, &v, &section);
	if (HPX_UNLIKELY(rc))
		return rc;
	if (HPX_LIKELY(stats) && hpx_sampled(c, hpx_count_in(p.stripe, HPX_CACHE_MISSES, 1)))
		hpx_sample_add(c, key, hash);
#ifdef HPX_TESTING /* what a stopped thread is waited for may wait for sections */
	hpx_quick_unlock(&section);
	HPX_STOP("get.miss");
	if (!hpx_quick_lock(&section))
		return HPX_FLIGHT_AGAIN;
	if (!hpx_table_vacant(c->table, hash, &v)) {
		hpx_quick_unlock(&section);
		return HPX_FLIGHT_AGAIN;
	}
#endif
	rc = publish(c, key, hash, &v, &section, &o);
	if (HPX_UNLIKELY(rc))
		return rc;

	if (HPX_LIKELY(stats)) {
		hpx_count_in(p.stripe, HPX_CACHE_LOADS, 1);
		stands = timed(c, p.stripe, hash);
	}
	/* order: COUNTERS.SUM relaxed; this thread's own */
	p.begun = HPX_UNLIKELY(stands) ? hpx_env_now_coarse(c->env)
				       : HPX_LOADING_UNTIMED + hpx_load_relaxed(&p.stripe[HPX_CACHE_CAME]);
	p.error = (hapax_load_error){.code = 0};
	p.frame.up = hpx_self.frames;
	p.frame.cache = c;
	p.frame.entry = o;
	hpx_self.frames = &p.frame;
	hpx_loading_begin(&p.frame, p.begun);
	p.object = o;
	HPX_PROBE4(load__begin, HPX_PROBE_TEXT(c->name), key->data, key->size, o);
	rc = c->load(hpx_payload(o), key, c->arg, &p.error);
	hpx_loading_end(&p.frame);
	hpx_self.frames = p.frame.up;
	p.error.shared = NULL;

	HPX_STOP("load.returned");
	if (HPX_UNLIKELY(stands)) {
		uint64_t now = hpx_env_now_coarse(c->env);

		spent = now > p.begun ? now - p.begun : 0;
		if (HPX_UNLIKELY(spent))
			hpx_count_in(p.stripe, HPX_CACHE_NS, spent * stands);
	}
	if (HPX_UNLIKELY(rc != HAPAX_LOAD_OK || p.error.drop || hpx_cache_state(c) != HPX_CACHE_OPEN) ||
	    HPX_UNLIKELY(!land(o, hpx_word_make(hash, key->size, HPX_W_LOADING)))) {
		rc = conclude(&p, key, hash, rc, spent, &o);
		if (!rc)
			*out = hpx_payload(o);
		return rc;
	}
	p.object = NULL;
	if (HPX_LIKELY(stats))
		hpx_count_in(p.stripe, HPX_CACHE_SUCCESSES, 1);
	hpx_count_in(p.stripe, HPX_CACHE_IN, 1);
	HPX_STOP("load.committed");
	HPX_PROBE4(load__end, HPX_PROBE_TEXT(c->name), o, 0, spent);
	*out = hpx_payload(o);
	hpx_self.fresh = o;
	go(&p, c, &section);
	errno = saved;
	return 0;
}
