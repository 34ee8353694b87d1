/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute, upsert, replace_if: atomic per key, and what comes between. Threads that vanish or wait: cp_wait.c. */
#include "unit/removals.h"

/* A cache of the given kind: 0 unmanaged, 1 bounded with a listener, 2 with ttl too. */
static void begin(struct tier *t, int kind)
{
	t->silent = kind == 0;
	tier_begin(t, PUT, test_env_fake(),
		   (hapax_cache_options){.max_entries = kind ? 100 : 0, .ttl_ns = kind == 2 ? 1000 : 0});
}
enum { KINDS = 3 };

/* What a compute function is to do, and what it saw. */
struct ask_me {
	struct tier *t;
	int answer, calls;
	void *give;    /* PUT: this one, a reference of which is the cache's; NULL: a new item */
	bool keep;     /* PUT of a new one: the test keeps a reference in `made` */
	struct item *made;
	void *seen[8]; /* `current`, call by call */
	int code;
	void (*then)(struct ask_me *a, const hapax_key *key); /* runs first */
};

static int do_it(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct ask_me *a = arg;

	CHECK(a->calls < 8);
	CHECK(!*object);
	if (current)
		CHECK(item_is_alive(current));
	a->seen[a->calls++] = current;
	if (a->then)
		a->then(a, key);
	if (a->answer == HAPAX_COMPUTE_PUT) {
		if (!a->give && a->made)
			hapax_release(a->made);
		*object = a->give ? a->give : (a->made = tier_item(a->t));
		if (!a->give && a->keep)
			CHECK_EQ(hapax_retain(*object), HAPAX_OK);
		if (!a->keep)
			a->made = NULL;
	}
	error->code = a->code;
	return a->answer;
}

static int compute(struct ask_me *a, const char *key, void **out, hapax_change *change)
{
	a->calls = 0;
	return hapax_cache_compute(a->t->cache, HAPAX_STR(key), do_it, a, HAPAX_FOREVER, out, change, NULL);
}

/* ---- increments -------------------------------------------------------------------------------------------------- */

/* The value is the item's id: every increment is a new object. */
static int increment(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct tier *t = arg;
	struct item *it = item_new(t->env, current ? ((struct item *)current)->id + 1 : 1);

	(void)key;
	(void)error;
	it->destroyed = &t->s.destroyed;
	*object = it;
	return HAPAX_COMPUTE_PUT;
}

enum { COUNTERS = 8, INCREMENTS = 100 };

struct counting {
	struct tier *t;
	struct item *held[COUNTERS]; /* the last one each thread made: keeps unmanaged entries alive */
	int over;
};

static void count_up(unsigned index, void *arg)
{
	struct counting *c = arg;

	if (index == COUNTERS) { /* looks: never absent after the first, never backwards */
		int last = 0;

		while (!__atomic_load_n(&c->over, __ATOMIC_ACQUIRE)) {
			struct item *it = NULL;

			CHECK_EQ(hapax_cache_get_if_present(c->t->cache, HAPAX_STR("n"), (void **)&it), HAPAX_OK);
			CHECK(it->id >= last);
			last = it->id;
			hapax_release(it);
		}
		return;
	}
	for (int i = 0; i < INCREMENTS; i++) {
		hapax_change change;
		void *out = NULL;

		CHECK_EQ(hapax_cache_compute(c->t->cache, HAPAX_STR("n"), increment, c->t, HAPAX_FOREVER, &out, &change, NULL),
			 HAPAX_OK);
		CHECK_EQ(change, HAPAX_REPLACED);
		hapax_release(c->held[index]);
		c->held[index] = out;
	}
	if (c->held[index]->id == COUNTERS * INCREMENTS + 1)
		__atomic_store_n(&c->over, 1, __ATOMIC_RELEASE);
}

