/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Histories of concurrent calls, recorded and judged; and the judge judged. */
#include "support/linearize.h"
#include "unit/cached.h"

enum { THREADS = 3, OPS = 5, KEYS = 2, HELD = 24, EVENTS = THREADS * OPS * KEYS };

/* One history. What is loaded or put gets the next id of the history as its item id. */
struct history {
	hapax_env *env;
	hapax_table *table; /* or */
	hapax_cache *cache;
	struct test_barrier begin, end;
	uint64_t clock;
	unsigned ids;
	uint64_t released[LIN_MAX_IDS]; /* the latest reading before a release */
	bool kept[LIN_MAX_IDS];         /* still held at the end by somebody */
	struct lin_event event[THREADS][EVENTS];
	size_t events[THREADS];
	uint64_t histories;
	bool stop;
};

static __thread uint64_t dice;
static __thread int loaded_here;

static uint64_t now(struct history *h) { return __atomic_fetch_add(&h->clock, 1, __ATOMIC_SEQ_CST); }
static unsigned next_id(struct history *h) { return __atomic_add_fetch(&h->ids, 1, __ATOMIC_SEQ_CST); }

static void give_back(struct history *h, struct item *it)
{
	uint64_t at = now(h), old = __atomic_load_n(&h->released[it->id], __ATOMIC_RELAXED);

	while (old < at && !__atomic_compare_exchange_n(&h->released[it->id], &old, at, false, __ATOMIC_RELAXED,
							__ATOMIC_RELAXED))
		;
	hapax_release(it);
}

static int lin_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct history *h = arg;
	struct item *it = object;

	(void)key;
	(void)error;
	it->live = ITEM_ALIVE;
	it->id = (int)next_id(h);
	loaded_here = it->id;
	if (test_below(&dice, 2))
		sched_yield();
	return HAPAX_LOAD_OK;
}

static void record(struct history *h, struct lin_event e)
{
	size_t *n = &h->events[e.thread];

	if (e.op != LIN_CLEAR) {
		h->event[e.thread][(*n)++] = e;
		return;
	}
	for (e.key = 0; e.key < KEYS; e.key++)
		h->event[e.thread][(*n)++] = e;
}

static void one_history(struct history *h, unsigned thread)
{
	struct item *held[HELD];
	unsigned n = 0;

	for (int i = 0; i < OPS; i++) {
		uint32_t k = (uint32_t)test_below(&dice, KEYS);
		hapax_key key = HAPAX_KEY_OF(k);
		struct lin_event e = {.thread = thread, .key = k};
		struct item *mine = NULL;
		void *out = NULL;
		bool inserted = false;
		int rc;

		e.op = (enum lin_op)test_below(&dice, h->cache ? 9 : 8);
		if (e.op == LIN_PUT || e.op == LIN_GET_OR_PUT) {
			mine = item_new(h->env, (int)next_id(h));
			e.arg = (unsigned)mine->id;
		} else if (e.op == LIN_REMOVE_IF) {
			if (!n)
				e.op = LIN_GET;
			else
				e.arg = (unsigned)held[test_below(&dice, n)]->id;
		}
		if (e.op == LIN_REMOVE_IF) {
			mine = NULL;
			for (unsigned j = 0; j < n; j++)
				if ((unsigned)held[j]->id == e.arg)
					mine = held[j];
		}
		loaded_here = 0;
		if (test_below(&dice, 3) == 0)
			sched_yield();
		e.call = now(h);
		switch (e.op) {
		case LIN_PUT:
			rc = h->cache ? hapax_cache_put(h->cache, key, mine) : hapax_table_put(h->table, key, mine);
			CHECK_EQ(rc, HAPAX_OK);
			break;
		case LIN_GET:
			rc = h->cache ? hapax_cache_get_if_present(h->cache, key, &out) : hapax_table_get(h->table, key, &out);
			CHECK(rc == HAPAX_OK || rc == HAPAX_MISS);
			break;
		case LIN_CONTAINS:
			rc = h->cache ? hapax_cache_contains(h->cache, key) : hapax_table_contains(h->table, key);
			e.result = (unsigned)rc;
			break;
		case LIN_REMOVE:
			rc = h->cache ? hapax_cache_remove(h->cache, key) : hapax_table_remove(h->table, key);
			CHECK(rc == HAPAX_OK || rc == HAPAX_MISS);
			e.result = rc == HAPAX_OK;
			break;
		case LIN_POP:
			rc = h->cache ? hapax_cache_pop(h->cache, key, &out) : hapax_table_pop(h->table, key, &out);
			CHECK(rc == HAPAX_OK || rc == HAPAX_MISS);
			break;
		case LIN_GET_OR_PUT:
			rc = h->cache ? hapax_cache_get_or_put(h->cache, key, mine, &out, &inserted)
				      : hapax_table_get_or_put(h->table, key, mine, &out, &inserted);
			CHECK_EQ(rc, HAPAX_OK);
			CHECK(out && inserted == (out == (void *)mine));
			break;
		case LIN_REMOVE_IF:
			rc = h->cache ? hapax_cache_remove_if(h->cache, key, mine) : hapax_table_remove_if(h->table, key, mine);
			CHECK(rc == HAPAX_OK || rc == HAPAX_MISS);
			e.result = rc == HAPAX_OK;
			mine = NULL;
			break;
		case LIN_CLEAR:
			if (h->cache)
				hapax_cache_clear(h->cache);
			else
				hapax_table_clear(h->table);
			break;
		case LIN_LOAD:
			CHECK_EQ(hapax_cache_get(h->cache, key, &out), HAPAX_OK);
			break;
		}
		if (out) {
			CHECK(item_is_alive(out));
			e.result = (unsigned)((struct item *)out)->id;
			e.loaded = e.op == LIN_LOAD && loaded_here == ((struct item *)out)->id;
		}
		e.ret = now(h);
		record(h, e);
		if (mine)
			held[n++] = mine;
		if (out)
			held[n++] = out;
		while (n && test_below(&dice, 2)) {
			unsigned which = (unsigned)test_below(&dice, n);

			give_back(h, held[which]);
			held[which] = held[--n];
		}
	}
	for (unsigned j = 0; j < n; j++)
		__atomic_store_n(&h->kept[held[j]->id], true, __ATOMIC_RELAXED);
	test_barrier_wait(&h->end);
	for (unsigned j = 0; j < n; j++)
		hapax_release(held[j]);
	test_barrier_wait(&h->end);
}

