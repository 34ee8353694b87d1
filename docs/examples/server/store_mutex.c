/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is kept in memory, by one mutex, a hash table and a list of least recent use: the cache that is written in an afternoon, for
 * comparison with store_hapax.c. Contents are counted references, so nothing is copied and nothing is sent under the lock; a miss
 * loads outside it; a write that overtook a load keeps that load's result out; times to live have some jitter.
 * What it does not do: threads that miss on one key together each load it, nothing is loaded before somebody has to wait for it,
 * and what has been evicted while it is being sent is loaded a second time.
 */
#define _GNU_SOURCE
#include "server.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char store_name[] = "mutex";

struct item {
	struct content content; /* first: what is lent out is a pointer to it */
	_Atomic unsigned count; /* the table's reference, and one for each response */
	struct item *next;      /* in its bucket */
	struct item *newer, *older;
	uint64_t hash, ends_ns;
	size_t weight;
	bool none;              /* remembered: there is nothing */
	char key[];
};

struct store {
	struct source *source;
	pthread_mutex_t lock;
	struct item **buckets;
	size_t n_buckets, n, weight, max_weight;
	struct item *newest, *oldest;
	uint64_t writes;        /* what was loaded before the latest one is not kept */
	uint64_t hits, misses, loads, failures, random;
	uint64_t ttl_ns, negative_ttl_ns, tenant_idle_ns;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t hash_of(const char *key)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *key; key++)
		hash = (hash ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 32;
}

static void item_release(struct item *item)
{
	if (atomic_fetch_sub_explicit(&item->count, 1, memory_order_acq_rel) != 1)
		return;
	content_clear(&item->content);
	free(item);
}

/* ---- the table: under the lock ------------------------------------------------------------------------------------ */

static struct item **place_of(struct store *store, const char *key, uint64_t hash)
{
	struct item **place = &store->buckets[hash & (store->n_buckets - 1)];

	while (*place && ((*place)->hash != hash || strcmp((*place)->key, key)))
		place = &(*place)->next;
	return place;
}

static void list_remove(struct store *store, struct item *item)
{
	*(item->newer ? &item->newer->older : &store->newest) = item->older;
	*(item->older ? &item->older->newer : &store->oldest) = item->newer;
}

static void list_add(struct store *store, struct item *item)
{
	item->newer = NULL;
	item->older = store->newest;
	*(item->older ? &item->older->newer : &store->oldest) = item;
	store->newest = item;
}

/* Out of the table, onto a list of what is to be released after the lock. */
static void take_out(struct store *store, struct item **place, struct item **gone)
{
	struct item *item = *place;

	*place = item->next;
	list_remove(store, item);
	store->n--;
	store->weight -= item->weight;
	item->next = *gone;
	*gone = item;
}

static void release_all(struct item *gone)
{
	struct item *next;

	for (; gone; gone = next) {
		next = gone->next;
		item_release(gone);
	}
}

static void grow(struct store *store)
{
	size_t n_buckets = store->n_buckets * 2;
	struct item **buckets = calloc(n_buckets, sizeof(*buckets)), *item;

	if (!buckets)
		return; /* longer chains, then */
	for (size_t i = 0; i < store->n_buckets; i++)
		while ((item = store->buckets[i]) != NULL) {
			store->buckets[i] = item->next;
			item->next = buckets[item->hash & (n_buckets - 1)];
			buckets[item->hash & (n_buckets - 1)] = item;
		}
	free(store->buckets);
	store->buckets = buckets;
	store->n_buckets = n_buckets;
}

static void put_in(struct store *store, struct item *item, struct item **gone)
{
	struct item **place = place_of(store, item->key, item->hash);

	if (*place)
		take_out(store, place, gone);
	if (store->n >= store->n_buckets)
		grow(store);
	place = &store->buckets[item->hash & (store->n_buckets - 1)];
	item->next = *place;
	*place = item;
	list_add(store, item);
	store->n++;
	store->weight += item->weight;
	while (store->weight > store->max_weight && store->oldest)
		take_out(store, place_of(store, store->oldest->key, store->oldest->hash), gone);
}

/* ---- a get: lookup, or load and put ------------------------------------------------------------------------------- */

typedef enum outcome (*load_fn)(struct store *store, const char *key, const void *arg, struct content *content);

static struct item *item_find(struct store *store, const char *key, uint64_t hash, uint64_t *writes)
{
	uint64_t now = now_ns();
	struct item *item;

	pthread_mutex_lock(&store->lock);
	item = *place_of(store, key, hash);
	if (item && item->ends_ns > now) {
		list_remove(store, item);
		list_add(store, item);
		atomic_fetch_add_explicit(&item->count, 1, memory_order_relaxed);
		store->hits++;
	} else {
		item = NULL;
		store->misses++;
		*writes = store->writes;
	}
	pthread_mutex_unlock(&store->lock);
	return item;
}

