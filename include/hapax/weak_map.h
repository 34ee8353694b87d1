/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/weak_map.h - weak-key tables and weak sets: data attached to objects, and collections of objects, that do not keep
 * those objects alive.
 *
 * Keys and members are objects by identity. From the instant a key dies its entry reads absent, and its data is released on
 * the thread of that death, after the entry reads absent and before the first death callback; so data is destroyed exactly once.
 * (Also where the key's type is deferred: then on the thread of its last release.)
 * A dead object never equals a live one: what comes to be at the same address has an entry of its own. Data that nobody else
 * holds is destroyed before the key's callbacks; if the key dies in a removal listener, as any death there, later.
 *
 * The map holds its data (objects of the same environment) by one reference. DATA THAT REFERS STRONGLY TO ITS OWN KEY PINS IT
 * FOR EVER: neither dies until the entry is removed. hapax_leak_report() names it (hapax/leak.h); a hapax_weak in the data is
 * the cure.
 *
 * Section, for every call here: outside. Reading takes no lock. User code (destructors of data) is never called under a lock or
 * in a read section; a destructor of data may call its map, and destroy it. Callers hold the objects that they pass.
 */
#ifndef HAPAX_WEAK_MAP_H
#define HAPAX_WEAK_MAP_H

#include <hapax/base.h>
#include <hapax/env.h>
#include <hapax/object.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

/* ---- weak-key tables --------------------------------------------------------------------------------------------- */

typedef struct hapax_weak_map hapax_weak_map;
typedef struct hapax_weak_map_iter hapax_weak_map_iter;

typedef struct hapax_weak_map_options {
	size_t size;      /* sizeof(hapax_weak_map_options) */
	unsigned flags;   /* none yet: 0 */
	hapax_env *env;   /* NULL: the default one */
	size_t capacity;  /* entries expected: a hint */
	const char *name; /* for reports; copied up to 31 bytes; NULL: "weak map" */
} hapax_weak_map_options;
#define HAPAX_WEAK_MAP_OPTIONS_INIT .size = sizeof(hapax_weak_map_options)

/* Returns 0 and a map that the caller owns. `options` NULL: all defaults. Fails: HAPAX_ENULL, HAPAX_EOPTSIZE, HAPAX_EFLAGS, HAPAX_ENOMEM. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_create(hapax_weak_map **out, const hapax_weak_map_options *options);
/* Ends it and releases its data; NULL is a no-op. Keys and open iterators stay valid; keys may die on other threads meanwhile.
 * No other call on it may be running or follow. Cannot fail, needs no memory. */
HAPAX_API void hapax_weak_map_destroy(hapax_weak_map *map);

/* Puts `data` under `key`; the map takes a reference of its own, and releases what was there before.
 * Fails: HAPAX_ENULL, HAPAX_ENOTWEAK (the key's type), HAPAX_EFOREIGN (key or data of another environment), HAPAX_EDEAD
 * (either's death has begun), HAPAX_EOVERFLOW, HAPAX_ENOMEM, HAPAX_EGARBAGE; HAPAX_ECLOSED in destructors that the map's
 * destroy runs. Blocks: at the garbage bound. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_put(hapax_weak_map *map, void *key, void *data);
/* 0 and an owned reference to the key's data, or HAPAX_MISS. Fails: HAPAX_ENULL, HAPAX_ENOTWEAK, HAPAX_EFOREIGN. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_get(hapax_weak_map *map, void *key, void **data);
/* The key's data, or else `data`, put there now: 0 and an owned reference in *out in both cases; *inserted may be NULL.
 * Fails: as hapax_weak_map_put(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_get_or_put(hapax_weak_map *map, void *key, void *data, void **out, bool *inserted);
/* Removes: 0 if the key had data, else HAPAX_MISS. Needs no memory. Fails: as hapax_weak_map_get(). */
HAPAX_API int hapax_weak_map_remove(hapax_weak_map *map, void *key);
/* Removes, and gives the map's reference to the caller; or HAPAX_MISS. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_pop(hapax_weak_map *map, void *key, void **data);
/* Removes an arbitrary entry: owned references to its key, alive, and its data; or HAPAX_EMPTY. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_pop_any(hapax_weak_map *map, void **key, void **data);
/* 1 if the key has data, 0 if not, or an error as of hapax_weak_map_get(). */
HAPAX_API int hapax_weak_map_contains(hapax_weak_map *map, void *key);
/* Entries; an estimate while calls are running, exact at rest, never below 0. */
HAPAX_API size_t hapax_weak_map_size(hapax_weak_map *map);
/* Removes everything put before the call. Cannot fail, needs no memory. */
HAPAX_API void hapax_weak_map_clear(hapax_weak_map *map);
/* Puts every live pair of `source` into `target`, which holds keys weakly and the same data by references of its own; into itself:
 * nothing to do. On an error what was already put stays and *copied (may be NULL) says how many. Fails: as hapax_weak_map_put(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_copy(hapax_weak_map *target, hapax_weak_map *source, size_t *copied);
/* A new map with the live pairs of `source`: keys weakly, data by references of its own. Fails: HAPAX_ENULL, HAPAX_ENOMEM,
 * HAPAX_EGARBAGE. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_snapshot(hapax_weak_map *source, hapax_weak_map **out);

/* Iteration, as hapax_iter: next() gives a live key and its data, both pinned until the next call on the iterator, or
 * HAPAX_EMPTY. The map may be changed, cleared or destroyed meanwhile. `key`, `data` may be NULL; close() accepts NULL. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_iterate(hapax_weak_map *map, hapax_weak_map_iter **out);
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_next(hapax_weak_map_iter *iter, void **key, void **data);
HAPAX_API void hapax_weak_map_close(hapax_weak_map_iter *iter);

/* ---- weak sets --------------------------------------------------------------------------------------------------- */

typedef struct hapax_weak_set hapax_weak_set;
typedef struct hapax_weak_set_iter hapax_weak_set_iter;

typedef struct hapax_weak_set_options {
	size_t size;      /* sizeof(hapax_weak_set_options) */
	unsigned flags;   /* none yet: 0 */
	hapax_env *env;
	size_t capacity;
	const char *name; /* NULL: "weak set" */
} hapax_weak_set_options;
#define HAPAX_WEAK_SET_OPTIONS_INIT .size = sizeof(hapax_weak_set_options)

/* Returns 0 and a set that the caller owns. `options` NULL: all defaults. Fails: as hapax_weak_map_create(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_set_create(hapax_weak_set **out, const hapax_weak_set_options *options);
/* Ends it; NULL is a no-op. Members and open iterators stay valid. No other call on it may be running or follow. Cannot fail. */
HAPAX_API void hapax_weak_set_destroy(hapax_weak_set *set);
/* Adding a member again changes nothing: 0 both times; *added (may be NULL) says whether it was new. Fails as hapax_table_put. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_set_add(hapax_weak_set *set, void *object, bool *added);
/* Removes: 0, or HAPAX_MISS if it is no member (to discard is to ignore that). Needs no memory.
 * Fails: as hapax_weak_map_get(). */
HAPAX_API int hapax_weak_set_remove(hapax_weak_set *set, void *object);
/* 1 if it is a member, 0 if not, or an error as of hapax_weak_map_get(). */
HAPAX_API int hapax_weak_set_contains(hapax_weak_set *set, void *object);
/* Removes an arbitrary live member and gives an owned reference to it, or HAPAX_EMPTY. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_set_pop(hapax_weak_set *set, void **object);
/* Live members; an estimate while calls are running, exact at rest. */
HAPAX_API size_t hapax_weak_set_size(hapax_weak_set *set);
/* Removes every member added before the call. Cannot fail, needs no memory. */
HAPAX_API void hapax_weak_set_clear(hapax_weak_set *set);
/* Adds every live member of `source` to `target`; *copied (may be NULL): how many were gone over. Fails: as
 * hapax_weak_set_add(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_set_copy(hapax_weak_set *target, hapax_weak_set *source, size_t *copied);
/* A new set with the members of `source` that are alive, held weakly. Fails: as hapax_table_snapshot(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_set_snapshot(hapax_weak_set *source, hapax_weak_set **out);
/* Iteration: next() gives a live member, pinned until the next call on the iterator, or HAPAX_EMPTY. Each member that is alive
 * throughout is given exactly once. The set may be changed, cleared or destroyed meanwhile. close() accepts NULL. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_set_iterate(hapax_weak_set *set, hapax_weak_set_iter **out);
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_set_next(hapax_weak_set_iter *iter, void **object);
HAPAX_API void hapax_weak_set_close(hapax_weak_set_iter *iter);

HAPAX_END_DECLS

#endif
