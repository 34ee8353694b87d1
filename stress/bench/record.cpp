/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "record.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include <hapax/hapax.h>
#include <json-c/json.h>

extern "C" {
#include "../harness/options.h"
#include "../harness/report.h"
}

namespace bench {

bool figure::beside(const figure &other) const
{
	return workload == other.workload && key == other.key && n == other.n && threads == other.threads && unit == other.unit;
}

const figure *record::find(const figure &like) const
{
	for (const figure &f : rows)
		if (f.subject == like.subject && f.beside(like))
			return &f;
	return nullptr;
}

double quantile(std::vector<double> values, double part)
{
	if (values.empty())
		return 0;
	std::sort(values.begin(), values.end());
	double place = part * double(values.size() - 1);
	size_t below = size_t(place), above = std::min(below + 1, values.size() - 1);
	return values[below] + (values[above] - values[below]) * (place - double(below));
}

std::string grouped(double whole)
{
	char text[32];
	return whole > 0 ? hpx_grouped(text, static_cast<uint64_t>(whole)) : "";
}

/* --- reading --- */

namespace {

using problem = std::runtime_error;

/* A place in the file: an object, and what to call it in a message. */
struct place {
	json_object *object;
	std::string name;

	/* nullptr: it is absent, or null */
	json_object *optional(const char *key) const
	{
		json_object *found = nullptr;
		json_object_object_get_ex(object, key, &found);
		return found;
	}
	std::string called(const char *key) const { return name.empty() ? "'" + std::string(key) + "'" : name + ": '" + key + "'"; }

	json_object *needed(const char *key, json_type type, const char *what) const
	{
		json_object *found = optional(key);
		if (!found)
			throw problem(called(key) + " is missing");
		if (!json_object_is_type(found, type))
			throw problem(called(key) + " is not " + what);
		return found;
	}
	std::string text(const char *key) const { return json_object_get_string(needed(key, json_type_string, "a string")); }
	double number(const char *key) const
	{
		json_object *found = optional(key);
		if (!found)
			throw problem(called(key) + " is missing");
		return number_of(found, called(key));
	}
	double number(const char *key, double without) const { return optional(key) ? number(key) : without; }
	double whole(const char *key) const
	{
		double value = number(key);
		if (value < 0 || value > 1e15 || value != std::floor(value))
			throw problem(called(key) + " is not a whole number");
		return value;
	}
	bool truth(const char *key) const
	{
		json_object *found = optional(key);
		if (found && !json_object_is_type(found, json_type_boolean))
			throw problem(called(key) + " is not true or false");
		return found && json_object_get_boolean(found);
	}
	std::vector<double> numbers(const char *key) const
	{
		json_object *array = needed(key, json_type_array, "an array");
		std::vector<double> values;
		for (size_t i = 0; i < json_object_array_length(array); i++)
			values.push_back(number_of(json_object_array_get_idx(array, i), called(key) + "[" + std::to_string(i) + "]"));
		return values;
	}
	static double number_of(json_object *value, const std::string &name)
	{
		if (!json_object_is_type(value, json_type_int) && !json_object_is_type(value, json_type_double))
			throw problem(name + " is not a number");
		double number = json_object_get_double(value);
		if (!std::isfinite(number))
			throw problem(name + " is not a finite number");
		return number;
	}
};

const char *const latency_names[] = {"p50_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns"};

figure read_row(const place &row)
{
	figure f;

	f.workload = row.text("workload");
	f.subject = row.text("subject");
	f.key = row.text("key");
	f.n = row.whole("n");
	f.threads = static_cast<unsigned>(std::min(row.whole("threads"), 1e9));
	f.unit = row.text("unit");
	f.rounds = row.numbers("rounds");
	if (f.rounds.empty())
		throw problem(row.called("rounds") + " is empty");
	f.value = quantile(f.rounds, 0.5);
	f.min = *std::min_element(f.rounds.begin(), f.rounds.end());
	f.max = *std::max_element(f.rounds.begin(), f.rounds.end());
	f.hit_ratio = row.number("hit_ratio", -1);
	for (const char *name : latency_names)
		if (double ns = row.number(name, 0); ns > 0)
			f.latency[name] = {ns};
	if (row.optional("latency_rounds")) {
		place all{row.needed("latency_rounds", json_type_object, "an object"), row.name + ": latency_rounds"};
		for (const char *name : latency_names)
			if (f.latency.count(name) && all.optional(name))
				f.latency[name] = all.numbers(name);
	}
	if (row.optional("figures")) {
		place all{row.needed("figures", json_type_object, "an object"), row.name + ": figures"};
		json_object_object_foreach(all.object, name, value)
			f.further[name] = place::number_of(value, all.called(name));
	}
	return f;
}

judged_bar read_bar(const place &bar)
{
	judged_bar b;

	b.name = bar.text("name");
	b.workload = bar.text("workload");
	b.against = bar.text("against");
	b.at_most = bar.truth("at_most");
	b.measured = bar.optional("ratio") != nullptr;
	b.ratio = bar.number("ratio", 0);
	b.must = bar.number("must", 0);
	b.goal = bar.number("goal", 0);
	b.holds = bar.truth("holds");
	b.goal_holds = bar.truth("goal_holds");
	return b;
}

/* In the order in which a reader asks. */
const struct {
	const char *key, *label;
} head_keys[] = {
	{"version", "hapax"},	 {"when", "when"},	       {"cpu", "processor"}, {"cores", "cores"},
	{"kernel", "kernel"},	 {"huge_pages", "huge pages"}, {"compiler", "compiler"}, {"command_line", "command"},
	{"mode", "mode"},	 {"seed", "seed"},	       {"round_count", "rounds"}, {"seconds", "seconds of a round"},
};

std::string scalar(json_object *value)
{
	char text[32];

	if (!value || !json_object_is_type(value, json_type_double))
		return value ? json_object_get_string(value) : "";
	std::snprintf(text, sizeof text, "%g", json_object_get_double(value));
	return text;
}

std::vector<std::pair<std::string, std::string>> texts(const place &root, const char *key)
{
	std::vector<std::pair<std::string, std::string>> list;

	if (!root.optional(key))
		return list;
	json_object *all = root.needed(key, json_type_object, "an object");
	json_object_object_foreach(all, name, value)
		list.emplace_back(name, scalar(value));
	return list;
}

void read_root(const place &root, record &to)
{
	if (!json_object_is_type(root.object, json_type_object))
		throw problem("it is not an object, so not a file of 'hapax-stress bench --json'");
	if (root.text("command") != "bench")
		throw problem("it is of 'hapax-stress " + root.text("command") + "', not of 'hapax-stress bench'");
	json_object *rows = root.needed("rows", json_type_array, "an array");
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		place row{json_object_array_get_idx(rows, i), "rows[" + std::to_string(i) + "]"};
		if (!json_object_is_type(row.object, json_type_object))
			throw problem(row.name + " is not an object");
		to.rows.push_back(read_row(row));
	}
	if (json_object *bars = root.optional("bars")) {
		if (!json_object_is_type(bars, json_type_array))
			throw problem("'bars' is not an array");
		for (size_t i = 0; i < json_object_array_length(bars); i++) {
			place bar{json_object_array_get_idx(bars, i), "bars[" + std::to_string(i) + "]"};
			if (!json_object_is_type(bar.object, json_type_object))
				throw problem(bar.name + " is not an object");
			to.bars.push_back(read_bar(bar));
		}
	}
	to.peers = texts(root, "peers");
	to.absent = texts(root, "absent");
	for (const auto &known : head_keys)
		if (json_object *value = root.optional(known.key))
			to.head.emplace_back(known.label, scalar(value));
}

} // namespace

