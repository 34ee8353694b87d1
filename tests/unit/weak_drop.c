/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * weak_drop as a barrier (D-3): after it the callback is not running and will not run; inside user code it never waits.
 */
#include "unit/item.h"

struct barrier_case {
	struct probe p;
	struct item *x;
	struct test_event inside;
	int over;
	int dropped;
};
static void slow_callback(struct probe *p)
{
	struct barrier_case *b = p->arg;

	test_event_set(&b->inside);
	test_sleep_ms(30);
	__atomic_store_n(&b->over, 1, __ATOMIC_RELAXED);
}
static void *release_barrier_case(void *arg)
{
	struct barrier_case *b = arg;

	hapax_release(b->x);
	return NULL;
}

TEST(PY_CB_D3_drop_waits_for_a_callback_on_another_thread)
{
	hapax_env *env = test_env();

	for (int round = 0; round < 5; round++) {
		struct barrier_case b = {.x = item_new(env, 1), .inside = TEST_EVENT_INIT};
		hapax_weak *weak;
		pthread_t thread;

		trace_reset();
		probe_on(&b.p, 1, b.x, true);
		b.p.then = slow_callback;
		b.p.arg = &b;
		weak = b.p.weak;
		thread = test_thread(release_barrier_case, &b);
		test_event_wait(&b.inside);
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
		CHECK_EQ(__atomic_load_n(&b.over, __ATOMIC_RELAXED), 1);
		CHECK_EQ(b.p.calls, 1);
		CHECK_EQ(b.p.frees, 1); /* the barrier covers ctx_free */
		test_join(thread);
		CHECK_EQ(b.p.frees, 1);
	}
	test_env_end(env);
}

struct crossing {
	struct test_barrier both;
	struct probe p[2];
	struct item *x[2];
	int status[2];
};
static void drop_the_other_one(struct probe *p)
{
	struct crossing *c = p->arg;
	int me = p->id;
	struct probe *other = &c->p[1 - me];

	test_barrier_wait(&c->both); /* both callbacks are running */
	c->status[me] = hapax_weak_drop(other->weak);
	CHECK_EQ(c->status[me], HAPAX_INFLIGHT);
	test_barrier_wait(&c->both);
}
static void quiet_call(hapax_weak *weak, void *ctx)
{
	struct probe *p = ctx;

	CHECK(!hapax_weak_get(weak));
	p->calls++;
	p->then(p);
}
static void quiet_free(void *ctx)
{
	struct probe *p = ctx;

	CHECK_EQ(p->calls, 1);
	p->frees++;
}
static void release_mine(unsigned index, void *arg)
{
	struct crossing *c = arg;

	hapax_release(c->x[index]);
}

TEST(PY_CB_D3_two_callbacks_that_drop_each_other_do_not_wait)
{
	hapax_env *env = test_env();

	for (int round = 0; round < 20; round++) {
		struct crossing c;

		memset(&c, 0, sizeof(c));
		test_barrier_init(&c.both, 2);
		for (int i = 0; i < 2; i++) {
			hapax_callback cb = {quiet_call, &c.p[i], quiet_free};

			c.x[i] = item_new(env, i);
			c.p[i] = (struct probe){.id = i, .then = drop_the_other_one, .arg = &c};
			CHECK_EQ(hapax_weak_new(c.x[i], &cb, &c.p[i].weak), HAPAX_OK);
		}
		run_threads(2, release_mine, &c);
		for (int i = 0; i < 2; i++) {
			CHECK_EQ(c.p[i].calls, 1);
			CHECK_EQ(c.p[i].frees, 1);
		}
	}
	test_env_end(env);
}

struct race {
	struct item *x;
	hapax_weak *weak;
	int calls, frees;
	int gone; /* drop returned 0: neither may come any more */
};
static void race_call(hapax_weak *weak, void *ctx)
{
	struct race *r = ctx;

	(void)weak;
	CHECK_EQ(__atomic_load_n(&r->gone, __ATOMIC_RELAXED), 0);
	r->calls++;
	CHECK_EQ(__atomic_load_n(&r->gone, __ATOMIC_RELAXED), 0);
}
static void race_free(void *ctx)
{
	struct race *r = ctx;

	CHECK_EQ(__atomic_load_n(&r->gone, __ATOMIC_RELAXED), 0);
	r->frees++;
}
struct race_all {
	struct race *races;
	int n;
	struct test_barrier round;
};
static void race_drop_and_death(unsigned index, void *arg)
{
	struct race_all *all = arg;

	for (int i = 0; i < all->n; i++) {
		struct race *r = &all->races[i];

		if (i % 16 == 0)
			test_barrier_wait(&all->round);
		if (index == 0) {
			hapax_release(r->x);
		} else {
			CHECK_EQ(hapax_weak_drop(r->weak), HAPAX_OK);
			/* a barrier: what the callback and ctx_free did is over and visible */
			CHECK_EQ(r->frees, 1);
			CHECK(r->calls <= 1);
			__atomic_store_n(&r->gone, 1, __ATOMIC_RELAXED);
		}
	}
}

TEST(PY_CB_D3_drop_racing_with_death)
{
	hapax_env *env = test_env();
	struct race_all all = {.n = (int)scaled(20000)};

	all.races = calloc((size_t)all.n, sizeof(*all.races));
	CHECK(all.races);
	test_barrier_init(&all.round, 2);
	for (int i = 0; i < all.n; i++) {
		hapax_callback cb = {race_call, &all.races[i], race_free};

		all.races[i].x = item_new(env, i);
		CHECK_EQ(hapax_weak_new(all.races[i].x, &cb, &all.races[i].weak), HAPAX_OK);
	}
	run_threads(2, race_drop_and_death, &all);
	for (int i = 0; i < all.n; i++)
		CHECK_EQ(all.races[i].frees, 1);
	free(all.races);
	test_env_end(env);
}

static void free_and_drop(void *ctx)
{
	struct probe *p = ctx;

	p->frees++;
	if (p->weak)
		CHECK(probe_drop(p) >= 0);
}

/* L5: ctx_free is user code too: it may drop the handle it belongs to. */
TEST(PY_CB_D3_ctx_free_may_drop_its_handle)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct probe p = {.id = 1};
	hapax_callback cb = {probe_call, &p, free_and_drop};

	trace_reset();
	CHECK_EQ(hapax_weak_new(x, &cb, &p.weak), HAPAX_OK);
	hapax_release(x);
	CHECK_EQ(p.calls, 1);
	CHECK_EQ(p.frees, 1);
	CHECK(!p.weak);
	test_env_end(env);
}