TEST(CF_CP_01_eight_threads_of_a_hundred_increments)
{
	for (int kind = 0; kind < KINDS; kind++) {
		struct tier t = {0};
		struct counting c = {.t = &t};
		struct item *it, *first;

		begin(&t, kind);
		CHECK_EQ(hapax_cache_compute(t.cache, HAPAX_STR("n"), increment, &t, HAPAX_FOREVER, (void **)&first, NULL, NULL),
			 HAPAX_OK);
		run_threads(COUNTERS + 1, count_up, &c);
		it = present(t.cache, "n");
		CHECK(it);
		CHECK_EQ(it->id, COUNTERS * INCREMENTS + 1);
		if (kind)
			TOLD(&t.r, 0, COUNTERS * INCREMENTS, 0, 0, 0, 0);
		for (int i = 0; i < COUNTERS; i++)
			hapax_release(c.held[i]);
		hapax_release(first);
		CHECK_EQ(t.s.destroyed, COUNTERS * INCREMENTS + (kind == 0));
		tier_end(&t, kind ? 1 : 0);
	}
}

/* Beside puts and removals: what was counted is lost only by them, and no object leaves twice (tier_check). */
static void count_and_disturb(unsigned index, void *arg)
{
	struct tier *t = arg;

	for (uint64_t i = scaled(200); i > 0; i--) {
		void *out = NULL;

		if (index < 2) {
			CHECK_EQ(hapax_cache_compute(t->cache, HAPAX_STR("n"), increment, t, HAPAX_FOREVER, &out, NULL, NULL), HAPAX_OK);
			CHECK(out && item_is_alive(out));
			hapax_release(out);
		} else if (i % 3) {
			hapax_release(tier_put(t, "n"));
		} else {
			int rc = hapax_cache_remove(t->cache, HAPAX_STR("n"));

			CHECK(rc == HAPAX_OK || rc == HAPAX_MISS);
		}
	}
}

TEST(CF_CP_01_beside_puts_and_removals)
{
	for (int kind = 0; kind < KINDS; kind++) {
		struct tier t = {0};

		begin(&t, kind);
		run_threads(4, count_and_disturb, &t);
		tier_end(&t, hapax_cache_size(t.cache));
	}
}

/* ---- answers ------------------------------------------------------------------------------------------------------ */

TEST(MK_CP_02_what_becomes_of_the_entry)
{
	for (int kind = 0; kind < KINDS; kind++) {
		struct tier t = {0};
		struct ask_me a = {.t = &t};
		struct item *first, *second;
		hapax_change change = 9;
		void *out = &a;

		begin(&t, kind);
		a.answer = HAPAX_COMPUTE_KEEP;
		CHECK_EQ(compute(&a, "k", &out, &change), HAPAX_OK);
		CHECK_EQ(change, HAPAX_STILL_NONE);
		CHECK(!out && !a.seen[0]);
		a.answer = HAPAX_COMPUTE_REMOVE;
		out = &a;
		CHECK_EQ(compute(&a, "k", &out, &change), HAPAX_OK);
		CHECK_EQ(change, HAPAX_STILL_NONE);
		CHECK(!out && !a.seen[0]);
		a.answer = HAPAX_COMPUTE_PUT;
		CHECK_EQ(compute(&a, "k", (void **)&first, &change), HAPAX_OK);
		CHECK_EQ(change, HAPAX_INSERTED);
		CHECK_PTR(present(t.cache, "k"), first);
		CHECK_EQ(hapax_count(first), kind ? 2 : 1);
		a.answer = HAPAX_COMPUTE_KEEP;
		CHECK_EQ(compute(&a, "k", &out, &change), HAPAX_OK);
		CHECK_EQ(change, HAPAX_UNCHANGED);
		CHECK_PTR(out, first);
		CHECK_PTR(a.seen[0], first);
		hapax_release(out);
		a.answer = HAPAX_COMPUTE_PUT;
		CHECK_EQ(compute(&a, "k", (void **)&second, &change), HAPAX_OK);
		CHECK_EQ(change, HAPAX_REPLACED);
		CHECK_PTR(a.seen[0], first);
		CHECK_PTR(present(t.cache, "k"), second);
		CHECK_EQ(hapax_count(first), 1);
		CHECK_EQ(hapax_count(second), kind ? 2 : 1);
		if (kind)
			TOLD(&t.r, 0, 1, 0, 0, 0, 0);
		/* itself */
		CHECK_EQ(hapax_retain(second), HAPAX_OK);
		a.give = second;
		CHECK_EQ(compute(&a, "k", &out, &change), HAPAX_OK);
		CHECK_EQ(change, HAPAX_UNCHANGED);
		CHECK_PTR(out, second);
		hapax_release(out);
		CHECK_EQ(hapax_count(second), kind ? 2 : 1);
		a.give = NULL;
		if (kind)
			TOLD(&t.r, 0, 1, 0, 0, 0, 0);
		a.answer = HAPAX_COMPUTE_REMOVE;
		CHECK_EQ(compute(&a, "k", &out, &change), HAPAX_OK);
		CHECK_EQ(change, HAPAX_REMOVED);
		CHECK(!out);
		CHECK(!present(t.cache, "k"));
		CHECK_EQ(hapax_count(second), 1);
		if (kind)
			TOLD(&t.r, 1, 1, 0, 0, 0, 0);
		/* without asking what became of it: nobody holds it but the cache, if it does */
		a.answer = HAPAX_COMPUTE_PUT;
		CHECK_EQ(compute(&a, "k", NULL, NULL), HAPAX_OK);
		CHECK_EQ(present(t.cache, "k") != NULL, kind != 0);
		hapax_release(first);
		hapax_release(second);
		CHECK_EQ(stats_of(t.cache).puts, 3);
		tier_end(&t, kind ? 1 : 0);
	}
}

