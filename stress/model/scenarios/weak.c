/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/weak.c - weak handles and death callbacks.
 *
 * Faults put in on purpose that show here: CALLBACK_TWICE, BARRIER_EARLY, INCREMENT_FROM_ZERO.
 */
#include "model/scenarios/kit.h"

struct weak {
	struct kit k;
	struct item *item, *other;
	struct probe p, q, r;
	hapax_weak *plain[2];
	int status;
	bool died; /* the release that is known to be the last has begun */
};

static void one_setup(void *state)
{
	struct weak *s = state;

	kit_open(&s->k, 0, 0);
	s->item = kit_new(&s->k, 0);
	probe_on(&s->p, s->item);
}

static void two_setup(void *state)
{
	struct weak *s = state;

	one_setup(state);
	probe_on(&s->q, s->item);
}

static void release(void *state)
{
	struct weak *s = state;

	s->died = true;
	hapax_release(s->item);
}

static void drop_p(void *state) { probe_drop(&((struct weak *)state)->p); }
static void drop_q(void *state) { probe_drop(&((struct weak *)state)->q); }

static void one_finish(void *state)
{
	struct weak *s = state;

	probe_check(&s->p, false);
	kit_close(&s->k, 0);
}

static void two_finish(void *state)
{
	struct weak *s = state;

	probe_check(&s->q, false);
	one_finish(state);
}

SCENARIO(callback_cancel, "callback-cancel", "the drop of a callback's handle against the death", struct weak,
	 one_setup, one_finish, 2, release, drop_p);
SCENARIO(callback_cancel_two, "callback-cancel-two", "two drops of two handles against the death", struct weak,
	 two_setup, two_finish, 1, release, drop_p, drop_q);

/* The last of several handles on one registration cancels it. */
static void dup_setup(void *state)
{
	struct weak *s = state;

	one_setup(state);
	if (hapax_weak_dup(s->p.weak, &s->plain[0]))
		model_fail("hapax_weak_dup failed");
}

static void dup_drop(void *state)
{
	struct weak *s = state;

	MODEL_CHECK(!hapax_weak_drop(s->plain[0]), "a drop outside callbacks said that one is running");
}

static void dup_drop_too(void *state)
{
	struct weak *s = state;

	MODEL_CHECK(!hapax_weak_drop(s->p.weak), "a drop outside callbacks said that one is running");
}

SCENARIO(callback_dup, "callback-dup", "two handles on one registration are dropped against the death", struct weak,
	 dup_setup, one_finish, 1, release, dup_drop, dup_drop_too);

/* A callback drops the handle of the other, which may be dropped from outside by nobody then. */
static void drop_sibling(struct probe *p)
{
	struct probe *sibling = p->arg;
	int status = hapax_weak_drop(sibling->weak);

	MODEL_CHECK(status == 0 || status == HAPAX_INFLIGHT, "hapax_weak_drop: %s", hapax_status_name(status));
	MODEL_CHECK(status || sibling->frees == 1, "a sibling was dropped and ctx_free ran %u times", sibling->frees);
	sibling->cancelled = !status;
}

static void sibling_setup(void *state)
{
	struct weak *s = state;

	two_setup(state);
	s->q.then = drop_sibling; /* the newer: runs first */
	s->q.arg = &s->p;
}

static void sibling_finish(void *state)
{
	struct weak *s = state;

	MODEL_CHECK(s->p.calls == !s->q.calls, "the newer callback ran %u times, the one it drops %u times", s->q.calls,
		    s->p.calls);
	if (!s->q.calls)
		hapax_weak_drop(s->p.weak);
	two_finish(state);
}

SCENARIO(callback_sibling, "callback-sibling", "a callback drops its sibling's handle while its own is dropped",
	 struct weak, sibling_setup, sibling_finish, 2, release, drop_q);

/* Two callbacks of two objects drop each other's handles: neither waits for the other. */
static void cross_setup(void *state)
{
	struct weak *s = state;

	one_setup(state);
	s->other = kit_new(&s->k, 1);
	probe_on(&s->q, s->other);
	s->p.then = s->q.then = drop_sibling;
	s->p.arg = &s->q;
	s->q.arg = &s->p;
}

static void release_other(void *state) { hapax_release(((struct weak *)state)->other); }

/* When one was cancelled by the other, the handle of the other is still there. */
static void cross_finish(void *state)
{
	struct weak *s = state;

	MODEL_CHECK(s->p.calls || s->q.calls, "both callbacks were lost");
	if (!s->p.calls)
		hapax_weak_drop(s->q.weak);
	if (!s->q.calls)
		hapax_weak_drop(s->p.weak);
	two_finish(state);
}

