/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/compute.h - operations on a cache that look before they change: compute, upsert, conditional replacement and
 * removal, removal by predicate, and several keys at once.
 *
 * Section: outside, for every call here. What changes an entry fences the loads of its key; a compute that answers KEEP or FAIL
 * does not.
 */
#ifndef HAPAX_COMPUTE_H
#define HAPAX_COMPUTE_H

#include <hapax/cache.h>

HAPAX_BEGIN_DECLS

/* What a compute function answers. */
typedef enum hapax_compute_answer {
	HAPAX_COMPUTE_KEEP = 0,   /* leave the entry as it is */
	HAPAX_COMPUTE_PUT = 1,    /* install *object */
	HAPAX_COMPUTE_REMOVE = 2, /* remove it */
	HAPAX_COMPUTE_FAIL = 3    /* leave the entry as it is; HAPAX_ELOADER and the error to the caller */
} hapax_compute_answer;

/* What became of the entry. */
typedef enum hapax_change {
	HAPAX_STILL_NONE = 0, /* absent before and after */
	HAPAX_UNCHANGED = 1,  /* the same object as before */
	HAPAX_INSERTED = 2,
	HAPAX_REPLACED = 3,
	HAPAX_REMOVED = 4
} hapax_change;

/*
 * `current` is the present object (borrowed for the call) or NULL. For PUT it stores one reference in *object, which the
 * cache consumes in any case; current itself is legal if it was retained. Runs without locks or read sections and may
 * use other keys; calls that would change, load or wait for its own key answer HAPAX_EDEADLK (remove and its kin:
 * HAPAX_MISS, and nothing happens).
 */
typedef int (*hapax_compute_fn)(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error);

/*
 * Applies `compute` to the entry of `key`, atomically: computes of one key run one after the other, and none is lost. When
 * a put, a removal, a load or the object's death came in between, what compute() made is given back and it is asked again.
 * Waits for other computes of the key up to `deadline`. *out (may be NULL): the object that is present afterwards, owned.
 * *change and *error may be NULL. Readers see the old object until the new one is installed.
 * Fails: HAPAX_ENULL, key errors, HAPAX_ELOADER, HAPAX_EDEADLK, HAPAX_ETIMEDOUT, HAPAX_INFLIGHT (no wait), HAPAX_ECLOSED, HAPAX_EBUSY
 * (exclusive caches, when there is an object), HAPAX_ETYPE, HAPAX_EFOREIGN, HAPAX_ENOTWEAK, HAPAX_EDEAD, HAPAX_ENOMEM,
 * HAPAX_EGARBAGE, HAPAX_EWEIGHT, HAPAX_ECALLBACK. After an error the entry is as it was. PUT without an object is
 * HAPAX_ENULL; an object with another answer is given back. PUT and REMOVE fence loads of the key, KEEP does not. The listener
 * is told while the key is still this call's: a compute of it in there is refused with HAPAX_EDEADLK.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_compute(hapax_cache *cache, hapax_key key, hapax_compute_fn compute, void *arg,
						   uint64_t deadline, void **out, hapax_change *change,
						   hapax_load_error *error);

/* hapax_cache_put() that says what it replaced: *previous (may be NULL) is that object, owned, or NULL. Fails as hapax_cache_compute(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_upsert(hapax_cache *cache, hapax_key key, void *object, void **previous);
/* Replaces exactly `expected` by `object`: 0, or HAPAX_MISS if something else or nothing is present. An object that died or
 * expired never matches. Fails as hapax_cache_compute(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_replace_if(hapax_cache *cache, hapax_key key, const void *expected, void *object);

/*
 * Removes the entries for which `match` answers 1, among those that were installed before the call. 0 keeps, anything
 * else stops: HAPAX_ECALLBACK, what is removed stays removed. `match` runs outside locks and read sections. *removed
 * (may be NULL): how many. What is put during the call may be looked at or not. Needs no memory, but for keys above 128
 * bytes in a cache that has no option which concerns entries (HAPAX_ENOMEM: the rest is left).
 */
HAPAX_API int hapax_cache_remove_where(hapax_cache *cache, int (*match)(const hapax_key *key, void *object, void *ctx),
				       void *ctx, size_t *removed);

/*
 * The bulk loader (hapax_load_many_fn, an option of the cache) gets the distinct absent keys that nobody else is loading, and
 * stores for each one reference in objects[i], or leaves NULL: no value. Objects of further keys go to hapax_bulk_add().
 * It answers as a loader does; FAIL and NOVALUE are for all keys, and what it stored is given back.
 */

/* One reference to `object` is consumed in any case. Installed when the loader has answered OK, unless something is present
 * under the key, or loading, by then, or the key was written to meanwhile, or there is no memory for it, or the cache's weigher
 * or expire callback refuses it. A key that was asked for may be given here, too. During the loader's call only, on its thread.
 * Fails: HAPAX_ENULL, key errors, HAPAX_ENOMEM, HAPAX_EGARBAGE. */
HAPAX_API HAPAX_MUST_CHECK int hapax_bulk_add(hapax_bulk *bulk, hapax_key key, void *object);

/*
 * Gets of `n` keys: objects[i] is owned or NULL, statuses[i] (statuses may be NULL) what a get of keys[i] would have
 * returned. Absent keys are loaded by one call of the bulk loader, or one by one without it. Loads that others have
 * in flight are joined, after our own; when they vanish their keys are loaded by another call. Counts distinct present keys as
 * hits and distinct absent keys as misses; the bulk call is one load, whatever it made.
 * `options` (may be NULL): deadline, error (of the bulk load); no loader, not refuse. Returns 0, or an error when nothing was
 * done: HAPAX_ENULL, HAPAX_EOPTSIZE, HAPAX_EFLAGS, HAPAX_EOPTION, HAPAX_ECLOSED, HAPAX_ENOMEM. No array is kept.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_many(hapax_cache *cache, const hapax_key *keys, size_t n, void **objects,
						    int *statuses, const hapax_get_options *options);

HAPAX_END_DECLS

#endif
