/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/cache.c - hits, deaths, puts and removals in a cache, and its end beside its objects'.
 *
 * Faults put in on purpose that show here: REMOVES_NEWER, INCREMENT_FROM_ZERO, CALLBACK_TWICE, CLAIM_TWICE,
 * NO_GRACE_PERIOD.
 */
#include "model/scenarios/kit.h"

struct cached {
	struct kit k;
	struct item *a, *b;
	int status[3];
};

static void empty_setup(void *state)
{
	struct cached *s = state;

	kit_open(&s->k, 0, 0);
	kit_cache(&s->k, 0, KIT_IN_PLACE);
}

static void made_setup(void *state)
{
	struct cached *s = state;

	kit_open(&s->k, 0, 0);
	kit_cache(&s->k, 0, KIT_MADE);
}

/* A is loaded under key 0 and held. */
static void held_setup(void *state)
{
	empty_setup(state);
	((struct cached *)state)->a = kit_get(state, 0);
}

static void held_made_setup(void *state)
{
	made_setup(state);
	((struct cached *)state)->a = kit_get(state, 0);
}

static void loose_setup(void *state)
{
	held_setup(state);
	((struct cached *)state)->k.loose = true;
}

static void give_a(void *state)
{
	struct cached *s = state;
	struct item *a = s->a;

	s->a = NULL;
	kit_give(&s->k, 0, a);
}

static void get_give(void *state) { kit_give(state, 0, kit_get(state, 0)); }
static void peek_give(void *state) { kit_give(state, 0, kit_peek(state, 0)); }

static void finish(void *state)
{
	struct cached *s = state;

	kit_give(&s->k, 0, s->a);
	kit_close(&s->k, 0);
}

/* ---- death against get ------------------------------------------------------------------------------------------- */

SCENARIO(death_get, "death-get", "the last release against a get, which loads anew if it must", struct cached,
	 held_setup, finish, 2, give_a, get_give);
SCENARIO(death_get_made, "death-get-made", "the last release of a made object against a get", struct cached,
	 held_made_setup, finish, 1, give_a, get_give);
SCENARIO(death_get_peek, "death-get-peek", "the last release against a get and a lookup", struct cached, held_setup,
	 finish, 1, give_a, get_give, peek_give);
SCENARIO(death_get_get, "death-get-get", "the last release against two gets", struct cached, held_setup, finish, 1,
	 give_a, get_give, get_give);

/* ---- put --------------------------------------------------------------------------------------------------------- */

static void put_b(void *state)
{
	struct cached *s = state;
	struct item *item;

	s->b = kit_new(&s->k, 0);
	kit_cache_put(&s->k, 0, s->b);
	item = kit_peek(&s->k, 0);
	MODEL_CHECK(item == s->b, "what was just put is not there");
	kit_give(&s->k, 0, item);
}

static void put_finish(void *state)
{
	struct cached *s = state;
	struct item *item = kit_peek(&s->k, 0);

	MODEL_CHECK(item == s->b, "an older object's death removed what was put");
	kit_check(&s->k, 1);
	kit_give(&s->k, 0, item);
	hapax_release(s->b);
	finish(state);
}

SCENARIO(cache_death_put, "cache-death-put", "a death against a put of its key in a cache", struct cached, loose_setup,
	 put_finish, 1, give_a, put_b);
SCENARIO(cache_death_put_get, "cache-death-put-get", "a death, a put of its key, and a get", struct cached, loose_setup,
	 put_finish, 1, give_a, put_b, get_give);

/* Two puts of one key: one replaces the other, and the statistics say so. */
static void put_one(void *state)
{
	struct cached *s = state;

	kit_cache_put(&s->k, 0, s->a);
}

static void put_two(void *state)
{
	struct cached *s = state;

	kit_cache_put(&s->k, 0, s->b);
}

static void puts_setup(void *state)
{
	struct cached *s = state;

	empty_setup(state);
	s->k.loose = true;
	s->a = kit_new(&s->k, 0);
	s->b = kit_new(&s->k, 0);
}

