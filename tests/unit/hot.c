/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hot objects: counts in cells of the threads' own, and the way back. Promotion is forced where the test needs it. */
#include "unit/cached.h"

#include "object/hot.h"

static int lingering_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct item *it = object;

	(void)key;
	(void)error;
	it->live = ITEM_ALIVE;
	it->id = __atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
	return HAPAX_LOAD_OK;
}

static const hapax_type lingering_type = {HAPAX_TYPE_INIT, .name = "lingering", .size = sizeof(struct item),
					  .flags = HAPAX_TYPE_MAY_LINGER, .destroy = item_destroy};

static hapax_cache *hot_cache(hapax_env *env, const hapax_type *type, int64_t bound, int *loads)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = type, .load = lingering_load, .arg = loads,
				 .max_entries = bound};
	hapax_cache *cache;

	items_reset();
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	return cache;
}

static struct item *hot_get(hapax_cache *cache, const char *key)
{
	void *out = NULL;

	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR(key), &out), HAPAX_OK);
	return out;
}

struct hammer {
	hapax_cache *cache;
	const char *key;
	struct item *kept[4];
};

static void hammering(unsigned index, void *arg)
{
	struct hammer *h = arg;

	for (uint64_t n = scaled(2000); n > 0; n--) {
		struct item *it = hot_get(h->cache, h->key);

		CHECK(item_is_alive(it));
		if (n % 3)
			CHECK_EQ(hapax_retain(it), HAPAX_OK), hapax_release(it);
		hapax_release(it);
	}
	h->kept[index] = hot_get(h->cache, h->key);
}

/* `bound`: the cache's; it holds the object, or nobody but its users does. */
static void count_exactly(const hapax_type *type, int64_t bound, const char *key)
{
	hapax_env *env = test_env();
	int loads = 0;
	struct hammer h = {.cache = hot_cache(env, type, bound, &loads), .key = key};
	struct item *it = hot_get(h.cache, key);
	uint64_t at_rest = bound ? 2 : 1;

	CHECK(hapax_testing_promote(it));
	CHECK(!hapax_testing_promote(it));
	CHECK(hapax_testing_promoted(it));
	CHECK_EQ(hapax_count(it), at_rest);
	run_threads(4, hammering, &h);
	CHECK_EQ(hapax_count(it), at_rest + 4);
	for (int i = 0; i < 4; i++) {
		CHECK_PTR(h.kept[i], it);
		hapax_release(h.kept[i]);
	}
	hapax_reclaim(env);
	CHECK(!hapax_testing_promoted(it));
	CHECK_EQ(hapax_count(it), at_rest);
	CHECK_EQ(loads, 1);
	CHECK_EQ(items_destroyed_now(), 0);
	hapax_release(it);
	CHECK_EQ(items_destroyed_now(), bound ? 0 : 1);
	CHECK_EQ(hapax_cache_remove(h.cache, HAPAX_STR(key)), bound ? HAPAX_OK : HAPAX_MISS);
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_cache_destroy(h.cache);
	test_env_end(env);
}

/* Hits by keys of eight bytes go straight. */
TEST(counts_are_exact_while_promoted_and_after)
{
	count_exactly(&item_type, 10, "k");
	count_exactly(&item_type, 10, "eightful");
	count_exactly(&lingering_type, 0, "k");
	count_exactly(&lingering_type, 0, "eightful");
}

struct several {
	hapax_cache *cache;
	int kept[3];
};

static const char *const names[3] = {"eightful", "eightfox", "k"};

static void taking_turns(unsigned index, void *arg)
{
	struct several *s = arg;
	uint64_t r = test_stream(index);
	struct item *one, *two;
	uint64_t which;

	for (uint64_t n = scaled(1000); n > 0; n--) {
		one = hot_get(s->cache, names[test_below(&r, 3)]);
		which = test_below(&r, 3);
		two = hot_get(s->cache, names[which]);
		CHECK(item_is_alive(one) && item_is_alive(two));
		hapax_release(one);
		if (test_below(&r, 8))
			hapax_release(two);
		else
			__atomic_add_fetch(&s->kept[which], 1, __ATOMIC_RELAXED);
	}
}

