/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/memory_race.c - data races, and use of freed memory.
 *
 * Of each granule the accesses are kept that a later one might race with, as epochs: a thread's clock at the time
 * (FastTrack: Flanagan, Freund, "FastTrack: efficient and precise dynamic race detection", PLDI 2009), with the bytes
 * they touched. An access goes from the list when a later one that happens after it would race with all that it would
 * race with. So the list is exact, and short: mostly one element, at most a few per thread.
 *
 * Freeing is a write to all of a block: whoever used it must have happened before. After it, any access fails. So is
 * allocation of a small block: whoever uses it must have learnt of it from its allocator, directly or not.
 */
#include <stdio.h>
#include <string.h>

#include "model/memory_inner.h"
#include "model/model.h"

enum { RANGES = 256, RANGE_LEAST = 4096 };

struct range {
	uintptr_t from, to;
	const void *where;
	uint8_t thread;
};
static struct range ranges[RANGES]; /* large freed blocks; only what was touched of them has granules */
static unsigned range_count;

/* The engine's, if there is one: function, file and line. */
__attribute__((weak)) void model_site(const void *where, char *buffer, size_t size);

void mem_race_reset(void) { range_count = 0; }

static const char *kind_name(unsigned kind)
{
	if (kind & MEM_ENDED)
		return "freed";
	if (kind & MEM_ALLOCATED)
		return "allocated";
	if (kind & MEM_ATOMIC)
		return kind & MEM_WROTE ? "wrote atomically" : "read atomically";
	return kind & MEM_WROTE ? "wrote plainly" : "read plainly";
}

static void place_text(char *text, size_t size, unsigned t, unsigned kind, const void *where)
{
	char site[200] = "";

	if (where && model_site)
		model_site(where, site, sizeof(site));
	else if (where)
		snprintf(site, sizeof(site), "%p", where);
	snprintf(text, size, "thread %u %s%s%s", t, kind_name(kind), where ? " at " : "", site);
}

__attribute__((cold, noinline, noreturn)) static void fail(const struct mem_granule *g, unsigned bytes,
							    const struct mem_access *old, unsigned t, unsigned kind,
							    const void *where)
{
	const void *address = (const void *)(g->key * 8 + (unsigned)__builtin_ctz(bytes));
	char before[256], now[256];

	place_text(before, sizeof(before), old->thread, old->kind, old->where);
	place_text(now, sizeof(now), t, kind, where);
	if (old->kind & MEM_ENDED)
		model_fail(kind & MEM_ENDED ? "freed twice: %p; %s, now %s" : "use of freed memory: %p; %s, now %s", address,
			   before, now);
	model_fail("data race on %p: %s, now %s, and neither happens before the other", address, before, now);
}

static inline bool covers(unsigned now, unsigned old)
{
	return (now & MEM_WROTE || !(old & MEM_WROTE)) && (!(now & MEM_ATOMIC) || old & MEM_ATOMIC);
}

static inline bool conflict(unsigned now, unsigned old)
{
	return ((now | old) & MEM_WROTE) && !(now & old & MEM_ATOMIC);
}

static void record(struct mem_granule *g, unsigned t, uint8_t bytes, uint8_t kind, const void *where)
{
	uint32_t i = mem_access_new();

	*mem_access(i) = (struct mem_access){.where = where, .epoch = mem_now[t].at[t], .next = g->accesses,
					     .thread = (uint8_t)t, .kind = kind, .bytes = bytes};
	g->accesses = i;
}

/* Forgets all about some bytes. */
static void forget(struct mem_granule *g, uint8_t bytes)
{
	for (uint32_t *link = &g->accesses, i; (i = *link);) {
		struct mem_access *a = mem_access(i);

		a->bytes &= (uint8_t)~bytes;
		if (a->bytes) {
			link = &a->next;
		} else {
			*link = a->next;
			mem_access_free(i);
		}
	}
	mem_locations_drop(g, bytes);
}

void mem_touch(unsigned t, struct mem_granule *g, uint8_t bytes, uint8_t kind, const void *where)
{
	const struct mem_clock *now = &mem_now[t];
	uint32_t *link = &g->accesses;

	if (*link) {
		struct mem_access *a = mem_access(*link);

		/* the newest access is this thread's, and since then nothing has happened: what it stands for is known */
		if (a->thread == t && !((a->kind | kind) & MEM_ENDED)) {
			if (a->epoch == now->at[t] && !(bytes & ~a->bytes) && covers(a->kind, kind))
				return;
			/* nor has anybody else been here */
			if (!a->next && a->bytes == bytes && covers(kind, a->kind)) {
				a->epoch = now->at[t];
				a->kind = kind;
				a->where = where;
				return;
			}
		}
	}
	for (uint32_t i; (i = *link);) {
		struct mem_access *a = mem_access(i);

		link = &a->next;
		if (!(a->bytes & bytes))
			continue;
		if (a->kind & MEM_ENDED)
			fail(g, a->bytes & bytes, a, t, kind, where);
		if (mem_mode == MEM_OFF)
			continue;
		if (a->epoch > now->at[a->thread]) {
			if (conflict(kind, a->kind))
				fail(g, a->bytes & bytes, a, t, kind, where);
		} else if (covers(kind, a->kind)) {
			a->bytes &= (uint8_t)~bytes;
		}
	}
	/* what has no bytes left goes */
	for (link = &g->accesses; *link;) {
		uint32_t i = *link;
		struct mem_access *a = mem_access(i);

		if (a->bytes) {
			link = &a->next;
		} else {
			*link = a->next;
			mem_access_free(i);
		}
	}
	if (mem_mode != MEM_OFF || kind & MEM_ENDED)
		record(g, t, bytes, kind, where);
}

