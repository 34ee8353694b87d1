/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of user code between a loader and the installation: it may ask for the key, and leave its thread. */
#include "unit/asked.h"

/* A weigher and an expire callback. */
struct nosy {
	hapax_cache *cache;
	int asked, refused, found;
	bool exits; /* the next one that is asked leaves its thread */
};

static void be_nosy(struct nosy *n)
{
	void *out = NULL;
	int rc = hapax_cache_get(n->cache, HAPAX_STR("k"), &out);

	n->asked++;
	n->refused += rc == HAPAX_EDEADLK;
	n->found += rc == HAPAX_OK;
	hapax_release(out);
	if (n->exits) {
		n->exits = false;
		pthread_exit(NULL);
	}
}

static int nosy_weigh(const hapax_key *key, void *object, uint64_t *weight, void *ctx)
{
	(void)key;
	(void)object;
	*weight = 1;
	be_nosy(ctx);
	return 0;
}

static int nosy_expire(hapax_expire_event event, const hapax_key *key, void *object, uint64_t *ttl_ns, void *ctx)
{
	(void)key;
	(void)object;
	(void)ttl_ns;
	if (event != HAPAX_EXPIRE_READ)
		be_nosy(ctx);
	return 0;
}

/* Loads in place, makes, or starts: `form` 0, 1, 2. */
static hapax_cache *nosy_cache(hapax_env *env, struct nosy *n, struct source *s, struct starts *st, int form,
			       hapax_cache_options o)
{
	o.size = sizeof(o);
	o.env = env;
	o.type = &item_type;
	o.load = form == 0 ? source_load : NULL;
	o.make = form == 1 ? source_make : NULL;
	o.start = form == 2 ? starts_start : NULL;
	o.arg = form == 2 ? (void *)st : (void *)s;
	o.weigh = o.max_weight ? nosy_weigh : NULL;
	o.weigh_ctx = n;
	o.expire = o.max_weight ? NULL : nosy_expire;
	o.expire_ctx = n;
	CHECK_EQ(hapax_cache_create(&n->cache, &o), HAPAX_OK);
	s->env = st->env = env;
	return n->cache;
}

static const hapax_cache_options weighing = {.max_weight = 100}, expiring = {.ttl_ns = 0};

TEST(CF_LD_06_a_callback_that_asks_for_the_key_that_is_installed)
{
	for (int variant = 0; variant < 4; variant++) {
		hapax_env *env = test_env();
		struct nosy n = {.cache = NULL};
		struct source s = {.loads = 0};
		struct starts st = {0};
		hapax_cache *cache = nosy_cache(env, &n, &s, &st, variant & 1, variant & 2 ? weighing : expiring);

		hapax_release(got(cache, "k"));
		CHECK_EQ(n.asked, 1);
		CHECK_EQ(n.refused, 1);
		stats_check(cache);
		hapax_cache_destroy(cache);
		test_env_end(env);
	}
}

static void *complete(void *arg)
{
	CHECK_EQ(starts_complete(arg, 0), HAPAX_OK);
	return NULL;
}

/* By a token: whoever completes it. Two threads ask; one flight, which neither of them ends. */
TEST(CF_LD_06_CX_WT_10_the_thread_that_completes_asks_for_the_key)
{
	for (int variant = 0; variant < 2; variant++) {
		hapax_env *env = test_env_fake();
		struct nosy n = {.cache = NULL};
		struct source s = {.loads = 0};
		struct starts st = {0};
		hapax_cache *cache = nosy_cache(env, &n, &s, &st, 2, variant ? weighing : expiring);
		struct told t = {0};
		struct asker a;

		told_ask(&t, cache, "k");
		ask(&a, cache, "k", NULL);
		fake_clock_await_sleepers(1);
		test_join(test_thread(complete, &st));
		CHECK_EQ(n.refused, 1);
		CHECK_EQ(answer(&a), HAPAX_OK);
		told_end(&t, HAPAX_OK);
		asker_end(&a);
		stats_check(cache);
		hapax_cache_destroy(cache);
		CHECK_EQ(st.destroyed, 1);
		test_env_end(env);
	}
}

static void *get_and_leave(void *arg)
{
	got(arg, "k");
	CHECK(!"it was to leave");
	return NULL;
}

/* The callback's thread vanishes: as in the loader, the flight goes to who waits, and what was loaded is given back. */
TEST(MK_LD_17_a_callback_that_vanishes)
{
	for (int variant = 0; variant < 4; variant++) {
		hapax_env *env = test_env();
		struct nosy n = {.exits = true};
		struct source s = {.loads = 0};
		struct starts st = {0};
		hapax_cache *cache = nosy_cache(env, &n, &s, &st, variant & 1, variant & 2 ? weighing : expiring);

		test_join(test_thread(get_and_leave, cache));
		CHECK(!present(cache, "k"));
		CHECK_EQ(s.destroyed, 1);
		CHECK_EQ(stats_of(cache).load_abandoned, 1);
		hapax_release(got(cache, "k"));
		CHECK_EQ(s.loads, 2);
		stats_check(cache);
		hapax_cache_destroy(cache);
		test_env_end(env);
	}
}

TEST(MK_LD_17_CX_WT_10_a_callback_that_vanishes_while_a_token_is_completed)
{
	hapax_env *env = test_env();
	struct nosy n = {.exits = true};
	struct source s = {.loads = 0};
	struct starts st = {0};
	hapax_cache *cache = nosy_cache(env, &n, &s, &st, 2, weighing);
	struct told t = {0};

	told_ask(&t, cache, "k");
	test_join(test_thread(complete, &st)); /* the request begins another load */
	CHECK_EQ(starts_of(&st), 2);
	CHECK_EQ(st.destroyed, 1);
	CHECK_EQ(hapax_load_fail(st.token[0], HAPAX_LOAD_FAIL, NULL), HAPAX_ETOKEN);
	hapax_load_drop(st.token[0]);
	CHECK_EQ(starts_complete(&st, 1), HAPAX_OK);
	told_end(&t, HAPAX_OK);
	stats_check(cache);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

/* A stale value's reload is a load like any other. */
TEST(CF_LD_06_CF_RF_11_a_callback_that_asks_while_a_reload_is_installed)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env_fake();
		struct nosy n = {.cache = NULL};
		struct source s = {.loads = 0};
		struct starts st = {0};
		hapax_cache *cache = nosy_cache(env, &n, &s, &st, form,
						(hapax_cache_options){.max_weight = 100, .ttl_ns = 1000, .stale_error_ns = 100000});
		struct item *it;

		hapax_release(got(cache, "k"));
		CHECK_EQ(n.refused, 1);
		fake_clock_advance(5000);
		it = got(cache, "k");
		CHECK_EQ(it->id, 2);
		hapax_release(it);
		CHECK_EQ(n.refused, 2);
		stats_check(cache);
		hapax_cache_destroy(cache);
		test_env_end(env);
	}
}
