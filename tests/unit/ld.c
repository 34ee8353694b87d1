/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loading, single flight, fencing. Loaders that vanish: ld_abandon.c. */
#include "unit/cached.h"

enum { ASKERS = 8 };

/* `then`: the first load returns when as many as `arg` says sleep on it. */
static int wait_for_sleepers(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)object;
	(void)key;
	if (load == 1)
		fake_clock_await_sleepers(*(unsigned *)s->arg);
	return GO_ON;
}

TEST(CF_LD_01_many_threads_one_load_one_instance)
{
	for (int form = 0; form < 2; form++) {
		unsigned sleepers = ASKERS - 1;
		hapax_env *env = test_env_fake();
		struct source s = {.then = wait_for_sleepers, .arg = &sleepers};
		hapax_cache *cache = cache_form(env, &s, form);
		struct asker a[ASKERS];

		for (int i = 0; i < ASKERS; i++)
			ask(&a[i], cache, "k", NULL);
		for (int i = 0; i < ASKERS; i++) {
			CHECK_EQ(answer(&a[i]), HAPAX_OK);
			CHECK_PTR(a[i].out, a[0].out);
		}
		CHECK_EQ(loads_of(&s), 1);
		CHECK_EQ(hapax_count(a[0].out), ASKERS);
		hapax_cache_stats st = stats_of(cache);
		CHECK_EQ(st.hits + st.misses, ASKERS);
		CHECK_EQ(st.misses, ASKERS);
		CHECK_EQ(st.waits, ASKERS - 1);
		CHECK_EQ(st.loads, 1);
		CHECK_EQ(st.load_successes, 1);
		for (int i = 0; i < ASKERS; i++) {
			CHECK_EQ(s.destroyed, 0);
			CHECK_PTR(present(cache, "k"), a[i].out);
			asker_end(&a[i]);
		}
		CHECK_EQ(s.destroyed, 1);
		CHECK(!present(cache, "k"));
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static void storm_round(unsigned index, void *arg)
{
	struct source *s = arg;
	char key[8];
	void *out;

	snprintf(key, sizeof(key), "%u", index % 2);
	CHECK_EQ(hapax_cache_get(s->cache, HAPAX_STR(key), &out), HAPAX_OK);
	CHECK(item_is_alive(out));
	CHECK_EQ(((struct item *)out)->id > 0, 1);
	hapax_release(out);
}

TEST(CF_LD_01_storms_on_absent_keys)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);

	for (uint64_t i = scaled(150); i > 0; i--)
		run_threads(4, storm_round, &s);
	CHECK_EQ(s.destroyed, loads_of(&s));
	CHECK_EQ(stats_of(cache).loads, loads_of(&s));
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

static int drops;
static void count_drop(void *detail)
{
	(void)detail;
	__atomic_fetch_add(&drops, 1, __ATOMIC_RELAXED);
}

TEST(CF_LD_02_failure_reaches_every_waiter_and_is_not_stored)
{
	for (int form = 0; form < 2; form++) {
		unsigned sleepers = ASKERS - 1;
		int detail;
		hapax_env *env = test_env_fake();
		struct source s = {.then = wait_for_sleepers, .arg = &sleepers, .result = HAPAX_LOAD_FAIL, .code = -77,
				   .detail = &detail, .drop = count_drop};
		hapax_cache *cache = cache_form(env, &s, form);
		struct asker a[ASKERS];

		drops = 0;
		for (int i = 0; i < ASKERS; i++)
			ask(&a[i], cache, "k", NULL);
		for (int i = 0; i < ASKERS; i++) {
			CHECK_EQ(answer(&a[i]), HAPAX_ELOADER);
			CHECK_EQ(a[i].error.code, -77);
			CHECK_PTR(a[i].error.detail, &detail);
		}
		CHECK_EQ(loads_of(&s), 1);
		CHECK(!present(cache, "k"));
		CHECK_EQ(stats_of(cache).load_failures, 1);
		for (int i = 0; i < ASKERS; i++) {
			CHECK_EQ(drops, 0);
			asker_end(&a[i]);
		}
		CHECK_EQ(drops, 1);
		s.result = HAPAX_LOAD_OK;
		struct item *it = got(cache, "k");
		CHECK_EQ(loads_of(&s), 2);
		hapax_release(it);
		CHECK_EQ(s.destroyed, 1); /* never for the failed load */
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(CF_LD_02_a_caller_that_does_not_ask_for_the_error)
{
	hapax_env *env = test_env();
	int detail;
	struct source s = {.result = HAPAX_LOAD_FAIL, .code = 5, .detail = &detail, .drop = count_drop};
	hapax_cache *cache = cache_with(env, &s, 0);
	void *out = (void *)1;

	drops = 0;
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_ELOADER);
	CHECK(!out);
	CHECK_EQ(drops, 1);
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), NULL, &out), HAPAX_ELOADER);
	CHECK_EQ(drops, 2);
	CHECK_EQ(loads_of(&s), 2);
	CHECK_EQ(s.destroyed, 0);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CF_LD_03_no_value_is_its_own_outcome)
{
	for (int form = 0; form < 2; form++) {
		unsigned sleepers = 3;
		hapax_env *env = test_env_fake();
		struct source s = {.then = wait_for_sleepers, .arg = &sleepers, .result = HAPAX_LOAD_NOVALUE};
		hapax_cache *cache = cache_form(env, &s, form);
		struct asker a[4];
		void *out;

		for (int i = 0; i < 4; i++)
			ask(&a[i], cache, "k", NULL);
		for (int i = 0; i < 4; i++) {
			CHECK_EQ(answer(&a[i]), HAPAX_NOVALUE);
			CHECK(!a[i].error.detail);
			asker_end(&a[i]);
		}
		CHECK_EQ(loads_of(&s), 1);
		CHECK(!present(cache, "k"));
		hapax_cache_stats st = stats_of(cache);
		CHECK_EQ(st.load_failures, 1);
		CHECK_EQ(st.load_novalues, 1);
		CHECK_EQ(st.load_successes, 0);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_NOVALUE);
		CHECK_EQ(loads_of(&s), 2);
		CHECK_EQ(s.destroyed, 0);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static int constant_hash(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	*hash = *(uint64_t *)ctx;
	return 0;
}

TEST(CF_LD_04_other_keys_work_while_one_loads)
{
	for (int collide = 0; collide < 2; collide++) {
		uint64_t hash = 42;
		struct gate g = GATE_INIT;
		hapax_env *env = test_env();
		struct source s = {.then = first_stops, .arg = &g};
		hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load,
					 .arg = &s};
		hapax_cache *cache;
		struct item *items[100];
		struct asker a;
		hapax_iter *iter;
		void *out;
		int seen = 0;
		char key[16];

		if (collide) {
			o.keys.hash = constant_hash;
			o.keys.ctx = &hash;
		}
		CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
		s.env = env;
		ask(&a, cache, "loading", NULL);
		test_event_wait(&g.entered);
		for (int i = 0; i < 100; i++) {
			snprintf(key, sizeof(key), "k%d", i);
			if (i % 2) {
				items[i] = got(cache, key);
			} else {
				items[i] = item_new(env, i);
				CHECK_EQ(hapax_cache_put(cache, HAPAX_STR(key), items[i]), HAPAX_OK);
			}
			CHECK_PTR(present(cache, key), items[i]);
		}
		CHECK_EQ(hapax_cache_iterate(cache, &iter), HAPAX_OK);
		while (hapax_iter_next(iter, NULL, &out) == HAPAX_OK)
			seen++;
		hapax_iter_close(iter);
		CHECK_EQ(seen, 100);
		for (int i = 0; i < 100; i++) {
			snprintf(key, sizeof(key), "k%d", i);
			if (i % 3 == 0)
				CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR(key)), HAPAX_OK);
			hapax_release(items[i]);
			CHECK(!present(cache, key));
		}
		CHECK_EQ(s.running, 1);
		test_event_set(&g.go);
		CHECK_EQ(answer(&a), HAPAX_OK);
		CHECK_PTR(present(cache, "loading"), a.out);
		asker_end(&a);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(CF_LD_05_peeks_do_not_see_a_first_load)
{
	for (int form = 0; form < 2; form++) {
		struct gate g = GATE_INIT;
		hapax_env *env = test_env();
		struct source s = {.then = first_stops, .arg = &g};
		hapax_cache *cache = cache_form(env, &s, form);
		struct asker a;
		hapax_iter *iter;
		void *out = (void *)1;

		ask(&a, cache, "k", NULL);
		test_event_wait(&g.entered);
		CHECK_EQ(hapax_cache_get_if_present(cache, HAPAX_STR("k"), &out), HAPAX_MISS);
		CHECK(!out);
		CHECK(!present(cache, "k"));
		CHECK_EQ(hapax_cache_size(cache), 0);
		CHECK_EQ(hapax_cache_iterate(cache, &iter), HAPAX_OK);
		CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_EMPTY);
		hapax_iter_close(iter);
		test_event_set(&g.go);
		CHECK_EQ(answer(&a), HAPAX_OK);
		CHECK_PTR(present(cache, "k"), a.out);
		CHECK_EQ(hapax_cache_size(cache), 1);
		CHECK_EQ(loads_of(&s), 1);
		asker_end(&a);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static int ask_for_own_key(struct source *s, int load, void *object, const hapax_key *key)
{
	void *out = (void *)1;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};

	(void)object;
	if (load > 1)
		return GO_ON;
	CHECK_EQ(hapax_cache_get(s->cache, *key, &out), HAPAX_EDEADLK);
	CHECK(!out);
	CHECK_EQ(hapax_cache_get_with(s->cache, *key, &o, &out), HAPAX_EDEADLK);
	o.deadline = HAPAX_NO_WAIT;
	int rc = hapax_cache_get_with(s->cache, *key, &o, &out);
	CHECK(rc == HAPAX_EDEADLK || rc == HAPAX_INFLIGHT);
	CHECK_EQ(hapax_cache_get_if_present(s->cache, *key, &out), HAPAX_MISS);
	CHECK_EQ(hapax_cache_contains(s->cache, *key), 0);
	/* another key is no problem, and may itself be loaded */
	CHECK_EQ(hapax_cache_get(s->cache, HAPAX_STR("another"), &out), HAPAX_OK);
	hapax_release(out);
	return GO_ON;
}

