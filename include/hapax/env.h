/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/env.h - environments: where memory, time, randomness and messages come from, and how reclamation runs.
 *
 * Everything hapax makes belongs to one environment. Where a call or an option takes one, NULL means the default
 * environment of the process: malloc, CLOCK_MONOTONIC, random seeds, warnings to standard error, the reclaimer thread.
 * An environment may be destroyed in any order with its objects, tables and caches: what is left of it goes when the
 * last of them has gone.
 */
#ifndef HAPAX_ENV_H
#define HAPAX_ENV_H

#include <hapax/base.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

typedef struct hapax_env hapax_env;

/*
 * An allocator. `alloc` returns `size` bytes aligned to `align` (a power of two, at least 16), or NULL; the bytes need
 * not be zeroed. `free` gets the very size and alignment that were asked for. Called from any thread, at any time
 * outside hapax's locks, never inside a read section. Two exceptions: page refills of the object pool hold that pool's
 * lock, and what an eviction policy or the buffers of its hits take (hapax/policy.h: resize()) is taken under the cache's
 * housekeeping lock; must be thread-safe, must not call hapax.
 */
typedef struct hapax_allocator {
	void *(*alloc)(size_t size, size_t align, void *ctx);
	void (*free)(void *block, size_t size, size_t align, void *ctx);
	void *ctx;
} hapax_allocator;

/* Monotonic nanoseconds. Called from any thread, also inside read sections and under the housekeeping lock of a cache with
 * time options; must be thread-safe, must not block, must not call hapax. */
typedef struct hapax_clock {
	uint64_t (*now)(void *ctx);
	void *ctx;
} hapax_clock;

typedef enum hapax_log_level { HAPAX_LOG_INFO = 0, HAPAX_LOG_WARNING = 1, HAPAX_LOG_ERROR = 2 } hapax_log_level;

/* Messages for people: leak reports, stalled readers, misuse. Called outside locks and read sections, on any thread. */
typedef struct hapax_log {
	void (*write)(hapax_log_level level, const char *message, void *ctx);
	void *ctx;
} hapax_log;

enum {
	/*
	 * Do not run the reclaimer thread for this environment: hapax_reclaim() has to be called. At the garbage bound
	 * creation then fails at once with HAPAX_EGARBAGE instead of waiting.
	 */
	HAPAX_ENV_NO_THREAD = 1u << 0
};

typedef struct hapax_env_options {
	size_t size;               /* sizeof(hapax_env_options); HAPAX_ENV_OPTIONS_INIT sets it */
	unsigned flags;            /* HAPAX_ENV_* */
	hapax_allocator allocator; /* both functions NULL: malloc */
	hapax_clock clock;         /* now NULL: CLOCK_MONOTONIC */
	hapax_log log;             /* write NULL: standard error, warnings and errors only */
	uint64_t seed;             /* of hash secrets (and later jitter); 0: random */
	size_t garbage_bound;      /* bytes retired and not yet freed at which creation waits; 0: 64 MiB */
	uint64_t stall_ns;         /* a reader older than this is reported; 0: one second */
} hapax_env_options;

#define HAPAX_ENV_OPTIONS_INIT .size = sizeof(hapax_env_options)

/*
 * Returns 0 and an environment that the caller owns (end it with hapax_env_destroy).
 * Thread: any. Section: outside. Blocks: no.
 * Fails: HAPAX_ENULL, HAPAX_EOPTSIZE, HAPAX_EFLAGS, HAPAX_EOPTION (one allocator function without the other),
 * HAPAX_ENOMEM. `options` NULL means all defaults.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_env_create(hapax_env **out, const hapax_env_options *options);

/*
 * Ends the caller's hold on `env`; NULL and the default environment are left alone. Cannot fail. Never waits for
 * objects: what is still alive keeps working, and the environment's memory goes after the last of it. Deaths that wait
 * for hapax_run_deferred() are run, on this thread; from then on objects of HAPAX_TYPE_DEFERRED die in their last release.
 * Thread: any. Section: outside. Blocks: for grace periods, unless called from user code that hapax runs.
 */
