/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* S3-FIFO beside three arrays; what was let go of, by itself. */
#include "policy/shadow.h"
#include "unit/policies.h"

enum { SMALL, MAIN, GHOST, QUEUES };

struct naive {
	unsigned n[QUEUES], key[QUEUES][BED_KEYS]; /* [0] is the oldest */
	unsigned uses[BED_KEYS];
	unsigned main_bound;
};

static struct bed b;
static struct naive naive;

static void push(unsigned queue, unsigned key)
{
	naive.key[queue][naive.n[queue]++] = key;
}

static bool take(unsigned queue, unsigned key)
{
	for (unsigned at = 0; at < naive.n[queue]; at++) {
		if (naive.key[queue][at] != key)
			continue;
		naive.n[queue]--;
		memmove(&naive.key[queue][at], &naive.key[queue][at + 1], (naive.n[queue] - at) * sizeof(key));
		return true;
	}
	return false;
}

static void added(struct bed *bed, unsigned key, uint64_t weight)
{
	(void)bed;
	(void)weight;
	naive.uses[key] = 0;
	push(take(GHOST, key) ? MAIN : SMALL, key);
}

static void removed(struct bed *bed, unsigned key)
{
	(void)bed;
	CHECK(take(SMALL, key) || take(MAIN, key));
}

static void hit(struct bed *bed, unsigned key)
{
	(void)bed;
	naive.uses[key] += naive.uses[key] < 3;
}

static void replaced(struct bed *bed, unsigned key, uint64_t weight)
{
	(void)weight;
	hit(bed, key);
}

static unsigned victim(struct bed *bed)
{
	(void)bed;
	for (;;) {
		bool from_main = naive.n[MAIN] && (naive.n[MAIN] > naive.main_bound || naive.n[SMALL] < 2);
		unsigned key = naive.key[from_main ? MAIN : SMALL][0];

		take(from_main ? MAIN : SMALL, key);
		if (naive.uses[key] >= (from_main ? 1 : 2)) {
			naive.uses[key] = from_main ? naive.uses[key] - 1 : 0;
			push(MAIN, key);
			continue;
		}
		if (!from_main)
			push(GHOST, key);
		if (naive.n[GHOST] > naive.main_bound)
			take(GHOST, naive.key[GHOST][0]);
		return key;
	}
}

/* Buckets of shadows are filled to their brim now and then. Ids are chosen here so that they are not. */
static void roomy_ids(uint64_t span, unsigned keys)
{
	uint64_t random = test_stream(5);

	for (unsigned n = 0; n < keys;) {
		struct hpx_shadow shadow = {0};
		unsigned kept = 0;

		b.key[n].id = test_random(&random);
		CHECK_EQ(hpx_shadow_init(&shadow, &b.memory.allocator, span), 0);
		shadow.span = keys;
		for (unsigned k = 0; k <= n; k++)
			hpx_shadow_add(&shadow, b.key[k].id, 1);
		for (unsigned k = 0; k <= n; k++)
			kept += hpx_shadow_take(&shadow, b.key[k].id, 1);
		hpx_shadow_fini(&shadow);
		n += kept == n + 1;
	}
}

TEST(victims_equal_naive_arrays)
{
	bed_begin(&b, hapax_policy_s3fifo(), 40);
	CHECK_EQ(b.policy->flags, HAPAX_POLICY_TOUCH);
	memset(&naive, 0, sizeof(naive));
	naive.main_bound = 36;
	roomy_ids(36, 48);
	b.added = added;
	b.removed = removed;
	b.replaced = replaced;
	b.hit = hit;
	b.victim = victim;
	bed_fuzz(&b, 1, test_slow_build() ? 5000 : 50000, 48, 1, false);
	bed_end(&b);
}

TEST(keys_asked_for_once_pass_through)
{
	bed_begin(&b, hapax_policy_s3fifo(), 100);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned k = 0; k < 80; k++)
			bed_get(&b, k, 1);
	}
	for (unsigned k = 100; k < BED_KEYS; k++) {
		bed_get(&b, k, 1);
		if (k % 5 == 0)
			bed_get(&b, k / 5 % 80, 1);
	}
	for (unsigned k = 0; k < 80; k++)
		CHECK(b.key[k].node);
	bed_end(&b);
}

