/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hapax_cache_refresh(): of what is absent, present, in a plain cache; and when it cannot be. */
#include <hapax/async.h>

#include "unit/reloads.h"

/* ---- refreshing what is absent --------------------------------------------------------------------------------------- */

TEST(CF_RF_05_an_absent_key_that_is_removed_meanwhile_stays_absent)
{
	for (int what = 0; what < 4; what++) {
		struct item *it = NULL;
		struct rf f;

		rf_begin(&f, what % 2 ? MADE : LOADED, (hapax_cache_options){.ttl_ns = 10 * S});
		CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("k")), 0);
		CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("k")), HAPAX_INFLIGHT);
		CHECK_EQ(waiting(&f.x), 1);
		if (what == 0)
			CHECK_EQ(hapax_cache_remove(f.t.cache, HAPAX_STR("k")), HAPAX_MISS);
		else if (what == 1)
			hapax_cache_clear(f.t.cache);
		else if (what == 2)
			it = tier_put(&f.t, "k");
		CHECK_EQ(run_tasks(&f.x), 1);
		CHECK_EQ(rf_present(&f), what == 3 ? 1 : it ? it->id : 0);
		CHECK_EQ(f.t.r.n, what != 3);
		if (what != 3)
			CHECK_STR(told_text(&f.t.r, 0), what == 2 ? "k:replaced:1" : "k:explicit:1");
		CHECK_EQ(stats_of(f.t.cache).hits + stats_of(f.t.cache).misses, 0); /* it is no get */
		hapax_release(it);
		rf_end(&f, what == 3 || it);
	}
}

/* ---- asked for ------------------------------------------------------------------------------------------------------- */

TEST(CF_RF_01_an_explicit_refresh_of_what_is_present)
{
	for (enum form form = LOADED; form < FORMS; form++) {
		struct rf f;
		int first;

		rf_begin(&f, form, (hapax_cache_options){.ttl_ns = 100 * S});
		first = rf_first(&f);
		fake_clock_advance(50 * S);
		CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("k")), 0);
		CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("k")), HAPAX_INFLIGHT);
		CHECK_EQ(rf_get(&f), first);
		CHECK_EQ(run_tasks(&f.x), 1);
		CHECK_EQ(rf_get(&f), loads_of(&f.t.s));
		CHECK_EQ(rf_deadline(&f), fake_clock_now() + 100 * S);
		CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("k")), 0);
		CHECK_EQ(run_tasks(&f.x), 1);
		rf_end(&f, 1);
	}
}

/* A cache that knows nothing of its entries refreshes, too. */
TEST(CF_RF_01_a_plain_cache_refreshes_when_it_is_asked)
{
	for (int form = 0; form < 2; form++) {
		struct tasks x = {.n = 0};
		struct source s = {.loads = 0};
		hapax_env *env = test_env();
		hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .arg = &s, .executor = {tasks_run, &x}};
		hapax_cache *c = NULL;
		struct item *old, *fresh;

		s.env = env;
		if (form)
			o.make = source_make;
		else
			o.type = &item_type, o.load = source_load;
		CHECK_EQ(hapax_cache_create(&c, &o), 0);
		old = got(c, "k");
		for (int i = 0; i < 2; i++) {
			CHECK_EQ(hapax_cache_refresh(c, HAPAX_STR("k")), 0);
			CHECK_EQ(hapax_cache_refresh(c, HAPAX_STR("k")), HAPAX_INFLIGHT);
			CHECK_PTR(present(c, "k"), old);
			if (i) { /* nothing is installed over what was removed, or has no value */
				hapax_cache_remove(c, HAPAX_STR("k"));
				CHECK_EQ(run_tasks(&x), 1);
				CHECK(!present(c, "k"));
				break;
			}
			s.result = HAPAX_LOAD_FAIL;
			CHECK_EQ(run_tasks(&x), 1);
			CHECK_PTR(present(c, "k"), old);
			s.result = HAPAX_LOAD_OK;
		}
		hapax_release(old);
		old = got(c, "k");
		CHECK_EQ(hapax_cache_refresh(c, HAPAX_STR("k")), 0);
		CHECK_EQ(run_tasks(&x), 1);
		CHECK(!present(c, "k")); /* it had no holder but the cache's caller: nobody holds the new one */
		hapax_release(old);
		s.ready[0] = form ? item_new(env, 77) : NULL;
		if (form) {
			old = got(c, "k"); /* 77 */
			fresh = s.ready[0] = item_new(env, 78);
			CHECK_EQ(hapax_retain(fresh), 0);
			CHECK_EQ(hapax_cache_refresh(c, HAPAX_STR("k")), 0);
			CHECK_EQ(run_tasks(&x), 1);
			CHECK_PTR(present(c, "k"), fresh);
			CHECK_EQ(hapax_cache_refresh(c, HAPAX_STR("k")), 0);
			s.result = HAPAX_LOAD_NOVALUE;
			CHECK_EQ(run_tasks(&x), 1);
			CHECK(!present(c, "k"));
			hapax_release(old);
			hapax_release(fresh);
		}
		stats_check(c);
		cache_end(c, 0);
		test_env_end(env);
	}
}

