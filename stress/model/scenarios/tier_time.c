/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/tier_time.c - entries whose time is over: found by a sweep or by whoever meets them, against writes,
 * removals and deaths; timers against all of these. The clock stands still but for the thread that lets it pass.
 */
#include "model/scenarios/tier.h"

enum { HALF = TIER_TTL / 2 };

/* Half of A's time is over. */
static void open_with(struct tier *s, int64_t bound, unsigned entries, bool hold)
{
	hapax_cache_options o = tier_options(s);

	o.ttl_ns = TIER_TTL;
	o.max_entries = bound;
	o.policy = bound ? hapax_policy_sieve() : NULL;
	tier_open(s, 0, &o, entries, hold);
	model_advance(HALF);
}

static void one_setup(void *state) { open_with(state, 4, 1, false); }
static void held_setup(void *state) { open_with(state, 4, 1, true); }
static void weak_setup(void *state) { open_with(state, 0, 1, true); }

static void sweep(void *state)
{
	struct tier *s = state;

	model_advance(HALF);
	while (hapax_cache_maintain(s->k.cache))
		model_yield();
}

static void put_0(void *state) { tier_put(state, 0); }
static void put_1(void *state) { tier_put(state, 1); }
static void release_a(void *state) { tier_let_go_of_a(state); }

static void remove_0(void *state)
{
	struct tier *s = state;

	s->status[0] = hapax_cache_remove(s->k.cache, kit_key(0));
	MODEL_CHECK(!s->status[0] || s->status[0] == HAPAX_MISS, "hapax_cache_remove: %s",
		    hapax_status_name(s->status[0]));
}

/* Object 1 is A, written first: nobody is given it after its end. */
static void look(struct tier *s, bool load)
{
	uint64_t now = model_now();
	struct item *item = load ? kit_get(&s->k, 0) : kit_peek(&s->k, 0);

	MODEL_CHECK(!item || item->id != 1 || s->longer || now - s->begun < TIER_TTL,
		    "an object was given out after its end");
	if (item)
		kit_give(&s->k, 0, item);
}

static void peek_0(void *state) { look(state, false); }
static void get_0(void *state) { look(state, true); }

/* The newest value of key 0 is there, and A was told of once. */
static void newer_finish(void *state)
{
	struct tier *s = state;

	MODEL_CHECK(hapax_cache_contains(s->k.cache, kit_key(0)) == 1, "what was written in time is gone");
	MODEL_CHECK(tier_told(s, 0) == 1, "one value was written over or expired, %u were told of", tier_told(s, 0));
	MODEL_CHECK(s->told[0][HAPAX_CAUSE_REPLACED] + s->told[0][HAPAX_CAUSE_EXPIRED] == 1,
		    "told of with another cause");
	tier_close(s, hapax_cache_size(s->k.cache));
}

TIER_SCENARIO(expire_put, "expire-put", "A expires while another is put; a third thread looks", struct tier, one_setup,
	      newer_finish, 1, sweep, put_0, peek_0);

/* The get came in time, or loaded. */
static void expired_finish(void *state)
{
	struct tier *s = state;
	size_t entries = hapax_cache_size(s->k.cache);

	MODEL_CHECK(tier_told(s, 0) == 1 && s->told[0][HAPAX_CAUSE_EXPIRED] == 1, "A expired, and was told of %u times",
		    tier_told(s, 0));
	MODEL_CHECK(entries == s->k.loads, "%u loads, %zu are present", s->k.loads, entries);
	tier_close(s, entries);
}

TIER_SCENARIO(expire_get, "expire-get", "A is found to be over by a sweep and by a get, which loads", struct tier,
	      one_setup, expired_finish, 2, sweep, get_0);
TIER_SCENARIO(expire_get_two, "expire-get-two", "A is found to be over by a sweep and by two gets", struct tier,
	      one_setup, expired_finish, 1, sweep, get_0, get_0);

/* ---- writing the same object again ------------------------------------------------------------------------------- */

static void touch_0(void *state)
{
	struct tier *s = state;

	s->status[0] = hapax_cache_touch(s->k.cache, kit_key(0));
	MODEL_CHECK(!s->status[0] || s->status[0] == HAPAX_MISS, "hapax_cache_touch: %s",
		    hapax_status_name(s->status[0]));
}

static void longer_setup(void *state)
{
	struct tier *s = state;

	one_setup(state);
	s->longer = true;
}

/* Loads nothing. */
static void later_look(void *state)
{
	model_advance(HALF);
	look(state, false);
}

static void touched_finish(void *state)
{
	struct tier *s = state;
	int there = hapax_cache_contains(s->k.cache, kit_key(0));

	MODEL_CHECK(there == !s->status[0], "touch answered %s, and the entry is %s", hapax_status_name(s->status[0]),
		    there ? "there" : "gone");
	MODEL_CHECK(tier_told(s, 0) == !there && s->told[0][HAPAX_CAUSE_EXPIRED] == !there, "told of %u times",
		    tier_told(s, 0));
	tier_close(s, (size_t)there);
}

