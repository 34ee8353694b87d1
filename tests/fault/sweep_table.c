/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_table.c - the calls of hapax/table.h with every allocation failing; see sweep.h. */
#include "fault/sweep.h"

#define NEW KEY("new")

/* ---- making and ending ------------------------------------------------------------------------------------------ */

static int create(struct world *w)
{
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = w->env, .capacity = 1000, .name = "swept"};
	hapax_table *table = (void *)1;
	int rc = hapax_table_create(&table, &o);

	CHECK((rc == 0) == (table != NULL));
	w->out = NULL;
	if (!rc) {
		hapax_table_destroy(w->other);
		w->other = table;
	}
	return rc;
}

static void created(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	table_check(w->other, 0);
}

SWEEP(hapax_table_create, sized, .nomem = true, .call = create, .done = created)

static int destroy(struct world *w)
{
	hapax_table_destroy(w->table);
	w->table = NULL;
	return 0;
}

static void destroyed(struct world *w, int status)
{
	hapax_key key;
	void *object;

	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_iter_next(w->iter, &key, &object), HAPAX_EMPTY);
	CHECK_EQ(hapax_count(w->item[0]), 1);
}

SWEEP(hapax_table_destroy, full, .call = destroy, .done = destroyed)

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static int put_new(struct world *w)
{
	w->out = NULL;
	return hapax_table_put(w->table, NEW, w->item[0]);
}

static void put_new_done(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(table_peek(w->table, NEW), w->item[0]);
	table_check(w->table, 3);
}

SWEEP(hapax_table_put, new_key, .nomem = true, .call = put_new, .done = put_new_done)

static int put_replace(struct world *w)
{
	w->out = NULL;
	return hapax_table_put(w->table, KEY("a"), w->item[2]);
}

static void put_replace_done(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(table_peek(w->table, KEY("a")), w->item[2]);
	table_check(w->table, 2);
}

SWEEP(hapax_table_put, replacing, .nomem = true, .call = put_replace, .done = put_replace_done)

/* The first registration an object ever has: its side record is made. */
static int put_unregistered(struct world *w)
{
	w->out = NULL;
	return hapax_table_put(w->table, KEY("c"), w->item[3]);
}

static void put_unregistered_done(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(table_peek(w->table, KEY("c")), w->item[3]);
}

SWEEP(hapax_table_put, unregistered, .nomem = true, .call = put_unregistered, .done = put_unregistered_done)

static char long_text[5000];

static int put_long(struct world *w)
{
	w->out = NULL;
	return hapax_table_put(w->table, HAPAX_KEY_OF(long_text), w->item[0]);
}

static void put_long_done(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(table_peek(w->table, HAPAX_KEY_OF(long_text)), w->item[0]);
}

SWEEP(hapax_table_put, long_key, .nomem = true, .call = put_long, .done = put_long_done)

/* Until the table has grown; what went in before an error is in, and it goes on from there. */
static int put_many(struct world *w)
{
	size_t lines = hapax_testing_table_lines(w->other);
	int rc;

	w->out = NULL;
	for (; hapax_testing_table_lines(w->other) == lines && w->filled < 150; w->filled++) {
		rc = hapax_table_put(w->other, HAPAX_KEY_OF(w->filled), w->item[3]);
		if (rc)
			return rc;
	}
	w->flag = true;
	return 0;
}

static void put_many_done(struct world *w, int status)
{
	CHECK((status == HAPAX_OK) == w->flag);
	table_check(w->other, 1 + w->filled);
	for (uint32_t i = 0; i < w->filled; i++)
		CHECK_PTR(table_peek(w->other, HAPAX_KEY_OF(i)), w->item[3]);
	CHECK_EQ(hapax_table_contains(w->other, HAPAX_KEY_OF(w->filled)), 0);
}

SWEEP(hapax_table_put, growing, .nomem = true, .errors_change = true, .call = put_many, .done = put_many_done)

