/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bounds by number and weight: what is held, what goes first, what is refused. */
#include "unit/guard.h"
#include "unit/removals.h"

static const hapax_policy *policy_of(int i)
{
	switch (i) {
	case 0: return NULL;
	case 1: return hapax_policy_adaptive();
	case 2: return hapax_policy_lru();
	case 3: return hapax_policy_sieve();
	case 4: return hapax_policy_s3fifo();
	case 5: return hapax_policy_tinylfu();
	default: return hapax_policy_weighted();
	}
}
enum { POLICIES = 7 };

TEST(CF_EV_01_so_many_entries_are_held)
{
	for (int form = 0; form < FORMS; form++) {
		for (int p = 0; p < POLICIES; p++) {
			struct tier t = {0};

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 10, .policy = policy_of(p)});
			for (int i = 0; i < 500; i++) {
				hapax_cache_stats s;

				tier_fill(&t, k(i));
				s = stats_of(t.cache);
				CHECK_EQ(s.retained, i < 10 ? i + 1 : 10); /* one thread adds: no excess */
				CHECK_EQ(s.size_now, s.retained);
				CHECK_EQ(s.demotions, i < 10 ? 0 : i - 9);
				CHECK_EQ(t.s.destroyed, s.demotions); /* nobody else held them */
			}
			TOLD(&t.r, 0, 0, 0, 0, 490, 0);
			tier_end(&t, 10);
			CHECK_EQ(t.s.destroyed, 500);
		}
	}
}

/* Weights of 1 to 40 by the key. */
struct weights {
	int calls, refuse;
	uint64_t fixed; /* not 0: that */
	struct item *last;
};

static int weigh(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	struct weights *w = ctx;
	uint64_t x = 7;

	CHECK(key && object && weight);
	CHECK(item_is_alive(object));
	__atomic_fetch_add(&w->calls, 1, __ATOMIC_RELAXED);
	for (size_t i = 0; i < key->size; i++)
		x = x * 131 + ((const unsigned char *)key->data)[i];
	*weight = w->fixed ? w->fixed : 1 + x % 40;
	return w->refuse;
}

static uint64_t weight_of(const char *key)
{
	struct weights w = {0};
	struct item any = {.live = ITEM_ALIVE};
	uint64_t weight = 0;
	hapax_key bytes = HAPAX_STR(key);

	CHECK_EQ(weigh(&bytes, &any, &weight, &w), 0);
	return weight;
}

TEST(CF_EV_01_so_much_weight_is_held)
{
	for (int form = 0; form < FORMS; form++) {
		for (int p = 0; p < POLICIES; p++) {
			struct weights w = {0};
			struct tier t = {0};
			hapax_cache_stats s;
			uint64_t held = 0, gone = 0;
			size_t size = 0;

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_weight = 300, .policy = policy_of(p),
					   .weigh = weigh, .weigh_ctx = &w});
			for (int i = 0; i < 500; i++) {
				tier_fill(&t, k(i));
				s = stats_of(t.cache);
				CHECK(s.retained_weight <= 300);
				/* evicted only as long as it has to be: one more is at most 40 */
				if (i > 100)
					CHECK(s.retained_weight > 300 - 40 * 2);
			}
			CHECK_EQ(w.calls, 500);
			for (int i = 0; i < 500; i++) {
				if (present(t.cache, k(i))) {
					held += weight_of(k(i));
					size++;
				} else {
					gone += weight_of(k(i));
				}
			}
			s = stats_of(t.cache);
			CHECK_EQ(s.retained, size);
			CHECK_EQ(s.retained_weight, held);
			CHECK_EQ(s.eviction_weight, gone);
			gone = 0;
			for (size_t i = 0; i < t.r.n; i++) {
				CHECK_EQ(t.r.all[i].weight, weight_of(t.r.all[i].key));
				gone += t.r.all[i].weight;
			}
			CHECK_EQ(s.eviction_weight, gone);
			CHECK_EQ(w.calls, 500); /* never asked again */
			tier_end(&t, size);
		}
	}
}

/* ---- weights --------------------------------------------------------------------------------------------------- */

