/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * linearize.h - is a recorded history of concurrent calls on a weak table or cache one that hapax promises?
 *
 * Problem. Calls overlap; each must seem to happen at one instant between its call and its return, and the instants
 * together must make sense to a sequential map, key by key. The map is weak: an entry may vanish at any instant after
 * the last release of its object has begun. And loads have two instants: one at which the flight begins, one at which
 * its result is installed or, if something fenced the flight in between, is not.
 *
 *      call ........ loader entered ............ loader left ........ return      a get that loads
 *           [ start ]                                       [ commit ]
 *      call ............................................. return                  a get that joins, hits or misses
 *           [                    one instant                    ]
 *
 * A get_or_put or compute that inserts has two as well: it fences a load under way, and then what it inserts is there to be seen.
 *
 * A cache with a strong tier is weak too, only later: what nobody else holds is there until it vanishes once.
 *
 * What is checked: the sequential map with its laws is apply() in linearize.c, once. Beside it, that no object is
 * returned when all who held it have given it back (L1).
 *
 * Objects and loads have ids from one sequence, from 1: a load that succeeds makes the object with its id, one that
 * fails says its id in the error code. Stamps are readings of any counter that grows. Nothing here allocates, waits or
 * keeps anything between calls, but in the space it is given.
 */
#ifndef HPX_STRESS_LINEARIZE_H
#define HPX_STRESS_LINEARIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	HPX_LIN_IDS = 256,   /* ids are below */
	HPX_LIN_EVENTS = 200, /* on one key */
	HPX_LIN_LANES = 8,   /* calls on one key that overlap */
	HPX_LIN_DEPTH = 4 * HPX_LIN_EVENTS + 2
};
#define HPX_LIN_NEVER UINT64_MAX
#define HPX_LIN_ALL_KEYS (~0u)

enum hpx_lin_op {
	HPX_LIN_PUT,	    /* arg */
	HPX_LIN_GET,	    /* without loading; result: id, 0 for a miss */
	HPX_LIN_CONTAINS,   /* result: 0 or 1 */
	HPX_LIN_REMOVE,	    /* result: 0 or 1 */
	HPX_LIN_POP,	    /* result: id, 0 for a miss */
	HPX_LIN_GET_OR_PUT, /* arg; result: the id that is there afterwards */
	HPX_LIN_REMOVE_IF,  /* arg; result: 0 or 1 */
	HPX_LIN_CLEAR,	    /* key: HPX_LIN_ALL_KEYS, or recorded once for each */
	HPX_LIN_LOAD,	    /* get with a loader; result: id of the object, or of the load if `failed` */
	HPX_LIN_REPLACE_IF, /* arg by `with`; result: 0 or 1 */
	HPX_LIN_COMPUTE,    /* arg is put in any case; result: the id its function was given, 0 for none */
	HPX_LIN_EXPIRE,	    /* the value's time is made to end now, which fences nothing; result: 0 or 1 */
	HPX_LIN_TOUCH	    /* the value is written again; result: 0 or 1 */
};

struct hpx_lin_event {
	enum hpx_lin_op op;
	unsigned thread; /* for people */
	unsigned key, arg, with, result;
	bool loaded; /* LOAD: this very call ran the loader */
	bool failed; /* LOAD: the load failed */
	uint64_t call, ret;
	uint64_t begin, end; /* when `loaded`: at the loader's entry and end; 0: not known */
};

/* Somebody held a reference: from the call that gave it (or the object's making) to its release. */
struct hpx_lin_hold {
	unsigned id;
	uint64_t from;	  /* before the call that gave it */
	uint64_t drop;	  /* before the release; HPX_LIN_NEVER: not in this history */
	uint64_t dropped; /* after it */
};

struct hpx_lin_history {
	const struct hpx_lin_event *event;
	size_t events;
	const struct hpx_lin_hold *hold; /* an object without one is held for ever */
	size_t holds;
	bool retained; /* the cache may hold objects too: they may outlive all that is recorded, and vanish when it likes */
};

/* ---- room for the search; contents are private, one thread uses it at a time ------------------------------------- */

struct hpx_lin_state {
	uint16_t present; /* id of the object under the key; 0: none */
	uint16_t flight;  /* id of the one load that is under way and not fenced; 0: none */
	uint16_t ending;  /* id of the object whose time is being ended; 0: none */
};

struct hpx_lin_seen {
	uint64_t progress;
	struct hpx_lin_state state;
	uint32_t run;
};

struct hpx_lin_space {
	struct hpx_lin_seen *seen; /* `room` of them, a power of two, zeroed; more is faster on hard histories */
	size_t room;
	uint32_t run;
	size_t used;
	uint64_t gone_from[HPX_LIN_IDS], gone_by[HPX_LIN_IDS];
	struct hpx_lin_step {
		const struct hpx_lin_event *event;
		enum { HPX_LIN_WHOLE, HPX_LIN_START, HPX_LIN_COMMIT } part;
		uint64_t call, ret;
	} step[HPX_LIN_LANES][2 * HPX_LIN_EVENTS];
	unsigned steps[HPX_LIN_LANES];
	const struct hpx_lin_event *sorted[HPX_LIN_EVENTS];
	struct hpx_lin_frame {
		uint64_t progress;
		struct hpx_lin_state state;
		unsigned next;
	} stack[HPX_LIN_DEPTH];
};

/* Defines a zeroed static space with room for `room` configurations. */
#define HPX_LIN_SPACE(name, room_)                                                                                   \
	static struct hpx_lin_seen name##_seen[room_];                                                               \
	static struct hpx_lin_space name = {.seen = name##_seen, .room = (room_)}

/* ---- checking ----------------------------------------------------------------------------------------------------- */

enum hpx_lin_answer {
	HPX_LIN_HOLDS,
	HPX_LIN_BROKEN,
	HPX_LIN_UNDECIDED /* too large for the arrays, or for the patience of the search: the recorder asks too much */
};

struct hpx_lin_verdict {
	enum hpx_lin_answer answer;
	const char *why; /* static; NULL when it holds */
	unsigned key;	 /* of which key it was found (not for L1) */
	unsigned id;	 /* L1: of which object */
	uint64_t steps;	 /* configurations looked at */
};

/* When the object was certainly gone: all who held it have given it back, and calls that may have come across it then have
 * returned. HPX_LIN_NEVER: not in this history. */
uint64_t hpx_lin_gone_by(const struct hpx_lin_history *history, unsigned id);

struct hpx_lin_verdict hpx_lin_check(struct hpx_lin_space *space, const struct hpx_lin_history *history);
/* Shows a history, in the order of the calls, and the verdict. */
void hpx_lin_print(FILE *to, const struct hpx_lin_history *history, const struct hpx_lin_verdict *verdict);

#endif
