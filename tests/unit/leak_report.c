/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a cache says of objects that are alive when it is destroyed, and what calls from that report get. */
#include "unit/cached.h"

static char said[512];
static unsigned times;

static void note(hapax_log_level level, const char *message, void *ctx)
{
	(void)ctx;
	if (level != HAPAX_LOG_WARNING)
		return;
	times++;
	snprintf(said, sizeof(said), "%s", message);
}

static void ends_saying(hapax_cache *cache, const char *what)
{
	times = 0;
	hapax_cache_destroy(cache);
	CHECK_EQ(times, 1);
	if (hapax_leak_tracing()) { /* leak_naming.c has what follows */
		CHECK(strlen(said) > strlen(what) && !strncmp(said + strlen(what), ", taken at ", 11));
		said[strlen(what)] = 0;
	}
	CHECK_STR(said, what);
}

TEST(keys_are_printable_and_cut)
{
	static const hapax_type nameless = {HAPAX_TYPE_INIT, .size = 16};
	static const char bytes[] = "a b%\x7f\x80";
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .log = {.write = note}};
	hapax_env *env = test_env_options(&eo);
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .name = "C"};
	char longest[41];
	hapax_cache *cache;
	void *object;

	CHECK_EQ(hapax_new(env, &nameless, 0, &object), 0);
	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	CHECK_EQ(hapax_cache_put(cache, hapax_key_bytes(bytes, 6), object), 0);
	ends_saying(cache, "cache C destroyed: object under key \"a%20b%25%7F%80\" still has 1 reference");
	CHECK_EQ(hapax_retain(object), 0);
	memset(longest, 'x', sizeof(longest));
	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	CHECK_EQ(hapax_cache_put(cache, hapax_key_bytes(longest, 41), object), 0);
	ends_saying(cache, "cache C destroyed: object under key \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"... "
			   "still has 2 references");
	hapax_release(object);
	hapax_release(object);
	test_env_end(env);
}

/* The cache is ending: its calls find nothing. */
static unsigned reports;
static hapax_cache *reporting;
static void call_everything(const hapax_key *key, void *object, const char *type, uint64_t count, bool inherited,
			    void *ctx)
{
	hapax_iter *iter = (void *)1;
	void *out = object;

	(void)type;
	(void)inherited;
	(void)ctx;
	CHECK_EQ(count, 1);
	reports++;
	CHECK_EQ(hapax_cache_remove(reporting, *key), HAPAX_MISS);
	CHECK_EQ(hapax_cache_remove_if(reporting, *key, object), HAPAX_MISS);
	CHECK_EQ(hapax_cache_pop(reporting, *key, &out), HAPAX_MISS);
	CHECK(!out);
	CHECK_EQ(hapax_cache_iterate(reporting, &iter), HAPAX_ECLOSED);
	CHECK(!iter);
	hapax_cache_clear(reporting);
	hapax_cache_close(reporting);
	CHECK_EQ(hapax_cache_get(reporting, *key, &out), HAPAX_ECLOSED);
	CHECK_EQ(hapax_cache_put(reporting, *key, object), HAPAX_ECLOSED);
	CHECK_EQ(hapax_cache_get_quietly(reporting, *key, &out), HAPAX_ECLOSED);
}

TEST(calls_from_the_report)
{
	hapax_env *env = test_env();
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .leak = call_everything};
	struct item *item = item_new(env, 1);

	CHECK_EQ(hapax_cache_create(&reporting, &o), 0);
	CHECK_EQ(hapax_cache_put(reporting, HAPAX_STR("k"), item), 0);
	hapax_cache_destroy(reporting);
	CHECK_EQ(reports, 1);
	CHECK_EQ(hapax_count(item), 1);
	hapax_release(item);
	test_env_end(env);
}

static void let_go(const hapax_key *key, void *ctx)
{
	(void)key;
	++*(unsigned *)ctx;
}

/* Every allocation of a create fails once: nothing stays. */
TEST(creation_without_memory)
{
	unsigned released = 0, failures = 0;
	hapax_env *env = test_env();
	struct test_allocator *a = test_env_allocator(env);
	struct source s = {.env = env};
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &item_type, .load = source_load, .arg = &s,
				 .keys = {.borrow = true, .release = let_go, .ctx = &released}};
	hapax_cache *cache = NULL;
	size_t before;
	int rc;

	hapax_testing_drain(env);
	before = test_allocator_live(a);
	for (uint64_t n = 1; n < 100; n++) {
		a->fail_at = a->calls + n;
		rc = hapax_cache_create(&cache, &o);
		if (a->calls < a->fail_at)
			break;
		failures++;
		if (rc) {
			CHECK_EQ(rc, HAPAX_ENOMEM);
			CHECK(!cache);
		} else {
			hapax_cache_destroy(cache);
		}
		hapax_testing_drain(env);
		CHECK_EQ(test_allocator_live(a), before);
	}
	a->fail_at = 0;
	CHECK_EQ(rc, 0);
	CHECK(failures >= 3);
	hapax_release(got(cache, "borrowed"));
	cache_end(cache, 0);
	test_env_end(env);
	CHECK_EQ(released, 1);
}
