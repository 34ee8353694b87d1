/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scenarios/over.c - replace_if, upsert and compute: puts over exactly one entry, against everything else.
 *
 * The old and the new entry are near (one line), far (the home is full: the new one goes into the next line), in a chain,
 * or on the move into another array.
 *
 * Faults put in on purpose that show here: OVER_UNDECIDED, OVER_REMOVED, REPLACED_UNSETTLED.
 */
#include "model/scenarios/kit.h"

enum { FAR = 8, CHAINED = 9 };

struct over {
	struct kit k;
	struct item *a, *b, *c, *d; /* A is in under key 0; the scenario holds all to the end */
	struct item *other[CHAINED]; /* under the keys from 1 on */
	unsigned others;
	int status[3];
	unsigned seen[KIT_ITEMS + 1];
};

static int hash_home(const hapax_key *key, uint64_t *hash, void *ctx)
{
	unsigned n = *(const unsigned char *)key->data;

	(void)ctx;
	*hash = (uint64_t)(n + 1) << 20 | n;
	return 0;
}

static int hash_alike(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)key;
	(void)ctx;
	*hash = UINT64_C(0x123456789abcdef0);
	return 0;
}

/* `entries` all in all, in one home. */
static void setup(struct over *s, unsigned entries, int (*hash)(const hapax_key *key, uint64_t *hash, void *ctx))
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .keys.hash = hash, .name = "modelled"};

	kit_open(&s->k, 0, 0);
	s->k.loose = true;
	o.env = s->k.env;
	if (hapax_cache_create(&s->k.cache, &o))
		model_fail("hapax_cache_create failed");
	s->a = kit_new(&s->k, 0);
	s->b = kit_new(&s->k, 0);
	s->c = kit_new(&s->k, 0);
	s->d = kit_new(&s->k, 0);
	kit_cache_put(&s->k, 0, s->a);
	for (s->others = 0; s->others + 1 < entries; s->others++) {
		s->other[s->others] = kit_new(&s->k, s->others + 1);
		kit_cache_put(&s->k, s->others + 1, s->other[s->others]);
	}
}

static void near_setup(void *state) { setup(state, 1, hash_home); }
static void far_setup(void *state) { setup(state, FAR, hash_home); }
static void chain_setup(void *state) { setup(state, CHAINED, hash_alike); }

/* Which one is in: NULL for none. At rest; ends everything. */
static struct item *finish(struct over *s)
{
	struct item *found = kit_peek(&s->k, 0);
	struct item *was = found;

	kit_check(&s->k, s->others + (found != NULL));
	if (found)
		kit_give(&s->k, 0, found);
	for (unsigned n = 0; n < s->others; n++)
		hapax_release(s->other[n]);
	hapax_release(s->a);
	hapax_release(s->b);
	hapax_release(s->c);
	hapax_release(s->d);
	kit_close(&s->k, 0);
	return was;
}

static void swap(struct over *s, unsigned n, struct item *from, struct item *to)
{
	s->status[n] = hapax_cache_replace_if(s->k.cache, kit_key(0), from, to);
	MODEL_CHECK(!s->status[n] || s->status[n] == HAPAX_MISS, "hapax_cache_replace_if: %s",
		    hapax_status_name(s->status[n]));
}

static void a_to_b(void *state)
{
	struct over *s = state;

	swap(s, 0, s->a, s->b);
}

static void a_to_c(void *state)
{
	struct over *s = state;

	swap(s, 1, s->a, s->c);
}

static void b_to_c(void *state)
{
	struct over *s = state;

	swap(s, 1, s->b, s->c);
}

static void put_c(void *state) { kit_cache_put(state, 0, ((struct over *)state)->c); }

static void remove_0(void *state)
{
	struct over *s = state;
	struct item *found;
	int status = hapax_cache_remove(s->k.cache, kit_key(0));

	MODEL_CHECK(!status, "a key that is never absent could not be removed: %s", hapax_status_name(status));
	found = kit_peek(&s->k, 0);
	MODEL_CHECK(!found, "after a removal object %u is there", found->id);
}

