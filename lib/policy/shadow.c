/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* policy/shadow.c - which keys were let go of lately. */
#include "policy/shadow.h"

#include "policy/list.h"

#define PLACES ((size_t)1 << 20)   /* at most this many keys: 12 to 16 MiB */
#define BUCKETS_FIRST 8
#define TIME_BITS 24               /* of a span; 32 are kept, so that 256 spans are told apart */
#define BINS_PER_SPAN 64

/* Ids are hashes, of a user's making perhaps. */
static uint32_t hash_of(uint64_t id)
{
	id = (id ^ id >> 32) * UINT64_C(0x9e3779b97f4a7c15);
	id = (id ^ id >> 32) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
	return id ? (uint32_t)id : 1;
}

static uint64_t *bucket_of(const struct hpx_shadow *shadow, uint32_t hash)
{
	return &shadow->place[(hash & (shadow->buckets - 1)) * HPX_SHADOW_WAYS];
}

static uint32_t age_of(const struct hpx_shadow *shadow, uint64_t place)
{
	return (uint32_t)(shadow->now >> shadow->shift) - (uint32_t)place;
}

/* The number of the bin that it came in. */
static uint64_t bin_of(const struct hpx_shadow *shadow, uint64_t place)
{
	uint64_t now = shadow->now >> shadow->shift, age = age_of(shadow, place);

	return age > now ? 0 : (now - age) / shadow->width;
}

static bool too_old(const struct hpx_shadow *shadow, uint64_t place)
{
	return bin_of(shadow, place) < shadow->first;
}

static uint64_t bin_now(const struct hpx_shadow *shadow)
{
	return (shadow->now >> shadow->shift) / shadow->width;
}

static void forget_first(struct hpx_shadow *shadow)
{
	uint64_t *bin = &shadow->bin[shadow->first++ % HPX_SHADOW_BINS];

	shadow->total -= *bin;
	*bin = 0;
}

/* Only the last BINS bins can be told apart. */
static void forget(struct hpx_shadow *shadow, uint64_t last)
{
	if (last - shadow->first >= 2 * HPX_SHADOW_BINS) {
		memset(shadow->bin, 0, sizeof(shadow->bin));
		shadow->total = 0;
		shadow->first = last;
	}
	while (last - shadow->first >= HPX_SHADOW_BINS)
		forget_first(shadow);
}

static size_t bytes_of(size_t buckets)
{
	return buckets * HPX_SHADOW_WAYS * sizeof(uint64_t);
}

/* Buckets for so many keys, half to three quarters full. */
static size_t buckets_for(uint64_t keys)
{
	size_t buckets = BUCKETS_FIRST;

	while (buckets * HPX_SHADOW_WAYS / 4 * 3 < keys && buckets < PLACES / HPX_SHADOW_WAYS * 2)
		buckets *= 2;
	return buckets;
}

/* Other units: what is remembered stays so, each with an average weight. */
static void rebin(struct hpx_shadow *shadow, uint64_t span, unsigned shift)
{
	uint64_t keys = 0, each, width = (span >> shift) / BINS_PER_SPAN;

	width = width ? width : 1;
	if (shift == shadow->shift && width == shadow->width)
		return;
	for (size_t i = 0; shadow->width && i < shadow->buckets * HPX_SHADOW_WAYS; i++) {
		uint64_t at = shadow->place[i], age;

		shadow->place[i] = 0;
		if (!at || too_old(shadow, at))
			continue;
		age = (uint64_t)age_of(shadow, at) << shadow->shift >> shift;
		if (age / width >= HPX_SHADOW_BINS - 1)
			continue;
		shadow->place[i] = at >> 32 << 32 | (uint32_t)((shadow->now >> shift) - age);
		keys++;
	}
	each = keys ? shadow->total / keys : 0;
	memset(shadow->bin, 0, sizeof(shadow->bin));
	shadow->shift = shift;
	shadow->width = width;
	shadow->total = each * keys;
	shadow->first = bin_now(shadow) < HPX_SHADOW_BINS ? 0 : bin_now(shadow) - HPX_SHADOW_BINS + 1;
	for (size_t i = 0; keys && i < shadow->buckets * HPX_SHADOW_WAYS; i++) {
		if (shadow->place[i])
			shadow->bin[bin_of(shadow, shadow->place[i]) % HPX_SHADOW_BINS] += each;
	}
}

