/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unit/crowd.h - a bare table whose records have the hashes that a test wants, and so the places. */
#ifndef TEST_CROWD_H
#define TEST_CROWD_H

#include "support/support.h"

#include "table/core.h"
#include "table/lookup.h"

struct thing {
	int i;
};
HAPAX_TYPE(thing, struct thing, .destroy = NULL);

/* Records hold no reference: one thing is behind all of them. Keys are numbers; the hash is the test's. */
struct crowd {
	hapax_env *env;
	struct hpx_table *t;
	struct thing *thing;
	unsigned displaced;
	uint64_t word; /* of the last that was displaced, before */
};

static void crowd_begin(struct crowd *f, unsigned homes)
{
	struct hpx_table_config config = {.capacity = homes * (size_t)4};

	*f = (struct crowd){.env = test_env()};
	config.env = f->env;
	CHECK_EQ(hpx_table_new(&f->t, &config), 0);
	CHECK_EQ(hpx_table_lines(f->t), homes);
	CHECK_EQ(thing_new(f->env, &f->thing), 0);
}

static void crowd_over(void *e, uint64_t word, void *ctx)
{
	(void)word;
	(void)ctx;
	hpx_record_finish(e);
}

__attribute__((unused)) static void crowd_check(struct crowd *f, size_t expected)
{
	char message[200] = "";
	size_t entries = 0;

	if (hpx_table_check(f->t, message, sizeof(message), &entries) != 0)
		TEST_FAIL("%s", message);
	CHECK_EQ(entries, expected);
}

static void crowd_end(struct crowd *f)
{
	hpx_table_end(f->t, crowd_over, NULL);
	hpx_table_drop(f->t);
	hapax_release(f->thing);
	test_env_end(f->env);
}

static struct hpx_record *crowd_record(struct crowd *f, uint64_t key, uint64_t hash)
{
	hapax_key k = HAPAX_KEY_OF(key);
	struct hpx_record *r;

	CHECK_EQ(hpx_record_new(f->t, &k, hash, 0, hpx_object_of(f->thing), &r), 0);
	return r;
}

static void crowd_displaced(void *e, uint64_t word, void *ctx)
{
	struct crowd *f = ctx;

	f->displaced++;
	f->word = word;
	hpx_record_finish(e);
}

/* A record whose put did not succeed is discarded. */
static enum hpx_put_result crowd_put_record(struct crowd *f, struct hpx_record *r, enum hpx_put_mode mode)
{
	hapax_key key = hpx_table_key(f->t, r);
	struct hpx_object *found;
	enum hpx_put_result result;
	void *entry;

	hpx_read_lock();
	result = hpx_table_put(f->t, hpx_word_hash(hpx_load_relaxed(hpx_word(r))), &key, r, mode, &found, &entry,
			       crowd_displaced, f);
	hpx_read_unlock();
	if (found)
		hpx_release(found);
	if (result != HPX_PUT_DONE)
		hpx_record_discard(r);
	return result;
}

__attribute__((unused)) static enum hpx_put_result crowd_put(struct crowd *f, uint64_t key, uint64_t hash)
{
	return crowd_put_record(f, crowd_record(f, key, hash), HPX_PUT_ABSENT);
}

/* The entry that is found under a key, or NULL. */
__attribute__((unused)) static void *crowd_find(struct crowd *f, uint64_t key, uint64_t hash)
{
	hapax_key k = HAPAX_KEY_OF(key);
	struct hpx_object *object;
	void *entry;

	hpx_read_lock();
	object = hpx_table_lookup(f->t, hash, &k, &entry);
	hpx_read_unlock();
	if (!object)
		return NULL;
	CHECK_PTR(object, hpx_object_of(f->thing));
	hpx_release(object);
	return entry;
}

#endif
