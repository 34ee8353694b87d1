/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Histories of concurrent calls, recorded and judged; and the judge judged. */
#include "histories/histories.h"
#include "unit/cached.h"

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wunused-function"
#else
#pragma GCC diagnostic ignored "-Wunused-function"
#endif

HPX_LIN_SPACE(space, 1 << 14);

static void loiter(const char *name, void *ctx)
{
	(void)name;
	(void)ctx;
	hpx_rounds_dawdle();
}

/* ---- hapax ------------------------------------------------------------------------------------------------------- */

struct tally {
	hpx_rng rng;
	uint64_t corrupted[HPX_CORRUPTIONS];
	struct hpx_corrupted wrong;
};

static bool judge(struct hpx_rounds *r, struct hpx_history *history, uint64_t round)
{
	struct tally *tally = r->ctx;
	struct hpx_lin_verdict verdict = hpx_history_check(history, &space);
	struct hpx_lin_history all = hpx_history_all(history);
	enum hpx_corruption how = (enum hpx_corruption)(round % HPX_CORRUPTIONS);

	if (verdict.answer != HPX_LIN_HOLDS) {
		hpx_lin_print(stderr, &all, &verdict);
		TEST_FAIL("round %llu of %s: %s", (unsigned long long)round, hpx_subject_names[r->subject], verdict.why);
	}
	if (!hpx_corrupt(&tally->wrong, &all, how, &tally->rng))
		return true;
	tally->corrupted[how]++;
	verdict = hpx_lin_check(&space, &tally->wrong.history);
	if (verdict.answer != HPX_LIN_BROKEN) {
		hpx_lin_print(stderr, &tally->wrong.history, &verdict);
		TEST_FAIL("round %llu, corrupted (%s), was not rejected", (unsigned long long)round,
			  hpx_corruption_names[how]);
	}
	return true;
}

static bool judged(const struct tally *tally, enum hpx_subject subject)
{
	return (tally->corrupted[HPX_CORRUPT_RISEN] || subject == HPX_SUBJECT_BOUNDED) && tally->corrupted[HPX_CORRUPT_LOST_PUT];
}

/* Until there was something to corrupt in both ways: what threads do to each other is a matter of chance. */
static void histories_of(enum hpx_subject subject)
{
	static struct tally tally;
	uint64_t rounds = scaled(2000);

	tally.rng = hpx_rng_stream(test_seed(), 7);
	hapax_testing_set_stop(loiter, NULL);
	for (unsigned part = 0; part < 50 && (!part || !judged(&tally, subject)); part++) {
		struct hpx_rounds r = {.env = test_env(), .subject = subject, .threads = 3, .first = 1 + part * rounds,
				       .rounds = rounds, .seed = test_seed(), .judge = judge, .ctx = &tally};

		CHECK_EQ(hpx_rounds_run(&r), HAPAX_OK);
		CHECK_EQ(r.played, r.rounds);
		CHECK_EQ(r.unexpected, 0);
		CHECK_EQ(r.leftovers, 0);
		CHECK(r.overlapping > 0);
		test_env_end(r.env);
	}
	hapax_testing_set_stop(NULL, NULL);
	CHECK((tally.corrupted[HPX_CORRUPT_RISEN] > 0) == (subject != HPX_SUBJECT_BOUNDED));
	CHECK(tally.corrupted[HPX_CORRUPT_LOST_PUT] > 0);
}

TEST(CX_LIN_01_histories_of_a_table) { histories_of(HPX_SUBJECT_TABLE); }
TEST(CX_LIN_01_histories_of_a_table_with_one_hash) { histories_of(HPX_SUBJECT_COLLIDING); }
TEST(CX_LIN_01_histories_of_a_cache) { histories_of(HPX_SUBJECT_CACHE); }
TEST(CX_LIN_01_histories_of_a_bounded_cache) { histories_of(HPX_SUBJECT_BOUNDED); }
TEST(CX_LIN_01_histories_of_an_expiring_cache) { histories_of(HPX_SUBJECT_EXPIRING); }
TEST(CX_LIN_01_histories_of_a_making_cache) { histories_of(HPX_SUBJECT_MAKING_CACHE); }

