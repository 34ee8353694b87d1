/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One-shot finalizers: run, detach, peek, death, threads. What the end of the process does is in py_fin_exit.c. */
#include <errno.h>
#include <sched.h>

#include "unit/finalizers.h"

TEST(PY_FIN_01_run_executes_once_and_gives_the_result)
{
	static const int results[] = {0, 1, -1, HAPAX_DEAD, HAPAX_ENOMEM, INT32_MAX, INT32_MIN};
	hapax_env *env = test_env();

	for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++) {
		struct item *x = item_traced(env, 9);
		struct fin fin = {.result = results[i]};
		int result = 4711;

		trace_reset();
		fin_on(&fin, 1, x, i % 2 ? HAPAX_FINALIZE_AT_EXIT : 0);
		fin_is_alive(&fin, x);
		errno = 17;
		CHECK_EQ(hapax_finalizer_run(fin.handle, &result), HAPAX_OK);
		CHECK_EQ(errno, 17);
		CHECK_EQ(result, results[i]);
		CHECK_STR(trace_text, "r1 x1 ");
		fin_is_dead(&fin);
		CHECK_EQ(hapax_count(x), 1);
		hapax_release(x);
		CHECK_STR(trace_text, "r1 x1 d9 ");
		fin_is_dead(&fin);
		fin_drop(&fin);
	}
	test_env_end(env);
}

static void all_dead(struct fin *fin)
{
	fin_is_dead(fin);
	CHECK_EQ(fin->frees, 0);
}

TEST(PY_FIN_01_inside_itself_it_is_dead)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *y = item_new(env, 2);
	struct fin by_hand = {.then = all_dead, .on_free = fin_is_dead}, by_death = by_hand;

	fin_on(&by_hand, 1, x, 0);
	fin_on(&by_death, 2, y, 0);
	CHECK_EQ(hapax_finalizer_run(by_hand.handle, NULL), HAPAX_OK);
	hapax_release(y);
	CHECK_EQ(by_hand.frees + by_death.frees, 2);
	fin_drop(&by_hand);
	fin_drop(&by_death);
	hapax_release(x);
	test_env_end(env);
}

static int untouched_fn(void *ctx)
{
	CHECK(!ctx);
	trace("r");
	return 3;
}

TEST(PY_FIN_01_nothing_but_a_function_is_needed)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_finalize what = {untouched_fn, NULL, NULL};
	hapax_finalizer *f;
	int result;

	trace_reset();
	CHECK_EQ(hapax_finalizer_new(x, &what, 0, &f), HAPAX_OK);
	CHECK_EQ(hapax_finalizer_new(x, &what, 0, NULL), HAPAX_OK);
	CHECK_EQ(hapax_finalizer_run(f, &result), HAPAX_OK);
	CHECK_EQ(result, 3);
	hapax_release(x);
	CHECK_STR(trace_text, "r r ");
	hapax_finalizer_drop(f);
	test_env_end(env);
}

struct refused {
	hapax_finalize what;
	int status;
};
static void register_dying(struct item *item, void *arg)
{
	struct refused *r = arg;
	hapax_finalizer *f = (void *)1;

	r->status = hapax_finalizer_new(item, &r->what, HAPAX_FINALIZE_AT_EXIT, &f);
	CHECK(!f);
	CHECK_EQ(hapax_finalizer_new(item, &r->what, 0, NULL), HAPAX_EDEAD);
}

TEST(PY_FIN_01_arguments_that_are_refused)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *strong = item_of(env, &strong_type, 2);
	struct fin fin = {.id = 1};
	hapax_finalize what = {fin_run, &fin, fin_free}, none = {NULL, &fin, fin_free};
	struct refused refused = {what, 0};
	hapax_finalizer *f;
	uint64_t bytes;
	void *object;

