/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Weak handles as values (PY-EQ): equality, hash and order.
 */
#include "unit/item.h"

static void no_call(hapax_weak *weak, void *ctx)
{
	(void)weak;
	(void)ctx;
}
static void no_free(void *ctx) { (void)ctx; }

enum { PLAIN, CALLBACK, CALLBACK_FREED, QUIET, KINDS };
static hapax_weak *handle_on(void *object, int kind)
{
	hapax_callback callback = {kind == CALLBACK || kind == CALLBACK_FREED ? no_call : NULL, NULL,
				   kind == QUIET || kind == CALLBACK_FREED ? no_free : NULL};
	hapax_weak *weak = NULL;

	CHECK_EQ(hapax_weak_new(object, kind == PLAIN ? NULL : &callback, &weak), HAPAX_OK);
	return weak;
}

static int sign(int x) { return (x > 0) - (x < 0); }

TEST(PY_EQ_01_handles_of_one_live_object_are_equal)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1), *y = item_new(env, 2);
	hapax_weak *a[2 * KINDS], *b[2 * KINDS], *dup;

	for (int i = 0; i < 2 * KINDS; i++) {
		a[i] = handle_on(x, i % KINDS);
		b[i] = handle_on(y, i % KINDS);
	}
	for (int i = 0; i < 2 * KINDS; i++) {
		for (int j = 0; j < 2 * KINDS; j++) {
			CHECK(hapax_weak_equal(a[i], a[j]));
			CHECK_EQ(hapax_weak_hash(a[i]), hapax_weak_hash(a[j]));
			CHECK_EQ(hapax_weak_compare(a[i], a[j]), 0);
			CHECK(!hapax_weak_equal(a[i], b[j]) && !hapax_weak_equal(b[j], a[i]));
			CHECK(hapax_weak_compare(a[i], b[j]) != 0);
			CHECK_EQ(sign(hapax_weak_compare(a[i], b[j])), -sign(hapax_weak_compare(b[j], a[i])));
			CHECK_EQ(sign(hapax_weak_compare(a[i], b[j])), sign(hapax_weak_compare(a[0], b[0])));
		}
		CHECK_EQ(hapax_weak_dup(a[i], &dup), HAPAX_OK);
		CHECK(hapax_weak_equal(dup, a[(i + 1) % (2 * KINDS)]));
		CHECK_EQ(hapax_weak_drop(dup), HAPAX_OK);
	}
	CHECK(hapax_weak_hash(a[0]) != hapax_weak_hash(b[0]));
	for (int i = 0; i < 2 * KINDS; i++) {
		CHECK_EQ(hapax_weak_drop(a[i]), HAPAX_OK);
		CHECK_EQ(hapax_weak_drop(b[i]), HAPAX_OK);
	}
	hapax_release(x);
	hapax_release(y);
	test_env_end(env);
}

TEST(PY_EQ_01_null_equals_null_and_comes_first)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	hapax_weak *a = weak_of(x);

	for (int alive = 1; alive >= 0; alive--) {
		CHECK(hapax_weak_equal(NULL, NULL));
		CHECK(!hapax_weak_equal(a, NULL) && !hapax_weak_equal(NULL, a));
		CHECK(hapax_weak_equal(a, a));
		CHECK_EQ(hapax_weak_hash(NULL), 0);
		CHECK_EQ(hapax_weak_compare(NULL, NULL), 0);
		CHECK(hapax_weak_compare(NULL, a) < 0 && hapax_weak_compare(a, NULL) > 0);
		if (alive)
			hapax_release(x);
	}
	CHECK_EQ(hapax_weak_drop(a), HAPAX_OK);
	test_env_end(env);
}

static void sibling_is_unequal(struct probe *p)
{
	hapax_weak *other = p->arg;

	CHECK(!hapax_weak_equal(p->weak, other));
	CHECK(hapax_weak_equal(p->weak, p->weak) && hapax_weak_equal(other, other));
	CHECK_EQ(hapax_weak_hash(p->weak), hapax_weak_hash(other));
	CHECK_EQ(hapax_weak_compare(p->weak, other), 0);
}

