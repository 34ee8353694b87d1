/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * support/heap.h - forks of a process with threads under AddressSanitizer.
 *
 * Its allocator (gcc 12) does not take its locks over a fork: what another thread is doing in there just then, the child
 * waits for, for ever. So under it nobody is in there while the process forks: the tests' allocator goes in between
 * test_heap_enter() and test_heap_leave(), and so does pthread_create() until the new thread has begun, as starting one
 * allocates on both sides. Plain calls of malloc() in tests that fork, and threads that end meanwhile, are not covered.
 * Without AddressSanitizer these do nothing.
 */
#ifndef TEST_SUPPORT_HEAP_H
#define TEST_SUPPORT_HEAP_H

#if defined(__SANITIZE_ADDRESS__)
void test_heap_enter(void);
void test_heap_leave(void);
#else
static inline void test_heap_enter(void)
{
}
static inline void test_heap_leave(void)
{
}
#endif

#endif