#define REFUSED(status, ...) (f = (void *)1, CHECK_EQ(hapax_finalizer_new(__VA_ARGS__, &f), status), CHECK(!f))
	REFUSED(HAPAX_ENULL, NULL, &what, 0);
	REFUSED(HAPAX_ENULL, x, NULL, 0);
	REFUSED(HAPAX_ENULL, x, &none, 0);
	REFUSED(HAPAX_EFLAGS, x, &what, 2);
	REFUSED(HAPAX_EFLAGS, x, &what, 1u << 31 | HAPAX_FINALIZE_AT_EXIT);
	bytes = hapax_testing_bytes(env);
	REFUSED(HAPAX_ENOTWEAK, strong, &what, 0);
	CHECK_EQ(hapax_testing_bytes(env), bytes);
	CHECK_EQ(hapax_finalizer_new(NULL, &what, 0, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_finalizer_run(NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_finalizer_detach(NULL, &what), HAPAX_ENULL);
	CHECK(!what.fn);
	CHECK_EQ(hapax_finalizer_peek(NULL, NULL, &object), HAPAX_ENULL);
	CHECK(!object);
	CHECK(!hapax_finalizer_alive(NULL));
	hapax_finalizer_drop(NULL);
	x->on_destroy = register_dying;
	x->arg = &refused;
	hapax_release(x);
	CHECK_EQ(refused.status, HAPAX_EDEAD);
	hapax_release(strong);
	CHECK_EQ(fin.runs + fin.frees, 0);
	CHECK_EQ(hapax_finalize_all(env), 0);
	test_env_end(env);
}

TEST(PY_FIN_02_detach_gives_it_back_and_nothing_runs)
{
	hapax_env *env = test_env();

	for (int flags = 0; flags < 2; flags++) {
		struct item *x = item_new(env, 9);
		struct fin fin = {0}, silent = {0};
		hapax_finalize what = {0};

		trace_reset();
		fin_on(&fin, 1, x, (unsigned)flags);
		fin_on(&silent, 2, x, (unsigned)flags);
		CHECK_EQ(hapax_finalizer_detach(fin.handle, &what), HAPAX_OK);
		CHECK(what.fn == fin_run && what.ctx == &fin && what.ctx_free == fin_free);
		fin_is_dead(&fin);
		fin_is_alive(&silent, x);
		CHECK_EQ(hapax_finalizer_detach(silent.handle, NULL), HAPAX_OK);
		fin_is_dead(&silent);
		CHECK_EQ(hapax_finalize_all(NULL), 0);
		/* what it gave back can be registered again */
		CHECK_EQ(hapax_finalizer_new(x, &what, 0, NULL), HAPAX_OK);
		CHECK_STR(trace_text, "");
		fin_drop(&silent);
		hapax_release(x);
		CHECK_STR(trace_text, "r1 x1 ");
		CHECK_EQ(silent.runs + silent.frees, 0);
		fin_is_dead(&fin);
		fin_drop(&fin);
	}
	test_env_end(env);
}

struct watcher {
	struct fin *fins;
	int n;
	hapax_weak *weak;
};
static void see_dead(struct fin *fin)
{
	struct watcher *w = fin->arg;

	for (int i = 0; i < w->n; i++) {
		CHECK(!hapax_finalizer_alive(w->fins[i].handle));
		CHECK_EQ(hapax_finalizer_peek(w->fins[i].handle, NULL, NULL), HAPAX_DEAD);
	}
	CHECK(!hapax_weak_get(w->weak));
}
static void see_dead_in_callback(struct probe *p)
{
	see_dead(&(struct fin){.arg = p->arg});
}
static void see_dead_in_destructor(struct item *item, void *arg)
{
	trace_destroy(item, arg);
	see_dead(&(struct fin){.arg = arg});
}

TEST(PY_FIN_03_death_runs_it_once_and_it_reads_dead_from_then_on)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 9);
	struct fin fins[3] = {0};
	struct watcher w = {fins, 3, weak_of(x)};
	struct probe p[2];

	trace_reset();
	fin_on(&fins[0], 1, x, 0);
	probe_on(&p[0], 2, x, false);
	fin_on(&fins[1], 3, x, HAPAX_FINALIZE_AT_EXIT);
	probe_on(&p[1], 4, x, false);
	fin_on(&fins[2], 5, x, 0);
	for (int i = 0; i < 3; i++) {
		fins[i].then = see_dead;
		fins[i].arg = &w;
	}
	for (int i = 0; i < 2; i++) {
		p[i].then = see_dead_in_callback;
		p[i].arg = &w;
	}
	x->on_destroy = see_dead_in_destructor;
	x->arg = &w;
	CHECK_EQ(hapax_retain(x), HAPAX_OK);
	hapax_release(x);
	for (int i = 0; i < 3; i++)
		fin_is_alive(&fins[i], x);
	hapax_release(x);
	CHECK_STR(trace_text, "r5 x5 c4 r3 x3 c2 r1 x1 d9 ");
	hapax_testing_drain(env);
	for (int i = 0; i < 3; i++) {
		fin_is_dead(&fins[i]);
		fin_drop(&fins[i]);
	}
	for (int i = 0; i < 2; i++)
		probe_drop(&p[i]);
	hapax_weak_drop(w.weak);
	test_env_end(env);
}

/* Between a death and its run the object is gone and the finalizer still owed: it can be run or detached by hand. */
TEST(PY_FIN_03_a_deferred_death_runs_what_was_not_run_before)
{
	hapax_env *env = test_env();
	struct item *x = item_of(env, &deferred_type, 9);
	struct fin fins[5] = {0};
	void *object;

	trace_reset();
	for (int i = 0; i < 5; i++)
		fin_on(&fins[i], i, x, i == 3 ? HAPAX_FINALIZE_AT_EXIT : 0);
	hapax_release(x);
	for (int i = 0; i < 5; i++) {
		CHECK(!hapax_finalizer_alive(fins[i].handle));
		CHECK_EQ(hapax_finalizer_peek(fins[i].handle, NULL, &object), HAPAX_DEAD);
		CHECK(!object);
	}
	CHECK_STR(trace_text, "");
	CHECK_EQ(hapax_finalizer_run(fins[1].handle, NULL), HAPAX_OK);
	CHECK_EQ(hapax_finalizer_detach(fins[2].handle, NULL), HAPAX_OK);
	CHECK_EQ(hapax_finalize_all(env), 1);
	CHECK_STR(trace_text, "r1 x1 r3 x3 ");
	CHECK_EQ(hapax_run_deferred(env), 1);
	CHECK_STR(trace_text, "r1 x1 r3 x3 r4 x4 r0 x0 ");
	for (int i = 0; i < 5; i++) {
		fin_is_dead(&fins[i]);
		fin_drop(&fins[i]);
	}
	test_env_end(env);
}

