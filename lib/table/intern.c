/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/intern.c - hapax/intern.h: a weak-value table in which objects stand under their contents. Whoever puts first, while
 * nothing equal lives, is canonical; the table decides that.
 */
#include <errno.h>

#include <hapax/intern.h>

#include "object/internal.h"
#include "object/trace.h"
#ifdef HPX_TESTING
#include <hapax/testing.h>
#endif

struct hapax_interner {
	hapax_table *table;
	hapax_env *env;
	const hapax_type *type;
	int (*contents)(const void *object, hapax_key *bytes, void *ctx);
	void *ctx;
};

static int check_options(const hapax_interner_options *o)
{
	if (o->size != sizeof(*o))
		return HAPAX_EOPTSIZE;
	if (o->flags)
		return HAPAX_EFLAGS;
	if ((!o->type && !o->contents) || o->keys.borrow || o->keys.release)
		return HAPAX_EOPTION;
	if (o->type && hpx_type_check(o->type))
		return HAPAX_ETYPE;
	if (o->type && o->type->flags & HAPAX_TYPE_NOT_WEAK)
		return HAPAX_ENOTWEAK;
	return 0;
}

static int create(hapax_interner **out, const hapax_interner_options *options, hapax_env *env)
{
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .keys = options->keys, .capacity = options->capacity,
				 .name = options->name ? options->name : "interner"};
	hapax_interner *interner = hpx_alloc(env, sizeof(*interner), 16);
	int status;

	if (!interner)
		return HAPAX_ENOMEM;
	status = hapax_table_create(&interner->table, &o);
	if (status) {
		hpx_free(env, interner, sizeof(*interner), 16);
		return status;
	}
	hpx_env_hold(env);
	interner->env = env;
	interner->type = options->type;
	interner->contents = options->contents;
	interner->ctx = options->ctx;
	*out = interner;
	return 0;
}

int hapax_interner_create(hapax_interner **out, const hapax_interner_options *options)
{
	int saved = errno, status;
	hapax_env *env;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!options)
		return HAPAX_ENULL;
	status = check_options(options);
	if (status)
		return status;
	hpx_thread_ready();
	env = hpx_env_or_default(options->env);
	status = env ? create(out, options, env) : HAPAX_ENOMEM;
	errno = saved;
	return status;
}

void hapax_interner_destroy(hapax_interner *interner)
{
	hapax_env *env;

	if (!interner)
		return;
	env = interner->env;
	hapax_table_destroy(interner->table);
	hpx_free(env, interner, sizeof(*interner), 16);
	hpx_env_drop(env);
}

static int contents_of(hapax_interner *interner, const void *object, hapax_key *bytes)
{
	int rc;

	*bytes = hapax_key_bytes(NULL, 0);
	if (!interner->contents) {
		*bytes = hapax_key_bytes(object, interner->type->size);
		return 0;
	}
	{
		HPX_USER_CODE(frame, NULL);
		rc = interner->contents(object, bytes, interner->ctx);
	}
	return rc ? HAPAX_ECALLBACK : 0;
}

int hapax_intern(hapax_interner *interner, void *object, void **out, bool *canonical)
{
	HPX_TAKES_FOR_CALLER;
	hapax_key bytes;
	int status;

	if (canonical)
		*canonical = false;
	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	if (!interner || !object)
		return HAPAX_ENULL;
	if (interner->type && hapax_type_of(object) != interner->type)
		return HAPAX_ETYPE;
	status = contents_of(interner, object, &bytes);
	if (!status)
		status = hapax_table_get_or_put(interner->table, bytes, object, out, NULL);
	if (canonical)
		*canonical = !status && *out == object;
	return status;
}

int hapax_intern_find(hapax_interner *interner, hapax_key contents, void **out)
{
	HPX_TAKES_FOR_CALLER;
	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	return interner ? hapax_table_get(interner->table, contents, out) : HAPAX_ENULL;
}

size_t hapax_interner_size(hapax_interner *interner)
{
	return interner ? hapax_table_size(interner->table) : 0;
}

#ifdef HPX_TESTING
int hapax_testing_check_interner(hapax_interner *interner, char *message, size_t size)
{
	return hapax_testing_check_table(interner->table, message, size);
}
#endif
