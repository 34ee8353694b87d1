/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/memo.c - memos whose owners die: the last release of an owner against other owners' calls, clears, the
 * bound, the counters, the memo's end; and two threads that call for one owner.
 *
 * A result's key in the ledger is its owner's number; `loose` only where results are forgotten while somebody holds
 * them.
 *
 * Faults put in on purpose that show here: ROOM_CLOSED_IN_TWO, PARTING_LOST.
 */
#include "model/scenarios/kit.h"

enum { A, B, C, OWNERS };

struct memo {
	struct kit k;
	hapax_memo *memo;
	struct item *owner[OWNERS];
	unsigned owner_id[OWNERS];
	unsigned computed[OWNERS], calls[OWNERS];
	bool computing[OWNERS], forgotten[OWNERS]; /* what is computed may be forgotten */
	hapax_memo_info cleared[2];
	unsigned clears;
	struct probe p;
	bool yields;
};

static void expect(int status, int expected, const char *call)
{
	MODEL_CHECK(status == expected, "%s: %s, not %s", call, hapax_status_name(status), hapax_status_name(expected));
}

/* ---- the function ------------------------------------------------------------------------------------------------ */

/* Owners are items of keys OWNERS and above, so that results have the owners' numbers. */
static int compute(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	struct memo *s = ctx;
	struct item *of = owner, *item = result;
	unsigned number = of->key - OWNERS;

	(void)args;
	(void)n;
	(void)error;
	MODEL_CHECK(number < OWNERS && of->id == s->owner_id[number], "computed for an owner that nobody named");
	MODEL_CHECK(!s->k.life[of->id].destroyed, "computed for an owner that is destroyed");
	MODEL_CHECK(!s->computing[number] || s->forgotten[number], "a result is computed twice at once");
	s->computing[number] = true;
	s->computed[number]++;
	model_note("computes for", number);
	if (s->yields)
		model_yield();
	kit_fill(&s->k, item, number);
	s->computing[number] = false;
	return HAPAX_LOAD_OK;
}

static void memo_new(struct memo *s, unsigned flags, int64_t capacity)
{
	hapax_memo_options o = {HAPAX_MEMO_OPTIONS_INIT};

	o.env = s->k.env;
	o.type = &kit_type;
	o.compute = compute;
	o.ctx = s;
	o.capacity = capacity;
	o.flags = HAPAX_MEMO_OWNED | flags;
	o.policy = hapax_policy_lru();
	expect(hapax_memo_create(&s->memo, &o), 0, "hapax_memo_create");
}

static hapax_key argument(void)
{
	static const char name[] = "x";

	return (hapax_key){name, 1};
}

static struct item *call(struct memo *s, unsigned owner)
{
	void *out = NULL;
	int status = hapax_memo_get(s->memo, s->owner[owner], argument(), &out);
	struct item *item;

	expect(status, 0, "hapax_memo_get");
	item = kit_hold(&s->k, owner, out);
	MODEL_CHECK(item->key == owner, "a result of another owner");
	s->calls[owner]++;
	return item;
}

static void call_give(struct memo *s, unsigned owner) { kit_give(&s->k, owner, call(s, owner)); }
static void call_a(void *state) { call_give(state, A); }
static void call_b(void *state) { call_give(state, B); }

static void call_release(struct memo *s, unsigned owner)
{
	call_give(s, owner);
	hapax_release(s->owner[owner]);
}

static void release_a(void *state) { hapax_release(((struct memo *)state)->owner[A]); }
static void release_b(void *state) { hapax_release(((struct memo *)state)->owner[B]); }
static void call_release_a(void *state) { call_release(state, A); }
static void call_release_b(void *state) { call_release(state, B); }

/* ---- setting up and ending --------------------------------------------------------------------------------------- */

static void owner_new(struct memo *s, unsigned owner)
{
	s->owner[owner] = kit_new(&s->k, OWNERS + owner);
	s->owner_id[owner] = s->owner[owner]->id;
}

static void open(struct memo *s, unsigned flags, int64_t capacity)
{
	kit_open(&s->k, 0, 0);
	memo_new(s, flags, capacity);
	owner_new(s, A);
	owner_new(s, B);
}

/* A has a result, B none. */
static void one_setup(void *state)
{
	open(state, 0, 2);
	call_a(state);
}

