/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/populated.hpp - a subject with n objects that stay alive, for workloads of hits. */
#ifndef HAPAX_BENCH_POPULATED_HPP
#define HAPAX_BENCH_POPULATED_HPP

#include <memory>
#include <utility>

#include "measure.hpp"

namespace bench {

template <class Subject, class Key> struct populated {
	std::unique_ptr<Subject> subject;
	std::vector<typename Subject::ref> held;

	explicit populated(size_t n) : populated(n, std::make_unique<Subject>(n)) {}
	populated(size_t n, std::unique_ptr<Subject> empty) : subject(std::move(empty))
	{
		held.reserve(n);
		for (size_t i = 0; i < n; i++)
			held.push_back(subject->get(make_key<Key>(i), [i](payload &p) { p.word[0] = i; }));
	}
	~populated()
	{
		for (auto &r : held)
			subject->drop(std::move(r));
	}
	/* One hit. The loader is for peers that cannot do without; it never runs. */
	void hit(uint64_t i)
	{
		auto r = subject->get(make_key<Key>(i), [i](payload &p) { p.word[0] = i; });

		check_value(subject->value(r), i);
		subject->drop(std::move(r));
	}
};

} // namespace bench

#endif
