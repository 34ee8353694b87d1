/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/miss.c - getting what is not a plain hit: joining a load that is under way, waiting for what is in the way, loading.
 */
#include "base/probe.h"
#include "cache/load.h"
#include "cache/request.h"
#include "cache/tier.h"

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
		hpx_cache_asked(call->cache, HPX_CACHE_MISSES, call->key, call->hash);
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
	HPX_PROBE4(load__join, HPX_PROBE_TEXT(call->cache->name), call->key->data, call->key->size, e);
	hpx_flight_join(&call->cache->flights, e, hpx_word(e), &how, &call->outcome);
	HPX_PROBE3(load__joined, HPX_PROBE_TEXT(call->cache->name), e, call->outcome.status);
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
	hpx_cache_asked(call->cache, HPX_CACHE_HITS, call->key, call->hash);
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
				hpx_cache_asked(c, HPX_CACHE_HITS, call->key, call->hash);
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

int hpx_cache_get_slow(hapax_cache *c, const hapax_key *key, uint64_t hash, const hapax_get_options *options, void **out)
{
	int rc = HPX_LIKELY(c->straight && !options) ? hpx_load_straight(c, key, hash, out) : HPX_STRAIGHT_NOT;

	if (HPX_LIKELY(rc != HPX_STRAIGHT_NOT && rc != HPX_FLIGHT_AGAIN))
		return rc;
	return get_call(c, key, hash, options, rc == HPX_FLIGHT_AGAIN, out);
}
