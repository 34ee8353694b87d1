/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Configuration, close, destroy, and what is left afterwards. */
#include <dirent.h>

#include "unit/cached.h"

static void destroy_nothing(void *object, void *arg)
{
	(void)object;
	(void)arg;
}

TEST(CF_CL_01_contradictory_options_are_refused)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_type bad_align = item_type, bad_size = item_type, bad_flags = item_type, huge = item_type;
	bad_align.align = 48;
	bad_size.struct_size = 3;
	bad_flags.flags = 1u << 30;
	huge.size = SIZE_MAX;
	const hapax_cache_options good = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load,
					  .arg = &s};
	struct {
		hapax_cache_options o;
		int status, other;
	} t[] = {
		{good, HAPAX_EOPTSIZE, 0}, {good, HAPAX_EOPTSIZE, 0},  {good, HAPAX_EFLAGS, 0},
		{good, HAPAX_EOPTION, 0},  {good, HAPAX_EOPTION, HAPAX_ETYPE}, {good, HAPAX_EALIGN, 0},
		{good, HAPAX_ETYPE, 0},    {good, HAPAX_EFLAGS, HAPAX_ETYPE}, {good, HAPAX_ESIZE, HAPAX_ETYPE},
	};
	t[0].o.size = 0;
	t[1].o.size = sizeof(size_t) / 2;
	t[2].o.flags = 1u << 31;
	t[3].o.make = source_make; /* both forms of loader */
	t[4].o.type = NULL;        /* a loader in place needs to know of what */
	t[5].o.type = &bad_align;
	t[6].o.type = &bad_size;
	t[7].o.type = &bad_flags;
	t[8].o.type = &huge;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		hapax_cache *cache = (hapax_cache *)1;
		int rc = hapax_cache_create(&cache, &t[i].o);

		if (rc != t[i].status && (rc != t[i].other || !rc))
			TEST_FAIL("options %zu: %s instead of %s", i, hapax_status_name(rc), hapax_status_name(t[i].status));
		CHECK(!cache);
	}
	CHECK_EQ(hapax_cache_create(NULL, &good), HAPAX_ENULL);
	test_env_end(env); /* nothing leaked */
}

TEST(CF_CL_01_table_and_environment_options_are_refused)
{
	hapax_env *env = test_env(), *out = (hapax_env *)1;
	hapax_table *table = (hapax_table *)1;
	hapax_table_options to = {HAPAX_TABLE_OPTIONS_INIT, .env = env};
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT};
	struct test_allocator a;

	to.flags = 1;
	CHECK_EQ(hapax_table_create(&table, &to), HAPAX_EFLAGS);
	CHECK(!table);
	to.flags = 0;
	to.size = 1;
	CHECK_EQ(hapax_table_create(&table, &to), HAPAX_EOPTSIZE);
	CHECK_EQ(hapax_table_create(NULL, NULL), HAPAX_ENULL);
	eo.flags = 1u << 20;
	CHECK_EQ(hapax_env_create(&out, &eo), HAPAX_EFLAGS);
	CHECK(!out);
	eo.flags = 0;
	eo.size = 2;
	CHECK_EQ(hapax_env_create(&out, &eo), HAPAX_EOPTSIZE);
	eo.size = sizeof(eo);
	test_allocator_init(&a, 0);
	eo.allocator = a.allocator;
	eo.allocator.free = NULL;
	CHECK_EQ(hapax_env_create(&out, &eo), HAPAX_EOPTION);
	CHECK(!out);
	CHECK_EQ(hapax_env_create(NULL, NULL), HAPAX_ENULL);
	test_env_end(env);
}