TEST(PY_EQ_02_dead_handles_equal_only_themselves_from_the_first_callback_on)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 1);
	struct probe first, last;
	hapax_weak *plain = weak_of(x), *same = weak_of(x);

	probe_on(&first, 1, x, true);
	probe_on(&last, 2, x, true);
	first.then = last.then = sibling_is_unequal;
	first.arg = last.weak;
	last.arg = first.weak;
	CHECK(hapax_weak_equal(first.weak, last.weak) && hapax_weak_equal(plain, first.weak));
	hapax_release(x);
	CHECK_EQ(first.calls + last.calls, 2);
	CHECK(!hapax_weak_equal(first.weak, last.weak));
	CHECK(!hapax_weak_equal(plain, first.weak) && !hapax_weak_equal(last.weak, plain));
	CHECK(hapax_weak_equal(plain, same)); /* one record, one handle */
	CHECK_EQ(probe_drop(&first), HAPAX_OK);
	CHECK_EQ(probe_drop(&last), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(plain), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(same), HAPAX_OK);
	test_env_end(env);
}

/* ---- against a model --------------------------------------------------------------------------------------------- */

enum { OBJECTS = 12, HANDLES = 60 };
struct known {
	hapax_weak *weak;
	int object;    /* incarnation: never used again */
	uint64_t hash;
};
struct values {
	struct item *item[OBJECTS];
	int incarnation[OBJECTS], born;
	struct known known[HANDLES];
	int order[HANDLES][HANDLES]; /* as first seen, for as long as both are held */
};

static bool lives(const struct values *v, int object)
{
	for (int i = 0; i < OBJECTS; i++)
		if (v->item[i] && v->incarnation[i] == object)
			return true;
	return false;
}

static void compare_all(struct values *v)
{
	for (int i = 0; i < HANDLES; i++) {
		struct known *a = &v->known[i];

		if (!a->weak)
			continue;
		CHECK_EQ(hapax_weak_hash(a->weak), a->hash);
		for (int j = 0; j < HANDLES; j++) {
			struct known *b = &v->known[j];
			int order;

			if (!b->weak)
				continue;
			order = sign(hapax_weak_compare(a->weak, b->weak));
			CHECK_EQ(order == 0, a->object == b->object);
			if (v->order[i][j] == 2)
				v->order[i][j] = order;
			CHECK_EQ(v->order[i][j], order);
			CHECK_EQ(hapax_weak_equal(a->weak, b->weak),
				 a->weak == b->weak || (a->object == b->object && lives(v, a->object)));
			if (a->object == b->object)
				CHECK_EQ(a->hash, b->hash);
		}
	}
}

TEST(PY_EQ_03_hashes_and_order_survive_deaths)
{
	hapax_env *env = test_env();
	struct values v;
	uint64_t random = test_stream(1);

	memset(&v, 0, sizeof(v));
	for (uint64_t round = 0; round < scaled(600); round++) {
		for (int step = 0; step < 12; step++) {
			int at = (int)test_below(&random, OBJECTS), slot = (int)test_below(&random, HANDLES);
			struct known *k = &v.known[slot];

			switch (test_below(&random, 4)) {
			case 0:
				if (v.item[at]) {
					hapax_release(v.item[at]);
					v.item[at] = NULL;
				} else {
					v.item[at] = item_new(env, v.born);
					v.incarnation[at] = v.born++;
				}
				break;
			case 1:
				CHECK_EQ(hapax_weak_drop(k->weak), HAPAX_OK);
				k->weak = NULL;
				break;
			default:
				if (k->weak || !v.item[at])
					break;
				k->weak = handle_on(v.item[at], (int)test_below(&random, KINDS));
				k->object = v.incarnation[at];
				k->hash = hapax_weak_hash(k->weak);
				for (int i = 0; i < HANDLES; i++)
					v.order[slot][i] = v.order[i][slot] = 2; /* not seen yet */
			}
		}
		compare_all(&v);
	}
	for (int i = 0; i < OBJECTS; i++)
		hapax_release(v.item[i]);
	for (int i = 0; i < HANDLES; i++)
		CHECK_EQ(hapax_weak_drop(v.known[i].weak), HAPAX_OK);
	test_env_end(env);
}

