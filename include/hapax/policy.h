/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/policy.h - which of the objects that a cache holds it lets go of first: the contract of eviction policies.
 *
 * A cache with a bound keeps one node for each object that it holds itself. A policy orders the nodes and says which one
 * goes next; the cache counts entries and weights and calls evict() while they are above the bound. Letting go is not
 * removing: an object that is in use stays findable, and comes back to the policy (add) with its next get.
 *
 * What the cache promises. All functions but create() and destroy() are called under the cache's housekeeping lock, one
 * at a time. A node is added once, and leaves by remove(), replace() or as the result of evict(), before its memory goes.
 * Every node has a weight of at least 1; entries of weight 0 are never shown to a policy.
 *
 * What a policy never does: call hapax, block, allocate outside create() and resize(), touch a node's public fields
 * but `next`, `prev`, `mark` and `list`, reset `touched` excepted. It has no key and no object, and must need none.
 */
#ifndef HAPAX_POLICY_H
#define HAPAX_POLICY_H

#include <hapax/base.h>
#include <hapax/env.h>

HAPAX_BEGIN_DECLS

typedef struct hapax_policy_node hapax_policy_node;
struct hapax_policy_node {
	hapax_policy_node *next, *prev; /* the policy's */
	uint64_t mark;                  /* the policy's; 0 at add() */
	uint64_t id;                    /* a 64-bit hash of the key, the same for as long as the cache lives: for ghosts and sketches */
	uint64_t weight;                /* 1 in a cache bounded by entries */
	uint32_t list;                  /* the policy's; 0 at add() */
	uint32_t touched;               /* hits since the policy last reset it, at most `touch_max`; written by hits, without
					   the lock: read and reset it with hapax_policy_touched() */
};

enum {
	/* Hits raise node->touched, lock-free, up to touch_max; hit() is not called. */
	HAPAX_POLICY_TOUCH = 1u << 0,
	/* Hits go through per-thread buffers that lose some under load; hit() is called for those that arrive. */
	HAPAX_POLICY_RECORD = 1u << 1,
	/* Every hit takes the lock and calls hit(), in order: exact, and slow with many threads. */
	HAPAX_POLICY_EXACT = 1u << 2
};

typedef struct hapax_policy {
	size_t size;        /* sizeof(hapax_policy) */
	const char *name;
	unsigned flags;     /* exactly one of HAPAX_POLICY_* */
	uint32_t touch_max; /* with HAPAX_POLICY_TOUCH: 1 to 255 */

	/* A policy for `capacity` units of weight (entries, in a cache bounded by entries). `allocator` is the environment's
	 * and outlives it. Returns 0 and *state, or an error, which hapax_cache_create() returns. */
	int (*create)(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx);
	/* No node is left in it. */
	void (*destroy)(void *state);
	/* A new object, or one that comes back. */
	void (*add)(void *state, hapax_policy_node *node);
	/* It leaves for a reason of its own: removed, expired, replaced. */
	void (*remove)(void *state, hapax_policy_node *node);
	/* `fresh` takes the place of `old`: the same key was written. May be NULL: remove() and add(). */
	void (*replace)(void *state, hapax_policy_node *old, hapax_policy_node *fresh);
	/* It was used. NULL with HAPAX_POLICY_TOUCH. */
	void (*hit)(void *state, hapax_policy_node *node);
	/* Takes the node that goes next out and returns it; NULL only if there is none. */
	hapax_policy_node *(*evict)(void *state);
	/* The bound has changed. Cannot fail: a policy that gets no memory goes on with what it has. */
	void (*resize)(void *state, uint64_t capacity);
	/* For tests: walks its structures at rest; 0, or -1 after writing what is wrong. May be NULL. */
	int (*check)(void *state, char *message, size_t size);
	void *ctx;          /* passed to create() */
} hapax_policy;

#define HAPAX_POLICY_INIT .size = sizeof(hapax_policy)

/* Hits since the last reset; `reset` stores 0. Under the lock, in the policy's functions. */
static inline uint32_t hapax_policy_touched(hapax_policy_node *node, bool reset)
{
	uint32_t touched = __atomic_load_n(&node->touched, __ATOMIC_RELAXED);

	if (reset && touched)
		__atomic_store_n(&node->touched, 0, __ATOMIC_RELAXED);
	return touched;
}

/*
 * The policies of the library. Static descriptors, valid for ever. docs/policies.md says how they work, where they come
 * from and how well they do.
 *   adaptive  the default
 *   lru       exact least recently used: every hit locks
 *   sieve     SIEVE (Zhang et al., NSDI 2024)
 *   s3fifo    S3-FIFO (Yang et al., SOSP 2023)
 *   tinylfu   W-TinyLFU (Einziger, Friedman, Manes 2017)
 *   weighted  for objects of very different weights: keeps many small rather than few large ones
 */
HAPAX_API const hapax_policy *hapax_policy_adaptive(void);
HAPAX_API const hapax_policy *hapax_policy_lru(void);
HAPAX_API const hapax_policy *hapax_policy_sieve(void);
HAPAX_API const hapax_policy *hapax_policy_s3fifo(void);
HAPAX_API const hapax_policy *hapax_policy_tinylfu(void);
HAPAX_API const hapax_policy *hapax_policy_weighted(void);

HAPAX_END_DECLS

#endif
