/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * starved.c - readers that stand still inside a read section, while others make garbage.
 *
 * In turn: the application's own section of urcu-bp; a user's comparison that sleeps inside a lookup; and a thread of the
 * scheduler's idle class, which gets little time inside its sections while others are busy (it is not held there, so for
 * it only the bound is judged).
 *
 *      reader   [ ---------------- stands still, two seconds or more ---------------- ]
 *      makers   create, release, create ... wait at the bound ........................ go on
 *      frugal   (no reclaimer thread)       is refused with HAPAX_EGARBAGE ........... goes on after hapax_reclaim()
 *
 * The reader leaves when its time is over and all that has to be seen has been seen: that a maker waited, that the
 * frugal one was refused, that the reader was counted and named as a stall. So no look depends on how fast the machine
 * is; only patience is limited. Two things make that so: the makers are called out of their creations before the reader
 * begins, as one that waits already is not counted again; and all stay until the last reader has left, as there may be
 * one when the run ends.
 */
#include "disturb.h"

#include "harness/team.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <urcu/urcu-bp.h>
#pragma GCC diagnostic pop

enum { MAKERS = 2, BOUND = 1 << 20, FRUGAL_BOUND = 256 << 10, BYTES = 400, STALL_NS = 50000000, LOOK_SECONDS = 30 };
enum { SECTION, EQUAL, IDLE, KINDS };

static struct {
	hpx_torture *torture;
	hapax_env *env, *frugal;
	hapax_table *table;
	void *present; /* under the key whose comparison sleeps */
	hpx_relaxed kind, standing, tid, warned;
	hpx_relaxed called_out, out; /* makers between two creations: asked for, and how many there are */
	hpx_relaxed over;	     /* no reader comes any more */
	hpx_relaxed made, frugal_made, frugal_refused, stalls, excused;
	uint64_t stand_ns;
} scene;

static __thread bool stands_here;

static const hapax_type small_type = {HAPAX_TYPE_INIT, .name = "garbage", .size = BYTES, .align = 16};

/* --- what has to be seen while a reader stands still --- */

struct before {
	uint64_t waits, stalls, refused, warned, end;
	bool named;
	bool excused; /* a fork held hapax's locks while it waited for the reader: nobody could make garbage */
};

static void take_stats(hapax_env *env, hapax_env_stats *stats)
{
	*stats = (hapax_env_stats){.size = sizeof(*stats)};
	if (hapax_env_stats_get(env, stats))
		hpx_sight_look(HPX_SIGHT_STATUS, false, "statistics cannot be read");
}

static bool seen_all(void *ctx)
{
	struct before *before = ctx;
	hapax_env_stats stats;

	take_stats(scene.env, &stats);
	hpx_sight_look(HPX_SIGHT_STARVED_BOUND, stats.garbage_bytes <= stats.garbage_bound_bytes,
		       "%zu bytes of garbage, bound %zu", stats.garbage_bytes, stats.garbage_bound_bytes);
	if (stats.stalled_tid == (int)hpx_relaxed_get(&scene.tid) && stats.stalls > before->stalls)
		before->named = true;
	if (hpx_relaxed_get(&scene.torture->fork_waiting))
		before->excused = true;
	if (hpx_now() >= before->end && before->excused)
		return true;
	return hpx_now() >= before->end && before->named && stats.garbage_waits > before->waits &&
	       hpx_relaxed_get(&scene.frugal_refused) > before->refused &&
	       hpx_relaxed_get(&scene.warned) > before->warned;
}

static bool makers_are_out(void *ctx)
{
	(void)ctx;
	return hpx_relaxed_get(&scene.out) == MAKERS;
}

/* Inside a read section, however it was entered; the makers were called out before that. */
static void stand_still(void)
{
	hapax_env_stats stats;
	struct before before;
	bool good;

	take_stats(scene.env, &stats);
	before = (struct before){.waits = stats.garbage_waits,
				 /* a grace period that was slow before may have been counted already, as this reader's */
				 .stalls = stats.stalls - (stats.stalls && stats.stalled_tid == (int)gettid()),
				 .refused = hpx_relaxed_get(&scene.frugal_refused),
				 .warned = hpx_relaxed_get(&scene.warned),
				 .end = hpx_now() + scene.stand_ns};
	hpx_relaxed_set(&scene.tid, (uint64_t)gettid());
	hpx_relaxed_set(&scene.standing, 1);
	hpx_relaxed_set(&scene.torture->standing, 1);
	hpx_relaxed_set(&scene.called_out, 0);
	good = hpx_await(seen_all, &before, LOOK_SECONDS);
	hpx_relaxed_set(&scene.torture->standing, 0);
	hpx_relaxed_set(&scene.standing, 0);
	if (before.excused) {
		hpx_relaxed_add(&scene.excused, 1);
		return;
	}
	take_stats(scene.env, &stats);
	hpx_sight_look(HPX_SIGHT_STARVED_WAIT,
		       stats.garbage_waits > before.waits && hpx_relaxed_get(&scene.frugal_refused) > before.refused,
		       "in %d s %llu creations waited and %llu were refused", LOOK_SECONDS,
		       (unsigned long long)(stats.garbage_waits - before.waits),
		       (unsigned long long)(hpx_relaxed_get(&scene.frugal_refused) - before.refused));
	hpx_sight_look(HPX_SIGHT_STARVED_NAMED, good && before.named, "reader %d: %llu stalls counted, %llu warnings, %d named",
		       gettid(), (unsigned long long)(stats.stalls - before.stalls),
		       (unsigned long long)(hpx_relaxed_get(&scene.warned) - before.warned), stats.stalled_tid);
	hpx_relaxed_add(&scene.stalls, stats.stalls - before.stalls);
}