/* ---- the judge ------------------------------------------------------------------------------------------------- */

#define EV(op_, arg_, result_, call_, ret_) {.op = HPX_LIN_##op_, .arg = arg_, .result = result_, .call = call_, .ret = ret_}
#define LOADED(id_, call_, begin_, end_, ret_)                                                                       \
	{.op = HPX_LIN_LOAD, .result = id_, .loaded = true, .call = call_, .begin = begin_, .end = end_, .ret = ret_}
#define FAILED(id_, call_, begin_, end_, ret_)                                                                       \
	{.op = HPX_LIN_LOAD, .result = id_, .loaded = true, .failed = true, .call = call_, .begin = begin_, .end = end_, .ret = ret_}

/* Object 1 is held from 0 and given back from `drop` to `dropped`. */
static bool fine(const struct hpx_lin_event *e, size_t n, uint64_t drop, uint64_t dropped)
{
	struct hpx_lin_hold hold = {.id = 1, .drop = drop, .dropped = dropped};
	struct hpx_lin_history h = {e, n, &hold, 1, false};
	struct hpx_lin_verdict verdict = hpx_lin_check(&space, &h);

	CHECK(verdict.answer != HPX_LIN_UNDECIDED);
	return verdict.answer == HPX_LIN_HOLDS;
}
#define FINE_IF(drop, dropped, ...)                                                                                  \
	fine((struct hpx_lin_event[]){__VA_ARGS__},                                                                  \
	     sizeof((struct hpx_lin_event[]){__VA_ARGS__}) / sizeof(struct hpx_lin_event), drop, dropped)
#define FINE(...) FINE_IF(HPX_LIN_NEVER, HPX_LIN_NEVER, __VA_ARGS__)

TEST(CX_LIN_01_the_checker_accepts_what_is_right)
{
	CHECK(FINE(EV(PUT, 1, 0, 1, 2), EV(GET, 0, 1, 3, 4)));
	CHECK(FINE(EV(GET, 0, 0, 1, 2), EV(PUT, 1, 0, 3, 4)));
	/* overlapping: either order */
	CHECK(FINE(EV(PUT, 1, 0, 1, 4), EV(GET, 0, 0, 2, 3)));
	CHECK(FINE(EV(PUT, 1, 0, 1, 4), EV(GET, 0, 1, 2, 3)));
	CHECK(FINE(EV(PUT, 1, 0, 1, 9), EV(PUT, 2, 0, 1, 9), EV(GET, 0, 1, 10, 11)));
	CHECK(FINE(EV(PUT, 1, 0, 1, 9), EV(GET_OR_PUT, 2, 2, 1, 9), EV(POP, 0, 1, 10, 11), EV(CONTAINS, 0, 0, 12, 13)));
	/* vanishing after the last release began */
	CHECK(FINE_IF(5, 20, EV(PUT, 1, 0, 1, 2), EV(GET, 0, 0, 6, 7)));
	CHECK(FINE_IF(5, 20, EV(PUT, 1, 0, 1, 2), EV(GET, 0, 0, 4, 7)));
	CHECK(FINE_IF(5, 20, EV(PUT, 1, 0, 1, 2), EV(CONTAINS, 0, 1, 6, 7), EV(GET, 0, 0, 8, 9)));
	/* a load; one that failed; those who joined them */
	CHECK(FINE(LOADED(1, 1, 2, 8, 9), EV(LOAD, 0, 1, 3, 10), EV(GET, 0, 1, 11, 12)));
	CHECK(FINE(FAILED(2, 1, 2, 8, 9), {.op = HPX_LIN_LOAD, .result = 2, .failed = true, .call = 3, .ret = 10},
		   EV(GET, 0, 0, 11, 12)));
	/* a load that a removal overtook is not installed; who joined before has it; a second load may run beside it */
	CHECK(FINE(LOADED(1, 1, 2, 8, 9), EV(LOAD, 0, 1, 3, 10), EV(REMOVE, 0, 0, 4, 5), EV(GET, 0, 0, 11, 12)));
	CHECK(FINE(LOADED(1, 1, 2, 12, 13), EV(REMOVE, 0, 0, 4, 5), LOADED(2, 6, 7, 8, 9), EV(GET, 0, 2, 14, 15)));
	/* a removal of nothing fences a load that it meets, so taking it early would be wrong */
	CHECK(FINE(LOADED(1, 1, 4, 7, 8), EV(CLEAR, 0, 0, 2, 5), FAILED(2, 6, 6, 9, 10)));
}

