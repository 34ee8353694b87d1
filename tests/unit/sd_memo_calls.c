/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* User code that a memo runs, and that calls the memo: destructors of results, the function itself. */
#include "unit/memos.h"

static const unsigned kinds[] = {HAPAX_MEMO_OWNED, HAPAX_MEMO_OWNED | MEMO_MAKES, HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET,
				 HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET | MEMO_MAKES};
enum { KINDS = 4 };

/* ---- SD-35: destructors that call the memo --------------------------------------------------------------------------- */

struct echo {
	struct work w;
	struct item *owner[2]; /* the one whose results go, and another */
	int64_t next;
	int depth, most, calls, closed;
	bool over;
};

/* Results that go ask for others, forget, look, clear, and so cause deaths of the same kind: a limited number. */
static void echo_destroyed(struct item *item, void *arg)
{
	struct echo *e = ((struct work *)arg)->arg;
	struct outcome *o = (struct outcome *)item;
	struct item *asked = e->owner[1] ? e->owner[1] : NULL;
	const hapax_arg args = hapax_arg_int(1000 + o->value);
	void *out = NULL;
	int rc;

	if (e->over || e->calls == 1000)
		return;
	if (++e->depth > e->most)
		e->most = e->depth;
	e->calls++;
	rc = hapax_memo_call(e->w.memo, asked, &args, 1, &out);
	CHECK(rc == HAPAX_OK || rc == HAPAX_ECLOSED);
	e->closed += rc == HAPAX_ECLOSED;
	hapax_release(out);
	if (rc == HAPAX_OK) {
		hapax_memo_forget(e->w.memo, asked, &args, 1);
		info_of(&e->w, NULL);
		info_of(&e->w, asked);
		hapax_release(called(&e->w, asked, o->value));
		if (e->calls % 7 == 0)
			cleared(&e->w, asked);
	}
	e->depth--;
}

enum { FORGET, CLEAR_ALL, CLEAR_ONE, EVICT, OWNER_DIES, DESTROY, WAYS };

TEST(SD_35_destructors_that_call_the_memo_again)
{
	enum { N = 50 };

	for (int kind = -1; kind < KINDS; kind++) {
		for (int way = 0; way < WAYS; way++) {
			hapax_env *env = test_env();
			struct echo *e = calloc(1, sizeof(*e));

			CHECK(e);
			e->w.arg = e;
			e->w.result_destroyed = echo_destroyed;
			for (int i = 0; kind >= 0 && i < 2; i++)
				e->owner[i] = item_new(env, i + 1);
			memo_new(env, &e->w, kind < 0 ? 0 : kinds[kind], way == EVICT ? N : HAPAX_UNLIMITED);
			for (int i = 0; i < N; i++)
				call(&e->w, e->owner[0], i);
			CHECK_EQ(e->calls, 0);
			switch (way) {
			case FORGET:
				for (int i = 0; i < N; i++)
					CHECK(forget(&e->w, e->owner[0], i) >= 0);
				break;
			case CLEAR_ALL: cleared(&e->w, NULL); break;
			case CLEAR_ONE: cleared(&e->w, e->owner[0]); break;
			case EVICT:
				e->calls = -1000000; /* see below */
				break;
			case OWNER_DIES:
				hapax_release(e->owner[0]);
				e->owner[0] = NULL;
				break;
			default:
				hapax_memo_destroy(e->w.memo);
				e->w.memo = NULL;
				CHECK_EQ(e->closed, e->calls);
				CHECK_EQ(e->calls, N);
				break;
			}
			if (way == EVICT) { /* one goes for each that comes, and asks for what is there */
				e->calls = 0;
				e->over = true;
				for (int i = 0; i < N / 2; i++)
					call(&e->w, e->owner[0], 500 + i);
				e->over = false;
				call(&e->w, e->owner[1], N - 1);
			} else if (kind >= 0 || way != OWNER_DIES) {
				CHECK(e->calls >= N);
			}
			CHECK_EQ(e->depth, 0);
			e->over = true;
			if (e->w.memo)
				info_of(&e->w, NULL);
			hapax_release(e->owner[0]);
			hapax_release(e->owner[1]);
			work_end_env(&e->w, env);
			CHECK_EQ(gone_of(&e->w), runs_of(&e->w));
			free(e);
		}
	}
}

