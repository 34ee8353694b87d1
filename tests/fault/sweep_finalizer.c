/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_finalizer.c - the calls of hapax/finalizer.h with every allocation failing; see sweep.h. */
#include "fault/sweep.h"

static int world_finalize(void *ctx)
{
	((struct world *)ctx)->callback_calls++;
	return 42;
}

static hapax_finalizer *made; /* world.out is for objects */

static hapax_finalize of_world(struct world *w) { return (hapax_finalize){world_finalize, w, world_free}; }

/* ---- creation: on an object with a side record and on one without; with and without handle ------------------------- */

static int new_on(struct world *w, int item, unsigned flags)
{
	hapax_finalize what = of_world(w);
	hapax_finalizer *f = (void *)1;
	int rc = hapax_finalizer_new(w->item[item], &what, flags, &f);

	CHECK((rc == 0) == (f != NULL));
	made = f;
	w->out = NULL;
	return rc;
}

static int new_first(struct world *w) { return new_on(w, 3, 0); }
static int new_next(struct world *w) { return new_on(w, 2, HAPAX_FINALIZE_AT_EXIT); }

static void is_new(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(hapax_finalizer_alive(made));
	CHECK_EQ(w->callback_calls + w->callback_frees, 0);
	CHECK_EQ(hapax_finalizer_detach(made, NULL), HAPAX_OK);
	hapax_finalizer_drop(made);
}

SWEEP(hapax_finalizer_new, first_on_an_object, .nomem = true, .call = new_first, .done = is_new)
SWEEP(hapax_finalizer_new, next_at_exit, .nomem = true, .call = new_next, .done = is_new)

static int new_without(struct world *w)
{
	hapax_finalize what = of_world(w);

	return hapax_finalizer_new(w->spare, &what, 0, NULL);
}

static void is_there(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->callback_calls, 0);
	hapax_release(w->spare);
	w->spare = NULL;
	CHECK_EQ(w->callback_calls, 1);
	CHECK_EQ(w->callback_frees, 1);
}

SWEEP(hapax_finalizer_new, without_a_handle, .nomem = true, .call = new_without, .done = is_there)

/* ---- all the others need no memory ---------------------------------------------------------------------------------- */

static void make(struct world *w) { CHECK_EQ(new_on(w, 3, HAPAX_FINALIZE_AT_EXIT), HAPAX_OK); }

static int run(struct world *w) { return hapax_finalizer_run(made, &w->result); }

static void has_run(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->result, 42);
	CHECK_EQ(w->callback_calls, 1);
	CHECK_EQ(w->callback_frees, 1);
	CHECK_EQ(hapax_finalizer_run(made, NULL), HAPAX_DEAD);
	hapax_finalizer_drop(made);
}

SWEEP(hapax_finalizer_run, once, .prepare = make, .call = run, .done = has_run)

static int detach(struct world *w)
{
	hapax_finalize what;
	int rc = hapax_finalizer_detach(made, &what);

	CHECK_PTR(what.ctx, w);
	return rc;
}

static void is_detached(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	hapax_finalizer_drop(made);
	hapax_release(w->item[3]);
	w->item[3] = NULL;
	CHECK_EQ(w->callback_calls + w->callback_frees, 0);
}

SWEEP(hapax_finalizer_detach, once, .prepare = make, .call = detach, .done = is_detached)

static int look(struct world *w)
{
	void *object = NULL;
	int rc = hapax_finalizer_peek(made, NULL, &object);

	CHECK_PTR(object, w->item[3]);
	hapax_release(object);
	w->flag = hapax_finalizer_alive(made);
	return rc;
}

static void is_alive(struct world *w, int status)
{
	CHECK(w->flag);
	is_new(w, status);
}

SWEEP(hapax_finalizer_peek, once, .prepare = make, .call = look, .done = is_alive)
SWEEP(hapax_finalizer_alive, once, .prepare = make, .call = look, .done = is_alive)

static int drop_and_die(struct world *w)
{
	hapax_finalizer_drop(made);
	hapax_release(w->item[3]);
	w->item[3] = NULL;
	return 0;
}

static void has_died(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->callback_calls, 1);
	CHECK_EQ(w->callback_frees, 1);
}

SWEEP(hapax_finalizer_drop, and_death, .prepare = make, .call = drop_and_die, .done = has_died)

static int all(struct world *w)
{
	w->size = hapax_finalize_all(w->env);
	return 0;
}

static void all_run(struct world *w, int status)
{
	CHECK_EQ(w->size, 1);
	has_died(w, status);
	hapax_finalizer_drop(made);
}

SWEEP(hapax_finalize_all, one, .prepare = make, .call = all, .done = all_run)
