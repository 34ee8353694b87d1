/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memo/rooms.c - rooms and the policy over them.
 *
 * The policy is made of the user's (`sub`): one instance for each room, or one for all. It adds what the user's cannot do:
 * it knows the nodes of each room, so that an owner's death lets go of them all in time linear in their number; and it knows which
 * rooms are above a capacity of their own, which the cache's bound does not say (hpx_rooms_above()).
 */
#include "memo/rooms.h"

/* Under the tier's lock, all of it. */
struct state {
	const struct hpx_rooms *rooms;
	const hapax_allocator *allocator;
	void *shared;          /* state of the one policy for all */
	uint64_t held;
	struct hpx_room *over; /* above their capacity */
	struct hpx_room *leaving; /* their owners have died: to be emptied */
};

static struct hpx_roomed *roomed_of(hapax_policy_node *node)
{
	return hpx_roomed_of(HPX_CONTAINER_OF(node, struct hpx_node, policy));
}

static hapax_policy_node *node_of(struct hpx_roomed *r) { return &hpx_roomed_node(r)->policy; }

/* The user's policy and its state for nodes of this room. */
static void *sub_of(struct state *s, struct hpx_room *room) { return s->rooms->each ? room->state : s->shared; }

/* ---- lists ------------------------------------------------------------------------------------------------------- */

static void nodes_add(struct state *s, struct hpx_room *room, struct hpx_roomed *r)
{
	r->prev = NULL;
	r->next = room->nodes;
	if (r->next)
		r->next->prev = r;
	room->nodes = r;
	room->held++;
	s->held++;
}

static void nodes_remove(struct state *s, struct hpx_room *room, struct hpx_roomed *r)
{
	*(r->prev ? &r->prev->next : &room->nodes) = r->next;
	if (r->next)
		r->next->prev = r->prev;
	r->next = r->prev = NULL;
	room->held--;
	s->held--;
}

static void over_add(struct state *s, struct hpx_room *room)
{
	if (room->over)
		return;
	room->over = true;
	room->over_prev = NULL;
	room->over_next = s->over;
	if (s->over)
		s->over->over_prev = room;
	s->over = room;
}

static void over_remove(struct state *s, struct hpx_room *room)
{
	if (!room->over)
		return;
	room->over = false;
	*(room->over_prev ? &room->over_prev->over_next : &s->over) = room->over_next;
	if (room->over_next)
		room->over_next->over_prev = room->over_prev;
}

/* A node has left the user's policy. */
static void gone(struct state *s, struct hpx_room *room, struct hpx_roomed *r)
{
	nodes_remove(s, room, r);
	if (room->held <= s->rooms->capacity)
		over_remove(s, room);
}

/* ---- the policy -------------------------------------------------------------------------------------------------- */

static int create(void **out, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	const struct hpx_rooms *rooms = ctx;
	struct state *s = allocator->alloc(sizeof(*s), 64, allocator->ctx);
	int rc = 0;

	(void)capacity;
	if (!s)
		return HAPAX_ENOMEM;
	memset(s, 0, sizeof(*s));
	s->rooms = rooms;
	s->allocator = allocator;
	if (rooms->sub && !rooms->each)
		rc = rooms->sub->create(&s->shared, rooms->capacity, allocator, rooms->sub->ctx);
	if (rc)
		allocator->free(s, sizeof(*s), 64, allocator->ctx);
	else
		*out = s;
	return rc;
}

static void destroy(void *state)
{
	struct state *s = state;

	if (s->shared)
		s->rooms->sub->destroy(s->shared);
	s->allocator->free(s, sizeof(*s), 64, s->allocator->ctx);
}

static void add(void *state, hapax_policy_node *node)
{
	struct state *s = state;
	struct hpx_roomed *r = roomed_of(node);
	struct hpx_room *room = r->room;

	nodes_add(s, room, r);
	if (s->rooms->sub)
		s->rooms->sub->add(sub_of(s, room), node);
	if (s->rooms->each && room->held > s->rooms->capacity)
		over_add(s, room);
}

static void take_out(void *state, hapax_policy_node *node)
{
	struct state *s = state;
	struct hpx_roomed *r = roomed_of(node);

	if (s->rooms->sub)
		s->rooms->sub->remove(sub_of(s, r->room), node);
	gone(s, r->room, r);
}

