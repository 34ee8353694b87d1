/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/fuzz_tier.c - sequences of calls on one cache that holds objects itself, against a sequential reference: what the
 * exact LRU policy retains, by number or weight; what time ends, validity or retention; negative results; what the removal
 * listener is told, of which value and why. The clock is moved by the input.
 *
 * After the clock has moved, maintain() is called until there is nothing left to do, but in caches that hold nothing: there
 * what has expired may be told of later, and is found by whoever meets it.
 */
#include <hapax/hapax.h>
#include <hapax/testing.h>

#include "fuzz/fuzz.h"

enum { KEYS = 8, VALUES = 600, STEPS = 400, NONE = KEYS };

struct payload {
	uint32_t magic, id;
};
static const uint32_t alive_magic = 0x600df00d;

struct value {
	struct payload *object;
	unsigned key, refs; /* the input's */
	bool left, dead;
	unsigned told;
	hapax_cause expect, cause;
};

struct entry {
	struct value *value; /* NULL: none, or negative */
	bool negative, listed, heavy;
	uint64_t weight, written, used, deadline;
	unsigned stamp;
};

static struct {
	struct fuzz_input in;
	hapax_env *env;
	hapax_cache *cache;
	uint64_t now;
	/* options */
	bool bounded, weighted, lazy;
	uint64_t bound, ttl, idle, age, negative;
	/* the reference */
	struct value value[VALUES];
	unsigned values, stamps;
	struct entry entry[KEYS];
	unsigned collected[KEYS], collected_expected[KEYS];
	unsigned negatives_told, negatives_left;
	/* what the loader and the weigher answer next */
	unsigned how;
	uint64_t weight;
	struct value *loaded;
} f;

/* ---- the reference ---------------------------------------------------------------------------------------------- */

static bool retains(void) { return f.bounded || f.idle || f.age; }
static bool present(const struct entry *e) { return e->value || e->negative; }
static uint64_t plus(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static uint64_t lapse(const struct entry *e)
{
	uint64_t at = f.age ? plus(e->written, f.age) : UINT64_MAX, idle = f.idle ? plus(e->used, f.idle) : UINT64_MAX;

	return at < idle ? at : idle;
}

static void leave(struct entry *e, hapax_cause cause)
{
	struct value *v = e->value;

	if (v) {
		v->left = true;
		v->expect = cause;
		f.collected_expected[v->key] += cause == HAPAX_CAUSE_COLLECTED;
	} else {
		f.negatives_left++;
	}
	*e = (struct entry){.value = NULL};
}

/* Nobody holds it: it dies. */
static void unheld(struct entry *e)
{
	if (e->listed || (e->value && e->value->refs))
		return;
	leave(e, e->heavy && !fuzz_wrong("FORGETS_SIZE") ? HAPAX_CAUSE_SIZE : HAPAX_CAUSE_COLLECTED);
}

static uint64_t held(void)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k < KEYS; k++)
		if (f.entry[k].listed)
			sum += f.weighted ? f.entry[k].weight : 1;
	return sum;
}

static void evict(void)
{
	while (f.bounded && held() > f.bound) {
		struct entry *oldest = NULL;

		for (unsigned k = 0; k < KEYS; k++) {
			struct entry *e = &f.entry[k];

			if (e->listed && e->weight && (!oldest || e->stamp < oldest->stamp))
				oldest = e;
		}
		if (!oldest)
			return;
		oldest->listed = false;
		oldest->heavy = true;
		unheld(oldest);
	}
}

static void used(struct entry *e)
{
	if (e->listed && !fuzz_wrong("NO_ORDER"))
		e->stamp = ++f.stamps;
}

static void admit(struct entry *e)
{
	if (!retains() && !e->negative)
		return;
	if (f.bounded && (e->weight > f.bound || !f.bound)) {
		e->heavy = true;
		return;
	}
	if (e->listed)
		return;
	e->listed = true;
	e->heavy = false;
	e->stamp = ++f.stamps;
	evict();
}

/* What is over by now. */
static void pass(void)
{
	for (unsigned k = 0; k < KEYS; k++) {
		struct entry *e = &f.entry[k];

		if (present(e) && f.now >= e->deadline + (fuzz_wrong("BOUNDARY") && e->deadline != UINT64_MAX)) {
			leave(e, HAPAX_CAUSE_EXPIRED);
		} else if (e->listed && !e->negative && f.now >= lapse(e)) {
			e->listed = false;
			unheld(e);
		}
	}
}

