/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* get_many and bulk loaders. */
#include "unit/removals.h"

enum { ASKED = 64 };

/* A cache and its bulk loader, which gives each key an item whose id is the key's number and keeps what it was asked. */
struct bulk {
	struct tier t;
	int calls, result, code;
	bool storm;        /* several at once: what was asked is not kept */
	size_t n;
	int asked[ASKED];
	uint64_t skip;     /* bits of numbers that get no value */
	const char *extra; /* a key that is added */
	void *detail;
	void (*drop)(void *detail);
	void (*then)(struct bulk *b, hapax_bulk *bulk, void **objects);
	void *arg;
};

static int number(const hapax_key *key)
{
	char text[16] = "";

	CHECK(key->size < sizeof(text));
	memcpy(text, key->data, key->size);
	return atoi(text);
}

static struct item *value(struct bulk *b, int id)
{
	struct item *it = tier_item(&b->t);

	it->id = id;
	return it;
}

static int load_many(const hapax_key *keys, size_t n, void **objects, hapax_bulk *bulk, void *arg, hapax_load_error *error)
{
	struct bulk *b = (struct bulk *)(void *)((char *)arg - offsetof(struct bulk, t.s)); /* tier_begin() gave the source */

	__atomic_add_fetch(&b->calls, 1, __ATOMIC_SEQ_CST);
	CHECK(n > 0 && n <= ASKED);
	if (!b->storm)
		b->n = n;
	for (size_t i = 0; i < n; i++) {
		int asked = number(&keys[i]);

		CHECK(!objects[i]);
		if (!b->storm)
			b->asked[i] = asked;
		if (!(asked < 64 && b->skip >> asked & 1))
			objects[i] = value(b, asked);
	}
	if (b->extra) {
		char key[16];

		snprintf(key, sizeof(key), "%s", b->extra);
		CHECK_EQ(hapax_bulk_add(bulk, HAPAX_STR(key), value(b, atoi(key))), HAPAX_OK);
		memset(key, 'x', sizeof(key)); /* the cache has a copy */
	}
	if (b->then)
		b->then(b, bulk, objects);
	*error = (hapax_load_error){.code = b->code, .detail = b->detail, .drop = b->drop};
	return b->result;
}

static void begin(struct bulk *b, int bounded, bool with)
{
	b->t.silent = !bounded;
	b->t.loose = true; /* one load makes several values */
	tier_begin(&b->t, LOADED, test_env_fake(),
		   (hapax_cache_options){.max_entries = bounded ? 100 : 0, .load_many = with ? load_many : NULL});
}

/* A request of numbers; what came of it. */
struct request {
	struct bulk *b;
	size_t n;
	int number[ASKED];
	char text[ASKED][8];
	hapax_key keys[ASKED];
	void *objects[ASKED];
	int statuses[ASKED];
	hapax_load_error error;
	uint64_t deadline;
	int rc;
};

static void ask_for(struct request *r, struct bulk *b, size_t n, const int *numbers)
{
	CHECK(n <= ASKED);
	memset(r, 0, sizeof(*r));
	r->b = b;
	r->n = n;
	r->deadline = HAPAX_FOREVER;
	for (size_t i = 0; i < n; i++) {
		r->number[i] = numbers[i];
		snprintf(r->text[i], sizeof(r->text[i]), "%d", numbers[i]);
		r->keys[i] = HAPAX_STR(r->text[i]);
		r->objects[i] = r;
		r->statuses[i] = 12345;
	}
}

static void *get(void *arg)
{
	struct request *r = arg;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = r->deadline, .error = &r->error};

	r->rc = hapax_cache_get_many(r->b->t.cache, r->keys, r->n, r->objects, r->statuses, &o);
	return NULL;
}

static void let_go(struct request *r)
{
	for (size_t i = 0; i < r->n; i++)
		hapax_release(r->objects[i]);
	hapax_load_error_drop(&r->error);
}

#define GET(r, b, ...)                                                                                             \
	do {                                                                                                       \
		static const int numbers_[] = {__VA_ARGS__};                                                       \
		ask_for((r), (b), sizeof(numbers_) / sizeof(int), numbers_);                                       \
		get(r);                                                                                            \
		CHECK_EQ((r)->rc, HAPAX_OK);                                                                       \
	} while (0)

