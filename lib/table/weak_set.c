/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/weak_set.c - weak sets of hapax/weak_map.h: a weak-value table in which each member stands under its own address.
 *
 * An address that comes again finds nothing under it: see ident.c.
 */
#include <errno.h>

#include <hapax/weak_map.h>

#include "object/trace.h"
#include "table/table.h"
#ifdef HPX_TESTING
#include <hapax/testing.h>
#endif

struct hapax_weak_set {
	hapax_table *table;
	hapax_env *env;
};

/* Members of a table: what hapax_weak_set_iter is in truth. */
static hapax_iter *table_iter(hapax_weak_set_iter *iter) { return (hapax_iter *)iter; }

/* ---- life -------------------------------------------------------------------------------------------------------- */

/* A set with `table`, which it takes; on an error too. */
static int create(hapax_weak_set **out, hapax_env *env, hapax_table *table)
{
	hapax_weak_set *set = hpx_alloc(env, sizeof(*set), 16);

	if (!set) {
		hapax_table_destroy(table);
		return HAPAX_ENOMEM;
	}
	hpx_env_hold(env);
	*set = (hapax_weak_set){.table = table, .env = env};
	*out = set;
	return 0;
}

int hapax_weak_set_create(hapax_weak_set **out, const hapax_weak_set_options *options)
{
	static const hapax_weak_set_options defaults = {HAPAX_WEAK_SET_OPTIONS_INIT};
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .name = "weak set"};
	int saved = errno, status;
	hapax_table *table;

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
	o.env = hpx_env_or_default(options->env);
	if (!o.env)
		return HAPAX_ENOMEM;
	o.capacity = options->capacity;
	if (options->name)
		o.name = options->name;
	status = hapax_table_create(&table, &o);
	if (!status)
		status = create(out, o.env, table);
	errno = saved;
	return status;
}

void hapax_weak_set_destroy(hapax_weak_set *set)
{
	hapax_env *env;

	if (!set)
		return;
	env = set->env;
	hapax_table_destroy(set->table);
	hpx_free(env, set, sizeof(*set), 16);
	hpx_env_drop(env);
}

/* ---- members ----------------------------------------------------------------------------------------------------- */

/* 0, or why this cannot be a member. */
static int acceptable(hapax_weak_set *set, const void *object)
{
	struct hpx_class *c;

	if (!set || !object)
		return HAPAX_ENULL;
	c = hpx_class_of(hpx_object_of(object));
	if (c->type->flags & HAPAX_TYPE_NOT_WEAK)
		return HAPAX_ENOTWEAK;
	return c->env == set->env ? 0 : HAPAX_EFOREIGN;
}

int hapax_weak_set_add(hapax_weak_set *set, void *object, bool *added)
{
	HPX_TAKES_NOTHING;
	int status = acceptable(set, object);
	void *member = NULL;

	if (added)
		*added = false;
	if (status)
		return status;
	status = hapax_table_get_or_put(set->table, HAPAX_KEY_OF(object), object, &member, added);
	hapax_release(member);
	return status;
}

int hapax_weak_set_remove(hapax_weak_set *set, void *object)
{
	int status = acceptable(set, object);

	return status ? status : hapax_table_remove(set->table, HAPAX_KEY_OF(object));
}

int hapax_weak_set_contains(hapax_weak_set *set, void *object)
{
	int status = acceptable(set, object);

	return status ? status : hapax_table_contains(set->table, HAPAX_KEY_OF(object));
}

int hapax_weak_set_pop(hapax_weak_set *set, void **object)
{
	HPX_TAKES_FOR_CALLER;
	if (!object)
		return HAPAX_ENULL;
	*object = NULL;
	return set ? hapax_table_pop_any(set->table, object) : HAPAX_ENULL;
}

size_t hapax_weak_set_size(hapax_weak_set *set)
{
	return set ? hapax_table_size(set->table) : 0;
}

void hapax_weak_set_clear(hapax_weak_set *set)
{
	if (set)
		hapax_table_clear(set->table);
}

/* ---- iterators and copies ---------------------------------------------------------------------------------------- */

int hapax_weak_set_iterate(hapax_weak_set *set, hapax_weak_set_iter **out)
{
	hapax_iter *iter;
	int status;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!set)
		return HAPAX_ENULL;
	status = hapax_table_iterate(set->table, &iter);
	*out = (hapax_weak_set_iter *)iter;
	return status;
}

int hapax_weak_set_next(hapax_weak_set_iter *iter, void **object)
{
	HPX_TAKES_FOR_CALLER;
	return hapax_iter_next(table_iter(iter), NULL, object);
}

void hapax_weak_set_close(hapax_weak_set_iter *iter)
{
	hapax_iter_close(table_iter(iter));
}

int hapax_weak_set_copy(hapax_weak_set *target, hapax_weak_set *source, size_t *copied)
{
	if (copied)
		*copied = 0;
	if (!target || !source)
		return HAPAX_ENULL;
	return hapax_table_copy(target->table, source->table, copied);
}

int hapax_weak_set_snapshot(hapax_weak_set *source, hapax_weak_set **out)
{
	int saved = errno, status;
	hapax_table *table;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!source)
		return HAPAX_ENULL;
	status = hapax_table_snapshot(source->table, &table);
	if (!status)
		status = create(out, source->env, table);
	errno = saved;
	return status;
}

/* ---- testing ----------------------------------------------------------------------------------------------------- */

#ifdef HPX_TESTING
int hapax_testing_check_weak_set(hapax_weak_set *set, char *message, size_t size)
{
	return hapax_testing_check_table(set->table, message, size);
}
#endif
