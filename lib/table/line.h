/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/line.h - the line, the array, the table itself, and the bit work on them. core.c tells the algorithm.
 *
 * A line is 64 bytes: a control word and 7 slots.
 *
 *      byte 0:    version (2) | D (4) | X | FROZEN
 *      byte j+1:  version (2) | tag of slot j (6); tag 0: nothing is published there
 *
 * FROZEN: the word changes no more, but for X. X: RAISING while open, DONE once frozen. D: how many lines past its home
 * an entry of this home may be, 0 to 14. Sixteen version bits: every publication counts them up.
 *
 *      slot:      entry pointer (16-byte aligned) | distance of this line from the entry's home, plus 1 (4)
 *
 * A slot changes only while its tag is 0; a tag changes only by compare-and-swap on the whole word.
 *
 * Limit: 2^16 publications in one line within one read section bring its version back, each of which leaves an entry that
 * cannot be freed before that section ends: a bound on garbage below 2^16 entries excludes it. Beyond that, a word passes for
 * an old one if exactly a multiple of 2^16 publications lies between them and every tag is what it was. A search is wrong then
 * only if the place of an entry whose tag the key shares has meanwhile become the key's own.
 */
#ifndef HPX_TABLE_LINE_H
#define HPX_TABLE_LINE_H

#include "table/table.h"

#define HPX_SLOTS 7u
#define HPX_REACH 14u /* the most D can say */

#define HPX_CTL_FROZEN UINT64_C(1)
#define HPX_CTL_X UINT64_C(2)
#define HPX_CTL_DONE (HPX_CTL_FROZEN | HPX_CTL_X)
#define HPX_CTL_D1 UINT64_C(4)
#define HPX_CTL_D UINT64_C(0x3c)
#define HPX_CTL_STATE (HPX_CTL_FROZEN | HPX_CTL_X | HPX_CTL_D)
#define HPX_CTL_VERSION UINT64_C(0xC0C0C0C0C0C0C0C0)
#define HPX_CTL_VERSION1 UINT64_C(0x40)
#define HPX_CTL_TAGS UINT64_C(0x3f3f3f3f3f3f3f00)
#define HPX_CTL_ONES UINT64_C(0x0101010101010100)
#define HPX_CTL_HITS UINT64_C(0x4040404040404000)

#define HPX_SLOT_LOW UINT64_C(15)

struct hpx_line {
	hpx_u64 ctl;
	hpx_u64 slot[HPX_SLOTS];
};

struct hpx_array {
	unsigned shift; /* home line of hash h: h >> shift, so that order by hash survives every resize */
	size_t homes;
	struct hpx_line *lines;           /* homes + HPX_REACH: no probe wraps */
	HPX_ATOMIC(struct hpx_array *) next; /* set once: where frozen homes go */
	struct hpx_deferred deferred;
	hapax_env *env;
	char pad[128 - 72];
	hpx_u64 cursor;   /* dispenser of homes to move; what a stopped mover leaves is redone by `verified` */
	hpx_u64 verified; /* homes below it are all DONE; only ever raised */
	hpx_u64 raises;   /* overflows so far; at `limit` resizing is considered */
	hpx_u64 limit;
	char pad2[64 - 32];
};

struct hpx_chain;

struct hpx_table {
	/* what a hit reads */
	HPX_ATOMIC(struct hpx_array *) root;
	bool plain; /* byte equality on copied keys */
	bool default_hash;
	bool keep;
	bool simple; /* both: equal bytes, equal hash */
	uint64_t secret;
	uint64_t seed8; /* hash.h */
	hapax_key_ops keys;
	hapax_env *env;

	unsigned bits_min; /* log2 of the homes it was created with: it never shrinks below */
	hpx_u32 want;      /* log2 of the homes the next put should try to get, or 0 */
	hpx_u32 refs;
	hpx_u32 ended;
	HPX_ATOMIC(struct hpx_chain *) chains; /* all of them, to free them with the table */
	size_t front;
	void (*collected)(void *ctx, struct hpx_record *r, uint64_t before);
	void (*met_dead)(void *ctx, struct hpx_record *r);
	bool (*hidden)(void *ctx, void *e, struct hpx_object *o);
	void (*fencing)(void *ctx, void *e);
	void *collected_ctx;
	struct hpx_deferred deferred;
	/* grow.c */
	hpx_u32 growing, help;
	hpx_u64 sampled;
	unsigned coming_bits;
	struct hpx_array *coming;
	size_t touched; /* bytes of its lines */
	struct hpx_deferred growth;
	/* leak.c */
	void (*known)(void *ctx, void *e, struct hpx_object *o, struct hpx_leak_entry *entry);
	struct hpx_table *named_next; /* list of those with names, under its lock */
	uint64_t named; /* its number there, 0: not in it */
	char name[32];
};

