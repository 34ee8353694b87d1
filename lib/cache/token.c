/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/token.c - loads that end elsewhere: by a token that the application completes, or in an executor's task.
 *
 *      OPEN --claim--> CLAIMED       by who completes it, by its task, by the end of its cache, or in a forked child
 *
 * The call that misses publishes the entry, makes itself a waiter of it, and then lets the load begin: it calls start(), or
 * gives a task to the executor. Whoever claims the token ends the flight; everybody else finds the load ended.
 *
 * A completion comes from outside at any time. It looks at the token's cache in a read section and comes in, or finds that
 * there is none. The end of the cache claims what is OPEN and takes the cache away from it, and waits, as for all calls, for
 * those who came in; so it waits for nobody's decision to complete. What is completed later is given back.
 *
 * Guarantees: from publication on the flight ends once, also if start() does not return or its thread vanishes in it (the
 * token is then still whose it is). A token's memory stays until it has been dropped. Ending a token's load needs what
 * accepting an object needs (a record's registration), and nothing more.
 */
#include <hapax/async.h>

#include "cache/load.h"
#include "cache/seen.h"
#include "cache/refresh.h"
#include "cache/request.h"
#include "cache/worker.h"

enum { OPEN, CLAIMED };

/* An end beside hapax_load_result: the token was dropped. */
#define DROPPED (-1)

struct hapax_load {
	struct hpx_load load;     /* whoever claimed it */
	struct hpx_reload *reload; /* what it loads takes the place of what is present (refresh.c); NULL: `load` */
	struct hpx_member member; /* of the cache's open loads */
	HPX_ATOMIC(struct hapax_cache *) cache; /* NULL: it has ended. Read in a section */
	hapax_env *env;
	hpx_u32 shares;           /* the application's, or a task's; the starting call's; the list's, then who claimed it */
	hpx_u32 completed;        /* the first who sets it completes */
	hpx_u32 state;
	hapax_load_fn fn;         /* of tasks: the loader; neither: start() has it */
	hapax_make_fn make;
	void *arg;
	uint64_t hash;
	struct hapax_load *next;  /* claimed by the end of the cache */
	uint64_t seen_ns;         /* under the list's lock: when a task that has not begun was first looked at; 0: it was not */
};

static struct hapax_load *token_new(struct hpx_call *call)
{
	hapax_cache *c = call->cache;
	struct hapax_load *t = hpx_alloc(c->env, sizeof *t, 16);

	if (!t)
		return NULL;
	hpx_env_hold(c->env);
	t->env = c->env;
	t->load = (struct hpx_load){.call = call, .cache = c};
	hpx_init(&t->cache, c);
	hpx_init(&t->shares, 1);
	t->fn = call->load;
	t->make = call->make;
	t->arg = call->arg;
	t->hash = call->hash;
	return t;
}

static void hold(struct hapax_load *t)
{
	hpx_add_relaxed(&t->shares, 1); /* order: TOKEN.DROP relaxed; by who has a share */
}

static void drop(struct hapax_load *t)
{
	hapax_env *env = t->env;

	/* order: TOKEN.DROP acq_rel; what every sharer did with it happens before its memory goes */
	if (hpx_sub_acq_rel(&t->shares, 1) != 1)
		return;
	hpx_free(env, t, sizeof *t, 16);
	hpx_env_drop(env);
}

/* Who completes: the first. */
static bool complete_first(struct hapax_load *t)
{
	/* order: TOKEN.STATE relaxed; who comes second does nothing with it */
	return !hpx_exchange_relaxed(&t->completed, 1);
}

/* Who ends the flight. Inside the cache. */
static bool claim(struct hapax_load *t)
{
	uint32_t open = OPEN;

	/* order: TOKEN.STATE relaxed; what the load is was there before the token was given to anybody */
	return hpx_cas_relaxed(&t->state, &open, CLAIMED);
}

/* False: the cache has ended meanwhile; nobody may begin. */
static bool list(struct hapax_load *t)
{
	struct hpx_async *a = &t->load.cache->async;
	bool ended;

	pthread_mutex_lock(&a->lock);
	ended = a->ended;
	if (!ended) {
		hold(t);
		hpx_member_add(&a->loads, &t->member);
	}
	pthread_mutex_unlock(&a->lock);
	return !ended;
}

/* By who claimed it: the list's share is his. */
static void unlist(struct hapax_load *t)
{
	struct hpx_async *a = &t->load.cache->async;

	pthread_mutex_lock(&a->lock);
	hpx_member_remove(&t->member);
	pthread_mutex_unlock(&a->lock);
}

/* Into the cache, if there still is one. */
static bool come_in(struct hapax_load *t, struct hpx_stay *stay)
{
	hapax_cache *c;
	bool in;

	hpx_thread_ready();
	hpx_read_lock();
	c = hpx_load_relaxed(&t->cache); /* order: TOKEN.STATE relaxed; its memory goes a grace period after this was cleared */
	in = c && !hpx_cache_stay(stay, c, HPX_CACHE_ENDING);
	hpx_read_unlock();
	return in;
}

/* What the parts of a load want of a call, for a load whose call has returned. The key is the entry's. */
static struct hpx_call call_of(struct hapax_load *t, const hapax_key *key)
{
	return (struct hpx_call){
		.cache = t->load.cache,
		.key = key,
		.hash = t->hash,
		.deadline = HAPAX_NO_WAIT,
		.held = HAPAX_NO_WAIT,
		.load = t->fn,
		.make = t->make,
		.arg = t->arg,
	};
}

/* ---- completing --------------------------------------------------------------------------------------------------- */

/* Claimed: it ends without an answer, having begun or not. */
static void cancel(struct hapax_load *t, int status, bool begun)
{
	if (t->reload)
		hpx_reload_abandon(t->reload, status);
	else if (begun)
		hpx_load_abandon(&t->load, status);
	else
		hpx_load_cancel(&t->load, status);
}

/* Also when the thread vanishes in user code. The list's share goes. */
static void concluded(struct hapax_load **t)
{
	hpx_load_left(&(*t)->load);
	drop(*t);
}

/* The flight's end. Inside the cache, claimed. */
static int conclude(struct hapax_load *given, int result, struct hpx_object *object, hapax_load_error *error)
{
	struct hapax_load *t __attribute__((cleanup(concluded))) = given;
	struct hpx_load *l = &t->load;
	struct hpx_call call;
	hapax_key key;
	int status = HAPAX_EABANDONED;

	unlist(t);
	if (result == DROPPED) {
		cancel(t, HPX_FLIGHT_DROPPED, true);
	} else if (t->reload) {
		status = hpx_reload_conclude(t->reload, result, object, error);
	} else {
		key = hpx_table_key(l->cache->table, l->entry);
		call = call_of(t, &key);
		l->call = &call;
		l->object = object;
		status = hpx_load_conclude(l, result, error);
		if (!status)
			hpx_cache_release(l->cache, object);
	}
	return status;
}

/* By the first who completes: what all get. Consumes object and error. */
static int end(struct hapax_load *t, int result, struct hpx_object *object, hapax_load_error *error)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	int status = HAPAX_ECLOSED;

	if (come_in(t, &stay) && claim(t))
		status = conclude(t, result, object, error);
	else if (object)
		hpx_release(object);
	if (stay.cache)
		hpx_cache_drop_error(stay.cache, error);
	else
		hapax_load_error_drop(error);
	return status;
}

