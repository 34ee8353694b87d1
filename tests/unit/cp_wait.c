/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compute: what comes between, calls from inside, waiting, cycles, threads that vanish. */
#include "unit/removals.h"

struct one {
	struct tier t;
	int calls;
	void *seen[4];
	bool keeps; /* answers KEEP instead of PUT of a new item */
	void (*then)(struct one *o, void *current);
	void *arg;
};

static void begin(struct one *o, hapax_cache_options options)
{
	tier_begin(&o->t, PUT, test_env_fake(), options);
}
#define BOUNDED (hapax_cache_options) { .max_entries = 100 }

static int make_one(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct one *o = arg;
	int call = __atomic_fetch_add(&o->calls, 1, __ATOMIC_SEQ_CST);

	(void)key;
	(void)error;
	if (call < 4)
		o->seen[call] = current;
	if (o->then)
		o->then(o, current);
	if (o->keeps)
		return HAPAX_COMPUTE_KEEP;
	*object = tier_item(&o->t);
	return HAPAX_COMPUTE_PUT;
}

static int compute(struct one *o, const char *key, hapax_change *change)
{
	return hapax_cache_compute(o->t.cache, HAPAX_STR(key), make_one, o, HAPAX_FOREVER, NULL, change, NULL);
}

/* ---- what comes between ------------------------------------------------------------------------------------------- */

static void *write_it(void *arg)
{
	struct one *o = arg;

	o->then = NULL;
	hapax_release(tier_put(&o->t, "k"));
	return NULL;
}

static void *remove_it(void *arg)
{
	struct one *o = arg;

	o->then = NULL;
	CHECK_EQ(hapax_cache_remove(o->t.cache, HAPAX_STR("k")), HAPAX_OK);
	return NULL;
}

static void *clear_it(void *arg)
{
	struct one *o = arg;

	o->then = NULL;
	hapax_cache_clear(o->t.cache);
	return NULL;
}

static void on_another_thread(struct one *o, void *current)
{
	void *(*what)(void *) = (void *(*)(void *))(uintptr_t)o->arg;

	(void)current;
	test_join(test_thread(what, o));
}

TEST(CF_CP_01_who_was_overtaken_is_asked_again)
{
	void *(*const what[])(void *) = {write_it, remove_it, clear_it};

	for (int i = 0; i < 3; i++) {
		for (int absent = 0; absent < (i ? 1 : 2); absent++) {
			struct one o = {.then = on_another_thread, .arg = (void *)(uintptr_t)what[i]};
			hapax_change change;
			struct item *it = NULL;

			begin(&o, BOUNDED);
			if (!absent)
				it = tier_put(&o.t, "k");
			CHECK_EQ(compute(&o, "k", &change), HAPAX_OK);
			CHECK_EQ(o.calls, 2);
			CHECK_PTR(o.seen[0], it);
			CHECK_EQ(o.seen[1] != NULL, i == 0);
			CHECK(o.seen[1] != it || !it);
			CHECK_EQ(change, i == 0 ? HAPAX_REPLACED : HAPAX_INSERTED);
			/* what the first answer made is given back, untold: it was never to be installed */
			TOLD(&o.t.r, i != 0, i == 0 ? 2 - absent : 0, 0, 0, 0, 0);
			hapax_release(it);
			tier_end(&o.t, 1);
		}
	}
}

static void expire_it(struct one *o, void *current)
{
	(void)current;
	o->then = NULL;
	fake_clock_advance(1000);
}

TEST(CF_CP_01_the_entry_expires_meanwhile)
{
	struct one o = {.then = expire_it};
	hapax_change change;

	begin(&o, (hapax_cache_options){.max_entries = 9, .ttl_ns = 1000});
	hapax_release(tier_put(&o.t, "k"));
	CHECK_EQ(compute(&o, "k", &change), HAPAX_OK);
	/* expired first, whoever replaced it then: told so, or found so and asked again */
	TOLD(&o.t.r, 0, 0, 0, 1, 0, 0);
	CHECK(present(o.t.cache, "k"));
	tier_end(&o.t, 1);
}

/* A load that is in flight is fenced by PUT, and by REMOVE of an absent key, not by KEEP. */
static int removes(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	(void)key;
	(void)object;
	(void)arg;
	(void)error;
	CHECK(!current);
	return HAPAX_COMPUTE_REMOVE;
}

