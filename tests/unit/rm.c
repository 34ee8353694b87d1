/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Removal notifications: one for each value that leaves, with the cause that was true first. */
#include "unit/removals.h"

static bool refuse_all(void *object, void *arg)
{
	(void)object;
	return *(bool *)arg;
}

TEST(CF_RM_01_each_way_to_leave_has_its_cause)
{
	for (int form = 0; form < FORMS; form++) {
		for (int held = 0; held < 2; held++) { /* by the cache */
			struct tier t = {0};
			bool refuse = true;
			hapax_get_options refusing = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .refuse = refuse_all,
						      .refuse_arg = &refuse};
			struct item *it;
			void *out = NULL;
			int id;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = held ? 100 : 0, .ttl_ns = 1000});
			it = tier_add(&t, "remove");
			CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("remove")), HAPAX_OK);
			TOLD(&t.r, 1, 0, 0, 0, 0, 0);
			CHECK_EQ(t.r.all[0].id, it->id);
			hapax_release(it);
			it = tier_add(&t, "pop");
			CHECK_EQ(hapax_cache_pop(t.cache, HAPAX_STR("pop"), &out), HAPAX_OK);
			CHECK_PTR(out, it);
			hapax_release(out);
			hapax_release(it);
			TOLD(&t.r, 2, 0, 0, 0, 0, 0);
			it = tier_add(&t, "remove if");
			CHECK_EQ(hapax_cache_remove_if(t.cache, HAPAX_STR("remove if"), &t), HAPAX_MISS);
			CHECK_EQ(hapax_cache_remove_if(t.cache, HAPAX_STR("remove if"), it), HAPAX_OK);
			TOLD(&t.r, 3, 0, 0, 0, 0, 0);
			hapax_release(it);
			it = tier_add(&t, "clear");
			hapax_cache_clear(t.cache);
			TOLD(&t.r, 4, 0, 0, 0, 0, 0);
			hapax_release(it);

			it = tier_add(&t, "put");
			id = it->id;
			out = tier_put(&t, "put");
			TOLD(&t.r, 4, 1, 0, 0, 0, 0);
			CHECK_EQ(t.r.all[4].id, id);
			hapax_release(it);
			refuse = true;
			it = NULL;
			CHECK_EQ(hapax_cache_get_with(t.cache, HAPAX_STR("put"), &refusing, (void **)&it), HAPAX_OK);
			TOLD(&t.r, 4, 2, 0, 0, 0, 0);
			CHECK_EQ(t.r.all[5].id, ((struct item *)out)->id);
			hapax_release(out);
			CHECK_EQ(t.r.n, 6);

			fake_clock_advance(1000);
			CHECK(!present(t.cache, "put"));
			tier_settle(&t);
			TOLD(&t.r, 4, 2, 0, 1, 0, 0);
			CHECK_EQ(t.r.all[6].id, it->id); /* it is in use: it comes with it */
			hapax_release(it);

			id = tier_fill(&t, "let go");
			if (held) {
				TOLD(&t.r, 4, 2, 0, 1, 0, 0);
				CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
				TOLD(&t.r, 4, 2, 0, 1, 1, 0);
				CHECK_EQ(t.r.all[7].id, id);
			} else {
				TOLD(&t.r, 4, 2, 1, 1, 0, 0);
				CHECK_EQ(t.r.all[7].id, 0);
			}
			CHECK_STR(t.r.all[7].key, "let go");
			it = tier_add(&t, "stays");
			tier_close(&t, 1);
			CHECK_EQ(t.r.all[8].cause, HAPAX_CAUSE_CLOSED);
			CHECK_EQ(t.r.all[8].id, it->id);
			hapax_release(it); /* nobody is told of that */
			tier_gone(&t);
		}
	}
}

TEST(CF_RM_01_a_demotion_is_told_at_the_death_and_readmission_forgets_it)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *a, *b;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 1, .retain_idle_ns = 1000,
				   .policy = hapax_policy_lru()});
		a = tier_add(&t, "a");
		b = tier_add(&t, "b"); /* a is demoted, and in use */
		CHECK_EQ(stats_of(t.cache).demotions, 1);
		CHECK_EQ(t.r.n, 0);
		CHECK_EQ(tier_hit(&t, "a"), a->id); /* comes back, b goes */
		CHECK_EQ(stats_of(t.cache).readmissions, 1);
		CHECK_EQ(stats_of(t.cache).demotions, 2);
		hapax_release(a);
		CHECK_EQ(t.r.n, 0);
		CHECK(present(t.cache, "a"));
		hapax_release(b);
		TOLD(&t.r, 0, 0, 0, 0, 1, 0);
		CHECK_STR(t.r.all[0].key, "b");
		fake_clock_advance(1000); /* nobody demoted it for size */
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 1, 0, 1, 0);
		CHECK_STR(t.r.all[1].key, "a");
		tier_end(&t, 0);
	}
}

