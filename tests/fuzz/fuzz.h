/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/fuzz.h - what every fuzz target has: its input as a stream of small numbers, checks that abort, a trace.
 *
 * A target defines LLVMFuzzerTestOneInput(). It is linked with libFuzzer (scripts/fuzz.sh), or with replay.c into a plain
 * program that runs files. HAPAX_FUZZ_TRACE=1 prints each step. HAPAX_FUZZ_WRONG=NAME makes a reference wrong on purpose.
 */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAYBE_UNUSED __attribute__((unused))

#define FUZZ_CHECK(cond, ...)                                                                                        \
	do {                                                                                                         \
		if (!(cond)) {                                                                                       \
			fprintf(stderr, "%s:%d: failed: %s: ", __FILE__, __LINE__, #cond);                           \
			fprintf(stderr, __VA_ARGS__);                                                                \
			fputc('\n', stderr);                                                                         \
			abort();                                                                                     \
		}                                                                                                    \
	} while (0)

#define FUZZ_TRACE(...)                                                                                              \
	do {                                                                                                         \
		if (fuzz_tracing()) {                                                                                \
			fprintf(stderr, __VA_ARGS__);                                                                \
			fputc('\n', stderr);                                                                         \
		}                                                                                                    \
	} while (0)

MAYBE_UNUSED static bool fuzz_tracing(void)
{
	static int tracing = -1;

	if (tracing < 0)
		tracing = getenv("HAPAX_FUZZ_TRACE") != NULL;
	return tracing;
}

MAYBE_UNUSED static bool fuzz_wrong(const char *name)
{
	static const char *wrong;
	static bool known;

	if (!known)
		wrong = getenv("HAPAX_FUZZ_WRONG");
	known = true;
	return wrong && !strcmp(wrong, name);
}

/* An input that has ended goes on with zeros. */
struct fuzz_input {
	const uint8_t *at, *end;
};

MAYBE_UNUSED static unsigned fuzz_byte(struct fuzz_input *in) { return in->at < in->end ? *in->at++ : 0; }
MAYBE_UNUSED static unsigned fuzz_below(struct fuzz_input *in, unsigned bound) { return fuzz_byte(in) % bound; }

#endif
