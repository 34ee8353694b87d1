/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/flight.c - one load per miss: joining, failing, waiting too long, fencing. What ends a load in other ways is in
 * abandon.c.
 *
 * Faults put in on purpose that show here: PUBLISH_BEFORE_INIT, FENCED_UNREGISTERS, WAITER_EARLY, LOST_WAKEUP,
 * RELAXED_COMMIT, INCREMENT_FROM_ZERO.
 */
#include "model/scenarios/kit.h"

struct detail {
	uint64_t word;
	unsigned drops;
};

struct fly {
	struct kit k;
	struct item *got[3], *b;
	int status[3];
	struct detail detail[8]; /* of the n-th load */
	uint64_t at;
};

static void in_place_setup(void *state)
{
	struct fly *s = state;

	kit_open(&s->k, 0, 0);
	kit_cache(&s->k, 0, KIT_IN_PLACE);
}

static void made_setup(void *state)
{
	struct fly *s = state;

	kit_open(&s->k, 0, 0);
	kit_cache(&s->k, 0, KIT_MADE);
}

/* ---- joining ----------------------------------------------------------------------------------------------------- */

static void get_0(void *state) { ((struct fly *)state)->got[0] = kit_get(state, 0); }
static void get_1(void *state) { ((struct fly *)state)->got[1] = kit_get(state, 0); }
static void get_2(void *state) { ((struct fly *)state)->got[2] = kit_get(state, 0); }

static void join_finish(void *state)
{
	struct fly *s = state;

	MODEL_CHECK(s->k.loads == 1, "%u loads of a key that was held to the end", s->k.loads);
	kit_check(&s->k, 1);
	for (unsigned n = 0; n < 3; n++)
		kit_give(&s->k, 0, s->got[n]);
	kit_close(&s->k, 0);
}

SCENARIO(load_join, "load-join", "three gets of an absent key get one object", struct fly, in_place_setup, join_finish,
	 1, get_0, get_1, get_2);
SCENARIO(load_join_two, "load-join-two", "two gets of an absent key get one object", struct fly, in_place_setup,
	 join_finish, 2, get_0, get_1);
SCENARIO(load_join_made, "load-join-made", "three gets of an absent key get one object that was made", struct fly,
	 made_setup, join_finish, 1, get_0, get_1, get_2);

static void get_give(void *state) { kit_give(state, 0, kit_get(state, 0)); }

static void die_finish(void *state)
{
	struct fly *s = state;

	MODEL_CHECK(s->k.loads == s->k.destroyed && s->k.most_living >= 1, "%u loads and %u destructors", s->k.loads,
		    s->k.destroyed);
	kit_close(&s->k, 0);
}

static void get_mark_give(void *state)
{
	struct item *item = kit_get(state, 0);

	kit_read(&item->mark);
	kit_give(state, 0, item);
}

SCENARIO(load_die, "load-die", "three threads get and release: every life has its load", struct fly, in_place_setup,
	 die_finish, 1, get_mark_give, get_give, get_give);
SCENARIO(load_die_two, "load-die-two", "two threads get and release", struct fly, in_place_setup, die_finish, 1,
	 get_mark_give, get_give);
SCENARIO(load_die_made, "load-die-made", "two threads get and release what is made", struct fly, made_setup, die_finish,
	 1, get_mark_give, get_give);

/* ---- failing ----------------------------------------------------------------------------------------------------- */

static void detail_drop(void *arg)
{
	struct detail *d = arg;

	kit_write(&d->word);
	d->drops++;
	MODEL_CHECK(d->drops == 1, "a load error was dropped twice");
}

static int fails(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	struct fly *s = (struct fly *)k;
	struct detail *d = &s->detail[k->loads];

	(void)item;
	(void)key;
	kit_write(&d->word);
	*error = (hapax_load_error){.code = 40 + (int)k->loads, .detail = d, .drop = detail_drop};
	model_yield();
	return HAPAX_LOAD_FAIL;
}

static void fail_setup(void *state)
{
	in_place_setup(state);
	((struct fly *)state)->k.then = fails;
}

