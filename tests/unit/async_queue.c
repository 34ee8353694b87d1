/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asynchronous gets with ordinary loaders, which run in an executor; and queues of completions. */
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/asked.h"

/* ---- executors ---------------------------------------------------------------------------------------------------- */

/* Several gets, one task, one load; blocking gets join it as well. Both forms of loaders. */
TEST(CX_WT_10_L_6_one_task_for_all_who_ask)
{
	enum { N = 4 };

	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env_fake();
		struct source s = {0};
		struct manual m = {0};
		hapax_cache *cache = cache_executing(env, &s, &m, form);
		struct told t[N] = {0};
		struct asker a;
		char key[8] = "k";

		CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR(key), NULL, told_done, &t[0]), HAPAX_OK);
		memset(key, 'x', 7);
		for (int i = 1; i < N; i++)
			told_ask(&t[i], cache, "k");
		CHECK_EQ(m.n, 1);
		CHECK_EQ(loads_of(&s), 0);
		ask(&a, cache, "k", NULL); /* who may wait for ever runs it */
		CHECK_EQ(answer(&a), HAPAX_OK);
		for (int i = 0; i < N; i++)
			CHECK_PTR(t[i].object, a.out);
		CHECK_EQ(loads_of(&s), 1);
		CHECK(manual_step(&m)); /* nothing is left to do */
		CHECK_EQ(hapax_count(a.out), N + 1);
		CHECK_PTR(present(cache, "k"), a.out);
		CHECK_EQ(loads_of(&s), 1);
		CHECK_EQ(stats_of(cache).misses, N + 1);
		CHECK_EQ(stats_of(cache).waits, N);
		for (int i = 0; i < N; i++)
			told_end(&t[i], HAPAX_OK);
		asker_end(&a);
		CHECK_EQ(s.destroyed, 1);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* An executor may run the task before it returns. */
TEST(CX_WT_10_a_task_that_runs_at_once)
{
	hapax_env *env = test_env();
	struct source s = {0}, own = {.env = env};
	struct manual m = {.at_once = true};
	hapax_cache *cache = cache_executing(env, &s, &m, 0);
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .load = source_load, .arg = &own};
	struct told t[2] = {0};

	told_ask(&t[0], cache, "k");
	told_end(&t[0], HAPAX_OK);
	s.result = HAPAX_LOAD_FAIL;
	s.code = 17;
	told_ask(&t[1], cache, "k");
	CHECK_EQ(t[1].error.code, 17);
	told_end(&t[1], HAPAX_ELOADER);
	/* the loader of the call's own */
	memset(t, 0, sizeof(t));
	CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR("k"), &o, told_done, &t[0]), HAPAX_OK);
	told_end(&t[0], HAPAX_OK);
	CHECK_EQ(loads_of(&s), 2);
	CHECK_EQ(loads_of(&own), 1);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* In run(), which refuses the first: the key is loading by then, and whoever joined meanwhile loads in its place. */
static struct told joined_in_run;
static void join_in_run(struct manual *m)
{
	if (m->refuse)
		told_ask(&joined_in_run, m->then_arg, "k");
}

TEST(CX_WT_10_L_10_an_executor_that_refuses)
{
	for (int joined = 0; joined < 2; joined++) {
		hapax_env *env = test_env();
		struct source s = {0};
		struct manual m = {.refuse = 1};
		hapax_cache *cache = cache_executing(env, &s, &m, 0);
		struct told t = {0};

		memset(&joined_in_run, 0, sizeof(joined_in_run));
		m.then_arg = cache;
		m.then = joined ? join_in_run : NULL;
		CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR("k"), NULL, told_done, &t), HAPAX_ETHREAD);
		CHECK_EQ(m.n, joined);
		CHECK_EQ(stats_of(cache).loads, 0);
		CHECK_EQ(stats_of(cache).load_failures, 0);
		if (joined) {
			CHECK_EQ(told_calls(&joined_in_run), 0);
			CHECK(manual_step(&m));
			told_end(&joined_in_run, HAPAX_OK);
		}
		CHECK(!present(cache, "k"));
		struct told again = {0};
		told_ask(&again, cache, "k");
		CHECK(manual_step(&m));
		told_end(&again, HAPAX_OK);
		CHECK_EQ(told_calls(&t), 0);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* D-10: a loader that vanishes in its task hands the load to those who wait, which run it in another one. */
