/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * deferred.c - types whose deaths are deferred, and storms of registrations.
 *
 * Deferred: makers release, drainers run what is queued; a destructor or callback of such a type never runs elsewhere.
 * Barriers: objects with many callback handles, dropped by several threads in random order while the last reference
 * goes: each registration is either called or cancelled, its ctx_free runs once, and nothing comes after its drop.
 */
#include "disturb.h"

#include "harness/team.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { MAKERS = 1, DRAINERS = 2, MANY = 96, DROPPERS = 3 };

/* --- deferred --- */

static hapax_env *env;
static hpx_relaxed made, drained, destroyed, called;
static __thread unsigned draining;

struct later {
	hpx_relaxed deaths, calls;
	uint64_t check;
};

static void on_later_death(hapax_weak *weak, void *ctx)
{
	(void)weak;
	(void)ctx;
	hpx_sight_look(HPX_SIGHT_DEFERRED, draining, "a callback ran outside hapax_run_deferred()");
	hpx_relaxed_add(&called, 1);
}

static void destroy_later(void *object, void *arg)
{
	struct later *later = object;

	(void)arg;
	hpx_sight_look(HPX_SIGHT_DEFERRED, draining && hpx_relaxed_add(&later->deaths, 1) == 0 && later->check == 1234,
		       "a destructor ran twice or outside hapax_run_deferred()");
	hpx_relaxed_add(&destroyed, 1);
}

static const hapax_type later_type = {HAPAX_TYPE_INIT, .name = "deferred", .size = sizeof(struct later),
				      .align = _Alignof(struct later), .flags = HAPAX_TYPE_DEFERRED,
				      .destroy = destroy_later};

static void make_later(hpx_torturer *self)
{
	hapax_callback callback = {on_later_death, NULL, NULL};
	void *object = NULL;
	hapax_weak *weak = NULL;

	if (hapax_new(env, &later_type, 0, &object))
		return;
	((struct later *)object)->check = 1234;
	if (hpx_rng_once_in(&self->rng, 2) && hapax_weak_new(object, &callback, &weak))
		hpx_sight_look(HPX_SIGHT_STATUS, false, "no handle");
	hapax_release(object);
	(void)hapax_weak_drop(weak);
	hpx_relaxed_add(&made, 1);
	hpx_happened(&hpx_deferreds, 1);
}

static void drain(void)
{
	draining++;
	hpx_relaxed_add(&drained, hapax_run_deferred(env));
	draining--;
}

static void run_deferred(hpx_torturer *self, unsigned which)
{
	while (!hpx_stopping()) {
		if (which < MAKERS)
			for (unsigned i = 0; i < 64; i++)
				make_later(self);
		else
			drain();
		hpx_pause(hpx_rng_below(&self->rng, 200 * HAPAX_MICROSECOND));
	}
}

static int prepare_deferred(hpx_torture *torture)
{
	env = hpx_own_env(torture, NULL);
	return 0;
}

static void judge_deferred(hpx_torture *torture, hpx_result *result)
{
	(void)torture;
	(void)result;
	drain();
	hpx_sight_look(HPX_SIGHT_DEFERRED,
		       hpx_relaxed_get(&made) == hpx_relaxed_get(&destroyed) &&
			       hpx_relaxed_get(&made) == hpx_relaxed_get(&drained),
		       "%llu died, %llu were drained, %llu destroyed", (unsigned long long)hpx_relaxed_get(&made),
		       (unsigned long long)hpx_relaxed_get(&drained), (unsigned long long)hpx_relaxed_get(&destroyed));
	hpx_own_env_end(env, "deferred", 0, HPX_SIGHT_COUNT);
}

/* --- storms of registrations --- */

struct registration {
	hapax_weak *weak;
	hpx_relaxed fired, freed, dropped;
};

struct storm {
	struct registration all[MANY];
	hpx_relaxed next;
	void *object;
};

static hapax_env *storm_env;
static hpx_relaxed fired, cancelled;

static const hapax_type watched_type = {HAPAX_TYPE_INIT, .name = "watched", .size = 32, .align = 16};

