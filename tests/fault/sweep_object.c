/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_object.c - the calls of hapax/object.h and weak.h with every allocation failing; see sweep.h. */
#include "fault/sweep.h"

/* ---- objects ---------------------------------------------------------------------------------------------------- */

static int new_small(struct world *w)
{
	return hapax_new(w->env, &item_type, 0, &w->out);
}

static void is_new(struct world *w, int status)
{
	static const struct item zero;

	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->out);
	CHECK(!memcmp(w->out, &zero, sizeof(zero)));
	((struct item *)w->out)->live = ITEM_ALIVE;
	CHECK_EQ(hapax_count(w->out), 1);
}

SWEEP(hapax_new, small, .nomem = true, .call = new_small, .done = is_new)

static int new_large(struct world *w)
{
	return hapax_new(w->env, &item_type, 300000, &w->out);
}

SWEEP(hapax_new, large, .nomem = true, .call = new_large, .done = is_new)

/* A type that the environment has never seen: its class is made. */
static const hapax_type unseen_type = {HAPAX_TYPE_INIT, .name = "unseen", .size = sizeof(struct item), .align = 256,
				       .destroy = item_destroy};

static int new_unseen(struct world *w)
{
	return hapax_new(w->env, &unseen_type, 8, &w->out);
}

static void is_unseen(struct world *w, int status)
{
	is_new(w, status);
	CHECK_EQ((uintptr_t)w->out % 256, 0);
	CHECK_PTR(hapax_type_of(w->out), &unseen_type);
}

SWEEP(hapax_new, unseen_type, .nomem = true, .call = new_unseen, .done = is_unseen)

static int retain(struct world *w)
{
	int rc = hapax_retain(w->item[0]);

	w->out = w->item[0];
	return rc;
}

static void retained(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_count(w->item[0]), 2);
}

SWEEP(hapax_retain, once, .call = retain, .done = retained)

/* The last reference to an object with a handle, a callback and entries in tables and a cache. */
static void register_everywhere(struct world *w)
{
	table_put(w->table, KEY("c"), w->item[2]);
	table_put(w->other, KEY("c"), w->item[2]);
	table_put(w->other, KEY("c too"), w->item[2]);
	CHECK_EQ(hapax_cache_put(w->cache, KEY("c"), w->item[2]), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(w->exclusive, KEY("c"), w->item[2]), HAPAX_OK);
	w->item[2]->child = w->spare;
	w->spare = NULL;
}

static int release_last(struct world *w)
{
	hapax_release(w->item[2]);
	w->item[2] = NULL;
	return 0;
}

static void released_last(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->destroyed, 2);
	CHECK_EQ(w->probe.calls, 1);
	CHECK_EQ(w->probe.frees, 1);
	CHECK(!hapax_weak_alive(w->plain));
	table_check(w->table, 2);
	table_check(w->other, 1);
	cache_check(w->cache, 2);
	cache_check(w->exclusive, 1);
}

SWEEP(hapax_release, last_of_all, .prepare = register_everywhere, .call = release_last, .done = released_last)

static int release_deferred(struct world *w)
{
	hapax_release(w->deferred);
	w->deferred = NULL;
	return 0;
}

static void released_deferred(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->destroyed, 0);
	CHECK_EQ(hapax_run_deferred(w->env), 1);
	CHECK_EQ(w->destroyed, 1);
}

SWEEP(hapax_release, deferred, .call = release_deferred, .done = released_deferred)

static int look(struct world *w)
{
	CHECK_EQ(hapax_count(w->item[2]), 1);
	CHECK_PTR(hapax_type_of(w->item[2]), &item_type);
	CHECK_EQ(hapax_weak_count(w->item[2]), 2);
	CHECK(hapax_weak_alive(w->plain));
	w->size = hapax_weak_describe(w->plain, NULL, 0);
	return 0;
}

static void looked(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->size > 5);
}

