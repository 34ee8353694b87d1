/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Negative results: remembered for a time of their own. */
#include "unit/removals.h"

#define TTL 1000000

static int get_of(struct tier *t, const char *key)
{
	void *out = (void *)1;
	int rc = hapax_cache_get(t->cache, HAPAX_STR(key), &out);

	CHECK((rc == HAPAX_OK) == (out != NULL));
	hapax_release(out);
	return rc;
}

static void negative_begin(struct tier *t, int form, hapax_cache_options o)
{
	*t = (struct tier){.loose = true, .s = {.result = HAPAX_LOAD_NOVALUE}};
	o.negative_ttl_ns = o.negative_ttl_ns ? o.negative_ttl_ns : TTL;
	tier_begin(t, form, test_env_fake(), o);
}

TEST(CF_LD_22_no_value_is_remembered_for_its_time)
{
	for (int form = LOADED; form <= MADE; form++) {
		for (int bound = 0; bound < 2; bound++) {
			struct tier t;
			void *out = (void *)1;
			hapax_iter *iter = NULL;
			hapax_cache_stats s;

			negative_begin(&t, form, (hapax_cache_options){.max_entries = bound ? 10 : 0, .ttl_ns = bound ? 100 * TTL : 0});
			CHECK_EQ(get_of(&t, "k"), HAPAX_NOVALUE); /* loaded */
			for (int i = 0; i < 5; i++)
				CHECK_EQ(get_of(&t, "k"), HAPAX_NEGATIVE);
			CHECK_EQ(hapax_cache_get_with(t.cache, HAPAX_STR("k"), NULL, &out), HAPAX_NEGATIVE);
			CHECK(!out);
			CHECK_EQ(loads_of(&t.s), 1);
			s = stats_of(t.cache);
			CHECK_EQ(s.negative_hits, 6);
			CHECK_EQ(s.hits, 6);
			CHECK_EQ(s.misses, 1);
			CHECK_EQ(s.load_novalues, 1);
			/* it has no object */
			CHECK_EQ(hapax_cache_size(t.cache), 0);
			CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR("k")), 0);
			CHECK(!present(t.cache, "k"));
			CHECK_EQ(hapax_cache_iterate(t.cache, &iter), HAPAX_OK);
			CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_EMPTY);
			hapax_iter_close(iter);
			CHECK_EQ(hapax_cache_pop(t.cache, HAPAX_STR("k"), &out), HAPAX_MISS);
			CHECK(!out);
			CHECK_EQ(t.s.destroyed, 0);
			hapax_cache_clear(t.cache);
			CHECK_EQ(get_of(&t, "k"), HAPAX_NOVALUE);
			fake_clock_advance(TTL - 1);
			CHECK_EQ(get_of(&t, "k"), HAPAX_NEGATIVE);
			CHECK_EQ(loads_of(&t.s), 2);
			fake_clock_advance(1);
			CHECK_EQ(get_of(&t, "k"), HAPAX_NOVALUE);
			CHECK_EQ(loads_of(&t.s), 3);
			/* there is one now */
			fake_clock_advance(TTL);
			t.s.result = HAPAX_LOAD_OK;
			CHECK_EQ(get_of(&t, "k"), HAPAX_OK);
			CHECK_EQ(hapax_cache_size(t.cache), bound);
			tier_end(&t, (size_t)bound);
		}
	}
}

TEST(CF_LD_22_a_put_replaces_it)
{
	for (int form = LOADED; form <= MADE; form++) {
		for (int way = 0; way < 3; way++) {
			struct tier t;
			struct item *it;
			void *out = NULL;
			bool inserted = false;

			negative_begin(&t, form, (hapax_cache_options){.max_entries = 10});
			CHECK_EQ(get_of(&t, "k"), HAPAX_NOVALUE);
			CHECK_EQ(get_of(&t, "k"), HAPAX_NEGATIVE);
			it = tier_item(&t);
			if (way == 0) {
				CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), it), HAPAX_OK);
			} else if (way == 1) {
				CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, NULL), HAPAX_OK);
			} else {
				CHECK_EQ(hapax_cache_get_or_put(t.cache, HAPAX_STR("k"), it, &out, &inserted), HAPAX_OK);
				CHECK(inserted);
				CHECK_PTR(out, it);
				hapax_release(out);
			}
			CHECK_PTR(present(t.cache, "k"), it);
			CHECK_EQ(get_of(&t, "k"), HAPAX_OK);
			CHECK_EQ(hapax_cache_size(t.cache), 1);
			fake_clock_advance(10 * TTL); /* its time is no longer that of the negative result */
			CHECK_EQ(get_of(&t, "k"), HAPAX_OK);
			CHECK_EQ(loads_of(&t.s), 1);
			CHECK_EQ(t.r.n, 1);
			CHECK_EQ(t.r.all[0].cause, HAPAX_CAUSE_REPLACED);
			CHECK_EQ(t.r.all[0].id, 0);
			hapax_release(it);
			tier_end(&t, 1);
		}
	}
}

