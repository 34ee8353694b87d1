/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting: deadlines, tries, error codes and details, errno, signals. */
#include <errno.h>
#include <limits.h>
#include <signal.h>

#include "unit/cached.h"

TEST(CX_WT_01_a_deadline_ends_the_wait_not_the_flight)
{
	for (int form = 0; form < 2; form++) {
		struct gate g = GATE_INIT;
		hapax_env *env = test_env_fake();
		struct source s = {.then = first_stops, .arg = &g};
		hapax_cache *cache = cache_form(env, &s, form);
		hapax_get_options o = {HAPAX_GET_OPTIONS_INIT}, later = o, ever = o;
		struct asker a, b, c, d;

		o.deadline = fake_clock_now() + HAPAX_SECOND;
		later.deadline = o.deadline + 1;
		ever.deadline = HAPAX_FOREVER;
		CHECK_EQ(hapax_env_now(env), fake_clock_now());
		ask(&a, cache, "k", &o); /* the deadline does not bound its own loader */
		test_event_wait(&g.entered);
		ask(&b, cache, "k", &o);
		ask(&c, cache, "k", &later);
		ask(&d, cache, "k", &ever);
		fake_clock_await_sleepers(3);
		fake_clock_advance(HAPAX_SECOND - 1);
		test_sleep_ms(5);
		CHECK_EQ(fake_clock_sleepers(), 3);
		fake_clock_advance(1);
		CHECK_EQ(answer(&b), HAPAX_ETIMEDOUT);
		CHECK(!b.out);
		fake_clock_advance(100 * HAPAX_SECOND);
		CHECK_EQ(answer(&c), HAPAX_ETIMEDOUT);
		CHECK_EQ(s.running, 1);
		fake_clock_set(UINT64_C(100) * 365 * 86400 * HAPAX_SECOND); /* a century later for ever is not over */
		fake_clock_await_sleepers(1);
		test_event_set(&g.go);
		CHECK_EQ(answer(&a), HAPAX_OK);
		CHECK_EQ(answer(&d), HAPAX_OK);
		CHECK_PTR(d.out, a.out);
		CHECK_EQ(hapax_count(a.out), 2); /* none leaked by those who left */
		CHECK_PTR(present(cache, "k"), a.out);
		asker_end(&a);
		asker_end(&d);
		CHECK_EQ(s.destroyed, 1);
		stats_check(cache);
		cache_end(cache, 0);
		fake_clock_set(HAPAX_SECOND);
		test_env_end(env);
	}
}

TEST(CX_WT_01_a_deadline_in_the_past_and_one_on_the_real_clock)
{
	struct gate g = GATE_INIT;
	hapax_env *env = test_env();
	struct source s = {.then = first_stops, .arg = &g};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = 1};
	struct asker a;
	void *out = (void *)1;

	ask(&a, cache, "k", NULL);
	test_event_wait(&g.entered);
	int rc = hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out);
	CHECK(rc == HAPAX_ETIMEDOUT);
	CHECK(!out);
	o.deadline = hapax_env_now(env) + 20 * HAPAX_MILLISECOND;
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_ETIMEDOUT);
	CHECK(hapax_env_now(env) >= o.deadline);
	/* a deadline that has passed does not matter to who need not wait */
	o.deadline = 1;
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("other"), &o, &out), HAPAX_OK);
	hapax_release(out);
	test_event_set(&g.go);
	CHECK_EQ(answer(&a), HAPAX_OK);
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_OK);
	CHECK_PTR(out, a.out);
	hapax_release(out);
	asker_end(&a);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CX_WT_02_a_try_never_blocks)
{
	for (int form = 0; form < 2; form++) {
		struct gate g = GATE_INIT;
		hapax_env *env = test_env_fake();
		struct source s = {.then = first_stops, .arg = &g};
		hapax_cache *cache = cache_form(env, &s, form);
		hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT};
		struct asker a;
		void *out = (void *)1;

		ask(&a, cache, "k", NULL);
		test_event_wait(&g.entered);
		for (int i = 0; i < 100; i++) {
			CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_INFLIGHT);
			CHECK(!out);
		}
		/* a try that finds nothing loads: its own loader is not waiting for others */
		CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("free"), &o, &out), HAPAX_OK);
		hapax_release(out);
		test_event_set(&g.go);
		CHECK_EQ(answer(&a), HAPAX_OK);
		CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_OK);
		hapax_release(out);
		asker_end(&a);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static int release_then(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)load;
	(void)object;
	(void)key;
	fake_clock_await_sleepers(*(unsigned *)s->arg);
	return GO_ON;
}