TEST(CF_RM_01_what_age_and_idle_time_let_go_of_is_collected)
{
	for (int form = 0; form < FORMS; form++) {
		for (int idle = 0; idle < 2; idle++) {
			struct tier t = {0};
			struct item *it;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.retain_age_ns = idle ? 0 : 1000,
					   .retain_idle_ns = idle ? 1000 : 0});
			tier_fill(&t, "a");
			it = tier_add(&t, "b");
			fake_clock_advance(1000);
			tier_settle(&t);
			TOLD(&t.r, 0, 0, 1, 0, 0, 0);
			CHECK_PTR(present(t.cache, "b"), it);
			CHECK_EQ(stats_of(t.cache).demotions, 2);
			hapax_release(it);
			TOLD(&t.r, 0, 0, 2, 0, 0, 0);
			tier_end(&t, 0);
		}
	}
}

/* A value that was loaded and never installed. */
TEST(CF_RM_01_a_fenced_load_is_told_of_once)
{
	static const char *const ways[] = {"put", "remove", "clear", "pop"};

	for (int form = LOADED; form <= MADE; form++) {
		for (int way = 0; way < 4; way++) {
			for (int bound = 0; bound < 2; bound++) {
				struct gate g = GATE_INIT;
				struct tier t = {.s = {.then = first_stops, .arg = &g}};
				struct asker a;
				struct item *it = NULL, *loaded;
				void *out = NULL;

				tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = bound ? 10 : 0});
				ask(&a, t.cache, "k", NULL);
				test_event_wait(&g.entered);
				if (way == 0)
					it = tier_put(&t, "k");
				else if (way == 1)
					CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("k")), HAPAX_MISS);
				else if (way == 2)
					hapax_cache_clear(t.cache);
				else
					CHECK_EQ(hapax_cache_pop(t.cache, HAPAX_STR("k"), &out), HAPAX_MISS);
				CHECK_EQ(t.r.n, 0);
				test_event_set(&g.go);
				CHECK_EQ(answer(&a), HAPAX_OK);
				loaded = a.out;
				if (t.r.n != 1)
					TEST_FAIL("%s: told %zu times", ways[way], t.r.n);
				CHECK_EQ(t.r.all[0].cause, way ? HAPAX_CAUSE_EXPLICIT : HAPAX_CAUSE_REPLACED);
				CHECK_EQ(t.r.all[0].id, loaded->id);
				CHECK_EQ(stats_of(t.cache).superseded, 1);
				CHECK_EQ(hapax_count(loaded), 1);
				asker_end(&a); /* nobody is told of its death */
				CHECK_EQ(t.r.n, 1);
				CHECK_PTR(present(t.cache, "k"), it);
				hapax_release(it);
				tier_end(&t, it && bound ? 1 : 0);
			}
		}
	}
}

/* ---- what is an eviction --------------------------------------------------------------------------------------- */

