/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/search.c - who runs next.
 *
 * By priority (PCT: Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized scheduler with probabilistic guarantees of
 * finding bugs", 2010): every fibre gets a random priority, the highest that can run does, and at depth - 1 steps chosen
 * beforehand the one that runs falls below the others. Who gives way, or runs for very long, falls below everybody.
 * At random: any, at every step. Exhaustive: dfs.c. A replay of the latter is what went on by itself, and where it did not.
 */
#include "model/engine.h"
#include "harness/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 16, RUN_MOST = 1000, LOW = 1 << 20 };

static struct plan plan;
static hpx_rng rng;
static int64_t lowest;
static uint64_t changes[DEPTH_MOST], decision;
static unsigned changes_left;
static const char *choices; /* of a replay; what is left of them */

void search_begin(const struct plan *p, const char *list)
{
	plan = *p;
	choices = list;
	rng = hpx_rng_stream(plan.seed, 100 * plan.depth + (unsigned)plan.strategy);
	lowest = -LOW;
	decision = 0;
	changes_left = 0;
	if (plan.strategy == EXHAUSTIVE)
		dfs_begin();
}

void search_spawned(struct fibre *fibre) { fibre->priority = 1 + (int64_t)(hpx_rng_next(&rng) >> 2); }

static int descending(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x < *y) - (*x > *y);
}

void search_scheduled(void)
{
	if (plan.strategy != BY_PRIORITY)
		return;
	for (changes_left = 0; changes_left + 1 < plan.depth && changes_left < DEPTH_MOST; changes_left++)
		changes[changes_left] = engine.steps + 1 + hpx_rng_below(&rng, plan.length ? plan.length : 1);
	qsort(changes, changes_left, sizeof(*changes), descending);
}

uint64_t search_attention(void)
{
	uint64_t next = engine.run_since + RUN_MOST;

	if (plan.strategy != BY_PRIORITY)
		return 0;
	return changes_left && changes[changes_left - 1] < next ? changes[changes_left - 1] : next;
}

bool search_before_unlock(void) { return plan.strategy == BY_PRIORITY || plan.strategy == AT_RANDOM; }

static int by_priority(uint32_t enabled, int current)
{
	int best = NONE;

	if (current != NONE) {
		while (changes_left && engine.steps >= changes[changes_left - 1]) {
			changes_left--;
			engine.fibres[current].priority = -(int64_t)hpx_rng_below(&rng, LOW);
		}
		if (engine.steps - engine.run_since >= RUN_MOST) {
			engine.fibres[current].priority = --lowest;
			engine.run_since = engine.steps;
		}
	}
	for (; enabled; enabled &= enabled - 1) {
		int i = __builtin_ctz(enabled);

		if (best == NONE || engine.fibres[i].priority > engine.fibres[best].priority)
			best = i;
	}
	return best;
}

static int at_random(uint32_t enabled)
{
	if ((enabled & ~engine.yielded) && !hpx_rng_once_in(&rng, 8))
		enabled &= ~engine.yielded;
	else
		engine.yielded = 0;
	for (uint64_t skip = hpx_rng_below(&rng, (unsigned)__builtin_popcount(enabled)); skip; skip--)
		enabled &= enabled - 1;
	return __builtin_ctz(enabled);
}

/* What happens by itself: who runs goes on; otherwise the first that has not given way. */
static int fallback(uint32_t enabled, int current)
{
	if (current != NONE && !(engine.yielded & 1u << current))
		return current;
	if (!(enabled & ~engine.yielded))
		engine.yielded = 0;
	return __builtin_ctz(enabled & ~engine.yielded);
}

/* The choice listed for this decision: NONE if none is. */
static int listed(char kind)
{
	unsigned long long at;
	char *end;
	int value;

	if (!choices || !*choices)
		return NONE;
	at = strtoull(choices, &end, 10);
	if (at != decision || *end != kind)
		return NONE;
	value = (int)strtol(end + 1, &end, 10);
	choices = *end == '.' ? end + 1 : end;
	return value;
}

