/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cache/check.c - the check that a cache's structures agree with each other at rest. In the testing build only. */
#include "cache/tier.h"

#ifdef HPX_TESTING
#include <hapax/testing.h>

struct found {
	size_t live, loading, negative, retained, listed, absences, stray;
	uint64_t weight;
};

static void look(hapax_cache *c, void *e, struct hpx_object *o, struct found *f)
{
	struct hpx_node *n;
	uint32_t flags;

	f->loading += !o;
	f->live += o != NULL;
	if (!o || !c->tier)
		return;
	n = hpx_node_of(c, e);
	/* order: NODE.FLAGS relaxed; at rest */
	flags = hpx_load_relaxed(&n->flags);
	f->negative += !!(flags & HPX_NODE_NEGATIVE);
	f->retained += !!(flags & HPX_NODE_RETAINED);
	f->listed += !!(flags & HPX_NODE_LISTED);
	f->stray += flags & HPX_NODE_LEFT || n->entry != e || n->cache != c ||
		    (hpx_entry_is_record(e) && hpx_load_relaxed(&n->pins) != 1); /* order: NODE.PINS relaxed; at rest */
	if (flags & HPX_NODE_LISTED) {
		f->weight += n->policy.weight;
		f->absences += !!(flags & HPX_NODE_NEGATIVE);
	}
}

static void walk(hapax_cache *c, struct found *f)
{
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *o;
	void *e;

	do {
		o = NULL;
		hpx_read_lock();
		e = hpx_table_next(c->table, &cursor, true, &o);
		if (e)
			look(c, e, o, f);
		hpx_read_unlock();
		if (o)
			hpx_cache_release(c, o);
	} while (e);
}

static int check_tier(hapax_cache *c, const struct found *f, char *message, size_t size)
{
	struct hpx_tier *t = c->tier;
	size_t held = hpx_load_relaxed(&t->held), absences = hpx_load_relaxed(&t->absences); /* order: TIER.HELD relaxed; at rest */
	uint64_t weight = hpx_load_relaxed(&t->weight), bound = hpx_load_relaxed(&t->bound);
	int rc = 0;

	if (f->stray || f->retained != f->listed || held != f->listed || weight != f->weight) {
		snprintf(message, size, "cache %s: %zu stray nodes, %zu retained, %zu listed, %zu held; weight %llu, sum %llu",
			 c->name, f->stray, f->retained, f->listed, held, (unsigned long long)weight,
			 (unsigned long long)f->weight);
		return -1;
	}
	if (absences != f->absences) {
		snprintf(message, size, "cache %s: %zu absences, %zu counted", c->name, f->absences, absences);
		return -1;
	}
	if (t->bounded && (t->weighted ? weight : held) > bound) {
		snprintf(message, size, "cache %s: above its bound at rest", c->name);
		return -1;
	}
	pthread_mutex_lock(&t->lock);
	if (t->policy && t->policy->check)
		rc = t->policy->check(t->state, message, size);
	if (!rc && !hpx_wheel_check(&t->wheel, message, size))
		rc = -1;
	pthread_mutex_unlock(&t->lock);
	return rc;
}

int hapax_testing_check_cache(hapax_cache *cache, char *message, size_t size)
{
	size_t entries = 0, expected = hapax_cache_size(cache);
	uint64_t calls = hpx_cache_calls(cache);
	struct found f = {.live = 0};

	if (cache->tier)
		hpx_tier_settle(cache);
	if (hpx_table_check(cache->table, message, size, &entries))
		return -1;
	walk(cache, &f);
	if (f.loading)
		snprintf(message, size, "cache %s: %zu loads at rest", cache->name, f.loading);
	else if (f.live - f.negative != expected)
		snprintf(message, size, "cache %s: %zu live entries, size %zu", cache->name, f.live - f.negative, expected);
	else if (calls)
		snprintf(message, size, "cache %s: %llu calls in progress at rest", cache->name,
			 (unsigned long long)calls);
	else if (!hpx_flights_idle(&cache->flights))
		snprintf(message, size, "cache %s: waiters at rest", cache->name);
	else
		return cache->tier ? check_tier(cache, &f, message, size) : 0;
	return -1;
}

int hapax_testing_cache_resize(hapax_cache *cache, int delta)
{
	return hpx_table_resize(cache->table, delta) ? 0 : HAPAX_ENOMEM;
}
#endif
