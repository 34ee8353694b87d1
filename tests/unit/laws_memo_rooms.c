/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memos: what one thread leaves to another one, or leaves behind when it vanishes; ends in the midst of calls. */
#include <pthread.h>
#include <semaphore.h>

#include "unit/memos.h"

#include "reclaim/reclaim.h"

/* More than are let go of at one hold of the memo's lock. */
enum { MANY = 100 };

/* ---- a policy in whose calls a thread can be stopped ------------------------------------------------------------- */

static hapax_policy gated;
static void (*inner_hit)(void *state, hapax_policy_node *node);
static bool gate_armed; /* changed atomically */
static sem_t gate_reached, gate_opened;

/* The memo's lock is held. */
static void gated_hit(void *state, hapax_policy_node *node)
{
	if (__atomic_exchange_n(&gate_armed, false, __ATOMIC_SEQ_CST)) {
		sem_post(&gate_reached);
		sem_wait(&gate_opened);
	}
	inner_hit(state, node);
}

static const hapax_policy *gated_policy(const hapax_policy *policy)
{
	gated = *policy;
	inner_hit = gated.hit;
	gated.hit = gated_hit;
	gate_armed = false;
	sem_init(&gate_reached, 0, 0);
	sem_init(&gate_opened, 0, 0);
	return &gated;
}

struct rooms {
	struct work w;
	struct item *owner, *other;
	pthread_t thread, releaser;
	int deaths;
	bool over;
};

static void rooms_begin(struct rooms *r, hapax_env *env, const hapax_policy *policy,
			void (*result_destroyed)(struct item *item, void *arg))
{
	*r = (struct rooms){.owner = item_new(env, 1), .other = item_new(env, 2), .w = {.result_destroyed = result_destroyed}};
	memo_options(env, &r->w, HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET,
		     (hapax_memo_options){.capacity = 10 * MANY, .policy = gated_policy(policy)});
	call(&r->w, r->other, 0);
	for (int i = 0; i < MANY; i++)
		call(&r->w, r->owner, i);
}

/* ---- a rest, when the lock is held for something else -------------------------------------------------------------- */

/* Until a hit has been through the policy. */
static void *hit_and_hit(void *arg)
{
	struct rooms *r = arg;

	while (!__atomic_load_n(&r->over, __ATOMIC_SEQ_CST))
		call(&r->w, r->other, 0);
	return NULL;
}

/* The first of the results is let go of, and the lock was given up for that: now somebody else takes it. */
static void second_death(const char *name, void *ctx)
{
	struct rooms *r = ctx;

	if (strcmp(name, "death.dead") || ++r->deaths != 2)
		return;
	__atomic_store_n(&gate_armed, true, __ATOMIC_SEQ_CST);
	CHECK_EQ(pthread_create(&r->thread, NULL, hit_and_hit, r), 0);
	sem_wait(&gate_reached);
}

TEST(L13_the_results_of_a_dead_owner_go_though_others_use_the_memo_between)
{
	hapax_env *env = quiet_env(0);
	struct rooms r;

	rooms_begin(&r, env, hapax_policy_tinylfu(), NULL);
	hapax_testing_set_stop(second_death, &r);
	hapax_release(r.owner);
	hapax_testing_set_stop(NULL, NULL);
	__atomic_store_n(&r.over, true, __ATOMIC_SEQ_CST);
	sem_post(&gate_opened);
	pthread_join(r.thread, NULL);
	CHECK_EQ(gone_of(&r.w), MANY);
	hapax_release(r.other);
	work_end_env(&r.w, env);
}

/* ---- a thread that vanishes between -------------------------------------------------------------------------------- */

static __thread bool vanishes;

static void vanish_in_destructor(struct item *item, void *arg)
{
	(void)item;
	(void)arg;
	if (vanishes) {
		vanishes = false;
		pthread_exit(NULL);
	}
}

/* A hit that holds the lock while the owner dies, and lets go of its results then. */
static void *hit_and_vanish(void *arg)
{
	struct rooms *r = arg;

	vanishes = true;
	call(&r->w, r->other, 0);
	TEST_FAIL("it came back");
	return NULL;
}

