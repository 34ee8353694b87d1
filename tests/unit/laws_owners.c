/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Laws of memos and their owners: deaths, calls from inside, exact order with results in use, counts, arguments. */
#include "unit/witness_memo.h"

#include <limits.h>
#include <math.h>

static void memo_sound(hapax_memo *memo)
{
	char message[200] = "";

	if (hapax_testing_check_memo(memo, message, sizeof(message)))
		TEST_FAIL("%s", message);
}

static unsigned computed;

/* A result of its first argument. */
static int of_argument(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner;
	(void)ctx;
	(void)error;
	((struct witness *)result)->id = n ? args[0].value.u : 0;
	__atomic_add_fetch(&computed, 1, __ATOMIC_RELAXED);
	return HAPAX_LOAD_OK;
}

static hapax_memo *memo_of(hapax_memo_options o, hapax_env *env) { return memo_made(o, env, of_argument); }

/* ---- exactly the least recently used, while some results are in use --------------------------------------------------- */

enum { ARGUMENTS = 7, OWNERS = 3, SLOTS = ARGUMENTS * OWNERS };

/* A model: what the memo holds, newest first, of each budget; and what users hold. */
struct lru {
	int order[SLOTS], n;
};

static int take_out(struct lru *l, int slot)
{
	for (int i = 0; i < l->n; i++)
		if (l->order[i] == slot) {
			memmove(&l->order[i], &l->order[i + 1], sizeof(int) * (size_t)(--l->n - i));
			return 1;
		}
	return 0;
}

static void use(struct lru *l, int slot, int capacity)
{
	take_out(l, slot);
	memmove(&l->order[1], &l->order[0], sizeof(int) * (size_t)l->n++);
	l->order[0] = slot;
	if (l->n > capacity)
		l->n = capacity;
}

static void follow_model(unsigned flags, int capacity, uint64_t *rng)
{
	hapax_env *env = test_env();
	hapax_memo *memo = memo_of((hapax_memo_options){.flags = flags, .capacity = capacity, .policy = hapax_policy_lru()}, env);
	int owners = flags & HAPAX_MEMO_OWNED ? OWNERS : 1, budgets = flags & HAPAX_MEMO_SHARED_BUDGET ? 1 : owners;
	struct witness *owner[OWNERS] = {NULL}, *held[SLOTS] = {NULL};
	struct lru lru[OWNERS] = {{{0}, 0}};
	uint64_t hits = 0, misses = 0;

	for (int i = 0; i < owners && flags; i++)
		owner[i] = witness_new(env, (uint64_t)i, 0);
	for (int step = 0; step < 1500; step++) {
		int o = (int)test_below(rng, (uint64_t)owners), a = (int)test_below(rng, ARGUMENTS), slot = o * ARGUMENTS + a;
		struct lru *l = &lru[budgets == 1 ? 0 : o];
		bool present = held[slot] != NULL;
		uint64_t entries = 0;
		struct witness *w;

		for (int i = 0; i < l->n; i++)
			present |= l->order[i] == slot;
		switch (test_below(rng, 12)) {
		default:
			w = ask(memo, owner[o], a);
			CHECK(!held[slot] || held[slot] == w); /* one instance while anybody uses it */
			hits += present;
			misses += !present;
			use(l, slot, capacity);
			if (!held[slot] && !test_below(rng, 3))
				held[slot] = w;
			else
				hapax_release(w);
			break;
		case 0: /* looks, and changes no order */
			CHECK_EQ(there(memo, owner[o], a), present);
			break;
		case 1:
			hapax_release(held[slot]);
			held[slot] = NULL;
			break;
		case 2:
			CHECK_EQ(hapax_memo_forget(memo, owner[o], HAPAX_ARGS(hapax_arg_int(a))), present ? HAPAX_OK : HAPAX_MISS);
			take_out(l, slot);
			hapax_release(held[slot]);
			held[slot] = NULL;
			break;
		case 3:
			if (!flags || test_below(rng, 10))
				break;
			for (int i = 0; i < ARGUMENTS; i++) {
				take_out(l, o * ARGUMENTS + i);
				hapax_release(held[o * ARGUMENTS + i]);
				held[o * ARGUMENTS + i] = NULL;
			}
			hapax_release(owner[o]); /* its room is the others', or its successor's */
			owner[o] = witness_new(env, (uint64_t)o, 0);
		}
		for (int s = 0; s < SLOTS; s++) {
			bool in = held[s] != NULL;

			for (int b = 0; b < budgets; b++)
				for (int i = 0; i < lru[b].n; i++)
					in |= lru[b].order[i] == s;
			entries += in;
		}
		CHECK_EQ(info_of(memo, NULL).entries, entries);
	}
	CHECK_EQ(info_of(memo, NULL).hits, hits);
	CHECK_EQ(info_of(memo, NULL).misses, misses);
	CHECK_EQ(info_of(memo, NULL).computed, misses);
	for (int o = 0; o < owners; o++)
		for (int a = 0; a < ARGUMENTS; a++) {
			bool in = held[o * ARGUMENTS + a] != NULL;

			for (int i = 0; i < lru[budgets == 1 ? 0 : o].n; i++)
				in |= lru[budgets == 1 ? 0 : o].order[i] == o * ARGUMENTS + a;
			CHECK_EQ(there(memo, owner[o], a), in);
		}
	memo_sound(memo);
	for (int i = 0; i < SLOTS; i += 2)
		hapax_release(held[i]);
	hapax_memo_destroy(memo);
	for (int i = 1; i < SLOTS; i += 2)
		hapax_release(held[i]);
	for (int i = 0; i < owners; i++)
		hapax_release(owner[i]);
	witness_rest(env);
}

