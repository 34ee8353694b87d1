/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/memory_inner.h - what memory.c, memory_history.c and memory_race.c share.
 *
 * Memory is looked at in granules of 8 aligned bytes. A granule that was touched in this run has a list of accesses
 * (for races) and a list of locations (atomics, at most 8 of one byte), each with a history of stores.
 */
#ifndef HPX_MODEL_MEMORY_INNER_H
#define HPX_MODEL_MEMORY_INNER_H

#include "model/memory.h"

enum { MEM_HISTORY = 16 }; /* newest stores of a location that are remembered */
enum { MEM_STALE = 3 }; /* loads in a row of one location by one thread that may miss its newest store */

/* Kinds of access. ENDED: what was touched is freed; ALLOCATED: written by its allocation. */
enum { MEM_WROTE = 1, MEM_ATOMIC = 2, MEM_ENDED = 4, MEM_ALLOCATED = 8 };

struct mem_access {
	const void *where;
	uint32_t epoch; /* of its thread */
	uint32_t next;
	uint8_t thread, kind, bytes; /* bytes: which of the granule's, a bit each */
};

struct mem_store {
	uint64_t value;
	struct mem_clock released; /* what a load that acquires gets; nothing unless `carries` */
	struct mem_clock seen; /* epochs of each thread's first load that saw it */
	uint32_t epoch;
	uint32_t older; /* in modification order */
	uint8_t thread;
	bool carries, rmw, seq_cst;
};

struct mem_location {
	uint32_t next; /* of the same granule */
	uint32_t newest;
	uint8_t at, size; /* bytes of the granule */
	uint8_t stores;
	uint8_t stale[MEM_THREADS]; /* loads in a row that missed the newest */
};

struct mem_granule {
	uintptr_t key; /* address / 8 */
	uint32_t accesses, locations; /* 0: none */
};

extern enum mem_mode mem_mode;
extern struct mem_clock mem_now[MEM_THREADS]; /* what happened before each thread's next action; its own epoch */

static inline void mem_join(struct mem_clock *to, const struct mem_clock *from)
{
	for (unsigned i = 0; i < MEM_THREADS; i++)
		to->at[i] = to->at[i] < from->at[i] ? from->at[i] : to->at[i];
}
static inline void mem_tick(unsigned t) { mem_now[t].at[t]++; }
static inline uint8_t mem_bytes(unsigned at, unsigned size) { return (uint8_t)((0xffu >> (8 - size)) << at); }

/* memory_shadow.c: granules, and the pools everything else comes from; all of it goes with mem_shadow_reset(). */
void mem_shadow_reset(void);
struct mem_granule *mem_find(uintptr_t key); /* NULL: not touched in this run */
struct mem_granule *mem_get(uintptr_t key);
uint32_t mem_granules(void); /* how many there are, to walk them all */
struct mem_granule *mem_granule(uint32_t i);
struct mem_access *mem_access(uint32_t i);
uint32_t mem_access_new(void);
void mem_access_free(uint32_t i);
struct mem_location *mem_location(uint32_t i);
struct mem_store *mem_store_at(uint32_t i);
uint32_t mem_store_new(void);
void mem_store_free(uint32_t i);
/* The location of exactly these bytes. Others that share bytes with it are forgotten. 0: there is none yet. */
uint32_t mem_location_find(struct mem_granule *g, unsigned at, unsigned size);
uint32_t mem_location_new(struct mem_granule *g, unsigned at, unsigned size);
void mem_locations_drop(struct mem_granule *g, uint8_t bytes);

/* memory_race.c: an access to some bytes of a granule; fails the run if it races, or if they are freed. */
void mem_touch(unsigned t, struct mem_granule *g, uint8_t bytes, uint8_t kind, const void *where);
void mem_race_reset(void);
/* Bytes of `key` that were freed as part of a large block: a granule that is made now starts with that. */
void mem_range_apply(struct mem_granule *g);

#endif
