/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists of arguments as keys (memo/args.h): every byte of the encoding, injectivity, borders, refusals. */
#include "memo/args.h"

#include "support/support.h"

enum { LISTS = 1500, MOST_ARGS = 9, SPACE = 2400 };

/* The encoding as its header says it, by other means: what is expected. *room: what is taken for it. */
static size_t expected(unsigned char *to, const void *owner, bool owned, bool typed, const hapax_arg *args, size_t n,
		       size_t *room)
{
	uint64_t words[2];
	size_t at = 0;

	*room = 16;
	if (owned) {
		memcpy(to, &owner, sizeof(owner));
		at = 8;
	}
	for (size_t i = 0; i < n; i++) {
		const unsigned char *from = hapax_arg_data(&args[i]);
		bool alone = n == 1 && !typed && (args[i].size == 0 || args[i].size == 8);

		*room += 8 + (args[i].size + 7) / 8 * 8;
		words[0] = alone ? UINT64_C(1) << 31 : (typed ? (uint64_t)args[i].tag << 32 : 0) + args[i].size;
		words[1] = 0;
		if (!alone || !args[i].size) {
			memcpy(to + at, words, 16);
			at += alone ? 16 : 8;
		}
		for (size_t b = 0; b < args[i].size; b += 8) {
			words[1] = 0;
			for (size_t k = b; k < b + 8 && k < args[i].size; k++)
				words[1] |= (uint64_t)from[k] << 8 * (k - b);
			memcpy(to + at, &words[1], 8);
			at += 8;
		}
	}
	return at;
}

/* Encodes and compares every byte; what comes from the small buffer is kept there. */
static void encoded(struct hpx_args *a, hapax_env *env, const void *owner, bool owned, bool typed, const hapax_arg *args,
		    size_t n)
{
	size_t room = 64, length, taken;
	unsigned char *want;

	for (size_t i = 0; i < n; i++)
		room += args[i].size + 16;
	want = malloc(room);
	CHECK(want);
	length = expected(want, owner, owned, typed, args, n, &taken);
	memset(a, 0xa5, sizeof(*a));
	CHECK_EQ(hpx_args_encode(a, env, owner, owned, typed, args, n), HAPAX_OK);
	CHECK_EQ(a->key.size, length);
	CHECK(!length || !memcmp(a->key.data, want, length));
	CHECK_EQ(a->large != NULL, taken > HPX_ARGS_SMALL);
	CHECK(!a->large || a->large_size == taken);
	CHECK_PTR(a->key.data, a->large ? a->large : (void *)a->small);
	free(want);
}

/* ---- random lists ------------------------------------------------------------------------------------------------ */

struct list {
	hapax_arg args[MOST_ARGS];
	size_t n;
	const void *owner;
	unsigned char bytes[SPACE];
};

/* Few different bytes and sizes, so that lists which differ little are common. */
static void list_draw(struct list *l, uint64_t *random)
{
	static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 39, 40, 41, 48, 63, 100, 240};
	size_t used = 0;

	l->n = (size_t)test_below(random, test_below(random, 4) ? 4 : MOST_ARGS + 1);
	l->owner = (const void *)(uintptr_t)(test_below(random, 3) << 20);
	for (size_t i = 0; i < l->n; i++) {
		hapax_arg *arg = &l->args[i];
		size_t size = sizes[test_below(random, test_below(random, 3) ? 6 : sizeof(sizes) / sizeof(*sizes))];
		unsigned char *bytes = l->bytes + used;

		switch (test_below(random, 8)) {
		case 0: *arg = hapax_arg_int((int64_t)test_below(random, 3) - 1); continue;
		case 1: *arg = hapax_arg_uint(test_below(random, 2)); continue;
		case 2: *arg = hapax_arg_double((double)test_below(random, 2)); continue;
		case 3: *arg = hapax_arg_bool(test_below(random, 2)); continue;
		default: break;
		}
		CHECK(used + size + 1 <= SPACE);
		for (size_t b = 0; b < size; b++)
			bytes[b] = (unsigned char)(test_below(random, 4) ? b == 0 && size == 4 ? test_below(random, 3) : 0 :
									    test_below(random, 3));
		used += size;
		*arg = hapax_arg_bytes(bytes, size, (uint32_t)test_below(random, 2) * (HAPAX_TAG_USER + 7));
	}
}

static bool list_equal(const struct list *a, const struct list *b, bool owned, bool typed)
{
	if (a->n != b->n || (owned && a->owner != b->owner))
		return false;
	for (size_t i = 0; i < a->n; i++)
		if ((typed && a->args[i].tag != b->args[i].tag) || a->args[i].size != b->args[i].size ||
		    memcmp(hapax_arg_data(&a->args[i]), hapax_arg_data(&b->args[i]), a->args[i].size))
			return false;
	return true;
}

