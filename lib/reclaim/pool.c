/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim/pool.c - the object pool, and retirement in batches.
 *
 *      alloc <- magazine <- ring of stamped batches <- open batch <- retire        a thread's share (struct hpx_local)
 *                  |  ^              |                     | ring full, no share
 *                  v  |              v harvest             v
 *              pages of the environment (lock)     <-   orphans (lock-free stack, freed after the next grace period)
 *
 * A retired block is linked through the word its retirer names; a batch is a chain with a stamp (grace.c). When the stamp
 * has been reached the owner makes the chain its magazine: no lock, no look at the blocks. A block is known by that word
 * from then on; pages are aligned to their size, so the block around a word is found by arithmetic.
 *
 * retire takes no lock: the ring is the owner's unless somebody else harvests it just then, and the orphans take what
 * finds it busy or full. Threads that do not come back for their batches are harvested by housekeeping.
 *
 * With AddressSanitizer every block is its own allocation behind a prefix, the chains go through the prefixes, and what
 * has matured is freed at once.
 */
#include <string.h>

#include "base/poison.h"
#include "reclaim/internal.h"

#define PAGE_BYTES ((size_t)64 << 10)
#define MAGAZINE_MOST 256 /* blocks; beyond it matured batches go to the pages */
#define MERGE_BLOCKS 2048
#define MERGE_LOOK 16 /* the newest batches */
#define REFILL_BYTES ((size_t)16 << 10)
#ifdef HPX_STRICT
#define REFILL_BLOCKS 1 /* what has been freed is used again at the next chance */
#else
#define REFILL_BLOCKS 16
#endif

struct hpx_page {
	hapax_env *env;
	struct hpx_page *all_next, **all_back;
	struct hpx_page *next, **back; /* partial, or empty */
	struct hpx_node *free;         /* with AddressSanitizer: the chain's word */
	uint16_t size_class, used, fresh, capacity;
	uint64_t pad;
};
_Static_assert(sizeof(struct hpx_page) == 64, "blocks begin after one line");

static unsigned class_of(size_t size) { return size ? (unsigned)((size - 1) / 16) : 0; }

static size_t class_bytes(unsigned k) { return ((size_t)k + 1) * 16; }

size_t hpx_chain_bytes(const struct hpx_chain *chain) { return chain->count * class_bytes(chain->size_class); }

#ifdef HPX_ASAN

static struct hpx_page *page_of(struct hpx_node *node)
{
	return (struct hpx_page *)(void *)((char *)node - offsetof(struct hpx_page, free));
}

static void *block_of(hapax_env *env, struct hpx_node *node, unsigned k)
{
	(void)env, (void)k;
	return page_of(node) + 1;
}

static struct hpx_node *node_of(void *block, void *link)
{
	(void)link;
	return (struct hpx_node *)&((struct hpx_page *)block - 1)->free;
}

static size_t page_bytes(const struct hpx_page *page) { return sizeof(*page) + class_bytes(page->size_class); }

#define PAGE_ALIGN 16

#else

static struct hpx_page *page_of(struct hpx_node *node)
{
	return (struct hpx_page *)((uintptr_t)node & ~(PAGE_BYTES - 1));
}

static void *block_of(hapax_env *env, struct hpx_node *node, unsigned k)
{
	char *first = (char *)(page_of(node) + 1);
	/* rounded-up reciprocal of the size: exact for offsets below 2^16 and sizes up to 2^9 */
	uint64_t index = (uint64_t)((char *)node - first) * env->pool.reciprocal[k] >> 32;

	return first + index * class_bytes(k);
}

static struct hpx_node *node_of(void *block, void *link)
{
	(void)block;
	return link;
}

static size_t page_bytes(const struct hpx_page *page)
{
	(void)page;
	return PAGE_BYTES;
}

#define PAGE_ALIGN PAGE_BYTES

#endif

/* ---- pages; the lock is held unless said otherwise ----------------------------------------------------------------- */

#ifndef HPX_ASAN
static void page_list(struct hpx_page **list, struct hpx_page *page)
{
	page->next = *list;
	page->back = list;
	if (page->next)
		page->next->back = &page->next;
	*list = page;
}
#endif

