/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The timer wheel against a list that is searched from end to end; what a call costs; going back; cancelling; jitter. */
#include "support/support.h"

#include "expiry/jitter.h"
#include "expiry/wheel.h"

#define MS UINT64_C(1048576)
#define DAY UINT64_C(86400000000000)

static void check(const struct hpx_wheel *w)
{
	char message[200] = "";

	if (!hpx_wheel_check(w, message, sizeof message))
		TEST_FAIL("%s", message);
}

/* All that is due, in calls of `max`; how many; none early. */
static size_t drain(struct hpx_wheel *w, uint64_t now, unsigned max)
{
	struct hpx_timer *list, *next;
	size_t taken = 0, before, left;
	uint64_t steps;
	unsigned n;

	do {
		steps = w->steps;
		left = w->count;
		before = taken;
		n = hpx_wheel_due(w, now, &list, max);
		CHECK(n <= max);
		CHECK(w->steps - steps <= max + HPX_WHEEL_SLOTS);
		for (; list; list = next) {
			next = list->next;
			CHECK(list->due <= now);
			CHECK(!list->linked);
			/* order: EXPIRY.CANCEL relaxed; this thread's */
			hpx_store_relaxed(&list->entry, NULL);
			taken++;
		}
		CHECK(taken - before <= n);
		CHECK_EQ(left - w->count, taken - before);
	} while (n);
	return taken;
}

/* ---- one timer --------------------------------------------------------------------------------------------------- */

TEST(a_timer_is_due_at_its_instant_and_not_before)
{
	static struct hpx_wheel w;

	for (unsigned bit = 0; bit < 64; bit++)
		for (unsigned from = 0; from < 3; from++) {
			uint64_t start = from == 0 ? 0 : from == 1 ? 12345678987654321 : UINT64_C(0x0fffffffffffffff);
			uint64_t due = UINT64_C(1) << bit;
			struct hpx_timer t = {.due = 0}, *list;

			if (due > UINT64_MAX - 1 - start)
				continue;
			due += start;
			hpx_wheel_init(&w, start);
			CHECK(hpx_wheel_empty(&w));
			CHECK_EQ(hpx_wheel_next(&w), UINT64_MAX);
			hpx_wheel_add(&w, &t, due);
			CHECK_EQ(hpx_wheel_next(&w), due);
			CHECK_EQ(drain(&w, due - 1, 1), 0);
			check(&w);
			CHECK_EQ(hpx_wheel_next(&w), due);
			CHECK_EQ(hpx_wheel_due(&w, due, &list, 1), 1);
			CHECK_PTR(list, &t);
			CHECK(!list->next);
			CHECK(hpx_wheel_empty(&w));
			check(&w);
		}
}

TEST(due_in_the_past_now_and_at_the_end_of_time)
{
	static struct hpx_wheel w;
	struct hpx_timer past = {.due = 0}, present = past, last = past, *list;

	hpx_wheel_init(&w, 1000);
	hpx_wheel_add(&w, &last, UINT64_MAX - 1);
	hpx_wheel_add(&w, &present, 1000);
	hpx_wheel_add(&w, &past, 1);
	CHECK_EQ(hpx_wheel_next(&w), 1);
	CHECK_EQ(drain(&w, 1000, 2), 2);
	CHECK_EQ(hpx_wheel_next(&w), UINT64_MAX - 1);
	CHECK_EQ(drain(&w, UINT64_MAX - 2, 5), 0);
	CHECK_EQ(hpx_wheel_due(&w, UINT64_MAX - 1, &list, 5), 1);
	CHECK_PTR(list, &last);
	check(&w);
	/* and then */
	hpx_wheel_add(&w, &past, 7);
	hpx_wheel_add(&w, &last, UINT64_MAX);
	check(&w);
	CHECK_EQ(drain(&w, 7, 5), 1);
	CHECK_EQ(drain(&w, UINT64_MAX, 5), 1);
	check(&w);
}

TEST(adding_again_moves_and_removing_twice_is_nothing)
{
	static struct hpx_wheel w;
	struct hpx_timer a = {.due = 0}, b = a;

	hpx_wheel_init(&w, 0);
	hpx_wheel_add(&w, &a, 5 * MS);
	hpx_wheel_add(&w, &b, 5 * MS);
	hpx_wheel_add(&w, &a, 500 * MS);
	CHECK_EQ(w.count, 2);
	check(&w);
	CHECK_EQ(drain(&w, 5 * MS, 3), 1);
	hpx_wheel_add(&w, &a, 2); /* into the open list, by now in the past */
	check(&w);
	hpx_wheel_remove(&w, &a);
	hpx_wheel_remove(&w, &a);
	hpx_wheel_remove(&w, &b);
	CHECK(hpx_wheel_empty(&w));
	CHECK_EQ(hpx_wheel_next(&w), UINT64_MAX);
	CHECK_EQ(drain(&w, 1000 * MS, 3), 0);
}

