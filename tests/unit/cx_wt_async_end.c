/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What comes between an asynchronous get and its end, or a token and its completion: fences, deadlines, the end of the cache,
 * threads, a fork. */
#include <sys/wait.h>
#include <unistd.h>

#include "unit/asked.h"

/* ---- fencing ------------------------------------------------------------------------------------------------------ */

TEST(CX_WT_10_CF_LD_09_CF_LD_10_put_remove_and_clear_fence_a_token)
{
	for (int variant = 0; variant < 6; variant++) {
		int how = variant % 3;
		hapax_env *env = test_env();
		struct starts s = {.managed = variant > 2};
		hapax_cache *cache = cache_starting(env, &s, 0);
		struct item *put = item_new(env, 100), *it;
		struct told t = {0}, late = {0};

		told_ask(&t, cache, "k");
		if (how == 0)
			CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), put), HAPAX_OK);
		else if (how == 1)
			CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_MISS);
		else
			hapax_cache_clear(cache);
		told_ask(&late, cache, "k"); /* does not join what was fenced */
		CHECK_EQ(starts_of(&s), how ? 2 : 1);
		CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
		CHECK_EQ(t.object->id, 1); /* its own callers get it */
		CHECK_PTR(present(cache, "k"), how ? NULL : put);
		told_end(&t, HAPAX_OK);
		CHECK_EQ(s.destroyed, 1);
		if (how) {
			CHECK_EQ(told_calls(&late), 0);
			CHECK_EQ(starts_complete(&s, 1), HAPAX_OK);
			CHECK_EQ(late.object->id, 2);
		} else {
			CHECK_PTR(late.object, put);
		}
		it = got(cache, "k");
		CHECK_PTR(it, late.object);
		hapax_release(it);
		told_end(&late, HAPAX_OK);
		hapax_release(put);
		CHECK_EQ(stats_of(cache).superseded, 1);
		if (s.managed) /* what was not installed, and what was */
			CHECK_EQ(s.removed, 2);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* ---- deadlines ---------------------------------------------------------------------------------------------------- */

