/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/weak_map.c - hapax/weak_map.h: data attached to objects. ident.c holds it; here it is objects, each held by one reference.
 *
 * Whoever takes data out of the map releases it, outside sections and locks, as the last thing that it does with the map: the
 * destructor that runs then may call the map, or destroy it. Whoever finds data in a section takes a reference there; if that
 * fails the data has died, so somebody has taken it out just now, and there may be other data in its place: it looks again.
 */
#include <errno.h>

#include <hapax/weak_map.h>

#include "object/trace.h"
#include "table/ident.h"
#ifdef HPX_TESTING
#include <hapax/testing.h>
#endif

struct hapax_weak_map {
	struct hpx_ident *core;
	hapax_env *env;
	hpx_u64 pop_from; /* where pop_any last found something */
	char name[32];
};

struct hapax_weak_map_iter {
	struct hpx_ident *core;
	hapax_env *env;
	struct hpx_cursor cursor;
	struct hpx_object *key, *data; /* pinned */
	bool over;
};

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void release_data(void *value, void *ctx)
{
	(void)ctx;
	hpx_release(value);
}

static struct hpx_object *kept(void *value) { return hpx_take(value) ? value : NULL; }

static int create(hapax_weak_map **out, hapax_env *env, size_t capacity, const char *name)
{
	static const struct hpx_ident_ops ops = {.died = release_data, .kept = kept};
	hapax_weak_map *map = hpx_alloc(env, sizeof(*map), 16);
	int status;

	if (!map)
		return HAPAX_ENOMEM;
	status = hpx_ident_new(&map->core, env, capacity, &ops, NULL);
	if (status) {
		hpx_free(env, map, sizeof(*map), 16);
		return status;
	}
	map->env = env;
	for (size_t i = 0; i + 1 < sizeof(map->name) && name[i]; i++)
		map->name[i] = name[i];
	hpx_ident_named(map->core, map->name);
	hpx_env_hold(env);
	*out = map;
	return 0;
}

int hapax_weak_map_create(hapax_weak_map **out, const hapax_weak_map_options *options)
{
	static const hapax_weak_map_options defaults = {HAPAX_WEAK_MAP_OPTIONS_INIT};
	int saved = errno, status;
	hapax_env *env;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!options)
		options = &defaults;
	if (options->size != sizeof(*options))
		return HAPAX_EOPTSIZE;
	if (options->flags)
		return HAPAX_EFLAGS;
	hpx_thread_ready();
	env = hpx_env_or_default(options->env);
	if (!env)
		return HAPAX_ENOMEM;
	status = create(out, env, options->capacity, options->name ? options->name : "weak map");
	errno = saved;
	return status;
}

static void free_map(hapax_weak_map **given)
{
	hapax_weak_map *map = *given;
	hapax_env *env;

	if (!map)
		return;
	env = map->env;
	hpx_free(env, map, sizeof(*map), 16);
	hpx_env_drop(env);
}

