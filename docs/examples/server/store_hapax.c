/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is kept in memory, by hapax. Everything that a server of this kind has to say about caching is in this file:
 *
 *      pages     one cache of records and files. It holds cache_bytes of them itself; what somebody is still sending is found as well,
 *                held or not, so there is never a second copy of it. Good for ttl; loaded anew in the background before that;
 *                served a while longer if the database cannot be asked; "there is none" is remembered, too.
 *      tenants   weak, and held for tenant_idle after their last request
 *      prices    a memo whose results belong to tenants: computed once for each, gone with it
 *
 * Loads are shared: threads that ask for one absent key together cause one query, and wait for it up to a deadline.
 */
#include "server.h"

#include <hapax/hapax.h>
#include <hapax/leak.h>
#include <hapax/observe.h>
#include <stdlib.h>
#include <string.h>

const char store_name[] = "hapax";

struct store {
	struct source *source;
	hapax_cache *pages, *tenants;
	hapax_memo *prices;
	uint64_t deadline_ns;
};

static void content_destroy(void *object, void *arg)
{
	(void)arg;
	content_clear(object);
}

HAPAX_TYPE(content, struct content, .destroy = content_destroy);
HAPAX_TYPE(tenant, struct tenant, .destroy = NULL);

/* ---- loaders: on the thread that asked first, without locks ------------------------------------------------------- */

/* A key as a C string; none is longer (http.c). */
struct name {
	char text[KEY_SIZE_MAX + 1];
};

static struct name name_of(const hapax_key *key)
{
	struct name name;

	memcpy(name.text, key->data, key->size);
	name.text[key->size] = 0;
	return name;
}

static int loaded(enum outcome outcome, hapax_load_error *error)
{
	if (outcome == FAILED)
		error->code = 1;
	return outcome == DONE ? HAPAX_LOAD_OK : outcome == NONE ? HAPAX_LOAD_NOVALUE : HAPAX_LOAD_FAIL;
}

static int load_page(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	const struct name name = name_of(key);
	struct store *store = arg;

	return loaded(page_load(store->source, name.text, object), error);
}

static int load_tenant(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	const struct name name = name_of(key);
	struct store *store = arg;

	return loaded(tenant_load(store->source->database, name.text, object), error);
}

static int compute_prices(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	struct store *store = ctx;

	(void)n;
	return loaded(prices_load(store->source->database, owner, (unsigned)args[0].value.u, result), error);
}