TEST(PY_FIN_04_it_stays_without_its_handle_and_retains_nothing)
{
	hapax_env *env = test_env();

	for (int how = 0; how < 3; how++) {
		struct item *x = item_traced(env, 9);
		struct fin fin = {0};
		hapax_finalize what = {fin_run, &fin, fin_free};
		hapax_weak *weak = weak_of(x);

		trace_reset();
		if (how == 0) {
			fin.id = 1;
			CHECK_EQ(hapax_finalizer_new(x, &what, 0, NULL), HAPAX_OK);
		} else {
			fin_on(&fin, 1, x, how == 2 ? HAPAX_FINALIZE_AT_EXIT : 0);
			CHECK_EQ(hapax_count(x), 1);
			fin_drop(&fin);
		}
		CHECK_EQ(hapax_count(x), 1);
		hapax_testing_drain(env);
		CHECK_STR(trace_text, "");
		hapax_release(x);
		CHECK_STR(trace_text, "r1 x1 d9 ");
		CHECK(!hapax_weak_alive(weak));
		hapax_weak_drop(weak);
		hapax_testing_drain(env);
		CHECK_EQ(hapax_testing_live_objects(env), 0);
	}
	test_env_end(env);
}

TEST(PY_FIN_04_a_handle_may_outlive_the_object)
{
	hapax_env *env = test_env();
	struct fin fins[100] = {0};

	trace_reset();
	for (int i = 0; i < 100; i++) {
		struct item *x = item_new(env, i);

		fin_on(&fins[i], i, x, i % 2);
		if (i % 3 == 0)
			CHECK_EQ(hapax_finalizer_run(fins[i].handle, NULL), HAPAX_OK);
		hapax_release(x);
	}
	hapax_testing_drain(env);
	for (int i = 0; i < 100; i++) {
		fin_is_dead(&fins[i]);
		fin_drop(&fins[i]);
		CHECK_EQ(fins[i].frees, 1);
	}
	test_env_end(env);
}

TEST(PY_FIN_04_peek_gives_a_reference_of_its_own)
{
	hapax_env *env = test_env();
	struct item *x = item_traced(env, 9);
	struct fin fin = {0};
	void *object;

	trace_reset();
	fin_on(&fin, 1, x, 0);
	CHECK_EQ(hapax_finalizer_peek(fin.handle, NULL, &object), HAPAX_OK);
	hapax_release(x);
	CHECK_STR(trace_text, "");
	fin_is_alive(&fin, object);
	hapax_release(object);
	CHECK_STR(trace_text, "r1 x1 d9 ");
	fin_drop(&fin);
	test_env_end(env);
}

/* f1..f5, detach f5, run f3, die: f4, f2, f1; and so for any number, any choice, and callbacks in between. */
TEST(PY_FIN_05_the_rest_runs_newest_first)
{
	hapax_env *env = test_env();
	uint64_t r = test_stream(5);

	for (int round = 0; round < 200; round++) {
		enum { MOST = 12 };
		struct item *x = item_traced(env, 99);
		struct fin fins[MOST] = {0};
		struct probe probes[MOST];
		bool callback[MOST];
		char wanted[512] = "", *at = wanted;
		int n = round ? (int)test_below(&r, MOST + 1) : 5;

		/* some nodes are used again, so that their place in the list does not say when they were registered */
		for (uint64_t i = test_below(&r, 4); i > 0; i--) {
			struct fin before[3] = {0};

			for (int k = 0; k < 3; k++)
				fin_on(&before[k], k, x, 0);
			for (int k = 0; k < 3; k++) {
				CHECK_EQ(hapax_finalizer_detach(before[k].handle, NULL), HAPAX_OK);
				fin_drop(&before[k]);
			}
		}
		for (int i = 0; i < n; i++) {
			callback[i] = round && test_below(&r, 3) == 0;
			if (callback[i])
				probe_on(&probes[i], i, x, true);
			else
				fin_on(&fins[i], i, x, (unsigned)test_below(&r, 2));
		}
		for (int i = 0; i < n; i++) {
			uint64_t what = round ? test_below(&r, 4) : i == 4 ? 0 : i == 2 ? 1 : 3;

			if (what == 0 && callback[i])
				CHECK_EQ(probe_drop(&probes[i]), 0);
			else if (what == 0)
				CHECK_EQ(hapax_finalizer_detach(fins[i].handle, NULL), HAPAX_OK);
			else if (what == 1 && !callback[i])
				CHECK_EQ(hapax_finalizer_run(fins[i].handle, NULL), HAPAX_OK);
			if (what == 2 && !callback[i])
				fin_drop(&fins[i]);
			if (what >= 2 || (what == 1 && callback[i])) {
				char one[32];

				snprintf(one, sizeof(one), callback[i] ? "c%d f%d " : "r%d x%d ", i, i);
				memmove(wanted + strlen(one), wanted, strlen(wanted) + 1);
				memcpy(wanted, one, strlen(one));
			}
		}
		at += strlen(wanted);
		strcpy(at, "d99 ");
		trace_reset();
		hapax_release(x);
		CHECK_STR(trace_text, wanted);
		if (!round)
			CHECK_STR(trace_text, "r3 x3 r1 x1 r0 x0 d99 ");
		for (int i = 0; i < n; i++) {
			if (!callback[i])
				fin_drop(&fins[i]);
			else if (probes[i].weak)
				probe_drop(&probes[i]);
		}
	}
	test_env_end(env);
}

