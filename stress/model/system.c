/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model/system.c - what the code under test calls of libc, pthread and the kernel (redirect.syms leads it here).
 *
 * Mutexes, conditions and once controls live in the words of their namesakes, of which all are zero initially. Time
 * stands still until nobody can run. Waking a futex orders nothing: that is up to the atomics around it.
 */
#include "model/engine.h"
#include "model/shim.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CLOCKS = 1024 };

struct lock { /* pthread_mutex_t, pthread_cond_t, pthread_once_t */
	unsigned busy; /* holder + 1 */
	unsigned clock; /* of clocks[]; 0: none yet. Of a once control: whether it is done */
};

static struct mem_clock clocks[CLOCKS];
static unsigned clocks_used;
static struct {
	unsigned used;
	void (*destructor[KEYS])(void *);
} keys;
static struct mem_clock once_done;
static char last_text[400];

void system_reset(void)
{
	memset(clocks, 0, (clocks_used + 1) * sizeof(*clocks));
	clocks_used = 0;
	memset(&keys, 0, sizeof(keys));
	memset(&once_done, 0, sizeof(once_done));
	last_text[0] = 0;
}

static struct touch touch_of(const void *object) { return (struct touch){(uintptr_t)object >> 3, true, false}; }

static struct mem_clock *clock_of(struct lock *lock)
{
	if (!lock->clock) {
		if (clocks_used + 1 == CLOCKS)
			model_fail_at(NULL, "more than %d mutexes", CLOCKS);
		lock->clock = ++clocks_used;
	}
	return &clocks[lock->clock];
}

/* ---- mutexes, conditions ------------------------------------------------------------------------------------------ */

int model_mutex_init(struct lock *lock, const void *attributes)
{
	(void)attributes;
	lock->busy = lock->clock = 0;
	return 0;
}

int model_mutex_destroy(struct lock *lock)
{
	if (lock->busy)
		model_fail_at(CALLER, "a mutex is destroyed that is held");
	return 0;
}

static void take(struct lock *lock, const void *where)
{
	struct fibre *f = engine.current;

	arena_look(lock, sizeof(*lock), true, where);
	while (lock->busy) {
		if (lock->busy == f->index + 1)
			model_fail_at(where, "deadlock: a mutex is locked by its holder");
		model_block(BY_MUTEX, lock, UINT64_MAX, where);
	}
	lock->busy = f->index + 1;
	engine.held++;
	if (engine.memory)
		mem_acquire(f->index, clock_of(lock));
}

static void give(struct lock *lock, const void *where)
{
	arena_look(lock, sizeof(*lock), true, where);
	if (lock->busy != model_index() + 1)
		model_fail_at(where, "a mutex is unlocked by who does not hold it");
	if (engine.memory)
		mem_release(model_index(), clock_of(lock));
	lock->busy = 0;
	engine.held--;
	model_attend();
}

int model_mutex_lock(struct lock *lock)
{
	if (!engine.current)
		return 0;
	model_step(OP_LOCK, lock, touch_of(lock), CALLER);
	take(lock, CALLER);
	return 0;
}

int model_mutex_trylock(struct lock *lock)
{
	if (!engine.current)
		return 0;
	model_step(OP_LOCK, lock, touch_of(lock), CALLER);
	if (lock->busy)
		return EBUSY;
	take(lock, CALLER);
	return 0;
}

int model_mutex_unlock(struct lock *lock)
{
	if (!engine.current)
		return 0;
	if (search_before_unlock()) /* who tries the lock can meet it taken */
		model_step(OP_UNLOCK, lock, touch_of(lock), CALLER);
	else if (UNLIKELY(engine.tracing))
		trace_step(OP_UNLOCK, lock, CALLER);
	give(lock, CALLER);
	return 0;
}

int model_cond_wait(struct lock *cond, struct lock *mutex)
{
	model_step(OP_WAIT, cond, touch_of(cond), CALLER);
	give(mutex, CALLER);
	model_block(BY_COND, cond, UINT64_MAX, CALLER);
	model_step(OP_LOCK, mutex, touch_of(mutex), CALLER);
	take(mutex, CALLER);
	return 0;
}

int model_cond_timedwait(struct lock *cond, struct lock *mutex, const struct timespec *until)
{
	bool woken;

	model_step(OP_WAIT, cond, touch_of(cond), CALLER);
	give(mutex, CALLER);
	woken = model_block(BY_COND, cond, (uint64_t)until->tv_sec * 1000000000 + (uint64_t)until->tv_nsec, CALLER);
	model_step(OP_LOCK, mutex, touch_of(mutex), CALLER);
	take(mutex, CALLER);
	return woken ? 0 : ETIMEDOUT;
}

static unsigned wake(enum block by, const void *object, unsigned most)
{
	unsigned woken = 0;

	for (unsigned i = 0; i < engine.used && woken < most; i++) {
		struct fibre *f = &engine.fibres[i];

		if (f->state == BLOCKED && f->by == by && f->object == object) {
			model_wake(f);
			woken++;
		}
	}
	return woken;
}

