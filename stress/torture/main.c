/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "torture.h"

#include "harness/options.h"
#include "harness/report.h"
#include "harness/result.h"
#include "harness/team.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OBJECT_OVERHEAD = 512 };

struct settings {
	const char *json;
	uint64_t threads, seed, keys;
	double seconds, zipf;
	bool calm;
};

static int parse(struct settings *settings, int argc, char **argv)
{
	const hpx_option options[] = {
		{"threads", HPX_OPTION_NUMBER, &settings->threads, 1, 1024, "N",
		 "threads (default three times the processors)"},
		{"seconds", HPX_OPTION_REAL, &settings->seconds, 0.01, 1e7, "S", "how long (default 10)"},
		{"seed", HPX_OPTION_NUMBER, &settings->seed, 0, 0, "N", "of all random choices (default: random)"},
		{"keys", HPX_OPTION_NUMBER, &settings->keys, 1, 10000000, "N", "keys of each cache (default 256)"},
		{"zipf", HPX_OPTION_REAL, &settings->zipf, 0, 10, "S",
		 "exponent of the popularity of keys (default 1.1)"},
		{"calm", HPX_OPTION_FLAG, &settings->calm, 0, 0, NULL, "do not interrupt the threads with signals"},
		{"json", HPX_OPTION_TEXT, &settings->json, 0, 0, "FILE",
		 "write the result as JSON; '-': standard output"},
		{NULL, HPX_OPTION_FLAG, NULL, 0, 0, NULL, NULL},
	};
	const hpx_usage usage = {
		"torture",
		"Three caches under every call at once, with loaders that fail and threads that vanish in them, "
		"judged\n"
		"by oracles: one live object per key, one load per life, one destruction per object, callbacks once,\n"
		"nothing leaked.",
		NULL,
		options,
	};

	return hpx_options_parse(&usage, argc, argv, NULL);
}

static void add(hpx_result *result, const hpx_torturer *torturer)
{
	result->requests += hpx_relaxed_get(&torturer->requests);
	result->loads += hpx_relaxed_get(&torturer->loads);
	result->load_errors += hpx_relaxed_get(&torturer->load_errors);
}

static void sum_up(const hpx_torture *torture, hpx_result *result)
{
	result->requests = result->loads = result->load_errors = 0;
	for (unsigned i = 0; i < 2 * torture->threads; i++)
		add(result, &torture->torturers[i]);
}

static void fill_progress(char *line, size_t size, double seconds, void *ctx)
{
	hpx_torture *torture = ctx;
	hapax_env_stats stats = {.size = sizeof(stats)};
	static hpx_result sums;
	char requests[32];
	char rate[32];
	char born[32];
	char garbage[32];

	sum_up(torture, &sums);
	if (hapax_env_stats_get(torture->env, &stats))
		stats.garbage_bytes = 0;
	snprintf(line, size, "%s requests (%s/s)  %s born  %llu threads vanished  garbage %s",
		 hpx_grouped(requests, sums.requests),
		 hpx_grouped(rate, seconds > 0 ? (uint64_t)((double)sums.requests / seconds) : 0),
		 hpx_grouped(born, stats.objects_born), (unsigned long long)hpx_relaxed_get(&torture->vanished),
		 hpx_bytes(garbage, (double)stats.garbage_bytes));
}

static int open_caches(hpx_torture *torture)
{
	static const char *const names[HPX_CACHES] = {"pure", "mixed", "exclusive"};
	hapax_env_options env_options = {HAPAX_ENV_OPTIONS_INIT, .seed = torture->seed};
	int status = hapax_env_create(&torture->env, &env_options);

	for (unsigned i = 0; !status && i < HPX_CACHES; i++) {
		hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT};

		torture->types[i] = (hapax_type){HAPAX_TYPE_INIT,
						 .name = names[i],
						 .size = sizeof(hpx_thing),
						 .align = _Alignof(hpx_thing),
						 .destroy = hpx_thing_destroy,
						 .arg = torture};
		options.env = torture->env;
		options.name = names[i];
		options.type = &torture->types[i];
		options.flags = i == HPX_EXCLUSIVE ? HAPAX_CACHE_EXCLUSIVE : 0;
		if (i == HPX_MIXED)
			options.make = hpx_thing_make;
		else
			options.load = hpx_thing_load;
		options.arg = &torture->types[i];
		status = hapax_cache_create(&torture->caches[i], &options);
	}
	if (!status)
		return 0;
	for (unsigned i = 0; i < HPX_CACHES; i++)
		hapax_cache_destroy(torture->caches[i]);
	hapax_env_destroy(torture->env);
	return hpx_input_error("torture", "no environment or cache: %s", hapax_status_text(status));
}

static int prepare(hpx_torture *torture, const struct settings *settings)
{
	bool failed = false;

	torture->keys = settings->keys;
	torture->seed = settings->seed;
	torture->threads = (unsigned)settings->threads;
	torture->calm = settings->calm;
	hpx_zipf_init(&torture->zipf, settings->keys, settings->zipf);
	for (unsigned i = 0; i < HPX_CACHES; i++) {
		failed |= hpx_oracle_init(&torture->oracles[i], settings->keys) != 0;
		torture->oracles[i].loose = i != HPX_PURE;
	}
	torture->existing = calloc(settings->keys, sizeof(*torture->existing));
	/* the second half are the guests */
	torture->torturers = calloc(2 * torture->threads + 1, sizeof(*torture->torturers));
	if (failed || !torture->existing || !torture->torturers)
		return hpx_input_error("torture", "out of memory for %llu keys", (unsigned long long)settings->keys);
	for (unsigned i = 0; i < 2 * torture->threads + 1; i++) {
		torture->torturers[i].torture = torture;
		torture->torturers[i].index = i < torture->threads ? i : UINT32_MAX;
		torture->torturers[i].rng = hpx_rng_stream(settings->seed, i);
		if (i < torture->threads)
			torture->torturers[i].guest = &torture->torturers[torture->threads + i];
	}
	return 0;
}