static int hash_badly(const hapax_key *key, uint64_t *hash, void *ctx)
{
	(void)ctx;
	*hash = key->size;
	return 0;
}

static bool equal_slowly(const hapax_key *a, const hapax_key *b, void *ctx)
{
	(void)ctx;
	if (stands_here && hpx_relaxed_get(&scene.kind) == EQUAL) {
		stands_here = false; /* once, however often a lookup compares */
		stand_still();
	}
	return a->size == b->size && !memcmp(a->data, b->data, a->size);
}

static void look_up(void)
{
	void *object = NULL;
	int status = hapax_table_get(scene.table, HAPAX_STR("present"), &object);

	hpx_sight_look(HPX_SIGHT_STATUS, !status && object == scene.present, "a slow lookup gave %s",
		       hapax_status_name(status));
	hapax_release(object);
}

static bool make(hapax_env *env)
{
	void *object = NULL;
	int status = hapax_new(env, &small_type, 0, &object);

	if (status == HAPAX_EGARBAGE && env == scene.frugal)
		return false;
	hpx_sight_look(HPX_SIGHT_STATUS, !status, "creation gave %s", hapax_status_name(status));
	hapax_release(object);
	return true;
}

/* --- the members of the team: makers, the frugal one, the reader --- */

/* The end of the run does not cut it short: others may be waiting for what is done after it. */
static void nap(uint64_t ns)
{
	const struct timespec time = {0, (long)ns};

	nanosleep(&time, NULL);
}

static void run_frugal(hpx_torturer *self)
{
	while (!hpx_relaxed_get(&scene.over)) {
		if (make(scene.frugal)) {
			hpx_relaxed_bump(&scene.frugal_made);
			continue;
		}
		hpx_relaxed_bump(&scene.frugal_refused);
		nap(HAPAX_MILLISECOND + hpx_rng_below(&self->rng, HAPAX_MILLISECOND));
	}
}

static void run_maker(hpx_torturer *self)
{
	while (!hpx_relaxed_get(&scene.over)) {
		if (hpx_relaxed_get(&scene.called_out)) {
			hpx_relaxed_add(&scene.out, 1);
			while (hpx_relaxed_get(&scene.called_out))
				nap(HAPAX_MILLISECOND);
			hpx_relaxed_add(&scene.out, (uint64_t)-1);
		}
		make(scene.env);
		hpx_relaxed_add(&scene.made, 1);
		if (!hpx_relaxed_get(&scene.standing)) /* the others are to have the machine */
			nap(hpx_rng_below(&self->rng, HAPAX_MILLISECOND));
	}
}

static bool recovered(void *ctx)
{
	hapax_env_stats stats;
	uint64_t *made = ctx;

	take_stats(scene.env, &stats);
	return stats.garbage_bytes < stats.garbage_bound_bytes / 2 && hpx_relaxed_get(&scene.made) > *made;
}

/* Sections again and again, at the priority of nobody. */
static void run_idle(hpx_torturer *self)
{
	struct sched_param none = {0};
	uint64_t end = hpx_now() + scene.stand_ns;
	hapax_env_stats stats;

	hpx_relaxed_set(&scene.standing, 1);
	hpx_sight_look(HPX_SIGHT_STATUS, sched_setscheduler(0, SCHED_IDLE, &none) == 0, "no idle class");
	while (hpx_now() < end && !hpx_stopping()) {
		stands_here = false;
		urcu_bp_read_lock();
		look_up();
		for (volatile unsigned i = 0; i < 10000; i++)
			;
		urcu_bp_read_unlock();
		take_stats(scene.env, &stats);
		hpx_sight_look(HPX_SIGHT_STARVED_BOUND, stats.garbage_bytes <= stats.garbage_bound_bytes,
			       "%zu bytes of garbage, bound %zu", stats.garbage_bytes, stats.garbage_bound_bytes);
	}
	(void)self;
	hpx_relaxed_set(&scene.standing, 0);
}

struct reader {
	hpx_torturer *self;
	unsigned kind;
};

