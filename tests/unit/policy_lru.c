/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Exact LRU beside a list of instants of use. */
#include "unit/policies.h"

struct naive {
	uint64_t used[BED_KEYS]; /* 0: out */
	uint64_t now;
};

static void use(struct bed *b, unsigned key)
{
	struct naive *n = b->reference;

	n->used[key] = ++n->now;
}

static void added(struct bed *b, unsigned key, uint64_t weight)
{
	(void)weight;
	use(b, key);
}

static void removed(struct bed *b, unsigned key) { ((struct naive *)b->reference)->used[key] = 0; }

static unsigned victim(struct bed *b)
{
	struct naive *n = b->reference;
	unsigned least = BED_KEYS;

	for (unsigned k = 0; k < BED_KEYS; k++) {
		if (n->used[k] && (least == BED_KEYS || n->used[k] < n->used[least]))
			least = k;
	}
	CHECK(least < BED_KEYS);
	n->used[least] = 0;
	return least;
}

static struct bed b;
static struct naive naive;

static void begin(uint64_t capacity)
{
	bed_begin(&b, hapax_policy_lru(), capacity);
	CHECK_EQ(b.policy->flags, HAPAX_POLICY_EXACT);
	memset(&naive, 0, sizeof(naive));
	b.reference = &naive;
	b.added = added;
	b.removed = removed;
	b.replaced = added;
	b.hit = use;
	b.victim = victim;
}

TEST(CF_EV_07_victims_in_order_of_use)
{
	begin(4);
	for (unsigned k = 0; k < 4; k++)
		bed_get(&b, k, 1);
	bed_get(&b, 0, 1);     /* 1 2 3 0 */
	bed_replace(&b, 2, 1); /* 1 3 0 2: a write is a use */
	CHECK_EQ(bed_evict(&b), 1);
	CHECK_EQ(bed_evict(&b), 3);
	CHECK_EQ(bed_evict(&b), 0);
	CHECK_EQ(bed_evict(&b), 2);
	CHECK_EQ(bed_evict(&b), BED_KEYS);
	bed_end(&b);
}

TEST(CF_EV_07_victims_equal_a_naive_list)
{
	begin(37);
	bed_fuzz(&b, 1, test_slow_build() ? 3000 : 20000, 200, 1, false);
	bed_end(&b);
	begin(1000);
	bed_fuzz(&b, 2, test_slow_build() ? 2000 : 10000, 1000, 60, true);
	bed_end(&b);
}

TEST(CF_EV_11_shrinking_goes_in_order_of_use)
{
	begin(100);
	for (unsigned k = 0; k < 100; k++)
		bed_get(&b, k, 1);
	for (unsigned k = 0; k < 100; k += 2)
		bed_get(&b, k, 1);
	bed_resize(&b, 60);
	for (unsigned k = 0; k < 100; k++)
		CHECK(!b.key[k].node == (k % 2 && k < 80));
	bed_resize(&b, 1000);
	CHECK_EQ(b.count, 60);
	bed_end(&b);
}

TEST(from_one_to_more_than_all)
{
	bed_extremes(hapax_policy_lru());
}

TEST(CX_MEM_01_without_memory)
{
	CHECK(bed_without_memory(hapax_policy_lru(), 1000) >= 1);
}
