/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The laws of memos: views of counters under threads, waiting, errors, missing memory. */
#include "unit/memos.h"

static const unsigned kinds[] = {0, MEMO_MAKES, HAPAX_MEMO_OWNED, HAPAX_MEMO_OWNED | MEMO_MAKES,
				 HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET};
enum { KINDS = 5, OWNERS = 3, THREADS = 6 };

/* ---- no view is half reset --------------------------------------------------------------------------------------- */

struct views {
	struct work w;
	struct item *owner[OWNERS];
	bool owned, clears_owners;
	int callers; /* still at it */
	uint64_t random[THREADS], calls[OWNERS], all;
	hapax_memo_info sum, sums[2], owner_sum[OWNERS]; /* sums: of the threads that clear */
};

static void add_info(hapax_memo_info *sum, const hapax_memo_info *i)
{
	sum->hits += i->hits;
	sum->misses += i->misses;
	sum->waits += i->waits;
	sum->computed += i->computed;
	sum->failed += i->failed;
}

static int views_then(struct work *w, int run, void *owner, const hapax_arg *args, size_t n)
{
	(void)w;
	(void)owner;
	(void)n;
	return args[0].value.i % 11 == 3 ? HAPAX_LOAD_NOVALUE : run % 13 == 4 ? HAPAX_LOAD_FAIL : GO_ON;
}

static void views_call(struct views *v, unsigned index)
{
	uint64_t *random = &v->random[index];
	int o = (int)test_below(random, v->owned ? OWNERS : 1);
	const hapax_arg arg = hapax_arg_int((int64_t)test_below(random, 30));
	void *out = NULL;
	int rc = hapax_memo_call(v->w.memo, v->owned ? v->owner[o] : NULL, &arg, 1, &out);

	CHECK(rc == HAPAX_OK || rc == HAPAX_NOVALUE || rc == HAPAX_ELOADER);
	if (out) {
		CHECK_EQ(((struct outcome *)out)->value, arg.value.i);
		hapax_release(out);
	}
	__atomic_add_fetch(&v->calls[o], 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&v->all, 1, __ATOMIC_RELAXED);
}

/* Two threads look, clear (owners: one of them) and sum up; the others call. */
static void views_run(unsigned index, void *arg)
{
	struct views *v = arg;
	hapax_memo_info i;

	if (index >= 2) {
		for (uint64_t n = scaled(15000); n--;)
			views_call(v, index);
		__atomic_sub_fetch(&v->callers, 1, __ATOMIC_SEQ_CST);
		return;
	}
	while (__atomic_load_n(&v->callers, __ATOMIC_SEQ_CST)) {
		int o = (int)test_below(&v->random[index], OWNERS);
		void *owner = v->owned && test_below(&v->random[index], 2) ? v->owner[o] : NULL;

		i = info_of(&v->w, owner);
		CHECK(i.hits + i.misses <= __atomic_load_n(&v->all, __ATOMIC_SEQ_CST) + THREADS);
		if ((index == 1 && v->clears_owners) || (owner && !v->clears_owners) || (!owner && v->clears_owners))
			continue;
		i = cleared(&v->w, owner);
		add_info(owner ? &v->owner_sum[o] : &v->sums[index], &i);
	}
}

/* At rest: how many there are. */
static uint64_t views_present(struct views *v, struct item *owner)
{
	uint64_t n = 0;

	for (int x = 0; x < 30; x++)
		n += found(&v->w, owner, x) != 0;
	return n;
}

