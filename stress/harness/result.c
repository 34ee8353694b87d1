/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "result.h"

#include "options.h"
#include "report.h"
#include "team.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

void hpx_result_note(hpx_result *result, const char *field, const char *label, uint64_t value)
{
	if (result->notes_used < HPX_RESULT_NOTES)
		result->notes[result->notes_used++] = (hpx_note){field, label, value};
}

void hpx_result_broken(hpx_result *result, const char *format, ...)
{
	va_list args;

	if (result->broken_used++ >= HPX_RESULT_BROKEN)
		return;
	va_start(args, format);
	vsnprintf(result->broken[result->broken_used - 1], sizeof(result->broken[0]), format, args);
	va_end(args);
}

void hpx_result_error(hpx_result *result, int error, uint64_t count)
{
	unsigned last = sizeof(result->errors) / sizeof(result->errors[0]);

	if (!count || result->errors_used == last)
		return;
	result->errors[result->errors_used].error = error;
	result->errors[result->errors_used++].count = count;
}

void hpx_result_oracles(hpx_result *result, const hpx_oracle *oracles, unsigned count)
{
	uint64_t in_use = 0;
	uint64_t twice = 0;
	uint64_t double_loads = 0;

	for (const hpx_oracle *oracle = oracles; oracle < oracles + count; oracle++) {
		result->lives += hpx_relaxed_get(&oracle->lives);
		result->overlapping_lives += hpx_relaxed_get(&oracle->overlapping);
		result->wrong_values += hpx_relaxed_get(&oracle->wrong);
		in_use += hpx_relaxed_get(&oracle->destroyed_in_use);
		twice += hpx_relaxed_get(&oracle->destroyed_twice);
		double_loads += hpx_relaxed_get(&oracle->double_loads);
	}
	hpx_result_note(result, "duplicate_loads", "loads of one key at once", double_loads);
	hpx_result_note(result, "destroyed_in_use", "destroyed while held", in_use);
	hpx_result_note(result, "destroyed_twice", "destroyed twice", twice);
	if (result->overlapping_lives)
		hpx_result_broken(result, "G1: two objects of one key were alive at once, %llu times",
				  (unsigned long long)result->overlapping_lives);
	if (double_loads)
		hpx_result_broken(result, "G2: two loaders of one key ran at once, %llu times",
				  (unsigned long long)double_loads);
	if (result->loads - result->load_errors != result->lives)
		hpx_result_broken(result, "G2: %llu loads succeeded, but %llu lives were seen",
				  (unsigned long long)(result->loads - result->load_errors),
				  (unsigned long long)result->lives);
	if (result->wrong_values)
		hpx_result_broken(result, "%llu values were wrong", (unsigned long long)result->wrong_values);
	if (in_use)
		hpx_result_broken(result, "G3: an object was destroyed while it was held, %llu times",
				  (unsigned long long)in_use);
	if (twice)
		hpx_result_broken(result, "G3: a destructor ran a second time, %llu times", (unsigned long long)twice);
}

void hpx_result_destructors(hpx_result *result, const hpx_oracle *oracles, unsigned count, uint64_t begun)
{
	uint64_t ran = 0;

	for (unsigned i = 0; i < count; i++)
		ran += hpx_relaxed_get(&oracles[i].destructors);
	if (ran != begun)
		hpx_result_broken(result, "G3: %llu objects had a life, but %llu destructors ran",
				  (unsigned long long)begun, (unsigned long long)ran);
}

void hpx_result_cache(hpx_result *result, hapax_cache *cache)
{
	hapax_cache_stats stats = {.size = sizeof(stats)};

	if (hapax_cache_stats_get(cache, &stats)) {
		hpx_result_broken(result, "the cache's statistics cannot be read");
		return;
	}
	result->hits = stats.hits;
	hpx_result_note(result, "waits", "joined another's load", stats.waits);
	if (stats.hits + stats.misses != result->requests)
		hpx_result_broken(result, "statistics: %llu hits and %llu misses for %llu requests",
				  (unsigned long long)stats.hits, (unsigned long long)stats.misses,
				  (unsigned long long)result->requests);
	if (stats.loads != result->loads || stats.load_failures != result->load_errors)
		hpx_result_broken(result, "statistics: %llu loads and %llu failures, but %llu and %llu were counted",
				  (unsigned long long)stats.loads, (unsigned long long)stats.load_failures,
				  (unsigned long long)result->loads, (unsigned long long)result->load_errors);
}

void hpx_result_settle(hpx_result *result, hapax_env *env)
{
	const struct timespec pause = {0, 1000000};
	uint64_t deadline = hpx_now() + 10 * HAPAX_SECOND;
	hapax_env_stats *stats = &result->env;

	for (;;) {
		*stats = (hapax_env_stats){.size = sizeof(*stats)};
		if (hapax_env_stats_get(env, stats)) {
			hpx_result_broken(result, "the environment's statistics cannot be read");
			return;
		}
		if ((stats->objects_born == stats->objects_destroyed && stats->objects_born == stats->objects_freed) ||
		    hpx_now() > deadline)
			break;
		hapax_reclaim(env);
		nanosleep(&pause, NULL);
	}
	if (stats->objects_born != stats->objects_destroyed || stats->objects_born != stats->objects_freed)
		hpx_result_broken(result, "conservation: %llu born, %llu destroyed, %llu freed",
				  (unsigned long long)stats->objects_born, (unsigned long long)stats->objects_destroyed,
				  (unsigned long long)stats->objects_freed);
	if (stats->garbage_peak_bytes > stats->garbage_bound_bytes + result->alive_bytes)
		hpx_result_broken(result, "G6: garbage reached %zu bytes, over its bound of %zu and the %llu alive",
				  stats->garbage_peak_bytes, stats->garbage_bound_bytes,
				  (unsigned long long)result->alive_bytes);
	if (stats->garbage_refusals && !result->may_refuse)
		hpx_result_broken(result, "G6: %llu creations were refused though they could wait",
				  (unsigned long long)stats->garbage_refusals);
}

int hpx_result_finish(const hpx_result *result, const char *json)
{
	bool written;

	hpx_report_table(result, hpx_human(json));
	written = !json || hpx_report_json(result, json) == 0;
	if (result->broken_used)
		return HPX_EXIT_BROKEN;
	return written ? HPX_EXIT_HELD : HPX_EXIT_INPUT;
}
