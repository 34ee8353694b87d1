/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/cache.h - the facade most users need: one key, one object, loaded once, shared while anybody uses it.
 *
 * While an object is alive every get of its key returns that same pointer. Threads that miss on one key at once cause
 * one load and share its outcome. put, remove and clear fence the loads in flight: their callers still get what was
 * loaded, but it is not installed, and a get that starts afterwards loads anew.
 *
 * Section, for every call here: outside. Loaders run on the calling thread without locks or read sections and may call
 * anything; asking for the very key they load, directly or through other threads and caches, is refused at once with
 * HAPAX_EDEADLK. A loader that vanishes (pthread_exit, cancellation, a C++ exception) hands its flight to one of the
 * waiters; leaving it with longjmp is forbidden.
 */
#ifndef HAPAX_CACHE_H
#define HAPAX_CACHE_H

#include <hapax/base.h>
#include <hapax/env.h>
#include <hapax/object.h>
#include <hapax/status.h>
#include <hapax/table.h>

HAPAX_BEGIN_DECLS

typedef struct hapax_cache hapax_cache;

/* What a loader answers. */
typedef enum hapax_load_result {
	HAPAX_LOAD_OK = 0,      /* the object is ready */
	HAPAX_LOAD_NOVALUE = 1, /* there is no value for this key: HAPAX_NOVALUE to everybody, nothing stored */
	HAPAX_LOAD_FAIL = 2     /* it failed: HAPAX_ELOADER and the load error to everybody, nothing stored */
} hapax_load_result;

/*
 * What a failed loader says. `code` is the loader's own, any value, passed unaltered. `detail` belongs to the record;
 * `drop` (may be NULL) is called with it once, after the last of the flight's callers has dropped its copy.
 * A caller that asked for the error owns its copy: hapax_load_error_drop().
 */
typedef struct hapax_load_error {
	int code;
	void *detail;
	void (*drop)(void *detail);
	void *shared; /* private to hapax; loaders leave it alone */
} hapax_load_error;

/* Gives a copy back and clears it; NULL and an empty record are no-ops. Any thread; never blocks. */
HAPAX_API void hapax_load_error_drop(hapax_load_error *error);

/* Loads in place: `object` is zeroed payload of the cache's type. After NOVALUE or FAIL its destructor does not run. */
typedef int (*hapax_load_fn)(void *object, const hapax_key *key, void *arg, hapax_load_error *error);
/* Makes or finds an object of this environment and returns one reference to it, which the cache consumes. */
typedef int (*hapax_make_fn)(void **object, const hapax_key *key, void *arg, hapax_load_error *error);

enum {
	/* A new instance is not created before the destructor of the old one has returned (G9). While the old one is still
	 * held after a removal, get and put wait up to their deadline and then fail with HAPAX_EBUSY. */
	HAPAX_CACHE_EXCLUSIVE = 1u << 0,
	HAPAX_CACHE_NO_STATS = 1u << 1 /* keep no statistics; they read as zero */
};

typedef struct hapax_cache_options {
	size_t size; /* sizeof(hapax_cache_options) */
	unsigned flags;
	hapax_env *env;          /* NULL: the default one */
	const hapax_type *type;  /* required with `load`; else NULL allows every type */
	hapax_load_fn load;      /* at most one of load and make; neither: only get_with and put create */
	hapax_make_fn make;
	void *arg;               /* passed to load and make */
	hapax_key_ops keys;
	size_t capacity;         /* entries expected: a hint */
	const char *name;        /* for reports; copied up to 31 bytes; NULL: "cache" */
	/* Called by hapax_cache_destroy() for each object still alive. `inherited`: it was alive when this process forked. */
	void (*leak)(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx);
	void *leak_ctx;
} hapax_cache_options;

#define HAPAX_CACHE_OPTIONS_INIT .size = sizeof(hapax_cache_options)

/* Returns 0 and a cache that the caller owns. Fails: HAPAX_ENULL, HAPAX_EOPTSIZE, HAPAX_EFLAGS, HAPAX_EOPTION,
 * HAPAX_ETYPE, HAPAX_EALIGN, HAPAX_ENOTWEAK (the type does not support weak references), HAPAX_ENOMEM. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_create(hapax_cache **out, const hapax_cache_options *options);

/* Refuses new gets and puts with HAPAX_ECLOSED and releases all waiters with it; a loader that is running finishes and
 * its result is disposed of once. Live objects stay valid. May be called twice. Cannot fail, does not wait. */
HAPAX_API void hapax_cache_close(hapax_cache *cache);

