/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_LFHT
#define _LGPL_SOURCE /* read sections inline */
#include "lfht.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <urcu/urcu-memb.h>

#include <urcu/rculfhash.h>

struct lfht_cache {
	struct cds_lfht *table;
	size_t key_size;
	cds_lfht_match_fct match;
};

struct object {
	struct cds_lfht_node node;
	unsigned long refs; /* 0: dying; stays 0 */
	uint64_t value[8];
	struct rcu_head head;
	unsigned char key[];
};

static int match_8(struct cds_lfht_node *node, const void *key)
{
	return !memcmp(caa_container_of(node, struct object, node)->key, key, 8);
}

static int match_24(struct cds_lfht_node *node, const void *key)
{
	return !memcmp(caa_container_of(node, struct object, node)->key, key, 24);
}

static pthread_key_t leaving;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread bool registered;

static void leave(void *unused)
{
	(void)unused;
	urcu_memb_unregister_thread();
	registered = false;
}

static void prepare(void)
{
	if (pthread_key_create(&leaving, leave))
		abort();
}

static void enter(void)
{
	pthread_once(&once, prepare);
	urcu_memb_register_thread();
	if (pthread_setspecific(leaving, &leaving))
		abort();
	registered = true;
}

struct lfht_cache *lfht_cache_create(size_t expected, size_t key_size)
{
	struct lfht_cache *cache = malloc(sizeof *cache);
	unsigned long buckets = 1024;

	while (buckets < expected)
		buckets *= 2;
	if (!cache || (key_size != 8 && key_size != 24))
		abort();
	if (!registered)
		enter();
	cache->table = cds_lfht_new_flavor(buckets, 1, 0, CDS_LFHT_AUTO_RESIZE | CDS_LFHT_ACCOUNTING, &urcu_memb_flavor, NULL);
	cache->key_size = key_size;
	cache->match = key_size == 8 ? match_8 : match_24;
	if (!cache->table)
		abort();
	return cache;
}

void lfht_cache_destroy(struct lfht_cache *cache)
{
	urcu_memb_barrier();
	if (cds_lfht_destroy(cache->table, NULL))
		fprintf(stderr, "bench: cds_lfht_destroy: objects are left\n");
	free(cache);
}

static bool raise_unless_zero(struct object *o)
{
	unsigned long refs = __atomic_load_n(&o->refs, __ATOMIC_RELAXED);

	while (refs)
		if (__atomic_compare_exchange_n(&o->refs, &refs, refs + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	return false;
}

static void free_object(struct rcu_head *head)
{
	free(caa_container_of(head, struct object, head));
}

/* In a read section. Whoever takes it out frees it: nobody else knows when it is out of the list. */
static void take_out(struct lfht_cache *cache, struct object *o)
{
	if (!cds_lfht_del(cache->table, &o->node))
		urcu_memb_call_rcu(&o->head, free_object);
}

static struct object *load_one(struct lfht_cache *cache, const void *key, void (*load)(void *, void *), void *ctx)
{
	struct object *o = malloc(sizeof *o + cache->key_size);

	if (!o)
		abort();
	cds_lfht_node_init(&o->node);
	o->refs = 1;
	memcpy(o->key, key, cache->key_size);
	load(ctx, o->value);
	return o;
}

void *lfht_cache_get(struct lfht_cache *cache, const void *key, uint64_t hash, void (*load)(void *ctx, void *value), void *ctx)
{
	struct cds_lfht_iter iter;
	struct cds_lfht_node *found;
	struct object *fresh, *o;

	if (__builtin_expect(!registered, 0))
		enter();
	urcu_memb_read_lock();
	cds_lfht_lookup(cache->table, hash, cache->match, key, &iter);
	found = cds_lfht_iter_get_node(&iter);
	if (found) {
		o = caa_container_of(found, struct object, node);
		if (raise_unless_zero(o)) {
			urcu_memb_read_unlock();
			return o->value;
		}
	}
	urcu_memb_read_unlock();

	fresh = load_one(cache, key, load, ctx); /* may take long: outside the section */
	urcu_memb_read_lock();
	for (;;) {
		found = cds_lfht_add_unique(cache->table, hash, cache->match, key, &fresh->node);
		o = caa_container_of(found, struct object, node);
		if (o == fresh)
			break;
		if (raise_unless_zero(o)) {
			free(fresh); /* never published */
			break;
		}
		take_out(cache, o);
	}
	urcu_memb_read_unlock();
	return o->value;
}

void lfht_cache_drop(struct lfht_cache *cache, void *value)
{
	struct object *o = caa_container_of(value, struct object, value);

	/* the section begins before the count falls: afterwards somebody else may take it out, and it would be freed */
	urcu_memb_read_lock();
	if (__atomic_sub_fetch(&o->refs, 1, __ATOMIC_ACQ_REL) == 0)
		take_out(cache, o);
	urcu_memb_read_unlock();
}
#else
typedef int hpx_no_lfht; /* a file with nothing in it is not C */
#endif