TEST(what_comes_back_goes_to_main)
{
	bed_begin(&b, hapax_policy_s3fifo(), 100);
	for (unsigned k = 0; k < 120; k++)
		bed_get(&b, k, 1);
	CHECK(!b.key[0].node);
	bed_get(&b, 0, 1); /* let go of a short time ago: main */
	for (unsigned k = 200; k < 320; k++)
		bed_get(&b, k, 1);
	CHECK(b.key[0].node);
	CHECK(!b.key[200].node);
	bed_end(&b);
}

TEST(random_operations_by_weight)
{
	bed_begin(&b, hapax_policy_s3fifo(), 5000);
	bed_fuzz(&b, 2, test_slow_build() ? 2000 : 10000, 1000, 300, true);
	bed_end(&b);
}

TEST(one_eviction_looks_at_a_bounded_number)
{
	unsigned passed = 0;

	bed_begin(&b, hapax_policy_s3fifo(), BED_KEYS);
	for (unsigned k = 0; k < BED_KEYS; k++) {
		bed_get(&b, k, 1);
		for (unsigned i = 0; i < 3; i++)
			bed_hit(&b, k);
	}
	bed_evict(&b);
	for (unsigned k = 0; k < BED_KEYS; k++)
		passed += b.key[k].node && !b.key[k].node->touched;
	CHECK(passed > 0 && passed <= 1025);
	bed_end(&b);
}

TEST(hits_from_other_threads)
{
	bed_storm(hapax_policy_s3fifo());
}

TEST(from_one_to_more_than_all)
{
	bed_extremes(hapax_policy_s3fifo());
}

TEST(CX_MEM_01_without_memory)
{
	CHECK(bed_without_memory(hapax_policy_s3fifo(), 1000) >= 2);
}

/* ---- shadows ----------------------------------------------------------------------------------------------------- */

static struct test_allocator memory;

static unsigned kept(struct hpx_shadow *shadow, uint64_t from, uint64_t to)
{
	unsigned n = 0;

	for (uint64_t id = from; id < to; id++)
		n += hpx_shadow_take(shadow, id, 1);
	return n;
}

TEST(shadows_remember_a_span_and_no_more)
{
	for (uint64_t span = 1000; span <= 100000; span *= 10) {
		struct hpx_shadow shadow = {0};

		test_allocator_init(&memory, 0);
		CHECK_EQ(hpx_shadow_init(&shadow, &memory.allocator, span), 0);
		hpx_shadow_use(&shadow, span);
		for (uint64_t id = 0; id < 4 * span; id++)
			hpx_shadow_add(&shadow, id, 1);
		CHECK(kept(&shadow, 0, 3 * span - span / 50) < span / 1000 + 1);
		CHECK(kept(&shadow, 3 * span + span / 30, 4 * span) > span / 100 * 92);
		CHECK(kept(&shadow, 0, 4 * span) < span / 15);
		CHECK_EQ(kept(&shadow, 0, 4 * span), 0);
		CHECK(shadow.total < span / 20); /* of those that went before their time, from full buckets */
		hpx_shadow_fini(&shadow);
		CHECK_EQ(test_allocator_live(&memory), 0);
	}
}

/* What was taken leaves room: the span counts what is remembered. */
TEST(shadows_that_are_taken_make_room)
{
	struct hpx_shadow shadow = {0};

	test_allocator_init(&memory, 0);
	CHECK_EQ(hpx_shadow_init(&shadow, &memory.allocator, 1000), 0);
	hpx_shadow_use(&shadow, 1000);
	for (uint64_t id = 0; id < 1000; id++)
		hpx_shadow_add(&shadow, id, 1);
	CHECK(kept(&shadow, 500, 1000) > 450);
	for (uint64_t id = 1000; id < 1450; id++)
		hpx_shadow_add(&shadow, id, 1);
	CHECK(kept(&shadow, 0, 500) > 450);
	hpx_shadow_fini(&shadow);
}

