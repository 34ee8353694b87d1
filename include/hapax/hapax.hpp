// SPDX-License-Identifier: LGPL-2.1-or-later
//
// hapax/hapax.hpp - everything, for C++17 and later: move-only handles, typed caches, memos and weak maps over hapax/hapax.h.
//
//      struct page { std::string text; };
//
//      hapax::cache<page> pages;
//      hapax_cache_options options = hapax::options();
//      options.max_entries = 1000;
//      options.ttl_ns = hapax::ns(std::chrono::minutes(5));
//      if (hapax::cache<page>::create(pages, options, [](std::string_view name) { return page{render(name)}; }) != HAPAX_OK)
//              ...
//      hapax::ref<page> p = pages.get_or_throw("index"); // rendered once, however many threads ask
//
#ifndef HAPAX_HAPAX_HPP
#define HAPAX_HAPAX_HPP

#include <hapax/cache.hpp>
#include <hapax/error.hpp>
#include <hapax/handle.hpp>
#include <hapax/key.hpp>
#include <hapax/loader.hpp>
#include <hapax/memo.hpp>

#endif
