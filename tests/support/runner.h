/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * support/runner.h - tests register themselves before main(); main() is in main.c.
 */
#ifndef TEST_RUNNER_H
#define TEST_RUNNER_H

struct test_case {
	const char *name;
	void (*run)(void);
	struct test_case *next;
};
void test_register(struct test_case *test);

/* The whole of a test program's main(): --list, one NAME, or all of them, each in a child. */
int test_main(int argc, char **argv);

#define TEST(name_)                                                                                                  \
	static void test_body_##name_(void);                                                                              \
	__attribute__((constructor)) static void test_register_##name_(void)                                         \
	{                                                                                                            \
		static struct test_case test_case_ = {.name = #name_, .run = test_body_##name_};                          \
		test_register(&test_case_);                                                                          \
	}                                                                                                            \
	static void test_body_##name_(void)

#endif
