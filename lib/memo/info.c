/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memo/info.c - a memo's counters, and clearing it. */
#include "memo/memo.h"

static void read_counters(hapax_memo *memo, struct hpx_room *room, uint64_t counters[HPX_ROOM_COUNTERS])
{
	for (unsigned i = 0; i < HPX_ROOM_COUNTERS; i++)
		/* order: -> ROOM.COUNT acquire */
		counters[i] = room ? hpx_load_acquire(&room->counters[i])
				   : hpx_counters_sum(&memo->cache->counters, hpx_memo_counter(i));
}

static uint64_t entries_of(hapax_memo *memo, struct hpx_room *room)
{
	uint64_t in, out;

	if (memo->none)
		return 0; /* whoever holds them, nothing is ever found */
	/* order: ROOM.POPULATION acquire; what is read afterwards has been counted before */
	if (room)
		return hpx_load_acquire(&room->population) / HPX_ROOM_ONE - 1;
	if (memo->owned)
		return hpx_load_acquire(&memo->rooms.entries);
	out = hpx_counters_sum(&memo->cache->counters, HPX_CACHE_OUT);
	in = hpx_counters_sum(&memo->cache->counters, HPX_CACHE_IN);
	return in > out ? in - out : 0;
}

/* ---- info and clear ---------------------------------------------------------------------------------------------- */

static void lock(hapax_memo *memo) { pthread_mutex_lock(&memo->cache->tier->lock); }

static void unlock(hapax_memo *memo)
{
	if (hpx_tier_unlock(memo->cache))
		hpx_tier_settle(memo->cache);
}

static uint64_t since(uint64_t now, uint64_t then) { return now > then ? now - then : 0; }

static void fill(hapax_memo *memo, struct hpx_room *room, const uint64_t counters[HPX_ROOM_COUNTERS], uint64_t entries,
		 hapax_memo_info *info)
{
	const uint64_t *begun = room ? room->begun : memo->begun;
	uint64_t n[HPX_ROOM_COUNTERS];
	const uint64_t *waited = &n[HPX_ROOM_WAITED - HPX_ROOM_NOTHING]; /* the same for those that waited before */

	for (unsigned i = 0; i < HPX_ROOM_COUNTERS; i++)
		n[i] = since(counters[i], begun[i]);
	info->hits = n[HPX_ROOM_HITS];
	info->failed = n[HPX_ROOM_FAILED] + waited[HPX_ROOM_FAILED];
	info->computed = n[HPX_ROOM_COMPUTED] + waited[HPX_ROOM_COMPUTED] + info->failed;
	info->waits = waited[HPX_ROOM_NOTHING] + waited[HPX_ROOM_COMPUTED] + waited[HPX_ROOM_FAILED];
	info->misses = n[HPX_ROOM_NOTHING] + waited[HPX_ROOM_NOTHING] + info->computed;
	/* the dying are counted until their deaths have come round to it; no more can be there than were computed */
	info->entries = entries < info->computed - info->failed ? entries : info->computed - info->failed;
}

static int check_info(hapax_memo *memo, const void *owner, const hapax_memo_info *info)
{
	if (!memo)
		return HAPAX_ENULL;
	if (info && info->size != sizeof(*info))
		return HAPAX_EOPTSIZE;
	return owner ? hpx_memo_check_owner(memo, owner) : 0;
}

static void prepare_info(const hapax_memo *memo, hapax_memo_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	info->capacity = memo->capacity;
}

int hapax_memo_info_get(hapax_memo *memo, void *owner, hapax_memo_info *info)
{
	HPX_CACHE_STAY stay = {.cache = NULL};
	uint64_t counters[HPX_ROOM_COUNTERS], entries;
	struct hpx_room *room = NULL;
	int rc = info ? check_info(memo, owner, info) : HAPAX_ENULL;

	if (rc)
		return rc;
	rc = hpx_cache_stay(&stay, memo->cache, HPX_CACHE_CLOSED);
	if (rc)
		return rc;
	if (owner)
		room = hpx_memo_room(memo, owner);
	prepare_info(memo, info);
	info->owners = room ? 1 : memo->owned && !owner ? hpx_ident_size(memo->owners) : 0;
	if (owner && !room)
		return 0;
	lock(memo);
	entries = entries_of(memo, room);
	read_counters(memo, room, counters);
	fill(memo, room, counters, entries, info);
	unlock(memo);
	return 0;
}

static void begin_anew(uint64_t begun[HPX_ROOM_COUNTERS], const uint64_t counters[HPX_ROOM_COUNTERS])
{
	for (unsigned i = 0; i < HPX_ROOM_COUNTERS; i++)
		begun[i] = begun[i] > counters[i] ? begun[i] : counters[i];
}

/* Every owner's counters begin with what they were before the clear (mark), once it is over. Of several clears at once all begin
 * with what the last one read: none of them returns before that, and what was counted between is removed by that one. */
static void each_room(hapax_memo *memo, bool mark)
{
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *o;
	struct hpx_room *room;

	if (!memo->owned)
		return;
	do {
		o = NULL;
		hpx_read_lock();
		room = hpx_ident_next(memo->owners, &cursor, &o);
		hpx_read_unlock();
		if (room) {
			lock(memo);
			if (mark)
				read_counters(memo, room, room->marked);
			else
				begin_anew(room->begun, room->marked);
			unlock(memo);
		}
		if (o)
			hpx_cache_release(memo->cache, o);
	} while (o);
}

static void let_go(struct hpx_object **o)
{
	if (*o)
		hpx_release(*o);
}

/*
 * The counters are read first and take effect last. What is in the table at the end was computed after the reading, by a load that
 * the clear has not met; so whoever looks sees at most as many entries as misses, whichever counters it finds.
 */
int hapax_memo_clear(hapax_memo *memo, void *owner, hapax_memo_info *info)
{
	__attribute__((cleanup(let_go))) struct hpx_object *held = NULL;
	HPX_CACHE_STAY stay = {.cache = NULL};
	uint64_t counters[HPX_ROOM_COUNTERS], entries;
	struct hpx_room *room = NULL;
	int rc = check_info(memo, owner, info);

	if (rc)
		return rc;
	rc = hpx_cache_stay(&stay, memo->cache, HPX_CACHE_CLOSED);
	if (rc)
		return rc;
	held = owner ? hpx_memo_hold(owner) : NULL;
	if (held)
		room = hpx_memo_room(memo, owner);
	if (info)
		prepare_info(memo, info);
	if (owner && !room)
		return 0;
	entries = entries_of(memo, room);
	read_counters(memo, room, counters);
	if (!room)
		each_room(memo, true);
	hpx_cache_clear(memo->cache, room);
	if (!room)
		each_room(memo, false);
	if (info)
		info->owners = room ? 1 : memo->owned ? hpx_ident_size(memo->owners) : 0;
	lock(memo);
	if (info)
		fill(memo, room, counters, entries, info);
	begin_anew(room ? room->begun : memo->begun, counters);
	unlock(memo);
	return 0;
}
