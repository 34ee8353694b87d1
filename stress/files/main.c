/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "files.h"

#include "harness/options.h"
#include "harness/report.h"
#include "harness/result.h"
#include "harness/team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SAMPLES = 50, OBJECT_OVERHEAD = 512 };

struct settings {
	const char *root, *json;
	uint64_t threads, seed, max_files, max_bytes;
	double seconds, zipf;
};

static int parse(struct settings *settings, int argc, char **argv)
{
	const hpx_option options[] = {
		{"root", HPX_OPTION_TEXT, &settings->root, 0, 0, "DIR", "whose files to use (default /usr)"},
		{"threads", HPX_OPTION_NUMBER, &settings->threads, 1, 1024, "N",
		 "threads (default twice the processors)"},
		{"seconds", HPX_OPTION_REAL, &settings->seconds, 0.01, 1e6, "S", "how long (default 10)"},
		{"seed", HPX_OPTION_NUMBER, &settings->seed, 0, 0, "N", "of all random choices (default: random)"},
		{"json", HPX_OPTION_TEXT, &settings->json, 0, 0, "FILE",
		 "write the result as JSON; '-': standard output"},
		{"max-files", HPX_OPTION_NUMBER, &settings->max_files, 1, 1000000, "N",
		 "files to use at most (default 20000)"},
		{"max-bytes", HPX_OPTION_BYTES, &settings->max_bytes, 0, 1099511627776.0, "N",
		 "largest file to use (default 1M)"},
		{"zipf", HPX_OPTION_REAL, &settings->zipf, 0, 10, "S",
		 "exponent of the popularity of files (default 0.99)"},
		{NULL, HPX_OPTION_FLAG, NULL, 0, 0, NULL, NULL},
	};
	const hpx_usage usage = {
		"files",
		"Threads share one mapped and digested object per file, loaded once per life. Files that cannot be\n"
		"read, vanish or change are load errors, which every waiter gets. At the end a sample of the digests\n"
		"is compared with sha256sum(1).",
		NULL,
		options,
	};

	return hpx_options_parse(&usage, argc, argv, NULL);
}

/* Every held object keeps a file open. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int check_file_limit(const struct settings *settings)
{
	uint64_t needed = settings->threads * (HPX_FILES_HELD + 2) + 32;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < needed)
		return hpx_input_error("files",
				       "--threads: %llu threads need %llu open files; the limit is %llu (ulimit -n)",
				       (unsigned long long)settings->threads, (unsigned long long)needed,
				       (unsigned long long)limit.rlim_cur);
	return 0;
}

static void sum_up(const hpx_files *files, hpx_result *result, uint64_t *failed)
{
	*failed = 0;
	result->requests = result->loads = result->load_errors = 0;
	for (unsigned i = 0; i <= files->threads; i++) {
		const hpx_files_worker *worker = &files->workers[i];

		result->requests += hpx_relaxed_get(&worker->requests);
		result->loads += hpx_relaxed_get(&worker->loads);
		result->load_errors += hpx_relaxed_get(&worker->load_errors);
		*failed += hpx_relaxed_get(&worker->failed);
	}
}

static void fill_progress(char *line, size_t size, double seconds, void *ctx)
{
	hpx_files *files = ctx;
	hpx_result sums;
	uint64_t failed;
	char requests[32];
	char rate[32];
	char loads[32];
	char errors[32];

	sum_up(files, &sums, &failed);
	snprintf(line, size, "%s requests (%s/s)  %s loads, %s errors  %zu alive  %llu overlaps",
		 hpx_grouped(requests, sums.requests),
		 hpx_grouped(rate, seconds > 0 ? (uint64_t)((double)sums.requests / seconds) : 0),
		 hpx_grouped(loads, sums.loads), hpx_grouped(errors, sums.load_errors), hapax_cache_size(files->cache),
		 (unsigned long long)hpx_relaxed_get(&files->oracle.overlapping));
}

static void to_hex(char *to, const unsigned char *bytes)
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned i = 0; i < HPX_FILES_DIGEST; i++) {
		*to++ = digits[bytes[i] >> 4];
		*to++ = digits[bytes[i] & 15];
	}
	*to = 0;
}

/* Random paths that the run has loaded. */
static unsigned choose_samples(hpx_files *files, hpx_sample *samples)
{
	hpx_rng rng = hpx_rng_stream(files->seed, UINT64_MAX - 1);
	unsigned count = 0;

	for (unsigned tries = 0; tries < 100 * SAMPLES && count < SAMPLES; tries++) {
		uint64_t path = hpx_zipf_next(&files->zipf, &rng);
		bool known = !hpx_relaxed_get(&files->reference[path]);

		for (unsigned i = 0; i < count; i++)
			known = known || samples[i].path == path;
		if (!known)
			samples[count++] = (hpx_sample){.path = path};
	}
	return count;
}