static void shared_setup(void *state)
{
	open(state, HAPAX_MEMO_SHARED_BUDGET, 1);
	call_a(state);
}

/* Two threads have A. */
static void twice_setup(void *state)
{
	struct memo *s = state;

	open(s, 0, 2);
	s->yields = true;
	expect(hapax_retain(s->owner[A]), 0, "hapax_retain");
}

static hapax_memo_info info_of(struct memo *s, unsigned owner)
{
	hapax_memo_info info = {.size = sizeof(info)};

	expect(hapax_memo_info_get(s->memo, owner < OWNERS ? s->owner[owner] : NULL, &info), 0, "hapax_memo_info_get");
	return info;
}

/* The counters of the whole memo, and of all clears, make up the calls. */
static void counted(struct memo *s)
{
	hapax_memo_info info = info_of(s, OWNERS);
	uint64_t calls = 0, computed = 0, hits = info.hits, misses = info.misses, ran = info.computed,
		 waits = info.waits;

	for (unsigned i = 0; i < OWNERS; i++) {
		calls += s->calls[i];
		computed += s->computed[i];
	}
	for (unsigned i = 0; i < s->clears; i++) {
		hits += s->cleared[i].hits;
		misses += s->cleared[i].misses;
		ran += s->cleared[i].computed;
		waits += s->cleared[i].waits;
	}
	MODEL_CHECK(hits + misses == calls, "%llu hits and %llu misses in %llu calls", (unsigned long long)hits,
		    (unsigned long long)misses, (unsigned long long)calls);
	/* who missed may find the result when it comes to compute it */
	MODEL_CHECK(ran == computed && misses >= ran + waits, "%llu computed, %llu counted; %llu misses, %llu waits",
		    (unsigned long long)computed, (unsigned long long)ran, (unsigned long long)misses,
		    (unsigned long long)waits);
}

static void destroy_memo(struct memo *s)
{
	hapax_memo *memo = s->memo;

	s->memo = NULL;
	hapax_memo_destroy(memo);
}

/* All owners are dead: nothing of theirs is left, while the memo is still there. */
static void all_dead(struct memo *s)
{
	hapax_memo_info info;

	if (s->memo) {
		info = info_of(s, OWNERS);
		MODEL_CHECK(!info.entries && !info.owners, "all owners are dead: %llu results of %llu owners",
			    (unsigned long long)info.entries, (unsigned long long)info.owners);
		counted(s);
	}
	for (unsigned id = 1; id <= s->k.last; id++)
		MODEL_CHECK(s->k.life[id].destroyed, "object %u outlives its owner", id);
	destroy_memo(s);
	kit_close(&s->k, 0);
}

static void dead_finish(void *state) { all_dead(state); }

static void b_alive_finish(void *state)
{
	struct memo *s = state;
	hapax_memo_info info = info_of(s, B);

	MODEL_CHECK(info.entries == 1 && info.hits + info.misses == s->calls[B],
		    "of the living owner: %llu results, %llu calls", (unsigned long long)info.entries,
		    (unsigned long long)(info.hits + info.misses));
	info = info_of(s, OWNERS);
	MODEL_CHECK(info.entries == 1 && info.owners == 1, "one owner is alive: %llu results of %llu owners",
		    (unsigned long long)info.entries, (unsigned long long)info.owners);
	MODEL_CHECK(s->computed[B] == 1, "the other owner's result was computed %u times", s->computed[B]);
	release_b(s);
	all_dead(s);
}

/* ---- an owner's death -------------------------------------------------------------------------------------------- */

static void call_b_twice(void *state)
{
	call_b(state);
	call_b(state);
}

SCENARIO_FLAGS(MODEL_LONG, memo_death_call, "memo-death-call",
	       "another owner's calls while an owner with a result dies", struct memo, one_setup, b_alive_finish, 1,
	       release_a, call_b_twice);
SCENARIO_FLAGS(MODEL_LONG, memo_death_two, "memo-death-two", "two owners call once and die", struct memo, one_setup,
	       dead_finish, 1, call_release_a, call_release_b);

/* Both hold A and call: one computation, and whoever releases last ends all. */
static void same_finish(void *state)
{
	struct memo *s = state;

	MODEL_CHECK(s->computed[A] == 1, "two calls for one owner computed %u times", s->computed[A]);
	release_b(s);
	all_dead(s);
}

