/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "histories.h"

#include "harness/options.h"
#include "harness/report.h"
#include "harness/team.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

/* Corruptions to try on each history; below this many histories a kind may find no place. */
enum { TRIES = 2, ENOUGH = 2000 };

struct settings {
	const char *json;
	uint64_t histories, threads, seed, first;
};

struct verdicts {
	const struct settings *settings;
	hpx_rng rng;
	uint64_t broken, undecided, steps;
	double check_seconds, longest;
	uint64_t corrupted[HPX_CORRUPTIONS], rejected[HPX_CORRUPTIONS];
	struct hpx_corrupted wrong;
	char lines[8][200];
	unsigned lines_used;
};

HPX_LIN_SPACE(space, 1 << 15);

static int parse(struct settings *settings, int argc, char **argv)
{
	const hpx_option options[] = {
		{"histories", HPX_OPTION_NUMBER, &settings->histories, 1, 1e9, "N", "rounds to record (default 10000)"},
		{"threads", HPX_OPTION_NUMBER, &settings->threads, 2, HPX_ROUND_THREADS, "N",
		 "threads, at most (default 4); each round has two or more"},
		{"seed", HPX_OPTION_NUMBER, &settings->seed, 0, 0, "N", "of all random choices (default: random)"},
		{"first", HPX_OPTION_NUMBER, &settings->first, 1, 0, "N", "number of the first round (default 1)"},
		{"json", HPX_OPTION_TEXT, &settings->json, 0, 0, "FILE",
		 "write the result as JSON; '-': standard output"},
		{NULL, HPX_OPTION_FLAG, NULL, 0, 0, NULL, NULL},
	};
	const hpx_usage usage = {
		"histories",
		"Records short rounds of concurrent calls on a table and on caches, and looks for an order of the calls\n"
		"that explains every result: one order per key, weak entries that vanish only once their object's last\n"
		"release has begun, one load at a time, no fenced load installed. Corrupts histories too: all of those\n"
		"must be rejected.",
		NULL,
		options,
	};

	return hpx_options_parse(&usage, argc, argv, NULL);
}

static char *line(struct verdicts *v)
{
	static char spare[sizeof(v->lines[0])];

	return v->lines_used < sizeof(v->lines) / sizeof(v->lines[0]) ? v->lines[v->lines_used++] : spare;
}

static void show(struct verdicts *v, struct hpx_rounds *r, const struct hpx_lin_history *h, uint64_t round,
		 const char *what, const struct hpx_lin_verdict *verdict)
{
	char *text = line(v);

	snprintf(text, sizeof(v->lines[0]), "%s: %s, round %llu, seed 0x%llx", what, hpx_subject_names[r->subject],
		 (unsigned long long)round, (unsigned long long)v->settings->seed);
	fprintf(stderr, "%s\n", text);
	hpx_lin_print(stderr, h, verdict);
}

static void try_corruption(struct verdicts *v, struct hpx_rounds *r, const struct hpx_lin_history *right, uint64_t round)
{
	enum hpx_corruption how = (enum hpx_corruption)hpx_rng_below(&v->rng, HPX_CORRUPTIONS);
	struct hpx_lin_verdict verdict;

	for (unsigned i = 0; i < HPX_CORRUPTIONS && !hpx_corrupt(&v->wrong, right, how, &v->rng); i++)
		if (i + 1 == HPX_CORRUPTIONS)
			return;
		else
			how = (how + 1) % HPX_CORRUPTIONS;
	v->corrupted[how]++;
	verdict = hpx_lin_check(&space, &v->wrong.history);
	v->rejected[how] += verdict.answer == HPX_LIN_BROKEN;
	if (verdict.answer != HPX_LIN_BROKEN)
		show(v, r, &v->wrong.history, round, hpx_corruption_names[how], &verdict);
}