TEST(MK_CP_02_loads_in_flight_are_fenced)
{
	for (int how = 0; how < 3; how++) {
		for (int form = 0; form < 2; form++) {
			struct one o = {.keeps = how == 2};
			struct gate g = GATE_INIT;
			struct asker a;
			hapax_change change;

			tier_begin(&o.t, form, test_env_fake(), BOUNDED);
			o.t.s.then = first_stops;
			o.t.s.arg = &g;
			ask(&a, o.t.cache, "k", NULL);
			test_event_wait(&g.entered);
			if (how == 1)
				CHECK_EQ(hapax_cache_compute(o.t.cache, HAPAX_STR("k"), removes, NULL, HAPAX_FOREVER, NULL, &change, NULL),
					 HAPAX_OK);
			else
				CHECK_EQ(compute(&o, "k", &change), HAPAX_OK);
			CHECK_EQ(change, how == 0 ? HAPAX_INSERTED : HAPAX_STILL_NONE);
			test_event_set(&g.go);
			CHECK_EQ(answer(&a), HAPAX_OK);
			CHECK_EQ(stats_of(o.t.cache).superseded, how != 2);
			if (how == 2)
				CHECK_PTR(present(o.t.cache, "k"), a.out);
			else
				CHECK(present(o.t.cache, "k") != a.out);
			asker_end(&a);
			tier_end(&o.t, how != 1);
		}
	}
}

/* ---- from inside ------------------------------------------------------------------------------------------------- */

static int match_all(const hapax_key *key, void *object, void *ctx)
{
	(void)key;
	(void)object;
	++*(int *)ctx;
	return 1;
}

static void everything(struct one *o, void *current)
{
	size_t removed = 7;
	int asked = 0;
	hapax_cache *c = o->t.cache;
	struct item *it = tier_item(&o->t);
	void *out = NULL;
	bool inserted = true;
	int status = 0;
	hapax_key key = HAPAX_STR("k");

	o->then = NULL;
	CHECK_EQ(hapax_cache_put(c, key, it), HAPAX_EDEADLK);
	CHECK_EQ(hapax_cache_get_or_put(c, key, it, &out, &inserted), HAPAX_EDEADLK);
	CHECK(!out && !inserted);
	CHECK_EQ(hapax_cache_upsert(c, key, it, NULL), HAPAX_EDEADLK);
	CHECK_EQ(hapax_cache_replace_if(c, key, current ? current : it, it), HAPAX_EDEADLK);
	CHECK_EQ(compute(o, "k", NULL), HAPAX_EDEADLK);
	CHECK_EQ(hapax_cache_refresh(c, key), HAPAX_EDEADLK);
	CHECK_EQ(hapax_cache_remove(c, key), HAPAX_MISS);
	CHECK_EQ(hapax_cache_remove_if(c, key, current ? current : it), HAPAX_MISS);
	CHECK_EQ(hapax_cache_pop(c, key, &out), HAPAX_MISS);
	CHECK_EQ(hapax_cache_remove_where(c, match_all, &asked, &removed), HAPAX_OK);
	CHECK_EQ(asked, 0);
	CHECK_EQ(removed, 0);
	/* looking is free */
	CHECK_PTR(present(c, "k"), current);
	CHECK_EQ(hapax_cache_get(c, key, &out), current ? HAPAX_OK : HAPAX_EDEADLK);
	CHECK_PTR(out, current);
	hapax_release(out);
	CHECK_EQ(hapax_cache_get_many(c, &key, 1, &out, &status, NULL), HAPAX_OK);
	CHECK_EQ(status, current ? HAPAX_OK : HAPAX_EDEADLK);
	hapax_release(out);
	/* other keys work, this one as a key of another cache too */
	CHECK_EQ(hapax_cache_put(c, HAPAX_STR("other"), it), HAPAX_OK);
	CHECK_EQ(compute(o, "third", NULL), HAPAX_OK);
	CHECK_EQ(hapax_cache_remove(c, HAPAX_STR("third")), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(o->arg, key, it), HAPAX_OK);
	CHECK_EQ(hapax_cache_remove(o->arg, key), HAPAX_OK);
	hapax_release(it);
}