static void page_unlist(struct hpx_page *page)
{
	*page->back = page->next;
	if (page->next)
		page->next->back = page->back;
	page->back = NULL;
}

static void page_keep(hapax_env *env, struct hpx_page *page)
{
	struct hpx_pool *pool = &env->pool;

	page->env = env;
	page->back = NULL;
	page->all_next = pool->pages;
	page->all_back = &pool->pages;
	if (pool->pages)
		pool->pages->all_back = &page->all_next;
	pool->pages = page;
}

static void page_forget(struct hpx_page *page)
{
	*page->all_back = page->all_next;
	if (page->all_next)
		page->all_next->all_back = page->all_back;
}

#ifdef HPX_ASAN

static void put_node(hapax_env *env, struct hpx_node *node)
{
	struct hpx_page *page = page_of(node);

	page_forget(page);
	HPX_UNPOISON(page + 1, class_bytes(page->size_class));
	hpx_raw_free(env, page, page_bytes(page), PAGE_ALIGN);
}

static void take_nodes(hapax_env *env, unsigned k, unsigned n, struct hpx_chain *chain)
{
	struct hpx_page *page = hpx_raw_alloc(env, sizeof(*page) + class_bytes(k), PAGE_ALIGN);
	struct hpx_node *node;

	(void)n;
	if (!page)
		return;
	page->size_class = (uint16_t)k;
	page_keep(env, page);
	node = (struct hpx_node *)&page->free;
	hpx_node_set(node, chain->first);
	chain->first = node;
	chain->count++;
}

#else

static struct hpx_page *page_new(hapax_env *env, unsigned k)
{
	struct hpx_pool *pool = &env->pool;
	struct hpx_page *page = pool->empty;

	if (page) {
		page_unlist(page);
		pool->empties--;
		HPX_POOL_BLOCK_TAKEN(page + 1, PAGE_BYTES - sizeof(*page)); /* all blocks are fresh ones */
	} else {
		page = hpx_raw_alloc(env, PAGE_BYTES, PAGE_ALIGN);
		if (!page)
			return NULL;
		page_keep(env, page);
	}
	page->free = NULL;
	page->size_class = (uint16_t)k;
	page->used = page->fresh = 0;
	page->capacity = (uint16_t)((PAGE_BYTES - sizeof(*page)) / class_bytes(k));
	page_list(&pool->partial[k], page);
	return page;
}

static void put_node(hapax_env *env, struct hpx_node *node)
{
	struct hpx_page *page = page_of(node);
	struct hpx_pool *pool = &env->pool;

	HPX_POOL_BLOCK_FREED(block_of(env, node, page->size_class), class_bytes(page->size_class), node);
	if (!page->back)
		page_list(&pool->partial[page->size_class], page);
	hpx_node_set(node, page->free);
	page->free = node;
	if (--page->used)
		return;
	page_unlist(page);
	page_list(&pool->empty, page);
	pool->empties++;
}

static void take_nodes(hapax_env *env, unsigned k, unsigned n, struct hpx_chain *chain)
{
	struct hpx_pool *pool = &env->pool;
	struct hpx_page *page;
	struct hpx_node *node;

	while (n--) {
		page = pool->partial[k];
		if (!page) {
			if (chain->first || !(page = page_new(env, k)))
				return;
		}
		node = page->free;
		if (node)
			page->free = hpx_node_next(node);
		else
			node = (struct hpx_node *)(void *)((char *)(page + 1) + page->fresh++ * class_bytes(k));
		page->used++;
		if (!page->free && page->fresh == page->capacity)
			page_unlist(page);
		hpx_node_set(node, chain->first);
		chain->first = node;
		chain->count++;
	}
}

#endif

void hpx_pool_init(hapax_env *env)
{
	pthread_mutex_init(&env->pool.lock, NULL);
	for (unsigned k = 0; k < HPX_CLASSES; k++)
		env->pool.reciprocal[k] = (UINT64_C(1) << 32) / class_bytes(k) + 1;
}

void hpx_pool_fini(hapax_env *env)
{
	struct hpx_page *page;

	while ((page = env->pool.pages)) {
		page_forget(page);
		HPX_UNPOISON(page, page_bytes(page));
		hpx_raw_free(env, page, page_bytes(page), PAGE_ALIGN);
	}
	pthread_mutex_destroy(&env->pool.lock);
}