SCENARIO_FLAGS(MODEL_LONG, memo_same, "memo-same", "two threads call for one owner and release it", struct memo,
	       twice_setup, same_finish, 1, call_release_a, call_release_a);

static void find_release(void *state)
{
	struct memo *s = state;
	hapax_arg arg = hapax_arg_bytes("x", 1, HAPAX_TAG_BYTES);
	void *out = NULL;
	int status = hapax_memo_find(s->memo, s->owner[A], &arg, 1, &out);

	if (status)
		expect(status, HAPAX_MISS, "hapax_memo_find");
	else
		kit_give(&s->k, A, kit_hold(&s->k, A, out));
	hapax_release(s->owner[A]);
}

SCENARIO_FLAGS(MODEL_LONG, memo_find, "memo-find",
	       "a result is looked for while it is computed, and both release the owner", struct memo, twice_setup,
	       same_finish, 1, call_release_a, find_release);

/* A result that is held goes on after its owner and its memo. */
static void hold_release(void *state)
{
	struct memo *s = state;
	struct item *item = call(s, A);

	hapax_release(s->owner[A]);
	model_yield();
	kit_give(&s->k, A, item);
}

static void end_memo(void *state) { destroy_memo(state); }

static void ended_finish(void *state)
{
	struct memo *s = state;

	release_b(s);
	all_dead(s);
}

SCENARIO_FLAGS(MODEL_LONG, memo_death_end, "memo-death-end", "a memo ends while an owner dies", struct memo, one_setup,
	       ended_finish, 2, release_a, end_memo);
SCENARIO_FLAGS(MODEL_LONG, memo_death_hold, "memo-death-hold", "a result is held beyond its owner's death", struct memo,
	       twice_setup, ended_finish, 1, release_a, hold_release);

static void both_setup(void *state)
{
	one_setup(state);
	call_b(state);
}

SCENARIO_FLAGS(MODEL_LONG, memo_death_both, "memo-death-both", "two owners with results die at once", struct memo,
	       both_setup, dead_finish, 2, release_a, release_b);
SCENARIO_FLAGS(MODEL_LONG, memo_death_end_two, "memo-death-end-two", "a memo ends while two owners die", struct memo,
	       both_setup, dead_finish, 1, release_a, release_b, end_memo);

/* ---- the bound --------------------------------------------------------------------------------------------------- */

static void evicted_finish(void *state)
{
	struct memo *s = state;
	hapax_memo_info info = info_of(s, OWNERS);

	MODEL_CHECK(info.entries == 1, "one result is within the bound: %llu", (unsigned long long)info.entries);
	b_alive_finish(state);
}

SCENARIO_FLAGS(MODEL_LONG, memo_death_evict, "memo-death-evict",
	       "another owner's call takes the room of a result whose owner dies", struct memo, shared_setup,
	       evicted_finish, 1, release_a, call_b);

static void evict_dead_finish(void *state) { all_dead(state); }

SCENARIO_FLAGS(MODEL_LONG, memo_evict_two, "memo-evict-two", "two owners that share room for one result call and die",
	       struct memo, shared_setup, evict_dead_finish, 1, call_release_a, call_release_b);

/* ---- clears and counters ------------------------------------------------------------------------------------------
 */

static void clear(struct memo *s, unsigned owner)
{
	hapax_memo_info *info = &s->cleared[s->clears++];

	info->size = sizeof(*info);
	expect(hapax_memo_clear(s->memo, owner < OWNERS ? s->owner[owner] : NULL, info), 0, "hapax_memo_clear");
	MODEL_CHECK(info->hits + info->misses >= info->computed, "a clear's counters: %llu and %llu, %llu computed",
		    (unsigned long long)info->hits, (unsigned long long)info->misses,
		    (unsigned long long)info->computed);
}

static void clear_all(void *state) { clear(state, OWNERS); }

/* An owner's clear leaves the memo's counters alone: they are not put together. */
static void clear_a_release(void *state)
{
	struct memo *s = state;

	clear(s, A);
	s->clears--;
	hapax_release(s->owner[A]);
}

static void clear_b(void *state)
{
	clear(state, B);
	((struct memo *)state)->clears--;
}

