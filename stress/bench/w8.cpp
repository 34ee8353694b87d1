/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/w8.cpp - W8: hapax_cache_get_many() of 32 keys against 32 gets.
 *
 * Both fill the same arrays, check every value and give every reference back in the same code; they differ in the call
 * alone. The figure counts keys. "random": 32 independent keys of n; "sequential": 32 keys one after the other in
 * the order in which they were loaded, so that the objects lie together and the table's lines do not.
 */
#include <memory>

#include "compete.hpp"
#include "measure.hpp"
#include "process.hpp"
#include "workload.hpp"

namespace bench {
namespace {

const unsigned batch = 32;

int load_word(void *object, const hapax_key *key, void *loads, hapax_load_error *)
{
	std::memcpy(&static_cast<payload *>(object)->word[0], key->data, sizeof(uint64_t));
	static_cast<std::atomic<uint64_t> *>(loads)->fetch_add(1, std::memory_order_relaxed);
	return HAPAX_LOAD_OK;
}

/* The objects hold their keys. */
class held_cache {
	hapax_cache *cache_ = nullptr;
	hapax_type type_{};
	std::vector<void *> held_;
	std::atomic<uint64_t> loads_{0};

public:
	explicit held_cache(size_t n) : held_(n)
	{
		hapax_cache_options options{};

		type_.struct_size = sizeof type_;
		type_.name = "payload";
		type_.size = sizeof(payload);
		options.size = sizeof options;
		options.type = &type_;
		options.load = load_word;
		options.arg = &loads_;
		if (int status = hapax_cache_create(&cache_, &options))
			fatal("w8: create: %s", hapax_status_text(status));
		for (uint64_t i = 0; i < n; i++) {
			uint64_t key = make_key<key_u64>(i);
			get(key, held_[i]);
		}
	}
	held_cache(const held_cache &) = delete;
	held_cache &operator=(const held_cache &) = delete;
	~held_cache()
	{
		if (loads_ != held_.size())
			fatal("w8: %llu loads of %zu keys", static_cast<unsigned long long>(loads_.load()), held_.size());
		for (void *object : held_) {
			if (hapax_count(object) != 1)
				fatal("w8: an object has %llu references", static_cast<unsigned long long>(hapax_count(object)));
			hapax_release(object);
		}
		hapax_cache_destroy(cache_);
	}
	size_t size() const { return held_.size(); }
	void get(const uint64_t &key, void *&object)
	{
		if (int status = hapax_cache_get(cache_, hapax_key_bytes(&key, sizeof key), &object))
			fatal("w8: get: %s", hapax_status_text(status));
	}
	void get_many(const uint64_t *keys, void **objects)
	{
		hapax_key asked[batch];
		int statuses[batch];

		for (unsigned i = 0; i < batch; i++)
			asked[i] = hapax_key_bytes(&keys[i], sizeof keys[i]);
		if (int status = hapax_cache_get_many(cache_, asked, batch, objects, statuses, nullptr))
			fatal("w8: get_many: %s", hapax_status_text(status));
	}
};

enum class call { singly, together };
enum class order { random, sequential };

template <call Call, order Order> sample run(held_cache &cache, unsigned threads, double seconds, uint64_t seed)
{
	sample s;

	s.value = batch * run_threads(threads, seconds, seed, [&](unsigned, random_source &random) {
		uint64_t keys[batch], first = random.below(cache.size() - batch + 1);
		void *objects[batch];

		for (unsigned i = 0; i < batch; i++)
			keys[i] = make_key<key_u64>(Order == order::random ? random.below(cache.size()) : first + i);
		if (Call == call::together)
			cache.get_many(keys, objects);
		else
			for (unsigned i = 0; i < batch; i++)
				cache.get(keys[i], objects[i]);
		for (unsigned i = 0; i < batch; i++) {
			if (__builtin_expect(!objects[i], 0))
				fatal("w8: no object");
			check_value(static_cast<payload *>(objects[i])->word[0], keys[i]);
		}
		for (void *object : objects)
			hapax_release(object);
	});
	return s;
}

template <order Order> void rows_of(const settings &s, const char *workload, const std::shared_ptr<held_cache> &cache)
{
	std::vector<contender> field{
		{"hapax", [&](unsigned t, uint64_t seed) { return run<call::together, Order>(*cache, t, s.seconds, seed); }},
		{"hapax, 32 gets", [&](unsigned t, uint64_t seed) { return run<call::singly, Order>(*cache, t, s.seconds, seed); }},
	};

	for (unsigned t : s.threads)
		if (t <= std::thread::hardware_concurrency())
			compete(s, workload, "u64", cache->size(), t, field);
}

} // namespace

void run_w8(const settings &s)
{
	std::vector<size_t> sizes{s.quick() ? 100000u : 1000000u};

	if (s.full())
		sizes.push_back(10000000);
	for (size_t n : s.sizes_or(sizes)) {
		auto cache = std::make_shared<held_cache>(std::max<size_t>(n, batch));

		rows_of<order::random>(s, "w8", cache);
		rows_of<order::sequential>(s, "w8-sequential", cache);
	}
}

} // namespace bench
