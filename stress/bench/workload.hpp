/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/workload.hpp - one table of workloads; each file defines its own and bench.cpp lists them. */
#ifndef HAPAX_BENCH_WORKLOAD_HPP
#define HAPAX_BENCH_WORKLOAD_HPP

#include "options.hpp"

namespace bench {

struct workload {
	const char *name; /* as --workload takes it, and as its rows begin */
	const char *description;
	void (*run)(const settings &); /* measures and reports rows */
};

extern const workload all_workloads[]; /* ends with a name of NULL; in the order they run */

void run_check(const settings &);
void run_w1(const settings &);
void run_w2(const settings &);
void run_w3(const settings &);
void run_w4(const settings &);
void run_w5(const settings &);
void run_w5b(const settings &);
void run_w6(const settings &);
void run_w7(const settings &);
void run_w8(const settings &);
void run_w9(const settings &);
void run_w10(const settings &);
void run_w11(const settings &);
void run_limits(const settings &);

} // namespace bench

#endif
