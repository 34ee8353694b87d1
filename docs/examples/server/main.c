/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options, start, signals, and the order in which it ends. */
#define _GNU_SOURCE
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: %s [OPTIONS]\n"
	"  --db FILE             the database (server.db)\n"
	"  --files DIR           serve the files below DIR under /files/\n"
	"  --address ADDRESS     IPv4 address to listen on (127.0.0.1)\n"
	"  --port N              0: any free one, which is printed (8080)\n"
	"  --threads N           threads that answer; 0: one for each connection (8)\n"
	"  --cache-bytes N       contents held in memory; K, M and G are understood (64M)\n"
	"  --max-file N          longer files are sent from the disk (1M)\n"
	"  --ttl SECONDS         a page is good for so long, or up to a tenth less (60)\n"
	"  --refresh SECONDS     a page older than this is loaded anew in the background (45)\n"
	"  --negative-ttl SECONDS    \"not found\" is remembered for so long (5)\n"
	"  --stale SECONDS       after its ttl a page is served for so long if it cannot be loaded (300)\n"
	"  --tenant-idle SECONDS a tenant and its price lists are kept for so long after the last request (60)\n"
	"  --deadline SECONDS    nobody waits longer for another one's load (5)\n"
	"  --grace SECONDS       requests have so long to finish when the server ends (5)\n"
	"  --sample N            one request in N is looked at for the table of hot keys; 0: none (16)\n"
	"  --make-db             make the database and end\n"
	"  --records N           with --make-db (100000)\n";

enum { DB = 256, FILES, ADDRESS, PORT, THREADS, CACHE_BYTES, MAX_FILE, TTL, REFRESH, NEGATIVE, STALE, IDLE, DEADLINE, GRACE, SAMPLE,
       MAKE_DB, RECORDS, HELP };

static const struct option long_options[] = {
	{"db", 1, NULL, DB}, {"files", 1, NULL, FILES}, {"address", 1, NULL, ADDRESS}, {"port", 1, NULL, PORT},
	{"threads", 1, NULL, THREADS}, {"cache-bytes", 1, NULL, CACHE_BYTES}, {"max-file", 1, NULL, MAX_FILE}, {"ttl", 1, NULL, TTL},
	{"refresh", 1, NULL, REFRESH}, {"negative-ttl", 1, NULL, NEGATIVE}, {"stale", 1, NULL, STALE}, {"tenant-idle", 1, NULL, IDLE},
	{"deadline", 1, NULL, DEADLINE}, {"grace", 1, NULL, GRACE}, {"sample", 1, NULL, SAMPLE}, {"make-db", 0, NULL, MAKE_DB},
	{"records", 1, NULL, RECORDS}, {"help", 0, NULL, HELP}, {0},
};

static uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	unsigned long long value;
	unsigned shift = 0;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && *end && strchr("KMG", *end) && !end[1])
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 30;
	if (*text < '0' || *text > '9' || errno || end[shift ? 1 : 0] || value > max >> shift || value << shift < min) {
		fprintf(stderr, "--%s %s: a number from %llu to %llu is needed\n", option, text, (unsigned long long)min,
			(unsigned long long)max);
		exit(2);
	}
	return value << shift;
}

static uint64_t seconds(const char *option, const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !isfinite(value) || value < 0.001 || value > 1e6) {
		fprintf(stderr, "--%s %s: seconds from 0.001 to 1000000 are needed\n", option, text);
		exit(2);
	}
	return (uint64_t)(value * 1e9);
}

