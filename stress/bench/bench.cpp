/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/bench.cpp - hapax-stress bench: paired runs of the workloads against the peers that were built in. compete.hpp says
 * how runs are paired, rows.hpp what is written, bars.cpp what has to hold.
 */
#include <cstring>

#include <hapax/hapax.h>
#include <json-c/json.h>

#include "bars.hpp"
#include "compare.hpp"
#include "page.hpp"
#include "rows.hpp"
#include "workload.hpp"

extern "C" {
#include "../harness/options.h"
#include "../harness/report.h"
}

namespace bench {

const workload all_workloads[] = {
	/* first: they fork, and this process has no threads and no garbage yet */
	{"w6", "memory per entry: a million entries, 8-byte keys, 64 bytes of payload", run_w6},
	{"w7", "growth to a million entries: latency of each insert", run_w7},
	{"check", "no speed: one key is one object, a held one is never loaded again, a dead one is", run_check},
	{"limit", "limits of this machine: counts, misses, hashes, read sections, clocks, wake-ups", run_limits},
	{"w1", "hits, uniform over N live objects; 8-byte and 24-byte keys", run_w1},
	{"w2", "hits by Zipf's law over a million live objects", run_w2},
	{"w3", "hits on one hot key", run_w3},
	{"w4", "churn: nearly every get creates, nearly every release kills", run_w4},
	{"w5", "cold storm: all threads ask for one missing key whose load takes 1 ms", run_w5},
	{"w5b", "hits while other keys are being loaded", run_w5b},
	{"w8", "get_many of 32 keys against 32 gets", run_w8},
	{"w9", "death of an object with many weak references, and of a chain of objects", run_w9},
	{"w10", "bounded caches at their limit", run_w10},
	{"w11", "weak references: create and drop, upgrade and release", run_w11},
	{nullptr, nullptr, nullptr},
};

} // namespace bench

extern "C" int hpx_bench_main(int argc, char **argv)
{
	using namespace bench;
	int status = without_measuring(argc, argv);

	if (status >= 0)
		return status;
	settings s = parse(argc, argv);
	if (hpx_json_check("bench", s.json) || hpx_output_check("bench", "html", s.html))
		return HPX_EXIT_INPUT;
	if ((s.json && !std::strcmp(s.json, "-")) || (s.html && !std::strcmp(s.html, "-")))
		human = stderr;
	std::fprintf(human, "hapax %s, %s, seed %llu, %u rounds of %.2f s, medians [least, most]\n", hapax_version(), s.mode_name(),
		     static_cast<unsigned long long>(s.seed), s.rounds, s.seconds);
	note_own_versions();
	for (const workload *w = all_workloads; w->name; w++)
		if (s.wants(w->name))
			w->run(s);
	std::vector<verdict> bars = judge();
	print(s, bars);
	json_object *root = to_json(s, bars);
	status = s.json ? hpx_json_write("bench", root, s.json) : 0;
	if (!status && s.html)
		status = write_page(root, s.html);
	json_object_put(root);
	return status;
}
