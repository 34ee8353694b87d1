/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/atomic.h - atomics with the order in the operation's name.
 *
 * A shared word is HPX_ATOMIC(type): a one-field struct, so that plain access is a type error. Every operation is a
 * yield point in the chaos build (in the model build it is one by itself). Call sites name the edge, e.g.
 *     order: TABLE.PUBLISH -> release; entry fields before reachability
 */
#ifndef HPX_ATOMIC_H
#define HPX_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#ifdef HPX_CHAOS
void hpx_yield_point(void);
#define HPX_POINT() hpx_yield_point()
#else
#define HPX_POINT() ((void)0)
#endif

/* After a thread's outermost section: long enough, now and then, for memory that it should not look at any more to be used
 * again. HPX_STRICT: every retirement asks for a grace period of its own as well (with HPX_CHAOS). */
#ifdef HPX_STRICT
void hpx_strict_delay(void);
#define HPX_AFTER_SECTION() hpx_strict_delay()
#else
#define HPX_AFTER_SECTION() HPX_POINT()
#endif

#define HPX_ATOMIC(type) struct { type v; }
typedef HPX_ATOMIC(uint64_t) hpx_u64;
typedef HPX_ATOMIC(uint32_t) hpx_u32;
typedef HPX_ATOMIC(int) hpx_int;

#define hpx_init(p, x) __atomic_store_n(&(p)->v, (x), __ATOMIC_RELAXED) /* not yet shared */
#define hpx_load_relaxed(p) (HPX_POINT(), __atomic_load_n(&(p)->v, __ATOMIC_RELAXED))
#define hpx_load_acquire(p) (HPX_POINT(), __atomic_load_n(&(p)->v, __ATOMIC_ACQUIRE))
#define hpx_load_seq_cst(p) (HPX_POINT(), __atomic_load_n(&(p)->v, __ATOMIC_SEQ_CST))
#define hpx_store_relaxed(p, x) (HPX_POINT(), __atomic_store_n(&(p)->v, (x), __ATOMIC_RELAXED))
#define hpx_store_release(p, x) (HPX_POINT(), __atomic_store_n(&(p)->v, (x), __ATOMIC_RELEASE))
#define hpx_store_seq_cst(p, x) (HPX_POINT(), __atomic_store_n(&(p)->v, (x), __ATOMIC_SEQ_CST))
#define hpx_exchange_acquire(p, x) (HPX_POINT(), __atomic_exchange_n(&(p)->v, (x), __ATOMIC_ACQUIRE))
#define hpx_exchange_acq_rel(p, x) (HPX_POINT(), __atomic_exchange_n(&(p)->v, (x), __ATOMIC_ACQ_REL))
#define hpx_exchange_relaxed(p, x) (HPX_POINT(), __atomic_exchange_n(&(p)->v, (x), __ATOMIC_RELAXED))
#define hpx_add_relaxed(p, x) (HPX_POINT(), __atomic_fetch_add(&(p)->v, (x), __ATOMIC_RELAXED))
#define hpx_add_acquire(p, x) (HPX_POINT(), __atomic_fetch_add(&(p)->v, (x), __ATOMIC_ACQUIRE))
#define hpx_add_release(p, x) (HPX_POINT(), __atomic_fetch_add(&(p)->v, (x), __ATOMIC_RELEASE))
#define hpx_add_acq_rel(p, x) (HPX_POINT(), __atomic_fetch_add(&(p)->v, (x), __ATOMIC_ACQ_REL))
#define hpx_add_seq_cst(p, x) (HPX_POINT(), __atomic_fetch_add(&(p)->v, (x), __ATOMIC_SEQ_CST))
#define hpx_sub_relaxed(p, x) (HPX_POINT(), __atomic_fetch_sub(&(p)->v, (x), __ATOMIC_RELAXED))
#define hpx_sub_release(p, x) (HPX_POINT(), __atomic_fetch_sub(&(p)->v, (x), __ATOMIC_RELEASE))
#define hpx_sub_acq_rel(p, x) (HPX_POINT(), __atomic_fetch_sub(&(p)->v, (x), __ATOMIC_ACQ_REL))
#define hpx_or_relaxed(p, x) (HPX_POINT(), __atomic_fetch_or(&(p)->v, (x), __ATOMIC_RELAXED))
#define hpx_or_acq_rel(p, x) (HPX_POINT(), __atomic_fetch_or(&(p)->v, (x), __ATOMIC_ACQ_REL))
#define hpx_or_seq_cst(p, x) (HPX_POINT(), __atomic_fetch_or(&(p)->v, (x), __ATOMIC_SEQ_CST))
#define hpx_and_acq_rel(p, x) (HPX_POINT(), __atomic_fetch_and(&(p)->v, (x), __ATOMIC_ACQ_REL))
#define hpx_and_seq_cst(p, x) (HPX_POINT(), __atomic_fetch_and(&(p)->v, (x), __ATOMIC_SEQ_CST))
/* `e` points to the expected value and receives the one seen on failure */
#define hpx_cas_acq_rel(p, e, x) \
	(HPX_POINT(), __atomic_compare_exchange_n(&(p)->v, (e), (x), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
#define hpx_cas_release(p, e, x) \
	(HPX_POINT(), __atomic_compare_exchange_n(&(p)->v, (e), (x), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
#define hpx_cas_relaxed(p, e, x) \
	(HPX_POINT(), __atomic_compare_exchange_n(&(p)->v, (e), (x), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
#define hpx_cas_seq_cst(p, e, x) \
	(HPX_POINT(), __atomic_compare_exchange_n(&(p)->v, (e), (x), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))

#define HPX_LIKELY(x) __builtin_expect(!!(x), 1)
#define HPX_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HPX_CONTAINER_OF(p, type, member) ((type *)(void *)((char *)(p) - offsetof(type, member)))
#define HPX_CACHE_LINE 64

/* In a loop that waits for another thread for a moment. */
static inline void hpx_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

#endif
