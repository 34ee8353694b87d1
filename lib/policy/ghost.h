/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/ghost.h - which nodes left lately, from which of two queues, and when they had last been used.
 *
 *      line (64 bytes), chosen by the id:   | slot | slot | slot | slot | slot | slot | slot | slot |
 *      slot:       63 fingerprint 41 | 40 kind | 39 left 20 | 19 used 0        0: empty
 *
 * "Left" counts the nodes of the same kind that left before, "used" is the owner's clock at the last known use; both
 * are in units of 2^shift, modulo 2^20. The unit is so small that a table remembers at least 2^11 of them, and so large
 * that a table turns over hundreds of times before one comes round.
 *
 * A node is remembered until `limit` others of its kind have left, or until its line is full and it is the oldest there
 * in proportion to its limit. Lines are three quarters full on average, so that few go early. Another id is taken for a
 * remembered one about once in 2^20 questions.
 *
 * Memory: 8 bytes a slot, allocated by hpx_ghost_init() only, and written to only as far as hpx_ghost_fit() has asked
 * for. Without memory nothing is remembered. Not thread-safe.
 */
#ifndef HPX_POLICY_GHOST_H
#define HPX_POLICY_GHOST_H

#include <hapax/policy.h>

enum { HPX_GHOST_KINDS = 2, HPX_GHOST_LINE = 8, HPX_GHOST_FILL = 6 /* slots of a line that are used, on average */ };

struct hpx_ghost {
	uint64_t *slots;
	size_t lines;	 /* in use; a change forgets all */
	size_t reserved; /* allocated */
	unsigned shift;
	uint64_t clock;			 /* the owner's to move */
	uint64_t left[HPX_GHOST_KINDS];	 /* so far */
	uint64_t limit[HPX_GHOST_KINDS]; /* the owner's to set */
};

/* Room for at most `entries`, or less if there is no memory for that. False: none at all. */
bool hpx_ghost_init(struct hpx_ghost *ghost, uint64_t entries, const hapax_allocator *allocator);
void hpx_ghost_fini(struct hpx_ghost *ghost, const hapax_allocator *allocator);
/* Makes the table large enough for `entries`, as far as there was memory. It grows by doubling at least, and forgets.
 */
void hpx_ghost_fit(struct hpx_ghost *ghost, uint64_t entries);
/* Remembers a node that was last used at `used` of the clock. */
void hpx_ghost_put(struct hpx_ghost *ghost, uint64_t id, unsigned kind, uint64_t used);

struct hpx_ghost_found {
	unsigned kind;
	uint64_t age;  /* how many of its kind have left since */
	uint64_t idle; /* what the clock has moved since it was used */
};
/* Whether it is remembered; if so, not any longer. */
bool hpx_ghost_take(struct hpx_ghost *ghost, uint64_t id, struct hpx_ghost_found *found);

#endif
