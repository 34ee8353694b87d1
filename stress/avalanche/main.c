/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "avalanche.h"

#include "harness/options.h"
#include "harness/report.h"
#include "harness/result.h"
#include "harness/rng.h"
#include "harness/team.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <unistd.h>

enum { STORMS = 2 };

struct settings {
	const char *json;
	uint64_t entries, hot, threads, ttl_ms, load_us, seed;
	double jitter;
};

static int parse(struct settings *settings, int argc, char **argv)
{
	const hpx_option options[] = {
		{"entries", HPX_OPTION_NUMBER, &settings->entries, 1, 10000000, "N",
		 "that expire together (default 100000)"},
		{"hot", HPX_OPTION_NUMBER, &settings->hot, 1, 10000000, "N",
		 "of them are read all the time (default 100)"},
		{"threads", HPX_OPTION_NUMBER, &settings->threads, 1, 1024, "N", "readers (default 8)"},
		{"ttl", HPX_OPTION_NUMBER, &settings->ttl_ms, 10, 5000, "MS", "of every entry (default 1000)"},
		{"load", HPX_OPTION_NUMBER, &settings->load_us, 0, 1000000, "US",
		 "time that a load sleeps (default 200)"},
		{"jitter", HPX_OPTION_REAL, &settings->jitter, 0.01, 0.4, "J", "of the second storm (default 0.2)"},
		{"seed", HPX_OPTION_NUMBER, &settings->seed, 0, 0, "N", "of keys, hashes, jitter (default: random)"},
		{"json", HPX_OPTION_TEXT, &settings->json, 0, 0, "FILE",
		 "write the result as JSON; '-': standard output"},
		{NULL, HPX_OPTION_FLAG, NULL, 0, 0, NULL, NULL},
	};
	const hpx_usage usage = {
		"avalanche",
		"Fills a cache whose entries then expire in one instant, while readers ask for a few hot keys and now "
		"and\n"
		"then for any; once more with jitter. No key may be loaded twice for one expiry, and every value has "
		"to be\n"
		"told to the listener exactly once.",
		NULL,
		options,
	};
	int status = hpx_options_parse(&usage, argc, argv, NULL);

	if (status < 0 && settings->hot > settings->entries)
		return hpx_input_error("avalanche", "--hot: %llu of %llu entries", (unsigned long long)settings->hot,
				       (unsigned long long)settings->entries);
	return status;
}

static uint64_t peak(const hpx_storm *storm)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < HPX_STORM_SLOTS; i++)
		if (storm->slots[i] > most)
			most = storm->slots[i];
	return most;
}

static void row(FILE *to, const char *label, const char *text) { fprintf(to, "  %-36s %20s\n", label, text); }

static void row_count(FILE *to, const char *label, uint64_t number)
{
	char text[32];

	row(to, label, hpx_grouped(text, number));
}

static void row_time(FILE *to, const char *label, uint64_t ns)
{
	char text[32];

	row(to, label, hpx_duration(text, (double)ns));
}

static void table(const hpx_storm *storm, FILE *to)
{
	char text[64];

	fprintf(to, "\n%s entries, ttl %.3f s, jitter %g, %u readers of %llu hot keys\n",
		hpx_grouped(text, storm->order.entries), (double)storm->order.ttl_ns / 1e9, storm->order.jitter,
		storm->order.threads, (unsigned long long)storm->order.hot);
	row_count(to, "requests", storm->requests);
	row_count(to, "loads of hot keys", storm->hot_loads);
	snprintf(text, sizeof(text), "%.3f (most %llu)", (double)storm->hot_loads / (double)storm->order.hot,
		 (unsigned long long)storm->hot_most);
	row(to, "  per hot key and expiry", text);
	snprintf(text, sizeof(text), "%.1f to %.1f ms", (double)storm->first_ns / 1e6, (double)storm->last_ns / 1e6);
	row(to, "  after the filling", text);
	row_count(to, "loads of all keys", storm->loads);
	snprintf(text, sizeof(text), "  most within %d ms", HPX_STORM_SLOT_MS);
	row_count(to, text, peak(storm));
	row_time(to, "get, median", hpx_histogram_at(&storm->latency, 0.5));
	row_time(to, "get, p99.9", hpx_histogram_at(&storm->latency, 0.999));
	row_time(to, "get, longest", storm->latency.max);
	row_time(to, "get, longest on the processor", storm->longest_cpu_ns);
	row_time(to, "get that did not load, p99.9", hpx_histogram_at(&storm->hits, 0.999));
	row_time(to, "get that did not load, longest", storm->hits.max);
	row_count(to, "values installed", storm->installed);
	row_count(to, "  told as expired", storm->told[HAPAX_CAUSE_EXPIRED]);
	row_count(to, "  told at the end", storm->told[HAPAX_CAUSE_CLOSED]);
	row_count(to, "  told more than once", storm->told_twice);
	row_count(to, "  not told", storm->not_told);
}

