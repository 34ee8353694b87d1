/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Laws of finalizers, bound callbacks and handles: calls from inside themselves, threads, memory, listing, order. */
#include "unit/witness.h"

#include <errno.h>

/* ---- calls on each other from inside ------------------------------------------------------------------------------- */

static struct {
	hapax_env *env;
	struct witness *object;
	hapax_finalizer *finalizers[5];
	hapax_weak *weak;
	hapax_bound *bound;
	hapax_table *table;
	int result;
} in;

static void free_note(void *ctx) { note((char)(*(char *)ctx - 'a' + 'A')); }

static int run_note(void *ctx) { return note(*(char *)ctx), *(char *)ctx; }

/* 'e', the newest of all: runs one by hand, detaches another, drops the rest of the watchers. */
static int run_the_others(void *ctx)
{
	hapax_finalize what;
	hapax_finalizer *self = in.finalizers[4];

	note(*(char *)ctx);
	CHECK_EQ(hapax_finalizer_run(self, &in.result), HAPAX_DEAD); /* it runs already */
	CHECK_EQ(hapax_finalizer_detach(self, &what), HAPAX_DEAD);
	CHECK(!what.fn && !what.ctx && !what.ctx_free);
	CHECK(!hapax_finalizer_alive(self));
	hapax_finalizer_drop(self);
	CHECK_EQ(hapax_finalizer_run(in.finalizers[1], &in.result), HAPAX_OK); /* dead, and not yet told */
	CHECK_EQ(in.result, 'b');
	CHECK_EQ(hapax_finalizer_detach(in.finalizers[2], &what), HAPAX_OK);
	CHECK(what.fn == run_note && *(char *)what.ctx == 'c');
	CHECK_EQ(hapax_weak_drop(in.weak), HAPAX_OK);
	CHECK_EQ(hapax_bound_drop(in.bound), HAPAX_OK);
	CHECK_EQ(hapax_finalize_all(in.env), 1); /* 'd' */
	CHECK_EQ(hapax_finalize_all(NULL), 0);
	return 0;
}

static void note_weak(hapax_weak *weak, void *ctx) { CHECK(!hapax_weak_alive(weak)), note(*(char *)ctx); }
static void never_told(hapax_weak *weak, void *ctx) { (void)weak, (void)ctx, TEST_FAIL("a cancelled callback ran"); }
static void never_dead(hapax_bound *bound, void *ctx) { (void)bound, (void)ctx, TEST_FAIL("a dropped one was told"); }
static int pass_on(void *target, void *part, void *ctx, void *arg)
{
	(void)target;
	(void)part;
	(void)ctx;
	return *(int *)arg;
}

TEST(D_4_PY_FIN_01_PY_FIN_02_a_finalizer_takes_the_others_before_their_turn)
{
	static char names[] = "abcdewx";
	hapax_callback cb = {.fn = never_told, .ctx = &names[5], .ctx_free = free_note};
	hapax_bound_options bo = {HAPAX_BOUND_OPTIONS_INIT, .fn = pass_on, .ctx = &names[6], .dead = never_dead,
				  .ctx_free = free_note};

	for (int deferred = 0; deferred < 2; deferred++) {
		in.env = test_env();
		in.object = witness_of(in.env, deferred ? &witness_deferred : &witness_type, 1, 'o');
		for (int i = 0; i < 5; i++) {
			hapax_finalize what = {.fn = i == 4 ? run_the_others : run_note, .ctx = &names[i], .ctx_free = free_note};

			CHECK_EQ(hapax_finalizer_new(in.object, &what, i == 3 ? HAPAX_FINALIZE_AT_EXIT : 0, &in.finalizers[i]),
				 HAPAX_OK);
			if (i == 2) {
				CHECK_EQ(hapax_weak_new(in.object, &cb, &in.weak), HAPAX_OK);
				bo.target = in.object;
				CHECK_EQ(hapax_bound_new(&in.bound, &bo), HAPAX_OK);
			}
		}
		errno = 77;
		hapax_release(in.object);
		if (deferred) {
			diary_is("");
			CHECK_EQ(hapax_run_deferred(in.env), 1);
		}
		CHECK_EQ(errno, 77);
		/* b by hand, c detached (no ctx_free), w and x dropped, d at the end of the process; a in its turn */
		diary_is("ebBWXdDEaAo");
		for (int i = 0; i < 4; i++) {
			CHECK_EQ(hapax_finalizer_run(in.finalizers[i], NULL), HAPAX_DEAD);
			hapax_finalizer_drop(in.finalizers[i]);
		}
		witness_rest(in.env);
	}
}

