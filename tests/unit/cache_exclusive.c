/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Exclusive caches (G9, D-6, D-8): a key's old instance is destroyed before the next one is made. */
#include "unit/cached.h"

static hapax_cache *exclusive_form(hapax_env *env, struct source *s, int form)
{
	return form ? cache_making(env, s, HAPAX_CACHE_EXCLUSIVE) : cache_with(env, s, HAPAX_CACHE_EXCLUSIVE);
}

TEST(D_8_a_held_instance_makes_get_and_put_busy)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {0};
		hapax_cache *cache = exclusive_form(env, &s, form);
		struct item *old = got(cache, "k"), *mine = item_new(env, 7);
		bool inserted = true;
		void *out = (void *)1;

		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), mine), HAPAX_EBUSY); /* present */
		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), old), HAPAX_OK);
		CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_OK);
		CHECK_EQ(hapax_cache_size(cache), 0);
		CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_MISS);
		CHECK(!present(cache, "k"));
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_EBUSY);
		CHECK(!out);
		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), mine), HAPAX_EBUSY);
		CHECK_EQ(hapax_cache_get_or_put(cache, HAPAX_STR("k"), mine, &out, &inserted), HAPAX_EBUSY);
		CHECK_EQ(loads_of(&s), 1);
		hapax_release(got(cache, "other"));
		hapax_release(old);
		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), mine), HAPAX_OK);
		CHECK_PTR(present(cache, "k"), mine);
		CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_OK);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_EBUSY);
		hapax_release(mine);
		hapax_release(got(cache, "k"));
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(D_8_a_deadline_waits_for_the_held_instance)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env_fake();
		struct source s = {0};
		hapax_cache *cache = exclusive_form(env, &s, form);
		struct item *old = got(cache, "k");
		hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = fake_clock_now() + 1000};
		struct asker a, b;

		CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_OK);
		ask(&a, cache, "k", &o);
		ask(&b, cache, "k", NULL);
		fake_clock_await_sleepers(2);
		fake_clock_advance(1000);
		CHECK_EQ(answer(&a), HAPAX_EBUSY);
		asker_end(&a);
		fake_clock_await_sleepers(1);
		CHECK_EQ(loads_of(&s), 1);
		hapax_release(old);
		CHECK_EQ(answer(&b), HAPAX_OK);
		CHECK_EQ(loads_of(&s), 2);
		CHECK_EQ(s.destroyed, 1);
		asker_end(&b);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* The destructor of the first instance asks for its own key: it would wait for itself. */
static int own_status;
static void ask_for_oneself(struct item *item, void *arg)
{
	struct source *s = arg;
	void *out = (void *)1;

	if (item->id != 1)
		return;
	own_status = hapax_cache_get(s->cache, HAPAX_STR("k"), &out);
	CHECK(!out);
}

TEST(D_8_waiting_for_ones_own_destructor_is_refused)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {.item_destroyed = ask_for_oneself};
		hapax_cache *cache = exclusive_form(env, &s, form);

		hapax_release(got(cache, "k"));
		CHECK_EQ(own_status, HAPAX_EDEADLK);
		hapax_release(got(cache, "k"));
		CHECK_EQ(loads_of(&s), 2);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* SD-26: instances of one key that exist at once, over many lives. */
static int living, most_living;
static void left(struct item *item, void *arg)
{
	(void)item;
	(void)arg;
	__atomic_sub_fetch(&living, 1, __ATOMIC_SEQ_CST);
}

static int entered(struct source *s, int load, void *object, const hapax_key *key)
{
	int now = __atomic_add_fetch(&living, 1, __ATOMIC_SEQ_CST);

	(void)s;
	(void)load;
	(void)object;
	(void)key;
	if (now > __atomic_load_n(&most_living, __ATOMIC_SEQ_CST))
		__atomic_store_n(&most_living, now, __ATOMIC_SEQ_CST);
	return GO_ON;
}

static void come_and_go(unsigned index, void *arg)
{
	struct source *s = arg;
	uint64_t r = test_stream(index);
	void *out;

	for (int i = 0; i < (test_slow_build() ? 1000 : 10000); i++) {
		int rc = hapax_cache_get(s->cache, HAPAX_STR("k"), &out);

		CHECK(rc == HAPAX_OK || rc == HAPAX_EBUSY);
		if (test_below(&r, 8) == 0)
			rc = hapax_cache_remove(s->cache, HAPAX_STR("k"));
		hapax_release(out);
	}
}

TEST(SD_26_never_two_instances_of_a_key)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {.then = entered, .item_destroyed = left};
		hapax_cache *cache = exclusive_form(env, &s, form);

		most_living = 0;
		run_threads(4, come_and_go, &s);
		CHECK_EQ(most_living, 1);
		CHECK_EQ(living, 0);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(G9_objects_outlive_an_exclusive_cache)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {0};
		hapax_cache *cache = exclusive_form(env, &s, form);
		struct item *removed = got(cache, "removed"), *present_one = got(cache, "present");

		CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("removed")), HAPAX_OK);
		hapax_cache_destroy(cache);
		CHECK(item_is_alive(removed) && item_is_alive(present_one));
		hapax_release(removed);
		hapax_release(present_one);
		CHECK_EQ(s.destroyed, 2);
		test_env_end(env);
	}
}
