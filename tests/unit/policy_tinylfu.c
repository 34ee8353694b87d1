/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* W-TinyLFU beside three arrays and the same sketch; what the sketch says; who stays, and where the window goes. */
#include "policy/sketch.h"
#include "unit/policies.h"

enum { WINDOW, PROBATION, PROTECTED, QUEUES };

struct naive {
	unsigned n[QUEUES], key[QUEUES][BED_KEYS]; /* [0] is the least recently used */
	unsigned candidates[BED_KEYS], n_candidates;
	double window_bound;
	unsigned seen, window_hits, main_hits;
	unsigned probes, pause, wait;
	double hits_before, bound_before;
	struct hpx_sketch sketch;
};

static struct bed b;
static struct naive naive;
static struct test_allocator memory;

static void push(unsigned queue, unsigned key)
{
	naive.key[queue][naive.n[queue]++] = key;
}

static bool pull(unsigned *keys, unsigned *n, unsigned key)
{
	for (unsigned at = 0; at < *n; at++) {
		if (keys[at] != key)
			continue;
		--*n;
		memmove(&keys[at], &keys[at + 1], (*n - at) * sizeof(key));
		return true;
	}
	return false;
}

static unsigned out(unsigned key)
{
	pull(naive.candidates, &naive.n_candidates, key);
	for (unsigned q = 0; q < QUEUES; q++) {
		if (pull(naive.key[q], &naive.n[q], key))
			return q;
	}
	TEST_FAIL("%u is in no queue", key);
}

static unsigned bound(void) { return naive.window_bound < 1 ? 1 : (unsigned)naive.window_bound; }

/* The window's bound moves to where more is hit per place; without any hits there, in three large steps for a try. */
static void adapt(void)
{
	double capacity = (double)b.capacity, window = bound(), main = capacity - window, a, c, hits;
	bool blind = naive.window_hits <= naive.seen / 1024 && window < capacity / 4 && !naive.wait;

	if (naive.seen < 10 * 256)
		return;
	hits = (double)(naive.window_hits + naive.main_hits) / naive.seen;
	a = (naive.window_hits + 1) / window;
	c = (naive.main_hits + 1) / (main < 1 ? 1 : main);
	if (naive.probes && hits > naive.hits_before + 0.01) {
		naive.probes = 0;
		naive.pause = 1;
	} else if (naive.probes == 1 || (naive.probes && hits < naive.hits_before - 0.02)) {
		naive.probes = 0;
		naive.pause = naive.pause < 256 ? 2 * naive.pause : 256;
		naive.wait = naive.pause;
		window = naive.bound_before;
	} else if (naive.probes) {
		naive.probes--;
		window += 0.3 * capacity;
	} else if (blind && hits < 0.9) {
		naive.probes = 3;
		naive.hits_before = hits;
		naive.bound_before = window;
		window += 0.3 * capacity;
	} else {
		naive.wait -= naive.wait > 0;
		window += 0.1 * capacity * (a - c) / (a + c);
	}
	window = window > 0.9 * capacity ? 0.9 * capacity : window;
	naive.window_bound = window < 0.01 * capacity ? 0.01 * capacity : window;
	naive.seen = naive.window_hits = naive.main_hits = 0;
}

/* At most 64 go on at once: the rest with the calls that follow. */
static void balance(void)
{
	unsigned main = (unsigned)b.capacity - bound(), protected = main - main / 5, moves = 64;

	for (; moves && naive.n[PROTECTED] > protected; moves--) {
		push(PROBATION, naive.key[PROTECTED][0]);
		pull(naive.key[PROTECTED], &naive.n[PROTECTED], naive.key[PROTECTED][0]);
	}
	for (; moves && naive.n[WINDOW] > bound(); moves--) {
		unsigned key = naive.key[WINDOW][0];

		pull(naive.key[WINDOW], &naive.n[WINDOW], key);
		push(PROBATION, key);
		naive.candidates[naive.n_candidates++] = key;
	}
	if (naive.n[WINDOW] + naive.n[PROBATION] + naive.n[PROTECTED] <= b.capacity)
		naive.n_candidates = 0;
}