static void on_fire(hapax_weak *weak, void *ctx)
{
	struct registration *one = ctx;

	hpx_sight_look(HPX_SIGHT_BARRIER,
		       hpx_relaxed_add(&one->fired, 1) == 0 && !hpx_relaxed_get(&one->freed) &&
			       !hpx_relaxed_get(&one->dropped) && !hapax_weak_alive(weak),
		       "a callback ran twice, after its drop, or before its death");
	sched_yield();
	hpx_relaxed_add(&fired, 1);
}

static void on_free(void *ctx)
{
	struct registration *one = ctx;

	hpx_sight_look(HPX_SIGHT_BARRIER, hpx_relaxed_add(&one->freed, 1) == 0 && !hpx_relaxed_get(&one->dropped),
		       "ctx_free ran twice or after the drop");
}

static void *drop_main(void *arg)
{
	struct storm *storm = arg;
	uint64_t at;

	while ((at = hpx_relaxed_add(&storm->next, 1)) < MANY) {
		struct registration *one = &storm->all[at * 37 % MANY];
		int status = hapax_weak_drop(one->weak);

		hpx_relaxed_set(&one->dropped, 1);
		hpx_sight_look(HPX_SIGHT_BARRIER, !status && hpx_relaxed_get(&one->freed) == 1,
			       "after a drop (%s) ctx_free has run %llu times", hapax_status_name(status),
			       (unsigned long long)hpx_relaxed_get(&one->freed));
		if (!hpx_relaxed_get(&one->fired))
			hpx_relaxed_add(&cancelled, 1);
	}
	return NULL;
}

static void storm_once(hpx_torturer *self, struct storm *storm)
{
	pthread_t threads[DROPPERS];

	*storm = (struct storm){.object = NULL};
	if (hapax_new(storm_env, &watched_type, 0, &storm->object))
		return;
	for (unsigned i = 0; i < MANY; i++) {
		hapax_callback callback = {on_fire, &storm->all[i], on_free};

		if (hapax_weak_new(storm->object, &callback, &storm->all[i].weak))
			abort();
		/* the registration of an earlier handle is used again */
		if (i && hpx_rng_once_in(&self->rng, 4)) {
			(void)hapax_weak_drop(storm->all[i].weak);
			hpx_relaxed_set(&storm->all[i].freed, 0);
			if (hapax_weak_new(storm->object, &callback, &storm->all[i].weak))
				abort();
		}
	}
	for (unsigned i = 0; i < DROPPERS; i++)
		if (pthread_create(&threads[i], NULL, drop_main, storm))
			abort();
	hpx_pause(hpx_rng_below(&self->rng, 100 * HAPAX_MICROSECOND));
	hapax_release(storm->object);
	for (unsigned i = 0; i < DROPPERS; i++)
		pthread_join(threads[i], NULL);
	hpx_happened(&hpx_barriers, MANY);
}

static void run_storms(hpx_torturer *self, unsigned which)
{
	struct storm *storm = malloc(sizeof(*storm));

	(void)which;
	while (storm && !hpx_stopping()) {
		storm_once(self, storm);
		hpx_pause(hpx_rng_below(&self->rng, HAPAX_MILLISECOND));
	}
	free(storm);
}

static int prepare_storms(hpx_torture *torture)
{
	storm_env = hpx_own_env(torture, NULL);
	return 0;
}

static void judge_storms(hpx_torture *torture, hpx_result *result)
{
	(void)torture;
	hpx_result_note(result, "registrations_fired", "of which fired", hpx_relaxed_get(&fired));
	hpx_result_note(result, "registrations_cancelled", "of which cancelled", hpx_relaxed_get(&cancelled));
	hpx_own_env_end(storm_env, "callbacks", 0, HPX_SIGHT_COUNT);
}

hpx_disturbance hpx_deferreds = {
	.name = "deferred",
	.help = "types whose deaths are deferred",
	.field = "deferred_deaths",
	.label = "deferred deaths",
	.full = 100000,
	.threads = MAKERS + DRAINERS,
	.prepare = prepare_deferred,
	.run = run_deferred,
	.judge = judge_deferred,
};

hpx_disturbance hpx_barriers = {
	.name = "callbacks",
	.help = "storms of registrations and drops against deaths",
	.field = "registrations",
	.label = "registrations dropped against a death",
	.full = 100000,
	.threads = 1,
	.prepare = prepare_storms,
	.run = run_storms,
	.judge = judge_storms,
};