TEST(D_2_PY_FIN_07_between_a_deferred_death_and_its_run)
{
	static char names[] = "abcd";
	hapax_env *env = test_env();
	struct witness *w = witness_of(env, &witness_deferred, 1, 'o');
	hapax_finalizer *f[4];
	hapax_finalize what;
	void *object = &object;
	int result = 0;

	for (int i = 0; i < 4; i++) {
		what = (hapax_finalize){.fn = run_note, .ctx = &names[i], .ctx_free = free_note};
		CHECK_EQ(hapax_finalizer_new(w, &what, i & 1 ? HAPAX_FINALIZE_AT_EXIT : 0, &f[i]), HAPAX_OK);
	}
	hapax_release(w);
	for (int i = 0; i < 4; i++) {
		CHECK(!hapax_finalizer_alive(f[i]));
		CHECK_EQ(hapax_finalizer_peek(f[i], &what, &object), HAPAX_DEAD);
		CHECK(!what.fn && !what.ctx && !what.ctx_free && !object);
	}
	diary_is("");
	CHECK_EQ(hapax_finalizer_run(f[3], &result), HAPAX_OK); /* nobody else has had it yet */
	CHECK_EQ(result, 'd');
	diary_is("dD");
	CHECK_EQ(hapax_finalize_all(env), 1);
	diary_is("bB");
	CHECK_EQ(hapax_finalizer_detach(f[2], &what), HAPAX_OK);
	CHECK(what.ctx == &names[2]);
	CHECK_EQ(hapax_run_deferred(env), 1);
	diary_is("aAo");
	for (int i = 0; i < 4; i++)
		hapax_finalizer_drop(f[i]);
	witness_rest(env);
}

/* ---- bound callbacks ------------------------------------------------------------------------------------------------- */

static int let_go_inside(void *target, void *part, void *ctx, void *arg)
{
	struct witness *w = target;

	(void)ctx;
	(void)arg;
	note('(');
	hapax_release(w); /* the last but the call's own */
	hapax_release(part);
	CHECK_EQ(w->id, 1); /* still here */
	CHECK(hapax_bound_alive(in.bound));
	CHECK_EQ(hapax_count(w), 1);
	note(')');
	return -6;
}

static void note_dead(hapax_bound *bound, void *ctx)
{
	CHECK_PTR(bound, in.bound);
	CHECK(!hapax_bound_alive(bound));
	CHECK_EQ(hapax_bound_call(bound, NULL, NULL), HAPAX_DEAD);
	CHECK(hapax_bound_equal(bound, bound));
	note(*(char *)ctx);
	/* from inside itself: no wait, and it says that it is running */
	CHECK_EQ(hapax_bound_drop(bound), HAPAX_INFLIGHT);
	note('.');
}

TEST(PY_PRX_01_PY_WM_02_a_call_that_lets_go_of_both_parts)
{
	static char name[] = "d";

	for (int same = 0; same < 2; same++) {
		hapax_bound_options o = {HAPAX_BOUND_OPTIONS_INIT, .fn = let_go_inside, .ctx = name, .dead = note_dead,
					 .ctx_free = free_note};
		int result = 0;
		struct witness *part;

		in.env = test_env();
		in.object = witness_new(in.env, 1, 't');
		part = same ? NULL : witness_new(in.env, 2, 'p');
		o.target = in.object;
		o.part = part;
		CHECK_EQ(hapax_bound_new(&in.bound, &o), HAPAX_OK);
		CHECK_EQ(hapax_bound_call(in.bound, NULL, &result), HAPAX_OK);
		CHECK_EQ(result, -6); /* not taken for a status */
		CHECK(!strncmp(diary, "()d.", 4));
		CHECK(strchr(diary, 'D') && strchr(diary, 't') && (same || strchr(diary, 'p')));
		CHECK_EQ(strlen(diary), same ? 6 : 7);
		diary_clear();
		witness_rest(in.env);
	}
}

struct ends {
	hapax_bound *bound;
	struct witness *parts[2];
	hapax_finalizer *finalizer;
	hapax_weak *weak;
	unsigned dead, inside, frees, finals, final_frees, told, told_frees;
	bool dropped;
	struct test_barrier start;
};
enum { RACES = 60, RACERS = 6 };

