/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/bars.cpp - the table of bars: what is compared with what, and what the ratio has to be. A bar whose rows are not
 * there is listed as not measured.
 *
 * "Best peer" is the fastest row of the same workload, size and thread count that is not hapax, whoever that was in this
 * call; with fewer peers installed the bars are lower.
 */
#include "bars.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>

#include "options.hpp"
#include "rows.hpp"

namespace bench {

namespace {

bool ours(const row &r) { return r.subject.rfind("hapax", 0) == 0; }

/* In w4 a peer whose objects wait for a collector hits them again before they die: another kind of work. */
bool comparable(const row &r) { return r.workload != "w4" || r.hit_ratio < 0; }

/* Inserts take no lock there. */
bool locking(const row &r) { return r.subject != "cds_lfht"; }

/* Where a row is: all but its subject. */
struct place {
	const char *workload, *key;
	size_t n;
	unsigned threads;
};

const row *at(const place &p, const char *subject) { return find(p.workload, subject, p.key, p.n, p.threads); }

/* The row there for which `figure` is the least, of those that `pick` allows. */
template <class Pick, class Figure> const row *least(const place &p, Pick pick, Figure figure)
{
	const row *best = nullptr;

	for (const row &r : rows())
		if (r.workload == p.workload && r.key == p.key && r.n == p.n && r.threads == p.threads && pick(r) &&
		    (!best || figure(r) < figure(*best)))
			best = &r;
	return best;
}

const row *best_peer(const place &p)
{
	return least(
		p, [](const row &r) { return !ours(r) && comparable(r); }, [](const row &r) { return -r.value(); });
}

/* Of our own rows with one of these names the fastest. */
const row *best_of(const place &p, std::initializer_list<const char *> subjects)
{
	return least(
		p,
		[&](const row &r) {
			return std::any_of(subjects.begin(), subjects.end(), [&](const char *name) { return r.subject == name; });
		},
		[](const row &r) { return -r.value(); });
}

double figure_of(const row &r, const char *name)
{
	auto found = r.figures.find(name);

	return found == r.figures.end() ? 0 : found->second;
}

std::string short_size(size_t n)
{
	size_t zeros = 0;

	for (; n >= 10 && n % 10 == 0; n /= 10)
		zeros++;
	std::string tail = zeros ? "e" + std::to_string(zeros) : "";
	return std::to_string(n) + tail;
}

std::string title(const place &p)
{
	std::string name = p.workload;

	if (!std::strcmp(p.key, "str24"))
		name += " 24-byte keys";
	if (p.n > 1)
		name += " " + short_size(p.n);
	return name + ", " + std::to_string(p.threads) + (p.threads == 1 ? " thread" : " threads");
}

class table {
	std::vector<verdict> &list_;

public:
	explicit table(std::vector<verdict> &list) : list_(list) {}

