/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interning (CF-MT-07): one canonical live object for equal contents.
 */
#include <errno.h>

#include "unit/item.h"

struct word {
	char text[16];
	uint32_t live;
};

static int words_destroyed;

static void word_destroy(void *object, void *arg)
{
	struct word *w = object;

	(void)arg;
	CHECK_EQ(__atomic_exchange_n(&w->live, ITEM_DESTROYED, __ATOMIC_RELAXED), ITEM_ALIVE);
	__atomic_fetch_add(&words_destroyed, 1, __ATOMIC_RELAXED);
}

static const hapax_type word_type = {HAPAX_TYPE_INIT, .name = "word", .size = sizeof(struct word), .destroy = word_destroy};

static struct word *word_new(hapax_env *env, const char *text)
{
	void *object = NULL;
	struct word *w;

	CHECK_EQ(hapax_new(env, &word_type, 0, &object), HAPAX_OK);
	w = object;
	snprintf(w->text, sizeof(w->text), "%s", text);
	w->live = ITEM_ALIVE;
	return w;
}

static int text_of(const void *object, hapax_key *bytes, void *ctx)
{
	const struct word *w = object;

	CHECK_EQ(__atomic_load_n(&w->live, __ATOMIC_RELAXED), ITEM_ALIVE);
	if (ctx)
		__atomic_fetch_add((int *)ctx, 1, __ATOMIC_RELAXED);
	*bytes = hapax_key_str(w->text);
	return w->text[0] == '!';
}

static hapax_interner *interner_new(hapax_env *env, int *asked)
{
	hapax_interner_options options = {HAPAX_INTERNER_OPTIONS_INIT, .env = env, .type = &word_type, .contents = text_of,
					  .ctx = asked};
	hapax_interner *interner = NULL;

	CHECK_EQ(hapax_interner_create(&interner, &options), HAPAX_OK);
	return interner;
}

static void interner_end(hapax_interner *interner, size_t size)
{
	char message[256] = "";

	if (hapax_testing_check_interner(interner, message, sizeof(message)))
		TEST_FAIL("interner check: %s", message);
	CHECK_EQ(hapax_interner_size(interner), size);
	hapax_interner_destroy(interner);
}

/* Interns and gives up what was interned: the canonical one. */
static struct word *intern(hapax_interner *interner, struct word *w, bool first)
{
	void *out = (void *)1;
	bool canonical = !first;

	CHECK_EQ(hapax_intern(interner, w, &out, &canonical), HAPAX_OK);
	CHECK_EQ(canonical, out == w);
	CHECK_EQ(canonical, first);
	hapax_release(w);
	return out;
}

TEST(CF_MT_07_equal_objects_are_one)
{
	hapax_env *env = test_env();
	int asked = 0;
	hapax_interner *interner = interner_new(env, &asked);
	struct word *a = intern(interner, word_new(env, "a"), true), *b = intern(interner, word_new(env, "b"), true);
	void *out = NULL;

	CHECK_EQ(hapax_count(a), 1); /* the interner holds nothing */
	CHECK_PTR(intern(interner, word_new(env, "a"), false), a);
	CHECK_EQ(words_destroyed, 1);
	CHECK_EQ(hapax_count(a), 2);
	CHECK_EQ(hapax_interner_size(interner), 2);
	CHECK_EQ(asked, 3);
	CHECK_EQ(hapax_retain(b), HAPAX_OK);
	CHECK_PTR(intern(interner, b, true), b); /* itself again */
	CHECK_EQ(hapax_intern_find(interner, HAPAX_STR("b"), &out), HAPAX_OK);
	CHECK_PTR(out, b);
	hapax_release(out);
	CHECK_EQ(hapax_intern_find(interner, HAPAX_STR("c"), &out), HAPAX_MISS);
	CHECK(!out);
	CHECK_EQ(asked, 4);
	for (int i = 0; i < 2; i++) {
		hapax_release(a);
		hapax_release(b);
	}
	interner_end(interner, 0);
	test_env_end(env);
}

struct dying_word {
	hapax_env *env;
	hapax_interner *interner;
	struct word *again;
};

static void another_takes_its_place(hapax_weak *weak, void *ctx)
{
	struct dying_word *d = ctx;

	(void)weak;
	d->again = intern(d->interner, word_new(d->env, "a"), true);
}