TEST(lists_are_equal_exactly_when_their_keys_are)
{
	hapax_env *env = test_env();
	uint64_t random = test_stream(1), equal[4] = {0}, large = 0;
	struct list *lists = calloc(LISTS, sizeof(*lists));
	struct hpx_args *a = calloc(LISTS, sizeof(*a));

	CHECK(lists && a);
	for (int i = 0; i < LISTS; i++)
		list_draw(&lists[i], &random);
	for (int mode = 0; mode < 4; mode++) {
		bool owned = mode & 1, typed = mode & 2;

		for (int i = 0; i < LISTS; i++) {
			encoded(&a[i], env, lists[i].owner, owned, typed, lists[i].args, lists[i].n);
			large += a[i].large != NULL;
			for (int j = 0; j < i; j++) {
				bool same = a[i].key.size == a[j].key.size &&
					    !memcmp(a[i].key.data, a[j].key.data, a[i].key.size);

				if (same != list_equal(&lists[i], &lists[j], owned, typed))
					TEST_FAIL("lists %d and %d, mode %d: keys %s", i, j, mode, same ? "equal" : "differ");
				equal[mode] += same;
			}
		}
		for (int i = 0; i < LISTS; i++)
			hpx_args_done(&a[i], env);
	}
	CHECK(large > 10);
	CHECK(equal[3] > 100 && equal[1] > equal[3] && equal[2] > equal[3] && equal[0] > equal[1]);
	free(a);
	free(lists);
	test_env_end(env);
}

/* What its own length does not say: no key is the beginning of an argument of another list. */
TEST(lists_that_look_alike_differ)
{
	hapax_env *env = test_env();
	static const char inner[] = {1, 0, 0, 0, 'x'};
	const hapax_arg lists[][3] = {
		{hapax_arg_string("ab"), hapax_arg_string("c")}, {hapax_arg_string("a"), hapax_arg_string("bc")},
		{hapax_arg_string("abc")}, {hapax_arg_string("abc"), hapax_arg_string("")}, {hapax_arg_string("")},
		{hapax_arg_string(""), hapax_arg_string("")}, {hapax_arg_bytes("\0", 1, 0)}, {hapax_arg_bytes("\0\0", 2, 0)},
		{hapax_arg_bytes(inner, 5, 0)}, {hapax_arg_string("x")}, {hapax_arg_string(""), hapax_arg_bytes("\1", 1, 0)},
		{hapax_arg_int(0)}, {hapax_arg_int(0), hapax_arg_int(0)}, {hapax_arg_bytes("\0\0\0\0", 4, 0)},
		{hapax_arg_int(5), hapax_arg_string("a"), hapax_arg_int(7)},
		{hapax_arg_int(7), hapax_arg_string("a"), hapax_arg_int(5)},
	};
	static const size_t lengths[] = {2, 2, 1, 2, 1, 2, 1, 1, 1, 1, 2, 1, 2, 1, 3, 3};
	enum { N = sizeof(lists) / sizeof(*lists) };
	struct hpx_args a[N + 1];

	for (int mode = 0; mode < 4; mode++) {
		for (int i = 0; i <= N; i++) {
			encoded(&a[i], env, env, mode & 1, mode & 2, i < N ? lists[i] : NULL, i < N ? lengths[i] : 0);
			for (int j = 0; j < i; j++)
				CHECK(a[i].key.size != a[j].key.size || memcmp(a[i].key.data, a[j].key.data, a[i].key.size));
		}
	}
	test_env_end(env);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static bool same_key(hapax_env *env, bool typed, hapax_arg x, hapax_arg y)
{
	struct hpx_args a, b;

	encoded(&a, env, NULL, false, typed, &x, 1);
	encoded(&b, env, NULL, false, typed, &y, 1);
	return a.key.size == b.key.size && !memcmp(a.key.data, b.key.data, a.key.size);
}

TEST(PY_LRU_09_tags_count_in_typed_lists_only)
{
	hapax_env *env = test_env();
	const hapax_arg one[] = {hapax_arg_int(1), hapax_arg_uint(1), hapax_arg_bool(true),
				 hapax_arg_bytes("\1\0\0\0\0\0\0", 8, HAPAX_TAG_BYTES),
				 hapax_arg_bytes("\1\0\0\0\0\0\0", 8, HAPAX_TAG_STRING),
				 hapax_arg_bytes("\1\0\0\0\0\0\0", 8, HAPAX_TAG_USER),
				 hapax_arg_bytes("\1\0\0\0\0\0\0", 8, UINT32_MAX)};
	const uint64_t quiet = UINT64_C(0x7ff8000000000000), other = UINT64_C(0xfff8000000001234);
	double nan1, nan2;

	for (int i = 0; i < 7; i++)
		for (int j = 0; j < 7; j++) {
			CHECK(same_key(env, false, one[i], one[j]));
			CHECK_EQ(same_key(env, true, one[i], one[j]), i == j);
		}
	memcpy(&nan1, &quiet, 8);
	memcpy(&nan2, &other, 8);
	for (int typed = 0; typed < 2; typed++) {
		CHECK(same_key(env, typed, hapax_arg_double(0.0), hapax_arg_double(-0.0)));
		CHECK(same_key(env, typed, hapax_arg_double(nan1), hapax_arg_double(nan2)));
		CHECK(!same_key(env, typed, hapax_arg_double(nan1), hapax_arg_double(0.0)));
		CHECK(!same_key(env, typed, hapax_arg_double(1.0), hapax_arg_int(1)));
		CHECK(!same_key(env, typed, hapax_arg_int(INT64_MIN), hapax_arg_int(0)));
		CHECK(same_key(env, typed, hapax_arg_string(NULL), hapax_arg_string("")));
		CHECK(same_key(env, typed, hapax_arg_bytes(NULL, 0, 0), hapax_arg_bytes("x", 0, 0)));
		CHECK_EQ(same_key(env, typed, hapax_arg_bytes(NULL, 0, 0), hapax_arg_string("")), !typed);
	}
	test_env_end(env);
}

/* ---- borders and refusals ---------------------------------------------------------------------------------------- */

TEST(keys_at_the_border_of_the_inline_buffer)
{
	hapax_env *env = test_env();
	unsigned char bytes[HPX_ARGS_SMALL + 64];
	struct hpx_args a;
	unsigned larges = 0;
	size_t held = 0;

	held = hapax_testing_bytes(env);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 7 + 1);
	for (int mode = 0; mode < 4; mode++) {
		for (size_t size = 0; size < sizeof(bytes); size++) {
			for (size_t n = 1; n <= 6; n++) { /* the long one first, last, in the middle */
				hapax_arg args[6];

				for (size_t i = 0; i < n; i++)
					args[i] = i == size % n ? hapax_arg_bytes(bytes, size, HAPAX_TAG_USER) :
								  hapax_arg_int((int64_t)i);
				encoded(&a, env, env, mode & 1, mode & 2, args, n);
				larges += a.large != NULL;
				CHECK_EQ(hapax_testing_bytes(env) - held, a.large ? a.large_size : 0);
				hpx_args_done(&a, env);
				CHECK_EQ(hapax_testing_bytes(env), held);
			}
		}
	}
	CHECK(larges > 100);
	test_env_end(env);
}

