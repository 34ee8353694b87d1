/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where reloads run: the library's thread, maintain(), executors and tokens; closing, destroying and forking meanwhile. */
#include <errno.h>
#include <signal.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hapax/async.h>

#include "unit/reloads.h"

/* ---- the library's thread ------------------------------------------------------------------------------------------------ */

struct worker {
	struct gate g;
	pthread_t thread;
	bool blocked;
	int stop; /* which load; 0: the second */
};

/* Reloads stop at the gate; on a thread of their own, with all signals blocked. */
static int elsewhere(struct source *s, int load, void *object, const hapax_key *key)
{
	struct worker *w = s->arg;
	sigset_t now;

	(void)object;
	(void)key;
	if (load != (w->stop ? w->stop : 2))
		return GO_ON;
	w->thread = pthread_self();
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
	w->blocked = sigismember(&now, SIGTERM) && sigismember(&now, SIGUSR1) && sigismember(&now, SIGALRM);
	test_event_set(&w->g.entered);
	test_event_wait(&w->g.go);
	return GO_ON;
}

static void begin_without_executor(struct rf *f, enum form form, hapax_env *env, hapax_cache_options o)
{
	memset(f, 0, sizeof *f);
	o.max_entries = 100;
	tier_begin(&f->t, form, env, o);
}

/* The library's thread may be on its way out of the cache still: it has told of its reload and let go of everything. */
static void comes_to_rest(struct rf *f)
{
	char message[200];

	while (hapax_testing_check_cache(f->t.cache, message, sizeof(message)))
		sched_yield(); /* the watchdog ends what never does */
}

TEST(CF_RF_01_a_reload_runs_on_a_thread_of_the_library)
{
	for (enum form form = LOADED; form <= MADE; form++) {
		struct worker w = {.g = GATE_INIT};
		struct rf f;

		begin_without_executor(&f, form, test_env_fake(), (hapax_cache_options){.refresh_ns = S});
		f.t.s.then = elsewhere;
		f.t.s.arg = &w;
		rf_first(&f);
		fake_clock_advance(S);
		for (int i = 0; i < 10; i++)
			CHECK_EQ(rf_get(&f), 1);
		test_event_wait(&w.g.entered);
		for (int i = 0; i < 10; i++)
			CHECK_EQ(rf_get(&f), 1);
		CHECK(!pthread_equal(w.thread, pthread_self()));
		CHECK(w.blocked);
		test_event_set(&w.g.go);
		while (rf_get(&f) != 2)
			sched_yield();
		CHECK_EQ(loads_of(&f.t.s), 2);
		while (told_so_far(&f.t.r) < 1 || hapax_count(f.held) > 1)
			sched_yield();
		comes_to_rest(&f);
		rf_end(&f, 1);
	}
}

/* destroy() drops what waits behind a reload that is running, and waits for that one only. */
static void *destroys(void *arg)
{
	hapax_cache_destroy(arg);
	return NULL;
}

TEST(destroy_drops_what_waits_and_waits_for_what_runs)
{
	struct worker w = {.g = GATE_INIT};
	struct rf first, second;
	pthread_t thread;

	begin_without_executor(&first, LOADED, test_env_fake(), (hapax_cache_options){.refresh_ns = S});
	begin_without_executor(&second, LOADED, test_env_fake(), (hapax_cache_options){.refresh_ns = S});
	rf_first(&first);
	rf_first(&second);
	tier_fill(&first.t, "other");
	first.t.s.then = elsewhere;
	first.t.s.arg = &w;
	w.stop = 3;
	fake_clock_advance(S);
	CHECK_EQ(rf_get(&first), 1);
	test_event_wait(&w.g.entered);
	tier_hit(&first.t, "other"); /* wait behind it */
	CHECK_EQ(rf_get(&second), 1);
	hapax_cache_close(second.t.cache);
	rf_end(&second, 1);
	thread = test_thread(destroys, first.t.cache);
	while (hapax_cache_refresh(first.t.cache, HAPAX_STR("k")) != HAPAX_ECLOSED)
		sched_yield();
	test_event_set(&w.g.go);
	test_join(thread);
	CHECK_EQ(loads_of(&first.t.s), 3);
	CHECK_EQ(first.t.r.by_cause[HAPAX_CAUSE_CLOSED], 2);
	hapax_release(first.held);
	tier_gone(&first.t);
}

static int always_leaves(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)object;
	(void)key;
	(void)s;
	if (load % 2 == 0)
		pthread_exit(NULL);
	return GO_ON;
}