SWEEP(hapax_count, once, .call = look, .done = looked)
SWEEP(hapax_type_of, once, .call = look, .done = looked)
SWEEP(hapax_weak_count, once, .call = look, .done = looked)
SWEEP(hapax_weak_alive, once, .call = look, .done = looked)
SWEEP(hapax_weak_describe, once, .call = look, .done = looked)

/* ---- handles ---------------------------------------------------------------------------------------------------- */

static int weak_new(struct world *w, void *object, const hapax_callback *callback)
{
	hapax_weak *weak = (void *)1;
	int rc = hapax_weak_new(object, callback, &weak);

	CHECK((rc == 0) == (weak != NULL));
	w->out = NULL;
	w->flag = rc == 0;
	if (!rc)
		CHECK_EQ(hapax_weak_drop(weak), 0);
	return rc;
}

/* The first handle of an object, and a further one. */
static int weak_first(struct world *w) { return weak_new(w, w->item[3], NULL); }
static int weak_second(struct world *w) { return weak_new(w, w->item[2], NULL); }
static int weak_called(struct world *w) { return weak_new(w, w->item[3], &w->callback); }

static void is_weak(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->flag);
	CHECK_EQ(w->callback_calls, 0);
	CHECK_EQ(w->callback_frees, 0);
}

static void is_weak_called(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->callback_calls, 0);
	CHECK_EQ(w->callback_frees, 1); /* of the one that came to be; none of those that failed */
}

SWEEP(hapax_weak_new, first, .nomem = true, .call = weak_first, .done = is_weak)
SWEEP(hapax_weak_new, second, .call = weak_second, .done = is_weak)
SWEEP(hapax_weak_new, with_callback, .nomem = true, .call = weak_called, .done = is_weak_called)

static int upgrade(struct world *w)
{
	w->out = hapax_weak_get(w->plain);
	return 0;
}

static void upgraded(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->item[2]);
	CHECK_EQ(hapax_count(w->item[2]), 2);
}

SWEEP(hapax_weak_get, alive, .call = upgrade, .done = upgraded)

static int dup_both(struct world *w)
{
	hapax_weak *a = NULL, *b = NULL;
	int rc = hapax_weak_dup(w->plain, &a);

	if (!rc)
		rc = hapax_weak_dup(w->probe.weak, &b);
	w->flag = a && b;
	CHECK_EQ(hapax_weak_drop(a), 0);
	CHECK_EQ(hapax_weak_drop(b), 0);
	return rc;
}

static void is_flagged(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->flag);
	CHECK_EQ(w->probe.calls, 0);
}

SWEEP(hapax_weak_dup, both_kinds, .call = dup_both, .done = is_flagged)

static int drop(struct world *w)
{
	hapax_weak *plain = w->plain;
	int rc = hapax_weak_drop(plain);

	w->plain = NULL;
	return rc ? rc : probe_drop(&w->probe);
}

static void dropped(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->probe.calls, 0);
	CHECK_EQ(w->probe.frees, 1);
}

SWEEP(hapax_weak_drop, both_kinds, .call = drop, .done = dropped)

static int callback_of(struct world *w)
{
	hapax_callback callback;
	int rc = hapax_weak_callback(w->probe.weak, &callback);

	w->flag = rc == 0 && callback.ctx == &w->probe;
	CHECK_EQ(hapax_weak_callback(w->plain, &callback), HAPAX_EMPTY);
	return rc;
}

SWEEP(hapax_weak_callback, both_kinds, .call = callback_of, .done = is_flagged)

static int live(void *object, void *arg)
{
	struct world *w = arg;

	CHECK_PTR(object, w->item[2]);
	w->flag = hapax_count(object) == 2;
	return 17;
}

static int with_live(struct world *w)
{
	return hapax_with_live(w->plain, live, w, &w->result);
}

static void was_live(struct world *w, int status)
{
	is_flagged(w, status);
	CHECK_EQ(w->result, 17);
}

SWEEP(hapax_with_live, alive, .call = with_live, .done = was_live)
