/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listeners that do things: call the cache, fail, are slow, keep what they see, end the cache. */
#include "unit/removals.h"

/* ---- they may call anything ------------------------------------------------------------------------------------ */

static void write_back(struct removals *r, const hapax_removal *removal)
{
	struct tier *t = r->arg;
	char name[TOLD_KEY + 8] = "again ";

	CHECK_EQ(removal->cause, HAPAX_CAUSE_EXPLICIT);
	memcpy(name + 6, removal->key.data, removal->key.size);
	CHECK_EQ(hapax_cache_put(t->cache, removal->key, removal->object), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(t->cache, HAPAX_STR(name), removal->object), HAPAX_OK);
}

TEST(CF_RM_05_writing_back_during_a_clear_ends_and_stays)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};

		tier_begin(&t, form, test_env(), (hapax_cache_options){.max_entries = 1000});
		for (int i = 0; i < 100; i++)
			tier_fill(&t, k(i));
		t.r.fast = true; /* it is there again at once */
		t.r.then = write_back;
		t.r.arg = &t;
		hapax_cache_clear(t.cache);
		t.r.then = NULL;
		TOLD(&t.r, 100, 0, 0, 0, 0, 0);
		for (int i = 0; i < 100; i++) {
			char name[32];

			snprintf(name, sizeof(name), "again %d", i);
			CHECK(present(t.cache, name));
			CHECK_PTR(present(t.cache, k(i)), present(t.cache, name));
		}
		CHECK_EQ(t.s.destroyed, 0);
		tier_end(&t, 200);
	}
}

static void do_everything(struct removals *r, const hapax_removal *removal)
{
	struct tier *t = r->arg;
	hapax_iter *iter = NULL;
	uint64_t deadline;
	void *out = NULL;

	if (told_so_far(r) > 200)
		return;
	(void)removal;
	CHECK(!hapax_cache_maintain(t->cache));
	hapax_release(got(t->cache, "loaded by a listener"));
	hapax_release(tier_put(t, "put by a listener"));
	CHECK_EQ(hapax_cache_get_if_present(t->cache, HAPAX_STR("nothing"), &out), HAPAX_MISS);
	(void)hapax_cache_remove(t->cache, HAPAX_STR("put by a listener"));
	(void)hapax_cache_touch(t->cache, HAPAX_STR("loaded by a listener"));
	(void)hapax_cache_set_ttl(t->cache, HAPAX_STR("loaded by a listener"), 500);
	(void)!hapax_cache_deadline(t->cache, HAPAX_STR("loaded by a listener"), &deadline);
	(void)hapax_cache_next_deadline(t->cache);
	CHECK_EQ(hapax_cache_set_bound(t->cache, 5), HAPAX_OK);
	(void)stats_of(t->cache);
	(void)hapax_cache_size(t->cache);
	CHECK_EQ(hapax_cache_iterate(t->cache, &iter), HAPAX_OK);
	while (!hapax_iter_next(iter, NULL, &out))
		CHECK(item_is_alive(out));
	hapax_iter_close(iter);
	hapax_release(got(t->cache, "removed key")); /* the very key of some of them */
	if (told_so_far(r) % 7 == 0)
		hapax_cache_clear(t->cache);
}

TEST(CF_RM_05_listeners_may_call_anything)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 5, .ttl_ns = 1000});
		t.r.then = do_everything;
		t.r.arg = &t;
		tier_fill(&t, "removed key");
		for (int i = 0; i < 40; i++) {
			hapax_release(got(t.cache, k(i)));
			hapax_release(tier_put(&t, k(i)));
			(void)hapax_cache_remove(t.cache, HAPAX_STR("removed key"));
			if (i % 5 == 4) {
				fake_clock_advance(1000);
				tier_settle(&t);
			}
		}
		hapax_cache_clear(t.cache);
		t.r.then = NULL;
		hapax_cache_clear(t.cache);
		tier_end(&t, 0);
		CHECK_EQ(t.s.destroyed, loads_of(&t.s) + t.put_id - 1000);
	}
}