static void judge(struct history *h)
{
	struct lin_event all[THREADS * EVENTS];
	uint64_t gone[LIN_MAX_IDS];
	size_t n = 0;

	for (unsigned t = 0; t < THREADS; t++) {
		memcpy(all + n, h->event[t], h->events[t] * sizeof(*all));
		n += h->events[t];
	}
	for (unsigned id = 0; id < LIN_MAX_IDS; id++)
		gone[id] = h->kept[id] ? LIN_NEVER : h->released[id];
	if (!lin_check(all, n, gone)) {
		lin_print(all, n, gone);
		TEST_FAIL("a history is not linearizable");
	}
}

static void play(unsigned thread, void *arg)
{
	struct history *h = arg;

	dice = test_stream(thread);
	for (uint64_t i = 0; i < h->histories; i++) {
		if (thread == 0) {
			h->clock = 1;
			h->ids = 0;
			memset(h->released, 0, sizeof(h->released));
			memset(h->kept, 0, sizeof(h->kept));
			memset(h->events, 0, sizeof(h->events));
		}
		test_barrier_wait(&h->begin);
		one_history(h, thread);
		if (thread == 0) {
			CHECK_EQ(h->cache ? hapax_cache_size(h->cache) : hapax_table_size(h->table), 0);
			judge(h);
		}
	}
}

static void loiter(const char *name, void *ctx)
{
	(void)name;
	(void)ctx;
	if (!test_below(&dice, 3))
		sched_yield();
}

TEST(CX_LIN_01_histories_of_a_table)
{
	static struct history h;

	h.env = test_env();
	h.table = table_new(h.env);
	h.histories = scaled(2000);
	test_barrier_init(&h.begin, THREADS);
	test_barrier_init(&h.end, THREADS);
	hapax_testing_set_stop(loiter, NULL);
	run_threads(THREADS, play, &h);
	hapax_testing_set_stop(NULL, NULL);
	table_end(h.table, 0);
	test_env_end(h.env);
}

TEST(CX_LIN_01_histories_of_a_cache)
{
	static struct history h;
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .type = &item_type, .load = lin_load, .arg = &h};

	o.env = h.env = test_env();
	CHECK_EQ(hapax_cache_create(&h.cache, &o), HAPAX_OK);
	h.histories = scaled(2000);
	test_barrier_init(&h.begin, THREADS);
	test_barrier_init(&h.end, THREADS);
	hapax_testing_set_stop(loiter, NULL);
	run_threads(THREADS, play, &h);
	hapax_testing_set_stop(NULL, NULL);
	stats_check(h.cache);
	cache_end(h.cache, 0);
	test_env_end(h.env);
}

/* ---- the judge ------------------------------------------------------------------------------------------------- */

#define EV(op_, arg_, result_, call_, ret_) {.op = op_, .arg = arg_, .result = result_, .call = call_, .ret = ret_}

static bool fine(const struct lin_event *e, size_t n, uint64_t first_gone_from)
{
	uint64_t gone[LIN_MAX_IDS];

	for (int i = 0; i < LIN_MAX_IDS; i++)
		gone[i] = LIN_NEVER;
	gone[1] = first_gone_from;
	return lin_check(e, n, gone);
}
#define FINE(gone, ...) fine((struct lin_event[]){__VA_ARGS__}, sizeof((struct lin_event[]){__VA_ARGS__}) / sizeof(struct lin_event), gone)

