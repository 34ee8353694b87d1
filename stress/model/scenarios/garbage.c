/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/garbage.c - the bound on garbage: creation waits for room, or is refused, and nobody is forgotten.
 *
 * Faults put in on purpose that show here: BOUND_IGNORED, STAMP_EARLY.
 */
#include "model/scenarios/kit.h"

enum { EXTRA = 4000, BOUND = 8192, ROUNDS = 3, ROOM = 5000 /* what one object may take */ };

struct garbage {
	struct kit k;
	struct item *a, *b;
	uint64_t begun;
	int status;
	unsigned refused;
};

static hapax_env_stats stats_of(hapax_env *env)
{
	hapax_env_stats stats = {.size = sizeof(stats)};

	if (hapax_env_stats_get(env, &stats))
		model_fail("hapax_env_stats_get failed");
	return stats;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void setup(void *state)
{
	struct garbage *s = state;

	kit_open(&s->k, 0, BOUND);
	s->begun = model_now();
}

static void come_and_go(void *state)
{
	struct garbage *s = state;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct item *item = NULL;
		int status = kit_try_new(&s->k, &kit_type, 0, EXTRA, &item);

		MODEL_CHECK(!status, "a creation that may wait: %s", hapax_status_name(status));
		kit_give(&s->k, 0, kit_hold(&s->k, 0, item));
	}
}

/* Two threads own one object each at most when the bound is reached. */
static void bounded_finish(void *state)
{
	struct garbage *s = state;
	hapax_env_stats stats = stats_of(s->k.env);

	MODEL_CHECK(stats.garbage_peak_bytes <= BOUND + 3 * ROOM, "%zu bytes of garbage", stats.garbage_peak_bytes);
	MODEL_CHECK(!stats.garbage_refusals, "a creation that may wait was refused");
	/* The waits have time limits of 50 ms: if one was needed, a wake-up was lost. */
	MODEL_CHECK(model_now() - s->begun < 20 * HAPAX_MILLISECOND, "somebody waited for %llu ns",
		    (unsigned long long)(model_now() - s->begun));
	hapax_testing_drain(s->k.env);
	stats = stats_of(s->k.env);
	MODEL_CHECK(!stats.garbage_bytes, "%zu bytes of garbage are left", stats.garbage_bytes);
	kit_close(&s->k, 0);
}

static void loose_setup(void *state)
{
	setup(state);
	((struct garbage *)state)->k.loose = true;
}

SCENARIO(garbage_bound, "garbage-bound", "two threads create at the bound", struct garbage, loose_setup, bounded_finish,
	 0, come_and_go, come_and_go);
SCENARIO(garbage_bound_three, "garbage-bound-three", "three threads create at the bound", struct garbage, loose_setup,
	 bounded_finish, 0, come_and_go, come_and_go, come_and_go);

/* One waits for what another one retires; that one never creates. */
static void waits_setup(void *state)
{
	struct garbage *s = state;

	loose_setup(state);
	if (kit_try_new(&s->k, &kit_type, 0, EXTRA, &s->a) || kit_try_new(&s->k, &kit_type, 0, EXTRA, &s->b))
		model_fail("hapax_new failed");
}

static void release_both(void *state)
{
	struct garbage *s = state;

	hapax_release(s->a);
	hapax_release(s->b);
}

static void create_one(void *state)
{
	struct garbage *s = state;
	struct item *item = NULL;
	int status = kit_try_new(&s->k, &kit_type, 0, EXTRA, &item);

	MODEL_CHECK(!status, "a creation that may wait: %s", hapax_status_name(status));
	hapax_release(item);
}

SCENARIO(garbage_wait, "garbage-wait", "a creation waits for what another thread retires", struct garbage, waits_setup,
	 bounded_finish, 1, release_both, create_one);

/* ---- refusing ---------------------------------------------------------------------------------------------------- */

