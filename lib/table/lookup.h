/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/lookup.h - the fast lookup: the home line and the entry's line, nothing else is touched.
 */
#ifndef HPX_TABLE_LOOKUP_H
#define HPX_TABLE_LOOKUP_H

#include "table/line.h"

#include "table/hash.h"

/* hpx_table_hash with the common case inline. */
static inline __attribute__((always_inline)) int hpx_table_hash_fast(struct hpx_table *t, const hapax_key *key, uint64_t *h)
{
	if (HPX_LIKELY(key->size == 8 && t->default_hash && key->data)) {
		*h = hpx_hash8(hpx_load8(key->data), t->seed8);
		return 0;
	}
	if (key->size == 16 && t->default_hash && key->data) {
		*h = hpx_hash_bytes(key->data, 16, t->secret);
		return 0;
	}
	return hpx_table_hash(t, key, h);
}

/* An entry of this hash and size that is not the plain one of the key: pending or replaced (over.c) perhaps, and then it takes a
 * closer look which of two is present. */
__attribute__((noinline, cold, unused)) static bool hpx_table_unsettled(void *e, uint64_t expected)
{
	/* order: TABLE.PUBLISH relaxed; whatever it has become meanwhile, the closer look reads it again */
	return !((hpx_load_relaxed(hpx_word(e)) ^ expected) >> HPX_W_SIZE_SHIFT) && !HPX_BROKEN(REPLACED_UNSETTLED);
}

/*
 * Inside a section. An entry that was plainly present, or NULL; that is not yet a miss when *far is true.
 * A hit linearizes at the second load of the control word: the entry was published in its slot, and its home not DONE.
 * A miss without *far linearizes at the first load: no tag matched, and nothing of this home was further away.
 * A tag that matched in vain is a miss only if the word has not changed since: the key may have been replaced meanwhile.
 */
static inline __attribute__((always_inline)) void *hpx_table_find(struct hpx_table *t, uint64_t h, const hapax_key *key, bool *far)
{
	/* order: -> TABLE.ROOT acquire; the array's contents */
	struct hpx_line *line = hpx_home(hpx_load_acquire(&t->root), h);
	const uint64_t expected = hpx_word_make(h, key->size, 0), low = hpx_slot_low(0);
	/* order: -> TABLE.PUBLISH acquire */
	const uint64_t c = hpx_load_acquire(&line->ctl);
	uint64_t hits = hpx_ctl_match(c, hpx_tag(h) * HPX_CTL_ONES);

	*far = hpx_ctl_far(c);
	if (HPX_UNLIKELY(c & HPX_CTL_FROZEN) || hits == 0)
		return NULL;
	do {
		/* order: -> TABLE.CLAIM, TABLE.LEAVE acquire; the entry's fields; that a former one's tag is gone */
		uint64_t s = hpx_load_acquire(hpx_slot_at(line, hits)) ^ low;
		void *e = (void *)(uintptr_t)s;

		if (HPX_UNLIKELY(s & HPX_SLOT_LOW))
			continue;
		/* order: -> FLIGHT.COMMIT acquire; what the loader made of the object */
		if ((hpx_load_acquire(hpx_word(e)) & ~HPX_W_RECORD) != expected || !hpx_key_equal(t, e, key)) {
			*far |= hpx_table_unsettled(e, expected);
			continue;
		}
		/* order: -> TABLE.PUBLISH acquire, after the slot; an equal word says that the slot was published */
		if (HPX_LIKELY(hpx_load_acquire(&line->ctl) == c))
			return e;
		break;
	} while (hits &= hits - 1);
	/* order: -> TABLE.PUBLISH acquire, after the slots */
	if (!HPX_BROKEN(MISS_UNCHECKED) && hpx_load_acquire(&line->ctl) != c)
		*far = true;
	return NULL;
}

/*
 * The same by a key of eight bytes in a simple table, of the first entry only that has the tag; its hash is not compared, for
 * equal keys have equal ones. *word: the entry's, as it was found. NULL with *word 0: no tag of the line matched, and unless
 * hpx_ctl_far(*ctl) it is a miss. NULL otherwise: look again.
 */
static inline __attribute__((always_inline)) void *hpx_table_find8(struct hpx_table *t, uint64_t h, uint64_t key, uint64_t *word,
								   uint64_t *ctl)
{
	/* order: -> TABLE.ROOT acquire; the array's contents */
	struct hpx_line *line = hpx_home(hpx_load_acquire(&t->root), h);
	const uint64_t c = *ctl = hpx_load_acquire(&line->ctl); /* order: -> TABLE.PUBLISH acquire */
	const uint64_t hits = hpx_ctl_match(c, hpx_tag(h) * HPX_CTL_ONES);
	uint64_t s, w;
	void *e;

	*word = 0;
	if (HPX_UNLIKELY(hits == 0))
		return NULL;
	*word = 1;
	if (HPX_UNLIKELY(c & HPX_CTL_FROZEN))
		return NULL;
	/* order: -> TABLE.CLAIM, TABLE.LEAVE acquire; as above */
	s = hpx_load_acquire(hpx_slot_at(line, hits)) ^ hpx_slot_low(0);
	e = (void *)(uintptr_t)s;
	if (HPX_UNLIKELY(s & HPX_SLOT_LOW))
		return NULL;
	w = hpx_load_acquire(hpx_word(e)); /* order: -> FLIGHT.COMMIT acquire; as above */
	*word = w;
	if (HPX_UNLIKELY((w & ~HPX_W_HASH_MASK & ~HPX_W_RECORD) != 8 << HPX_W_SIZE_SHIFT) ||
	    HPX_UNLIKELY(hpx_load8((const char *)e - 16) != key))
		return NULL;
	/* order: -> TABLE.PUBLISH acquire, after the slot; as above */
	return HPX_LIKELY(hpx_load_acquire(&line->ctl) == c) ? e : NULL;
}

/* Inside a section: what a lookup of the hash will look at first; once that has come, the entry it leads to. */
static inline void hpx_table_fetch_line(struct hpx_table *t, uint64_t h)
{
	__builtin_prefetch(hpx_home(hpx_load_acquire(&t->root), h)); /* order: -> TABLE.ROOT acquire */
}

static inline void hpx_table_fetch_entry(struct hpx_table *t, uint64_t h)
{
	struct hpx_line *line = hpx_home(hpx_load_acquire(&t->root), h); /* order: -> TABLE.ROOT acquire */
	/* order: TABLE.PUBLISH relaxed; addresses to prefetch */
	uint64_t hits = hpx_ctl_match(hpx_load_relaxed(&line->ctl), hpx_tag(h) * HPX_CTL_ONES), low = hpx_slot_low(0);

	for (; hits; hits &= hits - 1) {
		uint64_t s = hpx_load_relaxed(hpx_slot_at(line, hits)) ^ low; /* order: TABLE.PUBLISH relaxed; as above */

		if (s & HPX_SLOT_LOW)
			continue;
		/* its key and its count, which a hit writes: perhaps in two lines of memory */
		__builtin_prefetch((const char *)(uintptr_t)s - 16);
		__builtin_prefetch((const char *)(uintptr_t)s + 8, 1);
	}
}

#endif
