/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/region.c - memory from the system: aligned blocks, and the regions that pages of object pools come from.
 *
 * Pages of object pools come one after the other out of regions that one huge page can back: a hit on many objects is
 * then spared most of its misses in the TLB. They go back one by one; the kernel splits what it has to. The first few
 * come singly, for programs that need no more. Lock-free, so that a fork finds nothing held.
 *
 * The first touch of a region has it cleared: hundreds of microseconds. So when half of one is used up the reclaimer, if there is
 * one, maps the next and touches it. Who needs it before that is done takes it nevertheless, and its touch comes to an end beside
 * the use, of which it changes nothing: to map another one would be to wait for what the touch holds up in the kernel.
 */
#include <sys/mman.h>

#include "reclaim/internal.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define SYSTEM_PAGE ((size_t)64 << 10) /* the largest any Linux has */

void *hpx_map_aligned(size_t size, size_t align)
{
	const int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *block, *aligned;
	size_t before, after;

	size = (size + SYSTEM_PAGE - 1) & ~(SYSTEM_PAGE - 1);
	block = mmap(NULL, size, protection, flags, -1, 0);
	if (block == MAP_FAILED)
		return NULL;
	if (!((uintptr_t)block & (align - 1))) /* as a rule: below an equal one that was */
		return block;
	munmap(block, size);
	block = mmap(NULL, size + align, protection, flags, -1, 0);
	if (block == MAP_FAILED)
		return NULL;
	aligned = (char *)(((uintptr_t)block + align - 1) & ~(uintptr_t)(align - 1));
	before = (size_t)(aligned - block);
	after = align - before;
	if (before)
		munmap(block, before);
	if (after)
		munmap(aligned + size, after);
	return aligned;
}

void hpx_unmap(void *block, size_t size) { munmap(block, (size + SYSTEM_PAGE - 1) & ~(SYSTEM_PAGE - 1)); }

#define REGION ((size_t)2 << 20)
#define HALF (REGION / 2) /* is left when the next one is asked for */
#define SINGLE_PAGES 16
static hpx_u64 next_page; /* of the region; a multiple of REGION: there is none left */
static hpx_u64 ready;     /* a region that nobody has used, or 0 */
static hpx_u64 coming;    /* one that the reclaimer is at touching, or 0 */
static hpx_u32 wanted;
static hpx_u32 pages_single;

static void *map_region(void)
{
	void *region = hpx_map_aligned(REGION, REGION);

	if (region)
		(void)madvise(region, REGION, MADV_HUGEPAGE); /* a wish */
	return region;
}

static void ask(void)
{
	/* order: ENV.REGION relaxed; hints: asked for once */
	if (hpx_load_relaxed(&ready) || hpx_load_relaxed(&wanted))
		return;
	hpx_store_seq_cst(&wanted, 1); /* order: RECLAIM.WAKE seq_cst; before the look at the sleeper */
	hpx_gp_wake_started();
}

/* Somebody else's is there: this one is the next, or one too many. */
static void give_back(void *region)
{
	uint64_t none = 0;

	/* order: ENV.REGION -> release; that it is mapped */
	if (!hpx_cas_acq_rel(&ready, &none, (uint64_t)(uintptr_t)region))
		munmap(region, REGION);
}

void *hpx_region_page(size_t page)
{
	uint64_t next;
	void *region;

	if (hpx_load_relaxed(&pages_single) < SINGLE_PAGES) { /* order: ENV.REGION relaxed; a number */
		uint32_t n = hpx_add_relaxed(&pages_single, 1);

		if (n >= SINGLE_PAGES / 2)
			ask();
		if (n < SINGLE_PAGES)
			return hpx_map_aligned(page, page);
	}
	for (;;) {
		next = hpx_load_acquire(&next_page); /* order: -> ENV.REGION acquire */
		if (next & (REGION - 1)) {
			if (!hpx_cas_relaxed(&next_page, &next, next + page)) /* order: ENV.REGION relaxed; who swaps it owns the page */
				continue;
			if (REGION - (next & (REGION - 1)) <= HALF)
				ask();
			return (void *)(uintptr_t)next;
		}
		region = (void *)(uintptr_t)hpx_exchange_acquire(&ready, 0); /* order: -> ENV.REGION acquire; taken once */
		if (!region)
			region = (void *)(uintptr_t)hpx_exchange_acquire(&coming, 0); /* order: -> ENV.REGION acquire; as above */
		if (!region)
			region = map_region();
		if (!region)
			return hpx_map_aligned(page, page);
		/* order: ENV.REGION -> release; that it is mapped */
		if (hpx_cas_acq_rel(&next_page, &next, (uint64_t)(uintptr_t)region + page))
			return region;
		give_back(region);
	}
}

bool hpx_region_due(void)
{
	return hpx_load_seq_cst(&wanted); /* order: RECLAIM.WAKE seq_cst; against ask() */
}

void hpx_region_prepare(void)
{
	uint64_t none = 0;
	int saved = errno;
	void *region;

	if (HPX_LIKELY(!hpx_load_relaxed(&wanted))) /* order: ENV.REGION relaxed; a hint */
		return;
	/* order: ENV.REGION relaxed; addresses, nothing is in it. One may be there that another thread is at, or a fork left. */
	if (!hpx_load_relaxed(&ready) && !hpx_load_relaxed(&coming) && (region = map_region())) {
		if (hpx_cas_acq_rel(&coming, &none, (uint64_t)(uintptr_t)region)) { /* order: ENV.REGION -> release; that it is mapped */
			(void)madvise(region, REGION, MADV_POPULATE_WRITE); /* a wish, where the kernel knows it */
			region = (void *)(uintptr_t)hpx_exchange_acquire(&coming, 0); /* order: -> ENV.REGION acquire; taken once */
		}
		if (region)
			give_back(region);
	}
	hpx_store_relaxed(&wanted, 0);
	errno = saved;
}