/* L7: in a plain cache a put of the object that is there, or was, discards a reload as any other put does. */
TEST(CF_RF_03_a_plain_cache_discards_a_reload_when_the_same_object_is_put)
{
	for (int how = 0; how < 5; how++) {
		struct tasks x = {.n = 0};
		struct source s = {.loads = 0};
		hapax_env *env = test_env();
		hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .make = source_make, .arg = &s,
					 .executor = {tasks_run, &x}};
		hapax_cache *c = NULL;
		struct item *it;

		s.env = env;
		CHECK_EQ(hapax_cache_create(&c, &o), 0);
		it = got(c, "k");
		CHECK_EQ(hapax_cache_refresh(c, HAPAX_STR("k")), 0);
		switch (how) {
		case 0:
			CHECK_EQ(hapax_cache_put(c, HAPAX_STR("k"), it), 0);
			break;
		case 1:
			CHECK_EQ(hapax_cache_upsert(c, HAPAX_STR("k"), it, NULL), 0);
			break;
		case 2:
			CHECK_EQ(hapax_cache_replace_if(c, HAPAX_STR("k"), it, it), 0);
			break;
		case 3:
			CHECK_EQ(hapax_cache_remove(c, HAPAX_STR("k")), 0);
			CHECK_EQ(hapax_cache_put(c, HAPAX_STR("k"), it), 0);
			break;
		default:
			CHECK_EQ(hapax_cache_put(c, HAPAX_STR("k"), it), 0);
			s.result = HAPAX_LOAD_NOVALUE;
		}
		CHECK_EQ(run_tasks(&x), 1);
		CHECK_EQ(s.loads, 2);
		CHECK_PTR(present(c, "k"), it);
		s.result = HAPAX_LOAD_OK;
		s.ready[0] = item_new(env, 78);
		CHECK_EQ(hapax_retain(s.ready[0]), 0);
		{
			struct item *fresh = s.ready[0];

			CHECK_EQ(hapax_cache_refresh(c, HAPAX_STR("k")), 0); /* the next one is as any */
			CHECK_EQ(run_tasks(&x), 1);
			CHECK_PTR(present(c, "k"), fresh);
			hapax_release(fresh);
		}
		hapax_release(it);
		stats_check(c);
		cache_end(c, 0);
		test_env_end(env);
	}
}

TEST(a_refresh_that_cannot_be_says_why_and_changes_nothing)
{
	struct test_allocator *a;
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *c = NULL;
	struct item *it;
	struct rf f;
	int rc;

	rf_begin(&f, LOADED, (hapax_cache_options){.refresh_ns = S});
	CHECK_EQ(hapax_cache_refresh(NULL, HAPAX_STR("k")), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_refresh(f.t.cache, (hapax_key){NULL, 3}), HAPAX_EKEY);
	rf_first(&f);
	f.x.refuse = 7;
	CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("k")), HAPAX_ETHREAD);
	CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("other")), HAPAX_ETHREAD);
	fake_clock_advance(S);
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(f.x.refused, 3);
	f.x.refuse = 0;
	a = test_env_allocator(f.t.env);
	a->fail_from = 1;
	a->calls = 0;
	CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("k")), HAPAX_ENOMEM);
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(waiting(&f.x), 0);
	a->fail_from = 0;
	for (uint64_t n = 1;; n++) {
		a->calls = 0;
		a->fail_at = n;
		rc = hapax_cache_refresh(f.t.cache, HAPAX_STR("k"));
		a->fail_at = 0;
		if (!rc)
			break;
		CHECK_EQ(rc, HAPAX_ENOMEM);
		CHECK_EQ(waiting(&f.x), 0);
	}
	CHECK_EQ(loads_of(&f.t.s), 1);
	CHECK_EQ(run_tasks(&f.x), 1);
	CHECK_EQ(rf_get(&f), 2);
	hapax_cache_close(f.t.cache);
	CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("k")), HAPAX_ECLOSED);
	rf_end(&f, 1);

	CHECK_EQ(hapax_cache_create(&c, &(hapax_cache_options){HAPAX_CACHE_OPTIONS_INIT, .env = env}), 0);
	CHECK_EQ(hapax_cache_refresh(c, HAPAX_STR("k")), HAPAX_ENOLOADER);
	cache_end(c, 0);
	c = cache_with(env, &s, HAPAX_CACHE_EXCLUSIVE);
	it = got(c, "k");
	CHECK_EQ(hapax_cache_refresh(c, HAPAX_STR("k")), HAPAX_EBUSY);
	hapax_release(it);
	cache_end(c, 0);
	test_env_end(env);
}
