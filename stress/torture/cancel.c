/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cancel.c - cancellation and pthread_exit in loaders, in those who wait for them, in callbacks and in destructors.
 *
 * The threads that are cancelled take no signals of the storm: a handler that sleeps is a cancellation point, wherever
 * it interrupted.
 */
#include "disturb.h"

#include "harness/team.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { VICTIMS = 4, KEYS = 2 };

struct victim {
	hpx_rng rng;
	uint32_t key;
	bool vanish; /* its loader ends its thread */
	hpx_relaxed status;
	void *object;
};

static hapax_env *env;
static hapax_cache *cache;
static hpx_relaxed loading[KEYS], cancelled, left;
static __thread struct victim *victim_here;

/* --- loaders and joiners --- */

static void loader_left(uint32_t *key) { hpx_relaxed_add(&loading[*key], (uint64_t)-1); }

/* With cancellation points. ThreadSanitizer loses sight of the locks of a thread that is cancelled in a call that it
 * intercepts, as nanosleep() is. */
static void linger(const struct timespec *nap)
{
#if HPX_UNDER_TSAN
	for (uint64_t end = hpx_now() + (uint64_t)nap->tv_nsec; hpx_now() < end; sched_yield())
		pthread_testcancel();
#else
	nanosleep(nap, NULL);
#endif
}

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	uint32_t number __attribute__((cleanup(loader_left))) = *(const uint32_t *)key->data;
	struct timespec nap = {0, 100000};

	(void)arg;
	(void)error;
	hpx_sight_look(HPX_SIGHT_LOADS, hpx_relaxed_add(&loading[number], 1) == 0, "two loaders of a key at once");
	*(uint32_t *)object = number + 1;
	if (victim_here) {
		nap.tv_nsec += (long)hpx_rng_below(&victim_here->rng, 400000);
		linger(&nap);
		if (victim_here->vanish)
			pthread_exit(NULL);
	}
	return HAPAX_LOAD_OK;
}

static const hapax_type type = {HAPAX_TYPE_INIT, .name = "cancelled", .size = sizeof(uint32_t), .align = 16};

static void *victim_main(void *arg)
{
	struct victim *victim = arg;
	int status;

	victim_here = victim;
	hpx_signals_block();
	status = hapax_cache_get(cache, HAPAX_KEY_OF(victim->key), &victim->object);
	/* no cancellation point in between: what was got is known */
	hpx_relaxed_set(&victim->status, (uint64_t)(int64_t)status);
	return NULL;
}

static void cancel_some(hpx_torturer *self)
{
	struct victim victims[VICTIMS];
	pthread_t threads[VICTIMS];
	uint32_t key = (uint32_t)hpx_rng_below(&self->rng, KEYS);
	hapax_get_options options = {HAPAX_GET_OPTIONS_INIT};
	void *object = NULL;
	unsigned started = 0;
	int status;

	for (; started < VICTIMS; started++) {
		victims[started] = (struct victim){.rng = {hpx_rng_next(&self->rng)}, .key = key,
						   .vanish = hpx_rng_once_in(&self->rng, 3)};
		if (pthread_create(&threads[started], NULL, victim_main, &victims[started]))
			break;
	}
	hpx_pause(hpx_rng_below(&self->rng, 600 * HAPAX_MICROSECOND));
	for (unsigned i = 0; i < started; i++)
		if (hpx_rng_once_in(&self->rng, 2))
			pthread_cancel(threads[i]);
	for (unsigned i = 0; i < started; i++) {
		void *how = NULL;

		pthread_join(threads[i], &how);
		if (how == PTHREAD_CANCELED)
			hpx_relaxed_add(&cancelled, 1);
		status = (int)(int64_t)hpx_relaxed_get(&victims[i].status);
		hpx_sight_look(HPX_SIGHT_CANCELLED, !status || status == HAPAX_EABANDONED, "a joiner got %s",
			       hapax_status_name(status));
		if (victims[i].object)
			hpx_sight_look(HPX_SIGHT_VALUES, *(uint32_t *)victims[i].object == key + 1, "a wrong value");
		hapax_release(victims[i].object);
	}
	options.deadline = hapax_env_now(env) + 20 * HAPAX_SECOND;
	status = hapax_cache_get_with(cache, HAPAX_KEY_OF(key), &options, &object);
	hpx_sight_look(HPX_SIGHT_CANCELLED, !status, "afterwards the key gives %s", hapax_status_name(status));
	hapax_release(object);
	hpx_happened(&hpx_cancels, 1);
}

