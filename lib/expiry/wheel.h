/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * expiry/wheel.h - a hierarchical timer wheel: what is due, exactly, in bounded work per call.
 *
 * Time is 64 bits of nanoseconds, read as 11 digits of 6 bits. `at` is where the wheel stands. A timer with due > at lies
 * on the level of the highest digit in which due and at differ, in the slot that this digit of due names:
 *
 *      at   = ... 5 . 2 . 63 . 1          due 5 . 2 . 63 . 9    level 0, slot 9
 *                                         due 5 . 4 .  0 . 7    level 2, slot 4: opened when `at` reaches 5 . 4 . 0 . 0
 *
 * so the first slot of the lowest level that is not empty is the earliest, and where a timer lies follows from due and at.
 * When a slot is reached its list becomes the OPEN list, at once, and what is in that is handed out or put a level
 * or more down, one timer per step: a step is what `max` bounds. What is added with due <= at goes to the open list too.
 *
 * Guarantees: a timer is never handed out before its due; once hpx_wheel_due(now) has returned 0, nothing with due <= now
 * is left. A call handles at most `max` timers, whatever the jump of the clock and the length of a slot. Time may go back:
 * what is due at an instant is handed out at that instant (the wheel is turned back, at most 656 lists are joined,
 * and only if there is a timer with now < due <= at).
 *
 * All calls but hpx_wheel_cancel() are made under the owner's lock. A timer that was added may be cancelled by a thread
 * without that lock, once; it is unlinked, and may be freed, when the lock's holder takes it back with
 * hpx_wheel_cancelled(). The wheel never looks at `entry`. One that was handed out may be on the stack of the cancelled as
 * well: whose it is the holder of the lock settles before giving it up, by exchanging `entry`, as the canceller does
 * before: who got NULL forgets the timer.
 */
#ifndef HPX_WHEEL_H
#define HPX_WHEEL_H

#include <stddef.h>

#include "base/atomic.h"

#define HPX_WHEEL_LEVELS 11
#define HPX_WHEEL_SLOTS 656 /* 64 a level; the highest has 4 bits only */

struct hpx_timer {
	struct hpx_timer *next, *prev;   /* in the wheel: a ring; handed out: `next`, up to NULL */
	struct hpx_timer *cancelled;     /* those cancelled, up to NULL */
	uint64_t due;
	HPX_ATOMIC(void *) entry;        /* the owner's: what it is for; cleared by who claims that */
	bool linked;                     /* in the wheel; under the lock */
	bool fired;                      /* the owner's: handed out and not yet dealt with; under the lock */
};

struct hpx_wheel {
	uint64_t at;
	uint64_t open_due;               /* nothing in the open list is due before; UINT64_MAX: it is empty */
	struct hpx_timer *open;
	size_t count;                    /* timers in the wheel, cancelled ones that were not taken back included */
	uint64_t steps;                  /* timers handled and lists joined, ever: what a call cost */
	uint32_t levels;                 /* those with anything in them */
	uint64_t bits[HPX_WHEEL_LEVELS]; /* slots with anything in them */
	HPX_ATOMIC(struct hpx_timer *) cancelled;
	struct hpx_timer *slots[HPX_WHEEL_SLOTS];
};

void hpx_wheel_init(struct hpx_wheel *w, uint64_t now);
/* Puts a timer in, or elsewhere if it is in. A new one is zeroed but for `entry`. `due` may have passed. */
void hpx_wheel_add(struct hpx_wheel *w, struct hpx_timer *t, uint64_t due);
/* Takes it out; nothing if it is not in (never was, or was handed out). */
void hpx_wheel_remove(struct hpx_wheel *w, struct hpx_timer *t);
/* Handles up to `max` timers and puts those that are due (due <= now) into *list, taken out: NULL, or linked by `next`.
 * Returns how many were handled: 0: nothing is due. (More than are in the list: call again, others may be due.) */
unsigned hpx_wheel_due(struct hpx_wheel *w, uint64_t now, struct hpx_timer **list, unsigned max);
/* When hpx_wheel_due() next has something to do: the due of the earliest timer, or earlier, where many lie together. Earlier
 * than that once per level at most: a call at that time makes the next answer later. UINT64_MAX: the wheel is empty. */
uint64_t hpx_wheel_next(const struct hpx_wheel *w);
static inline bool hpx_wheel_empty(const struct hpx_wheel *w) { return !w->count; }

/* Any thread, without the lock, once per timer, after it was added (or instead: then it is never added). The timer is not
 * the caller's any more. */
void hpx_wheel_cancel(struct hpx_wheel *w, struct hpx_timer *t);
/* Takes back all that were cancelled: out of the wheel, to be freed: NULL, or linked by `cancelled`. */
struct hpx_timer *hpx_wheel_cancelled(struct hpx_wheel *w);
/* Is there anything to take back? Without the lock: a hint. */
static inline bool hpx_wheel_has_cancelled(const struct hpx_wheel *w)
{
	return hpx_load_relaxed(&w->cancelled); /* order: EXPIRY.CANCEL relaxed; a hint */
}

/* Walks all of it: true, or false and what is wrong. */
bool hpx_wheel_check(const struct hpx_wheel *w, char *message, size_t size);

#endif