int read_record(json_object *root, const char *path, record &to)
{
	to.path = path;
	try {
		read_root({root, ""}, to);
	} catch (const problem &wrong) {
		return hpx_input_error("bench", "%s: %s", path, wrong.what());
	}
	return 0;
}

int read_record(const char *path, record &to)
{
	std::string text;
	char part[65536];
	std::FILE *file = std::fopen(path, "r");
	if (!file)
		return hpx_input_error("bench", "%s: %s", path, std::strerror(errno));
	for (size_t got; (got = std::fread(part, 1, sizeof part, file)) > 0;)
		text.append(part, got);
	bool failed = std::ferror(file);
	int error = errno;
	std::fclose(file);
	if (failed)
		return hpx_input_error("bench", "%s: %s", path, std::strerror(error));

	text.erase(text.find_last_not_of(" \t\r\n") + 1);
	json_tokener *parser = json_tokener_new();
	if (!parser)
		return hpx_input_error("bench", "%s: out of memory", path);
	json_tokener_set_flags(parser, JSON_TOKENER_STRICT);
	json_object *root = json_tokener_parse_ex(parser, text.c_str(), static_cast<int>(text.size()));
	json_tokener_error wrong = json_tokener_get_error(parser);
	size_t end = json_tokener_get_parse_end(parser);
	json_tokener_free(parser);
	int status;
	if (wrong == json_tokener_continue)
		status = hpx_input_error("bench", "%s: not JSON: it ends in the middle", path);
	else if (wrong != json_tokener_success)
		status = hpx_input_error("bench", "%s: not JSON: offset %zu: %s", path, end, json_tokener_error_desc(wrong));
	else
		status = read_record(root, path, to);
	json_object_put(root);
	return status;
}

} // namespace bench
