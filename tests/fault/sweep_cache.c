/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_cache.c - the calls of hapax/cache.h with every allocation failing; see sweep.h. */
#include "fault/sweep.h"

#define NEW KEY("new")

/* ---- making and ending ------------------------------------------------------------------------------------------ */

static int create_with(struct world *w, unsigned flags)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .flags = flags, .env = w->env, .type = &item_type,
				 .load = source_load, .arg = &w->made, .capacity = 1000};
	hapax_cache *cache = (void *)1;
	int rc = hapax_cache_create(&cache, &o);

	CHECK((rc == 0) == (cache != NULL));
	w->out = NULL;
	if (!rc) {
		hapax_cache_destroy(w->making);
		w->making = cache;
	}
	return rc;
}

static int create(struct world *w) { return create_with(w, 0); }
static int create_exclusive(struct world *w) { return create_with(w, HAPAX_CACHE_EXCLUSIVE); }

static void created(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	cache_check(w->making, 0);
	w->memory->fail_from = 0;
	hapax_release(got(w->making, "first"));
}

SWEEP(hapax_cache_create, sized, .nomem = true, .call = create, .done = created)
SWEEP(hapax_cache_create, exclusive, .nomem = true, .call = create_exclusive, .done = created)

static int close_both(struct world *w)
{
	hapax_cache_close(w->cache);
	hapax_cache_close(w->exclusive);
	return 0;
}

static void closed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_cache_get(w->cache, KEY("l"), &w->out), HAPAX_ECLOSED);
	CHECK_EQ(hapax_cache_get(w->exclusive, KEY("x"), &w->out), HAPAX_ECLOSED);
	CHECK(item_is_alive(w->loaded) && item_is_alive(w->held));
}

SWEEP(hapax_cache_close, both_kinds, .call = close_both, .done = closed)

/* What is still alive is reported; the report needs no memory of the environment's. */
static int destroy_both(struct world *w)
{
	hapax_cache_destroy(w->cache);
	hapax_cache_destroy(w->exclusive);
	w->cache = w->exclusive = NULL;
	return 0;
}

static void destroyed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(item_is_alive(w->loaded) && item_is_alive(w->held));
	CHECK_EQ(hapax_count(w->loaded), 1);
}

SWEEP(hapax_cache_destroy, both_kinds, .call = destroy_both, .done = destroyed)

/* ---- getting ---------------------------------------------------------------------------------------------------- */

static int get_present(struct world *w) { return hapax_cache_get(w->cache, KEY("l"), &w->out); }

static void is_loaded(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, w->loaded);
	CHECK_EQ(hapax_count(w->loaded), 2);
	CHECK_EQ(loads_of(&w->source), 1);
}

SWEEP(hapax_cache_get, present, .call = get_present, .done = is_loaded)

static int get_new(struct world *w) { return hapax_cache_get(w->cache, NEW, &w->out); }

static void is_new(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(item_is_alive(w->out));
	CHECK_PTR(present(w->cache, "new"), w->out);
	cache_check(w->cache, 3);
	stats_check(w->cache);
}

SWEEP(hapax_cache_get, load, .nomem = true, .call = get_new, .done = is_new)

static int get_exclusive(struct world *w) { return hapax_cache_get(w->exclusive, NEW, &w->out); }

static void is_new_exclusive(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(present(w->exclusive, "new"), w->out);
	cache_check(w->exclusive, 2);
	stats_check(w->exclusive);
}

SWEEP(hapax_cache_get, load_exclusive, .nomem = true, .call = get_exclusive, .done = is_new_exclusive)

/* The loader gives the spare away; an error has consumed it, so that the next try is given another. */
static int get_made(struct world *w)
{
	int rc;

	if (!w->spare) {
		w->memory->fail_from = w->memory->fail_at = 0;
		w->spare = world_item(w, &item_type, 300);
	}
	w->made.ready[0] = w->spare;
	w->spare = NULL;
	rc = hapax_cache_get(w->making, NEW, &w->out);
	if (w->made.ready[0]) { /* the loader never ran */
		w->spare = w->made.ready[0];
		w->made.ready[0] = NULL;
	}
	return rc;
}

