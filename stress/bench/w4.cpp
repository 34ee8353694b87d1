/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/w4.cpp - churn: nobody holds anything; nearly every get creates and nearly every release kills. */
#include <memory>
#include <utility>

#include "compete.hpp"
#include "foreign.hpp"
#include "measure.hpp"
#include "peers.hpp"
#include "workload.hpp"

namespace bench {

template <class Subject> static void churn(Subject &subject, uint64_t i)
{
	auto r = subject.get(make_key<key_u64>(i), [i](payload &p) {
		for (auto &w : p.word)
			w = i;
	});
	check_value(subject.value(r), i);
	subject.drop(std::move(r));
}

void run_w4(const settings &s)
{
	const size_t n = 100000;
	std::vector<contender> field;

	each_subject<key_u64>([&](auto tag) {
		using subject = typename decltype(tag)::type;
		auto p = std::make_shared<subject>(n);
		field.push_back({subject::name(), [p, n, seconds = s.seconds](unsigned threads, uint64_t seed) {
			return sample{run_threads(threads, seconds, seed, [&](unsigned, random_source &random) {
				churn(*p, random.below(n));
			})};
		}});
	});
	add_foreign(field, s, {"w4", "u64", n});
	for (unsigned t : s.threads)
		compete(s, "w4", "u64", n, t, field);
}

} // namespace bench