int hpx_shadow_init(struct hpx_shadow *shadow, const hapax_allocator *allocator, uint64_t span)
{
	size_t room = buckets_for(span < PLACES ? span : PLACES);
	uint64_t *place = shadow->place;
	unsigned shift = 0;

	while (span >> shift >> TIME_BITS)
		shift++;
	if (room != shadow->room) {
		place = allocator->alloc(bytes_of(room), 64, allocator->ctx);
		if (!place && !shadow->place)
			return HAPAX_ENOMEM;
	}
	if (place && place != shadow->place) {
		size_t keep = shadow->buckets < room ? shadow->buckets : room;

		if (!shadow->place)
			memset(place, 0, bytes_of(keep = BUCKETS_FIRST));
		else
			memcpy(place, shadow->place, bytes_of(keep));
		if (shadow->place)
			allocator->free(shadow->place, bytes_of(shadow->room), 64, allocator->ctx);
		shadow->allocator = allocator;
		shadow->place = place;
		shadow->room = room;
		shadow->buckets = keep;
		shadow->sweep = 0;
	}
	rebin(shadow, span, shift);
	shadow->span = span;
	return 0;
}

void hpx_shadow_fini(struct hpx_shadow *shadow)
{
	if (shadow->place)
		shadow->allocator->free(shadow->place, bytes_of(shadow->room), 64, shadow->allocator->ctx);
	memset(shadow, 0, sizeof(*shadow));
}

/* Each bucket gives half of its keys to one of the new ones. */
static void grow(struct hpx_shadow *shadow)
{
	size_t half = shadow->buckets * HPX_SHADOW_WAYS;

	memset(&shadow->place[half], 0, half * sizeof(uint64_t));
	for (size_t i = 0; i < half; i++) {
		if (shadow->place[i] >> 32 & shadow->buckets) {
			shadow->place[half + i] = shadow->place[i];
			shadow->place[i] = 0;
		}
	}
	shadow->buckets *= 2;
}

void hpx_shadow_use(struct hpx_shadow *shadow, uint64_t keys)
{
	while (shadow->buckets < shadow->room && shadow->buckets * HPX_SHADOW_WAYS / 4 * 3 < keys)
		grow(shadow);
}

void hpx_shadow_add(struct hpx_shadow *shadow, uint64_t id, uint64_t weight)
{
	uint32_t hash = hash_of(id);
	uint64_t *bucket, *at, last;

	shadow->now += weight;
	last = bin_now(shadow);
	forget(shadow, last);
	shadow->bin[last % HPX_SHADOW_BINS] += weight;
	shadow->total += weight;
	while (shadow->total > shadow->span && shadow->first < last)
		forget_first(shadow);
	bucket = &shadow->place[shadow->sweep * HPX_SHADOW_WAYS];
	for (unsigned i = 0; i < HPX_SHADOW_WAYS; i++)
		bucket[i] = bucket[i] && too_old(shadow, bucket[i]) ? 0 : bucket[i];
	shadow->sweep = (shadow->sweep + 1) & (shadow->buckets - 1);
	bucket = at = bucket_of(shadow, hash);
	for (unsigned i = 0; i < HPX_SHADOW_WAYS; i++) {
		if (bucket[i] >> 32 == hash) {
			at = &bucket[i];
			break;
		}
		if (*at && (!bucket[i] || age_of(shadow, bucket[i]) > age_of(shadow, *at)))
			at = &bucket[i];
	}
	*at = (uint64_t)hash << 32 | (uint32_t)(shadow->now >> shadow->shift);
}

bool hpx_shadow_take(struct hpx_shadow *shadow, uint64_t id, uint64_t weight)
{
	uint32_t hash = hash_of(id);
	uint64_t *bucket = bucket_of(shadow, hash);

	for (unsigned i = 0; i < HPX_SHADOW_WAYS; i++) {
		if (bucket[i] >> 32 == hash) {
			uint64_t *bin = &shadow->bin[bin_of(shadow, bucket[i]) % HPX_SHADOW_BINS];
			bool fresh = !too_old(shadow, bucket[i]);

			weight = weight < *bin ? weight : *bin;
			if (fresh) {
				*bin -= weight;
				shadow->total -= weight;
			}
			bucket[i] = 0;
			return fresh;
		}
	}
	return false;
}
