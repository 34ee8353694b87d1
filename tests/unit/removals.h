/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit/removals.h - a cache that holds objects or limits their time, with everything that its removal listener was told,
 * and what must hold of both whatever happened. Objects are items of item.h.
 */
#ifndef TEST_REMOVALS_H
#define TEST_REMOVALS_H

#include "unit/cached.h"

/* ---- a listener that keeps what it was told -------------------------------------------------------------------- */

enum { CAUSES = 6, TOLD_KEY = 24 };

struct told {
	char key[TOLD_KEY]; /* its beginning, as text */
	int id;             /* of the item; 0 without one */
	hapax_cause cause;
	uint64_t weight;
};

struct removals {
	pthread_mutex_t lock;
	struct told *all;
	size_t n, room;
	uint64_t by_cause[CAUSES];
	int answer;         /* of the listener */
	bool fast;          /* does not look into the cache, keeps counts only */
	hapax_cache *cache;
	void (*then)(struct removals *r, const hapax_removal *removal); /* runs last, without the lock; may be NULL */
	void *arg;
};

static void removal_keep(struct removals *r, const hapax_removal *removal, int id)
{
	struct told *t;
	size_t size = removal->key.size < TOLD_KEY - 1 ? removal->key.size : TOLD_KEY - 1;

	if (r->n == r->room) {
		r->room = r->room ? 2 * r->room : 64;
		r->all = realloc(r->all, r->room * sizeof(*r->all));
		CHECK(r->all);
	}
	t = &r->all[r->n];
	*t = (struct told){.id = id, .cause = removal->cause, .weight = removal->weight};
	if (size)
		memcpy(t->key, removal->key.data, size);
}

static int removal_told(const hapax_removal *removal, void *ctx)
{
	struct removals *r = ctx;
	struct item *item = removal->object;
	hapax_cache *cache = __atomic_load_n(&r->cache, __ATOMIC_SEQ_CST); /* once: a test that ends it clears it */

	CHECK_EQ(removal->size, sizeof(*removal));
	CHECK((unsigned)removal->cause < CAUSES);
	if (removal->cause == HAPAX_CAUSE_COLLECTED)
		CHECK(!item);
	if (item) /* alive, or with SIZE its death has begun and its destructor has not */
		CHECK(item_is_alive(item));
	if (cache && !r->fast) { /* the entry reads absent already */
		void *out = NULL;
		int rc = hapax_cache_get_quietly(cache, removal->key, &out);

		CHECK(rc == HAPAX_OK || rc == HAPAX_MISS || rc == HAPAX_ECLOSED);
		CHECK(!out || out != item);
		hapax_release(out);
	}
	pthread_mutex_lock(&r->lock);
	if (!r->fast)
		removal_keep(r, removal, item ? item->id : 0);
	r->by_cause[removal->cause]++;
	__atomic_store_n(&r->n, r->n + 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&r->lock);
	if (r->then)
		r->then(r, removal);
	return r->answer;
}

MAYBE_UNUSED static size_t told_so_far(struct removals *r) { return __atomic_load_n(&r->n, __ATOMIC_SEQ_CST); }

/* The last that was told of: "E1" is the key "E1" ... as text "key:cause:id". */
MAYBE_UNUSED static const char *told_text(struct removals *r, size_t i)
{
	static const char *const names[CAUSES] = {"explicit", "replaced", "collected", "expired", "size", "closed"};
	static _Thread_local char text[80];

	CHECK(i < r->n);
	snprintf(text, sizeof(text), "%s:%s:%d", r->all[i].key, names[r->all[i].cause], r->all[i].id);
	return text;
}

/* Exactly so much was told: the causes, in the enum's order. */
MAYBE_UNUSED static void told_check(struct removals *r, const char *file, int line, const int counts[CAUSES])
{
	for (int i = 0; i < CAUSES; i++)
		if (r->by_cause[i] != (uint64_t)counts[i])
			test_fail(file, line, "cause %d was told %d times instead of %d", i, (int)r->by_cause[i], counts[i]);
}
/* TOLD(r, explicit, replaced, collected, expired, size, closed) */
#define TOLD(r, ...) told_check((r), __FILE__, __LINE__, (const int[CAUSES]){__VA_ARGS__})

/* ---- a cache with it ------------------------------------------------------------------------------------------- */

/* How entries come into it: loaded in place (embedded in the object), made, put (records both). */
enum form { LOADED, MADE, PUT, FORMS };

struct tier {
	hapax_env *env;
	hapax_cache *cache;
	struct source s;
	struct removals r;
	enum form form;
	int put_id;  /* items that are put have ids from 1001 on */
	bool loose;  /* negative results, values that were refused: the sums below do not hold */
	bool silent; /* it has no listener */
	bool shared; /* one object is under several keys: it may die while the cache is destroyed */
};

/* Zeroed `t` but for what the test sets before; consumes `env`. */
MAYBE_UNUSED static void tier_begin(struct tier *t, enum form form, hapax_env *env, hapax_cache_options o)
{
	pthread_mutex_init(&t->r.lock, NULL);
	t->env = env;
	t->form = form;
	t->put_id = 1000;
	o.size = sizeof(o);
	o.env = env;
	o.name = "tier";
	if (form == MADE) {
		o.make = source_make;
	} else {
		o.type = o.type ? o.type : &item_type;
		o.load = source_load;
	}
	o.arg = &t->s;
	if (!o.on_removal && !t->silent) {
		o.on_removal = removal_told;
		o.on_removal_ctx = &t->r;
	}
	t->s.env = env;
	t->cache = NULL;
	CHECK_EQ(hapax_cache_create(&t->cache, &o), HAPAX_OK);
	t->s.cache = t->r.cache = t->cache;
}

