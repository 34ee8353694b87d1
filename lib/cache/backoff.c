/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/backoff.c - see backoff.h.
 *
 * Failures lie in buckets by hash, and in a ring by age, under one lock that only loads and their failures take. `equal` is
 * not called under it: what has the same hash is pinned, compared outside, and looked for again.
 */
#include <pthread.h>

#include "cache/backoff.h"

#define BUCKETS 256

struct failure {
	struct failure *next;           /* of its bucket */
	struct failure *older, *newer;
	uint64_t hash, until, wait;
	size_t size;                    /* of the key, which follows */
	unsigned pins;                  /* one for the table */
	int code;
	unsigned char key[];
};

struct hpx_backoff {
	pthread_mutex_t lock;
	hapax_env *env;
	uint64_t first, most;
	hpx_u32 count;
	struct failure *oldest, *newest;
	struct failure *bucket[BUCKETS];
};

int hpx_backoff_create(struct hpx_backoff **out, hapax_env *env, uint64_t first, uint64_t most)
{
	struct hpx_backoff *b = hpx_alloc(env, sizeof *b, HPX_CACHE_LINE);

	*out = b;
	if (!b)
		return HAPAX_ENOMEM;
	pthread_mutex_init(&b->lock, NULL);
	b->env = env;
	b->first = first;
	b->most = most > first ? most : first;
	return 0;
}

void hpx_backoff_reinit(struct hpx_backoff *b) { pthread_mutex_init(&b->lock, NULL); }

static void failure_free(struct hpx_backoff *b, struct failure *f) { hpx_free(b->env, f, sizeof *f + f->size, 16); }

/* ---- under the lock ---------------------------------------------------------------------------------------------- */

static struct failure **bucket(struct hpx_backoff *b, uint64_t hash) { return &b->bucket[hash >> 56 & (BUCKETS - 1)]; }

static void link_newest(struct hpx_backoff *b, struct failure *f)
{
	f->newer = NULL;
	f->older = b->newest;
	*(b->newest ? &b->newest->newer : &b->oldest) = f;
	b->newest = f;
}

static void unlink_age(struct hpx_backoff *b, struct failure *f)
{
	*(f->older ? &f->older->newer : &b->oldest) = f->newer;
	*(f->newer ? &f->newer->older : &b->newest) = f->older;
}

static void insert(struct hpx_backoff *b, struct failure *f)
{
	struct failure **at = bucket(b, f->hash);

	f->next = *at;
	*at = f;
	link_newest(b, f);
	hpx_add_relaxed(&b->count, 1); /* order: BACKOFF.COUNT relaxed; under the lock, and a hint without it */
}

/* True: the caller frees it. */
static bool unpin(struct failure *f) { return !--f->pins; }

static struct failure *take_out(struct hpx_backoff *b, struct failure *f)
{
	struct failure **at = bucket(b, f->hash);

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	f->next = NULL;
	unlink_age(b, f);
	hpx_sub_relaxed(&b->count, 1); /* order: BACKOFF.COUNT relaxed; as above */
	return unpin(f) ? f : NULL;
}