int hapax_load_complete(hapax_load *load, void *object, int *status)
{
	hapax_load_error none = {.code = 0};
	int answer;

	if (!load || !object) {
		if (object)
			hapax_release(object);
		return HAPAX_ENULL;
	}
	if (!complete_first(load)) {
		hapax_release(object);
		return HAPAX_ETOKEN;
	}
	answer = end(load, HAPAX_LOAD_OK, hpx_object_of(object), &none);
	if (status)
		*status = answer;
	return 0;
}

int hapax_load_fail(hapax_load *load, int result, hapax_load_error *error)
{
	hapax_load_error mine = {.code = 0};
	int rc = 0;

	if (error) {
		mine = *error;
		mine.shared = NULL;
		*error = (hapax_load_error){.code = 0};
	}
	if (!load)
		rc = HAPAX_ENULL;
	else if (result != HAPAX_LOAD_NOVALUE && result != HAPAX_LOAD_FAIL)
		rc = HAPAX_EOPTION;
	else if (!complete_first(load))
		rc = HAPAX_ETOKEN;
	if (rc)
		hapax_load_error_drop(&mine);
	else
		end(load, result, NULL, &mine);
	return rc;
}

void hapax_load_drop(hapax_load *load)
{
	if (!load)
		return;
	if (complete_first(load))
		end(load, DROPPED, NULL, NULL);
	drop(load);
}

