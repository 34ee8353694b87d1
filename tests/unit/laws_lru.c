/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memos against a plain reference, at random: strict LRU, alone, of each owner, of a shared budget; bounds of every policy. */
#include "unit/memos.h"

static const unsigned forms[] = {0, MEMO_MAKES};

/* ---- strict LRU against a plain reference -------------------------------------------------------------------------- */

enum { ROOMS = 5, NUMBERS = 40, SLOTS = 12 };

/* Results that are present, the most recently used first. `kept`: by the memo; else somebody has it. */
struct line {
	int room;
	int64_t x;
	int run;
	bool kept;
};

struct reference {
	struct line lines[ROOMS * NUMBERS + SLOTS + 1];
	size_t n;
	int64_t capacity;
	bool shared;
	uint64_t hits[ROOMS], misses[ROOMS], all_hits, all_misses;
	int64_t runs;
	struct {
		struct outcome *held;
		int room, run;
	} slot[SLOTS];
};

static struct line *line_of(struct reference *r, int room, int64_t x)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->lines[i].room == room && r->lines[i].x == x)
			return &r->lines[i];
	return NULL;
}

static struct line take_line(struct reference *r, struct line *l)
{
	struct line taken = *l;

	memmove(l, l + 1, (size_t)(r->lines + --r->n - l) * sizeof(*l));
	return taken;
}

static bool is_held(struct reference *r, int room, int run)
{
	for (int i = 0; i < SLOTS; i++)
		if (r->slot[i].held && r->slot[i].room == room && r->slot[i].run == run)
			return true;
	return false;
}

/* What the memo does not keep and nobody has is gone. */
static void sweep_lines(struct reference *r)
{
	for (size_t i = r->n; i-- > 0;)
		if (!r->lines[i].kept && !is_held(r, r->lines[i].room, r->lines[i].run))
			take_line(r, &r->lines[i]);
}

static void bound_lines(struct reference *r)
{
	for (int room = 0; room < (r->shared ? 1 : ROOMS); room++) {
		int64_t kept = 0;

		for (size_t i = 0; i < r->n; i++)
			if (r->lines[i].kept && (r->shared || r->lines[i].room == room) && ++kept > r->capacity)
				r->lines[i].kept = false;
	}
}

/* What the call does, and the run whose result it gives. The caller holds it until sweep_lines(). */
static int reference_call(struct reference *r, int room, int64_t x)
{
	struct line *l = line_of(r, room, x), used = {.room = room, .x = x, .kept = true};

	if (l) {
		used = take_line(r, l);
		used.kept = true;
		r->hits[room]++;
		r->all_hits++;
	} else {
		used.run = (int)++r->runs;
		r->misses[room]++;
		r->all_misses++;
	}
	if (r->capacity) {
		memmove(r->lines + 1, r->lines, r->n++ * sizeof(used));
		r->lines[0] = used;
	}
	bound_lines(r);
	return used.run;
}

static uint64_t present_lines(const struct reference *r, int room)
{
	uint64_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += room < 0 || r->lines[i].room == room;
	return n;
}

static void forget_lines(struct reference *r, int room)
{
	for (size_t i = r->n; i-- > 0;)
		if (room < 0 || r->lines[i].room == room)
			take_line(r, &r->lines[i]);
}

struct strict {
	struct work w;
	struct reference r;
	struct item *owner[ROOMS];
	int owners_made;
	int rooms;
	bool owned;
};

static void compare(struct strict *s)
{
	memo_check(&s->w);
	INFO(info_of(&s->w, NULL), s->r.all_hits, s->r.all_misses, present_lines(&s->r, -1));
	for (int room = 0; s->owned && room < s->rooms; room++)
		INFO(info_of(&s->w, s->owner[room]), s->r.hits[room], s->r.misses[room], present_lines(&s->r, room));
	for (int room = 0; room < s->rooms; room++)
		for (int x = 0; x < NUMBERS; x++) {
			struct line *l = line_of(&s->r, room, x);

			CHECK_EQ(found(&s->w, s->owner[room], x), l ? l->run : 0);
		}
}

/* A new owner in an old one's place: all its results are gone, the memo's counters stay. */
static void replace_owner(struct strict *s, int room)
{
	hapax_release(s->owner[room]);
	s->owner[room] = item_new(s->w.env, ++s->owners_made);
	forget_lines(&s->r, room);
	s->r.hits[room] = s->r.misses[room] = 0;
}

static void let_go(struct strict *s, int slot)
{
	hapax_release(s->r.slot[slot].held);
	s->r.slot[slot].held = NULL;
	sweep_lines(&s->r);
}

