/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/fuzz_table.c - sequences of calls on weak tables against arrays.
 *
 * The reference knows for each table and key which thing is there and since which write. A death clears its places in
 * all tables at once; iterators have to give each entry that is there from their beginning to their end, once.
 */
#include "fuzz/keys.h"

enum { TABLES = 3, ITERS = 3 };

struct place {
	struct thing *thing; /* NULL: absent */
	uint32_t put;        /* which write */
};

struct table {
	hapax_table *table; /* NULL: none */
	struct place place[KEYS];
	struct key_style style;
	unsigned pending; /* deaths that wait may still be counted */
};

struct iter {
	hapax_iter *iter;
	struct table *table; /* NULL: destroyed meanwhile */
	uint32_t given[KEYS], must[KEYS]; /* writes: those yielded; those that must be yielded, 0: none */
	struct thing *pinned;
	bool ended, busy;
};

static struct table tables[TABLES];
static struct iter iters[ITERS];
static uint32_t writes;

/* ---- the reference ---------------------------------------------------------------------------------------------- */

static void leave(struct table *t, unsigned k)
{
	for (unsigned i = 0; i < ITERS; i++)
		if (iters[i].iter && iters[i].table == t)
			iters[i].must[k] = 0;
	t->place[k] = (struct place){NULL, 0};
}

static void target_forget(struct thing *thing)
{
	for (unsigned i = 0; i < TABLES; i++)
		for (unsigned k = 0; k < KEYS; k++)
			if (tables[i].table && tables[i].place[k].thing == thing) {
				leave(&tables[i], k);
				tables[i].pending += thing->deferred;
			}
}

static void enter(struct table *t, unsigned k, struct thing *thing)
{
	bool same = t->place[k].thing == thing;

	t->style.stored += !same;
	t->style.stored_most++;
	if (same)
		return;
	leave(t, k);
	t->place[k] = (struct place){thing, ++writes};
}

static size_t size_of(const struct table *t)
{
	size_t n = 0;

	for (unsigned k = 0; k < KEYS; k++)
		n += t->place[k].thing != NULL;
	return n;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void begin_table(struct world *w, struct table *t)
{
	unsigned how = fuzz_byte(&w->in), capacity = fuzz_byte(&w->in);
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = w->env, .keys = key_ops(&t->style, how),
				 .capacity = how & 16 ? capacity : 0};
	int rc;

	call_begins(w);
	rc = hapax_table_create(&t->table, &o);
	FUZZ_TRACE("%*stable %u, keys %u: %d", (int)w->depth, "", (unsigned)(t - tables), how, rc);
	memset(t->place, 0, sizeof(t->place));
	t->pending = 0;
	FUZZ_CHECK(no_memory(w, rc) ? !t->table : rc == 0 && t->table, "%d", rc);
}

static void end_table(struct table *t)
{
	for (unsigned k = 0; k < KEYS; k++)
		leave(t, k);
	for (unsigned i = 0; i < ITERS; i++)
		if (iters[i].table == t)
			iters[i].table = NULL;
	hapax_table_destroy(t->table);
	t->table = NULL;
}

static void check_table(struct table *t)
{
	char message[200] = "";
	size_t n = hapax_table_size(t->table), least = size_of(t);

	FUZZ_CHECK(!hapax_testing_check_table(t->table, message, sizeof(message)), "%s", message);
	FUZZ_CHECK(n >= least && n <= least + t->pending, "table %u: size %zu, not %zu", (unsigned)(t - tables), n, least);
	for (unsigned k = 0; k < KEYS; k++) {
		void *object = (void *)1;
		int rc = hapax_table_get(t->table, key_of(k), &object);

		if (key_error(&t->style, k)) {
			FUZZ_CHECK(rc == HAPAX_EHASH && !object, "%d", rc);
			continue;
		}
		FUZZ_CHECK(rc == (t->place[k].thing ? 0 : HAPAX_MISS), "table %u key %u: %d", (unsigned)(t - tables), k, rc);
		FUZZ_CHECK(object == (t->place[k].thing ? t->place[k].thing->object : NULL), "table %u key %u: another",
			   (unsigned)(t - tables), k);
		if (!rc)
			hapax_release(object);
	}
}

static struct table *pick_table(struct world *w)
{
	struct table *t = &tables[fuzz_below(&w->in, TABLES)];