/* Every position has its own key's object. */
static void all_there(struct request *r)
{
	for (size_t i = 0; i < r->n; i++) {
		CHECK_EQ(r->statuses[i], HAPAX_OK);
		CHECK(item_is_alive(r->objects[i]));
		CHECK_EQ(((struct item *)r->objects[i])->id, r->number[i]);
	}
}

static struct item *put_number(struct bulk *b, const char *key)
{
	struct item *it = value(b, atoi(key));

	CHECK_EQ(hapax_cache_put(b->t.cache, HAPAX_STR(key), it), HAPAX_OK);
	return it;
}

static void end(struct bulk *b, size_t size)
{
	tier_end(&b->t, size);
}

TEST(CF_BK_01_CF_BK_08_one_call_with_exactly_the_distinct_absent_keys)
{
	for (int bounded = 0; bounded < 2; bounded++) {
		struct bulk b = {.calls = 0};
		struct request r;
		struct item *two, *five;
		hapax_cache_stats s;

		begin(&b, bounded, true);
		two = put_number(&b, "2");
		five = put_number(&b, "5");
		GET(&r, &b, 7, 2, 1, 7, 5, 3, 1, 2, 7);
		all_there(&r);
		CHECK_PTR(r.objects[1], two);
		CHECK_PTR(r.objects[7], two);
		CHECK_PTR(r.objects[4], five);
		CHECK_PTR(r.objects[0], r.objects[3]);
		CHECK_PTR(r.objects[0], r.objects[8]);
		CHECK_PTR(r.objects[2], r.objects[6]);
		CHECK_EQ(b.calls, 1);
		CHECK_EQ(b.n, 3);
		CHECK_EQ(b.asked[0], 7);
		CHECK_EQ(b.asked[1], 1);
		CHECK_EQ(b.asked[2], 3);
		CHECK_PTR(present(b.t.cache, "3"), r.objects[5]);
		CHECK_EQ(hapax_count(r.objects[0]), 3 + bounded); /* one reference for each position */
		s = stats_of(b.t.cache);
		CHECK_EQ(s.hits, 2);
		CHECK_EQ(s.misses, 3);
		CHECK_EQ(s.waits, 0);
		CHECK_EQ(s.loads, 1);
		CHECK_EQ(s.load_successes, 1);
		CHECK_EQ(s.load_failures, 0);
		let_go(&r);
		hapax_release(two);
		hapax_release(five);
		CHECK_EQ(b.t.s.destroyed, bounded ? 0 : 5);
		end(&b, bounded ? 5 : 0);
	}
}

TEST(CF_BK_02_CF_BK_08_without_a_bulk_loader_keys_are_loaded_singly)
{
	struct bulk b = {.calls = 0};
	struct request r;
	struct item *four;
	hapax_cache_stats s;

	begin(&b, 1, false);
	four = put_number(&b, "4");
	GET(&r, &b, 8, 4, 9, 8, 4);
	CHECK_EQ(b.calls, 0);
	CHECK_EQ(loads_of(&b.t.s), 2);
	CHECK_PTR(r.objects[1], four);
	CHECK_PTR(r.objects[4], four);
	CHECK_PTR(r.objects[0], r.objects[3]);
	CHECK(r.objects[2] && r.objects[2] != r.objects[0]);
	s = stats_of(b.t.cache);
	CHECK_EQ(s.hits, 1);
	CHECK_EQ(s.misses, 2);
	CHECK_EQ(s.loads, 2);
	let_go(&r);
	hapax_release(four);
	end(&b, 3);
}

static int stop_at_gate(struct source *s, int load, void *object, const hapax_key *key)
{
	return first_stops(s, load, object, key);
}

