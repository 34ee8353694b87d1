/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/core.h - what the files of the table share. core.c tells the algorithm.
 */
#ifndef HPX_TABLE_CORE_H
#define HPX_TABLE_CORE_H

#include "table/line.h"

enum {
	HPX_BITS_MIN = 3,      /* 8 homes */
	HPX_BITS_MAX = 28,     /* as many as the hash has bits */
	HPX_MOVE_PER_PUT = 1,  /* homes: a quarter of the puts that fill an array move what was in the one before */
	HPX_WANT_ROOM = 64,    /* in hpx_table.want: a move is stuck for lack of room in the last array */
	HPX_CHAIN_FROM = 7     /* as many entries of one hash in one home make a chain */
};

static inline unsigned hpx_array_bits(const struct hpx_array *a) { return 64 - a->shift; }

/* ---- core.c ---- */

/* The state under which keys of one home are put: the home's word, and the word of its tail. */
struct hpx_tail {
	struct hpx_line *home, *line;
	uint64_t hc, c;
	unsigned d;
};
/* False: something is frozen; move the home and go on in the next array. Finishes a raise that it meets. */
bool hpx_tail_read(struct hpx_array *a, uint64_t h, struct hpx_tail *p);
/* The tail is full and d < HPX_REACH: one line more. The caller reads the tail again. */
void hpx_tail_raise(struct hpx_table *t, struct hpx_array *a, const struct hpx_tail *p);

/* A slot without a tag that is reserved for an entry. */
struct hpx_claim {
	hpx_u64 *slot; /* NULL: none */
	struct hpx_line *line;
	void *entry;
	unsigned lane;
};
bool hpx_claim_slot(struct hpx_claim *claim, const struct hpx_tail *p, void *e);
void hpx_claim_drop(struct hpx_claim *claim);

/* ---- chain.c: all entries of one hash, beyond the first few ---- */

struct hpx_node {
	HPX_ATOMIC(struct hpx_node *) next;
	HPX_ATOMIC(void *) entry; /* NULL: unlinked; never set again */
	uint64_t link;            /* the pool's, once retired */
	uint64_t unused;
};
struct hpx_chain {
	uint64_t link;
	hpx_u64 word;          /* of the pseudo-entry &first */
	struct hpx_node first; /* holds no entry */
	hpx_u32 pruning;
	struct hpx_chain *all;
};

/* The word of a chain's pseudo-entry: no entry has such a size. */
#define HPX_W_CHAIN (((UINT64_C(1) << 29) - 1))
static inline bool hpx_word_is_chain(uint64_t w) { return (w & HPX_W_CHAIN) == HPX_W_CHAIN; }
static inline struct hpx_chain *hpx_chain_of(void *e)
{
	return HPX_CONTAINER_OF(e, struct hpx_chain, first);
}

struct hpx_chain *hpx_chain_new(struct hpx_table *t, uint64_t h); /* outside sections */
struct hpx_node *hpx_node_new(struct hpx_table *t);
void hpx_chain_discard(struct hpx_table *t, struct hpx_chain *chain); /* not published */
void hpx_node_discard(struct hpx_table *t, struct hpx_node *node);
void hpx_chain_enlist(struct hpx_table *t, struct hpx_chain *chain); /* published by the caller */
void hpx_chains_free(struct hpx_table *t);
bool hpx_chain_unlink(struct hpx_chain *chain, const void *e);
/* Takes empty nodes out, unless somebody else is at it. */
void hpx_chain_prune(struct hpx_table *t, struct hpx_chain *chain);

/* ---- resize.c ---- */

struct hpx_array *hpx_array_new(hapax_env *env, unsigned bits); /* outside sections */
void hpx_array_free(struct hpx_array *a);
/* Makes home `i` of `a` DONE. False: an array further on has no room; see hpx_array_room. */
bool hpx_move_home(struct hpx_table *t, struct hpx_array *a, size_t i);
/* Moves `n` homes of the root array: true when it has been replaced by the next one. */
bool hpx_move_some(struct hpx_table *t, struct hpx_array *a, unsigned n);
size_t hpx_array_bytes(const struct hpx_array *a); /* of its lines */
/* It has clearly more raises than those that made it look for another array. */
bool hpx_array_late(struct hpx_array *a);
/* Outside sections. There was no memory for an array: when to ask again. */
void hpx_array_missing(struct hpx_table *t);
/* Outside sections. As below; the array goes if it is of no use any more. */
bool hpx_array_append_this(struct hpx_table *t, struct hpx_array *fresh);
/* Outside sections. Appends an array with `bits`, if that is still a sensible size. False: no memory. */
bool hpx_array_append(struct hpx_table *t, unsigned bits);
/* Outside sections. One twice the size of the last. False: no memory, or no hope. */
bool hpx_array_room(struct hpx_table *t);
/* Inside a section, for those who may not fail: see resize.c. */
void hpx_array_room_at_any_price(struct hpx_table *t);
void hpx_consider_growth(struct hpx_table *t, struct hpx_array *a);
void hpx_consider_shrinking(struct hpx_table *t, struct hpx_array *a, size_t where);
void hpx_want(struct hpx_table *t, uint32_t bits);
unsigned hpx_array_load16(struct hpx_array *a, size_t from);

/* ---- grow.c: large arrays, made and moved into by housekeeping ---- */

enum { HPX_GROW_NOT, HPX_GROW_PREPARING, HPX_GROW_MOVING };

/* Whether puts and lookups move homes that are not in their way. */
static inline bool hpx_moves_shared(struct hpx_table *t)
{
	/* order: TABLE.GROW relaxed; hints */
	return hpx_load_relaxed(&t->growing) != HPX_GROW_MOVING || hpx_load_relaxed(&t->help);
}

/* Outside sections. True: an array is being made, or will be, where it holds up nobody. */
bool hpx_grow_later(struct hpx_table *t, unsigned bits);
/* By one put in 1024 while homes are moving: does housekeeping keep pace? */
void hpx_grow_pace(struct hpx_table *t, struct hpx_array *root);
#ifdef HPX_TESTING
extern size_t hpx_prepare_from; /* bytes of the smallest of them */
#endif

/* ---- over.c ---- */

/* `e` was seen PENDING. When what it is put over was seen replaced it is present: its word says so afterwards. */
void hpx_over_install(void *e);
/* When nothing it was put over is present any more it never will be. */
void hpx_over_refuse(void *e);
/* `e`, seen plainly present beside a PENDING entry of its key, is what that one is put over: decides for it. True: it is
 * REPLACED now, by whomever. */
bool hpx_over_replace(void *e);

/* ---- iterate.c ---- */

enum { HPX_NEXT_LIVE, HPX_NEXT_LOADING, HPX_NEXT_DEAD, HPX_NEXT_ALL };
/* hpx_table_next; HPX_NEXT_DEAD: those whose object is dead, without GONE; HPX_NEXT_ALL: any entry without GONE; no reference taken. */
void *hpx_table_next_of(struct hpx_table *t, struct hpx_cursor *c, int which, struct hpx_object **object);

/* A key's place among those with the same hash: never 0. */
uint64_t hpx_entry_tie(struct hpx_table *t, void *e);

/* The first present entry of a key, oldest first; `take`: with a reference to its object. */
void *hpx_table_seek(struct hpx_table *t, uint64_t h, const hapax_key *key, bool take, struct hpx_object **object);

#endif