/* The lock is taken. Puts up to `most` of a list back; returns the rest. */
static struct hpx_node *put_list(hapax_env *env, struct hpx_node *node, unsigned most)
{
	struct hpx_node *next;

	pthread_mutex_lock(&env->pool.lock);
	for (; node && most; node = next, most--) {
		next = hpx_node_next(node);
		put_node(env, node);
	}
	pthread_mutex_unlock(&env->pool.lock);
	return node;
}

void hpx_pool_trim(hapax_env *env, unsigned keep)
{
	struct hpx_page *page;

	do {
		pthread_mutex_lock(&env->pool.lock);
		page = env->pool.empties > keep ? env->pool.empty : NULL;
		if (page) {
			page_unlist(page);
			page_forget(page);
			env->pool.empties--;
		}
		pthread_mutex_unlock(&env->pool.lock);
		if (page)
			hpx_raw_free(env, page, page_bytes(page), PAGE_ALIGN);
	} while (page);
}

/* ---- the ring ---------------------------------------------------------------------------------------------------- */

static bool ring_try(struct hpx_local *local)
{
	/* order: -> POOL.RING acquire; the ring as the last user left it */
	return !hpx_exchange_acquire(&local->busy, 1);
}

static void ring_leave(struct hpx_local *local)
{
	hpx_store_release(&local->busy, 0); /* order: POOL.RING -> release */
}

/* Batches of one class and one grace period become one, up to MERGE_BLOCKS: the ring holds what many batches bring. */
static bool ring_merge(struct hpx_local *local, const struct hpx_chain *chain, uint64_t stamp)
{
	uint32_t most = local->count < MERGE_LOOK ? local->count : MERGE_LOOK;
	struct hpx_batch *batch;

	for (uint32_t i = 1; i <= most; i++) {
		batch = &local->ring[(local->first + local->count - i) % HPX_RING];
		if (batch->stamp != stamp)
			return false;
		if (batch->chain.size_class != chain->size_class || batch->chain.count >= MERGE_BLOCKS)
			continue;
		hpx_node_set(chain->last, batch->chain.first);
		batch->chain.first = chain->first;
		batch->chain.count += chain->count;
		return true;
	}
	return false;
}

static bool ring_push(struct hpx_local *local, const struct hpx_chain *chain, uint64_t stamp)
{
	bool done;

	if (!ring_try(local))
		return false;
	done = ring_merge(local, chain, stamp);
	if (!done && local->count < HPX_RING) {
		local->ring[(local->first + local->count++) % HPX_RING] = (struct hpx_batch){*chain, stamp};
		done = true;
	}
	ring_leave(local);
	return done;
}

/* The ring is ours. */
static bool ring_pop(struct hpx_local *local, uint64_t done, struct hpx_chain *chain)
{
	if (!local->count || local->ring[local->first].stamp > done)
		return false;
	*chain = local->ring[local->first].chain;
	local->first = (local->first + 1) % HPX_RING;
	local->count--;
	return true;
}

#ifndef HPX_ASAN
/* The last one's link leads nowhere yet. */
static void chain_poison(hapax_env *env, const struct hpx_chain *chain)
{
	struct hpx_node *node = chain->first;
	unsigned k = chain->size_class;

	for (uint32_t n = HPX_POISONS ? chain->count : 0; n; n--, node = n ? hpx_node_next(node) : NULL)
		HPX_POOL_BLOCK_FREED(block_of(env, node, k), class_bytes(k), node);
}
#endif

static void chain_to_magazine(hapax_env *env, struct hpx_local *local, struct hpx_chain *chain)
{
	struct hpx_chain *magazine = &local->magazine[chain->size_class];

#ifndef HPX_ASAN
	if (magazine->count < MAGAZINE_MOST) {
		chain_poison(env, chain);
		hpx_node_set(chain->last, magazine->first);
		magazine->first = chain->first;
		magazine->count += chain->count;
		return;
	}
#endif
	(void)magazine;
	hpx_node_set(chain->last, NULL);
	put_list(env, chain->first, chain->count);
}

