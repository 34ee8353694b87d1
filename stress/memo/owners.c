/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memo/owners.c - owners that die in random order on several threads.
 *
 * Three kinds of owner die in turn, generation after generation: such as never called a memo, such as hold their result
 * themselves, and such as a memo holds a result for. Each death is one timed release of the last reference; the clock's own
 * time is taken off. Between deaths a thread lets others go first now and then, so that deaths of all threads interleave
 * even on few processors. Owners are made by a thread that ends then, and with it its share of the pool.
 *
 * Memory is compared where it can be: before and after all generations the memo has just served owners that came and
 * went one by one, so that its tables, which shrink as they are used, are small. What may remain is what the pool keeps
 * free for the next objects. When the environment ends not a byte may.
 */
#include "memo.h"

#include "harness/options.h"
#include "harness/relaxed.h"
#include "harness/rng.h"
#include "harness/team.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEATHS_IN_A_ROW = 8, DRAIN_SECONDS = 10, STILL = 10, CLOCK_SAMPLES = 1001, ONE_BY_ONE = 16384 };
#define POOL_KEEPS ((uint64_t)384 << 10) /* six pages more than before: results, their nodes and side records have size classes */

struct owner {
	uint64_t number;
	void *result; /* HPX_MEMO_HOLDING */
};

struct result {
	uint64_t serial; /* from 1; 0: of no interest */
	uint64_t value;
};

struct reaper {
	hpx_histogram death;
	uint64_t total_ns;
};

struct field {
	const hpx_memo_order *order;
	hpx_memo_owners *out;
	hapax_env *env;
	hapax_memo *memo;
	void **owners; /* of this generation, shuffled */
	struct reaper *reapers;
	uint64_t clock_ns;
	hpx_relaxed *destroyed; /* by serial */
	uint64_t serials;
	uint64_t called; /* owners, twice each */
	hpx_relaxed serial, beyond, owners_destroyed, bytes;
};

static struct field field; /* of this process: types refer to it, and stuck threads may */

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void *count_alloc(size_t size, size_t align, void *ctx)
{
	void *block = NULL;

	(void)ctx;
	if (posix_memalign(&block, align, size))
		return NULL;
	hpx_relaxed_add(&field.bytes, size);
	return block;
}

static void count_free(void *block, size_t size, size_t align, void *ctx)
{
	(void)align;
	(void)ctx;
	hpx_relaxed_add(&field.bytes, -(uint64_t)size);
	free(block);
}

static uint64_t alive(void)
{
	hapax_env_stats stats = {.size = sizeof(stats)};

	return hapax_env_stats_get(field.env, &stats) ? UINT64_MAX : stats.objects_born - stats.objects_freed;
}

/* Until as many objects are there as before and memory has not changed for a while, or it takes too long. */
static uint64_t drain(uint64_t objects)
{
	const struct timespec pause = {0, 1000000};
	uint64_t start = hpx_now(), still = 0, bytes = 0, last = start;

	while (still < STILL && last - start < DRAIN_SECONDS * HAPAX_SECOND && !hpx_interrupted()) {
		hapax_reclaim(field.env);
		still = alive() == objects && hpx_relaxed_get(&field.bytes) == bytes ? still + 1 : 0;
		bytes = hpx_relaxed_get(&field.bytes);
		nanosleep(&pause, NULL);
		last = hpx_now();
	}
	return last - start;
}

/* ---- owners and results ------------------------------------------------------------------------------------------ */

static void result_destroy(void *object, void *arg)
{
	struct result *result = object;

	(void)arg;
	if (result->serial && result->serial < field.serials)
		hpx_relaxed_add(&field.destroyed[result->serial], 1);
	else if (result->serial)
		hpx_relaxed_add(&field.beyond, 1);
}

static void owner_destroy(void *object, void *arg)
{
	struct owner *owner = object;

	(void)arg;
	hpx_relaxed_add(&field.owners_destroyed, 1);
	hapax_release(owner->result);
}

static const hapax_type result_type = {
	HAPAX_TYPE_INIT, .name = "result", .size = sizeof(struct result), .destroy = result_destroy};
static const hapax_type owner_type = {
	HAPAX_TYPE_INIT, .name = "owner", .size = sizeof(struct owner), .destroy = owner_destroy};

static void fill_result(struct result *result, uint64_t value)
{
	result->serial = hpx_relaxed_add(&field.serial, 1);
	result->value = value;
}

static int compute(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)n;
	(void)ctx;
	(void)error;
	fill_result(result, ((struct owner *)owner)->number + args->value.u);
	return HAPAX_LOAD_OK;
}