static int get_or_put_new(struct world *w)
{
	return hapax_table_get_or_put(w->table, NEW, w->item[0], &w->out, &w->flag);
}

static void get_or_put_new_done(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->item[0]);
	CHECK(w->flag);
	CHECK_PTR(table_peek(w->table, NEW), w->item[0]);
}

SWEEP(hapax_table_get_or_put, absent, .nomem = true, .call = get_or_put_new, .done = get_or_put_new_done)

static int get_or_put_old(struct world *w)
{
	return hapax_table_get_or_put(w->table, KEY("a"), w->item[2], &w->out, &w->flag);
}

static void get_or_put_old_done(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->item[0]);
	CHECK(!w->flag);
}

SWEEP(hapax_table_get_or_put, present, .call = get_or_put_old, .done = get_or_put_old_done)

static int copy(struct world *w)
{
	w->out = NULL;
	w->size = 99;
	return hapax_table_copy(w->other, w->table, &w->size);
}

/* The target has "a" already, of another object. On an error as many pairs are there as it says. */
static void copied(struct world *w, int status)
{
	size_t there = (table_peek(w->other, KEY("a")) == w->item[0]) + (table_peek(w->other, KEY("b")) == w->item[1]);

	CHECK(status == HAPAX_OK || status == HAPAX_ENOMEM);
	CHECK_EQ(there, w->size);
	CHECK(status != HAPAX_OK || there == 2);
	table_check(w->other, 1 + (table_peek(w->other, KEY("b")) != NULL));
	CHECK_PTR(table_peek(w->table, KEY("a")), w->item[0]);
	table_check(w->table, 2);
}

SWEEP(hapax_table_copy, over, .nomem = true, .errors_change = true, .call = copy, .done = copied)

static int snapshot(struct world *w)
{
	hapax_table *table = (void *)1;
	int rc = hapax_table_snapshot(w->table, &table);

	CHECK((rc == 0) == (table != NULL));
	w->out = NULL;
	if (!rc) {
		hapax_table_destroy(w->other);
		w->other = table;
	}
	return rc;
}

static void snapshot_done(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	table_check(w->other, 2);
	CHECK_PTR(table_peek(w->other, KEY("a")), w->item[0]);
	CHECK_PTR(table_peek(w->other, KEY("b")), w->item[1]);
}

SWEEP(hapax_table_snapshot, two, .nomem = true, .call = snapshot, .done = snapshot_done)

/* ---- what needs no memory --------------------------------------------------------------------------------------- */

static int get(struct world *w)
{
	return hapax_table_get(w->table, KEY("a"), &w->out);
}

static void got_it(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->item[0]);
	CHECK_EQ(hapax_count(w->item[0]), 2);
}

SWEEP(hapax_table_get, present, .call = get, .done = got_it)

static int get_absent(struct world *w)
{
	return hapax_table_get(w->table, KEY("absent"), &w->out);
}

static void missed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_MISS);
	CHECK(!w->out);
}

SWEEP(hapax_table_get, absent, .call = get_absent, .done = missed)

static int remove_it(struct world *w)
{
	return hapax_table_remove(w->table, KEY("a"));
}

static void removed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(!table_peek(w->table, KEY("a")));
	table_check(w->table, 1);
}

SWEEP(hapax_table_remove, present, .call = remove_it, .done = removed)

static int remove_if(struct world *w)
{
	CHECK_EQ(hapax_table_remove_if(w->table, KEY("a"), w->item[1]), HAPAX_MISS);
	return hapax_table_remove_if(w->table, KEY("a"), w->item[0]);
}

SWEEP(hapax_table_remove_if, present, .call = remove_if, .done = removed)

static int pop(struct world *w)
{
	return hapax_table_pop(w->table, KEY("a"), &w->out);
}

static void popped(struct world *w, int status)
{
	CHECK_PTR(w->out, w->item[0]);
	removed(w, status);
}

SWEEP(hapax_table_pop, present, .call = pop, .done = popped)

static int pop_any(struct world *w)
{
	return hapax_table_pop_any(w->table, &w->out);
}

