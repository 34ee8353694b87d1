/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Expiry: the boundary, what resets it, what sees it, the clock. */
#include "unit/removals.h"

#define TTL 1000000

/* Every way to look at a key; `there`: whether it is present and as which object. */
static void look(struct tier *t, const char *name, const struct item *it)
{
	hapax_key key = HAPAX_STR(name);
	hapax_iter *iter = NULL;
	uint64_t deadline;
	void *out = (void *)1;
	int rc, seen = 0;

	CHECK_PTR(present(t->cache, name), it); /* get_quietly, contains */
	rc = hapax_cache_get_if_present(t->cache, key, &out);
	CHECK_EQ(rc, it ? HAPAX_OK : HAPAX_MISS);
	CHECK_PTR(out, it);
	hapax_release(out);
	CHECK_EQ(hapax_cache_deadline(t->cache, key, &deadline), it ? HAPAX_OK : HAPAX_MISS);
	CHECK_EQ(hapax_cache_iterate(t->cache, &iter), HAPAX_OK);
	while (!hapax_iter_next(iter, &key, &out)) {
		if (key.size == strlen(name) && !memcmp(key.data, name, key.size)) {
			CHECK_PTR(out, it);
			seen++;
		}
	}
	hapax_iter_close(iter);
	CHECK_EQ(seen, it != NULL);
}

TEST(CF_EX_02_CF_EX_03_the_boundary_without_maintenance)
{
	for (int form = 0; form < FORMS; form++) {
		for (int first = 0; first < 4; first++) { /* whoever looks first after the end */
			struct tier t = {0};
			struct item *it;
			hapax_iter *iter = NULL;
			void *out = NULL;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = first & 1 ? 10 : 0, .ttl_ns = TTL});
			it = tier_add(&t, "k");
			look(&t, "k", it);
			fake_clock_advance(TTL - 1);
			look(&t, "k", it);
			CHECK_EQ(t.r.n, 0);
			fake_clock_advance(1);
			if (first == 1)
				CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR("k")), 0);
			if (first == 2)
				CHECK_EQ(hapax_cache_get_quietly(t.cache, HAPAX_STR("k"), &out), HAPAX_MISS);
			if (first == 3) {
				CHECK_EQ(hapax_cache_iterate(t.cache, &iter), HAPAX_OK);
				CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_EMPTY);
				hapax_iter_close(iter);
			}
			look(&t, "k", NULL);
			tier_settle(&t);
			TOLD(&t.r, 0, 0, 0, 1, 0, 0);
			CHECK_EQ(t.r.all[0].id, it->id);
			hapax_release(it);
			TOLD(&t.r, 0, 0, 0, 1, 0, 0); /* its death is nobody's business */
			it = tier_add(&t, "k");
			look(&t, "k", it);
			hapax_release(it);
			tier_end(&t, first & 1);
		}
	}
}

/* In the size until maintenance, perhaps; then not. */
TEST(CF_EX_03_CF_MT_10_expired_entries_and_the_size)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 100, .ttl_ns = TTL});
		for (int i = 0; i < 50; i++)
			tier_fill(&t, k(i));
		fake_clock_advance(TTL / 2);
		for (int i = 50; i < 80; i++)
			tier_fill(&t, k(i));
		CHECK_EQ(hapax_cache_size(t.cache), 80);
		fake_clock_advance(TTL / 2);
		CHECK(hapax_cache_size(t.cache) >= 30 && hapax_cache_size(t.cache) <= 80);
		tier_settle(&t);
		CHECK_EQ(hapax_cache_size(t.cache), 30);
		TOLD(&t.r, 0, 0, 0, 50, 0, 0);
		tier_end(&t, 30);
	}
}

/* ---- what resets the time --------------------------------------------------------------------------------------- */

static void read_all_ways(struct tier *t, const char *name)
{
	hapax_iter *iter = NULL;
	void *out = NULL;

	hapax_release(got(t->cache, name));
	CHECK_EQ(hapax_cache_get_if_present(t->cache, HAPAX_STR(name), &out), HAPAX_OK);
	hapax_release(out);
	CHECK(present(t->cache, name));
	CHECK_EQ(hapax_cache_iterate(t->cache, &iter), HAPAX_OK);
	while (!hapax_iter_next(iter, NULL, NULL))
		;
	hapax_iter_close(iter);
}

