/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax-top - attaches to a process that links hapax, and shows what its caches do.
 *
 * The process publishes nothing by itself: it is asked, through the segment of observe/segment.h, and answers with one JSON
 * text. On a terminal the figures are a screen; anywhere else they are plain text, or that very JSON.
 */
#include <hapax/base.h>

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "snapshot.h"
#include "view.h"
#include "watch.h"

enum { STATUS_OK = 0, STATUS_NONE = 1, STATUS_USAGE = 2 };

static const char help[] =
	"Usage: hapax-top [OPTION]... [PID]\n"
	"\n"
	"Shows what the caches of a running process that links hapax do. Without PID: the only process that can be looked at;\n"
	"of several, they are listed. On a terminal the figures are refreshed until q is pressed; elsewhere they are printed\n"
	"as plain text.\n"
	"\n"
	"Options:\n"
	"  -l, --list             list the processes that can be looked at: number, program, age, caches and memos\n"
	"  -i, --interval SECONDS time between two snapshots, and what rates are of; 0.1 to 3600 (default 1)\n"
	"  -c, --count N          print N snapshots as plain text, also on a terminal (default elsewhere: 1)\n"
	"  -j, --json             print snapshots as JSON, one line each (default: 1)\n"
	"  -s, --sort KEY         order of the caches: gets, hits, loads, flights, present, demoted, evictions, name or id\n"
	"                         (default gets)\n"
	"  -h, --help             this text\n"
	"  -V, --version          the version\n"
	"\n"
	"Keys: up and down or a digit select a cache, g h l f p d e n i change the order, r reverses it, ? shows all, q quits.\n"
	"\n"
	"Exit status: 0 done, 1 nothing to attach to, or the process has gone or does not answer, 2 usage, or a PID is needed.\n"
	"Colours are used on a terminal, and not if NO_COLOR is set.\n";

