/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

#include "harness/options.h"
#include "harness/team.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Nothing but what is needed to see that it is the right one. */
struct value {
	uint64_t key;
	uint64_t weight;
};

struct replay {
	hpx_point *point;
	hapax_env *env;
	hapax_cache *cache;
	hapax_type type;
	hpx_relaxed next;  /* request that nobody has taken yet */
	hpx_relaxed alive; /* objects that the cache still knew of when it was destroyed */
	struct worker *workers;
};

struct worker {
	struct replay *replay;
	pthread_t thread;
	uint64_t hits, requests, loads, wrong, failed;
	int status; /* of the last get that failed */
	double bytes, hit_bytes;
};

/* What the calling thread asks for, for its loader. */
static _Thread_local struct worker *self;
static _Thread_local uint64_t wanted_weight;

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct value *value = object;

	(void)arg;
	(void)error;
	memcpy(&value->key, key->data, sizeof(value->key));
	value->weight = wanted_weight;
	self->loads++;
	return HAPAX_LOAD_OK;
}

static int weigh(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	const struct value *value = object;

	(void)key;
	(void)ctx;
	*weight = value->weight;
	return 0;
}

static void ask(struct worker *worker, uint64_t request)
{
	const hpx_trace *trace = worker->replay->point->series->trace;
	uint64_t key = trace->keys[trace->order[request]];
	uint64_t loads = worker->loads;
	void *object = NULL;
	int status;

	if (trace->sizes)
		wanted_weight = trace->sizes[request] ? trace->sizes[request] : 1;
	status = hapax_cache_get(worker->replay->cache, HAPAX_KEY_OF(key), &object);
	worker->requests++;
	worker->bytes += (double)wanted_weight;
	if (status) {
		worker->failed++;
		worker->status = status;
		return;
	}
	if (worker->loads == loads) {
		worker->hits++;
		worker->hit_bytes += (double)wanted_weight;
	}
	if (((struct value *)object)->key != key)
		worker->wrong++;
	hapax_release(object);
}

/*
 * The threads take the next block of requests from the trace whenever they have finished one. So at any time the blocks
 * in progress are neighbours, and a request is displaced by about threads * HPX_POLICY_BLOCK others; more if its thread
 * is preempted for a while, as it is when there are more threads than processors.
 */
static void *work(void *ctx)
{
	struct worker *worker = ctx;
	struct replay *replay = worker->replay;
	uint64_t requests = replay->point->series->trace->requests;

	self = worker;
	wanted_weight = 1;
	while (!hpx_stopping()) {
		uint64_t at = hpx_relaxed_add(&replay->next, HPX_POLICY_BLOCK);
		uint64_t end = at + HPX_POLICY_BLOCK < requests ? at + HPX_POLICY_BLOCK : requests;

		if (at >= requests)
			break;
		while (at < end)
			ask(worker, at++);
	}
	return NULL;
}

static void leak(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx)
{
	struct replay *replay = ctx;

	(void)key;
	(void)object;
	(void)type;
	(void)count;
	(void)inherited;
	hpx_relaxed_add(&replay->alive, 1);
}

static int open_cache(struct replay *replay, uint64_t seed)
{
	const hpx_point *point = replay->point;
	hapax_env_options env_options = {HAPAX_ENV_OPTIONS_INIT, .seed = seed};
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT};
	int status = hapax_env_create(&replay->env, &env_options);

	if (status)
		return hpx_input_error("policy", "no environment: %s", hapax_status_text(status));
	replay->type = (hapax_type){
		HAPAX_TYPE_INIT,
		.name = "value",
		.size = sizeof(struct value),
		.align = _Alignof(struct value),
	};
	options.env = replay->env;
	options.type = &replay->type;
	options.load = load;
	options.name = "policy";
	options.leak = leak;
	options.leak_ctx = replay;
	options.policy = point->contender->policy();
	if (point->series->weighted) {
		options.max_weight = (int64_t)point->size;
		options.weigh = weigh;
	} else {
		options.max_entries = (int64_t)point->size;
		options.capacity = point->size;
	}
	status = hapax_cache_create(&replay->cache, &options);
	if (!status)
		return 0;
	hapax_env_destroy(replay->env);
	return hpx_input_error("policy", "no cache with policy %s: %s", point->contender->name,
			       hapax_status_text(status));
}

