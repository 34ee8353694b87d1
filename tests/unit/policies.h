/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unit/policies.h - a policy driven through its contract as a cache does it, but from one place and in a known order.
 *
 * A bed has KEYS keys. A key is in the policy or not; bed_get() is a request for it: a hit, or an addition after which
 * is evicted down to the bound. What a policy may rely on is kept, what it promises is checked at every step.
 */
#ifndef TEST_UNIT_POLICIES_H
#define TEST_UNIT_POLICIES_H

#include "support/support.h"

#define BED_KEYS 4096

struct bed {
	const hapax_policy *policy;
	void *state;
	struct test_allocator memory;
	uint64_t capacity, weight, count;
	uint64_t hits, requests;
	struct bed_key {
		hapax_policy_node *node; /* NULL: out */
		uint64_t id;
	} key[BED_KEYS];
	/* What else is to be told: a reference that runs beside. May be NULL. */
	void (*added)(struct bed *b, unsigned key, uint64_t weight);
	void (*removed)(struct bed *b, unsigned key);
	void (*replaced)(struct bed *b, unsigned key, uint64_t weight);
	void (*hit)(struct bed *b, unsigned key);
	unsigned (*victim)(struct bed *b); /* takes it out of the reference, too */
	void *reference;
};

struct bed_node {
	hapax_policy_node node;
	unsigned key;
};

static inline void bed_check(struct bed *b)
{
	char message[200] = "";

	if (b->policy->check(b->state, message, sizeof(message)))
		TEST_FAIL("%s: %s", b->policy->name, message);
}

static inline void bed_begin(struct bed *b, const hapax_policy *policy, uint64_t capacity)
{
	uint64_t stream = test_stream(77);

	CHECK_EQ(policy->size, sizeof(hapax_policy));
	CHECK(policy->flags && !(policy->flags & (policy->flags - 1)));
	CHECK(!(policy->flags & HAPAX_POLICY_TOUCH) == !policy->touch_max && policy->touch_max < 256);
	CHECK(!(policy->flags & HAPAX_POLICY_TOUCH) == !!policy->hit);
	memset(b, 0, sizeof(*b));
	b->policy = policy;
	b->capacity = capacity;
	test_allocator_init(&b->memory, 0);
	for (unsigned k = 0; k < BED_KEYS; k++)
		b->key[k].id = test_random(&stream);
	CHECK_EQ(policy->create(&b->state, capacity, &b->memory.allocator, policy->ctx), 0);
	bed_check(b);
}

static inline hapax_policy_node *bed_node(struct bed *b, unsigned key, uint64_t weight)
{
	struct bed_node *n = calloc(1, sizeof(*n));

	CHECK(n);
	n->key = key;
	n->node.id = b->key[key].id;
	n->node.weight = weight;
	return &n->node;
}

static inline void bed_gone(struct bed *b, hapax_policy_node *node)
{
	unsigned key = ((struct bed_node *)node)->key;

	CHECK_PTR(b->key[key].node, node);
	b->key[key].node = NULL;
	b->weight -= node->weight;
	b->count--;
	memset(node, 0xee, sizeof(*node)); /* who still looks at it shall see */
	free(node);
}

static inline void bed_add(struct bed *b, unsigned key, uint64_t weight)
{
	hapax_policy_node *node = bed_node(b, key, weight);

	CHECK(!b->key[key].node);
	b->key[key].node = node;
	b->weight += weight;
	b->count++;
	b->policy->add(b->state, node);
	if (b->added)
		b->added(b, key, weight);
}

static inline void bed_remove(struct bed *b, unsigned key)
{
	b->policy->remove(b->state, b->key[key].node);
	bed_gone(b, b->key[key].node);
	if (b->removed)
		b->removed(b, key);
}

static inline void bed_replace(struct bed *b, unsigned key, uint64_t weight)
{
	hapax_policy_node *old = b->key[key].node, *fresh = bed_node(b, key, weight);

	b->policy->replace(b->state, old, fresh);
	bed_gone(b, old);
	b->key[key].node = fresh;
	b->weight += weight;
	b->count++;
	if (b->replaced)
		b->replaced(b, key, weight);
}

static inline void bed_hit(struct bed *b, unsigned key)
{
	hapax_policy_node *node = b->key[key].node;

	if (!(b->policy->flags & HAPAX_POLICY_TOUCH))
		b->policy->hit(b->state, node);
	else if (node->touched < b->policy->touch_max)
		node->touched++;
	if (b->hit)
		b->hit(b, key);
}

/* The key that went, or BED_KEYS if there was none. */
static inline unsigned bed_evict(struct bed *b)
{
	hapax_policy_node *node = b->policy->evict(b->state);
	unsigned key;

	CHECK(!node == !b->count);
	if (!node)
		return BED_KEYS;
	key = ((struct bed_node *)node)->key;
	bed_gone(b, node);
	if (b->victim) {
		unsigned expected = b->victim(b);

		if (expected != key)
			TEST_FAIL("%s: the victim is %u, and should be %u", b->policy->name, key, expected);
	}
	return key;
}

static inline void bed_fit(struct bed *b)
{
	while (b->weight > b->capacity)
		bed_evict(b);
}

/* A request. True: it was there. */
static inline bool bed_get(struct bed *b, unsigned key, uint64_t weight)
{
	b->requests++;
	if (b->key[key].node) {
		bed_hit(b, key);
		b->hits++;
		return true;
	}
	bed_add(b, key, weight);
	bed_fit(b);
	return false;
}

static inline void bed_resize(struct bed *b, uint64_t capacity)
{
	b->capacity = capacity;
	b->policy->resize(b->state, capacity);
	bed_fit(b);
}

