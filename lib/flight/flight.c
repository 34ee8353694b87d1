/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flight/flight.c - joining, landing and completing loads. flight.h has the picture.
 *
 * Guarantees: a joiner that saw LOADING under the bucket lock gets the outcome of exactly that load, however late it is
 * woken and whatever became of the entry's memory; completing needs no memory; a waiter that leaves (deadline,
 * cancellation) leaves nothing behind.
 * Limits: a bucket has one event, so a completion also wakes the waiters of other flights that share its bucket; they go
 * back to sleep.
 */
#include "flight/flight.h"

/* The shares of one load error. */
struct hpx_error_box {
	hapax_env *env;
	hpx_u64 shares;
	void *detail;
	void (*drop)(void *detail);
};

static struct hpx_flight_bucket *bucket_of(struct hpx_flights *f, const void *e)
{
	return &f->bucket[((uintptr_t)e >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 60];
}

static void reset(struct hpx_flights *f)
{
	unsigned i;

	for (i = 0; i < HPX_FLIGHT_BUCKETS; i++) {
		pthread_mutex_init(&f->bucket[i].lock, NULL);
		hpx_event_init(&f->bucket[i].event);
		f->bucket[i].first = NULL;
	}
}

void hpx_flights_init(struct hpx_flights *f, hapax_env *env)
{
	unsigned i;

	f->env = env;
	for (i = 0; i < HPX_FLIGHT_BUCKETS; i++)
		f->bucket[i].closed = 0;
	reset(f);
}

void hpx_flights_reinit(struct hpx_flights *f)
{
	reset(f);
}

void hpx_flights_fini(struct hpx_flights *f)
{
	unsigned i;

	for (i = 0; i < HPX_FLIGHT_BUCKETS; i++)
		pthread_mutex_destroy(&f->bucket[i].lock);
}

bool hpx_flights_idle(struct hpx_flights *f)
{
	bool idle = true;
	unsigned i;

	for (i = 0; i < HPX_FLIGHT_BUCKETS; i++) {
		pthread_mutex_lock(&f->bucket[i].lock);
		idle = idle && !f->bucket[i].first;
		pthread_mutex_unlock(&f->bucket[i].lock);
	}
	return idle;
}

uint64_t hpx_flight_waiters(struct hpx_flights *f, const void *e)
{
	struct hpx_flight_bucket *b = bucket_of(f, e);
	uint64_t n = 0;

	pthread_mutex_lock(&b->lock);
	for (struct hpx_waiter *w = b->first; w; w = w->next)
		n += w->flight == e;
	pthread_mutex_unlock(&b->lock);
	return n;
}

/* ---- waiters of a bucket, under its lock ------------------------------------------------------------------------ */

static void enlist(struct hpx_waiter *w)
{
	struct hpx_flight_bucket *b = w->bucket;

	w->link = &b->first;
	w->next = b->first;
	if (w->next)
		w->next->link = &w->next;
	b->first = w;
}

static void delist(struct hpx_waiter *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	w->link = NULL;
}

/* Delists a waiter that has its outcome. Those that do not sleep are collected: they may be gone once they are called. */
static void let_go(struct hpx_waiter *w, struct hpx_waiter **called)
{
	delist(w);
	if (w->done) {
		w->next = *called;
		*called = w;
	}
}

static void call_rest(struct hpx_waiter **called);

/* Outside all locks. What is called may leave its thread: the rest is called on the thread's way out. */
static void call(struct hpx_waiter *called)
{
	struct hpx_waiter *rest __attribute__((cleanup(call_rest))) = called, *w;

	while ((w = rest) != NULL) {
		rest = w->next;
		w->done(w);
	}
}

static void call_rest(struct hpx_waiter **called)
{
	if (HPX_UNLIKELY(*called != NULL))
		call(*called);
}

/* ---- shared load errors ----------------------------------------------------------------------------------------- */

struct hpx_error_box *hpx_error_box_new(hapax_env *env)
{
	struct hpx_error_box *box = hpx_alloc(env, sizeof *box, 16);

