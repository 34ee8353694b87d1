/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trace.h"

#include "harness/options.h"
#include "harness/report.h"
#include "harness/result.h"
#include "harness/rng.h"
#include "harness/team.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OBJECT_OVERHEAD = 512 };

struct settings {
	const char *file, *db, *json;
	uint64_t threads, seed, blob;
	double seconds;
};

static int parse(struct settings *settings, int argc, char **argv)
{
	const hpx_option options[] = {
		{"threads", HPX_OPTION_NUMBER, &settings->threads, 1, 1024, "N",
		 "threads (default twice the processors)"},
		{"seconds", HPX_OPTION_REAL, &settings->seconds, 0.01, 1e6, "S",
		 "stop after that (default: at the end of the trace)"},
		{"seed", HPX_OPTION_NUMBER, &settings->seed, 0, 0, "N", "of the cache's hash (default: random)"},
		{"json", HPX_OPTION_TEXT, &settings->json, 0, 0, "FILE",
		 "write the result as JSON; '-': standard output"},
		{"db", HPX_OPTION_TEXT, &settings->db, 0, 0, "PATH",
		 "create the database there, and leave it (default: a temporary file)"},
		{"blob", HPX_OPTION_BYTES, &settings->blob, 0, 16777216, "BYTES",
		 "size of the value of each key (default 256)"},
		{NULL, HPX_OPTION_FLAG, NULL, 0, 0, NULL, NULL},
	};
	const hpx_usage usage = {
		"trace",
		"Replays FILE (zstd of little-endian 64-bit keys, *.u64.zst) from several threads, each of which "
		"takes\n"
		"every Nth chunk of it, against a cache whose loader reads a blob per key from SQLite. Every value is\n"
		"verified. Each thread holds the last 64 objects it asked for.",
		"FILE",
		options,
	};

	return hpx_options_parse(&usage, argc, argv, &settings->file);
}

static void sum_up(const hpx_replay *replay, hpx_result *result)
{
	result->requests = result->loads = result->load_errors = 0;
	for (unsigned i = 0; i < replay->threads; i++) {
		const hpx_replay_worker *worker = &replay->workers[i];

		result->requests += hpx_relaxed_get(&worker->requests);
		result->loads += hpx_relaxed_get(&worker->loads);
		result->load_errors += hpx_relaxed_get(&worker->load_errors);
	}
}

static void fill_progress(char *line, size_t size, double seconds, void *ctx)
{
	hpx_replay *replay = ctx;
	hpx_result sums;
	char requests[32];
	char rate[32];
	char loads[32];

	sum_up(replay, &sums);
	snprintf(line, size, "%s requests, %.0f %% (%s/s)  %s loads  %zu alive  %llu overlaps",
		 hpx_grouped(requests, sums.requests), 100.0 * (double)sums.requests / (double)replay->trace->requests,
		 hpx_grouped(rate, seconds > 0 ? (uint64_t)((double)sums.requests / seconds) : 0),
		 hpx_grouped(loads, sums.loads), hapax_cache_size(replay->cache),
		 (unsigned long long)hpx_relaxed_get(&replay->oracle.overlapping));
}

static int open_cache(hpx_replay *replay, uint64_t seed)
{
	hapax_env_options env_options = {HAPAX_ENV_OPTIONS_INIT, .seed = seed};
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT};
	int status = hapax_env_create(&replay->env, &env_options);

	if (status)
		return hpx_input_error("trace", "no environment: %s", hapax_status_text(status));
	replay->type = (hapax_type){
		HAPAX_TYPE_INIT,
		.name = "row",
		.size = sizeof(hpx_row) + replay->blob,
		.align = _Alignof(hpx_row),
		.destroy = hpx_row_destroy,
		.arg = replay,
	};
	options.env = replay->env;
	options.type = &replay->type;
	options.load = hpx_row_load;
	options.arg = replay;
	options.name = "trace";
	status = hapax_cache_create(&replay->cache, &options);
	if (!status)
		return 0;
	hapax_env_destroy(replay->env);
	return hpx_input_error("trace", "no cache: %s", hapax_status_text(status));
}

static int prepare(hpx_replay *replay)
{
	replay->workers = calloc(replay->threads, sizeof(*replay->workers));
	if (!replay->workers || hpx_oracle_init(&replay->oracle, replay->trace->count))
		return hpx_input_error("trace", "out of memory for %llu keys",
				       (unsigned long long)replay->trace->count);
	for (unsigned i = 0; i < replay->threads; i++) {
		replay->workers[i].replay = replay;
		replay->workers[i].expected = malloc(replay->blob ? replay->blob : 1);
		replay->workers[i].reader = hpx_store_open(replay->store);
		if (!replay->workers[i].expected)
			return hpx_input_error("trace", "out of memory for %u threads", replay->threads);
		if (!replay->workers[i].reader)
			return HPX_EXIT_INPUT;
	}
	return 0;
}

