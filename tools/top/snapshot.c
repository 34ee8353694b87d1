/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot.h"

#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT 1      /* the newest that is understood */
#define DEPTH 12      /* more than any snapshot is nested */
#define CONTAINERS (1u << 18)
#define VALUES (1u << 21)
#define MOST 10000    /* caches, environments, types, keys, flights that are looked at, of each */

/* ---- parsing ----------------------------------------------------------------------------------------------------- */

static uint64_t number(struct json_object *o, const char *name)
{
	struct json_object *value;

	if (!json_object_object_get_ex(o, name, &value))
		return 0;
	if (json_object_is_type(value, json_type_int))
		return json_object_get_uint64(value); /* below zero: 0 */
	return 0;
}

static int64_t signed_number(struct json_object *o, const char *name)
{
	struct json_object *value;

	if (!json_object_object_get_ex(o, name, &value) || !json_object_is_type(value, json_type_int))
		return 0;
	return json_object_get_int64(value);
}

static bool truth(struct json_object *o, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(o, name, &value) && json_object_is_type(value, json_type_boolean) &&
	       json_object_get_boolean(value);
}

static bool has_number(struct json_object *o, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(o, name, &value) && json_object_is_type(value, json_type_int);
}

static struct foreign string(struct json_object *o, const char *name)
{
	struct json_object *value;

	if (!json_object_object_get_ex(o, name, &value) || !json_object_is_type(value, json_type_string))
		return (struct foreign){"", 0};
	return (struct foreign){json_object_get_string(value), (size_t)json_object_get_string_len(value)};
}

/* Room for as many as the array `name` has; *list is the array, and 0 without one. */
static size_t list(struct json_object *o, const char *name, struct json_object **array, size_t each, void *room)
{
	size_t n;
	void *at;

	if (!json_object_object_get_ex(o, name, array) || !json_object_is_type(*array, json_type_array))
		return 0;
	n = json_object_array_length(*array);
	n = n < MOST ? n : MOST;
	at = n ? calloc(n, each) : NULL;
	memcpy(room, &at, sizeof(at));
	return at ? n : 0;
}

static void parse_environment(struct environment *e, struct json_object *o)
{
	struct json_object *array;
	size_t i;

	*e = (struct environment){
		.id = number(o, "id"),
		.garbage = number(o, "garbage_bytes"),
		.peak = number(o, "garbage_peak_bytes"),
		.bound = number(o, "garbage_bound_bytes"),
		.waits = number(o, "garbage_waits"),
		.refusals = number(o, "garbage_refusals"),
		.grace_periods = number(o, "grace_periods"),
		.stalls = number(o, "stalls"),
		.stalled_tid = signed_number(o, "stalled_tid"),
		.stalled_name = string(o, "stalled_name"),
		.grace_rate = NAN,
	};
	e->ntypes = list(o, "types", &array, sizeof(*e->types), &e->types);
	for (i = 0; i < e->ntypes; i++) {
		struct json_object *type = json_object_array_get_idx(array, i);

		e->types[i] = (struct type){string(type, "name"), number(type, "alive"), number(type, "born")};
	}
}

static double share(struct json_object *o, const char *name)
{
	struct json_object *value;
	double d;

	if (!json_object_object_get_ex(o, name, &value) ||
	    !(json_object_is_type(value, json_type_double) || json_object_is_type(value, json_type_int)))
		return NAN;
	d = json_object_get_double(value);
	return d >= 0 && d <= 1 ? d : NAN;
}

static void parse_cache(struct cache *c, struct json_object *o)
{
	struct json_object *array;
	size_t i;

	*c = (struct cache){
		.id = number(o, "id"),
		.name = string(o, "name"),
		.kind = string(o, "kind"),
		.counted = !json_object_object_get_ex(o, "statistics", &array) || truth(o, "statistics"),
		.bounded = has_number(o, "bound_entries"),
		.weighed = has_number(o, "bound_weight"),
		.bound = number(o, "bound_entries"),
		.bound_weight = number(o, "bound_weight"),
		.hits = number(o, "hits"),
		.misses = number(o, "misses"),
		.loads = number(o, "loads"),
		.load_failures = number(o, "load_failures"),
		.load_ns = number(o, "load_ns"),
		.loading = number(o, "loads_in_flight"),
		.present = number(o, "size_now"),
		.retained = number(o, "retained"),
		.weight = number(o, "retained_weight"),
		.demoted = number(o, "demoted"),
		.evictions = number(o, "evictions"),
		.stale = number(o, "stale_hits"),
		.negative = number(o, "negative_hits"),
		.sampled_one_in = number(o, "sampled_one_in"),
	};
	c->nhottest = list(o, "hottest", &array, sizeof(*c->hottest), &c->hottest);
	for (i = 0; i < c->nhottest; i++) {
		struct json_object *key = json_object_array_get_idx(array, i);

		c->hottest[i] = (struct hot_key){string(key, "key"), number(key, "samples"), share(key, "share")};
	}
	c->nflights = list(o, "flights", &array, sizeof(*c->flights), &c->flights);
	for (i = 0; i < c->nflights; i++) {
		struct json_object *flight = json_object_array_get_idx(array, i);

		c->flights[i] = (struct flight){.key = string(flight, "key"), .age_ns = number(flight, "age_ns"),
						.waiters = number(flight, "waiters"), .tid = signed_number(flight, "tid"),
						.exact = truth(flight, "exact")};
	}
}

