/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/page.cpp - the page of a record: where it was measured, the bars, and for each workload plots and their figures.
 */
#include "page.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "../harness/html.h"
#include "plot.hpp"
#include "record.hpp"
#include "workload.hpp"

namespace bench {

const char page_style[] =
	".charts { grid-template-columns: repeat(auto-fill, minmax(min(100%, 540px), 1fr)); }\n"
	"dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; } dt { color: var(--faint); }\n"
	"dl.two { grid-template-columns: max-content 1fr 1fr; } dd { margin: 0; overflow-wrap: anywhere; }\n"
	".mark { display: inline-block; height: 14px; margin-right: .4rem; vertical-align: -2px; width: 34px; }\n"
	".line { fill: none; } .line:hover { stroke-width: 4; } .limit { fill: none; stroke: var(--text); stroke-width: 1.2;"
	" stroke-dasharray: 9 5; }\n"
	".leader { fill: none; stroke: var(--line); } .whisker { fill: none; stroke-width: 1.2; }"
	" .over { stroke: var(--text); }\n"
	"svg .name { fill: var(--text); } svg .own { font-weight: 700; } svg .limit-name { fill: var(--text); font-style: italic; }\n"
	"td.good { color: var(--good); } td.bad { color: var(--bad); font-weight: 700; } td.text, td.good, td.bad { text-align: left; }\n"
	"tr.own td { font-weight: 600; } details { margin: .8rem 0; } summary { cursor: pointer; }\n";

/* --- the head --- */

void write_head(std::FILE *to, const record &first, const record *second)
{
	std::vector<std::string> labels;

	for (const record *r : {&first, second})
		for (size_t i = 0; r && i < r->head.size(); i++)
			if (std::find(labels.begin(), labels.end(), r->head[i].first) == labels.end())
				labels.push_back(r->head[i].first);
	std::fputs(second ? "<dl class=\"two\">\n" : "<dl>\n", to);
	for (const std::string &label : labels) {
		std::fputs("<dt>", to);
		hpx_html_text(to, label.c_str());
		std::fputs("</dt>", to);
		for (const record *r : {&first, second}) {
			if (!r)
				continue;
			auto found = std::find_if(r->head.begin(), r->head.end(), [&](const auto &e) { return e.first == label; });
			std::fputs("<dd>", to);
			hpx_html_text(to, found == r->head.end() ? "" : found->second.c_str());
			std::fputs("</dd>", to);
		}
		std::fputs("\n", to);
	}
	std::fputs("</dl>\n", to);
}

namespace {

/* --- the bars --- */

void marked(std::FILE *to, const char *mark, const std::string &text)
{
	std::fprintf(to, "<td class=\"%s\">", mark);
	hpx_html_text(to, text.c_str());
	std::fputs("</td>", to);
}

std::string bound(const judged_bar &b, double limit)
{
	return limit > 0 ? (b.at_most ? "at most " : "at least ") + shown(limit) : "";
}

void bars_table(std::FILE *to, const record &r)
{
	const char *const headings[] = {"bar", "must", "goal", "measured", "", "against"};
	size_t held = 0, judged = 0;

	if (r.bars.empty())
		return;
	for (const judged_bar &b : r.bars)
		if (b.measured && b.must > 0) {
			judged++;
			held += b.holds;
		}
	std::fprintf(to, "<h2>Bars</h2>\n<p>%zu of %zu that were measured hold.</p>\n", held, judged);
	hpx_html_table_begin(to, headings, sizeof headings / sizeof headings[0]);
	for (const judged_bar &b : r.bars) {
		bool holds = b.must > 0 ? b.holds : b.goal_holds;

		hpx_html_table_row(to);
		hpx_html_table_cell(to, "%s", b.name.c_str());
		hpx_html_table_cell(to, "%s", bound(b, b.must).c_str());
		hpx_html_table_cell(to, "%s", bound(b, b.goal).c_str());
		hpx_html_table_cell(to, "%s", b.measured ? shown(b.ratio).c_str() : "");
		if (!b.measured)
			marked(to, "text", "not measured");
		else if (b.must <= 0 && b.goal <= 0)
			marked(to, "text", "");
		else
			marked(to, holds ? "good" : "bad",
			       !holds ? (b.must > 0 ? "misses" : "misses the goal") : b.goal > 0 && b.goal_holds ? "holds, reaches the goal" : "holds");
		marked(to, "text", b.against);
		hpx_html_table_row_end(to);
	}
	hpx_html_table_end(to);
}

/* --- one workload --- */

/* Its rows that belong into the same plots and tables. */
struct group {
	const record *all;
	const palette *subjects;
	std::string workload, key, unit;
	std::vector<const figure *> rows{};
	std::set<double> sizes{};
	std::set<unsigned> threads{};