SCENARIO(callback_cross, "callback-cross", "two callbacks drop each other's handles", struct weak, cross_setup,
	 cross_finish, 2, release, release_other);

/* ---- registering ------------------------------------------------------------------------------------------------- */

/* A cancelled node is taken again for the next registration, while the object is about to die. */
static void recycle_setup(void *state)
{
	struct weak *s = state;

	two_setup(state);
	if (hapax_retain(s->item))
		model_fail("hapax_retain failed");
}

static void recycle(void *state)
{
	struct weak *s = state;

	probe_drop(&s->p);
	probe_on(&s->r, s->item);
	hapax_release(s->item);
}

static void recycle_finish(void *state)
{
	struct weak *s = state;

	MODEL_CHECK(s->r.calls == 1, "a callback registered in time ran %u times", s->r.calls);
	probe_check(&s->r, false);
	hapax_weak_drop(s->r.weak);
	probe_check(&s->p, true);
	two_finish(state);
}

SCENARIO(callback_recycled, "callback-recycled", "a registration on a cancelled one's node against drop and death",
	 struct weak, recycle_setup, recycle_finish, 1, recycle, release, drop_q);

/* Three threads register on an object that has no side record; one record comes of it. */
static void share_setup(void *state)
{
	struct weak *s = state;

	kit_open(&s->k, 0, 0);
	s->item = kit_new(&s->k, 0);
}

static void share_one(void *state) { ((struct weak *)state)->plain[0] = kit_weak(((struct weak *)state)->item); }
static void share_two(void *state) { ((struct weak *)state)->plain[1] = kit_weak(((struct weak *)state)->item); }
static void share_call(void *state) { probe_on(&((struct weak *)state)->p, ((struct weak *)state)->item); }

static void share_finish(void *state)
{
	struct weak *s = state;

	MODEL_CHECK(s->plain[0] == s->plain[1], "plain handles do not share a record");
	MODEL_CHECK(hapax_weak_count(s->item) == 2, "%llu registrations", (unsigned long long)hapax_weak_count(s->item));
	hapax_weak_drop(s->plain[0]);
	MODEL_CHECK(hapax_weak_count(s->item) == 2, "%llu registrations", (unsigned long long)hapax_weak_count(s->item));
	hapax_weak_drop(s->plain[1]);
	MODEL_CHECK(hapax_weak_count(s->item) == 1, "%llu registrations", (unsigned long long)hapax_weak_count(s->item));
	hapax_release(s->item);
	MODEL_CHECK(s->p.calls == 1, "the callback ran %u times", s->p.calls);
	hapax_weak_drop(s->p.weak);
	one_finish(state);
}

SCENARIO(weak_share, "weak-share", "three threads make the first handles of an object", struct weak, share_setup,
	 share_finish, 2, share_one, share_two, share_call);

/* The same with no memory for one of them: it has changed nothing. */
static void share_starved(void *state)
{
	struct weak *s = state;

	model_fail_allocation(1 + model_choose(3));
	s->status = probe_try(&s->p, s->item);
	model_fail_allocation(0);
	MODEL_CHECK(!s->status == (s->p.weak != NULL), "hapax_weak_new: %s, and a handle", hapax_status_name(s->status));
	MODEL_CHECK(!s->status || s->status == HAPAX_ENOMEM, "hapax_weak_new: %s", hapax_status_name(s->status));
}

static void share_drop(void *state)
{
	struct weak *s = state;
	int status = hapax_weak_new(s->item, NULL, &s->plain[0]);

	MODEL_CHECK(!status || status == HAPAX_ENOMEM, "hapax_weak_new: %s", hapax_status_name(status));
	MODEL_CHECK(!hapax_weak_drop(s->plain[0]), "hapax_weak_drop failed");
}

static void starved_finish(void *state)
{
	struct weak *s = state;

	MODEL_CHECK(hapax_weak_count(s->item) == (s->status ? 0 : 1), "%llu registrations",
		    (unsigned long long)hapax_weak_count(s->item));
	hapax_release(s->item);
	MODEL_CHECK(s->p.calls == (s->status ? 0 : 1) && s->p.frees == s->p.calls, "called %u times, freed %u times",
		    s->p.calls, s->p.frees);
	hapax_weak_drop(s->p.weak);
	kit_close(&s->k, 0);
}