static void write_times(struct entry *e, uint64_t ttl)
{
	e->written = e->used = f.now;
	e->deadline = plus(f.now, ttl);
}

static void install(unsigned k, struct value *v, uint64_t weight, uint64_t ttl)
{
	struct entry *e = &f.entry[k];

	if (present(e))
		leave(e, HAPAX_CAUSE_REPLACED);
	*e = (struct entry){.value = v, .negative = !v, .weight = weight};
	write_times(e, ttl);
	admit(e);
	if (e->negative)
		unheld(e);
}

static void rewrite(unsigned k, uint64_t weight, uint64_t ttl)
{
	struct entry *e = &f.entry[k];

	write_times(e, ttl);
	if (e->weight != weight && e->listed) {
		e->weight = weight;
		e->stamp = ++f.stamps;
		if (f.bounded && (weight > f.bound || !f.bound)) {
			e->listed = false;
			e->heavy = true;
		}
	} else {
		e->weight = weight;
		used(e);
	}
	admit(e);
	evict();
}

/* ---- user code ---------------------------------------------------------------------------------------------------- */

static uint64_t clock_now(void *ctx)
{
	(void)ctx;
	return f.now;
}

static void quiet(hapax_log_level level, const char *text, void *ctx)
{
	(void)level;
	(void)text;
	(void)ctx;
}

static struct value *value_of(void *object)
{
	struct payload *p = object;

	FUZZ_CHECK(p->magic == alive_magic && p->id < f.values && f.value[p->id].object == p, "not an object of ours");
	FUZZ_CHECK(!f.value[p->id].dead, "a dead object");
	return &f.value[p->id];
}

static void destroy(void *object, void *arg)
{
	struct value *v = value_of(object);

	(void)arg;
	FUZZ_CHECK(!v->refs, "object %u dies while it is held", v->object->id);
	v->dead = true;
	v->object->magic = 0xdead;
}

static const hapax_type type = {HAPAX_TYPE_INIT, .name = "value", .size = sizeof(struct payload), .destroy = destroy};

static struct value *born(void *object, unsigned key)
{
	struct value *v = &f.value[f.values];

	*v = (struct value){.object = object, .key = key};
	*v->object = (struct payload){.magic = alive_magic, .id = f.values++};
	return v;
}

static unsigned key_number(const hapax_key *key)
{
	unsigned k = *(const unsigned char *)key->data;

	FUZZ_CHECK(key->size == 1 && k < KEYS, "a key of %zu bytes", key->size);
	return k;
}

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)arg;
	(void)error;
	if (f.how == 6)
		return HAPAX_LOAD_NOVALUE;
	if (f.how == 7)
		return HAPAX_LOAD_FAIL;
	f.loaded = born(object, key_number(key));
	return HAPAX_LOAD_OK;
}

static int weigh(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)key;
	(void)ctx;
	value_of(object);
	*weight = f.weight;
	return 0;
}

static int removed(const hapax_removal *removal, void *ctx)
{
	unsigned k = key_number(&removal->key);
	struct value *v;

	(void)ctx;
	FUZZ_TRACE("   told of key %u, cause %d%s", k, (int)removal->cause, removal->object ? "" : ", no object");
	if (!removal->object) {
		if (removal->cause == HAPAX_CAUSE_COLLECTED)
			f.collected[k]++;
		else
			f.negatives_told++;
		return 0;
	}
	v = value_of(removal->object);
	FUZZ_CHECK(v->key == k && !v->told++, "object %u: another key, or told twice", v->object->id);
	v->cause = removal->cause;
	return 0;
}

/* ---- steps -------------------------------------------------------------------------------------------------------- */

static hapax_key key_of(unsigned k)
{
	static const unsigned char names[KEYS] = {0, 1, 2, 3, 4, 5, 6, 7};

	return (hapax_key){&names[k], 1};
}

static uint64_t small(void) { return 1 + fuzz_below(&f.in, 12); }

static void release(struct value *v)
{
	struct entry *e = &f.entry[v->key];

	v->refs--;
	if (e->value == v)
		unheld(e);
	hapax_release(v->object);
}

static void hit(struct entry *e)
{
	e->used = f.now;
	if (e->listed)
		used(e);
	else if (f.now < lapse(e))
		admit(e);
}

