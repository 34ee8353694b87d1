/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The traps of the published recipes, in caches. */
#include "unit/cached.h"

TEST(SD_05_a_dying_object_takes_only_its_own_entry)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *x1 = got(cache, "k"), *x2 = item_new(env, 2), *x3 = item_new(env, 3);

	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), x2), HAPAX_OK);
	hapax_release(x1);
	CHECK_PTR(present(cache, "k"), x2);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), x3), HAPAX_OK);
	hapax_release(x2);
	CHECK_PTR(present(cache, "k"), x3);
	CHECK_EQ(hapax_cache_size(cache), 1);
	hapax_release(x3);
	CHECK(!present(cache, "k"));
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

struct reput {
	hapax_cache *cache;
	struct item *next;
	int hits;
};
static void put_while_dying(const char *name, void *ctx)
{
	struct reput *r = ctx;

	if (strcmp(name, "death.dead") || r->hits++)
		return;
	CHECK(!present(r->cache, "k"));
	CHECK_EQ(hapax_cache_put(r->cache, HAPAX_STR("k"), r->next), HAPAX_OK);
	CHECK_PTR(present(r->cache, "k"), r->next);
}

TEST(SD_05_a_put_between_death_and_unlink_stays)
{
	for (int loaded = 0; loaded < 2; loaded++) {
		hapax_env *env = test_env();
		struct source s = {0};
		hapax_cache *cache = cache_with(env, &s, 0);
		struct reput r = {.cache = cache, .next = item_new(env, 2)};
		struct item *dying = loaded ? got(cache, "k") : item_new(env, 1);

		if (!loaded)
			CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), dying), HAPAX_OK);
		hapax_testing_set_stop(put_while_dying, &r);
		hapax_release(dying);
		hapax_testing_set_stop(NULL, NULL);
		CHECK_EQ(r.hits, 1);
		CHECK_PTR(present(cache, "k"), r.next);
		CHECK_EQ(hapax_cache_size(cache), 1);
		stats_check(cache);
		hapax_release(r.next);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

static void miss_together(unsigned index, void *arg)
{
	struct source *s = arg;
	void *out;

	(void)index;
	for (uint64_t i = scaled(3000); i > 0; i--) {
		CHECK_EQ(hapax_cache_get(s->cache, HAPAX_STR("k"), &out), HAPAX_OK);
		CHECK(item_is_alive(out));
		hapax_release(out);
	}
}

TEST(SD_13_two_threads_missing_at_once)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);

	run_threads(3, miss_together, &s);
	CHECK_EQ(s.most_running, 1);
	CHECK_EQ(s.destroyed, loads_of(&s));
	CHECK_EQ(stats_of(cache).loads, loads_of(&s));
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(SD_14_short_lived_keys_do_not_accumulate)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	uint64_t n = scaled(200000), k;
	size_t early = 0;
	void *out;

	for (k = 0; k < n; k++) {
		CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(k), &out), HAPAX_OK);
		hapax_release(out);
		if (k == n / 50 || k == n - 1) {
			hapax_testing_drain(env);
			if (!early)
				early = hapax_testing_bytes(env);
		}
	}
	CHECK(hapax_testing_bytes(env) <= 2 * early);
	CHECK_EQ(hapax_cache_size(cache), 0);
	CHECK_EQ(stats_of(cache).collections, n);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- hooks that block ------------------------------------------------------------------------------------------ */

static struct gate hook_gate = GATE_INIT;
static void leak_blocks(const hapax_key *key, void *object, const char *type, uint64_t count, bool was, void *ctx)
{
	hapax_cache *other = ctx;
	void *out;

	(void)key;
	(void)object;
	(void)type;
	(void)count;
	(void)was;
	hapax_release(got(other, "from the hook")); /* it may call */
	CHECK_EQ(hapax_cache_get_if_present(other, HAPAX_STR("present"), &out), HAPAX_OK);
	hapax_release(out);
	test_event_set(&hook_gate.entered);
	test_event_wait(&hook_gate.go);
}

static void *destroy_cache(void *cache)
{
	hapax_cache_destroy(cache);
	return NULL;
}

static int log_calls;
static void log_blocks(hapax_log_level level, const char *message, void *ctx)
{
	(void)level;
	(void)message;
	(void)ctx;
	if (__atomic_fetch_add(&log_calls, 1, __ATOMIC_RELAXED))
		return;
	test_event_set(&hook_gate.entered);
	test_event_wait(&hook_gate.go);
}