static void get_error(void *state)
{
	struct fly *s = state;
	hapax_load_error error;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};
	void *out = (void *)1;
	int status = hapax_cache_get_with(s->k.cache, kit_key(0), &o, &out);
	struct detail *d = error.detail;

	MODEL_CHECK(status == HAPAX_ELOADER && !out, "a get whose load failed: %s", hapax_status_name(status));
	MODEL_CHECK(d && error.code == 40 + (int)(d - s->detail), "the load error is not the loader's: %d", error.code);
	kit_read(&d->word);
	MODEL_CHECK(!d->drops, "a load error was dropped while somebody had a copy");
	hapax_load_error_drop(&error);
	MODEL_CHECK(!error.detail && !error.drop, "a dropped load error is not cleared");
}

static void get_no_error(void *state)
{
	struct fly *s = state;
	void *out = (void *)1;
	int status = hapax_cache_get(s->k.cache, kit_key(0), &out);

	MODEL_CHECK(status == HAPAX_ELOADER && !out, "a get whose load failed: %s", hapax_status_name(status));
}

static void fail_finish(void *state)
{
	struct fly *s = state;

	MODEL_CHECK(!s->k.destroyed, "a destructor ran for a load that failed");
	for (unsigned n = 1; n <= s->k.loads; n++)
		MODEL_CHECK(s->detail[n].drops == 1, "the error of load %u was dropped %u times", n, s->detail[n].drops);
	kit_close(&s->k, 0);
}

SCENARIO(load_fail, "load-fail", "a failure reaches all who joined, and is dropped once", struct fly, fail_setup,
	 fail_finish, 1, get_error, get_error, get_no_error);
SCENARIO(load_fail_two, "load-fail-two", "two gets of a key whose load fails", struct fly, fail_setup, fail_finish, 1,
	 get_error, get_error);

static int no_value(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	(void)k;
	(void)item;
	(void)key;
	(void)error;
	return HAPAX_LOAD_NOVALUE;
}

static void no_value_setup(void *state)
{
	in_place_setup(state);
	((struct fly *)state)->k.then = no_value;
}

static void get_nothing(void *state)
{
	struct fly *s = state;
	void *out = (void *)1;
	int status = hapax_cache_get(s->k.cache, kit_key(0), &out);

	MODEL_CHECK(status == HAPAX_NOVALUE && !out, "a get without a value: %s", hapax_status_name(status));
}

static void no_value_finish(void *state)
{
	struct fly *s = state;

	MODEL_CHECK(!s->k.destroyed, "a destructor ran for a load without a value");
	kit_close(&s->k, 0);
}

SCENARIO(load_novalue, "load-novalue", "two gets of a key that has no value", struct fly, no_value_setup,
	 no_value_finish, 1, get_nothing, get_nothing);

/* The first load fails, the next succeeds: failures are not remembered. */
static int first_fails(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	return k->loads == 1 ? no_value(k, item, key, error) : HAPAX_LOAD_OK;
}

static void first_fails_setup(void *state)
{
	in_place_setup(state);
	((struct fly *)state)->k.then = first_fails;
}

static void get_either(struct fly *s, unsigned n)
{
	void *out = (void *)1;

	s->status[n] = hapax_cache_get(s->k.cache, kit_key(0), &out);
	MODEL_CHECK(out ? s->status[n] == 0 : s->status[n] == HAPAX_NOVALUE, "a get: %s", hapax_status_name(s->status[n]));
	if (out)
		s->got[n] = kit_hold(&s->k, 0, out);
}

static void get_either_0(void *state) { get_either(state, 0); }
static void get_either_1(void *state) { get_either(state, 1); }
static void get_either_2(void *state) { get_either(state, 2); }

static void either_finish(void *state)
{
	struct fly *s = state;

	MODEL_CHECK(s->k.loads <= 2, "%u loads: one failed and one was held to the end", s->k.loads);
	MODEL_CHECK(s->status[0] || s->status[1] || s->status[2], "nobody got the failure");
	for (unsigned n = 0; n < 3; n++)
		kit_give(&s->k, 0, s->got[n]);
	kit_close(&s->k, 0);
}

SCENARIO(load_recovers, "load-recovers", "a load without a value, then one with: three gets", struct fly,
	 first_fails_setup, either_finish, 1, get_either_0, get_either_1, get_either_2);

