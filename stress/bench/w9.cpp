/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/w9.cpp - W9: what a death costs when much hangs on it. Each death is timed, from the last release until it returns,
 * on a thread with a stack of 64 KiB.
 *
 *      w9-callbacks    an object with n weak references that have a callback each; the figure counts callbacks
 *      w9-chain        n objects each of which holds the next; the figure counts objects
 *
 * "hapax": one such death alone, as it comes, with whatever the caches still hold of it: 10,000 of them fit into a
 * second-level cache, 1,000,000 do not. "hapax, same memory": as many of them side by side as make 1,000,000 in all, so
 * that only what grows with n itself can make a difference. "hapax, and freed": waits, too, until all memory has come
 * back.
 *
 * Peers. std::shared_ptr's chain dies by recursion: it gets a stack that is large enough ("recursive"), and the loop that
 * people write to avoid that ("by a loop"). GObject: g_object_weak_ref() with a callback, and GWeakRef, which is
 * cleared without one.
 */
#include <memory>

#include <pthread.h>

#include "compete.hpp"
#include "cycles.hpp"
#include "gobject.hpp"
#include "measure.hpp"
#include "process.hpp"
#include "workload.hpp"

namespace bench {
namespace {

const size_t small_stack = 64 << 10;

/* fn() on a thread with a stack of that size. */
template <class Fn> void on_stack(size_t bytes, Fn fn)
{
	pthread_attr_t attributes;
	pthread_t thread;

	if (pthread_attr_init(&attributes) || pthread_attr_setstacksize(&attributes, bytes) ||
	    pthread_create(&thread, &attributes,
			   [](void *f) -> void * {
				   pin(0, 1);
				   (*static_cast<Fn *>(f))();
				   return nullptr;
			   },
			   &fn))
		fatal("w9: no thread with a stack of %zu bytes", bytes);
	pthread_join(thread, nullptr);
	pthread_attr_destroy(&attributes);
}

/* Two clocks: the wall's, and what this thread has had of a processor, which other work on the machine does not lengthen. */
struct stretch {
	double wall = 0, processor = 0; /* ns */

	static stretch now()
	{
		timespec t;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
		return {double(system_ns()), double(t.tv_sec) * 1e9 + double(t.tv_nsec)};
	}
	void add(const stretch &start)
	{
		stretch end = now();
		wall += end.wall - start.wall;
		processor += end.processor - start.processor;
	}
};

template <class Object> Object *make(const hapax_type &type)
{
	void *object;

	if (int status = hapax_new(nullptr, &type, 0, &object))
		fatal("w9: new: %s", hapax_status_text(status));
	return static_cast<Object *>(object);
}

void wait_until_freed()
{
	hapax_env_stats stats{};

	stats.size = sizeof stats;
	do {
		hapax_reclaim(nullptr);
		if (hapax_env_stats_get(nullptr, &stats))
			fatal("w9: no statistics");
	} while (stats.objects_freed != stats.objects_destroyed);
}

/* ---- callbacks: each subject makes an object with n of them, and lets it die ------------------------------------------ */

struct hapax_callbacks {
	static inline uint64_t called; /* one death at a time */
	static inline const hapax_type type = [] {
		hapax_type t{};
		t.struct_size = sizeof t;
		t.name = "watched";
		t.size = sizeof(payload);
		return t;
	}();
	payload *object;
	std::vector<hapax_weak *> handles;

	explicit hapax_callbacks(size_t n) : object(make<payload>(type)), handles(n)
	{
		const hapax_callback callback{[](hapax_weak *, void *count) { ++*static_cast<uint64_t *>(count); }, &called, nullptr};

		for (hapax_weak *&handle : handles)
			if (int status = hapax_weak_new(object, &callback, &handle))
				fatal("w9: weak_new: %s", hapax_status_text(status));
	}
	void die() { hapax_release(object); }
	static void freed() { wait_until_freed(); }
	~hapax_callbacks()
	{
		for (hapax_weak *handle : handles) {
			if (hapax_weak_alive(handle))
				fatal("w9: a weak reference outlived its object");
			hapax_weak_drop(handle);
		}
	}
};

#ifdef HAVE_GOBJECT
struct gobject_callbacks {
	static inline uint64_t called;
	GObject *object;

	explicit gobject_callbacks(size_t n) : object(static_cast<GObject *>(g_object_new(gobject_payload_type(), nullptr)))
	{
		for (size_t i = 0; i < n; i++)
			g_object_weak_ref(object, [](gpointer count, GObject *) { ++*static_cast<uint64_t *>(count); }, &called);
	}
	void die() { g_object_unref(object); }
	static void freed() {}
};

struct gobject_weak_refs {
	static inline uint64_t called;
	GObject *object;
	std::vector<GWeakRef> handles;

