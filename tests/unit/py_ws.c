/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Weak sets (PY-WS).
 */
#include <errno.h>

#include "unit/maps.h"

static void add(hapax_weak_set *set, void *object, bool fresh)
{
	bool added = !fresh;

	CHECK_EQ(hapax_weak_set_add(set, object, &added), HAPAX_OK);
	CHECK_EQ(added, fresh);
	CHECK_EQ(hapax_weak_set_contains(set, object), 1);
}

static void finds_itself_absent(struct item *item, void *arg)
{
	void *out = (void *)1;

	CHECK_EQ(hapax_weak_set_contains(arg, item), 0);
	CHECK_EQ(hapax_weak_set_size(arg), 0);
	CHECK_EQ(hapax_weak_set_remove(arg, item), HAPAX_MISS);
	CHECK_EQ(hapax_weak_set_add(arg, item, NULL), HAPAX_EDEAD);
	CHECK_EQ(hapax_weak_set_pop(arg, &out), HAPAX_EMPTY);
	CHECK(!out);
}

TEST(PY_WS_01_a_member_is_in_once_and_its_death_takes_it_out)
{
	hapax_env *env = test_env();
	hapax_weak_set *set = set_new(env);
	struct item *a = item_new(env, 1), *b = item_new(env, 1);

	CHECK_EQ(hapax_weak_set_contains(set, a), 0);
	CHECK_EQ(hapax_weak_set_remove(set, a), HAPAX_MISS);
	add(set, a, true);
	add(set, a, false);
	CHECK_EQ(hapax_weak_set_add(set, a, NULL), HAPAX_OK);
	set_check(set, 1);
	CHECK_EQ(hapax_count(a), 1);
	CHECK_EQ(hapax_weak_set_contains(set, b), 0); /* equal contents, another object */
	add(set, b, true);
	set_check(set, 2);
	CHECK_EQ(hapax_weak_set_remove(set, b), HAPAX_OK);
	CHECK_EQ(hapax_weak_set_remove(set, b), HAPAX_MISS);
	add(set, b, true);
	hapax_release(b);
	set_check(set, 1);
	a->on_destroy = finds_itself_absent;
	a->arg = set;
	hapax_release(a);
	CHECK_EQ(items_destroyed_now(), 2);
	set_end(set, 0);
	test_env_end(env);
}

TEST(PY_WS_01_a_member_is_absent_from_the_instant_of_its_death)
{
	hapax_env *env = test_env();
	hapax_weak_set *set = set_new(env);
	struct item *late = item_of(env, &deferred_type, 1);

	add(set, late, true);
	hapax_release(late); /* dead; its destructor has not run */
	CHECK_EQ(items_destroyed_now(), 0);
	set_check(set, 0);
	CHECK_EQ(hapax_run_deferred(env), 1);
	set_end(set, 0);
	test_env_end(env);
}

TEST(PY_WS_02_pop_gives_live_members_and_then_empty)
{
	enum { N = 300 };
	hapax_env *env = test_env();
	hapax_weak_set *set = set_new(env);
	struct item *item[N];
	bool seen[N] = {false};
	void *out = (void *)1;
	int n = 0;

	CHECK_EQ(hapax_weak_set_pop(set, &out), HAPAX_EMPTY);
	CHECK(!out);
	for (int i = 0; i < N; i++) {
		item[i] = item_new(env, i);
		add(set, item[i], true);
	}
	for (int i = 0; i < N; i += 3)
		hapax_release(item[i]);
	while (hapax_weak_set_pop(set, &out) == HAPAX_OK) {
		struct item *it = out;

		CHECK(item_is_alive(it));
		CHECK(it->id % 3 && !seen[it->id]);
		seen[it->id] = true;
		CHECK_EQ(hapax_count(it), 2);
		CHECK_EQ(hapax_weak_set_contains(set, it), 0);
		hapax_release(it);
		n++;
	}
	CHECK_EQ(n, N - N / 3);
	CHECK(!out);
	for (int i = 0; i < N; i++)
		if (i % 3) {
			add(set, item[i], true);
			hapax_release(item[i]);
		}
	CHECK_EQ(hapax_weak_set_pop(set, &out), HAPAX_EMPTY); /* all dead */
	set_end(set, 0);
	test_env_end(env);
}

