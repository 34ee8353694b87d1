/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Borrows: reading without a count, inside a section. D-2: deaths that a borrower's releases bring about wait for its end. */
#include "unit/cached.h"
#include "unit/stopped_death.h"

/* Most borrows by keys of eight bytes are plain ones, which are looked for in another way. */
static const char *const keys[] = {"k", "eightful"};

static const hapax_type plain_type = {HAPAX_TYPE_INIT, .name = "plain", .size = 64, .flags = HAPAX_TYPE_BORROW};
static const hapax_type lent_type = {HAPAX_TYPE_INIT, .name = "lent", .size = sizeof(struct item),
				     .flags = HAPAX_TYPE_BORROW, .destroy = item_destroy};

static int fill(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)key;
	(void)arg;
	(void)error;
	memset(object, 0x5a, 64);
	return HAPAX_LOAD_OK;
}

static int lend(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct item *it = object;

	(void)key;
	(void)arg;
	(void)error;
	it->live = ITEM_ALIVE;
	return HAPAX_LOAD_OK;
}

static hapax_cache *lending(hapax_env *env, const hapax_type *type, hapax_load_fn load, int64_t bound)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = type, .load = load, .max_entries = bound};
	hapax_cache *cache;

	items_reset();
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	return cache;
}

static void *gotten(hapax_cache *cache, const char *key)
{
	void *out = NULL;

	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR(key), &out), HAPAX_OK);
	return out;
}

static void look_at(const void *object)
{
	for (int i = 0; i < 64; i++)
		CHECK_EQ(((const unsigned char *)object)[i], 0x5a);
}

static void dies_while_borrowed(const char *key)
{
	hapax_env *env = test_env();
	hapax_cache *cache = lending(env, &plain_type, fill, 0);
	void *held = gotten(cache, key);
	const void *seen = &seen;

	CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR("absent"), &seen), HAPAX_MISS);
	CHECK(!seen);
	CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR(key), &seen), HAPAX_OK);
	CHECK_PTR(seen, held);
	CHECK_EQ(hapax_count(held), 1);
	hapax_release(held);
	look_at(seen);
	CHECK_EQ(hapax_cache_size(cache), 0);
	look_at(seen);
	hapax_borrow_end();
	CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR(key), &seen), HAPAX_MISS);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(what_is_borrowed_is_not_counted_and_stays_readable_after_its_death)
{
	for (int i = 0; i < 2; i++)
		dies_while_borrowed(keys[i]);
}

static void destroyed_after_borrows(const char *key)
{
	hapax_env *env = test_env();
	hapax_cache *cache = lending(env, &lent_type, lend, 0);
	struct item *held = gotten(cache, key);
	hapax_weak *weak;
	const void *seen;

	weak = weak_of(held);
	CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR(key), &seen), HAPAX_OK);
	hapax_release(held);
	CHECK(!hapax_weak_alive(weak)); /* dead at once */
	CHECK_EQ(hapax_cache_contains(cache, HAPAX_STR(key)), 0);
	hapax_reclaim(env); /* nothing inside a section */
	CHECK(item_is_alive(seen));
	CHECK_EQ(items_destroyed_now(), 0);
	hapax_borrow_end();
	hapax_reclaim(env);
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_weak_drop(weak);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(a_destructor_waits_for_borrowers)
{
	for (int i = 0; i < 2; i++)
		destroyed_after_borrows(keys[i]);
}

static void note_death(struct item *it, void *arg)
{
	(void)it;
	*(int *)arg += 1;
}

static void dies_after_borrows(const char *key)
{
	hapax_env *env = test_env();
	hapax_cache *cache = lending(env, &plain_type, fill, 0);
	void *held = gotten(cache, key);
	struct item *a = item_new(env, 1), *b = item_new(env, 2);
	const void *one, *two;
	int deaths = 0;

	a->on_destroy = b->on_destroy = note_death;
	a->arg = b->arg = &deaths;
	CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR(key), &one), HAPAX_OK);
	CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR(key), &two), HAPAX_OK);
	CHECK_PTR(one, two);
	hapax_release(a);
	CHECK_EQ(hapax_count(a), 0);
	CHECK_EQ(deaths, 0);
	hapax_borrow_end();
	hapax_release(b);
	CHECK_EQ(deaths, 0);
	hapax_borrow_end();
	CHECK_EQ(deaths, 2);
	hapax_release(held);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(D_2_deaths_of_a_borrowers_releases_wait_for_the_end_of_its_last_borrow)
{
	for (int i = 0; i < 2; i++)
		dies_after_borrows(keys[i]);
}