/*
 * Closes, waits until no call on the cache is in progress, reports objects still alive, frees. Called from user code of
 * this very cache it returns at once and completes when that code has returned. NULL is a no-op. Objects stay valid and
 * die normally later. Calling anything on the cache after destroy has *returned* is the caller's error.
 */
HAPAX_API void hapax_cache_destroy(hapax_cache *cache);

/* The object of `key`, loaded if absent: 0 and an owned reference. Waits for somebody else's load as long as it takes.
 * Fails: HAPAX_ENULL, key errors, HAPAX_NOVALUE, HAPAX_ELOADER, HAPAX_EDEADLK, HAPAX_EABANDONED, HAPAX_ECLOSED,
 * HAPAX_EBUSY (exclusive), HAPAX_ENOLOADER, HAPAX_ENOMEM, HAPAX_EGARBAGE, HAPAX_ETYPE (a made object's type).
 * An exclusive cache waits for a dying instance; for one still held it does not: HAPAX_EBUSY. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get(hapax_cache *cache, hapax_key key, void **out);

typedef struct hapax_get_options {
	size_t size;             /* sizeof(hapax_get_options) */
	unsigned flags;          /* none yet: 0 */
	uint64_t deadline;       /* absolute; HAPAX_NO_WAIT (0): try; HAPAX_FOREVER. Bounds waiting for others, not the
				    caller's own loader. Past it: HAPAX_ETIMEDOUT; a try that would wait: HAPAX_INFLIGHT */
	hapax_load_fn load;      /* a loader for this call; neither: the cache's own */
	hapax_make_fn make;
	void *arg;
	hapax_load_error *error; /* gets a copy of the load error with HAPAX_ELOADER; may be NULL */
	/* Says of a present object that it will not do: it is taken out and replaced by one load, shared by all who
	 * refuse it. When that load fails the key stays absent; the object stays valid for its holders. NULL: all do */
	bool (*refuse)(void *object, void *arg);
	void *refuse_arg;
} hapax_get_options;

#define HAPAX_GET_OPTIONS_INIT .size = sizeof(hapax_get_options)

/* hapax_cache_get with a deadline, a loader of its own, the load error, a refusal. `options` NULL: as hapax_cache_get. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_with(hapax_cache *cache, hapax_key key, const hapax_get_options *options,
						    void **out);

/* Present or not: 0 and an owned reference, or HAPAX_MISS; never loads, never waits. _if_present counts a hit or miss. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_if_present(hapax_cache *cache, hapax_key key, void **out);
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_quietly(hapax_cache *cache, hapax_key key, void **out);
/* As their hapax_table_ namesakes; put fences loads of the key. HAPAX_ETYPE for an object of another type. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_put(hapax_cache *cache, hapax_key key, void *object);
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_or_put(hapax_cache *cache, hapax_key key, void *object, void **out,
						      bool *inserted);
HAPAX_API int hapax_cache_remove(hapax_cache *cache, hapax_key key);
HAPAX_API int hapax_cache_remove_if(hapax_cache *cache, hapax_key key, const void *object);
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_pop(hapax_cache *cache, hapax_key key, void **out);
HAPAX_API int hapax_cache_contains(hapax_cache *cache, hapax_key key);
HAPAX_API size_t hapax_cache_size(hapax_cache *cache);
HAPAX_API void hapax_cache_clear(hapax_cache *cache);
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_iterate(hapax_cache *cache, hapax_iter **out);

/* Counters since creation; exact at rest. gets = hits + misses; a joiner counts as a miss and a wait, not as a load. */
typedef struct hapax_cache_stats {
	size_t size; /* sizeof(hapax_cache_stats), set by the caller */
	uint64_t hits, misses, waits;
	uint64_t loads;           /* loader invocations */
	uint64_t load_successes;
	uint64_t load_failures;   /* FAIL, NOVALUE and abandoned loads */
	uint64_t load_novalues, load_abandoned;
	uint64_t load_ns;         /* time in loaders, by the environment's clock; by the system's coarse one if it has none */
	uint64_t superseded;      /* loaded but fenced: never installed */
	uint64_t puts;            /* put or get_or_put that installed */
	uint64_t removals;        /* by remove, pop, clear */
	uint64_t replacements;    /* by put */
	uint64_t collections;     /* entries whose object died */
	uint64_t size_now;
} hapax_cache_stats;

/* Fills `stats`. Fails: HAPAX_ENULL, HAPAX_EOPTSIZE. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_stats_get(hapax_cache *cache, hapax_cache_stats *stats);

HAPAX_END_DECLS

#endif
