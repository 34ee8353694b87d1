/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * support/support.h - what every test program uses: registration, checks, time, memory, randomness, threads.
 *
 * A test program is a set of TEST(name) { ... } and no main(). `prog --list` names its tests, `prog NAME` runs one in
 * this process, `prog` alone runs each in a child of its own. A failed check prints where and ends the process with
 * status 1; TEST_SKIP() ends it with 77.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hapax/hapax.h>
#include <hapax/testing.h>

#include "support/runner.h"

/* ---- checks: usable on every thread ---------------------------------------------------------------------------- */

__attribute__((noreturn, format(printf, 3, 4))) void test_fail(const char *file, int line, const char *format, ...);
__attribute__((noreturn)) void test_skip(const char *reason);
void test_check_eq(const char *file, int line, const char *a_text, const char *b_text, int64_t a, int64_t b);
void test_check_str(const char *file, int line, const char *a_text, const char *b_text, const char *a, const char *b);
void test_check_ptr(const char *file, int line, const char *a_text, const char *b_text, const void *a, const void *b);

#define CHECK(cond) ((cond) ? (void)0 : test_fail(__FILE__, __LINE__, "%s", #cond))
/* Integers of any type; 64-bit unsigned values above INT64_MAX compare by their bits. */
#define CHECK_EQ(a, b) test_check_eq(__FILE__, __LINE__, #a, #b, (int64_t)(a), (int64_t)(b))
#define CHECK_STR(a, b) test_check_str(__FILE__, __LINE__, #a, #b, (a), (b))
#define CHECK_PTR(a, b) test_check_ptr(__FILE__, __LINE__, #a, #b, (a), (b))
#define TEST_FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define TEST_SKIP(reason) test_skip(reason)

/* ---- a counting and failing allocator -------------------------------------------------------------------------- */

/*
 * Counts what is held and verifies that free() gets the size and alignment that alloc() got. Its numbers are
 * atomic: threads of the library may allocate while a test reads or sets them. What they say of other memory they say at
 * rest, or by test_allocator_live(). `calls` counts from 1 at the first allocation after init (or a reset to 0).
 */
struct test_allocator {
	hapax_allocator allocator;  /* goes into hapax_env_options.allocator */
	_Atomic uint64_t calls;     /* allocations asked for */
	_Atomic uint64_t failures;  /* of which refused */
	_Atomic uint64_t fail_at;   /* this one call fails; 0: none */
	_Atomic uint64_t fail_from; /* this call and all after it fail; 0: none */
	_Atomic size_t live_bytes;  /* held now */
	_Atomic size_t live_blocks;
	_Atomic size_t peak_bytes;
};
void test_allocator_init(struct test_allocator *a, uint64_t fail_at);
size_t test_allocator_live(const struct test_allocator *a);

/* ---- environments ---------------------------------------------------------------------------------------------- */

/* A fresh environment with a counting allocator of its own and a seed from test_seed(). */
hapax_env *test_env(void);
/* The same with HAPAX_ENV_ flags, with or without the fake clock. */
hapax_env *test_env_flags(unsigned flags, bool fake_clock);
/* The same from options the test prepared; allocator and seed are filled in where they are unset. */
hapax_env *test_env_options(const hapax_env_options *options);
/* test_env() on the fake clock. */
hapax_env *test_env_fake(void);
/* The counting allocator of an environment made by one of the above. */
struct test_allocator *test_env_allocator(hapax_env *env);
/* Drains, checks that no object of it is left, destroys it, drains again and checks that its allocator holds nothing. */
void test_env_end(hapax_env *env);

/* ---- a fake clock ---------------------------------------------------------------------------------------------- */

/*
 * One fake clock for the process; it starts at one second and moves only by fake_clock_advance() and fake_clock_set().
 * fake_clock_env() puts it into options; fake_clock_attach() makes the sleepers of a created environment obey it too.
 */
void fake_clock_env(hapax_env_options *options);
void fake_clock_attach(hapax_env *env);
uint64_t fake_clock_now(void);
void fake_clock_advance(uint64_t ns);
void fake_clock_set(uint64_t now); /* backwards too */
/* Threads that sleep on the fake clock now; waiting until it is at least `n`, so that a test knows they are asleep. */
unsigned fake_clock_sleepers(void);
void fake_clock_await_sleepers(unsigned n);

/* ---- randomness ------------------------------------------------------------------------------------------------ */

/* The seed of this run: HAPAX_TEST_SEED when set, else random. Printed at the first call. Never 0. */
uint64_t test_seed(void);
/* A stream of its own for thread or purpose `stream`. */
uint64_t test_stream(uint64_t stream);
uint64_t test_random(uint64_t *state);
uint64_t test_below(uint64_t *state, uint64_t bound); /* 0 .. bound - 1; bound > 0 */

/* ---- threads --------------------------------------------------------------------------------------------------- */

/* Runs fn(index, arg) on n threads that start together; returns when all have ended. */
void run_threads(unsigned n, void (*fn)(unsigned index, void *arg), void *arg);
/* One thread: start, join. */
pthread_t test_thread(void *(*fn)(void *), void *arg);
void *test_join(pthread_t thread);

/* A barrier ThreadSanitizer understands and that may be used again and again. */
struct test_barrier {
	pthread_mutex_t lock;
	pthread_cond_t all;
	unsigned threads, waiting, round;
};
void test_barrier_init(struct test_barrier *b, unsigned threads);
void test_barrier_wait(struct test_barrier *b);

/* A flag to wait for: once set it stays set. */
struct test_event {
	pthread_mutex_t lock;
	pthread_cond_t set_cond;
	bool set;
};
#define TEST_EVENT_INIT {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false}
void test_event_init(struct test_event *e);
void test_event_set(struct test_event *e);
void test_event_wait(struct test_event *e);
bool test_event_is_set(struct test_event *e);

void test_sleep_ms(unsigned ms);
uint64_t test_real_ns(void); /* CLOCK_MONOTONIC */

/* Ends the test as failed when it is not over in `seconds` from now; every test starts with TEST_WATCHDOG_SECONDS.
 * 0 switches it off. */
#define TEST_WATCHDOG_SECONDS 60
void test_watchdog(unsigned seconds);

/* True in builds under AddressSanitizer or ThreadSanitizer: for sizes of loops. */
bool test_slow_build(void);

#endif