/* A loader that takes the library's thread away takes one thread away. */
TEST(the_library_has_a_thread_again_after_one_vanished)
{
	struct rf f;
	int now;

	begin_without_executor(&f, LOADED, test_env_fake(), (hapax_cache_options){.refresh_ns = S});
	f.t.s.then = always_leaves;
	rf_first(&f);
	for (int i = 1; i <= 5; i++) {
		now = rf_present(&f);
		fake_clock_advance(S);
		while (rf_get(&f) == now)
			sched_yield();
		CHECK_EQ(rf_present(&f), 2 * i + 1);
	}
	while (told_so_far(&f.t.r) < 5)
		sched_yield();
	CHECK_EQ(stats_of(f.t.cache).load_abandoned, 5);
	comes_to_rest(&f);
	rf_end(&f, 1);
}

#define KEYS 8

struct storm {
	struct rf f;
	uint64_t seed;
	unsigned rounds;
};

static void storm(unsigned index, void *arg)
{
	struct storm *s = arg;
	uint64_t state = s->seed + index;

	for (unsigned i = 0; i < s->rounds; i++) {
		const char *key = k((int)test_below(&state, KEYS));
		void *out = NULL;
		struct item *it;

		switch (test_below(&state, 40)) {
		case 0:
			hapax_cache_remove(s->f.t.cache, HAPAX_STR(key));
			break;
		case 1:
			it = tier_item(&s->f.t);
			CHECK_EQ(hapax_cache_put(s->f.t.cache, HAPAX_STR(key), it), 0);
			hapax_release(it);
			break;
		case 2:
			CHECK(hapax_cache_refresh(s->f.t.cache, HAPAX_STR(key)) >= 0);
			break;
		case 3:
			if (!test_below(&state, 8))
				hapax_cache_clear(s->f.t.cache);
			break;
		case 4:
			hapax_cache_maintain(s->f.t.cache);
			break;
		case 5:
			if (index == 0)
				fake_clock_advance(S / 4);
			break;
		default:
			CHECK_EQ(hapax_cache_get(s->f.t.cache, HAPAX_STR(key), &out), 0);
			CHECK(item_is_alive(out));
			hapax_release(out);
		}
	}
}

/* Everything at once: what was loaded, put, told of and destroyed comes out even. */
TEST(CF_RF_03_reloads_among_gets_puts_and_removals)
{
	struct storm s = {.rounds = (unsigned)scaled(20000)};
	hapax_cache_stats now;

	begin_without_executor(&s.f, MADE, test_env_fake(), (hapax_cache_options){.refresh_ns = S / 2, .ttl_ns = 2 * S, .stale_ns = S,
			       .stale_error_ns = 2 * S, .early_refresh = 1});
	s.seed = test_stream(1);
	run_threads(4, storm, &s);
	do {
		sched_yield();
		now = stats_of(s.f.t.cache);
	} while (now.loads != now.load_successes + now.load_failures);
	printf("%d loads, %d refreshes, %d superseded\n", (int)now.loads, (int)now.refreshes, (int)now.superseded);
	CHECK(now.refreshes > 0);
	hapax_cache_close(s.f.t.cache);
	hapax_cache_clear(s.f.t.cache);
	hapax_cache_destroy(s.f.t.cache);
	CHECK_EQ(s.f.t.s.destroyed, loads_of(&s.f.t.s) + s.f.t.put_id - 1000);
	CHECK_EQ(s.f.t.r.n, s.f.t.s.destroyed);
	tier_gone(&s.f.t);
}

/* ---- without a thread ----------------------------------------------------------------------------------------------------- */

TEST(without_a_thread_maintain_runs_them)
{
	struct rf f;

	begin_without_executor(&f, LOADED, test_env_flags(HAPAX_ENV_NO_THREAD, true), (hapax_cache_options){.refresh_ns = S});
	rf_first(&f);
	CHECK_EQ(hapax_cache_next_deadline(f.t.cache), HAPAX_FOREVER);
	CHECK(!hapax_cache_maintain(f.t.cache));
	fake_clock_advance(S);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(rf_get(&f), 1);
	CHECK(hapax_cache_next_deadline(f.t.cache) <= fake_clock_now());
	CHECK(!hapax_cache_maintain(f.t.cache));
	CHECK_EQ(rf_get(&f), 2);
	CHECK_EQ(hapax_cache_next_deadline(f.t.cache), HAPAX_FOREVER);
	/* one that waits is dropped with the cache */
	fake_clock_advance(S);
	CHECK_EQ(rf_get(&f), 2);
	hapax_cache_close(f.t.cache);
	rf_end(&f, 1);
	CHECK_EQ(loads_of(&f.t.s), 2);
}

TEST(maintain_runs_a_bounded_number_and_says_that_there_are_more)
{
	struct rf f;
	int calls = 1;

	begin_without_executor(&f, LOADED, test_env_flags(HAPAX_ENV_NO_THREAD, true), (hapax_cache_options){.ttl_ns = S});
	for (int i = 0; i < 600; i++)
		CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR(k(i))), 0);
	while (hapax_cache_maintain(f.t.cache)) {
		CHECK(loads_of(&f.t.s) <= 256 * calls);
		calls++;
	}
	CHECK_EQ(loads_of(&f.t.s), 600);
	CHECK_EQ(calls, 3);
	rf_end(&f, 100);
}