static void added(struct bed *bed, unsigned key, uint64_t weight)
{
	(void)weight;
	hpx_sketch_add(&naive.sketch, bed->key[key].id);
	push(WINDOW, key);
	naive.seen++;
	adapt();
	balance();
}

static void removed(struct bed *bed, unsigned key)
{
	(void)bed;
	out(key);
}

static void hit(struct bed *bed, unsigned key)
{
	unsigned queue = out(key);

	hpx_sketch_add(&naive.sketch, bed->key[key].id);
	push(queue == WINDOW ? WINDOW : PROTECTED, key);
	naive.seen++;
	*(queue == WINDOW ? &naive.window_hits : &naive.main_hits) += 1;
	adapt();
	balance();
}

static void replaced(struct bed *bed, unsigned key, uint64_t weight)
{
	(void)weight;
	hit(bed, key);
}

static unsigned victim(struct bed *bed)
{
	unsigned other = naive.n[PROTECTED] ? naive.key[PROTECTED][0] : BED_KEYS;
	unsigned main = naive.n[PROBATION] ? naive.key[PROBATION][0] : other;
	unsigned candidate = BED_KEYS, a, c;

	if (naive.n_candidates)
		candidate = naive.candidates[0];
	else if (naive.n[WINDOW] && naive.n[WINDOW] >= bound())
		candidate = naive.key[WINDOW][0];
	if (main == BED_KEYS || candidate == BED_KEYS || main == candidate) {
		main = main == BED_KEYS ? naive.key[WINDOW][0] : main;
		out(main);
		return main;
	}
	a = hpx_sketch_get(&naive.sketch, bed->key[candidate].id);
	c = hpx_sketch_get(&naive.sketch, bed->key[main].id);
	/* A warm candidate is let in now and then, whatever it is compared with: what is gone says whether. */
	if (a <= c && (a < 6 || bed->key[main].node))
		main = candidate;
	else
		pull(naive.candidates, &naive.n_candidates, candidate);
	out(main);
	return main;
}

static void naive_begin(unsigned capacity)
{
	bed_begin(&b, hapax_policy_tinylfu(), capacity);
	CHECK_EQ(b.policy->flags, HAPAX_POLICY_RECORD);
	memset(&naive, 0, sizeof(naive));
	naive.window_bound = 0.01 * capacity;
	naive.pause = 1;
	test_allocator_init(&memory, 0);
	CHECK_EQ(hpx_sketch_init(&naive.sketch, &memory.allocator, capacity), 0);
	b.added = added;
	b.removed = removed;
	b.replaced = replaced;
	b.hit = hit;
	b.victim = victim;
}

static void naive_end(void)
{
	b.removed = NULL;
	b.victim = NULL;
	bed_end(&b);
	hpx_sketch_fini(&naive.sketch);
}

/* A capacity below what the smallest sketch is for, so that its size and period never change. */
TEST(victims_equal_naive_arrays)
{
	static const unsigned capacities[] = {1, 2, 10, 100, 200};

	for (unsigned i = 0; i < 5; i++) {
		naive_begin(capacities[i]);
		bed_fuzz(&b, i, test_slow_build() ? 6000 : 40000, 3 * capacities[i] + 5, 1, false);
		naive_end();
	}
}

/* Attempts to enlarge the window that fail, and such that succeed, one after the other. */
TEST(victims_equal_naive_arrays_as_the_load_changes)
{
	uint64_t random = test_stream(6);

	naive_begin(200);
	for (unsigned phase = 0; phase < 6; phase++) {
		for (unsigned i = 0; i < (test_slow_build() ? 15000 : 30000); i++) {
			if (phase % 2) {
				bed_get(&b, i % BED_KEYS, 1);
				bed_get(&b, (i + BED_KEYS - 50) % BED_KEYS, 1);
			} else {
				bed_get(&b, phase < 4 ? i % 700 : (unsigned)test_below(&random, 2000), 1);
			}
		}
		bed_check(&b);
	}
	naive_end();
}

