/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sampling: which keys are asked for most, on every way to an object; that nothing is sampled when it is off. */
#include <sys/wait.h>
#include <unistd.h>

#include "unit/memos.h"
#include "unit/observed.h"

/* ---- what is told ------------------------------------------------------------------------------------------------ */

struct told {
	int n;
	uint64_t samples;
	double share;
	char key[64][64];
	size_t key_size[64];
	uint64_t of[64];
};

static void tell(const hapax_hot_key *k, void *ctx)
{
	struct told *t = ctx;

	CHECK_EQ(k->size, sizeof(*k));
	CHECK(t->n < 64 && k->key.size <= 48 && k->samples > 0 && k->share > 0 && k->share <= 1);
	CHECK(!t->n || k->samples <= t->of[t->n - 1]);
	memcpy(t->key[t->n], k->key.data, k->key.size);
	t->key[t->n][k->key.size] = 0;
	t->key_size[t->n] = k->key_size;
	t->of[t->n++] = k->samples;
	t->samples += k->samples;
	t->share += k->share;
}

static struct told told_by(hapax_cache *cache)
{
	struct told t = {.n = 0};
	int n = hapax_cache_hottest(cache, tell, &t);

	CHECK_EQ(n, t.n);
	return t;
}

static uint64_t of(const struct told *t, const char *key)
{
	for (int i = 0; i < t->n; i++)
		if (!strcmp(t->key[i], key))
			return t->of[i];
	return 0;
}

static void get_times(hapax_cache *cache, const char *key, int times)
{
	while (times--)
		hapax_release(got(cache, key));
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

TEST(arguments_are_checked)
{
	struct source s = {.loads = 0}, t = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, 0), *none = cache_with(env, &t, HAPAX_CACHE_NO_STATS);
	struct told told = {.n = 0};

	CHECK_EQ(hapax_cache_sample(NULL, 64), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_hottest(NULL, tell, &told), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_hottest(cache, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_sample(none, 64), HAPAX_EOPTION);
	CHECK_EQ(hapax_cache_sample(none, 0), 0);
	CHECK_EQ(hapax_cache_hottest(none, tell, &told), 0);
	CHECK_EQ(hapax_cache_sample(cache, 0), 0);
	hapax_cache_close(cache);
	CHECK_EQ(hapax_cache_sample(cache, 64), 0);
	CHECK_EQ(hapax_cache_hottest(cache, tell, &told), 0);
	cache_end(cache, 0);
	cache_end(none, 0);
	test_env_end(env);
}

TEST(nothing_is_sampled_until_it_is_asked_for_nor_afterwards)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *held = got(cache, "a");
	struct told t;

	get_times(cache, "a", 100);
	CHECK_EQ(told_by(cache).n, 0);
	CHECK_EQ(hapax_cache_sample(cache, 1), 0);
	get_times(cache, "a", 100);
	t = told_by(cache);
	CHECK_EQ(t.n, 1);
	CHECK_STR(t.key[0], "a");
	CHECK_EQ(t.of[0], 100);
	CHECK(t.share > 0.999);
	CHECK_EQ(hapax_cache_sample(cache, 0), 0);
	CHECK_EQ(told_by(cache).n, 0);
	get_times(cache, "a", 100);
	CHECK_EQ(told_by(cache).n, 0);
	hapax_release(held);
	cache_end(cache, 0);
	test_env_end(env);
}

