/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SIEVE beside an array with the keys in order of insertion and a hand that is an index. */
#include "unit/policies.h"

struct naive {
	unsigned n, hand;       /* key[0] is the oldest; hand == n: at the beginning */
	unsigned key[BED_KEYS];
	bool used[BED_KEYS];    /* by key */
};

static struct bed b;
static struct naive naive;

static unsigned place(unsigned key)
{
	unsigned at = 0;

	while (at < naive.n && naive.key[at] != key)
		at++;
	CHECK(at < naive.n);
	return at;
}

static void take(unsigned at)
{
	memmove(&naive.key[at], &naive.key[at + 1], (naive.n - at - 1) * sizeof(naive.key[0]));
	naive.n--;
	if (naive.hand > at)
		naive.hand--;
}

static void added(struct bed *bed, unsigned key, uint64_t weight)
{
	(void)bed;
	(void)weight;
	/* A hand at the end is at the beginning: also once there is somebody new at the end. */
	if (naive.hand >= naive.n)
		naive.hand = 0;
	naive.key[naive.n++] = key;
	naive.used[key] = false;
}

static void removed(struct bed *bed, unsigned key)
{
	(void)bed;
	take(place(key));
}

static void replaced(struct bed *bed, unsigned key, uint64_t weight)
{
	(void)bed;
	(void)weight;
	naive.used[key] = true;
}

static void hit(struct bed *bed, unsigned key)
{
	(void)bed;
	naive.used[key] = true;
}

/* The last key is not looked at: it is what room is made for. */
static unsigned victim(struct bed *bed)
{
	unsigned end = naive.n > 1 ? naive.n - 1 : 1, at = naive.hand, key;

	(void)bed;
	if (at >= naive.n)
		at = 0;
	for (;; at = at + 1 < end ? at + 1 : 0) {
		key = naive.key[at];
		if (!naive.used[key])
			break;
		naive.used[key] = false;
	}
	naive.hand = at + 1 >= end ? 0 : at + 1;
	take(at);
	return key;
}

static void begin(uint64_t capacity, bool beside)
{
	bed_begin(&b, hapax_policy_sieve(), capacity);
	CHECK_EQ(b.policy->flags, HAPAX_POLICY_TOUCH);
	memset(&naive, 0, sizeof(naive));
	if (!beside)
		return;
	b.added = added;
	b.removed = removed;
	b.replaced = replaced;
	b.hit = hit;
	b.victim = victim;
}

TEST(the_hand_passes_what_was_used)
{
	begin(5, true);
	for (unsigned k = 0; k < 5; k++)
		bed_get(&b, k, 1);
	bed_get(&b, 0, 1);
	bed_get(&b, 2, 1);
	bed_get(&b, 5, 1);
	CHECK(!b.key[1].node); /* past 0; the hand stands at 2 */
	bed_get(&b, 6, 1);
	CHECK(!b.key[3].node);
	bed_get(&b, 7, 1);
	CHECK(!b.key[4].node);
	bed_get(&b, 5, 1);
	bed_get(&b, 8, 1);
	CHECK(b.key[5].node && !b.key[6].node);
	bed_get(&b, 9, 1);
	CHECK(!b.key[7].node);
	bed_get(&b, 10, 1);
	CHECK(!b.key[8].node);
	bed_get(&b, 9, 1);
	bed_get(&b, 11, 1);
	CHECK(!b.key[10].node);
	bed_get(&b, 12, 1); /* around: 0 was used before the hand came by, and not since */
	CHECK(b.key[9].node && !b.key[0].node);
	bed_end(&b);
}

TEST(victims_equal_a_naive_array)
{
	begin(37, true);
	bed_fuzz(&b, 1, test_slow_build() ? 3000 : 20000, 200, 1, false);
	bed_end(&b);
	begin(500, true);
	bed_fuzz(&b, 2, test_slow_build() ? 2000 : 10000, 1000, 60, true);
	bed_end(&b);
}

TEST(a_scan_leaves_what_is_used)
{
	begin(100, false);
	for (unsigned k = 0; k < 50; k++)
		bed_get(&b, k, 1);
	for (unsigned i = 0; i < 3000; i++) {
		bed_get(&b, i % 50, 1);
		bed_get(&b, 50 + i, 1);
	}
	for (unsigned k = 0; k < 50; k++)
		CHECK(b.key[k].node);
	bed_end(&b);
}

TEST(one_eviction_looks_at_a_bounded_number)
{
	unsigned reset = 0;

	begin(BED_KEYS, false);
	for (unsigned k = 0; k < BED_KEYS; k++) {
		bed_get(&b, k, 1);
		bed_get(&b, k, 1);
	}
	bed_evict(&b);
	for (unsigned k = 0; k < BED_KEYS; k++)
		reset += b.key[k].node && !b.key[k].node->touched;
	CHECK(reset > 0 && reset <= 1024);
	bed_end(&b);
}

TEST(hits_from_other_threads)
{
	bed_storm(hapax_policy_sieve());
}

TEST(from_one_to_more_than_all)
{
	bed_extremes(hapax_policy_sieve());
}

TEST(CX_MEM_01_without_memory)
{
	CHECK(bed_without_memory(hapax_policy_sieve(), 1000) >= 1);
}