static int by_order(const void *a, const void *b)
{
	return hapax_weak_compare(*(hapax_weak *const *)a, *(hapax_weak *const *)b);
}

TEST(PY_EQ_05_a_sorted_container_stays_sorted_through_deaths)
{
	enum { N = 300 };
	hapax_env *env = test_env();
	struct item *item[N];
	hapax_weak *sorted[2 * N], *again[2 * N];
	uint64_t random = test_stream(1);

	for (int i = 0; i < N; i++) {
		item[i] = item_new(env, i);
		sorted[2 * i] = handle_on(item[i], (int)test_below(&random, KINDS));
		sorted[2 * i + 1] = handle_on(item[i], (int)test_below(&random, KINDS));
	}
	qsort(sorted, 2 * (size_t)N, sizeof(sorted[0]), by_order);
	memcpy(again, sorted, sizeof(sorted));
	for (int killed = 0; killed <= N; killed++) {
		for (int i = 1; i < 2 * N; i++) {
			/* both handles of an object lie side by side, whatever has died */
			CHECK_EQ(hapax_weak_compare(sorted[i - 1], sorted[i]), i % 2 ? 0 : -1);
		}
		if (killed < N)
			hapax_release(item[killed]);
		hapax_testing_drain(env);
	}
	for (int i = 0; i < 2 * N; i++) {
		hapax_weak **found = bsearch(&again[i], sorted, 2 * (size_t)N, sizeof(sorted[0]), by_order);

		CHECK(found && hapax_weak_compare(*found, again[i]) == 0);
	}
	for (int i = 0; i < 2 * N; i++)
		CHECK_EQ(hapax_weak_drop(sorted[i]), HAPAX_OK);
	test_env_end(env);
}

/* ---- against deaths ---------------------------------------------------------------------------------------------- */

struct dying {
	hapax_env *env;
	struct item *x;
	hapax_weak *weak[4];
	uint64_t hash;
	struct test_barrier round;
	int rounds;
};

static void look_while_dying(unsigned index, void *arg)
{
	struct dying *d = arg;
	uint64_t random = test_stream(index + 1);

	for (int i = 0; i < d->rounds; i++) {
		if (index == 0) {
			d->x = item_new(d->env, i);
			for (int j = 0; j < 4; j++)
				d->weak[j] = handle_on(d->x, j % KINDS);
			d->hash = hapax_weak_hash(d->weak[i % 4]);
		}
		test_barrier_wait(&d->round);
		if (index == 0) {
			hapax_release(d->x);
			CHECK(!hapax_weak_equal(d->weak[0], d->weak[1]));
		} else {
			bool equal = true;

			for (int j = 0; j < 30; j++) {
				int a = (int)test_below(&random, 4), b = (a + 1 + (int)test_below(&random, 3)) % 4;
				bool now = hapax_weak_equal(d->weak[a], d->weak[b]);

				CHECK(equal || !now); /* dead for ever */
				equal = now;
				CHECK(!now || a != b);
				CHECK(hapax_weak_equal(d->weak[a], d->weak[a]));
				CHECK_EQ(hapax_weak_hash(d->weak[a]), d->hash);
				CHECK_EQ(hapax_weak_compare(d->weak[a], d->weak[b]), 0);
			}
		}
		test_barrier_wait(&d->round);
		if (index == 0)
			for (int j = 0; j < 4; j++)
				CHECK_EQ(hapax_weak_drop(d->weak[j]), HAPAX_OK);
	}
}

TEST(PY_EQ_02_equality_ends_once_under_threads)
{
	hapax_env *env = test_env();
	struct dying d = {.env = env, .rounds = (int)scaled(1500)};

	test_barrier_init(&d.round, 3);
	run_threads(3, look_while_dying, &d);
	test_env_end(env);
}