static int vanish_first(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)object;
	CHECK_EQ(key->size, 1);
	CHECK(!memcmp(key->data, "k", 1));
	if (load > 1)
		return GO_ON;
	__atomic_sub_fetch(&s->running, 1, __ATOMIC_RELAXED);
	pthread_exit(NULL);
}

static void *step_thread(void *arg)
{
	manual_step(arg);
	return NULL;
}

TEST(CX_WT_10_D_10_waiters_take_over_from_a_loader_that_vanished)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {.then = vanish_first};
		struct manual m = {0};
		hapax_cache *cache = cache_executing(env, &s, &m, form);
		struct told t[3] = {0};
		char key[2] = "k";

		for (int i = 0; i < 3; i++)
			CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR(key), NULL, told_done, &t[i]), HAPAX_OK);
		key[0] = 'x';
		test_join(test_thread(step_thread, &m));
		for (int i = 0; i < 3; i++)
			CHECK_EQ(told_calls(&t[i]), 0);
		CHECK_EQ(m.n, 2);
		CHECK(manual_step(&m));
		for (int i = 0; i < 3; i++) {
			CHECK_EQ(t[i].object->id, 2);
			CHECK_PTR(t[i].object, t[0].object);
		}
		for (int i = 0; i < 3; i++)
			told_end(&t[i], HAPAX_OK);
		CHECK_EQ(loads_of(&s), 2);
		CHECK_EQ(stats_of(cache).load_abandoned, 1);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(CX_WT_10_CF_LD_10_a_task_is_fenced_like_any_load)
{
	hapax_env *env = test_env();
	struct source s = {0};
	struct manual m = {0};
	hapax_cache *cache = cache_executing(env, &s, &m, 0);
	struct told t[2] = {0};

	told_ask(&t[0], cache, "k");
	CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_MISS);
	CHECK(manual_step(&m));
	CHECK(!present(cache, "k"));
	told_ask(&t[1], cache, "k");
	CHECK(manual_step(&m));
	CHECK_PTR(present(cache, "k"), t[1].object);
	CHECK(t[1].object != t[0].object);
	told_end(&t[0], HAPAX_OK);
	told_end(&t[1], HAPAX_OK);
	CHECK_EQ(stats_of(cache).superseded, 1);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* Tasks that a close overtakes: told at once, and nothing is loaded however late the executor comes. */
TEST(CX_WT_10_L_12_closing_with_tasks_queued)
{
	for (int destroy = 0; destroy < 2; destroy++) {
		hapax_env *env = test_env();
		struct source s = {0};
		struct manual m = {0};
		hapax_cache *cache = cache_executing(env, &s, &m, destroy);
		struct told t[3] = {0};

		told_ask(&t[0], cache, "a");
		told_ask(&t[1], cache, "b");
		told_ask(&t[2], cache, "a");
		if (destroy)
			hapax_cache_destroy(cache);
		else
			hapax_cache_close(cache);
		for (int i = 0; i < 3; i++)
			told_end(&t[i], HAPAX_ECLOSED);
		while (manual_step(&m))
			;
		CHECK_EQ(loads_of(&s), 0);
		if (!destroy) {
			stats_check(cache);
			cache_end(cache, 0);
		}
		test_env_end(env);
	}
}

