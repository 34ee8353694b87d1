/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/ghost.h - which nodes left lately: a table of fingerprints of their ids, of two kinds, that forgets the
 * oldest.
 *
 *      line (64 bytes), chosen by the id:   | slot | slot | slot | slot | slot | slot | slot | slot |
 *      slot:                                  63 fingerprint 33 | 32 kind | 31 when 0      0: empty
 *
 * "When" is the number of nodes of that kind put before this one, modulo 2^32. A node is remembered until `limit`
 * others of its kind were put, or until its line is full and it is the oldest there in proportion to its limit. Lines
 * are filled to three quarters on average, so that few go early. A fingerprint takes another id for this one about once
 * in 2^28 questions.
 *
 * Memory: 8 bytes a slot, allocated by hpx_ghost_init() only, cleared (and with most allocators, taken from the system)
 * only as far as hpx_ghost_fit() asked for. Without memory nothing is remembered. Not thread-safe.
 */
#ifndef HPX_POLICY_GHOST_H
#define HPX_POLICY_GHOST_H

#include <hapax/policy.h>

enum { HPX_GHOST_KINDS = 2, HPX_GHOST_LINE = 8, HPX_GHOST_FILL = 6 /* slots of a line that are used, on average */ };

struct hpx_ghost {
	uint64_t *slots;
	size_t lines;	 /* in use; a change forgets all */
	size_t reserved; /* allocated */
	uint32_t now[HPX_GHOST_KINDS];
	uint32_t limit[HPX_GHOST_KINDS]; /* the owner's to set */
	uint64_t put[HPX_GHOST_KINDS];	 /* since all was forgotten */
};

/* Room for at most `entries`. False if there is no memory for even a line; the table then forgets at once. */
bool hpx_ghost_init(struct hpx_ghost *ghost, uint64_t entries, const hapax_allocator *allocator);
void hpx_ghost_fini(struct hpx_ghost *ghost, const hapax_allocator *allocator);
/* Makes the table large enough for `entries`, as far as there was memory. Forgets all when it grows, which it does by
 * doubling at least. */
void hpx_ghost_fit(struct hpx_ghost *ghost, uint64_t entries);
void hpx_ghost_put(struct hpx_ghost *ghost, uint64_t id, unsigned kind);
/* Takes the id out. Returns its kind, or -1 if it is not remembered; *age: how many of its kind were put since. */
int hpx_ghost_take(struct hpx_ghost *ghost, uint64_t id, uint32_t *age);

/* How many of a kind are remembered, not counting those that were taken. */
static inline uint64_t hpx_ghost_length(const struct hpx_ghost *ghost, unsigned kind)
{
	return ghost->put[kind] < ghost->limit[kind] ? ghost->put[kind] : ghost->limit[kind];
}

#endif
