/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bound callbacks (PY-WM).
 */
#include <pthread.h>

#include <hapax/bound.h>

#include "unit/bound.h"

TEST(PY_WM_01_calls_hold_both_parts_and_return_what_the_function_returns)
{
	static const int answers[] = {0, 1, -1, HAPAX_DEAD, HAPAX_EDEAD, INT32_MIN, INT32_MAX};
	hapax_env *env = test_env();
	struct listener l;
	struct item *x = item_new(env, 1), *y = item_new(env, 2);
	int result = 12345;

	for (int with_part = 0; with_part < 2; with_part++) {
		listener_new(&l, x, with_part ? y : NULL, true);
		for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
			l.answer = answers[i];
			CHECK_EQ(hapax_bound_call(l.bound, &l, i % 2 ? NULL : &result), HAPAX_OK);
			if (i % 2 == 0)
				CHECK_EQ(result, answers[i]);
			CHECK_EQ(l.calls, i + 1);
			CHECK_PTR(l.target, x);
			CHECK_PTR(l.part, with_part ? y : NULL);
			CHECK_EQ(l.target_count, 2);
			CHECK_EQ(l.part_count, with_part ? 2 : 0);
		}
		CHECK_EQ(hapax_count(x), 1);
		CHECK_EQ(hapax_count(y), 1);
		CHECK_EQ(listener_drop(&l), HAPAX_OK);
		CHECK_EQ(l.frees, 1);
		CHECK_EQ(l.deads, 0);
	}
	hapax_release(x);
	hapax_release(y);
	CHECK_EQ(l.deads, 0); /* dropped before */
	test_env_end(env);
}

/* Neither part is kept; nothing is left when all was dropped, in whatever order. */
TEST(PY_WM_01_keeps_nothing_alive_and_calls_nobody_dead)
{
	for (int order = 0; order < 6; order++) {
		for (int kind = 0; kind < 4; kind++) {
			hapax_env *env = test_env();
			struct item *x = item_new(env, 1), *y = kind & 1 ? item_new(env, 2) : x;
			struct listener l;
			int result = 77, gone = 0;
			void *target, *part;

			items_reset();
			listener_new(&l, x, y, kind & 2);
			for (int step = 0; step < 3; step++) {
				int what = (step * (order < 3 ? 1 : 2) + order) % 3;

				if (what == 0 && l.bound) {
					CHECK_EQ(listener_drop(&l), HAPAX_OK);
					CHECK_EQ(l.frees, 1);
				}
				if (what == 1 || (what == 2 && y != x)) {
					hapax_release(what == 1 ? x : y);
					CHECK_EQ(items_destroyed_now(), ++gone);
				}
				if (!l.bound)
					continue;
				CHECK_EQ(l.frees, 0);
				CHECK_EQ(hapax_bound_alive(l.bound), !gone);
				CHECK_EQ(l.deads, gone && (kind & 2) ? 1 : 0);
				CHECK_EQ(hapax_bound_call(l.bound, &l, &result), gone ? HAPAX_DEAD : HAPAX_OK);
				CHECK_EQ(hapax_bound_get(l.bound, &target, &part), gone ? HAPAX_DEAD : HAPAX_OK);
				CHECK(gone ? !target && !part : target == x && part == y);
				hapax_release(target);
				hapax_release(part);
			}
			if (gone)
				CHECK(result == 77 || result == l.answer);
			CHECK(!l.bound);
			CHECK_EQ(l.frees, 1);
			test_env_end(env);
		}
	}
}

