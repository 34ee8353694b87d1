/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reference counts: releases too many, limits, failed upgrades, unpublished objects. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/cached.h"

static int misuses;
static char misuse_text[256];
static void on_misuse(const char *message, void *ctx)
{
	(void)ctx;
	snprintf(misuse_text, sizeof(misuse_text), "%s", message);
	misuses++;
}

TEST(CX_RC_01_SD_24_a_release_too_many_does_not_destroy_twice)
{
#ifdef TEST_ASAN
	TEST_SKIP("AddressSanitizer itself reports the access");
#endif
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	struct item *it, *other;

	hapax_testing_set_misuse(on_misuse, NULL);
	it = item_new(env, 2);
	other = item_new(env, 3);
	items_reset();
	misuses = 0;
	for (int i = 0; i < 5; i++)
		hapax_release(it); /* four too many, while its memory is in quarantine */
	CHECK_EQ(items_destroyed_now(), 1);
	CHECK(item_is_alive(other)); /* nobody else's reference was given away */
	CHECK_EQ(hapax_count(other), 1);
	CHECK_EQ(misuses, 4);
	CHECK(strstr(misuse_text, "of type 'item'")); /* named */
	hapax_release(other);
	CHECK_EQ(items_destroyed_now(), 2);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_live_objects(env), 0); /* freed once each */
	/* the memory serves again */
	for (int i = 0; i < 100; i++)
		hapax_release(item_new(env, i));
	hapax_testing_set_misuse(NULL, NULL);
	test_env_end(env);
}

TEST(CX_RC_01_a_release_too_many_aborts_debug_builds)
{
#if defined(TEST_ASAN) || defined(TEST_TSAN)
	TEST_SKIP("a sanitizer sees it first");
#endif
	hapax_env *env = test_env_flags(HAPAX_ENV_NO_THREAD, false);
	pid_t child;
	int status;

	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		struct item *it = item_new(env, 2);

		if (!freopen("/dev/null", "w", stderr))
			_exit(3);
		hapax_release(it);
		hapax_release(it);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
#ifdef HPX_DEBUG
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#else
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
	test_env_end(env);
}

static void retain_in_destructor(struct item *item, void *arg)
{
	(void)arg;
	CHECK_EQ(hapax_count(item), 0);
	CHECK_EQ(hapax_retain(item), HAPAX_EDEAD);
	CHECK_EQ(hapax_count(item), 0);
}

TEST(CX_RC_01_retain_of_a_dying_object_is_refused)
{
	hapax_env *env = test_env();
	struct item *it = item_new(env, 1);

	hapax_testing_set_misuse(on_misuse, NULL);
	it->on_destroy = retain_in_destructor;
	items_reset();
	hapax_release(it);
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_testing_set_misuse(NULL, NULL);
	test_env_end(env);
}

TEST(CX_RC_02_counts_beyond_32_bits_and_at_the_limit)
{
	static const uint64_t near[] = {UINT16_MAX, (UINT64_C(1) << 31) - 1, UINT32_MAX, (UINT64_C(1) << 35) - 1};
	hapax_env *env = test_env();
	struct source s = {0};
	hapax_cache *cache = cache_with(env, &s, 0);
	hapax_table *table = table_new(env);
	struct item *it = got(cache, "k");
	hapax_weak *weak = weak_of(it);
	void *out = (void *)1;

	table_put(table, HAPAX_STR("t"), it);
	items_reset();
	for (size_t i = 0; i < sizeof(near) / sizeof(*near); i++) {
		hapax_testing_set_strong(it, near[i]);
		for (unsigned n = 1; n <= 3; n++) {
			CHECK_EQ(hapax_retain(it), HAPAX_OK);
			CHECK_EQ(hapax_count(it), near[i] + n);
		}
		CHECK_PTR(hapax_weak_get(weak), it);
		CHECK_PTR(got(cache, "k"), it);
		CHECK_EQ(hapax_count(it), near[i] + 5);
		for (unsigned n = 0; n < 5; n++)
			hapax_release(it);
		CHECK_EQ(hapax_count(it), near[i]);
		CHECK(item_is_alive(it));
	}
	/* the limit: refused, nothing taken, nothing freed; not dead either */
	hapax_testing_set_strong(it, UINT64_C(1) << 36);
	for (int n = 0; n < 100; n++) {
		CHECK_EQ(hapax_retain(it), HAPAX_EOVERFLOW);
		CHECK(!hapax_weak_get(weak));
		CHECK(hapax_cache_get_quietly(cache, HAPAX_STR("k"), &out) != HAPAX_OK);
		CHECK(!out);
		CHECK(hapax_table_get(table, HAPAX_STR("t"), &out) != HAPAX_OK);
		CHECK(!out);
	}
	CHECK_EQ(hapax_count(it), UINT64_C(1) << 36);
	CHECK(hapax_weak_alive(weak));
	hapax_release(it);
	CHECK_EQ(hapax_retain(it), HAPAX_OK);
	CHECK_EQ(items_destroyed_now(), 0);
	hapax_testing_set_strong(it, 1);
	CHECK_PTR(hapax_weak_get(weak), it); /* usable as before */
	hapax_release(it);
	hapax_release(it);
	CHECK_EQ(items_destroyed_now(), 1);
	hapax_weak_drop(weak);
	table_end(table, 0);
	cache_end(cache, 0);
	test_env_end(env);
}

