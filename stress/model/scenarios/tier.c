/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/tier.c - what a bounded cache holds itself: admission, eviction, readmission, against each other and
 * against removals and deaths. What time does is in tier_time.c.
 */
#include "model/scenarios/tier.h"

static void open_with(struct tier *s, int64_t bound, const hapax_policy *policy, unsigned entries, bool hold)
{
	hapax_cache_options o = tier_options(s);

	o.max_entries = bound;
	o.policy = policy;
	tier_open(s, 0, &o, entries, hold);
}

static void one_setup(void *state) { open_with(state, 1, hapax_policy_sieve(), 1, false); }
static void held_setup(void *state) { open_with(state, 1, hapax_policy_sieve(), 1, true); }
static void held_lru_setup(void *state) { open_with(state, 1, hapax_policy_lru(), 1, true); }
static void two_setup(void *state) { open_with(state, 2, hapax_policy_sieve(), 2, false); }

static void put_0(void *state) { tier_put(state, 0); }
static void put_1(void *state) { tier_put(state, 1); }
static void put_2(void *state) { tier_put(state, 2); }

static void get(struct tier *s, unsigned key)
{
	struct item *item = kit_get(&s->k, key);

	kit_give(&s->k, key, item);
}

static void get_0(void *state) { get(state, 0); }
static void get_1(void *state) { get(state, 1); }

static void peek_0(void *state)
{
	struct tier *s = state;
	struct item *item = kit_peek(&s->k, 0);

	if (item)
		kit_give(&s->k, 0, item);
}

static void remove_0(void *state)
{
	struct tier *s = state;

	s->status[0] = hapax_cache_remove(s->k.cache, kit_key(0));
	MODEL_CHECK(!s->status[0] || s->status[0] == HAPAX_MISS, "hapax_cache_remove: %s",
		    hapax_status_name(s->status[0]));
}

static void release_a(void *state) { tier_let_go_of_a(state); }

/* Nobody holds anything: what is present is what is retained, and that is the bound. */
static void full_finish(void *state)
{
	struct tier *s = state;

	tier_settled(s, 1);
	MODEL_CHECK(tier_stats(s).retained == 1, "the cache holds less than it could");
	tier_close(s, 1);
}

/* ---- eviction and insertion -------------------------------------------------------------------------------------- */

TIER_SCENARIO(tier_evict_put, "tier-evict-put", "a put evicts A while another one puts under A's key", struct tier,
	      one_setup, full_finish, 2, put_1, put_0);
TIER_SCENARIO(tier_evict_get, "tier-evict-get", "a put evicts A, which nobody else holds, while A is asked for",
	      struct tier, one_setup, full_finish, 2, put_1, get_0);

static void asks_setup(void *state)
{
	struct tier *s = state;

	one_setup(state);
	s->asks = true;
}

TIER_SCENARIO(tier_evict_ask, "tier-evict-ask", "the same; the listener looks for what it is told of", struct tier,
	      asks_setup, full_finish, 1, put_1, get_0);

static void three_finish(void *state)
{
	tier_settled(state, 1);
	tier_close(state, 1);
}

/* Judged without any call that would make up for what was forgotten. */
TIER_IN_TIME(tier_settle, "tier-settle", "three arrivals where there is room for one", struct tier, one_setup,
	     three_finish, 1, put_0, put_1, put_2);

/* ---- readmission ------------------------------------------------------------------------------------------------- */

/* As get_0, of an object that is held all the time. */
static void get_a(void *state)
{
	struct tier *s = state;
	struct item *item = kit_get(&s->k, 0);

	MODEL_CHECK(item == s->a, "an object that is held and present was loaded again");
	kit_give(&s->k, 0, item);
}

static void back_finish(void *state)
{
	struct tier *s = state;
	hapax_cache_stats stats = tier_stats(s);

	MODEL_CHECK(stats.retained <= 1, "the bound is 1, and %llu are retained", (unsigned long long)stats.retained);
	MODEL_CHECK(hapax_cache_contains(s->k.cache, kit_key(0)) == 1, "an object that is held cannot be found");
	MODEL_CHECK(!tier_told(s, 0), "an entry left whose object is held");
	tier_let_go_of_a(s);
	full_finish(s);
}

