/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * observe/prometheus.c - the figures in Prometheus' text format, version 0.0.4. docs/metrics.md has the same metrics as a table.
 *
 *      # HELP name what it is           once for each metric that has a sample
 *      # TYPE name counter|gauge
 *      name{label="value",...} number   all samples of the metric, one after the other
 *
 * A counter is one that the library counts, never the difference of two: these are read one after the other, and a counter that
 * goes back by one looks like one that began anew. Keys are no labels: there are too many of them.
 */
#include <inttypes.h>

#include "observe/figures.h"

enum kind { COUNTER, GAUGE };
enum unit { PLAIN, SECONDS }; /* SECONDS: given in nanoseconds */

struct metric {
	const char *name, *help;
	enum kind kind;
	enum unit unit;
	size_t at; /* in the figures of what it is said of */
};

#define ENV(name, kind, field, help) {"hapax_" name, help, kind, PLAIN, offsetof(struct hpx_env_figures, stats.field)}
static const struct metric env_metrics[] = {
	ENV("garbage_bytes", GAUGE, garbage_bytes, "Memory that is given up and not free yet."),
	ENV("garbage_peak_bytes", GAUGE, garbage_peak_bytes, "The most that hapax_garbage_bytes ever was."),
	ENV("garbage_bound_bytes", GAUGE, garbage_bound_bytes, "From so much garbage on creating objects waits."),
	ENV("garbage_waits_total", COUNTER, garbage_waits, "Times that creating an object waited for garbage to go."),
	ENV("garbage_refusals_total", COUNTER, garbage_refusals, "Times that creating an object failed for garbage."),
	ENV("grace_periods_total", COUNTER, grace_periods, "Grace periods completed in this process."),
	ENV("reader_stalls_total", COUNTER, stalls, "Grace periods that a reader held up for too long."),
};

#define TYPE(name, kind, field, help) {"hapax_" name, help, kind, PLAIN, offsetof(struct hpx_type_figures, field)}
static const struct metric type_metrics[] = {
	TYPE("objects", GAUGE, alive, "Objects alive."),
	TYPE("objects_created_total", COUNTER, born, "Objects created."),
};

#define STAT(name, kind, unit, field, help) \
	{"hapax_cache_" name, help, kind, unit, offsetof(struct hpx_cache_figures, stats.field)}
