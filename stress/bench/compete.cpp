/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "compete.hpp"

#include <algorithm>

namespace bench {

void compete(const settings &s, const char *workload, const char *key, size_t n, unsigned threads,
	     const std::vector<contender> &contenders, const char *unit)
{
	std::vector<std::vector<sample>> samples(contenders.size());

	for (unsigned round = 0; round < s.rounds; round++)
		for (size_t k = 0; k < contenders.size(); k++) {
			size_t turn = (k + round) % contenders.size();
			samples[turn].push_back(contenders[turn].run(threads, s.seed + round));
		}
	bool ours = !contenders.empty() && contenders[0].name == "hapax";
	double first = 0;
	for (size_t k = 0; k < contenders.size(); k++) {
		if (std::any_of(samples[k].begin(), samples[k].end(), [](const sample &each) { return each.value < 0; }))
			continue;
		row r = make_row(workload, contenders[k].name, key, n, threads, samples[k], unit);
		if (k == 0)
			first = r.value();
		report(r, ours && r.value() > 0 ? first / r.value() : 0);
	}
}

} // namespace bench