static void upgrade_often(unsigned index, void *arg)
{
	(void)index;
	for (uint64_t i = scaled(500000); i > 0; i--)
		CHECK(!hapax_weak_get(arg));
}

static void upgrade_inside(struct item *item, void *arg)
{
	(void)item;
	run_threads(3, upgrade_often, arg);
}

TEST(CX_RC_04_failed_upgrades_leave_the_dead_alone)
{
	hapax_env *env = test_env();
	struct item *it = item_new(env, 1);
	hapax_weak *weak = weak_of(it), *dup;
	char text[128];

	CHECK_EQ(hapax_weak_dup(weak, &dup), HAPAX_OK);
	it->on_destroy = upgrade_inside; /* while it dies, too */
	it->arg = weak;
	items_reset();
	hapax_release(it);
	CHECK_EQ(items_destroyed_now(), 1);
	run_threads(3, upgrade_often, dup);
	CHECK(!hapax_weak_alive(weak));
	CHECK(hapax_weak_describe(weak, text, sizeof(text)) > 0);
	hapax_testing_drain(env);
	CHECK_EQ(hapax_testing_live_objects(env), 0);
	CHECK(!hapax_weak_get(weak));
	for (int i = 0; i < 50; i++) { /* whatever its memory is used for now */
		struct item *other = item_new(env, i);
		CHECK(!hapax_weak_get(weak));
		hapax_release(other);
	}
	hapax_weak_drop(weak);
	CHECK(!hapax_weak_get(dup));
	hapax_weak_drop(dup);
	CHECK_EQ(items_destroyed_now(), 51);
	test_env_end(env);
}

struct duel {
	hapax_weak *weak;
	struct item *item;
	struct test_barrier go;
	int live_after;
};
static void duel_run(unsigned index, void *arg)
{
	struct duel *d = arg;

	if (index == 0) {
		hapax_release(d->item);
		return;
	}
	struct item *it = hapax_weak_get(d->weak);
	if (it) {
		CHECK(item_is_alive(it));
		CHECK(hapax_weak_get(d->weak) == it);
		hapax_release(it);
		CHECK(item_is_alive(it));
		hapax_release(it);
	}
}

TEST(CX_RC_04_upgrade_against_last_release)
{
	hapax_env *env = test_env();
	uint64_t rounds = scaled(300);

	items_reset();
	for (uint64_t i = 0; i < rounds; i++) {
		struct duel d = {.item = item_new(env, 1)};

		d.weak = weak_of(d.item);
		run_threads(3, duel_run, &d);
		CHECK(!hapax_weak_get(d.weak));
		hapax_weak_drop(d.weak);
	}
	CHECK_EQ(items_destroyed_now(), rounds);
	test_env_end(env);
}

TEST(CX_RC_06_weak_counts_at_their_limit)
{
	hapax_env *env = test_env();
	struct item *it = item_new(env, 1);
	hapax_weak *weak = weak_of(it), *more = (hapax_weak *)1, *second;
	uint64_t limit = UINT64_C(1) << 31;

	hapax_testing_set_weak(it, limit);
	CHECK_EQ(hapax_weak_new(it, NULL, &more), HAPAX_EOVERFLOW);
	CHECK(!more);
	more = (hapax_weak *)1;
	CHECK_EQ(hapax_weak_dup(weak, &more), HAPAX_EOVERFLOW);
	CHECK(!more);
	CHECK_EQ(hapax_count(it), 1);
	void *up = hapax_weak_get(weak);
	CHECK_PTR(up, it);
	hapax_release(it);
	hapax_testing_set_weak(it, limit - 2); /* close below it things work */
	CHECK_EQ(hapax_weak_new(it, NULL, &more), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(more), HAPAX_OK);
	CHECK_EQ(hapax_weak_dup(weak, &more), HAPAX_OK);
	CHECK_EQ(hapax_weak_drop(more), HAPAX_OK);
	hapax_testing_set_weak(it, 1);
	CHECK_EQ(hapax_weak_new(it, NULL, &second), HAPAX_OK);
	hapax_weak_drop(second);
	hapax_release(it);
	CHECK(!hapax_weak_get(weak));
	hapax_weak_drop(weak);
	test_env_end(env);
}

TEST(CX_RC_07_objects_that_nobody_ever_published)
{
	hapax_env *env = test_env();
	hapax_env_stats st = {.size = sizeof(st)};
	uint64_t n = scaled(20000);

	items_reset();
	for (uint64_t i = 1; i <= n; i++) {
		struct item *it = item_of(env, i % 2 ? &item_type : &strong_type, 1);

		CHECK_EQ(hapax_count(it), 1);
		CHECK_EQ(hapax_weak_count(it), 0);
		hapax_release(it);
		CHECK_EQ(items_destroyed_now(), i);
	}
	hapax_testing_drain(env);
	CHECK_EQ(hapax_env_stats_get(env, &st), HAPAX_OK);
	CHECK_EQ(st.objects_born, n);
	CHECK_EQ(st.objects_destroyed, n);
	CHECK_EQ(st.objects_freed, n);
	CHECK_EQ(hapax_testing_live_objects(env), 0);
	test_env_end(env);
}