void hapax_weak_map_destroy(hapax_weak_map *map)
{
	hapax_weak_map *owned __attribute__((cleanup(free_map))) = map; /* also when a destructor leaves its thread */
	int saved = errno;

	if (map)
		hpx_ident_end(map->core, release_data, NULL);
	errno = saved;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* 0, or why this cannot be a key of the map. */
static int key_of(hapax_weak_map *map, void *key, struct hpx_object **o)
{
	if (HPX_UNLIKELY(!map || !key))
		return HAPAX_ENULL;
	*o = hpx_object_of(key);
	return hpx_ident_acceptable(map->core, *o);
}

static void let_go(struct hpx_ident **core) { hpx_ident_drop(*core); }
/* For calls that go on after user code which may destroy the map: from then on they look at this only. */
#define KEEP_CORE(core_, map_)                                                                                        \
	struct hpx_ident *core_ __attribute__((cleanup(let_go))) = (map_)->core;                                      \
	hpx_ident_hold(core_)

/* In a section: the data of a held object with a reference, or NULL: also if it cannot have one more, as in weak tables. */
static struct hpx_object *find_and_take(struct hpx_ident *core, struct hpx_object *o)
{
	struct hpx_object *data;

	do {
		data = hpx_ident_find(core, o);
		HPX_STOP("get.found");
		if (!data || HPX_LIKELY(hpx_take(data)))
			return data;
	} while (hpx_dead(data));
	return NULL;
}

int hapax_weak_map_get(hapax_weak_map *map, void *key, void **data)
{
	struct hpx_object *o, *found;
	int status;

	if (HPX_UNLIKELY(!data))
		return HAPAX_ENULL;
	*data = NULL;
	status = key_of(map, key, &o);
	if (HPX_UNLIKELY(status))
		return status;
	hpx_read_lock();
	found = find_and_take(map->core, o);
	hpx_read_unlock();
	if (!found)
		return HAPAX_MISS;
	*data = hpx_payload(found);
	HPX_TAKEN(*data);
	return 0;
}

int hapax_weak_map_contains(hapax_weak_map *map, void *key)
{
	struct hpx_object *o;
	int status = key_of(map, key, &o);

	if (status)
		return status;
	hpx_read_lock();
	status = hpx_ident_find(map->core, o) != NULL;
	hpx_read_unlock();
	return status;
}

size_t hapax_weak_map_size(hapax_weak_map *map)
{
	return map ? hpx_ident_size(map->core) : 0;
}

/* ---- putting ----------------------------------------------------------------------------------------------------- */

/* 0, with references for the map and, `more`, for the caller. */
static int keep_data(hapax_env *env, void *data, bool more)
{
	struct hpx_object *d = hpx_object_of(data);
	int status;

	if (hpx_dead(d))
		return HAPAX_EDEAD;
	if (hpx_class_of(d)->env != env)
		return HAPAX_EFOREIGN;
	status = hpx_retain(d);
	if (!status && more) {
		status = hpx_retain(d);
		if (status)
			hpx_release(d);
	}
	return status;
}

/* The map is not looked at: what is released last may destroy it. */
static int put(struct hpx_ident *core, hapax_env *env, struct hpx_object *key, void *data)
{
	int saved = errno, status = keep_data(env, data, false);
	void *old;

	if (status)
		return status;
	status = hpx_ident_put(core, key, hpx_object_of(data), true, &old);
	errno = saved;
	if (status)
		old = hpx_object_of(data);
	if (old)
		hpx_release(old);
	return status;
}

int hapax_weak_map_put(hapax_weak_map *map, void *key, void *data)
{
	struct hpx_object *o;
	int status;

	if (!data)
		return HAPAX_ENULL;
	status = key_of(map, key, &o);
	return status ? status : put(map->core, map->env, o, data);
}

int hapax_weak_map_get_or_put(hapax_weak_map *map, void *key, void *data, void **out, bool *inserted)
{
	int saved = errno, status;
	struct hpx_object *o;
	void *old = NULL;

	if (inserted)
		*inserted = false;
	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!data)
		return HAPAX_ENULL;
	status = key_of(map, key, &o);
	if (!status)
		status = keep_data(map->env, data, true);
	if (status)
		return status;
	for (;;) {
		bool taken, dead;

		status = hpx_ident_put(map->core, o, hpx_object_of(data), false, &old);
		if (status || !old)
			break;
		HPX_STOP("get.found");
		taken = hpx_take(old);
		dead = !taken && hpx_dead(old);
		hpx_read_unlock();
		if (!taken && !dead)
			status = HAPAX_EOVERFLOW;
		if (!dead)
			break;
	}
	errno = saved;
	if (!status && !old) {
		*out = data;
		if (inserted)
			*inserted = true;
		HPX_TAKEN(*out);
		return 0;
	}
	if (!status)
		*out = hpx_payload(old);
	hpx_release(hpx_object_of(data)); /* the map's, and what *out would have had; the caller has one yet */
	hpx_release(hpx_object_of(data));
	return HPX_TAKEN_OUT(status, out);
}

/* ---- taking out -------------------------------------------------------------------------------------------------- */

int hapax_weak_map_remove(hapax_weak_map *map, void *key)
{
	struct hpx_object *o, *data;
	int status = key_of(map, key, &o);

	if (status)
		return status;
	data = hpx_ident_take(map->core, o);
	if (!data)
		return HAPAX_MISS;
	hpx_release(data);
	return 0;
}

int hapax_weak_map_pop(hapax_weak_map *map, void *key, void **data)
{
	struct hpx_object *o, *taken;
	int status;

	if (!data)
		return HAPAX_ENULL;
	*data = NULL;
	status = key_of(map, key, &o);
	if (status)
		return status;
	taken = hpx_ident_take(map->core, o);
	if (!taken)
		return HAPAX_MISS;
	*data = hpx_payload(taken);
	HPX_TAKEN(*data);
	return 0;
}

/* The next entry, taken out: its key, held; NULL: the end. Keys that somebody else takes out meanwhile are passed over. */
static struct hpx_object *take_next(struct hpx_ident *core, struct hpx_cursor *cursor, struct hpx_object **data)
{
	struct hpx_object *key;
	bool more;

	for (;;) {
		hpx_read_lock();
		more = hpx_ident_next(core, cursor, &key) != NULL;
		hpx_read_unlock();
		if (!more)
			return NULL;
		*data = hpx_ident_take(core, key);
		if (*data)
			return key;
		hpx_release(key);
	}
}

int hapax_weak_map_pop_any(hapax_weak_map *map, void **key, void **data)
{
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *o, *taken;
	bool wrapped;

	if (key)
		*key = NULL;
	if (data)
		*data = NULL;
	if (!map || !key || !data)
		return HAPAX_ENULL;
	KEEP_CORE(core, map);
	cursor.hash = hpx_load_relaxed(&map->pop_from); /* order: relaxed; a place to begin */
	wrapped = cursor.hash == 0;
	o = take_next(core, &cursor, &taken);
	if (!o && !wrapped) {
		cursor = (struct hpx_cursor){0, 0};
		o = take_next(core, &cursor, &taken);
	}
	if (!o)
		return HAPAX_EMPTY;
	if (!hpx_ident_ended(core))
		hpx_store_relaxed(&map->pop_from, cursor.hash); /* order: relaxed; a place to begin */
	*key = hpx_payload(o);
	*data = hpx_payload(taken);
	HPX_TAKEN(*key);
	HPX_TAKEN(*data);
	return 0;
}

