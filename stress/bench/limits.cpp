/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/limits.cpp - what this machine can do at best, measured beside the workloads in the same call: the least that any
 * cache of this kind has to do, without the cache. Rows of workload "limit".
 *
 *      add+sub, one word      an atomic add and sub on one word by all threads: a reference taken and given back
 *      add+sub, own word      on a word per thread: the same with striped counts
 *      line+object+count      a line of the table, then an object it points to, and an add and sub there: a hit without
 *                             hash, tags and read section. Objects and lines lie as in an ideal cache: six pointers
 *                             a line, objects of 96 bytes, key and count in one line; the table's order is random
 *      two misses, miss       loads from memory that no cache holds: two that need not wait for one another, and one
 *                             that says where the next is
 *      XXH3 of 8 bytes        independent of one another, and each of the one before ("latency")
 *      section                lock and unlock of liburcu's bp flavour: inline code, and calls
 *      clock                  readings of clocks
 *      wake-up                from just before the call that wakes until the sleeper runs again, which slept on another
 *                             core; "sleep of 1 ms": what a load that sleeps so long takes
 */
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <memory>
#include <mutex>

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compete.hpp"
#include "cycles.hpp"
#include "measure.hpp"
#include "process.hpp"
#include "sections.h"
#include "workload.hpp"

namespace bench {
namespace {

/* Memory in pages of the kind that is asked for (huge ones are a wish), zeroed and touched. */
template <class T> class pages {
	size_t bytes_;
	void *at_;

	static const size_t huge = 2 << 20;

public:
	pages(size_t n, bool large) : bytes_((n * sizeof(T) + huge - 1) / huge * huge + huge)
	{
		at_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (at_ == MAP_FAILED)
			fatal("limit: no memory");
		madvise(at_, bytes_, large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	}
	pages(const pages &) = delete;
	pages &operator=(const pages &) = delete;
	~pages() { munmap(at_, bytes_); }
	T &operator[](size_t i) const
	{
		return reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(at_) + huge - 1) / huge * huge)[i];
	}
};

/* A permutation of 0 to n - 1. */
std::vector<uint32_t> shuffled(size_t n, uint64_t seed)
{
	std::vector<uint32_t> order(n);
	random_source random(seed);

	for (size_t i = 0; i < n; i++)
		order[i] = uint32_t(i);
	for (size_t i = n; i > 1; i--)
		std::swap(order[i - 1], order[random.below(i)]);
	return order;
}

sample rate(double mops)
{
	sample s;
	s.value = mops;
	return s;
}

/* ---- counts ------------------------------------------------------------------------------------------------------ */

struct alignas(128) counter {
	std::atomic<uint64_t> value{0};
	uint64_t seen = 0;
};

sample add_and_sub(bool one, unsigned threads, double seconds, uint64_t seed)
{
	std::vector<counter> words(threads);
	sample s = rate(run_threads(threads, seconds, seed, [&](unsigned t, random_source &) {
		std::atomic<uint64_t> &word = words[one ? 0 : t].value;
		word.fetch_add(1, std::memory_order_acquire);
		word.fetch_sub(1, std::memory_order_release);
	}));
	for (const counter &c : words)
		if (c.value)
			fatal("limit: a count ended with %llu", static_cast<unsigned long long>(c.value));
	return s;
}

/* ---- a hit without the cache ------------------------------------------------------------------------------------------- */

class ideal_cache {
	struct object {
		uint64_t key, word, meta;
		std::atomic<uint64_t> count;
		payload data;
	};
	static_assert(sizeof(object) == 96, "key and count in one line, wherever an object begins");
	static const unsigned used = 6;
	struct line {
		uint64_t control;
		object *slot[7];
	};
	size_t n_;
	pages<object> objects_;
	pages<line> lines_;

public:
	ideal_cache(size_t n, bool large) : n_(n), objects_(n, large), lines_(n / used + 1, large)
	{
		std::vector<uint32_t> order = shuffled(n, n);

		for (size_t i = 0; i < n; i++) {
			object &o = objects_[order[i]];
			new (&o) object{i, 0, 0, {0}, {}};
			lines_[i / used].slot[i % used] = &o;
		}
	}
	sample run(unsigned threads, double seconds, uint64_t seed)
	{
		std::vector<counter> seen(threads);
		sample s = rate(run_threads(threads, seconds, seed, [&](unsigned t, random_source &random) {
			uint64_t i = random.below(n_);
			object *o = lines_[i / used].slot[i % used];

			seen[t].seen += o->count.fetch_add(1, std::memory_order_acquire) != 0;
			check_value(o->key, i);
			o->count.fetch_sub(1, std::memory_order_release);
		}));
		for (size_t i = 0; i < n_; i++)
			if (objects_[i].count)
				fatal("limit: an object is still referred to");
		for (const counter &c : seen)
			if (threads == 1 && c.seen)
				fatal("limit: an object was referred to already");
		return s;
	}
};

/* ---- memory ------------------------------------------------------------------------------------------------------ */

class far_memory {
	struct line {
		uint64_t number, next;
		uint64_t pad[6];
	};
	size_t n_;
	pages<line> lines_;

public:
	explicit far_memory(size_t n) : n_(n), lines_(n, true)
	{
		std::vector<uint32_t> order = shuffled(n, n);

		for (size_t i = 0; i < n; i++) {
			lines_[order[i]].number = order[i];
			lines_[order[i]].next = order[(i + 1) % n]; /* one cycle through all */
		}
	}
	sample two(double seconds, uint64_t seed)
	{
		return rate(run_threads(1, seconds, seed, [&](unsigned, random_source &random) {
			uint64_t a = random.below(n_), b = random.below(n_);
			check_value(lines_[a].number + lines_[b].number, a + b);
		}));
	}
	sample one(double seconds, uint64_t seed)
	{
		uint64_t at = seed % n_;
		return rate(run_threads(1, seconds, seed, [&](unsigned, random_source &) {
			at = lines_[at].next;
			check_value(at < n_, true);
		}));
	}
};

/* ---- the processor --------------------------------------------------------------------------------------------------- */

const unsigned at_once = 64; /* of what is too short to be an operation of its own */

sample hashes(bool dependent, double seconds, uint64_t seed)
{
	uint64_t x = seed;
	bool differ = false;
	sample s = rate(at_once * run_threads(1, seconds, seed, [&](unsigned, random_source &) {
		for (unsigned i = 0; i < at_once; i++) {
			uint64_t h = XXH3_64bits(&x, sizeof x);
			__asm__ volatile("" ::"r"(h));
			differ |= h != x;
			x = dependent ? h : x + 1;
		}
	}));
	if (!differ)
		fatal("limit: a hash is the identity");
	return s;
}

sample sections(unsigned (*pairs)(unsigned), double seconds, uint64_t seed)
{
	return rate(at_once * run_threads(1, seconds, seed, [&](unsigned, random_source &) {
		if (pairs(at_once) != 2)
			fatal("limit: a read section is none");
	}));
}

template <class Read> sample readings(Read read, double seconds, uint64_t seed)
{
	uint64_t before = 0;
	return rate(run_threads(1, seconds, seed, [&, read](unsigned, random_source &) {
		uint64_t now = read();
		if (now < before)
			fatal("limit: a clock went back");
		before = now;
	}));
}

/* ---- waking somebody up ------------------------------------------------------------------------------------------------ */

class by_futex {
	std::atomic<uint32_t> turn_{0};

