/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fault/sweep_refresh.c - reloads with every allocation failing; see sweep.h. The world's `making` holds "a", item 0; what
 * it loads next is the world's spare item. Reloads wait for maintain(), which runs without memory as well.
 */
#include <hapax/async.h>

#include "fault/sweep.h"

#define HOUR INT64_C(3600000000000)

static void refreshing_with(struct world *w, hapax_cache_options o)
{
	hapax_cache *cache = NULL;

	hapax_cache_destroy(w->making);
	w->making = NULL;
	o.size = sizeof(o);
	o.env = w->env;
	o.make = source_make;
	o.arg = &w->made;
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	w->making = cache;
	CHECK_EQ(hapax_cache_put(cache, KEY("a"), w->item[0]), HAPAX_OK);
	w->made.ready[0] = w->spare;
	w->spare = NULL;
}

static void managed(struct world *w)
{
	refreshing_with(w, (hapax_cache_options){.max_entries = 10, .ttl_ns = HOUR, .backoff_ns = HOUR});
}

static void plain(struct world *w) { refreshing_with(w, (hapax_cache_options){.capacity = 10}); }

/* The loader has nothing to give a second time: what was given back is made anew. */
static int refresh(struct world *w, const char *key)
{
	w->out = NULL;
	if (!w->made.ready[0]) {
		w->memory->fail_from = w->memory->fail_at = 0;
		w->made.ready[0] = world_item(w, &item_type, 300);
	}
	return hapax_cache_refresh(w->making, HAPAX_STR(key));
}

/* What the loader was not asked for. */
static void give_back(struct world *w)
{
	struct item *left = w->made.ready[0];

	w->made.ready[0] = NULL;
	hapax_release(left);
}

static int refresh_present(struct world *w)
{
	return refresh(w, "a");
}

static void is_refreshed(struct world *w, int status)
{
	hapax_cache_stats s;
	struct item *now;

	while (hapax_cache_maintain(w->making))
		;
	give_back(w);
	if (status) {
		CHECK_PTR(present(w->making, "a"), w->item[0]);
		CHECK_EQ(stats_of(w->making).loads, 0);
		return;
	}
	s = stats_of(w->making);
	now = present(w->making, "a");
	CHECK_EQ(s.refreshes, 1);
	CHECK_EQ(s.loads, 1);
	if (s.refresh_failures) /* it had no memory to be installed with */
		CHECK_PTR(now, w->item[0]);
	else if (now) /* in a plain cache nobody holds it */
		CHECK_EQ(now->id, 1);
	CHECK_EQ(s.load_successes + s.load_failures, 1);
	cache_check(w->making, now ? 1 : 0);
}

SWEEP(hapax_cache_refresh, present, .nomem = true, .errors_change = true, .prepare = managed, .call = refresh_present,
      .done = is_refreshed)
SWEEP(hapax_cache_refresh, present_plain, .nomem = true, .errors_change = true, .prepare = plain, .call = refresh_present,
      .done = is_refreshed)

static int refresh_absent(struct world *w)
{
	return refresh(w, "new");
}

static void is_loaded(struct world *w, int status)
{
	struct item *now;

	while (hapax_cache_maintain(w->making))
		;
	give_back(w);
	if (status) {
		CHECK_PTR(present(w->making, "a"), w->item[0]);
		CHECK_EQ(stats_of(w->making).loads, 0);
		return;
	}
	now = present(w->making, "new");
	CHECK_EQ(stats_of(w->making).loads, 1);
	CHECK_EQ(stats_of(w->making).refreshes, 0);
	if (stats_of(w->making).load_failures)
		CHECK(!now);
	else
		CHECK_EQ(now->id, 1);
	cache_check(w->making, now ? 2 : 1);
}

SWEEP(hapax_cache_refresh, absent, .nomem = true, .errors_change = true, .prepare = managed, .call = refresh_absent,
      .done = is_loaded)

static int maintain_nothing(struct world *w)
{
	w->out = NULL;
	give_back(w);
	return hapax_cache_maintain(w->making);
}

static void nothing_happened(struct world *w, int status)
{
	CHECK_EQ(status, 0);
	CHECK_PTR(present(w->making, "a"), w->item[0]);
}

SWEEP(hapax_cache_maintain, nothing_to_do, .prepare = managed, .call = maintain_nothing, .done = nothing_happened)
