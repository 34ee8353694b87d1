/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/leak.h - what is still alive, and who keeps it: forgotten references and cycles by name.
 *
 * In every build: objects by type and, those that a cache, table or weak map knows, with their key. In debug builds (and in the
 * instrumented variants of the library that say so in hapax_leak_tracing()) every object, the places in the program where
 * references to it were taken, and which other live objects' payloads hold a pointer to it: so a cycle shows as one.
 */
#ifndef HAPAX_LEAK_H
#define HAPAX_LEAK_H

#include <hapax/base.h>
#include <hapax/env.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

/* A place in the program. `text`: "function+0x1f (program)" or what is known of it; never NULL. */
typedef struct hapax_leak_site {
	const void *address;
	const char *text;
	uint64_t taken; /* references to this object taken there */
} hapax_leak_site;

typedef struct hapax_leak {
	size_t size;           /* sizeof(hapax_leak), set by hapax */
	const char *type;      /* name of the type */
	const void *object;    /* NULL: `count` objects of this type that are not known one by one (builds without tracing) */
	const hapax_key *key;  /* under which `holder` knows it, NULL: none */
	const char *holder;    /* name of the cache, table or map that knows it; NULL: none */
	bool held;             /* the holder has a reference itself (retention, data of a weak map); it is in `count` */
	bool inherited;        /* alive when this process forked */
	bool cycle;            /* it can be reached from itself through payloads: neither will ever die by itself */
	uint64_t count;        /* strong references now */
	/* tracing only */
	const hapax_leak_site *sites;
	size_t n_sites;
	const struct hapax_leak_edge *from; /* live objects whose payload holds a pointer to it */
	size_t n_from;
} hapax_leak;

typedef struct hapax_leak_edge {
	const void *object;
	const char *type;
	size_t offset;         /* of the pointer in that object's payload */
} hapax_leak_edge;

/* This library records where references are taken. A constant of the build. */
HAPAX_API bool hapax_leak_tracing(void);

/*
 * Calls `fn` for everything that is alive in `env` (NULL: the default one): how many objects. `fn` NULL: they are written to the
 * environment's log, one line for each and one for each site and edge. What `fn` gets is valid during the call. Meant for an
 * environment at rest, at the end of a program or a test; other threads may go on, then it is a picture of no one instant.
 * Payloads are looked at as plain memory; nothing behind their pointers is.
 * Thread: any. Section: outside. Blocks: no. fn runs without locks, and may call anything. HAPAX_ENOMEM as SIZE_MAX.
 */
HAPAX_API size_t hapax_leak_report(hapax_env *env, void (*fn)(const hapax_leak *leak, void *ctx), void *ctx);

HAPAX_END_DECLS

#endif
