/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The adaptive policy: what it is to be good at, one kind of requests at a time; and its memory of what has left. */
#include "unit/policies.h"

#include "policy/ghost.h"

static struct bed b;
static uint64_t hits, requests; /* when percent() was called */

static void begin_with(const hapax_policy *policy, uint64_t capacity)
{
	bed_begin(&b, policy, capacity);
	hits = requests = 0;
}

static void begin(uint64_t capacity)
{
	begin_with(hapax_policy_adaptive(), capacity);
	CHECK_EQ(b.policy->flags, HAPAX_POLICY_TOUCH);
	CHECK(b.policy->touch_max <= 3); /* two bits */
}

/* Hits in percent since the last call, or since the beginning. */
static unsigned percent(void)
{
	unsigned result;

	if (b.requests == requests)
		return 0;
	result = (unsigned)(100 * (b.hits - hits) / (b.requests - requests));
	hits = b.hits;
	requests = b.requests;
	return result;
}

static void circle(unsigned first, unsigned keys, unsigned rounds)
{
	for (unsigned i = 0; i < keys * rounds; i++)
		bed_get(&b, first + i % keys, 1);
	bed_check(&b);
}

static unsigned present(unsigned first, unsigned keys)
{
	unsigned n = 0;

	for (unsigned k = first; k < first + keys; k++)
		n += b.key[k].node != NULL;
	return n;
}

/* ---- kinds of requests ------------------------------------------------------------------------------------------- */

TEST(a_set_that_fits_is_kept_while_others_are_asked_for_once)
{
	begin(100);
	circle(0, 80, 5);
	for (unsigned k = 100; k < BED_KEYS; k++) {
		bed_get(&b, k, 1);
		if (k % 5 == 0)
			bed_get(&b, k / 5 % 80, 1);
	}
	CHECK(present(0, 80) >= 70);
	bed_end(&b);
}

/* The others are asked for twice, in quick succession: that is no proof either. */
TEST(a_set_that_fits_is_kept_while_others_are_asked_for_twice)
{
	begin(100);
	circle(0, 80, 5);
	for (unsigned k = 100; k < BED_KEYS; k++) {
		bed_get(&b, k, 1);
		bed_get(&b, k, 1);
		if (k % 5 == 0)
			bed_get(&b, k / 5 % 80, 1);
	}
	CHECK(present(0, 80) >= 70);
	bed_end(&b);
}

/* Of a circle larger than the cache a part is hit each time round: LRU has no hit at all. */
TEST(circles_are_hit_in_part)
{
	static const unsigned sizes[] = {110, 125, 150, 200, 300, 400, 1000, 4000};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		begin(100);
		circle(0, sizes[i], 20);
		percent();
		circle(0, sizes[i], 20);
		CHECK(percent() >= 70 * 100 / sizes[i]);
		bed_end(&b);
	}
}

/* Another circle, later: the part that is kept is one of that. */
TEST(an_abandoned_set_makes_room)
{
	begin(100);
	for (unsigned set = 0; set < 5; set++) {
		circle(set * 500, 90, 6);
		percent();
		circle(set * 500, 90, 6);
		CHECK(percent() >= 95);
	}
	bed_end(&b);
}

/* Each key is asked for twice, 10 others between: probation has to be longer than that, and becomes so. */
TEST(probation_grows_for_what_is_recent)
{
	begin(100);
	circle(0, 80, 5); /* popular ones that nobody wants any more */
	for (unsigned lap = 0; lap < 4; lap++) {
		percent();
		for (unsigned k = 110; k < 4000; k++) {
			bed_get(&b, k, 1);
			bed_get(&b, k - 10, 1);
		}
	}
	CHECK(percent() >= 48); /* of 50 */
	bed_end(&b);
}

/* And shrinks again: after that, most of the cache is popular keys between many that are asked for once. */
TEST(probation_shrinks_for_what_is_popular)
{
	uint64_t random = test_stream(3);

	begin(100);
	for (unsigned k = 110; k < 4000; k++) {
		bed_get(&b, k, 1);
		bed_get(&b, k - 10, 1);
	}
	for (unsigned i = 0; i < 40000; i++) {
		if (i == 20000)
			percent();
		bed_get(&b, i % 2 ? 200 + i / 2 % 3800 : (unsigned)test_below(&random, 100), 1);
	}
	CHECK(percent() >= 40); /* of 50; with half of the cache for probation, less than 30 */
	bed_end(&b);
}

