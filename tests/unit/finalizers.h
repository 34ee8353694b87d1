/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit/finalizers.h - a finalizer that tells what happens to it: "r<id>" when it runs, "x<id>" when its ctx is freed.
 */
#ifndef TEST_FINALIZERS_H
#define TEST_FINALIZERS_H

#include "unit/item.h"

struct fin {
	int id;
	int result;                        /* what it returns */
	int runs, frees;                   /* changed atomically */
	bool quiet;                        /* no trace: for threads */
	hapax_finalizer *handle;           /* NULL: none, or dropped */
	void (*then)(struct fin *fin);     /* runs in it; may be NULL */
	void (*on_free)(struct fin *fin);
	void *arg;
};

static int fin_run(void *ctx)
{
	struct fin *fin = ctx;

	CHECK_EQ(__atomic_add_fetch(&fin->runs, 1, __ATOMIC_RELAXED), 1);
	if (!fin->quiet) {
		trace("r%d", fin->id);
		CHECK(!hapax_finalizer_alive(fin->handle));
	}
	if (fin->then)
		fin->then(fin);
	return fin->result;
}

static void fin_free(void *ctx)
{
	struct fin *fin = ctx;

	CHECK_EQ(__atomic_load_n(&fin->runs, __ATOMIC_RELAXED), 1);
	CHECK_EQ(__atomic_add_fetch(&fin->frees, 1, __ATOMIC_RELAXED), 1);
	if (!fin->quiet)
		trace("x%d", fin->id);
	if (fin->on_free)
		fin->on_free(fin);
}

/* On `object`, with ctx_free, handle kept. `fin` may have then, arg and the like filled in before. */
MAYBE_UNUSED static void fin_on(struct fin *fin, int id, void *object, unsigned flags)
{
	hapax_finalize what = {fin_run, fin, fin_free};

	fin->id = id;
	CHECK_EQ(hapax_finalizer_new(object, &what, flags, &fin->handle), HAPAX_OK);
	CHECK(fin->handle);
}

MAYBE_UNUSED static void fin_drop(struct fin *fin)
{
	hapax_finalizer *handle = fin->handle;

	fin->handle = NULL;
	hapax_finalizer_drop(handle);
}

/* It has run or was detached: every call says so and changes nothing. */
MAYBE_UNUSED static void fin_is_dead(struct fin *fin)
{
	hapax_finalize what = {fin_run, fin, fin_free};
	void *object = fin;
	int result = 4711;

	CHECK_EQ(hapax_finalizer_peek(fin->handle, &what, &object), HAPAX_DEAD);
	CHECK(!object && !what.fn && !what.ctx && !what.ctx_free);
	CHECK_EQ(hapax_finalizer_peek(fin->handle, NULL, NULL), HAPAX_DEAD);
	CHECK_EQ(hapax_finalizer_run(fin->handle, &result), HAPAX_DEAD);
	CHECK_EQ(result, 4711);
	what.fn = fin_run;
	CHECK_EQ(hapax_finalizer_detach(fin->handle, &what), HAPAX_DEAD);
	CHECK(!what.fn && !what.ctx && !what.ctx_free);
	CHECK(!hapax_finalizer_alive(fin->handle));
}

/* It is pending on `object`. */
MAYBE_UNUSED static void fin_is_alive(struct fin *fin, void *object)
{
	uint64_t count = hapax_count(object);
	hapax_finalize what;
	void *seen;

	CHECK(hapax_finalizer_alive(fin->handle));
	CHECK_EQ(hapax_finalizer_peek(fin->handle, NULL, NULL), HAPAX_OK);
	CHECK_EQ(hapax_finalizer_peek(fin->handle, &what, &seen), HAPAX_OK);
	CHECK(what.fn == fin_run && what.ctx == fin && what.ctx_free == fin_free);
	CHECK_PTR(seen, object);
	CHECK_EQ(hapax_count(object), count + 1);
	hapax_release(seen);
	CHECK_EQ(fin->runs, 0);
}

#endif
