/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit/witness.h - objects that write into a diary when they end, and environments that must be as empty as when they
 * began: for tests of many kinds of watchers at once.
 */
#ifndef TEST_WITNESS_H
#define TEST_WITNESS_H

#include "support/support.h"

struct witness {
	uint64_t id;
	void *held; /* a reference of its own, given back at its end */
	void (*last)(struct witness *w, void *arg);
	void *arg;
	char name; /* written at its end; 0: nothing is */
};

/* One letter for each thing that happened, in order; any thread. */
static char diary[1024];
static unsigned diary_n, witness_ends;

static inline void note(char c)
{
	unsigned at = __atomic_fetch_add(&diary_n, 1, __ATOMIC_ACQ_REL);

	CHECK(at < sizeof(diary) - 1);
	__atomic_store_n(&diary[at], c, __ATOMIC_RELEASE);
}

static inline void diary_clear(void)
{
	memset(diary, 0, sizeof(diary));
	__atomic_store_n(&diary_n, 0, __ATOMIC_RELEASE);
}

static inline void diary_is(const char *text)
{
	CHECK_STR(diary, text);
	diary_clear();
}

static inline void witness_end(void *object, void *arg)
{
	struct witness *w = object;

	(void)arg;
	if (w->last)
		w->last(w, w->arg);
	if (w->name)
		note(w->name);
	__atomic_add_fetch(&witness_ends, 1, __ATOMIC_ACQ_REL);
	hapax_release(w->held);
}

__attribute__((unused)) static const hapax_type witness_type = {
	HAPAX_TYPE_INIT, .name = "witness", .size = sizeof(struct witness), .destroy = witness_end};
__attribute__((unused)) static const hapax_type witness_deferred = {HAPAX_TYPE_INIT, .name = "deferred witness",
								    .size = sizeof(struct witness),
								    .flags = HAPAX_TYPE_DEFERRED,
								    .destroy = witness_end};

static inline struct witness *witness_of(hapax_env *env, const hapax_type *type, uint64_t id, char name)
{
	void *w = NULL;

	CHECK_EQ(hapax_new(env, type, 0, &w), HAPAX_OK);
	((struct witness *)w)->id = id;
	((struct witness *)w)->name = name;
	return w;
}

static inline struct witness *witness_new(hapax_env *env, uint64_t id, char name)
{
	return witness_of(env, &witness_type, id, name);
}

/* What was born was destroyed and freed, as often; and the environment gives everything back. */
static inline void witness_rest(hapax_env *env)
{
	hapax_env_stats s = {.size = sizeof(s)};

	hapax_run_deferred(env);
	for (int i = 0; i < 2000; i++) {
		hapax_testing_drain(env);
		if (!hapax_testing_live_objects(env))
			break;
		test_sleep_ms(1);
	}
	CHECK_EQ(hapax_env_stats_get(env, &s), HAPAX_OK);
	CHECK_EQ(s.objects_destroyed, s.objects_born);
	CHECK_EQ(s.objects_freed, s.objects_born);
	test_env_end(env);
}

#endif
