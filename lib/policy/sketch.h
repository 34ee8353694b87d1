/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/sketch.h - how often keys were seen lately, about: a count-min sketch of 4-bit counters (Cormode,
 * Muthukrishnan 2005), halved every now and then as in TinyLFU (Einziger, Friedman, Manes 2017).
 *
 * A key has four counters, all in one cache line; its frequency is the least of them, 15 at most. After ten additions
 * per key that the sketch is for, all counters are halved: a line notices at its next use.
 *
 * Memory for `keys`, WORDS at most, is taken once, eight bytes a key; of that, only what hpx_sketch_use() asked for is
 * written to.
 */
#ifndef HPX_POLICY_SKETCH_H
#define HPX_POLICY_SKETCH_H

#include <hapax/policy.h>

struct hpx_sketch {
	const hapax_allocator *allocator;
	uint64_t *word;   /* lines of 8, 128 counters each; then, one byte per line, the halvings that it knows of */
	size_t room;      /* lines, a power of two */
	size_t lines;     /* in use, a power of two */
	size_t sweep;     /* the next line that is told of halvings although nobody asks for it */
	uint64_t keys;    /* that it is for now */
	uint64_t seen;    /* additions since the last halving */
	uint8_t halvings;
};

/* 0 or HAPAX_ENOMEM; `sketch` is all zeroes before. The same again, for another number of keys, changes it: without
 * memory it goes on with what it has and returns 0. */
int hpx_sketch_init(struct hpx_sketch *sketch, const hapax_allocator *allocator, uint64_t keys);
void hpx_sketch_fini(struct hpx_sketch *sketch);
/* It is for so many keys from now on. */
void hpx_sketch_use(struct hpx_sketch *sketch, uint64_t keys);
void hpx_sketch_add(struct hpx_sketch *sketch, uint64_t id);
unsigned hpx_sketch_get(struct hpx_sketch *sketch, uint64_t id);

#endif