void mem_range_apply(struct mem_granule *g)
{
	uintptr_t from = g->key * 8;

	for (unsigned i = 0; i < range_count; i++) {
		const struct range *r = &ranges[i];

		if (r->from <= from && from < r->to)
			record(g, r->thread, 0xff, MEM_WROTE | MEM_ENDED, r->where);
	}
}

/* A plain access of any size, granule by granule. */
static void span(unsigned t, const void *a, size_t size, uint8_t kind, const void *where)
{
	uintptr_t at = (uintptr_t)a, end = at + size;

	while (at < end) {
		unsigned offset = at & 7, n = (unsigned)(end - at < 8 - offset ? end - at : 8 - offset);
		uint8_t bytes = mem_bytes(offset, n);
		struct mem_granule *g;

		if (mem_mode == MEM_OFF) {
			g = range_count ? mem_get(at >> 3) : mem_find(at >> 3);
			if (g && g->accesses)
				mem_touch(t, g, bytes, kind, where);
		} else {
			g = mem_get(at >> 3);
			mem_touch(t, g, bytes, kind, where);
			if (g->locations && kind & MEM_WROTE)
				mem_locations_drop(g, bytes); /* all that was there happened before */
		}
		at += n;
	}
}

void mem_read(unsigned t, const void *a, size_t size, const void *where) { span(t, a, size, 0, where); }
void mem_write(unsigned t, void *a, size_t size, const void *where) { span(t, a, size, MEM_WROTE, where); }

/* Calls `act` for the granules of a block: all of a small one, those that exist of a large one. */
static void walk(uintptr_t from, uintptr_t to, bool make,
		 void (*act)(struct mem_granule *g, uint8_t bytes, void *ctx), void *ctx)
{
	if (to - from < RANGE_LEAST || (to - from) / 8 < mem_granules()) {
		for (uintptr_t at = from & ~(uintptr_t)7; at < to; at += 8) {
			unsigned first = at < from ? (unsigned)(from - at) : 0, last = to - at < 8 ? (unsigned)(to - at) : 8;
			struct mem_granule *g = make ? mem_get(at >> 3) : mem_find(at >> 3);

			if (g)
				act(g, mem_bytes(first, last - first), ctx);
		}
		return;
	}
	for (uint32_t i = 1; i < mem_granules(); i++) {
		struct mem_granule *g = mem_granule(i);

		if (g->key * 8 >= from && g->key * 8 < to)
			act(g, 0xff, ctx);
	}
}

struct ending {
	const void *where;
	unsigned thread;
};

static void allocate_granule(struct mem_granule *g, uint8_t bytes, void *ctx)
{
	const struct ending *e = ctx;

	forget(g, bytes);
	if (e)
		record(g, e->thread, bytes, MEM_WROTE | MEM_ALLOCATED, NULL);
}

static void free_granule(struct mem_granule *g, uint8_t bytes, void *ctx)
{
	const struct ending *e = ctx;

	mem_touch(e->thread, g, bytes, MEM_WROTE | MEM_ENDED, e->where);
	mem_locations_drop(g, bytes);
}

static void ranges_cut(uintptr_t from, uintptr_t to)
{
	for (unsigned i = 0; i < range_count; i++) {
		struct range *r = &ranges[i], rest;

		if (r->to <= from || r->from >= to)
			continue;
		rest = *r;
		rest.from = to;
		r->to = from;
		if (rest.from < rest.to) {
			if (range_count == RANGES)
				model_fail("the model remembers no more than %d freed ranges", RANGES);
			ranges[range_count++] = rest;
		}
		r = &ranges[i];
		if (r->from >= r->to)
			*r = ranges[--range_count], i--;
	}
}

void mem_allocated(unsigned t, void *a, size_t size)
{
	uintptr_t from = (uintptr_t)a, to = from + size;
	struct ending by = {.thread = t};
	bool small = size < RANGE_LEAST && mem_mode != MEM_OFF;

	if (!size)
		return;
	ranges_cut(from, to);
	walk(from, to, small, allocate_granule, small ? &by : NULL);
}

void mem_freed(unsigned t, void *a, size_t size, const void *where)
{
	uintptr_t from = (uintptr_t)a, to = from + size;
	struct ending by = {.where = where, .thread = t};

	if (!size)
		return;
	walk(from, to, size < RANGE_LEAST, free_granule, &by);
	if (size >= RANGE_LEAST) {
		ranges_cut(from, to);
		if (range_count == RANGES)
			model_fail("the model remembers no more than %d freed ranges", RANGES);
		ranges[range_count++] = (struct range){from, to, where, (uint8_t)t};
	}
}
