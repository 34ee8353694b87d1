/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* expiry/wheel.c - see wheel.h. */
#include <string.h>

#include "base/check.h"
#include "expiry/wheel.h"

#define DIGIT 6
#define WIDTH (1u << DIGIT)
#define LOOKS 8 /* timers of a slot that next() looks at */

/* ---- places ------------------------------------------------------------------------------------------------------ */

static unsigned digit(uint64_t time, unsigned level)
{
	return time >> (level * DIGIT) & (WIDTH - 1);
}

/* Of the highest digit in which they differ. */
static unsigned level_of(uint64_t a, uint64_t b)
{
	return (63u - (unsigned)__builtin_clzll(a ^ b)) / DIGIT;
}

/* Where a slot of `level` that holds `due` begins. */
static uint64_t slot_begin(uint64_t due, unsigned level)
{
	return due & ~((UINT64_C(1) << (level * DIGIT)) - 1);
}

static uint64_t slot_last(uint64_t due, unsigned level)
{
	return due | ((UINT64_C(1) << (level * DIGIT)) - 1);
}

/* ---- rings ------------------------------------------------------------------------------------------------------- */

static void ring_append(struct hpx_timer **ring, struct hpx_timer *t)
{
	struct hpx_timer *first = *ring;

	if (!first) {
		t->next = t->prev = t;
		*ring = t;
		return;
	}
	t->next = first;
	t->prev = first->prev;
	t->prev->next = t;
	first->prev = t;
}

static void ring_join(struct hpx_timer **ring, struct hpx_timer *more)
{
	struct hpx_timer *first = *ring, *last;

	if (!first) {
		*ring = more;
		return;
	}
	last = first->prev;
	first->prev = more->prev;
	more->prev->next = first;
	more->prev = last;
	last->next = more;
}

/* ---- putting in, taking out ---------------------------------------------------------------------------------------- */

static void mark(struct hpx_wheel *w, unsigned level, unsigned slot)
{
	w->bits[level] |= UINT64_C(1) << slot;
	w->levels |= 1u << level;
}

static void unmark(struct hpx_wheel *w, unsigned level, unsigned slot)
{
	w->bits[level] &= ~(UINT64_C(1) << slot);
	if (!w->bits[level])
		w->levels &= ~(1u << level);
}

static void open_add(struct hpx_wheel *w, struct hpx_timer *t)
{
	ring_append(&w->open, t);
	if (t->due < w->open_due)
		w->open_due = t->due;
}

static void place(struct hpx_wheel *w, struct hpx_timer *t)
{
	unsigned level, slot;

	if (t->due <= w->at) {
		open_add(w, t);
		return;
	}
	level = level_of(t->due, w->at);
	slot = digit(t->due, level);
	ring_append(&w->slots[level * WIDTH + slot], t);
	mark(w, level, slot);
}

static void unlink_timer(struct hpx_wheel *w, struct hpx_timer *t)
{
	struct hpx_timer *rest = t->next == t ? NULL : t->next;
	unsigned level, slot;

	t->next->prev = t->prev;
	t->prev->next = t->next;
	t->next = t->prev = NULL;
	if (w->open == t) {
		w->open = rest;
		if (!rest)
			w->open_due = UINT64_MAX;
		return;
	}
	if (t->due <= w->at)
		return;
	/* the first of its slot? One in the open list may have a due that names a slot, but is not first there */
	level = level_of(t->due, w->at);
	slot = digit(t->due, level);
	if (w->slots[level * WIDTH + slot] == t) {
		w->slots[level * WIDTH + slot] = rest;
		if (!rest)
			unmark(w, level, slot);
	}
}

void hpx_wheel_init(struct hpx_wheel *w, uint64_t now)
{
	memset(w, 0, sizeof *w);
	w->at = now;
	w->open_due = UINT64_MAX;
}

void hpx_wheel_add(struct hpx_wheel *w, struct hpx_timer *t, uint64_t due)
{
	if (t->linked)
		unlink_timer(w, t);
	else
		w->count++;
	t->linked = true;
	t->due = due;
	place(w, t);
}

void hpx_wheel_remove(struct hpx_wheel *w, struct hpx_timer *t)
{
	if (!t->linked)
		return;
	unlink_timer(w, t);
	t->linked = false;
	w->count--;
}

/* ---- turning ----------------------------------------------------------------------------------------------------- */

/*
 * Back to `now` < at. On levels above that of the highest digit in which they differ nothing changes, and what lies on that
 * level stays where it is; what lies on lower ones agrees with `at` in that digit, which names its slot.
 */
static void turn_back(struct hpx_wheel *w, uint64_t now)
{
	unsigned to = level_of(w->at, now), slot = digit(w->at, to);
	struct hpx_timer **ring = &w->slots[to * WIDTH + slot], **from;

	for (unsigned level = 0; level < to; level++) {
		for (; w->bits[level]; w->bits[level] &= w->bits[level] - 1) {
			from = &w->slots[level * WIDTH + (unsigned)__builtin_ctzll(w->bits[level])];
			ring_join(ring, *from);
			*from = NULL;
			w->steps++;
		}
		w->levels &= ~(1u << level);
	}
	if (*ring)
		mark(w, to, slot);
	w->at = now;
}

