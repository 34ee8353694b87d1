/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Places that are full: more entries than a home's lines have slots, with memory for more lines and without. */
#include "unit/crowd.h"

enum { FULL = (HPX_REACH + 1) * HPX_SLOTS };

/* The homes of tables with 8 lines. Numbers separate where a table has 256 lines and more. */
static uint64_t in_home(uint64_t home, unsigned i) { return home << 61 | (uint64_t)i << 50; }

static void find_all(struct crowd *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		CHECK(crowd_find(f, i, in_home(7, i)));
}

static void fill(struct crowd *f)
{
	for (unsigned i = 0; i < FULL; i++)
		CHECK_EQ(crowd_put(f, i, in_home(7, i)), HPX_PUT_DONE);
	find_all(f, FULL);
	crowd_check(f, FULL);
}

TEST(a_full_place_without_memory_for_another)
{
	struct crowd f;
	struct hpx_record *r;
	struct test_allocator *a;

	crowd_begin(&f, 8);
	fill(&f);
	a = test_env_allocator(f.env);
	for (unsigned round = 0; round < 3; round++) {
		r = crowd_record(&f, FULL, in_home(7, FULL));
		a->fail_from = a->calls + 1;
		CHECK_EQ(crowd_put_record(&f, r, HPX_PUT_ABSENT), HPX_PUT_NOMEM);
		a->fail_from = 0;
		CHECK(!crowd_find(&f, FULL, in_home(7, FULL)));
		find_all(&f, FULL);
	}
	/* there is memory again */
	CHECK_EQ(crowd_put(&f, FULL, in_home(7, FULL)), HPX_PUT_DONE);
	CHECK(hpx_table_resize(f.t, 0));
	CHECK(hpx_table_lines(f.t) >= 256);
	find_all(&f, FULL + 1);
	crowd_check(&f, FULL + 1);
	crowd_end(&f);
}

/* Who is in a section of his own gets no memory: not for lines, not for chains. */
TEST(a_full_place_inside_a_section)
{
	struct crowd f;

	crowd_begin(&f, 8);
	fill(&f);
	hpx_read_lock();
	CHECK_EQ(crowd_put(&f, FULL, in_home(7, FULL)), HPX_PUT_NOMEM);
	hpx_read_unlock();
	find_all(&f, FULL);
	CHECK_EQ(crowd_put(&f, FULL, in_home(7, FULL)), HPX_PUT_DONE);
	find_all(&f, FULL + 1);
	crowd_end(&f);
}

TEST(one_hash_inside_a_section)
{
	const uint64_t hash = in_home(3, 0);
	struct crowd f;
	unsigned n = 0;
	void *e;

	crowd_begin(&f, 8);
	hpx_read_lock();
	while (crowd_put(&f, n, hash) == HPX_PUT_DONE)
		n++;
	hpx_read_unlock();
	CHECK_EQ(n, FULL); /* without a chain: as many as there are slots */
	for (unsigned i = 0; i < n; i++)
		CHECK(crowd_find(&f, i, hash));
	crowd_check(&f, n);
	/* with memory, and one slot for it, there is a chain, and no end */
	e = crowd_find(&f, --n, hash);
	hpx_read_lock();
	CHECK(!(hpx_table_claim(f.t, e) & HPX_W_GONE));
	hpx_read_unlock();
	hpx_record_finish(e);
	for (; n < 2 * FULL; n++)
		CHECK_EQ(crowd_put(&f, n, hash), HPX_PUT_DONE);
	for (unsigned i = 0; i < n; i++)
		CHECK(crowd_find(&f, i, hash));
	crowd_check(&f, n);
	crowd_end(&f);
}

