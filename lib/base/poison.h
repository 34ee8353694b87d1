/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/poison.h - what the pool tells those who look for use after free.
 *
 * The pool hands blocks out again without giving them to an allocator in between. HPX_POOL_BLOCK_FREED() says that nobody
 * may use a block any more, but for the pool itself and the 8 bytes at `link`; HPX_POOL_BLOCK_TAKEN() that it is in use.
 *
 * With AddressSanitizer every block is an allocation of its own that is freed after its grace period, so whoever uses it
 * then is reported with the stacks of both. HPX_POISON() is for bytes that nobody may use although their allocation
 * stands: the payload of a dead object, of which readers look at nothing but what lies before it; link words of what is
 * retired; what a payload is rounded up by. The pool takes the poison away before it gives memory back.
 */
#ifndef HPX_BASE_POISON_H
#define HPX_BASE_POISON_H

#if defined(__SANITIZE_ADDRESS__)
#define HPX_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HPX_ASAN 1
#endif
#endif

#ifdef HPX_ASAN
#include <sanitizer/asan_interface.h>
#define HPX_POISON(at, size) __asan_poison_memory_region((at), (size))
#define HPX_UNPOISON(at, size) __asan_unpoison_memory_region((at), (size))
#else
#define HPX_POISON(at, size) ((void)sizeof(at), (void)sizeof(size))
#define HPX_UNPOISON(at, size) ((void)sizeof(at), (void)sizeof(size))
#endif

#ifdef HPX_MODEL
#define HPX_POISONS 1
#define HPX_POOL_BLOCK_FREED(block, size, link) model_block_freed((block), (size), (link))
#define HPX_POOL_BLOCK_TAKEN(block, size) model_block_taken((block), (size))
#else
#define HPX_POISONS 0
#define HPX_POOL_BLOCK_FREED(block, size, link) ((void)sizeof(block), (void)sizeof(size), (void)sizeof(link))
#define HPX_POOL_BLOCK_TAKEN(block, size) ((void)sizeof(block), (void)sizeof(size))
#endif

#endif
