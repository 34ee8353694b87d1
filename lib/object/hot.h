/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/hot.h - hot objects: counting without a shared write.
 *
 * Problem. Two processors that take and release the same object hand its count's cache line to and fro, several times
 * slower together than one alone. So an object that many threads hammer is PROMOTED: taking and releasing it adds to a cell
 * of the thread's own, and the count in the object stands still.
 *
 *      state      bits of the count                 take, release
 *      plain      none                              the count; at 0, one swap to DEAD
 *      claimed    SLT                               the count; cannot die
 *      promoted   SLT HOT, slot, + HPX_BIAS         the thread's cell of that slot; the count will do as well
 *      draining   SLT, slot, + HPX_BIAS             the count; cannot die
 *
 *      promote    claims a slot; sets SLT, which decides between promoters; one addition of BIAS, HOT and slot
 *      demote     clears HOT; whoever saw it set retires the slot
 *      drain      a grace period later: sums the cells; one addition takes the sum in and BIAS, SLT and slot out; zeroes the cells;
 *                 the slot is free; at 0 the ordinary swap to DEAD, and the death is run by a thread of its own (hot.c)
 *
 * Guarantees. A: users = count - BIAS + sum(got - put), exact at rest. Where one kind of thread takes by cells and another
 * releases by the count it drifts; it is exact modulo 2^38, and with SLT no value of it is an overflow, a misuse or a last
 * release; BIAS keeps it away from such values besides, and who drifts far is demoted. B: cells are written inside sections
 * that saw HOT only; after HOT was cleared and a grace period, by the drainer only; they are 0 before the slot is free.
 * C: SLT excludes DEAD. D: nobody waits for anybody, and nothing here is needed: without memory, a slot or a cell everything
 * goes by the count.
 * Model: per-CPU reference counts of Linux (lib/percpu-refcount.c) for bias and grace period; stress/spin/hot.pml is searched
 * exhaustively.
 *
 * Which: objects that a cache holds itself, and types with HAPAX_TYPE_MAY_LINGER. When: a take that finds its count changed
 * between its look and its addition has met another thread (HEAT of them in 20 ms). How long: tick() in hot.c.
 */
#ifndef HPX_HOT_H
#define HPX_HOT_H

#include "object/object.h"

#define HPX_HOT (UINT64_C(1) << 17)
#define HPX_SLOT_SHIFT 18
#define HPX_SLOT_MASK (UINT64_C(255) << HPX_SLOT_SHIFT) /* counted from 1 */
#define HPX_BIAS (UINT64_C(1) << 61)                    /* 2^35 references */
#ifdef HPX_MODEL /* objects contend for them; and threads that have cells take every chance, a meeting takes many turns */
#define HPX_HOT_SLOTS 2
#define HPX_HOT_EAGER (hpx_self.hot != NULL)
#else
#define HPX_HOT_SLOTS 128 /* at most 255 */
#define HPX_HOT_EAGER 0
#endif

/* Both only grow, but for the drainer's zeroing. Writers: the block's thread, in sections that saw HOT; the drainer. */
struct hpx_hot_cell {
	hpx_u64 got, put;
};

/* A thread's; given back with its values when it exits, and taken over with them. Never freed. */
struct hpx_hot_block {
	_Alignas(HPX_CACHE_LINE) struct hpx_hot_cell cell[HPX_HOT_SLOTS];
	struct hpx_heat {
		const struct hpx_object *object;
		uint64_t since; /* ns */
		uint32_t met;
	} heat[16]; /* the thread's own: where it has met others lately */
	HPX_ATOMIC(struct hpx_hot_block *) next;
	hpx_u32 owned;
};

static inline struct hpx_hot_cell *hpx_hot_cell(struct hpx_hot_block *b, uint64_t count)
{
	return &b->cell[((count & HPX_SLOT_MASK) >> HPX_SLOT_SHIFT) - 1];
}

/*
 * This thread's cell for an object that is promoted; NULL: it has none. A processor that does not know yet where a store goes
 * holds back the loads behind it, and the count, which says where, comes at the end of a lookup: the next one would wait
 * for it. So the address is made of the slot that the thread used last, and the count is but compared with it, which the
 * processor need not wait for. The slot is read once: a signal handler may change it, and find one that is left of cells that
 * a thread at its end has just given back.
 */
static inline struct hpx_hot_cell *hpx_hot_mine(uint64_t count)
{
	struct hpx_hot_block *mine = hpx_self.hot;
	uint64_t slot = hpx_self.hot_slot;

	if (HPX_LIKELY(slot == (count & HPX_SLOT_MASK)) && HPX_LIKELY(mine != NULL)) {
		__asm__ volatile("" : "+r"(slot)); /* the compiler knows that they are the same */
		return hpx_hot_cell(mine, slot);
	}
	if (!mine)
		return NULL;
	hpx_self.hot_slot = count & HPX_SLOT_MASK;
	return hpx_hot_cell(mine, count);
}

