/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disturb.h"

#include "harness/options.h"
#include "harness/report.h"
#include "harness/result.h"
#include "harness/team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENOUGH_SECONDS = 5 }; /* from here on what was asked for has to have happened */

static struct settings {
	const char *json, *with, *lie;
	uint64_t threads, seed, keys;
	double seconds, zipf;
	bool calm, full;
} settings;

static int parse(int argc, char **argv)
{
	static char with[1200];
	const hpx_option options[] = {
		{"threads", HPX_OPTION_NUMBER, &settings.threads, 1, 1024, "N",
		 "workers (default three times the processors)"},
		{"seconds", HPX_OPTION_REAL, &settings.seconds, 0.01, 1e7, "S", "how long (default 60)"},
		{"with", HPX_OPTION_TEXT, &settings.with, 0, 0, "LIST", with},
		{"full", HPX_OPTION_FLAG, &settings.full, 0, 0, NULL,
		 "go on until each disturbance has reached its full figure, at most ten times as long"},
		{"seed", HPX_OPTION_NUMBER, &settings.seed, 0, 0, "N", "of all random choices (default: random)"},
		{"keys", HPX_OPTION_NUMBER, &settings.keys, 1, 10000000, "N", "keys of each cache (default 256)"},
		{"zipf", HPX_OPTION_REAL, &settings.zipf, 0, 10, "S",
		 "exponent of the popularity of keys (default 1.1)"},
		{"calm", HPX_OPTION_FLAG, &settings.calm, 0, 0, NULL, "as --with all,-signals"},
		{"break", HPX_OPTION_TEXT, &settings.lie, 0, 0, "ORACLE",
		 "lie to an oracle: the run must fail ('list' names them)"},
		{"json", HPX_OPTION_TEXT, &settings.json, 0, 0, "FILE",
		 "write the result as JSON; '-': standard output"},
		{NULL, HPX_OPTION_FLAG, NULL, 0, 0, NULL, NULL},
	};
	const hpx_usage usage = {
		"torture",
		"Three caches under every call at once, with loaders that fail and threads that vanish in them; beside\n"
		"that the disturbances that are chosen. All is judged by oracles: one live object per key, one load per\n"
		"life, one destruction per object, callbacks once, nothing older than its removal, bounded garbage,\n"
		"nothing leaked.",
		NULL,
		options,
	};
	size_t used = (size_t)snprintf(with, sizeof(with), "disturbances, with commas; -name: not that one (default all):");

	for (hpx_disturbance *const *at = hpx_disturbances; *at && used < sizeof(with); at++)
		used += (size_t)snprintf(with + used, sizeof(with) - used, "\n  %-20s   %-14s %s", "", (*at)->name,
					 (*at)->help);
	return hpx_options_parse(&usage, argc, argv, NULL);
}

static void add(hpx_result *result, const hpx_torturer *torturer)
{
	result->requests += hpx_relaxed_get(&torturer->requests);
	result->loads += hpx_relaxed_get(&torturer->loads);
	result->load_errors += hpx_relaxed_get(&torturer->load_errors);
}

/* The workers, their guests, the main thread, the recruits of the disturbances. */
static unsigned torturers_of(const hpx_torture *torture) { return 2 * torture->threads + 1 + HPX_TORTURE_RECRUITS; }

static void sum_up(const hpx_torture *torture, hpx_result *result)
{
	result->requests = result->loads = result->load_errors = 0;
	for (unsigned i = 0; i < torturers_of(torture); i++)
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
	snprintf(line, size, "%s requests (%s/s)  %s born  garbage %s", hpx_grouped(requests, sums.requests),
		 hpx_grouped(rate, seconds > 0 ? (uint64_t)((double)sums.requests / seconds) : 0),
		 hpx_grouped(born, stats.objects_born), hpx_bytes(garbage, (double)stats.garbage_bytes));
	for (hpx_disturbance *const *at = hpx_disturbances; *at; at++)
		if ((*at)->on && strlen(line) + 40 < size)
			snprintf(line + strlen(line), size - strlen(line), "  %s %s", (*at)->name,
				 hpx_grouped(requests, hpx_relaxed_get(&(*at)->events)));
}