/* Without an executor: a thread of the library's. */
TEST(CX_WT_10_without_an_executor_there_is_a_thread)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct told t[8] = {0};
	char key[8][2] = {"0", "1", "2", "3", "4", "5", "6", "7"};

	for (int i = 0; i < 8; i++)
		told_ask(&t[i], cache, key[i]);
	for (int i = 0; i < 8; i++) {
		told_wait(&t[i]);
		CHECK(!pthread_equal(t[i].thread, pthread_self()));
		told_end(&t[i], HAPAX_OK);
	}
	CHECK_EQ(loads_of(&s), 8);
	CHECK_EQ(s.most_running, 1);
	hapax_cache_close(cache); /* the thread may still be on its way out of the last call */
	hapax_cache_destroy(cache);
	test_env_end(env);
}

/* ---- completions -------------------------------------------------------------------------------------------------- */

static bool readable(hapax_completions *q)
{
	struct pollfd p = {.fd = hapax_completions_fd(q), .events = POLLIN};

	CHECK(poll(&p, 1, 0) >= 0);
	CHECK(!(p.revents & ~POLLIN));
	return p.revents;
}

static void completion_end(hapax_completion *c, int status)
{
	CHECK_EQ(c->status, status);
	CHECK((status == 0) == (c->object != NULL));
	hapax_release(c->object);
	hapax_load_error_drop(&c->error);
}

TEST(CX_WT_10_a_queue_is_readable_while_it_is_not_empty)
{
	hapax_env *env = test_env();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	struct item *it = item_new(env, 9);
	hapax_completions *q = NULL;
	hapax_completion c[3] = {{.user = &c[0]}, {.user = &c[1]}, {.user = &c[2]}};
	hapax_load_error error = {.code = 44};

	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("there"), it), HAPAX_OK);
	CHECK_EQ(hapax_completions_create(&q, env), HAPAX_OK);
	CHECK(hapax_completions_fd(q) >= 0);
	CHECK(!readable(q));
	CHECK(!hapax_completions_take(q));
	CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("a"), NULL, q, &c[0]), HAPAX_OK);
	CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("b"), NULL, q, &c[1]), HAPAX_OK);
	CHECK(!readable(q));
	CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("there"), NULL, q, &c[2]), HAPAX_OK);
	CHECK(readable(q));
	CHECK_EQ(hapax_load_fail(s.token[1], HAPAX_LOAD_FAIL, &error), HAPAX_OK);
	CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
	CHECK(readable(q));
	/* the oldest first */
	CHECK_PTR(hapax_completions_take(q), &c[2]);
	CHECK_PTR(c[2].object, it);
	CHECK(readable(q));
	CHECK_PTR(hapax_completions_take(q), &c[1]);
	CHECK_EQ(c[1].error.code, 44);
	CHECK(readable(q));
	CHECK_PTR(hapax_completions_take(q), &c[0]);
	CHECK(!readable(q));
	CHECK(!hapax_completions_take(q));
	for (int i = 0; i < 3; i++) {
		CHECK_PTR(c[i].user, &c[i]);
		completion_end(&c[i], i == 1 ? HAPAX_ELOADER : HAPAX_OK);
	}
	/* on an error it is not queued, and the queue does not wait for it */
	hapax_cache_close(cache);
	CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("a"), NULL, q, &c[0]), HAPAX_ECLOSED);
	CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("a"), NULL, NULL, &c[0]), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("a"), NULL, q, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_completions_create(NULL, env), HAPAX_ENULL);
	CHECK_EQ(hapax_completions_fd(NULL), -1);
	CHECK(!hapax_completions_take(NULL));
	CHECK(!readable(q));
	hapax_completions_destroy(q);
	hapax_completions_destroy(NULL);
	hapax_load_drop(s.token[1]);
	hapax_release(it);
	cache_end(cache, 0);
	test_env_end(env);
}