TEST(L13_the_results_of_a_dead_owner_go_though_a_destructor_leaves_its_thread)
{
#ifdef __clang__
	TEST_SKIP("code of clang aborts when a cleanup is unwound");
#endif
	hapax_env *env = quiet_env(0);
	struct outcome *kept;
	struct rooms r;

	rooms_begin(&r, env, hapax_policy_lru(), vanish_in_destructor);
	kept = called(&r.w, r.other, 0);
	__atomic_store_n(&gate_armed, true, __ATOMIC_SEQ_CST);
	CHECK_EQ(pthread_create(&r.thread, NULL, hit_and_vanish, &r), 0);
	sem_wait(&gate_reached);
	hapax_release(r.owner);
	CHECK_EQ(gone_of(&r.w), 0);
	sem_post(&gate_opened);
	pthread_join(r.thread, NULL);
	CHECK_EQ(gone_of(&r.w), MANY);
	/* what the thread had in its hands is none of this test's business: the memo has one reference, and this thread */
	hapax_testing_set_strong(kept, 2);
	hapax_release(kept);
	hapax_testing_set_strong(r.other, 1);
	hapax_release(r.other);
	work_end_env(&r.w, env);
}

/* ---- two first calls of an owner ----------------------------------------------------------------------------------- */

static int (*inner_create)(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx);
static void (*inner_destroy)(void *state);
static pthread_barrier_t both;
static bool meet;

/* Each of two has one by then, and puts it. */
static int meeting_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	CHECK(!hpx_in_section());
	if (meet)
		pthread_barrier_wait(&both);
	return inner_create(state, capacity, allocator, ctx);
}

static void outside_destroy(void *state)
{
	CHECK(!hpx_in_section());
	inner_destroy(state);
}

static void first_call(unsigned index, void *arg)
{
	struct rooms *r = arg;

	call(&r->w, r->owner, (int64_t)index);
}

TEST(L5_a_policy_that_came_too_late_goes_outside_sections)
{
	hapax_env *env = quiet_env(0);
	hapax_policy policy = *hapax_policy_lru();
	struct rooms r = {.owner = item_new(env, 1)};

	inner_create = policy.create;
	inner_destroy = policy.destroy;
	policy.create = meeting_create;
	policy.destroy = outside_destroy;
	memo_options(env, &r.w, HAPAX_MEMO_OWNED, (hapax_memo_options){.capacity = 3, .policy = &policy});
	pthread_barrier_init(&both, NULL, 2);
	meet = true;
	run_threads(2, first_call, &r);
	meet = false;
	CHECK_EQ(info_of(&r.w, r.owner).computed, 2);
	hapax_release(r.owner);
	CHECK_EQ(gone_of(&r.w), 2);
	work_end_env(&r.w, env);
}

/* ---- a call that does not wait --------------------------------------------------------------------------------------- */

enum { HEAPS = 100 };
static const hapax_type heap_type = {HAPAX_TYPE_INIT, .name = "heap", .size = 8192, .align = 16};
static void *heap[HEAPS];
static sem_t reading, answered;

/* While it is in its section nothing is freed. */
static void *read_on(void *arg)
{
	struct timespec limit;
	int rc;

	(void)arg;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 60;
	hpx_read_lock();
	sem_post(&reading);
	rc = sem_timedwait(&answered, &limit);
	hpx_read_unlock();
	if (rc)
		TEST_FAIL("the call waits");
	return NULL;
}

/* Between what is made for the owner and what follows comes the bound. */
static int littering_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	if (meet)
		for (int i = 0; i < HEAPS; i++)
			hapax_release(heap[i]);
	return inner_create(state, capacity, allocator, ctx);
}

