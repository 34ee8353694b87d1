/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Boxes: foreign resources as objects.
 */
#include "unit/cached.h"

struct resource {
	int closes;
	hapax_weak *weak; /* on its box: dead when it is closed */
};

static void close_resource(void *pointer)
{
	struct resource *r = pointer;

	CHECK(!hapax_weak_alive(r->weak));
	r->closes++;
}

TEST(box_closes_its_resource_once_when_it_dies)
{
	hapax_env *env = test_env();
	struct resource r = {0};
	struct probe p;
	void *object = NULL;
	hapax_box *box;

	CHECK_EQ(hapax_box_new(env, &r, close_resource, &object), HAPAX_OK);
	box = object;
	CHECK_PTR(box->pointer, &r);
	CHECK(box->close == close_resource);
	CHECK_PTR(hapax_type_of(object), hapax_box_type());
	CHECK_EQ(hapax_count(object), 1);
	r.weak = weak_of(object);
	probe_on(&p, 1, object, true);
	CHECK_EQ(hapax_retain(object), HAPAX_OK);
	hapax_release(object);
	CHECK_EQ(r.closes, 0);
	hapax_release(object);
	CHECK_EQ(r.closes, 1);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(r.weak), HAPAX_OK);
	test_env_end(env);
	CHECK_EQ(r.closes, 1);
}

static int nothing_closed;
static void close_nothing(void *pointer)
{
	CHECK(!pointer);
	nothing_closed++;
}

TEST(box_arguments)
{
	hapax_env *env = test_env();
	struct resource r = {0};
	void *object;

	CHECK_EQ(hapax_box_new(env, &r, close_resource, NULL), HAPAX_ENULL);
	CHECK_EQ(r.closes, 0);
	CHECK_EQ(hapax_box_new(env, &r, NULL, &object), HAPAX_OK); /* nothing to close */
	hapax_release(object);
	CHECK_EQ(r.closes, 0);
	CHECK_EQ(hapax_box_new(env, NULL, close_nothing, &object), HAPAX_OK); /* NULL is a resource like any */
	hapax_release(object);
	CHECK_EQ(nothing_closed, 1);
	CHECK_EQ(hapax_box_new(NULL, &r, NULL, &object), HAPAX_OK); /* the default environment */
	hapax_release(object);
	test_env_end(env);
}

/* A cache of boxes: its loader opens, death closes. */
static int opened, closed;
static void close_int(void *pointer)
{
	closed++;
	free(pointer);
}
static int open_box(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	hapax_box *box = object;

	(void)arg;
	(void)error;
	if (key->size == 4)
		return HAPAX_LOAD_FAIL; /* nothing opened: nothing is closed */
	box->pointer = malloc(1);
	box->close = close_int;
	opened++;
	return HAPAX_LOAD_OK;
}

TEST(box_type_is_for_caches)
{
	hapax_env *env = test_env();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = hapax_box_type(), .load = open_box};
	hapax_cache *cache = NULL;
	void *a, *b, *own;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("a"), &a), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("a"), &b), HAPAX_OK);
	CHECK_PTR(a, b);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("fail"), &own), HAPAX_ELOADER);
	CHECK_EQ(hapax_box_new(env, malloc(1), close_int, &own), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("own"), own), HAPAX_OK);
	CHECK_EQ(opened, 1);
	CHECK_EQ(closed, 0);
	hapax_release(a);
	hapax_release(b);
	CHECK_EQ(closed, 1);
	hapax_release(own);
	CHECK_EQ(closed, 2);
	cache_check(cache, 0);
	hapax_cache_destroy(cache);
	test_env_end(env);
}