	return t->table ? t : NULL;
}

/* ---- steps on one key -------------------------------------------------------------------------------------------- */

static void put(struct world *w, struct table *t, unsigned k, struct thing *thing)
{
	int rc;

	if (!t || !thing)
		return;
	call_begins(w);
	rc = hapax_table_put(t->table, key_of(k), thing->object);
	FUZZ_TRACE("%*sput table %u key %u thing %u: %d", (int)w->depth, "", (unsigned)(t - tables), k,
		   (unsigned)(thing - w->thing), rc);
	if (no_memory(w, rc)) {
		t->style.stored_most++; /* a key of an entry that did not come to be is released as well */
		return;
	}
	if (rc && rc == key_error(&t->style, k))
		return;
	if (!thing->weakable) {
		FUZZ_CHECK(rc == HAPAX_ENOTWEAK, "%d", rc);
		return;
	}
	FUZZ_CHECK(rc == 0 && !key_error(&t->style, k), "%d", rc);
	enter(t, k, thing);
}

static void step_put(struct world *w)
{
	struct table *t = pick_table(w);
	unsigned k = pick_key(w);

	put(w, t, k, pick_thing(w));
}

/* Enough to make a table grow, or the half of it go again. */
static void step_many(struct world *w)
{
	struct table *t = pick_table(w);
	unsigned k = NUMBERS_FROM + fuzz_below(&w->in, KEYS - NUMBERS_FROM), how = fuzz_byte(&w->in);
	struct thing *thing = pick_thing(w);

	for (unsigned n = how & 63; t && n && k < KEYS; n--, k++) {
		if (how & 128) {
			FUZZ_CHECK(hapax_table_remove(t->table, key_of(k)) == (t->place[k].thing ? 0 : HAPAX_MISS), "%u", k);
			leave(t, k);
		} else {
			put(w, t, k, thing);
		}
	}
}

static void step_get_or_put(struct world *w)
{
	struct table *t = pick_table(w);
	unsigned k = pick_key(w);
	struct thing *thing = pick_thing(w), *there;
	bool inserted = fuzz_byte(&w->in) & 1;
	void *out = (void *)1;
	int rc;

	if (!t || !thing)
		return;
	call_begins(w);
	there = t->place[k].thing;
	rc = hapax_table_get_or_put(t->table, key_of(k), thing->object, &out, &inserted);
	FUZZ_TRACE("%*sget_or_put table %u key %u thing %u: %d", (int)w->depth, "", (unsigned)(t - tables), k,
		   (unsigned)(thing - w->thing), rc);
	if (no_memory(w, rc)) {
		t->style.stored_most++;
		FUZZ_CHECK(!out && !inserted && !there, "a result beside an error, or memory for nothing");
		return;
	}
	if (rc && rc == key_error(&t->style, k))
		return;
	if (!thing->weakable) {
		FUZZ_CHECK(rc == HAPAX_ENOTWEAK, "%d", rc);
		return;
	}
	FUZZ_CHECK(rc == 0 && inserted == !there, "%d, inserted %d", rc, inserted);
	if (there) {
		FUZZ_CHECK(out == there->object, "another");
	} else {
		FUZZ_CHECK(out == thing->object, "another");
		enter(t, k, thing);
	}
	got_ref(thing_of(out));
}

static void step_get(struct world *w)
{
	struct table *t = pick_table(w);
	unsigned k = pick_key(w);
	void *out = (void *)1;
	int rc;

	if (!t)
		return;
	rc = hapax_table_contains(t->table, key_of(k));
	if (rc < 0)
		FUZZ_CHECK(rc == key_error(&t->style, k), "%d", rc);
	else
		FUZZ_CHECK(rc == (t->place[k].thing != NULL), "contains: %d", rc);
	rc = hapax_table_get(t->table, key_of(k), &out);
	FUZZ_TRACE("%*sget table %u key %u: %d", (int)w->depth, "", (unsigned)(t - tables), k, rc);
	FUZZ_CHECK(out == (t->place[k].thing ? t->place[k].thing->object : NULL), "another");
	if (out)
		got_ref(thing_of(out));
}

