/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* support/check.c - checks, the watchdog, randomness. */
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "support/support.h"

static uint64_t seed_used; /* 0 until somebody asked */
static pthread_mutex_t seed_lock = PTHREAD_MUTEX_INITIALIZER;

static void say_seed(void)
{
	uint64_t seed = __atomic_load_n(&seed_used, __ATOMIC_RELAXED);

	if (seed)
		fprintf(stderr, "replay with HAPAX_TEST_SEED=%" PRIu64 "\n", seed);
}

void test_fail(const char *file, int line, const char *format, ...)
{
	va_list arguments;

	flockfile(stderr);
	fprintf(stderr, "%s:%d: failed: ", file, line);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	say_seed();
	fflush(stdout);
	/* not exit(): other threads are still running */
	_exit(EXIT_FAILURE);
}

void test_skip(const char *reason)
{
	printf("skipped: %s\n", reason);
	fflush(NULL);
	_exit(77);
}

void test_check_eq(const char *file, int line, const char *a_text, const char *b_text, int64_t a, int64_t b)
{
	if (a != b)
		test_fail(file, line, "%s == %s: %" PRId64 " is not %" PRId64, a_text, b_text, a, b);
}

void test_check_str(const char *file, int line, const char *a_text, const char *b_text, const char *a, const char *b)
{
	if (!a || !b || strcmp(a, b))
		test_fail(file, line, "%s == %s: \"%s\" is not \"%s\"", a_text, b_text, a ? a : "(null)",
			  b ? b : "(null)");
}

void test_check_ptr(const char *file, int line, const char *a_text, const char *b_text, const void *a, const void *b)
{
	if (a != b)
		test_fail(file, line, "%s == %s: %p is not %p", a_text, b_text, a, b);
}

/* ---- watchdog -------------------------------------------------------------------------------------------------- */

static void too_slow(int signal_number)
{
	static const char message[] = "watchdog: the test did not end in time\n";

	(void)signal_number;
	if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0)
		_exit(EXIT_FAILURE);
	abort();
}

void test_watchdog(unsigned seconds)
{
	struct sigaction action = {.sa_handler = too_slow};

	sigaction(SIGALRM, &action, NULL);
	alarm(test_slow_build() ? 3 * seconds : seconds);
}

bool test_slow_build(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	return true;
#else
	return false;
#endif
#else
	return false;
#endif
}

/* ---- randomness ------------------------------------------------------------------------------------------------ */

uint64_t test_seed(void)
{
	const char *text = getenv("HAPAX_TEST_SEED");
	uint64_t seed;

	pthread_mutex_lock(&seed_lock);
	seed = seed_used;
	if (!seed) {
		if (text)
			seed = strtoull(text, NULL, 0);
		else if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
			seed = test_real_ns();
		seed = seed ? seed : 1;
		__atomic_store_n(&seed_used, seed, __ATOMIC_RELAXED);
		printf("HAPAX_TEST_SEED=%" PRIu64 "\n", seed);
	}
	pthread_mutex_unlock(&seed_lock);
	return seed;
}

/* SplitMix64 */
uint64_t test_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t test_stream(uint64_t stream)
{
	uint64_t state = test_seed() ^ (stream + 1) * UINT64_C(0xd1342543de82ef95);

	return test_random(&state);
}

uint64_t test_below(uint64_t *state, uint64_t bound)
{
	return test_random(state) % bound;
}

/* ---- real time ------------------------------------------------------------------------------------------------- */

uint64_t test_real_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * HAPAX_SECOND + (uint64_t)now.tv_nsec;
}

void test_sleep_ms(unsigned ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&left, &left))
		;
}
