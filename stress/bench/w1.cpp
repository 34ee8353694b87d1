/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/w1.cpp - hits on objects that stay alive: uniform (W1), by Zipf's law (W2), all on one (W3).
 *
 * Subjects of a row are alive together, so that their runs can take turns.
 */
#include "compete.hpp"
#include "foreign.hpp"
#include "peers.hpp"
#include "populated.hpp"
#include "workload.hpp"
#include "zipf.hpp"

namespace bench {

template <class Subject, class Key>
static contender uniform(const char *name, const settings &s, std::shared_ptr<populated<Subject, Key>> p)
{
	return {name, [p, seconds = s.seconds](unsigned threads, uint64_t seed) {
			uint64_t n = p->held.size();
			return sample{run_threads(threads, seconds, seed, [&](unsigned, random_source &random) {
				p->hit(random.below(n));
			})};
		}};
}

/* From so many objects on the subjects would need more memory together than many a machine has. */
static const size_t too_many = 5000000;

template <class Key> static void uniform_rows(const settings &s, const char *workload, size_t n)
{
	std::vector<group> groups;

	each_subject<Key>([&](auto tag) {
		using subject = typename decltype(tag)::type;
		groups.push_back([&s, n]() -> std::vector<contender> {
			return {uniform(subject::name(), s, std::make_shared<populated<subject, Key>>(n))};
		});
	});
	groups.push_back([&] {
		std::vector<contender> field;
		add_foreign(field, s, {workload, key_name<Key>(), n});
		return field;
	});
	if (n >= too_many) {
		contender first = groups[0]()[0];
		groups.erase(groups.begin());
		compete_in_groups(s, workload, key_name<Key>(), n, first, groups);
		return;
	}
	std::vector<contender> field;
	for (const group &make : groups)
		for (const contender &c : make())
			field.push_back(c);
	for (unsigned t : s.threads)
		if (!s.skips(t))
			compete(s, workload, key_name<Key>(), n, t, field);
}

void run_w1(const settings &s)
{
	for (size_t n : s.sizes)
		uniform_rows<key_u64>(s, "w1", n);
	for (size_t n : s.string_sizes)
		uniform_rows<key_str24>(s, "w1", n);
}

/* ---- W2 ---- */

/* Keys drawn beforehand: a draw touches a random line of an 8 MB table, which would be measured with each hit. Popular
 * keys are spread over the objects, which were made in the order of their numbers. */
struct drawn {
	std::vector<std::vector<uint32_t>> of_thread;

	drawn(size_t n, unsigned threads, size_t each)
	{
		zipf_keys zipf(uint32_t(n), 0.99);

		for (unsigned t = 0; t < threads; t++) {
			random_source random(977 + t);
			of_thread.emplace_back(each);
			for (uint32_t &k : of_thread.back())
				k = uint32_t(zipf.draw(random) * UINT64_C(2654435761) % n);
		}
	}
};

void run_w2(const settings &s)
{
	const size_t n = 1000000, each = s.quick() ? 1u << 18 : 1u << 20;
	struct alignas(128) place {
		size_t next = 0;
	};
	unsigned most = *std::max_element(s.threads.begin(), s.threads.end());
	auto keys = std::make_shared<const drawn>(n, most, each);
	std::vector<contender> field;

	each_subject<key_u64>([&](auto tag) {
		using subject = typename decltype(tag)::type;
		auto p = std::make_shared<populated<subject, key_u64>>(n);
		field.push_back({subject::name(), [=, seconds = s.seconds](unsigned threads, uint64_t seed) {
			std::vector<place> places(threads);
			for (place &at : places)
				at.next = mix(seed) % each;
			return sample{run_threads(threads, seconds, seed, [&](unsigned t, random_source &) {
				size_t at = places[t].next++ & (each - 1);
				p->hit(keys->of_thread[t][at]);
			})};
		}});
	});
	add_foreign(field, s, {"w2", "u64", n, each});
	for (unsigned t : s.threads)
		if (!s.skips(t))
			compete(s, "w2", "u64", n, t, field);
}

/* ---- W3 ---- */

void run_w3(const settings &s)
{
	using hapax = hapax_subject<key_u64>;
	using borrowable = hapax_subject<key_u64, HAPAX_TYPE_BORROW>;
	using lingering = hapax_subject<key_u64, HAPAX_TYPE_MAY_LINGER>;
	std::vector<contender> field;

	each_subject<key_u64>([&](auto tag) {
		using subject = typename decltype(tag)::type;
		field.push_back(uniform(subject::name(), s, std::make_shared<populated<subject, key_u64>>(1)));
	});
	/* what a cache holds itself, and what may die a little later, may be counted by each thread for itself */
	field.push_back(uniform("hapax (retaining)", s,
				std::make_shared<populated<hapax, key_u64>>(1, std::make_unique<hapax>(1000, nullptr))));
	field.push_back(uniform("hapax (may linger)", s, std::make_shared<populated<lingering, key_u64>>(1)));
	field.push_back({"hapax (borrow)", [p = std::make_shared<populated<borrowable, key_u64>>(1), seconds = s.seconds](
						   unsigned threads, uint64_t seed) {
				 return sample{run_threads(threads, seconds, seed, [&](unsigned, random_source &random) {
					 uint64_t i = random.below(1);
					 check_value(p->subject->borrowed_value(make_key<key_u64>(i)), i);
				 })};
			 }});
	add_foreign(field, s, {"w3", "u64", 1});
	for (unsigned t : s.threads)
		compete(s, "w3", "u64", 1, t, field);
}

} // namespace bench
