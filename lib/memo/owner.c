/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memo/owner.c - the owners of a memo: their rooms, and what their deaths do. memo.c has the picture. */
#include <errno.h>

#include "memo/memo.h"

struct hpx_object *hpx_memo_room_keeper(struct hpx_room *room)
{
	/* order: -> OBJECT.SIDE, SIDE.DEAD acquire */
	struct hpx_object *o = hpx_load_acquire(&room->side->object);

	return o && hpx_take(o) ? o : NULL;
}

/* Outside sections and locks: the owner has died, and its record reads absent. */
static void owner_died(void *value, void *ctx)
{
	struct hpx_room *room = value;
	hapax_memo *memo = ctx;
	HPX_CACHE_STAY stay = {.cache = NULL, .saved_errno = errno};

	hpx_room_close(room);
	hpx_read_lock();
	/* order: -> MEMO.ENDED acquire; not yet: the section keeps the cache's memory */
	if (!hpx_load_acquire(&memo->ended) && !hpx_cache_enter(memo->cache, HPX_CACHE_ENDING))
		stay.cache = memo->cache;
	hpx_read_unlock();
	if (stay.cache)
		hpx_tier_part(stay.cache, room, &room->link);
	else
		hpx_room_drop(room);
}

static void hold_memo(void *ctx) { hpx_rooms_hold(&((hapax_memo *)ctx)->rooms); }
static void drop_memo(void *ctx) { hpx_rooms_drop(&((hapax_memo *)ctx)->rooms); }
const struct hpx_ident_ops hpx_memo_owner_ops = {.died = owner_died, .hold = hold_memo, .drop = drop_memo};

/* The memo's end; the owner is alive. */
void hpx_memo_owner_left(void *value, void *ctx)
{
	(void)ctx;
	hpx_room_close(value);
	hpx_room_drop(value);
}

/* Can it be one? */
int hpx_memo_fit_owner(const hapax_memo *memo, struct hpx_object *o)
{
	struct hpx_class *class = hpx_class_of(o);

	if (class->type->flags & HAPAX_TYPE_NOT_WEAK)
		return HAPAX_ENOTWEAK;
	if (class->env != memo->env)
		return HAPAX_EFOREIGN;
	return hpx_dead(o) ? HAPAX_EDEAD : 0;
}

/* The room of a live owner, which its holder keeps; NULL: it has none. */
struct hpx_room *hpx_memo_room(hapax_memo *memo, void *owner)
{
	struct hpx_room *room;

	hpx_read_lock();
	room = hpx_ident_find(memo->owners, hpx_object_of(owner));
	hpx_read_unlock();
	return room;
}

/* `o`, held, has a side record. */
int hpx_memo_room_get(hapax_memo *memo, struct hpx_object *o, uint64_t deadline, struct hpx_room **out)
{
	void *old = NULL;
	int rc;

	*out = hpx_memo_room(memo, hpx_payload(o));
	if (*out)
		return 0;
	rc = hpx_admit(memo->env, deadline);
	if (!rc)
		rc = hpx_room_new(out, &memo->rooms, hpx_side_of(o));
	if (rc)
		return rc;
	rc = hpx_ident_put_until(memo->owners, o, *out, false, deadline, &old);
	if (old)
		hpx_read_unlock(); /* the owner, which is held, keeps it */
	if (rc || old)
		hpx_room_discard(*out);
	*out = rc ? NULL : old ? old : *out;
	return rc;
}

/* The identity of an owner, made if it has none; outside sections. */
int hpx_memo_identify(hapax_memo *memo, void *owner, uint64_t deadline, struct hpx_side **side)
{
	struct hpx_object *o;
	int rc;

	*side = NULL;
	if (!memo->owned)
		return 0;
	o = hpx_object_of(owner);
	rc = hpx_memo_fit_owner(memo, o);
	if (!rc && hpx_cache_state(memo->cache) != HPX_CACHE_OPEN)
		rc = HAPAX_ECLOSED;
	*side = rc ? NULL : hpx_side_of(o);
	if (rc || *side)
		return rc;
	hpx_thread_ready();
	rc = hpx_admit(memo->env, deadline);
	return rc ? rc : hpx_side_get(o, side);
}

/* A reference to the owner, or NULL: its death has begun. */
struct hpx_object *hpx_memo_hold(void *owner)
{
	struct hpx_object *o = hpx_object_of(owner);
	bool held;

	hpx_read_lock();
	held = hpx_take(o);
	hpx_read_unlock();
	return held ? o : NULL;
}
