/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loads in progress, as they are seen from outside: each way a load can be under way, and what is said of it. */
#include <hapax/async.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "unit/memos.h"
#include "unit/observed.h"

/* ---- what was seen ----------------------------------------------------------------------------------------------- */

struct seen {
	int n;
	struct {
		char key[64];
		size_t key_size;
		uint64_t age_ns, waiters;
		bool exact;
		int tid;
	} at[16];
};

static void see(const hapax_flight *f, void *ctx)
{
	struct seen *s = ctx;

	CHECK_EQ(f->size, sizeof(*f));
	CHECK(f->key.size <= 48 && s->n < 16);
	memcpy(s->at[s->n].key, f->key.data, f->key.size);
	s->at[s->n].key[f->key.size] = 0;
	s->at[s->n].key_size = f->key_size;
	s->at[s->n].age_ns = f->age_ns;
	s->at[s->n].exact = f->exact;
	s->at[s->n].tid = f->tid;
	s->at[s->n].waiters = f->waiters;
	s->n++;
}

static struct seen seen_in(hapax_cache *cache)
{
	struct seen s = {.n = 0};

	int n = hapax_cache_flights(cache, see, &s);

	CHECK_EQ(n, s.n);
	return s;
}

/* ---- loaders that stop ------------------------------------------------------------------------------------------- */

/* Each load of "k..." stops until it is told to go on. */
struct stops {
	struct gate g[4];
	int entered, tid[4];
	hapax_cache *inner;
};
#define STOPS_INIT {.g = {GATE_INIT, GATE_INIT, GATE_INIT, GATE_INIT}}

static int stop(struct source *s, int load, void *object, const hapax_key *key)
{
	struct stops *p = s->arg;
	int i;

	(void)load, (void)object;
	if (!key->size || *(const char *)key->data != 'k')
		return GO_ON;
	i = __atomic_fetch_add(&p->entered, 1, __ATOMIC_SEQ_CST);
	p->tid[i] = (int)syscall(SYS_gettid);
	test_event_set(&p->g[i].entered);
	test_event_wait(&p->g[i].go);
	return GO_ON;
}

TEST(arguments_are_checked)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, 0);
	struct seen seen = {.n = 0};

	CHECK_EQ(hapax_cache_flights(NULL, see, &seen), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_flights(cache, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_cache_flights(cache, see, &seen), 0);
	hapax_cache_close(cache);
	CHECK_EQ(hapax_cache_flights(cache, see, &seen), 0);
	cache_end(cache, 0);
	test_env_end(env);
}

