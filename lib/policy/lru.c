/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/lru.c - exact least recently used.
 *
 * One queue. A hit, an addition and a replacement go to its newest end, eviction takes its oldest. Exact, because every
 * hit takes the cache's lock (HAPAX_POLICY_EXACT); for tests and for few threads.
 */
#include "policy/list.h"

struct lru {
	const hapax_allocator *allocator;
	struct hpx_list all;
};

static int lru_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	struct lru *lru = hpx_policy_alloc(allocator, sizeof(*lru));

	(void)capacity;
	(void)ctx;
	if (!lru)
		return HAPAX_ENOMEM;
	lru->allocator = allocator;
	*state = lru;
	return 0;
}

static void lru_destroy(void *state)
{
	struct lru *lru = state;

	HPX_ASSERT(!lru->all.count);
	hpx_policy_free(lru->allocator, lru, sizeof(*lru));
}

static void lru_add(void *state, hapax_policy_node *node)
{
	hpx_list_push(&((struct lru *)state)->all, node);
}

static void lru_remove(void *state, hapax_policy_node *node)
{
	hpx_list_remove(&((struct lru *)state)->all, node);
}

static void lru_replace(void *state, hapax_policy_node *old, hapax_policy_node *fresh)
{
	lru_remove(state, old);
	lru_add(state, fresh);
}

static void lru_hit(void *state, hapax_policy_node *node)
{
	hpx_list_to_newest(&((struct lru *)state)->all, node);
}

static hapax_policy_node *lru_evict(void *state)
{
	struct lru *lru = state;
	hapax_policy_node *node = lru->all.oldest;

	if (node)
		hpx_list_remove(&lru->all, node);
	return node;
}

static void lru_resize(void *state, uint64_t capacity)
{
	(void)state;
	(void)capacity;
}

static int lru_check(void *state, char *message, size_t size)
{
	return hpx_list_check(&((struct lru *)state)->all, "lru", UINT32_MAX, 0, message, size);
}

const hapax_policy *hapax_policy_lru(void)
{
	static const hapax_policy lru = {
		HAPAX_POLICY_INIT,
		.name = "lru",
		.flags = HAPAX_POLICY_EXACT,
		.create = lru_create,
		.destroy = lru_destroy,
		.add = lru_add,
		.remove = lru_remove,
		.replace = lru_replace,
		.hit = lru_hit,
		.evict = lru_evict,
		.resize = lru_resize,
		.check = lru_check,
	};

	return &lru;
}
