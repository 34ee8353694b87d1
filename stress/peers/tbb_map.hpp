/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* peers/tbb_map.hpp - oneTBB's concurrent_hash_map of weak_ptr; a load holds its key's accessor. */
#ifndef HAPAX_PEER_TBB_MAP_HPP
#define HAPAX_PEER_TBB_MAP_HPP

#include <memory>

#include <tbb/concurrent_hash_map.h>

#include "../bench/subject.hpp"

namespace bench {

template <class Key> class tbb_map_subject {
	struct compare {
		static size_t hash(const Key &key) { return hasher<Key>()(key); }
		static bool equal(const Key &a, const Key &b) { return a == b; }
	};
	using map = tbb::concurrent_hash_map<Key, std::weak_ptr<payload>, compare>;
	map map_;

public:
	using ref = std::shared_ptr<payload>;
	static const char *name() { return "oneTBB"; }

	explicit tbb_map_subject(size_t) {}
	template <class Load> ref get(const Key &key, Load &&load)
	{
		{
			typename map::const_accessor found;
			if (map_.find(found, key))
				if (ref r = found->second.lock())
					return r;
		}
		typename map::accessor slot;
		map_.insert(slot, key);
		if (ref r = slot->second.lock())
			return r;
		ref r = std::make_shared<payload>();
		load(*r);
		slot->second = r;
		return r;
	}
	static uint64_t value(const ref &r) { return r->word[0]; }
	void drop(ref &&r) { r.reset(); }
};

} // namespace bench

#endif