static void views_test(unsigned kind, int64_t capacity, bool clears_owners, uint64_t stream)
{
	hapax_env *env = test_env();
	struct views v = {.w = {.then = views_then}, .callers = THREADS - 2, .clears_owners = clears_owners,
			  .owned = kind & HAPAX_MEMO_OWNED};
	hapax_memo_info i, last;
	int runs;

	memo_options(env, &v.w, kind, (hapax_memo_options){.capacity = capacity});
	for (int o = 0; o < OWNERS; o++)
		v.owner[o] = item_new(env, o + 1);
	for (unsigned t = 0; t < THREADS; t++)
		v.random[t] = test_stream(stream * 100 + t);
	run_threads(THREADS, views_run, &v);
	runs = runs_of(&v.w);
	last = info_of(&v.w, NULL);
	v.sum = last;
	add_info(&v.sum, &v.sums[0]);
	add_info(&v.sum, &v.sums[1]);
	if (!clears_owners) { /* every call is in one of the views, and in one only */
		CHECK_EQ(v.sum.hits + v.sum.misses, v.all);
		CHECK_EQ(v.sum.computed, runs);
		CHECK(v.sum.misses >= v.sum.computed && v.sum.waits <= v.sum.misses);
	} else { /* an owner's clear takes nothing from the memo's */
		CHECK_EQ(last.hits + last.misses, v.all);
		CHECK_EQ(last.computed, runs);
	}
	if (!v.owned)
		CHECK_EQ(last.entries, views_present(&v, NULL));
	for (int o = 0; o < OWNERS && v.owned; o++) {
		i = info_of(&v.w, v.owner[o]);
		CHECK_EQ(i.entries, views_present(&v, v.owner[o]));
		if (clears_owners) {
			add_info(&v.owner_sum[o], &i);
			CHECK_EQ(v.owner_sum[o].hits + v.owner_sum[o].misses, v.calls[o]);
		} else {
			CHECK(i.hits + i.misses <= v.calls[o]);
		}
		hapax_release(v.owner[o]);
		v.owner[o] = NULL;
	}
	for (int o = 0; o < OWNERS; o++)
		hapax_release(v.owner[o]);
	if (v.owned)
		CHECK_EQ(info_of(&v.w, NULL).entries, 0);
	cleared(&v.w, NULL);
	CHECK_EQ(info_of(&v.w, NULL).entries, 0);
	work_end_env(&v.w, env);
}

TEST(PY_LRU_03_every_call_is_in_one_view)
{
	static const int64_t capacities[] = {HAPAX_UNLIMITED, 10, 0, HAPAX_ZERO};

	for (int kind = 0; kind < KINDS; kind++)
		views_test(kinds[kind], capacities[kind % 4], false, (uint64_t)kind);
}

TEST(SD_33_every_call_of_an_owner_is_in_one_view)
{
	views_test(HAPAX_MEMO_OWNED, 10, true, 50);
	views_test(HAPAX_MEMO_OWNED | MEMO_MAKES, HAPAX_UNLIMITED, true, 51);
	views_test(HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET, 20, true, 52);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------- */

struct waiting {
	struct work w;
	struct gate g;
	struct item *owner;
	int at; /* the run that stops */
	bool vanishes;
};

static int waiting_then(struct work *w, int run, void *owner, const hapax_arg *args, size_t n)
{
	struct waiting *s = w->arg;

	(void)owner;
	(void)args;
	(void)n;
	if (run != s->at)
		return GO_ON;
	test_event_set(&s->g.entered);
	test_event_wait(&s->g.go);
	if (s->vanishes)
		pthread_exit(NULL);
	return GO_ON;
}

/* A thread that calls with one number. */
struct caller {
	struct waiting *s;
	pthread_t thread;
	int64_t x;
	uint64_t deadline;
	int status;
	void *out;
};

static void *caller_run(void *arg)
{
	struct caller *c = arg;
	hapax_memo_call_options o = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = c->deadline};
	hapax_arg x = hapax_arg_int(c->x); /* on this stack, which may be gone before the computation ends */

	c->status = 12345;
	c->status = hapax_memo_call_with(c->s->w.memo, c->s->owner, &x, 1, &o, &c->out);
	return NULL;
}

static void caller_begin(struct caller *c, struct waiting *s, int64_t x, uint64_t deadline)
{
	*c = (struct caller){.s = s, .x = x, .deadline = deadline};
	c->thread = test_thread(caller_run, c);
}

static int caller_end(struct caller *c, int status)
{
	struct outcome *o;
	int run;

	test_join(c->thread);
	CHECK_EQ(c->status, status);
	CHECK_EQ(c->out != NULL, status == HAPAX_OK);
	o = c->out;
	run = o ? o->item.id : 0;
	hapax_release(o);
	return run;
}

static void waiting_begin(struct waiting *s, hapax_env *env, unsigned kind, int at)
{
	*s = (struct waiting){.w = {.then = waiting_then, .arg = s}, .g = GATE_INIT, .at = at};
	s->owner = kind & HAPAX_MEMO_OWNED ? item_new(env, 1) : NULL;
	memo_new(env, &s->w, kind, 10);
}