/* Keys as text: "0", "1", ...; some at once. */
MAYBE_UNUSED static const char *k(int i)
{
	static _Thread_local char names[16][16];
	static _Thread_local unsigned turn;
	char *name = names[turn++ % 16];

	snprintf(name, sizeof(names[0]), "%d", i);
	return name;
}

MAYBE_UNUSED static struct item *tier_item(struct tier *t)
{
	struct item *it = item_new(t->env, __atomic_add_fetch(&t->put_id, 1, __ATOMIC_RELAXED));

	it->destroyed = &t->s.destroyed;
	return it;
}

/* Writes a new value under a key and keeps it: owned. */
MAYBE_UNUSED static struct item *tier_put(struct tier *t, const char *key)
{
	struct item *it = tier_item(t);

	CHECK_EQ(hapax_cache_put(t->cache, HAPAX_STR(key), it), HAPAX_OK);
	return it;
}

/* An absent key gets a value in the tier's form: owned. */
MAYBE_UNUSED static struct item *tier_add(struct tier *t, const char *key)
{
	int loads = loads_of(&t->s);
	struct item *it;

	if (t->form == PUT)
		return tier_put(t, key);
	it = got(t->cache, key);
	CHECK_EQ(loads_of(&t->s), loads + 1);
	return it;
}

/* The same, not kept by the test: its id. */
MAYBE_UNUSED static int tier_fill(struct tier *t, const char *key)
{
	struct item *it = tier_add(t, key);
	int id = it->id;

	hapax_release(it);
	return id;
}

/* A get that must hit: the id. */
MAYBE_UNUSED static int tier_hit(struct tier *t, const char *key)
{
	int loads = loads_of(&t->s), id;
	struct item *it = got(t->cache, key);

	id = it->id;
	CHECK_EQ(loads_of(&t->s), loads);
	hapax_release(it);
	return id;
}

/* Housekeeping until nothing is left to do: how many calls. */
MAYBE_UNUSED static unsigned tier_settle(struct tier *t)
{
	unsigned calls = 1;

	while (hapax_cache_maintain(t->cache))
		calls++;
	return calls;
}

/* At rest, `size` entries are present. */
MAYBE_UNUSED static void tier_check(struct tier *t, size_t size)
{
	hapax_cache_stats s = stats_of(t->cache);
	const uint64_t *told = t->r.by_cause;

	cache_check(t->cache, size);
	CHECK_EQ(s.size_now, size);
	CHECK_EQ(s.loads, s.load_successes + s.load_failures);
	CHECK_EQ(s.evictions, s.collections + s.expirations);
	CHECK(s.size_evictions <= s.collections);
	CHECK(s.demoted_hits >= s.readmissions);
	if (!t->silent) {
		CHECK_EQ(s.notifications, t->r.n);
		CHECK_EQ(s.listener_errors, t->r.answer ? t->r.n : 0);
	}
	if (t->loose)
		return;
	CHECK_EQ(s.load_successes - s.superseded + s.puts,
		 s.removals + s.replacements + s.collections + s.expirations + s.size_now);
	if (t->silent)
		return;
	CHECK_EQ(told[HAPAX_CAUSE_SIZE], s.size_evictions);
	CHECK_EQ(told[HAPAX_CAUSE_EXPIRED], s.expirations);
	CHECK_EQ(told[HAPAX_CAUSE_COLLECTED], s.collections - s.size_evictions);
	CHECK_EQ(told[HAPAX_CAUSE_EXPLICIT] + told[HAPAX_CAUSE_REPLACED], s.removals + s.replacements + s.superseded);
	CHECK_EQ(told[HAPAX_CAUSE_CLOSED], 0);
}

/* The cache with `size` entries is checked and destroyed: each of them is told of once more. Objects may live on. */
MAYBE_UNUSED static void tier_close(struct tier *t, size_t size)
{
	size_t told = told_so_far(&t->r);

	tier_check(t, size);
	t->r.cache = NULL;
	hapax_cache_destroy(t->cache);
	t->cache = NULL;
	if (t->silent || t->loose)
		return;
	if (!t->shared)
		CHECK_EQ(t->r.by_cause[HAPAX_CAUSE_CLOSED], size);
	CHECK_EQ(t->r.n, told + size);
}

/* Nothing of it is alive any more: every item went once, and nothing was told after the cache had gone. */
MAYBE_UNUSED static void tier_gone(struct tier *t)
{
	size_t told = t->r.n;

	test_env_end(t->env);
	CHECK_EQ(t->r.n, told);
	if (t->form == LOADED && !t->loose)
		CHECK(t->s.destroyed <= loads_of(&t->s) + t->put_id - 1000);
	free(t->r.all);
	pthread_mutex_destroy(&t->r.lock);
}

MAYBE_UNUSED static void tier_end(struct tier *t, size_t size)
{
	tier_close(t, size);
	tier_gone(t);
}

#endif
