/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sha256sum.c - the independent witness: one child process of coreutils' sha256sum for all samples, without a shell.
 *
 * With --zero its records are "digest, two spaces, path, NUL", with nothing escaped. A file that it cannot read has no
 * record.
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int spawn_with_pipe(char **words, pid_t *child, FILE **output)
{
	posix_spawn_file_actions_t actions;
	int ends[2];
	int error;

	if (pipe2(ends, O_CLOEXEC))
		return errno;
	error = posix_spawn_file_actions_init(&actions);
	if (!error) {
		error = posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
		if (!error)
			error = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
		if (!error)
			error = posix_spawnp(child, words[0], &actions, NULL, words, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(ends[1]);
	if (error) {
		close(ends[0]);
		return error;
	}
	*output = fdopen(ends[0], "r");
	if (!*output) {
		error = errno;
		close(ends[0]);
	}
	return error;
}

/* Stores one record with the sample it belongs to. */
static void take_record(const hpx_paths *paths, hpx_sample *samples, unsigned count, const char *record)
{
	const size_t digits = sizeof(samples[0].digest) - 1;

	if (strlen(record) < digits + 2)
		return;
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(record + digits + 2, paths->paths[samples[i].path]) != 0)
			continue;
		memcpy(samples[i].digest, record, digits);
		samples[i].digest[digits] = 0;
	}
}

int hpx_sha256sum(const hpx_paths *paths, hpx_sample *samples, unsigned count)
{
	char **words = calloc(count + 4, sizeof(*words));
	char *record = NULL;
	FILE *output = NULL;
	size_t room = 0;
	pid_t child = -1;
	int status = 0;
	int error;

	if (!words)
		return ENOMEM;
	words[0] = (char *)"sha256sum";
	words[1] = (char *)"--zero";
	words[2] = (char *)"--";
	for (unsigned i = 0; i < count; i++)
		words[3 + i] = paths->paths[samples[i].path];
	error = spawn_with_pipe(words, &child, &output);
	free(words);
	if (!error) {
		while (getdelim(&record, &room, 0, output) > 0)
			take_record(paths, samples, count, record);
		fclose(output);
	}
	free(record);
	if (child > 0) {
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		/* 127: could not be executed; 1: some file could not be read */
		if (!error && (!WIFEXITED(status) || WEXITSTATUS(status) > 1))
			error = ENOEXEC;
	}
	return error;
}
