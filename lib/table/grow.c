/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/grow.c - large arrays: made, and moved into, by housekeeping.
 *
 * PROBLEM. The first touch of a page of a new array costs the thread that moves entries into it: 2 microseconds for a small
 * page, hundreds for a huge one, which has to be cleared. And an allocator that is not ours has the whole array cleared in
 * one piece, on the thread whose put found that it is time to grow. The moves are as much work as the puts that share it.
 *
 * So arrays from PREPARE_FROM bytes are allocated by whoever runs what grace periods allow: the reclaimer as a rule. It
 * touches the first few slices, appends the array, and then moves homes into what has been touched, as far as that goes, and touches
 * the next slice. The table goes on with the array it has, which has room for half as many raises again as have made
 * it look for another one; whoever raises beyond that makes an array at once, as where there is no reclaimer.
 *
 *      growing:  0 --put finds it due--> 1 --appended--> 2 --all moved; or the table ended--> 0
 *                                        1 --no memory; or another one is there; or the table ended--> 0
 *
 * While it is 2 puts move no homes, but for those that they meet frozen: unless housekeeping does not keep pace with them,
 * which one put in 1024 looks at. So nothing is left undone when the reclaimer does not come to it, or not in a child of a
 * process that was forked within a step: there `growing` stays as it was, and arrays are made at once when it is late for them.
 *
 * A comparison of the application's own may be called by a move: then all moves are puts' and lookups', as it is not called by
 * threads of ours, nor when the table has ended.
 *
 * While it is not 0 the preparation holds the table, and `coming`, `coming_bits` and `touched` are its own.
 */
#include <errno.h>
#include <sys/mman.h>

#include "table/core.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum {
	PREPARE_FROM = 2 << 20, /* bytes */
	SLICE = 2 << 20,        /* in one call of the system: others who change what is mapped wait for it */
	SLICES = 4,             /* before housekeeping has its turn */
	MOVES = 512,            /* and as long as they take, a few homes each */
	MOVE_HOMES = 8,
	MARGIN = 64,            /* lines; more than a home's last one is from its first */
	PUTS_SAMPLED = 1024,    /* one in as many (hpx_put_shares) */
	PUTS_PER_HOME = 2,      /* half of those that fill the new array: while homes move, puts look into two of them */
	PUTS_AHEAD = 1 << 14,   /* what housekeeping may be behind */
	SMALL_PAGE = 4096
};

#ifdef HPX_TESTING
size_t hpx_prepare_from = PREPARE_FROM;
#else
static const size_t hpx_prepare_from = PREPARE_FROM;
#endif

/* `alone`: nobody else knows the memory yet. */
static void touch(char *from, size_t n, bool alone)
{
	if (madvise(from, n, MADV_POPULATE_WRITE) == 0 || !alone)
		return;
	for (size_t i = 0; i < n; i += SMALL_PAGE) /* an older kernel, or memory of another kind */
		((volatile char *)from)[i] = 0;
}

static void step(struct hpx_deferred *d);

static void done(struct hpx_table *t)
{
	t->coming = NULL;
	hpx_store_release(&t->growing, HPX_GROW_NOT); /* order: TABLE.GROW -> release; the three fields, for the next one */
	hpx_table_drop(t);
}

static void touch_slice(struct hpx_table *t, struct hpx_array *a, size_t bytes, bool alone)
{
	size_t n = bytes - t->touched < SLICE ? bytes - t->touched : SLICE;

	touch((char *)a->lines + t->touched, n, alone);
	t->touched += n;
	hpx_region_prepare(); /* a put that waits for it would also wait for the next slice */
}