static inline unsigned hpx_ctl_d(uint64_t c) { return (unsigned)((c & HPX_CTL_D) / HPX_CTL_D1); }
static inline bool hpx_ctl_done(uint64_t c) { return (c & HPX_CTL_DONE) == HPX_CTL_DONE; }
/* Something of this home may be elsewhere. */
static inline bool hpx_ctl_far(uint64_t c) { return (c & (HPX_CTL_D | HPX_CTL_FROZEN)) != 0; }
static inline uint64_t hpx_tag(uint64_t h) { return (h & 63) + ((h & 63) < 1); }
/* Never 0, so that no empty slot looks like one of any entry's. */
static inline uint64_t hpx_slot_low(unsigned k) { return k + 1; }
static inline unsigned hpx_slot_distance(uint64_t s) { return (unsigned)(s & HPX_SLOT_LOW) - 1; }
static inline void *hpx_slot_entry(uint64_t s) { return (void *)(uintptr_t)(s & ~HPX_SLOT_LOW); }
static inline uint64_t hpx_ctl_lane(unsigned j, uint64_t tag) { return tag << (8 * (j + 1)); }
static inline unsigned hpx_lane(uint64_t hits) { return ((unsigned)__builtin_ctzll(hits) >> 3) - 1; }

/* The slot of the first lane in `hits`: slot[j] is as many bytes into its line as lane j is bits into the word. */
static inline hpx_u64 *hpx_slot_at(struct hpx_line *line, uint64_t hits)
{
	return (hpx_u64 *)(void *)((char *)line + ((unsigned)__builtin_ctzll(hits) & 56u));
}

/* Bit 6 of each byte whose tag is the one in `tags` (tag * HPX_CTL_ONES). Exact: no borrow crosses a byte. */
static inline uint64_t hpx_ctl_match(uint64_t c, uint64_t tags)
{
	return (HPX_CTL_HITS - ((c ^ tags) & HPX_CTL_TAGS)) & HPX_CTL_HITS;
}

/* The next version: the carry runs through the scattered version bits only. */
static inline uint64_t hpx_ctl_bump(uint64_t c)
{
	return (((c | ~HPX_CTL_VERSION) + HPX_CTL_VERSION1) & HPX_CTL_VERSION) | (c & ~HPX_CTL_VERSION);
}

static inline struct hpx_line *hpx_home(const struct hpx_array *a, uint64_t h) { return &a->lines[h >> a->shift]; }

/* The bytes of an entry's key, of a size that the entry's word has confirmed. */
static inline const void *hpx_key_bytes(const struct hpx_table *t, const void *e, size_t size)
{
	const char *word = (const char *)e - 8;

	if (HPX_UNLIKELY(t->keys.borrow)) {
		const void *p;

		memcpy(&p, word - sizeof(p), sizeof(p));
		return p;
	}
	return word - ((size + 7) & ~(size_t)7);
}

static inline uint64_t hpx_load8(const void *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof(x));
	return x;
}

/* 9 to 32 bytes. */
static inline bool hpx_bytes_equal(const char *a, const char *b, size_t n)
{
	uint64_t differ = (hpx_load8(a) ^ hpx_load8(b)) | (hpx_load8(a + n - 8) ^ hpx_load8(b + n - 8));

	if (n > 16)
		differ |= (hpx_load8(a + 8) ^ hpx_load8(b + 8)) | (hpx_load8(a + n - 16) ^ hpx_load8(b + n - 16));
	return !differ;
}

bool hpx_key_equal_slow(const struct hpx_table *t, const void *e, const hapax_key *key);

/* The sizes are equal already. */
static inline bool hpx_key_equal(const struct hpx_table *t, const void *e, const hapax_key *key)
{
	if (HPX_UNLIKELY(!t->plain))
		return hpx_key_equal_slow(t, e, key);
	if (HPX_LIKELY(key->size == 8))
		return hpx_load8((const char *)e - 16) == hpx_load8(key->data);
	if (key->size > 8 && key->size <= 32) /* no call: the first and last eight or sixteen bytes, which may overlap */
		return hpx_bytes_equal((const char *)e - 8 - ((key->size + 7) & ~(size_t)7), key->data, key->size);
	return key->size == 0 || memcmp(hpx_key_bytes(t, e, key->size), key->data, key->size) == 0;
}

#endif
