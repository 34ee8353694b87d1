/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arrays that housekeeping makes and moves into: the table goes on without them, and may end while one is being made. */
#include "unit/crowd.h"

static uint64_t hash_of(uint64_t key) { return (key + 1) * UINT64_C(0x9e3779b97f4a7c15); }

static bool preparing(struct crowd *f) { return hpx_load_relaxed(&f->t->growing); }

static void put_from(struct crowd *f, uint64_t from, uint64_t to)
{
	for (uint64_t key = from; key < to; key++)
		CHECK_EQ(crowd_put(f, key, hash_of(key)), HPX_PUT_DONE);
}

static void find_all(struct crowd *f, uint64_t n)
{
	for (uint64_t key = 0; key < n; key++)
		CHECK(crowd_find(f, key, hash_of(key)) != NULL);
	crowd_check(f, n);
}

/* Puts until an array is being made. Who makes it is in its way: a section of this thread keeps grace periods from ending. */
static uint64_t put_until_preparing(struct crowd *f)
{
	uint64_t key = 0;

	while (!preparing(f)) {
		put_from(f, key, key + 1);
		CHECK(++key < 10000);
	}
	return key;
}

static struct test_event entered = TEST_EVENT_INIT, leave = TEST_EVENT_INIT;

static void *reader(void *arg)
{
	hpx_read_lock();
	test_event_set(&entered);
	test_event_wait(&leave);
	hpx_read_unlock();
	return arg;
}

static pthread_t begin_stuck(struct crowd *f)
{
	pthread_t thread;

	hpx_prepare_from = 0;
	crowd_begin(f, 64);
	thread = test_thread(reader, NULL);
	test_event_wait(&entered);
	return thread;
}

TEST(the_table_grows_when_its_array_is_made)
{
	struct crowd f;
	pthread_t thread = begin_stuck(&f);
	uint64_t n = put_until_preparing(&f);

	put_from(&f, n, n + 2); /* nobody makes another one, and nobody waits */
	n += 2;
	CHECK(preparing(&f) && hpx_table_lines(f.t) == 64);
	CHECK_PTR(hpx_load_relaxed(&hpx_load_relaxed(&f.t->root)->next), NULL);
	find_all(&f, n);
	test_event_set(&leave);
	test_join(thread);
	while (preparing(&f))
		hapax_reclaim(f.env);
	CHECK_EQ(hpx_table_lines(f.t), 128); /* and nobody had to put anything for that */
	find_all(&f, n);
	put_from(&f, n, n + 100);
	find_all(&f, n + 100);
	for (n += 100; n < 3000; n += 100) /* with whatever the reclaimer does beside it */
		put_from(&f, n, n + 100);
	find_all(&f, n);
	crowd_end(&f);
}

/* Housekeeping has appended the array, and then does not come to its moves: lookups and puts do without, until it is behind. */
TEST(puts_move_what_housekeeping_does_not)
{
	struct crowd f;
	pthread_t thread = begin_stuck(&f);
	uint64_t n = put_until_preparing(&f), moved;
	struct hpx_array *root = hpx_load_relaxed(&f.t->root);

	/* as it is left by a process that was forked from within a step */
	CHECK(hpx_array_append(f.t, 7));
	hpx_store_relaxed(&f.t->growing, HPX_GROW_MOVING);
	put_from(&f, n, n + 20);
	n += 20;
	CHECK_EQ(hpx_load_relaxed(&root->cursor), 0); /* but homes that were met on the way */
	find_all(&f, n);
	CHECK_EQ(hpx_load_relaxed(&root->cursor), 0);
	hpx_read_lock();
	hpx_store_relaxed(&f.t->sampled, 1 << 20);
	hpx_grow_pace(f.t, root);
	hpx_read_unlock();
	CHECK(hpx_moves_shared(f.t));
	for (moved = 0; hpx_table_lines(f.t) == 64; n++) {
		put_from(&f, n, n + 1);
		CHECK(++moved < 200);
	}
	find_all(&f, n);
	hpx_read_lock();
	hpx_store_relaxed(&f.t->sampled, 0);
	hpx_grow_pace(f.t, hpx_load_acquire(&f.t->root));
	hpx_read_unlock();
	CHECK(!hpx_moves_shared(f.t));
	hpx_store_relaxed(&f.t->growing, HPX_GROW_PREPARING);
	test_event_set(&leave);
	test_join(thread);
	while (preparing(&f))
		hapax_reclaim(f.env);
	find_all(&f, n);
	crowd_end(&f);
}

