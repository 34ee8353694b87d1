/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plot.hpp"

#include <algorithm>
#include <cmath>

#include "../harness/html.h"

namespace bench {

std::string shown(double value)
{
	char text[32];
	double size = std::fabs(value);

	std::snprintf(text, sizeof text, size >= 1e7 ? "%.3g" : size >= 100 ? "%.0f" : size >= 10 ? "%.1f" : "%.3g", value);
	return text;
}

/* --- subjects --- */

void palette::add(const std::string &name)
{
	if (std::find(names_.begin(), names_.end(), name) == names_.end())
		names_.push_back(name);
}

size_t palette::number(const std::string &name) const
{
	return size_t(std::find(names_.begin(), names_.end(), name) - names_.begin());
}

/* The first colour is hapax's alone. */
static size_t turn(size_t number) { return number ? (number - 1) / (HPX_HTML_COLOURS - 1) : 0; }
static std::string colour(size_t number)
{
	return "var(--c" + std::to_string(number ? 1 + (number - 1) % (HPX_HTML_COLOURS - 1) : 0) + ")";
}

std::string palette::stroke(size_t number)
{
	static const char *const dashes[] = {"", " stroke-dasharray=\"6 3\"", " stroke-dasharray=\"2 3\""};

	return " stroke=\"" + colour(number) + "\" stroke-width=\"" + (number ? "1.6" : "3") + "\"" +
	       dashes[turn(number) % 3];
}

std::string palette::fill(size_t number) { return " fill=\"" + colour(number) + "\""; }

void draw_mark(std::FILE *to, size_t number, double x, double y)
{
	std::string how = palette::fill(number);
	double r = number ? 3.2 : 4;

	switch (number % 4) {
	case 0: std::fprintf(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"%s/>", x, y, r, how.c_str()); break;
	case 1:
		std::fprintf(to, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"%s/>", x - r, y - r, 2 * r, 2 * r, how.c_str());
		break;
	case 2:
		std::fprintf(to, "<path d=\"M%.1f %.1fl%.1f %.1fh%.1fz\"%s/>", x, y - r - .8, r + .8, 2 * r + .8, -2 * r - 1.6,
			     how.c_str());
		break;
	default:
		std::fprintf(to, "<path d=\"M%.1f %.1fl%.1f %.1fl%.1f %.1fl%.1f %.1fz\"%s/>", x, y - r - 1, r + 1, r + 1, -r - 1, r + 1,
			     -r - 1, -r - 1, how.c_str());
	}
}

void palette::key(std::FILE *to) const
{
	std::fputs("<ul class=\"key\">\n", to);
	for (size_t i = 0; i < names_.size(); i++) {
		std::fputs("<li><svg class=\"mark\" viewBox=\"0 0 34 14\" aria-hidden=\"true\">", to);
		std::fprintf(to, "<path class=\"line\" d=\"M1 7H33\"%s/>", stroke(i).c_str());
		draw_mark(to, i, 17, 7);
		std::fputs("</svg>", to);
		hpx_html_text(to, names_[i].c_str());
		std::fputs("</li>\n", to);
	}
	std::fputs("</ul>\n", to);
}

/* --- lines --- */

namespace {

enum { WIDTH = 600, HEIGHT = 330, LEFT = 52, TOP = 26, BOTTOM = 46, APART = 13 };

/* 1, 2 or 5 times a power of ten, not above (up: not below) a value above 0. */
double nice(double value, bool up)
{
	double power = std::pow(10, std::floor(std::log10(value)));
	const double steps[] = {1, 2, 5, 10};

	for (size_t i = 0; i < 4; i++) {
		if (up && steps[i] * power >= value * 0.9999)
			return steps[i] * power;
		if (!up && i < 3 && steps[i + 1] * power > value * 1.0001)
			return steps[i] * power;
	}
	return 10 * power;
}

hpx_axis axis_of(const std::vector<line> &lines, bool log)
{
	double low = INFINITY, high = 0;

	for (const line &l : lines)
		for (const dot &d : l.dots) {
			low = std::min(low, d.low > 0 ? d.low : d.y);
			high = std::max({high, d.high, d.y});
		}
	if (!(high > 0))
		return {0, 1, false};
	if (log && low > 0)
		return {nice(low, false), nice(high, true), true};
	double step = hpx_plot_step(high, 5);
	return {0, std::ceil(high / step - 1e-9) * step, false};
}

int room_for(const std::vector<line> &lines, size_t most)
{
	size_t longest = 4;

	for (const line &l : lines)
		longest = std::max(longest, std::min(l.name.size(), most));
	return int(7.1 * double(longest)) + 24; /* 7.1: a wide letter at 11 px */
}

/* A name of at most `most` letters. */
std::string fitted(const std::string &name, size_t most)
{
	return name.size() <= most ? name : name.substr(0, most - 3) + "...";
}

void text(std::FILE *to, double x, double y, const char *attributes, const std::string &what)
{
	std::fprintf(to, "<text x=\"%.1f\" y=\"%.1f\"%s>", x, y, attributes);
	hpx_html_text(to, what.c_str());
	std::fputs("</text>\n", to);
}

/* Names at the right, each as near to the end of its line as the others leave it. */
void names(const hpx_plot &plot, const std::vector<line> &lines)
{
	struct tag {
		const line *of;
		double wanted, y;
	};
	std::vector<tag> tags;

	for (const line &l : lines)
		if (!l.dots.empty())
			tags.push_back({&l, hpx_plot_y(&plot, l.dots.back().y), 0});
	std::stable_sort(tags.begin(), tags.end(), [](const tag &a, const tag &b) { return a.wanted < b.wanted; });
	/* down past each other, then up again from the bottom */
	double at = plot.top - APART;
	for (tag &t : tags)
		at = t.y = std::max(t.wanted, at + APART);
	at = plot.height - plot.bottom + APART;
	for (size_t i = tags.size(); i-- > 0;)
		at = tags[i].y = std::min(tags[i].y, at - APART);
	for (const tag &t : tags) {
		double end = hpx_plot_x(&plot, t.of->dots.back().x), x = plot.width - plot.right + 10;
		bool limit = t.of->subject == no_subject;

		std::fprintf(plot.to, "<path class=\"leader\" d=\"M%.1f %.1fL%.1f %.1f\"/>", end + 6, t.wanted, x + 4, t.y);
		if (!limit)
			draw_mark(plot.to, t.of->subject, x + 6, t.y);
		text(plot.to, x + 13, t.y + 4, limit ? " class=\"limit-name\"" : t.of->subject ? " class=\"name\"" : " class=\"name own\"",
		     fitted(t.of->name, 30));
	}
}

void one(const hpx_plot &plot, const line &l, const std::string &unit)
{
	bool limit = l.subject == no_subject;
	std::string how = limit ? "" : palette::stroke(l.subject);

	std::fprintf(plot.to, "<path class=\"%s\"%s d=\"", limit ? "limit" : "line", how.c_str());
	for (size_t i = 0; i < l.dots.size(); i++)
		std::fprintf(plot.to, "%c%.1f %.1f", i ? 'L' : 'M', hpx_plot_x(&plot, l.dots[i].x), hpx_plot_y(&plot, l.dots[i].y));
	std::fputs("\"><title>", plot.to);
	hpx_html_text(plot.to, l.name.c_str());
	std::fputs("</title></path>\n", plot.to);
	for (const dot &d : l.dots) {
		double x = hpx_plot_x(&plot, d.x), y = hpx_plot_y(&plot, d.y);

		if (limit)
			continue;
		double foot = hpx_plot_y(&plot, std::max(d.low, plot.y.low));
		if (d.high > d.low)
			std::fprintf(plot.to, "<path class=\"whisker\" stroke=\"%s\" d=\"M%.1f %.1fV%.1fm-3 0h6M%.1f %.1fh6\"/>",
				     colour(l.subject).c_str(), x, foot, hpx_plot_y(&plot, d.high), x - 3, foot);
		std::fputs("<g>", plot.to);
		draw_mark(plot.to, l.subject, x, y);
		std::fputs("<title>", plot.to);
		hpx_html_text(plot.to, (l.name + ": " + shown(d.y) + " " + unit + " [" + shown(d.low) + ", " + shown(d.high) + "]").c_str());
		std::fputs("</title></g>\n", plot.to);
	}
}

} // namespace

void line_plot::draw(std::FILE *to) const
{
	hpx_plot plot{to, WIDTH, HEIGHT, LEFT, room_for(lines, 30), TOP, BOTTOM, {}, axis_of(lines, log_y)};
	double inset = columns.size() > 1 ? 0.06 : 0;

	if (log_x) {
		double widen = std::pow(columns.back() / columns.front(), inset);
		plot.x = {columns.front() / widen, columns.back() * widen, true};
	} else {
		double widen = (columns.back() - columns.front()) * inset;
		plot.x = {columns.front() - widen, columns.back() + widen, false};
	}
	std::fputs("<figure>\n<figcaption>", to);
	hpx_html_text(to, name.c_str());
	if (!note.empty()) {
		std::fputs(" <small>", to);
		hpx_html_text(to, note.c_str());
		std::fputs("</small>", to);
	}
	std::fputs("</figcaption>\n", to);
	hpx_plot_begin(&plot, (name + ", " + unit + " by " + horizontal).c_str());
	hpx_plot_grids(&plot, 6);
	for (size_t i = 0; i < columns.size(); i++)
		hpx_plot_column(&plot, columns[i], labels[i].c_str());
	text(to, 0, 14, "", unit + (plot.y.log ? " (logarithmic)" : ""));
	text(to, (LEFT + WIDTH - plot.right) / 2.0, HEIGHT - 6, " text-anchor=\"middle\"", horizontal);
	for (const line &l : lines) /* ours on top */
		if (l.subject != 0)
			one(plot, l, unit);
	for (const line &l : lines)
		if (l.subject == 0)
			one(plot, l, unit);
	names(plot, lines);
	hpx_plot_end(&plot);
	std::fputs("</figure>\n", to);
}

/* --- bars --- */

void bar_plot::draw(std::FILE *to) const
{
	enum { BAR = 15, STEP = 24 };
	std::vector<line> all = bars;
	all.insert(all.end(), limits.begin(), limits.end());
	int high = TOP + STEP * int(bars.size()) + (limits.empty() ? 0 : 6) + 30;
	hpx_plot plot{to, WIDTH, high, room_for(bars, 34) - 8, 60, TOP, 30, axis_of(all, false), {0, 1, false}};
	int edge = high - plot.bottom;

	std::fputs("<figure>\n<figcaption>", to);
	hpx_html_text(to, name.c_str());
	std::fputs("</figcaption>\n", to);
	hpx_plot_begin(&plot, (name + ", " + unit).c_str());
	double step = hpx_plot_step(plot.x.high, 5);
	for (int i = 0; i * step <= plot.x.high * 1.0001; i++) {
		std::fprintf(to, "<path class=\"grid\" d=\"M%.1f %dV%d\"/>", hpx_plot_x(&plot, i * step), TOP - 4, edge);
		text(to, hpx_plot_x(&plot, i * step), edge + 15, " text-anchor=\"middle\"", shown(i * step));
	}
	text(to, 0, edge + 15, "", unit);
	for (size_t i = 0; i < bars.size(); i++) {
		const line &l = bars[i];
		const dot &d = l.dots.front();
		double y = TOP + STEP * double(i), zero = hpx_plot_x(&plot, 0), end = hpx_plot_x(&plot, d.y), beyond = end;

		text(to, plot.left - 8, y + 13, l.subject ? " class=\"name\" text-anchor=\"end\"" : " class=\"name own\" text-anchor=\"end\"",
		     fitted(l.name, 34));
		std::fprintf(to, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"%s/>", zero, y + 1,
			     std::max(end - zero, 1.0), BAR, palette::fill(l.subject).c_str());
		if (d.high > d.low) {
			beyond = std::max(beyond, hpx_plot_x(&plot, d.high));
			std::fprintf(to, "<path class=\"whisker over\" d=\"M%.1f %.1fH%.1fm0 -4v8M%.1f %.1fv8\"/>", hpx_plot_x(&plot, d.low),
				     y + 8.5, hpx_plot_x(&plot, d.high), hpx_plot_x(&plot, d.low), y + 4.5);
		}
		text(to, beyond + 6, y + 13, l.subject ? " class=\"name\"" : " class=\"name own\"", shown(d.y));
	}
	for (const line &l : limits) {
		double x = hpx_plot_x(&plot, l.dots.front().y);

		std::fprintf(to, "<path class=\"limit\" d=\"M%.1f %dV%d\"/>", x, TOP - 6, edge);
		text(to, x, TOP - 9, " class=\"limit-name\" text-anchor=\"middle\"", l.name + " " + shown(l.dots.front().y));
	}
	hpx_plot_end(&plot);
	std::fputs("</figure>\n", to);
}

} // namespace bench