static void step_get(bool if_present)
{
	unsigned k = fuzz_below(&f.in, KEYS);
	struct entry *e = &f.entry[k];
	struct value *was = e->value;
	bool negative = e->negative;
	void *out = NULL;
	int rc;

	f.how = fuzz_below(&f.in, 8);
	f.weight = fuzz_below(&f.in, 5);
	f.loaded = NULL;
	rc = if_present ? hapax_cache_get_if_present(f.cache, key_of(k), &out) : hapax_cache_get(f.cache, key_of(k), &out);
	FUZZ_TRACE("get key %u: %s", k, hapax_status_name(rc));
	if (was) {
		FUZZ_CHECK(!rc && out == was->object && !f.loaded, "key %u is present: %s", k, hapax_status_name(rc));
		was->refs++;
		hit(e);
	} else if (negative) {
		FUZZ_CHECK(rc == HAPAX_NEGATIVE, "key %u has no value: %s", k, hapax_status_name(rc));
		used(e);
	} else if (if_present) {
		FUZZ_CHECK(rc == HAPAX_MISS, "key %u is absent: %s", k, hapax_status_name(rc));
	} else if (f.loaded) {
		FUZZ_CHECK(!rc && out == f.loaded->object, "key %u was loaded: %s", k, hapax_status_name(rc));
		f.loaded->refs++;
		install(k, f.loaded, f.weighted ? f.weight : 1, f.ttl);
	} else {
		FUZZ_CHECK(rc == (f.how == 6 ? HAPAX_NOVALUE : HAPAX_ELOADER), "key %u: %s", k, hapax_status_name(rc));
		if (f.how == 6 && f.negative)
			install(k, NULL, 1, f.negative);
	}
}

static struct value *pick_held(void)
{
	unsigned from = f.values ? fuzz_byte(&f.in) % f.values : 0;

	for (unsigned i = 0; i < f.values; i++)
		if (f.value[(from + i) % f.values].refs)
			return &f.value[(from + i) % f.values];
	return NULL;
}

static void step_put(bool again)
{
	struct value *v = again ? pick_held() : NULL;
	unsigned k = v ? v->key : fuzz_below(&f.in, KEYS), how = fuzz_byte(&f.in);
	hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT};
	uint64_t ttl = f.ttl, weight = 1;
	void *object;
	int rc;

	if (again && (!v || v->left))
		return; /* a value is put under one key, once, so that it is told of once */
	if (!v) {
		FUZZ_CHECK(!hapax_new(f.env, &type, 0, &object), "hapax_new");
		v = born(object, k);
		v->refs = 1;
	}
	f.weight = weight = f.weighted ? fuzz_below(&f.in, 5) : 1;
	if (f.weighted && how & 1) {
		weight = fuzz_below(&f.in, 5);
		o.weight = weight ? (int64_t)weight : HAPAX_ZERO;
	}
	if (f.ttl != UINT64_MAX && how & 2) {
		ttl = how & 4 ? 0 : small();
		o.ttl_ns = ttl ? (int64_t)ttl : HAPAX_ZERO;
	}
	rc = hapax_cache_put_with(f.cache, key_of(k), v->object, &o);
	FUZZ_TRACE("put key %u object %u weight %u ttl %llu: %s", k, v->object->id, (unsigned)weight,
		   (unsigned long long)ttl, hapax_status_name(rc));
	FUZZ_CHECK(!rc, "%s", hapax_status_name(rc));
	if (f.entry[k].value == v)
		rewrite(k, weight, ttl);
	else
		install(k, v, weight, ttl);
}

static void step_remove(void)
{
	unsigned k = fuzz_below(&f.in, KEYS);
	struct entry *e = &f.entry[k];
	int rc = hapax_cache_remove(f.cache, key_of(k));

	FUZZ_TRACE("remove key %u: %s", k, hapax_status_name(rc));
	FUZZ_CHECK(e->negative ? rc == 0 || rc == HAPAX_MISS : rc == (e->value ? 0 : HAPAX_MISS), "%s", hapax_status_name(rc));
	if (present(e))
		leave(e, HAPAX_CAUSE_EXPLICIT);
}

