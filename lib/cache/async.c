/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/async.c - gets that do not wait.
 *
 *      present            told at once
 *      LOADING            a request joins the flight as a waiter; whoever ends the flight, or closes the cache, tells it
 *      absent             a request starts a load (token.c) whose waiter it is from before the load begins
 *      abandoned flight   the request looks again, on the thread that abandoned it
 *
 * The way there is get.c's; a call with a sink enlists its request where another one would sleep.
 *
 * Guarantees: a sink is told once, outside locks and sections, on a thread that is inside the cache, so that destroy()
 * does not return before. It is told when the request has left its flight and its list, which is the proof, for the
 * child of a fork, that nobody has told it: there, those still in the list are told HAPAX_EABANDONED.
 */
#include "cache/completions.h"
#include "cache/load.h"
#include "cache/refresh.h"
#include "cache/request.h"

/* One request. The key's bytes follow, unless keys are borrowed. */
struct hpx_request {
	struct hpx_waiter waiter;
	struct hpx_outcome outcome;
	struct hpx_member member;
	struct hpx_error_box *box;
	struct hpx_object *old; /* held: will do if the flight brings no other one */
	hapax_cache *cache;
	hapax_env *env;
	size_t bytes;
	hpx_u32 shares;
	struct hpx_sink sink;
	hapax_load_fn load;
	hapax_make_fn make;
	hapax_start_fn start;
	void *arg;
	uint64_t hash;
	hapax_key key;
};

/* ---- telling ------------------------------------------------------------------------------------------------------ */

/* Consumes object and error. */
static void tell(hapax_cache *c, const struct hpx_sink *sink, int status, struct hpx_object *o, hapax_load_error *error)
{
	void *object = o ? hpx_payload(o) : NULL;
	HPX_CACHE_FRAME(c, NULL);

	if (sink->queue) {
		hpx_completions_put(sink->queue, sink->completion, status, object, error);
		return;
	}
	HPX_TAKEN_BY(object, sink->done);
	sink->done(status, object, error, sink->ctx);
}

/* ---- lists that a forked child can walk --------------------------------------------------------------------------- */

void hpx_member_add(struct hpx_member *head, struct hpx_member *m)
{
	struct hpx_member *next = hpx_load_relaxed(&head->next); /* order: ASYNC.LIST relaxed; under the lock */

	hpx_init(&m->next, next);
	m->prev = head;
	if (next)
		next->prev = m;
	/* order: ASYNC.LIST -> release; a child copied at any instant sees a whole member */
	hpx_store_release(&head->next, m);
}

void hpx_member_remove(struct hpx_member *m)
{
	struct hpx_member *next = hpx_load_relaxed(&m->next); /* order: ASYNC.LIST relaxed; under the lock */

	if (next)
		next->prev = m->prev;
	/* order: ASYNC.LIST -> release; as above */
	hpx_store_release(&m->prev->next, next);
}

void hpx_async_init(hapax_cache *c)
{
	pthread_mutex_init(&c->async.lock, NULL);
}

void hpx_async_fini(hapax_cache *c)
{
	pthread_mutex_destroy(&c->async.lock);
}

void hpx_async_inherit(hapax_cache *c)
{
	pthread_mutex_init(&c->async.lock, NULL);
	/* order: -> ASYNC.LIST acquire */
	c->async.orphans = hpx_load_acquire(&c->async.requests.next);
	hpx_init(&c->async.requests.next, NULL); /* order: ASYNC.LIST relaxed; this is the only thread */
	hpx_tokens_inherit(c);
}

/* ---- a request's life --------------------------------------------------------------------------------------------- */

static void request_done(struct hpx_waiter *w);

int hpx_request_ready(struct hpx_call *call)
{
	hapax_cache *c = call->cache;
	size_t bytes = sizeof(struct hpx_request) + (c->keys.borrow ? 0 : call->key->size);
	struct hpx_request *r;

	if (call->request)
		return 0;
	r = hpx_alloc(c->env, bytes, 16);
	if (!r)
		return HAPAX_ENOMEM;
	r->box = hpx_error_box_new(c->env);
	if (!r->box) {
		hpx_free(c->env, r, bytes, 16);
		return HAPAX_ENOMEM;
	}
	hpx_env_hold(c->env);
	r->env = c->env;
	r->cache = c;
	r->bytes = bytes;
	hpx_init(&r->shares, 1);
	r->waiter = (struct hpx_waiter){.box = &r->box, .out = &r->outcome, .done = request_done};
	r->sink = *call->sink;
	r->load = call->load;
	r->make = call->make;
	r->start = call->start;
	r->arg = call->arg;
	r->hash = call->hash;
	r->key = *call->key;
	if (!c->keys.borrow && r->key.size) {
		memcpy(r + 1, call->key->data, r->key.size);
		r->key.data = r + 1;
	}
	call->request = r;
	return 0;
}