static void hit(void *state, hapax_policy_node *node)
{
	struct state *s = state;

	s->rooms->sub->hit(sub_of(s, roomed_of(node)->room), node);
}

/* A node of a room that is on its way out, which has no owner and so gets no more; NULL: all of those are empty. */
static hapax_policy_node *evict_leaving(struct state *s)
{
	struct hpx_room *room;
	hapax_policy_node *node;

	while ((room = s->leaving) != NULL) {
		if (room->nodes) {
			node = node_of(room->nodes);
			take_out(s, node);
			return node;
		}
		s->leaving = room->link;
		over_remove(s, room);
		hpx_room_drop(room);
	}
	return NULL;
}

static hapax_policy_node *evict_over(struct state *s)
{
	struct hpx_room *room = s->over;
	hapax_policy_node *node = NULL;

	if (room)
		node = s->rooms->sub->evict(room->state);
	else if (!s->rooms->each && s->rooms->sub && s->held > s->rooms->capacity)
		node = s->rooms->sub->evict(s->shared);
	if (node)
		gone(s, roomed_of(node)->room, roomed_of(node));
	return node;
}

static hapax_policy_node *evict(void *state)
{
	hapax_policy_node *node = evict_leaving(state);

	return node ? node : evict_over(state);
}

static void resize(void *state, uint64_t capacity) { (void)state, (void)capacity; } /* memos' bounds do not change */

static int check(void *state, char *message, size_t size)
{
	struct state *s = state;
	const struct hpx_room *room;

	for (room = s->over; room; room = room->over_next)
		if (!room->over || !s->rooms->each || room->held <= s->rooms->capacity) {
			snprintf(message, size, "a room of %llu is listed as above %llu", (unsigned long long)room->held,
				 (unsigned long long)s->rooms->capacity);
			return -1;
		}
	if (s->leaving) {
		snprintf(message, size, "a room that is to be emptied was not");
		return -1;
	}
	return s->shared && s->rooms->sub->check ? s->rooms->sub->check(s->shared, message, size) : 0;
}

void hpx_rooms_init(struct hpx_rooms *rooms, hapax_env *env, const hapax_policy *sub, uint64_t capacity, bool each)
{
	rooms->env = env;
	rooms->sub = sub;
	rooms->capacity = capacity;
	rooms->each = each;
	hpx_init(&rooms->refs, 1);
	rooms->policy = (hapax_policy){
		HAPAX_POLICY_INIT,
		.name = sub ? sub->name : "all",
		.flags = sub ? sub->flags : HAPAX_POLICY_TOUCH,
		.touch_max = sub ? sub->touch_max : 1,
		.create = create,
		.destroy = destroy,
		.add = add,
		.remove = take_out,
		.hit = sub && sub->hit ? hit : NULL,
		.evict = evict,
		.resize = resize,
		.check = check,
		.ctx = rooms,
	};
}

/* ---- for the cache ----------------------------------------------------------------------------------------------- */

void hpx_rooms_depart(void *state, struct hpx_room *list)
{
	struct state *s = state;
	struct hpx_room *next;

	for (; list; list = next) {
		next = list->link;
		list->link = s->leaving;
		s->leaving = list;
	}
}

bool hpx_rooms_above(void *state)
{
	struct state *s = state;

	return s->over || s->leaving;
}

/* ---- life of a room ---------------------------------------------------------------------------------------------- */

void hpx_rooms_hold(struct hpx_rooms *rooms)
{
	hpx_add_relaxed(&rooms->refs, 1); /* order: MEMO.REFS relaxed; the caller knows of another one */
}

void hpx_rooms_drop(struct hpx_rooms *rooms)
{
	/* order: MEMO.REFS acq_rel; all use before the end */
	if (hpx_sub_acq_rel(&rooms->refs, 1) == 1)
		rooms->unused(rooms);
}

void hpx_room_enter(struct hpx_room *room)
{
	/* order: ROOM.POPULATION relaxed; the caller holds the owner, whose unit is there */
	hpx_add_relaxed(&room->rooms->entries, 1);
	hpx_add_relaxed(&room->population, HPX_ROOM_ONE);
}

