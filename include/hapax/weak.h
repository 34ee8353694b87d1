/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/weak.h - weak references and death callbacks.
 *
 * A handle never keeps its object alive and may outlive it for ever. Handles without a callback share one record per
 * object; each handle with one has its own. Dropping needs no memory and cannot fail.
 */
#ifndef HAPAX_WEAK_H
#define HAPAX_WEAK_H

#include <hapax/base.h>
#include <hapax/object.h>
#include <hapax/status.h>
#include <hapax/table.h>

HAPAX_BEGIN_DECLS

typedef struct hapax_weak hapax_weak;

/*
 * A death callback. `fn` gets the handle, already dead, and `ctx`; never the object. It runs once per registration, on
 * the thread that runs the death, without locks or read sections; newest registration first. `ctx_free` (may be NULL)
 * runs exactly once: right after `fn`, or when the registration is cancelled. With `fn` NULL there is no callback;
 * `ctx_free`, if given, then runs at the last drop of the handle.
 */
typedef struct hapax_callback {
	void (*fn)(hapax_weak *weak, void *ctx);
	void *ctx;
	void (*ctx_free)(void *ctx);
} hapax_callback;

/*
 * Returns 0 and a handle that the caller owns (hapax_weak_drop). `callback` NULL: none. The caller holds `object`.
 * Thread: any. Section: outside. Blocks: at the garbage bound, like hapax_new.
 * Fails: HAPAX_ENULL, HAPAX_ENOTWEAK, HAPAX_EDEAD (its death has begun; the callback will never run and ctx_free is
 * not called), HAPAX_EOVERFLOW (2^31 handles), HAPAX_ENOMEM, HAPAX_EGARBAGE.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_new(void *object, const hapax_callback *callback, hapax_weak **out);

/* A strong reference, owned by the caller, or NULL once the object is dead (for ever) or `weak` is NULL.
 * Thread: any. Section: either. Blocks: no. Order: acquires what the object's publisher released. */
HAPAX_API HAPAX_MUST_CHECK void *hapax_weak_get(hapax_weak *weak);

/* Another handle on the same record; a registration is cancelled by the drop of its last handle.
 * Thread: any. Blocks: no. Fails: HAPAX_ENULL, HAPAX_EOVERFLOW. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_dup(hapax_weak *weak, hapax_weak **out);

/*
 * Consumes a handle; NULL is a no-op. A barrier: after it returned 0 the callback is not running and will not run, and
 * ctx_free has run. Called from inside user code that hapax runs on this thread (callback, destructor, loader) it never
 * waits: it cancels or marks, and returns HAPAX_INFLIGHT when the callback is running right now (ctx_free then runs
 * when it has returned). Dropping a not yet notified sibling inside a callback cancels it.
 * Thread: any. Section: outside. Blocks: while the callback runs on another thread.
 */
HAPAX_API int hapax_weak_drop(hapax_weak *weak);

/* True while the object has not died. A hint: it may die the moment after. NULL: false. */
HAPAX_API bool hapax_weak_alive(hapax_weak *weak);

/* The callback while the object is alive: 0 and *out; HAPAX_EMPTY: registered without one; HAPAX_DEAD after death.
 * Fails: HAPAX_ENULL. */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_callback(hapax_weak *weak, hapax_callback *out);

/* Writes a one-line description of a handle, alive or dead, into `buffer`, as snprintf does; never touches a dead
 * payload, never calls user code. */
HAPAX_API size_t hapax_weak_describe(hapax_weak *weak, char *buffer, size_t size);

/*
 * Runs fn(object, arg) with the object held until it returned, and stores what it returned in *result (may be NULL).
 * Returns 0, or HAPAX_DEAD without calling `fn`. Fails: HAPAX_ENULL (fn).
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_with_live(hapax_weak *weak, int (*fn)(void *object, void *arg), void *arg, int *result);

/*
 * Registrations of an object at rest: 1 for all its callback-less handles together, 1 for each callback handle, 1 for
 * each table entry other than the one it was created for. 0 for types without weak references.
 */
HAPAX_API uint64_t hapax_weak_count(const void *object);

/* ---- handles as values: identity, keys, listing ------------------------------------------------------------------ */

/*
 * Equality of handles. While their object is alive two handles of it are equal, with callback or without; handles of
 * different objects are not. A dead handle equals only itself (all callback-less handles of one object are one record,
 * and so the same handle); a live one never equals a dead one. NULL equals NULL only.
 * Thread: any. Section: either. Blocks: no.
 */
HAPAX_API bool hapax_weak_equal(hapax_weak *a, hapax_weak *b);

/* A hash that equal handles share and that never changes, neither at death nor after it. NULL: 0. */
HAPAX_API uint64_t hapax_weak_hash(hapax_weak *weak);

/*
 * A total order of handles for sorted containers: below 0, 0, above 0. By the object they were made for, alive or
 * dead, so it never changes; 0 for all handles of one object (std::owner_less is the model). NULL comes first.
 */
HAPAX_API int hapax_weak_compare(hapax_weak *a, hapax_weak *b);

/*
 * Hash and equality for tables and caches that are keyed by handles: a key is the bytes of a handle's pointer,
 * HAPAX_KEY_OF(handle) with `hapax_weak *handle` (another size: HAPAX_EHASH). A lookup by any handle of a live object
 * finds the entry; after death only the stored handle itself does, so that is what removes it. The handle under which
 * something was put is the owner's to keep until the entry has been removed (by its value's death, too), or replaced
 * by another object under another handle; and until no load of it is under way or remembered as failed. To be told
 * when: set `borrow`, with `data` pointing to a cell of the owner's, and drop the handle in `release`. Lookups that
 * are running when an entry goes do not need the handle any more.
 */
HAPAX_API hapax_key_ops hapax_weak_keys(void);

/*
 * Lists an object's handles: those made with a callback (or a `ctx_free` alone), newest registration first, then one
 * for all the others. Stores up to `capacity` of them, each owned by the caller (hapax_weak_drop), and in *count how
 * many there are (more than `capacity`: only so many, the newest, were stored). As with hapax_weak_dup() a listed
 * registration lives on until this handle is dropped, too. What is registered or dropped meanwhile may be listed or
 * not, and where not all of them fit it may be listed in place of another. Entries of tables, finalizers and bound
 * callbacks are no handles. The caller holds `object`.
 * Costs three walks over as many nodes as the object ever had registrations at once, and sorting what is stored where
 * some were used again; if not all fit, as many walks as the number of registrations it ever had has bits.
 * Thread: any. Section: outside. Blocks: no. Needs no memory. Fails: HAPAX_ENULL (object, count, or handles with a
 * capacity above 0), HAPAX_EDEAD, HAPAX_EOVERFLOW (one is at its limit of 2^31; nothing is listed).
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_list(void *object, hapax_weak **handles, size_t capacity, size_t *count);

HAPAX_END_DECLS

#endif
