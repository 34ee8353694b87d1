/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Values past their ttl, back-off after failures, early reloads by a draw. */
#include <hapax/async.h>

#include "unit/reloads.h"

/* ---- stale while it is reloaded ---------------------------------------------------------------------------------------- */

TEST(a_stale_value_is_handed_out_while_it_is_reloaded)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		struct rf f;
		int first;

		rf_begin(&f, form, (hapax_cache_options){.ttl_ns = 10 * S, .stale_ns = 5 * S});
		first = rf_first(&f);
		fake_clock_advance(10 * S - 1);
		CHECK_EQ(rf_get(&f), first);
		CHECK_EQ(waiting(&f.x), 0);
		fake_clock_advance(1);
		CHECK_EQ(rf_present(&f), first);
		CHECK_EQ(waiting(&f.x), 0);
		CHECK_EQ(rf_get(&f), first);
		CHECK_EQ(rf_get(&f), first);
		CHECK_EQ(waiting(&f.x), 1);
		CHECK_EQ(stats_of(f.t.cache).stale_hits, 2);
		fake_clock_advance(5 * S - 1);
		CHECK_EQ(rf_get(&f), first);
		CHECK_EQ(run_tasks(&f.x), 1);
		CHECK_EQ(rf_get(&f), loads_of(&f.t.s));
		CHECK_EQ(stats_of(f.t.cache).stale_hits, 3);
		CHECK_EQ(rf_deadline(&f), fake_clock_now() + 10 * S);
		TOLD(&f.t.r, 0, 1, 0, 0, 0, 0);
		rf_end(&f, 1);
	}
}

TEST(after_the_stale_time_the_value_is_gone)
{
	struct rf f;

	rf_begin(&f, LOADED, (hapax_cache_options){.ttl_ns = 10 * S, .stale_ns = 5 * S});
	rf_first(&f);
	fake_clock_advance(15 * S);
	CHECK_EQ(rf_present(&f), 0);
	CHECK_EQ(rf_get(&f), 2);
	CHECK_EQ(waiting(&f.x), 0);
	TOLD(&f.t.r, 0, 0, 0, 1, 0, 0);
	/* a failing reload leaves the old one stale, and the next get tries again */
	f.t.s.result = HAPAX_LOAD_FAIL;
	fake_clock_advance(12 * S);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(rf_get(&f), 2);
		CHECK_EQ(run_tasks(&f.x), 1);
	}
	/* and when its reload comes too late it is gone all the same */
	f.t.s.result = HAPAX_LOAD_OK;
	CHECK_EQ(rf_get(&f), 2);
	fake_clock_advance(3 * S);
	CHECK_EQ(run_tasks(&f.x), 1);
	CHECK_EQ(rf_present(&f), 0);
	TOLD(&f.t.r, 1, 0, 0, 2, 0, 0);
	rf_end(&f, 0);
}

/* ---- stale when the reload fails ----------------------------------------------------------------------------------------- */

TEST(a_get_whose_reload_fails_returns_the_old_value)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		hapax_load_error error = {.code = 0};
		hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};
		hapax_cache_stats s;
		void *out = NULL;
		struct rf f;
		int first, loads;

		rf_begin(&f, form, (hapax_cache_options){.ttl_ns = 10 * S, .stale_error_ns = 5 * S});
		first = rf_first(&f);
		f.t.s.result = HAPAX_LOAD_FAIL;
		f.t.s.code = 99;
		fake_clock_advance(10 * S);
		CHECK_EQ(rf_present(&f), 0); /* nobody has tried */
		CHECK_EQ(hapax_cache_get_if_present(f.t.cache, HAPAX_STR("k"), &out), HAPAX_MISS);
		loads = loads_of(&f.t.s);
		CHECK_EQ(rf_get(&f), first);
		CHECK_EQ(loads_of(&f.t.s), loads + 1);
		CHECK_EQ(rf_get(&f), first);
		CHECK_EQ(loads_of(&f.t.s), loads + 2);
		CHECK_EQ(waiting(&f.x), 0);
		s = stats_of(f.t.cache);
		CHECK_EQ(s.stale_hits, 2);
		CHECK_EQ(s.load_failures, 2);
		fake_clock_advance(5 * S - 1);
		CHECK_EQ(rf_get(&f), first);
		TOLD(&f.t.r, 0, 0, 0, 0, 0, 0);
		fake_clock_advance(1);
		CHECK_EQ(hapax_cache_get_with(f.t.cache, HAPAX_STR("k"), &o, &out), HAPAX_ELOADER);
		CHECK_EQ(error.code, 99);
		CHECK(!out);
		TOLD(&f.t.r, 0, 0, 0, 1, 0, 0);
		rf_end(&f, 0);
	}
}

