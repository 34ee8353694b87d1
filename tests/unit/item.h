/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit/item.h - what the object and table tests share: an object type that tells what happens to it, a trace of events
 * as text, scaled round counts, shorthands for tables.
 */
#ifndef TEST_ITEM_H
#define TEST_ITEM_H

#include <stdarg.h>

#include "support/support.h"

#define MAYBE_UNUSED __attribute__((unused))

/* ---- a trace of events, as text: "c1 d2 " ---------------------------------------------------------------------- */

static char trace_text[4096];
static size_t trace_length;

MAYBE_UNUSED static void trace_reset(void)
{
	trace_length = 0;
	trace_text[0] = 0;
}

__attribute__((format(printf, 1, 2))) MAYBE_UNUSED static void trace(const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(trace_text + trace_length, sizeof(trace_text) - trace_length, format, args);
	va_end(args);
	CHECK(n >= 0 && trace_length + (size_t)n + 2 < sizeof(trace_text));
	trace_length += (size_t)n;
	trace_text[trace_length++] = ' ';
	trace_text[trace_length] = 0;
}

/* ---- an object that tells -------------------------------------------------------------------------------------- */

#define ITEM_ALIVE UINT32_C(0x600d600d)
#define ITEM_DESTROYED UINT32_C(0xdeaddead)

/* `live` says to racing readers whether the destructor has begun; nobody but the destructor changes it. */
struct item {
	uint32_t live;
	int id;
	int *destroyed;                                 /* counts destructions; may be NULL */
	void (*on_destroy)(struct item *item, void *arg); /* runs first in the destructor; may be NULL */
	void *arg;
	struct item *child;                             /* released by the destructor; may be NULL */
};

static int items_destroyed; /* by every item since the last items_reset(); changed atomically */

MAYBE_UNUSED static int items_destroyed_now(void) { return __atomic_load_n(&items_destroyed, __ATOMIC_RELAXED); }
MAYBE_UNUSED static void items_reset(void) { __atomic_store_n(&items_destroyed, 0, __ATOMIC_RELAXED); }

static void item_destroy(void *object, void *arg)
{
	struct item *item = object;

	(void)arg;
	CHECK_EQ(__atomic_load_n(&item->live, __ATOMIC_RELAXED), ITEM_ALIVE); /* a second run would see the other value */
	__atomic_store_n(&item->live, ITEM_DESTROYED, __ATOMIC_RELAXED);
	__atomic_fetch_add(&items_destroyed, 1, __ATOMIC_RELAXED);
	if (item->destroyed)
		__atomic_fetch_add(item->destroyed, 1, __ATOMIC_RELAXED);
	if (item->on_destroy)
		item->on_destroy(item, item->arg);
	hapax_release(item->child);
}

static const hapax_type item_type = {HAPAX_TYPE_INIT, .name = "item", .size = sizeof(struct item),
				     .align = _Alignof(struct item), .destroy = item_destroy};
MAYBE_UNUSED static const hapax_type deferred_type = {HAPAX_TYPE_INIT, .name = "deferred item",
						      .size = sizeof(struct item), .flags = HAPAX_TYPE_DEFERRED,
						      .destroy = item_destroy};
MAYBE_UNUSED static const hapax_type strong_type = {HAPAX_TYPE_INIT, .name = "strong item", .size = sizeof(struct item),
						    .flags = HAPAX_TYPE_NOT_WEAK, .destroy = item_destroy};

MAYBE_UNUSED static struct item *item_of(hapax_env *env, const hapax_type *type, int id)
{
	void *object = NULL;
	struct item *item;
	int status = hapax_new(env, type, 0, &object);

	/* Tests that make garbage faster than an environment without its thread can take reclaim when told to. */
	if (status == HAPAX_EGARBAGE) {
		hapax_reclaim(env);
		status = hapax_new(env, type, 0, &object);
	}
	CHECK_EQ(status, HAPAX_OK);
	item = object;
	item->live = ITEM_ALIVE;
	item->id = id;
	return item;
}

MAYBE_UNUSED static struct item *item_new(hapax_env *env, int id) { return item_of(env, &item_type, id); }

MAYBE_UNUSED static bool item_is_alive(const struct item *item)
{
	return __atomic_load_n(&item->live, __ATOMIC_RELAXED) == ITEM_ALIVE;
}

/* on_destroy: "d<id>" */
MAYBE_UNUSED static void trace_destroy(struct item *item, void *arg)
{
	(void)arg;
	trace("d%d", item->id);
}

