/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * observe/gather.c - the figures of all environments and caches.
 *
 * One environment or cache is held at a time: they may come and go meanwhile. Environments are walked in the order of numbers that
 * are never used again; caches from the latest on, where the one that is held says which is next. A cache is held by being in it as a
 * call, so that its end waits for us, and it stays in the list.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cache/sample.h"
#include "cache/tier.h"
#include "object/object.h"
#include "observe/figures.h"
#include "observe/seen.h"

/* ---- fields ------------------------------------------------------------------------------------------------------ */

#define ENV(field, state, size) {#field, offsetof(hapax_env_stats, field), state, size}
const struct hpx_field hpx_env_fields[] = {
	ENV(garbage_bytes, true, true),
	ENV(garbage_peak_bytes, true, true),
	ENV(garbage_bound_bytes, true, true),
	ENV(garbage_waits, false, false),
	ENV(garbage_refusals, false, false),
	ENV(grace_periods, false, false),
	ENV(objects_born, false, false),
	ENV(objects_destroyed, false, false),
	ENV(objects_freed, false, false),
	ENV(stalls, false, false),
};
const size_t hpx_env_field_count = sizeof(hpx_env_fields) / sizeof(*hpx_env_fields);
_Static_assert(offsetof(hapax_env_stats, stalled_tid) ==
	       sizeof(size_t) + sizeof(hpx_env_fields) / sizeof(*hpx_env_fields) * sizeof(uint64_t), "all of its numbers");

#define CACHE(field) {#field, offsetof(hapax_cache_stats, field), false, false}
#define STATE(field) {#field, offsetof(hapax_cache_stats, field), true, false}
const struct hpx_field hpx_cache_fields[] = {
	CACHE(hits), CACHE(misses), CACHE(waits), CACHE(loads), CACHE(load_successes), CACHE(load_failures), CACHE(load_novalues),
	CACHE(load_abandoned), CACHE(load_ns), CACHE(superseded), CACHE(puts), CACHE(removals), CACHE(replacements),
	CACHE(collections), STATE(size_now), STATE(retained), STATE(retained_weight), CACHE(demotions), CACHE(readmissions),
	CACHE(demoted_hits), CACHE(failed_upgrades), CACHE(evictions), CACHE(eviction_weight), CACHE(expirations),
	CACHE(size_evictions), CACHE(negative_hits), CACHE(stale_hits), CACHE(refreshes), CACHE(refresh_failures),
	CACHE(notifications), CACHE(listener_errors), STATE(garbage_bytes),
};
const size_t hpx_cache_field_count = sizeof(hpx_cache_fields) / sizeof(*hpx_cache_fields);
_Static_assert(sizeof(hapax_cache_stats) ==
	       sizeof(size_t) + sizeof(hpx_cache_fields) / sizeof(*hpx_cache_fields) * sizeof(uint64_t), "all of its numbers");

uint64_t hpx_field_value(const void *stats, const struct hpx_field *field)
{
	const char *at = (const char *)stats + field->at;

	return field->size ? *(const size_t *)(const void *)at : *(const uint64_t *)(const void *)at;
}

/* ---- room -------------------------------------------------------------------------------------------------------- */

static hapax_env *memory(void) { return hpx_env_or_default(NULL); }

/* Room for one more element of `each` bytes, zeroed; NULL: no memory. */
static void *one_more(void **block, size_t *n, size_t *room, size_t each)
{
	size_t more = *room ? 2 * *room : 8;
	void *grown;

	if (*n == *room) {
		grown = hpx_alloc(memory(), more * each, 16);
		if (!grown)
			return NULL;
		if (*block) {
			memcpy(grown, *block, *n * each);
			hpx_free(memory(), *block, *room * each, 16);
		}
		*block = grown;
		*room = more;
	}
	return (char *)*block + (*n)++ * each;
}

static void copy_name(char *to, size_t room, const char *from)
{
	size_t n = 0;

	for (; n + 1 < room && from[n]; n++)
		to[n] = from[n];
	to[n] = 0;
}

/* ---- environments ------------------------------------------------------------------------------------------------ */

struct types {
	struct hpx_type_figures *type;
	size_t n, room; /* n may be above room: those had none */
};

