/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * support/wrap.h - calls into the C library that can be told to fail. Programs under tests/fault are linked with --wrap
 * for these; what is not told to fail is passed on. Only calls from what is linked statically are seen: hapax, the tests.
 */
#ifndef TEST_WRAP_H
#define TEST_WRAP_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* A fault: the calls number `from` to `until` - 1 after wrap_fail() fail with `error`. Changed and read atomically. */
enum wrap_call {
	WRAP_MALLOC,
	WRAP_MMAP,
	WRAP_PTHREAD_CREATE,
	WRAP_KEY_CREATE,
	WRAP_SETSPECIFIC,
	WRAP_CLOCK,
	WRAP_FUTEX_WAIT,
	WRAP_FUTEX_WAKE,
	WRAP_GETRANDOM,
	WRAP_CALLS
};
void wrap_fail(enum wrap_call call, uint64_t from, uint64_t until, int error);
void wrap_off(void);
uint64_t wrap_seen(enum wrap_call call);   /* since the last wrap_fail() of it, or the start */
uint64_t wrap_failed(enum wrap_call call); /* of which failed */

#endif
