/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/zipf.hpp - keys by Zipf's law: key k (from 0) is drawn with a probability in proportion to (k + 1)^-exponent. */
#ifndef HAPAX_BENCH_ZIPF_HPP
#define HAPAX_BENCH_ZIPF_HPP

#include <cmath>
#include <cstdint>
#include <vector>

#include "measure.hpp"

namespace bench {

/* By the alias method (Walker 1977; tables after Vose 1991), which costs less than a hit. */
class zipf_keys {
	struct cell {
		uint32_t cut, other; /* below `cut` of 2^32: the cell's own key, else the other one */
	};
	std::vector<cell> cells_;

public:
	zipf_keys(uint32_t keys, double exponent) : cells_(keys)
	{
		std::vector<double> share(keys);
		std::vector<uint32_t> poor, rich;
		double all = 0;

		for (uint32_t k = 0; k < keys; k++)
			all += share[k] = std::pow(k + 1.0, -exponent);
		for (uint32_t k = 0; k < keys; k++) {
			share[k] *= keys / all;
			cells_[k] = {UINT32_MAX, k};
			(share[k] < 1 ? poor : rich).push_back(k);
		}
		while (!poor.empty() && !rich.empty()) {
			uint32_t p = poor.back(), r = rich.back();

			poor.pop_back();
			cells_[p] = {static_cast<uint32_t>(share[p] * 0x1p32), r};
			share[r] -= 1 - share[p];
			if (share[r] < 1) {
				rich.pop_back();
				poor.push_back(r);
			}
		}
	}
	uint64_t draw(random_source &random) const
	{
		uint64_t place = random.below(uint64_t(cells_.size()) << 32);
		const cell &c = cells_[place >> 32];

		return static_cast<uint32_t>(place) < c.cut ? place >> 32 : c.other;
	}
};

} // namespace bench

#endif
