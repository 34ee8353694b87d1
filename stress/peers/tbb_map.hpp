/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* peers/tbb_map.hpp - oneTBB's concurrent_hash_map of weak_ptr; a load holds its key's accessor, so there is one. */
#ifndef HAPAX_PEER_TBB_MAP_HPP
#define HAPAX_PEER_TBB_MAP_HPP

#include <memory>

#include <tbb/concurrent_hash_map.h>

#include "tracked.hpp"

namespace bench {

template <class Key> class tbb_map_subject {
	struct compare {
		static size_t hash(const Key &key) { return hasher<Key>()(key); }
		static bool equal(const Key &a, const Key &b) { return a == b; }
	};
	using object = tracked<tbb_map_subject, Key>;
	using map = tbb::concurrent_hash_map<Key, std::weak_ptr<object>, compare>;
	map map_;

public:
	using ref = std::shared_ptr<object>;
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
		ref r = std::make_shared<object>(this, key);
		load(*r);
		slot->second = r;
		return r;
	}
	void gone(const Key &key)
	{
		typename map::accessor slot;
		if (map_.find(slot, key) && slot->second.expired())
			map_.erase(slot);
	}
	static uint64_t value(const ref &r) { return r->word[0]; }
	void drop(ref &&r) { r.reset(); }
};

} // namespace bench

#endif
