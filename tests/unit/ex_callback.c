/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The expiry callback: when it is asked, what it is told, what its failure leaves. */
#include "unit/removals.h"

#define TTL 1000000

struct expiry {
	int calls[3];
	uint64_t told[3];  /* *ttl_ns at the last call */
	uint64_t gives[3]; /* 0: what it was told */
	int fails;         /* a bit for each event */
	struct item *object;
	char key[16];
};

static pthread_mutex_t noting = PTHREAD_MUTEX_INITIALIZER;

static int expire(hapax_expire_event event, const hapax_key *key, void *object, uint64_t *ttl_ns, void *ctx)
{
	struct expiry *x = ctx;

	CHECK(event == HAPAX_EXPIRE_CREATE || event == HAPAX_EXPIRE_UPDATE || event == HAPAX_EXPIRE_READ);
	CHECK(item_is_alive(object));
	__atomic_fetch_add(&x->calls[event], 1, __ATOMIC_RELAXED);
	if (x->fails & 1 << event)
		return 12;
	pthread_mutex_lock(&noting); /* hits on several threads ask at once */
	x->told[event] = *ttl_ns;
	x->object = object;
	memset(x->key, 0, sizeof(x->key));
	memcpy(x->key, key->data, key->size < 15 ? key->size : 15);
	pthread_mutex_unlock(&noting);
	if (x->gives[event])
		*ttl_ns = x->gives[event];
	return 0;
}

static void asked_check(const struct expiry *x, int line, int create, int update, int read)
{
	if (x->calls[0] != create || x->calls[1] != update || x->calls[2] != read)
		test_fail(__FILE__, line, "asked %d, %d, %d times instead of %d, %d, %d", x->calls[0], x->calls[1],
			  x->calls[2], create, update, read);
}
#define ASKED(x, ...) asked_check((x), __LINE__, __VA_ARGS__)

static uint64_t left(struct tier *t, const char *key)
{
	uint64_t deadline = 0;

	CHECK_EQ(hapax_cache_deadline(t->cache, HAPAX_STR(key), &deadline), HAPAX_OK);
	return deadline == HAPAX_FOREVER ? deadline : deadline - fake_clock_now();
}

TEST(CF_EX_08_asked_once_for_each_event)
{
	for (int form = 0; form < FORMS; form++) {
		for (int ttl = 0; ttl < 2; ttl++) {
			struct expiry x = {.gives = {50 * TTL, 60 * TTL, 70 * TTL}};
			struct tier t = {0};
			struct item *it, *second;
			hapax_iter *iter = NULL;
			hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT, .ttl_ns = 5 * TTL};
			void *out = NULL;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 100, .ttl_ns = ttl ? TTL : 0,
					   .expire = expire, .expire_ctx = &x});
			it = tier_add(&t, "k");
			ASKED(&x, 1, 0, 0);
			CHECK_EQ(x.told[HAPAX_EXPIRE_CREATE], ttl ? TTL : HAPAX_FOREVER);
			CHECK_PTR(x.object, it);
			CHECK_STR(x.key, "k");
			CHECK_EQ(left(&t, "k"), 50 * TTL);
			fake_clock_advance(TTL);
			hapax_release(got(t.cache, "k"));
			ASKED(&x, 1, 0, 1);
			CHECK_EQ(x.told[HAPAX_EXPIRE_READ], 49 * TTL);
			CHECK_EQ(left(&t, "k"), 70 * TTL);
			fake_clock_advance(TTL);
			CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR("k"), &out), HAPAX_OK);
			hapax_release(out);
			ASKED(&x, 1, 0, 2);
			CHECK_EQ(x.told[HAPAX_EXPIRE_READ], 69 * TTL);
			CHECK_EQ(hapax_cache_get_with(t.cache, HAPAX_STR("k"), NULL, &out), HAPAX_OK);
			hapax_release(out);
			ASKED(&x, 1, 0, 3);
			/* looks */
			CHECK_PTR(present(t.cache, "k"), it);
			CHECK_EQ(hapax_cache_iterate(t.cache, &iter), HAPAX_OK);
			CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_OK);
			hapax_iter_close(iter);
			ASKED(&x, 1, 0, 3);
			fake_clock_advance(TTL);
			second = tier_put(&t, "k");
			ASKED(&x, 1, 1, 3);
			CHECK_EQ(x.told[HAPAX_EXPIRE_UPDATE], 69 * TTL);
			CHECK_PTR(x.object, second);
			CHECK_EQ(left(&t, "k"), 60 * TTL);
			fake_clock_advance(TTL);
			CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR("k")), HAPAX_OK);
			ASKED(&x, 1, 2, 3);
			CHECK_EQ(left(&t, "k"), 60 * TTL);
			/* who gives a time does not ask */
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("k"), 3 * TTL), HAPAX_OK);
			CHECK_EQ(left(&t, "k"), 3 * TTL);
			CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), it, &o), HAPAX_OK);
			CHECK_EQ(left(&t, "k"), 5 * TTL);
			CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("new"), it, &o), HAPAX_OK);
			ASKED(&x, 1, 2, 3);
			o.ttl_ns = 0;
			CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("new"), second, &o), HAPAX_OK);
			ASKED(&x, 1, 3, 3);
			hapax_release(it);
			hapax_release(second);
			/* over an expired entry it is a creation */
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("k"), HAPAX_ZERO), HAPAX_OK);
			hapax_release(got(t.cache, "k"));
			ASKED(&x, 2, 3, 3);
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("k"), TTL), HAPAX_OK);
			fake_clock_advance(TTL);
			hapax_release(tier_put(&t, "k"));
			ASKED(&x, 3, 3, 3);
			tier_end(&t, 2);
		}
	}
}