static bool listed(struct hpx_backoff *b, struct failure *f)
{
	struct failure *at = *bucket(b, f->hash);

	while (at && at != f)
		at = at->next;
	return at;
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

static bool same(const struct failure *f, const hapax_key *key, uint64_t hash)
{
	return f->hash == hash && f->size == key->size && (!key->size || !memcmp(f->key, key->data, key->size));
}

/* With a function of the user's: the n-th of that hash, pinned. */
static struct failure *pin_nth(struct hpx_backoff *b, uint64_t hash, unsigned n)
{
	struct failure *f = *bucket(b, hash);

	for (; f; f = f->next)
		if (f->hash == hash && !n--)
			break;
	if (f)
		f->pins++;
	return f;
}

/* Takes the lock and returns with it: the failure of the key, or NULL. */
static struct failure *find(struct hpx_backoff *b, const hapax_key_ops *ops, const hapax_key *key, uint64_t hash)
{
	struct failure *f, *gone = NULL;
	bool equal;

	pthread_mutex_lock(&b->lock);
	if (!ops->equal) {
		for (f = *bucket(b, hash); f; f = f->next)
			if (same(f, key, hash))
				break;
		return f;
	}
	for (unsigned n = 0; (f = pin_nth(b, hash, n)) != NULL; n++) {
		hapax_key own = {.data = f->key, .size = f->size};

		pthread_mutex_unlock(&b->lock);
		if (gone)
			failure_free(b, gone);
		equal = own.size == key->size && ops->equal(&own, key, ops->ctx);
		pthread_mutex_lock(&b->lock);
		gone = unpin(f) ? f : NULL;
		if (equal && !gone && listed(b, f))
			return f;
	}
	if (gone) {
		pthread_mutex_unlock(&b->lock);
		failure_free(b, gone);
		pthread_mutex_lock(&b->lock);
	}
	return NULL;
}

static bool none(struct hpx_backoff *b)
{
	return !hpx_load_relaxed(&b->count); /* order: BACKOFF.COUNT relaxed; a failure at this instant may be missed */
}

bool hpx_backoff_allows(struct hpx_backoff *b, const hapax_key_ops *ops, const hapax_key *key, uint64_t hash,
			uint64_t *until, int *code)
{
	struct failure *f;
	bool allows = true;
	uint64_t now;

	if (none(b))
		return true;
	now = hpx_env_now(b->env);
	f = find(b, ops, key, hash);
	if (f) {
		allows = now >= f->until;
		*until = f->until;
		*code = f->code;
	}
	pthread_mutex_unlock(&b->lock);
	return allows;
}

/* ---- changing ---------------------------------------------------------------------------------------------------- */

static uint64_t add(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

uint64_t hpx_backoff_failed(struct hpx_backoff *b, const hapax_key_ops *ops, const hapax_key *key, uint64_t hash, int code)
{
	struct failure *fresh = hpx_alloc(b->env, sizeof *fresh + key->size, 16), *f, *old = NULL;
	uint64_t now = hpx_env_now(b->env), until = now;

	if (fresh) {
		fresh->hash = hash;
		fresh->size = key->size;
		fresh->pins = 1;
		if (key->size)
			memcpy(fresh->key, key->data, key->size);
	}
	f = find(b, ops, key, hash);
	if (f) {
		f->wait = f->wait > b->most / 2 ? b->most : f->wait * 2;
		unlink_age(b, f);
		link_newest(b, f);
	} else if (fresh) {
		f = fresh;
		fresh = NULL;
		f->wait = b->first;
		insert(b, f);
		/* order: BACKOFF.COUNT relaxed; under the lock */
		if (hpx_load_relaxed(&b->count) > HPX_BACKOFF_MAX)
			old = take_out(b, b->oldest);
	}
	if (f) {
		until = f->until = add(now, f->wait);
		f->code = code;
	}
	pthread_mutex_unlock(&b->lock);
	if (fresh)
		failure_free(b, fresh);
	if (old)
		failure_free(b, old);
	return until;
}

void hpx_backoff_succeeded(struct hpx_backoff *b, const hapax_key_ops *ops, const hapax_key *key, uint64_t hash)
{
	struct failure *f;

	if (none(b))
		return;
	f = find(b, ops, key, hash);
	if (f)
		f = take_out(b, f);
	pthread_mutex_unlock(&b->lock);
	if (f)
		failure_free(b, f);
}

void hpx_backoff_destroy(struct hpx_backoff *b)
{
	struct failure *f;

	while ((f = b->oldest) != NULL)
		failure_free(b, take_out(b, f));
	pthread_mutex_destroy(&b->lock);
	hpx_free(b->env, b, sizeof *b, HPX_CACHE_LINE);
}
