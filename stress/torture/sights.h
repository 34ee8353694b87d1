/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sights.h - the oracles of the torture by name: how often each looked, what it saw that must not be, and how to make it
 * see that on purpose.
 *
 * An oracle that never looked proves nothing, so looks are counted, and one that belongs to what was asked for and did
 * not look fails the run. `--break NAME` makes the oracle of that name see a fault that is not there: a run that then
 * passes shows an oracle that cannot fail.
 */
#ifndef HPX_STRESS_SIGHTS_H
#define HPX_STRESS_SIGHTS_H

#include "harness/result.h"

#include <stdbool.h>
#include <stdint.h>

/* name, the disturbance it belongs to (NULL: always there), the promise */
/* clang-format off */
#define HPX_SIGHTS(X) \
	X(LIVES, "lives", NULL, "G1: one live object per key") \
	X(LOADS, "loads", NULL, "G2: one load of a key at a time") \
	X(VALUES, "values", NULL, "an object is what its key says, whole, and not yet destroyed") \
	X(HELD, "held", NULL, "G3: nothing held is destroyed") \
	X(ONCE, "once", NULL, "G3: one destruction per object") \
	X(CALLBACKS, "callbacks-once", NULL, "G3: callbacks and ctx_free run once, and not after a drop") \
	X(UPGRADES, "upgrades", NULL, "G3: an upgrade gives the living object of its handle or nothing") \
	X(INSTANCES, "instances", NULL, "G9: one exclusive instance at a time") \
	X(AGE, "age", NULL, "G7: no get sees what a change that returned before it began had taken out") \
	X(STATUS, "status", NULL, "calls answer what they may answer") \
	X(STATISTICS, "statistics", NULL, "the caches' statistics are what was counted outside") \
	X(CONSERVATION, "conservation", NULL, "born = destroyed = freed") \
	X(HOME, "home", NULL, "G8: every thread comes home") \
	X(HAPPENED, "happened", NULL, "what was asked for happened") \
	X(STARVED_BOUND, "starved-bound", "starved", "G6: garbage stays under its bound while a reader stands still") \
	X(STARVED_WAIT, "starved-wait", "starved", "G6: creation waits at the bound, or is refused where it may not wait") \
	X(STARVED_NAMED, "starved-named", "starved", "a reader that stands still is reported") \
	X(STARVED_RECOVERY, "starved-recovery", "starved", "all garbage goes once the reader has gone on") \
	X(STOPPED, "stopped", "stopped", "a process that is stopped and continued passes its own torture") \
	X(SIGNALS, "signals", "signals", "signals reach threads and no call fails for them") \
	X(SHORT, "short", "short-threads", "every destructor of thread-specific data that uses hapax returns") \
	X(CHILD, "child", "fork", "a forked child uses the cache and exits in order and in time") \
	X(UNLOADED, "unloaded", "dlopen", "threads end in order after dlclose()") \
	X(OWN_DATA, "own-data", "own-rcu", "the application's own readers see whole, unfreed data") \
	X(FOUND, "found", "growth", "what is held and was put is found, through growth and shrinking") \
	X(YIELDED, "yielded", "iterate", "what is there throughout is yielded exactly once") \
	X(SUCCESSION, "succession", "exclusive", "G9: an exclusive key is free again once its instance has gone") \
	X(BOUND, "bound", "garbage", "G6: garbage stays under a small bound, and creation goes on") \
	X(CLOSED, "closed", "close", "G11: a closed cache releases its waiters and refuses newcomers") \
	X(LEFT, "left", "close", "G11: environments, caches and objects end in any order and leave nothing") \
	X(CANCELLED, "cancelled", "cancel", "G2: a key whose loader or waiter was cancelled can be loaded again") \
	X(FINISHED, "finished", "cancel", "G3: a death whose user code left its thread is finished") \
	X(DEFERRED, "deferred-once", "deferred", "a deferred death runs once, and only where it is asked for") \
	X(BARRIER, "barrier", "callbacks", "G3: after a drop the callback neither runs nor will run")
/* clang-format on */

typedef enum hpx_sight {
#define HPX_SIGHT_ENUM(id, name, group, what) HPX_SIGHT_##id,
	HPX_SIGHTS(HPX_SIGHT_ENUM)
#undef HPX_SIGHT_ENUM
		HPX_SIGHT_COUNT
} hpx_sight;

/* Counts one look; a bad one with its sentence. Returns whether it was good. Any thread; no ordering of its own while
 * all is well. */
bool hpx_sight_look(hpx_sight sight, bool good, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* For oracles with counters of their own. */
void hpx_sight_looked(hpx_sight sight, uint64_t times);
void hpx_sight_broken(hpx_sight sight, const char *format, ...) __attribute__((format(printf, 2, 3)));

uint64_t hpx_sights_bad(void); /* bad looks of all */

/* --break: false for a name that is none. */
bool hpx_sight_break(const char *name);
/* Whether this oracle is to be lied to now: for oracles that are fed with a wrong observation where they look. */
extern hpx_sight hpx_sight_breaking;
bool hpx_sight_lie_now(void);
static inline bool hpx_sight_lies(hpx_sight sight)
{
	return __builtin_expect(hpx_sight_breaking == sight, 0) && hpx_sight_lie_now();
}

/* What was seen goes into the result. `asked(group)`: whether that disturbance was asked for and there was time. */
void hpx_sights_judge(hpx_result *result, bool (*asked)(const char *group));
/* The table of names for --help and the tests. */
const char *hpx_sight_name(unsigned index);

#endif
