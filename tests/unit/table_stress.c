/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables under threads that put, replace, remove, kill, iterate and resize at once.
 *
 * Oracles: a key that its owner only ever replaces is found by every lookup and met exactly once by every iteration; an
 * owner finds what it has put; the structure and the size agree at the end; nothing leaks.
 */
#include "support/support.h"

enum { STABLE = 200, THREADS = 4, HELD = 32 };

struct item {
	uint64_t key;
};
HAPAX_TYPE(item, struct item, .destroy = NULL);

struct storm {
	hapax_env *env;
	hapax_table *table;
	uint64_t keys;
	unsigned rounds;
	bool resize;
	struct item *first[STABLE];
};

static struct item *make(struct storm *s, uint64_t key)
{
	struct item *item;

	CHECK_EQ(item_new(s->env, &item), 0);
	item->key = key;
	return item;
}

static void iterate(struct storm *s)
{
	unsigned seen[STABLE] = {0};
	hapax_iter *iter;
	hapax_key key;
	void *object;

	CHECK_EQ(hapax_table_iterate(s->table, &iter), 0);
	while (hapax_iter_next(iter, &key, &object) == 0) {
		uint64_t k;

		CHECK_EQ(key.size, 8);
		memcpy(&k, key.data, 8);
		CHECK_EQ(((struct item *)object)->key, k);
		if (k < STABLE)
			seen[k]++;
	}
	hapax_iter_close(iter);
	for (unsigned i = 0; i < STABLE; i++)
		CHECK_EQ(seen[i], 1);
}

static void replace_own(struct storm *s, uint64_t key, struct item **mine)
{
	struct item *item = make(s, key);
	void *found;

	CHECK_EQ(hapax_table_put(s->table, HAPAX_KEY_OF(key), item), 0);
	CHECK_EQ(hapax_table_get(s->table, HAPAX_KEY_OF(key), &found), 0);
	CHECK_PTR(found, item);
	hapax_release(found);
	hapax_release(*mine);
	*mine = item;
}

static void work(unsigned index, void *arg)
{
	struct storm *s = arg;
	uint64_t random = test_stream(index + 1);
	struct item *held[HELD] = {NULL}, *mine[STABLE] = {NULL};

	for (unsigned round = 0; round < s->rounds; round++) {
		uint64_t op = test_below(&random, 100), key = STABLE + test_below(&random, s->keys);
		struct item **hold = &held[test_below(&random, HELD)];
		void *found = NULL;

		if (op < 25) {
			struct item *item = make(s, key);

			CHECK_EQ(hapax_table_put(s->table, HAPAX_KEY_OF(key), item), 0);
			found = item;
		} else if (op < 35) {
			struct item *item = make(s, key);

			CHECK_EQ(hapax_table_get_or_put(s->table, HAPAX_KEY_OF(key), item, &found, NULL), 0);
			hapax_release(item);
		} else if (op < 40) {
			(void)hapax_table_remove(s->table, HAPAX_KEY_OF(key));
		} else if (op < 45) {
			(void)!hapax_table_pop(s->table, HAPAX_KEY_OF(key), &found);
		} else if (op < 60) {
			key = test_below(&random, STABLE / THREADS) * THREADS + index;
			replace_own(s, key, &mine[key]);
		} else if (op < 85) {
			key = test_below(&random, STABLE);
			CHECK_EQ(hapax_table_get(s->table, HAPAX_KEY_OF(key), &found), 0);
		} else if (op == 85 && index == 0 && s->resize) {
			/* a random walk, kept from walking off */
			int delta = hapax_testing_table_lines(s->table) > 4096 ? -1 : (int)test_below(&random, 3) - 1;

			(void)hapax_testing_table_resize(s->table, delta);
		} else if (op == 86 && round % 4 == 0) {
			iterate(s);
		} else {
			(void)!hapax_table_get(s->table, HAPAX_KEY_OF(key), &found);
		}
		if (found) {
			CHECK(((struct item *)found)->key == key);
			hapax_release(*hold);
			*hold = found;
		}
	}
	for (unsigned i = 0; i < HELD; i++)
		hapax_release(held[i]);
	for (unsigned i = 0; i < STABLE; i++) {
		if (!mine[i])
			continue;
		hapax_release(s->first[i]);
		s->first[i] = mine[i];
	}
}

static void storm(const hapax_key_ops *keys, uint64_t n, unsigned rounds)
{
	struct storm s = {.env = test_env(), .keys = n, .rounds = test_slow_build() ? rounds / 4 : rounds, .resize = true};
	hapax_table_options options = {HAPAX_TABLE_OPTIONS_INIT, .env = s.env};
	char message[200];

	if (keys)
		options.keys = *keys;
	CHECK_EQ(hapax_table_create(&s.table, &options), 0);
	for (uint64_t i = 0; i < STABLE; i++) {
		s.first[i] = make(&s, i);
		CHECK_EQ(hapax_table_put(s.table, HAPAX_KEY_OF(i), s.first[i]), 0);
	}
	run_threads(THREADS, work, &s);
	if (hapax_testing_check_table(s.table, message, sizeof(message)) != 0)
		TEST_FAIL("%s", message);
	CHECK_EQ(hapax_table_size(s.table), STABLE);
	iterate(&s);
	for (unsigned i = 0; i < STABLE; i++)
		hapax_release(s.first[i]);
	CHECK_EQ(hapax_table_size(s.table), 0);
	hapax_table_destroy(s.table);
	test_env_end(s.env);
}

TEST(table_storm)
{
	storm(NULL, 2000, 40000);
}

static int constant(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	(void)ctx;
	*hash = UINT64_MAX;
	return 0;
}

TEST(table_storm_constant_hash)
{
	hapax_key_ops keys = {.hash = constant};

	storm(&keys, 100, 4000);
}

static int few(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)ctx;
	*hash = ((const unsigned char *)key->data)[0] % 11;
	return 0;
}

TEST(table_storm_few_hashes)
{
	hapax_key_ops keys = {.hash = few};

	storm(&keys, 500, 10000);
}