/* The entry's thing is held by somebody, so that taking the entry out kills nothing. */
static void step_remove(struct world *w)
{
	struct table *t = pick_table(w);
	unsigned k = pick_key(w), how = fuzz_below(&w->in, 4);
	struct thing *there, *only;
	void *out = (void *)1;
	int rc, expected;

	if (!t)
		return;
	there = t->place[k].thing;
	expected = key_error(&t->style, k) ? key_error(&t->style, k) : there ? 0 : HAPAX_MISS;
	if (how == 0) {
		rc = hapax_table_pop(t->table, key_of(k), &out);
		FUZZ_CHECK(out == (there ? there->object : NULL), "another is popped");
		if (out)
			got_ref(there);
	} else if (how == 1) {
		only = pick_thing(w);
		if (!only)
			return;
		if (only != there && !expected)
			expected = HAPAX_MISS;
		rc = hapax_table_remove_if(t->table, key_of(k), only->object);
	} else {
		rc = hapax_table_remove(t->table, key_of(k));
	}
	FUZZ_TRACE("%*sremove %u table %u key %u: %d", (int)w->depth, "", how, (unsigned)(t - tables), k, rc);
	FUZZ_CHECK(rc == expected, "%d, not %d", rc, expected);
	if (!rc)
		leave(t, k);
}

/* ---- steps on whole tables ----------------------------------------------------------------------------------------- */

static void step_pop_any(struct world *w)
{
	struct table *t = pick_table(w);
	struct thing *thing;
	void *out = (void *)1;
	unsigned k;
	int rc;

	if (!t)
		return;
	rc = hapax_table_pop_any(t->table, &out);
	FUZZ_TRACE("%*spop_any table %u: %d", (int)w->depth, "", (unsigned)(t - tables), rc);
	FUZZ_CHECK(rc == (size_of(t) ? 0 : HAPAX_EMPTY), "%d", rc);
	if (rc) {
		FUZZ_CHECK(!out, "a result beside a refusal");
		return;
	}
	thing = thing_of(out);
	got_ref(thing);
	/* which of its entries has gone is for the table to say */
	for (k = 0; k < KEYS; k++)
		if (t->place[k].thing == thing && !hapax_table_contains(t->table, key_of(k)))
			break;
	FUZZ_CHECK(k < KEYS, "popped, and all is still there");
	leave(t, k);
}

static void step_clear(struct world *w)
{
	struct table *t = pick_table(w);

	if (!t)
		return;
	hapax_table_clear(t->table);
	FUZZ_TRACE("%*sclear table %u", (int)w->depth, "", (unsigned)(t - tables));
	for (unsigned k = 0; k < KEYS; k++)
		leave(t, k);
}

/* Without memory some pairs may be there and some not; as many as it says. */
static void step_copy(struct world *w)
{
	struct table *from = pick_table(w), *to = pick_table(w);
	size_t copied = 99, expected = 0, seen = 0;
	bool unhashed = false;
	int rc;

	if (!from || !to)
		return;
	for (unsigned k = 0; k < KEYS; k++) {
		expected += from->place[k].thing && !key_error(&to->style, k);
		unhashed |= from->place[k].thing && key_error(&to->style, k);
	}
	call_begins(w);
	rc = hapax_table_copy(to->table, from->table, &copied);
	FUZZ_TRACE("%*scopy table %u to %u: %d, %zu", (int)w->depth, "", (unsigned)(from - tables),
		   (unsigned)(to - tables), rc, copied);
	if (from == to) {
		FUZZ_CHECK(rc == 0, "%d", rc);
		return;
	}
	if (to->style.borrow) {
		FUZZ_CHECK(rc == HAPAX_EOPTION && !copied, "%d", rc);
		return;
	}
	if (!no_memory(w, rc))
		FUZZ_CHECK(unhashed ? rc == HAPAX_EHASH : rc == 0 && copied == expected, "%d, %zu", rc, copied);
	to->style.stored_most += 2;
	for (unsigned k = 0; k < KEYS; k++) {
		struct thing *thing = from->place[k].thing;
		void *out = NULL;

		if (!thing || key_error(&to->style, k))
			continue;
		if (thing == to->place[k].thing || !rc) {
			enter(to, k, thing);
			seen++;
			continue;
		}
		if (hapax_table_get(to->table, key_of(k), &out) == 0 && out == thing->object) {
			enter(to, k, thing);
			seen++;
		}
		hapax_release(out);
	}
	FUZZ_CHECK(seen >= copied, "%zu copied, %zu there", copied, seen);
}

