/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the cache lets go of stays findable as long as anybody uses it: one key, one object. */
#include "unit/guard.h"
#include "unit/removals.h"

static const hapax_policy *policy_of(int i)
{
	switch (i) {
	case 0: return NULL;
	case 1: return hapax_policy_lru();
	case 2: return hapax_policy_sieve();
	case 3: return hapax_policy_s3fifo();
	case 4: return hapax_policy_tinylfu();
	default: return hapax_policy_weighted();
	}
}
enum { POLICIES = 6 };

TEST(G1_evicted_but_in_use_is_found_as_the_same_object)
{
	enum { N = 100 };

	for (int form = 0; form < FORMS; form++) {
		for (int p = 0; p < POLICIES; p++) {
			struct tier t = {0};
			struct item *held[N];
			hapax_cache_stats s;

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 7, .policy = policy_of(p)});
			for (int i = 0; i < N; i++)
				held[i] = tier_add(&t, k(i));
			s = stats_of(t.cache);
			CHECK_EQ(s.retained, 7);
			CHECK_EQ(s.size_now, N);
			CHECK_EQ(s.demotions, N - 7);
			for (int round = 0; round < 3; round++) {
				for (int i = 0; i < N; i++) {
					struct item *it = got(t.cache, k(i));

					CHECK_PTR(it, held[i]);
					hapax_release(it);
				}
			}
			s = stats_of(t.cache);
			CHECK_EQ(loads_of(&t.s), form == PUT ? 0 : N);
			CHECK(s.demoted_hits >= 3 * (N - 7) - 3 * 7);
			CHECK(s.demoted_hits <= 3 * N);
			CHECK_EQ(s.readmissions, s.demotions - (N - 7)); /* one comes, one goes */
			CHECK(s.readmissions <= s.demoted_hits);
			CHECK_EQ(s.retained, 7);
			CHECK_EQ(t.r.n, 0);
			for (int i = 0; i < N; i++)
				hapax_release(held[i]);
			TOLD(&t.r, 0, 0, 0, 0, N - 7, 0); /* with their last users */
			CHECK_EQ(t.s.destroyed, N - 7);
			tier_end(&t, 7);
			CHECK_EQ(t.s.destroyed, N);
		}
	}
}

TEST(G1_a_hit_brings_it_back)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *a;
		void *out = NULL;

		tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 2, .policy = hapax_policy_lru()});
		a = tier_add(&t, "a");
		tier_fill(&t, "b");
		tier_fill(&t, "c");
		CHECK_EQ(hapax_count(a), 1); /* demoted: ours only */
		CHECK_PTR(present(t.cache, "a"), a);
		CHECK_EQ(hapax_count(a), 1); /* a look does not bring it back */
		CHECK_EQ(stats_of(t.cache).readmissions, 0);
		CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR("a"), &out), HAPAX_OK);
		hapax_release(out);
		CHECK_EQ(hapax_count(a), 2);
		CHECK_EQ(stats_of(t.cache).readmissions, 1);
		CHECK_EQ(stats_of(t.cache).demoted_hits, 1);
		TOLD(&t.r, 0, 0, 0, 0, 1, 0); /* b, for it */
		CHECK_STR(t.r.all[0].key, "b");
		hapax_release(a);
		CHECK_EQ(tier_hit(&t, "a"), a->id);
		CHECK_EQ(stats_of(t.cache).demoted_hits, 1);
		tier_end(&t, 2);
	}
}

TEST(G1_demoted_and_given_up_it_dies_at_once)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *a;
		int loads;

		tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 1, .policy = hapax_policy_lru()});
		a = tier_add(&t, "a");
		tier_fill(&t, "b");
		CHECK_EQ(t.s.destroyed, 0);
		hapax_release(a);
		CHECK_EQ(t.s.destroyed, 1);
		CHECK(!present(t.cache, "a"));
		loads = loads_of(&t.s);
		hapax_release(got(t.cache, "a"));
		CHECK_EQ(loads_of(&t.s), loads + 1);
		tier_end(&t, 1);
	}
}

/* ---- pins ------------------------------------------------------------------------------------------------------- */