	if (box) {
		hpx_env_hold(env);
		box->env = env;
	}
	return box;
}

void hpx_error_box_free(struct hpx_error_box *box)
{
	hapax_env *env;

	if (!box)
		return;
	env = box->env;
	hpx_free(env, box, sizeof *box, 16);
	hpx_env_drop(env);
}

void hapax_load_error_drop(hapax_load_error *error)
{
	hapax_load_error copy;
	struct hpx_error_box *box;

	if (!error)
		return;
	copy = *error;
	*error = (hapax_load_error){.code = 0};
	box = copy.shared;
	/* order: ERROR.DROP acq_rel; what every sharer did with the detail happens before it is dropped */
	if (box && hpx_sub_acq_rel(&box->shares, 1) != 1)
		return;
	if (copy.drop)
		copy.drop(copy.detail);
	hpx_error_box_free(box);
}

/* How many waiters of the landing want the error; *box is one of their boxes. */
static uint64_t sharers(struct hpx_landing *landing, struct hpx_error_box ***box)
{
	struct hpx_waiter *w;
	uint64_t n = 0;

	for (w = landing->bucket->first; w; w = w->next) {
		if (w->flight == landing && w->box) {
			*box = w->box;
			n++;
		}
	}
	return n;
}

/* Turns the loader's error into one that all who want it can share. Without a drop hook copies are enough. */
static void share(struct hpx_landing *landing, hapax_load_error *error)
{
	struct hpx_error_box **slot = NULL, *box;
	uint64_t n = sharers(landing, &slot);

	if (!n || !error || !error->drop)
		return;
	if (error->shared) { /* by another flight of the same load */
		box = error->shared;
		hpx_add_relaxed(&box->shares, n); /* order: ERROR.DROP relaxed; the caller has a share */
		return;
	}
	box = *slot;
	*slot = NULL;
	box->detail = error->detail;
	box->drop = error->drop;
	hpx_init(&box->shares, n + 1);
	error->shared = box;
}

/* ---- the loader's side ------------------------------------------------------------------------------------------ */

uint64_t hpx_flight_land(struct hpx_flights *f, void *e, hpx_u64 *word, struct hpx_landing *landing)
{
	uint64_t before = hpx_load_relaxed(word); /* order: FLIGHT.COMMIT relaxed; the swap below decides */
	struct hpx_flight_bucket *b;
	struct hpx_waiter *w;

	landing->bucket = NULL;
	while (!(before & HPX_FLIGHT_WAITED))
		/* order: FLIGHT.COMMIT -> acq_rel; the object's contents before it can be found; what a fencer did */
		if (HPX_BROKEN(RELAXED_COMMIT) ? hpx_cas_relaxed(word, &before, before & ~HPX_FLIGHT_LOADING)
					       : hpx_cas_acq_rel(word, &before, before & ~HPX_FLIGHT_LOADING))
			return before;

	b = bucket_of(f, e);
	pthread_mutex_lock(&b->lock);
	/* order: FLIGHT.COMMIT -> acq_rel; as above. Joiners look at LOADING under this lock (FLIGHT.JOIN). */
	before = hpx_and_acq_rel(word, ~(HPX_FLIGHT_LOADING | HPX_FLIGHT_WAITED));
	for (w = b->first; w; w = w->next) {
		if (w->flight == e) {
			w->flight = landing;
			landing->bucket = b;
		}
	}
	hpx_wait_forget(e);
	pthread_mutex_unlock(&b->lock);
	return before;
}

void hpx_flight_complete(struct hpx_flights *f, struct hpx_landing *landing, int status, struct hpx_object *object,
			 hapax_load_error *error)
{
	struct hpx_flight_bucket *b = landing->bucket;
	struct hpx_waiter *w, *next, *called = NULL;

	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	if (status == HAPAX_ELOADER)
		share(landing, error);
	for (w = b->first; w; w = next) {
		next = w->next;
		if (w->flight != landing)
			continue;
		let_go(w, &called);
		if (status == 0) {
			if (!HPX_BROKEN(WAITER_EARLY))
				hpx_take_more(object, 1);
			w->out->object = object;
		}
		if (status == HAPAX_ELOADER && w->box && error)
			w->out->error = *error;
		w->out->status = status;
	}
	pthread_mutex_unlock(&b->lock);
	hpx_event_signal(&b->event, f->env);
	call(called);
}

void hpx_flight_release_all(struct hpx_flights *f, int status)
{
	struct hpx_waiter *called = NULL;
	unsigned i;

	for (i = 0; i < HPX_FLIGHT_BUCKETS; i++) {
		struct hpx_flight_bucket *b = &f->bucket[i];

		pthread_mutex_lock(&b->lock);
		if (!HPX_BROKEN(CLOSE_MISSES_LATE))
			b->closed = status;
		while (b->first) {
			b->first->out->status = status;
			hpx_wait_forget(b->first->flight);
			let_go(b->first, &called);
		}
		pthread_mutex_unlock(&b->lock);
		hpx_event_signal(&b->event, f->env);
	}
	call(called);
}

/* ---- the joiner's side ------------------------------------------------------------------------------------------ */

/* Sets WAITED while LOADING is set; false: it no longer is. */
static bool mark_waited(hpx_u64 *word)
{
	uint64_t w = hpx_load_relaxed(word); /* order: FLIGHT.JOIN relaxed; the swap below decides */

	while (w & HPX_FLIGHT_LOADING)
		if (w & HPX_FLIGHT_WAITED ||
		    /* order: FLIGHT.JOIN -> acq_rel; one word, so its modification order is all the landing needs */
		    hpx_cas_acq_rel(word, &w, w | HPX_FLIGHT_WAITED))
			return true;
	return false;
}

/* Under the bucket lock: enlists, or says in the outcome why not. */
static bool enter(struct hpx_waiter *w, void *e, hpx_u64 *word, bool announce)
{
	int rc = w->bucket->closed;

	/* order: -> FLIGHT.COMMIT acquire; WAITED is set, so the landing clears LOADING under this lock */
	if (!rc && !HPX_BROKEN(LOST_WAKEUP) && !(hpx_load_acquire(word) & HPX_FLIGHT_LOADING))
		return false;
	if (!rc && announce)
		rc = hpx_wait_enter(e);
	if (rc) {
		w->out->status = rc;
		return false;
	}
	w->announced = announce;
	w->enlisted = true;
	enlist(w);
	return true;
}

/* Sets WAITED and enlists while LOADING is set. A waiter that does not sleep may be gone on return. */
static bool try_enlist(struct hpx_flights *f, void *e, hpx_u64 *word, struct hpx_waiter *w, bool announce)
{
	struct hpx_flight_bucket *b = bucket_of(f, e);
	bool in;

	w->flight = e;
	w->bucket = b;
	w->enlisted = w->announced = false;
	*w->out = (struct hpx_outcome){.status = HPX_FLIGHT_AGAIN};
	if (!mark_waited(word))
		return false;
	HPX_BROKEN_WINDOW(LOST_WAKEUP);
	pthread_mutex_lock(&b->lock);
	in = enter(w, e, word, announce);
	pthread_mutex_unlock(&b->lock);
	return in;
}

bool hpx_flight_enlist(struct hpx_flights *f, void *e, hpx_u64 *word, struct hpx_waiter *w)
{
	return try_enlist(f, e, word, w, false);
}

bool hpx_flight_withdraw(struct hpx_waiter *w)
{
	bool there;

	pthread_mutex_lock(&w->bucket->lock);
	there = w->link;
	if (there)
		delist(w);
	pthread_mutex_unlock(&w->bucket->lock);
	return there;
}

void hpx_flight_leave(struct hpx_waiter *w)
{
	if (!w->enlisted)
		return;
	hpx_flight_withdraw(w);
	if (w->announced)
		hpx_wait_leave();
	w->enlisted = w->announced = false;
}

static bool over(struct hpx_waiter *w)
{
	bool done;

	pthread_mutex_lock(&w->bucket->lock);
	done = !w->link;
	pthread_mutex_unlock(&w->bucket->lock);
	return done;
}

void hpx_flight_await(struct hpx_flights *f, struct hpx_waiter *w, uint64_t deadline)
{
	struct hpx_flight_bucket *b = w->bucket;
	bool late = false;

	for (;;) {
		uint32_t value = hpx_event_value(&b->event);

		if (over(w))
			return;
		if (late) {
			pthread_mutex_lock(&b->lock);
			if (w->link) {
				delist(w);
				w->out->status = deadline == HAPAX_NO_WAIT ? HAPAX_INFLIGHT : HAPAX_ETIMEDOUT;
			}
			pthread_mutex_unlock(&b->lock);
			return;
		}
		late = deadline == HAPAX_NO_WAIT || hpx_event_wait(&b->event, f->env, value, deadline);
	}
}

void hpx_flight_join(struct hpx_flights *f, void *e, hpx_u64 *word, const struct hpx_join *how, struct hpx_outcome *out)
{
	__attribute__((cleanup(hpx_flight_leave))) struct hpx_waiter w = {.box = how->box, .out = out};

	*out = (struct hpx_outcome){.status = HPX_FLIGHT_AGAIN};
	if (hpx_wait_owned(e))
		out->status = HAPAX_EDEADLK;
	else if (how->deadline == HAPAX_NO_WAIT)
		out->status = HAPAX_INFLIGHT;
	else
		try_enlist(f, e, word, &w, true);
	hpx_read_unlock();
	if (!w.enlisted)
		return;
	if (how->joined)
		how->joined(how->ctx);
	hpx_flight_await(f, &w, how->deadline);
}
