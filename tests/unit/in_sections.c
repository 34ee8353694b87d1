/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls inside a read section of the caller's: they wait for nothing, and what they cannot do they refuse or leave. */
#include <sys/wait.h>
#include <unistd.h>

#include "unit/cached.h"

#include "reclaim/internal.h"

static int constant(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	(void)ctx;
	*hash = 0;
	return 0;
}

/* Entries of one hash need a chain sooner or later, and so memory. */
TEST(a_public_put_that_would_need_memory)
{
	hapax_env *env = test_env();
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .keys = {.hash = constant}};
	struct item *item = item_new(env, 1);
	char message[200] = "";
	hapax_table *table;
	unsigned n = 0;
	int rc;

	CHECK_EQ(hapax_table_create(&table, &o), 0);
	hpx_read_lock();
	while ((rc = hapax_table_put(table, HAPAX_KEY_OF(n), item)) == 0)
		CHECK(++n < 200);
	hpx_read_unlock();
	CHECK_EQ(rc, HAPAX_ENOMEM);
	CHECK_EQ(n, 15 * 7); /* the slots of the lines that a home may use */
	CHECK_EQ(hapax_table_size(table), n);
	CHECK_EQ(hapax_table_contains(table, HAPAX_KEY_OF(n)), 0);
	if (hapax_testing_check_table(table, message, sizeof(message)))
		TEST_FAIL("%s", message);
	hapax_release(item);
	table_end(table, 0);
	test_env_end(env);
}

TEST(waiting_for_readers_does_not)
{
	hapax_env *env = test_env();
	struct item *item = item_new(env, 1);
	uint64_t live;

	hpx_read_lock();
	hapax_release(item);
	live = hapax_testing_live_objects(env);
	hpx_synchronize();
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_live_objects(env), live);
	hpx_read_unlock();
	hapax_testing_set_time(env, NULL);
	test_env_end(env);
}

TEST(creation_at_the_bound_is_refused_at_once)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .flags = HAPAX_ENV_NO_THREAD, .garbage_bound = 128 << 10};
	hapax_env *env = test_env_options(&o);
	hapax_env_stats st = {.size = sizeof(st)};
	unsigned made = 0;
	void *out = NULL;
	int rc;

	hpx_read_lock();
	while ((rc = hapax_new(env, &item_type, 200, &out)) == 0) {
		((struct item *)out)->live = ITEM_ALIVE;
		hapax_release(out);
		CHECK(++made < 1000000);
	}
	hpx_read_unlock();
	CHECK_EQ(rc, HAPAX_EGARBAGE);
	CHECK_EQ(hapax_env_stats_get(env, &st), 0);
	CHECK_EQ(st.garbage_refusals, 1);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_new(env, &item_type, 200, &out), 0);
	((struct item *)out)->live = ITEM_ALIVE;
	hapax_release(out);
	test_env_end(env);
}

/* ---- the end of an environment ----------------------------------------------------------------------------------- */

static int destroy_it(void *object, void *arg)
{
	(void)object;
	hapax_env_destroy(arg);
	return 7;
}

static void gone(struct test_allocator *a)
{
	hapax_testing_drain(NULL);
	CHECK_EQ(test_allocator_live(a), 0);
}

TEST(environments_destroyed_where_nobody_waits)
{
	hapax_env *home = test_env(), *env;
	struct item *item = item_new(home, 1);
	struct test_allocator a;
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT};
	hapax_weak *weak;
	int result = 0;

	test_allocator_init(&a, 0);
	o.allocator = a.allocator;
	CHECK_EQ(hapax_env_create(&env, &o), 0);
	CHECK(test_allocator_live(&a) > 0);
	hpx_read_lock();
	hapax_env_destroy(env);
	CHECK(test_allocator_live(&a) > 0); /* the section may be looking at it */
	hpx_read_unlock();
	gone(&a);
	/* in user code */
	CHECK_EQ(hapax_env_create(&env, &o), 0);
	CHECK_EQ(hapax_weak_new(item, NULL, &weak), 0);
	CHECK_EQ(hapax_with_live(weak, destroy_it, env, &result), 0);
	CHECK_EQ(result, 7);
	gone(&a);
	CHECK_EQ(hapax_weak_drop(weak), 0);
	hapax_release(item);
	test_env_end(home);
}

/* ---- a loader that did not come along ---------------------------------------------------------------------------- */

static struct test_event loading = TEST_EVENT_INIT, go = TEST_EVENT_INIT;
static pid_t parent;

static int stay_in_the_parent(struct source *s, int load, void *object, const hapax_key *key)
{
	(void)s;
	(void)load;
	(void)object;
	(void)key;
	if (getpid() != parent)
		return GO_ON;
	test_event_set(&loading);
	test_event_wait(&go);
	return GO_ON;
}

static void *get_one(void *arg)
{
	struct item *item = got(arg, "k");

	CHECK_EQ(item->id, 1);
	hapax_release(item);
	return NULL;
}

static void forked_while_loading(int form, unsigned flags)
{
	/* ThreadSanitizer allows the child no thread of its own */
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	struct source s = {.then = stay_in_the_parent};
	hapax_cache *cache = form ? cache_making(env, &s, flags) : cache_with(env, &s, flags);
	int status = 0;
	pthread_t t;
	pid_t child;

	parent = getpid();
	t = test_thread(get_one, cache);
	test_event_wait(&loading);
	hapax_before_fork(HAPAX_FORK_URCU);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		struct item *item;

		hapax_after_fork_child(HAPAX_FORK_URCU);
		CHECK_EQ(stats_of(cache).load_abandoned, 1);
		CHECK(!present(cache, "k"));
		item = got(cache, "k");
		CHECK_EQ(item->id, 2);
		CHECK_EQ(hapax_count(item), 1);
		hapax_release(item);
		cache_end(cache, 0);
		_exit(0);
	}
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	test_event_set(&go);
	test_join(t);
	CHECK_EQ(stats_of(cache).load_abandoned, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

TEST(fork_while_an_object_is_loaded_in_place) { forked_while_loading(0, 0); }
TEST(fork_while_an_object_is_made) { forked_while_loading(1, 0); }
TEST(fork_while_an_exclusive_object_is_loaded_in_place) { forked_while_loading(0, HAPAX_CACHE_EXCLUSIVE); }
TEST(fork_while_an_exclusive_object_is_made) { forked_while_loading(1, HAPAX_CACHE_EXCLUSIVE); }