TEST(skewed_requests_are_hit_more_often_than_by_lru)
{
	static const uint64_t sizes[] = {100, 300, 1000};
	unsigned adaptive, lru;

	for (unsigned i = 0; i < 3; i++) {
		uint64_t random = test_stream(4);

		begin(sizes[i]);
		for (unsigned r = 0; r < 60000; r++)
			bed_get(&b, bed_key(&random, BED_KEYS), 1);
		adaptive = percent();
		bed_end(&b);
		random = test_stream(4);
		begin_with(hapax_policy_lru(), sizes[i]);
		for (unsigned r = 0; r < 60000; r++)
			bed_get(&b, bed_key(&random, BED_KEYS), 1);
		lru = percent();
		bed_end(&b);
		CHECK(adaptive > lru);
	}
}

/* ---- the contract ------------------------------------------------------------------------------------------------ */

TEST(what_comes_first_is_kept_until_something_proves_itself)
{
	begin(100);
	for (unsigned k = 0; k < 1000; k++)
		bed_get(&b, k, 1);
	CHECK(present(0, 90) == 90);
	/* emptied, it begins anew: the part that stayed has no right to more */
	for (unsigned k = 10; k < 1000; k++) {
		if (b.key[k].node)
			bed_remove(&b, k);
	}
	for (unsigned k = 2000; k < 3000; k++)
		bed_get(&b, k, 1);
	CHECK(present(2000, 80) == 80);
	bed_end(&b);
}

TEST(the_newest_is_no_victim)
{
	for (uint64_t capacity = 1; capacity < 70; capacity++) {
		uint64_t random = test_stream(capacity);

		begin(capacity);
		for (unsigned i = 0; i < 500; i++) {
			unsigned key = bed_key(&random, 300);

			bed_get(&b, key, 1);
			CHECK(b.key[key].node);
		}
		bed_end(&b);
	}
}

TEST(a_write_is_a_use)
{
	begin(100);
	for (unsigned k = 0; k < 200; k++)
		bed_get(&b, k, 1);
	CHECK(b.key[0].node && b.key[199].node);
	for (unsigned i = 0; i < 3; i++) {
		bed_replace(&b, 0, 1);
		bed_replace(&b, 199, 1);
	}
	for (unsigned k = 300; k < 420; k++)
		bed_get(&b, k, 1);
	CHECK(b.key[0].node && b.key[199].node && !b.key[300].node);
	bed_check(&b);
	bed_end(&b);
}

TEST(the_same_requests_have_the_same_victims)
{
	static unsigned char victims[2][4096];

	for (unsigned run = 0; run < 2; run++) {
		uint64_t random = test_stream(9);

		begin(64);
		for (unsigned i = 0; i < 4096; i++) {
			uint64_t before = b.count;

			bed_get(&b, bed_key(&random, 500), 1);
			victims[run][i] = (unsigned char)(before + present(0, 250));
		}
		bed_end(&b);
	}
	CHECK(!memcmp(victims[0], victims[1], sizeof(victims[0])));
}

TEST(CF_EV_11_shrinking_evicts_and_growing_keeps)
{
	begin(1000);
	circle(0, 900, 6);
	bed_resize(&b, 100);
	CHECK_EQ(b.count, 100);
	bed_check(&b);
	circle(0, 80, 6);
	percent();
	circle(0, 80, 6);
	CHECK_EQ(percent(), 100);
	bed_resize(&b, 1000);
	CHECK_EQ(b.count, 100);
	CHECK_EQ(present(0, 80), 80);
	circle(0, 900, 6);
	percent();
	circle(0, 900, 6);
	CHECK(percent() >= 95);
	bed_end(&b);
}

TEST(random_operations)
{
	begin(37);
	bed_fuzz(&b, 1, test_slow_build() ? 5000 : 30000, 200, 1, false);
	bed_end(&b);
	begin(500);
	bed_fuzz(&b, 2, test_slow_build() ? 3000 : 10000, 2000, 1, true);
	bed_end(&b);
}

TEST(random_operations_by_weight)
{
	begin(5000);
	bed_fuzz(&b, 3, test_slow_build() ? 2000 : 10000, 1000, 300, true);
	bed_end(&b);
	begin(UINT64_C(1) << 40);
	bed_fuzz(&b, 4, test_slow_build() ? 2000 : 10000, 1000, UINT64_C(1) << 33, true);
	bed_end(&b);
}

