/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads that come and go, signals, cancellation, fork, exit, small stacks, progress while somebody stands still. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/cached.h"

/* ---- CX-TH-01 -------------------------------------------------------------------------------------------------- */

static void *short_life(void *arg)
{
	struct source *s = arg;
	struct item *it = got(s->cache, "shared"), *own;
	hapax_weak *weak = weak_of(it);

	own = got(s->cache, "own");
	hapax_release(own);
	hapax_weak_drop(weak);
	hapax_release(it);
	return NULL;
}

TEST(CX_TH_01_threads_end_without_a_word)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *shared = got(cache, "shared");
	hapax_env_stats st = {.size = sizeof(st)};
	uint64_t n = scaled(2000);
	size_t bytes = 0;

	for (uint64_t i = 0; i < n; i++) {
		pthread_t t[2] = {test_thread(short_life, &s), test_thread(short_life, &s)};

		test_join(t[0]);
		test_join(t[1]);
		if (i == n / 4) {
			hapax_testing_drain(env);
			bytes = hapax_testing_bytes(env);
		}
	}
	hapax_testing_drain(env); /* would hang if somebody who is gone stalled it */
	CHECK(hapax_testing_bytes(env) <= bytes + 65536);
	CHECK_EQ(hapax_testing_live_objects(env), 1);
	CHECK_EQ(hapax_env_stats_get(env, &st), HAPAX_OK);
	CHECK_EQ(st.garbage_bytes, 0);
	hapax_release(shared);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* Thread-specific destructors that run after hapax's own thread exit may use it still. */
static pthread_key_t late_key;
static int late_rounds;
static void late(void *arg)
{
	short_life(arg);
	if (__atomic_add_fetch(&late_rounds, 1, __ATOMIC_RELAXED) % 3)
		pthread_setspecific(late_key, arg); /* again, in a later round */
}
static void *leave_late(void *arg)
{
	pthread_setspecific(late_key, arg);
	return short_life(arg);
}

TEST(CX_TH_01_thread_specific_destructors_may_call)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);

	CHECK_EQ(pthread_key_create(&late_key, late), 0);
	for (uint64_t i = scaled(200); i > 0; i--)
		test_join(test_thread(leave_late, &s));
	CHECK(late_rounds > 0);
	CHECK_EQ(s.destroyed, loads_of(&s));
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- CX-TH-04 -------------------------------------------------------------------------------------------------- */

static int handled;
static void handle(int sig)
{
	(void)sig;
	__atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
}

