/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finalizers and the end of the process, and hapax_finalize_all(). What a process does is seen from outside: a child writes
 * it into a pipe, and the test reads until the last writer has ended.
 */
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/cached.h"
#include "unit/finalizers.h"

static int tells = -1;
static char told[4096];

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
	char text[64];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	CHECK_EQ(write(tells, text, (size_t)n), n);
}

/* What `fn`, in a process of its own that ends by exit() when it returns, and its children have told. */
static const char *told_by(void (*fn)(void))
{
	size_t length = 0;
	int ends[2], status;
	ssize_t n;
	pid_t child;

	CHECK_EQ(pipe(ends), 0);
	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		test_watchdog(TEST_WATCHDOG_SECONDS);
		close(ends[0]);
		tells = ends[1];
		fn();
		exit(0);
	}
	close(ends[1]);
	while ((n = read(ends[0], told + length, sizeof(told) - 1 - length)) > 0)
		length += (size_t)n;
	told[length] = 0;
	close(ends[0]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	if (WEXITSTATUS(status))
		TEST_FAIL("the child ended with %d, having told %s", WEXITSTATUS(status), told);
	return told;
}

/* Nothing of hapax's own runs in these environments, so that their processes have one thread. */
static hapax_env *kept_env(void)
{
	static hapax_env *kept[8]; /* what is alive at exit is no leak */
	static int n;

	return kept[n++] = test_env_flags(HAPAX_ENV_NO_THREAD, false);
}

static void *kept[4096]; /* objects and handles */
static int kept_count;
static void *keep(void *what) { return kept[kept_count++] = what; }

struct teller {
	int id;
	void (*then)(void);
};
static int teller_run(void *ctx)
{
	struct teller *t = ctx;

	tell("%d ", t->id);
	if (t->then)
		t->then();
	return 0;
}
static void teller_free(void *ctx)
{
	tell("x ");
	free(ctx);
}

static hapax_finalizer *teller_then(void *object, int id, unsigned flags, void (*then)(void))
{
	struct teller *t = calloc(1, sizeof(*t));
	hapax_finalize what = {teller_run, t, teller_free};
	hapax_finalizer *f;

	CHECK(t);
	t->id = id;
	t->then = then;
	CHECK_EQ(hapax_finalizer_new(object, &what, flags, &f), HAPAX_OK);
	return keep(f);
}

static hapax_finalizer *teller(void *object, int id) { return teller_then(object, id, HAPAX_FINALIZE_AT_EXIT, NULL); }

/* ---- order -------------------------------------------------------------------------------------------------------- */

static const hapax_type *const types[] = {&item_type, &deferred_type};

static void several(void)
{
	hapax_env *env[2] = {kept_env(), kept_env()};
	struct item *x[4];
	hapax_finalizer *f;

	for (int i = 0; i < 4; i++)
		x[i] = keep(item_of(env[i / 2], types[i % 2], i));
	teller(x[0], 1);
	teller_then(x[1], 2, 0, NULL);
	teller(x[3], 3);
	f = teller(x[2], 4);
	CHECK_EQ(hapax_finalizer_run(f, NULL), HAPAX_OK);
	f = teller(x[1], 5);
	CHECK_EQ(hapax_finalizer_detach(f, NULL), HAPAX_OK);
	hapax_finalizer_drop(teller(x[0], 6));
	teller(x[2], 7);
	teller_then(x[3], 8, 0, NULL);
	hapax_release(x[2]);
	teller(x[3], 9);
	tell("| ");
}

TEST(PY_FIN_07_at_exit_in_reverse_order_of_creation)
{
	CHECK_STR(told_by(several), "4 x 7 x | 9 x 6 x 3 x 1 x ");
}

/* The same for any mixture, against the list that a plain program would keep: what is owed, a bar, what runs. */
static uint64_t mixture;

