/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fault/sweep_memo.c - the calls of hapax/memo.h with every allocation failing; see sweep.h. */
#include "fault/sweep.h"
#include "unit/memos.h"

/*
 * Of the row that runs. Without owners: results for 1 and 2, the second held. With owners: item 0 and `spare` have results for 1
 * and 2; item 3 has never called. Both are of two results, so that each new one evicts.
 */
static struct work plain, owned;
static hapax_memo *another;
static struct outcome *kept;
static hapax_memo_info view;
static int last; /* what the last call returned */

static void begin_with(struct world *w, unsigned form)
{
	w->out = NULL;
	plain = owned = (struct work){0};
	memo_new(w->env, &plain, form, 2);
	memo_new(w->env, &owned, form | HAPAX_MEMO_OWNED, 2);
	for (int x = 1; x <= 2; x++) {
		hapax_release(kept);
		kept = called(&plain, NULL, x);
		call(&owned, w->item[0], x);
		call(&owned, w->spare, x);
	}
}

static void begin(struct world *w) { begin_with(w, 0); }

/* An error kept what was there, and counted at most one call; whatever memory there is, all of this ends. */
static void end(struct world *w)
{
	if (last < 0) {
		CHECK_EQ(info_of(&plain, NULL).entries, 2);
		CHECK_EQ(info_of(&owned, NULL).entries, 4);
		CHECK(info_of(&plain, NULL).misses - 2 + info_of(&owned, NULL).misses - 4 <= 2); /* it was tried again */
		for (int x = 1; x <= 2; x++) {
			CHECK_EQ(found(&plain, NULL, x), x);
			CHECK_EQ(found(&owned, w->item[0], x), 2 * x - 1);
		}
	}
	if (plain.memo)
		memo_check(&plain);
	if (owned.memo)
		memo_check(&owned);
	hapax_memo_destroy(plain.memo);
	hapax_memo_destroy(owned.memo);
	hapax_memo_destroy(another);
	plain.memo = owned.memo = another = NULL;
	hapax_release(kept);
	kept = NULL;
	last = 0;
}

#define MEMOS .prepare = begin, .end = end
#define ARGS(x) HAPAX_ARGS(hapax_arg_int(x))

static void fine(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, HAPAX_OK);
}

/* ---- making and ending --------------------------------------------------------------------------------------------- */

static int make(struct world *w, unsigned flags, int64_t capacity, const hapax_policy *policy)
{
	hapax_memo_options o = {HAPAX_MEMO_OPTIONS_INIT, .env = w->env, .type = &outcome_type, .flags = flags,
				.compute = work_compute, .ctx = &plain, .capacity = capacity, .policy = policy};
	hapax_memo *made = (void *)1;
	int rc = hapax_memo_create(&made, &o);

	CHECK((rc == 0) == (made != NULL));
	hapax_memo_destroy(another);
	another = made;
	w->out = NULL;
	return last = rc;
}

static int make_plain(struct world *w) { return make(w, 0, 0, NULL); }
static int make_unlimited(struct world *w) { return make(w, 0, HAPAX_UNLIMITED, NULL); }
static int make_owned(struct world *w) { return make(w, HAPAX_MEMO_OWNED, 5, hapax_policy_lru()); }
static int make_shared(struct world *w)
{
	return make(w, HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET, 1000, hapax_policy_tinylfu());
}

SWEEP(hapax_memo_create, plain, .nomem = true, MEMOS, .call = make_plain, .done = fine)
SWEEP(hapax_memo_create, unlimited, .nomem = true, MEMOS, .call = make_unlimited, .done = fine)
SWEEP(hapax_memo_create, owned, .nomem = true, MEMOS, .call = make_owned, .done = fine)
SWEEP(hapax_memo_create, shared, .nomem = true, MEMOS, .call = make_shared, .done = fine)

static int closing(struct world *w)
{
	(void)w;
	hapax_memo_close(plain.memo);
	hapax_memo_close(owned.memo);
	return HAPAX_OK;
}

static void is_closed(struct world *w, int status)
{
	const hapax_arg x = hapax_arg_int(77);

	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(refused(&plain, NULL, &x, 1), HAPAX_ECLOSED);
	CHECK_EQ(refused(&owned, w->item[3], &x, 1), HAPAX_ECLOSED);
}

SWEEP(hapax_memo_close, both, MEMOS, .call = closing, .done = is_closed)

static int destroying(struct world *w)
{
	(void)w;
	hapax_memo_destroy(owned.memo);
	hapax_memo_destroy(plain.memo);
	owned.memo = plain.memo = NULL;
	return HAPAX_OK;
}

static void is_destroyed(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(gone_of(&owned), 4);
	CHECK_EQ(gone_of(&plain), 1);
	CHECK(item_is_alive(&kept->item));
}

