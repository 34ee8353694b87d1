/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loads that go straight, and where they do not go on straight: each branch of cache/straight.c that hands over, the
 * counting of calls that it shares with all others (calls.c), and the first release of what was loaded (death.c).
 *
 * A thread's first miss in a cache never is straight: it makes its place among the cache's counters. So threads here
 * get "warm" first.
 */
#include "unit/cached.h"

#include "cache/cache.h"

/* A thread that gets `key` when it is warm. */
struct caller {
	pthread_t thread;
	hapax_cache *cache;
	const char *key;
	int rc;
	void *out;
};

static void warm(hapax_cache *cache) { hapax_release(got(cache, "warm")); }

static void *caller_run(void *arg)
{
	struct caller *c = arg;

	warm(c->cache);
	c->rc = hapax_cache_get(c->cache, HAPAX_STR(c->key), &c->out);
	CHECK((c->rc == HAPAX_OK) == (c->out != NULL));
	return NULL;
}

static void call(struct caller *c, hapax_cache *cache, const char *key)
{
	*c = (struct caller){.cache = cache, .key = key, .out = (void *)1, .rc = 12345};
	c->thread = test_thread(caller_run, c);
}

static int called(struct caller *c)
{
	test_join(c->thread);
	return c->rc;
}

/* What loads of "k" do; others, and those after the first, just load. */
struct plan {
	struct gate g;
	bool stops;         /* at the gate */
	int result;         /* HAPAX_LOAD_* */
	bool leaves;        /* its thread */
	bool destroys;      /* the cache */
	int loads;          /* of "k" */
};
#define PLAN_INIT .g = GATE_INIT

static int planned(struct source *s, int load, void *object, const hapax_key *key)
{
	struct plan *p = s->arg;

	(void)load;
	(void)object;
	if (key->size != 1 || memcmp(key->data, "k", 1) || __atomic_fetch_add(&p->loads, 1, __ATOMIC_SEQ_CST))
		return GO_ON;
	test_event_set(&p->g.entered);
	if (p->destroys)
		hapax_cache_destroy(s->cache);
	if (p->stops)
		test_event_wait(&p->g.go);
	if (p->leaves)
		pthread_exit(NULL);
	return p->result;
}

TEST(a_load_that_somebody_joins)
{
	hapax_env *env = test_env_fake();
	struct plan p = {PLAN_INIT, .stops = true, .result = GO_ON};
	struct source s = {.then = planned, .arg = &p};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct caller a;
	struct asker b;

	call(&a, cache, "k");
	test_event_wait(&p.g.entered);
	ask(&b, cache, "k", NULL);
	fake_clock_await_sleepers(1);
	test_event_set(&p.g.go);
	CHECK_EQ(called(&a), HAPAX_OK);
	CHECK_EQ(answer(&b), HAPAX_OK);
	CHECK_PTR(a.out, b.out);
	CHECK_EQ(p.loads, 1);
	CHECK_EQ(stats_of(cache).waits, 1);
	CHECK_EQ(hapax_count(a.out), 2);
	asker_end(&b);
	hapax_release(a.out);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* A remove or a put fences the load: its caller has its object, the table does not. */
TEST(a_load_that_is_fenced)
{
	for (int put = 0; put < 2; put++) {
		hapax_env *env = test_env();
		struct plan p = {PLAN_INIT, .stops = true, .result = GO_ON};
		struct source s = {.then = planned, .arg = &p};
		hapax_cache *cache = cache_with(env, &s, 0);
		struct item *other = NULL;
		struct caller a;

		call(&a, cache, "k");
		test_event_wait(&p.g.entered);
		if (put) {
			other = item_new(env, 77);
			CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), other), HAPAX_OK);
		} else {
			hapax_cache_remove(cache, HAPAX_STR("k"));
		}
		test_event_set(&p.g.go);
		CHECK_EQ(called(&a), HAPAX_OK);
		CHECK(item_is_alive(a.out));
		CHECK(a.out != (void *)other);
		CHECK_PTR(present(cache, "k"), other);
		CHECK_EQ(stats_of(cache).superseded, 1);
		CHECK_EQ(stats_of(cache).load_successes, stats_of(cache).loads);
		hapax_release(a.out);
		CHECK_PTR(present(cache, "k"), other);
		hapax_release(other);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static void dropped(void *detail) { ++*(int *)detail; }

