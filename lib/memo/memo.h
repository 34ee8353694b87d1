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

#endif