/* ---- waiting too long -------------------------------------------------------------------------------------------- */

static int takes_long(struct kit *k, struct item *item, unsigned key, hapax_load_error *error)
{
	(void)k;
	(void)item;
	(void)key;
	(void)error;
	model_yield();
	model_advance(1000);
	model_yield();
	return HAPAX_LOAD_OK;
}

static void long_setup(void *state)
{
	in_place_setup(state);
	((struct fly *)state)->k.then = takes_long;
}

static void get_by(struct fly *s, uint64_t deadline)
{
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = deadline};
	void *out = (void *)1;
	int status = hapax_cache_get_with(s->k.cache, kit_key(0), &o, &out);

	MODEL_CHECK((status == 0) == (out != NULL), "a get: %s, and an object", hapax_status_name(status));
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
	else if (deadline == HAPAX_NO_WAIT)
		MODEL_CHECK(status == HAPAX_INFLIGHT, "a try: %s", hapax_status_name(status));
	else
		MODEL_CHECK(status == HAPAX_ETIMEDOUT && model_now() >= deadline, "a get: %s, %lld ns before its deadline",
			    hapax_status_name(status), (long long)(deadline - model_now()));
}

static void get_soon(void *state) { get_by(state, model_now() + 500); }
static void get_try(void *state) { get_by(state, HAPAX_NO_WAIT); }

static void late_finish(void *state)
{
	struct fly *s = state;

	kit_check(&s->k, 1); /* the load that somebody did not wait for was installed all the same */
	kit_give(&s->k, 0, s->got[0]);
	kit_close(&s->k, 0);
}

SCENARIO(load_timeout, "load-timeout", "a joiner with a deadline and one that does not wait", struct fly, long_setup,
	 late_finish, 1, get_0, get_soon, get_try);
SCENARIO(load_timeout_two, "load-timeout-two", "a joiner with a deadline", struct fly, long_setup, late_finish, 2, get_0,
	 get_soon);

/* ---- fencing ----------------------------------------------------------------------------------------------------- */

static void fence_setup(void *state)
{
	in_place_setup(state);
	((struct fly *)state)->k.loose = true;
}

static void fence_made_setup(void *state)
{
	made_setup(state);
	((struct fly *)state)->k.loose = true;
}

/* A get that starts after the fence has returned does not get what was being loaded before it. With nothing but time
 * between the beginning of that load and the fence: in the weak mode the fence may not have seen it. */
static void get_anew(struct fly *s, uint64_t fence)
{
	struct item *item = kit_get(&s->k, 0);

	MODEL_CHECK(s->k.life[item->id].begun > fence, "a load from before the fence was installed after it: object %u",
		    item->id);
	kit_give(&s->k, 0, item);
}

static void fence_remove(void *state)
{
	struct fly *s = state;
	uint64_t at = kit_now(&s->k);
	int status = hapax_cache_remove(s->k.cache, kit_key(0));

	MODEL_CHECK(status == 0 || status == HAPAX_MISS, "hapax_cache_remove: %s", hapax_status_name(status));
	get_anew(s, at);
}

static void fence_pop(void *state)
{
	struct fly *s = state;
	uint64_t at = kit_now(&s->k);
	void *out = (void *)1;
	int status = hapax_cache_pop(s->k.cache, kit_key(0), &out);

	MODEL_CHECK(out ? status == 0 : status == HAPAX_MISS, "hapax_cache_pop: %s", hapax_status_name(status));
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
	get_anew(s, at);
}

static void fence_clear(void *state)
{
	struct fly *s = state;
	uint64_t at = kit_now(&s->k);

	hapax_cache_clear(s->k.cache);
	get_anew(s, at);
}

SCENARIO_IN_TIME(fence_by_remove, "fence-remove", "a remove during a load", struct fly, fence_setup, die_finish, 1, get_give,
	 fence_remove);
SCENARIO_IN_TIME(fence_by_remove_made, "fence-remove-made", "a remove during the load of an object that is made", struct fly,
	 fence_made_setup, die_finish, 1, get_give, fence_remove);