/* ---- user code inside --------------------------------------------------------------------------------------------- */

struct insider {
	hapax_env *env;
	struct item *dying, *other;
	struct fin *siblings; /* [0]: run, [1]: detached, [2]: dropped by the first that fires */
	struct fin own;
};
static void meddle(struct fin *fin)
{
	struct insider *in = fin->arg;
	hapax_finalize what = {fin_run, fin, NULL};
	hapax_weak *weak;

	CHECK_EQ(hapax_finalizer_new(in->dying, &what, 0, NULL), HAPAX_EDEAD);
	CHECK_EQ(hapax_finalizer_run(in->siblings[0].handle, NULL), HAPAX_OK);
	CHECK_EQ(hapax_finalizer_detach(in->siblings[1].handle, NULL), HAPAX_OK);
	fin_drop(&in->siblings[2]);
	fin_drop(fin); /* its own */
	fin_on(&in->own, 8, in->other, HAPAX_FINALIZE_AT_EXIT);
	CHECK_EQ(hapax_weak_new(in->other, NULL, &weak), HAPAX_OK);
	hapax_release(in->other); /* queued: it runs when this death is over */
	CHECK(!hapax_weak_get(weak));
	hapax_weak_drop(weak);
	hapax_release(item_new(in->env, 77));
}

TEST(PY_FIN_03_PY_CB_09_a_finalizer_may_call_anything)
{
	hapax_env *env = test_env();
	struct item *x = item_traced(env, 9);
	struct fin siblings[3] = {0}, first = {.then = meddle};
	struct insider in = {env, x, item_traced(env, 10), siblings, {0}};

	trace_reset();
	for (int i = 0; i < 3; i++)
		fin_on(&siblings[i], i, x, 0);
	first.arg = &in;
	fin_on(&first, 7, x, 0);
	hapax_release(x);
	CHECK_STR(trace_text, "r7 r0 x0 x7 r2 x2 d9 r8 x8 d10 ");
	fin_is_dead(&in.own);
	fin_drop(&in.own);
	fin_drop(&siblings[0]);
	fin_drop(&siblings[1]);
	CHECK_EQ(siblings[1].runs + siblings[1].frees, 0);
	test_env_end(env);
}

static void release_owner(struct fin *fin) { hapax_release(fin->arg); }

/* Run by hand, it releases the last reference of its own object: the death does not run it again. */
TEST(PY_FIN_01_it_may_kill_its_own_object)
{
	hapax_env *env = test_env();
	struct item *x = item_traced(env, 9);
	struct fin fin = {.then = release_owner, .arg = x}, other = {0};

	trace_reset();
	fin_on(&other, 2, x, 0);
	fin_on(&fin, 1, x, HAPAX_FINALIZE_AT_EXIT);
	CHECK_EQ(hapax_finalizer_run(fin.handle, NULL), HAPAX_OK);
	CHECK_STR(trace_text, "r1 r2 x2 d9 x1 ");
	fin_drop(&fin);
	fin_drop(&other);
	test_env_end(env);
}

static void spoil_errno(struct fin *fin)
{
	(void)fin;
	errno = 4711;
}

TEST(CX_WT_07_errno_is_the_callers)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 9);
	struct fin fins[3] = {{.then = spoil_errno, .on_free = spoil_errno}, {.then = spoil_errno}, {.then = spoil_errno}};

	errno = 12;
	for (int i = 0; i < 3; i++)
		fin_on(&fins[i], i, x, HAPAX_FINALIZE_AT_EXIT);
	CHECK_EQ(hapax_finalizer_run(fins[0].handle, NULL), HAPAX_OK);
	CHECK_EQ(hapax_finalizer_detach(fins[1].handle, NULL), HAPAX_OK);
	CHECK_EQ(hapax_finalize_all(env), 1);
	for (int i = 0; i < 3; i++)
		fin_drop(&fins[i]);
	hapax_release(x);
	CHECK_EQ(errno, 12);
	test_env_end(env);
}

static void leave_thread(struct fin *fin)
{
	(void)fin;
	pthread_exit(NULL);
}
static void *release_there(void *object)
{
	hapax_release(object);
	TEST_FAIL("the release returned");
}
static void *run_there(void *handle)
{
	CHECK_EQ(hapax_finalizer_run(handle, NULL), HAPAX_OK);
	TEST_FAIL("the run returned");
}
static void *finalize_there(void *env)
{
	hapax_finalize_all(env);
	TEST_FAIL("it returned");
}