/* Opens the next slot if `now` has reached it. */
static bool turn(struct hpx_wheel *w, uint64_t now)
{
	unsigned level, slot;
	uint64_t due;

	if (now <= w->at)
		return false;
	if (!w->levels) {
		w->at = now;
		return false;
	}
	level = (unsigned)__builtin_ctz(w->levels);
	slot = (unsigned)__builtin_ctzll(w->bits[level]);
	due = w->slots[level * WIDTH + slot]->due;
	if (now < slot_begin(due, level)) {
		w->at = now;
		return false;
	}
	/* what is in it and not due is placed as far down as can be */
	w->at = now < slot_last(due, level) ? now : slot_last(due, level);
	w->open = w->slots[level * WIDTH + slot];
	w->open_due = slot_begin(due, level);
	w->slots[level * WIDTH + slot] = NULL;
	unmark(w, level, slot);
	return true;
}

unsigned hpx_wheel_due(struct hpx_wheel *w, uint64_t now, struct hpx_timer **list, unsigned max)
{
	struct hpx_timer **last = list, *t;
	unsigned n = 0;

	for (; n < max && (w->open || turn(w, now)); n++) {
		t = w->open;
		unlink_timer(w, t);
		w->steps++;
		if (t->due <= now) {
			t->linked = false;
			w->count--;
			*last = t;
			last = &t->next;
			continue;
		}
		if (t->due <= w->at)
			turn_back(w, now);
		place(w, t);
	}
	*last = NULL;
	return n;
}

uint64_t hpx_wheel_next(const struct hpx_wheel *w)
{
	const struct hpx_timer *first, *t;
	unsigned level, looks = 0;
	uint64_t due, open = w->open ? w->open_due : UINT64_MAX; /* turned back, the open list may be later than a slot */

	if (!w->levels)
		return open;
	level = (unsigned)__builtin_ctz(w->levels);
	t = first = w->slots[level * WIDTH + (unsigned)__builtin_ctzll(w->bits[level])];
	due = first->due;
	while ((t = t->next) != first) {
		if (++looks == LOOKS)
			return slot_begin(due, level) < open ? slot_begin(due, level) : open;
		if (t->due < due)
			due = t->due;
	}
	return due < open ? due : open;
}

/* ---- cancelling ---------------------------------------------------------------------------------------------------- */

void hpx_wheel_cancel(struct hpx_wheel *w, struct hpx_timer *t)
{
	struct hpx_timer *head = hpx_load_relaxed(&w->cancelled); /* order: EXPIRY.CANCEL relaxed; only copied */

	do
		t->cancelled = head;
	/* order: EXPIRY.CANCEL -> release; the link, and the last use of the timer */
	while (!hpx_cas_release(&w->cancelled, &head, t));
}

struct hpx_timer *hpx_wheel_cancelled(struct hpx_wheel *w)
{
	struct hpx_timer *list, *t;

	if (!hpx_wheel_has_cancelled(w))
		return NULL;
	/* order: -> EXPIRY.CANCEL acquire; what the cancellers did to what is going to be freed */
	list = hpx_exchange_acquire(&w->cancelled, NULL);
	for (t = list; t; t = t->cancelled)
		hpx_wheel_remove(w, t);
	return list;
}

/* ---- check ------------------------------------------------------------------------------------------------------- */

static const char *check_ring(const struct hpx_wheel *w, const struct hpx_timer *first, int at, size_t *count)
{
	const struct hpx_timer *t = first;

	do {
		if (!t->linked)
			return "a timer that is in says it is not";
		if (t->next->prev != t)
			return "broken links";
		if (at < 0 && t->due < w->open_due)
			return "an open timer that is due before all open ones";
		if (at >= 0 && (t->due <= w->at || (unsigned)at / WIDTH != level_of(t->due, w->at) ||
				(unsigned)at % WIDTH != digit(t->due, (unsigned)at / WIDTH)))
			return "a timer in a wrong slot";
		if (++*count > w->count)
			return "more timers than were counted";
		t = t->next;
	} while (t != first);
	return NULL;
}

bool hpx_wheel_check(const struct hpx_wheel *w, char *message, size_t size)
{
	const char *wrong = NULL;
	unsigned level, slot;
	size_t count = 0;
	bool marked;

	if (!w->open && w->open_due != UINT64_MAX)
		wrong = "an open timer is expected and there is none";
	if (!wrong && w->open)
		wrong = check_ring(w, w->open, -1, &count);
	for (int i = 0; !wrong && i < HPX_WHEEL_SLOTS; i++) {
		level = (unsigned)i / WIDTH;
		slot = (unsigned)i % WIDTH;
		marked = w->bits[level] >> slot & 1;
		if (marked != !!w->slots[i] || (marked && !(w->levels >> level & 1)))
			wrong = "a mark that is wrong";
		else if (w->slots[i])
			wrong = check_ring(w, w->slots[i], i, &count);
	}
	for (level = 0; !wrong && level < HPX_WHEEL_LEVELS; level++)
		if (!(w->levels >> level & 1) != !w->bits[level])
			wrong = "a level's mark that is wrong";
	if (!wrong && count != w->count)
		wrong = "fewer timers than were counted";
	if (wrong && size)
		snprintf(message, size, "wheel: %s", wrong);
	return !wrong;
}
