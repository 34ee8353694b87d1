/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/cycles.hpp - a clock cheap enough to be read around every operation.
 *
 * The processor's counter, where it runs at a constant rate whatever the core does, calibrated in this run against
 * CLOCK_MONOTONIC; elsewhere CLOCK_MONOTONIC itself. What a reading costs is one of the limits that are measured beside the
 * workloads ("clock, ours").
 */
#ifndef HAPAX_BENCH_CYCLES_HPP
#define HAPAX_BENCH_CYCLES_HPP

#include <algorithm>
#include <cstdint>

#include <time.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <x86intrin.h>
#endif

namespace bench {

inline uint64_t system_ns()
{
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return uint64_t(t.tv_sec) * UINT64_C(1000000000) + uint64_t(t.tv_nsec);
}

class cycles {
	static uint64_t counter()
	{
#if defined(__x86_64__)
		return __rdtsc();
#elif defined(__aarch64__)
		uint64_t value;
		__asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
		return value;
#else
		return system_ns();
#endif
	}
	static bool constant_rate()
	{
#if defined(__x86_64__)
		unsigned a, b, c, d;
		return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8); /* "invariant TSC" */
#else
		return true;
#endif
	}
	static double calibrate()
	{
		double scale[5];

		for (double &s : scale) { /* the median of five: a preemption between the two readings spoils one */
			uint64_t ns = system_ns(), ticks = counter(), end = ns;
			while (end - ns < 4000000)
				end = system_ns();
			s = double(end - ns) / double(counter() - ticks);
		}
		std::sort(scale, scale + 5);
		return scale[2];
	}
	static inline const bool usable = constant_rate();

public:
	static uint64_t now() { return __builtin_expect(usable, 1) ? counter() : system_ns(); }
	static double ns_each()
	{
		static const double scale = usable ? calibrate() : 1;
		return scale;
	}
};

} // namespace bench

#endif