TIER_SCENARIO(tier_readmit, "tier-readmit", "a put demotes A, which is held, while a get brings it back", struct tier,
	      held_setup, back_finish, 2, put_1, get_a);
TIER_SCENARIO(tier_readmit_two, "tier-readmit-two", "the same with two gets", struct tier, held_setup, back_finish, 1,
	      put_1, get_a, get_a);
TIER_SCENARIO(tier_readmit_exact, "tier-readmit-exact", "the same, hits take the lock", struct tier, held_lru_setup,
	      back_finish, 1, put_1, get_a, get_a);

static void again_setup(void *state)
{
	struct tier *s = state;

	held_setup(state);
	tier_put(s, 1); /* A is demoted */
}

TIER_SCENARIO(tier_readmit_again, "tier-readmit-again", "two gets bring A back, which was demoted", struct tier,
	      again_setup, back_finish, 2, get_a, get_a);

static void brought_finish(void *state)
{
	struct tier *s = state;

	MODEL_CHECK(tier_told(s, 0) <= 2 && s->told[0][HAPAX_CAUSE_COLLECTED] == 0,
		    "a demoted object that died is no eviction for size");
	full_finish(s);
}

TIER_SCENARIO(tier_readmit_death, "tier-readmit-death", "a get brings A back while its last user lets go", struct tier,
	      again_setup, brought_finish, 2, get_0, release_a);

/* ---- one cause --------------------------------------------------------------------------------------------------- */

static void cause_finish(void *state)
{
	struct tier *s = state;
	hapax_cause cause = s->status[0] ? HAPAX_CAUSE_SIZE : HAPAX_CAUSE_EXPLICIT;

	MODEL_CHECK(tier_told(s, 0) == 1 && s->told[0][cause] == 1,
		    "a removal answered %s, told: %u removed, %u for size", hapax_status_name(s->status[0]),
		    s->told[0][HAPAX_CAUSE_EXPLICIT], s->told[0][HAPAX_CAUSE_SIZE]);
	full_finish(s);
}

TIER_SCENARIO(tier_cause, "tier-cause", "A is removed, evicted, and let go of by its user", struct tier, held_setup,
	      cause_finish, 2, remove_0, put_1, release_a);

static void loaded_setup(void *state)
{
	struct tier *s = state;

	open_with(s, 1, hapax_policy_sieve(), 0, false);
	s->a = kit_get(&s->k, 0);
	kit_unhold(&s->k, 0, s->a);
}

TIER_SCENARIO(tier_cause_loaded, "tier-cause-loaded", "the same, A was loaded in place", struct tier, loaded_setup,
	      cause_finish, 2, remove_0, put_1, release_a);
TIER_SCENARIO(tier_cause_back, "tier-cause-back", "the same, A was demoted before, and a get brings it back",
	      struct tier, again_setup, three_finish, 1, get_0, put_0, release_a);

/* ---- a claimer and the arrival it overtakes ---------------------------------------------------------------------- */

static void empty_setup(void *state) { open_with(state, 2, hapax_policy_sieve(), 0, false); }

static void overtaken_finish(void *state)
{
	struct tier *s = state;
	size_t entries = hapax_cache_size(s->k.cache);

	MODEL_CHECK(entries == (s->status[0] ? 2 : 1), "a removal answered %s, %zu are present",
		    hapax_status_name(s->status[0]), entries);
	tier_settled(s, entries);
	tier_close(s, entries);
}

TIER_IN_TIME(tier_arrival, "tier-arrival", "an arrival is removed before it is listed; another one comes", struct tier,
	     empty_setup, overtaken_finish, 2, put_0, remove_0, put_1);

static void over_finish(void *state)
{
	tier_settled(state, 2);
	tier_close(state, 2);
}

TIER_IN_TIME(tier_replace, "tier-replace", "two puts under a key that is held, and one under another", struct tier,
	     two_setup, over_finish, 1, put_0, put_0, put_1);

/* ---- clear, bounds, ends ----------------------------------------------------------------------------------------- */