static int call(hapax_memo *memo, struct owner *owner, uint64_t key, hpx_result *result)
{
	hapax_arg arg = hapax_arg_uint(key);
	void *out = NULL;
	int status = hapax_memo_call(memo, owner, &arg, 1, &out);

	if (!status && ((struct result *)out)->value != owner->number + key)
		hpx_result_broken(result, "owner %" PRIu64 " got the result of another owner", owner->number);
	hapax_release(out);
	return status;
}

static int make_memo(int64_t capacity, hapax_memo **out)
{
	hapax_memo_options options = {
		HAPAX_MEMO_OPTIONS_INIT,
		.flags = HAPAX_MEMO_OWNED,
		.env = field.env,
		.type = &result_type,
		.compute = compute,
		.capacity = capacity,
	};

	return hapax_memo_create(out, &options);
}

static int make_owner(enum hpx_memo_kind kind, uint64_t number, void **out, hpx_result *result)
{
	struct owner *owner;
	int status = hapax_new(field.env, &owner_type, 0, out);

	if (status)
		return status;
	owner = *out;
	owner->number = number;
	if (kind == HPX_MEMO_HOLDING)
		status = hapax_new(field.env, &result_type, 0, &owner->result);
	if (!status && kind == HPX_MEMO_HOLDING)
		fill_result(owner->result, number);
	/* computed, and found */
	if (kind == HPX_MEMO_OWNING)
		status = call(field.memo, owner, 7, result);
	if (!status && kind == HPX_MEMO_OWNING)
		status = call(field.memo, owner, 7, result);
	field.called += kind == HPX_MEMO_OWNING;
	return status;
}

/* ---- deaths ------------------------------------------------------------------------------------------------------ */

static uint64_t clock_cost(void)
{
	double took[CLOCK_SAMPLES];

	for (unsigned i = 0; i < CLOCK_SAMPLES; i++) {
		uint64_t start = hpx_now();

		took[i] = (double)(hpx_now() - start);
	}
	return (uint64_t)hpx_memo_median(took, CLOCK_SAMPLES);
}

static void reap(unsigned index, void *ctx)
{
	struct reaper *r = &field.reapers[index];
	uint64_t n = field.order->owners, threads = field.order->threads;

	(void)ctx;
	for (uint64_t i = index; i < n; i += threads) {
		uint64_t start = hpx_now(), took;

		hapax_release(field.owners[i]);
		took = hpx_now() - start;
		took -= took < field.clock_ns ? took : field.clock_ns;
		hpx_histogram_add(&r->death, took);
		r->total_ns += took;
		if (i / threads % DEATHS_IN_A_ROW == 0)
			sched_yield();
	}
}

static void judge_memo(hpx_result *result)
{
	hapax_memo_info info = {.size = sizeof(info)};
	int status = hapax_memo_info_get(field.memo, NULL, &info);

	if (status)
		hpx_result_broken(result, "the memo's info: %s", hapax_status_text(status));
	if (info.entries || info.owners)
		hpx_result_broken(result,
				  "%" PRIu64 " entries and %" PRIu64 " owners are left after every owner's death",
				  info.entries, info.owners);
	if (info.computed != field.called || info.misses != field.called || info.hits != field.called || info.failed)
		hpx_result_broken(result,
				  "%" PRIu64 " owners called twice: computed %" PRIu64 ", misses %" PRIu64
				  ", hits %" PRIu64,
				  field.called, info.computed, info.misses, info.hits);
}

/* What died is told from what was made, before any housekeeping: a death is complete when the release has returned. */
static void judge_results(hpx_result *result)
{
	uint64_t made = hpx_relaxed_get(&field.serial) - 1;
	hpx_memo_owners *out = field.out;

	out->results = made;
	out->destroyed_once = out->destroyed_twice = out->not_destroyed = 0;
	for (uint64_t i = 1; i <= made && i < field.serials; i++) {
		uint64_t times = hpx_relaxed_get(&field.destroyed[i]);

		out->destroyed_once += times == 1;
		out->destroyed_twice += times > 1;
		out->not_destroyed += !times;
	}
	if (out->destroyed_once != made || hpx_relaxed_get(&field.beyond))
		hpx_result_broken(result,
				  "of %" PRIu64 " results %" PRIu64 " were destroyed more than once, %" PRIu64
				  " not at all",
				  made, out->destroyed_twice, out->not_destroyed + hpx_relaxed_get(&field.beyond));
}

