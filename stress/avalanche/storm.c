/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "avalanche.h"

#include "harness/options.h"
#include "harness/report.h"
#include "harness/rng.h"
#include "harness/team.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const uint64_t epoch = UINT64_C(1000) * HAPAX_SECOND; /* what the clock shows while the cache is filled */

struct value {
	uint64_t key;
	uint64_t serial; /* in order of birth, from 0: the first `entries` fill the cache */
};

struct key {
	hpx_relaxed loads;   /* in the storm */
	hpx_relaxed loading; /* loaders running */
};

struct reader {
	hpx_relaxed requests;
	uint64_t wrong, failed;
	int status;
	bool times_itself; /* what its calls take of the processor, too */
	uint64_t longest_cpu_ns;
	hpx_histogram latency, hits;
};

struct field {
	hpx_storm *storm;
	hapax_env *env;
	hapax_cache *cache;
	hapax_type type;
	hpx_relaxed begun; /* real time at which the clock began to run; 0: it stands */
	uint64_t end;	   /* what it does not go beyond, from the epoch on */
	struct key *keys;
	struct reader *readers;
	hpx_relaxed *told; /* per serial */
	uint64_t serials;  /* room in it */
	hpx_relaxed born, loads, met, first, last, beyond;
	hpx_relaxed slots[HPX_STORM_SLOTS];
	hpx_relaxed causes[HPX_STORM_CAUSES], first_expired;
};

static _Thread_local bool loaded; /* the loader ran in the get that is in progress */

static void broken(hpx_storm *storm, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void broken(hpx_storm *storm, const char *format, ...)
{
	va_list args;

	if (storm->broken_used == sizeof(storm->broken) / sizeof(storm->broken[0]))
		return;
	va_start(args, format);
	vsnprintf(storm->broken[storm->broken_used++], sizeof(storm->broken[0]), format, args);
	va_end(args);
}

static uint64_t since_epoch(const struct field *field)
{
	uint64_t begun = hpx_relaxed_get(&field->begun);
	uint64_t now = begun ? hpx_now() - begun : 0;

	return now < field->end ? now : field->end;
}

static uint64_t clock_now(void *ctx) { return epoch + since_epoch(ctx); }

static void at_least(hpx_relaxed *word, uint64_t value)
{
	uint64_t seen = hpx_relaxed_get(word);

	while (seen < value && !hpx_relaxed_cas(word, &seen, value))
		;
}

static void at_most(hpx_relaxed *word, uint64_t value)
{
	uint64_t seen = hpx_relaxed_get(word);

	while (seen > value && !hpx_relaxed_cas(word, &seen, value))
		;
}

static void account_load(struct field *field, uint64_t key)
{
	uint64_t now = since_epoch(field);
	uint64_t slot = now / (HPX_STORM_SLOT_MS * HAPAX_MILLISECOND);

	hpx_relaxed_add(&field->loads, 1);
	hpx_relaxed_add(&field->keys[key].loads, 1);
	hpx_relaxed_add(&field->slots[slot < HPX_STORM_SLOTS ? slot : HPX_STORM_SLOTS - 1], 1);
	if (key < field->storm->order.hot) {
		at_most(&field->first, now);
		at_least(&field->last, now);
	}
}

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct field *field = arg;
	struct value *value = object;
	uint64_t load_ns = field->storm->order.load_ns;
	struct timespec pause = {(time_t)(load_ns / HAPAX_SECOND), (long)(load_ns % HAPAX_SECOND)};

	(void)error;
	loaded = true;
	memcpy(&value->key, key->data, sizeof(value->key));
	if (hpx_relaxed_add(&field->keys[value->key].loading, 1))
		hpx_relaxed_add(&field->met, 1);
	value->serial = hpx_relaxed_add(&field->born, 1);
	if (hpx_relaxed_get(&field->begun)) {
		account_load(field, value->key);
		nanosleep(&pause, NULL);
	}
	hpx_relaxed_add(&field->keys[value->key].loading, (uint64_t)-1);
	return HAPAX_LOAD_OK;
}

static int on_removal(const hapax_removal *removal, void *ctx)
{
	struct field *field = ctx;
	const struct value *value = removal->object;

	hpx_relaxed_add(&field->causes[(unsigned)removal->cause < HPX_STORM_CAUSES ? removal->cause : 0], 1);
	if (!value)
		return 0;
	if (value->serial >= field->serials)
		hpx_relaxed_add(&field->beyond, 1);
	else
		hpx_relaxed_add(&field->told[value->serial], 1);
	if (value->serial < field->storm->order.entries && removal->cause == HAPAX_CAUSE_EXPIRED)
		hpx_relaxed_add(&field->first_expired, 1);
	return 0;
}

/* The thread's time on the processor: what others took of it meanwhile does not count. */
static uint64_t cpu_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * HAPAX_SECOND + (uint64_t)now.tv_nsec;
}

