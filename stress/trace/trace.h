/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * trace.h - replays a recorded sequence of keys against a cache whose objects come from a database.
 *
 *   main.c   options, the run, the closing table
 *   read.c   the trace: zstd of little-endian 64-bit keys, validated as a whole before anything else happens
 *   store.c  the SQLite database: one deterministic blob per distinct key
 *   replay.c what each thread does
 *
 * The cache is weak: each thread holds what it last asked for, a ring of so many objects, and that is all the retention
 * there is.
 */
#ifndef HPX_STRESS_TRACE_H
#define HPX_STRESS_TRACE_H

#include "harness/histogram.h"
#include "harness/oracle.h"
#include "harness/relaxed.h"

#include <hapax/hapax.h>
#include <stddef.h>
#include <stdint.h>

int hpx_trace_main(int argc, char **argv);

/* --- read.c --- */

typedef struct hpx_trace {
	uint64_t requests;
	uint32_t *order; /* per request: index into `keys` */
	uint64_t count;	 /* distinct keys */
	uint64_t *keys;	 /* sorted */
	uint32_t *sizes; /* per request: of the object then; NULL: the trace has none */
} hpx_trace;

/* How a trace is written. */
typedef struct hpx_trace_form {
	const char *command; /* for messages */
	bool sized;	     /* records of (64-bit key, 32-bit size), 12 bytes; else 64-bit keys */
	bool plain;	     /* not compressed */
} hpx_trace_form;

/* Returns 0, or HPX_EXIT_INPUT after a message with file, offset and reason. */
int hpx_trace_read(hpx_trace *trace, const char *path); /* as the trace command has it: keys, compressed */
int hpx_trace_read_as(hpx_trace *trace, const char *path, const hpx_trace_form *form);
void hpx_trace_free(hpx_trace *trace);

/* --- store.c --- */

typedef struct hpx_store {
	char *path;
	int temporary; /* remove it at the end */
} hpx_store;

typedef struct hpx_store_reader hpx_store_reader;

/* The blob of a key, made from nothing but the key. */
void hpx_store_blob(uint64_t key, unsigned char *blob, size_t size);

/* Creates the database at `path`, which must not exist; NULL: a private temporary file. Returns 0, or HPX_EXIT_INPUT
 * after a message (nothing is left behind then). */
int hpx_store_create(hpx_store *store, const char *path, const hpx_trace *trace, size_t blob);
void hpx_store_fini(hpx_store *store);

/* A connection of its own for one thread. NULL after a message. */
hpx_store_reader *hpx_store_open(const hpx_store *store);
void hpx_store_close(hpx_store_reader *reader);
/* Copies the blob: 0, or an errno (ENOENT: no such key; EIO: whatever else SQLite says, or another size). */
int hpx_store_fetch(hpx_store_reader *reader, uint64_t key, unsigned char *blob, size_t size);

/* --- replay.c --- */

enum { HPX_TRACE_RING = 64, HPX_TRACE_CHUNK = 1024, HPX_TRACE_ERRORS = 134 };

typedef struct hpx_row {
	hpx_life life;
	uint64_t key;
	uint64_t size; /* of blob */
	unsigned char blob[];
} hpx_row;

typedef struct hpx_replay {
	const hpx_trace *trace;
	const hpx_store *store;
	size_t blob;
	unsigned threads;
	hapax_env *env;
	hapax_cache *cache;
	hapax_type type;
	hpx_oracle oracle;
	struct hpx_replay_worker *workers;
	hpx_relaxed errors[HPX_TRACE_ERRORS];
	hpx_relaxed unexpected, unexpected_status;
} hpx_replay;

typedef struct hpx_replay_worker {
	hpx_replay *replay;
	hpx_store_reader *reader;
	unsigned char *expected; /* room for one blob */
	uint64_t wanted;	 /* index of the key that this thread asks for now */
	bool loaded;		 /* its own loader ran in the get that is in progress */
	hpx_row *ring[HPX_TRACE_RING];
	hpx_relaxed requests, loads, load_errors; /* written by this thread, read by the progress line */
	hpx_histogram latency;
} hpx_replay_worker;

int hpx_row_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error);
void hpx_row_destroy(void *object, void *arg);
void hpx_replay_work(unsigned index, void *replay);

#endif