static int reap_all(enum hpx_memo_kind kind, bool counts, hpx_result *result)
{
	hpx_team team = {.threads = (unsigned)field.order->threads, .work = reap, .patience = 60};
	uint64_t before = hpx_relaxed_get(&field.owners_destroyed);
	int status;

	for (unsigned t = 0; t < team.threads; t++)
		memset(&field.reapers[t], 0, sizeof(field.reapers[t]));
	status = hpx_team_run("memo", &team);
	if (team.stuck) {
		result->interrupted = true;
		return hpx_input_error("memo", "%u of %u threads did not come back", team.stuck, team.threads);
	}
	if (status)
		return status;
	if (hpx_relaxed_get(&field.owners_destroyed) - before != field.order->owners)
		hpx_result_broken(result, "%" PRIu64 " of %" PRIu64 " owners were destroyed",
				  hpx_relaxed_get(&field.owners_destroyed) - before, field.order->owners);
	for (unsigned t = 0; counts && t < team.threads; t++) {
		hpx_histogram_merge(&field.out->death[kind], &field.reapers[t].death);
		field.out->total_ns[kind] += field.reapers[t].total_ns;
	}
	return 0;
}

/* One thread's work that ends with it, and with what of the pool was its share. */
struct making {
	enum hpx_memo_kind kind;
	bool one_by_one;
	int status;
	hpx_result *result;
};

static void make_owners(unsigned index, void *ctx)
{
	struct making *m = ctx;
	uint64_t n = m->one_by_one ? ONE_BY_ONE : field.order->owners;

	(void)index;
	for (uint64_t i = 0; i < n && !m->status; i++) {
		void *owner = NULL;

		m->status = make_owner(m->kind, i, &owner, m->result);
		if (m->one_by_one)
			hapax_release(owner);
		else
			field.owners[i] = owner;
	}
}

static int make(enum hpx_memo_kind kind, bool one_by_one, hpx_result *result)
{
	static struct making making;
	hpx_team team = {.threads = 1, .work = make_owners, .ctx = &making, .patience = 60};
	int status;

	making = (struct making){.kind = kind, .one_by_one = one_by_one, .result = result};
	status = hpx_team_run("memo", &team);
	if (team.stuck) {
		result->interrupted = true;
		return hpx_input_error("memo", "the thread that makes owners did not come back");
	}
	if (!status && making.status)
		status = hpx_input_error("memo", "making owners failed: %s", hapax_status_text(making.status));
	return status;
}

static int generation(enum hpx_memo_kind kind, uint64_t number, hpx_result *result)
{
	hpx_rng rng = hpx_rng_stream(field.order->seed, number * HPX_MEMO_KINDS + kind);
	int status = make(kind, false, result);

	if (status)
		return status;
	for (uint64_t i = field.order->owners; i > 1; i--) {
		uint64_t other = hpx_rng_below(&rng, i);
		void *kept = field.owners[i - 1];

		field.owners[i - 1] = field.owners[other];
		field.owners[other] = kept;
	}
	if (kind == HPX_MEMO_OWNING)
		field.out->bytes_with = hpx_relaxed_get(&field.bytes);
	status = reap_all(kind, number > 0, result);
	if (!status)
		judge_results(result);
	return status;
}

/* What there is when nothing is in use. */
static int settle(uint64_t objects, uint64_t *bytes, hpx_result *result)
{
	int status = make(HPX_MEMO_OWNING, true, result);

	drain(objects);
	*bytes = hpx_relaxed_get(&field.bytes);
	return status;
}

static int generations(hpx_result *result)
{
	hpx_memo_owners *out = field.out;
	int status = 0;

	for (uint64_t g = 0; g < field.order->generations && !status && !hpx_interrupted(); g++) {
		for (unsigned k = 0; k < HPX_MEMO_KINDS && !status && !result->broken_used; k++) {
			enum hpx_memo_kind kind = (g + k) % HPX_MEMO_KINDS;
			uint64_t took;

			status = generation(kind, g, result);
			if (status)
				break;
			took = drain(out->alive_before);
			out->drain_ns = took > out->drain_ns ? took : out->drain_ns;
			if (kind == HPX_MEMO_OWNING)
				out->bytes_unused = hpx_relaxed_get(&field.bytes);
		}
		out->deaths += g ? field.order->owners : 0;
	}
	return status;
}

static int compare_memory(hpx_result *result)
{
	hpx_memo_owners *out = field.out;
	int status;

	out->alive_before = alive();
	status = settle(out->alive_before, &out->bytes_before, result);
	if (!status)
		status = generations(result);
	if (status || hpx_interrupted())
		return status;
	judge_memo(result);
	/* what is broken would be waited for in vain */
	if (!result->broken_used)
		status = settle(out->alive_before, &out->bytes_after, result);
	if (status)
		return status;
	out->alive_after = alive();
	if (out->alive_after != out->alive_before)
		hpx_result_broken(result, "%" PRIu64 " objects are alive after every owner's death, %" PRIu64 " before",
				  out->alive_after, out->alive_before);
	if (out->bytes_after > out->bytes_before + POOL_KEEPS)
		hpx_result_broken(result, "%" PRIu64 " bytes are held after every owner's death, %" PRIu64 " before",
				  out->bytes_after, out->bytes_before);
	return 0;
}