TEST(CF_LD_06_reentry_on_the_same_key_is_refused)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {.then = ask_for_own_key};
		hapax_cache *cache = cache_form(env, &s, form);
		struct item *it = got(cache, "k");

		CHECK_EQ(it->id, 1);
		CHECK_PTR(present(cache, "k"), it);
		CHECK_EQ(loads_of(&s), 2);
		hapax_release(it);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static hapax_cache *ring[3];
static int ring_refused;
static int around_the_ring(struct source *s, int load, void *object, const hapax_key *key)
{
	void *out = NULL;
	int next = (int)(intptr_t)s->arg, rc;

	(void)load;
	(void)object;
	rc = hapax_cache_get(ring[next], *key, &out);
	if (rc == HAPAX_EDEADLK)
		ring_refused++;
	else
		CHECK_EQ(rc, HAPAX_OK);
	hapax_release(out);
	return GO_ON;
}

TEST(CF_LD_06_reentry_through_other_caches_is_refused)
{
	hapax_env *env = test_env();
	struct source s[3];

	for (int i = 0; i < 3; i++) {
		s[i] = (struct source){.then = around_the_ring, .arg = (void *)(intptr_t)((i + 1) % 3)};
		ring[i] = cache_form(env, &s[i], i % 2);
	}
	hapax_release(got(ring[0], "k"));
	CHECK_EQ(ring_refused, 1);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(loads_of(&s[i]), 1);
		cache_end(ring[i], 0);
	}
	test_env_end(env);
}

