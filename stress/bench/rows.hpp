/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/rows.hpp - what was measured, in memory and as JSON.
 *
 * The JSON of `hapax-stress bench --json FILE`, an object:
 *
 *   command   "bench"
 *   version   of hapax
 *   mode      "quick", "default" or "full"
 *   seed, seconds (of one round), round_count, threads (the most), cores
 *   when, cpu, kernel, huge_pages, compiler, command_line    strings
 *   ok        every run ended and every value was right (a benchmark that finds a wrong value ends the program)
 *   peers     object: the version of each peer, by its name, as far as it says one
 *   absent    object: why a peer was left out, by "name, workload"
 *   rows      array, in the order measured (record.hpp reads them again):
 *     workload          "w1" .. "w11", "w10-20us", "limit"; the table in bench.cpp describes them
 *     subject           who was measured: "hapax", a peer, or the name of a limit
 *     key               "u64", "str24"; "" where there are no keys
 *     n                 objects, keys or whatever the workload counts
 *     threads           0 where it has no meaning
 *     unit              of `rounds`, `min` and `max`: "Mops/s" unless it says otherwise ("bytes", "ns", "s")
 *     rounds            the row's main figure in each of the interleaved rounds, in their order: row k of one subject ran
 *                       next to round k of the others; w1 of ten million objects has so many for each group of peers
 *                       that was alive beside hapax
 *     min, max          of `rounds`
 *     mops              median of `rounds` if the unit is "Mops/s", else 0
 *     value             median of `rounds`, whatever the unit
 *     p50_ns, p99_ns, p999_ns, p9999_ns, max_ns    latencies, each the median over the rounds; 0: not taken
 *     latency_rounds    object: those by name, of each round; absent if there are none
 *     bytes_per_entry   null but in w6
 *     hit_ratio         0 to 1, median; only where there is one
 *     figures           object of further figures by name, each the median over the rounds; absent if there are none
 *   limits    object: the value of each row of workload "limit" by subject name; for several thread counts
 *             "name, T threads" as well
 *   bars      array, in the order of the table in bars.cpp:
 *     name, workload
 *     against   the peer, limit or figure that `ratio` is a ratio to; "" if it is a figure by itself
 *     ratio     what was measured; null: a row it needs was not measured in this call
 *     must      what a release has to hold; null: no such bar
 *     goal      what we are after; null: no such bar
 *     at_most   true: `ratio` has to be at most `must`; false: at least
 *     holds     ratio against must; null if not measured or no such bar
 *     goal_holds  likewise
 */
#ifndef HAPAX_BENCH_ROWS_HPP
#define HAPAX_BENCH_ROWS_HPP

#include <cstddef>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

struct json_object;

namespace bench {

struct settings;
struct verdict;

/* Nanoseconds; 0: not taken. */
struct latencies {
	double p50 = 0, p99 = 0, p999 = 0, p9999 = 0, max = 0;
};

/* Among w10's figures of hapax: hits, 0 to 1, of requests that are the same for every number of threads. */
inline const char *const hits_of_same_requests = "hit_ratio_same_requests";

/* One round of one subject: the main figure, in the unit of its row, and what else the run says. */
struct sample {
	double value = 0;
	latencies ns{};
	double hit_ratio = -1; /* below 0: nothing */
	std::map<std::string, double> figures{};
};

struct row {
	std::string workload, subject, key;
	size_t n = 0;
	unsigned threads = 0;
	std::string unit = "Mops/s";
	std::vector<double> rounds{};
	latencies ns{};
	std::vector<latencies> ns_rounds{};
	double hit_ratio = -1;
	std::map<std::string, double> figures{};

	double value() const; /* the median */
	double min() const;
	double max() const;
};

double median(std::vector<double> values);

/* A row of the medians of `samples`. */
row make_row(const char *workload, const std::string &subject, const char *key, size_t n, unsigned threads,
	     const std::vector<sample> &samples, const char *unit = "Mops/s");

/* Everything measured so far. */
const std::vector<row> &rows();
/* Adds it and prints a line; `ratio` above 0: hapax's figure by this one. */
void report(const row &r, double ratio = 0);
/* What the JSON says of a peer's version. */
void note_version(const std::string &peer, const std::string &version);
/* Those of the peers that this program was compiled with. */
void note_own_versions();
/* A peer that is left out of a workload's rows: says so, once. */
void note_absent(const std::string &peer, const std::string &workload, const std::string &why);
const row *find(const std::string &workload, const std::string &subject, const std::string &key, size_t n, unsigned threads);

/* Where lines for people go: stdout, or stderr if the JSON takes stdout. */
extern FILE *human;

/* The whole JSON; the caller's. */
json_object *to_json(const settings &s, const std::vector<verdict> &bars);

} // namespace bench

#endif
