/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache/stats.c - numbers. */
#include "cache/tier.h"

static uint64_t sum(hapax_cache *c, unsigned which)
{
	return hpx_counters_sum(&c->counters, which);
}

size_t hapax_cache_size(hapax_cache *cache)
{
	uint64_t in, out;

	if (!cache)
		return 0;
	out = sum(cache, HPX_CACHE_OUT); /* first: what it counts has been counted in before */
	in = sum(cache, HPX_CACHE_IN);
	return in > out ? in - out : 0;
}

/* What is counted, and where it goes. */
static const struct {
	unsigned which;
	size_t at;
} counts[] = {
#define COUNT(which, field) {HPX_CACHE_##which, offsetof(hapax_cache_stats, field)}
	COUNT(HITS, hits),
	COUNT(MISSES, misses),
	COUNT(WAITS, waits),
	COUNT(LOADS, loads),
	COUNT(SUCCESSES, load_successes),
	COUNT(FAILURES, load_failures),
	COUNT(NOVALUES, load_novalues),
	COUNT(ABANDONED, load_abandoned),
	COUNT(NS, load_ns),
	COUNT(SUPERSEDED, superseded),
	COUNT(PUTS, puts),
	COUNT(REMOVALS, removals),
	COUNT(REPLACEMENTS, replacements),
	COUNT(COLLECTIONS, collections),
	COUNT(DEMOTIONS, demotions),
	COUNT(READMISSIONS, readmissions),
	COUNT(DEMOTED_HITS, demoted_hits),
	COUNT(FAILED_UPGRADES, failed_upgrades),
	COUNT(EVICTED_WEIGHT, eviction_weight),
	COUNT(EXPIRATIONS, expirations),
	COUNT(SIZE_EVICTIONS, size_evictions),
	COUNT(NEGATIVE_HITS, negative_hits),
	COUNT(STALE_HITS, stale_hits),
	COUNT(REFRESHES, refreshes),
	COUNT(REFRESH_FAILURES, refresh_failures),
	COUNT(NOTIFICATIONS, notifications),
	COUNT(LISTENER_ERRORS, listener_errors),
#undef COUNT
};
/* Those that say how things are, beside the counts. */
static const size_t states[] = {offsetof(hapax_cache_stats, size_now), offsetof(hapax_cache_stats, retained),
				offsetof(hapax_cache_stats, retained_weight), offsetof(hapax_cache_stats, garbage_bytes)};

/* The numbers that were there in the first version of the header. */
#define STATS_FIRST offsetof(hapax_cache_stats, retained)

static uint64_t *field(hapax_cache_stats *stats, size_t at) { return (uint64_t *)(void *)((char *)stats + at); }

static bool legal_size(size_t size) { return size == sizeof(hapax_cache_stats) || size == STATS_FIRST; }

int hapax_cache_stats_get(hapax_cache *cache, hapax_cache_stats *stats)
{
	hapax_env_stats env = {.size = sizeof(env)};
	hapax_cache_stats full = {.size = 0};
	size_t i;

	if (!cache || !stats)
		return HAPAX_ENULL;
	if (!legal_size(stats->size))
		return HAPAX_EOPTSIZE;
	full.size = stats->size;
	if (cache->stats) {
		for (i = 0; i < sizeof(counts) / sizeof(*counts); i++)
			*field(&full, counts[i].at) = sum(cache, counts[i].which);
		full.evictions = full.collections + full.expirations;
		if (!cache->tier)
			full.eviction_weight = full.evictions; /* entries without a weight of their own weigh 1 */
		full.size_now = hapax_cache_size(cache);
		if (cache->tier) {
			/* order: TIER.HELD relaxed; numbers */
			full.retained = hpx_load_relaxed(&cache->tier->held);
			full.retained_weight = hpx_load_relaxed(&cache->tier->weight);
		}
		if (full.size == sizeof(full) && hapax_env_stats_get(cache->env, &env) == 0)
			full.garbage_bytes = env.garbage_bytes;
	}
	memcpy(stats, &full, full.size);
	return 0;
}

void hapax_cache_stats_since(hapax_cache_stats *now, const hapax_cache_stats *before)
{
	uint64_t was;
	size_t i, at, size;

	if (!now || !before || !legal_size(now->size) || !legal_size(before->size))
		return;
	size = now->size < before->size ? now->size : before->size;
	for (at = sizeof(now->size); at + sizeof(was) <= size; at += sizeof(was)) {
		bool state = false;

		for (i = 0; i < sizeof(states) / sizeof(*states); i++)
			state = state || states[i] == at;
		memcpy(&was, (const char *)before + at, sizeof(was));
		if (!state)
			*field(now, at) = *field(now, at) > was ? *field(now, at) - was : 0;
	}
}
