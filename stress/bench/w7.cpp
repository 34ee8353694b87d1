/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/w7.cpp - W7: growth from nothing to n entries, the latency of each insert.
 *
 * An insert is what it is in every other workload: get() of an absent key, so that the object's allocation and the filling in
 * of its payload are part of it for every subject alike, and nobody is told beforehand how many entries there will be. The
 * clock is read once between two inserts: no pause falls between two readings.
 *
 * Every run is a process of its own, which gives all memory back at its end, and all of a run's own arrays are touched
 * before it. Afterwards every entry is looked up again: each has to be present, with its value.
 *
 * The longest insert of a run on a machine with other work says as much about that work as about the subject. So
 * inserts in which the kernel took the processor away are known (the thread's count of involuntary switches, looked at
 * after each slow insert), and the figures own_* are those of all others. w7-floor is the same run over nothing at
 * all: pauses of the machine itself.
 */
#include <sys/resource.h>

#include "compete.hpp"
#include "cycles.hpp"
#include "measure.hpp"
#include "peers.hpp"
#include "process.hpp"
#include "workload.hpp"

namespace bench {
namespace {

const double slow_ns = 10000; /* from here on it is worth asking the kernel */

struct growth {
	double mops;
	latencies all, own;
	uint64_t preempted;
};

long involuntary()
{
	rusage usage;
	return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_nivcsw;
}

/* One thread's inserts: their times in cycles, and which of them were interrupted. */
struct alignas(128) inserts {
	std::vector<uint32_t> times;
	std::vector<size_t> preempted;
	uint64_t loads = 0;
};

template <class Insert> void grow(inserts &mine, size_t from, size_t step, size_t n, Insert insert)
{
	const auto slow = uint64_t(slow_ns / cycles::ns_each());
	long switches = involuntary();
	size_t done = 0;

	for (uint64_t i = from, before = cycles::now(); i < n; i += step) {
		insert(i, mine);
		uint64_t now = cycles::now(), took = now - before;
		mine.times[done] = uint32_t(std::min<uint64_t>(took, UINT32_MAX));
		before = now;
		if (took > slow) {
			long s = involuntary();
			if (s != switches)
				mine.preempted.push_back(done);
			switches = s;
			before = cycles::now();
		}
		done++;
	}
	mine.times.resize(done);
}

latencies in_ns(std::vector<uint32_t> &times)
{
	double scale = cycles::ns_each();
	latencies l = percentiles(times);

	for (double latencies::*field : {&latencies::p50, &latencies::p99, &latencies::p999, &latencies::p9999, &latencies::max})
		l.*field *= scale;
	return l;
}

template <class Insert> growth run(unsigned threads, size_t n, Insert insert)
{
	std::vector<inserts> each(threads);
	std::vector<std::thread> pool;
	std::atomic<unsigned> ready{0};
	std::atomic<bool> go{false};
	growth r{};

	cycles::ns_each();
	for (inserts &mine : each) {
		mine.times.assign(n / threads + 1, 1);
		mine.preempted.reserve(4096);
	}
	for (unsigned t = 0; t < threads; t++)
		pool.emplace_back([&, t] {
			pin(t, threads);
			ready.fetch_add(1);
			while (!go.load(std::memory_order_acquire))
				sched_yield();
			grow(each[t], t, threads, n, insert);
		});
	while (ready.load() < threads)
		sched_yield();
	auto start = clock::now();
	go.store(true, std::memory_order_release);
	for (std::thread &thread : pool)
		thread.join();
	r.mops = double(n) / seconds_since(start) / 1e6;

	std::vector<uint32_t> all, own;
	uint64_t loads = 0;
	for (inserts &mine : each) {
		all.insert(all.end(), mine.times.begin(), mine.times.end());
		r.preempted += mine.preempted.size();
		loads += mine.loads;
		for (size_t place : mine.preempted)
			mine.times[place] = 0;
		own.insert(own.end(), mine.times.begin(), mine.times.end());
	}
	if (all.size() != n || loads != n)
		fatal("w7: %zu inserts and %llu loads of %zu keys", all.size(), static_cast<unsigned long long>(loads), n);
	r.all = in_ns(all);
	r.own = in_ns(own);
	return r;
}

template <class Subject> growth measure(unsigned threads, size_t n)
{
	using ref = typename Subject::ref;
	auto *subject = new Subject(0); /* never destroyed: the process ends */
	std::vector<ref> held(n);
	auto load_of = [](inserts &mine, uint64_t i) {
		return [&mine, i](payload &p) {
			for (auto &w : p.word)
				w = i;
			mine.loads++;
		};
	};

	/* the untouched pages of our own array are no business of an insert's */
	for (size_t i = 0; i < n; i++)
		reinterpret_cast<volatile char *>(held.data())[i * sizeof(ref)] = 0;
	growth r = run(threads, n, [&](uint64_t i, inserts &mine) {
		held[i] = subject->get(make_key<key_u64>(i), load_of(mine, i));
	});
	inserts again;
	for (uint64_t i = 0; i < n; i++) {
		auto found = subject->get(make_key<key_u64>(i), load_of(again, i));
		check_value(subject->value(found), i);
		subject->drop(std::move(found));
	}
	if (again.loads)
		fatal("w7: %s lost %llu of %zu entries", Subject::name(), static_cast<unsigned long long>(again.loads), n);
	new std::vector<ref>(std::move(held));
	return r;
}

growth measure_nothing(unsigned threads, size_t n)
{
	return run(threads, n, [](uint64_t i, inserts &mine) {
		/* as long as a quick insert takes */
		uint64_t x = i;
		for (int j = 0; j < 64; j++)
			x = mix(x);
		__asm__ volatile("" ::"r"(x));
		mine.loads++;
	});
}

/* One run in a process of its own. */
contender field_of(const char *name, size_t n, growth (*measure)(unsigned threads, size_t n))
{
	return {name, [n, measure](unsigned threads, uint64_t) {
			growth r = in_process<growth>([&] { return measure(threads, n); });
			sample s;
			s.value = r.mops;
			s.ns = r.all;
			s.figures = {{"own_p999_ns", r.own.p999}, {"own_p9999_ns", r.own.p9999}, {"own_max_ns", r.own.max},
				     {"preempted", double(r.preempted)}};
			return s;
		}};
}

void rows_of(const settings &s, size_t n)
{
	std::vector<contender> field;

	cycles::ns_each(); /* once, for all children */
	each_subject<key_u64>([&](auto tag) {
		using subject = typename decltype(tag)::type;
		field.push_back(field_of(subject::name(), n, measure<subject>));
	});
	for (unsigned t : s.threads)
		if (t <= std::thread::hardware_concurrency()) { /* more would measure the scheduler */
			compete(s, "w7", "u64", n, t, field);
			compete(s, "w7-floor", "u64", n, t, {field_of("empty loop", n, measure_nothing)});
		}
}

} // namespace

void run_w7(const settings &s)
{
	settings few = s; /* a run says something by itself: it has n inserts */

	few.rounds = std::min(s.full() ? 5u : 3u, s.rounds);
	for (size_t n : s.sizes_or({s.quick() ? 100000u : s.full() ? 10000000u : 1000000u}))
		rows_of(few, n);
}

} // namespace bench