static bool judge(struct hpx_rounds *r, struct hpx_history *history, uint64_t round)
{
	struct verdicts *v = r->ctx;
	struct hpx_lin_history all = hpx_history_all(history);
	uint64_t before = hpx_now();
	struct hpx_lin_verdict verdict = hpx_history_check(history, &space);
	double took = (double)(hpx_now() - before) / 1e9;

	v->steps += verdict.steps;
	v->check_seconds += took;
	v->longest = took > v->longest ? took : v->longest;
	if (verdict.answer == HPX_LIN_HOLDS) {
		for (int i = 0; i < TRIES; i++)
			try_corruption(v, r, &all, round);
		return !hpx_interrupted();
	}
	if (verdict.answer == HPX_LIN_BROKEN)
		v->broken++;
	else
		v->undecided++;
	show(v, r, &all, round, verdict.answer == HPX_LIN_BROKEN ? "not linearizable" : "undecided", &verdict);
	return v->broken < 5 && !hpx_interrupted();
}

static void say(struct verdicts *v, bool is_broken, const char *what, uint64_t number)
{
	char *text;

	if (!is_broken)
		return;
	text = line(v);
	snprintf(text, sizeof(v->lines[0]), "%llu %s", (unsigned long long)number, what);
}

static void judge_all(struct verdicts *v, const struct hpx_rounds *sum)
{
	say(v, v->broken, "histories are not linearizable", v->broken);
	say(v, v->undecided, "histories could not be decided", v->undecided);
	say(v, sum->unexpected, "calls gave an unexpected status", sum->unexpected);
	say(v, sum->leftovers, "rounds left entries of dead objects behind", sum->leftovers);
	say(v, !sum->overlapping, "calls overlapped: nothing was tried", sum->overlapping);
	for (int i = 0; i < HPX_CORRUPTIONS; i++) {
		say(v, v->rejected[i] < v->corrupted[i], "corrupted histories were accepted", v->corrupted[i] - v->rejected[i]);
		if (!v->corrupted[i] && sum->played >= ENOUGH)
			snprintf(line(v), sizeof(v->lines[0]), "no history could be corrupted so: %s",
				 hpx_corruption_names[i]);
	}
}

static void print_table(FILE *to, const struct verdicts *v, const struct hpx_rounds *sum, double seconds)
{
	char buffer[32];

	fprintf(to, "  %-36s %s\n", "histories", hpx_grouped(buffer, sum->played));
	fprintf(to, "  %-36s %s\n", "calls", hpx_grouped(buffer, sum->events));
	fprintf(to, "  %-36s %s\n", "that overlapped others of their key", hpx_grouped(buffer, sum->overlapping));
	fprintf(to, "  %-36s %s\n", "loads", hpx_grouped(buffer, sum->loads));
	fprintf(to, "  %-36s %s\n", "calls that shared a load", hpx_grouped(buffer, sum->joins));
	fprintf(to, "  %-36s %s\n", "loads fenced", hpx_grouped(buffer, sum->fenced));
	fprintf(to, "  %-36s %.1f us, at most %.1f us\n", "to check one", v->check_seconds * 1e6 / (double)(sum->played + !sum->played),
		v->longest * 1e6);
	for (int i = 0; i < HPX_CORRUPTIONS; i++)
		fprintf(to, "  corrupted: %-25s %llu rejected of %llu\n", hpx_corruption_names[i],
			(unsigned long long)v->rejected[i], (unsigned long long)v->corrupted[i]);
	fprintf(to, "  %-36s %.1f s\n", "time", seconds);
	for (unsigned i = 0; i < v->lines_used; i++)
		fprintf(to, "BROKEN  %s\n", v->lines[i]);
	if (!v->lines_used)
		fputs("all promises held\n", to);
}

