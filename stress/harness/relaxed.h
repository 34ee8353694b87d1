/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relaxed.h - words for oracles: atomic, and never anything but relaxed.
 *
 * An oracle must not help the library that it watches: a mutex, or an acquire and release pair of its own, would order
 * what hapax forgot to order. A one-field struct makes every other access a type error.
 */
#ifndef HPX_STRESS_RELAXED_H
#define HPX_STRESS_RELAXED_H

#include <stdbool.h>
#include <stdint.h>

typedef struct hpx_relaxed {
	uint64_t value;
} hpx_relaxed;

static inline uint64_t hpx_relaxed_get(const hpx_relaxed *word)
{
	/* order: ORACLE relaxed; only the word itself is looked at, and it has one modification order */
	return __atomic_load_n(&word->value, __ATOMIC_RELAXED);
}

static inline void hpx_relaxed_set(hpx_relaxed *word, uint64_t value)
{
	/* order: ORACLE relaxed; as above */
	__atomic_store_n(&word->value, value, __ATOMIC_RELAXED);
}

/* These return the value before. */
static inline uint64_t hpx_relaxed_add(hpx_relaxed *word, uint64_t value)
{
	/* order: ORACLE relaxed; as above */
	return __atomic_fetch_add(&word->value, value, __ATOMIC_RELAXED);
}

static inline uint64_t hpx_relaxed_swap(hpx_relaxed *word, uint64_t value)
{
	/* order: ORACLE relaxed; as above */
	return __atomic_exchange_n(&word->value, value, __ATOMIC_RELAXED);
}

static inline bool hpx_relaxed_cas(hpx_relaxed *word, uint64_t *expected, uint64_t value)
{
	/* order: ORACLE relaxed; as above */
	return __atomic_compare_exchange_n(&word->value, expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* For counters with one writer: no locked instruction on the path that is measured. */
static inline void hpx_relaxed_bump(hpx_relaxed *word) { hpx_relaxed_set(word, hpx_relaxed_get(word) + 1); }

#endif
