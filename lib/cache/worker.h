/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/worker.h - where work runs that a call started and does not wait for.
 *
 *      the cache's executor, if it has one
 *      else a thread of the library's, one for the process, started when it is first needed
 *      else (HAPAX_ENV_NO_THREAD) hapax_cache_maintain()
 *
 * A task is called exactly once: run, or dropped (`run` false): when its cache is closed before it has begun, in the child
 * of a fork, when there is no thread to be had after all. Dropped or run it gives back what it was given. It holds a call on its
 * cache until it returns. Outside locks and sections; on any thread, also on the caller's before hpx_work_run() returns.
 */
#ifndef HPX_WORKER_H
#define HPX_WORKER_H

#include "cache/cache.h"

typedef void hpx_task(hapax_cache *c, void *arg, bool run);

/* By a call on the cache, outside sections and locks. 0: the task has been or will be called. Else it is not:
 * HAPAX_ENOMEM, HAPAX_ECLOSED, HAPAX_ETHREAD (the executor refuses, there is no thread to be had). */
int hpx_work_run(hapax_cache *c, hpx_task *task, void *arg);
/* Drops the tasks of a cache that have not begun: it is closed, or this is the child of a fork. */
void hpx_work_drop(hapax_cache *c);
/* For hapax_cache_maintain(): runs up to `max` of the tasks that wait for it, oldest first: how many. */
unsigned hpx_work_step(hapax_cache *c, unsigned max);
bool hpx_work_pending(hapax_cache *c);

#endif