/* ---- executors -------------------------------------------------------------------------------------------------------------- */

/* Tasks that a destroyed cache has given away are nothing any more, and its objects died with it. */
TEST(tasks_of_a_destroyed_cache_do_nothing)
{
	struct rf f;

	rf_begin(&f, LOADED, (hapax_cache_options){.refresh_ns = S});
	tier_fill(&f.t, "k");
	fake_clock_advance(S);
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(hapax_cache_refresh(f.t.cache, HAPAX_STR("absent")), 0);
	CHECK_EQ(waiting(&f.x), 2);
	f.t.r.cache = NULL;
	hapax_cache_destroy(f.t.cache);
	CHECK_EQ(loads_of(&f.t.s), 1);
	CHECK_EQ(f.t.s.destroyed, 1);
	CHECK_EQ(run_tasks(&f.x), 2);
	CHECK_EQ(loads_of(&f.t.s), 1);
	tier_gone(&f.t);
}

TEST(a_closed_cache_drops_its_tasks)
{
	struct rf f;

	rf_begin(&f, LOADED, (hapax_cache_options){.refresh_ns = S});
	rf_first(&f);
	fake_clock_advance(S);
	CHECK_EQ(rf_get(&f), 1);
	CHECK_EQ(hapax_count(f.held), 3); /* the cache's, ours, the reload's */
	hapax_cache_close(f.t.cache);
	CHECK_EQ(hapax_count(f.held), 2);
	CHECK_EQ(run_tasks(&f.x), 1);
	CHECK_EQ(loads_of(&f.t.s), 1);
	rf_end(&f, 1);
}

/* ---- tokens ------------------------------------------------------------------------------------------------------------------- */

struct started {
	struct rf f;
	hapax_load *token;
	int calls, result;
};

static int start(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct started *s = arg;

	(void)key;
	error->code = 5;
	s->calls++;
	if (s->result)
		return s->result;
	CHECK(!s->token);
	s->token = load;
	return 0;
}

static void complete(struct started *s, int id)
{
	struct item *it = item_new(s->f.t.env, id);

	it->destroyed = &s->f.t.s.destroyed;
	CHECK_EQ(hapax_load_complete(s->token, it, NULL), 0);
	hapax_load_drop(s->token);
	s->token = NULL;
}

static void starting(struct started *s, hapax_cache_options o)
{
	memset(s, 0, sizeof *s);
	s->f.t.loose = true;
	s->f.t.env = test_env_fake();
	pthread_mutex_init(&s->f.t.r.lock, NULL);
	o.size = sizeof o;
	o.env = s->f.t.env;
	o.start = start;
	o.arg = s;
	o.max_entries = 10;
	o.executor = (hapax_executor){tasks_run, &s->f.x};
	o.on_removal = removal_told;
	o.on_removal_ctx = &s->f.t.r;
	CHECK_EQ(hapax_cache_create(&s->f.t.cache, &o), 0);
	s->f.x.at_once = true;
	CHECK_EQ(hapax_cache_refresh(s->f.t.cache, HAPAX_STR("k")), 0); /* absent: a load */
	CHECK_EQ(s->calls, 1);
	complete(s, 1);
	CHECK_EQ(rf_present(&s->f), 1);
}

static void stopping(struct started *s, size_t size)
{
	tier_close(&s->f.t, size);
	test_env_end(s->f.t.env);
	free(s->f.t.r.all);
}

