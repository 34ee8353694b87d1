/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/bench.cpp - hapax-stress bench: paired runs of the workloads against the peers that were built in.
 *
 * Absolute figures of a shared machine do not repeat; ratios within one call do. So the subjects of a row take turns,
 * `--rounds` times, and every figure printed is the median of a subject's rounds.
 */
#include <cerrno>
#include <cmath>
#include <functional>
#include <map>
#include <string>

#include <getopt.h>
#include <json-c/json.h>

#include "../peers/mutex_lru.hpp"
#include "../peers/mutex_map.hpp"
#ifdef HAVE_TBB
#include "../peers/tbb_map.hpp"
#endif
#include "workloads.hpp"

namespace {

using namespace bench;

struct settings {
	std::vector<unsigned> threads{1, 2, 8};
	std::vector<std::string> workloads{"w1", "w3", "w4", "w5b", "w6", "w10"};
	std::vector<size_t> sizes{100000, 1000000};
	double seconds = 0.3;
	unsigned rounds = 7;
	uint64_t seed = 1;
	const char *json = nullptr;
};

struct row {
	std::string workload, subject, key;
	size_t n;
	unsigned threads;
	double mops = 0, bytes = -1;
	latencies ns;
};

std::vector<row> rows;
FILE *human = stdout;

double median(std::vector<double> values)
{
	if (values.empty())
		return 0;
	std::sort(values.begin(), values.end());
	size_t m = values.size() / 2;
	return values.size() % 2 ? values[m] : (values[m - 1] + values[m]) / 2;
}

/* One subject of one row: its name and how to run it once. */
struct contender {
	const char *name;
	std::function<double(unsigned threads, uint64_t seed, latencies &)> run;
};

void compete(const settings &s, const char *workload, const char *key, size_t n, unsigned threads,
	     const std::vector<contender> &contenders)
{
	std::map<std::string, std::vector<double>> mops;
	std::map<std::string, std::vector<latencies>> ns;

	for (unsigned round = 0; round < s.rounds; round++)
		for (size_t k = 0; k < contenders.size(); k++) {
			const contender &c = contenders[(k + round) % contenders.size()];
			latencies l;
			mops[c.name].push_back(c.run(threads, s.seed + round, l));
			ns[c.name].push_back(l);
		}
	double ours = median(mops["hapax"]);
	for (const contender &c : contenders) {
		auto pick = [&](double latencies::*field) {
			std::vector<double> values;
			for (const latencies &l : ns[c.name])
				values.push_back(l.*field);
			return median(values);
		};
		row r{workload, c.name, key, n, threads, median(mops[c.name]), -1,
		      {pick(&latencies::p50), pick(&latencies::p99), pick(&latencies::p999), pick(&latencies::p9999),
		       pick(&latencies::max), pick(&latencies::hit_ratio)}};
		std::vector<double> all = mops[c.name];
		std::fprintf(human, "%-4s %-6s n=%-8zu t=%u  %-30s %8.2f Mops/s  [%.2f, %.2f]  hapax is %5.2fx", workload, key, n,
			     threads, c.name, r.mops, *std::min_element(all.begin(), all.end()),
			     *std::max_element(all.begin(), all.end()), r.mops > 0 ? ours / r.mops : 0);
		if (r.ns.hit_ratio >= 0)
			std::fprintf(human, "  hits %.2f %%", 100 * r.ns.hit_ratio);
		if (r.ns.max > 0)
			std::fprintf(human, "  p50 %.0f p99.9 %.0f p99.99 %.0f ns", r.ns.p50, r.ns.p999, r.ns.p9999);
		std::fputc('\n', human);
		std::fflush(human);
		rows.push_back(r);
	}
}

bool wanted(const settings &s, const char *workload)
{
	return std::find(s.workloads.begin(), s.workloads.end(), workload) != s.workloads.end();
}

/* The peers are alive together so that their runs can take turns. */
template <template <class> class Subject, class Key> contender hits_of(size_t n, double seconds)
{
	auto p = std::make_shared<populated<Subject, Key>>(n);
	return {Subject<Key>::name(), [p, seconds](unsigned t, uint64_t seed, latencies &) { return p->hits(t, seconds, seed); }};
}
template <template <class> class Subject, class Key> contender churn_of(size_t n, double seconds)
{
	auto p = std::make_shared<churned<Subject, Key>>(n);
	return {Subject<Key>::name(), [p, seconds](unsigned t, uint64_t seed, latencies &) { return p->churn(t, seconds, seed); }};
}
template <template <class> class Subject, class Key> contender storm_of(size_t n, double seconds)
{
	auto p = std::make_shared<populated<Subject, Key>>(n);
	return {Subject<Key>::name(), [p, seconds](unsigned, uint64_t seed, latencies &l) {
			return p->hits_while_loading(seconds, seed, l);
		}};
}

/* W10 */
const size_t bounded_room = 50000;

template <class Subject> contender bounded_of(const char *name, std::unique_ptr<Subject> subject,
					      const std::shared_ptr<const zipf_keys> &keys, double seconds,
					      const std::shared_ptr<std::chrono::nanoseconds> &load)
{
	auto p = std::make_shared<bounded<Subject, key_u64>>(std::move(subject), keys, 60 * bounded_room);
	return {name, [p, seconds, load](unsigned t, uint64_t seed, latencies &l) { return p->run(t, seconds, seed, *load, l); }};
}

void bounded_rows(const settings &s)
{
	auto keys = std::make_shared<const zipf_keys>(300000, 0.99);
	auto load = std::make_shared<std::chrono::nanoseconds>(0);
	auto own = [&](const char *name, const hapax_policy *policy) {
		return bounded_of(name, std::make_unique<hapax_subject<key_u64>>(bounded_room, policy), keys, s.seconds, load);
	};
	auto peer = std::make_unique<mutex_lru_subject<key_u64>>(bounded_room);
	std::vector<contender> field{
		own("hapax", hapax_policy_adaptive()), own("hapax (tinylfu)", hapax_policy_tinylfu()),
		own("hapax (lru)", hapax_policy_lru()),
		bounded_of(mutex_lru_subject<key_u64>::name(), std::move(peer), keys, s.seconds, load)};

	for (unsigned t : s.threads)
		compete(s, "w10", "u64", bounded_room, t, field);
	*load = std::chrono::microseconds(20);
	for (unsigned t : s.threads)
		compete(s, "w10-20us", "u64", bounded_room, t, field);
}

template <class Key> std::vector<contender> field_hits(size_t n, double seconds)
{
	return {hits_of<hapax_subject, Key>(n, seconds), hits_of<mutex_map_subject, Key>(n, seconds),
#ifdef HAVE_TBB
		hits_of<tbb_map_subject, Key>(n, seconds),
#endif
	};
}

template <class Key> void hit_rows(const settings &s, const char *workload, size_t n)
{
	auto field = field_hits<Key>(n, s.seconds);
	for (unsigned t : s.threads)
		compete(s, workload, key_name<Key>(), n, t, field);
}

void memory_rows(const settings &s, size_t n)
{
	struct entry {
		const char *name;
		double (*measure)(size_t);
	};
	const entry field[] = {
		{"hapax", memory_per_entry<hapax_subject, key_u64>},
		{"mutex+unordered_map+weak_ptr", memory_per_entry<mutex_map_subject, key_u64>},
#ifdef HAVE_TBB
		{"oneTBB", memory_per_entry<tbb_map_subject, key_u64>},
#endif
	};
	for (const entry &e : field) {
		std::vector<double> values;
		for (unsigned i = 0; i < std::min(3u, s.rounds); i++)
			values.push_back(e.measure(n));
		row r{"w6", e.name, "u64", n, 1, 0, median(values), {}};
		std::fprintf(human, "w6   u64    n=%-8zu t=1  %-30s %8.1f bytes an entry, net of 64 of payload\n", n, e.name, r.bytes);
		rows.push_back(r);
	}
}

const row *find(const char *workload, const char *subject, const char *key, size_t n, unsigned threads)
{
	for (const row &r : rows)
		if (r.workload == workload && r.subject == subject && r.key == key && r.n == n && r.threads == threads)
			return &r;
	return nullptr;
}

struct bar {
	std::string name;
	double ratio, must;
	bool at_most;
};

std::vector<bar> bars()
{
	std::vector<bar> list;
	auto rate = [&](const char *name, const char *w, const char *peer, size_t n, unsigned t, double must) {
		const row *a = find(w, "hapax", "u64", n, t), *b = find(w, peer, "u64", n, t);
		if (a && b && b->mops > 0)
			list.push_back({name, a->mops / b->mops, must, false});
	};
	rate("w1 1e5 2 threads against the mutex", "w1", "mutex+unordered_map+weak_ptr", 100000, 2, 8);
	rate("w1 1e5 2 threads against oneTBB", "w1", "oneTBB", 100000, 2, 2);
	const row *a = find("w5b", "hapax", "u64", 100000, 1), *b = find("w5b", "oneTBB", "u64", 100000, 1);
	if (a && b && b->ns.p9999 > 0)
		list.push_back({"w5b p99.99 against oneTBB", a->ns.p9999 / b->ns.p9999, 1, true});
	const row *m = find("w6", "hapax", "u64", 1000000, 1);
	if (m)
		list.push_back({"w6 bytes an entry", m->bytes, 52, true});
	rate("w10 2 threads against the mutex", "w10", "mutex+unordered_map+list", bounded_room, 2, 3);
	for (const char *w : {"w10", "w10-20us"}) {
		const row *one = find(w, "hapax", "u64", bounded_room, 1), *two = find(w, "hapax", "u64", bounded_room, 2),
			  *eight = find(w, "hapax", "u64", bounded_room, 8);
		if (two && eight && two->mops > 0)
			list.push_back({std::string(w) + " 8 threads against 2", eight->mops / two->mops, 0.9, false});
		if (one && eight)
			list.push_back({std::string(w) + " hits at 8 threads against 1, points",
					100 * std::abs(eight->ns.hit_ratio - one->ns.hit_ratio), 0.3, true});
	}
	return list;
}

bool holds(const bar &b) { return b.at_most ? b.ratio <= b.must : b.ratio >= b.must; }

int write_json(const settings &s, const std::vector<bar> &list)
{
	json_object *root = json_object_new_object(), *array = json_object_new_array();

	json_object_object_add(root, "command", json_object_new_string("bench"));
	json_object_object_add(root, "version", json_object_new_string(hapax_version()));
	json_object_object_add(root, "seed", json_object_new_int64(int64_t(s.seed)));
	json_object_object_add(root, "threads", json_object_new_int(int(s.threads.back())));
	json_object_object_add(root, "seconds", json_object_new_double(s.seconds));
	json_object_object_add(root, "ok", json_object_new_boolean(true));
	for (const row &r : rows) {
		json_object *o = json_object_new_object();
		json_object_object_add(o, "workload", json_object_new_string(r.workload.c_str()));
		json_object_object_add(o, "subject", json_object_new_string(r.subject.c_str()));
		json_object_object_add(o, "key", json_object_new_string(r.key.c_str()));
		json_object_object_add(o, "n", json_object_new_int64(int64_t(r.n)));
		json_object_object_add(o, "threads", json_object_new_int(int(r.threads)));
		json_object_object_add(o, "mops", json_object_new_double(r.mops));
		json_object_object_add(o, "p50_ns", json_object_new_double(r.ns.p50));
		json_object_object_add(o, "p99_ns", json_object_new_double(r.ns.p99));
		json_object_object_add(o, "p999_ns", json_object_new_double(r.ns.p999));
		json_object_object_add(o, "p9999_ns", json_object_new_double(r.ns.p9999));
		json_object_object_add(o, "max_ns", json_object_new_double(r.ns.max));
		json_object_object_add(o, "bytes_per_entry", r.bytes < 0 ? nullptr : json_object_new_double(r.bytes));
		if (r.ns.hit_ratio >= 0)
			json_object_object_add(o, "hit_ratio", json_object_new_double(r.ns.hit_ratio));
		json_object_array_add(array, o);
	}
	json_object_object_add(root, "rows", array);
	json_object_object_add(root, "limits", json_object_new_object());
	array = json_object_new_array();
	for (const bar &b : list) {
		json_object *o = json_object_new_object();
		json_object_object_add(o, "name", json_object_new_string(b.name.c_str()));
		json_object_object_add(o, "ratio", json_object_new_double(b.ratio));
		json_object_object_add(o, "must", json_object_new_double(b.must));
		json_object_object_add(o, "holds", json_object_new_boolean(holds(b)));
		json_object_array_add(array, o);
	}
	json_object_object_add(root, "bars", array);

	int failed = 0;
	if (!std::strcmp(s.json, "-")) {
		std::puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
	} else {
		std::string temporary = std::string(s.json) + ".tmp";
		failed = json_object_to_file_ext(temporary.c_str(), root, JSON_C_TO_STRING_PRETTY) ||
			 std::rename(temporary.c_str(), s.json);
		if (failed)
			std::fprintf(stderr, "hapax-stress bench: %s: %s\n", s.json, std::strerror(errno));
	}
	json_object_put(root);
	return failed ? 2 : 0;
}

std::vector<std::string> split(const char *text)
{
	std::vector<std::string> parts(1);
	for (; *text; text++)
		if (*text == ',')
			parts.emplace_back();
		else
			parts.back() += *text;
	return parts;
}

[[noreturn]] void usage(int status)
{
	std::fputs("usage: hapax-stress bench [--workload w1,w3,w4,w5b,w6,w10] [--n N,N] [--threads T,T] [--rounds R]\n"
		   "                          [--seconds S] [--seed N] [--json FILE|-]\n"
		   "Paired, interleaved runs against the peers built in; figures are medians over the rounds.\n",
		   status ? stderr : stdout);
	std::exit(status);
}

double number(const char *option, const std::string &text, double least, double most)
{
	char *end;
	double value = std::strtod(text.c_str(), &end);

	if (text.empty() || *end || !(value >= least && value <= most)) {
		std::fprintf(stderr, "hapax-stress bench: %s: '%s' is not a number from %g to %g\n", option, text.c_str(), least, most);
		std::exit(2);
	}
	return value;
}

settings parse(int argc, char **argv)
{
	static const option options[] = {{"workload", required_argument, nullptr, 'w'}, {"n", required_argument, nullptr, 'n'},
					 {"threads", required_argument, nullptr, 't'},  {"rounds", required_argument, nullptr, 'r'},
					 {"seconds", required_argument, nullptr, 's'},  {"seed", required_argument, nullptr, 'S'},
					 {"json", required_argument, nullptr, 'j'},     {"help", no_argument, nullptr, 'h'},
					 {nullptr, 0, nullptr, 0}};
	settings s;
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, nullptr)) != -1)
		switch (c) {
		case 'w':
			for (const std::string &w : s.workloads = split(optarg))
				if (w != "w1" && w != "w3" && w != "w4" && w != "w5b" && w != "w6" && w != "w10") {
					std::fprintf(stderr, "hapax-stress bench: no workload '%s'\n", w.c_str());
					std::exit(2);
				}
			break;
		case 'n':
			s.sizes.clear();
			for (const std::string &n : split(optarg))
				s.sizes.push_back(size_t(number("--n", n, 1, 1e8)));
			break;
		case 't':
			s.threads.clear();
			for (const std::string &t : split(optarg))
				s.threads.push_back(unsigned(number("--threads", t, 1, 1024)));
			break;
		case 'r': s.rounds = unsigned(number("--rounds", optarg, 1, 1000)); break;
		case 's': s.seconds = number("--seconds", optarg, 0.01, 3600); break;
		case 'S': s.seed = uint64_t(number("--seed", optarg, 0, 1e15)); break;
		case 'j': s.json = optarg; break;
		case 'h': usage(0);
		default: usage(2);
		}
	if (optind < argc) {
		std::fprintf(stderr, "hapax-stress bench: what is '%s'?\n", argv[optind]);
		std::exit(2);
	}
	return s;
}

} // namespace