TEST(when_it_is_late_an_array_is_made_at_once)
{
	struct crowd f;
	pthread_t thread = begin_stuck(&f);
	uint64_t n = put_until_preparing(&f);

	for (; hpx_table_lines(f.t) == 64; n++) {
		CHECK(preparing(&f));
		put_from(&f, n, n + 1);
		CHECK(n < 10000);
	}
	find_all(&f, n);
	test_event_set(&leave);
	test_join(thread);
	while (preparing(&f))
		hapax_reclaim(f.env);
	find_all(&f, n); /* what was made in vain is gone: the end of the environment counts */
	CHECK_EQ(hpx_table_lines(f.t), 128);
	crowd_end(&f);
}

TEST(the_table_ends_while_one_is_made)
{
	struct crowd f;
	pthread_t thread = begin_stuck(&f);

	put_until_preparing(&f);
	hpx_table_end(f.t, crowd_over, NULL);
	hpx_table_drop(f.t);
	test_event_set(&leave);
	test_join(thread);
	hapax_release(f.thing);
	test_env_end(f.env); /* nothing is left */
}

TEST(no_memory_for_it)
{
	struct crowd f;
	pthread_t thread = begin_stuck(&f);
	uint64_t n = put_until_preparing(&f), limit;
	struct test_allocator *a = test_env_allocator(f.env);
	struct hpx_array *root = hpx_load_relaxed(&f.t->root);

	limit = hpx_load_relaxed(&root->limit);
	a->fail_from = a->calls + 1;
	test_event_set(&leave);
	test_join(thread);
	while (preparing(&f))
		hapax_reclaim(f.env);
	CHECK_PTR(hpx_load_relaxed(&root->next), NULL);
	CHECK_EQ(hpx_load_relaxed(&root->limit), limit + 64 / 16 + 1); /* it asks again later */
	find_all(&f, n);
	a->fail_from = 0;
	for (; hpx_table_lines(f.t) == 64; n++) {
		put_from(&f, n, n + 1);
		CHECK(n < 10000);
	}
	find_all(&f, n);
	crowd_end(&f);
}

static bool same_bytes(const hapax_key *a, const hapax_key *b, void *ctx)
{
	(void)ctx;
	return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* A move may compare keys, and that is not for a thread of the library, nor for after the table's end. */
TEST(who_compares_keys_himself_moves_them_himself)
{
	struct hpx_table_config config = {.capacity = 256, .keys = {.equal = same_bytes}};
	struct crowd f = {.env = test_env()};
	struct hpx_array *root;
	pthread_t thread;
	uint64_t n;

	hpx_prepare_from = 0;
	config.env = f.env;
	CHECK_EQ(hpx_table_new(&f.t, &config), 0);
	CHECK_EQ(thing_new(f.env, &f.thing), 0);
	thread = test_thread(reader, NULL);
	test_event_wait(&entered);
	n = put_until_preparing(&f);
	root = hpx_load_relaxed(&f.t->root);
	test_event_set(&leave);
	test_join(thread);
	while (preparing(&f))
		hapax_reclaim(f.env);
	CHECK(hpx_load_relaxed(&root->next) != NULL);
	CHECK_EQ(hpx_load_relaxed(&root->cursor), 0); /* it was made, and nobody has moved there */
	for (unsigned i = 0; hpx_load_relaxed(&f.t->root) == root; i++, n++) {
		put_from(&f, n, n + 1);
		CHECK(i < 1000);
	}
	find_all(&f, n);
	crowd_end(&f);
}

TEST(without_a_thread_arrays_are_made_at_once)
{
	struct hpx_table_config config = {.capacity = 256};
	struct crowd f = {.env = test_env_flags(HAPAX_ENV_NO_THREAD, false)};
	uint64_t key = 0;

	hpx_prepare_from = 0;
	config.env = f.env;
	CHECK_EQ(hpx_table_new(&f.t, &config), 0);
	CHECK_EQ(thing_new(f.env, &f.thing), 0);
	for (; key < 1000; key++) {
		put_from(&f, key, key + 1);
		CHECK(!preparing(&f));
	}
	CHECK(hpx_table_lines(f.t) > 64);
	find_all(&f, key);
	crowd_end(&f);
}