TEST(CF_CL_01_get_options_are_refused_and_nothing_is_loaded)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT};
	void *out = (void *)1;

	o.size = 4;
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_EOPTSIZE);
	CHECK(!out);
	o.size = sizeof(o);
	o.flags = 1;
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_EFLAGS);
	o.flags = 0;
	o.load = source_load;
	o.make = source_make;
	o.arg = &s;
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_EOPTION);
	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_get(NULL, HAPAX_STR("k"), &out), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), NULL), HAPAX_ENULL);
	CHECK_EQ(loads_of(&s), 0);
	CHECK_EQ(hapax_cache_size(cache), 0);
	cache_end(cache, 0);

	/* without any loader */
	hapax_cache_options co = {HAPAX_CACHE_OPTIONS_INIT, .env = env};
	CHECK_EQ(hapax_cache_create(&cache, &co), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_ENOLOADER);
	CHECK(!out);
	struct item *it = item_new(env, 1);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), it), HAPAX_OK);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_OK); /* present: none is needed */
	hapax_release(out);
	hapax_release(it);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_ENOLOADER);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(CF_CL_01_objects_of_another_type_are_refused)
{
	static const hapax_type other = {HAPAX_TYPE_INIT, .name = "other", .size = 8, .destroy = destroy_nothing};
	hapax_env *env = test_env(), *env2 = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	void *o, *out = (void *)1;
	bool inserted = true;

	CHECK_EQ(hapax_new(env, &other, 0, &o), HAPAX_OK);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), o), HAPAX_ETYPE);
	CHECK_EQ(hapax_cache_get_or_put(cache, HAPAX_STR("k"), o, &out, &inserted), HAPAX_ETYPE);
	CHECK(!out);
	CHECK_EQ(hapax_count(o), 1);
	hapax_release(o);
	struct item *foreign = item_new(env2, 1);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), foreign), HAPAX_EFOREIGN);
	CHECK_EQ(hapax_count(foreign), 1);
	hapax_release(foreign);
	CHECK(!present(cache, "k"));
	cache_end(cache, 0);
	test_env_end(env);
	test_env_end(env2);
}

static int leaks, leaks_inherited;
static uint64_t leak_count;
static char leak_key[64], leak_type[64];
static void leak(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited, void *ctx)
{
	(void)object;
	CHECK_PTR(ctx, &leaks);
	CHECK(key->size < sizeof(leak_key));
	memcpy(leak_key, key->data, key->size);
	leak_key[key->size] = 0;
	snprintf(leak_type, sizeof(leak_type), "%s", type);
	leak_count = count;
	leaks++;
	leaks_inherited += inherited;
}

TEST(CF_CL_02_SD_24_objects_outlive_the_cache_and_are_reported)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {0};
		hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .arg = &s, .leak = leak,
					 .leak_ctx = &leaks, .name = "leaky"};
		hapax_cache *cache;
		struct item *it, *mine = item_new(env, 5);
		hapax_weak *weak;
		void *again;

		leaks = 0;
		if (form)
			o.make = source_make;
		else
			o.load = source_load;
		CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
		s.env = env;
		it = got(cache, "the key");
		hapax_release(got(cache, "not leaked"));
		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("removed"), mine), HAPAX_OK);
		CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("removed")), HAPAX_OK);
		CHECK_EQ(hapax_weak_new(it, NULL, &weak), HAPAX_OK);
		CHECK_EQ(hapax_retain(it), HAPAX_OK);
		hapax_cache_destroy(cache);
		CHECK_EQ(leaks, 1);
		CHECK_STR(leak_key, "the key");
		CHECK_STR(leak_type, "item");
		CHECK_EQ(leak_count, 2);
		CHECK_EQ(leaks_inherited, 0);
		/* fully usable */
		CHECK(item_is_alive(it));
		CHECK_EQ(hapax_count(it), 2);
		again = hapax_weak_get(weak);
		CHECK_PTR(again, it);
		CHECK_PTR(hapax_type_of(it), &item_type);
		hapax_release(again);
		hapax_release(it);
		CHECK_EQ(s.destroyed, 1); /* the one that was not leaked */
		hapax_release(it);
		CHECK_EQ(s.destroyed, 2);
		CHECK(!hapax_weak_get(weak));
		hapax_weak_drop(weak);
		hapax_release(mine);
		test_env_end(env);
	}
}

TEST(CF_CL_02_the_environment_may_end_first)
{
	struct test_allocator a;
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT};
	struct source s = {0};
	hapax_env *env;
	hapax_cache *cache;
	struct item *it;

	test_allocator_init(&a, 0);
	eo.allocator = a.allocator;
	CHECK_EQ(hapax_env_create(&env, &eo), HAPAX_OK);
	cache = cache_with(env, &s, 0);
	it = got(cache, "k");
	hapax_env_destroy(env);
	CHECK_PTR(got(cache, "k"), it); /* what is alive keeps working */
	hapax_release(it);
	hapax_cache_destroy(cache);
	CHECK(item_is_alive(it));
	hapax_release(it);
	CHECK_EQ(s.destroyed, 1);
	for (int i = 0; i < 2000 && test_allocator_live(&a); i++) {
		hapax_testing_drain(NULL);
		test_sleep_ms(1);
	}
	CHECK_EQ(test_allocator_live(&a), 0);
}

