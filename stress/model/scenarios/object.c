/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/object.c - counts, upgrades, deaths.
 *
 * Faults put in on purpose that show here: PLAIN_COUNT, RELAXED_RELEASE, INCREMENT_FROM_ZERO, NO_GRACE_PERIOD,
 * RETIRE_BEFORE_UNLINK, USE_AFTER_UNLOCK, REMOVES_NEWER.
 */
#include "model/scenarios/kit.h"

/* ---- upgrade against death --------------------------------------------------------------------------------------- */

struct upgrade {
	struct kit k;
	struct item *item;
	hapax_weak *weak[2];
};

static void upgrade_setup(void *state)
{
	struct upgrade *s = state;

	kit_open(&s->k, 0, 0);
	s->item = kit_new(&s->k, 0);
	kit_hold(&s->k, 0, s->item);
	s->weak[0] = kit_weak(s->item);
	if (hapax_weak_dup(s->weak[0], &s->weak[1]))
		model_fail("hapax_weak_dup failed");
}

static void upgrade_release(void *state)
{
	struct upgrade *s = state;

	kit_give(&s->k, 0, s->item);
}

static void upgrade_one(struct upgrade *s, hapax_weak *weak)
{
	kit_give(&s->k, 0, kit_upgrade(&s->k, 0, weak));
	hapax_weak_drop(weak);
}

static void upgrade_first(void *state) { upgrade_one(state, ((struct upgrade *)state)->weak[0]); }
static void upgrade_second(void *state) { upgrade_one(state, ((struct upgrade *)state)->weak[1]); }

static void upgrade_finish(void *state)
{
	struct upgrade *s = state;

	MODEL_CHECK(s->k.destroyed == 1, "destroyed %u times", s->k.destroyed);
	kit_close(&s->k, 0);
}

SCENARIO(upgrade_death, "upgrade-death", "two upgrades of one handle against the last release", struct upgrade,
	 upgrade_setup, upgrade_finish, 1, upgrade_release, upgrade_first, upgrade_second);

/* An upgrade that found the object dead finds it dead for ever; one that got it keeps it alive. */
static void upgrade_twice(void *state)
{
	struct upgrade *s = state;
	struct item *first = kit_upgrade(&s->k, 0, s->weak[0]), *second = kit_upgrade(&s->k, 0, s->weak[0]);

	MODEL_CHECK(first || !second, "a dead object was upgraded");
	MODEL_CHECK(!first || second == first, "a held object could not be upgraded");
	MODEL_CHECK(!first || hapax_weak_alive(s->weak[0]), "a held object does not read alive");
	kit_give(&s->k, 0, first);
	kit_give(&s->k, 0, second);
	hapax_weak_drop(s->weak[0]);
	hapax_weak_drop(s->weak[1]);
}

SCENARIO(upgrade_again, "upgrade-again", "two upgrades in a row against the last release", struct upgrade,
	 upgrade_setup, upgrade_finish, 2, upgrade_release, upgrade_twice);

/* ---- lookup against death ---------------------------------------------------------------------------------------- */

static void lookup_setup(void *state)
{
	struct upgrade *s = state;

	kit_open(&s->k, 0, 0);
	kit_table(&s->k, KIT_PLAIN);
	s->item = kit_new(&s->k, 0);
	kit_hold(&s->k, 0, s->item);
	kit_put(&s->k, 0, s->item);
}

static void lookup(void *state)
{
	struct upgrade *s = state;

	kit_give(&s->k, 0, kit_find(&s->k, 0));
}

static void lookup_finish(void *state)
{
	struct upgrade *s = state;

	MODEL_CHECK(!hapax_table_contains(s->k.table, kit_key(0)), "a dead object is present");
	kit_close(&s->k, 0);
}

SCENARIO(lookup_death, "lookup-death", "two lookups of a table against the last release", struct upgrade, lookup_setup,
	 lookup_finish, 1, upgrade_release, lookup, lookup);

/* ---- deaths ------------------------------------------------------------------------------------------------------ */

struct deaths {
	struct kit k;
	struct item *a, *b;
	hapax_weak *weak;
	size_t ran;
};

