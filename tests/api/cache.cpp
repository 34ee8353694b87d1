// SPDX-License-Identifier: LGPL-2.1-or-later
// hapax::cache: objects with constructors and destructors, every form of loader, keys, callables and how long they live.
#include "api.hpp"

#include <memory>
#include <optional>

namespace {

using things = hapax::cache<thing>;

// Counts its copies; the last of them tells that all callables have gone.
struct token {
	static inline std::atomic<int> alive{0};
	token() { alive++; }
	token(const token &) { alive++; }
	~token() { alive--; }
};

void a_loader_that_answers_the_object()
{
	things cache;
	hapax::ref<thing> one, same, other;
	int loads = 0;

	CHECK(!cache);
	CHECK(things::create(cache, hapax::options(), [&loads, mine = std::make_unique<int>(1)](std::string_view name) {
		      loads += *mine;
		      return thing(name);
	      }) == HAPAX_OK);
	CHECK(cache.get("a", one) == HAPAX_OK && one->text == "a" && one->more.size() == 100);
	CHECK(cache.get("a", same) == HAPAX_OK && same == one && loads == 1 && thing::made == 1);
	CHECK(cache.get_if_present("b", other) == HAPAX_MISS && !other);
	CHECK(cache.get_quietly("a", other) == HAPAX_OK && other == one);
	CHECK(cache.size() == 1 && cache.contains("a") == 1 && cache.contains("b") == 0);
	CHECK(cache.remove("a") == HAPAX_OK && cache.remove("a") == HAPAX_MISS);
	CHECK(cache.get("a", same) == HAPAX_OK && same != one && thing::alive == 2);
	CHECK(cache.pop("a", other) == HAPAX_OK && other == same);
	CHECK(cache.put("p", one) == HAPAX_OK && cache.get("p", other) == HAPAX_OK && other == one);
	CHECK(cache.remove_if("p", same) == HAPAX_MISS && cache.remove_if("p", one) == HAPAX_OK);

	bool inserted = false;
	CHECK(cache.get_or_put("q", one, other, &inserted) == HAPAX_OK && inserted && other == one);
	CHECK(cache.get_or_put("q", same, other, &inserted) == HAPAX_OK && !inserted && other == one);

	hapax_cache_stats stats = cache.stats();
	CHECK(stats.loads == 2 && stats.load_successes == 2 && stats.hits >= 2);
	cache.clear();
	CHECK(cache.size() == 0);
	cache.close();
	CHECK(cache.get("a", other) == HAPAX_ECLOSED && !other);
	one.reset();
	same.reset();
	CHECK(thing::alive == 0);
}

void an_optional_loader()
{
	hapax::cache<std::string, int> cache; // keys are integers
	hapax::ref<std::string> text;

	CHECK(cache.create(cache, hapax::options(), [](int n) -> std::optional<std::string> {
		      if (n < 0)
			      return std::nullopt;
		      return std::string(static_cast<std::size_t>(n), 'x');
	      }) == HAPAX_OK);
	CHECK(cache.get(40, text) == HAPAX_OK && text->size() == 40);
	CHECK(cache.get(-1, text) == HAPAX_NOVALUE && !text);
	CHECK(!cache.get_or_throw(-1));
}

void a_loader_that_finds_an_object_elsewhere()
{
	things cache;
	hapax::ref<thing> held, got;

	CHECK(hapax::make(nullptr, held, 4) == HAPAX_OK);
	CHECK(things::create(cache, hapax::options(), [&held](std::string_view name) {
		      return name == "none" ? hapax::ref<thing>() : held.share();
	      }) == HAPAX_OK);
	CHECK(cache.get("x", got) == HAPAX_OK && got == held);
	CHECK(cache.get("none", got) == HAPAX_NOVALUE && !got);
}

void a_loader_that_places_the_object()
{
	things cache;
	hapax::ref<thing> got;
	hapax::load_error why;

	CHECK(things::create(cache, hapax::options(), [](hapax::place<thing> &where, std::string_view name, hapax_load_error &error) {
		      if (name == "nothing")
			      return static_cast<int>(HAPAX_LOAD_OK); // a fault of the loader's
		      where.emplace(name);
		      error.code = 77;
		      return static_cast<int>(name == "late" ? HAPAX_LOAD_FAIL : HAPAX_LOAD_OK);
	      }) == HAPAX_OK);
	CHECK(cache.get("good", got) == HAPAX_OK && got->text == "good");
	CHECK(cache.get("late", got, why) == HAPAX_ELOADER && !got && why.code() == 77 && !why.exception());
	CHECK(thing::alive == 0); // "good" was released, and what was constructed for "late" is gone
	CHECK(cache.get("nothing", got, why) == HAPAX_ELOADER && why.code() == hapax::thrown && why.exception());
}

void a_loader_of_one_call()
{
	things cache;
	hapax::ref<thing> got;
	int calls = 0;

	CHECK(things::create(cache, hapax::options()) == HAPAX_OK);
	CHECK(cache.get("a", got) == HAPAX_ENOLOADER);
	CHECK(cache.get_with("a", got, [&calls](std::string_view name) { return calls++, thing(name); }) == HAPAX_OK);
	CHECK(cache.get_with("a", got, [&calls](std::string_view name) { return calls++, thing(name); }) == HAPAX_OK && calls == 1);
}

struct point { // a key without padding
	int x, y;
};

void structures_as_keys()
{
	hapax::cache<long, point> sums;
	hapax::ref<long> a, b;

	CHECK(sums.create(sums, hapax::options(), [](point p) -> long { return p.x + p.y; }) == HAPAX_OK);
	CHECK(sums.get({3, 4}, a) == HAPAX_OK && *a == 7);
	CHECK(sums.get({3, 4}, b) == HAPAX_OK && b == a);
	CHECK(sums.get({4, 3}, b) == HAPAX_OK && b != a);
}

void listeners_and_weights()
{
	things cache;
	std::vector<std::pair<std::string, hapax_cause>> told;
	std::string leaked;
	things::callbacks also;
	hapax_cache_options options = hapax::options();
	hapax::ref<thing> got;
	token alive;

	also.on_removal = [&told, alive](const things::removal &r) { told.emplace_back(std::string(r.key), r.cause); };
	also.weigh = [alive](std::string_view name, thing &) -> std::uint64_t {
		if (name == "heavy")
			throw std::length_error("no weight");
		return name.size();
	};
	also.leak = [&leaked](std::string_view key, thing &, std::uint64_t) { leaked = key; };
	options.max_weight = 5;
	CHECK(things::create(cache, options, [alive](std::string_view name) { return thing(name); }, also) == HAPAX_OK);
	also = {};
	CHECK(cache.get("abc", got) == HAPAX_OK);
	got.reset();
	CHECK(thing::alive == 1 && told.empty()); // the cache holds it
	CHECK(cache.get("defg", got) == HAPAX_OK); // 7 are too much: one of them goes
	got.reset();
	CHECK(told.size() == 1 && told[0].second == HAPAX_CAUSE_SIZE && thing::alive == 1);
	CHECK(cache.get("heavy", got) == HAPAX_ECALLBACK && !got && thing::alive == 1);
	told.clear();
	CHECK(cache.remove(cache.contains("abc") == 1 ? "abc" : "defg") == HAPAX_OK);
	CHECK(told.size() == 1 && told[0].second == HAPAX_CAUSE_EXPLICIT && thing::alive == 0);
	CHECK(cache.get("left", got) == HAPAX_OK);
	CHECK(token::alive > 1);
	cache = things();
	CHECK(token::alive == 1); // the callables went with the cache
	CHECK(leaked == "left" && got->text == "left");
}

// Destroyed from inside its own loader: that one's captures stay until it has returned.
void destroyed_from_inside()
{
	auto cache = std::make_unique<things>();
	hapax::ref<thing> got;
	hapax_cache *raw;

	{
		token alive;

		CHECK(things::create(*cache, hapax::options(), [&cache, alive](std::string_view name) {
			      cache.reset();
			      CHECK(token::alive >= 1); // this very callable
			      return thing(name);
		      }) == HAPAX_OK);
	}
	CHECK(token::alive == 1);
	raw = cache->raw();
	void *object = nullptr;
	CHECK(hapax_cache_get(raw, HAPAX_STR("k"), &object) == HAPAX_ECLOSED && !object);
	CHECK(token::alive == 0 && thing::alive == 0);
}

void what_is_refused()
{
	things cache;
	hapax_cache_options options = hapax::options();
	{
		token alive;

		options.type = &hapax::type<thing>;
		CHECK(things::create(cache, options, [alive](std::string_view name) { return thing(name); }) == HAPAX_EOPTION);
		options = hapax::options();
		options.flags = 1u << 30;
		CHECK(things::create(cache, options, [alive](std::string_view name) { return thing(name); }) == HAPAX_EFLAGS);
	}
	CHECK(!cache && token::alive == 0);
}

void computes_and_iterations()
{
	hapax::cache<int, std::string> numbers;
	hapax::ref<int> got;
	hapax_change change;
	std::size_t removed = 0;
	int sum = 0;
	bool thrown = false;
	hapax_cache_options options = hapax::options();

	options.max_entries = 100;
	CHECK(numbers.create(numbers, options, [](const std::string &text) { return std::stoi(text); }) == HAPAX_OK);
	for (int i = 1; i <= 10; i++)
		CHECK(numbers.get(std::to_string(i), got) == HAPAX_OK && *got == i);
	auto twice = [](int *current, hapax::ref<int> &next) {
		return current && hapax::make(nullptr, next, *current * 2) == 0 ? HAPAX_COMPUTE_PUT : HAPAX_COMPUTE_KEEP;
	};
	CHECK(numbers.compute("5", twice, &got, &change) == HAPAX_OK && *got == 10 && change == HAPAX_REPLACED);
	try {
		(void)numbers.compute("6", [](int *, hapax::ref<int> &) -> int { throw std::runtime_error("no"); });
	} catch (const std::runtime_error &) {
		thrown = true;
	}
	CHECK(thrown && numbers.contains("6") == 1);
	CHECK(numbers.for_each([&sum](const std::string &, const hapax::ref<int> &n) { sum += *n; }) == HAPAX_OK && sum == 60);
	CHECK(numbers.remove_where([](const std::string &, int &n) { return n % 2 == 0; }, &removed) == HAPAX_OK && removed == 6);
	thrown = false;
	try {
		numbers.remove_where([](const std::string &, int &) -> bool { throw std::runtime_error("no"); });
	} catch (const std::runtime_error &) {
		thrown = true;
	}
	CHECK(thrown && numbers.size() == 4);
}

struct config {
	int number;
};

} // namespace

