/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Laws of memos: what adds up under threads, memory that fails, hashes, made results, deferred types, counted owners. */
#include "unit/witness_memo.h"

static unsigned runs;

/* Every eleventh fails, every thirteenth has no value. */
static int counted(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner;
	(void)ctx;
	__atomic_add_fetch(&runs, 1, __ATOMIC_RELAXED);
	((struct witness *)result)->id = n ? args[0].value.u : 0;
	if (n && args[0].value.i % 11 == 10) {
		error->code = -1;
		return HAPAX_LOAD_FAIL;
	}
	return n && args[0].value.i % 13 == 12 ? HAPAX_LOAD_NOVALUE : HAPAX_LOAD_OK;
}

static hapax_memo *memo_of(hapax_memo_options o, hapax_env *env) { return memo_made(o, env, counted); }

/* ---- sums ------------------------------------------------------------------------------------------------------------ */

enum { THREADS = 4, STEPS = 500, SHARED = 3 };

static struct {
	hapax_env *env;
	hapax_memo *memo;
	struct witness *shared[SHARED];
	uint64_t calls, hits, misses, computed, failed, waits;
	bool owned;
} s;

static void add_up(const hapax_memo_info *info)
{
	CHECK(info->entries + info->failed <= info->computed && info->computed <= info->misses);
	CHECK(info->waits <= info->misses);
	__atomic_add_fetch(&s.hits, info->hits, __ATOMIC_RELAXED);
	__atomic_add_fetch(&s.misses, info->misses, __ATOMIC_RELAXED);
	__atomic_add_fetch(&s.computed, info->computed, __ATOMIC_RELAXED);
	__atomic_add_fetch(&s.failed, info->failed, __ATOMIC_RELAXED);
	__atomic_add_fetch(&s.waits, info->waits, __ATOMIC_RELAXED);
}

static void use_memo(unsigned index, void *arg)
{
	uint64_t rng = test_stream(100 + index);
	struct witness *own = s.owned ? witness_new(s.env, index, 0) : NULL, *kept[4] = {NULL};

	(void)arg;
	for (int i = 0; i < STEPS; i++) {
		struct witness *owner = !s.owned ? NULL : test_below(&rng, 2) ? own : s.shared[test_below(&rng, SHARED)];
		int64_t argument = (int64_t)test_below(&rng, 28);
		hapax_memo_info info = {.size = sizeof(info)};
		struct witness *w;
		int rc;

		switch (test_below(&rng, 16)) {
		default:
			rc = call(s.memo, owner, argument, &w);
			CHECK_EQ(rc, argument % 11 == 10 ? HAPAX_ELOADER : argument % 13 == 12 ? HAPAX_NOVALUE : HAPAX_OK);
			__atomic_add_fetch(&s.calls, 1, __ATOMIC_RELAXED);
			if (w)
				CHECK_EQ(w->id, argument);
			hapax_release(kept[i % 4]);
			kept[i % 4] = w;
			break;
		case 0:
			there(s.memo, owner, argument);
			break;
		case 1:
			rc = hapax_memo_forget(s.memo, owner, HAPAX_ARGS(hapax_arg_int(argument)));
			CHECK(rc == HAPAX_OK || rc == HAPAX_MISS);
			break;
		case 2:
			info_of(s.memo, owner);
			info_of(s.memo, NULL);
			break;
		case 3:
			if (test_below(&rng, 8))
				break;
			CHECK_EQ(hapax_memo_clear(s.memo, NULL, &info), HAPAX_OK);
			add_up(&info);
			break;
		case 4:
			if (!s.owned)
				break;
			if (test_below(&rng, 4)) {
				CHECK_EQ(hapax_memo_clear(s.memo, owner, NULL), HAPAX_OK); /* changes no counter of the memo */
				break;
			}
			hapax_release(own);
			own = witness_new(s.env, index, 0);
		}
	}
	for (int i = 0; i < 4; i++)
		hapax_release(kept[i]);
	hapax_release(own);
}

