/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/w10.cpp - a cache at its bound. Keys follow Zipf's law with exponent 0.99: with 300,000 keys and room for 50,000,
 * exact LRU misses 20.1 % (Che's approximation). Loads of 0 and of 20 us.
 *
 * What a row says of hits is of the requests that its threads came to, drawn anew in each round: between rows it differs by
 * chance as much as a bar allows. So thread counts are compared by runs of their own, over the same requests, each beginning with
 * a cache that has seen the same.
 */
#include <map>

#include "../peers/mutex_lru.hpp"
#include "compete.hpp"
#include "foreign.hpp"
#include "workload.hpp"
#include "zipf.hpp"

namespace bench {

static const size_t room = 50000;

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
		request(t, keys->draw(random), load);
	}
	void request(tally &t, uint64_t i, std::chrono::nanoseconds load)
	{
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
	void run(unsigned threads, double seconds, uint64_t seed, std::chrono::nanoseconds load, sample &out)
	{
		std::vector<tally> tallies(threads);
		uint64_t gets = 0, loads = 0;

		/* never the requests of an earlier run: they are in the cache */
		out.value = run_threads(threads, seconds, seed * 1009 + ++runs * 100003, [&](unsigned t, random_source &random) {
			step(tallies[t], random, load);
		});
		for (const tally &t : tallies) {
			gets += t.gets;
			loads += t.loads;
		}
		out.hit_ratio = gets ? 1 - double(loads) / double(gets) : 0;
	}
};

/* The share of hits among given requests, which so many threads take one after the other. */
static double hits_of_same(const settings &s, const zipf_keys &keys, const hapax_policy *policy, unsigned threads,
			   std::chrono::nanoseconds load)
{
	using cache = bounded<hapax_subject<key_u64>, key_u64>;
	cache c(std::make_unique<hapax_subject<key_u64>>(room, policy), nullptr, 0);
	std::vector<typename cache::tally> tallies(threads);
	std::vector<uint32_t> requests(s.quick() ? 50000 : 200000);
	random_source random(s.seed);
	std::atomic<size_t> next{0};
	std::vector<std::thread> pool;
	typename cache::tally before;
	uint64_t loads = 0;

	for (size_t i = 0; i < 10 * room; i++)
		c.request(before, keys.draw(random), std::chrono::nanoseconds(0));
	for (uint32_t &key : requests)
		key = uint32_t(keys.draw(random));
	for (unsigned t = 0; t < threads; t++)
		pool.emplace_back([&, t] {
			pin(t, threads);
			for (size_t i; (i = next.fetch_add(1)) < requests.size();)
				c.request(tallies[t], requests[i], load);
		});
	for (auto &thread : pool)
		thread.join();
	for (const auto &t : tallies)
		loads += t.loads;
	return 1 - double(loads) / double(requests.size());
}

template <class Subject>
static contender bounded_of(const char *name, std::unique_ptr<Subject> subject, const std::shared_ptr<const zipf_keys> &keys,
			    double seconds, const std::shared_ptr<std::chrono::nanoseconds> &load)
{
	auto p = std::make_shared<bounded<Subject, key_u64>>(std::move(subject), keys, 60 * room);

	return {name, [p, seconds, load](unsigned threads, uint64_t seed) {
			sample out;
			p->run(threads, seconds, seed, *load, out);
			return out;
		}};
}

void run_w10(const settings &s)
{
	auto keys = std::make_shared<const zipf_keys>(300000, 0.99);
	auto load = std::make_shared<std::chrono::nanoseconds>(0);
	auto own = [&](const char *name, const hapax_policy *policy) {
		return bounded_of(name, std::make_unique<hapax_subject<key_u64>>(room, policy), keys, s.seconds, load);
	};
	auto peer = std::make_unique<mutex_lru_subject<key_u64>>(room);
	contender first = own("hapax", hapax_policy_adaptive());
	first.run = [&s, keys, load, run = first.run,
		     same = std::make_shared<std::map<std::pair<unsigned, uint64_t>, double>>()](unsigned threads, uint64_t seed) {
		auto [found, is_new] = same->try_emplace({threads, uint64_t(load->count())}, 0);
		if (is_new)
			found->second = hits_of_same(s, *keys, hapax_policy_adaptive(), threads, *load);
		sample out = run(threads, seed);
		out.figures[hits_of_same_requests] = found->second;
		return out;
	};
	std::vector<contender> field{first, own("hapax (tinylfu)", hapax_policy_tinylfu()),
				     own("hapax (lru)", hapax_policy_lru()),
				     bounded_of(mutex_lru_subject<key_u64>::name(), std::move(peer), keys, s.seconds, load)};

	add_foreign(field, s, {"w10", "u64", room}, [load] { return uint64_t(load->count()); });
	for (unsigned t : s.threads)
		compete(s, "w10", "u64", room, t, field);
	*load = std::chrono::microseconds(20);
	for (unsigned t : s.threads)
		compete(s, "w10-20us", "u64", room, t, field);
}

} // namespace bench
