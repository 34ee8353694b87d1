/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loaders that vanish: pthread_exit and cancellation inside a loader. */
#include "unit/cached.h"

/* `then`: loads up to number `vanish` end their thread instead of returning, after writing into the payload. */
struct vanishing {
	struct source s;
	int vanish;
	bool cancel;
	unsigned sleepers; /* the first load waits for so many */
	hapax_cache *cache;
};

static int vanish_then(struct source *s, int load, void *object, const hapax_key *key)
{
	struct vanishing *v = s->arg;

	CHECK_EQ(key->size, 1);
	CHECK(!memcmp(key->data, "k", 1));
	if (load == 1 && v->sleepers)
		fake_clock_await_sleepers(v->sleepers);
	if (load > v->vanish)
		return GO_ON;
	if (object)
		memset(object, 0x5a, sizeof(struct item));
	__atomic_sub_fetch(&s->running, 1, __ATOMIC_RELAXED);
	if (v->cancel) {
		pthread_cancel(pthread_self());
		for (;;)
			pthread_testcancel();
	}
	pthread_exit(NULL);
}

static void *asker_cleaned(void *arg)
{
	struct asker *a = arg;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
	char key[8]; /* on this thread's stack: gone with it */

	strcpy(key, a->key);
	a->status = 12345; /* stays when the thread vanishes */
	a->status = hapax_cache_get_with(a->cache, HAPAX_STR(key), &o, &a->out);
	CHECK((a->status == HAPAX_OK) == (a->out != NULL));
	return NULL;
}

static void ask_cleaned(struct asker *a, hapax_cache *cache)
{
	memset(a, 0, sizeof(*a));
	a->cache = cache;
	a->key = "k";
	a->status = 12345;
	a->thread = test_thread(asker_cleaned, a);
}

TEST(MK_LD_17_a_vanished_loader_without_waiters)
{
	for (int variant = 0; variant < 4; variant++) {
		hapax_env *env = test_env();
		struct vanishing v = {.s = {.then = vanish_then}, .vanish = 1, .cancel = variant & 2};
		hapax_cache *cache = cache_form(env, &v.s, variant & 1);
		struct asker a;

		v.s.arg = &v;
		ask_cleaned(&a, cache);
		test_join(a.thread);
		CHECK_EQ(a.status, 12345);
		CHECK(!present(cache, "k"));
		CHECK_EQ(stats_of(cache).loads, 1);
		CHECK_EQ(stats_of(cache).load_failures, 1);
		CHECK_EQ(stats_of(cache).load_abandoned, 1);
		struct item *it = got(cache, "k"); /* nobody hangs on the old flight */
		CHECK_EQ(it->id, 2);
		hapax_release(it);
		CHECK_EQ(v.s.destroyed, 1);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(MK_LD_17_CF_LD_16_a_waiter_takes_over)
{
	enum { N = 5 };

	for (int variant = 0; variant < 4; variant++) {
		for (int vanish = 1; vanish <= N; vanish++) {
			hapax_env *env = test_env_fake();
			struct vanishing v = {.s = {.then = vanish_then}, .vanish = vanish, .cancel = variant & 2,
					      .sleepers = N - 1};
			hapax_cache *cache = cache_form(env, &v.s, variant & 1);
			struct asker a[N];
			int vanished = 0, loaded = 0, abandoned = 0;
			void *out = NULL;

			v.s.arg = &v;
			for (int i = 0; i < N; i++)
				ask_cleaned(&a[i], cache);
			for (int i = 0; i < N; i++) {
				test_join(a[i].thread);
				if (a[i].status == 12345) {
					vanished++;
				} else if (a[i].status == HAPAX_EABANDONED) {
					abandoned++;
				} else {
					CHECK_EQ(a[i].status, HAPAX_OK);
					CHECK(!out || out == a[i].out);
					out = a[i].out;
					loaded++;
				}
			}
			CHECK_EQ(vanished, vanish);
			CHECK_EQ(vanished + loaded + abandoned, N);
			CHECK_EQ(abandoned, 0); /* the header: a flight is handed to one of the waiters */
			CHECK_EQ(loads_of(&v.s), vanish < N ? vanish + 1 : N);
			CHECK_EQ(stats_of(cache).load_abandoned, vanished);
			CHECK_PTR(present(cache, "k"), out);
			for (int i = 0; i < N; i++)
				hapax_release(a[i].out);
			CHECK_EQ(v.s.destroyed, loaded ? 1 : 0);
			stats_check(cache);
			cache_end(cache, 0);
			test_env_end(env);
		}
	}
}

/* A new leader whose own get brought a loader uses that one. */
TEST(MK_LD_17_MK_LD_19_a_new_leader_uses_its_own_loader)
{
	hapax_env *env = test_env_fake();
	struct vanishing v = {.s = {.then = vanish_then}, .vanish = 1, .sleepers = 1};
	struct source own = {.env = env};
	hapax_cache *cache = cache_with(env, &v.s, 0);
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .load = source_load, .arg = &own};
	struct asker a, b;

	v.s.arg = &v;
	ask_cleaned(&a, cache);
	while (!loads_of(&v.s))
		test_sleep_ms(1);
	ask(&b, cache, "k", &o);
	test_join(a.thread);
	CHECK_EQ(answer(&b), HAPAX_OK);
	CHECK_EQ(loads_of(&own), 1);
	CHECK_EQ(loads_of(&v.s), 1);
	asker_end(&b);
	cache_end(cache, 0);
	test_env_end(env);
}

/* A loader that vanishes after its key was put or removed: the fence holds, and nobody hangs. */
static struct gate vanish_gate = GATE_INIT;
static int stop_then_vanish(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)object;
	(void)key;
	if (load > 1)
		return GO_ON;
	test_event_set(&vanish_gate.entered);
	test_event_wait(&vanish_gate.go);
	__atomic_sub_fetch(&s->running, 1, __ATOMIC_RELAXED);
	pthread_exit(NULL);
}