TEST(L8_PY_LRU_03_SD_33_every_call_is_counted_once_through_clears_and_deaths)
{
	static const int64_t capacities[] = {HAPAX_ZERO, 1, 7, HAPAX_UNLIMITED};

	for (unsigned form = 0; form < 12; form++) {
		unsigned flags = form % 3 == 0 ? 0 : form % 3 == 1 ? HAPAX_MEMO_OWNED : HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET;
		hapax_memo_info last = {.size = sizeof(last)};

		memset(&s, 0, sizeof(s));
		runs = 0;
		s.owned = flags != 0;
		s.env = test_env();
		s.memo = memo_of((hapax_memo_options){.flags = flags, .capacity = capacities[form / 3],
						      .policy = form & 1 ? hapax_policy_lru() : NULL}, s.env);
		for (int i = 0; i < SHARED; i++)
			s.shared[i] = witness_new(s.env, 50 + (uint64_t)i, 0);
		run_threads(THREADS, use_memo, NULL);
		last = info_of(s.memo, NULL);
		CHECK(last.owners <= SHARED);
		if (capacities[form / 3] == HAPAX_ZERO)
			CHECK_EQ(last.entries, 0);
		if (capacities[form / 3] == 7)
			CHECK(last.entries <= (flags == HAPAX_MEMO_OWNED ? 7 * SHARED : 7));
		CHECK_EQ(hapax_memo_clear(s.memo, NULL, &last), HAPAX_OK);
		add_up(&last);
		CHECK_EQ(s.hits + s.misses, s.calls);
		CHECK_EQ(s.computed, runs);
		for (int i = 0; i < SHARED; i++)
			hapax_release(s.shared[i]);
		CHECK_EQ(info_of(s.memo, NULL).owners, 0);
		hapax_memo_destroy(s.memo);
		witness_rest(s.env);
	}
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

TEST(L10_CX_MEM_01_CX_MEM_02_calls_without_memory)
{
	uint64_t rng = test_stream(13);

	for (unsigned owned = 0; owned < 2; owned++) {
		hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
		struct test_allocator *memory = test_env_allocator(env);
		hapax_memo *memo = memo_of((hapax_memo_options){.flags = owned ? HAPAX_MEMO_OWNED : 0, .capacity = HAPAX_UNLIMITED}, env);
		struct witness *owner = owned ? witness_new(env, 1, 0) : NULL, *w;
		unsigned refused = 0;
		int64_t argument = 0;

		for (int i = 0; i < 4000; i++) {
			hapax_memo_info before = info_of(memo, NULL), after;
			int rc;

			while (argument % 11 == 10 || argument % 13 == 12)
				argument++;
			memory->calls = 0;
			if (i & 15)
				memory->fail_from = 1;
			else
				memory->fail_at = 1 + test_below(&rng, 6);
			rc = call(memo, owner, argument, &w);
			memory->fail_at = memory->fail_from = 0;
			hapax_release(w);
			after = info_of(memo, NULL);
			CHECK_EQ(after.hits, before.hits);
			CHECK_EQ(after.entries, before.entries + (rc == HAPAX_OK));
			CHECK_EQ(there(memo, owner, argument), rc == HAPAX_OK);
			if (rc) {
				refused++;
				CHECK_EQ(rc, HAPAX_ENOMEM);
				CHECK(after.misses - before.misses <= 1);
				hapax_release(ask(memo, owner, argument)); /* the same again */
			}
			argument++;
		}
		CHECK(refused > 0);
		memory->fail_from = 1; /* what takes away needs none */
		memory->calls = 0;
		CHECK_EQ(hapax_memo_forget(memo, owner, HAPAX_ARGS(hapax_arg_int(0))), HAPAX_OK);
		CHECK(!there(memo, owner, 0));
		if (!owned)
			CHECK_EQ(hapax_memo_clear(memo, owner, NULL), HAPAX_OK);
		hapax_release(owner);
		CHECK_EQ(info_of(memo, NULL).entries, 0);
		CHECK_EQ(info_of(memo, NULL).owners, 0);
		hapax_memo_destroy(memo);
		memory->fail_from = 0;
		witness_rest(env);
	}
}

/* ---- hashes ------------------------------------------------------------------------------------------------------------- */

static unsigned hashed;
static int hash_all_alike(const hapax_key *key, uint64_t *hash, void *ctx)
{
	hashed++;
	*hash = *(uint64_t *)ctx;
	return key->size > 200;
}

TEST(PY_LRU_07_PY_LRU_11_CX_KEY_13_hashed_once_alike_or_not_at_all)
{
	static uint64_t hashes[] = {0, 1, UINT64_MAX};
	static char big[300];

	for (int i = 0; i < 3; i++) {
		hapax_env *env = test_env();
		hapax_memo *memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED, .capacity = 20, .policy = hapax_policy_lru(),
							      .keys = {.hash = hash_all_alike, .ctx = &hashes[i]}}, env);
		struct witness *owner[2] = {witness_new(env, 0, 0), witness_new(env, 1, 0)};
		hapax_memo_info before;
		void *out = &out;

		hashed = 0;
		CHECK_EQ(hapax_memo_call(memo, owner[0], HAPAX_ARGS(hapax_arg_bytes(big, sizeof(big), HAPAX_TAG_USER)), &out),
			 HAPAX_EHASH);
		CHECK_PTR(out, NULL);
		CHECK_EQ(info_of(memo, NULL).hits + info_of(memo, NULL).misses, 0);
		for (int k = 0; k < 100; k++)
			for (int o = 0; o < 2; o++) {
				struct witness *w;

				hashed = 0;
				(void)call(memo, owner[o], k, &w);
				CHECK_EQ(hashed, 1);
				hapax_release(w);
			}
		hashed = 0;
		before = info_of(memo, owner[1]);
		CHECK_EQ(before.entries, 20);
		CHECK_EQ(hapax_memo_clear(memo, owner[0], NULL), HAPAX_OK);
		CHECK_EQ(info_of(memo, owner[0]).entries, 0);
		CHECK_EQ(info_of(memo, owner[1]).entries, 20);
		CHECK_EQ(info_of(memo, owner[1]).misses, before.misses);
		hapax_release(owner[1]);
		CHECK_EQ(info_of(memo, NULL).entries, 0);
		CHECK_EQ(hashed, 0);
		hapax_memo_destroy(memo);
		hapax_release(owner[0]);
		witness_rest(env);
	}
}