static void get(struct field *field, struct reader *reader, uint64_t key)
{
	uint64_t cpu = reader->times_itself ? cpu_now() : 0;
	uint64_t start = hpx_now();
	void *object = NULL;
	uint64_t took;
	int status;

	loaded = false;
	status = hapax_cache_get(field->cache, HAPAX_KEY_OF(key), &object);
	took = hpx_now() - start;
	if (reader->times_itself && cpu_now() - cpu > reader->longest_cpu_ns)
		reader->longest_cpu_ns = cpu_now() - cpu;
	hpx_histogram_add(&reader->latency, took);
	if (!loaded)
		hpx_histogram_add(&reader->hits, took);
	hpx_relaxed_bump(&reader->requests);
	if (status) {
		reader->failed++;
		reader->status = status;
		return;
	}
	if (((struct value *)object)->key != key)
		reader->wrong++;
	hapax_release(object);
}

/* One request in HPX_STORM_HOT_OF is for any key, the others are for the hot ones. */
static void read_all(unsigned index, void *ctx)
{
	struct field *field = ctx;
	const hpx_storm_order *order = &field->storm->order;
	hpx_rng random = hpx_rng_stream(order->seed, index);

	field->readers[index].times_itself = index % 2 == 0; /* it costs more than a hit */
	while (!hpx_stopping() && since_epoch(field) < field->end)
		get(field, &field->readers[index],
		    hpx_rng_below(&random, hpx_rng_once_in(&random, HPX_STORM_HOT_OF) ? order->entries : order->hot));
}

static void fill_progress(char *line, size_t size, double seconds, void *ctx)
{
	struct field *field = ctx;
	uint64_t requests = 0;
	char first[32];
	char second[32];

	(void)seconds;
	for (unsigned i = 0; i < field->storm->order.threads; i++)
		requests += hpx_relaxed_get(&field->readers[i].requests);
	snprintf(line, size, "jitter %g: %s requests, %s loads", field->storm->order.jitter,
		 hpx_grouped(first, requests), hpx_grouped(second, hpx_relaxed_get(&field->loads)));
}

static int open_cache(struct field *field)
{
	const hpx_storm_order *order = &field->storm->order;
	hapax_env_options env_options = {
		HAPAX_ENV_OPTIONS_INIT,
		.seed = order->seed,
		.clock = {clock_now, field},
	};
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT};
	int status = hapax_env_create(&field->env, &env_options);

	if (status)
		return hpx_input_error("avalanche", "no environment: %s", hapax_status_text(status));
	field->type = (hapax_type){
		HAPAX_TYPE_INIT,
		.name = "value",
		.size = sizeof(struct value),
		.align = _Alignof(struct value),
	};
	options.env = field->env;
	options.type = &field->type;
	options.load = load;
	options.arg = field;
	options.name = "avalanche";
	options.capacity = order->entries;
	options.max_entries = (int64_t)(2 * order->entries); /* no eviction */
	options.ttl_ns = (int64_t)order->ttl_ns;
	options.ttl_jitter = order->jitter;
	options.on_removal = on_removal;
	options.on_removal_ctx = field;
	status = hapax_cache_create(&field->cache, &options);
	if (!status)
		return 0;
	hapax_env_destroy(field->env);
	return hpx_input_error("avalanche", "no cache: %s", hapax_status_text(status));
}

static int prepare(struct field *field)
{
	const hpx_storm_order *order = &field->storm->order;

	field->serials = 3 * order->entries;
	field->keys = calloc(order->entries, sizeof(*field->keys));
	field->readers = calloc(order->threads + 1, sizeof(*field->readers));
	field->told = calloc(field->serials, sizeof(*field->told));
	hpx_relaxed_set(&field->first, UINT64_MAX);
	field->end = (uint64_t)((double)order->ttl_ns * (1 + 2 * (1 - order->jitter)) / 2);
	if (field->keys && field->readers && field->told)
		return open_cache(field);
	return hpx_input_error("avalanche", "out of memory for %" PRIu64 " entries", order->entries);
}

static void clean(struct field *field)
{
	free(field->keys);
	free(field->readers);
	free(field->told);
}

static void add_readers(struct field *field)
{
	hpx_storm *storm = field->storm;

	for (unsigned i = 0; i <= storm->order.threads; i++) {
		const struct reader *reader = &field->readers[i];

		if (reader->failed)
			broken(storm, "%" PRIu64 " gets failed, the last with %s", reader->failed,
			       hapax_status_name(reader->status));
		if (reader->wrong)
			broken(storm, "%" PRIu64 " gets returned the object of another key", reader->wrong);
		if (i == storm->order.threads) /* the one that filled it */
			continue;
		storm->requests += hpx_relaxed_get(&reader->requests);
		hpx_histogram_merge(&storm->latency, &reader->latency);
		hpx_histogram_merge(&storm->hits, &reader->hits);
		if (reader->longest_cpu_ns > storm->longest_cpu_ns)
			storm->longest_cpu_ns = reader->longest_cpu_ns;
	}
}

