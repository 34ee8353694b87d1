/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leak reports: what their function may do, the log, other threads, the child of a fork. */
#include <sys/wait.h>
#include <unistd.h>

#include "unit/leaks.h"

struct calling {
	hapax_env *env;
	hapax_cache *cache;
	hapax_table *table;
	struct item *forgotten;
	unsigned calls;
};

static void ignore(const hapax_leak *leak, void *ctx)
{
	(void)leak;
	++*(unsigned *)ctx;
}

static void call_everything(const hapax_leak *leak, void *ctx)
{
	struct calling *c = ctx;
	unsigned inner = 0;
	void *out;

	if (leak->object != c->forgotten)
		return;
	c->calls++;
	CHECK_EQ(hapax_count(c->forgotten), leak->count + 1); /* the report's */
	CHECK(hapax_leak_report(c->env, ignore, &inner) >= 1);
	CHECK(inner >= 1);
	CHECK_EQ(hapax_cache_get(c->cache, HAPAX_STR("fresh"), &out), 0);
	hapax_release(out);
	hapax_release(c->forgotten); /* what was forgotten is given back: it dies when the report ends */
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK_EQ(hapax_cache_remove(c->cache, HAPAX_STR("forgotten")), 0);
	hapax_table_destroy(c->table);
	CHECK(item_is_alive(c->forgotten));
	CHECK_STR(leak->key->data, "forgotten");
}

TEST(a_report_may_call_everything)
{
	struct source s = {0};
	hapax_env *env = test_env();
	struct calling c = {.env = env, .cache = cache_with(env, &s, 0), .table = table_new(env)};

	items_reset();
	c.forgotten = got(c.cache, "forgotten");
	CHECK_EQ(hapax_leak_report(env, call_everything, &c), 1);
	CHECK_EQ(c.calls, 1);
	CHECK_EQ(items_destroyed_now(), 2);
	CHECK_EQ(look(env), 0);
	cache_end(c.cache, 0);
	look_end();
	test_env_end(env);
}

#ifndef __clang__ /* which does not unwind cleanups: it aborts (death.c) */

static void leave_thread(const hapax_leak *leak, void *ctx)
{
	(void)leak;
	(void)ctx;
	pthread_exit(NULL);
}

static void *report_and_leave(void *env)
{
	hapax_leak_report(env, leave_thread, NULL);
	TEST_FAIL("the report returned");
}

TEST(a_report_whose_function_leaves_its_thread_holds_nothing)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *item = item_new(env, 1);

	table_put(table, HAPAX_STR("k"), item);
	test_join(test_thread(report_and_leave, env));
	CHECK_EQ(hapax_count(item), 1);
	hapax_release(item);
	table_end(table, 0);
	test_env_end(env);
}

#endif

static char text[8192];

static void collect(hapax_log_level level, const char *message, void *ctx)
{
	(void)ctx;
	CHECK_EQ(level, HAPAX_LOG_WARNING);
	CHECK(strlen(text) + strlen(message) + 2 < sizeof(text));
	strcat(text, message);
	strcat(text, "\n");
}

static void has(const char *part)
{
	if (!strstr(text, part))
		TEST_FAIL("'%s' is not in:\n%s", part, text);
}

TEST(a_report_to_the_log)
{
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .log = {.write = collect}};
	hapax_env *env = test_env_options(&eo);
	hapax_table *table = links_table(env);
	struct link *a = link_new(env), *b = link_new(env);
	char part[200];

	a->next = kept(b);
	b->next = kept(a);
	table_put(table, HAPAX_STR("a b"), a);
	table_put(table, HAPAX_STR("b"), b);
	CHECK_EQ(hapax_leak_report(env, NULL, NULL), 2);
	snprintf(part, sizeof(part), "alive: link %p, known to links under key \"a%%20b\", 2 references, in a cycle\n",
		 (void *)a);
	has(part);
	snprintf(part, sizeof(part), "  pointer at offset %zu of link %p\n", offsetof(struct link, next), (void *)b);
	has(part);
	if (hapax_leak_tracing())
		has("  taken 1 time at unit_leak_calls+0x");
	text[0] = 0;
	a->next = NULL;
	hapax_release(b);
	hapax_release(b);
	hapax_release(a);
	CHECK_EQ(hapax_leak_report(env, NULL, NULL), 0);
	CHECK_STR(text, "");
	hapax_table_destroy(table);
	b = link_new(env);
	CHECK_EQ(hapax_leak_report(env, NULL, NULL), 1);
	has(hapax_leak_tracing() ? "alive: link 0x" : "alive: 1 of type link\n");
	hapax_release(b);
	test_env_end(env);
}

