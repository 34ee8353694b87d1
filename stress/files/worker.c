/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "files.h"

#include "harness/team.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

_Thread_local hpx_files_worker *hpx_files_self;

enum {
	STORM_EVERY = 512, /* requests of one thread between the storms that it calls */
	LOOK_EVERY = 16	   /* gets between two looks at the mapped bytes */
};

int hpx_files_worker_init(hpx_files_worker *worker, hpx_files *files, unsigned index)
{
	worker->files = files;
	worker->rng = hpx_rng_stream(files->seed, index);
	worker->digest = EVP_MD_CTX_new();
	worker->chunk = malloc(HPX_FILES_CHUNK);
	return worker->digest && worker->chunk ? 0 : -1;
}

void hpx_files_worker_fini(hpx_files_worker *worker)
{
	EVP_MD_CTX_free(worker->digest);
	free(worker->chunk);
}

/* A load error is shared by all who waited: each of them has to see one of the loader's. */
static void count_failure(hpx_files *files, int status, const hapax_load_error *error)
{
	if (status != HAPAX_ELOADER) {
		hpx_relaxed_add(&files->unexpected, 1);
		hpx_relaxed_set(&files->unexpected_status, (uint64_t)(int64_t)status);
	} else if (error->code <= 0 || error->code >= HPX_FILES_ERRORS ||
		   !hpx_relaxed_get(&files->errors[error->code])) {
		hpx_relaxed_add(&files->bad_errors, 1);
	}
}

hpx_file *hpx_files_get(hpx_files_worker *worker, uint64_t path)
{
	hpx_files *files = worker->files;
	hapax_load_error error = {0};
	hapax_get_options options = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .error = &error};
	void *object = NULL;
	uint64_t start;
	int status;

	worker->wanted = path;
	worker->loaded = false;
	start = hpx_now();
	status = hapax_cache_get_with(files->cache, HAPAX_STR(files->paths.paths[path]), &options, &object);
	hpx_histogram_add(&worker->latency, hpx_now() - start);
	hpx_relaxed_bump(&worker->requests);
	if (status) {
		hpx_relaxed_bump(&worker->failed);
		count_failure(files, status, &error);
		hapax_load_error_drop(&error);
		return NULL;
	}
	hpx_oracle_hold(&files->oracle, path, &((hpx_file *)object)->life);
	if (worker->loaded)
		hpx_oracle_loaded(&files->oracle, path, object);
	hpx_file_verify(files, object, path, hpx_rng_once_in(&worker->rng, LOOK_EVERY));
	return object;
}

void hpx_files_release(hpx_files_worker *worker, hpx_file *file)
{
	if (!file)
		return;
	hpx_oracle_drop(&worker->files->oracle, file->life.key, &file->life);
	hapax_release(file);
}

/*
 * Storms: now and then a thread announces a large file, and every thread asks for it next, so that some come while it
 * is being loaded and join that flight.
 */
static uint64_t choose(hpx_files_worker *worker)
{
	hpx_files *files = worker->files;
	uint64_t storm = hpx_relaxed_get(&files->storm);

	if (storm == worker->storm_seen && hpx_rng_once_in(&worker->rng, STORM_EVERY)) {
		uint64_t path = files->paths.large[hpx_rng_below(&worker->rng, files->paths.large_count)];
		uint64_t next = ((storm >> 32) + 1) << 32 | path;

		if (hpx_relaxed_cas(&files->storm, &storm, next)) {
			storm = next;
			sched_yield();
		}
	}
	if (storm != worker->storm_seen) {
		worker->storm_seen = storm;
		return storm & UINT32_MAX;
	}
	return hpx_zipf_next(&files->zipf, &worker->rng);
}

void hpx_files_work(unsigned index, void *ctx)
{
	hpx_files *files = ctx;
	hpx_files_worker *worker = &files->workers[index];

	hpx_files_self = worker;
	while (!hpx_stopping()) {
		hpx_file *file = hpx_files_get(worker, choose(worker));
		unsigned place = (unsigned)hpx_rng_below(&worker->rng, HPX_FILES_HELD);

		/* what was held there is let go: objects are held for a random while, and die all the time */
		hpx_files_release(worker, worker->held[place]);
		worker->held[place] = file;
	}
	for (unsigned i = 0; i < HPX_FILES_HELD; i++)
		hpx_files_release(worker, worker->held[i]);
}
