/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Borrows need no memory, nor do the deaths that wait for their end. */
#include "fault/sweep.h"

static const hapax_type lent = {HAPAX_TYPE_INIT, .name = "lent", .size = 64, .flags = HAPAX_TYPE_BORROW};

static void put_lent(struct world *w)
{
	CHECK_EQ(hapax_new(w->env, &lent, 0, &w->out), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(w->making, KEY("lent"), w->out), HAPAX_OK);
}

static int borrow(struct world *w)
{
	const void *seen;
	int status = hapax_cache_borrow(w->making, KEY("lent"), &seen);

	if (!status) {
		CHECK_PTR(seen, w->out);
		hapax_release(w->spare);
		w->spare = NULL;
		w->flag = w->destroyed != 0;
		hapax_borrow_end();
	}
	return status;
}

static void borrowed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(!w->flag);
	CHECK_EQ(w->destroyed, 1);
	cache_check(w->making, 1);
}

static void give_back(struct world *w) { hapax_release(w->out); }

SWEEP(hapax_cache_borrow, and_a_death, .prepare = put_lent, .call = borrow, .done = borrowed, .end = give_back)
SWEEP(hapax_borrow_end, and_a_death, .prepare = put_lent, .call = borrow, .done = borrowed, .end = give_back)
