/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rows.hpp"

#include <algorithm>
#include <thread>

#include <hapax/hapax.h>
#include <json-c/json.h>

#include "bars.hpp"
#include "options.hpp"
#include "surroundings.hpp"

namespace bench {

FILE *human = stdout;

static std::vector<row> all;
static std::map<std::string, std::string> versions, absences;

const std::vector<row> &rows() { return all; }

double median(std::vector<double> values)
{
	if (values.empty())
		return 0;
	std::sort(values.begin(), values.end());
	size_t m = values.size() / 2;
	return values.size() % 2 ? values[m] : (values[m - 1] + values[m]) / 2;
}

double row::value() const { return median(rounds); }
double row::min() const { return rounds.empty() ? 0 : *std::min_element(rounds.begin(), rounds.end()); }
double row::max() const { return rounds.empty() ? 0 : *std::max_element(rounds.begin(), rounds.end()); }

template <class Pick> static double median_of(const std::vector<sample> &samples, Pick pick)
{
	std::vector<double> values;

	for (const sample &s : samples)
		values.push_back(pick(s));
	return median(values);
}

row make_row(const char *workload, const std::string &subject, const char *key, size_t n, unsigned threads,
	     const std::vector<sample> &samples, const char *unit)
{
	row r;

	r.workload = workload;
	r.subject = subject;
	r.key = key;
	r.n = n;
	r.threads = threads;
	r.unit = unit;
	for (const sample &s : samples)
		r.rounds.push_back(s.value);
	for (const sample &s : samples)
		r.ns_rounds.push_back(s.ns);
	for (double latencies::*field : {&latencies::p50, &latencies::p99, &latencies::p999, &latencies::p9999, &latencies::max})
		r.ns.*field = median_of(samples, [&](const sample &s) { return s.ns.*field; });
	r.hit_ratio = samples.empty() ? -1 : median_of(samples, [](const sample &s) { return s.hit_ratio; });
	if (!samples.empty())
		for (const auto &figure : samples.front().figures)
			r.figures[figure.first] = median_of(samples, [&](const sample &s) {
				auto found = s.figures.find(figure.first);
				return found == s.figures.end() ? 0 : found->second;
			});
	return r;
}

void report(const row &r, double ratio)
{
	std::fprintf(human, "%-8s %-6s n=%-8zu t=%u  %-34s %9.4g %s [%.4g, %.4g]", r.workload.c_str(), r.key.c_str(), r.n,
		     r.threads, r.subject.c_str(), r.value(), r.unit.c_str(), r.min(), r.max());
	if (ratio > 0)
		std::fprintf(human, "  hapax is %5.2fx", ratio);
	if (r.hit_ratio >= 0)
		std::fprintf(human, "  hits %.2f %%", 100 * r.hit_ratio);
	if (r.ns.max > 0)
		std::fprintf(human, "  p50 %.0f p99 %.0f p99.9 %.0f p99.99 %.0f max %.0f ns", r.ns.p50, r.ns.p99, r.ns.p999,
			     r.ns.p9999, r.ns.max);
	for (const auto &figure : r.figures)
		std::fprintf(human, "  %s %.4g", figure.first.c_str(), figure.second);
	std::fputc('\n', human);
	std::fflush(human);
	all.push_back(r);
}

const row *find(const std::string &workload, const std::string &subject, const std::string &key, size_t n, unsigned threads)
{
	for (const row &r : all)
		if (r.workload == workload && r.subject == subject && r.key == key && r.n == n && r.threads == threads)
			return &r;
	return nullptr;
}

void note_version(const std::string &peer, const std::string &version) { versions[peer] = version; }

void note_absent(const std::string &peer, const std::string &workload, const std::string &why)
{
	if (absences.emplace(peer + ", " + workload, why).second)
		std::fprintf(human, "%-8s %s: absent, %s\n", workload.c_str(), peer.c_str(), why.c_str());
}

/* ---- JSON ---- */

static void add(json_object *o, const char *key, double value) { json_object_object_add(o, key, json_object_new_double(value)); }
static void add(json_object *o, const char *key, const std::string &value)
{
	json_object_object_add(o, key, json_object_new_string(value.c_str()));
}
static void add_integer(json_object *o, const char *key, int64_t value)
{
	json_object_object_add(o, key, json_object_new_int64(value));
}

static const struct {
	const char *name;
	double latencies::*field;
} latency_fields[] = {{"p50_ns", &latencies::p50}, {"p99_ns", &latencies::p99}, {"p999_ns", &latencies::p999},
		      {"p9999_ns", &latencies::p9999}, {"max_ns", &latencies::max}};

static json_object *row_json(const row &r)
{
	json_object *o = json_object_new_object(), *rounds = json_object_new_array();

	add(o, "workload", r.workload);
	add(o, "subject", r.subject);
	add(o, "key", r.key);
	add_integer(o, "n", int64_t(r.n));
	add_integer(o, "threads", r.threads);
	add(o, "unit", r.unit);
	add(o, "mops", r.unit == "Mops/s" ? r.value() : 0);
	add(o, "value", r.value());
	add(o, "min", r.min());
	add(o, "max", r.max());
	for (double v : r.rounds)
		json_object_array_add(rounds, json_object_new_double(v));
	json_object_object_add(o, "rounds", rounds);
	json_object *latency_rounds = json_object_new_object();
	for (const auto &[name, field] : latency_fields) {
		json_object *array = json_object_new_array();
		for (const latencies &l : r.ns_rounds)
			json_object_array_add(array, json_object_new_double(l.*field));
		json_object_object_add(latency_rounds, name, array);
		add(o, name, r.ns.*field);
	}
	if (r.ns.max > 0)
		json_object_object_add(o, "latency_rounds", latency_rounds);
	else
		json_object_put(latency_rounds);
	json_object_object_add(o, "bytes_per_entry", r.workload == "w6" ? json_object_new_double(r.value()) : nullptr);
	if (r.hit_ratio >= 0)
		add(o, "hit_ratio", r.hit_ratio);
	if (!r.figures.empty()) {
		json_object *figures = json_object_new_object();
		for (const auto &figure : r.figures)
			add(figures, figure.first.c_str(), figure.second);
		json_object_object_add(o, "figures", figures);
	}
	return o;
}

static json_object *limits_json()
{
	json_object *o = json_object_new_object();

	for (const row &r : all)
		if (r.workload == "limit") {
			if (!json_object_object_get_ex(o, r.subject.c_str(), nullptr))
				add(o, r.subject.c_str(), r.value());
			add(o, (r.subject + ", " + std::to_string(r.threads) + " threads").c_str(), r.value());
		}
	return o;
}

static json_object *bar_json(const verdict &v)
{
	json_object *o = json_object_new_object();
	auto figure = [&](const char *key, bool known, double value) {
		json_object_object_add(o, key, known ? json_object_new_double(value) : nullptr);
	};
	auto truth = [&](const char *key, double limit) {
		json_object_object_add(o, key, v.measured && limit > 0 ? json_object_new_boolean(v.holds(limit)) : nullptr);
	};

	add(o, "name", v.name);
	add(o, "workload", v.workload);
	add(o, "against", v.against);
	figure("ratio", v.measured, v.ratio);
	figure("must", v.must > 0, v.must);
	figure("goal", v.goal > 0, v.goal);
	json_object_object_add(o, "at_most", json_object_new_boolean(v.at_most));
	truth("holds", v.must);
	truth("goal_holds", v.goal);
	return o;
}

json_object *to_json(const settings &s, const std::vector<verdict> &bars)
{
	json_object *root = json_object_new_object(), *array = json_object_new_array();

	add(root, "command", "bench");
	add(root, "version", hapax_version());
	add(root, "mode", s.mode_name());
	add_integer(root, "seed", int64_t(s.seed));
	add_integer(root, "threads", *std::max_element(s.threads.begin(), s.threads.end()));
	add(root, "seconds", s.seconds);
	add_integer(root, "round_count", s.rounds);
	add_integer(root, "cores", std::thread::hardware_concurrency());
	for (const auto &text : surroundings())
		add(root, text.first, text.second);
	json_object_object_add(root, "ok", json_object_new_boolean(true));
	for (const auto &[key, texts] : {std::make_pair("peers", &versions), std::make_pair("absent", &absences)}) {
		json_object *o = json_object_new_object();
		for (const auto &text : *texts)
			add(o, text.first.c_str(), text.second);
		json_object_object_add(root, key, o);
	}
	for (const row &r : all)
		json_object_array_add(array, row_json(r));
	json_object_object_add(root, "rows", array);
	json_object_object_add(root, "limits", limits_json());
	array = json_object_new_array();
	for (const verdict &v : bars)
		json_object_array_add(array, bar_json(v));
	json_object_object_add(root, "bars", array);
	return root;
}

} // namespace bench