TEST(a_get_whose_reload_succeeds_returns_the_new_value)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		struct rf f;
		hapax_cache_stats s;
		int loads;

		rf_begin(&f, form, (hapax_cache_options){.ttl_ns = 10 * S, .stale_error_ns = 5 * S});
		rf_first(&f);
		loads = loads_of(&f.t.s);
		fake_clock_advance(12 * S);
		CHECK_EQ(rf_get(&f), loads + 1);
		CHECK_EQ(rf_get(&f), loads + 1);
		TOLD(&f.t.r, 0, 1, 0, 0, 0, 0);
		s = stats_of(f.t.cache);
		CHECK_EQ(s.stale_hits, 0);
		CHECK_EQ(s.hits, 1);
		fake_clock_advance(12 * S);
		f.t.s.result = HAPAX_LOAD_NOVALUE;
		{
			void *out = NULL;

			CHECK_EQ(hapax_cache_get(f.t.cache, HAPAX_STR("k"), &out), HAPAX_NOVALUE);
			CHECK(!out);
		}
		rf_end(&f, 0);
	}
}

/* Past the stale time a queued reload is run by who needs it, and its task finds nothing to do. */
TEST(a_reload_that_waits_is_taken_over_by_a_get_that_needs_it)
{
	struct rf f;

	rf_begin(&f, LOADED, (hapax_cache_options){.ttl_ns = 10 * S, .stale_ns = 2 * S, .stale_error_ns = 5 * S});
	rf_first(&f);
	fake_clock_advance(11 * S);
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(waiting(&f.x), 1);
	fake_clock_advance(2 * S);
	CHECK_EQ(rf_get(&f), 2);
	CHECK_EQ(loads_of(&f.t.s), 2);
	CHECK_EQ(run_tasks(&f.x), 1);
	CHECK_EQ(loads_of(&f.t.s), 2);
	CHECK_EQ(stats_of(f.t.cache).refreshes, 1);
	rf_end(&f, 1);
}

static int second_stops(struct source *s, int load, void *object, const hapax_key *key)
{
	struct gate *g = s->arg;

	(void)object;
	(void)key;
	if (load == 2) {
		test_event_set(&g->entered);
		test_event_wait(&g->go);
	}
	return GO_ON;
}

/* All who need it share one reload: its value, or what was there. */
TEST(gets_that_need_a_reload_share_it)
{
	for (int fails = 0; fails < 2; fails++) {
		struct gate g = GATE_INIT;
		struct asker a[4];
		struct rf f;
		hapax_get_options try = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT};
		hapax_cache_stats s;
		void *out = NULL;

		rf_begin(&f, LOADED, (hapax_cache_options){.ttl_ns = 10 * S, .stale_error_ns = 5 * S});
		rf_first(&f);
		f.t.s.then = second_stops;
		f.t.s.arg = &g;
		f.t.s.result = fails ? HAPAX_LOAD_FAIL : HAPAX_LOAD_OK;
		fake_clock_advance(12 * S);
		ask(&a[0], f.t.cache, "k", NULL);
		test_event_wait(&g.entered);
		for (int i = 1; i < 4; i++)
			ask(&a[i], f.t.cache, "k", NULL);
		while (stats_of(f.t.cache).waits < 3)
			test_sleep_ms(1);
		CHECK_EQ(hapax_cache_get_with(f.t.cache, HAPAX_STR("k"), &try, &out), HAPAX_INFLIGHT);
		test_event_set(&g.go);
		for (int i = 0; i < 4; i++) {
			CHECK_EQ(answer(&a[i]), 0);
			CHECK_EQ(((struct item *)a[i].out)->id, fails ? 1 : 2);
			asker_end(&a[i]);
		}
		CHECK_EQ(loads_of(&f.t.s), 2);
		s = stats_of(f.t.cache);
		CHECK_EQ(s.stale_hits, fails ? 4 : 0);
		CHECK_EQ(s.misses, 6);
		f.t.s.then = NULL;
		rf_end(&f, 1);
	}
}