TEST(CX_LIN_01_the_checker_rejects_what_is_wrong)
{
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(GET, 0, 0, 3, 4)));			 /* lost */
	CHECK(!FINE(EV(GET, 0, 1, 1, 2), EV(PUT, 1, 0, 3, 4)));			 /* from the future */
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(PUT, 2, 0, 3, 4), EV(GET, 0, 1, 5, 6))); /* stale */
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(REMOVE, 0, 1, 3, 4), EV(GET, 0, 1, 5, 6)));
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(POP, 0, 1, 3, 6), EV(POP, 0, 1, 4, 7))); /* popped twice */
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(CLEAR, 0, 0, 3, 4), EV(CONTAINS, 0, 1, 5, 6)));
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(GET_OR_PUT, 2, 2, 3, 4)));
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(REMOVE_IF, 2, 1, 3, 4)));
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(REMOVE_IF, 1, 0, 3, 4)));
	/* vanished too early; still there too late; risen again */
	CHECK(!FINE_IF(8, 9, EV(PUT, 1, 0, 1, 2), EV(GET, 0, 0, 6, 7)));
	CHECK(!FINE_IF(3, 4, EV(PUT, 1, 0, 1, 2), EV(CONTAINS, 0, 1, 5, 6)));
	CHECK(!FINE_IF(3, 9, EV(PUT, 1, 0, 1, 2), EV(CONTAINS, 0, 0, 5, 6), EV(CONTAINS, 0, 1, 7, 8)));
	/* two threads see two puts in opposite orders */
	CHECK(!FINE(EV(PUT, 1, 0, 1, 20), EV(PUT, 2, 0, 1, 20), EV(GET, 0, 1, 2, 3), EV(GET, 0, 2, 4, 5), EV(GET, 0, 1, 6, 7)));
	/* a load begun before a removal and installed after it; joined after the removal; two loads of one life */
	CHECK(!FINE(LOADED(1, 1, 2, 8, 9), EV(REMOVE, 0, 0, 4, 5), EV(GET, 0, 1, 11, 12)));
	CHECK(!FINE(LOADED(1, 1, 2, 8, 9), EV(REMOVE, 0, 0, 4, 5), EV(LOAD, 0, 1, 6, 12)));
	CHECK(!FINE(LOADED(1, 1, 2, 3, 4), LOADED(2, 5, 6, 7, 8)));
	CHECK(!FINE(LOADED(1, 1, 2, 7, 8), LOADED(2, 3, 4, 5, 6)));
	/* a failed load installed; a failure of an earlier load */
	CHECK(!FINE(FAILED(2, 1, 2, 3, 4), EV(GET, 0, 2, 5, 6)));
	CHECK(!FINE(FAILED(2, 1, 2, 3, 4), {.op = HPX_LIN_LOAD, .result = 2, .failed = true, .call = 5, .ret = 6}));
}

