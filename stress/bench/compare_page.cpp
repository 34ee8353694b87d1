/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/compare_page.cpp - a comparison as a page: every change as a dot beside what is noise, and the table. */
#include "compare.hpp"

#include <algorithm>
#include <cmath>

#include "../harness/html.h"
#include "page.hpp"
#include "plot.hpp"

namespace bench {

namespace {

const char style[] = "svg .worse { fill: var(--bad); stroke: var(--bad); } svg .better { fill: var(--good); stroke: var(--good); }\n"
		     "svg .same, svg .noisy { fill: var(--peer); stroke: var(--peer); }\n"
		     ".band { fill: var(--line); opacity: .45; } .zero { stroke: var(--faint); }\n";

const char *mark_of(change_kind kind)
{
	return kind == change_kind::worse ? "bad" : kind == change_kind::better ? "good" : "text";
}

std::string signed_percent(double part)
{
	char text[32];

	std::snprintf(text, sizeof text, "%+.1f", 100 * part);
	return text;
}

/* One line per row: the change, and from it to both sides what is noise. */
void dots(std::FILE *to, const comparison &c)
{
	enum { WIDTH = 900, STEP = 17, LEFT = 380, RIGHT = 20, TOP = 10, BOTTOM = 34 };
	double most = 2 * c.threshold;

	for (const change &one : c.changes)
		most = std::max(most, std::fabs(one.part) * 1.05);
	hpx_plot plot{to, WIDTH, TOP + STEP * int(c.changes.size()) + BOTTOM, LEFT, RIGHT, TOP, BOTTOM, {-most, most, false}, {0, 1, false}};
	int edge = plot.height - BOTTOM;
	double step = hpx_plot_step(2 * most, 8);

	std::fputs("<figure>\n<figcaption>Change of every row <small>in per cent, more is better; the band is the threshold, a whisker "
		   "is the noise</small></figcaption>\n",
		   to);
	hpx_plot_begin(&plot, "change of every row");
	double band = hpx_plot_x(&plot, std::max(-c.threshold, -most)), other = hpx_plot_x(&plot, std::min(c.threshold, most));
	std::fprintf(to, "<rect class=\"band\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", band, TOP, other - band, edge - TOP);
	for (int i = int(std::ceil(-most / step)); i * step <= most; i++) {
		double x = hpx_plot_x(&plot, i * step);
		char label[32];

		std::snprintf(label, sizeof label, "%+.3g", i ? 100 * i * step : 0);
		std::fprintf(to, "<path class=\"grid%s\" d=\"M%.1f %dV%d\"/>", i ? "" : " zero", x, TOP, edge);
		hpx_plot_column(&plot, i * step, i ? label : "0");
	}
	for (size_t i = 0; i < c.changes.size(); i++) {
		const change &one = c.changes[i];
		double y = TOP + STEP * (double(i) + .5);

		std::fprintf(to, "<text class=\"name\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">", LEFT - 10, y + 4);
		hpx_html_text(to, called(*one.before).c_str());
		std::fputs("</text>", to);
		if (one.kind != change_kind::unknown) {
			double low = hpx_plot_x(&plot, std::max(one.part - one.noise, -most)),
			       high = hpx_plot_x(&plot, std::min(one.part + one.noise, most));
			std::fprintf(to, "<g class=\"%s\"><path class=\"whisker\" d=\"M%.1f %.1fH%.1f\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/></g>",
				     name_of(one.kind), low, y, high, hpx_plot_x(&plot, one.part), y);
		}
		std::fputs("\n", to);
	}
	hpx_plot_end(&plot);
	std::fputs("</figure>\n", to);
}

void marked(std::FILE *to, const char *mark, const std::string &text)
{
	std::fprintf(to, "<td class=\"%s\">", mark);
	hpx_html_text(to, text.c_str());
	std::fputs("</td>", to);
}

void table(std::FILE *to, const comparison &c)
{
	const char *const headings[] = {"row", "by", "before", "after", "change, %", "noise, %", ""};

	hpx_html_table_begin(to, headings, sizeof headings / sizeof headings[0]);
	for (const change &one : c.changes) {
		bool known = one.kind != change_kind::unknown;

		hpx_html_table_row(to);
		hpx_html_table_cell(to, "%s", called(*one.before).c_str());
		marked(to, "text", one.by());
		hpx_html_table_cell(to, "%.4g", one.shown_before());
		hpx_html_table_cell(to, "%.4g", one.shown_after());
		hpx_html_table_cell(to, "%s", known ? signed_percent(one.part).c_str() : "");
		hpx_html_table_cell(to, "%s", known ? shown(100 * one.noise).c_str() : "");
		marked(to, mark_of(one.kind), name_of(one.kind));
		hpx_html_table_row_end(to);
	}
	hpx_html_table_end(to);
	if (c.added.empty())
		return;
	std::fputs("<h2>Only in the new run</h2>\n<ul>\n", to);
	for (const figure *f : c.added) {
		std::fputs("<li>", to);
		hpx_html_text(to, called(*f).c_str());
		std::fputs("</li>\n", to);
	}
	std::fputs("</ul>\n", to);
}

void page(const void *ctx, std::FILE *to)
{
	const comparison &c = *static_cast<const comparison *>(ctx);

	hpx_html_begin(to, "hapax: speed, before and after", (std::string(page_style) + style).c_str());
	std::fputs("<h1>Speed of hapax, before and after</h1>\n<p>", to);
	hpx_html_text(to, c.summary().c_str());
	std::fputs(".</p>\n", to);
	write_head(to, *c.before, c.after);
	std::fputs("<p>Each row is taken by a reference measured beside it in the same run, round by round; the ratios are compared. A "
		   "change counts if it is beyond the threshold and beyond the noise, which comes from the quartiles of the rounds.</p>\n",
		   to);
	dots(to, c);
	std::fputs("<h2>Rows</h2>\n", to);
	table(to, c);
	hpx_html_end(to);
}

} // namespace

int write_page(const comparison &c, const char *path) { return hpx_html_write("bench", page, &c, path); }

} // namespace bench
