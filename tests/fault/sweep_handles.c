/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every allocation failing: handles as values, their listing, bound callbacks, boxes.
 */
#include "fault/sweep.h"

#include <hapax/bound.h>

/* ---- handles as values ------------------------------------------------------------------------------------------ */

static int compare(struct world *w)
{
	hapax_weak *a = w->plain, *b = w->probe.weak;

	w->flag = hapax_weak_equal(a, b) && hapax_weak_hash(a) == hapax_weak_hash(b) && !hapax_weak_compare(a, b);
	return 0;
}

static void flagged(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->flag);
}

SWEEP(hapax_weak_equal, both_kinds, .call = compare, .done = flagged)
SWEEP(hapax_weak_hash, both_kinds, .call = compare, .done = flagged)
SWEEP(hapax_weak_compare, both_kinds, .call = compare, .done = flagged)

static int use_keys(struct world *w)
{
	hapax_key_ops ops = hapax_weak_keys();
	hapax_key a = HAPAX_KEY_OF(w->plain), b = HAPAX_KEY_OF(w->probe.weak);
	uint64_t ha = 0, hb = 1;

	w->flag = !ops.hash(&a, &ha, ops.ctx) && !ops.hash(&b, &hb, ops.ctx) && ha == hb && ops.equal(&a, &b, ops.ctx);
	return 0;
}

SWEEP(hapax_weak_keys, both_kinds, .call = use_keys, .done = flagged)

static int list(struct world *w)
{
	hapax_weak *handles[3];
	int rc = hapax_weak_list(w->item[2], handles, 3, &w->size);

	w->flag = !rc && handles[0] == w->probe.weak && handles[1] == w->plain;
	for (size_t i = 0; i < w->size; i++)
		CHECK_EQ(hapax_weak_drop(handles[i]), HAPAX_OK);
	return rc;
}

static void listed(struct world *w, int status)
{
	flagged(w, status);
	CHECK_EQ(w->size, 2);
	CHECK_EQ(w->probe.frees, 0);
}

static int list_none(struct world *w) { return hapax_weak_list(w->item[3], (hapax_weak **)&w->out, 1, &w->size); }

static void listed_none(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->size, 0);
}

SWEEP(hapax_weak_list, both_kinds, .call = list, .done = listed)
SWEEP(hapax_weak_list, none, .call = list_none, .done = listed_none)

/* ---- bound callbacks -------------------------------------------------------------------------------------------- */

static int fn(void *target, void *part, void *ctx, void *arg)
{
	struct world *w = ctx;

	CHECK_PTR(arg, &w->size);
	CHECK_PTR(target, w->item[3]);
	CHECK(!part || part == w->item[2] || part == target);
	return 17;
}

static void dead(hapax_bound *bound, void *ctx)
{
	CHECK(!hapax_bound_alive(bound));
	((struct world *)ctx)->callback_calls++;
}

static hapax_bound_options options(struct world *w, void *part, bool told)
{
	return (hapax_bound_options){HAPAX_BOUND_OPTIONS_INIT, .fn = fn, .target = w->item[3], .part = part, .ctx = w,
				     .dead = told ? dead : NULL, .ctx_free = world_free};
}

static int bound_two(struct world *w)
{
	hapax_bound_options o = options(w, w->item[2], true);

	return hapax_bound_new((hapax_bound **)&w->out, &o);
}

static int bound_one(struct world *w)
{
	hapax_bound_options o = options(w, NULL, true);

	return hapax_bound_new((hapax_bound **)&w->out, &o);
}

static int bound_silent(struct world *w)
{
	hapax_bound_options o = options(w, w->item[3], false);

	return hapax_bound_new((hapax_bound **)&w->out, &o);
}

static void is_bound(struct world *w, int status)
{
	CHECK_EQ(w->callback_frees, 0);
	CHECK((status == HAPAX_OK) == (w->out != NULL));
	if (status)
		return;
	CHECK_EQ(hapax_bound_call(w->out, &w->size, &w->result), HAPAX_OK);
	CHECK_EQ(w->result, 17);
	CHECK_EQ(hapax_bound_drop(w->out), HAPAX_OK);
	w->out = NULL;
	CHECK_EQ(w->callback_frees, 1);
	CHECK_EQ(w->callback_calls, 0);
}

SWEEP(hapax_bound_new, two_parts, .nomem = true, .call = bound_two, .done = is_bound)
SWEEP(hapax_bound_new, one_part, .nomem = true, .call = bound_one, .done = is_bound)
SWEEP(hapax_bound_new, nobody_told, .nomem = true, .call = bound_silent, .done = is_bound)

static void bind(struct world *w) { CHECK_EQ(bound_two(w), HAPAX_OK); }

static int call(struct world *w) { return hapax_bound_call(w->out, &w->size, &w->result); }

static void called(struct world *w, int status)
{
	CHECK_EQ(w->result, 17);
	is_bound(w, status);
}

SWEEP(hapax_bound_call, alive, .prepare = bind, .call = call, .done = called)

static int get(struct world *w)
{
	void *target, *part;
	int rc = hapax_bound_get(w->out, &target, &part);

	w->flag = target == w->item[3] && part == w->item[2];
	hapax_release(target);
	hapax_release(part);
	return rc;
}

static void got_both(struct world *w, int status)
{
	CHECK(w->flag);
	is_bound(w, status);
}

SWEEP(hapax_bound_get, alive, .prepare = bind, .call = get, .done = got_both)

static int look(struct world *w)
{
	w->flag = hapax_bound_alive(w->out) && hapax_bound_equal(w->out, w->out) &&
		  hapax_bound_hash(w->out) == hapax_bound_hash(w->out);
	return 0;
}

SWEEP(hapax_bound_alive, alive, .prepare = bind, .call = look, .done = got_both)
SWEEP(hapax_bound_equal, alive, .prepare = bind, .call = look, .done = got_both)
SWEEP(hapax_bound_hash, alive, .prepare = bind, .call = look, .done = got_both)

static int drop(struct world *w)
{
	hapax_bound *bound = w->out;

	w->out = NULL;
	return hapax_bound_drop(bound);
}

static void dropped(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->callback_frees, 1);
	CHECK_EQ(w->callback_calls, 0);
}

SWEEP(hapax_bound_drop, alive, .prepare = bind, .call = drop, .done = dropped)

/* A part dies, and then it is dropped. */
static int die_and_drop(struct world *w)
{
	hapax_release(w->item[3]);
	w->item[3] = NULL;
	return drop(w);
}

static void died_and_dropped(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->callback_frees, 1);
	CHECK_EQ(w->callback_calls, 1);
}

SWEEP(hapax_bound_drop, dead, .prepare = bind, .call = die_and_drop, .done = died_and_dropped)

/* ---- boxes ------------------------------------------------------------------------------------------------------ */

static int box(struct world *w) { return hapax_box_new(w->env, w, world_free, &w->out); }

static void boxed(struct world *w, int status)
{
	CHECK((status == HAPAX_OK) == (w->out != NULL));
	CHECK_EQ(w->callback_frees, 0); /* a failure leaves the resource to the caller */
	if (status)
		return;
	world_drop_out(w);
	CHECK_EQ(w->callback_frees, 1);
}

SWEEP(hapax_box_new, fresh, .nomem = true, .call = box, .done = boxed)

static int box_type(struct world *w)
{
	w->flag = hapax_box_type() && hapax_box_type()->size == sizeof(hapax_box);
	return 0;
}

SWEEP(hapax_box_type, any, .call = box_type, .done = flagged)