/* In both forms of loaders, on a clock that only the test moves. */
static void one_load(int form, unsigned flags)
{
	struct stops p = STOPS_INIT;
	struct source s = {.then = stop, .arg = &p};
	hapax_env *env = test_env_fake();
	hapax_cache *cache = form ? cache_making(env, &s, flags) : cache_with(env, &s, flags);
	struct asker first, waits[2];
	struct seen seen;

	ask(&first, cache, "k1", NULL);
	test_event_wait(&p.g[0].entered);
	fake_clock_advance(5 * HAPAX_SECOND);
	seen = seen_in(cache);
	CHECK_EQ(seen.n, 1);
	CHECK_STR(seen.at[0].key, "k1");
	CHECK_EQ(seen.at[0].tid, p.tid[0]);
	CHECK_EQ(seen.at[0].exact, !(flags & HAPAX_CACHE_NO_STATS));
	CHECK_EQ(seen.at[0].age_ns, flags & HAPAX_CACHE_NO_STATS ? 0 : 5 * HAPAX_SECOND);
	CHECK_EQ(seen.at[0].waiters, 0);
	for (int i = 0; i < 2; i++)
		ask(&waits[i], cache, "k1", NULL);
	while (seen_in(cache).at[0].waiters < 2)
		usleep(1000);
	fake_clock_advance(HAPAX_SECOND);
	seen = seen_in(cache);
	CHECK_EQ(seen.at[0].age_ns, (flags & HAPAX_CACHE_NO_STATS ? 1 : 6) * HAPAX_SECOND);
	test_event_set(&p.g[0].go);
	CHECK_EQ(answer(&first), 0);
	CHECK_EQ(seen_in(cache).n, 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(answer(&waits[i]), 0);
	for (int i = 0; i < 2; i++)
		asker_end(&waits[i]);
	asker_end(&first);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(a_load_is_seen_with_key_age_thread_and_waiters) { one_load(0, 0); }
TEST(a_making_load_is_seen_too) { one_load(1, 0); }
TEST(without_statistics_the_age_counts_from_the_first_look) { one_load(0, HAPAX_CACHE_NO_STATS); }
TEST(of_a_maker_without_statistics_too) { one_load(1, HAPAX_CACHE_NO_STATS); }

/* The straight way, which a thread's first miss does not take; and two at once, the older first. */
static void *warm_then_ask(void *arg)
{
	struct asker *a = arg;

	hapax_release(got(a->cache, "warm"));
	a->status = hapax_cache_get(a->cache, HAPAX_STR(a->key), &a->out);
	return NULL;
}

TEST(straight_loads_are_seen_the_older_first)
{
	struct stops p = STOPS_INIT;
	struct source s = {.then = stop, .arg = &p};
	hapax_env *env = test_env_fake();
	hapax_cache *cache = cache_with(env, &s, 0);
	struct asker a[2] = {{.cache = cache, .key = "k1"}, {.cache = cache, .key = "k2"}};
	struct seen seen;

	for (int i = 0; i < 2; i++) {
		a[i].thread = test_thread(warm_then_ask, &a[i]);
		test_event_wait(&p.g[i].entered);
		fake_clock_advance(HAPAX_SECOND);
	}
	seen = seen_in(cache);
	CHECK_EQ(seen.n, 2);
	CHECK_STR(seen.at[0].key, "k1");
	CHECK_EQ(seen.at[0].age_ns, 2 * HAPAX_SECOND);
	CHECK_STR(seen.at[1].key, "k2");
	CHECK_EQ(seen.at[1].tid, p.tid[1]);
	for (int i = 0; i < 2; i++) {
		test_event_set(&p.g[i].go);
		test_join(a[i].thread);
		hapax_release(a[i].out);
	}
	CHECK_EQ(seen_in(cache).n, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

/* The thread and the object are still there. */
TEST(a_load_that_has_ended_is_seen_no_more)
{
	for (int form = 0; form < 2; form++) {
		struct source s = {.loads = 0};
		hapax_env *env = test_env();
		hapax_cache *cache = cache_form(env, &s, form);
		struct item *first = got(cache, "first"), *second = got(cache, "second"); /* the second goes straight */

		CHECK_EQ(seen_in(cache).n, 0);
		hapax_release(first);
		hapax_release(second);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* A load inside a load, in another cache: each cache sees its own; the outer one goes on after the inner one. */
static int loads_inside(struct source *s, int load, void *object, const hapax_key *key)
{
	struct stops *p = s->arg;
	void *out;

	(void)load, (void)object, (void)key;
	CHECK_EQ(hapax_cache_get(p->inner, HAPAX_STR("k-inside"), &out), 0);
	hapax_release(out);
	CHECK_EQ(seen_in(p->inner).n, 0);
	CHECK_EQ(seen_in(s->cache).n, 1); /* in its own loader */
	return GO_ON;
}

TEST(loads_inside_loads_are_seen)
{
	struct stops p = STOPS_INIT;
	struct source inner = {.then = stop, .arg = &p}, outer = {.then = loads_inside, .arg = &p};
	hapax_env *env = test_env_fake();
	hapax_cache *cache = cache_with(env, &outer, 0);
	struct seen seen;
	struct asker a;

	p.inner = cache_with(env, &inner, 0);
	ask(&a, cache, "outer", NULL);
	test_event_wait(&p.g[0].entered);
	seen = seen_in(cache);
	CHECK_EQ(seen.n, 1);
	CHECK_STR(seen.at[0].key, "outer");
	seen = seen_in(p.inner);
	CHECK_EQ(seen.n, 1);
	CHECK_STR(seen.at[0].key, "k-inside");
	test_event_set(&p.g[0].go);
	CHECK_EQ(answer(&a), 0);
	asker_end(&a);
	cache_end(cache, 0);
	cache_end(p.inner, 0);
	test_env_end(env);
}

/* Its loader leaves the thread: the flight is over. */
static int leaves(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)object, (void)key;
	if (load == 2) {
		CHECK_EQ(seen_in(s->cache).n, 1);
		pthread_exit(NULL);
	}
	return GO_ON;
}

/* What a thread does on its way out, when its loader has been left. */
static void after_leaving(void *arg)
{
	CHECK_EQ(seen_in(arg).n, 0);
}

static void *leave_in_load(void *arg)
{
	void *out;

	pthread_cleanup_push(after_leaving, arg);
	hapax_release(got(arg, "warm"));
	CHECK_EQ(hapax_cache_get(arg, HAPAX_STR("k"), &out), 0);
	pthread_cleanup_pop(0);
	return NULL;
}

TEST(a_load_whose_thread_leaves_is_seen_no_more)
{
	for (int form = 0; form < 2; form++) {
		struct source s = {.then = leaves};
		hapax_env *env = test_env();
		hapax_cache *cache = cache_form(env, &s, form);

		test_join(test_thread(leave_in_load, cache));
		CHECK_EQ(seen_in(cache).n, 0);
		cache_end(cache, 0);
		test_env_end(env);
	}
}

/* Long keys: what is shown is cut, the size is told. */
TEST(of_long_keys_the_beginning_is_seen)
{
	struct stops p = STOPS_INIT;
	struct source s = {.then = stop, .arg = &p};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, 0);
	char key[201], begun[49];
	struct json_object *all, *c;
	struct seen seen;
	struct asker a;

	memset(key, 'k', 200);
	key[200] = 0;
	memset(begun, 'k', 48);
	begun[48] = 0;
	ask(&a, cache, key, NULL);
	test_event_wait(&p.g[0].entered);
	seen = seen_in(cache);
	CHECK_STR(seen.at[0].key, begun);
	CHECK_EQ(seen.at[0].key_size, 200);
	all = snapshot();
	c = json_object_array_get_idx(field(json_object_array_get_idx(field(all, "caches"), 0), "flights"), 0);
	CHECK_EQ(strlen(text_in(c, "key")), 51);
	CHECK_STR(text_in(c, "key") + 45, "kkk...");
	CHECK_EQ(number_in(c, "tid"), p.tid[0]);
	CHECK(json_object_get_boolean(field(c, "exact")));
	json_object_put(all);
	test_event_set(&p.g[0].go);
	CHECK_EQ(answer(&a), 0);
	asker_end(&a);
	cache_end(cache, 0);
	test_env_end(env);
}

/* ---- loads that no thread's stack has ---------------------------------------------------------------------------- */

static int keeps_token(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)key, (void)error;
	*(hapax_load **)arg = load;
	return 0;
}

static void told(int status, void *object, hapax_load_error *error, void *ctx)
{
	(void)error;
	*(int *)ctx = status;
	hapax_release(object);
}

TEST(a_token_that_the_application_has_is_seen)
{
	hapax_load *token = NULL;
	hapax_env *env = test_env_fake();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .start = keeps_token, .arg = &token};
	hapax_cache *cache;
	struct seen seen;
	int status = 4711;

	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR("k"), NULL, told, &status), 0);
	fake_clock_advance(3 * HAPAX_SECOND);
	seen = seen_in(cache);
	CHECK_EQ(seen.n, 1);
	CHECK_STR(seen.at[0].key, "k");
	CHECK_EQ(seen.at[0].tid, 0);
	CHECK_EQ(seen.at[0].waiters, 1);
	CHECK(seen.at[0].exact);
	CHECK_EQ(seen.at[0].age_ns, 3 * HAPAX_SECOND);
	CHECK_EQ(hapax_load_complete(token, item_new(env, 1), NULL), 0);
	hapax_load_drop(token);
	CHECK_EQ(status, 0);
	CHECK_EQ(seen_in(cache).n, 0);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

struct kept_task {
	void (*task)(void *arg);
	void *arg;
};

static int keep_task(void (*task)(void *arg), void *arg, void *ctx)
{
	*(struct kept_task *)ctx = (struct kept_task){task, arg};
	return 0;
}

TEST(a_task_that_waits_to_be_run_is_seen)
{
	struct kept_task kept = {.arg = NULL};
	struct source s = {.loads = 0};
	hapax_env *env = test_env_fake();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s,
				 .executor = {keep_task, &kept}};
	hapax_cache *cache;
	struct seen seen;
	int status = 4711;

	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	CHECK_EQ(hapax_cache_get_async(cache, HAPAX_STR("k"), NULL, told, &status), 0);
	seen = seen_in(cache);
	CHECK_EQ(seen.n, 1);
	CHECK(!seen.at[0].exact);
	CHECK_EQ(seen.at[0].age_ns, 0);
	CHECK_EQ(seen.at[0].tid, 0);
	fake_clock_advance(HAPAX_SECOND);
	CHECK_EQ(seen_in(cache).at[0].age_ns, HAPAX_SECOND);
	kept.task(kept.arg);
	CHECK_EQ(status, 0);
	CHECK_EQ(seen_in(cache).n, 0);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

static void *run_kept(void *arg)
{
	struct kept_task *kept = arg;

	kept->task(kept->arg);
	return NULL;
}

/* A refresh, in the application's executor: nothing while it waits, with its thread while it runs. */
TEST(a_reload_is_seen_while_it_runs)
{
	struct kept_task kept = {.arg = NULL};
	struct stops p = STOPS_INIT;
	struct source s = {.then = stop, .arg = &p};
	hapax_env *env = test_env_fake();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s,
				 .refresh_ns = HAPAX_SECOND, .executor = {keep_task, &kept}};
	hapax_cache *cache;
	struct item *held;
	pthread_t runs;
	struct seen seen;

	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	test_event_set(&p.g[0].go);
	held = got(cache, "k");
	fake_clock_advance(2 * HAPAX_SECOND);
	hapax_release(got(cache, "k"));
	CHECK(kept.task);
	CHECK_EQ(seen_in(cache).n, 0);
	runs = test_thread(run_kept, &kept);
	test_event_wait(&p.g[1].entered);
	fake_clock_advance(4 * HAPAX_SECOND);
	seen = seen_in(cache);
	CHECK_EQ(seen.n, 1);
	CHECK_STR(seen.at[0].key, "k");
	CHECK_EQ(seen.at[0].tid, p.tid[1]);
	CHECK(seen.at[0].exact);
	CHECK_EQ(seen.at[0].age_ns, 4 * HAPAX_SECOND);
	test_event_set(&p.g[1].go);
	test_join(runs);
	CHECK_EQ(seen_in(cache).n, 0);
	hapax_release(held);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

static int many(const hapax_key *keys, size_t n, void **objects, hapax_bulk *bulk, void *arg, hapax_load_error *error)
{
	struct source *s = arg;
	struct seen seen = seen_in(s->cache);

	(void)keys, (void)bulk, (void)error;
	CHECK_EQ(n, 3);
	CHECK_EQ(seen.n, 1);
	CHECK_STR(seen.at[0].key, "a");
	for (size_t i = 0; i < n; i++)
		objects[i] = item_new(s->env, (int)i);
	return HAPAX_LOAD_OK;
}

TEST(a_load_of_many_keys_is_seen_as_one)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .load_many = many, .arg = &s};
	const hapax_key keys[] = {HAPAX_STR("a"), HAPAX_STR("b"), HAPAX_STR("c")};
	void *objects[3];

	s.env = env;
	CHECK_EQ(hapax_cache_create(&s.cache, &o), 0);
	CHECK_EQ(hapax_cache_get_many(s.cache, keys, 3, objects, NULL, NULL), 0);
	CHECK_EQ(seen_in(s.cache).n, 0);
	for (int i = 0; i < 3; i++)
		hapax_release(objects[i]);
	hapax_cache_destroy(s.cache);
	test_env_end(env);
}