TEST(CX_LIN_01_the_checker_rejects_objects_that_nobody_held)
{
	const struct hpx_lin_event e[] = {EV(PUT, 1, 0, 2, 3), EV(GET, 0, 1, 10, 11)};
	struct hpx_lin_hold hold[] = {{1, 1, 4, 5}, {1, 10, HPX_LIN_NEVER, HPX_LIN_NEVER}};
	struct hpx_lin_history h = {e, 2, hold, 2, false};

	CHECK_EQ(hpx_lin_check(&space, &h).answer, HPX_LIN_BROKEN);
	hold[0].dropped = 10;
	CHECK_EQ(hpx_lin_check(&space, &h).answer, HPX_LIN_HOLDS);
}

TEST(CX_LIN_01_the_checker_lets_a_cache_hold_objects_that_vanish_once)
{
	struct hpx_lin_event e[] = {EV(PUT, 1, 0, 2, 3), EV(CONTAINS, 0, 1, 10, 11), EV(GET, 0, 1, 12, 13)};
	struct hpx_lin_hold hold[] = {{1, 1, 4, 5}, {1, 12, HPX_LIN_NEVER, HPX_LIN_NEVER}};
	struct hpx_lin_history h = {e, 3, hold, 2, true};

	CHECK_EQ(hpx_lin_check(&space, &h).answer, HPX_LIN_HOLDS);
	h.retained = false;
	CHECK_EQ(hpx_lin_check(&space, &h).answer, HPX_LIN_BROKEN);
	h.retained = true;
	e[1].result = 0; /* it was gone, and is back */
	CHECK_EQ(hpx_lin_check(&space, &h).answer, HPX_LIN_BROKEN);
	h.events = 2;
	h.holds = 1;
	CHECK_EQ(hpx_lin_check(&space, &h).answer, HPX_LIN_HOLDS);
	hold[0].drop = hold[0].dropped = HPX_LIN_NEVER; /* it was gone while it was held */
	CHECK_EQ(hpx_lin_check(&space, &h).answer, HPX_LIN_BROKEN);
}

TEST(CX_LIN_01_the_checker_knows_expiry)
{
	CHECK(FINE(EV(PUT, 1, 0, 1, 2), EV(EXPIRE, 0, 1, 3, 4), EV(GET, 0, 0, 5, 6)));
	CHECK(FINE(EV(PUT, 1, 0, 1, 2), EV(TOUCH, 0, 1, 3, 4), EV(GET, 0, 1, 5, 6)));
	CHECK(FINE(LOADED(1, 1, 2, 8, 9), EV(EXPIRE, 0, 0, 4, 5), EV(GET, 0, 1, 11, 12))); /* no fence */
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(EXPIRE, 0, 1, 3, 4), EV(GET, 0, 1, 5, 6)));
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(EXPIRE, 0, 1, 3, 4), EV(EXPIRE, 0, 1, 5, 6)));
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(EXPIRE, 0, 0, 3, 4)));
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(EXPIRE, 0, 1, 3, 4), EV(TOUCH, 0, 1, 5, 6)));
	CHECK(!FINE(EV(PUT, 1, 0, 1, 2), EV(TOUCH, 0, 0, 3, 4)));
}

/* A full memory forgets, and nothing else. */
TEST(CX_LIN_01_the_checker_needs_no_memory_to_be_right)
{
	static struct hpx_lin_seen few[8];
	static struct hpx_lin_space small = {.seen = few, .room = 8};
	struct hpx_lin_event e[14];

	for (unsigned i = 0; i < 14; i++) /* 7 pairs of overlapping puts, and a get of none of the last */
		e[i] = (struct hpx_lin_event)EV(PUT, i + 1, 0, 10 * (i / 2) + 1 + i % 2, 10 * (i / 2) + 5 + i % 2);
	e[13] = (struct hpx_lin_event)EV(GET, 0, 3, 100, 101);
	CHECK_EQ(hpx_lin_check(&small, &(struct hpx_lin_history){e, 14, NULL, 0, false}).answer, HPX_LIN_BROKEN);
	e[13].result = 13;
	CHECK_EQ(hpx_lin_check(&small, &(struct hpx_lin_history){e, 14, NULL, 0, false}).answer, HPX_LIN_HOLDS);
}

