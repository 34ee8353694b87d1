// SPDX-License-Identifier: LGPL-2.1-or-later
// Exceptions of loaders: caught where the library called, and thrown again on every thread that waited; what pthread_exit does;
// asynchronous gets and tokens.
#include "api.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <pthread.h>

namespace {

using things = hapax::cache<thing>;

// Copyable, as exceptions have to be; counts itself.
struct counted : std::runtime_error {
	static inline std::atomic<int> alive{0};
	int number;

	explicit counted(int n) : std::runtime_error("counted"), number(n) { alive++; }
	counted(const counted &other) : std::runtime_error(other), number(other.number) { alive++; }
	~counted() override { alive--; }
};

void caught_at_the_boundary()
{
	things cache;
	hapax::ref<thing> got;
	bool thrown = false;

	CHECK(things::create(cache, hapax::options(), [](std::string_view name) {
		      if (name == "counted")
			      throw counted(5);
		      return thing(name); // throws for "bad"
	      }) == HAPAX_OK);
	CHECK(cache.get("bad", got) == HAPAX_ELOADER && !got); // nobody wanted the error
	{
		hapax::load_error why;

		CHECK(cache.get("counted", got, why) == HAPAX_ELOADER && !got);
		CHECK(why.code() == hapax::thrown && why.exception() && counted::alive == 1);
		try {
			why.rethrow(HAPAX_ELOADER);
		} catch (const counted &e) {
			thrown = e.number == 5;
		}
		CHECK(thrown);
	}
	CHECK(counted::alive == 0); // the last copy of the error had it
	thrown = false;
	try {
		(void)cache.get_or_throw("bad");
	} catch (const std::invalid_argument &e) {
		thrown = std::string(e.what()) == "bad text";
	}
	CHECK(thrown && thing::alive == 0 && cache.size() == 0);
	CHECK(cache.get_or_throw("good")->text == "good"); // the cache goes on
	cache.close();
	thrown = false;
	try {
		(void)cache.get_or_throw("good");
	} catch (const hapax::failure &e) {
		thrown = e.status() == HAPAX_ECLOSED && std::string(e.what()) == hapax_status_text(HAPAX_ECLOSED);
	}
	CHECK(thrown);
}

// One load fails; all who wait for it get its exception.
void thrown_on_all_threads()
{
	const int waiters = 4;
	things cache;
	std::atomic<int> loads{0}, caught{0};
	std::vector<std::thread> threads;
	/* Kept until all have ended: ThreadSanitizer does not see how the C++ runtime, which is not instrumented, counts the uses
	 * of an exception object, and would take the last one's end for a race. */
	std::exception_ptr kept;

	CHECK(things::create(cache, hapax::options(), [&](std::string_view) -> thing {
		      loads++;
		      while (cache.stats().waits < waiters - 1)
			      std::this_thread::yield();
		      try {
			      throw counted(9);
		      } catch (...) {
			      kept = std::current_exception();
		      }
		      std::rethrow_exception(kept);
	      }) == HAPAX_OK);
	for (int i = 0; i < waiters; i++)
		threads.emplace_back([&]() {
			try {
				(void)cache.get_or_throw("k");
			} catch (const counted &e) {
				caught += e.number;
			}
		});
	for (std::thread &t : threads)
		t.join();
	CHECK(loads == 1 && caught == 9 * waiters);
	kept = nullptr;
	CHECK(counted::alive == 0);
}

// A thread that ends inside a loader is no exception: the frames are left, the load is abandoned, the next caller loads.
void pthread_exit_passes()
{
	things cache;
	hapax::ref<thing> got;
	std::atomic<bool> leaves{true}, left{false};
	struct on_leave {
		std::atomic<bool> &left;
		~on_leave() { left = true; }
	};

	CHECK(things::create(cache, hapax::options(),
			     [&](hapax::place<thing> &where, std::string_view name, hapax_load_error &) {
				     on_leave notes{left};

				     where.emplace(name);
				     if (leaves)
					     pthread_exit(nullptr);
				     return static_cast<int>(HAPAX_LOAD_OK);
			     }) == HAPAX_OK);
	pthread_t thread;
	CHECK(pthread_create(
		      &thread, nullptr,
		      [](void *arg) -> void * {
			      hapax::ref<thing> none;

			      (void)!static_cast<things *>(arg)->get("k", none);
			      return nullptr;
		      },
		      &cache) == 0);
	CHECK(pthread_join(thread, nullptr) == 0);
	CHECK(left && thing::alive == 0);
	leaves = false;
	CHECK(cache.get("k", got) == HAPAX_OK && got->text == "k");
}

// ---- asynchronous

struct answers {
	std::mutex lock;
	std::condition_variable told;
	int n = 0, status = 0;
	std::string text;