/* Not waiting, waiting until a deadline: misses, and waits if they did. The computation goes on. */
TEST(deadlines_bound_the_waiting_for_others)
{
	for (int kind = 0; kind < KINDS; kind++) {
		hapax_env *env = test_env_fake();
		struct waiting s;
		struct caller first, late[2];
		hapax_memo_call_options o = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT};
		const hapax_arg x = hapax_arg_int(5);
		void *out = (void *)1;

		waiting_begin(&s, env, kinds[kind], 1);
		caller_begin(&first, &s, 5, HAPAX_NO_WAIT); /* bounds waiting, not one's own computation */
		test_event_wait(&s.g.entered);
		CHECK_EQ(hapax_memo_call_with(s.w.memo, s.owner, &x, 1, &o, &out), HAPAX_INFLIGHT);
		CHECK(!out);
		CHECK_EQ(found(&s.w, s.owner, 5), 0);
		caller_begin(&late[0], &s, 5, fake_clock_now() + 1000);
		caller_begin(&late[1], &s, 5, fake_clock_now() + 2000);
		fake_clock_await_sleepers(2);
		fake_clock_advance(1000);
		caller_end(&late[0], HAPAX_ETIMEDOUT);
		o.deadline = fake_clock_now(); /* now is too late */
		CHECK_EQ(hapax_memo_call_with(s.w.memo, s.owner, &x, 1, &o, &out), HAPAX_ETIMEDOUT);
		CHECK_EQ(call(&s.w, s.owner, 6), 2); /* others go on */
		test_event_set(&s.g.go);
		CHECK_EQ(caller_end(&first, HAPAX_OK), 1);
		CHECK_EQ(caller_end(&late[1], HAPAX_OK), 1);
		for (int all = 0; all < 2; all++) {
			hapax_memo_info i = info_of(&s.w, all ? NULL : s.owner);

			INFO(i, 0, 6, 2);
			CHECK_EQ(i.computed, 2);
			CHECK_EQ(i.failed, 0);
			CHECK_EQ(i.waits, 3);
		}
		CHECK_EQ(hapax_memo_call_with(s.w.memo, s.owner, &x, 1, &o, &out), HAPAX_OK); /* present: no waiting */
		hapax_release(out);
		o.deadline = HAPAX_NO_WAIT;
		CHECK_EQ(hapax_memo_call_with(s.w.memo, s.owner, &x, 1, &o, &out), HAPAX_OK);
		hapax_release(out);
		hapax_release(s.owner);
		work_end_env(&s.w, env);
	}
}

/* What is forgotten while it is computed goes to those who wait for it, and is not kept. */
TEST(L7_a_computation_that_was_forgotten_is_not_kept)
{
	for (int kind = 0; kind < KINDS; kind++) {
		for (int way = 0; way < 3; way++) {
			hapax_env *env = test_env_fake();
			struct waiting s;
			struct caller first, second;

			waiting_begin(&s, env, kinds[kind], 1);
			caller_begin(&first, &s, 5, HAPAX_FOREVER);
			test_event_wait(&s.g.entered);
			caller_begin(&second, &s, 5, UINT64_MAX / 2);
			fake_clock_await_sleepers(1);
			if (way == 0)
				CHECK(forget(&s.w, s.owner, 5) >= 0);
			else
				CHECK_EQ(cleared(&s.w, way == 1 ? s.owner : NULL).entries, 0);
			CHECK_EQ(call(&s.w, s.owner, 5), 2); /* anew, though the first still runs */
			test_event_set(&s.g.go);
			CHECK_EQ(caller_end(&first, HAPAX_OK), 1);
			CHECK_EQ(caller_end(&second, HAPAX_OK), 1);
			CHECK_EQ(found(&s.w, s.owner, 5), 2);
			CHECK_EQ(info_of(&s.w, NULL).entries, 1);
			CHECK_EQ(gone_of(&s.w), 1);
			hapax_release(s.owner);
			work_end_env(&s.w, env);
		}
	}
}

