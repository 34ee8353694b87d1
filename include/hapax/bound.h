/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/bound.h - bound callbacks: a function and the object it works on, held weakly.
 *
 * What a listener list should hold instead of an object: it keeps neither its target nor its second part alive, and
 * calling it when one of them has died does nothing and says so. (Python's WeakMethod is the model; the second part
 * stands for what the function itself belongs to, say a plugin.)
 */
#ifndef HAPAX_BOUND_H
#define HAPAX_BOUND_H

#include <hapax/base.h>
#include <hapax/object.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

/*
 * hapax_weak_count() counts one registration of each part (of `target` alone if both are one) if there is a `dead`,
 * else none. hapax_weak_list() does not list it. Functions may leave their thread (pthread_exit) as any callback may.
 */
typedef struct hapax_bound hapax_bound;

typedef struct hapax_bound_options {
	size_t size; /* sizeof(hapax_bound_options) */
	/* The function. `target` and `part` (NULL if there is none) are held until it returns; `ctx` as below, `arg` the caller's. */
	int (*fn)(void *target, void *part, void *ctx, void *arg);
	void *target; /* held by the caller during the call that creates it */
	void *part;   /* may be NULL; may be `target` */
	void *ctx;
	/* Told once, when the first of the two parts dies, on the thread of that death, as a death callback; it may drop `bound`.
	 * The other part's death neither waits for it nor tells anybody. NULL: nobody is told */
	void (*dead)(hapax_bound *bound, void *ctx);
	/* Once, when the bound callback has been dropped and no call of `fn` or `dead` is in progress: in the drop, or on the thread
	 * of the last of these calls. May be NULL */
	void (*ctx_free)(void *ctx);
} hapax_bound_options;

#define HAPAX_BOUND_OPTIONS_INIT .size = sizeof(hapax_bound_options)

/*
 * Returns 0 and a bound callback that the caller owns (hapax_bound_drop). Thread: any. Section: outside. Blocks: at
 * the garbage bound. Fails: HAPAX_ENULL (fn, target, out), HAPAX_EOPTSIZE, HAPAX_ENOTWEAK, HAPAX_EDEAD (the death of a
 * part has begun), HAPAX_EFOREIGN (the parts are of two environments), HAPAX_ENOMEM, HAPAX_EGARBAGE; after a failure
 * neither `dead` nor `ctx_free` is called.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_bound_new(hapax_bound **out, const hapax_bound_options *options);

/* Calls fn(target, part, ctx, arg) with both held, and stores what it returned in *result (may be NULL): 0; or HAPAX_DEAD
 * without calling it. May be called by several threads at once, and from inside itself. Fails: HAPAX_ENULL. */
HAPAX_API int hapax_bound_call(hapax_bound *bound, void *arg, int *result);

/* Owned references to the target and the part (NULL if it has none; both out-pointers may be NULL): 0, or HAPAX_DEAD. */
HAPAX_API HAPAX_MUST_CHECK int hapax_bound_get(hapax_bound *bound, void **target, void **part);

/* True while all its parts are. A hint. NULL: false. */
HAPAX_API bool hapax_bound_alive(hapax_bound *bound);

/* Live ones are equal if they have the same function and the same parts (`ctx` does not count); a dead one equals only itself.
 * The hash is shared by equal ones and never changes. NULL equals NULL only, and hashes to 0. */
HAPAX_API bool hapax_bound_equal(hapax_bound *a, hapax_bound *b);
HAPAX_API uint64_t hapax_bound_hash(hapax_bound *bound);

/*
 * Consumes it; NULL is a no-op. A barrier like hapax_weak_drop(): after it returned 0 `dead` is not running and will
 * not run; HAPAX_INFLIGHT: inside user code that hapax runs on this thread, and `dead` is running right now. Calls of
 * fn on other threads go on; ctx_free runs when the last of them has returned. Cannot fail, needs no memory.
 */
HAPAX_API int hapax_bound_drop(hapax_bound *bound);

HAPAX_END_DECLS

#endif
