/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/process.hpp - a measurement in a process of its own: it starts with a small, unfragmented memory and leaves none
 * behind, whatever allocator the subject has.
 */
#ifndef HAPAX_BENCH_PROCESS_HPP
#define HAPAX_BENCH_PROCESS_HPP

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <type_traits>

#include <sys/wait.h>
#include <unistd.h>

#include <hapax/hapax.h>

namespace bench {

/* A subject that does not do what it is measured at ends everything. */
[[noreturn, gnu::format(printf, 1, 2)]] inline void fatal(const char *format, ...)
{
	va_list arguments;

	std::fputs("bench: ", stderr);
	va_start(arguments, format);
	std::vfprintf(stderr, format, arguments);
	va_end(arguments);
	std::fputc('\n', stderr);
	std::exit(1);
}

/* What fn() returns in a child process. The parent's threads, hapax's own among them, do not exist there. */
template <class Result, class Fn> Result in_process(Fn fn)
{
	static_assert(std::is_trivially_copyable<Result>::value, "comes through a pipe");
	Result result{};
	int channel[2], status = 0;

	std::fflush(nullptr);
	if (pipe(channel))
		fatal("no pipe");
	hapax_before_fork(0);
	pid_t child = fork();
	if (child == 0) {
		hapax_after_fork_child(0);
		close(channel[0]);
		result = fn();
		_exit(write(channel[1], &result, sizeof result) == sizeof result ? 0 : 1);
	}
	hapax_after_fork_parent(0);
	close(channel[1]);
	if (child < 0)
		fatal("no process");
	bool whole = read(channel[0], &result, sizeof result) == sizeof result;
	close(channel[0]);
	if (waitpid(child, &status, 0) != child || status || !whole)
		fatal("a run in a process of its own failed");
	return result;
}

} // namespace bench

#endif
