/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One page that needs nothing but itself: a chart per trace, drawn here, and the summary. Sizes of the cache are at
 * equal distances on the horizontal axis, in order.
 */
#include "policy.h"

#include "harness/options.h"
#include "harness/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 460, HEIGHT = 300, LEFT = 44, RIGHT = 12, TOP = 12, BOTTOM = 34 };

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>hapax: hit ratios</title>\n"
	"<style>\n"
	":root { color-scheme: light dark; --ground: #ffffff; --text: #1c1c1e; --faint: #6b6b70; --line: #d9d9de;"
	" --peer: #a9a9b2;\n"
	"  --c0: #c8102e; --c1: #1f5fbf; --c2: #11823b; --c3: #8a3fb5; --c4: #b35c00; --c5: #007c89; }\n"
	"@media (prefers-color-scheme: dark) { :root { --ground: #17171a; --text: #ececf0; --faint: #a0a0a8;"
	" --line: #3a3a40; --peer: #65656e;\n"
	"  --c0: #ff6b81; --c1: #6ea8ff; --c2: #5fd38a; --c3: #d39bff; --c4: #ffb05c; --c5: #4fd6e4; } }\n"
	"body { background: var(--ground); color: var(--text); font: 15px/1.45 system-ui, sans-serif;"
	" margin: 0 auto; max-width: 1480px; padding: 1.5rem; }\n"
	"h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }\n"
	"p, figcaption small { color: var(--faint); }\n"
	".charts { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), "
	"1fr)); }\n"
	"figure { margin: 0; } figcaption { font-weight: 600; } figcaption small { font-weight: 400; }\n"
	"svg { display: block; height: auto; width: 100%; }\n"
	"svg text { fill: var(--faint); font-size: 11px; } .grid { stroke: var(--line); stroke-width: 1; }\n"
	".peer { fill: none; stroke: var(--peer); stroke-width: 1; } .peer:hover { stroke: var(--text); stroke-width: "
	"2; }\n"
	".opt { stroke-dasharray: 4 3; }\n"
	".own { fill: none; stroke-width: 2; } .own:hover { stroke-width: 4; } .many { stroke-dasharray: 6 4; }\n"
	".adaptive { stroke-width: 3; }\n"
	".scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }\n"
	"th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem; text-align: right; }\n"
	"th:first-child, td:first-child { text-align: left; }\n"
	".key { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; list-style: none; padding: 0; }\n"
	".key i { display: inline-block; height: 0; margin-right: .4rem; vertical-align: middle; width: 1.6rem;"
	" border-top: 3px solid; }\n"
	"</style>\n</head>\n<body>\n";

static void escaped(FILE *to, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			fputs("&amp;", to);
			break;
		case '<':
			fputs("&lt;", to);
			break;
		case '>':
			fputs("&gt;", to);
			break;
		case '"':
			fputs("&quot;", to);
			break;
		default:
			fputc(*text, to);
		}
	}
}

/* --- a chart --- */

struct chart {
	const hpx_run *run;
	const hpx_series *series;
	double top; /* ratio at the upper edge */
	FILE *to;
};

static double across(const struct chart *chart, unsigned fraction)
{
	unsigned last = chart->run->fraction_count - 1;

	return LEFT + (last ? (double)fraction / last : 0.5) * (WIDTH - LEFT - RIGHT);
}

static double up(const struct chart *chart, double ratio)
{
	return HEIGHT - BOTTOM - ratio / chart->top * (HEIGHT - TOP - BOTTOM);
}

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
				across(chart, f), up(chart, ratio));
		else
			fprintf(chart->to, "L%.1f %.1f", across(chart, f), up(chart, ratio));
		any = true;
	}
	if (!any)
		return;
	fputs("\"><title>", chart->to);
	escaped(chart->to, name);
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
	char percent[32];

	for (unsigned i = 0; i <= 5; i++) {
		double ratio = chart->top * i / 5;

		fprintf(chart->to,
			"<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g"
			"</text>\n",
			LEFT, up(chart, ratio), WIDTH - RIGHT, LEFT - 6, up(chart, ratio) + 4, 100 * ratio);
	}
	for (unsigned f = 0; f < chart->run->fraction_count; f++)
		fprintf(chart->to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", across(chart, f),
			HEIGHT - 12, hpx_percent(percent, chart->run->fractions[f]));
}

