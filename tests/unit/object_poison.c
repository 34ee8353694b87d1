/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * With AddressSanitizer a dead object's payload is out of bounds from its destructor's end on, also before its grace
 * period is over; and what the library itself may still look at is not.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "unit/cached.h"

struct text {
	char bytes[21]; /* not a multiple of anything */
};

MAYBE_UNUSED static const hapax_type text_type = {HAPAX_TYPE_INIT, .name = "text", .size = sizeof(struct text)};
static const hapax_type page_type = {HAPAX_TYPE_INIT, .name = "page", .size = 4096, .align = 64};

MAYBE_UNUSED static volatile char sink;

#ifdef TEST_ASAN

/* Runs `crime` in a child. It must end with a report of `kind`. */
static void reported(void (*crime)(const hapax_type *type), const hapax_type *type, const char *kind)
{
	char report[4096];
	size_t used = 0;
	ssize_t n;
	int fds[2], status;
	pid_t child;

	CHECK_EQ(pipe(fds), 0);
	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		crime(type);
		_exit(0);
	}
	close(fds[1]);
	while ((n = read(fds[0], report + used, sizeof(report) - 1 - used)) > 0) {
		used += (size_t)n;
		if (used == sizeof(report) - 1)
			break; /* the rest says nothing new */
	}
	report[used] = 0;
	close(fds[0]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (!strstr(report, "AddressSanitizer") || !strstr(report, kind) || (WIFEXITED(status) && !WEXITSTATUS(status)))
		TEST_FAIL("no report of %s, but: %s", kind, report);
}

static char *dead(hapax_env **env, const hapax_type *type)
{
	void *object = NULL;

	*env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	CHECK_EQ(hapax_new(*env, type, 0, &object), HAPAX_OK);
	*(volatile char *)object = 1;
	hapax_release(object);
	return object;
}

static void read_at_once(const hapax_type *type)
{
	hapax_env *env;
	char *p = dead(&env, type);

	sink = p[type->size - 1];
}

static void write_at_once(const hapax_type *type)
{
	hapax_env *env;
	char *p = dead(&env, type);

	*(volatile char *)p = 2;
}

static void read_later(const hapax_type *type)
{
	hapax_env *env;
	char *p = dead(&env, type);

	hapax_testing_drain(env);
	sink = p[0];
}

static void read_from_a_cache(const hapax_type *type)
{
	struct source s = {.code = 0};
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	hapax_cache *cache = cache_with(env, &s, 0);
	struct item *item = got(cache, "a key of some length");

	(void)type;
	hapax_release(item);
	CHECK(!present(cache, "a key of some length"));
	sink = (char)item->id;
}

static void write_behind_the_end(const hapax_type *type)
{
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	void *object = NULL;

	CHECK_EQ(hapax_new(env, type, 0, &object), HAPAX_OK);
	((volatile char *)object)[type->size] = 1;
}

TEST(G1_asan_reports_reads_of_a_dead_payload_before_its_grace_period)
{
	reported(read_at_once, &text_type, "use-after-poison");
	reported(write_at_once, &text_type, "use-after-poison");
	reported(read_at_once, &page_type, "use-after-poison");
	reported(read_from_a_cache, NULL, "use-after-poison");
}

TEST(G1_asan_reports_reads_of_a_dead_payload_after_its_grace_period)
{
	reported(read_later, &text_type, "heap-use-after-free");
	reported(read_later, &page_type, "heap-use-after-free");
}

TEST(G1_asan_reports_writes_behind_a_payload)
{
	reported(write_behind_the_end, &text_type, "use-after-poison");
	reported(write_behind_the_end, &page_type, "heap-buffer-overflow");
}

#endif

static int misuses;
static char misuse_text[200];

static void on_misuse(const char *message, void *ctx)
{
	(void)ctx;
	misuses++;
	snprintf(misuse_text, sizeof(misuse_text), "%s", message);
}

static void looks(struct item *item, void *arg)
{
	hapax_weak *weak = *(hapax_weak **)arg;

	sink = (char)item->id; /* its destructor may */
	CHECK(!hapax_weak_get(weak));
	CHECK_EQ(hapax_count(item), 0);
}

/* What may be looked at: in every build, and silently. */
TEST(G1_what_may_be_looked_at_in_a_dead_object)
{
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	struct source s = {.code = 0};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_table *table = table_new(env);
	hapax_weak *weak;
	struct item *item, *other;
	void *large = NULL;

	CHECK_EQ(hapax_new(env, &page_type, 0, &large), HAPAX_OK);
	memset(large, 1, page_type.size);
	hapax_release(large);
	for (int round = 0; round < 100; round++) {
		item = got(cache, "key");
		weak = weak_of(item);
		item->on_destroy = looks;
		item->arg = &weak;
		table_put(table, HAPAX_STR("other key"), item);
		hapax_release(item);
		CHECK_EQ(hapax_count(item), 0); /* its header stays for its grace period */
		CHECK(!hapax_weak_get(weak));
		CHECK(!table_peek(table, HAPAX_STR("other key")));
		other = got(cache, "key");
		CHECK(other != item);
		hapax_release(other);
		CHECK_EQ(hapax_weak_drop(weak), HAPAX_OK);
		if (round == 50)
			hapax_testing_drain(env);
	}
	hapax_testing_set_misuse(on_misuse, NULL);
	item = item_new(env, 1);
	hapax_release(item);
	CHECK_EQ(hapax_retain(item), HAPAX_EDEAD);
	hapax_testing_set_misuse(NULL, NULL);
	if (misuses) /* debug builds: its type has a name still */
		CHECK(strstr(misuse_text, "'item'"));
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}