TEST(CF_EX_08_what_it_leaves_alone_stays)
{
	for (int form = 0; form < FORMS; form++) {
		struct expiry x = {0};
		struct tier t = {0};

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 100, .ttl_ns = 10 * TTL, .expire = expire,
				   .expire_ctx = &x});
		tier_fill(&t, "k");
		CHECK_EQ(left(&t, "k"), 10 * TTL);
		fake_clock_advance(TTL);
		tier_hit(&t, "k");
		CHECK_EQ(left(&t, "k"), 9 * TTL);
		x.gives[HAPAX_EXPIRE_READ] = HAPAX_FOREVER;
		tier_hit(&t, "k");
		CHECK_EQ(left(&t, "k"), HAPAX_FOREVER);
		x.gives[HAPAX_EXPIRE_READ] = 2 * TTL;
		tier_hit(&t, "k");
		CHECK_EQ(x.told[HAPAX_EXPIRE_READ], HAPAX_FOREVER);
		CHECK_EQ(left(&t, "k"), 2 * TTL);
		fake_clock_advance(2 * TTL);
		CHECK(!present(t.cache, "k"));
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 0, 1, 0, 0);
		tier_end(&t, 0);
	}
}

static int expire_at_once(hapax_expire_event event, const hapax_key *key, void *object, uint64_t *ttl_ns, void *ctx)
{
	(void)key;
	(void)object;
	if (event == *(hapax_expire_event *)ctx)
		*ttl_ns = 0;
	return 0;
}

TEST(CF_EX_08_zero_is_expired_at_once)
{
	for (int form = 0; form < FORMS; form++) {
		for (int when = HAPAX_EXPIRE_CREATE; when <= HAPAX_EXPIRE_READ; when++) {
			hapax_expire_event event = (hapax_expire_event)when;
			struct tier t = {0};
			struct item *it;
			void *out = NULL;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 100, .expire = expire_at_once,
					   .expire_ctx = &event});
			it = tier_add(&t, "k"); /* its maker gets it */
			if (when == HAPAX_EXPIRE_UPDATE) {
				CHECK_PTR(present(t.cache, "k"), it);
				hapax_release(tier_put(&t, "k"));
			} else if (when == HAPAX_EXPIRE_READ) {
				CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR("k"), &out), HAPAX_OK);
				CHECK_PTR(out, it);
				hapax_release(out);
			}
			CHECK(!present(t.cache, "k"));
			tier_settle(&t);
			TOLD(&t.r, 0, when == HAPAX_EXPIRE_UPDATE, 0, 1, 0, 0);
			hapax_release(it);
			tier_end(&t, 0);
		}
	}
}

struct joined {
	struct tier t;
	struct expiry x;
};

static void get_a_few(unsigned index, void *arg)
{
	struct joined *j = arg;

	(void)index;
	hapax_release(got(j->t.cache, "k"));
}

TEST(CF_EX_08_one_creation_for_all_who_join)
{
	for (int round = 0; round < 20; round++) {
		struct joined j = {0};

		tier_begin(&j.t, LOADED, test_env_fake(), (hapax_cache_options){.max_entries = 100, .ttl_ns = TTL, .expire = expire,
				   .expire_ctx = &j.x});
		run_threads(4, get_a_few, &j);
		CHECK_EQ(j.x.calls[HAPAX_EXPIRE_CREATE], 1);
		CHECK_EQ(j.x.calls[HAPAX_EXPIRE_UPDATE], 0);
		CHECK(j.x.calls[HAPAX_EXPIRE_READ] <= 3);
		CHECK_EQ(j.x.calls[HAPAX_EXPIRE_READ], stats_of(j.t.cache).hits);
		tier_end(&j.t, 1);
	}
}

/* ---- its errors ------------------------------------------------------------------------------------------------ */