static enum outcome item_load(struct store *store, const char *key, uint64_t hash, uint64_t writes, uint64_t ttl_ns, load_fn load,
			      const void *arg, struct item **out)
{
	struct item *item = calloc(1, sizeof(*item) + strlen(key) + 1), *gone = NULL;
	enum outcome outcome;

	if (!item)
		return FAILED;
	strcpy(item->key, key);
	item->hash = hash;
	atomic_init(&item->count, 1);
	outcome = load(store, key, arg, &item->content);
	item->none = outcome == NONE;
	item->weight = sizeof(*item) + strlen(key) + (item->content.data ? item->content.size : 0);
	pthread_mutex_lock(&store->lock);
	store->loads++;
	store->failures += outcome == FAILED;
	if (outcome != FAILED && writes == store->writes) {
		store->random = store->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
		if (item->none)
			ttl_ns = store->negative_ttl_ns;
		item->ends_ns = now_ns() + ttl_ns - (ttl_ns / 10240) * (store->random >> 54);
		atomic_fetch_add_explicit(&item->count, 1, memory_order_relaxed);
		put_in(store, item, &gone);
	}
	pthread_mutex_unlock(&store->lock);
	release_all(gone);
	*out = item;
	return outcome;
}

static enum outcome item_get(struct store *store, const char *key, uint64_t ttl_ns, load_fn load, const void *arg,
			     const struct content **content)
{
	uint64_t hash = hash_of(key), writes = 0;
	struct item *item = item_find(store, key, hash, &writes);
	enum outcome outcome = DONE;

	*content = NULL;
	if (!item)
		outcome = item_load(store, key, hash, writes, ttl_ns, load, arg, &item);
	if (!item)
		return FAILED;
	if (item->none)
		outcome = NONE;
	if (outcome == DONE)
		*content = &item->content;
	else
		item_release(item);
	return outcome;
}

/* ---- what the server asks for ------------------------------------------------------------------------------------- */

static enum outcome load_page(struct store *store, const char *key, const void *arg, struct content *content)
{
	(void)arg;
	return page_load(store->source, key, content);
}

struct price_list {
	const char *tenant;
	unsigned category;
};

static enum outcome load_prices(struct store *store, const char *key, const void *arg, struct content *content)
{
	const struct price_list *list = arg;
	struct tenant tenant = {0};
	enum outcome outcome = tenant_load(store->source->database, list->tenant, &tenant);

	(void)key;
	return outcome == DONE ? prices_load(store->source->database, &tenant, list->category, content) : outcome;
}

enum outcome store_page(struct store *store, const char *key, const struct content **content)
{
	return item_get(store, key, store->ttl_ns, load_page, NULL, content);
}

enum outcome store_prices(struct store *store, const char *tenant, unsigned category, const struct content **content)
{
	const struct price_list list = {tenant, category};
	char key[TENANT_NAME_MAX + 32];

	snprintf(key, sizeof(key), "prices/%s/%u", tenant, category);
	return item_get(store, key, store->tenant_idle_ns, load_prices, &list, content);
}

void store_release(const struct content *content)
{
	item_release((struct item *)(uintptr_t)content);
}

void store_written(struct store *store, const char *key)
{
	struct item **place, *gone = NULL;

	pthread_mutex_lock(&store->lock);
	store->writes++;
	place = place_of(store, key, hash_of(key));
	if (*place)
		take_out(store, place, &gone);
	pthread_mutex_unlock(&store->lock);
	release_all(gone);
}

void store_tick(struct store *store)
{
	(void)store; /* what has expired goes when it is asked for, or as the least recently used */
}

void store_counts(struct store *store, struct store_counts *counts)
{
	pthread_mutex_lock(&store->lock);
	*counts = (struct store_counts){store->hits, store->misses, store->loads, store->failures, store->n, store->weight};
	pthread_mutex_unlock(&store->lock);
}

bool store_metrics(struct store *store, enum metrics_format format, struct text *text)
{
	(void)store, (void)format, (void)text;
	return false;
}

int store_create(struct store **out, const struct options *options, struct source *source)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		return -1;
	store->n_buckets = 1024;
	store->buckets = calloc(store->n_buckets, sizeof(struct item *));
	if (!store->buckets) {
		free(store);
		return -1;
	}
	store->source = source;
	store->max_weight = options->cache_bytes;
	store->ttl_ns = options->ttl_ns;
	store->negative_ttl_ns = options->negative_ttl_ns;
	store->tenant_idle_ns = options->tenant_idle_ns;
	pthread_mutex_init(&store->lock, NULL);
	*out = store;
	return 0;
}

bool store_destroy(struct store *store)
{
	struct item *gone = NULL;
	bool lent = false;

	while (store->oldest) {
		lent |= atomic_load_explicit(&store->oldest->count, memory_order_relaxed) != 1;
		take_out(store, place_of(store, store->oldest->key, store->oldest->hash), &gone);
	}
	release_all(gone);
	pthread_mutex_destroy(&store->lock);
	free(store->buckets);
	free(store);
	if (lent)
		fprintf(stderr, "an item was still being used\n");
	return !lent;
}
