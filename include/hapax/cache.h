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
#include <hapax/policy.h>
#include <hapax/status.h>
#include <hapax/table.h>

HAPAX_BEGIN_DECLS

typedef struct hapax_cache hapax_cache;
typedef struct hapax_load hapax_load; /* hapax/async.h */
typedef struct hapax_bulk hapax_bulk; /* hapax/compute.h */

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

/* Begins a load and returns; hapax/async.h says how it ends. 0: begun, `load` is the loader's. Else: it failed. */
typedef int (*hapax_start_fn)(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error);
/* Loads several keys at once; hapax/compute.h. */
typedef int (*hapax_load_many_fn)(const hapax_key *keys, size_t n, void **objects, hapax_bulk *bulk, void *arg,
				  hapax_load_error *error);

/* ---- what the cache itself holds, and for how long a value is valid ------------------------------------------------ */

/*
 * Two things that are easily confused. RETENTION is how long the cache itself holds an object: by number, weight, age or
 * idle time. What it lets go of (demotes) stays findable as long as anybody uses it, and dies with its last user.
 * VALIDITY (ttl) is how long a value may be handed out at all. Past it a get loads a new instance, whoever still holds
 * the old one. A cache without bound and without retain option holds nothing: entries live as long as their users.
 *
 * Bounds count the objects that the cache holds. They are kept by the calls that add: each of them leaves what it added
 * within the bound, unless another thread is at that very work. Then that one sees to it; until it has, the excess is at most
 * 7 objects and one for each thread that is adding (and 256 whatever happens: what comes beyond is not held until its
 * next get). After hapax_cache_maintain() with no other call in progress there is none.
 *
 * An option of 0 is unset; HAPAX_ZERO is an explicit zero; other negative values are refused.
 */
#define HAPAX_ZERO INT64_MIN

/* Why an entry left, or a value was not installed. */
typedef enum hapax_cause {
	HAPAX_CAUSE_EXPLICIT = 0,  /* remove, pop, clear, compute, a refresh that found no value */
	HAPAX_CAUSE_REPLACED = 1,  /* put and its kin, a refresh, a refusal */
	HAPAX_CAUSE_COLLECTED = 2, /* the object died: its last user let go, and the cache did not hold it */
	HAPAX_CAUSE_EXPIRED = 3,   /* its validity ended */
	HAPAX_CAUSE_SIZE = 4,      /* a bound demoted it, and then nobody used it; or it was too heavy to be held */
	HAPAX_CAUSE_CLOSED = 5     /* present when the cache was destroyed */
} hapax_cause;

/* COLLECTED, EXPIRED and SIZE are evictions. */
static inline bool hapax_cause_is_eviction(hapax_cause cause)
{
	return cause >= HAPAX_CAUSE_COLLECTED && cause <= HAPAX_CAUSE_SIZE;
}

typedef struct hapax_removal {
	size_t size;       /* sizeof(hapax_removal), set by hapax */
	hapax_key key;     /* valid during the call */
	void *object;      /* alive during the call, borrowed: retain it to keep it. NULL with COLLECTED, and for a negative
			      result. With SIZE, and with EXPIRED when that came to light with its death, its death has
			      begun: it may be read, not retained */
	hapax_cause cause;
	uint64_t weight;
} hapax_removal;

/*
 * Told once of every value that leaves, or was produced and never installed. Runs on the thread that caused it, outside
 * locks and read sections, after the entry reads absent; may call anything. The first thing that was true is the cause:
 * dead, then expired, then what the caller did. What it returns is counted when it is not 0, nothing else.
 * Deaths run it on the releasing thread, also for types whose destructors are deferred. It is not told of deaths that
 * happen after hapax_cache_destroy() returned.
 */
typedef int (*hapax_removal_fn)(const hapax_removal *removal, void *ctx);

/* The weight of a value, asked when it is installed (again if another call came in between), outside locks. 0: it weighs
 * nothing and is never let go of for size. Weights from 2^62 on, or a return value other than 0, refuse the value:
 * HAPAX_EWEIGHT, HAPAX_ECALLBACK. */
typedef int (*hapax_weigh_fn)(const hapax_key *key, void *object, uint64_t *weight, void *ctx);

