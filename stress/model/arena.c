/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/arena.c - memory of the code under test: at the same addresses in every run, and nothing is used twice in one.
 *
 * Blocks come one after the other out of one mapping. Each has a header before it; a byte of shadow for every 8 bytes
 * says whether they may be touched. Blocks of lib's pool are marked through base/poison.h. The variables of lib/ and of
 * the scenarios are put back to what they were before the first run.
 */
#include "model/engine.h"
#include "model/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum { GUARD = 4096, STACKS = FIBRES * (ARENA_STACK + GUARD), GARBAGE = 0xa5 };

struct header { /* 48 bytes, then the block */
	struct header *previous, *next; /* of the live ones */
	size_t size;
	const void *where, *freed;
	struct header *below; /* the one before it in memory */
};

unsigned char *arena_shadow;
static char *base, *stacks, *top;
static struct header *live, *last;
static size_t live_count;

/* The variables of the instrumented objects, gathered into a section of their own. */
extern char __start_hpx_model_data[] __attribute__((weak)), __stop_hpx_model_data[] __attribute__((weak));
extern char __start_hpx_model_bss[] __attribute__((weak)), __stop_hpx_model_bss[] __attribute__((weak));
static char *snapshot, *bss_snapshot;
static size_t snapshot_size, bss_size;

