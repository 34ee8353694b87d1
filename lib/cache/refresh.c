/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache/refresh.c - when what is present is reloaded, who waits for it, and what failures keep from being loaded: refresh.h. */
#include "base/probe.h"
#include "cache/backoff.h"
#include "cache/load.h"
#include "cache/refresh.h"
#include "cache/reload.h"
#include "cache/request.h"

/* ---- in the background ------------------------------------------------------------------------------------------- */

int hpx_refresh_start(hapax_cache *c, const hapax_key *key, uint64_t hash, void *e, struct hpx_object *o)
{
	struct hpx_reload *r, *other;
	uint64_t until;
	int code;

	if (!c->load && !c->make && !c->start)
		return HAPAX_ENOLOADER;
	if (c->tier && c->tier->backoff && !hpx_backoff_allows(c->tier->backoff, &c->keys, key, hash, &until, &code))
		return HAPAX_ELOADER;
	r = hpx_reload_enlist(c, key, hash, e, o, HPX_RELOAD_WAITING, 1, &other);
	if (other)
		hpx_reload_put(other);
	if (!r)
		return other ? HAPAX_INFLIGHT : HAPAX_ENOMEM;
	return hpx_reload_give(r, HPX_FLIGHT_AGAIN);
}

static double minus_ln(uint64_t random)
{
	const double ln2 = 0.69314718055994530942;
	unsigned k;
	double x, y, z, sum = 0;

	if (random == UINT64_MAX)
		return 0;
	/* (random + 1) / 2^64 = x / 2^k with x in [1/2, 1); ln x = 2 artanh((x - 1) / (x + 1)) */
	k = (unsigned)__builtin_clzll(random + 1);
	x = (double)((random + 1) << k) * 0x1p-64;
	y = (x - 1) / (x + 1);
	z = y * y;
	for (int i = 17; i > 0; i -= 2)
		sum = sum * z + 1.0 / i;
	return k * ln2 - 2 * y * sum;
}

/* order: NODE.TIME relaxed; each is a time on its own, here and below */
bool hpx_refresh_due(hapax_cache *c, struct hpx_node *n, uint64_t now)
{
	struct hpx_tier *t = c->tier;
	uint64_t deadline = hpx_load_relaxed(&n->deadline);

	/* order: NODE.FLAGS relaxed; the list decides */
	if (hpx_load_relaxed(&n->flags) & HPX_NODE_REFRESHING)
		return false;
	if (now >= deadline)
		return true;
	if (t->refresh_ns != HPX_NEVER && now >= hpx_sat_add(hpx_load_relaxed(&n->written), t->refresh_ns))
		return true;
	return t->early > 0 && deadline != HPX_NEVER &&
	       minus_ln(hpx_env_random(c->env)) * t->early * hpx_load_relaxed(&n->load_us) * 1e3 >= (double)(deadline - now);
}

/* ---- waited for -------------------------------------------------------------------------------------------------- */

static void joined(void *ctx) { hpx_call_waited(ctx); }

/* The wait is over. */
static int outcome(struct hpx_call *call, struct hpx_object **out)
{
	int rc = call->outcome.status;

	if (rc == 0) {
		*out = call->outcome.object;
		call->outcome.object = NULL;
	}
	return rc == HAPAX_EABANDONED ? HPX_FLIGHT_AGAIN : rc;
}

static int join(struct hpx_call *call, struct hpx_reload *r, struct hpx_object **out)
{
	struct hpx_join how = {.deadline = call->deadline, .joined = joined, .ctx = call};

	hpx_read_lock();
	HPX_PROBE4(load__join, HPX_PROBE_TEXT(call->cache->name), call->key->data, call->key->size, r);
	hpx_flight_join(&call->cache->flights, r, &r->word, &how, &call->outcome);
	HPX_PROBE3(load__joined, HPX_PROBE_TEXT(call->cache->name), r, call->outcome.status);
	return outcome(call, out);
}

/* By a token, which may be completed before start() returns: the wait begins before. */
static int start_and_wait(struct hpx_call *call, struct hpx_reload *r, struct hpx_object **out)
{
	struct hpx_waiter w __attribute__((cleanup(hpx_flight_leave))) = {.out = &call->outcome};
	hapax_cache *c = call->cache;

	if (!hpx_flight_enlist(&c->flights, r, &r->word, &w)) {
		hpx_reload_finish(r, HAPAX_ECLOSED, NULL, 0);
		return outcome(call, out);
	}
	hpx_reload_start(r, call->start, call->arg);
	hpx_flight_await(&c->flights, &w, call->deadline);
	return outcome(call, out);
}

bool hpx_refresh_old_will_do(int rc)
{
	switch (rc) {
	case 0:
	case HPX_FLIGHT_AGAIN:
	case HPX_CALL_PENDING:
	case HAPAX_NOVALUE:
	case HAPAX_EDEADLK:
	case HAPAX_ETIMEDOUT:
	case HAPAX_INFLIGHT:
	case HAPAX_ECLOSED:
		return false;
	default:
		return true;
	}
}

/* An asynchronous get: its request waits for the reload, with the old object in case that it fails. */
static int request(struct hpx_call *call, const hapax_key *key, struct hpx_node *n, struct hpx_object *o)
{
	hapax_cache *c = call->cache;
	struct hpx_reload *r, *other;
	int rc;

	if (hpx_request_ready(call))
		return 0; /* no memory: a reload that failed */
	r = hpx_reload_enlist(c, key, call->hash, n->entry, o, HPX_RELOAD_WAITING, 2, &other);
	if (!r && !other)
		return 0;
	rc = hpx_request_enlist(call, r ? r : other, r ? &r->word : &other->word, o);
	if (r)
		hpx_reload_give(r, HAPAX_ETHREAD); /* a reload that failed */
	hpx_reload_put(r ? r : other);
	return rc;
}