TEST(CF_EV_02_weights_add_up_after_any_mix)
{
	enum { KEYS = 40 };

	for (int form = 0; form < FORMS; form++) {
		struct weights w = {0};
		struct tier t = {0};
		uint64_t rng = test_stream((uint64_t)form), weights[KEYS] = {0}, now;
		int installs = 0, present_now;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_weight = 1 << 30, .weigh = weigh,
				   .weigh_ctx = &w, .ttl_ns = 1000000});
		for (int round = 0; round < 4000; round++) {
			int i = (int)test_below(&rng, KEYS);
			void *out = NULL;
			hapax_cache_stats s;

			w.fixed = 1 + test_below(&rng, 1000);
			switch (test_below(&rng, 8)) {
			case 0:
			case 1:
				if (!weights[i]) {
					tier_fill(&t, k(i));
					installs++;
					weights[i] = w.fixed;
				} else {
					tier_hit(&t, k(i));
				}
				break;
			case 2:
			case 3: /* a replacement or not */
				hapax_release(tier_put(&t, k(i)));
				installs++;
				weights[i] = w.fixed;
				break;
			case 4:
				CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR(k(i))), weights[i] ? HAPAX_OK : HAPAX_MISS);
				weights[i] = 0;
				break;
			case 5:
				CHECK_EQ(hapax_cache_pop(t.cache, HAPAX_STR(k(i)), &out), weights[i] ? HAPAX_OK : HAPAX_MISS);
				hapax_release(out);
				weights[i] = 0;
				break;
			case 6:
				CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR(k(i)), HAPAX_ZERO),
					 weights[i] ? HAPAX_OK : HAPAX_MISS);
				weights[i] = 0;
				break;
			default:
				if (test_below(&rng, 40) == 0) {
					fake_clock_advance(1000000);
					memset(weights, 0, sizeof(weights));
				}
				break;
			}
			tier_settle(&t);
			now = 0;
			present_now = 0;
			for (i = 0; i < KEYS; i++) {
				now += weights[i];
				present_now += weights[i] != 0;
			}
			s = stats_of(t.cache);
			CHECK_EQ(s.retained_weight, now);
			CHECK_EQ(s.retained, present_now);
			CHECK_EQ(s.size_now, present_now);
		}
		CHECK_EQ(w.calls, installs); /* once for each value */
		tier_end(&t, stats_of(t.cache).size_now);
	}
}

TEST(CF_EV_02_without_a_weigher_it_is_the_objects_memory)
{
	struct tier t = {0};
	struct item *small, *large;
	uint64_t one, two;
	void *out = NULL;

	tier_begin(&t, PUT, test_env(), (hapax_cache_options){.max_weight = 10 << 20});
	small = tier_put(&t, "small");
	one = stats_of(t.cache).retained_weight;
	CHECK(one >= sizeof(struct item) && one < 4096);
	CHECK_EQ(hapax_new(t.env, &item_type, 100000, &out), HAPAX_OK);
	large = out;
	large->live = ITEM_ALIVE;
	CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("large"), large), HAPAX_OK);
	two = stats_of(t.cache).retained_weight - one;
	CHECK(two >= one + 100000 && two < one + 110000);
	CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("small")), HAPAX_OK);
	CHECK_EQ(stats_of(t.cache).retained_weight, two);
	CHECK_EQ(t.r.all[0].weight, one);
	hapax_release(small);
	hapax_release(large);
	tier_end(&t, 1);
}

TEST(CF_EV_02_weights_of_single_puts)
{
	struct weights w = {0};
	struct tier t = {.shared = true};
	hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT, .weight = 70};
	struct item *it;

	tier_begin(&t, PUT, test_env(), (hapax_cache_options){.max_weight = 100, .weigh = weigh, .weigh_ctx = &w,
			   .policy = hapax_policy_lru()});
	w.fixed = 20;
	it = tier_item(&t);
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("a"), it, &o), HAPAX_OK);
	CHECK_EQ(w.calls, 0); /* it was given */
	CHECK_EQ(stats_of(t.cache).retained_weight, 70);
	o.weight = 0; /* the weigher's */
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("b"), it, &o), HAPAX_OK);
	CHECK_EQ(w.calls, 1);
	CHECK_EQ(stats_of(t.cache).retained_weight, 90);
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("c"), it, NULL), HAPAX_OK); /* as put: one too many */
	CHECK_EQ(stats_of(t.cache).retained_weight, 40);
	o.weight = HAPAX_ZERO;
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("d"), it, &o), HAPAX_OK);
	CHECK_EQ(stats_of(t.cache).retained_weight, 40);
	CHECK_EQ(stats_of(t.cache).retained, 3);
	CHECK_EQ(hapax_cache_size(t.cache), 4);
	hapax_release(it);
	CHECK_EQ(hapax_cache_size(t.cache), 4); /* "a" was let go of; the object lives, under "b" */
	tier_end(&t, 4);
}

/* ---- too heavy ------------------------------------------------------------------------------------------------- */