/* Told of like a value, without an object. */
TEST(CF_LD_22_CF_RM_01_negative_results_leave_once)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct tier t;

		negative_begin(&t, form, (hapax_cache_options){.max_entries = 3, .policy = hapax_policy_lru()});
		for (int i = 0; i < 5; i++)
			CHECK_EQ(get_of(&t, k(i)), HAPAX_NOVALUE);
		CHECK_EQ(stats_of(t.cache).retained, 3); /* each counts as one object */
		CHECK_EQ(hapax_cache_size(t.cache), 0);
		TOLD(&t.r, 0, 0, 0, 0, 2, 0);
		CHECK_STR(t.r.all[0].key, "0");
		CHECK_EQ(t.r.all[0].id, 0);
		CHECK_EQ(get_of(&t, "0"), HAPAX_NOVALUE); /* "2" goes */
		CHECK_EQ(get_of(&t, "3"), HAPAX_NEGATIVE);
		TOLD(&t.r, 0, 0, 0, 0, 3, 0);
		(void)hapax_cache_remove(t.cache, HAPAX_STR("3"));
		TOLD(&t.r, 1, 0, 0, 0, 3, 0);
		CHECK_EQ(get_of(&t, "3"), HAPAX_NOVALUE);
		fake_clock_advance(TTL);
		tier_settle(&t);
		TOLD(&t.r, 1, 0, 0, 3, 3, 0);
		CHECK_EQ(stats_of(t.cache).retained, 0);
		CHECK_EQ(get_of(&t, "last"), HAPAX_NOVALUE);
		tier_close(&t, 0);
		TOLD(&t.r, 1, 0, 0, 3, 3, 1);
		tier_gone(&t);
	}
}

/* How long values are held says nothing of it, whether there was maintenance or not. */
TEST(CF_LD_22_its_time_is_not_that_of_what_is_held)
{
	for (int form = LOADED; form <= MADE; form++) {
		for (int way = 0; way < 8; way++) {
			int64_t held = way & 1 ? HAPAX_ZERO : TTL / 2;
			hapax_cache_options o = {.max_entries = way & 4 ? 10 : 0};
			struct tier t;

			*(way & 2 ? &o.retain_idle_ns : &o.retain_age_ns) = held;
			negative_begin(&t, form, o);
			CHECK_EQ(get_of(&t, "k"), HAPAX_NOVALUE);
			fake_clock_advance(TTL - 1);
			while (hapax_cache_maintain(t.cache))
				;
			CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR("k")), HAPAX_MISS);
			CHECK_EQ(get_of(&t, "k"), HAPAX_NEGATIVE);
			CHECK_EQ(loads_of(&t.s), 1);
			fake_clock_advance(1);
			CHECK_EQ(get_of(&t, "k"), HAPAX_NOVALUE);
			TOLD(&t.r, 0, 0, 0, 1, 0, 0);
			tier_end(&t, 0);
		}
	}
}

TEST(CF_LD_22_its_weight_is_one)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct tier t;

		negative_begin(&t, form, (hapax_cache_options){.max_weight = 1 << 20});
		for (int i = 0; i < 7; i++)
			CHECK_EQ(get_of(&t, k(i)), HAPAX_NOVALUE);
		CHECK_EQ(stats_of(t.cache).retained_weight, 7);
		CHECK_EQ(stats_of(t.cache).retained, 7);
		hapax_cache_clear(t.cache);
		CHECK_EQ(stats_of(t.cache).retained_weight, 0);
		for (size_t i = 0; i < t.r.n; i++)
			CHECK_EQ(t.r.all[i].weight, 1);
		tier_end(&t, 0);
	}
}

