/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/weak_table.c - hapax/table.h over the internal table: every entry is a record registered with its object.
 *
 * The size is what was put in minus what was taken out, by striped counters; whoever sets GONE counts it out.
 */
#include <errno.h>

#include "table/core.h"
#include "table/lookup.h"
#include "object/trace.h"
#ifdef HPX_TESTING
#include <hapax/testing.h>
#endif

enum { COUNT_IN, COUNT_OUT };

struct hapax_table {
	struct hpx_table *core;
	hapax_env *env;
	struct hpx_counters counters;
	hpx_u64 pop_from; /* where pop_any last found something */
	hapax_key_ops keys;
	char name[32];
	struct hpx_deferred deferred;
};

/* ---- life ---------------------------------------------------------------------------------------------------- */

static void taken_out(void *e, uint64_t word, void *ctx)
{
	(void)word;
	hpx_count(&((hapax_table *)ctx)->counters, COUNT_OUT, 1);
	hpx_record_finish(e);
}

static void collected(void *ctx, struct hpx_record *r, uint64_t before)
{
	if (!(before & HPX_W_GONE))
		taken_out(r, before, ctx);
}

static void met_dead(void *ctx, struct hpx_record *r)
{
	/* order: TABLE.GONE -> acq_rel; as hpx_table_claim: its death is told that it was accounted for */
	collected(ctx, r, hpx_or_acq_rel(hpx_word(r), HPX_W_GONE));
}

static int create(hapax_table **out, hapax_env *env, const hapax_key_ops *keys, size_t capacity, const char *name)
{
	struct hpx_table_config config = {.env = env, .keys = *keys, .capacity = capacity};
	hapax_table *table = hpx_alloc(env, sizeof(*table), HPX_CACHE_LINE);
	int status;

	if (!table)
		return HAPAX_ENOMEM;
	status = hpx_table_new(&table->core, &config);
	if (status) {
		hpx_free(env, table, sizeof(*table), HPX_CACHE_LINE);
		return status;
	}
	table->env = env;
	table->keys = *keys;
	for (size_t i = 0; i + 1 < sizeof(table->name) && name[i]; i++)
		table->name[i] = name[i];
	hpx_counters_init(&table->counters, env);
	hpx_table_on_collect(table->core, collected, table);
	hpx_table_on_met_dead(table->core, met_dead);
	hpx_table_named(table->core, table->name, NULL);
	hpx_env_hold(env);
	*out = table;
	return 0;
}

int hapax_table_create(hapax_table **out, const hapax_table_options *options)
{
	static const hapax_table_options defaults = {HAPAX_TABLE_OPTIONS_INIT};
	int saved = errno, status;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!options)
		options = &defaults;
	if (options->size != sizeof(*options))
		return HAPAX_EOPTSIZE;
	if (options->flags)
		return HAPAX_EFLAGS;
	if (options->keys.release && !options->keys.borrow)
		return HAPAX_EOPTION;
	hpx_thread_ready();
	hapax_env *env = hpx_env_or_default(options->env);

	if (!env)
		return HAPAX_ENOMEM;
	status = create(out, env, &options->keys, options->capacity, options->name ? options->name : "table");
	errno = saved;
	return status;
}

static void free_table(struct hpx_deferred *d)
{
	hapax_table *table = HPX_CONTAINER_OF(d, hapax_table, deferred);
	hapax_env *env = table->env;

	hpx_counters_fini(&table->counters);
	hpx_free(env, table, sizeof(*table), HPX_CACHE_LINE);
	hpx_env_drop(env);
}

