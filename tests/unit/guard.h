/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit/guard.h - a policy of the application's own: first in, first out, and what the cache promises to policies is held
 * to on every call: one call at a time, each node added once and gone before its memory goes, weights of 1 at least,
 * hits only of what is in. It counts its calls, and has a switch for each way to hear of hits.
 */
#ifndef TEST_GUARD_H
#define TEST_GUARD_H

#include "unit/item.h"

#define GUARD_IN UINT64_C(0x6775617264696e21)

struct guard {
	hapax_policy policy;
	hapax_policy_node head; /* next: the newest; prev: the oldest */
	bool busy, created;
	uint64_t capacity, nodes, weight, most_nodes, most_weight;
	uint64_t adds, removes, replaces, hits, evicts, resizes, calls;
};

static void guard_in(struct guard *g)
{
	CHECK(!__atomic_exchange_n(&g->busy, true, __ATOMIC_ACQUIRE)); /* one at a time */
	CHECK(g->created);
	g->calls++;
}

static void guard_out(struct guard *g)
{
	if (g->nodes > g->most_nodes)
		g->most_nodes = g->nodes;
	if (g->weight > g->most_weight)
		g->most_weight = g->weight;
	__atomic_store_n(&g->busy, false, __ATOMIC_RELEASE);
}

static void guard_link(struct guard *g, hapax_policy_node *n)
{
	CHECK_EQ(n->mark, 0);
	CHECK_EQ(n->list, 0);
	CHECK(n->weight >= 1);
	n->mark = GUARD_IN;
	n->list = 7;
	n->prev = &g->head;
	n->next = g->head.next;
	n->next->prev = n->prev->next = n;
	g->nodes++;
	g->weight += n->weight;
}

static void guard_unlink(struct guard *g, hapax_policy_node *n)
{
	CHECK(n->mark == GUARD_IN);
	CHECK_EQ(n->list, 7);
	CHECK(n->next->prev == n && n->prev->next == n);
	n->mark = ~GUARD_IN; /* add() is promised zeros again */
	n->list = 9;
	n->prev->next = n->next;
	n->next->prev = n->prev;
	CHECK(g->nodes && g->weight >= n->weight);
	g->nodes--;
	g->weight -= n->weight;
}

static int guard_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	struct guard *g = ctx;

	CHECK(!g->created);
	CHECK(allocator && allocator->alloc && allocator->free);
	g->created = true;
	g->capacity = capacity;
	g->head.next = g->head.prev = &g->head;
	*state = g;
	return 0;
}

static void guard_destroy(void *state)
{
	struct guard *g = state;

	CHECK(g->created);
	CHECK_EQ(g->nodes, 0);
	CHECK_EQ(g->weight, 0);
	g->created = false;
}

static void guard_add(void *state, hapax_policy_node *n)
{
	struct guard *g = state;

	guard_in(g);
	g->adds++;
	guard_link(g, n);
	guard_out(g);
}

static void guard_remove(void *state, hapax_policy_node *n)
{
	struct guard *g = state;

	guard_in(g);
	g->removes++;
	guard_unlink(g, n);
	guard_out(g);
}

static void guard_replace(void *state, hapax_policy_node *old, hapax_policy_node *fresh)
{
	struct guard *g = state;

	guard_in(g);
	g->replaces++;
	CHECK(old != fresh);
	CHECK_EQ(old->id, fresh->id);
	guard_unlink(g, old);
	guard_link(g, fresh);
	guard_out(g);
}

static void guard_hit(void *state, hapax_policy_node *n)
{
	struct guard *g = state;

	guard_in(g);
	g->hits++;
	CHECK(n->mark == GUARD_IN);
	guard_out(g);
}

static hapax_policy_node *guard_evict(void *state)
{
	struct guard *g = state;
	hapax_policy_node *n;

	guard_in(g);
	g->evicts++;
	n = g->head.prev == &g->head ? NULL : g->head.prev;
	if (n) {
		CHECK(hapax_policy_touched(n, true) <= g->policy.touch_max);
		guard_unlink(g, n);
	}
	guard_out(g);
	return n;
}

static void guard_resize(void *state, uint64_t capacity)
{
	struct guard *g = state;

	guard_in(g);
	g->resizes++;
	g->capacity = capacity;
	guard_out(g);
}

static int guard_check(void *state, char *message, size_t size)
{
	struct guard *g = state;
	uint64_t nodes = 0, weight = 0;

	guard_in(g);
	for (hapax_policy_node *n = g->head.next; n != &g->head; n = n->next) {
		nodes++;
		weight += n->weight;
	}
	guard_out(g);
	if (nodes == g->nodes && weight == g->weight)
		return 0;
	snprintf(message, size, "guard: %d nodes are linked, %d were counted", (int)nodes, (int)g->nodes);
	return -1;
}

/* `flags`: one of HAPAX_POLICY_*. Without `replacing` the cache has to remove and add. */
MAYBE_UNUSED static const hapax_policy *guard_policy(struct guard *g, unsigned flags, bool replacing)
{
	*g = (struct guard){.policy = {HAPAX_POLICY_INIT, .name = "guard", .flags = flags, .create = guard_create,
				       .destroy = guard_destroy, .add = guard_add, .remove = guard_remove,
				       .evict = guard_evict, .resize = guard_resize, .check = guard_check, .ctx = g}};
	if (flags & HAPAX_POLICY_TOUCH)
		g->policy.touch_max = 3;
	else
		g->policy.hit = guard_hit;
	if (replacing)
		g->policy.replace = guard_replace;
	return &g->policy;
}

#endif