static int complain(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int complain(int status, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("hapax-top: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

/* An argument, as it can be shown. */
static const char *shown(const char *argument)
{
	static struct text text;

	text.n = 0;
	text_foreign(&text, (struct foreign){argument, strlen(argument)}, 60);
	text_add(&text, "", 1);
	return text.at;
}

struct options {
	bool list, json;
	uint64_t interval_ns, count; /* count 0: not given */
	enum order order;
	pid_t pid; /* 0: not given */
};

static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return !*end && !errno && *value >= least && *value <= most;
}

static int set_interval(struct options *o, const char *text)
{
	char *end;
	double seconds = (*text >= '0' && *text <= '9') || *text == '.' ? strtod(text, &end) : NAN;

	if (isnan(seconds) || end == text || *end || strpbrk(text, "xX") || seconds < 0.1 || seconds > 3600)
		return complain(STATUS_USAGE, "--interval: '%s' is no number of seconds from 0.1 to 3600", shown(text));
	o->interval_ns = (uint64_t)(seconds * 1e9);
	return STATUS_OK;
}

static int set_order(struct options *o, const char *text)
{
	unsigned i;

	for (i = 0; i < ORDERS; i++)
		if (!strcmp(text, order_names[i])) {
			o->order = (enum order)i;
			return STATUS_OK;
		}
	return complain(STATUS_USAGE, "--sort: '%s' is none of gets, hits, loads, flights, present, demoted, evictions, name, id",
			shown(text));
}

/* -1: go on. */
static int parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {{"list", 0, NULL, 'l'},  {"interval", 1, NULL, 'i'}, {"count", 1, NULL, 'c'},
					      {"json", 0, NULL, 'j'},  {"sort", 1, NULL, 's'},	   {"help", 0, NULL, 'h'},
					      {"version", 0, NULL, 'V'}, {NULL, 0, NULL, 0}};
	uint64_t pid;
	int c, status = STATUS_OK;

	opterr = 0;
	while (status == STATUS_OK && (c = getopt_long(argc, argv, ":li:c:js:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'l': o->list = true; break;
		case 'j': o->json = true; break;
		case 'i': status = set_interval(o, optarg); break;
		case 's': status = set_order(o, optarg); break;
		case 'c':
			if (!number(optarg, 1, 1000000000, &o->count))
				status = complain(STATUS_USAGE, "--count: '%s' is no whole number from 1 to 1000000000", shown(optarg));
			break;
		case 'h':
			fputs(help, stdout);
			return STATUS_OK;
		case 'V':
			puts("hapax-top " HAPAX_VERSION_STRING);
			return STATUS_OK;
		case ':': return complain(STATUS_USAGE, "%s needs a value; see --help", shown(argv[optind - 1]));
		default: return complain(STATUS_USAGE, "there is no option %s, or it takes no value; see --help", shown(argv[optind - 1]));
		}
	}
	if (status != STATUS_OK)
		return status;
	if (argc - optind > 1)
		return complain(STATUS_USAGE, "one process at a time: '%s' is too much", shown(argv[optind + 1]));
	if (argc > optind) {
		if (!number(argv[optind], 1, INT32_MAX, &pid))
			return complain(STATUS_USAGE, "'%s' is no process number", shown(argv[optind]));
		o->pid = (pid_t)pid;
	}
	if (o->list && (o->pid || o->json || o->count))
		return complain(STATUS_USAGE, "--list goes with no process number, --json or --count");
	return -1;
}

/* ---- one snapshot ------------------------------------------------------------------------------------------------ */

static struct snapshot *wait_for(struct segment *s, uint64_t until, char why[WHY])
{
	struct snapshot *snapshot = NULL;
	struct text text;
	int answer = 0;
	uint64_t now = 0;

	while (!(answer = segment_answer(s, &text, why)) && segment_alive(s, why) && (now = now_ns()) < until)
		segment_wait(s, until - now < 100000000u ? (unsigned)((until - now) / 1000000u) + 1 : 100);
	if (answer > 0)
		snapshot = snapshot_parse((struct foreign){text.at, text.n}, why);
	else if (!answer && now >= until)
		segment_silence(s, why);
	text_drop(&text);
	return snapshot;
}

static bool print(struct text *text)
{
	bool done = !text->n || fwrite(text->at, text->n, 1, stdout) == 1;

	text->n = 0;
	return fflush(stdout) == 0 && done;
}

/* False: the process has gone meanwhile. */
static bool sleep_until(const struct segment *s, uint64_t until, char why[WHY])
{
	uint64_t now;

	while ((now = now_ns()) < until) {
		uint64_t left = until - now;

		nanosleep(&(struct timespec){.tv_nsec = (long)(left < 100000000u ? left : 100000000u)}, NULL);
		if (!segment_alive(s, why))
			return false;
	}
	return true;
}

/* Rates are of the time between two snapshots, so plain text takes one more than it prints. */
static int print_snapshots(struct segment *s, const struct options *o, char why[WHY])
{
	uint64_t count = o->count ? o->count : 1, i, first = o->json ? 1 : 0, next = now_ns();
	struct snapshot *before = NULL, *now;
	struct text out = {.at = NULL};
	int status = STATUS_OK;

	for (i = first; status == STATUS_OK && i <= count; i++) {
		now = sleep_until(s, next, why) && segment_ask(s, why) ? wait_for(s, now_ns() + PATIENCE_NS, why) : NULL;
		next = now_ns() + o->interval_ns;
		if (!now) {
			status = complain(STATUS_NONE, "%s", why);
			break;
		}
		if (o->json) {
			snapshot_json(now, &out);
		} else if (i) {
			snapshot_compare(now, before);
			snapshot_sort(now, o->order, false);
			view_plain(&out, now, s->pid);
			if (i < count)
				text_put(&out, "\n");
		}
		if (!print(&out))
			status = complain(STATUS_NONE, "cannot write: %s", strerror(errno));
		snapshot_drop(before);
		before = now;
	}
	snapshot_drop(before);
	text_drop(&out);
	return status;
}

/* ---- which process ----------------------------------------------------------------------------------------------- */

struct found {
	struct segment *all;
	size_t n;
};

static void keep(struct segment *s, void *ctx)
{
	struct found *f = ctx;
	struct segment *more = realloc(f->all, (f->n + 1) * sizeof(*more));

	if (!more)
		return;
	f->all = more;
	f->all[f->n++] = *s;
	*s = (struct segment){.fd = -1, .process = -1}; /* ours from here on */
}

static void list(struct found *f)
{
	char why[WHY], age[HUMAN], caches[32];
	uint64_t until = now_ns() + 1000000000u;
	struct text line = {.at = NULL};
	size_t i;

	printf("%8s %8s %7s  %s\n", "PID", "AGE", "CACHES", "PROGRAM");
	for (i = 0; i < f->n; i++)
		segment_ask(&f->all[i], why);
	for (i = 0; i < f->n; i++) {
		struct snapshot *s = wait_for(&f->all[i], until, why);
		uint64_t up = process_age_ns(f->all[i].pid);

		snprintf(caches, sizeof(caches), "%zu", s ? s->ncaches : 0);
		line.n = 0;
		text_printf(&line, "%8d %8s %7s  ", (int)f->all[i].pid, up ? human_ns(age, sizeof(age), up) : "-", s ? caches : "?");
		process_name(f->all[i].pid, &line);
		text_put(&line, "\n");
		print(&line);
		snapshot_drop(s);
	}
	text_drop(&line);
}

static void drop_found(struct found *f)
{
	size_t i;

	for (i = 0; i < f->n; i++)
		segment_close(&f->all[i]);
	free(f->all);
}

/* The only process there is; else the exit status, or -1 when it was opened. */
static int find_one(struct segment *s, const struct options *o)
{
	struct found f = {.all = NULL};
	unsigned denied = process_each(keep, &f);
	int status = -1;

	if (!f.n) {
		status = complain(STATUS_NONE, denied ? "no process that links hapax can be looked at; %u belong to somebody else"
						      : "no process has a statistics segment of hapax", denied);
	} else if (o->list) {
		list(&f);
		status = STATUS_OK;
	} else if (f.n == 1) {
		*s = f.all[0];
		f.n = 0;
	} else {
		list(&f);
		status = complain(STATUS_USAGE, "which of them? Say its number");
	}
	drop_found(&f);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = {.interval_ns = 1000000000u};
	const char *term = getenv("TERM");
	bool terminal = isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
	struct segment s;
	char why[WHY] = "";
	int status;

	text_locale(isatty(STDOUT_FILENO));
	status = parse(&o, argc, argv);
	if (status >= 0)
		return status;
	if (!o.pid) {
		status = find_one(&s, &o);
		if (status >= 0)
			return status;
	} else if (segment_open(&s, o.pid, why) != ATTACHED) {
		return complain(STATUS_NONE, "%s", why);
	}
	if (terminal && !o.json && !o.count) {
		status = watch(&s, o.interval_ns, o.order, why);
		if (status)
			complain(status, "%s", why);
	} else {
		status = print_snapshots(&s, &o, why);
	}
	segment_close(&s);
	return status;
}
