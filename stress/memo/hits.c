/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memo/hits.c - a hit of a memo beside a hit of a cache.
 *
 * All subjects hold the same keys, twice as many would fit, and nothing is ever computed while they are measured. In each
 * round every subject has its turn, in another order, over the same keys as the others; what a round costs is the time that
 * the threads had of the processor, so that a busy machine changes little. Shown is the median of the rounds.
 */
#include "memo.h"

#include "harness/options.h"
#include "harness/relaxed.h"
#include "harness/rng.h"
#include "harness/team.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum kind { BOUNDED, BOUNDED_LRU, UNMANAGED, MEMO, MEMO_OWNED, MEMO_SHARED, MEMO_LRU, MEMO_OWNED_LRU, KINDS };
_Static_assert((int)KINDS == (int)HPX_MEMO_SUBJECTS, "as many rows");
enum { WARM_ROUNDS = 2, PARTIES = 2 };

static const struct {
	const char *name;
	enum kind reference;
	bool memo, owned, lru;
} kinds[KINDS] = {
	[BOUNDED] = {"cache", BOUNDED, false, false, false},
	[BOUNDED_LRU] = {"cache, exact LRU", BOUNDED_LRU, false, false, true},
	[UNMANAGED] = {"cache without a bound", BOUNDED, false, false, false},
	[MEMO] = {"memo", BOUNDED, true, false, false},
	[MEMO_OWNED] = {"memo, owned", BOUNDED, true, true, false},
	[MEMO_SHARED] = {"memo, owned, one budget", BOUNDED, true, true, false},
	[MEMO_LRU] = {"memo, exact LRU", BOUNDED_LRU, true, false, true},
	[MEMO_OWNED_LRU] = {"memo, owned, exact LRU", BOUNDED_LRU, true, true, true},
};

struct subject {
	hapax_cache *cache;
	hapax_memo *memo;
	void *owner;
	void **held; /* the results of a cache that holds none itself */
	uint64_t wrong, expected_hits;
};

struct field {
	const hpx_memo_order *order;
	uint64_t n, *keys; /* n of them, in random order */
	hapax_env *env;
	struct subject subject[KINDS];
	unsigned threads;
	pthread_barrier_t barrier;
	bool stop; /* written by the first thread between two barriers */
	double *ns; /* [KINDS][rounds], sums over the threads */
	double mine[PARTIES];
	uint64_t wrong[PARTIES];
};

static const hapax_type result_type = {HAPAX_TYPE_INIT, .name = "result", .size = 16};
static const hapax_type owner_type = {HAPAX_TYPE_INIT, .name = "owner", .size = 16};

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)arg;
	(void)error;
	memcpy(object, key->data, sizeof(uint64_t));
	return HAPAX_LOAD_OK;
}

static int compute(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner;
	(void)n;
	(void)ctx;
	(void)error;
	memcpy(result, hapax_arg_data(args), sizeof(uint64_t));
	return HAPAX_LOAD_OK;
}

static int call_cache(struct subject *s, const uint64_t *key, void **out)
{
	return hapax_cache_get(s->cache, hapax_key_bytes(key, sizeof(*key)), out);
}