/* Whatever goes is computed again by its own destructor, without a limit: every way of forgetting ends none the less. */
static void again_destroyed(struct item *item, void *arg)
{
	struct echo *e = ((struct work *)arg)->arg;

	if (!e->over)
		hapax_release(called(&e->w, e->owner[1], ((struct outcome *)item)->value));
}

TEST(SD_35_what_is_computed_again_during_a_clear_stays)
{
	enum { N = 200 };

	for (int kind = -1; kind < KINDS; kind++) {
		for (int way = 0; way <= OWNER_DIES; way++) {
			hapax_env *env = test_env();
			struct echo e = {.w = {.result_destroyed = again_destroyed}};
			int kept = 0;

			if (way == EVICT || (way == OWNER_DIES && kind < 0))
				continue;
			e.w.arg = &e;
			for (int i = 0; kind >= 0 && i < 2; i++)
				e.owner[i] = item_new(env, i + 1);
			memo_new(env, &e.w, kind < 0 ? 0 : kinds[kind], HAPAX_UNLIMITED);
			for (int i = 0; i < N; i++)
				call(&e.w, e.owner[0], i);
			for (int i = 0; i < N && way == FORGET; i++)
				CHECK_EQ(forget(&e.w, e.owner[0], i), HAPAX_OK);
			if (way == CLEAR_ALL || way == CLEAR_ONE)
				CHECK_EQ(cleared(&e.w, way == CLEAR_ALL ? NULL : e.owner[0]).entries, N);
			if (way == OWNER_DIES) {
				hapax_release(e.owner[0]);
				e.owner[0] = NULL;
			}
			CHECK_EQ(gone_of(&e.w), N);
			CHECK_EQ(runs_of(&e.w), 2 * N);
			for (int i = 0; i < N; i++)
				kept += found(&e.w, e.owner[1], i) > N;
			CHECK_EQ(kept, N);
			e.over = true;
			hapax_release(e.owner[0]);
			hapax_release(e.owner[1]);
			work_end_env(&e.w, env);
		}
	}
}

/* An evicted result's destructor asks for what its eviction made room for: one more goes for each, a limited number of times. */
static void chain_destroyed(struct item *item, void *arg)
{
	struct work *w = arg;
	int *left = w->arg;

	(void)item;
	if (*left > 0) {
		--*left;
		call(w, NULL, 100000 + *left);
	}
}

TEST(SD_35_an_eviction_whose_destructor_evicts)
{
	for (int capacity = 0; capacity < 5; capacity++) {
		hapax_env *env = test_env();
		int left = 5000;
		struct work w = {.result_destroyed = chain_destroyed, .arg = &left};

		memo_new(env, &w, 0, capacity ? capacity : HAPAX_ZERO);
		for (int i = 0; i < 10; i++)
			call(&w, NULL, i);
		CHECK_EQ(left, 0);
		CHECK_EQ(runs_of(&w), 5010);
		CHECK_EQ(info_of(&w, NULL).entries, capacity);
		CHECK_EQ(gone_of(&w), 5010 - capacity);
		work_end_env(&w, env);
	}
}

/* ---- the function goes on too ------------------------------------------------------------------------------------------ */

struct inside {
	struct work w;
	struct item *owner;
	int way;
};

enum { IN_CLEAR_ALL, IN_CLEAR_ONE, IN_FORGET, IN_INFO, IN_CLOSE, IN_DESTROY, IN_LETS_GO, IN_WAYS };

static int inside_then(struct work *w, int run, void *owner, const hapax_arg *args, size_t n)
{
	struct inside *s = w->arg;

	(void)owner;
	if (run != 3)
		return GO_ON;
	switch (s->way) {
	case IN_CLEAR_ALL: INFO(cleared(w, NULL), 0, 2, 2); break;
	case IN_CLEAR_ONE: INFO(cleared(w, s->owner), 0, 2, 2); break;
	case IN_FORGET: CHECK(hapax_memo_forget(w->memo, s->owner, args, n) >= 0); break;
	case IN_INFO: CHECK_EQ(info_of(w, s->owner).entries, 2); break;
	case IN_CLOSE: hapax_memo_close(w->memo); break;
	case IN_DESTROY:
		hapax_memo_destroy(w->memo);
		break;
	default: /* every use of it that this thread can name */
		for (int i = 1; i < 3; i++)
			CHECK_EQ(forget(w, s->owner, i), HAPAX_OK);
		CHECK_EQ(gone_of(w), 2);
		break;
	}
	return GO_ON;
}