TEST(CF_RM_02_evictions)
{
	CHECK(!hapax_cause_is_eviction(HAPAX_CAUSE_EXPLICIT));
	CHECK(!hapax_cause_is_eviction(HAPAX_CAUSE_REPLACED));
	CHECK(hapax_cause_is_eviction(HAPAX_CAUSE_COLLECTED));
	CHECK(hapax_cause_is_eviction(HAPAX_CAUSE_EXPIRED));
	CHECK(hapax_cause_is_eviction(HAPAX_CAUSE_SIZE));
	CHECK(!hapax_cause_is_eviction(HAPAX_CAUSE_CLOSED));
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		uint64_t evictions = 0;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 2, .ttl_ns = 1000, .retain_idle_ns = 500,
				   .policy = hapax_policy_lru()});
		for (int round = 0; round < 5; round++) {
			tier_fill(&t, "explicit");
			CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("explicit")), HAPAX_OK);
			tier_fill(&t, "replaced");
			hapax_release(tier_put(&t, "replaced"));
			CHECK_EQ(stats_of(t.cache).evictions, evictions);
			tier_fill(&t, "x");
			tier_fill(&t, "y"); /* SIZE: "replaced" */
			CHECK_EQ(stats_of(t.cache).evictions, evictions += 1);
			fake_clock_advance(500);
			tier_settle(&t); /* COLLECTED: both */
			CHECK_EQ(stats_of(t.cache).evictions, evictions += 2);
			tier_fill(&t, "z");
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("z"), 100), HAPAX_OK);
			fake_clock_advance(100);
			tier_settle(&t);
			CHECK_EQ(stats_of(t.cache).evictions, evictions += 1);
		}
		TOLD(&t.r, 5, 5, 10, 5, 5, 0);
		CHECK_EQ(stats_of(t.cache).expirations, 5);
		CHECK_EQ(stats_of(t.cache).size_evictions, 5);
		tier_end(&t, 0);
	}
}

/* ---- what was true first --------------------------------------------------------------------------------------- */

TEST(CF_RM_03_expired_comes_before_what_the_caller_did)
{
	static const char *const names[] = {"put", "remove", "pop", "remove if", "get or put", "clear", "put with", "refuse", "touch"};

	for (int form = 0; form < FORMS; form++) {
		for (int way = 0; way < 9; way++) {
			for (int held = 0; held < 2; held++) { /* by the test */
				struct tier t = {0};
				struct item *old, *it = NULL;
				void *out = NULL;
				bool inserted = false, refuse = true;
				hapax_get_options refusing = {HAPAX_GET_OPTIONS_INIT, .refuse = refuse_all, .refuse_arg = &refuse};
				hapax_key key = HAPAX_STR("k");
				int id;

				tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = 1000});
				old = tier_add(&t, "k");
				id = old->id;
				if (!held)
					hapax_release(old);
				fake_clock_advance(1000);
				switch (way) {
				case 0: it = tier_put(&t, "k"); break;
				case 1: CHECK_EQ(hapax_cache_remove(t.cache, key), HAPAX_MISS); break;
				case 2: CHECK_EQ(hapax_cache_pop(t.cache, key, &out), HAPAX_MISS); break;
				case 3: CHECK_EQ(hapax_cache_remove_if(t.cache, key, held ? old : (void *)&t), HAPAX_MISS); break;
				case 4:
					it = tier_item(&t);
					CHECK_EQ(hapax_cache_get_or_put(t.cache, key, it, &out, &inserted), HAPAX_OK);
					CHECK(inserted);
					CHECK_PTR(out, it);
					hapax_release(out);
					break;
				case 5: hapax_cache_clear(t.cache); break;
				case 6:
					it = tier_item(&t);
					CHECK_EQ(hapax_cache_put_with(t.cache, key, it, NULL), HAPAX_OK);
					break;
				case 7:
					refusing.deadline = HAPAX_FOREVER;
					CHECK_EQ(hapax_cache_get_with(t.cache, key, &refusing, &out), HAPAX_OK);
					it = out;
					break;
				default: CHECK_EQ(hapax_cache_touch(t.cache, key), HAPAX_MISS); break;
				}
				if (t.r.n != 1 || t.r.all[0].cause != HAPAX_CAUSE_EXPIRED || t.r.all[0].id != id)
					TEST_FAIL("%s: told %zu, first %s", names[way], t.r.n, t.r.n ? told_text(&t.r, 0) : "-");
				CHECK_PTR(present(t.cache, "k"), it);
				CHECK_EQ(stats_of(t.cache).removals, 0);
				CHECK_EQ(stats_of(t.cache).replacements, 0);
				if (held)
					hapax_release(old);
				hapax_release(it);
				tier_end(&t, it != NULL);
			}
		}
	}
}

