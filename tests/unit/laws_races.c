/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Laws under threads: ends of collections beside the deaths of what is in them, reports and listings beside everything. */
#include "unit/witness.h"

enum { TEAM = 4, ROUNDS = 40, EACH = 6 };

static struct {
	hapax_env *env;
	hapax_memo *memo;
	hapax_weak_map *map;
	hapax_weak_set *set;
	hapax_interner *interner;
	struct witness *owners[TEAM][EACH], *steady[8];
	struct test_barrier meet;
	unsigned told, walkers;
	bool stop;
} r;

static int plain(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner;
	(void)ctx;
	(void)error;
	((struct witness *)result)->id = n ? args[0].value.u : 0;
	return HAPAX_LOAD_OK;
}

static int contents_of(const void *object, hapax_key *bytes, void *ctx)
{
	(void)ctx;
	*bytes = HAPAX_BYTES(&((const struct witness *)object)->id, sizeof(uint64_t));
	return 0;
}

static void collections(unsigned flags, int64_t capacity)
{
	hapax_memo_options mo = {HAPAX_MEMO_OPTIONS_INIT, .flags = HAPAX_MEMO_OWNED | flags, .env = r.env, .type = &witness_type,
				 .compute = plain, .capacity = capacity};
	hapax_weak_map_options wo = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = r.env};
	hapax_weak_set_options so = {HAPAX_WEAK_SET_OPTIONS_INIT, .env = r.env};
	hapax_interner_options io = {HAPAX_INTERNER_OPTIONS_INIT, .env = r.env, .contents = contents_of};

	CHECK_EQ(hapax_memo_create(&r.memo, &mo), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_create(&r.map, &wo), HAPAX_OK);
	CHECK_EQ(hapax_weak_set_create(&r.set, &so), HAPAX_OK);
	CHECK_EQ(hapax_interner_create(&r.interner, &io), HAPAX_OK);
}

static int tell(void *ctx) { return (int)__atomic_add_fetch((unsigned *)ctx, 1, __ATOMIC_RELAXED); }

static struct witness *known_owner(uint64_t id)
{
	hapax_finalize what = {.fn = tell, .ctx = &r.told};
	struct witness *w = witness_new(r.env, id, 0), *data = witness_new(r.env, id + 1000, 0);
	void *out = NULL;

	for (int a = 0; a < 3; a++) {
		CHECK_EQ(hapax_memo_call(r.memo, w, HAPAX_ARGS(hapax_arg_int(a)), &out), HAPAX_OK);
		hapax_release(out);
	}
	CHECK_EQ(hapax_weak_map_put(r.map, w, data), HAPAX_OK);
	CHECK_EQ(hapax_weak_set_add(r.set, w, NULL), HAPAX_OK);
	CHECK_EQ(hapax_intern(r.interner, w, &out, NULL), HAPAX_OK);
	hapax_release(out);
	CHECK_EQ(hapax_finalizer_new(w, &what, 0, NULL), HAPAX_OK);
	hapax_release(data);
	return w;
}

static void end_beside(unsigned index, void *arg)
{
	unsigned round = *(unsigned *)arg;

	for (unsigned i = 0; i < EACH; i++) {
		if (i == (round + index) % EACH) {
			if (index == 0)
				hapax_memo_destroy(r.memo);
			if (index == 1)
				hapax_weak_map_destroy(r.map);
			if (index == 2)
				hapax_weak_set_destroy(r.set);
			if (index == 3)
				hapax_interner_destroy(r.interner);
		}
		hapax_release(r.owners[index][i]);
	}
}

/* Each thread ends one collection somewhere among the deaths of a quarter of what is in all of them. */
TEST(L12_CF_CL_02_PY_WVD_17_collections_end_beside_the_deaths_of_their_keys)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		memset(&r, 0, sizeof(r));
		witness_ends = 0;
		r.env = test_env();
		collections(round & 1 ? HAPAX_MEMO_SHARED_BUDGET : 0, round & 2 ? HAPAX_UNLIMITED : 2);
		for (unsigned t = 0; t < TEAM; t++)
			for (unsigned i = 0; i < EACH; i++)
				r.owners[t][i] = known_owner(t * 100 + i);
		run_threads(TEAM, end_beside, &round);
		CHECK_EQ(r.told, TEAM * EACH);
		CHECK_EQ(witness_ends, TEAM * EACH * 5);
		witness_rest(r.env);
	}
}