/* Nor is there a chain to be had when the pool is empty and nobody fills it. */
TEST(one_hash_without_memory_for_a_chain)
{
	enum { MOST = 20000 };
	static void *block[MOST];
	const uint64_t hash = in_home(3, 0);
	struct hpx_record *r[FULL + 1];
	struct test_allocator *a;
	struct crowd f;
	unsigned blocks = 0;

	crowd_begin(&f, 8);
	for (unsigned i = 0; i <= FULL; i++)
		r[i] = crowd_record(&f, i, hash);
	a = test_env_allocator(f.env);
	a->fail_from = a->calls + 1;
	while ((block[blocks] = hpx_pool_alloc(f.env, sizeof(struct hpx_chain))) != NULL)
		CHECK(++blocks < MOST);
	for (unsigned i = 0; i < FULL; i++)
		CHECK_EQ(crowd_put_record(&f, r[i], HPX_PUT_ABSENT), HPX_PUT_DONE);
	CHECK_EQ(crowd_put_record(&f, r[FULL], HPX_PUT_ABSENT), HPX_PUT_NOMEM);
	CHECK_PTR(hpx_load_relaxed(&f.t->chains), NULL);
	a->fail_from = 0;
	while (blocks)
		hpx_pool_free(f.env, block[--blocks], sizeof(struct hpx_chain));
	for (unsigned i = 0; i < FULL; i++)
		CHECK(crowd_find(&f, i, hash));
	crowd_check(&f, FULL);
	crowd_end(&f);
}

/* ---- halved ------------------------------------------------------------------------------------------------------ */

enum { EACH = 54 };
_Static_assert(2 * EACH > FULL && 2 * EACH <= FULL + HPX_SLOTS, "two neighbours have one line more than one home");

/* Homes 2 and 3 of 256, of 16 lines, become home 1 of 128, of 15, which has not room for both. */
static uint64_t of_home(unsigned home, unsigned i) { return (uint64_t)home << 56 | (uint64_t)i << 50; }
static uint64_t number(unsigned home, unsigned i) { return home * 1000u + i; }

static struct hpx_array *root_of(struct crowd *f) { return hpx_load_acquire(&f->t->root); }
static struct hpx_array *next_of(struct hpx_array *a) { return hpx_load_acquire(&a->next); }

static bool move(struct crowd *f, struct hpx_array *a, size_t home)
{
	bool moved;

	hpx_read_lock();
	moved = hpx_move_home(f->t, a, home);
	hpx_read_unlock();
	return moved;
}

static void halved_find(struct crowd *f, unsigned home, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		CHECK(crowd_find(f, number(home, i), of_home(home, i)));
}

static void halved_put(struct crowd *f, unsigned home, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		CHECK_EQ(crowd_put(f, number(home, i), of_home(home, i)), HPX_PUT_DONE);
}

/* The move of home 3 is stuck. */
static void halved_begin(struct crowd *f)
{
	crowd_begin(f, 256);
	halved_put(f, 2, EACH);
	halved_put(f, 3, EACH);
	CHECK(!next_of(root_of(f)));
	hpx_want(f->t, 0);
	CHECK(hpx_array_append(f->t, 7));
	CHECK(move(f, root_of(f), 2));
	CHECK(!move(f, root_of(f), 3));
	CHECK_EQ(hpx_load_relaxed(&f->t->want), HPX_WANT_ROOM);
	halved_find(f, 2, EACH);
	halved_find(f, 3, EACH);
	crowd_check(f, 2 * EACH); /* what was copied already counts once */
}

static void halved_end(struct crowd *f, size_t n)
{
	halved_find(f, 2, EACH);
	CHECK(hpx_table_resize(f->t, 0));
	CHECK(!next_of(root_of(f)));
	halved_find(f, 2, EACH);
	crowd_check(f, n);
	crowd_end(f);
}

TEST(a_removal_where_a_move_is_stuck)
{
	struct crowd f;
	void *e;

	halved_begin(&f);
	e = crowd_find(&f, number(3, 5), of_home(3, 5));
	hpx_read_lock();
	CHECK(!(hpx_table_claim(f.t, e) & HPX_W_GONE));
	CHECK(hpx_table_claim(f.t, e) & HPX_W_GONE);
	hpx_read_unlock();
	hpx_record_finish(e);
	CHECK(!crowd_find(&f, number(3, 5), of_home(3, 5)));
	halved_find(&f, 3, 5);
	halved_end(&f, 2 * EACH - 1);
}