TEST(CF_EX_04_writes_reset_the_ttl_and_reads_do_not)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *it;
		uint64_t begun, deadline;
		void *out = NULL;
		bool inserted = true;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = TTL});
		begun = fake_clock_now();
		tier_fill(&t, "k");
		for (int i = 0; i < 9; i++) {
			fake_clock_advance(TTL / 10);
			read_all_ways(&t, "k");
			it = tier_item(&t);
			CHECK_EQ(hapax_cache_get_or_put(t.cache, HAPAX_STR("k"), it, &out, &inserted), HAPAX_OK);
			CHECK(!inserted); /* no write */
			hapax_release(out);
			hapax_release(it);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_OK);
			CHECK_EQ(deadline, begun + TTL);
		}
		hapax_release(tier_put(&t, "k")); /* writes */
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_OK);
		CHECK_EQ(deadline, fake_clock_now() + TTL);
		fake_clock_advance(TTL - 1);
		CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR("k")), HAPAX_OK);
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_OK);
		CHECK_EQ(deadline, fake_clock_now() + TTL);
		fake_clock_advance(TTL - 1);
		CHECK(present(t.cache, "k"));
		fake_clock_advance(1);
		CHECK(!present(t.cache, "k"));
		tier_settle(&t);
		tier_end(&t, 0);
	}
}

TEST(CF_EX_04_gets_and_puts_reset_the_idle_time_and_looks_do_not)
{
	for (int form = 0; form < FORMS; form++) {
		for (int way = 0; way < 8; way++) {
			struct tier t = {0};
			struct item *it;
			hapax_iter *iter = NULL;
			uint64_t deadline;
			void *out = NULL;
			bool kept = way < 4;
			hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.retain_idle_ns = TTL});
			tier_fill(&t, "k");
			fake_clock_advance(TTL - 1);
			switch (way) {
			case 0: tier_hit(&t, "k"); break;
			case 1:
				CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR("k"), &out), HAPAX_OK);
				hapax_release(out);
				break;
			case 2: hapax_release(tier_put(&t, "k")); break;
			case 3:
				CHECK_EQ(hapax_cache_get_with(t.cache, HAPAX_STR("k"), &o, &out), HAPAX_OK);
				hapax_release(out);
				break;
			case 4: CHECK_EQ(hapax_cache_contains(t.cache, HAPAX_STR("k")), 1); break;
			case 5:
				CHECK_EQ(hapax_cache_get_quietly(t.cache, HAPAX_STR("k"), &out), HAPAX_OK);
				hapax_release(out);
				break;
			case 6:
				CHECK_EQ(hapax_cache_iterate(t.cache, &iter), HAPAX_OK);
				CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_OK);
				hapax_iter_close(iter);
				break;
			default: CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_OK); break;
			}
			fake_clock_advance(1); /* at once, without maintenance in between */
			it = present(t.cache, "k");
			if (kept != (it != NULL))
				TEST_FAIL("way %d of form %d: %s", way, form, it ? "there" : "gone");
			if (kept) {
				fake_clock_advance(TTL - 2);
				CHECK(present(t.cache, "k"));
				fake_clock_advance(1);
				CHECK(!present(t.cache, "k"));
			}
			tier_settle(&t);
			TOLD(&t.r, 0, way == 2, 1, 0, 0, 0);
			tier_end(&t, 0);
		}
	}
}

/* ---- both, none, much ------------------------------------------------------------------------------------------ */

TEST(CF_EX_05_the_earlier_limit_counts)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0}, u = {0};

		/* the idle time ends what the ttl would allow */
		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.ttl_ns = 10 * TTL, .retain_idle_ns = TTL});
		tier_fill(&t, "k");
		fake_clock_advance(TTL - 1);
		CHECK(present(t.cache, "k"));
		fake_clock_advance(1);
		CHECK(!present(t.cache, "k"));
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 1, 0, 0, 0);
		tier_end(&t, 0);
		/* and the ttl what use would prolong */
		tier_begin(&u, form, test_env_fake(), (hapax_cache_options){.ttl_ns = 5 * TTL, .retain_idle_ns = 2 * TTL});
		tier_fill(&u, "k");
		for (int i = 0; i < 4; i++) {
			fake_clock_advance(TTL);
			tier_hit(&u, "k");
		}
		fake_clock_advance(TTL);
		CHECK(!present(u.cache, "k"));
		tier_settle(&u);
		TOLD(&u.r, 0, 0, 0, 1, 0, 0);
		tier_end(&u, 0);
	}
}

TEST(CF_EX_05_no_time_at_all)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT, .ttl_ns = HAPAX_ZERO};
		struct item *it;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = HAPAX_ZERO});
		for (int i = 0; i < 5; i++) {
			it = tier_add(&t, "k"); /* the caller gets its value */
			CHECK(!present(t.cache, "k"));
			hapax_release(it);
			tier_settle(&t);
			TOLD(&t.r, 0, 0, 0, i + 1, 0, 0);
			CHECK_EQ(t.s.destroyed, i + 1);
		}
		tier_end(&t, 0);
		memset(&t, 0, sizeof(t));
		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = TTL});
		it = tier_item(&t);
		CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_OK);
		CHECK(!present(t.cache, "k"));
		hapax_release(it);
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 0, 1, 0, 0);
		tier_end(&t, 0);
	}
}