/* Thread i loads key i and, when all are loading, asks for key i + 1: somebody must be refused, nobody may hang. */
enum { CIRCLE = 3 };
static struct test_barrier circle_in;
static int circle_refused;
static int circle_then(struct source *s, int load, void *object, const hapax_key *key)
{
	char next[2] = {(char)('0' + (((const char *)key->data)[0] - '0' + 1) % CIRCLE), 0};
	void *out = NULL;
	int rc;

	(void)object;
	if (load > CIRCLE)
		return GO_ON;
	test_barrier_wait(&circle_in);
	rc = hapax_cache_get(s->cache, HAPAX_STR(next), &out);
	if (rc == HAPAX_EDEADLK)
		__atomic_fetch_add(&circle_refused, 1, __ATOMIC_RELAXED);
	else
		CHECK_EQ(rc, HAPAX_OK);
	hapax_release(out);
	return GO_ON;
}

static void circle_run(unsigned index, void *arg)
{
	char key[2] = {(char)('0' + index), 0};
	void *out;

	CHECK_EQ(hapax_cache_get(((struct source *)arg)->cache, HAPAX_STR(key), &out), HAPAX_OK);
	hapax_release(out);
}

TEST(CF_LD_06_a_cycle_of_threads_is_refused)
{
	for (uint64_t i = scaled(20); i > 0; i--) {
		hapax_env *env = test_env();
		struct source s = {.then = circle_then};
		hapax_cache *cache = cache_with(env, &s, 0);

		circle_refused = 0;
		test_barrier_init(&circle_in, CIRCLE);
		run_threads(CIRCLE, circle_run, &s);
		CHECK_EQ(circle_refused, 1); /* the one that closes the circle */
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* What can happen to a key while it is being loaded. */
enum fence { FENCE_PUT, FENCE_GET_OR_PUT, FENCE_PUT_TWICE, FENCE_PUT_DIES, FENCE_REMOVE, FENCE_POP, FENCE_CLEAR, FENCES };

TEST(CF_LD_09_CF_LD_10_put_remove_and_clear_fence_a_load)
{
	for (int form = 0; form < 2; form++) {
		for (int fence = 0; fence < FENCES; fence++) {
			struct gate g = GATE_INIT;
			hapax_env *env = test_env_fake();
			struct source s = {.then = first_stops, .arg = &g};
			hapax_cache *cache = cache_form(env, &s, form);
			struct asker a, waiter;
			struct item *second = item_new(env, 200), *third = NULL;
			bool inserted = false;
			void *out = NULL;

			ask(&a, cache, "k", NULL);
			test_event_wait(&g.entered);
			ask(&waiter, cache, "k", NULL);
			fake_clock_await_sleepers(1);
			switch (fence) {
			case FENCE_PUT_TWICE:
				third = item_new(env, 300);
				CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), third), HAPAX_OK);
				CHECK_PTR(present(cache, "k"), third);
				/* fall through */
			case FENCE_PUT:
			case FENCE_PUT_DIES:
				CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), second), HAPAX_OK);
				break;
			case FENCE_GET_OR_PUT:
				CHECK_EQ(hapax_cache_get_or_put(cache, HAPAX_STR("k"), second, &out, &inserted), HAPAX_OK);
				CHECK(inserted);
				CHECK_PTR(out, second);
				hapax_release(out);
				break;
			case FENCE_REMOVE:
				CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_MISS);
				break;
			case FENCE_POP:
				CHECK_EQ(hapax_cache_pop(cache, HAPAX_STR("k"), &out), HAPAX_MISS);
				CHECK(!out);
				break;
			case FENCE_CLEAR:
				hapax_cache_clear(cache);
				break;
			}
			if (fence >= FENCE_REMOVE) {
				/* who asks now loads anew, while the old load still runs */
				CHECK(!present(cache, "k"));
				hapax_release(second);
				second = got(cache, "k");
				CHECK_EQ(loads_of(&s), 2);
			} else if (fence == FENCE_PUT_DIES) {
				hapax_release(second);
				second = NULL;
				CHECK(!present(cache, "k"));
			}
			if (second) {
				struct item *now = got(cache, "k");
				CHECK_PTR(now, second);
				hapax_release(now);
			}
			CHECK_EQ(s.running, 1);
			test_event_set(&g.go);
			CHECK_EQ(answer(&a), HAPAX_OK);
			CHECK_EQ(answer(&waiter), HAPAX_OK);
			CHECK_EQ(((struct item *)a.out)->id, 1);
			CHECK_PTR(waiter.out, a.out);
			CHECK(a.out != (void *)second);
			CHECK_PTR(present(cache, "k"), second); /* not installed over it, nor into the hole */
			CHECK_EQ(stats_of(cache).superseded, 1);
			CHECK_EQ(s.destroyed, 0);
			asker_end(&waiter);
			CHECK_EQ(s.destroyed, 0);
			asker_end(&a);
			CHECK_EQ(s.destroyed, 1);
			CHECK_PTR(present(cache, "k"), second); /* its death disturbs nobody */
			stats_check(cache);
			hapax_release(second);
			hapax_release(third);
			CHECK(!present(cache, "k"));
			stats_check(cache);
			cache_end(cache, 0);
			test_env_end(env);
		}
	}
}