static void room_free(struct hpx_room *room)
{
	struct hpx_rooms *rooms = room->rooms;

	if (room->state)
		rooms->sub->destroy(room->state);
	hpx_side_drop(room->side, HPX_SIDE_NODE);
	hpx_free(rooms->env, room, sizeof(*room), HPX_CACHE_LINE);
	hpx_rooms_drop(rooms);
}

static void room_retired(struct hpx_deferred *d) { room_free(HPX_CONTAINER_OF(d, struct hpx_room, deferred)); }

static void room_end(struct hpx_room *room)
{
	hpx_retire(room->rooms->env, &room->deferred, sizeof(*room), room_retired);
}

void hpx_room_drop(struct hpx_room *room)
{
	/* order: ROOM.POPULATION acq_rel; all use of the room before its end */
	if (hpx_sub_acq_rel(&room->population, HPX_ROOM_ONE) / HPX_ROOM_ONE == 1)
		room_end(room);
}

void hpx_room_leave(struct hpx_room *room)
{
	struct hpx_rooms *rooms = room->rooms;
	/* order: ROOM.POPULATION acq_rel; as in hpx_room_drop(), and whether the owner's end has counted this one out */
	uint64_t before = hpx_sub_acq_rel(&room->population, HPX_ROOM_ONE);

	if (!(before & HPX_ROOM_DEAD))
		hpx_sub_relaxed(&rooms->entries, 1); /* order: ROOM.POPULATION relaxed; a number */
	if (before / HPX_ROOM_ONE == 1)
		room_end(room);
}

/* What ROOM_CLOSED_IN_TWO makes of the or below. */
static uint64_t close_in_two_steps(struct hpx_room *room)
{
	/* order: ROOM.POPULATION acq_rel; as below, in a load and a store */
	uint64_t before = hpx_load_acquire(&room->population);

	hpx_store_release(&room->population, before | HPX_ROOM_DEAD);
	return before;
}

void hpx_room_close(struct hpx_room *room)
{
	/* order: ROOM.POPULATION acq_rel; as above. The caller has the owner's unit, which is no entry */
	uint64_t before = HPX_BROKEN(ROOM_CLOSED_IN_TWO) ? close_in_two_steps(room)
							 : hpx_or_acq_rel(&room->population, HPX_ROOM_DEAD);

	hpx_sub_relaxed(&room->rooms->entries, before / HPX_ROOM_ONE - 1); /* order: ROOM.POPULATION relaxed; a number */
}

int hpx_room_new(struct hpx_room **out, struct hpx_rooms *rooms, struct hpx_side *side)
{
	struct hpx_room *room = hpx_alloc(rooms->env, sizeof(*room), HPX_CACHE_LINE);
	int rc = 0;

	*out = NULL;
	if (!room)
		return HAPAX_ENOMEM;
	if (rooms->sub && rooms->each)
		rc = rooms->sub->create(&room->state, rooms->capacity, hpx_env_allocator(rooms->env), rooms->sub->ctx);
	if (rc) {
		hpx_free(rooms->env, room, sizeof(*room), HPX_CACHE_LINE);
		return rc;
	}
	hpx_rooms_hold(rooms);
	room->rooms = rooms;
	room->side = side;
	/* order: SIDE.REFS relaxed; the caller holds the object, which has one */
	hpx_add_relaxed(&side->refs, HPX_SIDE_NODE);
	hpx_init(&room->population, HPX_ROOM_ONE);
	*out = room;
	return 0;
}

void hpx_room_discard(struct hpx_room *room) { room_free(room); }

/* ---- without bound ----------------------------------------------------------------------------------------------- */

static int keep_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	(void)capacity, (void)allocator, (void)ctx;
	*state = NULL;
	return 0;
}
static void keep_destroy(void *state) { (void)state; }
static void keep_node(void *state, hapax_policy_node *node) { (void)state, (void)node; }
static hapax_policy_node *keep_evict(void *state)
{
	(void)state;
	return NULL;
}

const hapax_policy hpx_policy_keep = {
	HAPAX_POLICY_INIT,
	.name = "all",
	.flags = HAPAX_POLICY_TOUCH,
	.touch_max = 1,
	.create = keep_create,
	.destroy = keep_destroy,
	.add = keep_node,
	.remove = keep_node,
	.evict = keep_evict,
	.resize = resize,
};