/* What parsing would take of memory is bounded before it is taken. */
static bool is_reasonable(struct foreign text)
{
	size_t containers = 0, values = 0, i;

	for (i = 0; i < text.n; i++) {
		containers += text.at[i] == '{' || text.at[i] == '[';
		values += text.at[i] == ',';
	}
	return containers <= CONTAINERS && values <= VALUES;
}

static struct json_object *parse(struct foreign text, char why[WHY])
{
	struct json_tokener *tokener;
	struct json_object *root;
	enum json_tokener_error error;
	size_t end;

	if (!is_reasonable(text)) {
		snprintf(why, WHY, "the snapshot is not usable: more values than any process has");
		return NULL;
	}
	tokener = json_tokener_new_ex(DEPTH);
	if (!tokener) {
		snprintf(why, WHY, "out of memory");
		return NULL;
	}
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	root = json_tokener_parse_ex(tokener, text.at, (int)text.n);
	error = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	if (error == json_tokener_success && end == text.n && json_object_is_type(root, json_type_object))
		return root;
	json_object_put(root);
	if (error != json_tokener_success && error != json_tokener_continue)
		snprintf(why, WHY, "the snapshot is not usable: %s at byte %zu", json_tokener_error_desc(error), end);
	else
		snprintf(why, WHY, "the snapshot is not usable: %s",
			 error == json_tokener_continue ? "its text is cut short" : "it is not one JSON object");
	return NULL;
}

struct snapshot *snapshot_parse(struct foreign text, char why[WHY])
{
	struct json_object *root = parse(text, why), *array;
	struct snapshot *s = root ? calloc(1, sizeof(*s)) : NULL;
	uint64_t format = root ? number(root, "format") : 0;
	size_t i;

	if (!s || format != FORMAT) {
		if (s && format > FORMAT)
			snprintf(why, WHY, "the snapshot has format %llu, which is newer than this program (%d)",
				 (unsigned long long)format, FORMAT);
		else if (s)
			snprintf(why, WHY, "the snapshot is not usable: it does not say its format");
		json_object_put(root);
		free(s);
		return NULL;
	}
	s->root = root;
	s->program = string(root, "program");
	s->version = string(root, "version");
	s->time_ns = number(root, "time_ns");
	s->monotonic_ns = number(root, "monotonic_ns");
	s->truncated = truth(root, "truncated");
	s->nenvironments = list(root, "environments", &array, sizeof(*s->environments), &s->environments);
	for (i = 0; i < s->nenvironments; i++)
		parse_environment(&s->environments[i], json_object_array_get_idx(array, i));
	s->ncaches = list(root, "caches", &array, sizeof(*s->caches), &s->caches);
	for (i = 0; i < s->ncaches; i++)
		parse_cache(&s->caches[i], json_object_array_get_idx(array, i));
	snapshot_compare(s, NULL);
	return s;
}

void snapshot_drop(struct snapshot *s)
{
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->nenvironments; i++)
		free(s->environments[i].types);
	for (i = 0; i < s->ncaches; i++) {
		free(s->caches[i].hottest);
		free(s->caches[i].flights);
	}
	free(s->environments);
	free(s->caches);
	json_object_put(s->root);
	free(s);
}

void snapshot_json(const struct snapshot *s, struct text *out)
{
	size_t n;
	const char *text = json_object_to_json_string_length(s->root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);

	text_json(out, (struct foreign){text ? text : "null", text ? n : 4});
	text_put(out, "\n");
}

/* ---- two snapshots ----------------------------------------------------------------------------------------------- */

/* How often each second; a count that went back is another process's, or another cache's. */
static double rate(uint64_t now, uint64_t before, double seconds)
{
	return now >= before ? (double)(now - before) / seconds : NAN;
}

static double hit_share(double hits, double misses)
{
	return hits + misses > 0 ? hits / (hits + misses) : NAN;
}

