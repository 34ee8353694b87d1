/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <getopt.h>

#include "workload.hpp"

namespace bench {

const char *settings::mode_name() const { return quick() ? "quick" : full() ? "full" : "default"; }

bool settings::wants(const char *workload) const
{
	return workloads.empty() || std::find(workloads.begin(), workloads.end(), workload) != workloads.end();
}

static std::vector<std::string> only;

bool takes_part(const std::string &subject)
{
	return only.empty() || subject.rfind("hapax", 0) == 0 || std::find(only.begin(), only.end(), subject) != only.end();
}

static std::vector<std::string> split(const char *text)
{
	std::vector<std::string> parts(1);
	for (; *text; text++)
		if (*text == ',')
			parts.emplace_back();
		else
			parts.back() += *text;
	return parts;
}

[[noreturn]] static void usage(int status)
{
	FILE *to = status ? stderr : stdout;

	std::fputs("usage: hapax-stress bench [--quick|--full] [--workload NAME,NAME] [--n N,N] [--threads T,T] [--rounds R]\n"
		   "                          [--seconds S] [--seed N] [--json FILE|-] [--html FILE|-] [--list]\n"
		   "                          [--subject PEER,PEER]\n"
		   "       hapax-stress bench --from FILE --html FILE|-\n"
		   "       hapax-stress bench --compare OLD NEW [--threshold PERCENT] [--html FILE|-]\n"
		   "Paired, interleaved runs against the peers built in; figures are medians over the rounds. --n: sizes of w1, w7, w8, w9.\n"
		   "--quick: about a minute; without: about a quarter of an hour; --full: everything, ten million objects too.\n"
		   "--html: a page with the plots; with --from of an earlier --json. --compare: did hapax become slower?\n",
		   to);
	for (const workload *w = all_workloads; w->name; w++)
		std::fprintf(to, "  %-6s %s\n", w->name, w->description);
	std::exit(status);
}

static double number(const char *option, const std::string &text, double least, double most)
{
	char *end;
	double value = std::strtod(text.c_str(), &end);

	if (text.empty() || *end || !(value >= least && value <= most)) {
		std::fprintf(stderr, "hapax-stress bench: %s: '%s' is not a number from %g to %g\n", option, text.c_str(), least, most);
		std::exit(2);
	}
	return value;
}

static void known(const std::string &name)
{
	for (const workload *w = all_workloads; w->name; w++)
		if (name == w->name)
			return;
	std::fprintf(stderr, "hapax-stress bench: no workload '%s'\n", name.c_str());
	std::exit(2);
}

static void set_mode(settings &s, mode m)
{
	s.mode = m;
	if (m == mode::quick) {
		s.seconds = 0.05;
		s.rounds = 3;
		s.string_sizes = {100000};
	} else {
		s.sizes.push_back(10000000);
	}
}

settings parse(int argc, char **argv)
{
	static const option options[] = {{"workload", required_argument, nullptr, 'w'}, {"n", required_argument, nullptr, 'n'},
					 {"threads", required_argument, nullptr, 't'},  {"rounds", required_argument, nullptr, 'r'},
					 {"seconds", required_argument, nullptr, 's'},  {"seed", required_argument, nullptr, 'S'},
					 {"json", required_argument, nullptr, 'j'},     {"html", required_argument, nullptr, 'H'},
					     {"help", no_argument, nullptr, 'h'},
					 {"quick", no_argument, nullptr, 'q'},          {"full", no_argument, nullptr, 'f'},
					 {"list", no_argument, nullptr, 'l'},           {"subject", required_argument, nullptr, 'p'},
					 {nullptr, 0, nullptr, 0}};
	settings s;
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, nullptr)) != -1)
		switch (c) { /* the modes come first, so that the others refine them */
		case 'q': set_mode(s, mode::quick); break;
		case 'f': set_mode(s, mode::full); break;
		case '?': usage(2);
		}
	optind = 1;
	while ((c = getopt_long(argc, argv, "", options, nullptr)) != -1)
		switch (c) {
		case 'w':
			s.workloads = split(optarg);
			std::for_each(s.workloads.begin(), s.workloads.end(), known);
			break;
		case 'n':
			s.sizes.clear();
			for (const std::string &n : split(optarg))
				s.sizes.push_back(size_t(number("--n", n, 1, 1e8)));
			s.string_sizes = s.asked_sizes = s.sizes;
			break;
		case 't':
			s.threads.clear();
			for (const std::string &t : split(optarg))
				s.threads.push_back(unsigned(number("--threads", t, 1, 1024)));
			break;
		case 'p': only = s.subjects = split(optarg); break;
		case 'r': s.rounds = unsigned(number("--rounds", optarg, 1, 1000)); break;
		case 's': s.seconds = number("--seconds", optarg, 0.001, 3600); break;
		case 'S': s.seed = uint64_t(number("--seed", optarg, 0, 1e15)); break;
		case 'j': s.json = optarg; break;
		case 'H': s.html = optarg; break;
		case 'l':
		case 'h': usage(0);
		}
	if (optind < argc) {
		std::fprintf(stderr, "hapax-stress bench: what is '%s'?\n", argv[optind]);
		std::exit(2);
	}
	return s;
}

} // namespace bench