/* An object given with another answer than PUT is given back; so is one that the cache cannot take. */
static int gives_in_vain(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct ask_me *a = arg;

	(void)current;
	(void)key;
	(void)error;
	*object = a->give;
	return a->answer;
}

TEST(MK_CP_02_an_object_is_consumed_in_any_case)
{
	static const int answers[] = {HAPAX_COMPUTE_KEEP, HAPAX_COMPUTE_REMOVE, HAPAX_COMPUTE_FAIL, 77};

	for (int present_before = 0; present_before < 2; present_before++) {
		for (int i = 0; i < 4; i++) {
			struct tier t = {0};
			struct ask_me a = {.t = &t, .answer = answers[i]};
			struct item *it = NULL;
			int rc;

			begin(&t, 0);
			if (present_before)
				it = tier_put(&t, "k");
			a.give = tier_item(&t);
			rc = hapax_cache_compute(t.cache, HAPAX_STR("k"), gives_in_vain, &a, HAPAX_FOREVER, NULL, NULL, NULL);
			CHECK_EQ(rc, i < 2 ? HAPAX_OK : HAPAX_ELOADER);
			CHECK_EQ(t.s.destroyed, 1);
			CHECK_PTR(present(t.cache, "k"), i == 1 ? NULL : it);
			hapax_release(it);
			tier_end(&t, 0);
		}
	}
}

