/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/check.h - assertions, misuse, named stop points.
 *
 * HPX_DEBUG (debug presets): assertions on, misuse aborts. Release: misuse is contained where it can be.
 */
#ifndef HPX_CHECK_H
#define HPX_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "base/broken.h"

/* A broken invariant of hapax itself: prints and aborts, in every build that asserts. */
__attribute__((noreturn, cold)) void hpx_fatal(const char *file, int line, const char *what);
/* A broken contract of the caller. Debug builds abort after printing (or call the test hook and go on); release builds
 * print nothing and go on: the caller contains it. */
__attribute__((cold, format(printf, 1, 2))) void hpx_misuse(const char *format, ...);

#ifdef HPX_DEBUG
#define HPX_ASSERT(x) ((x) ? (void)0 : hpx_fatal(__FILE__, __LINE__, #x))
#else
#define HPX_ASSERT(x) ((void)sizeof(x))
#endif

/* Named stop points of the testing build (hapax/testing.h lists them). */
#ifdef HPX_TESTING
void hpx_stop_point(const char *name);
#define HPX_STOP(name) hpx_stop_point(name)
#else
#define HPX_STOP(name) ((void)0)
#endif

#endif