TEST(CF_EV_03_an_entry_heavier_than_the_bound_is_not_held)
{
	for (int form = 0; form < FORMS; form++) {
		struct weights w = {.fixed = 30};
		struct tier t = {0};
		struct item *heavy;
		int id;

		tier_begin(&t, form, test_env(), (hapax_cache_options){.max_weight = 100, .weigh = weigh, .weigh_ctx = &w,
				   .policy = hapax_policy_lru()});
		for (int i = 0; i < 3; i++)
			tier_fill(&t, k(i));
		w.fixed = 101;
		heavy = tier_add(&t, "heavy");
		id = heavy->id;
		CHECK_EQ(stats_of(t.cache).retained, 3);
		CHECK_EQ(t.r.n, 0);
		CHECK_PTR(present(t.cache, "heavy"), heavy); /* somebody uses it */
		CHECK_EQ(tier_hit(&t, "heavy"), id);
		CHECK_EQ(stats_of(t.cache).retained, 3);
		hapax_release(heavy);
		TOLD(&t.r, 0, 0, 0, 0, 1, 0);
		CHECK_STR(t.r.all[0].key, "heavy");
		CHECK_EQ(t.r.all[0].weight, 101);
		CHECK_EQ(t.r.all[0].id, id);
		for (int i = 0; i < 3; i++)
			CHECK(present(t.cache, k(i))); /* the others are untouched */
		w.fixed = 100; /* just fits, alone */
		tier_fill(&t, "whole");
		CHECK(present(t.cache, "whole"));
		CHECK_EQ(stats_of(t.cache).retained_weight, 100);
		CHECK_EQ(stats_of(t.cache).retained, 1);
		TOLD(&t.r, 0, 0, 0, 0, 4, 0);
		tier_end(&t, 1);
	}
}

TEST(CF_EV_03_an_update_that_makes_it_too_heavy)
{
	for (int form = 0; form < FORMS; form++) {
		for (int held = 0; held < 2; held++) {
			struct weights w = {.fixed = 30};
			struct tier t = {0};
			struct item *heavy;
			int old, fresh;

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_weight = 100, .weigh = weigh,
					   .weigh_ctx = &w});
			old = tier_fill(&t, "k");
			tier_fill(&t, "other");
			w.fixed = 1000;
			heavy = tier_put(&t, "k");
			fresh = heavy->id;
			TOLD(&t.r, 0, 1, 0, 0, 0, 0);
			CHECK_EQ(t.r.all[0].id, old);
			CHECK_EQ(t.r.all[0].weight, 30);
			if (held)
				CHECK_PTR(present(t.cache, "k"), heavy);
			hapax_release(heavy);
			CHECK(!present(t.cache, "k"));
			TOLD(&t.r, 0, 1, 0, 0, 1, 0);
			CHECK_EQ(t.r.all[1].id, fresh);
			CHECK_EQ(t.r.all[1].weight, 1000);
			CHECK(present(t.cache, "other"));
			CHECK_EQ(stats_of(t.cache).retained_weight, 30);
			tier_end(&t, 1);
		}
	}
}

/* ---- no weight, too much weight -------------------------------------------------------------------------------- */

static int weigh_nothing_below_100(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)object;
	(void)ctx;
	*weight = key->size <= 2 ? 0 : 3;
	return 0;
}

TEST(CF_EV_04_what_weighs_nothing_is_never_let_go_of_for_size)
{
	for (int form = 0; form < FORMS; form++) {
		for (int p = 0; p < POLICIES + 1; p++) {
			struct guard g;
			struct tier t = {0};

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_weight = 10, .weigh = weigh_nothing_below_100,
					   .policy = p < POLICIES ? policy_of(p) : guard_policy(&g, HAPAX_POLICY_TOUCH, true)});
			for (int i = 0; i < 600; i++)
				tier_fill(&t, k(i));
			for (int i = 0; i < 100; i++)
				CHECK(present(t.cache, k(i)));
			CHECK_EQ(stats_of(t.cache).retained_weight, 9);
			CHECK_EQ(stats_of(t.cache).retained, 103);
			CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
			CHECK_EQ(stats_of(t.cache).retained, 100);
			CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("7")), HAPAX_OK);
			CHECK_EQ(stats_of(t.cache).retained, 99);
			if (p == POLICIES)
				CHECK_EQ(g.adds, 500);
			tier_end(&t, 99);
		}
	}
}

static const int64_t refused_weights[] = {INT64_C(1) << 62, (INT64_C(1) << 62) + 1, INT64_MAX};

