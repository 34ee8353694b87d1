/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/env.c - environments that end, threads that come and go, memory that is used again.
 *
 * Faults put in on purpose that show here: NO_GRACE_PERIOD, STAMP_EARLY, USE_AFTER_UNLOCK, RELAXED_DONE.
 */
#include "model/scenarios/kit.h"

struct envs {
	struct kit k;
	struct item *a, *b;
	hapax_weak *weak;
	hapax_env *second;
};

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void last_setup(void *state)
{
	struct envs *s = state;

	kit_open(&s->k, 0, 0);
	s->a = kit_new(&s->k, 0);
	s->weak = kit_weak(s->a);
}

static void last_alone_setup(void *state)
{
	struct envs *s = state;

	kit_open(&s->k, HAPAX_ENV_NO_THREAD, 0);
	s->a = kit_new(&s->k, 0);
	s->weak = kit_weak(s->a);
}

static void end_env(void *state) { hapax_env_destroy(((struct envs *)state)->k.env); }
static void release_a(void *state) { hapax_release(((struct envs *)state)->a); }

static void upgrade_drop(void *state)
{
	struct envs *s = state;

	kit_give(&s->k, 0, kit_upgrade(&s->k, 0, s->weak));
	hapax_weak_drop(s->weak);
}

static void last_finish(void *state)
{
	struct envs *s = state;

	MODEL_CHECK(s->k.destroyed == 1, "%u destructors ran", s->k.destroyed);
	hapax_testing_drain(NULL); /* the environment has gone; the model sees to it that nothing is left of it */
}

SCENARIO(env_end, "env-end", "an environment ends while its last object dies and its last handle goes", struct envs,
	 last_setup, last_finish, 1, end_env, release_a, upgrade_drop);
SCENARIO(env_end_alone, "env-end-alone", "the same without the reclaimer", struct envs, last_alone_setup, last_finish, 1,
	 end_env, release_a, upgrade_drop);

/* What waits for hapax_run_deferred() when its environment ends, and what comes too late for it. */
static void last_deferred_setup(void *state)
{
	struct envs *s = state;

	kit_open(&s->k, HAPAX_ENV_NO_THREAD, 0);
	if (kit_try_new(&s->k, &kit_deferred_type, 0, 0, &s->a) || kit_try_new(&s->k, &kit_deferred_type, 1, 0, &s->b))
		model_fail("hapax_new failed");
	s->weak = kit_weak(s->a);
}

static void release_both(void *state)
{
	struct envs *s = state;

	hapax_release(s->a);
	hapax_release(s->b);
}

static void last_deferred_finish(void *state)
{
	struct envs *s = state;

	MODEL_CHECK(s->k.destroyed == 2, "%u destructors ran", s->k.destroyed);
	hapax_testing_drain(NULL);
}

SCENARIO(env_end_deferred, "env-end-deferred", "an environment ends while objects of a deferred type die", struct envs,
	 last_deferred_setup, last_deferred_finish, 1, end_env, release_both, upgrade_drop);

static void end_release(void *state)
{
	end_env(state);
	release_a(state);
}

static void drop_weak(void *state) { hapax_weak_drop(((struct envs *)state)->weak); }

SCENARIO(env_end_handle, "env-end-handle", "an environment ends before its object and beside its handle", struct envs,
	 last_setup, last_finish, 1, end_release, drop_weak);

/* ---- without the reclaimer --------------------------------------------------------------------------------------- */

static void alone_setup(void *state)
{
	struct envs *s = state;

	kit_open(&s->k, HAPAX_ENV_NO_THREAD, 0);
	s->k.loose = true;
	kit_table(&s->k, KIT_PLAIN);
	s->a = kit_new(&s->k, 0);
	kit_put(&s->k, 0, s->a);
}

static void reclaim(void *state) { hapax_reclaim(((struct envs *)state)->k.env); }
static void find_give(void *state) { kit_give(state, 0, kit_find(state, 0)); }

static void release_reclaim(void *state)
{
	release_a(state);
	reclaim(state);
}

static void alone_finish(void *state)
{
	struct envs *s = state;

	MODEL_CHECK(s->k.destroyed == 1, "%u destructors ran", s->k.destroyed);
	kit_close(&s->k, 0);
}

SCENARIO(reclaim_two, "reclaim-two", "two threads reclaim while a third looks up what dies", struct envs, alone_setup,
	 alone_finish, 1, release_reclaim, reclaim, find_give);