/* One pass in hash order: what is put behind the cursor stays, and the pass ends whatever is put, and by destructors. */
void hapax_weak_map_clear(hapax_weak_map *map)
{
	struct hpx_cursor cursor = {0, 0};
	struct hpx_object *key, *data;

	if (!map)
		return;
	KEEP_CORE(core, map);
	while ((key = take_next(core, &cursor, &data)) != NULL) {
		hpx_release(data);
		hpx_release(key);
	}
}

/* ---- iterators --------------------------------------------------------------------------------------------------- */

int hapax_weak_map_iterate(hapax_weak_map *map, hapax_weak_map_iter **out)
{
	int saved = errno;
	hapax_weak_map_iter *iter;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!map)
		return HAPAX_ENULL;
	hpx_thread_ready();
	iter = hpx_alloc(map->env, sizeof(*iter), 16);
	errno = saved;
	if (!iter)
		return HAPAX_ENOMEM;
	hpx_ident_hold(map->core);
	hpx_env_hold(map->env);
	iter->core = map->core;
	iter->env = map->env;
	*out = iter;
	return 0;
}

static void unpin(hapax_weak_map_iter *iter)
{
	struct hpx_object *key = iter->key, *data = iter->data;

	iter->key = iter->data = NULL;
	if (data)
		hpx_release(data);
	if (key)
		hpx_release(key);
}

/* The next entry, pinned; false: the end. */
static bool pin_next(hapax_weak_map_iter *iter)
{
	struct hpx_object *key, *data;
	bool more;

	for (;;) {
		hpx_read_lock();
		more = !hpx_ident_ended(iter->core) && hpx_ident_next(iter->core, &iter->cursor, &key);
		data = more ? find_and_take(iter->core, key) : NULL;
		hpx_read_unlock();
		if (!more)
			return false;
		if (data) {
			iter->key = key;
			iter->data = data;
			return true;
		}
		hpx_release(key); /* taken out meanwhile */
	}
}

int hapax_weak_map_next(hapax_weak_map_iter *iter, void **key, void **data)
{
	if (key)
		*key = NULL;
	if (data)
		*data = NULL;
	if (!iter)
		return HAPAX_ENULL;
	unpin(iter);
	if (!iter->over)
		iter->over = !pin_next(iter);
	if (iter->over)
		return HAPAX_EMPTY;
	if (key)
		*key = hpx_payload(iter->key);
	if (data)
		*data = hpx_payload(iter->data);
	HPX_TAKEN(hpx_payload(iter->key));
	HPX_TAKEN(hpx_payload(iter->data));
	return 0;
}

void hapax_weak_map_close(hapax_weak_map_iter *iter)
{
	hapax_env *env;

	if (!iter)
		return;
	unpin(iter);
	env = iter->env;
	hpx_ident_drop(iter->core);
	hpx_free(env, iter, sizeof(*iter), 16);
	hpx_env_drop(env);
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

int hapax_weak_map_copy(hapax_weak_map *target, hapax_weak_map *source, size_t *copied)
{
	HPX_TAKES_NOTHING;
	hapax_weak_map_iter *iter;
	void *key, *data;
	hapax_env *env;
	int status;

	if (copied)
		*copied = 0;
	if (!target || !source)
		return HAPAX_ENULL;
	if (target == source)
		return 0;
	KEEP_CORE(core, target);
	env = target->env;
	status = hapax_weak_map_iterate(source, &iter);
	if (status)
		return status;
	while ((status = hapax_weak_map_next(iter, &key, &data)) == 0) {
		status = hpx_ident_acceptable(core, hpx_object_of(key));
		if (!status)
			status = put(core, env, hpx_object_of(key), data);
		if (status)
			break;
		if (copied)
			++*copied;
	}
	hapax_weak_map_close(iter);
	return status == HAPAX_EMPTY ? 0 : status;
}

int hapax_weak_map_snapshot(hapax_weak_map *source, hapax_weak_map **out)
{
	hapax_weak_map *target;
	int saved = errno, status;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!source)
		return HAPAX_ENULL;
	hpx_thread_ready();
	status = create(&target, source->env, hapax_weak_map_size(source), source->name);
	if (!status) {
		status = hapax_weak_map_copy(target, source, NULL);
		if (status)
			hapax_weak_map_destroy(target);
		else
			*out = target;
	}
	errno = saved;
	return status;
}

/* ---- testing ----------------------------------------------------------------------------------------------------- */

#ifdef HPX_TESTING
int hapax_testing_check_weak_map(hapax_weak_map *map, char *message, size_t size)
{
	return hpx_ident_check(map->core, message, size);
}
#endif
