/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/measure.hpp - clock, random numbers, threads that start together: what every workload's runs are made of. */
#ifndef HAPAX_BENCH_MEASURE_HPP
#define HAPAX_BENCH_MEASURE_HPP

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sched.h>

#include "rows.hpp"
#include "subject.hpp"

namespace bench {

using clock = std::chrono::steady_clock;

inline double seconds_since(clock::time_point start)
{
	return std::chrono::duration<double>(clock::now() - start).count();
}

struct random_source { /* xorshift64*, Vigna 2016 */
	uint64_t state;
	explicit random_source(uint64_t seed) : state(mix(seed) | 1) {}
	uint64_t below(uint64_t n)
	{
		state ^= state >> 12;
		state ^= state << 25;
		state ^= state >> 27;
		__extension__ using wide = unsigned __int128;
		return static_cast<uint64_t>(static_cast<wide>(state * UINT64_C(0x2545f4914f6cdd1d)) * n >> 64);
	}
};

/* Sorts `ns`. */
inline latencies percentiles(std::vector<uint32_t> &ns)
{
	latencies l;
	if (ns.empty())
		return l;
	std::sort(ns.begin(), ns.end());
	auto at = [&](double q) { return double(ns[std::min(ns.size() - 1, size_t(q * double(ns.size())))]); };
	l = {at(.5), at(.99), at(.999), at(.9999), double(ns.back())};
	return l;
}

inline void pin(unsigned thread, unsigned threads)
{
	unsigned cores = std::thread::hardware_concurrency();
	if (threads > cores)
		return;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET((cores - 1 - thread) % cores, &set);
	pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

/* Runs op(thread, random) on `threads` threads for `seconds`, after a quarter of that uncounted, in which what others pushed out
 * of the processor's caches comes back; Mops/s in all. A thread that gets nothing done in the time, because others have the
 * processor, does so after it, and the time is longer. */
template <class Op> double run_threads(unsigned threads, double seconds, uint64_t seed, Op op)
{
	std::atomic<unsigned> ready{0};
	std::atomic<bool> go{false}, counting{false}, stop{false};
	std::atomic<uint64_t> operations{0};
	std::atomic<clock::rep> end{0}; /* of the last one: not when the threads have ended, which is no operation */
	std::vector<std::thread> pool;

	for (unsigned t = 0; t < threads; t++)
		pool.emplace_back([&, t] {
			random_source random(seed * 131 + t);
			uint64_t done = 0;
			bool counted = false;
			pin(t, threads);
			ready.fetch_add(1);
			while (!go.load(std::memory_order_acquire))
				sched_yield();
			for (; !stop.load(std::memory_order_relaxed) || !done; done += counted ? 128 : 0) {
				counted = counting.load(std::memory_order_relaxed);
				for (int i = 0; i < 128; i++)
					op(t, random);
			}
			clock::rep now = clock::now().time_since_epoch().count(), latest = end.load();
			while (latest < now && !end.compare_exchange_weak(latest, now))
				;
			operations.fetch_add(done);
		});
	while (ready.load() < threads)
		sched_yield();
	go.store(true, std::memory_order_release);
	std::this_thread::sleep_for(std::chrono::duration<double>(seconds / 4));
	auto start = clock::now();
	counting.store(true);
	std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
	stop.store(true);
	for (auto &thread : pool)
		thread.join();
	return double(operations.load()) / std::chrono::duration<double>(clock::duration(end.load()) - start.time_since_epoch()).count() /
	       1e6;
}

inline void check_value(uint64_t got, uint64_t want)
{
	if (__builtin_expect(got != want, 0)) {
		std::fprintf(stderr, "bench: wrong value for key %llu\n", static_cast<unsigned long long>(want));
		std::exit(1);
	}
}

} // namespace bench

#endif
