/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lines/operations.c - the operations, and what each is done on. */
#include "lines/operations.h"

#include <stdlib.h>

struct payload {
	uint64_t words[8];
};
static const hapax_type payload_type = {HAPAX_TYPE_INIT, .name = "payload", .size = sizeof(struct payload)};
static const hapax_type readable_type = {HAPAX_TYPE_INIT, .name = "readable", .size = sizeof(struct payload),
					 .flags = HAPAX_TYPE_BORROW};

const char *const lines_phases[PHASES] = {"same key", "other key", "other cache", "other env"};

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)key, (void)arg, (void)error;
	((struct payload *)object)->words[0] = 1;
	return HAPAX_LOAD_OK;
}

static int compute(void *result, void *owner, const hapax_arg *args, size_t n, void *ctx, hapax_load_error *error)
{
	(void)owner, (void)args, (void)n, (void)ctx, (void)error;
	((struct payload *)result)->words[0] = 1;
	return HAPAX_LOAD_OK;
}

static void must(int rc)
{
	if (rc)
		abort();
}

/* ---- what is done --------------------------------------------------------------------------------------------------- */

static void hit(struct seat *s, unsigned part)
{
	if (part == 0)
		must(hapax_cache_get(s->set->cache, HAPAX_KEY_OF(s->key), &s->got));
	else
		hapax_release(s->got);
}

static void borrow(struct seat *s, unsigned part)
{
	const void *object;

	if (part == 0)
		must(hapax_cache_borrow(s->set->cache, HAPAX_KEY_OF(s->key), &object));
	else
		hapax_borrow_end();
}

static void hit_many(struct seat *s, unsigned part)
{
	static __thread void *got[MANY];
	uint64_t numbers[MANY];
	hapax_key keys[MANY];

	for (unsigned i = 0; i < MANY; i++) {
		numbers[i] = (s->key + i) % KEYS;
		keys[i] = HAPAX_KEY_OF(numbers[i]);
	}
	if (part == 0)
		must(hapax_cache_get_many(s->set->cache, keys, MANY, got, NULL, NULL));
	else
		for (unsigned i = 0; i < MANY; i++)
			hapax_release(got[i]);
}

static void look(struct seat *s, unsigned part)
{
	(void)part;
	if (hapax_cache_contains(s->set->cache, HAPAX_KEY_OF(s->key)) != 1)
		abort();
}

static void hold(struct seat *s, unsigned part)
{
	if (part == 0)
		must(hapax_retain(s->set->object[s->key]));
	else
		hapax_release(s->set->object[s->key]);
}

static void upgrade(struct seat *s, unsigned part)
{
	if (part == 0)
		s->got = hapax_weak_get(s->set->weak[s->key]);
	else
		hapax_release(s->got);
}

static void weak_pair(struct seat *s, unsigned part)
{
	static __thread hapax_weak *weak;

	if (part == 0)
		must(hapax_weak_new(s->set->object[s->key], NULL, &weak));
	else
		hapax_weak_drop(weak);
}

/* Of an object that has had none; it goes with it. */
static void first_weak(struct seat *s, unsigned part)
{
	static __thread hapax_weak *weak;

	if (part == 0) {
		must(hapax_new(s->set->env, &payload_type, 0, &s->got));
		must(hapax_weak_new(s->got, NULL, &weak));
	} else {
		hapax_release(s->got);
		hapax_weak_drop(weak);
	}
}

static void plain(struct seat *s, unsigned part)
{
	if (part == 0)
		must(hapax_new(s->set->env, &payload_type, 0, &s->got));
	else
		hapax_release(s->got);
}

/* A key that nobody holds: the get creates, the release kills. */
static void churn(struct seat *s, unsigned part)
{
	hit(s, part);
}

/* One that never was there before, in a full cache: something else has to go. */
static void evict(struct seat *s, unsigned part)
{
	(void)part;
	must(hapax_cache_get(s->set->cache, HAPAX_KEY_OF(s->fresh), &s->got));
	hapax_release(s->got);
	s->fresh++;
}

static void put(struct seat *s, unsigned part)
{
	(void)part;
	s->fresh++;
	must(hapax_cache_put(s->set->cache, HAPAX_KEY_OF(s->key), s->fresh & 1 ? s->set->twin[s->key] : s->set->object[s->key]));
}

static void put_remove(struct seat *s, unsigned part)
{
	if (part == 0)
		must(hapax_cache_put(s->set->cache, HAPAX_KEY_OF(s->key), s->set->object[s->key]));
	else
		must(hapax_cache_remove(s->set->cache, HAPAX_KEY_OF(s->key)));
}

static void call(struct seat *s, unsigned part)
{
	if (part == 0)
		must(hapax_memo_call(s->set->memo, s->set->owner, HAPAX_ARGS(hapax_arg_uint(s->key)), &s->got));
	else
		hapax_release(s->got);
}

#define WEAK .cache = {.name = "weak"}
#define BOUNDED(policy_) .cache = {.max_entries = 4 * KEYS}, .policy = (policy_)
#define GET {"get", "release"}
#define HOUR (3600 * (int64_t)HAPAX_SECOND)

/* `reads` of a hit: the cache, where it keeps this thread's counters, its table, the table's array and bucket, two lines of
 * liburcu's, the hint that hot objects are in use; of a managed cache the options of its tier, and with time those of its clock, too. */
