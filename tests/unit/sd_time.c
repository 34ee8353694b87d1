/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The published recipes' traps that have to do with time. */
#include "unit/removals.h"

#define TTL 1000000

/* ---- expired keys and sweeps do not hang ------------------------------------------------------------------------- */

struct others {
	struct tier t;
	struct test_event stop;
	int gets;
};

static void *use_others(void *arg)
{
	struct others *o = arg;

	while (!test_event_is_set(&o->stop)) {
		hapax_release(got(o->t.cache, "other"));
		__atomic_fetch_add(&o->gets, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

TEST(SD_01_an_expired_key_is_a_miss_and_returns)
{
	for (int form = 0; form < FORMS; form++) {
		for (int way = 0; way < 6; way++) {
			struct others o = {.stop = TEST_EVENT_INIT};
			struct item *it;
			pthread_t thread;
			void *out = NULL;
			int gets;

			tier_begin(&o.t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = TTL});
			tier_fill(&o.t, "k");
			fake_clock_advance(TTL);
			test_watchdog(1 + 9 * test_slow_build());
			switch (way) {
			case 0: CHECK_EQ(hapax_cache_get_if_present(o.t.cache, HAPAX_STR("k"), &out), HAPAX_MISS); break;
			case 1: CHECK_EQ(hapax_cache_contains(o.t.cache, HAPAX_STR("k")), 0); break;
			case 2: hapax_release(got(o.t.cache, "k")); break;
			case 3: CHECK_EQ(hapax_cache_remove(o.t.cache, HAPAX_STR("k")), HAPAX_MISS); break;
			case 4: hapax_release(tier_put(&o.t, "k")); break;
			default: tier_settle(&o.t); break;
			}
			test_watchdog(TEST_WATCHDOG_SECONDS);
			tier_settle(&o.t);
			TOLD(&o.t.r, 0, 0, 0, 1, 0, 0);
			/* other threads still work */
			thread = test_thread(use_others, &o);
			while (__atomic_load_n(&o.gets, __ATOMIC_RELAXED) < 20)
				test_sleep_ms(1);
			gets = __atomic_load_n(&o.gets, __ATOMIC_RELAXED);
			it = got(o.t.cache, "k");
			hapax_release(it);
			test_event_set(&o.stop);
			test_join(thread);
			CHECK(o.gets >= gets);
			tier_end(&o.t, 2);
		}
	}
}

TEST(SD_02_a_sweep_that_finds_something_ends)
{
	for (int form = 0; form < FORMS; form++) {
		for (int n = 1; n <= 1000; n *= 10) {
			struct tier t = {0};

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 2000, .ttl_ns = TTL});
			for (int i = 0; i < n; i++)
				tier_fill(&t, k(i));
			fake_clock_advance(TTL);
			tier_settle(&t);
			TOLD(&t.r, 0, 0, 0, n, 0, 0);
			CHECK(!hapax_cache_maintain(t.cache));
			for (int i = 0; i < n; i++) {
				CHECK(!present(t.cache, k(i)));
				tier_fill(&t, k(i));
			}
			tier_end(&t, (size_t)n);
		}
	}
}

/* What is put just before a sweep, in it, or after it is reclaimed as well, with no further put. */
static void put_one_more(struct removals *r, const hapax_removal *removal)
{
	struct tier *t = r->arg;

	(void)removal;
	if (t->put_id < 1005)
		hapax_release(tier_put(t, k(100 + t->put_id)));
}

TEST(SD_08_the_schedule_goes_on_while_anything_has_an_end)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		int wakes = 0;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 2000, .ttl_ns = 60000000000});
		t.r.then = put_one_more;
		t.r.arg = &t;
		if (form == PUT)
			t.put_id = 1000;
		tier_fill(&t, "first");
		fake_clock_advance(60000000000 - 1);
		tier_fill(&t, "just before");
		while (hapax_cache_next_deadline(t.cache) != HAPAX_FOREVER) {
			uint64_t next = hapax_cache_next_deadline(t.cache);

			CHECK(wakes++ < 1000);
			if (next > fake_clock_now())
				fake_clock_set(next);
			tier_settle(&t);
		}
		CHECK_EQ(t.r.by_cause[HAPAX_CAUSE_EXPIRED], loads_of(&t.s) + t.put_id - 1000);
		CHECK(t.put_id > 1000);
		CHECK_EQ(hapax_cache_size(t.cache), 0);
		tier_end(&t, 0);
	}
}

/* ---- the recipe's time of day ------------------------------------------------------------------------------------ */

/* The injected clock is the only one there is: real time passes, and the fake one goes back, and nothing expires. */
TEST(SD_10_CF_EX_01_only_the_injected_clock_counts)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		uint64_t now = fake_clock_now();

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10, .ttl_ns = 1000});
		tier_fill(&t, "k"); /* a microsecond */
		test_sleep_ms(20);
		tier_settle(&t);
		CHECK(present(t.cache, "k"));
		fake_clock_set(now / 2);
		tier_settle(&t);
		CHECK(present(t.cache, "k"));
		fake_clock_set(now + 999);
		CHECK(present(t.cache, "k"));
		fake_clock_set(now + 1000);
		CHECK(!present(t.cache, "k"));
		tier_settle(&t);
		tier_end(&t, 0);
	}
}

/* ---- expiry of what is in use ------------------------------------------------------------------------------------ */

struct users {
	struct tier t;
	struct test_barrier barrier;
	bool valid; /* ttl, not retention */
};

