/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peers/mutex_lru.hpp - the bounded cache that servers write by hand: one mutex, an unordered_map, a list in order of use.
 * Loads outside the mutex, so that a slow one holds up nobody; two threads that miss on one key at once load it twice.
 */
#ifndef HAPAX_PEER_MUTEX_LRU_HPP
#define HAPAX_PEER_MUTEX_LRU_HPP

#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "../bench/subject.hpp"

namespace bench {

template <class Key> class mutex_lru_subject {
	using entry = std::pair<Key, std::shared_ptr<payload>>;

	std::mutex mutex_;
	std::list<entry> order_; /* the one used last is first */
	std::unordered_map<Key, typename std::list<entry>::iterator, hasher<Key>> map_;
	size_t bound_;

public:
	using ref = std::shared_ptr<payload>;
	static const char *name() { return "mutex+unordered_map+list"; }

	explicit mutex_lru_subject(size_t bound) : bound_(bound) { map_.reserve(bound + 1); }
	template <class Load> ref get(const Key &key, Load &&load)
	{
		{
			std::lock_guard<std::mutex> guard(mutex_);
			auto found = map_.find(key);
			if (found != map_.end()) {
				order_.splice(order_.begin(), order_, found->second);
				return found->second->second;
			}
		}
		ref loaded = std::make_shared<payload>();
		load(*loaded);
		std::list<entry> fresh, old; /* allocated and freed outside the mutex */
		fresh.emplace_front(key, loaded);
		{
			std::lock_guard<std::mutex> guard(mutex_);
			auto put = map_.try_emplace(key, fresh.begin());
			if (!put.second) {
				loaded = put.first->second->second;
				return loaded;
			}
			order_.splice(order_.begin(), fresh);
			if (order_.size() > bound_) {
				map_.erase(order_.back().first);
				old.splice(old.begin(), order_, std::prev(order_.end()));
			}
		}
		return loaded;
	}
	static uint64_t value(const ref &r) { return r->word[0]; }
	void drop(ref &&r) { r.reset(); }
};

} // namespace bench

#endif