/* ---- tasks -------------------------------------------------------------------------------------------------------- */

/* Runs the loader; or the task is dropped, and whoever has joined may load in its place. */
static void task(hapax_cache *c, void *arg, bool run)
{
	struct hapax_load *t = arg;
	__attribute__((cleanup(hpx_call_end))) struct hpx_call call = {.cache = NULL};
	__attribute__((cleanup(hpx_load_left))) struct hpx_load l = {.cache = NULL};
	hapax_key key;
	bool mine = claim(t);

	if (mine) {
		unlist(t);
		l = t->load;
		key = hpx_table_key(c->table, l.entry);
		call = call_of(t, &key);
		l.call = &call;
		drop(t);
	}
	drop(t);
	if (!mine)
		return;
	if (!run || hpx_cache_state(c) != HPX_CACHE_OPEN)
		hpx_load_cancel(&l, hpx_cache_state(c) != HPX_CACHE_OPEN ? HAPAX_ECLOSED : HAPAX_EABANDONED);
	else if (!hpx_load_run(&l))
		hpx_cache_release(c, l.object);
}

/*
 * A get that would wait for a task: it may be the task's own queue that waits for the get, when a loader runs in the
 * library's thread, or nobody runs the queue. So who may wait for ever takes what has not begun and runs it.
 */
struct hapax_load *hpx_token_steal(struct hpx_call *call, const void *e)
{
	struct hpx_async *a = &call->cache->async;
	struct hapax_load *t = NULL;
	struct hpx_member *m;

	pthread_mutex_lock(&a->lock);
	for (m = hpx_load_relaxed(&a->loads.next); m; m = hpx_load_relaxed(&m->next)) { /* order: ASYNC.LIST relaxed; under the lock */
		t = HPX_CONTAINER_OF(m, struct hapax_load, member);
		if (!t->reload && t->load.entry == e && t->hash == call->hash && (t->fn || t->make) && claim(t))
			break;
		t = NULL;
	}
	if (t)
		hpx_member_remove(&t->member);
	pthread_mutex_unlock(&a->lock);
	return t;
}

int hpx_token_run(struct hapax_load *t, struct hpx_call *call, struct hpx_object **out)
{
	__attribute__((cleanup(hpx_call_end))) struct hpx_call own = {.cache = NULL};
	__attribute__((cleanup(hpx_load_left))) struct hpx_load l = t->load;
	hapax_key key = hpx_table_key(l.cache->table, l.entry);
	int status;

	own = call_of(t, &key);
	own.wants_error = call->wants_error;
	l.call = &own;
	drop(t);
	status = hpx_load_run(&l);
	if (!status)
		*out = l.object;
	call->outcome.status = status;
	if (status == HAPAX_ELOADER) {
		call->outcome.error = own.outcome.error;
		own.outcome.error = (hapax_load_error){.code = 0};
	}
	return status;
}