TEST(PY_LRU_01_SD_33_exact_order_with_results_in_use_and_owners_that_die)
{
	uint64_t rng = test_stream(11);

	for (int capacity = 1; capacity <= 4; capacity++) {
		follow_model(0, capacity, &rng);
		follow_model(HAPAX_MEMO_OWNED, capacity, &rng);
		follow_model(HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET, capacity + 2, &rng);
	}
}

/* ---- capacities ------------------------------------------------------------------------------------------------------- */

TEST(PY_LRU_02_PY_LRU_03_no_capacity_all_of_it_and_what_is_refused)
{
	static const int64_t bad[] = {-1, -2, INT64_MIN + 1, INT32_MIN};

	for (unsigned flags = 0; flags < 8; flags++) {
		hapax_env *env = test_env();
		hapax_memo_options o = {HAPAX_MEMO_OPTIONS_INIT, .flags = flags, .env = env, .type = &witness_type,
					.compute = of_argument, .capacity = HAPAX_ZERO};
		struct witness *owner = flags & HAPAX_MEMO_OWNED ? witness_new(env, 1, 0) : NULL, *a, *b;
		hapax_memo *memo = NULL;
		hapax_memo_info before = {.size = sizeof(before)};

		if ((flags & HAPAX_MEMO_SHARED_BUDGET) && !owner) {
			CHECK_EQ(hapax_memo_create(&memo, &o), HAPAX_EFLAGS);
			CHECK_PTR(memo, NULL);
			witness_rest(env);
			continue;
		}
		for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
			o.capacity = bad[i];
			CHECK_EQ(hapax_memo_create(&memo, &o), HAPAX_EOPTION);
			CHECK_PTR(memo, NULL);
		}
		o.capacity = HAPAX_ZERO;
		CHECK_EQ(hapax_memo_create(&memo, &o), HAPAX_OK);
		a = ask(memo, owner, 1);
		b = ask(memo, owner, 1);
		CHECK(a != b && a->id == b->id); /* though the first is in use */
		CHECK(!there(memo, owner, 1));
		CHECK_EQ(hapax_memo_forget(memo, owner, HAPAX_ARGS(hapax_arg_int(1))), HAPAX_MISS);
		CHECK_EQ(info_of(memo, owner).entries, 0);
		CHECK_EQ(info_of(memo, owner).computed, 2);
		CHECK_EQ(info_of(memo, NULL).misses, 2);
		CHECK_EQ(info_of(memo, NULL).capacity, 0);
		CHECK_EQ(info_of(memo, NULL).owners, owner != NULL);
		hapax_release(a);
		hapax_release(b);
		hapax_memo_destroy(memo);

		o.capacity = HAPAX_UNLIMITED;
		CHECK_EQ(hapax_memo_create(&memo, &o), HAPAX_OK);
		a = ask(memo, owner, 0);
		for (int i = 0; i < 2000; i++)
			hapax_release(ask(memo, owner, i));
		CHECK_EQ(info_of(memo, NULL).entries, 2000);
		CHECK_EQ(info_of(memo, owner).hits, 1);
		CHECK_EQ(info_of(memo, NULL).capacity, HAPAX_UNLIMITED);
		witness_ends = 0;
		CHECK_EQ(hapax_memo_clear(memo, NULL, &before), HAPAX_OK);
		CHECK_EQ(witness_ends, 1999);
		CHECK_EQ(before.hits, 1);
		CHECK_EQ(before.misses, 2000);
		CHECK_EQ(info_of(memo, owner).misses + info_of(memo, NULL).misses + info_of(memo, NULL).entries, 0);
		b = ask(memo, owner, 0);
		CHECK(b != a); /* forgotten, though in use */
		hapax_release(a);
		CHECK(there(memo, owner, 0)); /* and its death takes nothing newer */
		hapax_release(b);
		hapax_release(owner);
		CHECK_EQ(info_of(memo, NULL).entries, owner ? 0 : 1);
		hapax_memo_destroy(memo);
		witness_rest(env);
	}
}

