/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* peers/mutex_map.hpp - what servers write by hand: one mutex, an unordered_map of weak_ptr. Loads under the mutex. */
#ifndef HAPAX_PEER_MUTEX_MAP_HPP
#define HAPAX_PEER_MUTEX_MAP_HPP

#include <memory>
#include <mutex>
#include <unordered_map>

#include "../bench/subject.hpp"

namespace bench {

template <class Key> class mutex_map_subject {
	std::mutex mutex_;
	std::unordered_map<Key, std::weak_ptr<payload>, hasher<Key>> map_;

public:
	using ref = std::shared_ptr<payload>;
	static const char *name() { return "mutex+unordered_map+weak_ptr"; }

	explicit mutex_map_subject(size_t) {}
	template <class Load> ref get(const Key &key, Load &&load)
	{
		std::lock_guard<std::mutex> guard(mutex_);
		std::weak_ptr<payload> &slot = map_[key];
		if (ref r = slot.lock())
			return r;
		ref r = std::make_shared<payload>();
		load(*r);
		slot = r;
		return r;
	}
	static uint64_t value(const ref &r) { return r->word[0]; }
	void drop(ref &&r) { r.reset(); }
};

} // namespace bench

#endif