static void one_option(struct options *o, int option, const char *name, bool *make, unsigned *records)
{
	switch (option) {
	case DB: o->database = optarg; break;
	case FILES: o->files = optarg; break;
	case ADDRESS: o->address = optarg; break;
	case PORT: o->port = (unsigned)number(name, optarg, 0, 65535); break;
	case THREADS: o->threads = (unsigned)number(name, optarg, 0, 1024); break;
	case CACHE_BYTES: o->cache_bytes = number(name, optarg, 1, UINT64_C(1) << 50); break;
	case MAX_FILE: o->max_file = number(name, optarg, 0, UINT64_C(1) << 30); break;
	case TTL: o->ttl_ns = seconds(name, optarg); break;
	case REFRESH: o->refresh_ns = seconds(name, optarg); break;
	case NEGATIVE: o->negative_ttl_ns = seconds(name, optarg); break;
	case STALE: o->stale_error_ns = seconds(name, optarg); break;
	case IDLE: o->tenant_idle_ns = seconds(name, optarg); break;
	case DEADLINE: o->deadline_ns = seconds(name, optarg); break;
	case GRACE: o->grace_ns = seconds(name, optarg); break;
	case SAMPLE: o->sample = (unsigned)number(name, optarg, 0, 1000000); break;
	case MAKE_DB: *make = true; break;
	case RECORDS: *records = (unsigned)number(name, optarg, 1, 10000000); break;
	case HELP: printf(usage, program_invocation_short_name); exit(0);
	default: fprintf(stderr, usage, program_invocation_short_name); exit(2);
	}
}

static void parse(struct options *o, int argc, char **argv, bool *make, unsigned *records)
{
	const uint64_t second = 1000000000;
	int option, index = 0;

	*o = (struct options){.address = "127.0.0.1", .database = "server.db", .port = 8080, .threads = 8, .sample = 16,
			      .cache_bytes = 64 << 20, .max_file = 1 << 20, .ttl_ns = 60 * second, .refresh_ns = 45 * second,
			      .negative_ttl_ns = 5 * second, .stale_error_ns = 300 * second, .tenant_idle_ns = 60 * second,
			      .deadline_ns = 5 * second, .grace_ns = 5 * second};
	while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1)
		one_option(o, option, option == '?' ? "" : long_options[index].name, make, records);
	if (optind < argc) {
		fprintf(stderr, "%s: no such argument is expected\n", argv[optind]);
		exit(2);
	}
}

static double elapsed_ns(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - since->tv_sec) * 1e9 + (double)(now.tv_nsec - since->tv_nsec);
}

/* Requests that have begun are answered, up to the grace, or until a second signal. */
static void drain(struct http *http, const sigset_t *signals, uint64_t grace_ns)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	struct timespec began;

	clock_gettime(CLOCK_MONOTONIC, &began);
	http_drain(http);
	while (http_active(http) && elapsed_ns(&began) < (double)grace_ns)
		if (sigtimedwait(signals, NULL, &pause) > 0)
			break;
	if (http_active(http))
		fprintf(stderr, "%u requests were not answered\n", http_active(http));
}

static int serve(const struct options *o, struct source *source, const sigset_t *signals)
{
	const struct timespec second = {.tv_sec = 1};
	struct store *store;
	struct http *http;

	if (store_create(&store, o, source))
		return 1;
	if (http_start(&http, o, store, source)) {
		store_destroy(store);
		return 1;
	}
	printf("%s: http://%s:%u/ (%s)\n", program_invocation_short_name, o->address, http_port(http), store_name);
	fflush(stdout);
	while (sigtimedwait(signals, NULL, &second) < 0)
		store_tick(store);
	drain(http, signals, o->grace_ns);
	http_stop(http);
	if (!store_destroy(store))
		return 1;
	puts("ended, nothing is left alive");
	return 0;
}

int main(int argc, char **argv)
{
	struct source source = {.files = -1};
	unsigned records = 100000;
	struct options options;
	bool make = false;
	sigset_t signals;
	int status;

	parse(&options, argc, argv, &make, &records);
	if (make)
		return database_make(options.database, records) ? 1 : 0;

	/* blocked in all threads, and taken by sigtimedwait() in this one */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);

	source.max_file = options.max_file;
	if (options.files && (source.files = open(options.files, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		perror(options.files);
		return 1;
	}
	if (database_open(&source.database, options.database))
		return 1;
	status = serve(&options, &source, &signals);
	database_close(source.database);
	if (source.files >= 0)
		close(source.files);
	return status;
}