TEST(SD_17_hooks_run_outside_locks)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *other = cache_with(env, &s, 0), *cache;
	struct item *p = got(other, "present"), *leaked;
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s,
				 .leak = leak_blocks, .leak_ctx = other};
	pthread_t t;

	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	leaked = got(cache, "leaked");
	t = test_thread(destroy_cache, cache);
	test_event_wait(&hook_gate.entered);
	for (int i = 0; i < 1000; i++)
		hapax_release(got(other, i % 2 ? "present" : "more"));
	hapax_release(leaked);
	test_event_set(&hook_gate.go);
	test_join(t);
	hapax_release(p);
	cache_end(other, 0);
	test_env_end(env);
}

TEST(SD_17_a_log_that_blocks)
{
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .log = {log_blocks, NULL}};
	hapax_env *env = test_env_options(&eo);
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0), *other = cache_with(env, &s, 0);
	struct item *leaked = got(cache, "leaked"), *p = got(other, "present");
	pthread_t t = test_thread(destroy_cache, cache); /* reports the leak to the log, if it does */

	for (int i = 0; i < 500 && !test_event_is_set(&hook_gate.entered); i++)
		test_sleep_ms(1);
	for (int i = 0; i < 1000; i++)
		hapax_release(got(other, i % 2 ? "present" : "more"));
	hapax_release(leaked);
	test_event_set(&hook_gate.go);
	test_join(t);
	hapax_release(p);
	cache_end(other, 0);
	test_env_end(env);
}

TEST(SD_21_other_keys_while_a_slow_loader_runs)
{
	struct gate g = GATE_INIT;
	hapax_env *env = test_env();
	struct source s = {.then = first_stops, .arg = &g};
	hapax_cache *cache = cache_with(env, &s, 0);
	uint64_t n = scaled(50000);
	struct item *hot;
	struct asker a;

	ask(&a, cache, "slow", NULL);
	test_event_wait(&g.entered);
	hot = got(cache, "hot");
	for (uint64_t i = 0; i < n; i++) {
		void *out;

		if (i % 2) {
			CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("hot"), &out), HAPAX_OK);
			CHECK_PTR(out, hot);
		} else {
			CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(i), &out), HAPAX_OK);
		}
		hapax_release(out);
	}
	CHECK_EQ(s.running, 1);
	test_event_set(&g.go);
	CHECK_EQ(answer(&a), HAPAX_OK);
	asker_end(&a);
	hapax_release(hot);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

static int get_next(struct source *s, int load, void *object, const hapax_key *key)
{
	uint32_t k;
	void *out;

	(void)load;
	(void)object;
	memcpy(&k, key->data, sizeof(k));
	if (k == 0)
		return GO_ON;
	k--;
	CHECK_EQ(hapax_cache_get(s->cache, HAPAX_KEY_OF(k), &out), HAPAX_OK);
	hapax_release(out);
	return GO_ON;
}

static int destructor_puts;
static void use_cache_in_destructor(struct item *item, void *arg)
{
	struct source *s = arg;
	struct item *mine;
	void *out;
	int rc;

	(void)item;
	if (__atomic_add_fetch(&destructor_puts, 1, __ATOMIC_RELAXED) > 10)
		return;
	mine = item_new(s->env, -1);
	CHECK_EQ(hapax_cache_put(s->cache, HAPAX_STR("put by a destructor"), mine), HAPAX_OK);
	rc = hapax_cache_get(s->cache, HAPAX_STR("loaded by a destructor"), &out);
	CHECK_EQ(rc, HAPAX_OK);
	hapax_release(out);
	hapax_release(mine);
}

TEST(SD_22_loaders_and_destructors_may_use_the_cache)
{
	hapax_env *env = test_env();
	struct source s = {.then = get_next};
	hapax_cache *cache = cache_with(env, &s, 0);
	uint32_t deep = 50;
	void *out;

	CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(deep), &out), HAPAX_OK);
	CHECK_EQ(loads_of(&s), 51);
	CHECK_EQ(s.destroyed, 50);
	hapax_release(out);
	s.then = NULL;
	s.item_destroyed = use_cache_in_destructor;
	for (int i = 0; i < 20; i++)
		hapax_release(got(cache, "k"));
	CHECK(destructor_puts > 10);
	CHECK_EQ(s.destroyed, loads_of(&s));
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

static hapax_weak *all[3];
static int all_dead_seen;
static void all_dead(hapax_weak *weak, void *ctx)
{
	struct source *s = ctx;

	(void)weak;
	for (int i = 0; i < 3; i++)
		CHECK(!hapax_weak_get(all[i]) && !hapax_weak_alive(all[i]));
	CHECK(!present(s->cache, "k"));
	CHECK_EQ(hapax_cache_size(s->cache), 0);
	all_dead_seen++;
}

