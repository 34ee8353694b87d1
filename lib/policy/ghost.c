/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* policy/ghost.c - which nodes left lately. ghost.h says how it works. */
#include "policy/ghost.h"

#include <string.h>

#define LINE_BYTES (HPX_GHOST_LINE * sizeof(uint64_t))
#define TIME_BITS 20
#define TIME_MASK ((UINT64_C(1) << TIME_BITS) - 1)
#define FINGERPRINT_SHIFT (2 * TIME_BITS + 1)

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
	/* 2^11 to 2^12 units for as many as fill it, 2^20 in all */
	ghost->shift = 0;
	while ((uint64_t)ghost->lines * HPX_GHOST_FILL >> ghost->shift >= UINT64_C(1) << 12)
		ghost->shift++;
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

/* Never 0: no slot in use looks empty. */
static uint64_t fingerprint(uint64_t hash)
{
	uint64_t bits = hash & UINT64_MAX >> FINGERPRINT_SHIFT;

	return bits ? bits : 1;
}

static unsigned kind_of(uint64_t slot) { return slot >> (2 * TIME_BITS) & 1; }

/* How far `now` has moved since the time that a slot holds in its bits from `bit` on. */
static uint64_t since(const struct hpx_ghost *ghost, uint64_t now, uint64_t slot, unsigned bit)
{
	return (((now >> ghost->shift) - (slot >> bit)) & TIME_MASK) << ghost->shift;
}

static uint64_t age_of(const struct hpx_ghost *ghost, uint64_t slot)
{
	return since(ghost, ghost->left[kind_of(slot)], slot, TIME_BITS);
}

void hpx_ghost_put(struct hpx_ghost *ghost, uint64_t id, unsigned kind, uint64_t used)
{
	uint64_t hash = spread(id), idle = (ghost->clock - used) >> ghost->shift;
	uint64_t *line, oldest = 0;
	unsigned place = 0;

	if (!ghost->lines)
		return;
	line = line_of(ghost, hash);
	for (unsigned i = 0; i < HPX_GHOST_LINE; i++) {
		uint64_t age;

		if (!line[i]) {
			place = i;
			break;
		}
		age = age_of(ghost, line[i]) * (ghost->limit[!kind_of(line[i])] + 1);
		if (age >= oldest) {
			oldest = age;
			place = i;
		}
	}
	if (idle > TIME_MASK / 2)
		idle = TIME_MASK / 2;
	line[place] = fingerprint(hash) << FINGERPRINT_SHIFT | (uint64_t)kind << (2 * TIME_BITS) |
		      (ghost->left[kind] >> ghost->shift & TIME_MASK) << TIME_BITS |
		      (((ghost->clock >> ghost->shift) - idle) & TIME_MASK);
	ghost->left[kind]++;
}

bool hpx_ghost_take(struct hpx_ghost *ghost, uint64_t id, struct hpx_ghost_found *found)
{
	uint64_t hash = spread(id);
	uint64_t *line;

	if (!ghost->lines)
		return false;
	line = line_of(ghost, hash);
	for (unsigned i = 0; i < HPX_GHOST_LINE; i++) {
		uint64_t slot = line[i];

		if (slot >> FINGERPRINT_SHIFT != fingerprint(hash))
			continue;
		line[i] = 0;
		found->kind = kind_of(slot);
		found->age = age_of(ghost, slot);
		found->idle = since(ghost, ghost->clock, slot, 0);
		return found->age <= ghost->limit[found->kind];
	}
	return false;
}