HAPAX_API void hapax_env_destroy(hapax_env *env);

/* The environment's clock. Thread: any. Blocks: no. */
HAPAX_API uint64_t hapax_env_now(hapax_env *env);

/*
 * Runs due grace periods on the calling thread and frees what they allow, for every environment (grace periods are the
 * process's) or at least `env`. Needed only without the reclaimer thread, never called implicitly.
 * Thread: any. Section: outside (inside one it returns at once). Blocks: yes, for readers that are inside sections.
 */
HAPAX_API void hapax_reclaim(hapax_env *env);

/*
 * Makes the calling thread's first-call work happen now: reader registration, thread-exit hook, its part of the object
 * pool. Optional; afterwards hits, retain, release and upgrade make no system call and no allocation.
 * Fails: HAPAX_ENOMEM, HAPAX_ETHREAD (then it is tried again at the next call, and everything still works).
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_thread_prepare(hapax_env *env);

/* Runs the queued deaths of objects of HAPAX_TYPE_DEFERRED types on this thread. Returns how many.
 * Thread: any. Section: outside. Blocks: only as the destructors and callbacks do. */
HAPAX_API size_t hapax_run_deferred(hapax_env *env);

typedef struct hapax_env_stats {
	size_t size;                  /* sizeof(hapax_env_stats), set by the caller */
	size_t garbage_bytes;         /* retired and not yet freed, now (batches still open are counted when they close) */
	size_t garbage_peak_bytes;    /* the most it ever was */
	size_t garbage_bound_bytes;   /* the bound of the options */
	uint64_t garbage_waits;       /* creations that had to wait at the bound */
	uint64_t garbage_refusals;    /* creations that failed with HAPAX_EGARBAGE */
	uint64_t grace_periods;       /* completed in this process by hapax */
	uint64_t objects_born;        /* objects created in this environment; exact at rest */
	uint64_t objects_destroyed;   /* whose death has been run to its end */
	uint64_t objects_freed;       /* whose memory has been given back */
	uint64_t stalls;              /* times a grace period took longer than stall_ns, and each further reader that kept it from ending */
	int stalled_tid;              /* thread id of the reader last seen stalling one; 0: none; -1: foreign to hapax */
	char stalled_name[16];        /* its name when it first called hapax, else "" */
} hapax_env_stats;

/* Fills `stats`. Thread: any. Blocks: no. Fails: HAPAX_ENULL, HAPAX_EOPTSIZE. */
HAPAX_API HAPAX_MUST_CHECK int hapax_env_stats_get(hapax_env *env, hapax_env_stats *stats);

enum {
	/* hapax also calls liburcu-bp's own fork handlers. Leave it out when the application (or another library in the
	 * process) calls urcu_bp_before_fork() and its companions itself: running them twice hangs. */
	HAPAX_FORK_URCU = 1u << 0
};

/*
 * Call around fork() in a multi-threaded process, from the forking thread, with the same flags: before, then after in
 * the parent or in the child. Not registered by hapax itself; pthread_atfork() takes wrappers of them.
 * In the child loads of vanished threads are abandoned, objects they held are listed as inherited, objects that were
 * dying on them are absent and not destroyed, and reclamation starts anew when it is needed.
 * A forking thread that has never called hapax calls hapax_thread_prepare() first if the application calls liburcu's
 * handlers itself. With call_rcu, whose callbacks may use hapax, call_rcu_before_fork() comes before hapax's.
 * In the child, an instance of an exclusive cache that was being destroyed by another thread blocks its key for ever.
 * Thread: the forking one. Section: outside, outside user code run by hapax. Blocks: for a grace period in progress.
 */
HAPAX_API void hapax_before_fork(unsigned flags);
HAPAX_API void hapax_after_fork_parent(unsigned flags);
HAPAX_API void hapax_after_fork_child(unsigned flags);

HAPAX_END_DECLS

#endif
