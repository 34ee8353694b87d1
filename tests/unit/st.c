/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Statistics, and what costs nothing when it is not asked for. */
#include "unit/guard.h"
#include "unit/removals.h"

/* ---- counts ----------------------------------------------------------------------------------------------------- */

struct gets {
	struct tier t;
	uint64_t done[4];
};

static void get_randomly(unsigned index, void *arg)
{
	struct gets *g = arg;
	uint64_t rng = test_stream(index), rounds = scaled(4000);

	for (uint64_t i = 0; i < rounds; i++) {
		const char *key = k((int)test_below(&rng, 60));
		void *out = NULL;

		switch (test_below(&rng, 12)) {
		case 0: hapax_release(tier_put(&g->t, key)); continue;
		case 1: (void)hapax_cache_remove(g->t.cache, HAPAX_STR(key)); continue;
		case 2: (void)hapax_cache_contains(g->t.cache, HAPAX_STR(key)); continue;
		case 3: (void)!hapax_cache_get_quietly(g->t.cache, HAPAX_STR(key), &out); break;
		case 4:
			(void)!hapax_cache_get_if_present(g->t.cache, HAPAX_STR(key), &out);
			g->done[index]++;
			break;
		case 5:
			if (index == 0)
				fake_clock_advance(300);
			continue;
		default:
			out = got(g->t.cache, key);
			g->done[index]++;
			break;
		}
		hapax_release(out);
	}
}

TEST(CF_ST_01_CF_ST_02_sums_after_everything_at_once)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct gets g = {0};
		hapax_cache_stats s;

		tier_begin(&g.t, form, test_env_fake(), (hapax_cache_options){.max_entries = 20, .ttl_ns = 10000, .retain_idle_ns = 3000});
		run_threads(4, get_randomly, &g);
		tier_settle(&g.t);
		s = stats_of(g.t.cache);
		CHECK_EQ(s.hits + s.misses, g.done[0] + g.done[1] + g.done[2] + g.done[3]);
		CHECK_EQ(s.loads, loads_of(&g.t.s));
		CHECK_EQ(s.loads, s.load_successes + s.load_failures);
		CHECK(s.loads <= s.misses);
		CHECK(s.retained <= 20);
		tier_end(&g.t, s.size_now);
		CHECK_EQ(g.t.s.destroyed, loads_of(&g.t.s) + g.t.put_id - 1000);
	}
}

static int load_takes_time(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)s;
	(void)object;
	(void)key;
	fake_clock_advance((uint64_t)load * 1000);
	return load % 3 == 2 ? HAPAX_LOAD_NOVALUE : GO_ON;
}

TEST(CF_ST_02_load_time_is_of_the_injected_clock)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct tier t = {.s = {.then = load_takes_time}};
		hapax_cache_stats s;
		void *out = NULL;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 5});
		for (int i = 0; i < 9; i++) {
			(void)!hapax_cache_get(t.cache, HAPAX_STR(k(i)), &out);
			hapax_release(out);
		}
		s = stats_of(t.cache);
		CHECK_EQ(s.load_ns, 45000);
		CHECK_EQ(s.loads, 9);
		CHECK_EQ(s.load_successes, 6);
		CHECK_EQ(s.load_novalues, 3);
		CHECK_EQ(s.misses, 9);
		tier_end(&t, 5);
	}
}

static int weigh_key(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)object;
	(void)ctx;
	*weight = 10 * key->size;
	return 0;
}

