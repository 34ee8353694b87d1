/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/compare.cpp - the judgement; compare.hpp has the rule. */
#include "compare.hpp"

#include <algorithm>
#include <cmath>

extern "C" {
#include "../harness/options.h"
}

namespace bench {

const char *name_of(change_kind kind)
{
	switch (kind) {
	case change_kind::same: return "same";
	case change_kind::better: return "better";
	case change_kind::worse: return "worse";
	case change_kind::noisy: return "noisy";
	default: return "unknown";
	}
}

size_t comparison::count(change_kind kind) const
{
	return size_t(std::count_if(changes.begin(), changes.end(), [&](const change &c) { return c.kind == kind; }));
}

/* "w1 hapax, u64 keys, N = 1,000, 2 threads" */
std::string called(const figure &f)
{
	std::string name = f.workload + " " + f.subject;

	if (!f.key.empty())
		name += ", " + f.key + " keys";
	if (f.n > 0)
		name += ", N = " + grouped(f.n);
	if (f.threads)
		name += ", " + std::to_string(f.threads) + (f.threads == 1 ? " thread" : " threads");
	if (!f.unit.compare(0, 4, "ns, "))
		name += f.unit.substr(2);
	return name;
}

namespace {

const figure *best_peer(const figure &own, const record &before, const record &after)
{
	const figure *best = nullptr;

	for (const figure &f : before.rows) {
		if (f.own() || !f.beside(own) || !(f.value > 0))
			continue;
		const figure *again = after.find(f);
		if (!again || !(again->value > 0))
			continue;
		if (!best || (f.higher_is_better() ? f.value > best->value : f.value < best->value))
			best = &f;
	}
	return best;
}

const figure *limit_of(const figure &own, const record &before, const record &after)
{
	const figure *found = nullptr;

	for (const figure &f : before.rows) {
		if (!f.limit() || f.unit != own.unit || f.threads != own.threads || !(f.value > 0))
			continue;
		const figure *again = after.find(f);
		if (again && again->value > 0 && (!found || (f.n == own.n && found->n != own.n)))
			found = &f;
	}
	return found;
}

/* Of each round; more is better. */
std::vector<double> ratios(const figure &own, const figure *reference)
{
	std::vector<double> list;
	size_t rounds = own.rounds.size();

	if (reference && !reference->limit())
		rounds = std::min(rounds, reference->rounds.size());
	for (size_t i = 0; i < rounds; i++) {
		double by = !reference ? 1 : reference->limit() ? reference->value : reference->rounds[i];
		double ratio = own.higher_is_better() ? own.rounds[i] / by : by / own.rounds[i];
		if (std::isfinite(ratio)) /* a round in which one of them did nothing */
			list.push_back(ratio);
	}
	return list;
}

double factor(size_t rounds)
{
	static const double of[] = {0, 0, 0, 2.5, 1.8, 1.9, 1.3};
	return rounds < sizeof of / sizeof of[0] ? of[rounds] : std::sqrt(7 / double(rounds));
}

double spread(const std::vector<double> &values)
{
	return (quantile(values, .75) - quantile(values, .25)) / quantile(values, .5);
}

change measure(const figure &before, const figure &after, const comparison &in)
{
	change c{&before, &after};
	const figure *reference = nullptr;

	if (before.unit != "bytes") {
		reference = best_peer(before, *in.before, *in.after);
		if (!reference)
			reference = limit_of(before, *in.before, *in.after);
	}
	if (reference)
		c.reference = reference->subject;
	std::vector<double> was = ratios(before, reference), is = ratios(after, reference ? in.after->find(*reference) : nullptr);
	size_t rounds = std::min(was.size(), is.size());
	c.plain = !reference;
	c.old_ratio = quantile(was, .5);
	c.new_ratio = quantile(is, .5);
	bool counted = before.unit == "bytes";
	if (rounds < (counted ? 1 : 3) || !(c.old_ratio > 0))
		return c;
	c.part = c.new_ratio / c.old_ratio - 1;
	c.noise = c.new_ratio > 0 ? (counted ? 1 : factor(rounds)) * (spread(was) + spread(is)) : 0;
	c.known = true;
	return c;
}

/* Few rounds agree by chance now and then: no row is much quieter than the others. Bytes are. */
void judge(comparison &all)
{
	std::vector<double> noises;

	for (const change &c : all.changes)
		if (c.known && c.before->unit != "bytes")
			noises.push_back(c.noise);
	double least = 0.75 * quantile(noises, .5);
	for (change &c : all.changes) {
		if (!c.known)
			continue;
		if (c.before->unit != "bytes")
			c.noise = std::max(c.noise, least);
		if (std::fabs(c.part) <= all.threshold)
			c.kind = change_kind::same;
		else if (std::fabs(c.part) <= c.noise)
			c.kind = change_kind::noisy;
		else
			c.kind = c.part < 0 ? change_kind::worse : change_kind::better;
	}
}

int no_twins(const record &r)
{
	for (const figure &f : r.rows)
		if (r.find(f) != &f)
			return hpx_input_error("bench", "%s: the row '%s' is there twice", r.path.c_str(), called(f).c_str());
	return 0;
}

} // namespace

void add_latencies(record &r)
{
	static const struct {
		const char *key, *unit;
	} compared[] = {{"p99_ns", "ns, p99"}, {"p999_ns", "ns, p99.9"}, {"p9999_ns", "ns, p99.99"}};
	std::vector<figure> more;

	for (const figure &f : r.rows)
		for (const auto &c : compared) {
			auto found = f.latency.find(c.key);
			if (found == f.latency.end() || found->second.size() < 2)
				continue;
			more.push_back(f);
			more.back().unit = c.unit;
			more.back().rounds = found->second;
			more.back().value = quantile(found->second, .5);
		}
	r.rows.insert(r.rows.end(), more.begin(), more.end());
}

int compare(comparison &to)
{
	std::string missing;
	size_t missed = 0;

	if (no_twins(*to.before) || no_twins(*to.after))
		return HPX_EXIT_INPUT;
	for (const figure &f : to.before->rows) {
		if (!f.own() || f.limit())
			continue;
		const figure *again = to.after->find(f);
		if (again) {
			to.changes.push_back(measure(f, *again, to));
			continue;
		}
		if (missed++ < 3)
			missing += (missing.empty() ? "'" : ", '") + called(f) + "'";
	}
	if (missed)
		return hpx_input_error("bench", "%s: %zu row%s of %s %s missing: %s%s", to.after->path.c_str(), missed, missed == 1 ? "" : "s",
				       to.before->path.c_str(), missed == 1 ? "is" : "are", missing.c_str(), missed > 3 ? ", ..." : "");
	if (to.changes.empty())
		return hpx_input_error("bench", "%s: it has no rows of hapax", to.before->path.c_str());
	judge(to);
	for (const figure &f : to.after->rows)
		if (f.own() && !f.limit() && !to.before->find(f))
			to.added.push_back(&f);
	if (to.count(change_kind::unknown) == to.changes.size())
		return hpx_input_error("bench", "no row has 3 rounds in both files: the noise is not known, so nothing can be said");
	return 0;
}

std::string change::by() const
{
	return !plain ? reference : before->unit == "bytes" ? "(bytes as they are)" : "(nothing in common)";
}

double change::shown_before() const { return plain ? before->value : old_ratio; }
double change::shown_after() const { return plain ? after->value : new_ratio; }

void print(const comparison &c, std::FILE *to)
{
	std::fprintf(to, "%-52s %-30s %8s %8s %8s %8s\n", "row", "by", "before", "after", "change", "noise");
	for (const change &one : c.changes) {
		std::fprintf(to, "%-52s %-30s %8.4g %8.4g ", called(*one.before).c_str(), one.by().c_str(), one.shown_before(),
			     one.shown_after());
		if (one.kind == change_kind::unknown)
			std::fprintf(to, "%8s %8s  unknown, too few rounds\n", "", "");
		else
			std::fprintf(to, "%+7.1f%% %7.1f%%  %s\n", 100 * one.part, 100 * one.noise, name_of(one.kind));
	}
	for (const figure *f : c.added)
		std::fprintf(to, "%-52s only in %s\n", called(*f).c_str(), c.after->path.c_str());
	std::fprintf(to, "%s\n", c.summary().c_str());
}

std::string comparison::summary() const
{
	char percent[32];
	std::string text;

	for (change_kind kind : {change_kind::worse, change_kind::better, change_kind::same, change_kind::noisy, change_kind::unknown})
		if (count(kind) || kind == change_kind::worse)
			text += std::to_string(count(kind)) + " " + name_of(kind) + ", ";
	std::snprintf(percent, sizeof percent, "%g", 100 * threshold);
	return text + "threshold " + percent + " %";
}

} // namespace bench
