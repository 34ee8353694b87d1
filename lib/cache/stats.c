/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache/stats.c - numbers, and the check that they agree with the table. */
#include <hapax/testing.h>

#include "cache/cache.h"

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

int hapax_cache_stats_get(hapax_cache *cache, hapax_cache_stats *stats)
{
	if (!cache || !stats)
		return HAPAX_ENULL;
	if (stats->size != sizeof(*stats))
		return HAPAX_EOPTSIZE;
	*stats = (hapax_cache_stats){.size = sizeof(*stats)};
	if (!cache->stats)
		return 0;
	stats->hits = sum(cache, HPX_CACHE_HITS);
	stats->misses = sum(cache, HPX_CACHE_MISSES);
	stats->waits = sum(cache, HPX_CACHE_WAITS);
	stats->loads = sum(cache, HPX_CACHE_LOADS);
	stats->load_successes = sum(cache, HPX_CACHE_SUCCESSES);
	stats->load_failures = sum(cache, HPX_CACHE_FAILURES);
	stats->load_novalues = sum(cache, HPX_CACHE_NOVALUES);
	stats->load_abandoned = sum(cache, HPX_CACHE_ABANDONED);
	stats->load_ns = sum(cache, HPX_CACHE_NS);
	stats->superseded = sum(cache, HPX_CACHE_SUPERSEDED);
	stats->puts = sum(cache, HPX_CACHE_PUTS);
	stats->removals = sum(cache, HPX_CACHE_REMOVALS);
	stats->replacements = sum(cache, HPX_CACHE_REPLACEMENTS);
	stats->collections = sum(cache, HPX_CACHE_COLLECTIONS);
	stats->size_now = hapax_cache_size(cache);
	return 0;
}

#ifdef HPX_TESTING
/* Live entries, and how many are LOADING. */
static size_t walk(hapax_cache *c, size_t *loading)
{
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *o;
	size_t live = 0;
	void *e;

	do {
		o = NULL;
		hpx_read_lock();
		e = hpx_table_next(c->table, &cursor, true, &o);
		hpx_read_unlock();
		if (o)
			live++;
		else if (e)
			++*loading;
		if (o)
			hpx_cache_release(c, o);
	} while (e);
	return live;
}

int hapax_testing_check_cache(hapax_cache *cache, char *message, size_t size)
{
	size_t entries = 0, loading = 0, live, expected = hapax_cache_size(cache);
	uint64_t calls = hpx_load_acquire(&cache->calls); /* order: -> CACHE.CALLS acquire */

	if (hpx_table_check(cache->table, message, size, &entries))
		return -1;
	live = walk(cache, &loading);
	if (loading)
		snprintf(message, size, "cache %s: %zu loads at rest", cache->name, loading);
	else if (live != expected)
		snprintf(message, size, "cache %s: %zu live entries, size %zu", cache->name, live, expected);
	else if (calls != 1)
		snprintf(message, size, "cache %s: %llu calls in progress at rest", cache->name,
			 (unsigned long long)calls - 1);
	else if (!hpx_flights_idle(&cache->flights))
		snprintf(message, size, "cache %s: waiters at rest", cache->name);
	else
		return 0;
	return -1;
}

int hapax_testing_cache_resize(hapax_cache *cache, int delta)
{
	return hpx_table_resize(cache->table, delta) ? 0 : HAPAX_ENOMEM;
}
#endif