void hapax_table_destroy(hapax_table *table)
{
	if (!table)
		return;
	hpx_thread_ready();
	hpx_table_end(table->core, taken_out, table);
	hpx_table_drop(table->core);
	/* A death that lost the race for its entry may still be in a section here. */
	hpx_retire(table->env, &table->deferred, sizeof(*table), free_table);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

int hapax_table_get(hapax_table *table, hapax_key key, void **out)
{
	struct hpx_object *object = NULL;
	uint64_t h;
	bool far;
	void *e;
	int status;

	if (HPX_UNLIKELY(!out))
		return HAPAX_ENULL;
	*out = NULL;
	if (HPX_UNLIKELY(!table))
		return HAPAX_ENULL;
	status = hpx_table_hash_fast(table->core, &key, &h);
	if (HPX_UNLIKELY(status))
		return status;
	hpx_read_lock();
	e = hpx_table_find(table->core, h, &key, &far);
	if (HPX_LIKELY(e != NULL)) {
		HPX_STOP("get.found");
		object = hpx_entry_object(e, HPX_W_RECORD);
		if (HPX_UNLIKELY(!hpx_take(object))) {
			object = NULL;
			far = true;
		}
	}
	if (HPX_UNLIKELY(!object && far))
		object = hpx_table_lookup(table->core, h, &key, &e);
	hpx_read_unlock();
	if (!object)
		return HAPAX_MISS;
	*out = hpx_payload(object);
	HPX_TAKEN(*out);
	return 0;
}

int hapax_table_contains(hapax_table *table, hapax_key key)
{
	struct hpx_object *object;
	uint64_t h;
	int status;

	if (!table)
		return HAPAX_ENULL;
	status = hpx_table_hash_fast(table->core, &key, &h);
	if (status)
		return status;
	hpx_read_lock();
	hpx_table_seek(table->core, h, &key, false, &object);
	hpx_read_unlock();
	return object != NULL;
}

size_t hapax_table_size(hapax_table *table)
{
	uint64_t in, out;

	if (!table)
		return 0;
	out = hpx_counters_sum(&table->counters, COUNT_OUT); /* first: an estimate that is rather too large than negative */
	in = hpx_counters_sum(&table->counters, COUNT_IN);
	return in > out ? (size_t)(in - out) : 0;
}

/* ---- putting ------------------------------------------------------------------------------------------------- */

/* Is `object` one that this table may hold? */
static int acceptable(hapax_table *table, void *object)
{
	struct hpx_object *o = hpx_object_of(object);

	if (hpx_dead(o))
		return HAPAX_EDEAD;
	if (hpx_class_of(o)->type->flags & HAPAX_TYPE_NOT_WEAK)
		return HAPAX_ENOTWEAK;
	return hpx_class_of(o)->env == table->env ? 0 : HAPAX_EFOREIGN;
}

/* 0: in, or found. *found is set when something live was there (in REPLACE mode: the very same object). */
static int put(hapax_table *table, const hapax_key *key, void *object, enum hpx_put_mode mode, struct hpx_object **found)
{
	struct hpx_table *core = table->core;
	struct hpx_record *r;
	uint64_t h;
	void *entry;
	int status = acceptable(table, object);

	*found = NULL;
	if (!status)
		status = hpx_table_hash_fast(core, key, &h);
	if (status)
		return status;
	if (mode == HPX_PUT_ABSENT) {
		hpx_read_lock();
		*found = hpx_table_lookup(core, h, key, &entry);
		hpx_read_unlock();
		if (*found)
			return 0;
	}
	hpx_thread_ready();
	status = hpx_admit(table->env, HAPAX_FOREVER);
	if (!status)
		status = hpx_record_new(core, key, h, 0, hpx_object_of(object), &r);
	if (status)
		return status;
	hpx_read_lock();
	switch (hpx_table_put(core, h, key, r, mode, found, &entry, taken_out, table)) {
	case HPX_PUT_DONE:
		hpx_count(&table->counters, COUNT_IN, 1);
		break;
	case HPX_PUT_NOMEM:
		status = HAPAX_ENOMEM;
		hpx_record_discard(r);
		break;
	default:
		hpx_record_discard(r);
		break;
	}
	hpx_read_unlock();
	return status;
}

int hapax_table_put(hapax_table *table, hapax_key key, void *object)
{
	struct hpx_object *found;
	int saved = errno, status;

	if (!table || !object)
		return HAPAX_ENULL;
	status = put(table, &key, object, HPX_PUT_REPLACE, &found);
	if (found)
		hpx_release(found);
	errno = saved;
	return status;
}

int hapax_table_get_or_put(hapax_table *table, hapax_key key, void *object, void **out, bool *inserted)
{
	struct hpx_object *found;
	int saved = errno, status;

	if (inserted)
		*inserted = false;
	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!table || !object)
		return HAPAX_ENULL;
	if (hpx_dead(hpx_object_of(object)))
		return HAPAX_EDEAD;
	/* The reference that *out will own, before anything can go wrong. */
	status = hpx_retain(hpx_object_of(object));
	if (status)
		return status;
	status = put(table, &key, object, HPX_PUT_ABSENT, &found);
	errno = saved;
	if (status == 0 && !found) {
		*out = object;
		if (inserted)
			*inserted = true;
		HPX_TAKEN(*out);
		return 0;
	}
	hpx_release(hpx_object_of(object));
	if (found)
		*out = hpx_payload(found);
	return HPX_TAKEN_OUT(status, out);
}