/* A maintain() in a listener of maintain() returns false at once. */
static void maintain_inside(struct removals *r, const hapax_removal *removal)
{
	struct tier *t = r->arg;

	(void)removal;
	CHECK(!hapax_cache_maintain(t->cache));
}

TEST(CF_RM_05_CF_MT_03_maintain_in_a_listener)
{
	struct tier t = {0};

	tier_begin(&t, LOADED, test_env_fake(), (hapax_cache_options){.max_entries = 1000, .ttl_ns = 1000});
	for (int i = 0; i < 900; i++)
		tier_fill(&t, k(i));
	fake_clock_advance(1000);
	t.r.then = maintain_inside;
	t.r.arg = &t;
	CHECK(hapax_cache_maintain(t.cache));
	CHECK(t.r.n <= 256);
	tier_settle(&t);
	CHECK_EQ(t.r.by_cause[HAPAX_CAUSE_EXPIRED], 900);
	tier_end(&t, 0);
}

/* ---- failing --------------------------------------------------------------------------------------------------- */

TEST(CF_RM_06_a_listener_that_fails_changes_nothing)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {.r = {.answer = -3}};

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = 1000,
				   .policy = hapax_policy_lru()});
		for (int i = 0; i < 30; i++)
			tier_fill(&t, k(i));
		hapax_release(tier_put(&t, "29"));
		CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("29")), HAPAX_OK);
		CHECK(!present(t.cache, "29"));
		hapax_cache_clear(t.cache);
		TOLD(&t.r, 10, 1, 0, 0, 20, 0);
		for (int i = 0; i < 10; i++)
			tier_fill(&t, k(i));
		fake_clock_advance(1000);
		tier_settle(&t);
		TOLD(&t.r, 10, 1, 0, 10, 20, 0);
		CHECK_EQ(stats_of(t.cache).notifications, 41);
		CHECK_EQ(stats_of(t.cache).listener_errors, 41);
		tier_fill(&t, "last");
		tier_end(&t, 1);
	}
}

/* ---- what they see --------------------------------------------------------------------------------------------- */

static void keep_it(struct removals *r, const hapax_removal *removal)
{
	struct item **kept = r->arg;

	*kept = NULL;
	CHECK(removal->object);
	if (removal->cause == HAPAX_CAUSE_SIZE)
		return;
	CHECK_EQ(hapax_retain(removal->object), HAPAX_OK);
	*kept = removal->object;
}

TEST(MK_RM_10_values_are_alive_in_the_listener_and_let_go_of_after_it)
{
	for (int form = 0; form < FORMS; form++) {
		for (int kept = 0; kept < 2; kept++) {
			struct tier t = {0};
			struct item *seen = NULL;
			void *out = NULL;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 100, .ttl_ns = 1000});
			if (kept) {
				t.r.then = keep_it;
				t.r.arg = &seen;
			}
			for (int way = 0; way < 6; way++) {
				int destroyed = t.s.destroyed, id = tier_fill(&t, "k");

				switch (way) {
				case 0: CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("k")), HAPAX_OK); break;
				case 1: hapax_release(tier_put(&t, "k")); break;
				case 2: hapax_cache_clear(t.cache); break;
				case 3:
					fake_clock_advance(1000);
					CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR("k"), &out), HAPAX_MISS);
					break;
				case 4:
					fake_clock_advance(1000);
					tier_settle(&t);
					break;
				default: /* destroyed by the eviction itself */
					CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
					break;
				}
				CHECK_EQ(t.r.all[t.r.n - 1].id, id);
				if (kept && way < 5) {
					CHECK_EQ(t.s.destroyed, destroyed);
					CHECK_EQ(seen->id, id);
					CHECK_EQ(hapax_count(seen), 1);
					hapax_release(seen);
				}
				CHECK_EQ(t.s.destroyed, destroyed + 1);
				if (way == 1)
					CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("k")), HAPAX_OK);
				if (way == 1 && kept)
					hapax_release(seen);
			}
			tier_end(&t, 0);
		}
	}
}

