/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/memory.h - the model's memory: which store a load may see, and which plain accesses race.
 *
 * Happens-before is kept with vector clocks, with C11's rules for release, acquire, release sequences and fences.
 * In the strong mode an atomic load sees the newest store of its location. In the weak mode it may see any that coherence
 * and happens-before allow, as the engine chooses. Accesses to one location have one size. In both modes two plain
 * accesses, or a plain and an atomic one, of which one writes and neither happens before the other, are a data race and
 * fail the run; so is any access to memory that was freed.
 */
#ifndef HPX_MODEL_MEMORY_H
#define HPX_MODEL_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MEM_THREADS = 12 };
enum mem_mode { MEM_OFF, MEM_STRONG, MEM_WEAK }; /* OFF: only accesses to freed memory are noticed */

struct mem_clock { uint32_t at[MEM_THREADS]; }; /* of a lock, a condition, a grace period, a thread's start and end */

void mem_reset(enum mem_mode mode); /* before each run; forgets everything */
void mem_thread_start(unsigned child, unsigned parent);

/* Atomics: `order` is __ATOMIC_*; size 1, 2, 4, 8; `where` is the return address, for messages. */
uint64_t mem_load(unsigned t, const void *a, unsigned size, int order, const void *where);
void mem_store(unsigned t, void *a, unsigned size, uint64_t value, int order, const void *where);
enum mem_op { MEM_EXCHANGE, MEM_ADD, MEM_SUB, MEM_AND, MEM_OR, MEM_XOR, MEM_NAND };
uint64_t mem_rmw(unsigned t, void *a, unsigned size, enum mem_op op, uint64_t operand, int order, const void *where);
bool mem_cas(unsigned t, void *a, unsigned size, uint64_t *expected, uint64_t value, int success, int failure,
	     const void *where);
void mem_fence(unsigned t, int order);

/* Plain accesses of the instrumented code. */
void mem_read(unsigned t, const void *a, size_t size, const void *where);
void mem_write(unsigned t, void *a, size_t size, const void *where);

/* Edges that do not come from atomics: locks, sections and grace periods, threads, sleeping and waking. */
void mem_acquire(unsigned t, const struct mem_clock *from);
void mem_release(unsigned t, struct mem_clock *to); /* joins: what was released there before stays */

/* Allocation: fresh memory has no history; freed memory must not be touched until it is allocated again. */
void mem_allocated(unsigned t, void *a, size_t size);
void mem_freed(unsigned t, void *a, size_t size, const void *where);

/* Asked of the engine: which of `n` readable stores (0: the newest) this load sees; where this store is put. */
unsigned model_choose_store(unsigned n);

#endif
