/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/workloads.hpp - the workloads, each a template over the subject so that every peer is compiled as its users
 * would compile it. One call is one measured run; bench.cpp interleaves the runs of all subjects and takes medians.
 */
#ifndef HAPAX_BENCH_WORKLOADS_HPP
#define HAPAX_BENCH_WORKLOADS_HPP

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* What a run says beside its rate; hit_ratio below 0: nothing. */
struct latencies {
	double p50 = 0, p99 = 0, p999 = 0, p9999 = 0, max = 0, hit_ratio = -1;
};

inline latencies percentiles(std::vector<uint32_t> &ns)
{
	latencies l;
	if (ns.empty())
		return l;
	std::sort(ns.begin(), ns.end());
	auto at = [&](double q) { return double(ns[std::min(ns.size() - 1, size_t(q * double(ns.size())))]); };
	l = {at(.5), at(.99), at(.999), at(.9999), double(ns.back()), -1};
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

/* Runs op(thread, random) on `threads` threads for `seconds`; Mops/s in all. */
template <class Op> double run_threads(unsigned threads, double seconds, uint64_t seed, Op op)
{
	std::atomic<unsigned> ready{0};
	std::atomic<bool> go{false}, stop{false};
	std::atomic<uint64_t> operations{0};
	std::vector<std::thread> pool;

	for (unsigned t = 0; t < threads; t++)
		pool.emplace_back([&, t] {
			random_source random(seed * 131 + t);
			uint64_t done = 0;
			pin(t, threads);
			ready.fetch_add(1);
			while (!go.load(std::memory_order_acquire))
				sched_yield();
			for (; !stop.load(std::memory_order_relaxed); done += 128)
				for (int i = 0; i < 128; i++)
					op(t, random);
			operations.fetch_add(done);
		});
	while (ready.load() < threads)
		sched_yield();
	auto start = clock::now();
	go.store(true, std::memory_order_release);
	std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
	stop.store(true);
	for (auto &thread : pool)
		thread.join();
	return double(operations.load()) / seconds_since(start) / 1e6;
}

inline void check_value(uint64_t got, uint64_t want)
{
	if (__builtin_expect(got != want, 0)) {
		std::fprintf(stderr, "bench: wrong value for key %llu\n", static_cast<unsigned long long>(want));
		std::exit(1);
	}
}

/* Objects that stay alive for hit workloads. */
template <template <class> class Subject, class Key> struct populated {
	Subject<Key> subject;
	std::vector<typename Subject<Key>::ref> held;

	explicit populated(size_t n) : subject(n)
	{
		held.reserve(n);
		for (size_t i = 0; i < n; i++)
			held.push_back(subject.get(make_key<Key>(i), [i](payload &p) { p.word[0] = i; }));
	}
	~populated()
	{
		for (auto &r : held)
			subject.drop(std::move(r));
	}
	double hits(unsigned threads, double seconds, uint64_t seed) /* W1; with n = 1 it is W3 */
	{
		uint64_t n = held.size();
		return run_threads(threads, seconds, seed, [&](unsigned, random_source &random) {
			uint64_t i = random.below(n);
			auto r = subject.get(make_key<Key>(i), [i](payload &p) { p.word[0] = i; });
			check_value(subject.value(r), i);
			subject.drop(std::move(r));
		});
	}
	/* W5b: hits of one thread while another loads absent keys, 1 ms each, all the time */
	double hits_while_loading(double seconds, uint64_t seed, latencies &out)
	{
		std::atomic<bool> stop{false};
		uint64_t n = held.size();
		std::thread loader([&] {
			for (uint64_t i = UINT64_C(1) << 40; !stop.load(std::memory_order_relaxed); i++) {
				auto r = subject.get(make_key<Key>(i), [i](payload &p) {
					std::this_thread::sleep_for(std::chrono::milliseconds(1));
					p.word[0] = i;
				});
				subject.drop(std::move(r));
			}
		});
		std::vector<uint32_t> ns;
		ns.reserve(size_t(seconds * 2e7));
		double rate = run_threads(1, seconds, seed, [&](unsigned, random_source &random) {
			uint64_t i = random.below(n);
			auto start = clock::now();
			auto r = subject.get(make_key<Key>(i), [i](payload &p) { p.word[0] = i; });
			subject.drop(std::move(r));
			auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - start).count();
			if (ns.size() < ns.capacity())
				ns.push_back(uint32_t(std::min<long long>(took, UINT32_MAX)));
		});
		stop.store(true);
		loader.join();
		out = percentiles(ns);
		return rate;
	}
};

/* W4: nobody holds anything: nearly every get creates and nearly every release kills. */
template <template <class> class Subject, class Key> struct churned {
	Subject<Key> subject;
	size_t n;

	explicit churned(size_t keys) : subject(keys), n(keys) {}
	double churn(unsigned threads, double seconds, uint64_t seed)
	{
		return run_threads(threads, seconds, seed, [&](unsigned, random_source &random) {
			uint64_t i = random.below(n);
			auto r = subject.get(make_key<Key>(i), [i](payload &p) {
				for (auto &w : p.word)
					w = i;
			});
			check_value(subject.value(r), i);
			subject.drop(std::move(r));
		});
	}
};

