/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memo/check.c - the check that a memo's structures agree with each other at rest. In the testing build only. */
#include "memo/memo.h"

#ifdef HPX_TESTING
#include <hapax/testing.h>

struct found {
	uint64_t all, living, listed, stray; /* entries: all, and those of living owners */
};

/* What the table has of one room (NULL: of all). */
static void walk(hapax_memo *memo, const struct hpx_room *only, struct found *f)
{
	hapax_cache *c = memo->cache;
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *o;
	void *e;

	*f = (struct found){.all = 0};
	do {
		o = NULL;
		hpx_read_lock();
		e = hpx_table_next(c->table, &cursor, false, &o);
		if (e) {
			struct hpx_node *n = hpx_node_of(c, e);
			struct hpx_roomed *r = hpx_roomed_of(n);

			if (!only || r->room == only) {
				f->all++;
				/* order: ROOM.POPULATION, NODE.FLAGS, ROOM.WITHIN relaxed; at rest */
				f->living += !(hpx_load_relaxed(&r->room->population) & HPX_ROOM_DEAD);
				f->listed += !!(hpx_load_relaxed(&n->flags) & HPX_NODE_LISTED);
				f->stray += !hpx_load_relaxed(&r->within);
			}
		}
		hpx_read_unlock();
		if (o)
			hpx_cache_release(c, o);
	} while (e);
}

static int check_room(hapax_memo *memo, struct hpx_room *room, char *message, size_t size)
{
	uint64_t population = hpx_load_relaxed(&room->population); /* order: ROOM.POPULATION relaxed; at rest */
	struct found f;

	walk(memo, room, &f);
	if (population / HPX_ROOM_ONE == f.all + 1 && !(population & HPX_ROOM_DEAD) && room->held == f.listed)
		return 0;
	snprintf(message, size, "memo: a room of %llu units%s, %llu held: %llu entries, %llu listed",
		 (unsigned long long)(population / HPX_ROOM_ONE), population & HPX_ROOM_DEAD ? ", dead" : "",
		 (unsigned long long)room->held, (unsigned long long)f.all, (unsigned long long)f.listed);
	return -1;
}

static int check_rooms(hapax_memo *memo, char *message, size_t size)
{
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *o;
	struct hpx_room *room;
	int rc = 0;

	do {
		o = NULL;
		hpx_read_lock();
		room = hpx_ident_next(memo->owners, &cursor, &o);
		hpx_read_unlock();
		if (room)
			rc = check_room(memo, room, message, size);
		if (o)
			hpx_cache_release(memo->cache, o);
	} while (o && !rc);
	return rc;
}

int hapax_testing_check_memo(hapax_memo *memo, char *message, size_t size)
{
	uint64_t entries;
	struct found f;

	if (hapax_testing_check_cache(memo->cache, message, size))
		return -1;
	if (!memo->owned)
		return 0;
	if (hpx_ident_check(memo->owners, message, size) || check_rooms(memo, message, size))
		return -1;
	walk(memo, NULL, &f);
	entries = hpx_load_relaxed(&memo->rooms.entries); /* order: ROOM.POPULATION relaxed; at rest */
	if (f.living == entries && !f.stray)
		return 0;
	snprintf(message, size, "memo: %llu entries of living owners, counted %llu; %llu not within their room",
		 (unsigned long long)f.living, (unsigned long long)entries, (unsigned long long)f.stray);
	return -1;
}
#endif
