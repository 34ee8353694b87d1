/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/table.c - puts, lookups, removals and deaths in one table.
 *
 * Faults put in on purpose that show here: PUBLISH_BEFORE_INIT, REMOVES_NEWER, RETIRE_BEFORE_UNLINK, USE_AFTER_UNLOCK.
 */
#include "model/scenarios/kit.h"

struct tab {
	struct kit k;
	struct item *a, *b, *c, *d;
	struct item *got[3];
	int status[3];
};

static void expect(int status, int expected, const char *call)
{
	MODEL_CHECK(status == expected, "%s: %s, not %s", call, hapax_status_name(status), hapax_status_name(expected));
}

/* A is in, B and C are not; the scenario holds all three to the end. */
static void held_setup(void *state)
{
	struct tab *s = state;

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	kit_table(&s->k, KIT_PLAIN);
	s->a = kit_new(&s->k, 0);
	s->b = kit_new(&s->k, 0);
	s->c = kit_new(&s->k, 0);
	kit_put(&s->k, 0, s->a);
}

static void empty_setup(void *state)
{
	struct tab *s = state;

	held_setup(state);
	expect(hapax_table_remove(s->k.table, kit_key(0)), 0, "hapax_table_remove");
}

static void held_end(struct tab *s)
{
	hapax_release(s->a);
	hapax_release(s->b);
	hapax_release(s->c);
	hapax_release(s->d);
	kit_close(&s->k, 0);
}

static void put_b(void *state) { kit_put(state, 0, ((struct tab *)state)->b); }
static void put_c(void *state) { kit_put(state, 0, ((struct tab *)state)->c); }

/* Which one is in: NULL for none. At rest. */
static struct item *inside(struct tab *s)
{
	struct item *found = kit_find(&s->k, 0);

	kit_check(&s->k, found ? 1 : 0);
	kit_give(&s->k, 0, found);
	return found;
}

/* ---- putting ----------------------------------------------------------------------------------------------------- */

static void put_finish(void *state)
{
	struct tab *s = state;
	struct item *found = inside(s);

	MODEL_CHECK(found == s->b || found == s->c, "after two puts neither is in");
	held_end(s);
}

static void find_twice(void *state)
{
	struct tab *s = state;
	struct item *one = kit_find(&s->k, 0), *two = kit_find(&s->k, 0);

	MODEL_CHECK(one && two, "a key that is replaced reads absent");
	MODEL_CHECK(one == s->a || two != s->a, "an object came back after it was replaced");
	kit_give(&s->k, 0, one);
	kit_give(&s->k, 0, two);
}

SCENARIO(put_put, "put-put", "two puts of an absent key", struct tab, empty_setup, put_finish, 2, put_b, put_c);
SCENARIO(replace_look, "replace-look", "two puts replace an object; a third thread looks twice", struct tab, held_setup,
	 put_finish, 1, put_b, put_c, find_twice);

/* A put publishes an object that was made just before: whoever finds it finds it whole. */
static void make_put(void *state)
{
	struct tab *s = state;

	s->d = kit_new(&s->k, 0);
	kit_put(&s->k, 0, s->d);
}

static void find_drop(void *state)
{
	struct tab *s = state;

	kit_give(&s->k, 0, kit_find(&s->k, 0));
}

static void made_finish(void *state)
{
	struct tab *s = state;

	MODEL_CHECK(inside(s) == s->d, "what was put is not there");
	held_end(s);
}

SCENARIO(publish, "publish", "an object is made and put while two threads look it up", struct tab, empty_setup,
	 made_finish, 3, make_put, find_drop, find_drop);

/* get_or_put by three: all get one object. */
static void offer(struct tab *s, unsigned n, struct item *mine)
{
	bool inserted = false;
	void *out = NULL;

	expect(hapax_table_get_or_put(s->k.table, kit_key(0), mine, &out, &inserted), 0, "hapax_table_get_or_put");
	MODEL_CHECK(inserted == (out == mine), "inserted: %d, and got another object", inserted);
	s->got[n] = kit_hold(&s->k, 0, out);
	s->status[n] = inserted;
}

static void offer_a(void *state) { offer(state, 0, ((struct tab *)state)->a); }
static void offer_b(void *state) { offer(state, 1, ((struct tab *)state)->b); }
static void offer_c(void *state) { offer(state, 2, ((struct tab *)state)->c); }

static void offer_setup(void *state)
{
	struct tab *s = state;

	empty_setup(state);
	s->k.loose = false;
}

static void offer_finish(void *state)
{
	struct tab *s = state;

	MODEL_CHECK(s->got[0] == s->got[1] && s->got[1] == s->got[2], "three get_or_put gave different objects");
	MODEL_CHECK(s->status[0] + s->status[1] + s->status[2] == 1, "not one of three inserted");
	MODEL_CHECK(inside(s) == s->got[0], "what was inserted is not there");
	for (unsigned n = 0; n < 3; n++)
		kit_give(&s->k, 0, s->got[n]);
	held_end(s);
}

