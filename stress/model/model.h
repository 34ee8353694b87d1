/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/model.h - what a scenario of `hapax-stress model` is written against.
 *
 * The shipped sources of lib/ are compiled with the compiler's ThreadSanitizer instrumentation, but against a runtime of
 * ours: every atomic operation is a step of a deterministic scheduler, every plain access is checked. Threads are
 * fibres; locks, conditions, futexes, clocks, allocation and liburcu's sections are the model's own (shim.h). A run is
 * a function of the scenario and the choices made in it, so any run can be replayed.
 *
 * Scenarios use the public API only (and hapax/testing.h). They are plain C functions on fibres of 64 KiB of stack.
 */
#ifndef HPX_MODEL_H
#define HPX_MODEL_H

#include <hapax/hapax.h>
#include <hapax/testing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_THREADS = 8 }; /* of a scenario; the reclaimer and the one that sets up come on top */

/*
 * One scenario. `state` is `size` zeroed bytes, new for every run. `setup` runs alone and unscheduled, then the threads
 * run to their ends under the scheduler, then `finish` runs alone. After `finish` the engine destroys nothing itself: the
 * scenario destroys its caches and its environment there; the engine then checks that no allocation is left, that no
 * lock is held and that no thread is stuck (all blocked with no time left to pass is a deadlock and fails the run).
 */
struct model_scenario {
	const char *name;
	const char *summary;
	size_t size;
	void (*setup)(void *state);
	void (*thread[MODEL_THREADS])(void *state); /* NULL-terminated unless all are used */
	void (*finish)(void *state);
	unsigned flags;
	unsigned preemptions; /* bound of the exhaustive search at which this scenario is known to be finite work; 0: none */
};
enum {
	MODEL_WEAK_ONLY = 1, /* meant for the weak-memory mode (litmus); skipped in the others */
	MODEL_EXPECT_FAIL = 2, /* a weakened litmus test: some run must fail, otherwise the engine proves nothing */
	MODEL_LONG = 8, /* its runs are long: a plan of all modes gives PCT a tenth of the seeds */
	MODEL_IN_TIME = 4, /* judged by what came before what without any order of memory between; not for the weak mode */
};

extern const struct model_scenario *const model_scenarios[]; /* all.c; NULL-terminated */

/* Fails the run: prints scenario, mode, seed, the interleaving and how to replay it. Any thread, setup and finish too. */
void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define MODEL_CHECK(x, ...) ((x) ? (void)0 : model_fail(__VA_ARGS__))

/* A choice of the run, 0 to n-1: random under PCT, enumerated by the exhaustive search. Part of the replay. */
unsigned model_choose(unsigned n);
/* A step of the calling thread in which it does nothing: somebody else may run. */
void model_yield(void);
/* One line in the printed interleaving; costs nothing in runs that do not fail. `text` stays valid. */
void model_note(const char *text, uint64_t value);
/* The model's clock, in nanoseconds; it passes only by model_advance() and when all threads are blocked with a deadline
 * ahead. An environment made by model_env() uses it. */
uint64_t model_now(void);
void model_advance(uint64_t ns);
/* An environment over the model's clock, allocator and a fixed seed; `flags` as in hapax_env_config. In `setup`. */
hapax_env *model_env(unsigned flags, size_t max_garbage);
/* From here on (this run) allocations fail: the n-th from now, or none (0). */
void model_fail_allocation(unsigned n);

#endif