/* In a section. */
static void add_class(struct hpx_class *c, void *ctx)
{
	struct types *types = ctx;
	struct hpx_type_figures *f;

	if (types->n++ >= types->room)
		return;
	f = &types->type[types->n - 1];
	copy_name(f->name, sizeof(f->name), c->type->name ? c->type->name : "object");
	f->alive = hpx_counters_sum(&c->counters, HPX_CLASS_DESTROYED); /* first: they were born before */
	f->born = hpx_counters_sum(&c->counters, HPX_CLASS_BORN);
	f->alive = f->born > f->alive ? f->born - f->alive : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct hpx_type_figures *)a)->name, ((const struct hpx_type_figures *)b)->name);
}

static void merge_types(struct hpx_env_figures *f)
{
	size_t n = 0;

	if (!f->types)
		return;
	qsort(f->type, f->types, sizeof(*f->type), by_name);
	for (size_t i = 1; i < f->types; i++) {
		if (!strcmp(f->type[n].name, f->type[i].name)) {
			f->type[n].alive += f->type[i].alive;
			f->type[n].born += f->type[i].born;
		} else {
			f->type[++n] = f->type[i];
		}
	}
	f->types = n + 1;
}

static int gather_types(struct hpx_env_figures *f, hapax_env *env)
{
	struct types types = {.n = 0};

	for (;;) {
		types.n = 0;
		hpx_read_lock();
		hpx_class_each(env, add_class, &types);
		hpx_read_unlock();
		if (types.n <= types.room)
			break;
		if (f->type)
			hpx_free(memory(), f->type, f->bytes, 16);
		types.room = types.n + types.n / 4;
		f->bytes = types.room * sizeof(*f->type);
		f->type = types.type = hpx_alloc(memory(), f->bytes, 16);
		if (!f->type)
			return HAPAX_ENOMEM;
	}
	f->types = types.n;
	merge_types(f);
	return 0;
}

static int gather_environments(struct hpx_figures *f)
{
	struct hpx_env_figures *figures;
	uint64_t from = 0;
	hapax_env *env;
	int rc = 0;

	while (!rc && (env = hpx_env_next(&from)) != NULL) {
		figures = one_more((void **)&f->env, &f->envs, &f->env_room, sizeof(*f->env));
		if (!figures) {
			rc = HAPAX_ENOMEM;
		} else {
			figures->id = hpx_env_number(env);
			figures->stats.size = sizeof(figures->stats);
			rc = hapax_env_stats_get(env, &figures->stats);
			if (!rc)
				rc = gather_types(figures, env);
		}
		hpx_env_drop(env);
	}
	return rc;
}

/* ---- caches ------------------------------------------------------------------------------------------------------ */

/* What has ended is read first: it began before. A failure counts what found no value, and what was abandoned. */
static uint64_t in_flight(hapax_cache *c)
{
	uint64_t ended = hpx_counters_sum(&c->counters, HPX_CACHE_SUCCESSES) + hpx_counters_sum(&c->counters, HPX_CACHE_FAILURES);
	uint64_t begun = hpx_counters_sum(&c->counters, HPX_CACHE_LOADS);

	return begun > ended ? begun - ended : 0;
}

static void gather_bound(struct hpx_cache_figures *f, struct hpx_tier *t)
{
	uint64_t bound;

	f->bound_entries = f->bound_weight = UINT64_MAX;
	if (!t || !t->bounded)
		return;
	bound = hpx_load_relaxed(&t->bound); /* order: TIER.HELD relaxed; numbers */
	if (bound >= INT64_MAX)
		return; /* none, or each of a memo's owners has its own */
	*(t->weighted ? &f->bound_weight : &f->bound_entries) = bound;
}

static int gather_flights(struct hpx_cache_figures *f, hapax_cache *c)
{
	__attribute__((cleanup(hpx_seen_flights_drop))) struct hpx_flights_seen seen = {.cache = c};

	if (hpx_seen_flights_get(&seen))
		return HAPAX_ENOMEM;
	if (!seen.n)
		return 0;
	f->flight_bytes = seen.n * sizeof(*f->flight);
	f->flight = hpx_alloc(memory(), f->flight_bytes, 16);
	if (!f->flight)
		return HAPAX_ENOMEM;
	for (f->flights = 0; f->flights < seen.n; f->flights++) {
		const struct hpx_flight_seen *from = &seen.at[f->flights];
		struct hpx_flight_figures *to = &f->flight[f->flights];

		hpx_key_begin_show(c, from->key.bytes, from->key.size, to->key);
		to->age_ns = from->age_ns;
		to->exact = from->exact;
		to->tid = from->tid;
		to->waiters = from->waiters;
	}
	return 0;
}

