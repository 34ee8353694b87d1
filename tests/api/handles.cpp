// SPDX-License-Identifier: LGPL-2.1-or-later
// The C++ handles: ownership moves, weak handles read dead, and an exception out of a loader abandons the load.
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include <hapax/hapax.hpp>

namespace {

struct value {
	int number;
};
int destroyed;

void check(bool holds, const char *what)
{
	if (holds)
		return;
	std::fprintf(stderr, "failed: %s\n", what);
	std::exit(1);
}

int load(void *object, const hapax_key *key, void *, hapax_load_error *)
{
	if (key->size == 5)
		throw std::runtime_error("no such thing");
	static_cast<value *>(object)->number = static_cast<int>(key->size);
	return HAPAX_LOAD_OK;
}

hapax_type value_type()
{
	hapax_type type{};
	type.struct_size = sizeof type;
	type.name = "value";
	type.size = sizeof(value);
	type.destroy = [](void *, void *) { destroyed++; };
	return type;
}

} // namespace

int main()
{
	static const hapax_type type = value_type();
	hapax_cache_options options{};
	hapax_cache *cache = nullptr;

	options.size = sizeof options;
	options.type = &type;
	options.load = load;
	check(hapax_cache_create(&cache, &options) == 0, "a cache");
	{
		hapax::ref<value> one, same, moved;
		hapax::weak<value> weak;

		check(hapax::get(cache, hapax::key("abc"), one) == 0 && one->number == 3, "a load");
		check(hapax::get(cache, hapax::key("abc"), same) == 0 && same == one, "the same object");
		check(hapax_count(one.get()) == 2, "two references");
		moved = std::move(one);
		check(!one && moved == same && hapax_count(same.get()) == 2, "moving takes no reference");
		check(hapax::weak<value>::of(same, weak) == 0 && weak.get() == same, "a weak handle");
		same.reset();
		moved = nullptr;
		check(destroyed == 1, "destroyed with the last handle");
		check(!weak.alive() && !weak.get(), "the weak handle reads dead");

		bool thrown = false;
		try {
			(void)hapax::get(cache, hapax::key("wrong"), one);
		} catch (const std::runtime_error &) {
			thrown = true;
		}
		check(thrown && !one, "the exception of a loader comes through");
		check(hapax_cache_size(cache) == 0 && destroyed == 1, "and leaves nothing");
		check(hapax::get(cache, hapax::key("right!"), one) == 0, "the cache goes on");
	}
	check(destroyed == 2, "nothing is left");
	hapax_cache_destroy(cache);
	return 0;
}