/* How far it has come: objects follow one another in the order A, B, C, and have their ids in it. */
static unsigned rank(const struct item *found) { return found ? found->id : KIT_ITEMS + 1; }

static void look(struct over *s, bool may_be_absent)
{
	struct item *one = kit_peek(&s->k, 0), *two = kit_peek(&s->k, 0);

	MODEL_CHECK(may_be_absent || (one && two), "a key that is replaced reads absent");
	MODEL_CHECK(rank(one) <= rank(two), "object %u was seen, then %u", one ? one->id : 0, two ? two->id : 0);
	if (one)
		kit_give(&s->k, 0, one);
	if (two)
		kit_give(&s->k, 0, two);
}

static void look_twice(void *state) { look(state, false); }
static void look_until_gone(void *state) { look(state, true); }

static void contains(void *state)
{
	struct over *s = state;

	MODEL_CHECK(hapax_cache_contains(s->k.cache, kit_key(0)) == 1, "a key that is replaced is not contained");
}

/* ---- removals ---------------------------------------------------------------------------------------------------- */

static void gone_finish(void *state)
{
	struct item *found = finish(state);

	MODEL_CHECK(!found, "a removal left something, or something came back after it");
}

SCENARIO(over_remove, "over-remove", "an object is replaced, if it is the one, and removed; a third thread looks twice",
	 struct over, near_setup, gone_finish, 1, a_to_b, remove_0, look_until_gone);
SCENARIO(over_remove_far, "over-remove-far", "the same, with the new entry in another line", struct over, far_setup,
	 gone_finish, 1, a_to_b, remove_0, look_until_gone);
SCENARIO(over_remove_chain, "over-remove-chain", "the same in a chain", struct over, chain_setup, gone_finish, 1, a_to_b,
	 remove_0, look_until_gone);

static void clear(void *state) { hapax_cache_clear(((struct over *)state)->k.cache); }

static void clear_finish(void *state)
{
	struct over *s = state;
	int status = s->status[0];
	struct item *a = s->a, *found;

	s->others = 0;
	found = finish(s);
	MODEL_CHECK(found != a, "clear left what was there before it");
	MODEL_CHECK(!status || !found, "what was not put is there");
}

SCENARIO(over_remove_two, "over-remove-two", "a replacement against a removal", struct over, near_setup, gone_finish, 2, a_to_b,
	 remove_0);
SCENARIO(over_clear, "over-clear", "a replacement against clear", struct over, near_setup, clear_finish, 1, a_to_b, clear);

/* ---- other puts -------------------------------------------------------------------------------------------------- */

static void c_finish(void *state)
{
	struct over *s = state;
	struct item *c = s->c, *found = finish(s);

	MODEL_CHECK(found == c, "after a put something else is there");
}

SCENARIO(over_put, "over-put", "a replacement of exactly one object against a put; a third thread looks twice", struct over,
	 near_setup, c_finish, 1, a_to_b, put_c, look_twice);
SCENARIO(over_put_far, "over-put-far", "the same, with the new entries in another line", struct over, far_setup, c_finish, 1,
	 a_to_b, put_c, look_twice);
SCENARIO(over_put_two, "over-put-two", "a replacement against a put", struct over, near_setup, c_finish, 2, a_to_b, put_c);
SCENARIO(over_put_chain, "over-put-chain", "the same in a chain", struct over, chain_setup, c_finish, 1, a_to_b, put_c,
	 look_twice);

static void winner_finish(void *state)
{
	struct over *s = state;
	struct item *b = s->b, *c = s->c, *found;
	int first = s->status[0], second = s->status[1];

	found = finish(s);
	MODEL_CHECK(!first != !second, "two replacements of one object: %s and %s", hapax_status_name(first),
		    hapax_status_name(second));
	MODEL_CHECK(found == (first ? c : b), "the winner's object is not there");
}

static void look_once(void *state)
{
	struct over *s = state;
	struct item *found = kit_peek(&s->k, 0);

	MODEL_CHECK(found, "a key that is replaced reads absent");
	kit_give(&s->k, 0, found);
}