static void count_dead(hapax_bound *bound, void *ctx)
{
	struct ends *e = ctx;

	(void)bound;
	__atomic_store_n(&e->inside, 1, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&e->dead, 1, __ATOMIC_SEQ_CST);
	CHECK(!__atomic_load_n(&e->dropped, __ATOMIC_SEQ_CST));
	__atomic_store_n(&e->inside, 0, __ATOMIC_SEQ_CST);
}
static void count_bound_free(void *ctx)
{
	struct ends *e = ctx;

	CHECK_EQ(__atomic_add_fetch(&e->frees, 1, __ATOMIC_SEQ_CST), 1);
}
static int count_final(void *ctx) { return (int)__atomic_add_fetch(&((struct ends *)ctx)->finals, 1, __ATOMIC_SEQ_CST); }
static void count_final_free(void *ctx) { __atomic_add_fetch(&((struct ends *)ctx)->final_frees, 1, __ATOMIC_SEQ_CST); }
static void count_told(hapax_weak *weak, void *ctx)
{
	(void)weak;
	__atomic_add_fetch(&((struct ends *)ctx)->told, 1, __ATOMIC_SEQ_CST);
}
static void count_told_free(void *ctx) { __atomic_add_fetch(&((struct ends *)ctx)->told_frees, 1, __ATOMIC_SEQ_CST); }

static unsigned got_by_hand, got_detached;

static void race_ends(unsigned index, void *arg)
{
	for (int i = 0; i < RACES; i++) {
		struct ends *e = (struct ends *)arg + i;
		int result = 0;

		test_barrier_wait(&e->start);
		switch (index) {
		case 0:
		case 1:
			hapax_release(e->parts[index]);
			break;
		case 2: /* a barrier: whoever asks afterwards finds nothing running */
			CHECK_EQ(hapax_bound_drop(e->bound), HAPAX_OK);
			CHECK_EQ(__atomic_load_n(&e->inside, __ATOMIC_SEQ_CST), 0);
			__atomic_store_n(&e->dropped, true, __ATOMIC_SEQ_CST);
			break;
		case 3:
			if (hapax_finalizer_run(e->finalizer, &result) == HAPAX_OK) {
				CHECK_EQ(result, 1);
				__atomic_add_fetch(&got_by_hand, 1, __ATOMIC_RELAXED);
			}
			break;
		case 4:
			if (hapax_finalizer_detach(e->finalizer, NULL) == HAPAX_OK) {
				__atomic_add_fetch(&e->finals, 100, __ATOMIC_SEQ_CST);
				__atomic_add_fetch(&got_detached, 1, __ATOMIC_RELAXED);
			}
			break;
		default:
			hapax_finalize_all(i & 1 ? NULL : in.env);
			CHECK_EQ(hapax_weak_drop(e->weak), HAPAX_OK);
			CHECK_EQ(__atomic_load_n(&e->told_frees, __ATOMIC_SEQ_CST), 1);
		}
	}
}

TEST(L3_PY_FIN_01_PY_WM_02_PY_CB_14_exactly_once_of_all_that_end_together)
{
	static struct ends ends[RACES];

	in.env = test_env();
	for (int i = 0; i < RACES; i++) {
		struct ends *e = &ends[i];
		hapax_finalize what = {.fn = count_final, .ctx = e, .ctx_free = count_final_free};
		hapax_callback cb = {.fn = count_told, .ctx = e, .ctx_free = count_told_free};
		hapax_bound_options o = {HAPAX_BOUND_OPTIONS_INIT, .fn = pass_on, .ctx = e, .dead = count_dead,
					 .ctx_free = count_bound_free};

		test_barrier_init(&e->start, RACERS);
		for (int p = 0; p < 2; p++)
			e->parts[p] = witness_new(in.env, (uint64_t)p, 0);
		o.target = e->parts[0];
		o.part = e->parts[1];
		CHECK_EQ(hapax_bound_new(&e->bound, &o), HAPAX_OK);
		CHECK_EQ(hapax_finalizer_new(e->parts[i & 1], &what, HAPAX_FINALIZE_AT_EXIT, &e->finalizer), HAPAX_OK);
		CHECK_EQ(hapax_weak_new(e->parts[0], &cb, &e->weak), HAPAX_OK);
	}
	run_threads(RACERS, race_ends, ends);
	for (int i = 0; i < RACES; i++) {
		struct ends *e = &ends[i];

		CHECK(e->dead <= 1 && e->told <= 1);
		CHECK_EQ(e->frees, 1);
		CHECK_EQ(e->told_frees, 1);
		CHECK(e->finals == 1 || e->finals == 100);
		CHECK_EQ(e->final_frees, e->finals == 1);
		hapax_finalizer_drop(e->finalizer);
	}
	witness_rest(in.env);
}

