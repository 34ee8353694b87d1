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
	/* what is looked through for each sample lies close together */
	uint64_t name[HPX_HEAVY_KEYS]; /* of a key: its hash and size */
	uint32_t count[HPX_HEAVY_KEYS], error[HPX_HEAVY_KEYS];
	struct hpx_key_seen key[HPX_HEAVY_KEYS];
};

static unsigned one_in(const struct hpx_heavy *h) { return h->asked ? h->asked : h->looked; }

static void move(struct hpx_heavy *h, unsigned to, unsigned from)
{
	if (to == from)
		return;
	h->name[to] = h->name[from];
	h->count[to] = h->count[from];
	h->error[to] = h->error[from];
	h->key[to] = h->key[from];
}

__attribute__((noinline)) static void halve(struct hpx_heavy *h)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->n; i++) {
		h->count[i] /= 2;
		h->error[i] /= 2;
		if (h->count[i])
			move(h, n++, i);
	}
	h->n = n;
	h->samples /= 2;
}

static unsigned smallest(const struct hpx_heavy *h)
{
	unsigned at = 0;

	for (unsigned i = 1; i < HPX_HEAVY_KEYS; i++)
		at = h->count[i] < h->count[at] ? i : at;
	return at;
}

/* The key is not in the sketch: a counter of its own, or the smallest. */
static unsigned take(struct hpx_heavy *h, const hapax_cache *c, const hapax_key *key, uint64_t name)
{
	unsigned at = h->n;

	if (at < HPX_HEAVY_KEYS) {
		h->n++;
		h->count[at] = 0;
	} else {
		at = smallest(h);
	}
	h->error[at] = h->count[at];
	h->name[at] = name;
	hpx_key_see(c, key, &h->key[at]);
	return at;
}

static void add(struct hpx_heavy *h, const hapax_cache *c, const hapax_key *key, uint64_t name)
{
	unsigned i;

	if (HPX_UNLIKELY(h->samples >= HPX_HEAVY_MOST))
		halve(h);
	h->samples++;
	for (i = 0; i < h->n && h->name[i] != name; i++)
		;
	if (i == h->n)
		i = take(h, c, key, name);
	h->count[i]++;
}

__attribute__((noinline, cold)) void hpx_sample_add(hapax_cache *c, const hapax_key *key, uint64_t hash)
{
	/* order: -> SAMPLE.HEAVY acquire; an empty one */
	struct hpx_heavy *h = hpx_load_acquire(&c->heavy);

	if (!h || pthread_mutex_trylock(&h->lock))
		return;
	if (one_in(h))
		add(h, c, key, hash ^ (uint64_t)key->size << 40);
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
		if (h->count[i] > h->error[i])
			out->at[out->n++] = (struct hpx_heavy_key){.key = h->key[i], .count = h->count[i] - h->error[i]};
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
