/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/growth.c - a table that moves into another array, against everything else; chains of equal hashes.
 *
 * One thread resizes, the others do one or two calls each on keys that are present throughout, come, or go.
 *
 * Faults put in on purpose that show here: FREEZE_MISSED (a put into a home that is being moved is lost), REMOVES_NEWER.
 */
#include "model/scenarios/kit.h"

enum { MANY = 9 };

struct grow {
	struct kit k;
	struct item *item[MANY]; /* item[n] has key n and is in */
	struct item *fresh;      /* not in yet, for key 0 or 10 */
	unsigned seen[KIT_ITEMS + 1];
	unsigned keys;
	int status;
};

static void setup(struct grow *s, enum kit_hash hash, unsigned keys)
{
	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	kit_table(&s->k, hash);
	s->keys = keys;
	for (unsigned n = 0; n < keys; n++) {
		s->item[n] = kit_new(&s->k, n);
		kit_put(&s->k, n, s->item[n]);
	}
	s->fresh = kit_new(&s->k, 0);
}

/* Two keys: small, for exhausting. Homed: both in one home, so the threads meet in one line. */
static void small_setup(void *state) { setup(state, KIT_HOMED, 2); }
static void spread_setup(void *state) { setup(state, KIT_PLAIN, 3); }
static void full_setup(void *state) { setup(state, KIT_HOMED, 7); } /* the home is full: one more raises its reach */
static void chain_setup(void *state) { setup(state, KIT_CHAINED, MANY); }

static void resize(struct grow *s, int delta)
{
	int status = hapax_testing_table_resize(s->k.table, delta);

	MODEL_CHECK(!status || status == HAPAX_ENOMEM, "a resize: %s", hapax_status_name(status));
}

static void grow(void *state) { resize(state, 1); }
static void shrink(void *state) { resize(state, -1); }
static void renew(void *state) { resize(state, 0); }

/* What is under key 1 is in throughout. */
static void find_present(void *state)
{
	struct grow *s = state;
	struct item *found = kit_find(&s->k, 1);

	MODEL_CHECK(found == s->item[1], "a key that is present throughout was not found");
	kit_give(&s->k, 1, found);
}

static void find_going(void *state)
{
	struct grow *s = state;
	struct item *found = kit_find(&s->k, 0);

	MODEL_CHECK(!found || found == s->item[0] || found == s->fresh, "a lookup got another key's object");
	kit_give(&s->k, 0, found);
}

static void put_new(void *state)
{
	struct grow *s = state;
	struct item *found;

	kit_put(&s->k, 10, s->fresh);
	found = kit_find(&s->k, 10);
	MODEL_CHECK(found == s->fresh, "what was just put is not there");
	kit_give(&s->k, 10, found);
}

static void replace(void *state)
{
	struct grow *s = state;
	struct item *found;

	kit_put(&s->k, 0, s->fresh);
	found = kit_find(&s->k, 0);
	MODEL_CHECK(found == s->fresh, "what was just put is not there");
	kit_give(&s->k, 0, found);
}

static void put_only(void *state) { kit_put(state, 0, ((struct grow *)state)->fresh); }

static void die(void *state)
{
	struct grow *s = state;

	hapax_release(s->item[0]);
	s->item[0] = NULL;
}

static void removal(void *state)
{
	struct grow *s = state;

	s->status = hapax_table_remove(s->k.table, kit_key(0));
	MODEL_CHECK(!s->status, "a removal of a present key: %s", hapax_status_name(s->status));
	MODEL_CHECK(!hapax_table_contains(s->k.table, kit_key(0)), "a removed key is present");
}

/* At rest: key `key` has `expected`, keys 1 and up what they had, nothing else is in. */
static void finish(struct grow *s, unsigned key, struct item *expected)
{
	struct item *found = kit_find(&s->k, key);
	size_t entries = expected ? 1 : 0;

	MODEL_CHECK(found == expected, "in the end key %u has object %u", key, found ? found->id : 0);
	kit_give(&s->k, key, found);
	for (unsigned n = 0; n < s->keys; n++) {
		if (n == key)
			continue;
		found = kit_find(&s->k, n);
		MODEL_CHECK(found == s->item[n], "in the end key %u has object %u", n, found ? found->id : 0);
		kit_give(&s->k, n, found);
		entries++;
	}
	kit_check(&s->k, entries);
	for (unsigned n = 0; n < s->keys; n++)
		hapax_release(s->item[n]);
	hapax_release(s->fresh);
	kit_close(&s->k, 0);
}

