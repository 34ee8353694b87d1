/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/page.hpp - a record as a page that needs nothing but itself. */
#ifndef HAPAX_BENCH_PAGE_HPP
#define HAPAX_BENCH_PAGE_HPP

#include <cstdio>

struct json_object;

namespace bench {

struct record;

/* Returns 0, or HPX_EXIT_INPUT after a message. "-" is standard output. */
int write_page(const record &r, const char *path);
/* The same from the JSON of this run. */
int write_page(json_object *root, const char *path);

/* What was run when, where and how: a list, of one record or of two beside each other. */
void write_head(std::FILE *to, const record &first, const record *second);

extern const char page_style[];

} // namespace bench

#endif