TEST(CF_EV_04_refused_weights_change_nothing)
{
	for (int over = 0; over < 2; over++) {
		struct weights w = {.fixed = 5};
		struct tier t = {.loose = true};
		struct item *old, *it;
		void *out = (void *)1;
		bool inserted = true;
		int told = 0;

		tier_begin(&t, PUT, test_env(), (hapax_cache_options){.max_weight = INT64_MAX, .weigh = weigh, .weigh_ctx = &w});
		old = over ? tier_put(&t, "k") : NULL;
		it = tier_item(&t);
		for (unsigned i = 0; i < 6; i++) {
			int expected = i < 5 ? HAPAX_EWEIGHT : HAPAX_ECALLBACK;
			hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT};

			w.fixed = i < 3 ? (uint64_t)refused_weights[i] : i == 3 ? UINT64_C(1) << 63 : i == 4 ? UINT64_MAX : 5;
			w.refuse = i < 5 ? 0 : 9;
			CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), it), expected);
			CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), expected);
			CHECK_EQ(hapax_cache_get_or_put(t.cache, HAPAX_STR("new"), it, &out, &inserted), expected);
			CHECK(!out);
			out = (void *)1;
			CHECK_EQ(hapax_cache_get(t.cache, HAPAX_STR("loaded"), &out), expected);
			CHECK(!out);
			CHECK_EQ(hapax_count(it), 1);
			CHECK_PTR(present(t.cache, "k"), old);
			CHECK(!present(t.cache, "new"));
			CHECK(!present(t.cache, "loaded"));
			CHECK_EQ(stats_of(t.cache).retained_weight, over ? 5 : 0);
			CHECK_EQ(stats_of(t.cache).puts, over);
			CHECK_EQ(t.s.destroyed, i + 1); /* what was loaded is disposed of */
		}
		w.refuse = 0;
		w.fixed = 5;
		for (size_t i = 0; i < t.r.n; i++)
			told += !strcmp(t.r.all[i].key, "loaded");
		CHECK_EQ(told, t.r.n); /* nothing was told of those that have not been installed by a put */
		CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), it), HAPAX_OK);
		CHECK_EQ(stats_of(t.cache).retained_weight, 5);
		CHECK_PTR(present(t.cache, "k"), it);
		hapax_release(old);
		hapax_release(it);
		tier_end(&t, 1);
	}
}

TEST(CF_EV_04_weights_of_puts_that_are_refused)
{
	struct tier t = {0};
	struct item *it;
	hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT};

	tier_begin(&t, PUT, test_env(), (hapax_cache_options){.max_weight = 100});
	it = tier_item(&t);
	o.weight = -1;
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_EOPTION);
	o.weight = INT64_MIN + 1;
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_EOPTION);
	o.weight = INT64_C(1) << 62;
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_EWEIGHT);
	o.weight = 1;
	o.ttl_ns = -5;
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_EOPTION);
	o.ttl_ns = 0;
	o.flags = 1;
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_EFLAGS);
	o.flags = 0;
	o.size = 3;
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_EOPTSIZE);
	o.size = sizeof(o);
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), NULL, &o), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_put_with(NULL, HAPAX_STR("k"), it, &o), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_BYTES(NULL, 3), it, &o), HAPAX_EKEY);
	CHECK_EQ(hapax_cache_size(t.cache), 0);
	CHECK_EQ(hapax_count(it), 1);
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_OK);
	CHECK_EQ(stats_of(t.cache).retained_weight, 1);
	hapax_release(it);
	tier_end(&t, 1);
}

TEST(CF_EV_04_the_largest_weights_do_not_wrap)
{
	for (int form = 0; form < FORMS; form++) {
		for (int p = 0; p < POLICIES; p++) {
			const uint64_t most = (UINT64_C(1) << 62) - 1;
			struct weights w = {.fixed = most};
			struct tier t = {0};

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_weight = INT64_MAX, .weigh = weigh,
					   .weigh_ctx = &w, .policy = policy_of(p)});
			for (int i = 0; i < 20; i++) {
				tier_fill(&t, k(i));
				CHECK_EQ(stats_of(t.cache).retained_weight, (i ? 2 : 1) * most);
			}
			TOLD(&t.r, 0, 0, 0, 0, 18, 0);
			w.fixed = 1;
			tier_fill(&t, "one");
			CHECK(stats_of(t.cache).retained_weight <= INT64_MAX);
			tier_end(&t, 3); /* 2 * most + 1 is INT64_MAX */
		}
	}
}