TEST(shadows_by_weight)
{
	struct hpx_shadow shadow = {0};
	uint64_t span = UINT64_C(1) << 50, each = span / 100;

	test_allocator_init(&memory, 0);
	CHECK_EQ(hpx_shadow_init(&shadow, &memory.allocator, span), 0);
	for (uint64_t id = 0; id < 100000; id++) {
		hpx_shadow_add(&shadow, id, each);
		CHECK(shadow.total <= span + each);
	}
	CHECK(kept(&shadow, 0, 100000 - 101) < 3);
	CHECK(hpx_shadow_take(&shadow, 99999, each));
	CHECK(hpx_shadow_take(&shadow, 99950, each));
	hpx_shadow_fini(&shadow);
}

TEST(shadows_of_another_span)
{
	uint64_t spans[] = {100000, 1000, UINT64_C(1) << 40, UINT64_C(1) << 62, 50000, 10};
	struct hpx_shadow shadow = {0};
	uint64_t id = 0;

	test_allocator_init(&memory, 0);
	CHECK_EQ(hpx_shadow_init(&shadow, &memory.allocator, 2000), 0);
	for (unsigned i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
		uint64_t each = spans[i] / 1000 ? spans[i] / 1000 : 1, first = id;

		memory.fail_from = i % 2 ? memory.calls + 1 : 0; /* goes on with what it has */
		CHECK_EQ(hpx_shadow_init(&shadow, &memory.allocator, spans[i]), 0);
		memory.fail_from = 0;
		hpx_shadow_use(&shadow, 1000);
		for (unsigned n = 0; n < 3000; n++)
			hpx_shadow_add(&shadow, id++, each);
		CHECK(hpx_shadow_take(&shadow, id - 1, each));
		CHECK(!hpx_shadow_take(&shadow, id - 1, each));
		CHECK(kept(&shadow, first, first + 1000) < 5);
	}
	/* The keys of before are remembered, whatever the unit is. */
	CHECK_EQ(hpx_shadow_init(&shadow, &memory.allocator, 100000), 0);
	hpx_shadow_use(&shadow, 2000);
	for (unsigned n = 0; n < 1000; n++)
		hpx_shadow_add(&shadow, id++, 1);
	CHECK_EQ(hpx_shadow_init(&shadow, &memory.allocator, 200000), 0);
	CHECK(kept(&shadow, id - 1000, id) > 950);
	hpx_shadow_fini(&shadow);
	CHECK_EQ(test_allocator_live(&memory), 0);
}

/* Places are taken into use as keys come: nothing is forgotten by that, nor by units that change. */
TEST(shadows_that_grow)
{
	struct hpx_shadow shadow = {0};
	uint64_t id = 0;

	test_allocator_init(&memory, 0);
	CHECK_EQ(hpx_shadow_init(&shadow, &memory.allocator, 10000), 0);
	for (uint64_t keys = 30; keys < 10000; keys *= 2) {
		hpx_shadow_use(&shadow, keys);
		while (id < keys / 2)
			hpx_shadow_add(&shadow, id++, 1);
	}
	hpx_shadow_use(&shadow, 10000);
	CHECK(kept(&shadow, 0, id) > id / 100 * 97);
	for (unsigned n = 0; n < 400; n++)
		hpx_shadow_add(&shadow, id++, 1);
	CHECK_EQ(hpx_shadow_init(&shadow, &memory.allocator, UINT64_C(1) << 40), 0);
	for (unsigned n = 0; n < 400; n++)
		hpx_shadow_add(&shadow, id++, UINT64_C(1) << 31);
	CHECK(kept(&shadow, id - 800, id) > 780);
	for (unsigned n = 0; n < 600; n++)
		hpx_shadow_add(&shadow, id++, UINT64_C(1) << 31);
	CHECK(!hpx_shadow_take(&shadow, id - 600, 1));
	CHECK_EQ(hpx_shadow_init(&shadow, &memory.allocator, 1000), 0);
	for (unsigned n = 0; n < 900; n++)
		hpx_shadow_add(&shadow, id++, 1);
	CHECK(kept(&shadow, id - 900, id) > 870);
	hpx_shadow_fini(&shadow);
	CHECK_EQ(test_allocator_live(&memory), 0);
}
