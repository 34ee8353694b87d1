/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/runtime.c - what instrumented code calls: the interface of ThreadSanitizer's runtime as gcc and clang use it.
 * An atomic is a step, then the effect; a plain access is looked at and is no step.
 */
#include "model/engine.h"

#include <string.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"
#endif

static inline struct touch touching(const volatile void *a, bool write, int order)
{
	return (struct touch){(uintptr_t)a >> 3, write, order == __ATOMIC_SEQ_CST && engine.memory == MEM_WEAK};
}

/* ---- plain -------------------------------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void plain(const void *a, size_t size, bool write, const void *where)
{
	if (UNLIKELY(!engine.current))
		return;
	arena_look(a, size, write, where);
	if (LIKELY(!engine.memory))
		return;
	if (write)
		mem_write(engine.current->index, (void *)(uintptr_t)a, size, where);
	else
		mem_read(engine.current->index, a, size, where);
}

#define PLAIN(size)                                                                             \
	void __tsan_read##size(void *a) { plain(a, size, false, CALLER); }                     \
	void __tsan_write##size(void *a) { plain(a, size, true, CALLER); }                     \
	void __tsan_unaligned_read##size(void *a) { plain(a, size, false, CALLER); }           \
	void __tsan_unaligned_write##size(void *a) { plain(a, size, true, CALLER); }           \
	void __tsan_volatile_read##size(void *a) { plain(a, size, false, CALLER); }            \
	void __tsan_volatile_write##size(void *a) { plain(a, size, true, CALLER); }            \
	void __tsan_unaligned_volatile_read##size(void *a) { plain(a, size, false, CALLER); }  \
	void __tsan_unaligned_volatile_write##size(void *a) { plain(a, size, true, CALLER); }  \
	void __tsan_read_write##size(void *a) { plain(a, size, true, CALLER); }                \
	void __tsan_unaligned_read_write##size(void *a) { plain(a, size, true, CALLER); }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

static void range(const void *a, size_t size, bool write, const void *where)
{
	if (!size)
		return;
	plain(a, size, write, where);
	if (engine.current)
		arena_look((const char *)a + size - 1, size, write, where);
}
void __tsan_read_range(void *a, unsigned long size) { range(a, size, false, CALLER); }
void __tsan_write_range(void *a, unsigned long size) { range(a, size, true, CALLER); }
void *__tsan_memcpy(void *to, const void *from, unsigned long size)
{
	range(from, size, false, CALLER);
	range(to, size, true, CALLER);
	return memcpy(to, from, size);
}
void *__tsan_memmove(void *to, const void *from, unsigned long size)
{
	range(from, size, false, CALLER);
	range(to, size, true, CALLER);
	return memmove(to, from, size);
}
void *__tsan_memset(void *to, int byte, unsigned long size)
{
	range(to, size, true, CALLER);
	return memset(to, byte, size);
}

void __tsan_vptr_read(void **a) { plain(a, 8, false, CALLER); }
void __tsan_vptr_update(void **a, void *value)
{
	(void)value;
	plain(a, 8, true, CALLER);
}
void __tsan_func_entry(void *where) { (void)where; }
void __tsan_func_exit(void) {}
void __tsan_init(void) {}
void __tsan_ignore_thread_begin(void) {}
void __tsan_ignore_thread_end(void) {}
void __tsan_acquire(void *a) { (void)a; }
void __tsan_release(void *a) { (void)a; }

/* ---- atomics ------------------------------------------------------------------------------------------------------ */

/* The effect of a step on `a`, at once where there is no run or no memory model. */
#define BEGIN(op, write)                                                                                              \
	bool direct = !engine.memory || !engine.current;                                                               \
	if (engine.current) {                                                                                          \
		model_step((op), a, touching(a, (write), order), CALLER);                                              \
		arena_look(a, sizeof(*a), (write), CALLER);                                                            \
	}

#define RMW(bits, type, name, kind, builtin)                                                                          \
	type __tsan_atomic##bits##_##name(volatile type *a, type value, int order)                                     \
	{                                                                                                              \
		type old;                                                                                              \
		BEGIN(OP_RMW, true)                                                                                    \
		old = direct ? (type)builtin(a, value, __ATOMIC_SEQ_CST)                                               \
			     : (type)mem_rmw(model_index(), (void *)(uintptr_t)a, sizeof(*a), kind, value, order, CALLER); \
		TRACE_VALUE(*a, sizeof(*a));                                                                           \
		return old;                                                                                            \
	}