static int put_on_own_key(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)object;
	(void)load;
	CHECK_EQ(hapax_cache_put(s->cache, *key, s->arg), HAPAX_OK);
	return GO_ON;
}

TEST(CF_LD_09_a_loader_that_puts_its_own_key_supersedes_itself)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct item *mine = item_new(env, 99);
		struct source s = {.then = put_on_own_key, .arg = mine};
		hapax_cache *cache = cache_form(env, &s, form);
		struct item *it = got(cache, "k");

		CHECK_EQ(it->id, 1);
		CHECK_PTR(present(cache, "k"), mine);
		hapax_release(it);
		CHECK_PTR(present(cache, "k"), mine);
		hapax_release(mine);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(CF_LD_10_a_fenced_failure_leaves_the_newer_entry)
{
	for (int result = HAPAX_LOAD_NOVALUE; result <= HAPAX_LOAD_FAIL; result++) {
		struct gate g = GATE_INIT;
		hapax_env *env = test_env();
		struct source s = {.then = first_stops, .arg = &g, .result = result};
		hapax_cache *cache = cache_with(env, &s, 0);
		struct item *mine = item_new(env, 99);
		struct asker a;

		ask(&a, cache, "k", NULL);
		test_event_wait(&g.entered);
		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), mine), HAPAX_OK);
		test_event_set(&g.go);
		CHECK_EQ(answer(&a), result == HAPAX_LOAD_FAIL ? (int)HAPAX_ELOADER : (int)HAPAX_NOVALUE);
		CHECK_PTR(present(cache, "k"), mine);
		asker_end(&a);
		hapax_release(mine);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

