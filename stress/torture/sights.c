/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sights.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>

enum { LIE_EVERY = 16 };

static const struct {
	const char *name, *group, *what;
} sights[HPX_SIGHT_COUNT] = {
#define HPX_SIGHT_ENTRY(id, name, group, what) {name, group, what},
	HPX_SIGHTS(HPX_SIGHT_ENTRY)
#undef HPX_SIGHT_ENTRY
};

hpx_sight hpx_sight_breaking = HPX_SIGHT_COUNT;
static hpx_relaxed chances;
static struct {
	hpx_relaxed looks, bad;
	char first[128]; /* what the first bad look saw; under the lock */
} seen[HPX_SIGHT_COUNT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* taken only when something is wrong */

static void note(hpx_sight sight, const char *format, va_list args)
{
	if (hpx_relaxed_add(&seen[sight].bad, 1) != 0)
		return;
	pthread_mutex_lock(&lock);
	vsnprintf(seen[sight].first, sizeof(seen[sight].first), format, args);
	fprintf(stderr, "\nhapax-stress torture: %s: %s\n", sights[sight].what, seen[sight].first);
	pthread_mutex_unlock(&lock);
}

bool hpx_sight_look(hpx_sight sight, bool good, const char *format, ...)
{
	va_list args;

	hpx_relaxed_add(&seen[sight].looks, 1);
	if (hpx_sight_lies(sight))
		good = false;
	if (good)
		return true;
	va_start(args, format);
	note(sight, format, args);
	va_end(args);
	return false;
}

void hpx_sight_looked(hpx_sight sight, uint64_t times) { hpx_relaxed_add(&seen[sight].looks, times); }

void hpx_sight_broken(hpx_sight sight, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	note(sight, format, args);
	va_end(args);
}

uint64_t hpx_sights_bad(void)
{
	uint64_t bad = 0;

	for (unsigned i = 0; i < HPX_SIGHT_COUNT; i++)
		bad += hpx_relaxed_get(&seen[i].bad);
	return bad;
}

bool hpx_sight_break(const char *name)
{
	for (unsigned i = 0; i < HPX_SIGHT_COUNT; i++) {
		if (!strcmp(sights[i].name, name)) {
			hpx_sight_breaking = (hpx_sight)i;
			return true;
		}
	}
	return false;
}

/* The first look is lied to, and then one in some: rare oracles look once or twice in a run. */
bool hpx_sight_lie_now(void) { return hpx_relaxed_add(&chances, 1) % LIE_EVERY == 0; }

const char *hpx_sight_name(unsigned index) { return index < HPX_SIGHT_COUNT ? sights[index].name : NULL; }

void hpx_sights_judge(hpx_result *result, bool (*asked)(const char *group))
{
	uint64_t looks = 0;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < HPX_SIGHT_COUNT; i++) {
		uint64_t bad = hpx_relaxed_get(&seen[i].bad);

		looks += hpx_relaxed_get(&seen[i].looks);
		if (bad)
			hpx_result_broken(result, "%s: %s (seen %llu times)", sights[i].what, seen[i].first,
					  (unsigned long long)bad);
		else if (!hpx_relaxed_get(&seen[i].looks) && asked(sights[i].group))
			hpx_result_broken(result, "the oracle '%s' never looked", sights[i].name);
	}
	pthread_mutex_unlock(&lock);
	hpx_result_note(result, "oracle_looks", "looks of the oracles", looks);
}