/* The counts of released keys of the table before go on until its last key is. */
static bool keys_are_back(const struct table *t)
{
	return !t->style.borrow || t->style.released == t->style.stored_most;
}

static void step_snapshot(struct world *w)
{
	struct table *from = pick_table(w), *to = &tables[fuzz_below(&w->in, TABLES)];
	hapax_table *table = (void *)1;
	int rc;

	/* a borrowed key's style counts what one table stores */
	if (!from || from == to || to->table || from->style.borrow || from->style.quality || !keys_are_back(to))
		return;
	call_begins(w);
	rc = hapax_table_snapshot(from->table, &table);
	FUZZ_TRACE("%*ssnapshot table %u as %u: %d", (int)w->depth, "", (unsigned)(from - tables),
		   (unsigned)(to - tables), rc);
	if (no_memory(w, rc)) {
		FUZZ_CHECK(!table, "a table beside an error");
		return;
	}
	FUZZ_CHECK(rc == 0, "%d", rc);
	memset(to, 0, sizeof(*to));
	to->table = table;
	for (unsigned k = 0; k < KEYS; k++)
		if (from->place[k].thing)
			enter(to, k, from->place[k].thing);
}

static void step_resize(struct world *w)
{
	struct table *t = pick_table(w);
	int delta = (int)fuzz_below(&w->in, 3) - 1, rc;

	if (!t || (delta > 0 && hapax_testing_table_lines(t->table) > 64))
		return;
	rc = hapax_testing_table_resize(t->table, delta);
	FUZZ_TRACE("%*sresize table %u by %d: %d", (int)w->depth, "", (unsigned)(t - tables), delta, rc);
	FUZZ_CHECK(rc == 0 || rc == HAPAX_ENOMEM, "%d", rc); /* as small as can be is HAPAX_ENOMEM too */
}

static void step_table(struct world *w)
{
	struct table *t = &tables[fuzz_below(&w->in, TABLES)];

	if (!t->table) {
		if (keys_are_back(t))
			begin_table(w, t);
	} else if (w->depth == 0 && fuzz_below(&w->in, 4) == 0) {
		end_table(t);
	}
}

/* Arguments that must be refused, whatever the table holds. */
static void step_bad(struct world *w)
{
	struct table *t = pick_table(w);
	struct thing *thing = pick_thing(w);
	void *out = (void *)1;
	hapax_key none = {NULL, 3}, huge = {key_bytes, HAPAX_KEY_MAX + 1};

	if (!t || !thing || !thing->weakable)
		return;
	FUZZ_CHECK(hapax_table_put(t->table, none, thing->object) == HAPAX_EKEY, "no key");
	FUZZ_CHECK(hapax_table_get(t->table, huge, &out) == HAPAX_EKEYSIZE && !out, "a huge key");
	FUZZ_CHECK(hapax_table_put(t->table, key_of(1), NULL) == HAPAX_ENULL, "no object");
	FUZZ_CHECK(hapax_table_put(NULL, key_of(1), thing->object) == HAPAX_ENULL, "no table");
	FUZZ_CHECK(hapax_table_remove(t->table, none) == HAPAX_EKEY, "no key");
	FUZZ_CHECK(hapax_table_contains(t->table, huge) == HAPAX_EKEYSIZE, "a huge key");
}

/* ---- iterators ----------------------------------------------------------------------------------------------------- */

static void iter_begin(struct world *w, struct iter *it)
{
	struct table *t = pick_table(w);
	int rc;

	if (!t)
		return;
	call_begins(w);
	rc = hapax_table_iterate(t->table, &it->iter);
	FUZZ_TRACE("%*siterate table %u: %d", (int)w->depth, "", (unsigned)(t - tables), rc);
	if (no_memory(w, rc)) {
		FUZZ_CHECK(!it->iter, "an iterator beside an error");
		return;
	}
	FUZZ_CHECK(rc == 0, "%d", rc);
	it->table = t;
	it->pinned = NULL;
	it->ended = it->busy = false;
	memset(it->given, 0, sizeof(it->given));
	for (unsigned k = 0; k < KEYS; k++)
		it->must[k] = t->place[k].thing ? t->place[k].put : 0;
}

static void unpin(struct iter *it)
{
	struct thing *thing = it->pinned;

	it->pinned = NULL;
	if (thing)
		drop_ref(thing);
}

