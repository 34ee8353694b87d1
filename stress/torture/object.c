/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sights.h"
#include "torture.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

enum { FAIL_EVERY = 16, NOVALUE_EVERY = 32, LINGER_EVERY = 4 };

static uint64_t check_of(const hpx_thing *thing) { return hpx_mix64(thing->life.key ^ hpx_mix64(thing->life.serial)); }

/* Some user code takes its time: the scheduler's turn is where the races are. */
static void linger(void)
{
	if (hpx_rng_once_in(&hpx_torture_self->rng, LINGER_EVERY))
		sched_yield();
}

void hpx_thing_look(hpx_torture *torture, hpx_thing *thing, unsigned cache, uint64_t key)
{
	unsigned index = hpx_torture_self->index;

	if (hpx_sight_lies(HPX_SIGHT_VALUES) || thing->cache != cache || thing->life.key != key || thing->check != check_of(thing))
		hpx_relaxed_add(&torture->oracles[cache].wrong, 1);
	if (index < HPX_TORTURE_SCRATCH)
		thing->scratch[index]++;
}

static int fail(hapax_load_error *error, uint64_t key)
{
	hpx_relaxed_bump(&hpx_torture_self->load_errors);
	error->code = (int)(key + 1);
	return HAPAX_LOAD_FAIL;
}

/* What a loader does for any of the caches, with an object whose life has begun. */
static int load(hpx_torture *torture, hpx_thing *thing, unsigned cache, uint64_t key, hapax_load_error *error)
{
	hpx_torturer *self = hpx_torture_self;

	thing->cache = cache;
	thing->check = check_of(thing);
	linger();
	if (hpx_rng_once_in(&self->rng, NOVALUE_EVERY)) {
		hpx_relaxed_bump(&self->load_errors);
		return HAPAX_LOAD_NOVALUE;
	}
	if (hpx_rng_once_in(&self->rng, FAIL_EVERY))
		return fail(error, key);
	if (cache == HPX_MIXED) {
		thing->depends = hpx_torture_get_pure(self, key, HAPAX_FOREVER);
		if (!thing->depends)
			return fail(error, key);
	}
	(void)torture;
	return HAPAX_LOAD_OK;
}

static uint64_t key_of(hpx_torture *torture, const hapax_key *key)
{
	uint64_t number = 0;

	if (key->size >= sizeof(number))
		memcpy(&number, key->data, sizeof(number));
	if (key->size < sizeof(number) || number >= torture->keys) {
		hpx_relaxed_add(&torture->oracles[HPX_PURE].wrong, 1);
		number = 0;
	}
	return number;
}

/* The in-place loader of PURE and EXCLUSIVE; `arg` is the cache's own type, which says which. */
int hpx_thing_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	const hapax_type *type = arg;
	hpx_torture *torture = type->arg;
	unsigned cache = (unsigned)(type - torture->types);
	hpx_torturer *self = hpx_torture_self;
	uint64_t number = key_of(torture, key);
	hpx_thing *thing = object;
	int result;

	hpx_relaxed_bump(&self->loads);
	hpx_age_fence();
	hpx_oracle_enter_loader(&torture->oracles[cache], number, &thing->life);
	if (cache == HPX_PURE && self->vanish) {
		hpx_relaxed_bump(&self->load_errors);
		hpx_relaxed_add(&torture->vanished, 1);
		hpx_oracle_leave_loader(&torture->oracles[cache], number);
		pthread_exit(NULL);
	}
	if (cache == HPX_PURE)
		self->pure_loads++;
	if (cache == HPX_EXCLUSIVE &&
	    (hpx_relaxed_add(&torture->existing[number], 1) != 0 || hpx_sight_lies(HPX_SIGHT_INSTANCES)))
		hpx_relaxed_add(&torture->exclusive_overlaps, 1);
	result = load(torture, thing, cache, number, error);
	/* the destructor does not run for an object that was not loaded */
	if (cache == HPX_EXCLUSIVE && result != HAPAX_LOAD_OK)
		hpx_relaxed_add(&torture->existing[number], (uint64_t)-1);
	thing->exclusive = cache == HPX_EXCLUSIVE;
	hpx_oracle_leave_loader(&torture->oracles[cache], number);
	return result;
}

/* The loader of MIXED. An object that is not handed over has had a life too short to count, and dies here. */
int hpx_thing_make(void **object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	const hapax_type *type = arg;
	hpx_torture *torture = type->arg;
	uint64_t number = key_of(torture, key);
	void *made = NULL;
	hpx_thing *thing;
	int result;

	hpx_relaxed_bump(&hpx_torture_self->loads);
	if (hapax_new(torture->env, type, 0, &made))
		return fail(error, number);
	thing = made;
	hpx_age_fence();
	hpx_oracle_enter_loader(&torture->oracles[HPX_MIXED], number, &thing->life);
	result = load(torture, thing, HPX_MIXED, number, error);
	hpx_oracle_leave_loader(&torture->oracles[HPX_MIXED], number);
	if (result == HAPAX_LOAD_OK) {
		*object = thing;
	} else {
		hpx_relaxed_add(&torture->put_instances, 1);
		hapax_release(thing);
	}
	return result;
}

hpx_thing *hpx_thing_new(hpx_torture *torture, uint64_t key)
{
	void *made = NULL;
	hpx_thing *thing;

	if (hapax_new(torture->env, &torture->types[HPX_MIXED], 0, &made))
		return NULL;
	thing = made;
	hpx_oracle_born(&torture->oracles[HPX_MIXED], key, &thing->life);
	hpx_relaxed_add(&torture->put_instances, 1);
	thing->cache = HPX_MIXED;
	thing->was_put = true;
	thing->check = check_of(thing);
	return thing;
}

void hpx_thing_destroy(void *object, void *arg)
{
	hpx_torture *torture = arg;
	hpx_thing *thing = object;
	uint32_t sum = 0;

	linger();
	for (unsigned i = 0; i < HPX_TORTURE_SCRATCH; i++)
		sum += thing->scratch[i];
	if (thing->check != check_of(thing) || sum == UINT32_MAX)
		hpx_relaxed_add(&torture->oracles[thing->cache % HPX_CACHES].wrong, 1);
	hpx_torture_release(torture, thing->depends);
	hpx_oracle_destroyed(&torture->oracles[thing->cache % HPX_CACHES], &thing->life);
	/* the last thing done: until here the instance exists */
	if (thing->exclusive)
		hpx_relaxed_add(&torture->existing[thing->life.key], (uint64_t)-1);
}
