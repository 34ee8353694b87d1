/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

#include "harness/options.h"
#include "harness/report.h"

#include <json-c/json.h>
#include <string.h>

/* Algorithms of the file that a table has room for. */
static const char *const known[] = {"OPT", "Caffeine-head", "S3-FIFO-d", "LIRS", "ARC", "S3-FIFO",
				    "2Q",  "SIEVE",	    "LRU"};
enum { KNOWN = sizeof(known) / sizeof(known[0]), LABEL = 22 };

char *hpx_percent(char *buffer, double fraction)
{
	snprintf(buffer, 32, "%.6g %%", 100 * fraction);
	return buffer;
}

bool hpx_policy_shown(const hpx_reference *reference, unsigned algorithm)
{
	bool any = false;

	for (unsigned i = 0; i < KNOWN; i++) {
		if (!strcmp(known[i], reference->algorithm[algorithm]))
			return true;
		any = any || hpx_reference_algorithm(reference, known[i]) >= 0;
	}
	return !any;
}

static void label_of(char *label, size_t size, const char *name, unsigned threads)
{
	if (threads > 1)
		snprintf(label, size, "%s, %u threads", name, threads);
	else
		snprintf(label, size, "%s", name);
}

/* --- one trace --- */

static void contender_row(const hpx_run *run, const hpx_series *series, const hpx_contender *contender,
			  unsigned threads, bool bytes, FILE *to)
{
	bool first = true;
	char label[64];

	for (unsigned f = 0; f < run->fraction_count; f++) {
		const hpx_point *point = hpx_run_point(run, series, contender, run->fractions[f], threads);

		if (!point && !first)
			fprintf(to, " %9s", "");
		if (!point)
			continue;
		if (first) {
			label_of(label, sizeof(label), contender->name, threads);
			fprintf(to, "  %-*s", LABEL, bytes ? "  of bytes" : label);
			for (unsigned skipped = 0; skipped < f; skipped++)
				fprintf(to, " %9s", "");
			first = false;
		}
		fprintf(to, " %9.2f", 100 * (bytes ? point->hit_bytes / point->bytes : hpx_point_ratio(point)));
	}
	if (!first)
		fputc('\n', to);
}

static void reference_row(const hpx_run *run, const hpx_series *series, unsigned algorithm, FILE *to)
{
	const hpx_reference *reference = &run->input.reference;
	bool any = false;

	for (unsigned f = 0; f < run->fraction_count; f++)
		any = any || hpx_reference_find(reference, algorithm, series->name, run->fractions[f]);
	if (!any)
		return;
	fprintf(to, "  - %-*s", LABEL - 2, reference->algorithm[algorithm]);
	for (unsigned f = 0; f < run->fraction_count; f++) {
		const hpx_reference_row *row =
			hpx_reference_find(reference, algorithm, series->name, run->fractions[f]);

		if (row)
			fprintf(to, " %9.2f", 100 * row->ratio);
		else
			fprintf(to, " %9s", "");
	}
	fputc('\n', to);
}

static void trace_table(const hpx_run *run, const hpx_series *series, FILE *to)
{
	char percent[32];

	fprintf(to, "\n%-*s", LABEL + 2, series->name);
	for (unsigned f = 0; f < run->fraction_count; f++)
		fprintf(to, " %9s", hpx_percent(percent, run->fractions[f]));
	fprintf(to, "   of %s\n", series->weighted ? "the bytes of all keys" : "the distinct keys");
	for (unsigned c = 0; c < run->contender_count; c++) {
		for (unsigned several = 0; several < 2; several++) {
			unsigned threads = several ? run->threads : 1;

			if (several && threads == 1)
				continue;
			contender_row(run, series, run->contenders[c], threads, false, to);
			if (series->weighted)
				contender_row(run, series, run->contenders[c], threads, true, to);
		}
	}
	for (unsigned a = 0; !series->weighted && a < run->input.reference.algorithms; a++)
		if (hpx_policy_shown(&run->input.reference, a))
			reference_row(run, series, a, to);
}

/* --- the summary --- */

static void summary_row(const char *label, const hpx_summary *sum, bool weighted, FILE *to)
{
	if (!sum->points)
		return;
	fprintf(to, "  %-*s %9.2f", LABEL, label, 100 * sum->mean_all);
	if (weighted)
		fprintf(to, " %10.2f", 100 * sum->mean_bytes);
	else if (sum->production_points)
		fprintf(to, " %10.2f", 100 * sum->mean_production);
	else
		fprintf(to, " %10s", "-");
	fprintf(to, " %7u %10u %12.2f\n", sum->points, sum->below, 100 * sum->worst);
}

static void summary_table(const hpx_run *run, bool weighted, FILE *to)
{
	bool any = false;
	char label[64];

	for (size_t i = 0; i < run->count; i++)
		any = any || run->points[i].series->weighted == weighted;
	if (!any)
		return;
	fprintf(to, "\n%-*s %9s %10s %7s %10s %12s\n", LABEL + 2, weighted ? "By weight, mean" : "Mean hit ratio, %",
		weighted ? "objects" : "all", weighted ? "bytes" : "production", "points", "below LRU", "most below");
	for (unsigned several = 0; several < 2; several++) {
		unsigned threads = several ? run->threads : 1;

		for (unsigned c = 0; c < run->contender_count && (!several || threads > 1); c++) {
			hpx_summary sum = hpx_run_summary(run, run->contenders[c], threads, weighted);

			label_of(label, sizeof(label), run->contenders[c]->name, threads);
			summary_row(label, &sum, weighted, to);
		}
	}
	for (unsigned a = 0; !weighted && a < run->input.reference.algorithms; a++) {
		hpx_summary sum = hpx_run_reference(run, a);

		snprintf(label, sizeof(label), "- %s", run->input.reference.algorithm[a]);
		summary_row(label, &sum, false, to);
	}
}

