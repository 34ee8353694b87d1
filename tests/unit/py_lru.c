/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memoization: capacities, recursion, failures, keys, tags, single flight, owners. Strict LRU at random: laws_lru.c. */
#include "unit/memos.h"

static const unsigned forms[] = {0, MEMO_MAKES};

/* ---- examples ---------------------------------------------------------------------------------------------------- */

TEST(PY_LRU_01_strict_lru_of_two)
{
	static const int calls[] = {7, 9, 7, 9, 7, 9, 8, 8, 8, 9, 9, 9, 8, 8, 8, 7};
	enum { N = sizeof(calls) / sizeof(*calls) };

	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct work w = {0};

		memo_new(env, &w, forms[form], 2);
		for (int i = 0; i < N; i++) {
			int before = runs_of(&w);

			call(&w, NULL, calls[i]);
			CHECK_EQ(runs_of(&w) - before, i == 0 || i == 1 || i == 6 || i == 15);
		}
		INFO(info_of(&w, NULL), 12, 4, 2);
		CHECK_EQ(info_of(&w, NULL).capacity, 2);
		CHECK_EQ(info_of(&w, NULL).computed, 4);
		CHECK_EQ(gone_of(&w), 2); /* nobody uses what the memo does not hold: it is gone */
		CHECK(found(&w, NULL, 8) && found(&w, NULL, 7) && !found(&w, NULL, 9));
		INFO(info_of(&w, NULL), 12, 4, 2);
		work_end_env(&w, env);
		CHECK_EQ(gone_of(&w), 4);
	}
}

TEST(PY_LRU_02_capacities)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct work w = {0}, one = {0}, many = {0};
		hapax_memo_options o = {HAPAX_MEMO_OPTIONS_INIT, .env = env, .type = &outcome_type, .compute = work_compute};
		static const int64_t negative[] = {-1, -2, -1000, INT64_MIN + 1};
		hapax_memo *none = (hapax_memo *)1;

		memo_new(env, &w, forms[form], HAPAX_ZERO);
		for (int i = 0; i < 6; i++) {
			struct outcome *held = called(&w, NULL, 1); /* in use, and not found */

			CHECK_EQ(held->item.id, 2 * i + 1);
			CHECK_EQ(found(&w, NULL, 1), 0);
			CHECK_EQ(call(&w, NULL, 1), 2 * i + 2);
			hapax_release(held);
		}
		INFO(info_of(&w, NULL), 0, 12, 0);
		CHECK_EQ(info_of(&w, NULL).capacity, 0);
		CHECK_EQ(gone_of(&w), 12);
		CHECK_EQ(forget(&w, NULL, 1), HAPAX_MISS);
		INFO(cleared(&w, NULL), 0, 12, 0);
		INFO(info_of(&w, NULL), 0, 0, 0);
		hapax_memo_destroy(w.memo);

		memo_new(env, &one, forms[form], 1);
		for (int i = 0; i < 5; i++)
			CHECK_EQ(call(&one, NULL, 3), 1);
		INFO(info_of(&one, NULL), 4, 1, 1);
		CHECK_EQ(call(&one, NULL, 4), 2);
		CHECK_EQ(call(&one, NULL, 3), 3);
		INFO(info_of(&one, NULL), 4, 3, 1);
		hapax_memo_destroy(one.memo);

		memo_options(env, &many, forms[form], (hapax_memo_options){.policy = hapax_policy_lru()});
		CHECK_EQ(info_of(&many, NULL).capacity, 128);
		for (int i = 0; i < 500; i++)
			call(&many, NULL, i);
		INFO(info_of(&many, NULL), 0, 500, 128);
		CHECK_EQ(call(&many, NULL, 372), 373);
		CHECK_EQ(call(&many, NULL, 371), 501);
		hapax_memo_destroy(many.memo);

		for (size_t i = 0; i < sizeof(negative) / sizeof(*negative); i++) {
			o.capacity = negative[i];
			none = (hapax_memo *)1;
			CHECK_EQ(hapax_memo_create(&none, &o), HAPAX_EOPTION);
			CHECK(!none);
		}
		test_env_end(env);
	}
}

