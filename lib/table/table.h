/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/table.h - the lock-free weak-value table (internal interface). table.c opens with the algorithm.
 *
 * An ENTRY pointer `e` is 16-byte aligned. The 8 bytes before it are its WORD, and the key ends where the word begins:
 *      key bytes, padded to 8 at their end (or 8 bytes of pointer, borrowed keys) | word || e
 * Embedded entry: e is the struct hpx_object. Record: e is a struct hpx_record that points to the object.
 *
 * word = hash bits 63..36 | 7 low hash bits | 25 bits of key size | RECORD | WAITED | LOADING | GONE
 * The low bits make every state but plain presence differ from what a lookup expects, so that one compare says it all.
 * WAITED without LOADING is used by puts over an entry (over.c): alone it is a PENDING entry, with GONE a REPLACED one.
 * The 35 hash bits kept are all the hash the table uses (home, order, tag); a user's hash is mixed first.
 */
#ifndef HPX_TABLE_H
#define HPX_TABLE_H

#include <hapax/table.h>

#include "object/object.h"

#define HPX_W_GONE UINT64_C(1)     /* sticky; whoever sets it accounts for the removal and retires a record */
#define HPX_W_LOADING UINT64_C(2)  /* the entry is a flight; cleared at commit or failure */
#define HPX_W_WAITED UINT64_C(4)   /* somebody joined the flight; without LOADING see over.c */
#define HPX_W_RECORD UINT64_C(8)   /* not embedded */
#define HPX_W_SIZE_SHIFT 4
#define HPX_W_HASH_MASK (~UINT64_C(0) << 29)

#define HPX_W_STATE (HPX_W_GONE | HPX_W_LOADING | HPX_W_WAITED)
#define HPX_W_PENDING HPX_W_WAITED
#define HPX_W_REPLACED (HPX_W_GONE | HPX_W_WAITED)

static inline hpx_u64 *hpx_word(void *e) { return (hpx_u64 *)e - 1; }
static inline bool hpx_word_pending(uint64_t w) { return (w & HPX_W_STATE) == HPX_W_PENDING; }
static inline bool hpx_word_replaced(uint64_t w) { return (w & HPX_W_STATE) == HPX_W_REPLACED; }
static inline uint64_t hpx_word_make(uint64_t h, size_t key_size, uint64_t flags)
{
	return (h & (~UINT64_C(0) << 36)) | (h & 127) << 29 | (uint64_t)key_size << HPX_W_SIZE_SHIFT | flags;
}
static inline uint64_t hpx_word_hash(uint64_t w) { return (w & (~UINT64_C(0) << 36)) | (w >> 29 & 127); }
static inline size_t hpx_word_key_size(uint64_t w) { return w >> HPX_W_SIZE_SHIFT & ((1u << 25) - 1); }

/* For `put`: the object is held elsewhere. Fields are constant once published, except `object` of a flight's record,
 * which the loader sets before it clears LOADING (order: FLIGHT.COMMIT). */
struct hpx_record {
	HPX_ATOMIC(struct hpx_object *) object;
	struct hpx_reg *reg;
	struct hpx_table *table;
	size_t bytes; /* of the whole block, key included */
};

struct hpx_table_config {
	hapax_env *env;
	hapax_key_ops keys;
	size_t capacity;
	bool keep; /* exclusive caches: dead and GONE entries stay and block their key until hpx_table_unlink */
	size_t front; /* bytes of the owner's before each entry's key, a multiple of 16; zeroed in records */
};
struct hpx_table;

/* Tables are referenced: the owner, and each open iterator. The last drop retires the arrays. */
int hpx_table_new(struct hpx_table **out, const struct hpx_table_config *config);
void hpx_table_hold(struct hpx_table *t);
void hpx_table_drop(struct hpx_table *t);

/* Checks the key and computes its hash: 0, HAPAX_EKEY, HAPAX_EKEYSIZE or HAPAX_EHASH. */
int hpx_table_hash(struct hpx_table *t, const hapax_key *key, uint64_t *hash);
/* Room for key and word before an entry, and their writing. */
size_t hpx_table_keyed(struct hpx_table *t, const hapax_key *key);
/* The same with what is in front of the key. */
size_t hpx_table_room(struct hpx_table *t, const hapax_key *key);
void hpx_table_set_key(struct hpx_table *t, void *e, const hapax_key *key, uint64_t hash, uint64_t flags);
hapax_key hpx_table_key(struct hpx_table *t, void *e);

