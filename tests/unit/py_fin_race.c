/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finalizers: threads that come at once. */
#include <sched.h>

#include "unit/finalizers.h"

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
