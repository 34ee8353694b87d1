/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture/parts.h - what the parts of the storm share. Each part has an environment's worth of promises of its own:
 * begin() before the threads, step() on each of them now and then, leave() when a thread ends, judge() at rest, end().
 */
#ifndef TORTURE_PARTS_H
#define TORTURE_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include <hapax/hapax.h>

enum { MAX_THREADS = 64 };
#define RELAXED __ATOMIC_RELAXED

/* torture.c: says what is broken, and stops the storm. */
__attribute__((format(printf, 1, 2))) void violation(const char *format, ...);
unsigned roll(unsigned n); /* 0 to n-1, from the thread's own generator */
void linger(unsigned one_in);

/* bound.c: garbage stays under its bound while a reader holds everything up. */
bool bound_begin(uint64_t seed);
void bound_step(void);
void bound_judge(unsigned threads);
void bound_end(void);

/* exclusive.c: no two instances of a key at once, until the destructor of the old one has returned. */
bool exclusive_begin(hapax_env *env);
void exclusive_step(void);
void exclusive_leave(void);
void exclusive_judge(void);
void exclusive_end(void);

/* deferred.c: deaths that are run by hapax_run_deferred(), by several threads at once. */
void deferred_step(hapax_env *env);
void deferred_judge(hapax_env *env);

#endif
