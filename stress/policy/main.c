/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

#include "harness/options.h"
#include "harness/report.h"
#include "harness/team.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const hpx_contender contenders[] = {
	{"adaptive", hapax_policy_adaptive, false}, {"lru", hapax_policy_lru, false},
	{"sieve", hapax_policy_sieve, false},	    {"s3fifo", hapax_policy_s3fifo, false},
	{"tinylfu", hapax_policy_tinylfu, false},   {"weighted", hapax_policy_weighted, true},
};
enum { CONTENDERS = sizeof(contenders) / sizeof(contenders[0]), LRU = 1 };

struct settings {
	const char *folder, *json, *html;
	uint64_t threads, jobs, seed;
	hpx_option_list policies, fractions, traces;
};

static int parse(struct settings *settings, int argc, char **argv)
{
	const hpx_option options[] = {
		{"policy", HPX_OPTION_LIST, &settings->policies, 0, 0, "NAME",
		 "adaptive, lru, sieve, s3fifo, tinylfu, weighted; may be given again (default: all,\n"
		 "                       weighted with weights only)"},
		{"fraction", HPX_OPTION_LIST, &settings->fractions, 0, 0, "F",
		 "size of the cache as a part of the distinct keys; may be given again (default: 0.001,\n"
		 "                       0.01, 0.05, 0.1, 0.25)"},
		{"trace", HPX_OPTION_LIST, &settings->traces, 0, 0, "NAME",
		 "only this trace of DIR; may be given again"},
		{"threads", HPX_OPTION_NUMBER, &settings->threads, 1, 1024, "N",
		 "replay with so many threads too (default 8; 1: only with one)"},
		{"jobs", HPX_OPTION_NUMBER, &settings->jobs, 1, 1024, "N",
		 "replays of one thread at the same time (default: the processors)"},
		{"seed", HPX_OPTION_NUMBER, &settings->seed, 0, 0, "N", "of the caches' hashes (default 1)"},
		{"json", HPX_OPTION_TEXT, &settings->json, 0, 0, "FILE",
		 "write the result as JSON; '-': standard output"},
		{"html", HPX_OPTION_TEXT, &settings->html, 0, 0, "FILE", "write a page with the curves"},
		{NULL, HPX_OPTION_FLAG, NULL, 0, 0, NULL, NULL},
	};
	const hpx_usage usage = {
		"policy",
		"Replays every trace of DIR (*.u64.zst: zstd of little-endian 64-bit keys; *.kv.zst: of 64-bit keys "
		"and\n"
		"32-bit sizes; the same without .zst) through bounded caches, one for each policy and size, and "
		"prints\n"
		"hit ratios beside those of DIR/reference-hit-ratios.csv, if it is there. Exact LRU always runs.",
		"DIR",
		options,
	};

	return hpx_options_parse(&usage, argc, argv, &settings->folder);
}

static int choose_policies(hpx_run *run, const struct settings *settings)
{
	for (unsigned i = 0; i < CONTENDERS; i++) {
		bool chosen = !settings->policies.count;

		for (unsigned k = 0; k < settings->policies.count; k++)
			chosen = chosen || !strcmp(settings->policies.text[k], contenders[i].name);
		if (chosen || i == LRU)
			run->contenders[run->contender_count++] = &contenders[i];
	}
	for (unsigned k = 0; k < settings->policies.count; k++) {
		bool known = false;

		for (unsigned i = 0; i < CONTENDERS; i++)
			known = known || !strcmp(settings->policies.text[k], contenders[i].name);
		if (!known)
			return hpx_input_error("policy", "--policy: no policy '%s'", settings->policies.text[k]);
	}
	return 0;
}

static bool asked_for(const struct settings *settings, const hpx_contender *contender)
{
	for (unsigned k = 0; k < settings->policies.count; k++)
		if (!strcmp(settings->policies.text[k], contender->name))
			return true;
	return false;
}

static int ascending(const void *a, const void *b)
{
	double left = *(const double *)a;
	double right = *(const double *)b;

	return (left > right) - (left < right);
}

