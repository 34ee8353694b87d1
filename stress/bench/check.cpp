/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/check.cpp - whether the subjects do what they are measured at, for every one of them: threads that hold objects of
 * few keys while others let go of them. What is held is never loaded again, values are those of their keys, and when
 * nobody holds anything every key is loaded anew. Ends the program otherwise.
 */
#include <utility>

#include "measure.hpp"
#include "peers.hpp"
#include "rows.hpp"
#include "workload.hpp"

namespace bench {

[[noreturn]] static void broken(const char *subject, const char *what, uint64_t key)
{
	std::fprintf(stderr, "bench: %s: key %llu: %s\n", subject, static_cast<unsigned long long>(key), what);
	std::exit(1);
}

template <class Subject, class Key> static void check(const settings &s, unsigned threads, unsigned keys)
{
	Subject subject(keys);
	auto get = [&](uint64_t i, const char *absent_is_wrong) {
		return subject.get(make_key<Key>(i), [&](payload &p) {
			if (absent_is_wrong)
				broken(Subject::name(), absent_is_wrong, i);
			for (auto &w : p.word)
				w = i;
		});
	};

	run_threads(threads, std::min(s.seconds, 0.05), s.seed, [&](unsigned, random_source &random) {
		uint64_t i = random.below(keys), j = random.below(keys);
		auto first = get(i, nullptr);
		auto second = get(j, nullptr);
		if (random.below(16) == 0)
			sched_yield();
		auto again = get(i, "loaded while it was held");
		check_value(subject.value(first), i);
		check_value(subject.value(second), j);
		check_value(subject.value(again), i);
		subject.drop(std::move(first));
		subject.drop(std::move(second));
		subject.drop(std::move(again));
	});
	for (unsigned i = 0; i < keys; i++) {
		bool loaded = false;
		auto r = subject.get(make_key<Key>(i), [&](payload &p) {
			loaded = true;
			p.word[0] = i;
		});
		if (!loaded)
			broken(Subject::name(), "present, and nobody holds it", i);
		subject.drop(std::move(r));
	}
}

void run_check(const settings &s)
{
	each_subject<key_u64>([&](auto tag) {
		using subject = typename decltype(tag)::type;
		for (unsigned keys : {1u, 2u, 4u})
			check<subject, key_u64>(s, keys == 4 ? 4 : 2, keys);
	});
	each_subject<key_str24>([&](auto tag) {
		using subject = typename decltype(tag)::type;
		check<subject, key_str24>(s, 4, 3);
	});
	std::fputs("check    subjects share objects, hold them and let go of them\n", human);
}

} // namespace bench
