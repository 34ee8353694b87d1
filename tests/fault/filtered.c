/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fault/filtered.c - system calls that the kernel refuses, from the start of the process on: the test puts a filter (or
 * a limit) in place and runs this program again, with the name of another of its tests.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/everything.h"
#include "reclaim/section.h"

/* From now on system call `number` fails with `error`, in this process and what it runs. */
static bool forbid(long number, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((uint32_t)error & SECCOMP_RET_DATA)),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(*code), .filter = code};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

enum { CANNOT = 99 };

/* `set_up` in a child, which then becomes a run of `test`. */
static void run_under(const char *test, bool (*set_up)(void))
{
	int status = 0;
	pid_t child = fork();

	CHECK(child >= 0);
	if (!child) {
		if (!set_up())
			_exit(CANNOT);
		setenv("HAPAX_TEST_UNDER", test, 1);
		execl("/proc/self/exe", "filtered", test, (char *)NULL);
		_exit(1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT)
		TEST_SKIP("this system does not let a process filter its system calls");
	if (WIFSIGNALED(status))
		TEST_FAIL("%s ended with signal %d", test, WTERMSIG(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
}

/* True in the run under the filter; run by itself the test is one more plain run. */
static bool under(const char *test)
{
	const char *name = getenv("HAPAX_TEST_UNDER");

	return name && !strcmp(name, test);
}

/* ---- membarrier ----------------------------------------------------------------------------------------------------- */

static bool no_membarrier(void) { return forbid(SYS_membarrier, ENOSYS); }
static bool forbidden_membarrier(void) { return forbid(SYS_membarrier, EPERM); }

struct churn {
	hapax_env *env;
	hapax_cache *cache;
};

/* Few keys, dying all the time: what the readers see is guarded by grace periods only. */
static void churn(unsigned index, void *arg)
{
	struct churn *c = arg;
	uint64_t r = test_stream(index);

	for (uint64_t i = scaled(20000); i; i--) {
		uint64_t key = test_below(&r, 4);
		void *out = NULL;

		CHECK_EQ(hapax_cache_get(c->cache, HAPAX_KEY_OF(key), &out), HAPAX_OK);
		CHECK(item_is_alive(out));
		hapax_release(out);
		if (!test_below(&r, 100))
			hapax_reclaim(c->env);
	}
}

static void churn_all(void)
{
	hapax_env *env = quiet_env(0);
	struct source s = {0};
	struct churn c = {.env = env, .cache = cache_with(env, &s, 0)};
	hapax_env_stats stats = {.size = sizeof(stats)};

	run_threads(3, churn, &c);
	cache_end(c.cache, 0);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_env_stats_get(env, &stats), HAPAX_OK);
	CHECK(stats.grace_periods > 10);
	CHECK_EQ(stats.objects_freed, stats.objects_born);
	on_threads(3, env, HAPAX_OK);
	test_env_end(env);
}

/* Both ways of liburcu are run, whichever the kernel offers; under a filter it must be the one without membarrier. */
TEST(grace_periods)
{
	if (under("grace_periods")) {
		CHECK_EQ(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0), -1);
		CHECK(errno == ENOSYS || errno == EPERM);
#ifdef CONFIG_RCU_FORCE_SYS_MEMBARRIER
		TEST_SKIP("this liburcu insists on membarrier");
#else
		CHECK_EQ(urcu_bp_has_sys_membarrier, 0);
#endif
	}
	churn_all();
}

TEST(membarrier_is_not_there) { run_under("grace_periods", no_membarrier); }
TEST(membarrier_is_forbidden) { run_under("grace_periods", forbidden_membarrier); }

/* ---- getrandom ------------------------------------------------------------------------------------------------------ */

static bool no_getrandom(void) { return forbid(SYS_getrandom, ENOSYS); }

TEST(seeds)
{
	hapax_env *env = NULL;
	char byte;

	if (under("seeds"))
		CHECK(getrandom(&byte, 1, GRND_NONBLOCK) < 0);
	CHECK_EQ(hapax_env_create(&env, NULL), HAPAX_OK);
	on_threads(2, env, HAPAX_OK);
	hapax_env_destroy(env);
}

TEST(getrandom_is_not_there) { run_under("seeds", no_getrandom); }

/* ---- stacks of new threads ---------------------------------------------------------------------------------------- */

static bool small_stacks(void)
{
	struct rlimit limit = {.rlim_cur = (test_slow_build() ? 1024 : 64) << 10, .rlim_max = RLIM_INFINITY};

	if (getrlimit(RLIMIT_STACK, &limit))
		return false;
	limit.rlim_cur = (rlim_t)(test_slow_build() ? 1024 : 64) << 10;
	return !setrlimit(RLIMIT_STACK, &limit);
}

/* The reclaimer, too, gets what the limit says, and runs the application's hooks on it. */
TEST(stacks_of_all_threads)
{
	if (under("stacks_of_all_threads")) {
		struct rlimit limit;

		CHECK_EQ(getrlimit(RLIMIT_STACK, &limit), 0);
		CHECK(limit.rlim_cur <= 1 << 20);
	}
	churn_all();
}

TEST(stacks_are_small) { run_under("stacks_of_all_threads", small_stacks); }

/* ---- the statistics segment --------------------------------------------------------------------------------------- */

static bool no_memfd(void) { return forbid(SYS_memfd_create, EPERM); }

/* A process that may not have one does without, and hears of it when it asks for it. */
TEST(a_segment)
{
	hapax_env *env = quiet_env(0);
	struct source s = {0};
	hapax_cache *cache;

	errno = 4711;
	cache = cache_with(env, &s, 0);
	CHECK_EQ(hapax_segment_enable(true), under("a_segment") ? HAPAX_ENOMEM : HAPAX_OK);
	CHECK_EQ(errno, 4711);
	hapax_release(got(cache, "a"));
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(memory_files_are_forbidden) { run_under("a_segment", no_memfd); }
