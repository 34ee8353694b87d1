/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/iterate.c - entries in the order of (hash, tie), through any number of resizes.
 *
 * The cursor is a place in hash order, not in an array: every step starts at the root, follows the forwarding of the
 * cursor's home, and takes the least entry above the cursor in that home, bounded by the narrowest home on the way (an
 * array that shrinks has wider ones). The tie of an entry is a second hash of its key bytes, so that an entry that
 * replaces another one takes its place in the order and a key is met once; with a user's equality, whose classes
 * byte hashes do not know, it is the address. Two keys with equal hash and equal tie (2^-99 apart) count as one.
 *
 * Every line is read as a snapshot: word, slots, word again; and once more if something in it was dead, for its successor
 * may have come with that very change. Home to tail, so that a key replaced meanwhile is met
 * further on, as in a lookup; of two present entries of a key the older one is met.
 */
#include "table/core.h"

#include "table/hash.h"

uint64_t hpx_entry_tie(struct hpx_table *t, void *e)
{
	uint64_t tie = (uint64_t)(uintptr_t)e;

	if (!t->keys.equal) {
		hapax_key key = hpx_table_key(t, e);

		tie = hpx_hash_bytes(key.data, key.size, ~t->secret);
	}
	return tie + !tie;
}

struct step {
	struct hpx_table *t;
	const struct hpx_cursor *cursor;
	uint64_t last; /* the end of what is looked at */
	int which;
	bool passed_over; /* something that is gone or dead: perhaps replaced since */
	void *best;
	uint64_t best_hash, best_tie, best_word;
};

/* A put over an entry is under way (over.c): the entry that is present by now, with its word; or NULL. */
static void *present_one(struct step *s, void *e, uint64_t *w)
{
	hapax_key key = hpx_table_key(s->t, e);
	struct hpx_object *object;

	e = hpx_table_seek(s->t, hpx_word_hash(*w), &key, false, &object);
	if (!e)
		return NULL;
	*w = hpx_load_acquire(hpx_word(e)); /* order: -> FLIGHT.COMMIT acquire */
	return hpx_word_pending(*w) ? NULL : e;
}

static void consider(struct step *s, void *e, uint64_t w)
{
	uint64_t h = hpx_word_hash(w), tie;

	if (h < s->cursor->hash || h > s->last || (s->best && h > s->best_hash))
		return;
	if (HPX_UNLIKELY((w & (HPX_W_WAITED | HPX_W_LOADING)) == HPX_W_WAITED) && s->which != HPX_NEXT_ALL) {
		e = present_one(s, e, &w);
		if (!e)
			return;
	}
	if (w & HPX_W_GONE) {
		s->passed_over = true;
		return;
	}
	if (w & HPX_W_LOADING) {
		if (s->which == HPX_NEXT_LIVE || s->which == HPX_NEXT_DEAD)
			return;
	} else if (s->which != HPX_NEXT_ALL) {
		struct hpx_object *o = hpx_entry_object(e, w);

		if (!o || hpx_dead(o) != (s->which == HPX_NEXT_DEAD)) {
			s->passed_over = s->which != HPX_NEXT_DEAD;
			return;
		}
	}
	if (s->which == HPX_NEXT_ALL) { /* the caller takes it out: any one will do */
		if (s->best)
			return;
		tie = 0;
	} else {
		tie = hpx_entry_tie(s->t, e);
		if ((h == s->cursor->hash && tie <= s->cursor->entry) ||
		    (s->best && h == s->best_hash && tie >= s->best_tie))
			return;
	}
	s->best = e;
	s->best_hash = h;
	s->best_tie = tie;
	s->best_word = w;
}

