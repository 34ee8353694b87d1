/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/section.h - read sections, over liburcu's "bp" flavour. Included by reclaim.h.
 *
 * Normal builds inline liburcu's lock and unlock. ThreadSanitizer cannot see the edge from a reader's unlock to the end
 * of the grace period that waited for it, so in its builds liburcu is called, and the edge is drawn: the outermost
 * unlock releases the tag that the parity of the grace-period number names, and the end of grace period n acquires the
 * tag of the number before it. The number is read on both sides of the lock; where the readings differ both tags are
 * released. Readers acquire nothing: they are not ordered with each other, and real races stay visible.
 */
#ifndef HPX_SECTION_H
#define HPX_SECTION_H

#if defined(__SANITIZE_THREAD__)
#define HPX_SECTION_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HPX_SECTION_TSAN 1
#endif
#endif

/* liburcu's readers are less aligned than their type says, which UndefinedBehaviorSanitizer (used with Address) sees. */
#if defined(__SANITIZE_ADDRESS__)
#define HPX_SECTION_CALLS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define HPX_SECTION_CALLS 1
#endif
#endif

#if !defined(HPX_SECTION_TSAN) && !defined(HPX_SECTION_CALLS) && !defined(_LGPL_SOURCE)
#define _LGPL_SOURCE
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <urcu/urcu-bp.h>
#include <urcu/static/urcu-bp.h>
#pragma GCC diagnostic pop

#include "base/atomic.h"

/* The first member of a reader: nesting and phase. order: STALL.LOOK relaxed; exact for one's own */
static inline unsigned long hpx_reader_ctr(const struct urcu_bp_reader *reader)
{
	return __atomic_load_n((const unsigned long *)(const void *)reader, __ATOMIC_RELAXED);
}

/* Whether this thread is in a read section of urcu-bp: ours or the application's own. */
static inline bool hpx_in_section(void)
{
	return URCU_TLS(urcu_bp_reader) && (hpx_reader_ctr(URCU_TLS(urcu_bp_reader)) & URCU_BP_GP_CTR_NEST_MASK);
}

#ifdef HPX_SECTION_TSAN

void hpx_section_enter(void);
void hpx_section_leave(void);
static inline void hpx_read_lock(void) { hpx_section_enter(); }
static inline void hpx_read_unlock(void) { hpx_section_leave(); }
struct hpx_quick { char none; };
static inline bool hpx_quick_lock(struct hpx_quick *q) { q->none = 0; hpx_read_lock(); return true; }
static inline void hpx_quick_unlock(struct hpx_quick *q) { (void)q; hpx_read_unlock(); }

#else

static inline void hpx_read_lock(void)
{
	HPX_POINT();
	urcu_bp_read_lock();
}

static inline void hpx_read_unlock(void)
{
	HPX_POINT();
	urcu_bp_read_unlock();
#ifdef HPX_STRICT
	if (!hpx_in_section())
#endif
		HPX_AFTER_SECTION();
}

/*
 * The same for short functions: an outermost section of a thread that has been in one before, where the system orders readers.
 * False: it is not entered; hpx_read_lock() would. Nested ones may come and go inside it.
 */
#ifdef HPX_SECTION_CALLS
struct hpx_quick { char none; };
static inline bool hpx_quick_lock(struct hpx_quick *q) { q->none = 0; hpx_read_lock(); return true; }
static inline void hpx_quick_unlock(struct hpx_quick *q) { (void)q; hpx_read_unlock(); }
#else
struct hpx_quick {
	struct urcu_bp_reader *reader;
	unsigned long ctr;
};

static inline bool hpx_quick_lock(struct hpx_quick *q)
{
	HPX_POINT();
	q->reader = URCU_TLS(urcu_bp_reader);
	if (HPX_UNLIKELY(!q->reader || !urcu_bp_has_sys_membarrier || (q->reader->ctr & URCU_BP_GP_CTR_NEST_MASK)))
		return false;
	q->ctr = CMM_LOAD_SHARED(urcu_bp_gp.ctr);
	_CMM_STORE_SHARED(q->reader->ctr, q->ctr);
	cmm_barrier();
	return true;
}

static inline void hpx_quick_unlock(const struct hpx_quick *q)
{
	HPX_POINT();
	cmm_barrier();
	_CMM_STORE_SHARED(q->reader->ctr, q->ctr - URCU_BP_GP_COUNT);
	cmm_barrier();
	HPX_AFTER_SECTION();
}
#endif

#endif
#endif
