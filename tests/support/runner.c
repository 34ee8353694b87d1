/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * support/runner.c - a test program's main(): one test in this process, or all of them, each in a child.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

enum { EXIT_SKIPPED = 77 };

static struct test_case *tests;

void test_register(struct test_case *test)
{
	struct test_case **at = &tests;

	/* to the end: constructors of one file run in the order of the text */
	while (*at)
		at = &(*at)->next;
	*at = test;
}

static int run_one(const struct test_case *test)
{
	test_watchdog(TEST_WATCHDOG_SECONDS);
	test->run();
	test_watchdog(0);
	return EXIT_SUCCESS;
}

/* A test in a child: its exit status, or 128 + signal. */
static int run_in_child(const struct test_case *test)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	if (child < 0) {
		perror("fork");
		return EXIT_FAILURE;
	}
	if (child == 0)
		exit(run_one(test));
	while (waitpid(child, &status, 0) < 0)
		;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_all(void)
{
	unsigned failed = 0, skipped = 0, passed = 0;

	for (struct test_case *test = tests; test; test = test->next) {
		int status = run_in_child(test);
		const char *word = status == 0 ? "ok" : status == EXIT_SKIPPED ? "skipped" : "FAILED";

		passed += status == 0;
		skipped += status == EXIT_SKIPPED;
		failed += status != 0 && status != EXIT_SKIPPED;
		printf("%-8s %s\n", word, test->name);
	}
	printf("%u passed, %u skipped, %u failed\n", passed, skipped, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int test_main(int argc, char **argv)
{
	if (argc == 1)
		return run_all();
	if (!strcmp(argv[1], "--list")) {
		for (struct test_case *test = tests; test; test = test->next)
			puts(test->name);
		return EXIT_SUCCESS;
	}
	for (struct test_case *test = tests; test; test = test->next)
		if (!strcmp(argv[1], test->name))
			return run_one(test);
	fprintf(stderr, "%s: no test \"%s\"\n", argv[0], argv[1]);
	return 2;
}
