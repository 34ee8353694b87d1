/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/core.c - the algorithm, lookups, and taking entries out. put.c puts them in, resize.c moves them.
 *
 * PROBLEM. Readers that touch one line of the table; writers of which any may be stopped anywhere without stopping the
 * others; at most one present entry per key; replacement and resizing in which no key is absent for a moment.
 *
 * PICTURE. An array of lines (line.h). The home of hash h is line h >> shift. Keys of home i live in lines i..i+D:
 *
 *      line  i          i+1         i+D = tail
 *          [ctl|7 slots][ctl|7 slots][ctl|7 slots]      a key is published only in its home's tail
 *
 * so that the tail's control word orders all puts of a key.
 *
 * LOOKUP. Control word, matching tags, slot, the entry's word, key bytes, control word again: if it is unchanged the slot
 * was published. Home to tail, oldest first. A miss holds if the words that had matching tags, and the home's state, are
 * unchanged: else the key may have been replaced, which moves it only forward (same line or a later one).
 *
 * PUT. Reads the tail (home, tail, home again), searches home to tail, reserves a slot that no tag speaks for (claims it),
 * and publishes by one compare-and-swap of the tail's word as read before the search: nobody published meanwhile.
 *
 * UNLINK. Clears the tag by compare-and-swap of the word under which the entry was seen; exactly one wins; then the slot.
 *
 * REPLACEMENT. An old entry in the tail goes by the same compare-and-swap. An older line's is unlinked after the new one
 * is published: lookups go oldest first and see the old one until then, and that unlink is when the put takes effect.
 * Whoever finds two present entries of a key (a replacer was stopped there) and wants to put finishes it. Only the
 * oldest is ever removed, so a key's position never goes backwards.
 *
 * RAISING D (the tail is full). D = 0: one compare-and-swap. Else (1) home RAISING, (2) a new version on the old tail, so
 * that puts prepared against it fail, (3) home D+1. Anyone who meets RAISING does (2) and (3).
 *
 * CHAINS. Entries of one and the same hash cannot be spread by any resizing. When a home has HPX_CHAIN_FROM of one hash, a
 * chain for the hash is published like an entry, beyond the home line (so that fast lookups know); from then on entries
 * of this hash are put only at the chain's end, whose NULL `next` orders the puts. A chain belongs to all arrays:
 * moving it moves one pointer, and nothing in it is frozen. It lives as long as the table.
 *
 * MOVING (resize.c). `next` is set once; a home's lines are frozen, its entries copied, the home DONE. Until DONE the old
 * lines are the truth for the home's keys, then `next` is. A writer that meets FROZEN moves that home first.
 *
 * INVARIANTS. I1 a slot changes only while its tag is 0; non-zero with tag 0 belongs to one thread. I2 a control word
 * never repeats within a read section. I3 in a frozen line only DONE changes. I4 DONE means that every entry of the home
 * has been published in `next`. I5 puts of a key in `next` follow DONE of its old home. I6 nobody dereferences a slot of
 * tag 0 (a stale word aside), of another home, or of a DONE home. I7 an entry that was put or tried is freed only after a
 * grace period.
 *
 * THE RACES. 1 Two puts, one delayed across a raise: RAISING, bump, D+1, and the second load of home. 2 A delayed mover
 * brings an unlinked entry back: target's word, search, DONE check, compare-and-swap, in this order; unlinkers finish the
 * move first. 3 A reservation taken for an entry: the word is read again. 4 A neighbour's dangling slot in a frozen line:
 * the distance in the slot says that it is another home's. 5 Replacement while a lookup passes: see LOOKUP.
 *
 * PUT OVER (over.c). Instead of exactly one given entry, which puts (ordered by the tail) and removals (decided by its
 * word) may win first: the new one is published PENDING beside it, and the old one's word decides.
 *
 * A `keep` table never takes an entry out by itself: dead or GONE ones block their key until hpx_table_unlink.
 */
#include "table/core.h"

#include "table/hash.h"
#include "table/lookup.h"
#include "table/quick.h"