TEST(a_load_that_fails)
{
	static const struct { int result, rc; } cases[] = {{HAPAX_LOAD_FAIL, HAPAX_ELOADER}, {HAPAX_LOAD_NOVALUE, HAPAX_NOVALUE}};

	for (unsigned i = 0; i < 2; i++) {
		hapax_env *env = test_env();
		struct plan p = {PLAN_INIT, .result = cases[i].result};
		int drops = 0;
		struct source s = {.then = planned, .arg = &p, .code = 5, .detail = &drops, .drop = dropped};
		hapax_cache *cache = cache_with(env, &s, 0);
		void *out = (void *)1;

		warm(cache);
		items_reset();
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), cases[i].rc);
		CHECK(!out);
		CHECK_EQ(drops, cases[i].result == HAPAX_LOAD_FAIL);
		CHECK_EQ(items_destroyed_now(), 0); /* there was nothing to destroy */
		CHECK_EQ(stats_of(cache).load_failures, 1);
		CHECK(!present(cache, "k"));
		hapax_release(got(cache, "k"));
		CHECK_EQ(p.loads, 2);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(a_load_that_leaves_its_thread)
{
	hapax_env *env = test_env_fake();
	struct plan p = {PLAN_INIT, .stops = true, .leaves = true, .result = GO_ON};
	struct source s = {.then = planned, .arg = &p};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct caller a;
	struct asker b;

	call(&a, cache, "k");
	test_event_wait(&p.g.entered);
	ask(&b, cache, "k", NULL);
	fake_clock_await_sleepers(1);
	test_event_set(&p.g.go);
	CHECK_EQ(called(&a), 12345); /* never came back */
	CHECK_EQ(answer(&b), HAPAX_OK);
	CHECK_EQ(p.loads, 2);
	CHECK_EQ(stats_of(cache).load_abandoned, 1);
	asker_end(&b);
	stats_check(cache);
	cache_end(cache, 0); /* and it is not counted as a call any more */
	test_env_end(env);
}

/* Memory is refused: the get says so, nothing is left of it, and the next one finds all as it was. */
TEST(a_load_without_memory)
{
	enum { MOST = 3000 };
	hapax_env *env = test_env();
	struct plan p = {PLAN_INIT, .result = GO_ON};
	struct source s = {.then = planned, .arg = &p};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct test_allocator *a = test_env_allocator(env);
	static void *held[MOST];
	uint32_t n = 0;
	int rc = HAPAX_OK;

	warm(cache);
	a->fail_from = a->calls + 1;
	while (n < MOST && (rc = hapax_cache_get(cache, HAPAX_KEY_OF(n), &held[n])) == HAPAX_OK)
		n++;
	CHECK_EQ(rc, HAPAX_ENOMEM); /* what the thread had at hand is used up */
	CHECK(!held[n]);
	CHECK_EQ(hapax_cache_size(cache), n);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(n), &held[n]), HAPAX_ENOMEM);
	a->fail_from = 0;
	CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(n), &held[n]), HAPAX_OK);
	CHECK_EQ(stats_of(cache).loads, (uint64_t)n + 2);
	for (uint32_t i = 0; i <= n; i++)
		hapax_release(held[i]);
	cache_end(cache, 0);
	test_env_end(env);
}

static int takes_time(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)s;
	(void)load;
	(void)object;
	(void)key;
	fake_clock_advance(1000);
	return GO_ON;
}

/* By a clock that was given, however many there are and however short. */
TEST(all_loads_are_timed)
{
	enum { N = 3000 };
	hapax_env *env = test_env_fake();
	struct source s = {.then = takes_time};
	hapax_cache *cache = cache_with(env, &s, 0);
	void *out;

	for (uint32_t i = 0; i < N; i++) {
		CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(i), &out), HAPAX_OK);
		hapax_release(out);
	}
	CHECK_EQ(stats_of(cache).loads, N);
	CHECK_EQ(stats_of(cache).load_ns, (uint64_t)N * 1000);
	cache_end(cache, 0);
	test_env_end(env);
}

