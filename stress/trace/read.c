/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trace.h"

#include "harness/options.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

/* So much decompressed data is a mistake, or an attack on the machine's memory. */
static const uint64_t most_bytes = UINT64_C(1) << 31;

struct reader {
	const char *path;
	const hpx_trace_form *form;
	size_t record; /* bytes of a request */
	FILE *file;
	ZSTD_DStream *stream;
	void *buffer; /* compressed input */
	size_t buffer_size;
	uint64_t consumed;    /* offset in the file of buffer[0] */
	unsigned char *bytes; /* decompressed */
	size_t count, room;
};

static int bad(const struct reader *reader, uint64_t offset, const char *reason)
{
	return hpx_input_error(reader->form->command, "%s: offset %llu: %s", reader->path, (unsigned long long)offset,
			       reason);
}

static int make_room(struct reader *reader)
{
	size_t room = reader->room ? 2 * reader->room : 1 << 20;
	unsigned char *bytes;

	if (reader->count < reader->room)
		return 0;
	bytes = realloc(reader->bytes, room);
	if (!bytes)
		return -1;
	reader->bytes = bytes;
	reader->room = room;
	return 0;
}

/* Decompresses what is in the buffer. *hint is 0 after the end of a frame. */
static int decompress(struct reader *reader, size_t length, size_t *hint)
{
	ZSTD_inBuffer in = {reader->buffer, length, 0};

	/* also with all input taken: output may be waiting inside the decoder */
	for (;;) {
		ZSTD_outBuffer out;
		size_t before = in.pos;

		if (make_room(reader))
			return bad(reader, reader->consumed + in.pos, "out of memory");
		out = (ZSTD_outBuffer){reader->bytes + reader->count, reader->room - reader->count, 0};
		*hint = ZSTD_decompressStream(reader->stream, &out, &in);
		if (ZSTD_isError(*hint))
			return bad(reader, reader->consumed + in.pos, ZSTD_getErrorName(*hint));
		reader->count += out.pos;
		if (reader->count > most_bytes)
			return bad(reader, reader->consumed + in.pos, "more than 2 GiB of keys");
		if (in.pos == in.size && out.pos < out.size)
			return 0;
		if (in.pos == before && out.pos == 0)
			return bad(reader, reader->consumed + in.pos, "the decoder makes no progress");
		if (*hint == 0 && in.pos == in.size)
			return 0;
	}
}

/* What is not compressed goes through the same buffer. */
static int copy(struct reader *reader, size_t length)
{
	for (size_t done = 0; done < length;) {
		size_t part = length - done;

		if (make_room(reader))
			return bad(reader, reader->consumed + done, "out of memory");
		if (part > reader->room - reader->count)
			part = reader->room - reader->count;
		memcpy(reader->bytes + reader->count, (char *)reader->buffer + done, part);
		reader->count += part;
		done += part;
		if (reader->count > most_bytes)
			return bad(reader, reader->consumed + done, "more than 2 GiB of keys");
	}
	return 0;
}

static int read_all(struct reader *reader)
{
	size_t hint = 1;

	for (;;) {
		size_t length = fread(reader->buffer, 1, reader->buffer_size, reader->file);
		int status;

		if (ferror(reader->file))
			return bad(reader, reader->consumed, strerror(errno));
		if (!length)
			break;
		status = reader->form->plain ? copy(reader, length) : decompress(reader, length, &hint);
		if (status)
			return status;
		reader->consumed += length;
	}
	if (reader->consumed == 0)
		return bad(reader, 0, "the file is empty");
	if (hint != 0 && !reader->form->plain)
		return bad(reader, reader->consumed, "the file ends inside a zstd frame (truncated)");
	if (reader->count == 0)
		return bad(reader, reader->consumed, "the trace has no keys");
	if (reader->count % reader->record)
		return hpx_input_error(
			reader->form->command,
			"%s: offset %llu: %zu decompressed bytes are not a whole number of %zu-byte %s (%zu too many)",
			reader->path, (unsigned long long)reader->consumed, reader->count, reader->record,
			reader->form->sized ? "records" : "keys", reader->count % reader->record);
	return 0;
}