/* By weight as by number: the circle's nodes have 64 each. */
TEST(circles_of_heavy_nodes_are_hit_in_part)
{
	begin(6400);
	for (unsigned i = 0; i < 150 * 40; i++) {
		if (i == 150 * 20)
			percent();
		bed_get(&b, i % 150, 64);
	}
	CHECK(percent() >= 56);
	bed_end(&b);
}

TEST(one_eviction_looks_at_a_bounded_number)
{
	unsigned passed = 0;

	begin(BED_KEYS);
	for (unsigned k = 0; k < BED_KEYS; k++) {
		bed_get(&b, k, 1);
		for (unsigned i = 0; i < 3; i++)
			bed_hit(&b, k);
	}
	bed_evict(&b);
	for (unsigned k = 0; k < BED_KEYS; k++)
		passed += b.key[k].node && !b.key[k].node->touched;
	CHECK(passed > 0 && passed <= 65);
	bed_end(&b);
}

TEST(hits_from_other_threads)
{
	bed_storm(hapax_policy_adaptive());
}

TEST(from_one_to_more_than_all)
{
	bed_extremes(hapax_policy_adaptive());
}

TEST(CX_MEM_01_without_memory)
{
	CHECK(bed_without_memory(hapax_policy_adaptive(), 1000) >= 1);
	/* All but its state refused: it works, and has no memory of what left. */
	memset(&b, 0, sizeof(b));
	b.policy = hapax_policy_adaptive();
	b.capacity = 100;
	test_allocator_init(&b.memory, 0);
	b.memory.fail_from = 2;
	for (unsigned k = 0; k < BED_KEYS; k++)
		b.key[k].id = k;
	CHECK_EQ(b.policy->create(&b.state, 100, &b.memory.allocator, b.policy->ctx), 0);
	CHECK(b.memory.failures > 0);
	circle(0, 400, 20);
	CHECK(percent() >= 20);
	bed_fuzz(&b, 5, 3000, 300, 1, false);
	bed_resize(&b, 10);
	bed_resize(&b, 300);
	bed_fuzz(&b, 6, 3000, 900, 1, false);
	bed_end(&b);
}

TEST(check_tells)
{
	char message[200] = "";
	hapax_policy_node *node;

	begin(100);
	circle(0, 300, 2);
	for (unsigned k = 0; !(node = b.key[k].node);)
		k++;
	node->mark += UINT64_C(1) << 40;
	CHECK_EQ(b.policy->check(b.state, message, sizeof(message)), -1);
	CHECK(strstr(message, "used"));
	node->mark -= UINT64_C(1) << 40;
	node->weight++;
	CHECK_EQ(b.policy->check(b.state, message, sizeof(message)), -1);
	CHECK(strstr(message, "weight"));
	node->weight--;
	node->list ^= 1;
	CHECK_EQ(b.policy->check(b.state, message, sizeof(message)), -1);
	CHECK(strstr(message, "queue"));
	node->list ^= 1;
	bed_end(&b);
}

/* ---- ghosts ------------------------------------------------------------------------------------------------------ */

static struct hpx_ghost ghost;
static struct test_allocator memory;

static void ghost_begin(uint64_t entries)
{
	test_allocator_init(&memory, 0);
	CHECK(hpx_ghost_init(&ghost, entries, &memory.allocator));
	hpx_ghost_fit(&ghost, entries);
	ghost.limit[0] = ghost.limit[1] = entries / 2;
}

static void ghost_end(void)
{
	hpx_ghost_fini(&ghost, &memory.allocator);
	CHECK_EQ(test_allocator_live(&memory), 0);
}