TEST(CX_LIN_01_the_checker_says_when_a_history_is_too_large)
{
	struct hpx_lin_event e[HPX_LIN_LANES + 1];

	for (unsigned i = 0; i <= HPX_LIN_LANES; i++)
		e[i] = (struct hpx_lin_event)EV(GET, 0, 0, i + 1, 100 + i);
	CHECK_EQ(hpx_lin_check(&space, &(struct hpx_lin_history){e, HPX_LIN_LANES + 1, NULL, 0, false}).answer,
		 HPX_LIN_UNDECIDED);
	e[0].result = HPX_LIN_IDS;
	CHECK_EQ(hpx_lin_check(&space, &(struct hpx_lin_history){e, 1, NULL, 0, false}).answer, HPX_LIN_UNDECIDED);
}

/* ---- a second judge: slow, short, written from the laws anew -------------------------------------------------------- */

/*
 * Tries every order of all instants. A load's end is an instant of its own; vanishing may happen before any instant.
 * done[i]: how many instants of event i are over.
 */
struct slow {
	const struct hpx_lin_event *e;
	unsigned n, done[6];
	uint64_t from, by; /* of object 1; the others are held for ever */
};

static bool inserts(const struct hpx_lin_event *e) { return e->op == HPX_LIN_GET_OR_PUT && e->result == e->arg; }
static unsigned instants(const struct hpx_lin_event *e) { return e->loaded || inserts(e) ? 2 : 1; }
static uint64_t opens(const struct hpx_lin_event *e, unsigned k) { return k && e->loaded ? e->end : e->call; }
static uint64_t closes(const struct hpx_lin_event *e, unsigned k) { return e->loaded && !k ? e->begin : e->ret; }

/* The map: what is there, which load may still install. Returns false if `e` cannot have its result here. */
static bool happens(const struct hpx_lin_event *e, unsigned k, unsigned *there, unsigned *loading)
{
	bool put = e->op == HPX_LIN_PUT || (e->op == HPX_LIN_GET_OR_PUT && !*there);
	bool out = e->op == HPX_LIN_REMOVE || e->op == HPX_LIN_POP || e->op == HPX_LIN_CLEAR ||
		   (e->op == HPX_LIN_REMOVE_IF && *there == e->arg);
	unsigned before = *there, now = put ? e->arg : before;

	if (inserts(e) && k == 0) { /* the loads under way are fenced, nothing else is seen of it yet */
		*loading = 0;
		return true;
	}
	if (e->op == HPX_LIN_LOAD && e->loaded && k == 0) {
		if (*there || *loading)
			return false;
		*loading = e->result;
	} else if (e->op == HPX_LIN_LOAD && e->loaded) {
		if (*loading == e->result) {
			*loading = 0;
			*there = e->failed ? *there : e->result;
		}
	} else if (e->op == HPX_LIN_LOAD) {
		return *loading == e->result || (*there == e->result && !e->failed);
	}
	if (put || out)
		*loading = 0;
	if (put || out)
		*there = put ? e->arg : 0;
	if (e->op == HPX_LIN_GET || e->op == HPX_LIN_POP)
		return e->result == before;
	if (e->op == HPX_LIN_GET_OR_PUT)
		return e->result == now;
	if (e->op == HPX_LIN_CONTAINS || e->op == HPX_LIN_REMOVE)
		return e->result == (before != 0);
	return e->op != HPX_LIN_REMOVE_IF || e->result == out;
}