SCENARIO(weak_starved, "weak-starved", "a registration without memory beside another", struct weak, share_setup,
	 starved_finish, 3, share_starved, share_drop);

/* Handles on one record are made and dropped while the object dies; the record goes with the last of all. */
static void drops_setup(void *state)
{
	struct weak *s = state;

	share_setup(state);
	s->plain[0] = kit_weak(s->item);
	s->plain[1] = kit_weak(s->item);
}

static void drops_dup(void *state)
{
	struct weak *s = state;
	hapax_weak *dup = NULL;

	if (hapax_weak_dup(s->plain[0], &dup))
		model_fail("hapax_weak_dup failed");
	hapax_weak_drop(s->plain[0]);
	kit_give(&s->k, 0, kit_upgrade(&s->k, 0, dup));
	hapax_weak_drop(dup);
}

static void drops_drop(void *state) { hapax_weak_drop(((struct weak *)state)->plain[1]); }

static void drops_finish(void *state)
{
	struct weak *s = state;

	kit_close(&s->k, 0);
}

SCENARIO(weak_drops, "weak-drops", "handles are duplicated and dropped while the object dies", struct weak, drops_setup,
	 drops_finish, 1, release, drops_dup, drops_drop);

/* ---- inside callbacks -------------------------------------------------------------------------------------------- */

/* A callback puts a new object under the dying one's key: it stays. */
static void again(struct probe *p)
{
	struct weak *s = p->arg;
	hapax_weak *weak = NULL;

	MODEL_CHECK(!hapax_table_contains(s->k.table, kit_key(0)) || s->other, "in the first callback its key is present");
	MODEL_CHECK(hapax_weak_new(s->item, NULL, &weak) == HAPAX_EDEAD && !weak, "a handle on a dying object");
	if (!s->other) {
		s->other = kit_new(&s->k, 0);
		kit_put(&s->k, 0, s->other);
	}
}

static void again_setup(void *state)
{
	struct weak *s = state;

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	kit_table(&s->k, KIT_PLAIN);
	s->item = kit_new(&s->k, 0);
	kit_put(&s->k, 0, s->item);
	probe_on(&s->p, s->item);
	s->p.then = again;
	s->p.arg = s;
}

static void again_look(void *state)
{
	struct weak *s = state;

	kit_give(&s->k, 0, kit_find(&s->k, 0));
}

static void again_finish(void *state)
{
	struct weak *s = state;
	struct item *found = kit_find(&s->k, 0);

	MODEL_CHECK(s->p.calls == 1, "the callback ran %u times", s->p.calls);
	MODEL_CHECK(found == s->other, "what the callback put is gone");
	kit_give(&s->k, 0, found);
	hapax_weak_drop(s->p.weak);
	hapax_release(s->other);
	one_finish(state);
}

SCENARIO(callback_put, "callback-put", "a callback puts a new object under the key of the dying one", struct weak,
	 again_setup, again_finish, 2, release, again_look);

/* The barrier: a callback that takes its time is waited for. */
static void linger(struct probe *p)
{
	(void)p;
	model_yield();
	model_yield();
}

static void barrier_setup(void *state)
{
	struct weak *s = state;

	one_setup(state);
	s->p.then = linger;
}

SCENARIO(callback_barrier, "callback-barrier", "a drop waits for a callback that takes its time", struct weak,
	 barrier_setup, one_finish, 2, release, drop_p);

/* ---- with the object held ---------------------------------------------------------------------------------------- */

static int look_at(void *object, void *arg)
{
	struct weak *s = arg;
	struct item *item = kit_hold(&s->k, 0, object);

	model_yield();
	kit_unhold(&s->k, 0, item);
	return 7;
}

static void live_call(void *state)
{
	struct weak *s = state;
	int result = 0, status = hapax_with_live(s->plain[0], look_at, s, &result);

	MODEL_CHECK(status ? status == HAPAX_DEAD && !result : result == 7, "hapax_with_live: %s, %d",
		    hapax_status_name(status), result);
	hapax_weak_drop(s->plain[0]);
}

static void live_look(void *state)
{
	struct weak *s = state;
	char text[80];

	hapax_weak_describe(s->plain[1], text, sizeof(text));
	MODEL_CHECK(!s->k.destroyed || !hapax_weak_alive(s->plain[1]), "a destroyed object reads alive");
	hapax_weak_drop(s->plain[1]);
}

SCENARIO(with_live, "with-live", "hapax_with_live and a description against the death", struct weak, drops_setup,
	 drops_finish, 1, release, live_call, live_look);