static void broken(hpx_point *point, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void broken(hpx_point *point, const char *format, ...)
{
	va_list args;

	if (point->broken[0]) /* the first says most */
		return;
	va_start(args, format);
	vsnprintf(point->broken, sizeof(point->broken), format, args);
	va_end(args);
}

static void sum_up(struct replay *replay, uint64_t *loads)
{
	hpx_point *point = replay->point;

	for (unsigned i = 0; i < point->threads; i++) {
		const struct worker *worker = &replay->workers[i];

		point->requests += worker->requests;
		point->hits += worker->hits;
		point->bytes += worker->bytes;
		point->hit_bytes += worker->hit_bytes;
		*loads += worker->loads;
		if (worker->failed)
			broken(point, "%" PRIu64 " gets failed, the last with %s", worker->failed,
			       hapax_status_name(worker->status));
		if (worker->wrong)
			broken(point, "%" PRIu64 " gets returned the object of another key", worker->wrong);
	}
	if (point->requests != point->series->trace->requests)
		broken(point, "%" PRIu64 " of %" PRIu64 " requests were made", point->requests,
		       point->series->trace->requests);
}

/* At rest, all threads have ended. */
static void judge_cache(struct replay *replay, uint64_t loads)
{
	hpx_point *point = replay->point;
	hapax_cache_stats stats = {.size = sizeof(stats)};

	if (hapax_cache_stats_get(replay->cache, &stats)) {
		broken(point, "the statistics cannot be read");
		return;
	}
	if (point->series->weighted && stats.retained_weight > point->size)
		broken(point, "%" PRIu64 " of weight retained, the bound is %" PRIu64, stats.retained_weight,
		       point->size);
	if (!point->series->weighted && stats.retained > point->size)
		broken(point, "%" PRIu64 " objects retained, the bound is %" PRIu64, stats.retained, point->size);
	if (stats.size_now != stats.retained)
		broken(point, "%" PRIu64 " objects alive that nobody uses, %" PRIu64 " of them retained",
		       stats.size_now, stats.retained);
	if (stats.loads != loads || stats.hits + stats.misses != point->requests)
		broken(point,
		       "the cache counts %" PRIu64 " loads and %" PRIu64 " gets, there were %" PRIu64 " and %" PRIu64,
		       stats.loads, stats.hits + stats.misses, loads, point->requests);
}

/* After the cache has gone: what was born has to be freed, within ten seconds. Objects that
 * were made for a load which another thread then ran are born, too. */
static void judge_end(struct replay *replay, uint64_t loads)
{
	const struct timespec pause = {0, 1000000};
	uint64_t deadline = hpx_now() + 10 * HAPAX_SECOND;
	hpx_point *point = replay->point;
	hapax_env_stats stats;

	for (;;) {
		stats = (hapax_env_stats){.size = sizeof(stats)};
		if (hapax_env_stats_get(replay->env, &stats)) {
			broken(point, "the environment's statistics cannot be read");
			return;
		}
		if ((stats.objects_born == stats.objects_destroyed && stats.objects_born == stats.objects_freed) ||
		    hpx_now() > deadline)
			break;
		hapax_reclaim(replay->env);
		nanosleep(&pause, NULL);
	}
	if (stats.objects_born < loads || stats.objects_destroyed != stats.objects_born ||
	    stats.objects_freed != stats.objects_born)
		broken(point, "%" PRIu64 " loads, %" PRIu64 " objects born, %" PRIu64 " destroyed, %" PRIu64 " freed",
		       loads, stats.objects_born, stats.objects_destroyed, stats.objects_freed);
	if (hpx_relaxed_get(&replay->alive))
		broken(point, "%" PRIu64 " objects leaked", hpx_relaxed_get(&replay->alive));
}

/* Returns how many of the threads could not be started. */
static unsigned run_threads(struct replay *replay)
{
	unsigned threads = replay->point->threads;
	unsigned started = 0;

	for (unsigned i = 0; i < threads; i++)
		replay->workers[i].replay = replay;
	if (threads == 1) { /* on this one */
		work(&replay->workers[0]);
		return 0;
	}
	while (started < threads &&
	       !pthread_create(&replay->workers[started].thread, NULL, work, &replay->workers[started]))
		started++;
	for (unsigned i = 0; i < started; i++)
		pthread_join(replay->workers[i].thread, NULL);
	return threads - started;
}

int hpx_policy_replay(hpx_point *point, uint64_t seed)
{
	struct replay replay = {.point = point};
	uint64_t start = hpx_now();
	uint64_t loads = 0;
	unsigned missing;
	int status;

	replay.workers = calloc(point->threads, sizeof(*replay.workers));
	if (!replay.workers)
		return hpx_input_error("policy", "out of memory for %u threads", point->threads);
	status = open_cache(&replay, seed);
	if (status) {
		free(replay.workers);
		return status;
	}
	missing = run_threads(&replay);
	point->seconds = (double)(hpx_now() - start) / 1e9;
	if (missing) {
		status = hpx_input_error("policy", "%u of %u threads cannot be started", missing, point->threads);
	} else if (hpx_stopping()) {
		status = HPX_EXIT_INPUT; /* told by who asked for it */
	} else {
		sum_up(&replay, &loads);
		judge_cache(&replay, loads);
	}
	hapax_cache_destroy(replay.cache);
	if (!status)
		judge_end(&replay, loads);
	hapax_env_destroy(replay.env);
	free(replay.workers);
	point->done = !status;
	return status;
}