SCENARIO(over_over, "over-over", "two replacements of one object: one has it; a third thread looks", struct over, near_setup,
	 winner_finish, 1, a_to_b, a_to_c, look_once);
SCENARIO(over_over_two, "over-over-two", "two replacements of one object", struct over, near_setup, winner_finish, 2, a_to_b,
	 a_to_c);
SCENARIO(over_over_far, "over-over-far", "the same, with the new entries in another line", struct over, far_setup,
	 winner_finish, 1, a_to_b, a_to_c, look_once);

/* The second may come too early; what it replaces then is the first's. */
static void row_finish(void *state)
{
	struct over *s = state;
	struct item *b = s->b, *c = s->c, *found;
	int first = s->status[0], second = s->status[1];

	found = finish(s);
	MODEL_CHECK(!first, "a replacement that nobody came before: %s", hapax_status_name(first));
	MODEL_CHECK(found == (second ? b : c), "the last replacement's object is not there");
}

SCENARIO(over_row, "over-row", "a replacement of what another one puts; a third thread looks twice", struct over, near_setup,
	 row_finish, 1, a_to_b, b_to_c, look_twice);
SCENARIO(over_row_far, "over-row-far", "the same, with the new entries in another line", struct over, far_setup, row_finish, 1,
	 a_to_b, b_to_c, look_twice);

static void offer_d(void *state)
{
	struct over *s = state;
	bool inserted = false;
	void *out = NULL;
	int status = hapax_cache_get_or_put(s->k.cache, kit_key(0), s->d, &out, &inserted);

	MODEL_CHECK(!status && !inserted && (out == s->a || out == s->b), "get_or_put of a present key inserted");
	kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
}

static void b_finish(void *state)
{
	struct over *s = state;
	struct item *b = s->b, *found;
	int status = s->status[0];

	found = finish(s);
	MODEL_CHECK(!status && found == b, "a replacement that nobody came before: %s", hapax_status_name(status));
}

SCENARIO(over_offer, "over-offer", "a replacement against get_or_put and contains", struct over, near_setup, b_finish, 1,
	 a_to_b, offer_d, contains);

/* ---- deaths ------------------------------------------------------------------------------------------------------ */

/* The scenario's reference to A goes, as does its reference to what is put in A's place. */
static void release_a(void *state)
{
	struct over *s = state;
	struct item *a = s->a;

	s->a = NULL;
	hapax_release(a);
}

static void a_to_b_drop(void *state)
{
	struct over *s = state;
	struct item *b = s->b;

	swap(s, 0, s->d, b);
	s->b = NULL;
	hapax_release(b);
}

/* D is what A is known as to the thread that does not hold it. */
static void death_setup(void *state)
{
	struct over *s = state;

	near_setup(state);
	hapax_release(s->d);
	s->d = s->a;
}

static void death_finish(void *state)
{
	struct over *s = state;
	struct item *found;

	s->d = NULL;
	found = finish(s);
	MODEL_CHECK(!found, "an object that died is there");
}

SCENARIO(over_death, "over-death", "a replacement while the old object dies; the new one dies after it", struct over,
	 death_setup, death_finish, 1, a_to_b_drop, release_a, look_until_gone);

/* ---- iterating, moving ------------------------------------------------------------------------------------------- */

static void iterate(void *state)
{
	struct over *s = state;
	hapax_iter *iter = NULL;
	hapax_key key;
	void *object;
	int status;

	if (hapax_cache_iterate(s->k.cache, &iter))
		model_fail("hapax_cache_iterate failed");
	while ((status = hapax_iter_next(iter, &key, &object)) == 0)
		s->seen[((struct item *)object)->id]++;
	MODEL_CHECK(status == HAPAX_EMPTY, "hapax_iter_next: %s", hapax_status_name(status));
	hapax_iter_close(iter);
}

