/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/fuzz_trace.c - the reader of trace files (stress/trace/read.c): whatever bytes a file has, it is refused with a
 * message or read right.
 *
 * The first byte says what the rest is: a file as it is, or keys that are compressed here, whole, cut, with a second
 * frame, or with a byte changed; and, above that, whether keys have sizes and whether a file as it is has to be plain.
 */
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include "fuzz/fuzz.h"
#include "harness/options.h"
#include "trace/trace.h"

static unsigned messages;

/* In place of the one that prints. */
int hpx_input_error(const char *command, const char *format, ...)
{
	char text[1000];
	va_list args;

	va_start(args, format);
	FUZZ_CHECK(command && vsnprintf(text, sizeof(text), format, args) > 0, "a message of nothing");
	va_end(args);
	messages++;
	return HPX_EXIT_INPUT;
}

static uint64_t number_at(const uint8_t *data, unsigned size)
{
	uint64_t number = 0;

	for (unsigned b = 0; b < size; b++)
		number |= (uint64_t)data[b] << (8 * b);
	return number;
}

static void read_file(const uint8_t *bytes, size_t size, const hpx_trace_form *form, hpx_trace *trace, int *status)
{
	int file = memfd_create("trace", MFD_CLOEXEC);
	char path[40];

	FUZZ_CHECK(file >= 0 && write(file, bytes, size) == (ssize_t)size, "a file of %zu bytes", size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	messages = 0;
	*status = hpx_trace_read_as(trace, path, form);
	close(file);
	FUZZ_CHECK(*status || !trace->sizes == !form->sized, "sizes");
	FUZZ_CHECK(*status == 0 || *status == HPX_EXIT_INPUT, "%d", *status);
	FUZZ_CHECK((*status != 0) == (messages == 1), "%u messages for %d", messages, *status);
	if (*status)
		FUZZ_CHECK(!trace->keys && !trace->order && !trace->sizes, "something is left of a trace that was refused");
}

static void check_sound(const hpx_trace *trace)
{
	FUZZ_CHECK(trace->requests && trace->count && trace->count <= trace->requests, "counts");
	for (uint64_t i = 1; i < trace->count; i++)
		FUZZ_CHECK(trace->keys[i - 1] < trace->keys[i], "keys are not sorted, or there twice");
	for (uint64_t i = 0; i < trace->requests; i++)
		FUZZ_CHECK(trace->order[i] < trace->count, "request %u", (unsigned)i);
}

/* What was written here is known. */
static void check_same(const hpx_trace *trace, const uint8_t *data, size_t size)
{
	size_t record = trace->sizes ? 12 : 8;

	FUZZ_CHECK(trace->requests == size / record, "%u requests", (unsigned)trace->requests);
	for (uint64_t i = 0; i < trace->requests; i++) {
		const uint8_t *at = data + record * i;

		FUZZ_CHECK(trace->keys[trace->order[i]] == number_at(at, 8) + fuzz_wrong("KEY"), "request %u", (unsigned)i);
		if (trace->sizes)
			FUZZ_CHECK(trace->sizes[i] == number_at(at + 8, 4), "size of request %u", (unsigned)i);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned mode = size ? data[0] % 6 : 0;
	const uint8_t *bytes = size ? data + 1 : data;
	size_t rest = size ? size - 1 : 0, half = rest / 2, packed = 0, room;
	hpx_trace_form form = {.command = "fuzz", .sized = size && data[0] / 6 % 2, .plain = size && mode < 2 && data[0] / 12 % 2};
	size_t record = form.sized ? 12 : 8;
	hpx_trace trace;
	uint8_t *file;
	int status;

	if (mode < 2) {
		read_file(bytes, rest, &form, &trace, &status);
		if (form.plain)
			FUZZ_CHECK((status == 0) == (rest && rest % record == 0), "%zu bytes: %d", rest, status);
		if (!status)
			check_sound(&trace);
		if (!status && form.plain)
			check_same(&trace, bytes, rest);
		hpx_trace_free(&trace);
		return 0;
	}
	room = 2 * ZSTD_compressBound(rest);
	file = malloc(room);
	FUZZ_CHECK(file, "memory");
	if (mode == 3) { /* two frames */
		packed = ZSTD_compress(file, room, bytes, half, 1);
		packed += ZSTD_compress(file + packed, room - packed, bytes + half, rest - half, 1);
	} else {
		packed = ZSTD_compress(file, room, bytes, rest, 1);
	}
	if (mode == 4) /* cut */
		packed -= packed > rest % 7 ? rest % 7 : 0;
	if (mode == 5 && rest) /* a byte is another */
		file[bytes[0] % packed] ^= bytes[rest - 1];
	read_file(file, packed, &form, &trace, &status);
	if (mode < 4 || (mode == 4 && rest % 7 == 0)) {
		FUZZ_CHECK((status == 0) == (rest && rest % record == 0), "%zu bytes: %d", rest, status);
		if (!status)
			check_same(&trace, bytes, rest);
	} else if (mode == 4) {
		FUZZ_CHECK(status, "a file that was cut is read");
	}
	if (!status)
		check_sound(&trace);
	hpx_trace_free(&trace);
	free(file);
	return 0;
}
