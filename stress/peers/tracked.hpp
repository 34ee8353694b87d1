/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peers/tracked.hpp - an object whose death takes its entry out of the map, for the maps of weak_ptr: what our own cache
 * does, and what keeps such a map from growing for ever.
 *
 * Owner::gone(key) is called after the count has become zero, and removes the entry unless a new object is in it. So no
 * reference may be dropped under a lock that gone() takes.
 */
#ifndef HAPAX_PEER_TRACKED_HPP
#define HAPAX_PEER_TRACKED_HPP

#include "../bench/subject.hpp"

namespace bench {

template <class Owner, class Key> struct tracked : payload {
	Owner *owner;
	Key key;

	tracked(Owner *o, const Key &k) : owner(o), key(k) {}
	tracked(const tracked &) = delete;
	tracked &operator=(const tracked &) = delete;
	~tracked() { owner->gone(key); }
};

} // namespace bench

#endif