/* ---- taking out ---------------------------------------------------------------------------------------------- */

/* Removes what is live under the key, if it is `only` (NULL: whatever it is). 0 with a reference in *out. */
static int take_out(hapax_table *table, const hapax_key *key, const void *only, struct hpx_object **out)
{
	struct hpx_object *object;
	uint64_t h, before = 0;
	int status;

	*out = NULL;
	status = hpx_table_hash_fast(table->core, key, &h);
	if (status)
		return status;
	for (;;) {
		void *e;

		hpx_read_lock();
		object = hpx_table_lookup(table->core, h, key, &e);
		if (object && (!only || hpx_payload(object) == only)) {
			HPX_STOP("remove.chosen");
			before = hpx_table_claim(table->core, e);
			if (!(before & HPX_W_GONE)) {
				taken_out(e, before, table);
				hpx_read_unlock();
				*out = object;
				return 0;
			}
			hpx_read_unlock();
			hpx_release(object); /* somebody else was first; what is there now? */
			continue;
		}
		hpx_read_unlock();
		if (object)
			hpx_release(object);
		return HAPAX_MISS;
	}
}

int hapax_table_remove(hapax_table *table, hapax_key key)
{
	struct hpx_object *object;
	int status;

	if (!table)
		return HAPAX_ENULL;
	status = take_out(table, &key, NULL, &object);
	if (object)
		hpx_release(object);
	return status;
}

int hapax_table_remove_if(hapax_table *table, hapax_key key, const void *wanted)
{
	struct hpx_object *object;
	int status;

	if (!table || !wanted)
		return HAPAX_ENULL;
	status = take_out(table, &key, wanted, &object);
	if (object)
		hpx_release(object);
	return status;
}

int hapax_table_pop(hapax_table *table, hapax_key key, void **out)
{
	struct hpx_object *object;
	int status;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!table)
		return HAPAX_ENULL;
	status = take_out(table, &key, NULL, &object);
	if (object)
		*out = hpx_payload(object);
	return HPX_TAKEN_OUT(status, out);
}

int hapax_table_pop_any(hapax_table *table, void **out)
{
	struct hpx_cursor cursor = {0, 0};
	bool wrapped;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!table)
		return HAPAX_ENULL;
	cursor.hash = hpx_load_relaxed(&table->pop_from); /* order: relaxed; a place to begin */
	wrapped = cursor.hash == 0;
	for (;;) {
		struct hpx_object *object;
		uint64_t before;
		void *e;

		hpx_read_lock();
		e = hpx_table_next(table->core, &cursor, false, &object);
		if (!e) {
			hpx_read_unlock();
			if (wrapped)
				return HAPAX_EMPTY;
			wrapped = true;
			cursor = (struct hpx_cursor){0, 0};
			continue;
		}
		HPX_STOP("remove.chosen");
		before = hpx_table_claim(table->core, e);
		if (!(before & HPX_W_GONE))
			taken_out(e, before, table);
		hpx_read_unlock();
		if (!(before & HPX_W_GONE)) {
			hpx_store_relaxed(&table->pop_from, cursor.hash); /* order: relaxed; a place to begin */
			*out = hpx_payload(object);
			HPX_TAKEN(*out);
			return 0;
		}
		hpx_release(object);
	}
}

