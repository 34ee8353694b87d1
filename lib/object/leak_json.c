/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/leak_json.c - hapax_leak_report_json(): what the report tells, as JSON.
 *
 * The beginning is put into the buffer before the report and the writer is called when that is full: a report that cannot be made
 * has written nothing.
 */
#include <errno.h>
#include <unistd.h>

#include "base/json.h"
#include "object/internal.h"
#include "object/leak.h"

struct writer {
	hapax_write_fn write;
	void *ctx;
};

static int pass(const char *text, size_t n, void *ctx)
{
	const struct writer *writer = ctx;
	HPX_USER_CODE(frame, NULL);

	return writer->write(text, n, writer->ctx);
}

static void write_from(struct hpx_json *j, const hapax_leak *leak)
{
	hpx_json_open(j, "from", '[');
	for (size_t i = 0; i < leak->n_from; i++) {
		hpx_json_open(j, NULL, '{');
		hpx_json_address(j, "object", leak->from[i].object);
		hpx_json_text(j, "type", leak->from[i].type);
		if (leak->from[i].offset == HAPAX_LEAK_THROUGH_HOLDER)
			hpx_json_null(j, "offset");
		else
			hpx_json_number(j, "offset", leak->from[i].offset);
		hpx_json_close(j, '}');
	}
	hpx_json_close(j, ']');
}

static void write_sites(struct hpx_json *j, const hapax_leak *leak)
{
	hpx_json_open(j, "sites", '[');
	for (size_t i = 0; i < leak->n_sites; i++) {
		hpx_json_open(j, NULL, '{');
		hpx_json_address(j, "address", leak->sites[i].address);
		hpx_json_text(j, "text", leak->sites[i].text);
		hpx_json_number(j, "taken", leak->sites[i].taken);
		hpx_json_close(j, '}');
	}
	hpx_json_close(j, ']');
}

static void write_leak(const hapax_leak *leak, void *ctx)
{
	struct hpx_json *j = ctx;

	if (j->status)
		return;
	hpx_json_open(j, NULL, '{');
	hpx_json_text(j, "type", leak->type);
	hpx_json_address(j, "object", leak->object);
	hpx_json_key(j, "key", leak->key);
	hpx_json_text(j, "holder", leak->holder);
	hpx_json_bool(j, "held", leak->held);
	hpx_json_bool(j, "inherited", leak->inherited);
	hpx_json_bool(j, "cycle", leak->cycle);
	hpx_json_number(j, "count", leak->count);
	write_from(j, leak);
	write_sites(j, leak);
	hpx_json_close(j, '}');
}

int hapax_leak_report_json(hapax_env *env, hapax_write_fn write, void *ctx)
{
	struct writer writer = {write, ctx};
	struct hpx_json j;
	size_t alive;
	int saved = errno;

	if (!write)
		return HAPAX_ENULL;
	hpx_enter();
	hpx_json_begin(&j, pass, &writer);
	hpx_json_open(&j, NULL, '{');
	hpx_json_number(&j, "format", 1);
	hpx_json_text(&j, "version", HAPAX_VERSION_STRING);
	hpx_json_signed(&j, "pid", getpid());
	hpx_json_bool(&j, "tracing", hapax_leak_tracing());
	hpx_json_open(&j, "leaks", '[');
	alive = hapax_leak_report(env, write_leak, &j);
	if (alive == SIZE_MAX) {
		errno = saved;
		return HAPAX_ENOMEM;
	}
	hpx_json_close(&j, ']');
	hpx_json_number(&j, "alive", alive);
	hpx_json_close(&j, '}');
	hpx_json_raw(&j, "\n", 1);
	hpx_json_end(&j);
	errno = saved;
	return j.status;
}
