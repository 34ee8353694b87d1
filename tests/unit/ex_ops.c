/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Expired entries and the operations that look before they change; what nothing and nobody gives to the calls of time. */
#include "unit/removals.h"

#define TTL 1000000

struct computed {
	struct tier *t;
	struct item *saw;
	int calls, answer;
};

static int compute_once(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct computed *x = arg;

	(void)key;
	(void)error;
	x->calls++;
	x->saw = current;
	if (x->answer == HAPAX_COMPUTE_PUT)
		*object = tier_item(x->t);
	return x->answer;
}

static int match_all(const hapax_key *key, void *object, void *ctx)
{
	(void)key;
	CHECK(item_is_alive(object));
	++*(int *)ctx;
	return 1;
}

TEST(CF_EX_03_CF_CP_05_nothing_matches_what_has_expired)
{
	for (int form = 0; form < FORMS; form++) {
		for (int way = 0; way < 7; way++) {
			struct tier t = {0};
			struct computed x = {.t = &t, .answer = way == 0 ? HAPAX_COMPUTE_PUT : way == 1 ? HAPAX_COMPUTE_KEEP :
							       HAPAX_COMPUTE_REMOVE};
			struct item *old, *fresh = NULL;
			hapax_key key = HAPAX_STR("k"), keys[2];
			hapax_change change = HAPAX_REMOVED;
			void *out = NULL, *many[2];
			size_t removed = 7;
			int statuses[2], matched = 0, id;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = TTL});
			old = tier_add(&t, "k");
			id = old->id;
			fake_clock_advance(TTL);
			switch (way) {
			case 0:
			case 1:
			case 2:
				CHECK_EQ(hapax_cache_compute(t.cache, key, compute_once, &x, HAPAX_FOREVER, &out, &change, NULL), 0);
				CHECK_EQ(x.calls, 1);
				CHECK(!x.saw);
				CHECK_EQ(change, way ? HAPAX_STILL_NONE : HAPAX_INSERTED);
				CHECK((out != NULL) == (way == 0));
				fresh = out;
				break;
			case 3:
				fresh = tier_item(&t);
				CHECK_EQ(hapax_cache_replace_if(t.cache, key, old, fresh), HAPAX_MISS);
				hapax_release(fresh);
				fresh = NULL;
				break;
			case 4:
				fresh = tier_item(&t);
				CHECK_EQ(hapax_cache_upsert(t.cache, key, fresh, &out), HAPAX_OK);
				CHECK(!out);
				break;
			case 5:
				CHECK_EQ(hapax_cache_remove_where(t.cache, match_all, &matched, &removed), HAPAX_OK);
				CHECK_EQ(removed, 0);
				CHECK_EQ(matched, 0);
				break;
			default:
				keys[0] = keys[1] = key;
				CHECK_EQ(hapax_cache_get_many(t.cache, keys, 2, many, statuses, NULL), HAPAX_OK);
				CHECK_EQ(statuses[0], HAPAX_OK);
				CHECK_PTR(many[0], many[1]);
				CHECK(many[0] != old);
				hapax_release(many[1]);
				fresh = many[0];
				break;
			}
			tier_settle(&t);
			if (t.r.n != 1 || t.r.all[0].cause != HAPAX_CAUSE_EXPIRED || t.r.all[0].id != id)
				TEST_FAIL("way %d: told %zu, first %s", way, t.r.n, t.r.n ? told_text(&t.r, 0) : "-");
			CHECK_PTR(present(t.cache, "k"), fresh);
			CHECK_EQ(hapax_count(old), 1);
			hapax_release(old);
			hapax_release(fresh);
			tier_end(&t, fresh != NULL);
		}
	}
}

TEST(CF_EX_04_what_compute_writes_begins_anew)
{
	for (int form = 0; form < FORMS; form++) {
		for (int way = 0; way < 4; way++) {
			struct tier t = {0};
			struct computed x = {.t = &t, .answer = way ? HAPAX_COMPUTE_PUT : HAPAX_COMPUTE_KEEP};
			struct item *old, *fresh;
			uint64_t begun, deadline;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = TTL});
			begun = fake_clock_now();
			old = tier_add(&t, "k");
			fake_clock_advance(TTL / 2);
			if (way < 2) {
				CHECK_EQ(hapax_cache_compute(t.cache, HAPAX_STR("k"), compute_once, &x, HAPAX_FOREVER, NULL, NULL,
							     NULL), HAPAX_OK);
				CHECK_PTR(x.saw, old);
			} else {
				fresh = tier_item(&t);
				CHECK_EQ(way == 2 ? hapax_cache_replace_if(t.cache, HAPAX_STR("k"), old, fresh)
						  : hapax_cache_upsert(t.cache, HAPAX_STR("k"), fresh, NULL), HAPAX_OK);
				hapax_release(fresh);
			}
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_OK);
			CHECK_EQ(deadline, way ? fake_clock_now() + TTL : begun + TTL);
			TOLD(&t.r, 0, way != 0, 0, 0, 0, 0);
			CHECK_EQ(stats_of(t.cache).retained, 1);
			hapax_release(old);
			tier_end(&t, 1);
		}
	}
}

