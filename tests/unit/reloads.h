/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit/reloads.h - caches that reload what is present, and the executors they do it in: one that keeps tasks until the test
 * runs them, and one that runs them at once. Objects are items of item.h; what is loaded has ids 1, 2, 3, ...
 */
#ifndef TEST_RELOADS_H
#define TEST_RELOADS_H

#include "unit/removals.h"

#define S HAPAX_SECOND

enum { TASKS = 64 };

struct tasks {
	struct {
		void (*task)(void *arg);
		void *arg;
	} all[TASKS];
	unsigned first, n; /* first: the next to be run */
	int refuse;        /* answers so many tasks with it */
	unsigned refused;
	bool at_once;
};

static int tasks_run(void (*task)(void *arg), void *arg, void *ctx)
{
	struct tasks *x = ctx;

	if (x->refuse) {
		x->refused++;
		return x->refuse;
	}
	if (x->at_once) {
		x->n++;
		x->first++;
		task(arg);
		return 0;
	}
	CHECK(x->n - x->first < TASKS);
	x->all[x->n % TASKS].task = task;
	x->all[x->n++ % TASKS].arg = arg;
	return 0;
}

MAYBE_UNUSED static unsigned waiting(struct tasks *x) { return x->n - x->first; }

/* Runs what waits, oldest first: how many. */
MAYBE_UNUSED static unsigned run_tasks(struct tasks *x)
{
	unsigned n = 0;

	for (; x->first < x->n; n++) {
		unsigned i = x->first++ % TASKS;

		x->all[i].task(x->all[i].arg);
	}
	return n;
}

struct rf {
	struct tier t;
	struct tasks x;
	struct item *held; /* the test's, so that the old one can be looked at */
};

/* A cache of the form on the fake clock; what it loads is held by it. */
MAYBE_UNUSED static void rf_begin(struct rf *f, enum form form, hapax_cache_options o)
{
	memset(f, 0, sizeof *f);
	if (!o.max_entries)
		o.max_entries = 100;
	o.executor = (hapax_executor){tasks_run, &f->x};
	tier_begin(&f->t, form, test_env_fake(), o);
}

/* The key "k" gets its first value; the test keeps it too. */
MAYBE_UNUSED static int rf_first(struct rf *f)
{
	f->held = tier_add(&f->t, "k");
	return f->held->id;
}

/* A get of "k" answers with an id, from whatever was there. */
MAYBE_UNUSED static int rf_get(struct rf *f)
{
	struct item *it = got(f->t.cache, "k");
	int id = it->id;

	hapax_release(it);
	return id;
}

MAYBE_UNUSED static int rf_present(struct rf *f)
{
	void *out = NULL;
	int id = 0;

	if (hapax_cache_get_quietly(f->t.cache, HAPAX_STR("k"), &out) == 0)
		id = ((struct item *)out)->id;
	hapax_release(out);
	return id;
}

MAYBE_UNUSED static uint64_t rf_deadline(struct rf *f)
{
	uint64_t deadline = 0;

	CHECK_EQ(hapax_cache_deadline(f->t.cache, HAPAX_STR("k"), &deadline), 0);
	return deadline;
}

MAYBE_UNUSED static void rf_end(struct rf *f, size_t size)
{
	CHECK_EQ(waiting(&f->x), 0);
	hapax_release(f->held);
	tier_end(&f->t, size);
}

#endif