/* Its own loader, in need of its own key: refused at once. */
static int needs_itself(struct source *s, int load, void *object, const hapax_key *key)
{
	void *out = NULL;

	(void)object;
	if (load == 2) {
		CHECK_EQ(hapax_cache_get(s->cache, *key, &out), HAPAX_EDEADLK);
		CHECK(!out);
	}
	return GO_ON;
}

TEST(a_reload_that_needs_itself_is_refused)
{
	struct rf f;

	rf_begin(&f, MADE, (hapax_cache_options){.ttl_ns = 10 * S, .stale_error_ns = 5 * S});
	rf_first(&f);
	f.t.s.then = needs_itself;
	fake_clock_advance(12 * S);
	CHECK_EQ(rf_get(&f), 2);
	rf_end(&f, 1);
}

/* D-5: who waited for it gets it, also when it is not installed. */
static int removes_it(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)object;
	if (load == 2)
		CHECK_EQ(hapax_cache_remove(s->cache, *key), 0);
	return GO_ON;
}

TEST(a_get_that_reloads_gets_its_value_though_it_was_fenced)
{
	struct rf f;

	rf_begin(&f, LOADED, (hapax_cache_options){.ttl_ns = 10 * S, .stale_error_ns = 5 * S});
	rf_first(&f);
	f.t.s.then = removes_it;
	fake_clock_advance(12 * S);
	CHECK_EQ(rf_get(&f), 2);
	CHECK_EQ(loads_of(&f.t.s), 2);
	CHECK_EQ(rf_present(&f), 0);
	rf_end(&f, 0);
}

/* ---- back-off ------------------------------------------------------------------------------------------------------------ */

static int failing(struct rf *f, const char *key, int code)
{
	hapax_load_error error = {.code = 0};
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};
	int loads = loads_of(&f->t.s);
	void *out = NULL;

	CHECK_EQ(hapax_cache_get_with(f->t.cache, HAPAX_STR(key), &o, &out), HAPAX_ELOADER);
	CHECK(!out);
	CHECK_EQ(error.code, code);
	CHECK(!error.detail);
	hapax_load_error_drop(&error);
	return loads_of(&f->t.s) - loads;
}

TEST(a_failed_load_is_not_repeated_for_a_while_and_then_for_longer)
{
	const uint64_t waits[] = {1, 2, 4, 8, 10, 10};
	struct rf f;

	rf_begin(&f, LOADED, (hapax_cache_options){.backoff_ns = S, .backoff_max_ns = 10 * S});
	f.t.s.result = HAPAX_LOAD_FAIL;
	for (int i = 0; i < 6; i++) {
		f.t.s.code = -3 - i;
		CHECK_EQ(failing(&f, "k", -3 - i), 1);
		f.t.s.code = 77;
		CHECK_EQ(failing(&f, "k", -3 - i), 0);
		CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("k")), HAPAX_ELOADER);
		fake_clock_advance(waits[i] * S - 1);
		CHECK_EQ(failing(&f, "k", -3 - i), 0);
		CHECK_EQ(failing(&f, k(i), 77), 1); /* another key */
		fake_clock_advance(1);
	}
	/* success ends the row */
	f.t.s.result = HAPAX_LOAD_OK;
	rf_get(&f);
	CHECK_EQ(hapax_cache_remove(f.t.cache, HAPAX_STR("k")), 0);
	f.t.s.result = HAPAX_LOAD_FAIL;
	CHECK_EQ(failing(&f, "k", 77), 1);
	fake_clock_advance(S - 1);
	CHECK_EQ(failing(&f, "k", 77), 0);
	fake_clock_advance(1);
	CHECK_EQ(failing(&f, "k", 77), 1);
	/* a put helps at once */
	hapax_release(tier_put(&f.t, "k"));
	CHECK_EQ(rf_get(&f), 1001);
	rf_end(&f, 1);
}