static void is_made(struct world *w, int status)
{
	if (status == HAPAX_ENOMEM) {
		CHECK(!present(w->making, "new"));
		cache_check(w->making, 0);
	} else {
		CHECK_EQ(status, HAPAX_OK);
		CHECK_PTR(present(w->making, "new"), w->out);
		cache_check(w->making, 1);
	}
	stats_check(w->making);
}

SWEEP(hapax_cache_get, make, .nomem = true, .errors_change = true, .call = get_made, .done = is_made)

static void will_fail(struct world *w)
{
	w->source.result = HAPAX_LOAD_FAIL;
	w->source.code = 42;
	w->source.detail = &w->callback;
	w->status = HAPAX_ELOADER;
}

static int get_failing(struct world *w)
{
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &w->error};

	hapax_load_error_drop(&w->error);
	return hapax_cache_get_with(w->cache, NEW, &o, &w->out);
}

static void has_failed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_ELOADER);
	CHECK(!w->out);
	CHECK_EQ(w->error.code, 42);
	CHECK_PTR(w->error.detail, &w->callback);
	CHECK(!present(w->cache, "new"));
	cache_check(w->cache, 2);
	stats_check(w->cache);
}

SWEEP(hapax_cache_get_with, failing, .nomem = true, .prepare = will_fail, .call = get_failing, .done = has_failed)
SWEEP(hapax_load_error_drop, failing, .nomem = true, .prepare = will_fail, .call = get_failing, .done = has_failed)

static bool refuse_old(void *object, void *arg) { return object == ((struct world *)arg)->loaded; }

static int get_refusing(struct world *w)
{
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .refuse = refuse_old, .refuse_arg = w};

	return hapax_cache_get_with(w->cache, KEY("l"), &o, &w->out);
}

/* "When that load fails the key stays absent": memory may end between taking the old one out and loading. */
static void has_refused(struct world *w, int status)
{
	struct item *now = present(w->cache, "l");

	if (status == HAPAX_ENOMEM) {
		CHECK(now == w->loaded || !now);
		cache_check(w->cache, now ? 2 : 1);
	} else {
		CHECK_EQ(status, HAPAX_OK);
		CHECK(w->out != w->loaded);
		CHECK_PTR(now, w->out);
		cache_check(w->cache, 2);
	}
	CHECK(item_is_alive(w->loaded));
	stats_check(w->cache);
}

SWEEP(hapax_cache_get_with, refusing, .nomem = true, .errors_change = true, .call = get_refusing, .done = has_refused)

static int get_if_present(struct world *w) { return hapax_cache_get_if_present(w->cache, KEY("l"), &w->out); }
static int get_quietly(struct world *w) { return hapax_cache_get_quietly(w->cache, KEY("l"), &w->out); }

SWEEP(hapax_cache_get_if_present, present, .call = get_if_present, .done = is_loaded)
SWEEP(hapax_cache_get_quietly, present, .call = get_quietly, .done = is_loaded)

static int get_if_absent(struct world *w) { return hapax_cache_get_if_present(w->cache, NEW, &w->out); }

static void missed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_MISS);
	CHECK(!w->out);
	cache_check(w->cache, 2);
}

SWEEP(hapax_cache_get_if_present, absent, .call = get_if_absent, .done = missed)

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static int put(struct world *w)
{
	w->out = NULL;
	return hapax_cache_put(w->cache, NEW, w->item[3]);
}

static void is_put(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(present(w->cache, "new"), w->item[3]);
	cache_check(w->cache, 3);
	stats_check(w->cache);
}

SWEEP(hapax_cache_put, new_key, .nomem = true, .call = put, .done = is_put)

static int put_over(struct world *w)
{
	w->out = NULL;
	return hapax_cache_put(w->cache, KEY("l"), w->item[3]);
}

static void is_put_over(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(present(w->cache, "l"), w->item[3]);
	cache_check(w->cache, 2);
	CHECK_EQ(stats_of(w->cache).replacements, 1);
	stats_check(w->cache);
}

SWEEP(hapax_cache_put, replacing, .nomem = true, .call = put_over, .done = is_put_over)

static int put_exclusive(struct world *w)
{
	w->out = NULL;
	return hapax_cache_put(w->exclusive, NEW, w->item[3]);
}

static void is_put_exclusive(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(present(w->exclusive, "new"), w->item[3]);
	cache_check(w->exclusive, 2);
	stats_check(w->exclusive);
}

