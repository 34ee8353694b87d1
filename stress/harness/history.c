/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "history.h"

#include <string.h>

/* Keeps stamps where they were taken, for the compiler and the processor; see history.h. */
static inline void stay(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("" ::: "memory"); /* the addition is a locked instruction */
#elif defined(__aarch64__) || defined(__arm__)
	__asm__ volatile("dmb ish" ::: "memory");
#else
	__sync_synchronize();
#endif
}

void hpx_history_reset(struct hpx_history *h, unsigned threads)
{
	h->threads = threads;
	hpx_relaxed_set(&h->clock, 1);
	hpx_relaxed_set(&h->ids, 1);
	for (unsigned t = 0; t < threads; t++) {
		h->log[t].events = h->log[t].holds = 0;
		h->log[t].full = false;
		h->log[t].loading = NULL;
	}
}

uint64_t hpx_history_stamp(struct hpx_history *h)
{
	uint64_t stamp;

	stay();
	stamp = hpx_relaxed_add(&h->clock, 1);
	stay();
	return stamp;
}

unsigned hpx_history_id(struct hpx_history *h) { return (unsigned)hpx_relaxed_add(&h->ids, 1); }

struct hpx_lin_event *hpx_history_call(struct hpx_history *h, unsigned thread, enum hpx_lin_op op, unsigned key,
				       unsigned arg)
{
	struct hpx_history_log *log = &h->log[thread];
	struct hpx_lin_event *event;

	if (log->events == HPX_HISTORY_EVENTS) { /* recorded over, and not to be believed */
		log->full = true;
		log->events--;
	}
	event = &log->event[log->events++];
	*event = (struct hpx_lin_event){.op = op, .thread = thread, .key = key, .arg = arg, .ret = HPX_LIN_NEVER};
	log->loading = event;
	event->call = hpx_history_stamp(h);
	return event;
}

void hpx_history_return(struct hpx_history *h, struct hpx_lin_event *event, unsigned result)
{
	event->ret = hpx_history_stamp(h);
	event->result = result;
	h->log[event->thread].loading = NULL;
}

void hpx_history_forget(struct hpx_history *h, unsigned thread, struct hpx_lin_event *event)
{
	struct hpx_history_log *log = &h->log[thread];

	if (event == &log->event[log->events - 1])
		log->events--;
	log->loading = NULL;
}

unsigned hpx_history_enter_loader(struct hpx_history *h, unsigned thread)
{
	struct hpx_lin_event *event = h->log[thread].loading;
	unsigned id = hpx_history_id(h);

	if (event) {
		event->loaded = true;
		event->begin = hpx_history_stamp(h);
	}
	return id;
}

void hpx_history_leave_loader(struct hpx_history *h, unsigned thread)
{
	struct hpx_lin_event *event = h->log[thread].loading;

	if (event)
		event->end = hpx_history_stamp(h);
}

struct hpx_lin_hold *hpx_history_hold(struct hpx_history *h, unsigned thread, unsigned id, uint64_t from)
{
	struct hpx_history_log *log = &h->log[thread];
	struct hpx_lin_hold *hold;

	if (log->holds == HPX_HISTORY_HOLDS) {
		log->full = true;
		return NULL;
	}
	hold = &log->hold[log->holds++];
	*hold = (struct hpx_lin_hold){.id = id, .from = from, .drop = HPX_LIN_NEVER, .dropped = HPX_LIN_NEVER};
	return hold;
}

void hpx_history_drop(struct hpx_history *h, struct hpx_lin_hold *hold)
{
	if (hold)
		hold->drop = hpx_history_stamp(h);
}

void hpx_history_dropped(struct hpx_history *h, struct hpx_lin_hold *hold)
{
	if (hold)
		hold->dropped = hpx_history_stamp(h);
}

struct hpx_lin_history hpx_history_all(struct hpx_history *h)
{
	struct hpx_lin_history all = {.event = h->event, .hold = h->hold, .retained = h->retained};

	for (unsigned t = 0; t < h->threads; t++) {
		const struct hpx_history_log *log = &h->log[t];

		memcpy(h->event + all.events, log->event, log->events * sizeof(*log->event));
		memcpy(h->hold + all.holds, log->hold, log->holds * sizeof(*log->hold));
		all.events += log->events;
		all.holds += log->holds;
	}
	return all;
}

struct hpx_lin_verdict hpx_history_check(struct hpx_history *h, struct hpx_lin_space *space)
{
	struct hpx_lin_history all = hpx_history_all(h);

	for (unsigned t = 0; t < h->threads; t++)
		if (h->log[t].full)
			return (struct hpx_lin_verdict){.answer = HPX_LIN_UNDECIDED, .why = "a log was full"};
	return hpx_lin_check(space, &all);
}