bool hpx_tail_read(struct hpx_array *a, uint64_t h, struct hpx_tail *p)
{
	p->home = hpx_home(a, h);
	for (;;) {
		/* order: -> TABLE.PUBLISH, TABLE.RAISE acquire */
		p->hc = hpx_load_acquire(&p->home->ctl);
		if (p->hc & HPX_CTL_FROZEN)
			return false;
		p->d = hpx_ctl_d(p->hc);
		p->line = p->home + p->d;
		if (p->hc & HPX_CTL_X) {
			uint64_t hc = p->hc, c = hpx_load_acquire(&p->line->ctl); /* order: -> TABLE.PUBLISH acquire */

			if (c & HPX_CTL_FROZEN)
				return false;
			/* order: TABLE.RAISE -> acq_rel; puts prepared against the old tail fail from here on */
			if (hpx_cas_acq_rel(&p->line->ctl, &c, hpx_ctl_bump(c)))
				hpx_cas_acq_rel(&p->home->ctl, &hc, (hc & ~HPX_CTL_X) + HPX_CTL_D1);
			continue;
		}
		p->c = p->hc;
		if (p->d == 0)
			return true;
		/* order: -> TABLE.PUBLISH acquire; then home again: it still was the tail when c was read */
		p->c = hpx_load_acquire(&p->line->ctl);
		if (p->c & HPX_CTL_FROZEN)
			return false;
		/* order: -> TABLE.RAISE acquire */
		if (!((hpx_load_acquire(&p->home->ctl) ^ p->hc) & HPX_CTL_STATE))
			return true;
	}
}

void hpx_tail_raise(struct hpx_table *t, struct hpx_array *a, const struct hpx_tail *p)
{
	uint64_t hc = p->hc;
	uint64_t to = p->d ? hc | HPX_CTL_X : hpx_ctl_bump(hc + HPX_CTL_D1);

	/* order: TABLE.RAISE -> acq_rel; RAISING before the bump, both before D+1 */
	if (!hpx_cas_acq_rel(&p->home->ctl, &hc, to))
		return;
	/* order: relaxed; a count that triggers work, no data. Never while entries still move into `a`. */
	if (hpx_add_relaxed(&a->raises, 1) + 1 >= hpx_load_relaxed(&a->limit) && hpx_load_acquire(&t->root) == a)
		hpx_consider_growth(t, a);
}

bool hpx_claim_slot(struct hpx_claim *claim, const struct hpx_tail *p, void *e)
{
	if (claim->slot && claim->line == p->line && claim->entry == e)
		return true;
	hpx_claim_drop(claim);
	for (unsigned j = 0; j < HPX_SLOTS; j++) {
		uint64_t empty = 0;

		if (p->c & hpx_ctl_lane(j, 63) || hpx_load_relaxed(&p->line->slot[j]) != 0)
			continue;
		/* order: TABLE.CLAIM -> acq_rel; the entry's fields before its reachability */
		if (HPX_BROKEN(RELAXED_PUBLISH)
			    ? !hpx_cas_relaxed(&p->line->slot[j], &empty, (uint64_t)(uintptr_t)e | hpx_slot_low(p->d))
			    : !hpx_cas_acq_rel(&p->line->slot[j], &empty, (uint64_t)(uintptr_t)e | hpx_slot_low(p->d)))
			continue;
		*claim = (struct hpx_claim){.slot = &p->line->slot[j], .line = p->line, .entry = e, .lane = j};
		return true;
	}
	return false;
}

void hpx_claim_drop(struct hpx_claim *claim)
{
	if (claim->slot)
		hpx_store_release(claim->slot, 0); /* order: TABLE.LEAVE -> release; ours alone until now */
	claim->slot = NULL;
}

/* ---- lookups ------------------------------------------------------------------------------------------------- */

/* What a lookup met of a put over an entry. */
struct sight {
	void *pending, *replaced;
	hpx_u64 *ctl; /* where the replaced one is: its line, with the word it had, or its node */
	uint64_t c;
	struct hpx_node *node;
};

