/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/told.c - finalizers and bound callbacks: the death of what they are on against all that may be done with
 * them.
 *
 * Faults put in on purpose that show here: FINALIZER_TWICE, BOUND_TOLD_TWICE.
 */
#include "model/scenarios/kit.h"

struct told {
	struct kit k;
	struct item *item, *other;
	hapax_finalizer *finalizer;
	hapax_bound *bound;
	uint64_t word; /* as the context's contents: written by what is told, and by who knows that it is over */
	unsigned ran, frees, tells, calls;
	bool running, detached, dropped, in_call;
	unsigned busy;	   /* runs by hand and calls, from before they begin until they have returned */
	unsigned answered; /* of them, those that said that they ran it */
};

static void expect(int status, int expected, const char *call)
{
	MODEL_CHECK(status == expected, "%s: %s, not %s", call, hapax_status_name(status), hapax_status_name(expected));
}

static void release(void *state) { hapax_release(((struct told *)state)->item); }
static void release_other(void *state) { hapax_release(((struct told *)state)->other); }

/* ---- finalizers ---------------------------------------------------------------------------------------------------
 */

static int finalize(void *ctx)
{
	struct told *s = ctx;

	kit_write(&s->word);
	MODEL_CHECK(!s->ran++, "a finalizer ran twice");
	MODEL_CHECK(!s->detached, "a finalizer ran that was detached");
	MODEL_CHECK(!s->frees, "a finalizer ran after its ctx_free");
	MODEL_CHECK(!hapax_finalizer_alive(s->finalizer), "a finalizer that runs reads alive");
	/* a run by hand, taken before the death, may be later than that: nobody waits for it */
	MODEL_CHECK(!s->k.destroyed || s->busy, "a finalizer ran after the destructor");
	s->running = true;
	model_yield();
	s->running = false;
	return 5;
}

static void finalize_free(void *ctx)
{
	struct told *s = ctx;

	kit_write(&s->word);
	MODEL_CHECK(s->ran == 1 && !s->running && !s->frees++, "ctx_free after %u runs, %u times", s->ran, s->frees);
}

static void finalizer_new(struct told *s, unsigned flags)
{
	const hapax_finalize what = {finalize, s, finalize_free};

	kit_open(&s->k, 0, 0);
	s->item = kit_new(&s->k, 0);
	expect(hapax_finalizer_new(s->item, &what, flags, &s->finalizer), 0, "hapax_finalizer_new");
}

static void finalizer_setup(void *state) { finalizer_new(state, 0); }
static void at_exit_setup(void *state) { finalizer_new(state, HAPAX_FINALIZE_AT_EXIT); }

static void run(void *state)
{
	struct told *s = state;
	int result = 0, status;

	s->busy++;
	status = hapax_finalizer_run(s->finalizer, &result);
	s->busy--;
	MODEL_CHECK(status ? status == HAPAX_DEAD && !result : result == 5, "hapax_finalizer_run: %s, %d",
		    hapax_status_name(status), result);
	s->answered += !status;
	if (!status)
		kit_write(&s->word);
}

static void detach(void *state)
{
	struct told *s = state;
	hapax_finalize what;
	int status = hapax_finalizer_detach(s->finalizer, &what);

	if (status) {
		expect(status, HAPAX_DEAD, "hapax_finalizer_detach");
		return;
	}
	MODEL_CHECK(what.ctx == s && !s->ran, "detached after %u runs", s->ran);
	s->detached = true;
	s->answered++;
	kit_write(&s->word); /* the caller's again */
}

static void drop(void *state)
{
	struct told *s = state;
	hapax_finalizer *finalizer = s->finalizer;

	s->finalizer = NULL;
	hapax_finalizer_drop(finalizer);
}

static void peek(void *state)
{
	struct told *s = state;
	void *object = NULL;
	int status = hapax_finalizer_peek(s->finalizer, NULL, &object);

	if (status)
		expect(status, HAPAX_DEAD, "hapax_finalizer_peek");
	else
		kit_give(&s->k, 0, kit_hold(&s->k, 0, object));
}

static void run_all(void *state)
{
	struct told *s = state;

	s->busy++;
	s->answered += (unsigned)hapax_finalize_all(s->k.env);
	s->busy--;
}

static void finalizer_finish(void *state)
{
	struct told *s = state;

	MODEL_CHECK(s->ran + s->detached == 1, "ran %u times, detached %d", s->ran, s->detached);
	MODEL_CHECK(s->answered <= 1 && s->frees == s->ran, "%u answers, %u times freed", s->answered, s->frees);
	MODEL_CHECK(s->k.destroyed == 1, "the object was destroyed %u times", s->k.destroyed);
	hapax_finalizer_drop(s->finalizer);
	kit_close(&s->k, 0);
}

SCENARIO(finalizer_run, "finalizer-run", "a finalizer is run by hand against its object's death", struct told,
	 finalizer_setup, finalizer_finish, 2, release, run);
SCENARIO(finalizer_run_two, "finalizer-run-two", "two threads run a finalizer while its object dies", struct told,
	 finalizer_setup, finalizer_finish, 1, release, run, run);
SCENARIO(finalizer_detach, "finalizer-detach", "a finalizer is detached against its object's death", struct told,
	 finalizer_setup, finalizer_finish, 2, release, detach);
SCENARIO(finalizer_detach_run, "finalizer-detach-run", "a finalizer is detached and run while its object dies",
	 struct told, finalizer_setup, finalizer_finish, 1, release, detach, run);
SCENARIO(finalizer_drop, "finalizer-drop",
	 "a finalizer's handle is given back while its object dies: it runs all the same", struct told, finalizer_setup,
	 finalizer_finish, 2, release, drop);