static void draw(const hpx_run *run, const hpx_series *series, FILE *to)
{
	struct chart chart = {run, series, 1, to};
	char attributes[96];
	char requests[32];
	char keys[32];

	chart.top = top_of(&chart);
	fputs("<figure>\n<figcaption>", to);
	escaped(to, series->name);
	fprintf(to, " <small>%s requests, %s keys%s</small></figcaption>\n",
		hpx_grouped(requests, series->trace->requests), hpx_grouped(keys, series->trace->count),
		series->weighted ? ", bounded by bytes" : "");
	fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"hit ratio by size of the cache\">\n", WIDTH,
		HEIGHT);
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
	fputs("</svg>\n</figure>\n", to);
}

/* --- the summary --- */

static void summary_row(const hpx_summary *sum, const char *name, unsigned threads, bool weighted, FILE *to)
{
	if (!sum->points)
		return;
	fputs("<tr><td>", to);
	escaped(to, name);
	if (threads)
		fprintf(to, "</td><td>%u</td>", threads);
	else
		fputs("</td><td></td>", to);
	fprintf(to, "<td>%.2f</td>", 100 * sum->mean_all);
	if (weighted)
		fprintf(to, "<td>%.2f</td>", 100 * sum->mean_bytes);
	else if (sum->production_points)
		fprintf(to, "<td>%.2f</td>", 100 * sum->mean_production);
	else
		fputs("<td></td>", to);
	fprintf(to, "<td>%u</td><td>%u</td><td>%.2f</td></tr>\n", sum->points, sum->below, 100 * sum->worst);
}

static void summary(const hpx_run *run, bool weighted, FILE *to)
{
	bool any = false;

	for (size_t i = 0; i < run->count; i++)
		any = any || run->points[i].series->weighted == weighted;
	if (!any)
		return;
	fprintf(to,
		"<h2>%s</h2>\n<div class=\"scroll\"><table>\n<tr><th>policy</th><th>threads</th><th>%s</th><th>%s</th>"
		"<th>points</th><th>more than %g %% below LRU</th><th>most below LRU</th></tr>\n",
		weighted ? "Bounded by weight: mean, %" : "Mean hit ratio, %", weighted ? "objects" : "all",
		weighted ? "bytes" : "production", 100 * HPX_POLICY_BELOW);
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
	fputs("</table></div>\n", to);
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

static void page(const hpx_run *run, FILE *to)
{
	fputs(head, to);
	fprintf(to,
		"<h1>Hit ratios</h1>\n<p>hapax %s, seed %llu. Horizontal: size of the cache as a part of the distinct"
		" keys; vertical: hits, %% of all requests.</p>\n",
		hapax_version(), (unsigned long long)run->seed);
	for (unsigned i = 0; i < run->broken_used && i < sizeof(run->broken) / sizeof(run->broken[0]); i++) {
		fputs("<p><strong>Broken: ", to);
		escaped(to, run->broken[i]);
		fputs("</strong></p>\n", to);
	}
	summary(run, false, to);
	summary(run, true, to);
	fputs("<h2>Traces</h2>\n", to);
	key(run, to);
	fputs("<div class=\"charts\">\n", to);
	for (size_t s = 0; s < run->input.count; s++)
		draw(run, &run->input.series[s], to);
	fputs("</div>\n</body>\n</html>\n", to);
}

int hpx_policy_html(const hpx_run *run, const char *path)
{
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);
	bool failed;
	int status;

	if (!to)
		return hpx_input_error("policy", "--html: out of memory");
	page(run, to);
	failed = ferror(to) != 0;
	failed = fclose(to) != 0 || failed;
	status = failed ? hpx_input_error("policy", "--html: out of memory")
			: hpx_text_write("policy", "html", text, size, path);
	free(text);
	return status;
}