/* A load that leaves its thread is timed or not as others are. */
static void *loads_much(void *arg)
{
	struct caller *c = arg;

	for (int i = 0; i < 1100; i++)
		warm(c->cache);
	c->rc = 12345;
	(void)!hapax_cache_get(c->cache, HAPAX_STR(c->key), &c->out);
	return NULL;
}

TEST(what_leaves_a_load_took_no_time)
{
	hapax_env *env = test_env();
	struct plan p = {PLAN_INIT, .leaves = true, .result = GO_ON};
	struct source s = {.then = planned, .arg = &p};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct caller a;

	for (int i = 0; i < 12; i++) { /* most of these are not timed */
		p.loads = 0;
		a = (struct caller){.cache = cache, .key = "k"};
		a.thread = test_thread(loads_much, &a);
		CHECK_EQ(called(&a), 12345);
	}
	CHECK_EQ(stats_of(cache).load_abandoned, 12);
	CHECK(stats_of(cache).load_ns < 60 * HAPAX_SECOND); /* not since the clock began */
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- two that miss at once --------------------------------------------------------------------------------------- */

static struct test_event missed = TEST_EVENT_INIT, on = TEST_EVENT_INIT;
static __thread bool stops_at_miss;

static void stop_at_miss(const char *name, void *ctx)
{
	(void)ctx;
	if (!stops_at_miss || strcmp(name, "get.miss"))
		return;
	stops_at_miss = false;
	test_event_set(&missed);
	test_event_wait(&on);
}

static void *stopped_run(void *arg)
{
	struct caller *c = arg;

	warm(c->cache);
	stops_at_miss = true;
	c->rc = hapax_cache_get(c->cache, HAPAX_STR(c->key), &c->out);
	return NULL;
}

TEST(who_comes_second_gets_what_came_first)
{
	hapax_env *env = test_env();
	struct plan p = {PLAN_INIT, .result = GO_ON};
	struct source s = {.then = planned, .arg = &p};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct caller a = {.cache = cache, .key = "k"};
	struct item *mine;

	warm(cache);
	hapax_testing_set_stop(stop_at_miss, NULL);
	a.thread = test_thread(stopped_run, &a);
	test_event_wait(&missed);
	mine = got(cache, "k");
	test_event_set(&on);
	CHECK_EQ(called(&a), HAPAX_OK);
	hapax_testing_set_stop(NULL, NULL);
	CHECK_PTR(a.out, mine);
	CHECK_EQ(p.loads, 1);
	CHECK_EQ(hapax_count(mine), 2);
	hapax_release(mine);
	hapax_release(a.out);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- who is in the cache ----------------------------------------------------------------------------------------- */

TEST(close_during_a_load)
{
	hapax_env *env = test_env();
	struct plan p = {PLAN_INIT, .stops = true, .result = GO_ON};
	struct source s = {.then = planned, .arg = &p};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct caller a;
	void *out;
	int before;

	call(&a, cache, "k");
	test_event_wait(&p.g.entered);
	before = s.destroyed;
	hapax_cache_close(cache);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("other"), &out), HAPAX_ECLOSED);
	test_event_set(&p.g.go);
	CHECK_EQ(called(&a), HAPAX_ECLOSED);
	CHECK_EQ(s.destroyed, before + 1); /* once */
	cache_end(cache, 0);
	test_env_end(env);
}

struct destroyer {
	hapax_cache *cache;
	struct test_event done;
};

static void *destroys(void *arg)
{
	struct destroyer *d = arg;

	hapax_cache_destroy(d->cache);
	test_event_set(&d->done);
	return NULL;
}

