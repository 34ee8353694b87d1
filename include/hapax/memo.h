/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/memo.h - memoization: results of a function, computed once for equal arguments, kept within a bound.
 *
 * A memo is a bounded cache of results, which are objects: a result that was let go of while somebody uses it is found again,
 * not computed a second time. Threads that call with the same arguments at once cause one computation.
 *
 * A memo with HAPAX_MEMO_OWNED belongs to owners, objects that every call names: results of different owners are
 * different results; they die with their owner, and never keep it alive. When an owner's last reference is released its results
 * are let go of, before its death callbacks; if another thread is working on the memo's housekeeping just then, by that one,
 * perhaps a little later. A result must not hold a strong reference to its owner: that is a cycle, and
 * neither ever dies (hapax_leak_report() names it); it holds a hapax_weak, or nothing, as it goes with its owner anyway.
 *
 * Arguments are kept as a copy of their bytes; no object and no memory of the caller's is referred to. Lists of arguments
 * are unambiguous: ("ab", "c") is not ("a", "bc"), nor is ("a") ("a", "").
 *
 * Section, for every call here: outside. The function runs on the calling thread without locks or read sections, and may call
 * anything, the memo with other arguments included; with its own arguments it gets HAPAX_EDEADLK.
 */
#ifndef HAPAX_MEMO_H
#define HAPAX_MEMO_H

#include <hapax/base.h>
#include <hapax/cache.h>
#include <hapax/env.h>
#include <hapax/object.h>
#include <hapax/policy.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

typedef struct hapax_memo hapax_memo;

/* ---- arguments --------------------------------------------------------------------------------------------------- */

/* What an argument says it is. Part of its identity in a typed memo only. From HAPAX_TAG_USER on they are the application's. */
enum {
	HAPAX_TAG_BYTES = 0,
	HAPAX_TAG_STRING = 1,
	HAPAX_TAG_INT = 2,
	HAPAX_TAG_UINT = 3,
	HAPAX_TAG_DOUBLE = 4,
	HAPAX_TAG_BOOL = 5,
	HAPAX_TAG_USER = 256
};

/* One argument: `size` bytes at `data`; NULL: the 8 bytes of `value`, or none (never with HAPAX_TAG_BYTES and _STRING). Make it with
 * the functions below; the calls refuse anything else with HAPAX_EKEY. */
typedef struct hapax_arg {
	const void *data;
	size_t size;
	uint32_t tag;
	union {
		int64_t i;
		uint64_t u;
		double d;
	} value;
} hapax_arg;

/* NULL with a size above 0 is an argument that is refused. */
static inline hapax_arg hapax_arg_bytes(const void *data, size_t size, uint32_t tag)
{
	hapax_arg arg;

	arg.data = data ? data : size ? NULL : "";
	arg.size = data || !size ? size : SIZE_MAX;
	arg.tag = tag;
	arg.value.u = 0;
	return arg;
}
/* A C string; NULL is the empty one. */
static inline hapax_arg hapax_arg_string(const char *text)
{
	return hapax_arg_bytes(text ? text : "", text ? strlen(text) : 0, HAPAX_TAG_STRING);
}
static inline hapax_arg hapax_arg_int(int64_t value)
{
	hapax_arg arg = hapax_arg_bytes("", 8, HAPAX_TAG_INT);

	arg.data = NULL;
	arg.value.i = value;
	return arg;
}
static inline hapax_arg hapax_arg_uint(uint64_t value)
{
	hapax_arg arg = hapax_arg_bytes("", 8, HAPAX_TAG_UINT);

	arg.data = NULL;
	arg.value.u = value;
	return arg;
}
/* By its bits, except that -0.0 is 0.0, and every NaN is the same one. */
static inline hapax_arg hapax_arg_double(double value)
{
	hapax_arg arg = hapax_arg_bytes("", 8, HAPAX_TAG_DOUBLE);

	arg.data = NULL;
	if (value == 0)
		value = 0;
	arg.value.d = value;
	if (value != value)
		arg.value.u = UINT64_C(0x7ff8000000000000);
	return arg;
}
static inline hapax_arg hapax_arg_bool(bool value)
{
	hapax_arg arg = hapax_arg_bytes("", 8, HAPAX_TAG_BOOL);

	arg.data = NULL;
	arg.value.u = value;
	return arg;
}
/* The bytes of an argument, wherever they are. */
static inline const void *hapax_arg_data(const hapax_arg *arg) { return arg->data ? arg->data : &arg->value; }

