/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/ck_port.h - the only door to ConcurrencyKit: event counts.
 *
 * CK's primitives on x86 are inline assembly, which ThreadSanitizer does not see: neither the accesses (so there is
 * nothing to report) nor their ordering, which the pair of annotations here tells it.
 */
#ifndef HPX_CK_PORT_H
#define HPX_CK_PORT_H

#include <ck_ec.h>
#include <time.h>

#include "base/atomic.h"

#if defined(__SANITIZE_THREAD__)
#define HPX_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HPX_TSAN 1
#endif
#endif

#ifdef HPX_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define HPX_TSAN_ACQUIRE(p) __tsan_acquire((void *)(uintptr_t)(p))
#define HPX_TSAN_RELEASE(p) __tsan_release((void *)(uintptr_t)(p))
#else
#define HPX_TSAN_ACQUIRE(p) ((void)(p))
#define HPX_TSAN_RELEASE(p) ((void)(p))
#endif

/* Frames that cancellation leaves without AddressSanitizer's knowledge: it would find their traces in later ones. */
#define HPX_LEFT_BY_CANCELLATION __attribute__((no_sanitize_address))

static inline void hpx_ec_init(struct ck_ec32 *ec) { ck_ec32_init(ec, 0); }

static inline uint32_t hpx_ec_value(const struct ck_ec32 *ec)
{
	/* order: -> EVENT.SIGNAL acquire; in ck_ec32_value() */
	uint32_t value = ck_ec32_value(ec);

	HPX_TSAN_ACQUIRE(ec);
	return value;
}

static inline void hpx_ec_signal(struct ck_ec32 *ec, const struct ck_ec_ops *ops)
{
	const struct ck_ec_mode mode = {.ops = ops, .single_producer = false};

	/* order: EVENT.SIGNAL -> release; a locked increment, what it announces before it */
	HPX_TSAN_RELEASE(ec);
	ck_ec32_inc(ec, &mode);
}

/*
 * CK sleeps in growing steps and looks at the deadline only between them, and then for being past. Neither suits us: a
 * sleep lasts until the very deadline, and an instant is reached when it has come.
 */
static inline int hpx_ec_until(const struct ck_ec_wait_state *state, struct timespec *step)
{
	const struct timespec *deadline = state->data;

	if (!deadline) {
		step->tv_sec = (time_t)(UINT64_MAX / 1000000000); /* as late as a clock of ours can be */
		step->tv_nsec = (long)(UINT64_MAX % 1000000000);
		return 0;
	}
	*step = *deadline;
	return state->now.tv_sec > deadline->tv_sec ||
	       (state->now.tv_sec == deadline->tv_sec && state->now.tv_nsec >= deadline->tv_nsec);
}

/* 0: the value differs from `old`; otherwise the deadline (NULL: none) has come. */
HPX_LEFT_BY_CANCELLATION static inline int hpx_ec_wait(struct ck_ec32 *ec, const struct ck_ec_ops *ops, uint32_t old,
			      const struct timespec *deadline)
{
	const struct ck_ec_mode mode = {.ops = ops, .single_producer = false};
	int late = ck_ec32_wait_pred(ec, &mode, old, hpx_ec_until, (void *)(uintptr_t)deadline, deadline);

	/* order: -> EVENT.SIGNAL acquire; in ck_ec32_wait_pred() */
	HPX_TSAN_ACQUIRE(ec);
	return late;
}

#endif
