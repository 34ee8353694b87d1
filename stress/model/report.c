/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/report.c - the interleaving of a run, with addresses turned into functions and lines by addr2line, if it is
 * there. Only a replay records.
 */
#include "model/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINES_FIRST = 60, LINES_LAST = 340, SITES = 4096 };

struct entry {
	uint64_t step, value;
	const volatile void *address;
	const void *where;
	const char *text;
	unsigned char op, fibre, size;
};
static struct entry *entries;
static size_t used, room, first;

static struct site {
	const void *where;
	char text[160];
} *sites;
static size_t sites_used;

extern char __executable_start[] __attribute__((weak));

void trace_reset(void) { used = first = 0; }

static struct entry *next(enum op op, const void *where)
{
	if (used == room) {
		room = room ? room * 2 : 4096;
		entries = realloc(entries, room * sizeof(*entries));
		if (!entries)
			exit(2);
	}
	entries[used] = (struct entry){.step = engine.steps, .where = where, .op = (unsigned char)op,
				       .fibre = (unsigned char)model_index()};
	return &entries[used++];
}

void trace_step(enum op op, const volatile void *address, const void *where) { next(op, where)->address = address; }

void trace_value(uint64_t value, unsigned size)
{
	if (!used)
		return;
	entries[used - 1].value = value;
	entries[used - 1].size = (unsigned char)size;
}

void trace_text(enum op op, const char *text, uint64_t value, const void *where)
{
	struct entry *entry = next(op, where);

	entry->text = text;
	entry->value = value;
}

/* ---- names of places ---------------------------------------------------------------------------------------------- */

static unsigned long long offset_of(const void *where)
{
	return (unsigned long long)((const char *)where - __executable_start) - 1;
}

static struct site *site_of(const void *where, bool make)
{
	if (!sites && !(sites = calloc(SITES, sizeof(*sites))))
		exit(2);
	for (size_t i = 0; i < sites_used; i++)
		if (sites[i].where == where)
			return &sites[i];
	if (!make || sites_used == SITES)
		return NULL;
	sites[sites_used].where = where;
	snprintf(sites[sites_used].text, sizeof(sites->text), "+0x%llx", offset_of(where));
	return &sites[sites_used++];
}

/* "function file:line", of the innermost function and of the one it was inlined into. */
static void resolve(size_t from)
{
	char *command = malloc(64 + (sites_used - from) * 24), line[512], function[128] = "";
	bool have_function = false;
	size_t length, at = from, frame = 0;
	FILE *pipe;

	if (!command)
		return;
	length = (size_t)sprintf(command, "addr2line -a -i -f -e /proc/%d/exe", (int)getpid());
	for (size_t i = from; i < sites_used; i++)
		length += (size_t)sprintf(command + length, " 0x%llx", offset_of(sites[i].where));
	strcpy(command + length, " 2>/dev/null");
	fflush(stdout);
	pipe = popen(command, "r");
	free(command);
	if (!pipe)
		return;
	at = from - 1;
	while (fgets(line, sizeof(line), pipe)) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "0x", 2)) {
			at++;
			frame = 0;
			have_function = false;
		} else if (!have_function) {
			snprintf(function, sizeof(function), "%.100s", line);
			have_function = true;
		} else {
			char *file = strstr(line, "/lib/"), *slash = strrchr(line, '/'), *note = strstr(line, " (");

			have_function = false;
			if (note)
				*note = 0;
			if (at >= sites_used || line[0] == '?')
				continue;
			if (!file)
				file = strstr(line, "/stress/");
			file = file ? file + 1 : slash ? slash + 1 : line;
			if (!frame++) {
				snprintf(sites[at].text, sizeof(sites->text), "%.60s %.80s", function, file);
			} else {
				/* the last one wins: it is the function itself */
				char *in = strstr(sites[at].text, " < ");
				size_t keep = in ? (size_t)(in - sites[at].text) : strlen(sites[at].text);

				snprintf(sites[at].text + keep, sizeof(sites->text) - keep, " < %s", function);
			}
		}
	}
	pclose(pipe);
}

/* Only a replay takes the time to look names up. */
void model_site(const void *where, char *buffer, size_t size)
{
	struct site *site;
	size_t before = sites_used;

	if (!where) {
		snprintf(buffer, size, "the engine");
		return;
	}
	if (!engine.tracing) {
		snprintf(buffer, size, "+0x%llx", offset_of(where));
		return;
	}
	site = site_of(where, true);
	if (sites_used > before)
		resolve(before);
	snprintf(buffer, size, "%s", site ? site->text : "");
}

/* ---- the interleaving --------------------------------------------------------------------------------------------- */

static void print_entry(const struct entry *e)
{
	static const char *const names[] = {"", "load", "store", "change", "cas", "fence", "lock", "unlock", "wait", "wake",
					    "enter section", "left section", "wait for readers", "give way", "clock",
					    "begins", "has ended", "note", "allocate", "free", "choice"};
	const char *name = engine.fibres[e->fibre].name;
	const struct site *site = e->where ? site_of(e->where, false) : NULL;
	char what[160];
	int length = snprintf(what, sizeof(what), "%s", names[e->op]);

	if (e->op == OP_CHOICE)
		length += snprintf(what + length, sizeof(what) - (size_t)length, " %llu", (unsigned long long)e->value);
	else if (e->op == OP_ALLOC || e->op == OP_FREE)
		length += snprintf(what + length, sizeof(what) - (size_t)length, " %llu %s", (unsigned long long)e->value,
				   e->text ? e->text : "");
	else if (e->op == OP_NOTE)
		length += snprintf(what + length, sizeof(what) - (size_t)length, ": %s %llu", e->text,
				   (unsigned long long)e->value);
	if (e->address)
		length += snprintf(what + length, sizeof(what) - (size_t)length, " %llx",
				   (unsigned long long)(uintptr_t)e->address);
	if (e->size)
		snprintf(what + length, sizeof(what) - (size_t)length, "%s0x%llx", e->op == OP_LOAD ? " -> " : " = ",
			 (unsigned long long)e->value);
	printf("%7llu %*s%-5s %-*s %s\n", (unsigned long long)e->step, 2 * (int)(e->fibre % 6), "", name ? name : "",
	       60 - 2 * (int)(e->fibre % 6), what, site ? site->text : "");
}

void trace_print(void)
{
	size_t begin = 0, count, before = sites_used;

	while (begin < used && engine.began && entries[begin].step < engine.began)
		begin++;
	count = used - begin;
	for (size_t i = begin; i < used; i++)
		if ((i - begin < LINES_FIRST || used - i <= LINES_LAST) && entries[i].where)
			site_of(entries[i].where, true);
	if (sites_used > before)
		resolve(before);
	printf("   step fibre and what it does\n");
	for (size_t i = begin; i < used; i++) {
		if (i - begin < LINES_FIRST || used - i <= LINES_LAST)
			print_entry(&entries[i]);
		else if (i - begin == LINES_FIRST)
			printf("        ... %zu lines left out ...\n", count - LINES_FIRST - LINES_LAST);
	}
}
