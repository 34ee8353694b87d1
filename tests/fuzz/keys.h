/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz/keys.h - a few keys of many sizes, some of them beginnings of others; hash functions from good to useless. */
#ifndef TEST_FUZZ_KEYS_H
#define TEST_FUZZ_KEYS_H

#include <hapax/table.h>

#include "fuzz/things.h"

/* NO_HASH cannot be hashed by hash functions of ours; the keys after it are numbers, for steps that take many. */
enum { NO_HASH = 19, NUMBERS_FROM, KEYS = 96 };

static unsigned char key_bytes[70000];
static uint32_t key_numbers[KEYS];

static hapax_key key_of(unsigned k)
{
	static const size_t sizes[NUMBERS_FROM] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 25, 32, 48, 64, 65, 300, 4096, 66000, 11};
	static bool filled;

	if (!filled)
		for (size_t i = 0; i < sizeof(key_bytes); i++)
			key_bytes[i] = (unsigned char)(i * 7 + i / 251);
	filled = true;
	if (k >= NUMBERS_FROM) {
		key_numbers[k] = k;
		return hapax_key_bytes(&key_numbers[k], sizeof(key_numbers[k]));
	}
	/* odd ones begin elsewhere: keys of one size differ by their bytes, others are beginnings of one another */
	return hapax_key_bytes(key_bytes + (k & 1 ? 1000 : 0), sizes[k]);
}

static unsigned key_number(const hapax_key *key)
{
	if (key->size == sizeof(*key_numbers)) {
		uint32_t number;

		memcpy(&number, key->data, sizeof(number));
		FUZZ_CHECK(number >= NUMBERS_FROM && number < KEYS, "a number that nobody put");
		return number;
	}
	for (unsigned k = 0; k < NUMBERS_FROM; k++)
		if (key_of(k).size == key->size && (!key->size || !memcmp(key_of(k).data, key->data, key->size)))
			return k;
	FUZZ_CHECK(false, "a key of %zu bytes that nobody put", key->size);
	return 0;
}

static unsigned pick_key(struct world *w)
{
	unsigned k = fuzz_byte(&w->in);

	return k < 250 ? k % NO_HASH : NO_HASH;
}

/* 0: the table's own; 1: a good one; 2: two bits; 3: constant. */
struct key_style {
	unsigned quality;
	bool borrow;
	uint64_t stored, stored_most, released;
};

static int key_hash(const hapax_key *key, uint64_t *hash, void *ctx)
{
	const struct key_style *style = ctx;
	uint64_t h = UINT64_C(0xcbf29ce484222325) + key->size;
	unsigned k = key_number(key);

	if (k == NO_HASH)
		return 1;
	h = (h ^ k) * UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 29;
	*hash = style->quality == 1 ? h : style->quality == 2 ? h & 3 : UINT64_C(0xffffffffffffffff);
	return 0;
}

static bool key_equal(const hapax_key *a, const hapax_key *b, void *ctx)
{
	(void)ctx;
	return a->size == b->size && (!a->size || !memcmp(a->data, b->data, a->size));
}

static void key_release(const hapax_key *key, void *ctx)
{
	struct key_style *style = ctx;

	key_number(key);
	style->released++;
	FUZZ_CHECK(style->released <= style->stored_most, "%u keys released, %u stored", (unsigned)style->released,
		   (unsigned)style->stored_most);
}

static hapax_key_ops key_ops(struct key_style *style, unsigned how)
{
	hapax_key_ops ops = {.ctx = style};

	*style = (struct key_style){.quality = how & 3, .borrow = how >> 2 & 1};
	if (style->quality)
		ops.hash = key_hash;
	if (how >> 3 & 1)
		ops.equal = key_equal;
	ops.borrow = style->borrow;
	if (style->borrow)
		ops.release = key_release;
	return ops;
}

/* What a call with this key must answer before anything else; 0: nothing. */
static int key_error(const struct key_style *style, unsigned k)
{
	return k == NO_HASH && style->quality ? HAPAX_EHASH : 0;
}

#endif