static void forgetful_setup(void *state)
{
	struct memo *s = state;

	one_setup(state);
	s->yields = true;
	s->k.loose = true;
	for (unsigned i = 0; i < OWNERS; i++)
		s->forgotten[i] = true;
}

static void forgetful_both(void *state)
{
	forgetful_setup(state);
	call_b(state);
}

static void forgetful_twice(void *state)
{
	struct memo *s = state;

	forgetful_setup(state);
	expect(hapax_retain(s->owner[A]), 0, "hapax_retain");
}

static void a_dead_finish(void *state)
{
	struct memo *s = state;

	counted(s);
	release_b(s);
	all_dead(s);
}

SCENARIO_FLAGS(MODEL_LONG, memo_death_clear, "memo-death-clear", "a memo is cleared while an owner dies", struct memo,
	       forgetful_setup, a_dead_finish, 2, release_a, clear_all);
SCENARIO_FLAGS(MODEL_LONG, memo_death_clear_call, "memo-death-clear-call",
	       "a memo is cleared while one owner dies and another calls", struct memo, forgetful_setup, a_dead_finish,
	       1, release_a, clear_all, call_b);
SCENARIO_FLAGS(MODEL_LONG, memo_death_clear_own, "memo-death-clear-own",
	       "an owner's results are cleared by one who releases it, too", struct memo, forgetful_twice,
	       a_dead_finish, 1, call_release_a, clear_a_release);
SCENARIO_FLAGS(MODEL_LONG, memo_death_clear_other, "memo-death-clear-other",
	       "an owner dies while another's results are cleared", struct memo, forgetful_both, a_dead_finish, 1,
	       release_a, clear_b);
SCENARIO_FLAGS(MODEL_LONG, memo_clear_two, "memo-clear-two", "two clears of the whole memo against a call", struct memo,
	       forgetful_setup, ended_finish, 1, call_release_a, clear_all, clear_all);

static void forget_release(void *state)
{
	struct memo *s = state;
	hapax_arg arg = hapax_arg_bytes("x", 1, HAPAX_TAG_BYTES);
	int status = hapax_memo_forget(s->memo, s->owner[A], &arg, 1);

	if (status)
		expect(status, HAPAX_MISS, "hapax_memo_forget");
	hapax_release(s->owner[A]);
}

SCENARIO_FLAGS(MODEL_LONG, memo_forget, "memo-forget",
	       "a result is forgotten while it is called for, and both release the owner", struct memo, forgetful_twice,
	       a_dead_finish, 1, call_release_a, forget_release);

/* One consistent view while an owner calls and dies: what it says can have been true. */
static void look(void *state)
{
	struct memo *s = state;
	hapax_memo_info info = info_of(s, OWNERS);

	MODEL_CHECK(info.hits + info.misses >= info.computed && info.misses >= info.computed + info.waits,
		    "%llu hits, %llu misses, %llu waits, %llu computed", (unsigned long long)info.hits,
		    (unsigned long long)info.misses, (unsigned long long)info.waits, (unsigned long long)info.computed);
	MODEL_CHECK(info.owners <= 2 && info.entries <= 2, "%llu results of %llu owners",
		    (unsigned long long)info.entries, (unsigned long long)info.owners);
}

static void info_finish(void *state)
{
	release_b(state);
	all_dead(state);
}

SCENARIO_FLAGS(MODEL_LONG, memo_death_info, "memo-death-info", "the counters are read while an owner calls and dies",
	       struct memo, one_setup, info_finish, 2, call_release_a, look);

/* An owner at the address of a dead one finds nothing of it. */
static void again(void *state)
{
	struct memo *s = state;

	hapax_release(s->owner[A]);
	for (unsigned i = 0; i < 2; i++) {
		unsigned computed = s->computed[A];

		hapax_reclaim(s->k.env);
		owner_new(s, A);
		call_a(s);
		MODEL_CHECK(s->computed[A] == computed + 1, "a new owner was given a dead one's result");
		hapax_release(s->owner[A]);
	}
}

static void again_reclaim(void *state)
{
	struct memo *s = state;

	hapax_reclaim(s->k.env);
	call_release_b(s);
}

SCENARIO_FLAGS(MODEL_LONG, memo_again, "memo-again", "owners follow one another in the same memory", struct memo,
	       one_setup, dead_finish, 1, again, again_reclaim);
