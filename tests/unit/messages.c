/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What goes to standard error when nobody takes it: warnings and errors, and the last words of a broken invariant. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

#include "base/check.h"
#include "reclaim/internal.h"

/* What `fn` writes there in a child, and how the child ends. */
static int said_by(void (*fn)(void), char *text, size_t size)
{
	int ends[2], status = 0;
	size_t length = 0;
	ssize_t n;
	pid_t child;

	CHECK_EQ(pipe(ends), 0);
	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		fn();
		_exit(0);
	}
	close(ends[1]);
	while ((n = read(ends[0], text + length, size - 1 - length)) > 0)
		length += (size_t)n;
	text[length] = 0;
	close(ends[0]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

static void break_an_invariant(void) { hpx_fatal("a/file.c", 12, "one == two"); }

TEST(a_broken_invariant_is_told_and_aborts)
{
	char text[400];
	int status = said_by(break_an_invariant, text, sizeof(text));

	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGABRT);
	CHECK(strstr(text, "hapax: a/file.c:12: broken invariant: one == two\n"));
}

static void log_all_levels(void)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT};
	hapax_env *env;

	CHECK_EQ(hapax_env_create(&env, &o), 0);
	hpx_env_log(env, HAPAX_LOG_INFO, "not %s", "this");
	hpx_env_log(env, HAPAX_LOG_WARNING, "but %s", "this");
	hpx_env_log(env, HAPAX_LOG_ERROR, "and %d", 3);
	hapax_env_destroy(env);
}

TEST(warnings_and_errors_go_to_standard_error)
{
	char text[400];
	int status = said_by(log_all_levels, text, sizeof(text));

	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
	CHECK_STR(text, "hapax: warning: but this\nhapax: error: and 3\n");
}

TEST(blocks_from_the_allocator_are_aligned)
{
	hapax_env *env = test_env();
	void *block = hpx_alloc(env, 40, 8);

	CHECK(block);
	CHECK_EQ((uintptr_t)block & 15, 0);
	hpx_free(env, block, 40, 8); /* with the alignment it was asked for: the counting allocator compares */
	test_env_end(env);
}