static int weigh_id(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)key;
	(void)ctx;
	*weight = (uint64_t)((struct item *)object)->id;
	return 0;
}

static int expire_leaves(hapax_expire_event event, const hapax_key *key, void *object, uint64_t *ttl_ns, void *ctx)
{
	(void)key;
	(void)object;
	(void)ttl_ns;
	(void)ctx;
	if (event == HAPAX_EXPIRE_UPDATE)
		pthread_exit(NULL);
	return 0;
}

static void *put_and_leave(void *arg)
{
	struct tier *t = arg;

	(void)!hapax_cache_put(t->cache, HAPAX_STR("k"), t->r.arg);
	TEST_FAIL("the put returned");
}

/* A put that is left while it asks changes nothing, and holds nothing of what was there. */
TEST(CF_EX_10_it_leaves_the_thread_that_puts)
{
#ifdef __clang__
	TEST_SKIP("code of clang aborts when a cleanup is unwound");
#endif
	for (int form = 0; form < FORMS; form++) {
		for (int same = 0; same < 2; same++) {
			struct tier t = {0};
			struct item *it;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.expire = expire_leaves});
			it = tier_add(&t, "k");
			t.r.arg = same ? it : tier_item(&t);
			test_join(test_thread(put_and_leave, &t));
			CHECK(got(t.cache, "k") == it);
			hapax_release(it);
			hapax_release(it);
			CHECK_EQ(t.s.destroyed, 1);
			if (!same)
				hapax_release(t.r.arg);
			tier_end(&t, 0);
		}
	}
}

TEST(CF_EX_10_its_failure_fails_the_call_and_changes_nothing)
{
	for (int form = 0; form < FORMS; form++) {
		struct expiry x = {.gives = {0, 0, 5 * TTL}};
		struct tier t = {.loose = true};
		struct item *it, *other;
		hapax_get_options go = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
		void *out = (void *)1;
		uint64_t before, weight;
		bool inserted = true;
		int destroyed;

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_weight = 1000000, .weigh = weigh_id, .ttl_ns = TTL,
				   .expire = expire, .expire_ctx = &x});
		it = tier_add(&t, "k");
		other = tier_item(&t);
		before = left(&t, "k");
		weight = stats_of(t.cache).retained_weight;
		x.fails = 7;
		/* reads */
		CHECK_EQ(hapax_cache_get(t.cache, HAPAX_STR("k"), &out), HAPAX_ECALLBACK);
		CHECK(!out);
		out = (void *)1;
		CHECK_EQ(hapax_cache_get_with(t.cache, HAPAX_STR("k"), &go, &out), HAPAX_ECALLBACK);
		CHECK(!out);
		out = (void *)1;
		CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR("k"), &out), HAPAX_ECALLBACK);
		CHECK(!out);
		/* updates */
		CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), other), HAPAX_ECALLBACK);
		CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_STR("k"), other, NULL), HAPAX_ECALLBACK);
		CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("k"), it), HAPAX_ECALLBACK);
		CHECK_EQ(hapax_cache_touch(t.cache, HAPAX_STR("k")), HAPAX_ECALLBACK);
		CHECK_PTR(present(t.cache, "k"), it);
		CHECK_EQ(left(&t, "k"), before);
		CHECK_EQ(stats_of(t.cache).retained_weight, weight);
		CHECK_EQ(stats_of(t.cache).retained, 1);
		CHECK_EQ(hapax_count(it), 2);
		CHECK_EQ(hapax_count(other), 1);
		CHECK_EQ(t.r.n, 0);
		/* creations */
		CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("new"), other), HAPAX_ECALLBACK);
		out = (void *)1;
		CHECK_EQ(hapax_cache_get_or_put(t.cache, HAPAX_STR("new"), other, &out, &inserted), HAPAX_ECALLBACK);
		CHECK(!out);
		CHECK_EQ(t.r.n, 0);
		destroyed = t.s.destroyed;
		out = (void *)1;
		CHECK_EQ(hapax_cache_get(t.cache, HAPAX_STR("new"), &out), HAPAX_ECALLBACK);
		CHECK(!out);
		CHECK_EQ(t.s.destroyed, destroyed + 1);
		CHECK(!present(t.cache, "new"));
		CHECK_EQ(hapax_cache_size(t.cache), 1);
		CHECK_EQ(hapax_count(other), 1);
		/* and it goes on */
		x.fails = 0;
		CHECK_EQ(hapax_cache_put(t.cache, HAPAX_STR("new"), other), HAPAX_OK);
		hapax_release(got(t.cache, "k"));
		CHECK_EQ(left(&t, "k"), 5 * TTL);
		CHECK_EQ(hapax_cache_size(t.cache), 2);
		hapax_release(it);
		hapax_release(other);
		tier_end(&t, 2);
	}
}
