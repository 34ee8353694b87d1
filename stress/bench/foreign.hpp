/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/foreign.hpp - peers in other languages: programs of their own that take turns with the subjects in this process.
 *
 * Every program in the build's directory of peers is one; peers/README.md says how it is spoken to. A contender has a
 * process to itself, which waits for a line while others run, is ended with the contender, and dies with this program. A
 * peer that is not there, cannot do a workload or does not answer in time is reported as absent and is no error.
 */
#ifndef HAPAX_BENCH_FOREIGN_HPP
#define HAPAX_BENCH_FOREIGN_HPP

#include <functional>
#include <vector>

#include "compete.hpp"

namespace bench {

struct foreign_work {
	const char *workload, *key;
	size_t n;
	size_t draws = 0; /* w2: keys drawn beforehand for each thread */
};

/* Adds every peer that can do `work`, populated. `load_ns`, if any: how long a load takes, asked before each run. */
void add_foreign(std::vector<contender> &field, const settings &s, const foreign_work &work,
		 const std::function<uint64_t()> &load_ns = nullptr);
/* w6: adds every peer that can say what an entry of `key` takes. */
void add_foreign_memory(std::vector<contender> &field, const char *key, size_t n);

} // namespace bench

#endif
