/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/memory_shadow.c - granules and their parts.
 *
 * Everything lives in regions that are reserved once and used from their beginnings; an index by address finds
 * granules. A reset forgets by beginning anew and by giving the index another generation: it costs the same
 * however much was touched.
 */
#include <string.h>
#include <sys/mman.h>

#include "model/memory_inner.h"
#include "model/model.h"

struct region {
	char *base;
	size_t item;
	uint32_t used, most, free; /* free: list of given back ones, through their first four bytes */
	const char *what;
};
struct slot {
	uintptr_t key;
	uint32_t generation, granule;
};

enum { INDEX_FIRST = 12, INDEX_LAST = 23 };

static struct region granules = {.item = sizeof(struct mem_granule), .most = 1u << 21, .what = "granules"};
static struct region accesses = {.item = sizeof(struct mem_access), .most = 1u << 22, .what = "accesses"};
static struct region locations = {.item = sizeof(struct mem_location), .most = 1u << 20, .what = "locations"};
static struct region stores = {.item = sizeof(struct mem_store), .most = 1u << 20, .what = "stores"};
static struct slot *slots;
static uint32_t generation;
static unsigned bits = INDEX_FIRST;

static void *reserve(size_t size)
{
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		model_fail("the model has no memory for its shadow");
	return base;
}

static void begin(struct region *r)
{
	if (!r->base)
		r->base = reserve(r->item * r->most);
	r->used = 1; /* 0 means none */
	r->free = 0;
}

static inline void *item(const struct region *r, uint32_t i) { return r->base + (size_t)i * r->item; }

static uint32_t take(struct region *r)
{
	uint32_t i = r->free;

	if (i) {
		memcpy(&r->free, item(r, i), sizeof(r->free));
		return i;
	}
	if (r->used == r->most)
		model_fail("the model's shadow has no room for more %s: the run is too long", r->what);
	return r->used++;
}

static void give(struct region *r, uint32_t i)
{
	memcpy(item(r, i), &r->free, sizeof(r->free));
	r->free = i;
}

void mem_shadow_reset(void)
{
	begin(&granules);
	begin(&accesses);
	begin(&locations);
	begin(&stores);
	if (!slots)
		slots = reserve(sizeof(*slots) << INDEX_LAST);
	if (++generation == 0) {
		memset(slots, 0, sizeof(*slots) << bits);
		generation = 1;
	}
}

/* Eight neighbours stay together: a cache line of memory has a place of 128 bytes in the index. */
static inline uint32_t place(uintptr_t key)
{
	uint64_t line = (uint64_t)(key >> 3) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(line >> (64 - (bits - 3))) << 3 | (uint32_t)(key & 7);
}

struct mem_granule *mem_find(uintptr_t key)
{
	uint32_t mask = (1u << bits) - 1;

	for (uint32_t i = place(key);; i = (i + 1) & mask) {
		const struct slot *s = &slots[i];

		if (s->generation != generation)
			return NULL;
		if (s->key == key)
			return item(&granules, s->granule);
	}
}

static void enter(uintptr_t key, uint32_t granule)
{
	uint32_t mask = (1u << bits) - 1, i = place(key);

	while (slots[i].generation == generation)
		i = (i + 1) & mask;
	slots[i] = (struct slot){.key = key, .generation = generation, .granule = granule};
}

static void grow(void)
{
	bits++;
	if (bits > INDEX_LAST)
		model_fail("the model's shadow has no room for more granules: the run is too long");
	memset(slots, 0, sizeof(*slots) << bits);
	for (uint32_t i = 1; i < granules.used; i++)
		enter(mem_granule(i)->key, i);
}

struct mem_granule *mem_get(uintptr_t key)
{
	struct mem_granule *g = mem_find(key);
	uint32_t i;

	if (g)
		return g;
	if (granules.used >= 1u << bits >> 2)
		grow();
	i = take(&granules);
	g = item(&granules, i);
	*g = (struct mem_granule){.key = key};
	enter(key, i);
	mem_range_apply(g);
	return g;
}

uint32_t mem_granules(void) { return granules.used; }
struct mem_granule *mem_granule(uint32_t i) { return item(&granules, i); }
struct mem_access *mem_access(uint32_t i) { return item(&accesses, i); }
uint32_t mem_access_new(void) { return take(&accesses); }
void mem_access_free(uint32_t i) { give(&accesses, i); }
struct mem_location *mem_location(uint32_t i) { return item(&locations, i); }
struct mem_store *mem_store_at(uint32_t i) { return item(&stores, i); }
uint32_t mem_store_new(void) { return take(&stores); }
void mem_store_free(uint32_t i) { give(&stores, i); }

static void location_free(uint32_t i)
{
	uint32_t older;

	for (uint32_t s = mem_location(i)->newest; s; s = older) {
		older = mem_store_at(s)->older;
		mem_store_free(s);
	}
	give(&locations, i);
}

void mem_locations_drop(struct mem_granule *g, uint8_t bytes)
{
	uint32_t *link = &g->locations;

	while (*link) {
		struct mem_location *l = mem_location(*link);
		uint32_t i = *link;

		if (mem_bytes(l->at, l->size) & bytes) {
			*link = l->next;
			location_free(i);
		} else {
			link = &l->next;
		}
	}
}

uint32_t mem_location_find(struct mem_granule *g, unsigned at, unsigned size)
{
	for (uint32_t i = g->locations; i; i = mem_location(i)->next)
		if (mem_location(i)->at == at && mem_location(i)->size == size)
			return i;
	if (g->locations)
		mem_locations_drop(g, mem_bytes(at, size));
	return 0;
}

uint32_t mem_location_new(struct mem_granule *g, unsigned at, unsigned size)
{
	uint32_t i = take(&locations);
	struct mem_location *l = mem_location(i);

	*l = (struct mem_location){.next = g->locations, .at = (uint8_t)at, .size = (uint8_t)size};
	g->locations = i;
	return i;
}
