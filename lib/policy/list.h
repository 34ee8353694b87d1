/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/list.h - queues through the `next` and `prev` of policy nodes, with their number and weight.
 *
 *      newest  --next-->  ...  --next-->  oldest
 *              <--prev--       <--prev--
 */
#ifndef HPX_POLICY_LIST_H
#define HPX_POLICY_LIST_H

#include <hapax/policy.h>

#include "base/check.h"

struct hpx_list {
	hapax_policy_node *newest, *oldest;
	uint64_t count, weight;
};

/* Weights add up to 2^64 - 1 at most: what is beyond that is counted as that much. */
static inline uint64_t hpx_weight_add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* Right before `at`, that is newer than it; NULL: as the oldest. */
static inline void hpx_list_insert(struct hpx_list *list, hapax_policy_node *node, hapax_policy_node *at)
{
	hapax_policy_node *newer = at ? at->prev : list->oldest;

	node->next = at;
	node->prev = newer;
	*(newer ? &newer->next : &list->newest) = node;
	*(at ? &at->prev : &list->oldest) = node;
	list->count++;
	list->weight += node->weight;
}

static inline void hpx_list_push(struct hpx_list *list, hapax_policy_node *node)
{
	hpx_list_insert(list, node, list->newest);
}

static inline void hpx_list_remove(struct hpx_list *list, hapax_policy_node *node)
{
	HPX_ASSERT(list->count); /* the weight may be beyond 64 bits for a moment: it is right again when enough has left */
	*(node->prev ? &node->prev->next : &list->newest) = node->next;
	*(node->next ? &node->next->prev : &list->oldest) = node->prev;
	node->next = node->prev = NULL;
	list->count--;
	list->weight -= node->weight;
}

static inline void hpx_list_to_newest(struct hpx_list *list, hapax_policy_node *node)
{
	if (list->newest == node)
		return;
	hpx_list_remove(list, node);
	hpx_list_push(list, node);
}

/* `fresh` where `old` was. */
static inline void hpx_list_replace(struct hpx_list *list, hapax_policy_node *old, hapax_policy_node *fresh)
{
	hapax_policy_node *at = old->next;

	hpx_list_remove(list, old);
	hpx_list_insert(list, fresh, at);
}

/* For check(): links both ways, number, weight, and node->list & mask == tag of all. 0, or -1 and what is wrong. */
static inline int hpx_list_check(const struct hpx_list *list, const char *name, uint32_t mask, uint32_t tag,
				 char *message, size_t size)
{
	uint64_t count = 0, weight = 0;
	const hapax_policy_node *newer = NULL;

	for (const hapax_policy_node *node = list->newest; node; newer = node, node = node->next) {
		if (node->prev != newer || ++count > list->count || (node->list & mask) != tag) {
			snprintf(message, size, "%s: node %llu of %llu: wrong link, too many, or another queue's", name,
				 (unsigned long long)count, (unsigned long long)list->count);
			return -1;
		}
		weight += node->weight;
	}
	if (newer == list->oldest && count == list->count && weight == list->weight)
		return 0;
	snprintf(message, size, "%s: %llu nodes of weight %llu, counted %llu and %llu", name, (unsigned long long)count,
		 (unsigned long long)weight, (unsigned long long)list->count, (unsigned long long)list->weight);
	return -1;
}

/* A policy's state: zeroed, or NULL. */
static inline void *hpx_policy_alloc(const hapax_allocator *allocator, size_t size)
{
	void *block = allocator->alloc(size, 64, allocator->ctx);

	return block ? memset(block, 0, size) : NULL;
}

static inline void hpx_policy_free(const hapax_allocator *allocator, void *block, size_t size)
{
	if (block)
		allocator->free(block, size, 64, allocator->ctx);
}

#endif
