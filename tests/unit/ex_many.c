/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Expiry of very many at once, in steps; when maintenance is needed; deadlines that are spread. */
#include "unit/removals.h"

TEST(CF_EX_11_a_million_at_one_instant_in_bounded_steps)
{
	struct tier t = {.r = {.fast = true}};
	uint64_t n = scaled(1000000), i, steps = 0, told = 0, before;
	hapax_put_options o = {HAPAX_PUT_OPTIONS_INIT};
	struct item *it;
	void *out;

	test_watchdog(300);
	tier_begin(&t, PUT, test_env_fake(), (hapax_cache_options){.max_entries = 2000000, .ttl_ns = 60000000000, .capacity = n});
	for (i = 0; i < n; i++) {
		it = tier_item(&t);
		CHECK_EQ(hapax_cache_put_with(t.cache, HAPAX_KEY_OF(i), it, &o), HAPAX_OK);
		hapax_release(it);
	}
	CHECK_EQ(stats_of(t.cache).retained, n);
	CHECK(hapax_cache_next_deadline(t.cache) <= fake_clock_now() + 61 * HAPAX_SECOND);
	fake_clock_advance(60000000000);
	CHECK_EQ(t.r.n, 0);
	/* ordinary calls do a little of it each: 16, and the one they ask for */
	for (i = 0; i < 200; i++) {
		before = told_so_far(&t.r);
		if (i % 2)
			CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_KEY_OF(i), &out), HAPAX_MISS);
		else
			CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_KEY_OF(i)), HAPAX_MISS);
		CHECK(told_so_far(&t.r) - before <= 17);
	}
	CHECK(told_so_far(&t.r) >= 200); /* each met its own, at least */
	do {
		before = told_so_far(&t.r);
		steps++;
		if (!hapax_cache_maintain(t.cache))
			break;
		told = told_so_far(&t.r) - before;
		CHECK(told <= 256);
	} while (1);
	CHECK_EQ(told_so_far(&t.r), n);
	CHECK(steps >= (n - 200 * 17) / 256);
	CHECK(steps <= n / 32); /* and each step does its part */
	CHECK_EQ(t.r.by_cause[HAPAX_CAUSE_EXPIRED], n);
	CHECK_EQ(hapax_cache_size(t.cache), 0);
	CHECK_EQ(t.s.destroyed, n);
	CHECK_EQ(hapax_cache_next_deadline(t.cache), HAPAX_FOREVER);
	tier_end(&t, 0);
}

/* The cache's own calls reclaim what nobody asks for, without maintain(). */
TEST(CF_EX_14_ordinary_calls_reclaim_what_has_expired)
{
	for (int form = 0; form < FORMS; form++) {
		for (int way = 0; way < 2; way++) {
			struct tier t = {0};
			int calls = 0;

			tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 10000, .ttl_ns = 1000000});
			for (int i = 0; i < 1000; i++)
				tier_fill(&t, k(i));
			fake_clock_advance(1000000);
			while (t.r.n < 1000) {
				void *out;

				CHECK(calls++ < 1000);
				if (way)
					tier_fill(&t, k(5000 + calls)); /* writes */
				else
					CHECK_EQ(hapax_cache_get_if_present(t.cache, HAPAX_STR("none"), &out), HAPAX_MISS);
			}
			TOLD(&t.r, 0, 0, 0, 1000, 0, 0);
			tier_end(&t, way ? (size_t)calls : 0);
		}
	}
}

/* An event loop that calls maintain() when next_deadline() says, and does nothing else. */
struct due {
	uint64_t deadline[3000];
	uint64_t told_at[3000];
};

static void when_told(struct removals *r, const hapax_removal *removal)
{
	struct due *d = r->arg;
	int i = atoi(r->all[r->n - 1].key);

	(void)removal;
	CHECK_EQ(d->told_at[i], 0);
	d->told_at[i] = fake_clock_now();
}

/* By how much later than `due` an event loop may be told, `from` when it asked: a 64th of what remained, or a millisecond. */
static uint64_t slack(uint64_t from, uint64_t due)
{
	uint64_t part = due > from ? (due - from) / 64 : 0;

	return part > HAPAX_MILLISECOND ? part : HAPAX_MILLISECOND;
}

TEST(CF_EX_14_SD_08_the_next_deadline_drives_an_event_loop)
{
	static struct due d;

	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		uint64_t rng = test_stream(14 + (uint64_t)form), asked, next;
		int n = 1500, wakes = 0;

		memset(&d, 0, sizeof(d));
		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 100000, .ttl_ns = 1000});
		t.r.then = when_told;
		t.r.arg = &d;
		CHECK_EQ(hapax_cache_next_deadline(t.cache), HAPAX_FOREVER);
		for (int i = 0; i < n; i++) {
			uint64_t ttl = 1 + (test_random(&rng) >> (64 - 1 - test_below(&rng, 45))); /* nanoseconds to hours */

			tier_fill(&t, k(i));
			CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR(k(i)), (int64_t)ttl), HAPAX_OK);
			CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR(k(i)), &d.deadline[i]), HAPAX_OK);
			CHECK_EQ(d.deadline[i], fake_clock_now() + ttl);
		}
		for (;;) {
			uint64_t earliest = UINT64_MAX;

			for (int i = 0; i < n; i++)
				if (!d.told_at[i] && d.deadline[i] < earliest)
					earliest = d.deadline[i];
			asked = fake_clock_now();
			next = hapax_cache_next_deadline(t.cache);
			if (earliest == UINT64_MAX)
				break;
			CHECK(next != HAPAX_FOREVER); /* the schedule re-arms as long as anything has an end */
			if (next > earliest + slack(asked, earliest))
				TEST_FAIL("due in %lld, woken in %lld", (long long)(earliest - asked), (long long)(next - asked));
			if (next > asked)
				fake_clock_set(next);
			tier_settle(&t);
			CHECK(wakes++ < 60 * n); /* and it does not spin */
		}
		CHECK_EQ(next, HAPAX_FOREVER);
		for (int i = 0; i < n; i++)
			CHECK(d.told_at[i] >= d.deadline[i]);
		CHECK_EQ(t.r.by_cause[HAPAX_CAUSE_EXPIRED], n);
		tier_end(&t, 0);
		fake_clock_set(HAPAX_SECOND);
	}
}

