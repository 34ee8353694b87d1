/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy/tinylfu.c - W-TinyLFU: Einziger, Friedman, Manes: "TinyLFU: a highly efficient cache admission policy", ACM
 * Transactions on Storage 2017; a window that adapts: Einziger, Eytan, Friedman, Manes: "Adaptive software cache
 * management", Middleware 2018.
 *
 *      add --> [ window: LRU ] --oldest--> candidate --> [ probation: LRU ] <--oldest-- [ protected: LRU ]
 *                                             |                  |  '------hit------>     (4/5 of main)
 *                                             |                  v
 *                                             '---- more often asked for than victim, its oldest?
 *                                                   the other of the two goes
 *
 * How often a key was asked for, present or not, tells the sketch. The window is there for keys that are asked for in
 * bursts, before the sketch knows of them. Its size follows what it earns: after ten requests per node the hits in the
 * window and those in main are divided by the room each takes, and the bound moves a little (GAIN of the capacity at
 * most) towards the one that earns more by the unit. A window that is too small for what keys need between two requests
 * earns nothing, and would stay so: it is then made larger in PROBES steps, and stays where more is hit than before.
 * Otherwise it goes back, and the pause to the next attempt is twice as long as the last.
 *
 * Hits come through buffers that lose some of them (HAPAX_POLICY_RECORD). One call moves MOVES nodes at most.
 */
#include "policy/list.h"
#include "policy/sketch.h"

#define MOVES 64
#define SAMPLE 10         /* requests per node from one look at the window to the next */
#define GAIN 0.1          /* of the capacity, at most, by which it moves then */
#define WINDOW_MIN 0.01
#define WINDOW_MAX 0.9
#define PROBES 3
#define PROBE_STEP 0.3    /* of the capacity */
#define PROBE_BETTER 0.01 /* in hits per request: it stays */
#define PROBE_WORSE 0.02  /* it goes back at once */
#define PROBE_BELOW 0.9   /* there is not much to gain where so many requests are hits */
#define PAUSE_MAX 256     /* samples */
/* A candidate that was asked for WARM times is let in without reason one time in LUCK, so that nobody can keep keys out
 * by asking for others that the sketch takes for the victim. */
#define WARM 6
#define LUCK 128

enum { WINDOW, PROBATION, PROTECTED, QUEUES };

struct tinylfu {
	const hapax_allocator *allocator;
	uint64_t capacity;
	uint64_t window_bound, protected_bound;
	struct hpx_list queue[QUEUES];
	hapax_policy_node *candidate; /* the oldest of probation that came from the window and was not judged yet */
	struct hpx_sketch sketch;
	uint64_t random;
	uint64_t window_hits, main_hits, misses; /* of this sample */
	unsigned probes, pause, wait; /* steps left; pause after the next failure; what is left of this one */
	double before_hits, before_window; /* the probe: where it began */
};

static uint64_t total(const struct tinylfu *t)
{
	return t->queue[WINDOW].weight + t->queue[PROBATION].weight + t->queue[PROTECTED].weight;
}

static void bounds_set(struct tinylfu *t, double window)
{
	double all = (double)t->capacity;
	uint64_t main;

	window = window > WINDOW_MAX * all ? WINDOW_MAX * all : window;
	window = window < WINDOW_MIN * all ? WINDOW_MIN * all : window;
	t->window_bound = window < 1 ? 1 : (uint64_t)window;
	main = t->capacity > t->window_bound ? t->capacity - t->window_bound : 0;
	t->protected_bound = main - main / 5;
}

static int tinylfu_create(void **state, uint64_t capacity, const hapax_allocator *allocator, void *ctx)
{
	struct tinylfu *t = hpx_policy_alloc(allocator, sizeof(*t));

	(void)ctx;
	if (!t)
		return HAPAX_ENOMEM;
	t->allocator = allocator;
	t->capacity = capacity;
	t->random = 1;
	t->pause = 1;
	bounds_set(t, 0);
	if (hpx_sketch_init(&t->sketch, allocator, capacity)) {
		hpx_policy_free(allocator, t, sizeof(*t));
		return HAPAX_ENOMEM;
	}
	*state = t;
	return 0;
}

static void tinylfu_destroy(void *state)
{
	struct tinylfu *t = state;

	HPX_ASSERT(!total(t));
	hpx_sketch_fini(&t->sketch);
	hpx_policy_free(t->allocator, t, sizeof(*t));
}

static void leave(struct tinylfu *t, hapax_policy_node *node)
{
	if (t->candidate == node)
		t->candidate = node->prev;
	hpx_list_remove(&t->queue[node->list], node);
}

static void enter(struct tinylfu *t, hapax_policy_node *node, uint32_t queue)
{
	node->list = queue;
	hpx_list_push(&t->queue[queue], node);
}

/* Where the window goes after a step of a probe. */
static double probe(struct tinylfu *t, double window, double hits)
{
	if (hits > t->before_hits + PROBE_BETTER) {
		t->probes = 0;
		t->pause = 1;
		return window;
	}
	if (hits >= t->before_hits - PROBE_WORSE && --t->probes)
		return window + PROBE_STEP * (double)t->capacity;
	t->probes = 0;
	t->wait = t->pause = t->pause < PAUSE_MAX ? t->pause * 2 : PAUSE_MAX;
	return t->before_window;
}

