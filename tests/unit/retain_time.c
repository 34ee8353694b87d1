/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Held for an age, for an idle time: what reads see at the end of it, without maintenance. */
#include "unit/removals.h"

#define SPAN 1000000

static hapax_cache_options holding(int idle)
{
	return (hapax_cache_options){.retain_age_ns = idle ? 0 : SPAN, .retain_idle_ns = idle ? SPAN : 0};
}

/* Only the cache held it: from the end on it is not handed out, whoever asks, and whoever asks first. */
TEST(G4_at_the_end_of_its_time_an_unused_object_is_absent)
{
	for (int form = 0; form < FORMS; form++) {
		for (int idle = 0; idle < 2; idle++) {
			for (int way = 0; way < 9; way++) {
				struct tier t = {0};
				struct item *it = NULL;
				hapax_iter *iter = NULL;
				hapax_key key = HAPAX_STR("k");
				bool inserted = false;
				void *out = (void *)1;
				int loads, id;

				tier_begin(&t, form, test_env_fake(), holding(idle));
				id = tier_fill(&t, "k");
				CHECK_EQ(stats_of(t.cache).retained, 1);
				fake_clock_advance(SPAN - 1);
				CHECK(present(t.cache, "k"));
				fake_clock_advance(1);
				loads = loads_of(&t.s);
				switch (way) {
				case 0:
					it = got(t.cache, "k");
					CHECK_EQ(loads_of(&t.s), loads + 1);
					CHECK(it->id != id);
					break;
				case 1: CHECK_EQ(hapax_cache_get_if_present(t.cache, key, &out), HAPAX_MISS); break;
				case 2: CHECK_EQ(hapax_cache_get_quietly(t.cache, key, &out), HAPAX_MISS); break;
				case 3: CHECK_EQ(hapax_cache_contains(t.cache, key), 0); break;
				case 4:
					CHECK_EQ(hapax_cache_iterate(t.cache, &iter), HAPAX_OK);
					CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_EMPTY);
					hapax_iter_close(iter);
					break;
				case 5: it = tier_put(&t, "k"); break;
				case 6: CHECK_EQ(hapax_cache_pop(t.cache, key, &out), HAPAX_MISS); break;
				case 7: CHECK_EQ(hapax_cache_remove(t.cache, key), HAPAX_MISS); break;
				default:
					it = tier_item(&t);
					CHECK_EQ(hapax_cache_get_or_put(t.cache, key, it, &out, &inserted), HAPAX_OK);
					CHECK(inserted);
					hapax_release(out);
					break;
				}
				tier_settle(&t);
				CHECK_EQ(t.s.destroyed, 1);
				if (t.r.n != 1 || t.r.all[0].cause != HAPAX_CAUSE_COLLECTED)
					TEST_FAIL("way %d: told %zu, first %s", way, t.r.n, t.r.n ? told_text(&t.r, 0) : "-");
				CHECK_PTR(present(t.cache, "k"), it);
				hapax_release(it);
				tier_end(&t, it != NULL);
			}
		}
	}
}

TEST(G4_SD_11_at_the_end_of_its_time_an_object_in_use_is_found)
{
	for (int form = 0; form < FORMS; form++) {
		for (int idle = 0; idle < 2; idle++) {
			struct tier t = {0};
			struct item *it;
			void *out = NULL;

			tier_begin(&t, form, test_env_fake(), holding(idle));
			it = tier_add(&t, "k");
			for (int round = 0; round < 3; round++) {
				fake_clock_advance(SPAN);
				if (round & 1)
					tier_settle(&t);
				CHECK_PTR(present(t.cache, "k"), it);
				CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR("k"), &out), HAPAX_OK);
				CHECK_PTR(out, it);
				hapax_release(out);
				CHECK_EQ(tier_hit(&t, "k"), it->id);
				CHECK_EQ(t.r.n, 0);
			}
			/* a use begins the idle time again; the age is what it is */
			hapax_release(it);
			if (idle) {
				CHECK_PTR(present(t.cache, "k"), it);
				fake_clock_advance(SPAN - 1);
				CHECK_PTR(present(t.cache, "k"), it);
				fake_clock_advance(1);
			}
			CHECK(!present(t.cache, "k"));
			tier_settle(&t);
			TOLD(&t.r, 0, 0, 1, 0, 0, 0);
			tier_end(&t, 0);
		}
	}
}