TEST(CX_WT_05_any_code_arrives_unaltered)
{
	static const int codes[] = {0,           1,           -1,           INT_MAX,       INT_MIN,      HAPAX_ENOMEM,
				    HAPAX_MISS,  HAPAX_EDEADLK, HAPAX_ELOADER, HAPAX_ECLOSED, HAPAX_NOVALUE, HAPAX_EABANDONED,
				    HAPAX_INFLIGHT, -22,       12345};

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		unsigned sleepers = 2;
		hapax_env *env = test_env_fake();
		struct source s = {.then = release_then, .arg = &sleepers, .result = HAPAX_LOAD_FAIL, .code = codes[i]};
		hapax_cache *cache = cache_form(env, &s, i % 2);
		struct asker a[3];

		for (int k = 0; k < 3; k++)
			ask(&a[k], cache, "k", NULL);
		for (int k = 0; k < 3; k++) {
			CHECK_EQ(answer(&a[k]), HAPAX_ELOADER);
			CHECK_EQ(a[k].error.code, codes[i]);
			CHECK(!a[k].error.detail);
			asker_end(&a[k]);
			CHECK_EQ(a[k].error.code, 0); /* given back and cleared */
		}
		CHECK_EQ(loads_of(&s), 1);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(CX_WT_05_a_result_that_is_none_of_the_three_is_a_failure)
{
	static const int results[] = {3, 99, INT_MAX};

	for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++) {
		hapax_env *env = test_env();
		struct source s = {.result = results[i]};
		hapax_cache *cache = cache_with(env, &s, 0);
		void *out = (void *)1;
		int rc = hapax_cache_get(cache, HAPAX_STR("k"), &out);

		CHECK(rc < 0 && !out);
		CHECK(!present(cache, "k"));
		CHECK_EQ(s.destroyed, 0);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

struct detail {
	int drops;
	bool fine;
};
static void detail_drop(void *detail)
{
	struct detail *d = detail;

	CHECK(d->fine);
	__atomic_fetch_add(&d->drops, 1, __ATOMIC_RELAXED);
}

TEST(CX_WT_06_the_error_detail_is_shared_and_freed_after_the_last)
{
	for (int form = 0; form < 2; form++) {
		for (int last = 0; last < 4; last++) {
			unsigned sleepers = 3;
			struct detail d = {.fine = true};
			hapax_env *env = test_env_fake();
			struct source s = {.then = release_then, .arg = &sleepers, .result = HAPAX_LOAD_FAIL, .code = 1,
					   .detail = &d, .drop = detail_drop};
			hapax_cache *cache = cache_form(env, &s, form);
			struct asker a[4];

			for (int i = 0; i < 4; i++)
				ask(&a[i], cache, "k", NULL);
			for (int i = 0; i < 4; i++) {
				CHECK_EQ(answer(&a[i]), HAPAX_ELOADER);
				CHECK_PTR(a[i].error.detail, &d);
			}
			for (int i = 0; i < 4; i++)
				if (i != last)
					asker_end(&a[i]);
			CHECK_EQ(d.drops, 0);
			hapax_cache_destroy(cache); /* the copy outlives the cache */
			CHECK_EQ(d.drops, 0);
			asker_end(&a[last]);
			CHECK_EQ(d.drops, 1);
			asker_end(&a[last]); /* an empty record is a no-op */
			hapax_load_error_drop(NULL);
			CHECK_EQ(d.drops, 1);
			test_env_end(env);
		}
	}
}

TEST(CX_WT_06_the_cache_does_not_keep_the_detail)
{
	struct detail d = {.fine = true};
	hapax_env *env = test_env();
	struct source s = {.result = HAPAX_LOAD_FAIL, .detail = &d, .drop = detail_drop};
	hapax_cache *cache = cache_with(env, &s, 0);
	void *out;

	for (int i = 1; i <= 10; i++) {
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_ELOADER);
		CHECK_EQ(d.drops, i);
	}
	/* a detail without a drop is passed on and left alone */
	hapax_load_error e = {0};
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .error = &e};
	s.drop = NULL;
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_ELOADER);
	CHECK_PTR(e.detail, &d);
	hapax_load_error_drop(&e);
	CHECK_EQ(d.drops, 10);
	cache_end(cache, 0);
	test_env_end(env);
}

