/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/async.h - loads that do not block: asynchronous gets, loads completed by a token, refreshes, and completions for
 * an event loop.
 *
 * Section: outside, for every call here.
 */
#ifndef HAPAX_ASYNC_H
#define HAPAX_ASYNC_H

#include <hapax/cache.h>

HAPAX_BEGIN_DECLS

/*
 * Called once with what a get would have returned: with status 0 `object` is owned by the callee; with HAPAX_ELOADER `error`
 * is the callee's copy, to be dropped (hapax_load_error_drop), else it is empty. Runs on the thread that completed the load or
 * closed the cache, or on the caller's before hapax_cache_get_async() returns; outside locks and read sections; may call
 * anything, also destroy the cache. It must return.
 */
typedef void (*hapax_done_fn)(int status, void *object, hapax_load_error *error, void *ctx);

/*
 * A get that never waits. Present: done() runs at once. Absent: joins the load in flight or starts one: with the cache's `start`, or
 * else its loader, in the executor (hapax_cache_options; without one where refreshes run), or on the thread of a get of the key
 * that may wait for ever, if that comes before the executor does. Returns 0: done() has been or will
 * be called once, at the latest when the cache is closed. Otherwise it is never called:
 * HAPAX_ENULL, HAPAX_EOPTSIZE, HAPAX_EFLAGS, HAPAX_EOPTION, key errors, HAPAX_ECLOSED, HAPAX_ENOLOADER, HAPAX_ENOMEM,
 * HAPAX_EGARBAGE, HAPAX_ETHREAD. `options` (may be NULL): load, make, arg; no deadline, refuse or error.
 * Statistics count it as any get: a joiner is a miss and a wait. The key may be reused after the call; a borrowed one has to stay
 * until done() is called, even if it was not stored. When the thread that loads vanishes, the load begins anew.
 * An exclusive cache answers HAPAX_EBUSY also for an instance that is dying: that would have to be waited for.
 * In a forked child what was under way is told HAPAX_EABANDONED, by hapax_after_fork_child().
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_async(hapax_cache *cache, hapax_key key, const hapax_get_options *options,
						     hapax_done_fn done, void *ctx);

/*
 * Tokens. A cache with `start` (hapax_start_fn) loads by tokens: start() gets one, begins the work, and returns. The token
 * is completed once, by any thread, at any time (also before start() returns), and must be dropped; dropping it without having
 * completed it is a failed load (HAPAX_EABANDONED to all who wait). A waiting get that started the load waits like any other.
 * When start() returns other than 0 the token is not its any more and the load has failed with that error record. When it does
 * not return (pthread_exit, cancellation) the load is abandoned; the token stays whose it is.
 * hapax does not see what a token's completion waits for: cycles through tokens are not refused.
 *
 * The cache may be closed and destroyed meanwhile: hapax_cache_destroy() waits for completions that are running, not for
 * those to come. A token stays good as long as it is not dropped, also without its cache and environment; what it is
 * completed with after the close is given back, once, and *status says HAPAX_ECLOSED. In a forked child the parent's loads
 * are abandoned, and their tokens answer HAPAX_ETOKEN; they are dropped there as well.
 */

/* Completes with an object: consumes one reference in any case. 0, or HAPAX_ETOKEN (completed before), HAPAX_ENULL. What the
 * waiters get may be an error all the same (HAPAX_ETYPE, HAPAX_ECLOSED, HAPAX_ENOMEM, ...): *status (may be NULL) is what they
 * got; it is left alone on an error. Waiters are told before it returns, on this thread; any of them may drop the token. */
HAPAX_API int hapax_load_complete(hapax_load *load, void *object, int *status);
/* Completes without: HAPAX_LOAD_NOVALUE, or HAPAX_LOAD_FAIL with `error` (consumed in any case; may be NULL). 0, HAPAX_ETOKEN,
 * HAPAX_ENULL, HAPAX_EOPTION (another result). */
HAPAX_API int hapax_load_fail(hapax_load *load, int result, hapax_load_error *error);
/* Gives the token back; completes it if nobody has. NULL is a no-op. */
HAPAX_API void hapax_load_drop(hapax_load *load);

/*
 * Starts one reload of the key, unless one is running: the present object stays until the new one is accepted. Absent: loads
 * it. Runs where refreshes run (hapax_cache_options). put, remove, clear and compute meanwhile discard its result.
 * Returns 0 (started), HAPAX_INFLIGHT (one is running), or an error: HAPAX_ENULL, key errors, HAPAX_ECLOSED, HAPAX_ENOLOADER,
 * HAPAX_ENOMEM, HAPAX_ETHREAD, HAPAX_EDEADLK (from inside a compute of the key), HAPAX_ELOADER (during the back-off after a
 * failure), HAPAX_EBUSY (exclusive caches: an instance is there).
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_refresh(hapax_cache *cache, hapax_key key);

/* ---- completions for an event loop ------------------------------------------------------------------------------ */

/* Filled in when its get is done; the application's memory, which stays valid from hapax_cache_get_queued() until it was
 * taken. It owns `object` and `error` as in hapax_done_fn. */
typedef struct hapax_completion hapax_completion;
struct hapax_completion {
	hapax_completion *next; /* private to hapax */
	struct hapax_completions *queue; /* private to hapax */
	int status;
	void *object;
	hapax_load_error error;
	void *user; /* the application's */
};
typedef struct hapax_completions hapax_completions;

/* A queue with a file descriptor (eventfd) that is readable while it is not empty. It serves any number of caches. A forked
 * child has its own copy, and a descriptor of its own behind the same number. Fails: HAPAX_ENULL, HAPAX_ENOMEM, HAPAX_ETHREAD
 * (no descriptor). */
HAPAX_API HAPAX_MUST_CHECK int hapax_completions_create(hapax_completions **out, hapax_env *env);
/* What has not been taken is given back; gets still under way are given back when they are done, and their completions are
 * not touched any more. NULL is a no-op. */
HAPAX_API void hapax_completions_destroy(hapax_completions *queue);
/* For poll, epoll: belongs to the queue, not to be read or closed. */
HAPAX_API int hapax_completions_fd(const hapax_completions *queue);
/* The oldest completion, or NULL. Any thread; never blocks. */
HAPAX_API hapax_completion *hapax_completions_take(hapax_completions *queue);
/* hapax_cache_get_async() into the queue. On an error the completion is not queued. Fails: as hapax_cache_get_async(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get_queued(hapax_cache *cache, hapax_key key, const hapax_get_options *options,
						      hapax_completions *queue, hapax_completion *completion);

HAPAX_END_DECLS

#endif