extern "C" int hpx_bench_main(int argc, char **argv)
{
	settings s = parse(argc, argv);

	if (s.json && !std::strcmp(s.json, "-"))
		human = stderr;
	std::fprintf(human, "hapax %s, seed %llu, %u rounds of %.2f s, medians [least, most]\n", hapax_version(),
		     static_cast<unsigned long long>(s.seed), s.rounds, s.seconds);
	if (wanted(s, "w6")) /* first: it forks, and this process has no threads yet */
		memory_rows(s, 1000000);
	if (wanted(s, "w1"))
		for (size_t n : s.sizes)
			hit_rows<key_u64>(s, "w1", n);
	if (wanted(s, "w3"))
		hit_rows<key_u64>(s, "w3", 1);
	if (wanted(s, "w4")) {
		std::vector<contender> field{churn_of<hapax_subject, key_u64>(100000, s.seconds),
					     churn_of<mutex_map_subject, key_u64>(100000, s.seconds),
#ifdef HAVE_TBB
					     churn_of<tbb_map_subject, key_u64>(100000, s.seconds),
#endif
		};
		for (unsigned t : s.threads)
			compete(s, "w4", "u64", 100000, t, field);
	}
	if (wanted(s, "w5b")) {
		std::vector<contender> field{storm_of<hapax_subject, key_u64>(100000, s.seconds),
					     storm_of<mutex_map_subject, key_u64>(100000, s.seconds),
#ifdef HAVE_TBB
					     storm_of<tbb_map_subject, key_u64>(100000, s.seconds),
#endif
		};
		compete(s, "w5b", "u64", 100000, 1, field);
	}
	if (wanted(s, "w10"))
		bounded_rows(s);
	std::vector<bar> list = bars();
	for (const bar &b : list)
		std::fprintf(human, "bar  %-42s %8.2f  must be %s %.2f: %s\n", b.name.c_str(), b.ratio, b.at_most ? "at most" : "at least",
			     b.must, holds(b) ? "holds" : "MISSED");
	return s.json ? write_json(s, list) : 0;
}