/* What to do about a present entry of the key: 1 it is the answer, 0 go on behind it, -1 its line has changed. */
static int seek_decide(struct hpx_table *t, void *e, uint64_t w, bool take, hpx_u64 *ctl, uint64_t c, struct hpx_node *node,
		       struct sight *sight, struct hpx_object **object)
{
	struct hpx_object *o;

	if (w & HPX_W_GONE) {
		if (HPX_UNLIKELY(hpx_word_replaced(w)))
			*sight = (struct sight){.pending = sight->pending, .replaced = e, .ctl = ctl, .c = c, .node = node};
		return t->keep;
	}
	if (w & HPX_W_LOADING)
		return 1;
	if (HPX_UNLIKELY(w & HPX_W_WAITED)) {
		sight->pending = e;
		return 0;
	}
	o = hpx_entry_object(e, w);
	if (o && (take ? hpx_take(o) : !hpx_dead(o))) {
		*object = o;
		return 1;
	}
	if (t->keep)
		return 1;
	/* It has died. If its line is unchanged even now, nothing had replaced it there.
	 * order: -> TABLE.PUBLISH acquire, after the look at the count */
	return ctl && hpx_load_acquire(ctl) != c ? -1 : 0;
}

/* The chain's entries, oldest first. The end (a NULL next) is the linearization point of a miss. */
static void *seek_chain(struct hpx_table *t, struct hpx_chain *chain, uint64_t want, const hapax_key *key, bool take,
			struct sight *sight, struct hpx_object **object)
{
	/* order: -> TABLE.CHAIN acquire; the node's and the entry's fields */
	for (struct hpx_node *n = hpx_load_acquire(&chain->first.next); n; n = hpx_load_acquire(&n->next)) {
		void *e = hpx_load_acquire(&n->entry);
		uint64_t w;

		if (!e)
			continue;
		w = hpx_load_acquire(hpx_word(e)); /* order: -> FLIGHT.COMMIT acquire */
		if (((w ^ want) >> HPX_W_SIZE_SHIFT) || !hpx_key_equal(t, e, key))
			continue;
		if (seek_decide(t, e, w, take, NULL, 0, n, sight, object) > 0)
			return e;
	}
	return NULL;
}

/*
 * Nothing plainly present was met, but an entry that is put over another one. It is present if that one was replaced (and
 * is in its place even now: then the two belong together), and the lookup says so on it before anybody relies on it; else
 * it is not, unless it has become so since it was met. True: look again.
 */
static bool seek_over(const struct sight *sight)
{
	if (sight->replaced) {
		/* order: -> TABLE.CHAIN, TABLE.PUBLISH acquire; after the look at the pending one's word */
		if (sight->node ? hpx_load_acquire(&sight->node->entry) != sight->replaced
				: hpx_load_acquire(sight->ctl) != sight->c)
			return true;
		hpx_over_install(sight->pending);
	}
	/* order: -> FLIGHT.COMMIT acquire; after the look at the place of the older entry */
	return !hpx_word_pending(hpx_load_acquire(hpx_word(sight->pending)));
}

/* One home's lines and its chain. True: *found is the answer. False: something changed, look again from the root. */
static bool seek_home(struct hpx_table *t, struct hpx_line *home, uint64_t hc, uint64_t h, const hapax_key *key, bool take,
		      struct hpx_object **object, void **found)
{
	const uint64_t tags = hpx_tag(h) * HPX_CTL_ONES, want = hpx_word_make(h, key->size, 0);
	struct hpx_chain *chain = NULL;
	struct sight sight = {.pending = NULL};

