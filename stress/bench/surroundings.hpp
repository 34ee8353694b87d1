/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/surroundings.hpp - when, where and how this program runs. */
#ifndef HAPAX_BENCH_SURROUNDINGS_HPP
#define HAPAX_BENCH_SURROUNDINGS_HPP

#include <string>
#include <utility>
#include <vector>

namespace bench {

/* Names in the JSON (rows.hpp), and texts. */
std::vector<std::pair<const char *, std::string>> surroundings();

} // namespace bench

#endif
