/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/sieve.c - SIEVE: Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is simpler than LRU", NSDI 2024.
 *
 * One queue in order of insertion, one bit per node, a hand that walks from the oldest to the newest and begins again.
 * The hand takes the first node that was not used since it last came by, and takes the bit from those it passes; nodes
 * stay where they are. Unlike CLOCK it leaves new nodes behind its back, at the newest end, to prove themselves.
 *
 * One eviction passes at most STEPS nodes. Then it takes the one it stands at, used or not: hits go on while it walks.
 */
#include "policy/list.h"

#define STEPS 1024

struct sieve {
	const hapax_allocator *allocator;
	struct hpx_list all;
	hapax_policy_node *hand; /* where the walk goes on; NULL: at the oldest */
};

static int sieve_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	struct sieve *sieve = hpx_policy_alloc(allocator, sizeof(*sieve));

	(void)capacity;
	(void)ctx;
	if (!sieve)
		return HAPAX_ENOMEM;
	sieve->allocator = allocator;
	*state = sieve;
	return 0;
}

static void sieve_destroy(void *state)
{
	struct sieve *sieve = state;

	HPX_ASSERT(!sieve->all.count);
	hpx_policy_free(sieve->allocator, sieve, sizeof(*sieve));
}

static void sieve_add(void *state, hapax_policy_node *node)
{
	hpx_list_push(&((struct sieve *)state)->all, node);
}

static void sieve_remove(void *state, hapax_policy_node *node)
{
	struct sieve *sieve = state;

	if (sieve->hand == node)
		sieve->hand = node->prev;
	hpx_list_remove(&sieve->all, node);
}

/* Writing a key is a use of it: the fresh node has the place and the bit (mark). */
static void sieve_replace(void *state, hapax_policy_node *old, hapax_policy_node *fresh)
{
	struct sieve *sieve = state;

	hpx_list_replace(&sieve->all, old, fresh);
	fresh->mark = 1;
	if (sieve->hand == old)
		sieve->hand = fresh;
}

/* The next place of the hand, which never is the newest node's: that is what room is made for. */
static hapax_policy_node *onwards(const struct sieve *sieve, const hapax_policy_node *node)
{
	return node->prev == sieve->all.newest ? NULL : node->prev;
}

static hapax_policy_node *sieve_evict(void *state)
{
	struct sieve *sieve = state;
	hapax_policy_node *node = sieve->hand ? sieve->hand : sieve->all.oldest;

	if (!node)
		return NULL;
	for (unsigned step = 0; step < STEPS && (hapax_policy_touched(node, true) | node->mark); step++) {
		node->mark = 0;
		node = onwards(sieve, node);
		if (!node)
			node = sieve->all.oldest;
	}
	sieve->hand = onwards(sieve, node);
	hpx_list_remove(&sieve->all, node);
	return node;
}

static void sieve_resize(void *state, uint64_t capacity)
{
	(void)state;
	(void)capacity;
}

static int sieve_check(void *state, char *message, size_t size)
{
	struct sieve *sieve = state;
	const hapax_policy_node *node = sieve->all.newest;

	if (hpx_list_check(&sieve->all, "sieve", UINT32_MAX, 0, message, size))
		return -1;
	while (node && node != sieve->hand)
		node = node->next;
	if (node || !sieve->hand)
		return 0;
	snprintf(message, size, "sieve: the hand is at a node that is not in the queue");
	return -1;
}

const hapax_policy *hapax_policy_sieve(void)
{
	static const hapax_policy sieve = {
		HAPAX_POLICY_INIT,
		.name = "sieve",
		.flags = HAPAX_POLICY_TOUCH,
		.touch_max = 1,
		.create = sieve_create,
		.destroy = sieve_destroy,
		.add = sieve_add,
		.remove = sieve_remove,
		.replace = sieve_replace,
		.evict = sieve_evict,
		.resize = sieve_resize,
		.check = sieve_check,
	};

	return &sieve;
}
