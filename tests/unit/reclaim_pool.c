/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pool and retirement under readers: what a section has found keeps its bytes until the section ends. */
#include <hapax/testing.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "reclaim/reclaim.h"

#define SLOTS 64
#define READERS 2
#define WRITERS 2
#define ROUNDS 20000

struct block {
	hpx_u64 link; /* the pool's, once retired */
	hpx_u64 magic, twin;
};

static HPX_ATOMIC(struct block *) slots[SLOTS];
static hpx_u32 stop;
static hapax_env *env;
static struct test_memory {
	hpx_u64 bytes, fail;
} memory;

static void *counted_alloc(size_t size, size_t align, void *ctx)
{
	struct test_memory *m = ctx;
	void *block;

	if (hpx_load_relaxed(&m->fail))
		return NULL;
	block = aligned_alloc(align, (size + align - 1) & ~(align - 1));
	hpx_add_relaxed(&m->bytes, size);
	return block;
}

static void counted_free(void *block, size_t size, size_t align, void *ctx)
{
	struct test_memory *m = ctx;

	(void)align;
	hpx_sub_relaxed(&m->bytes, size);
	free(block);
}

static hapax_env *make(unsigned flags, size_t bound, uint64_t stall)
{
	hapax_env_options o = {HAPAX_ENV_OPTIONS_INIT, .flags = flags, .garbage_bound = bound, .stall_ns = stall,
			       .allocator = {counted_alloc, counted_free, &memory}};
	hapax_env *made;

	assert_int_equal(hapax_env_create(&made, &o), 0);
	return made;
}

static void end(hapax_env *made)
{
	hapax_env_destroy(made);
	for (int i = 0; i < 1000 && hpx_load_relaxed(&memory.bytes); i++) {
		hapax_testing_drain(NULL);
		usleep(1000);
	}
	assert_int_equal(hpx_load_relaxed(&memory.bytes), 0);
}

static struct block *block_new(uint64_t magic)
{
	struct block *b = hpx_pool_alloc(env, sizeof(*b));

	if (!b)
		return NULL;
	hpx_init(&b->link, 0);
	hpx_init(&b->magic, magic);
	hpx_init(&b->twin, ~magic);
	return b;
}

static void *read_slots(void *arg)
{
	uint64_t seen = 0, magic;
	struct block *b;

	(void)arg;
	while (!hpx_load_relaxed(&stop)) {
		for (unsigned i = 0; i < SLOTS; i++) {
			hpx_read_lock();
			b = hpx_load_acquire(&slots[i]);
			if (b) {
				magic = hpx_load_relaxed(&b->magic);
				if (hpx_load_relaxed(&b->twin) != ~magic)
					abort();
				seen++;
			}
			hpx_read_unlock();
		}
	}
	return (void *)(uintptr_t)seen;
}

static void *write_slots(void *arg)
{
	uint64_t n = (uint64_t)(uintptr_t)arg << 32;
	struct block *b, *old;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (hpx_admit(env, HAPAX_FOREVER))
			abort();
		b = block_new(++n * UINT64_C(0x9e3779b97f4a7c15));
		if (!b)
			abort();
		old = hpx_exchange_acq_rel(&slots[(n * 2654435761u >> 7) % SLOTS], b);
		if (old)
			hpx_pool_retire(env, old, sizeof(*old), &old->link);
	}
	return NULL;
}

static void torture(size_t bound)
{
	pthread_t reader[READERS], writer[WRITERS];
	hapax_env_stats stats = {.size = sizeof(stats)};
	struct block *b;

	env = make(0, bound, 0);
	hpx_store_relaxed(&stop, 0);
	for (size_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, read_slots, NULL), 0);
	for (size_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writer[i], NULL, write_slots, (void *)(i + 1)), 0);
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(writer[i], NULL);
	hpx_store_relaxed(&stop, 1);
	for (size_t i = 0; i < READERS; i++)
		pthread_join(reader[i], NULL);
	for (size_t i = 0; i < SLOTS; i++) {
		b = hpx_exchange_acq_rel(&slots[i], NULL);
		if (b)
			hpx_pool_retire(env, b, sizeof(*b), &b->link);
	}
	hapax_testing_drain(env);
	assert_int_equal(hapax_env_stats_get(env, &stats), 0);
	assert_int_equal(stats.garbage_bytes, 0);
	assert_true(stats.garbage_peak_bytes <= stats.garbage_bound_bytes + SLOTS * sizeof(struct block));
	end(env);
}

static void retired_blocks_keep_their_bytes_for_readers(void **state)
{
	(void)state;
	torture(0);
}

static void a_small_bound_is_kept(void **state)
{
	(void)state;
	torture(65536);
}