static void hold_over_the_end(unsigned index, void *arg)
{
	struct users *u = arg;
	struct item *first = got(u->t.cache, "k"), *second;
	int id = first->id;

	test_barrier_wait(&u->barrier);
	if (!index)
		fake_clock_advance(TTL);
	test_barrier_wait(&u->barrier);
	second = got(u->t.cache, "k");
	CHECK_EQ(second == first, !u->valid);
	CHECK(item_is_alive(first)); /* valid for those who hold it */
	CHECK_EQ(first->id, id);
	test_barrier_wait(&u->barrier);
	hapax_release(second);
	test_barrier_wait(&u->barrier);
	CHECK(item_is_alive(first));
	hapax_release(first);
}

TEST(SD_11_users_over_the_end_of_a_time)
{
	for (int form = LOADED; form <= MADE; form++) {
		for (int kind = 0; kind < 4; kind++) {
			const hapax_cache_options o[] = {
				{.max_entries = 5, .ttl_ns = TTL}, {.ttl_ns = TTL}, {.retain_age_ns = TTL}, {.retain_idle_ns = TTL},
			};
			struct users u = {.valid = kind < 2};

			test_barrier_init(&u.barrier, 4);
			tier_begin(&u.t, form, test_env_fake(), o[kind]);
			run_threads(4, hold_over_the_end, &u);
			CHECK_EQ(loads_of(&u.t.s), u.valid ? 2 : 1);
			fake_clock_advance(2 * TTL);
			tier_settle(&u.t);
			CHECK_EQ(hapax_cache_size(u.t.cache), 0);
			CHECK_EQ(u.t.s.destroyed, loads_of(&u.t.s));
			CHECK_EQ(u.t.r.n, loads_of(&u.t.s));
			CHECK_EQ(u.t.r.by_cause[HAPAX_CAUSE_EXPIRED], kind == 0 ? 2 : kind == 1 ? 1 : 0);
			tier_end(&u.t, 0);
		}
	}
}

/* ---- avalanche --------------------------------------------------------------------------------------------------- */

enum { HOT = 100, READERS = 64 };

struct avalanche {
	struct tier t;
	struct test_barrier barrier;
	int loading[HOT]; /* now */
	int loaded[HOT];
};

static int load_hot(struct source *s, int load, void *object, const hapax_key *key)
{
	struct avalanche *a = s->arg;
	char text[16] = "";
	int i;

	(void)load;
	(void)object;
	memcpy(text, key->data, key->size < 15 ? key->size : 15);
	i = atoi(text);
	if (i >= HOT)
		return GO_ON;
	CHECK_EQ(__atomic_fetch_add(&a->loading[i], 1, __ATOMIC_SEQ_CST), 0); /* one at a time */
	__atomic_fetch_add(&a->loaded[i], 1, __ATOMIC_SEQ_CST);
	sched_yield();
	__atomic_fetch_sub(&a->loading[i], 1, __ATOMIC_SEQ_CST);
	return GO_ON;
}

static void read_hot(unsigned index, void *arg)
{
	struct avalanche *a = arg;
	uint64_t rng = test_stream(index);

	test_barrier_wait(&a->barrier);
	for (int i = 0; i < HOT; i++) /* each one, from another place on, and some again */
		hapax_release(got(a->t.cache, k((int)(i + index * 7) % HOT)));
	for (int i = 0; i < HOT; i++)
		hapax_release(got(a->t.cache, k((int)test_below(&rng, HOT))));
}

TEST(SD_19_everything_expires_together_under_readers)
{
	for (int form = LOADED; form <= MADE; form++) {
		struct avalanche a = {.t = {.r = {.fast = true}}};
		int n = (int)scaled(100000), loads;

		test_watchdog(200);
		a.t.s.then = load_hot;
		a.t.s.arg = &a;
		test_barrier_init(&a.barrier, READERS);
		tier_begin(&a.t, form, test_env_fake(), (hapax_cache_options){.max_entries = 200000, .ttl_ns = TTL,
				   .capacity = (size_t)n});
		for (int i = 0; i < n; i++)
			hapax_release(got(a.t.cache, k(i)));
		fake_clock_advance(TTL);
		memset(a.loaded, 0, sizeof(a.loaded));
		loads = loads_of(&a.t.s);
		CHECK_EQ(loads, n);
		run_threads(READERS, read_hot, &a);
		CHECK_EQ(loads_of(&a.t.s) - loads, HOT);
		for (int i = 0; i < HOT; i++)
			CHECK_EQ(a.loaded[i], 1);
		tier_settle(&a.t);
		TOLD(&a.t.r, 0, 0, 0, n, 0, 0); /* each once */
		tier_end(&a.t, HOT);
	}
}

/* With jitter they do not expire together. */
TEST(SD_19_jitter_spreads_the_expiries)
{
	struct tier t = {.r = {.fast = true}};
	uint64_t n = 5000, before, most = 0;

	tier_begin(&t, LOADED, test_env_fake(), (hapax_cache_options){.max_entries = 200000, .ttl_ns = 1000 * TTL, .ttl_jitter = 0.5});
	for (int i = 0; i < (int)n; i++)
		tier_fill(&t, k(i));
	fake_clock_advance(500 * TTL - 1);
	tier_settle(&t);
	CHECK_EQ(t.r.n, 0);
	for (int i = 0; i < 50; i++) { /* the second half of the time, in 50 steps */
		before = t.r.n;
		fake_clock_advance(10 * TTL);
		tier_settle(&t);
		most = t.r.n - before > most ? t.r.n - before : most;
	}
	fake_clock_advance(1);
	tier_settle(&t);
	CHECK_EQ(t.r.n, n);
	CHECK(most < n / 50 * 2); /* 100 are expected in each */
	tier_end(&t, 0);
}
