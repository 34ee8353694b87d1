/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What HAPAX_TYPE() defines: a type of the right size and alignment, and functions that do what their namesakes do,
 * with pointers of that type.
 */
#include <hapax/object.h>

/* the header alone is enough for it */
struct early { char c; };
HAPAX_TYPE(early, struct early, .destroy = NULL);

#include "unit/item.h"

static int destroyed;
static void vector_destroy(void *object, void *arg)
{
	(void)object;
	++*(int *)arg;
}

struct vector { _Alignas(64) double x[5]; };
HAPAX_TYPE(vector, struct vector, .destroy = vector_destroy, .arg = &destroyed, .flags = HAPAX_TYPE_DEFERRED);

/* No `void *` where the type is meant. */
#define IS(function, ...)                                                                                            \
	_Static_assert(__builtin_types_compatible_p(__typeof__(function), __VA_ARGS__), #function)
IS(vector_new, int(hapax_env *, struct vector **));
IS(vector_retain, int(struct vector *));
IS(vector_release, void(struct vector *));
IS(vector_weak_get, struct vector *(hapax_weak *));
IS(vector_get, int(hapax_cache *, hapax_key, struct vector **));
IS(vector_put, int(hapax_cache *, hapax_key, struct vector *));
IS(vector_table_get, int(hapax_table *, hapax_key, struct vector **));
IS(vector_table_put, int(hapax_table *, hapax_key, struct vector *));
IS(vector_map_get, int(hapax_weak_map *, void *, struct vector **));
IS(vector_map_put, int(hapax_weak_map *, void *, struct vector *));
IS(vector_call, int(hapax_memo *, void *, const hapax_arg *, size_t, struct vector **));

TEST(typed_description)
{
	CHECK_STR(early_type.name, "early");
	CHECK_EQ(early_type.size, 1);
	CHECK_EQ(early_type.flags, 0);
	CHECK_EQ(vector_type.struct_size, sizeof(hapax_type));
	CHECK_STR(vector_type.name, "vector");
	CHECK_EQ(vector_type.size, sizeof(struct vector));
	CHECK_EQ(vector_type.align, 64);
	CHECK_EQ(vector_type.flags, HAPAX_TYPE_DEFERRED);
	CHECK(vector_type.destroy == vector_destroy);
}

TEST(typed_new_retain_release)
{
	hapax_env *env = test_env();
	struct vector *v = NULL;

	CHECK_EQ(vector_new(env, NULL), HAPAX_ENULL);
	CHECK_EQ(vector_new(env, &v), HAPAX_OK);
	CHECK_EQ((uintptr_t)v % 64, 0);
	CHECK_PTR(hapax_type_of(v), &vector_type);
	CHECK_EQ(vector_retain(v), HAPAX_OK);
	CHECK_EQ(hapax_count(v), 2);
	CHECK_EQ(vector_retain(NULL), HAPAX_ENULL);
	vector_release(v);
	vector_release(NULL);
	CHECK_EQ(hapax_count(v), 1);
	vector_release(v);
	CHECK_EQ(destroyed, 0); /* deferred */
	CHECK_EQ(hapax_run_deferred(env), 1);
	CHECK_EQ(destroyed, 1);

	/* an error leaves NULL */
	v = (struct vector *)env;
	test_env_allocator(env)->fail_from = test_env_allocator(env)->calls + 1;
	for (int i = 0; i < 100000 && vector_new(env, &v) == HAPAX_OK; i++)
		vector_release(v); /* until what was kept ready has been used up */
	CHECK(!v);
	test_env_allocator(env)->fail_from = 0;
	while (hapax_run_deferred(env))
		;
	test_env_end(env);
}

TEST(typed_weak_get)
{
	hapax_env *env = test_env();
	struct early *e, *same;
	hapax_weak *weak;

	CHECK_EQ(early_new(env, &e), HAPAX_OK);
	CHECK_EQ(hapax_weak_new(e, NULL, &weak), HAPAX_OK);
	same = early_weak_get(weak);
	CHECK_PTR(same, e);
	CHECK_EQ(hapax_count(e), 2);
	early_release(same);
	early_release(e);
	CHECK(!early_weak_get(weak));
	CHECK(!early_weak_get(NULL));
	CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
	test_env_end(env);
}

TEST(typed_tables)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct early *e, *out = (struct early *)env;

	CHECK_EQ(early_new(env, &e), HAPAX_OK);
	CHECK_EQ(early_table_get(table, HAPAX_STR("e"), &out), HAPAX_MISS);
	CHECK(!out);
	CHECK_EQ(early_table_put(table, HAPAX_STR("e"), e), HAPAX_OK);
	CHECK_EQ(early_table_put(table, HAPAX_STR("n"), NULL), HAPAX_ENULL);
	CHECK_EQ(early_table_get(table, HAPAX_STR("e"), NULL), HAPAX_ENULL);
	CHECK_EQ(early_table_get(table, HAPAX_STR("e"), &out), HAPAX_OK);
	CHECK_PTR(out, e);
	CHECK_EQ(hapax_count(e), 2);
	early_release(out);
	early_release(e);
	table_end(table, 0);
	test_env_end(env);
}