/* The report at the end of a cache says where, in builds that know. */
TEST(SD_24_the_report_at_destroy_says_where)
{
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .log = {.write = collect}};
	hapax_env *env = test_env_options(&eo);
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	void *object;

	text[0] = 0;
	object = got(cache, "k");
	hapax_cache_destroy(cache);
	has("cache tested destroyed: item under key \"k\" still has 1 reference");
	if (hapax_leak_tracing())
		has(", taken at unit_leak_calls+0x");
	else
		CHECK(!strstr(text, "taken"));
	hapax_release(object);
	test_env_end(env);
}

struct busy {
	hapax_env *env;
	hapax_cache *cache;
	hapax_table *table;
	uint64_t rounds;
	int running;
};

static void count_one(const hapax_leak *leak, void *ctx)
{
	CHECK(leak->type && leak->size == sizeof(*leak));
	if (leak->holder)
		CHECK(!strcmp(leak->holder, "tested") || !strcmp(leak->holder, "links"));
	++*(size_t *)ctx;
}

static void be_busy(unsigned index, void *arg)
{
	struct busy *b = arg;
	uint64_t random = test_stream(100 + index);

	if (index == 0) {
		do {
			size_t calls = 0, n = hapax_leak_report(b->env, count_one, &calls);

			CHECK(n != SIZE_MAX);
			if (hapax_leak_tracing())
				CHECK(n <= calls);
		} while (__atomic_load_n(&b->running, __ATOMIC_ACQUIRE));
		return;
	}
	for (uint64_t i = 0; i < b->rounds; i++) {
		uint64_t k = test_below(&random, 20);
		struct link *x = link_new(b->env), *y = link_new(b->env);
		hapax_table *own = i % 16 ? NULL : links_table(b->env);
		void *out;

		x->next = y;
		table_put(b->table, HAPAX_KEY_OF(k), x);
		CHECK_EQ(hapax_cache_get(b->cache, HAPAX_KEY_OF(k), &out), 0);
		hapax_release(out);
		if (hapax_table_get(b->table, HAPAX_KEY_OF(k), &out) == 0)
			hapax_release(out);
		if (own)
			table_put(own, HAPAX_KEY_OF(k), y);
		hapax_release(x);
		hapax_table_destroy(own);
	}
	__atomic_fetch_sub(&b->running, 1, __ATOMIC_RELEASE);
}

TEST(a_report_while_others_run)
{
	struct source s = {0};
	struct busy b = {.env = test_env(), .rounds = scaled(2000), .running = 3};

	b.cache = cache_with(b.env, &s, 0);
	b.table = links_table(b.env);
	run_threads(4, be_busy, &b);
	CHECK_EQ(look(b.env), 0);
	table_end(b.table, 0);
	cache_end(b.cache, 0);
	look_end();
	test_env_end(b.env);
}

TEST(inherited_objects_are_said_to_be)
{
	struct source s = {0};
	hapax_env *env = test_env();
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_table *table = table_new(env);
	struct item *old = got(cache, "old"), *alone = item_new(env, 7), *young;
	pid_t child;
	int status;

	table_put(table, HAPAX_STR("old too"), old);
	hapax_before_fork(HAPAX_FORK_URCU);
	child = fork();
	CHECK(child >= 0);
	if (child) {
		hapax_after_fork_parent(HAPAX_FORK_URCU);
		CHECK_EQ(waitpid(child, &status, 0), child);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		CHECK_EQ(look(env), 2);
		CHECK(!said_of(old, NULL)->leak.inherited);
	} else {
		hapax_after_fork_child(HAPAX_FORK_URCU);
		young = got(cache, "young");
		CHECK_EQ(look(env), 3);
		CHECK(said_of(old, "tested")->leak.inherited);
		CHECK(said_of(old, NULL)->leak.inherited);
		CHECK(!said_of(young, "tested")->leak.inherited);
		if (hapax_leak_tracing())
			CHECK(said_of(alone, NULL)->leak.inherited);
		hapax_release(young);
	}
	hapax_release(old);
	hapax_release(alone);
	CHECK_EQ(look(env), 0);
	table_end(table, 0);
	cache_end(cache, 0);
	look_end();
	test_env_end(env);
}
