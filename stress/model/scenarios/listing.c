/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/listing.c - listing an object's weak handles while registrations come and go.
 *
 * Faults put in on purpose that show here: LISTED_DROPPED, RELAXED_LIST.
 */
#include "model/scenarios/kit.h"

enum { ROOM = 4 };
struct listing {
	struct kit k;
	struct item *item;
	struct probe old, going, fresh; /* registered first, and to stay; next, and dropped; on the node of that one */
	size_t room;
};

static void setup(void *state)
{
	struct listing *s = state;

	kit_open(&s->k, 0, 0);
	s->item = kit_new(&s->k, 0);
	probe_on(&s->old, s->item);
	probe_on(&s->going, s->item);
	s->room = ROOM;
	if (hapax_retain(s->item))
		model_fail("hapax_retain failed");
}

/* The drop may not be the last one: then the listing's is. */
static void recycle(void *state)
{
	struct listing *s = state;

	MODEL_CHECK(!hapax_weak_drop(s->going.weak), "a drop outside callbacks said that one is running");
	probe_on(&s->fresh, s->item);
	hapax_release(s->item);
}

static void list(void *state)
{
	struct listing *s = state;
	hapax_weak *handles[ROOM] = {NULL};
	struct probe *last = NULL, *probe;
	hapax_callback callback;
	size_t count = 99, stored;
	bool old = false;
	int status = hapax_weak_list(s->item, handles, s->room, &count);

	MODEL_CHECK(!status, "hapax_weak_list: %s", hapax_status_name(status));
	stored = count < s->room ? count : s->room;
	MODEL_CHECK(count >= 1 && count <= 3, "%zu handles", count);
	for (size_t i = 0; i < stored; i++) {
		status = handles[i] ? hapax_weak_callback(handles[i], &callback) : HAPAX_ENULL;
		MODEL_CHECK(!status, "the callback of a listed handle: %s", hapax_status_name(status));
		probe = callback.ctx;
		MODEL_CHECK(probe == &s->old || probe == &s->going || probe == &s->fresh, "a handle of nobody's");
		MODEL_CHECK(!probe->frees, "a listed registration was cancelled before");
		MODEL_CHECK(!last || probe == &s->old || (probe == &s->going && last == &s->fresh), "out of order");
		last = probe;
		old |= probe == &s->old;
	}
	MODEL_CHECK(old || count > s->room || s->room == 1, "a registration that stays was not listed");
	model_yield();
	for (size_t i = 0; i < stored; i++)
		MODEL_CHECK(!hapax_weak_drop(handles[i]), "a drop outside callbacks said that one is running");
	hapax_release(s->item);
}

static void finish(void *state)
{
	struct listing *s = state;

	MODEL_CHECK(s->old.calls == 1 && s->fresh.calls == 1, "callbacks that stayed ran %u and %u times", s->old.calls,
		    s->fresh.calls);
	hapax_weak_drop(s->old.weak);
	hapax_weak_drop(s->fresh.weak);
	probe_check(&s->going, true);
	probe_check(&s->old, false);
	probe_check(&s->fresh, false);
	kit_close(&s->k, 0);
}

SCENARIO(list_recycle, "list-recycle", "a listing against a last drop and a registration on the same node",
	 struct listing, setup, finish, 2, list, recycle);

/* With room for one: what was chosen and has gone is made up for by what is older. */
static void room_setup(void *state)
{
	struct listing *s = state;

	setup(state);
	s->room = 1;
}

SCENARIO(list_room, "list-room", "a listing with room for one while that one goes", struct listing, room_setup, finish, 2,
	 list, recycle);

/* Two listings: the last handle of the one that goes is dropped by any of three. */
static void two_setup(void *state)
{
	struct listing *s = state;

	setup(state);
	if (hapax_retain(s->item))
		model_fail("hapax_retain failed");
}

SCENARIO(list_two, "list-two", "two listings against a last drop", struct listing, two_setup, finish, 1, list, list, recycle);
