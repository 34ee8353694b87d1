/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit/memos.h - what the tests of memos share: a function that can be told everything, whose results say which owner and
 * which argument they are of, shorthands, owners. Owners are items of item.h.
 */
#ifndef TEST_MEMOS_H
#define TEST_MEMOS_H

#include "unit/cached.h"

/* ---- results ----------------------------------------------------------------------------------------------------- */

/* The item's id is the run of the function that made it, from 1. */
struct outcome {
	struct item item;
	int64_t value; /* of the first argument, 0 without one */
	int owner_id;  /* 0 without one */
};

static const hapax_type outcome_type = {HAPAX_TYPE_INIT, .name = "outcome", .size = sizeof(struct outcome),
					.align = _Alignof(struct outcome), .destroy = item_destroy};

/* ---- the function ------------------------------------------------------------------------------------------------ */

/* Zeroed it makes a result for everything. The numbers are changed atomically. */
struct work {
	hapax_env *env;
	hapax_memo *memo;
	int runs;
	int result;      /* HAPAX_LOAD_* */
	int code;        /* of failures */
	void *detail;
	void (*drop)(void *detail);
	int destroyed;   /* of the results */
	void (*result_destroyed)(struct item *item, void *arg); /* its arg is the work */
	/* runs in the function; what it returns below 0 means: go on, else it is the result */
	int (*then)(struct work *w, int run, void *owner, const hapax_arg *args, size_t n);
	void *arg;
};

MAYBE_UNUSED static int runs_of(struct work *w) { return __atomic_load_n(&w->runs, __ATOMIC_SEQ_CST); }
MAYBE_UNUSED static int gone_of(struct work *w) { return __atomic_load_n(&w->destroyed, __ATOMIC_SEQ_CST); }

static int work_end(struct work *w, int rc, int run, struct outcome *o, void *owner, const hapax_arg *args, size_t n,
		    hapax_load_error *error)
{
	if (rc == HAPAX_LOAD_FAIL) {
		error->code = w->code;
		error->detail = w->detail;
		error->drop = w->drop;
	}
	if (rc != HAPAX_LOAD_OK)
		return rc;
	o->item.live = ITEM_ALIVE;
	o->item.id = run;
	o->item.destroyed = &w->destroyed;
	o->item.on_destroy = w->result_destroyed;
	o->item.arg = w;
	o->value = n && !args[0].data ? args[0].value.i : n ? (int64_t)args[0].size : 0;
	o->owner_id = owner ? ((struct item *)owner)->id : 0;
	return rc;
}

static int work_begin(struct work *w, void *owner, const hapax_arg *args, size_t n, int *run)
{
	int rc;

	*run = __atomic_add_fetch(&w->runs, 1, __ATOMIC_SEQ_CST);
	CHECK(!owner || item_is_alive(owner));
	rc = w->then ? w->then(w, *run, owner, args, n) : GO_ON;
	return rc < 0 ? w->result : rc;
}

static int work_compute(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	static const struct outcome zero;
	struct work *w = ctx;
	int run, rc;

	CHECK(!memcmp(result, &zero, sizeof(zero)));
	rc = work_begin(w, owner, args, n, &run);
	return work_end(w, rc, run, result, owner, args, n, error);
}

static int work_make(void **result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	struct work *w = ctx;
	void *object = NULL;
	int run, rc = work_begin(w, owner, args, n, &run);

	if (rc == HAPAX_LOAD_OK) {
		int made = hapax_new(w->env, &outcome_type, 0, &object);

		if (made != HAPAX_OK) {
			error->code = made;
			return HAPAX_LOAD_FAIL;
		}
	}
	rc = work_end(w, rc, run, object, owner, args, n, error);
	*result = object;
	return rc;
}

/* ---- memos ------------------------------------------------------------------------------------------------------- */

enum { MEMO_MAKES = 1 << 16 }; /* with HAPAX_MEMO_ flags: of the other form */

MAYBE_UNUSED static hapax_memo *memo_options(hapax_env *env, struct work *w, unsigned flags, hapax_memo_options o)
{
	o.size = sizeof(o);
	o.flags = flags & ~(unsigned)MEMO_MAKES;
	o.env = env;
	o.type = &outcome_type;
	if (flags & MEMO_MAKES)
		o.make = work_make;
	else
		o.compute = work_compute;
	o.ctx = w;
	o.name = "tested";
	w->env = env;
	w->memo = NULL;
	CHECK_EQ(hapax_memo_create(&w->memo, &o), HAPAX_OK);
	CHECK(w->memo);
	return w->memo;
}

/* Strict LRU. */
MAYBE_UNUSED static hapax_memo *memo_new(hapax_env *env, struct work *w, unsigned flags, int64_t capacity)
{
	return memo_options(env, w, flags,
			    (hapax_memo_options){.capacity = capacity,
						 .policy = capacity == HAPAX_UNLIMITED ? NULL : hapax_policy_lru()});
}

/* The result for one number, owned: it is of this owner and this number, whatever happened. */
MAYBE_UNUSED static struct outcome *called(struct work *w, struct item *owner, int64_t x)
{
	const hapax_arg arg = hapax_arg_int(x);
	struct outcome *o;
	void *out = (void *)1;
	int rc = hapax_memo_call(w->memo, owner, &arg, 1, &out);

	if (rc)
		TEST_FAIL("the call with %lld: %s", (long long)x, hapax_status_name(rc));
	o = out;
	CHECK(o && item_is_alive(&o->item));
	CHECK_EQ(o->value, x);
	CHECK_EQ(o->owner_id, owner ? owner->id : 0);
	return o;
}