TEST(PY_FIN_03_one_that_leaves_its_thread_is_finished_all_the_same)
{
#ifdef __clang__
	TEST_SKIP("code of clang aborts when a cleanup is unwound");
#endif
	hapax_env *env = test_env();

	for (int by = 0; by < 3; by++) {
		for (int where = 0; where < 2; where++) {
			struct item *x = item_traced(env, 9);
			struct fin fins[3] = {0};

			trace_reset();
			*(where ? &fins[1].on_free : &fins[1].then) = leave_thread;
			for (int i = 0; i < 3; i++)
				fin_on(&fins[i], i, x, by == 2 ? HAPAX_FINALIZE_AT_EXIT : 0);
			if (by == 0)
				test_join(test_thread(release_there, x));
			else if (by == 1)
				test_join(test_thread(run_there, fins[1].handle));
			else
				test_join(test_thread(finalize_there, env));
			/* those that a thread left behind run later; whose death it was, on its way out */
			CHECK_STR(trace_text, by == 0   ? "r2 x2 r1 x1 r0 x0 d9 "
					      : by == 1 ? "r1 x1 "
							: "r2 x2 r1 x1 ");
			if (by == 2)
				CHECK_EQ(hapax_finalize_all(env), 1);
			if (by)
				hapax_release(x);
			for (int i = 0; i < 3; i++) {
				CHECK_EQ(fins[i].frees, 1);
				fin_drop(&fins[i]);
			}
		}
	}
	test_env_end(env);
}

/* ---- sizes -------------------------------------------------------------------------------------------------------- */

/* A long-lived object carries nothing of finalizers that ran or were detached. */
TEST(PY_FIN_02_L15_run_or_detached_a_million_times_on_one_object)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 9);
	uint64_t n = scaled(1000000), bytes = 0;

	for (uint64_t i = 0; i < n; i++) {
		struct fin fin = {.quiet = true};

		fin_on(&fin, 1, x, i % 4 == 0 ? HAPAX_FINALIZE_AT_EXIT : 0);
		if (i % 2)
			CHECK_EQ(hapax_finalizer_detach(fin.handle, NULL), HAPAX_OK);
		else
			CHECK_EQ(hapax_finalizer_run(fin.handle, NULL), HAPAX_OK);
		fin_drop(&fin);
		if (i == n / 10) {
			hapax_testing_drain(env);
			bytes = hapax_testing_bytes(env);
		}
	}
	hapax_testing_drain(env);
	CHECK(hapax_testing_bytes(env) <= bytes + 4096);
	CHECK_EQ(hapax_weak_count(x), 0);
	hapax_release(x);
	test_env_end(env);
}

static int count_run(void *ctx)
{
	++*(uint64_t *)ctx;
	return 0;
}

/* Many on one object, half of them given up in random order; the death needs no memory. */
TEST(PY_FIN_05_L10_many_on_one_object_and_no_memory)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	struct item *x = item_new(env, 9);
	uint64_t r = test_stream(1), n = scaled(100000), runs = 0, detached = 0, ran;
	hapax_finalizer **f = calloc(n, sizeof(*f));
	hapax_finalize what = {count_run, &runs, NULL};

	CHECK(f);
	for (uint64_t i = 0; i < n; i++)
		CHECK_EQ(hapax_finalizer_new(x, &what, (unsigned)test_below(&r, 2), &f[i]), HAPAX_OK);
	CHECK_EQ(hapax_weak_count(x), n);
	memory->fail_from = 1;
	for (uint64_t i = 0; i < n; i++) {
		hapax_finalizer **g = &f[test_below(&r, n)];

		detached += hapax_finalizer_detach(*g, NULL) == HAPAX_OK;
		hapax_finalizer_drop(*g);
		*g = NULL;
	}
	CHECK_EQ(hapax_weak_count(x), n - detached);
	ran = hapax_finalize_all(env);
	CHECK_EQ(runs, ran);
	hapax_release(x);
	CHECK_EQ(runs, n - detached);
	CHECK(ran > 0 && ran < runs);
	for (uint64_t i = 0; i < n; i++)
		hapax_finalizer_drop(f[i]);
	memory->fail_from = 0;
	free(f);
	test_env_end(env);
}

static int misuses;
static void on_misuse(const char *message, void *ctx)
{
	(void)ctx;
	CHECK(strstr(message, "finalizer"));
	misuses++;
}

TEST(CX_RC_01_a_drop_too_many_is_seen_while_it_is_pending)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 9);
	struct fin fin = {.quiet = true};
	hapax_finalizer *f;

	hapax_testing_set_misuse(on_misuse, NULL);
	fin_on(&fin, 1, x, 0);
	f = fin.handle;
	for (int i = 0; i < 5; i++)
		hapax_finalizer_drop(f);
	CHECK_EQ(misuses, 4);
	hapax_testing_set_misuse(NULL, NULL);
	hapax_release(x);
	CHECK_EQ(fin.frees, 1);
	test_env_end(env);
}

/* ---- against a reference ------------------------------------------------------------------------------------------- */

/*
 * Objects and finalizers in lists, in the plainest way: which are pending, in order of creation. Random operations on
 * both; what runs and in which order is compared after each.
 */
enum { OBJECTS = 4, FINS = 24 };
struct reference {
	struct item *item[OBJECTS];
	hapax_env *env[2];
	struct {
		struct fin fin;
		int object;
		bool pending, at_exit, used;
		uint64_t made;
	} f[FINS];
	uint64_t made;
	char wanted[4096];
};

static void expect_run(struct reference *ref, int i)
{
	size_t n = strlen(ref->wanted);

	ref->f[i].pending = false;
	snprintf(ref->wanted + n, sizeof(ref->wanted) - n, "r%d x%d ", i, i);
}