static void without_thread_creation_is_refused_until_reclaim(void **state)
{
	hapax_env_stats stats = {.size = sizeof(stats)};
	unsigned made = 0;
	struct block *b;

	(void)state;
	env = make(HAPAX_ENV_NO_THREAD, 8192, 0);
	while (!hpx_admit(env, HAPAX_FOREVER)) {
		b = block_new(1);
		assert_non_null(b);
		hpx_pool_retire(env, b, sizeof(*b), &b->link);
		assert_true(++made < 100000);
	}
	assert_int_equal(hapax_env_stats_get(env, &stats), 0);
	assert_true(stats.garbage_refusals >= 1);
	hapax_reclaim(env);
	assert_int_equal(hpx_admit(env, HAPAX_NO_WAIT), 0);
	end(env);
}

static hpx_u32 inside;

static void *stay_inside(void *arg)
{
	(void)arg;
	pthread_setname_np(pthread_self(), "sleepy");
	hpx_thread_ready();
	hpx_read_lock();
	hpx_store_release(&inside, 1);
	while (hpx_load_acquire(&inside))
		usleep(1000);
	hpx_read_unlock();
	return NULL;
}

static void a_stalled_reader_is_named(void **state)
{
	hapax_env_stats stats = {.size = sizeof(stats)};
	pthread_t thread;
	struct block *b;
	int status = 0;

	(void)state;
	env = make(0, 4096, 20 * HAPAX_MILLISECOND);
	pthread_create(&thread, NULL, stay_inside, NULL);
	while (!hpx_load_acquire(&inside))
		usleep(100);
	for (unsigned i = 0; i < 100000 && !status; i++) {
		status = hpx_admit(env, hpx_env_now(env) + 200 * HAPAX_MILLISECOND);
		if (status)
			break;
		b = block_new(1);
		assert_non_null(b);
		hpx_pool_retire(env, b, sizeof(*b), &b->link);
	}
	assert_int_equal(status, HAPAX_EGARBAGE);
	assert_int_equal(hapax_env_stats_get(env, &stats), 0);
	assert_string_equal(stats.stalled_name, "sleepy");
	assert_true(stats.stalls >= 1);
	assert_true(stats.garbage_peak_bytes <= stats.garbage_bound_bytes);
	hpx_store_release(&inside, 0);
	pthread_join(thread, NULL);
	assert_int_equal(hpx_admit(env, HAPAX_FOREVER), 0);
	end(env);
}

static void *short_life(void *arg)
{
	struct block *b = block_new(3);

	(void)arg;
	if (b)
		hpx_pool_retire(env, b, sizeof(*b), &b->link);
	return NULL;
}

static void short_threads_leave_no_growth(void **state)
{
	size_t early = 0, late;
	pthread_t thread;

	(void)state;
	env = make(0, 0, 0);
	for (unsigned i = 0; i < 2000; i++) {
		assert_int_equal(pthread_create(&thread, NULL, short_life, NULL), 0);
		pthread_join(thread, NULL);
		if (i == 200)
			early = hapax_testing_bytes(env);
	}
	late = hapax_testing_bytes(env);
	assert_true(late <= early + (1u << 20));
	end(env);
}

struct counted {
	struct hpx_deferred d;
	hpx_u32 *ran; /* functions may run on two threads at once */
};

static void run_counted(struct hpx_deferred *d) { hpx_add_relaxed(((struct counted *)(void *)d)->ran, 1); }

static void deferred_functions_run_once(void **state)
{
	static struct counted items[100];
	hpx_u32 ran = {0};

	(void)state;
	env = make(HAPAX_ENV_NO_THREAD, 0, 0);
	for (unsigned i = 0; i < 100; i++) {
		items[i].ran = &ran;
		hpx_retire(env, &items[i].d, 10, run_counted);
	}
	hapax_testing_drain(env);
	assert_int_equal(hpx_load_relaxed(&ran), 100);
	end(env);
}

static void without_memory_nothing_is_lost(void **state)
{
	struct block *b;

	(void)state;
	env = make(0, 0, 0);
	b = block_new(1);
	assert_non_null(b);
	hpx_init(&memory.fail, 1);
	hpx_pool_retire(env, b, sizeof(*b), &b->link);
	hapax_testing_drain(env);
	while ((b = block_new(2)))
		hpx_pool_retire(env, b, sizeof(*b), &b->link);
	hpx_init(&memory.fail, 0);
	assert_non_null(b = block_new(3));
	hpx_pool_free(env, b, sizeof(*b));
	end(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(retired_blocks_keep_their_bytes_for_readers),
		cmocka_unit_test(a_small_bound_is_kept),
		cmocka_unit_test(without_thread_creation_is_refused_until_reclaim),
		cmocka_unit_test(a_stalled_reader_is_named),
		cmocka_unit_test(short_threads_leave_no_growth),
		cmocka_unit_test(deferred_functions_run_once),
		cmocka_unit_test(without_memory_nothing_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