/* The object behind an entry: e itself or the record's. */
static inline struct hpx_object *hpx_entry_object(void *e, uint64_t word)
{
	/* order: -> OBJECT.PUBLISH, FLIGHT.COMMIT, TABLE.PUBLISH acquire (the word was read with acquire) */
	return word & HPX_W_RECORD ? hpx_load_acquire(&((struct hpx_record *)e)->object) : (struct hpx_object *)e;
}

/* ---- everything below runs inside a read section --------------------------------------------------------------- */

/* The fast lookup: an entry that was plainly present (published, not GONE, not LOADING; it may have died), or NULL,
 * which is not yet a miss when `*far` was set: then call hpx_table_lookup. Inline in lookup.h. */

/* The full lookup: a live object under the key with a reference taken: *object. Otherwise NULL, with *entry the
 * LOADING entry if there is one (or, in a `keep` table, the entry that blocks the key), else NULL. With an object,
 * *entry is the entry it was found in. In a `keep` table the death of a record's object sets GONE and reports the
 * collection, and the record stays until the owner unlinks and finishes it. */
struct hpx_object *hpx_table_lookup(struct hpx_table *t, uint64_t h, const hapax_key *key, void **entry);

enum hpx_put_mode {
	HPX_PUT_LOAD,    /* insert unless something live or LOADING is there */
	HPX_PUT_ABSENT,  /* insert unless something live is there; a LOADING entry is displaced (fenced) */
	HPX_PUT_REPLACE, /* insert, displacing whatever is there */
	HPX_PUT_OVER     /* insert a PENDING entry beside the present one in *entry: hpx_table_supersede() decides */
};
enum hpx_put_result {
	HPX_PUT_DONE,    /* e is in */
	HPX_PUT_LIVE,    /* not: *found is a live object, a reference taken */
	HPX_PUT_LOADING, /* not: *entry is LOADING */
	HPX_PUT_BLOCKED, /* not (`keep` tables): *entry is dead or GONE and still in its place */
	HPX_PUT_NOMEM,   /* not: no room and no memory */
	HPX_PUT_PASSED   /* not (OVER): the entry to put over is not present any more, nothing else is live or LOADING */
};
/*
 * `displaced(e, ctx)` is called (inside the section) for each present entry that this put displaced (ABSENT: that it
 * fenced, even if it then fails for lack of room) and for which it set GONE: the caller does the accounting and, for a
 * record, hpx_record_finish. A dead entry in the way is cleared
 * silently: its own death accounts for it (a record: hpx_table_on_met_dead). An entry is put at most once; readers may have seen it whatever the result.
 * HPX_PUT_REPLACE over a live entry of the very same object keeps that entry: HPX_PUT_LIVE, *found as always.
 * In a `keep` table what would be displaced gets GONE, is reported to `displaced`, stays, and HPX_PUT_BLOCKED says so.
 *
 * HPX_PUT_OVER: *entry is the entry to put over and *found its object, which the caller holds (so that it does not die)
 * from before this call to the end of hpx_table_supersede(); the flags of e's word are HPX_W_PENDING (and RECORD). An
 * entry of the same key, object and address as *entry is as good as that one. DONE: now call hpx_table_supersede() in the
 * same section. LIVE: something else is live. LOADING: another load is there. `keep` tables: BLOCKED.
 *
 * Memory is never taken inside a section: before `e` is in, put may leave the caller's section and enter it again, so
 * what the caller has found earlier in it is no longer protected. After `e` is in it does not leave any more.
 */
enum hpx_put_result hpx_table_put(struct hpx_table *t, uint64_t h, const hapax_key *key, void *e, enum hpx_put_mode mode,
				  struct hpx_object **found, void **entry,
				  void (*displaced)(void *e, uint64_t word, void *ctx), void *ctx);

/*
 * `fresh` was put over `old`: makes it take old's place in one step, unless somebody claimed `old` before. True: so it did; the
 * GONE of `old` is the caller's to account for, `fresh` is a plain entry, and may have been claimed by somebody else by now.
 * False: `fresh` was never present, it has GONE and is unlinked, and is the caller's to discard. Lock-free, needs no memory.
 */
bool hpx_table_supersede(struct hpx_table *t, void *old, void *fresh);

/* Makes exactly this entry unreachable for new sections. True: this call removed it from its slot. Idempotent, needs no
 * memory, lock-free. The hash comes from the entry's word. */
