/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disturb.h"

#include "harness/team.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

_Thread_local hpx_torturer *hpx_torture_self;

/* A key of MIXED is longer than a word, so that records with copied keys are in play too. */
struct key_bytes {
	uint64_t number;
	char text[16];
};

static hapax_key key_for(struct key_bytes *bytes, unsigned cache, uint64_t key)
{
	*bytes = (struct key_bytes){key, "a longer key..."};
	return hapax_key_bytes(bytes, cache == HPX_MIXED ? sizeof(*bytes) : sizeof(bytes->number));
}

static void unexpected(hpx_torture *torture, int status)
{
	hpx_relaxed_add(&torture->unexpected, 1);
	hpx_relaxed_set(&torture->unexpected_status, (uint64_t)(int64_t)status);
}

/* --- holding and letting go --- */

void hpx_torture_release(hpx_torture *torture, hpx_thing *thing)
{
	if (!thing)
		return;
	hpx_oracle_drop(&torture->oracles[thing->cache % HPX_CACHES], thing->life.key, &thing->life);
	hapax_release(thing);
}

/* What --break makes the oracles see of an object that is held and as it should be. */
static void lie_about(hpx_torture *torture, hpx_thing *thing, unsigned cache, uint64_t key)
{
	hpx_life other = {.serial = thing->life.serial + 1, .key = key, .state = {HPX_LIFE_LOADED}};
	void *leaked = thing;

	if (__builtin_expect(hpx_sight_breaking == HPX_SIGHT_COUNT, 1))
		return;
	if (cache == HPX_PURE && hpx_sight_lies(HPX_SIGHT_LIVES))
		hpx_oracle_hold(&torture->oracles[cache], key, &other);
	if (cache == HPX_PURE && hpx_sight_lies(HPX_SIGHT_LOADS)) {
		hpx_oracle_enter_loader(&torture->oracles[cache], key, &other);
		hpx_oracle_enter_loader(&torture->oracles[cache], key, &other);
	}
	hpx_relaxed_set(&other.state, HPX_LIFE_DESTROYED);
	if (hpx_sight_lies(HPX_SIGHT_HELD))
		hpx_oracle_drop(&torture->oracles[cache], key, &other);
	if (hpx_sight_lies(HPX_SIGHT_ONCE))
		hpx_oracle_destroyed(&torture->oracles[cache], &other);
	if (hpx_sight_lies(HPX_SIGHT_CONSERVATION) && hapax_retain(leaked))
		unexpected(torture, HAPAX_EDEAD);
	if (hpx_sight_lies(HPX_SIGHT_STATISTICS))
		hpx_relaxed_bump(&hpx_torture_self->loads);
	if (hpx_sight_lies(HPX_SIGHT_STATUS))
		unexpected(torture, HAPAX_EOVERFLOW);
}

/* --- age --- */

/*
 * A change (remove, pop, put, clear) that has returned has taken out whatever was in the cache when it was called. So
 * before the call a stamp is taken, and after it the key's floor raised to it. A get reads the floor before it begins:
 * what it gives was loaded by a loader that was entered after the stamp (its serial is one), or put by a put that had
 * not yet returned at the stamp. All stamps come from one counter.
 */
static uint64_t stamp_now(hpx_torture *torture, unsigned cache)
{
	uint64_t stamp = hpx_relaxed_get(&torture->oracles[cache].serials);

	hpx_age_fence();
	return stamp;
}

static void lift(hpx_relaxed *floor, uint64_t stamp)
{
	uint64_t seen = hpx_relaxed_get(floor);

	hpx_age_fence();
	while (seen < stamp && !hpx_relaxed_cas(floor, &seen, stamp))
		;
}

static uint64_t floor_of(hpx_torture *torture, unsigned cache, uint64_t key)
{
	uint64_t one;
	uint64_t all;

	if (cache == HPX_PURE)
		return 0;
	one = hpx_relaxed_get(&torture->floors[cache][key]);
	all = hpx_relaxed_get(&torture->clears[cache]);
	hpx_age_fence();
	return one > all ? one : all;
}

/* A put of it has returned. */
static void mark_put(hpx_torture *torture, hpx_thing *thing)
{
	hpx_age_fence();
	hpx_relaxed_set(&thing->since, hpx_relaxed_add(&torture->oracles[HPX_MIXED].serials, 1) + 1);
}

static void judge_age(hpx_torturer *self, hpx_thing *thing, unsigned cache, uint64_t floor)
{
	uint64_t since;

	if (!floor)
		return;
	since = thing->was_put ? hpx_relaxed_get(&thing->since) : thing->life.serial;
	hpx_relaxed_bump(&self->ages);
	if ((since && since <= floor) || hpx_sight_lies(HPX_SIGHT_AGE))
		hpx_sight_broken(HPX_SIGHT_AGE, "cache %u, key %llu: %s at %llu, taken out at %llu", cache,
				 (unsigned long long)thing->life.key, thing->was_put ? "put" : "loaded",
				 (unsigned long long)since, (unsigned long long)floor);
}

