// SPDX-License-Identifier: LGPL-2.1-or-later
// What a C++ program that knows hapax by its installation only does.
#include <hapax/hapax.hpp>

#include <cstdio>
#include <string>

int main()
{
	struct page {
		std::string text;
	};
	hapax::cache<page> pages;
	hapax_cache_options options = hapax::options();
	int rendered = 0;

	options.max_entries = 100;
	auto render = [&rendered](std::string_view name) { return rendered++, page{"<p>" + std::string(name)}; };
	if (hapax::cache<page>::create(pages, options, render) != HAPAX_OK)
		return 1;
	hapax::ref<page> one = pages.get_or_throw("index"), same = pages.get_or_throw("index");
	std::printf("%s, rendered: %d, shared: %s\n", one->text.c_str(), rendered, one == same ? "yes" : "no");
	return one == same && rendered == 1 ? 0 : 1;
}