/* The owner: matured batches become magazines, until there is one of class k (HPX_CLASSES: all of them). What is left in
 * the ring is the stock from which the next one comes. */
static void poll_local(hapax_env *env, struct hpx_local *local, unsigned k)
{
	struct hpx_chain chain;
	size_t bytes = 0;
	uint64_t done;

	if (!ring_try(local))
		return;
	/* order: -> RECLAIM.DONE acquire; sections that read the blocks are over */
	done = hpx_load_acquire(&hpx_gp_done);
	while ((k == HPX_CLASSES || !local->magazine[k].first) && ring_pop(local, done, &chain)) {
		bytes += hpx_chain_bytes(&chain);
		chain_to_magazine(env, local, &chain);
	}
	ring_leave(local);
	if (bytes)
		hpx_garbage_sub(env, bytes);
}

void hpx_pool_poll(hapax_env *env)
{
	struct hpx_local *local = hpx_local_of(env);

	if (local)
		poll_local(env, local, HPX_CLASSES);
}

void hpx_pool_harvest(struct hpx_local *local, uint64_t behind)
{
	struct hpx_chain chain;
	size_t bytes = 0;
	uint64_t done;

	/* order: -> RECLAIM.DONE acquire; as in poll_local() */
	done = hpx_load_acquire(&hpx_gp_done);
	if (!local->owner)
		behind = 0;
	if (done < behind || !ring_try(local))
		return;
	while (ring_pop(local, done - behind, &chain)) {
		bytes += hpx_chain_bytes(&chain);
		hpx_node_set(chain.last, NULL);
		put_list(local->env, chain.first, chain.count);
	}
	ring_leave(local);
	if (bytes)
		hpx_garbage_sub(local->env, bytes);
}

struct hpx_node *hpx_pool_free_orphans(struct hpx_node *node, unsigned most)
{
	struct hpx_node *next;
	unsigned count;
	size_t bytes;
	hapax_env *env;

	while (node && most) {
		env = page_of(node)->env;
		bytes = count = 0;
		pthread_mutex_lock(&env->pool.lock);
		for (; node && most && page_of(node)->env == env; node = next, most--, count++) {
			next = hpx_node_next(node);
			bytes += class_bytes(page_of(node)->size_class);
			put_node(env, node);
		}
		pthread_mutex_unlock(&env->pool.lock);
		hpx_garbage_sub(env, bytes);
		hpx_sub_relaxed(&env->orphaned, count); /* order: ENV.ENDED relaxed; under hpx_slow, as the look at it */
	}
	return node;
}

/* ---- allocation -------------------------------------------------------------------------------------------------- */

/* Off the fast path: matured batches, then pages. */
static __attribute__((noinline)) bool refill(hapax_env *env, struct hpx_local *local, unsigned k)
{
	struct hpx_chain *magazine = &local->magazine[k];
	size_t n = REFILL_BYTES / class_bytes(k);
	int saved = errno;

	poll_local(env, local, k);
	if (!magazine->first) {
		pthread_mutex_lock(&env->pool.lock);
		take_nodes(env, k, n < REFILL_BLOCKS ? (unsigned)n : REFILL_BLOCKS, magazine);
		pthread_mutex_unlock(&env->pool.lock);
	}
	errno = saved;
	return magazine->first;
}

static void *shared_alloc(hapax_env *env, unsigned k)
{
	struct hpx_chain one = {.size_class = k};
	int saved = errno;

	pthread_mutex_lock(&env->pool.lock);
	take_nodes(env, k, 1, &one);
	pthread_mutex_unlock(&env->pool.lock);
	errno = saved;
	if (!one.first)
		return NULL;
	hpx_env_begin(env);
	HPX_POOL_BLOCK_TAKEN(block_of(env, one.first, k), class_bytes(k));
	return block_of(env, one.first, k);
}

/* Two numbers that only the owner writes and housekeeping compares (env.c). */
static void count_begun(struct hpx_local *local)
{
	/* order: ENV.ENDED relaxed; the block's end follows */
	hpx_store_relaxed(&local->begun, hpx_load_relaxed(&local->begun) + 1);
}

static void count_ended(struct hpx_local *local)
{
	/* order: ENV.ENDED -> release; all use of the share and of the environment before it */
	hpx_store_release(&local->ended, hpx_load_relaxed(&local->ended) + 1);
}

