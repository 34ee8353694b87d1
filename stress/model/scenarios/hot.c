/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/hot.c - objects whose references are counted in cells of the threads' own: promotion, demotion and the drain of
 * a slot, against takes, releases, removals, evictions, deaths, each other, and the end of threads.
 *
 * A is under key 0 of a cache that holds two, B under key 1. In the model the first meeting of two threads promotes, and
 * there are two slots. Many of these are judged before anything is settled: what nobody wants hot any more is not.
 *
 * Faults put in on purpose that show here: HOT_NO_GRACE, HOT_TWO_DRAINS, HOT_NOT_ZEROED, HOT_NOT_ASKED.
 */
#include "model/scenarios/tier.h"

#define HOT_SCENARIO(...) SCENARIO_FLAGS(MODEL_LONG, __VA_ARGS__)

struct hot {
	struct tier t;
	struct item *b;      /* held, if not NULL */
	struct item *c;      /* held, in no cache; promoted at first, so that one slot is left */
	struct item *given;  /* a reference to A that a thread left to another one */
	hapax_weak *weak;
	unsigned promotions; /* that were said to have been made */
};

enum { NONE_HOT, C_HOT, BOTH_HOT };

static void open_with(struct hot *s, int64_t bound, int hot)
{
	hapax_cache_options o = tier_options(&s->t);

	o.max_entries = bound;
	o.policy = hapax_policy_sieve();
	tier_open(&s->t, 0, &o, 1, true);
	if (hot == BOTH_HOT && !hapax_testing_promote(s->t.a))
		model_fail("A was not promoted");
	s->c = kit_new(&s->t.k, 2);
	if (hot != NONE_HOT && !hapax_testing_promote(s->c))
		model_fail("C was not promoted");
}

static void cold_setup(void *state) { open_with(state, 2, NONE_HOT); }
static void plain_setup(void *state) { open_with(state, 2, C_HOT); }
static void narrow_setup(void *state) { open_with(state, 1, C_HOT); }
static void hot_setup(void *state) { open_with(state, 2, BOTH_HOT); }

/* From here on this thread takes and releases by cells what is promoted. */
static void with_cells(struct hot *s) { hapax_testing_promote(s->c); }

static void get_a(struct hot *s)
{
	struct item *item = kit_peek(&s->t.k, 0);

	if (item)
		kit_give(&s->t.k, 0, item);
}

static void get_by_cell(void *state)
{
	with_cells(state);
	get_a(state);
	get_a(state);
}

static void remove_0(void *state)
{
	struct hot *s = state;
	int status = hapax_cache_remove(s->t.k.cache, kit_key(0));

	MODEL_CHECK(!status || status == HAPAX_MISS, "hapax_cache_remove: %s", hapax_status_name(status));
}

static void put_1(void *state) { tier_put(state, 1); }
static void settle(void *state) { hapax_reclaim(((struct hot *)state)->t.k.env); }

/* Everything is drained: then the count is exact. `others`: references beside the one in `a`. */
static void exact(struct hot *s, uint64_t others)
{
	uint64_t count;

	settle(s);
	MODEL_CHECK(!hapax_testing_promoted(s->t.a), "promoted after all was settled");
	count = hapax_count(s->t.a);
	MODEL_CHECK(count == 1 + others, "%llu hold an object, and its count is %llu", (unsigned long long)(1 + others),
		    (unsigned long long)count);
}

static void let_go_of_a(struct hot *s)
{
	kit_read(&s->t.a->word);
	tier_let_go_of_a(&s->t);
}

static void end(struct hot *s, size_t entries)
{
	hapax_release(s->c);
	settle(s);
	tier_close(&s->t, entries);
}

/* A is in the cache, and held by the scenario. */
static void held_finish(void *state)
{
	exact(state, 1);
	let_go_of_a(state);
	end(state, 1);
}

/* It was removed: nobody wants it hot. What is promoted after that is demoted by who promoted it, and no tick need come. */
static void removed_finish(void *state)
{
	struct hot *s = state;

	MODEL_CHECK(!hapax_testing_promoted(s->t.a), "an object was removed, and is promoted");
	exact(s, 0);
	let_go_of_a(s);
	end(s, 0);
}

