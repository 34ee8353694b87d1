/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/plot.hpp - plots of the page: lines over N, threads or percentiles, and bars. Every subject has its colour, mark
 * and dashes, and its name beside its line.
 */
#ifndef HAPAX_BENCH_PLOT_HPP
#define HAPAX_BENCH_PLOT_HPP

#include <cstdio>
#include <string>
#include <vector>

namespace bench {

/* Numbers of subjects, the same on the whole page: 0 is hapax. */
class palette {
	std::vector<std::string> names_{};

public:
	void add(const std::string &name);
	size_t number(const std::string &name) const; /* of one that was added */
	const std::vector<std::string> &names() const { return names_; }
	/* " class=... stroke=..." of the lines and marks of one */
	static std::string stroke(size_t number);
	static std::string fill(size_t number);
	void key(std::FILE *to) const; /* the list of them */
};

/* The mark of subject `number` around a place, as an element. */
void draw_mark(std::FILE *to, size_t number, double x, double y);

struct dot {
	double x, y, low, high; /* low to high: the whisker */
};

struct line {
	size_t subject; /* of the palette; no_subject: a limit, drawn dashed */
	std::string name;
	std::vector<dot> dots;
};
constexpr size_t no_subject = size_t(-1);

struct line_plot {
	std::string name;		  /* for those who do not see it, too */
	std::string unit;		  /* at the vertical axis */
	std::string horizontal;		  /* what the horizontal axis is */
	std::string note{};		  /* beside the name */
	std::vector<double> columns{};	  /* its labelled places, ascending */
	std::vector<std::string> labels{}; /* of them */
	bool log_x = false, log_y = false;
	std::vector<line> lines{};

	void draw(std::FILE *to) const;
};

struct bar_plot {
	std::string name, unit;
	std::vector<line> bars{};  /* one dot each, whose x is not looked at */
	std::vector<line> limits{}; /* vertical dashed lines */

	void draw(std::FILE *to) const;
};

/* With as many digits as tell something. */
std::string shown(double value);

} // namespace bench

#endif