SWEEP(hapax_memo_destroy, both, MEMOS, .call = destroying, .done = is_destroyed)

/* ---- calls: of what is there, of something new, of a new owner, with long arguments ---------------------------------- */

static int hit(struct world *w) { return last = hapax_memo_call(plain.memo, NULL, ARGS(2), &w->out); }
static int owned_hit(struct world *w) { return last = hapax_memo_call(owned.memo, w->item[0], ARGS(2), &w->out); }
static int miss(struct world *w) { return last = hapax_memo_call(plain.memo, NULL, ARGS(3), &w->out); }
static int owned_miss(struct world *w) { return last = hapax_memo_call(owned.memo, w->item[0], ARGS(3), &w->out); }
static int first(struct world *w) { return last = hapax_memo_call(owned.memo, w->item[3], ARGS(3), &w->out); }

static int large(struct world *w)
{
	static const char text[1000];

	return last = hapax_memo_call(plain.memo, NULL, HAPAX_ARGS(hapax_arg_int(3), hapax_arg_bytes(text, sizeof(text), 0)),
				      &w->out);
}

static void is_hit(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(((struct outcome *)w->out)->value, 2);
	CHECK_EQ(runs_of(&plain), 2);
	CHECK_EQ(runs_of(&owned), 4);
}

static void is_miss(struct world *w, int status)
{
	struct outcome *o = w->out;

	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(o->value, 3);
	CHECK_EQ(o->owner_id, 0);
	CHECK_EQ(found(&plain, NULL, 1), 0); /* evicted */
	CHECK_EQ(info_of(&plain, NULL).entries, 2);
}

static void is_owned_miss(struct world *w, int status)
{
	struct outcome *o = w->out;

	if (status < 0) { /* the owner may have a place in the memo all the same */
		CHECK(hapax_weak_count(w->item[3]) <= 1);
		CHECK_EQ(hapax_count(w->item[3]), 1);
		return;
	}
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(o->value, 3);
	CHECK(o->owner_id == w->item[0]->id || o->owner_id == w->item[3]->id);
	CHECK_EQ(info_of(&owned, NULL).entries, o->owner_id == w->item[0]->id ? 4 : 5);
	CHECK_EQ(info_of(&owned, NULL).owners, o->owner_id == w->item[0]->id ? 2 : 3);
}

SWEEP(hapax_memo_call, hit, MEMOS, .call = hit, .done = is_hit)
SWEEP(hapax_memo_call, owned_hit, MEMOS, .call = owned_hit, .done = is_hit)
SWEEP(hapax_memo_call, miss, .nomem = true, MEMOS, .call = miss, .done = is_miss)
SWEEP(hapax_memo_call, owned_miss, .nomem = true, MEMOS, .call = owned_miss, .done = is_owned_miss)
SWEEP(hapax_memo_call, new_owner, .nomem = true, .errors_change = true, MEMOS, .call = first, .done = is_owned_miss)
SWEEP(hapax_memo_call, long_arguments, .nomem = true, MEMOS, .call = large, .done = is_miss)

/* The function finds an object that is there already: only hapax itself takes memory. */
static int give_kept(void **result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner, (void)args, (void)n, (void)ctx, (void)error;
	CHECK_EQ(hapax_retain(kept), HAPAX_OK);
	*result = kept;
	return HAPAX_LOAD_OK;
}

static void begin_making(struct world *w)
{
	hapax_memo_options o = {HAPAX_MEMO_OPTIONS_INIT, .env = w->env, .type = &outcome_type, .flags = HAPAX_MEMO_OWNED,
				.make = give_kept};

	begin(w);
	CHECK_EQ(hapax_memo_create(&another, &o), HAPAX_OK);
}

static int making(struct world *w) { return last = hapax_memo_call(another, w->item[3], ARGS(3), &w->out); }

static void is_kept(struct world *w, int status)
{
	if (status < 0) {
		CHECK_EQ(hapax_count(kept), 2);
		return;
	}
	CHECK_EQ(status, HAPAX_OK);
	CHECK_PTR(w->out, kept);
	CHECK_EQ(hapax_count(kept), 4); /* ours, w->out, two memos */
}

SWEEP(hapax_memo_call, making, .nomem = true, .errors_change = true, .prepare = begin_making, .end = end, .call = making,
      .done = is_kept)

static int get(struct world *w) { return last = hapax_memo_get(owned.memo, w->item[3], KEY("abc"), &w->out); }

SWEEP(hapax_memo_get, new_owner, .nomem = true, .errors_change = true, MEMOS, .call = get, .done = is_owned_miss)

/* A function that fails: the error's record takes memory too. */
static int failing_then(struct work *work, int run, void *owner, const hapax_arg *args, size_t n)
{
	(void)work, (void)run, (void)owner, (void)args, (void)n;
	return HAPAX_LOAD_FAIL;
}