TEST(MK_CP_02_what_the_cache_does_not_take)
{
	hapax_env *other = test_env();
	struct tier t = {0};
	struct ask_me a = {.t = &t, .answer = HAPAX_COMPUTE_PUT};
	struct item *it, *weird;
	void *out = &a;
	hapax_change change;

	begin(&t, 1);
	it = tier_put(&t, "k");
	a.give = item_new(other, 1);
	CHECK_EQ(compute(&a, "k", &out, &change), HAPAX_EFOREIGN);
	CHECK(!out);
	CHECK_EQ(change, HAPAX_STILL_NONE);
	a.give = item_of(t.env, &strong_type, 1);
	CHECK_EQ(compute(&a, "k", &out, &change), HAPAX_ETYPE);
	weird = item_of(t.env, &deferred_type, 1);
	CHECK_EQ(hapax_cache_upsert(t.cache, HAPAX_STR("k"), weird, &out), HAPAX_ETYPE);
	CHECK_EQ(hapax_cache_replace_if(t.cache, HAPAX_STR("k"), it, weird), HAPAX_ETYPE);
	hapax_release(weird);
	hapax_run_deferred(t.env);
	CHECK_EQ(hapax_cache_compute(t.cache, HAPAX_STR("k"), gives_in_vain, &(struct ask_me){.answer = HAPAX_COMPUTE_PUT},
				     HAPAX_FOREVER, NULL, NULL, NULL), HAPAX_ENULL);
	CHECK_PTR(present(t.cache, "k"), it);
	TOLD(&t.r, 0, 0, 0, 0, 0, 0);
	CHECK_EQ(hapax_cache_compute(t.cache, HAPAX_STR("k"), NULL, NULL, 0, NULL, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_compute(NULL, HAPAX_STR("k"), do_it, &a, 0, NULL, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_upsert(t.cache, HAPAX_STR("k"), NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_replace_if(t.cache, HAPAX_STR("k"), NULL, it), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_replace_if(t.cache, HAPAX_STR("k"), it, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_compute(t.cache, (hapax_key){NULL, 3}, do_it, &a, 0, NULL, NULL, NULL), HAPAX_EKEY);
	hapax_release(it);
	tier_end(&t, 1);
	test_env_end(other);
}

/* ---- failing ------------------------------------------------------------------------------------------------------ */

static int dropped_details;
static void drop_detail(void *detail)
{
	CHECK_PTR(detail, &dropped_details);
	dropped_details++;
}

static int fails(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	(void)current;
	(void)key;
	(void)object;
	(void)arg;
	*error = (hapax_load_error){.code = -7, .detail = &dropped_details, .drop = drop_detail};
	return HAPAX_COMPUTE_FAIL;
}

static int seven(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)key;
	(void)object;
	*weight = 7;
	return *(int *)ctx;
}

TEST(CF_CP_03_a_failure_leaves_the_entry_as_before)
{
	struct tier t = {0};
	struct ask_me a = {.t = &t, .answer = HAPAX_COMPUTE_PUT};
	hapax_load_error error = {.code = 1};
	int bad_weigher = 0;
	uint64_t before, after;
	hapax_change change = 9;
	struct item *it;
	void *out = &t;

	tier_begin(&t, PUT, test_env_fake(), (hapax_cache_options){.max_weight = 100, .weigh = seven, .weigh_ctx = &bad_weigher,
								    .ttl_ns = 1000});
	it = tier_put(&t, "k");
	CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &before), HAPAX_OK);
	fake_clock_advance(300);
	dropped_details = 0;
	CHECK_EQ(hapax_cache_compute(t.cache, HAPAX_STR("k"), fails, NULL, HAPAX_FOREVER, &out, &change, &error), HAPAX_ELOADER);
	CHECK(!out);
	CHECK_EQ(change, HAPAX_STILL_NONE);
	CHECK_EQ(error.code, -7);
	CHECK_EQ(dropped_details, 0);
	hapax_load_error_drop(&error);
	CHECK_EQ(dropped_details, 1);
	CHECK_EQ(hapax_cache_compute(t.cache, HAPAX_STR("k"), fails, NULL, HAPAX_FOREVER, NULL, NULL, NULL), HAPAX_ELOADER);
	CHECK_EQ(dropped_details, 2);
	CHECK_EQ(hapax_cache_compute(t.cache, HAPAX_STR("absent"), fails, NULL, HAPAX_FOREVER, NULL, NULL, &error), HAPAX_ELOADER);
	hapax_load_error_drop(&error);
	bad_weigher = 1; /* what was made cannot be weighed: so the call fails */
	CHECK_EQ(compute(&a, "k", &out, &change), HAPAX_ECALLBACK);
	CHECK_EQ(compute(&a, "absent", &out, &change), HAPAX_ECALLBACK);
	CHECK(!out);
	bad_weigher = 0;
	CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &after), HAPAX_OK);
	CHECK_EQ(after, before);
	CHECK_PTR(present(t.cache, "k"), it);
	CHECK(!present(t.cache, "absent"));
	CHECK_EQ(stats_of(t.cache).retained_weight, 7);
	TOLD(&t.r, 0, 0, 0, 0, 0, 0);
	hapax_release(it);
	/* and an answer that succeeds begins its time anew */
	CHECK_EQ(compute(&a, "k", NULL, &change), HAPAX_OK);
	CHECK_EQ(change, HAPAX_REPLACED);
	CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR("k"), &after), HAPAX_OK);
	CHECK_EQ(after, before + 300);
	tier_end(&t, 1);
}

