/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache/sample.c - the sketch of the keys that are asked for most. See sample.h. */
#include <errno.h>
#include <stdlib.h>

#include "cache/sample.h"
#include "table/lookup.h"

struct hpx_heavy {
	pthread_mutex_t lock; /* of all that follows */
	unsigned asked, looked; /* one in so many, for the application and for those who look in; 0: not */
	uint64_t samples;
	unsigned n;
	struct hpx_heavy_key key[HPX_HEAVY_KEYS];
};

static unsigned one_in(const struct hpx_heavy *h) { return h->asked ? h->asked : h->looked; }

static void halve(struct hpx_heavy *h)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->n; i++) {
		h->key[i].count /= 2;
		h->key[i].error /= 2;
		if (h->key[i].count)
			h->key[n++] = h->key[i];
	}
	h->n = n;
	h->samples /= 2;
}

/* The key's counter; else a new one; else the smallest. */
static struct hpx_heavy_key *counter_of(struct hpx_heavy *h, uint64_t hash, size_t size)
{
	struct hpx_heavy_key *smallest = h->key;

	for (unsigned i = 0; i < h->n; i++) {
		if (h->key[i].hash == hash && h->key[i].key.size == size)
			return &h->key[i];
		if (h->key[i].count < smallest->count)
			smallest = &h->key[i];
	}
	return h->n < HPX_HEAVY_KEYS ? &h->key[h->n] : smallest;
}

static void add(struct hpx_heavy *h, const struct hpx_key_seen *key, uint64_t hash)
{
	struct hpx_heavy_key *k;

	if (h->samples >= HPX_HEAVY_MOST)
		halve(h);
	h->samples++;
	k = counter_of(h, hash, key->size);
	if (k == h->key + h->n) {
		*k = (struct hpx_heavy_key){.key = *key, .hash = hash};
		h->n++;
	} else if (k->hash != hash || k->key.size != key->size) {
		k->key = *key;
		k->hash = hash;
		k->error = k->count;
	}
	k->count++;
}

__attribute__((noinline, cold)) void hpx_sample_add(hapax_cache *c, const hapax_key *key, uint64_t hash)
{
	/* order: -> SAMPLE.HEAVY acquire; an empty one */
	struct hpx_heavy *h = hpx_load_acquire(&c->heavy);
	struct hpx_key_seen seen;

	if (!h || pthread_mutex_trylock(&h->lock))
		return;
	if (one_in(h)) {
		hpx_key_see(c, key, &seen);
		add(h, &seen, hash);
	}
	pthread_mutex_unlock(&h->lock);
}

__attribute__((noinline, cold)) void hpx_sample_add8(hapax_cache *c, uint64_t key8)
{
	const hapax_key key = {.data = &key8, .size = 8};

	hpx_sample_add(c, &key, hpx_hash8(key8, c->table->seed8));
}

/* ---- on and off -------------------------------------------------------------------------------------------------- */

/* The threshold: as many of 2^32 are above it as are to be sampled. */
static uint32_t above(unsigned one_in)
{
	return one_in ? UINT32_MAX - (uint32_t)((UINT64_C(1) << 32) / one_in - (one_in == 1)) : UINT32_MAX;
}

static struct hpx_heavy *heavy_get(hapax_cache *c)
{
	/* order: -> SAMPLE.HEAVY acquire */
	struct hpx_heavy *h = hpx_load_acquire(&c->heavy), *none = NULL;

	if (h)
		return h;
	h = hpx_alloc(c->env, sizeof(*h), HPX_CACHE_LINE);
	if (!h)
		return NULL;
	pthread_mutex_init(&h->lock, NULL);
	/* order: SAMPLE.HEAVY -> release; an empty one */
	if (hpx_cas_acq_rel(&c->heavy, &none, h))
		return h;
	pthread_mutex_destroy(&h->lock);
	hpx_free(c->env, h, sizeof(*h), HPX_CACHE_LINE);
	return none;
}

int hpx_sample_set(hapax_cache *c, unsigned n, bool asked)
{
	/* order: -> SAMPLE.HEAVY acquire */
	struct hpx_heavy *h = hpx_load_acquire(&c->heavy);

	if (!h && !n)
		return 0;
	if (!c->stats)
		return HAPAX_EOPTION;
	h = heavy_get(c);
	if (!h)
		return HAPAX_ENOMEM;
	pthread_mutex_lock(&h->lock);
	*(asked ? &h->asked : &h->looked) = n;
	if (!one_in(h) || (asked && !n))
		h->n = 0, h->samples = 0;
	/* order: SAMPLE.ABOVE relaxed; a hit at this instant is sampled or not */
	hpx_store_relaxed(&c->sample_above, above(one_in(h)));
	pthread_mutex_unlock(&h->lock);
	return 0;
}

static int heavier(const void *a, const void *b)
{
	const struct hpx_heavy_key *x = a, *y = b;

	return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

void hpx_sample_get(hapax_cache *c, struct hpx_heavy_keys *out)
{
	/* order: -> SAMPLE.HEAVY acquire */
	struct hpx_heavy *h = hpx_load_acquire(&c->heavy);

	out->n = 0;
	out->samples = 0;
	out->one_in = 0;
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	out->one_in = one_in(h);
	out->samples = h->samples;
	for (unsigned i = 0; i < h->n; i++) {
		if (h->key[i].count <= h->key[i].error)
			continue;
		out->at[out->n] = h->key[i];
		out->at[out->n++].count -= h->key[i].error;
	}
	pthread_mutex_unlock(&h->lock);
	qsort(out->at, out->n, sizeof(*out->at), heavier);
}

/* Whoever held the lock may have been at it. */
void hpx_sample_inherit(hapax_cache *c)
{
	struct hpx_heavy *h = hpx_load_acquire(&c->heavy); /* order: -> SAMPLE.HEAVY acquire */

	if (!h)
		return;
	pthread_mutex_init(&h->lock, NULL);
	h->looked = 0; /* nobody has asked this process */
	h->n = 0;
	h->samples = 0;
	hpx_store_relaxed(&c->sample_above, above(one_in(h))); /* order: SAMPLE.ABOVE relaxed; the only thread */
}

void hpx_sample_free(hapax_cache *c)
{
	struct hpx_heavy *h = hpx_load_acquire(&c->heavy); /* order: -> SAMPLE.HEAVY acquire */

	if (!h)
		return;
	pthread_mutex_destroy(&h->lock);
	hpx_free(c->env, h, sizeof(*h), HPX_CACHE_LINE);
}
