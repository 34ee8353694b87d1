/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unit/witness_memo.h - memos whose results are witnesses, called with one number. */
#ifndef TEST_WITNESS_MEMO_H
#define TEST_WITNESS_MEMO_H

#include "unit/witness.h"

static inline hapax_memo_info info_of(hapax_memo *memo, void *owner)
{
	hapax_memo_info info = {.size = sizeof(info)};

	CHECK_EQ(hapax_memo_info_get(memo, owner, &info), HAPAX_OK);
	CHECK(info.entries + info.failed <= info.computed && info.computed <= info.misses && info.waits <= info.misses);
	return info;
}

static inline int call(hapax_memo *memo, void *owner, int64_t argument, struct witness **out)
{
	void *object = &object;
	int rc = hapax_memo_call(memo, owner, HAPAX_ARGS(hapax_arg_int(argument)), &object);

	CHECK((rc == HAPAX_OK) == (object != NULL));
	*out = object;
	return rc;
}

static inline struct witness *ask(hapax_memo *memo, void *owner, int64_t argument)
{
	struct witness *w;

	CHECK_EQ(call(memo, owner, argument, &w), HAPAX_OK);
	return w;
}

static inline bool there(hapax_memo *memo, void *owner, int64_t argument)
{
	void *out = &out;
	int rc = hapax_memo_find(memo, owner, HAPAX_ARGS(hapax_arg_int(argument)), &out);

	CHECK((rc == HAPAX_OK) == (out != NULL)); /* HAPAX_ECLOSED, HAPAX_EDEAD, too */
	hapax_release(out);
	return rc == HAPAX_OK;
}

/* With what is not set: witnesses, which `compute` makes. */
static inline hapax_memo *memo_made(hapax_memo_options o, hapax_env *env, hapax_memo_fn compute)
{
	hapax_memo *memo = NULL;

	o.size = sizeof(o);
	o.env = env;
	if (!o.type)
		o.type = &witness_type;
	if (!o.compute && !o.make)
		o.compute = compute;
	CHECK_EQ(hapax_memo_create(&memo, &o), HAPAX_OK);
	return memo;
}

#endif