static bool slowly(struct slow *s, unsigned there, unsigned loading)
{
	uint64_t soonest = UINT64_MAX;

	for (unsigned i = 0; i < s->n; i++)
		if (s->done[i] < instants(&s->e[i]) && closes(&s->e[i], s->done[i]) < soonest)
			soonest = closes(&s->e[i], s->done[i]);
	if (soonest == UINT64_MAX)
		return true;
	if (there == 1 && s->from < soonest && slowly(s, 0, loading))
		return true;
	for (unsigned i = 0; i < s->n; i++) {
		unsigned k = s->done[i], t = there, l = loading;

		if (k == instants(&s->e[i]) || opens(&s->e[i], k) > soonest)
			continue;
		if (t == 1 && s->by < opens(&s->e[i], k))
			t = 0;
		if (!happens(&s->e[i], k, &t, &l))
			continue;
		s->done[i]++;
		if (slowly(s, t, l))
			return true;
		s->done[i]--;
	}
	return false;
}

/* Random small histories, most of them almost right: both judges agree. */
TEST(CX_LIN_01_two_checkers_agree)
{
	uint64_t r = test_stream(9), verdicts[2] = {0, 0}, rounds = scaled(100000);

	for (uint64_t round = 0; round < rounds; round++) {
		struct hpx_lin_event e[6];
		struct hpx_lin_hold hold = {.id = 1, .drop = HPX_LIN_NEVER, .dropped = HPX_LIN_NEVER};
		struct slow slow = {.e = e, .n = 2 + (unsigned)test_below(&r, 5)};
		struct hpx_lin_history h = {e, slow.n, &hold, 1, false};
		struct hpx_lin_verdict verdict;
		bool holds;

		for (unsigned i = 0; i < slow.n; i++) {
			uint64_t at = 8 * i + 1 + test_below(&r, 8), length = 4 + test_below(&r, 24);

			e[i] = (struct hpx_lin_event){.op = (enum hpx_lin_op)test_below(&r, HPX_LIN_LOAD + 1),
						      .arg = i + 1,
						      .call = 8 * at,
						      .ret = 8 * (at + length) + 1};
			if (e[i].op == HPX_LIN_REMOVE_IF)
				e[i].arg = 1 + (unsigned)test_below(&r, slow.n);
			e[i].loaded = e[i].op == HPX_LIN_LOAD && test_below(&r, 2);
			e[i].failed = e[i].op == HPX_LIN_LOAD && !test_below(&r, 4);
			e[i].begin = e[i].call + 2 + 8 * test_below(&r, length / 2);
			e[i].end = e[i].ret - 2 - 8 * test_below(&r, length / 2);
			if (e[i].op == HPX_LIN_GET || e[i].op == HPX_LIN_POP)
				e[i].result = (unsigned)test_below(&r, i + 2);
			else if (e[i].op == HPX_LIN_GET_OR_PUT)
				e[i].result = test_below(&r, 2) ? e[i].arg : 1 + (unsigned)test_below(&r, i + 1);
			else if (e[i].op == HPX_LIN_LOAD)
				e[i].result = e[i].loaded ? e[i].arg : 1 + (unsigned)test_below(&r, i + 1);
			else if (e[i].op != HPX_LIN_PUT && e[i].op != HPX_LIN_CLEAR)
				e[i].result = (unsigned)test_below(&r, 2);
		}
		if (test_below(&r, 2)) {
			hold.drop = 8 * test_below(&r, 60) + 4;
			hold.dropped = hold.drop + 8 * test_below(&r, 30);
		}
		slow.from = hold.drop;
		slow.by = hpx_lin_gone_by(&h, 1);
		holds = slowly(&slow, 0, 0);
		verdict = hpx_lin_check(&space, &h);
		if (verdict.answer != (holds ? HPX_LIN_HOLDS : HPX_LIN_BROKEN)) {
			hpx_lin_print(stderr, &h, &verdict);
			TEST_FAIL("round %llu: the slow checker says %d", (unsigned long long)round, holds);
		}
		verdicts[holds]++;
	}
	CHECK(verdicts[0] > rounds / 100 && verdicts[1] > rounds / 100);
}