void hpx_policy_table(const hpx_run *run, FILE *to)
{
	for (size_t s = 0; s < run->input.count; s++)
		trace_table(run, &run->input.series[s], to);
	summary_table(run, false, to);
	summary_table(run, true, to);
	fprintf(to,
		"\n'below LRU': points more than %g %% below exact LRU on one thread. Lines with '-' are from the "
		"file.\n",
		100 * HPX_POLICY_BELOW);
	fprintf(to, "hapax %s, seed %llu, %.1f s\n", hapax_version(), (unsigned long long)run->seed, run->seconds);
	if (!run->broken_used) {
		fputs("\nAll promises held.\n", to);
	} else {
		unsigned most = sizeof(run->broken) / sizeof(run->broken[0]);

		fprintf(to, "\n%u broken:\n", run->broken_used);
		for (unsigned i = 0; i < run->broken_used && i < most; i++)
			fprintf(to, "  %s\n", run->broken[i]);
	}
	fflush(to);
}

/* --- JSON --- */

static void add_real(json_object *object, const char *name, double value)
{
	json_object_object_add(object, name, json_object_new_double(value));
}

static void add_count(json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

static void add_text(json_object *object, const char *name, const char *text)
{
	json_object_object_add(object, name, json_object_new_string(text));
}

static json_object *rows_json(const hpx_run *run)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < run->count; i++) {
		const hpx_point *point = &run->points[i];
		json_object *row = json_object_new_object();

		add_text(row, "trace", point->series->name);
		add_text(row, "policy", point->contender->name);
		add_real(row, "fraction", point->fraction);
		add_count(row, "size", point->size);
		add_count(row, "threads", point->threads);
		add_real(row, "hit_ratio", hpx_point_ratio(point));
		add_count(row, "requests", point->requests);
		add_count(row, "hits", point->hits);
		add_real(row, "seconds", point->seconds);
		json_object_object_add(row, "weighted", json_object_new_boolean(point->series->weighted));
		if (point->series->weighted)
			add_real(row, "byte_hit_ratio", point->bytes > 0 ? point->hit_bytes / point->bytes : 0);
		json_object_array_add(array, row);
	}
	return array;
}

static json_object *summary_json(const hpx_summary *sum, const char *name, const char *value)
{
	json_object *row = json_object_new_object();

	add_text(row, name, value);
	add_real(row, "mean_all", sum->mean_all);
	json_object_object_add(row, "mean_production",
			       sum->production_points ? json_object_new_double(sum->mean_production) : NULL);
	add_count(row, "points", sum->points);
	add_count(row, "production_points", sum->production_points);
	add_count(row, "points_below_lru", sum->below);
	add_real(row, "worst_below_lru", sum->worst);
	return row;
}

static json_object *summaries_json(const hpx_run *run, bool weighted)
{
	json_object *array = json_object_new_array();

	for (unsigned several = 0; several < 2; several++) {
		unsigned threads = several ? run->threads : 1;

		for (unsigned c = 0; c < run->contender_count && (!several || threads > 1); c++) {
			hpx_summary sum = hpx_run_summary(run, run->contenders[c], threads, weighted);
			json_object *row;

			if (!sum.points)
				continue;
			row = summary_json(&sum, "policy", run->contenders[c]->name);
			add_count(row, "threads", threads);
			if (weighted)
				add_real(row, "mean_bytes", sum.mean_bytes);
			json_object_array_add(array, row);
		}
	}
	return array;
}

static json_object *reference_json(const hpx_run *run)
{
	json_object *array = json_object_new_array();

	for (unsigned a = 0; a < run->input.reference.algorithms; a++) {
		hpx_summary sum = hpx_run_reference(run, a);

		if (sum.points)
			json_object_array_add(array,
					      summary_json(&sum, "algorithm", run->input.reference.algorithm[a]));
	}
	return array;
}

static json_object *broken_json(const hpx_run *run)
{
	json_object *array = json_object_new_array();

	for (unsigned i = 0; i < run->broken_used && i < sizeof(run->broken) / sizeof(run->broken[0]); i++)
		json_object_array_add(array, json_object_new_string(run->broken[i]));
	return array;
}

int hpx_policy_json(const hpx_run *run, const char *path)
{
	json_object *object = json_object_new_object();
	int status;

	add_text(object, "command", "policy");
	add_text(object, "version", hapax_version());
	add_count(object, "seed", run->seed);
	add_count(object, "threads", run->threads);
	add_real(object, "seconds", run->seconds);
	json_object_object_add(object, "ok", json_object_new_boolean(!run->broken_used));
	json_object_object_add(object, "broken", broken_json(run));
	json_object_object_add(object, "summary", summaries_json(run, false));
	json_object_object_add(object, "summary_weighted", summaries_json(run, true));
	json_object_object_add(object, "reference", reference_json(run));
	json_object_object_add(object, "rows", rows_json(run));
	status = hpx_json_write("policy", object, path);
	json_object_put(object);
	return status;
}
