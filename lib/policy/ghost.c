/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* policy/ghost.c - which nodes left lately. ghost.h says how it works. */
#include "policy/ghost.h"

#include <string.h>

#define LINE_BYTES (HPX_GHOST_LINE * sizeof(uint64_t))

bool hpx_ghost_init(struct hpx_ghost *ghost, uint64_t entries, const hapax_allocator *allocator)
{
	uint64_t lines = entries / HPX_GHOST_FILL + 1;

	memset(ghost, 0, sizeof(*ghost));
	for (; lines; lines /= 2) {
		if (lines > SIZE_MAX / LINE_BYTES)
			continue;
		ghost->slots = allocator->alloc((size_t)lines * LINE_BYTES, 64, allocator->ctx);
		if (ghost->slots)
			break;
	}
	ghost->reserved = (size_t)lines;
	return lines != 0;
}

void hpx_ghost_fini(struct hpx_ghost *ghost, const hapax_allocator *allocator)
{
	if (ghost->slots)
		allocator->free(ghost->slots, ghost->reserved * LINE_BYTES, 64, allocator->ctx);
	memset(ghost, 0, sizeof(*ghost));
}

void hpx_ghost_fit(struct hpx_ghost *ghost, uint64_t entries)
{
	uint64_t lines = entries / HPX_GHOST_FILL + 1;

	if (lines <= ghost->lines || ghost->lines == ghost->reserved)
		return;
	if (lines < 2 * (uint64_t)ghost->lines)
		lines = 2 * (uint64_t)ghost->lines;
	ghost->lines = lines < ghost->reserved ? (size_t)lines : ghost->reserved;
	memset(ghost->slots, 0, ghost->lines * LINE_BYTES);
	memset(ghost->put, 0, sizeof(ghost->put));
}

/* Ids may be poor hashes: the finalizer of MurmurHash3 spreads them. */
static uint64_t spread(uint64_t id)
{
	id = (id ^ id >> 33) * UINT64_C(0xff51afd7ed558ccd);
	id = (id ^ id >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return id ^ id >> 33;
}

static uint64_t *line_of(const struct hpx_ghost *ghost, uint64_t hash)
{
	return ghost->slots + (size_t)((hash >> 32) * ghost->lines >> 32) * HPX_GHOST_LINE;
}

static uint64_t fingerprint(uint64_t hash) { return (hash & UINT32_MAX >> 1) | 1; }

static unsigned slot_kind(uint64_t slot) { return slot >> 32 & 1; }

static uint32_t slot_age(const struct hpx_ghost *ghost, uint64_t slot)
{
	return ghost->now[slot_kind(slot)] - (uint32_t)slot;
}

void hpx_ghost_put(struct hpx_ghost *ghost, uint64_t id, unsigned kind)
{
	uint64_t hash = spread(id);
	uint64_t *line, oldest = 0;
	unsigned best = 0;

	if (!ghost->lines)
		return;
	line = line_of(ghost, hash);
	for (unsigned i = 0; i < HPX_GHOST_LINE; i++) {
		uint64_t age;

		if (!line[i]) {
			best = i;
			break;
		}
		/* in 2^-32 of the limit: comparable between kinds */
		age = ((uint64_t)slot_age(ghost, line[i]) << 32) / (ghost->limit[slot_kind(line[i])] + UINT64_C(1));
		if (age >= oldest) {
			oldest = age;
			best = i;
		}
	}
	line[best] = fingerprint(hash) << 33 | (uint64_t)kind << 32 | ghost->now[kind]++;
	ghost->put[kind]++;
}

int hpx_ghost_take(struct hpx_ghost *ghost, uint64_t id, uint32_t *age)
{
	uint64_t hash = spread(id);
	uint64_t *line;

	if (!ghost->lines)
		return -1;
	line = line_of(ghost, hash);
	for (unsigned i = 0; i < HPX_GHOST_LINE; i++) {
		uint64_t slot = line[i];

		if (slot >> 33 != fingerprint(hash))
			continue;
		line[i] = 0;
		*age = slot_age(ghost, slot) - 1;
		return *age < ghost->limit[slot_kind(slot)] ? (int)slot_kind(slot) : -1;
	}
	return -1;
}