/* destroy() waits for loads of several threads, and for none that has come and gone. */
TEST(destroy_waits_for_all_that_are_in)
{
	enum { N = 3 };
	hapax_env *env = test_env();
	struct plan p = {PLAN_INIT, .stops = true, .result = GO_ON}, more = {PLAN_INIT, .stops = true, .result = GO_ON};
	struct source source = {.then = planned, .arg = &p};
	hapax_cache *cache = cache_with(env, &source, 0);
	struct destroyer d = {cache, TEST_EVENT_INIT};
	struct caller a, b;
	pthread_t t;
	void *out;

	for (int i = 0; i < N; i++) { /* others before have left their counts behind */
		call(&a, cache, "x");
		CHECK_EQ(called(&a), HAPAX_OK);
		hapax_release(a.out);
	}
	cache_check(cache, 0);
	call(&a, cache, "k");
	test_event_wait(&p.g.entered);
	__atomic_store_n(&source.arg, &more, __ATOMIC_SEQ_CST);
	hapax_cache_remove(cache, HAPAX_STR("k"));
	call(&b, cache, "k");
	test_event_wait(&more.g.entered);
	t = test_thread(destroys, &d);
	while (hapax_cache_get(cache, HAPAX_STR("warm"), &out) == HAPAX_OK)
		hapax_release(out);
	CHECK(!test_event_is_set(&d.done));
	test_event_set(&more.g.go);
	called(&b);
	test_sleep_ms(2);
	CHECK(!test_event_is_set(&d.done)); /* one is in still */
	test_event_set(&p.g.go);
	called(&a);
	test_event_wait(&d.done);
	test_join(t);
	hapax_release(a.out);
	hapax_release(b.out);
	test_env_end(env);
}

static int reported; /* changed atomically */

static void report(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx)
{
	(void)key;
	(void)object;
	(void)type;
	(void)count;
	(void)inherited;
	(void)ctx;
	__atomic_fetch_add(&reported, 1, __ATOMIC_SEQ_CST);
}

/* Ended from a loader: it is over when the last call has left, be that the one that ended it (`last` 0) or another. */
TEST(a_loader_ends_its_cache_while_others_are_in_it)
{
	for (int last = 0; last < 2; last++) {
		hapax_env *env = quiet_env(0);
		struct plan p = {PLAN_INIT, .stops = true, .result = GO_ON},
			    ends = {PLAN_INIT, .stops = true, .destroys = true, .result = GO_ON};
		struct source s = {.then = planned, .arg = &p, .env = env};
		hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s,
					 .leak = report};
		struct caller a, b;
		struct item *held;

		CHECK_EQ(hapax_cache_create(&s.cache, &o), HAPAX_OK);
		__atomic_store_n(&reported, 0, __ATOMIC_SEQ_CST);
		held = got(s.cache, "held");
		call(&a, s.cache, "k");
		test_event_wait(&p.g.entered);
		__atomic_store_n(&s.arg, &ends, __ATOMIC_SEQ_CST);
		hapax_cache_remove(s.cache, HAPAX_STR("k"));
		call(&b, s.cache, "k");
		test_event_wait(&ends.g.entered);
		test_event_set(last ? &ends.g.go : &p.g.go);
		called(last ? &b : &a);
		CHECK_EQ(__atomic_load_n(&reported, __ATOMIC_SEQ_CST), 0);
		test_event_set(last ? &p.g.go : &ends.g.go);
		called(last ? &a : &b);
		CHECK(__atomic_load_n(&reported, __ATOMIC_SEQ_CST) >= 1);
		hapax_release(a.out);
		hapax_release(b.out);
		hapax_release(held);
		test_env_end(env);
	}
}

static int told; /* changed atomically */

static int tell(const hapax_removal *removal, void *ctx)
{
	(void)removal;
	(void)ctx;
	__atomic_fetch_add(&told, 1, __ATOMIC_SEQ_CST);
	return 0;
}