/* False: what was passed over has been replaced within the line. */
static bool consider_line(struct step *s, struct hpx_line *line, unsigned k)
{
	uint64_t slot[HPX_SLOTS], c;

	s->passed_over = false;
	do {
		c = hpx_load_acquire(&line->ctl); /* order: -> TABLE.PUBLISH acquire */
		for (unsigned j = 0; j < HPX_SLOTS; j++)
			slot[j] = hpx_load_acquire(&line->slot[j]); /* order: -> TABLE.CLAIM acquire */
	} while (hpx_load_acquire(&line->ctl) != c); /* order: -> TABLE.PUBLISH acquire, after the slots */
	for (unsigned j = 0; j < HPX_SLOTS; j++) {
		void *e = hpx_slot_entry(slot[j]);
		uint64_t w;

		if (!(c & hpx_ctl_lane(j, 63)) || !e || hpx_slot_distance(slot[j]) != k)
			continue;
		w = hpx_load_acquire(hpx_word(e)); /* order: -> FLIGHT.COMMIT acquire */
		if (!hpx_word_is_chain(w)) {
			consider(s, e, w);
			continue;
		}
		/* order: -> TABLE.CHAIN acquire */
		for (struct hpx_node *n = hpx_load_acquire(&hpx_chain_of(e)->first.next); n; n = hpx_load_acquire(&n->next)) {
			void *x = hpx_load_acquire(&n->entry);

			if (x)
				consider(s, x, hpx_load_acquire(hpx_word(x))); /* order: -> FLIGHT.COMMIT acquire */
		}
	}
	/* order: -> TABLE.PUBLISH acquire, after the looks at words and counts */
	return !s->passed_over || hpx_load_acquire(&line->ctl) == c;
}

/* Looks through the home of the cursor. False: it changed; look again. */
static bool look(struct step *s)
{
	struct hpx_array *a = hpx_load_acquire(&s->t->root); /* order: -> TABLE.ROOT acquire */
	struct hpx_line *home;
	uint64_t hc;

	s->best = NULL;
	s->last = UINT64_MAX;
	for (;; a = hpx_load_acquire(&a->next)) { /* order: -> TABLE.NEXT acquire */
		uint64_t last = s->cursor->hash | ((UINT64_C(1) << a->shift) - 1);

		if (last < s->last)
			s->last = last;
		home = hpx_home(a, s->cursor->hash);
		hc = hpx_load_acquire(&home->ctl); /* order: -> TABLE.DONE acquire */
		if (!hpx_ctl_done(hc))
			break;
	}
	for (unsigned k = 0, d = hpx_ctl_d(hc); k <= d; k++)
		while (!consider_line(s, home + k, k))
			;
	/* order: -> TABLE.RAISE, TABLE.DONE acquire */
	return !((hpx_load_acquire(&home->ctl) ^ hc) & HPX_CTL_STATE);
}

void *hpx_table_next_of(struct hpx_table *t, struct hpx_cursor *c, int which, struct hpx_object **object)
{
	struct step s = {.t = t, .cursor = c, .which = which};

	*object = NULL;
	for (;;) {
		if (!look(&s))
			continue;
		if (!s.best) {
			if (s.last == UINT64_MAX)
				return NULL;
			c->hash = s.last + 1;
			c->entry = 0;
			continue;
		}
		if (which < HPX_NEXT_DEAD && !(s.best_word & HPX_W_LOADING)) {
			struct hpx_object *o = hpx_entry_object(s.best, s.best_word);

			if (!hpx_take(o))
				continue; /* dead by now: it is passed over */
			*object = o;
		}
		if (which != HPX_NEXT_ALL) {
			c->hash = s.best_hash;
			c->entry = (uintptr_t)s.best_tie;
		}
		return s.best;
	}
}

void *hpx_table_next(struct hpx_table *t, struct hpx_cursor *c, bool loading, struct hpx_object **object)
{
	return hpx_table_next_of(t, c, loading ? HPX_NEXT_LOADING : HPX_NEXT_LIVE, object);
}

void *hpx_table_next_dead(struct hpx_table *t, struct hpx_cursor *c)
{
	struct hpx_object *none;

	return hpx_table_next_of(t, c, HPX_NEXT_DEAD, &none);
}
