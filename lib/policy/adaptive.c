/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/adaptive.c - the default: a probation queue and a main queue whose sizes follow what was let go too early.
 *
 * (essay to come with the measurements)
 *
 *                    seen lately?  no                      oldest: used twice?   yes
 *      add ---------------+-------------> [ small: FIFO ] ---------------+--------------+
 *                         |                                              | no           |
 *                         | yes                                          v              |
 *                         |                                       remembered (ghost)    |
 *                         v                                              ^              |
 *                  [ main: CLOCK, 2-bit counts ] ---- oldest: unused? ---+ <------------+
 */
#include "policy/ghost.h"
#include "policy/list.h"

enum { SMALL = 0, MAIN = 1 };

/* Hits that a node of the small queue needs to go to the main one rather than out. */
#define PROMOTE 2
/* Sweeps of main that a node may have in store. */
#define COUNT_MAX 3
/* Nodes that one eviction passes over before it takes what it stands at: hits go on while it walks. */
#define STEPS 64
/* The most ids to remember: 48 MiB, taken as nodes come. */
#define GHOSTS_MAX (UINT64_C(6) << 20)

struct adaptive {
	const hapax_allocator *allocator;
	uint64_t capacity;
	struct hpx_list queue[2];
	struct hpx_ghost ghost;
	double small; /* weight that the small queue should have */
	bool full;    /* something was evicted since the cache had much room */
};

static double share(const struct adaptive *a, double of) { return of * (double)a->capacity; }

static void steer(struct adaptive *a, double by)
{
	double least = share(a, 0.01), most = share(a, 0.99);

	a->small += by;
	if (a->small < least)
		a->small = least;
	if (a->small > most)
		a->small = most;
}

static uint64_t total_weight(const struct adaptive *a)
{
	return hpx_weight_add(a->queue[SMALL].weight, a->queue[MAIN].weight);
}

static uint64_t total_count(const struct adaptive *a) { return a->queue[SMALL].count + a->queue[MAIN].count; }

static void push(struct adaptive *a, hapax_policy_node *node, uint32_t queue)
{
	node->list = queue;
	hpx_list_push(&a->queue[queue], node);
}

static void set_limits(struct adaptive *a)
{
	uint64_t count = total_count(a);

	if (count > GHOSTS_MAX * 2 / 3)
		count = GHOSTS_MAX * 2 / 3;
	hpx_ghost_fit(&a->ghost, count + count / 2);
	a->ghost.limit[SMALL] = (uint32_t)count;
	a->ghost.limit[MAIN] = (uint32_t)(count / 2);
}

static void adaptive_resize(void *state, uint64_t capacity)
{
	struct adaptive *a = state;
	uint64_t ghosts = capacity < GHOSTS_MAX * 2 / 3 ? capacity + capacity / 2 : GHOSTS_MAX;
	struct hpx_ghost fresh;

	a->small = a->capacity ? a->small / (double)a->capacity * (double)capacity : 0.05 * (double)capacity;
	a->capacity = capacity;
	steer(a, 0);
	if (ghosts / HPX_GHOST_FILL + 1 > a->ghost.reserved && hpx_ghost_init(&fresh, ghosts, a->allocator)) {
		hpx_ghost_fini(&a->ghost, a->allocator);
		a->ghost = fresh;
	}
}

static int adaptive_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	struct adaptive *a = hpx_policy_alloc(allocator, sizeof(*a));

	(void)ctx;
	if (!a)
		return HAPAX_ENOMEM;
	a->allocator = allocator;
	adaptive_resize(a, capacity);
	*state = a;
	return 0;
}

static void adaptive_destroy(void *state)
{
	struct adaptive *a = state;

	HPX_ASSERT(!total_count(a));
	hpx_ghost_fini(&a->ghost, a->allocator);
	hpx_policy_free(a->allocator, a, sizeof(*a));
}