/* ---- one owner of many entries ----------------------------------------------------------------------------------- */

static int release_owned(double *took, hpx_result *result)
{
	uint64_t n = field.order->owned;
	hapax_memo *memo = NULL;
	void *owner = NULL;
	int status = make_memo((int64_t)n, &memo);

	if (!status)
		status = hapax_new(field.env, &owner_type, 0, &owner);
	for (uint64_t i = 0; i < n && !status; i++)
		status = call(memo, owner, i, result);
	*took = hpx_memo_cpu_ns();
	hapax_release(owner);
	*took = (hpx_memo_cpu_ns() - *took) / (double)n;
	hapax_memo_destroy(memo);
	return status;
}

static int release_plain(double *took)
{
	uint64_t n = field.order->owned;
	void **objects = calloc(n, sizeof(*objects));
	int status = objects ? 0 : HAPAX_ENOMEM;

	for (uint64_t i = 0; i < n && !status; i++) {
		status = hapax_new(field.env, &result_type, 0, &objects[i]);
		if (!status)
			fill_result(objects[i], i);
	}
	*took = hpx_memo_cpu_ns();
	for (uint64_t i = 0; objects && i < n; i++)
		hapax_release(objects[i]);
	*took = (hpx_memo_cpu_ns() - *took) / (double)n;
	free(objects);
	return status;
}

static int one_owner(hpx_result *result)
{
	double *owned = calloc(2 * field.order->generations, sizeof(*owned)), *plain = owned + field.order->generations;
	int status = owned ? 0 : HAPAX_ENOMEM;

	for (uint64_t g = 0; g < field.order->generations && !status; g++) {
		status = release_owned(&owned[g], result);
		drain(field.out->alive_before);
		if (!status)
			status = release_plain(&plain[g]);
		drain(field.out->alive_before);
	}
	if (!status) {
		field.out->entry_ns = hpx_memo_median(owned, field.order->generations);
		field.out->entry_plain_ns = hpx_memo_median(plain, field.order->generations);
		judge_results(result);
	}
	free(owned);
	return status ? hpx_input_error("memo", "one owner of many: %s", hapax_status_text(status)) : 0;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static int prepare(hpx_memo_owners *out, const hpx_memo_order *order)
{
	const hapax_allocator allocator = {count_alloc, count_free, NULL};
	int status;

	memset(&field, 0, sizeof(field));
	field.order = order;
	field.out = out;
	hpx_relaxed_set(&field.serial, 1);
	field.serials = 1 + order->generations * 2 * (order->owners + order->owned) + 2 * ONE_BY_ONE;
	field.destroyed = calloc(field.serials, sizeof(*field.destroyed));
	field.owners = calloc(order->owners, sizeof(*field.owners));
	field.reapers = calloc(order->threads, sizeof(*field.reapers));
	field.clock_ns = clock_cost();
	if (!field.destroyed || !field.owners || !field.reapers)
		return hpx_input_error("memo", "out of memory for %" PRIu64 " owners", order->owners);
	field.env = hpx_memo_env(order->seed, &allocator);
	if (!field.env)
		return HPX_EXIT_INPUT;
	status = make_memo(4, &field.memo);
	return status ? hpx_input_error("memo", "no memo: %s", hapax_status_text(status)) : 0;
}

/* The last of an environment goes after grace periods. */
static void end(hpx_result *result)
{
	const struct timespec pause = {0, 1000000};
	uint64_t start = hpx_now();

	hapax_memo_destroy(field.memo);
	hapax_env_destroy(field.env);
	while (hpx_relaxed_get(&field.bytes) && hpx_now() - start < DRAIN_SECONDS * HAPAX_SECOND) {
		hapax_reclaim(NULL);
		nanosleep(&pause, NULL);
	}
	field.out->bytes_end = hpx_relaxed_get(&field.bytes);
	if (field.out->bytes_end)
		hpx_result_broken(result, "%" PRIu64 " bytes are left of an environment that has ended",
				  field.out->bytes_end);
	free(field.destroyed);
	free(field.owners);
	free(field.reapers);
}

int hpx_memo_owners_run(hpx_memo_owners *out, const hpx_memo_order *order, hpx_result *result)
{
	int status = prepare(out, order);

	if (!status)
		status = compare_memory(result);
	if (!status && !result->broken_used)
		status = one_owner(result);
	if (!result->interrupted)
		end(result);
	return status;
}
