/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* model/selftest.c - scenarios that must fail: what the model cannot find here it would not find elsewhere. */
#include "model/model.h"
#include "model/selftest.h"

#include <pthread.h>
#include <stdlib.h>

struct counter {
	uint64_t value;
	pthread_mutex_t a, b;
	uint64_t *block;
	uint32_t ready, other;
	uint64_t plain;
};

/* Two threads add by load and store. */
static void add_in_two_steps(void *state)
{
	struct counter *c = state;
	uint64_t seen;

	for (int i = 0; i < 2; i++) {
		seen = __atomic_load_n(&c->value, __ATOMIC_SEQ_CST);
		__atomic_store_n(&c->value, seen + 1, __ATOMIC_SEQ_CST);
	}
}

static void four(void *state)
{
	struct counter *c = state;

	MODEL_CHECK(c->value == 4, "an addition was lost: %llu", (unsigned long long)c->value);
}

const struct model_scenario selftest_lost_update = {
	.name = "selftest-lost-update", .summary = "two threads add with a load and a store", .size = sizeof(struct counter),
	.thread = {add_in_two_steps, add_in_two_steps}, .finish = four, .flags = MODEL_EXPECT_FAIL, .preemptions = 2,
};

static void a_then_b(void *state)
{
	struct counter *c = state;

	pthread_mutex_lock(&c->a);
	pthread_mutex_lock(&c->b);
	pthread_mutex_unlock(&c->b);
	pthread_mutex_unlock(&c->a);
}

static void b_then_a(void *state)
{
	struct counter *c = state;

	pthread_mutex_lock(&c->b);
	pthread_mutex_lock(&c->a);
	pthread_mutex_unlock(&c->a);
	pthread_mutex_unlock(&c->b);
}

const struct model_scenario selftest_deadlock = {
	.name = "selftest-deadlock", .summary = "two locks in both orders", .size = sizeof(struct counter),
	.thread = {a_then_b, b_then_a}, .flags = MODEL_EXPECT_FAIL, .preemptions = 2,
};

/* Whoever comes second frees; whoever believes to be first does not. */
static void one_block(void *state)
{
	struct counter *c = state;

	c->block = malloc(sizeof(*c->block));
	*c->block = 0;
	c->value = 2;
}

static void drop_in_two_steps(void *state)
{
	struct counter *c = state;
	uint64_t left = __atomic_load_n(&c->value, __ATOMIC_SEQ_CST) - 1;

	__atomic_store_n(&c->value, left, __ATOMIC_SEQ_CST);
	if (!left)
		free(c->block);
}

const struct model_scenario selftest_leak = {
	.name = "selftest-leak", .summary = "the last of two frees, unless each takes the other for the last",
	.size = sizeof(struct counter), .setup = one_block, .thread = {drop_in_two_steps, drop_in_two_steps},
	.flags = MODEL_EXPECT_FAIL, .preemptions = 2,
};

