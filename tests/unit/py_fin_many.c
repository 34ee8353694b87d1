/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finalizers: many of them, and random operations on them against a plain reference. */
#include "unit/finalizers.h"

/* ---- sizes -------------------------------------------------------------------------------------------------------- */

/* A long-lived object carries nothing of finalizers that ran or were detached. */
TEST(PY_FIN_02_L15_run_or_detached_a_million_times_on_one_object)
{
	hapax_env *env = test_env();
	struct item *x = item_new(env, 9);
	uint64_t n = scaled(1000000), bytes = 0;

	for (uint64_t i = 0; i < n; i++) {
		struct fin fin = {.quiet = true};

		fin_on(&fin, 1, x, i % 4 == 0 ? HAPAX_FINALIZE_AT_EXIT : 0);
		if (i % 2)
			CHECK_EQ(hapax_finalizer_detach(fin.handle, NULL), HAPAX_OK);
		else
			CHECK_EQ(hapax_finalizer_run(fin.handle, NULL), HAPAX_OK);
		fin_drop(&fin);
		if (i == n / 10) {
			hapax_testing_drain(env);
			bytes = hapax_testing_bytes(env);
		}
	}
	hapax_testing_drain(env);
	CHECK(hapax_testing_bytes(env) <= bytes + 4096);
	CHECK_EQ(hapax_weak_count(x), 0);
	hapax_release(x);
	test_env_end(env);
}

static int count_run(void *ctx)
{
	++*(uint64_t *)ctx;
	return 0;
}

/* Many on one object, half of them given up in random order; the death needs no memory. */
TEST(PY_FIN_05_L10_many_on_one_object_and_no_memory)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	struct item *x = item_new(env, 9);
	uint64_t r = test_stream(1), n = scaled(100000), runs = 0, detached = 0, ran;
	hapax_finalizer **f = calloc(n, sizeof(*f));
	hapax_finalize what = {count_run, &runs, NULL};

	CHECK(f);
	for (uint64_t i = 0; i < n; i++)
		CHECK_EQ(hapax_finalizer_new(x, &what, (unsigned)test_below(&r, 2), &f[i]), HAPAX_OK);
	CHECK_EQ(hapax_weak_count(x), n);
	memory->fail_from = 1;
	for (uint64_t i = 0; i < n; i++) {
		hapax_finalizer **g = &f[test_below(&r, n)];

		detached += hapax_finalizer_detach(*g, NULL) == HAPAX_OK;
		hapax_finalizer_drop(*g);
		*g = NULL;
	}
	CHECK_EQ(hapax_weak_count(x), n - detached);
	ran = hapax_finalize_all(env);
	CHECK_EQ(runs, ran);
	hapax_release(x);
	CHECK_EQ(runs, n - detached);
	CHECK(ran > 0 && ran < runs);
	for (uint64_t i = 0; i < n; i++)
		hapax_finalizer_drop(f[i]);
	memory->fail_from = 0;
	free(f);
	test_env_end(env);
}

/* ---- against a reference ------------------------------------------------------------------------------------------- */

/*
 * Objects and finalizers in lists, in the plainest way: which are pending, in order of creation. Random operations on
 * both; what runs and in which order is compared after each.
 */
enum { OBJECTS = 4, FINS = 24 };
struct reference {
	struct item *item[OBJECTS];
	hapax_env *env[2];
	struct {
		struct fin fin;
		int object;
		bool pending, at_exit, used;
		uint64_t made;
	} f[FINS];
	uint64_t made;
	char wanted[4096];
};

static void expect_run(struct reference *ref, int i)
{
	size_t n = strlen(ref->wanted);

	ref->f[i].pending = false;
	snprintf(ref->wanted + n, sizeof(ref->wanted) - n, "r%d x%d ", i, i);
}

/* The newest pending one for which it holds: of object `o`, or of environment `e` and at exit; -1: all. */
static int newest_of(struct reference *ref, int o, int e)
{
	int best = -1;

	for (int i = 0; i < FINS; i++)
		if (ref->f[i].pending && (best < 0 || ref->f[i].made > ref->f[best].made) &&
		    (o >= 0 ? ref->f[i].object == o : ref->f[i].at_exit && (e < 0 || ref->f[i].object % 2 == e)))
			best = i;
	return best;
}

static void reference_step(struct reference *ref, uint64_t *r)
{
	int i = (int)test_below(r, FINS), o = (int)test_below(r, OBJECTS), e = (int)test_below(r, 3) - 1, k;
	struct fin *fin = &ref->f[i].fin;
	size_t n = 0;

	switch (test_below(r, 12)) {
	case 0: /* the object dies; another takes its place */
		while ((k = newest_of(ref, o, 0)) >= 0)
			expect_run(ref, k);
		hapax_release(ref->item[o]);
		ref->item[o] = item_new(ref->env[o % 2], o);
		for (k = 0; k < FINS; k++)
			if (ref->f[k].object == o)
				ref->f[k].object = -1;
		break;
	case 1:
		if (test_below(r, 3))
			break;
		while ((k = newest_of(ref, -1, e)) >= 0) {
			expect_run(ref, k);
			n++;
		}
		CHECK_EQ(hapax_finalize_all(e < 0 ? NULL : ref->env[e]), n);
		break;
	case 2:
	case 3:
		if (!fin->handle)
			break;
		if (ref->f[i].pending) {
			expect_run(ref, i);
			CHECK_EQ(hapax_finalizer_run(fin->handle, NULL), HAPAX_OK);
		}
		fin_is_dead(fin);
		break;
	case 4:
		if (!fin->handle)
			break;
		CHECK_EQ(hapax_finalizer_detach(fin->handle, NULL), ref->f[i].pending ? HAPAX_OK : HAPAX_DEAD);
		ref->f[i].pending = false;
		break;
	case 5:
		fin_drop(fin);
		break;
	case 6:
		if (fin->handle && ref->f[i].pending)
			fin_is_alive(fin, ref->item[ref->f[i].object]);
		else if (fin->handle)
			fin_is_dead(fin);
		break;
	default:
		if (ref->f[i].pending)
			break;
		fin_drop(fin);
		memset(&ref->f[i], 0, sizeof(ref->f[i]));
		ref->f[i].object = o;
		ref->f[i].pending = true;
		ref->f[i].made = ++ref->made;
		ref->f[i].at_exit = test_below(r, 2);
		fin_on(fin, i, ref->item[o], ref->f[i].at_exit ? HAPAX_FINALIZE_AT_EXIT : 0);
	}
}

TEST(PY_FIN_01_02_05_07_random_operations_as_a_plain_reference)
{
	struct reference *ref = calloc(1, sizeof(*ref));
	uint64_t r = test_stream(2);

	CHECK(ref);
	for (int e = 0; e < 2; e++)
		ref->env[e] = test_env();
	for (int o = 0; o < OBJECTS; o++)
		ref->item[o] = item_new(ref->env[o % 2], o);
	for (uint64_t step = scaled(100000); step > 0; step--) {
		trace_reset();
		ref->wanted[0] = 0;
		reference_step(ref, &r);
		CHECK_STR(trace_text, ref->wanted);
	}
	for (int i = 0; i < FINS; i++)
		fin_drop(&ref->f[i].fin);
	for (int o = 0; o < OBJECTS; o++)
		hapax_release(ref->item[o]);
	for (int e = 0; e < 2; e++)
		test_env_end(ref->env[e]);
	free(ref);
}