/* Nobody else knows the array yet. True: it is in, and there is more to do. */
static bool prepare(struct hpx_table *t)
{
	struct hpx_array *a = t->coming = hpx_array_new(t->env, t->coming_bits);
	size_t bytes;

	if (!a) {
		hpx_array_missing(t);
		return false;
	}
	bytes = hpx_array_bytes(a);
	for (unsigned i = 0; i < SLICES && t->touched < bytes; i++)
		touch_slice(t, a, bytes, true);
	hpx_store_relaxed(&t->sampled, 0); /* order: relaxed; an estimate */
	hpx_store_relaxed(&t->help, 0);
	if (t->plain)
		hpx_store_relaxed(&t->growing, HPX_GROW_MOVING); /* order: TABLE.GROW relaxed; a hint who moves */
	return hpx_array_append_this(t, a) && t->plain;
}

/*
 * In a section: `a` may have been replaced by another one, and be gone, unless it comes after the root. True: the root's homes move
 * there, and there is more to do.
 */
static bool move_on(struct hpx_table *t, struct hpx_array *a, unsigned *budget)
{
	struct hpx_array *root = hpx_load_acquire(&t->root); /* order: -> TABLE.ROOT acquire */
	size_t bytes, lines;

	/* order: -> TABLE.NEXT acquire; relaxed: a hint. Where a move is stuck for lack of room puts go on. */
	if (hpx_load_acquire(&root->next) != a || hpx_load_relaxed(&t->want) == HPX_WANT_ROOM)
		return false;
	bytes = hpx_array_bytes(a);
	if (t->touched < bytes) {
		lines = t->touched / sizeof(struct hpx_line) - MARGIN;
		lines = root->homes < a->homes ? lines / 2 : root->homes > a->homes ? lines * 2 : lines;
		if (hpx_load_relaxed(&root->cursor) + MOVE_HOMES > lines) { /* order: relaxed; a hint where moves go */
			touch_slice(t, a, bytes, false);
			*budget -= *budget < MOVES / SLICES ? *budget : MOVES / SLICES;
			return true;
		}
	}
	--*budget;
	return !hpx_move_some(t, root, MOVE_HOMES);
}

/* One bounded piece. Outside sections and locks. */
static void step(struct hpx_deferred *d)
{
	struct hpx_table *t = HPX_CONTAINER_OF(d, struct hpx_table, growth);
	unsigned budget = MOVES;
	int saved = errno;
	bool more;

	if (hpx_load_relaxed(&t->ended)) { /* order: TABLE.ENDED relaxed; a hint that it is for nothing */
		more = false;
	} else if (!t->coming) {
		more = prepare(t);
	} else {
		do {
			hpx_read_lock();
			more = move_on(t, t->coming, &budget);
			hpx_read_unlock();
		} while (more && budget);
	}
	if (more)
		hpx_retire(t->env, &t->growth, 0, step);
	else
		done(t);
	errno = saved;
}

void hpx_grow_pace(struct hpx_table *t, struct hpx_array *root)
{
	/* order: relaxed; estimates */
	uint64_t puts = (hpx_add_relaxed(&t->sampled, 1) + 1) * PUTS_SAMPLED;

	hpx_store_relaxed(&t->help, puts > PUTS_AHEAD + hpx_load_relaxed(&root->cursor) * PUTS_PER_HOME);
}

bool hpx_grow_later(struct hpx_table *t, unsigned bits)
{
	uint32_t none = 0;

	if (((size_t)sizeof(struct hpx_line) << bits) < hpx_prepare_from || hpx_env_threadless(t->env))
		return false;
	if (!hpx_cas_acq_rel(&t->growing, &none, HPX_GROW_PREPARING)) { /* order: -> TABLE.GROW acquire */
		struct hpx_array *a;
		bool late;

		hpx_read_lock();
		a = hpx_load_acquire(&t->root); /* order: -> TABLE.ROOT acquire */
		late = hpx_array_late(a);
		hpx_read_unlock();
		return !late;
	}
	hpx_table_hold(t);
	t->coming_bits = bits;
	t->touched = 0;
	hpx_retire(t->env, &t->growth, 0, step);
	return true;
}