TEST(L6_a_thread_that_vanishes_in_the_function_hands_over)
{
	for (int kind = 0; kind < KINDS; kind++) {
		for (int n = 0; n < 4; n++) { /* waiters */
			hapax_env *env = test_env_fake();
			struct waiting s;
			struct caller first, other[3];
			hapax_memo_info i;

			waiting_begin(&s, env, kinds[kind], 1);
			s.vanishes = true;
			caller_begin(&first, &s, 5, HAPAX_FOREVER);
			test_event_wait(&s.g.entered);
			for (int t = 0; t < n; t++)
				caller_begin(&other[t], &s, 5, UINT64_MAX / 2);
			fake_clock_await_sleepers((unsigned)n);
			test_event_set(&s.g.go);
			test_join(first.thread);
			CHECK_EQ(first.status, 12345);
			for (int t = 0; t < n; t++)
				CHECK_EQ(caller_end(&other[t], HAPAX_OK), 2);
			CHECK_EQ(call(&s.w, s.owner, 5), 2);
			i = info_of(&s.w, NULL);
			INFO(i, n ? 1 : 0, n + (n ? 1 : 2), 1); /* the first ran the function: it counts */
			CHECK_EQ(i.computed, 2);
			CHECK_EQ(i.failed, 1);
			if (s.owner) {
				hapax_memo_info own = info_of(&s.w, s.owner);

				INFO(own, i.hits, i.misses, i.entries);
				CHECK_EQ(own.computed, 2);
				CHECK_EQ(own.failed, 1);
				CHECK_EQ(own.waits, i.waits);
			}
			hapax_release(s.owner);
			work_end_env(&s.w, env);
		}
	}
}

/* ---- errors change nothing --------------------------------------------------------------------------------------- */

TEST(L10_every_error_changes_nothing)
{
	for (int kind = 0; kind < KINDS; kind++) {
		hapax_env *env = test_env(), *foreign_env = test_env();
		struct work w = {0};
		bool owned = kinds[kind] & HAPAX_MEMO_OWNED;
		struct item *owner = owned ? item_new(env, 1) : NULL, *strong = item_of(env, &strong_type, 2);
		struct item *foreign = item_new(foreign_env, 3), *right = owner ? owner : NULL, *extra = item_new(env, 4);
		const hapax_arg x = hapax_arg_int(1);
		hapax_memo_info before, own, info = {.size = sizeof(info) - 1};
		hapax_memo_call_options o = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
		hapax_load_error error = {.code = 7};
		void *out = NULL;
		size_t bytes;

		memo_new(env, &w, kinds[kind], 10);
		call(&w, right, 1);
		call(&w, right, 1);
		before = info_of(&w, NULL);
		own = info_of(&w, right);
		hapax_testing_drain(env);
		bytes = hapax_testing_bytes(env);
		CHECK_EQ(hapax_memo_call(NULL, right, &x, 1, &out), HAPAX_ENULL);
		CHECK_EQ(hapax_memo_find(NULL, right, &x, 1, &out), HAPAX_ENULL);
		CHECK_EQ(hapax_memo_find(w.memo, right, &x, 1, NULL), HAPAX_ENULL);
		CHECK_EQ(hapax_memo_forget(NULL, right, &x, 1), HAPAX_ENULL);
		CHECK_EQ(hapax_memo_info_get(NULL, NULL, &info), HAPAX_ENULL);
		CHECK_EQ(hapax_memo_info_get(w.memo, NULL, NULL), HAPAX_ENULL);
		CHECK_EQ(hapax_memo_info_get(w.memo, NULL, &info), HAPAX_EOPTSIZE);
		CHECK_EQ(hapax_memo_clear(NULL, NULL, NULL), HAPAX_ENULL);
		CHECK_EQ(hapax_memo_clear(w.memo, NULL, &info), HAPAX_EOPTSIZE);
		CHECK_EQ(hapax_memo_clear(w.memo, right, &info), HAPAX_EOPTSIZE);
		o.size--;
		CHECK_EQ(hapax_memo_call_with(w.memo, right, &x, 1, &o, &out), HAPAX_EOPTSIZE);
		o.size++;
		o.flags = 1;
		o.error = &error;
		CHECK_EQ(hapax_memo_call_with(w.memo, right, &x, 1, &o, &out), HAPAX_EFLAGS);
		if (owned) {
			CHECK_EQ(refused(&w, NULL, &x, 1), HAPAX_ENULL);
			CHECK_EQ(hapax_memo_find(w.memo, NULL, &x, 1, &out), HAPAX_ENULL);
			CHECK_EQ(hapax_memo_forget(w.memo, NULL, &x, 1), HAPAX_ENULL);
			CHECK_EQ(refused(&w, strong, &x, 1), HAPAX_ENOTWEAK);
			CHECK_EQ(hapax_memo_find(w.memo, strong, &x, 1, &out), HAPAX_ENOTWEAK);
			CHECK_EQ(refused(&w, foreign, &x, 1), HAPAX_EFOREIGN);
			CHECK_EQ(hapax_memo_forget(w.memo, foreign, &x, 1), HAPAX_EFOREIGN);
		} else {
			CHECK_EQ(refused(&w, extra, &x, 1), HAPAX_EOPTION);
			CHECK_EQ(hapax_memo_find(w.memo, extra, &x, 1, &out), HAPAX_EOPTION);
			CHECK_EQ(hapax_memo_forget(w.memo, extra, &x, 1), HAPAX_EOPTION);
			info.size = sizeof(info);
			CHECK_EQ(hapax_memo_info_get(w.memo, extra, &info), HAPAX_EOPTION);
			CHECK_EQ(hapax_memo_clear(w.memo, extra, &info), HAPAX_EOPTION);
		}
		info = info_of(&w, NULL);
		CHECK(info_same(&before, &info));
		info = info_of(&w, right);
		CHECK(info_same(&own, &info));
		CHECK_EQ(found(&w, right, 1), 1);
		CHECK_EQ(runs_of(&w), 1);
		hapax_testing_drain(env);
		CHECK_EQ(hapax_testing_bytes(env), bytes);
		hapax_memo_close(w.memo);
		hapax_memo_close(w.memo);
		CHECK_EQ(refused(&w, right, &x, 1) < 0 || !owned, true);
		for (int i = 2; i < 5; i++) {
			const hapax_arg y = hapax_arg_int(i);

			CHECK_EQ(refused(&w, right, &y, 1), HAPAX_ECLOSED);
		}
		CHECK_EQ(runs_of(&w), 1);
		hapax_release(owner);
		hapax_release(strong);
		hapax_release(foreign);
		hapax_release(extra);
		work_end_env(&w, env);
		test_env_end(foreign_env);
	}
}

