/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conservation: four threads do anything to a cache of every kind; each value is present or was told of once. */
#include "unit/guard.h"
#include "unit/removals.h"

enum { KEYS = 64, IDS = 1 << 20 };

struct storm {
	struct tier t;
	struct guard g;
	uint64_t rounds;
	int kind;
	bool timed;
	int produced[KEYS];      /* values loaded or put under each key */
	int told[KEYS];
	unsigned char seen[IDS]; /* told with its object, by id */
	struct item *held[4][6];
};

static int key_of(const hapax_key *key)
{
	char text[16] = "";
	int i;

	CHECK(key->size < sizeof(text));
	memcpy(text, key->data, key->size);
	i = atoi(text);
	CHECK(i >= 0 && i < KEYS);
	return i;
}

static void storm_told(struct removals *r, const hapax_removal *removal)
{
	struct storm *s = r->arg;
	struct item *it = removal->object;

	__atomic_fetch_add(&s->told[key_of(&removal->key)], 1, __ATOMIC_RELAXED);
	if (it) {
		CHECK(it->id > 0 && it->id < IDS);
		CHECK_EQ(__atomic_fetch_add(&s->seen[it->id], 1, __ATOMIC_RELAXED), 0);
	}
}

static int storm_load(struct source *source, int load, void *object, const hapax_key *key)
{
	struct storm *s = source->arg;

	(void)object;
	if (load % 7 == 3)
		return HAPAX_LOAD_NOVALUE;
	if (load % 11 == 5)
		return HAPAX_LOAD_FAIL;
	__atomic_fetch_add(&s->produced[key_of(key)], 1, __ATOMIC_RELAXED);
	if (load % 13 == 0)
		sched_yield();
	return GO_ON;
}

static struct item *storm_item(struct storm *s)
{
	struct item *it = item_new(s->t.env, 500000 + __atomic_add_fetch(&s->t.put_id, 1, __ATOMIC_RELAXED));

	it->destroyed = &s->t.s.destroyed;
	return it;
}

static void storm_put(struct storm *s, int i, int way)
{
	hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT, .ttl_ns = way % 3 || !s->timed ? 0 : 5000};
	struct item *it = storm_item(s);
	bool inserted = true;
	void *out = NULL;

	if (way & 1)
		CHECK_EQ(hapax_cache_put(s->t.cache, HAPAX_STR(k(i)), it), HAPAX_OK);
	else if (way & 2)
		CHECK_EQ(hapax_cache_put_with(s->t.cache, HAPAX_STR(k(i)), it, &o), HAPAX_OK);
	else
		CHECK_EQ(hapax_cache_get_or_put(s->t.cache, HAPAX_STR(k(i)), it, &out, &inserted), HAPAX_OK);
	if (inserted)
		__atomic_fetch_add(&s->produced[i], 1, __ATOMIC_RELAXED);
	hapax_release(out);
	hapax_release(it);
}

static int storm_computes(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct storm *s = arg;
	int answer = (key_of(key) + (current ? ((struct item *)current)->id : 0)) % 4;

	(void)error;
	if (answer == HAPAX_COMPUTE_PUT)
		*object = storm_item(s);
	return answer;
}

static int storm_matches(const hapax_key *key, void *object, void *ctx)
{
	(void)ctx;
	return (key_of(key) + ((struct item *)object)->id) % 16 == 0;
}

