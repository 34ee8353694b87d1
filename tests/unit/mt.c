/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Maintenance, clear, iteration, size: caches that hold and forget. */
#include "unit/guard.h"
#include "unit/removals.h"

TEST(CF_MT_01_clear_takes_everything_from_before_it)
{
	for (int form = 0; form < FORMS; form++) {
		for (int p = 0; p < 3; p++) {
			struct guard g;
			struct tier t = {0};
			struct item *held[10];

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 50, .ttl_ns = 1000000, .policy =
					   p == 0 ? NULL : p == 1 ? hapax_policy_lru() : guard_policy(&g, HAPAX_POLICY_RECORD, false)});
			for (int round = 0; round < 5; round++) {
				for (int i = 0; i < 10; i++)
					held[i] = tier_add(&t, k(i)); /* some are let go of, and in use */
				for (int i = 10; i < 100; i++)
					tier_fill(&t, k(i));
				tier_fill(&t, "just before");
				hapax_cache_clear(t.cache);
				CHECK_EQ(hapax_cache_size(t.cache), 0);
				CHECK_EQ(stats_of(t.cache).retained, 0);
				for (int i = 0; i < 100; i++)
					CHECK(!present(t.cache, k(i)));
				CHECK(!present(t.cache, "just before"));
				tier_fill(&t, "after");
				tier_settle(&t);
				CHECK(present(t.cache, "after"));
				CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("after")), HAPAX_OK);
				for (int i = 0; i < 10; i++) {
					CHECK(item_is_alive(held[i]));
					CHECK_EQ(hapax_count(held[i]), 1);
					hapax_release(held[i]);
				}
				tier_check(&t, 0);
				CHECK_EQ(t.s.destroyed, (round + 1) * 102);
			}
			if (p == 2)
				CHECK_EQ(g.nodes, 0);
			tier_end(&t, 0);
		}
	}
}

/* ---- one maintains --------------------------------------------------------------------------------------------- */

struct keeper {
	struct tier t;
	struct gate gate;
	int stops;
};

static void stop_in_maintain(struct removals *r, const hapax_removal *removal)
{
	struct keeper *m = r->arg;

	(void)removal;
	if (__atomic_fetch_add(&m->stops, 1, __ATOMIC_SEQ_CST))
		return;
	test_event_set(&m->gate.entered);
	test_event_wait(&m->gate.go);
}

static void *maintain_fully(void *arg)
{
	tier_settle(&((struct keeper *)arg)->t);
	return NULL;
}

TEST(CF_MT_03_others_do_not_wait_for_the_one_that_maintains)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct keeper m = {.gate = GATE_INIT};
		pthread_t thread;

		tier_begin(&m.t, form, test_env_fake(), (hapax_cache_options){.max_entries = 5000, .ttl_ns = 1000000});
		for (int i = 0; i < 1000; i++)
			tier_fill(&m.t, k(i));
		fake_clock_advance(500000);
		for (int i = 1000; i < 1100; i++)
			tier_fill(&m.t, k(i));
		fake_clock_advance(500000);
		m.t.r.then = stop_in_maintain;
		m.t.r.arg = &m;
		thread = test_thread(maintain_fully, &m);
		test_event_wait(&m.gate.entered);
		for (int i = 1000; i < 1100; i++)
			tier_hit(&m.t, k(i));
		for (int i = 0; i < 50; i++) { /* expired: reads as absent, and is loaded */
			hapax_release(got(m.t.cache, k(i)));
			CHECK(!present(m.t.cache, k(500 + i)));
			hapax_release(tier_put(&m.t, k(2000 + i)));
			(void)hapax_cache_maintain(m.t.cache); /* returns, whatever it says */
			(void)hapax_cache_next_deadline(m.t.cache);
		}
		CHECK_EQ(m.t.r.by_cause[HAPAX_CAUSE_EXPIRED] <= 1000, 1);
		test_event_set(&m.gate.go);
		test_join(thread);
		tier_settle(&m.t);
		TOLD(&m.t.r, 0, 0, 0, 1000, 0, 0);
		tier_end(&m.t, 200);
	}
}

static void maintain_together(unsigned index, void *arg)
{
	struct keeper *m = arg;

	for (int i = 0; i < 400; i++) {
		(void)hapax_cache_maintain(m->t.cache);
		if (index < 2)
			hapax_release(got(m->t.cache, k((int)(index * 1000) + i % 50)));
		if (index == 2)
			fake_clock_advance(20000);
	}
}

TEST(CF_MT_03_many_maintain_at_once)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct keeper m = {.stops = 1};
		struct guard g;

		tier_begin(&m.t, form, test_env_fake(), (hapax_cache_options){.max_entries = 60, .ttl_ns = 1000000,
				   .policy = guard_policy(&g, HAPAX_POLICY_TOUCH, true)});
		run_threads(4, maintain_together, &m);
		fake_clock_advance(1000000);
		tier_settle(&m.t);
		CHECK_EQ(hapax_cache_size(m.t.cache), 0);
		CHECK_EQ(g.nodes, 0);
		CHECK_EQ(m.t.s.destroyed, loads_of(&m.t.s));
		tier_end(&m.t, 0);
	}
}

/* ---- weak values ------------------------------------------------------------------------------------------------ */