SCENARIO(get_or_put, "get-or-put", "three get_or_put of one key get one object", struct tab, offer_setup, offer_finish,
	 1, offer_a, offer_b, offer_c);

/* ---- removing ---------------------------------------------------------------------------------------------------- */

static void remove_any(void *state)
{
	struct tab *s = state;

	s->status[0] = hapax_table_remove(s->k.table, kit_key(0));
}

static void remove_a(void *state)
{
	struct tab *s = state;

	s->status[1] = hapax_table_remove_if(s->k.table, kit_key(0), s->a);
}

static void pop(void *state)
{
	struct tab *s = state;
	void *out = NULL;

	s->status[2] = hapax_table_pop(s->k.table, kit_key(0), &out);
	MODEL_CHECK((s->status[2] == 0) == (out != NULL), "hapax_table_pop: %s, and an object",
		    hapax_status_name(s->status[2]));
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
}

static void removed_finish(void *state)
{
	struct tab *s = state;
	unsigned removed = 0;

	for (unsigned n = 0; n < 3; n++) {
		MODEL_CHECK(s->status[n] == 0 || s->status[n] == HAPAX_MISS, "a removal: %s",
			    hapax_status_name(s->status[n]));
		removed += s->status[n] == 0;
	}
	MODEL_CHECK(removed == 1, "%u removals of one object succeeded", removed);
	MODEL_CHECK(!inside(s), "a removed object is still there");
	held_end(s);
}

SCENARIO(remove_pop, "remove-pop", "remove, remove_if and pop of one object: one has it", struct tab, held_setup,
	 removed_finish, 1, remove_any, remove_a, pop);

/* A removal against a replacement: something is there in any order of the two. */
static void removed_replaced_finish(void *state)
{
	struct tab *s = state;
	struct item *found = inside(s);

	expect(s->status[0], 0, "hapax_table_remove");
	MODEL_CHECK(!found || found == s->b, "a replaced object came back");
	held_end(s);
}

static void contains(void *state)
{
	struct tab *s = state;

	s->status[2] = hapax_table_contains(s->k.table, kit_key(0));
	MODEL_CHECK(s->status[2] == 0 || s->status[2] == 1, "hapax_table_contains: %d", s->status[2]);
}

SCENARIO(remove_replace, "remove-replace", "a removal against a replacement and contains", struct tab, held_setup,
	 removed_replaced_finish, 1, remove_any, put_b, contains);

/* A conditional removal takes exactly its object: what replaced it stays. */
static void conditional_finish(void *state)
{
	struct tab *s = state;

	MODEL_CHECK(s->status[1] == 0 || s->status[1] == HAPAX_MISS, "hapax_table_remove_if: %s",
		    hapax_status_name(s->status[1]));
	MODEL_CHECK(inside(s) == s->b, "a conditional removal took another object");
	held_end(s);
}

SCENARIO(remove_if, "remove-if", "a conditional removal against a replacement", struct tab, held_setup,
	 conditional_finish, 2, remove_a, put_b);

/* clear takes what was there before it, and nothing twice. */
static void clear(void *state) { hapax_table_clear(((struct tab *)state)->k.table); }

static void clear_finish(void *state)
{
	struct tab *s = state;
	struct item *found = inside(s);

	MODEL_CHECK(found != s->a, "clear left what was there before it");
	MODEL_CHECK(!found || found == s->b, "a removed object is there");
	held_end(s);
}

SCENARIO(clear_put, "clear-put", "clear against a replacement and a lookup", struct tab, held_setup, clear_finish, 1,
	 clear, put_b, find_drop);

static void pop_any(void *state)
{
	struct tab *s = state;
	void *out = NULL;
	int status = hapax_table_pop_any(s->k.table, &out);

	MODEL_CHECK(out ? status == 0 : status == HAPAX_EMPTY, "hapax_table_pop_any: %s", hapax_status_name(status));
	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
	s->status[1] = s->status[2] = HAPAX_MISS;
	s->status[0] = status == 0 ? 0 : HAPAX_MISS;
}

static void pop_any_two(void *state)
{
	struct tab *s = state;
	void *out = NULL;
	int status = hapax_table_pop_any(s->k.table, &out);

	if (out)
		kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
	s->got[0] = status == 0 ? out : NULL;
}

static void pop_any_finish(void *state)
{
	struct tab *s = state;

	MODEL_CHECK((s->status[0] == 0) != (s->got[0] != NULL), "one object was popped twice, or not at all");
	MODEL_CHECK(!inside(s), "a popped object is still there");
	held_end(s);
}