static int status_of(hapax_env *env, const hapax_arg *args, size_t n)
{
	int status = -1000;

	for (int mode = 0; mode < 4; mode++) {
		struct hpx_args a;
		int rc = hpx_args_encode(&a, env, env, mode & 1, mode & 2, args, n);

		CHECK(mode == 0 || rc == status);
		status = rc;
		if (rc == HAPAX_OK) {
			CHECK(a.key.size <= HAPAX_KEY_MAX);
			hpx_args_done(&a, env);
		}
	}
	return status;
}

TEST(PY_LRU_11_arguments_that_are_too_long_are_refused_and_hold_nothing)
{
	hapax_env *env = test_env();
	unsigned char *bytes = calloc(1, HAPAX_KEY_MAX);
	hapax_arg args[8];
	size_t held;

	CHECK(bytes);
	CHECK_EQ(status_of(env, NULL, 0), HAPAX_OK);
	held = hapax_testing_bytes(env);
	for (size_t n = 1; n <= 8; n = n == 2 && test_slow_build() ? 8 : n + 1) { /* they are large keys */
		const size_t limit = HAPAX_KEY_MAX - 16 - 16 * n;

		for (size_t i = 0; i < n; i++)
			args[i] = hapax_arg_string("");
		for (size_t at = 0; at < n; at += n > 1 ? n - 1 : 1) {
			args[at].data = bytes;
			args[at].size = limit;
			CHECK_EQ(status_of(env, args, n), HAPAX_OK);
			args[at].size = limit + 1;
			CHECK_EQ(status_of(env, args, n), HAPAX_EKEYSIZE);
			args[at].size = SIZE_MAX;
			CHECK_EQ(status_of(env, args, n), HAPAX_EKEYSIZE);
			args[at].size = (size_t)UINT32_MAX + 1 + 4; /* as 32 bits it is 4 */
			CHECK_EQ(status_of(env, args, n), HAPAX_EKEYSIZE);
			args[at] = hapax_arg_string("");
		}
		if (n < 2)
			continue;
		args[0] = hapax_arg_bytes(bytes, limit / 2 + 1, 0);
		args[1] = hapax_arg_bytes(bytes, limit - limit / 2 - 1, 0);
		CHECK_EQ(status_of(env, args, n), HAPAX_OK);
		args[1].size++;
		CHECK_EQ(status_of(env, args, n), HAPAX_EKEYSIZE);
		args[0].size = args[1].size = SIZE_MAX / 2 + 1; /* the sum is 0 */
		CHECK_EQ(status_of(env, args, n), HAPAX_EKEYSIZE);
	}
	CHECK_EQ(hapax_testing_bytes(env), held);
	free(bytes);
	test_env_end(env);
}