TEST(SD_23_everything_reads_dead_before_anybody_is_told)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *it = got(cache, "k");
	hapax_callback cb = {all_dead, &s, NULL};

	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("second name"), it), HAPAX_OK);
	CHECK_EQ(hapax_weak_new(it, NULL, &all[0]), HAPAX_OK);
	CHECK_EQ(hapax_weak_new(it, &cb, &all[1]), HAPAX_OK);
	CHECK_EQ(hapax_weak_new(it, &cb, &all[2]), HAPAX_OK);
	hapax_release(it);
	CHECK_EQ(all_dead_seen, 2);
	for (int i = 0; i < 3; i++)
		hapax_weak_drop(all[i]);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- SD-26: exclusive instances -------------------------------------------------------------------------------- */

struct exclusive {
	struct source s;
	int instances, most; /* of the key: from the loader to the end of the destructor */
	struct gate gate;
	bool slow;
	uint64_t rounds;
};

static int instance_then(struct source *s, int load, void *object, const hapax_key *key)
{
	struct exclusive *x = s->arg;
	int n = __atomic_add_fetch(&x->instances, 1, __ATOMIC_RELAXED);
	int most = __atomic_load_n(&x->most, __ATOMIC_RELAXED);

	(void)load;
	(void)object;
	(void)key;
	while (n > most && !__atomic_compare_exchange_n(&x->most, &most, n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	return GO_ON;
}

static void instance_ends(struct item *item, void *arg)
{
	struct exclusive *x = ((struct source *)arg)->arg;

	if (x->slow && item->id == 1) {
		test_event_set(&x->gate.entered);
		test_event_wait(&x->gate.go);
	} else {
		sched_yield();
	}
	__atomic_sub_fetch(&x->instances, 1, __ATOMIC_RELAXED);
}

static void exclusive_storm(unsigned index, void *arg)
{
	struct exclusive *x = arg;
	void *out;

	(void)index;
	for (uint64_t i = x->rounds; i > 0; i--) {
		CHECK_EQ(hapax_cache_get(x->s.cache, HAPAX_STR("k"), &out), HAPAX_OK);
		CHECK(item_is_alive(out));
		hapax_release(out);
	}
}

static void *release_it(void *object)
{
	hapax_release(object);
	return NULL;
}

TEST(SD_26_default_caches_overlap_by_at_most_one_and_exclusive_ones_never)
{
	for (int exclusive = 0; exclusive < 2; exclusive++) {
		hapax_env *env = test_env();
		struct exclusive x = {.s = {.then = instance_then, .item_destroyed = instance_ends}, .rounds = scaled(2000)};
		hapax_cache *cache = cache_with(env, &x.s, exclusive ? HAPAX_CACHE_EXCLUSIVE : 0);

		x.s.arg = &x;
		run_threads(4, exclusive_storm, &x);
		if (exclusive)
			CHECK_EQ(x.most, 1);
		CHECK_EQ(x.s.most_running, 1);
		CHECK_EQ(x.s.destroyed, loads_of(&x.s));
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(SD_26_between_death_and_the_end_of_the_destructor)
{
	for (int exclusive = 0; exclusive < 2; exclusive++) {
		hapax_env *env = test_env_fake();
		struct exclusive x = {.s = {.then = instance_then, .item_destroyed = instance_ends}, .gate = GATE_INIT,
				      .slow = true};
		hapax_cache *cache = cache_with(env, &x.s, exclusive ? HAPAX_CACHE_EXCLUSIVE : 0);
		hapax_get_options try = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_NO_WAIT}, until = try;
		struct asker a, b;
		struct item *first, *other;
		void *out = (void *)1;
		pthread_t t;

		x.s.arg = &x;
		first = got(cache, "k");
		t = test_thread(release_it, first);
		test_event_wait(&x.gate.entered);
		CHECK(!present(cache, "k"));
		other = got(cache, "other");
		x.instances--; /* counts one key only */
		if (!exclusive) {
			struct item *second = got(cache, "k");

			CHECK(second != first);
			CHECK_EQ(x.most, 2);
			test_event_set(&x.gate.go);
			test_join(t);
			CHECK_PTR(present(cache, "k"), second);
			hapax_release(second);
		} else {
			x.most = 1;
			int rc = hapax_cache_get_with(cache, HAPAX_STR("k"), &try, &out);
			CHECK(rc == HAPAX_EBUSY || rc == HAPAX_INFLIGHT);
			CHECK(!out);
			until.deadline = fake_clock_now() + HAPAX_SECOND;
			ask(&a, cache, "k", &until);
			fake_clock_await_sleepers(1);
			fake_clock_advance(2 * HAPAX_SECOND);
			rc = answer(&a);
			CHECK(rc == HAPAX_ETIMEDOUT || rc == HAPAX_EBUSY);
			ask(&b, cache, "k", NULL);
			fake_clock_await_sleepers(1);
			CHECK_EQ(x.instances, 1);
			CHECK_EQ(loads_of(&x.s), 2);
			test_event_set(&x.gate.go);
			test_join(t);
			CHECK_EQ(answer(&b), HAPAX_OK);
			CHECK_EQ(x.most, 1);
			CHECK_PTR(present(cache, "k"), b.out);
			asker_end(&b);
		}
		x.instances++;
		hapax_release(other);
		CHECK_EQ(x.s.destroyed, loads_of(&x.s));
		stats_check(cache);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

TEST(SD_26_an_exclusive_instance_that_is_still_held_after_removal)
{
	hapax_env *env = test_env_fake();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, HAPAX_CACHE_EXCLUSIVE);
	struct item *old = got(cache, "k"), *mine = item_new(env, 9), *it;
	hapax_get_options until = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
	struct asker a;
	void *out = (void *)1;

	CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_OK);
	CHECK(!present(cache, "k"));
	CHECK_EQ(hapax_cache_remove(cache, HAPAX_STR("k")), HAPAX_MISS);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_STR("k"), &out), HAPAX_EBUSY);
	CHECK(!out);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), mine), HAPAX_EBUSY);
	CHECK_EQ(hapax_count(mine), 1);
	CHECK_EQ(loads_of(&s), 1);
	ask(&a, cache, "k", &until);
	fake_clock_await_sleepers(1);
	CHECK_EQ(loads_of(&s), 1);
	hapax_release(old);
	CHECK_EQ(answer(&a), HAPAX_OK);
	CHECK_EQ(loads_of(&s), 2);
	asker_end(&a);
	it = got(cache, "k");
	CHECK_EQ(loads_of(&s), 3);
	hapax_release(it);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), mine), HAPAX_OK);
	CHECK_PTR(present(cache, "k"), mine);
	hapax_release(mine);
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

