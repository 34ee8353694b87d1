/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* support/env.c - the counting and failing allocator; environments that must give everything back. */
#include <stdatomic.h>

#include "support/heap.h"
#include "support/support.h"

/* In front of each block: what alloc() was asked for, so that free() can be held to it. */
struct prefix {
	size_t size, align;
	uint64_t magic;
};
#define PREFIX_MAGIC UINT64_C(0x68617061786d656d)

static void *counting_alloc(size_t size, size_t align, void *ctx)
{
	struct test_allocator *a = ctx;
	uint64_t call = atomic_fetch_add_explicit(&a->calls, 1, memory_order_relaxed) + 1;
	uint64_t at = atomic_load_explicit(&a->fail_at, memory_order_relaxed);
	uint64_t from = atomic_load_explicit(&a->fail_from, memory_order_relaxed);
	size_t live, peak, room;
	struct prefix *prefix;
	char *base;

	CHECK(align >= 16 && !(align & (align - 1)));
	if (call == at || (from && call >= from)) {
		atomic_fetch_add_explicit(&a->failures, 1, memory_order_relaxed);
		return NULL;
	}
	room = (sizeof(struct prefix) + align - 1) & ~(align - 1);
	if (size > SIZE_MAX - room - align)
		return NULL;
	test_heap_enter();
	base = aligned_alloc(align, (room + size + align - 1) & ~(align - 1));
	test_heap_leave();
	if (!base)
		return NULL;
	memset(base, 0xa5, room + size); /* nobody may rely on zeros */
	prefix = (struct prefix *)(void *)(base + room) - 1;
	*prefix = (struct prefix){.size = size, .align = align, .magic = PREFIX_MAGIC};
	live = atomic_fetch_add_explicit(&a->live_bytes, size, memory_order_relaxed) + size;
	atomic_fetch_add_explicit(&a->live_blocks, 1, memory_order_relaxed);
	peak = atomic_load_explicit(&a->peak_bytes, memory_order_relaxed);
	while (live > peak && !atomic_compare_exchange_weak_explicit(&a->peak_bytes, &peak, live, memory_order_relaxed,
								     memory_order_relaxed))
		;
	return base + room;
}

static void counting_free(void *block, size_t size, size_t align, void *ctx)
{
	struct test_allocator *a = ctx;
	struct prefix *prefix = (struct prefix *)block - 1;
	size_t room = (sizeof(struct prefix) + align - 1) & ~(align - 1);

	CHECK(block);
	CHECK(prefix->magic == PREFIX_MAGIC);
	CHECK_EQ(prefix->size, size);
	CHECK_EQ(prefix->align, align);
	prefix->magic = 0;
	test_heap_enter();
	free((char *)block - room);
	test_heap_leave();
	atomic_fetch_sub_explicit(&a->live_blocks, 1, memory_order_relaxed);
	/* last: who then reads 0 (test_allocator_live) may free the allocator itself */
	atomic_fetch_sub_explicit(&a->live_bytes, size, memory_order_release);
}

void test_allocator_init(struct test_allocator *a, uint64_t fail_at)
{
	*a = (struct test_allocator){.fail_at = fail_at};
	a->allocator = (hapax_allocator){.alloc = counting_alloc, .free = counting_free, .ctx = a};
}

size_t test_allocator_live(const struct test_allocator *a)
{
	return atomic_load_explicit(&a->live_bytes, memory_order_acquire);
}

/* ---- environments ---------------------------------------------------------------------------------------------- */

#define MAX_ENVS 64

static struct {
	hapax_env *env;
	struct test_allocator *allocator;
} envs[MAX_ENVS];
static pthread_mutex_t envs_lock = PTHREAD_MUTEX_INITIALIZER;

static hapax_env *make_env(hapax_env_options options, bool fake_clock)
{
	struct test_allocator *allocator = NULL;
	hapax_env *env = NULL;
	unsigned i;

	if (!options.allocator.alloc) {
		allocator = malloc(sizeof(*allocator));
		CHECK(allocator);
		test_allocator_init(allocator, 0);
		options.allocator = allocator->allocator;
	}
	if (!options.seed)
		options.seed = test_seed();
	if (fake_clock)
		fake_clock_env(&options);
	CHECK_EQ(hapax_env_create(&env, &options), HAPAX_OK);
	CHECK(env);
	if (fake_clock)
		fake_clock_attach(env);
	if (allocator) {
		pthread_mutex_lock(&envs_lock);
		for (i = 0; i < MAX_ENVS && envs[i].env; i++)
			;
		CHECK(i < MAX_ENVS);
		envs[i].env = env;
		envs[i].allocator = allocator;
		pthread_mutex_unlock(&envs_lock);
	}
	return env;
}

hapax_env *test_env(void)
{
	return test_env_flags(0, false);
}

hapax_env *test_env_fake(void)
{
	return test_env_flags(0, true);
}

hapax_env *test_env_flags(unsigned flags, bool fake_clock)
{
	return make_env((hapax_env_options){HAPAX_ENV_OPTIONS_INIT, .flags = flags}, fake_clock);
}

hapax_env *test_env_options(const hapax_env_options *options)
{
	return make_env(*options, false);
}

struct test_allocator *test_env_allocator(hapax_env *env)
{
	struct test_allocator *allocator = NULL;

	pthread_mutex_lock(&envs_lock);
	for (unsigned i = 0; i < MAX_ENVS; i++)
		if (envs[i].env == env)
			allocator = envs[i].allocator;
	pthread_mutex_unlock(&envs_lock);
	return allocator;
}

static void forget_env(hapax_env *env)
{
	pthread_mutex_lock(&envs_lock);
	for (unsigned i = 0; i < MAX_ENVS; i++)
		if (envs[i].env == env)
			envs[i].env = NULL;
	pthread_mutex_unlock(&envs_lock);
}

/* Memory may go on another thread a moment after the drain that allowed it: this long is waited for it. */
enum { SETTLE_MS = 2000 };

void test_env_end(hapax_env *env)
{
	struct test_allocator *allocator = test_env_allocator(env);

	hapax_testing_drain(env);
	for (unsigned ms = 0; ms < SETTLE_MS && hapax_testing_live_objects(env); ms++) {
		test_sleep_ms(1);
		hapax_testing_drain(env);
	}
	CHECK_EQ(hapax_testing_live_objects(env), 0);
	hapax_env_destroy(env);
	forget_env(env);
	if (!allocator)
		return;
	for (unsigned ms = 0; ms < SETTLE_MS && test_allocator_live(allocator); ms++) {
		hapax_testing_drain(NULL);
		test_sleep_ms(1);
	}
	if (test_allocator_live(allocator))
		TEST_FAIL("%zu bytes in %zu blocks were not given back", allocator->live_bytes, allocator->live_blocks);
	free(allocator);
}