template <> struct hapax::type_traits<config> {
	static constexpr const char *name = "configuration";
	static constexpr unsigned flags = HAPAX_TYPE_BORROW;
};

namespace {

void borrowing()
{
	hapax::cache<config> configs;
	hapax::ref<config> held;

	CHECK(std::string_view(hapax::type<config>.name) == "configuration");
	CHECK(configs.create(configs, hapax::options(), [](std::string_view) { return config{5}; }) == HAPAX_OK);
	CHECK(!configs.borrow("a"));
	CHECK(configs.get("a", held) == HAPAX_OK);
	{
		auto borrowed = configs.borrow("a");

		CHECK(borrowed && borrowed->number == 5 && hapax_count(held.get()) == 1);
	}
}

void durations()
{
	CHECK(hapax::ns(std::chrono::seconds(2)) == 2000000000);
	CHECK(hapax::ns(std::chrono::milliseconds(0)) == HAPAX_ZERO);
	CHECK(hapax::ns(std::chrono::hours::max()) == INT64_MAX);
}

} // namespace

int main()
{
	a_loader_that_answers_the_object();
	an_optional_loader();
	a_loader_that_finds_an_object_elsewhere();
	a_loader_that_places_the_object();
	a_loader_of_one_call();
	structures_as_keys();
	listeners_and_weights();
	destroyed_from_inside();
	what_is_refused();
	computes_and_iterations();
	borrowing();
	durations();
	CHECK(thing::alive == 0 && token::alive == 0);
	return 0;
}