/* ---- failing memory -------------------------------------------------------------------------------------------------- */

static unsigned freed;
static void count_freed(void *ctx) { (void)ctx, freed++; }

/* Makes one of four; 0 and it is taken back at once, with no memory to be had. */
static int make_and_take(int kind, struct test_allocator *memory, hapax_weak_map *map, struct witness *w,
			 struct witness *data)
{
	hapax_callback cb = {.fn = never_told, .ctx = &cb, .ctx_free = count_freed};
	hapax_finalize what = {.fn = run_note, .ctx = &cb, .ctx_free = count_freed};
	hapax_bound_options o = {HAPAX_BOUND_OPTIONS_INIT, .fn = pass_on, .target = w, .part = data, .dead = never_dead,
				 .ctx_free = count_freed};
	hapax_weak *weak = NULL;
	hapax_finalizer *finalizer = NULL;
	hapax_bound *bound = NULL;
	unsigned before = freed;
	int rc = kind == 0   ? hapax_weak_new(w, &cb, &weak)
		 : kind == 1 ? hapax_finalizer_new(w, &what, 0, &finalizer)
		 : kind == 2 ? hapax_bound_new(&bound, &o)
			     : hapax_weak_map_put(map, w, data);

	CHECK_EQ(freed, before);
	if (rc) {
		CHECK(!weak && !finalizer && !bound);
		return rc;
	}
	memory->fail_from = 1;
	memory->calls = 0;
	switch (kind) {
	case 0:
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
		CHECK_EQ(freed, before + 1);
		break;
	case 1:
		CHECK_EQ(hapax_finalizer_detach(finalizer, NULL), HAPAX_OK);
		hapax_finalizer_drop(finalizer);
		CHECK_EQ(freed, before);
		break;
	case 2:
		CHECK_EQ(hapax_bound_drop(bound), HAPAX_OK);
		CHECK_EQ(freed, before + 1);
		break;
	default:
		CHECK_EQ(hapax_weak_map_contains(map, w), 1);
		CHECK_EQ(hapax_weak_map_remove(map, w), HAPAX_OK);
	}
	return 0;
}

TEST(L10_CX_MEM_01_a_refused_registration_leaves_no_trace)
{
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	struct test_allocator *memory = test_env_allocator(env);
	hapax_weak_map_options mo = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env};
	unsigned refused = 0;

	for (int kind = 0; kind < 4; kind++) {
		hapax_weak_map *map = NULL;
		size_t bytes = 0;
		struct witness *w = witness_new(env, 1, 0), *data = witness_new(env, 2, 0);

		CHECK_EQ(hapax_weak_map_create(&map, &mo), HAPAX_OK);
		for (uint64_t turn = 8;; turn++) { /* each often: what an object keeps for its next one does not grow */
			uint64_t failures = memory->failures;
			int rc;

			CHECK(turn < 800);
			memory->calls = 0;
			memory->fail_at = turn / 8;
			rc = make_and_take(kind, memory, map, w, data);
			memory->fail_at = memory->fail_from = 0;
			CHECK_EQ(hapax_weak_count(w), 0);
			CHECK_EQ(hapax_weak_count(data), 0);
			CHECK_EQ(hapax_count(data), 1);
			CHECK_EQ(hapax_weak_map_size(map), 0);
			if (!rc && memory->failures == failures)
				break;
			hapax_testing_drain(env);
			if (rc && turn % 8 > 4)
				CHECK_EQ(hapax_testing_bytes(env), bytes);
			bytes = hapax_testing_bytes(env);
			if (rc)
				CHECK_EQ(rc, HAPAX_ENOMEM);
			refused += rc != 0;
		}
		CHECK_EQ(make_and_take(kind, memory, map, w, data), HAPAX_OK); /* the same call again */
		hapax_release(w);
		hapax_release(data);
		hapax_weak_map_destroy(map);
		memory->fail_from = 0;
	}
	CHECK(refused > 0);
	witness_rest(env);
}

/* ---- handles ---------------------------------------------------------------------------------------------------------- */

static int by_compare(const void *a, const void *b)
{
	return hapax_weak_compare(*(hapax_weak *const *)a, *(hapax_weak *const *)b);
}

