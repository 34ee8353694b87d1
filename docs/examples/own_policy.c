/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An eviction policy of one's own: for an application that goes over its data again and again, from beginning to end.
 *
 * Of 1000 pages 100 fit. By the time it comes back to a page, LRU has let go of it for one that came later: nothing is
 * ever found. This policy keeps the first 100 and lets each later page go for the next one: a tenth is found each time.
 */
#include <hapax/hapax.h>
#include <stdio.h>
#include <stdlib.h>

/* All nodes, the newest first. The nodes are the cache's; a policy needs memory for itself only, here for one pointer. */
struct loop {
	hapax_policy_node *newest;
	const hapax_allocator *allocator;
};

static int loop_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	struct loop *loop = allocator->alloc(sizeof(*loop), 16, allocator->ctx);

	(void)capacity, (void)ctx;
	if (!loop)
		return HAPAX_ENOMEM;
	*loop = (struct loop){.allocator = allocator};
	*state = loop;
	return 0;
}

static void loop_destroy(void *state)
{
	struct loop *loop = state;
	const hapax_allocator *allocator = loop->allocator;

	allocator->free(loop, sizeof(*loop), 16, allocator->ctx);
}

static void loop_add(void *state, hapax_policy_node *node)
{
	struct loop *loop = state;

	node->prev = NULL;
	node->next = loop->newest;
	if (node->next)
		node->next->prev = node;
	loop->newest = node;
}

static void loop_remove(void *state, hapax_policy_node *node)
{
	struct loop *loop = state;

	*(node->prev ? &node->prev->next : &loop->newest) = node->next;
	if (node->next)
		node->next->prev = node->prev;
}

/* The newest is what room is made for; the one before it goes. */
static hapax_policy_node *loop_evict(void *state)
{
	struct loop *loop = state;
	hapax_policy_node *node = loop->newest && loop->newest->next ? loop->newest->next : loop->newest;

	if (node)
		loop_remove(loop, node);
	return node;
}

static void loop_resize(void *state, uint64_t capacity)
{
	(void)state, (void)capacity; /* the cache counts; this policy does not care how many there are */
}

static const hapax_policy loop_policy = {
	HAPAX_POLICY_INIT,
	.name = "loop",
	.flags = HAPAX_POLICY_TOUCH, /* hits leave a mark in the node and call nobody */
	.touch_max = 1,
	.create = loop_create,
	.destroy = loop_destroy,
	.add = loop_add,
	.remove = loop_remove,
	.evict = loop_evict,
	.resize = loop_resize,
};

struct page { unsigned number; };

static int page_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct page *page = object;

	(void)arg, (void)error;
	memcpy(&page->number, key->data, sizeof(page->number));
	return HAPAX_LOAD_OK;
}

HAPAX_TYPE(page, struct page, .destroy = NULL);

/* Ten times over all pages: how many were found, of 10000. */
static unsigned long found(const hapax_policy *policy)
{
	const hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &page_type, .load = page_load,
					     .max_entries = 100, .policy = policy};
	hapax_cache_stats stats = {.size = sizeof(stats)};
	hapax_cache *cache;

	if (hapax_cache_create(&cache, &options) != HAPAX_OK)
		exit(1);
	for (unsigned i = 0; i < 10000; i++) {
		unsigned number = i % 1000;
		struct page *page;

		if (page_get(cache, HAPAX_KEY_OF(number), &page) != HAPAX_OK || page->number != number)
			exit(1);
		hapax_release(page);
	}
	if (hapax_cache_stats_get(cache, &stats) != HAPAX_OK)
		exit(1);
	hapax_cache_destroy(cache);
	return (unsigned long)stats.hits;
}

int main(void)
{
	unsigned long lru = found(hapax_policy_lru()), loop = found(&loop_policy);

	printf("found with lru: %lu, with the policy of our own: %lu\n", lru, loop); /* 0 and 891 */
	return loop > lru + 800 ? 0 : 1;
}