	explicit gobject_weak_refs(size_t n)
		: object(static_cast<GObject *>(g_object_new(gobject_payload_type(), nullptr))), handles(n)
	{
		for (GWeakRef &handle : handles)
			g_weak_ref_init(&handle, object);
	}
	void die() { g_object_unref(object); }
	static void freed() {}
	~gobject_weak_refs()
	{
		for (GWeakRef &handle : handles) {
			void *found = g_weak_ref_get(&handle);
			called += !found;
			g_weak_ref_clear(&handle);
		}
	}
};
#endif

/* ---- chains ------------------------------------------------------------------------------------------------------ */

struct hapax_chain {
	struct link {
		link *next;
		uint64_t number;
	};
	static inline uint64_t called;
	static inline size_t length; /* of each chain there is */
	static inline const hapax_type type = [] {
		hapax_type t{};
		t.struct_size = sizeof t;
		t.name = "link";
		t.size = sizeof(link);
		t.destroy = [](void *object, void *) {
			auto *l = static_cast<link *>(object);
			if (l->number != called++ % length)
				fatal("w9: link %llu died out of turn", static_cast<unsigned long long>(l->number));
			hapax_release(l->next);
		};
		return t;
	}();
	link *head = nullptr;

	explicit hapax_chain(size_t n)
	{
		length = n;
		while (n--) {
			link *l = make<link>(type);
			l->next = head;
			l->number = n;
			head = l;
		}
	}
	void die() { hapax_release(head); }
	static void freed() { wait_until_freed(); }
};

struct shared_link {
	std::shared_ptr<shared_link> next;
	uint64_t number;
	static inline uint64_t called;
	~shared_link() { called++; }
};

struct shared_chain {
	static inline uint64_t &called = shared_link::called;
	std::shared_ptr<shared_link> head;

	explicit shared_chain(size_t n)
	{
		while (n--) {
			auto l = std::make_shared<shared_link>();
			l->next = std::move(head);
			l->number = n;
			head = std::move(l);
		}
	}
	void die() { head.reset(); }
	static void freed() {}
};

struct shared_chain_loop : shared_chain {
	using shared_chain::shared_chain;
	void die()
	{
		while (head && head.use_count() == 1)
			head = std::shared_ptr<shared_link>(std::move(head->next));
		head.reset();
	}
};

/* ---- rows -------------------------------------------------------------------------------------------------------- */

enum class how { alone, together, freed };

/* Millions of deaths (of callbacks) a second; and nanoseconds of processor time that each took of the thread. */
template <class Subject> sample deaths(size_t n, size_t all, how h, size_t stack)
{
	stretch sum;
	size_t times = std::max<size_t>(all / n, 1), side = h == how::together ? times : 1;

	on_stack(stack, [&] {
		for (size_t done = 0; done < times; done += side) {
			std::vector<std::unique_ptr<Subject>> subjects;
			for (size_t i = 0; i < side; i++)
				subjects.push_back(std::make_unique<Subject>(n));
			Subject::called = 0;
			for (auto &subject : subjects) {
				stretch start = stretch::now();
				subject->die();
				if (h == how::freed)
					Subject::freed();
				sum.add(start);
			}
			subjects.clear();
			if (Subject::called != n * side)
				fatal("w9: %llu deaths of %zu", static_cast<unsigned long long>(Subject::called), n * side);
		}
	});
	sample s;
	s.value = 1e3 * double(times * n) / sum.wall;
	s.figures = {{"processor_ns", sum.processor / double(times * n)}};
	return s;
}

template <class Subject> contender field_of(const char *name, size_t n, size_t all, how h = how::alone, size_t stack = small_stack)
{
	return {name, [=](unsigned, uint64_t) { return deaths<Subject>(n, all, h, stack); }};
}

} // namespace

void run_w9(const settings &s)
{
	std::vector<size_t> sizes{10000, 100000};

	if (!s.quick())
		sizes.push_back(1000000);
	sizes = s.sizes_or(sizes);
	size_t most = *std::max_element(sizes.begin(), sizes.end());
	for (size_t n : sizes) {
		std::vector<contender> field{
			field_of<hapax_callbacks>("hapax", n, most),
			field_of<hapax_callbacks>("hapax, same memory", n, most, how::together),
			field_of<hapax_callbacks>("hapax, and freed", n, most, how::freed),
#ifdef HAVE_GOBJECT
			field_of<gobject_callbacks>("GObject callbacks", n, most),
			field_of<gobject_weak_refs>("GWeakRef", n, most),
#endif
		};
		compete(s, "w9-callbacks", "", n, 1, field);
	}
	for (size_t n : sizes) {
		std::vector<contender> field{
			field_of<hapax_chain>("hapax", n, most),
			field_of<hapax_chain>("hapax, same memory", n, most, how::together),
			field_of<hapax_chain>("hapax, and freed", n, most, how::freed),
			field_of<shared_chain_loop>("std::shared_ptr, by a loop", n, most),
			/* its frames are far smaller than this */
			field_of<shared_chain>("std::shared_ptr, recursive", n, most, how::alone, small_stack + 512 * n),
		};
		compete(s, "w9-chain", "", n, 1, field);
	}
}

} // namespace bench