/* Known of all caches. */
static const struct metric cache_states[] = {
	STAT("entries", GAUGE, PLAIN, size_now, "Entries present."),
	STAT("retained_entries", GAUGE, PLAIN, retained, "Entries that the cache itself holds."),
	STAT("retained_weight", GAUGE, PLAIN, retained_weight, "Their weight."),
	{"hapax_cache_demoted_entries", "Entries that are present only because somebody uses them.", GAUGE, PLAIN,
	 offsetof(struct hpx_cache_figures, demoted)},
};
/* Of those that have one. */
static const struct metric cache_bounds[] = {
	{"hapax_cache_max_entries", "The most entries that the cache itself holds.", GAUGE, PLAIN,
	 offsetof(struct hpx_cache_figures, bound_entries)},
	{"hapax_cache_max_weight", "The most weight that the cache itself holds.", GAUGE, PLAIN,
	 offsetof(struct hpx_cache_figures, bound_weight)},
};
/* Of those that keep statistics. */
static const struct metric cache_counts[] = {
	STAT("hits_total", COUNTER, PLAIN, hits, "Gets that found what they asked for."),
	STAT("misses_total", COUNTER, PLAIN, misses, "Gets that did not find it present."),
	STAT("waits_total", COUNTER, PLAIN, waits, "Misses that waited for a load that was running."),
	STAT("loads_total", COUNTER, PLAIN, loads, "Calls of loaders."),
	STAT("load_successes_total", COUNTER, PLAIN, load_successes, "Loads that gave a value."),
	STAT("load_failures_total", COUNTER, PLAIN, load_failures, "Loads that gave none, for whatever reason."),
	STAT("load_novalues_total", COUNTER, PLAIN, load_novalues, "Failed loads whose answer was that there is no value."),
	STAT("load_abandoned_total", COUNTER, PLAIN, load_abandoned, "Failed loads that never answered."),
	STAT("load_seconds_total", COUNTER, SECONDS, load_ns, "Time in loaders."),
	STAT("superseded_total", COUNTER, PLAIN, superseded, "Loads that a put, remove or clear outdated."),
	STAT("puts_total", COUNTER, PLAIN, puts, "Puts that installed."),
	STAT("removals_total", COUNTER, PLAIN, removals, "Entries removed by remove, pop and clear."),
	STAT("replacements_total", COUNTER, PLAIN, replacements, "Entries replaced."),
	STAT("collections_total", COUNTER, PLAIN, collections, "Entries that went with the last user of their object."),
	STAT("evicted_weight_total", COUNTER, PLAIN, eviction_weight, "Weight of what was collected or expired."),
	STAT("demotions_total", COUNTER, PLAIN, demotions, "Entries that the cache let go of, by a bound, age or idle time."),
	STAT("readmissions_total", COUNTER, PLAIN, readmissions, "Demoted entries that a get brought back."),
	STAT("demoted_hits_total", COUNTER, PLAIN, demoted_hits, "Hits of what the cache did not hold itself."),
	STAT("failed_upgrades_total", COUNTER, PLAIN, failed_upgrades, "Gets that found an entry whose object had just died."),
	STAT("negative_hits_total", COUNTER, PLAIN, negative_hits, "Gets answered from memory that there is no value."),
	STAT("stale_hits_total", COUNTER, PLAIN, stale_hits, "Gets answered with a value past its ttl."),
	STAT("refreshes_total", COUNTER, PLAIN, refreshes, "Reloads of present values."),
	STAT("refresh_failures_total", COUNTER, PLAIN, refresh_failures, "Reloads that failed."),
	STAT("notifications_total", COUNTER, PLAIN, notifications, "Calls of the removal listener."),
	STAT("listener_errors_total", COUNTER, PLAIN, listener_errors, "Calls of it that returned an error."),
	{"hapax_cache_loads_in_flight", "Loads in progress.", GAUGE, PLAIN, offsetof(struct hpx_cache_figures, loads_in_flight)},
};
/* The causes for which a cache takes out what somebody may still use. */
static const struct {
	const char *cause;
	size_t at;
} evictions[] = {
	{"size", offsetof(struct hpx_cache_figures, stats.size_evictions)},
	{"expired", offsetof(struct hpx_cache_figures, stats.expirations)},
};

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void put(struct hpx_json *j, const char *text) { hpx_json_raw(j, text, strlen(text)); }

/* In the format's escapes. What is no UTF-8 becomes U+FFFD and the byte's two digits, and so does U+FFFD itself: different names
 * stay different. */
static void escaped(struct hpx_json *j, const char *text)
{
	size_t left = strlen(text), bytes;
	char code[8];

	for (; left; text += bytes, left -= bytes) {
		bytes = hpx_utf8(text, left);
		if (!bytes || (bytes == 3 && !memcmp(text, "\xef\xbf\xbd", 3))) {
			snprintf(code, sizeof(code), "\xef\xbf\xbd%02x", (unsigned char)*text);
			put(j, code);
			bytes = 1;
		} else if (*text == '\n') {
			put(j, "\\n");
		} else {
			if (*text == '"' || *text == '\\')
				put(j, "\\");
			hpx_json_raw(j, text, bytes);
		}
	}
}

static void label(struct hpx_json *j, const char *before, const char *name, const char *value)
{
	put(j, before);
	put(j, name);
	put(j, "=\"");
	escaped(j, value);
	put(j, "\"");
}

static void label_number(struct hpx_json *j, const char *before, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	label(j, before, name, text);
}

/* Nanoseconds as seconds, without the locale's decimal point. */
static void end_sample(struct hpx_json *j, uint64_t value, enum unit unit)
{
	char text[48];

	if (unit == SECONDS)
		snprintf(text, sizeof(text), "} %" PRIu64 ".%09" PRIu64 "\n", value / HAPAX_SECOND, value % HAPAX_SECOND);
	else
		snprintf(text, sizeof(text), "} %" PRIu64 "\n", value);
	put(j, text);
}

static void head(struct hpx_json *j, const char *name, const char *help, enum kind kind)
{
	put(j, "# HELP ");
	put(j, name);
	put(j, " ");
	put(j, help);
	put(j, "\n# TYPE ");
	put(j, name);
	put(j, kind == COUNTER ? " counter\n" : " gauge\n");
}

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "numbers of both types are read alike");
static uint64_t number_at(const void *figures, size_t at) { return *(const uint64_t *)(const void *)((const char *)figures + at); }

static void cache_sample(struct hpx_json *j, const char *name, const struct hpx_cache_figures *f)
{
	put(j, name);
	label(j, "{", "cache", f->name);
	label_number(j, ",", "id", f->id);
	label(j, ",", "kind", f->memo ? "memo" : "cache");
	label_number(j, ",", "env", f->env);
}

