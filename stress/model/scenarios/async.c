/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/async.c - loads that a token ends, and gets that are told: against each other, waiters that sleep, the end of
 * the cache. The first get of key 0 is under way when the threads begin.
 *
 * Faults put in on purpose that show here: CLOSE_MISSES_LATE, LOST_WAKEUP, WAITER_EARLY.
 */
#include <hapax/async.h>

#include "model/scenarios/kit.h"

struct told {
	struct async *s;
	unsigned calls;
	int status;
	struct item *item;
};

struct async {
	struct kit k;
	hapax_load *token[3];
	unsigned starts;
	struct told told[3];
	unsigned asked;
	int status[2]; /* of completing */
	struct item *got;
};

static int start(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct async *s = arg;

	(void)key;
	(void)error;
	MODEL_CHECK(s->starts < 3, "a load is started again and again");
	s->token[s->starts++] = load;
	return 0;
}

static void done(int status, void *object, hapax_load_error *error, void *ctx)
{
	struct told *t = ctx;

	MODEL_CHECK(!t->calls, "a get was told twice");
	MODEL_CHECK((status == 0) == (object != NULL) && !error->detail, "a get was told %s", hapax_status_name(status));
	t->calls++;
	t->status = status;
	t->item = object ? kit_hold(&t->s->k, 0, object) : NULL;
}

/* The status when it was refused, and never told then. */
static int ask(struct async *s)
{
	struct told *t = &s->told[s->asked];
	int status;

	t->s = s;
	s->asked++;
	status = hapax_cache_get_async(s->k.cache, kit_key(0), NULL, done, t);
	MODEL_CHECK(!status || !t->calls, "a get that was refused was told");
	return status;
}

static void setup(void *state)
{
	struct async *s = state;
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .type = &kit_type, .start = start, .arg = s, .name = "modelled"};

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	o.env = s->k.env;
	if (hapax_cache_create(&s->k.cache, &o) || ask(s))
		model_fail("the first get could not be asked");
}

/* What is left goes; every get that was asked was told. */
static void end(struct async *s, unsigned told)
{
	unsigned calls = 0;

	for (unsigned i = 0; i < 3; i++) {
		calls += s->told[i].calls;
		kit_give(&s->k, 0, s->told[i].item);
	}
	MODEL_CHECK(calls == told, "%u gets were asked and %u told", told, calls);
	kit_give(&s->k, 0, s->got);
	s->got = NULL;
	kit_close(&s->k, 0);
}

/* ---- completing ---------------------------------------------------------------------------------------------------- */

static void complete_as(struct async *s, unsigned who)
{
	struct item *item = kit_new(&s->k, 0);

	s->status[who] = hapax_load_complete(s->token[0], item, NULL);
}

static void complete(void *state)
{
	struct async *s = state;

	complete_as(s, 0);
	hapax_load_drop(s->token[0]);
}

static void complete_0(void *state) { complete_as(state, 0); }
static void complete_1(void *state) { complete_as(state, 1); }

static void twice_finish(void *state)
{
	struct async *s = state;

	MODEL_CHECK(s->status[0] + s->status[1] == HAPAX_ETOKEN && s->status[0] != s->status[1], "completed as %s and %s",
		    hapax_status_name(s->status[0]), hapax_status_name(s->status[1]));
	hapax_load_drop(s->token[0]);
	end(s, 1);
}

SCENARIO(token_twice, "token-twice", "two threads complete one load", struct async, setup, twice_finish, 2, complete_0,
	 complete_1);

static void fail_it(void *state)
{
	struct async *s = state;

	s->status[1] = hapax_load_fail(s->token[0], HAPAX_LOAD_NOVALUE, NULL);
}

SCENARIO(token_fail, "token-fail", "one thread completes a load, one fails it", struct async, setup, twice_finish, 2,
	 complete_0, fail_it);

/* ---- joining ------------------------------------------------------------------------------------------------------- */

static void ask_again(void *state)
{
	struct async *s = state;

	if (ask(s))
		model_fail("an asynchronous get was refused");
}