static int call_memo(struct subject *s, const uint64_t *key, void **out)
{
	hapax_arg arg = hapax_arg_uint(*key);

	return hapax_memo_call(s->memo, s->owner, &arg, 1, out);
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static int make_cache(struct field *f, enum kind kind, hapax_cache **out)
{
	hapax_cache_options options = {
		HAPAX_CACHE_OPTIONS_INIT,
		.env = f->env,
		.type = &result_type,
		.load = load,
		.max_entries = kind == UNMANAGED ? 0 : (int64_t)(2 * f->n),
		.policy = kinds[kind].lru ? hapax_policy_lru() : NULL,
	};

	return hapax_cache_create(out, &options);
}

static int make_memo(struct field *f, enum kind kind, hapax_memo **out)
{
	hapax_memo_options options = {
		HAPAX_MEMO_OPTIONS_INIT,
		.env = f->env,
		.type = &result_type,
		.compute = compute,
		.capacity = (int64_t)(2 * f->n),
		.policy = kinds[kind].lru ? hapax_policy_lru() : NULL,
		.flags = (kinds[kind].owned ? HAPAX_MEMO_OWNED : 0u) |
			 (kind == MEMO_SHARED ? HAPAX_MEMO_SHARED_BUDGET : 0u),
	};

	return hapax_memo_create(out, &options);
}

/* Every key once, in order of the keys. */
static int fill(struct field *f, enum kind kind)
{
	struct subject *s = &f->subject[kind];
	void *out = NULL;
	int status = 0;

	for (uint64_t i = 0; i < f->n && !status; i++) {
		status = kinds[kind].memo ? call_memo(s, &f->keys[i], &out) : call_cache(s, &f->keys[i], &out);
		if (!status && s->held)
			s->held[i] = out;
		else
			hapax_release(out);
	}
	return status;
}

static int make(struct field *f, enum kind kind)
{
	struct subject *s = &f->subject[kind];
	int status;

	memset(s, 0, sizeof(*s));
	if (kind == UNMANAGED)
		s->held = calloc(f->n, sizeof(*s->held));
	if (kind == UNMANAGED && !s->held)
		return HAPAX_ENOMEM;
	status = kinds[kind].memo ? make_memo(f, kind, &s->memo) : make_cache(f, kind, &s->cache);
	if (!status && kinds[kind].owned)
		status = hapax_new(f->env, &owner_type, 0, &s->owner);
	return status ? status : fill(f, kind);
}

static void end(struct field *f)
{
	for (unsigned k = 0; k < KINDS; k++) {
		struct subject *s = &f->subject[k];

		for (uint64_t i = 0; s->held && i < f->n; i++)
			hapax_release(s->held[i]);
		free(s->held);
		hapax_release(s->owner);
		hapax_memo_destroy(s->memo);
		hapax_cache_destroy(s->cache);
	}
	hapax_env_destroy(f->env);
	free(f->keys);
	free(f->ns);
}

/* ---- measuring --------------------------------------------------------------------------------------------------- */

/* Returns how many results were not those of their key. The two loops are one but for the call. */
static __attribute__((noinline)) uint64_t hit_cache(struct field *f, struct subject *s, uint64_t at)
{
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < f->order->calls; i++, at = at + 1 < f->n ? at + 1 : 0) {
		void *out = NULL;

		if (call_cache(s, &f->keys[at], &out) || *(uint64_t *)out != f->keys[at])
			wrong++;
		hapax_release(out);
	}
	return wrong;
}

static __attribute__((noinline)) uint64_t hit_memo(struct field *f, struct subject *s, uint64_t at)
{
	uint64_t wrong = 0;

	for (uint64_t i = 0; i < f->order->calls; i++, at = at + 1 < f->n ? at + 1 : 0) {
		void *out = NULL;

		if (call_memo(s, &f->keys[at], &out) || *(uint64_t *)out != f->keys[at])
			wrong++;
		hapax_release(out);
	}
	return wrong;
}

/* One turn of all threads: what it costs each is in f->mine[]. */
static void turn(struct field *f, unsigned index, enum kind kind, uint64_t at)
{
	struct subject *s = &f->subject[kind];
	double start;

	pthread_barrier_wait(&f->barrier);
	start = hpx_memo_cpu_ns();
	f->wrong[index] = kinds[kind].memo ? hit_memo(f, s, at) : hit_cache(f, s, at);
	f->mine[index] = hpx_memo_cpu_ns() - start;
	pthread_barrier_wait(&f->barrier);
}

static void account(struct field *f, enum kind kind, uint64_t round)
{
	double sum = 0;

	for (unsigned t = 0; t < f->threads; t++) {
		sum += f->mine[t];
		f->subject[kind].wrong += f->wrong[t];
	}
	f->subject[kind].expected_hits += f->threads * f->order->calls;
	if (round >= WARM_ROUNDS)
		f->ns[kind * f->order->rounds + round - WARM_ROUNDS] =
			sum / (double)f->threads / (double)f->order->calls;
}

static void rounds(unsigned index, void *ctx)
{
	struct field *f = ctx;
	unsigned order[KINDS];

	for (unsigned k = 0; k < KINDS; k++)
		order[k] = k;
	for (uint64_t round = 0; round < f->order->rounds + WARM_ROUNDS; round++) {
		hpx_rng rng = hpx_rng_stream(f->order->seed, round); /* all threads draw the same */
		uint64_t from = hpx_rng_below(&rng, f->n);

		for (unsigned k = KINDS; k > 1; k--) {
			unsigned other = (unsigned)hpx_rng_below(&rng, k), kept = order[k - 1];

			order[k - 1] = order[other];
			order[other] = kept;
		}
		if (!index)
			f->stop = hpx_stopping();
		for (unsigned k = 0; k < KINDS; k++) {
			turn(f, index, order[k], (from + index * (f->n / 2)) % f->n);
			if (!index)
				account(f, order[k], round);
			if (f->stop) /* written before a barrier that this thread has passed */
				return;
		}
	}
}

/* ---- judging ----------------------------------------------------------------------------------------------------- */

