/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/shim.h - included before every source of lib/ in the model build.
 *
 * The sources stay as they are: what they call of libc and pthread is redirected in the object files (redirect.syms),
 * their atomics and plain accesses come in through the compiler's instrumentation (runtime.c), and the ports to liburcu
 * and ConcurrencyKit are replaced by headers of the same names (replace/). What is left is a thread's own storage.
 */
#ifndef HPX_MODEL_SHIM_H
#define HPX_MODEL_SHIM_H

#include <stdbool.h>
#include <stddef.h>

enum { MODEL_STORAGE = 512 };
/* The calling fibre's, at the same address for all its life. */
void *model_thread_self(void) __attribute__((const));
void *model_thread_state(void) __attribute__((const));

/* Pool blocks, for base/poison.h: all bytes of a block but `hole` (8 bytes the pool writes to) are freed; or all live. */
void model_block_freed(void *block, size_t size, void *hole);
void model_block_taken(void *block, size_t size);

#endif