TEST(CF_MT_07_the_next_one_takes_the_place_of_a_dead_one)
{
	struct dying_word d = {.env = test_env()};
	hapax_callback callback = {another_takes_its_place, &d, NULL};
	hapax_weak *weak = NULL;
	struct word *a;

	d.interner = interner_new(d.env, NULL);
	a = intern(d.interner, word_new(d.env, "a"), true);
	CHECK_EQ(hapax_weak_new(a, &callback, &weak), HAPAX_OK);
	hapax_release(a);
	CHECK(d.again);
	CHECK_EQ(hapax_interner_size(d.interner), 1);
	CHECK_PTR(intern(d.interner, word_new(d.env, "a"), false), d.again);
	CHECK_EQ(hapax_weak_drop(weak), 0);
	hapax_release(d.again);
	hapax_release(d.again);
	interner_end(d.interner, 0);
	test_env_end(d.env);
}

TEST(the_whole_payload_is_the_contents_by_default)
{
	static const hapax_type pair_type = {HAPAX_TYPE_INIT, .name = "pair", .size = 2 * sizeof(uint64_t)};
	hapax_env *env = test_env();
	hapax_interner_options options = {HAPAX_INTERNER_OPTIONS_INIT, .env = env, .type = &pair_type};
	hapax_interner *interner;
	uint64_t *pair[3];
	void *object, *out;

	CHECK_EQ(hapax_interner_create(&interner, &options), HAPAX_OK);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(hapax_new(env, &pair_type, 8, &object), HAPAX_OK); /* what is beyond the type's size does not count */
		pair[i] = object;
		pair[i][0] = 7;
		pair[i][1] = (uint64_t)(i == 2);
		pair[i][2] = (uint64_t)i;
	}
	CHECK_EQ(hapax_intern(interner, pair[0], &out, NULL), HAPAX_OK);
	CHECK_PTR(out, pair[0]);
	hapax_release(out);
	CHECK_EQ(hapax_intern(interner, pair[1], &out, NULL), HAPAX_OK);
	CHECK_PTR(out, pair[0]);
	hapax_release(out);
	CHECK_EQ(hapax_intern(interner, pair[2], &out, NULL), HAPAX_OK);
	CHECK_PTR(out, pair[2]);
	hapax_release(out);
	CHECK_EQ(hapax_interner_size(interner), 2);
	for (int i = 0; i < 3; i++)
		hapax_release(pair[i]);
	interner_end(interner, 0);
	test_env_end(env);
}

static bool caseless_equal(const hapax_key *a, const hapax_key *b, void *ctx)
{
	(void)ctx;
	for (size_t i = 0; i < a->size; i++)
		if ((((const char *)a->data)[i] ^ ((const char *)b->data)[i]) & ~32)
			return false;
	return a->size == b->size;
}

static int caseless_hash(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)ctx;
	*hash = key->size;
	return 0;
}

TEST(an_equality_of_the_users)
{
	hapax_env *env = test_env();
	hapax_interner_options options = {HAPAX_INTERNER_OPTIONS_INIT, .env = env, .contents = text_of,
					  .keys = {.hash = caseless_hash, .equal = caseless_equal}};
	hapax_interner *interner;
	struct word *w;

	CHECK_EQ(hapax_interner_create(&interner, &options), HAPAX_OK);
	w = intern(interner, word_new(env, "Word"), true);
	CHECK_PTR(intern(interner, word_new(env, "wORD"), false), w);
	hapax_release(intern(interner, word_new(env, "Wort"), true));
	hapax_release(w);
	hapax_release(w);
	interner_end(interner, 0);
	test_env_end(env);
}