static void clear(void *state) { hapax_cache_clear(((struct tier *)state)->k.cache); }

static void clear_finish(void *state)
{
	struct tier *s = state;
	size_t entries = hapax_cache_size(s->k.cache);

	MODEL_CHECK(entries <= 1 && tier_told(s, 1) == 1, "after clear %zu are present, key 1 left %u times", entries,
		    tier_told(s, 1));
	tier_close(s, entries);
}

TIER_SCENARIO(tier_clear, "tier-clear", "clear against a put over A", struct tier, two_setup, clear_finish, 2, clear,
	      put_0);

static void any_finish(void *state)
{
	tier_settled(state, 1);
	tier_close(state, hapax_cache_size(((struct tier *)state)->k.cache));
}

TIER_SCENARIO(tier_clear_evict, "tier-clear-evict", "clear against an eviction and a release", struct tier, held_setup,
	      any_finish, 1, clear, put_1, release_a);

/* B replaces A; the scenario holds both. */
static void replace_a(void *state)
{
	struct tier *s = state;

	s->status[0] = hapax_cache_replace_if(s->k.cache, kit_key(0), s->a, s->b);
	MODEL_CHECK(!s->status[0] || s->status[0] == HAPAX_MISS, "hapax_cache_replace_if: %s",
		    hapax_status_name(s->status[0]));
}

static void replaced_setup(void *state)
{
	struct tier *s = state;

	open_with(s, 2, hapax_policy_sieve(), 1, true);
	s->b = kit_new(&s->k, 0);
}

/* A clear before it would have left nothing to replace. */
static void replaced_finish(void *state)
{
	struct tier *s = state;

	MODEL_CHECK(!hapax_cache_contains(s->k.cache, kit_key(0)), "what replaced A is there after a clear: %s",
		    hapax_status_name(s->status[0]));
	tier_let_go_of_a(s);
	hapax_release(s->b);
	tier_close(s, 0);
}

TIER_SCENARIO(tier_clear_replace, "tier-clear-replace", "clear against a replacement of A", struct tier, replaced_setup,
	      replaced_finish, 2, clear, replace_a);

static void bound_1(void *state)
{
	struct tier *s = state;
	int status = hapax_cache_set_bound(s->k.cache, 1);

	MODEL_CHECK(!status, "hapax_cache_set_bound: %s", hapax_status_name(status));
}

TIER_IN_TIME(tier_bound, "tier-bound", "a smaller bound against a put; a third thread gets", struct tier, two_setup,
	     full_finish, 1, bound_1, put_2, get_1);

static void recorded_setup(void *state) { open_with(state, 1, hapax_policy_tinylfu(), 1, false); }

static void recorded_finish(void *state)
{
	tier_settled(state, 1);
	tier_close(state, hapax_cache_size(((struct tier *)state)->k.cache));
}

TIER_SCENARIO(tier_recorded, "tier-recorded", "hits are recorded while what they hit is evicted", struct tier,
	      recorded_setup, recorded_finish, 1, put_1, peek_0, peek_0);

static void destroy(void *state)
{
	struct tier *s = state;
	hapax_cache *cache = s->k.cache;

	s->k.cache = NULL;
	hapax_cache_destroy(cache);
}

static void destroyed_finish(void *state)
{
	struct tier *s = state;

	MODEL_CHECK(s->k.leaks <= 1, "%u leaks of one object", s->k.leaks);
	MODEL_CHECK(tier_told(s, 1) == 1 && s->told[1][HAPAX_CAUSE_CLOSED] == 1,
		    "what was retained to the end left %u times", tier_told(s, 1));
	/* a death that the end of the cache overtook is not told of */
	MODEL_CHECK(tier_told(s, 0) <= 1 &&
			    s->told[0][HAPAX_CAUSE_CLOSED] + s->told[0][HAPAX_CAUSE_SIZE] == tier_told(s, 0),
		    "what died meanwhile was told of %u times", tier_told(s, 0));
	kit_end_env(&s->k);
}

TIER_SCENARIO(tier_destroy, "tier-destroy", "the cache ends while a demoted object dies", struct tier, again_setup,
	      destroyed_finish, 2, destroy, release_a);