/* What was not taken is given back; what comes later too, without touching the application's memory. */
TEST(CX_WT_10_L_12_a_queue_destroyed_with_gets_under_way)
{
	hapax_env *env = test_env();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	hapax_completions *q = NULL;
	hapax_completion done = {.user = NULL}, *late = calloc(2, sizeof(*late));

	CHECK(late);
	CHECK_EQ(hapax_completions_create(&q, env), HAPAX_OK);
	CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("done"), NULL, q, &done), HAPAX_OK);
	CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("late"), NULL, q, &late[0]), HAPAX_OK);
	CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR("later"), NULL, q, &late[1]), HAPAX_OK);
	CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
	CHECK_EQ(s.destroyed, 0);
	hapax_completions_destroy(q);
	CHECK_EQ(s.destroyed, 1);
	free(late);
	CHECK_EQ(starts_complete(&s, 1), HAPAX_OK);
	CHECK_EQ(s.destroyed, 2);
	hapax_cache_destroy(cache);
	CHECK_EQ(starts_complete(&s, 2), HAPAX_ECLOSED);
	CHECK_EQ(s.destroyed, 3);
	test_env_end(env);
}

/* Threads that ask and complete, and several that take: everything asked for is taken once. */
enum { QUEUED = 512 };

struct queued {
	hapax_completions *q;
	hapax_cache *cache;
	hapax_completion c[QUEUED];
	int next, taken, times[QUEUED];
};

static void queued_thread(unsigned index, void *arg)
{
	struct queued *w = arg;
	hapax_completion *c;
	uint32_t key;
	int i;

	while (index < 2 && (i = __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED)) < QUEUED) {
		key = (uint32_t)i % 64;
		w->c[i].user = &w->times[i];
		CHECK_EQ(hapax_cache_get_queued(w->cache, HAPAX_KEY_OF(key), NULL, w->q, &w->c[i]), HAPAX_OK);
	}
	while (__atomic_load_n(&w->taken, __ATOMIC_RELAXED) < QUEUED) {
		struct pollfd p = {.fd = hapax_completions_fd(w->q), .events = POLLIN};

		poll(&p, 1, 1); /* another one may have taken what made it readable */
		while ((c = hapax_completions_take(w->q)) != NULL) {
			CHECK_EQ(__atomic_fetch_add((int *)c->user, 1, __ATOMIC_RELAXED), 0);
			__atomic_fetch_add(&w->taken, 1, __ATOMIC_RELAXED);
			completion_end(c, HAPAX_OK);
		}
	}
}

TEST(CX_WT_10_a_queue_shared_by_threads)
{
	hapax_env *env = test_env();
	struct source s = {0};
	struct queued *w = calloc(1, sizeof(*w));

	CHECK(w);
	w->cache = cache_with(env, &s, 0);
	CHECK_EQ(hapax_completions_create(&w->q, env), HAPAX_OK);
	run_threads(4, queued_thread, w);
	CHECK(!readable(w->q));
	hapax_completions_destroy(w->q);
	hapax_cache_destroy(w->cache);
	CHECK_EQ(s.destroyed, loads_of(&s));
	test_env_end(env);
	free(w);
}