/* Everything stays in use: it costs each insertion one question to the policy, however many there are. */
TEST(G1_a_million_pins_do_not_slow_evictions)
{
	uint64_t n = scaled(1000000), calls, worst = 0;
	struct item **held = malloc(n * sizeof(*held));
	struct tier t = {.r = {.fast = true}};
	struct guard g;

	test_watchdog(300);
	CHECK(held);
	tier_begin(&t, PUT, test_env(), (hapax_cache_options){.max_entries = 100, .policy = guard_policy(&g, HAPAX_POLICY_TOUCH, true),
			   .capacity = n});
	for (uint64_t i = 0; i < n; i++) {
		held[i] = tier_item(&t);
		calls = g.calls;
		CHECK_EQ(hapax_cache_put(t.cache, HAPAX_KEY_OF(i), held[i]), HAPAX_OK);
		if (g.calls - calls > worst)
			worst = g.calls - calls;
	}
	CHECK_EQ(g.adds, n);
	CHECK_EQ(g.evicts, n - 100);
	CHECK(worst <= 2); /* one in, one out */
	CHECK_EQ(hapax_cache_size(t.cache), n);
	/* with all of them in place, what nobody holds is evicted as before */
	for (uint64_t i = 0; i < 1000; i++) {
		uint64_t key = n + i;
		struct item *it = tier_item(&t);

		calls = g.calls;
		CHECK_EQ(hapax_cache_put(t.cache, HAPAX_KEY_OF(key), it), HAPAX_OK);
		hapax_release(it);
		CHECK_EQ(g.calls - calls, 2);
	}
	CHECK_EQ(stats_of(t.cache).retained, 100);
	CHECK_EQ(t.s.destroyed, 900);
	for (uint64_t i = 0; i < n; i++)
		hapax_release(held[i]);
	CHECK_EQ(t.s.destroyed, n + 900);
	free(held);
	tier_end(&t, 100);
}

/* ---- one object in several places -------------------------------------------------------------------------------- */

TEST(G1_one_object_in_two_caches)
{
	struct tier t = {0}, u = {0};
	hapax_env *env = test_env();
	struct item *it;

	tier_begin(&t, PUT, env, (hapax_cache_options){.max_entries = 1, .policy = hapax_policy_lru()});
	tier_begin(&u, PUT, env, (hapax_cache_options){0}); /* holds nothing */
	it = tier_put(&t, "k");
	CHECK_EQ(hapax_cache_put(u.cache, HAPAX_STR("other"), it), HAPAX_OK);
	hapax_release(it);
	CHECK_PTR(present(t.cache, "k"), it);
	CHECK_PTR(present(u.cache, "other"), it); /* the first one holds it */
	tier_fill(&t, "next");
	CHECK(!present(u.cache, "other"));
	TOLD(&t.r, 0, 0, 0, 0, 1, 0);
	TOLD(&u.r, 0, 0, 1, 0, 0, 0);
	CHECK_EQ(t.s.destroyed, 1);
	u.r.cache = NULL;
	cache_end(u.cache, 0);
	free(u.r.all);
	tier_end(&t, 1);
}

TEST(G1_one_object_under_two_keys)
{
	struct tier t = {0};
	struct item *it;

	tier_begin(&t, PUT, test_env(), (hapax_cache_options){.max_entries = 2, .policy = hapax_policy_lru()});
	it = tier_put(&t, "a");
	CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("b"), it), HAPAX_OK);
	CHECK_EQ(hapax_count(it), 3); /* once for each entry */
	hapax_release(it);
	tier_fill(&t, "c"); /* "a" is let go of; the object lives, under "b" */
	CHECK_PTR(present(t.cache, "a"), it);
	CHECK_EQ(t.r.n, 0);
	tier_fill(&t, "d");
	CHECK_EQ(t.s.destroyed, 1);
	TOLD(&t.r, 0, 0, 0, 0, 2, 0);
	tier_end(&t, 2);
}

/* ---- deaths in odd places ---------------------------------------------------------------------------------------- */

TEST(CF_RM_01_deaths_within_deaths_are_each_told_once)
{
	for (int form = 0; form < FORMS; form++) {
		for (int bound = 0; bound < 2; bound++) {
			struct tier t = {0};
			struct item *it, *up = NULL;
			enum { N = 2000 };

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = bound ? HAPAX_ZERO : 0});
			for (int i = 0; i < N; i++) {
				it = tier_add(&t, k(i));
				it->child = up;
				up = it;
			}
			CHECK_EQ(hapax_cache_size(t.cache), N);
			hapax_release(up);
			CHECK_EQ(t.s.destroyed, N);
			TOLD(&t.r, 0, 0, bound ? 0 : N, 0, bound ? N : 0, 0);
			for (int i = 0; i < N; i++)
				CHECK_STR(t.r.all[i].key, k(N - 1 - i)); /* in the order of their deaths */
			tier_end(&t, 0);
		}
	}
}