static void step_touch(void)
{
	unsigned k = fuzz_below(&f.in, KEYS);
	struct entry *e = &f.entry[k];
	int rc;

	f.weight = fuzz_below(&f.in, 5);
	rc = hapax_cache_touch(f.cache, key_of(k));
	FUZZ_TRACE("touch key %u: %s", k, hapax_status_name(rc));
	FUZZ_CHECK(rc == (e->value ? 0 : HAPAX_MISS), "%s", hapax_status_name(rc));
	if (!rc)
		rewrite(k, e->weight, f.ttl);
}

static void step_ttl(void)
{
	unsigned k = fuzz_below(&f.in, KEYS);
	struct entry *e = &f.entry[k];
	uint64_t ttl = fuzz_below(&f.in, 12);
	int rc = hapax_cache_set_ttl(f.cache, key_of(k), ttl ? (int64_t)ttl : HAPAX_ZERO);

	FUZZ_TRACE("set_ttl key %u %u: %s", k, (unsigned)ttl, hapax_status_name(rc));
	if (f.ttl == UINT64_MAX && !f.idle && !f.age && !f.negative) {
		FUZZ_CHECK(rc == HAPAX_EOPTION, "%s", hapax_status_name(rc));
		return;
	}
	FUZZ_CHECK(rc == (e->value ? 0 : HAPAX_MISS), "%s", hapax_status_name(rc));
	if (!rc)
		e->deadline = f.now + ttl;
}

static void step_deadline(void)
{
	unsigned k = fuzz_below(&f.in, KEYS);
	struct entry *e = &f.entry[k];
	uint64_t deadline = 1;
	int rc = hapax_cache_deadline(f.cache, key_of(k), &deadline);

	FUZZ_CHECK(rc == (e->value ? 0 : HAPAX_MISS), "%s", hapax_status_name(rc));
	FUZZ_CHECK(deadline == (e->value ? e->deadline : HAPAX_FOREVER), "deadline %llu, not %llu",
		   (unsigned long long)deadline, (unsigned long long)e->deadline);
}

static void step_bound(void)
{
	uint64_t bound = fuzz_below(&f.in, 8);
	int rc = hapax_cache_set_bound(f.cache, bound ? (int64_t)bound : HAPAX_ZERO);

	FUZZ_TRACE("set_bound %u", (unsigned)bound);
	FUZZ_CHECK(rc == (f.bounded ? 0 : HAPAX_EOPTION), "%s", hapax_status_name(rc));
	if (!rc) {
		f.bound = bound;
		evict();
	}
}

static void maintain(void)
{
	unsigned calls = 0;

	while (hapax_cache_maintain(f.cache))
		FUZZ_CHECK(++calls < 1000, "maintain() does not end");
	for (unsigned i = 0; i < f.values; i++)
		FUZZ_CHECK(!f.value[i].left || f.value[i].expect == HAPAX_CAUSE_COLLECTED || f.value[i].told,
			   "object %u left, and nobody was told", i);
	FUZZ_CHECK(f.negatives_told == f.negatives_left, "%u negative results left, %u told", f.negatives_left,
		   f.negatives_told);
}

static void step_clock(void)
{
	uint64_t by = small();

	f.now += by;
	FUZZ_TRACE("now %llu", (unsigned long long)f.now);
	pass();
	if (!f.lazy || by & 1)
		maintain();
}

static void step_clear(void)
{
	hapax_cache_clear(f.cache);
	FUZZ_TRACE("clear");
	for (unsigned k = 0; k < KEYS; k++)
		if (present(&f.entry[k]))
			leave(&f.entry[k], HAPAX_CAUSE_EXPLICIT);
}

/* ---- the run ------------------------------------------------------------------------------------------------------ */

