/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/history.c - random calls of three threads, recorded, and judged by the linearizability checker.
 *
 * The calls are choices of the run, so a history is replayed with it. Everything is given back before the threads end.
 *
 * Faults put in on purpose that show here: REMOVES_NEWER, FREEZE_MISSED, FENCED_UNREGISTERS, INCREMENT_FROM_ZERO.
 */
#include "harness/history.h"
#include "model/scenarios/kit.h"

enum { PLAYERS = 3, HELD = 24 };

struct player {
	struct hist *s;
	unsigned index, held;
	struct item *item[HELD];
	struct hpx_lin_hold *hold[HELD];
};

struct hist {
	struct kit k;
	unsigned keys, calls; /* of each player */
	bool resizes;
	struct player player[PLAYERS];
};

/* Too large to be zeroed for every run. */
static struct hpx_history history;
HPX_LIN_SPACE(space, 1 << 14);

/* ---- what the players do ----------------------------------------------------------------------------------------- */

static void keep(struct player *p, struct item *item, uint64_t since)
{
	MODEL_CHECK(p->held < HELD, "a player holds too much");
	p->hold[p->held] = hpx_history_hold(&history, p->index, (unsigned)item->mark, since);
	p->item[p->held++] = item;
}

static void drop(struct player *p, unsigned which)
{
	struct item *item = p->item[which];
	struct hpx_lin_hold *hold = p->hold[which];

	p->item[which] = p->item[--p->held];
	p->hold[which] = p->hold[p->held];
	hpx_history_drop(&history, hold);
	kit_unhold(&p->s->k, item->key, item);
	hapax_release(item);
	hpx_history_dropped(&history, hold);
}

static struct item *make(struct player *p, unsigned key)
{
	uint64_t since = hpx_history_stamp(&history);
	struct item *item = kit_new(&p->s->k, key);

	item->mark = hpx_history_id(&history);
	kit_hold(&p->s->k, key, item);
	keep(p, item, since);
	return item;
}

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct player *p = arg;
	struct item *item = object;
	unsigned id = hpx_history_enter_loader(&history, p->index);

	kit_fill(&p->s->k, item, *(const unsigned char *)key->data);
	item->mark = id;
	model_yield();
	if (model_choose(4) == 0) {
		error->code = (int)id;
		p->s->k.life[item->id].made = false;
		hpx_history_leave_loader(&history, p->index);
		return HAPAX_LOAD_FAIL;
	}
	hpx_history_leave_loader(&history, p->index);
	return HAPAX_LOAD_OK;
}

/* Chooses among what is held, for a conditional removal; NULL: nothing. */
static struct item *choose_held(struct player *p) { return p->held ? p->item[model_choose(p->held)] : NULL; }

static int on_table(struct player *p, enum hpx_lin_op op, hapax_key key, struct item *mine, void **out)
{
	hapax_table *table = p->s->k.table;

	switch (op) {
	case HPX_LIN_PUT: return hapax_table_put(table, key, mine);
	case HPX_LIN_GET: return hapax_table_get(table, key, out);
	case HPX_LIN_CONTAINS: return hapax_table_contains(table, key);
	case HPX_LIN_REMOVE: return hapax_table_remove(table, key);
	case HPX_LIN_POP: return hapax_table_pop(table, key, out);
	case HPX_LIN_GET_OR_PUT: return hapax_table_get_or_put(table, key, mine, out, NULL);
	case HPX_LIN_REMOVE_IF: return hapax_table_remove_if(table, key, mine);
	default: hapax_table_clear(table); return 0;
	}
}

/* What a compute was asked last, and what it is to put. */
struct computing {
	struct item *mine;
	unsigned seen;
};

static int compute(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct computing *c = arg;

	(void)key;
	(void)error;
	c->seen = current ? (unsigned)((struct item *)current)->mark : 0;
	model_yield();
	if (hapax_retain(c->mine))
		model_fail("hapax_retain failed");
	*object = c->mine;
	return HAPAX_COMPUTE_PUT;
}

