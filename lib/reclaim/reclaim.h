/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/reclaim.h - environments, threads, read sections, grace periods, the object pool, bounded garbage.
 *
 * The lowest layer with state. section.h (included here) is the only header that includes liburcu.
 */
#ifndef HPX_RECLAIM_H
#define HPX_RECLAIM_H

#include <hapax/env.h>

#include "base/atomic.h"
#include "base/check.h"

/* ---- threads ------------------------------------------------------------------------------------------------- */

struct hpx_note;  /* object layer */
struct hapax_finalizer;
struct hpx_local; /* a thread's share of one environment: pool magazines, open retirement batches, counter stripe */
struct hpx_object;
struct hpx_hot_block;

/* One piece of user code on this thread's stack that hapax runs. Lives on the stack of the function that runs it. */
struct hpx_frame {
	struct hpx_frame *up;
	const void *cache; /* the hapax_cache it runs for, or NULL */
	const void *entry; /* the entry being loaded, or the object whose death is being run */
	uint32_t loading;  /* of loads: how many others this thread had in progress when it began */
};

/*
 * A load that a thread has in progress, for those who look. Stored by the thread, `entry` last; it is NULL again before the load
 * lands. So who has read it in a section may look at the entry until the section ends; and when `entry` is still the same after
 * the rest was read, that was of this load, for no address is used again as long as the section lasts.
 */
struct hpx_loading {
	HPX_ATOMIC(const void *) entry;
	HPX_ATOMIC(const void *) cache;
	hpx_u64 begun; /* by the environment's clock; or, from HPX_LOADING_UNTIMED on, a number that the next load does not have */
	uint64_t seen, seen_ns; /* hpx_slow: `begun` of a load that is not timed, and when it was first looked at */
};
#define HPX_LOADING_UNTIMED (UINT64_C(1) << 63)
#define HPX_LOADING_UNTIMED2 (UINT64_C(3) << 62) /* the same, where the thread gives the numbers */
#define HPX_LOADINGS 4 /* of loads inside loads, so many are seen */

/* Per thread, in static TLS: no allocation, no failure. Only its thread writes it, except where said. */
struct hpx_thread {
	uint64_t id;                 /* unique, never reused; 0 before the first slow call */
	hapax_env *env;              /* whose share `local` is; cleared by whoever frees that environment */
	struct hpx_local *local;     /* NULL: none (not yet, no memory, or the thread is exiting): use the shared paths */
	struct hpx_frame *frames;    /* innermost first; NULL: not inside user code that hapax runs */
	struct hpx_object *dying;    /* object layer: queue of deaths to run, and whether it is being run */
	struct hpx_object *dying_last;
	struct hpx_note *notes;      /* object layer: what is owed to watchers of deaths, and whether they are being told */
	struct hpx_note *notes_last;
	uint32_t borrows;            /* cache layer: sections that borrows have entered and not left */
	bool running_notes;
	bool running_deaths;
	bool exiting;
	const void *waiting_for;     /* flight layer: written under its wait lock */
	struct hpx_thread *wait_next, *wait_prev;
	uint32_t stripe;             /* of counters; 0: none */
	struct hpx_hot_block *hot;   /* object layer: its cells; NULL: none */
	const void *fresh;           /* object layer: what it has loaded last, until its first release of it; a hint */
	uint64_t hot_slot;           /* which of them was used last, as the count of its object says it; 0: none */
	uint32_t loads;              /* cache layer: in progress */
	uint64_t untimed;            /* cache layer: a number for each that is not timed */
	struct hpx_loading loading[HPX_LOADINGS]; /* the outermost first */
};
#ifdef HPX_MODEL /* its threads are no threads of the system */
#define hpx_self (*(struct hpx_thread *)model_thread_self())
#else
extern __thread struct hpx_thread hpx_self __attribute__((tls_model("initial-exec")));
#endif

