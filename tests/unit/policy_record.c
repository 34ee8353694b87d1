/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recorded hits: slots of nodes, what arrives, what gets lost, and that nothing arrives at the wrong node. */
#include "policy/record.h"
#include "unit/policies.h"

#define NODES 5000

static struct test_allocator memory;
static struct hpx_hits *hits;
static hapax_policy_node node[NODES];
static unsigned told[NODES];
static uint32_t slot[NODES];

static void hit(void *state, hapax_policy_node *n)
{
	CHECK_PTR(state, told);
	CHECK(n >= node && n < node + NODES);
	told[n - node]++;
}

static unsigned drain(void) { return hpx_hits_drain(hits, hit, told); }

static void check(void)
{
	char message[200] = "";

	if (hpx_hits_check(hits, message, sizeof(message)))
		TEST_FAIL("%s", message);
}

static void begin(unsigned stripes)
{
	uint64_t random = test_stream(1);

	test_allocator_init(&memory, 0);
	hits = hpx_hits_create(&memory.allocator, stripes);
	CHECK(hits);
	for (unsigned i = 0; i < NODES; i++)
		node[i].id = test_random(&random);
	check();
}

static void end(void)
{
	check();
	hpx_hits_destroy(hits);
	CHECK_EQ(test_allocator_live(&memory), 0);
}

TEST(slots_are_one_nodes_at_a_time)
{
	static bool seen[4 * NODES];
	uint64_t random = test_stream(2);

	begin(1);
	for (unsigned round = 0; round < (test_slow_build() ? 20000 : 100000); round++) {
		unsigned i = (unsigned)test_below(&random, NODES);

		if (slot[i]) {
			hpx_hits_give(hits, slot[i]);
			seen[slot[i]] = false;
			slot[i] = 0;
		} else {
			slot[i] = hpx_hits_take(hits, &node[i]);
			CHECK(slot[i] > 0 && slot[i] < 2 * NODES);
			CHECK(!seen[slot[i]]);
			seen[slot[i]] = true;
		}
		if (round % 1000 == 0)
			check();
	}
	hpx_hits_give(hits, 0);
	end();
}

TEST(hits_arrive_in_order_and_once)
{
	begin(4);
	for (unsigned i = 0; i < 100; i++)
		slot[i] = hpx_hits_take(hits, &node[i]);
	for (unsigned round = 1; round <= 50; round++) {
		for (unsigned i = 0; i < 20; i++)
			hpx_hits_add(hits, 1 + i % 3, slot[i], node[i].id);
		CHECK_EQ(drain(), 20);
		CHECK_EQ(drain(), 0);
		for (unsigned i = 0; i < 100; i++)
			CHECK_EQ(told[i], i < 20 ? round : 0);
	}
	end();
}

TEST(asks_for_the_drain_and_loses_what_is_too_much)
{
	unsigned asked = 0;

	for (unsigned stripe = 0; stripe < 2; stripe++) {
		begin(2);
		memset(told, 0, sizeof(told));
		slot[0] = hpx_hits_take(hits, &node[0]);
		slot[1] = hpx_hits_take(hits, &node[1]);
		for (unsigned n = 1; n < HPX_HITS_RING / 2; n++)
			CHECK(!hpx_hits_add(hits, stripe, slot[0], node[0].id));
		CHECK(hpx_hits_add(hits, stripe, slot[0], node[0].id));
		for (unsigned n = 0; n < HPX_HITS_RING / 2; n++)
			asked += hpx_hits_add(hits, stripe, slot[0], node[0].id);
		CHECK_EQ(asked, stripe + 1);
		for (unsigned n = 0; n < 10; n++)
			CHECK(hpx_hits_add(hits, stripe, slot[1], node[1].id));
		CHECK_EQ(drain(), HPX_HITS_RING);
		CHECK_EQ(told[0], HPX_HITS_RING);
		CHECK_EQ(told[1], 0);
		hpx_hits_add(hits, stripe, slot[1], node[1].id);
		CHECK_EQ(drain(), 1);
		end();
	}
}

TEST(a_hit_that_comes_late_is_nobody_elses)
{
	begin(2);
	slot[0] = hpx_hits_take(hits, &node[0]);
	hpx_hits_add(hits, 1, slot[0], node[0].id);
	hpx_hits_give(hits, slot[0]);
	CHECK_EQ(drain(), 0); /* the slot is free */
	hpx_hits_add(hits, 1, slot[0], node[0].id);
	slot[1] = hpx_hits_take(hits, &node[1]);
	CHECK_EQ(slot[1], slot[0]);
	CHECK_EQ(drain(), 0); /* the slot is another key's */
	node[2].id = node[0].id;
	hpx_hits_add(hits, 1, slot[0], node[0].id);
	hpx_hits_give(hits, slot[1]);
	slot[2] = hpx_hits_take(hits, &node[2]);
	CHECK_EQ(drain(), 1); /* the same key, again in the cache */
	CHECK_EQ(told[2], 1);
	for (unsigned n = 0; n < 2 * HPX_HITS_RING; n++)
		CHECK(!hpx_hits_add(hits, 1, 0, node[0].id)); /* without a slot: lost, and takes no room */
	CHECK_EQ(drain(), 0);
	end();
}