/* Others' loads in flight are joined, with a bulk loader or without. */
TEST(CF_BK_02_flights_of_others_are_joined)
{
	for (int with = 0; with < 2; with++) {
		struct bulk b = {.calls = 0};
		struct gate g = GATE_INIT;
		struct request r, try;
		struct asker a;
		pthread_t thread;

		begin(&b, 1, with);
		b.t.s.then = stop_at_gate;
		b.t.s.arg = &g;
		ask(&a, b.t.cache, "6", NULL);
		test_event_wait(&g.entered);
		ask_for(&try, &b, 2, (const int[]){6, 1});
		try.deadline = HAPAX_NO_WAIT;
		get(&try);
		CHECK_EQ(try.rc, HAPAX_OK);
		CHECK_EQ(try.statuses[0], HAPAX_INFLIGHT);
		CHECK(!try.objects[0]);
		CHECK_EQ(try.statuses[1], HAPAX_OK);
		ask_for(&r, &b, 3, (const int[]){6, 5, 6});
		thread = test_thread(get, &r);
		fake_clock_await_sleepers(1);
		if (with) { /* ours are landed before others' are joined */
			CHECK(present(b.t.cache, "5"));
			CHECK_EQ(b.n, 1);
			CHECK_EQ(b.asked[0], 5);
		}
		test_event_set(&g.go);
		test_join(thread);
		CHECK_EQ(answer(&a), HAPAX_OK);
		CHECK_EQ(r.statuses[0], HAPAX_OK);
		CHECK_PTR(r.objects[0], a.out);
		CHECK_PTR(r.objects[2], a.out);
		CHECK(r.objects[1]);
		CHECK_EQ(stats_of(b.t.cache).waits, 1);
		asker_end(&a);
		let_go(&try);
		let_go(&r);
		end(&b, 3);
	}
}

TEST(CF_BK_03_more_keys_are_stored_and_fewer_are_no_value)
{
	for (int bounded = 0; bounded < 2; bounded++) {
		struct bulk b = {.skip = 1u << 2 | 1u << 3, .extra = "44"};
		struct request r;

		begin(&b, bounded, true);
		GET(&r, &b, 1, 2, 3, 4, 2);
		CHECK_EQ(b.n, 4);
		CHECK_EQ(r.statuses[0], HAPAX_OK);
		CHECK_EQ(r.statuses[1], HAPAX_NOVALUE);
		CHECK_EQ(r.statuses[2], HAPAX_NOVALUE);
		CHECK_EQ(r.statuses[3], HAPAX_OK);
		CHECK_EQ(r.statuses[4], HAPAX_NOVALUE);
		CHECK(!r.objects[1] && !r.objects[2] && !r.objects[4]);
		CHECK(!present(b.t.cache, "2"));
		CHECK_EQ(present(b.t.cache, "44") != NULL, bounded); /* stored; nobody but the cache holds it */
		CHECK_EQ(b.t.s.destroyed, bounded ? 0 : 1);
		CHECK_EQ(stats_of(b.t.cache).load_successes, 1);
		CHECK_EQ(stats_of(b.t.cache).load_failures, 0);
		let_go(&r);
		end(&b, bounded ? 3 : 0);
	}
}