TEST(PY_LRU_03_unlimited_keeps_all_and_clear_empties)
{
	enum { N = 20000 };

	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct work w = {0};

		memo_new(env, &w, forms[form], HAPAX_UNLIMITED);
		for (int round = 0; round < 2; round++)
			for (int i = 0; i < N; i++)
				CHECK_EQ(call(&w, NULL, i), i + 1);
		CHECK_EQ(gone_of(&w), 0);
		INFO(info_of(&w, NULL), N, N, N);
		CHECK_EQ(info_of(&w, NULL).capacity, HAPAX_UNLIMITED);
		INFO(cleared(&w, NULL), N, N, N);
		CHECK_EQ(gone_of(&w), N);
		INFO(info_of(&w, NULL), 0, 0, 0);
		INFO(cleared(&w, NULL), 0, 0, 0);
		CHECK_EQ(found(&w, NULL, 3), 0);
		CHECK_EQ(call(&w, NULL, 3), N + 1);
		INFO(info_of(&w, NULL), 0, 1, 1);
		CHECK_EQ(hapax_memo_clear(w.memo, NULL, NULL), HAPAX_OK);
		INFO(info_of(&w, NULL), 0, 0, 0);
		work_end_env(&w, env);
	}
}

/* ---- recursion --------------------------------------------------------------------------------------------------- */

static int fib_then(struct work *w, int run, void *owner, const hapax_arg *args, size_t n)
{
	int64_t x = args[0].value.i;

	(void)run;
	CHECK_EQ(n, 1);
	if (x >= 2) {
		call(w, owner, x - 1);
		call(w, owner, x - 2);
	}
	return GO_ON;
}

TEST(PY_LRU_04_the_function_calls_its_memo_with_other_arguments)
{
	static const int64_t capacities[] = {HAPAX_UNLIMITED, 100, 16, 1};

	for (int form = 0; form < 2; form++) {
		for (size_t c = 0; c < 4; c++) {
			hapax_env *env = test_env();
			struct work w = {.then = fib_then};

			memo_new(env, &w, forms[form], capacities[c]);
			for (int i = 0; i <= 15; i++)
				call(&w, NULL, i);
			if (capacities[c] > 1)
				INFO(info_of(&w, NULL), 28, 16, 16);
			else
				CHECK_EQ(info_of(&w, NULL).entries, 1);
			CHECK_EQ(info_of(&w, NULL).misses, runs_of(&w));
			CHECK_EQ(hapax_memo_clear(w.memo, NULL, NULL), HAPAX_OK);
			if (capacities[c] > 1) {
				call(&w, NULL, 100 < capacities[c] ? 100 : 15); /* from the top: deep */
				CHECK_EQ(info_of(&w, NULL).misses, 100 < capacities[c] ? 101 : 16);
			}
			work_end_env(&w, env);
		}
	}
}

static int other_then(struct work *w, int run, void *owner, const hapax_arg *args, size_t n)
{
	void *out = NULL;

	CHECK_EQ(refused(w, owner, args, n), HAPAX_EDEADLK);
	if (run == 1) {
		CHECK_EQ(hapax_memo_get(w->memo, owner, HAPAX_STR("other"), &out), HAPAX_OK);
		hapax_release(out);
	}
	return GO_ON;
}

TEST(PY_LRU_04_the_function_with_its_own_arguments_is_refused)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct work w = {.then = other_then};

		memo_new(env, &w, forms[form], 10);
		CHECK_EQ(call(&w, NULL, 5), 1);
		INFO(info_of(&w, NULL), 0, 4, 2); /* two of them refused */
		CHECK_EQ(info_of(&w, NULL).computed, 2);
		CHECK_EQ(call(&w, NULL, 5), 1);
		work_end_env(&w, env);
	}
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static int drops;
static void count_drop(void *detail)
{
	CHECK_PTR(detail, &drops);
	__atomic_add_fetch(&drops, 1, __ATOMIC_SEQ_CST);
}