static void begin_failing(struct world *w)
{
	begin(w);
	w->status = HAPAX_ELOADER;
	plain.then = failing_then;
	plain.code = 17;
}

static int with(struct world *w)
{
	hapax_memo_call_options o = {HAPAX_MEMO_CALL_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &w->error};

	hapax_load_error_drop(&w->error);
	return last = hapax_memo_call_with(plain.memo, NULL, ARGS(3), &o, &w->out);
}

static void is_failed(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_ELOADER);
	CHECK(!w->out);
	CHECK_EQ(w->error.code, 17);
	CHECK_EQ(info_of(&plain, NULL).entries, 2);
	CHECK(info_of(&plain, NULL).failed >= 1);
	last = 0;
}

SWEEP(hapax_memo_call_with, miss, .nomem = true, MEMOS, .call = with, .done = is_miss)
SWEEP(hapax_memo_call_with, failing, .nomem = true, .prepare = begin_failing, .end = end, .call = with, .done = is_failed)

/* ---- what needs none ------------------------------------------------------------------------------------------------- */

static int find(struct world *w) { return last = hapax_memo_find(owned.memo, w->item[0], ARGS(2), &w->out); }
static int find_none(struct world *w) { return last = hapax_memo_find(owned.memo, w->item[3], ARGS(2), &w->out); }
static int find_long(struct world *w)
{
	static const char text[1000];

	return last = hapax_memo_find(plain.memo, NULL, HAPAX_ARGS(hapax_arg_bytes(text, sizeof(text), 0)), &w->out);
}

static void is_none(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_MISS);
	CHECK(!w->out);
	CHECK_EQ(runs_of(&plain) + runs_of(&owned), 6);
}

SWEEP(hapax_memo_find, present, MEMOS, .call = find, .done = is_hit)
SWEEP(hapax_memo_find, absent, MEMOS, .call = find_none, .done = is_none)
SWEEP(hapax_memo_find, long_arguments, .nomem = true, MEMOS, .call = find_long, .done = is_none)

static int forgetting(struct world *w)
{
	(void)w;
	w->out = NULL;
	return last = hapax_memo_forget(plain.memo, NULL, ARGS(2)); /* it is held: forgotten all the same */
}

static void is_forgotten(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(found(&plain, NULL, 2), 0);
	CHECK(item_is_alive(&kept->item));
}

SWEEP(hapax_memo_forget, held, MEMOS, .call = forgetting, .done = is_forgotten)

static int looking(struct world *w)
{
	w->out = NULL;
	view = (hapax_memo_info){.size = sizeof(view)};
	return last = hapax_memo_info_get(owned.memo, w->item[0], &view);
}

static void is_seen(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, HAPAX_OK);
	INFO(view, 0, 2, 2);
}

SWEEP(hapax_memo_info_get, of_an_owner, MEMOS, .call = looking, .done = is_seen)

static int clearing_one(struct world *w)
{
	w->out = NULL;
	view = (hapax_memo_info){.size = sizeof(view)};
	return last = hapax_memo_clear(owned.memo, w->item[0], &view);
}

static void is_cleared_one(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	INFO(view, 0, 2, 2);
	INFO(info_of(&owned, w->item[0]), 0, 0, 0);
	INFO(info_of(&owned, NULL), 0, 4, 2);
	CHECK_EQ(gone_of(&owned), 2);
}

static int clearing_all(struct world *w)
{
	w->out = NULL;
	view = (hapax_memo_info){.size = sizeof(view)};
	return last = hapax_memo_clear(owned.memo, NULL, &view);
}

static void is_cleared_all(struct world *w, int status)
{
	CHECK_EQ(status, HAPAX_OK);
	INFO(view, 0, 4, 4);
	INFO(info_of(&owned, w->item[0]), 0, 0, 0);
	INFO(info_of(&owned, NULL), 0, 0, 0);
	CHECK_EQ(gone_of(&owned), 4);
}

SWEEP(hapax_memo_clear, an_owner, MEMOS, .call = clearing_one, .done = is_cleared_one)
SWEEP(hapax_memo_clear, all, MEMOS, .call = clearing_all, .done = is_cleared_all)

/* An owner's death, with all that hangs on it. */
static int dying(struct world *w)
{
	w->out = NULL;
	hapax_release(w->spare);
	w->spare = NULL;
	return HAPAX_OK;
}

static void has_died(struct world *w, int status)
{
	(void)w;
	CHECK_EQ(status, HAPAX_OK);
	CHECK_EQ(gone_of(&owned), 2);
	INFO(info_of(&owned, NULL), 0, 4, 2);
	CHECK_EQ(info_of(&owned, NULL).owners, 1);
}

SWEEP(hapax_release, owner_of_results, MEMOS, .call = dying, .done = has_died)