static inline void bed_end(struct bed *b)
{
	for (unsigned k = 0; k < BED_KEYS; k++) {
		if (b->key[k].node)
			bed_remove(b, k);
	}
	CHECK_EQ(b->count, 0);
	CHECK_EQ(b->weight, 0);
	bed_check(b);
	CHECK(!b->policy->evict(b->state));
	b->policy->destroy(b->state);
	CHECK_EQ(test_allocator_live(&b->memory), 0);
}

/* Skewed: half of the requests are for an eighth of the keys, and so on. */
static inline unsigned bed_key(uint64_t *random, unsigned keys)
{
	while (keys > 8 && test_below(random, 2))
		keys /= 8;
	return (unsigned)test_below(random, keys);
}

/*
 * Random operations on `keys` keys of weights from 1 to `weights`, with a check after each; `resizes`: other capacities
 * now and then, memory that fails half of the time for that.
 */
static inline void bed_fuzz(struct bed *b, uint64_t stream, unsigned operations, unsigned keys, uint64_t weights,
			    bool resizes)
{
	uint64_t random = test_stream(stream), capacity = b->capacity;

	for (unsigned i = 0; i < operations; i++) {
		unsigned key = bed_key(&random, keys), what = (unsigned)test_below(&random, 100);
		uint64_t weight = 1 + test_below(&random, weights);

		if (what < 6 && b->key[key].node) {
			bed_remove(b, key);
		} else if (what < 14 && b->key[key].node) {
			bed_replace(b, key, weight);
			bed_fit(b);
		} else if (what < 16) {
			bed_evict(b);
		} else if (what < 17 && resizes) {
			b->memory.fail_from = test_below(&random, 2) ? b->memory.calls + 1 : 0;
			bed_resize(b, 1 + test_below(&random, 2 * capacity));
			b->memory.fail_from = 0;
		} else {
			bed_get(b, key, weight);
		}
		CHECK(b->weight <= b->capacity);
		bed_check(b);
	}
}

/* create() with the n-th allocation failing answers HAPAX_ENOMEM and leaves nothing, for all n. Returns how many. */
static inline unsigned bed_without_memory(const hapax_policy *policy, uint64_t capacity)
{
	struct test_allocator memory;

	for (unsigned n = 1;; n++) {
		void *state = NULL;
		int rc;

		test_allocator_init(&memory, n);
		rc = policy->create(&state, capacity, &memory.allocator, policy->ctx);
		if (rc) {
			CHECK_EQ(rc, HAPAX_ENOMEM);
			CHECK(!state);
			CHECK_EQ(memory.failures, 1);
		} else {
			policy->destroy(state);
		}
		CHECK_EQ(test_allocator_live(&memory), 0);
		if (!rc)
			return n - 1;
	}
}

/* Capacities at the ends: one, and more than there will ever be, and from one to the other. */
static inline void bed_extremes(const hapax_policy *policy)
{
	static struct bed b;

	for (unsigned round = 0; round < 2; round++) {
		uint64_t few = 1, all = UINT64_C(1) << 62;

		bed_begin(&b, policy, round ? all : few);
		bed_fuzz(&b, 1, 2000, 50, 1, false);
		CHECK(b.count <= b.capacity);
		bed_resize(&b, round ? few : all);
		CHECK(round ? b.count == 1 : b.count <= 1);
		bed_check(&b);
		bed_fuzz(&b, 2, 2000, 50, 1, false);
		bed_resize(&b, round ? all : few);
		bed_resize(&b, 0);
		CHECK_EQ(b.count, 0);
		bed_resize(&b, 10);
		bed_fuzz(&b, 3, 500, 50, 1, false);
		bed_end(&b);
		/* few and very heavy */
		bed_begin(&b, policy, all);
		bed_fuzz(&b, 4, 2000, 50, UINT64_C(1) << 60, false);
		bed_end(&b);
	}
}

/* ---- hits from other threads while it evicts -------------------------------------------------------------------- */

struct bed_storm {
	struct bed *b;
	unsigned nodes;
	hapax_policy_node *node[BED_KEYS];
	bool over;
};

static inline void bed_storm_thread(unsigned index, void *arg)
{
	struct bed_storm *s = arg;

	if (index == 0) {
		/* Half of them go while all are hit again and again: each call comes back with one. */
		for (unsigned i = 0; i < s->nodes / 2; i++) {
			hapax_policy_node *node = s->b->policy->evict(s->b->state);

			CHECK(node);
			s->b->key[((struct bed_node *)node)->key].node = NULL;
			s->b->weight -= node->weight;
			s->b->count--;
		}
		__atomic_store_n(&s->over, true, __ATOMIC_RELAXED);
	}
	while (!__atomic_load_n(&s->over, __ATOMIC_RELAXED)) {
		for (unsigned i = 0; i < s->nodes; i++)
			__atomic_store_n(&s->node[i]->touched, s->b->policy->touch_max, __ATOMIC_RELAXED);
	}
}

static inline void bed_storm(const hapax_policy *policy)
{
	static struct bed b;
	static struct bed_storm s;

	bed_begin(&b, policy, BED_KEYS);
	s = (struct bed_storm){.b = &b, .nodes = BED_KEYS};
	for (unsigned k = 0; k < BED_KEYS; k++) {
		bed_add(&b, k, 1);
		s.node[k] = b.key[k].node;
	}
	run_threads(3, bed_storm_thread, &s);
	bed_check(&b);
	CHECK_EQ(b.count, BED_KEYS / 2);
	for (unsigned k = 0; k < BED_KEYS; k++) {
		if (!b.key[k].node)
			free(s.node[k]);
	}
	bed_end(&b);
}

#endif
