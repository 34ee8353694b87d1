/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/probe.h - points where a tracer may look on (USDT, provider "hapax"); docs/probes.md lists them with their arguments.
 *
 * A probe is one no-op instruction and a note that says where its arguments are. Nobody looking, it costs that and what it takes to
 * have the arguments at hand; so they are what the code around has anyway. None is on the path of a plain hit. Without sys/sdt.h,
 * in the model and under sanitizers nothing is left of them.
 */
#ifndef HPX_BASE_PROBE_H
#define HPX_BASE_PROBE_H

#if defined(HPX_PROBES) && !defined(HPX_MODEL) && !defined(HPX_BROKEN_BUILD)
#include <sys/sdt.h>
/* its macros leave out arguments that clang's pedantry wants */
#define HPX_PROBE_QUIET _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wpedantic\"")
#define HPX_PROBE_LOUD _Pragma("GCC diagnostic pop")
#define HPX_PROBE1(name, a) do { HPX_PROBE_QUIET STAP_PROBE1(hapax, name, a); HPX_PROBE_LOUD } while (0)
#define HPX_PROBE2(name, a, b) do { HPX_PROBE_QUIET STAP_PROBE2(hapax, name, a, b); HPX_PROBE_LOUD } while (0)
#define HPX_PROBE3(name, a, b, c) do { HPX_PROBE_QUIET STAP_PROBE3(hapax, name, a, b, c); HPX_PROBE_LOUD } while (0)
#define HPX_PROBE4(name, a, b, c, d) do { HPX_PROBE_QUIET STAP_PROBE4(hapax, name, a, b, c, d); HPX_PROBE_LOUD } while (0)
#else /* named, not evaluated: nothing is unused, and nothing is there */
#define HPX_PROBE1(name, a) ((void)sizeof(a))
#define HPX_PROBE2(name, a, b) (HPX_PROBE1(name, a), (void)sizeof(b))
#define HPX_PROBE3(name, a, b, c) (HPX_PROBE2(name, a, b), (void)sizeof(c))
#define HPX_PROBE4(name, a, b, c, d) (HPX_PROBE3(name, a, b, c), (void)sizeof(d))
#endif

/* An array's address, not its contents. */
#define HPX_PROBE_TEXT(array) ((const char *)(array))

#endif