/* Parent and child have a descriptor each: neither takes the other's readiness away. */
TEST(CX_TH_06_CX_WT_10_a_queue_in_a_forked_child)
{
#ifdef TEST_TSAN
	TEST_SKIP("ThreadSanitizer does not follow a multi-threaded fork");
#endif
	hapax_env *env = test_env();
	struct starts s = {0};
	hapax_cache *cache = cache_starting(env, &s, 0);
	hapax_completions *q = NULL;
	hapax_completion c[2] = {{.user = NULL}};
	pid_t child;
	int status;

	CHECK_EQ(hapax_completions_create(&q, env), HAPAX_OK);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(hapax_cache_get_queued(cache, HAPAX_STR(i ? "b" : "a"), NULL, q, &c[i]), HAPAX_OK);
	CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
	hapax_before_fork(HAPAX_FORK_URCU);
	child = fork();
	if (child == 0) {
		hapax_after_fork_child(HAPAX_FORK_URCU);
		alarm(30);
		CHECK(readable(q));
		CHECK_PTR(hapax_completions_take(q), &c[0]);
		completion_end(&c[0], HAPAX_OK);
		CHECK_PTR(hapax_completions_take(q), &c[1]);
		completion_end(&c[1], HAPAX_EABANDONED);
		CHECK(!readable(q));
		_exit(0);
	}
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	CHECK(child > 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		TEST_FAIL("child ended with status %x", status);
	CHECK(readable(q));
	CHECK_PTR(hapax_completions_take(q), &c[0]);
	CHECK(!readable(q));
	CHECK_EQ(starts_complete(&s, 1), HAPAX_OK);
	CHECK_PTR(hapax_completions_take(q), &c[1]);
	completion_end(&c[0], HAPAX_OK);
	completion_end(&c[1], HAPAX_OK);
	hapax_completions_destroy(q);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- values past their ttl ------------------------------------------------------------------------------------------ */

/* What is there may only be returned if its reload fails: the get waits for the reload without a thread. */
TEST(CX_WT_10_L_11_a_stale_value_is_told_when_its_reload_fails)
{
	enum { NEW, FAILED, DROPPED, REFUSED, NONE, WAYS };

	for (int way = 0; way < WAYS; way++) {
		hapax_env *env = test_env_fake();
		struct starts s = {.env = env};
		struct manual m = {0};
		hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .start = starts_start, .arg = &s,
					 .executor = {manual_run, &m}, .ttl_ns = 1000, .stale_error_ns = 1000};
		struct told first = {0}, t[2] = {0};
		hapax_cache *cache;
		struct item *old;

		CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
		told_ask(&first, cache, "k");
		CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
		old = first.object;
		fake_clock_advance(1500);
		if (way == REFUSED)
			m.refuse = 2;
		for (int i = 0; i < 2; i++) {
			told_ask(&t[i], cache, "k");
			CHECK_EQ(told_calls(&t[i]), way == REFUSED);
		}
		if (way != REFUSED) {
			CHECK_EQ(m.n, 1); /* one reload, joined */
			CHECK(manual_step(&m));
			CHECK_EQ(starts_of(&s), 2);
			CHECK_EQ(told_calls(&t[0]), 0);
		}
		if (way == NEW)
			CHECK_EQ(hapax_load_complete(s.token[1], starts_item(&s, 2), NULL), HAPAX_OK);
		else if (way == FAILED)
			CHECK_EQ(hapax_load_fail(s.token[1], HAPAX_LOAD_FAIL, NULL), HAPAX_OK);
		else if (way == NONE)
			CHECK_EQ(hapax_load_fail(s.token[1], HAPAX_LOAD_NOVALUE, NULL), HAPAX_OK);
		if (way != REFUSED)
			hapax_load_drop(s.token[1]);
		for (int i = 0; i < 2; i++) {
			CHECK_EQ(told_calls(&t[i]), 1);
			if (way == NEW)
				CHECK_EQ(t[i].object->id, 2);
			else
				CHECK_PTR(t[i].object, way == NONE ? NULL : old);
		}
		CHECK_EQ(stats_of(cache).stale_hits, way == FAILED || way == DROPPED || way == REFUSED ? 2 : 0);
		CHECK_EQ(hapax_count(old), way == NEW || way == NONE ? 1 : 3);
		for (int i = 0; i < 2; i++)
			told_end(&t[i], way == NONE ? HAPAX_NOVALUE : HAPAX_OK);
		told_end(&first, HAPAX_OK);
		CHECK_EQ(s.destroyed, way == NEW ? 2 : 1);
		cache_check(cache, 0);
		hapax_cache_destroy(cache);
		test_env_end(env);
	}
}

/* A reload by token is out when its cache ends: as with loads, nobody waits for it, and what comes is given back. */
TEST(CX_WT_10_L_12_a_cache_ends_while_a_reload_is_out)
{
	for (int way = 0; way < 6; way++) {
		hapax_env *env = test_env_fake();
		struct starts s = {.env = env};
		struct manual m = {.at_once = true};
		hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .start = starts_start, .arg = &s,
					 .executor = {manual_run, &m}, .ttl_ns = way & 1 ? 1000 : 0,
					 .stale_error_ns = way & 1 ? 1000 : 0};
		struct told first = {0}, t = {0};
		hapax_cache *cache;
		int status = 12345;

		CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
		told_ask(&first, cache, "k");
		CHECK_EQ(starts_complete(&s, 0), HAPAX_OK);
		CHECK_EQ(hapax_cache_refresh(cache, HAPAX_STR("k")), HAPAX_OK);
		CHECK_EQ(starts_of(&s), 2);
		CHECK_EQ(hapax_cache_refresh(cache, HAPAX_STR("k")), HAPAX_INFLIGHT);
		if (way & 1) { /* a get that needs it is under way, too */
			fake_clock_advance(1500);
			told_ask(&t, cache, "k");
			CHECK_EQ(told_calls(&t), 0);
		}
		hapax_cache_close(cache);
		if (way & 1)
			told_end(&t, HAPAX_ECLOSED);
		if (way < 2) {
			CHECK_EQ(hapax_load_complete(s.token[1], starts_item(&s, 2), &status), HAPAX_OK);
			CHECK_EQ(s.destroyed, 1);
		}
		told_end(&first, HAPAX_OK);
		hapax_cache_destroy(cache);
		if (way >= 4) {
			CHECK_EQ(hapax_load_complete(s.token[1], starts_item(&s, 2), &status), HAPAX_OK);
			CHECK_EQ(status, HAPAX_ECLOSED);
		}
		hapax_load_drop(s.token[1]);
		CHECK_EQ(s.destroyed, way < 2 || way >= 4 ? 2 : 1);
		test_env_end(env);
	}
}