struct hpx_request *hpx_request_hold(struct hpx_request *r)
{
	hpx_add_relaxed(&r->shares, 1); /* order: TOKEN.DROP relaxed; by who has a share */
	return r;
}

void hpx_request_drop(struct hpx_request *r)
{
	hapax_env *env = r->env;

	/* order: TOKEN.DROP acq_rel; what every sharer did with it happens before its memory goes */
	if (hpx_sub_acq_rel(&r->shares, 1) != 1)
		return;
	hpx_error_box_free(r->box);
	hpx_free(env, r, r->bytes, 16);
	hpx_env_drop(env);
}

void hpx_request_free(struct hpx_request *r)
{
	if (r)
		hpx_request_drop(r);
}

/* Outside sections, if there is one. */
static void old_drop(struct hpx_request *r)
{
	struct hpx_object *old = r->old;

	r->old = NULL;
	if (old)
		hpx_cache_release(r->cache, old);
}

/* It is about to be in the hands of a flight. */
static void list_add(struct hpx_request *r)
{
	struct hpx_async *a = &r->cache->async;

	pthread_mutex_lock(&a->lock);
	hpx_member_add(&a->requests, &r->member);
	pthread_mutex_unlock(&a->lock);
}

static void list_remove(struct hpx_request *r)
{
	struct hpx_async *a = &r->cache->async;

	pthread_mutex_lock(&a->lock);
	hpx_member_remove(&r->member);
	pthread_mutex_unlock(&a->lock);
}

int hpx_request_enlist(struct hpx_call *call, void *e, hpx_u64 *word, struct hpx_object *old)
{
	struct hpx_request *r = call->request;

	call->request = NULL;
	r->old = old;
	if (old)
		hpx_take_more(old, 1);
	list_add(r);
	if (hpx_flight_enlist(&call->cache->flights, e, word, &r->waiter))
		return HPX_CALL_PENDING;
	list_remove(r);
	call->request = r;
	old_drop(r);
	return r->outcome.status;
}

int hpx_request_join(struct hpx_call *call, void *e)
{
	int rc;

	if (!call->request) {
		hpx_read_unlock();
		rc = hpx_request_ready(call);
		return rc ? rc : HPX_FLIGHT_AGAIN;
	}
	rc = hpx_request_enlist(call, e, hpx_word(e), NULL);
	hpx_read_unlock();
	hpx_call_missed(call);
	if (rc == HPX_CALL_PENDING)
		hpx_call_waited(call);
	return rc;
}

bool hpx_request_withdraw(struct hpx_call *call, struct hpx_request *r)
{
	if (!hpx_flight_withdraw(&r->waiter))
		return false;
	list_remove(r);
	call->request = r;
	return true;
}

/* ---- answers ------------------------------------------------------------------------------------------------------ */

/* The call's end: `rc` is what a get would return. Tells the sink. */
static void answer(struct hpx_call *call, int rc, struct hpx_object *o)
{
	hapax_load_error error = {.code = 0};

	if (rc == HAPAX_ELOADER) {
		error = call->outcome.error;
		call->outcome.error = (hapax_load_error){.code = 0};
	}
	tell(call->cache, call->sink, rc, o, &error);
}

/* The request's flight was abandoned: it looks again, and may load in its place. */
static void again(struct hpx_request *r)
{
	struct hpx_sink sink = r->sink;
	struct hpx_request *share = hpx_request_hold(r); /* its key */
	__attribute__((cleanup(hpx_call_end))) struct hpx_call call = {
		.cache = r->cache,
		.key = &r->key,
		.hash = r->hash,
		.deadline = HAPAX_NO_WAIT,
		.held = HAPAX_NO_WAIT,
		.load = r->load,
		.make = r->make,
		.start = r->start,
		.arg = r->arg,
		.sink = &sink,
		.wants_error = true,
		.request = r,
		.missed = true,
		.waited = true,
		.outcome = {.status = HAPAX_EABANDONED},
	};
	struct hpx_object *o = NULL;
	int rc = hpx_cache_resolve(&call, &o);

	if (rc != HPX_CALL_PENDING)
		answer(&call, rc, o);
	hpx_request_drop(share);
}