/* Each way to what is present, and to what is not: all of them are counted, each once. */
static void every_way(const hapax_cache_options *o, bool borrows)
{
	static const char *const names[] = {"a-long-key", "8-bytes.", "absent"};
	const hapax_key both[2] = {HAPAX_STR("a-long-key"), HAPAX_STR("8-bytes.")};
	hapax_cache *cache;
	struct item *held[2];
	const void *borrowed;
	void *objects[2];
	struct told t;

	CHECK_EQ(hapax_cache_create(&cache, o), 0);
	for (int i = 0; i < 2; i++)
		held[i] = got(cache, names[i]);
	CHECK_EQ(hapax_cache_sample(cache, 1), 0);
	for (int i = 0; i < 2; i++) {
		hapax_get_options with = {HAPAX_GET_OPTIONS_INIT, .deadline = HAPAX_FOREVER};
		void *out;

		get_times(cache, names[i], 10);
		CHECK_EQ(hapax_cache_get_if_present(cache, HAPAX_STR(names[i]), &out), 0);
		hapax_release(out);
		CHECK_EQ(hapax_cache_get_with(cache, HAPAX_STR(names[i]), &with, &out), 0);
		hapax_release(out);
		CHECK_EQ(hapax_cache_get_quietly(cache, HAPAX_STR(names[i]), &out), 0); /* counts nothing */
		hapax_release(out);
		if (borrows) {
			CHECK_EQ(hapax_cache_borrow(cache, HAPAX_STR(names[i]), &borrowed), 0);
			hapax_borrow_end();
		}
	}
	CHECK_EQ(hapax_cache_get_many(cache, both, 2, objects, NULL, NULL), 0);
	hapax_release(objects[0]);
	hapax_release(objects[1]);
	CHECK_EQ(hapax_cache_get_if_present(cache, HAPAX_STR("absent"), &objects[0]), HAPAX_MISS);
	t = told_by(cache);
	CHECK_EQ(t.n, 3);
	CHECK_EQ(of(&t, names[0]), 13 + borrows);
	CHECK_EQ(of(&t, names[1]), 13 + borrows);
	CHECK_EQ(of(&t, "absent"), 1);
	CHECK_EQ(hapax_cache_sample(cache, 0), 0);
	CHECK_EQ(hapax_cache_sample(cache, 1), 0);
	for (int i = 0; i < 5; i++) { /* misses that load: the straight way, where there is one */
		char key[9];

		snprintf(key, sizeof(key), "new-%d...", i);
		get_times(cache, key, 1);
	}
	t = told_by(cache);
	CHECK_EQ(t.n, 5);
	CHECK_EQ(t.samples, 5);
	for (int i = 0; i < 2; i++)
		hapax_release(held[i]);
	hapax_cache_destroy(cache);
}

static const hapax_type lent_type = {HAPAX_TYPE_INIT, .name = "lent", .size = sizeof(struct item), .align = _Alignof(struct item),
				     .destroy = item_destroy, .flags = HAPAX_TYPE_BORROW};
static const hapax_type lingering_type = {HAPAX_TYPE_INIT, .name = "lingering", .size = sizeof(struct item),
					  .align = _Alignof(struct item), .destroy = item_destroy,
					  .flags = HAPAX_TYPE_MAY_LINGER};

TEST(every_way_to_an_object_is_sampled)
{
	hapax_env *env = test_env();
	struct source s = {.env = env};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s};

	every_way(&o, false);
	o.type = &lent_type;
	every_way(&o, true);
	o.max_entries = 100;
	every_way(&o, true);
	o.type = &lingering_type;
	every_way(&o, false);
	o.max_entries = 0;
	every_way(&o, false);
	o.type = &item_type;
	o.max_entries = 100;
	o.policy = hapax_policy_lru(); /* exact: no hit is plain */
	every_way(&o, false);
	o.policy = NULL;
	o.max_entries = 0;
	o.ttl_ns = (int64_t)(3600 * HAPAX_SECOND);
	every_way(&o, false);
	test_env_end(env);
}

/* One in 64: of 64,000 gets 1,000, give or take one for each wrap of the count; each key its part. */
TEST(about_one_in_so_many_is_sampled)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *a = got(cache, "a"), *b = got(cache, "b"), *c = got(cache, "c");
	uint64_t random = test_stream(1);
	struct told t;

	CHECK_EQ(hapax_cache_sample(cache, 64), 0);
	for (int i = 0; i < 64000; i++) {
		uint64_t which = test_below(&random, 10);

		get_times(cache, which < 7 ? "a" : which < 9 ? "b" : "c", 1);
	}
	t = told_by(cache);
	CHECK_EQ(t.n, 3);
	CHECK(t.samples > 950 && t.samples < 1050);
	CHECK(of(&t, "a") > 580 && of(&t, "a") < 820);
	CHECK(of(&t, "b") > 100 && of(&t, "b") < 300);
	CHECK(of(&t, "c") > 20 && of(&t, "c") < 200);
	hapax_release(a);
	hapax_release(b);
	hapax_release(c);
	cache_end(cache, 0);
	test_env_end(env);
}

/* Far more keys than counters: those that are asked for often are found, what is told of them is never too much, and of keys that
 * are all alike nothing is made up. */
TEST(heavy_hitters_are_found_among_many_keys)
{
	enum { KEYS = 5000, GETS = 40000 };
	static unsigned asked[KEYS];
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, 0);
	uint64_t random = test_stream(2);
	char key[16];
	struct told t;

	CHECK_EQ(hapax_cache_sample(cache, 1), 0);
	for (int i = 0; i < GETS; i++) {
		unsigned which = (unsigned)(i % 10 == 0 ? 1 : i % 20 == 1 ? 2 : 3 + test_below(&random, KEYS - 3));

		asked[which]++;
		snprintf(key, sizeof(key), "key-%u", which);
		get_times(cache, key, 1);
	}
	t = told_by(cache);
	CHECK_STR(t.key[0], "key-1");
	CHECK_STR(t.key[1], "key-2");
	for (int i = 0; i < t.n; i++)
		CHECK(t.of[i] <= asked[atoi(t.key[i] + 4)]);
	CHECK(t.of[0] > GETS / 10 - GETS / 64 && t.of[1] > GETS / 20 - GETS / 64);
	CHECK(t.n < 3 || t.of[2] < 100);
	cache_end(cache, 0);
	test_env_end(env);
}