/*
 * The run has compared every value with the first digest of its path. Now a sample of the same cache's values is
 * compared with another program's; a file that changed meanwhile proves nothing and is left out.
 */
static void compare_sample(hpx_files *files, hpx_result *result)
{
	hpx_files_worker *worker = &files->workers[files->threads];
	hpx_sample samples[SAMPLES];
	unsigned count = choose_samples(files, samples);
	uint64_t same = 0;
	uint64_t different = 0;
	int error = count ? hpx_sha256sum(&files->paths, samples, count) : 0;

	for (unsigned i = 0; i < count && !error; i++) {
		char digest[2 * HPX_FILES_DIGEST + 1];
		uint64_t before = hpx_relaxed_get(&files->reference[samples[i].path]);
		hpx_file *file = hpx_files_get(worker, samples[i].path);

		if (file && samples[i].digest[0] && !file->young && file->word >> 32 == before >> 32) {
			to_hex(digest, file->digest);
			if (!strcmp(digest, samples[i].digest))
				same++;
			else
				different++;
		}
		hpx_files_release(worker, file);
	}
	hpx_result_note(result, "digests_checked", "digests equal to sha256sum's", same);
	hpx_result_note(result, "digests_different", "digests that differ", different);
	if (different)
		hpx_result_broken(result, "%llu digests differ from those of sha256sum", (unsigned long long)different);
	if (error)
		fprintf(stderr, "hapax-stress files: sha256sum could not be run, digests are unchecked: %s\n",
			strerror(error));
}

static int open_cache(hpx_files *files, const hapax_type *type)
{
	hapax_env_options env_options = {HAPAX_ENV_OPTIONS_INIT, .seed = files->seed};
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT};
	int status = hapax_env_create(&files->env, &env_options);

	if (status)
		return hpx_input_error("files", "no environment: %s", hapax_status_text(status));
	options.env = files->env;
	options.type = type;
	options.load = hpx_file_load;
	options.arg = files;
	options.name = "files";
	status = hapax_cache_create(&files->cache, &options);
	if (!status)
		return 0;
	hapax_env_destroy(files->env);
	return hpx_input_error("files", "no cache: %s", hapax_status_text(status));
}

static int prepare(hpx_files *files, const struct settings *settings)
{
	int broken = 0;

	files->threads = (unsigned)settings->threads;
	files->seed = settings->seed;
	files->max_bytes = settings->max_bytes;
	hpx_zipf_init(&files->zipf, files->paths.count, settings->zipf);
	files->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!files->sha256)
		return hpx_input_error("files", "this OpenSSL has no SHA-256");
	files->reference = calloc(files->paths.count, sizeof(*files->reference));
	files->workers = calloc(files->threads + 1, sizeof(*files->workers));
	for (unsigned i = 0; files->workers && i <= files->threads; i++)
		broken |= hpx_files_worker_init(&files->workers[i], files, i);
	if (hpx_oracle_init(&files->oracle, files->paths.count) || !files->reference || !files->workers || broken)
		return hpx_input_error("files", "out of memory for %llu files", (unsigned long long)files->paths.count);
	return 0;
}

static void tear_down(hpx_files *files)
{
	hpx_oracle_fini(&files->oracle);
	for (unsigned i = 0; files->workers && i <= files->threads; i++)
		hpx_files_worker_fini(&files->workers[i]);
	free(files->workers);
	free(files->reference);
	EVP_MD_free(files->sha256);
	hpx_paths_free(&files->paths);
}

