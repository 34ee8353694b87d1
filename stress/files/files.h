/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * files.h - the demo: an open-file cache over the machine's own files.
 *
 * Many threads ask for paths, some far more often than others, and get one shared object per path: opened, mapped,
 * digested. Nothing retains it: it dies with its last user and is loaded again for the next, all the time.
 *
 * The files belong to the machine, so they may be unreadable, vanish, grow, shrink and change at any moment. Each of
 * that is a load error or a changed file, counted and shown; none is a wrong value and none a crash.
 *
 *   main.c     options, the run, the closing table
 *   collect.c  the list of paths
 *   object.c   one file object: load, verify, destroy
 *   guard.c    touching mapped bytes that may be gone
 *   worker.c   what each thread does
 *   sha256sum.c  a sample of digests against an independent tool
 */
#ifndef HPX_STRESS_FILES_H
#define HPX_STRESS_FILES_H

#include "harness/histogram.h"
#include "harness/oracle.h"
#include "harness/relaxed.h"
#include "harness/rng.h"

#include <hapax/hapax.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

int hpx_files_main(int argc, char **argv);

/* --- collect.c --- */

typedef struct hpx_paths {
	char **paths; /* the most popular first: shuffled by the seed */
	uint64_t count;
	uint64_t *large; /* indices of the largest files: what storms ask for */
	uint64_t large_count;
	uint64_t seen; /* regular files met, before limits */
	uint64_t too_large, unreadable_folders;
} hpx_paths;

/* Walks one file system below `root`. Returns 0, or HPX_EXIT_INPUT after a message. */
int hpx_paths_collect(hpx_paths *paths, const char *root, uint64_t max_files, uint64_t max_bytes, uint64_t seed);
void hpx_paths_free(hpx_paths *paths);

/* --- guard.c --- */

/* Installs the handler of SIGBUS. */
void hpx_guard_install(void);
/* memcpy from a mapping. Returns 0, or -1 when a page of it has no bytes behind it any more. */
int hpx_guarded_copy(void *to, const void *from, size_t size);

/* --- object.c --- */

enum { HPX_FILES_ERRORS = 134, HPX_FILES_CHUNK = 65536, HPX_FILES_FIRST = 4096, HPX_FILES_DIGEST = 32 };

/* What makes a file the one it was. */
typedef struct hpx_file_id {
	uint64_t device, inode, size;
	int64_t modified, modified_ns;
	int64_t changed, changed_ns; /* of the inode: nobody can set this one back */
} hpx_file_id;

typedef struct hpx_file {
	hpx_life life;
	int fd;			  /* -1: not open */
	const unsigned char *map; /* NULL: empty file, or not mapped */
	hpx_file_id id;
	bool young;	/* changed so recently that its times may not tell the next change */
	uint64_t word;	/* id and digest, 32 bits each, for hpx_files.reference */
	uint64_t first; /* checksum of the first HPX_FILES_FIRST bytes */
	unsigned char digest[HPX_FILES_DIGEST];
	uint64_t seal; /* checksum of the digest, the key and the serial number */
} hpx_file;

typedef struct hpx_files {
	hpx_paths paths;
	uint64_t max_bytes, seed;
	unsigned threads;
	hapax_env *env;
	hapax_cache *cache;
	hpx_oracle oracle;
	hpx_zipf zipf;
	EVP_MD *sha256;
	hpx_relaxed *reference;		      /* per path: hpx_file.word of the first load; 0: none yet */
	hpx_relaxed storm;		      /* number << 32 | path index: all threads ask for that path next */
	struct hpx_files_worker *workers;     /* one per thread, and the last one for the main thread */
	hpx_relaxed errors[HPX_FILES_ERRORS]; /* loads that failed, by errno */
	hpx_relaxed changed;		      /* files seen with other contents than before, rightly */
	hpx_relaxed shrunk;		      /* mapped bytes that were gone when a user looked */
	hpx_relaxed bad_errors;		      /* gets whose load error was not one of the loader's */
	hpx_relaxed unexpected;		      /* gets with a status that nothing here can cause */
	hpx_relaxed unexpected_status;
} hpx_files;

int hpx_file_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error);
void hpx_file_destroy(void *object, void *arg);
/* Looks at a held object; counts what is wrong. `look` also touches the mapped bytes. */
void hpx_file_verify(hpx_files *files, hpx_file *file, uint64_t path, bool look);

/* --- worker.c --- */

enum { HPX_FILES_HELD = 4 };

typedef struct hpx_files_worker {
	hpx_files *files;
	hpx_rng rng;
	uint64_t storm_seen;
	uint64_t wanted; /* the path that this thread asks for now */
	bool loaded;	 /* its own loader ran in the get that is in progress */
	EVP_MD_CTX *digest;
	unsigned char *chunk; /* HPX_FILES_CHUNK bytes */
	hpx_file *held[HPX_FILES_HELD];
	hpx_relaxed requests, failed, loads, load_errors; /* written by this thread, read by the progress line */
	hpx_histogram latency;
} hpx_files_worker;

/* The worker that the calling thread is. */
extern _Thread_local hpx_files_worker *hpx_files_self;

int hpx_files_worker_init(hpx_files_worker *worker, hpx_files *files, unsigned index);
void hpx_files_worker_fini(hpx_files_worker *worker);
/* Asks for a path: the object, counted and held, or NULL after counting what went wrong. */
hpx_file *hpx_files_get(hpx_files_worker *worker, uint64_t path);
void hpx_files_release(hpx_files_worker *worker, hpx_file *file);
/* A thread of the team. */
void hpx_files_work(unsigned index, void *files);

/* --- sha256sum.c --- */

typedef struct hpx_sample {
	uint64_t path;
	char digest[2 * HPX_FILES_DIGEST + 1]; /* hex; empty: not told */
} hpx_sample;

/* Lets sha256sum(1) digest the files of the samples. Returns 0, or an errno when it could not be run. */
int hpx_sha256sum(const hpx_paths *paths, hpx_sample *samples, unsigned count);

#endif
