/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/leak.c - tables in leak reports: the list of those that have names, and their entries.
 *
 * The list is in the order of numbers that are never used again, newest first. A report goes from number to number, holding
 * one table at a time and no lock: tables may be created and ended meanwhile, also by what it calls.
 */
#include <pthread.h>

#include "object/leak.h"
#include "table/core.h"

/* Changed under the lock, which a forking thread takes. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hpx_table *first;
static uint64_t last_number;

void hpx_table_named(struct hpx_table *t, const char *name,
		     void (*known)(void *ctx, void *e, struct hpx_object *o, struct hpx_leak_entry *entry))
{
	for (size_t i = 0; i + 1 < sizeof(t->name) && name[i]; i++)
		t->name[i] = name[i];
	t->known = known;
	pthread_mutex_lock(&list_lock);
	t->named = ++last_number;
	t->named_next = first;
	first = t;
	pthread_mutex_unlock(&list_lock);
}

void hpx_table_unnamed(struct hpx_table *t)
{
	struct hpx_table **link = &first;

	pthread_mutex_lock(&list_lock);
	if (t->named) {
		while (*link != t)
			link = &(*link)->named_next;
		*link = t->named_next;
		t->named = 0;
	}
	pthread_mutex_unlock(&list_lock);
}

/* The newest table of `env` that is older than number `before`, held; NULL: there is none. */
static struct hpx_table *next_table(hapax_env *env, uint64_t *before)
{
	struct hpx_table *t;

	pthread_mutex_lock(&list_lock);
	t = first;
	while (t && (t->env != env || t->named >= *before))
		t = t->named_next;
	if (t) {
		*before = t->named;
		hpx_table_hold(t);
	}
	pthread_mutex_unlock(&list_lock);
	return t;
}

/* One entry: what is in it, with references, and its key. */
struct look {
	struct hpx_table *table;
	struct hpx_cursor cursor;
	struct hpx_object *object;
	struct hpx_leak_entry entry;
	hapax_key key;
	void *room;
	size_t size;
};

static void drop_entry(struct look *look)
{
	struct hpx_object *held[] = {look->object, look->entry.kept, look->entry.keeper};

	look->object = look->entry.kept = look->entry.keeper = NULL;
	for (unsigned i = 0; i < sizeof(held) / sizeof(*held); i++)
		if (held[i])
			hpx_release(held[i]);
}

/* The next one: true; its key is not there yet when it is larger than the room: the cursor has not moved. */
static bool next_entry(struct look *look)
{
	struct hpx_table *t = look->table;
	struct hpx_cursor cursor = look->cursor;
	void *e = NULL;

	look->entry = (struct hpx_leak_entry){.held = false};
	hpx_read_lock();
	if (!hpx_load_acquire(&t->ended)) /* order: -> TABLE.ENDED acquire */
		e = hpx_table_next(t, &cursor, false, &look->object);
	if (e) {
		look->key = hpx_table_key(t, e);
		if (t->known)
			t->known(t->collected_ctx, e, look->object, &look->entry);
		if (look->key.size <= look->size) {
			if (look->key.size)
				memcpy(look->room, look->key.data, look->key.size);
			look->key.data = look->room;
			look->cursor = cursor;
		}
	}
	hpx_read_unlock();
	return e != NULL;
}

static int make_room(struct look *look)
{
	size_t size = look->key.size + look->key.size / 2 + 64;
	void *room;

	if (look->key.size <= look->size)
		return 0;
	room = hpx_alloc(look->table->env, size, 16);
	if (!room)
		return HAPAX_ENOMEM;
	if (look->room)
		hpx_free(look->table->env, look->room, look->size, 16);
	look->room = room;
	look->size = size;
	return 0;
}

static int add(struct hpx_leaks *l, struct hpx_object **o, struct hpx_leak_found found)
{
	found.object = *o;
	*o = NULL;
	return found.object ? hpx_leaks_add(l, &found) : 0;
}

/* Sets have their members under their own address. */
static bool is_address(const hapax_key *key, struct hpx_object *o)
{
	void *payload = hpx_payload(o);

	return key->size == sizeof(payload) && !memcmp(key->data, &payload, sizeof(payload));
}

static int add_entry(struct hpx_leaks *l, struct look *look)
{
	struct hpx_leak_entry *entry = &look->entry;
	hapax_key key = hapax_key_bytes((const char *)look->key.data + entry->skip, look->key.size - entry->skip);
	bool keyless = entry->keyless || is_address(&look->key, look->object);
	const char *name = look->table->name;
	struct hpx_object *object = look->object, *keeper = entry->keeper;
	int status = add(l, &look->object,
			 (struct hpx_leak_found){.keeper = keeper, .holder = name, .key = keyless ? NULL : &key,
						 .held = entry->held, .hidden = entry->hidden});

	if (!status)
		status = add(l, &entry->kept, (struct hpx_leak_found){.keeper = object, .holder = name, .held = true});
	if (!status)
		status = add(l, &entry->keeper, (struct hpx_leak_found){.holder = NULL});
	return status;
}

static void look_end(struct look *look)
{
	drop_entry(look);
	if (look->room)
		hpx_free(look->table->env, look->room, look->size, 16);
	hpx_table_drop(look->table);
}

static int look_through(struct hpx_table *t, struct hpx_leaks *l)
{
	struct look look __attribute__((cleanup(look_end))) = {.table = t};
	int status = 0;

	while (!status && next_entry(&look)) {
		if (look.key.data == look.room && look.key.size <= look.size) {
			status = add_entry(l, &look);
		} else {
			drop_entry(&look);
			status = make_room(&look);
		}
	}
	return status;
}

static int look_through_all(hapax_env *env, struct hpx_leaks *l)
{
	uint64_t before = UINT64_MAX;
	struct hpx_table *t;
	int status = 0;

	while (!status && (t = next_table(env, &before)) != NULL)
		status = look_through(t, l);
	return status;
}

static void lock_list(void) { pthread_mutex_lock(&list_lock); }

static void unlock_list(void) { pthread_mutex_unlock(&list_lock); }

__attribute__((constructor)) static void register_tables(void)
{
	hpx_leak_add_source(look_through_all);
	hpx_fork_hook(HPX_FORK_BEFORE, lock_list);
	hpx_fork_hook(HPX_FORK_PARENT, unlock_list);
	hpx_fork_hook(HPX_FORK_LOCKS, unlock_list); /* its own thread has taken it */
}
