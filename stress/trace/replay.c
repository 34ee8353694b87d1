/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trace.h"

#include "harness/team.h"

#include <string.h>

/* The worker that the calling thread is. */
static _Thread_local hpx_replay_worker *self;

int hpx_row_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	hpx_replay *replay = arg;
	hpx_row *row = object;
	int failed;

	hpx_oracle_enter_loader(&replay->oracle, self->wanted, &row->life);
	hpx_relaxed_bump(&self->loads);
	self->loaded = true;
	memcpy(&row->key, key->data, sizeof(row->key));
	if (key->size != sizeof(row->key) || row->key != replay->trace->keys[self->wanted])
		hpx_relaxed_add(&replay->oracle.wrong, 1);
	row->size = replay->blob;
	failed = hpx_store_fetch(self->reader, row->key, row->blob, replay->blob);
	if (failed) {
		hpx_relaxed_bump(&self->load_errors);
		hpx_relaxed_add(&replay->errors[failed], 1);
		error->code = failed;
	}
	hpx_oracle_leave_loader(&replay->oracle, self->wanted);
	return failed ? HAPAX_LOAD_FAIL : HAPAX_LOAD_OK;
}

void hpx_row_destroy(void *object, void *arg)
{
	hpx_replay *replay = arg;
	hpx_row *row = object;

	hpx_oracle_destroyed(&replay->oracle, &row->life);
}

static hpx_row *get(hpx_replay_worker *worker, uint64_t index)
{
	hpx_replay *replay = worker->replay;
	uint64_t key = replay->trace->keys[index];
	void *object = NULL;
	uint64_t start;
	hpx_row *row;
	int status;

	worker->wanted = index;
	worker->loaded = false;
	start = hpx_now();
	status = hapax_cache_get(replay->cache, HAPAX_KEY_OF(key), &object);
	hpx_histogram_add(&worker->latency, hpx_now() - start);
	hpx_relaxed_bump(&worker->requests);
	if (status) {
		if (status != HAPAX_ELOADER) {
			hpx_relaxed_add(&replay->unexpected, 1);
			hpx_relaxed_set(&replay->unexpected_status, (uint64_t)(int64_t)status);
		}
		return NULL;
	}
	row = object;
	hpx_oracle_hold(&replay->oracle, index, &row->life);
	if (worker->loaded)
		hpx_oracle_loaded(&replay->oracle, index, row);
	hpx_store_blob(key, worker->expected, replay->blob);
	if (row->key != key || row->size != replay->blob || memcmp(row->blob, worker->expected, replay->blob) != 0)
		hpx_relaxed_add(&replay->oracle.wrong, 1);
	return row;
}

static void release(hpx_replay_worker *worker, hpx_row *row)
{
	if (!row)
		return;
	hpx_oracle_drop(&worker->replay->oracle, row->life.key, &row->life);
	hapax_release(row);
}

void hpx_replay_work(unsigned index, void *ctx)
{
	hpx_replay *replay = ctx;
	hpx_replay_worker *worker = &replay->workers[index];
	const hpx_trace *trace = replay->trace;
	uint64_t step = (uint64_t)HPX_TRACE_CHUNK * replay->threads;
	unsigned place = 0;

	self = worker;
	for (uint64_t chunk = (uint64_t)HPX_TRACE_CHUNK * index; chunk < trace->requests; chunk += step) {
		uint64_t end = chunk + HPX_TRACE_CHUNK < trace->requests ? chunk + HPX_TRACE_CHUNK : trace->requests;

		for (uint64_t at = chunk; at < end && !hpx_stopping(); at++) {
			hpx_row *row = get(worker, trace->order[at]);

			release(worker, worker->ring[place]);
			worker->ring[place] = row;
			place = (place + 1) % HPX_TRACE_RING;
		}
	}
	for (unsigned i = 0; i < HPX_TRACE_RING; i++)
		release(worker, worker->ring[i]);
}