/* Nobody has looked at it since: the end of the cache is not why it left. */
TEST(CF_RM_03_expired_comes_before_the_end_of_the_cache)
{
	for (int form = 0; form < FORMS; form++) {
		for (int close = 0; close < 2; close++) {
			struct tier t = {.loose = true};
			int id;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 5, .ttl_ns = 1000});
			id = tier_fill(&t, "old");
			fake_clock_advance(999);
			tier_fill(&t, "young");
			fake_clock_advance(1);
			if (close)
				hapax_cache_close(t.cache);
			t.r.cache = NULL;
			hapax_cache_destroy(t.cache);
			TOLD(&t.r, 0, 0, 0, 1, 0, 1);
			for (size_t i = 0; i < 2; i++)
				CHECK((t.r.all[i].id == id) == (t.r.all[i].cause == HAPAX_CAUSE_EXPIRED));
			tier_gone(&t);
		}
	}
}

TEST(CF_RM_03_dead_comes_before_everything)
{
	for (int form = 0; form < FORMS; form++) {
		for (int expired = 0; expired < 2; expired++) {
			struct tier t = {0};
			struct item *it;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.ttl_ns = 1000});
			tier_fill(&t, "k"); /* dead already: the cache holds nothing */
			TOLD(&t.r, 0, 0, 1, 0, 0, 0);
			CHECK_EQ(t.r.all[0].id, 0);
			if (expired)
				fake_clock_advance(1000);
			CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("k")), HAPAX_MISS);
			it = tier_put(&t, "k");
			TOLD(&t.r, 0, 0, 1, 0, 0, 0);
			tier_close(&t, 1);
			hapax_release(it);
			tier_gone(&t);
		}
	}
}

/* Dead, but not yet out of the table: another writer meets it there. */
struct met {
	struct tier *t;
	struct item *it;
	int calls;
};

static void put_over_the_dying(const char *name, void *ctx)
{
	struct met *m = ctx;

	if (strcmp(name, "death.dead") || m->calls++)
		return;
	m->it = tier_put(m->t, "k");
}

TEST(CF_RM_03_a_put_over_a_dying_value_is_no_replacement)
{
	for (int form = 0; form < FORMS; form++) {
		for (int bound = 0; bound < 2; bound++) { /* SIZE is told of a dead object as well */
			struct tier t = {0};
			struct met m = {.t = &t};
			struct item *it;

			tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = bound ? 5 : 0});
			it = tier_add(&t, "k");
			if (bound)
				CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
			if (bound)
				CHECK_EQ(hapax_cache_set_bound(t.cache, 5), HAPAX_OK);
			hapax_testing_set_stop(put_over_the_dying, &m);
			hapax_release(it);
			hapax_testing_set_stop(NULL, NULL);
			CHECK_EQ(m.calls, 1);
			TOLD(&t.r, 0, 0, bound ? 0 : 1, 0, bound, 0);
			CHECK_PTR(present(t.cache, "k"), m.it);
			CHECK_EQ(stats_of(t.cache).replacements, 0);
			hapax_release(m.it);
			tier_end(&t, (size_t)bound);
		}
	}
}

/* ---- the same instance again ----------------------------------------------------------------------------------- */

static int weigh_by_id(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)key;
	++*(int *)ctx;
	*weight = (uint64_t)((struct item *)object)->id;
	return 0;
}

TEST(CF_RM_08_the_same_instance_is_a_write_and_no_replacement)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *it;
		uint64_t before, after;
		int weighed = 0;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_weight = 1000000, .weigh = weigh_by_id,
				   .weigh_ctx = &weighed, .ttl_ns = 1000});
		it = tier_add(&t, "k");
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &before), HAPAX_OK);
		CHECK_EQ(before, fake_clock_now() + 1000);
		CHECK_EQ(stats_of(t.cache).retained_weight, it->id);
		for (int i = 0; i < 5; i++) {
			fake_clock_advance(999);
			it->id += 100;
			CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), it), HAPAX_OK);
			CHECK_EQ(weighed, 2 + i);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &after), HAPAX_OK);
			CHECK_EQ(after, fake_clock_now() + 1000);
			CHECK_EQ(stats_of(t.cache).retained_weight, it->id);
			CHECK_EQ(stats_of(t.cache).retained, 1);
			CHECK_EQ(hapax_cache_size(t.cache), 1);
			CHECK_EQ(t.r.n, 0);
			CHECK_EQ(hapax_count(it), 2); /* the cache's and ours */
			tier_check(&t, 1);
		}
		hapax_release(it);
		CHECK_PTR(present(t.cache, "k"), it);
		fake_clock_advance(1000);
		CHECK(!present(t.cache, "k"));
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 0, 1, 0, 0);
		tier_end(&t, 0);
	}
}