TEST(MK_LD_17_vanishing_after_a_fence)
{
	for (int variant = 0; variant < 4; variant++) {
		hapax_env *env = test_env_fake();
		struct source s = {.then = stop_then_vanish};
		hapax_cache *cache = cache_form(env, &s, variant & 1);
		struct item *mine = item_new(env, 99);
		struct asker a, b;

		test_event_init(&vanish_gate.entered);
		test_event_init(&vanish_gate.go);
		ask_cleaned(&a, cache);
		test_event_wait(&vanish_gate.entered);
		ask(&b, cache, "k", NULL);
		fake_clock_await_sleepers(1);
		if (variant & 2)
			CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), mine), HAPAX_OK);
		else
			CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_MISS);
		test_event_set(&vanish_gate.go);
		test_join(a.thread);
		int rc = answer(&b);
		CHECK(rc == HAPAX_OK || rc == HAPAX_EABANDONED);
		if (variant & 2)
			CHECK_PTR(present(cache, "k"), mine);
		asker_end(&b);
		hapax_release(mine);
		CHECK(!present(cache, "k"));
		CHECK_EQ(s.destroyed, rc == HAPAX_OK && loads_of(&s) == 2);
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* The caller's own cleanup handlers run as well, and the thread may use hapax in them. */
static hapax_cache *cleanup_cache;
static int cleaned;
static void use_cache(void *unused)
{
	void *out = NULL;

	(void)unused;
	CHECK_EQ(hapax_cache_get_if_present(cleanup_cache, HAPAX_STR("other"), &out), HAPAX_OK);
	hapax_release(out);
	cleaned++;
}

static int cleanup_then(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)load;
	(void)object;
	(void)key;
	__atomic_sub_fetch(&s->running, 1, __ATOMIC_RELAXED);
	pthread_cleanup_push(use_cache, NULL);
	pthread_exit(NULL);
	pthread_cleanup_pop(1);
	return GO_ON;
}

TEST(MK_LD_17_CX_LIFE_06_cleanup_handlers_of_a_vanishing_loader)
{
	hapax_env *env = test_env();
	struct source s = {.then = cleanup_then}, plain = {.env = env};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .load = source_load, .arg = &plain};
	struct asker a;
	void *other, *out;

	cleanup_cache = cache;
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("other"), &o, &other), HAPAX_OK);
	ask_cleaned(&a, cache);
	test_join(a.thread);
	CHECK_EQ(a.status, 12345);
	CHECK_EQ(cleaned, 1);
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_OK);
	hapax_release(out);
	hapax_release(other);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

/* A loader that vanishes while it is itself a waiter, inside a nested load. */
static struct gate nested_gate = GATE_INIT;
static int nested_then(struct source *s, int load, void *object, const hapax_key *key)
{
	void *out = NULL;

	(void)load;
	(void)object;
	if (!memcmp(key->data, "o", 1)) { /* outer: waits for inner, whose loader stands at the gate */
		int rc = hapax_cache_get(s->cache, HAPAX_STR("inner"), &out);

		CHECK_EQ(rc, HAPAX_OK);
		hapax_release(out);
		return GO_ON;
	}
	if (load == 1) {
		test_event_set(&nested_gate.entered);
		test_event_wait(&nested_gate.go);
	}
	return GO_ON;
}

TEST(MK_LD_17_CX_TH_08_a_loader_is_cancelled_while_it_waits_for_another_load)
{
	hapax_env *env = test_env_fake();
	struct source s = {.then = nested_then};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct asker inner, outer, waiter;

	ask(&inner, cache, "inner", NULL);
	test_event_wait(&nested_gate.entered);
	ask(&outer, cache, "outer", NULL);
	fake_clock_await_sleepers(1);
	ask(&waiter, cache, "outer", NULL);
	fake_clock_await_sleepers(2);
	pthread_cancel(outer.thread);
	test_join(outer.thread);
	test_event_set(&nested_gate.go);
	CHECK_EQ(answer(&inner), HAPAX_OK);
	CHECK_EQ(answer(&waiter), HAPAX_OK); /* it took over */
	CHECK_PTR(present(cache, "outer"), waiter.out);
	asker_end(&waiter);
	asker_end(&inner);
	CHECK_EQ(stats_of(cache).load_abandoned, 1);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}