/* One pass in hash order: what is put behind the cursor stays, and the pass ends whatever is put. */
void hapax_table_clear(hapax_table *table)
{
	struct hpx_cursor cursor = {0, 0};

	if (!table)
		return;
	for (;;) {
		struct hpx_object *object;
		uint64_t before;
		void *e;

		hpx_read_lock();
		e = hpx_table_next(table->core, &cursor, true, &object);
		if (!e) {
			hpx_read_unlock();
			return;
		}
		HPX_STOP("remove.chosen");
		before = hpx_table_claim(table->core, e);
		if (!(before & HPX_W_GONE))
			taken_out(e, before, table);
		hpx_read_unlock();
		if (object)
			hpx_release(object);
	}
}

/* ---- copies -------------------------------------------------------------------------------------------------- */

int hapax_table_iterate(hapax_table *table, hapax_iter **out)
{
	int saved = errno, status;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!table)
		return HAPAX_ENULL;
	status = hpx_iter_open(table->core, out);
	errno = saved;
	return status;
}

int hapax_table_copy(hapax_table *target, hapax_table *source, size_t *copied)
{
	HPX_TAKES_NOTHING;
	hapax_iter *iter;
	hapax_key key;
	void *object;
	int status;

	if (copied)
		*copied = 0;
	if (!target || !source)
		return HAPAX_ENULL;
	if (target == source)
		return 0;
	if (target->keys.borrow) /* nobody would own the copies of the keys */
		return HAPAX_EOPTION;
	status = hapax_table_iterate(source, &iter);
	if (status)
		return status;
	while ((status = hapax_iter_next(iter, &key, &object)) == 0) {
		status = hapax_table_put(target, key, object);
		if (status)
			break;
		if (copied)
			++*copied;
	}
	hapax_iter_close(iter);
	return status == HAPAX_EMPTY ? 0 : status;
}

int hapax_table_snapshot(hapax_table *source, hapax_table **out)
{
	hapax_key_ops keys;
	hapax_table *target;
	int saved = errno, status;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!source)
		return HAPAX_ENULL;
	keys = source->keys;
	keys.borrow = false; /* a borrowed key is released once per stored one: the snapshot has copies of its own */
	keys.release = NULL;
	hpx_thread_ready();
	status = create(&target, source->env, &keys, hapax_table_size(source), source->name);
	if (!status) {
		status = hapax_table_copy(target, source, NULL);
		if (status)
			hapax_table_destroy(target);
		else
			*out = target;
	}
	errno = saved;
	return status;
}

/* ---- testing ------------------------------------------------------------------------------------------------- */

#ifdef HPX_TESTING
int hapax_testing_check_table(hapax_table *table, char *message, size_t size)
{
	size_t entries = 0, counted = hapax_table_size(table);

	if (hpx_table_check(table->core, message, size, &entries) != 0)
		return -1;
	if (entries == counted)
		return 0;
	snprintf(message, size, "table %s: %zu entries, but its size is %zu", table->name, entries, counted);
	return -1;
}

size_t hapax_testing_table_lines(hapax_table *table)
{
	return hpx_table_lines(table->core);
}

int hapax_testing_table_resize(hapax_table *table, int delta)
{
	return hpx_table_resize(table->core, delta) ? 0 : HAPAX_ENOMEM;
}
#endif
