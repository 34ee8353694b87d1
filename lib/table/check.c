/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/check.c - walks a table at rest.
 */
#include <stdarg.h>
#include <stdio.h>

#include "table/core.h"

struct check {
	struct hpx_table *t;
	char *message;
	size_t size, entries;
	bool bad;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct check *c, const char *format, ...)
{
	va_list args;

	if (c->bad)
		return;
	c->bad = true;
	va_start(args, format);
	vsnprintf(c->message, c->size, format, args);
	va_end(args);
}

static void check_entry(struct check *c, void *e, uint64_t w)
{
	struct hpx_object *object = NULL;
	hapax_key key = hpx_table_key(c->t, e);
	void *found;

	c->entries++;
	if (w & HPX_W_GONE && !c->t->keep)
		wrong(c, "table: entry %p is GONE and still in its place", e);
	if (hpx_word_pending(w))
		wrong(c, "table: entry %p was put over another one, and that is not decided", e);
	if (w & HPX_W_RECORD && ((struct hpx_record *)e)->table != c->t)
		wrong(c, "table: record %p of another table", e);
	if (w & (HPX_W_GONE | HPX_W_LOADING) || hpx_dead(hpx_entry_object(e, w)))
		return;
	found = hpx_table_seek(c->t, hpx_word_hash(w), &key, false, &object);
	if (found != e)
		wrong(c, "table: looking up the key of entry %p finds %p", e, found);
}

/* A move that found no room has left copies behind it: `e` counts in the home that is not DONE, and is looked for there. */
static bool moving(struct check *c, const struct hpx_array *until, const void *e, uint64_t h)
{
	/* order: acquire by habit; at rest */
	for (struct hpx_array *a = hpx_load_acquire(&c->t->root); a != until; a = hpx_load_acquire(&a->next)) {
		struct hpx_line *home = hpx_home(a, h);
		uint64_t hc = hpx_load_acquire(&home->ctl); /* order: acquire by habit; at rest */

		if (hpx_ctl_done(hc))
			continue;
		for (unsigned k = 0; k <= hpx_ctl_d(hc); k++)
			for (unsigned j = 0; j < HPX_SLOTS; j++) {
				uint64_t s = hpx_load_acquire(&home[k].slot[j]); /* order: acquire by habit; at rest */

				if (hpx_slot_entry(s) == e && hpx_slot_distance(s) == k)
					return true;
			}
	}
	return false;
}

static void check_slot(struct check *c, const struct hpx_array *a, size_t line, unsigned j)
{
	uint64_t ctl = hpx_load_acquire(&a->lines[line].ctl);     /* order: acquire by habit; at rest */
	uint64_t s = hpx_load_acquire(&a->lines[line].slot[j]), w; /* order: acquire by habit; at rest */
	uint64_t tag = ctl >> (8 * (j + 1)) & 63;
	unsigned k = hpx_slot_distance(s);
	void *e = hpx_slot_entry(s);
	size_t home = line - k;

	if (!tag && s)
		wrong(c, "table: line %zu slot %u is reserved and nobody is there", line, j);
	if (tag && !e)
		wrong(c, "table: line %zu slot %u is published and empty", line, j);
	if (!tag || !e)
		return;
	if (k > line || home >= a->homes) {
		wrong(c, "table: line %zu slot %u: distance %u leads nowhere", line, j, k);
		return;
	}
	if (hpx_ctl_done(hpx_load_acquire(&a->lines[home].ctl))) /* order: acquire by habit; at rest */
		return;
	w = hpx_load_acquire(hpx_word(e)); /* order: acquire by habit; at rest */
	if (hpx_word_hash(w) >> a->shift != home)
		wrong(c, "table: line %zu slot %u: entry %p has another home", line, j, e);
	if (hpx_tag(hpx_word_hash(w)) != tag)
		wrong(c, "table: line %zu slot %u: wrong tag", line, j);
	if (k > hpx_ctl_d(hpx_load_acquire(&a->lines[home].ctl))) /* order: acquire by habit; at rest */
		wrong(c, "table: line %zu slot %u: beyond its home's reach", line, j);
	if (c->bad || moving(c, a, e, hpx_word_hash(w)))
		return;
	if (!hpx_word_is_chain(w)) {
		check_entry(c, e, w);
		return;
	}
	if (k == 0)
		wrong(c, "table: line %zu slot %u: a chain in its home line", line, j);
	/* order: acquire by habit; at rest */
	for (struct hpx_node *n = hpx_load_acquire(&hpx_chain_of(e)->first.next); n && !c->bad; n = hpx_load_acquire(&n->next)) {
		void *x = hpx_load_acquire(&n->entry);

		if (!x)
			continue;
		if ((hpx_load_acquire(hpx_word(x)) ^ w) & HPX_W_HASH_MASK)
			wrong(c, "table: chain %p: entry %p has another hash", e, x);
		else
			check_entry(c, x, hpx_load_acquire(hpx_word(x)));
	}
}

int hpx_table_check(struct hpx_table *t, char *message, size_t size, size_t *entries)
{
	struct check c = {.t = t, .message = message, .size = size};

	hpx_read_lock();
	/* order: acquire by habit; at rest */
	for (struct hpx_array *a = hpx_load_acquire(&t->root); a && !c.bad; a = hpx_load_acquire(&a->next))
		for (size_t line = 0; line < a->homes + HPX_REACH && !c.bad; line++)
			for (unsigned j = 0; j < HPX_SLOTS && !c.bad; j++)
				check_slot(&c, a, line, j);
	hpx_read_unlock();
	if (entries)
		*entries = c.entries;
	return c.bad ? -1 : 0;
}