	verdict &begin(const std::string &name, const char *workload, double must, double goal, bool at_most = false)
	{
		verdict v;

		v.name = name;
		v.workload = workload;
		v.must = must;
		v.goal = goal;
		v.at_most = at_most;
		list_.push_back(v);
		return list_.back();
	}
	static void set(verdict &v, double ratio)
	{
		v.measured = std::isfinite(ratio);
		v.ratio = v.measured ? ratio : 0;
	}
	/* The rate of `a` by that of `b`; either may be missing. */
	void rates(const std::string &name, const char *workload, const row *a, const row *b, double must, double goal)
	{
		verdict &v = begin(name, workload, must, goal);

		if (b)
			v.against = b->subject;
		if (a && b && b->value() > 0)
			set(v, a->value() / b->value());
	}
	void peer(const place &p, double must, double goal)
	{
		rates(title(p), p.workload, at(p, "hapax"), best_peer(p), must, goal);
	}
	void figure(const std::string &name, const char *workload, const row *a, double value, double must, double goal)
	{
		verdict &v = begin(name, workload, must, goal, true);

		if (a)
			set(v, value);
	}
};

void hits(table &t)
{
	struct line {
		const char *key;
		size_t n;
		double must_1, must_2, goal;
	};

	for (const line &l : {line{"u64", 1000, 1, 1.5, 0}, {"u64", 100000, 1.15, 1.5, 0}, {"u64", 1000000, 1.15, 1.5, 0},
			      {"u64", 10000000, 1, 1.05, 0}, {"str24", 100000, 1.2, 1.4, 2}, {"str24", 1000000, 1.2, 1.4, 2}}) {
		t.peer({"w1", l.key, l.n, 1}, l.must_1, l.goal > 0 ? l.goal : 1.5);
		t.peer({"w1", l.key, l.n, 2}, l.must_2, 2);
	}
	for (const auto &[n, must] : {std::pair<size_t, double>{100000, 0.33}, {1000000, 0.28}}) {
		place p{"w1", "u64", n, 2};
		t.rates(title(p) + ", against the limit", "w1", at(p, "hapax"), at({"limit", "", n, 2}, "line+object+count"), must, 0.5);
	}
	t.peer({"w2", "u64", 1000000, 1}, 1.3, 2);
	t.peer({"w2", "u64", 1000000, 2}, 1.7, 2);
}

void hot(table &t)
{
	auto place_of = [](unsigned threads) { return place{"w3", "u64", 1, threads}; };
	/* counts may spread over threads where the cache itself holds the object, or the type allows a later death */
	auto spread = [&](unsigned threads) { return best_of(place_of(threads), {"hapax (retaining)", "hapax (may linger)"}); };
	auto borrow = [&](unsigned threads) { return at(place_of(threads), "hapax (borrow)"); };

	t.rates("w3, 2 threads", "w3", spread(2), best_peer(place_of(2)), 3, 0);
	t.rates("w3, 2 threads against 1", "w3", spread(2), spread(1), 1.9, 0);
	t.rates("w3, 8 threads against 2", "w3", spread(8), spread(2), 0.95, 0);
	t.rates("w3, 2 threads, against the limit of one word", "w3", spread(2), at({"limit", "", 1, 2}, "add+sub, one word"), 0, 2);
	t.rates("w3, 1 thread, against a count in one word", "w3", spread(1), at(place_of(1), "hapax"), 0, 1);
	t.rates("w3 borrow, 2 threads against 1", "w3", borrow(2), borrow(1), 1.95, 0);
	t.rates("w3 borrow, 1 thread, against get", "w3", borrow(1), at(place_of(1), "hapax"), 2, 0);
}

void churn(table &t)
{
	t.peer({"w4", "u64", 100000, 1}, 0.9, 1.5);
	t.peer({"w4", "u64", 100000, 2}, 1.1, 1.5);
	t.peer({"w4", "u64", 100000, 8}, 0.85, 1.5);
}

void storms(table &t)
{
	const row *worst_loads = nullptr;
	const row *worst_wait = nullptr;
	auto loads = [](const row &r) { return figure_of(r, "loads_per_key"); };
	/* the waiters' wait less one wake-up, by the load as it was */
	auto wait = [](const row &r) { return (r.ns.p50 - figure_of(r, "wake_up_ns")) / figure_of(r, "load_p50_ns"); };

	for (const row &r : rows())
		if (r.workload == "w5" && r.subject == "hapax") {
			if (!worst_loads || loads(r) > loads(*worst_loads))
				worst_loads = &r;
			if (!worst_wait || wait(r) > wait(*worst_wait))
				worst_wait = &r;
		}
	t.figure("w5 loads per key", "w5", worst_loads, worst_loads ? loads(*worst_loads) : 0, 1, 0);
	t.figure("w5 median wait, in loads", "w5", worst_wait, worst_wait ? wait(*worst_wait) : 0, 1.05, 0);

	const place p{"w5b", "u64", 100000, 1};
	const row *a = at(p, "hapax"), *tbb = at(p, "oneTBB"), *idle = at(p, "hapax, nothing loading");
	t.rates("w5b hits", "w5b", a, tbb, 2, 0);
	t.figure("w5b p99.99", "w5b", a && tbb ? a : nullptr, a && tbb ? a->ns.p9999 / tbb->ns.p9999 : 0, 1, 0);
	/* "no difference": as near as these runs can tell */
	t.rates("w5b hits, against nothing loading", "w5b", a, idle, 0, 0.97);
}

void memory_and_growth(table &t)
{
	const row *bytes = at({"w6", "u64", 1000000, 1}, "hapax");
	t.figure("w6 bytes an entry", "w6", bytes, bytes ? bytes->value() : 0, 52, 40);

	size_t n = 0; /* the most that was grown to */
	for (const row &r : rows())
		if (r.workload == "w7" && r.threads == 1)
			n = std::max(n, r.n);
	const place p{"w7", "u64", n, 1};
	const row *a = at(p, "hapax");
	auto other = [](const row &r) { return !ours(r) && locking(r); };
	for (double latencies::*field : {&latencies::max, &latencies::p999}) {
		const row *b = least(p, other, [&](const row &r) { return r.ns.*field; });
		bool longest = field == &latencies::max;
		verdict &v = t.begin(longest ? "w7 longest insert" : "w7 p99.9", "w7", longest ? 0.05 : 0.35, 0, true);
		if (b)
			v.against = b->subject;
		if (a && b)
			table::set(v, a->ns.*field / (b->ns.*field));
	}
	t.figure("w7 longest insert on its core, us", "w7", a, a ? figure_of(*a, "own_max_ns") / 1e3 : 0, 0, 100);
}

void calls(table &t)
{
	for (size_t n : {size_t(1000000), size_t(10000000)}) {
		place p{"w8", "u64", n, 1};
		t.rates(title(p), "w8", at(p, "hapax"), at(p, "hapax, 32 gets"), 2, 4);
	}
	for (const char *w : {"w9-callbacks", "w9-chain"})
		for (const char *subject : {"hapax", "hapax, same memory"}) {
			const row *few = at({w, "", 10000, 1}, subject), *many = at({w, "", 1000000, 1}, subject);
			t.figure(std::string(w) + ": a death of 1e6 in deaths of 1e4" + (subject[5] ? subject + 5 : ""), w,
				 few && many ? many : nullptr, few && many ? few->value() / many->value() : 0, 1.5, 0);
		}
	for (const char *w : {"w11-create", "w11-upgrade"})
		for (unsigned threads : {1u, 2u}) {
			const row *a = nullptr, *b = nullptr;
			for (const row &r : rows())
				if (r.workload == w && r.threads == threads) {
					if (r.subject == "hapax")
						a = &r;
					else if (r.subject == "std::weak_ptr")
						b = &r;
				}
			t.rates(std::string(w) + (threads == 1 ? ", 1 thread" : ", 2 threads"), w, a, b, threads == 1 ? 1 : 2,
				threads == 1 ? 1.5 : 4);
		}
}

void bounded(table &t)
{
	for (const char *w : {"w10", "w10-20us"}) {
		auto own = [&](unsigned threads) { return at({w, "u64", 50000, threads}, "hapax"); };
		std::string name = w;

		if (name == "w10")
			t.rates(name + ", 2 threads", w, own(2), at({w, "u64", 50000, 2}, "mutex+unordered_map+list"), 3, 5);
		t.rates(name + ", 8 threads against 2", w, own(8), own(2), 0.9, 0);
		for (unsigned threads : {2u, 8u}) {
			const row *one = own(1), *many = own(threads);
			auto hits = [](const row *r) { return r->figures.at(hits_of_same_requests); };
			bool both = one && many && one->figures.count(hits_of_same_requests) && many->figures.count(hits_of_same_requests);
			t.figure(name + " hits, " + std::to_string(threads) + " threads against 1, points", w, both ? one : nullptr,
				 both ? 100 * std::abs(hits(many) - hits(one)) : 0, 0.3, 0);
		}
	}
}

} // namespace

std::vector<verdict> judge()
{
	std::vector<verdict> list;
	table t(list);

	hits(t);
	hot(t);
	churn(t);
	storms(t);
	memory_and_growth(t);
	calls(t);
	bounded(t);
	return list;
}

void print(const settings &s, const std::vector<verdict> &bars)
{
	size_t hold = 0, missed = 0, absent = 0;

	for (const verdict &v : bars) {
		if (!s.wants(v.workload.substr(0, v.workload.find('-')).c_str()))
			continue;
		std::fprintf(human, "bar  %-52s ", v.name.c_str());
		if (!v.measured) {
			std::fprintf(human, "not measured\n");
			absent++;
			continue;
		}
		std::fprintf(human, "%9.3f  %s", v.ratio, v.at_most ? "at most " : "at least");
		if (v.must > 0) {
			std::fprintf(human, "  must %-5.4g %s", v.must, v.holds(v.must) ? "holds " : "MISSED");
			(v.holds(v.must) ? hold : missed)++;
		}
		if (v.goal > 0)
			std::fprintf(human, "  goal %-5.4g %s", v.goal, v.holds(v.goal) ? "holds " : "missed");
		std::fprintf(human, "%s%s\n", v.against.empty() ? "" : "  against ", v.against.c_str());
	}
	std::fprintf(human, "bars: %zu hold, %zu missed, %zu not measured\n", hold, missed, absent);
}

} // namespace bench