TEST(CF_ST_03_evictions_and_their_weight)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		hapax_cache_stats s;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_weight = 60, .weigh = weigh_key, .ttl_ns = 1000,
				   .retain_idle_ns = 600, .policy = hapax_policy_lru()});
		tier_fill(&t, "explicit"); /* 80: too heavy, dies with its user */
		s = stats_of(t.cache);
		CHECK_EQ(s.evictions, 1);
		CHECK_EQ(s.eviction_weight, 80);
		tier_fill(&t, "expl");
		CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("expl")), HAPAX_OK);
		tier_fill(&t, "repl");
		hapax_release(tier_put(&t, "repl"));
		s = stats_of(t.cache);
		CHECK_EQ(s.evictions, 1);
		CHECK_EQ(s.eviction_weight, 80);
		CHECK_EQ(s.removals, 1);
		CHECK_EQ(s.replacements, 1);
		tier_fill(&t, "xyz"); /* 30: "repl" has to go */
		s = stats_of(t.cache);
		CHECK_EQ(s.size_evictions, 2);
		CHECK_EQ(s.eviction_weight, 120);
		fake_clock_advance(600); /* let go of for its idle time: collected */
		tier_settle(&t);
		s = stats_of(t.cache);
		CHECK_EQ(s.evictions, 3);
		CHECK_EQ(s.eviction_weight, 150);
		CHECK_EQ(s.collections, 3);
		tier_fill(&t, "ex");
		CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("ex"), 1), HAPAX_OK);
		fake_clock_advance(1);
		tier_settle(&t);
		s = stats_of(t.cache);
		CHECK_EQ(s.expirations, 1);
		CHECK_EQ(s.evictions, 4);
		CHECK_EQ(s.eviction_weight, 170);
		tier_end(&t, 0);
	}
}

TEST(CF_ST_04_CF_MT_09_looks_change_nothing)
{
	for (int form = 0; form < FORMS; form++) {
		struct guard g;
		struct tier t = {0};
		hapax_cache_stats before, after;
		uint64_t deadline, calls;
		void *out = NULL;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = 1000, .retain_idle_ns = 500,
				   .policy = guard_policy(&g, HAPAX_POLICY_EXACT, true)});
		for (int i = 0; i < 10; i++)
			tier_fill(&t, k(i));
		before = stats_of(t.cache);
		calls = g.calls;
		for (int round = 0; round < 20; round++) {
			hapax_iter *iter = NULL;

			CHECK_EQ(hapax_cache_get_quietly(t.cache, HAPAX_STR("3"), &out), HAPAX_OK);
			hapax_release(out);
			CHECK_EQ(hapax_cache_get_quietly(t.cache, HAPAX_STR("none"), &out), HAPAX_MISS);
			CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR("3")), 1);
			CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR("none")), 0);
			CHECK_EQ(hapax_cache_size(t.cache), 10);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("3"), &deadline), HAPAX_OK);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("none"), &deadline), HAPAX_MISS);
			(void)hapax_cache_next_deadline(t.cache);
			CHECK_EQ(hapax_cache_iterate(t.cache, &iter), HAPAX_OK);
			for (int i = 0; i < 10; i++)
				CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_OK);
			CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_EMPTY);
			hapax_iter_close(iter);
		}
		after = stats_of(t.cache);
		before.garbage_bytes = after.garbage_bytes = 0;
		CHECK(!memcmp(&before, &after, sizeof(before)));
		CHECK_EQ(g.calls, calls); /* nor the order */
		fake_clock_advance(500); /* nor the idle time */
		for (int i = 0; i < 10; i++)
			CHECK(!present(t.cache, k(i)));
		tier_settle(&t);
		tier_end(&t, 0);
	}
}

/* ---- off -------------------------------------------------------------------------------------------------------- */

TEST(CF_ST_06_switched_off_they_read_as_zero)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {.loose = true};
		hapax_cache_stats s;

		t.silent = true;
		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.flags = HAPAX_CACHE_NO_STATS, .max_entries = 5,
				   .ttl_ns = 1000, .policy = hapax_policy_lru()});
		for (int i = 0; i < 20; i++)
			tier_fill(&t, k(i));
		tier_hit(&t, "19");
		(void)hapax_cache_remove(t.cache, HAPAX_STR("19"));
		hapax_release(tier_put(&t, "18"));
		fake_clock_advance(1000);
		tier_settle(&t);
		s = stats_of(t.cache);
		CHECK_EQ(s.hits | s.misses | s.waits | s.loads | s.load_successes | s.load_failures | s.load_ns | s.puts, 0);
		CHECK_EQ(s.removals | s.replacements | s.collections | s.demotions | s.readmissions | s.demoted_hits, 0);
		CHECK_EQ(s.evictions | s.eviction_weight | s.expirations | s.size_evictions | s.notifications, 0);
		CHECK_EQ(s.failed_upgrades | s.negative_hits | s.stale_hits | s.refreshes | s.refresh_failures, 0);
		CHECK_EQ(hapax_cache_size(t.cache), 0);
		cache_check(t.cache, 0);
		hapax_cache_destroy(t.cache);
		tier_gone(&t);
	}
}