	for (unsigned k = 0, d = hpx_ctl_d(hc); k <= d; k++) {
		struct hpx_line *line = home + k;
		const uint64_t c = k ? hpx_load_acquire(&line->ctl) : hc; /* order: -> TABLE.PUBLISH acquire */
		uint64_t hits = hpx_ctl_match(c, tags);

		if (!hits)
			continue;
		for (; hits; hits &= hits - 1) {
			/* order: -> TABLE.CLAIM, TABLE.LEAVE acquire */
			uint64_t s = hpx_load_acquire(&line->slot[hpx_lane(hits)]), w;
			void *e = hpx_slot_entry(s);
			int decision;

			if ((s & HPX_SLOT_LOW) != hpx_slot_low(k))
				continue;
			w = hpx_load_acquire(hpx_word(e)); /* order: -> FLIGHT.COMMIT acquire */
			if ((w ^ want) & HPX_W_HASH_MASK)
				continue;
			if (!hpx_word_is_chain(w) && (((w ^ want) >> HPX_W_SIZE_SHIFT) || !hpx_key_equal(t, e, key)))
				continue;
			/* Was it published? order: -> TABLE.PUBLISH acquire, after the slot */
			if (hpx_load_acquire(&line->ctl) != c)
				return false;
			/* And was this still the truth? order: -> TABLE.DONE acquire */
			if (k && hpx_ctl_done(hpx_load_acquire(&home->ctl)))
				return false;
			if (hpx_word_is_chain(w)) {
				chain = hpx_chain_of(e);
				continue;
			}
			decision = seek_decide(t, e, w, take, &line->ctl, c, NULL, &sight, object);
			if (decision < 0)
				return false;
			if (decision > 0) {
				*found = e;
				return true;
			}
		}
		/* In vain: only if nothing has been replaced within the line. order: -> TABLE.PUBLISH acquire */
		if (hpx_load_acquire(&line->ctl) != c)
			return false;
	}
	*found = chain ? seek_chain(t, chain, want, key, take, &sight, object) : NULL;
	if (*found)
		return true;
	if (HPX_UNLIKELY(sight.pending != NULL) && seek_over(&sight))
		return false;
	/* Nothing further away, nothing moved on. order: -> TABLE.RAISE, TABLE.DONE acquire */
	return !((hpx_load_acquire(&home->ctl) ^ hc) & HPX_CTL_STATE);
}

void *hpx_table_seek(struct hpx_table *t, uint64_t h, const hapax_key *key, bool take, struct hpx_object **object)
{
	struct hpx_array *a = hpx_load_acquire(&t->root); /* order: -> TABLE.ROOT acquire */
	void *found = NULL;

	*object = NULL;
	for (;;) {
		struct hpx_line *home = hpx_home(a, h);
		uint64_t hc = hpx_load_acquire(&home->ctl); /* order: -> TABLE.PUBLISH, TABLE.DONE acquire */

		if (hpx_ctl_done(hc))
			a = hpx_load_acquire(&a->next); /* order: -> TABLE.NEXT acquire */
		else if (seek_home(t, home, hc, h, key, take, object, &found))
			return found;
	}
}

struct hpx_object *hpx_table_lookup(struct hpx_table *t, uint64_t h, const hapax_key *key, void **entry)
{
	struct hpx_array *a = hpx_load_acquire(&t->root); /* order: -> TABLE.ROOT acquire */
	struct hpx_object *object;

	*entry = hpx_table_seek(t, h, key, true, &object);
	/* A table that is only read would stay between two arrays for ever, and every lookup a slow one. */
	if (HPX_UNLIKELY(hpx_load_acquire(&a->next) != NULL) && hpx_moves_shared(t)) /* order: -> TABLE.NEXT acquire */
		hpx_move_some(t, a, 1);
	return object;
}

/* ---- taking out ---------------------------------------------------------------------------------------------- */

static bool same_entry(struct hpx_table *t, void *a, void *b)
{
	if (HPX_BROKEN(REMOVES_NEWER)) { /* whatever is there under the same key */
		uint64_t w = hpx_load_relaxed(hpx_word(a)) ^ hpx_load_relaxed(hpx_word(b)); /* order: relaxed; constant bits */
		hapax_key key = hpx_table_key(t, b);

		return !(w >> HPX_W_SIZE_SHIFT) && hpx_key_equal(t, a, &key);
	}
	return a == b;
}

