/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/bars.hpp - what the rows have to show. The table is in bars.cpp. */
#ifndef HAPAX_BENCH_BARS_HPP
#define HAPAX_BENCH_BARS_HPP

#include <string>
#include <vector>

namespace bench {

struct settings;

struct verdict {
	std::string name, workload, against;
	bool measured = false;
	double ratio = 0;
	double must = 0, goal = 0; /* 0: no such bar */
	bool at_most = false;

	bool holds(double limit) const { return at_most ? ratio <= limit : ratio >= limit; }
};

/* Every bar, judged by the rows reported so far. */
std::vector<verdict> judge();
/* Those of the workloads that were asked for. */
void print(const settings &s, const std::vector<verdict> &bars);

} // namespace bench

#endif