/* ---- what it costs ------------------------------------------------------------------------------------------------- */

#define MANY 100000

/* One slot of a high level holds them all: opening it is one step, and the rest a step per timer and call. */
TEST(a_huge_slot_is_taken_in_pieces)
{
	struct hpx_timer *timers = calloc(MANY, sizeof *timers), *list;
	struct hpx_wheel *w = malloc(sizeof *w);
	uint64_t state = test_stream(1);
	size_t taken = 0;
	unsigned calls = 0;

	hpx_wheel_init(w, 0);
	for (size_t i = 0; i < MANY; i++)
		hpx_wheel_add(w, &timers[i], 10 * DAY + test_below(&state, DAY));
	check(w);
	CHECK_EQ(hpx_wheel_due(w, 9 * DAY, &list, 16), 0);
	/* in the middle of the day: those after it are put elsewhere, in bounded pieces too */
	while (hpx_wheel_due(w, 10 * DAY + DAY / 2, &list, 16)) {
		calls++;
		for (; list; list = list->next, taken++)
			CHECK(list->due <= 10 * DAY + DAY / 2);
	}
	CHECK(calls <= MANY / 16 * HPX_WHEEL_LEVELS);
	CHECK(taken > MANY / 3 && taken < MANY * 2 / 3);
	check(w);
	CHECK_EQ(drain(w, UINT64_MAX - 1, 16), MANY - taken); /* centuries later */
	CHECK(hpx_wheel_empty(w));
	free(timers);
	free(w);
}

/* Every timer is handled at most once per level, however often the wheel is looked at. */
TEST(the_cost_of_a_timer_is_bounded_by_the_levels)
{
	struct hpx_timer *timers = calloc(1000, sizeof *timers);
	static struct hpx_wheel w;
	uint64_t state = test_stream(2), now = 0, next;
	size_t taken = 0;
	unsigned turns = 0;

	hpx_wheel_init(&w, 0);
	for (size_t i = 0; i < 1000; i++)
		hpx_wheel_add(&w, &timers[i], 1 + test_below(&state, DAY));
	while ((next = hpx_wheel_next(&w)) != UINT64_MAX) {
		CHECK(next >= now);
		CHECK(next > now || w.open);
		now = next;
		taken += drain(&w, now, 7);
		turns++;
	}
	CHECK_EQ(taken, 1000);
	CHECK(turns <= 1000 * HPX_WHEEL_LEVELS);
	CHECK(w.steps <= 1000 * HPX_WHEEL_LEVELS);
	free(timers);
}

/* ---- against a list ------------------------------------------------------------------------------------------------ */

#define TIMERS 300

struct reference {
	struct hpx_wheel w;
	struct hpx_timer timers[TIMERS];
	bool in[TIMERS];
	uint64_t due[TIMERS];
	uint64_t now, state;
};

static uint64_t some_time(struct reference *r)
{
	switch (test_below(&r->state, 6)) {
	case 0:
		return test_below(&r->state, 100);
	case 1:
		return test_below(&r->state, MS);
	case 2:
		return test_below(&r->state, 1000 * MS);
	case 3:
		return test_below(&r->state, 100 * DAY);
	case 4:
		return UINT64_C(1) << test_below(&r->state, 60);
	default:
		return test_below(&r->state, 64) << (6 * test_below(&r->state, 8));
	}
}

static void look(struct reference *r, bool whole)
{
	uint64_t earliest = UINT64_MAX, next = hpx_wheel_next(&r->w);
	size_t in = 0;

	for (unsigned i = 0; i < TIMERS; i++) {
		in += r->in[i];
		CHECK_EQ(r->in[i], r->timers[i].linked);
		if (r->in[i] && r->due[i] < earliest)
			earliest = r->due[i];
		CHECK(!whole || !r->in[i] || r->due[i] > r->now);
	}
	CHECK_EQ(in, r->w.count);
	CHECK(next <= earliest);
	CHECK((next == UINT64_MAX) == !in);
	check(&r->w);
}

static void take(struct reference *r, unsigned most)
{
	struct hpx_timer *list;
	unsigned max, n;

	do {
		max = 1 + (unsigned)test_below(&r->state, 40);
		n = hpx_wheel_due(&r->w, r->now, &list, max);
		CHECK(n <= max);
		for (; list; list = list->next) {
			CHECK(r->in[list - r->timers]);
			CHECK(r->due[list - r->timers] <= r->now);
			r->in[list - r->timers] = false;
		}
		if (!n) {
			look(r, true);
			return;
		}
	} while (most--);
}