/* Takes over a reference that a cache gave. */
static hpx_thing *take(hpx_torture *torture, void *object, unsigned cache, uint64_t key)
{
	hpx_thing *thing = object;

	hpx_oracle_hold(&torture->oracles[cache], key, &thing->life);
	hpx_thing_look(torture, thing, cache, key);
	lie_about(torture, thing, cache, key);
	return thing;
}

static void keep(hpx_torturer *self, hpx_thing *thing)
{
	unsigned place = (unsigned)hpx_rng_below(&self->rng, HPX_TORTURE_HELD);
	hpx_thing *old = self->held[place];

	if (!thing)
		return;
	self->held[place] = thing;
	hpx_torture_release(self->torture, old);
}

/* --- getting --- */

static bool refuse(void *object, void *arg)
{
	(void)object;
	return hpx_rng_once_in(&((hpx_torturer *)arg)->rng, 2);
}

/* What a get may answer besides an object. */
static bool is_expected(int status, unsigned cache, uint64_t deadline)
{
	switch (status) {
	case HAPAX_ELOADER:
	case HAPAX_NOVALUE:
	case HAPAX_EABANDONED:
		return true;
	case HAPAX_INFLIGHT:
		return deadline == HAPAX_NO_WAIT;
	case HAPAX_ETIMEDOUT:
	case HAPAX_EGARBAGE: /* a reader stands still, and the deadline was not enough */
		return deadline != HAPAX_FOREVER;
	case HAPAX_EBUSY:
	case HAPAX_EDEADLK:
		return cache == HPX_EXCLUSIVE;
	default:
		return false;
	}
}

static hpx_thing *get(hpx_torturer *self, unsigned cache, uint64_t key, uint64_t deadline, bool refusing)
{
	hpx_torture *torture = self->torture;
	hapax_load_error error = {0};
	hapax_get_options options = {HAPAX_GET_OPTIONS_INIT, .deadline = deadline, .error = &error};
	uint64_t floor = floor_of(torture, cache, key);
	uint64_t loads = self->pure_loads;
	struct key_bytes bytes;
	void *object = NULL;
	hpx_thing *thing;
	uint64_t start;
	int status;

	if (refusing) {
		options.refuse = refuse;
		options.refuse_arg = self;
	}
	start = hpx_now();
	status = hapax_cache_get_with(torture->caches[cache], key_for(&bytes, cache, key), &options, &object);
	hpx_histogram_add(&self->latency, hpx_now() - start);
	hpx_relaxed_bump(&self->requests);
	if (status) {
		if (!is_expected(status, cache, deadline) || object)
			unexpected(torture, status);
		/* the code that the loader of this very key gives */
		if (status == HAPAX_ELOADER && error.code != (int)(key + 1))
			hpx_relaxed_add(&torture->oracles[cache].wrong, 1);
		hapax_load_error_drop(&error);
		return NULL;
	}
	thing = take(torture, object, cache, key);
	judge_age(self, thing, cache, floor);
	if (cache == HPX_PURE && self->pure_loads != loads)
		hpx_oracle_loaded(&torture->oracles[HPX_PURE], key, thing);
	return thing;
}

hpx_thing *hpx_torture_get_pure(hpx_torturer *self, uint64_t key, uint64_t deadline)
{
	return get(self, HPX_PURE, key, deadline, false);
}

static void get_somehow(hpx_torturer *self, unsigned cache, uint64_t key)
{
	uint64_t deadline = HAPAX_FOREVER;

	/* an exclusive instance may be held, also by this thread, for as long as it likes */
	if (cache == HPX_EXCLUSIVE || hpx_rng_once_in(&self->rng, 8))
		deadline = hapax_env_now(self->torture->env) + hpx_rng_below(&self->rng, HAPAX_MILLISECOND);
	if (hpx_rng_once_in(&self->rng, 8))
		deadline = HAPAX_NO_WAIT;
	keep(self, get(self, cache, key, deadline, cache == HPX_MIXED && hpx_rng_once_in(&self->rng, 8)));
}