TEST(PY_WM_01_arguments)
{
	hapax_env *env = test_env(), *foreign = test_env();
	struct listener l = {.answer = 1};
	struct item *x = item_new(env, 1), *y = item_new(env, 2), *strange = item_new(foreign, 3);
	struct item *strong = item_of(env, &strong_type, 4);
	hapax_bound_options good = listener_options(&l, x, y, true), o;
	hapax_bound *bound = (hapax_bound *)1;
	void *target = &l, *part = &l;

	CHECK_EQ(hapax_bound_new(NULL, &good), HAPAX_ENULL);
	CHECK_EQ(hapax_bound_new(&bound, NULL), HAPAX_ENULL);
	CHECK(!bound);
#define REFUSED(change, status)                                                                                       \
	do {                                                                                                          \
		o = good;                                                                                             \
		change;                                                                                               \
		bound = (hapax_bound *)1;                                                                             \
		CHECK_EQ(hapax_bound_new(&bound, &o), status);                                                        \
		CHECK(!bound);                                                                                        \
	} while (0)
	REFUSED(o.fn = NULL, HAPAX_ENULL);
	REFUSED(o.target = NULL, HAPAX_ENULL);
	REFUSED(o.size = 0, HAPAX_EOPTSIZE);
	REFUSED(o.size++, HAPAX_EOPTSIZE);
	REFUSED(o.target = strong, HAPAX_ENOTWEAK);
	REFUSED(o.part = strong, HAPAX_ENOTWEAK);
	REFUSED(o.part = strange, HAPAX_EFOREIGN);
	REFUSED(o.target = strange, HAPAX_EFOREIGN);
	CHECK_EQ(hapax_weak_count(x), 0);
	CHECK_EQ(hapax_weak_count(y), 0);
	CHECK_EQ(hapax_bound_call(NULL, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_bound_get(NULL, &target, &part), HAPAX_ENULL);
	CHECK(!target && !part);
	CHECK(!hapax_bound_alive(NULL));
	CHECK_EQ(hapax_bound_drop(NULL), HAPAX_OK);
	CHECK_EQ(l.frees + l.deads + l.calls, 0);
	hapax_release(x);
	hapax_release(y);
	hapax_release(strong);
	hapax_release(strange);
	CHECK_EQ(l.frees + l.deads + l.calls, 0);
	test_env_end(env);
	test_env_end(foreign);
}

/* A count on each part if somebody is to be told, and never a handle that others could list. */
TEST(PY_WM_01_registrations)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *y = item_new(env, 2);
	struct listener l;
	size_t count;

	for (int dead = 0; dead < 2; dead++) {
		listener_new(&l, x, y, dead);
		CHECK_EQ(hapax_weak_count(x), dead);
		CHECK_EQ(hapax_weak_count(y), dead);
		CHECK_EQ(hapax_weak_list(x, NULL, 0, &count), HAPAX_OK);
		CHECK_EQ(count, 0);
		CHECK_EQ(listener_drop(&l), HAPAX_OK);
		listener_new(&l, x, x, dead);
		CHECK_EQ(hapax_weak_count(x), dead);
		CHECK_EQ(hapax_weak_count(y), 0);
		CHECK_EQ(listener_drop(&l), HAPAX_OK);
		CHECK_EQ(hapax_weak_count(x), 0);
	}
	hapax_release(x);
	hapax_release(y);
	test_env_end(env);
}

/* ---- deaths ------------------------------------------------------------------------------------------------------ */

TEST(PY_WM_02_dead_is_told_once_whichever_part_dies_first)
{
	for (int first = 0; first < 2; first++) {
		hapax_env *env = test_env();
		struct item *part[2] = {item_new(env, 1), item_new(env, 2)};
		struct listener l;

		listener_new(&l, part[0], part[1], true);
		hapax_release(part[first]);
		CHECK_EQ(l.deads, 1);
		CHECK_EQ(l.frees, 0);
		CHECK(item_is_alive(part[!first]));
		CHECK_EQ(hapax_bound_call(l.bound, &l, NULL), HAPAX_DEAD);
		hapax_release(part[!first]);
		CHECK_EQ(l.deads, 1);
		CHECK_EQ(listener_drop(&l), HAPAX_OK);
		CHECK_EQ(l.deads, 1);
		CHECK_EQ(l.frees, 1);
		CHECK_EQ(l.calls, 0);
		test_env_end(env);
	}
}

static void release_child_early(struct item *item, void *arg)
{
	struct listener *l = arg;

	CHECK_EQ(l->deads, 1); /* callbacks come before the destructor */
	hapax_release(item->child);
	item->child = NULL;
}

TEST(PY_WM_02_a_part_that_dies_of_the_other_ones_death)
{
	for (int which = 0; which < 2; which++) {
		hapax_env *env = test_env();
		struct item *owner = item_new(env, 1), *child = item_new(env, 2);
		struct listener l;

		owner->child = child;
		owner->on_destroy = release_child_early;
		owner->arg = &l;
		items_reset();
		listener_new(&l, which ? child : owner, which ? owner : child, true);
		hapax_release(owner);
		CHECK_EQ(items_destroyed_now(), 2);
		CHECK_EQ(l.deads, 1);
		CHECK_EQ(listener_drop(&l), HAPAX_OK);
		CHECK_EQ(l.frees, 1);
		test_env_end(env);
	}
}