/* When the readers have ended, and every hot key has been asked for once more. */
static void judge_loads(struct field *field)
{
	hpx_storm *storm = field->storm;
	const hpx_storm_order *order = &storm->order;

	storm->loads = hpx_relaxed_get(&field->loads);
	storm->met = hpx_relaxed_get(&field->met);
	storm->first_ns = hpx_relaxed_get(&field->first);
	storm->last_ns = hpx_relaxed_get(&field->last);
	for (unsigned i = 0; i < HPX_STORM_SLOTS; i++)
		storm->slots[i] = hpx_relaxed_get(&field->slots[i]);
	for (uint64_t k = 0; k < order->entries; k++) {
		uint64_t loads = hpx_relaxed_get(&field->keys[k].loads);

		if (loads > storm->most)
			storm->most = loads;
		if (k < order->hot && loads > storm->hot_most)
			storm->hot_most = loads;
		if (k < order->hot)
			storm->hot_loads += loads;
	}
	if (storm->most > 1)
		broken(storm, "a key was loaded %" PRIu64 " times for one expiry (a hot one: %" PRIu64 ")", storm->most,
		       storm->hot_most);
	if (storm->hot_loads != order->hot)
		broken(storm, "%" PRIu64 " loads of %" PRIu64 " hot keys for one expiry", storm->hot_loads, order->hot);
	if (storm->met)
		broken(storm, "%" PRIu64 " loaders met another one of the same key", storm->met);
	if (order->jitter == 0 && storm->first_ns < order->ttl_ns)
		broken(storm, "a key was loaded %" PRIu64 " ns before its ttl had ended",
		       order->ttl_ns - storm->first_ns);
	if ((double)storm->first_ns < (double)order->ttl_ns * (1 - order->jitter) - 1)
		broken(storm, "a key was loaded %" PRIu64 " ns after the filling, before any ttl could end",
		       storm->first_ns);
}

/* All housekeeping done: the first generation has gone; after destroy() all have. */
static void judge_first(struct field *field)
{
	hpx_storm *storm = field->storm;

	storm->first_expired = hpx_relaxed_get(&field->first_expired);
	if (storm->first_expired != storm->order.entries)
		broken(storm, "%" PRIu64 " of %" PRIu64 " expired entries were told", storm->first_expired,
		       storm->order.entries);
}

static void judge_told(struct field *field)
{
	hpx_storm *storm = field->storm;
	uint64_t all = 0;

	storm->installed = hpx_relaxed_get(&field->born);
	for (unsigned i = 0; i < HPX_STORM_CAUSES; i++) {
		storm->told[i] = hpx_relaxed_get(&field->causes[i]);
		all += storm->told[i];
	}
	for (uint64_t i = 0; i < storm->installed && i < field->serials; i++) {
		uint64_t told = hpx_relaxed_get(&field->told[i]);

		storm->told_twice += told > 1;
		storm->not_told += !told;
	}
	if (all != storm->installed || storm->told_twice || storm->not_told || hpx_relaxed_get(&field->beyond))
		broken(storm,
		       "%" PRIu64 " values were installed and %" PRIu64 " notifications sent: %" PRIu64
		       " values told more than once, %" PRIu64 " not at all",
		       storm->installed, all, storm->told_twice, storm->not_told);
	if (storm->told[HAPAX_CAUSE_EXPIRED] != storm->order.entries || storm->told[HAPAX_CAUSE_CLOSED] != storm->loads)
		broken(storm,
		       "%" PRIu64 " told as expired, %" PRIu64 " as closed; it should be %" PRIu64 " and %" PRIu64,
		       storm->told[HAPAX_CAUSE_EXPIRED], storm->told[HAPAX_CAUSE_CLOSED], storm->order.entries,
		       storm->loads);
}

int hpx_storm_run(hpx_storm *storm, const hpx_storm_order *order, FILE *progress, bool *stuck)
{
	static struct field field; /* static, because stuck threads may still look at it */
	hpx_team team = {.threads = order->threads, .work = read_all, .ctx = &field};
	int status;

	memset(storm, 0, sizeof(*storm));
	memset(&field, 0, sizeof(field));
	storm->order = *order;
	field.storm = storm;
	status = prepare(&field);
	if (status) {
		clean(&field);
		return status;
	}
	team.progress = (hpx_progress){progress, fill_progress, &field};
	for (uint64_t k = 0; k < order->entries; k++)
		get(&field, &field.readers[order->threads], k);
	hpx_relaxed_set(&field.begun, hpx_now());
	status = hpx_team_run("avalanche", &team);
	storm->seconds = team.took;
	storm->interrupted = team.interrupted;
	if (team.stuck) {
		broken(storm, "%u of %u threads did not come back", team.stuck, team.threads);
		*stuck = true;
		return 0;
	}
	if (!status && !storm->interrupted) {
		for (uint64_t k = 0; k < order->hot; k++)
			get(&field, &field.readers[order->threads], k);
		add_readers(&field);
		judge_loads(&field);
		while (hapax_cache_maintain(field.cache))
			;
		judge_first(&field);
	}
	hapax_cache_destroy(field.cache);
	if (!status && !storm->interrupted)
		judge_told(&field);
	hapax_env_destroy(field.env);
	clean(&field);
	return status;
}