/* The operations that look before they change. */
static void storm_change(struct storm *s, int i, int way)
{
	hapax_change change = HAPAX_STILL_NONE;
	hapax_key key = HAPAX_STR(k(i)), keys[3] = {HAPAX_STR(k(i)), HAPAX_STR(k((i + 7) % KEYS)), HAPAX_STR(k(i))};
	void *out = NULL, *many[3];
	struct item *it = NULL;
	int rc, statuses[3];

	switch (way) {
	case 0:
		rc = hapax_cache_compute(s->t.cache, key, storm_computes, s, HAPAX_FOREVER, &out, &change, NULL);
		CHECK(rc == HAPAX_OK || rc == HAPAX_ELOADER);
		if (rc == HAPAX_OK && (change == HAPAX_INSERTED || change == HAPAX_REPLACED))
			__atomic_fetch_add(&s->produced[i], 1, __ATOMIC_RELAXED);
		break;
	case 1:
		it = storm_item(s);
		CHECK_EQ(hapax_cache_upsert(s->t.cache, key, it, &out), HAPAX_OK);
		__atomic_fetch_add(&s->produced[i], 1, __ATOMIC_RELAXED);
		break;
	case 2:
		it = storm_item(s);
		if (hapax_cache_get_quietly(s->t.cache, key, &out) == HAPAX_OK &&
		    hapax_cache_replace_if(s->t.cache, key, out, it) == HAPAX_OK)
			__atomic_fetch_add(&s->produced[i], 1, __ATOMIC_RELAXED);
		break;
	case 3:
		(void)hapax_cache_remove_where(s->t.cache, storm_matches, NULL, NULL);
		break;
	default:
		CHECK_EQ(hapax_cache_get_many(s->t.cache, keys, 3, many, statuses, NULL), HAPAX_OK);
		for (int j = 0; j < 3; j++) {
			CHECK((statuses[j] == HAPAX_OK) == (many[j] != NULL));
			hapax_release(many[j]);
		}
		break;
	}
	hapax_release(it);
	hapax_release(out);
}

static bool refuse_some(void *object, void *arg)
{
	(void)arg;
	return ((struct item *)object)->id % 2;
}

static void storm_thread(unsigned index, void *arg)
{
	struct storm *s = arg;
	hapax_get_options refusing = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .refuse = refuse_some};
	uint64_t rng = test_stream(1000 + index);

	for (uint64_t n = 0; n < s->rounds; n++) {
		int i = (int)test_below(&rng, KEYS), slot = (int)test_below(&rng, 6), rc;
		hapax_key key = HAPAX_STR(k(i));
		void *out = NULL;

		switch (test_below(&rng, 20)) {
		case 0:
		case 1:
		case 2: storm_put(s, i, (int)test_below(&rng, 12)); break;
		case 3: (void)hapax_cache_remove(s->t.cache, key); break;
		case 4:
			(void)!hapax_cache_pop(s->t.cache, key, &out);
			hapax_release(out);
			break;
		case 5:
			if (s->held[index][slot])
				(void)hapax_cache_remove_if(s->t.cache, key, s->held[index][slot]);
			break;
		case 6:
			if (!test_below(&rng, 50))
				hapax_cache_clear(s->t.cache);
			break;
		case 7: (void)hapax_cache_touch(s->t.cache, key); break;
		case 8: (void)hapax_cache_set_ttl(s->t.cache, key, (int64_t)(1 + test_below(&rng, 3000))); break;
		case 9: (void)hapax_cache_maintain(s->t.cache); break;
		case 10:
			if (index == 0)
				fake_clock_advance(test_below(&rng, 400));
			break;
		case 11:
			if (s->kind && !test_below(&rng, 40))
				CHECK_EQ(hapax_cache_set_bound(s->t.cache, (int64_t)(1 + test_below(&rng, 40))), HAPAX_OK);
			break;
		case 12:
			rc = hapax_cache_get_with(s->t.cache, key, &refusing, &out);
			CHECK(rc == HAPAX_OK || rc == HAPAX_NOVALUE || rc == HAPAX_ELOADER);
			hapax_release(out);
			break;
		case 13:
		case 14: /* kept for a while */
			hapax_release(s->held[index][slot]);
			s->held[index][slot] = NULL;
			rc = hapax_cache_get(s->t.cache, key, &out);
			CHECK(rc == HAPAX_OK || rc == HAPAX_NOVALUE || rc == HAPAX_ELOADER);
			s->held[index][slot] = out;
			break;
		case 15:
		case 16: storm_change(s, i, (int)test_below(&rng, 5)); break;
		default:
			rc = hapax_cache_get(s->t.cache, key, &out);
			CHECK(rc == HAPAX_OK || rc == HAPAX_NOVALUE || rc == HAPAX_ELOADER);
			if (out)
				CHECK(item_is_alive(out));
			hapax_release(out);
			break;
		}
	}
	for (int i = 0; i < 6; i++)
		hapax_release(s->held[index][i]);
}