/*
 * W10: a cache at its bound. Keys follow Zipf's law with exponent 0.99: with 300,000 keys and room for 50,000, exact LRU
 * misses 20.1 % (Che's approximation). Drawn by the alias method (Walker 1977; tables after Vose 1991), which costs less
 * than a hit.
 */
class zipf_keys {
	struct cell {
		uint32_t cut, other; /* below `cut` of 2^32: the cell's own key, else the other one */
	};
	std::vector<cell> cells_;

public:
	zipf_keys(uint32_t keys, double exponent) : cells_(keys)
	{
		std::vector<double> share(keys);
		std::vector<uint32_t> poor, rich;
		double all = 0;

		for (uint32_t k = 0; k < keys; k++)
			all += share[k] = std::pow(k + 1.0, -exponent);
		for (uint32_t k = 0; k < keys; k++) {
			share[k] *= keys / all;
			cells_[k] = {UINT32_MAX, k};
			(share[k] < 1 ? poor : rich).push_back(k);
		}
		while (!poor.empty() && !rich.empty()) {
			uint32_t p = poor.back(), r = rich.back();

			poor.pop_back();
			cells_[p] = {static_cast<uint32_t>(share[p] * 0x1p32), r};
			share[r] -= 1 - share[p];
			if (share[r] < 1) {
				rich.pop_back();
				poor.push_back(r);
			}
		}
	}
	uint64_t draw(random_source &random) const
	{
		uint64_t place = random.below(uint64_t(cells_.size()) << 32);
		const cell &c = cells_[place >> 32];

		return static_cast<uint32_t>(place) < c.cut ? place >> 32 : c.other;
	}
};

template <class Subject, class Key> struct bounded {
	struct alignas(128) tally {
		uint64_t gets = 0, loads = 0;
	};
	std::unique_ptr<Subject> subject;
	std::shared_ptr<const zipf_keys> keys;
	uint64_t runs = 0;

	bounded(std::unique_ptr<Subject> s, std::shared_ptr<const zipf_keys> k, size_t warm_up)
		: subject(std::move(s)), keys(std::move(k))
	{
		random_source random(warm_up);
		tally t;

		for (size_t i = 0; i < warm_up; i++)
			step(t, random, std::chrono::nanoseconds(0));
	}
	void step(tally &t, random_source &random, std::chrono::nanoseconds load)
	{
		uint64_t i = keys->draw(random);

		t.gets++;
		auto r = subject->get(make_key<Key>(i), [&](payload &p) {
			t.loads++;
			if (load.count())
				for (auto end = clock::now() + load; clock::now() < end;)
					;
			p.word[0] = i;
		});
		check_value(subject->value(r), i);
		subject->drop(std::move(r));
	}
	double run(unsigned threads, double seconds, uint64_t seed, std::chrono::nanoseconds load, latencies &out)
	{
		std::vector<tally> tallies(threads);
		uint64_t gets = 0, loads = 0;

		/* never the requests of an earlier run: they are in the cache */
		double rate = run_threads(threads, seconds, seed * 1009 + ++runs * 100003, [&](unsigned t, random_source &random) {
			step(tallies[t], random, load);
		});
		for (const tally &t : tallies) {
			gets += t.gets;
			loads += t.loads;
		}
		out.hit_ratio = gets ? 1 - double(loads) / double(gets) : 0;
		return rate;
	}
};

inline size_t resident_bytes()
{
	unsigned long total = 0, resident = 0;
	FILE *f = std::fopen("/proc/self/statm", "r");
	if (!f || std::fscanf(f, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	if (f)
		std::fclose(f);
	return resident * size_t(sysconf(_SC_PAGESIZE));
}

/* W6: bytes an entry net of its payload, in a process of its own (the caller must not have threads). */
template <template <class> class Subject, class Key> double memory_per_entry(size_t n)
{
	int channel[2];
	double bytes = -1;

	std::fflush(nullptr);
	if (pipe(channel))
		return -1;
	pid_t child = fork();
	if (child == 0) {
		std::vector<typename Subject<Key>::ref> held(n);
		std::memset(static_cast<void *>(held.data()), 0, n * sizeof held[0]);
		size_t before = resident_bytes();
		auto *subject = new Subject<Key>(0);
		for (size_t i = 0; i < n; i++)
			held[i] = subject->get(make_key<Key>(i), [i](payload &p) {
				for (auto &w : p.word)
					w = i;
			});
		bytes = double(resident_bytes() - before) / double(n) - double(sizeof(payload));
		_exit(write(channel[1], &bytes, sizeof bytes) == sizeof bytes ? 0 : 1);
	}
	close(channel[1]);
	if (child < 0 || read(channel[0], &bytes, sizeof bytes) != sizeof bytes)
		bytes = -1;
	close(channel[0]);
	if (child > 0)
		waitpid(child, nullptr, 0);
	return bytes;
}

} // namespace bench

#endif