/* Beside all that was ever put: what is found is right, what is not was old or unlucky, and few are. */
TEST(ghosts_beside_a_list)
{
	static const uint64_t sizes[] = {2, 10, 100, 1000, 100000};
	static struct {
		uint64_t left, used;
		int kind; /* -1: not put, or taken */
	} known[200000];

	for (unsigned s = 0; s < 5; s++) {
		uint64_t random = test_stream(s), left[2] = {0, 0}, unit, found = 0, lost = 0, wrong = 0;

		ghost_begin(sizes[s]);
		unit = UINT64_C(1) << ghost.shift;
		CHECK(unit == 1 || sizes[s] / unit >= 1 << 10);
		for (unsigned i = 0; i < 200000; i++)
			known[i].kind = -1;
		for (unsigned i = 0; i < 200000; i++) {
			uint64_t id = test_below(&random, 2 * sizes[s]);
			unsigned kind = test_below(&random, 4) == 0;
			struct hpx_ghost_found f;

			ghost.clock++;
			if (hpx_ghost_take(&ghost, id, &f)) {
				uint64_t age, idle;

				age = left[f.kind] - known[id].left;
				idle = ghost.clock - known[id].used;
				if (known[id].kind == (int)f.kind && f.age + unit > age && f.age < age + unit &&
				    f.idle + 2 * unit > idle && f.idle < idle + 2 * unit)
					found++;
				else
					wrong++; /* another's fingerprint */
			} else if (known[id].kind >= 0 &&
				   left[known[id].kind] - known[id].left + unit < ghost.limit[known[id].kind] * 3 / 4) {
				lost++;
			}
			known[id].kind = (int)kind;
			known[id].left = left[kind]++;
			known[id].used = ghost.clock - test_below(&random, sizes[s]) % (ghost.clock + 1);
			hpx_ghost_put(&ghost, id, kind, known[id].used);
		}
		CHECK(found > 20000);
		CHECK(lost < found / 10);
		CHECK(wrong < 10);
		ghost_end();
	}
}

TEST(ghosts_go_at_their_limit)
{
	struct hpx_ghost_found f;

	ghost_begin(1000);
	ghost.limit[0] = 10;
	ghost.limit[1] = 500;
	hpx_ghost_put(&ghost, 1, 0, 0);
	hpx_ghost_put(&ghost, 2, 1, 0);
	hpx_ghost_put(&ghost, 3, 0, 0);
	for (unsigned i = 0; i < 9; i++)
		hpx_ghost_put(&ghost, 100 + i, 0, 0);
	CHECK(!hpx_ghost_take(&ghost, 1, &f));
	CHECK(hpx_ghost_take(&ghost, 3, &f) && f.kind == 0 && f.age == 10);
	CHECK(hpx_ghost_take(&ghost, 2, &f) && f.kind == 1 && f.age == 1);
	CHECK(!hpx_ghost_take(&ghost, 2, &f));
	ghost_end();
}

TEST(ghosts_with_little_memory)
{
	struct hpx_ghost_found f;

	test_allocator_init(&memory, 0);
	memory.fail_from = 1;
	CHECK(!hpx_ghost_init(&ghost, 1000, &memory.allocator));
	hpx_ghost_fit(&ghost, 1000);
	hpx_ghost_put(&ghost, 1, 0, 0);
	CHECK(!hpx_ghost_take(&ghost, 1, &f));
	ghost_end();
	/* the first is refused, a smaller one is not */
	test_allocator_init(&memory, 1);
	CHECK(hpx_ghost_init(&ghost, 1000, &memory.allocator));
	CHECK_EQ(memory.calls, 2);
	hpx_ghost_fit(&ghost, 1000);
	CHECK_EQ(ghost.lines, ghost.reserved);
	ghost.limit[0] = 1000;
	hpx_ghost_put(&ghost, 1, 0, 0);
	CHECK(hpx_ghost_take(&ghost, 1, &f));
	ghost_end();
}

TEST(ghosts_use_memory_as_they_come)
{
	struct hpx_ghost_found f;

	test_allocator_init(&memory, 0);
	CHECK(hpx_ghost_init(&ghost, 100000, &memory.allocator));
	CHECK_EQ(ghost.lines, 0);
	hpx_ghost_fit(&ghost, 60);
	CHECK(ghost.lines >= 10 && ghost.lines <= 12);
	ghost.limit[0] = 60;
	hpx_ghost_put(&ghost, 1, 0, 0);
	hpx_ghost_fit(&ghost, 60);
	CHECK(hpx_ghost_take(&ghost, 1, &f));
	hpx_ghost_put(&ghost, 1, 0, 0);
	hpx_ghost_fit(&ghost, 80);
	CHECK(ghost.lines >= 20 && ghost.lines <= 24);
	CHECK(!hpx_ghost_take(&ghost, 1, &f)); /* growing forgets */
	hpx_ghost_fit(&ghost, UINT64_MAX / 2);
	CHECK_EQ(ghost.lines, ghost.reserved);
	ghost_end();
}