SCENARIO(reclaim_look, "reclaim-look", "a death and a reclaim against a lookup", struct envs, alone_setup, alone_finish,
	 2, release_reclaim, find_give);

/* ---- memory that is used again ----------------------------------------------------------------------------------- */

/* One object after another in the same memory, if the grace period of the one before is over: a lookup sees whole ones. */
static void again_setup(void *state)
{
	struct envs *s = state;

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	kit_table(&s->k, KIT_PLAIN);
	s->a = kit_new(&s->k, 0);
	kit_put(&s->k, 0, s->a);
}

static void again(void *state)
{
	struct envs *s = state;

	hapax_release(s->a);
	for (unsigned i = 0; i < 2; i++) {
		struct item *item = kit_new(&s->k, 0);

		kit_put(&s->k, 0, item);
		hapax_release(item);
	}
}

static void again_reclaim(void *state)
{
	struct envs *s = state;

	release_reclaim(state);
	s->b = kit_new(&s->k, 0);
	kit_put(&s->k, 0, s->b);
	hapax_release(s->b);
}

static void again_finish(void *state) { kit_close(state, 0); }

SCENARIO(memory_again, "memory-again", "objects follow one another under a key against a lookup", struct envs,
	 again_setup, again_finish, 1, again, find_give);
SCENARIO(memory_again_three, "memory-again-three", "objects follow one another against two lookups", struct envs,
	 again_setup, again_finish, 1, again_reclaim, find_give, find_give);

/* Through a handle whose object's memory goes. */
static void upgrade_setup(void *state)
{
	last_setup(state);
	((struct envs *)state)->k.loose = true;
}

static void release_make(void *state)
{
	struct envs *s = state;

	hapax_release(s->a);
	hapax_reclaim(s->k.env);
	s->b = kit_new(&s->k, 0);
}

static void upgrade_finish(void *state)
{
	struct envs *s = state;

	hapax_release(s->b);
	kit_close(&s->k, 0);
}

SCENARIO(memory_handle, "memory-handle", "an object's memory is used again while its handle is looked through",
	 struct envs, upgrade_setup, upgrade_finish, 2, release_make, upgrade_drop);

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void share_setup(void *state)
{
	struct envs *s = state;

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
}

/* Each makes and releases, and leaves its share of the pool to whoever comes. */
static void make_release(void *state)
{
	struct envs *s = state;

	for (unsigned i = 0; i < 2; i++)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, kit_new(&s->k, 0)));
}

static void share_finish(void *state) { kit_close(state, 0); }

SCENARIO(thread_shares, "thread-shares", "three threads come and go and leave their shares to each other", struct envs,
	 share_setup, share_finish, 1, make_release, make_release, make_release);
SCENARIO(thread_shares_two, "thread-shares-two", "two threads come and go", struct envs, share_setup, share_finish, 1,
	 make_release, make_release);

/* Made by one, released by another: the blocks change owners. */
static void give_away_setup(void *state)
{
	struct envs *s = state;

	share_setup(state);
	kit_table(&s->k, KIT_PLAIN);
}

static void give_away(void *state)
{
	struct envs *s = state;

	for (unsigned i = 0; i < 2; i++) {
		struct item *item = kit_new(&s->k, i);

		kit_put(&s->k, i, item);
		hapax_release(item);
	}
}

static void take_any(void *state)
{
	struct envs *s = state;
	void *out;

	while (hapax_table_pop_any(s->k.table, &out) == 0)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
}

SCENARIO(thread_blocks, "thread-blocks", "what one thread makes others release", struct envs, give_away_setup,
	 share_finish, 1, give_away, take_any, take_any);

/* A thread's share of one environment, while another environment ends. */
static void second_setup(void *state)
{
	struct envs *s = state;

	share_setup(state);
	s->second = model_env(0, 0);
}

static void use_second(void *state)
{
	struct envs *s = state;
	void *out = NULL;

	if (hapax_new(s->second, &kit_type, 0, &out))
		model_fail("hapax_new failed");
	kit_fill(&s->k, out, 1);
	hapax_env_destroy(s->second);
	hapax_release(out);
	make_release(state);
}

SCENARIO(env_two, "env-two", "one environment ends while another is used", struct envs, second_setup, share_finish, 1,
	 use_second, make_release);
