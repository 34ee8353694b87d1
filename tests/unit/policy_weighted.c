/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The weighted policy beside a table of priorities that is searched from end to end. */
#include <math.h>

#include "unit/policies.h"

struct naive {
	bool in[BED_KEYS];
	unsigned uses[BED_KEYS], touched[BED_KEYS];
	double weight[BED_KEYS], worth[BED_KEYS], priority[BED_KEYS];
	uint64_t since[BED_KEYS];
	uint64_t now;
	double age;
};

static struct bed b;
static struct naive naive;

/* uses / weight, to the middle of a quarter of its power of two. */
static double worth_of(double uses, double weight)
{
	int exponent;
	double fraction = frexp(uses / weight, &exponent); /* 0.5 to 1 */

	return ldexp(0.5 + (floor((fraction - 0.5) * 8) + 0.5) / 8, exponent);
}

static void look(unsigned key)
{
	naive.uses[key] += naive.touched[key];
	naive.touched[key] = 0;
	naive.worth[key] = worth_of(naive.uses[key], naive.weight[key]);
	naive.priority[key] = naive.age + naive.worth[key];
	naive.since[key] = ++naive.now;
}

static void added(struct bed *bed, unsigned key, uint64_t weight)
{
	(void)bed;
	naive.in[key] = true;
	naive.uses[key] = 1;
	naive.touched[key] = 0;
	naive.weight[key] = (double)weight;
	look(key);
}

static void removed(struct bed *bed, unsigned key)
{
	(void)bed;
	naive.in[key] = false;
}

static void hit(struct bed *bed, unsigned key)
{
	(void)bed;
	naive.touched[key] += naive.touched[key] < 15;
}

static void replaced(struct bed *bed, unsigned key, uint64_t weight)
{
	(void)bed;
	naive.uses[key]++;
	naive.weight[key] = (double)weight;
	look(key);
}

/* Of equal priority, the one of less worth goes first, then who was looked at first. */
static bool sooner(unsigned a, unsigned c)
{
	if (naive.priority[a] != naive.priority[c])
		return naive.priority[a] < naive.priority[c];
	if (naive.worth[a] != naive.worth[c])
		return naive.worth[a] < naive.worth[c];
	return naive.since[a] < naive.since[c];
}

static unsigned victim(struct bed *bed)
{
	(void)bed;
	for (;;) {
		unsigned least = BED_KEYS;

		for (unsigned k = 0; k < BED_KEYS; k++) {
			if (naive.in[k] && (least == BED_KEYS || sooner(k, least)))
				least = k;
		}
		CHECK(least < BED_KEYS);
		if (naive.touched[least]) {
			look(least);
			continue;
		}
		naive.age = naive.priority[least];
		naive.in[least] = false;
		return least;
	}
}

static void begin(uint64_t capacity)
{
	bed_begin(&b, hapax_policy_weighted(), capacity);
	CHECK_EQ(b.policy->flags, HAPAX_POLICY_TOUCH);
	memset(&naive, 0, sizeof(naive));
	b.added = added;
	b.removed = removed;
	b.replaced = replaced;
	b.hit = hit;
	b.victim = victim;
}

TEST(victims_equal_a_naive_search)
{
	begin(20000);
	bed_fuzz(&b, 1, test_slow_build() ? 1500 : 10000, 300, 1000, true);
	bed_end(&b);
	begin(UINT64_C(1) << 40);
	bed_fuzz(&b, 2, test_slow_build() ? 1000 : 5000, 300, UINT64_C(1) << 37, true);
	bed_end(&b);
	begin(30);
	bed_fuzz(&b, 3, test_slow_build() ? 1000 : 5000, 100, 1, false);
	bed_end(&b);
}

TEST(small_ones_stay_and_large_ones_go)
{
	begin(10000);
	for (unsigned k = 0; k < 50; k++)
		bed_get(&b, k, 100);
	for (unsigned k = 100; k < 105; k++)
		bed_get(&b, k, 1000);
	for (unsigned k = 200; k < 205; k++)
		bed_get(&b, k, 1000);
	for (unsigned k = 0; k < 50; k++)
		CHECK(b.key[k].node);
	CHECK(!b.key[100].node);
	bed_end(&b);
}

/* What was worth much once goes in the end: the cache's age overtakes it. */
TEST(nobody_stays_for_ever)
{
	unsigned key = 1;

	begin(1000);
	bed_get(&b, 0, 1);
	for (unsigned i = 0; i < 15; i++)
		bed_get(&b, 0, 1);
	for (; b.key[0].node; key++) {
		CHECK(key < 100000);
		if (b.key[key % 1000 + 1].node)
			continue;
		bed_get(&b, key % 1000 + 1, 100);
	}
	CHECK(key > 100);
	bed_end(&b);
}

/* Half of the requests are for small objects, half for large ones: more of them are hits than with LRU. */
TEST(more_objects_are_hit_than_with_lru)
{
	const hapax_policy *policy[] = {hapax_policy_weighted(), hapax_policy_lru()};
	uint64_t hits[2];

	for (unsigned i = 0; i < 2; i++) {
		uint64_t random = test_stream(9);

		bed_begin(&b, policy[i], 10000);
		for (unsigned n = 0; n < 20000; n++) {
			unsigned key = bed_key(&random, 2000);

			bed_get(&b, key, key % 2 ? 10 : 500);
		}
		hits[i] = b.hits;
		bed_end(&b);
	}
	CHECK(hits[0] > hits[1] + 1000);
}

TEST(one_eviction_looks_at_a_bounded_number)
{
	unsigned passed = 0;

	bed_begin(&b, hapax_policy_weighted(), BED_KEYS);
	for (unsigned k = 0; k < BED_KEYS; k++) {
		bed_get(&b, k, 1);
		bed_get(&b, k, 1);
	}
	bed_evict(&b);
	for (unsigned k = 0; k < BED_KEYS; k++)
		passed += b.key[k].node && !b.key[k].node->touched;
	CHECK(passed > 0 && passed <= 1024);
	bed_end(&b);
}

TEST(hits_from_other_threads)
{
	bed_storm(hapax_policy_weighted());
}

TEST(from_one_to_more_than_all)
{
	bed_extremes(hapax_policy_weighted());
}

TEST(CX_MEM_01_without_memory)
{
	CHECK(bed_without_memory(hapax_policy_weighted(), 1000) >= 1);
}