static void *map_at(uint64_t address, size_t size)
{
	void *at = mmap((void *)(uintptr_t)address, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (at != (void *)(uintptr_t)address) {
		fputs("hapax-stress model: the addresses it uses are not free\n", stderr);
		exit(2);
	}
	return at;
}

void arena_init(void)
{
	base = map_at(ARENA_BASE, ARENA_SIZE);
	stacks = map_at(ARENA_BASE - (UINT64_C(1) << 30), STACKS);
	arena_shadow = map_at(ARENA_BASE + ARENA_SIZE + (UINT64_C(1) << 30), ARENA_SIZE / 8);
	for (unsigned i = 0; i < FIBRES; i++)
		mprotect(stacks + i * (ARENA_STACK + GUARD), GUARD, PROT_NONE);
	top = base;
	snapshot_size = (size_t)(__stop_hpx_model_data - __start_hpx_model_data);
	snapshot = malloc(snapshot_size + 1);
	if (!snapshot)
		abort();
	memcpy(snapshot, __start_hpx_model_data, snapshot_size);
	bss_size = (size_t)(__stop_hpx_model_bss - __start_hpx_model_bss);
	bss_snapshot = malloc(bss_size + 1);
	if (!bss_snapshot)
		abort();
	memcpy(bss_snapshot, __start_hpx_model_bss, bss_size);
}

char *arena_stack(unsigned index) { return stacks + index * (ARENA_STACK + GUARD) + GUARD; }

void arena_reset(void)
{
	memcpy(__start_hpx_model_data, snapshot, snapshot_size);
	memcpy(__start_hpx_model_bss, bss_snapshot, bss_size);
	memset(arena_shadow, SHADOW_NEVER, (size_t)(top - base) / 8);
	top = base;
	live = last = NULL;
	live_count = 0;
}

static void shade(const void *block, size_t size, unsigned char with)
{
	memset(arena_shadow + (((uintptr_t)block - ARENA_BASE) >> 3), with, (size + 7) >> 3);
}

void *arena_alloc(size_t size, size_t align, const void *where)
{
	struct header *header;
	char *block;

	if (engine.fail_allocation) {
		model_step(OP_ALLOC, NULL, (struct touch){KEY_ALLOC, true, false}, where);
		if (engine.fail_allocation && !--engine.fail_allocation)
			return NULL;
	}
	if (align < 16)
		align = 16;
	if (size > ARENA_SIZE / 4)
		return NULL;
	block = (char *)(((uintptr_t)top + sizeof(*header) + align - 1) & ~(uintptr_t)(align - 1));
	if (block + size + 64 > base + ARENA_SIZE)
		model_fail_at(where, "the run allocates more than the model has");
	header = (struct header *)(void *)block - 1;
	*header = (struct header){.previous = NULL, .next = live, .size = size, .where = where, .below = last};
	if (live)
		live->previous = header;
	live = last = header;
	live_count++;
	top = (char *)(((uintptr_t)block + size + 31) & ~(uintptr_t)15); /* and a gap */
	memset(block, GARBAGE, size);
	shade(block, size, SHADOW_LIVE);
	if (engine.memory && engine.current)
		mem_allocated(model_index(), block, size);
	if (UNLIKELY(engine.tracing))
		trace_text(OP_ALLOC, "bytes", size, where);
	return block;
}

/* But for what lies in the pool, which is freed already. */
static void forget(char *block, size_t size, const void *where)
{
	const unsigned char *shadow = arena_shadow + (((uintptr_t)block - ARENA_BASE) >> 3);
	size_t words = (size + 7) / 8, begin, end;

	for (begin = 0; begin < words; begin = end) {
		for (end = begin; end < words && shadow[end] == SHADOW_LIVE; end++)
			;
		if (end > begin)
			mem_freed(model_index(), block + 8 * begin, (end == words ? size : 8 * end) - 8 * begin, where);
		else
			end++;
	}
}

void arena_free(void *block, const void *where)
{
	struct header *header = (struct header *)block - 1;
	uint64_t offset = (uintptr_t)block - ARENA_BASE;

	if (!block)
		return;
	if (offset >= ARENA_SIZE || arena_shadow[offset >> 3] == SHADOW_NEVER)
		model_fail_at(where, "free(%p): not a block that was allocated", block);
	if (arena_shadow[offset >> 3] != SHADOW_LIVE || header->freed)
		arena_fault(block, header->size, true, where);
	*(header->previous ? &header->previous->next : &live) = header->next;
	if (header->next)
		header->next->previous = header->previous;
	header->freed = where;
	live_count--;
	if (engine.memory && engine.current)
		forget(block, header->size, where);
	shade(block, header->size, SHADOW_FREED);
	if (UNLIKELY(engine.tracing))
		trace_text(OP_FREE, "bytes", header->size, where);
}

void model_block_freed(void *block, size_t size, void *hole)
{
	char *begin = block, *end = begin + size, *skip = hole;

	if ((uintptr_t)block - ARENA_BASE >= ARENA_SIZE)
		return;
	if (arena_shadow[((uintptr_t)skip == (uintptr_t)begin ? (uintptr_t)begin + 8 - ARENA_BASE
							      : (uintptr_t)begin - ARENA_BASE) >> 3] == SHADOW_POOL)
		return; /* it moves from one of the pool's lists to another */
	if (engine.memory && engine.current) {
		if (skip > begin)
			mem_freed(model_index(), begin, (size_t)(skip - begin), CALLER);
		if (end > skip + 8)
			mem_freed(model_index(), skip + 8, (size_t)(end - skip - 8), CALLER);
	}
	shade(block, size, SHADOW_POOL);
	shade(hole, 8, SHADOW_LIVE);
	if (UNLIKELY(engine.tracing))
		trace_text(OP_FREE, "bytes to the pool", size, CALLER);
}

void model_block_taken(void *block, size_t size)
{
	if ((uintptr_t)block - ARENA_BASE >= ARENA_SIZE)
		return;
	shade(block, size, SHADOW_LIVE);
	if (engine.memory && engine.current)
		mem_allocated(model_index(), block, size);
	if (UNLIKELY(engine.tracing))
		trace_text(OP_ALLOC, "bytes of the pool", size, CALLER);
}

static struct header *find(const volatile void *address)
{
	struct header *header = last;

	while (header && (const volatile char *)(header + 1) > (const volatile char *)address)
		header = header->below;
	return header;
}

const char *arena_describe(const volatile void *address, char *buffer, size_t size)
{
	struct header *header = (uintptr_t)address - ARENA_BASE < ARENA_SIZE ? find(address) : NULL;
	char site[300];

	buffer[0] = 0;
	if (!header)
		return buffer;
	model_site(header->where, site, sizeof(site));
	snprintf(buffer, size, "byte %zu of a block of %zu allocated in %s",
		 (size_t)((const volatile char *)address - (const volatile char *)(header + 1)), header->size, site);
	if (header->freed) {
		size_t used = strlen(buffer);

		model_site(header->freed, site, sizeof(site));
		snprintf(buffer + used, size - used, ", freed in %s", site);
	}
	return buffer;
}

void arena_fault(const volatile void *address, size_t size, bool write, const void *where)
{
	static const char *const what[] = {"memory that was never allocated", "live memory", "freed memory",
					   "a block that lies in the pool"};
	char about[800];

	model_fail_at(where, "%s of %zu bytes at %p: %s; %s", write ? "write" : "read", size, (void *)(uintptr_t)address,
		      what[arena_shadow[((uintptr_t)address - ARENA_BASE) >> 3] & 3],
		      arena_describe(address, about, sizeof(about)));
}

void arena_check_leaks(void)
{
	char about[800];

	if (live_count)
		model_fail_at(live->where, "leaked %zu block%s; the last: %s", live_count, live_count > 1 ? "s" : "",
			      arena_describe(live + 1, about, sizeof(about)));
}