/* Its flight has ended, or its cache is closed: on the thread that did it, which is inside the cache. */
static void request_done(struct hpx_waiter *w)
{
	struct hpx_request *r = HPX_CONTAINER_OF(w, struct hpx_request, waiter);
	struct hpx_outcome outcome = r->outcome;
	struct hpx_sink sink = r->sink;
	hapax_cache *c = r->cache;

	list_remove(r);
	if (r->old && hpx_refresh_old_will_do(outcome.status)) {
		hapax_load_error_drop(&outcome.error);
		outcome = (struct hpx_outcome){.status = 0, .object = r->old};
		r->old = NULL;
		hpx_cache_count(c, HPX_CACHE_STALE_HITS, 1);
	}
	old_drop(r);
	if (outcome.status == HPX_FLIGHT_AGAIN || (outcome.status == HAPAX_EABANDONED && (r->load || r->make || r->start))) {
		again(r);
		return;
	}
	hpx_request_drop(r);
	if (outcome.status == HPX_FLIGHT_DROPPED)
		outcome.status = HAPAX_EABANDONED;
	tell(c, &sink, outcome.status, outcome.object, &outcome.error);
}

bool hpx_async_tell(hapax_cache *c)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	struct hpx_member *m = c->async.orphans;
	hapax_load_error none = {.code = 0};
	struct hpx_request *r;
	struct hpx_sink sink;

	if (!m || hpx_cache_stay(&stay, c, HPX_CACHE_ENDING))
		return false;
	c->async.orphans = hpx_load_acquire(&m->next); /* order: -> ASYNC.LIST acquire */
	r = HPX_CONTAINER_OF(m, struct hpx_request, member);
	sink = r->sink;
	if (r->outcome.object) /* somebody who is gone was about to tell it */
		hpx_cache_release(c, r->outcome.object);
	old_drop(r);
	hpx_request_drop(r);
	tell(c, &sink, HAPAX_EABANDONED, NULL, &none);
	return true;
}

/* ---- the calls ---------------------------------------------------------------------------------------------------- */

static int check_options(const hapax_get_options *o)
{
	if (!o)
		return 0;
	if (o->size != sizeof(*o))
		return HAPAX_EOPTSIZE;
	if (o->flags)
		return HAPAX_EFLAGS;
	if ((o->load && o->make) || o->refuse || o->error || (o->deadline != HAPAX_NO_WAIT && o->deadline != HAPAX_FOREVER))
		return HAPAX_EOPTION;
	return 0;
}

static int get_async(hapax_cache *c, const hapax_key *key, const hapax_get_options *options, const struct hpx_sink *sink)
{
	__attribute__((cleanup(hpx_call_end))) struct hpx_call call = {
		.cache = c,
		.key = key,
		.deadline = HAPAX_NO_WAIT,
		.held = HAPAX_NO_WAIT,
		.load = c->load,
		.make = c->make,
		.start = c->start,
		.arg = c->arg,
		.sink = sink,
		.wants_error = true,
	};
	struct hpx_object *o = NULL;
	int rc;

	rc = hpx_cache_stay(&call.stay, c, HPX_CACHE_OPEN);
	if (!rc)
		rc = hpx_table_hash(c->table, key, &call.hash);
	if (rc)
		return rc;
	if (options && (options->load || options->make)) {
		call.load = options->load;
		call.make = options->make;
		call.start = NULL;
		call.arg = options->arg;
	}
	rc = hpx_cache_resolve(&call, &o);
	switch (rc) {
	case HPX_CALL_PENDING:
		return 0;
	case HAPAX_ECLOSED:
	case HAPAX_ENOLOADER:
	case HAPAX_ENOMEM:
	case HAPAX_EGARBAGE:
	case HAPAX_ETHREAD:
		return rc; /* nothing has begun */
	default:
		answer(&call, rc, o);
		return 0;
	}
}

int hapax_cache_get_async(hapax_cache *cache, hapax_key key, const hapax_get_options *options, hapax_done_fn done, void *ctx)
{
	struct hpx_sink sink = {.done = done, .ctx = ctx};
	int rc;

	if (!cache || !done)
		return HAPAX_ENULL;
	rc = check_options(options);
	return rc ? rc : get_async(cache, &key, options, &sink);
}

int hapax_cache_get_queued(hapax_cache *cache, hapax_key key, const hapax_get_options *options, hapax_completions *queue,
			   hapax_completion *completion)
{
	struct hpx_sink sink = {.queue = queue, .completion = completion};
	int rc;

	if (!cache || !queue || !completion)
		return HAPAX_ENULL;
	rc = check_options(options);
	if (rc)
		return rc;
	hpx_completions_expect(queue);
	rc = get_async(cache, &key, options, &sink);
	if (rc)
		hpx_completions_forget(queue);
	return rc;
}
