/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/ck_port.h of the model build: event counts by the algorithm of ConcurrencyKit, on atomics the model sees. The
 * upper bit of the count says that somebody sleeps; whoever counts and finds it clears it and wakes.
 *
 * What is promised to users of an event is promised here and no more: counting releases, reading the count acquires.
 */
#ifndef HPX_CK_PORT_H
#define HPX_CK_PORT_H

#include <stdint.h>
#include <time.h>

#include "base/atomic.h"

#define HPX_TSAN_ACQUIRE(p) ((void)(p))
#define HPX_TSAN_RELEASE(p) ((void)(p))
#define HPX_LEFT_BY_CANCELLATION

struct ck_ec32 {
	hpx_u32 counter;
};
struct ck_ec_ops;
struct ck_ec_wait_state {
	const struct ck_ec_ops *ops;
};
struct ck_ec_ops {
	int (*gettime)(const struct ck_ec_ops *ops, struct timespec *out);
	void (*wait32)(const struct ck_ec_wait_state *state, const uint32_t *word, uint32_t expected,
		       const struct timespec *deadline);
	void (*wake32)(const struct ck_ec_ops *ops, const uint32_t *word);
};
#define HPX_EC_SLEEPERS 0x80000000u

static inline void hpx_ec_init(struct ck_ec32 *ec) { hpx_init(&ec->counter, 0); }

static inline uint32_t hpx_ec_value(const struct ck_ec32 *ec)
{
	return hpx_load_acquire(&ec->counter) & ~HPX_EC_SLEEPERS;
}

static inline void hpx_ec_signal(struct ck_ec32 *ec, const struct ck_ec_ops *ops)
{
	if (!(hpx_add_release(&ec->counter, 1) & HPX_EC_SLEEPERS))
		return;
	hpx_and_acq_rel(&ec->counter, ~HPX_EC_SLEEPERS);
	ops->wake32(ops, &ec->counter.v);
}

static inline int hpx_ec_wait(struct ck_ec32 *ec, const struct ck_ec_ops *ops, uint32_t old,
			      const struct timespec *deadline)
{
	const struct ck_ec_wait_state state = {.ops = ops};
	struct timespec now;
	uint32_t seen;

	for (;;) {
		seen = hpx_load_acquire(&ec->counter);
		if ((seen & ~HPX_EC_SLEEPERS) != old)
			return 0;
		if (deadline) {
			ops->gettime(ops, &now);
			if (now.tv_sec > deadline->tv_sec ||
			    (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec))
				return 1;
		}
		if (!(seen & HPX_EC_SLEEPERS) && !hpx_cas_acq_rel(&ec->counter, &seen, seen | HPX_EC_SLEEPERS))
			continue;
		ops->wait32(&state, &ec->counter.v, old | HPX_EC_SLEEPERS, deadline);
	}
}

#endif