static void mix(void)
{
	enum { MANY = 60 };
	uint64_t r = mixture;
	hapax_env *env[2] = {kept_env(), kept_env()};
	struct item *x[5];
	hapax_finalizer *f[MANY];
	bool owed[MANY];
	int on[MANY], n = (int)test_below(&r, MANY + 1);

	for (int i = 0; i < 5; i++)
		x[i] = keep(item_of(env[i % 2], &item_type, i));
	for (int i = 0; i < n; i++) {
		uint64_t k = test_below(&r, (uint64_t)i + 1), what = test_below(&r, 4);

		on[i] = (int)test_below(&r, 5);
		owed[i] = test_below(&r, 3) != 0;
		f[i] = teller_then(x[on[i]], i, owed[i] ? HAPAX_FINALIZE_AT_EXIT : 0, NULL);
		if (what == 0)
			(void)hapax_finalizer_detach(f[k], NULL);
		else if (what == 1)
			(void)hapax_finalizer_run(f[k], NULL);
		owed[k] = owed[k] && what > 1;
	}
	if (test_below(&r, 2)) {
		int dies = (int)test_below(&r, 5);

		hapax_release(x[dies]);
		for (int i = 0; i < n; i++)
			owed[i] = owed[i] && on[i] != dies;
	}
	tell("|");
	for (int i = n; i-- > 0;)
		if (owed[i])
			tell("%d x ", i);
	tell("|");
}

TEST(PY_FIN_07_any_mixture_at_exit)
{
	uint64_t runs = 0;

	for (uint64_t round = 0; round < 25; round++) {
		char *owed, *ran;

		mixture = test_stream(1000 + round);
		told_by(mix);
		owed = strchr(told, '|');
		CHECK(owed);
		ran = strchr(++owed, '|');
		CHECK(ran);
		*ran++ = 0;
		CHECK_STR(ran, owed);
		runs += strlen(ran);
	}
	CHECK(runs > 100);
}

/* ---- created while it lasts ----------------------------------------------------------------------------------------- */

static void create_two(void)
{
	hapax_env *env = kept_env(); /* one that is made at exit, too */

	teller(kept[0], 20);
	teller(keep(item_new(env, 1)), 21);
}

static void creates_at_exit(void)
{
	struct item *x = keep(item_new(kept_env(), 1));

	teller(x, 1);
	teller_then(x, 2, HAPAX_FINALIZE_AT_EXIT, create_two);
	teller(x, 3);
}

TEST(PY_FIN_07_those_created_meanwhile_run_too_newest_first)
{
	CHECK_STR(told_by(creates_at_exit), "3 x 2 x 21 x 20 x 1 x ");
}

static void early_handler(void)
{
	tell("early ");
	teller(kept[0], 30); /* the run at exit is over by now */
}
static void late_handler(void) { tell("late "); }

static void among_handlers(void)
{
	struct item *x = keep(item_new(kept_env(), 1));

	atexit(early_handler);
	teller(x, 1);
	atexit(late_handler);
	teller(x, 2);
}

TEST(PY_FIN_07_CX_TH_09_among_the_handlers_of_atexit)
{
	CHECK_STR(told_by(among_handlers), "late 2 x 1 x early 30 x ");
}

static void exit_inside(void) { exit(0); }

static void exits_inside_at_exit(void)
{
	struct item *x = keep(item_new(kept_env(), 1));

	for (int i = 0; i < 4; i++)
		teller_then(x, i, HAPAX_FINALIZE_AT_EXIT, i % 2 ? exit_inside : NULL);
}

static void exits_inside_a_death(void)
{
	struct item *x = item_new(kept_env(), 1), *y = keep(item_new(kept_env(), 1));

	teller(y, 1);
	teller_then(keep(x), 2, HAPAX_FINALIZE_AT_EXIT, exit_inside);
	hapax_release(x);
	tell("not reached");
}

static void exits_inside_a_run(void)
{
	exits_inside_at_exit();
	hapax_finalize_all(NULL);
	tell("not reached");
}

/* exit() inside a finalizer does not return, and so leaves its ctx_free out; the others run. */
TEST(PY_FIN_07_exit_inside_a_finalizer)
{
	CHECK_STR(told_by(exits_inside_a_death), "2 1 x ");
	CHECK_STR(told_by(exits_inside_a_run), "3 2 x 1 0 x ");
	CHECK_STR(told_by(exits_inside_at_exit), "3 2 x 1 0 x ");
}