const struct operation lines_operations[] = {
	{"hit", GET, hit, 1, 0, WEAK, NULL, HIT, 8},
	{"hit, without statistics", GET, hit, 1, 0, .cache = {.flags = HAPAX_CACHE_NO_STATS}, NULL, HIT, 7},
	{"hit, get_many, per key", GET, hit_many, MANY, 0, WEAK, NULL, 0, 0},
	{"contains", {"contains"}, look, 1, 0, WEAK, NULL, LOCK_FREE | NOTHING_SHARED | FEW_LINES, 8},
	{"hit, bounded, adaptive", GET, hit, 1, 0, BOUNDED(hapax_policy_adaptive), HIT, 10},
	{"hit, bounded, S3-FIFO", GET, hit, 1, 0, BOUNDED(hapax_policy_s3fifo), HIT, 10},
	{"hit, bounded, SIEVE", GET, hit, 1, 0, BOUNDED(hapax_policy_sieve), HIT, 10},
	{"hit, bounded, weighted", GET, hit, 1, 0, BOUNDED(hapax_policy_weighted), HIT, 10},
	{"hit, bounded, W-TinyLFU", GET, hit, 1, 0, BOUNDED(hapax_policy_tinylfu), 0, 0},
	{"hit, bounded, exact LRU", GET, hit, 1, 0, BOUNDED(hapax_policy_lru), 0, 0},
	{"borrow", {"borrow", "end"}, borrow, 1, 0, WEAK, NULL, LOCK_FREE | NOTHING_SHARED | NO_COUNT | FEW_LINES, 8},
	{"hit, ttl", GET, hit, 1, 0, .cache = {.ttl_ns = HOUR}, NULL, HIT, 13},
	{"hit, held while idle", GET, hit, 1, 0, .cache = {.retain_idle_ns = HOUR}, NULL, LOCK_FREE | NOTHING_SHARED, 0},
	{"memo", {"call", "release"}, call, 1, NEEDS_MEMO, WEAK, NULL, HIT, 12},
	{"memo of owners", {"call", "release"}, call, 1, NEEDS_MEMO | NEEDS_OWNER, WEAK, NULL, LOCK_FREE, 0},
	{"held object", {"retain", "release"}, hold, 1, 0, WEAK, NULL, HIT, 3},
	{"weak reference", {"upgrade", "release"}, upgrade, 1, 0, WEAK, NULL, HIT, 5},
	{"weak reference, another", {"new", "drop"}, weak_pair, 1, 0, WEAK, NULL, LOCK_FREE | NOTHING_SHARED, 0},
	{"object", {"new", "death"}, plain, 1, NO_SAME_KEY, WEAK, NULL, LAST_FREE, 0},
	{"object, with weak reference", {"new", "death"}, first_weak, 1, NO_SAME_KEY, WEAK, NULL, LAST_FREE, 0},
	{"churn", {"get that creates", "death"}, churn, 1, NOT_HELD, WEAK, NULL, LAST_FREE, 0},
	{"eviction, adaptive", {"get that creates and evicts"}, evict, 1, NO_SAME_KEY, .cache = {.max_entries = KEYS},
	 hapax_policy_adaptive, 0, 0},
	{"put over another", {"put"}, put, 1, 0, WEAK, NULL, 0, 0},
	{"put and remove", {"put", "remove"}, put_remove, 1, NOT_HELD, WEAK, NULL, LAST_FREE, 0},
	/* the last: what says that objects are hot is written now and then from here on */
	{"hit, promoted", GET, hit, 1, NEEDS_PROMOTED, BOUNDED(NULL), LOCK_FREE | NOTHING_SHARED | NO_COUNT | FEW_LINES, 10},
	{.name = NULL},
};

/* ---- sets ------------------------------------------------------------------------------------------------------------ */

int set_make(struct set *set, hapax_env *env, const struct operation *op)
{
	hapax_cache_options options = op->cache;
	hapax_memo_options memo = {HAPAX_MEMO_OPTIONS_INIT, .env = env, .type = &payload_type, .compute = compute,
				   .capacity = 4 * KEYS, .flags = op->needs & NEEDS_OWNER ? HAPAX_MEMO_OWNED : 0};
	int rc;

	*set = (struct set){.env = env};
	options.size = sizeof(options);
	options.env = env;
	options.type = op->run == borrow ? &readable_type : &payload_type;
	options.load = load;
	options.policy = op->policy ? op->policy() : NULL;
	rc = hapax_cache_create(&set->cache, &options);
	if (!rc && op->needs & NEEDS_OWNER)
		rc = hapax_new(env, &payload_type, 0, &set->owner);
	if (!rc && op->needs & NEEDS_MEMO)
		rc = hapax_memo_create(&set->memo, &memo);
	for (uint64_t i = 0; !rc && i < KEYS; i++) {
		if (op->needs & NEEDS_MEMO)
			rc = hapax_memo_call(set->memo, set->owner, HAPAX_ARGS(hapax_arg_uint(i)), &set->object[i]);
		else if (op->needs & NOT_HELD)
			rc = hapax_new(env, &payload_type, 0, &set->object[i]);
		else
			rc = hapax_cache_get(set->cache, HAPAX_KEY_OF(i), &set->object[i]);
		if (!rc)
			rc = hapax_weak_new(set->object[i], NULL, &set->weak[i]);
		if (!rc)
			rc = hapax_new(env, &payload_type, 0, &set->twin[i]);
	}
	return rc;
}

void set_end(struct set *set, const struct operation *op)
{
	(void)op;
	for (unsigned i = 0; i < KEYS; i++) {
		hapax_weak_drop(set->weak[i]);
		hapax_release(set->object[i]);
		hapax_release(set->twin[i]);
	}
	hapax_cache_destroy(set->cache);
	hapax_memo_destroy(set->memo);
	hapax_release(set->owner);
}