TEST(CF_RF_01_reloads_by_token)
{
	struct started s;

	starting(&s, (hapax_cache_options){.refresh_ns = S});
	fake_clock_advance(S);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(rf_get(&s.f), 1);
	CHECK_EQ(s.calls, 2);
	complete(&s, 2);
	CHECK_EQ(rf_get(&s.f), 2);
	TOLD(&s.f.t.r, 0, 1, 0, 0, 0, 0);
	/* failing, dropping, refusing: the old one stays, and the next get starts another */
	fake_clock_advance(S);
	CHECK_EQ(rf_get(&s.f), 2);
	CHECK_EQ(hapax_load_fail(s.token, HAPAX_LOAD_FAIL, NULL), 0);
	hapax_load_drop(s.token);
	s.token = NULL;
	CHECK_EQ(rf_get(&s.f), 2);
	hapax_load_drop(s.token);
	s.token = NULL;
	s.result = 1;
	CHECK_EQ(rf_get(&s.f), 2);
	s.result = 0;
	CHECK_EQ(s.calls, 5);
	CHECK_EQ(stats_of(s.f.t.cache).refresh_failures, 3);
	CHECK_EQ(stats_of(s.f.t.cache).load_abandoned, 1);
	/* fenced */
	CHECK_EQ(rf_get(&s.f), 2);
	CHECK_EQ(hapax_cache_remove(s.f.t.cache, HAPAX_STR("k")), 0);
	complete(&s, 3);
	CHECK_EQ(rf_present(&s.f), 0);
	TOLD(&s.f.t.r, 2, 1, 0, 0, 0, 0);
	/* outstanding when the cache goes */
	CHECK_EQ(hapax_cache_refresh(s.f.t.cache, HAPAX_STR("k")), 0);
	complete(&s, 4);
	CHECK_EQ(hapax_cache_refresh(s.f.t.cache, HAPAX_STR("k")), 0);
	CHECK_EQ(hapax_cache_refresh(s.f.t.cache, HAPAX_STR("k")), HAPAX_INFLIGHT);
	CHECK_EQ(hapax_load_fail(s.token, HAPAX_LOAD_NOVALUE, NULL), 0);
	hapax_load_drop(s.token);
	s.token = NULL;
	CHECK_EQ(rf_present(&s.f), 0);
	CHECK_EQ(hapax_cache_refresh(s.f.t.cache, HAPAX_STR("k")), 0);
	complete(&s, 5);
	CHECK_EQ(hapax_cache_refresh(s.f.t.cache, HAPAX_STR("k")), 0);
	s.f.t.r.cache = NULL;
	hapax_cache_destroy(s.f.t.cache);
	complete(&s, 6);
	CHECK_EQ(s.f.t.s.destroyed, 6);
	test_env_end(s.f.t.env);
	free(s.f.t.r.all);
}

TEST(a_get_in_need_waits_for_a_token)
{
	struct started s;
	hapax_get_options try = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT};
	void *out = NULL;

	starting(&s, (hapax_cache_options){.ttl_ns = 10 * S, .stale_error_ns = 10 * S});
	fake_clock_advance(12 * S);
	CHECK_EQ(hapax_cache_get_with(s.f.t.cache, HAPAX_STR("k"), &try, &out), HAPAX_INFLIGHT);
	CHECK_EQ(s.calls, 2);
	CHECK_EQ(hapax_load_fail(s.token, HAPAX_LOAD_FAIL, NULL), 0);
	hapax_load_drop(s.token);
	s.token = NULL;
	s.result = 1; /* start() itself fails */
	CHECK_EQ(rf_get(&s.f), 1);
	s.result = 0;
	CHECK_EQ(hapax_cache_get_with(s.f.t.cache, HAPAX_STR("k"), &try, &out), HAPAX_INFLIGHT);
	complete(&s, 2);
	CHECK_EQ(rf_get(&s.f), 2);
	stopping(&s, 1);
}

/* ---- fork ------------------------------------------------------------------------------------------------------------------------ */

/* In the child what waited, and what ran, has failed: the next get begins anew. */
#ifdef TEST_TSAN
enum { FORKS = 1 }; /* ThreadSanitizer does not follow a fork with threads */
#else
enum { FORKS = 2 };
#endif

TEST(CX_TH_06_reloads_begin_anew_in_a_forked_child)
{
	for (int running = 0; running < FORKS; running++) {
		struct worker w = {.g = GATE_INIT};
		struct rf f;
		int status;
		pid_t pid;

		begin_without_executor(&f, running ? MADE : LOADED, running ? test_env_fake() : test_env_flags(HAPAX_ENV_NO_THREAD, true),
				       (hapax_cache_options){.refresh_ns = S});
		f.t.s.then = elsewhere;
		f.t.s.arg = &w;
		rf_first(&f);
		fake_clock_advance(S);
		CHECK_EQ(rf_get(&f), 1);
		if (running)
			test_event_wait(&w.g.entered);
		hapax_before_fork(HAPAX_FORK_URCU);
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			test_watchdog(30);
			hapax_after_fork_child(HAPAX_FORK_URCU);
			f.t.s.then = NULL;
			CHECK_EQ(rf_get(&f), 1);
			if (!running)
				hapax_cache_maintain(f.t.cache);
			while (rf_get(&f) == 1)
				sched_yield();
			hapax_cache_destroy(f.t.cache);
			_exit(0);
		}
		hapax_after_fork_parent(HAPAX_FORK_URCU);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		test_event_set(&w.g.go);
		if (!running)
			hapax_cache_maintain(f.t.cache);
		while (rf_get(&f) != 2)
			sched_yield();
		while (told_so_far(&f.t.r) < 1 || hapax_count(f.held) > 1)
			sched_yield();
		comes_to_rest(&f);
		rf_end(&f, 1);
	}
}