/* One death callback of the target drops what would be told later in the same death: nobody is told. */
static void drop_listener(struct probe *p)
{
	struct listener *l = p->arg;

	CHECK_EQ(listener_drop(l), HAPAX_OK);
	CHECK_EQ(l->frees, 1);
}

TEST(PY_WM_02_dropped_before_it_was_told)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *y = item_new(env, 2);
	struct listener l;
	struct probe p;

	listener_new(&l, x, y, true);
	probe_on(&p, 1, x, false); /* newer: fires first */
	p.then = drop_listener;
	p.arg = &l;
	hapax_release(x);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(l.deads, 0);
	CHECK_EQ(l.frees, 1);
	hapax_release(y);
	CHECK_EQ(l.deads, 0);
	CHECK_EQ(probe_drop(&p), HAPAX_OK);
	test_env_end(env);
}

static void drop_in_dead(struct listener *l)
{
	hapax_bound *bound = l->bound;

	l->bound = NULL;
	CHECK_EQ(hapax_bound_drop(bound), HAPAX_INFLIGHT);
	CHECK_EQ(l->frees, 0); /* it is in use here */
}
static void use_in_dead(struct listener *l)
{
	void *target, *part;

	CHECK(!hapax_bound_alive(l->bound));
	CHECK(hapax_bound_equal(l->bound, l->bound));
	CHECK_EQ(hapax_bound_call(l->bound, l, NULL), HAPAX_DEAD);
	CHECK_EQ(hapax_bound_get(l->bound, &target, &part), HAPAX_DEAD);
}

TEST(PY_WM_02_dead_may_drop_and_use_it)
{
	hapax_env *env = test_env();
	struct listener l;

	for (int both = 0; both < 2; both++) {
		struct item *x = item_new(env, 1), *y = both ? x : item_new(env, 2);

		listener_new(&l, x, y, true);
		l.in_dead = drop_in_dead;
		hapax_release(x);
		CHECK_EQ(l.deads, 1);
		CHECK_EQ(l.frees, 1); /* when dead() had returned */
		if (!both)
			hapax_release(y);
		CHECK_EQ(l.deads, 1);
		CHECK_EQ(l.frees, 1);
	}
	struct item *x = item_new(env, 1);

	listener_new(&l, x, NULL, true);
	l.in_dead = use_in_dead;
	hapax_release(x);
	CHECK_EQ(l.deads, 1);
	CHECK_EQ(listener_drop(&l), HAPAX_OK);
	CHECK_EQ(l.frees, 1);
	test_env_end(env);
}

/* dead() lets the other part go: that death is queued, and silent. */
static void release_other_part(struct listener *l) { hapax_release(l->arg); }

TEST(PY_WM_02_the_second_death_inside_dead)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *y = item_new(env, 2);
	struct listener l;

	listener_new(&l, x, y, true);
	l.in_dead = release_other_part;
	l.arg = x;
	hapax_release(y);
	CHECK_EQ(l.deads, 1);
	CHECK_EQ(listener_drop(&l), HAPAX_OK);
	CHECK_EQ(l.frees, 1);
	test_env_end(env);
}

static void register_dying(struct item *item, void *arg)
{
	struct listener *l = arg;
	struct item *other = l->arg;
	hapax_bound_options o = listener_options(l, item, other, true);
	hapax_bound *bound = NULL;

	CHECK_EQ(hapax_bound_new(&bound, &o), HAPAX_EDEAD);
	o = listener_options(l, other, item, true);
	CHECK_EQ(hapax_bound_new(&bound, &o), HAPAX_EDEAD);
	o = listener_options(l, item, NULL, true);
	CHECK_EQ(hapax_bound_new(&bound, &o), HAPAX_EDEAD);
	CHECK(!bound);
	CHECK_EQ(hapax_weak_count(other), 0);
}

TEST(PY_WM_02_a_part_whose_death_has_begun)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *y = item_new(env, 2), *deferred = item_of(env, &deferred_type, 3);
	struct listener l = {.arg = y};

	x->on_destroy = register_dying;
	x->arg = &l;
	hapax_release(x);
	deferred->on_destroy = register_dying;
	deferred->arg = &l;
	hapax_release(deferred);
	hapax_run_deferred(env);
	hapax_release(y);
	CHECK_EQ(l.deads + l.frees + l.calls, 0);
	test_env_end(env);
}