static int choose_fractions(hpx_run *run, const struct settings *settings)
{
	static const double usual[] = {0.001, 0.01, 0.05, 0.1, 0.25};
	unsigned kept = 0;

	if (!settings->fractions.count) {
		memcpy(run->fractions, usual, sizeof(usual));
		run->fraction_count = sizeof(usual) / sizeof(usual[0]);
		return 0;
	}
	if (settings->fractions.count > HPX_POLICY_FRACTIONS)
		return hpx_input_error("policy", "--fraction: given more than %d times", HPX_POLICY_FRACTIONS);
	for (unsigned i = 0; i < settings->fractions.count; i++) {
		const char *text = settings->fractions.text[i];
		char *end;
		double value = strtod(text, &end);

		if (end == text || *end || !(value > 0 && value <= 1))
			return hpx_input_error("policy", "--fraction: '%s' is not a number above 0, up to 1", text);
		run->fractions[i] = value;
	}
	qsort(run->fractions, settings->fractions.count, sizeof(double), ascending);
	for (unsigned i = 0; i < settings->fractions.count; i++)
		if (!kept || run->fractions[i] != run->fractions[kept - 1])
			run->fractions[kept++] = run->fractions[i];
	run->fraction_count = kept;
	return 0;
}

static void add_points(hpx_run *run, const struct settings *settings, const hpx_series *series,
		       const hpx_contender *contender)
{
	bool asked = !settings->policies.count || asked_for(settings, contender);

	if (contender->weighted_only && !series->weighted && !asked_for(settings, contender))
		return;
	for (unsigned f = 0; f < run->fraction_count; f++) {
		double keys = round(run->fractions[f] * (double)series->trace->count);
		hpx_point point = {.series = series, .contender = contender, .fraction = run->fractions[f]};

		if (keys < HPX_POLICY_LEAST)
			continue;
		point.size = (uint64_t)(series->weighted ? round(point.fraction * (double)series->bytes) : keys);
		point.only_compared = !asked;
		point.threads = 1;
		run->points[run->count++] = point;
		if (run->threads > 1 && asked) {
			point.threads = run->threads;
			run->points[run->count++] = point;
		}
	}
}

static int plan(hpx_run *run, const struct settings *settings)
{
	run->points = calloc(2 * run->input.count * run->contender_count * run->fraction_count, sizeof(*run->points));
	if (!run->points)
		return hpx_input_error("policy", "out of memory");
	for (size_t s = 0; s < run->input.count; s++)
		for (unsigned c = 0; c < run->contender_count; c++)
			add_points(run, settings, &run->input.series[s], run->contenders[c]);
	if (!run->count)
		return hpx_input_error("policy", "%s: every point has fewer than %d entries", settings->folder,
				       HPX_POLICY_LEAST);
	return 0;
}

/* --- the run --- */

/* The points of one thread, longest first, are taken by several threads; then those of several threads, one by one. */
struct queue {
	hpx_run *run;
	hpx_point **points;
	size_t count;
	FILE *to;
	uint64_t start;
	double all; /* requests in all */
	/* under the mutex */
	pthread_mutex_t mutex;
	size_t next;
	double done; /* requests of finished points */
	uint64_t told;
	int status;
};

static int longest_first(const void *a, const void *b)
{
	const hpx_point *left = *(hpx_point *const *)a;
	const hpx_point *right = *(hpx_point *const *)b;
	uint64_t more = right->series->trace->requests;
	uint64_t less = left->series->trace->requests;

	if (left->threads != right->threads)
		return left->threads < right->threads ? -1 : 1;
	if (more != less)
		return more > less ? 1 : -1;
	return (left > right) - (left < right);
}

/* Every five seconds a line, with the mutex held. */
static void tell(struct queue *queue, const hpx_point *point)
{
	uint64_t now = hpx_now();
	char percent[32];

	queue->done += (double)point->series->trace->requests;
	if (now - queue->told < 5 * HAPAX_SECOND)
		return;
	queue->told = now;
	fprintf(queue->to, "  %4.0f s  %5.1f %%  %s, %s, %s, %u thread%s: %.2f %%\n",
		(double)(now - queue->start) / 1e9, 100 * queue->done / queue->all, point->series->name,
		point->contender->name, hpx_percent(percent, point->fraction), point->threads,
		point->threads > 1 ? "s" : "", 100 * hpx_point_ratio(point));
	fflush(queue->to);
}

static void take(struct queue *queue, unsigned threads)
{
	pthread_mutex_lock(&queue->mutex);
	while (!queue->status && !hpx_stopping() && queue->next < queue->count &&
	       (threads > 1 || queue->points[queue->next]->threads == 1)) {
		hpx_point *point = queue->points[queue->next++];
		int status;

		pthread_mutex_unlock(&queue->mutex);
		status = hpx_policy_replay(point, queue->run->seed);
		pthread_mutex_lock(&queue->mutex);
		if (status)
			queue->status = status;
		else
			tell(queue, point);
	}
	pthread_mutex_unlock(&queue->mutex);
}