static void tear_down(hpx_torture *torture)
{
	for (unsigned i = 0; i < HPX_CACHES; i++)
		hpx_oracle_fini(&torture->oracles[i]);
	free(torture->existing);
	free(torture->torturers);
}

static void broken_if(hpx_result *result, const hpx_relaxed *count, const char *field, const char *what)
{
	uint64_t number = hpx_relaxed_get(count);

	hpx_result_note(result, field, NULL, number);
	if (number)
		hpx_result_broken(result, "%s, %llu times", what, (unsigned long long)number);
}

static void judge(hpx_torture *torture, hpx_result *result)
{
	uint64_t loads = 0;
	uint64_t failures = 0;

	sum_up(torture, result);
	for (unsigned i = 0; i < 2 * torture->threads; i++)
		hpx_histogram_merge(&result->latency, &torture->torturers[i].latency);
	for (unsigned i = 0; i < HPX_CACHES; i++) {
		hapax_cache_stats stats = {.size = sizeof(stats)};

		if (hapax_cache_stats_get(torture->caches[i], &stats))
			hpx_result_broken(result, "the cache's statistics cannot be read");
		result->hits += stats.hits;
		loads += stats.loads;
		failures += stats.load_failures;
		if (stats.size_now)
			hpx_result_broken(result, "a cache has %llu entries though nothing is alive",
					  (unsigned long long)stats.size_now);
	}
	if (loads != result->loads || failures != result->load_errors)
		hpx_result_broken(result, "statistics: %llu loads and %llu failures, but %llu and %llu were counted",
				  (unsigned long long)loads, (unsigned long long)failures,
				  (unsigned long long)result->loads, (unsigned long long)result->load_errors);
	hpx_result_oracles(result, torture->oracles, HPX_CACHES);
	hpx_result_note(result, "threads_vanished", "threads that vanished in a loader",
			hpx_relaxed_get(&torture->vanished));
	broken_if(result, &torture->exclusive_overlaps, "exclusive_overlaps",
		  "G9: an exclusive instance was created before the old one was gone");
	broken_if(result, &torture->bad_callbacks, "bad_callbacks",
		  "G3: a callback or ctx_free ran twice, late or not at all");
	broken_if(result, &torture->bad_upgrades, "bad_upgrades", "an upgrade gave a dead or another object");
	hpx_result_note(result, "unexpected", NULL, hpx_relaxed_get(&torture->unexpected));
	if (hpx_relaxed_get(&torture->unexpected))
		hpx_result_broken(result, "%llu calls gave an unexpected status, the last %s",
				  (unsigned long long)hpx_relaxed_get(&torture->unexpected),
				  hapax_status_name((int)(int64_t)hpx_relaxed_get(&torture->unexpected_status)));
}

static int run(hpx_torture *torture, const struct settings *settings, hpx_result *result)
{
	hpx_team team = {
		.threads = torture->threads,
		.seconds = settings->seconds,
		.work = hpx_torture_work,
		.ctx = torture,
		.progress = {hpx_human(settings->json), fill_progress, torture},
	};
	int status = open_caches(torture);

	if (status)
		return status;
	/* whatever still dies on this thread runs callbacks and destructors, which look at it */
	hpx_torture_self = &torture->torturers[2 * torture->threads];
	status = hpx_team_run("torture", &team);
	result->seconds = team.took;
	result->interrupted = team.interrupted;
	if (!status)
		judge(torture, result);
	if (team.stuck)
		hpx_result_broken(result, "G8: %u of %u threads did not come back", team.stuck, team.threads);
	/* what is broken may crash or hang in the tearing down: then say what was found, and go */
	if (result->broken_used)
		_exit(hpx_result_finish(result, settings->json));
	for (unsigned i = 0; i < HPX_CACHES; i++)
		hapax_cache_destroy(torture->caches[i]);
	for (unsigned i = 0; i < HPX_CACHES; i++)
		hpx_oracle_fini(&torture->oracles[i]);
	hpx_result_settle(result, torture->env);
	if (!status)
		hpx_result_destructors(result, torture->oracles, HPX_CACHES,
				       result->lives + hpx_relaxed_get(&torture->put_instances));
	hapax_env_destroy(torture->env);
	return status;
}

int hpx_torture_main(int argc, char **argv)
{
	static hpx_torture torture;
	static hpx_result result;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct settings settings = {
		.threads = processors > 0 ? 3 * (uint64_t)processors : 4,
		.seed = hpx_seed_random(),
		.keys = 256,
		.seconds = 10,
		.zipf = 1.1,
	};
	int status = parse(&settings, argc, argv);

	if (status >= 0)
		return status;
	hpx_catch_interrupts();
	status = hpx_json_check("torture", settings.json);
	if (status)
		return status;
	hpx_signals_install();
	status = prepare(&torture, &settings);
	if (!status) {
		result.command = "torture";
		result.seed = settings.seed;
		result.threads = torture.threads;
		result.alive_bytes = (torture.threads + 1) * 2 * (HPX_TORTURE_HELD + HPX_TORTURE_WEAKS + 4) *
				     (sizeof(hpx_thing) + OBJECT_OVERHEAD);
		fprintf(hpx_human(settings.json), "%u threads, %llu keys in each of 3 caches, seed 0x%llx\n",
			torture.threads, (unsigned long long)settings.keys, (unsigned long long)settings.seed);
		status = run(&torture, &settings, &result);
	}
	if (!status)
		status = hpx_result_finish(&result, settings.json);
	tear_down(&torture);
	return status;
}