static json_object *storm_json(const hpx_storm *storm)
{
	json_object *object = json_object_new_object();
	json_object *slots = json_object_new_array();
	unsigned used = HPX_STORM_SLOTS;

	json_object_object_add(object, "jitter", json_object_new_double(storm->order.jitter));
	hpx_json_count(object, "requests", storm->requests);
	hpx_json_count(object, "loads", storm->loads);
	hpx_json_count(object, "hot_loads", storm->hot_loads);
	json_object_object_add(object, "loads_per_hot_key",
			       json_object_new_double((double)storm->hot_loads / (double)storm->order.hot));
	hpx_json_count(object, "hot_loads_most", storm->hot_most);
	hpx_json_count(object, "loads_most", storm->most);
	hpx_json_count(object, "first_hot_load_ns", storm->first_ns);
	hpx_json_count(object, "last_hot_load_ns", storm->last_ns);
	hpx_json_count(object, "longest_call_ns", storm->latency.max);
	hpx_json_count(object, "longest_call_cpu_ns", storm->longest_cpu_ns);
	json_object_object_add(object, "latency_ns", hpx_latency_json(&storm->latency));
	json_object_object_add(object, "latency_without_load_ns", hpx_latency_json(&storm->hits));
	hpx_json_count(object, "installed", storm->installed);
	hpx_json_count(object, "notified_expired", storm->told[HAPAX_CAUSE_EXPIRED]);
	hpx_json_count(object, "notified_closed", storm->told[HAPAX_CAUSE_CLOSED]);
	hpx_json_count(object, "notified_twice", storm->told_twice);
	hpx_json_count(object, "not_notified", storm->not_told);
	hpx_json_count(object, "first_generation_expired", storm->first_expired);
	hpx_json_count(object, "peak_loads_in_slot", peak(storm));
	hpx_json_count(object, "slot_ms", HPX_STORM_SLOT_MS);
	while (used && !storm->slots[used - 1])
		used--;
	for (unsigned i = 0; i < used; i++)
		json_object_array_add(slots, json_object_new_uint64(storm->slots[i]));
	json_object_object_add(object, "loads_in_slots", slots);
	return object;
}

static int write_json(const hpx_storm *storms, const struct settings *settings, bool ok)
{
	json_object *object = json_object_new_object();
	json_object *array = json_object_new_array();
	json_object *said = json_object_new_array();
	int status;

	json_object_object_add(object, "command", json_object_new_string("avalanche"));
	json_object_object_add(object, "version", json_object_new_string(hapax_version()));
	hpx_json_count(object, "seed", settings->seed);
	hpx_json_count(object, "threads", settings->threads);
	json_object_object_add(object, "seconds", json_object_new_double(storms[0].seconds + storms[1].seconds));
	json_object_object_add(object, "ok", json_object_new_boolean(ok));
	hpx_json_count(object, "entries", settings->entries);
	hpx_json_count(object, "hot_keys", settings->hot);
	hpx_json_count(object, "ttl_ns", settings->ttl_ms * HAPAX_MILLISECOND);
	hpx_json_count(object, "load_ns", settings->load_us * 1000);
	for (unsigned i = 0; i < STORMS; i++) {
		json_object_array_add(array, storm_json(&storms[i]));
		for (unsigned k = 0; k < storms[i].broken_used; k++)
			json_object_array_add(said, json_object_new_string(storms[i].broken[k]));
	}
	json_object_object_add(object, "runs", array);
	json_object_object_add(object, "broken", said);
	status = hpx_json_write("avalanche", object, settings->json);
	json_object_put(object);
	return status;
}

static int finish(const hpx_storm *storms, const struct settings *settings, FILE *to)
{
	bool ok = true;
	int written = 0;

	fprintf(to, "\nhapax-stress avalanche, hapax %s, seed 0x%llx\n", hapax_version(),
		(unsigned long long)settings->seed);
	for (unsigned i = 0; i < STORMS; i++) {
		table(&storms[i], to);
		ok = ok && !storms[i].broken_used;
		for (unsigned k = 0; k < storms[i].broken_used; k++)
			fprintf(to, "  broken: %s\n", storms[i].broken[k]);
	}
	fputs(ok ? "\nAll promises held.\n" : "\nPromises were broken, see above.\n", to);
	fflush(to);
	if (settings->json)
		written = write_json(storms, settings, ok);
	return ok ? written : HPX_EXIT_BROKEN;
}

int hpx_avalanche_main(int argc, char **argv)
{
	static hpx_storm storms[STORMS];
	struct settings settings = {
		.entries = 100000,
		.hot = 100,
		.threads = 8,
		.ttl_ms = 1000,
		.load_us = 200,
		.jitter = 0.2,
		.seed = hpx_seed_random(),
	};
	bool stuck = false;
	int status = parse(&settings, argc, argv);
	FILE *to;

	if (status >= 0)
		return status;
	hpx_catch_interrupts();
	status = hpx_json_check("avalanche", settings.json);
	to = hpx_human(settings.json);
	for (unsigned i = 0; i < STORMS && !status && !stuck; i++) {
		hpx_storm_order order = {
			.entries = settings.entries,
			.hot = settings.hot,
			.ttl_ns = settings.ttl_ms * HAPAX_MILLISECOND,
			.load_ns = settings.load_us * 1000,
			.seed = settings.seed,
			.threads = (unsigned)settings.threads,
			.jitter = i ? settings.jitter : 0,
		};

		status = hpx_storm_run(&storms[i], &order, to, &stuck);
		if (!status && storms[i].interrupted && !stuck)
			status = hpx_input_error("avalanche", "interrupted; nothing was written");
	}
	if (!status)
		status = finish(storms, &settings, to);
	if (stuck) /* those threads still use everything */
		_exit(status);
	return status;
}