/* The newest pending one for which it holds: of object `o`, or of environment `e` and at exit; -1: all. */
static int newest_of(struct reference *ref, int o, int e)
{
	int best = -1;

	for (int i = 0; i < FINS; i++)
		if (ref->f[i].pending && (best < 0 || ref->f[i].made > ref->f[best].made) &&
		    (o >= 0 ? ref->f[i].object == o : ref->f[i].at_exit && (e < 0 || ref->f[i].object % 2 == e)))
			best = i;
	return best;
}

static void reference_step(struct reference *ref, uint64_t *r)
{
	int i = (int)test_below(r, FINS), o = (int)test_below(r, OBJECTS), e = (int)test_below(r, 3) - 1, k;
	struct fin *fin = &ref->f[i].fin;
	size_t n = 0;

	switch (test_below(r, 12)) {
	case 0: /* the object dies; another takes its place */
		while ((k = newest_of(ref, o, 0)) >= 0)
			expect_run(ref, k);
		hapax_release(ref->item[o]);
		ref->item[o] = item_new(ref->env[o % 2], o);
		for (k = 0; k < FINS; k++)
			if (ref->f[k].object == o)
				ref->f[k].object = -1;
		break;
	case 1:
		if (test_below(r, 3))
			break;
		while ((k = newest_of(ref, -1, e)) >= 0) {
			expect_run(ref, k);
			n++;
		}
		CHECK_EQ(hapax_finalize_all(e < 0 ? NULL : ref->env[e]), n);
		break;
	case 2:
	case 3:
		if (!fin->handle)
			break;
		if (ref->f[i].pending) {
			expect_run(ref, i);
			CHECK_EQ(hapax_finalizer_run(fin->handle, NULL), HAPAX_OK);
		}
		fin_is_dead(fin);
		break;
	case 4:
		if (!fin->handle)
			break;
		CHECK_EQ(hapax_finalizer_detach(fin->handle, NULL), ref->f[i].pending ? HAPAX_OK : HAPAX_DEAD);
		ref->f[i].pending = false;
		break;
	case 5:
		fin_drop(fin);
		break;
	case 6:
		if (fin->handle && ref->f[i].pending)
			fin_is_alive(fin, ref->item[ref->f[i].object]);
		else if (fin->handle)
			fin_is_dead(fin);
		break;
	default:
		if (ref->f[i].pending)
			break;
		fin_drop(fin);
		memset(&ref->f[i], 0, sizeof(ref->f[i]));
		ref->f[i].object = o;
		ref->f[i].pending = true;
		ref->f[i].made = ++ref->made;
		ref->f[i].at_exit = test_below(r, 2);
		fin_on(fin, i, ref->item[o], ref->f[i].at_exit ? HAPAX_FINALIZE_AT_EXIT : 0);
	}
}

