/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memo/rooms.h - rooms: what a memo keeps for each owner, and the eviction policy that knows them.
 *
 *      owner ~~~(identity table, weak)~~~> room --- nodes of the owner's retained results
 *                                           |'----- an eviction policy of its own (capacity for each)
 *      rooms --- one eviction policy for all (shared budget)
 *
 * Life of a room, in units of POPULATION: one for its owner's life, until it has been emptied after the owner's death or with the
 * memo's end, and one for each entry that is in the table. Nobody takes a unit once the owner has died: only its calls do.
 * The last unit retires the room; who finds it through an entry does so in a section, or under the tier's lock while the entry's
 * node is in it.
 */
#ifndef HPX_MEMO_ROOMS_H
#define HPX_MEMO_ROOMS_H

#include "cache/tier.h"
#include "object/side.h"

/* Calls: answered by what was there; or not: neither waiting nor computing; with a result computed; in vain. From WAITED on the same
 * three once more: they waited for somebody else, first or only. */
enum { HPX_ROOM_HITS, HPX_ROOM_NOTHING, HPX_ROOM_COMPUTED, HPX_ROOM_FAILED, HPX_ROOM_WAITED, HPX_ROOM_COUNTERS = HPX_ROOM_WAITED + 3 };

_Static_assert(!HPX_ROOM_HITS && !offsetof(struct hpx_room_head, hits), "the cache counts hits at a room's beginning");

#define HPX_ROOM_DEAD UINT64_C(1) /* in `population`: its entries are not counted in the memo's any more */
#define HPX_ROOM_ONE UINT64_C(2)

struct hpx_rooms;

struct hpx_room {
	hpx_u64 counters[HPX_ROOM_COUNTERS]; /* first: of plain hits, struct hpx_room_head */
	hpx_u64 population;
	struct hpx_side *side;    /* held: so no other object has this identity */
	/* under the tier's lock */
	uint64_t begun[HPX_ROOM_COUNTERS]; /* counters at the last clear */
	uint64_t marked[HPX_ROOM_COUNTERS]; /* when the last clear of the whole memo began */
	struct hpx_roomed *nodes; /* retained */
	uint64_t held;
	struct hpx_rooms *rooms;
	void *state;              /* of its own policy, or NULL */
	struct hpx_room *link;    /* on its way out */
	struct hpx_room *over_next, *over_prev;
	bool over;                /* above its capacity: in the list of those */
	struct hpx_deferred deferred;
};

/* What all rooms of a memo share, and its policy. Constant but for the numbers. */
struct hpx_rooms {
	hapax_env *env;
	const hapax_policy *sub; /* NULL: nothing is ever evicted for a bound */
	uint64_t capacity;
	bool each;               /* of each room; else of all together */
	hapax_policy policy;     /* for the cache's options */
	hpx_u64 entries;         /* of living owners */
	hpx_u64 refs;            /* the cache, each room, each death on its way: for the memory this is in */
	void (*unused)(struct hpx_rooms *rooms);
};
void hpx_rooms_init(struct hpx_rooms *rooms, hapax_env *env, const hapax_policy *sub, uint64_t capacity, bool each);
void hpx_rooms_hold(struct hpx_rooms *rooms);
void hpx_rooms_drop(struct hpx_rooms *rooms);
/* A policy that never evicts. */
extern const hapax_policy hpx_policy_keep;

/* For struct hpx_client. */
void hpx_rooms_depart(void *state, struct hpx_room *list);
bool hpx_rooms_above(void *state);
void hpx_room_enter(struct hpx_room *room);
void hpx_room_leave(struct hpx_room *room);

/* A room for the owner with this side record: 0, HAPAX_ENOMEM, or what the policy answers. Outside sections and locks. */
int hpx_room_new(struct hpx_room **out, struct hpx_rooms *rooms, struct hpx_side *side);
/* It was never found by anybody. */
void hpx_room_discard(struct hpx_room *room);
/* The owner has gone, or the memo: the entries count no more. */
void hpx_room_close(struct hpx_room *room);
/* Gives units back. */
void hpx_room_drop(struct hpx_room *room);

static inline void hpx_room_count(struct hpx_room *room, unsigned which)
{
	/* order: ROOM.COUNT release; what was counted before it is counted, for sums that are compared */
	hpx_add_release(&room->counters[which], 1);
}

#endif
