/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/internal.h - what the files of this layer share.
 *
 * Locks, in the order they are taken: hpx_slow (process-wide: environments, threads, shares, grace-period lists; never
 * held while a grace period is waited for or foreign code runs) -> an environment's pool.lock (its pages; held over the
 * allocator's alloc() when a page is needed). release, retire and remove take neither.
 */
#ifndef HPX_RECLAIM_INTERNAL_H
#define HPX_RECLAIM_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <stddef.h>

#include "base/ck_port.h"
#include "base/poison.h"
#include "reclaim/reclaim.h"

/* ---- the pool's own types (pool.c) ---- */

#define HPX_CLASSES (HPX_POOL_MAX / 16)
#define HPX_RING 128         /* closed batches a thread keeps for itself */
#ifdef HPX_STRICT
#define HPX_BATCH_BLOCKS 1
#elif defined(HPX_MODEL) /* a few retirements close one there */
#define HPX_BATCH_BLOCKS 2
#else
#define HPX_BATCH_BLOCKS 64
#endif
#define HPX_BATCH_BYTES ((size_t)64 << 10)

/*
 * A free or retired block is known by a word in it: the link its retirer named. The next one is in the low 44 bits; the
 * upper 20 stay as they are, so that misuse of a dead object can still be named (object.h: the class id). Where addresses
 * have more than 47 bits the word is a plain pointer.
 */
struct hpx_node {
	uint64_t word;
} __attribute__((may_alias));
#define HPX_NODE_KEPT (~UINT64_C(0) << 44)

#if defined(HPX_ASAN) || !defined(__x86_64__) /* with AddressSanitizer it is a word of the prefix */
static inline struct hpx_node *hpx_node_next(const struct hpx_node *node)
{
	return (struct hpx_node *)(uintptr_t)node->word;
}

static inline void hpx_node_set(struct hpx_node *node, void *next) { node->word = (uintptr_t)next; }
#else
static inline struct hpx_node *hpx_node_next(const struct hpx_node *node)
{
	return (struct hpx_node *)(uintptr_t)((node->word & ~HPX_NODE_KEPT) << 3);
}

static inline void hpx_node_set(struct hpx_node *node, void *next)
{
	node->word = (node->word & HPX_NODE_KEPT) | (uintptr_t)next >> 3;
}
#endif

struct hpx_chain {
	struct hpx_node *first, *last;
	uint32_t count;
	uint32_t size_class;
};

struct hpx_batch {
	struct hpx_chain chain;
	uint64_t stamp; /* may be reused when this grace period is over */
};

/*
 * A thread's share of an environment. Owner: the thread, without lock; the ring: whoever has `busy`, which the owner only
 * tries (when it is taken it uses the shared paths); `owner`, `next`, `mine`: hpx_slow.
 */
struct hpx_local {
	hapax_env *env;
	struct hpx_thread *owner; /* NULL: to be adopted */
	struct hpx_local *next;
	HPX_ATOMIC(struct hpx_local *) mine; /* the next one of the same thread; read in sections */
	hpx_u64 begun, ended;                /* blocks handed out, and given back; written by the owner */
	size_t open_bytes;
	struct hpx_chain magazine[HPX_CLASSES]; /* `last` is not used */
	struct hpx_chain open[HPX_CLASSES];
	_Alignas(HPX_CACHE_LINE) hpx_u32 busy;
	uint32_t first, count; /* of the ring */
	struct hpx_batch ring[HPX_RING];
};

struct hpx_page;
struct hpx_pool {
	pthread_mutex_t lock;
	struct hpx_page *partial[HPX_CLASSES]; /* pages with something free */
	struct hpx_page *pages;                /* every page (or, with AddressSanitizer, block) */
	struct hpx_page *empty;                /* not in use; kept or about to go back */
	unsigned empties;
	uint64_t reciprocal[HPX_CLASSES];
};

/* ---- environments ---- */

struct hapax_env {
	union {
		struct hpx_gate gate;
		struct {
			hpx_u64 garbage, threshold; /* as in it */
		};
	};
	_Alignas(HPX_CACHE_LINE) hapax_env *next;
	hapax_env **back; /* hpx_slow, as `next` */
	uint64_t number; /* in the order of creation; 0: the default one */
	unsigned flags;
	hapax_allocator allocator;
	hapax_clock clock;
	hapax_log log;
	uint64_t stall_ns;
	size_t bound, batch_bytes;
	hpx_u32 closed;
	bool is_default;
	struct ck_ec_ops ops;
	uint64_t (*time_now)(void *ctx); /* the testing build's time; NULL: clock and futex */
	void (*time_wait)(const uint32_t *word, uint32_t expected, uint64_t deadline, void *ctx);
	void (*time_wake)(const uint32_t *word, void *ctx);
	void *time_ctx;

	_Alignas(HPX_CACHE_LINE) hpx_u64 peak;
	hpx_u64 orphaned;     /* blocks on the process's lists */
	hpx_u64 begun, ended; /* holds, blocks, deferrals: what keeps the environment; both only grow */
	hpx_u64 bytes;
	hpx_u64 random;
	hpx_u32 waiters;
	struct hpx_event room; /* garbage has gone while somebody waited */
	hpx_u64 waits, refusals, stalls, stall_gp;

	/* hpx_slow */
	struct hpx_local *locals;
	unsigned local_count, pinned;
	struct hpx_poll *polls, *polls_last;
	int stalled_tid;
	char stalled_name[16];