int search_pick(uint32_t enabled, int current)
{
	int value, by_itself;

	switch (plan.strategy) {
	case BY_PRIORITY:
		return by_priority(enabled, current);
	case AT_RANDOM:
		return at_random(enabled);
	default:
		break;
	}
	decision++;
	by_itself = fallback(enabled, current);
	if (plan.strategy == EXHAUSTIVE)
		return dfs_pick(enabled, current, by_itself, decision);
	value = listed('t');
	if (value == NONE)
		return by_itself;
	if (value < 0 || value >= FIBRES || !(enabled & 1u << value))
		model_fail_at(NULL, "the choices to replay are not of this program: thread %d cannot run", value);
	return value;
}

unsigned search_choose(unsigned n, bool store)
{
	int value;

	decision++;
	if (plan.strategy == EXHAUSTIVE)
		return dfs_choose(n, decision);
	if (plan.strategy == REPLAY) {
		value = listed('c');
		return value > 0 && (unsigned)value < n ? (unsigned)value : 0;
	}
	if (store && hpx_rng_next(&rng) >> 63)
		return 0;
	return (unsigned)hpx_rng_below(&rng, n);
}

void search_going(const struct fibre *fibre)
{
	if (plan.strategy == EXHAUSTIVE || plan.learn)
		dfs_touch(fibre);
}

void search_yielded(struct fibre *fibre) { fibre->priority = --lowest; }

void search_slept(struct fibre *fibre) { search_spawned(fibre); }

bool search_dependent(const struct touch *a, const struct touch *b)
{
	if (plan.memory == MEM_WEAK && a->ordered && b->ordered)
		return true;
	return a->key && a->key == b->key && (a->write || b->write);
}

/* ---- tokens ------------------------------------------------------------------------------------------------------- */

static const char *const memories[] = {"off", "strong", "weak"};

void search_token(char *buffer, size_t size)
{
	const char *memory = memories[plan.memory];
	int used;

	if (plan.strategy == BY_PRIORITY) {
		snprintf(buffer, size, "pct-%s-%u-%llu-%llu", memory, plan.depth, (unsigned long long)plan.length,
			 (unsigned long long)plan.seed);
	} else if (plan.strategy == AT_RANDOM) {
		snprintf(buffer, size, "random-%s-%llu", memory, (unsigned long long)plan.seed);
	} else {
		used = snprintf(buffer, size, "list-%s-", memory);
		dfs_choices(buffer + used, size - (size_t)used);
	}
}

bool search_parse(const char *token, struct plan *p, const char **list)
{
	char strategy[16], memory[16];
	unsigned long long length = 0, seed = 0;
	unsigned depth = 0;
	int used = 0;

	*list = NULL;
	memset(p, 0, sizeof(*p));
	if (sscanf(token, "%15[a-z]-%15[a-z]-%n", strategy, memory, &used) != 2 || !used)
		return false;
	for (p->memory = MEM_OFF; strcmp(memories[p->memory], memory) != 0; p->memory++)
		if (p->memory == MEM_WEAK)
			return false;
	if (!strcmp(strategy, "list")) {
		p->strategy = REPLAY;
		*list = token + used;
		return strspn(token + used, "0123456789tc.") == strlen(token + used);
	}
	if (!strcmp(strategy, "random")) {
		p->strategy = AT_RANDOM;
		if (sscanf(token + used, "%llu", &seed) != 1)
			return false;
	} else if (!strcmp(strategy, "pct")) {
		p->strategy = BY_PRIORITY;
		if (sscanf(token + used, "%u-%llu-%llu", &depth, &length, &seed) != 3)
			return false;
	} else {
		return false;
	}
	p->depth = depth;
	p->length = length;
	p->seed = seed;
	return true;
}