TEST(CX_WT_01_CX_WT_02_a_get_that_started_a_token_waits_as_long_as_it_may)
{
	hapax_env *env = test_env_fake();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	hapax_get_options try = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT};
	hapax_get_options until = {HAPAX_GET_OPTIONS_INIT, .deadline = fake_clock_now() + 100};
	void *out = (void *)1;
	struct asker a;

	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("try"), &try, &out), HAPAX_INFLIGHT);
	CHECK(!out);
	CHECK_EQ(starts_of(&s), 1);
	ask(&a, cache, "until", &until);
	fake_clock_await_sleepers(1);
	fake_clock_advance(99);
	CHECK_EQ(fake_clock_sleepers(), 1);
	fake_clock_advance(1);
	CHECK_EQ(answer(&a), HAPAX_ETIMEDOUT);
	asker_end(&a);
	/* the flights go on: they can be joined, and install what they bring */
	struct told t[2] = {0};
	told_ask(&t[0], cache, "try");
	told_ask(&t[1], cache, "until");
	CHECK_EQ(starts_of(&s), 2);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(starts_complete(&s, i), HAPAX_OK);
		CHECK_PTR(present(cache, i ? "until" : "try"), t[i].object);
		told_end(&t[i], HAPAX_OK);
	}
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* CX-TH-08 for a get that started its load: what it waited for goes on. */
TEST(CX_WT_10_CX_TH_08_a_cancelled_starter_leaves_cleanly)
{
	hapax_env *env = test_env_fake();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct told t = {0};
	struct asker a;

	ask(&a, cache, "k", NULL);
	fake_clock_await_sleepers(1);
	told_ask(&t, cache, "k");
	pthread_cancel(a.thread);
	test_join(a.thread);
	CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
	CHECK_EQ(hapax_count(t.object), 1);
	told_end(&t, HAPAX_OK);
	CHECK_EQ(starts_of(&s), 1);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- closing ------------------------------------------------------------------------------------------------------ */

TEST(CX_WT_10_L_12_closing_releases_waiters_and_a_late_object_is_disposed_of_once)
{
	for (int late = 0; late < 8; late++) {
		hapax_env *env = test_env_fake();
		struct starts s = {.managed = late & 4};
		hapax_cache *cache = cache_starting(env, &s, 0);
		struct told t[2] = {0};
		struct asker a;
		int status = 12345;

		told_ask(&t[0], cache, "k");
		told_ask(&t[1], cache, "other");
		ask(&a, cache, "k", NULL);
		fake_clock_await_sleepers(1);
		hapax_cache_close(cache);
		CHECK_EQ(answer(&a), HAPAX_ECLOSED);
		asker_end(&a);
		told_end(&t[0], HAPAX_ECLOSED);
		told_end(&t[1], HAPAX_ECLOSED);
		CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR("k"), NULL, told_done, &t[0]), HAPAX_ECLOSED);
		if (late & 1) /* destroy() does not wait for tokens that nobody completes */
			hapax_cache_destroy(cache);
		if (late & 2) {
			CHECK_EQ(hapax_load_complete(s.token[0], starts_item(&s, 1), &status), HAPAX_OK);
			CHECK_EQ(status, HAPAX_ECLOSED);
			CHECK_EQ(s.destroyed, 1);
			CHECK_EQ(hapax_load_fail(s.token[1], HAPAX_LOAD_NOVALUE, NULL), HAPAX_OK);
			CHECK_EQ(hapax_load_complete(s.token[0], starts_item(&s, 1), NULL), HAPAX_ETOKEN);
			CHECK_EQ(s.destroyed, 2);
		}
		hapax_load_drop(s.token[0]);
		hapax_load_drop(s.token[1]);
		if (!(late & 1)) {
			CHECK_EQ(stats_of(cache).loads, 2);
			stats_check(cache);
			cache_end(cache, 0);
		}
		test_env_end(env);
	}
}

/* Only the token is left of everything. */
TEST(CX_WT_10_L_12_a_token_outlives_cache_and_environment)
{
	struct test_allocator memory;
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .start = starts_start};
	struct starts s = {0};
	struct told t = {0};
	hapax_cache *cache;
	hapax_env *env;

	test_allocator_init(&memory, 0);
	eo.allocator = memory.allocator;
	CHECK_EQ(hapax_env_create(&env, &eo), HAPAX_OK);
	o.env = env;
	o.arg = &s;
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	told_ask(&t, cache, "k");
	hapax_cache_destroy(cache);
	told_end(&t, HAPAX_ECLOSED);
	hapax_env_destroy(env);
	CHECK(test_allocator_live(&memory) > 0);
	hapax_load_drop(s.token[0]);
	for (int i = 0; i < 2000 && test_allocator_live(&memory); i++) {
		hapax_reclaim(NULL);
		test_sleep_ms(1);
	}
	CHECK_EQ(test_allocator_live(&memory), 0);
}

static void destroy_inside(struct told *t) { hapax_cache_destroy(t->arg); }

TEST(CX_WT_10_L_10_who_is_told_may_destroy_the_cache)
{
	for (int how = 0; how < 3; how++) {
		hapax_env *env = test_env();
		struct starts s = {0};
		hapax_cache *cache = cache_starting(env, &s, 0);
		struct told t = {.then = destroy_inside, .arg = cache}, other = {0};
		struct item *it = item_new(env, 1);

		told_ask(&other, cache, "other");
		if (how == 0)
			CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), it), HAPAX_OK);
		told_ask(&t, cache, "k");
		if (how == 1)
			CHECK_EQ(starts_complete(&s, 1), HAPAX_OK);
		else if (how == 2)
			hapax_load_drop(s.token[1]);
		told_end(&t, how == 2 ? HAPAX_EABANDONED : HAPAX_OK);
		hapax_release(it);
		told_end(&other, HAPAX_ECLOSED);
		hapax_load_drop(s.token[0]);
		test_env_end(env);
	}
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