static int own_get_rc;
static void get_own_key(struct item *item, void *arg)
{
	struct source *s = arg;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
	void *out = NULL;

	if (item->id != 1)
		return;
	own_get_rc = hapax_cache_get_with(s->cache, HAPAX_STR("k"), &o, &out);
	hapax_release(out);
}

TEST(SD_26_an_exclusive_destructor_that_asks_for_its_own_key)
{
	hapax_env *env = test_env();
	struct source s = {.item_destroyed = get_own_key};
	hapax_cache *cache = cache_with(env, &s, HAPAX_CACHE_EXCLUSIVE);

	hapax_release(got(cache, "k"));
	CHECK_EQ(own_get_rc, HAPAX_EDEADLK); /* waiting would be waiting for oneself */
	CHECK_EQ(loads_of(&s), 1);
	hapax_release(got(cache, "k"));
	CHECK_EQ(s.destroyed, 2);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

TEST(SD_28_types_decide_about_weak_references)
{
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env};
	hapax_cache *cache;
	hapax_table *table = table_new(env);
	struct item *it = item_of(env, &strong_type, 1);
	hapax_weak *weak = (hapax_weak *)1;

	(void)s;
	CHECK_EQ(hapax_cache_create(&cache, &o), HAPAX_OK);
	CHECK_EQ(hapax_weak_new(it, NULL, &weak), HAPAX_ENOTWEAK);
	CHECK(!weak);
	CHECK_EQ(hapax_table_put(table, HAPAX_STR("k"), it), HAPAX_ENOTWEAK);
	CHECK_EQ(hapax_cache_put(cache, HAPAX_STR("k"), it), HAPAX_ENOTWEAK);
	CHECK_EQ(hapax_weak_count(it), 0);
	CHECK_EQ(hapax_count(it), 1);
	hapax_release(it);
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

static int pair_then(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)s;
	(void)load;
	(void)object;
	(void)key;
	return GO_ON;
}