/* An item whose destructor says "d<id>". */
MAYBE_UNUSED static struct item *item_traced(hapax_env *env, int id)
{
	struct item *item = item_new(env, id);

	item->on_destroy = trace_destroy;
	return item;
}

/* ---- handles and callbacks ------------------------------------------------------------------------------------- */

/* What one registration saw. Zeroed it is ready: probe_new() gives it a handle. */
struct probe {
	int id;
	int calls;
	int frees;
	hapax_weak *weak;                      /* its handle; NULL once dropped */
	void (*then)(struct probe *p);         /* runs in the callback; may be NULL */
	void *arg;
};

static void probe_call(hapax_weak *weak, void *ctx)
{
	struct probe *p = ctx;

	CHECK_PTR(weak, p->weak);
	CHECK(!hapax_weak_get(weak));
	CHECK(!hapax_weak_alive(weak));
	p->calls++;
	trace("c%d", p->id);
	if (p->then)
		p->then(p);
}

static void probe_free(void *ctx)
{
	struct probe *p = ctx;

	p->frees++;
	trace("f%d", p->id);
}

/* Registers `p` on `object`; `freed` says whether with a ctx_free. */
MAYBE_UNUSED static void probe_on(struct probe *p, int id, void *object, bool freed)
{
	hapax_callback cb = {probe_call, p, freed ? probe_free : NULL};

	memset(p, 0, sizeof(*p));
	p->id = id;
	CHECK_EQ(hapax_weak_new(object, &cb, &p->weak), HAPAX_OK);
	CHECK(p->weak);
}

MAYBE_UNUSED static int probe_drop(struct probe *p)
{
	hapax_weak *weak = p->weak;

	p->weak = NULL;
	return hapax_weak_drop(weak);
}

MAYBE_UNUSED static hapax_weak *weak_of(void *object)
{
	hapax_weak *weak = NULL;

	CHECK_EQ(hapax_weak_new(object, NULL, &weak), HAPAX_OK);
	CHECK(weak);
	return weak;
}

/* ---- tables ---------------------------------------------------------------------------------------------------- */

MAYBE_UNUSED static hapax_table *table_new(hapax_env *env)
{
	hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .name = "tested"};
	hapax_table *table = NULL;

	CHECK_EQ(hapax_table_create(&table, &options), HAPAX_OK);
	CHECK(table);
	return table;
}

/* At rest: the structure is sound and holds `size` entries. */
MAYBE_UNUSED static void table_check(hapax_table *table, size_t size)
{
	char message[256] = "";

	if (hapax_testing_check_table(table, message, sizeof(message)))
		TEST_FAIL("table check: %s", message);
	CHECK_EQ(hapax_table_size(table), size);
}

MAYBE_UNUSED static void table_end(hapax_table *table, size_t size)
{
	table_check(table, size);
	hapax_table_destroy(table);
}

MAYBE_UNUSED static void cache_check(hapax_cache *cache, size_t size)
{
	char message[256] = "";

	if (hapax_testing_check_cache(cache, message, sizeof(message)))
		TEST_FAIL("cache check: %s", message);
	CHECK_EQ(hapax_cache_size(cache), size);
}

/* The object under a key, not kept: NULL when absent. The caller knows that it is alive anyway. */
MAYBE_UNUSED static void *table_peek(hapax_table *table, hapax_key key)
{
	void *object = (void *)1;
	int status = hapax_table_get(table, key, &object);
	int present = hapax_table_contains(table, key);

	if (status == HAPAX_MISS) {
		CHECK(!object);
		CHECK_EQ(present, 0);
		return NULL;
	}
	CHECK_EQ(status, HAPAX_OK);
	CHECK(object);
	CHECK_EQ(present, 1);
	hapax_release(object);
	return object;
}

MAYBE_UNUSED static void table_put(hapax_table *table, hapax_key key, void *object)
{
	int status = hapax_table_put(table, key, object);

	CHECK_EQ(status, HAPAX_OK);
}

/* ---- sizes ----------------------------------------------------------------------------------------------------- */

/* HAPAX_TEST_SCALE multiplies the round counts of storms; builds under a sanitizer divide them by 10. */
MAYBE_UNUSED static uint64_t scaled(uint64_t rounds)
{
	const char *text = getenv("HAPAX_TEST_SCALE");
	double scale = text ? strtod(text, NULL) : 1;

	if (scale <= 0)
		scale = 1;
	if (test_slow_build())
		scale /= 10;
	rounds = (uint64_t)((double)rounds * scale);
	return rounds ? rounds : 1;
}

#endif