/* ---- results that are made ------------------------------------------------------------------------------------------------ */

enum made { ALWAYS_ONE, THE_OWNER, NOTHING, ANOTHER_TYPE, FOREIGN, MADE };
static struct {
	enum made how;
	struct witness *one;
	void *wrong;
} make;

static int makes(void **result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)args;
	(void)n;
	(void)ctx;
	(void)error;
	runs++;
	*result = make.how == ALWAYS_ONE ? make.one : make.how == THE_OWNER ? owner : make.how == NOTHING ? NULL : make.wrong;
	if (*result)
		CHECK_EQ(hapax_retain(*result), HAPAX_OK);
	return HAPAX_LOAD_OK;
}

static void named(const hapax_leak *leak, void *ctx)
{
	unsigned *found = ctx;

	if (leak->holder && leak->held && leak->cycle)
		*found += !strcmp(leak->holder, "forgetful");
}

TEST(L10_L13_SD_32_results_that_are_made)
{
	for (make.how = ALWAYS_ONE; make.how < MADE; make.how++) {
		static const hapax_type another = {HAPAX_TYPE_INIT, .name = "another", .size = 8};
		hapax_env *env = test_env(), *elsewhere = test_env();
		hapax_memo *memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED, .make = makes, .capacity = 50,
							      .name = "forgetful"}, env);
		struct witness *owner = witness_new(env, 1, 'o'), *w;
		unsigned found = 0;
		int rc;

		runs = 0;
		make.one = witness_new(env, 2, '1');
		if (make.how == FOREIGN)
			make.wrong = witness_new(elsewhere, 3, 0);
		else
			CHECK_EQ(hapax_new(env, &another, 0, &make.wrong), HAPAX_OK);
		for (int i = 0; i < 3; i++) {
			rc = call(memo, owner, i, &w);
			if (make.how >= NOTHING) {
				CHECK_EQ(rc, make.how == ANOTHER_TYPE ? HAPAX_ETYPE : make.how == FOREIGN ? HAPAX_EFOREIGN : rc);
				CHECK(rc != HAPAX_OK);
				CHECK_EQ(hapax_count(make.wrong), 1);
				CHECK(!there(memo, owner, i));
			} else {
				CHECK_EQ(rc, HAPAX_OK);
				CHECK_PTR(w, make.how == ALWAYS_ONE ? make.one : owner);
			}
			hapax_release(w);
		}
		CHECK_EQ(runs, 3);
		CHECK_EQ(info_of(memo, owner).computed, 3);
		CHECK_EQ(info_of(memo, owner).entries, make.how < NOTHING ? 3 : 0);
		CHECK_EQ(info_of(memo, owner).failed, make.how < NOTHING ? 0 : 3);
		if (make.how == ALWAYS_ONE) {
			CHECK_EQ(hapax_count(make.one), 4); /* one for each result held */
			CHECK_EQ(hapax_memo_forget(memo, owner, HAPAX_ARGS(hapax_arg_int(1))), HAPAX_OK);
			CHECK_EQ(hapax_count(make.one), 3);
			CHECK(there(memo, owner, 0) && there(memo, owner, 2));
		}
		if (make.how == THE_OWNER) { /* a cycle: named, and broken by forgetting */
			CHECK_EQ(hapax_count(owner), 4);
			hapax_leak_report(env, named, &found);
			CHECK(found > 0);
			CHECK_EQ(hapax_memo_clear(memo, NULL, NULL), HAPAX_OK);
			CHECK_EQ(hapax_count(owner), 1);
		}
		hapax_release(owner);
		CHECK_EQ(hapax_count(make.one), 1);
		diary_is("o");
		CHECK_EQ(info_of(memo, NULL).owners, 0);
		hapax_release(make.one);
		hapax_release(make.wrong);
		diary_clear();
		hapax_memo_destroy(memo);
		witness_rest(env);
		witness_rest(elsewhere);
	}
}

