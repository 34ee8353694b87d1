/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bound callbacks under threads (PY-WM): two deaths at once, calls, drops.
 */
#include "unit/bound.h"

/* As struct listener, for several threads: numbers only. A new one for each round. */
struct shared_listener {
	int calls, running, deads, telling, frees;
	bool dropped; /* set after a drop has returned 0 */
};

static int running_fn(void *target, void *part, void *ctx, void *arg)
{
	struct shared_listener *l = ctx;

	(void)arg;
	__atomic_fetch_add(&l->running, 1, __ATOMIC_RELAXED);
	CHECK(item_is_alive(target) && item_is_alive(part));
	CHECK_EQ(__atomic_load_n(&l->frees, __ATOMIC_RELAXED), 0);
	__atomic_fetch_add(&l->calls, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&l->running, 1, __ATOMIC_RELAXED);
	return 0;
}

static void dead(hapax_bound *bound, void *ctx)
{
	struct shared_listener *l = ctx;

	CHECK(!hapax_bound_alive(bound));
	CHECK_EQ(__atomic_fetch_add(&l->deads, 1, __ATOMIC_RELAXED), 0);
	__atomic_store_n(&l->telling, 1, __ATOMIC_RELAXED);
	CHECK(!__atomic_load_n(&l->dropped, __ATOMIC_RELAXED));
	CHECK_EQ(__atomic_load_n(&l->frees, __ATOMIC_RELAXED), 0);
	__atomic_store_n(&l->telling, 0, __ATOMIC_RELAXED);
}

static void ctx_free(void *ctx)
{
	struct shared_listener *l = ctx;

	CHECK_EQ(__atomic_load_n(&l->running, __ATOMIC_RELAXED), 0);
	CHECK_EQ(__atomic_load_n(&l->telling, __ATOMIC_RELAXED), 0);
	CHECK_EQ(__atomic_fetch_add(&l->frees, 1, __ATOMIC_RELAXED), 0);
}

static hapax_bound *bound_on(struct shared_listener *l, void *target, void *part)
{
	hapax_bound_options o = {HAPAX_BOUND_OPTIONS_INIT, .fn = running_fn, .target = target, .part = part, .ctx = l,
				 .dead = dead, .ctx_free = ctx_free};
	hapax_bound *bound = NULL;

	memset(l, 0, sizeof(*l));
	CHECK_EQ(hapax_bound_new(&bound, &o), HAPAX_OK);
	return bound;
}

struct race {
	hapax_env *env;
	struct item *part[2];
	hapax_bound *bound;
	struct shared_listener *l;
	struct test_barrier round;
	int rounds;
	int tell; /* rounds in which dead was told */
};

static void race_begin(struct race *r, int i)
{
	r->part[0] = item_new(r->env, 2 * i);
	r->part[1] = item_new(r->env, 2 * i + 1);
	r->bound = bound_on(r->l, r->part[0], r->part[1]);
}

/* Threads 0 and 1 let one part go each; the others call. Nobody drops until all is over. */
static void two_deaths(unsigned index, void *arg)
{
	struct race *r = arg;

	for (int i = 0; i < r->rounds; i++) {
		if (index == 0)
			race_begin(r, i);
		test_barrier_wait(&r->round);
		if (index < 2) {
			hapax_release(r->part[index]);
		} else {
			bool gone = false;

			for (int j = 0; j < 20; j++) {
				int rc = hapax_bound_call(r->bound, NULL, NULL);

				CHECK(rc == HAPAX_OK || rc == HAPAX_DEAD);
				CHECK(!gone || rc == HAPAX_DEAD);
				gone = rc == HAPAX_DEAD;
			}
		}
		test_barrier_wait(&r->round);
		if (index == 0) {
			CHECK_EQ(r->l->deads, 1);
			CHECK_EQ(r->l->frees, 0);
			CHECK_EQ(hapax_bound_drop(r->bound), HAPAX_OK);
			CHECK_EQ(r->l->deads, 1);
			CHECK_EQ(r->l->frees, 1);
		}
	}
}

