/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_compute.c - the calls of hapax/compute.h with every allocation failing; see sweep.h. */
#include "fault/sweep.h"

#define NEW KEY("new")

/* `making` becomes a cache that holds objects, has timers and a bulk loader; "l" and "m" are in. */
static int two(const hapax_key *keys, size_t n, void **objects, hapax_bulk *bulk, void *arg, hapax_load_error *error)
{
	struct world *w = arg;

	(void)keys;
	(void)error;
	for (size_t i = 0; i < n; i++) {
		CHECK_EQ(hapax_retain(w->item[3]), HAPAX_OK);
		objects[i] = w->item[3];
	}
	CHECK_EQ(hapax_retain(w->item[2]), HAPAX_OK);
	w->result = hapax_bulk_add(bulk, KEY("x"), w->item[2]);
	CHECK(w->result == HAPAX_OK || w->result == HAPAX_ENOMEM);
	return HAPAX_LOAD_OK;
}

static void managed(struct world *w)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = w->env, .max_entries = 100, .ttl_ns = INT64_C(1) << 60,
				 .load_many = two, .arg = w};

	hapax_cache_destroy(w->making);
	CHECK_EQ(hapax_cache_create(&w->making, &o), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(w->making, KEY("l"), w->item[0]), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(w->making, KEY("m"), w->item[1]), HAPAX_OK);
}

/* ---- compute ----------------------------------------------------------------------------------------------------- */

static int give(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct world *w = arg;

	(void)key;
	(void)error;
	w->flag = current != NULL;
	CHECK_EQ(hapax_retain(w->item[3]), HAPAX_OK);
	*object = w->item[3];
	return HAPAX_COMPUTE_PUT;
}

static int take(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	(void)key;
	(void)object;
	(void)arg;
	(void)error;
	CHECK(current);
	return HAPAX_COMPUTE_REMOVE;
}

static int compute(struct world *w, hapax_cache *cache, const char *key, hapax_compute_fn f)
{
	hapax_change change;
	int rc = hapax_cache_compute(cache, HAPAX_STR(key), f, w, HAPAX_FOREVER, &w->out, &change, NULL);

	w->size = change;
	return rc;
}

static int compute_new(struct world *w) { return compute(w, w->cache, "new", give); }
static int compute_over(struct world *w) { return compute(w, w->cache, "l", give); }
static int compute_managed(struct world *w) { return compute(w, w->making, "l", give); }
static int compute_managed_new(struct world *w) { return compute(w, w->making, "new", give); }
static int compute_away(struct world *w) { return compute(w, w->making, "l", take); }

static void computed(struct world *w, hapax_cache *cache, const char *key, int status, hapax_change change, size_t size)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->size, change);
	CHECK_PTR(w->out, change == HAPAX_REMOVED ? NULL : w->item[3]);
	CHECK_PTR(present(cache, key), w->out);
	cache_check(cache, size);
}

static void is_new(struct world *w, int status) { computed(w, w->cache, "new", status, HAPAX_INSERTED, 3); }
static void is_over(struct world *w, int status) { computed(w, w->cache, "l", status, HAPAX_REPLACED, 2); }
static void is_managed(struct world *w, int status) { computed(w, w->making, "l", status, HAPAX_REPLACED, 2); }
static void is_managed_new(struct world *w, int status) { computed(w, w->making, "new", status, HAPAX_INSERTED, 3); }
static void is_away(struct world *w, int status) { computed(w, w->making, "l", status, HAPAX_REMOVED, 1); }

SWEEP(hapax_cache_compute, inserting, .nomem = true, .call = compute_new, .done = is_new)
SWEEP(hapax_cache_compute, replacing, .nomem = true, .call = compute_over, .done = is_over)
SWEEP(hapax_cache_compute, replacing_held, .nomem = true, .prepare = managed, .call = compute_managed, .done = is_managed)
SWEEP(hapax_cache_compute, inserting_held, .nomem = true, .prepare = managed, .call = compute_managed_new,
      .done = is_managed_new)