/* In a deferred death the parts read dead at once; dead() is told when it is run. */
TEST(PY_WM_02_deferred_deaths)
{
	hapax_env *env = test_env();
	struct item *x = item_of(env, &deferred_type, 1);
	struct listener l;

	listener_new(&l, x, NULL, true);
	hapax_release(x);
	CHECK_EQ(l.deads, 0);
	CHECK(!hapax_bound_alive(l.bound));
	CHECK_EQ(hapax_bound_call(l.bound, &l, NULL), HAPAX_DEAD);
	hapax_run_deferred(env);
	CHECK_EQ(l.deads, 1);
	CHECK_EQ(listener_drop(&l), HAPAX_OK);
	test_env_end(env);
}

/* ---- drops and calls --------------------------------------------------------------------------------------------- */

static void drop_in_call(struct listener *l)
{
	if (l->calls == 1) {
		CHECK_EQ(listener_drop(l), HAPAX_OK);
		CHECK_EQ(l->frees, 0);
	}
}
static void call_in_call(struct listener *l)
{
	int depth = l->calls, result = 0;

	if (depth < 30) {
		CHECK_EQ(hapax_bound_call(l->bound, l, &result), HAPAX_OK);
		CHECK_EQ(result, l->answer);
	} else {
		CHECK_EQ(listener_drop(l), HAPAX_OK); /* thirty calls deep */
	}
	CHECK_EQ(l->frees, 0);
}
static void release_in_call(struct listener *l)
{
	hapax_release(l->arg);
	CHECK(item_is_alive(l->target));
	CHECK_EQ(l->deads, 0);
}

TEST(PY_WM_01_dropped_or_released_in_the_call)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct listener l;

	listener_new(&l, x, NULL, true);
	l.in_call = drop_in_call;
	CHECK_EQ(hapax_bound_call(l.bound, &l, NULL), HAPAX_OK);
	CHECK_EQ(l.frees, 1);
	listener_new(&l, x, x, true);
	l.in_call = call_in_call;
	CHECK_EQ(hapax_bound_call(l.bound, &l, NULL), HAPAX_OK);
	CHECK_EQ(l.calls, 30);
	CHECK_EQ(l.frees, 1);
	CHECK_EQ(hapax_count(x), 1);
	listener_new(&l, x, NULL, true);
	l.in_call = release_in_call;
	l.arg = x;
	CHECK_EQ(hapax_bound_call(l.bound, &l, NULL), HAPAX_OK);
	CHECK_EQ(l.deads, 1); /* before the call returned */
	CHECK_EQ(listener_drop(&l), HAPAX_OK);
	CHECK_EQ(l.frees, 1);
	test_env_end(env);
}

static void leave(struct listener *l)
{
	(void)l;
	pthread_exit(NULL);
}
static void *call_and_leave(void *arg)
{
	struct listener *l = arg;

	hapax_bound_call(l->bound, l, NULL);
	TEST_FAIL("came back");
}
static void *release_and_leave(void *arg)
{
	hapax_release(arg);
	TEST_FAIL("came back");
}
static void *drop_and_leave(void *arg)
{
	listener_drop(arg);
	TEST_FAIL("came back");
}
static void drop_and_leave_inside(struct listener *l)
{
	drop_in_dead(l);
	pthread_exit(NULL);
}

#ifdef __clang__
static const bool unwinds_cleanups = false;
#else
static const bool unwinds_cleanups = true;
#endif

TEST(PY_WM_01_functions_that_leave_their_thread)
{
	hapax_env *env;
	struct item *x, *y;
	struct listener l;

	if (!unwinds_cleanups)
		TEST_SKIP("compiled by clang, which does not unwind cleanups");
	env = test_env();
	x = item_new(env, 1);
	y = item_new(env, 2);
	/* out of fn: the parts and the use are given back */
	listener_new(&l, x, y, true);
	l.in_call = leave;
	test_join(test_thread(call_and_leave, &l));
	CHECK_EQ(hapax_count(x), 1);
	CHECK_EQ(hapax_count(y), 1);
	CHECK_EQ(l.frees, 0);
	l.in_free = leave; /* out of ctx_free: the memory goes all the same */
	test_join(test_thread(drop_and_leave, &l));
	CHECK_EQ(l.frees, 1);
	/* out of dead: it has been told, and the drop does not wait for ever */
	listener_new(&l, x, y, true);
	l.in_dead = leave;
	test_join(test_thread(release_and_leave, x));
	CHECK_EQ(l.deads, 1);
	CHECK_EQ(listener_drop(&l), HAPAX_OK);
	CHECK_EQ(l.frees, 1);
	/* and dropped there */
	x = item_new(env, 3);
	listener_new(&l, x, y, true);
	l.in_dead = drop_and_leave_inside;
	test_join(test_thread(release_and_leave, x));
	CHECK_EQ(l.frees, 1);
	hapax_release(y);
	CHECK_EQ(l.deads, 1);
	test_env_end(env);
}