static void add_in_callback(struct probe *p)
{
	struct tier *t = p->arg;

	hapax_release(got(t->cache, "from a callback"));
}

TEST(CF_RM_05_a_death_callback_that_causes_evictions)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct tier t = {0};
		struct probe p;
		struct item *it;

		tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 1, .policy = hapax_policy_lru()});
		it = tier_add(&t, "0");
		probe_on(&p, 1, it, true);
		p.then = add_in_callback;
		p.arg = &t;
		hapax_release(it);
		CHECK_EQ(p.calls, 0);
		hapax_release(got(t.cache, "1")); /* "0" goes, and its callback has "1" go for a third */
		CHECK_EQ(p.calls, 1);
		CHECK_EQ(p.frees, 1);
		CHECK_EQ(t.r.n, 2);
		CHECK(present(t.cache, "from a callback"));
		probe_drop(&p);
		tier_end(&t, 1);
	}
}

/* The listener is told on the thread of the release, the destructor runs when it is called for. */
TEST(CF_RM_01_deferred_types_are_told_at_once)
{
	struct tier t = {0};
	struct item *it;

	tier_begin(&t, PUT, test_env(), (hapax_cache_options){.max_entries = 1, .type = &deferred_type,
			   .policy = hapax_policy_lru()});
	for (int i = 0; i < 3; i++) {
		it = item_of(t.env, &deferred_type, 50 + i);
		it->destroyed = &t.s.destroyed;
		CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR(k(i)), it), HAPAX_OK);
		hapax_release(it);
		CHECK_EQ(t.s.destroyed, 0);
		TOLD(&t.r, 0, 0, 0, 0, i, 0);
	}
	CHECK_EQ(hapax_run_deferred(t.env), 2);
	CHECK_EQ(t.s.destroyed, 2);
	CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("2")), HAPAX_OK);
	TOLD(&t.r, 1, 0, 0, 0, 2, 0);
	CHECK_EQ(hapax_run_deferred(t.env), 1);
	CHECK_EQ(t.s.destroyed, 3);
	it = item_of(t.env, &deferred_type, 60);
	CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), it), HAPAX_OK);
	CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
	hapax_release(it);
	TOLD(&t.r, 1, 0, 0, 0, 3, 0);
	CHECK_EQ(hapax_run_deferred(t.env), 1);
	tier_end(&t, 0);
}

static pthread_key_t at_exit;

static void release_at_exit(void *object) { hapax_release(object); }

static void *leave_with_it(void *arg)
{
	struct tier *t = arg;
	struct item *it = got(t->cache, "k");

	CHECK_EQ(pthread_setspecific(at_exit, it), 0);
	return NULL;
}

TEST(CF_RM_01_a_death_while_a_thread_exits_is_told_of)
{
	CHECK_EQ(pthread_key_create(&at_exit, release_at_exit), 0);
	for (int form = LOADED; form <= MADE; form++) {
		for (int bound = 0; bound < 2; bound++) {
			struct tier t = {0};

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = bound ? HAPAX_ZERO : 0});
			for (int i = 0; i < 20; i++) {
				test_join(test_thread(leave_with_it, &t));
				CHECK_EQ(t.r.n, i + 1);
				CHECK_EQ(t.s.destroyed, i + 1);
			}
			tier_end(&t, 0);
		}
	}
	pthread_key_delete(at_exit);
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static void key_released(const hapax_key *key, void *ctx)
{
	int *released = ctx;

	CHECK(key->size && ((const char *)key->data)[0] == 'b');
	__atomic_fetch_add(released, 1, __ATOMIC_RELAXED);
}