TEST(CF_ST_06_differences_stop_at_zero)
{
	hapax_cache_stats a, b, d;
	unsigned char *bytes = (unsigned char *)&a;

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	for (size_t i = sizeof(size_t); i < sizeof(a); i += sizeof(uint64_t)) {
		uint64_t x = i * 1000, y = i % 16 ? 7 : x + 5;

		memcpy(bytes + i, &x, sizeof(x));
		memcpy((unsigned char *)&b + i, &y, sizeof(y));
	}
	a.size = b.size = sizeof(a);
	d = a;
	hapax_cache_stats_since(&d, &b);
	CHECK_EQ(d.size, sizeof(d));
	for (size_t i = sizeof(size_t); i < sizeof(a); i += sizeof(uint64_t)) {
		uint64_t x, y, z;

		memcpy(&x, bytes + i, sizeof(x));
		memcpy(&y, (unsigned char *)&b + i, sizeof(y));
		memcpy(&z, (unsigned char *)&d + i, sizeof(z));
		if (i == offsetof(hapax_cache_stats, size_now) || i == offsetof(hapax_cache_stats, retained) ||
		    i == offsetof(hapax_cache_stats, retained_weight) || i == offsetof(hapax_cache_stats, garbage_bytes)) {
			CHECK_EQ(z, x); /* states */
			continue;
		}
		if (z != (x > y ? x - y : 0))
			TEST_FAIL("field at %zu: %lld", i, (long long)z);
	}
	d = a;
	hapax_cache_stats_since(&d, NULL);
	hapax_cache_stats_since(NULL, &b);
	hapax_cache_stats_since(NULL, NULL);
	CHECK(!memcmp(&d, &a, sizeof(a)));
	hapax_cache_stats_since(&d, &d);
	CHECK_EQ(d.hits | d.loads | d.demotions, 0);
}

TEST(CF_ST_06_an_older_callers_record)
{
	struct tier t = {0};
	hapax_cache_stats s, before;
	const size_t old = offsetof(hapax_cache_stats, retained);

	tier_begin(&t, LOADED, test_env(), (hapax_cache_options){.max_entries = 5});
	for (int i = 0; i < 8; i++)
		tier_fill(&t, k(i));
	memset(&s, 0x5a, sizeof(s));
	s.size = old;
	CHECK_EQ(hapax_cache_stats_get(t.cache, &s), HAPAX_OK);
	CHECK_EQ(s.size, old);
	CHECK_EQ(s.loads, 8);
	CHECK_EQ(s.size_now, 5);
	for (size_t i = old; i < sizeof(s); i++)
		CHECK_EQ(((unsigned char *)&s)[i], 0x5a);
	before = s;
	tier_fill(&t, "more");
	CHECK_EQ(hapax_cache_stats_get(t.cache, &s), HAPAX_OK);
	hapax_cache_stats_since(&s, &before);
	CHECK_EQ(s.loads, 1);
	for (size_t i = old; i < sizeof(s); i++)
		CHECK_EQ(((unsigned char *)&s)[i], 0x5a);
	s.size = 4;
	CHECK_EQ(hapax_cache_stats_get(t.cache, &s), HAPAX_EOPTSIZE);
	s.size = sizeof(s) + 8;
	CHECK_EQ(hapax_cache_stats_get(t.cache, &s), HAPAX_EOPTSIZE);
	CHECK_EQ(hapax_cache_stats_get(t.cache, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_stats_get(NULL, &s), HAPAX_ENULL);
	tier_end(&t, 5);
}

static void look_while_dying(const char *name, void *ctx)
{
	struct tier *t = ctx;
	void *out = NULL;

	if (strcmp(name, "death.dead"))
		return;
	CHECK_EQ(hapax_cache_get_if_present(t->cache, HAPAX_STR("k"), &out), HAPAX_MISS);
}

TEST(CF_ST_01_an_entry_whose_object_has_died_is_a_failed_upgrade_and_a_miss)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *it;
		hapax_cache_stats before, s;

		tier_begin(&t, form, test_env(), (hapax_cache_options){0});
		it = tier_add(&t, "k");
		before = stats_of(t.cache);
		hapax_testing_set_stop(look_while_dying, &t);
		hapax_release(it);
		hapax_testing_set_stop(NULL, NULL);
		s = stats_of(t.cache);
		CHECK_EQ(s.failed_upgrades - before.failed_upgrades, 1);
		CHECK_EQ(s.misses - before.misses, 1);
		CHECK_EQ(s.hits, before.hits);
		tier_end(&t, 0);
	}
}

