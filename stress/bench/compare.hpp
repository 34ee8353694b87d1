/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/compare.hpp - did hapax become slower from one record to another?
 *
 * Figures of two runs do not compare: the machine was busy with other things, or is another one. So a row of hapax is
 * taken by a reference that was measured beside it, round by round, and it is these ratios that are compared:
 *
 *   reference   the best peer that both records have of this row (best by the medians of the old one); without any, the
 *               limit of the machine that both have with this unit and number of threads (the one with this N if there is
 *               one); without that, nothing: then the plain figures are compared, and the table says so. Bytes do not
 *               depend on how busy a machine is and are always compared as they are.
 *   ratios      round i of hapax by round i of the reference; they ran next to each other. A limit has its own rounds at
 *               another time, so its median is taken. For figures of which less is better, the other way round: more is
 *               better in every ratio.
 *   change      median of the new ratios by the median of the old ones, less 1.
 *   noise       the interquartile range of the old ratios by their median, plus that of the new ones by theirs, times
 *               2.5, 1.8, 1.9, 1.3, 1 for 3 to 7 rounds (the fewer of the two), from there on falling with their square
 *               root. But at least three quarters of the median noise of all rows, as few rounds agree by chance now and
 *               then (not for bytes). Simulated, with 7 rounds and nothing changed, 1 row of 1,000 is called worse.
 *   verdict     "worse" or "better" if the change is beyond the threshold and beyond the noise; "noisy" if it is beyond
 *               the threshold only: more rounds would tell; otherwise "same". With fewer than 3 rounds: "unknown"
 *               (bytes are counted, not timed: for them one round is enough, and the factor is 1).
 */
#ifndef HAPAX_BENCH_COMPARE_HPP
#define HAPAX_BENCH_COMPARE_HPP

#include <cstdio>
#include <string>
#include <vector>

#include "record.hpp"

namespace bench {

enum class change_kind { same, better, worse, noisy, unknown };

struct change {
	const figure *before, *after;
	std::string reference{};
	bool plain = true; /* no reference */
	bool known = false; /* enough rounds */
	double old_ratio = 0, new_ratio = 0;
	double part = 0, noise = 0; /* 0.05: 5 % better; above what it is not noise */
	change_kind kind = change_kind::unknown;

	/* for people: the reference, and the ratios or the figures as they are */
	std::string by() const;
	double shown_before() const, shown_after() const;
};

struct comparison {
	const record *before, *after;
	double threshold; /* a part, not per cent */
	std::vector<change> changes{};
	std::vector<const figure *> added{}; /* rows of hapax that the old record does not have */

	size_t count(change_kind kind) const;
	std::string summary() const;
};

/*
 * Makes rows of the latencies p99, p99.9 and p99.99 where their rounds are known, to be compared as others are; the longest
 * is one sample and says too little.
 */
void add_latencies(record &r);

/* Returns 0, or HPX_EXIT_INPUT after a message: rows are missing in the new record, or there twice, or there are none. */
int compare(comparison &to);
void print(const comparison &c, std::FILE *to);
int write_page(const comparison &c, const char *path);

const char *name_of(change_kind kind);
std::string called(const figure &f); /* "w1 hapax, u64 keys, N = 1,000, 2 threads" */

/*
 * The command line of what measures nothing: --compare OLD NEW, --from FILE. Returns -1 if it is not one of these, or an
 * exit status.
 */
int without_measuring(int argc, char **argv);

} // namespace bench

#endif
