/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/w11.cpp - W11: weak references of objects that live.
 *
 *      w11-create, w11-upgrade                 64 objects of each thread's own, in turn
 *      w11-shared-create, w11-shared-upgrade   one object for all threads; each has a weak reference of its own to it
 *
 * create: a weak reference is made from a strong one and dropped. upgrade: a strong one is got from a weak one, the value
 * looked at, and given back. std::weak_ptr's counts are atomic here, as the process has threads.
 */
#include <memory>

#include "compete.hpp"
#include "gobject.hpp"
#include "measure.hpp"
#include "process.hpp"
#include "workload.hpp"

namespace bench {
namespace {

const unsigned own_objects = 64;

struct weak_hapax {
	using strong = payload *;
	using weak = hapax_weak *;
	static const char *name() { return "hapax"; }
	static strong make(uint64_t value)
	{
		static const hapax_type type = [] {
			hapax_type t{};
			t.struct_size = sizeof t;
			t.name = "payload";
			t.size = sizeof(payload);
			return t;
		}();
		void *object;

		if (int status = hapax_new(nullptr, &type, 0, &object))
			fatal("w11: new: %s", hapax_status_text(status));
		auto *p = static_cast<payload *>(object);
		p->word[0] = value;
		return p;
	}
	static void release(strong &s) { hapax_release(s); }
	static void take(weak &w, const strong &s)
	{
		if (int status = hapax_weak_new(s, nullptr, &w))
			fatal("w11: weak_new: %s", hapax_status_text(status));
	}
	static bool alive(weak &w) { return hapax_weak_alive(w); }
	static void drop(weak &w) { hapax_weak_drop(w); }
	static strong upgrade(weak &w) { return static_cast<strong>(hapax_weak_get(w)); }
	static uint64_t value(const strong &s) { return s->word[0]; }
	static uint64_t count(const strong &s) { return hapax_count(s); }
};

struct weak_std {
	using strong = std::shared_ptr<payload>;
	using weak = std::weak_ptr<payload>;
	static const char *name() { return "std::weak_ptr"; }
	static strong make(uint64_t value)
	{
		auto s = std::make_shared<payload>();
		s->word[0] = value;
		return s;
	}
	static void release(strong &s) { s.reset(); }
	static void take(weak &w, const strong &s) { w = s; }
	static bool alive(weak &w) { return !w.expired(); }
	static void drop(weak &w) { w.reset(); }
	static strong upgrade(weak &w) { return w.lock(); }
	static uint64_t value(const strong &s) { return s->word[0]; }
	static uint64_t count(const strong &s) { return uint64_t(s.use_count()); }
};

#ifdef HAVE_GOBJECT
struct weak_gobject {
	using strong = gobject_payload *;
	using weak = GWeakRef;
	static const char *name() { return "GWeakRef"; }
	static strong make(uint64_t value)
	{
		auto s = static_cast<strong>(g_object_new(gobject_payload_type(), nullptr));
		s->data.word[0] = value;
		return s;
	}
	static void release(strong &s) { g_object_unref(s); }
	static void take(weak &w, const strong &s) { g_weak_ref_init(&w, s); }
	static bool alive(weak &w)
	{
		auto s = upgrade(w);
		if (s)
			release(s);
		return s;
	}
	static void drop(weak &w) { g_weak_ref_clear(&w); }
	static strong upgrade(weak &w) { return static_cast<strong>(g_weak_ref_get(&w)); }
	static uint64_t value(const strong &s) { return s->data.word[0]; }
	static uint64_t count(const strong &s) { return __atomic_load_n(&s->parent.ref_count, __ATOMIC_RELAXED); }
};
#endif

enum class what { create, upgrade };
enum class whose { own, shared };

/* A thread's part. */
template <class Peer> struct alignas(128) share {
	typename Peer::strong strong[own_objects];
	typename Peer::weak weak[own_objects];
	unsigned turn = 0;
};

template <class Peer, what What, whose Whose> sample run(unsigned threads, double seconds, uint64_t seed)
{
	std::vector<share<Peer>> shares(threads);
	auto one = Peer::make(seed);
	const unsigned objects = Whose == whose::own ? own_objects : 1;
	uint64_t expected = 1;
	sample s;

	for (share<Peer> &mine : shares)
		for (unsigned i = 0; i < objects; i++) {
			mine.strong[i] = Whose == whose::own ? Peer::make(seed + i) : typename Peer::strong(one);
			Peer::take(mine.weak[i], mine.strong[i]);
		}
	if (Whose == whose::shared)
		expected = Peer::count(one);
	s.value = run_threads(threads, seconds, seed, [&](unsigned t, random_source &) {
		share<Peer> &mine = shares[t];
		unsigned i = Whose == whose::own ? mine.turn++ % own_objects : 0;

		if (What == what::create) {
			typename Peer::weak w;
			Peer::take(w, mine.strong[i]);
			__asm__ volatile("" ::"r"(&w) : "memory");
			Peer::drop(w);
		} else {
			auto strong = Peer::upgrade(mine.weak[i]);
			check_value(Peer::value(strong), Whose == whose::own ? seed + i : seed);
			Peer::release(strong);
		}
	});
	/* every reference has been given back, and the weak ones still know: the object lives, then it does not */
	for (share<Peer> &mine : shares)
		for (unsigned i = 0; i < objects; i++) {
			if (Peer::count(mine.strong[i]) != expected)
				fatal("w11: %s: %llu references, not %llu", Peer::name(),
				      static_cast<unsigned long long>(Peer::count(mine.strong[i])),
				      static_cast<unsigned long long>(expected));
			if (!Peer::alive(mine.weak[i]))
				fatal("w11: %s: a weak reference forgot its object", Peer::name());
		}
	if (Whose == whose::own)
		for (share<Peer> &mine : shares)
			for (auto &strong : mine.strong)
				Peer::release(strong);
	for (share<Peer> &mine : shares)
		for (auto &strong : mine.strong)
			strong = {}; /* copies of a std::shared_ptr are references */
	Peer::release(one);
	for (share<Peer> &mine : shares)
		for (unsigned i = 0; i < objects; i++) {
			if (Peer::alive(mine.weak[i]))
				fatal("w11: %s: a weak reference outlived its object", Peer::name());
			Peer::drop(mine.weak[i]);
		}
	return s;
}

template <class Peer, what What, whose Whose> contender field_of(const settings &s)
{
	double seconds = s.seconds;
	return {Peer::name(), [seconds](unsigned t, uint64_t seed) { return run<Peer, What, Whose>(t, seconds, seed); }};
}

template <what What, whose Whose> void rows_of(const settings &s, const char *workload)
{
	std::vector<contender> field{field_of<weak_hapax, What, Whose>(s), field_of<weak_std, What, Whose>(s),
#ifdef HAVE_GOBJECT
				     field_of<weak_gobject, What, Whose>(s),
#endif
	};

	for (unsigned t : s.threads)
		compete(s, workload, "", Whose == whose::own ? own_objects : 1, t, field);
}

} // namespace

void run_w11(const settings &s)
{
	rows_of<what::create, whose::own>(s, "w11-create");
	rows_of<what::upgrade, whose::own>(s, "w11-upgrade");
	rows_of<what::create, whose::shared>(s, "w11-shared-create");
	rows_of<what::upgrade, whose::shared>(s, "w11-shared-upgrade");
}

} // namespace bench