static int on_cache(struct player *p, enum hpx_lin_op op, hapax_key key, struct item *mine, struct item *other, unsigned *seen,
		    void **out, hapax_load_error *error)
{
	struct computing c = {.mine = mine};
	int status;

	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .load = load, .arg = p, .error = error};
	hapax_cache *cache = p->s->k.cache;

	switch (op) {
	case HPX_LIN_PUT: return hapax_cache_put(cache, key, mine);
	case HPX_LIN_GET: return hapax_cache_get_if_present(cache, key, out);
	case HPX_LIN_CONTAINS: return hapax_cache_contains(cache, key);
	case HPX_LIN_REMOVE: return hapax_cache_remove(cache, key);
	case HPX_LIN_POP: return hapax_cache_pop(cache, key, out);
	case HPX_LIN_GET_OR_PUT: return hapax_cache_get_or_put(cache, key, mine, out, NULL);
	case HPX_LIN_REMOVE_IF: return hapax_cache_remove_if(cache, key, mine);
	case HPX_LIN_LOAD: return hapax_cache_get_with(cache, key, &o, out);
	case HPX_LIN_REPLACE_IF: return hapax_cache_replace_if(cache, key, other, mine);
	case HPX_LIN_COMPUTE:
		status = hapax_cache_compute(cache, key, compute, &c, HAPAX_FOREVER, NULL, NULL, NULL);
		*seen = c.seen;
		return status;
	default: hapax_cache_clear(cache); return 0;
	}
}

static bool answer_fits(enum hpx_lin_op op, int status, const void *out)
{
	switch (op) {
	case HPX_LIN_PUT: return !status;
	case HPX_LIN_GET:
	case HPX_LIN_POP: return out ? !status : status == HAPAX_MISS;
	case HPX_LIN_CONTAINS: return status == 0 || status == 1;
	case HPX_LIN_REMOVE:
	case HPX_LIN_REPLACE_IF:
	case HPX_LIN_REMOVE_IF: return status == 0 || status == HAPAX_MISS;
	case HPX_LIN_COMPUTE: return !status;
	case HPX_LIN_GET_OR_PUT: return !status && out;
	case HPX_LIN_LOAD: return out ? !status : status == HAPAX_ELOADER;
	default: return true;
	}
}

static void call(struct player *p)
{
	struct hist *s = p->s;
	enum hpx_lin_op op = (enum hpx_lin_op)model_choose(s->k.cache ? HPX_LIN_COMPUTE + 1 : HPX_LIN_LOAD);
	unsigned key = model_choose(s->keys), result = 0, seen = 0;
	hapax_load_error error = {.code = 0};
	struct item *mine = NULL, *other = NULL;
	struct hpx_lin_event *e;
	void *out = NULL;
	uint64_t since;
	int status;

	if (op == HPX_LIN_REPLACE_IF && !(other = choose_held(p)))
		op = HPX_LIN_COMPUTE;
	if (op == HPX_LIN_PUT || op == HPX_LIN_GET_OR_PUT || op == HPX_LIN_REPLACE_IF || op == HPX_LIN_COMPUTE)
		mine = make(p, key);
	else if (op == HPX_LIN_REMOVE_IF && !(mine = choose_held(p)))
		op = HPX_LIN_GET;
	e = hpx_history_call(&history, p->index, op, op == HPX_LIN_CLEAR ? HPX_LIN_ALL_KEYS : key,
			     other ? (unsigned)other->mark : mine ? (unsigned)mine->mark : 0);
	since = e ? e->call : 0;
	if (e && other)
		e->with = (unsigned)mine->mark;
	status = s->k.cache ? on_cache(p, op, kit_key(key), mine, other, &seen, &out, &error)
			    : on_table(p, op, kit_key(key), mine, &out);
	MODEL_CHECK(answer_fits(op, status, out), "call %d answered %s, object %p", (int)op, hapax_status_name(status), out);
	if (op == HPX_LIN_CONTAINS)
		result = (unsigned)status;
	else if (op == HPX_LIN_REMOVE || op == HPX_LIN_REMOVE_IF || op == HPX_LIN_REPLACE_IF)
		result = status == 0;
	else if (op == HPX_LIN_COMPUTE)
		result = seen;
	else if (out)
		result = (unsigned)((struct item *)out)->mark;
	else if (op == HPX_LIN_LOAD)
		result = (unsigned)error.code;
	if (e)
		e->failed = op == HPX_LIN_LOAD && !out;
	hpx_history_return(&history, e, result);
	hapax_load_error_drop(&error);
	if (out) {
		kit_hold(&s->k, key, out);
		keep(p, out, since);
	}
}

