/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * exclusive.c - a few exclusive keys and all who want them: instances that are held after their removal, put instances
 * beside loaded ones, slow destructors, waiters with and without a deadline.
 */
#include "disturb.h"

#include "harness/team.h"

#include <sched.h>

enum { KEYS = 3, USERS = 3 };

struct instance {
	uint32_t key;
	bool begun; /* counted */
};

static hapax_env *env;
static hapax_cache *cache;
static hpx_relaxed existing[KEYS], busy, waited;

static void begin(struct instance *instance, uint32_t key)
{
	instance->key = key;
	instance->begun = true;
	hpx_sight_look(HPX_SIGHT_INSTANCES, hpx_relaxed_add(&existing[key], 1) == 0,
		       "an instance of key %u began before the old one was gone", key);
}

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)arg;
	(void)error;
	begin(object, *(const uint32_t *)key->data);
	return HAPAX_LOAD_OK;
}

static void destroy(void *object, void *arg)
{
	struct instance *instance = object;

	(void)arg;
	sched_yield();
	if (instance->begun)
		hpx_relaxed_add(&existing[instance->key], (uint64_t)-1);
}

static const hapax_type type = {HAPAX_TYPE_INIT, .name = "exclusive", .size = sizeof(struct instance),
				.align = _Alignof(struct instance), .destroy = destroy};

static uint64_t soon(hpx_torturer *self)
{
	return hapax_env_now(env) + hpx_rng_below(&self->rng, 2 * HAPAX_MILLISECOND);
}

static void use(hpx_torturer *self, uint32_t key)
{
	hapax_get_options options = {HAPAX_GET_OPTIONS_INIT};
	void *object = NULL;
	int status;

	options.deadline = hpx_rng_once_in(&self->rng, 4) ? HAPAX_NO_WAIT : soon(self);
	status = hapax_cache_get_with(cache, HAPAX_KEY_OF(key), &options, &object);
	if (status == HAPAX_EBUSY || status == HAPAX_INFLIGHT)
		hpx_relaxed_add(&busy, 1);
	else if (status == HAPAX_ETIMEDOUT)
		hpx_relaxed_add(&waited, 1);
	else if (!hpx_sight_look(HPX_SIGHT_STATUS, !status, "an exclusive get gave %s", hapax_status_name(status)))
		return;
	if (status)
		return;
	hpx_sight_look(HPX_SIGHT_INSTANCES,
		       ((struct instance *)object)->key == key && hpx_relaxed_get(&existing[key]) == 1,
		       "key %u has %llu instances", key, (unsigned long long)hpx_relaxed_get(&existing[key]));
	if (hpx_rng_once_in(&self->rng, 2))
		(void)hapax_cache_remove(cache, HAPAX_KEY_OF(key)); /* still held: the next ones find it busy */
	if (hpx_rng_once_in(&self->rng, 4))
		hpx_pause(hpx_rng_below(&self->rng, HAPAX_MILLISECOND));
	hapax_release(object);
}

/* Alone with a key that nobody else uses: after everything it is free at once. */
static void succeed(uint32_t key)
{
	hapax_get_options options = {HAPAX_GET_OPTIONS_INIT, .deadline = hapax_env_now(env) + 20 * HAPAX_SECOND};
	void *object = NULL;
	int status = hapax_cache_get_with(cache, HAPAX_KEY_OF(key), &options, &object);

	hpx_sight_look(HPX_SIGHT_SUCCESSION, !status, "key %u is not free though nobody uses it: %s", key,
		       hapax_status_name(status));
	hapax_release(object);
}

static void run(hpx_torturer *self, unsigned which)
{
	(void)which;
	while (!hpx_stopping()) {
		use(self, (uint32_t)hpx_rng_below(&self->rng, KEYS));
		hpx_happened(&hpx_exclusives, 1);
	}
}

static int prepare(hpx_torture *torture)
{
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &type, .load = load,
				       .flags = HAPAX_CACHE_EXCLUSIVE};

	env = hpx_own_env(torture, NULL);
	options.env = env;
	return hapax_cache_create(&cache, &options) ? -1 : 0;
}

static void judge(hpx_torture *torture, hpx_result *result)
{
	(void)torture;
	for (uint32_t key = 0; key < KEYS; key++)
		succeed(key);
	hpx_result_note(result, "exclusive_busy", "exclusive keys found busy", hpx_relaxed_get(&busy));
	hpx_result_note(result, "exclusive_waits", "waits for one in vain", hpx_relaxed_get(&waited));
	hapax_cache_destroy(cache);
	hpx_own_env_end(env, "exclusive", 0, HPX_SIGHT_COUNT);
}

hpx_disturbance hpx_exclusives = {
	.name = "exclusive",
	.help = "a few exclusive keys that all want",
	.field = "exclusive_gets",
	.label = "gets of exclusive keys",
	.full = 100000,
	.threads = USERS,
	.prepare = prepare,
	.run = run,
	.judge = judge,
};