SWEEP(hapax_cache_put, exclusive, .nomem = true, .call = put_exclusive, .done = is_put_exclusive)

static int get_or_put(struct world *w)
{
	return hapax_cache_get_or_put(w->cache, NEW, w->item[3], &w->out, &w->flag);
}

static void is_got_or_put(struct world *w, int status)
{
	CHECK_PTR(w->out, w->item[3]);
	CHECK(w->flag);
	is_put(w, status);
}

SWEEP(hapax_cache_get_or_put, absent, .nomem = true, .call = get_or_put, .done = is_got_or_put)

static int remove_it(struct world *w) { return hapax_cache_remove(w->cache, KEY("l")); }

static void removed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK(!present(w->cache, "l"));
	CHECK(item_is_alive(w->loaded));
	cache_check(w->cache, 1);
	CHECK_EQ(stats_of(w->cache).removals, 1);
	stats_check(w->cache);
}

SWEEP(hapax_cache_remove, present, .call = remove_it, .done = removed)

static int remove_exclusive(struct world *w) { return hapax_cache_remove(w->exclusive, KEY("x")); }

static void removed_exclusive(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_cache_get(w->exclusive, KEY("x"), &w->out), HAPAX_EBUSY);
	CHECK_EQ(hapax_cache_size(w->exclusive), 0);
	hapax_release(w->held);
	w->held = NULL;
	w->out = NULL;
}

SWEEP(hapax_cache_remove, exclusive, .call = remove_exclusive, .done = removed_exclusive)

static int remove_if(struct world *w)
{
	CHECK_EQ(hapax_cache_remove_if(w->cache, KEY("l"), w->item[0]), HAPAX_MISS);
	return hapax_cache_remove_if(w->cache, KEY("l"), w->loaded);
}

SWEEP(hapax_cache_remove_if, present, .call = remove_if, .done = removed)

static int pop(struct world *w) { return hapax_cache_pop(w->cache, KEY("l"), &w->out); }

static void popped(struct world *w, int status)
{
	CHECK_PTR(w->out, w->loaded);
	removed(w, status);
}

SWEEP(hapax_cache_pop, present, .call = pop, .done = popped)

static int contains(struct world *w)
{
	CHECK_EQ(hapax_cache_contains(w->cache, NEW), 0);
	return hapax_cache_contains(w->cache, KEY("l")) + (int)hapax_cache_size(w->cache) - 2;
}

static void is_one(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, 1);
}

SWEEP(hapax_cache_contains, both, .call = contains, .done = is_one)
SWEEP(hapax_cache_size, two, .call = contains, .done = is_one)

static int clear(struct world *w)
{
	hapax_cache_clear(w->cache);
	return 0;
}

static void cleared(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	cache_check(w->cache, 0);
	CHECK_EQ(stats_of(w->cache).removals, 2);
	stats_check(w->cache);
}

SWEEP(hapax_cache_clear, two, .call = clear, .done = cleared)

static int iterate(struct world *w)
{
	hapax_iter *iter = (void *)1;
	int rc = hapax_cache_iterate(w->cache, &iter);

	CHECK((rc == 0) == (iter != NULL));
	w->out = NULL;
	if (!rc) {
		hapax_iter_close(w->iter);
		w->iter = iter;
	}
	return rc;
}

static void iterates(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(hapax_iter_next(w->iter, NULL, NULL), HAPAX_OK);
	CHECK_EQ(hapax_iter_next(w->iter, NULL, NULL), HAPAX_OK);
	CHECK_EQ(hapax_iter_next(w->iter, NULL, NULL), HAPAX_EMPTY);
}

SWEEP(hapax_cache_iterate, two, .nomem = true, .call = iterate, .done = iterates)

static int stats(struct world *w)
{
	w->cache_stats.size = sizeof(w->cache_stats);
	return hapax_cache_stats_get(w->cache, &w->cache_stats);
}

static void stats_fit(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(w->cache_stats.loads, 1);
	CHECK_EQ(w->cache_stats.puts, 1);
	CHECK_EQ(w->cache_stats.size_now, 2);
}

SWEEP(hapax_cache_stats_get, once, .call = stats, .done = stats_fit)
