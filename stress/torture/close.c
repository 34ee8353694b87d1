/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * close.c - caches that are closed and destroyed under load, and environments that end before their objects.
 *
 * A new environment and cache each time; users that get, with a loader that takes its time; close in the middle. Every
 * get ends, with an object or HAPAX_ECLOSED; one that begins after the close gets HAPAX_ECLOSED. Then cache, environment,
 * the users' objects and handles end in a random order. The environment's allocator counts: nothing may be left.
 */
#include "disturb.h"

#include "harness/team.h"

#include <pthread.h>
#include <stdlib.h>

enum { USERS = 4, KEYS = 4, HELD = 8 };

struct shop {
	hapax_env *env;
	hapax_cache *cache;
	hpx_relaxed blocks, closed, ran, destroyed;
};

struct customer {
	struct shop *shop;
	hpx_rng rng;
	void *held[HELD];
	hapax_weak *weak;
};

static hpx_relaxed refused;

static void *count_alloc(size_t size, size_t align, void *ctx)
{
	void *block = aligned_alloc(align, (size + align - 1) & ~(align - 1));

	if (block)
		hpx_relaxed_add(&((struct shop *)ctx)->blocks, 1);
	return block;
}

static void count_free(void *block, size_t size, size_t align, void *ctx)
{
	(void)size;
	(void)align;
	free(block);
	hpx_relaxed_add(&((struct shop *)ctx)->blocks, (uint64_t)-1);
}

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct shop *shop = arg;
	const struct timespec nap = {0, 300000};

	(void)key;
	(void)error;
	nanosleep(&nap, NULL);
	*(struct shop **)object = shop;
	hpx_relaxed_add(&shop->ran, 1);
	return HAPAX_LOAD_OK;
}

static void destroy(void *object, void *arg)
{
	struct shop *shop = *(struct shop **)object;

	(void)arg;
	hpx_relaxed_add(&shop->destroyed, 1);
}

static const hapax_type type = {HAPAX_TYPE_INIT, .name = "sold", .size = sizeof(struct shop *), .align = 16,
				.destroy = destroy};

static void *customer_main(void *arg)
{
	struct customer *customer = arg;
	struct shop *shop = customer->shop;

	for (;;) {
		uint32_t key = (uint32_t)hpx_rng_below(&customer->rng, KEYS);
		bool late = hpx_relaxed_get(&shop->closed);
		void **place = &customer->held[hpx_rng_below(&customer->rng, HELD)];
		void *object = NULL;
		int status = hapax_cache_get(shop->cache, HAPAX_KEY_OF(key), &object);

		if (status == HAPAX_ECLOSED) {
			hpx_sight_look(HPX_SIGHT_CLOSED, !object, "a refused get gave an object");
			hpx_relaxed_add(&refused, 1);
			break;
		}
		hpx_sight_look(HPX_SIGHT_CLOSED, !status && !late, "a get %s the close gave %s", late ? "after" : "before",
			       hapax_status_name(status));
		if (status)
			break;
		if (!customer->weak && hapax_weak_new(object, NULL, &customer->weak))
			hpx_sight_look(HPX_SIGHT_STATUS, false, "no handle");
		hapax_release(*place);
		*place = object;
	}
	return NULL;
}

static void let_go(struct customer *customer)
{
	for (unsigned i = 0; i < HELD; i++)
		hapax_release(customer->held[i]);
	(void)hapax_weak_drop(customer->weak);
}

static bool nothing_left(void *ctx)
{
	struct shop *shop = ctx;

	hapax_reclaim(NULL);
	return hpx_relaxed_get(&shop->blocks) == 0;
}

static void open_and_close(hpx_torturer *self)
{
	struct shop *shop = calloc(1, sizeof(*shop));
	hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT, .seed = hpx_rng_next(&self->rng),
				     .allocator = {count_alloc, count_free, shop}};
	hapax_cache_options cache_options = {HAPAX_CACHE_OPTIONS_INIT, .type = &type, .load = load, .arg = shop,
					     .leak = NULL};
	struct customer customers[USERS];
	pthread_t threads[USERS];
	unsigned order = (unsigned)hpx_rng_below(&self->rng, 6);
	bool good;

	if (!shop || hapax_env_create(&shop->env, &options))
		abort();
	cache_options.env = shop->env;
	cache_options.leak = hpx_torture_ignore_leak;
	if (hapax_cache_create(&shop->cache, &cache_options))
		abort();
	for (unsigned i = 0; i < USERS; i++) {
		customers[i] = (struct customer){.shop = shop, .rng = {hpx_rng_next(&self->rng)}};
		if (pthread_create(&threads[i], NULL, customer_main, &customers[i]))
			abort();
	}
	hpx_pause(hpx_rng_below(&self->rng, 2 * HAPAX_MILLISECOND));
	hapax_cache_close(shop->cache);
	hpx_relaxed_set(&shop->closed, 1);
	for (unsigned i = 0; i < USERS; i++)
		pthread_join(threads[i], NULL);
	/* three ends in one of their orders */
	for (unsigned step = 0; step < 3; step++) {
		unsigned what = (order / 2 + (order & 1 ? step : 3 - step)) % 3;

		if (what == 0)
			hapax_cache_destroy(shop->cache);
		else if (what == 1)
			hapax_env_destroy(shop->env);
		else
			for (unsigned i = 0; i < USERS; i++)
				let_go(&customers[i]);
	}
	good = hpx_await(nothing_left, shop, HPX_TORTURE_PATIENCE);
	hpx_sight_look(HPX_SIGHT_LEFT, good && hpx_relaxed_get(&shop->ran) == hpx_relaxed_get(&shop->destroyed),
		       "%llu blocks left; %llu loaded, %llu destroyed", (unsigned long long)hpx_relaxed_get(&shop->blocks),
		       (unsigned long long)hpx_relaxed_get(&shop->ran), (unsigned long long)hpx_relaxed_get(&shop->destroyed));
	if (good)
		free(shop);
	hpx_happened(&hpx_closes, 1);
}

static void run(hpx_torturer *self, unsigned which)
{
	(void)which;
	while (!hpx_stopping()) {
		open_and_close(self);
		hpx_pause(hpx_rng_below(&self->rng, 2 * HAPAX_MILLISECOND));
	}
}

static void judge(hpx_torture *torture, hpx_result *result)
{
	(void)torture;
	hpx_result_note(result, "closed_gets", "gets refused by a closed cache", hpx_relaxed_get(&refused));
}

hpx_disturbance hpx_closes = {
	.name = "close",
	.help = "caches closed under load; environments that end before their objects",
	.field = "closes",
	.label = "caches closed under load",
	.full = 1000,
	.threads = 1,
	.run = run,
	.judge = judge,
};
