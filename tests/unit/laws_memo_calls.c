/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Laws of memos: calls from inside everything, waiting, threads that vanish, failures, memory, ends in any order. */
#include "unit/witness_memo.h"

#include <limits.h>

static int plain(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner;
	(void)ctx;
	(void)error;
	((struct witness *)result)->id = n ? args[0].value.u : 0;
	return HAPAX_LOAD_OK;
}

static hapax_memo *memo_of(hapax_memo_options o, hapax_env *env) { return memo_made(o, env, plain); }

/* ---- results that are owners --------------------------------------------------------------------------------------- */

TEST(SD_29_PY_DTH_04_results_that_own_results)
{
	int n = test_slow_build() ? 3000 : 30000;
	hapax_env *env = test_env();
	hapax_memo *memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED}, env);
	struct witness *first = witness_new(env, 0, 0), *last = first;

	for (int i = 0; i < n; i++) {
		struct witness *next = ask(memo, last, i);

		if (last != first)
			hapax_release(last);
		last = next;
	}
	hapax_release(last);
	CHECK_EQ(info_of(memo, NULL).owners, n);
	CHECK_EQ(info_of(memo, NULL).entries, n);
	witness_ends = 0;
	hapax_release(first);
	CHECK_EQ(witness_ends, n + 1);
	CHECK_EQ(info_of(memo, NULL).owners, 0);
	CHECK_EQ(info_of(memo, NULL).entries, 0);
	CHECK_EQ(info_of(memo, NULL).misses, n); /* what was counted stays counted */
	hapax_memo_destroy(memo);
	witness_rest(env);
}

/* ---- calls from the destructors of results and from the watchers of owners ------------------------------------------------ */

static struct {
	hapax_env *env;
	hapax_memo *memo, *second;
	hapax_cache *cache;
	struct witness *owner, *other;
	unsigned calls;
	int expect, mode, rc;
	struct test_event begun, go;
	unsigned runs, drops;
	bool failing;
} m;

static void calls_the_memo(struct witness *w, void *arg)
{
	struct witness *out;
	hapax_memo_info info = {.size = sizeof(info)};

	(void)w;
	(void)arg;
	m.calls++;
	CHECK_EQ(call(m.memo, m.other, 50, &out), m.expect);
	if (out)
		out->last = NULL;
	hapax_release(out);
	(void)there(m.memo, m.other, 50);
	CHECK_EQ(hapax_memo_info_get(m.memo, m.other, &info), m.expect);
	CHECK_EQ(hapax_memo_clear(m.memo, m.other, &info), m.expect);
	(void)hapax_memo_forget(m.memo, m.other, HAPAX_ARGS(hapax_arg_int(50)));
}

static int with_last(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner;
	(void)n;
	(void)ctx;
	(void)error;
	((struct witness *)result)->last = args[0].value.i < 50 ? calls_the_memo : NULL;
	return HAPAX_LOAD_OK;
}

static int finalizer_calls(void *ctx)
{
	(void)ctx;
	CHECK_EQ(m.calls, 3); /* the results went before */
	calls_the_memo(NULL, NULL);
	return 0;
}

TEST(L5_SD_35_PY_DTH_06_results_that_call_their_memo_as_they_end)
{
	for (int owned = 0; owned < 2; owned++)
		for (int how = 0; how < 6; how++) {
			hapax_finalize what = {.fn = finalizer_calls};

			if (how == 5 && !owned)
				continue;
			m.env = test_env();
			m.calls = 0;
			m.expect = HAPAX_OK;
			m.memo = memo_of((hapax_memo_options){.flags = owned ? HAPAX_MEMO_OWNED : 0, .compute = with_last,
							      .capacity = 3, .policy = hapax_policy_lru()}, m.env);
			m.owner = owned ? witness_new(m.env, 1, 0) : NULL;
			m.other = owned ? witness_new(m.env, 2, 0) : NULL;
			for (int i = 0; i < 3; i++)
				hapax_release(ask(m.memo, m.owner, i));
			CHECK_EQ(m.calls, 0);
			if (how == 0)
				CHECK_EQ(hapax_memo_clear(m.memo, NULL, NULL), HAPAX_OK);
			if (how == 1)
				CHECK_EQ(hapax_memo_clear(m.memo, m.owner, NULL), HAPAX_OK);
			if (how == 2)
				for (int i = 0; i < 3; i++) /* what one of them clears is gone when its turn comes */
					(void)hapax_memo_forget(m.memo, m.owner, HAPAX_ARGS(hapax_arg_int(i)));
			if (how == 3)
				for (int i = 0; i < 3; i++)
					hapax_release(ask(m.memo, m.owner, 60 + i));
			if (how == 4)
				m.expect = HAPAX_ECLOSED;
			if (how == 5) {
				CHECK_EQ(hapax_finalizer_new(m.owner, &what, 0, NULL), HAPAX_OK);
				hapax_release(m.owner);
				CHECK_EQ(m.calls, 4);
			}
			if (how != 4)
				CHECK_EQ(m.calls, how == 5 ? 4 : 3);
			m.expect = HAPAX_ECLOSED;
			hapax_memo_destroy(m.memo);
			CHECK_EQ(m.calls, how == 5 ? 4 : 3);
			hapax_release(how == 5 ? NULL : m.owner);
			hapax_release(m.other);
			witness_rest(m.env);
		}
}