int hpx_refresh_wait(struct hpx_call *call, struct hpx_node *n, struct hpx_object *o, struct hpx_object **out)
{
	struct hpx_reload *r __attribute__((cleanup(hpx_reload_unpin))) = NULL, *other;
	hapax_cache *c = call->cache;
	hapax_key key = hpx_table_key(c->table, n->entry);
	bool mine;
	int rc;

	*out = NULL;
	hpx_call_missed(call);
	if (!hpx_call_can_load(call) || !hpx_refresh_may_load(call))
		return 0;
	if (call->sink)
		return request(call, &key, n, o);
	r = hpx_reload_enlist(c, &key, call->hash, n->entry, o, HPX_RELOAD_RUNNING, 2, &other);
	mine = r != NULL;
	if (!r && !other)
		return 0; /* no memory: a reload that failed */
	if (other) {
		r = other;
		mine = hpx_reload_claim(r);
	}
	if (!mine)
		rc = join(call, r, out);
	else if (call->start)
		rc = start_and_wait(call, r, out);
	else
		rc = hpx_reload_run(r, call->load, call->make, call->arg, out);
	return hpx_refresh_old_will_do(rc) ? 0 : rc;
}

int hpx_refresh_attend(hapax_cache *c, struct hpx_node *n, struct hpx_object *o, uint64_t now, struct hpx_call *call,
		       struct hpx_object **fresh)
{
	uint64_t deadline = hpx_load_relaxed(&n->deadline);
	hapax_key key;
	int rc = 0;

	if (now >= hpx_sat_add(deadline, c->tier->stale_ns)) {
		rc = call ? hpx_refresh_wait(call, n, o, fresh) : HAPAX_MISS;
	} else if (hpx_refresh_due(c, n, now)) {
		key = hpx_table_key(c->table, n->entry);
		hpx_refresh_start(c, &key, n->policy.id, n->entry, o); /* if it cannot be, the next hit tries again */
	}
	if (!rc && !*fresh && now >= deadline)
		hpx_cache_count(c, HPX_CACHE_STALE_HITS, 1);
	return rc;
}

/* ---- back-off ---------------------------------------------------------------------------------------------------- */

bool hpx_refresh_may_load(struct hpx_call *call)
{
	hapax_cache *c = call->cache;
	hapax_load_error *error = &call->outcome.error;
	uint64_t until;
	int code = 0;

	if (!c->tier || !c->tier->backoff || hpx_backoff_allows(c->tier->backoff, &c->keys, call->key, call->hash, &until, &code))
		return true;
	hpx_cache_drop_error(c, error);
	*error = (hapax_load_error){.code = code};
	return false;
}

uint64_t hpx_refresh_loaded(hapax_cache *c, const hapax_key *key, uint64_t hash, bool failed, int code)
{
	struct hpx_backoff *b = c->tier ? c->tier->backoff : NULL;

	if (b && failed)
		return hpx_backoff_failed(b, &c->keys, key, hash, code);
	if (b)
		hpx_backoff_succeeded(b, &c->keys, key, hash);
	return 0;
}

/* ---- asked for --------------------------------------------------------------------------------------------------- */

static void ignore(int status, void *object, hapax_load_error *error, void *ctx)
{
	(void)status;
	(void)ctx;
	hapax_release(object);
	hapax_load_error_drop(error);
}

/* Nothing is present: an ordinary load, which nobody waits for. Not counted as a get. */
static int load_absent(hapax_cache *c, const hapax_key *key, uint64_t hash)
{
	const struct hpx_sink sink = {.done = ignore};
	__attribute__((cleanup(hpx_call_end))) struct hpx_call call = {
		.cache = c,
		.key = key,
		.hash = hash,
		.deadline = HAPAX_NO_WAIT,
		.held = HAPAX_NO_WAIT,
		.load = c->load,
		.make = c->make,
		.start = c->start,
		.arg = c->arg,
		.sink = &sink,
		.wants_error = true,
		.missed = true,
		.waited = true,
	};
	struct hpx_object *o = NULL;
	void *e = NULL;
	bool loading;
	int rc;

	o = hpx_cache_find(c, hash, key, HPX_CLEAR_NONE, &e);
	/* order: FLIGHT.COMMIT relaxed; a hint */
	loading = !o && e && (hpx_load_relaxed(hpx_word(e)) & (HPX_W_LOADING | HPX_W_GONE)) == HPX_W_LOADING;
	hpx_read_unlock();
	rc = o ? 0 : loading ? HAPAX_INFLIGHT : hpx_cache_resolve(&call, &o);
	if (o)
		hpx_cache_release(c, o);
	return rc == HPX_CALL_PENDING ? 0 : rc;
}

int hapax_cache_refresh(hapax_cache *cache, hapax_key key)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	struct hpx_over over;
	uint64_t hash;
	int rc;

	if (!cache)
		return HAPAX_ENULL;
	rc = hpx_cache_stay(&stay, cache, HPX_CACHE_OPEN);
	if (!rc)
		rc = hpx_table_hash(cache->table, &key, &hash);
	if (!rc && hpx_compute_inside(&cache->computes, &cache->keys, hash, &key))
		rc = HAPAX_EDEADLK;
	if (rc)
		return rc;
	if (!cache->load && !cache->make && !cache->start)
		return HAPAX_ENOLOADER;
	if (!hpx_over_find(cache, hash, &key, &over))
		return load_absent(cache, &key, hash);
	rc = cache->exclusive ? HAPAX_EBUSY : hpx_refresh_start(cache, &key, hash, over.entry, over.object);
	hpx_over_drop(cache, &over);
	return rc;
}
