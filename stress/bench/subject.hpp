/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/subject.hpp - what every subject of the benchmark looks like, and hapax as one.
 *
 * A subject is a class template over the key with
 *     using ref = ...;                              a counted reference
 *     explicit subject(size_t hint);
 *     template <class Load> ref get(const Key &, Load &&load);   load(payload &) runs only when the key is absent
 *     static uint64_t value(const ref &);
 *     void drop(ref &&);
 *     static const char *name();
 * Every peer does the same work: one counted reference is taken and given back per operation.
 */
#ifndef HAPAX_BENCH_SUBJECT_HPP
#define HAPAX_BENCH_SUBJECT_HPP

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include <hapax/hapax.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace bench {

struct payload {
	uint64_t word[8];
};

inline uint64_t mix(uint64_t x) /* splitmix64, Steele, Lea and Flood 2014 */
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

using key_u64 = uint64_t;
struct key_str24 {
	char text[24];
	bool operator==(const key_str24 &other) const { return std::memcmp(text, other.text, sizeof text) == 0; }
};

template <class Key> Key make_key(uint64_t i);
template <> inline key_u64 make_key<key_u64>(uint64_t i) { return mix(i); }
template <> inline key_str24 make_key<key_str24>(uint64_t i)
{
	key_str24 key;
	uint64_t bits = mix(i);

	std::memcpy(key.text, "object/k", 8);
	for (int j = 0; j < 16; j++)
		key.text[8 + j] = static_cast<char>('a' + (bits >> (4 * j) & 15));
	return key;
}
template <class Key> const char *key_name();
template <> inline const char *key_name<key_u64>() { return "u64"; }
template <> inline const char *key_name<key_str24>() { return "str24"; }

template <class Key> struct hasher {
	size_t operator()(const Key &key) const { return XXH3_64bits(&key, sizeof key); }
};

/*
 * hapax as its users have it: one cache with its own loader. What to fill in comes from the key, through a table of
 * the benchmark's own, so that get() is the plain hapax_cache_get() on hits and misses alike.
 */
template <class Key, unsigned TypeFlags = 0> class hapax_subject {
	hapax_cache *cache_ = nullptr;
	static inline thread_local void (*fill_)(void *context, payload &) = nullptr;
	static inline thread_local void *context_ = nullptr;

	static int load(void *object, const hapax_key *, void *, hapax_load_error *)
	{
		fill_(context_, *static_cast<payload *>(object));
		return HAPAX_LOAD_OK;
	}
	static const hapax_type *type()
	{
		static const hapax_type t = [] {
			hapax_type made{};
			made.struct_size = sizeof made;
			made.name = "payload";
			made.size = sizeof(payload);
			made.flags = TypeFlags;
			return made;
		}();
		return &t;
	}

public:
	using ref = payload *;
	static const char *name() { return "hapax"; }

	explicit hapax_subject(size_t) : hapax_subject(0, nullptr) {}
	/* Holds at most `bound` objects itself; 0: none, they live as long as their users. */
	hapax_subject(size_t bound, const hapax_policy *policy)
	{
		hapax_cache_options options{};

		options.size = sizeof options;
		options.type = type();
		options.load = load;
		options.max_entries = static_cast<int64_t>(bound);
		options.policy = policy;
		if (int status = hapax_cache_create(&cache_, &options)) {
			std::fprintf(stderr, "bench: cannot create a cache: %s\n", hapax_status_text(status));
			std::exit(2);
		}
	}
	hapax_subject(const hapax_subject &) = delete;
	hapax_subject &operator=(const hapax_subject &) = delete;
	~hapax_subject() { hapax_cache_destroy(cache_); }

	template <class Load> ref get(const Key &key, Load &&load_fn)
	{
		using fn = typename std::remove_reference<Load>::type;
		void *object = nullptr;

		fill_ = [](void *context, payload &p) { (*static_cast<fn *>(context))(p); };
		context_ = &load_fn;
		int status = hapax_cache_get(cache_, hapax_key_bytes(&key, sizeof key), &object);
		if (__builtin_expect(status != 0, 0)) {
			std::fprintf(stderr, "bench: get: %s\n", hapax_status_text(status));
			std::exit(1);
		}
		return static_cast<payload *>(object);
	}
	static uint64_t value(const ref &r) { return r->word[0]; }
	void drop(ref &&r) { hapax_release(r); }
	/* What is in a present object, read in a section, without a count. Needs HAPAX_TYPE_BORROW. */
	uint64_t borrowed_value(const Key &key)
	{
		const void *object;
		int status = hapax_cache_borrow(cache_, hapax_key_bytes(&key, sizeof key), &object);

		if (__builtin_expect(status != 0, 0)) {
			std::fprintf(stderr, "bench: borrow: %s\n", hapax_status_text(status));
			std::exit(1);
		}
		uint64_t value = static_cast<const payload *>(object)->word[0];
		hapax_borrow_end();
		return value;
	}
};

} // namespace bench

#endif
