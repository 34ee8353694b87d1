/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fault/sweep.h - every public call with every allocation failing.
 *
 * A row is one call in a small world: an environment, two tables, three caches, four objects, handles, an iterator.
 *
 *      for each state of the calling thread: warm, cold (its first call), and both with the object pool exhausted
 *        for each way of failing: allocation n once; all from n on; all from n on for the rest of the world's life
 *          for n = 1, 2, 3, ... until a run passed in which nothing failed
 *
 * Under each: the call succeeds, or fails with HAPAX_ENOMEM where its row says that it may; an error left the world as
 * it was and its out-pointer NULL; errno is what it was; the call succeeds once there is memory; at the end nothing is
 * left of the environment. The environment runs no reclaimer, so that runs repeat exactly. tests/lint/fault_rows.py
 * checks that each public function has a row.
 */
#ifndef TEST_FAULT_SWEEP_H
#define TEST_FAULT_SWEEP_H

#include <errno.h>

#include "reclaim/reclaim.h"
#include "unit/cached.h"

enum { WORLD_ITEMS = 4, WORLD_KEYS = 8 };

/*
 * table: "a" item 0, "b" item 1; cache: "a" item 0, "l" loaded and held; exclusive: "x" loaded and held; deferred: an
 * item of a deferred type held once; plain: a handle on item 2 without a callback, probe: one with.
 */
struct world {
	hapax_env *env;
	struct test_allocator *memory;
	hapax_table *table, *other;
	hapax_cache *cache, *making, *exclusive;
	struct source source, made, single;
	struct item *item[WORLD_ITEMS];
	struct item *deferred, *spare; /* may be given up by a row: NULL then */
	struct item *loaded, *held;
	hapax_weak *plain;
	struct probe probe;
	hapax_iter *iter;
	hapax_callback callback; /* for rows: counts in callback_calls, callback_frees */
	int callback_calls, callback_frees, destroyed;
	uint32_t filled; /* numbers put into `table` by a row */
	/* for rows */
	void *out;
	int status, result;
	bool flag;
	size_t size;
	hapax_key key;
	hapax_load_error error;
	hapax_env_stats env_stats;
	hapax_cache_stats cache_stats;
};

struct sweep_row {
	const char *name;
	bool nomem;                              /* may fail with HAPAX_ENOMEM */
	bool errors_change;                      /* an error may leave traces that `done` allows for */
	void (*prepare)(struct world *w);        /* with memory; may be NULL */
	int (*call)(struct world *w);
	void (*done)(struct world *w, int status); /* after every call; checks the effect of a success */
	void (*end)(struct world *w);            /* what the row made of its own ends; whatever happened; may be NULL */
};

/* ---- the world ------------------------------------------------------------------------------------------------- */

#define KEY(text) HAPAX_STR(text)

static void world_fn(hapax_weak *weak, void *ctx)
{
	CHECK(!hapax_weak_alive(weak));
	((struct world *)ctx)->callback_calls++;
}

static void world_free(void *ctx) { ((struct world *)ctx)->callback_frees++; }

static struct item *world_item(struct world *w, const hapax_type *type, int id)
{
	struct item *it = item_of(w->env, type, id);

	it->destroyed = &w->destroyed;
	return it;
}