/* A list of arguments for the calls below: HAPAX_ARGS(hapax_arg_int(3), hapax_arg_string("x")). C only. */
#ifndef __cplusplus
#define HAPAX_ARGS(...) ((const hapax_arg[]){__VA_ARGS__}), (sizeof((const hapax_arg[]){__VA_ARGS__}) / sizeof(hapax_arg))
#endif

/* ---- memos ------------------------------------------------------------------------------------------------------- */

/*
 * The function. Writes into `result`, zeroed payload of the memo's type; `args` are those of the call that computes. `owner` is
 * the call's, NULL if the memo has none. Answers HAPAX_LOAD_OK, HAPAX_LOAD_NOVALUE or HAPAX_LOAD_FAIL as a loader does
 * (hapax/cache.h); after the last two nothing is stored, and every caller that waited gets the same answer.
 */
typedef int (*hapax_memo_fn)(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error);
/* The same, making or finding an object of this environment and of the memo's type, and giving one reference to it. */
typedef int (*hapax_memo_make_fn)(void **result, void *owner, const hapax_arg *args, size_t n, void *ctx,
				  hapax_load_error *error);

enum {
	HAPAX_MEMO_OWNED = 1u << 0,        /* every call names an owner */
	HAPAX_MEMO_TYPED = 1u << 1,        /* tags of arguments are part of their identity */
	HAPAX_MEMO_SHARED_BUDGET = 1u << 2 /* with OWNED: `capacity` is for all owners together; else each has its own */
};

#define HAPAX_UNLIMITED INT64_MAX

typedef struct hapax_memo_options {
	size_t size; /* sizeof(hapax_memo_options) */
	unsigned flags;
	hapax_env *env;          /* NULL: the default one */
	const hapax_type *type;  /* of the results; required */
	hapax_memo_fn compute;   /* exactly one of the two */
	hapax_memo_make_fn make;
	void *ctx;
	int64_t capacity;        /* results held; 0: 128. HAPAX_UNLIMITED: all. HAPAX_ZERO: none, and nothing is ever found:
				    every call computes, though calls at the same time still share. Other negatives are refused */
	/* What goes first. hapax_policy_lru(): exactly the least recently used. NULL: the default one (hapax_policy_adaptive(); for a
	 * capacity of each owner's own hapax_policy_sieve(), which remembers nothing of what has gone and so stays small) */
	const hapax_policy *policy;
	hapax_key_ops keys;      /* `hash` only, of the encoded arguments, called once per call; the rest is refused */
	const char *name;        /* for reports; NULL: "memo" */
	void (*ctx_free)(void *ctx); /* called once when the memo has been destroyed and no call on it is in progress; may be NULL */
} hapax_memo_options;
#define HAPAX_MEMO_OPTIONS_INIT .size = sizeof(hapax_memo_options)

/* Returns 0 and a memo that the caller owns. Fails: HAPAX_ENULL, HAPAX_EOPTSIZE, HAPAX_EFLAGS (unknown, or SHARED_BUDGET without
 * OWNED), HAPAX_EOPTION, HAPAX_ETYPE, HAPAX_EALIGN, HAPAX_ENOTWEAK, HAPAX_ENOMEM, what the policy's create() answers. */
HAPAX_API HAPAX_MUST_CHECK int hapax_memo_create(hapax_memo **out, const hapax_memo_options *options);

/* Refuses new calls with HAPAX_ECLOSED and releases all waiters with it, as hapax_cache_close(). Results and owners stay valid. May
 * be called twice. Cannot fail, does not wait. */
HAPAX_API void hapax_memo_close(hapax_memo *memo);
/* Closes, waits until no call on the memo is in progress, reports results still alive, frees, as hapax_cache_destroy(). Results and
 * owners stay valid, and may die on other threads meanwhile. NULL is a no-op. */
HAPAX_API void hapax_memo_destroy(hapax_memo *memo);