/* Everything that holders did with an object comes before its destructor. */
static void deaths_setup(void *state)
{
	struct deaths *s = state;

	kit_open(&s->k, 0, 0);
	s->a = kit_new(&s->k, 0);
	s->b = kit_new(&s->k, 1);
	if (hapax_retain(s->a))
		model_fail("hapax_retain failed");
	kit_hold(&s->k, 0, s->a);
	kit_hold(&s->k, 0, s->a);
}

static void deaths_read(void *state)
{
	struct deaths *s = state;

	kit_read(&s->a->mark);
	kit_give(&s->k, 0, s->a);
}

static void deaths_read_too(void *state)
{
	struct deaths *s = state;

	deaths_read(state);
	hapax_release(s->b);
}

static void deaths_finish(void *state)
{
	struct deaths *s = state;

	MODEL_CHECK(s->k.destroyed == 2, "%u destructors ran", s->k.destroyed);
	kit_close(&s->k, 0);
}

SCENARIO(last_release, "last-release", "two holders release: the destructor comes after both", struct deaths,
	 deaths_setup, deaths_finish, 2, deaths_read, deaths_read_too);

/* A count that goes up and down in several threads at once. */
static void deaths_retain(void *state)
{
	struct deaths *s = state;

	if (hapax_retain(s->a))
		model_fail("hapax_retain of a held object failed");
	kit_hold(&s->k, 0, s->a);
	kit_give(&s->k, 0, s->a);
	deaths_read(state);
}

static void deaths_retain_too(void *state)
{
	struct deaths *s = state;

	deaths_retain(state);
	hapax_release(s->b);
}

SCENARIO(counts, "counts", "two holders retain and release", struct deaths, deaths_setup, deaths_finish, 2,
	 deaths_retain, deaths_retain_too);

/* Two objects of one key in two tables die at once; lookups of both tables. */
static void two_setup(void *state)
{
	struct deaths *s = state;

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	kit_table(&s->k, KIT_PLAIN);
	kit_table(&s->k, KIT_PLAIN);
	s->a = kit_new(&s->k, 0);
	s->b = kit_new(&s->k, 0);
	kit_put(&s->k, 0, s->a);
	if (hapax_table_put(s->k.other, kit_key(0), s->b) || hapax_table_put(s->k.other, kit_key(1), s->a))
		model_fail("hapax_table_put failed");
}

static void release_a(void *state) { hapax_release(((struct deaths *)state)->a); }
static void release_b(void *state) { hapax_release(((struct deaths *)state)->b); }

static void two_find(void *state)
{
	struct deaths *s = state;
	struct item *one = kit_find(&s->k, 0), *other = kit_find_in(&s->k, s->k.other, 1);

	MODEL_CHECK(!one || one == s->a, "a lookup got an object of another table");
	MODEL_CHECK(one ? other == s->a : !other, "an object is alive in one table and not in the other");
	kit_give(&s->k, 0, one);
	kit_give(&s->k, 1, other);
	other = kit_find_in(&s->k, s->k.other, 0);
	MODEL_CHECK(!other || other == s->b, "a lookup got an object of another table");
	kit_give(&s->k, 0, other);
}

static void two_finish(void *state)
{
	struct deaths *s = state;

	MODEL_CHECK(s->k.destroyed == 2, "%u destructors ran", s->k.destroyed);
	MODEL_CHECK(!hapax_table_size(s->k.other), "the other table has %zu entries", hapax_table_size(s->k.other));
	kit_close(&s->k, 0);
}

SCENARIO(two_deaths, "two-deaths", "two objects of one key die at once, in two tables", struct deaths, two_setup,
	 two_finish, 1, release_a, release_b, two_find);

/* A destructor releases the last reference to another object that somebody upgrades. */
static void cascade_setup(void *state)
{
	struct deaths *s = state;

	kit_open(&s->k, 0, 0);
	s->a = kit_new(&s->k, 0);
	s->b = kit_new(&s->k, 1);
	s->weak = kit_weak(s->b);
	s->a->child = s->b;
}

static void cascade_release(void *state)
{
	struct deaths *s = state;

	hapax_release(s->a);
	MODEL_CHECK(s->k.life[1].destroyed, "the release returned before the destructor had run");
}

static void cascade_upgrade(void *state)
{
	struct deaths *s = state;

	kit_give(&s->k, 1, kit_upgrade(&s->k, 1, s->weak));
	hapax_weak_drop(s->weak);
}