/* ---- promotion --------------------------------------------------------------------------------------------------- */

/* Three at once, two of which may find a slot: one promotes it. */
static void promote_a(void *state)
{
	struct hot *s = state;

	if (hapax_testing_promote(s->t.a))
		s->promotions++;
}

static void promoters_finish(void *state)
{
	struct hot *s = state;

	MODEL_CHECK(s->promotions == 1 && hapax_testing_promoted(s->t.a), "promoted %u times", s->promotions);
	held_finish(s);
}

HOT_SCENARIO(hot_promoters, "hot-promoters", "three promote one object", struct hot, cold_setup, promoters_finish, 2,
	     promote_a, promote_a, promote_a);
HOT_SCENARIO(hot_gets, "hot-gets", "three threads hammer an object until it is promoted", struct hot, plain_setup,
	     held_finish, 1, get_by_cell, get_by_cell, get_by_cell);

static void promote_release(void *state)
{
	struct hot *s = state;

	promote_a(s);
	get_a(s);
}

static void upgrade(void *state)
{
	struct hot *s = state;

	kit_give(&s->t.k, 0, kit_upgrade(&s->t.k, 0, s->weak));
}

static void weak_setup(void *state)
{
	struct hot *s = state;

	plain_setup(s);
	s->weak = kit_weak(s->t.a);
}

static void weak_finish(void *state)
{
	hapax_weak_drop(((struct hot *)state)->weak);
	held_finish(state);
}

HOT_SCENARIO(hot_upgrade, "hot-upgrade", "a promotion while the count is used by those who do not look", struct hot,
	     weak_setup, weak_finish, 1, promote_release, upgrade, get_by_cell);

static void get_once_by_cell(void *state)
{
	with_cells(state);
	get_a(state);
}

static void get_and_remove(void *state)
{
	get_a(state);
	remove_0(state);
}

HOT_SCENARIO(hot_remove, "hot-remove", "two meet at an object, and one promotes it, the other removes it", struct hot,
	     plain_setup, removed_finish, 3, get_once_by_cell, get_and_remove);
HOT_SCENARIO(hot_remove_two, "hot-remove-two", "two meet at an object, and promote it, that a third one removes", struct hot,
	     plain_setup, removed_finish, 1, get_by_cell, get_by_cell, remove_0);

/* What is promoted is held by the cache: when that lets go of everything but one, and this is not A, A is not promoted. */
static void evicted_finish(void *state)
{
	struct hot *s = state;

	tier_put(&s->t, 2);
	tier_put(&s->t, 3);
	MODEL_CHECK(!hapax_testing_promoted(s->t.a), "an object was evicted, and is promoted");
	exact(s, 0);
	let_go_of_a(s);
	settle(s);
	MODEL_CHECK(tier_stats(&s->t).retained == 1, "the bound is 1, and something else is held");
	end(s, 1);
}

static void get_and_put(void *state)
{
	get_a(state);
	put_1(state);
}

HOT_SCENARIO(hot_evict, "hot-evict", "two meet at an object, and one promotes it, a put of the other evicts it", struct hot,
	     narrow_setup, evicted_finish, 3, get_once_by_cell, get_and_put);
HOT_SCENARIO(hot_evict_two, "hot-evict-two", "two meet at an object, and promote it, that a third one's put evicts", struct hot,
	     narrow_setup, evicted_finish, 1, get_by_cell, get_by_cell, put_1);

/* ---- demotion and drain ------------------------------------------------------------------------------------------ */

HOT_SCENARIO(hot_drain, "hot-drain", "takes and releases by cells while their object is removed, and drained", struct hot,
	     hot_setup, removed_finish, 1, get_by_cell, get_by_cell, remove_0);

static void reclaim(void *state)
{
	settle(state);
	get_a(state);
}

HOT_SCENARIO(hot_demoters, "hot-demoters", "two demote one object", struct hot, hot_setup, removed_finish, 2, remove_0,
	     reclaim, get_by_cell);

static void settled_again(void *state)
{
	with_cells(state);
	settle(state);
	promote_a(state);
}

