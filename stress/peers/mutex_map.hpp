/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peers/mutex_map.hpp - what servers write by hand: one mutex, an unordered_map of weak_ptr; or 64 of them, by hash.
 * Loads under the mutex, so once for each key; they hold up everybody else who needs that mutex.
 */
#ifndef HAPAX_PEER_MUTEX_MAP_HPP
#define HAPAX_PEER_MUTEX_MAP_HPP

#include <array>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "tracked.hpp"

namespace bench {

template <class Key, size_t Shards> class mutex_maps {
	using object = tracked<mutex_maps, Key>;
	struct alignas(64) shard {
		std::mutex mutex;
		std::unordered_map<Key, std::weak_ptr<object>, hasher<Key>> map;
	};
	std::array<shard, Shards> shards_;

	shard &shard_of(const Key &key)
	{
		return Shards == 1 ? shards_[0] : shards_[hasher<Key>()(key) >> 32 & (Shards - 1)];
	}

public:
	using ref = std::shared_ptr<object>;

	explicit mutex_maps(size_t) {}
	template <class Load> ref get(const Key &key, Load &&load)
	{
		shard &s = shard_of(key);
		std::lock_guard<std::mutex> guard(s.mutex);
		std::weak_ptr<object> &slot = s.map[key];
		if (ref r = slot.lock())
			return r;
		ref r = std::make_shared<object>(this, key);
		load(*r);
		slot = r;
		return r;
	}
	void gone(const Key &key)
	{
		shard &s = shard_of(key);
		std::lock_guard<std::mutex> guard(s.mutex);
		auto found = s.map.find(key);
		if (found != s.map.end() && found->second.expired())
			s.map.erase(found);
	}
	static uint64_t value(const ref &r) { return r->word[0]; }
	void drop(ref &&r) { r.reset(); }
};

template <class Key> struct mutex_map_subject : mutex_maps<Key, 1> {
	using mutex_maps<Key, 1>::mutex_maps;
	static const char *name() { return "mutex+unordered_map+weak_ptr"; }
};
template <class Key> struct sharded_map_subject : mutex_maps<Key, 64> {
	using mutex_maps<Key, 64>::mutex_maps;
	static const char *name() { return "64 mutexes+unordered_map+weak_ptr"; }
};

} // namespace bench

#endif