typedef enum hapax_expire_event { HAPAX_EXPIRE_CREATE = 0, HAPAX_EXPIRE_UPDATE = 1, HAPAX_EXPIRE_READ = 2 } hapax_expire_event;
/*
 * How long a value is valid from now: *ttl_ns holds what is left of it (READ, UPDATE) or would be given by the cache's ttl
 * (HAPAX_FOREVER: no end) and may be changed; 0: expired at once. Asked once when an entry is created, updated or hit by
 * a get, outside locks. A return value other than 0 fails the call with HAPAX_ECALLBACK and changes nothing.
 */
typedef int (*hapax_expire_fn)(hapax_expire_event event, const hapax_key *key, void *object, uint64_t *ttl_ns, void *ctx);

/* Where work that a call started runs after the call has returned. `run` arranges that task(arg) is called once, on
 * another thread or later, and returns 0; or refuses with another value, and hapax does without (a refresh is not
 * started, an asynchronous get fails with HAPAX_ETHREAD). It may call task(arg) at once. */
typedef struct hapax_executor {
	int (*run)(void (*task)(void *arg), void *arg, void *ctx);
	void *ctx;
} hapax_executor;

enum {
	/* A new instance is not created before the destructor of the old one has returned (G9). While the old one is still
	 * held after a removal, get and put wait up to their deadline and then fail with HAPAX_EBUSY. */
	HAPAX_CACHE_EXCLUSIVE = 1u << 0,
	HAPAX_CACHE_NO_STATS = 1u << 1, /* keep no statistics; they read as zero */
	HAPAX_CACHE_NO_PROMOTION = 1u << 2 /* the last release kills, however hot an object is (hapax/object.h) */
};

typedef struct hapax_cache_options {
	size_t size; /* sizeof(hapax_cache_options) */
	unsigned flags;
	hapax_env *env;          /* NULL: the default one */
	const hapax_type *type;  /* required with `load`; else NULL allows every type */
	hapax_load_fn load;      /* at most one of load, make and start; none: only get_with and put create */
	hapax_make_fn make;
	void *arg;               /* passed to load, make, start and load_many */
	hapax_key_ops keys;
	size_t capacity;         /* entries expected: a hint */
	const char *name;        /* for reports; copied up to 31 bytes; NULL: "cache" */
	/* Called by hapax_cache_destroy() for each object still alive. `inherited`: it was alive when this process forked. */
	void (*leak)(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx);
	void *leak_ctx;

	/* Retention */
	int64_t max_entries;     /* at most so many objects are held; not with max_weight. HAPAX_ZERO: none */
	int64_t max_weight;      /* at most so much weight is held. HAPAX_ZERO: none */
	hapax_weigh_fn weigh;    /* needs max_weight; NULL: the bytes of the object's memory */
	void *weigh_ctx;
	const hapax_policy *policy; /* needs a bound; NULL: hapax_policy_adaptive() */
	int64_t retain_age_ns;   /* held for so long after it was installed (bounds permitting) */
	int64_t retain_idle_ns;  /* held for so long after its last get or put; both: the earlier. HAPAX_ZERO: not at all */

	/* Validity */
	int64_t ttl_ns;          /* after it was written; HAPAX_ZERO: expired at once */
	double ttl_jitter;       /* 0 to 1: each ttl is drawn from [ttl * (1 - jitter), ttl], from the environment's seed */
	hapax_expire_fn expire;  /* each entry's own */
	void *expire_ctx;
	int64_t negative_ttl_ns; /* NOVALUE is remembered for so long and answered with HAPAX_NEGATIVE. Such an entry counts as
				    one object, of weight 1, and not in hapax_cache_size() */
	/* Freshness. Not together with HAPAX_CACHE_EXCLUSIVE, nor with borrowed keys that have a `release`. A get that finds a
	 * value older than refresh_ns returns it and starts one reload of it; an accepted reload replaces it. Reloads run in
	 * `executor`; without one in a thread of the library's, started when it is first needed, or in
	 * hapax_cache_maintain() if the environment has HAPAX_ENV_NO_THREAD. A reload is discarded when the key was
	 * written or removed since it began, or the old value has expired; no value removes the entry. */
	int64_t refresh_ns;
	double early_refresh;    /* above 0: reload before the ttl ends with a probability that grows with the time its load took
				    times this factor (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede
				    Prevention, VLDB 2015); 1 is their optimum. Needs ttl_ns */
	int64_t stale_ns;        /* for so long after the ttl's end a get still returns the old value, and reloads */
	int64_t stale_error_ns;  /* for so long after the ttl's end a get whose reload fails returns the old value */
	int64_t backoff_ns;      /* after a failed load, for so long: no other load of the key (HAPAX_ELOADER again, or the stale
				    value); doubled with every failure in a row up to backoff_max_ns (0: 64 times). Of the
				    keys that failed the last 1024 are known; one for which there is no memory is not */
	int64_t backoff_max_ns;

	hapax_removal_fn on_removal;
	void *on_removal_ctx;
	hapax_executor executor; /* run NULL: see refresh_ns */
	hapax_start_fn start;
	hapax_load_many_fn load_many;
	/* Called once with `arg` when the cache has been destroyed and no call on it is in progress, on the thread that ends it,
	 * outside locks; not when hapax_cache_create() fails. May be NULL */
	void (*arg_free)(void *arg);
} hapax_cache_options;