static void play(struct hist *s, unsigned index)
{
	struct player *p = &s->player[index];

	for (unsigned i = 0; i < s->calls; i++) {
		call(p);
		if (s->resizes && model_choose(8) == 0)
			(void)!hapax_testing_table_resize(s->k.table, (int)model_choose(3) - 1);
		while (p->held && model_choose(2))
			drop(p, model_choose(p->held));
	}
	while (p->held)
		drop(p, p->held - 1);
}

static void play_0(void *state) { play(state, 0); }
static void play_1(void *state) { play(state, 1); }
static void play_2(void *state) { play(state, 2); }

/* ---- before and after -------------------------------------------------------------------------------------------- */

static void setup(struct hist *s, unsigned keys, unsigned calls)
{
	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	s->keys = keys;
	s->calls = calls;
	hpx_history_reset(&history, PLAYERS);
	for (unsigned n = 0; n < PLAYERS; n++)
		s->player[n] = (struct player){.s = s, .index = n};
}

static void table_setup(void *state)
{
	setup(state, 2, 3);
	kit_table(state, KIT_PLAIN);
}

static void one_key_setup(void *state)
{
	setup(state, 1, 3);
	kit_table(state, KIT_PLAIN);
}

static void resized_setup(void *state)
{
	setup(state, 2, 3);
	kit_table(state, KIT_HOMED);
	((struct hist *)state)->resizes = true;
}

static void long_setup(void *state)
{
	setup(state, 2, 5);
	kit_table(state, KIT_PLAIN);
}

static void cache_setup(void *state)
{
	setup(state, 2, 3);
	kit_cache(state, 0, KIT_IN_PLACE);
}

static void cache_one_key_setup(void *state)
{
	setup(state, 1, 3);
	kit_cache(state, 0, KIT_IN_PLACE);
}

static void cache_long_setup(void *state)
{
	setup(state, 2, 5);
	kit_cache(state, 0, KIT_IN_PLACE);
}

static void finish(void *state)
{
	struct hist *s = state;
	struct hpx_lin_verdict verdict = hpx_history_check(&history, &space);

	if (verdict.answer != HPX_LIN_HOLDS) {
		struct hpx_lin_history all = hpx_history_all(&history);

		hpx_lin_print(stderr, &all, &verdict);
		model_fail("the history is %s: %s", verdict.answer == HPX_LIN_BROKEN ? "not linearizable" : "undecided",
			   verdict.why);
	}
	kit_close(&s->k, 0);
}

SCENARIO_IN_TIME(history_table, "history-table", "3 threads, 3 random calls each on 2 keys of a table", struct hist, table_setup,
	 finish, 0, play_0, play_1, play_2);
SCENARIO_IN_TIME(history_table_key, "history-table-key", "3 threads, 3 random calls each on 1 key of a table", struct hist,
	 one_key_setup, finish, 0, play_0, play_1, play_2);
SCENARIO_IN_TIME(history_table_resized, "history-table-resized", "the same on 2 keys of a table that is resized", struct hist,
	 resized_setup, finish, 0, play_0, play_1, play_2);
SCENARIO_IN_TIME(history_table_long, "history-table-long", "3 threads, 5 random calls each on 2 keys of a table", struct hist,
	 long_setup, finish, 0, play_0, play_1, play_2);
SCENARIO_IN_TIME(history_cache, "history-cache", "3 threads, 3 random calls each on 2 keys of a cache", struct hist, cache_setup,
	 finish, 0, play_0, play_1, play_2);
SCENARIO_IN_TIME(history_cache_key, "history-cache-key", "3 threads, 3 random calls each on 1 key of a cache", struct hist,
	 cache_one_key_setup, finish, 0, play_0, play_1, play_2);
SCENARIO_IN_TIME(history_cache_long, "history-cache-long", "3 threads, 5 random calls each on 2 keys of a cache", struct hist,
	 cache_long_setup, finish, 0, play_0, play_1, play_2);
