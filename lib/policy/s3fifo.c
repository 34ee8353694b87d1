/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/s3fifo.c - S3-FIFO: Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP
 * 2023.
 *
 *      add -------> small --(used twice)--> main <---.
 *                (a tenth)                   |  |     | used: a use less
 *                     |                      |  '-----'
 *                     '--> out, remembered   '--> out
 *      add of what is remembered (shadow) --> main
 *
 * Most new keys are never asked for again: they pass through the small queue and cost nobody else a place. A node's
 * uses are counted to 3: those that hits left in `touched` and those moved to `mark` already. In main they begin anew.
 *
 * One eviction passes at most STEPS nodes, then it takes what it stands at: hits go on while it looks.
 */
#include "policy/shadow.h"
#include "policy/list.h"

#define STEPS 1024
#define USES_MAX 3
#define PROMOTED 2 /* uses in small that make it go on to main */

enum { SMALL, MAIN };

struct s3fifo {
	const hapax_allocator *allocator;
	uint64_t main_bound;
	struct hpx_list queue[2];
	struct hpx_shadow shadow;
};

static void bounds_set(struct s3fifo *s, uint64_t capacity)
{
	s->main_bound = capacity - (capacity + 9) / 10;
}

static int s3fifo_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	struct s3fifo *s = hpx_policy_alloc(allocator, sizeof(*s));

	(void)ctx;
	if (!s)
		return HAPAX_ENOMEM;
	s->allocator = allocator;
	bounds_set(s, capacity);
	if (hpx_shadow_init(&s->shadow, allocator, s->main_bound)) {
		hpx_policy_free(allocator, s, sizeof(*s));
		return HAPAX_ENOMEM;
	}
	*state = s;
	return 0;
}

static void s3fifo_destroy(void *state)
{
	struct s3fifo *s = state;

	HPX_ASSERT(!s->queue[SMALL].count && !s->queue[MAIN].count);
	hpx_shadow_fini(&s->shadow);
	hpx_policy_free(s->allocator, s, sizeof(*s));
}

static void s3fifo_add(void *state, hapax_policy_node *node)
{
	struct s3fifo *s = state;

	node->list = hpx_shadow_take(&s->shadow, node->id, node->weight) ? MAIN : SMALL;
	hpx_list_push(&s->queue[node->list], node);
}

static void s3fifo_remove(void *state, hapax_policy_node *node)
{
	hpx_list_remove(&((struct s3fifo *)state)->queue[node->list], node);
}

/* All its uses, with `mark` brought up to date. */
static uint64_t uses(hapax_policy_node *node)
{
	uint64_t n = node->mark + hapax_policy_touched(node, true);

	return node->mark = n > USES_MAX ? USES_MAX : n;
}

/* Writing a key is a use of it. */
static void s3fifo_replace(void *state, hapax_policy_node *old, hapax_policy_node *fresh)
{
	struct s3fifo *s = state;

	fresh->list = old->list;
	fresh->mark = uses(old);
	fresh->mark += fresh->mark < USES_MAX;
	hpx_list_replace(&s->queue[old->list], old, fresh);
}

static void move(struct s3fifo *s, hapax_policy_node *node, uint32_t to)
{
	hpx_list_remove(&s->queue[node->list], node);
	node->list = to;
	hpx_list_push(&s->queue[to], node);
}

static hapax_policy_node *s3fifo_evict(void *state)
{
	struct s3fifo *s = state;
	hapax_policy_node *node;
	unsigned step = 0;

	for (;; step++) {
		/* The newest of small is what room is made for. */
		bool from_main = s->queue[MAIN].count &&
				 (s->queue[MAIN].weight > s->main_bound || s->queue[SMALL].count < 2);

		node = s->queue[from_main ? MAIN : SMALL].oldest;
		if (!node)
			return NULL;
		if (step >= STEPS || uses(node) < (from_main ? 1 : PROMOTED))
			break;
		node->mark = from_main ? node->mark - 1 : 0;
		move(s, node, MAIN);
	}
	if (node->list == SMALL) {
		hpx_shadow_use(&s->shadow, s->queue[SMALL].count + s->queue[MAIN].count);
		hpx_shadow_add(&s->shadow, node->id, node->weight);
	}
	s3fifo_remove(s, node);
	return node;
}

static void s3fifo_resize(void *state, uint64_t capacity)
{
	struct s3fifo *s = state;

	bounds_set(s, capacity);
	(void)hpx_shadow_init(&s->shadow, s->allocator, s->main_bound);
}

static int s3fifo_check(void *state, char *message, size_t size)
{
	struct s3fifo *s = state;

	if (hpx_list_check(&s->queue[SMALL], "small", UINT32_MAX, SMALL, message, size))
		return -1;
	return hpx_list_check(&s->queue[MAIN], "main", UINT32_MAX, MAIN, message, size);
}

const hapax_policy *hapax_policy_s3fifo(void)
{
	static const hapax_policy s3fifo = {
		HAPAX_POLICY_INIT,
		.name = "s3fifo",
		.flags = HAPAX_POLICY_TOUCH,
		.touch_max = USES_MAX,
		.create = s3fifo_create,
		.destroy = s3fifo_destroy,
		.add = s3fifo_add,
		.remove = s3fifo_remove,
		.replace = s3fifo_replace,
		.evict = s3fifo_evict,
		.resize = s3fifo_resize,
		.check = s3fifo_check,
	};

	return &s3fifo;
}
