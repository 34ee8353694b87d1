/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* support/wrap.c - see wrap.h. Linked only into programs that wrap. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/wrap.h"

static struct fault {
	uint64_t from, until, seen, failed;
	int error;
} faults[WRAP_CALLS];

void wrap_fail(enum wrap_call call, uint64_t from, uint64_t until, int error)
{
	struct fault *f = &faults[call];

	__atomic_store_n(&f->from, UINT64_MAX, __ATOMIC_SEQ_CST);
	__atomic_store_n(&f->seen, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&f->failed, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&f->error, error, __ATOMIC_SEQ_CST);
	__atomic_store_n(&f->until, until, __ATOMIC_SEQ_CST);
	__atomic_store_n(&f->from, from, __ATOMIC_SEQ_CST);
}

void wrap_off(void)
{
	for (int i = 0; i < WRAP_CALLS; i++)
		__atomic_store_n(&faults[i].until, 0, __ATOMIC_SEQ_CST);
}

uint64_t wrap_seen(enum wrap_call call) { return __atomic_load_n(&faults[call].seen, __ATOMIC_SEQ_CST); }
uint64_t wrap_failed(enum wrap_call call) { return __atomic_load_n(&faults[call].failed, __ATOMIC_SEQ_CST); }

/* 0: go on; else the error. */
static int fails(enum wrap_call call)
{
	struct fault *f = &faults[call];
	uint64_t n = __atomic_add_fetch(&f->seen, 1, __ATOMIC_RELAXED);

	if (n < __atomic_load_n(&f->from, __ATOMIC_RELAXED) || n >= __atomic_load_n(&f->until, __ATOMIC_RELAXED))
		return 0;
	__atomic_add_fetch(&f->failed, 1, __ATOMIC_RELAXED);
	return __atomic_load_n(&f->error, __ATOMIC_RELAXED);
}

static bool fails_errno(enum wrap_call call)
{
	int error = fails(call);

	if (error)
		errno = error;
	return error != 0;
}

/* The names are the linker's. */
void *__real_malloc(size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __real_pthread_key_create(pthread_key_t *key, void (*destroy)(void *));
int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __real_clock_gettime(clockid_t clock, struct timespec *out);
long __real_syscall(long number, ...);
ssize_t __real_getrandom(void *buffer, size_t size, unsigned flags);

void *__wrap_malloc(size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_key_create(pthread_key_t *key, void (*destroy)(void *));
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);
long __wrap_syscall(long number, ...);
ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned flags);

void *__wrap_malloc(size_t size)
{
	return fails_errno(WRAP_MALLOC) ? NULL : __real_malloc(size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails_errno(WRAP_MALLOC) ? NULL : __real_aligned_alloc(align, size);
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	return fails_errno(WRAP_MMAP) ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	int error = fails(WRAP_PTHREAD_CREATE);

	return error ? error : __real_pthread_create(thread, attr, run, arg);
}

int __wrap_pthread_key_create(pthread_key_t *key, void (*destroy)(void *))
{
	int error = fails(WRAP_KEY_CREATE);

	return error ? error : __real_pthread_key_create(key, destroy);
}

/* Sanitizers' own keys, made before any constructor ran, are left alone. */
static pthread_key_t first_key;
static bool any_key;

__attribute__((constructor)) static void note_first_key(void)
{
	any_key = !__real_pthread_key_create(&first_key, NULL) && !pthread_key_delete(first_key);
}

int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
	int error = any_key && key < first_key ? 0 : fails(WRAP_SETSPECIFIC);

	return error ? error : __real_pthread_setspecific(key, value);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
	return fails_errno(WRAP_CLOCK) ? -1 : __real_clock_gettime(clock, out);
}

ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned flags)
{
	return fails_errno(WRAP_GETRANDOM) ? -1 : __real_getrandom(buffer, size, flags);
}

long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_futex) {
		int command = (int)a[1] & FUTEX_CMD_MASK;

		if (command == FUTEX_WAIT && fails_errno(WRAP_FUTEX_WAIT))
			return -1;
		if (command == FUTEX_WAKE && fails_errno(WRAP_FUTEX_WAKE))
			return -1;
	}
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
