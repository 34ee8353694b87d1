/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* get_many of many keys, most of them present: each position its own key's object, each distinct key one hit. */
#include "unit/cached.h"

enum { MOST = 300 };

struct numbered {
	uint64_t n;
};
HAPAX_TYPE(numbered, struct numbered, .destroy = NULL);

static int load(void *room, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)arg;
	(void)error;
	memcpy(room, key->data, sizeof(uint64_t));
	return HAPAX_LOAD_OK;
}

static uint64_t count_of(hapax_cache *cache, bool hits)
{
	hapax_cache_stats s = stats_of(cache);

	return hits ? s.hits : s.misses;
}

/* `n` positions of `distinct` keys, of which those below `present` are there. */
static void ask_many(hapax_cache *cache, size_t n, uint64_t distinct, uint64_t present, size_t key_size)
{
	static uint64_t numbers[MOST][3];
	static hapax_key keys[MOST];
	static void *objects[MOST];
	static int statuses[MOST];
	struct numbered *held[MOST] = {NULL};
	uint64_t random = test_stream(n), hits = 0, misses = 0, before_hits, before_misses, count[MOST] = {0};
	bool bad[MOST];

	for (uint64_t i = 0; i < present; i++) {
		uint64_t key[3] = {i, 1, 2};

		CHECK_EQ(hapax_cache_get(cache, (hapax_key){.data = key, .size = key_size}, (void **)&held[i]), HAPAX_OK);
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t number = test_below(&random, distinct);

		bad[i] = test_below(&random, 16) == 0;
		numbers[i][0] = number;
		numbers[i][1] = 1;
		numbers[i][2] = 2;
		keys[i] = (hapax_key){.data = bad[i] ? NULL : numbers[i], .size = key_size};
		objects[i] = &random;
		statuses[i] = 12345;
		if (!bad[i] && count[number]++ == 0) {
			hits += number < present;
			misses += number >= present;
		}
	}
	before_hits = count_of(cache, true);
	before_misses = count_of(cache, false);
	CHECK_EQ(hapax_cache_get_many(cache, keys, n, objects, statuses, NULL), HAPAX_OK);
	CHECK_EQ(count_of(cache, true) - before_hits, hits);
	CHECK_EQ(count_of(cache, false) - before_misses, misses);
	for (size_t i = 0; i < n; i++) {
		if (bad[i]) {
			CHECK_EQ(statuses[i], HAPAX_EKEY);
			CHECK_PTR(objects[i], NULL);
			continue;
		}
		CHECK_EQ(statuses[i], HAPAX_OK);
		CHECK_EQ(((struct numbered *)objects[i])->n, numbers[i][0]);
		if (numbers[i][0] < present)
			CHECK_PTR(objects[i], held[numbers[i][0]]);
	}
	for (size_t i = 0; i < n; i++)
		if (!bad[i] && numbers[i][0] < present) /* one reference for each position */
			CHECK(hapax_count(objects[i]) >= count[numbers[i][0]] + 1);
	for (size_t i = 0; i < n; i++)
		hapax_release(objects[i]);
	for (uint64_t i = 0; i < present; i++) {
		CHECK(hapax_count(held[i]) <= 2); /* ours, and that of a cache that keeps it */
		hapax_release(held[i]);
	}
}

static void in_cache(int64_t bound, const hapax_policy *policy, size_t key_size)
{
	hapax_env *env = test_env();
	hapax_cache *cache;
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &numbered_type, .load = load,
				 .max_entries = bound, .policy = policy};

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	for (size_t n = 0; n <= MOST; n = n < 66 ? n + 11 : n + 78) {
		ask_many(cache, n, 1, 1, key_size);
		hapax_cache_clear(cache);
		ask_many(cache, n, MOST, MOST, key_size);
		hapax_cache_clear(cache);
		ask_many(cache, n, 50, 25, key_size);
		hapax_cache_clear(cache);
	}
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(CF_BK_01_CF_BK_08_plain_hits) { in_cache(0, NULL, 8); }
TEST(CF_BK_01_CF_BK_08_plain_hits_by_longer_keys) { in_cache(0, NULL, 24); }
TEST(CF_BK_01_CF_BK_08_hits_of_a_bounded_cache) { in_cache(1000, NULL, 8); }
TEST(CF_BK_01_CF_BK_08_hits_in_turn) { in_cache(1000, hapax_policy_lru(), 16); }

/* As with gets one after the other: what is loaded first may push out what is asked for next. */
TEST(CF_BK_02_without_a_bulk_loader_the_order_is_the_requests)
{
	hapax_env *env = test_env();
	hapax_cache *cache;
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &numbered_type, .load = load,
				 .max_entries = 1, .policy = hapax_policy_lru()};
	uint64_t a = 1, b = 2;
	const hapax_key keys[] = {HAPAX_KEY_OF(a), HAPAX_KEY_OF(b)};
	void *objects[2], *held;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, keys[1], &held), HAPAX_OK);
	hapax_release(held); /* the cache alone keeps it */
	CHECK_EQ(hapax_cache_get_many(cache, keys, 2, objects, NULL, NULL), HAPAX_OK);
	CHECK_EQ(count_of(cache, true), 0);
	CHECK_EQ(count_of(cache, false), 3);
	hapax_release(objects[0]);
	hapax_release(objects[1]);
	hapax_cache_destroy(cache);
	test_env_end(env);
}