static void count_leak(const hapax_leak *leak, void *ctx)
{
	CHECK(leak->type && (leak->object || leak->count));
	++*(unsigned *)ctx;
}

static void look_and_end(unsigned index, void *arg)
{
	uint64_t rng = test_stream(300 + index);
	unsigned rounds = test_slow_build() ? 60 : 200;

	(void)arg;
	for (unsigned i = 0; i < rounds; i++) {
		hapax_weak_map_iter *walk = NULL;
		unsigned seen[8] = {0}, reported = 0;
		hapax_weak *listed[8] = {NULL};
		size_t count = 0;
		void *key, *data;
		struct witness *w;

		switch (index) {
		case 0: /* what is there throughout is seen once */
			CHECK_EQ(hapax_weak_map_iterate(r.map, &walk), HAPAX_OK);
			while (hapax_weak_map_next(walk, &key, &data) == HAPAX_OK) {
				uint64_t id = ((struct witness *)key)->id;

				CHECK_EQ(((struct witness *)data)->id, id + 1000);
				if (id >= 900)
					CHECK_EQ(++seen[id - 900], 1);
			}
			hapax_weak_map_close(walk);
			for (int k = 0; k < 8; k++)
				CHECK_EQ(seen[k], 1);
			break;
		case 1:
			if (i % 8 == 0)
				CHECK(hapax_leak_report(r.env, count_leak, &reported) != SIZE_MAX && reported > 0);
			w = r.steady[test_below(&rng, 8)];
			CHECK_EQ(hapax_weak_list(w, listed, 8, &count), HAPAX_OK);
			for (int k = 0; k < 8; k++) {
				CHECK(!listed[k] || hapax_weak_alive(listed[k]));
				CHECK_EQ(hapax_weak_drop(listed[k]), HAPAX_OK);
			}
			break;
		case 2:
			w = r.steady[test_below(&rng, 8)];
			CHECK_EQ(hapax_weak_new(w, NULL, &listed[0]), HAPAX_OK);
			CHECK_EQ(hapax_memo_call(r.memo, w, HAPAX_ARGS(hapax_arg_int((int64_t)(i % 5))), &data), HAPAX_OK);
			hapax_release(data);
			CHECK_EQ(hapax_weak_drop(listed[0]), HAPAX_OK);
			if (i % 16 == 0)
				CHECK_EQ(hapax_memo_clear(r.memo, i & 16 ? w : NULL, NULL), HAPAX_OK);
			break;
		default:
			hapax_release(known_owner(test_below(&rng, 50)));
		}
	}
}

TEST(PY_IT_11_L8_L9_reports_listings_and_walks_beside_deaths)
{
	hapax_memo_info info = {.size = sizeof(info)};

	memset(&r, 0, sizeof(r));
	r.env = test_env();
	collections(0, 3);
	for (unsigned i = 0; i < 8; i++)
		r.steady[i] = known_owner(900 + i);
	run_threads(TEAM, look_and_end, NULL);
	CHECK_EQ(hapax_weak_map_size(r.map), 8);
	CHECK_EQ(hapax_weak_set_size(r.set), 8);
	CHECK_EQ(hapax_interner_size(r.interner), 8);
	CHECK_EQ(hapax_memo_info_get(r.memo, NULL, &info), HAPAX_OK);
	CHECK_EQ(info.owners, 8);
	for (unsigned i = 0; i < 8; i++) {
		CHECK_EQ(hapax_count(r.steady[i]), 1);
		CHECK_EQ(hapax_weak_count(r.steady[i]), 5); /* map, set, interner, memo, finalizer */
		hapax_release(r.steady[i]);
	}
	CHECK_EQ(hapax_weak_map_size(r.map) + hapax_weak_set_size(r.set) + hapax_interner_size(r.interner), 0);
	CHECK_EQ(r.told, 8 + (test_slow_build() ? 60 : 200));
	hapax_weak_set_destroy(r.set);
	hapax_interner_destroy(r.interner);
	hapax_weak_map_destroy(r.map);
	hapax_memo_destroy(r.memo);
	witness_rest(r.env);
}

/* ---- ends from inside ------------------------------------------------------------------------------------------------------- */

static void ends_its_memo(struct witness *w, void *arg)
{
	(void)w;
	note('e');
	hapax_memo_destroy(arg);
	note('.');
}