TEST(a_scan_leaves_what_is_asked_for_often)
{
	uint64_t random = test_stream(3);
	unsigned kept = 0;

	bed_begin(&b, hapax_policy_tinylfu(), 500);
	for (unsigned i = 0; i < 4000; i++)
		bed_get(&b, (unsigned)test_below(&random, 400), 1);
	for (unsigned k = 500; k < BED_KEYS; k++)
		bed_get(&b, k, 1);
	for (unsigned k = 0; k < 400; k++)
		kept += !!b.key[k].node;
	CHECK(kept >= 350); /* by recency alone it would be none */
	bed_end(&b);
}

/* Keys that are asked for twice, 120 other requests later: only a large window holds them so long, and while it is
 * small nothing tells that it should grow. Then a mix in which what counts is how often: the window goes. */
TEST(the_window_goes_where_the_hits_are)
{
	uint64_t hits[2] = {0}, random = test_stream(4);

	bed_begin(&b, hapax_policy_tinylfu(), 256);
	for (unsigned i = 0; i < 60000; i++) {
		unsigned key = i % BED_KEYS, again = (i + BED_KEYS - 60) % BED_KEYS;

		bed_get(&b, key, 1);
		hits[i >= 40000] += bed_get(&b, again, 1);
		if (i % 1000 == 0)
			bed_check(&b);
	}
	CHECK(hits[1] > 20000 / 10 * 9);
	hits[0] = hits[1] = 0;
	for (unsigned i = 0; i < 60000; i++) {
		/* 200 keys for half of the requests, all others for the other half */
		bool often = test_below(&random, 2);

		hits[i >= 40000] += bed_get(&b, (unsigned)test_below(&random, often ? 200 : BED_KEYS), 1) && often;
	}
	CHECK(hits[1] > 20000 / 2 / 10 * 8);
	bed_end(&b);
}

TEST(random_operations_by_weight)
{
	bed_begin(&b, hapax_policy_tinylfu(), 5000);
	bed_fuzz(&b, 2, test_slow_build() ? 2000 : 10000, 1000, 300, true);
	bed_end(&b);
}

TEST(from_one_to_more_than_all)
{
	bed_extremes(hapax_policy_tinylfu());
}

TEST(CX_MEM_01_without_memory)
{
	CHECK(bed_without_memory(hapax_policy_tinylfu(), 1000) >= 2);
}

/* ---- sketches ---------------------------------------------------------------------------------------------------- */

static struct hpx_sketch sketch;

static void sketch_begin(uint64_t keys)
{
	memset(&sketch, 0, sizeof(sketch));
	test_allocator_init(&memory, 0);
	CHECK_EQ(hpx_sketch_init(&sketch, &memory.allocator, keys), 0);
	hpx_sketch_use(&sketch, keys);
}

static void sketch_end(void)
{
	hpx_sketch_fini(&sketch);
	CHECK_EQ(test_allocator_live(&memory), 0);
}

/* Never too low, and rarely too high. Most keys are seen once, some up to nine times. */
TEST(sketches_count)
{
	enum { KEYS = 20000 };
	unsigned high = 0;

	sketch_begin(KEYS);
	for (uint64_t id = 0; id < KEYS; id++) {
		for (unsigned n = id % 20 ? 1 : 1 + id / 20 % 9; n; n--)
			hpx_sketch_add(&sketch, id);
	}
	for (uint64_t id = 0; id < KEYS; id++) {
		unsigned count = id % 20 ? 1 : 1 + id / 20 % 9, got = hpx_sketch_get(&sketch, id);

		CHECK(got >= count);
		high += got > count;
	}
	CHECK(high < KEYS / 50);
	for (unsigned n = 0; n < 40; n++)
		hpx_sketch_add(&sketch, 7);
	CHECK_EQ(hpx_sketch_get(&sketch, 7), 15);
	sketch_end();
}