static void count_warnings(hapax_log_level level, const char *message, void *ctx)
{
	(void)message;
	if (level == HAPAX_LOG_WARNING)
		hpx_relaxed_add(&((hpx_torture *)ctx)->stalls_logged, 1);
}

static int open_caches(hpx_torture *torture)
{
	static const char *const names[HPX_CACHES] = {"pure", "mixed", "exclusive"};
	hapax_env_options env_options = {HAPAX_ENV_OPTIONS_INIT, .seed = torture->seed,
					 .log = {count_warnings, torture}};
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

static int prepare(hpx_torture *torture)
{
	unsigned torturers;
	bool failed = false;

	torture->keys = settings.keys;
	torture->seed = settings.seed;
	torture->threads = (unsigned)settings.threads;
	torture->seconds = settings.seconds;
	torture->members = torture->threads + hpx_disturb_threads();
	hpx_zipf_init(&torture->zipf, settings.keys, settings.zipf);
	for (unsigned i = 0; i < HPX_CACHES; i++) {
		failed |= hpx_oracle_init(&torture->oracles[i], settings.keys) != 0;
		torture->oracles[i].loose = i != HPX_PURE;
		if (i != HPX_PURE) {
			torture->floors[i] = calloc(settings.keys, sizeof(*torture->floors[i]));
			failed |= !torture->floors[i];
		}
	}
	torture->existing = calloc(settings.keys, sizeof(*torture->existing));
	torturers = torturers_of(torture);
	torture->torturers = calloc(torturers, sizeof(*torture->torturers));
	torture->tids = calloc(torture->members, sizeof(*torture->tids));
	if (failed || !torture->existing || !torture->torturers || !torture->tids)
		return hpx_input_error("torture", "out of memory for %llu keys", (unsigned long long)settings.keys);
	for (unsigned i = 0; i < torturers; i++) {
		torture->torturers[i].torture = torture;
		torture->torturers[i].index = i < torture->threads ? i : UINT32_MAX;
		torture->torturers[i].rng = hpx_rng_stream(settings.seed, i);
		if (i < torture->threads)
			torture->torturers[i].guest = &torture->torturers[torture->threads + i];
	}
	return 0;
}

static void tear_down(hpx_torture *torture)
{
	for (unsigned i = 0; i < HPX_CACHES; i++)
		hpx_oracle_fini(&torture->oracles[i]);
	for (unsigned i = 0; i < HPX_CACHES; i++)
		free(torture->floors[i]);
	free(torture->existing);
	free(torture->torturers);
	free(torture->tids);
}

/* --- the members of the team --- */

static hpx_torturer **members; /* of disturbances: one each */

static void work(unsigned index, void *ctx)
{
	hpx_torture *torture = ctx;
	hpx_torturer *self = index < torture->threads ? &torture->torturers[index] : members[index - torture->threads];
	hpx_disturbance *disturbance = NULL;
	bool interrupted = false;
	unsigned which = 0;
	timer_t timer;

	hpx_torture_self = self;
	hpx_relaxed_set(&torture->tids[index], (uint64_t)gettid());
	if (index >= torture->threads)
		disturbance = hpx_disturb_member(index - torture->threads, &which);
	else
		interrupted = hpx_storm.on && hpx_signals_start(&timer, index);
	if (disturbance)
		disturbance->run(self, which);
	else
		hpx_torture_work(self);
	hpx_relaxed_set(&torture->tids[index], 0);
	if (interrupted)
		timer_delete(timer);
}

static int prepare_disturbances(hpx_torture *torture)
{
	members = calloc(torture->members, sizeof(*members));
	if (!members)
		return hpx_input_error("torture", "out of memory");
	for (unsigned i = 0; i < torture->members - torture->threads; i++)
		members[i] = hpx_recruit(torture);
	for (hpx_disturbance *const *at = hpx_disturbances; *at; at++)
		if ((*at)->on && (*at)->prepare && (*at)->prepare(torture))
			return hpx_input_error("torture", "%s cannot be prepared", (*at)->name);
	return 0;
}

static bool all_full(void *ctx)
{
	(void)ctx;
	for (hpx_disturbance *const *at = hpx_disturbances; *at; at++)
		if ((*at)->on && hpx_relaxed_get(&(*at)->events) < (*at)->full)
			return false;
	return true;
}

/* Who has not come home, and where the kernel has him. */
static void say_who_is_missing(const hpx_torture *torture)
{
	for (unsigned i = 0; i < torture->members; i++) {
		uint64_t tid = hpx_relaxed_get(&torture->tids[i]);
		hpx_disturbance *disturbance = NULL;
		char path[64];
		char where[64] = "?";
		unsigned which = i;
		FILE *file;

		if (!tid)
			continue;
		if (i >= torture->threads)
			disturbance = hpx_disturb_member(i - torture->threads, &which);
		snprintf(path, sizeof(path), "/proc/self/task/%llu/wchan", (unsigned long long)tid);
		file = fopen(path, "re");
		if (file && !fgets(where, sizeof(where), file))
			where[0] = 0;
		if (file)
			fclose(file);
		fprintf(stderr, "hapax-stress torture: thread %llu (%s %u) has not come home, wchan %s\n",
			(unsigned long long)tid, disturbance ? disturbance->name : "worker", which, where);
	}
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
	uint64_t ages = 0;

	sum_up(torture, result);
	for (unsigned i = 0; i < torturers_of(torture); i++)
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
	for (unsigned i = 0; i < torturers_of(torture); i++)
		ages += hpx_relaxed_get(&torture->torturers[i].ages);
	hpx_result_note(result, "ages", "ages judged", ages);
	hpx_result_note(result, "stalls_logged", "stalls reported to the log", hpx_relaxed_get(&torture->stalls_logged));
	hpx_sight_looked(HPX_SIGHT_AGE, ages);
	/* these look at every request */
	for (unsigned i = 0; i <= HPX_SIGHT_STATISTICS; i++)
		if (i != HPX_SIGHT_AGE)
			hpx_sight_looked((hpx_sight)i, result->requests);
}

static bool was_asked(const char *group)
{
	if (settings.seconds < ENOUGH_SECONDS)
		return false;
	for (hpx_disturbance *const *at = hpx_disturbances; *at; at++)
		if (group && !strcmp((*at)->name, group))
			return (*at)->on;
	return true;
}

static void judge_disturbances(hpx_torture *torture, hpx_result *result)
{
	for (hpx_disturbance *const *at = hpx_disturbances; *at; at++) {
		uint64_t events = hpx_relaxed_get(&(*at)->events);
		uint64_t least = settings.full && !result->interrupted ? (*at)->full : was_asked((*at)->name);

		if (!(*at)->on)
			continue;
		hpx_result_note(result, (*at)->field, (*at)->label, events);
		hpx_sight_look(HPX_SIGHT_HAPPENED, events >= least, "%s: %s: %llu, not %llu", (*at)->name, (*at)->label,
			       (unsigned long long)events, (unsigned long long)least);
		if ((*at)->judge)
			(*at)->judge(torture, result);
	}
}

static int run(hpx_torture *torture, hpx_result *result)
{
	hpx_team team = {
		.threads = torture->members,
		.seconds = settings.seconds,
		.work = work,
		.ctx = torture,
		.progress = {hpx_human(settings.json), fill_progress, torture},
		.enough = settings.full ? all_full : NULL,
		.patience = hpx_sight_breaking == HPX_SIGHT_HOME ? 2 : 40,
	};
	int status = open_caches(torture);

	if (!status)
		status = prepare_disturbances(torture);
	if (status)
		return status;
	/* whatever still dies on this thread runs callbacks and destructors, which look at it */
	hpx_torture_self = &torture->torturers[2 * torture->threads];
	status = hpx_team_run("torture", &team);
	if (status)
		return status;
	result->seconds = team.took;
	result->interrupted = team.interrupted;
	hpx_sight_looked(HPX_SIGHT_HOME, team.threads);
	if (team.stuck) {
		hpx_sight_broken(HPX_SIGHT_HOME, "%u of %u threads", team.stuck, team.threads);
		say_who_is_missing(torture);
		/* whoever is missing may hold what the calls of a judgement would wait for */
		sum_up(torture, result);
		hpx_sights_judge(result, was_asked);
		_exit(hpx_result_finish(result, settings.json));
	}
	judge_disturbances(torture, result);
	judge(torture, result);
	/* what is broken may crash or hang in the tearing down: then say what was found, and go */
	if (result->broken_used || hpx_sights_bad()) {
		hpx_sights_judge(result, was_asked);
		_exit(hpx_result_finish(result, settings.json));
	}
	for (unsigned i = 0; i < HPX_CACHES; i++)
		hapax_cache_destroy(torture->caches[i]);
	for (unsigned i = 0; i < HPX_CACHES; i++)
		hpx_oracle_fini(&torture->oracles[i]);
	hpx_result_settle(result, torture->env);
	hpx_sight_looked(HPX_SIGHT_CONSERVATION, 1);
	hpx_result_destructors(result, torture->oracles, HPX_CACHES,
			       result->lives + hpx_relaxed_get(&torture->put_instances));
	hapax_env_destroy(torture->env);
	hpx_sights_judge(result, was_asked);
	return 0;
}

static void say_how_to_repeat(const hpx_torture *torture, char *to, size_t size)
{
	char with[300];

	hpx_disturb_names(with, sizeof(with));
	snprintf(to, size, "hapax-stress torture --seed 0x%llx --seconds %g --threads %u --keys %llu --zipf %g --with %s%s%s%s",
		 (unsigned long long)settings.seed, settings.seconds, torture->threads, (unsigned long long)settings.keys,
		 settings.zipf, with, settings.full ? " --full" : "", settings.lie ? " --break " : "",
		 settings.lie ? settings.lie : "");
}

static int choose(void)
{
	int status = hpx_disturb_choose(settings.with ? settings.with : settings.calm ? "all,-signals" : "all");

	if (status)
		return status;
	if (settings.lie && !hpx_sight_break(settings.lie))
		return hpx_input_error("torture", "--break: '%s' is no oracle (see --break list)", settings.lie);
	return 0;
}

int hpx_torture_main(int argc, char **argv)
{
	static hpx_torture torture;
	static hpx_result result;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	int status;

	hpx_short_first();
	settings = (struct settings){
		.threads = processors > 0 ? 3 * (uint64_t)processors : 4,
		.seed = hpx_seed_random(),
		.keys = 256,
		.seconds = 60,
		.zipf = 1.1,
	};
	status = parse(argc, argv);
	if (status >= 0)
		return status;
	if (settings.lie && !strcmp(settings.lie, "list")) {
		for (unsigned i = 0; hpx_sight_name(i); i++)
			puts(hpx_sight_name(i));
		return HPX_EXIT_HELD;
	}
	hpx_catch_interrupts();
	status = choose();
	if (!status)
		status = hpx_json_check("torture", settings.json);
	if (status)
		return status;
	hpx_signals_install();
	status = prepare(&torture);
	if (!status) {
		result.command = "torture";
		result.may_refuse = true;
		result.seed = settings.seed;
		result.threads = torture.members;
		result.alive_bytes = torturers_of(&torture) * 2 * (HPX_TORTURE_HELD + HPX_TORTURE_WEAKS + 4) *
				     (sizeof(hpx_thing) + HPX_TORTURE_OVERHEAD);
		say_how_to_repeat(&torture, result.repeat, sizeof(result.repeat));
		fprintf(hpx_human(settings.json), "%u workers and %u other threads, %llu keys in each of 3 caches\n%s\n",
			torture.threads, torture.members - torture.threads, (unsigned long long)settings.keys,
			result.repeat);
		fflush(hpx_human(settings.json));
		status = run(&torture, &result);
	}
	if (!status)
		status = hpx_result_finish(&result, settings.json);
	tear_down(&torture);
	free(members);
	return status;
}