SCENARIO(cascade, "cascade", "a death that causes another, against an upgrade of that one", struct deaths, cascade_setup,
	 deaths_finish, 2, cascade_release, cascade_upgrade);

/* ---- death against put of the same key --------------------------------------------------------------------------- */

static void put_setup(void *state)
{
	struct deaths *s = state;

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	kit_table(&s->k, KIT_PLAIN);
	s->a = kit_new(&s->k, 0);
	kit_put(&s->k, 0, s->a);
}

static void put_b(void *state)
{
	struct deaths *s = state;
	struct item *found;

	s->b = kit_new(&s->k, 0);
	kit_put(&s->k, 0, s->b);
	found = kit_find(&s->k, 0);
	MODEL_CHECK(found == s->b, "object %u was put and is held, and %u is found", s->b->id, found ? found->id : 0);
	kit_give(&s->k, 0, found);
}

static void put_finish(void *state)
{
	struct deaths *s = state;
	struct item *found = kit_find(&s->k, 0);

	MODEL_CHECK(found == s->b, "the death of an older object removed the newer one's entry");
	kit_check(&s->k, 1);
	kit_give(&s->k, 0, found);
	hapax_release(s->b);
	kit_close(&s->k, 0);
}

static void put_look(void *state)
{
	struct deaths *s = state;

	kit_give(&s->k, 0, kit_find(&s->k, 0));
}

SCENARIO(death_put, "death-put", "the death of an object against a put of its key", struct deaths, put_setup,
	 put_finish, 1, release_a, put_b);
SCENARIO(death_put_look, "death-put-look", "the death of an object, a put of its key and a lookup", struct deaths,
	 put_setup, put_finish, 1, release_a, put_b, put_look);

/* get_or_put: either it gets the living one, or its own is in and stays. */
static void put_or_get(void *state)
{
	struct deaths *s = state;
	bool inserted = false;
	void *out = NULL;

	s->b = kit_new(&s->k, 0);
	if (hapax_table_get_or_put(s->k.table, kit_key(0), s->b, &out, &inserted))
		model_fail("hapax_table_get_or_put failed");
	MODEL_CHECK(out == (inserted ? s->b : s->a), "inserted: %d, and got another object", inserted);
	kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
	s->ran = inserted;
}

static void put_or_get_finish(void *state)
{
	struct deaths *s = state;
	struct item *found = kit_find(&s->k, 0);

	MODEL_CHECK(found == (s->ran ? s->b : NULL), "present: object %u", found ? found->id : 0);
	kit_give(&s->k, 0, found);
	hapax_release(s->b);
	kit_close(&s->k, 0);
}

SCENARIO(death_get_or_put, "death-get-or-put", "the death of an object against get_or_put of its key", struct deaths,
	 put_setup, put_or_get_finish, 1, release_a, put_or_get);

/* ---- deferred deaths --------------------------------------------------------------------------------------------- */

static void deferred_setup(void *state)
{
	struct deaths *s = state;

	kit_open(&s->k, 0, 0);
	if (kit_try_new(&s->k, &kit_deferred_type, 0, 0, &s->a) || kit_try_new(&s->k, &kit_deferred_type, 1, 0, &s->b))
		model_fail("hapax_new failed");
	s->weak = kit_weak(s->b);
}

static void deferred_both(void *state)
{
	struct deaths *s = state;

	hapax_release(s->a);
	hapax_release(s->b);
	MODEL_CHECK(!hapax_weak_alive(s->weak), "a handle of a dead object reads alive");
}

static void deferred_run(void *state)
{
	struct deaths *s = state;

	s->ran += hapax_run_deferred(s->k.env);
}

static void deferred_finish(void *state)
{
	struct deaths *s = state;

	s->ran += hapax_run_deferred(s->k.env);
	MODEL_CHECK(s->ran == 2 && s->k.destroyed == 2, "%zu deaths were run, %u destructors", s->ran, s->k.destroyed);
	hapax_weak_drop(s->weak);
	kit_close(&s->k, 0);
}

SCENARIO(deferred_deaths, "deferred-deaths", "deferred deaths are run by two threads while they are released",
	 struct deaths, deferred_setup, deferred_finish, 1, deferred_both, deferred_run, deferred_run);