SCENARIO(pop_any_twice, "pop-any", "two pop_any of one object", struct tab, held_setup, pop_any_finish, 2, pop_any,
	 pop_any_two);

/* ---- several tables ---------------------------------------------------------------------------------------------- */

static void tables_setup(void *state)
{
	struct tab *s = state;

	kit_open(&s->k, 0, 0);
	kit_table(&s->k, KIT_PLAIN);
	kit_table(&s->k, KIT_PLAIN);
	s->a = kit_new(&s->k, 0);
	if (hapax_retain(s->a) || hapax_retain(s->a))
		model_fail("hapax_retain failed");
}

static void tables_one(void *state)
{
	struct tab *s = state;

	kit_put(&s->k, 0, s->a);
	hapax_release(s->a);
}

static void tables_other(void *state)
{
	struct tab *s = state;

	expect(hapax_table_put(s->k.other, kit_key(1), s->a), 0, "hapax_table_put");
	hapax_release(s->a);
}

static void tables_release(void *state) { hapax_release(((struct tab *)state)->a); }

static void tables_finish(void *state)
{
	struct tab *s = state;

	MODEL_CHECK(s->k.destroyed == 1, "destroyed %u times", s->k.destroyed);
	MODEL_CHECK(!hapax_table_size(s->k.other), "an object that died is in the other table");
	kit_close(&s->k, 0);
}

SCENARIO(two_tables, "two-tables", "one object is put into two tables and released by three threads", struct tab,
	 tables_setup, tables_finish, 1, tables_one, tables_other, tables_release);

/* A table ends while an object that is in it dies. */
static void ending_setup(void *state)
{
	struct tab *s = state;

	kit_open(&s->k, 0, 0);
	kit_table(&s->k, KIT_PLAIN);
	s->a = kit_new(&s->k, 0);
	s->b = kit_new(&s->k, 1);
	kit_put(&s->k, 0, s->a);
	kit_put(&s->k, 1, s->b);
}

static void end_table(void *state)
{
	struct tab *s = state;

	hapax_table_destroy(s->k.table);
	s->k.table = NULL;
}

static void release_b(void *state) { hapax_release(((struct tab *)state)->b); }

static void ended_finish(void *state)
{
	struct tab *s = state;

	MODEL_CHECK(s->k.destroyed == 2, "%u destructors ran", s->k.destroyed);
	kit_close(&s->k, 0);
}

SCENARIO(table_end, "table-end", "a table ends while two of its objects die", struct tab, ending_setup, ended_finish, 1,
	 end_table, tables_release, release_b);

/* A copy of a table, while one of its objects dies. */
static void copy(void *state)
{
	struct tab *s = state;
	size_t copied = 0;

	expect(hapax_table_copy(s->k.other, s->k.table, &copied), 0, "hapax_table_copy");
	MODEL_CHECK(copied == 1 || copied == 2, "%zu of two objects were copied", copied);
}

static void copy_setup(void *state)
{
	ending_setup(state);
	kit_table(state, KIT_PLAIN);
}

static void copy_finish(void *state)
{
	struct tab *s = state;
	struct item *found = kit_find_in(&s->k, s->k.other, 1);

	MODEL_CHECK(found == s->b && hapax_table_size(s->k.other) == 1, "the copy is not right");
	kit_give(&s->k, 1, found);
	hapax_release(s->b);
	kit_close(&s->k, 0);
}

SCENARIO(copy_death, "copy-death", "a table is copied while one of its objects dies", struct tab, copy_setup,
	 copy_finish, 1, copy, tables_release);

/* ---- without memory ---------------------------------------------------------------------------------------------- */

static void put_starved(void *state)
{
	struct tab *s = state;

	model_fail_allocation(1 + model_choose(3));
	s->status[0] = hapax_table_put(s->k.table, kit_key(0), s->b);
	model_fail_allocation(0);
	MODEL_CHECK(!s->status[0] || s->status[0] == HAPAX_ENOMEM, "hapax_table_put: %s",
		    hapax_status_name(s->status[0]));
}

static void starved_finish(void *state)
{
	struct tab *s = state;

	MODEL_CHECK(inside(s) == (s->status[0] ? s->a : s->b), "a put said %s, and that is not so",
		    hapax_status_name(s->status[0]));
	held_end(s);
}

static void find_a(void *state)
{
	struct tab *s = state;
	struct item *found = kit_find(&s->k, 0);

	MODEL_CHECK(found == s->a || found == s->b, "a key that is replaced, or not for lack of memory, reads absent");
	kit_give(&s->k, 0, found);
}

SCENARIO(put_starved, "put-starved", "a put without memory beside a lookup", struct tab, held_setup, starved_finish, 2,
	 put_starved, find_a);