TEST(CF_EX_05_extreme_times_saturate)
{
	const uint64_t year = UINT64_C(31536000) * HAPAX_SECOND;

	for (int form = 0; form < FORMS; form++) {
		for (int late = 0; late < 2; late++) {
			struct tier t = {0};
			uint64_t deadline, began = fake_clock_now();

			if (late) /* the clock is near its end */
				fake_clock_set(UINT64_MAX - 10 * HAPAX_SECOND);
			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 100, .ttl_ns = INT64_MAX,
					   .retain_age_ns = INT64_MAX, .retain_idle_ns = INT64_MAX});
			for (int i = 0; i < 10; i++)
				tier_fill(&t, k(i));
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("3"), &deadline), HAPAX_OK);
			CHECK(deadline >= fake_clock_now() + (late ? 0 : (uint64_t)INT64_MAX));
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("4"), INT64_MAX), HAPAX_OK);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("4"), &deadline), HAPAX_OK);
			CHECK_EQ(deadline, HAPAX_FOREVER);
			fake_clock_advance(late ? 9 * HAPAX_SECOND : 200 * year);
			tier_settle(&t);
			for (int i = 0; i < 10; i++)
				CHECK(present(t.cache, k(i)));
			CHECK_EQ(t.r.n, 0);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("5"), 1), HAPAX_OK);
			fake_clock_advance(1);
			CHECK(!present(t.cache, "5"));
			CHECK(present(t.cache, "6"));
			tier_settle(&t);
			tier_end(&t, 9);
			fake_clock_set(began);
		}
	}
}

/* ---- the clock -------------------------------------------------------------------------------------------------- */

TEST(CF_EX_01_the_clock_may_jump_and_go_back)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		uint64_t begun, deadline;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 100, .ttl_ns = TTL});
		fake_clock_advance(1000 * HAPAX_SECOND);
		begun = fake_clock_now();
		tier_fill(&t, "k");
		fake_clock_set(begun - 500 * HAPAX_SECOND); /* backwards */
		CHECK(present(t.cache, "k"));
		tier_settle(&t);
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_OK);
		CHECK_EQ(deadline, begun + TTL);
		tier_fill(&t, "earlier");
		fake_clock_advance(TTL);
		CHECK(!present(t.cache, "earlier"));
		CHECK(present(t.cache, "k"));
		tier_settle(&t);
		fake_clock_set(begun + TTL - 1);
		CHECK(present(t.cache, "k"));
		for (int i = 0; i < 50; i++) { /* both ways, at random distances */
			fake_clock_set(begun + (uint64_t)i * 7919 % TTL);
			tier_settle(&t);
			CHECK(present(t.cache, "k"));
		}
		fake_clock_advance(UINT64_C(100000000) * HAPAX_SECOND); /* three years at once */
		CHECK(!present(t.cache, "k"));
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 0, 2, 0, 0);
		tier_fill(&t, "k");
		fake_clock_set(begun); /* and back by all of it */
		CHECK(present(t.cache, "k"));
		tier_fill(&t, "l");
		fake_clock_advance(TTL);
		tier_settle(&t);
		CHECK(!present(t.cache, "l"));
		CHECK(present(t.cache, "k"));
		tier_end(&t, 1);
		fake_clock_set(begun);
	}
}

/* ---- touch and set_ttl ------------------------------------------------------------------------------------------ */

TEST(CF_EX_12_nothing_revives_what_has_expired)
{
	for (int form = 0; form < FORMS; form++) {
		for (int held = 0; held < 2; held++) {
			struct tier t = {0};
			struct item *it;
			uint64_t deadline = 7;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = TTL});
			CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR("k")), HAPAX_MISS);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("k"), TTL), HAPAX_MISS);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_MISS);
			CHECK_EQ(hapax_cache_size(t.cache), 0);
			it = tier_add(&t, "k");
			if (!held)
				hapax_release(it);
			fake_clock_advance(TTL);
			CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR("k")), HAPAX_MISS);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("k"), 100 * TTL), HAPAX_MISS);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("k"), INT64_MAX), HAPAX_MISS);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_MISS);
			look(&t, "k", NULL);
			tier_settle(&t);
			TOLD(&t.r, 0, 0, 0, 1, 0, 0);
			if (held)
				hapax_release(it);
			tier_end(&t, 0);
		}
	}
}

