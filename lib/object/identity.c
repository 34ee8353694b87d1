/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/identity.c - weak handles as values: equality, hash, order, keys.
 *
 * An object's handles have one thing in common, and nothing else has it: the side record. It is there before the first
 * handle and goes after the last, whatever becomes of the object; so its address is an identity that no death changes
 * and that no other object's handles can have as long as one of these is held. Hash and order are made of it alone;
 * equality asks also whether the object is alive.
 *
 * As keys. A table compares a caller's key, whose handle the caller holds, with stored ones, in a section. A stored
 * key's handle may have been dropped by then, by an owner who saw the entry go. That is no use after free: side
 * records and nodes are retired, and a section that found the entry was entered before. (A node may have become
 * another registration of the same object meanwhile: its record is still the same.)
 */
#include "object/internal.h"
#include "object/side.h"

static const struct hpx_side *identity(hapax_weak *weak) { return weak ? hpx_side_of_weak(weak) : NULL; }

bool hapax_weak_equal(hapax_weak *a, hapax_weak *b)
{
	if (a == b)
		return true;
	return identity(a) == identity(b) && hapax_weak_alive(a);
}

/* Of the 64-bit finalisers that send no two numbers to one. Addresses have zeros below, and few bits that differ. */
static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
	return h ^ h >> 31;
}

uint64_t hpx_side_hash(const struct hpx_side *side) { return mix((uint64_t)(uintptr_t)side); }

uint64_t hapax_weak_hash(hapax_weak *weak) { return hpx_side_hash(identity(weak)); }

int hapax_weak_compare(hapax_weak *a, hapax_weak *b)
{
	uintptr_t x = (uintptr_t)identity(a), y = (uintptr_t)identity(b);

	return (x > y) - (x < y);
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static hapax_weak *handle_of(const hapax_key *key)
{
	hapax_weak *weak;

	memcpy(&weak, key->data, sizeof(weak)); /* copied keys lie where they lie */
	return weak;
}

static int key_hash(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)ctx;
	if (key->size != sizeof(hapax_weak *))
		return 1;
	*hash = hapax_weak_hash(handle_of(key));
	return 0;
}

static bool key_equal(const hapax_key *a, const hapax_key *b, void *ctx)
{
	(void)ctx;
	return hapax_weak_equal(handle_of(a), handle_of(b));
}

hapax_key_ops hapax_weak_keys(void)
{
	hapax_key_ops ops = {.hash = key_hash, .equal = key_equal};

	return ops;
}