TEST(CF_CP_07_calls_on_its_own_key_are_refused)
{
	for (int with = 0; with < 2; with++) {
		struct one o = {.then = everything};
		hapax_cache_options other = {HAPAX_CACHE_OPTIONS_INIT, .name = "other"};
		hapax_change change;
		hapax_cache *cache;

		begin(&o, BOUNDED);
		other.env = o.t.env;
		CHECK_EQ(hapax_cache_create(&cache, &other), HAPAX_OK);
		o.arg = cache;
		if (with)
			hapax_release(tier_put(&o.t, "k"));
		CHECK_EQ(compute(&o, "k", &change), HAPAX_OK);
		CHECK_EQ(change, with ? HAPAX_REPLACED : HAPAX_INSERTED);
		TOLD(&o.t.r, 1, with, 0, 0, 0, 0);
		/* and afterwards nothing is left of it */
		hapax_release(tier_put(&o.t, "k"));
		CHECK_EQ(hapax_cache_remove(o.t.cache, HAPAX_STR("k")), HAPAX_OK);
		hapax_cache_destroy(cache);
		tier_end(&o.t, 1);
	}
}

/* Keys of one hash are keys of their own, also by the user's word. */
static int hash_alike(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	(void)ctx;
	*hash = 3;
	return 0;
}

static bool same_case(const hapax_key *a, const hapax_key *b, void *ctx)
{
	(void)ctx;
	return a->size == b->size && (*(const char *)a->data | 32) == (*(const char *)b->data | 32);
}

static void nested(struct one *o, void *current)
{
	(void)current;
	o->then = NULL;
	CHECK_EQ(compute(o, "b", NULL), HAPAX_OK);
	CHECK_EQ(compute(o, "A", NULL), HAPAX_EDEADLK); /* is "a" */
}