static bool every_cache(const struct hpx_cache_figures *f, size_t at) { return (void)f, (void)at, true; }
static bool counted(const struct hpx_cache_figures *f, size_t at) { return (void)at, f->counted; }
static bool bounded(const struct hpx_cache_figures *f, size_t at) { return number_at(f, at) != UINT64_MAX; }

/* Of the caches for which `has` says so. */
static void of_caches(struct hpx_json *j, const struct hpx_figures *f, const struct metric *m, size_t n,
		      bool (*has)(const struct hpx_cache_figures *f, size_t at))
{
	for (size_t i = 0; i < n; i++) {
		bool first = true;

		for (size_t c = 0; c < f->caches && !j->status; c++) {
			if (!has(&f->cache[c], m[i].at))
				continue;
			if (first)
				head(j, m[i].name, m[i].help, m[i].kind);
			first = false;
			cache_sample(j, m[i].name, &f->cache[c]);
			end_sample(j, number_at(&f->cache[c], m[i].at), m[i].unit);
		}
	}
}

static void of_environments(struct hpx_json *j, const struct hpx_figures *f)
{
	for (size_t i = 0; i < sizeof(env_metrics) / sizeof(*env_metrics); i++) {
		const struct metric *m = &env_metrics[i];

		head(j, m->name, m->help, m->kind);
		for (size_t e = 0; e < f->envs && !j->status; e++) {
			put(j, m->name);
			label_number(j, "{", "env", f->env[e].id);
			end_sample(j, number_at(&f->env[e], m->at), m->unit);
		}
	}
}

static void of_types(struct hpx_json *j, const struct hpx_figures *f)
{
	for (size_t i = 0; i < sizeof(type_metrics) / sizeof(*type_metrics); i++) {
		const struct metric *m = &type_metrics[i];
		bool first = true;

		for (size_t e = 0; e < f->envs; e++) {
			for (size_t t = 0; t < f->env[e].types && !j->status; t++) {
				if (first)
					head(j, m->name, m->help, m->kind);
				first = false;
				put(j, m->name);
				label(j, "{", "type", f->env[e].type[t].name);
				label_number(j, ",", "env", f->env[e].id);
				end_sample(j, number_at(&f->env[e].type[t], m->at), m->unit);
			}
		}
	}
}

static void of_evictions(struct hpx_json *j, const struct hpx_figures *f)
{
	static const char name[] = "hapax_cache_evictions_total";
	bool first = true;

	for (size_t c = 0; c < f->caches && !j->status; c++) {
		for (size_t i = 0; i < sizeof(evictions) / sizeof(*evictions) && f->cache[c].counted; i++) {
			if (first)
				head(j, name, "Entries that left by a bound (size) or past their validity (expired).", COUNTER);
			first = false;
			cache_sample(j, name, &f->cache[c]);
			label(j, ",", "cause", evictions[i].cause);
			end_sample(j, number_at(&f->cache[c], evictions[i].at), PLAIN);
		}
	}
}

static void of_flights(struct hpx_json *j, const struct hpx_figures *f)
{
	static const char name[] = "hapax_cache_oldest_load_seconds";

	if (f->caches)
		head(j, name, "Age of the load that has been in progress longest, 0 without any.", GAUGE);
	for (size_t c = 0; c < f->caches && !j->status; c++) {
		cache_sample(j, name, &f->cache[c]);
		end_sample(j, f->cache[c].flights ? f->cache[c].flight[0].age_ns : 0, SECONDS);
	}
}

#define OF_CACHES(metrics, has) of_caches(&j, f, metrics, sizeof(metrics) / sizeof(*(metrics)), has)

int hpx_figures_prometheus(const struct hpx_figures *f, hapax_write_fn write, void *ctx)
{
	struct hpx_json j;

	hpx_json_begin(&j, write, ctx);
	head(&j, "hapax_build_info", "Always 1; the version of the library.", GAUGE);
	put(&j, "hapax_build_info");
	label(&j, "{", "version", hapax_version());
	end_sample(&j, 1, PLAIN);
	of_environments(&j, f);
	of_types(&j, f);
	OF_CACHES(cache_states, every_cache);
	OF_CACHES(cache_bounds, bounded);
	OF_CACHES(cache_counts, counted);
	of_evictions(&j, f);
	of_flights(&j, f);
	return hpx_json_end(&j);
}