/* Sorted, they stay sorted through the deaths of any of their objects, among the handles of what came to be where those were. */
TEST(PY_EQ_02_PY_EQ_03_PY_EQ_05_order_and_hash_through_deaths_and_reuse)
{
	enum { N = 200 };
	uint64_t rng = test_stream(2), hashes[N];
	hapax_env *env = test_env();
	struct witness *objects[N], *fresh[N];
	hapax_weak *handles[N], *again;

	for (int i = 0; i < N; i++) {
		hapax_callback cb = {.ctx = &rng, .ctx_free = i & 2 ? count_freed : NULL};

		objects[i] = witness_new(env, (uint64_t)i, 0);
		CHECK_EQ(hapax_weak_new(objects[i], i & 1 ? &cb : NULL, &handles[i]), HAPAX_OK);
	}
	qsort(handles, N, sizeof(*handles), by_compare);
	for (int i = 0; i < N; i++)
		hashes[i] = hapax_weak_hash(handles[i]);
	for (int i = 0; i < N; i++)
		if (test_below(&rng, 2)) {
			hapax_release(objects[i]);
			objects[i] = NULL;
		}
	hapax_testing_drain(env);
	for (int i = 0; i < N; i++)
		fresh[i] = witness_new(env, 1000 + (uint64_t)i, 0); /* many where dead ones were */
	for (int i = 0; i < N; i++) {
		CHECK_EQ(hapax_weak_hash(handles[i]), hashes[i]);
		CHECK(hapax_weak_equal(handles[i], handles[i]));
		CHECK(!hapax_weak_equal(handles[i], NULL));
		CHECK(hapax_weak_compare(NULL, handles[i]) < 0 && hapax_weak_compare(handles[i], NULL) > 0);
		for (int j = 0; j < i; j++) {
			CHECK(hapax_weak_compare(handles[j], handles[i]) < 0);
			CHECK(hapax_weak_compare(handles[i], handles[j]) > 0);
			CHECK(!hapax_weak_equal(handles[i], handles[j]));
		}
		CHECK_EQ(hapax_weak_new(fresh[i], NULL, &again), HAPAX_OK);
		for (int j = 0; j < N; j++) {
			CHECK(!hapax_weak_equal(again, handles[j]));
			CHECK(hapax_weak_compare(again, handles[j]) != 0);
		}
		CHECK_EQ(hapax_weak_drop(again), HAPAX_OK);
	}
	for (int i = 0; i < N; i++) {
		hapax_release(objects[i]);
		hapax_release(fresh[i]);
		CHECK_EQ(hapax_weak_drop(handles[i]), HAPAX_OK);
	}
	witness_rest(env);
}

/* What was listed keeps a registration whose own handle is dropped; it is cancelled by the last. */
TEST(PY_CNT_04_D_3_a_listed_handle_keeps_its_registration)
{
	static char names[] = "abcdef";
	hapax_env *env = test_env();
	struct witness *w = witness_new(env, 1, 'o');
	hapax_weak *own[6], *listed[8] = {0}, *plain;
	hapax_finalize what = {.fn = run_note, .ctx = &names[0]};
	size_t count = 99;

	CHECK_EQ(hapax_weak_list(w, NULL, 0, &count), HAPAX_OK);
	CHECK_EQ(count, 0);
	CHECK_EQ(hapax_finalizer_new(w, &what, 0, NULL), HAPAX_OK); /* is no handle */
	CHECK_EQ(hapax_weak_new(w, NULL, &plain), HAPAX_OK);
	for (int i = 1; i < 6; i++) {
		hapax_callback cb = {.fn = note_weak, .ctx = &names[i], .ctx_free = free_note};

		CHECK_EQ(hapax_weak_new(w, &cb, &own[i]), HAPAX_OK);
	}
	CHECK_EQ(hapax_weak_list(w, listed, 3, &count), HAPAX_OK);
	CHECK_EQ(count, 6);
	CHECK_PTR(listed[3], NULL);
	for (int i = 0; i < 3; i++) {
		CHECK(hapax_weak_equal(listed[i], own[5 - i]));
		CHECK_EQ(hapax_weak_drop(own[5 - i]), HAPAX_OK); /* f, e, d: not the last */
	}
	diary_is("");
	CHECK_EQ(hapax_weak_drop(listed[1]), HAPAX_OK); /* e */
	CHECK_EQ(hapax_weak_drop(own[1]), HAPAX_OK);    /* b */
	diary_is("EB");
	CHECK_EQ(hapax_weak_count(w), 1 + 1 + 3);
	hapax_release(w);
	diary_is("fFdDcCao");
	CHECK_EQ(hapax_weak_drop(listed[0]), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(listed[2]), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(own[2]), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(plain), HAPAX_OK);
	diary_is("");
	witness_rest(env);
}