static void use_while_ready(void *state)
{
	struct counter *c = state;

	if (__atomic_load_n(&c->ready, __ATOMIC_SEQ_CST))
		return;
	__atomic_fetch_add(&c->other, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(c->block, 1, __ATOMIC_RELAXED);
}

static void free_when_unused(void *state)
{
	struct counter *c = state;

	__atomic_store_n(&c->ready, 1, __ATOMIC_SEQ_CST);
	free(c->block);
}

const struct model_scenario selftest_use_after_free = {
	.name = "selftest-use-after-free", .summary = "one looks at a flag and uses, the other sets it and frees",
	.size = sizeof(struct counter), .setup = one_block, .thread = {use_while_ready, free_when_unused},
	.flags = MODEL_EXPECT_FAIL, .preemptions = 2,
};

/* Writes where the other has taken the pointer away. */
static void write_through(void *state)
{
	struct counter *c = state;
	uint64_t *block = NULL;

	if (__atomic_load_n(&c->block, __ATOMIC_SEQ_CST))
		block = __atomic_load_n(&c->block, __ATOMIC_SEQ_CST);
	else
		return;
	*block = 1;
}

static void take_away(void *state)
{
	struct counter *c = state;

	free(__atomic_exchange_n(&c->block, NULL, __ATOMIC_SEQ_CST));
}

const struct model_scenario selftest_crash = {
	.name = "selftest-crash", .summary = "a pointer is looked at twice, and NULL the second time",
	.size = sizeof(struct counter), .setup = one_block, .thread = {write_through, take_away},
	.flags = MODEL_EXPECT_FAIL, .preemptions = 2,
};

/* No way to fail without a race: the plain word is never read wrongly by luck. */
static void write_plain(void *state)
{
	struct counter *c = state;

	__atomic_store_n(&c->ready, 1, __ATOMIC_RELAXED);
	c->plain++;
}

const struct model_scenario selftest_race = {
	.name = "selftest-race", .summary = "two threads write a plain word", .size = sizeof(struct counter),
	.thread = {write_plain, write_plain}, .flags = MODEL_EXPECT_FAIL,
};

/* Store buffering: fails only where a load may miss a newer store. */
static void store_then_load(void *state)
{
	struct counter *c = state;

	__atomic_store_n(&c->ready, 1, __ATOMIC_RELEASE);
	if (!__atomic_load_n(&c->other, __ATOMIC_ACQUIRE))
		__atomic_fetch_add(&c->value, 1, __ATOMIC_RELAXED);
}

static void load_then_store(void *state)
{
	struct counter *c = state;

	__atomic_store_n(&c->other, 1, __ATOMIC_RELEASE);
	if (!__atomic_load_n(&c->ready, __ATOMIC_ACQUIRE))
		__atomic_fetch_add(&c->value, 1, __ATOMIC_RELAXED);
}

static void not_both(void *state)
{
	struct counter *c = state;

	MODEL_CHECK(c->value < 2, "both missed the other's store");
}

const struct model_scenario selftest_store_buffer = {
	.name = "selftest-store-buffer", .summary = "each stores and then misses the other's store",
	.size = sizeof(struct counter), .thread = {store_then_load, load_then_store}, .finish = not_both,
	.flags = MODEL_EXPECT_FAIL | MODEL_WEAK_ONLY, .preemptions = 2,
};

/* What three threads can see of each other: the search says how many outcomes there are, with and without reductions. */
struct outcomes {
	uint32_t x, y, z, lonely;
	uint32_t seen[3];
	pthread_mutex_t lock;
	uint64_t order; /* under the lock */
};

static void enter(struct outcomes *o, uint64_t who)
{
	pthread_mutex_lock(&o->lock);
	o->order = o->order * 4 + who;
	pthread_mutex_unlock(&o->lock);
}

static void x_then_y(void *state)
{
	struct outcomes *o = state;

	__atomic_store_n(&o->x, 1, __ATOMIC_SEQ_CST);
	o->seen[0] = __atomic_load_n(&o->y, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&o->lonely, 1, __ATOMIC_SEQ_CST);
	enter(o, 1);
}

static void y_then_z(void *state)
{
	struct outcomes *o = state;

	__atomic_store_n(&o->y, 1, __ATOMIC_SEQ_CST);
	o->seen[1] = __atomic_load_n(&o->z, __ATOMIC_SEQ_CST);
	enter(o, 2);
}

static void z_then_x(void *state)
{
	struct outcomes *o = state;
	uint32_t step = 1 + model_choose(2);

	__atomic_fetch_add(&o->z, step, __ATOMIC_SEQ_CST);
	o->seen[2] = __atomic_load_n(&o->x, __ATOMIC_SEQ_CST);
	__atomic_store_n(&o->y, 2, __ATOMIC_SEQ_CST);
	model_yield();
	enter(o, 3);
}

static void tell(void *state)
{
	struct outcomes *o = state;

	model_outcome(o->order << 16 | o->y << 12 | o->seen[0] << 8 | o->seen[1] << 4 | o->seen[2]);
}

const struct model_scenario selftest_outcomes = {
	.name = "selftest-outcomes", .summary = "three threads, and all they can see", .size = sizeof(struct outcomes),
	.thread = {x_then_y, y_then_z, z_then_x}, .finish = tell, .preemptions = 2,
};

/* One that holds: an environment, an object shared by two threads, its death. */
struct shared {
	hapax_env *env;
	void *object;
};

static const hapax_type thing = {HAPAX_TYPE_INIT, .name = "thing", .size = 16};

static void make(void *state)
{
	struct shared *s = state;

	s->env = model_env(0, 0);
	MODEL_CHECK(!hapax_new(s->env, &thing, 0, &s->object) && !hapax_retain(s->object), "no object, or not retained");
}

static void drop(void *state)
{
	struct shared *s = state;

	hapax_release(s->object);
}

static void tidy(void *state)
{
	struct shared *s = state;

	hapax_testing_drain(s->env);
	MODEL_CHECK(hapax_testing_live_objects(s->env) == 0, "an object is left");
	hapax_env_destroy(s->env);
}

const struct model_scenario selftest_release = {
	.name = "selftest-release", .summary = "two threads release an object", .size = sizeof(struct shared), .setup = make,
	.thread = {drop, drop}, .finish = tidy, .preemptions = 1,
};

const struct model_scenario *const model_selftests[] = {
	&selftest_lost_update, &selftest_deadlock, &selftest_leak, &selftest_use_after_free, &selftest_race,
	&selftest_store_buffer, &selftest_crash, &selftest_outcomes, &selftest_release, NULL,
};