TEST(a_put_where_a_move_is_stuck)
{
	struct crowd f;

	halved_begin(&f);
	hpx_read_lock();
	CHECK_EQ(crowd_put(&f, number(3, EACH), of_home(3, EACH)), HPX_PUT_NOMEM);
	hpx_read_unlock();
	halved_find(&f, 3, EACH);
	CHECK_EQ(crowd_put(&f, number(3, EACH), of_home(3, EACH)), HPX_PUT_DONE);
	halved_find(&f, 3, EACH + 1);
	halved_end(&f, 2 * EACH + 1);
}

TEST(a_put_elsewhere_makes_the_room_that_a_move_wants)
{
	struct crowd f;

	halved_begin(&f);
	CHECK_EQ(crowd_put(&f, number(200, 1), of_home(200, 1)), HPX_PUT_DONE);
	CHECK_EQ(hpx_load_relaxed(&f.t->want), 0);
	CHECK(next_of(next_of(root_of(&f))));
	CHECK(move(&f, root_of(&f), 3));
	halved_find(&f, 3, EACH);
	CHECK(crowd_find(&f, number(200, 1), of_home(200, 1)));
	halved_end(&f, 2 * EACH + 1);
}

TEST(a_stuck_move_without_memory)
{
	struct crowd f;
	struct test_allocator *a;

	halved_begin(&f);
	a = test_env_allocator(f.env);
	a->fail_from = a->calls + 1;
	CHECK(!hpx_table_resize(f.t, 0));
	a->fail_from = 0;
	halved_find(&f, 3, EACH);
	hpx_want(f.t, HPX_WANT_ROOM);
	CHECK(hpx_table_resize(f.t, 0));
	halved_find(&f, 3, EACH);
	halved_end(&f, 2 * EACH);
}

/* Lines of a home that has entries in its neighbour's, and the neighbour has moved on. */
static void neighbour_moved(struct crowd *f)
{
	crowd_begin(f, 256);
	halved_put(f, 2, EACH);
	halved_put(f, 3, 5);
	CHECK(!next_of(root_of(f)));
	hpx_want(f->t, 0);
	CHECK(hpx_array_append(f->t, 7));
	CHECK(move(f, root_of(f), 2));
	CHECK(hpx_array_room(f->t));
	CHECK(move(f, next_of(root_of(f)), 2)); /* which nobody is in: but its line is home 1's second */
	CHECK(hpx_load_relaxed(&next_of(root_of(f))->lines[2].ctl) & HPX_CTL_FROZEN);
	CHECK(!(hpx_load_relaxed(&next_of(root_of(f))->lines[1].ctl) & HPX_CTL_FROZEN));
}

TEST(a_move_meets_a_line_that_is_frozen_for_its_neighbour)
{
	struct crowd f;

	neighbour_moved(&f);
	CHECK(move(&f, root_of(&f), 3));
	CHECK(hpx_ctl_done(hpx_load_relaxed(&next_of(root_of(&f))->lines[1].ctl)));
	halved_find(&f, 3, 5);
	halved_end(&f, EACH + 5);
}

TEST(a_put_meets_a_line_that_is_frozen_for_its_neighbour)
{
	struct crowd f;

	neighbour_moved(&f);
	CHECK_EQ(crowd_put(&f, number(2, EACH), of_home(2, EACH)), HPX_PUT_DONE);
	halved_find(&f, 2, EACH + 1);
	halved_end(&f, EACH + 6);
}