struct stormed {
	struct source s;
	int done;
};
static void *get_in_a_storm(void *arg)
{
	struct stormed *st = arg;

	for (uint64_t i = scaled(30000); i > 0; i--) {
		uint32_t k = (uint32_t)(i % 5);
		void *out;

		CHECK_EQ(hapax_cache_get(st->s.cache, HAPAX_KEY_OF(k), &out), HAPAX_OK);
		CHECK(item_is_alive(out));
		hapax_release(out);
	}
	__atomic_store_n(&st->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

TEST(CX_TH_04_signals_at_any_instruction)
{
	hapax_env *env = test_env();
	struct stormed st = {0};
	hapax_cache *cache = cache_with(env, &st.s, 0);
	struct sigaction sa = {.sa_handler = handle};
	sigset_t all, old;
	pthread_t t;

	sigaction(SIGUSR1, &sa, NULL);
	t = test_thread(get_in_a_storm, &st);
	while (!__atomic_load_n(&st.done, __ATOMIC_ACQUIRE))
		pthread_kill(t, SIGUSR1);
	test_join(t);
	CHECK(handled > 0);
	/* and with all of them blocked; the mask is as it was */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	st.done = 0;
	get_in_a_storm(&st);
	sigset_t now;
	pthread_sigmask(SIG_SETMASK, &old, &now);
	CHECK(sigismember(&now, SIGUSR1) && sigismember(&now, SIGALRM));
	CHECK_EQ(st.s.destroyed, loads_of(&st.s));
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- CX-TH-06 -------------------------------------------------------------------------------------------------- */

struct forked {
	struct source s;
	hapax_table *table;
	int stop;
	struct gate gate;
};

static int fork_then(struct source *s, int load, void *object, const hapax_key *key)
{
	struct forked *f = s->arg;

	(void)load;
	(void)object;
	if (key->size == 4 && !memcmp(key->data, "hang", 4) && !test_event_is_set(&f->gate.entered)) {
		test_event_set(&f->gate.entered);
		test_event_wait(&f->gate.go);
	}
	return GO_ON;
}

static void *fork_load(void *arg)
{
	struct forked *f = arg;
	uint64_t r = test_stream((uint64_t)(uintptr_t)&r);
	void *out;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		uint32_t k = (uint32_t)test_below(&r, 8);

		CHECK_EQ(hapax_cache_get(f->s.cache, HAPAX_KEY_OF(k), &out), HAPAX_OK);
		table_put(f->table, HAPAX_KEY_OF(k), out);
		if (k == 3)
			hapax_cache_remove(f->s.cache, HAPAX_KEY_OF(k));
		hapax_release(out);
	}
	return NULL;
}

static void child_works(struct forked *f, struct item *held)
{
	void *out;

	alarm(30);
	CHECK_PTR(got(f->s.cache, "held"), held);
	hapax_release(held);
	for (uint32_t k = 0; k < 20; k++) {
		CHECK_EQ(hapax_cache_get(f->s.cache, HAPAX_KEY_OF(k), &out), HAPAX_OK);
		table_put(f->table, HAPAX_KEY_OF(k), out);
		hapax_release(out);
		hapax_cache_remove(f->s.cache, HAPAX_KEY_OF(k));
	}
	struct item *mine = item_new(f->s.env, 1);
	CHECK_EQ(hapax_cache_put(f->s.cache, HAPAX_STR("mine"), mine), HAPAX_OK);
	hapax_release(mine);
	/* the load whose thread is not here was abandoned */
	int rc = hapax_cache_get(f->s.cache, HAPAX_STR("hang"), &out);
	if (rc == HAPAX_EABANDONED)
		rc = hapax_cache_get(f->s.cache, HAPAX_STR("hang"), &out);
	CHECK_EQ(rc, HAPAX_OK);
	hapax_release(out);
	hapax_release(held);
	hapax_reclaim(f->s.env);
	hapax_cache_destroy(f->s.cache);
	hapax_table_destroy(f->table);
	_exit(0);
}

TEST(CX_TH_06_fork_of_a_busy_process)
{
#ifdef TEST_TSAN
	TEST_SKIP("ThreadSanitizer does not follow a multi-threaded fork");
#endif
	hapax_env *env = test_env();
	struct forked f = {.s = {.then = fork_then}, .gate = GATE_INIT};
	hapax_cache *cache = cache_with(env, &f.s, 0);
	struct item *held = got(cache, "held");
	struct asker hanging;
	pthread_t t[3];

	f.s.arg = &f;
	f.table = table_new(env);
	ask(&hanging, cache, "hang", NULL);
	test_event_wait(&f.gate.entered);
	for (int i = 0; i < 3; i++)
		t[i] = test_thread(fork_load, &f);
	for (uint64_t i = scaled(6); i > 0; i--) {
		int status;
		pid_t child;

		hapax_before_fork(HAPAX_FORK_URCU);
		child = fork();
		if (child == 0) {
			hapax_after_fork_child(HAPAX_FORK_URCU);
			child_works(&f, held);
		}
		hapax_after_fork_parent(HAPAX_FORK_URCU);
		CHECK(child > 0);
		CHECK_EQ(waitpid(child, &status, 0), child);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			TEST_FAIL("child ended with status %x", status);
	}
	__atomic_store_n(&f.stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		test_join(t[i]);
	test_event_set(&f.gate.go);
	CHECK_EQ(answer(&hanging), HAPAX_OK);
	asker_end(&hanging);
	hapax_release(held);
	stats_check(cache);
	cache_end(cache, 0);
	table_end(f.table, 0);
	test_env_end(env);
}

static int inherited;
static void count_inherited(const hapax_key *key, void *object, const char *type, uint64_t count, bool was, void *ctx)
{
	(void)key;
	(void)object;
	(void)type;
	(void)count;
	(void)ctx;
	inherited += was ? 1 : 100;
}

TEST(CX_TH_06_what_was_held_at_fork_is_inherited_not_leaked)
{
#ifdef TEST_TSAN
	TEST_SKIP("ThreadSanitizer does not follow a multi-threaded fork");
#endif
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s,
				 .leak = count_inherited};
	hapax_cache *cache;
	struct item *it;
	pid_t child;
	int status;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	it = got(cache, "k");
	hapax_before_fork(HAPAX_FORK_URCU);
	child = fork();
	if (child == 0) {
		hapax_after_fork_child(HAPAX_FORK_URCU);
		alarm(30);
		got(cache, "leaked here");
		hapax_cache_destroy(cache);
		_exit(inherited == 101 ? 0 : 1);
	}
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	hapax_release(it);
	cache_end(cache, 0);
	CHECK_EQ(inherited, 0);
	test_env_end(env);
}

/* ---- CX-TH-08 -------------------------------------------------------------------------------------------------- */

TEST(CX_TH_08_a_cancelled_waiter_leaves_cleanly)
{
	for (int fake = 0; fake < 2; fake++) {
		struct gate g = GATE_INIT;
		hapax_env *env = test_env_flags(0, fake);
		struct source s = {.then = first_stops, .arg = &g};
		hapax_cache *cache = cache_form(env, &s, fake);
		struct asker a, w[6];

		ask(&a, cache, "k", NULL);
		test_event_wait(&g.entered);
		for (int i = 0; i < 6; i++)
			ask(&w[i], cache, "k", NULL);
		if (fake)
			fake_clock_await_sleepers(6);
		else
			test_sleep_ms(10);
		for (int i = 0; i < 6; i += 2)
			pthread_cancel(w[i].thread);
		for (int i = 0; i < 6; i += 2)
			test_join(w[i].thread);
		CHECK_EQ(s.running, 1);
		test_event_set(&g.go);
		CHECK_EQ(answer(&a), HAPAX_OK);
		for (int i = 1; i < 6; i += 2) {
			CHECK_EQ(answer(&w[i]), HAPAX_OK);
			CHECK_PTR(w[i].out, a.out);
		}
		CHECK_EQ(hapax_count(a.out), 4); /* none for those who left */
		for (int i = 1; i < 6; i += 2)
			asker_end(&w[i]);
		asker_end(&a);
		CHECK_EQ(loads_of(&s), 1);
		CHECK_EQ(s.destroyed, 1);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* ---- CX-TH-09 -------------------------------------------------------------------------------------------------- */

static hapax_cache *exit_cache;
static void *exit_held;
static void at_exit(void)
{
	void *out;

	if (hapax_cache_get(exit_cache, HAPAX_STR("late"), &out) != HAPAX_OK)
		_exit(9);
	hapax_release(out);
	hapax_release(exit_held);
}

static void *hold_while_exiting(void *arg)
{
	for (;;)
		short_life(arg);
	return NULL;
}

TEST(CX_TH_09_exit_with_objects_and_threads_at_work)
{
	for (int variant = 0; variant < 3; variant++) {
		int status;
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			static struct source s;
			hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .type = &item_type, .load = source_load, .arg = &s};
			void *out;

			alarm(30);
			if (!freopen("/dev/null", "w", stderr))
				_exit(8);
			if (hapax_cache_create(&exit_cache, &o) != HAPAX_OK) /* in the default environment */
				_exit(7);
			s.cache = exit_cache;
			if (hapax_cache_get(exit_cache, HAPAX_STR("k"), &exit_held) ||
			    hapax_cache_get(exit_cache, HAPAX_STR("kept"), &out))
				_exit(6);
			if (variant > 0)
				atexit(at_exit);
			if (variant > 1)
				test_thread(hold_while_exiting, &s);
			exit(0);
		}
		CHECK_EQ(waitpid(child, &status, 0), child);
#if defined(TEST_ASAN) || defined(TEST_TSAN)
		CHECK(WIFEXITED(status)); /* LeakSanitizer may mind what is kept, ThreadSanitizer the thread */
#else
		CHECK_EQ(status, 0);
#endif
	}
}

TEST(CX_TH_09_dlclose_while_idle)
{
#ifndef HAPAX_SHARED_LIBRARY
	TEST_SKIP("no shared library was built");
#else
#if defined(TEST_ASAN) || defined(TEST_TSAN)
	TEST_SKIP("two copies of the library under a sanitizer");
#endif
	void *lib = dlopen(HAPAX_SHARED_LIBRARY, RTLD_NOW | RTLD_LOCAL);
	int (*create)(hapax_cache **, const hapax_cache_options *);
	int (*get)(hapax_cache *, hapax_key, void **);
	void (*release)(void *);
	void (*destroy)(hapax_cache *);
	struct source s = {0};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .type = &item_type, .load = source_load, .arg = &s};
	hapax_cache *cache;
	void *out;

	if (!lib)
		TEST_FAIL("%s", dlerror());
	create = (int (*)(hapax_cache **, const hapax_cache_options *))(intptr_t)dlsym(lib, "hapax_cache_create");
	get = (int (*)(hapax_cache *, hapax_key, void **))(intptr_t)dlsym(lib, "hapax_cache_get");
	release = (void (*)(void *))(intptr_t)dlsym(lib, "hapax_release");
	destroy = (void (*)(hapax_cache *))(intptr_t)dlsym(lib, "hapax_cache_destroy");
	CHECK(create && get && release && destroy);
	CHECK_EQ(create(&cache, &o), HAPAX_OK);
	CHECK_EQ(get(cache, HAPAX_STR("k"), &out), HAPAX_OK);
	release(out);
	destroy(cache);
	CHECK_EQ(dlclose(lib), 0);
	/* this thread, which has called it, ends after that; so does the process */
#endif
}

/* ---- CX-TH-10, CX-TH-12 ---------------------------------------------------------------------------------------- */

static struct stopped {
	const char *name;
	struct gate gate;
	hapax_cache *cache;
	hapax_table *table;
	hapax_env *env;
	int hits;
} stopped;
static __thread bool stops_here;

static void stop_hook(const char *name, void *ctx)
{
	struct stopped *st = ctx;

	if (!stops_here || strcmp(name, st->name))
		return;
	stops_here = false;
	st->hits++;
	test_event_set(&st->gate.entered);
	test_event_wait(&st->gate.go);
}

/* A bit of everything, so that each point is passed. */
static void *pass_points(void *arg)
{
	struct stopped *st = arg;
	void *out;

	stops_here = true;
	hapax_release(got(st->cache, "victim"));                               /* get.miss, load.*, death.dead */
	hapax_release(got(st->cache, "present"));                              /* get.found */
	CHECK_EQ(hapax_cache_get(st->cache, HAPAX_STR("removed"), &out), HAPAX_OK);
	CHECK_EQ(hapax_cache_remove(st->cache, HAPAX_STR("removed")), HAPAX_OK); /* remove.chosen */
	hapax_release(out);
	CHECK_EQ(hapax_table_get(st->table, HAPAX_STR("present"), &out), HAPAX_OK);
	CHECK_EQ(hapax_table_remove(st->table, HAPAX_STR("gone")), HAPAX_OK);
	hapax_release(out);
	struct item *it = item_new(st->env, 1);
	for (int i = 0; i < 300; i++) /* table.copy */
		table_put(st->table, HAPAX_KEY_OF(i), it);
	hapax_testing_table_resize(st->table, 1);
	hapax_release(it);
	return NULL;
}

TEST(CX_TH_10_SD_40_nobody_waits_for_a_stopped_thread)
{
	static const char *const points[] = {"death.dead", "get.found", "get.miss", "load.returned", "load.committed",
					     "remove.chosen", "table.copy"};

	for (size_t p = 0; p < sizeof(points) / sizeof(*points); p++) {
		struct source s = {0};
		struct item *present_item, *mine, *stored;
		hapax_weak *weak;
		pthread_t t;

		memset(&stopped, 0, sizeof(stopped));
		stopped.name = points[p];
		test_event_init(&stopped.gate.entered);
		test_event_init(&stopped.gate.go);
		stopped.env = test_env();
		stopped.cache = cache_with(stopped.env, &s, 0);
		stopped.table = table_new(stopped.env);
		present_item = got(stopped.cache, "present");
		stored = item_new(stopped.env, 7);
		weak = weak_of(present_item);
		table_put(stopped.table, HAPAX_STR("present"), present_item);
		table_put(stopped.table, HAPAX_STR("gone"), present_item);
		table_put(stopped.table, HAPAX_STR("stored"), stored);
		CHECK_EQ(hapax_cache_put(stopped.cache, HAPAX_STR("stored"), stored), HAPAX_OK);
		hapax_testing_set_stop(stop_hook, &stopped);
		t = test_thread(pass_points, &stopped);
		test_event_wait(&stopped.gate.entered);
		for (int i = 0; i < 200; i++) {
			char key[16];
			void *out;

			/* readers */
			CHECK_PTR(got(stopped.cache, "present"), present_item);
			hapax_release(present_item);
			CHECK_PTR(table_peek(stopped.table, HAPAX_STR("present")), present_item);
			out = hapax_weak_get(weak);
			CHECK_PTR(out, present_item);
			hapax_release(out);
			/* writers of other keys, deaths, growth */
			snprintf(key, sizeof(key), "other%d", i);
			hapax_release(got(stopped.cache, key));
			mine = item_new(stopped.env, i);
			table_put(stopped.table, HAPAX_STR(key), mine);
			CHECK_EQ(hapax_cache_put(stopped.cache, HAPAX_STR(key), mine), HAPAX_OK);
			if (i % 2)
				CHECK_EQ(hapax_cache_remove(stopped.cache, HAPAX_STR(key)), HAPAX_OK);
			hapax_release(mine);
			CHECK(!table_peek(stopped.table, HAPAX_STR(key)));
		}
		items_reset();
		hapax_release(stored); /* dies although somebody stands inside the table that holds it */
		CHECK_EQ(items_destroyed_now(), 1);
		CHECK(!table_peek(stopped.table, HAPAX_STR("stored")));
		CHECK(!present(stopped.cache, "stored"));
		test_event_set(&stopped.gate.go);
		test_join(t);
		CHECK_EQ(stopped.hits, 1);
		hapax_testing_set_stop(NULL, NULL);
		hapax_weak_drop(weak);
		hapax_release(present_item);
		stats_check(stopped.cache);
		cache_end(stopped.cache, 0);
		table_end(stopped.table, 0);
		test_env_end(stopped.env);
	}
}

static void stop_in_user_code(hapax_weak *weak, void *ctx)
{
	(void)weak;
	(void)ctx;
	test_event_set(&stopped.gate.entered);
	test_event_wait(&stopped.gate.go);
}

static void stop_in_destructor(struct item *item, void *arg)
{
	(void)item;
	stop_in_user_code(NULL, arg);
}

static void *release_it(void *object)
{
	hapax_release(object);
	return NULL;
}

TEST(CX_TH_10_a_destructor_or_callback_that_stands_still)
{
	for (int callback = 0; callback < 2; callback++) {
		hapax_env *env = test_env();
		struct source s = {0};
		hapax_cache *cache = cache_with(env, &s, 0);
		struct item *it = got(cache, "dying"), *other = got(cache, "present");
		hapax_callback cb = {stop_in_user_code, NULL, NULL};
		hapax_weak *weak;
		pthread_t t;

		memset(&stopped, 0, sizeof(stopped));
		test_event_init(&stopped.gate.entered);
		test_event_init(&stopped.gate.go);
		if (!callback)
			it->on_destroy = stop_in_destructor;
		CHECK_EQ(hapax_weak_new(it, callback ? &cb : NULL, &weak), HAPAX_OK);
		t = test_thread(release_it, it);
		test_event_wait(&stopped.gate.entered);
		CHECK(!present(cache, "dying"));
		for (int i = 0; i < 100; i++) {
			CHECK_PTR(got(cache, "present"), other);
			hapax_release(other);
			hapax_release(got(cache, "new"));
		}
		struct item *again = got(cache, "dying"); /* not exclusive: the successor need not wait */
		CHECK(again != it);
		test_event_set(&stopped.gate.go);
		test_join(t);
		CHECK_PTR(present(cache, "dying"), again);
		hapax_release(again);
		hapax_release(other);
		hapax_weak_drop(weak);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static char state_of(pid_t tid)
{
	char path[64], line[512], *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	p = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	return p ? p[2] : 0;
}

struct sleeper {
	hapax_cache *cache;
	pid_t tid;
};
static void *sleep_on_flight(void *arg)
{
	struct sleeper *s = arg;

	__atomic_store_n(&s->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	hapax_release(got(s->cache, "k"));
	return NULL;
}

TEST(CX_TH_12_waiters_sleep_and_do_not_spin)
{
	struct gate g = GATE_INIT;
	hapax_env *env = test_env();
	struct source s = {.then = first_stops, .arg = &g};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct sleeper sleeper = {.cache = cache};
	struct asker a;
	pthread_t t;
	int in_a_row = 0;

	ask(&a, cache, "k", NULL);
	test_event_wait(&g.entered);
	t = test_thread(sleep_on_flight, &sleeper);
	while (in_a_row < 20) { /* the watchdog ends this if it spins */
		pid_t tid = __atomic_load_n(&sleeper.tid, __ATOMIC_ACQUIRE);

		in_a_row = tid && state_of(tid) == 'S' ? in_a_row + 1 : 0;
		test_sleep_ms(1);
	}
	test_event_set(&g.go);
	test_join(t);
	CHECK_EQ(answer(&a), HAPAX_OK);
	asker_end(&a);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- CX-TH-13 -------------------------------------------------------------------------------------------------- */

#if defined(TEST_ASAN) || defined(TEST_TSAN)
enum { STACK = 512 << 10, USER = 64 << 10 };
#else
enum { STACK = 64 << 10, USER = 24 << 10 };
#endif

static void use_stack(struct item *item, void *arg)
{
	volatile char room[USER];

	(void)arg;
	for (size_t i = 0; i < sizeof(room); i += 256)
		room[i] = (char)item->id;
	CHECK_EQ(room[0], (char)item->id);
}

static void stack_callback(hapax_weak *weak, void *ctx)
{
	struct item fake = {.id = 3};

	(void)weak;
	use_stack(&fake, ctx);
}

static int stack_then(struct source *s, int load, void *object, const hapax_key *key)
{
	struct item fake = {.id = load};

	(void)object;
	(void)key;
	use_stack(&fake, s);
	return GO_ON;
}

static void *on_small_stack(void *arg)
{
	struct source *s = arg;
	hapax_callback cb = {stack_callback, NULL, NULL};
	hapax_weak *weak;
	struct item *it, *head = NULL;
	char *key = malloc(1 << 20);
	void *out;
	int n = (int)scaled(20000);

	CHECK(key);
	/* user code gets nearly all of it, however deep the cascade */
	it = got(s->cache, "k");
	CHECK_EQ(hapax_weak_new(it, &cb, &weak), HAPAX_OK);
	hapax_release(it);
	hapax_weak_drop(weak);
	for (int i = 0; i < n; i++) {
		it = item_new(s->env, i);
		it->child = head;
		if (i % 1000 == 0)
			it->on_destroy = use_stack;
		head = it;
	}
	hapax_release(head);
	/* key size does not matter to the stack */
	memset(key, 'k', 1 << 20);
	CHECK_EQ(hapax_cache_get(s->cache, HAPAX_BYTES(key, 1 << 20), &out), HAPAX_OK);
	hapax_iter *iter;
	hapax_key k;
	CHECK_EQ(hapax_cache_iterate(s->cache, &iter), HAPAX_OK);
	CHECK_EQ(hapax_iter_next(iter, &k, NULL), HAPAX_OK);
	CHECK_EQ(k.size, 1 << 20);
	hapax_iter_close(iter);
	hapax_release(out);
	free(key);
	return NULL;
}

TEST(CX_TH_13_user_code_has_the_stack_for_itself)
{
	hapax_env *env = test_env();
	struct source s = {.then = stack_then, .item_destroyed = use_stack};
	hapax_cache *cache = cache_with(env, &s, 0);
	size_t size = STACK < PTHREAD_STACK_MIN ? (size_t)PTHREAD_STACK_MIN : (size_t)STACK;
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	CHECK_EQ(pthread_attr_setstacksize(&attr, size), 0);
	CHECK_EQ(pthread_create(&t, &attr, on_small_stack, &s), 0);
	test_join(t);
	pthread_attr_destroy(&attr);
	CHECK_EQ(s.destroyed, 2);
	cache_end(cache, 0);
	test_env_end(env);
}