/* An asynchronous get's. HPX_CALL_PENDING, or an error and the request is the call's again. */
static int run_task(struct hapax_load *t, struct hpx_call *call, struct hpx_request *own)
{
	int rc;

	hold(t); /* the task's */
	rc = hpx_work_run(call->cache, task, t);
	if (!rc)
		return HPX_CALL_PENDING;
	if (!hpx_request_withdraw(call, own))
		rc = HPX_CALL_PENDING;
	if (claim(t)) {
		unlist(t);
		hpx_load_cancel(&t->load, HAPAX_EABANDONED);
		drop(t);
	}
	drop(t);
	return rc;
}

/* ---- starting ----------------------------------------------------------------------------------------------------- */

/* A call that starts a load. */
struct starting {
	struct hapax_load *t;      /* the call's share */
	struct hpx_request *own;   /* asynchronous: a share of its request */
	struct hpx_waiter waiter;  /* else */
	struct hpx_frame frame;
	bool running;              /* start() is on the stack */
};

/* Also when the thread vanishes. Then somebody may have the token that start() was given: that share stays. */
static void starting_end(struct starting *s)
{
	if (s->running) {
		hpx_self.frames = s->frame.up;
		if (complete_first(s->t))
			end(s->t, DROPPED, NULL, NULL);
	}
	hpx_flight_leave(&s->waiter);
	hpx_request_free(s->own);
	drop(s->t);
}

static void call_start(struct starting *s, struct hpx_call *call)
{
	hapax_load_error error = {.code = 0};
	int result;

	hold(s->t); /* the application's */
	s->frame = (struct hpx_frame){.up = hpx_self.frames, .cache = call->cache, .entry = s->t->load.entry};
	hpx_self.frames = &s->frame;
	s->running = true;
	result = call->start(s->t, call->key, call->arg, &error);
	s->running = false;
	hpx_self.frames = s->frame.up;
	error.shared = NULL;
	if (result && complete_first(s->t))
		end(s->t, HAPAX_LOAD_FAIL, NULL, &error);
	else
		hpx_cache_drop_error(call->cache, &error);
	if (result)
		drop(s->t);
}

/* The call's waiter joins the load that it is about to begin: HPX_CALL_PENDING, or an error (the cache is closed). */
static int enlist(struct starting *s, struct hpx_call *call)
{
	struct hpx_load *l = &s->t->load;

	if (call->sink) {
		s->own = hpx_request_hold(call->request);
		return hpx_request_enlist(call, l->entry, hpx_word(l->entry), NULL);
	}
	s->waiter = (struct hpx_waiter){.box = call->wants_error ? &call->box : NULL, .out = &call->outcome};
	if (hpx_flight_enlist(&l->cache->flights, l->entry, hpx_word(l->entry), &s->waiter))
		return HPX_CALL_PENDING;
	return call->outcome.status;
}

/* The entry is published, and nobody can end its load yet. */
static int begin(struct starting *s, struct hpx_call *call)
{
	struct hapax_load *t = s->t;
	int rc = enlist(s, call);

	if (rc != HPX_CALL_PENDING) {
		hpx_load_cancel(&t->load, rc);
		return rc;
	}
	if (call->start)
		hpx_load_begin(&t->load);
	if (!list(t))
		hpx_load_cancel(&t->load, HAPAX_ECLOSED);
	else if (call->start)
		call_start(s, call);
	else
		rc = run_task(t, call, s->own);
	return rc;
}

/* What the call needs later is made first. */
static int prepare(struct hpx_call *call)
{
	if (call->sink)
		return hpx_request_ready(call);
	if (call->wants_error && !call->box)
		call->box = hpx_error_box_new(call->cache->env);
	return call->wants_error && !call->box ? HAPAX_ENOMEM : 0;
}

static int start(struct hapax_load *t, struct hpx_call *call, struct hpx_object **out)
{
	__attribute__((cleanup(starting_end))) struct starting s = {.t = t};
	int rc = hpx_load_publish(&t->load);

	if (!rc)
		rc = begin(&s, call);
	if (rc != HPX_CALL_PENDING || call->sink)
		return rc;
	hpx_flight_await(&call->cache->flights, &s.waiter, call->deadline);
	return hpx_call_outcome(call, out);
}

