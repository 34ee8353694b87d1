/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax-stress - one program that uses hapax hard and says whether its promises held. See --help.
 */
#include "avalanche/avalanche.h"
#include "files/files.h"
#include "harness/options.h"
#include "memo/memo.h"
#include "policy/policy.h"
#include "trace/trace.h"

#include <hapax/hapax.h>
#include <stdio.h>
#include <string.h>

/* Weak, so that the program links without the parts that need the peers' packages or the testing library. */
int hpx_bench_main(int argc, char **argv) __attribute__((weak));
int hpx_torture_main(int argc, char **argv) __attribute__((weak));
int hpx_model_main(int argc, char **argv) __attribute__((weak));
int hpx_histories_main(int argc, char **argv) __attribute__((weak));

struct command {
	const char *name;
	int (*run)(int argc, char **argv); /* NULL: not in this build */
	const char *summary;
};

static int usage(const struct command *commands, FILE *to)
{
	fputs("Usage: hapax-stress COMMAND [OPTIONS]\n\nCommands:\n", to);
	for (; commands->name; commands++)
		if (commands->run)
			fprintf(to, "  %-10s %s\n", commands->name, commands->summary);
	fputs("\n'hapax-stress COMMAND --help' lists the options; 'hapax-stress --version' says which hapax.\n"
	      "Exit status: 0 all promises held, 1 one was broken, 2 bad input or environment.\n",
	      to);
	return to == stdout ? HPX_EXIT_HELD : HPX_EXIT_INPUT;
}

int main(int argc, char **argv)
{
	const struct command commands[] = {
		{"files", hpx_files_main, "an open-file cache over this machine's own files"},
		{"trace", hpx_trace_main, "replay a recorded key trace against objects read from SQLite"},
		{"policy", hpx_policy_main, "replay traces through bounded caches: hit ratios of every eviction policy"},
		{"avalanche", hpx_avalanche_main, "a hundred thousand entries expire in one instant, under readers"},
		{"memo", hpx_memo_main, "memos beside caches and CPython's lru_cache; owners that die, results that go with them"},
		{"torture", hpx_torture_main, "every call at once, from many threads, under oracles"},
		{"histories", hpx_histories_main, "short rounds, recorded, each explained by an order of its calls"},
		{"model", hpx_model_main, "the library's sources under a deterministic scheduler, in many interleavings"},
		{"bench", hpx_bench_main, "the workloads of the performance page, beside the peers"},
		{NULL, NULL, NULL},
	};

	if (argc < 2)
		return usage(commands, stderr);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return usage(commands, stdout);
	if (!strcmp(argv[1], "--version")) {
		printf("hapax-stress %s\n", hapax_version());
		return HPX_EXIT_HELD;
	}
	for (const struct command *command = commands; command->name; command++) {
		if (strcmp(argv[1], command->name) != 0)
			continue;
		if (!command->run)
			return hpx_input_error(command->name, "this build of hapax-stress does not have this command");
		return command->run(argc - 1, argv + 1);
	}
	fprintf(stderr, "hapax-stress: unknown command '%s' (see --help)\n", argv[1]);
	return HPX_EXIT_INPUT;
}