static void run_storm(enum form form, int kind, hapax_cache_options o)
{
	struct storm *s = calloc(1, sizeof(*s));
	size_t size;

	CHECK(s);
	s->rounds = scaled(8000);
	s->kind = kind;
	s->timed = o.ttl_ns != 0;
	s->t.r.fast = true;
	s->t.r.then = storm_told;
	s->t.r.arg = s;
	s->t.s.then = storm_load;
	s->t.s.arg = s;
	if (kind > 1)
		o.policy = guard_policy(&s->g, kind == 2 ? HAPAX_POLICY_TOUCH : kind == 3 ? HAPAX_POLICY_RECORD : HAPAX_POLICY_EXACT,
					kind != 3);
	tier_begin(&s->t, form, test_env_fake(), o);
	run_threads(4, storm_thread, s);
	tier_settle(&s->t);
	size = hapax_cache_size(s->t.cache);
	for (int i = 0; i < KEYS; i++)
		if (s->produced[i] != s->told[i] + (present(s->t.cache, k(i)) != NULL))
			TEST_FAIL("key %d: %d values, told of %d, %s", i, s->produced[i], s->told[i],
				  present(s->t.cache, k(i)) ? "present" : "absent");
	if (kind) {
		CHECK_EQ(stats_of(s->t.cache).retained, size); /* nobody else holds any */
	} else {
		CHECK_EQ(size, 0);
	}
	CHECK_EQ(s->t.s.destroyed + (int)size, (int)stats_of(s->t.cache).load_successes + s->t.put_id - 1000);
	tier_close(&s->t, size);
	for (int i = 0; i < KEYS; i++)
		CHECK_EQ(s->produced[i], s->told[i]);
	tier_gone(&s->t);
	CHECK(kind < 2 || !s->g.created);
	free(s);
}

TEST(CF_RM_01_everything_at_once_weak) { run_storm(LOADED, 0, (hapax_cache_options){.ttl_ns = 4000}); }
TEST(CF_RM_01_everything_at_once_weak_made) { run_storm(MADE, 0, (hapax_cache_options){.ttl_ns = 4000}); }
TEST(CF_RM_01_everything_at_once_bounded)
{
	run_storm(LOADED, 1, (hapax_cache_options){.max_entries = 20, .ttl_ns = 4000});
}
TEST(CF_RM_01_everything_at_once_bounded_made)
{
	run_storm(MADE, 1, (hapax_cache_options){.max_entries = 20, .ttl_ns = 4000, .retain_idle_ns = 1500});
}
TEST(CF_RM_01_everything_at_once_touching)
{
	run_storm(LOADED, 2, (hapax_cache_options){.max_entries = 20, .ttl_ns = 4000, .retain_age_ns = 3000});
}
TEST(CF_RM_01_everything_at_once_recording)
{
	run_storm(MADE, 3, (hapax_cache_options){.max_entries = 20, .ttl_ns = 4000, .ttl_jitter = 0.5});
}
TEST(CF_RM_01_everything_at_once_exactly)
{
	run_storm(LOADED, 4, (hapax_cache_options){.max_entries = 20, .ttl_ns = 4000, .retain_idle_ns = 1500});
}
TEST(CF_RM_01_everything_at_once_without_time)
{
	run_storm(LOADED, 1, (hapax_cache_options){.max_entries = 20});
}
TEST(CF_RM_01_everything_at_once_lru)
{
	run_storm(MADE, 1, (hapax_cache_options){.max_entries = 20, .policy = hapax_policy_lru()});
}
TEST(CF_RM_01_everything_at_once_tinylfu)
{
	run_storm(LOADED, 1, (hapax_cache_options){.max_entries = 20, .policy = hapax_policy_tinylfu()});
}
TEST(CF_RM_01_everything_at_once_s3fifo)
{
	run_storm(MADE, 1, (hapax_cache_options){.max_entries = 20, .policy = hapax_policy_s3fifo()});
}
TEST(CF_RM_01_everything_at_once_sieve)
{
	run_storm(LOADED, 1, (hapax_cache_options){.max_entries = 20, .policy = hapax_policy_sieve()});
}
