/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/leak.h - what is still alive, and who keeps it: forgotten references and cycles by name.
 *
 * In every build: objects by type, and one by one, with key and holder, those that a cache, table or weak map has an entry for. In
 * debug builds (hapax_leak_tracing() tells) every object one by one, and the places in the program where references to it were
 * taken. Which of the objects listed one by one hold pointers to which is found in every build: so a cycle shows as one.
 * docs/leaks.md shows how to read it.
 */
#ifndef HAPAX_LEAK_H
#define HAPAX_LEAK_H

#include <hapax/base.h>
#include <hapax/env.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

/* A place in the program. `text`: "function+0x1f (program)", or "program+0x123" for a function that the dynamic linker does not
 * know (addr2line -fie program 0x123 names it); never NULL. Places beyond the first 16 of an object are one: `address` NULL. */
typedef struct hapax_leak_site {
	const void *address; /* of the instruction after the call that gave the reference; in the function that was given it */
	const char *text;
	uint64_t taken;      /* references to this object taken there so far, given back or not */
} hapax_leak_site;

#define HAPAX_LEAK_THROUGH_HOLDER SIZE_MAX

/* A live object that `leak` can be reached from. */
typedef struct hapax_leak_edge {
	const void *object;
	const char *type;
	size_t offset; /* of the pointer in that object's payload; HAPAX_LEAK_THROUGH_HOLDER: a weak map holds `leak` as its data, or
			* a memo as its result, for as long as that object lives */
} hapax_leak_edge;

typedef struct hapax_leak {
	size_t size;           /* sizeof(hapax_leak), set by hapax */
	const char *type;      /* name of the type */
	const void *object;    /* NULL: `count` objects of this type that are not known one by one (builds without tracing) */
	const hapax_key *key;  /* under which `holder` knows it; NULL: none */
	const char *holder;    /* name of the cache, table or map that knows it; NULL: none */
	bool held;             /* the holder has a reference itself (retention, data of a weak map); it is in `count` */
	bool inherited;        /* alive when this process forked (builds without tracing: known for objects in caches only) */
	bool cycle;            /* it can be reached from itself through payloads and holders. A pointer need not be a reference: if
				* all of them are, it will never die by itself */
	uint64_t count;        /* strong references now, less the one that the report holds while it runs */
	const hapax_leak_edge *from; /* objects listed one by one whose payload holds a pointer to it */
	size_t n_from;
	const hapax_leak_site *sites; /* tracing only: most taken first, of those the latest first */
	size_t n_sites;
} hapax_leak;

/* This library records where references are taken. A constant of the build. */
HAPAX_API bool hapax_leak_tracing(void);

/*
 * Calls `fn` for everything that is alive in `env` (NULL: the default one): once for each object and holder that knows it, once
 * for an object that none knows, and once for each type of which there are more. Returns how many objects there are. `fn` NULL:
 * they are written to the environment's log, one line for each and one for each site and edge. What `fn` gets is valid during the
 * call, and names and objects until the report returns: it holds a reference to each object, so that what loses its last other one
 * meanwhile dies, on this thread, at the end. Meant for an environment at rest, at the end of a program or a test; other threads may
 * go on, then it is a picture of no one instant, and of objects in the middle of their death `count` without `object` may tell.
 * Payloads are looked at as plain memory, every aligned word of them; nothing behind their pointers is.
 * Thread: any. Section: outside. Blocks: no. fn runs without locks, and may call anything. HAPAX_ENOMEM as SIZE_MAX: then fn was
 * not called.
 */
HAPAX_API size_t hapax_leak_report(hapax_env *env, void (*fn)(const hapax_leak *leak, void *ctx), void *ctx);

/*
 * The same report as one JSON object, for programs and for keeping: {"format":1, "version", "pid", "tracing",
 * "leaks":[{"type", "object", "key", "holder", "held", "inherited", "cycle", "count", "from":[{"object", "type", "offset"}],
 * "sites":[{"address", "text", "taken"}]}], "alive": what hapax_leak_report() returns}; the names are those of hapax_leak. Addresses
 * are strings ("0x7f.."), what is NULL there is null, and "offset" is null for HAPAX_LEAK_THROUGH_HOLDER. A key is shown as it is
 * if it is printable UTF-8, as an unsigned number in native byte order if it has 1, 2, 4 or 8 other bytes, else as "0x" and
 * hexadecimal digits; at most 48 bytes of that, then "...". In names every byte that is no UTF-8 is U+FFFD.
 * Returns 0; or what `write` returned when it ended the writing. HAPAX_ENULL (`write`), HAPAX_ENOMEM: `write` was not called.
 * Thread: any. Section: outside. Blocks: no. `write` is called while references are held, as the fn of hapax_leak_report() is.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_leak_report_json(hapax_env *env, hapax_write_fn write, void *ctx);

HAPAX_END_DECLS

#endif