static inline void hpx_loading_begin(struct hpx_frame *frame, uint64_t begun)
{
	uint32_t at = hpx_self.loads;

	frame->loading = at;
	hpx_self.loads = at + 1;
	if (HPX_LIKELY(at < HPX_LOADINGS)) {
		struct hpx_loading *s = &hpx_self.loading[at];

		/* order: FLIGHT.SEEN -> release; that the load before it has ended, and the entry with its key */
		hpx_store_release(&s->cache, frame->cache);
		hpx_store_release(&s->begun, begun);
		hpx_store_release(&s->entry, frame->entry);
	}
}
/* Also twice, or of more than one at once, when the thread leaves them. */
static inline void hpx_loading_end(const struct hpx_frame *frame)
{
	hpx_self.loads = frame->loading;
	if (HPX_LIKELY(frame->loading < HPX_LOADINGS))
		/* order: FLIGHT.SEEN relaxed; the landing, which follows, is a release */
		hpx_store_relaxed(&hpx_self.loading[frame->loading].entry, NULL);
}
/* Calls fn for each that has an entry, under hpx_slow: it calls nothing outward. */
void hpx_loadings_each(void (*fn)(struct hpx_loading *s, int tid, void *ctx), void *ctx);
int hpx_thread_tid(void); /* of the calling thread */

/* First slow call of a thread: id, exit hook, reader registration. Idempotent; cheap when done. Never fails visibly. */
void hpx_thread_ready(void);

/* Whether its exit will be noticed: hpx_thread_leaving() is called then, if it is set (once, at load time). */
bool hpx_thread_noticed(void);
extern void (*hpx_thread_leaving)(void);
/* Starts a detached thread with all signals blocked; false: it could not be had. `stack`: bytes that will do; 0: the usual. */
bool hpx_thread_start(void *(*run)(void *), void *arg, size_t stack);
void hpx_thread_roam(void); /* such a thread's: may run on whatever core the process's first thread may */

/* This thread's share of `env`, or NULL when there is none to be had. The inline part is one compare. */
struct hpx_local *hpx_local_slow(hapax_env *env);
static inline struct hpx_local *hpx_local_of(hapax_env *env)
{
	/* order: LOCAL.CACHE relaxed; an environment that is in use is not being freed */
	return HPX_LIKELY(__atomic_load_n(&hpx_self.env, __ATOMIC_RELAXED) == env) ? hpx_self.local : hpx_local_slow(env);
}

/* Housekeeping that takes long looks whether the pools' next region is asked for meanwhile; any thread, in sections too. */
void hpx_region_prepare(void);

/* ---- read sections, grace periods: hpx_read_lock(), hpx_read_unlock(), hpx_in_section() ---------------------- */
#include "reclaim/section.h"

/* Waits for a grace period: all sections that were entered before are over. Outside sections and locks; inside one it
 * returns at once. order: what the sections did happens before the return (RECLAIM.SYNC) */
void hpx_synchronize(void);