SWEEP(hapax_cache_compute, removing, .nomem = true, .prepare = managed, .call = compute_away, .done = is_away)

/* ---- upsert, replace_if ------------------------------------------------------------------------------------------ */

static int upsert(struct world *w)
{
	w->out = NULL;
	return hapax_cache_upsert(w->cache, KEY("l"), w->item[3], &w->out);
}

static void is_upserted(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->loaded);
	CHECK_PTR(present(w->cache, "l"), w->item[3]);
	cache_check(w->cache, 2);
	stats_check(w->cache);
}

SWEEP(hapax_cache_upsert, replacing, .nomem = true, .call = upsert, .done = is_upserted)

static int replace_if(struct world *w)
{
	w->out = NULL;
	return hapax_cache_replace_if(w->cache, KEY("l"), w->loaded, w->item[3]);
}

static void is_replaced(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(present(w->cache, "l"), w->item[3]);
	cache_check(w->cache, 2);
	stats_check(w->cache);
}

SWEEP(hapax_cache_replace_if, loaded, .nomem = true, .call = replace_if, .done = is_replaced)

static int replace_managed(struct world *w)
{
	w->out = NULL;
	return hapax_cache_replace_if(w->making, KEY("l"), w->item[0], w->item[3]);
}

static void is_replaced_managed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(present(w->making, "l"), w->item[3]);
	cache_check(w->making, 2);
}

SWEEP(hapax_cache_replace_if, held, .nomem = true, .prepare = managed, .call = replace_managed, .done = is_replaced_managed)

/* ---- remove_where ------------------------------------------------------------------------------------------------ */

static int any(const hapax_key *key, void *object, void *ctx)
{
	(void)key;
	(void)ctx;
	CHECK(item_is_alive(object));
	return 1;
}

static int remove_all(struct world *w)
{
	w->out = NULL;
	return hapax_cache_remove_where(w->cache, any, NULL, &w->size);
}

static void all_removed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	cache_check(w->cache, 0);
	CHECK_EQ(w->size, 2);
}

SWEEP(hapax_cache_remove_where, both_kinds, .call = remove_all, .done = all_removed)

static int remove_all_managed(struct world *w)
{
	w->out = NULL;
	return hapax_cache_remove_where(w->making, any, NULL, &w->size);
}

static void all_removed_managed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	cache_check(w->making, 0);
	CHECK_EQ(w->size, 2);
}

SWEEP(hapax_cache_remove_where, held, .prepare = managed, .call = remove_all_managed, .done = all_removed_managed)

/* ---- several at once --------------------------------------------------------------------------------------------- */

/* A key alone may fail for lack of memory; the others are there. */
static int get_many(struct world *w)
{
	hapax_key keys[3] = {NEW, KEY("l"), KEY("c")};
	void *objects[3];
	int statuses[3], rc, worst;

	w->out = NULL;
	w->result = 0;
	rc = worst = hapax_cache_get_many(w->making, keys, 3, objects, statuses, NULL);
	for (int i = 0; i < 3; i++) {
		CHECK((rc == 0 && statuses[i] == 0) == (objects[i] != NULL));
		hapax_release(objects[i]);
		if (rc == 0 && statuses[i])
			worst = statuses[i];
	}
	return worst ? worst : w->result;
}

static void got_many(struct world *w, int status)
{
	if (status == HAPAX_OK) {
		CHECK_PTR(present(w->making, "new"), w->item[3]);
		CHECK_PTR(present(w->making, "c"), w->item[3]);
		/* what was added may not have been stored, for want of memory, with nobody to be told */
		CHECK(!present(w->making, "x") || present(w->making, "x") == w->item[2]);
	}
	CHECK_PTR(present(w->making, "l"), w->item[0]);
	cache_check(w->making, hapax_cache_size(w->making));
}

SWEEP(hapax_cache_get_many, bulk_loader, .nomem = true, .errors_change = true, .prepare = managed, .call = get_many,
      .done = got_many)
SWEEP(hapax_bulk_add, in_a_loader, .nomem = true, .errors_change = true, .prepare = managed, .call = get_many,
      .done = got_many)