TIER_SCENARIO(expire_touch, "expire-touch", "A expires while it is written anew", struct tier, one_setup,
	      touched_finish, 2, sweep, touch_0);
TIER_SCENARIO(expire_touch_look, "expire-touch-look", "the same, where a look finds that its time is over", struct tier,
	      longer_setup, touched_finish, 2, later_look, touch_0);

static void put_a(void *state)
{
	struct tier *s = state;

	kit_cache_put(&s->k, 0, s->a);
}

static void again_setup(void *state)
{
	struct tier *s = state;

	held_setup(state);
	s->again = true;
}

static void same_finish(void *state)
{
	struct tier *s = state;
	struct item *found = kit_peek(&s->k, 0);

	MODEL_CHECK(found == s->a, "an object was put in time and is not there");
	kit_give(&s->k, 0, found);
	tier_let_go_of_a(s);
	tier_close(s, 1);
}

TIER_SCENARIO(expire_same, "expire-same", "A expires while it is put again", struct tier, again_setup, same_finish, 2,
	      sweep, put_a);

/* ---- deaths, timers ---------------------------------------------------------------------------------------------- */

static void one_end_finish(void *state)
{
	struct tier *s = state;

	MODEL_CHECK(tier_told(s, 0) == 1 && s->told[0][HAPAX_CAUSE_COLLECTED] + s->told[0][HAPAX_CAUSE_EXPIRED] == 1,
		    "A died or expired, and was told of %u times", tier_told(s, 0));
	tier_close(s, hapax_cache_size(s->k.cache));
}

TIER_SCENARIO(expire_death, "expire-death", "A expires while its last user lets go, and a third thread looks",
	      struct tier, weak_setup, one_end_finish, 2, sweep, release_a, peek_0);
TIER_SCENARIO(expire_death_put, "expire-death-put", "the same while timers are set and taken back", struct tier,
	      weak_setup, one_end_finish, 1, sweep, release_a, put_1);

static void removed_finish(void *state)
{
	struct tier *s = state;

	MODEL_CHECK(tier_told(s, 0) == 1, "A was told of %u times", tier_told(s, 0));
	MODEL_CHECK(s->told[0][HAPAX_CAUSE_EXPIRED] + (s->status[0] == 0 && s->told[0][HAPAX_CAUSE_EXPLICIT]) == 1,
		    "a removal answered %s, with another cause", hapax_status_name(s->status[0]));
	MODEL_CHECK(hapax_cache_contains(s->k.cache, kit_key(1)) == 1, "what was put in time is gone");
	tier_close(s, 1);
}

TIER_SCENARIO(expire_remove, "expire-remove", "the timer of A is fired and detached, and another one is set",
	      struct tier, one_setup, removed_finish, 2, sweep, remove_0, put_1);

static void sweep_once(void *state)
{
	struct tier *s = state;

	hapax_cache_maintain(s->k.cache);
}

/* Who holds the lock for a timer sees to what arrives meanwhile. */
static void full_setup(void *state)
{
	open_with(state, 1, 1, false);
	model_advance(HALF);
}

static void deadline_0(void *state)
{
	struct tier *s = state;
	int status = hapax_cache_set_ttl(s->k.cache, kit_key(0), TIER_TTL);

	MODEL_CHECK(!status || status == HAPAX_MISS, "hapax_cache_set_ttl: %s", hapax_status_name(status));
}

static void settled_finish(void *state)
{
	tier_settled(state, 1);
	tier_close(state, 1);
}

static void fresh_setup(void *state) { open_with(state, 1, 1, false); }

TIER_IN_TIME(expire_settle, "expire-settle", "a sweep while one arrives; there is room for one", struct tier,
	     full_setup, settled_finish, 2, sweep_once, put_1);
TIER_IN_TIME(deadline_settle, "deadline-settle", "a timer is set again while one arrives; there is room for one",
	     struct tier, fresh_setup, settled_finish, 2, deadline_0, put_1);

static void half_setup(void *state)
{
	one_setup(state);
	model_advance(HALF);
}

static void over_finish(void *state)
{
	struct tier *s = state;

	while (hapax_cache_maintain(s->k.cache))
		;
	MODEL_CHECK(tier_told(s, 0) == 1 && s->told[0][HAPAX_CAUSE_EXPIRED] == 1, "A expired, and was told of %u times",
		    tier_told(s, 0));
	tier_close(s, 1);
}

TIER_SCENARIO(expire_sweeps, "expire-sweeps", "two sweeps and a put, which does a little of it", struct tier,
	      half_setup, over_finish, 2, sweep_once, sweep_once, put_1);

/* ---- retention in time ------------------------------------------------------------------------------------------- */