static void judge(struct field *f, enum kind kind, hpx_result *result)
{
	struct subject *s = &f->subject[kind];
	uint64_t hits = 0, misses = 0;

	if (s->memo) {
		hapax_memo_info info = {.size = sizeof(info)};

		if (!hapax_memo_info_get(s->memo, NULL, &info)) {
			hits = info.hits;
			misses = info.misses;
		}
	} else {
		hapax_cache_stats stats = {.size = sizeof(stats)};

		if (!hapax_cache_stats_get(s->cache, &stats)) {
			hits = stats.hits;
			misses = stats.misses;
		}
	}
	if (s->wrong)
		hpx_result_broken(result, "%s: %" PRIu64 " calls answered with something else", kinds[kind].name, s->wrong);
	if (misses != f->n || hits != s->expected_hits)
		hpx_result_broken(result,
				  "%s: %" PRIu64 " hits and %" PRIu64 " misses; it should be %" PRIu64 " and %" PRIu64,
				  kinds[kind].name, hits, misses, s->expected_hits, f->n);
}

static void rows(struct field *f, hpx_memo_hits *hits)
{
	double median[KINDS];

	for (unsigned k = 0; k < KINDS; k++)
		median[k] = hpx_memo_median(f->ns + k * f->order->rounds, f->order->rounds);
	for (unsigned k = 0; k < KINDS; k++)
		hits->row[hits->used++] = (hpx_memo_row){
			.subject = kinds[k].name,
			.reference = kinds[kinds[k].reference].name,
			.n = f->n,
			.threads = f->threads,
			.ns = median[k],
			.ratio = median[kinds[k].reference] > 0 ? median[k] / median[kinds[k].reference] : 0,
			.judged = kinds[k].memo,
		};
}

static int measure(struct field *f, unsigned threads, hpx_memo_hits *hits, hpx_result *result)
{
	hpx_team team = {.threads = threads, .work = rounds, .ctx = f, .patience = 60};
	int status;

	f->threads = threads;
	f->stop = false;
	if (pthread_barrier_init(&f->barrier, NULL, threads))
		return hpx_input_error("memo", "no barrier for %u threads", threads);
	status = hpx_team_run("memo", &team);
	if (team.stuck) {
		result->interrupted = true;
		return hpx_input_error("memo", "%u of %u threads did not come back", team.stuck, threads);
	}
	pthread_barrier_destroy(&f->barrier);
	if (!status && team.interrupted)
		return hpx_input_error("memo", "interrupted; nothing was written");
	if (!status)
		rows(f, hits);
	return status;
}

static int prepare(struct field *f, const hpx_memo_order *order, uint64_t n)
{
	hpx_rng rng = hpx_rng_stream(order->seed, n);
	int status = 0;

	memset(f, 0, sizeof(*f));
	f->order = order;
	f->n = n;
	f->keys = calloc(n, sizeof(*f->keys));
	f->ns = calloc(KINDS * order->rounds, sizeof(*f->ns));
	if (!f->keys || !f->ns)
		return hpx_input_error("memo", "out of memory for %" PRIu64 " keys", n);
	f->env = hpx_memo_env(order->seed, NULL);
	if (!f->env)
		return HPX_EXIT_INPUT;
	for (uint64_t i = 0; i < n; i++)
		f->keys[i] = hpx_mix64(order->seed + i); /* one to one: all different */
	for (unsigned k = 0; k < KINDS && !status; k++)
		status = make(f, k);
	for (uint64_t i = n; i > 1; i--) {
		uint64_t other = hpx_rng_below(&rng, i), kept = f->keys[i - 1];

		f->keys[i - 1] = f->keys[other];
		f->keys[other] = kept;
	}
	return status ? hpx_input_error("memo", "filling failed: %s", hapax_status_text(status)) : 0;
}

int hpx_memo_hits_run(hpx_memo_hits *hits, const hpx_memo_order *order, hpx_result *result, FILE *progress)
{
	static struct field field; /* static, because stuck threads may still look at it */
	int status = 0;

	for (unsigned i = 0; i < HPX_MEMO_SIZES && !status; i++) {
		fprintf(progress, "hits of %" PRIu64 " entries ...\n", order->entries[i]);
		fflush(progress);
		status = prepare(&field, order, order->entries[i]);
		for (unsigned threads = 1; threads <= PARTIES && !status; threads++)
			status = measure(&field, threads, hits, result);
		for (unsigned k = 0; k < KINDS && !status; k++)
			judge(&field, k, result);
		if (!result->interrupted)
			end(&field);
	}
	return status;
}