static void iter_end(struct iter *it)
{
	hapax_iter *iter = it->iter;

	it->iter = NULL;
	unpin(it);
	hapax_iter_close(iter);
}

static void iter_next(struct world *w, struct iter *it)
{
	unsigned seen = w->user_code, k;
	hapax_key key = {NULL, 0};
	void *object = (void *)1;
	int rc;

	it->busy = true;
	call_begins(w);
	if (w->memory.fail_in) /* whether the pin goes depends on whether the key's copy does: no failures here */
		w->memory.fail_in = 0;
	unpin(it);
	rc = hapax_iter_next(it->iter, &key, &object);
	it->busy = false;
	FUZZ_TRACE("%*snext of table %d: %d", (int)w->depth, "", it->table ? (int)(it->table - tables) : -1, rc);
	if (rc == HAPAX_EMPTY) {
		FUZZ_CHECK(!object, "an object at the end");
		for (k = 0; k < KEYS && it->table && !it->ended; k++)
			FUZZ_CHECK(!it->must[k], "key %u was there all the time, and was not given", k);
		it->ended = true;
		return;
	}
	FUZZ_CHECK(rc == 0 && !it->ended, "%d after the end", rc);
	FUZZ_CHECK(object, "no object");
	it->pinned = thing_of(object);
	it->pinned->refs++;
	k = key_number(&key);
	if (it->table && w->user_code == seen) {
		FUZZ_CHECK(it->table->place[k].thing == it->pinned, "key %u: not what is there", k);
		FUZZ_CHECK(it->given[k] != it->table->place[k].put, "key %u is given twice", k);
		it->given[k] = it->table->place[k].put;
	}
	it->must[k] = 0;
}

static void step_iter(struct world *w)
{
	struct iter *it = &iters[fuzz_below(&w->in, ITERS)];

	if (it->busy)
		return;
	if (!it->iter)
		iter_begin(w, it);
	else if (fuzz_below(&w->in, 8) == 0)
		iter_end(it);
	else
		iter_next(w, it);
}

/* ---- the run ------------------------------------------------------------------------------------------------------- */

static void target_step(struct world *w)
{
	unsigned which = fuzz_byte(&w->in) % (COMMON_STEPS + 20);

	if (w->steps++ >= STEPS)
		return;
	if (which < COMMON_STEPS) {
		things_step(w, which);
		return;
	}
	switch (which - COMMON_STEPS) {
	case 0: case 1: case 2: case 3: case 4: step_put(w); break;
	case 5: step_get_or_put(w); break;
	case 6: case 7: step_get(w); break;
	case 8: case 9: step_remove(w); break;
	case 10: step_pop_any(w); break;
	case 11: step_clear(w); break;
	case 12: step_copy(w); break;
	case 13: step_snapshot(w); break;
	case 14: step_resize(w); break;
	case 15: step_table(w); break;
	case 16: step_bad(w); break;
	case 17: step_many(w); break;
	default: step_iter(w); break;
	}
}

static void check_all(struct world *w)
{
	things_settled(w);
	for (unsigned i = 0; i < TABLES; i++)
		if (tables[i].table)
			check_table(&tables[i]);
}

static void keys_settled(struct key_style *style)
{
	if (style->borrow)
		FUZZ_CHECK(style->released >= style->stored && style->released <= style->stored_most,
			   "%u keys released, %u to %u stored", (unsigned)style->released, (unsigned)style->stored,
			   (unsigned)style->stored_most);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	memset(tables, 0, sizeof(tables));
	memset(iters, 0, sizeof(iters));
	writes = 0;
	things_begin(&w, data, size);
	begin_table(&w, &tables[0]);
	begin_table(&w, &tables[1]);
	while (w.in.at < w.in.end && w.steps < STEPS) {
		target_step(&w);
		if (w.steps % 8 == 0)
			check_all(&w);
	}
	check_all(&w);
	w.in.at = w.in.end;
	for (unsigned i = 0; i < ITERS; i++)
		if (iters[i].iter && i != 1)
			iter_end(&iters[i]);
	for (unsigned i = 0; i < TABLES; i++)
		if (tables[i].table)
			end_table(&tables[i]);
	for (unsigned i = 0; i < ITERS; i++)
		if (iters[i].iter)
			iter_end(&iters[i]);
	things_end(&w);
	for (unsigned i = 0; i < TABLES; i++)
		keys_settled(&tables[i].style);
	return 0;
}
