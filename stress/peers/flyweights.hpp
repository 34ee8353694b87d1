/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peers/flyweights.hpp - Boost.Flyweight: key-value, counted, its own mutex and hashed factory. A load is the value's
 * constructor and runs under the mutex. Its factory is one for each type, in static storage: two subjects of one key type
 * share it, so in one process only one workload at a time may use it.
 */
#ifndef HAPAX_PEER_FLYWEIGHTS_HPP
#define HAPAX_PEER_FLYWEIGHTS_HPP

#include <functional>
#include <type_traits>

#include <boost/flyweight.hpp>
#include <boost/flyweight/key_value.hpp>

#include "../bench/subject.hpp"

namespace bench {

template <class Key> class flyweight_subject {
	static inline thread_local void (*fill_)(void *context, payload &) = nullptr;
	static inline thread_local void *context_ = nullptr;

	struct object : payload {
		explicit object(const Key &) { fill_(context_, *this); }
	};
	using weight = boost::flyweights::flyweight<boost::flyweights::key_value<Key, object>,
						    boost::flyweights::hashed_factory<hasher<Key>, std::equal_to<Key>>,
						    boost::flyweights::refcounted, boost::flyweights::simple_locking,
						    boost::flyweights::static_holder>;

public:
	/* A flyweight has no empty state; a holder of references wants one. */
	class ref {
		alignas(weight) unsigned char place_[sizeof(weight)];
		bool full_ = false;
		weight *at() { return reinterpret_cast<weight *>(place_); }

	public:
		ref() = default;
		explicit ref(const Key &key) : full_(true) { new (place_) weight(key); }
		ref(ref &&other) noexcept { *this = std::move(other); }
		ref &operator=(ref &&other) noexcept
		{
			reset();
			if (other.full_) {
				new (place_) weight(*other.at());
				full_ = true;
				other.reset();
			}
			return *this;
		}
		~ref() { reset(); }
		void reset()
		{
			if (full_)
				at()->~weight();
			full_ = false;
		}
		const object &get() const { return reinterpret_cast<const weight *>(place_)->get(); }
	};
	static const char *name() { return "Boost.Flyweight"; }

	explicit flyweight_subject(size_t) {}
	template <class Load> ref get(const Key &key, Load &&load)
	{
		using fn = typename std::remove_reference<Load>::type;

		fill_ = [](void *context, payload &p) { (*static_cast<fn *>(context))(p); };
		context_ = &load;
		return ref(key);
	}
	static uint64_t value(const ref &r) { return r.get().word[0]; }
	void drop(ref &&r) { r.reset(); }
};

} // namespace bench

#endif