TEST(a_removal_meets_a_line_that_is_frozen_for_its_neighbour)
{
	struct crowd f;
	void *e;

	neighbour_moved(&f);
	CHECK_EQ(crowd_put(&f, number(2, EACH), of_home(2, EACH)), HPX_PUT_DONE);
	e = crowd_find(&f, number(2, EACH), of_home(2, EACH));
	hpx_read_lock();
	CHECK(!(hpx_table_claim(f.t, e) & HPX_W_GONE));
	hpx_read_unlock();
	hpx_record_finish(e);
	CHECK(!crowd_find(&f, number(2, EACH), of_home(2, EACH)));
	halved_end(&f, EACH + 5);
}

/* ---- a replacer that was stopped --------------------------------------------------------------------------------- */

/* Between its publication and the removal of what it replaces: both are in, the newer one further on. */
static struct hpx_record *publish_newer(struct crowd *f, uint64_t key, uint64_t hash)
{
	struct hpx_record *r = crowd_record(f, key, hash);
	struct hpx_array *a = root_of(f);
	struct hpx_line *line = hpx_home(a, hash) + hpx_ctl_d(hpx_load_relaxed(&hpx_home(a, hash)->ctl));
	unsigned k = (unsigned)(line - hpx_home(a, hash)), j = 0;
	uint64_t c = hpx_load_relaxed(&line->ctl);

	CHECK(k > 0);
	while (c & hpx_ctl_lane(j, 63))
		CHECK(++j < HPX_SLOTS);
	hpx_store_relaxed(&line->slot[j], (uint64_t)(uintptr_t)r | hpx_slot_low(k));
	hpx_store_relaxed(&line->ctl, hpx_ctl_bump(c | hpx_ctl_lane(j, hpx_tag(hash))));
	return r;
}

static struct hpx_record *two_of_a_key(struct crowd *f, struct hpx_record **newer)
{
	struct hpx_record *older;

	crowd_begin(f, 8);
	older = crowd_record(f, 0, in_home(7, 0));
	CHECK_EQ(crowd_put_record(f, older, HPX_PUT_ABSENT), HPX_PUT_DONE);
	for (unsigned i = 1; i < 10; i++) /* the next line has begun */
		CHECK_EQ(crowd_put(f, i, in_home(7, i)), HPX_PUT_DONE);
	CHECK(!next_of(root_of(f)));
	*newer = publish_newer(f, 0, in_home(7, 0));
	return older;
}

TEST(a_move_takes_the_newer_of_two_entries_along)
{
	struct hpx_record *older, *newer;
	struct crowd f;
	char message[200];

	older = two_of_a_key(&f, &newer);
	CHECK_EQ(hpx_table_check(f.t, message, sizeof(message), NULL), -1); /* at rest there are no two */
	CHECK(strstr(message, "looking up the key of entry"));
	CHECK(hpx_table_resize(f.t, 1));
	CHECK_PTR(crowd_find(&f, 0, in_home(7, 0)), newer);
	crowd_check(&f, 10);
	/* the replacer goes on */
	hpx_read_lock();
	CHECK(!hpx_table_unlink(f.t, older));
	CHECK(!(hpx_table_claim(f.t, older) & HPX_W_GONE));
	hpx_read_unlock();
	hpx_record_finish(older);
	CHECK_PTR(crowd_find(&f, 0, in_home(7, 0)), newer);
	crowd_end(&f);
}

TEST(the_next_replacer_does_what_the_stopped_one_left)
{
	struct hpx_record *newer, *newest;
	struct thing *first;
	struct crowd f;

	two_of_a_key(&f, &newer);
	first = f.thing;
	CHECK_EQ(thing_new(f.env, &f.thing), 0); /* another object: a put of the same would find its own */
	newest = crowd_record(&f, 0, in_home(7, 0));
	CHECK_EQ(crowd_put_record(&f, newest, HPX_PUT_REPLACE), HPX_PUT_DONE);
	CHECK_EQ(f.displaced, 2); /* each once */
	CHECK_PTR(crowd_find(&f, 0, in_home(7, 0)), newest);
	crowd_check(&f, 10);
	hapax_release(first);
	crowd_end(&f);
}