TEST(each_promoted_object_has_its_own_count)
{
	hapax_env *env = test_env();
	int loads = 0;
	struct several s = {.cache = hot_cache(env, &lingering_type, 0, &loads)};
	struct item *it[3];

	for (int i = 0; i < 3; i++) {
		it[i] = hot_get(s.cache, names[i]);
		if (i < 2) /* the last one stays as it is */
			CHECK(hapax_testing_promote(it[i]));
	}
	run_threads(4, taking_turns, &s);
	taking_turns(4, &s);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(hapax_count(it[i]), (uint64_t)s.kept[i] + 1);
	hapax_reclaim(env);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(hapax_count(it[i]), (uint64_t)s.kept[i] + 1);
		for (; s.kept[i] > 0; s.kept[i]--)
			hapax_release(it[i]);
		CHECK_EQ(items_destroyed_now(), i);
		hapax_release(it[i]);
		CHECK_EQ(items_destroyed_now(), i + 1);
	}
	hapax_cache_destroy(s.cache);
	test_env_end(env);
}

/* A signal handler in a thread at its end: the cells have been given back, and which one was used last is not forgotten yet. */
TEST(who_has_given_its_cells_back_has_none)
{
	hapax_env *env = test_env();
	int loads = 0;
	hapax_cache *cache = hot_cache(env, &lingering_type, 0, &loads);
	struct item *it = hot_get(cache, names[0]);
	struct hpx_hot_block *cells;
	uint64_t count;

	CHECK(hapax_testing_promote(it));
	hapax_release(hot_get(cache, names[0])); /* by a cell */
	count = hpx_load_relaxed(&hpx_object_of(it)->count);
	cells = hpx_self.hot;
	CHECK(cells && hpx_self.hot_slot && hpx_self.hot_slot == (count & HPX_SLOT_MASK));
	CHECK(hpx_hot_mine(count) != NULL);
	hpx_self.hot = NULL;
	CHECK_PTR(hpx_hot_mine(count), NULL);
	hpx_self.hot = cells;
	hapax_release(it);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

struct upgrader {
	hapax_weak *weak;
	struct item *kept[4];
};

static void upgrading(unsigned index, void *arg)
{
	struct upgrader *u = arg;
	struct item *it;

	for (uint64_t n = scaled(2000); n > 0; n--) {
		it = hapax_weak_get(u->weak);
		CHECK(item_is_alive(it));
		hapax_release(it);
	}
	u->kept[index] = hapax_weak_get(u->weak);
}

TEST(upgrades_count_while_promoted_and_after)
{
	hapax_env *env = test_env();
	int loads = 0;
	hapax_cache *cache = hot_cache(env, &item_type, 10, &loads);
	struct item *it = hot_get(cache, "k");
	struct upgrader u;

	CHECK_EQ(hapax_weak_new(it, NULL, &u.weak), HAPAX_OK);
	hapax_release(hapax_weak_get(u.weak));
	CHECK(hapax_testing_promote(it));
	run_threads(4, upgrading, &u);
	CHECK_EQ(hapax_count(it), 6);
	hapax_reclaim(env);
	CHECK(!hapax_testing_promoted(it));
	CHECK_EQ(hapax_count(it), 6);
	CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_OK);
	for (int i = 0; i < 4; i++) {
		CHECK_PTR(u.kept[i], it);
		hapax_release(u.kept[i]);
	}
	CHECK_EQ(items_destroyed_now(), 0);
	CHECK_PTR(hapax_weak_get(u.weak), it);
	hapax_release(it);
	hapax_release(it);
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK(!hapax_weak_get(u.weak));
	CHECK_EQ(hapax_weak_drop(u.weak), HAPAX_OK);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(removed_while_promoted_it_dies_after_its_users_once)
{
	hapax_env *env = test_env();
	int loads = 0;
	hapax_cache *cache = hot_cache(env, &item_type, 10, &loads);
	struct item *it = hot_get(cache, "k"), *other;

	CHECK(hapax_testing_promote(it));
	CHECK_PTR(hot_get(cache, "k"), it);
	CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_OK);
	CHECK(!hapax_testing_promoted(it));
	other = hot_get(cache, "k");
	CHECK(other != it);
	hapax_release(other);
	hapax_release(it);
	hapax_reclaim(env);
	CHECK_EQ(items_destroyed_now(), 0); /* one user is left */
	hapax_release(it);
	hapax_reclaim(env);
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_cache_destroy(cache);
	CHECK_EQ(items_destroyed_now(), 2);
	test_env_end(env);
}