static int weigh_page(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	const struct content *content = object;

	(void)ctx;
	*weight = sizeof(*content) + key->size + (content->data ? content->size : 0);
	return 0;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static int create_all(struct store *store, const struct options *o)
{
	const hapax_cache_options pages = {HAPAX_CACHE_OPTIONS_INIT, .name = "pages", .type = &content_type,
		.load = load_page, .arg = store,
		.max_weight = (int64_t)o->cache_bytes, .weigh = weigh_page,
		.ttl_ns = (int64_t)o->ttl_ns, .ttl_jitter = 0.1, .refresh_ns = (int64_t)o->refresh_ns,
		.stale_error_ns = (int64_t)o->stale_error_ns, .negative_ttl_ns = (int64_t)o->negative_ttl_ns,
		.backoff_ns = 50 * HAPAX_MILLISECOND, .backoff_max_ns = 2 * HAPAX_SECOND};
	const hapax_cache_options tenants = {HAPAX_CACHE_OPTIONS_INIT, .name = "tenants", .type = &tenant_type,
		.load = load_tenant, .arg = store,
		.retain_idle_ns = (int64_t)o->tenant_idle_ns, .negative_ttl_ns = (int64_t)o->negative_ttl_ns};
	const hapax_memo_options prices = {HAPAX_MEMO_OPTIONS_INIT, .flags = HAPAX_MEMO_OWNED, .name = "prices",
		.type = &content_type, .compute = compute_prices, .ctx = store, .capacity = 100};
	int status;

	if ((status = hapax_cache_create(&store->pages, &pages)) != HAPAX_OK)
		return status;
	if ((status = hapax_cache_create(&store->tenants, &tenants)) != HAPAX_OK)
		return status;
	if ((status = hapax_memo_create(&store->prices, &prices)) != HAPAX_OK)
		return status;
	if (o->sample && ((status = hapax_cache_sample(store->pages, o->sample)) != HAPAX_OK ||
			  (status = hapax_cache_sample(store->tenants, o->sample)) != HAPAX_OK))
		return status;
	return HAPAX_OK;
}

int store_create(struct store **out, const struct options *options, struct source *source)
{
	struct store *store = calloc(1, sizeof(*store));
	int status;

	if (!store)
		return -1;
	store->source = source;
	store->deadline_ns = options->deadline_ns;
	status = create_all(store, options);
	if (status != HAPAX_OK) {
		fprintf(stderr, "hapax: %s\n", hapax_status_text(status));
		store_destroy(store);
		return -1;
	}
	*out = store;
	return 0;
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

static enum outcome outcome_of(int status)
{
	switch (status) {
	case HAPAX_OK: return DONE;
	case HAPAX_NOVALUE:
	case HAPAX_NEGATIVE: return NONE;
	case HAPAX_ETIMEDOUT: return LATE;
	case HAPAX_ECLOSED: return CLOSED;
	default: return FAILED;
	}
}

enum outcome store_page(struct store *store, const char *key, const struct content **content)
{
	const hapax_get_options options = {HAPAX_GET_OPTIONS_INIT, .deadline = hapax_env_now(NULL) + store->deadline_ns};
	void *object;
	int status = hapax_cache_get_with(store->pages, HAPAX_STR(key), &options, &object);

	*content = object;
	return outcome_of(status);
}

enum outcome store_prices(struct store *store, const char *tenant, unsigned category, const struct content **content)
{
	struct content *prices = NULL;
	struct tenant *owner;
	int status = tenant_get(store->tenants, HAPAX_STR(tenant), &owner);

	if (status == HAPAX_OK) {
		status = content_call(store->prices, owner, HAPAX_ARGS(hapax_arg_uint(category)), &prices);
		tenant_release(owner); /* what was computed lives on for whoever holds it */
	}
	*content = prices;
	return outcome_of(status);
}

void store_release(const struct content *content)
{
	hapax_release((void *)(uintptr_t)content);
}

void store_written(struct store *store, const char *key)
{
	(void)hapax_cache_remove(store->pages, HAPAX_STR(key)); /* loads in flight are fenced off: they may have read the old row */
}

void store_tick(struct store *store)
{
	while (hapax_cache_maintain(store->pages))
		;
	while (hapax_cache_maintain(store->tenants))
		;
}

/* ---- figures ------------------------------------------------------------------------------------------------------ */

void store_counts(struct store *store, struct store_counts *counts)
{
	hapax_cache_stats pages = {.size = sizeof(pages)}, tenants = {.size = sizeof(tenants)};
	hapax_memo_info prices = {.size = sizeof(prices)};

	*counts = (struct store_counts){0};
	if (hapax_cache_stats_get(store->pages, &pages) || hapax_cache_stats_get(store->tenants, &tenants) ||
	    hapax_memo_info_get(store->prices, NULL, &prices))
		return;
	counts->hits = pages.hits + tenants.hits + prices.hits;
	counts->misses = pages.misses + tenants.misses + prices.misses;
	counts->loads = pages.loads + tenants.loads + prices.computed;
	counts->failures = pages.load_failures - pages.load_novalues + tenants.load_failures - tenants.load_novalues + prices.failed;
	counts->entries = pages.size_now + tenants.size_now + prices.entries;
	counts->bytes = pages.retained_weight;
}

static int write_text(const char *piece, size_t n, void *ctx)
{
	struct text *text = ctx;

	text_add(text, piece, n);
	return text->failed;
}

bool store_metrics(struct store *store, enum metrics_format format, struct text *text)
{
	(void)store; /* they are of the whole process */
	return hapax_metrics_write(format == METRICS_JSON ? HAPAX_METRICS_JSON : HAPAX_METRICS_PROMETHEUS, write_text, text) == 0;
}

/* ---- end ---------------------------------------------------------------------------------------------------------- */

bool store_destroy(struct store *store)
{
	size_t alive;

	hapax_memo_destroy(store->prices); /* results before their owners */
	hapax_cache_destroy(store->tenants);
	hapax_cache_destroy(store->pages);
	free(store);
	hapax_reclaim(NULL);
	alive = hapax_leak_report(NULL, NULL, NULL); /* says what, and who knows it */
	if (alive)
		fprintf(stderr, "%zu objects are still alive\n", alive);
	return alive == 0;
}
