/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memo/memo.h - a memo, for the files of its layer. */
#ifndef HPX_MEMO_H
#define HPX_MEMO_H

#include <hapax/memo.h>

#include "memo/rooms.h"
#include "table/ident.h"

struct hapax_memo {
	/* what a hit reads */
	hapax_cache *cache;
	hapax_env *env;
	bool owned, typed;
	bool none; /* capacity 0: nothing is ever found */

	hapax_memo_fn compute;
	hapax_memo_make_fn make;
	void *ctx;
	int64_t capacity;
	struct hpx_ident *owners; /* their rooms; NULL: no owners */
	uint64_t begun[HPX_ROOM_COUNTERS]; /* counters at the last clear; under the tier's lock */
	hpx_u32 ended;
	struct hpx_rooms rooms;
	struct hpx_client client;
};

/* The counter of the cache's that counts for the whole memo what this one counts in a room. */
static inline unsigned hpx_memo_counter(unsigned which)
{
	return which == HPX_ROOM_HITS ? HPX_CACHE_HITS : HPX_CACHE_CLIENTS + which - HPX_ROOM_NOTHING;
}

/* Is the owner given as it has to be? */
static inline int hpx_memo_check_owner(const hapax_memo *memo, const void *owner)
{
	if (memo->owned)
		return owner ? 0 : HAPAX_ENULL;
	return owner ? HAPAX_EOPTION : 0;
}

/* ---- owner.c ----------------------------------------------------------------------------------------------------- */

extern const struct hpx_ident_ops hpx_memo_owner_ops;
/* The memo's end; the owner is alive. */
void hpx_memo_owner_left(void *value, void *ctx);
/* In a section: the owner of a room with a reference, or NULL: it has died. */
struct hpx_object *hpx_memo_room_keeper(struct hpx_room *room);
/* Can it be an owner: 0, HAPAX_ENOTWEAK, HAPAX_EFOREIGN, HAPAX_EDEAD. */
int hpx_memo_fit_owner(const hapax_memo *memo, struct hpx_object *o);
/* The room of a live owner, which its holder keeps; NULL: it has none. */
struct hpx_room *hpx_memo_room(hapax_memo *memo, void *owner);
/* The same, made if there is none; `o`, held, has a side record. */
int hpx_memo_room_get(hapax_memo *memo, struct hpx_object *o, uint64_t deadline, struct hpx_room **out);
/* The identity of an owner, made if it has none; outside sections. */
int hpx_memo_identify(hapax_memo *memo, void *owner, uint64_t deadline, struct hpx_side **side);
/* A reference to the owner, or NULL: its death has begun. */
struct hpx_object *hpx_memo_hold(void *owner);

/* ---- call.c ------------------------------------------------------------------------------------------------------ */

int hpx_memo_run_compute(void *result, const hapax_key *key, void *arg, hapax_load_error *error);
int hpx_memo_run_make(void **result, const hapax_key *key, void *arg, hapax_load_error *error);
/* Of the load whose argument this is: its room; its result is about to be found. */
struct hpx_room *hpx_memo_room_by_arg(void *arg);
void hpx_memo_count_result(void *arg);

#endif