static void against_the_list(uint64_t stream, bool back, unsigned operations)
{
	struct reference *r = calloc(1, sizeof *r);
	unsigned i, what;
	uint64_t step;

	r->state = test_stream(stream);
	r->now = stream % 3 ? DAY : 0;
	hpx_wheel_init(&r->w, r->now);
	while (operations--) {
		what = (unsigned)test_below(&r->state, 16);
		i = (unsigned)test_below(&r->state, TIMERS);
		if (what < 7) {
			step = some_time(r);
			r->due[i] = test_below(&r->state, 8) ? r->now + step : r->now - (step < r->now ? step : r->now);
			r->in[i] = true;
			hpx_wheel_add(&r->w, &r->timers[i], r->due[i]);
		} else if (what < 10) {
			hpx_wheel_remove(&r->w, &r->timers[i]);
			r->in[i] = false;
		} else if (what < 13) {
			step = some_time(r);
			if (r->now < UINT64_MAX / 4)
				r->now += step;
			else
				r->now = DAY; /* far back */
		} else if (what == 13 && back) {
			step = some_time(r);
			r->now -= step < r->now ? step : r->now;
		} else {
			take(r, what == 14 ? 0 : 1000);
		}
		if (!test_below(&r->state, 64))
			look(r, false);
	}
	take(r, UINT32_MAX);
	r->now = UINT64_MAX - 1;
	take(r, UINT32_MAX);
	CHECK(hpx_wheel_empty(&r->w));
	free(r);
}

TEST(random_operations_against_a_list)
{
	for (uint64_t stream = 10; stream < 15; stream++)
		against_the_list(stream, false, 20000);
}

TEST(random_operations_with_a_clock_that_goes_back)
{
	for (uint64_t stream = 20; stream < 25; stream++)
		against_the_list(stream, true, 20000);
}

/* ---- going back ---------------------------------------------------------------------------------------------------- */

TEST(what_is_due_after_a_step_back_is_due_at_its_own_instant)
{
	static struct hpx_wheel w;
	struct hpx_timer early = {.due = 0}, late = early, later = early;
	uint64_t steps;

	hpx_wheel_init(&w, 100 * DAY);
	hpx_wheel_add(&w, &late, 100 * DAY + 3);
	hpx_wheel_add(&w, &later, 200 * DAY);
	CHECK_EQ(drain(&w, DAY, 4), 0);
	steps = w.steps;
	hpx_wheel_add(&w, &early, DAY + 5); /* the clock says DAY */
	CHECK_EQ(drain(&w, DAY + 4, 4), 0);
	check(&w);
	CHECK(w.steps - steps <= HPX_WHEEL_SLOTS);
	CHECK_EQ(hpx_wheel_next(&w), DAY + 5);
	CHECK_EQ(drain(&w, DAY + 5, 4), 1);
	CHECK_EQ(drain(&w, 100 * DAY + 2, 4), 0);
	CHECK_EQ(drain(&w, 100 * DAY + 3, 4), 1);
	CHECK_EQ(drain(&w, 200 * DAY - 1, 4), 0);
	CHECK_EQ(drain(&w, 200 * DAY, 4), 1);
}

/* What was due, and had been moved to the open list, but not taken, when the clock went back. */
TEST(an_open_list_closes_when_time_goes_back)
{
	struct hpx_timer timers[50] = {{.due = 0}}, *list;
	static struct hpx_wheel w;

	hpx_wheel_init(&w, 0);
	for (unsigned i = 0; i < 50; i++)
		hpx_wheel_add(&w, &timers[i], DAY + i);
	CHECK_EQ(hpx_wheel_due(&w, 2 * DAY, &list, 10), 10);
	CHECK_EQ(drain(&w, DAY - 1, 7), 0);
	check(&w);
	CHECK_EQ(w.count, 40);
	CHECK_EQ(hpx_wheel_next(&w) > DAY - 1, 1);
	for (unsigned i = 0; i < 50; i++)
		CHECK(drain(&w, DAY + i, 7) <= 1);
	CHECK(hpx_wheel_empty(&w));
}

/* ---- next ---------------------------------------------------------------------------------------------------------- */