/* An added key that is there already, or is one of those that were asked for. */
static void add_others(struct bulk *b, hapax_bulk *bulk, void **objects)
{
	(void)objects;
	CHECK_EQ(hapax_bulk_add(bulk, HAPAX_STR("7"), value(b, 1007)), HAPAX_OK); /* present */
	CHECK_EQ(hapax_bulk_add(bulk, HAPAX_STR("2"), value(b, 2)), HAPAX_OK);    /* asked for, not given */
	CHECK_EQ(hapax_bulk_add(bulk, HAPAX_STR("1"), value(b, 1001)), HAPAX_OK); /* asked for, given */
	CHECK_EQ(hapax_bulk_add(bulk, (hapax_key){NULL, 4}, value(b, 0)), HAPAX_EKEY);
	CHECK_EQ(hapax_bulk_add(bulk, HAPAX_STR("9"), NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_bulk_add(NULL, HAPAX_STR("9"), b), HAPAX_ENULL);
	/* a key that is added is in flight from then on: a removal fences it */
	CHECK_EQ(hapax_bulk_add(bulk, HAPAX_STR("55"), value(b, 55)), HAPAX_OK);
	CHECK_EQ(hapax_bulk_add(bulk, HAPAX_STR("56"), value(b, 56)), HAPAX_OK);
	CHECK_EQ(hapax_cache_remove(b->t.cache, HAPAX_STR("55")), HAPAX_MISS);
}

TEST(CF_BK_03_keys_that_are_added_replace_nothing)
{
	struct bulk b = {.skip = 1u << 2, .then = add_others};
	struct request r;
	struct item *seven;

	begin(&b, 1, true);
	seven = put_number(&b, "7");
	GET(&r, &b, 1, 2);
	all_there(&r);
	CHECK_PTR(present(b.t.cache, "7"), seven);
	CHECK(!present(b.t.cache, "55"));
	CHECK(present(b.t.cache, "56"));
	CHECK_EQ(b.t.s.destroyed, 4);
	TOLD(&b.t.r, 1, 0, 0, 0, 0, 0); /* 55 was made and never installed */
	let_go(&r);
	hapax_release(seven);
	end(&b, 4);
}

static int drops;
static void drop_detail(void *detail)
{
	CHECK_PTR(detail, &drops);
	__atomic_add_fetch(&drops, 1, __ATOMIC_SEQ_CST);
}

static void wait_for_askers(struct bulk *b, hapax_bulk *bulk, void **objects)
{
	(void)bulk;
	(void)objects;
	test_event_set(&((struct gate *)b->arg)->entered);
	fake_clock_await_sleepers(4);
}

TEST(CF_BK_05_a_failure_stores_nothing_and_goes_to_all_who_wait)
{
	struct gate g = GATE_INIT;
	struct bulk b = {.result = HAPAX_LOAD_FAIL, .code = -3, .detail = &drops, .drop = drop_detail, .extra = "44",
			 .then = wait_for_askers, .arg = &g};
	struct request r;
	struct asker a[4];
	struct item *one;
	pthread_t thread;
	hapax_cache_stats s;

	drops = 0;
	begin(&b, 1, true);
	one = put_number(&b, "1");
	ask_for(&r, &b, 4, (const int[]){3, 1, 2, 3});
	thread = test_thread(get, &r);
	test_event_wait(&g.entered);
	ask(&a[0], b.t.cache, "2", NULL);
	ask(&a[1], b.t.cache, "3", NULL);
	ask(&a[2], b.t.cache, "3", NULL);
	ask(&a[3], b.t.cache, "44", NULL);
	test_join(thread);
	CHECK_EQ(r.rc, HAPAX_OK);
	CHECK_EQ(r.statuses[0], HAPAX_ELOADER);
	CHECK_EQ(r.statuses[1], HAPAX_OK);
	CHECK_PTR(r.objects[1], one);
	CHECK_EQ(r.statuses[2], HAPAX_ELOADER);
	CHECK_EQ(r.statuses[3], HAPAX_ELOADER);
	CHECK(!r.objects[0] && !r.objects[2] && !r.objects[3]);
	CHECK_EQ(r.error.code, -3);
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(answer(&a[i]), HAPAX_ELOADER);
		CHECK_EQ(a[i].error.code, -3);
		CHECK_PTR(a[i].error.detail, &drops);
		CHECK_EQ(drops, 0);
		asker_end(&a[i]);
	}
	CHECK_EQ(drops, 0);
	CHECK(!present(b.t.cache, "2") && !present(b.t.cache, "3") && !present(b.t.cache, "44"));
	CHECK_EQ(b.t.s.destroyed, 3); /* what it stored is given back */
	s = stats_of(b.t.cache);
	CHECK_EQ(s.loads, 1);
	CHECK_EQ(s.load_failures, 1);
	CHECK_EQ(s.load_successes, 0);
	CHECK_EQ(s.hits, 1);
	let_go(&r);
	CHECK_EQ(drops, 1);
	hapax_release(one);
	TOLD(&b.t.r, 0, 0, 0, 0, 0, 0);
	end(&b, 1);
}

TEST(CF_BK_05_what_has_not_failed_has_no_error)
{
	static const int results[] = {HAPAX_LOAD_OK, HAPAX_LOAD_NOVALUE};

	for (int i = 0; i < 2; i++) {
		struct bulk b = {.result = results[i], .code = -3, .drop = drop_detail};
		struct request r;

		drops = 0;
		b.detail = &drops;
		begin(&b, 1, true);
		GET(&r, &b, 1, 2);
		CHECK_EQ(r.error.code, 0);
		CHECK(!r.error.detail && !r.error.drop);
		CHECK_EQ(drops, 1); /* nobody is given it */
		let_go(&r);
		end(&b, i ? 0 : 2);
	}
}

TEST(CF_BK_05_no_value_for_all)
{
	struct bulk b = {.result = HAPAX_LOAD_NOVALUE};
	struct request r;

	begin(&b, 1, true);
	GET(&r, &b, 1, 2);
	CHECK_EQ(r.statuses[0], HAPAX_NOVALUE);
	CHECK_EQ(r.statuses[1], HAPAX_NOVALUE);
	CHECK_EQ(b.t.s.destroyed, 2);
	CHECK_EQ(stats_of(b.t.cache).load_novalues, 1);
	CHECK_EQ(stats_of(b.t.cache).load_failures, 1);
	let_go(&r);
	end(&b, 0);
}

