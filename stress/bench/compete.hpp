/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/compete.hpp - contenders and their interleaving.
 *
 * Absolute figures of a shared machine do not repeat; ratios within one call do. So the contenders of a row take turns,
 * settings::rounds times, each time another one first, and what is printed is the median of a contender's rounds.
 */
#ifndef HAPAX_BENCH_COMPETE_HPP
#define HAPAX_BENCH_COMPETE_HPP

#include <functional>
#include <string>
#include <vector>

#include "options.hpp"
#include "rows.hpp"

namespace bench {

/* One subject of one row: its name and how to run it once; a value below 0 leaves it out of the row. It lives (populated, a
 * child process at the other end of a socket) until the last copy of `run` is gone, and may not work between its runs. */
struct contender {
	std::string name;
	std::function<sample(unsigned threads, uint64_t seed)> run;
};

/* All rounds of one row for each contender; reports the rows. If the first contender is hapax the others are compared with it. */
void compete(const settings &s, const char *workload, const char *key, size_t n, unsigned threads,
	     const std::vector<contender> &contenders, const char *unit = "Mops/s");

/* Makes contenders. */
using group = std::function<std::vector<contender>()>;

/*
 * For contenders that are too large to be alive together, at every thread count: `first` stays; each group is made, takes turns
 * with it, and is gone before the next one is made. The rounds of `first` are those beside all groups.
 */
void compete_in_groups(const settings &s, const char *workload, const char *key, size_t n, const contender &first,
		       const std::vector<group> &groups, const char *unit = "Mops/s");

} // namespace bench

#endif