static void same_finish(void *state) { finish(state, 0, ((struct grow *)state)->item[0]); }
static void new_finish(void *state) { finish(state, 10, ((struct grow *)state)->fresh); }
static void replaced_finish(void *state) { finish(state, 0, ((struct grow *)state)->fresh); }
static void gone_finish(void *state) { finish(state, 0, NULL); }

SCENARIO(grow_look, "grow-look", "growth against two lookups", struct grow, small_setup, same_finish, 1, grow,
	 find_present, find_present);
SCENARIO(grow_put, "grow-put", "growth against a put of a new key", struct grow, small_setup, new_finish, 1, grow,
	 put_new);
SCENARIO(grow_put_look, "grow-put-look", "growth against a put and a lookup", struct grow, spread_setup, new_finish, 1,
	 grow, put_new, find_present);
SCENARIO(grow_replace, "grow-replace", "growth against a replacement", struct grow, small_setup, replaced_finish, 1,
	 grow, replace);
SCENARIO(grow_replace_look, "grow-replace-look", "growth against a replacement and a lookup of the key", struct grow,
	 small_setup, replaced_finish, 1, grow, put_only, find_going);
SCENARIO(grow_death, "grow-death", "growth against a death", struct grow, small_setup, gone_finish, 1, grow, die);
SCENARIO(grow_remove, "grow-remove", "growth against a removal", struct grow, small_setup, gone_finish, 1, grow,
	 removal);
SCENARIO(grow_death_put, "grow-death-put", "growth against a death and a put of its key", struct grow, small_setup,
	 replaced_finish, 1, grow, die, put_only);
SCENARIO(grow_grow, "grow-grow", "two resizes against a lookup", struct grow, small_setup, same_finish, 1, grow, renew,
	 find_present);
SCENARIO(grow_shrink, "grow-shrink", "growth against shrinking and a put", struct grow, spread_setup, new_finish, 1, grow,
	 shrink, put_new);

/* Two get_or_put of one key during growth get one object. */
static void offer_old(void *state)
{
	struct grow *s = state;
	bool inserted = true;
	void *out = NULL;

	if (hapax_table_get_or_put(s->k.table, kit_key(1), s->fresh, &out, &inserted))
		model_fail("hapax_table_get_or_put failed");
	MODEL_CHECK(!inserted && out == s->item[1], "get_or_put did not find what is present throughout");
	kit_give(&s->k, 1, kit_hold(&s->k, 1, out));
}

SCENARIO(grow_get_or_put, "grow-get-or-put", "growth against get_or_put of a present key", struct grow, small_setup,
	 same_finish, 1, grow, offer_old);

/* An iteration during growth: what is in throughout comes exactly once. */
static void iterate(void *state)
{
	struct grow *s = state;
	hapax_iter *iter = NULL;
	hapax_key key;
	void *object;
	int status;

	if (hapax_table_iterate(s->k.table, &iter))
		model_fail("hapax_table_iterate failed");
	while ((status = hapax_iter_next(iter, &key, &object)) == 0) {
		struct item *item = object;

		MODEL_CHECK(key.size == 4 && *(const unsigned char *)key.data == item->key, "a pair of another key");
		kit_hold(&s->k, item->key, item);
		kit_unhold(&s->k, item->key, item);
		s->seen[item->id]++;
	}
	MODEL_CHECK(status == HAPAX_EMPTY, "hapax_iter_next: %s", hapax_status_name(status));
	hapax_iter_close(iter);
}

static void iterated(struct grow *s)
{
	for (unsigned n = 1; n < s->keys; n++)
		MODEL_CHECK(s->seen[s->item[n]->id] == 1, "object %u was yielded %u times", s->item[n]->id,
			    s->seen[s->item[n]->id]);
	for (unsigned id = 1; id <= KIT_ITEMS; id++)
		MODEL_CHECK(s->seen[id] <= 1, "object %u was yielded %u times", id, s->seen[id]);
}

static void iterated_same(void *state)
{
	iterated(state);
	same_finish(state);
}

static void iterated_gone(void *state)
{
	iterated(state);
	gone_finish(state);
}

