/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One-shot finalizers: run, detach, peek, death. Many of them: py_fin_many.c; at once: py_fin_race.c; the end of the process:
 * py_fin_exit.c.
 */
#include <errno.h>

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