/* ---- comparing ---------------------------------------------------------------------------------------------------- */

TEST(CF_CP_05_replace_if_and_remove_if_compare_identity)
{
	for (int kind = 0; kind < KINDS; kind++) {
		struct tier t = {0};
		struct item *one, *two, *three;

		begin(&t, kind);
		one = tier_put(&t, "k");
		two = tier_item(&t);
		two->id = one->id; /* alike is not the same */
		three = tier_item(&t);
		CHECK_EQ(hapax_cache_replace_if(t.cache, HAPAX_STR("k"), two, three), HAPAX_MISS);
		CHECK_EQ(hapax_cache_remove_if(t.cache, HAPAX_STR("k"), two), HAPAX_MISS);
		CHECK_EQ(hapax_cache_replace_if(t.cache, HAPAX_STR("absent"), one, two), HAPAX_MISS);
		CHECK(!present(t.cache, "absent"));
		CHECK_PTR(present(t.cache, "k"), one);
		CHECK_EQ(hapax_cache_replace_if(t.cache, HAPAX_STR("k"), one, two), HAPAX_OK);
		CHECK_PTR(present(t.cache, "k"), two);
		CHECK_EQ(hapax_cache_replace_if(t.cache, HAPAX_STR("k"), one, three), HAPAX_MISS);
		CHECK_EQ(hapax_cache_replace_if(t.cache, HAPAX_STR("k"), two, two), HAPAX_OK); /* by itself */
		CHECK_PTR(present(t.cache, "k"), two);
		if (kind)
			TOLD(&t.r, 0, 1, 0, 0, 0, 0);
		CHECK_EQ(hapax_cache_remove_if(t.cache, HAPAX_STR("k"), one), HAPAX_MISS);
		CHECK_EQ(hapax_cache_remove_if(t.cache, HAPAX_STR("k"), two), HAPAX_OK);
		CHECK(!present(t.cache, "k"));
		hapax_release(one);
		hapax_release(two);
		hapax_release(three);
		tier_end(&t, 0);
	}
}

TEST(CF_CP_05_what_died_or_expired_never_matches)
{
	for (int kind = 0; kind < KINDS; kind++) {
		struct tier t = {0};
		struct item *one, *two;
		void *gone;

		begin(&t, kind);
		one = tier_put(&t, "k");
		two = tier_item(&t);
		if (kind == 2) {
			fake_clock_advance(1000); /* held, and yet */
			CHECK_EQ(hapax_cache_replace_if(t.cache, HAPAX_STR("k"), one, two), HAPAX_MISS);
			CHECK_EQ(hapax_cache_remove_if(t.cache, HAPAX_STR("k"), one), HAPAX_MISS);
			TOLD(&t.r, 0, 0, 0, 1, 0, 0);
			hapax_release(one);
		} else {
			gone = one;
			hapax_release(one);
			if (kind == 1)
				CHECK_EQ(hapax_cache_set_bound(t.cache, HAPAX_ZERO), HAPAX_OK);
			CHECK_EQ(hapax_cache_replace_if(t.cache, HAPAX_STR("k"), gone, two), HAPAX_MISS);
			CHECK_EQ(hapax_cache_remove_if(t.cache, HAPAX_STR("k"), gone), HAPAX_MISS);
		}
		CHECK(!present(t.cache, "k"));
		hapax_release(two);
		tier_end(&t, 0);
	}
}

/* Every object is replaced by one thread: the tokens of the winners are as many as the replacements. */
struct race {
	struct tier *t;
	int won;
};

static void swap_round(unsigned index, void *arg)
{
	struct race *r = arg;

	(void)index;
	for (uint64_t i = scaled(150); i > 0; i--) {
		struct item *now = NULL, *next = tier_item(r->t);
		int rc;

		CHECK_EQ(hapax_cache_get_if_present(r->t->cache, HAPAX_STR("k"), (void **)&now), HAPAX_OK);
		next->id = now->id + 1;
		rc = hapax_cache_replace_if(r->t->cache, HAPAX_STR("k"), now, next);
		CHECK(rc == HAPAX_OK || rc == HAPAX_MISS);
		if (rc == HAPAX_OK)
			__atomic_fetch_add(&r->won, 1, __ATOMIC_RELAXED);
		hapax_release(now);
		hapax_release(next);
	}
}