/* What was asked for long ago gives way to what is asked for now. */
TEST(counts_are_of_late)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *a = got(cache, "old"), *b = got(cache, "new");
	struct told t;

	CHECK_EQ(hapax_cache_sample(cache, 1), 0);
	get_times(cache, "old", 60000);
	get_times(cache, "new", 150000);
	t = told_by(cache);
	CHECK_STR(t.key[0], "new");
	CHECK(t.of[0] > 4 * t.of[1] && t.samples <= 65536);
	hapax_release(a);
	hapax_release(b);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(long_keys_are_told_apart_by_all_of_their_bytes)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, 0);
	char key[101];
	struct told t;

	memset(key, 'x', 100);
	key[100] = 0;
	CHECK_EQ(hapax_cache_sample(cache, 1), 0);
	for (int i = 0; i < 3; i++) {
		key[99] = (char)('a' + i);
		get_times(cache, key, 1);
	}
	t = told_by(cache);
	CHECK_EQ(t.n, 3);
	CHECK_EQ(t.key_size[0], 100);
	CHECK_EQ(strlen(t.key[0]), 48);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(the_snapshot_shows_the_hottest_keys)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, 0);
	struct json_object *all, *c, *hot;
	uint32_t number = 7;
	void *out;

	CHECK_EQ(hapax_cache_sample(cache, 1), 0);
	CHECK_EQ(hapax_cache_get(cache, HAPAX_KEY_OF(number), &out), 0);
	hapax_release(out);
	get_times(cache, "a", 3);
	all = snapshot();
	c = json_object_array_get_idx(field(all, "caches"), 0);
	CHECK_EQ(number_in(c, "sampled_one_in"), 1);
	hot = json_object_array_get_idx(field(c, "hottest"), 0);
	CHECK_STR(text_in(hot, "key"), "a");
	CHECK_EQ(number_in(hot, "samples"), 3);
	CHECK_STR(json_object_to_json_string(field(hot, "share")), "0.750");
	CHECK(listed(c, "hottest", "key", "7"));
	json_object_put(all);
	cache_end(cache, 0);
	test_env_end(env);
}

/* Threads ask while others sample, look and turn it off and on. */
struct storm {
	hapax_cache *cache;
	int done;
};

static void ignore(const hapax_hot_key *key, void *ctx) { *(uint64_t *)ctx += key->samples; }

static void storm_run(unsigned index, void *arg)
{
	struct storm *s = arg;
	uint64_t sum = 0;

	if (index < 2) {
		for (int i = 0; i < 5000; i++) {
			char key[9];

			snprintf(key, sizeof(key), "%08d", i % 97);
			get_times(s->cache, key, 1);
		}
		__atomic_add_fetch(&s->done, 1, __ATOMIC_SEQ_CST);
		return;
	}
	do {
		CHECK_EQ(hapax_cache_sample(s->cache, index), 0);
		CHECK(hapax_cache_hottest(s->cache, ignore, &sum) >= 0);
		CHECK_EQ(hapax_cache_sample(s->cache, 0), 0);
	} while (__atomic_load_n(&s->done, __ATOMIC_SEQ_CST) < 2);
}

TEST(sampling_is_switched_while_keys_are_asked_for)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	struct storm storm = {.cache = cache_with(env, &s, 0)};

	run_threads(4, storm_run, &storm);
	cache_end(storm.cache, 0);
	test_env_end(env);
}

TEST(a_forked_child_goes_on_with_nothing_gathered)
{
	struct source s = {.loads = 0};
	hapax_env *env = quiet_env(HAPAX_ENV_NO_THREAD);
	hapax_cache *cache = cache_with(env, &s, 0);
	int status;
	pid_t pid;

	CHECK_EQ(hapax_cache_sample(cache, 1), 0);
	get_times(cache, "a", 3);
	hapax_before_fork(HAPAX_FORK_URCU);
	pid = fork();
	if (!pid) {
		hapax_after_fork_child(HAPAX_FORK_URCU);
		CHECK_EQ(told_by(cache).n, 0);
		get_times(cache, "b", 2);
		CHECK_EQ(told_by(cache).of[0], 2);
		_exit(0);
	}
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(told_by(cache).of[0], 3);
	cache_end(cache, 0);
	test_env_end(env);
}