TEST(typed_caches)
{
	hapax_env *env = test_env();
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &early_type};
	struct early *e, *out = (struct early *)env;
	hapax_cache *cache;
	struct vector *v;

	CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
	CHECK_EQ(early_new(env, &e), HAPAX_OK);
	CHECK_EQ(vector_new(env, &v), HAPAX_OK);
	CHECK_EQ(early_get(cache, HAPAX_STR("e"), &out), HAPAX_ENOLOADER);
	CHECK(!out);
	CHECK_EQ(early_put(cache, HAPAX_STR("e"), e), HAPAX_OK);
	CHECK_EQ(vector_put(cache, HAPAX_STR("v"), v), HAPAX_ETYPE);
	CHECK_EQ(early_get(cache, HAPAX_STR("e"), NULL), HAPAX_ENULL);
	CHECK_EQ(early_get(cache, HAPAX_STR("e"), &out), HAPAX_OK);
	CHECK_PTR(out, e);
	CHECK_EQ(hapax_count(e), 2);
	early_release(out);
	early_release(e);
	vector_release(v);
	CHECK_EQ(hapax_run_deferred(env), 1);
	cache_check(cache, 0);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(typed_weak_maps)
{
	hapax_env *env = test_env();
	hapax_weak_map_options options = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env};
	struct early *data, *out = (struct early *)env;
	struct item *key = item_new(env, 1);
	hapax_weak_map *map;

	CHECK_EQ(hapax_weak_map_create(&map, &options), HAPAX_OK);
	CHECK_EQ(early_new(env, &data), HAPAX_OK);
	CHECK_EQ(early_map_get(map, key, &out), HAPAX_MISS);
	CHECK(!out);
	CHECK_EQ(early_map_put(map, key, NULL), HAPAX_ENULL);
	CHECK_EQ(early_map_put(map, key, data), HAPAX_OK);
	CHECK_EQ(early_map_get(map, key, NULL), HAPAX_ENULL);
	CHECK_EQ(early_map_get(map, key, &out), HAPAX_OK);
	CHECK_PTR(out, data);
	CHECK_EQ(hapax_count(data), 3);
	early_release(out);
	early_release(data);
	hapax_weak_map_destroy(map);
	hapax_release(key);
	test_env_end(env);
}

static int first_letter(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	CHECK_EQ(n, 2);
	CHECK_PTR(owner, ctx);
	error->code = 3;
	((struct early *)result)->c = *(const char *)args[1].data;
	return args[0].value.i ? HAPAX_LOAD_OK : HAPAX_LOAD_FAIL;
}

TEST(typed_memos)
{
	hapax_env *env = test_env();
	struct item *owner = item_new(env, 1);
	hapax_memo_options options = {HAPAX_MEMO_OPTIONS_INIT, .env = env, .flags = HAPAX_MEMO_OWNED, .type = &early_type,
				      .compute = first_letter, .ctx = owner};
	struct early *e, *again, *none = (struct early *)env;
	hapax_memo *memo;

	CHECK_EQ(hapax_memo_create(&memo, &options), HAPAX_OK);
	CHECK_EQ(early_call(memo, owner, HAPAX_ARGS(hapax_arg_int(0), hapax_arg_string("x")), &none), HAPAX_ELOADER);
	CHECK(!none);
	CHECK_EQ(early_call(memo, owner, HAPAX_ARGS(hapax_arg_int(1), hapax_arg_string("x")), NULL), HAPAX_ENULL);
	CHECK_EQ(early_call(memo, owner, HAPAX_ARGS(hapax_arg_int(1), hapax_arg_string("x")), &e), HAPAX_OK);
	CHECK_EQ(e->c, 'x');
	CHECK_EQ(early_call(memo, owner, HAPAX_ARGS(hapax_arg_int(1), hapax_arg_string("x")), &again), HAPAX_OK);
	CHECK_PTR(again, e);
	early_release(again);
	early_release(e);
	hapax_release(owner);
	hapax_memo_destroy(memo);
	test_env_end(env);
}