/* A release inside a section of the caller's, which runs a callback of a cache that ends: no grace period can pass there. */
TEST(who_leaves_inside_a_section_does_not_fold)
{
	hapax_env *env = quiet_env(0);
	struct plan ends = {PLAN_INIT, .stops = true, .destroys = true, .result = GO_ON};
	struct source s = {.then = planned, .arg = &ends, .env = env};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s,
				 .leak = report, .max_entries = 1, .policy = hapax_policy_lru(), .on_removal = tell};
	struct caller a;
	struct item *held;
	int before;

	CHECK_EQ(hapax_cache_create(&s.cache, &o), HAPAX_OK);
	held = got(s.cache, "held");
	hapax_release(got(s.cache, "another")); /* nobody but us holds `held` now */
	call(&a, s.cache, "k");
	test_event_wait(&ends.g.entered);
	while (!hpx_load_relaxed(&s.cache->unfolded))
		sched_yield();
	before = __atomic_load_n(&told, __ATOMIC_SEQ_CST);
	hpx_read_lock();
	hapax_release(held);
	hpx_read_unlock();
	CHECK_EQ(__atomic_load_n(&told, __ATOMIC_SEQ_CST), before + 1);
	CHECK_EQ(hpx_load_relaxed(&s.cache->unfolded), 1);
	test_event_set(&ends.g.go);
	called(&a);
	hapax_release(a.out);
	test_env_end(env);
}

/* ---- the first release of what was loaded ------------------------------------------------------------------------ */

/* Others may have met it: then it lives on, whoever releases first. */
TEST(the_first_release_is_not_the_last)
{
	hapax_env *env = test_env();
	struct source s = {.then = NULL};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *mine, *again;

	warm(cache);
	items_reset();
	mine = got(cache, "k");
	again = got(cache, "k");
	CHECK_PTR(mine, again);
	hapax_release(mine);
	CHECK(item_is_alive(again));
	CHECK_EQ(hapax_count(again), 1);
	hapax_release(again);
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK(!present(cache, "k"));

	mine = got(cache, "k"); /* a reference of the holder's own */
	CHECK_EQ(hapax_retain(mine), HAPAX_OK);
	hapax_release(mine);
	CHECK(item_is_alive(mine));
	CHECK_PTR(present(cache, "k"), mine);
	hapax_release(mine);
	CHECK_EQ(items_destroyed_now(), 2);

	mine = got(cache, "k"); /* released at once: dead at once */
	hapax_release(mine);
	CHECK_EQ(items_destroyed_now(), 3);
	CHECK(!present(cache, "k"));
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* A promoted object's count says nothing: its first release goes by what counts it. */
TEST(the_first_release_of_what_is_promoted)
{
	static const hapax_type lingering = {HAPAX_TYPE_INIT, .name = "lingering", .size = sizeof(struct item),
					     .align = _Alignof(struct item), .destroy = item_destroy,
					     .flags = HAPAX_TYPE_MAY_LINGER};
	hapax_env *env = test_env();
	struct source s = {.then = NULL};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &lingering, .load = source_load, .arg = &s};
	hapax_cache *cache;
	struct item *mine;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	warm(cache);
	hapax_reclaim(env);
	items_reset();
	mine = got(cache, "k");
	if (hapax_testing_promote(mine)) {
		hapax_release(mine);
		CHECK_EQ(items_destroyed_now(), 0);
		hapax_reclaim(env);
		hapax_reclaim(env);
	} else {
		hapax_release(mine);
	}
	CHECK_EQ(items_destroyed_now(), 1);
	cache_end(cache, 0);
	test_env_end(env);
}

/* Threads that come and go, each with its own counts: at rest nobody is in. */
static void comes_and_goes(unsigned index, void *arg)
{
	for (uint32_t i = 0; i < 200; i++) {
		uint32_t key = (index * 7 + i) % 16;
		void *out;

		CHECK_EQ(hapax_cache_get(arg, HAPAX_KEY_OF(key), &out), HAPAX_OK);
		hapax_release(out);
	}
}

TEST(calls_are_counted_out_where_they_were_counted_in)
{
	hapax_env *env = test_env();
	struct source s = {.then = NULL};
	hapax_cache *cache = cache_with(env, &s, 0);

	for (int round = 0; round < 3; round++) {
		run_threads(4, comes_and_goes, cache);
		cache_check(cache, 0);
	}
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}
