/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tight.c - a cache whose garbage bound is reached all the time: creation waits, and goes on. */
#include "disturb.h"

#include "harness/team.h"

enum { BOUND = 256 << 10, MAKERS = 2, LARGE = 16 << 10 };

static hapax_env *env;
static hapax_cache *cache;

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)arg;
	(void)error;
	*(uint64_t *)object = hpx_mix64(*(const uint64_t *)key->data);
	return HAPAX_LOAD_OK;
}

static const hapax_type small_type = {HAPAX_TYPE_INIT, .name = "small", .size = 300, .align = 16};
static const hapax_type large_type = {HAPAX_TYPE_INIT, .name = "large", .size = LARGE, .align = 64};

static void run(hpx_torturer *self, unsigned which)
{
	for (uint64_t i = 0; !hpx_stopping(); i++) {
		uint64_t key = hpx_rng_below(&self->rng, 1000);
		void *object = NULL;
		int status;

		if (which && hpx_rng_once_in(&self->rng, 16)) {
			status = hapax_new(env, &large_type, 0, &object);
		} else {
			status = hapax_cache_get(cache, HAPAX_KEY_OF(key), &object);
			if (!status)
				hpx_sight_look(HPX_SIGHT_VALUES, *(uint64_t *)object == hpx_mix64(key),
					       "a wrong value at the garbage bound");
		}
		hpx_sight_look(HPX_SIGHT_STATUS, !status, "creation at the bound gave %s", hapax_status_name(status));
		hapax_release(object);
		if (i % 64 == 0) {
			hapax_env_stats stats = {.size = sizeof(stats)};

			hpx_sight_look(HPX_SIGHT_BOUND,
				       !hapax_env_stats_get(env, &stats) && stats.garbage_bytes <= BOUND + 2 * LARGE,
				       "%zu bytes of garbage, bound %d", stats.garbage_bytes, (int)BOUND);
			hpx_pause(hpx_rng_below(&self->rng, 100 * HAPAX_MICROSECOND));
		}
		hpx_happened(&hpx_tight_garbage, 1);
	}
}

static int prepare(hpx_torture *torture)
{
	hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = BOUND};
	hapax_cache_options cache_options = {HAPAX_CACHE_OPTIONS_INIT, .type = &small_type, .load = load};

	env = hpx_own_env(torture, &options);
	cache_options.env = env;
	return hapax_cache_create(&cache, &cache_options) ? -1 : 0;
}

static void judge(hpx_torture *torture, hpx_result *result)
{
	hapax_env_stats stats = {.size = sizeof(stats)};

	(void)torture;
	if (!hapax_env_stats_get(env, &stats))
		hpx_result_note(result, "tight_waits", "waits at a small garbage bound", stats.garbage_waits);
	hapax_cache_destroy(cache);
	hpx_own_env_end(env, "garbage", 2 * (LARGE + HPX_TORTURE_OVERHEAD), HPX_SIGHT_BOUND);
}

hpx_disturbance hpx_tight_garbage = {
	.name = "garbage",
	.help = "a cache at a small garbage bound",
	.field = "tight_creations",
	.label = "creations at a small garbage bound",
	.full = 1000000,
	.threads = MAKERS,
	.prepare = prepare,
	.run = run,
	.judge = judge,
};
