/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keys of memos are shown as the arguments that the program gave, as far as they are known. */
#include "unit/memos.h"
#include "unit/observed.h"

static const char *expected;

/* The call looks at itself. */
static int look(struct work *w, int run, void *owner, const hapax_arg *args, size_t n)
{
	struct json_object *all = snapshot(), *memo = listed(all, "caches", "name", "tested");

	(void)w, (void)run, (void)owner, (void)args, (void)n;
	CHECK(memo);
	CHECK_EQ(json_object_array_length(field(memo, "flights")), 1);
	CHECK_STR(text_in(json_object_array_get_idx(field(memo, "flights"), 0), "key"), expected);
	json_object_put(all);
	return -1;
}

static void shown(hapax_memo *memo, void *owner, const char *text, const hapax_arg *args, size_t n)
{
	void *out;

	expected = text;
	CHECK_EQ(hapax_memo_call(memo, owner, args, n, &out), 0);
	hapax_release(out);
}

/* 8 bytes that are no text. */
static hapax_arg number(int64_t n) { return hapax_arg_int(n); }

static void shown_of(unsigned flags)
{
	hapax_env *env = test_env_fake();
	struct work w = {.env = env, .then = look};
	hapax_memo *memo = memo_new(env, &w, flags, HAPAX_UNLIMITED);
	struct item *owner = flags & HAPAX_MEMO_OWNED ? item_new(env, 1) : NULL;

	shown(memo, owner, "7", HAPAX_ARGS(number(7)));
	shown(memo, owner, "one", HAPAX_ARGS(hapax_arg_string("one")));
	shown(memo, owner, "", NULL, 0);
	shown(memo, owner, "", HAPAX_ARGS(hapax_arg_string("")));
	shown(memo, owner, ", 5", HAPAX_ARGS(hapax_arg_string(""), number(5)));
	shown(memo, owner, "a path, 12, true?", HAPAX_ARGS(hapax_arg_string("a path"), number(12), hapax_arg_string("true?")));
	shown(memo, owner, "eight by", HAPAX_ARGS(hapax_arg_string("eight by")));
	/* what is behind the first 48 bytes is not known, and what is cut is not shown as if it were whole */
	shown(memo, owner, "a string of more than forty bytes, as pa...",
	      HAPAX_ARGS(hapax_arg_string("a string of more than forty bytes, as paths are")));
	shown(memo, owner, "1, 2, 3, ...", HAPAX_ARGS(number(1), number(2), number(3), number(4), number(5)));
	shown(memo, owner, "thirty bytes and two are here.., ...",
	      HAPAX_ARGS(hapax_arg_string("thirty bytes and two are here.."), number(77)));
	shown(memo, owner, "0x0102030102030102030102030102030102030102030102...",
	      HAPAX_ARGS(hapax_arg_string("\1\2\3\1\2\3\1\2\3\1\2\3\1\2\3\1\2\3\1\2\3\1\2\3\1\2\3")));
	hapax_release(owner);
	hapax_memo_destroy(memo);
	test_env_end(env);
}

TEST(arguments_are_shown) { shown_of(0); }
TEST(of_a_typed_memo_too) { shown_of(HAPAX_MEMO_TYPED); }
TEST(of_an_owned_memo_without_the_owner) { shown_of(HAPAX_MEMO_OWNED); }
TEST(of_a_typed_and_owned_one) { shown_of(HAPAX_MEMO_TYPED | HAPAX_MEMO_OWNED); }