int model_cond_broadcast(struct lock *cond)
{
	model_step(OP_WAKE, cond, touch_of(cond), CALLER);
	wake(BY_COND, cond, FIBRES);
	return 0;
}

int model_cond_signal(struct lock *cond)
{
	model_step(OP_WAKE, cond, touch_of(cond), CALLER);
	wake(BY_COND, cond, 1);
	return 0;
}

int model_once(struct lock *control, void (*function)(void))
{
	static unsigned never;
	unsigned *state = &control->busy; /* pthread_once_t is an int: 0, 1: being done, 2: done */

	(void)never;
	model_step(OP_LOCK, control, touch_of(control), CALLER);
	if (*state == 1)
		model_fail_at(CALLER, "two threads meet in pthread_once(): do it in set-up");
	if (*state == 0) {
		*state = 1;
		function();
		*state = 2;
		if (engine.memory)
			mem_release(model_index(), &once_done);
	}
	if (engine.memory)
		mem_acquire(model_index(), &once_done);
	return 0;
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

int model_key_create(unsigned *key, void (*destructor)(void *))
{
	if (keys.used == KEYS)
		return EAGAIN;
	*key = keys.used;
	keys.destructor[keys.used++] = destructor;
	return 0;
}

int model_setspecific(unsigned key, const void *value)
{
	engine.current->values[key] = (void *)(uintptr_t)value;
	return 0;
}

void *model_getspecific(unsigned key) { return engine.current->values[key]; }

void system_thread_exit(struct fibre *f)
{
	bool any = true;

	for (unsigned round = 0; any && round < 4; round++) {
		any = false;
		for (unsigned i = 0; i < keys.used; i++) {
			void *value = f->values[i];

			f->values[i] = NULL;
			if (!value || !keys.destructor[i])
				continue;
			any = true;
			keys.destructor[i](value);
		}
	}
}

static struct start {
	void *(*function)(void *);
	void *argument;
} starts[FIBRES];

static void started(void *arg)
{
	struct start *start = arg;

	start->function(start->argument);
}

int model_create(unsigned long *thread, const void *attributes, void *(*function)(void *), void *argument)
{
	struct fibre *f;

	(void)attributes;
	if (engine.used == FIBRES)
		return EAGAIN;
	starts[engine.used] = (struct start){function, argument};
	f = model_spawn(started, &starts[engine.used], "R", true);
	*thread = f->index + 1;
	return 0;
}

unsigned long model_pthread_self(void) { return model_index() + 1; }

int model_setname(unsigned long thread, const char *name)
{
	snprintf(engine.fibres[thread - 1].given_name, 16, "%s", name);
	return 0;
}

int model_getname(unsigned long thread, char *name, size_t size)
{
	snprintf(name, size, "%s", engine.fibres[thread - 1].given_name);
	return 0;
}

int model_cancel(int state, int *old)
{
	(void)state;
	if (old)
		*old = 0;
	return 0;
}

int model_cancel_type(int type, int *old) { return model_cancel(type, old); }
int *model_errno(void) { return engine.current ? &engine.current->error : &engine.fibres[MAIN].error; }

/* What the model has no use for. */
int model_pthread_attr_init(void *attributes) { return attributes ? 0 : EINVAL; }
int model_pthread_attr_destroy(void *attributes) { return attributes ? 0 : EINVAL; }
int model_pthread_attr_setdetachstate(void *attributes, int state) { return attributes && state >= 0 ? 0 : EINVAL; }
int model_pthread_attr_setstacksize(void *attributes, size_t stack) { return attributes && stack ? 0 : EINVAL; }
int model_pthread_sigmask(int how, const void *set, void *old) { return how >= 0 && (set || old) ? 0 : EINVAL; }
int model_sigfillset(void *set) { return set ? 0 : -1; }
int model_atexit(void (*fn)(void)) { return fn ? 0 : -1; } /* no run ends the process, and none forks */
int model_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	return prepare || parent || child ? 0 : EINVAL;
}
int model_madvise(void *address, size_t size, int advice) { return address && size && advice ? 0 : -1; }

/* ---- futexes, time ------------------------------------------------------------------------------------------------ */

static long futex(const uint32_t *word, int operation, uint32_t value, const struct timespec *relative, const void *where)
{
	uint64_t deadline = UINT64_MAX;

	if (operation == FUTEX_WAKE_PRIVATE) {
		/* the word may be gone: only its address is used */
		model_step(OP_WAKE, word, touch_of(word), where);
		return wake(BY_FUTEX, word, value);
	}
	model_step(OP_WAIT, word, touch_of(word), where);
	arena_look(word, sizeof(*word), false, where);
	if (*(const volatile uint32_t *)word != value) {
		engine.current->error = EAGAIN;
		return -1;
	}
	if (relative)
		deadline = engine.now + (uint64_t)relative->tv_sec * 1000000000 + (uint64_t)relative->tv_nsec;
	if (!model_block(BY_FUTEX, word, deadline, where)) {
		engine.current->error = ETIMEDOUT;
		return -1;
	}
	return 0;
}

