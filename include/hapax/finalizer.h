/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/finalizer.h - one-shot finalizers: a function that runs when an object dies, or earlier by hand, or when the
 * process ends; once in all.
 *
 * A finalizer never keeps its object alive, and stays registered when its handle is dropped. When its object dies it
 * runs in the place that a death callback registered at the same time would have (newest first, before the
 * destructor), on the thread that runs the death, without locks or read sections. Whoever comes first of death, run,
 * detach and the end of the process has it; nobody waits for a run on another thread. In hapax_weak_count() it is one
 * registration, until then.
 */
#ifndef HAPAX_FINALIZER_H
#define HAPAX_FINALIZER_H

#include <hapax/base.h>
#include <hapax/object.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

typedef struct hapax_finalizer hapax_finalizer;

enum {
	/*
	 * Also runs when the process ends by exit() or by returning from main(), and in hapax_finalize_all(): newest
	 * first, and also when its object has died and its death was not run yet (HAPAX_TYPE_DEFERRED). The first one
	 * asks atexit() to see to it: so handlers registered after that run before. Not in a child of fork() that did
	 * not create it: a child that exits must not end what is its parent's. It does run in the child if its object
	 * dies there. exit() from inside a finalizer is allowed: the others run, its own ctx_free does not.
	 */
	HAPAX_FINALIZE_AT_EXIT = 1u << 0
};

/* What a finalizer consists of. `ctx_free` (may be NULL) runs once, right after `fn`; not after detach(). */
typedef struct hapax_finalize {
	int (*fn)(void *ctx);
	void *ctx;
	void (*ctx_free)(void *ctx);
} hapax_finalize;

/*
 * Registers a finalizer of `object`, which the caller holds. `out` NULL: nobody wants the handle; else the caller
 * owns it (hapax_finalizer_drop).
 * Thread: any. Section: outside. Blocks: at the garbage bound, like hapax_new. Fails: HAPAX_ENULL (object, what,
 * what->fn), HAPAX_EFLAGS, HAPAX_ENOTWEAK, HAPAX_EDEAD (its death has begun), HAPAX_ENOMEM (also when atexit()
 * refuses, as it does once its last handler has run), HAPAX_EGARBAGE. After a failure nothing will run, and `ctx` is the
 * caller's.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_finalizer_new(void *object, const hapax_finalize *what, unsigned flags,
						   hapax_finalizer **out);

/*
 * Runs it now, on this thread, unless it has run, runs, or was detached: 0, and what fn returned in *result (may be
 * NULL); else HAPAX_DEAD and *result untouched. Does not wait for a run on another thread. Needs no memory, preserves
 * errno.
 * Thread: any. Section: outside. Blocks: only as fn does. Fails: HAPAX_ENULL.
 */
HAPAX_API int hapax_finalizer_run(hapax_finalizer *finalizer, int *result);

/* It will not run: 0, and what it consists of in *what (may be NULL), the caller's again; ctx_free is not called. Else
 * HAPAX_DEAD, and *what zeroed. Thread: any. Section: either. Blocks: no. Fails: HAPAX_ENULL. Needs no memory. */
HAPAX_API int hapax_finalizer_detach(hapax_finalizer *finalizer, hapax_finalize *what);

/*
 * What it consists of, and its object with a reference that the caller owns, if it is alive at the instant of the
 * call: 0. Else HAPAX_DEAD, also between the death of its object and its run, and both are zeroed. `ctx` is as good
 * as long as nobody runs or detaches it. `what`, `object`: may be NULL. Thread: any. Section: either. Blocks: no.
 * Fails: HAPAX_ENULL.
 */
HAPAX_API int hapax_finalizer_peek(hapax_finalizer *finalizer, hapax_finalize *what, void **object);

/*
 * True until it runs or is detached, or its object dies; false inside `fn` and ever after. NULL: false. As peek()
 * otherwise.
 */
HAPAX_API bool hapax_finalizer_alive(hapax_finalizer *finalizer);

/*
 * Gives the handle back, and nothing else: it still runs. NULL is a no-op. Cannot fail, needs no memory, never waits;
 * from anywhere. A drop too many is noticed as long as it is pending: debug builds abort, release builds ignore it.
 */
HAPAX_API void hapax_finalizer_drop(hapax_finalizer *finalizer);

/*
 * Runs every finalizer with HAPAX_FINALIZE_AT_EXIT in `env` (NULL: in all environments) that has not run, was not
 * detached and was created by this process, newest first, also those that are created meanwhile: how many ran. For
 * programs that end otherwise than by exit(), or want them run before other things go. Objects stay as they are. A
 * call from inside one of them runs the others; where one leaves its thread, those behind it stay for the next call.
 * Thread: any. Section: outside. Blocks: only as they do. Needs no memory.
 */
HAPAX_API size_t hapax_finalize_all(hapax_env *env);

HAPAX_END_DECLS

#endif