	void call(int operation, uint32_t value) { syscall(SYS_futex, &turn_, operation, value, nullptr, nullptr, 0); }

public:
	void wait(uint32_t turn)
	{
		while (turn_.load(std::memory_order_acquire) != turn)
			call(FUTEX_WAIT_PRIVATE, turn - 1);
	}
	void wake(uint32_t turn)
	{
		turn_.store(turn, std::memory_order_release);
		call(FUTEX_WAKE_PRIVATE, INT_MAX);
	}
};

class by_condition {
	std::mutex mutex_;
	std::condition_variable changed_;
	uint32_t turn_ = 0;

public:
	void wait(uint32_t turn)
	{
		std::unique_lock<std::mutex> guard(mutex_);
		changed_.wait(guard, [&] { return turn_ == turn; });
	}
	void wake(uint32_t turn)
	{
		{
			std::lock_guard<std::mutex> guard(mutex_);
			turn_ = turn;
		}
		changed_.notify_all();
	}
};

class by_pipe {
	int ends_[2];

public:
	by_pipe()
	{
		if (pipe(ends_))
			fatal("limit: no pipe");
	}
	~by_pipe()
	{
		close(ends_[0]);
		close(ends_[1]);
	}
	void wait(uint32_t turn)
	{
		uint32_t got = 0;
		if (read(ends_[0], &got, sizeof got) != sizeof got || got != turn)
			fatal("limit: a pipe gave something else");
	}
	void wake(uint32_t turn)
	{
		if (write(ends_[1], &turn, sizeof turn) != sizeof turn)
			fatal("limit: a pipe took nothing");
	}
};

const std::chrono::milliseconds load_time(1);

/* `ns` in microseconds, the median the main figure. */
sample in_us(std::vector<uint32_t> &ns)
{
	sample s;
	s.ns = percentiles(ns);
	s.value = s.ns.p50 / 1e3;
	return s;
}

template <class Way> sample wake_ups(double seconds)
{
	uint32_t turns = uint32_t(std::max(seconds / 1e-3, 20.0));
	std::vector<uint32_t> ns;
	std::atomic<uint64_t> stamp{0};
	Way there, back;
	std::thread sleeper([&] {
		pin(1, 2);
		for (uint32_t turn = 1; turn <= turns; turn++) {
			there.wait(turn);
			uint64_t now = system_ns(), then = stamp.load(std::memory_order_acquire);
			if (now < then)
				fatal("limit: awake before it was woken");
			ns.push_back(uint32_t(std::min<uint64_t>(now - then, UINT32_MAX)));
			back.wake(turn);
		}
	});
	std::thread waker([&] {
		pin(0, 2);
		for (uint32_t turn = 1; turn <= turns; turn++) {
			std::this_thread::sleep_for(load_time);
			stamp.store(system_ns(), std::memory_order_release);
			there.wake(turn);
			back.wait(turn);
		}
	});
	waker.join();
	sleeper.join();
	return in_us(ns);
}

sample sleeps(double seconds)
{
	uint32_t turns = uint32_t(std::max(seconds / 1e-3, 20.0));
	std::vector<uint32_t> ns;

	for (uint32_t turn = 0; turn < turns; turn++) {
		uint64_t start = system_ns();
		std::this_thread::sleep_for(load_time);
		uint64_t took = system_ns() - start;
		if (took < 1000000)
			fatal("limit: slept for %llu ns only", static_cast<unsigned long long>(took));
		ns.push_back(uint32_t(std::min<uint64_t>(took, UINT32_MAX)));
	}
	return in_us(ns);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

void memory_rows(const settings &s)
{
	std::vector<size_t> sizes{100000};
	double seconds = s.seconds;

	if (!s.quick())
		sizes.push_back(1000000);
	if (s.full())
		sizes.push_back(10000000);
	for (size_t n : sizes) {
		auto large = std::make_shared<ideal_cache>(n, true), small = std::make_shared<ideal_cache>(n, false);

		for (unsigned t : s.threads)
			if (t <= std::thread::hardware_concurrency())
				compete(s, "limit", "", n, t,
					{{"line+object+count", [=](unsigned u, uint64_t seed) { return large->run(u, seconds, seed); }},
					 {"line+object+count, 4k pages",
					  [=](unsigned u, uint64_t seed) { return small->run(u, seconds, seed); }}});
	}
	const size_t lines = 4 << 20;
	auto far = std::make_shared<far_memory>(lines);
	compete(s, "limit", "", lines, 1,
		{{"two misses", [=](unsigned, uint64_t seed) { return far->two(seconds, seed); }},
		 {"miss", [=](unsigned, uint64_t seed) { return far->one(seconds, seed); }}});
}

void processor_rows(const settings &s)
{
	double seconds = s.seconds;

	for (unsigned t : s.threads)
		compete(s, "limit", "", 1, t,
			{{"add+sub, one word", [=](unsigned u, uint64_t seed) { return add_and_sub(true, u, seconds, seed); }},
			 {"add+sub, own word", [=](unsigned u, uint64_t seed) { return add_and_sub(false, u, seconds, seed); }}});

	auto ours = [] { return cycles::now(); };
	auto system = [] { return system_ns(); };
	auto coarse = [] {
		timespec t;
		clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
		return uint64_t(t.tv_sec) * UINT64_C(1000000000) + uint64_t(t.tv_nsec);
	};
	compete(s, "limit", "", 1, 1,
		{{"XXH3 of 8 bytes", [=](unsigned, uint64_t seed) { return hashes(false, seconds, seed); }},
		 {"XXH3 of 8 bytes, latency", [=](unsigned, uint64_t seed) { return hashes(true, seconds, seed); }},
		 {"section, inlined", [=](unsigned, uint64_t seed) { return sections(hpx_bench_sections_inlined, seconds, seed); }},
		 {"section, calls", [=](unsigned, uint64_t seed) { return sections(hpx_bench_sections_called, seconds, seed); }},
		 {"clock_gettime", [=](unsigned, uint64_t seed) { return readings(system, seconds, seed); }},
		 {"clock_gettime, coarse", [=](unsigned, uint64_t seed) { return readings(coarse, seconds, seed); }},
		 {"clock, ours", [=](unsigned, uint64_t seed) { return readings(ours, seconds, seed); }}});
}

} // namespace

void run_limits(const settings &s)
{
	double seconds = s.seconds;

	processor_rows(s);
	compete(s, "limit", "", 1, 2,
		{{"wake-up, futex", [=](unsigned, uint64_t) { return wake_ups<by_futex>(seconds); }},
		 {"wake-up, condition variable", [=](unsigned, uint64_t) { return wake_ups<by_condition>(seconds); }},
		 {"wake-up, pipe", [=](unsigned, uint64_t) { return wake_ups<by_pipe>(seconds); }}},
		"us");
	compete(s, "limit", "", 1, 1, {{"sleep of 1 ms", [=](unsigned, uint64_t) { return sleeps(seconds); }}}, "us");
	memory_rows(s);
}

} // namespace bench