static void ends_abruptly(void)
{
	teller(keep(item_new(kept_env(), 1)), 1);
	tell("end");
	_exit(0);
}

TEST(PY_FIN_07_not_when_the_process_ends_otherwise)
{
	CHECK_STR(told_by(ends_abruptly), "end");
}

/* Objects stay as they are: alive, and to be used by finalizers of others. */
static hapax_weak *seen;
static void uses_object(void)
{
	void *object = hapax_weak_get(seen);

	CHECK(object);
	CHECK(item_is_alive(object));
	tell("alive ");
	hapax_release(object);
}

static void objects_at_exit(void)
{
	struct item *x = keep(item_new(kept_env(), 1));

	seen = weak_of(x);
	teller(x, 1);
	teller_then(x, 2, HAPAX_FINALIZE_AT_EXIT, uses_object);
}

TEST(PY_FIN_07_objects_stay_as_they_are)
{
	CHECK_STR(told_by(objects_at_exit), "2 alive x 1 x ");
}

/* A deferred death that nobody ran: its finalizers are owed, and this is the last occasion. */
static void deferred_and_dead(void)
{
	struct item *x = item_of(kept_env(), &deferred_type, 1);

	keep(x);
	teller(x, 1);
	teller_then(x, 2, 0, NULL);
	hapax_release(x);
	tell("dead ");
}

TEST(PY_FIN_07_of_a_death_that_was_not_run_yet)
{
	CHECK_STR(told_by(deferred_and_dead), "dead 1 x ");
}

/* The environment has been given up, its objects have not. */
static void environment_gone(void)
{
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);

	teller(keep(item_new(env, 1)), 1);
	hapax_env_destroy(env);
	env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	struct item *x = item_new(env, 1);
	teller(x, 2);
	teller_then(x, 3, 0, NULL);
	hapax_finalizer_drop(kept[--kept_count]);
	hapax_finalizer_drop(kept[--kept_count]);
	hapax_release(x);
	test_env_end(env);
	tell("gone ");
}

TEST(PY_FIN_07_L12_environments_come_and_go)
{
	CHECK_STR(told_by(environment_gone), "3 x 2 x gone 1 x ");
}

/* ---- threads that go on meanwhile ---------------------------------------------------------------------------------- */

static uint64_t made_by_others, run_of_others;
static int count_run(void *ctx)
{
	(void)ctx;
	__atomic_fetch_add(&run_of_others, 1, __ATOMIC_RELAXED);
	return 0;
}
static void *go_on(void *arg)
{
	hapax_finalize what = {count_run, NULL, NULL};

	for (;;) {
		struct item *x = item_new(arg, 1);
		int status = hapax_finalizer_new(x, &what, HAPAX_FINALIZE_AT_EXIT, NULL);

		if (status != HAPAX_OK) /* the last handler has run */
			CHECK_EQ(status, HAPAX_ENOMEM);
		__atomic_fetch_add(&made_by_others, 1, __ATOMIC_RELAXED);
		hapax_release(x);
	}
	return NULL;
}

static void threads_at_work(void)
{
	hapax_env *env = test_env();
	struct item *x = keep(item_new(kept_env(), 1));

	keep(env);
	for (int i = 0; i < 50; i++)
		teller(x, i);
	for (int i = 0; i < 3; i++)
		test_thread(go_on, env);
	while (__atomic_load_n(&made_by_others, __ATOMIC_RELAXED) < 1000)
		sched_yield();
}

TEST(PY_FIN_07_CX_TH_09_while_other_threads_go_on)
{
#if defined(TEST_ASAN) || defined(TEST_TSAN)
	TEST_SKIP("a sanitizer minds the threads that are left");
#endif
	char wanted[1024] = "", *at = wanted;

	for (int i = 50; i-- > 0;)
		at += sprintf(at, "%d x ", i);
	for (int i = 0; i < 5; i++)
		CHECK_STR(told_by(threads_at_work), wanted);
}

/* ---- fork --------------------------------------------------------------------------------------------------------- */

static bool hooks; /* whether hapax is told of forks */