static void errno_destroy(struct item *item, void *arg)
{
	(void)item;
	(void)arg;
	errno = EPIPE; /* user code may do what it likes */
}

TEST(CX_WT_07_errno_is_left_alone)
{
	hapax_env *env = test_env();
	struct source s = {.item_destroyed = errno_destroy};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_table_options to = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	hapax_table *table;
	hapax_weak *weak;
	hapax_iter *iter;
	void *out, *out2;
	struct test_allocator *a = test_env_allocator(env);

	errno = EDOM;
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_OK);
	CHECK_EQ(errno, EDOM);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out2), HAPAX_OK);
	hapax_release(out2);
	CHECK_EQ(hapax_retain(out), HAPAX_OK);
	hapax_release(out);
	CHECK_EQ(hapax_table_create(&table, &to), HAPAX_OK);
	for (int i = 0; i < 500; i++) /* growth too */
		CHECK_EQ(hapax_table_put(table, HAPAX_KEY_OF(i), out), HAPAX_OK);
	CHECK_EQ(hapax_weak_new(out, NULL, &weak), HAPAX_OK);
	out2 = hapax_weak_get(weak);
	hapax_release(out2);
	CHECK_EQ(hapax_table_iterate(table, &iter), HAPAX_OK);
	CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_OK);
	hapax_iter_close(iter);
	CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("none")), HAPAX_MISS);
	CHECK_EQ(hapax_cache_get_if_present(cache, HAPAX_STR("none"), &out2), HAPAX_MISS);
	hapax_table_clear(table);
	CHECK_EQ(errno, EDOM);
	hapax_release(out); /* the last one: death, the destructor's errno included */
	CHECK_EQ(errno, EDOM);
	CHECK_EQ(s.destroyed, 1);
	hapax_weak_drop(weak);
	hapax_table_destroy(table);
	hapax_reclaim(env);
	CHECK_EQ(errno, EDOM);
	a->fail_from = a->calls + 1;
	CHECK_EQ(hapax_table_create(&table, &to), HAPAX_ENOMEM);
	CHECK_EQ(errno, EDOM);
	a->fail_from = 0;
	cache_end(cache, 0);
	CHECK_EQ(errno, EDOM);
	test_env_end(env);
}

static int signals;
static void count_signal(int sig)
{
	(void)sig;
	__atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
}

TEST(CX_WT_08_signals_neither_end_nor_lose_a_wait)
{
	for (int timed = 0; timed < 2; timed++) {
		struct sigaction sa = {.sa_handler = count_signal}; /* no SA_RESTART */
		struct gate g = GATE_INIT;
		hapax_env *env = test_env();
		struct source s = {.then = first_stops, .arg = &g};
		hapax_cache *cache = cache_with(env, &s, 0);
		hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
		struct asker a, w[3];

		if (timed)
			o.deadline = hapax_env_now(env) + 1000 * HAPAX_SECOND;
		sigaction(SIGUSR1, &sa, NULL);
		ask(&a, cache, "k", &o);
		test_event_wait(&g.entered);
		for (int i = 0; i < 3; i++)
			ask(&w[i], cache, "k", &o);
		for (uint64_t i = 0, n = scaled(10000); i < n; i++) {
			pthread_kill(w[i % 3].thread, SIGUSR1);
			if (i % 256 == 0)
				sched_yield();
		}
		CHECK_EQ(s.running, 1);
		test_event_set(&g.go);
		for (int i = 0; i < 3; i++) {
			CHECK_EQ(answer(&w[i]), HAPAX_OK);
			asker_end(&w[i]);
		}
		CHECK_EQ(answer(&a), HAPAX_OK);
		CHECK(signals > 0);
		asker_end(&a);
		CHECK_EQ(loads_of(&s), 1);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}