TEST(what_the_interner_refuses)
{
	hapax_env *env = test_env(), *elsewhere = test_env();
	hapax_interner_options options = {HAPAX_INTERNER_OPTIONS_INIT, .env = env};
	hapax_type bad = word_type;
	hapax_interner *interner = (void *)1;
	struct word *w = word_new(env, "w"), *failing = word_new(env, "!"), *foreign = word_new(elsewhere, "f");
	struct item *item = item_new(env, 1);
	bool canonical = true;
	void *out = (void *)1;

	errno = 4711;
	CHECK_EQ(hapax_interner_create(NULL, &options), HAPAX_ENULL);
	CHECK_EQ(hapax_interner_create(&interner, NULL), HAPAX_ENULL);
	CHECK(!interner);
	CHECK_EQ(hapax_interner_create(&interner, &options), HAPAX_EOPTION); /* neither type nor contents */
	options.contents = text_of;
	options.keys.borrow = true;
	CHECK_EQ(hapax_interner_create(&interner, &options), HAPAX_EOPTION);
	options.keys.borrow = false;
	options.size--;
	CHECK_EQ(hapax_interner_create(&interner, &options), HAPAX_EOPTSIZE);
	options.size++;
	options.flags = 1;
	CHECK_EQ(hapax_interner_create(&interner, &options), HAPAX_EFLAGS);
	options.flags = 0;
	options.type = &strong_type;
	CHECK_EQ(hapax_interner_create(&interner, &options), HAPAX_ENOTWEAK);
	bad.align = 3;
	options.type = &bad;
	CHECK_EQ(hapax_interner_create(&interner, &options), HAPAX_ETYPE);
	interner = interner_new(env, NULL);
	CHECK_EQ(hapax_intern(NULL, w, &out, &canonical), HAPAX_ENULL);
	CHECK(!out && !canonical);
	CHECK_EQ(hapax_intern(interner, NULL, &out, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_intern(interner, w, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_intern(interner, item, &out, NULL), HAPAX_ETYPE);
	out = (void *)1;
	canonical = true;
	CHECK_EQ(hapax_intern(interner, failing, &out, &canonical), HAPAX_ECALLBACK);
	CHECK(!out && !canonical);
	CHECK_EQ(hapax_intern(interner, foreign, &out, NULL), HAPAX_EFOREIGN);
	CHECK_EQ(hapax_intern_find(NULL, HAPAX_STR("w"), &out), HAPAX_ENULL);
	CHECK_EQ(hapax_intern_find(interner, HAPAX_STR("w"), NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_intern_find(interner, hapax_key_bytes(NULL, 1), &out), HAPAX_EKEY);
	CHECK_EQ(hapax_interner_size(NULL), 0);
	hapax_interner_destroy(NULL);
	CHECK_EQ(errno, 4711);
	CHECK_EQ(hapax_count(w), 1);
	hapax_release(w);
	hapax_release(failing);
	hapax_release(foreign);
	hapax_release(item);
	interner_end(interner, 0);
	test_env_end(env);
	test_env_end(elsewhere);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

enum { INTERNERS = 4, WORDS = 8 };

struct together {
	hapax_env *env;
	hapax_interner *interner;
	struct test_barrier barrier;
	struct word *got[INTERNERS];
	uint64_t rounds;
};

/* All at once the same contents: all get one. */
static void intern_together(unsigned index, void *arg)
{
	struct together *t = arg;
	void *out;

	for (uint64_t n = 0; n < t->rounds; n++) {
		struct word *w = word_new(t->env, "same");

		test_barrier_wait(&t->barrier);
		CHECK_EQ(hapax_intern(t->interner, w, &out, NULL), HAPAX_OK);
		hapax_release(w);
		t->got[index] = out;
		test_barrier_wait(&t->barrier);
		for (int i = 0; i < INTERNERS; i++)
			CHECK_PTR(t->got[i], out);
		test_barrier_wait(&t->barrier);
		hapax_release(out); /* and it dies: the next round has another one */
	}
}

TEST(CF_MT_07_threads_that_intern_equal_objects_get_one)
{
	struct together t = {.env = test_env(), .rounds = scaled(3000)};

	t.interner = interner_new(t.env, NULL);
	test_barrier_init(&t.barrier, INTERNERS);
	run_threads(INTERNERS, intern_together, &t);
	CHECK_EQ(words_destroyed, (int)t.rounds * INTERNERS);
	interner_end(t.interner, 0);
	test_env_end(t.env);
}

/* Words come and die all the time. Whoever holds one of some contents gets that very one for equal contents. */
static void intern_and_die(unsigned index, void *arg)
{
	struct together *t = arg;
	uint64_t random = test_stream(index);
	char text[16];
	void *first, *second;

	for (uint64_t n = 0; n < t->rounds; n++) {
		struct word *w, *other;

		snprintf(text, sizeof(text), "w%u", (unsigned)test_below(&random, WORDS));
		w = word_new(t->env, text);
		other = word_new(t->env, text);
		CHECK_EQ(hapax_intern(t->interner, w, &first, NULL), HAPAX_OK);
		CHECK_STR(((struct word *)first)->text, text);
		CHECK_EQ(hapax_intern(t->interner, other, &second, NULL), HAPAX_OK);
		CHECK_PTR(second, first);
		hapax_release(second);
		CHECK_EQ(hapax_intern_find(t->interner, hapax_key_str(text), &second), HAPAX_OK);
		CHECK_PTR(second, first);
		hapax_release(second);
		hapax_release(w);
		hapax_release(other);
		hapax_release(first);
	}
}

TEST(CF_MT_07_the_canonical_one_stays_while_somebody_holds_it)
{
	struct together t = {.env = test_env(), .rounds = scaled(15000)};

	t.interner = interner_new(t.env, NULL);
	run_threads(INTERNERS, intern_and_die, &t);
	CHECK_EQ(words_destroyed, (int)t.rounds * INTERNERS * 2);
	interner_end(t.interner, 0);
	test_env_end(t.env);
}