static void judge(hpx_files *files, hpx_result *result)
{
	uint64_t failed;

	sum_up(files, result, &failed);
	for (unsigned i = 0; i <= files->threads; i++)
		hpx_histogram_merge(&result->latency, &files->workers[i].latency);
	hpx_result_cache(result, files->cache);
	hpx_result_oracles(result, &files->oracle, 1);
	for (int i = 0; i < HPX_FILES_ERRORS; i++)
		hpx_result_error(result, i, hpx_relaxed_get(&files->errors[i]));
	hpx_result_note(result, "failed_requests", "requests that got a load error", failed);
	hpx_result_note(result, "changed_files", "files that changed meanwhile", hpx_relaxed_get(&files->changed));
	hpx_result_note(result, "shrunk_files", "mappings that lost their bytes", hpx_relaxed_get(&files->shrunk));
	if (hpx_relaxed_get(&files->bad_errors))
		hpx_result_broken(result, "G2: %llu gets had a load error that is not the loader's",
				  (unsigned long long)hpx_relaxed_get(&files->bad_errors));
	if (hpx_relaxed_get(&files->unexpected))
		hpx_result_broken(result, "%llu gets failed with an unexpected status, the last with %s",
				  (unsigned long long)hpx_relaxed_get(&files->unexpected),
				  hapax_status_name((int)(int64_t)hpx_relaxed_get(&files->unexpected_status)));
}

static int run(hpx_files *files, const struct settings *settings, hpx_result *result)
{
	const hapax_type type = {HAPAX_TYPE_INIT,
				 .name = "file",
				 .size = sizeof(hpx_file),
				 .align = _Alignof(hpx_file),
				 .destroy = hpx_file_destroy,
				 .arg = files};
	hpx_team team = {
		.threads = files->threads,
		.seconds = settings->seconds,
		.work = hpx_files_work,
		.ctx = files,
		.progress = {hpx_human(settings->json), fill_progress, files},
	};
	int status = open_cache(files, &type);

	if (status)
		return status;
	status = hpx_team_run("files", &team);
	result->seconds = team.took;
	result->interrupted = team.interrupted;
	if (team.stuck) {
		/* those threads still use everything: say it and go, without cleaning up */
		hpx_result_broken(result, "G8: %u of %u threads did not come back", team.stuck, team.threads);
		judge(files, result);
		_exit(hpx_result_finish(result, settings->json));
	}
	if (!status) {
		hpx_files_self = &files->workers[files->threads];
		compare_sample(files, result);
		judge(files, result);
	}
	hapax_cache_destroy(files->cache);
	hpx_oracle_fini(&files->oracle);
	hpx_result_settle(result, files->env);
	if (!status)
		hpx_result_destructors(result, &files->oracle, 1, result->lives);
	hapax_env_destroy(files->env);
	return status;
}

int hpx_files_main(int argc, char **argv)
{
	static hpx_files files;
	static hpx_result result;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct settings settings = {
		.root = "/usr",
		.threads = processors > 0 ? 2 * (uint64_t)processors : 2,
		.seed = hpx_seed_random(),
		.max_files = 20000,
		.max_bytes = 1 << 20,
		.seconds = 10,
		.zipf = 0.99,
	};
	int status = parse(&settings, argc, argv);
	char count[32];
	char seen[32];

	if (status >= 0)
		return status;
	hpx_catch_interrupts();
	raise_file_limit();
	status = hpx_json_check("files", settings.json);
	if (!status)
		status = check_file_limit(&settings);
	if (!status) {
		fprintf(hpx_human(settings.json), "listing the files below %s\n", settings.root);
		fflush(hpx_human(settings.json));
	}
	if (!status)
		status = hpx_paths_collect(&files.paths, settings.root, settings.max_files, settings.max_bytes,
					   settings.seed);
	if (status)
		return status;
	hpx_guard_install();
	status = prepare(&files, &settings);
	if (!status) {
		result.command = "files";
		result.seed = settings.seed;
		result.threads = files.threads;
		result.alive_bytes = (files.threads + 1) * (HPX_FILES_HELD + 2) * (sizeof(hpx_file) + OBJECT_OVERHEAD);
		fprintf(hpx_human(settings.json), "%s of %s files below %s, %u threads, seed 0x%llx\n",
			hpx_grouped(count, files.paths.count), hpx_grouped(seen, files.paths.seen), settings.root,
			files.threads, (unsigned long long)settings.seed);
		status = run(&files, &settings, &result);
	}
	if (!status)
		status = hpx_result_finish(&result, settings.json);
	tear_down(&files);
	return status;
}
