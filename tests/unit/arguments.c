/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every function does with nothing: NULL for each pointer, options that contradict each other, names of statuses. */
#include "unit/cached.h"

TEST(every_status_has_a_name_and_a_text_of_its_own)
{
#define ROW(name, value, text) {name, #name, text},
	static const struct {
		int status;
		const char *name, *text;
	} rows[] = {HAPAX_STATUS_LIST(ROW)};
#undef ROW

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		CHECK_STR(hapax_status_name(rows[i].status), rows[i].name);
		CHECK_STR(hapax_status_text(rows[i].status), rows[i].text);
	}
	CHECK_STR(hapax_status_name(12345), "HAPAX_UNKNOWN");
	CHECK_STR(hapax_status_text(-12345), "not a status of hapax");
}

TEST(a_table_without_a_table)
{
	hapax_key key = HAPAX_STR("k");
	hapax_env *env = test_env();
	struct item *item = item_new(env, 1);
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	hapax_table *table, *other = (void *)1;
	hapax_iter *iter = (void *)1;
	size_t copied = 7;
	void *out = item;
	bool inserted = true;

	CHECK_EQ(hapax_table_create(&table, &o), 0);
	CHECK_EQ(hapax_table_contains(NULL, key), HAPAX_ENULL);
	CHECK_EQ(hapax_table_size(NULL), 0);
	CHECK_EQ(hapax_table_put(NULL, key, item), HAPAX_ENULL);
	CHECK_EQ(hapax_table_get_or_put(NULL, key, item, &out, &inserted), HAPAX_ENULL);
	CHECK(!out && !inserted);
	CHECK_EQ(hapax_table_get_or_put(table, key, NULL, &out, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_table_get_or_put(table, key, item, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_table_remove(NULL, key), HAPAX_ENULL);
	CHECK_EQ(hapax_table_remove_if(NULL, key, item), HAPAX_ENULL);
	CHECK_EQ(hapax_table_remove_if(table, key, NULL), HAPAX_ENULL);
	out = item;
	CHECK_EQ(hapax_table_pop(NULL, key, &out), HAPAX_ENULL);
	CHECK(!out);
	CHECK_EQ(hapax_table_pop(table, key, NULL), HAPAX_ENULL);
	out = item;
	CHECK_EQ(hapax_table_pop_any(NULL, &out), HAPAX_ENULL);
	CHECK(!out);
	hapax_table_clear(NULL);
	CHECK_EQ(hapax_table_iterate(NULL, &iter), HAPAX_ENULL);
	CHECK(!iter);
	CHECK_EQ(hapax_table_copy(NULL, table, &copied), HAPAX_ENULL);
	CHECK_EQ(copied, 0);
	CHECK_EQ(hapax_table_snapshot(NULL, &other), HAPAX_ENULL);
	CHECK(!other);
	hapax_table_destroy(NULL);
	CHECK_EQ(hapax_table_size(table), 0);
	hapax_release(item);
	hapax_table_destroy(table);
	test_env_end(env);
}

static void let_go(const hapax_key *key, void *ctx)
{
	(void)key;
	(void)ctx;
}

TEST(a_table_with_options_that_contradict)
{
	hapax_env *env = test_env();
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	hapax_table *table = (void *)1, *borrowing;
	size_t copied = 3;

	o.keys.release = let_go; /* of keys that it copies itself */
	CHECK_EQ(hapax_table_create(&table, &o), HAPAX_EOPTION);
	CHECK(!table);
	/* the longest name, and longer */
	o = (hapax_table_options){HAPAX_TABLE_OPTIONS_INIT, .env = env, .name = "a name that is longer than is kept of it"};
	CHECK_EQ(hapax_table_create(&table, &o), 0);
	o = (hapax_table_options){HAPAX_TABLE_OPTIONS_INIT, .env = env, .keys = {.borrow = true}};
	CHECK_EQ(hapax_table_create(&borrowing, &o), 0);
	CHECK_EQ(hapax_table_copy(borrowing, table, &copied), HAPAX_EOPTION);
	CHECK_EQ(copied, 0);
	CHECK_EQ(hapax_table_copy(table, borrowing, &copied), 0);
	hapax_table_destroy(borrowing);
	hapax_table_destroy(table);
	test_env_end(env);
	/* all of it left to hapax */
	CHECK_EQ(hapax_table_create(&table, NULL), 0);
	CHECK_EQ(hapax_table_size(table), 0);
	hapax_table_destroy(table);
}

TEST(a_cache_without_a_cache)
{
	hapax_key key = HAPAX_STR("k");
	hapax_env *env = test_env();
	struct item *item = item_new(env, 1);
	struct source s = {.env = env};
	hapax_cache *cache = cache_with(env, &s, 0), *other = (void *)1;
	hapax_iter *iter = (void *)1;
	void *out = item;
	bool inserted = true;

	CHECK_EQ(hapax_cache_create(&other, NULL), HAPAX_ENULL);
	CHECK(!other);
	hapax_cache_close(NULL);
	hapax_cache_destroy(NULL);
	hapax_cache_clear(NULL);
	CHECK_EQ(hapax_cache_get_with(NULL, key, NULL, &out), HAPAX_ENULL);
	CHECK(!out);
	CHECK_EQ(hapax_cache_get_if_present(NULL, key, &out), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_get_quietly(cache, key, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_contains(NULL, key), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_size(NULL), 0);
	CHECK_EQ(hapax_cache_put(NULL, key, item), HAPAX_ENULL);
	out = item;
	CHECK_EQ(hapax_cache_get_or_put(NULL, key, item, &out, &inserted), HAPAX_ENULL);
	CHECK(!out && !inserted);
	CHECK_EQ(hapax_cache_get_or_put(cache, key, NULL, &out, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_remove(NULL, key), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_remove_if(NULL, key, item), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_remove_if(cache, key, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_pop(cache, key, NULL), HAPAX_ENULL);
	out = item;
	CHECK_EQ(hapax_cache_pop(NULL, key, &out), HAPAX_ENULL);
	CHECK(!out);
	CHECK_EQ(hapax_cache_iterate(NULL, &iter), HAPAX_ENULL);
	CHECK(!iter);
	CHECK_EQ(s.loads, 0);
	hapax_release(item);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(a_cache_with_options_that_contradict)
{
	hapax_env *env = test_env();
	struct source s = {.env = env};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .keys = {.release = let_go}};
	hapax_get_options in_place = {HAPAX_GET_OPTIONS_INIT, .load = source_load, .arg = &s};
	hapax_cache *cache = (void *)1;
	void *out = &s;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_EOPTION);
	CHECK(!cache);
	/* a cache of any type cannot load in place: of which size? */
	o = (hapax_cache_options){HAPAX_CACHE_OPTIONS_INIT, .env = env,
				  .name = "a name that is longer than is kept of it"};
	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &in_place, &out), HAPAX_ETYPE);
	CHECK(!out);
	CHECK_EQ(s.loads, 0);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(a_loader_gives_an_object_of_another_environment)
{
	hapax_env *env = test_env(), *abroad = test_env();
	struct source s = {.env = env};
	hapax_cache *cache = cache_making(env, &s, 0);
	struct item *foreign;
	void *out = &s;
	int destroyed = 0;

	foreign = item_new(abroad, 9);
	s.ready[0] = foreign;
	CHECK_EQ(hapax_retain(foreign), 0); /* the loader's reference is consumed */
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_EFOREIGN);
	CHECK(!out);
	CHECK_EQ(hapax_count(foreign), 1);
	foreign->destroyed = &destroyed;
	hapax_release(foreign);
	CHECK_EQ(destroyed, 1);
	cache_end(cache, 0);
	test_env_end(env);
	test_env_end(abroad);
}

TEST(a_closed_cache_answers)
{
	hapax_key key = HAPAX_STR("k");
	hapax_env *env = test_env();
	struct source s = {.env = env};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *item = got(cache, "k");
	void *out = &s;
	hapax_iter *iter;

	hapax_cache_close(cache);
	hapax_cache_close(cache);
	CHECK_EQ(hapax_cache_get(cache, key, &out), HAPAX_ECLOSED);
	CHECK(!out);
	CHECK_EQ(hapax_cache_put(cache, key, item), HAPAX_ECLOSED);
	CHECK_EQ(hapax_cache_get_quietly(cache, key, &out), HAPAX_ECLOSED);
	/* no more gets, but what is in is in until the end */
	CHECK_EQ(hapax_cache_contains(cache, key), 1);
	CHECK_EQ(hapax_cache_iterate(cache, &iter), 0);
	hapax_iter_close(iter);
	CHECK_EQ(hapax_cache_remove(cache, key), 0);
	hapax_release(item);
	CHECK_EQ(s.destroyed, 1);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(objects_and_handles_that_are_not_there)
{
	static const hapax_type nameless = {HAPAX_TYPE_INIT, .size = 8};
	hapax_env *env = test_env();
	char text[100] = "";
	hapax_weak *weak = NULL;
	hapax_key key = HAPAX_STR("k");
	void *object, *out = &env;

	hapax_release(NULL);
	CHECK_EQ(hapax_count(NULL), 0);
	CHECK_PTR(hapax_type_of(NULL), NULL);
	CHECK_EQ(hapax_weak_count(NULL), 0);
	CHECK_EQ(hapax_iter_next(NULL, &key, &out), HAPAX_ENULL);
	CHECK(!out && !key.data);
	CHECK_EQ(key.size, 0);
	hapax_iter_close(NULL);
	hapax_env_destroy(NULL);
	CHECK_EQ(hapax_new(env, &nameless, 0, &object), 0);
	CHECK_EQ(hapax_weak_new(object, NULL, &weak), 0);
	CHECK(hapax_weak_describe(weak, text, sizeof(text)) > 0);
	CHECK(strstr(text, " of object ")); /* a type without a name */
	CHECK_EQ(hapax_weak_count(object), 1);
	CHECK_EQ(hapax_weak_drop(weak), 0);
	hapax_release(object);
	test_env_end(env);
}
