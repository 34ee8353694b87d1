/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/poison.h - what the pool tells those who look for use after free.
 *
 * The pool hands blocks out again without giving them to an allocator in between. HPX_POOL_BLOCK_FREED() says that nobody
 * may use a block any more, but for the pool itself and the 8 bytes at `link`; HPX_POOL_BLOCK_TAKEN() that it is in use.
 */
#ifndef HPX_BASE_POISON_H
#define HPX_BASE_POISON_H

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