#define CAS(bits, type, name, failing)                                                                                \
	int __tsan_atomic##bits##_compare_exchange_##name(volatile type *a, type *expected, type value, int order,    \
							  int failing_order)                                           \
	{                                                                                                              \
		uint64_t wanted = *expected;                                                                           \
		bool done;                                                                                             \
		BEGIN(OP_CAS, true)                                                                                    \
		if (direct)                                                                                            \
			return swap##bits(a, expected, value);                                                         \
		done = mem_cas(model_index(), (void *)(uintptr_t)a, sizeof(*a), &wanted, value, order, failing_order, CALLER); \
		if (!done)                                                                                             \
			*expected = (type)wanted;                                                                      \
		TRACE_VALUE(*a, sizeof(*a));                                                                           \
		return done;                                                                                           \
	}

#define ATOMICS(bits, type)                                                                                           \
	static inline int swap##bits(volatile type *a, type *expected, type value)                                     \
	{                                                                                                              \
		int done = __atomic_compare_exchange_n(a, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);     \
		TRACE_VALUE(*a, sizeof(*a));                                                                           \
		return done;                                                                                           \
	}                                                                                                              \
	type __tsan_atomic##bits##_load(const volatile type *a, int order)                                             \
	{                                                                                                              \
		type value;                                                                                            \
		BEGIN(OP_LOAD, false)                                                                                  \
		value = direct ? *a                                                                                    \
			       : (type)mem_load(model_index(), (const void *)(uintptr_t)a, sizeof(*a), order, CALLER); \
		TRACE_VALUE(value, sizeof(*a));                                                                        \
		return value;                                                                                          \
	}                                                                                                              \
	void __tsan_atomic##bits##_store(volatile type *a, type value, int order)                                      \
	{                                                                                                              \
		BEGIN(OP_STORE, true)                                                                                  \
		if (direct)                                                                                            \
			*a = value;                                                                                    \
		else                                                                                                   \
			mem_store(model_index(), (void *)(uintptr_t)a, sizeof(*a), value, order, CALLER);              \
		TRACE_VALUE(value, sizeof(*a));                                                                        \
	}                                                                                                              \
	RMW(bits, type, exchange, MEM_EXCHANGE, __atomic_exchange_n)                                                   \
	RMW(bits, type, fetch_add, MEM_ADD, __atomic_fetch_add)                                                        \
	RMW(bits, type, fetch_sub, MEM_SUB, __atomic_fetch_sub)                                                        \
	RMW(bits, type, fetch_and, MEM_AND, __atomic_fetch_and)                                                        \
	RMW(bits, type, fetch_or, MEM_OR, __atomic_fetch_or)                                                           \
	RMW(bits, type, fetch_xor, MEM_XOR, __atomic_fetch_xor)                                                        \
	RMW(bits, type, fetch_nand, MEM_NAND, __atomic_fetch_nand)                                                     \
	CAS(bits, type, strong, failing)                                                                               \
	CAS(bits, type, weak, failing)                                                                                 \
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *a, type expected, type value, int order,        \
							int failing_order)                                             \
	{                                                                                                              \
		uint64_t wanted = expected;                                                                            \
		BEGIN(OP_CAS, true)                                                                                    \
		if (direct)                                                                                            \
			swap##bits(a, &expected, value);                                                               \
		else if (!mem_cas(model_index(), (void *)(uintptr_t)a, sizeof(*a), &wanted, value, order, failing_order, \
				  CALLER))                                                                             \
			expected = (type)wanted;                                                                       \
		TRACE_VALUE(*a, sizeof(*a));                                                                           \
		return expected;                                                                                       \
	}

ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

void __tsan_atomic_thread_fence(int order)
{
	if (!engine.current)
		return;
	model_step(OP_FENCE, NULL, (struct touch){0, true, order == __ATOMIC_SEQ_CST && engine.memory == MEM_WEAK}, CALLER);
	if (engine.memory)
		mem_fence(engine.current->index, order);
}

void __tsan_atomic_signal_fence(int order) { (void)order; }