/* The function works on the memo that runs it. What it forgets is not installed; its caller gets it all the same. */
static int works_on_its_memo(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	struct witness *out;

	(void)result;
	(void)ctx;
	(void)error;
	m.calls++;
	if (args[0].value.i != 1)
		return HAPAX_LOAD_OK;
	CHECK_EQ(call(m.memo, owner, 1, &out), HAPAX_EDEADLK);
	CHECK(!there(m.memo, owner, 1));
	hapax_release(ask(m.memo, owner, 2));
	switch (m.mode) {
	case 0:
		CHECK_EQ(hapax_memo_clear(m.memo, NULL, NULL), HAPAX_OK);
		break;
	case 1:
		CHECK_EQ(hapax_memo_clear(m.memo, owner, NULL), HAPAX_OK);
		break;
	case 2:
		(void)hapax_memo_forget(m.memo, owner, args, n);
		break;
	case 3:
		hapax_memo_close(m.memo);
		CHECK_EQ(call(m.memo, owner, 3, &out), HAPAX_ECLOSED);
		break;
	case 4:
		hapax_memo_destroy(m.memo);
		break;
	default:;
	}
	return HAPAX_LOAD_OK;
}

TEST(L7_CF_LD_10_LD_06_a_function_that_works_on_its_memo)
{
	for (int owned = 0; owned < 2; owned++)
		for (m.mode = 0; m.mode < 6; m.mode++) {
			struct witness *out = NULL;
			int rc;

			m.env = test_env();
			m.calls = 0;
			m.memo = memo_of((hapax_memo_options){.flags = owned ? HAPAX_MEMO_OWNED : 0, .compute = works_on_its_memo}, m.env);
			m.owner = owned ? witness_new(m.env, 1, 0) : NULL;
			rc = call(m.memo, m.owner, 1, &out);
			CHECK(rc == HAPAX_OK || (rc == HAPAX_ECLOSED && (m.mode == 3 || m.mode == 4)));
			CHECK_EQ(m.calls, 2);
			if (m.mode < 3) {
				CHECK(!there(m.memo, m.owner, 1));
				CHECK_EQ(there(m.memo, m.owner, 2), m.mode == 2);
				CHECK_EQ(info_of(m.memo, NULL).entries, m.mode == 2);
			}
			if (m.mode == 5)
				CHECK(there(m.memo, m.owner, 1) && there(m.memo, m.owner, 2));
			hapax_release(out);
			if (m.mode != 4)
				hapax_memo_destroy(m.memo);
			hapax_release(m.owner);
			witness_rest(m.env);
		}
}

/* ---- waiting for oneself ------------------------------------------------------------------------------------------------ */

static int of_cache(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct witness *out;

	(void)object;
	(void)key;
	(void)arg;
	(void)error;
	m.rc = call(m.memo, m.owner, 1, &out);
	hapax_release(out);
	return HAPAX_LOAD_OK;
}

static int of_memo(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	struct witness *out = NULL;
	void *object = NULL;

	(void)result;
	(void)args;
	(void)n;
	(void)error;
	if (ctx) { /* the first: asks the second */
		m.rc = 99;
		CHECK_EQ(m.mode ? hapax_cache_get(m.cache, HAPAX_STR("k"), &object) : call(m.second, NULL, 1, &out), HAPAX_OK);
		CHECK_EQ(m.rc, HAPAX_EDEADLK);
		hapax_release(out);
		hapax_release(object);
		return HAPAX_LOAD_OK;
	}
	CHECK_PTR(owner, NULL);
	m.rc = call(m.memo, m.owner, 1, &out);
	return HAPAX_LOAD_OK;
}

TEST(CF_LD_06_D_8_a_cycle_through_two_memos_and_a_cache)
{
	for (m.mode = 0; m.mode < 2; m.mode++) {
		hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .type = &witness_type, .load = of_cache};

		m.env = o.env = test_env();
		m.memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED, .compute = of_memo, .ctx = &m}, m.env);
		m.second = memo_of((hapax_memo_options){.compute = of_memo}, m.env);
		m.owner = witness_new(m.env, 1, 0);
		CHECK_EQ(hapax_cache_create(&m.cache, &o), HAPAX_OK);
		hapax_release(ask(m.memo, m.owner, 1));
		CHECK(there(m.memo, m.owner, 1));
		CHECK_EQ(info_of(m.memo, m.owner).misses, 2); /* the refused one, too */
		CHECK_EQ(info_of(m.memo, m.owner).computed, 1);
		hapax_memo_destroy(m.second);
		hapax_cache_destroy(m.cache);
		hapax_memo_destroy(m.memo);
		hapax_release(m.owner);
		witness_rest(m.env);
	}
}

