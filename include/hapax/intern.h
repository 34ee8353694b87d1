/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/intern.h - interning: one canonical live object for equal contents.
 *
 * The interner holds nothing: when the canonical object dies the next equal one takes its place.
 */
#ifndef HAPAX_INTERN_H
#define HAPAX_INTERN_H

#include <hapax/base.h>
#include <hapax/env.h>
#include <hapax/object.h>
#include <hapax/status.h>
#include <hapax/table.h>

HAPAX_BEGIN_DECLS

typedef struct hapax_interner hapax_interner;

typedef struct hapax_interner_options {
	size_t size;     /* sizeof(hapax_interner_options) */
	unsigned flags;  /* none yet: 0 */
	hapax_env *env;  /* NULL: the default one */
	const hapax_type *type; /* of the objects; NULL: any, and then `contents` is required */
	/* The bytes that make objects equal: stores them in *bytes (valid until the intern call returns; they are copied) and
	 * returns 0; another value fails the call with HAPAX_ECALLBACK. Called once per call, on an object that the caller holds,
	 * without locks or read sections. NULL: the type's payload of type->size bytes, padding included. */
	int (*contents)(const void *object, hapax_key *bytes, void *ctx);
	void *ctx;
	hapax_key_ops keys; /* hash and equality of the bytes; not `borrow` */
	size_t capacity;
	const char *name;   /* NULL: "interner" */
} hapax_interner_options;
#define HAPAX_INTERNER_OPTIONS_INIT .size = sizeof(hapax_interner_options)

/* Returns 0 and an interner that the caller owns. Fails: HAPAX_ENULL, HAPAX_EOPTSIZE, HAPAX_EFLAGS, HAPAX_EOPTION (neither type nor contents; borrowed keys), HAPAX_ETYPE,
 * HAPAX_ENOTWEAK, HAPAX_ENOMEM. */
HAPAX_API HAPAX_MUST_CHECK int hapax_interner_create(hapax_interner **out, const hapax_interner_options *options);
/* Ends it; NULL is a no-op. Objects stay valid. No other call on it may be running or follow. */
HAPAX_API void hapax_interner_destroy(hapax_interner *interner);

/* The canonical live object equal to `object` (held by the caller), or else `object`, which is canonical from now on: 0 and an
 * owned reference in *out; *canonical (may be NULL): it is `object` itself. All threads that intern equal objects get the same one.
 * Fails: HAPAX_ENULL, HAPAX_ETYPE, HAPAX_ECALLBACK, key errors, and as hapax_table_put. Section: outside. Blocks: at the garbage
 * bound. */
HAPAX_API HAPAX_MUST_CHECK int hapax_intern(hapax_interner *interner, void *object, void **out, bool *canonical);
/* The canonical object of these contents: 0 and an owned reference, or HAPAX_MISS. */
HAPAX_API HAPAX_MUST_CHECK int hapax_intern_find(hapax_interner *interner, hapax_key contents, void **out);
/* Canonical objects alive; an estimate while calls are running. */
HAPAX_API size_t hapax_interner_size(hapax_interner *interner);

HAPAX_END_DECLS

#endif