/* ---- the clock is not read for nothing -------------------------------------------------------------------------- */

static uint64_t clock_reads;

static uint64_t counted_now(void *ctx)
{
	(void)ctx;
	__atomic_fetch_add(&clock_reads, 1, __ATOMIC_RELAXED);
	return fake_clock_now();
}

static int expire_nothing(hapax_expire_event event, const hapax_key *key, void *object, uint64_t *ttl_ns, void *ctx)
{
	(void)event;
	(void)key;
	(void)object;
	(void)ttl_ns;
	(void)ctx;
	return 0;
}

TEST(CF_EX_01_without_time_options_no_hit_reads_the_clock)
{
	const hapax_cache_options plain[] = {
		{0}, {.max_entries = 10}, {.max_entries = 10, .policy = hapax_policy_lru()}, {.max_weight = 100000},
		{.max_entries = 10, .flags = HAPAX_CACHE_NO_STATS},
	}, timed[] = {
		{.ttl_ns = 1000}, {.max_entries = 10, .ttl_ns = 1000}, {.retain_idle_ns = 1000},
		{.max_weight = 10000, .retain_age_ns = 1000, .ttl_ns = 2000, .ttl_jitter = 0.1},
		{.expire = expire_nothing, .ttl_ns = 1000}, {.max_entries = 10, .ttl_ns = 1000, .retain_idle_ns = 1000,
		.negative_ttl_ns = 1000},
	};
	const size_t n_plain = sizeof(plain) / sizeof(*plain), n_timed = sizeof(timed) / sizeof(*timed);

	for (int form = 0; form < FORMS; form++) {
		for (size_t i = 0; i < n_plain + n_timed; i++) {
			hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD, .clock = {.now = counted_now}};
			struct tier t = {0};
			struct item *it;
			uint64_t most = i < n_plain ? 0 : 1;
			void *out = NULL;

			t.silent = t.loose = true;
			tier_begin(&t, form, test_env_options(&eo), i < n_plain ? plain[i] : timed[i - n_plain]);
			it = tier_add(&t, "k");
			for (int round = 0; round < 100; round++) {
				clock_reads = 0;
				hapax_release(got(t.cache, "k"));
				CHECK(clock_reads <= most);
				clock_reads = 0;
				CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR("k"), &out), HAPAX_OK);
				hapax_release(out);
				CHECK(clock_reads <= most);
				clock_reads = 0;
				CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR("k")), 1);
				CHECK(clock_reads <= most);
				clock_reads = 0;
				CHECK_EQ(hapax_cache_get_quietly(t.cache, HAPAX_STR("k"), &out), HAPAX_OK);
				hapax_release(out);
				CHECK(clock_reads <= most);
				clock_reads = 0;
				hapax_release(tier_put(&t, "put"));
				CHECK(most || !clock_reads);
			}
			hapax_release(it);
			cache_check(t.cache, hapax_cache_size(t.cache));
			hapax_cache_destroy(t.cache);
			tier_gone(&t);
		}
	}
}