TEST(sketches_forget_by_halves)
{
	uint64_t other = 1000;

	sketch_begin(4096);
	for (unsigned n = 0; n < 12; n++)
		hpx_sketch_add(&sketch, 5);
	for (unsigned expected = 12; expected; expected /= 2) {
		uint8_t halvings = sketch.halvings;

		CHECK(hpx_sketch_get(&sketch, 5) >= expected);
		CHECK(hpx_sketch_get(&sketch, 5) <= expected + 2);
		while (sketch.halvings == halvings)
			hpx_sketch_add(&sketch, other++);
		CHECK(other < 400000);
	}
	CHECK(sketch.halvings >= 4);
	sketch_end();
}

/* The least of four halves is the half of the least of four: exactly. */
TEST(sketches_halve_all_counters)
{
	enum { KEYS = 3000 };
	unsigned before[KEYS], sum = 0;

	sketch_begin(2048);
	for (uint64_t n = 0; n < 15000; n++)
		hpx_sketch_add(&sketch, n * n % KEYS);
	CHECK_EQ(sketch.halvings, 0);
	for (unsigned halvings = 1; halvings < 4; halvings++) {
		for (uint64_t id = 0; id < KEYS; id++)
			sum += before[id] = hpx_sketch_get(&sketch, id);
		sketch.halvings += (uint8_t)halvings;
		for (uint64_t id = 0; id < KEYS; id++)
			CHECK_EQ(hpx_sketch_get(&sketch, id), before[id] >> halvings);
	}
	CHECK(sum > 6000);
	sketch_end();
}

/* What is taken into use later begins as old as the rest. */
TEST(sketches_grow_after_halvings)
{
	sketch_begin(100000);
	sketch_end();
	memset(&sketch, 0, sizeof(sketch));
	CHECK_EQ(hpx_sketch_init(&sketch, &memory.allocator, 100000), 0);
	sketch.halvings = 7;
	for (uint64_t id = 0; id < 100; id++) {
		for (unsigned n = 0; n < 9; n++)
			hpx_sketch_add(&sketch, id);
	}
	hpx_sketch_use(&sketch, 100000);
	for (uint64_t id = 0; id < 100; id++)
		CHECK(hpx_sketch_get(&sketch, id) >= 9);
	sketch_end();
}

/* Whatever size it gets, what it knew it still knows; without memory it goes on. */
TEST(sketches_of_another_size)
{
	sketch_begin(100000);
	hpx_sketch_use(&sketch, 1);
	for (uint64_t id = 0; id < 100; id++) {
		for (unsigned n = 0; n < 5; n++)
			hpx_sketch_add(&sketch, id);
	}
	for (uint64_t keys = 1; keys < 400000; keys *= 3) {
		memory.fail_from = keys % 2 && keys > 100 ? memory.calls + 1 : 0;
		CHECK_EQ(hpx_sketch_init(&sketch, &memory.allocator, 100000 + keys), 0);
		hpx_sketch_use(&sketch, keys);
		for (uint64_t id = 0; id < 100; id++)
			CHECK(hpx_sketch_get(&sketch, id) >= 5);
	}
	CHECK(sketch.lines * 8 >= 100000);
	memory.fail_from = 0;
	CHECK_EQ(hpx_sketch_init(&sketch, &memory.allocator, 10), 0);
	CHECK(sketch.lines * 8 < 1000);
	for (uint64_t id = 0; id < 2000; id++)
		hpx_sketch_add(&sketch, id);
	hpx_sketch_use(&sketch, 100000);
	sketch_end();
}