int hpx_token_load(struct hpx_call *call, struct hpx_object **out)
{
	struct hapax_load *t = prepare(call) ? NULL : token_new(call);

	return t ? start(t, call, out) : HAPAX_ENOMEM;
}

int hpx_token_reload(struct hpx_call *call, struct hpx_reload *reload)
{
	struct hapax_load *t = token_new(call);

	if (!t)
		return HAPAX_ENOMEM;
	{
		__attribute__((cleanup(starting_end))) struct starting s = {.t = t};

		t->reload = reload;
		t->load.entry = reload;
		if (!list(t))
			return HAPAX_ECLOSED;
		call_start(&s, call);
	}
	return 0;
}

/* ---- looking ------------------------------------------------------------------------------------------------------ */

/* Under the list's lock: whoever ends one takes it out of the list before. */
void hpx_tokens_see(struct hpx_flights_seen *s)
{
	struct hpx_async *a = &s->cache->async;
	struct hpx_member *m;
	struct hapax_load *t;
	uint64_t begun;
	hapax_key key;

	pthread_mutex_lock(&a->lock);
	for (m = hpx_load_relaxed(&a->loads.next); m; m = hpx_load_relaxed(&m->next)) { /* order: ASYNC.LIST relaxed; under the lock */
		t = HPX_CONTAINER_OF(m, struct hapax_load, member);
		if (t->reload)
			continue; /* hpx_reloads_see() */
		begun = t->load.begun;
		if (!begun && !t->seen_ns)
			t->seen_ns = s->now;
		key = hpx_table_key(s->cache->table, t->load.entry);
		hpx_flight_see(s, &key, begun ? begun : t->seen_ns, begun, 0, t->load.entry, hpx_word(t->load.entry));
	}
	pthread_mutex_unlock(&a->lock);
}

/* ---- the cache ends ----------------------------------------------------------------------------------------------- */

void hpx_tokens_end(hapax_cache *c)
{
	struct hapax_load *t, *claimed = NULL;
	struct hpx_member *m, *next;

	pthread_mutex_lock(&c->async.lock);
	c->async.ended = true;
	for (m = hpx_load_relaxed(&c->async.loads.next); m; m = next) { /* order: ASYNC.LIST relaxed; under the lock */
		next = hpx_load_relaxed(&m->next);
		t = HPX_CONTAINER_OF(m, struct hapax_load, member);
		if (!claim(t))
			continue; /* by somebody who is inside the cache */
		hpx_member_remove(m);
		t->next = claimed;
		claimed = t;
	}
	pthread_mutex_unlock(&c->async.lock);
	for (; claimed; claimed = t) {
		t = claimed->next;
		cancel(claimed, HAPAX_ECLOSED, false);
		/* order: TOKEN.STATE relaxed; the grace period before the cache's memory goes is the edge */
		hpx_store_relaxed(&claimed->cache, NULL);
		drop(claimed);
	}
}

/* In a forked child: nobody completes a load here that began in the parent. */
void hpx_tokens_inherit(hapax_cache *c)
{
	/* order: -> ASYNC.LIST acquire */
	struct hpx_member *m = hpx_load_acquire(&c->async.loads.next), *next;
	struct hapax_load *t;

	for (; m; m = next) {
		next = hpx_load_acquire(&m->next); /* order: -> ASYNC.LIST acquire */
		t = HPX_CONTAINER_OF(m, struct hapax_load, member);
		/* order: TOKEN.STATE relaxed; this is the only thread */
		hpx_store_relaxed(&t->completed, 1);
		if (!claim(t))
			continue; /* half ended by a thread that is gone: as a load of that thread */
		cancel(t, HAPAX_EABANDONED, !t->fn && !t->make);
		hpx_store_relaxed(&t->cache, NULL);
		drop(t);
	}
	hpx_init(&c->async.loads.next, NULL); /* order: ASYNC.LIST relaxed; as above */
}