	std::vector<std::string> names() const
	{
		std::vector<std::string> list;
		for (const figure *f : rows)
			if (std::find(list.begin(), list.end(), f->subject) == list.end())
				list.push_back(f->subject);
		return list;
	}
	std::string title() const { return workload + (key.empty() || key == "u64" ? "" : ", " + key + " keys"); }
};

dot dot_of(double x, const std::vector<double> &rounds)
{
	return {x, quantile(rounds, .5), quantile(rounds, .25), quantile(rounds, .75)};
}

/* What of the machine limits which workload: the beginnings of names. */
bool limits(const figure &limit, const group &g)
{
	static const struct {
		const char *workload, *limit;
	} known[] = {
		{"w1", "line+object+count"}, {"w2", "line+object+count"}, {"w8", "line+object+count"}, {"w3", "add+sub"},
	};

	if (!limit.limit() || limit.unit != g.unit)
		return false;
	for (const auto &k : known)
		if (g.workload == k.workload && !limit.subject.compare(0, std::strlen(k.limit), k.limit))
			return true;
	return false;
}

/* Dashed lines over sizes (for these threads), or over threads (for this size). */
std::vector<line> limit_lines(const group &g, const std::vector<double> &columns, bool over_sizes, double n, unsigned threads)
{
	std::vector<line> lines;

	for (const figure &f : g.all->rows) {
		if (!limits(f, g) || (over_sizes ? f.threads != threads : f.n > 1 && f.n != n))
			continue;
		std::vector<double> at;
		if (over_sizes && f.n <= 1)
			at = columns;
		else
			for (double c : columns)
				if (c == (over_sizes ? f.n : double(f.threads)))
					at.push_back(c);
		auto found = std::find_if(lines.begin(), lines.end(), [&](const line &l) { return l.name == f.subject; });
		if (found == lines.end() && !at.empty())
			found = lines.insert(found, {no_subject, f.subject, {}});
		for (double x : at)
			found->dots.push_back({x, f.value, f.value, f.value});
	}
	for (line &l : lines)
		std::sort(l.dots.begin(), l.dots.end(), [](const dot &a, const dot &b) { return a.x < b.x; });
	return lines;
}

/* On an axis from zero a limit far above everything would press the rest flat: it is told instead. */
void add_limits(line_plot &plot, std::vector<line> lines)
{
	double most = 0;

	for (const line &l : plot.lines)
		for (const dot &d : l.dots)
			most = std::max(most, d.high);
	for (line &l : lines) {
		double high = 0;
		for (const dot &d : l.dots)
			high = std::max(high, d.y);
		if (plot.log_y || high <= 2.5 * most)
			plot.lines.push_back(l);
		else
			plot.note += (plot.note.empty() ? "above the plot: " : "; ") + l.name + " " + shown(high);
	}
}

std::vector<line> subject_lines(const group &g, bool over_sizes, double n, unsigned threads)
{
	std::vector<line> lines;

	for (const std::string &name : g.names()) {
		line l{g.subjects->number(name), name, {}};
		for (const figure *f : g.rows)
			if (f->subject == name && (over_sizes ? f->threads == threads : f->n == n))
				l.dots.push_back(dot_of(over_sizes ? f->n : double(f->threads), f->rounds));
		std::sort(l.dots.begin(), l.dots.end(), [](const dot &a, const dot &b) { return a.x < b.x; });
		if (!l.dots.empty())
			lines.push_back(l);
	}
	return lines;
}

std::string counted(unsigned threads) { return std::to_string(threads) + (threads == 1 ? " thread" : " threads"); }

/* 100000 as "100 k" */
std::string rounded(double n)
{
	return n >= 1e6 ? shown(n / 1e6) + " M" : n >= 1e3 ? shown(n / 1e3) + " k" : shown(n);
}

void over_sizes(std::FILE *to, const group &g, unsigned threads)
{
	line_plot plot;

	plot.name = g.title() + (threads ? ", " + counted(threads) : "");
	plot.unit = g.unit;
	plot.horizontal = "N";
	for (double n : g.sizes) {
		plot.columns.push_back(n);
		plot.labels.push_back(rounded(n));
	}
	plot.log_x = plot.columns.front() > 0;
	plot.log_y = true;
	plot.lines = subject_lines(g, true, 0, threads);
	add_limits(plot, limit_lines(g, plot.columns, true, 0, threads));
	plot.draw(to);
}

void over_threads(std::FILE *to, const group &g, double n)
{
	line_plot plot;

	plot.name = g.title() + (n > 0 && g.sizes.size() > 1 ? ", N = " + grouped(n) : "");
	plot.unit = g.unit;
	plot.horizontal = "threads";
	for (unsigned t : g.threads) {
		plot.columns.push_back(t);
		plot.labels.push_back(std::to_string(t));
	}
	plot.lines = subject_lines(g, false, n, 0);
	add_limits(plot, limit_lines(g, plot.columns, false, n, 0));
	plot.log_x = plot.columns.front() > 0; /* 1, 2, 8 */
	plot.draw(to);
}

void one_place(std::FILE *to, const group &g)
{
	bar_plot plot;

	plot.name = g.title();
	plot.unit = g.unit;
	for (const figure *f : g.rows)
		plot.bars.push_back({g.subjects->number(f->subject), f->subject, {dot_of(0, f->rounds)}});
	std::stable_sort(plot.bars.begin(), plot.bars.end(), [&](const line &a, const line &b) {
		return g.rows.front()->higher_is_better() ? a.dots[0].y > b.dots[0].y : a.dots[0].y < b.dots[0].y;
	});
	for (const judged_bar &b : g.all->bars) /* a figure by itself, of the same unit as these */
		if (b.workload == g.workload && b.against.empty() && b.must > 0 && g.unit == "bytes")
			plot.limits.push_back({no_subject, "must", {{0, b.must, b.must, b.must}}});
	plot.draw(to);
}

const struct {
	const char *key, *label;
} percentiles[] = {{"p50_ns", "p50"}, {"p99_ns", "p99"}, {"p999_ns", "p99.9"}, {"p9999_ns", "p99.99"}, {"max_ns", "longest"}};

void latency(std::FILE *to, const group &g, double n, unsigned threads)
{
	line_plot plot;

	plot.name = g.title() + ": latency" + (g.sizes.size() > 1 ? ", N = " + grouped(n) : "") +
		    (g.threads.size() > 1 ? ", " + counted(threads) : "");
	plot.unit = "ns";
	plot.horizontal = "percentile";
	plot.log_y = true;
	for (size_t i = 0; i < sizeof percentiles / sizeof percentiles[0]; i++) {
		plot.columns.push_back(double(i + 1));
		plot.labels.push_back(percentiles[i].label);
	}
	for (const figure *f : g.rows) {
		line l{g.subjects->number(f->subject), f->subject, {}};
		for (size_t i = 0; i < sizeof percentiles / sizeof percentiles[0]; i++) {
			auto found = f->latency.find(percentiles[i].key);
			if (found != f->latency.end())
				l.dots.push_back(dot_of(double(i + 1), found->second));
		}
		if (f->n == n && f->threads == threads && !l.dots.empty())
			plot.lines.push_back(l);
	}
	for (const figure &f : g.all->rows) {
		line l{no_subject, f.subject, {}};
		for (size_t i = 0; i < sizeof percentiles / sizeof percentiles[0]; i++)
			if (f.latency.count(percentiles[i].key))
				l.dots.push_back(dot_of(double(i + 1), f.latency.at(percentiles[i].key)));
		if (f.workload == g.workload + "-floor" && f.n == n && f.threads == threads && !plot.lines.empty() && !l.dots.empty())
			plot.lines.push_back(l);
	}
	if (!plot.lines.empty())
		plot.draw(to);
}

/* --- its figures --- */

/* How much better hapax is than this one. */
std::string ratio(const group &g, const figure &f)
{
	for (const figure *own : g.rows)
		if (own->subject == "hapax" && own->beside(f) && own->value > 0 && f.value > 0)
			return shown(f.higher_is_better() ? own->value / f.value : f.value / own->value);
	return "";
}

void table(std::FILE *to, const group &g)
{
	std::vector<std::string> headings{"subject"};
	std::set<std::string> latencies, further;
	bool hits = false, sizes = *g.sizes.rbegin() > 0, threads = *g.threads.rbegin() > 0;

	for (const figure *f : g.rows) {
		for (const auto &l : f->latency)
			latencies.insert(l.first);
		for (const auto &l : f->further)
			further.insert(l.first);
		hits = hits || f->hit_ratio >= 0;
	}
	if (sizes)
		headings.push_back("N");
	if (threads)
		headings.push_back("threads");
	headings.insert(headings.end(), {g.unit + ", median", "quartiles", "least", "most", "rounds", "hapax is better by"});
	for (const auto &p : percentiles)
		if (latencies.count(p.key))
			headings.push_back(std::string(p.label) + ", ns");
	if (hits)
		headings.push_back("hits, %");
	headings.insert(headings.end(), further.begin(), further.end());

	std::vector<const char *> texts;
	for (const std::string &h : headings)
		texts.push_back(h.c_str());
	std::fputs("<details><summary>Figures of ", to);
	hpx_html_text(to, g.title().c_str());
	std::fputs("</summary>\n", to);
	hpx_html_table_begin(to, texts.data(), unsigned(texts.size()));
	for (const figure *f : g.rows) {
		std::fputs(f->subject == "hapax" ? "<tr class=\"own\">" : "<tr>", to);
		hpx_html_table_cell(to, "%s", f->subject.c_str());
		if (sizes)
			hpx_html_table_cell(to, "%s", grouped(f->n).c_str());
		if (threads)
			hpx_html_table_cell(to, "%u", f->threads);
		hpx_html_table_cell(to, "%s", shown(f->value).c_str());
		hpx_html_table_cell(to, "%s to %s", shown(quantile(f->rounds, .25)).c_str(), shown(quantile(f->rounds, .75)).c_str());
		hpx_html_table_cell(to, "%s", shown(f->min).c_str());
		hpx_html_table_cell(to, "%s", shown(f->max).c_str());
		hpx_html_table_cell(to, "%zu", f->rounds.size());
		hpx_html_table_cell(to, "%s", f->limit() || f->floor() ? "" : ratio(g, *f).c_str());
		for (const auto &p : percentiles)
			if (latencies.count(p.key)) {
				auto found = f->latency.find(p.key);
				hpx_html_table_cell(to, "%s", found == f->latency.end() ? "" : shown(quantile(found->second, .5)).c_str());
			}
		if (hits)
			hpx_html_table_cell(to, "%s", f->hit_ratio < 0 ? "" : shown(100 * f->hit_ratio).c_str());
		for (const std::string &name : further)
			hpx_html_table_cell(to, "%s", f->further.count(name) ? shown(f->further.at(name)).c_str() : "");
		hpx_html_table_row_end(to);
	}
	hpx_html_table_end(to);
	std::fputs("</details>\n", to);
}

void draw(std::FILE *to, const group &g)
{
	std::fputs("<div class=\"charts\">\n", to);
	if (g.sizes.size() > 1)
		for (unsigned t : g.threads)
			over_sizes(to, g, t);
	if (g.threads.size() > 1)
		for (double n : g.sizes)
			over_threads(to, g, n);
	if (g.sizes.size() == 1 && g.threads.size() == 1)
		one_place(to, g);
	for (double n : g.sizes)
		for (unsigned t : g.threads)
			latency(to, g, n, t);
	std::fputs("</div>\n", to);
}

/* "w10-20us" is described as w10 is. */
std::string described(const std::string &name)
{
	for (const workload *w = all_workloads; w->name; w++)
		if (name == w->name)
			return name + ": " + w->description;
	for (const workload *w = all_workloads; w->name; w++)
		if (!name.compare(0, std::strlen(w->name) + 1, std::string(w->name) + "-"))
			return name + ": " + w->description;
	return name == "limit" ? "Limits of this machine" : name;
}

void workloads(std::FILE *to, const record &r, const palette &subjects)
{
	std::vector<std::string> names;
	std::vector<group> groups;

	for (const figure &f : r.rows) {
		if (std::find(names.begin(), names.end(), f.workload) == names.end() && !f.limit())
			names.push_back(f.workload);
		auto g = std::find_if(groups.begin(), groups.end(), [&](const group &other) {
			return other.workload == f.workload && other.key == f.key && other.unit == f.unit;
		});
		if (g == groups.end())
			g = groups.insert(g, {&r, &subjects, f.workload, f.key, f.unit});
		g->rows.push_back(&f);
		g->sizes.insert(f.n);
		g->threads.insert(f.threads);
	}
	if (std::any_of(r.rows.begin(), r.rows.end(), [](const figure &f) { return f.limit(); }))
		names.push_back("limit"); /* last */
	for (const std::string &name : names) {
		std::fputs("<h2>", to);
		hpx_html_text(to, described(name).c_str());
		std::fputs("</h2>\n", to);
		for (const group &g : groups) {
			if (g.workload != name)
				continue;
			if (!g.rows.front()->limit() && !g.rows.front()->floor())
				draw(to, g);
			table(to, g);
		}
	}
}

/* A paragraph of what is known by name. */
void pairs(std::FILE *to, const char *head, const std::vector<std::pair<std::string, std::string>> &list, const char *between)
{
	if (list.empty())
		return;
	std::fprintf(to, "<p>%s", head);
	for (const auto &one : list)
		hpx_html_text(to, ((&one == &list.front() ? "" : "; ") + one.first + between + one.second).c_str());
	std::fputs(".</p>\n", to);
}

void page(const void *ctx, std::FILE *to)
{
	const record &r = *static_cast<const record *>(ctx);
	palette subjects;

	hpx_html_begin(to, "hapax: speed", page_style);
	std::fputs("<h1>Speed of hapax, beside its peers</h1>\n", to);
	write_head(to, r, nullptr);
	std::fputs("<p>Subjects took turns in every round; figures are medians over the rounds, whiskers their quartiles. Only "
		   "ratios within one run can be compared with those of another.</p>\n",
		   to);
	bars_table(to, r);
	subjects.add("hapax");
	for (const figure &f : r.rows)
		if (!f.limit() && !f.floor())
			subjects.add(f.subject);
	std::fputs("<h2>Subjects</h2>\n", to);
	subjects.key(to);
	pairs(to, "Versions: ", r.peers, " ");
	pairs(to, "Not measured: ", r.absent, ": ");
	workloads(to, r, subjects);
	hpx_html_end(to);
}

} // namespace

int write_page(const record &r, const char *path) { return hpx_html_write("bench", page, &r, path); }

int write_page(json_object *root, const char *path)
{
	record r;
	int status = read_record(root, "this run", r);

	return status ? status : write_page(r, path);
}

} // namespace bench