/* The first one holds the object from when it is told, so that there is one object. */
static void join_finish(void *state)
{
	struct async *s = state;

	MODEL_CHECK(s->told[0].item && s->told[1].item == s->told[0].item && s->starts == 1, "two gets got two objects");
	end(s, 2);
}

SCENARIO(token_join, "token-join", "a get joins while the load is completed", struct async, setup, join_finish, 2, complete,
	 ask_again);

static void get(void *state) { ((struct async *)state)->got = kit_get(state, 0); }

static void wait_finish(void *state)
{
	struct async *s = state;

	MODEL_CHECK(s->told[0].item && s->got == s->told[0].item && s->starts == 1, "two gets got two objects");
	end(s, 1);
}

SCENARIO(token_wait, "token-wait", "a get that sleeps joins while the load is completed", struct async, setup, wait_finish,
	 2, complete, get);

static void drop(void *state) { hapax_load_drop(((struct async *)state)->token[0]); }

static void drop_finish(void *state)
{
	struct async *s = state;

	MODEL_CHECK(s->told[0].status == HAPAX_EABANDONED, "a dropped load was told as %s", hapax_status_name(s->told[0].status));
	if (s->starts == 2)
		hapax_load_drop(s->token[1]);
	MODEL_CHECK(s->told[1].status == HAPAX_EABANDONED, "a dropped load was told as %s", hapax_status_name(s->told[1].status));
	end(s, 2);
}

SCENARIO(token_drop, "token-drop", "a get joins while the token is dropped", struct async, setup, drop_finish, 2, drop,
	 ask_again);

static void remove_and_ask(void *state)
{
	struct async *s = state;

	hapax_cache_remove(s->k.cache, kit_key(0));
	ask_again(state);
}

/* Whoever asks after the removal does not get what was begun before it, unless it was there by then. */
static void fence_finish(void *state)
{
	struct async *s = state;

	MODEL_CHECK(s->told[0].item && s->starts == 2 && !s->told[1].calls, "a get that came after a removal joined");
	hapax_load_drop(s->token[1]);
	end(s, 2);
}

SCENARIO(token_fence, "token-fence", "a load that is completed is fenced, and asked for again", struct async, setup,
	 fence_finish, 2, complete, remove_and_ask);

/* ---- the cache ends ------------------------------------------------------------------------------------------------ */

static void close_cache(void *state) { hapax_cache_close(((struct async *)state)->k.cache); }

static void ended_finish(void *state)
{
	struct async *s = state;

	MODEL_CHECK(s->told[0].status == (s->told[0].item ? HAPAX_OK : HAPAX_ECLOSED), "told %s",
		    hapax_status_name(s->told[0].status));
	end(s, 1);
}

SCENARIO(token_close, "token-close", "a load is completed while its cache closes", struct async, setup, ended_finish, 2,
	 complete, close_cache);

static void destroy_cache(void *state)
{
	struct async *s = state;
	hapax_cache *cache = s->k.cache;

	s->k.cache = NULL;
	hapax_cache_destroy(cache);
	MODEL_CHECK(s->told[0].calls == 1, "a cache is destroyed, and somebody was not told");
}

SCENARIO(token_destroy, "token-destroy", "a load is completed while its cache is destroyed", struct async, setup,
	 ended_finish, 1, complete, destroy_cache);

static void ask_late(void *state)
{
	struct async *s = state;
	int status = ask(s);

	MODEL_CHECK(!status || status == HAPAX_ECLOSED, "an asynchronous get of a closing cache: %s", hapax_status_name(status));
	if (status)
		s->asked--;
}

static void late_finish(void *state)
{
	struct async *s = state;

	hapax_load_drop(s->token[0]);
	MODEL_CHECK(s->starts == 1, "a closing cache started a load");
	end(s, s->asked);
}

SCENARIO(token_close_join, "token-close-join", "a get joins while the cache closes", struct async, setup, late_finish, 2,
	 ask_late, close_cache);