TEST(CX_WT_02_an_owners_first_call_that_may_not_wait_does_not)
{
	hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = 256 << 10, .log = {.write = log_nothing}};
	hapax_env *env = test_env_options(&options);
	hapax_policy policy = *hapax_policy_lru();
	hapax_memo_call_options now = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT};
	const hapax_arg arg = hapax_arg_int(1);
	struct rooms r = {.owner = item_new(env, 1)};
	void *out = &r;
	int rc;

	inner_create = policy.create;
	policy.create = littering_create;
	meet = false;
	memo_options(env, &r.w, HAPAX_MEMO_OWNED, (hapax_memo_options){.capacity = 3, .policy = &policy});
	for (int i = 0; i < HEAPS; i++)
		CHECK_EQ(hapax_new(env, &heap_type, 0, &heap[i]), HAPAX_OK);
	sem_init(&reading, 0, 0);
	sem_init(&answered, 0, 0);
	CHECK_EQ(pthread_create(&r.thread, NULL, read_on, NULL), 0);
	sem_wait(&reading);
	meet = true;
	rc = hapax_memo_call_with(r.w.memo, r.owner, &arg, 1, &now, &out);
	sem_post(&answered);
	pthread_join(r.thread, NULL);
	CHECK_EQ(rc, HAPAX_EGARBAGE);
	CHECK(!out);
	CHECK_EQ(runs_of(&r.w), 0);
	CHECK_EQ(info_of(&r.w, NULL).owners, 0);
	hapax_release(r.owner);
	work_end_env(&r.w, env);
}

/* ---- the memo ends in a call --------------------------------------------------------------------------------------- */

static int destroy_own(struct work *w, int run, void *owner, const hapax_arg *args, size_t n)
{
	(void)run, (void)owner, (void)args, (void)n;
	hapax_memo_destroy(w->memo);
	w->memo = NULL;
	return GO_ON;
}

/* The memo's memory goes before the call goes on. */
static void left(const char *name, void *env)
{
	if (!strcmp(name, "memo.left"))
		hapax_testing_drain(env);
}

TEST(L12_the_function_ends_its_memo_and_the_arguments_are_long)
{
	static const char text[5000] = "long";
	hapax_env *env = test_env();
	struct work w = {.then = destroy_own};
	const hapax_arg arg = hapax_arg_bytes(text, sizeof(text), HAPAX_TAG_BYTES);
	struct item *owner = item_new(env, 1);

	memo_new(env, &w, HAPAX_MEMO_OWNED, 2);
	hapax_testing_set_stop(left, env);
	CHECK_EQ(refused(&w, owner, &arg, 1), HAPAX_ECLOSED);
	hapax_testing_set_stop(NULL, NULL);
	hapax_release(owner);
	test_env_end(env);
}

/* ---- two clears at once -------------------------------------------------------------------------------------------- */

static sem_t stuck, go_on;

static void *clear_too(void *arg)
{
	struct rooms *r = arg;

	CHECK_EQ(hapax_memo_clear(r->w.memo, NULL, NULL), HAPAX_OK);
	return NULL;
}

/* The first result's end has a second clear begin, which comes no further than the second one's. */
static void clear_in_destructor(struct item *item, void *arg)
{
	struct rooms *r = ((struct work *)arg)->arg;

	(void)item;
	switch (__atomic_add_fetch(&r->deaths, 1, __ATOMIC_SEQ_CST)) {
	case 1:
		CHECK_EQ(pthread_create(&r->thread, NULL, clear_too, r), 0);
		sem_wait(&stuck);
		break;
	case 2:
		sem_post(&stuck);
		sem_wait(&go_on);
		break;
	default:
		break;
	}
}

TEST(SD_33_a_clear_is_over_for_owners_too_when_it_returns)
{
	hapax_env *env = quiet_env(0);
	struct rooms r = {.owner = item_new(env, 1)};
	hapax_memo_info i;

	memo_new(env, &r.w, HAPAX_MEMO_OWNED, 10);
	r.w.result_destroyed = clear_in_destructor;
	r.w.arg = &r;
	sem_init(&stuck, 0, 0);
	sem_init(&go_on, 0, 0);
	for (int n = 0; n < 8; n++)
		call(&r.w, r.owner, n % 4);
	CHECK_EQ(hapax_memo_clear(r.w.memo, NULL, NULL), HAPAX_OK);
	i = info_of(&r.w, r.owner);
	INFO(i, 0, 0, 0);
	i = info_of(&r.w, NULL);
	INFO(i, 0, 0, 0);
	sem_post(&go_on);
	pthread_join(r.thread, NULL);
	hapax_release(r.owner);
	work_end_env(&r.w, env);
}