static void puts_finish(void *state)
{
	struct cached *s = state;
	struct item *item = kit_peek(&s->k, 0);

	MODEL_CHECK(item == s->a || item == s->b, "after two puts neither is in");
	kit_check(&s->k, 1);
	kit_give(&s->k, 0, item);
	hapax_release(s->a);
	hapax_release(s->b);
	kit_close(&s->k, 0);
}

SCENARIO(cache_put_put, "cache-put-put", "two puts of one key in a cache", struct cached, puts_setup, puts_finish, 1,
	 put_one, put_two);

/* ---- removing ---------------------------------------------------------------------------------------------------- */

static void remove_it(void *state)
{
	struct cached *s = state;

	s->status[0] = hapax_cache_remove(s->k.cache, kit_key(0));
}

static void pop_it(void *state)
{
	struct cached *s = state;
	void *out = NULL;

	s->status[1] = hapax_cache_pop(s->k.cache, kit_key(0), &out);
	MODEL_CHECK((s->status[1] == 0) == (out != NULL), "hapax_cache_pop: %s, and an object",
		    hapax_status_name(s->status[1]));
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
}

static void remove_if_it(void *state)
{
	struct cached *s = state;

	s->status[2] = hapax_cache_remove_if(s->k.cache, kit_key(0), s->a);
}

static unsigned removed(struct cached *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 3; i++) {
		MODEL_CHECK(s->status[i] == 0 || s->status[i] == HAPAX_MISS, "a removal: %s",
			    hapax_status_name(s->status[i]));
		n += s->status[i] == 0;
	}
	return n;
}

static void removed_finish(void *state)
{
	struct cached *s = state;
	hapax_cache_stats stats = {.size = sizeof(stats)};

	if (hapax_cache_stats_get(s->k.cache, &stats))
		model_fail("hapax_cache_stats_get failed");
	MODEL_CHECK(removed(s) == 1 && stats.removals == 1, "%u removals of one object succeeded, %llu were counted",
		    removed(s), (unsigned long long)stats.removals);
	kit_check(&s->k, 0);
	finish(state);
}

SCENARIO(cache_remove_pop, "cache-remove-pop", "remove, pop and remove_if of one object: one has it", struct cached,
	 held_setup, removed_finish, 2, remove_it, pop_it, remove_if_it);
SCENARIO(cache_removes, "cache-removes", "a remove and a clear of one object", struct cached, held_setup, finish, 2,
	 remove_it, pop_it);

/* A removal against the death: accounted for once. */
static void remove_death_finish(void *state)
{
	struct cached *s = state;
	hapax_cache_stats stats = {.size = sizeof(stats)};

	if (hapax_cache_stats_get(s->k.cache, &stats))
		model_fail("hapax_cache_stats_get failed");
	MODEL_CHECK(stats.removals + stats.collections == 1 && stats.removals == (s->status[0] == 0),
		    "remove: %s, %llu removals, %llu collections", hapax_status_name(s->status[0]),
		    (unsigned long long)stats.removals, (unsigned long long)stats.collections);
	finish(state);
}

SCENARIO(cache_remove_death, "cache-remove-death", "a removal against the death", struct cached, held_setup,
	 remove_death_finish, 2, give_a, remove_it);
SCENARIO(cache_remove_death_made, "cache-remove-death-made", "a removal against the death of a made object",
	 struct cached, held_made_setup, remove_death_finish, 1, give_a, remove_it);

static void clear_it(void *state) { hapax_cache_clear(((struct cached *)state)->k.cache); }

SCENARIO(cache_clear_death, "cache-clear-death", "a clear against the death and a lookup", struct cached, held_setup,
	 finish, 1, give_a, clear_it, peek_give);

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void destroy_it(void *state)
{
	struct cached *s = state;
	hapax_cache *cache = s->k.cache;

	s->k.cache = NULL;
	hapax_cache_destroy(cache);
}

