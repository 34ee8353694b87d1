/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/weighted.c - for objects of very different weights, after GreedyDual-Size with Frequency: Cherkasova:
 * "Improving WWW proxies performance with Greedy-Dual-Size-Frequency caching policy", HPL-98-69R1, 1998.
 *
 * A node's worth is its uses per unit of weight; its priority is its worth plus the `age` of the cache when it was last
 * looked at. Who has the least priority goes, and its priority is the age from then on: what is not used any more is
 * overtaken in the end, whatever its worth was.
 *
 *      worth 1 to 1.25      oldest | | | | | | newest       a queue per class of worth, four to a factor of two,
 *      worth 1.25 to 1.5    oldest | | | newest             in order of the age at insertion
 *      ...
 *      tree: the class whose oldest node has the least priority
 *
 * All of a class are taken to be worth the same, so that each queue is in order of priority by itself, and a tree over
 * the classes' oldest finds the least in constant time. A node that was used is looked at when its turn has come: its
 * uses go up, and it gets a new priority instead of going.
 *
 * One eviction looks at STEPS used nodes at most, then it takes what is next: hits go on while it looks.
 */
#include "policy/list.h"

#define STEPS 1024
#define CLASSES 256 /* a power of two: worth from 2^-56 to 2^7 */
#define PER_DOUBLE 4
#define CLASS_ONE 224 /* the class of worth 1 */
#define USES_MAX ((1u << 20) - 1)
#define TOUCHES 15
#define NONE UINT64_MAX

/* Of a node: `list` is uses << 12 | class, `mark` its priority, a double whose bits compare as it does itself. */
#define CLASS_BITS 12
#define CLASS_MASK ((1u << CLASS_BITS) - 1)

struct weighted {
	const hapax_allocator *allocator;
	double age;
	uint64_t count;
	struct hpx_list queue[CLASSES];
	uint64_t least[2 * CLASSES]; /* tree: [CLASSES + c] priority of c's oldest, [n] the less of [2n] and [2n + 1] */
	double worth[CLASSES];
};

static uint64_t bits_of(double x)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

static double double_of(uint64_t bits)
{
	double x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* The class of uses / weight, by the exponent and the first bits of the quotient. */
static uint32_t class_of(uint32_t uses, uint64_t weight)
{
	uint64_t bits = bits_of((double)uses / (double)weight);
	int64_t class = CLASS_ONE + (int64_t)(bits >> 50) - (INT64_C(1023) << 2);

	return class < 0 ? 0 : class >= CLASSES ? CLASSES - 1 : (uint32_t)class;
}

static void least_changed(struct weighted *w, uint32_t class)
{
	uint32_t n = CLASSES + class;

	w->least[n] = w->queue[class].oldest ? w->queue[class].oldest->mark : NONE;
	for (n /= 2; n; n /= 2)
		w->least[n] = w->least[2 * n] < w->least[2 * n + 1] ? w->least[2 * n] : w->least[2 * n + 1];
}

static void insert(struct weighted *w, hapax_policy_node *node, uint32_t uses)
{
	uint32_t class = class_of(uses, node->weight);

	node->list = (uses < USES_MAX ? uses : USES_MAX) << CLASS_BITS | class;
	node->mark = bits_of(w->age + w->worth[class]);
	hpx_list_push(&w->queue[class], node);
	if (w->queue[class].oldest == node)
		least_changed(w, class);
}

static void take(struct weighted *w, hapax_policy_node *node)
{
	uint32_t class = node->list & CLASS_MASK;
	bool oldest = w->queue[class].oldest == node;

	hpx_list_remove(&w->queue[class], node);
	if (oldest)
		least_changed(w, class);
}

static int weighted_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	struct weighted *w = hpx_policy_alloc(allocator, sizeof(*w));

	(void)capacity;
	(void)ctx;
	if (!w)
		return HAPAX_ENOMEM;
	w->allocator = allocator;
	for (unsigned n = 0; n < 2 * CLASSES; n++)
		w->least[n] = NONE;
	/* The middle of each: bits that class_of() looks at, and then 1. */
	for (unsigned c = 0; c < CLASSES; c++)
		w->worth[c] = double_of((((uint64_t)c - CLASS_ONE + (UINT64_C(1023) << 2)) << 50) | UINT64_C(1) << 49);
	*state = w;
	return 0;
}

static void weighted_destroy(void *state)
{
	struct weighted *w = state;

	HPX_ASSERT(!w->count);
	hpx_policy_free(w->allocator, w, sizeof(*w));
}

static void weighted_add(void *state, hapax_policy_node *node)
{
	struct weighted *w = state;

	w->count++;
	insert(w, node, 1);
}

static void weighted_remove(void *state, hapax_policy_node *node)
{
	struct weighted *w = state;

	w->count--;
	take(w, node);
}

static uint32_t uses(hapax_policy_node *node)
{
	return (node->list >> CLASS_BITS) + hapax_policy_touched(node, true);
}

/* Writing a key is a use of it; its weight may be another one. */
static void weighted_replace(void *state, hapax_policy_node *old, hapax_policy_node *fresh)
{
	struct weighted *w = state;

	take(w, old);
	insert(w, fresh, uses(old) + 1);
}

static hapax_policy_node *weighted_evict(void *state)
{
	struct weighted *w = state;

	for (unsigned step = 0; w->count; step++) {
		uint32_t n = 1;
		hapax_policy_node *node;

		while (n < CLASSES)
			n = 2 * n + (w->least[2 * n] > w->least[2 * n + 1]);
		node = w->queue[n - CLASSES].oldest;
		take(w, node);
		if (step < STEPS && hapax_policy_touched(node, false)) {
			insert(w, node, uses(node));
			continue;
		}
		w->age = double_of(node->mark);
		w->count--;
		return node;
	}
	return NULL;
}

static void weighted_resize(void *state, uint64_t capacity)
{
	(void)state;
	(void)capacity;
}

static int weighted_check(void *state, char *message, size_t size)
{
	struct weighted *w = state;
	uint64_t count = 0;

	for (uint32_t c = 0; c < CLASSES; c++) {
		const struct hpx_list *queue = &w->queue[c];
		uint64_t least = queue->oldest ? queue->oldest->mark : NONE;

		if (hpx_list_check(queue, "weighted", CLASS_MASK, c, message, size))
			return -1;
		for (const hapax_policy_node *node = queue->oldest; node; node = node->prev) {
			if (node->prev && node->prev->mark < node->mark) {
				snprintf(message, size, "weighted: class %u is not in order of priority", c);
				return -1;
			}
		}
		for (uint32_t n = CLASSES + c; n; n /= 2) {
			if (w->least[n] > least || (n >= CLASSES && w->least[n] != least)) {
				snprintf(message, size, "weighted: the tree does not know the oldest of class %u", c);
				return -1;
			}
		}
		count += queue->count;
	}
	if (count == w->count)
		return 0;
	snprintf(message, size, "weighted: %llu nodes, counted %llu", (unsigned long long)count,
		 (unsigned long long)w->count);
	return -1;
}

const hapax_policy *hapax_policy_weighted(void)
{
	static const hapax_policy weighted = {
		HAPAX_POLICY_INIT,
		.name = "weighted",
		.flags = HAPAX_POLICY_TOUCH,
		.touch_max = TOUCHES,
		.create = weighted_create,
		.destroy = weighted_destroy,
		.add = weighted_add,
		.remove = weighted_remove,
		.replace = weighted_replace,
		.evict = weighted_evict,
		.resize = weighted_resize,
		.check = weighted_check,
	};

	return &weighted;
}
