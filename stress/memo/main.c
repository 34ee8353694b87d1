/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memo.h"

#include "harness/options.h"
#include "harness/rng.h"
#include "harness/team.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct settings {
	const char *json;
	uint64_t rounds, threads, owners, seed;
	bool quick, no_python;
};

static int parse(struct settings *settings, int argc, char **argv)
{
	const hpx_option options[] = {
		{"rounds", HPX_OPTION_NUMBER, &settings->rounds, 1, HPX_MEMO_ROUNDS, "N",
		 "of hits of every subject, in turn (default 31)"},
		{"owners", HPX_OPTION_NUMBER, &settings->owners, 1, 1000000, "N",
		 "of one result each, that die in random order (default 10000)"},
		{"threads", HPX_OPTION_NUMBER, &settings->threads, 1, 1024, "N",
		 "that let owners die, and that call beside CPython (default 8)"},
		{"no-python", HPX_OPTION_FLAG, &settings->no_python, 0, 0, NULL, "leave out CPython"},
		{"quick", HPX_OPTION_FLAG, &settings->quick, 0, 0, NULL, "smaller numbers of everything, for tests"},
		{"seed", HPX_OPTION_NUMBER, &settings->seed, 0, 0, "N", "of keys, orders, hashes (default: random)"},
		{"json", HPX_OPTION_TEXT, &settings->json, 0, 0, "FILE",
		 "write the result as JSON; '-': standard output"},
		{NULL, HPX_OPTION_FLAG, NULL, 0, 0, NULL, NULL},
	};
	const hpx_usage usage = {
		"memo",
		"Measures memos: a hit beside one of a cache; the death of owners, whose results have to be destroyed "
		"once\n"
		"each and whose memory has to come back; and, where python3 is on the PATH, functools.lru_cache of "
		"CPython\n"
		"with as many threads over the same keys. Times are compared and shown; they break no promise.",
		NULL,
		options,
	};

	return hpx_options_parse(&usage, argc, argv, NULL);
}

static hpx_memo_order order_of(const struct settings *s)
{
	bool quick = s->quick;

	return (hpx_memo_order){
		.seed = s->seed,
		.threads = s->threads,
		.rounds = s->rounds ? s->rounds : quick ? 5 : 31,
		.entries = {quick ? 200 : 1000, quick ? 2000 : 100000},
		.calls = quick ? 2000 : 20000,
		.owners = s->owners ? s->owners : quick ? 500 : 10000,
		.owned = quick ? 2000 : 100000,
		.generations = quick ? 3 : 5,
		.python_keys = quick ? 200 : 10000,
		.python_calls = quick ? 2000 : 100000,
		.python_rounds = quick ? 1 : 3,
		.python_limit = s->no_python ? 0 : 30,
	};
}

hapax_env *hpx_memo_env(uint64_t seed, const hapax_allocator *allocator)
{
	hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT, .seed = seed ? seed : 1};
	hapax_env *env = NULL;
	int status;

	if (allocator)
		options.allocator = *allocator;
	status = hapax_env_create(&env, &options);
	if (status)
		hpx_input_error("memo", "no environment: %s", hapax_status_text(status));
	return env;
}

double hpx_memo_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double hpx_memo_median(double *value, size_t count)
{
	qsort(value, count, sizeof(*value), compare);
	return count % 2 ? value[count / 2] : (value[count / 2 - 1] + value[count / 2]) / 2;
}

int hpx_memo_main(int argc, char **argv)
{
	static struct hpx_memo_all all;
	struct settings settings = {.threads = 8, .seed = hpx_seed_random()};
	int status = parse(&settings, argc, argv);
	uint64_t start = hpx_now();
	FILE *to;

	if (status >= 0)
		return status;
	hpx_catch_interrupts();
	status = hpx_json_check("memo", settings.json);
	to = hpx_human(settings.json);
	all.order = order_of(&settings);
	all.result.command = "memo";
	all.result.seed = settings.seed;
	all.result.threads = (unsigned)settings.threads;
	if (!status)
		status = hpx_memo_hits_run(&all.hits, &all.order, &all.result, to);
	if (!status)
		status = hpx_memo_owners_run(&all.owners, &all.order, &all.result);
	if (!status)
		status = hpx_memo_python_run(&all.python, &all.order, &all.result);
	if (!status && hpx_interrupted())
		status = hpx_input_error("memo", "interrupted; nothing was written");
	all.result.seconds = (double)(hpx_now() - start) / 1e9;
	if (!status)
		status = hpx_memo_report(&all, settings.json);
	if (all.result.interrupted) /* threads that did not come back still use everything */
		_exit(status);
	return status;
}