/* ---- arguments --------------------------------------------------------------------------------------------------------- */

enum { LISTS = 400, WORDS = 12 };

static bool same_arguments(const hapax_arg *a, size_t n, const hapax_arg *b, size_t m, bool typed)
{
	if (n != m)
		return false;
	for (size_t i = 0; i < n; i++)
		if (a[i].size != b[i].size || (typed && a[i].tag != b[i].tag) ||
		    memcmp(hapax_arg_data(&a[i]), hapax_arg_data(&b[i]), a[i].size) != 0)
			return false;
	return true;
}

/* Any lists over bytes that look alike: two are one exactly if their arguments are, one by one. */
TEST(L14_PY_LRU_09_CX_KEY_02_lists_of_arguments_are_what_they_are)
{
	uint64_t rng = test_stream(12);
	hapax_arg words[WORDS] = {
		hapax_arg_bytes(NULL, 0, HAPAX_TAG_BYTES), hapax_arg_string(""), hapax_arg_string(NULL),
		hapax_arg_bytes("\0", 1, HAPAX_TAG_BYTES), hapax_arg_bytes("\0\0", 2, HAPAX_TAG_USER), hapax_arg_int(0),
		hapax_arg_double(-0.0), hapax_arg_double(0.0), hapax_arg_bool(false), hapax_arg_string("a"),
		hapax_arg_bytes("a\0", 2, HAPAX_TAG_STRING), hapax_arg_bytes("\0\0\0\0\0\0\0\0", 8, UINT32_MAX)};

	for (int typed = 0; typed < 2; typed++) {
		hapax_env *env = test_env();
		hapax_memo *memo = memo_of((hapax_memo_options){.flags = typed ? HAPAX_MEMO_TYPED : 0,
								.capacity = HAPAX_UNLIMITED}, env);
		static hapax_arg lists[LISTS][4];
		size_t sizes[LISTS];
		struct witness *results[LISTS];
		void *out = NULL;

		for (int i = 0; i < LISTS; i++) {
			struct witness *expected = NULL;
			hapax_arg copies[4];
			char bytes[4][8];

			sizes[i] = test_below(&rng, 5);
			for (size_t k = 0; k < sizes[i]; k++) { /* the caller's memory is its own again afterwards */
				copies[k] = lists[i][k] = words[test_below(&rng, WORDS)];
				if (copies[k].data) {
					memcpy(bytes[k], copies[k].data, copies[k].size);
					copies[k].data = bytes[k];
				}
			}
			for (int j = 0; j < i && !expected; j++)
				if (same_arguments(lists[i], sizes[i], lists[j], sizes[j], typed))
					expected = results[j];
			CHECK_EQ(hapax_memo_find(memo, NULL, sizes[i] ? copies : NULL, sizes[i], &out), expected ? HAPAX_OK : HAPAX_MISS);
			CHECK_PTR(out, expected);
			hapax_release(out);
			CHECK_EQ(hapax_memo_call(memo, NULL, sizes[i] ? copies : NULL, sizes[i], &out), HAPAX_OK);
			memset(bytes, 0x7f, sizeof(bytes));
			memset(copies, 0x7f, sizeof(copies));
			CHECK(!expected || out == expected);
			results[i] = out;
		}
		for (int i = 0; i < LISTS; i++)
			hapax_release(results[i]);
		hapax_memo_destroy(memo);
		witness_rest(env);
	}
}