static void world_begin(struct world *w)
{
	memset(w, 0, sizeof(*w));
	trace_reset();
	w->env = quiet_env(HAPAX_ENV_NO_THREAD);
	w->memory = test_env_allocator(w->env);
	w->table = table_new(w->env);
	w->other = table_new(w->env);
	w->cache = cache_with(w->env, &w->source, 0);
	w->making = cache_making(w->env, &w->made, 0);
	w->exclusive = cache_with(w->env, &w->single, HAPAX_CACHE_EXCLUSIVE);
	for (int i = 0; i < WORLD_ITEMS; i++)
		w->item[i] = world_item(w, &item_type, i + 100);
	w->deferred = world_item(w, &deferred_type, 200);
	w->spare = world_item(w, &item_type, 201);
	table_put(w->table, KEY("a"), w->item[0]);
	table_put(w->table, KEY("b"), w->item[1]);
	table_put(w->other, KEY("a"), w->item[1]);
	CHECK_EQ(hapax_cache_put(w->cache, KEY("a"), w->item[0]), HAPAX_OK);
	w->loaded = got(w->cache, "l");
	w->held = got(w->exclusive, "x");
	w->plain = weak_of(w->item[2]);
	probe_on(&w->probe, 1, w->item[2], true);
	CHECK_EQ(hapax_table_iterate(w->table, &w->iter), HAPAX_OK);
	w->callback = (hapax_callback){world_fn, w, world_free};
	w->out = (void *)1;
	w->key = KEY("a");
}

static void world_check(struct world *w)
{
	if (w->table)
		table_check(w->table, hapax_table_size(w->table));
	if (w->other)
		table_check(w->other, hapax_table_size(w->other));
	if (w->cache)
		cache_check(w->cache, hapax_cache_size(w->cache));
	if (w->making)
		cache_check(w->making, hapax_cache_size(w->making));
	if (w->exclusive)
		cache_check(w->exclusive, hapax_cache_size(w->exclusive));
}

/* Whatever memory there is: all of this cannot fail. */
static void world_end(struct world *w)
{
	world_check(w);
	hapax_iter_close(w->iter);
	hapax_load_error_drop(&w->error);
	hapax_table_destroy(w->table);
	hapax_cache_destroy(w->cache);
	hapax_cache_close(w->making);
	hapax_release(w->loaded);
	hapax_release(w->held);
	for (int i = 0; i < WORLD_ITEMS; i++)
		hapax_release(w->item[i]);
	hapax_release(w->spare);
	hapax_release(w->deferred);
	hapax_run_deferred(w->env);
	CHECK_EQ(hapax_weak_drop(w->plain), 0);
	CHECK_EQ(probe_drop(&w->probe), 0);
	hapax_table_destroy(w->other);
	hapax_cache_destroy(w->making);
	hapax_cache_destroy(w->exclusive);
	test_env_end(w->env);
	CHECK_EQ(w->probe.frees, 1);
	CHECK(w->probe.calls <= 1 && w->callback_calls <= 1);
}

/* Gives up what a row got. */
MAYBE_UNUSED static void world_drop_out(struct world *w)
{
	hapax_release(w->out);
	w->out = NULL;
}

/* What can be seen of it from outside. Uses no memory that it keeps. */
struct view {
	size_t sizes[5];
	uint64_t live, deferred;
	uint64_t counts[WORLD_ITEMS + 4], weaks[WORLD_ITEMS + 4];
	const void *in_table[WORLD_KEYS], *in_other[WORLD_KEYS], *in_cache[WORLD_KEYS], *in_making[WORLD_KEYS];
	const void *in_exclusive[WORLD_KEYS];
	uint64_t stats[3][5];
	int destroyed, callback_calls, callback_frees, probe_calls, probe_frees;
};

static const void *peek(int rc, void *object)
{
	CHECK((rc == 0) == (object != NULL));
	hapax_release(object);
	return object;
}

static void view_cache(hapax_cache *cache, uint64_t stats[5], const void *in[WORLD_KEYS])
{
	static const char *const names[WORLD_KEYS] = {"a", "b", "c", "l", "x", "new", "", "refused"};
	hapax_cache_stats s = stats_of(cache);

	stats[0] = s.puts;
	stats[1] = s.removals;
	stats[2] = s.replacements;
	stats[3] = s.collections;
	stats[4] = s.size_now;
	for (int i = 0; i < WORLD_KEYS; i++) {
		void *out = NULL;
		int rc = hapax_cache_get_quietly(cache, KEY(names[i]), &out);

		if (rc == HAPAX_ECLOSED)
			in[i] = (const void *)1;
		else
			in[i] = peek(rc, out);
	}
}

