/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Something comes between: at a stop point, in a callback, by the end of the thread. Each on one thread, in one order. */
#include "unit/cached.h"

/* ---- one removal inside another ---------------------------------------------------------------------------------- */

struct between {
	hapax_table *table;
	hapax_cache *cache;
	const char *at;
	int times;
	struct item *item, *newer;
	hapax_key key;
};

static void remove_it(const char *name, void *ctx)
{
	struct between *b = ctx;

	if (strcmp(name, b->at) || b->times++)
		return;
	CHECK_EQ(hapax_table_remove(b->table, HAPAX_STR("k")), 0);
}

static struct between begin(hapax_env *env)
{
	struct between b = {.table = table_new(env), .at = "remove.chosen", .item = item_new(env, 1)};

	table_put(b.table, HAPAX_STR("k"), b.item);
	return b;
}

static void end(struct between *b, hapax_env *env)
{
	hapax_testing_set_stop(NULL, NULL);
	CHECK_EQ(b->times, 2); /* the removal inside passes the point, too */
	CHECK_EQ(hapax_count(b->item), 1);
	CHECK_EQ(hapax_table_size(b->table), 0);
	hapax_release(b->item);
	table_end(b->table, 0);
	test_env_end(env);
}

TEST(what_pop_any_chose_is_taken_by_another)
{
	hapax_env *env = test_env();
	struct between b = begin(env);
	void *out = &b;

	hapax_testing_set_stop(remove_it, &b);
	CHECK_EQ(hapax_table_pop_any(b.table, &out), HAPAX_EMPTY);
	CHECK(!out);
	end(&b, env);
}

TEST(what_clear_chose_is_taken_by_another)
{
	hapax_env *env = test_env();
	struct between b = begin(env);

	hapax_testing_set_stop(remove_it, &b);
	hapax_table_clear(b.table);
	end(&b, env);
}

/* ---- the entries of the dead ------------------------------------------------------------------------------------- */

static int constant(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	(void)ctx;
	*hash = 0;
	return 0;
}

static void put_newer(const char *name, void *ctx)
{
	struct between *b = ctx;

	if (strcmp(name, b->at) || b->times++)
		return;
	CHECK_EQ(hapax_table_put(b->table, b->key, b->newer), 0);
	CHECK_PTR(table_peek(b->table, b->key), b->newer);
}

/* A put meets the entry of an object that is dying, at each place of a chain and of the lines before it. */
TEST(a_put_clears_the_entry_of_the_dying)
{
	enum { N = 20 };
	hapax_env *env = test_env();
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .keys = {.hash = constant}};
	struct item *items[N];
	hapax_table *table;
	char message[200] = "";

	CHECK_EQ(hapax_table_create(&table, &o), 0);
	for (int i = 0; i < N; i++) {
		items[i] = item_new(env, i);
		CHECK_EQ(hapax_table_put(table, HAPAX_KEY_OF(i), items[i]), 0);
	}
	for (int i = 0; i < N; i++) {
		struct between b = {.table = table, .at = "death.dead", .key = HAPAX_KEY_OF(i), .newer = item_new(env, 100 + i)};

		hapax_testing_set_stop(put_newer, &b);
		hapax_release(items[i]);
		hapax_testing_set_stop(NULL, NULL);
		items[i] = b.newer;
		CHECK_EQ(b.times, 1);
		CHECK_EQ(hapax_table_size(table), N);
		for (int k = 0; k < N; k++)
			CHECK_PTR(table_peek(table, HAPAX_KEY_OF(k)), items[k]);
		if (hapax_testing_check_table(table, message, sizeof(message)))
			TEST_FAIL("%s", message);
	}
	for (int i = 0; i < N; i++)
		hapax_release(items[i]);
	table_end(table, 0);
	test_env_end(env);
}

/* ---- caches that are not at rest --------------------------------------------------------------------------------- */

static void check_in_death(const char *name, void *ctx)
{
	struct between *b = ctx;
	char message[200] = "";

	if (strcmp(name, "death.dead") || b->times++)
		return;
	CHECK_EQ(hapax_testing_check_cache(b->cache, message, sizeof(message)), -1);
	CHECK_STR(message, "cache tested: 0 live entries, size 1");
}

TEST(the_walker_of_caches_sees_a_death_under_way)
{
	hapax_env *env = test_env();
	struct source s = {.env = env};
	struct between b = {.cache = cache_with(env, &s, 0)};
	struct item *item = got(b.cache, "k");

	hapax_testing_set_stop(check_in_death, &b);
	hapax_release(item);
	hapax_testing_set_stop(NULL, NULL);
	CHECK_EQ(b.times, 1);
	cache_end(b.cache, 0);
	test_env_end(env);
}

/* ---- a thread that ends in its loader, with an object refused ----------------------------------------------------- */

static bool refuse_all(void *object, void *arg)
{
	(void)object;
	(void)arg;
	return true;
}

static int leave(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)object;
	(void)key;
	(void)error;
	++*(int *)arg;
	pthread_exit(NULL);
}

static void *get_refusing(void *arg)
{
	struct between *b = arg;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .refuse = refuse_all, .load = leave, .arg = &b->times};
	void *out;

	TEST_FAIL("came back: %d", hapax_cache_get_with(b->cache, HAPAX_STR("k"), &o, &out));
	return NULL;
}

TEST(a_thread_ends_in_the_loader_that_replaces_what_it_refused)
{
	hapax_env *env = test_env();
	struct source s = {.env = env};
	struct between b = {.cache = cache_with(env, &s, 0)};
	struct item *item = got(b.cache, "k");

	test_join(test_thread(get_refusing, &b));
	CHECK_EQ(b.times, 1);
	CHECK(!present(b.cache, "k"));
	CHECK_EQ(stats_of(b.cache).load_abandoned, 1);
	CHECK_EQ(hapax_count(item), 1); /* what the thread held while it loaded has been given back */
	hapax_release(item);
	CHECK_EQ(s.destroyed, 1);
	cache_end(b.cache, 0);
	test_env_end(env);
}