/* ---- environments -------------------------------------------------------------------------------------------- */
hapax_env *hpx_env_or_default(hapax_env *env);
void hpx_env_hold(hapax_env *env); /* a cache, table or class uses it; under no lock */
void hpx_env_drop(hapax_env *env);
/* The environment of the lowest number from *from on, held, and *from the number after it; NULL: there is none. */
hapax_env *hpx_env_next(uint64_t *from);
uint64_t hpx_env_number(const hapax_env *env); /* in the order of creation; the default one has 0 */
bool hpx_env_threadless(hapax_env *env); /* HAPAX_ENV_NO_THREAD */
bool hpx_env_lasts(const hapax_env *env); /* the default one */
void hpx_env_close(hapax_env *env); /* the last of hapax_env_destroy(); not of the default one */
bool hpx_env_closed(hapax_env *env); /* hapax_env_destroy() has been called; never true of the default environment */
uint64_t hpx_env_now(hapax_env *env);
uint64_t hpx_env_now_coarse(hapax_env *env); /* for statistics: a few milliseconds of grain unless a clock was given */
bool hpx_env_coarse(const hapax_env *env); /* no clock was given, so that it has that grain */
uint64_t hpx_env_random(hapax_env *env); /* next value of its seeded generator; thread-safe */
void hpx_env_log(hapax_env *env, hapax_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

const hapax_allocator *hpx_env_allocator(hapax_env *env); /* for policies: not accounted */
/* The environment's allocator, for long-lived structures. Zeroed. Outside sections and locks. Accounted. */
void *hpx_alloc(hapax_env *env, size_t size, size_t align);
void hpx_free(hapax_env *env, void *block, size_t size, size_t align);

/* Sleeping (under ck_ec, base/ck_port.h) on a 32-bit word with the environment's clock: see flight.h for the users. */
struct hpx_event { uint32_t storage[4]; }; /* a ck_ec32 inside; base/ck_port.h knows */
void hpx_event_init(struct hpx_event *event);
uint32_t hpx_event_value(const struct hpx_event *event);
void hpx_event_signal(struct hpx_event *event, hapax_env *env); /* changes the value, wakes all */
/* Until the value differs from `old`: 0, or 1 when `deadline` (env clock) passed. A cancellation point. */
int hpx_event_wait(struct hpx_event *event, hapax_env *env, uint32_t old, uint64_t deadline);

/* ---- deferral ------------------------------------------------------------------------------------------------ */

/*
 * Runs `run(d)` after a grace period, on the reclaimer thread, in hapax_reclaim() or in a drain (two may run different
 * ones at once); no lock held, not in a
 * section. `bytes` count as garbage of `env` from now until then. Lock-free; any thread, inside a section or not.
 * The caller has made the memory unreachable before (order: RECLAIM.RETIRE).
 */
struct hpx_deferred {
	struct hpx_deferred *next;
	void (*run)(struct hpx_deferred *d);
	hapax_env *env;
	size_t bytes;
};
void hpx_retire(hapax_env *env, struct hpx_deferred *d, size_t bytes, void (*run)(struct hpx_deferred *d));

/* hpx_slow not held: whether a grace period is still to come for it, or it is to be run after one. In a forked child. */
bool hpx_gp_awaits(const struct hpx_deferred *d);
enum hpx_gp_how { HPX_WORK_SOME, HPX_WORK_ALL, HPX_WORK_TRIM };
/* Rounds of grace period and work until nothing is due, at least one; no section. */
void hpx_gp_rounds(unsigned most, enum hpx_gp_how how);
/* Wakes or starts the reclaimer, if `env` (may be NULL) wants it. */
void hpx_gp_wake(hapax_env *env);

/* While hpx_ticking is not 0, the reclaimer calls hpx_tick() (set once, at load time) every HPX_TICK_NS, with no lock held. Who
 * raises it wakes the reclaimer afterwards. It may be read as a hint by anybody. */
#define HPX_TICK_NS 10000000L
extern hpx_u32 hpx_ticking;
extern void (*hpx_tick)(void);

/* ---- object pool --------------------------------------------------------------------------------------------- */

/*
 * Blocks of up to HPX_POOL_MAX bytes, 16-byte aligned, from per-thread magazines over pages of the environment's
 * allocator; pages that are empty go back to it. Not zeroed. In builds with AddressSanitizer every block is its own
 * allocation (or poisoned while retired), so that use after free is seen.
 */
#define HPX_POOL_MAX 512
void *hpx_pool_alloc(hapax_env *env, size_t size);             /* NULL: no memory */
/* The same where it needs neither memory nor a wait, admission (below) included; NULL: take the long way. Also in a section. */
void *hpx_pool_alloc_quick(hapax_env *env, size_t size);
void hpx_pool_free(hapax_env *env, void *block, size_t size);  /* never reachable by another thread */
/*
 * Frees `block` after a grace period. `link` is an aligned 8-byte word inside the block that readers of older sections
 * do not look at; all the other bytes stay as they are until then. No memory, no lock, no system call but a wake-up.
 * Batches of 64 blocks or 64 KiB, stamped with a grace-period number, polled and recycled by their owner.
 */
void hpx_pool_retire(hapax_env *env, void *block, size_t size, void *link);

/* ---- bounded garbage (G6) ------------------------------------------------------------------------------------ */

/*
 * Before creating: returns 0 when garbage is below the bound; otherwise waits for the reclaimer until `deadline`
 * (HAPAX_FOREVER allowed), or returns HAPAX_EGARBAGE: at once inside a section, without the thread, or with
 * HAPAX_NO_WAIT; and at the deadline. The inline check is one relaxed load.
 */
int hpx_admit(hapax_env *env, uint64_t deadline);
/* Its look, inline; an environment begins with what it reads. False: hpx_admit() may say otherwise. */
struct hpx_gate {
	hpx_u64 garbage;
	hpx_u64 threshold; /* garbage from which creation waits: the bound less what open batches may hide */
};
static inline bool hpx_gate_open(const hapax_env *env)
{
	const struct hpx_gate *gate = (const void *)env;

	/* order: ADMIT.THRESHOLD relaxed; as in hpx_admit() */
	return hpx_load_relaxed(&gate->garbage) < hpx_load_relaxed(&gate->threshold);
}

/* ---- counters ------------------------------------------------------------------------------------------------ */

/*
 * Striped counters: a thread writes its own stripe with plain relaxed stores; sums are exact at rest. Stripes are
 * allocated off the hot path, on a thread's first use; without memory a shared stripe is used with atomic additions.
 */
#define HPX_COUNTERS_MAX 40
#define HPX_STRIPES 64
struct hpx_counters {
	hapax_env *env;
	HPX_ATOMIC(hpx_u64 *) stripe[HPX_STRIPES]; /* [0] stays NULL: threads without a place */
	hpx_u64 shared[HPX_COUNTERS_MAX];
};
void hpx_counters_init(struct hpx_counters *c, hapax_env *env);
void hpx_counters_fini(struct hpx_counters *c);
uint64_t hpx_count_slow(struct hpx_counters *c, unsigned which, uint64_t n);
/* In this thread's stripe, which is there; what the stripe has now. */
static inline uint64_t hpx_count_in(hpx_u64 *stripe, unsigned which, uint64_t n)
{
	uint64_t sum = hpx_load_relaxed(&stripe[which]) + n;

	/* order: COUNTERS.SUM -> release; what was counted before it is counted, for sums that are compared */
	hpx_store_release(&stripe[which], sum);
	return sum;
}
/* What the stripe it is counted in has now. */
static inline uint64_t hpx_count(struct hpx_counters *c, unsigned which, uint64_t n)
{
	/* order: COUNTERS.STRIPE relaxed; this thread made it, or got its place under a lock */
	hpx_u64 *stripe = hpx_load_relaxed(&c->stripe[hpx_self.stripe]);

	if (HPX_UNLIKELY(!stripe))
		return hpx_count_slow(c, which, n);
	return hpx_count_in(stripe, which, n);
}
uint64_t hpx_counters_sum(const struct hpx_counters *c, unsigned which);
void hpx_counters_forget(struct hpx_counters *c, unsigned which); /* from 0 again, by a process's only thread */
/* Counting inside sections cannot make this thread's stripe. False: hpx_counters_prepare(), outside, would. */
static inline bool hpx_counters_ready(struct hpx_counters *c)
{
	/* order: COUNTERS.STRIPE relaxed; as in hpx_count() */
	return hpx_load_relaxed(&c->stripe[hpx_self.stripe]) || (hpx_self.id && !hpx_self.stripe);
}
void hpx_counters_prepare(struct hpx_counters *c);

/* Work of upper layers that housekeeping polls (class records whose last object may have gone): called with no lock held,
 * by the reclaimer after grace periods, by hapax_reclaim(), by drains. `poll` returns true when it is done for good and
 * must be forgotten. */
struct hpx_poll {
	struct hpx_poll *next;
	bool (*poll)(struct hpx_poll *p);
};
void hpx_poll_add(hapax_env *env, struct hpx_poll *p); /* lock-free push */

/* Deferred deaths (HAPAX_TYPE_DEFERRED) live in the object layer; the environment offers it one word and a counter. */
typedef HPX_ATOMIC(void *) hpx_ptr;
hpx_ptr *hpx_env_deferred_deaths(hapax_env *env);
/* Head of a list of the object layer's, under a lock of its own (at_exit.c); empty when the environment goes. */
struct hapax_finalizer **hpx_env_finalizers(hapax_env *env);
struct hpx_counters *hpx_env_counters(hapax_env *env);
enum { HPX_ENV_BORN, HPX_ENV_DESTROYED, HPX_ENV_FREED };
/* The environment's list of classes for hapax_new (object layer owns the type behind it). */
hpx_ptr *hpx_env_classes(hapax_env *env); /* array of 64 bucket heads */

/* Fork: upper layers register handlers once, at load time (constructor order does not matter). */
enum hpx_fork_stage {
	HPX_FORK_BEFORE,   /* before the fork: takes locks under which nobody waits for anything. Waits for nothing else */
	HPX_FORK_PARENT,   /* gives them back in the parent */
	HPX_FORK_LOCKS,    /* makes locks anew that vanished threads may have held; calls nothing else of hapax's */
	HPX_FORK_CONTENTS, /* puts in order what they left behind, with whatever locks that takes */
	HPX_FORK_STAGES
};
void hpx_fork_hook(enum hpx_fork_stage stage, void (*hook)(void));

#endif