TEST(CF_BK_07_nothing_asked_and_nothing_kept)
{
	struct bulk b = {.calls = 0};
	hapax_key *keys = malloc(2 * sizeof(*keys));
	char *text = malloc(2);
	void **objects = malloc(2 * sizeof(*objects));

	begin(&b, 1, true);
	CHECK_EQ(hapax_cache_get_many(b.t.cache, NULL, 0, NULL, NULL, NULL), HAPAX_OK);
	CHECK_EQ(b.calls, 0);
	CHECK(keys && text && objects);
	text[0] = '1';
	text[1] = '2';
	keys[0] = (hapax_key){text, 1};
	keys[1] = (hapax_key){text + 1, 1};
	CHECK_EQ(hapax_cache_get_many(b.t.cache, keys, 2, objects, NULL, NULL), HAPAX_OK);
	CHECK_EQ(((struct item *)objects[1])->id, 2);
	hapax_release(objects[0]);
	hapax_release(objects[1]);
	free(keys);
	free(text);
	free(objects);
	CHECK(present(b.t.cache, "1") && present(b.t.cache, "2"));
	end(&b, 2);
}

TEST(CF_BK_07_what_is_refused)
{
	struct bulk b = {.calls = 0};
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
	hapax_key keys[3] = {HAPAX_STR("1"), {NULL, 7}, HAPAX_STR("2")};
	void *objects[3];
	int statuses[3];

	begin(&b, 0, true);
	CHECK_EQ(hapax_cache_get_many(NULL, keys, 3, objects, statuses, &o), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_get_many(b.t.cache, NULL, 3, objects, statuses, &o), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_get_many(b.t.cache, keys, 3, NULL, statuses, &o), HAPAX_ENULL);
	o.size--;
	CHECK_EQ(hapax_cache_get_many(b.t.cache, keys, 3, objects, statuses, &o), HAPAX_EOPTSIZE);
	o.size++;
	o.flags = 4;
	CHECK_EQ(hapax_cache_get_many(b.t.cache, keys, 3, objects, statuses, &o), HAPAX_EFLAGS);
	o.flags = 0;
	o.load = source_load;
	CHECK_EQ(hapax_cache_get_many(b.t.cache, keys, 3, objects, statuses, &o), HAPAX_EOPTION);
	CHECK_EQ(b.calls, 0);
	o.load = NULL;
	CHECK_EQ(hapax_cache_get_many(b.t.cache, keys, 3, objects, statuses, &o), HAPAX_OK);
	CHECK_EQ(statuses[0], HAPAX_OK);
	CHECK_EQ(statuses[1], HAPAX_EKEY);
	CHECK(!objects[1]);
	CHECK_EQ(statuses[2], HAPAX_OK);
	CHECK_EQ(b.n, 2);
	hapax_release(objects[0]);
	hapax_release(objects[2]);
	hapax_cache_close(b.t.cache);
	CHECK_EQ(hapax_cache_get_many(b.t.cache, keys, 3, objects, statuses, &o), HAPAX_ECLOSED);
	CHECK(!objects[0]);
	end(&b, 0);
}

/* ---- what happens meanwhile --------------------------------------------------------------------------------------- */

static void disturb(struct bulk *b, hapax_bulk *bulk, void **objects)
{
	void *out[2] = {NULL, NULL};
	int statuses[2];
	hapax_key keys[2] = {HAPAX_STR("1"), HAPAX_STR("9")};

	(void)bulk;
	(void)objects;
	b->then = NULL;
	CHECK_EQ(hapax_cache_get(b->t.cache, HAPAX_STR("1"), &out[0]), HAPAX_EDEADLK);
	CHECK_EQ(hapax_cache_get_many(b->t.cache, keys, 2, out, statuses, NULL), HAPAX_OK);
	CHECK_EQ(statuses[0], HAPAX_EDEADLK);
	CHECK_EQ(statuses[1], HAPAX_OK);
	hapax_release(out[1]);
	b->arg = put_number(b, "2");
	CHECK_EQ(hapax_cache_remove(b->t.cache, HAPAX_STR("3")), HAPAX_MISS);
}