/* The reference that decides is let go of while others look. */
TEST(G4_an_age_that_ends_while_it_is_in_use_then_dies_with_its_user)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *it;

		tier_begin(&t, form, test_env_fake(), holding(0));
		it = tier_add(&t, "k");
		fake_clock_advance(SPAN);
		tier_settle(&t);
		CHECK_EQ(stats_of(t.cache).retained, 0);
		CHECK_EQ(hapax_count(it), 1);
		hapax_release(it);
		CHECK_EQ(t.s.destroyed, 1);
		TOLD(&t.r, 0, 0, 1, 0, 0, 0);
		CHECK_EQ(hapax_cache_next_deadline(t.cache), HAPAX_FOREVER);
		tier_end(&t, 0);
	}
}

TEST(G4_nothing_is_held_for_no_time)
{
	const hapax_cache_options none[] = {
		{.retain_age_ns = HAPAX_ZERO}, {.retain_idle_ns = HAPAX_ZERO}, {.retain_age_ns = HAPAX_ZERO, .max_entries = 10},
		{.retain_idle_ns = HAPAX_ZERO, .max_weight = 1000000}, {.retain_age_ns = SPAN, .retain_idle_ns = HAPAX_ZERO},
		{0}, {.ttl_ns = SPAN},
	};

	for (int form = 0; form < FORMS; form++) {
		for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
			struct tier t = {0};
			struct item *it;

			tier_begin(&t, form, test_env_fake(), none[i]);
			it = tier_add(&t, "k");
			CHECK_EQ(tier_hit(&t, "k"), it->id);
			CHECK_EQ(hapax_count(it), 1);
			CHECK_EQ(stats_of(t.cache).retained, 0);
			hapax_release(it);
			CHECK_EQ(t.s.destroyed, 1);
			CHECK(!present(t.cache, "k"));
			TOLD(&t.r, 0, 0, 1, 0, 0, 0);
			tier_end(&t, 0);
		}
	}
}

TEST(G4_the_earlier_of_age_and_idle_time)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.retain_age_ns = 3 * SPAN, .retain_idle_ns = SPAN});
		tier_fill(&t, "idle");
		tier_fill(&t, "used");
		for (int i = 0; i < 5; i++) {
			fake_clock_advance(SPAN / 2);
			tier_hit(&t, "used");
		}
		CHECK(!present(t.cache, "idle"));
		fake_clock_advance(SPAN / 2);
		CHECK(!present(t.cache, "used"));
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 2, 0, 0, 0);
		tier_end(&t, 0);
	}
}

/* touch() and a write begin the time in the cache again, and the ttl. */
TEST(G4_writes_begin_the_age_again)
{
	for (int form = 0; form < FORMS; form++) {
		for (int way = 0; way < 3; way++) {
			struct tier t = {0};
			struct item *it = NULL;
			void *out = NULL;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.retain_age_ns = SPAN});
			tier_fill(&t, "k");
			fake_clock_advance(SPAN - 1);
			if (way == 0) {
				CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR("k")), HAPAX_OK);
			} else if (way == 1) {
				hapax_release(tier_put(&t, "k"));
			} else { /* the same object again */
				CHECK_EQ(hapax_cache_get_quietly(t.cache, HAPAX_STR("k"), &out), HAPAX_OK);
				CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), out), HAPAX_OK);
				hapax_release(out);
			}
			fake_clock_advance(SPAN - 1);
			tier_settle(&t);
			it = present(t.cache, "k");
			CHECK(it);
			fake_clock_advance(1);
			CHECK(!present(t.cache, "k"));
			tier_settle(&t);
			TOLD(&t.r, 0, way == 1, 1, 0, 0, 0);
			tier_end(&t, 0);
		}
	}
}

/* ---- retention beside validity ---------------------------------------------------------------------------------- */

/* The ttl against an object in use: a second instance, and the first one is nobody's business but its users'. */
TEST(G4_SD_11_the_end_of_validity_makes_a_second_instance)
{
	for (int form = LOADED; form <= MADE; form++) {
		for (int bound = 0; bound < 2; bound++) {
			struct tier t = {0};
			struct item *first, *second;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = bound ? 10 : 0, .ttl_ns = SPAN});
			first = tier_add(&t, "k");
			fake_clock_advance(SPAN);
			second = got(t.cache, "k");
			CHECK(second != first);
			CHECK_EQ(loads_of(&t.s), 2);
			CHECK(item_is_alive(first));
			CHECK_EQ(first->id, 1);
			CHECK_EQ(hapax_count(first), 1);
			CHECK_EQ(t.s.destroyed, 0);
			TOLD(&t.r, 0, 0, 0, 1, 0, 0);
			CHECK_PTR(present(t.cache, "k"), second);
			hapax_release(first);
			CHECK_EQ(t.s.destroyed, 1);
			CHECK_PTR(present(t.cache, "k"), second);
			CHECK_EQ(t.r.n, 1);
			hapax_release(second);
			tier_end(&t, (size_t)bound);
		}
	}
}

