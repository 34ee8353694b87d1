/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/w5.cpp - storms. W5: all threads ask at once for a key that is missing, whose load takes 1 ms. W5b: hits of one
 * thread while another loads missing keys, 1 ms each, all the time.
 */
#include <condition_variable>
#include <mutex>

#include "compete.hpp"
#include "peers.hpp"
#include "populated.hpp"
#include "workload.hpp"

namespace bench {

static const auto load_time = std::chrono::milliseconds(1);

static uint32_t ns_since(clock::time_point start)
{
	auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - start).count();

	return uint32_t(std::min<long long>(took, UINT32_MAX));
}

/* All threads meet here, and go on together. */
class meeting {
	std::atomic<unsigned> arrived_{0};
	unsigned threads_;

public:
	explicit meeting(unsigned threads) : threads_(threads) {}
	void wait()
	{
		unsigned turn = arrived_.fetch_add(1) / threads_;

		while (arrived_.load(std::memory_order_acquire) / threads_ == turn)
			sched_yield();
	}
};

struct storm_tally {
	std::vector<uint32_t> waits, loads; /* ns, of all who did not load; of the loads themselves */
};

template <class Subject> static void storm(Subject &subject, unsigned threads, unsigned keys, uint64_t first, storm_tally &out)
{
	meeting together(threads);
	std::vector<storm_tally> tallies(threads);
	std::vector<std::thread> pool;

	for (unsigned t = 0; t < threads; t++)
		pool.emplace_back([&, t] {
			pin(t, threads);
			for (uint64_t i = first; i < first + keys; i++) {
				bool loaded = false;
				together.wait();
				auto start = clock::now();
				auto r = subject.get(make_key<key_u64>(i), [&](payload &p) {
					auto begun = clock::now();
					std::this_thread::sleep_for(load_time);
					p.word[0] = i;
					loaded = true;
					tallies[t].loads.push_back(ns_since(begun));
				});
				if (!loaded)
					tallies[t].waits.push_back(ns_since(start));
				check_value(subject.value(r), i);
				together.wait(); /* nobody lets go before all have it: the late ones would load again */
				subject.drop(std::move(r));
			}
		});
	for (auto &thread : pool)
		thread.join();
	for (const storm_tally &t : tallies) {
		out.waits.insert(out.waits.end(), t.waits.begin(), t.waits.end());
		out.loads.insert(out.loads.end(), t.loads.begin(), t.loads.end());
	}
}

/* From a wake-up to the sleeper's next instruction, median of a few, ns. */
static double wake_up_ns()
{
	std::atomic<bool> asleep{false};
	std::mutex mutex;
	std::condition_variable condition;
	std::vector<uint32_t> ns;
	clock::time_point woken;
	unsigned done = 0;
	const unsigned turns = 64;

	std::thread sleeper([&] {
		for (unsigned i = 0; i < turns; i++) {
			std::unique_lock<std::mutex> lock(mutex);
			asleep.store(true);
			condition.wait(lock, [&] { return done > i; });
			ns.push_back(ns_since(woken));
		}
	});
	for (unsigned i = 0; i < turns; i++) {
		while (!asleep.exchange(false))
			sched_yield();
		std::this_thread::sleep_for(std::chrono::microseconds(200));
		std::lock_guard<std::mutex> lock(mutex);
		done++;
		woken = clock::now();
		condition.notify_one();
	}
	sleeper.join();
	return percentiles(ns).p50;
}

void run_w5(const settings &s)
{
	const unsigned keys = s.quick() ? 20 : 100;
	std::vector<contender> field;
	double wake_up = wake_up_ns();

	each_subject<key_u64>([&](auto tag) {
		using subject = typename decltype(tag)::type;
		auto p = std::make_shared<subject>(keys);
		auto runs = std::make_shared<uint64_t>(0);
		field.push_back({subject::name(), [=](unsigned threads, uint64_t) {
			storm_tally tally;
			sample out;
			auto start = clock::now();

			storm(*p, threads, keys, ++*runs << 32, tally);
			out.value = seconds_since(start) * 1e3 / keys;
			out.figures["loads_per_key"] = double(tally.loads.size()) / keys;
			out.figures["load_p50_ns"] = percentiles(tally.loads).p50;
			out.figures["wake_up_ns"] = wake_up;
			out.ns = percentiles(tally.waits);
			return out;
		}});
	});
	settings few = s; /* a run is 100 loads long */
	few.rounds = std::min(3u, s.rounds);
	for (unsigned t : s.threads)
		if (t > 1)
			compete(few, "w5", "u64", keys, t, field, "ms a key");
}

/* ---- W5b ---- */

template <class Subject> static sample hits_meanwhile(populated<Subject, key_u64> &p, double seconds, uint64_t seed, bool loading)
{
	std::atomic<bool> stop{false};
	uint64_t n = p.held.size(), operations = 0;
	std::vector<uint32_t> ns;
	sample out;

	std::thread loader([&] {
		for (uint64_t i = UINT64_C(1) << 40; loading && !stop.load(std::memory_order_relaxed); i++) {
			auto r = p.subject->get(make_key<key_u64>(i), [i](payload &to) {
				std::this_thread::sleep_for(load_time);
				to.word[0] = i;
			});
			p.subject->drop(std::move(r));
		}
	});
	ns.reserve(size_t(seconds * 5e6));
	out.value = run_threads(1, seconds, seed, [&](unsigned, random_source &random) {
		if (operations++ % 8 || ns.size() == ns.capacity()) { /* a look at the clock costs more than a hit */
			p.hit(random.below(n));
			return;
		}
		auto start = clock::now();
		p.hit(random.below(n));
		ns.push_back(ns_since(start));
	});
	stop.store(true);
	loader.join();
	out.ns = percentiles(ns);
	return out;
}

void run_w5b(const settings &s)
{
	const size_t n = 100000;
	std::vector<contender> field;
	std::shared_ptr<populated<hapax_subject<key_u64>, key_u64>> ours;

	each_subject<key_u64>([&](auto tag) {
		using subject = typename decltype(tag)::type;
		auto p = std::make_shared<populated<subject, key_u64>>(n);
		if constexpr (std::is_same_v<subject, hapax_subject<key_u64>>)
			ours = p;
		field.push_back({subject::name(), [p, seconds = s.seconds](unsigned, uint64_t seed) {
			return hits_meanwhile(*p, seconds, seed, true);
		}});
	});
	field.push_back({"hapax, nothing loading", [ours, seconds = s.seconds](unsigned, uint64_t seed) {
		return hits_meanwhile(*ours, seconds, seed, false);
	}});
	compete(s, "w5b", "u64", n, 1, field);
}

} // namespace bench