/* Of two threads that share a stripe, one may come back with an old number. What it leaves is found all the same. */
TEST(gaps_in_the_shared_ring)
{
	begin(1);
	slot[0] = hpx_hits_take(hits, &node[0]);
	for (uint64_t head = 3; head < 1000; head += 7) {
		hpx_store_relaxed(&hits->ring[0].head, head);
		hpx_hits_add(hits, 0, slot[0], node[0].id);
		CHECK_EQ(drain(), 1);
	}
	end();
}

TEST(CX_MEM_01_without_memory)
{
	unsigned n = 1, refused = 0;

	for (;; n++) {
		test_allocator_init(&memory, n);
		hits = hpx_hits_create(&memory.allocator, 3);
		if (hits)
			break;
		CHECK_EQ(test_allocator_live(&memory), 0);
	}
	CHECK(n >= 2);
	hpx_hits_destroy(hits);
	CHECK_EQ(test_allocator_live(&memory), 0);
	begin(3);
	for (unsigned i = 0; i < NODES; i++) {
		memory.fail_from = i % 7 ? memory.calls + 1 : 0;
		slot[i] = hpx_hits_take(hits, &node[i]);
		refused += !slot[i];
		hpx_hits_add(hits, 1, slot[i], node[i].id);
		drain();
		CHECK_EQ(told[i], !!slot[i]);
	}
	CHECK(refused > 5 && refused < 100);
	memory.fail_from = 0;
	end();
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, STORM_NODES = 64 };

/* What a hitter reads without the lock: the slots of nodes that come and go. */
static hpx_u32 shared[STORM_NODES];
static bool over;
static uint64_t added;

static void storm(unsigned index, void *arg)
{
	uint64_t random = test_stream(100 + index), arrived = 0;

	(void)arg;
	if (index) {
		uint64_t mine = 0;

		/* Stripe 0 is two threads', each other one's alone. */
		while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
			unsigned i = (unsigned)test_below(&random, STORM_NODES);

			hpx_hits_add(hits, index > 2 ? index : 0, __atomic_load_n(&shared[i].v, __ATOMIC_RELAXED),
				     node[i].id);
			mine++;
		}
		__atomic_fetch_add(&added, mine, __ATOMIC_RELAXED);
		return;
	}
	/* Slots come and go until enough has arrived. */
	for (unsigned n = 0; n < 20000 || arrived < 5000; n++) {
		unsigned i = (unsigned)test_below(&random, STORM_NODES);

		if (slot[i]) {
			__atomic_store_n(&shared[i].v, 0, __ATOMIC_RELAXED);
			hpx_hits_give(hits, slot[i]);
			slot[i] = 0;
		} else {
			slot[i] = hpx_hits_take(hits, &node[i]);
			__atomic_store_n(&shared[i].v, slot[i], __ATOMIC_RELAXED);
		}
		if (n % 8 == 0)
			arrived += drain();
	}
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
}

TEST(hits_from_threads_arrive_at_their_nodes)
{
	uint64_t all = 0;

	begin(THREADS);
	run_threads(THREADS, storm, NULL);
	drain();
	CHECK_EQ(drain(), 0);
	for (unsigned i = 0; i < STORM_NODES; i++)
		all += told[i];
	for (unsigned i = STORM_NODES; i < NODES; i++)
		CHECK_EQ(told[i], 0);
	CHECK(all >= 5000 && all <= added);
	/* Each ring still works, whatever was left in it. */
	for (unsigned stripe = 0; stripe < THREADS; stripe++) {
		if (!slot[0])
			slot[0] = hpx_hits_take(hits, &node[0]);
		for (unsigned n = 0; n < 3 * HPX_HITS_RING; n++) {
			if (n % 8 == 0)
				drain();
			hpx_hits_add(hits, stripe, slot[0], node[0].id);
		}
		drain();
		told[0] = 0;
		for (unsigned n = 0; n < HPX_HITS_RING; n++)
			hpx_hits_add(hits, stripe, slot[0], node[0].id);
		drain();
		drain();
		CHECK_EQ(told[0], HPX_HITS_RING);
	}
	end();
}
