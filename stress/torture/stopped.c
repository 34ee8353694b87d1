/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stopped.c - a process under torture of its own, stopped and continued again and again: all its threads stand still
 * wherever they are, and its clock jumps. It has to pass.
 */
#include "disturb.h"

#include "harness/team.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { LIMIT_SECONDS = 120 };

static hpx_relaxed processes;

static pid_t start(uint64_t seed, char *command, size_t size)
{
	char seed_text[32];
	char *argv[] = {"hapax-stress", "torture", "--seconds", "1", "--threads", "3", "--keys", "16",
			"--with", "garbage,growth,iterate,close,callbacks", "--seed", seed_text, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	pid_t pid = -1;

	snprintf(seed_text, sizeof(seed_text), "0x%llx", (unsigned long long)seed);
	command[0] = 0;
	for (char **word = argv; *word; word++)
		snprintf(command + strlen(command), size - strlen(command), "%s ", *word);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawnattr_init(&attributes);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	errno = posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv, environ);
	if (errno)
		pid = -1;
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static pid_t wait_for(pid_t pid, int *status, int flags)
{
	pid_t got;

	do
		got = waitpid(pid, status, flags);
	while (got < 0 && errno == EINTR);
	return got;
}

/* Until it has ended: its status, or -1 for one that did not in time. */
static int stop_and_go(hpx_torturer *self, pid_t pid)
{
	uint64_t end = hpx_now() + LIMIT_SECONDS * HAPAX_SECOND;
	int status = 0;

	while (hpx_now() < end) {
		if (wait_for(pid, &status, WNOHANG) == pid)
			return status;
		if (hpx_stopping() || !hpx_pause(20 * HAPAX_MILLISECOND + hpx_rng_below(&self->rng, 60 * HAPAX_MILLISECOND)))
			break; /* it ends by itself */
		kill(pid, SIGSTOP);
		if (wait_for(pid, &status, WUNTRACED) == pid && !WIFSTOPPED(status))
			return status;
		hpx_pause(hpx_rng_below(&self->rng, 120 * HAPAX_MILLISECOND));
		kill(pid, SIGCONT);
		hpx_happened(&hpx_stopped, 1);
	}
	while (hpx_now() < end) {
		const struct timespec nap = {0, 5000000};

		if (wait_for(pid, &status, WNOHANG) == pid)
			return status;
		nanosleep(&nap, NULL);
	}
	kill(pid, SIGKILL);
	wait_for(pid, &status, 0);
	return -1;
}

static void run(hpx_torturer *self, unsigned which)
{
	(void)which;
	while (!hpx_stopping()) {
		char command[256];
		pid_t pid = start(hpx_rng_next(&self->rng), command, sizeof(command));
		int status = pid > 0 ? stop_and_go(self, pid) : -1;

		hpx_sight_look(HPX_SIGHT_STOPPED, status == 0, "status 0x%x of %s", status, command);
		hpx_relaxed_add(&processes, 1);
	}
}

static void judge(hpx_torture *torture, hpx_result *result)
{
	(void)torture;
	hpx_result_note(result, "stopped_processes", "processes of these", hpx_relaxed_get(&processes));
}

hpx_disturbance hpx_stopped = {
	.name = "stopped",
	.help = "another process under torture, stopped and continued (SIGSTOP, SIGCONT)",
	.field = "stops",
	.label = "stops of another process",
	.full = 300,
	.threads = 1,
	.run = run,
	.judge = judge,
};