TEST(PY_WM_02_both_parts_die_at_once)
{
	struct shared_listener l;
	struct race r = {.env = test_env(), .l = &l, .rounds = (int)scaled(1500)};

	test_barrier_init(&r.round, 4);
	run_threads(4, two_deaths, &r);
	test_env_end(r.env);
}

/* Thread 2 drops while the parts die: told before, or never; and not running any more when the drop has returned. */
static void deaths_and_drop(unsigned index, void *arg)
{
	struct race *r = arg;

	for (int i = 0; i < r->rounds; i++) {
		if (index == 0)
			race_begin(r, i);
		test_barrier_wait(&r->round);
		if (index < 2) {
			hapax_release(r->part[index]);
		} else {
			CHECK_EQ(hapax_bound_drop(r->bound), HAPAX_OK);
			__atomic_store_n(&r->l->dropped, true, __ATOMIC_RELAXED);
			CHECK_EQ(__atomic_load_n(&r->l->telling, __ATOMIC_RELAXED), 0);
			CHECK_EQ(r->l->frees, 1); /* no call, no dead: freed in the drop */
		}
		test_barrier_wait(&r->round);
		if (index == 0)
			r->tell += r->l->deads;
	}
}

TEST(PY_WM_02_a_drop_is_a_barrier_against_both_deaths)
{
	struct shared_listener l;
	struct race r = {.env = test_env(), .l = &l, .rounds = (int)scaled(3000)};

	test_barrier_init(&r.round, 3);
	run_threads(3, deaths_and_drop, &r);
	printf("told in %d of %d rounds\n", r.tell, r.rounds);
	test_env_end(r.env);
}

/* Calls that have begun go on while it is dropped, and the context goes after the last. */
struct calling {
	struct test_event in, go;
	struct listener l;
};
static void stop_in_call(struct listener *l)
{
	struct calling *c = l->arg;

	test_event_set(&c->in);
	test_event_wait(&c->go);
	CHECK_EQ(l->frees, 0);
}
static void *call_it(void *arg)
{
	struct calling *c = arg;

	CHECK_EQ(hapax_bound_call(c->l.bound, &c->l, NULL), HAPAX_OK);
	return NULL;
}

TEST(PY_WM_01_a_drop_does_not_wait_for_calls)
{
	hapax_env *env = test_env();
	struct calling c = {TEST_EVENT_INIT, TEST_EVENT_INIT, {0}};
	struct item *x = item_new(env, 1);
	pthread_t thread;

	listener_new(&c.l, x, NULL, true);
	c.l.in_call = stop_in_call;
	c.l.arg = &c;
	thread = test_thread(call_it, &c);
	test_event_wait(&c.in);
	CHECK_EQ(listener_drop(&c.l), HAPAX_OK);
	CHECK_EQ(c.l.frees, 0);
	hapax_release(x); /* the call still holds it */
	CHECK_EQ(c.l.deads, 0);
	test_event_set(&c.go);
	test_join(thread);
	CHECK_EQ(c.l.frees, 1);
	CHECK_EQ(c.l.deads, 0);
	test_env_end(env);
}

/* dead() is stopped on one thread: the other part's death does not wait for it; a drop does, unless inside user code. */
struct telling {
	struct test_event in, go;
	struct listener l;
	struct item *part[2];
	struct item *outer;
	int first;
	bool over;
};
static void stop_in_dead(struct listener *l)
{
	struct telling *t = l->arg;

	test_event_set(&t->in);
	test_event_wait(&t->go);
	__atomic_store_n(&t->over, true, __ATOMIC_RELAXED);
}
static void *release_first(void *arg)
{
	struct telling *t = arg;

	hapax_release(t->part[t->first]);
	return NULL;
}
static void drop_in_destructor(struct item *item, void *arg)
{
	struct telling *t = arg;

	(void)item;
	CHECK_EQ(hapax_bound_drop(t->l.bound), HAPAX_INFLIGHT);
	CHECK(!t->over);
	CHECK_EQ(t->l.frees, 0);
}
static void *drop_outside(void *arg)
{
	struct telling *t = arg;

	CHECK_EQ(hapax_bound_drop(t->l.bound), HAPAX_OK);
	CHECK(__atomic_load_n(&t->over, __ATOMIC_RELAXED)); /* it has waited */
	CHECK_EQ(t->l.frees, 1);
	return NULL;
}
/* ctx_free looks whether the handle has gone; here the owner does not note it */
static void free_told(void *ctx) { ((struct listener *)ctx)->frees++; }

