/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit/bound.h - a bound callback that tells what happened to it.
 */
#ifndef TEST_UNIT_BOUND_H
#define TEST_UNIT_BOUND_H

#include <hapax/bound.h>

#include "unit/item.h"

struct listener {
	hapax_bound *bound; /* NULL once dropped */
	int calls, deads, frees;
	int answer;
	void *target, *part; /* of the last call, and their counts in it */
	uint64_t target_count, part_count;
	void (*in_call)(struct listener *l); /* may be NULL, as the others */
	void (*in_dead)(struct listener *l);
	void (*in_free)(struct listener *l);
	void *arg;
};

MAYBE_UNUSED static int listener_fn(void *target, void *part, void *ctx, void *arg)
{
	struct listener *l = ctx;

	CHECK_PTR(arg, l);
	CHECK(item_is_alive(target));
	CHECK(!part || item_is_alive(part));
	l->calls++;
	l->target = target;
	l->part = part;
	l->target_count = hapax_count(target);
	l->part_count = part ? hapax_count(part) : 0;
	if (l->in_call)
		l->in_call(l);
	return l->answer;
}

MAYBE_UNUSED static void listener_dead(hapax_bound *bound, void *ctx)
{
	struct listener *l = ctx;

	CHECK_PTR(bound, l->bound);
	CHECK(!hapax_bound_alive(bound));
	l->deads++;
	if (l->in_dead)
		l->in_dead(l);
}

MAYBE_UNUSED static void listener_free(void *ctx)
{
	struct listener *l = ctx;

	CHECK(!l->bound);
	l->frees++;
	if (l->in_free)
		l->in_free(l);
}

MAYBE_UNUSED static hapax_bound_options listener_options(struct listener *l, void *target, void *part, bool told)
{
	return (hapax_bound_options){HAPAX_BOUND_OPTIONS_INIT, .fn = listener_fn, .target = target, .part = part, .ctx = l,
				     .dead = told ? listener_dead : NULL, .ctx_free = listener_free};
}

MAYBE_UNUSED static void listener_new(struct listener *l, void *target, void *part, bool told)
{
	hapax_bound_options o = listener_options(l, target, part, told);

	memset(l, 0, sizeof(*l));
	l->answer = 42;
	CHECK_EQ(hapax_bound_new(&l->bound, &o), HAPAX_OK);
	CHECK(l->bound);
}

MAYBE_UNUSED static int listener_drop(struct listener *l)
{
	hapax_bound *bound = l->bound;

	l->bound = NULL;
	return hapax_bound_drop(bound);
}

#endif