static int call_error(struct work *w, void *owner, int64_t x, hapax_load_error *error)
{
	hapax_memo_call_options o = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = error};
	const hapax_arg arg = hapax_arg_int(x);
	void *out = (void *)1;
	int rc = hapax_memo_call_with(w->memo, owner, &arg, 1, &o, &out);

	CHECK((rc == HAPAX_OK) == (out != NULL));
	hapax_release(out);
	return rc;
}

TEST(PY_LRU_06_a_failure_is_passed_unchanged_and_not_kept)
{
	static const int codes[] = {0, 1, -1, 4711, INT32_MIN};

	for (int form = 0; form < 2; form++) {
		for (size_t i = 0; i < 5; i++) {
			hapax_env *env = test_env();
			struct work w = {.result = HAPAX_LOAD_FAIL, .code = codes[i], .detail = &drops, .drop = count_drop};
			const hapax_arg arg = hapax_arg_int(1);
			hapax_load_error error = {.code = 99};

			drops = 0;
			memo_new(env, &w, forms[form], 10);
			for (int round = 1; round <= 3; round++) {
				CHECK_EQ(call_error(&w, NULL, 1, &error), HAPAX_ELOADER);
				CHECK_EQ(error.code, codes[i]);
				CHECK_PTR(error.detail, &drops);
				CHECK_EQ(drops, 2 * round - 2);
				hapax_load_error_drop(&error);
				CHECK_EQ(drops, 2 * round - 1);
				CHECK_EQ(refused(&w, NULL, &arg, 1), HAPAX_ELOADER); /* nobody asks for the error */
				CHECK_EQ(drops, 2 * round);
				CHECK_EQ(runs_of(&w), 2 * round);
				INFO(info_of(&w, NULL), 0, 2 * round, 0);
				CHECK_EQ(info_of(&w, NULL).failed, 2 * round);
				CHECK_EQ(found(&w, NULL, 1), 0);
			}
			w.result = HAPAX_LOAD_NOVALUE;
			CHECK_EQ(call_error(&w, NULL, 1, &error), HAPAX_NOVALUE);
			CHECK(!error.code && !error.detail);
			CHECK_EQ(refused(&w, NULL, &arg, 1), HAPAX_NOVALUE);
			INFO(info_of(&w, NULL), 0, 8, 0);
			CHECK_EQ(info_of(&w, NULL).failed, 8);
			CHECK_EQ(gone_of(&w), 0); /* no destructor for what never was */
			w.result = HAPAX_LOAD_OK;
			CHECK_EQ(call(&w, NULL, 1), 9);
			CHECK_EQ(call_error(&w, NULL, 1, &error), HAPAX_OK);
			INFO(info_of(&w, NULL), 1, 9, 1);
			CHECK_EQ(info_of(&w, NULL).failed, 8);
			CHECK_EQ(info_of(&w, NULL).computed, 9);
			CHECK_EQ(drops, 6);
			work_end_env(&w, env);
		}
	}
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

struct hashing {
	int calls;
	bool fails;
	bool constant;
};

static int counted_hash(const hapax_key *key, uint64_t *hash, void *ctx)
{
	struct hashing *h = ctx;
	const unsigned char *bytes = key->data;

	__atomic_add_fetch(&h->calls, 1, __ATOMIC_RELAXED);
	if (h->fails)
		return 1;
	*hash = 5;
	for (size_t i = 0; i < key->size && !h->constant; i++)
		*hash = (*hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return 0;
}

TEST(PY_LRU_07_the_hash_is_asked_once_per_call_and_never_else)
{
	enum { N = 3000 };

	for (int variant = 0; variant < 8; variant++) {
		unsigned flags = (variant & 1 ? HAPAX_MEMO_OWNED : 0) | (variant & 2 ? MEMO_MAKES : 0);
		hapax_env *env = test_env();
		struct hashing h = {0};
		struct work w = {0};
		struct item *owner = variant & 1 ? item_new(env, 70) : NULL;
		int calls = 0;

		memo_options(env, &w, flags, (hapax_memo_options){
			.capacity = variant & 4 ? HAPAX_UNLIMITED : 50, .keys = {.hash = counted_hash, .ctx = &h}});
		for (int i = 0; i < N; i++) { /* growth and eviction on the way */
			call(&w, owner, i);
			CHECK_EQ(h.calls, ++calls);
			call(&w, owner, i);
			CHECK_EQ(h.calls, ++calls);
		}
		found(&w, owner, 3);
		forget(&w, owner, 3);
		forget(&w, owner, 3);
		CHECK_EQ(h.calls, calls += 3);
		info_of(&w, NULL);
		info_of(&w, owner);
		CHECK_EQ(h.calls, calls);
		cleared(&w, owner);
		cleared(&w, NULL);
		CHECK_EQ(h.calls, calls);
		call(&w, owner, 1);
		CHECK_EQ(h.calls, ++calls);
		hapax_release(owner);
		work_end_env(&w, env);
		CHECK_EQ(h.calls, calls);
	}
}

TEST(PY_LRU_07_a_constant_hash_is_slow_and_right)
{
	hapax_env *env = test_env();
	struct hashing h = {.constant = true};
	struct work w = {0};

	memo_options(env, &w, 0, (hapax_memo_options){.capacity = 40, .policy = hapax_policy_lru(),
						      .keys = {.hash = counted_hash, .ctx = &h}});
	for (int i = 0; i < 200; i++)
		CHECK_EQ(call(&w, NULL, i), i + 1);
	for (int i = 199; i >= 160; i--)
		CHECK_EQ(call(&w, NULL, i), i + 1);
	INFO(info_of(&w, NULL), 40, 200, 40);
	work_end_env(&w, env);
}

TEST(PY_LRU_09_tags_tell_results_apart_in_typed_memos)
{
	for (int typed = 0; typed < 2; typed++) {
		hapax_env *env = test_env();
		struct work w = {0};
		const hapax_arg args[] = {hapax_arg_int(3), hapax_arg_uint(3), hapax_arg_bytes("\3\0\0\0\0\0\0", 8, 0),
					  hapax_arg_bytes("\3\0\0\0\0\0\0", 8, HAPAX_TAG_USER),
					  hapax_arg_bytes("\3\0\0\0\0\0\0", 8, HAPAX_TAG_USER + 1)};
		void *out[5] = {NULL};

		memo_new(env, &w, typed ? HAPAX_MEMO_TYPED : 0, 100);
		for (int i = 0; i < 5; i++)
			CHECK_EQ(hapax_memo_call(w.memo, NULL, &args[i], 1, &out[i]), HAPAX_OK);
		for (int i = 0; i < 5; i++)
			for (int j = 0; j < i; j++)
				CHECK_EQ(out[i] == out[j], !typed);
		INFO(info_of(&w, NULL), typed ? 0 : 4, typed ? 5 : 1, typed ? 5 : 1);
		for (int i = 0; i < 5; i++) {
			void *again = NULL;

			CHECK_EQ(hapax_memo_call(w.memo, NULL, &args[i], 1, &again), HAPAX_OK);
			CHECK_PTR(again, out[i]);
			hapax_release(again);
			hapax_release(out[i]);
		}
		CHECK_EQ(hapax_memo_get(w.memo, NULL, hapax_key_bytes("\3\0\0\0\0\0\0", 8), &out[0]), HAPAX_OK);
		CHECK_EQ(runs_of(&w), typed ? 5 : 1); /* it is an argument with HAPAX_TAG_BYTES */
		hapax_release(out[0]);
		work_end_env(&w, env);
	}
}

/* Lists, not strings put together. */
TEST(arguments_are_lists)
{
	hapax_env *env = test_env();
	struct work w = {0};
	char long_text[3000];
	const struct {
		hapax_arg args[3];
		size_t n;
	} lists[] = {
		{{{0}}, 0},
		{{hapax_arg_string("")}, 1},
		{{hapax_arg_string("ab"), hapax_arg_string("c")}, 2},
		{{hapax_arg_string("a"), hapax_arg_string("bc")}, 2},
		{{hapax_arg_string("abc")}, 1},
		{{hapax_arg_string("abc"), hapax_arg_string("")}, 2},
		{{hapax_arg_string(""), hapax_arg_string("abc")}, 2},
		{{hapax_arg_int(1), hapax_arg_int(2)}, 2},
		{{hapax_arg_int(2), hapax_arg_int(1)}, 2},
		{{hapax_arg_int(1), hapax_arg_int(2), hapax_arg_int(0)}, 3},
		{{hapax_arg_bytes(long_text, 2999, 0)}, 1},
		{{hapax_arg_bytes(long_text, 3000, 0)}, 1},
		{{hapax_arg_bytes(long_text, 2000, 0), hapax_arg_bytes(long_text, 1000, 0)}, 2},
	};
	enum { N = sizeof(lists) / sizeof(*lists) };

	memset(long_text, 'x', sizeof(long_text));
	memo_new(env, &w, 0, 100);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < N; i++) {
			void *out = NULL;

			CHECK_EQ(hapax_memo_call(w.memo, NULL, lists[i].n ? lists[i].args : NULL, lists[i].n, &out), HAPAX_OK);
			CHECK_EQ(((struct outcome *)out)->item.id, i + 1);
			hapax_release(out);
		}
	CHECK_EQ(runs_of(&w), N);
	for (int i = 0; i < N; i++)
		CHECK_EQ(hapax_memo_forget(w.memo, NULL, lists[i].args, lists[i].n), HAPAX_OK);
	INFO(info_of(&w, NULL), N, N, 0);
	work_end_env(&w, env);
}

TEST(PY_LRU_11_an_unusable_key_changes_nothing)
{
	for (int owned = 0; owned < 2; owned++) {
		hapax_env *env = test_env();
		struct hashing h = {0};
		struct work w = {0};
		struct item *owner = owned ? item_new(env, 1) : NULL;
		char *huge = calloc(1, HAPAX_KEY_MAX + 1);
		const hapax_arg null = hapax_arg_bytes(NULL, 8, 0), good = hapax_arg_int(1);
		const hapax_arg mixed[] = {good, hapax_arg_bytes(NULL, 1, 0)};
		const hapax_arg longer = hapax_arg_bytes(huge, HAPAX_KEY_MAX - 31, 0);
		const hapax_arg longest = hapax_arg_bytes(huge, HAPAX_KEY_MAX - 32, 0);
		hapax_memo_info before, after;
		void *out = NULL;
		size_t held;

		CHECK(huge);
		memo_options(env, &w, owned ? HAPAX_MEMO_OWNED : 0,
			     (hapax_memo_options){.keys = {.hash = counted_hash, .ctx = &h}});
		call(&w, owner, 1);
		call(&w, owner, 2);
		hapax_testing_drain(env);
		held = hapax_testing_bytes(env);
		before = info_of(&w, NULL);
		for (int round = 0; round < 50; round++) {
			h.fails = true;
			CHECK_EQ(refused(&w, owner, &good, 1), HAPAX_EHASH);
			out = (void *)1;
			CHECK_EQ(hapax_memo_find(w.memo, owner, &good, 1, &out), HAPAX_EHASH);
			CHECK(!out);
			CHECK_EQ(hapax_memo_forget(w.memo, owner, &good, 1), HAPAX_EHASH);
			CHECK_EQ(hapax_memo_get(w.memo, owner, HAPAX_STR("x"), &out), HAPAX_EHASH);
			h.fails = false;
			CHECK_EQ(refused(&w, owner, &null, 1), HAPAX_EKEY);
			CHECK_EQ(refused(&w, owner, mixed, 2), HAPAX_EKEY);
			CHECK_EQ(hapax_memo_find(w.memo, owner, mixed, 2, &out), HAPAX_EKEY);
			CHECK_EQ(hapax_memo_forget(w.memo, owner, mixed, 2), HAPAX_EKEY);
			CHECK_EQ(hapax_memo_get(w.memo, owner, hapax_key_bytes(NULL, 1), &out), HAPAX_EKEY);
			CHECK_EQ(refused(&w, owner, NULL, 1), HAPAX_ENULL);
			CHECK_EQ(hapax_memo_forget(w.memo, owner, NULL, 1), HAPAX_ENULL);
			CHECK_EQ(refused(&w, owner, &longer, 1), HAPAX_EKEYSIZE);
			CHECK_EQ(hapax_memo_find(w.memo, owner, &longer, 1, &out), HAPAX_EKEYSIZE);
			CHECK_EQ(hapax_memo_forget(w.memo, owner, &longer, 1), HAPAX_EKEYSIZE);
			CHECK_EQ(hapax_memo_get(w.memo, owner, hapax_key_bytes(huge, HAPAX_KEY_MAX + 1), &out), HAPAX_EKEYSIZE);
			CHECK_EQ(hapax_memo_call(w.memo, owner, &good, 1, NULL), HAPAX_ENULL);
		}
		after = info_of(&w, NULL);
		CHECK(info_same(&before, &after));
		CHECK_EQ(runs_of(&w), 2);
		hapax_testing_drain(env);
		CHECK_EQ(hapax_testing_bytes(env), held);
		CHECK_EQ(hapax_memo_call(w.memo, owner, &longest, 1, &out), HAPAX_OK);
		hapax_release(out);
		CHECK_EQ(hapax_memo_find(w.memo, owner, &longest, 1, &out), HAPAX_OK);
		hapax_release(out);
		free(huge);
		hapax_release(owner);
		work_end_env(&w, env);
	}
}

/* The caller's memory is looked at during the call only. */
TEST(SD_31_arguments_are_copied)
{
	for (int size = 1; size <= 4000; size = size * 3 + 1) {
		hapax_env *env = test_env();
		struct work w = {0};
		char *text = malloc((size_t)size);
		hapax_arg arg = hapax_arg_bytes(text, (size_t)size, 0);
		void *out = NULL, *again = NULL;

		CHECK(text);
		memset(text, 'a', (size_t)size);
		memo_new(env, &w, 0, 10);
		CHECK_EQ(hapax_memo_call(w.memo, NULL, &arg, 1, &out), HAPAX_OK);
		memset(text, 'b', (size_t)size);
		CHECK_EQ(hapax_memo_find(w.memo, NULL, &arg, 1, &again), HAPAX_MISS);
		free(text);
		text = malloc((size_t)size);
		CHECK(text);
		memset(text, 'a', (size_t)size);
		arg = hapax_arg_bytes(text, (size_t)size, 7); /* other memory, untyped */
		CHECK_EQ(hapax_memo_call(w.memo, NULL, &arg, 1, &again), HAPAX_OK);
		CHECK_PTR(again, out);
		hapax_release(again);
		hapax_release(out);
		free(text);
		work_end_env(&w, env);
	}
}

/* ---- single flight ----------------------------------------------------------------------------------------------- */

enum { THREADS = 8, FLOCKS = 3 };

struct flock {
	struct work w;
	struct item *owner[FLOCKS];
	void *out[FLOCKS * THREADS];
	int status[FLOCKS * THREADS];
	unsigned asleep; /* the function returns when so many wait */
	struct test_event all;
};

static int flock_then(struct work *w, int run, void *owner, const hapax_arg *args, size_t n)
{
	struct flock *f = w->arg;

	(void)owner;
	(void)args;
	(void)n;
	if (run == 1) {
		fake_clock_await_sleepers(f->asleep);
		test_event_set(&f->all);
	}
	test_event_wait(&f->all);
	return GO_ON;
}

static void flock_run(unsigned index, void *arg)
{
	struct flock *f = arg;
	hapax_memo_call_options o = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = UINT64_MAX / 2};
	const hapax_arg args[] = {hapax_arg_int(1), hapax_arg_string("all the same")};

	f->status[index] = hapax_memo_call_with(f->w.memo, f->owner[index % FLOCKS], args, 2, &o, &f->out[index]);
}