TEST(PY_WM_02_dead_running_elsewhere)
{
	for (int round = 0; round < 4; round++) {
		hapax_env *env = test_env();
		struct telling t = {.in = TEST_EVENT_INIT, .go = TEST_EVENT_INIT, .first = round & 1};
		hapax_bound_options o;
		pthread_t dying, dropping = {0};

		t.part[0] = item_new(env, 1);
		t.part[1] = item_new(env, 2);
		o = listener_options(&t.l, t.part[0], t.part[1], true);
		o.ctx_free = free_told;
		CHECK_EQ(hapax_bound_new(&t.l.bound, &o), HAPAX_OK);
		t.l.in_dead = stop_in_dead;
		t.l.arg = &t;
		dying = test_thread(release_first, &t);
		test_event_wait(&t.in);
		hapax_release(t.part[!t.first]); /* returns: silent */
		CHECK_EQ(t.l.deads, 1);
		if (round & 2) {
			t.outer = item_new(env, 3);
			t.outer->on_destroy = drop_in_destructor;
			t.outer->arg = &t;
			hapax_release(t.outer);
			test_event_set(&t.go);
		} else {
			dropping = test_thread(drop_outside, &t);
			test_event_set(&t.go);
			test_join(dropping);
		}
		test_join(dying);
		CHECK_EQ(t.l.frees, 1);
		CHECK_EQ(t.l.deads, 1);
		test_env_end(env);
	}
}

/* Everything at once, each thread with bound callbacks of its own on parts that all share and that come and go. */
enum { PARTS = 3, OWN = 6 };
struct storm {
	hapax_env *env;
	hapax_weak *weak[PARTS];
	struct item *item[PARTS];
	struct test_barrier round;
	int rounds;
};

static void storm(unsigned index, void *arg)
{
	struct storm *s = arg;
	uint64_t random = test_stream(index + 1);

	for (int i = 0; i < s->rounds; i++) {
		hapax_bound *bound[OWN] = {NULL};
		struct shared_listener l[OWN];

		if (index == 0)
			for (int j = 0; j < PARTS; j++) {
				s->item[j] = item_new(s->env, j);
				s->weak[j] = weak_of(s->item[j]);
			}
		test_barrier_wait(&s->round);
		for (int j = 0; j < 40; j++) {
			int at = (int)test_below(&random, OWN);

			if (index < PARTS && j == 20)
				hapax_release(s->item[index]);
			if (bound[at] && test_below(&random, 2)) {
				CHECK_EQ(hapax_bound_drop(bound[at]), HAPAX_OK);
				__atomic_store_n(&l[at].dropped, true, __ATOMIC_RELAXED);
				CHECK_EQ(l[at].frees, 1);
				bound[at] = NULL;
			} else if (bound[at]) {
				hapax_bound_call(bound[at], NULL, NULL);
			} else {
				void *target = hapax_weak_get(s->weak[test_below(&random, PARTS)]);
				void *part = hapax_weak_get(s->weak[test_below(&random, PARTS)]);

				if (target && part)
					bound[at] = bound_on(&l[at], target, part);
				hapax_release(target);
				hapax_release(part);
			}
		}
		test_barrier_wait(&s->round);
		for (int j = 0; j < OWN; j++) {
			if (!bound[j])
				continue;
			CHECK_EQ(l[j].deads, 1); /* all parts have died */
			CHECK_EQ(hapax_bound_drop(bound[j]), HAPAX_OK);
			CHECK_EQ(l[j].frees, 1);
		}
		test_barrier_wait(&s->round);
		if (index == 0)
			for (int j = 0; j < PARTS; j++)
				CHECK_EQ(hapax_weak_drop(s->weak[j]), HAPAX_OK);
	}
}

TEST(PY_WM_02_a_storm_of_bound_callbacks)
{
	struct storm s = {.env = test_env(), .rounds = (int)scaled(600)};

	test_barrier_init(&s.round, 4);
	run_threads(4, storm, &s);
	test_env_end(s.env);
}