static void idle_setup(void *state)
{
	struct tier *s = state;
	hapax_cache_options o = tier_options(s);

	o.retain_idle_ns = TIER_TTL;
	s->longer = true;
	tier_open(s, 0, &o, 1, false);
	model_advance(HALF);
}

static void idle_finish(void *state)
{
	struct tier *s = state;
	hapax_cache_stats stats = tier_stats(s);

	MODEL_CHECK(s->told[0][HAPAX_CAUSE_COLLECTED] == tier_told(s, 0),
		    "what was let go of for its time left otherwise");
	MODEL_CHECK(stats.size_now == stats.retained, "nobody holds what is present, neither does the cache");
	tier_close(s, stats.size_now);
}

TIER_SCENARIO(lapse_get, "lapse-get", "A is let go of for its time while it is asked for", struct tier, idle_setup,
	      idle_finish, 2, sweep, get_0);
TIER_SCENARIO(lapse_get_two, "lapse-get-two", "the same with two gets", struct tier, idle_setup, idle_finish, 1, sweep,
	      get_0, get_0);

/* ---- negative results -------------------------------------------------------------------------------------------- */

static int no_value(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	(void)k;
	(void)item;
	(void)key;
	(void)error;
	return HAPAX_LOAD_NOVALUE;
}

static void ask_0(void *state)
{
	struct tier *s = state;
	void *object = NULL;
	int status = hapax_cache_get(s->k.cache, kit_key(0), &object);

	MODEL_CHECK(!status || status == HAPAX_NOVALUE || status == HAPAX_NEGATIVE, "hapax_cache_get: %s",
		    hapax_status_name(status));
	if (!status)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, object));
}

static void negative_setup(void *state)
{
	struct tier *s = state;
	hapax_cache_options o = tier_options(s);

	o.negative_ttl_ns = TIER_TTL;
	o.max_entries = 1;
	o.policy = hapax_policy_sieve();
	s->negatives = true;
	s->k.then = no_value;
	tier_open(s, 0, &o, 0, false);
}

static void value_finish(void *state)
{
	struct tier *s = state;
	struct item *found = kit_peek(&s->k, 0);

	MODEL_CHECK(found, "a value was put, and there is none");
	kit_give(&s->k, 0, found);
	tier_close(s, 1);
}

TIER_SCENARIO(negative_put, "negative-put", "that there is no value is remembered, while one is put", struct tier,
	      negative_setup, value_finish, 2, ask_0, put_0, ask_0);

/* ---- refreshing -------------------------------------------------------------------------------------------------- */

static void refresh_setup(void *state)
{
	struct tier *s = state;
	hapax_cache_options o = tier_options(s);

	o.refresh_ns = HALF;
	o.max_entries = 2;
	o.policy = hapax_policy_sieve();
	tier_open(s, HAPAX_ENV_NO_THREAD, &o, 1, false);
	model_advance(HALF);
}

/* The old value, or a newer one; what it starts is run by this thread. */
static void refresh_0(void *state)
{
	struct tier *s = state;
	struct item *item = kit_get(&s->k, 0);

	kit_give(&s->k, 0, item);
	while (hapax_cache_maintain(s->k.cache))
		model_yield();
}

static void fresh_finish(void *state)
{
	struct tier *s = state;

	while (hapax_cache_maintain(s->k.cache))
		;
	MODEL_CHECK(hapax_cache_contains(s->k.cache, kit_key(0)) == 1,
		    "a key that was refreshed and written is absent");
	MODEL_CHECK(s->of[1] == 1 && s->cause[1] == HAPAX_CAUSE_REPLACED, "A was told of %u times, cause %d", s->of[1],
		    (int)s->cause[1]);
	tier_close(s, hapax_cache_size(s->k.cache));
}

static void present_0(void *state)
{
	struct tier *s = state;
	struct item *item = kit_peek(&s->k, 0);

	MODEL_CHECK(item, "a key that is refreshed reads absent");
	kit_give(&s->k, 0, item);
}

TIER_SCENARIO(refresh_look, "refresh-look", "A is reloaded; a third thread always finds the key", struct tier,
	      refresh_setup, fresh_finish, 1, refresh_0, refresh_0, present_0);
TIER_SCENARIO(refresh_put, "refresh-put", "A is reloaded while another is put", struct tier, refresh_setup,
	      fresh_finish, 2, refresh_0, put_0);

static void refresh_removed_finish(void *state)
{
	struct tier *s = state;
	size_t entries;

	while (hapax_cache_maintain(s->k.cache))
		;
	entries = hapax_cache_size(s->k.cache);
	MODEL_CHECK(!s->status[0] && entries <= 1, "a key that is present could not be removed");
	MODEL_CHECK(s->of[1] == 1, "A was told of %u times", s->of[1]);
	tier_close(s, entries);
}

TIER_SCENARIO(refresh_remove, "refresh-remove", "A is reloaded while it is removed", struct tier, refresh_setup,
	      refresh_removed_finish, 2, refresh_0, remove_0);