TEST(SD_37_limits_of_time_and_number_really_hold)
{
	const hapax_cache_options limits[] = {
		{.max_entries = 100}, {.max_weight = 1 << 20}, {.retain_idle_ns = SPAN}, {.retain_age_ns = SPAN},
		{.max_entries = 100, .ttl_ns = SPAN}, {.max_entries = 100, .retain_idle_ns = SPAN},
	};

	for (int form = 0; form < FORMS; form++) {
		for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
			struct tier t = {0};
			int ids[20], hits = 0;

			tier_begin(&t, form, test_env_fake(), limits[i]);
			for (int j = 0; j < 20; j++)
				ids[j] = tier_fill(&t, k(j)); /* nobody uses them */
			for (int round = 0; round < 10; round++) {
				fake_clock_advance(SPAN / 11);
				for (int j = 0; j < 20; j++, hits++)
					CHECK_EQ(tier_hit(&t, k(j)), ids[j]);
			}
			CHECK_EQ(stats_of(t.cache).hits, hits);
			CHECK_EQ(t.s.destroyed, 0);
			tier_end(&t, 20);
		}
	}
}

/* All of them together. */
TEST(G4_bound_age_idle_time_and_ttl_together)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *held;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 4, .retain_age_ns = 5 * SPAN,
				   .retain_idle_ns = 2 * SPAN, .ttl_ns = 8 * SPAN, .policy = hapax_policy_lru()});
		held = tier_add(&t, "held");
		tier_fill(&t, "idle");
		for (int i = 0; i < 3; i++)
			tier_fill(&t, k(i)); /* "held" is let go of */
		CHECK_EQ(hapax_count(held), 1);
		fake_clock_advance(SPAN);
		for (int i = 0; i < 3; i++)
			tier_hit(&t, k(i));
		fake_clock_advance(SPAN);
		CHECK(!present(t.cache, "idle"));
		tier_settle(&t);
		CHECK(present(t.cache, "1"));
		CHECK_EQ(tier_hit(&t, "held"), held->id); /* comes back, for its idle time */
		CHECK_EQ(hapax_count(held), 2);
		fake_clock_advance(SPAN); /* the three have been idle for two */
		CHECK(!present(t.cache, "0"));
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 4, 0, 0, 0);
		fake_clock_advance(2 * SPAN); /* the age */
		tier_settle(&t);
		CHECK_EQ(hapax_count(held), 1);
		CHECK_PTR(present(t.cache, "held"), held);
		fake_clock_advance(3 * SPAN); /* the ttl */
		CHECK(!present(t.cache, "held"));
		CHECK(item_is_alive(held));
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 4, 1, 0, 0);
		hapax_release(held);
		tier_end(&t, 0);
	}
}

/* ---- under threads ----------------------------------------------------------------------------------------------- */

struct lapses {
	struct tier t;
	uint64_t rounds;
	int odd; /* gets that gave something dead or foreign */
};

/* Whoever holds the object finds the same one, all the time; nobody else ever gets one past its time that was given up. */
static void hold_and_look(unsigned index, void *arg)
{
	struct lapses *l = arg;
	uint64_t rng = test_stream(40 + index);

	for (uint64_t i = 0; i < l->rounds; i++) {
		const char *key = k((int)test_below(&rng, 4));
		struct item *it;

		if (index == 0) {
			fake_clock_advance(test_below(&rng, SPAN));
			(void)hapax_cache_maintain(l->t.cache);
			continue;
		}
		it = got(l->t.cache, key);
		for (int j = (int)test_below(&rng, 5); j > 0; j--)
			CHECK_PTR(present(l->t.cache, key), it);
		hapax_release(it);
	}
}

TEST(G1_G4_one_instance_at_any_age_under_threads)
{
	for (int form = LOADED; form <= MADE; form++) {
		for (int idle = 0; idle < 2; idle++) {
			struct lapses l = {.rounds = scaled(4000)};

			tier_begin(&l.t, form, test_env_fake(), holding(idle));
			run_threads(4, hold_and_look, &l);
			fake_clock_advance(10 * SPAN);
			tier_settle(&l.t);
			CHECK_EQ(hapax_cache_size(l.t.cache), 0);
			CHECK_EQ(l.t.s.destroyed, loads_of(&l.t.s));
			CHECK_EQ(l.t.r.by_cause[HAPAX_CAUSE_COLLECTED], loads_of(&l.t.s));
			tier_end(&l.t, 0);
		}
	}
}