static inline void hpx_cell_add(hpx_u64 *cell)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(HPX_CHAOS) && !defined(HPX_MODEL) && !defined(__clang__)
	/* one instruction, which a signal handler's own cannot come into */
	__asm__ volatile("addq $1, %0" : "+m"(cell->v) : : "cc");
#else
	/* order: HOT.CELL -> release; a take before the release of it, for who reads both meanwhile. Else the section's end is the edge */
	hpx_add_release(cell, 1);
#endif
}

/* What a take of an object that may be promoted has seen; to be told to hpx_hot_met(), in the same section. */
enum {
	HPX_HOT_MET = 1,   /* another thread, at the count */
	HPX_HOT_BARE = 2,  /* it is promoted, and this thread has no cells */
	HPX_HOT_NEWS = 4   /* from hpx_hot_met(): hpx_hot_attend() is due outside the section */
};

/* hpx_take() for objects that may be promoted. Looks first: the look costs nothing where the line is in the cache. */
static inline bool hpx_take_hot(struct hpx_object *o, unsigned *saw)
{
	/* order: -> HOT.SLOT acquire; the cells of its slot are this object's */
	uint64_t w = hpx_load_acquire(&o->count), v;

	if (HPX_UNLIKELY(w & HPX_HOT)) {
		struct hpx_hot_cell *mine = hpx_hot_mine(w);

		if (HPX_LIKELY(mine != NULL)) {
			hpx_cell_add(&mine->got);
			return true;
		}
		*saw = HPX_HOT_BARE;
	}
	/* order: -> OBJECT.DROP acquire; as in hpx_take() */
	v = hpx_add_acquire(&o->count, HPX_ONE);
	if (HPX_UNLIKELY(v != w) || HPX_HOT_EAGER)
		*saw |= HPX_HOT_MET;
	if (HPX_UNLIKELY(hpx_refuses(v))) {
		hpx_sub_relaxed(&o->count, HPX_ONE); /* order: OBJECT.UNDO relaxed; nothing was done with it */
		return false;
	}
	return true;
}

/* In a section, before a take by the count. True: taken, by this thread's cell. */
static inline bool hpx_hot_got(struct hpx_object *o)
{
	/* order: -> HOT.SLOT acquire; as in hpx_take_hot() */
	uint64_t w = hpx_load_acquire(&o->count);
	struct hpx_hot_cell *mine = w & HPX_HOT ? hpx_hot_mine(w) : NULL;

	if (!mine)
		return false;
	hpx_cell_add(&mine->got);
	return true;
}

/* In a section, before a release by the count. True: released, by this thread's cell. */
static inline bool hpx_hot_put(struct hpx_object *o, bool *bare)
{
	/* order: -> HOT.SLOT acquire; as in hpx_take_hot() */
	uint64_t w = hpx_load_acquire(&o->count);
	struct hpx_hot_cell *mine;

	if (!(w & HPX_HOT))
		return false;
	mine = hpx_hot_mine(w);
	*bare = !mine;
	if (*bare)
		return false;
	hpx_cell_add(&mine->put);
	return true;
}

/*
 * In a section, of an object taken in it: promotes it if this thread has met others often enough. `stays`: its entry is
 * held by a cache, or may linger; asked again after the promotion, since a holder that lets go after that demotes. NEWS or 0.
 */
unsigned hpx_hot_met(struct hpx_object *o, unsigned saw, bool (*stays)(void *cache, void *e), void *cache, void *e);
/* Outside locks, and of no use in sections: cells for this thread; and, with an environment, somebody to look after what is
 * promoted. */
void hpx_hot_attend(hapax_env *env);
/* The caller holds `o`, or is in a section in which it was found: it is not wanted hot any more. Lock-free, no memory. */
void hpx_hot_cool(struct hpx_object *o);
/* Outside sections and locks: every promoted object is plain when this returns, unless it is promoted again meanwhile; deaths
 * that this brings about are run here. Waits for a grace period if there was one. Nothing inside a section. */
void hpx_hot_settle(void);
/* Outside sections and locks: runs the deaths that nobody has begun to run. */
void hpx_hot_bury(void);
/* hapax_count() where SLT is set. */
uint64_t hpx_hot_refs(struct hpx_object *o);
static inline uint64_t hpx_refs(struct hpx_object *o)
{
	/* order: OBJECT.COUNT relaxed; a hint */
	uint64_t count = hpx_load_relaxed(&o->count);

	return HPX_UNLIKELY(count & HPX_SLT) ? hpx_hot_refs(o) : count / HPX_ONE;
}

#endif