#define HAPAX_CACHE_OPTIONS_INIT .size = sizeof(hapax_cache_options)

/* Returns 0 and a cache that the caller owns. `options` may have the size of an older version of this header.
 * Fails: HAPAX_ENULL, HAPAX_EOPTSIZE, HAPAX_EFLAGS, HAPAX_EOPTION (a value, or a contradiction), what the policy's create() answers,
 * HAPAX_ETYPE, HAPAX_EALIGN, HAPAX_ENOTWEAK (the type does not support weak references), HAPAX_ENOMEM. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_create(hapax_cache **out, const hapax_cache_options *options);

/* Refuses new gets and puts with HAPAX_ECLOSED and releases all waiters with it; a loader that is running finishes and
 * its result is disposed of once. Live objects stay valid. May be called twice. Cannot fail, does not wait. */
HAPAX_API void hapax_cache_close(hapax_cache *cache);

/*
 * Closes, waits until no call on the cache is in progress (nor, in a cache that tells of removals or holds objects, the death of
 * something that a put found dying), reports objects still alive, frees. Called from user code of
 * this very cache it returns at once and completes when that code has returned. NULL is a no-op. Objects stay valid and
 * die normally later. Calling anything on the cache after destroy has *returned* is the caller's error.
 */
HAPAX_API void hapax_cache_destroy(hapax_cache *cache);

/* The object of `key`, loaded if absent: 0 and an owned reference. Waits for somebody else's load as long as it takes.
 * Fails: HAPAX_ENULL, key errors, HAPAX_NOVALUE, HAPAX_ELOADER, HAPAX_EDEADLK, HAPAX_EABANDONED, HAPAX_ECLOSED,
 * HAPAX_EBUSY (exclusive), HAPAX_ENOLOADER, HAPAX_ENOMEM, HAPAX_EGARBAGE, HAPAX_ETYPE (a made object's type),
 * HAPAX_NEGATIVE (it is remembered that there is no value), HAPAX_EWEIGHT, HAPAX_ECALLBACK.
 * A failed load's code is repeated to those who ask during its back-off.
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

/* hapax_cache_get with a deadline, a loader of its own, the load error, a refusal. `options` NULL: all defaults.
 * Fails: as hapax_cache_get(); HAPAX_EOPTSIZE, HAPAX_EFLAGS, HAPAX_EOPTION (both loaders), HAPAX_ETIMEDOUT, HAPAX_INFLIGHT. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_with(hapax_cache *cache, hapax_key key, const hapax_get_options *options,
						    void **out);

/* What is present: 0 and an owned reference, or HAPAX_MISS; never loads, never waits. Counts a hit or a miss.
 * Fails: HAPAX_ENULL, key errors, HAPAX_ECLOSED, HAPAX_NEGATIVE, HAPAX_ECALLBACK. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_if_present(hapax_cache *cache, hapax_key key, void **out);
/* The same, and nobody is told: no statistics are counted, neither bounds nor idle time see it. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_quietly(hapax_cache *cache, hapax_key key, void **out);
/*
 * Borrows the object under `key`: no reference is taken, and nothing shared is written. 0: a borrow has begun; *object can be
 * read until its hapax_borrow_end(), even if it dies meanwhile, which the borrower does not see. Each borrow that began
 * is ended, on its thread; they nest. A borrow is a read section: memory is freed after it, so it should be short, and nothing
 * in it may wait for a grace period (creating objects may fail with HAPAX_EGARBAGE). Never loads, never waits.
 * Counts a hit when there is one; a policy that has to hear of each hit (exact LRU) does not hear of borrows.
 * Owns: the borrower, nothing. Thread: any. Section: either. Blocks: no. Order: as hapax_cache_get().
 * Fails: HAPAX_MISS (not there, or a get would have to do more than to find it), HAPAX_ENULL, HAPAX_EKEY, HAPAX_ECALLBACK (its
 * hash), HAPAX_ECLOSED, HAPAX_ETYPE (not a type with HAPAX_TYPE_BORROW). No borrow has begun then, and *object is NULL.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_borrow(hapax_cache *cache, hapax_key key, const void **object);
/* Puts `object` (held by the caller) under `key`, replacing what was there; loads of the key that are in flight are not installed.
 * Fails: as hapax_table_put(); HAPAX_ETYPE (an object of another type), HAPAX_ECLOSED, HAPAX_EBUSY (exclusive: the old instance is
 * still held), HAPAX_EWEIGHT, HAPAX_ECALLBACK. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_put(hapax_cache *cache, hapax_key key, void *object);

typedef struct hapax_put_options {
	size_t size;    /* sizeof(hapax_put_options) */
	unsigned flags; /* none yet: 0 */
	/* Of this entry; 0: the cache's; HAPAX_ZERO: expired at once; INT64_MAX: no end. Others: HAPAX_EOPTION */
	int64_t ttl_ns;
	int64_t weight; /* of this entry; 0: the weigher's; HAPAX_ZERO: none. Needs max_weight: else HAPAX_EOPTION */
} hapax_put_options;
#define HAPAX_PUT_OPTIONS_INIT .size = sizeof(hapax_put_options)

