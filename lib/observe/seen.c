/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* observe/seen.c - one cache: its loads in progress, the keys that are asked for most. */
#include <errno.h>
#include <stdlib.h>

#include <hapax/observe.h>

#include "cache/sample.h"
#include "observe/seen.h"

static int older(const void *a, const void *b)
{
	const struct hpx_flight_seen *x = a, *y = b;

	return x->age_ns < y->age_ns ? 1 : x->age_ns > y->age_ns ? -1 : 0;
}

int hpx_seen_flights_get(struct hpx_flights_seen *s)
{
	hapax_env *memory = hpx_env_or_default(NULL);

	s->at = NULL;
	s->room = 0;
	for (;;) {
		hpx_flights_see(s);
		if (s->n <= s->room)
			break;
		hpx_seen_flights_drop(s);
		s->room = s->n + s->n / 4 + 4; /* more may come meanwhile */
		s->at = hpx_alloc(memory, s->room * sizeof(*s->at), 16);
		if (!s->at) {
			s->room = s->n = 0;
			return HAPAX_ENOMEM;
		}
	}
	if (s->n)
		qsort(s->at, s->n, sizeof(*s->at), older);
	return 0;
}

void hpx_seen_flights_drop(struct hpx_flights_seen *s)
{
	if (s->at)
		hpx_free(hpx_env_or_default(NULL), s->at, s->room * sizeof(*s->at), 16);
	s->at = NULL;
}

static hapax_key key_of(const struct hpx_key_seen *key)
{
	return hapax_key_bytes(key->bytes, key->size < HPX_KEY_SEEN ? key->size : HPX_KEY_SEEN);
}

/* fn is called outside the cache, which it may destroy. */
int hapax_cache_flights(hapax_cache *cache, void (*fn)(const hapax_flight *flight, void *ctx), void *ctx)
{
	__attribute__((cleanup(hpx_seen_flights_drop))) struct hpx_flights_seen s = {.cache = cache};
	int rc;

	if (!cache || !fn)
		return HAPAX_ENULL;
	{
		HPX_CACHE_STAY stay = {.cache = NULL};

		rc = hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED);
		if (!rc)
			rc = hpx_seen_flights_get(&s);
	}
	for (size_t i = 0; !rc && i < s.n; i++) {
		const struct hpx_flight_seen *f = &s.at[i];

		fn(&(hapax_flight){.size = sizeof(hapax_flight), .key = key_of(&f->key), .key_size = f->key.size,
				   .age_ns = f->age_ns, .exact = f->exact, .tid = f->tid, .waiters = f->waiters}, ctx);
	}
	return rc ? rc : (int)s.n;
}

int hapax_cache_sample(hapax_cache *cache, unsigned one_in)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	int rc;

	if (!cache)
		return HAPAX_ENULL;
	rc = hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED);
	if (!rc && one_in && !cache->stats)
		rc = HAPAX_EOPTION;
	return rc ? rc : hpx_sample_set(cache, one_in, true);
}

int hapax_cache_hottest(hapax_cache *cache, void (*fn)(const hapax_hot_key *key, void *ctx), void *ctx)
{
	struct hpx_heavy_keys keys;
	int rc;

	if (!cache || !fn)
		return HAPAX_ENULL;
	{
		HPX_CACHE_STAY stay = {.cache = NULL};

		rc = hpx_cache_stay(&stay, cache, HPX_CACHE_CLOSED);
		if (!rc)
			hpx_sample_get(cache, &keys);
	}
	if (rc)
		return rc;
	for (size_t i = 0; i < keys.n; i++) {
		const struct hpx_heavy_key *k = &keys.at[i];

		fn(&(hapax_hot_key){.size = sizeof(hapax_hot_key), .key = key_of(&k->key), .key_size = k->key.size,
				    .samples = k->count, .share = (double)k->count / (double)keys.samples}, ctx);
	}
	return (int)keys.n;
}