TEST(evicted_while_promoted_and_unused_it_dies_once)
{
	hapax_env *env = test_env();
	int loads = 0;
	hapax_cache *cache = hot_cache(env, &item_type, 1, &loads);
	struct item *it = hot_get(cache, "k");

	CHECK(hapax_testing_promote(it));
	hapax_release(it);
	CHECK_EQ(hapax_cache_set_bound(cache, HAPAX_ZERO), HAPAX_OK);
	hapax_reclaim(env);
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(one_that_may_linger_is_found_until_it_has_cooled)
{
	hapax_env *env = test_env();
	int loads = 0;
	hapax_cache *cache = hot_cache(env, &lingering_type, 0, &loads);
	struct item *it = hot_get(cache, "k");

	CHECK(hapax_testing_promote(it));
	hapax_release(it);
	CHECK_EQ(items_destroyed_now(), 0);
	CHECK_PTR(hot_get(cache, "k"), it);
	CHECK_EQ(hapax_count(it), 1);
	hapax_release(it);
	hapax_reclaim(env);
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_release(hot_get(cache, "k"));
	CHECK_EQ(items_destroyed_now(), 2); /* never promoted: at once */
	CHECK_EQ(loads, 2);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

static void destroy_cache(struct item *it, void *arg)
{
	(void)it;
	hapax_cache_destroy(arg);
}

/* Without the library's threads the death waits for maintain(), which runs it here. */
TEST(a_late_death_that_maintain_runs_may_end_the_cache)
{
	hapax_env *env = quiet_env(HAPAX_ENV_NO_THREAD);
	int loads = 0;
	hapax_cache *cache = hot_cache(env, &lingering_type, 0, &loads);
	struct item *it = hot_get(cache, "k");

	it->on_destroy = destroy_cache;
	it->arg = cache;
	CHECK(hapax_testing_promote(it));
	hapax_release(it);
	hapax_testing_tick(); /* just used */
	hapax_testing_tick(); /* not since: demoted */
	CHECK(!hapax_testing_promoted(it));
	hapax_testing_drain(env);
	CHECK_EQ(items_destroyed_now(), 0);
	hapax_cache_maintain(cache);
	CHECK_EQ(items_destroyed_now(), 1);
	test_env_end(env);
}

TEST(destroying_the_cache_ends_what_is_promoted)
{
	hapax_env *env = quiet_env(HAPAX_ENV_NO_THREAD); /* or another thread may run the death meanwhile */
	int loads = 0;
	hapax_cache *cache = hot_cache(env, &lingering_type, 0, &loads);
	struct item *it = hot_get(cache, "k"), *used = hot_get(cache, "used");

	CHECK(hapax_testing_promote(it));
	CHECK(hapax_testing_promote(used));
	hapax_release(it);
	hapax_cache_destroy(cache);
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK_EQ(hapax_count(used), 1);
	hapax_release(used);
	CHECK_EQ(items_destroyed_now(), 2);
	test_env_end(env);
}