static void compare_cache(struct cache *c, const struct cache *was, double seconds)
{
	c->hit_share_ever = hit_share((double)c->hits, (double)c->misses);
	c->gets = c->load_rate = c->eviction_rate = c->stale_rate = c->negative_rate = c->hit_share = NAN;
	if (!was || !c->counted)
		return;
	c->gets = rate(c->hits, was->hits, seconds) + rate(c->misses, was->misses, seconds);
	c->load_rate = rate(c->loads, was->loads, seconds);
	c->eviction_rate = rate(c->evictions, was->evictions, seconds);
	c->stale_rate = rate(c->stale, was->stale, seconds);
	c->negative_rate = rate(c->negative, was->negative, seconds);
	c->hit_share = hit_share(rate(c->hits, was->hits, seconds), rate(c->misses, was->misses, seconds));
}

static int cache_by_id(const void *a, const void *b)
{
	const struct cache *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

void snapshot_compare(struct snapshot *now, const struct snapshot *before)
{
	double seconds = before && now->monotonic_ns > before->monotonic_ns
				 ? (double)(now->monotonic_ns - before->monotonic_ns) / 1e9 : NAN;
	struct cache *sorted = NULL;
	size_t i, j;

	if (isnan(seconds))
		before = NULL;
	if (before && before->ncaches) {
		sorted = malloc(before->ncaches * sizeof(*sorted));
		if (sorted) {
			memcpy(sorted, before->caches, before->ncaches * sizeof(*sorted));
			qsort(sorted, before->ncaches, sizeof(*sorted), cache_by_id);
		}
	}
	for (i = 0; i < now->ncaches; i++)
		compare_cache(&now->caches[i],
			      sorted ? bsearch(&now->caches[i], sorted, before->ncaches, sizeof(*sorted), cache_by_id) : NULL,
			      seconds);
	free(sorted);
	for (i = 0; i < now->nenvironments; i++)
		for (j = 0; before && j < before->nenvironments && j < 64; j++)
			if (before->environments[j].id == now->environments[i].id)
				now->environments[i].grace_rate = rate(now->environments[i].grace_periods,
								       before->environments[j].grace_periods, seconds);
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

const char *const order_names[ORDERS] = {"gets", "hits", "loads", "flights", "present", "demoted", "evictions", "name", "id"};

const struct flight *longest_flight(const struct cache *c)
{
	const struct flight *longest = NULL;
	size_t i;

	for (i = 0; i < c->nflights; i++)
		if (!longest || c->flights[i].age_ns > longest->age_ns)
			longest = &c->flights[i];
	return longest;
}

/* Larger comes first. */
static double rank(const struct cache *c, enum order order)
{
	const struct flight *longest;
	double r = 0;

	switch (order) {
	case BY_GETS: r = isnan(c->gets) ? (double)c->hits + (double)c->misses : c->gets; break;
	case BY_HITS: r = isnan(c->hit_share) ? isnan(c->hit_share_ever) ? -2 : -c->hit_share_ever : -c->hit_share; break;
	case BY_LOADS: r = isnan(c->load_rate) ? (double)c->loads : c->load_rate; break;
	case BY_FLIGHTS: longest = longest_flight(c); r = longest ? (double)longest->age_ns : -1 + (double)(c->loading > 0) / 2; break;
	case BY_PRESENT: r = (double)c->present; break;
	case BY_DEMOTED: r = (double)c->demoted; break;
	case BY_EVICTIONS: r = isnan(c->eviction_rate) ? (double)c->evictions : c->eviction_rate; break;
	default: break;
	}
	return r;
}

static int by_rank(const void *a, const void *b, void *ctx)
{
	const struct cache *x = a, *y = b;
	enum order order = *(enum order *)ctx;
	double rx = rank(x, order), ry = rank(y, order);
	int names = 0;

	if (order == BY_NAME) {
		names = memcmp(x->name.at, y->name.at, x->name.n < y->name.n ? x->name.n : y->name.n);
		names = names ? names : (x->name.n > y->name.n) - (x->name.n < y->name.n);
	}
	return names ? names : rx != ry ? (rx < ry) - (rx > ry) : cache_by_id(a, b);
}

void snapshot_sort(struct snapshot *s, enum order order, bool reverse)
{
	struct cache one;
	size_t i;

	if (s->ncaches < 2)
		return;
	qsort_r(s->caches, s->ncaches, sizeof(*s->caches), by_rank, &order);
	for (i = 0; reverse && i < s->ncaches / 2; i++) {
		one = s->caches[i];
		s->caches[i] = s->caches[s->ncaches - 1 - i];
		s->caches[s->ncaches - 1 - i] = one;
	}
}