TEST(PY_LRU_12_one_computation_for_all_who_ask_together)
{
	static const int results[] = {HAPAX_LOAD_OK, HAPAX_LOAD_NOVALUE, HAPAX_LOAD_FAIL};
	static const int statuses[] = {HAPAX_OK, HAPAX_NOVALUE, HAPAX_ELOADER};
	static const int64_t capacities[] = {10, HAPAX_ZERO, HAPAX_UNLIMITED};

	for (int variant = 0; variant < 36; variant++) {
		int owned = variant & 1, flocks = owned ? FLOCKS : 1, result = variant / 2 % 3, n = FLOCKS * THREADS;
		hapax_env *env = test_env_fake();
		struct flock f = {.w = {.then = flock_then, .result = results[result]}, .asleep = (unsigned)(n - flocks),
				  .all = TEST_EVENT_INIT};
		hapax_memo_info i;

		f.w.arg = &f;
		memo_new(env, &f.w, (owned ? HAPAX_MEMO_OWNED : 0) | forms[variant / 6 % 2], capacities[variant / 12]);
		for (int o = 0; o < FLOCKS && owned; o++)
			f.owner[o] = item_new(env, o + 1);
		run_threads((unsigned)n, flock_run, &f);
		CHECK_EQ(runs_of(&f.w), flocks);
		for (int t = 0; t < n; t++) {
			CHECK_EQ(f.status[t], statuses[result]);
			CHECK_PTR(f.out[t], f.out[owned ? t % FLOCKS : 0]);
			CHECK_EQ(f.out[t] != NULL, !result);
			if (f.out[t])
				CHECK_EQ(((struct outcome *)f.out[t])->owner_id, owned ? t % FLOCKS + 1 : 0);
		}
		i = info_of(&f.w, NULL);
		INFO(i, 0, n, result || capacities[variant / 12] == HAPAX_ZERO ? 0 : flocks);
		CHECK_EQ(i.waits, n - flocks);
		CHECK_EQ(i.computed, flocks);
		CHECK_EQ(i.failed, result ? flocks : 0);
		for (int o = 0; o < FLOCKS && owned; o++) {
			i = info_of(&f.w, f.owner[o]);
			CHECK_EQ(i.misses, THREADS);
			CHECK_EQ(i.waits, THREADS - 1);
			CHECK_EQ(i.computed, 1);
			CHECK_EQ(i.owners, 1);
		}
		for (int t = 0; t < n; t++)
			hapax_release(f.out[t]);
		for (int o = 0; o < FLOCKS; o++)
			hapax_release(f.owner[o]);
		work_end_env(&f.w, env);
	}
}