/* The same, not kept: the run that made it. */
MAYBE_UNUSED static int call(struct work *w, struct item *owner, int64_t x)
{
	struct outcome *o = called(w, owner, x);
	int run = o->item.id;

	hapax_release(o);
	return run;
}

/* A call that must fail. */
MAYBE_UNUSED static int refused(struct work *w, void *owner, const hapax_arg *args, size_t n)
{
	void *out = (void *)1;
	int rc = hapax_memo_call(w->memo, owner, args, n, &out);

	CHECK(rc != HAPAX_OK && !out);
	return rc;
}

/* The run that made what is there, 0: nothing. */
MAYBE_UNUSED static int found(struct work *w, struct item *owner, int64_t x)
{
	const hapax_arg arg = hapax_arg_int(x);
	struct outcome *o;
	void *out = (void *)1;
	int run, rc = hapax_memo_find(w->memo, owner, &arg, 1, &out);

	o = out;
	CHECK(rc == HAPAX_OK || rc == HAPAX_MISS);
	CHECK((rc == HAPAX_OK) == (o != NULL));
	if (!o)
		return 0;
	CHECK(item_is_alive(&o->item));
	CHECK_EQ(o->value, x);
	CHECK_EQ(o->owner_id, owner ? owner->id : 0);
	run = o->item.id;
	hapax_release(o);
	return run;
}

MAYBE_UNUSED static int forget(struct work *w, struct item *owner, int64_t x)
{
	const hapax_arg arg = hapax_arg_int(x);

	return hapax_memo_forget(w->memo, owner, &arg, 1);
}

/* What holds of every view. */
MAYBE_UNUSED static hapax_memo_info info_sound(hapax_memo_info i)
{
	CHECK_EQ(i.size, sizeof(i));
	CHECK(i.computed <= i.misses);
	CHECK(i.failed <= i.computed);
	CHECK(i.waits <= i.misses);
	CHECK(i.entries <= i.computed - i.failed);
	return i;
}

MAYBE_UNUSED static hapax_memo_info info_of(struct work *w, void *owner)
{
	hapax_memo_info i = {.size = sizeof(i)};

	CHECK_EQ(hapax_memo_info_get(w->memo, owner, &i), HAPAX_OK);
	return info_sound(i);
}

MAYBE_UNUSED static hapax_memo_info cleared(struct work *w, void *owner)
{
	hapax_memo_info i = {.size = sizeof(i)};

	CHECK_EQ(hapax_memo_clear(w->memo, owner, &i), HAPAX_OK);
	return info_sound(i);
}

MAYBE_UNUSED static void info_check(const char *file, int line, hapax_memo_info i, uint64_t hits, uint64_t misses, uint64_t entries)
{
	if (i.hits != hits || i.misses != misses || i.entries != entries)
		test_fail(file, line, "hits %d, misses %d, entries %d instead of %d, %d, %d", (int)i.hits, (int)i.misses,
			  (int)i.entries, (int)hits, (int)misses, (int)entries);
}
/* INFO(view, hits, misses, entries) */
#define INFO(i, ...) info_check(__FILE__, __LINE__, (i), __VA_ARGS__)

MAYBE_UNUSED static bool info_same(const hapax_memo_info *a, const hapax_memo_info *b)
{
	return a->hits == b->hits && a->misses == b->misses && a->waits == b->waits && a->computed == b->computed &&
	       a->failed == b->failed && a->entries == b->entries && a->owners == b->owners && a->capacity == b->capacity;
}

/* At rest: its structures agree. */
MAYBE_UNUSED static void memo_check(struct work *w)
{
	char message[256] = "";

	if (hapax_testing_check_memo(w->memo, message, sizeof(message)))
		TEST_FAIL("memo check: %s", message);
}

/* The memo goes, and the environment with everything that came from it. */
MAYBE_UNUSED static void work_end_env(struct work *w, hapax_env *env)
{
	if (w->memo)
		memo_check(w);
	hapax_memo_destroy(w->memo);
	w->memo = NULL;
	test_env_end(env);
}

/* ---- an allocator that gives back what it got last ----------------------------------------------------------------- */

/* Memory of owners is used again at once, in every build. One thread at a time. */
struct recycler {
	struct recycled {
		void *block;
		size_t size, align;
	} free[256];
	unsigned n;
	unsigned reused;
};

static void *recycler_alloc(size_t size, size_t align, void *ctx)
{
	struct recycler *r = ctx;

	for (unsigned i = r->n; i-- > 0;)
		if (r->free[i].size == size && r->free[i].align == align) {
			void *block = r->free[i].block;

			r->free[i] = r->free[--r->n];
			r->reused++;
			return block;
		}
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void recycler_free(void *block, size_t size, size_t align, void *ctx)
{
	struct recycler *r = ctx;

	if (r->n == sizeof(r->free) / sizeof(*r->free))
		free(block);
	else
		r->free[r->n++] = (struct recycled){block, size, align};
}

MAYBE_UNUSED static hapax_env *recycler_env(struct recycler *r)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD,
			       .allocator = {recycler_alloc, recycler_free, r}};
	hapax_env *env = NULL;

	o.seed = test_seed();
	CHECK_EQ(hapax_env_create(&env, &o), HAPAX_OK);
	return env;
}

MAYBE_UNUSED static void recycler_end(struct recycler *r, hapax_env *env)
{
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_live_objects(env), 0);
	hapax_env_destroy(env);
	hapax_testing_drain(NULL);
	while (r->n)
		free(r->free[--r->n].block);
}

#endif