TEST(the_function_clears_forgets_closes_and_destroys_its_memo)
{
	for (int kind = -1; kind < KINDS; kind++) {
		for (int way = 0; way < IN_WAYS; way++) {
			hapax_env *env = test_env();
			struct inside s = {.w = {.then = inside_then}, .way = way};
			const hapax_arg arg = hapax_arg_int(3);
			void *out = (void *)1;
			int rc;

			s.w.arg = &s;
			s.owner = kind < 0 ? NULL : item_new(env, 1);
			memo_new(env, &s.w, kind < 0 ? 0 : kinds[kind], 10);
			call(&s.w, s.owner, 1);
			call(&s.w, s.owner, 2);
			rc = hapax_memo_call(s.w.memo, s.owner, &arg, 1, &out);
			if (way == IN_CLOSE || way == IN_DESTROY) {
				CHECK(rc == HAPAX_OK || rc == HAPAX_ECLOSED);
				CHECK((rc == HAPAX_OK) == (out != NULL));
			} else {
				CHECK_EQ(rc, HAPAX_OK); /* the caller gets it */
			}
			if (way <= IN_FORGET) { /* and it is not kept */
				CHECK_EQ(found(&s.w, s.owner, 3), 0);
				CHECK_EQ(info_of(&s.w, NULL).entries, way == IN_FORGET ? 2 : 0);
				CHECK_EQ(call(&s.w, s.owner, 3), 4);
			} else if (way == IN_INFO || way == IN_LETS_GO) {
				CHECK_EQ(found(&s.w, s.owner, 3), 3);
				INFO(info_of(&s.w, s.owner), 0, 3, way == IN_INFO ? 3 : 1);
			}
			if (way == IN_CLEAR_ALL) /* the call that cleared is counted once: before, or after */
				CHECK(info_of(&s.w, NULL).misses == 1 || info_of(&s.w, NULL).misses == 2);
			if (out)
				CHECK(item_is_alive(out));
			hapax_release(out);
			hapax_release(s.owner);
			if (way == IN_DESTROY)
				s.w.memo = NULL;
			work_end_env(&s.w, env);
			CHECK_EQ(gone_of(&s.w), runs_of(&s.w));
		}
	}
}

/* ---- the function lets go of the owner ----------------------------------------------------------------------------------- */

static int releasing_then(struct work *w, int run, void *owner, const hapax_arg *args, size_t n)
{
	int *destroyed = w->arg;

	(void)args;
	(void)n;
	if (run == 3) {
		hapax_release(owner);
		CHECK_EQ(*destroyed, 0);
		CHECK(item_is_alive(owner));
		CHECK_EQ(call(w, owner, 1), 1); /* a hit, as ever */
		CHECK_EQ(call(w, owner, 77), 4);
	}
	return GO_ON;
}

/* The call's caller gets its result; the owner dies when the call is over, with what it has. */
TEST(SD_29_the_last_reference_to_the_owner_goes_in_the_function)
{
	for (int kind = 0; kind < KINDS; kind++) {
		hapax_env *env = test_env();
		int destroyed = 0;
		struct work w = {.then = releasing_then, .arg = &destroyed};
		struct item *owner = item_new(env, 1);
		const hapax_arg arg = hapax_arg_int(3);
		void *out = NULL;

		owner->destroyed = &destroyed;
		memo_new(env, &w, kinds[kind], 10);
		call(&w, owner, 1);
		call(&w, owner, 2);
		CHECK_EQ(hapax_memo_call(w.memo, owner, &arg, 1, &out), HAPAX_OK);
		CHECK_EQ(destroyed, 1);
		CHECK_EQ(gone_of(&w), 3);
		CHECK(item_is_alive(out));
		INFO(info_of(&w, NULL), 1, 4, 0);
		CHECK_EQ(info_of(&w, NULL).owners, 0);
		memo_check(&w);
		hapax_release(out);
		CHECK_EQ(gone_of(&w), 4);
		work_end_env(&w, env);
	}
}