/* Whatever lies where, the wheel is looked at in time: never later than the earliest. */
TEST(the_next_time_is_never_late)
{
	static struct hpx_timer timers[200];
	static struct hpx_wheel w;
	uint64_t state = test_stream(3), earliest = UINT64_MAX, now = 0, next;

	hpx_wheel_init(&w, 0);
	for (unsigned i = 0; i < 200; i++) {
		uint64_t due = DAY + test_below(&state, MS);

		earliest = due < earliest ? due : earliest;
		hpx_wheel_add(&w, &timers[i], due);
	}
	for (unsigned turns = 0; now < earliest; turns++) {
		CHECK(turns < HPX_WHEEL_LEVELS);
		next = hpx_wheel_next(&w);
		CHECK(next > now && next <= earliest);
		now = next;
		CHECK_EQ(drain(&w, now, 9) > 0, now == earliest);
	}
}

/* ---- cancelling ---------------------------------------------------------------------------------------------------- */

TEST(cancelled_timers_come_back_once_wherever_they_are)
{
	struct hpx_timer timers[6] = {{.due = 0}}, *list, *t;
	static struct hpx_wheel w;
	unsigned n = 0;

	hpx_wheel_init(&w, 0);
	CHECK(!hpx_wheel_cancelled(&w));
	for (unsigned i = 0; i < 5; i++)
		hpx_wheel_add(&w, &timers[i], i * MS);
	CHECK_EQ(hpx_wheel_due(&w, MS, &list, 2), 2);
	hpx_wheel_cancel(&w, &timers[0]); /* handed out */
	hpx_wheel_cancel(&w, &timers[3]);
	hpx_wheel_cancel(&w, &timers[5]); /* never added */
	CHECK(hpx_wheel_has_cancelled(&w));
	CHECK_EQ(w.count, 3);
	for (t = hpx_wheel_cancelled(&w); t; t = t->cancelled, n++)
		CHECK(t == &timers[0] || t == &timers[3] || t == &timers[5]);
	CHECK_EQ(n, 3);
	CHECK_PTR(list->next, list == &timers[0] ? &timers[1] : &timers[0]); /* the list handed out is as it was */
	CHECK(!hpx_wheel_has_cancelled(&w));
	CHECK(!hpx_wheel_cancelled(&w));
	CHECK_EQ(w.count, 2);
	check(&w);
	CHECK_EQ(drain(&w, 10 * MS, 9), 2);
}

struct rivals {
	struct hpx_wheel w;
	pthread_mutex_t lock;
	struct hpx_timer *timers;
	uint64_t seed;
	unsigned per;
	hpx_u32 freed, over;
};

static void freed(struct rivals *r, struct hpx_timer *t)
{
	CHECK(!t->linked);
	t->due = 1; /* the holder's: a race if anybody uses it still */
	hpx_add_relaxed(&r->freed, 1); /* order: EXPIRY.CANCEL relaxed; a count */
}

/* Each thread cancels its share while thread 0 hands out what is due: every timer is freed once, by the lock's holder. */
static void rival(unsigned index, void *arg)
{
	struct rivals *r = arg;
	struct hpx_timer *t, *list, *next;
	uint64_t state = r->seed + index, now = 0;

	for (unsigned i = 0; index && i < r->per; i++) {
		t = &r->timers[(index - 1) * r->per + i];
		/* order: -> EXPIRY.CANCEL acq_rel; as the owner of a wheel does */
		if (hpx_exchange_acq_rel(&t->entry, NULL)) {
			CHECK(*(volatile uint64_t *)&t->due < 2000 * MS); /* the last use: a race with freed(), if there were no order */
			hpx_wheel_cancel(&r->w, t);
		}
		if (!test_below(&state, 16)) {
			pthread_mutex_lock(&r->lock);
			for (t = hpx_wheel_cancelled(&r->w); t; t = next) {
				next = t->cancelled;
				freed(r, t);
			}
			pthread_mutex_unlock(&r->lock);
		}
	}
	while (!index && now < 3000 * MS) {
		pthread_mutex_lock(&r->lock);
		now += MS;
		hpx_wheel_due(&r->w, now, &list, 8);
		for (; list; list = next) {
			next = list->next;
			/* order: -> EXPIRY.CANCEL acq_rel; as the owner of a wheel does */
			if (hpx_exchange_acq_rel(&list->entry, NULL))
				freed(r, list);
		}
		pthread_mutex_unlock(&r->lock);
	}
}

