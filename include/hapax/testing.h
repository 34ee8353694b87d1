/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/testing.h - hooks of the testing build (libhapax_testing); not in the shipped library.
 */
#ifndef HAPAX_TESTING_H
#define HAPAX_TESTING_H

#include <hapax/hapax.h>

HAPAX_BEGIN_DECLS

/*
 * Time for waiters: `wait` sleeps until `deadline` of the injected clock or until `*word` is no longer `expected`
 * (spurious returns are fine); `wake` wakes all who sleep on `word`. With them deadlines obey the fake clock.
 * Set before the environment is used by other threads.
 */
typedef struct hapax_testing_time {
	uint64_t (*now)(void *ctx);
	void (*wait)(const uint32_t *word, uint32_t expected, uint64_t deadline, void *ctx);
	void (*wake)(const uint32_t *word, void *ctx);
	void *ctx;
} hapax_testing_time;
HAPAX_API void hapax_testing_set_time(hapax_env *env, const hapax_testing_time *time);

/* Completes all deferred reclamation of the process that can be completed (waits for grace periods, repeatedly);
 * batches still open on *other running* threads are closed by them at their next call or exit. */
HAPAX_API void hapax_testing_drain(hapax_env *env);

/* Objects born and not yet freed; bytes this environment holds from its allocator. */
HAPAX_API uint64_t hapax_testing_live_objects(hapax_env *env);
HAPAX_API size_t hapax_testing_bytes(hapax_env *env);

/* Walks the structures at quiescence; returns 0, or -1 after writing what is wrong into `message`. */
HAPAX_API int hapax_testing_check_table(hapax_table *table, char *message, size_t size);
HAPAX_API int hapax_testing_check_cache(hapax_cache *cache, char *message, size_t size);
HAPAX_API int hapax_testing_check_memo(hapax_memo *memo, char *message, size_t size);
HAPAX_API int hapax_testing_check_weak_map(hapax_weak_map *map, char *message, size_t size);
HAPAX_API int hapax_testing_check_weak_set(hapax_weak_set *set, char *message, size_t size);
HAPAX_API int hapax_testing_check_interner(hapax_interner *interner, char *message, size_t size);

/* Table geometry: current home lines; force a resize by a power of two (+1, 0, -1) and move everything. */
HAPAX_API size_t hapax_testing_table_lines(hapax_table *table);
HAPAX_API int hapax_testing_table_resize(hapax_table *table, int delta);
HAPAX_API int hapax_testing_cache_resize(hapax_cache *cache, int delta);

/*
 * Named stop points: `hook(name, ctx)` is called by the thread that passes one, outside locks. Names:
 * "death.dead" (count is DEAD, entries not yet unlinked), "get.found" (looked up, not yet upgraded), "get.miss" (missed,
 * flight not yet registered), "load.returned" (loader returned, not yet committed), "load.committed" (committed, waiters
 * not yet woken), "remove.chosen" (entry chosen, not yet unlinked), "table.copy" (mover, before the publishing swap),
 * "list.chosen" (hapax_weak_list() knows which handles to take, none is taken yet),
 * "ident.taken" (a weak map's removal has the data, its record is not yet unlinked), "memo.left" (a call that was no plain hit
 * has left its memo, which may be gone).
 * The points inside lookups ("get.found", "remove.chosen", "table.copy", "ident.taken") lie inside a read section.
 */
HAPAX_API void hapax_testing_set_stop(void (*hook)(const char *name, void *ctx), void *ctx);

/* Sets counts near their limits: the strong count of an object; the handle count of its shared weak record. */
HAPAX_API void hapax_testing_set_strong(void *object, uint64_t count);
HAPAX_API void hapax_testing_set_weak(void *object, uint64_t count);

/* Promotes a held object as contention would (false: it is already, or no slot is free); whether it is promoted; the
 * reclaimer's look at what has cooled. */
HAPAX_API bool hapax_testing_promote(void *object);
HAPAX_API bool hapax_testing_promoted(const void *object);
HAPAX_API void hapax_testing_tick(void);

/* Runs on misuse (double release, retain of a dead object) instead of abort() in debug builds. */
HAPAX_API void hapax_testing_set_misuse(void (*hook)(const char *message, void *ctx), void *ctx);

HAPAX_END_DECLS

#endif
