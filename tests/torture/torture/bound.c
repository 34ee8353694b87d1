/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture/bound.c - garbage stays under its bound.
 *
 * Now and then a thread stays in a read section for some milliseconds: it looks up a key whose comparison sleeps. As long
 * as it does, nothing can be freed, and the others create and let go as much as they can. The bound is a few objects.
 */
#include <string.h>
#include <time.h>

#include "torture/torture/parts.h"

enum { BYTES = 2000, BURST = 64, BOUND = 64 << 10, STALL_NS = 2000000 };

struct bulky {
	char bytes[BYTES];
};
HAPAX_TYPE(bulky, struct bulky, .destroy = NULL);

static hapax_env *tight;
static hapax_table *slow;
static struct bulky *known;
static uint32_t stalled; /* atomic: how many threads stay in their section */
static __thread bool stalling;

static bool same(const hapax_key *a, const hapax_key *b, void *ctx)
{
	const struct timespec nap = {.tv_nsec = STALL_NS};

	(void)ctx;
	if (stalling)
		nanosleep(&nap, NULL);
	return a->size == b->size && !memcmp(a->data, b->data, a->size);
}

bool bound_begin(uint64_t seed)
{
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .seed = seed | 1, .garbage_bound = BOUND};
	hapax_table_options to = {HAPAX_TABLE_OPTIONS_INIT, .keys = {.equal = same}};
	uint32_t key = 1;

	if (hapax_env_create(&tight, &eo) != 0)
		return false;
	to.env = tight;
	return hapax_table_create(&slow, &to) == 0 && bulky_new(tight, &known) == 0 &&
	       hapax_table_put(slow, HAPAX_KEY_OF(key), known) == 0;
}

static void stall(void)
{
	uint32_t key = 1;
	void *out;

	__atomic_fetch_add(&stalled, 1, RELAXED);
	stalling = true;
	if (hapax_table_get(slow, HAPAX_KEY_OF(key), &out) != 0)
		violation("the key of a held object is not found");
	else
		hapax_release(out);
	stalling = false;
	__atomic_fetch_sub(&stalled, 1, RELAXED);
}

static void burst(void)
{
	struct bulky *b;

	for (unsigned i = 0; i < BURST; i++) {
		if (bulky_new(tight, &b) != 0) {
			violation("creation failed at the bound instead of waiting");
			return;
		}
		hapax_release(b);
	}
}

void bound_step(void)
{
	if (__atomic_load_n(&stalled, RELAXED))
		burst();
	else if (!roll(2000))
		stall();
}

void bound_judge(unsigned threads)
{
	hapax_env_stats s = {.size = sizeof(s)};
	/* what was alive when the bound was reached: an object of each thread, and what each has begun to retire */
	size_t most = BOUND + threads * 2 * (BYTES + 512);

	if (hapax_env_stats_get(tight, &s) != 0)
		violation("env stats failed");
	if (s.garbage_peak_bytes > most)
		violation("garbage was %zu bytes, its bound is %zu", s.garbage_peak_bytes, s.garbage_bound_bytes);
}

void bound_end(void)
{
	hapax_release(known);
	hapax_table_destroy(slow);
	hapax_env_destroy(tight);
}
