/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/quick.h - putting an entry where nothing is in the way, and taking it out again: the home line, and nothing else.
 *
 * The same steps as in put.c and core.c, for a home that is all in its one line, open, and in which no tag matches: then no
 * entry of the key is there, in whatever state, as long as the control word stays as it was read. Whatever is not so
 * is left to the functions that decide.
 */
#ifndef HPX_TABLE_QUICK_H
#define HPX_TABLE_QUICK_H

#include "table/line.h"

/* Puts that have some of the work to do that all of them share (hpx_table_put). */
static inline bool hpx_put_shares(uint64_t h, const void *e)
{
	return ((h >> 38 ^ (uintptr_t)e >> 4) & 1023) == 0;
}

/* hpx_table_keyed() and hpx_table_set_key() with the common case inline. */
static inline size_t hpx_keyed_quick(struct hpx_table *t, const hapax_key *key)
{
	return HPX_LIKELY(!t->keys.borrow) ? ((key->size + 7) & ~(size_t)7) + sizeof(uint64_t) : hpx_table_keyed(t, key);
}

static inline void hpx_set_key_quick(struct hpx_table *t, void *e, const hapax_key *key, uint64_t hash, uint64_t flags)
{
	if (HPX_UNLIKELY(t->keys.borrow || key->size != 8)) {
		hpx_table_set_key(t, e, key, hash, flags);
		return;
	}
	memcpy((char *)hpx_word(e) - 8, key->data, 8);
	hpx_init(hpx_word(e), hpx_word_make(hash, 8, flags));
}

/* What a short put goes by: good for the section in which it was found. */
struct hpx_vacancy {
	struct hpx_array *array;
	struct hpx_line *line;
	uint64_t ctl;
};

/* In a section. True: at this moment nothing is under the key, and a put of it may be a short one. */
static inline bool hpx_table_vacant(struct hpx_table *t, uint64_t h, struct hpx_vacancy *v)
{
	v->array = hpx_load_acquire(&t->root); /* order: -> TABLE.ROOT acquire; the array's contents */
	v->line = hpx_home(v->array, h);
	v->ctl = hpx_load_acquire(&v->line->ctl); /* order: -> TABLE.PUBLISH acquire; as a lookup that finds nothing */
	return !(v->ctl & HPX_CTL_STATE) && !hpx_ctl_match(v->ctl, hpx_tag(h) * HPX_CTL_ONES);
}

/* In a section, vacant then. True: `e` is in, as by hpx_table_put(HPX_PUT_LOAD). False: nothing has happened. */
static inline bool hpx_table_put_quick(struct hpx_table *t, uint64_t h, void *e, const struct hpx_vacancy *v)
{
	struct hpx_line *line = v->line;
	uint64_t lanes, empty, before = v->ctl;
	unsigned j;

	/* order: TABLE.NEXT relaxed; hints that there is work to share */
	if (HPX_UNLIKELY(hpx_load_relaxed(&v->array->next) || hpx_load_relaxed(&t->want) || hpx_put_shares(h, e)) ||
	    HPX_BROKEN(RELAXED_PUBLISH))
		return false;
	for (lanes = hpx_ctl_match(before, 0); lanes; lanes &= lanes - 1) {
		j = hpx_lane(lanes);
		empty = 0;
		/* order: TABLE.CLAIM -> acq_rel; the entry's fields before its reachability */
		if (hpx_load_relaxed(&line->slot[j]) == 0 &&
		    hpx_cas_acq_rel(&line->slot[j], &empty, (uint64_t)(uintptr_t)e | hpx_slot_low(0)))
			break;
	}
	if (!lanes)
		return false;
	/* order: TABLE.PUBLISH -> acq_rel; nobody published in this line since it was found vacant */
	if (HPX_LIKELY(hpx_cas_acq_rel(&line->ctl, &before, hpx_ctl_bump(before | hpx_ctl_lane(j, hpx_tag(h))))))
		return true;
	hpx_store_release(&line->slot[j], 0); /* order: TABLE.LEAVE -> release; ours alone until now */
	return false;
}

/* In a section. True: this call has taken `e` out, whose hash is `h`. False: nothing has happened. */
static inline bool hpx_table_unlink_quick(struct hpx_table *t, uint64_t h, void *e)
{
	/* order: -> TABLE.ROOT acquire; the array's contents */
	struct hpx_line *line = hpx_home(hpx_load_acquire(&t->root), h);
	const uint64_t wanted = (uint64_t)(uintptr_t)e | hpx_slot_low(0);
	uint64_t c = hpx_load_acquire(&line->ctl), hits; /* order: -> TABLE.PUBLISH acquire */
	unsigned j;

	if (c & HPX_CTL_FROZEN || HPX_BROKEN(SLOT_REUSED) || HPX_BROKEN(REMOVES_NEWER))
		return false;
	for (hits = hpx_ctl_match(c, hpx_tag(h) * HPX_CTL_ONES); hits; hits &= hits - 1) {
		j = hpx_lane(hits);
		/* order: -> TABLE.CLAIM acquire */
		if (hpx_load_acquire(&line->slot[j]) != wanted)
			continue;
		/* order: TABLE.PUBLISH -> acq_rel; the word is the one under which `e` was seen */
		if (!hpx_cas_acq_rel(&line->ctl, &c, c & ~hpx_ctl_lane(j, 63)))
			return false;
		hpx_store_release(&line->slot[j], 0); /* order: TABLE.LEAVE -> release; ours until now */
		return true;
	}
	return false;
}

#endif
