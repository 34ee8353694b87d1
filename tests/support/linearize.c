/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * support/linearize.c - Wing and Gong's search with Lowe's memory of failed configurations, per key.
 *
 * A configuration is the set of calls that have taken effect and the state they left: the id that is present (0: none)
 * and the set of ids that were loaded but fenced. A call may take effect next when no other outstanding call returned
 * before it began. The present entry may vanish whenever the first outstanding return is later than its gone_from.
 *
 * A load whose call was overtaken by a put, removal or clear gives its object to its own callers without installing it:
 * the loading call may take effect as "fenced" if such a call overlaps it; callers that joined may get a fenced object
 * if they began before the overtaking call returned.
 */
#include "support/linearize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct config {
	uint64_t done, fenced;
	unsigned state;
	bool used;
};

struct search {
	const struct lin_event *e[LIN_MAX_EVENTS];
	size_t n;
	const uint64_t *gone_from;
	struct config *seen; /* open addressing */
	size_t room, used;
};

static size_t slot_of(const struct config *table, size_t room, uint64_t done, uint64_t fenced, unsigned state)
{
	uint64_t h = (done * UINT64_C(0x9e3779b97f4a7c15)) ^ (fenced * UINT64_C(0xbf58476d1ce4e5b9)) ^ (state * UINT64_C(0x94d049bb133111eb));
	size_t i = (size_t)(h ^ h >> 29) & (room - 1);

	while (table[i].used && (table[i].done != done || table[i].fenced != fenced || table[i].state != state))
		i = (i + 1) & (room - 1);
	return i;
}

/* True if the configuration is new. */
static bool remember(struct search *s, uint64_t done, uint64_t fenced, unsigned state)
{
	size_t i;

	if (2 * s->used >= s->room) {
		size_t room = s->room * 2;
		struct config *bigger = calloc(room, sizeof(*bigger));

		if (!bigger)
			abort();
		for (i = 0; i < s->room; i++)
			if (s->seen[i].used)
				bigger[slot_of(bigger, room, s->seen[i].done, s->seen[i].fenced, s->seen[i].state)] = s->seen[i];
		free(s->seen);
		s->seen = bigger;
		s->room = room;
	}
	i = slot_of(s->seen, s->room, done, fenced, state);
	if (s->seen[i].used)
		return false;
	s->seen[i] = (struct config){.done = done, .fenced = fenced, .state = state, .used = true};
	s->used++;
	return true;
}

static bool fences(enum lin_op op)
{
	return op == LIN_PUT || op == LIN_REMOVE || op == LIN_POP || op == LIN_GET_OR_PUT || op == LIN_CLEAR;
}

/* A call that fences overlaps `e`. */
static bool may_be_fenced(const struct search *s, const struct lin_event *e)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->e[i] != e && fences(s->e[i]->op) && s->e[i]->call < e->ret && s->e[i]->ret > e->call)
			return true;
	return false;
}

/* `joiner` may have joined the flight of `loader` before something fenced it. */
static bool may_have_joined(const struct search *s, const struct lin_event *joiner)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct lin_event *loader = s->e[i];

		if (loader->op != LIN_LOAD || !loader->loaded || loader->result != joiner->result)
			continue;
		for (size_t k = 0; k < s->n; k++)
			if (fences(s->e[k]->op) && s->e[k]->call < loader->ret && s->e[k]->ret > loader->call &&
			    s->e[k]->ret > joiner->call && joiner->call < loader->ret)
				return true;
	}
	return false;
}

static bool explore(struct search *s, uint64_t done, uint64_t fenced, unsigned state)
{
	uint64_t all = s->n == 64 ? UINT64_MAX : (UINT64_C(1) << s->n) - 1, first_return = UINT64_MAX;

	if (done == all)
		return true;
	if (!remember(s, done, fenced, state))
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (!(done >> i & 1) && s->e[i]->ret < first_return)
			first_return = s->e[i]->ret;
	if (state && s->gone_from[state] < first_return && explore(s, done, fenced, 0))
		return true;
	for (size_t i = 0; i < s->n; i++) {
		const struct lin_event *e = s->e[i];
		uint64_t next = done | UINT64_C(1) << i;
		unsigned after = state;
		bool legal = true;

		if ((done >> i & 1) || e->call > first_return)
			continue;
		switch (e->op) {
		case LIN_PUT:
			after = e->arg;
			break;
		case LIN_GET:
			legal = e->result == state;
			break;
		case LIN_CONTAINS:
			legal = e->result == (state != 0);
			break;
		case LIN_REMOVE:
			legal = e->result == (state != 0);
			after = 0;
			break;
		case LIN_POP:
			legal = e->result == state;
			after = 0;
			break;
		case LIN_GET_OR_PUT:
			legal = e->result == (state ? state : e->arg);
			after = state ? state : e->arg;
			break;
		case LIN_REMOVE_IF:
			legal = e->result == (state == e->arg);
			after = e->result ? 0 : state;
			break;
		case LIN_CLEAR:
			after = 0;
			break;
		case LIN_LOAD:
			if (e->loaded) {
				if (may_be_fenced(s, e) && explore(s, next, fenced | UINT64_C(1) << e->result, state))
					return true;
				legal = state == 0;
				after = e->result;
			} else {
				legal = state == e->result ||
					((fenced >> e->result & 1) && may_have_joined(s, e));
			}
			break;
		}
		if (legal && explore(s, next, fenced, after))
			return true;
	}
	return false;
}

bool lin_check(const struct lin_event *events, size_t n, const uint64_t gone_from[LIN_MAX_IDS])
{
	unsigned keys = 0;
	bool fine = true;

	for (size_t i = 0; i < n; i++)
		keys = events[i].key >= keys ? events[i].key + 1 : keys;
	for (unsigned key = 0; key < keys && fine; key++) {
		struct search s = {.gone_from = gone_from, .room = 256};

		for (size_t i = 0; i < n; i++)
			if (events[i].key == key) {
				if (s.n == LIN_MAX_EVENTS || events[i].arg >= LIN_MAX_IDS || events[i].result >= LIN_MAX_IDS)
					abort();
				s.e[s.n++] = &events[i];
			}
		s.seen = calloc(s.room, sizeof(*s.seen));
		if (!s.seen)
			abort();
		fine = explore(&s, 0, 0, 0);
		free(s.seen);
	}
	return fine;
}

void lin_print(const struct lin_event *events, size_t n, const uint64_t gone_from[LIN_MAX_IDS])
{
	static const char *const names[] = {"put", "get", "contains", "remove", "pop", "get_or_put", "remove_if", "clear", "load"};
	unsigned ids = 0;

	for (size_t i = 0; i < n; i++) {
		const struct lin_event *e = &events[i];

		fprintf(stderr, "  %4llu-%-4llu thread %u key %u %s arg %u result %u%s\n", (unsigned long long)e->call,
			(unsigned long long)e->ret, e->thread, e->key, names[e->op], e->arg, e->result,
			e->loaded ? " (loaded)" : "");
		ids = e->arg > ids ? e->arg : ids;
		ids = e->result > ids ? e->result : ids;
	}
	for (unsigned id = 1; id <= ids; id++)
		if (gone_from[id] != LIN_NEVER)
			fprintf(stderr, "  object %u may be gone from %llu on\n", id, (unsigned long long)gone_from[id]);
}