SCENARIO(grow_iterate, "grow-iterate", "growth during an iteration", struct grow, spread_setup, iterated_same, 1, grow,
	 iterate);
SCENARIO(grow_iterate_death, "grow-iterate-death", "growth and a death during an iteration", struct grow, spread_setup,
	 iterated_gone, 1, grow, iterate, die);

/* No memory for the new array: nothing changes. */
static void grow_starved(void *state)
{
	struct grow *s = state;

	model_fail_allocation(1 + model_choose(3));
	resize(s, 1);
	model_fail_allocation(0);
}

SCENARIO(grow_starved, "grow-starved", "growth without memory against a death", struct grow, small_setup, gone_finish, 1,
	 grow_starved, die);

/* ---- a home that is full ----------------------------------------------------------------------------------------- */

SCENARIO(raise_put, "raise-put", "a put that raises a home's reach against a replacement and a lookup", struct grow,
	 full_setup, replaced_finish, 1, put_only, find_present, find_going);

static void put_ten(void *state) { kit_put(state, 10, ((struct grow *)state)->item[2]); }
static void put_eleven(void *state) { kit_put(state, 11, ((struct grow *)state)->item[3]); }

static void raised_finish(void *state)
{
	struct grow *s = state;
	struct item *ten = kit_find(&s->k, 10), *eleven = kit_find(&s->k, 11);

	MODEL_CHECK(ten == s->item[2] && eleven == s->item[3], "a put into a full home was lost");
	kit_give(&s->k, 10, ten);
	kit_give(&s->k, 11, eleven);
	if (hapax_table_remove(s->k.table, kit_key(10)) || hapax_table_remove(s->k.table, kit_key(11)))
		model_fail("hapax_table_remove failed");
	gone_finish(state);
}

SCENARIO(raise_two, "raise-two", "two puts raise a full home's reach while an object there dies", struct grow, full_setup,
	 raised_finish, 1, put_ten, put_eleven, die);

/* ---- chains: keys of one hash ------------------------------------------------------------------------------------ */

static void find_last(void *state)
{
	struct grow *s = state;
	struct item *found = kit_find(&s->k, MANY - 1);

	MODEL_CHECK(found == s->item[MANY - 1], "a key in the chain was not found");
	kit_give(&s->k, MANY - 1, found);
}

static void die_last(void *state)
{
	struct grow *s = state;

	hapax_release(s->item[MANY - 1]);
	s->item[MANY - 1] = NULL;
}

static void put_last(void *state) { kit_put(state, MANY - 1, ((struct grow *)state)->fresh); }

static void chain_die_finish(void *state)
{
	struct grow *s = state;

	finish(s, 10, s->fresh);
}

static void chain_put_finish(void *state)
{
	struct grow *s = state;
	struct item *found = kit_find(&s->k, MANY - 1);

	MODEL_CHECK(found == s->fresh, "the death of an older object removed the newer one's entry in the chain");
	kit_give(&s->k, MANY - 1, found);
	s->item[MANY - 1] = s->fresh;
	s->fresh = NULL;
	finish(s, 0, s->item[0]);
}

static void chain_first(void *state)
{
	struct grow *s = state;

	hapax_release(s->item[0]);
	s->item[0] = NULL;
	find_last(state);
}

static void chain_first_finish(void *state) { gone_finish(state); }

static void chain_last_gone(void *state)
{
	struct grow *s = state;

	s->keys = MANY - 1;
	same_finish(state);
}

SCENARIO(chain_death, "chain-death", "two deaths in a chain against a lookup in it", struct grow, chain_setup,
	 chain_first_finish, 1, die, find_last, find_present);
SCENARIO(chain_death_put, "chain-death-put", "a death in a chain against a put of its key", struct grow, chain_setup,
	 chain_put_finish, 1, die_last, put_last);
SCENARIO(chain_put, "chain-put", "a put at a chain's end against a death there", struct grow, chain_setup,
	 chain_die_finish, 2, put_new, find_last, find_present);
SCENARIO(chain_death_last, "chain-death-last", "the death of a chain's last against a lookup", struct grow, chain_setup,
	 chain_last_gone, 2, die_last, find_present);
SCENARIO(chain_grow, "chain-grow", "a chain moves while one of its objects dies", struct grow, chain_setup,
	 chain_first_finish, 1, grow, chain_first);