static void iterated_finish(void *state)
{
	struct over *s = state;
	unsigned of_key = s->seen[s->a->id] + s->seen[s->b->id];

	MODEL_CHECK(of_key == 1, "a key present throughout was yielded %u times", of_key);
	for (unsigned n = 0; n < s->others; n++)
		MODEL_CHECK(s->seen[s->other[n]->id] == 1, "another key was yielded %u times", s->seen[s->other[n]->id]);
	b_finish(state);
}

SCENARIO(over_iterate, "over-iterate", "a replacement during an iteration", struct over, near_setup, iterated_finish, 1, a_to_b,
	 iterate);
SCENARIO(over_iterate_far, "over-iterate-far", "the same, with the new entry in another line", struct over, far_setup,
	 iterated_finish, 1, a_to_b, iterate);

static void grow(void *state)
{
	struct over *s = state;
	int status = hapax_testing_cache_resize(s->k.cache, 1);

	MODEL_CHECK(!status || status == HAPAX_ENOMEM, "a resize: %s", hapax_status_name(status));
}

SCENARIO(over_grow, "over-grow", "a replacement while the table grows; a third thread looks twice", struct over, near_setup,
	 b_finish, 1, a_to_b, grow, look_twice);
SCENARIO(over_grow_far, "over-grow-far", "the same, with the new entry in another line", struct over, far_setup, b_finish, 1,
	 a_to_b, grow, look_twice);
SCENARIO(over_grow_put, "over-grow-put", "a replacement against a put and growth", struct over, near_setup, c_finish, 1, a_to_b,
	 put_c, grow);
SCENARIO(over_grow_remove, "over-grow-remove", "a replacement against a removal and growth", struct over, near_setup,
	 gone_finish, 1, a_to_b, remove_0, grow);

/* ---- compute ----------------------------------------------------------------------------------------------------- */

static int next_of(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct over *s = arg;

	(void)key;
	(void)error;
	MODEL_CHECK(current == s->a || current == s->b, "compute was given what is not there");
	*object = current == s->a ? s->b : s->c;
	if (hapax_retain(*object))
		model_fail("hapax_retain failed");
	return HAPAX_COMPUTE_PUT;
}

static void step(void *state)
{
	struct over *s = state;
	hapax_change change;
	void *out = NULL;
	int status = hapax_cache_compute(s->k.cache, kit_key(0), next_of, s, HAPAX_FOREVER, &out, &change, NULL);

	MODEL_CHECK(!status && change == HAPAX_REPLACED && out, "hapax_cache_compute: %s", hapax_status_name(status));
	kit_give(&s->k, 0, kit_hold(&s->k, 0, out));
}

SCENARIO(over_compute, "compute", "two computes of one key, from A to B to C; a third thread looks twice", struct over,
	 near_setup, c_finish, 1, step, step, look_twice);

static int fresh_one(void *current, const hapax_key *key, void **object, void *arg, hapax_load_error *error)
{
	struct over *s = arg;

	(void)key;
	(void)error;
	MODEL_CHECK(!current || current == s->a, "compute was given what is not there");
	*object = s->c;
	if (hapax_retain(*object))
		model_fail("hapax_retain failed");
	return HAPAX_COMPUTE_PUT;
}

static void step_again(void *state)
{
	struct over *s = state;
	int status = hapax_cache_compute(s->k.cache, kit_key(0), fresh_one, s, HAPAX_FOREVER, NULL, NULL, NULL);

	MODEL_CHECK(!status, "hapax_cache_compute: %s", hapax_status_name(status));
}

static void remove_any(void *state)
{
	struct over *s = state;

	s->status[1] = hapax_cache_remove(s->k.cache, kit_key(0));
}

static void removed_or_c_finish(void *state)
{
	struct over *s = state;
	struct item *c = s->c, *found;
	int status = s->status[1];

	found = finish(s);
	MODEL_CHECK(!status && (!found || found == c), "a removal of a present key: %s", hapax_status_name(status));
}

SCENARIO(compute_remove, "compute-remove", "compute against a removal", struct over, near_setup, removed_or_c_finish, 1,
	 step_again, remove_any);