/* Asked whether an object will do: closes the cache, and it will not. */
static bool refuse_and_close(void *object, void *cache)
{
	CHECK(object);
	hapax_cache_close(cache);
	return true;
}

TEST(CF_CL_03_a_refusal_that_closes_the_cache_loads_nothing)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_form(env, &s, 0);
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER, .refuse = refuse_and_close,
			       .refuse_arg = cache};
	struct item *held = got(cache, "k");
	void *out = (void *)1;

	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR("k"), &o, &out), HAPAX_ECLOSED);
	CHECK(!out);
	CHECK_EQ(s.loads, 1);
	CHECK_EQ(hapax_count(held), 1);
	hapax_release(held);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(CF_CL_03_close_during_a_load)
{
	for (int form = 0; form < 2; form++) {
		struct gate g = GATE_INIT;
		hapax_env *env = test_env_fake();
		struct source s = {.then = first_stops, .arg = &g};
		hapax_cache *cache = cache_form(env, &s, form);
		struct item *alive, *mine = item_new(env, 9);
		struct asker a, w[3];
		bool inserted;
		void *out = (void *)1;

		s.loads = 1; /* let this one pass */
		alive = got(cache, "alive");
		s.loads = 0;
		ask(&a, cache, "k", NULL);
		test_event_wait(&g.entered);
		for (int i = 0; i < 3; i++)
			ask(&w[i], cache, "k", NULL);
		fake_clock_await_sleepers(3);
		hapax_cache_close(cache);
		for (int i = 0; i < 3; i++) { /* while the loader still stands */
			CHECK_EQ(answer(&w[i]), HAPAX_ECLOSED);
			CHECK(!w[i].out);
		}
		CHECK_EQ(s.running, 1);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_ECLOSED);
		CHECK(!out);
		CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("new"), &out), HAPAX_ECLOSED);
		CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("new"), mine), HAPAX_ECLOSED);
		CHECK_EQ(hapax_cache_get_or_put(cache, HAPAX_STR("new"), mine, &out, &inserted), HAPAX_ECLOSED);
		CHECK_EQ(hapax_count(mine), 1);
		hapax_cache_close(cache); /* twice is fine */
		test_event_set(&g.go);
		int rc = answer(&a);
		CHECK(rc == HAPAX_ECLOSED || rc == HAPAX_OK);
		asker_end(&a);
		CHECK_EQ(s.destroyed, 1);
		CHECK(item_is_alive(alive));
		hapax_cache_destroy(cache);
		CHECK(item_is_alive(alive));
		hapax_release(alive);
		CHECK_EQ(s.destroyed, 2);
		hapax_release(mine);
		test_env_end(env);
	}
}

static void *destroy_it(void *cache)
{
	hapax_cache_destroy(cache);
	return NULL;
}

struct destroyer {
	hapax_cache *cache;
	struct test_event done;
};
static void *destroy_and_say(void *arg)
{
	struct destroyer *d = arg;

	hapax_cache_destroy(d->cache);
	test_event_set(&d->done);
	return NULL;
}

TEST(CF_CL_03_CX_LIFE_01_destroy_waits_for_the_loader_and_waiters_leave_first)
{
	struct gate g = GATE_INIT;
	hapax_env *env = test_env_fake();
	struct source s = {.then = first_stops, .arg = &g};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct asker a, w[3];
	struct destroyer d = {.cache = cache, .done = TEST_EVENT_INIT};
	pthread_t t;

	ask(&a, cache, "k", NULL);
	test_event_wait(&g.entered);
	for (int i = 0; i < 3; i++)
		ask(&w[i], cache, "k", NULL);
	fake_clock_await_sleepers(3);
	t = test_thread(destroy_and_say, &d);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(answer(&w[i]), HAPAX_ECLOSED);
	CHECK(!test_event_is_set(&d.done)); /* the loader is still inside the cache */
	test_event_set(&g.go);
	answer(&a);
	test_join(t);
	asker_end(&a);
	CHECK_EQ(s.destroyed, 1);
	test_env_end(env);
}

static int destroy_from_loader(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)load;
	(void)object;
	(void)key;
	hapax_cache_destroy(s->cache); /* returns at once */
	return GO_ON;
}

TEST(CF_CL_03_destroy_from_the_caches_own_loader)
{
	for (int form = 0; form < 2; form++) {
		hapax_env *env = test_env();
		struct source s = {.then = destroy_from_loader};
		hapax_cache *cache = cache_form(env, &s, form);
		void *out = NULL;
		int rc = hapax_cache_get(cache, HAPAX_STR("k"), &out);

		CHECK(rc == HAPAX_ECLOSED || rc == HAPAX_OK);
		hapax_release(out);
		CHECK_EQ(s.destroyed, 1);
		test_env_end(env);
	}
}

