/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* peers/lfht.hpp - the cache of lfht.h as a subject. */
#ifndef HAPAX_PEER_LFHT_HPP
#define HAPAX_PEER_LFHT_HPP

#include <type_traits>

#include "../bench/subject.hpp"
#include "lfht.h"

namespace bench {

template <class Key> class lfht_subject {
	lfht_cache *cache_;

public:
	using ref = payload *;
	static const char *name() { return "cds_lfht"; }

	explicit lfht_subject(size_t expected) : cache_(lfht_cache_create(expected, sizeof(Key))) {}
	lfht_subject(const lfht_subject &) = delete;
	lfht_subject &operator=(const lfht_subject &) = delete;
	~lfht_subject() { lfht_cache_destroy(cache_); }
	template <class Load> ref get(const Key &key, Load &&load)
	{
		using fn = typename std::remove_reference<Load>::type;

		return static_cast<payload *>(lfht_cache_get(
			cache_, &key, hasher<Key>()(key),
			[](void *context, void *value) { (*static_cast<fn *>(context))(*static_cast<payload *>(value)); }, &load));
	}
	static uint64_t value(const ref &r) { return r->word[0]; }
	void drop(ref &&r) { lfht_cache_drop(cache_, r); }
};

} // namespace bench

#endif