/* Its registrations are no handles, also on nodes that were handles before. */
TEST(PY_WM_02_listing_keeps_no_bound_callback)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct listener l;
	struct probe p;
	hapax_weak *list[4];
	size_t count;

	for (int i = 0; i < 20; i++) {
		probe_on(&p, 1, x, true);
		CHECK_EQ(probe_drop(&p), HAPAX_OK);
		listener_new(&l, x, NULL, true); /* on the same node */
		CHECK_EQ(hapax_weak_list(x, list, 4, &count), HAPAX_OK);
		CHECK_EQ(count, 0);
		CHECK_EQ(listener_drop(&l), HAPAX_OK);
	}
	hapax_release(x);
	CHECK_EQ(l.deads, 0);
	test_env_end(env);
}

/* ---- equality ---------------------------------------------------------------------------------------------------- */

static int another_fn(void *target, void *part, void *ctx, void *arg)
{
	(void)target;
	(void)part;
	(void)ctx;
	(void)arg;
	return 0;
}

TEST(PY_WM_04_live_ones_are_equal_iff_function_and_parts_are)
{
	enum { N = 3, ALL = 2 * N * (N + 1) };
	hapax_env *env = test_env();
	struct item *x[N];
	static struct listener l[2][ALL];
	uint64_t hash[ALL];
	int with[ALL][3], n = 0, fn;

	for (int i = 0; i < N; i++)
		x[i] = item_new(env, i);
	for (int copy = 0; copy < 2; copy++) {
		for (n = 0; n < ALL; n++) {
			hapax_bound_options o;

			with[n][0] = n % N;
			with[n][1] = n / N % (N + 1);
			fn = with[n][2] = n / N / (N + 1);
			memset(&l[copy][n], 0, sizeof(l[copy][n]));
			o = listener_options(&l[copy][n], x[with[n][0]], with[n][1] < N ? x[with[n][1]] : NULL, copy);
			if (fn)
				o.fn = another_fn;
			CHECK_EQ(hapax_bound_new(&l[copy][n].bound, &o), HAPAX_OK);
		}
	}
	for (int dying = 0; dying <= N; dying++) {
		for (int i = 0; i < ALL; i++) {
			bool alive = with[i][0] >= dying && with[i][1] >= dying;

			if (!dying)
				hash[i] = hapax_bound_hash(l[0][i].bound);
			CHECK_EQ(hapax_bound_hash(l[0][i].bound), hash[i]);
			CHECK_EQ(hapax_bound_hash(l[1][i].bound), hash[i]);
			CHECK_EQ(hapax_bound_alive(l[0][i].bound), alive);
			CHECK(hapax_bound_equal(l[0][i].bound, l[0][i].bound));
			CHECK(!hapax_bound_equal(l[0][i].bound, NULL) && !hapax_bound_equal(NULL, l[0][i].bound));
			for (int j = 0; j < ALL; j++) {
				CHECK_EQ(hapax_bound_equal(l[0][i].bound, l[1][j].bound), alive && i == j);
				CHECK_EQ(hapax_bound_equal(l[1][j].bound, l[0][i].bound), alive && i == j);
				CHECK(!dying || i == j || hash[i] != hash[j]); /* not a law: a hash worth its name */
			}
		}
		if (dying < N)
			hapax_release(x[dying]);
	}
	CHECK(hapax_bound_equal(NULL, NULL));
	CHECK_EQ(hapax_bound_hash(NULL), 0);
	for (int copy = 0; copy < 2; copy++)
		for (int i = 0; i < ALL; i++)
			CHECK_EQ(listener_drop(&l[copy][i]), HAPAX_OK);
	test_env_end(env);
}