/* Tokens handed from start() to threads that complete, fail or drop them; askers of both kinds; a close in the middle. */
enum { BASH_KEYS = 6, BASH_SLOTS = 4096, BASH_ASKERS = 3 };

struct bash {
	hapax_env *env;
	hapax_cache *cache;
	pthread_mutex_t lock;
	hapax_load *waiting[BASH_SLOTS];
	int n, stop, asked, told, given, failed, destroyed;
	uint64_t rounds;
};

static int drops;
static void count_drop(void *detail)
{
	CHECK_PTR(detail, &drops);
	__atomic_add_fetch(&drops, 1, __ATOMIC_RELAXED);
}

static int bash_start(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct bash *b = arg;

	(void)key;
	(void)error;
	pthread_mutex_lock(&b->lock);
	CHECK(b->n < BASH_SLOTS);
	b->waiting[b->n++] = load;
	pthread_mutex_unlock(&b->lock);
	return 0;
}

static hapax_load *bash_take(struct bash *b)
{
	hapax_load *load;

	pthread_mutex_lock(&b->lock);
	load = b->n ? b->waiting[--b->n] : NULL;
	pthread_mutex_unlock(&b->lock);
	return load;
}

static void bash_done(int status, void *object, hapax_load_error *error, void *ctx)
{
	struct bash *b = ctx;

	CHECK(status == HAPAX_OK || status == HAPAX_NOVALUE || status == HAPAX_ELOADER || status == HAPAX_EABANDONED ||
	      status == HAPAX_ECLOSED);
	CHECK((status == 0) == (object != NULL));
	hapax_release(object);
	hapax_load_error_drop(error);
	__atomic_add_fetch(&b->told, 1, __ATOMIC_RELAXED);
}

static void bash_complete(struct bash *b, hapax_load *load, uint64_t how)
{
	hapax_load_error error = {.code = 3, .detail = &drops, .drop = count_drop};
	struct item *item;

	if (how < 5) {
		item = item_new(b->env, 1);
		item->destroyed = &b->destroyed;
		__atomic_add_fetch(&b->given, 1, __ATOMIC_RELAXED);
		CHECK_EQ(hapax_load_complete(load, item, NULL), HAPAX_OK);
	} else if (how == 5) {
		CHECK_EQ(hapax_load_fail(load, HAPAX_LOAD_NOVALUE, NULL), HAPAX_OK);
	} else if (how == 6) {
		__atomic_add_fetch(&b->failed, 1, __ATOMIC_RELAXED);
		CHECK_EQ(hapax_load_fail(load, HAPAX_LOAD_FAIL, &error), HAPAX_OK);
	}
	hapax_load_drop(load);
}

static void bash_thread(unsigned index, void *arg)
{
	struct bash *b = arg;
	uint64_t r = test_stream(index);
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT};
	hapax_load *load;
	void *out;

	if (index < 2) {
		while ((load = bash_take(b)) != NULL || __atomic_load_n(&b->stop, __ATOMIC_ACQUIRE) < BASH_ASKERS)
			if (load)
				bash_complete(b, load, test_below(&r, 8));
		return;
	}
	for (uint64_t i = 0; i < b->rounds; i++) {
		uint32_t k = (uint32_t)test_below(&r, BASH_KEYS);
		uint64_t what = test_below(&r, 8);

		if (index == 2 && i == b->rounds * 9 / 10)
			hapax_cache_close(b->cache);
		if (what < 5) {
			if (!hapax_cache_get_async(b->cache, HAPAX_KEY_OF(k), NULL, bash_done, b))
				__atomic_add_fetch(&b->asked, 1, __ATOMIC_RELAXED);
		} else if (what < 7) {
			o.deadline = what == 5 ? HAPAX_FOREVER : HAPAX_NO_WAIT;
			if (!hapax_cache_get_with(b->cache, HAPAX_KEY_OF(k), &o, &out))
				hapax_release(out);
		} else {
			hapax_cache_remove(b->cache, HAPAX_KEY_OF(k));
		}
	}
	__atomic_add_fetch(&b->stop, 1, __ATOMIC_ACQ_REL);
}