static void add(json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

static int write_json(const struct verdicts *v, const struct hpx_rounds *sum, double seconds)
{
	json_object *object = json_object_new_object(), *kinds = json_object_new_object(), *lines = json_object_new_array();
	int status;

	json_object_object_add(object, "command", json_object_new_string("histories"));
	json_object_object_add(object, "version", json_object_new_string(hapax_version()));
	add(object, "seed", v->settings->seed);
	add(object, "threads", v->settings->threads);
	json_object_object_add(object, "seconds", json_object_new_double(seconds));
	json_object_object_add(object, "ok", json_object_new_boolean(!v->lines_used));
	json_object_object_add(object, "interrupted", json_object_new_boolean(hpx_interrupted()));
	add(object, "histories", sum->played);
	add(object, "calls", sum->events);
	add(object, "overlapping", sum->overlapping);
	add(object, "loads", sum->loads);
	add(object, "joins", sum->joins);
	add(object, "fenced", sum->fenced);
	add(object, "not_linearizable", v->broken);
	add(object, "undecided", v->undecided);
	json_object_object_add(object, "check_us", json_object_new_double(v->check_seconds * 1e6 / (double)(sum->played + !sum->played)));
	json_object_object_add(object, "check_max_us", json_object_new_double(v->longest * 1e6));
	for (int i = 0; i < HPX_CORRUPTIONS; i++) {
		json_object *kind = json_object_new_object();

		add(kind, "made", v->corrupted[i]);
		add(kind, "rejected", v->rejected[i]);
		json_object_object_add(kinds, hpx_corruption_names[i], kind);
	}
	json_object_object_add(object, "corrupted", kinds);
	for (unsigned i = 0; i < v->lines_used; i++)
		json_object_array_add(lines, json_object_new_string(v->lines[i]));
	json_object_object_add(object, "broken", lines);
	status = hpx_json_write("histories", object, v->settings->json);
	json_object_put(object);
	return status;
}

/* Rounds on one subject; adds to the sums. */
static int play(struct verdicts *v, hapax_env *env, enum hpx_subject subject, struct hpx_rounds *sum)
{
	const struct settings *settings = v->settings;
	struct hpx_rounds r = {
		.env = env,
		.subject = subject,
		.threads = (unsigned)settings->threads,
		.first = settings->first,
		.rounds = settings->histories / HPX_SUBJECTS + (subject < settings->histories % HPX_SUBJECTS),
		.seed = settings->seed,
		.judge = judge,
		.ctx = v,
	};
	int status = r.rounds && !hpx_interrupted() ? hpx_rounds_run(&r) : 0;

	if (status)
		return hpx_input_error("histories", "%s: %s", hpx_subject_names[subject], hapax_status_text(status));
	sum->played += r.played;
	sum->events += r.events;
	sum->overlapping += r.overlapping;
	sum->loads += r.loads;
	sum->joins += r.joins;
	sum->fenced += r.fenced;
	sum->unexpected += r.unexpected;
	sum->leftovers += r.leftovers;
	return 0;
}

int hpx_histories_main(int argc, char **argv)
{
	static struct verdicts verdicts;
	struct settings settings = {.histories = 10000, .threads = 4, .seed = hpx_seed_random(), .first = 1};
	hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT};
	struct hpx_rounds sum = {0};
	hapax_env *env = NULL;
	uint64_t began;
	double seconds;
	int status = parse(&settings, argc, argv);

	if (status >= 0)
		return status;
	hpx_catch_interrupts();
	status = hpx_json_check("histories", settings.json);
	if (status)
		return status;
	options.seed = settings.seed;
	if (hapax_env_create(&env, &options))
		return hpx_input_error("histories", "no environment");
	verdicts.settings = &settings;
	verdicts.rng = hpx_rng_stream(settings.seed, 0);
	fprintf(hpx_human(settings.json), "%llu threads, seed 0x%llx\n", (unsigned long long)settings.threads,
		(unsigned long long)settings.seed);
	began = hpx_now();
	for (unsigned subject = 0; !status && subject < HPX_SUBJECTS; subject++)
		status = play(&verdicts, env, (enum hpx_subject)subject, &sum);
	seconds = (double)(hpx_now() - began) / 1e9;
	hapax_env_destroy(env);
	if (status)
		return status;
	if (!hpx_interrupted())
		judge_all(&verdicts, &sum);
	print_table(hpx_human(settings.json), &verdicts, &sum, seconds);
	if (settings.json)
		status = write_json(&verdicts, &sum, seconds);
	return status ? status : verdicts.lines_used ? HPX_EXIT_BROKEN : HPX_EXIT_HELD;
}