static void destroyed_finish(void *state)
{
	struct cached *s = state;

	MODEL_CHECK(s->k.leaks <= 1, "one object was reported %u times", s->k.leaks);
	s->k.leaks = 0; /* it was alive, or about to die */
	finish(state);
}

SCENARIO(destroy_death, "destroy-death", "a cache ends while its object dies", struct cached, held_setup,
	 destroyed_finish, 1, destroy_it, give_a);
SCENARIO(destroy_death_made, "destroy-death-made", "a cache ends while an object that was made dies", struct cached,
	 held_made_setup, destroyed_finish, 1, destroy_it, give_a);

/* The end of a cache, of its environment, and of its last object. */
static void end_env(void *state)
{
	struct cached *s = state;
	hapax_env *env = s->k.env;

	s->k.env = NULL;
	hapax_env_destroy(env);
}

static void all_gone(void *state)
{
	struct cached *s = state;

	MODEL_CHECK(s->k.destroyed == 1, "%u destructors ran", s->k.destroyed);
	hapax_testing_drain(NULL);
}

SCENARIO(destroy_all, "destroy-all", "a cache, its environment and its object end at once", struct cached, held_setup,
	 all_gone, 1, destroy_it, end_env, give_a);

/* ---- without memory ---------------------------------------------------------------------------------------------- */

static void get_starved(void *state)
{
	struct cached *s = state;
	void *out = (void *)1;

	model_fail_allocation(1 + model_choose(4));
	s->status[0] = hapax_cache_get(s->k.cache, kit_key(0), &out);
	model_fail_allocation(0);
	MODEL_CHECK(out ? !s->status[0] : s->status[0] == HAPAX_ENOMEM, "a get without memory: %s",
		    hapax_status_name(s->status[0]));
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
}

static void get_starved_too(void *state)
{
	struct cached *s = state;
	void *out = (void *)1;
	int status = hapax_cache_get(s->k.cache, kit_key(0), &out);

	MODEL_CHECK(out ? !status : status == HAPAX_ENOMEM, "a get without memory: %s", hapax_status_name(status));
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
}

static void starved_finish(void *state)
{
	struct cached *s = state;

	kit_check(&s->k, 0);
	kit_give(&s->k, 0, kit_get(&s->k, 0)); /* with memory again */
	finish(state);
}

SCENARIO(cache_starved, "cache-starved", "a load without memory beside another", struct cached, empty_setup,
	 starved_finish, 1, get_starved, get_starved_too);

static void put_starved(void *state)
{
	struct cached *s = state;

	model_fail_allocation(1 + model_choose(4));
	s->status[0] = hapax_cache_put(s->k.cache, kit_key(0), s->b);
	model_fail_allocation(0);
	MODEL_CHECK(!s->status[0] || s->status[0] == HAPAX_ENOMEM, "a put without memory: %s",
		    hapax_status_name(s->status[0]));
}

static void put_starved_setup(void *state)
{
	struct cached *s = state;

	loose_setup(state);
	s->b = kit_new(&s->k, 0);
}

static void peek_any(void *state)
{
	struct cached *s = state;
	struct item *item = kit_peek(&s->k, 0);

	MODEL_CHECK(item == s->a || item == s->b, "a key that is replaced, or not for lack of memory, reads absent");
	kit_give(&s->k, 0, item);
}

static void put_starved_finish(void *state)
{
	struct cached *s = state;
	struct item *item = kit_peek(&s->k, 0);

	MODEL_CHECK(item == (s->status[0] ? s->a : s->b), "a put said %s, and that is not so",
		    hapax_status_name(s->status[0]));
	kit_check(&s->k, 1);
	kit_give(&s->k, 0, item);
	hapax_release(s->b);
	finish(state);
}

SCENARIO(cache_put_starved, "cache-put-starved", "a put without memory beside a lookup", struct cached,
	 put_starved_setup, put_starved_finish, 2, put_starved, peek_any);
