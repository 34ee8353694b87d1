/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/old_files.cpp - the command lines that measure nothing: comparing two files, and the page of one. */
#include "compare.hpp"

#include <algorithm>
#include <cstring>

#include <hapax/hapax.h>

#include "page.hpp"

extern "C" {
#include "../harness/options.h"
#include "../harness/result.h"
}

namespace bench {

namespace {

struct choices {
	const char *from = nullptr, *compare = nullptr, *html = nullptr;
	double threshold = 5;
	hpx_option_list workloads{};
};

bool kept(const figure &f, const hpx_option_list &workloads)
{
	if (!workloads.count || f.limit())
		return true;
	for (unsigned i = 0; i < workloads.count; i++)
		if (f.workload == workloads.text[i])
			return true;
	return false;
}

int read_kept(const char *path, const hpx_option_list &workloads, record &to)
{
	int status = read_record(path, to);

	to.rows.erase(std::remove_if(to.rows.begin(), to.rows.end(), [&](const figure &f) { return !kept(f, workloads); }), to.rows.end());
	if (!status && to.rows.empty())
		status = hpx_input_error("bench", "%s: it has no rows%s", path, workloads.count ? " of these workloads" : "");
	return status;
}

int page_of(const choices &asked)
{
	record r;
	int status;

	if (!asked.html)
		return hpx_input_error("bench", "--from: what for? --html FILE is missing");
	status = read_kept(asked.from, asked.workloads, r);
	return status ? status : write_page(r, asked.html);
}

int compare_files(const choices &asked, const char *with)
{
	record before, after;
	int status = read_kept(asked.compare, asked.workloads, before);

	if (!status)
		status = read_kept(with, asked.workloads, after);
	if (status)
		return status;
	add_latencies(before);
	add_latencies(after);
	comparison c{&before, &after, asked.threshold / 100};
	status = compare(c);
	if (status)
		return status;
	print(c, asked.html && !std::strcmp(asked.html, "-") ? stderr : stdout);
	if (asked.html)
		status = write_page(c, asked.html);
	return status ? status : c.count(change_kind::worse) ? HPX_EXIT_BROKEN : HPX_EXIT_HELD;
}

bool given(int argc, char **argv, const char *name)
{
	size_t length = std::strlen(name);

	for (int i = 1; i < argc; i++)
		if (!std::strncmp(argv[i], name, length) && (!argv[i][length] || argv[i][length] == '='))
			return true;
	return false;
}

} // namespace

int without_measuring(int argc, char **argv)
{
	bool comparing = given(argc, argv, "--compare");
	choices asked;
	const char *with = nullptr;

	if (!comparing && !given(argc, argv, "--from"))
		return -1;
	const hpx_option from[] = {
		{"from", HPX_OPTION_TEXT, &asked.from, 0, 0, "FILE", "what an earlier run wrote with --json"},
		{"html", HPX_OPTION_TEXT, &asked.html, 0, 0, "FILE", "write its page; '-': standard output"},
		{"workload", HPX_OPTION_LIST, &asked.workloads, 0, 0, "NAME", "only this workload; may be given again"},
		{nullptr, HPX_OPTION_FLAG, nullptr, 0, 0, nullptr, nullptr},
	};
	const hpx_option comparison[] = {
		{"compare", HPX_OPTION_TEXT, &asked.compare, 0, 0, "FILE", "what the earlier run wrote with --json"},
		{"threshold", HPX_OPTION_REAL, &asked.threshold, 0.01, 1000, "PERCENT", "changes up to this are none (default 5)"},
		{"workload", HPX_OPTION_LIST, &asked.workloads, 0, 0, "NAME", "only this workload; may be given again"},
		{"html", HPX_OPTION_TEXT, &asked.html, 0, 0, "FILE", "write a page with the changes; '-': standard output"},
		{nullptr, HPX_OPTION_FLAG, nullptr, 0, 0, nullptr, nullptr},
	};
	const hpx_usage page_usage = {"bench", "Measures nothing: makes the page of an earlier run.", nullptr, from};
	const hpx_usage compare_usage = {
		"bench",
		"Measures nothing: compares hapax in two earlier runs, each by peers or limits measured beside it, row by row. A\n"
		"change counts if it is beyond the threshold and beyond the noise of the rounds. Exit status 1: something is worse.",
		"NEW", comparison};
	int status = comparing ? hpx_options_parse(&compare_usage, argc, argv, &with) : hpx_options_parse(&page_usage, argc, argv, nullptr);

	if (status >= 0)
		return status;
	status = hpx_output_check("bench", "html", asked.html);
	if (status)
		return status;
	return comparing ? compare_files(asked, with) : page_of(asked);
}

} // namespace bench