/*
 * Linearizes at the compare-and-swap that clears the tag: the word is unchanged since e was seen under it, so it is
 * exactly e. Finishes the move of a frozen home first, so that no mover can publish e after our search.
 */
bool hpx_table_unlink(struct hpx_table *t, void *e)
{
	const uint64_t h = hpx_word_hash(hpx_load_relaxed(hpx_word(e))); /* order: relaxed; the hash never changes */
	const uint64_t tags = hpx_tag(h) * HPX_CTL_ONES;
	struct hpx_array *a = hpx_load_acquire(&t->root); /* order: -> TABLE.ROOT acquire */

	for (;;) {
		struct hpx_line *home = hpx_home(a, h);
		uint64_t c = hpx_load_acquire(&home->ctl); /* order: -> TABLE.PUBLISH acquire */

		for (unsigned k = 0, d = hpx_ctl_d(c); k <= d; k++) {
			struct hpx_line *line = home + k;
			uint64_t hits;

			if (k)
				c = hpx_load_acquire(&line->ctl); /* order: -> TABLE.PUBLISH acquire */
rescan:
			if (c & HPX_CTL_FROZEN)
				goto forward;
			for (hits = hpx_ctl_match(c, tags); hits; hits &= hits - 1) {
				unsigned j = hpx_lane(hits);
				uint64_t s = hpx_load_acquire(&line->slot[j]); /* order: -> TABLE.CLAIM acquire */
				void *x = hpx_slot_entry(s);

				if ((s & HPX_SLOT_LOW) != hpx_slot_low(k))
					continue;
				/* order: TABLE.CLAIM relaxed; after the slot. A chain, published or not: e is in one at most */
				if (k && x != e && hpx_word_is_chain(hpx_load_relaxed(hpx_word(x)))) {
					if (hpx_chain_unlink(hpx_chain_of(x), e))
						return true;
					continue;
				}
				if (!same_entry(t, x, e))
					continue;
				/* order: TABLE.PUBLISH -> acq_rel */
				HPX_BROKEN_WINDOW(SLOT_REUSED);
				if (HPX_BROKEN(SLOT_REUSED))
					hpx_and_acq_rel(&line->ctl, ~hpx_ctl_lane(j, 63));
				else if (!hpx_cas_acq_rel(&line->ctl, &c, c & ~hpx_ctl_lane(j, 63)))
					goto rescan;
				hpx_store_release(&line->slot[j], 0); /* order: TABLE.LEAVE -> release; ours until now */
				return true;
			}
		}
		return false;
forward:
		while (!hpx_move_home(t, a, (size_t)(h >> a->shift)))
			hpx_array_room_at_any_price(t);
		a = hpx_load_acquire(&a->next); /* order: -> TABLE.NEXT acquire */
	}
}

static uint64_t set_gone(void *e)
{
	if (HPX_BROKEN(CLAIM_TWICE)) {
		/* order: TABLE.GONE -> acq_rel; in two steps */
		uint64_t before = hpx_load_acquire(hpx_word(e));

		HPX_BROKEN_WINDOW(CLAIM_TWICE);
		hpx_store_release(hpx_word(e), before | HPX_W_GONE);
		return before;
	}
	/* order: TABLE.GONE -> acq_rel; against FLIGHT.COMMIT on the same word: one of the two sees the other */
	return hpx_or_acq_rel(hpx_word(e), HPX_W_GONE);
}

/*
 * GONE first: a removal takes effect there, so that it and a put over the entry are decided by one word. Who comes second
 * unlinks too: when claim returns the entry is out. One that was replaced stays until its successor is plainly present.
 */
uint64_t hpx_table_claim(struct hpx_table *t, void *e)
{
	uint64_t before = set_gone(e);

	if (HPX_UNLIKELY(hpx_word_replaced(before))) {
		hapax_key key = hpx_table_key(t, e);
		struct hpx_object *object;

		hpx_table_seek(t, hpx_word_hash(before), &key, false, &object);
	}
	if (!hpx_table_unlink_quick(t, hpx_word_hash(before), e))
		hpx_table_unlink(t, e);
	return before;
}
