/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/broken.h - faults that are put in on purpose, so that every lane of the proof can show that it fails.
 *
 *      if (HPX_BROKEN(SOME_FAULT))
 *              wrong;
 *      else
 *              right;
 *
 * HPX_BROKEN() is the constant 0 wherever HPX_BROKEN_BUILD is not defined: no trace of a fault is in the code then. With
 * it one fault, named in the environment variable HAPAX_BROKEN, is in force in the whole process; none when that is unset.
 * stress/broken/switches.h lists the faults, and which lanes answer for catching them.
 */
#ifndef HPX_BASE_BROKEN_H
#define HPX_BASE_BROKEN_H

#ifdef HPX_BROKEN_BUILD
#include "../../stress/broken/switches.h"

enum hpx_broken {
	HPX_BROKEN_NONE,
#define HPX_BROKEN_ID(name, ...) HPX_BROKEN_##name,
	HPX_BROKEN_SWITCHES(HPX_BROKEN_ID)
#undef HPX_BROKEN_ID
};
extern enum hpx_broken hpx_broken; /* check.c; written before main() */
#define HPX_BROKEN(name) __builtin_expect(hpx_broken == HPX_BROKEN_##name, 0)
#else
#define HPX_BROKEN(name) 0
#endif

/* Where a fault needs somebody else to come between: in chaos builds somebody does, now and then. */
#if defined(HPX_BROKEN_BUILD) && defined(HPX_CHAOS)
void hpx_broken_window(void);
#define HPX_BROKEN_WINDOW(name) (HPX_BROKEN(name) ? hpx_broken_window() : (void)0)
#else
#define HPX_BROKEN_WINDOW(name) ((void)0)
#endif

#endif