TEST(a_failed_reload_is_not_repeated_for_a_while)
{
	struct rf f;

	rf_begin(&f, LOADED, (hapax_cache_options){.refresh_ns = 10 * S, .ttl_ns = 100 * S, .stale_error_ns = 50 * S, .backoff_ns = 3 * S});
	rf_first(&f);
	f.t.s.result = HAPAX_LOAD_FAIL;
	fake_clock_advance(10 * S);
	for (uint64_t wait = 3; wait <= 6; wait += 3) {
		CHECK_EQ(rf_get(&f), 1);
		CHECK_EQ(run_tasks(&f.x), 1);
		fake_clock_advance(wait * S - 1);
		CHECK_EQ(rf_get(&f), 1);
		CHECK_EQ(waiting(&f.x), 0);
		fake_clock_advance(1);
	}
	/* in need of one: the old value, without a try, while it lasts */
	fake_clock_advance(100 * S - 19 * S);
	CHECK_EQ(loads_of(&f.t.s), 3);
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(loads_of(&f.t.s), 4);
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(loads_of(&f.t.s), 4);
	f.t.s.result = HAPAX_LOAD_OK;
	fake_clock_advance(12 * S);
	CHECK_EQ(rf_get(&f), 5);
	rf_end(&f, 1);
}

static bool equal_but_case(const hapax_key *a, const hapax_key *b, void *ctx)
{
	const char *x = a->data, *y = b->data;
	size_t i = 0;

	(void)ctx;
	while (i < a->size && a->size == b->size && (x[i] | 32) == (y[i] | 32))
		i++;
	return a->size == b->size && i == a->size;
}

static int one_hash(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	(void)ctx;
	*hash = 0;
	return 0;
}

/* Whatever keys are equal to, and though all have one hash. */
TEST(back_off_goes_by_the_key_not_by_its_hash)
{
	struct rf f;

	rf_begin(&f, LOADED, (hapax_cache_options){.backoff_ns = S, .keys = {.hash = one_hash, .equal = equal_but_case}});
	f.t.s.result = HAPAX_LOAD_FAIL;
	CHECK_EQ(failing(&f, "a", 0), 1);
	CHECK_EQ(failing(&f, "A", 0), 0);
	CHECK_EQ(failing(&f, "b", 0), 1);
	CHECK_EQ(failing(&f, "bb", 0), 1);
	CHECK_EQ(failing(&f, "", 0), 1);
	CHECK_EQ(failing(&f, "a", 0), 0);
	CHECK_EQ(failing(&f, "B", 0), 0);
	CHECK_EQ(failing(&f, "", 0), 0);
	fake_clock_advance(S);
	f.t.s.result = HAPAX_LOAD_OK;
	tier_fill(&f.t, "B");
	f.t.s.result = HAPAX_LOAD_FAIL;
	CHECK_EQ(failing(&f, "A", 0), 1);
	rf_end(&f, 1);
}

/* More failures than are kept: the oldest are forgotten, nothing else. */
TEST(back_off_is_bounded)
{
	struct rf f;

	rf_begin(&f, LOADED, (hapax_cache_options){.backoff_ns = 1000 * S});
	f.t.s.result = HAPAX_LOAD_FAIL;
	for (int i = 0; i < 1024; i++)
		CHECK_EQ(failing(&f, k(i), 0), 1);
	CHECK_EQ(failing(&f, k(0), 0), 0);
	for (int i = 1024; i < 4096; i++)
		CHECK_EQ(failing(&f, k(i), 0), 1);
	for (int i = 3072; i < 4096; i++)
		CHECK_EQ(failing(&f, k(i), 0), 0);
	for (int i = 0; i < 3072; i += 171)
		CHECK_EQ(failing(&f, k(i), 0), 1);
	rf_end(&f, 0);
}

