/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "compete.hpp"

#include <algorithm>

namespace bench {

namespace {

/* What each contender said in each round. */
using results = std::vector<std::vector<sample>>;

results take_turns(const settings &s, unsigned threads, const std::vector<contender> &contenders)
{
	results samples(contenders.size());

	for (unsigned round = 0; round < s.rounds; round++)
		for (size_t k = 0; k < contenders.size(); k++) {
			size_t turn = (k + round) % contenders.size();
			samples[turn].push_back(contenders[turn].run(threads, s.seed + round));
		}
	return samples;
}

void report_all(const char *workload, const char *key, size_t n, unsigned threads, const std::vector<std::string> &names,
		const results &samples, const char *unit)
{
	bool ours = !names.empty() && names[0] == "hapax";
	double first = 0;

	for (size_t k = 0; k < names.size(); k++) {
		if (std::any_of(samples[k].begin(), samples[k].end(), [](const sample &each) { return each.value < 0; }))
			continue;
		row r = make_row(workload, names[k], key, n, threads, samples[k], unit);
		if (k == 0)
			first = r.value();
		report(r, ours && r.value() > 0 ? first / r.value() : 0);
	}
}

} // namespace

void compete(const settings &s, const char *workload, const char *key, size_t n, unsigned threads,
	     const std::vector<contender> &contenders, const char *unit)
{
	std::vector<std::string> names;

	for (const contender &c : contenders)
		names.push_back(c.name);
	report_all(workload, key, n, threads, names, take_turns(s, threads, contenders), unit);
}

void compete_in_groups(const settings &s, const char *workload, const char *key, size_t n, const contender &first,
		       const std::vector<group> &groups, const char *unit)
{
	std::vector<std::string> names{first.name};
	std::vector<results> of_threads(s.threads.size(), results(1));

	for (const group &make : groups) {
		std::vector<contender> field = make();
		for (const contender &c : field)
			names.push_back(c.name);
		field.insert(field.begin(), first);
		for (size_t t = 0; t < s.threads.size(); t++) {
			results samples = take_turns(s, s.threads[t], field);
			results &all = of_threads[t];
			all[0].insert(all[0].end(), samples[0].begin(), samples[0].end());
			all.insert(all.end(), samples.begin() + 1, samples.end());
		}
	}
	for (size_t t = 0; t < s.threads.size(); t++)
		if (!of_threads[t][0].empty())
			report_all(workload, key, n, s.threads[t], names, of_threads[t], unit);
}

} // namespace bench
