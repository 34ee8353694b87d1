/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * short.c - threads that live for a few calls and go on calling while they end.
 *
 * A thread's end runs, in this order: C++-style destructors of thread-local objects, newest first; then those of
 * pthread keys, in the keys' order, again while some value is set. hapax has such a key itself, made at its first call.
 * So there are two keys here, one made before hapax's and one after; and thread-local objects registered before and after
 * the thread's first call of hapax. All their destructors release, load, look up and drop.
 */
#include "disturb.h"

#include "harness/team.h"

#include <pthread.h>
#include <stdlib.h>

enum { AT_ONCE = 16, DESTRUCTORS = 4, ROUNDS = 2 };

/* What the C++ runtime and C11's thread_local destructors use. */
extern int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *dso);
extern void *__dso_handle;

struct brief {
	hpx_torturer *self;
	hpx_thing *left[DESTRUCTORS]; /* one for each destructor to release */
	hapax_weak *weak[DESTRUCTORS];
	unsigned runs[DESTRUCTORS], expected[DESTRUCTORS];
	bool silent; /* its first call of hapax comes in a destructor */
};

static pthread_key_t before_hapax, after_hapax;
static hpx_relaxed destructions;

static void in_destructor(struct brief *brief, unsigned which)
{
	hpx_torturer *self = brief->self;
	hpx_thing *thing;

	hpx_torture_self = self;
	brief->runs[which]++;
	hpx_torture_release(self->torture, brief->left[which]);
	brief->left[which] = NULL;
	if (hapax_weak_drop(brief->weak[which]))
		hpx_sight_look(HPX_SIGHT_SHORT, false, "a drop in a destructor was refused");
	brief->weak[which] = NULL;
	thing = hpx_torture_get_pure(self, hpx_zipf_next(&self->torture->zipf, &self->rng), HAPAX_FOREVER);
	hpx_torture_release(self->torture, thing);
	hpx_relaxed_add(&destructions, 1);
}

static void destroy_early(void *brief) { in_destructor(brief, 0); }
static void destroy_late(void *brief) { in_destructor(brief, 1); }

static void destroy_first_key(void *brief)
{
	in_destructor(brief, 2);
	if (((struct brief *)brief)->runs[2] < ROUNDS)
		pthread_setspecific(before_hapax, brief);
}

static void destroy_last_key(void *brief)
{
	in_destructor(brief, 3);
	if (((struct brief *)brief)->runs[3] < ROUNDS)
		pthread_setspecific(after_hapax, brief);
}

/* Something to release and a handle to drop, for each destructor. */
static void provide(struct brief *brief)
{
	hpx_torturer *self = brief->self;

	for (unsigned i = 0; i < DESTRUCTORS; i++) {
		brief->left[i] =
			hpx_torture_get_pure(self, hpx_zipf_next(&self->torture->zipf, &self->rng), HAPAX_FOREVER);
		if (brief->left[i] && hapax_weak_new(brief->left[i], NULL, &brief->weak[i]))
			hpx_sight_look(HPX_SIGHT_SHORT, false, "no handle");
	}
}

static void *brief_main(void *arg)
{
	struct brief *brief = arg;
	unsigned keys = (unsigned)hpx_rng_below(&brief->self->rng, 4);

	hpx_torture_self = brief->self;
	if (!__cxa_thread_atexit_impl(destroy_early, brief, &__dso_handle))
		brief->expected[0] = 1;
	if (!brief->silent) {
		provide(brief);
		if (!__cxa_thread_atexit_impl(destroy_late, brief, &__dso_handle))
			brief->expected[1] = 1;
	}
	if (keys & 1 && !pthread_setspecific(before_hapax, brief))
		brief->expected[2] = ROUNDS;
	if (keys & 2 && !pthread_setspecific(after_hapax, brief))
		brief->expected[3] = ROUNDS;
	if (hpx_rng_once_in(&brief->self->rng, 2))
		pthread_exit(NULL);
	return NULL;
}

/* What no destructor came for. */
static void tidy(struct brief *brief)
{
	for (unsigned i = 0; i < DESTRUCTORS; i++) {
		hpx_sight_look(HPX_SIGHT_SHORT, brief->runs[i] == brief->expected[i],
			       "destructor %u ran %u times instead of %u", i, brief->runs[i], brief->expected[i]);
		hpx_torture_release(brief->self->torture, brief->left[i]);
		(void)hapax_weak_drop(brief->weak[i]);
	}
}

static void run(hpx_torturer *self, unsigned which)
{
	struct brief briefs[AT_ONCE];
	pthread_t threads[AT_ONCE];
	pthread_attr_t small;
	unsigned started;

	(void)which;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 << 10);
	while (!hpx_stopping()) {
		for (started = 0; started < AT_ONCE; started++) {
			briefs[started] = (struct brief){.self = self->torture->brief[started],
							 .silent = hpx_rng_once_in(&self->rng, 4)};
			if (pthread_create(&threads[started], &small, brief_main, &briefs[started]))
				break;
		}
		for (unsigned i = 0; i < started; i++)
			pthread_join(threads[i], NULL);
		for (unsigned i = 0; i < started; i++)
			tidy(&briefs[i]);
		hpx_happened(&hpx_short_threads, started);
	}
	pthread_attr_destroy(&small);
}

/* The first thing that `torture` does: hapax has made no key yet. */
void hpx_short_first(void)
{
	if (pthread_key_create(&before_hapax, destroy_first_key))
		abort();
}

static int prepare(hpx_torture *torture)
{
	if (hapax_thread_prepare(torture->env) || pthread_key_create(&after_hapax, destroy_last_key))
		return -1;
	for (unsigned i = 0; i < HPX_TORTURE_BRIEF; i++)
		torture->brief[i] = hpx_recruit(torture);
	return 0;
}

_Static_assert((int)AT_ONCE <= (int)HPX_TORTURE_BRIEF, "each has a torturer");

static void judge(hpx_torture *torture, hpx_result *result)
{
	(void)torture;
	hpx_result_note(result, "short_destructors", "their destructors that used hapax", hpx_relaxed_get(&destructions));
}

hpx_disturbance hpx_short_threads = {
	.name = "short-threads",
	.help = "threads that call from the destructors of their thread-specific data",
	.field = "short_threads",
	.label = "short threads",
	.full = 100000,
	.threads = 1,
	.prepare = prepare,
	.run = run,
	.judge = judge,
};
