/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/memory.c - atomics: clocks, and which stores a load may see.
 *
 * An operational form of the C11 memory model as repaired by RC11 (Lahav, Vafeiadis, Kang, Hur, Dreyer, "Repairing
 * sequential consistency in C/C++11", PLDI 2017), in the manner of CDSChecker (Norris, Demsky, OOPSLA 2013) and
 * C11Tester (Luo, Demsky, ASPLOS 2021): operations execute one at a time; each location has its stores in
 * modification order; a load may see any of them that coherence allows, as somebody chooses.
 *
 * What a thread's load may see: the newest store, and older ones down to the first which
 * - happens before the load, or was seen by a load that happens before it (coherence), or
 * - is seq_cst, if the load is; or happens before, or was seen before, some seq_cst fence, if the load is seq_cst.
 * A store takes its place at the newest end or, by the same rule, before stores that it need not be after; never between
 * a read-modify-write and the store it read. A read-modify-write reads the newest store. A compare-and-swap that fails is
 * a load, of any store it may see that differs from what was expected.
 *
 * Happens-before: a load that acquires gets what the store it sees released; a relaxed one gets it at the next acquire
 * fence. A store releases what happened before it, a relaxed one what happened before the last release fence of its
 * thread. Read-modify-writes continue what the store they read released, and nothing else does: a later relaxed store of
 * the releasing thread does not (C++20, weaker than C11).
 *
 * The total order of seq_cst operations is the order of execution. A seq_cst fence, beside being one of both other kinds,
 * comes to know what happened before each earlier one, and before each earlier seq_cst store. This is more than C11
 * promises, as it makes happens-before of it: a race that only such fences conceal is not seen in every interleaving.
 *
 * What is not modelled, all of it on the side of not seeing a bug: a load sees no store that executes later (no load
 * buffering, as in RC11); read-modify-writes take no place but the last in modification order; a location remembers
 * its newest MEM_HISTORY stores; a thread misses the newest store of a location MEM_STALE times in a row at most, so
 * that loops end. Consume is acquire.
 */
#include <string.h>

#include "model/memory_inner.h"
#include "model/model.h"

enum mem_mode mem_mode;
struct mem_clock mem_now[MEM_THREADS];

static struct mem_clock pending[MEM_THREADS]; /* seen by relaxed loads; known from the next acquire fence on */
static struct mem_clock fenced[MEM_THREADS]; /* known at the last release fence */
static bool has_fenced[MEM_THREADS];
static struct mem_clock sc_fences, sc_stores; /* known at some seq_cst fence; seq_cst stores */
static bool has_sc_fences;

static inline bool acquires(int order)
{
	return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME || order == __ATOMIC_ACQ_REL ||
	       order == __ATOMIC_SEQ_CST;
}
static inline bool releases(int order)
{
	return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

void mem_reset(enum mem_mode mode)
{
	mem_mode = mode;
	mem_shadow_reset();
	mem_race_reset();
	memset(mem_now, 0, sizeof(mem_now));
	memset(pending, 0, sizeof(pending));
	memset(fenced, 0, sizeof(fenced));
	memset(has_fenced, 0, sizeof(has_fenced));
	memset(&sc_fences, 0, sizeof(sc_fences));
	memset(&sc_stores, 0, sizeof(sc_stores));
	has_sc_fences = false;
	for (unsigned t = 0; t < MEM_THREADS; t++)
		mem_now[t].at[t] = 1;
}

void mem_thread_start(unsigned child, unsigned parent)
{
	mem_join(&mem_now[child], &mem_now[parent]);
	mem_tick(parent);
}

void mem_acquire(unsigned t, const struct mem_clock *from) { mem_join(&mem_now[t], from); }

void mem_release(unsigned t, struct mem_clock *to)
{
	mem_join(to, &mem_now[t]);
	mem_tick(t);
}

static uint64_t get(const void *a, unsigned size)
{
	switch (size) {
	case 1: return __atomic_load_n((const uint8_t *)a, __ATOMIC_RELAXED);
	case 2: return __atomic_load_n((const uint16_t *)a, __ATOMIC_RELAXED);
	case 4: return __atomic_load_n((const uint32_t *)a, __ATOMIC_RELAXED);
	default: return __atomic_load_n((const uint64_t *)a, __ATOMIC_RELAXED);
	}
}

static void set(void *a, unsigned size, uint64_t value)
{
	switch (size) {
	case 1: __atomic_store_n((uint8_t *)a, (uint8_t)value, __ATOMIC_RELAXED); break;
	case 2: __atomic_store_n((uint16_t *)a, (uint16_t)value, __ATOMIC_RELAXED); break;
	case 4: __atomic_store_n((uint32_t *)a, (uint32_t)value, __ATOMIC_RELAXED); break;
	default: __atomic_store_n((uint64_t *)a, value, __ATOMIC_RELAXED); break;
	}
}

static inline uint64_t cut(uint64_t value, unsigned size)
{
	return size < 8 ? value & ((UINT64_C(1) << 8 * size) - 1) : value;
}

/* The granule of an atomic access, which is looked at for races. NULL: nothing more to do than the access. */
static struct mem_granule *enter(unsigned t, const void *a, unsigned size, uint8_t kind, const void *where)
{
	uintptr_t at = (uintptr_t)a;
	struct mem_granule *g;

	if (at & (size - 1))
		model_fail("atomic access of %u bytes to the odd address %p at %p", size, a, where);
	if (mem_mode == MEM_OFF) {
		if (kind & MEM_WROTE)
			mem_write(t, (void *)at, size, where);
		else
			mem_read(t, a, size, where);
		return NULL;
	}
	g = mem_get(at >> 3);
	mem_touch(t, g, mem_bytes(at & 7, size), kind | MEM_ATOMIC, where);
	return g;
}

/* The location of an access, or NULL if nothing was ever stored there atomically and `make` is not set. */
static struct mem_location *locate(struct mem_granule *g, const void *a, unsigned size, bool make)
{
	unsigned at = (uintptr_t)a & 7;
	uint32_t i = mem_location_find(g, at, size), first;
	uint64_t value;

	if (!i && !make)
		return NULL;
	value = get(a, size);
	if (i && mem_store_at(mem_location(i)->newest)->value != value) {
		mem_locations_drop(g, mem_bytes(at, size)); /* changed by code that is not instrumented */
		i = 0;
	}
	if (!i) {
		i = mem_location_new(g, at, size);
		first = mem_store_new();
		memset(mem_store_at(first), 0, sizeof(struct mem_store)); /* what was there: it happens before all */
		mem_store_at(first)->value = value;
		mem_location(i)->newest = first;
		mem_location(i)->stores = 1;
	}
	return mem_location(i);
}

/* Whether thread `t` may see nothing older than `s`, and put nothing before it. */
static bool last_visible(unsigned t, const struct mem_store *s, bool seq_cst)
{
	const struct mem_clock *now = &mem_now[t];

	if (s->epoch <= now->at[s->thread] || (seq_cst && s->seq_cst))
		return true;
	for (unsigned u = 0; u < MEM_THREADS; u++)
		if (s->seen.at[u] && s->seen.at[u] <= now->at[u])
			return true;
	if (!seq_cst || !has_sc_fences)
		return false;
	if (s->epoch <= sc_fences.at[s->thread])
		return true;
	for (unsigned u = 0; u < MEM_THREADS; u++)
		if (s->seen.at[u] && s->seen.at[u] <= sc_fences.at[u])
			return true;
	return false;
}

static uint64_t see(unsigned t, struct mem_store *s, int order)
{
	if (!s->seen.at[t]) /* the first is what later ones come after */
		s->seen.at[t] = mem_now[t].at[t];
	if (s->carries)
		mem_join(acquires(order) ? &mem_now[t] : &pending[t], &s->released);
	return s->value;
}

/* Which store a load sees, of those that differ from `*unlike`; the newest always counts as one. */
static struct mem_store *choose(unsigned t, struct mem_location *l, bool seq_cst, const uint64_t *unlike)
{
	struct mem_store *seen[MEM_HISTORY], *s = mem_store_at(l->newest);
	unsigned n = 0, k = 0;

	if (mem_mode == MEM_WEAK && l->stale[t] < MEM_STALE) {
		seen[n++] = s;
		while (s->older && !last_visible(t, s, seq_cst)) {
			s = mem_store_at(s->older);
			if (!unlike || s->value != *unlike)
				seen[n++] = s;
		}
		if (n > 1) {
			k = model_choose_store(n);
			if (k >= n)
				model_fail("store %u of %u was chosen", k, n);
		}
		s = seen[k];
	}
	l->stale[t] = k ? l->stale[t] + 1 : 0;
	return s;
}

uint64_t mem_load(unsigned t, const void *a, unsigned size, int order, const void *where)
{
	struct mem_granule *g = enter(t, a, size, 0, where);
	struct mem_location *l = g ? locate(g, a, size, false) : NULL;

	return l ? see(t, choose(t, l, order == __ATOMIC_SEQ_CST, NULL), order) : get(a, size);
}

/* Forgets the oldest store, when there are too many. */
static void trim(struct mem_location *l)
{
	unsigned most = mem_mode == MEM_WEAK ? MEM_HISTORY : 1;
	struct mem_store *s = mem_store_at(l->newest);
	uint32_t older;

	if (l->stores <= most)
		return;
	for (unsigned i = 1; i < most; i++)
		s = mem_store_at(s->older);
	older = s->older;
	s->older = 0;
	while (older) {
		uint32_t i = older;

		older = mem_store_at(i)->older;
		mem_store_free(i);
		l->stores--;
	}
}

/* A new store of thread `t` after `*link`, which links the one that will be older. */
static void put(unsigned t, struct mem_location *l, uint32_t *link, uint64_t value, int order,
		const struct mem_store *read)
{
	uint32_t i = mem_store_new();
	struct mem_store *s = mem_store_at(i);

	s->value = value;
	s->epoch = mem_now[t].at[t];
	s->thread = (uint8_t)t;
	s->rmw = read != NULL;
	s->seq_cst = order == __ATOMIC_SEQ_CST;
	s->carries = true;
	memset(&s->seen, 0, sizeof(s->seen));
	if (releases(order))
		s->released = mem_now[t];
	else if (has_fenced[t])
		s->released = fenced[t];
	else
		s->carries = false;
	if (read && read->carries) {
		if (s->carries)
			mem_join(&s->released, &read->released);
		else
			s->released = read->released;
		s->carries = true;
	}
	if (s->seq_cst && sc_stores.at[t] < s->epoch)
		sc_stores.at[t] = s->epoch;
	s->older = *link;
	*link = i;
	l->stores++;
	trim(l);
	mem_tick(t);
}

void mem_store(unsigned t, void *a, unsigned size, uint64_t value, int order, const void *where)
{
	struct mem_granule *g = enter(t, a, size, MEM_WROTE, where);
	struct mem_location *l = g ? locate(g, a, size, true) : NULL;
	uint32_t *places[MEM_HISTORY], *link;
	unsigned n = 0, k = 0;

	value = cut(value, size);
	if (!l) {
		set(a, size, value);
		return;
	}
	link = &l->newest;
	if (mem_mode == MEM_WEAK) {
		places[n++] = link;
		for (struct mem_store *s = mem_store_at(*link);
		     s->older && n < MEM_HISTORY && !last_visible(t, s, order == __ATOMIC_SEQ_CST); s = mem_store_at(*link)) {
			link = &s->older;
			if (!s->rmw)
				places[n++] = link;
		}
		if (n > 1) {
			k = model_choose_store(n);
			if (k >= n)
				model_fail("place %u of %u was chosen", k, n);
		}
		link = places[k];
	}
	if (k == 0)
		set(a, size, value);
	put(t, l, link, value, order, NULL);
}

/* A read-modify-write at the newest end. */
static uint64_t change(unsigned t, void *a, unsigned size, struct mem_location *l, uint64_t value, int order)
{
	struct mem_store *s = mem_store_at(l->newest);
	uint64_t before = see(t, s, order);

	l->stale[t] = 0;
	set(a, size, value);
	put(t, l, &l->newest, value, order, s);
	return before;
}

uint64_t mem_rmw(unsigned t, void *a, unsigned size, enum mem_op op, uint64_t operand, int order, const void *where)
{
	struct mem_granule *g = enter(t, a, size, MEM_WROTE, where);
	uint64_t before = get(a, size), after = operand;

	switch (op) {
	case MEM_EXCHANGE: break;
	case MEM_ADD: after = before + operand; break;
	case MEM_SUB: after = before - operand; break;
	case MEM_AND: after = before & operand; break;
	case MEM_OR: after = before | operand; break;
	case MEM_XOR: after = before ^ operand; break;
	case MEM_NAND: after = ~(before & operand); break;
	}
	after = cut(after, size);
	if (g)
		return change(t, a, size, locate(g, a, size, true), after, order);
	set(a, size, after);
	return before;
}

bool mem_cas(unsigned t, void *a, unsigned size, uint64_t *expected, uint64_t value, int success, int failure,
	     const void *where)
{
	uint64_t wanted = cut(*expected, size), newest = get(a, size);
	struct mem_granule *g;
	struct mem_location *l;
	struct mem_store *s;

	/* a failure is a load; but that is known only when the store it sees is */
	g = enter(t, a, size, newest == wanted ? MEM_WROTE : 0, where);
	if (!g) {
		*expected = newest;
		if (newest == wanted)
			set(a, size, cut(value, size));
		return newest == wanted;
	}
	l = locate(g, a, size, true);
	s = choose(t, l, (newest == wanted ? success : failure) == __ATOMIC_SEQ_CST, &wanted);
	if (s->value == wanted) {
		change(t, a, size, l, cut(value, size), success);
		return true;
	}
	*expected = see(t, s, failure);
	return false;
}

void mem_fence(unsigned t, int order)
{
	if (mem_mode == MEM_OFF)
		return;
	if (acquires(order))
		mem_join(&mem_now[t], &pending[t]);
	if (order == __ATOMIC_SEQ_CST) {
		mem_join(&mem_now[t], &sc_fences);
		mem_join(&mem_now[t], &sc_stores);
		mem_join(&sc_fences, &mem_now[t]);
		has_sc_fences = true;
	}
	if (releases(order)) {
		fenced[t] = mem_now[t];
		has_fenced[t] = true;
		mem_tick(t);
	}
}