static pid_t forks(void)
{
	pid_t child;

	if (hooks)
		hapax_before_fork(HAPAX_FORK_URCU);
	child = fork();
	CHECK(child >= 0);
	if (hooks && child)
		hapax_after_fork_parent(HAPAX_FORK_URCU);
	else if (hooks)
		hapax_after_fork_child(HAPAX_FORK_URCU);
	return child;
}

static void joins(pid_t child)
{
	int status;

	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}

static void child_exits(void)
{
	struct item *x = keep(item_new(kept_env(), 1));
	pid_t child;

	teller(x, 1);
	teller(x, 2);
	child = forks();
	if (child == 0) {
		CHECK_EQ(hapax_finalize_all(NULL), 0);
		tell("child ");
		exit(0);
	}
	joins(child);
	tell("parent ");
}

static void child_has_its_own(void)
{
	hapax_env *env = kept_env();
	struct item *x = keep(item_new(env, 1)), *y = keep(item_new(env, 2));
	pid_t child;

	teller(x, 1);
	teller(y, 2);
	child = forks();
	if (child == 0) {
		teller(x, 3);
		hapax_release(y); /* dies here: its finalizer runs */
		teller(x, 4);
		child = forks(); /* and a grandchild has none */
		if (child == 0) {
			tell("grandchild ");
			exit(0);
		}
		joins(child);
		tell("child ");
		exit(0);
	}
	joins(child);
	tell("parent ");
}

TEST(PY_FIN_07_CX_TH_06_not_in_a_child_that_did_not_create_it)
{
	for (int i = 0; i < 2; i++) {
		hooks = i;
		CHECK_STR(told_by(child_exits), "child parent 2 x 1 x ");
		CHECK_STR(told_by(child_has_its_own), "2 x grandchild child 4 x 3 x parent 2 x 1 x ");
	}
}

/* The parent's threads are in the middle of anything, the lists' lock too. */
static void *create_and_run(void *arg)
{
	hapax_finalize what = {count_run, NULL, NULL};
	struct item *x = item_new(arg, 1);

	while (!__atomic_load_n(&made_by_others, __ATOMIC_RELAXED)) {
		CHECK_EQ(hapax_finalizer_new(x, &what, HAPAX_FINALIZE_AT_EXIT, NULL), HAPAX_OK);
		hapax_finalize_all(arg);
	}
	hapax_release(x);
	return NULL;
}

TEST(PY_FIN_07_CX_TH_06_fork_of_a_busy_process)
{
#if defined(TEST_ASAN) || defined(TEST_TSAN)
	TEST_SKIP("the sanitizers' allocators do not survive a multi-threaded fork");
#endif
	hapax_env *env = test_env();
	pthread_t thread[2];

	hooks = true;
	for (int i = 0; i < 2; i++)
		thread[i] = test_thread(create_and_run, env);
	for (uint64_t i = scaled(100); i > 0; i--) {
		pid_t child = forks();

		if (child == 0) {
			hapax_finalize what = {count_run, NULL, NULL};
			struct item *x = item_new(env, 1);

			alarm(30);
			run_of_others = 0;
			CHECK_EQ(hapax_finalizer_new(x, &what, HAPAX_FINALIZE_AT_EXIT, NULL), HAPAX_OK);
			CHECK_EQ(hapax_finalize_all(env), 1);
			CHECK_EQ(hapax_finalizer_new(x, &what, HAPAX_FINALIZE_AT_EXIT, NULL), HAPAX_OK);
			hapax_release(x);
			CHECK_EQ(run_of_others, 2);
			_exit(0);
		}
		joins(child);
	}
	__atomic_store_n(&made_by_others, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		test_join(thread[i]);
	hapax_finalize_all(NULL);
	test_env_end(env);
}

/* A child that was not told of the fork, and ends by exit(): it does not even look at the lists. */
TEST(PY_FIN_07_CX_TH_06_a_child_that_only_exits_touches_nothing)
{
#if defined(TEST_ASAN) || defined(TEST_TSAN)
	TEST_SKIP("the sanitizers' allocators do not survive a multi-threaded fork");
#endif
	hapax_env *env = test_env();
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		thread[i] = test_thread(create_and_run, env);
	while (!__atomic_load_n(&run_of_others, __ATOMIC_RELAXED))
		sched_yield();
	fflush(NULL);
	for (uint64_t i = scaled(100); i > 0; i--) {
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			alarm(30);
			exit(0);
		}
		joins(child);
	}
	__atomic_store_n(&made_by_others, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 4; i++)
		test_join(thread[i]);
	hapax_finalize_all(NULL);
	test_env_end(env);
}