TEST(CX_WT_10_L_3_everybody_is_told_once_whatever_happens)
{
	struct bash b = {.env = test_env(), .lock = PTHREAD_MUTEX_INITIALIZER, .rounds = scaled(4000)};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = b.env, .start = bash_start, .arg = &b};

	drops = 0;
	CHECK_EQ(hapax_cache_create(&b.cache, &o), HAPAX_OK);
	run_threads(2 + BASH_ASKERS, bash_thread, &b);
	for (hapax_load *load; (load = bash_take(&b)) != NULL;)
		bash_complete(&b, load, 0);
	CHECK_EQ(b.told, b.asked);
	CHECK(b.asked > 0);
	CHECK_EQ(b.destroyed, b.given);
	CHECK_EQ(drops, b.failed);
	stats_check(b.cache);
	cache_end(b.cache, 0);
	test_env_end(b.env);
}

/* ---- fork --------------------------------------------------------------------------------------------------------- */

static struct told forked_again;
static void again_in_child(struct told *t)
{
	CHECK_EQ(t->status, HAPAX_EABANDONED);
	told_ask(&forked_again, t->arg, "k"); /* the cache works, from there too */
}

static void child_asks(struct starts *s, hapax_cache *cache, struct told *t)
{
	CHECK_EQ(t[0].status, HAPAX_EABANDONED);
	CHECK_EQ(t[1].status, HAPAX_EABANDONED);
	CHECK_EQ(told_calls(&t[0]) + told_calls(&t[1]), 2);
	/* tokens of the parent's are no good here */
	CHECK_EQ(hapax_load_complete(s->token[0], starts_item(s, 1), NULL), HAPAX_ETOKEN);
	CHECK_EQ(s->destroyed, 1);
	hapax_load_drop(s->token[0]);
	hapax_load_drop(s->token[1]);
	CHECK_EQ(told_calls(&forked_again), 0);
	CHECK_EQ(starts_of(s), 3);
	CHECK_EQ(starts_complete(s, 2), HAPAX_OK);
	told_end(&forked_again, HAPAX_OK);
	stats_check(cache);
	hapax_cache_destroy(cache);
	_exit(0);
}

TEST(CX_TH_06_CX_WT_10_in_a_forked_child_what_was_under_way_is_abandoned)
{
#ifdef TEST_TSAN
	TEST_SKIP("ThreadSanitizer does not follow a multi-threaded fork");
#endif
	hapax_env *env = test_env_fake();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct told t[2] = {{.then = again_in_child, .arg = cache}, {0}};
	struct asker a;
	pid_t child;
	int status;

	told_ask(&t[0], cache, "k");
	told_ask(&t[1], cache, "fenced");
	hapax_cache_remove(cache, HAPAX_STR("fenced"));
	ask(&a, cache, "k", NULL); /* its thread does not come along */
	fake_clock_await_sleepers(1);
	hapax_before_fork(HAPAX_FORK_URCU);
	child = fork();
	if (child == 0) {
		hapax_after_fork_child(HAPAX_FORK_URCU);
		alarm(30);
		child_asks(&s, cache, t);
	}
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	CHECK(child > 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		TEST_FAIL("child ended with status %x", status);
	CHECK_EQ(told_calls(&t[0]), 0); /* the parent goes on as if nothing had happened */
	t[0].then = NULL;
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(starts_complete(&s, i), HAPAX_OK);
		CHECK_EQ(t[i].object->id, i + 1);
		told_end(&t[i], HAPAX_OK);
	}
	CHECK_EQ(answer(&a), HAPAX_OK);
	asker_end(&a);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}