static int bad_create(const hapax_memo_options *o)
{
	hapax_memo *memo = (hapax_memo *)1;
	int rc = hapax_memo_create(&memo, o);

	CHECK(rc != HAPAX_OK && !memo);
	return rc;
}

TEST(L10_options_that_are_refused)
{
	hapax_env *env = test_env();
	struct work w = {.env = env};
	static const hapax_type crooked = {HAPAX_TYPE_INIT, .size = 8, .align = 24};
	const hapax_memo_options good = {HAPAX_MEMO_OPTIONS_INIT, .env = env, .type = &outcome_type, .compute = work_compute,
					 .ctx = &w};
	hapax_memo_options o;
	size_t bytes = hapax_testing_bytes(env);

	CHECK_EQ(hapax_memo_create(NULL, &good), HAPAX_ENULL);
	CHECK_EQ(bad_create(NULL), HAPAX_ENULL);
#define BAD(status, ...) (o = good, __VA_ARGS__, CHECK_EQ(bad_create(&o), (status)))
	BAD(HAPAX_EOPTSIZE, o.size = 0);
	BAD(HAPAX_EOPTSIZE, o.size = sizeof(o) + 8);
	BAD(HAPAX_EFLAGS, o.flags = HAPAX_MEMO_SHARED_BUDGET);
	BAD(HAPAX_EFLAGS, o.flags = HAPAX_MEMO_SHARED_BUDGET | HAPAX_MEMO_TYPED);
	BAD(HAPAX_EFLAGS, o.flags = 8);
	BAD(HAPAX_EFLAGS, o.flags = 1u << 31);
	BAD(HAPAX_EOPTION, o.make = work_make);
	BAD(HAPAX_EOPTION, o.compute = NULL);
	BAD(HAPAX_EOPTION, o.capacity = -1);
	BAD(HAPAX_EOPTION, o.capacity = INT64_MIN + 1);
	BAD(HAPAX_EOPTION, o.keys.borrow = true);
	BAD(HAPAX_EALIGN, o.type = &crooked);
	BAD(HAPAX_ENOTWEAK, o.type = &strong_type);
#undef BAD
	o = good;
	o.type = NULL;
	CHECK(bad_create(&o) == HAPAX_EOPTION || bad_create(&o) == HAPAX_ENULL);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_bytes(env), bytes);
	hapax_memo_destroy(NULL);
	hapax_memo_close(NULL);
	CHECK_EQ(hapax_memo_create(&w.memo, &good), HAPAX_OK);
	CHECK_EQ(call(&w, NULL, 1), 1);
	work_end_env(&w, env);
}

