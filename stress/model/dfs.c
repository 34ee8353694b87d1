/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/dfs.c - exhaustive search: every schedule with at most `bound` preemptions, without running what must end alike.
 *
 * Two reductions. Only operations on shared locations are places to switch at: a location counts as shared when two
 * threads touched it in one run and one wrote; when one turns out to be shared later, the search begins anew with it.
 * A preemption before any other operation is equivalent to one before the thread's next shared operation, and costs the
 * same. And sleep sets (Godefroid): once the search has seen what follows if a thread goes on, it need not see it again
 * from a schedule in which others go first, until one of them does something that depends on what that thread does next.
 * Under a bound only the thread that would have gone on sleeps, because taking its step first never costs a preemption
 * more; without a bound all do.
 *
 * A thread that gives way is passed over until all others have given way, blocked or ended; taking it all the same counts
 * as a preemption.
 */
#include "model/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE = 1 << 14, NODES_MOST = 1 << 20 };

struct node {
	uint64_t decision;
	uint32_t todo, asleep, yielded;
	int current, chosen, fallback;
	unsigned preemptions; /* before it */
	unsigned n; /* a choice of so many; 0: of a thread */
};
static struct node *nodes;
static size_t depth, at, room;
static uint32_t asleep;
static unsigned preemptions;
static int bound;
static bool grew, restarted, unreduced;

/* Who touched what in this run, and what is shared. */
static struct seen {
	uintptr_t key;
	uint32_t run, readers, writers;
	bool shared;
} seen[TABLE];
static uint32_t run;
static unsigned used;

static struct seen *find(uintptr_t key)
{
	unsigned i = (unsigned)(key * UINT64_C(0x9e3779b97f4a7c15) >> 50) % TABLE;

	while (seen[i].key && seen[i].key != key)
		i = (i + 1) % TABLE;
	return &seen[i];
}

void dfs_reset(int preemption_bound, bool all)
{
	unreduced = all;
	bound = preemption_bound;
	memset(seen, 0, sizeof(seen));
	used = 0;
	run = 0;
	depth = 0;
	grew = restarted = false;
}

void dfs_begin(void)
{
	at = 0;
	asleep = 0;
	preemptions = 0;
	run++;
}

bool dfs_shared(const struct touch *touch)
{
	return unreduced || touch->ordered || (touch->key && find(touch->key)->shared);
}

void dfs_touch(const struct fibre *fibre)
{
	const struct touch *touch = &fibre->next;
	struct seen *s;

	for (uint32_t left = asleep; left; left &= left - 1) {
		int i = __builtin_ctz(left);

		if (search_dependent(touch, &engine.fibres[i].next))
			asleep &= ~(1u << i);
	}
	if (!touch->key)
		return;
	s = find(touch->key);
	if (!s->key) {
		if (++used > TABLE / 2) {
			/* forget who touched what, but not what is shared */
			static struct seen old[TABLE];

			memcpy(old, seen, sizeof(seen));
			memset(seen, 0, sizeof(seen));
			used = 1;
			for (unsigned i = 0; i < TABLE; i++)
				if (old[i].shared) {
					*find(old[i].key) = old[i];
					used++;
				}
			s = find(touch->key);
		}
		s->key = touch->key;
	}
	if (s->run != run) {
		s->run = run;
		s->readers = s->writers = 0;
	}
	*(touch->write ? &s->writers : &s->readers) |= fibre_bit(fibre);
	if (!s->shared && s->writers && __builtin_popcount(s->readers | s->writers) > 1)
		s->shared = grew = true;
}

static struct node *push(void)
{
	if (depth == room) {
		room = room ? room * 2 : 1024;
		nodes = room > NODES_MOST ? NULL : realloc(nodes, room * sizeof(*nodes));
		if (!nodes) {
			fputs("hapax-stress model: out of memory for the search\n", stderr);
			exit(2);
		}
	}
	at = depth + 1;
	memset(&nodes[depth], 0, sizeof(*nodes));
	return &nodes[depth++];
}

/* A preemption: not the thread that could go on; or one that gave way before those that did not. */
static unsigned cost(const struct node *node, int chosen)
{
	if (node->current != NONE && !(node->yielded & 1u << node->current))
		return chosen != node->current;
	return (node->yielded & 1u << chosen) && chosen != node->fallback;
}

int dfs_pick(uint32_t enabled, int current, int fallback, uint64_t decision)
{
	bool goes_on = current != NONE && !(engine.yielded & 1u << current);
	uint32_t options = enabled & ~asleep, first;
	struct node node = {.decision = decision, .asleep = asleep, .yielded = engine.yielded, .current = current,
			    .fallback = fallback, .preemptions = preemptions}, *known;

	if (goes_on && !dfs_shared(&engine.fibres[current].next))
		return current;
	if (at < depth) {
		known = &nodes[at];
		if (known->decision > decision)
			return fallback;
		if (known->decision < decision || known->n || !(enabled & 1u << known->chosen))
			model_fail_at(NULL, "a run is no function of its choices");
		at++;
		asleep = known->asleep & ~(1u << known->chosen);
		preemptions = known->preemptions + cost(known, known->chosen);
		return known->chosen;
	}
	if (goes_on) {
		node.chosen = current;
	} else {
		first = options & ~engine.yielded ? options & ~engine.yielded : options;
		if (!first)
			model_prune();
		node.chosen = first & 1u << fallback ? fallback : __builtin_ctz(first);
	}
	for (uint32_t left = options & ~(1u << node.chosen); left; left &= left - 1) {
		int i = __builtin_ctz(left);

		if (bound == NONE || preemptions + cost(&node, i) <= (unsigned)bound)
			node.todo |= 1u << i;
	}
	preemptions += cost(&node, node.chosen);
	if (bound != NONE && preemptions > (unsigned)bound)
		model_prune();
	if (node.todo || node.chosen != fallback)
		*push() = node;
	return node.chosen;
}

unsigned dfs_choose(unsigned n, uint64_t decision)
{
	struct node *node;

	if (at < depth) {
		node = &nodes[at];
		if (node->decision != decision || node->n != n)
			model_fail_at(NULL, "a run is no function of its choices");
		at++;
		return (unsigned)node->chosen;
	}
	node = push();
	node->decision = decision;
	node->n = n;
	node->asleep = asleep;
	node->preemptions = preemptions;
	return 0;
}

bool dfs_next(void)
{
	struct node *node;

	restarted = grew;
	if (grew) {
		grew = false;
		depth = 0;
		return true;
	}
	for (; depth; depth--) {
		node = &nodes[depth - 1];
		if (node->n) {
			if ((unsigned)++node->chosen < node->n)
				return true;
		} else if (node->todo) {
			if (unreduced)
				node->asleep = 0;
			else if (bound == NONE || (node->chosen == node->current && !(node->yielded & 1u << node->current)))
				node->asleep |= 1u << node->chosen;
			node->chosen = __builtin_ctz(node->todo);
			node->todo &= node->todo - 1;
			return true;
		}
	}
	return false;
}

bool dfs_restarted(void) { return restarted; }

size_t dfs_choices(char *buffer, size_t size)
{
	size_t length = 0;

	buffer[0] = 0;
	for (size_t i = 0; i < depth; i++) {
		const struct node *node = &nodes[i];

		if (node->n ? !node->chosen : node->chosen == node->fallback)
			continue;
		if (length < size)
			length += (size_t)snprintf(buffer + length, size - length, "%s%llu%c%d", length ? "." : "",
						   (unsigned long long)node->decision, node->n ? 'c' : 't', node->chosen);
	}
	return length;
}