static void alone_setup(void *state)
{
	struct garbage *s = state;

	kit_open(&s->k, HAPAX_ENV_NO_THREAD, BOUND);
	s->k.loose = true;
}

/* Without the reclaimer creation is refused at the bound; after a reclaim it succeeds, unless others were faster. */
static void create_or_reclaim(void *state)
{
	struct garbage *s = state;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct item *item = NULL;
		int status;

		while ((status = kit_try_new(&s->k, &kit_type, 0, EXTRA, &item)) == HAPAX_EGARBAGE) {
			s->refused++;
			hapax_reclaim(s->k.env);
		}
		MODEL_CHECK(!status, "a creation: %s", hapax_status_name(status));
		hapax_release(item);
	}
}

static void refused_finish(void *state)
{
	struct garbage *s = state;
	hapax_env_stats stats = stats_of(s->k.env);

	MODEL_CHECK(stats.garbage_peak_bytes <= BOUND + 2 * ROOM, "%zu bytes of garbage", stats.garbage_peak_bytes);
	MODEL_CHECK(stats.garbage_refusals == s->refused && s->refused, "%u refusals, %llu counted", s->refused,
		    (unsigned long long)stats.garbage_refusals);
	kit_close(&s->k, 0);
}

SCENARIO(garbage_refuse, "garbage-refuse", "two threads create at the bound without the reclaimer", struct garbage,
	 alone_setup, refused_finish, 1, create_or_reclaim, create_or_reclaim);

/* A put refused at the bound has changed nothing; releasing needs no room. */
static void full_setup(void *state)
{
	struct garbage *s = state;
	struct item *item;

	alone_setup(state);
	kit_cache(&s->k, 0, KIT_IN_PLACE);
	s->a = kit_get(&s->k, 0);
	s->b = kit_new(&s->k, 0);
	while (!kit_try_new(&s->k, &kit_type, 1, EXTRA, &item))
		hapax_release(item);
}

static void put_refused(void *state)
{
	struct garbage *s = state;

	s->status = hapax_cache_put(s->k.cache, kit_key(0), s->b);
	MODEL_CHECK(!s->status || s->status == HAPAX_EGARBAGE, "a put at the bound: %s", hapax_status_name(s->status));
}

static void reclaim(void *state) { hapax_reclaim(((struct garbage *)state)->k.env); }

static void put_refused_finish(void *state)
{
	struct garbage *s = state;
	struct item *item = kit_peek(&s->k, 0);

	MODEL_CHECK(item == (s->status ? s->a : s->b), "a put said %s, and that is not so", hapax_status_name(s->status));
	kit_check(&s->k, 1);
	kit_give(&s->k, 0, item);
	kit_give(&s->k, 0, s->a);
	hapax_release(s->b);
	kit_close(&s->k, 0);
}

SCENARIO(garbage_put, "garbage-put", "a put at the bound against a reclaim", struct garbage, full_setup,
	 put_refused_finish, 2, put_refused, reclaim);

static void get_refused(void *state)
{
	struct garbage *s = state;
	void *out = (void *)1;
	int status = hapax_cache_get(s->k.cache, kit_key(2), &out);

	MODEL_CHECK(out ? !status : status == HAPAX_EGARBAGE, "a get at the bound: %s", hapax_status_name(status));
	if (out)
		kit_give(&s->k, 2, kit_hold(&s->k, 2, out));
	MODEL_CHECK(!s->k.loading[2], "a refused get left a load behind");
}

static void get_refused_finish(void *state)
{
	struct garbage *s = state;

	kit_check(&s->k, 1);
	kit_give(&s->k, 0, s->a);
	hapax_release(s->b);
	kit_close(&s->k, 0);
}

SCENARIO(garbage_get, "garbage-get", "two gets that load at the bound against a reclaim", struct garbage, full_setup,
	 get_refused_finish, 1, get_refused, get_refused, reclaim);