static void child_of_tasks(hapax_cache *cache, struct told *t, struct manual *m, struct source *s)
{
	struct told again = {0};

	CHECK_EQ(t[0].status, HAPAX_EABANDONED);
	CHECK_EQ(t[1].status, HAPAX_EABANDONED);
	CHECK_EQ(told_calls(&t[0]) + told_calls(&t[1]), 2);
	while (manual_step(m)) /* the executor came along, with what it had been given */
		;
	CHECK_EQ(loads_of(s), 0);
	told_ask(&again, cache, "k");
	CHECK(manual_step(m));
	told_end(&again, HAPAX_OK);
	stats_check(cache);
	hapax_cache_destroy(cache);
	_exit(0);
}

TEST(CX_TH_06_CX_WT_10_tasks_in_a_forked_child)
{
#ifdef TEST_TSAN
	TEST_SKIP("ThreadSanitizer does not follow a multi-threaded fork");
#endif
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {0};
		struct manual m = {0};
		hapax_cache *cache = cache_executing(env, &s, &m, form);
		struct told t[2] = {0};
		pid_t child;
		int status;

		told_ask(&t[0], cache, "k");
		told_ask(&t[1], cache, "fenced");
		hapax_cache_remove(cache, HAPAX_STR("fenced"));
		hapax_before_fork(HAPAX_FORK_URCU);
		child = fork();
		if (child == 0) {
			hapax_after_fork_child(HAPAX_FORK_URCU);
			alarm(30);
			child_of_tasks(cache, t, &m, &s);
		}
		hapax_after_fork_parent(HAPAX_FORK_URCU);
		CHECK(child > 0);
		CHECK_EQ(waitpid(child, &status, 0), child);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			TEST_FAIL("child ended with status %x", status);
		while (manual_step(&m))
			;
		CHECK_EQ(loads_of(&s), 2);
		for (int i = 0; i < 2; i++)
			told_end(&t[i], HAPAX_OK);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}