SCENARIO_IN_TIME(fence_by_remove_three, "fence-remove-three", "a remove during a load that somebody joins", struct fly,
	 fence_setup, die_finish, 1, get_give, get_give, fence_remove);
SCENARIO_IN_TIME(fence_by_pop, "fence-pop", "a pop during a load", struct fly, fence_setup, die_finish, 1, get_give, fence_pop);
SCENARIO_IN_TIME(fence_by_clear, "fence-clear", "a clear during a load", struct fly, fence_setup, die_finish, 1, get_give,
	 fence_clear);
SCENARIO_IN_TIME(fence_twice, "fence-twice", "a remove and a clear during a load", struct fly, fence_setup, die_finish, 1,
	 get_give, fence_remove, fence_clear);

/* A put during a load: what was put stays. */
static void fence_put(void *state)
{
	struct fly *s = state;
	struct item *item;

	s->b = kit_new(&s->k, 0);
	kit_cache_put(&s->k, 0, s->b);
	item = kit_get(&s->k, 0);
	MODEL_CHECK(item == s->b, "object %u was put and is held, and a get gave %u", s->b->id, item->id);
	kit_give(&s->k, 0, item);
}

static void put_finish(void *state)
{
	struct fly *s = state;
	struct item *item = kit_peek(&s->k, 0);

	MODEL_CHECK(item == s->b, "what was put is gone");
	kit_check(&s->k, 1);
	kit_give(&s->k, 0, item);
	hapax_release(s->b);
	kit_close(&s->k, 0);
}

static void peek_give(void *state) { kit_give(state, 0, kit_peek(state, 0)); }

SCENARIO(fence_by_put, "fence-put", "a put during a load", struct fly, fence_setup, put_finish, 1, get_give, fence_put);
SCENARIO(fence_by_put_made, "fence-put-made", "a put during the load of an object that is made", struct fly,
	 fence_made_setup, put_finish, 1, get_give, fence_put);
SCENARIO(fence_by_put_three, "fence-put-three", "a put during a load, and a lookup", struct fly, fence_setup, put_finish,
	 1, get_give, fence_put, peek_give);

/* The same with a load that fails: it takes nothing with it. */
static void fence_fail_setup(void *state)
{
	fence_setup(state);
	((struct fly *)state)->k.then = no_value;
}

static void get_none(void *state)
{
	struct fly *s = state;
	void *out = (void *)1;
	int status = hapax_cache_get(s->k.cache, kit_key(0), &out);

	MODEL_CHECK(out ? status == 0 && out == s->b : status == HAPAX_NOVALUE, "a get: %s", hapax_status_name(status));
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
}

SCENARIO(fence_failing, "fence-failing", "a put during a load that fails", struct fly, fence_fail_setup, put_finish, 1,
	 get_none, fence_put);

/* get_or_put during a load waits for nobody: it fences like put, or gets what is there. */
static void fence_offer(void *state)
{
	struct fly *s = state;
	bool inserted = false;
	void *out = NULL;

	s->b = kit_new(&s->k, 0);
	if (hapax_cache_get_or_put(s->k.cache, kit_key(0), s->b, &out, &inserted))
		model_fail("hapax_cache_get_or_put failed");
	MODEL_CHECK(inserted == (out == s->b), "inserted: %d, and got another object", inserted);
	s->got[1] = kit_hold(&s->k, 0, out);
	s->status[1] = inserted;
}

static void offer_finish(void *state)
{
	struct fly *s = state;
	struct item *item = kit_peek(&s->k, 0);
	hapax_cache_stats stats = {.size = sizeof(stats)};

	if (hapax_cache_stats_get(s->k.cache, &stats))
		model_fail("hapax_cache_stats_get failed");
	MODEL_CHECK(!stats.replacements, "get_or_put replaced an object that was present");

	MODEL_CHECK(item == s->got[1], "what get_or_put gave is not what is present");
	kit_give(&s->k, 0, item);
	kit_give(&s->k, 0, s->got[1]);
	hapax_release(s->b);
	kit_close(&s->k, 0);
}

SCENARIO(fence_by_offer, "fence-get-or-put", "get_or_put during a load", struct fly, fence_setup, offer_finish, 1,
	 get_give, fence_offer);