/* Somebody looks all the time while loads of all kinds come and go: whatever is seen is a key that is asked for. */
struct storm {
	hapax_cache *cache[2];
	int done;
};

static void check_key(const hapax_flight *f, void *ctx)
{
	(void)ctx;
	CHECK(f->key_size == 8 || f->key_size == 100);
	for (size_t i = 1; i < f->key.size; i++)
		CHECK_EQ(((const char *)f->key.data)[i], ((const char *)f->key.data)[0]);
}

static void storm_run(unsigned index, void *arg)
{
	struct storm *s = arg;
	uint64_t random = test_stream(index);
	char key[100];

	if (index >= 2) {
		for (int i = 0; i < 4000; i++) {
			void *out;

			memset(key, 'a' + (int)test_below(&random, 16), sizeof(key));
			CHECK_EQ(hapax_cache_get(s->cache[i & 1], HAPAX_BYTES(key, i & 2 ? 8 : 100), &out), 0);
			hapax_release(out);
		}
		__atomic_add_fetch(&s->done, 1, __ATOMIC_SEQ_CST);
		return;
	}
	do
		CHECK(hapax_cache_flights(s->cache[index], check_key, NULL) >= 0);
	while (__atomic_load_n(&s->done, __ATOMIC_SEQ_CST) < 2);
}

TEST(keys_are_whole_while_loads_come_and_go)
{
	struct source a = {.loads = 0}, b = {.loads = 0};
	hapax_env *env = test_env();
	struct storm s = {.cache = {cache_with(env, &a, 0), cache_making(env, &b, 0)}};

	run_threads(4, storm_run, &s);
	hapax_cache_destroy(s.cache[0]);
	hapax_cache_destroy(s.cache[1]);
	test_env_end(env);
}