/* A thread for each time: one of the idle class does not get out of it without privileges. */
static void *reader_main(void *arg)
{
	struct reader *reader = arg;

	hpx_torture_self = reader->self;
	/* known to hapax, so that it can be named: the application's section comes without a call of hapax's */
	if (hapax_thread_prepare(scene.env))
		hpx_sight_look(HPX_SIGHT_STATUS, false, "a thread cannot be prepared");
	hpx_relaxed_set(&scene.kind, reader->kind);
	if (reader->kind != IDLE) {
		hpx_relaxed_set(&scene.called_out, 1);
		hpx_sight_look(HPX_SIGHT_STARVED_RECOVERY, hpx_await(makers_are_out, NULL, LOOK_SECONDS),
			       "creations wait though nobody reads");
	}
	stands_here = true;
	switch (reader->kind) {
	case SECTION:
		urcu_bp_read_lock();
		stand_still();
		urcu_bp_read_unlock();
		break;
	case IDLE:
		run_idle(reader->self);
		break;
	default:
		look_up();
	}
	stands_here = false;
	return NULL;
}

static void run_readers(hpx_torturer *self)
{
	struct reader reader = {self, 0};

	while (!hpx_stopping()) {
		pthread_t thread;
		uint64_t made;

		if (pthread_create(&thread, NULL, reader_main, &reader))
			break;
		pthread_join(thread, NULL);
		hpx_relaxed_set(&scene.called_out, 0); /* a lookup that compared nothing has not stood still */
		hapax_reclaim(scene.frugal);
		made = hpx_relaxed_get(&scene.made);
		hpx_sight_look(HPX_SIGHT_STARVED_RECOVERY, hpx_await(recovered, &made, LOOK_SECONDS),
			       "garbage stays though nobody reads");
		hpx_happened(&hpx_starved, 1);
		reader.kind = (reader.kind + 1) % KINDS;
		hpx_pause(scene.stand_ns + hpx_rng_below(&self->rng, scene.stand_ns));
	}
	hpx_relaxed_set(&scene.over, 1);
}

static void run(hpx_torturer *self, unsigned which)
{
	if (which == 0)
		run_readers(self);
	else if (which == 1)
		run_frugal(self);
	else
		run_maker(self);
}

static void log_stalls(hapax_log_level level, const char *message, void *ctx)
{
	(void)message;
	(void)ctx;
	if (level == HAPAX_LOG_WARNING)
		hpx_relaxed_add(&scene.warned, 1);
}

static int prepare(hpx_torture *torture)
{
	hapax_env_options options = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = BOUND, .stall_ns = STALL_NS,
				     .log = {log_stalls, NULL}};
	hapax_table_options table = {HAPAX_TABLE_OPTIONS_INIT, .keys = {.hash = hash_badly, .equal = equal_slowly}};

	scene.torture = torture;
	/* two seconds, but in a short run four of them have to fit in */
	scene.stand_ns = (uint64_t)((torture->seconds < 16 ? torture->seconds / 8 : 2) * 1e9);
	scene.env = hpx_own_env(torture, &options);
	options.garbage_bound = FRUGAL_BOUND;
	options.flags = HAPAX_ENV_NO_THREAD;
	scene.frugal = hpx_own_env(torture, &options);
	table.env = scene.env;
	if (hapax_table_create(&scene.table, &table) || hapax_new(scene.env, &small_type, 0, &scene.present) ||
	    hapax_table_put(scene.table, HAPAX_STR("present"), scene.present))
		return -1;
	return 0;
}

static void judge(hpx_torture *torture, hpx_result *result)
{
	hapax_env_stats stats;
	uint64_t alive = (MAKERS + 2) * (BYTES + HPX_TORTURE_OVERHEAD);

	(void)torture;
	take_stats(scene.env, &stats);
	hpx_result_note(result, "starved_waits", "creations that waited at the bound", stats.garbage_waits);
	hpx_result_note(result, "starved_refusals", "creations that were refused", hpx_relaxed_get(&scene.frugal_refused));
	hpx_result_note(result, "starved_excused", "of which a fork waited for", hpx_relaxed_get(&scene.excused));
	hpx_result_note(result, "starved_stalls", "stalls that were reported", hpx_relaxed_get(&scene.stalls));
	hapax_release(scene.present);
	hapax_table_destroy(scene.table);
	hpx_own_env_end(scene.env, "starved", alive, HPX_SIGHT_STARVED_BOUND);
	hpx_own_env_end(scene.frugal, "starved, without the thread", alive, HPX_SIGHT_STARVED_BOUND);
}

hpx_disturbance hpx_starved = {
	.name = "starved",
	.help = "readers that stand still inside a section, and one of the idle class",
	.field = "starved_readers",
	.label = "readers that stood still",
	.full = 20,
	.threads = 2 + MAKERS,
	.prepare = prepare,
	.run = run,
	.judge = judge,
};