bool hpx_table_unlink(struct hpx_table *t, void *e);
/* Sets GONE and unlinks: the word before, GONE in it if somebody else was first (then there is nothing to account for). */
uint64_t hpx_table_claim(struct hpx_table *t, void *e);

/* ---- iteration: entries in (hash, address) order, whatever is resized meanwhile ------------------------------- */
struct hpx_cursor { uint64_t hash; uintptr_t entry; };
/* The next plainly present or LOADING (`loading` true) entry above the cursor; its object, with a reference taken, in
 * *object (NULL for LOADING entries). NULL: the end. */
void *hpx_table_next(struct hpx_table *t, struct hpx_cursor *c, bool loading, struct hpx_object **object);
/* The next entry whose object has died, and whose death has not come to the entry. No other thread changes the table. */
void *hpx_table_next_dead(struct hpx_table *t, struct hpx_cursor *c);

/* ---- outside sections ----------------------------------------------------------------------------------------- */
/* A record for `object` (held) under `key`, registered with it. Not yet published. `object` NULL: a flight's record;
 * register later with hpx_record_bind. 0 or an error. */
int hpx_record_new(struct hpx_table *t, const hapax_key *key, uint64_t h, uint64_t flags, struct hpx_object *object,
		   struct hpx_record **out);
int hpx_record_bind(struct hpx_record *r, struct hpx_object *object);
void hpx_record_discard(struct hpx_record *r);        /* never published */
/* GONE is ours: cancels the registration and retires the record. Inside or outside a section. */
void hpx_record_finish(struct hpx_record *r);
/* Called in a section when a record's object has died, with the record's word before it was claimed for that: GONE in it
 * if somebody else did. The owner's accounting; the owner finishes the record if it is its own to finish. */
void hpx_table_on_collect(struct hpx_table *t, void (*collected)(void *ctx, struct hpx_record *r, uint64_t before), void *ctx);
/* A put has taken a record out of its way whose object has died, in a section: the telling of that death may come after the end
 * of the table unless the owner sets GONE in it, or sees to it that the table is there. Unset: no such record is ever met. */
void hpx_table_on_met_dead(struct hpx_table *t, void (*met_dead)(void *ctx, struct hpx_record *r));
/* Entries that iterators pass over: asked in a section, with the object held. `hidden` gets the ctx of on_collect. */
/* A put is about to set GONE in an entry, LOADING or not: in a section, before it. */
void hpx_table_on_fence(struct hpx_table *t, void (*fencing)(void *ctx, void *e));
void hpx_table_on_iterate(struct hpx_table *t, bool (*hidden)(void *ctx, void *e, struct hpx_object *o));

/* The owner goes: open iterators end, and every entry that is left, of dead objects too, is claimed; `claimed` is called
 * in a section for each whose GONE this call set (finish records there). No puts run any more. Needs no memory. */
void hpx_table_end(struct hpx_table *t, void (*claimed)(void *e, uint64_t word, void *ctx), void *ctx);

/* The hook of borrowed keys, once per stored key: for the `freed` of classes with embedded entries. */
void hpx_table_release_key(const hapax_key_ops *ops, void *e);

/* Self-check at quiescence, forced resizing, geometry: for tests. */
int hpx_table_check(struct hpx_table *t, char *message, size_t size, size_t *entries);
bool hpx_table_resize(struct hpx_table *t, int delta);
size_t hpx_table_lines(struct hpx_table *t);

/*
 * Leak reports (leak.c): a table that has a name is looked through for them, until it is ended. `known` (may be NULL) adds what its
 * owner knows of an entry: in a section, with the ctx of on_collect.
 */
struct hpx_leak_entry {
	bool held;               /* the owner holds a reference to the entry's object */
	bool hidden;             /* which is no object of the program's */
	bool keyless;            /* the key is nothing that the program knows */
	size_t skip;             /* and neither are the first bytes of it */
	struct hpx_object *kept;   /* another object that the owner holds as long as the entry's lives; a reference taken */
	struct hpx_object *keeper; /* the object as long as which the owner holds the entry's; a reference taken */
};
void hpx_table_named(struct hpx_table *t, const char *name,
		     void (*known)(void *ctx, void *e, struct hpx_object *o, struct hpx_leak_entry *entry));
void hpx_table_unnamed(struct hpx_table *t); /* by hpx_table_end() */

/* hapax_iter over an internal table, shared by tables and caches. */
int hpx_iter_open(struct hpx_table *t, hapax_iter **out);

#endif