static void *take_alone(void *ctx)
{
	take(ctx, 1);
	return NULL;
}

static int replay_all(hpx_run *run, unsigned jobs, FILE *to)
{
	struct queue queue = {.run = run, .count = run->count, .to = to, .start = hpx_now()};
	pthread_t *helpers = calloc(jobs, sizeof(*helpers));
	unsigned started = 0;

	queue.points = calloc(run->count, sizeof(*queue.points));
	if (!helpers || !queue.points) {
		free(helpers);
		free(queue.points);
		return hpx_input_error("policy", "out of memory");
	}
	for (size_t i = 0; i < run->count; i++) {
		queue.points[i] = &run->points[i];
		queue.all += (double)run->points[i].series->trace->requests;
	}
	qsort(queue.points, queue.count, sizeof(*queue.points), longest_first);
	queue.told = queue.start;
	pthread_mutex_init(&queue.mutex, NULL);
	/* fewer are slower, nothing else */
	while (started + 1 < jobs && !pthread_create(&helpers[started], NULL, take_alone, &queue))
		started++;
	take(&queue, 1);
	for (unsigned i = 0; i < started; i++)
		pthread_join(helpers[i], NULL);
	take(&queue, run->threads);
	pthread_mutex_destroy(&queue.mutex);
	run->seconds = (double)(hpx_now() - queue.start) / 1e9;
	free(queue.points);
	free(helpers);
	if (hpx_interrupted())
		return hpx_input_error("policy", "interrupted; nothing was written");
	return queue.status;
}

/* --- the judgement --- */

/* Exact LRU is what others take for LRU. */
static void compare_lru(hpx_run *run, const hpx_point *point)
{
	int algorithm = hpx_reference_algorithm(&run->input.reference, "LRU");
	const hpx_reference_row *row;

	if (algorithm < 0 || point->series->weighted || point != hpx_run_lru(run, point->series, point->fraction))
		return;
	row = hpx_reference_find(&run->input.reference, (unsigned)algorithm, point->series->name, point->fraction);
	if (!row)
		return;
	if (row->size != point->size)
		hpx_run_broken(run, "%s at %g: the reference has a cache of %" PRIu64 " entries, it should be %" PRIu64,
			       point->series->name, point->fraction, row->size, point->size);
	else if (fabs(row->ratio - hpx_point_ratio(point)) > 1e-6)
		hpx_run_broken(run, "%s at %g: exact LRU hits %.6f, the reference says %.6f", point->series->name,
			       point->fraction, hpx_point_ratio(point), row->ratio);
}

static void judge(hpx_run *run)
{
	for (size_t i = 0; i < run->count; i++) {
		const hpx_point *point = &run->points[i];

		if (point->broken[0])
			hpx_run_broken(run, "%s, %s at %g, %u thread%s: %s", point->series->name,
				       point->contender->name, point->fraction, point->threads,
				       point->threads > 1 ? "s" : "", point->broken);
		compare_lru(run, point);
	}
}

static int finish(hpx_run *run, const struct settings *settings, FILE *to)
{
	int written = 0;

	judge(run);
	hpx_policy_table(run, to);
	if (settings->json)
		written = hpx_policy_json(run, settings->json);
	if (!written && settings->html)
		written = hpx_policy_html(run, settings->html);
	if (run->broken_used)
		return HPX_EXIT_BROKEN;
	return written;
}

int hpx_policy_main(int argc, char **argv)
{
	static struct settings settings;
	static hpx_run run;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	FILE *to;
	int status;

	settings.threads = 8;
	settings.jobs = processors > 0 ? (uint64_t)processors : 1;
	settings.seed = 1;
	status = parse(&settings, argc, argv);
	if (status >= 0)
		return status;
	hpx_catch_interrupts();
	to = settings.html && !strcmp(settings.html, "-") ? stderr : hpx_human(settings.json);
	run.threads = (unsigned)settings.threads;
	run.seed = settings.seed;
	status = hpx_json_check("policy", settings.json);
	if (!status)
		status = hpx_output_check("policy", "html", settings.html);
	if (!status)
		status = choose_policies(&run, &settings);
	if (!status)
		status = choose_fractions(&run, &settings);
	if (!status)
		status = hpx_policy_input(&run.input, settings.folder, settings.traces.text, settings.traces.count, to);
	if (status)
		return status;
	status = plan(&run, &settings);
	if (!status)
		status = replay_all(&run, (unsigned)settings.jobs, to);
	if (!status)
		status = finish(&run, &settings, to);
	free(run.points);
	hpx_policy_input_free(&run.input);
	return status;
}
