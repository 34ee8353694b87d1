/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/leak_graph.c - which of the objects found point to which, and which can be reached from themselves.
 *
 * An edge is an aligned word in a payload that is the address of another payload, or of its own; and what a holder keeps for as
 * long as a keeper lives. That a word is a counted reference is not known: it may be a plain pointer. Cycles are the strongly
 * connected components with more than one object, and objects that point to themselves (Tarjan, "Depth-first search and
 * linear graph algorithms", 1972), without recursion: a chain of a million objects needs no stack.
 */
#include "object/internal.h"
#include "object/leak.h"

/* Payloads belong to the program, which may be writing to them, and may be poisoned in parts. */
#if defined(__has_attribute)
#if __has_attribute(disable_sanitizer_instrumentation)
#define UNSEEN __attribute__((disable_sanitizer_instrumentation, noinline))
#endif
#endif
#ifndef UNSEEN
#define UNSEEN __attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined, noinline))
#endif

UNSEEN static uintptr_t word_at(const uintptr_t *word)
{
	/* order: relaxed; a word of the program's, as it happens to be */
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static struct hpx_leak_node *nodes(const struct hpx_leaks *l) { return l->node.block; }

/* The node of a payload, or l->node.n. */
static size_t node_of(const struct hpx_leaks *l, const struct hpx_object *o)
{
	size_t low = 0, high = l->node.n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if ((uintptr_t)nodes(l)[middle].object < (uintptr_t)o)
			low = middle + 1;
		else
			high = middle;
	}
	return low < l->node.n && nodes(l)[low].object == o ? low : l->node.n;
}

static int add(struct hpx_leaks *l, size_t from, size_t to, size_t offset)
{
	int status = hpx_leak_room(l, &l->edge, 1);

	if (!status)
		((struct hpx_leak_arc *)l->edge.block)[l->edge.n++] = (struct hpx_leak_arc){from, to, offset};
	return status;
}

static int look_through(struct hpx_leaks *l, size_t from, uintptr_t least, uintptr_t greatest)
{
	const uintptr_t *word = hpx_payload(nodes(l)[from].object);
	size_t n = hpx_object_payload_bytes(nodes(l)[from].object) / sizeof(*word);
	int status = 0;

	for (size_t i = 0; i < n && !status; i++) {
		uintptr_t value = word_at(&word[i]);
		size_t to;

		if (value < least || value > greatest || value % 16)
			continue;
		to = node_of(l, hpx_object_of((const void *)value));
		if (to < l->node.n && !nodes(l)[to].hidden)
			status = add(l, from, to, i * sizeof(*word));
	}
	return status;
}

static int find_edges(struct hpx_leaks *l)
{
	const struct hpx_leak_kept *kept = l->found.block;
	uintptr_t least = (uintptr_t)hpx_payload(nodes(l)[0].object);
	uintptr_t greatest = (uintptr_t)hpx_payload(nodes(l)[l->node.n - 1].object);
	int status = 0;

	for (size_t i = 0; i < l->node.n && !status; i++)
		if (!nodes(l)[i].hidden)
			status = look_through(l, i, least, greatest);
	for (size_t i = 0; i < l->node.n && !status; i++)
		for (size_t j = nodes(l)[i].first; j < nodes(l)[i].first + nodes(l)[i].n && !status; j++) {
			size_t from = kept[j].keeper ? node_of(l, kept[j].keeper) : l->node.n;

			if (from < l->node.n)
				status = add(l, from, i, HAPAX_LEAK_THROUGH_HOLDER);
		}
	return status;
}

/* For each node those that point to it. */
static int sort_by_target(struct hpx_leaks *l, size_t *start)
{
	const struct hpx_leak_arc *edge = l->edge.block;
	hapax_leak_edge *into;
	int status = hpx_leak_room(l, &l->into, l->edge.n);

	if (status)
		return status;
	into = l->into.block;
	for (size_t i = 0; i < l->edge.n; i++)
		start[edge[i].to + 1]++;
	for (size_t i = 0; i < l->node.n; i++) {
		start[i + 1] += start[i];
		nodes(l)[i].from = &into[start[i]];
		nodes(l)[i].n_from = start[i + 1] - start[i];
	}
	for (size_t i = 0; i < l->edge.n; i++) {
		struct hpx_object *from = nodes(l)[edge[i].from].object;

		into[start[edge[i].to]++] = (hapax_leak_edge){hpx_payload(from), hpx_object_name(from), edge[i].offset};
	}
	l->into.n = l->edge.n;
	return 0;
}

/* ---- cycles ------------------------------------------------------------------------------------------------------ */

struct search {
	struct hpx_leak_node *node;
	const size_t *start, *to;      /* edges by where they begin */
	size_t *index, *low, *next;    /* index: 0 is not visited yet, SIZE_MAX: its component is complete */
	size_t *path, *open;           /* stacks: the nodes on the way here; those whose component is not complete */
	size_t paths, opens, counter;
};

static void enter(struct search *s, size_t node)
{
	s->index[node] = s->low[node] = ++s->counter;
	s->next[node] = s->start[node];
	s->path[s->paths++] = node;
	s->open[s->opens++] = node;
}

/* All edges of the last node of the path have been followed. */
static void leave(struct search *s)
{
	size_t node = s->path[--s->paths], member;
	bool alone;

	if (s->low[node] == s->index[node]) {
		alone = s->open[s->opens - 1] == node;
		do {
			member = s->open[--s->opens];
			s->index[member] = SIZE_MAX;
			s->node[member].cycle |= !alone;
		} while (member != node);
	}
	if (s->paths && s->low[node] < s->low[s->path[s->paths - 1]])
		s->low[s->path[s->paths - 1]] = s->low[node];
}

static void search_from(struct search *s, size_t root)
{
	enter(s, root);
	while (s->paths) {
		size_t node = s->path[s->paths - 1], to;

		if (s->next[node] == s->start[node + 1]) {
			leave(s);
			continue;
		}
		to = s->to[s->next[node]++];
		if (to == node)
			s->node[node].cycle = true;
		else if (!s->index[to])
			enter(s, to);
		else if (s->index[to] < s->low[node]) /* open, and earlier */
			s->low[node] = s->index[to];
	}
}

/* `words`: room for 6 numbers for each node and one for each edge, and one more; zeroed. */
static void find_cycles(struct hpx_leaks *l, size_t *words)
{
	const struct hpx_leak_arc *edge = l->edge.block;
	size_t n = l->node.n, *start = words, *to = words + 6 * n + 1;
	struct search s = {.node = nodes(l), .start = start, .to = to, .index = start + n + 1, .low = start + 2 * n + 1,
			   .next = start + 3 * n + 1, .path = start + 4 * n + 1, .open = start + 5 * n + 1};

	for (size_t i = 0; i < l->edge.n; i++)
		start[edge[i].from + 1]++;
	for (size_t i = 0; i < n; i++) {
		start[i + 1] += start[i];
		s.next[i] = start[i];
	}
	for (size_t i = 0; i < l->edge.n; i++)
		to[s.next[edge[i].from]++] = edge[i].to;
	for (size_t i = 0; i < n; i++)
		if (!s.index[i])
			search_from(&s, i);
}

int hpx_leak_graph(struct hpx_leaks *l)
{
	size_t n = l->node.n, bytes;
	size_t *words;
	int status;

	if (!n)
		return 0;
	status = find_edges(l);
	if (status || !l->edge.n)
		return status;
	bytes = (6 * n + 1 + l->edge.n) * sizeof(*words);
	words = hpx_alloc(l->env, bytes, 16);
	if (!words)
		return HAPAX_ENOMEM;
	status = sort_by_target(l, words);
	memset(words, 0, bytes);
	if (!status)
		find_cycles(l, words);
	hpx_free(l->env, words, bytes, 16);
	return status;
}