TEST(CF_BK_05_what_is_written_meanwhile_fences_its_key_only)
{
	struct bulk b = {.then = disturb};
	struct request r;
	struct item *two;

	begin(&b, 1, true);
	GET(&r, &b, 1, 2, 3);
	all_there(&r); /* the caller gets what was loaded for it */
	two = b.arg;
	CHECK_PTR(present(b.t.cache, "1"), r.objects[0]);
	CHECK_PTR(present(b.t.cache, "2"), two);
	CHECK(r.objects[1] != two);
	CHECK(!present(b.t.cache, "3"));
	CHECK_EQ(stats_of(b.t.cache).superseded, 2);
	TOLD(&b.t.r, 1, 1, 0, 0, 0, 0);
	let_go(&r);
	hapax_release(two);
	end(&b, 3);
}

static void close_it(struct bulk *b, hapax_bulk *bulk, void **objects)
{
	(void)bulk;
	(void)objects;
	hapax_cache_close(b->t.cache);
}

TEST(CF_BK_05_closed_meanwhile)
{
	struct bulk b = {.then = close_it, .extra = "44"};
	struct request r;

	begin(&b, 1, true);
	GET(&r, &b, 1, 2);
	CHECK_EQ(r.statuses[0], HAPAX_ECLOSED);
	CHECK_EQ(r.statuses[1], HAPAX_ECLOSED);
	CHECK(!r.objects[0] && !r.objects[1]);
	CHECK_EQ(b.t.s.destroyed, 3);
	let_go(&r);
	end(&b, 0);
}

/* Its thread vanishes: keys are loaded by those who wait for them. */
static void vanish(struct bulk *b, hapax_bulk *bulk, void **objects)
{
	(void)bulk;
	(void)objects;
	b->then = NULL;
	b->extra = NULL;
	test_event_set(&((struct gate *)b->arg)->entered);
	fake_clock_await_sleepers(2);
	pthread_exit(NULL);
}

TEST(CF_BK_05_a_bulk_loader_that_vanishes)
{
	struct gate g = GATE_INIT;
	struct bulk b = {.then = vanish, .arg = &g, .extra = "44"};
	struct request gone, r;
	struct asker a;
	pthread_t first, second;

	begin(&b, 1, true);
	ask_for(&gone, &b, 3, (const int[]){1, 2, 3});
	first = test_thread(get, &gone);
	test_event_wait(&g.entered);
	ask_for(&r, &b, 2, (const int[]){3, 1});
	second = test_thread(get, &r);
	ask(&a, b.t.cache, "2", NULL);
	test_join(first);
	test_join(second);
	CHECK_EQ(answer(&a), HAPAX_OK);
	CHECK_EQ(r.rc, HAPAX_OK);
	all_there(&r);
	CHECK_EQ(loads_of(&b.t.s), 1); /* the single one loaded its key by the single loader */
	CHECK(b.calls >= 2);
	CHECK_EQ(stats_of(b.t.cache).load_abandoned, 1);
	CHECK_EQ(b.t.s.destroyed, 4);
	let_go(&r);
	asker_end(&a);
	CHECK(!present(b.t.cache, "44"));
	end(&b, 3);
}

/* The weigher, while a value of the batch is installed: asks for the others, or leaves its thread. */
struct nosy {
	struct bulk *b;
	int asked, refused, present;
	bool leaves;
};

static int nosy_weigh(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	struct nosy *n = ctx;

	(void)key;
	(void)object;
	*weight = 1;
	for (int i = 1; n->b && i <= 4; i++) {
		void *out = NULL;
		int rc = hapax_cache_get(n->b->t.cache, HAPAX_STR(k(i)), &out);

		n->asked++;
		n->refused += rc == HAPAX_EDEADLK;
		n->present += rc == HAPAX_OK;
		hapax_release(out);
	}
	if (n->leaves && n->asked > 4) { /* of the second one that lands */
		n->b = NULL;
		n->leaves = false;
		pthread_exit(NULL);
	}
	return 0;
}