/* ---- owners -------------------------------------------------------------------------------------------------------- */

TEST(PY_LRU_14_owners_do_not_share_and_take_their_results_with_them)
{
	for (int variant = 0; variant < 4; variant++) {
		unsigned flags = HAPAX_MEMO_OWNED | (variant & 1 ? MEMO_MAKES : 0) | (variant & 2 ? HAPAX_MEMO_SHARED_BUDGET : 0);
		hapax_env *env = test_env();
		struct work w = {0};
		struct item *a = item_new(env, 1), *b = item_new(env, 2), *never = item_new(env, 3);

		memo_new(env, &w, flags, 100);
		for (int i = 0; i < 20; i++) {
			CHECK_EQ(call(&w, a, i), 2 * i + 1);
			CHECK_EQ(call(&w, b, i), 2 * i + 2);
		}
		for (int i = 0; i < 20; i++)
			CHECK_EQ(call(&w, a, i), 2 * i + 1);
		INFO(info_of(&w, a), 20, 20, 20);
		INFO(info_of(&w, b), 0, 20, 20);
		INFO(info_of(&w, never), 0, 0, 0);
		CHECK_EQ(info_of(&w, never).owners, 0);
		CHECK_EQ(info_of(&w, NULL).owners, 2);
		hapax_release(a);
		CHECK_EQ(gone_of(&w), 20); /* at once */
		INFO(info_of(&w, NULL), 20, 40, 20);
		CHECK_EQ(info_of(&w, NULL).owners, 1);
		INFO(info_of(&w, b), 0, 20, 20);
		for (int i = 0; i < 20; i++)
			CHECK_EQ(call(&w, b, i), 2 * i + 2);
		hapax_release(b);
		hapax_release(never);
		CHECK_EQ(gone_of(&w), 40);
		INFO(info_of(&w, NULL), 40, 40, 0);
		CHECK_EQ(info_of(&w, NULL).owners, 0);
		work_end_env(&w, env);
	}
}
