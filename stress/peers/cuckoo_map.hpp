/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* peers/cuckoo_map.hpp - libcuckoo's map of weak_ptr; a load holds the locks of its key's two buckets, so there is one. */
#ifndef HAPAX_PEER_CUCKOO_MAP_HPP
#define HAPAX_PEER_CUCKOO_MAP_HPP

#include <memory>

#include <libcuckoo/cuckoohash_map.hh>

#include "tracked.hpp"

namespace bench {

template <class Key> class cuckoo_map_subject {
	using object = tracked<cuckoo_map_subject, Key>;
	/* Converted when the map constructs the new entry's value in its place. */
	template <class Make> struct made_there {
		Make &make;
		operator std::weak_ptr<object>() const { return make(); }
	};
	libcuckoo::cuckoohash_map<Key, std::weak_ptr<object>, hasher<Key>> map_;

public:
	using ref = std::shared_ptr<object>;
	static const char *name() { return "libcuckoo"; }

	explicit cuckoo_map_subject(size_t) {}
	template <class Load> ref get(const Key &key, Load &&load)
	{
		ref r;
		map_.find_fn(key, [&](const std::weak_ptr<object> &w) { r = w.lock(); });
		if (r)
			return r;
		auto make = [&] {
			r = std::make_shared<object>(this, key);
			load(*r);
			return std::weak_ptr<object>(r);
		};
		map_.upsert(
			key,
			[&](std::weak_ptr<object> &w) {
				r = w.lock();
				if (!r)
					w = make();
			},
			made_there<decltype(make)>{make});
		return r;
	}
	void gone(const Key &key)
	{
		map_.erase_fn(key, [](std::weak_ptr<object> &w) { return w.expired(); });
	}
	static uint64_t value(const ref &r) { return r->word[0]; }
	void drop(ref &&r) { r.reset(); }
};

} // namespace bench

#endif