/* --- callbacks and destructors that leave --- */

struct leaver {
	bool in_callback, by_cancellation;
	unsigned called, freed, destroyed;
	void *object;
};

static void leave(const struct leaver *leaver)
{
	hpx_relaxed_add(&left, 1);
	if (leaver->by_cancellation) {
		pthread_cancel(pthread_self());
		pthread_testcancel();
	}
	pthread_exit(NULL);
}

static void on_death(hapax_weak *weak, void *ctx)
{
	struct leaver *leaver = ctx;

	(void)weak;
	leaver->called++;
	if (leaver->in_callback)
		leave(leaver);
}

static void on_free(void *ctx) { ((struct leaver *)ctx)->freed++; }

static void on_destroy(void *object, void *arg)
{
	struct leaver *leaver = *(struct leaver **)object;

	(void)arg;
	leaver->destroyed++;
	if (!leaver->in_callback)
		leave(leaver);
}

static const hapax_type leaving_type = {HAPAX_TYPE_INIT, .name = "leaving", .size = sizeof(struct leaver *),
					.align = 16, .destroy = on_destroy};

static void *release_main(void *arg)
{
	hpx_signals_block();
	hapax_release(((struct leaver *)arg)->object);
	return NULL;
}

static void leave_once(hpx_torturer *self)
{
	struct leaver leaver = {.in_callback = hpx_rng_once_in(&self->rng, 2),
				.by_cancellation = hpx_rng_once_in(&self->rng, 2)};
	hapax_callback callback = {on_death, &leaver, on_free};
	hapax_weak *weak = NULL;
	pthread_t thread;

	if (hapax_new(env, &leaving_type, 0, &leaver.object))
		return;
	*(struct leaver **)leaver.object = &leaver;
	if (hapax_weak_new(leaver.object, &callback, &weak) || pthread_create(&thread, NULL, release_main, &leaver))
		abort();
	if (hpx_rng_once_in(&self->rng, 2)) {
		pthread_join(thread, NULL);
		(void)hapax_weak_drop(weak);
	} else {
		(void)hapax_weak_drop(weak); /* cancels, or waits for who leaves */
		pthread_join(thread, NULL);
	}
	hpx_sight_look(HPX_SIGHT_FINISHED, leaver.called <= 1 && leaver.freed == 1 && leaver.destroyed == 1,
		       "called %u, freed %u, destroyed %u times", leaver.called, leaver.freed, leaver.destroyed);
}

static void run(hpx_torturer *self, unsigned which)
{
	(void)which;
	while (!hpx_stopping()) {
		cancel_some(self);
		leave_once(self);
	}
}

static int prepare(hpx_torture *torture)
{
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &type, .load = load};

	env = hpx_own_env(torture, NULL);
	options.env = env;
	return hapax_cache_create(&cache, &options) ? -1 : 0;
}

static void judge(hpx_torture *torture, hpx_result *result)
{
	(void)torture;
	hpx_result_note(result, "cancelled", "threads cancelled", hpx_relaxed_get(&cancelled));
	hpx_result_note(result, "left", "deaths whose thread left", hpx_relaxed_get(&left));
	hapax_cache_destroy(cache);
	hpx_own_env_end(env, "cancel", 0, HPX_SIGHT_COUNT);
}

hpx_disturbance hpx_cancels = {
	.name = "cancel",
	.help = "cancellation and pthread_exit in loaders, waiters, callbacks and destructors",
	.field = "cancellations",
	.label = "rounds of cancellation",
	.full = 5000,
	.threads = 1,
	.prepare = prepare,
	.run = run,
	.judge = judge,
};