static void peek(hpx_torturer *self, unsigned cache, uint64_t key)
{
	hapax_cache *target = self->torture->caches[cache];
	uint64_t floor = floor_of(self->torture, cache, key);
	struct key_bytes bytes;
	void *object = NULL;
	hpx_thing *thing;
	int status;

	switch (hpx_rng_below(&self->rng, 3)) {
	case 0:
		status = hapax_cache_contains(target, key_for(&bytes, cache, key));
		if (status != 0 && status != 1)
			unexpected(self->torture, status);
		return;
	case 1:
		status = hapax_cache_get_if_present(target, key_for(&bytes, cache, key), &object);
		hpx_relaxed_bump(&self->requests);
		break;
	default:
		status = hapax_cache_get_quietly(target, key_for(&bytes, cache, key), &object);
	}
	if (!status) {
		thing = take(self->torture, object, cache, key);
		judge_age(self, thing, cache, floor);
		keep(self, thing);
	} else if (status != HAPAX_MISS) {
		unexpected(self->torture, status);
	}
}

/* --- changing: MIXED and EXCLUSIVE only --- */

static void put(hpx_torturer *self, uint64_t key)
{
	hpx_torture *torture = self->torture;
	uint64_t floor = floor_of(torture, HPX_MIXED, key);
	hpx_thing *thing = hpx_thing_new(torture, key);
	struct key_bytes bytes;
	void *object = NULL;
	uint64_t stamp;
	int status;

	if (!thing) {
		unexpected(torture, HAPAX_ENOMEM);
	} else if (hpx_rng_once_in(&self->rng, 2)) {
		stamp = stamp_now(torture, HPX_MIXED);
		status = hapax_cache_put(torture->caches[HPX_MIXED], key_for(&bytes, HPX_MIXED, key), thing);
		if (status)
			unexpected(torture, status);
		else
			lift(&torture->floors[HPX_MIXED][key], stamp);
		mark_put(torture, thing);
		keep(self, thing);
	} else {
		status = hapax_cache_get_or_put(torture->caches[HPX_MIXED], key_for(&bytes, HPX_MIXED, key), thing,
						&object, NULL);
		mark_put(torture, thing);
		if (status) {
			unexpected(torture, status);
		} else {
			hpx_thing *got = take(torture, object, HPX_MIXED, key);

			judge_age(self, got, HPX_MIXED, floor);
			keep(self, got);
		}
		hapax_release(thing);
	}
}

static void change(hpx_torturer *self, unsigned cache, uint64_t key)
{
	hapax_cache *target = self->torture->caches[cache];
	struct key_bytes bytes;
	hapax_key name = key_for(&bytes, cache, key);
	hpx_torture *torture = self->torture;
	uint64_t stamp = stamp_now(torture, cache);
	uint64_t floor = floor_of(torture, cache, key);
	void *object = NULL;
	hpx_thing *thing;
	int status = 0;

	switch (hpx_rng_below(&self->rng, cache == HPX_MIXED ? 8 : 2)) {
	case 0:
		status = hapax_cache_remove(target, name);
		lift(&torture->floors[cache][key], stamp);
		break;
	case 1:
		status = hapax_cache_pop(target, name, &object);
		if (!status) {
			thing = take(torture, object, cache, key);
			judge_age(self, thing, cache, floor);
			keep(self, thing);
		}
		lift(&torture->floors[cache][key], stamp);
		break;
	case 2:
		if (self->held[0])
			status = hapax_cache_remove_if(target, name, self->held[0]);
		break;
	case 3:
		if (hpx_rng_once_in(&self->rng, 64)) {
			hapax_cache_clear(target);
			lift(&torture->clears[cache], stamp);
		}
		break;
	default:
		put(self, key);
	}
	if (status && status != HAPAX_MISS)
		unexpected(self->torture, status);
}

static void iterate(hpx_torturer *self, unsigned cache)
{
	hpx_torture *torture = self->torture;
	hapax_iter *iter = NULL;
	void *object = NULL;
	hapax_key key;
	uint64_t number;
	int status = hapax_cache_iterate(torture->caches[cache], &iter);

	while (!status && !(status = hapax_iter_next(iter, &key, &object))) {
		memcpy(&number, key.data, sizeof(number));
		hpx_thing_look(torture, object, cache, number);
	}
	if (status != HAPAX_EMPTY)
		unexpected(torture, status);
	hapax_iter_close(iter);
}

/* --- weak handles --- */

static void on_death(hapax_weak *weak, void *ctx)
{
	hpx_watch *watch = ctx;
	hpx_torture *torture = hpx_torture_self->torture;

	if (hpx_relaxed_add(&watch->fired, 1) != 0 || hpx_relaxed_get(&watch->freed) != 0)
		hpx_relaxed_add(&torture->bad_callbacks, 1);
	if (hapax_weak_alive(weak))
		hpx_relaxed_add(&torture->bad_upgrades, 1);
}

static void on_freed(void *ctx)
{
	hpx_watch *watch = ctx;

	if (hpx_relaxed_add(&watch->freed, 1) != 0)
		hpx_relaxed_add(&hpx_torture_self->torture->bad_callbacks, 1);
}