long model_syscall(long number, ...)
{
	va_list args;
	long result;

	va_start(args, number);
	if (number == SYS_gettid) {
		result = model_index() + 1;
	} else if (number == SYS_futex) {
		const uint32_t *word = va_arg(args, const uint32_t *);
		int operation = va_arg(args, int);
		uint32_t value = va_arg(args, uint32_t);
		const struct timespec *relative = NULL;

		if (operation != FUTEX_WAKE_PRIVATE)
			relative = va_arg(args, const struct timespec *);
		result = futex(word, operation, value, relative, CALLER);
	} else {
		model_fail_at(CALLER, "system call %ld is not modelled", number);
	}
	va_end(args);
	return result;
}

int model_clock_gettime(int clock, struct timespec *ts)
{
	(void)clock;
	if (engine.current)
		model_step(OP_CLOCK, NULL, (struct touch){KEY_CLOCK, false, false}, CALLER);
	ts->tv_sec = (time_t)(engine.now / 1000000000);
	ts->tv_nsec = (long)(engine.now % 1000000000);
	return 0;
}

/* A sleep may be over at any time: nobody waits for it. */
int model_nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time, (void)left;
	model_give_way(CALLER);
	search_slept(engine.current);
	return 0;
}

int model_sched_yield(void)
{
	model_give_way(CALLER);
	return 0;
}

int model_getpid(void) { return 1; }

long model_getrandom(void *to, size_t size, unsigned flags)
{
	(void)flags;
	memset(to, 1, size);
	return (long)size;
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

void *model_malloc(size_t size) { return arena_alloc(size, 16, CALLER); }

void *model_aligned_alloc(size_t align, size_t size) { return arena_alloc(size, align, CALLER); }

void *model_calloc(size_t n, size_t size)
{
	void *block = arena_alloc(n * size, 16, CALLER);

	return block ? memset(block, 0, n * size) : NULL;
}

void model_free(void *block) { arena_free(block, CALLER); }

void *model_mmap(void *address, size_t size, int protection, int flags, int file, long offset)
{
	void *block = arena_alloc(size, 65536, CALLER);

	(void)address, (void)protection, (void)flags, (void)file, (void)offset;
	return block ? memset(block, 0, size) : MAP_FAILED;
}

int model_munmap(void *address, size_t size)
{
	(void)size;
	arena_free(address, CALLER);
	return 0;
}

static void range(const void *address, size_t size, bool write, const void *where)
{
	uint64_t offset = (uint64_t)(uintptr_t)address - ARENA_BASE;

	if (!engine.current || !size)
		return;
	if (offset < ARENA_SIZE)
		for (uint64_t i = offset >> 3; i <= (offset + size - 1) >> 3; i++)
			if (UNLIKELY(arena_shadow[i] != SHADOW_LIVE))
				arena_fault((const void *)(uintptr_t)(ARENA_BASE + i * 8), size, write, where);
	if (!engine.memory)
		return;
	if (write)
		mem_write(engine.current->index, (void *)(uintptr_t)address, size, where);
	else
		mem_read(engine.current->index, address, size, where);
}

void *model_memcpy(void *to, const void *from, size_t size)
{
	range(from, size, false, CALLER);
	range(to, size, true, CALLER);
	return memmove(to, from, size);
}

void *model_memmove(void *to, const void *from, size_t size)
{
	range(from, size, false, CALLER);
	range(to, size, true, CALLER);
	return memmove(to, from, size);
}

void *model_memset(void *to, int byte, size_t size)
{
	range(to, size, true, CALLER);
	return memset(to, byte, size);
}

int model_memcmp(const void *a, const void *b, size_t size)
{
	range(a, size, false, CALLER);
	range(b, size, false, CALLER);
	return memcmp(a, b, size);
}

/* ---- last words --------------------------------------------------------------------------------------------------- */

static void say(const char *text)
{
	size_t used = strlen(last_text);

	snprintf(last_text + used, sizeof(last_text) - used, "%s", text);
	if (last_text[0] && last_text[strlen(last_text) - 1] == '\n')
		last_text[strlen(last_text) - 1] = ' ';
}

int model_fprintf(FILE *to, const char *format, ...)
{
	char text[300];
	va_list args;

	(void)to;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	say(text);
	return 0;
}

int model_fputs(const char *text, FILE *to)
{
	(void)to;
	say(text);
	return 0;
}

size_t model_fwrite(const void *data, size_t size, size_t n, FILE *to)
{
	(void)to, (void)data, (void)size;
	return n;
}

void model_abort(void)
{
	model_fail_at(CALLER, "abort(): %s", last_text);
}