static void check(void)
{
	hapax_cache_stats s = {.size = sizeof(s)};
	size_t size = 0, listed = 0;
	uint64_t weight = 0;
	char message[200] = "";

	pass();
	for (unsigned k = 0; k < KEYS; k++) {
		struct entry *e = &f.entry[k];
		int there = hapax_cache_contains(f.cache, key_of(k));

		FUZZ_CHECK(there == (e->value != NULL), "key %u: %d", k, there);
		size += e->value != NULL;
		listed += e->listed;
		weight += e->listed ? e->weight : 0;
		FUZZ_CHECK(f.collected[k] == f.collected_expected[k], "key %u: %u collected, %u told", k,
			   f.collected_expected[k], f.collected[k]);
	}
	for (unsigned i = 0; i < f.values; i++) {
		struct value *v = &f.value[i];

		FUZZ_CHECK(!v->told || (v->left && v->cause == v->expect), "object %u was told of with cause %d", i,
			   (int)v->cause);
		FUZZ_CHECK(!v->left || v->told || v->expect == HAPAX_CAUSE_COLLECTED || v->expect == HAPAX_CAUSE_EXPIRED,
			   "object %u left with cause %d, and nobody was told", i, (int)v->expect);
	}
	if (f.lazy)
		return;
	maintain();
	FUZZ_CHECK(!hapax_testing_check_cache(f.cache, message, sizeof(message)), "%s", message);
	FUZZ_CHECK(!hapax_cache_stats_get(f.cache, &s), "stats");
	FUZZ_CHECK(s.size_now == size && s.retained == listed && s.retained_weight == weight,
		   "%llu present, %llu retained of weight %llu; not %zu, %zu, %llu", (unsigned long long)s.size_now,
		   (unsigned long long)s.retained, (unsigned long long)s.retained_weight, size, listed,
		   (unsigned long long)weight);
}

static void begin(void)
{
	unsigned how = fuzz_byte(&f.in), times = fuzz_byte(&f.in);
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD, .seed = 1, .clock = {.now = clock_now},
				.log = {.write = quiet}};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .type = &type, .load = load, .on_removal = removed};

	f.now = 1000;
	f.ttl = UINT64_MAX;
	if (how & 1) {
		f.bounded = true;
		f.weighted = how & 2;
		f.bound = small();
		*(f.weighted ? &o.max_weight : &o.max_entries) = (int64_t)f.bound;
		o.weigh = f.weighted ? weigh : NULL;
		o.policy = hapax_policy_lru();
	}
	if (times & 1)
		o.ttl_ns = (int64_t)(f.ttl = small());
	if (times & 2)
		o.retain_idle_ns = (int64_t)(f.idle = small());
	if (times & 4)
		o.retain_age_ns = (int64_t)(f.age = small());
	if (times & 8 && !f.idle && !f.age)
		o.negative_ttl_ns = (int64_t)(f.negative = small());
	f.lazy = !retains();
	FUZZ_CHECK(!hapax_env_create(&f.env, &eo), "environment");
	o.env = f.env;
	FUZZ_CHECK(!hapax_cache_create(&f.cache, &o), "cache");
	FUZZ_TRACE("bound %llu weighted %d ttl %lld idle %u age %u negative %u", (unsigned long long)f.bound, f.weighted,
		   (long long)f.ttl, (unsigned)f.idle, (unsigned)f.age, (unsigned)f.negative);
}

static void end(void)
{
	unsigned closed = 0;

	for (unsigned i = 0; i < f.values; i++)
		while (f.value[i].refs)
			release(&f.value[i]);
	check();
	maintain();
	for (unsigned k = 0; k < KEYS; k++)
		if (present(&f.entry[k]))
			leave(&f.entry[k], HAPAX_CAUSE_CLOSED), closed++;
	hapax_cache_destroy(f.cache);
	for (unsigned i = 0; i < f.values; i++)
		FUZZ_CHECK(f.value[i].dead && f.value[i].left && f.value[i].told == (f.value[i].expect != HAPAX_CAUSE_COLLECTED),
			   "object %u at the end", i);
	FUZZ_CHECK(f.negatives_told == f.negatives_left, "negative results at the end");
	hapax_env_destroy(f.env);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	memset(&f, 0, sizeof(f));
	f.in = (struct fuzz_input){data, data + size};
	begin();
	for (unsigned steps = 0; f.in.at < f.in.end && steps < STEPS; steps++) {
		struct value *v;

		switch (fuzz_below(&f.in, 20)) {
		case 0: case 1: case 2: case 3: step_get(false); break;
		case 4: step_get(true); break;
		case 5: case 6: step_put(false); break;
		case 7: step_put(true); break;
		case 8: step_remove(); break;
		case 9: step_touch(); break;
		case 10: step_ttl(); break;
		case 11: step_deadline(); break;
		case 12: step_bound(); break;
		case 13: case 14: step_clock(); break;
		case 15: fuzz_below(&f.in, 4) ? (void)0 : step_clear(); break;
		default:
			v = pick_held();
			if (v)
				release(v);
		}
		check();
	}
	end();
	return 0;
}