/*
 * The result for these arguments: 0 and an owned reference. `owner`: held by the caller; NULL in a memo without owners.
 * Fails: as hapax_cache_get(); HAPAX_ENULL (no owner, or args NULL with n above 0), HAPAX_EOPTION (an owner for a memo that has
 * none), HAPAX_EKEY (an argument that is NULL with a size above 0), HAPAX_EKEYSIZE (together longer than HAPAX_KEY_MAX less 16
 * bytes for each and 16 for the list), HAPAX_ENOTWEAK, HAPAX_EFOREIGN, HAPAX_EDEAD (of the owner).
 * From its first call on that looked for a result, also one that failed, an owner has a place in the memo until it dies:
 * hapax_weak_count() counts it as one.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_memo_call(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n, void **out);
/* hapax_memo_call() with one argument of bytes, HAPAX_TAG_BYTES. Fails: as hapax_memo_call(). */
HAPAX_API HAPAX_MUST_CHECK int hapax_memo_get(hapax_memo *memo, void *owner, hapax_key key, void **out);

typedef struct hapax_memo_call_options {
	size_t size;
	unsigned flags;          /* none yet: 0 */
	uint64_t deadline;       /* as in hapax_get_options */
	hapax_load_error *error; /* likewise */
} hapax_memo_call_options;
#define HAPAX_MEMO_CALL_OPTIONS_INIT .size = sizeof(hapax_memo_call_options)
/* hapax_memo_call() with a deadline and the load error. `options` NULL: the same. Fails: as hapax_memo_call(); HAPAX_EOPTSIZE,
 * HAPAX_EFLAGS, HAPAX_ETIMEDOUT, HAPAX_INFLIGHT. */
HAPAX_API HAPAX_MUST_CHECK int hapax_memo_call_with(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n,
						    const hapax_memo_call_options *options, void **out);

/* What is there, without computing or waiting: 0 and an owned reference, or HAPAX_MISS. Counts and touches nothing. */
HAPAX_API HAPAX_MUST_CHECK int hapax_memo_find(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n, void **out);
/* Forgets one result, also one that is being computed (its callers still get it): 0 or HAPAX_MISS. */
HAPAX_API int hapax_memo_forget(hapax_memo *memo, void *owner, const hapax_arg *args, size_t n);

/* Counters since creation or the last clear. Each call is counted once, at its end: hits + misses = calls, but for those that were
 * refused before they looked for a result (arguments, owner, memo closed). A call that waited for another one's computation,
 * whatever came of it, is a miss and a wait; one that found the result at a second look, when it was about to compute, is a miss
 * only. In any one view entries + failed <= computed <= misses, and waits <= misses. */
typedef struct hapax_memo_info {
	size_t size;         /* sizeof(hapax_memo_info), set by the caller */
	uint64_t hits, misses, waits;
	uint64_t computed;   /* times the function ran */
	uint64_t failed;     /* of them without a result */
	uint64_t entries;    /* results present now, those that the memo let go of while they are in use included */
	uint64_t owners;     /* live ones that have called; 1 or 0 in the info of an owner */
	int64_t capacity;    /* as created; HAPAX_UNLIMITED, or 0 for none */
} hapax_memo_info;

/* One consistent view: of an owner, or with `owner` NULL of the whole memo, whatever owners it has or had.
 * Never blocks on user code. Fails: HAPAX_ENULL, HAPAX_EOPTSIZE, HAPAX_EOPTION, HAPAX_ECLOSED (from user code that
 * hapax_memo_destroy() runs). An owner that never called: zeros. */
HAPAX_API HAPAX_MUST_CHECK int hapax_memo_info_get(hapax_memo *memo, void *owner, hapax_memo_info *info);

/*
 * Forgets every result (of this owner, or with NULL all), those being computed included, and begins the counters anew in one
 * step: every call is in *info (may be NULL: what was counted until then) or in what is counted from then on, and nobody
 * sees some counters reset and others not. An owner's clear leaves the memo's counters and those of other owners alone; it goes
 * through all entries. The whole memo's resets its owners' counters too.
 * Fails as hapax_memo_info_get(): nothing is forgotten. Needs no memory.
 */
HAPAX_API int hapax_memo_clear(hapax_memo *memo, void *owner, hapax_memo_info *info);

HAPAX_END_DECLS

#endif