TEST(CX_KEY_05_borrowed_keys_of_what_is_held)
{
	for (int form = 0; form < FORMS; form++) {
		static char names[300][16];
		struct tier t = {0};
		int released = 0;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 20, .ttl_ns = 1000,
				   .keys = {.borrow = true, .release = key_released, .ctx = &released}});
		for (int i = 0; i < 300; i++) {
			snprintf(names[i], sizeof(names[i]), "b%d", i);
			tier_fill(&t, names[i]);
			if (i % 50 == 49) {
				fake_clock_advance(500);
				CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR(names[i])), HAPAX_OK);
			}
		}
		for (int i = 280; i < 300; i += 2)
			if (present(t.cache, names[i]))
				hapax_release(tier_put(&t, names[i])); /* one more stored key */
		CHECK_EQ(t.r.by_cause[HAPAX_CAUSE_EXPLICIT], 0);
		tier_settle(&t);
		tier_close(&t, hapax_cache_size(t.cache));
		hapax_testing_drain(t.env);
		CHECK_EQ(released, 300 + (int)t.r.by_cause[HAPAX_CAUSE_REPLACED]);
		tier_gone(&t);
	}
}

TEST(CX_KEY_03_long_and_empty_keys_of_what_is_held)
{
	for (int form = LOADED; form <= MADE; form++) {
		static const size_t sizes[] = {0, 1, 7, 8, 9, 15, 16, 17, 255, 4096, 100000, 1 << 20};
		struct tier t = {.r = {.fast = true}};
		char *bytes = malloc(1 << 20);
		void *out[12], *again;

		CHECK(bytes);
		memset(bytes, 'x', 1 << 20);
		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 100, .ttl_ns = 1000});
		for (int i = 0; i < 12; i++)
			CHECK_EQ(hapax_cache_get(t.cache, HAPAX_BYTES(bytes, sizes[i]), &out[i]), HAPAX_OK);
		for (int i = 0; i < 12; i++) {
			hapax_release(out[i]);
			CHECK_EQ(hapax_cache_get(t.cache, HAPAX_BYTES(bytes, sizes[i]), &again), HAPAX_OK);
			CHECK_PTR(again, out[i]);
			hapax_release(again);
		}
		CHECK_EQ(loads_of(&t.s), 12);
		fake_clock_advance(1000);
		for (int i = 0; i < 12; i++)
			CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_BYTES(bytes, sizes[i])), 0);
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 0, 12, 0, 0);
		free(bytes);
		tier_end(&t, 0);
	}
}

/* ---- exclusive --------------------------------------------------------------------------------------------------- */

TEST(D_8_exclusive_and_held_by_the_cache)
{
	struct tier t = {0};
	struct item *it, *next;
	void *out = (void *)1;
	hapax_get_options wait = {HAPAX_GET_OPTIONS_INIT};

	tier_begin(&t, LOADED, test_env_fake(), (hapax_cache_options){.flags = HAPAX_CACHE_EXCLUSIVE, .max_entries = 2, .ttl_ns = 1000,
			   .policy = hapax_policy_lru()});
	it = tier_add(&t, "k");
	tier_fill(&t, "b");
	tier_fill(&t, "c"); /* "k" is demoted, and in use: found */
	CHECK_EQ(hapax_count(it), 1);
	CHECK_EQ(tier_hit(&t, "k"), it->id);
	/* removed, and held: busy */
	CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("k")), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(t.cache, HAPAX_STR("k"), &out), HAPAX_EBUSY);
	CHECK(!out);
	hapax_release(it);
	CHECK_EQ(t.s.destroyed, loads_of(&t.s) - (int)stats_of(t.cache).size_now);
	it = tier_add(&t, "k");
	/* expired, and held: busy; past a deadline to wait as well */
	fake_clock_advance(1000);
	CHECK_EQ(hapax_cache_get(t.cache, HAPAX_STR("k"), &out), HAPAX_EBUSY);
	next = tier_item(&t);
	CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), next), HAPAX_EBUSY);
	hapax_release(next);
	wait.deadline = fake_clock_now();
	CHECK_EQ(hapax_cache_get_with(t.cache, HAPAX_STR("k"), &wait, &out), HAPAX_EBUSY);
	CHECK_EQ(t.r.by_cause[HAPAX_CAUSE_EXPIRED] >= 1, 1);
	hapax_release(it);
	/* expired, and held by the cache alone: it goes, and the next one is made after it */
	it = tier_add(&t, "k");
	hapax_release(it);
	fake_clock_advance(1000);
	next = tier_add(&t, "k");
	CHECK_EQ(t.s.most_running, 1);
	hapax_release(next);
	tier_settle(&t);
	tier_end(&t, 1);
}