SCENARIO(finalizer_peek, "finalizer-peek", "a finalizer's object is asked for while it dies and another runs it",
	 struct told, finalizer_setup, finalizer_finish, 1, release, peek, run);
SCENARIO(finalizer_all, "finalizer-all", "all finalizers are run at the end while an object dies", struct told,
	 at_exit_setup, finalizer_finish, 2, release, run_all);
SCENARIO(finalizer_all_two, "finalizer-all-two", "two threads run all finalizers, and one is detached", struct told,
	 at_exit_setup, finalizer_finish, 1, run_all, run_all, release);

/* ---- bound callbacks ----------------------------------------------------------------------------------------------
 */

static int bound_fn(void *target, void *part, void *ctx, void *arg)
{
	struct told *s = ctx;
	struct item *item = kit_hold(&s->k, 0, target), *other = part ? kit_hold(&s->k, 1, part) : NULL;

	(void)arg;
	MODEL_CHECK(!s->frees, "called after its ctx_free");
	s->calls++;
	s->in_call = true;
	model_yield();
	MODEL_CHECK(!s->frees, "ctx_free ran in a call");
	kit_read(&s->word);
	s->in_call = false;
	if (other)
		kit_unhold(&s->k, 1, other);
	kit_unhold(&s->k, 0, item);
	return 6;
}

static void bound_dead(hapax_bound *bound, void *ctx)
{
	struct told *s = ctx;

	kit_write(&s->word);
	MODEL_CHECK(!s->tells++, "a bound callback was told twice");
	MODEL_CHECK(!s->frees && !s->dropped, "told after its drop had returned");
	MODEL_CHECK(!hapax_bound_alive(bound) && hapax_bound_call(bound, NULL, NULL) == HAPAX_DEAD,
		    "told, and it is alive");
	s->running = true;
	model_yield();
	s->running = false;
}

static void bound_free(void *ctx)
{
	struct told *s = ctx;

	kit_write(&s->word);
	MODEL_CHECK(!s->frees++ && !s->running && !s->in_call, "ctx_free: told right now %d, in a call %d", s->running,
		    s->in_call);
}

static void bound_new(struct told *s, bool two)
{
	hapax_bound_options o = {HAPAX_BOUND_OPTIONS_INIT, .fn = bound_fn, .ctx = s, .dead = bound_dead,
				 .ctx_free = bound_free};

	kit_open(&s->k, 0, 0);
	s->item = kit_new(&s->k, 0);
	s->other = two ? kit_new(&s->k, 1) : NULL;
	o.target = s->item;
	o.part = s->other;
	expect(hapax_bound_new(&s->bound, &o), 0, "hapax_bound_new");
}

static void bound_setup(void *state) { bound_new(state, false); }
static void parts_setup(void *state) { bound_new(state, true); }

static void call(void *state)
{
	struct told *s = state;
	int result = 0, status;

	s->busy++;
	status = hapax_bound_call(s->bound, NULL, &result);
	s->busy--;
	MODEL_CHECK(status ? status == HAPAX_DEAD && !result : result == 6, "hapax_bound_call: %s, %d",
		    hapax_status_name(status), result);
	s->answered += !status;
}

static void bound_drop(void *state)
{
	struct told *s = state;
	hapax_bound *bound = s->bound;

	s->bound = NULL;
	expect(hapax_bound_drop(bound), 0, "hapax_bound_drop");
	MODEL_CHECK(!s->running, "the drop returned while it was being told");
	s->dropped = true;
	if (!s->busy) {
		MODEL_CHECK(s->frees == 1, "the drop returned, and ctx_free ran %u times", s->frees);
		kit_write(&s->word);
	}
}

static void bound_finish(void *state)
{
	struct told *s = state;

	if (s->bound)
		bound_drop(state);
	MODEL_CHECK(s->frees == 1 && s->calls == s->answered, "freed %u times, %u calls, %u answers", s->frees,
		    s->calls, s->answered);
	kit_close(&s->k, 0);
}

static void told_finish(void *state)
{
	struct told *s = state;

	MODEL_CHECK(s->tells == 1, "told %u times", s->tells);
	bound_finish(state);
}

SCENARIO(bound_call, "bound-call", "a bound callback is called while its target dies", struct told, bound_setup,
	 told_finish, 2, release, call);
SCENARIO(bound_deaths, "bound-deaths", "both parts of a bound callback die at once: it is told once", struct told,
	 parts_setup, told_finish, 2, release, release_other);
SCENARIO(bound_deaths_call, "bound-deaths-call", "both parts of a bound callback die while it is called", struct told,
	 parts_setup, told_finish, 1, release, release_other, call);
SCENARIO(bound_drop, "bound-drop", "a bound callback is dropped while its target dies", struct told, bound_setup,
	 bound_finish, 2, release, bound_drop);
SCENARIO(bound_drop_deaths, "bound-drop-deaths", "a bound callback is dropped while both its parts die", struct told,
	 parts_setup, bound_finish, 1, release, release_other, bound_drop);

/* A drop does not wait for calls; ctx_free comes after the last of them. */
static void drop_in_call(void *state)
{
	struct told *s = state;

	for (unsigned i = 0; i < 20 && !s->in_call; i++)
		model_yield();
	if (s->in_call)
		bound_drop(state);
}

static void in_call_finish(void *state)
{
	release(state);
	bound_finish(state);
}

SCENARIO(bound_drop_call, "bound-drop-call", "a bound callback is dropped while it is called", struct told, bound_setup,
	 in_call_finish, 2, call, drop_in_call);