static void view_table(hapax_table *table, const void *in[WORLD_KEYS])
{
	static const char *const names[WORLD_KEYS] = {"a", "b", "c", "l", "x", "new", "", "refused"};

	for (int i = 0; i < WORLD_KEYS; i++) {
		void *out = NULL;
		int rc = hapax_table_get(table, KEY(names[i]), &out);

		in[i] = peek(rc, out);
	}
}

static struct view world_view(struct world *w)
{
	struct view v;

	memset(&v, 0, sizeof(v));
	hapax_testing_drain(w->env);
	v.live = hapax_testing_live_objects(w->env);
	if (w->table) {
		v.sizes[0] = hapax_table_size(w->table);
		view_table(w->table, v.in_table);
	}
	if (w->other) {
		v.sizes[1] = hapax_table_size(w->other);
		view_table(w->other, v.in_other);
	}
	if (w->cache) {
		v.sizes[2] = hapax_cache_size(w->cache);
		view_cache(w->cache, v.stats[0], v.in_cache);
	}
	if (w->making) {
		v.sizes[3] = hapax_cache_size(w->making);
		view_cache(w->making, v.stats[1], v.in_making);
	}
	if (w->exclusive) {
		v.sizes[4] = hapax_cache_size(w->exclusive);
		view_cache(w->exclusive, v.stats[2], v.in_exclusive);
	}
	for (int i = 0; i < WORLD_ITEMS + 4; i++) {
		const struct item *it = i < WORLD_ITEMS ? w->item[i] : i == WORLD_ITEMS ? w->deferred :
					i == WORLD_ITEMS + 1 ? w->spare : i == WORLD_ITEMS + 2 ? w->loaded : w->held;

		v.counts[i] = it ? hapax_count(it) : 0;
		v.weaks[i] = it ? hapax_weak_count(it) : 0;
	}
	v.destroyed = w->destroyed;
	v.callback_calls = w->callback_calls;
	v.callback_frees = w->callback_frees;
	v.probe_calls = w->probe.calls;
	v.probe_frees = w->probe.frees;
	return v;
}

/* ---- one run ------------------------------------------------------------------------------------------------------ */

enum sweep_thread { SWEEP_WARM, SWEEP_COLD, SWEEP_WARM_EMPTY, SWEEP_COLD_EMPTY, SWEEP_THREADS };
enum sweep_way { SWEEP_ONCE, SWEEP_ON, SWEEP_FOR_EVER, SWEEP_WAYS };

struct sweep_run {
	const struct sweep_row *row;
	struct world *world;
	uint64_t n, failures;
	enum sweep_way way;
	int status;
};

/* Takes every block the object pool still has, in every size; the allocator refuses new ones. */
struct sweep_spare {
	struct sweep_spare *next;
	size_t size;
};

static struct sweep_spare *sweep_exhaust(hapax_env *env)
{
	struct sweep_spare *all = NULL, *one;

	for (size_t size = 16; size <= HPX_POOL_MAX; size += 16) {
		while ((one = hpx_pool_alloc(env, size))) {
			one->next = all;
			one->size = size;
			all = one;
		}
	}
	return all;
}

static void sweep_call(struct sweep_run *r)
{
	struct test_allocator *a = r->world->memory;
	uint64_t failures = a->failures;

	a->fail_at = r->way == SWEEP_ONCE ? a->calls + r->n : 0;
	a->fail_from = r->way == SWEEP_ONCE ? 0 : a->calls + r->n;
	errno = 4711;
	r->status = r->row->call(r->world);
	if (errno != 4711)
		TEST_FAIL("%s, allocation %d: errno has changed", r->row->name, (int)r->n);
	r->failures = a->failures - failures;
	if (r->way != SWEEP_FOR_EVER)
		a->fail_at = a->fail_from = 0;
}

