/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One page that needs nothing but itself: a chart per trace, drawn here, and the summary. Sizes of the cache are at
 * equal distances on the horizontal axis, in order.
 */
#include "policy.h"

#include "harness/html.h"
#include "harness/report.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 460, HEIGHT = 300, LEFT = 44, RIGHT = 12, TOP = 12, BOTTOM = 34 };

static const char style[] =
	".peer { fill: none; stroke: var(--peer); stroke-width: 1; } .peer:hover { stroke: var(--text); stroke-width: "
	"2; }\n"
	".opt { stroke-dasharray: 4 3; }\n"
	".own { fill: none; stroke-width: 2; } .own:hover { stroke-width: 4; } .many { stroke-dasharray: 6 4; }\n"
	".adaptive { stroke-width: 3; }\n";

/* --- a chart --- */

struct chart {
	const hpx_run *run;
	const hpx_series *series;
	double top; /* ratio at the upper edge */
	FILE *to;
	hpx_plot plot; /* the number of the fraction, and the ratio */
};

/* The ratio of a policy (or, without one, of an algorithm of the file); below 0: there is none. */
static double ratio_at(const struct chart *chart, const hpx_contender *contender, unsigned threads, unsigned algorithm,
		       unsigned fraction)
{
	double size = chart->run->fractions[fraction];

	if (contender) {
		const hpx_point *point = hpx_run_point(chart->run, chart->series, contender, size, threads);

		return point ? hpx_point_ratio(point) : -1;
	}
	if (!chart->series->weighted) {
		const hpx_reference_row *row =
			hpx_reference_find(&chart->run->input.reference, algorithm, chart->series->name, size);

		return row ? row->ratio : -1;
	}
	return -1;
}

static void curve(const struct chart *chart, const hpx_contender *contender, unsigned threads, unsigned algorithm,
		  const char *attributes, const char *name)
{
	char percent[32];
	bool any = false;

	for (unsigned f = 0; f < chart->run->fraction_count; f++) {
		double ratio = ratio_at(chart, contender, threads, algorithm, f);

		if (ratio < 0)
			continue;
		/* a lone point shows as one, too */
		if (!any)
			fprintf(chart->to, "<path %s stroke-linecap=\"round\" d=\"M%.1f %.1fh0", attributes,
				hpx_plot_x(&chart->plot, f), hpx_plot_y(&chart->plot, ratio));
		else
			fprintf(chart->to, "L%.1f %.1f", hpx_plot_x(&chart->plot, f), hpx_plot_y(&chart->plot, ratio));
		any = true;
	}
	if (!any)
		return;
	fputs("\"><title>", chart->to);
	hpx_html_text(chart->to, name);
	if (threads > 1)
		fprintf(chart->to, ", %u threads", threads);
	for (unsigned f = 0; f < chart->run->fraction_count; f++) {
		double ratio = ratio_at(chart, contender, threads, algorithm, f);

		if (ratio >= 0)
			fprintf(chart->to, "\n%s: %.2f %%", hpx_percent(percent, chart->run->fractions[f]),
				100 * ratio);
	}
	fputs("</title></path>\n", chart->to);
}

/* The upper edge: the next tenth, or twentieth, above all that is drawn. */
static double top_of(const struct chart *chart)
{
	double most = 0.02;

	for (unsigned f = 0; f < chart->run->fraction_count; f++) {
		for (unsigned a = 0; a < chart->run->input.reference.algorithms; a++)
			most = fmax(most, ratio_at(chart, NULL, 1, a, f));
		for (unsigned c = 0; c < chart->run->contender_count; c++) {
			most = fmax(most, ratio_at(chart, chart->run->contenders[c], 1, 0, f));
			most = fmax(most, ratio_at(chart, chart->run->contenders[c], chart->run->threads, 0, f));
		}
	}
	return fmin(1, most > 0.5 ? ceil(10 * most) / 10 : ceil(20 * most) / 20);
}

static void axes(const struct chart *chart)
{
	char text[32];

	for (unsigned i = 0; i <= 5; i++) {
		snprintf(text, sizeof(text), "%.3g", 100 * chart->top * i / 5);
		hpx_plot_grid(&chart->plot, chart->top * i / 5, text);
	}
	for (unsigned f = 0; f < chart->run->fraction_count; f++)
		hpx_plot_column(&chart->plot, f, hpx_percent(text, chart->run->fractions[f]));
}

static void draw(const hpx_run *run, const hpx_series *series, FILE *to)
{
	struct chart chart = {.run = run, .series = series, .top = 1, .to = to};
	char attributes[96];
	char requests[32];
	char keys[32];

	chart.top = top_of(&chart);
	chart.plot = (hpx_plot){to, WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, {0, run->fraction_count - 1, false},
				{0, chart.top, false}};
	fputs("<figure>\n<figcaption>", to);
	hpx_html_text(to, series->name);
	fprintf(to, " <small>%s requests, %s keys%s</small></figcaption>\n",
		hpx_grouped(requests, series->trace->requests), hpx_grouped(keys, series->trace->count),
		series->weighted ? ", bounded by bytes" : "");
	hpx_plot_begin(&chart.plot, "hit ratio by size of the cache");
	axes(&chart);
	for (unsigned a = 0; a < run->input.reference.algorithms; a++) {
		const char *name = run->input.reference.algorithm[a];

		curve(&chart, NULL, 1, a, strncmp(name, "OPT", 3) != 0 ? "class=\"peer\"" : "class=\"peer opt\"", name);
	}
	/* the first is drawn last, on top */
	for (unsigned c = run->contender_count; c-- > 0;) {
		const char *name = run->contenders[c]->name;

		snprintf(attributes, sizeof(attributes), "class=\"own many\" stroke=\"var(--c%u)\"", c % 6);
		if (run->threads > 1)
			curve(&chart, run->contenders[c], run->threads, 0, attributes, name);
		snprintf(attributes, sizeof(attributes), "class=\"own%s\" stroke=\"var(--c%u)\"",
			 strcmp(name, "adaptive") != 0 ? "" : " adaptive", c % 6);
		curve(&chart, run->contenders[c], 1, 0, attributes, name);
	}
	hpx_plot_end(&chart.plot);
	fputs("</figure>\n", to);
}