TEST(L14_PY_LRU_09_numbers_as_arguments)
{
	hapax_env *env = test_env();
	hapax_memo *plain = memo_of((hapax_memo_options){0}, env);
	hapax_memo *typed = memo_of((hapax_memo_options){.flags = HAPAX_MEMO_TYPED}, env);
	hapax_arg none = {.data = NULL, .size = 3, .tag = HAPAX_TAG_BYTES}, null = hapax_arg_bytes(NULL, 1, HAPAX_TAG_USER);
	hapax_arg nans[] = {hapax_arg_double(NAN), hapax_arg_double(-NAN), hapax_arg_double(nan("7"))};
	hapax_arg zeros[] = {hapax_arg_double(0.0), hapax_arg_double(-0.0)};
	hapax_arg ones[] = {hapax_arg_int(1), hapax_arg_uint(1), hapax_arg_bool(true), hapax_arg_double(5e-324)};
	void *first = NULL, *out = NULL;

	for (int k = 0; k < 2; k++) {
		hapax_memo *memo = k ? typed : plain;

		for (int i = 0; i < 3; i++) {
			CHECK_EQ(hapax_memo_call(memo, NULL, &nans[i], 1, &out), HAPAX_OK);
			CHECK(!i || out == first);
			first = out;
			hapax_release(out);
		}
		for (int i = 0; i < 2; i++) {
			CHECK_EQ(hapax_memo_call(memo, NULL, &zeros[i], 1, &out), HAPAX_OK);
			CHECK(i ? out == first : out != first);
			first = out;
			hapax_release(out);
		}
		for (int i = 0; i < 4; i++) {
			CHECK_EQ(hapax_memo_call(memo, NULL, &ones[i], 1, &out), HAPAX_OK);
			CHECK(!i || (out == first) == !k); /* the same 8 bytes */
			first = out;
			hapax_release(out);
		}
		CHECK_EQ(info_of(memo, NULL).misses, k ? 6 : 3);
		CHECK_EQ(hapax_memo_call(memo, NULL, &none, 1, &out), HAPAX_EKEY);
		CHECK_EQ(hapax_memo_find(memo, NULL, &null, 1, &out), HAPAX_EKEY);
		CHECK_EQ(hapax_memo_forget(memo, NULL, &null, 1), HAPAX_EKEY);
		CHECK_EQ(hapax_memo_call(memo, NULL, NULL, 1, &out), HAPAX_ENULL);
		CHECK_EQ(hapax_memo_get(memo, NULL, HAPAX_BYTES(NULL, 4), &out), HAPAX_EKEY);
		CHECK_EQ(hapax_memo_call(memo, &out, NULL, 0, &out), HAPAX_EOPTION);
		CHECK_PTR(out, NULL);
		CHECK_EQ(info_of(memo, NULL).misses, k ? 6 : 3); /* refused before it looked */
		hapax_memo_destroy(memo);
	}
	witness_rest(env);
}