TEST(CF_MT_05_dead_values)
{
	for (int form = 0; form < FORMS; form++) {
		for (int bound = 0; bound < 2; bound++) {
			struct tier t = {0};
			struct item *it, *dead;
			hapax_iter *iter = NULL;
			void *out = (void *)1;

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = bound ? HAPAX_ZERO : 0});
			dead = tier_add(&t, "k");
			hapax_release(dead);
			CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR("k"), &out), HAPAX_MISS);
			CHECK(!out);
			CHECK_EQ(hapax_cache_remove_if(t.cache, HAPAX_STR("k"), dead), HAPAX_MISS);
			CHECK_EQ(hapax_cache_iterate(t.cache, &iter), HAPAX_OK);
			CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_EMPTY);
			hapax_iter_close(iter);
			it = tier_put(&t, "k");
			TOLD(&t.r, 0, 0, bound ? 0 : 1, 0, bound, 0); /* once, and no replacement */
			hapax_release(it);
			TOLD(&t.r, 0, 0, bound ? 0 : 2, 0, 2 * bound, 0);
			tier_end(&t, 0);
		}
	}
}

/* ---- iteration --------------------------------------------------------------------------------------------------- */

TEST(CF_MT_09_iteration_does_not_touch_the_order)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		hapax_iter *iter = NULL;
		hapax_key key;
		void *out;
		int seen = 0;

		tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 10, .policy = hapax_policy_lru()});
		for (int i = 0; i < 10; i++)
			tier_fill(&t, k(i));
		CHECK_EQ(hapax_cache_iterate(t.cache, &iter), HAPAX_OK);
		while (!hapax_iter_next(iter, &key, &out)) {
			CHECK(item_is_alive(out));
			CHECK_EQ(hapax_count(out), 2);
			seen++;
		}
		hapax_iter_close(iter);
		CHECK_EQ(seen, 10);
		for (int i = 0; i < 10; i++) { /* still in the order in which they came */
			tier_fill(&t, k(100 + i));
			CHECK_STR(t.r.all[i].key, k(i));
		}
		tier_end(&t, 10);
	}
}

/* Weakly consistent: what stays is yielded once, what is pinned is one object at most. */
TEST(CF_MT_09_iteration_beside_evictions)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *held[20];
		hapax_iter *iter = NULL;
		hapax_key key;
		void *out;
		int seen[20] = {0}, n = 0;

		tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 10});
		for (int i = 0; i < 20; i++)
			held[i] = tier_add(&t, k(i));
		CHECK_EQ(hapax_cache_iterate(t.cache, &iter), HAPAX_OK);
		while (!hapax_iter_next(iter, &key, &out)) {
			char text[16] = "";

			memcpy(text, key.data, key.size);
			if (atoi(text) < 20)
				CHECK_EQ(seen[atoi(text)]++, 0);
			if (n++ < 200)
				tier_fill(&t, k(1000 + n)); /* evicts all the time */
			CHECK(n < 2000);
		}
		hapax_iter_close(iter);
		for (int i = 0; i < 20; i++) {
			CHECK_EQ(seen[i], 1);
			hapax_release(held[i]);
		}
		CHECK_EQ(t.r.n + hapax_cache_size(t.cache), loads_of(&t.s) + t.put_id - 1000);
		tier_end(&t, hapax_cache_size(t.cache));
	}
}

/* ---- the size ---------------------------------------------------------------------------------------------------- */

static void change_a_lot(unsigned index, void *arg)
{
	struct keeper *m = arg;
	uint64_t rng = test_stream(70 + index), rounds = scaled(3000);
	struct item *held[8] = {NULL};

	for (uint64_t i = 0; i < rounds; i++) {
		int slot = (int)test_below(&rng, 8);
		const char *key = k((int)test_below(&rng, 100));

		hapax_release(held[slot]);
		held[slot] = test_below(&rng, 3) ? got(m->t.cache, key) : tier_put(&m->t, key);
		if (!test_below(&rng, 10))
			(void)hapax_cache_remove(m->t.cache, HAPAX_STR(key));
		if (!test_below(&rng, 200))
			hapax_cache_clear(m->t.cache);
		if (!index)
			fake_clock_advance(test_below(&rng, 3000));
	}
	for (int i = 0; i < 8; i++)
		hapax_release(held[i]);
}

TEST(CF_MT_10_the_size_is_exact_at_rest)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct keeper m = {.stops = 1};
		size_t live = 0;
		hapax_iter *iter = NULL;

		tier_begin(&m.t, form, test_env_fake(), (hapax_cache_options){.max_entries = 30, .ttl_ns = 1000000,
				   .retain_idle_ns = 300000});
		run_threads(4, change_a_lot, &m);
		tier_settle(&m.t);
		CHECK_EQ(hapax_cache_iterate(m.t.cache, &iter), HAPAX_OK);
		while (!hapax_iter_next(iter, NULL, NULL))
			live++;
		hapax_iter_close(iter);
		CHECK_EQ(hapax_cache_size(m.t.cache), live);
		CHECK_EQ(stats_of(m.t.cache).retained, live);
		tier_end(&m.t, live);
		CHECK_EQ(m.t.s.destroyed, loads_of(&m.t.s) + m.t.put_id - 1000);
	}
}