HOT_SCENARIO(hot_again, "hot-again", "demoted, drained and promoted again, while others take it", struct hot, hot_setup,
	     held_finish, 1, settled_again, get_by_cell, get_by_cell);

static void reuse_setup(void *state)
{
	struct hot *s = state;

	hot_setup(s);
	s->b = kit_new(&s->t.k, 1);
	kit_cache_put(&s->t.k, 1, s->b);
}

static void promote_b(void *state)
{
	struct hot *s = state;

	settle(s);
	hapax_testing_promote(s->b);
	kit_give(&s->t.k, 1, kit_peek(&s->t.k, 1));
}

static void get_b(void *state)
{
	struct hot *s = state;

	get_by_cell(s);
	kit_give(&s->t.k, 1, kit_peek(&s->t.k, 1));
}

static void reuse_finish(void *state)
{
	struct hot *s = state;

	exact(s, 1);
	MODEL_CHECK(hapax_count(s->b) == 2, "two hold B, and its count is %llu", (unsigned long long)hapax_count(s->b));
	hapax_release(s->b);
	let_go_of_a(s);
	end(s, 2);
}

HOT_SCENARIO(hot_reuse, "hot-reuse", "one object is demoted, another one gets its slot", struct hot, reuse_setup,
	     reuse_finish, 1, promote_b, get_b, get_by_cell);

/* ---- threads that end -------------------------------------------------------------------------------------------- */

static void take_and_end(void *state)
{
	struct hot *s = state;

	with_cells(s);
	s->given = kit_peek(&s->t.k, 0);
}

static void give_for_another(void *state)
{
	struct hot *s = state;
	struct item *given;

	with_cells(s); /* perhaps those of the one that has ended */
	given = s->given;
	s->given = NULL;
	kit_give(&s->t.k, 0, given);
	get_a(s);
}

static void given_finish(void *state)
{
	struct hot *s = state;

	if (s->given)
		kit_give(&s->t.k, 0, s->given);
	removed_finish(s);
}

HOT_SCENARIO(hot_exit, "hot-exit", "a thread ends whose reference another one releases; a drain meanwhile", struct hot,
	     hot_setup, given_finish, 1, take_and_end, give_for_another, remove_0);

/* ---- death ------------------------------------------------------------------------------------------------------- */

static void dying_setup(void *state)
{
	struct hot *s = state;

	hot_setup(s);
	s->weak = kit_weak(s->t.a);
}

static void last_by_cell(void *state)
{
	struct hot *s = state;

	with_cells(s);
	let_go_of_a(s);
}

static void last_upgrade(void *state)
{
	upgrade(state);
	upgrade(state);
}

static void dead_finish(void *state)
{
	struct hot *s = state;

	settle(s);
	MODEL_CHECK(s->t.k.life[1].destroyed, "nobody holds A, and it lives");
	MODEL_CHECK(!kit_upgrade(&s->t.k, 0, s->weak), "the dead were upgraded");
	hapax_weak_drop(s->weak);
	end(s, 0);
}

HOT_SCENARIO(hot_death, "hot-death", "a drain finds that nobody is left, or somebody comes back", struct hot, dying_setup,
	     dead_finish, 1, last_by_cell, remove_0, last_upgrade);
HOT_SCENARIO(hot_bury, "hot-bury", "the same; another thread asks for what is left to be done", struct hot, dying_setup,
	     dead_finish, 1, last_by_cell, remove_0, settle);

/* ---- the count as a hint ----------------------------------------------------------------------------------------- */

/* The cache and the scenario hold A all the time. */
static void look(void *state)
{
	struct hot *s = state;
	uint64_t count = hapax_count(s->t.a);

	MODEL_CHECK(count >= 2, "two hold an object, and its count reads %llu", (unsigned long long)count);
}

HOT_SCENARIO(hot_look, "hot-look", "a look at the count while others take and release by cells", struct hot, hot_setup,
	     held_finish, 2, look, get_by_cell, get_by_cell);
HOT_SCENARIO(hot_look_drain, "hot-look-drain", "a look at the count while it is settled", struct hot, hot_setup,
	     held_finish, 2, look, settled_again, get_by_cell);
