/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/record.hpp - a run that has been written down: what rows.hpp describes as JSON, read again and checked. The page
 * and the comparison look at records only, so that an old file serves them as well as the run that has just ended.
 */
#ifndef HAPAX_BENCH_RECORD_HPP
#define HAPAX_BENCH_RECORD_HPP

#include <map>
#include <string>
#include <utility>
#include <vector>

struct json_object;

namespace bench {

/* One row. */
struct figure {
	std::string workload, subject, key, unit;
	double n = 0;
	unsigned threads = 0;
	std::vector<double> rounds{};
	double value = 0, min = 0, max = 0;
	std::map<std::string, std::vector<double>> latency{}; /* by name ("p50_ns"): the median, or its rounds */
	double hit_ratio = -1;				      /* below 0: none */
	std::map<std::string, double> further{};

	bool higher_is_better() const { return unit == "Mops/s"; }
	bool own() const { return subject.compare(0, 5, "hapax") == 0; }
	bool limit() const { return workload == "limit"; }
	/* What the measuring itself costs, as workload "w7-floor" for w7. */
	bool floor() const { return workload.size() > 6 && !workload.compare(workload.size() - 6, 6, "-floor"); }
	/* The same question, whoever answers it. */
	bool beside(const figure &other) const;
};

struct judged_bar {
	std::string name, workload, against;
	bool measured = false, at_most = false;
	double ratio = 0, must = 0, goal = 0; /* must, goal: 0 is none */
	bool holds = false, goal_holds = false;
};

struct record {
	std::string path;				       /* for messages */
	std::vector<std::pair<std::string, std::string>> head{}; /* when, on what machine, how: label and text */
	std::vector<figure> rows{};
	std::vector<judged_bar> bars{};
	std::vector<std::pair<std::string, std::string>> peers{}, absent{}; /* versions, and reasons */

	const figure *find(const figure &like) const; /* by workload, subject, key, n and threads */
};

/* Both return 0, or HPX_EXIT_INPUT after a message that says what is wrong where. */
int read_record(const char *path, record &to);
int read_record(json_object *root, const char *path, record &to);

/* Of unsorted values; between neighbours it interpolates. */
double quantile(std::vector<double> values, double part);

/* 1000 as "1,000", and 0 as "". */
std::string grouped(double whole);

} // namespace bench

#endif
