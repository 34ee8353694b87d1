/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* observe/json.c - the figures as one object of JSON. */
#include "observe/figures.h"

static void numbers(struct hpx_json *j, const void *stats, const struct hpx_field *field, size_t n)
{
	for (size_t i = 0; i < n; i++)
		hpx_json_number(j, field[i].name, hpx_field_value(stats, &field[i]));
}

static void bound(struct hpx_json *j, const char *name, uint64_t value)
{
	if (value == UINT64_MAX)
		hpx_json_null(j, name);
	else
		hpx_json_number(j, name, value);
}

static void environment(struct hpx_json *j, const struct hpx_env_figures *f, size_t types)
{
	hpx_json_open(j, NULL, '{');
	hpx_json_number(j, "id", f->id);
	numbers(j, &f->stats, hpx_env_fields, hpx_env_field_count);
	hpx_json_signed(j, "stalled_tid", f->stats.stalled_tid);
	hpx_json_text(j, "stalled_name", f->stats.stalled_name);
	hpx_json_open(j, "types", '[');
	for (size_t i = 0; i < f->types && i < types; i++) {
		hpx_json_open(j, NULL, '{');
		hpx_json_text(j, "name", f->type[i].name);
		hpx_json_number(j, "alive", f->type[i].alive);
		hpx_json_number(j, "born", f->type[i].born);
		hpx_json_close(j, '}');
	}
	hpx_json_close(j, ']');
	hpx_json_close(j, '}');
}

static void hottest(struct hpx_json *j, const struct hpx_cache_figures *f)
{
	hpx_json_open(j, "hottest", '[');
	for (size_t i = 0; i < f->hots; i++) {
		hpx_json_open(j, NULL, '{');
		hpx_json_text(j, "key", f->hot[i].key);
		hpx_json_number(j, "samples", f->hot[i].samples);
		hpx_json_decimal(j, "share", f->hot[i].share);
		hpx_json_close(j, '}');
	}
	hpx_json_close(j, ']');
}

static void flights(struct hpx_json *j, const struct hpx_cache_figures *f)
{
	hpx_json_open(j, "flights", '[');
	for (size_t i = 0; i < f->flights; i++) {
		hpx_json_open(j, NULL, '{');
		hpx_json_text(j, "key", f->flight[i].key);
		hpx_json_number(j, "age_ns", f->flight[i].age_ns);
		hpx_json_bool(j, "exact", f->flight[i].exact);
		hpx_json_signed(j, "tid", f->flight[i].tid);
		hpx_json_number(j, "waiters", f->flight[i].waiters);
		hpx_json_close(j, '}');
	}
	hpx_json_close(j, ']');
}

static void cache(struct hpx_json *j, const struct hpx_cache_figures *f)
{
	hpx_json_open(j, NULL, '{');
	hpx_json_number(j, "id", f->id);
	hpx_json_text(j, "name", f->name);
	hpx_json_text(j, "kind", f->memo ? "memo" : "cache");
	hpx_json_number(j, "env", f->env);
	bound(j, "bound_entries", f->bound_entries);
	bound(j, "bound_weight", f->bound_weight);
	hpx_json_bool(j, "statistics", f->counted);
	numbers(j, &f->stats, hpx_cache_fields, hpx_cache_field_count);
	hpx_json_number(j, "loads_in_flight", f->loads_in_flight);
	hpx_json_number(j, "demoted", f->demoted);
	hpx_json_number(j, "sampled_one_in", f->sampled_one_in);
	hottest(j, f);
	flights(j, f);
	hpx_json_close(j, '}');
}

int hpx_figures_json(const struct hpx_figures *f, struct hpx_json_limits limits, hapax_write_fn write, void *ctx)
{
	bool truncated = limits.caches < f->caches;
	struct hpx_json j;

	hpx_json_begin(&j, write, ctx);
	hpx_json_open(&j, NULL, '{');
	hpx_json_number(&j, "format", 1);
	hpx_json_text(&j, "version", hapax_version());
	hpx_json_number(&j, "pid", f->pid);
	hpx_json_text(&j, "program", f->program);
	hpx_json_number(&j, "time_ns", f->time_ns);
	hpx_json_number(&j, "monotonic_ns", f->monotonic_ns);
	hpx_json_open(&j, "environments", '[');
	for (size_t i = 0; i < f->envs && !j.status; i++) {
		environment(&j, &f->env[i], limits.types);
		truncated |= limits.types < f->env[i].types;
	}
	hpx_json_close(&j, ']');
	hpx_json_open(&j, "caches", '[');
	for (size_t i = 0; i < f->caches && i < limits.caches && !j.status; i++)
		cache(&j, &f->cache[i]);
	hpx_json_close(&j, ']');
	if (truncated)
		hpx_json_bool(&j, "truncated", true);
	hpx_json_close(&j, '}');
	return hpx_json_end(&j);
}
