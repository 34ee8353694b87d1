/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * html.h - pages that need nothing but themselves: no script, no network, plots drawn here as SVG, readable in light and
 * dark. What the pages of all commands share: head and colours, escaping, tables, axes.
 */
#ifndef HPX_STRESS_HTML_H
#define HPX_STRESS_HTML_H

#include <stdbool.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Colours --c0 to --c7, to be told apart in light and dark and by the colour-blind too (Okabe and Ito's, darker or
 * lighter where the ground asks for it).
 */
enum { HPX_HTML_COLOURS = 8 };

/* Content of an element, or of an attribute in double quotes. */
void hpx_html_text(FILE *to, const char *text);

/* From the doctype to the beginning of the body, with a style for all pages and `style` ("" for none) for this one. */
void hpx_html_begin(FILE *to, const char *title, const char *style);
void hpx_html_end(FILE *to);

/*
 * Makes a page by `page(ctx, file)` and writes it to `path`, all or nothing; "-": standard output; for --html of
 * `command`. Returns 0, or HPX_EXIT_INPUT after a message.
 */
int hpx_html_write(const char *command, void (*page)(const void *ctx, FILE *to), const void *ctx, const char *path);

/* --- tables --- */

/* Headings are escaped; the first column is aligned to the left, others to the right. */
void hpx_html_table_begin(FILE *to, const char *const *headings, unsigned count);
void hpx_html_table_row(FILE *to);
/* Escaped. */
void hpx_html_table_cell(FILE *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
void hpx_html_table_row_end(FILE *to);
void hpx_html_table_end(FILE *to);

/* --- plots --- */

typedef struct hpx_axis {
	double low, high; /* the values at its ends; equal: everything is in the middle */
	bool log;	  /* both ends above 0 */
} hpx_axis;

typedef struct hpx_plot {
	FILE *to;
	int width, height;		/* of the whole */
	int left, right, top, bottom; /* margins around what the axes span */
	hpx_axis x, y;
} hpx_plot;

/* Places of values. */
double hpx_plot_x(const hpx_plot *plot, double value);
double hpx_plot_y(const hpx_plot *plot, double value);

/* <svg>, with a name for those who do not see it. */
void hpx_plot_begin(const hpx_plot *plot, const char *name);
void hpx_plot_end(const hpx_plot *plot);

/* A line of the grid from left to right, and its label at the left; or a label below. Labels are escaped. */
void hpx_plot_grid(const hpx_plot *plot, double value, const char *label);
void hpx_plot_column(const hpx_plot *plot, double value, const char *label);
/* Lines of the grid at values that people like: 1, 2 and 5 times powers of ten, about `about` of them. */
void hpx_plot_grids(const hpx_plot *plot, unsigned about);
/* 1, 2 or 5 times a power of ten: the smallest step by which `about` steps reach `span`. */
double hpx_plot_step(double span, unsigned about);

#ifdef __cplusplus
}
#endif

#endif
