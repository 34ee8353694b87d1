/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/sections_called.c - without _LGPL_SOURCE liburcu's lock and unlock are functions of its library. */
#undef _LGPL_SOURCE
#pragma GCC diagnostic ignored "-Wpedantic"
#include <urcu/urcu-bp.h>

#include "bench/sections.h"

unsigned hpx_bench_sections_called(unsigned n)
{
	unsigned right = 0;

	for (unsigned i = 0; i < n; i++) {
		urcu_bp_read_lock();
		__asm__ volatile("" : : : "memory");
		urcu_bp_read_unlock();
	}
	urcu_bp_read_lock();
	right += urcu_bp_read_ongoing() != 0;
	urcu_bp_read_unlock();
	right += urcu_bp_read_ongoing() == 0;
	return right;
}