struct at_miss {
	hapax_cache *cache;
	struct item *item;
	int hits;
};
static void put_at_miss(const char *name, void *ctx)
{
	struct at_miss *m = ctx;

	if (strcmp(name, "get.miss") || m->hits++)
		return;
	CHECK_EQ(hapax_cache_put(m->cache, HAPAX_STR("k"), m->item), HAPAX_OK);
}

TEST(CF_LD_13_a_present_value_is_not_loaded)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {0}, own = {.env = env};
		hapax_cache *cache = cache_form(env, &s, form);
		struct item *it = item_new(env, 7);
		hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .make = source_make, .arg = &own};
		void *out;

		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), it), HAPAX_OK);
		CHECK_PTR(got(cache, "k"), it);
		CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_OK);
		CHECK_PTR(out, it);
		CHECK_EQ(hapax_count(it), 3);
		hapax_release(it);
		hapax_release(it);
		CHECK_EQ(loads_of(&s) + loads_of(&own), 0);
		hapax_release(it);

		/* put in between a miss and the registration of the flight */
		struct at_miss m = {.cache = cache, .item = item_new(env, 8)};
		hapax_testing_set_stop(put_at_miss, &m);
		it = got(cache, "k");
		hapax_testing_set_stop(NULL, NULL);
		CHECK_EQ(m.hits, 1);
		CHECK_PTR(it, m.item);
		CHECK_EQ(loads_of(&s), 0);
		hapax_release(it);
		hapax_release(m.item);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(CF_LD_14_the_instance_outlives_the_wake_up_of_its_waiters)
{
	hapax_env *env = test_env_fake();
	unsigned sleepers = 4;

	for (uint64_t round = 0, n = scaled(30); round < n; round++) {
		struct source s = {.then = wait_for_sleepers, .arg = &sleepers};
		hapax_cache *cache = cache_form(env, &s, round % 2);
		struct asker a[5];

		memset(a, 0, sizeof(a));
		for (int i = 0; i < 5; i++) { /* each releases what it got at once: the loading thread too */
			a[i].cache = cache;
			a[i].key = "k";
			a[i].thread = test_thread(asker_run, &a[i]);
		}
		for (int i = 0; i < 5; i++) {
			CHECK_EQ(answer(&a[i]), HAPAX_OK);
			CHECK_PTR(a[i].out, a[0].out);
		}
		CHECK_EQ(loads_of(&s), 1);
		CHECK_EQ(s.destroyed, 1);
		cache_end(cache, 0);
	}
	test_env_end(env);
}