static void popped_any(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(w->out == w->item[0] || w->out == w->item[1]);
	table_check(w->table, 1);
}

SWEEP(hapax_table_pop_any, two, .call = pop_any, .done = popped_any)

static int contains(struct world *w)
{
	CHECK_EQ(hapax_table_contains(w->table, KEY("absent")), 0);
	return hapax_table_contains(w->table, KEY("a"));
}

static void is_one(struct world *w, int status)
{
	CHECK_EQ(status, 1);
	table_check(w->table, 2);
}

SWEEP(hapax_table_contains, both, .call = contains, .done = is_one)

static int size(struct world *w)
{
	return (int)hapax_table_size(w->table) - 1;
}

SWEEP(hapax_table_size, two, .call = size, .done = is_one)

static int clear(struct world *w)
{
	hapax_table_clear(w->table);
	return 0;
}

static void cleared(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(!table_peek(w->table, KEY("a")));
	table_check(w->table, 0);
	CHECK_EQ(hapax_count(w->item[0]), 1);
}

SWEEP(hapax_table_clear, two, .call = clear, .done = cleared)

/* ---- iterators -------------------------------------------------------------------------------------------------- */

static int iterate(struct world *w)
{
	hapax_iter *iter = (void *)1;
	int rc = hapax_table_iterate(w->table, &iter);

	CHECK((rc == 0) == (iter != NULL));
	w->out = NULL;
	if (!rc) {
		hapax_iter_close(w->iter);
		w->iter = iter;
	}
	return rc;
}

static void iterates(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_iter_next(w->iter, NULL, NULL), HAPAX_OK);
	CHECK_EQ(hapax_iter_next(w->iter, NULL, NULL), HAPAX_OK);
	CHECK_EQ(hapax_iter_next(w->iter, NULL, NULL), HAPAX_EMPTY);
}

SWEEP(hapax_table_iterate, two, .nomem = true, .call = iterate, .done = iterates)

static void only_a_long_key(struct world *w)
{
	hapax_table_clear(w->table);
	table_put(w->table, HAPAX_KEY_OF(long_text), w->item[0]);
}

static int next(struct world *w)
{
	void *object = (void *)1;
	int rc = hapax_iter_next(w->iter, &w->key, &object);

	w->out = NULL;
	CHECK_PTR(object, rc == 0 ? w->item[0] : NULL);
	return rc;
}

static void is_next(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->key.size, sizeof(long_text));
	CHECK(!memcmp(w->key.data, long_text, sizeof(long_text)));
	CHECK_EQ(hapax_count(w->item[0]), 2);
	CHECK_EQ(hapax_iter_next(w->iter, NULL, NULL), HAPAX_EMPTY);
	CHECK_EQ(hapax_count(w->item[0]), 1);
}

SWEEP(hapax_iter_next, long_key, .nomem = true, .prepare = only_a_long_key, .call = next, .done = is_next)

static int close_it(struct world *w)
{
	hapax_iter_close(w->iter);
	w->iter = NULL;
	return 0;
}

static void stepped(struct world *w)
{
	CHECK_EQ(hapax_iter_next(w->iter, NULL, NULL), HAPAX_OK);
}

static void closed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_count(w->item[0]), 1);
	CHECK_EQ(hapax_count(w->item[1]), 1);
}

SWEEP(hapax_iter_close, in_the_middle, .prepare = stepped, .call = close_it, .done = closed)

/* ---- growth forced, which may give up -------------------------------------------------------------------------- */

static int resize(struct world *w)
{
	w->out = NULL;
	w->result = hapax_testing_table_resize(w->table, 1);
	return w->result;
}

static void resized(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	table_check(w->table, 2);
	CHECK_PTR(table_peek(w->table, KEY("a")), w->item[0]);
	CHECK_PTR(table_peek(w->table, KEY("b")), w->item[1]);
}

SWEEP(hapax_testing_table_resize, up, .nomem = true, .call = resize, .done = resized)