TEST(CX_LIN_01_the_checker_accepts_what_is_right)
{
	CHECK(FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_GET, 0, 1, 3, 4)));
	CHECK(FINE(LIN_NEVER, EV(LIN_GET, 0, 0, 1, 2), EV(LIN_PUT, 1, 0, 3, 4)));
	/* overlapping: either order */
	CHECK(FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 4), EV(LIN_GET, 0, 0, 2, 3)));
	CHECK(FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 4), EV(LIN_GET, 0, 1, 2, 3)));
	CHECK(FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 9), EV(LIN_PUT, 2, 0, 1, 9), EV(LIN_GET, 0, 1, 10, 11)));
	CHECK(FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 9), EV(LIN_GET_OR_PUT, 2, 2, 1, 9), EV(LIN_POP, 0, 1, 10, 11),
		   EV(LIN_CONTAINS, 0, 0, 12, 13)));
	/* vanishing after the last release began */
	CHECK(FINE(5, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_GET, 0, 0, 6, 7)));
	CHECK(FINE(5, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_GET, 0, 0, 4, 7)));
	CHECK(FINE(5, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_GET, 0, 1, 6, 7), EV(LIN_GET, 0, 0, 8, 9)));
	/* a load that a remove overtook is not installed; its joiner has it */
	struct lin_event load = EV(LIN_LOAD, 0, 1, 1, 9);
	load.loaded = true;
	CHECK(FINE(LIN_NEVER, load, EV(LIN_LOAD, 0, 1, 2, 10), EV(LIN_REMOVE, 0, 0, 3, 4), EV(LIN_GET, 0, 0, 11, 12)));
	CHECK(FINE(LIN_NEVER, load, EV(LIN_LOAD, 0, 1, 2, 10), EV(LIN_GET, 0, 1, 11, 12)));
}

TEST(CX_LIN_01_the_checker_rejects_what_is_corrupted)
{
	CHECK(!FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_GET, 0, 0, 3, 4)));    /* lost */
	CHECK(!FINE(LIN_NEVER, EV(LIN_GET, 0, 1, 1, 2), EV(LIN_PUT, 1, 0, 3, 4)));    /* from the future */
	CHECK(!FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_PUT, 2, 0, 3, 4), EV(LIN_GET, 0, 1, 5, 6))); /* stale */
	CHECK(!FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_REMOVE, 0, 1, 3, 4), EV(LIN_GET, 0, 1, 5, 6)));
	CHECK(!FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_POP, 0, 1, 3, 6), EV(LIN_POP, 0, 1, 4, 7))); /* popped twice */
	CHECK(!FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_CLEAR, 0, 0, 3, 4), EV(LIN_CONTAINS, 0, 1, 5, 6)));
	CHECK(!FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_GET_OR_PUT, 2, 2, 3, 4)));
	CHECK(!FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_REMOVE_IF, 2, 1, 3, 4)));
	/* vanished too early; risen again */
	CHECK(!FINE(8, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_GET, 0, 0, 6, 7)));
	CHECK(!FINE(3, EV(LIN_PUT, 1, 0, 1, 2), EV(LIN_GET, 0, 0, 5, 6), EV(LIN_GET, 0, 1, 7, 8)));
	/* two threads see two puts in opposite orders */
	CHECK(!FINE(LIN_NEVER, EV(LIN_PUT, 1, 0, 1, 20), EV(LIN_PUT, 2, 0, 1, 20), EV(LIN_GET, 0, 1, 2, 3), EV(LIN_GET, 0, 2, 4, 5),
		    EV(LIN_GET, 0, 1, 6, 7)));
	/* a load begun before a remove and installed after it; joined after the remove; two loads of one life */
	struct lin_event load = EV(LIN_LOAD, 0, 1, 1, 4), second = EV(LIN_LOAD, 0, 2, 5, 8);
	load.loaded = second.loaded = true;
	CHECK(!FINE(LIN_NEVER, load, EV(LIN_REMOVE, 0, 1, 5, 6), EV(LIN_LOAD, 0, 1, 7, 8)));
	CHECK(!FINE(LIN_NEVER, load, second));
}

/* Recorded histories, each corrupted at random where that must show: a result that nobody put. */
TEST(CX_LIN_01_the_checker_rejects_objects_from_nowhere)
{
	uint64_t r = test_stream(5);

	for (int i = 0; i < 200; i++) {
		struct lin_event e[12];
		uint64_t gone[LIN_MAX_IDS];
		unsigned state = 0, ids = 0, victim;

		for (int id = 0; id < LIN_MAX_IDS; id++)
			gone[id] = LIN_NEVER;
		memset(e, 0, sizeof(e));
		for (unsigned n = 0; n < 12; n++) { /* sequential, but recorded as if neighbours overlapped */
			e[n].call = 10 * n;
			e[n].ret = 10 * n + 12;
			e[n].thread = n % 3;
			if (test_below(&r, 2)) {
				e[n].op = LIN_PUT;
				e[n].arg = state = ++ids;
			} else {
				e[n].op = LIN_GET;
				e[n].result = state;
			}
		}
		CHECK(lin_check(e, 12, gone));
		victim = (unsigned)test_below(&r, 12);
		e[victim].op = LIN_GET;
		e[victim].result = 60;
		CHECK(!lin_check(e, 12, gone));
	}
}