TEST(many_cancel_while_one_hands_out)
{
	struct rivals *r = calloc(1, sizeof *r);
	struct hpx_timer *t, *next;
	unsigned threads = 3, all;

	r->per = test_slow_build() ? 300 : 3000;
	all = threads * r->per;
	r->seed = test_stream(4);
	r->timers = calloc(all, sizeof *r->timers);
	pthread_mutex_init(&r->lock, NULL);
	hpx_wheel_init(&r->w, 0);
	for (unsigned i = 0; i < all; i++) {
		hpx_init(&r->timers[i].entry, (void *)r);
		hpx_wheel_add(&r->w, &r->timers[i], test_below(&r->seed, 2000 * MS));
	}
	run_threads(threads + 1, rival, r);
	for (t = hpx_wheel_cancelled(&r->w); t; t = next) {
		next = t->cancelled;
		freed(r, t);
	}
	CHECK_EQ(hpx_load_relaxed(&r->freed), all);
	CHECK(hpx_wheel_empty(&r->w));
	check(&r->w);
	free(r->timers);
	free(r);
}

/* ---- the check itself ---------------------------------------------------------------------------------------------- */

TEST(the_check_sees_what_is_wrong)
{
	struct hpx_timer a = {.due = 0}, b = a;
	static struct hpx_wheel w;
	char message[100];

	hpx_wheel_init(&w, 0);
	hpx_wheel_add(&w, &a, 5 * MS);
	hpx_wheel_add(&w, &b, 0);
	check(&w);
	a.due++;
	check(&w); /* the same slot */
	a.due *= 1000;
	CHECK(!hpx_wheel_check(&w, message, sizeof message));
	CHECK_STR(message, "wheel: a timer in a wrong slot");
	a.due /= 1000;
	w.count++;
	CHECK(!hpx_wheel_check(&w, message, sizeof message));
	w.count -= 2;
	CHECK(!hpx_wheel_check(&w, message, sizeof message));
	w.count++;
	w.bits[3] ^= 1;
	CHECK(!hpx_wheel_check(&w, message, sizeof message));
	w.bits[3] ^= 1;
	w.open_due = 1;
	CHECK(!hpx_wheel_check(&w, message, sizeof message));
	w.open_due = 0;
	check(&w);
}

/* ---- jitter -------------------------------------------------------------------------------------------------------- */

static const double fractions[] = {0x1p-60, 1e-9, 0.01, 0.1, 0.5, 2.0 / 3, 0.999999999, 1, 3};

TEST(CF_EX_16_jitter_stays_in_its_interval_and_is_monotone)
{
	uint64_t state = test_stream(5), ttl, more, random, j;

	for (unsigned i = 0; i < 100000; i++) {
		double f = fractions[i % (sizeof fractions / sizeof *fractions)];

		ttl = test_random(&state) >> test_below(&state, 64);
		random = test_below(&state, 8) ? test_random(&state) : test_below(&state, 2) ? UINT64_MAX : 0;
		j = hpx_jitter(ttl, f, random);
		CHECK(j <= ttl);
		if (f < 1) /* in long double: 64 bits of mantissa */
			CHECK((long double)j >= (long double)ttl * (1 - (long double)f) * (1 - 0x1p-62L) - 1e-9L);
		more = ttl + (test_random(&state) >> test_below(&state, 64));
		CHECK(more < ttl || hpx_jitter(more, f, random) >= j);
		CHECK(random == UINT64_MAX || hpx_jitter(ttl, f, random + 1) <= j);
		CHECK_EQ(hpx_jitter(ttl, f, random), j);
	}
}

TEST(CF_EX_16_jitter_reaches_both_ends_and_what_is_between)
{
	uint64_t state = test_stream(6), j;
	unsigned lower = 0;

	CHECK_EQ(hpx_jitter(1000, 0.25, 0), 1000);
	CHECK_EQ(hpx_jitter(1000, 0.25, UINT64_MAX), 750);
	CHECK_EQ(hpx_jitter(1000, 1, UINT64_MAX), 0);
	CHECK_EQ(hpx_jitter(UINT64_MAX - 1, 1, UINT64_MAX), 0);
	CHECK_EQ(hpx_jitter(0, 1, 12345), 0);
	for (unsigned i = 0; i < 10000; i++) {
		j = hpx_jitter(1000000, 0.5, test_random(&state));
		CHECK(j >= 500000 && j <= 1000000);
		lower += j < 750000;
	}
	CHECK(lower > 4000 && lower < 6000); /* twenty deviations */
}

TEST(CF_EX_16_without_a_fraction_the_ttl_is_as_it_is)
{
	volatile double zero = 0;

	CHECK_EQ(hpx_jitter(1000, 0, UINT64_MAX), 1000);
	CHECK_EQ(hpx_jitter(1000, -1, UINT64_MAX), 1000);
	CHECK_EQ(hpx_jitter(1000, zero / zero, UINT64_MAX), 1000);
	CHECK_EQ(hpx_jitter(UINT64_MAX, 1, UINT64_MAX), UINT64_MAX);
}
