/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Destructors, callbacks and ctx_free that leave their thread: pthread_exit and cancellation. Once the rest of such a
 * death was left undone: its memory stayed, the deaths queued behind it waited for the thread's next death, and a drop
 * of the handle whose callback had left waited for ever.
 */
#include "unit/item.h"

static bool by_cancellation; /* the first time; a thread that is on its way out is not cancelled again, but may exit */
static __thread bool leaving;

__attribute__((noreturn)) static void leave(void)
{
	if (by_cancellation && !leaving) {
		leaving = true;
		pthread_cancel(pthread_self());
		for (;;)
			pthread_testcancel();
	}
	pthread_exit(NULL);
}

static void *release_it(void *object)
{
	hapax_release(object);
	TEST_FAIL("the release returned");
}

static void release_elsewhere(struct item *item) { test_join(test_thread(release_it, item)); }

static void destroy_and_leave(struct item *item, void *arg)
{
	trace_destroy(item, arg);
	hapax_release(item->child); /* its death is queued behind this one */
	item->child = NULL;
	leave();
}

TEST(PY_DTH_02_a_destructor_that_leaves_its_thread_is_finished)
{
	hapax_env *env = test_env();

	for (int how = 0; how < 2; how++) {
		struct item *x = item_new(env, 1);

		by_cancellation = how;
		x->on_destroy = destroy_and_leave;
		x->child = item_traced(env, 2);
		trace_reset();
		release_elsewhere(x);
		CHECK_STR(trace_text, "d1 d2 ");
	}
	test_env_end(env); /* nothing is left */
}

TEST(PY_DTH_04_every_destructor_of_a_chain_leaves)
{
#ifdef __clang__
	TEST_SKIP("code of clang aborts when a cleanup is unwound");
#endif
	hapax_env *env = test_env();
	struct item *x = NULL, *y;

	items_reset();
	for (int i = 0; i < 50; i++) {
		y = item_new(env, 50 - i);
		y->on_destroy = destroy_and_leave;
		y->child = x;
		x = y;
	}
	trace_reset();
	release_elsewhere(x);
	CHECK_EQ(items_destroyed_now(), 50);
	CHECK_EQ(strncmp(trace_text, "d1 d2 d3 ", 9), 0);
	test_env_end(env);
}

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

struct leaver {
	hapax_weak *weak;
	int calls, frees;
	bool call_leaves, free_leaves;
	struct test_event inside, go;
	bool waits;
};

static void call_and_leave(hapax_weak *weak, void *ctx)
{
	struct leaver *l = ctx;

	CHECK(!hapax_weak_alive(weak));
	l->calls++;
	if (l->waits) {
		test_event_set(&l->inside);
		test_event_wait(&l->go);
		test_sleep_ms(20);
	}
	if (l->call_leaves)
		leave();
}

static void free_and_leave(void *ctx)
{
	struct leaver *l = ctx;

	CHECK_EQ(l->frees++, 0);
	if (l->free_leaves)
		leave();
}

static void leaver_on(struct leaver *l, struct item *x, bool call_leaves, bool free_leaves)
{
	hapax_callback callback = {call_and_leave, l, free_and_leave};

	memset(l, 0, sizeof(*l));
	test_event_init(&l->inside);
	test_event_init(&l->go);
	l->call_leaves = call_leaves;
	l->free_leaves = free_leaves;
	CHECK_EQ(hapax_weak_new(x, &callback, &l->weak), HAPAX_OK);
}

TEST(PY_CB_02_callbacks_that_leave_their_thread_are_finished)
{
	hapax_env *env = test_env();

	for (unsigned variant = 0; variant < 128; variant++) {
#ifdef __clang__ /* aborts when a cleanup is unwound: one at most may leave */
		if ((variant & 63) & ((variant & 63) - 1))
			continue;
#endif
		struct item *x = item_traced(env, 1);
		struct leaver l[3];

		by_cancellation = variant & 64;
		for (unsigned i = 0; i < 3; i++)
			leaver_on(&l[i], x, variant >> i & 1, variant >> (i + 3) & 1);
		trace_reset();
		if (variant & 63)
			release_elsewhere(x);
		else
			hapax_release(x);
		CHECK_STR(trace_text, "d1 ");
		for (unsigned i = 0; i < 3; i++) {
			CHECK_EQ(l[i].calls, 1);
			CHECK_EQ(l[i].frees, 1);
			CHECK_EQ(hapax_weak_drop(l[i].weak), HAPAX_OK);
			CHECK_EQ(l[i].frees, 1);
		}
	}
	test_env_end(env);
}

static void *release_leaver(void *object)
{
	hapax_release(object);
	return NULL;
}

static void *drop_leaver(void *arg)
{
	struct leaver *l = arg;

	CHECK_EQ(hapax_weak_drop(l->weak), HAPAX_OK);
	CHECK_EQ(l->frees, 1);
	return NULL;
}

TEST(PY_CB_D3_a_drop_does_not_wait_for_a_callback_that_left)
{
	hapax_env *env = test_env();

	for (int how = 0; how < 2; how++) {
		struct item *x = item_new(env, 1);
		struct leaver l;
		pthread_t releaser, dropper;

		by_cancellation = how;
		leaver_on(&l, x, true, false);
		l.waits = true;
		releaser = test_thread(release_leaver, x);
		test_event_wait(&l.inside);
		dropper = test_thread(drop_leaver, &l);
		test_event_set(&l.go);
		test_join(dropper);
		test_join(releaser);
		CHECK_EQ(l.calls, 1);
	}
	test_env_end(env);
}

static void *drop_and_leave(void *arg)
{
	struct leaver *l = arg;

	hapax_weak_drop(l->weak);
	TEST_FAIL("the drop returned");
}

TEST(PY_CB_14_a_cancelling_drop_whose_ctx_free_leaves)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct leaver l;

	by_cancellation = false;
	for (int i = 0; i < 3; i++) {
		leaver_on(&l, x, false, true);
		test_join(test_thread(drop_and_leave, &l));
		CHECK_EQ(l.frees, 1);
		CHECK_EQ(l.calls, 0);
		CHECK_EQ(hapax_weak_count(x), 0);
	}
	hapax_release(x);
	CHECK_EQ(l.calls, 0);
	test_env_end(env);
}