/* What is put after the wake-up was computed, and what has been given a shorter time, moves it. */
TEST(CF_EX_14_the_next_deadline_follows_changes)
{
	for (int form = 0; form < FORMS; form++) {
		struct tier t = {0};
		uint64_t now = fake_clock_now();

		tier_begin(&t, form, test_env_fake(), (hapax_cache_options){.max_entries = 100, .ttl_ns = 3600000000000});
		tier_fill(&t, "a");
		CHECK(hapax_cache_next_deadline(t.cache) <= now + 3600 * HAPAX_SECOND + slack(now, now + 3600 * HAPAX_SECOND));
		CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("a"), 5000000000), HAPAX_OK);
		CHECK(hapax_cache_next_deadline(t.cache) <= now + 5 * HAPAX_SECOND + slack(now, now + 5 * HAPAX_SECOND));
		tier_fill(&t, "b");
		CHECK_EQ(hapax_cache_set_ttl(t.cache, HAPAX_STR("b"), 10), HAPAX_OK);
		CHECK(hapax_cache_next_deadline(t.cache) <= now + 10 + HAPAX_MILLISECOND);
		fake_clock_advance(HAPAX_MILLISECOND + 10);
		tier_settle(&t);
		TOLD(&t.r, 0, 0, 0, 1, 0, 0);
		CHECK_STR(t.r.all[0].key, "b");
		CHECK_EQ(hapax_cache_remove(t.cache, HAPAX_STR("a")), HAPAX_OK);
		for (int i = 0; i < 4; i++) { /* what was due for it may still be in the books; it passes */
			uint64_t next = hapax_cache_next_deadline(t.cache);

			if (next == HAPAX_FOREVER)
				break;
			if (next > fake_clock_now())
				fake_clock_set(next);
			tier_settle(&t);
		}
		CHECK_EQ(hapax_cache_next_deadline(t.cache), HAPAX_FOREVER);
		tier_end(&t, 0);
	}
}

/* ---- jitter ---------------------------------------------------------------------------------------------------- */

static void deadlines_of(enum form form, uint64_t seed, double jitter, uint64_t out[], int n)
{
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .seed = seed};
	struct tier t = {0};

	fake_clock_set(HAPAX_SECOND);
	fake_clock_env(&eo);
	tier_begin(&t, form, test_env_options(&eo), (hapax_cache_options){.max_entries = 10000, .ttl_ns = 1000000,
			   .ttl_jitter = jitter});
	for (int i = 0; i < n; i++) {
		tier_fill(&t, k(i));
		CHECK_EQ(hapax_cache_deadline(t.cache, HAPAX_STR(k(i)), &out[i]), HAPAX_OK);
		out[i] -= HAPAX_SECOND;
	}
	tier_end(&t, (size_t)n);
}

TEST(CF_EX_16_deadlines_are_spread_and_repeatable)
{
	enum { N = 2000 };
	static uint64_t a[N], b[N], c[N];
	static const double jitters[] = {0.1, 0.5, 1.0};

	for (int form = 0; form < FORMS; form++) {
		for (int j = 0; j < 3; j++) {
			uint64_t least = (uint64_t)(1000000 * (1 - jitters[j])), sum = 0, low = UINT64_MAX, high = 0;
			int same = 0;

			deadlines_of(form, test_seed(), jitters[j], a, N);
			deadlines_of(form, test_seed(), jitters[j], b, N);
			deadlines_of(form, test_seed() ^ 0x5555, jitters[j], c, N);
			CHECK(!memcmp(a, b, sizeof(a)));
			for (int i = 0; i < N; i++) {
				CHECK(a[i] + 1 >= least && a[i] <= 1000000);
				sum += a[i];
				low = a[i] < low ? a[i] : low;
				high = a[i] > high ? a[i] : high;
				same += a[i] == c[i];
			}
			CHECK(same < N / 10);
			/* over the whole of it: the mean is near the middle, the ends are reached within 2 % */
			CHECK(sum / N > least + (1000000 - least) * 45 / 100 && sum / N < least + (1000000 - least) * 55 / 100);
			CHECK(low < least + (1000000 - least) / 50);
			CHECK(high > 1000000 - (1000000 - least) / 50);
		}
		deadlines_of(form, test_seed(), 0, a, N);
		for (int i = 0; i < N; i++)
			CHECK_EQ(a[i], 1000000);
	}
}