static void destroy_cache_from_destructor(struct item *item, void *arg)
{
	(void)item;
	hapax_cache_destroy(((struct source *)arg)->cache);
}

TEST(CF_CL_03_destroy_from_a_destructor_and_from_a_callback)
{
	hapax_env *env = test_env();
	struct source s = {.item_destroyed = destroy_cache_from_destructor};
	hapax_cache *cache = cache_with(env, &s, 0);

	hapax_release(got(cache, "k"));
	CHECK_EQ(s.destroyed, 1);
	test_env_end(env);
}

static void churn(unsigned index, void *arg)
{
	struct source *s = arg;
	uint64_t r = test_stream(index);
	void *out;
	int rc;

	for (;;) {
		uint32_t k = (uint32_t)test_below(&r, 4);
		if (index == 0 && test_below(&r, 200) == 0) {
			hapax_cache_close(s->cache);
			return;
		}
		rc = hapax_cache_get(s->cache, HAPAX_KEY_OF(k), &out);
		if (rc == HAPAX_ECLOSED)
			return;
		CHECK_EQ(rc, HAPAX_OK);
		hapax_release(out);
	}
}

TEST(CF_CL_03_close_races_with_gets)
{
	hapax_env *env = test_env();

	for (uint64_t i = scaled(60); i > 0; i--) {
		struct source s = {0};
		hapax_cache *cache = cache_form(env, &s, i % 2);

		run_threads(3, churn, &s);
		hapax_cache_destroy(cache);
		CHECK_EQ(s.destroyed, loads_of(&s));
	}
	test_env_end(env);
}

static unsigned entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned free_tls_keys(void)
{
	pthread_key_t key[2048];
	unsigned n = 0;

	while (n < 2048 && !pthread_key_create(&key[n], NULL))
		n++;
	for (unsigned i = 0; i < n; i++)
		pthread_key_delete(key[i]);
	return n;
}

TEST(CF_CL_06_creating_and_destroying_caches_leaves_nothing)
{
	hapax_env *env = quiet_env(0);
	struct source s = {0};
	size_t bytes = 0;
	unsigned threads = 0, files = 0, keys = 0;
	uint64_t n = scaled(2000);

	for (uint64_t i = 0; i < n; i++) {
		hapax_cache *cache = cache_form(env, &s, i % 4 < 2);

		if (i % 2) {
			void *out[10];

			for (uint32_t k = 0; k < 10; k++)
				CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(k), &out[k]), HAPAX_OK);
			for (int k = 0; k < 5; k++)
				hapax_release(out[k]);
			hapax_cache_destroy(cache);
			for (int k = 5; k < 10; k++)
				hapax_release(out[k]);
		} else {
			hapax_cache_destroy(cache);
		}
		if (i == n / 4 || i == n - 1) {
			hapax_testing_drain(env);
			if (i != n - 1) {
				bytes = hapax_testing_bytes(env);
				threads = entries("/proc/self/task");
				files = entries("/proc/self/fd");
				keys = free_tls_keys();
			}
		}
	}
	CHECK(hapax_testing_bytes(env) <= bytes + 65536);
	CHECK_EQ(entries("/proc/self/task"), threads);
	CHECK_EQ(entries("/proc/self/fd"), files);
	CHECK_EQ(free_tls_keys(), keys);
	CHECK_EQ(hapax_testing_live_objects(env), 0);
	test_env_end(env);
}

TEST(CF_CL_06_environments_too)
{
	struct source s = {0};
	unsigned threads = 0, keys = 0;
	uint64_t n = scaled(100);

	for (uint64_t i = 0; i < n; i++) {
		hapax_env *env = test_env_flags(i % 2 ? HAPAX_ENV_NO_THREAD : 0, false);
		hapax_cache *cache = cache_with(env, &s, 0);

		hapax_release(got(cache, "k"));
		if (i % 3)
			test_join(test_thread(destroy_it, cache));
		else
			hapax_cache_destroy(cache);
		test_env_end(env);
		if (i == n / 4) {
			threads = entries("/proc/self/task");
			keys = free_tls_keys();
		}
	}
	CHECK(entries("/proc/self/task") <= threads + 1); /* the reclaimer may or may not be there */
	CHECK_EQ(free_tls_keys(), keys);
}