/* ---- slow ones ------------------------------------------------------------------------------------------------- */

struct slow {
	struct tier t;
	struct gate gate;
	int stops;
};

static void stop_once(struct removals *r, const hapax_removal *removal)
{
	struct slow *s = r->arg;

	(void)removal;
	if (__atomic_fetch_add(&s->stops, 1, __ATOMIC_SEQ_CST))
		return;
	test_event_set(&s->gate.entered);
	test_event_wait(&s->gate.go);
}

static void *evict_or_expire(void *arg)
{
	struct slow *s = arg;

	hapax_release(got(s->t.cache, "one too many"));
	return NULL;
}

static void *maintain_all(void *arg)
{
	struct slow *s = arg;

	tier_settle(&s->t);
	return NULL;
}

static void *remove_one(void *arg)
{
	struct slow *s = arg;

	CHECK_EQ(hapax_cache_remove(s->t.cache, HAPAX_STR("5")), HAPAX_OK);
	return NULL;
}

TEST(MK_RM_11_CF_MT_03_a_slow_listener_stops_nobody_else)
{
	for (int form = LOADED; form <= MADE; form++) {
		for (int way = 0; way < 3; way++) {
			struct slow s = {.gate = GATE_INIT};
			pthread_t thread;

			tier_begin(&s.t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = 1000000,
					   .policy = hapax_policy_lru()});
			for (int i = 0; i < 10; i++)
				tier_fill(&s.t, k(i));
			s.t.r.then = stop_once;
			s.t.r.arg = &s;
			if (way == 1) {
				CHECK_EQ(hapax_cache_set_ttl(s.t.cache, HAPAX_STR("1"), 10), HAPAX_OK);
				fake_clock_advance(10);
			}
			thread = test_thread(way == 0 ? evict_or_expire : way == 1 ? maintain_all : remove_one, &s);
			test_event_wait(&s.gate.entered);
			/* it is stopped in the listener: everything else goes on */
			for (int i = 2; i < 10; i++)
				if (i != 5)
					CHECK(present(s.t.cache, k(i)));
			for (int round = 0; round < 50; round++) {
				hapax_release(got(s.t.cache, "9"));
				hapax_release(got(s.t.cache, k(100 + round)));
				hapax_release(tier_put(&s.t, k(200 + round)));
				(void)hapax_cache_remove(s.t.cache, HAPAX_STR(k(100 + round)));
				(void)hapax_cache_maintain(s.t.cache);
				CHECK(stats_of(s.t.cache).retained <= 10 + 256);
			}
			CHECK(!test_event_is_set(&s.gate.go));
			test_event_set(&s.gate.go);
			test_join(thread);
			tier_settle(&s.t);
			CHECK(stats_of(s.t.cache).retained <= 10); /* and it comes back */
			tier_end(&s.t, hapax_cache_size(s.t.cache));
		}
	}
}

/* ---- ending the cache ------------------------------------------------------------------------------------------ */

static void destroy_it(struct removals *r, const hapax_removal *removal)
{
	struct tier *t = r->arg;
	hapax_cache *cache = t->cache;

	(void)removal;
	if (!cache)
		return;
	t->cache = r->cache = NULL;
	hapax_cache_destroy(cache);
}