TEST(CF_EX_12_deadlines_of_single_entries)
{
	for (int form = 0; form < FORMS; form++) {
		for (int ttl = 0; ttl < 2; ttl++) { /* also in caches without an end of their own */
			struct tier t = {0};
			struct item *it;
			uint64_t deadline;
			hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT, .ttl_ns = 7 * TTL};

			/* (or of one that is never reached here) */
			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = ttl ? TTL : 0,
					   .retain_age_ns = ttl ? 0 : INT64_MAX});
			for (int i = 0; i < 5; i++)
				tier_fill(&t, k(i));
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("0"), &deadline), HAPAX_OK);
			CHECK_EQ(deadline, ttl ? fake_clock_now() + TTL : HAPAX_FOREVER);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("1"), 3 * TTL), HAPAX_OK);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("1"), &deadline), HAPAX_OK);
			CHECK_EQ(deadline, fake_clock_now() + 3 * TTL);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("2"), INT64_MAX), HAPAX_OK);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("3"), HAPAX_ZERO), HAPAX_OK);
			CHECK(!present(t.cache, "3"));
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("0"), 0), HAPAX_EOPTION);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("0"), -1), HAPAX_EOPTION);
			CHECK_EQ(hapax_cache_set_ttl(NULL, HAPAX_STR("0"), 1), HAPAX_ENULL);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_BYTES(NULL, 1), 1), HAPAX_EKEY);
			CHECK_EQ(hapax_cache_touch(NULL, HAPAX_STR("0")), HAPAX_ENULL);
			CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_BYTES(NULL, 1)), HAPAX_EKEY);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("0"), NULL), HAPAX_ENULL);
			it = tier_item(&t);
			CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("7"), it, &o), HAPAX_OK);
			hapax_release(it);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("7"), &deadline), HAPAX_OK);
			CHECK_EQ(deadline, fake_clock_now() + 7 * TTL);
			fake_clock_advance(TTL);
			CHECK_EQ(!present(t.cache, "0"), ttl);
			CHECK(present(t.cache, "1"));
			fake_clock_advance(2 * TTL - 1);
			CHECK(present(t.cache, "1"));
			fake_clock_advance(1);
			CHECK(!present(t.cache, "1"));
			CHECK(present(t.cache, "2"));
			CHECK(present(t.cache, "7"));
			/* shorter and longer again, many times: the last one counts */
			for (int i = 0; i < 100; i++)
				CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("2"), 1 + i % 7 * TTL), HAPAX_OK);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("2"), 50 * TTL), HAPAX_OK);
			fake_clock_advance(50 * TTL - 1);
			tier_settle(&t);
			CHECK(present(t.cache, "2"));
			fake_clock_advance(1);
			CHECK(!present(t.cache, "2"));
			tier_settle(&t);
			TOLD(&t.r, 0, 0, 0, ttl ? 6 : 4, 0, 0);
			tier_end(&t, ttl ? 0 : 2);
		}
	}
}

TEST(CF_EX_12_caches_without_any_time)
{
	const hapax_cache_options none[] = {{0}, {.max_entries = 10}};
	hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT, .ttl_ns = TTL};

	for (int i = 0; i < 3; i++) {
		struct tier t = {.silent = i == 2}; /* the last one has no listener either */
		struct item *it;
		uint64_t deadline = 0;

		tier_begin(&t, PUT, test_env_fake(), none[i % 2]);
		it = tier_put(&t, "k");
		CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("k"), TTL), HAPAX_EOPTION);
		CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_EOPTION);
		CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR("k")), HAPAX_OK);
		CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR("none")), HAPAX_MISS);
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_OK);
		CHECK(deadline == HAPAX_FOREVER);
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("none"), &deadline), HAPAX_MISS);
		CHECK(hapax_cache_next_deadline(t.cache) == HAPAX_FOREVER);
		CHECK(!hapax_cache_maintain(t.cache));
		fake_clock_advance(UINT64_C(1000000) * HAPAX_SECOND);
		CHECK_PTR(present(t.cache, "k"), it);
		hapax_release(it);
		tier_end(&t, i == 1);
	}
}

TEST(CF_EX_12_a_closed_cache)
{
	struct tier t = {0};
	uint64_t deadline;

	tier_begin(&t, LOADED, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = TTL});
	tier_fill(&t, "k");
	hapax_cache_close(t.cache);
	CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR("k")), HAPAX_ECLOSED);
	CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("k"), 1), HAPAX_ECLOSED);
	(void)!hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline);
	(void)hapax_cache_maintain(t.cache);
	(void)hapax_cache_next_deadline(t.cache);
	tier_end(&t, 1);
}