/* What it has not landed yet is its own thread's: user code that wants it is refused at once. */
TEST(CF_BK_01_CF_LD_06_what_lands_later_is_not_waited_for)
{
	struct bulk b = {.extra = "4"};
	struct nosy n = {.b = &b};
	struct request r;

	b.t.loose = true;
	tier_begin(&b.t, LOADED, test_env(),
		   (hapax_cache_options){.max_weight = 100, .weigh = nosy_weigh, .weigh_ctx = &n, .load_many = load_many});
	GET(&r, &b, 3, 1, 2, 3);
	all_there(&r);
	CHECK_EQ(n.asked, 16);
	CHECK_EQ(n.refused, 4 + 3 + 2 + 1);
	CHECK_EQ(n.present, 1 + 2 + 3);
	CHECK_EQ(stats_of(b.t.cache).loads, 1);
	let_go(&r);
	end(&b, 4);
}

static void get_at_the_end(void *arg)
{
	struct bulk *b = arg;
	void *out = NULL;

	CHECK_EQ(hapax_cache_get(b->t.cache, HAPAX_STR("2"), &out), HAPAX_OK); /* nothing is this thread's any more */
	hapax_release(out);
}

static void *get_cleaned(void *arg)
{
	struct request *r = arg;

	pthread_cleanup_push(get_at_the_end, r->b);
	get(r);
	pthread_cleanup_pop(0);
	return NULL;
}

TEST(CF_BK_05_MK_LD_17_a_thread_that_vanishes_while_a_batch_lands)
{
	struct bulk b = {.extra = "4"};
	struct nosy n = {.b = &b, .leaves = true};
	struct request gone, r;

	b.t.loose = true;
	tier_begin(&b.t, LOADED, test_env(),
		   (hapax_cache_options){.max_weight = 100, .weigh = nosy_weigh, .weigh_ctx = &n, .load_many = load_many});
	ask_for(&gone, &b, 3, (const int[]){1, 2, 3});
	test_join(test_thread(get_cleaned, &gone));
	CHECK(present(b.t.cache, "1"));
	CHECK(present(b.t.cache, "2")); /* by the cleanup handler */
	CHECK(!present(b.t.cache, "3"));
	CHECK(!present(b.t.cache, "4"));
	CHECK_EQ(b.t.s.destroyed, 3);
	b.extra = NULL;
	GET(&r, &b, 4, 1, 4, 3, 1);
	CHECK_EQ(b.n, 2);
	all_there(&r);
	let_go(&r);
	end(&b, 4);
}

/* Requests that overlap, in all orders, at once: nobody waits in a circle, every key has one object at a time. */
static void storm_round(unsigned index, void *arg)
{
	struct bulk *b = arg;
	uint64_t random = test_stream(index);

	for (uint64_t i = scaled(100); i > 0; i--) {
		int numbers[6];
		struct request r;

		for (int k = 0; k < 6; k++)
			numbers[k] = index == 0 ? k : index == 1 ? 5 - k : (int)test_below(&random, 8);
		ask_for(&r, b, 6, numbers);
		get(&r);
		CHECK_EQ(r.rc, HAPAX_OK);
		for (int k = 0; k < 6; k++) {
			CHECK_EQ(r.statuses[k], HAPAX_OK);
			CHECK(item_is_alive(r.objects[k]));
		}
		let_go(&r);
		hapax_cache_remove(b->t.cache, r.keys[test_below(&random, 6)]);
	}
}

TEST(CF_BK_02_overlapping_requests_in_opposite_orders)
{
	for (int bounded = 0; bounded < 2; bounded++) {
		struct bulk b = {.storm = true};

		begin(&b, bounded, true);
		run_threads(4, storm_round, &b);
		CHECK_EQ(stats_of(b.t.cache).loads, b.calls);
		end(&b, hapax_cache_size(b.t.cache));
	}
}

/* Equal hashes, keys equal by the user's word: duplicates are still found. */
static int hash_alike(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	(void)ctx;
	*hash = 7;
	return 0;
}

TEST(CF_BK_01_duplicates_among_equal_hashes)
{
	struct bulk b = {.calls = 0};
	struct request r;

	b.t.silent = b.t.loose = true;
	tier_begin(&b.t, LOADED, test_env_fake(), (hapax_cache_options){.keys.hash = hash_alike, .load_many = load_many});
	GET(&r, &b, 3, 4, 3, 5, 4, 3);
	all_there(&r);
	CHECK_EQ(b.n, 3);
	CHECK_PTR(r.objects[0], r.objects[5]);
	CHECK_PTR(r.objects[1], r.objects[4]);
	let_go(&r);
	end(&b, 0);
}