/* hapax_cache_put() with values of the entry's own. The cache's `expire` callback is not asked when ttl_ns is given. `options` NULL:
 * all defaults. Fails: as hapax_cache_put(); HAPAX_EOPTSIZE, HAPAX_EFLAGS, HAPAX_EOPTION. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_put_with(hapax_cache *cache, hapax_key key, void *object,
						    const hapax_put_options *options);
/* The object that is present under `key`, or else `object`, put there now: 0 and an owned reference in *out in both cases;
 * *inserted (may be NULL) says which. What is present is used by it, as by a get: for bounds and idle time. It is no hit, and
 * reloads nothing. Fails: as hapax_cache_put(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_or_put(hapax_cache *cache, hapax_key key, void *object, void **out,
						      bool *inserted);
/* Removes what is under `key`, and fences the loads of it that are in flight: 0 if something live was there, else HAPAX_MISS.
 * Works in a closed cache, too. Needs no memory. Fails: HAPAX_ENULL, key errors. */
HAPAX_API int hapax_cache_remove(hapax_cache *cache, hapax_key key);
/* The same if it is exactly `object`; else HAPAX_MISS, and no load is fenced. Fails: as hapax_cache_remove(). */
HAPAX_API int hapax_cache_remove_if(hapax_cache *cache, hapax_key key, const void *object);
/* Removes, and gives an owned reference to what was there: 0, or HAPAX_MISS. Fails: as hapax_cache_remove(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_pop(hapax_cache *cache, hapax_key key, void **out);
/* 1 present, 0 absent, or an error as of hapax_cache_remove(). Takes no reference, counts nothing. */
HAPAX_API int hapax_cache_contains(hapax_cache *cache, hapax_key key);
/* Entries with an object; an estimate while calls are running, exact at rest. */
HAPAX_API size_t hapax_cache_size(hapax_cache *cache);
/* Removes everything installed before the call, and fences all loads in flight. Objects are not touched. Cannot fail, needs no
 * memory. */
HAPAX_API void hapax_cache_clear(hapax_cache *cache);
/* Begins an iteration over what is present; hapax_iter_next() goes on with it, hapax_iter_close() ends it. Counts and touches
 * nothing. Fails: HAPAX_ENULL, HAPAX_ECLOSED, HAPAX_ENOMEM. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_iterate(hapax_cache *cache, hapax_iter **out);

/* ---- time and bounds of present entries -------------------------------------------------------------------------- */

/* Writes the entry anew: its ttl and its time in the cache begin again. 0, HAPAX_MISS (absent or expired: nothing revives
 * it), key errors, HAPAX_ECLOSED, HAPAX_ECALLBACK (the expire callback, asked with UPDATE), HAPAX_ENOMEM. */
HAPAX_API int hapax_cache_touch(hapax_cache *cache, hapax_key key);
/* The entry is valid for `ttl_ns` from now (HAPAX_ZERO: it expires now; INT64_MAX: no end). 0, HAPAX_MISS, key errors,
 * HAPAX_ECLOSED; HAPAX_EOPTION for 0, for other negative values, and in a cache without any option of retention time or
 * validity, whose hits read no clock (a ttl_ns of INT64_MAX gives entries no end and makes this possible). */
