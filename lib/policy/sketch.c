/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* policy/sketch.c - how often keys were seen lately, about. */
#include "policy/sketch.h"

#include "policy/list.h"

#define LINE 8                     /* words; a key for each */
#define WORDS ((uint64_t)1 << 20)  /* at most: 8 MiB */
#define LINES_FIRST 32
#define PERIOD 10                  /* additions per key from one halving to the next */
#define SWEEP 64                   /* additions per line that is swept: all lines in less than a period */
#define LOW_BITS UINT64_C(0x7777777777777777)

static size_t bytes_of(size_t lines)
{
	return lines * LINE * sizeof(uint64_t) + lines;
}

static uint8_t *known(const struct hpx_sketch *sketch, size_t line)
{
	return (uint8_t *)&sketch->word[sketch->room * LINE] + line;
}

static uint64_t mixed(uint64_t id)
{
	id = (id ^ id >> 32) * UINT64_C(0xd6e8feb86659fd93);
	return (id ^ id >> 32) * UINT64_C(0xd6e8feb86659fd93);
}

/* The line as it is after all halvings. */
static uint64_t *refreshed(struct hpx_sketch *sketch, size_t line)
{
	uint64_t *word = &sketch->word[line * LINE];
	uint8_t missed = (uint8_t)(sketch->halvings - *known(sketch, line));

	if (missed) {
		for (unsigned n = missed < 4 ? missed : 4; n; n--) {
			for (unsigned i = 0; i < LINE; i++)
				word[i] = word[i] >> 1 & LOW_BITS;
		}
		*known(sketch, line) = sketch->halvings;
	}
	return word;
}

static size_t lines_for(uint64_t keys)
{
	size_t lines = LINES_FIRST;

	while (lines * LINE < keys && lines * LINE < WORDS)
		lines *= 2;
	return lines;
}

int hpx_sketch_init(struct hpx_sketch *sketch, const hapax_allocator *allocator, uint64_t keys)
{
	size_t room = lines_for(keys), keep = sketch->lines < room ? sketch->lines : room;
	struct hpx_sketch old = *sketch;
	uint64_t *word;

	if (sketch->word && room == sketch->room)
		return 0;
	word = allocator->alloc(bytes_of(room), 64, allocator->ctx);
	if (!word)
		return old.word ? 0 : HAPAX_ENOMEM;
	sketch->allocator = allocator;
	sketch->word = word;
	sketch->room = room;
	if (old.word) {
		memcpy(word, old.word, keep * LINE * sizeof(uint64_t));
		memcpy(known(sketch, 0), known(&old, 0), keep);
		allocator->free(old.word, bytes_of(old.room), 64, allocator->ctx);
	} else {
		memset(word, 0, (keep = LINES_FIRST) * LINE * sizeof(uint64_t));
		memset(known(sketch, 0), 0, keep);
	}
	sketch->lines = keep;
	sketch->sweep = 0;
	hpx_sketch_use(sketch, sketch->keys);
	return 0;
}

void hpx_sketch_fini(struct hpx_sketch *sketch)
{
	if (sketch->word)
		sketch->allocator->free(sketch->word, bytes_of(sketch->room), 64, sketch->allocator->ctx);
	memset(sketch, 0, sizeof(*sketch));
}

void hpx_sketch_use(struct hpx_sketch *sketch, uint64_t keys)
{
	/* Each new line begins as the one that its keys had until now. */
	while (sketch->lines < sketch->room && sketch->lines * LINE < keys) {
		memcpy(&sketch->word[sketch->lines * LINE], sketch->word, sketch->lines * LINE * sizeof(uint64_t));
		memcpy(known(sketch, sketch->lines), known(sketch, 0), sketch->lines);
		sketch->lines *= 2;
	}
	sketch->keys = keys < sketch->room * LINE ? keys : sketch->room * LINE;
	if (sketch->keys < LINES_FIRST * LINE)
		sketch->keys = LINES_FIRST * LINE;
}

void hpx_sketch_add(struct hpx_sketch *sketch, uint64_t id)
{
	uint64_t hash = mixed(id);
	uint64_t *word = refreshed(sketch, (hash >> 32) & (sketch->lines - 1));
	bool added = false;

	/* The i-th counter is one of the 32 in the i-th pair of words. */
	for (unsigned i = 0; i < 4; i++, hash >>= 8) {
		uint64_t *at = &word[2 * i + (hash & 1)];
		unsigned shift = (unsigned)(hash >> 1 & 15) * 4;

		if ((*at >> shift & 15) == 15)
			continue;
		*at += UINT64_C(1) << shift;
		added = true;
	}
	if (!added)
		return;
	if (++sketch->seen >= PERIOD * sketch->keys) {
		sketch->seen /= 2;
		sketch->halvings++;
	}
	if (sketch->seen % SWEEP == 0) {
		refreshed(sketch, sketch->sweep);
		sketch->sweep = (sketch->sweep + 1) & (sketch->lines - 1);
	}
}

unsigned hpx_sketch_get(struct hpx_sketch *sketch, uint64_t id)
{
	uint64_t hash = mixed(id);
	const uint64_t *word = refreshed(sketch, (hash >> 32) & (sketch->lines - 1));
	unsigned least = 15;

	for (unsigned i = 0; i < 4; i++, hash >>= 8) {
		unsigned count = (unsigned)(word[2 * i + (hash & 1)] >> ((hash >> 1 & 15) * 4)) & 15;

		least = count < least ? count : least;
	}
	return least;
}