TEST(CF_RM_05_CF_CL_03_a_listener_that_destroys_its_cache)
{
	for (int form = 0; form < FORMS; form++) {
		for (int way = 0; way < 7; way++) {
			struct tier t = {0};
			struct item *held, *it = NULL;
			hapax_cache *cache;
			void *out = NULL;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 3, .ttl_ns = 1000,
					   .retain_idle_ns = way == 4 ? 500 : 0, .policy = hapax_policy_lru()});
			cache = t.cache;
			held = tier_add(&t, "held");
			tier_fill(&t, "b");
			tier_fill(&t, "c");
			t.r.then = destroy_it;
			t.r.arg = &t;
			switch (way) {
			case 0: CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("b")), HAPAX_OK); break;
			case 1: it = tier_item(&t); (void)!hapax_cache_put(cache, HAPAX_STR("c"), it); break;
			case 2: hapax_cache_clear(cache); break;
			case 3:
				fake_clock_advance(1000);
				CHECK(hapax_cache_get_if_present(cache, HAPAX_STR("b"), &out) != HAPAX_OK);
				break;
			case 4:
				fake_clock_advance(999);
				(void)hapax_cache_maintain(cache);
				break;
			case 5: /* "b" goes for it */
				(void)!hapax_cache_get(cache, HAPAX_STR("held"), &out);
				hapax_release(out);
				out = NULL;
				it = tier_item(&t);
				(void)!hapax_cache_put(cache, HAPAX_STR("d"), it);
				break;
			default: (void)!hapax_cache_set_bound(cache, 1); break;
			}
			CHECK(!t.cache);
			CHECK(t.r.n >= 3); /* each value once: those that were there were told of by the destruction */
			CHECK(item_is_alive(held));
			CHECK_EQ(hapax_count(held), 1);
			for (size_t i = 0; i < t.r.n; i++)
				for (size_t j = 0; j < i; j++)
					CHECK(!t.r.all[i].id || t.r.all[i].id != t.r.all[j].id);
			hapax_release(held);
			hapax_release(it);
			tier_gone(&t);
			CHECK_EQ(t.s.destroyed, loads_of(&t.s) + t.put_id - 1000);
		}
	}
}

/* The last user lets go, and the listener ends the cache. */
TEST(CF_RM_05_CF_CL_03_a_listener_of_a_death_that_destroys_its_cache)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		struct item *a, *b;

		tier_begin(&t, form, test_env(), (hapax_cache_options){0});
		a = tier_add(&t, "a");
		b = tier_add(&t, "b");
		t.r.then = destroy_it;
		t.r.arg = &t;
		hapax_release(a);
		CHECK(!t.cache);
		TOLD(&t.r, 0, 0, 1, 0, 0, 1);
		CHECK_EQ(t.s.destroyed, 1);
		hapax_release(b);
		CHECK_EQ(t.r.n, 2);
		tier_gone(&t);
	}
}

/* ---- a listener that runs deferred deaths ------------------------------------------------------------------------- */

struct deferring {
	hapax_env *env;
	struct item *other; /* present too; released by the listener of the first */
	bool begun;
};

static int runs_deferred(const hapax_removal *removal, void *ctx)
{
	struct deferring *d = ctx;

	trace("r%.*s", (int)removal->key.size, (const char *)removal->key.data);
	if (!d->begun) {
		d->begun = true;
		hapax_release(d->other);
		CHECK_EQ(hapax_run_deferred(d->env), 1);
	}
	return 0;
}

/* What dies in a listener waits until all listeners have been told, deferred deaths too (they ran at once, and took with them
 * the dead whose listeners were still to be told). */
TEST(CF_RM_05_a_listener_that_runs_deferred_deaths)
{
	struct deferring d = {.env = test_env()};
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .env = d.env, .on_removal = runs_deferred, .on_removal_ctx = &d};
	struct item *first = item_traced(d.env, 1), *late = item_of(d.env, &deferred_type, 3);
	hapax_cache *cache;

	trace_reset();
	CHECK_EQ(hapax_cache_create(&cache, &options), HAPAX_OK);
	d.other = item_traced(d.env, 2);
	late->on_destroy = trace_destroy;
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("1"), first), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("2"), d.other), HAPAX_OK);
	hapax_release(late);
	CHECK_STR(trace_text, "");
	hapax_release(first);
	CHECK_EQ(strncmp(trace_text, "r1 r2 ", 6), 0);
	CHECK(strstr(trace_text, "d1 ") && strstr(trace_text, "d2 ") && strstr(trace_text, "d3 "));
	cache_end(cache, 0);
	test_env_end(d.env);
}
