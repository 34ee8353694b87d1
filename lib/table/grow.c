/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/grow.c - large arrays, made by housekeeping.
 *
 * PROBLEM. The first touch of a page of a new array costs the thread that moves entries into it: 2 microseconds for a small
 * page, hundreds for a huge one, which has to be cleared. And an allocator that is not ours has the whole array cleared in
 * one piece, on the thread whose put found that it is time to grow.
 *
 * So arrays from PREPARE_FROM bytes are allocated, and their pages touched in slices, by whoever runs what grace periods
 * allow: the reclaimer as a rule. The table goes on with the array it has, which has room for half as many raises again
 * as have made it look for another one; whoever raises beyond that makes an array at once, as where there is no reclaimer.
 *
 *      growing:  0 --put finds it due--> 1 --all pages there, array appended; or no memory; or the table ended--> 0
 *
 * While it is 1 the preparation holds the table, and `coming`, `coming_bits` and `touched` are its own. A process that is
 * forked from within a step of it has a child in which it stays 1: there arrays are made at once when it is late for them.
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
	SMALL_PAGE = 4096
};

#ifdef HPX_TESTING
size_t hpx_prepare_from = PREPARE_FROM;
#else
static const size_t hpx_prepare_from = PREPARE_FROM;
#endif

static void touch(char *from, size_t n)
{
	if (madvise(from, n, MADV_POPULATE_WRITE) == 0)
		return;
	for (size_t i = 0; i < n; i += SMALL_PAGE) /* an older kernel, or memory of another kind; nobody else knows it yet */
		((volatile char *)from)[i] = 0;
}

static void step(struct hpx_deferred *d);

static void done(struct hpx_table *t)
{
	t->coming = NULL;
	hpx_store_release(&t->growing, 0); /* order: TABLE.GROW -> release; the three fields, for the next one */
	hpx_table_drop(t);
}

/* One bounded piece. Outside sections and locks. */
static void step(struct hpx_deferred *d)
{
	struct hpx_table *t = HPX_CONTAINER_OF(d, struct hpx_table, growth);
	struct hpx_array *a = t->coming;
	bool ended = hpx_load_relaxed(&t->ended); /* order: TABLE.ENDED relaxed; a hint that it is for nothing */
	int saved = errno;
	size_t bytes;

	if (!a && !ended)
		a = t->coming = hpx_array_new(t->env, t->coming_bits);
	if (!a || ended) {
		if (a)
			hpx_array_free(a);
		else if (!ended)
			hpx_array_missing(t);
		done(t);
		errno = saved;
		return;
	}
	bytes = hpx_array_bytes(a);
	for (unsigned i = 0; i < SLICES && t->touched < bytes; i++) {
		size_t n = bytes - t->touched < SLICE ? bytes - t->touched : SLICE;

		touch((char *)a->lines + t->touched, n);
		t->touched += n;
	}
	if (t->touched < bytes) {
		hpx_retire(t->env, &t->growth, 0, step);
	} else {
		hpx_array_append_this(t, a);
		done(t);
	}
	errno = saved;
}

bool hpx_grow_later(struct hpx_table *t, unsigned bits)
{
	uint32_t none = 0;

	if (((size_t)sizeof(struct hpx_line) << bits) < hpx_prepare_from || hpx_env_threadless(t->env))
		return false;
	if (!hpx_cas_acq_rel(&t->growing, &none, 1)) { /* order: -> TABLE.GROW acquire */
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