static void step(struct strict *s, uint64_t *random)
{
	int room = (int)test_below(random, (uint64_t)s->rooms), slot = (int)test_below(random, SLOTS);
	int64_t x = (int64_t)test_below(random, test_below(random, 2) ? 6 : NUMBERS);
	int what = (int)test_below(random, 1000), run;
	struct outcome *o;

	if (what < 900) {
		run = reference_call(&s->r, room, x);
		o = called(&s->w, s->owner[room], x);
		CHECK_EQ(o->item.id, run);
		if (what < 150 && !s->r.slot[slot].held) {
			s->r.slot[slot].held = o;
			s->r.slot[slot].room = room;
			s->r.slot[slot].run = run;
		} else {
			hapax_release(o);
		}
		sweep_lines(&s->r);
	} else if (what < 960) {
		let_go(s, slot);
	} else if (what < 980) {
		struct line *l = line_of(&s->r, room, x);

		CHECK_EQ(forget(&s->w, s->owner[room], x), l ? HAPAX_OK : HAPAX_MISS);
		if (l)
			take_line(&s->r, l);
	} else if (what < 990 && s->owned) {
		replace_owner(s, room);
	} else if (what < 996 && s->owned) {
		INFO(cleared(&s->w, s->owner[room]), s->r.hits[room], s->r.misses[room], present_lines(&s->r, room));
		forget_lines(&s->r, room);
		s->r.hits[room] = s->r.misses[room] = 0;
	} else if (what < 998) {
		INFO(cleared(&s->w, NULL), s->r.all_hits, s->r.all_misses, present_lines(&s->r, -1));
		forget_lines(&s->r, -1);
		memset(s->r.hits, 0, sizeof(s->r.hits));
		memset(s->r.misses, 0, sizeof(s->r.misses));
		s->r.all_hits = s->r.all_misses = 0;
	}
}

static void strict_lru(unsigned flags, int64_t capacity, uint64_t stream, int steps)
{
	hapax_env *env = test_env();
	struct strict *s = calloc(1, sizeof(*s));
	uint64_t random = test_stream(stream);

	CHECK(s);
	s->owned = flags & HAPAX_MEMO_OWNED;
	s->rooms = s->owned ? ROOMS : 1;
	s->r.capacity = capacity;
	s->r.shared = !s->owned || (flags & HAPAX_MEMO_SHARED_BUDGET);
	memo_new(env, &s->w, flags, capacity ? capacity : HAPAX_ZERO);
	for (int room = 0; s->owned && room < s->rooms; room++)
		s->owner[room] = item_new(env, ++s->owners_made);
	for (int i = 0; i < steps; i++) {
		step(s, &random);
		if (i % 37 == 0)
			compare(s);
	}
	compare(s);
	CHECK_EQ(runs_of(&s->w), s->r.runs);
	for (int i = 0; i < SLOTS; i++)
		let_go(s, i);
	compare(s);
	CHECK_EQ(gone_of(&s->w), (uint64_t)s->r.runs - present_lines(&s->r, -1)); /* nothing else is alive */
	for (int room = 0; room < s->rooms; room++)
		hapax_release(s->owner[room]);
	work_end_env(&s->w, env);
	CHECK_EQ(gone_of(&s->w), s->r.runs);
	free(s);
}

static const int64_t sizes[] = {0, 1, 2, 7, 100};

TEST(PY_LRU_01_strict_lru_without_owners)
{
	for (int i = 0; i < 10; i++)
		strict_lru(forms[i & 1], sizes[i / 2], (uint64_t)i, (int)scaled(3000));
}

TEST(PY_LRU_14_strict_lru_of_each_owner)
{
	for (int i = 0; i < 10; i++)
		strict_lru(forms[i & 1] | HAPAX_MEMO_OWNED, sizes[i / 2], 100 + (uint64_t)i, (int)scaled(3000));
}

TEST(PY_LRU_14_strict_lru_of_a_shared_budget)
{
	for (int i = 0; i < 10; i++)
		strict_lru(forms[i & 1] | HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET, sizes[i / 2], 200 + (uint64_t)i,
			   (int)scaled(3000));
}

/* ---- the other policies: the bound holds, and what is found is right ------------------------------------------------- */

TEST(PY_LRU_02_every_policy_keeps_the_bound)
{
	const hapax_policy *const policies[] = {NULL, hapax_policy_adaptive(), hapax_policy_sieve(), hapax_policy_s3fifo(),
						hapax_policy_tinylfu(), hapax_policy_weighted()};
	static const unsigned flags[] = {0, HAPAX_MEMO_OWNED, HAPAX_MEMO_OWNED | HAPAX_MEMO_SHARED_BUDGET};

	for (size_t p = 0; p < sizeof(policies) / sizeof(*policies); p++) {
		for (int f = 0; f < 3; f++) {
			for (int64_t capacity = 1; capacity < 100; capacity = capacity * 4 + 1) {
				hapax_env *env = test_env();
				struct work w = {0};
				struct item *owner[3] = {NULL};
				uint64_t random = test_stream(p), calls = 0;

				memo_options(env, &w, flags[f], (hapax_memo_options){.capacity = capacity, .policy = policies[p]});
				for (int i = 0; i < 3 && f; i++)
					owner[i] = item_new(env, i + 1);
				for (int i = 0; i < 1000; i++, calls++) {
					call(&w, owner[test_below(&random, 3)], (int64_t)test_below(&random, 120));
					CHECK(info_of(&w, NULL).entries <= (uint64_t)capacity * (f == 1 ? 3 : 1));
				}
				for (int i = 0; i < 3 && f == 1; i++)
					CHECK(info_of(&w, owner[i]).entries <= (uint64_t)capacity);
				CHECK_EQ(info_of(&w, NULL).hits + info_of(&w, NULL).misses, calls);
				CHECK_EQ(info_of(&w, NULL).misses, runs_of(&w));
				CHECK_EQ((uint64_t)runs_of(&w) - (uint64_t)gone_of(&w), info_of(&w, NULL).entries);
				for (int i = 0; i < 3; i++)
					hapax_release(owner[i]);
				if (f)
					CHECK_EQ(gone_of(&w), runs_of(&w));
				work_end_env(&w, env);
			}
		}
	}
}