/* ---- early, by a draw ------------------------------------------------------------------------------------------------------ */

static int takes_a_second(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)s;
	(void)load;
	(void)object;
	(void)key;
	fake_clock_advance(S);
	return GO_ON;
}

/* The executor refuses, so that each get draws anew. With a load of 1 s, `left` before the end the odds are e^-left. */
static unsigned draws(struct rf *f, unsigned gets)
{
	unsigned before = f->x.refused;

	f->x.refuse = 1;
	for (unsigned i = 0; i < gets; i++)
		CHECK_EQ(rf_get(f), 1);
	f->x.refuse = 0;
	return f->x.refused - before;
}

TEST(CF_RF_01_early_reloads_come_with_the_odds_of_xfetch)
{
	const double odds[] = {0.0183156, 0.1353353, 0.3678794, 0.6065307}; /* e^-4, -2, -1, -1/2 */
	const uint64_t at[] = {96000, 98000, 99000, 99500};
	struct rf f;

	test_seed();
	rf_begin(&f, LOADED, (hapax_cache_options){.ttl_ns = 100 * S, .early_refresh = 1});
	f.t.s.then = takes_a_second;
	rf_first(&f);
	CHECK_EQ(draws(&f, 1000), 0);
	fake_clock_advance(50 * S);
	CHECK_EQ(draws(&f, 1000), 0); /* e^-50 */
	for (int i = 0; i < 4; i++) {
		unsigned n = 20000, hits;
		double expect = n * odds[i], room = 0.1 * expect + 100;

		fake_clock_set(rf_deadline(&f) - 100 * S + at[i] * 1000000);
		hits = draws(&f, n);
		printf("%u of %u, %.0f expected\n", hits, n, expect);
		CHECK(hits > expect - room && hits < expect + room);
	}
	/* at the very end always, and started once */
	fake_clock_set(rf_deadline(&f) - 1);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(waiting(&f.x), 1);
	f.t.s.then = NULL;
	CHECK_EQ(run_tasks(&f.x), 1);
	CHECK_EQ(rf_get(&f), 2);
	rf_end(&f, 1);
}

TEST(CF_RF_01_the_factor_of_early_reloads_scales_them)
{
	struct rf f;
	unsigned hits;

	test_seed();
	rf_begin(&f, LOADED, (hapax_cache_options){.ttl_ns = 100 * S, .early_refresh = 10});
	f.t.s.then = takes_a_second;
	rf_first(&f);
	fake_clock_set(rf_deadline(&f) - 10 * S); /* as 1 s before it with a factor of 1 */
	hits = draws(&f, 20000);
	CHECK(hits > 6500 && hits < 8300);
	rf_end(&f, 1);
}

/* ---- options --------------------------------------------------------------------------------------------------------------- */

static void released(const hapax_key *key, void *ctx)
{
	(void)key;
	(void)ctx;
}

TEST(options_that_contradict_each_other_are_refused)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	const hapax_cache_options bad[] = {
		{.refresh_ns = S, .flags = HAPAX_CACHE_EXCLUSIVE},
		{.ttl_ns = S, .stale_ns = S, .flags = HAPAX_CACHE_EXCLUSIVE},
		{.early_refresh = 1},
		{.early_refresh = -1, .ttl_ns = S},
		{.stale_ns = S},
		{.stale_error_ns = S},
		{.refresh_ns = -5},
		{.backoff_ns = -5},
		{.backoff_max_ns = S},
		{.refresh_ns = S, .keys = {.borrow = true, .release = released}},
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		hapax_cache_options o = bad[i];
		hapax_cache *c = (void *)1;

		o.size = sizeof o;
		o.env = env;
		o.type = &item_type;
		o.load = source_load;
		o.arg = &s;
		CHECK_EQ(hapax_cache_create(&c, &o), HAPAX_EOPTION);
		CHECK(!c);
	}
	test_env_end(env);
}