TEST(CF_LD_22_off_and_for_no_time)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct tier t;

		negative_begin(&t, form, (hapax_cache_options){.max_entries = 3, .negative_ttl_ns = HAPAX_ZERO});
		for (int i = 0; i < 4; i++)
			CHECK_EQ(get_of(&t, "k"), HAPAX_NOVALUE);
		CHECK_EQ(loads_of(&t.s), 4);
		tier_settle(&t);
		tier_end(&t, 0);
		t = (struct tier){.loose = true, .s = {.result = HAPAX_LOAD_NOVALUE}};
		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 3, .ttl_ns = TTL});
		for (int i = 0; i < 4; i++)
			CHECK_EQ(get_of(&t, "k"), HAPAX_NOVALUE);
		CHECK_EQ(loads_of(&t.s), 4);
		CHECK_EQ(stats_of(t.cache).retained, 0);
		tier_end(&t, 0);
	}
}

/* Only the loader's answer is remembered: failures are not. */
TEST(CF_LD_22_failures_are_not_negative_results)
{
	struct tier t;

	negative_begin(&t, LOADED, (hapax_cache_options){.max_entries = 3});
	t.s.result = HAPAX_LOAD_FAIL;
	CHECK_EQ(get_of(&t, "k"), HAPAX_ELOADER);
	CHECK_EQ(get_of(&t, "k"), HAPAX_ELOADER);
	CHECK_EQ(loads_of(&t.s), 2);
	t.s.result = HAPAX_LOAD_OK;
	CHECK_EQ(get_of(&t, "k"), HAPAX_OK);
	tier_end(&t, 1);
}

/* A fenced load's NOVALUE is its callers', and not remembered. */
TEST(CF_LD_22_a_fenced_no_value_is_not_remembered)
{
	for (int form = LOADED; form <= MADE; form++) {
		for (int put = 0; put < 2; put++) {
			struct gate g = GATE_INIT;
			struct asker a;
			struct tier t;

			negative_begin(&t, form, (hapax_cache_options){.max_entries = 3});
			t.s.then = first_stops;
			t.s.arg = &g;
			ask(&a, t.cache, "k", NULL);
			test_event_wait(&g.entered);
			if (put)
				hapax_release(tier_put(&t, "k"));
			else
				CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("k")), HAPAX_MISS);
			test_event_set(&g.go);
			CHECK_EQ(answer(&a), HAPAX_NOVALUE);
			asker_end(&a);
			CHECK_EQ(get_of(&t, "k"), put ? HAPAX_OK : HAPAX_NOVALUE);
			tier_end(&t, (size_t)put);
		}
	}
}

static void ask_many(unsigned index, void *arg)
{
	struct tier *t = arg;
	uint64_t rng = test_stream(index), rounds = scaled(3000);

	for (uint64_t i = 0; i < rounds; i++) {
		const char *key = k((int)test_below(&rng, 20));
		int rc;

		switch (test_below(&rng, 8)) {
		case 0: (void)hapax_cache_remove(t->cache, HAPAX_STR(key)); break;
		case 1: hapax_release(tier_put(t, key)); break;
		case 2:
			if (!index)
				fake_clock_advance(test_below(&rng, TTL / 4));
			break;
		default:
			rc = get_of(t, key);
			CHECK(rc == HAPAX_NOVALUE || rc == HAPAX_NEGATIVE || rc == HAPAX_OK);
			break;
		}
	}
}

TEST(CF_LD_22_negative_results_under_threads)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct tier t;

		negative_begin(&t, form, (hapax_cache_options){.max_entries = 8, .ttl_ns = TTL});
		run_threads(4, ask_many, &t);
		hapax_cache_clear(t.cache);
		fake_clock_advance(2 * TTL);
		tier_settle(&t);
		CHECK_EQ(stats_of(t.cache).retained, 0);
		CHECK_EQ(t.s.destroyed, t.put_id - 1000);
		tier_end(&t, 0);
	}
}