/* The greatest time is no end, as for the cache's own ttl and a deadline that is set. */
TEST(CF_EX_05_an_entry_without_an_end)
{
	hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT, .ttl_ns = INT64_MAX};
	struct tier t = {0};
	struct item *it;
	uint64_t deadline;

	tier_begin(&t, PUT, test_env_fake(), (hapax_cache_options){.ttl_ns = TTL});
	it = tier_item(&t);
	CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_OK);
	CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &deadline), HAPAX_OK);
	CHECK_EQ(deadline, HAPAX_FOREVER);
	fake_clock_set(UINT64_MAX - 1);
	CHECK(present(t.cache, "k"));
	hapax_release(it);
	tier_end(&t, 0);
}

TEST(CF_EX_14_nothing_and_closed_caches)
{
	struct tier t = {0};

	CHECK(!hapax_cache_maintain(NULL));
	CHECK(hapax_cache_next_deadline(NULL) == HAPAX_FOREVER);
	tier_begin(&t, LOADED, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = TTL});
	tier_fill(&t, "k");
	CHECK(hapax_cache_next_deadline(t.cache) != HAPAX_FOREVER);
	hapax_cache_close(t.cache);
	fake_clock_advance(TTL);
	(void)hapax_cache_maintain(t.cache); /* nothing, or what is due: once in any case */
	t.r.cache = NULL;
	hapax_cache_destroy(t.cache);
	CHECK_EQ(t.r.n, 1);
	CHECK_EQ(t.s.destroyed, 1);
	tier_gone(&t);
}

/* ---- the end of the cache ---------------------------------------------------------------------------------------- */

/* The last thing that held an object was held by the cache: it goes with it, and is told of. */
TEST(CF_RM_01_what_dies_with_the_cache_is_told_of)
{
	for (int form = 0; form < FORMS; form++) {
		for (int order = 0; order < 2; order++) {
			struct tier t = {.shared = true};
			struct item *children[20], *parent;

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 20, .policy = hapax_policy_lru()});
			for (int i = 0; i < 20; i++)
				children[i] = tier_add(&t, k(100 * order + i));
			for (int i = 0; i < 20; i++) { /* each takes the place of one of them, and holds it */
				parent = tier_add(&t, k(1000 - 100 * order + i));
				parent->child = children[i];
				hapax_release(parent);
			}
			CHECK_EQ(stats_of(t.cache).retained, 20);
			CHECK_EQ(t.r.n, 0);
			tier_close(&t, 40);
			CHECK_EQ(t.s.destroyed, 40);
			for (size_t i = 0; i < t.r.n; i++)
				for (size_t j = 0; j < i; j++)
					CHECK(strcmp(t.r.all[i].key, t.r.all[j].key));
			CHECK(t.r.by_cause[HAPAX_CAUSE_CLOSED] >= 20);
			tier_gone(&t);
		}
	}
}

static void *release_late(void *arg)
{
	test_sleep_ms(1);
	hapax_release(arg);
	return NULL;
}

/* Deaths on other threads at that moment: told once, before destroy returns. */
TEST(CF_RM_01_deaths_beside_the_end)
{
	for (int form = 0; form < FORMS; form++) {
		for (int round = 0; round < 20; round++) {
			struct tier t = {.shared = true};
			pthread_t threads[4];
			size_t told;

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 2, .policy = hapax_policy_lru()});
			for (int i = 0; i < 4; i++)
				threads[i] = test_thread(release_late, tier_add(&t, k(i)));
			if (round % 2)
				test_sleep_ms(1);
			if (round >= 18)
				for (int i = 0; i < 4; i++)
					test_join(threads[i]);
			__atomic_store_n(&t.r.cache, NULL, __ATOMIC_SEQ_CST);
			hapax_cache_destroy(t.cache);
			told = told_so_far(&t.r);
			/* each was present, or died before; a death that has begun may come round to its entry after the end */
			CHECK(told <= 4);
			if (round >= 18)
				CHECK_EQ(told, 4); /* for sure, when it is over */
			for (int i = 0; i < 4 && round < 18; i++)
				test_join(threads[i]);
			CHECK_EQ(t.s.destroyed, 4);
			CHECK_EQ(t.r.n, told);
			tier_gone(&t);
		}
	}
}