/* --- the summary --- */

static void summary_row(const hpx_summary *sum, const char *name, unsigned threads, bool weighted, FILE *to)
{
	if (!sum->points)
		return;
	hpx_html_table_row(to);
	hpx_html_table_cell(to, "%s", name);
	if (threads)
		hpx_html_table_cell(to, "%u", threads);
	else
		hpx_html_table_cell(to, "%s", "");
	hpx_html_table_cell(to, "%.2f", 100 * sum->mean_all);
	if (weighted || sum->production_points)
		hpx_html_table_cell(to, "%.2f", 100 * (weighted ? sum->mean_bytes : sum->mean_production));
	else
		hpx_html_table_cell(to, "%s", "");
	hpx_html_table_cell(to, "%u", sum->points);
	hpx_html_table_cell(to, "%u", sum->below);
	hpx_html_table_cell(to, "%.2f", 100 * sum->worst);
	hpx_html_table_row_end(to);
}

static void summary(const hpx_run *run, bool weighted, FILE *to)
{
	char below[48];
	const char *const headings[] = {"policy", "threads", weighted ? "objects" : "all", weighted ? "bytes" : "production",
					"points", below, "most below LRU"};
	bool any = false;

	for (size_t i = 0; i < run->count; i++)
		any = any || run->points[i].series->weighted == weighted;
	if (!any)
		return;
	snprintf(below, sizeof(below), "more than %g %% below LRU", 100 * HPX_POLICY_BELOW);
	fprintf(to, "<h2>%s</h2>\n", weighted ? "Bounded by weight: mean, %" : "Mean hit ratio, %");
	hpx_html_table_begin(to, headings, sizeof(headings) / sizeof(headings[0]));
	for (unsigned several = 0; several < 2; several++) {
		unsigned threads = several ? run->threads : 1;

		for (unsigned c = 0; c < run->contender_count && (!several || threads > 1); c++) {
			hpx_summary sum = hpx_run_summary(run, run->contenders[c], threads, weighted);

			summary_row(&sum, run->contenders[c]->name, threads, weighted, to);
		}
	}
	for (unsigned a = 0; !weighted && a < run->input.reference.algorithms; a++) {
		hpx_summary sum = hpx_run_reference(run, a);

		summary_row(&sum, run->input.reference.algorithm[a], 0, false, to);
	}
	hpx_html_table_end(to);
}

static void key(const hpx_run *run, FILE *to)
{
	fputs("<ul class=\"key\">\n", to);
	for (unsigned c = 0; c < run->contender_count; c++)
		fprintf(to, "<li><i style=\"border-color: var(--c%u)\"></i>%s</li>\n", c % 6, run->contenders[c]->name);
	if (run->threads > 1)
		fprintf(to, "<li><i style=\"border-top-style: dashed\"></i>the same, %u threads</li>\n", run->threads);
	if (run->input.reference.algorithms)
		fputs("<li><i style=\"border-color: var(--peer); border-top-width: 1px\"></i>others (point at a line "
		      "for"
		      " its name)</li>\n<li><i style=\"border-color: var(--peer); border-top-style: "
		      "dashed\"></i>optimum</li>\n",
		      to);
	fputs("</ul>\n", to);
}

static void page(const void *ctx, FILE *to)
{
	const hpx_run *run = ctx;

	hpx_html_begin(to, "hapax: hit ratios", style);
	fprintf(to,
		"<h1>Hit ratios</h1>\n<p>hapax %s, seed %llu. Horizontal: size of the cache as a part of the distinct"
		" keys; vertical: hits, %% of all requests.</p>\n",
		hapax_version(), (unsigned long long)run->seed);
	for (unsigned i = 0; i < run->broken_used && i < sizeof(run->broken) / sizeof(run->broken[0]); i++) {
		fputs("<p><strong>Broken: ", to);
		hpx_html_text(to, run->broken[i]);
		fputs("</strong></p>\n", to);
	}
	summary(run, false, to);
	summary(run, true, to);
	fputs("<h2>Traces</h2>\n", to);
	key(run, to);
	fputs("<div class=\"charts\">\n", to);
	for (size_t s = 0; s < run->input.count; s++)
		draw(run, &run->input.series[s], to);
	fputs("</div>\n", to);
	hpx_html_end(to);
}

int hpx_policy_html(const hpx_run *run, const char *path)
{
	return hpx_html_write("policy", page, run, path);
}
