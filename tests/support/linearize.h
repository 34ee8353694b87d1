/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * support/linearize.h - is a recorded history of concurrent calls on a weak map linearizable, key by key?
 *
 * Objects are small ids above 0. Time is any counter that grows: `call` is read before a call, `ret` after it. An entry
 * may vanish by itself once its object's last release has begun: gone_from[id] is the largest reading taken before any
 * release of it; LIN_NEVER if it was held to the end.
 */
#ifndef TEST_LINEARIZE_H
#define TEST_LINEARIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LIN_MAX_IDS = 64, LIN_MAX_EVENTS = 40 }; /* ids in a history; events on one key */
#define LIN_NEVER UINT64_MAX

enum lin_op {
	LIN_PUT,        /* arg */
	LIN_GET,        /* result, 0: miss */
	LIN_CONTAINS,   /* result: 0 or 1 */
	LIN_REMOVE,     /* result: 0 or 1 */
	LIN_POP,        /* result, 0: miss */
	LIN_GET_OR_PUT, /* arg; result: arg if inserted, else what was there */
	LIN_REMOVE_IF,  /* arg; result: 0 or 1 */
	LIN_CLEAR,      /* on every key; recorded once for each */
	LIN_LOAD        /* get with loader: result; `loaded` if this call ran the loader that made the result */
};

struct lin_event {
	enum lin_op op;
	unsigned thread, key;
	unsigned arg, result;
	bool loaded;
	uint64_t call, ret;
};

/* True if the history is linearizable on each key. */
bool lin_check(const struct lin_event *events, size_t n, const uint64_t gone_from[LIN_MAX_IDS]);
/* Prints a history. */
void lin_print(const struct lin_event *events, size_t n, const uint64_t gone_from[LIN_MAX_IDS]);

#endif