/* ---- owners, counted; deferred types ---------------------------------------------------------------------------------------- */

TEST(PY_CNT_01_SD_29_what_an_owner_counts_and_who_may_be_one)
{
	static const hapax_type not_weak = {HAPAX_TYPE_INIT, .name = "not weak", .size = 8, .flags = HAPAX_TYPE_NOT_WEAK};
	hapax_env *env = test_env(), *elsewhere = test_env();
	hapax_memo *memos[3];
	struct witness *owner = witness_new(env, 1, 0), *foreign = witness_new(elsewhere, 2, 0), *w;
	void *no_owner = NULL;

	CHECK_EQ(hapax_new(env, &not_weak, 0, &no_owner), HAPAX_OK);
	for (int i = 0; i < 3; i++) {
		memos[i] = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED, .capacity = i ? 2 : HAPAX_ZERO}, env);
		CHECK(!there(memos[i], owner, 1));
		CHECK_EQ(info_of(memos[i], owner).owners, 0);
		CHECK_EQ(hapax_memo_clear(memos[i], owner, NULL), HAPAX_OK);
		CHECK_EQ(hapax_weak_count(owner), i);
		CHECK_EQ(call(memos[i], no_owner, 1, &w), HAPAX_ENOTWEAK);
		CHECK_EQ(call(memos[i], foreign, 1, &w), HAPAX_EFOREIGN);
		CHECK_EQ(call(memos[i], NULL, 1, &w), HAPAX_ENULL);
		CHECK_EQ(info_of(memos[i], NULL).misses, 0);
		CHECK_EQ(call(memos[i], owner, 10, &w), HAPAX_ELOADER); /* it looked for it */
		CHECK_EQ(hapax_weak_count(owner), i + 1);
		hapax_release(ask(memos[i], owner, 1));
		CHECK_EQ(hapax_weak_count(owner), i + 1);
		CHECK_EQ(info_of(memos[i], owner).owners, 1);
	}
	CHECK_EQ(hapax_weak_count(foreign), 0);
	hapax_memo_destroy(memos[1]);
	CHECK_EQ(hapax_weak_count(owner), 2);
	CHECK_EQ(hapax_memo_clear(memos[2], NULL, NULL), HAPAX_OK);
	hapax_release(owner);
	CHECK_EQ(info_of(memos[2], NULL).owners, 0);
	hapax_memo_destroy(memos[0]);
	hapax_memo_destroy(memos[2]);
	hapax_release(foreign);
	hapax_release(no_owner);
	witness_rest(env);
	witness_rest(elsewhere);
}

/* Owners and results of deferred types, one or both: forgotten at once, ended in a drain. */
TEST(D_2_SD_29_deferred_owners_and_deferred_results)
{
	for (int form = 0; form < 4; form++) {
		hapax_env *env = test_env();
		const hapax_type *type = form & 1 ? &witness_deferred : &witness_type;
		hapax_memo *memo = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_OWNED, .type = type, .capacity = 2,
							      .policy = hapax_policy_lru()}, env);
		struct witness *owner = witness_of(env, form & 2 ? &witness_deferred : &witness_type, 1, 'o'), *kept, *w;

		for (int i = 0; i < 3; i++) {
			w = ask(memo, owner, i);
			w->name = (char)('0' + i);
			hapax_release(w);
		}
		CHECK(!there(memo, owner, 0)); /* let go of: dead, whether it was run or not */
		CHECK_EQ(info_of(memo, owner).entries, 2);
		diary_is(form & 1 ? "" : "0");
		kept = ask(memo, owner, 1);
		hapax_release(owner);
		CHECK_EQ(info_of(memo, NULL).entries, 0);
		CHECK_EQ(info_of(memo, NULL).owners, 0);
		if (!(form & 1))
			CHECK_EQ(diary[0], '2'); /* before its owner's destructor, and not waiting for it */
		CHECK_EQ(kept->id, 1);
		hapax_run_deferred(env);
		CHECK_EQ(strlen(diary), form & 1 ? 3 : 2);
		CHECK(strchr(diary, 'o') && strchr(diary, '2'));
		diary_clear();
		hapax_memo_destroy(memo);
		hapax_release(kept);
		hapax_run_deferred(env);
		diary_is("1");
		witness_rest(env);
	}
}