TEST(CF_CP_07_keys_are_compared_as_the_cache_does)
{
	struct one o = {.then = nested};

	begin(&o, (hapax_cache_options){.max_entries = 9, .keys = {.hash = hash_alike, .equal = same_case}});
	CHECK_EQ(compute(&o, "a", NULL), HAPAX_OK);
	CHECK_EQ(compute(&o, "A", NULL), HAPAX_OK);
	tier_end(&o.t, 2);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------ */

struct waiter {
	struct one *o;
	const char *key;
	uint64_t deadline;
	int status;
	pthread_t thread;
};

static void *wait_turn(void *arg)
{
	struct waiter *w = arg;

	w->status = 12345;
	w->status = hapax_cache_compute(w->o->t.cache, HAPAX_STR(w->key), make_one, w->o, w->deadline, NULL, NULL, NULL);
	return NULL;
}

static void begin_wait(struct waiter *w, struct one *o, const char *key, uint64_t deadline)
{
	*w = (struct waiter){.o = o, .key = key, .deadline = deadline};
	w->thread = test_thread(wait_turn, w);
}

/* The first call stops at the gate. */
static void first_waits(struct one *o, void *current)
{
	struct gate *g = o->arg;

	(void)current;
	if (o->calls == 1) {
		test_event_set(&g->entered);
		test_event_wait(&g->go);
	}
}

TEST(CF_CP_03_waiters_get_their_turn_or_leave_at_their_deadline)
{
	struct gate g = GATE_INIT;
	struct one o = {.then = first_waits, .arg = &g};
	struct waiter first, patient, late, cancelled;
	void *result;

	begin(&o, BOUNDED);
	begin_wait(&first, &o, "k", HAPAX_FOREVER);
	test_event_wait(&g.entered);
	CHECK_EQ(hapax_cache_compute(o.t.cache, HAPAX_STR("k"), make_one, &o, HAPAX_NO_WAIT, NULL, NULL, NULL), HAPAX_INFLIGHT);
	begin_wait(&late, &o, "k", fake_clock_now() + 50);
	fake_clock_await_sleepers(1);
	begin_wait(&cancelled, &o, "k", HAPAX_FOREVER);
	fake_clock_await_sleepers(2);
	begin_wait(&patient, &o, "k", HAPAX_FOREVER);
	fake_clock_await_sleepers(3);
	/* another key, and readers of this one, do not wait */
	CHECK_EQ(hapax_cache_compute(o.t.cache, HAPAX_STR("j"), make_one, &o, HAPAX_NO_WAIT, NULL, NULL, NULL), HAPAX_OK);
	CHECK(!present(o.t.cache, "k"));
	fake_clock_advance(50);
	test_join(late.thread);
	CHECK_EQ(late.status, HAPAX_ETIMEDOUT);
	CHECK_EQ(pthread_cancel(cancelled.thread), 0);
	pthread_join(cancelled.thread, &result);
	CHECK(result == PTHREAD_CANCELED);
	CHECK_EQ(o.calls, 2);
	test_event_set(&g.go);
	test_join(first.thread);
	test_join(patient.thread);
	CHECK_EQ(first.status, HAPAX_OK);
	CHECK_EQ(patient.status, HAPAX_OK);
	CHECK_EQ(o.calls, 3);
	CHECK(o.seen[2] != NULL);
	tier_end(&o.t, 2);
}

TEST(CF_CP_03_closing_releases_the_waiters)
{
	struct gate g = GATE_INIT;
	struct one o = {.then = first_waits, .arg = &g};
	struct waiter first, other;

	begin(&o, BOUNDED);
	begin_wait(&first, &o, "k", HAPAX_FOREVER);
	test_event_wait(&g.entered);
	begin_wait(&other, &o, "k", HAPAX_FOREVER);
	fake_clock_await_sleepers(1);
	hapax_cache_close(o.t.cache);
	test_join(other.thread);
	CHECK_EQ(other.status, HAPAX_ECLOSED);
	test_event_set(&g.go);
	test_join(first.thread);
	CHECK_EQ(first.status, HAPAX_ECLOSED);
	CHECK_EQ(o.t.s.destroyed, 1);
	tier_end(&o.t, 0);
}

/* Whoever waits for whom in a circle: one of them is refused. The third waits behind the second. */
struct circle {
	struct one o;
	struct test_barrier both;
	int refused;
};

static int crosses(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct circle *c = arg;
	bool is_a = *(const char *)key->data == 'a';
	int rc;

	(void)current;
	(void)object;
	(void)error;
	test_barrier_wait(&c->both);
	rc = hapax_cache_compute(c->o.t.cache, is_a ? HAPAX_STR("b") : HAPAX_STR("a"), make_one, &c->o, HAPAX_FOREVER, NULL, NULL,
				 NULL);
	CHECK(rc == HAPAX_OK || rc == HAPAX_EDEADLK);
	if (rc)
		__atomic_add_fetch(&c->refused, 1, __ATOMIC_SEQ_CST);
	return HAPAX_COMPUTE_KEEP;
}

static void cross(unsigned index, void *arg)
{
	struct circle *c = arg;

	CHECK_EQ(hapax_cache_compute(c->o.t.cache, index ? HAPAX_STR("a") : HAPAX_STR("b"), crosses, c, HAPAX_FOREVER, NULL, NULL,
				     NULL), HAPAX_OK);
}

TEST(CF_CP_07_waiting_in_a_circle_is_refused)
{
	struct circle c = {.refused = 0};

	test_barrier_init(&c.both, 2);
	begin(&c.o, BOUNDED);
	for (uint64_t i = scaled(50); i > 0; i--) {
		c.refused = 0;
		run_threads(2, cross, &c);
		CHECK_EQ(c.refused, 1);
	}
	tier_end(&c.o.t, hapax_cache_size(c.o.t.cache));
}

/* Through a load: the loader computes a key whose function gets what is being loaded. */
static int loads_b(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct circle *c = arg;
	void *out;
	int rc;

	(void)current;
	(void)key;
	(void)object;
	(void)error;
	test_barrier_wait(&c->both);
	rc = hapax_cache_get(c->o.t.cache, HAPAX_STR("b"), &out);
	CHECK(rc == HAPAX_OK || rc == HAPAX_EDEADLK);
	if (rc)
		__atomic_add_fetch(&c->refused, 1, __ATOMIC_SEQ_CST);
	hapax_release(out);
	return HAPAX_COMPUTE_KEEP;
}

static int computes_a(struct source *s, int load, void *object, const hapax_key *key)
{
	struct circle *c = s->arg;
	int rc;

	(void)load;
	(void)object;
	(void)key;
	test_barrier_wait(&c->both);
	rc = compute(&c->o, "a", NULL);
	CHECK(rc == HAPAX_OK || rc == HAPAX_EDEADLK);
	if (rc)
		__atomic_add_fetch(&c->refused, 1, __ATOMIC_SEQ_CST);
	return GO_ON;
}

static void mixed(unsigned index, void *arg)
{
	struct circle *c = arg;

	if (index)
		hapax_release(got(c->o.t.cache, "b"));
	else
		CHECK_EQ(hapax_cache_compute(c->o.t.cache, HAPAX_STR("a"), loads_b, c, HAPAX_FOREVER, NULL, NULL, NULL), HAPAX_OK);
}

TEST(CF_CP_07_a_circle_through_a_load)
{
	struct circle c = {.o.t.s = {.then = computes_a}};

	test_barrier_init(&c.both, 2);
	begin(&c.o, BOUNDED);
	c.o.t.s.arg = &c;
	for (uint64_t i = scaled(50); i > 0; i--) {
		c.refused = 0;
		run_threads(2, mixed, &c);
		CHECK_EQ(c.refused, 1);
		hapax_cache_clear(c.o.t.cache);
	}
	tier_end(&c.o.t, 0);
}

/* ---- threads that vanish -------------------------------------------------------------------------------------------- */

static void vanish(struct one *o, void *current)
{
	struct gate *g = o->arg;

	(void)current;
	if (o->calls > 2)
		return;
	test_event_set(&g->entered);
	fake_clock_await_sleepers(1);
	if (o->calls == 1)
		pthread_exit(NULL);
	pthread_cancel(pthread_self());
	for (;;)
		pthread_testcancel();
}

TEST(CF_CP_03_a_thread_that_vanishes_leaves_the_key_to_the_next)
{
	for (int with = 0; with < 2; with++) {
		struct gate g = GATE_INIT;
		struct one o = {.then = vanish, .arg = &g};
		struct waiter w[3];
		struct item *it = NULL;

		begin(&o, BOUNDED);
		if (with)
			it = tier_put(&o.t, "k");
		for (int i = 0; i < 3; i++) {
			begin_wait(&w[i], &o, "k", HAPAX_FOREVER);
			if (i == 0)
				test_event_wait(&g.entered);
		}
		for (int i = 0; i < 3; i++)
			pthread_join(w[i].thread, NULL);
		CHECK_EQ(o.calls, 3);
		CHECK_EQ((w[0].status == HAPAX_OK) + (w[1].status == HAPAX_OK) + (w[2].status == HAPAX_OK), 1);
		CHECK_PTR(o.seen[2], it);
		CHECK(present(o.t.cache, "k") && present(o.t.cache, "k") != it);
		if (with)
			CHECK_EQ(hapax_count(it), 1);
		hapax_release(it);
		tier_end(&o.t, 1);
	}
}

/* The destructor of what is replaced, and the listener that is told of it, may use the key. */
static void compute_again(struct removals *r, const hapax_removal *removal)
{
	struct one *o = r->arg;

	r->then = NULL;
	CHECK_EQ(removal->cause, HAPAX_CAUSE_REPLACED);
	hapax_release(tier_put(&o->t, "k"));
	CHECK_EQ(hapax_cache_remove(o->t.cache, HAPAX_STR("k")), HAPAX_OK);
}

static void compute_in_destructor(struct item *item, void *arg)
{
	struct one *o = arg;

	(void)item;
	CHECK_EQ(compute(o, "k", NULL), HAPAX_OK);
}

TEST(CF_CP_07_listeners_and_destructors_may_use_the_key)
{
	struct one o = {.calls = 0};
	struct item *it;
	hapax_change change;

	begin(&o, BOUNDED);
	hapax_release(tier_put(&o.t, "k"));
	o.t.r.arg = &o;
	o.t.r.then = compute_again;
	CHECK_EQ(compute(&o, "k", &change), HAPAX_OK);
	CHECK_EQ(change, HAPAX_REPLACED);
	CHECK(!present(o.t.cache, "k"));
	it = tier_put(&o.t, "k");
	it->on_destroy = compute_in_destructor;
	it->arg = &o;
	hapax_release(it);
	CHECK_EQ(compute(&o, "k", &change), HAPAX_OK);
	CHECK_EQ(o.calls, 3);
	CHECK_EQ(o.t.s.destroyed, 5);
	tier_end(&o.t, 1);
}
