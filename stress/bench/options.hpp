/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/options.hpp - what the command line asks for. */
#ifndef HAPAX_BENCH_OPTIONS_HPP
#define HAPAX_BENCH_OPTIONS_HPP

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace bench {

enum class mode { quick, standard, full };

struct settings {
	bench::mode mode = bench::mode::standard;
	std::vector<unsigned> threads{1, 2, 8};
	std::vector<std::string> workloads{};          /* empty: all */
	std::vector<size_t> sizes{1000, 100000, 1000000}; /* w1 with 8-byte keys */
	std::vector<size_t> string_sizes{100000, 1000000}; /* w1 with 24-byte keys */
	std::vector<size_t> asked_sizes{};              /* --n; empty: every workload has its own */
	std::vector<std::string> subjects{};           /* these peers only; empty: all. hapax is always there */
	double seconds = 0.25;                         /* of one round */
	unsigned rounds = 7;
	uint64_t seed = 1;
	const char *json = nullptr, *html = nullptr;

	bool quick() const { return mode == bench::mode::quick; }
	/* Of the workloads of hits, which take most of the time: no bar of theirs is about more than two. */
	bool skips(unsigned count) const { return quick() && count > 2; }
	bool full() const { return mode == bench::mode::full; }
	const char *mode_name() const;
	bool wants(const char *workload) const;
	std::vector<size_t> sizes_or(const std::vector<size_t> &own) const { return asked_sizes.empty() ? own : asked_sizes; }
};

/* By --subject; of the settings last parsed. */
bool takes_part(const std::string &subject);

/* Ends the program when it cannot make sense of its arguments, and after --help and --list. */
settings parse(int argc, char **argv);

} // namespace bench

#endif