TEST(many_arguments_up_to_the_limit)
{
	enum { MOST = HAPAX_KEY_MAX / 16 - 1 };
	hapax_env *env = test_env();
	hapax_arg *args = malloc((MOST + 1) * sizeof(*args));
	struct hpx_args a;

	CHECK(args);
	for (size_t i = 0; i <= MOST; i++)
		args[i] = hapax_arg_bytes("", 0, (uint32_t)i);
	encoded(&a, env, env, true, true, args, MOST);
	hpx_args_done(&a, env);
	CHECK_EQ(status_of(env, args, MOST + 1), HAPAX_EKEYSIZE);
	CHECK_EQ(status_of(env, args, SIZE_MAX), HAPAX_EKEYSIZE); /* looks at none of them */
	CHECK_EQ(status_of(env, args, SIZE_MAX / 16 + 1), HAPAX_EKEYSIZE);
	args[7] = hapax_arg_string("x");
	CHECK_EQ(status_of(env, args, MOST), HAPAX_EKEYSIZE);
	free(args);
	test_env_end(env);
}

TEST(PY_LRU_11_arguments_without_bytes_are_refused)
{
	hapax_env *env = test_env();
	const hapax_arg bad[] = {
		hapax_arg_bytes(NULL, 1, HAPAX_TAG_BYTES), hapax_arg_bytes(NULL, 8, HAPAX_TAG_BYTES),
		hapax_arg_bytes(NULL, 8, HAPAX_TAG_INT), hapax_arg_bytes(NULL, 8, HAPAX_TAG_USER),
		hapax_arg_bytes(NULL, SIZE_MAX, HAPAX_TAG_STRING), {.size = 8}, {.size = 8, .tag = HAPAX_TAG_STRING},
		{.size = 4, .tag = HAPAX_TAG_INT}, {.size = 16, .tag = HAPAX_TAG_USER},
	};
	const hapax_arg empty = {.data = NULL}, value = {.size = 8, .tag = HAPAX_TAG_USER, .value.u = 9};
	hapax_arg args[7];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		for (size_t n = 1; n <= 7; n++) {
			for (size_t j = 0; j < n; j++)
				args[j] = hapax_arg_int(1);
			args[n / 2] = bad[i];
			CHECK_EQ(status_of(env, args, n), HAPAX_EKEY);
		}
	for (size_t n = 1; n <= 7; n++)
		CHECK_EQ(status_of(env, NULL, n), HAPAX_ENULL);
	CHECK_EQ(status_of(env, NULL, SIZE_MAX), HAPAX_ENULL);
	CHECK_EQ(status_of(env, &empty, 1), HAPAX_OK);
	CHECK_EQ(status_of(env, &value, 1), HAPAX_OK);
	CHECK(same_key(env, true, empty, hapax_arg_bytes("", 0, 0)));
	CHECK(same_key(env, false, value, hapax_arg_int(9)));
	test_env_end(env);
}

TEST(without_memory_a_long_list_fails_and_a_short_one_does_not)
{
	hapax_env *env = test_env();
	struct test_allocator *memory = test_env_allocator(env);
	char bytes[300] = "x";
	const hapax_arg args[] = {hapax_arg_int(3), hapax_arg_bytes(bytes, 300, 0)};
	struct hpx_args a;
	size_t held;

	encoded(&a, env, env, true, true, args, 2);
	hpx_args_done(&a, env);
	held = test_allocator_live(memory);
	memory->fail_from = memory->calls + 1;
	CHECK_EQ(status_of(env, args, 2), HAPAX_ENOMEM);
	CHECK_EQ(status_of(env, args, 1), HAPAX_OK);
	memory->fail_from = 0;
	CHECK_EQ(test_allocator_live(memory), held);
	encoded(&a, env, env, true, true, args, 2);
	CHECK(test_allocator_live(memory) >= held + 300);
	hpx_args_done(&a, env);
	CHECK_EQ(test_allocator_live(memory), held);
	test_env_end(env);
}