struct basher {
	struct source s;
	uint64_t ok, none, failed, vanished;
	uint64_t rounds;
};

static int bash_then(struct source *s, int load, void *object, const hapax_key *key)
{
	struct basher *b = s->arg;
	uint64_t r = test_stream((uint64_t)load);

	(void)object;
	(void)key;
	switch (test_below(&r, 4)) {
	case 0:
		__atomic_fetch_add(&b->none, 1, __ATOMIC_RELAXED);
		return HAPAX_LOAD_NOVALUE;
	case 1:
		__atomic_fetch_add(&b->failed, 1, __ATOMIC_RELAXED);
		return HAPAX_LOAD_FAIL;
	case 2:
		sched_yield();
		/* fall through */
	default:
		__atomic_fetch_add(&b->ok, 1, __ATOMIC_RELAXED);
		return HAPAX_LOAD_OK;
	}
}

static void bash(unsigned index, void *arg)
{
	struct basher *b = arg;
	uint64_t r = test_stream(1000000 + index);
	void *held[4] = {0}, *out;

	for (uint64_t i = 0; i < b->rounds; i++) {
		uint32_t k = (uint32_t)test_below(&r, 6);
		unsigned slot = (unsigned)test_below(&r, 4);

		hapax_release(held[slot]);
		held[slot] = NULL;
		switch (test_below(&r, 8)) {
		case 0:
			hapax_cache_remove(b->s.cache, HAPAX_KEY_OF(k));
			break;
		case 1: {
			struct item *it = item_new(b->s.env, 1);
			CHECK_EQ(hapax_cache_put(b->s.cache, HAPAX_KEY_OF(k), it), HAPAX_OK);
			held[slot] = it;
			break;
		}
		default: {
			int rc = hapax_cache_get(b->s.cache, HAPAX_KEY_OF(k), &out);
			CHECK(rc == HAPAX_OK || rc == HAPAX_NOVALUE || rc == HAPAX_ELOADER);
			held[slot] = out;
			CHECK(!out || item_is_alive(out));
		}
		}
	}
	for (int i = 0; i < 4; i++)
		hapax_release(held[i]);
}

TEST(CF_LD_15_sums_add_up_after_a_bash)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct basher b = {.s = {.then = bash_then}, .rounds = scaled(4000)};
		hapax_cache *cache = cache_form(env, &b.s, form);

		b.s.arg = &b;
		run_threads(4, bash, &b);
		hapax_cache_stats st = stats_of(cache);
		CHECK_EQ(st.loads, loads_of(&b.s));
		CHECK_EQ(st.load_successes, b.ok);
		CHECK_EQ(st.load_failures, b.none + b.failed);
		CHECK_EQ(st.load_novalues, b.none);
		CHECK_EQ(st.size_now, 0);
		CHECK_EQ(st.load_successes - st.superseded + st.puts, st.removals + st.replacements + st.collections);
		CHECK_EQ(b.s.destroyed, b.ok);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static int key_is_hello(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)s;
	(void)load;
	(void)object;
	CHECK_EQ(key->size, 5);
	CHECK(!memcmp(key->data, "hello", 5));
	return GO_ON;
}

