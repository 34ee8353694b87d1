/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/iter.c - hapax_iter: a cursor that holds its table, one pinned object, and a copy of one key.
 */
#include <errno.h>

#include "object/trace.h"
#include "table/core.h"

struct hapax_iter {
	struct hpx_table *table;
	struct hpx_cursor cursor;
	struct hpx_object *pinned;
	void *key;
	size_t room;
	bool over;
};

int hpx_iter_open(struct hpx_table *t, hapax_iter **out)
{
	hapax_iter *iter;

	*out = NULL;
	hpx_thread_ready();
	iter = hpx_alloc(t->env, sizeof(*iter), 16);
	if (!iter)
		return HAPAX_ENOMEM;
	hpx_table_hold(t);
	iter->table = t;
	*out = iter;
	return 0;
}

static bool make_room(hapax_iter *iter, size_t size)
{
	size_t room = size < 64 ? 64 : size + size / 2;
	void *key = hpx_alloc(iter->table->env, room, 16);

	if (!key)
		return false;
	if (iter->key)
		hpx_free(iter->table->env, iter->key, iter->room, 16);
	iter->key = key;
	iter->room = room;
	return true;
}

static __thread struct hpx_object *kept_too_long; /* ITERATOR_PINS_TWO */

static void unpin(hapax_iter *iter)
{
	struct hpx_object *object = iter->pinned;

	iter->pinned = NULL;
	if (HPX_BROKEN(ITERATOR_PINS_TWO)) {
		struct hpx_object *now = object;

		object = kept_too_long;
		kept_too_long = now;
	}
	if (object)
		hpx_release(object);
}

#define NEXT_HIDDEN 100 /* one that is passed over; released by next() */

/* One step. HAPAX_ENOMEM: the key needs *need bytes of room; the cursor has not moved. */
static int next(hapax_iter *iter, hapax_key *key, size_t *need)
{
	struct hpx_table *t = iter->table;
	struct hpx_cursor cursor = iter->cursor;
	struct hpx_object *object = NULL;
	bool hidden = false;
	void *e = NULL;
	int status = 0;

	hpx_read_lock();
	if (!hpx_load_acquire(&t->ended)) /* order: -> TABLE.ENDED acquire */
		e = hpx_table_next(t, &cursor, false, &object);
	hidden = e && t->hidden && t->hidden(t->collected_ctx, e, object);
	if (hidden) {
		status = NEXT_HIDDEN;
		iter->cursor = cursor;
	} else if (!e) {
		status = HAPAX_EMPTY;
	} else if (key) {
		*key = hpx_table_key(iter->table, e);
		*need = key->size;
		if (key->size > iter->room || !iter->key)
			status = HAPAX_ENOMEM;
		else if (key->size > 0)
			memcpy(iter->key, key->data, key->size);
		key->data = iter->key;
	}
	hpx_read_unlock();
	if (status == 0) {
		iter->cursor = cursor;
		iter->pinned = object;
	} else if (object) {
		hpx_release(object);
	}
	return status;
}

int hapax_iter_next(hapax_iter *iter, hapax_key *key, void **object)
{
	int saved = errno, status = HAPAX_EMPTY;
	size_t need;

	if (object)
		*object = NULL;
	if (key)
		*key = hapax_key_bytes(NULL, 0);
	if (!iter)
		return HAPAX_ENULL;
	unpin(iter);
	while (!iter->over) {
		status = next(iter, key, &need);
		if (status != NEXT_HIDDEN && (status != HAPAX_ENOMEM || !make_room(iter, need)))
			break;
	}
	if (status == HAPAX_EMPTY)
		iter->over = true;
	if (status == 0 && object)
		*object = hpx_payload(iter->pinned);
	HPX_TAKEN(status == 0 ? hpx_payload(iter->pinned) : NULL);
	if (HPX_BROKEN(ITERATOR_PINS_NONE))
		unpin(iter);
	if (status && key)
		*key = hapax_key_bytes(NULL, 0);
	errno = saved;
	return status;
}

void hapax_iter_close(hapax_iter *iter)
{
	hapax_env *env;

	if (!iter)
		return;
	unpin(iter);
	if (HPX_BROKEN(ITERATOR_PINS_TWO))
		unpin(iter);
	env = iter->table->env;
	if (iter->key)
		hpx_free(env, iter->key, iter->room, 16);
	hpx_env_hold(env);
	hpx_table_drop(iter->table);
	hpx_free(env, iter, sizeof(*iter), 16);
	hpx_env_drop(env);
}