/* The magazine has something. */
static inline void *magazine_take(hapax_env *env, struct hpx_local *local, struct hpx_chain *magazine, unsigned k)
{
	struct hpx_node *node = magazine->first;
	char *next = (char *)hpx_node_next(node);

	magazine->first = (struct hpx_node *)(void *)next;
	magazine->count--;
#ifndef HPX_ASAN
	/* whose link is read by the next allocation and most of which it zeroes */
	__builtin_prefetch(next, 1);
	__builtin_prefetch(next + HPX_CACHE_LINE, 1);
#endif
	count_begun(local);
	HPX_POOL_BLOCK_TAKEN(block_of(env, node, k), class_bytes(k));
	return block_of(env, node, k);
}

void *hpx_pool_alloc(hapax_env *env, size_t size)
{
	struct hpx_local *local = hpx_local_of(env);
	unsigned k = class_of(size);
	struct hpx_chain *magazine;

	HPX_ASSERT(size <= HPX_POOL_MAX);
	if (HPX_UNLIKELY(!local))
		return shared_alloc(env, k);
	magazine = &local->magazine[k];
	if (HPX_UNLIKELY(!magazine->first) && !refill(env, local, k))
		return NULL;
	return magazine_take(env, local, magazine, k);
}

void *hpx_pool_alloc_quick(hapax_env *env, size_t size)
{
	/* order: LOCAL.CACHE relaxed; as in hpx_local_of() */
	struct hpx_local *local = __atomic_load_n(&hpx_self.env, __ATOMIC_RELAXED) == env ? hpx_self.local : NULL;
	unsigned k = class_of(size);

	HPX_ASSERT(size <= HPX_POOL_MAX);
	/* order: ADMIT.THRESHOLD relaxed; as in hpx_admit() */
	if (HPX_UNLIKELY(!local || !local->magazine[k].first ||
			 hpx_load_relaxed(&env->garbage) >= hpx_load_relaxed(&env->threshold)))
		return NULL;
	return magazine_take(env, local, &local->magazine[k], k);
}

void hpx_pool_free(hapax_env *env, void *block, size_t size)
{
	struct hpx_local *local = hpx_local_of(env);
	struct hpx_node *node = node_of(block, block);
	unsigned k = class_of(size);
	int saved = errno;

#ifndef HPX_ASAN
	if (local && local->magazine[k].count < MAGAZINE_MOST) {
		HPX_POOL_BLOCK_FREED(block, class_bytes(k), node);
		hpx_node_set(node, local->magazine[k].first);
		local->magazine[k].first = node;
		local->magazine[k].count++;
		count_ended(local);
		return;
	}
#endif
	(void)k;
	hpx_node_set(node, NULL);
	put_list(env, node, 1);
	if (local)
		count_ended(local);
	else
		hpx_env_end(env);
	errno = saved;
}

/* ---- retirement -------------------------------------------------------------------------------------------------- */

static void close_batch(hapax_env *env, struct hpx_local *local, struct hpx_chain *open)
{
	struct hpx_chain chain = *open;
	size_t bytes = hpx_chain_bytes(&chain);

	open->first = open->last = NULL;
	open->count = 0;
	local->open_bytes -= bytes;
	hpx_garbage_add(env, bytes);
	if (!ring_push(local, &chain, hpx_gp_stamp()))
		hpx_gp_orphan(env, &chain);
}

static void close_all(hapax_env *env, struct hpx_local *local)
{
	for (unsigned k = 0; k < HPX_CLASSES; k++)
		if (local->open[k].count)
			close_batch(env, local, &local->open[k]);
}

static void retire_alone(hapax_env *env, struct hpx_node *node, unsigned k)
{
	struct hpx_chain one = {.first = node, .last = node, .count = 1, .size_class = k};

	hpx_garbage_add(env, class_bytes(k));
	hpx_gp_orphan(env, &one);
	hpx_gp_wake(env);
	hpx_env_end(env);
}

/* One batch is full, or all of them hold too much together. */
static __attribute__((noinline)) void close_some(hapax_env *env, struct hpx_local *local, struct hpx_chain *open)
{
	if (local->open_bytes >= env->batch_bytes || hpx_env_closed(env))
		close_all(env, local);
	else
		close_batch(env, local, open);
	hpx_gp_wake(env);
}

