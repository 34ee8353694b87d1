// SPDX-License-Identifier: LGPL-2.1-or-later
// The C++ handles: ownership moves, weak handles read dead and tell, objects are made and end as C++ has it; and what happens
// to an exception of a plain C loader: it is let through, and abandons the load.
#include "api.hpp"

#include <cstring>
#include <memory>

namespace {

int load(void *object, const hapax_key *key, void *, hapax_load_error *)
{
	if (key->size == 5)
		throw std::runtime_error("no such thing");
	static_cast<value *>(object)->number = static_cast<int>(key->size);
	return HAPAX_LOAD_OK;
}

void ownership()
{
	hapax::ref<thing> one, moved, none;
	hapax::weak<thing> weak, told;
	int deaths = 0;

	CHECK(hapax::make(nullptr, one, 123) == HAPAX_OK && one->text == "123");
	CHECK(std::string_view(hapax_type_of(one.get())->name) == "thing");
	hapax::ref<thing> same = one.share();
	CHECK(same == one && hapax_count(one.get()) == 2);
	moved = std::move(one);
	CHECK(!one && moved == same && hapax_count(same.get()) == 2);
	CHECK(hapax::weak<thing>::of(same, weak) == HAPAX_OK && weak.get() == same);
	CHECK(hapax::weak<thing>::of(same, [&deaths, alone = std::make_unique<int>(3)]() { deaths += *alone; }, told) == HAPAX_OK);
	CHECK(hapax::weak<thing>::of(none, [&deaths]() { deaths += 100; }, told) == HAPAX_ENULL && told.alive());
	same.reset();
	CHECK(thing::alive == 1 && deaths == 0);
	moved = nullptr;
	CHECK(thing::alive == 0 && deaths == 3);
	CHECK(!weak.alive() && !weak.get() && !told.alive());

	CHECK(hapax::make(nullptr, one, 2) == HAPAX_OK);
	CHECK(hapax::weak<thing>::of(one, [&deaths]() { deaths += 100; }, told) == HAPAX_OK);
	told.reset(); // cancels
	one.reset();
	CHECK(deaths == 3);
}

struct fragile { // its constructor throws, its move does not
	std::unique_ptr<int> number;

	explicit fragile(int n) : number(std::make_unique<int>(n))
	{
		if (n < 0)
			throw std::out_of_range("below zero");
	}
};

void made_and_not_made()
{
	hapax::ref<fragile> f;
	bool thrown = false;

	CHECK(hapax::make(nullptr, f, 4) == HAPAX_OK && *f->number == 4);
	try {
		(void)hapax::make(nullptr, f, -1);
	} catch (const std::out_of_range &) {
		thrown = true;
	}
	CHECK(thrown && f && *f->number == 4);
}

void exception_of_a_plain_loader()
{
	hapax_cache_options options = hapax::options();
	hapax_cache *cache = nullptr;
	void *object = nullptr;
	bool thrown = false;

	options.type = &hapax::type<value>;
	options.load = load;
	CHECK(hapax_cache_create(&cache, &options) == HAPAX_OK);
	try {
		(void)!hapax_cache_get(cache, HAPAX_STR("wrong"), &object);
	} catch (const std::runtime_error &) {
		thrown = true;
	}
	CHECK(thrown && !object && hapax_cache_size(cache) == 0);
	CHECK(hapax_cache_get(cache, HAPAX_STR("right!"), &object) == HAPAX_OK);
	CHECK(hapax::ref<value>::adopt(object)->number == 6);
	hapax_cache_destroy(cache);
}

} // namespace

int main()
{
	ownership();
	made_and_not_made();
	exception_of_a_plain_loader();
	CHECK(thing::alive == 0);
	return 0;
}