/* ---- memory that is refused ---------------------------------------------------------------------------------------- */

/* Random calls with allocations that fail now and then: an error changes nothing, what needs no memory does not fail. */
TEST(L10_random_calls_while_memory_fails)
{
	for (int kind = 0; kind < KINDS; kind++) {
		hapax_env *env = quiet_env(HAPAX_ENV_NO_THREAD);
		struct test_allocator *memory = test_env_allocator(env);
		struct work w = {0};
		struct item *owner[OWNERS] = {NULL};
		bool owned = kinds[kind] & HAPAX_MEMO_OWNED;
		uint64_t random = test_stream((uint64_t)kind), failed = 0;

		memo_new(env, &w, kinds[kind], 20);
		for (int o = 0; o < OWNERS && owned; o++)
			owner[o] = item_new(env, o + 1);
		for (uint64_t step = scaled(20000); step--;) {
			int o = (int)test_below(&random, OWNERS), what = (int)test_below(&random, 100), rc;
			hapax_arg args[2] = {hapax_arg_int((int64_t)test_below(&random, 60)), hapax_arg_string("second")};
			hapax_memo_info before = info_of(&w, NULL), after = before;
			char big[400];
			void *out = (void *)1;

			if (what % 10 == 3)
				args[1] = hapax_arg_bytes(memset(big, 'x', sizeof(big)), sizeof(big), 0);
			memory->fail_at = test_below(&random, 3) ? memory->calls + 1 + test_below(&random, 4) : 0;
			if (what == 0)
				memory->fail_from = memory->calls + 1;
			if (what == 1 && owned) {
				hapax_release(owner[o]); /* cannot fail */
				memory->fail_at = memory->fail_from = 0;
				owner[o] = item_new(env, o + 1);
				continue;
			}
			if (what == 2) {
				CHECK_EQ(hapax_memo_clear(w.memo, owner[o], &after), HAPAX_OK);
			} else if (what < 20) {
				rc = hapax_memo_forget(w.memo, owner[o], args, 2);
				CHECK(rc == HAPAX_OK || rc == HAPAX_MISS || rc == HAPAX_ENOMEM);
				CHECK_EQ(info_of(&w, NULL).entries, before.entries - (rc == HAPAX_OK));
			} else {
				int runs = runs_of(&w);

				rc = hapax_memo_call(w.memo, owner[o], args, 2, &out);
				if (rc == HAPAX_EGARBAGE) {
					memory->fail_at = memory->fail_from = 0;
					hapax_reclaim(env);
				} else if (rc != HAPAX_OK) {
					CHECK(rc == HAPAX_ENOMEM || (rc == HAPAX_ELOADER && (kinds[kind] & MEMO_MAKES)));
					CHECK(!out);
					failed++;
					after = info_of(&w, NULL);
					CHECK_EQ(after.entries, before.entries);
					CHECK_EQ(after.hits, before.hits);
					CHECK(after.misses - before.misses <= 1); /* it may have looked */
					CHECK_EQ(after.computed - before.computed, runs_of(&w) - runs);
					CHECK_EQ(after.failed - before.failed, runs_of(&w) - runs);
				} else {
					CHECK_EQ(((struct outcome *)out)->value, args[0].value.i);
				}
				hapax_release(out);
			}
			memory->fail_at = memory->fail_from = 0;
			if (step % 512 == 0)
				hapax_reclaim(env);
		}
		CHECK(failed * 1000 > scaled(20000)); /* memory did fail */
		memo_check(&w);
		memory->fail_from = memory->calls + 1; /* and the end needs none */
		for (int o = 0; o < OWNERS; o++)
			hapax_release(owner[o]);
		hapax_memo_destroy(w.memo);
		memory->fail_from = 0;
		test_env_end(env);
	}
}