/* ---- hapax_finalize_all() ------------------------------------------------------------------------------------------- */

TEST(PY_FIN_07_all_of_one_environment_or_of_all)
{
	hapax_env *env[3] = {test_env(), test_env(), test_env()};
	struct item *x[3];
	struct fin fins[12] = {0};

	for (int e = 0; e < 3; e++)
		x[e] = item_traced(env[e], 90 + e);
	trace_reset();
	for (int i = 0; i < 12; i++)
		fin_on(&fins[i], i, x[i % 3], i < 9 ? HAPAX_FINALIZE_AT_EXIT : 0);
	CHECK_EQ(hapax_finalize_all(env[1]), 3);
	CHECK_STR(trace_text, "r7 x7 r4 x4 r1 x1 ");
	CHECK_EQ(hapax_finalize_all(env[1]), 0);
	trace_reset();
	CHECK_EQ(hapax_finalize_all(NULL), 6);
	CHECK_STR(trace_text, "r8 x8 r6 x6 r5 x5 r3 x3 r2 x2 r0 x0 ");
	CHECK_EQ(hapax_finalize_all(NULL), 0);
	for (int i = 0; i < 12; i++) {
		if (i < 9)
			fin_is_dead(&fins[i]);
		else
			fin_is_alive(&fins[i], x[i % 3]);
	}
	trace_reset();
	for (int e = 0; e < 3; e++) {
		CHECK_EQ(hapax_count(x[e]), 1);
		hapax_release(x[e]);
	}
	CHECK_STR(trace_text, "r9 x9 d90 r10 x10 d91 r11 x11 d92 ");
	for (int i = 0; i < 12; i++)
		fin_drop(&fins[i]);
	for (int e = 0; e < 3; e++)
		test_env_end(env[e]);
}

static void run_the_rest(struct fin *fin)
{
	CHECK_EQ(hapax_finalize_all(fin->arg), 2);
	CHECK_EQ(hapax_finalize_all(fin->arg), 0);
}

TEST(PY_FIN_07_all_from_inside_one_of_them)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct fin fins[4] = {[2] = {.then = run_the_rest, .arg = env}};

	trace_reset();
	for (int i = 0; i < 4; i++)
		fin_on(&fins[i], i, x, HAPAX_FINALIZE_AT_EXIT);
	CHECK_EQ(hapax_finalize_all(env), 2); /* this call's; the others were the inner one's */
	CHECK_STR(trace_text, "r3 x3 r2 r1 x1 r0 x0 x2 ");
	for (int i = 0; i < 4; i++)
		fin_drop(&fins[i]);
	hapax_release(x);
	test_env_end(env);
}

/* Many, run or gone, cost a run of all nothing more than a step each: with none reclaimed in between it still ends. */
TEST(PY_FIN_07_L15_many_at_exit)
{
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false), *other = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	struct item *x = item_new(env, 1), *y = item_new(other, 2);
	uint64_t n = scaled(200000), all = 0;
	hapax_finalize what = {count_run, NULL, NULL};
	hapax_finalizer *f;

	for (uint64_t i = 0; i < n; i++) {
		CHECK_EQ(hapax_finalizer_new(i % 2 ? x : y, &what, HAPAX_FINALIZE_AT_EXIT, &f), HAPAX_OK);
		if (i % 3 == 0)
			CHECK_EQ(hapax_finalizer_detach(f, NULL), HAPAX_OK);
		hapax_finalizer_drop(f);
		all += i % 3 != 0;
	}
	CHECK_EQ(hapax_finalize_all(env) + hapax_finalize_all(other), all);
	CHECK_EQ(run_of_others, all);
	hapax_release(x);
	hapax_release(y);
	CHECK_EQ(run_of_others, all);
	test_env_end(env);
	test_env_end(other);
}