void hpx_pool_retire(hapax_env *env, void *block, size_t size, void *link)
{
	struct hpx_local *local = hpx_local_of(env);
	struct hpx_node *node = node_of(block, link);
	unsigned k = class_of(size);
	struct hpx_chain *open;

	if (HPX_BROKEN(NO_GRACE_PERIOD)) {
		hpx_pool_free(env, block, size);
		return;
	}
	if (HPX_UNLIKELY(!local)) {
		retire_alone(env, node, k);
		return;
	}
	open = &local->open[k];
	hpx_node_set(node, open->first);
	open->first = node;
	if (HPX_UNLIKELY(!open->last))
		open->last = node;
	local->open_bytes += class_bytes(k);
	/* order: -> ENV.CLOSE acquire; as in hpx_env_closed() */
	if (HPX_UNLIKELY(++open->count >= HPX_BATCH_BLOCKS || local->open_bytes >= env->batch_bytes ||
			 hpx_load_acquire(&env->closed)))
		close_some(env, local, open);
	count_ended(local);
}

/* ---- housekeeping of one's own, under hpx_slow --------------------------------------------------------------------- */

bool hpx_pool_close_local(struct hpx_local *local, bool magazines_too)
{
	hapax_env *env = local->env;
	bool any = local->open_bytes;

	close_all(env, local);
	if (!magazines_too)
		return any;
	for (unsigned k = 0; k < HPX_CLASSES; k++) {
		put_list(env, local->magazine[k].first, ~0u);
		local->magazine[k].first = NULL;
		local->magazine[k].count = 0;
	}
	return any;
}

void hpx_pool_close_own(bool magazines_too)
{
	struct hpx_local *local;

	/* order: LOCAL.MINE relaxed; this thread's, and under the lock */
	for (local = hpx_load_relaxed(&hpx_state.locals); local; local = hpx_load_relaxed(&local->mine))
		hpx_pool_close_local(local, magazines_too);
}

/* In the child: a share whose owner vanished at any instruction. Its chains are not to be trusted; their blocks go with
 * the environment. The ring is in order unless the owner was at it. */
void hpx_local_after_fork(struct hpx_local *local)
{
	for (unsigned k = 0; k < HPX_CLASSES; k++) {
		local->magazine[k] = (struct hpx_chain){.size_class = k};
		local->open[k] = (struct hpx_chain){.size_class = k};
	}
	local->open_bytes = 0;
	if (hpx_load_relaxed(&local->busy)) /* order: POOL.RING relaxed; one thread is left */
		local->count = 0;
	hpx_init(&local->busy, 0);
}

static void recount_nodes(struct hpx_node *node)
{
	for (; node; node = hpx_node_next(node))
		hpx_garbage_add(page_of(node)->env, class_bytes(page_of(node)->size_class));
}

static void recount_deferred(struct hpx_deferred *d)
{
	for (; d; d = d->next)
		if (d->env)
			hpx_garbage_add(d->env, d->bytes);
}

/*
 * In the child, hpx_slow held, after the shares have been put in order: garbage is what is still there to be freed. What
 * vanished threads had in hand, between a count and what it counted, would otherwise stay counted for ever, and creation
 * would wait for it.
 */
void hpx_garbage_after_fork(void)
{
	for (hapax_env *env = hpx_envs; env; env = env->next) {
		hpx_init(&env->garbage, 0);
		for (struct hpx_local *local = env->locals; local; local = local->next)
			for (uint32_t i = 0; i < local->count; i++)
				hpx_garbage_add(env, hpx_chain_bytes(&local->ring[(local->first + i) % HPX_RING].chain));
	}
	/* order: RECLAIM.RETIRE relaxed; one thread is left */
	recount_deferred(hpx_load_relaxed(&hpx_gp.deferred));
	recount_deferred(hpx_gp.taken);
	recount_deferred(hpx_gp.ready);
	recount_nodes(hpx_load_relaxed(&hpx_gp.orphans));
	recount_nodes(hpx_gp.taken_nodes);
	recount_nodes(hpx_gp.ready_nodes);
}