/* At the end of a sample. The one hit that each part gets for nothing is for the one that has no room. */
static void adapt(struct tinylfu *t)
{
	uint64_t seen = t->window_hits + t->main_hits + t->misses;
	double all = (double)t->capacity, window = (double)t->window_bound, main = all - window < 1 ? 1 : all - window;
	double hits = (double)(t->window_hits + t->main_hits) / (double)seen;
	double by_window = (double)(t->window_hits + 1) / window, by_main = (double)(t->main_hits + 1) / main;

	if (seen < SAMPLE * t->sketch.keys)
		return;
	if (t->probes) {
		window = probe(t, window, hits);
	} else if (t->window_hits <= seen / 1024 && window < all / 4 && hits < PROBE_BELOW && !t->wait) {
		t->probes = PROBES;
		t->before_hits = hits;
		t->before_window = window;
		window += PROBE_STEP * all;
	} else {
		t->wait -= !!t->wait;
		window += GAIN * all * (by_window - by_main) / (by_window + by_main);
	}
	bounds_set(t, window);
	t->window_hits = t->main_hits = t->misses = 0;
}

/* What is above its bound goes on. What leaves the window while the cache is full is a candidate. */
static void balance(struct tinylfu *t)
{
	unsigned moves = MOVES;
	hapax_policy_node *node;

	for (; moves && t->queue[PROTECTED].weight > t->protected_bound; moves--) {
		node = t->queue[PROTECTED].oldest;
		leave(t, node);
		enter(t, node, PROBATION);
	}
	for (; moves && t->queue[WINDOW].weight > t->window_bound; moves--) {
		node = t->queue[WINDOW].oldest;
		leave(t, node);
		enter(t, node, PROBATION);
		if (!t->candidate)
			t->candidate = node;
	}
	if (total(t) <= t->capacity)
		t->candidate = NULL;
}

static void tinylfu_add(void *state, hapax_policy_node *node)
{
	struct tinylfu *t = state;

	hpx_sketch_use(&t->sketch, t->queue[WINDOW].count + t->queue[PROBATION].count + t->queue[PROTECTED].count + 1);
	hpx_sketch_add(&t->sketch, node->id);
	enter(t, node, WINDOW);
	t->misses++;
	adapt(t);
	balance(t);
}

static void tinylfu_remove(void *state, hapax_policy_node *node)
{
	leave(state, node);
}

static void tinylfu_hit(void *state, hapax_policy_node *node)
{
	struct tinylfu *t = state;

	hpx_sketch_add(&t->sketch, node->id);
	*(node->list == WINDOW ? &t->window_hits : &t->main_hits) += 1;
	leave(t, node);
	enter(t, node, node->list == WINDOW ? WINDOW : PROTECTED);
	adapt(t);
	balance(t);
}

static void tinylfu_replace(void *state, hapax_policy_node *old, hapax_policy_node *fresh)
{
	struct tinylfu *t = state;

	leave(t, old);
	enter(t, fresh, old->list);
	tinylfu_hit(t, fresh);
}

/* Whether the candidate stays rather than the victim. */
static bool admitted(struct tinylfu *t, const hapax_policy_node *candidate, const hapax_policy_node *victim)
{
	unsigned a = hpx_sketch_get(&t->sketch, candidate->id), b = hpx_sketch_get(&t->sketch, victim->id);

	if (a > b || a < WARM)
		return a > b;
	t->random = (t->random ^ candidate->id) * UINT64_C(0xd6e8feb86659fd93);
	t->random ^= t->random >> 32;
	return t->random % LUCK == 0;
}

static hapax_policy_node *tinylfu_evict(void *state)
{
	struct tinylfu *t = state;
	hapax_policy_node *victim = t->queue[PROBATION].oldest, *candidate = t->candidate, *node;

	if (!victim)
		victim = t->queue[PROTECTED].oldest;
	/* A window that has not reached its bound grows at main's expense. */
	if (!candidate && t->queue[WINDOW].weight >= t->window_bound)
		candidate = t->queue[WINDOW].oldest;
	if (!candidate || !victim)
		node = victim ? victim : t->queue[WINDOW].oldest;
	else if (candidate == victim)
		node = victim;
	else
		node = admitted(t, candidate, victim) ? victim : candidate;
	if (!node)
		return NULL;
	if (candidate && candidate == t->candidate && node != candidate)
		t->candidate = candidate->prev;
	leave(t, node);
	return node;
}

static void tinylfu_resize(void *state, uint64_t capacity)
{
	struct tinylfu *t = state;
	double part = t->capacity ? (double)t->window_bound / (double)t->capacity : 0;

	t->capacity = capacity;
	t->probes = 0;
	bounds_set(t, part * (double)capacity);
	(void)hpx_sketch_init(&t->sketch, t->allocator, capacity);
}

static int tinylfu_check(void *state, char *message, size_t size)
{
	static const char *const name[QUEUES] = {"window", "probation", "protected"};
	struct tinylfu *t = state;
	const hapax_policy_node *node;

	for (uint32_t q = 0; q < QUEUES; q++) {
		if (hpx_list_check(&t->queue[q], name[q], UINT32_MAX, q, message, size))
			return -1;
	}
	for (node = t->queue[PROBATION].newest; node && node != t->candidate; node = node->next)
		;
	if (node || !t->candidate)
		return 0;
	snprintf(message, size, "tinylfu: the candidate is not in probation");
	return -1;
}

const hapax_policy *hapax_policy_tinylfu(void)
{
	static const hapax_policy tinylfu = {
		HAPAX_POLICY_INIT,
		.name = "tinylfu",
		.flags = HAPAX_POLICY_RECORD,
		.create = tinylfu_create,
		.destroy = tinylfu_destroy,
		.add = tinylfu_add,
		.remove = tinylfu_remove,
		.replace = tinylfu_replace,
		.hit = tinylfu_hit,
		.evict = tinylfu_evict,
		.resize = tinylfu_resize,
		.check = tinylfu_check,
	};

	return &tinylfu;
}