/* A step is worth one node of average weight, and more when the other kind of ghosts is the more numerous. */
static void learn(struct adaptive *a, int kind)
{
	double own = (double)hpx_ghost_length(&a->ghost, kind), other = (double)hpx_ghost_length(&a->ghost, !kind);
	double step = total_count(a) ? (double)total_weight(a) / (double)total_count(a) : 1;

	if (other > own)
		step *= other / (own + 1);
	steer(a, kind == SMALL ? step : -step);
}

static void adaptive_add(void *state, hapax_policy_node *node)
{
	struct adaptive *a = state;
	uint32_t age;
	int kind = hpx_ghost_take(&a->ghost, node->id, &age);

	hapax_policy_touched(node, true);
	node->mark = 0;
	if (kind >= 0)
		learn(a, kind);
	push(a, node, kind >= 0 ? MAIN : SMALL);
	if (a->full && total_weight(a) < a->capacity - a->capacity / 8)
		a->full = false;
	while (!a->full && total_weight(a) <= a->capacity && (double)a->queue[SMALL].weight > a->small) {
		hapax_policy_node *oldest = a->queue[SMALL].oldest;

		hpx_list_remove(&a->queue[SMALL], oldest);
		push(a, oldest, MAIN);
	}
}

static void adaptive_remove(void *state, hapax_policy_node *node)
{
	struct adaptive *a = state;

	hpx_list_remove(&a->queue[node->list], node);
}

static void adaptive_replace(void *state, hapax_policy_node *old, hapax_policy_node *fresh)
{
	struct adaptive *a = state;

	hpx_list_replace(&a->queue[old->list], old, fresh);
	fresh->list = old->list;
	fresh->mark = old->mark + hapax_policy_touched(old, false) + 1;
	if (fresh->mark > COUNT_MAX)
		fresh->mark = COUNT_MAX;
}

static unsigned uses(hapax_policy_node *node)
{
	uint64_t uses = node->mark + hapax_policy_touched(node, true);

	return uses < COUNT_MAX ? (unsigned)uses : COUNT_MAX;
}

static hapax_policy_node *adaptive_evict(void *state)
{
	struct adaptive *a = state;
	struct hpx_list *small = &a->queue[SMALL], *main = &a->queue[MAIN];

	set_limits(a);
	a->full = true;
	for (unsigned step = 0;; step++) {
		/* the last of the small queue may have come just now: it stays while there is anything else */
		bool from_small = !main->count || (small->count > 1 && (double)small->weight > a->small);
		struct hpx_list *from = from_small ? small : main;
		hapax_policy_node *node = from->oldest;
		unsigned count;

		if (!node)
			return NULL;
		count = uses(node);
		hpx_list_remove(from, node);
		if (step >= STEPS || count < (from_small ? PROMOTE : 1)) {
			hpx_ghost_put(&a->ghost, node->id, from_small ? SMALL : MAIN);
			return node;
		}
		node->mark = from_small ? 0 : count - 1;
		push(a, node, MAIN);
	}
}

static int adaptive_check(void *state, char *message, size_t size)
{
	struct adaptive *a = state;

	if (hpx_list_check(&a->queue[SMALL], "small", UINT32_MAX, SMALL, message, size) ||
	    hpx_list_check(&a->queue[MAIN], "main", UINT32_MAX, MAIN, message, size))
		return -1;
	return 0;
}

const hapax_policy *hapax_policy_adaptive(void)
{
	static const hapax_policy adaptive = {
		HAPAX_POLICY_INIT,	 .name = "adaptive",	    .flags = HAPAX_POLICY_TOUCH,
		.touch_max = COUNT_MAX,	 .create = adaptive_create, .destroy = adaptive_destroy,
		.add = adaptive_add,	 .remove = adaptive_remove, .replace = adaptive_replace,
		.evict = adaptive_evict, .resize = adaptive_resize, .check = adaptive_check,
	};

	return &adaptive;
}