static int with_end(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	struct witness *w = result;

	(void)owner;
	(void)n;
	(void)ctx;
	(void)error;
	w->name = (char)('0' + args[0].value.i);
	if (args[0].value.i == 1) {
		w->last = ends_its_memo;
		w->arg = r.memo;
	}
	return HAPAX_LOAD_OK;
}

/* A result whose destructor ends the memo: while it is pushed out, forgotten, cleared, or goes with its owner. */
TEST(L10_L12_SD_35_a_result_that_ends_its_memo)
{
	for (int owned = 0; owned < 2; owned++)
		for (int how = 0; how < 5; how++) {
			hapax_env *env = test_env();
			hapax_memo_options o = {HAPAX_MEMO_OPTIONS_INIT, .flags = owned ? HAPAX_MEMO_OWNED : 0, .env = env,
						.type = &witness_type, .compute = with_end, .capacity = 2, .policy = hapax_policy_lru()};
			struct witness *owner = owned ? witness_new(env, 1, 'o') : NULL;
			void *out = NULL;

			CHECK_EQ(hapax_memo_create(&r.memo, &o), HAPAX_OK);
			for (int i = 1; i < 3; i++) {
				CHECK_EQ(hapax_memo_call(r.memo, owner, HAPAX_ARGS(hapax_arg_int(i)), &out), HAPAX_OK);
				hapax_release(out);
			}
			out = NULL;
			switch (how) {
			case 0:
				CHECK_EQ(hapax_memo_call(r.memo, owner, HAPAX_ARGS(hapax_arg_int(3)), &out), HAPAX_OK);
				break;
			case 1:
				CHECK_EQ(hapax_memo_forget(r.memo, owner, HAPAX_ARGS(hapax_arg_int(1))), HAPAX_OK);
				break;
			case 2:
				CHECK_EQ(hapax_memo_clear(r.memo, NULL, NULL), HAPAX_OK);
				break;
			case 3:
				CHECK_EQ(hapax_memo_clear(r.memo, owner, NULL), HAPAX_OK);
				break;
			default:
				if (owned)
					hapax_release(owner);
				else
					CHECK_EQ(hapax_memo_forget(r.memo, owner, HAPAX_ARGS(hapax_arg_int(1))), HAPAX_OK);
				owner = NULL;
			}
			hapax_release(out);
			hapax_release(owner);
			for (const char *c = "e.12"; *c; c++)
				CHECK(strchr(diary, *c));
			CHECK_EQ(strlen(diary), 4 + owned + (how == 0));
			diary_clear();
			witness_rest(env);
		}
}

/* What is there is given whatever the deadline; what is not is computed by the caller itself. */
TEST(CX_WT_02_a_deadline_is_for_waiting_only)
{
	hapax_env *env = test_env_fake();
	hapax_memo_options o = {HAPAX_MEMO_OPTIONS_INIT, .env = env, .type = &witness_type, .compute = plain};
	hapax_memo_call_options late = {HAPAX_MEMO_CALL_OPTIONS_INIT};
	hapax_memo *memo = NULL;
	void *first = NULL, *out = NULL;

	CHECK_EQ(hapax_memo_create(&memo, &o), HAPAX_OK);
	CHECK_EQ(hapax_memo_call_with(memo, NULL, NULL, 0, &late, &first), HAPAX_OK);
	late.deadline = 1; /* long past */
	CHECK_EQ(hapax_memo_call_with(memo, NULL, NULL, 0, &late, &out), HAPAX_OK);
	CHECK_PTR(out, first);
	hapax_release(out);
	CHECK_EQ(hapax_memo_call_with(memo, NULL, HAPAX_ARGS(hapax_arg_bool(true)), &late, &out), HAPAX_OK);
	CHECK(out != first);
	hapax_release(out);
	late.flags = 1;
	CHECK_EQ(hapax_memo_call_with(memo, NULL, NULL, 0, &late, &out), HAPAX_EFLAGS);
	CHECK_PTR(out, NULL);
	late.flags = 0;
	late.size = 3;
	CHECK_EQ(hapax_memo_call_with(memo, NULL, NULL, 0, &late, &out), HAPAX_EOPTSIZE);
	hapax_memo_close(memo);
	CHECK_EQ(hapax_memo_call(memo, NULL, NULL, 0, &out), HAPAX_ECLOSED);
	hapax_memo_close(memo);
	hapax_memo_destroy(memo);
	hapax_release(first);
	witness_rest(env);
}