static void tear_down(hpx_replay *replay)
{
	hpx_oracle_fini(&replay->oracle);
	for (unsigned i = 0; replay->workers && i < replay->threads; i++) {
		hpx_store_close(replay->workers[i].reader);
		free(replay->workers[i].expected);
	}
	free(replay->workers);
}

static void judge(hpx_replay *replay, hpx_result *result, bool finished)
{
	sum_up(replay, result);
	for (unsigned i = 0; i < replay->threads; i++)
		hpx_histogram_merge(&result->latency, &replay->workers[i].latency);
	hpx_result_cache(result, replay->cache);
	hpx_result_oracles(result, &replay->oracle, 1);
	hpx_result_note(result, "distinct_keys", "distinct keys", replay->trace->count);
	hpx_result_note(result, "trace_requests", "requests in the trace", replay->trace->requests);
	for (int i = 0; i < HPX_TRACE_ERRORS; i++)
		hpx_result_error(result, i, hpx_relaxed_get(&replay->errors[i]));
	if (finished && result->requests != replay->trace->requests)
		hpx_result_broken(result, "the trace has %llu requests, but %llu were made",
				  (unsigned long long)replay->trace->requests, (unsigned long long)result->requests);
	if (hpx_relaxed_get(&replay->unexpected))
		hpx_result_broken(result, "%llu gets failed with an unexpected status, the last with %s",
				  (unsigned long long)hpx_relaxed_get(&replay->unexpected),
				  hapax_status_name((int)(int64_t)hpx_relaxed_get(&replay->unexpected_status)));
}

static int run(hpx_replay *replay, const struct settings *settings, hpx_result *result)
{
	hpx_team team = {
		.threads = replay->threads,
		.seconds = settings->seconds,
		.work = hpx_replay_work,
		.ctx = replay,
		.progress = {hpx_human(settings->json), fill_progress, replay},
	};
	int status = open_cache(replay, settings->seed);

	if (status)
		return status;
	status = hpx_team_run("trace", &team);
	result->seconds = team.took;
	result->interrupted = team.interrupted;
	if (!status)
		judge(replay, result, !hpx_stopping());
	if (team.stuck) {
		/* those threads still use everything: say it and go, without cleaning up */
		hpx_result_broken(result, "G8: %u of %u threads did not come back", team.stuck, team.threads);
		if (replay->store->temporary)
			unlink(replay->store->path);
		_exit(hpx_result_finish(result, settings->json));
	}
	hapax_cache_destroy(replay->cache);
	hpx_oracle_fini(&replay->oracle);
	hpx_result_settle(result, replay->env);
	if (!status)
		hpx_result_destructors(result, &replay->oracle, 1, result->lives);
	hapax_env_destroy(replay->env);
	return status;
}

int hpx_trace_main(int argc, char **argv)
{
	static hpx_replay replay;
	static hpx_result result;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct settings settings = {
		.threads = processors > 0 ? 2 * (uint64_t)processors : 2,
		.seed = hpx_seed_random(),
		.blob = 256,
	};
	hpx_store store = {0};
	hpx_trace trace;
	char requests[32];
	char keys[32];
	int status = parse(&settings, argc, argv);

	if (status >= 0)
		return status;
	hpx_catch_interrupts();
	status = hpx_json_check("trace", settings.json);
	if (!status)
		status = hpx_trace_read(&trace, settings.file);
	if (status)
		return status;
	fprintf(hpx_human(settings.json), "%s requests for %s keys, %llu threads, seed 0x%llx\n",
		hpx_grouped(requests, trace.requests), hpx_grouped(keys, trace.count),
		(unsigned long long)settings.threads, (unsigned long long)settings.seed);
	status = hpx_store_create(&store, settings.db, &trace, settings.blob);
	if (!status) {
		replay.trace = &trace;
		replay.store = &store;
		replay.blob = settings.blob;
		replay.threads = (unsigned)settings.threads;
		result.command = "trace";
		result.seed = settings.seed;
		result.threads = replay.threads;
		result.alive_bytes =
			settings.threads * (HPX_TRACE_RING + 2) * (sizeof(hpx_row) + settings.blob + OBJECT_OVERHEAD);
		status = prepare(&replay);
		if (!status)
			status = run(&replay, &settings, &result);
		if (!status)
			status = hpx_result_finish(&result, settings.json);
		tear_down(&replay);
		hpx_store_fini(&store);
	}
	hpx_trace_free(&trace);
	return status;
}
