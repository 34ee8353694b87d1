/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/table.h - weak-value tables: key bytes to objects that the table does not keep alive.
 *
 * An entry reads absent from the instant its object dies. One object may be in any number of tables and under any
 * number of keys. get, contains and the removal of a dead object's entries take no lock. Iteration is weakly
 * consistent: what is present throughout is yielded exactly once, through any number of resizes.
 *
 * Section, for every call here: outside. User code is never called under a lock; `equal` is called inside a
 * read section (a slow one delays reclamation, nothing else), and so is `hash` by the gets of a cache.
 */
#ifndef HAPAX_TABLE_H
#define HAPAX_TABLE_H

#include <hapax/base.h>
#include <hapax/env.h>
#include <hapax/object.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

typedef struct hapax_table hapax_table;
typedef struct hapax_iter hapax_iter;

/*
 * How keys are hashed, compared and kept. All NULL: XXH3 under a random secret, byte equality, copied keys.
 * `hash` stores any 64-bit value and returns 0, or non-zero for a key it cannot hash (the call then fails with
 * HAPAX_EHASH). It is called once per call and never by growth. A constant hash is legal: operations are then linear.
 * `equal` NULL: byte equality. `borrow` keeps the caller's pointer instead of a copy: the bytes must stay until
 * `release` ran for them, which it does once per stored key, after no reader can compare it any more, on the
 * reclaimer thread, in hapax_reclaim() or in a drain.
 */
typedef struct hapax_key_ops {
	int (*hash)(const hapax_key *key, uint64_t *hash, void *ctx);
	bool (*equal)(const hapax_key *a, const hapax_key *b, void *ctx);
	bool borrow;
	void (*release)(const hapax_key *key, void *ctx);
	void *ctx;
} hapax_key_ops;

typedef struct hapax_table_options {
	size_t size;      /* sizeof(hapax_table_options) */
	unsigned flags;   /* none yet: 0 */
	hapax_env *env;   /* NULL: the default one */
	hapax_key_ops keys;
	size_t capacity;  /* entries expected: a hint, 0 for none */
	const char *name; /* for reports; copied up to 31 bytes; NULL: "table" */
} hapax_table_options;

#define HAPAX_TABLE_OPTIONS_INIT .size = sizeof(hapax_table_options)

/* Returns 0 and a table that the caller owns. Fails: HAPAX_ENULL, HAPAX_EOPTSIZE, HAPAX_EFLAGS, HAPAX_EOPTION,
 * HAPAX_ENOMEM. */
HAPAX_API HAPAX_MUST_CHECK int hapax_table_create(hapax_table **out, const hapax_table_options *options);

/* Ends a table; NULL is a no-op. Objects and open iterators stay valid. No other call on it may be running or follow.
 * Cannot fail, does not wait. */
HAPAX_API void hapax_table_destroy(hapax_table *table);

/* Puts `object` (held by the caller) under `key`, replacing what was there. Replacing an object by itself is a write,
 * no second entry. Fails: HAPAX_ENULL, key errors, HAPAX_ENOTWEAK, HAPAX_EFOREIGN, HAPAX_EDEAD, HAPAX_ENOMEM,
 * HAPAX_EGARBAGE. Blocks: at the garbage bound. */
HAPAX_API HAPAX_MUST_CHECK int hapax_table_put(hapax_table *table, hapax_key key, void *object);

/* Returns 0 and an owned reference to the live object under `key`, or HAPAX_MISS. Fails: HAPAX_ENULL, key errors. */
HAPAX_API HAPAX_MUST_CHECK int hapax_table_get(hapax_table *table, hapax_key key, void **out);

/* The live object under `key`, or else `object`, put there now: 0 and an owned reference in *out in both cases;
 * *inserted (may be NULL) says which. Fails as hapax_table_put. */
HAPAX_API HAPAX_MUST_CHECK int hapax_table_get_or_put(hapax_table *table, hapax_key key, void *object, void **out,
						      bool *inserted);

/* Removes: 0 if something live was there, else HAPAX_MISS. Needs no memory. Fails: HAPAX_ENULL, key errors. */
HAPAX_API int hapax_table_remove(hapax_table *table, hapax_key key);
/* Removes if it is exactly `object`; else HAPAX_MISS. Needs no memory. */
HAPAX_API int hapax_table_remove_if(hapax_table *table, hapax_key key, const void *object);
/* Removes and gives an owned reference to what was there, or HAPAX_MISS. Fails: as hapax_table_get(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_table_pop(hapax_table *table, hapax_key key, void **out);
/* Removes an arbitrary live entry and gives an owned reference, or HAPAX_EMPTY. */
HAPAX_API HAPAX_MUST_CHECK int hapax_table_pop_any(hapax_table *table, void **out);
/* 1 present, 0 absent, or a key error. Takes no reference. */
HAPAX_API int hapax_table_contains(hapax_table *table, hapax_key key);
/* Entries; an estimate while calls are running, exact at rest. */
HAPAX_API size_t hapax_table_size(hapax_table *table);
/* Removes everything installed before the call. Objects are not touched. Cannot fail, needs no memory. What is put during
 * the call may be removed or stay; with a comparison of the user's a key that is put again meanwhile may go twice. */
HAPAX_API void hapax_table_clear(hapax_table *table);

/* Puts every live pair of `source` into `target`; into itself: nothing to do. On an error what was already put stays
 * and *copied (may be NULL) says how many. Fails as hapax_table_put, and with HAPAX_EOPTION when `target` borrows its
 * keys: nobody would own the copies. */
HAPAX_API HAPAX_MUST_CHECK int hapax_table_copy(hapax_table *target, hapax_table *source, size_t *copied);
/* A new table with the same options, but always with keys of its own, holding the live pairs of `source`, weakly.
 * Fails: HAPAX_ENULL, HAPAX_ENOMEM, HAPAX_EGARBAGE. */
HAPAX_API HAPAX_MUST_CHECK int hapax_table_snapshot(hapax_table *source, hapax_table **out);

/*
 * Iteration. next() returns 0 with the next live entry, or HAPAX_EMPTY at the end (and ever after). The object is
 * pinned and the key bytes (a copy) are valid until the next call on the iterator; nothing else is pinned. *key and
 * *object may be NULL. A table may be changed, cleared or destroyed meanwhile. close() accepts NULL.
 * next() fails with HAPAX_ENOMEM when a key longer than any before it cannot be copied; the cursor then has not moved.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_table_iterate(hapax_table *table, hapax_iter **out);
HAPAX_API HAPAX_MUST_CHECK int hapax_iter_next(hapax_iter *iter, hapax_key *key, void **object);
HAPAX_API void hapax_iter_close(hapax_iter *iter);

HAPAX_END_DECLS

#endif
