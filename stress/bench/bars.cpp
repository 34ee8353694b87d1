/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/bars.cpp - the table of bars: each row of it says what is compared with what, and what the ratio has to be. */
#include "bars.hpp"

#include <cmath>
#include <functional>

#include "rows.hpp"

namespace bench {

static bool ours(const row &r) { return r.subject.rfind("hapax", 0) == 0; }

/* In w4 a peer whose objects wait for a collector hits them again before they die: another kind of work. */
static bool comparable(const row &r) { return r.workload != "w4" || r.hit_ratio < 0; }

/* The fastest row that is not ours; NULL: nobody else was there. */
static const row *best_peer(const char *workload, const char *key, size_t n, unsigned threads)
{
	const row *best = nullptr;

	for (const row &r : rows())
		if (!ours(r) && comparable(r) && r.workload == workload && r.key == key && r.n == n && r.threads == threads &&
		    (!best || r.value() > best->value()))
			best = &r;
	return best;
}

std::vector<verdict> judge()
{
	std::vector<verdict> list;
	auto begin = [&](const std::string &name, const char *workload, double must, double goal, bool at_most) -> verdict & {
		list.emplace_back();
		list.back().name = name;
		list.back().workload = workload;
		list.back().must = must;
		list.back().goal = goal;
		list.back().at_most = at_most;
		return list.back();
	};
	auto peers = [&](const std::string &name, const char *w, const char *key, size_t n, unsigned t, double must, double goal) {
		verdict &v = begin(name, w, must, goal, false);
		const row *a = find(w, "hapax", key, n, t), *b = best_peer(w, key, n, t);
		if (b)
			v.against = b->subject;
		if (a && b && b->value() > 0) {
			v.measured = true;
			v.ratio = a->value() / b->value();
		}
	};

	peers("w1 1e5, 2 threads", "w1", "u64", 100000, 2, 1.5, 2);
	return list;
}

void print(const std::vector<verdict> &bars)
{
	for (const verdict &v : bars) {
		std::fprintf(human, "bar  %-44s ", v.name.c_str());
		if (!v.measured) {
			std::fprintf(human, "not measured\n");
			continue;
		}
		std::fprintf(human, "%8.3f  %s", v.ratio, v.at_most ? "at most " : "at least");
		if (v.must > 0)
			std::fprintf(human, "  must %.3g %s", v.must, v.holds(v.must) ? "holds" : "MISSED");
		if (v.goal > 0)
			std::fprintf(human, "  goal %.3g %s", v.goal, v.holds(v.goal) ? "holds" : "missed");
		std::fprintf(human, "%s%s\n", v.against.empty() ? "" : "  against ", v.against.c_str());
	}
}

} // namespace bench