TEST(PY_FIN_01_02_05_07_random_operations_as_a_plain_reference)
{
	struct reference *ref = calloc(1, sizeof(*ref));
	uint64_t r = test_stream(2);

	CHECK(ref);
	for (int e = 0; e < 2; e++)
		ref->env[e] = test_env();
	for (int o = 0; o < OBJECTS; o++)
		ref->item[o] = item_new(ref->env[o % 2], o);
	for (uint64_t step = scaled(100000); step > 0; step--) {
		trace_reset();
		ref->wanted[0] = 0;
		reference_step(ref, &r);
		CHECK_STR(trace_text, ref->wanted);
	}
	for (int i = 0; i < FINS; i++)
		fin_drop(&ref->f[i].fin);
	for (int o = 0; o < OBJECTS; o++)
		hapax_release(ref->item[o]);
	for (int e = 0; e < 2; e++)
		test_env_end(ref->env[e]);
	free(ref);
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

/*
 * Run, detach, peek, drop, death and the run of all, on as many threads, of the same finalizers. Each runs or is detached,
 * once, and ctx_free follows a run.
 */
enum { RACERS = 6, RACED = 8 };
struct race {
	hapax_env *env;
	struct item *x;
	struct fin fins[RACED];
	int detached[RACED], said_run[RACED];
	size_t by_all;
	struct test_barrier barrier;
	uint64_t rounds;
};

static void race_round(struct race *race, unsigned index, uint64_t *r)
{
	uint64_t start = test_below(r, RACED);
	void *object;

	if (index == 0) {
		hapax_release(race->x);
		return;
	}
	if (index == 1) {
		race->by_all = hapax_finalize_all(race->env);
		return;
	}
	for (uint64_t k = 0; k < RACED; k++) {
		uint64_t i = (start + k) % RACED;
		struct fin *fin = &race->fins[i];
		hapax_finalize what;

		if (index == 2 && hapax_finalizer_run(fin->handle, NULL) == HAPAX_OK)
			race->said_run[i]++;
		if (index == 3 && hapax_finalizer_detach(fin->handle, &what) == HAPAX_OK) {
			CHECK_PTR(what.ctx, fin);
			CHECK_EQ(__atomic_load_n(&fin->runs, __ATOMIC_RELAXED), 0);
			race->detached[i]++;
		}
		if (index == 4 && hapax_finalizer_peek(fin->handle, &what, &object) == HAPAX_OK) {
			CHECK_PTR(what.ctx, fin);
			CHECK_PTR(object, race->x);
			CHECK(item_is_alive(object));
			hapax_release(object); /* now and then the last */
		}
		if (index == 5 && !hapax_finalizer_alive(fin->handle))
			CHECK_EQ(hapax_finalizer_peek(fin->handle, NULL, NULL), HAPAX_DEAD);
	}
}

static void race_thread(unsigned index, void *arg)
{
	struct race *race = arg;
	uint64_t r = test_stream(100 + index), choose = test_stream(99);

	for (uint64_t round = 0; round < race->rounds; round++) {
		if (index == 0) {
			race->x = item_new(race->env, 1);
			memset(race->fins, 0, sizeof(race->fins));
			memset(race->detached, 0, sizeof(race->detached));
			memset(race->said_run, 0, sizeof(race->said_run));
			race->by_all = 0;
			for (int i = 0; i < RACED; i++) {
				race->fins[i].quiet = true;
				fin_on(&race->fins[i], i, race->x, (unsigned)test_below(&choose, 2));
			}
		}
		test_barrier_wait(&race->barrier);
		race_round(race, index, &r);
		test_barrier_wait(&race->barrier);
		if (index == 0) {
			for (int i = 0; i < RACED; i++) {
				struct fin *fin = &race->fins[i];

				CHECK_EQ(fin->runs + race->detached[i], 1);
				CHECK_EQ(fin->frees, fin->runs);
				CHECK(race->said_run[i] <= fin->runs);
				fin_is_dead(fin);
				fin_drop(fin);
			}
		}
	}
}

TEST(PY_FIN_01_02_03_L3_one_of_all_who_come_at_once_has_it)
{
	struct race race = {.env = test_env(), .rounds = scaled(4000)};

	test_barrier_init(&race.barrier, RACERS);
	run_threads(RACERS, race_thread, &race);
	test_env_end(race.env);
}

/*
 * Many finalizers, and threads that go through them in the same order, each its own way of taking them. Who comes second is
 * faster and so catches up: they meet again and again at the same one.
 */
enum { CHASED = 20000 };
struct chase {
	hapax_env *env;
	struct item *x[CHASED];
	hapax_finalizer *f[CHASED];
	uint32_t runs[CHASED];
	uint64_t ran, said_run, detached;
	uint32_t waiting;
};

static int chase_run(void *ctx)
{
	uint32_t *runs = ctx;

	__atomic_fetch_add(runs, 1, __ATOMIC_RELAXED);
	return 0;
}

static void chase_thread(unsigned index, void *arg)
{
	struct chase *c = arg;
	uint64_t taken = 0;

	__atomic_fetch_sub(&c->waiting, 1, __ATOMIC_RELAXED);
	while (__atomic_load_n(&c->waiting, __ATOMIC_RELAXED))
		sched_yield();
	for (int i = 0; i < CHASED; i++) {
		if (index == 0)
			taken += hapax_finalizer_run(c->f[i], NULL) == HAPAX_OK;
		else if (index == 1)
			taken += hapax_finalizer_detach(c->f[i], NULL) == HAPAX_OK;
		else
			hapax_release(c->x[i]);
	}
	if (index < 2)
		__atomic_fetch_add(index ? &c->detached : &c->said_run, taken, __ATOMIC_RELAXED);
}

TEST(PY_FIN_01_02_03_L3_who_meet_at_one_are_told_apart)
{
	struct chase *c = calloc(1, sizeof(*c));

	CHECK(c);
	c->env = test_env();
	for (uint64_t round = scaled(20); round > 0; round--) {
		uint64_t runs = 0;

		c->waiting = 3;
		c->said_run = c->detached = 0;
		for (int i = 0; i < CHASED; i++) {
			hapax_finalize what = {chase_run, &c->runs[i], NULL};

			c->runs[i] = 0;
			c->x[i] = item_new(c->env, i);
			CHECK_EQ(hapax_finalizer_new(c->x[i], &what, 0, &c->f[i]), HAPAX_OK);
		}
		run_threads(3, chase_thread, c);
		for (int i = 0; i < CHASED; i++) {
			CHECK(c->runs[i] <= 1);
			runs += c->runs[i];
			hapax_finalizer_drop(c->f[i]);
		}
		CHECK_EQ(runs + c->detached, CHASED);
		CHECK(c->said_run <= runs);
	}
	test_env_end(c->env);
	free(c);
}

/* Threads of their own objects, so that creation, runs of all, deaths and reclamation meet in the list of those at exit. */
struct crowd {
	hapax_env *env;
	uint64_t runs, made, detached, by_all, rounds;
};

static int crowd_run(void *ctx)
{
	__atomic_fetch_add((uint64_t *)ctx, 1, __ATOMIC_RELAXED);
	return 0;
}

static void crowd_thread(unsigned index, void *arg)
{
	struct crowd *c = arg;
	uint64_t r = test_stream(200 + index);
	hapax_finalize what = {crowd_run, &c->runs, NULL};

	for (uint64_t i = 0; i < c->rounds; i++) {
		struct item *x = item_new(c->env, 1);
		hapax_finalizer *f[4];

		for (int k = 0; k < 4; k++)
			CHECK_EQ(hapax_finalizer_new(x, &what, HAPAX_FINALIZE_AT_EXIT, &f[k]), HAPAX_OK);
		__atomic_fetch_add(&c->made, 4, __ATOMIC_RELAXED);
		if (test_below(&r, 8) == 0)
			__atomic_fetch_add(&c->by_all, hapax_finalize_all(index % 2 ? c->env : NULL), __ATOMIC_RELAXED);
		if (hapax_finalizer_detach(f[test_below(&r, 4)], NULL) == HAPAX_OK)
			__atomic_fetch_add(&c->detached, 1, __ATOMIC_RELAXED);
		(void)hapax_finalizer_run(f[test_below(&r, 4)], NULL);
		for (int k = 0; k < 4; k++)
			hapax_finalizer_drop(f[k]);
		hapax_release(x);
	}
}

TEST(PY_FIN_07_L3_created_run_and_dying_on_all_threads_at_once)
{
	struct crowd c = {.env = test_env(), .rounds = scaled(6000)};

	run_threads(4, crowd_thread, &c);
	CHECK_EQ(c.runs + c.detached, c.made);
	CHECK(c.by_all > 0);
	CHECK_EQ(hapax_finalize_all(NULL), 0);
	test_env_end(c.env);
}

/* Nobody waits for a finalizer that stands still: neither for the same one nor for its object, nor the run of all. */
struct still {
	struct test_event inside, go;
	struct fin fin, sibling;
	struct item *x;
	hapax_env *env;
	int how;
};
static void stand_still(struct fin *fin)
{
	struct still *s = fin->arg;

	test_event_set(&s->inside);
	test_event_wait(&s->go);
}
static void *begin_there(void *arg)
{
	struct still *s = arg;

	if (s->how == 0)
		hapax_release(s->x);
	else if (s->how == 1)
		CHECK_EQ(hapax_finalizer_run(s->fin.handle, NULL), HAPAX_OK);
	else
		CHECK_EQ(hapax_finalize_all(s->env), 1);
	return NULL;
}

TEST(PY_FIN_01_L5_nobody_waits_for_a_run_on_another_thread)
{
	for (int how = 0; how < 3; how++) {
		struct still s = {TEST_EVENT_INIT, TEST_EVENT_INIT, {.quiet = true, .then = stand_still}, {.quiet = true},
				  NULL, test_env(), how};
		hapax_finalizer *handle;
		struct fin other = {.quiet = true};
		struct item *y = item_new(s.env, 2);
		pthread_t thread;

		s.x = item_new(s.env, 1);
		s.fin.arg = &s;
		fin_on(&s.sibling, 2, s.x, 0);
		fin_on(&s.fin, 1, s.x, HAPAX_FINALIZE_AT_EXIT);
		handle = s.fin.handle;
		thread = test_thread(begin_there, &s);
		test_event_wait(&s.inside);
		fin_is_dead(&s.fin);
		CHECK_EQ(hapax_finalize_all(NULL), 0);
		fin_on(&other, 3, y, HAPAX_FINALIZE_AT_EXIT);
		CHECK_EQ(hapax_finalize_all(NULL), 1);
		CHECK_EQ(hapax_finalizer_run(s.sibling.handle, NULL), HAPAX_OK);
		if (how) {
			hapax_release(s.x);
			hapax_reclaim(s.env);
		}
		hapax_finalizer_drop(handle);
		CHECK_EQ(s.fin.frees, 0);
		test_event_set(&s.go);
		test_join(thread);
		CHECK_EQ(s.fin.frees, 1);
		s.fin.handle = NULL;
		fin_drop(&s.sibling);
		fin_drop(&other);
		hapax_release(y);
		test_env_end(s.env);
	}
}

/* A finalizer is user code: a drop in it of a handle whose callback stands still on another thread does not wait. */
struct dropped {
	struct test_event inside, go;
	struct item *x;
	hapax_weak *weak;
	int status;
};
static void callback_stands(hapax_weak *weak, void *ctx)
{
	struct dropped *d = ctx;

	(void)weak;
	test_event_set(&d->inside);
	test_event_wait(&d->go);
}
static void *release_dropped(void *arg)
{
	struct dropped *d = arg;

	hapax_release(d->x);
	return NULL;
}
static void drop_inside(struct fin *fin)
{
	struct dropped *d = fin->arg;

	d->status = hapax_weak_drop(d->weak);
}

TEST(PY_FIN_01_D_3_a_drop_in_it_never_waits)
{
	for (int how = 0; how < 6; how++) {
		hapax_env *env = test_env();
		struct dropped d = {TEST_EVENT_INIT, TEST_EVENT_INIT, item_new(env, 1), NULL, 0};
		struct item *y = item_new(env, 2);
		struct fin fin = {.quiet = true, .arg = &d};
		hapax_callback callback = {callback_stands, &d, NULL};
		pthread_t thread;

		*(how % 2 ? &fin.then : &fin.on_free) = drop_inside;
		CHECK_EQ(hapax_weak_new(d.x, &callback, &d.weak), HAPAX_OK);
		fin_on(&fin, 1, y, HAPAX_FINALIZE_AT_EXIT);
		thread = test_thread(release_dropped, &d);
		test_event_wait(&d.inside);
		if (how / 2 == 0)
			CHECK_EQ(hapax_finalizer_run(fin.handle, NULL), HAPAX_OK);
		else if (how / 2 == 1)
			CHECK_EQ(hapax_finalize_all(env), 1);
		hapax_release(y);
		CHECK_EQ(fin.frees, 1);
		CHECK_EQ(d.status, HAPAX_INFLIGHT);
		test_event_set(&d.go);
		test_join(thread);
		fin_drop(&fin);
		test_env_end(env);
	}
}
