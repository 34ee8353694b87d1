/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "html.h"

#include "options.h"
#include "report.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

static const char common[] =
	":root { color-scheme: light dark; --ground: #ffffff; --text: #1c1c1e; --faint: #62626a; --line: #d9d9de;\n"
	"  --peer: #a9a9b2; --good: #00705a; --bad: #b3261e;\n"
	"  --c0: #d55e00; --c1: #0072b2; --c2: #00865f; --c3: #b0498a; --c4: #a67c00; --c5: #2f93cc; --c6: #4d4d55;\n"
	"  --c7: #7454c0; }\n"
	"@media (prefers-color-scheme: dark) { :root { --ground: #17171a; --text: #ececf0; --faint: #a6a6ae;\n"
	"  --line: #3a3a40; --peer: #65656e; --good: #5fd3a8; --bad: #ff8a80;\n"
	"  --c0: #ff8a3d; --c1: #5aa9e6; --c2: #3fcf9f; --c3: #eb96c6; --c4: #f0c040; --c5: #97d6ff; --c6: #c8c8d0;\n"
	"  --c7: #b9a2ff; } }\n"
	"body { background: var(--ground); color: var(--text); font: 15px/1.45 system-ui, sans-serif;"
	" margin: 0 auto; max-width: 1480px; padding: 1.5rem; }\n"
	"h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }\n"
	"p, figcaption small { color: var(--faint); }\n"
	".charts { display: grid; gap: 1.5rem;"
	" grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); }\n"
	"figure { margin: 0; } figcaption { font-weight: 600; } figcaption small { font-weight: 400; }\n"
	"svg { display: block; height: auto; width: 100%; }\n"
	"svg text { fill: var(--faint); font-size: 11px; } .grid { stroke: var(--line); stroke-width: 1; }\n"
	".scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }\n"
	"th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem; text-align: right; }\n"
	"th:first-child, td:first-child { text-align: left; }\n"
	".key { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; list-style: none; padding: 0; }\n"
	".key i { display: inline-block; height: 0; margin-right: .4rem; vertical-align: middle; width: 1.6rem;"
	" border-top: 3px solid; }\n";

void hpx_html_text(FILE *to, const char *text)
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

void hpx_html_begin(FILE *to, const char *title, const char *style)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
	      to);
	hpx_html_text(to, title);
	fprintf(to, "</title>\n<style>\n%s%s</style>\n</head>\n<body>\n", common, style);
}

void hpx_html_end(FILE *to) { fputs("</body>\n</html>\n", to); }

int hpx_html_write(const char *command, void (*page)(const void *ctx, FILE *to), const void *ctx, const char *path)
{
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);
	bool failed;
	int status;

	if (!to)
		return hpx_input_error(command, "--html: out of memory");
	page(ctx, to);
	failed = ferror(to) != 0;
	failed = fclose(to) != 0 || failed;
	status = failed ? hpx_input_error(command, "--html: out of memory")
			: hpx_text_write(command, "html", text, size, path);
	free(text);
	return status;
}

/* --- tables --- */

void hpx_html_table_begin(FILE *to, const char *const *headings, unsigned count)
{
	fputs("<div class=\"scroll\"><table>\n<tr>", to);
	for (unsigned i = 0; i < count; i++) {
		fputs("<th scope=\"col\">", to);
		hpx_html_text(to, headings[i]);
		fputs("</th>", to);
	}
	fputs("</tr>\n", to);
}

void hpx_html_table_row(FILE *to) { fputs("<tr>", to); }

void hpx_html_table_cell(FILE *to, const char *format, ...)
{
	char fixed[256];
	char *text = fixed;
	va_list list;
	int length;

	va_start(list, format);
	length = vsnprintf(fixed, sizeof(fixed), format, list);
	va_end(list);
	if (length >= (int)sizeof(fixed)) {
		va_start(list, format);
		if (vasprintf(&text, format, list) < 0)
			text = fixed; /* what fits */
		va_end(list);
	}
	fputs("<td>", to);
	hpx_html_text(to, text);
	fputs("</td>", to);
	if (text != fixed)
		free(text);
}

void hpx_html_table_row_end(FILE *to) { fputs("</tr>\n", to); }

void hpx_html_table_end(FILE *to) { fputs("</table></div>\n", to); }

/* --- plots --- */

/* From 0 at the low end to 1 at the high one. */
static double part(const hpx_axis *axis, double value)
{
	if (axis->low == axis->high)
		return 0.5;
	if (axis->log)
		return log(value / axis->low) / log(axis->high / axis->low);
	return (value - axis->low) / (axis->high - axis->low);
}

double hpx_plot_x(const hpx_plot *plot, double value)
{
	return plot->left + part(&plot->x, value) * (plot->width - plot->left - plot->right);
}

double hpx_plot_y(const hpx_plot *plot, double value)
{
	return plot->height - plot->bottom - part(&plot->y, value) * (plot->height - plot->top - plot->bottom);
}

void hpx_plot_begin(const hpx_plot *plot, const char *name)
{
	fprintf(plot->to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", plot->width, plot->height);
	hpx_html_text(plot->to, name);
	fputs("\">\n", plot->to);
}

void hpx_plot_end(const hpx_plot *plot) { fputs("</svg>\n", plot->to); }

void hpx_plot_grid(const hpx_plot *plot, double value, const char *label)
{
	double y = hpx_plot_y(plot, value);

	fprintf(plot->to, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">",
		plot->left, y, plot->width - plot->right, plot->left - 6, y + 4);
	hpx_html_text(plot->to, label);
	fputs("</text>\n", plot->to);
}

void hpx_plot_column(const hpx_plot *plot, double value, const char *label)
{
	fprintf(plot->to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", hpx_plot_x(plot, value),
		plot->height - plot->bottom + 22);
	hpx_html_text(plot->to, label);
	fputs("</text>\n", plot->to);
}

double hpx_plot_step(double span, unsigned about)
{
	static const double nice[] = {1, 2, 5, 10};
	double least = span / about;
	double power = pow(10, floor(log10(least)));

	for (unsigned i = 0; i < 4; i++)
		if (nice[i] * power >= least * (1 - 1e-9))
			return nice[i] * power;
	return 10 * power;
}

static void grid_at(const hpx_plot *plot, double value)
{
	char label[32];

	snprintf(label, sizeof(label), value >= 1e6 ? "%.0e" : "%.6g", value);
	hpx_plot_grid(plot, value, label);
}

void hpx_plot_grids(const hpx_plot *plot, unsigned about)
{
	const hpx_axis *axis = &plot->y;
	double step;

	if (axis->low == axis->high)
		return;
	if (!axis->log) {
		step = hpx_plot_step(axis->high - axis->low, about);
		for (long i = lround(ceil(axis->low / step - 1e-9)); i * step <= axis->high + step * 1e-6; i++)
			grid_at(plot, i * step);
		return;
	}
	for (int e = (int)floor(log10(axis->low)); pow(10, e) <= axis->high * 1.0001; e++) {
		bool few = log10(axis->high / axis->low) * 3 <= about;

		for (int k = 0; k < (few ? 3 : 1); k++) {
			double value = pow(10, e) * (k == 0 ? 1 : k == 1 ? 2 : 5);

			if (value >= axis->low * 0.9999 && value <= axis->high * 1.0001)
				grid_at(plot, value);
		}
	}
}