/* ---- waiters ------------------------------------------------------------------------------------------------------------- */

enum { WAITERS = 5 };

static void count_drop(void *detail)
{
	CHECK_PTR(detail, &m);
	__atomic_add_fetch(&m.drops, 1, __ATOMIC_ACQ_REL);
}

/* The first run waits to be told how to end: fails, has no value, leaves its thread, or succeeds. */
static int told_how(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	unsigned run = __atomic_add_fetch(&m.runs, 1, __ATOMIC_ACQ_REL);

	(void)result;
	(void)owner;
	(void)args;
	(void)n;
	(void)ctx;
	if (run > 1)
		return HAPAX_LOAD_OK;
	test_event_set(&m.begun);
	test_event_wait(&m.go);
	switch (m.mode) {
	case 0:
		*error = (hapax_load_error){.code = INT_MIN, .detail = &m, .drop = count_drop};
		return HAPAX_LOAD_FAIL;
	case 1:
		return HAPAX_LOAD_NOVALUE;
	case 2:
		pthread_exit(NULL);
	default:
		return HAPAX_LOAD_OK;
	}
}

static struct {
	int rc;
	void *out;
	hapax_load_error error;
} waiter[WAITERS + 1];

static void *wait_for_it(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;
	hapax_memo_call_options o = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &waiter[i].error};

	if (i) /* all but the first */
		test_event_wait(&m.begun);
	waiter[i].rc = hapax_memo_call_with(m.memo, m.owner, HAPAX_ARGS(hapax_arg_int(4)), &o, &waiter[i].out);
	return NULL;
}

TEST(PY_LRU_06_PY_LRU_12_MK_LD_17_what_the_waiters_get)
{
	for (m.mode = 0; m.mode < 4; m.mode++) {
		pthread_t threads[WAITERS + 1];
		hapax_memo_call_options once = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT};
		void *out = &out;
		hapax_memo_info info;

		memset(waiter, 0, sizeof(waiter));
		m.env = test_env_fake();
		m.memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED, .compute = told_how}, m.env);
		m.owner = witness_new(m.env, 1, 0);
		m.runs = m.drops = 0;
		test_event_init(&m.begun);
		test_event_init(&m.go);
		for (unsigned i = 0; i <= WAITERS; i++)
			threads[i] = test_thread(wait_for_it, (void *)(uintptr_t)i);
		test_event_wait(&m.begun);
		CHECK_EQ(hapax_memo_call_with(m.memo, m.owner, HAPAX_ARGS(hapax_arg_int(4)), &once, &out), HAPAX_INFLIGHT);
		CHECK_PTR(out, NULL);
		fake_clock_await_sleepers(WAITERS);
		once.deadline = fake_clock_now();
		CHECK_EQ(hapax_memo_call_with(m.memo, m.owner, HAPAX_ARGS(hapax_arg_int(4)), &once, &out), HAPAX_ETIMEDOUT);
		CHECK_EQ(info_of(m.memo, m.owner).entries, 0);
		test_event_set(&m.go);
		for (unsigned i = 0; i <= WAITERS; i++)
			test_join(threads[i]);
		CHECK_EQ(m.runs, m.mode == 2 ? 2 : 1);
		for (unsigned i = m.mode == 2; i <= WAITERS; i++) {
			CHECK_EQ(waiter[i].rc, m.mode == 0 ? HAPAX_ELOADER : m.mode == 1 ? HAPAX_NOVALUE : HAPAX_OK);
			CHECK_EQ(waiter[i].error.code, m.mode == 0 ? INT_MIN : 0);
			CHECK_PTR(waiter[i].out, waiter[WAITERS].out);
			CHECK_EQ(m.drops, 0);
		}
		for (unsigned i = 0; i <= WAITERS; i++) {
			CHECK_EQ(m.drops, 0);
			hapax_load_error_drop(&waiter[i].error);
			hapax_release(waiter[i].out);
		}
		CHECK_EQ(m.drops, m.mode == 0);
		info = info_of(m.memo, NULL);
		CHECK_EQ(info.hits + info.misses, WAITERS + 1 + 2 - (m.mode == 2 ? info.misses == WAITERS + 2 : 0));
		CHECK_EQ(info.computed, m.mode == 2 ? 2 : 1);
		CHECK_EQ(info.failed, m.mode < 3);
		CHECK_EQ(info.entries, m.mode >= 2);
		CHECK(info.waits >= WAITERS && info.waits <= WAITERS + 2);
		hapax_release(m.owner);
		CHECK_EQ(info_of(m.memo, NULL).entries, 0);
		hapax_memo_destroy(m.memo);
		witness_rest(m.env);
	}
}