	hpx_ptr new_polls;
	hpx_ptr classes[64];
	hpx_ptr deferred_deaths;
	struct hapax_finalizer *finalizers;
	struct hpx_counters counters;
	struct hpx_deferred end;
	struct hpx_pool pool;
};

extern pthread_mutex_t hpx_slow;
bool hpx_slow_lock(void); /* where a section is possible: false inside one when it would have to wait */
extern hapax_env *hpx_envs;

/* From the environment's allocator, accounted, not keeping the environment. Not zeroed. */
void *hpx_raw_alloc(hapax_env *env, size_t size, size_t align);
void hpx_raw_free(hapax_env *env, void *block, size_t size, size_t align);
void hpx_env_begin(hapax_env *env);
void hpx_env_end(hapax_env *env);
/* hpx_slow held: what has nothing left is taken out and retired. True: there was one. */
bool hpx_env_sweep(void);
void hpx_env_set_threshold(hapax_env *env);
bool hpx_env_exists(hapax_env *env);

/* ---- region.c: memory from the system ---- */

/* Zero, not touched; a multiple of 64 KiB is taken. `align` is a power of two. */
void *hpx_map_aligned(size_t size, size_t align);
void hpx_unmap(void *block, size_t size);
/* A page of an object pool, aligned to its size. */
void *hpx_region_page(size_t page);
/* A region has been asked for, and is to be prepared by the reclaimer. */
bool hpx_region_due(void);

/* ---- threads ---- */

struct hpx_thread_state {
	struct hpx_thread_state *next, **back; /* hpx_slow */
	struct urcu_bp_reader *reader;
	struct hpx_thread *self; /* of the same thread */
	int tid;
	char name[16];
	bool hooked, reclaimer, working;
	HPX_ATOMIC(struct hpx_local *) locals; /* written under hpx_slow, read by the thread in sections */
};
#ifdef HPX_MODEL
#define hpx_state (*(struct hpx_thread_state *)model_thread_state())
_Static_assert(sizeof(struct hpx_thread) <= MODEL_STORAGE && sizeof(struct hpx_thread_state) <= MODEL_STORAGE, "room");
#else
extern __thread struct hpx_thread_state hpx_state __attribute__((tls_model("initial-exec")));
#endif
/* Whether the thread's exit will be noticed; tries again where that had failed. After hpx_thread_ready(). */
bool hpx_thread_hook(void);
/* hpx_slow held: the thread whose old section a grace period waits for; false: none of those known. */
bool hpx_thread_stalling(int *tid, char name[16]);
/* hpx_slow held: takes a share away from its owner, who is not in a call for its environment. */
void hpx_local_disown(struct hpx_local *local);
void hpx_threads_after_fork(void);

/* ---- grace periods ---- */

struct hpx_gp_lists {
	hpx_ptr deferred; /* struct hpx_deferred: pushed by anybody, taken as a whole */
	hpx_ptr orphans;  /* struct hpx_node */
	hpx_u32 unworked; /* something is ready and nobody has begun to see to it */
	/* hpx_slow */
	bool busy; /* somebody waits for readers */
	unsigned working;
	struct hpx_deferred *taken, *ready;
	struct hpx_node *taken_nodes, *ready_nodes;
	pthread_cond_t changed;
};
extern struct hpx_gp_lists hpx_gp;
extern hpx_u64 hpx_gp_started, hpx_gp_done;

/* The number of a grace period that begins after this call; asked for. */
uint64_t hpx_gp_stamp(void);
void hpx_gp_orphan(hapax_env *env, struct hpx_chain *chain);
bool hpx_gp_start(void);
void hpx_gp_wake_started(void); /* the reclaimer, if there is one; after what it is to see was stored, seq_cst */
bool hpx_gp_due(void);
void hpx_gp_run(void);
void hpx_gp_hurry(void);
/* Does what finished grace periods allow. */
void hpx_gp_work(enum hpx_gp_how how);
void hpx_gp_after_fork(void);
/* A grace period that takes too long for this environment: accounts for it once and reports it. */
void hpx_stall_look(hapax_env *env);

/* ---- garbage, pool ---- */

void hpx_garbage_add(hapax_env *env, size_t bytes);
void hpx_garbage_sub(hapax_env *env, size_t bytes);
void hpx_pool_init(hapax_env *env);
void hpx_pool_fini(hapax_env *env); /* nobody uses a block any more */
size_t hpx_chain_bytes(const struct hpx_chain *chain);
/* hpx_slow held; own thread: closes all open batches of its shares. */
void hpx_pool_close_own(bool magazines_too);
bool hpx_pool_close_local(struct hpx_local *local, bool magazines_too); /* true: something was open */
/* hpx_slow held: frees what is matured in the ring of a share; `behind` grace periods ago. */
void hpx_pool_harvest(struct hpx_local *local, uint64_t behind);
/* hpx_slow held: frees up to `most` of a list of orphans; returns the rest. */
struct hpx_node *hpx_pool_free_orphans(struct hpx_node *node, unsigned most);
/* Gives empty pages back, but for `keep`. No lock held. */
void hpx_pool_trim(hapax_env *env, unsigned keep);
void hpx_pool_poll(hapax_env *env);
void hpx_local_after_fork(struct hpx_local *local);
void hpx_garbage_after_fork(void);

#endif