HAPAX_API int hapax_cache_set_ttl(hapax_cache *cache, hapax_key key, int64_t ttl_ns);
/* When its validity ends, HAPAX_FOREVER for never: 0 or HAPAX_MISS. Counts nothing, touches nothing. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_deadline(hapax_cache *cache, hapax_key key, uint64_t *deadline);

/* Changes the bound (of entries or weight, as the cache was created; HAPAX_EOPTION if it has none, or for 0 and negative
 * values but HAPAX_ZERO). A smaller one is reached before the call returns, in the policy's order. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_set_bound(hapax_cache *cache, int64_t bound);

/*
 * Housekeeping: what has expired goes, what has been retained long enough is let go of, the bound is kept, reloads that
 * wait for it are run. Every call does a bounded amount (256 entries) and returns true if there is more to do. Ordinary
 * calls that miss or write do a little of it (16 entries), so calling it is needed only to have notifications
 * and memory in time. One thread does it at a time; another one's call, or one from inside a listener, returns false at
 * once. Never waits, needs no memory, cannot fail.
 */
HAPAX_API bool hapax_cache_maintain(hapax_cache *cache);
/* When maintain() is next needed, on the environment's clock: HAPAX_FOREVER: not for anything that is there now. Never later than
 * 1/64 of the remaining time, or one millisecond, after the earliest due entry; earlier is possible. Never blocks. */
HAPAX_API uint64_t hapax_cache_next_deadline(hapax_cache *cache);

/* ---- statistics -------------------------------------------------------------------------------------------------- */

/* Counters since creation; exact at rest. gets = hits + misses; a joiner counts as a miss and a wait, not as a load. */
typedef struct hapax_cache_stats {
	size_t size; /* sizeof(hapax_cache_stats), or an older version's, set by the caller */
	uint64_t hits, misses, waits;
	uint64_t loads;           /* loader invocations */
	uint64_t load_successes;
	uint64_t load_failures;   /* FAIL, NOVALUE and abandoned loads */
	uint64_t load_novalues, load_abandoned;
	uint64_t load_ns;         /* time in loaders, by the environment's clock; by the system's coarse one if it has none, and
				   * then that of many short loads is estimated from some of them */
	uint64_t superseded;      /* loaded but fenced: never installed */
	uint64_t puts;            /* put or get_or_put that installed */
	uint64_t removals;        /* by remove, pop, clear */
	uint64_t replacements;    /* by put, refresh, compute, a refusal */
	uint64_t collections;     /* entries whose object died, whoever let go of it last */
	uint64_t size_now;
	/* since 0.2 */
	uint64_t retained;        /* now held by the cache itself; remembered absences too */
	uint64_t retained_weight;
	uint64_t demotions;       /* let go of, by a bound, age or idle time */
	uint64_t readmissions;    /* demoted objects that a get brought back */
	uint64_t demoted_hits;    /* gets of objects that the cache did not hold: without the weak tier each would have been a second instance */
	uint64_t failed_upgrades; /* an entry was found and its object had died */
	uint64_t evictions;       /* entries that left with COLLECTED, EXPIRED or SIZE */
	uint64_t eviction_weight;
	uint64_t expirations;     /* of them EXPIRED */
	uint64_t size_evictions;  /* of them SIZE */
	uint64_t negative_hits;   /* gets answered with HAPAX_NEGATIVE; they count as hits too */
	uint64_t stale_hits;      /* gets answered with a value past its ttl */
	uint64_t refreshes;       /* reloads of a present value that were started; they are loads too */
	uint64_t refresh_failures;
	uint64_t notifications;   /* calls of on_removal */
	uint64_t listener_errors; /* of which returned other than 0 */
	uint64_t garbage_bytes;   /* of the environment: retired, not yet freed */
} hapax_cache_stats;

/* Fills `stats`. Fails: HAPAX_ENULL, HAPAX_EOPTSIZE. */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_stats_get(hapax_cache *cache, hapax_cache_stats *stats);
/* `now` less `before`, field by field, none below zero (what is a state, not a count, is `now`'s). NULL-safe, never blocks. */
HAPAX_API void hapax_cache_stats_since(hapax_cache_stats *now, const hapax_cache_stats *before);

HAPAX_END_DECLS

#endif
