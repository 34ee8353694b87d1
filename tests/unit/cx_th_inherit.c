/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CX-TH-06: the child of a fork that came while another thread was in an object's death. */
#include <sys/wait.h>
#include <unistd.h>

#include "unit/removals.h"
#include "unit/stopped_death.h"

static const hapax_cache_options forms[] = {
	{.capacity = 0}, {.max_entries = 1}, {.max_entries = 1, .ttl_ns = HAPAX_SECOND}, {.max_entries = 1, .negative_ttl_ns = HAPAX_SECOND},
};

/* The key is absent, can be written and loaded again; the size is right, and nobody waits for the death at the end. */
__attribute__((noreturn)) static void go_on(struct tier *t, bool bounded, bool writes, bool looks)
{
	struct item *it;

	test_watchdog(30);
	hapax_after_fork_child(HAPAX_FORK_URCU);
	CHECK_EQ(hapax_cache_size(t->cache), bounded);
	cache_check(t->cache, bounded);
	if (looks) {
		CHECK(!present(t->cache, "k"));
		it = writes ? tier_put(t, "k") : got(t->cache, "k");
		CHECK(present(t->cache, "k"));
		hapax_release(it);
		CHECK_EQ(hapax_cache_size(t->cache), bounded);
		cache_check(t->cache, bounded);
	}
	t->r.cache = NULL;
	hapax_cache_destroy(t->cache);
	_exit(0);
}

static void forked_beside_death(enum form form, hapax_cache_options o, bool writes, bool looks)
{
	bool bounded = o.max_entries;
	struct tier t = {.s = {.loads = 0}};
	struct item *it;
	int status = 0;
	pthread_t thread;
	pid_t child;

	/* ThreadSanitizer allows the child no thread of its own */
	tier_begin(&t, form, test_env_flags(HAPAX_ENV_NO_THREAD, false), o);
	it = tier_add(&t, "k");
	if (bounded)
		hapax_release(tier_add(&t, "other")); /* the cache holds this one, and lets go of the first */
	thread = release_stopped(it);
	hapax_before_fork(HAPAX_FORK_URCU);
	child = fork();
	CHECK(child >= 0);
	if (!child)
		go_on(&t, bounded, writes, looks);
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		TEST_FAIL("form %d, %lld entries, what %d%d: status %x", form, (long long)o.max_entries, writes, looks, status);
	test_event_set(&may_be_told);
	test_join(thread);
	hapax_testing_set_stop(NULL, NULL);
	tier_end(&t, bounded);
}

TEST(CX_TH_06_a_death_of_the_parent_keeps_nobody_waiting)
{
	for (enum form form = LOADED; form <= PUT; form++)
		for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++)
			for (int what = 0; what < 3; what++)
				forked_beside_death(form, forms[i], what == 1, what > 0);
}
