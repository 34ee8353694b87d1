/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/calls.c - who is in a cache.
 *
 * `calls` counts the slow calls in progress and the caller's handle. Hits are not counted: they lie in read sections.
 * destroy() waits until only its own handle is left and then ends the cache; called from the cache's own user code it
 * gives the handle up, and the last call out ends it. FINISHED, set in `calls` by one compare-and-swap, decides who.
 *
 * As long as the cache is not ENDING calls are counted by their threads instead, in the counters CAME and WENT, which share
 * no line. A section sees the state and counts: CAME where it saw OPEN, WENT where it did not see ENDING, and `calls` is used
 * otherwise. So a grace period after ENDING was set the counters stand still, and those who read them see all of it. Then they
 * are folded: what they say is added to `calls`, and STRIPED is taken out of it. Before that no value of `calls` is that of
 * a cache with one call left, and none says that one may finish: each that came in is in one of the two, and may go by the other.
 * destroy() folds; called from the cache's own user code, where it is not to wait, a call that leaves does: that which called
 * it, or another before. A release inside a section of its thread's own may run a removal callback, which is a call: where no
 * grace period can pass, that one only goes.
 */
#include <errno.h>

#include "cache/cache.h"

/* In a section: nobody is in a cache that is ending. True: this thread comes in again, to empty it. */
static bool comes_to_empty(hapax_cache *c)
{
	uint64_t none = 0;

	/* order: CACHE.CALLS acq_rel; what every call did, before the end; one of those who find it so comes in */
	return !hpx_load_relaxed(&c->emptied) && hpx_cas_acq_rel(&c->calls, &none, 1);
}

bool hpx_cache_last_out(hapax_cache *c, uint64_t calls)
{
	/* order: CACHE.CALLS acq_rel; what every call did happens before the end */
	return hpx_cas_acq_rel(&c->calls, &calls, calls | HPX_CACHE_FINISHED);
}

/* In a section. */
static int enter_closed(hapax_cache *c, enum hpx_cache_state limit)
{
	/* order: -> CACHE.CALLS acquire */
	if (limit == HPX_CACHE_OPEN || hpx_add_acquire(&c->calls, 1) & HPX_CACHE_FINISHED)
		return HAPAX_ECLOSED; /* if FINISHED: `calls` means nothing any more */
	return 0;
}

int hpx_cache_enter(hapax_cache *c, enum hpx_cache_state limit)
{
	bool counted;
	int rc = 0;

	hpx_thread_ready();
	hpx_read_lock();
	counted = !hpx_cache_enter_quick(c);
	if (HPX_UNLIKELY(counted))
		rc = enter_closed(c, limit);
	hpx_read_unlock();
	if (HPX_UNLIKELY(counted) && !rc && hpx_cache_state(c) > limit) {
		hpx_cache_leave(c);
		rc = HAPAX_ECLOSED;
	}
	return rc;
}

/* As long as the section lasts nobody who ends the cache folds its counters, so that nothing says that it may finish. */
bool hpx_cache_visit(hapax_cache *c)
{
	if (hpx_cache_enter_quick(c))
		return true;
	/* order: CACHE.CALLS acquire; as in enter_closed() */
	return hpx_cache_state(c) == HPX_CACHE_CLOSED && !(hpx_add_acquire(&c->calls, 1) & HPX_CACHE_FINISHED);
}

void hpx_cache_leave(hapax_cache *c) { hpx_cache_leave_quick(c); }

/* WENT first: what has gone has come before. */
static uint64_t striped_calls(hapax_cache *c)
{
	uint64_t went = hpx_counters_sum(&c->counters, HPX_CACHE_WENT);

	return hpx_counters_sum(&c->counters, HPX_CACHE_CAME) - went;
}

uint64_t hpx_cache_calls(hapax_cache *c)
{
	uint64_t calls = hpx_load_acquire(&c->calls); /* order: -> CACHE.CALLS acquire */

	return calls & HPX_CACHE_STRIPED ? calls - HPX_CACHE_STRIPED + striped_calls(c) - 1 : calls - 1;
}

void hpx_cache_fold(hapax_cache *c)
{
	/* order: CACHE.CALLS acq_rel; what the calls did that went by the counters */
	hpx_add_acq_rel(&c->calls, striped_calls(c) - HPX_CACHE_STRIPED);
}

void hpx_cache_leave_ending(hapax_cache *c)
{
	bool mine = false, emptying = false;
	uint64_t before;

	hpx_read_unlock();
	/* order: CACHE.CALLS acq_rel; one of those who leave, and all are in until then */
	if (hpx_load_relaxed(&c->unfolded) && !hpx_in_section() && hpx_exchange_acq_rel(&c->unfolded, 0)) {
		hpx_synchronize();
		hpx_cache_fold(c);
	}
	hpx_read_lock();
	/* order: CACHE.CALLS -> release; what this call did */
	before = hpx_sub_acq_rel(&c->calls, 1);
	if (before == 1) {
		emptying = comes_to_empty(c);
		mine = !emptying && hpx_cache_last_out(c, 0);
	}
	if (before == 2)
		hpx_event_signal(&c->event, c->env);
	hpx_read_unlock();
	if (HPX_UNLIKELY(emptying)) {
		hpx_cache_empty(c);
		hpx_cache_leave(c);
	}
	if (HPX_UNLIKELY(mine))
		hpx_cache_finish(c);
}

int hpx_cache_stay(struct hpx_stay *stay, hapax_cache *c, enum hpx_cache_state limit)
{
	int rc;

	stay->saved_errno = errno;
	rc = hpx_cache_enter(c, limit);
	stay->cache = rc ? NULL : c;
	return rc;
}

void hpx_cache_stay_end(struct hpx_stay *stay)
{
	if (!stay->cache)
		return;
	hpx_cache_leave(stay->cache);
	errno = stay->saved_errno;
}

void hpx_cache_give_up(hapax_cache *c, bool in)
{
	if (in) {
		/* order: CACHE.CALLS -> release; the state, for who folds */
		hpx_store_release(&c->unfolded, 1);
		hpx_sub_acq_rel(&c->calls, 1); /* order: CACHE.CALLS -> release; what this call did */
	} else {
		hpx_synchronize();
		hpx_cache_fold(c);
		hpx_cache_leave(c);
	}
}