static void drop_handle(hpx_torturer *self, hpx_handle *handle)
{
	if (!handle->weak)
		return;
	if (hapax_weak_drop(handle->weak))
		unexpected(self->torture, HAPAX_INFLIGHT);
	/* a barrier: whatever had to run has run */
	if (handle->watched && (hpx_relaxed_get(&handle->watch.freed) != 1 || hpx_sight_lies(HPX_SIGHT_CALLBACKS)))
		hpx_relaxed_add(&self->torture->bad_callbacks, 1);
	handle->weak = NULL;
}

static void new_handle(hpx_torturer *self, hpx_thing *thing)
{
	hpx_handle *handle = &self->handles[hpx_rng_below(&self->rng, HPX_TORTURE_WEAKS)];
	hapax_callback callback = {on_death, &handle->watch, on_freed};
	int status;

	drop_handle(self, handle);
	if (!thing)
		return;
	handle->serial = thing->life.serial;
	handle->key = thing->life.key;
	handle->watched = hpx_rng_once_in(&self->rng, 2);
	hpx_relaxed_set(&handle->watch.fired, 0);
	hpx_relaxed_set(&handle->watch.freed, 0);
	status = hapax_weak_new(thing, handle->watched ? &callback : NULL, &handle->weak);
	if (status)
		unexpected(self->torture, status);
}

static void upgrade(hpx_torturer *self)
{
	hpx_handle *handle = &self->handles[hpx_rng_below(&self->rng, HPX_TORTURE_WEAKS)];
	hpx_thing *thing = hapax_weak_get(handle->weak);

	if (!thing)
		return;
	if (hpx_sight_lies(HPX_SIGHT_UPGRADES) || thing->life.serial != handle->serial || thing->life.key != handle->key ||
	    (handle->watched && hpx_relaxed_get(&handle->watch.fired)))
		hpx_relaxed_add(&self->torture->bad_upgrades, 1);
	keep(self, take(self->torture, thing, thing->cache % HPX_CACHES, handle->key));
}

/* --- threads that come and go --- */

static void let_all_go(hpx_torturer *self)
{
	for (unsigned i = 0; i < HPX_TORTURE_HELD; i++) {
		hpx_torture_release(self->torture, self->held[i]);
		self->held[i] = NULL;
	}
	for (unsigned i = 0; i < HPX_TORTURE_WEAKS; i++)
		drop_handle(self, &self->handles[i]);
}

/* A short life, half of the time ended from inside a loader. */
static void *guest_main(void *arg)
{
	hpx_torturer *self = arg;

	hpx_torture_self = self;
	self->vanish = false;
	for (unsigned i = 0; i < 4; i++)
		get_somehow(self, HPX_PURE, hpx_zipf_next(&self->torture->zipf, &self->rng));
	let_all_go(self);
	if (hpx_rng_once_in(&self->rng, 2)) {
		self->vanish = true;
		get_somehow(self, HPX_PURE, hpx_zipf_next(&self->torture->zipf, &self->rng));
		let_all_go(self);
	}
	return NULL;
}

static void invite_guest(hpx_torturer *self)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, guest_main, self->guest) == 0)
		pthread_join(thread, NULL);
}

static void step(hpx_torturer *self)
{
	uint64_t what = hpx_rng_below(&self->rng, 1000);
	uint64_t key = hpx_zipf_next(&self->torture->zipf, &self->rng);
	unsigned cache = (unsigned)hpx_rng_below(&self->rng, HPX_CACHES);
	hpx_thing *thing = self->held[hpx_rng_below(&self->rng, HPX_TORTURE_HELD)];

	if (what < 500)
		get_somehow(self, cache, key);
	else if (what < 600)
		peek(self, cache, key);
	else if (what < 700)
		change(self, cache == HPX_PURE ? HPX_MIXED : cache, key);
	else if (what < 800)
		new_handle(self, thing);
	else if (what < 900)
		upgrade(self);
	else if (what < 903)
		iterate(self, cache);
	else if (what < 905 && self->guest)
		invite_guest(self);
	else if (what < 910)
		sched_yield();
	else
		let_all_go(self);
}

void hpx_torture_step_calmly(hpx_torturer *self) { step(self); }

void hpx_torture_let_go(hpx_torturer *self) { let_all_go(self); }

void hpx_torture_ignore_leak(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited,
			     void *ctx)
{
	(void)key;
	(void)object;
	(void)type;
	(void)count;
	(void)inherited;
	(void)ctx;
}

void hpx_torture_work(hpx_torturer *self)
{
	while (!hpx_stopping())
		step(self);
	let_all_go(self);
	if (hpx_sight_lies(HPX_SIGHT_HOME))
		for (;;)
			pause();
}