static void gather_hot(struct hpx_cache_figures *f, hapax_cache *c)
{
	struct hpx_heavy_keys keys;

	hpx_sample_get(c, &keys);
	f->sampled_one_in = keys.one_in;
	f->hots = keys.n < HPX_HOT_SHOWN ? keys.n : HPX_HOT_SHOWN;
	for (size_t i = 0; i < f->hots; i++) {
		hpx_key_begin_show(c, keys.at[i].key.bytes, keys.at[i].key.size, f->hot[i].key);
		f->hot[i].samples = keys.at[i].count;
		f->hot[i].share = (double)keys.at[i].count / (double)keys.samples;
	}
}

static int gather_cache(struct hpx_cache_figures *f, hapax_cache *c)
{
	uint64_t held, absences;

	f->id = c->number;
	copy_name(f->name, sizeof(f->name), c->name);
	f->memo = c->client != NULL;
	f->counted = c->stats;
	f->env = hpx_env_number(c->env);
	gather_bound(f, c->tier);
	f->stats.size = sizeof(f->stats);
	if (hapax_cache_stats_get(c, &f->stats))
		return HAPAX_EOPTSIZE;
	if (!c->stats) { /* what is known all the same */
		f->stats.size_now = hapax_cache_size(c);
		if (c->tier) {
			f->stats.retained = hpx_load_relaxed(&c->tier->held); /* order: TIER.HELD relaxed; numbers */
			f->stats.retained_weight = hpx_load_relaxed(&c->tier->weight);
		}
	}
	held = f->stats.retained;
	if (c->tier) {
		absences = hpx_load_relaxed(&c->tier->absences); /* order: TIER.HELD relaxed; numbers */
		held -= held < absences ? held : absences;
	}
	f->demoted = f->stats.size_now > held ? f->stats.size_now - held : 0;
	f->loads_in_flight = in_flight(c);
	gather_hot(f, c);
	return gather_flights(f, c);
}

/* They come in the opposite order. */
static void by_creation(struct hpx_figures *f)
{
	for (size_t i = 0, j = f->caches; i + 1 < j; i++) {
		struct hpx_cache_figures last = f->cache[--j];

		f->cache[j] = f->cache[i];
		f->cache[i] = last;
	}
}

static int gather_caches(struct hpx_figures *f)
{
	struct hpx_cache_figures *figures;
	hapax_cache *c = NULL;
	int rc = 0;

	while (!rc && (c = hpx_cache_before(c)) != NULL) {
		figures = one_more((void **)&f->cache, &f->caches, &f->cache_room, sizeof(*f->cache));
		rc = figures ? gather_cache(figures, c) : HAPAX_ENOMEM;
	}
	if (c)
		hpx_cache_leave(c);
	by_creation(f);
	return rc;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static uint64_t nanoseconds(clockid_t clock)
{
	struct timespec ts = {.tv_sec = 0};

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * HAPAX_SECOND + (uint64_t)ts.tv_nsec;
}

int hpx_figures_gather(struct hpx_figures *f)
{
	int rc, saved = errno;

	*f = (struct hpx_figures){.pid = (uint64_t)getpid()};
	copy_name(f->program, sizeof(f->program), program_invocation_short_name);
	memory(); /* the default environment is there from here on */
	f->time_ns = nanoseconds(CLOCK_REALTIME);
	f->monotonic_ns = nanoseconds(CLOCK_MONOTONIC);
	rc = gather_environments(f);
	if (!rc)
		rc = gather_caches(f);
	errno = saved;
	return rc;
}

void hpx_figures_drop(struct hpx_figures *f)
{
	for (size_t i = 0; i < f->envs; i++)
		if (f->env[i].type)
			hpx_free(memory(), f->env[i].type, f->env[i].bytes, 16);
	for (size_t i = 0; i < f->caches; i++)
		if (f->cache[i].flight)
			hpx_free(memory(), f->cache[i].flight, f->cache[i].flight_bytes, 16);
	if (f->env)
		hpx_free(memory(), f->env, f->env_room * sizeof(*f->env), 16);
	if (f->cache)
		hpx_free(memory(), f->cache, f->cache_room * sizeof(*f->cache), 16);
	*f = (struct hpx_figures){.envs = 0};
}