TEST(SD_31_the_cache_keeps_its_key_copy_and_nothing_else)
{
	hapax_env *env = test_env();
	struct source s = {.then = pair_then};
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *argument = item_new(env, 5), *it;
	hapax_get_options o = {HAPAX_GET_OPTIONS_INIT, .load = source_load, .arg = &s};
	uintptr_t key = (uintptr_t)argument; /* the argument's identity as key bytes */
	hapax_weak *weak = weak_of(argument);
	void *out;

	CHECK_EQ(hapax_cache_get_with(cache, HAPAX_KEY_OF(key), &o, &out), HAPAX_OK);
	it = out;
	CHECK_EQ(hapax_count(argument), 1);
	hapax_release(argument);
	CHECK(!hapax_weak_get(weak));
	CHECK(item_is_alive(it));
	key = 0;
	hapax_release(it);
	hapax_weak_drop(weak);
	cache_end(cache, 0);
	test_env_end(env);
}

/* Iterators and pops make the only references a clear could drop: the cache is weak. */
struct popper {
	struct source s;
	int called;
};
static void call_again(struct item *item, void *arg)
{
	struct source *s = arg;
	struct popper *p = s->arg;
	void *out;

	(void)item;
	if (p->called++ > 50)
		return;
	hapax_cache_clear(s->cache); /* again, from within */
	CHECK_EQ(hapax_cache_get(s->cache, HAPAX_STR("again"), &out), HAPAX_OK);
	hapax_release(out);
	CHECK_EQ(hapax_cache_remove(s->cache, HAPAX_STR("again")), HAPAX_MISS);
}

TEST(SD_35_destructors_during_clear_run_outside_locks)
{
	hapax_env *env = test_env();
	struct popper p = {.s = {.item_destroyed = call_again}};
	hapax_cache *cache = cache_with(env, &p.s, 0);
	void *out[20];
	hapax_iter *iter;

	p.s.arg = &p;
	for (uint32_t k = 0; k < 20; k++)
		CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(k), &out[k]), HAPAX_OK);
	CHECK_EQ(hapax_cache_iterate(cache, &iter), HAPAX_OK);
	CHECK_EQ(hapax_iter_next(iter, NULL, NULL), HAPAX_OK); /* pins one */
	for (uint32_t k = 0; k < 20; k++)
		hapax_release(out[k]);
	CHECK(hapax_cache_size(cache) <= 1);
	hapax_cache_clear(cache);
	CHECK_EQ(hapax_cache_size(cache), 0);
	hapax_iter_close(iter);
	CHECK(p.called >= 20);
	CHECK_EQ(p.s.destroyed, loads_of(&p.s));
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

static void clear_or_load(unsigned index, void *arg)
{
	struct popper *p = arg;
	void *out;

	for (uint64_t i = scaled(2000); i > 0; i--) {
		uint32_t k = (uint32_t)(i % 4);

		if (index == 0) {
			hapax_cache_clear(p->s.cache);
		} else {
			CHECK_EQ(hapax_cache_get(p->s.cache, HAPAX_KEY_OF(k), &out), HAPAX_OK);
			CHECK(item_is_alive(out));
			hapax_release(out);
		}
	}
}

TEST(SD_35_clear_against_loads)
{
	hapax_env *env = test_env();
	struct popper p = {0};
	hapax_cache *cache = cache_with(env, &p.s, 0);

	run_threads(3, clear_or_load, &p);
	hapax_cache_clear(cache);
	CHECK_EQ(p.s.destroyed, loads_of(&p.s));
	stats_check(cache);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(SD_39_sweeps_pin_one_object_at_most)
{
	enum { N = 500 };
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	void *held[N], *out;
	hapax_iter *iter;
	hapax_key key;
	uint32_t k;
	int yielded = 0;

	for (k = 0; k < N; k++)
		CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(k), &held[k]), HAPAX_OK);
	CHECK_EQ(hapax_cache_iterate(cache, &iter), HAPAX_OK);
	while (hapax_iter_next(iter, &key, &out) == HAPAX_OK) {
		int before = s.destroyed;

		yielded++;
		memcpy(&k, key.data, sizeof(k));
		CHECK_PTR(out, held[k]);
		CHECK_EQ(hapax_count(out), 2);
		/* a neighbour goes at once, the current one when the cursor moves */
		for (uint32_t other = 0; other < N; other++)
			if (held[other] && other != k) {
				CHECK_EQ(hapax_count(held[other]), 1);
				hapax_release(held[other]);
				held[other] = NULL;
				CHECK_EQ(s.destroyed, before + 1);
				break;
			}
		hapax_release(held[k]);
		held[k] = NULL;
		CHECK_EQ(hapax_count(out), 1);
		CHECK(item_is_alive(out));
	}
	CHECK(yielded >= N / 2 && yielded <= N);
	hapax_iter_close(iter);
	CHECK_EQ(s.destroyed, N);
	cache_end(cache, 0);
	test_env_end(env);
}
