/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/sections.h - read sections of liburcu's bp flavour, entered and left `n` times: as inline code, and as calls. */
#ifndef HAPAX_BENCH_SECTIONS_H
#define HAPAX_BENCH_SECTIONS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Both return 2: the thread was in a section when it should have been, and then was not. */
unsigned hpx_bench_sections_inlined(unsigned n);
unsigned hpx_bench_sections_called(unsigned n);

#ifdef __cplusplus
}
#endif

#endif