static void *sweep_thread(void *run)
{
	sweep_call(run);
	return NULL;
}

/* Returns whether anything failed in it. */
static bool sweep_one(const struct sweep_row *row, enum sweep_thread thread, enum sweep_way way, uint64_t n)
{
	struct world w;
	struct sweep_run run = {.row = row, .world = &w, .n = n, .way = way};
	struct view before, after;
	struct sweep_spare *spares = NULL, *next;

	world_begin(&w);
	if (row->prepare)
		row->prepare(&w);
	before = world_view(&w);
	if (thread == SWEEP_WARM_EMPTY || thread == SWEEP_COLD_EMPTY) {
		w.memory->fail_from = w.memory->calls + 1;
		spares = sweep_exhaust(w.env);
		w.memory->fail_from = 0;
	}
	if (thread == SWEEP_COLD || thread == SWEEP_COLD_EMPTY)
		test_join(test_thread(sweep_thread, &run));
	else
		sweep_call(&run);
	if (run.status < 0 && run.status != w.status) { /* an error, and not the one that the row expects */
		if (!row->nomem || run.status != HAPAX_ENOMEM)
			TEST_FAIL("%s, allocation %d: %s", row->name, (int)n, hapax_status_name(run.status));
		if (!run.failures)
			TEST_FAIL("%s: %s, and nothing had failed", row->name, hapax_status_name(run.status));
		CHECK(!w.out || w.out == (void *)1);
		if (!row->errors_change) {
			after = world_view(&w);
			if (memcmp(&before, &after, sizeof(before)))
				TEST_FAIL("%s, allocation %d: the error left traces", row->name, (int)n);
			world_check(&w);
		} else {
			row->done(&w, run.status);
		}
		if (way == SWEEP_ONCE) {
			run.n = UINT64_MAX / 2;
			w.out = (void *)1;
			run.failures = 0;
			sweep_call(&run);
			run.failures = 1; /* for the answer below: there are more to try */
		} else if (way == SWEEP_ON) {
			w.out = (void *)1;
			run.status = row->call(&w);
		}
		if (way != SWEEP_FOR_EVER && run.status != w.status && run.status < 0)
			TEST_FAIL("%s after a failure at %d: %s", row->name, (int)n, hapax_status_name(run.status));
	}
	if (run.status >= 0 || run.status == w.status)
		row->done(&w, run.status);
	for (; spares; spares = next) {
		next = spares->next;
		hpx_pool_free(w.env, spares, spares->size);
	}
	if (w.out == (void *)1 || (run.status < 0 && run.status != w.status))
		w.out = NULL;
	world_drop_out(&w);
	if (row->end)
		row->end(&w);
	world_end(&w);
	return run.failures != 0;
}

static void sweep(const struct sweep_row *row)
{
	enum { MOST = 200 };
	unsigned runs = 0, failed = 0;
	uint64_t n;

	for (int thread = 0; thread < SWEEP_THREADS; thread++) {
		for (int way = 0; way < SWEEP_WAYS; way++) {
			for (n = 1; n <= MOST && sweep_one(row, thread, way, n); n++)
				failed++;
			if (n > MOST)
				TEST_FAIL("%s still meets a failure at allocation %d", row->name, MOST);
			runs += (unsigned)n;
		}
	}
	printf("%u runs, an allocation failed in %u\n", runs, failed);
	if (row->nomem && !failed)
		TEST_FAIL("%s is said to allocate, and never did", row->name);
}

#define SWEEP(function_, variant_, ...)                                                                              \
	TEST(function_##__##variant_)                                                                                \
	{                                                                                                            \
		static const struct sweep_row row_ = {.name = #function_ " " #variant_, __VA_ARGS__};                 \
                                                                                                                     \
		sweep(&row_);                                                                                        \
	}

#endif
