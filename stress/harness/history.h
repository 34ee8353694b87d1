/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * history.h - records what concurrent calls were given and what they answered, for linearize.h.
 *
 * Each thread writes a log of its own. What threads share is two counters, changed by relaxed additions only: the stamps
 * and the ids. To ThreadSanitizer, to the model and to C11 they order nothing, so they hide no missing order of hapax's.
 * To the processor they do, and have to: a stamp that could move into the call it encloses would lie about the call. An
 * addition is a full barrier on x86-64; elsewhere history.c adds a barrier that no tool takes for an edge.
 *
 * Reset, check and print while no thread records, with an edge from and to those that do (a join, a barrier).
 *
 *      hold = hpx_history_hold(h, t, id, hpx_history_stamp(h));       an object of one's own
 *      e = hpx_history_call(h, t, HPX_LIN_GET, key, 0);
 *      ... the call ...
 *      hpx_history_return(h, e, result id);
 *      hold = hpx_history_hold(h, t, result id, e->call);
 *      ...
 *      hpx_history_drop(h, hold); hapax_release(object); hpx_history_dropped(h, hold);
 */
#ifndef HPX_STRESS_HISTORY_H
#define HPX_STRESS_HISTORY_H

#include "linearize.h"
#include "relaxed.h"

enum { HPX_HISTORY_THREADS = 8, HPX_HISTORY_EVENTS = 32, HPX_HISTORY_HOLDS = 64 };

struct hpx_history_log {
	unsigned events, holds;
	bool full; /* something was not recorded: the history is undecided */
	struct hpx_lin_event *loading; /* the event whose call is running: the loader stamps it */
	struct hpx_lin_event event[HPX_HISTORY_EVENTS];
	struct hpx_lin_hold hold[HPX_HISTORY_HOLDS];
} __attribute__((aligned(128)));

struct hpx_history {
	hpx_relaxed clock __attribute__((aligned(128)));
	hpx_relaxed ids __attribute__((aligned(128)));
	unsigned threads __attribute__((aligned(128)));
	bool retained; /* as in linearize.h; kept by reset */
	struct hpx_history_log log[HPX_HISTORY_THREADS];
	/* of the last check: all logs as one */
	struct hpx_lin_event event[HPX_HISTORY_THREADS * HPX_HISTORY_EVENTS];
	struct hpx_lin_hold hold[HPX_HISTORY_THREADS * HPX_HISTORY_HOLDS];
};

void hpx_history_reset(struct hpx_history *h, unsigned threads);

/* By the recording threads; `thread` is the caller's own index. */
uint64_t hpx_history_stamp(struct hpx_history *h);
unsigned hpx_history_id(struct hpx_history *h); /* of a new object or load, from 1 */
struct hpx_lin_event *hpx_history_call(struct hpx_history *h, unsigned thread, enum hpx_lin_op op, unsigned key,
				       unsigned arg);
void hpx_history_return(struct hpx_history *h, struct hpx_lin_event *event, unsigned result);
/* The call failed in a way that did nothing (no memory, a timeout): as if it had not been made. */
void hpx_history_forget(struct hpx_history *h, unsigned thread, struct hpx_lin_event *event);
/* In a loader, on the thread that runs it: first and last thing. enter returns the id of the load. */
unsigned hpx_history_enter_loader(struct hpx_history *h, unsigned thread);
void hpx_history_leave_loader(struct hpx_history *h, unsigned thread);
/* A reference is held since `from`. The result may be NULL (log full): all take that. */
struct hpx_lin_hold *hpx_history_hold(struct hpx_history *h, unsigned thread, unsigned id, uint64_t from);
void hpx_history_drop(struct hpx_history *h, struct hpx_lin_hold *hold);
void hpx_history_dropped(struct hpx_history *h, struct hpx_lin_hold *hold);

/* The logs as one history; valid until the next reset. */
struct hpx_lin_history hpx_history_all(struct hpx_history *h);
struct hpx_lin_verdict hpx_history_check(struct hpx_history *h, struct hpx_lin_space *space);

#endif