TEST(CF_LD_16_the_cache_has_its_own_copy_of_the_key)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {.then = key_is_hello};
		hapax_cache *cache = cache_form(env, &s, form);
		char *memory = malloc(5);
		void *out;

		CHECK(memory);
		memcpy(memory, "hello", 5);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_BYTES(memory, 5), &out), HAPAX_OK);
		memset(memory, 'x', 5);
		CHECK_PTR(present(cache, "hello"), out);
		CHECK(!present(cache, "xxxxx"));
		free(memory);
		CHECK_PTR(present(cache, "hello"), out);
		hapax_release(out);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(MK_LD_19_different_loaders_one_winner)
{
	for (int fail = 0; fail < 2; fail++) {
		struct gate g = GATE_INIT;
		hapax_env *env = test_env_fake();
		struct source none = {0};
		struct source one = {.then = first_stops, .arg = &g, .code = HAPAX_ENOMEM, .env = env}, two = {.code = 2, .env = env};
		hapax_get_options o1 = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .load = source_load, .arg = &one};
		hapax_get_options o2 = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .make = source_make, .arg = &two};
		hapax_cache *cache = cache_with(env, &none, 0);
		struct asker a, b;

		one.result = fail ? HAPAX_LOAD_FAIL : HAPAX_LOAD_OK;
		ask(&a, cache, "k", &o1);
		test_event_wait(&g.entered);
		ask(&b, cache, "k", &o2);
		fake_clock_await_sleepers(1);
		test_event_set(&g.go);
		CHECK_EQ(answer(&a), fail ? HAPAX_ELOADER : HAPAX_OK);
		CHECK_EQ(answer(&b), a.status);
		CHECK_PTR(b.out, a.out);
		if (fail) {
			CHECK_EQ(a.error.code, HAPAX_ENOMEM);
			CHECK_EQ(b.error.code, HAPAX_ENOMEM);
		}
		CHECK_EQ(loads_of(&one), 1);
		CHECK_EQ(loads_of(&two) + loads_of(&none), 0);
		asker_end(&a);
		asker_end(&b);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static bool refuse_id(void *object, void *arg)
{
	CHECK(item_is_alive(object));
	return ((struct item *)object)->id == *(int *)arg;
}

TEST(MK_LD_20_refusal_reloads_once)
{
	for (int form = 0; form < 2; form++) {
		struct gate g = GATE_INIT;
		hapax_env *env = test_env_fake();
		struct source s = {.then = first_stops, .arg = &g};
		hapax_cache *cache = cache_form(env, &s, form);
		struct item *old = item_new(env, 1000);
		int stale = 1000;
		hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .refuse = refuse_id,
				       .refuse_arg = &stale};
		struct asker a[ASKERS];
		void *out;

		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), old), HAPAX_OK);
		for (int i = 0; i < ASKERS; i++)
			ask(&a[i], cache, "k", &o);
		test_event_wait(&g.entered);
		fake_clock_await_sleepers(ASKERS - 1);
		test_event_set(&g.go);
		for (int i = 0; i < ASKERS; i++) {
			CHECK_EQ(answer(&a[i]), HAPAX_OK);
			CHECK_PTR(a[i].out, a[0].out);
			CHECK(a[i].out != (void *)old);
		}
		CHECK_EQ(loads_of(&s), 1);
		CHECK_EQ(hapax_cache_size(cache), 1);
		CHECK(item_is_alive(old));
		hapax_release(old); /* its death leaves the newer entry alone */
		CHECK_PTR(present(cache, "k"), a[0].out);
		/* what is not refused is not loaded */
		CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_OK);
		CHECK_PTR(out, a[0].out);
		hapax_release(out);
		CHECK_EQ(loads_of(&s), 1);
		for (int i = 0; i < ASKERS; i++)
			asker_end(&a[i]);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static bool refuse_all(void *object, void *arg)
{
	(void)object;
	__atomic_fetch_add((int *)arg, 1, __ATOMIC_RELAXED);
	return true;
}

TEST(MK_LD_20_what_one_loaded_oneself_is_not_refused_again)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *old = item_new(env, 1000);
	int asked = 0;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .refuse = refuse_all, .refuse_arg = &asked};
	void *out;

	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_OK); /* absent: just a load */
	hapax_release(out);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), old), HAPAX_OK);
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_OK);
	CHECK(asked >= 1);
	CHECK(out != (void *)old);
	CHECK_EQ(loads_of(&s), 2);
	CHECK_PTR(present(cache, "k"), out);
	hapax_release(out);
	hapax_release(old);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}