TEST(CF_CP_05_racing_replacers_lose_nothing)
{
	struct tier t = {0};
	struct race r = {.t = &t};
	struct item *it;

	begin(&t, 1);
	it = tier_put(&t, "k");
	it->id = 0;
	hapax_release(it);
	run_threads(4, swap_round, &r);
	CHECK_EQ(present(t.cache, "k")->id, r.won);
	TOLD(&t.r, 0, r.won, 0, 0, 0, 0);
	tier_end(&t, 1);
}

TEST(MK_CP_02_upsert_says_what_it_replaced)
{
	for (int kind = 0; kind < KINDS; kind++) {
		struct tier t = {0};
		struct item *one, *two;
		void *previous = &t;

		begin(&t, kind);
		one = tier_item(&t);
		two = tier_item(&t);
		CHECK_EQ(hapax_cache_upsert(t.cache, HAPAX_STR("k"), one, &previous), HAPAX_OK);
		CHECK(!previous);
		CHECK_EQ(hapax_cache_upsert(t.cache, HAPAX_STR("k"), two, &previous), HAPAX_OK);
		CHECK_PTR(previous, one);
		hapax_release(previous);
		CHECK_EQ(hapax_cache_upsert(t.cache, HAPAX_STR("k"), two, &previous), HAPAX_OK);
		CHECK_PTR(previous, two);
		hapax_release(previous);
		CHECK_EQ(hapax_cache_upsert(t.cache, HAPAX_STR("k"), one, NULL), HAPAX_OK);
		CHECK_PTR(present(t.cache, "k"), one);
		CHECK_EQ(stats_of(t.cache).puts, 3);
		CHECK_EQ(stats_of(t.cache).replacements, 2);
		CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("k")), HAPAX_OK);
		CHECK_EQ(hapax_count(one), 1);
		CHECK_EQ(hapax_count(two), 1);
		hapax_release(one);
		hapax_release(two);
		if (kind)
			TOLD(&t.r, 1, 2, 0, 0, 0, 0);
		tier_end(&t, 0);
	}
}

/* Exclusive caches have one instance at a time. */
TEST(CF_CP_05_exclusive_caches_are_busy)
{
	struct source s = {0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, HAPAX_CACHE_EXCLUSIVE);
	struct tier t = {.env = env, .cache = cache};
	struct ask_me a = {.t = &t, .answer = HAPAX_COMPUTE_PUT};
	struct item *one, *two = item_new(env, 2);
	hapax_change change;

	CHECK_EQ(compute(&a, "k", (void **)&one, &change), HAPAX_OK);
	CHECK_EQ(change, HAPAX_INSERTED);
	CHECK_EQ(compute(&a, "k", NULL, NULL), HAPAX_EBUSY);
	CHECK_EQ(hapax_cache_replace_if(cache, HAPAX_STR("k"), one, two), HAPAX_EBUSY);
	CHECK_EQ(hapax_cache_upsert(cache, HAPAX_STR("k"), two, NULL), HAPAX_EBUSY);
	CHECK_EQ(hapax_cache_upsert(cache, HAPAX_STR("k"), one, NULL), HAPAX_OK);
	CHECK_PTR(present(cache, "k"), one);
	a.answer = HAPAX_COMPUTE_REMOVE;
	CHECK_EQ(compute(&a, "k", NULL, &change), HAPAX_OK);
	CHECK_EQ(change, HAPAX_REMOVED);
	CHECK_EQ(hapax_cache_upsert(cache, HAPAX_STR("k"), two, NULL), HAPAX_EBUSY); /* the removed one is held */
	hapax_release(one);
	CHECK_EQ(hapax_cache_upsert(cache, HAPAX_STR("k"), two, NULL), HAPAX_OK);
	hapax_release(two);
	cache_end(cache, 0);
	test_env_end(env);
}