	void wait(int until)
	{
		std::unique_lock<std::mutex> held(lock);

		told.wait(held, [&]() { return n >= until; });
	}
	auto done()
	{
		return [this, own = std::make_unique<int>(1)](int s, hapax::ref<thing> object, hapax::load_error why) {
			std::string what = object ? object->text : "";

			try {
				if (s == HAPAX_ELOADER)
					why.rethrow(s);
			} catch (const std::exception &e) {
				what = e.what();
			}
			std::lock_guard<std::mutex> held(lock);
			status = s;
			text = what;
			n += *own;
			told.notify_all();
		};
	}
};

void asynchronous_gets()
{
	things cache;
	answers a;

	CHECK(things::create(cache, hapax::options(), [](std::string_view name) { return thing(name); }) == HAPAX_OK);
	CHECK(cache.get_async("k", a.done()) == HAPAX_OK);
	a.wait(1);
	CHECK(a.status == HAPAX_OK && a.text == "k");
	CHECK(cache.get_async("bad", a.done()) == HAPAX_OK);
	a.wait(2);
	CHECK(a.status == HAPAX_ELOADER && a.text == "bad text");
	cache.close();
	CHECK(cache.get_async("k", a.done()) == HAPAX_ECLOSED && a.n == 2);
}

void loads_by_token()
{
	things cache;
	answers a;
	hapax::load_token<thing> kept;
	hapax::ref<thing> object;

	CHECK(things::create(cache, hapax::options(), [&kept](hapax::load_token<thing> &token, std::string_view name) {
		      if (name == "bad")
			      throw std::invalid_argument("not begun");
		      if (name != "dropped")
			      kept = std::move(token);
	      }) == HAPAX_OK);
	CHECK(cache.get_async("k", a.done()) == HAPAX_OK && a.n == 0 && kept);
	CHECK(hapax::make(nullptr, object, 99) == HAPAX_OK);
	CHECK(kept.complete(std::move(object)) == HAPAX_OK);
	CHECK(a.n == 1 && a.status == HAPAX_OK && a.text == "99");
	CHECK(kept.fail(3) == HAPAX_ETOKEN);
	CHECK(cache.get_async("bad", a.done()) == HAPAX_OK && a.n == 2);
	CHECK(a.status == HAPAX_ELOADER && a.text == "not begun");
	CHECK(cache.get_async("dropped", a.done()) == HAPAX_OK && a.n == 3 && a.status == HAPAX_EABANDONED);
	CHECK(cache.get_async("k2", a.done()) == HAPAX_OK && kept.no_value() == HAPAX_OK && a.status == HAPAX_NOVALUE);
	try {
		throw counted(1);
	} catch (...) {
		CHECK(cache.get_async("k3", a.done()) == HAPAX_OK && kept.fail_with_exception() == HAPAX_OK);
	}
	CHECK(a.n == 5 && a.status == HAPAX_ELOADER && a.text == "counted" && counted::alive == 0);
}

// ---- memos and weak maps

void memos()
{
	using words = hapax::memo<std::string(int, std::string_view, double)>;
	words memo;
	hapax::ref<std::string> a, b;
	int calls = 0;
	bool thrown = false;

	CHECK(words::create(memo, words::options(), [&calls](int n, std::string_view text, double d) -> std::optional<std::string> {
		      calls++;
		      if (n < 0)
			      throw std::out_of_range("below zero");
		      if (n == 0)
			      return std::nullopt;
		      return std::to_string(n) + std::string(text) + (d == 1.5 ? "!" : "?");
	      }) == HAPAX_OK);
	CHECK(memo.call(a, 3, "x", 1.5) == HAPAX_OK && *a == "3x!");
	CHECK(memo.call(b, 3, "x", 1.5) == HAPAX_OK && b == a && calls == 1);
	CHECK(*memo(-0 + 7, "x", 2) == "7x?" && !memo(0, "", 0));
	try {
		(void)memo(-1, "", 0);
	} catch (const std::out_of_range &) {
		thrown = true;
	}
	CHECK(thrown && calls == 4);

	using lengths = hapax::memo<std::size_t(unsigned), thing>;
	lengths of;
	hapax::ref<thing> owner;
	hapax::ref<std::size_t> length;
	CHECK(hapax::make(nullptr, owner, 1234) == HAPAX_OK);
	CHECK(lengths::create(of, words::options(), [](thing &, unsigned) -> std::size_t { return 0; }) == HAPAX_EOPTION);
	CHECK(lengths::create(of, lengths::options(), [](thing &t, unsigned n) { return t.text.size() * n; }) == HAPAX_OK);
	CHECK(of.call(owner, length, 3u) == HAPAX_OK && *length == 12 && *of(owner, 2u) == 8);
}

void maps()
{
	hapax::weak_map<thing, std::string> notes;
	hapax::ref<thing> key;
	hapax::ref<std::string> note, got;

	CHECK((hapax::weak_map<thing, std::string>::create(notes)) == HAPAX_OK);
	CHECK(hapax::make(nullptr, key, 1) == HAPAX_OK && hapax::make(nullptr, note, "about the key") == HAPAX_OK);
	CHECK(notes.put(key, note) == HAPAX_OK && notes.get(key, got) == HAPAX_OK && got == note && notes.size() == 1);
	key.reset();
	CHECK(notes.size() == 0 && hapax_count(note.get()) == 2);
}

} // namespace

int main()
{
	caught_at_the_boundary();
	thrown_on_all_threads();
	pthread_exit_passes();
	asynchronous_gets();
	loads_by_token();
	memos();
	maps();
	CHECK(thing::alive == 0 && counted::alive == 0);
	return 0;
}