TEST(sets_refuse_what_cannot_be_a_member)
{
	hapax_env *env = test_env(), *elsewhere = test_env();
	hapax_weak_set_options options = {HAPAX_WEAK_SET_OPTIONS_INIT, .env = env};
	hapax_weak_set *set = set_new(env), *other = (void *)1;
	hapax_weak_set_iter *iter = (void *)1;
	struct item *item[3] = {item_of(env, &strong_type, 1), item_new(elsewhere, 2), NULL};
	static const int status[3] = {HAPAX_ENOTWEAK, HAPAX_EFOREIGN, HAPAX_ENULL};
	uint64_t calls = test_env_allocator(env)->calls;
	bool added = true;
	void *out = (void *)1;

	errno = 4711;
	for (int i = 0; i < 3; i++) {
		added = true;
		CHECK_EQ(hapax_weak_set_add(set, item[i], &added), status[i]);
		CHECK(!added);
		CHECK_EQ(hapax_weak_set_remove(set, item[i]), status[i]);
		CHECK_EQ(hapax_weak_set_contains(set, item[i]), status[i]);
	}
	CHECK_EQ(hapax_weak_set_add(NULL, item[0], NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_set_remove(NULL, item[0]), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_set_contains(NULL, item[0]), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_set_pop(NULL, &out), HAPAX_ENULL);
	CHECK(!out);
	CHECK_EQ(hapax_weak_set_pop(set, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_set_iterate(NULL, &iter), HAPAX_ENULL);
	CHECK(!iter);
	CHECK_EQ(hapax_weak_set_iterate(set, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_set_next(NULL, &out), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_set_copy(set, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_set_copy(NULL, set, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_set_snapshot(NULL, &other), HAPAX_ENULL);
	CHECK(!other);
	CHECK_EQ(hapax_weak_set_snapshot(set, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_weak_set_size(NULL), 0);
	hapax_weak_set_clear(NULL);
	hapax_weak_set_destroy(NULL);
	hapax_weak_set_close(NULL);
	CHECK_EQ(hapax_weak_set_create(NULL, &options), HAPAX_ENULL);
	options.size--;
	CHECK_EQ(hapax_weak_set_create(&other, &options), HAPAX_EOPTSIZE);
	options.size++;
	options.flags = 1u << 31;
	CHECK_EQ(hapax_weak_set_create(&other, &options), HAPAX_EFLAGS);
	CHECK(!other);
	CHECK_EQ(test_env_allocator(env)->calls, calls);
	CHECK_EQ(errno, 4711);
	CHECK_EQ(hapax_weak_set_create(&other, NULL), HAPAX_OK);
	set_end(other, 0);
	hapax_release(item[0]);
	hapax_release(item[1]);
	set_end(set, 0);
	test_env_end(env);
	test_env_end(elsewhere);
}

/* ---- iterators, copies ------------------------------------------------------------------------------------------- */

static hapax_weak_set_iter *iterate(hapax_weak_set *set)
{
	hapax_weak_set_iter *iter = NULL;

	CHECK_EQ(hapax_weak_set_iterate(set, &iter), HAPAX_OK);
	return iter;
}

TEST(each_member_once_and_one_pinned_at_a_time)
{
	enum { N = 100 };
	hapax_env *env = test_env();
	hapax_weak_set *set = set_new(env);
	hapax_weak_set_iter *iter;
	struct item *item[N];
	int seen[N] = {0}, n = 0;
	void *out;

	for (int i = 0; i < N; i++) {
		item[i] = item_new(env, i);
		add(set, item[i], true);
	}
	iter = iterate(set);
	for (; hapax_weak_set_next(iter, &out) == HAPAX_OK; n++) {
		struct item *it = out;

		seen[it->id]++;
		CHECK_EQ(hapax_count(it), 2);
		if (n == N / 2) /* all the others die; the pinned one lives until the next call */
			for (int i = 0; i < N; i++)
				if (i != it->id) {
					hapax_release(item[i]);
					item[i] = NULL;
				}
	}
	CHECK_EQ(n, N / 2 + 1);
	for (int i = 0; i < N; i++)
		CHECK(seen[i] <= 1);
	CHECK_EQ(hapax_weak_set_next(iter, &out), HAPAX_EMPTY);
	CHECK(!out);
	hapax_weak_set_close(iter);
	set_check(set, 1);
	for (int i = 0; i < N; i++)
		hapax_release(item[i]);
	set_end(set, 0);
	test_env_end(env);
}

TEST(iterators_of_sets_that_are_changed_cleared_and_destroyed)
{
	enum { N = 20 };
	hapax_env *env = test_env();
	hapax_weak_set *set = set_new(env);
	hapax_weak_set_iter *iter;
	struct item *item[N];
	void *out;

	for (int i = 0; i < N; i++)
		item[i] = item_new(env, i);
	for (int round = 0; round < 3; round++) {
		if (round)
			set = set_new(env);
		for (int i = 0; i < N; i++)
			add(set, item[i], true);
		iter = iterate(set);
		CHECK_EQ(hapax_weak_set_next(iter, &out), HAPAX_OK);
		if (round == 0) {
			for (int i = 0; i < N; i++)
				CHECK_EQ(hapax_weak_set_remove(set, item[i]), HAPAX_OK);
		} else if (round == 1) {
			hapax_weak_set_clear(set);
		} else {
			hapax_weak_set_destroy(set);
		}
		CHECK_EQ(hapax_count(out), 2);
		CHECK_EQ(hapax_weak_set_next(iter, &out), HAPAX_EMPTY);
		hapax_weak_set_close(iter);
		for (int i = 0; i < N; i++)
			CHECK_EQ(hapax_count(item[i]), 1);
		if (round < 2)
			set_end(set, 0);
	}
	for (int i = 0; i < N; i++)
		hapax_release(item[i]);
	test_env_end(env);
}

TEST(copies_and_snapshots_hold_members_weakly)
{
	hapax_env *env = test_env();
	hapax_weak_set *set = set_new(env), *other = set_new(env), *shot = NULL;
	struct item *a = item_new(env, 1), *b = item_new(env, 2), *c = item_new(env, 3);
	size_t copied = 99;

	add(set, a, true);
	add(set, b, true);
	add(other, b, true);
	add(other, c, true);
	CHECK_EQ(hapax_weak_set_copy(set, set, &copied), HAPAX_OK);
	CHECK_EQ(copied, 0);
	CHECK_EQ(hapax_weak_set_copy(other, set, &copied), HAPAX_OK);
	CHECK_EQ(copied, 2);
	set_check(other, 3);
	CHECK_EQ(hapax_weak_set_snapshot(set, &shot), HAPAX_OK);
	set_check(shot, 2);
	CHECK_EQ(hapax_count(a), 1);
	CHECK_EQ(hapax_weak_set_remove(set, a), HAPAX_OK);
	CHECK_EQ(hapax_weak_set_contains(shot, a), 1);
	hapax_release(b);
	set_check(set, 0);
	set_check(other, 2);
	set_check(shot, 1);
	hapax_weak_set_clear(other);
	CHECK_EQ(hapax_weak_set_contains(shot, a), 1);
	set_end(other, 0);
	hapax_release(a);
	hapax_release(c);
	set_end(shot, 0);
	set_end(set, 0);
	test_env_end(env);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

struct crowd {
	hapax_env *env;
	hapax_weak_set *set;
	struct item *shared[8];
	uint64_t rounds;
	int added, removed; /* of the shared ones */
};

/* Shared members live throughout; who adds and removes one is told so exactly as often as it happened. */
static void crowd(unsigned index, void *arg)
{
	struct crowd *c = arg;
	uint64_t random = test_stream(index);
	hapax_weak_set_iter *iter;
	bool added;
	void *out;

	for (uint64_t n = 0; n < c->rounds; n++) {
		struct item *item = c->shared[test_below(&random, 8)], *own;

		switch (test_below(&random, 6)) {
		case 0:
		case 1:
			CHECK_EQ(hapax_weak_set_add(c->set, item, &added), HAPAX_OK);
			if (added)
				__atomic_fetch_add(&c->added, 1, __ATOMIC_RELAXED);
			break;
		case 2:
			if (hapax_weak_set_remove(c->set, item) == HAPAX_OK)
				__atomic_fetch_add(&c->removed, 1, __ATOMIC_RELAXED);
			break;
		case 3:
			own = item_new(c->env, -1);
			CHECK_EQ(hapax_weak_set_add(c->set, own, &added), HAPAX_OK);
			CHECK(added);
			hapax_release(own);
			break;
		case 4:
			if (hapax_weak_set_pop(c->set, &out) == HAPAX_OK) {
				CHECK(item_is_alive(out));
				if (((struct item *)out)->id >= 0)
					__atomic_fetch_add(&c->removed, 1, __ATOMIC_RELAXED);
				hapax_release(out);
			}
			break;
		default:
			iter = iterate(c->set);
			while (hapax_weak_set_next(iter, &out) == HAPAX_OK)
				CHECK(item_is_alive(out));
			hapax_weak_set_close(iter);
			break;
		}
	}
}

TEST(adding_and_removing_on_several_threads)
{
	struct crowd c = {.env = test_env(), .rounds = scaled(8000)};

	c.set = set_new(c.env);
	for (int i = 0; i < 8; i++)
		c.shared[i] = item_new(c.env, i);
	run_threads(4, crowd, &c);
	set_check(c.set, (size_t)(c.added - c.removed));
	for (int i = 0; i < 8; i++)
		hapax_release(c.shared[i]);
	set_end(c.set, 0);
	test_env_end(c.env);
}