static void bad_borrows(const char *key)
{
	hapax_env *env = test_env();
	hapax_cache *cache = lending(env, &plain_type, fill, 0), *other = lending(env, &item_type, lend, 0);
	void *held = gotten(cache, key), *item = gotten(other, key);
	const void *seen = &seen;

	CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR(key), NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_borrow(NULL, HAPAX_STR(key), &seen), HAPAX_ENULL);
	CHECK(!seen);
	CHECK_EQ(hapax_cache_borrow(other, HAPAX_STR(key), &seen), HAPAX_ETYPE);
	CHECK_EQ(hapax_cache_borrow(cache, hapax_key_bytes(NULL, 1), &seen), HAPAX_EKEY);
	CHECK_EQ(hapax_cache_borrow(cache, hapax_key_bytes(NULL, 8), &seen), HAPAX_EKEY);
	hapax_cache_close(cache);
	CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR(key), &seen), HAPAX_ECLOSED);
	hapax_release(item); /* dies here: no borrow is open */
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_release(held);
	hapax_cache_destroy(other);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(bad_borrows_begin_none)
{
	for (int i = 0; i < 2; i++)
		bad_borrows(keys[i]);
}

static uint64_t hits(hapax_cache *cache)
{
	hapax_cache_stats s = {.size = sizeof(s)};

	CHECK_EQ(hapax_cache_stats_get(cache, &s), HAPAX_OK);
	return s.hits;
}

TEST(borrows_count_as_hits)
{
	hapax_env *env = test_env();
	hapax_cache *cache = lending(env, &plain_type, fill, 0);
	void *held[2] = {gotten(cache, keys[0]), gotten(cache, keys[1])};
	uint64_t before = hits(cache);
	const void *seen;

	for (int i = 0; i < 10; i++) {
		CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR(keys[i % 2]), &seen), HAPAX_OK);
		CHECK_PTR(seen, held[i % 2]);
		hapax_borrow_end();
		CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR("eightfox"), &seen), HAPAX_MISS);
	}
	CHECK_EQ(hits(cache), before + 10);
	hapax_release(held[0]);
	hapax_release(held[1]);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(what_has_just_died_is_not_lent)
{
	hapax_env *env = test_env();

	for (int i = 0; i < 2; i++) {
		hapax_cache *cache = lending(env, &plain_type, fill, 0);
		pthread_t dying = release_stopped(gotten(cache, keys[i]));
		const void *seen = &seen;

		/* its entry is still where it was */
		CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR(keys[i]), &seen), HAPAX_MISS);
		CHECK(!seen);
		test_event_set(&may_be_told);
		pthread_join(dying, NULL);
		hapax_cache_destroy(cache);
	}
	hapax_testing_set_stop(NULL, NULL);
	test_env_end(env);
}

struct crowd {
	hapax_cache *cache;
	int stop;
};

static void borrowing(unsigned index, void *arg)
{
	struct crowd *c = arg;
	uint64_t r = test_stream(index);
	const void *seen;

	for (uint64_t n = scaled(3000); n > 0; n--) {
		char text[9] = {(char)('a' + test_below(&r, 4)), 'e', 'i', 'g', 'h', 't', 'f', 'u', 0}, *key = text;

		if (test_below(&r, 2))
			text[1] = 0;

		if (test_below(&r, 8) == 0) {
			hapax_release(gotten(c->cache, key));
		} else if (hapax_cache_borrow(c->cache, HAPAX_STR(key), &seen) == HAPAX_OK) {
			look_at(seen);
			if (test_below(&r, 16) == 0)
				hapax_cache_remove(c->cache, HAPAX_STR(key));
			look_at(seen);
			hapax_borrow_end();
		}
	}
}

TEST(borrowers_beside_deaths_and_removals_see_whole_objects)
{
	hapax_env *env = test_env();

	for (int64_t bound = 0; bound < 4; bound += 2) {
		struct crowd c = {.cache = lending(env, &plain_type, fill, bound)};

		run_threads(4, borrowing, &c);
		hapax_cache_destroy(c.cache);
	}
	test_env_end(env);
}
