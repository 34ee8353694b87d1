/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/check.c - broken invariants, misuse, and the yield points of the chaos build. */
#include "base/check.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/testing.h"

struct hpx_hook hpx_misuse_hook;

void hpx_fatal(const char *file, int line, const char *what)
{
	fprintf(stderr, "hapax: %s:%d: broken invariant: %s\n", file, line, what);
	abort();
}

void hpx_misuse(const char *format, ...)
{
	int saved = errno;
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!hpx_hook_call(&hpx_misuse_hook, text)) {
#ifdef HPX_DEBUG
		fprintf(stderr, "hapax: misuse: %s\n", text);
		abort();
#endif
	}
	errno = saved;
}

#ifdef HPX_BROKEN_BUILD
enum hpx_broken hpx_broken;

__attribute__((constructor)) static void broken_begin(void)
{
	static const char *const names[] = {
#define NAME(name, ...) #name,
		HPX_BROKEN_SWITCHES(NAME)
#undef NAME
	};
	const char *wanted = getenv("HAPAX_BROKEN");

	if (!wanted || !*wanted)
		return;
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(names[i], wanted))
			hpx_broken = (enum hpx_broken)(i + 1);
	if (hpx_broken)
		return;
	fprintf(stderr, "hapax: HAPAX_BROKEN=%s: there is no such fault\n", wanted);
	_exit(2);
}
#endif

#ifdef HPX_CHAOS
/* One call in eight gives the processor away. The generator is the thread's own: it orders nothing. */
static uint64_t chaos_seed = 0x9e3779b97f4a7c15;
static __thread uint64_t chaos_state;

__attribute__((constructor, no_sanitize("thread"))) static void chaos_begin(void)
{
	const char *seed = getenv("HAPAX_CHAOS_SEED");

	if (seed)
		chaos_seed ^= strtoull(seed, NULL, 0) * 0xbf58476d1ce4e5b9;
}

__attribute__((no_sanitize("thread"))) static uint64_t chaos_next(void)
{
	uint64_t x = chaos_state;

	if (!x)
		x = chaos_seed ^ (uint64_t)(uintptr_t)&chaos_state;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return chaos_state = x;
}

__attribute__((no_sanitize("thread"))) void hpx_yield_point(void)
{
	uint64_t x = chaos_next() >> 32;
	int saved = errno;

#ifdef HPX_STRICT
	const struct timespec nap = {.tv_nsec = 50000L << (x >> 11 & 3)};

	if (!(x & 2047)) /* in the middle of things, too: what should still be there may not be */
		nanosleep(&nap, NULL);
#endif
	if (!(x & 7))
		sched_yield();
	errno = saved;
}

#ifdef HPX_BROKEN_BUILD
void hpx_broken_window(void)
{
	const struct timespec nap = {.tv_nsec = 500000};

	for (unsigned i = 0; i < 16; i++)
		hpx_yield_point();
	if (!(chaos_next() >> 32 & 3))
		nanosleep(&nap, NULL);
}
#endif

#ifdef HPX_STRICT
/* One call in four yields up to 15 times, one in 128 sleeps: for the time of some grace periods. */
__attribute__((no_sanitize("thread"))) void hpx_strict_delay(void)
{
	uint64_t x = chaos_next() >> 32;
	const struct timespec nap = {.tv_nsec = 50000L << (x >> 8 & 7) % 7};
	int saved = errno;

	if (!(x & 127))
		nanosleep(&nap, NULL);
	else if (!(x & 3))
		for (x = x >> 8 & 15; x; x--)
			sched_yield();
	errno = saved;
}
#endif
#endif
