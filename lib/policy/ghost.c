/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* policy/ghost.c - which keys were let go of lately. */
#include "policy/ghost.h"

#include "policy/list.h"

#define PLACES ((size_t)1 << 20)   /* at most this many keys: 12 to 16 MiB */
#define BUCKETS_FIRST 8
#define TIME_BITS 24               /* of a span; 32 are kept, so that 256 spans are told apart */

/* Ids are hashes, of a user's making perhaps. */
static uint32_t hash_of(uint64_t id)
{
	uint32_t hash = (uint32_t)((id ^ id >> 32) * UINT64_C(0x9e3779b97f4a7c15) >> 32);

	return hash ? hash : 1;
}

static uint64_t *bucket_of(const struct hpx_ghost *ghost, uint32_t hash)
{
	return &ghost->place[(hash & (ghost->buckets - 1)) * HPX_GHOST_WAYS];
}

static uint32_t age_of(const struct hpx_ghost *ghost, uint64_t place)
{
	return (uint32_t)(ghost->now >> ghost->shift) - (uint32_t)place;
}

static bool too_old(const struct hpx_ghost *ghost, uint64_t place)
{
	return age_of(ghost, place) > ghost->span >> ghost->shift;
}

static size_t bytes_of(size_t buckets)
{
	return buckets * HPX_GHOST_WAYS * sizeof(uint64_t);
}

/* Buckets for so many keys, half to three quarters full. */
static size_t buckets_for(uint64_t keys)
{
	size_t buckets = BUCKETS_FIRST;

	while (buckets * HPX_GHOST_WAYS / 4 * 3 < keys && buckets < PLACES / HPX_GHOST_WAYS * 2)
		buckets *= 2;
	return buckets;
}

int hpx_ghost_init(struct hpx_ghost *ghost, const hapax_allocator *allocator, uint64_t span)
{
	size_t room = buckets_for(span < PLACES ? span : PLACES);
	uint64_t *place = ghost->place;
	unsigned shift = 0;

	while (span >> shift >> TIME_BITS)
		shift++;
	if (room != ghost->room) {
		place = allocator->alloc(bytes_of(room), 64, allocator->ctx);
		if (!place && !ghost->place)
			return HAPAX_ENOMEM;
	}
	if (place && place != ghost->place) {
		size_t keep = ghost->buckets < room ? ghost->buckets : room;

		if (!ghost->place)
			memset(place, 0, bytes_of(keep = BUCKETS_FIRST));
		else
			memcpy(place, ghost->place, bytes_of(keep));
		if (ghost->place)
			allocator->free(ghost->place, bytes_of(ghost->room), 64, allocator->ctx);
		ghost->allocator = allocator;
		ghost->place = place;
		ghost->room = room;
		ghost->buckets = keep;
		ghost->sweep = 0;
	}
	if (shift != ghost->shift) {
		for (size_t i = 0; i < ghost->buckets * HPX_GHOST_WAYS; i++) {
			uint64_t at = ghost->place[i], age;

			if (!at)
				continue;
			age = (uint64_t)age_of(ghost, at) << ghost->shift >> shift;
			age = age > UINT32_MAX ? UINT32_MAX : age;
			ghost->place[i] = at >> 32 << 32 | (uint32_t)((ghost->now >> shift) - age);
		}
		ghost->shift = shift;
	}
	ghost->span = span;
	return 0;
}

void hpx_ghost_fini(struct hpx_ghost *ghost)
{
	if (ghost->place)
		ghost->allocator->free(ghost->place, bytes_of(ghost->room), 64, ghost->allocator->ctx);
	memset(ghost, 0, sizeof(*ghost));
}

/* Each bucket gives half of its keys to one of the new ones. */
static void grow(struct hpx_ghost *ghost)
{
	size_t half = ghost->buckets * HPX_GHOST_WAYS;

	memset(&ghost->place[half], 0, half * sizeof(uint64_t));
	for (size_t i = 0; i < half; i++) {
		if (ghost->place[i] >> 32 & ghost->buckets) {
			ghost->place[half + i] = ghost->place[i];
			ghost->place[i] = 0;
		}
	}
	ghost->buckets *= 2;
}

void hpx_ghost_use(struct hpx_ghost *ghost, uint64_t keys)
{
	while (ghost->buckets < ghost->room && ghost->buckets * HPX_GHOST_WAYS / 4 * 3 < keys)
		grow(ghost);
}

void hpx_ghost_add(struct hpx_ghost *ghost, uint64_t id, uint64_t weight)
{
	uint32_t hash = hash_of(id);
	uint64_t *bucket, *at;

	ghost->now += weight;
	bucket = &ghost->place[ghost->sweep * HPX_GHOST_WAYS];
	for (unsigned i = 0; i < HPX_GHOST_WAYS; i++)
		bucket[i] = bucket[i] && too_old(ghost, bucket[i]) ? 0 : bucket[i];
	ghost->sweep = (ghost->sweep + 1) & (ghost->buckets - 1);
	bucket = at = bucket_of(ghost, hash);
	for (unsigned i = 0; i < HPX_GHOST_WAYS; i++) {
		if (bucket[i] >> 32 == hash) {
			at = &bucket[i];
			break;
		}
		if (*at && (!bucket[i] || age_of(ghost, bucket[i]) > age_of(ghost, *at)))
			at = &bucket[i];
	}
	*at = (uint64_t)hash << 32 | (uint32_t)(ghost->now >> ghost->shift);
}

bool hpx_ghost_take(struct hpx_ghost *ghost, uint64_t id)
{
	uint32_t hash = hash_of(id);
	uint64_t *bucket = bucket_of(ghost, hash);

	for (unsigned i = 0; i < HPX_GHOST_WAYS; i++) {
		if (bucket[i] >> 32 == hash) {
			bool fresh = !too_old(ghost, bucket[i]);

			bucket[i] = 0;
			return fresh;
		}
	}
	return false;
}