static uint64_t little_endian(const unsigned char *bytes, unsigned count)
{
	uint64_t value = 0;

	while (count)
		value = value << 8 | bytes[--count];
	return value;
}

static int by_value(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

static uint32_t index_of(const hpx_trace *trace, uint64_t key)
{
	uint64_t low = 0;
	uint64_t high = trace->count;

	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (trace->keys[middle] <= key)
			low = middle;
		else
			high = middle;
	}
	return (uint32_t)low;
}

/* Keys become indices of sorted distinct keys once, so that the replay need not hash for its own purposes. */
static int make_order(hpx_trace *trace, const unsigned char *bytes, size_t record)
{
	trace->keys = malloc(trace->requests * sizeof(*trace->keys));
	trace->order = malloc(trace->requests * sizeof(*trace->order));
	if (!trace->keys || !trace->order)
		return -1;
	for (uint64_t i = 0; i < trace->requests; i++)
		trace->keys[i] = little_endian(bytes + record * i, 8);
	qsort(trace->keys, trace->requests, sizeof(*trace->keys), by_value);
	for (uint64_t i = 0; i < trace->requests; i++)
		if (!i || trace->keys[i] != trace->keys[trace->count - 1])
			trace->keys[trace->count++] = trace->keys[i];
	for (uint64_t i = 0; i < trace->requests; i++)
		trace->order[i] = index_of(trace, little_endian(bytes + record * i, 8));
	return 0;
}

static int make_sizes(hpx_trace *trace, const unsigned char *bytes, size_t record)
{
	trace->sizes = malloc(trace->requests * sizeof(*trace->sizes));
	if (!trace->sizes)
		return -1;
	for (uint64_t i = 0; i < trace->requests; i++)
		trace->sizes[i] = (uint32_t)little_endian(bytes + record * i + 8, 4);
	return 0;
}

int hpx_trace_read(hpx_trace *trace, const char *path)
{
	static const hpx_trace_form form = {.command = "trace"};

	return hpx_trace_read_as(trace, path, &form);
}

int hpx_trace_read_as(hpx_trace *trace, const char *path, const hpx_trace_form *form)
{
	struct reader reader = {
		.path = path,
		.form = form,
		.record = form->sized ? 12 : 8,
		.buffer_size = ZSTD_DStreamInSize(),
	};
	struct stat info;
	int status;

	memset(trace, 0, sizeof(*trace));
	reader.file = fopen(path, "rbe");
	if (!reader.file)
		return hpx_input_error(form->command, "%s: %s", path, strerror(errno));
	if (fstat(fileno(reader.file), &info) == 0 && S_ISDIR(info.st_mode)) {
		fclose(reader.file);
		return hpx_input_error(form->command, "%s: is a folder", path);
	}
	reader.stream = ZSTD_createDStream();
	reader.buffer = malloc(reader.buffer_size);
	if (!reader.stream || !reader.buffer)
		status = bad(&reader, 0, "out of memory");
	else
		status = read_all(&reader);
	fclose(reader.file);
	ZSTD_freeDStream(reader.stream);
	free(reader.buffer);
	trace->requests = reader.count / reader.record;
	if (!status && (make_order(trace, reader.bytes, reader.record) ||
			(form->sized && make_sizes(trace, reader.bytes, reader.record))))
		status = bad(&reader, reader.consumed, "out of memory");
	free(reader.bytes);
	if (status)
		hpx_trace_free(trace);
	return status;
}

void hpx_trace_free(hpx_trace *trace)
{
	free(trace->order);
	free(trace->keys);
	free(trace->sizes);
	memset(trace, 0, sizeof(*trace));
}
