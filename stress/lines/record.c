/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lines/record.c - what instrumented code calls, and what is remembered of it. */
#include "lines/lines.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"

void *__real_memset(void *, int, size_t);
void *__real_memcpy(void *, const void *, size_t);
int __real_memcmp(const void *, const void *, size_t);
int __real_pthread_mutex_lock(pthread_mutex_t *);
int __real_pthread_mutex_trylock(pthread_mutex_t *);
int __real_pthread_mutex_unlock(pthread_mutex_t *);
void *__real_malloc(size_t);
void __real_free(void *);
void *__real_aligned_alloc(size_t, size_t);
long __real_syscall(long number, ...);
int __real_sched_yield(void);

enum { OTHER = LINES_WORKERS, NOBODY };
enum { LINE_SHIFT = 6, SITES = 4, MOST_LINES = 1 << 18, INDEX = 1 << 19 };
#define CALLER __builtin_return_address(0)

struct use {
	uint32_t seen, seen_write; /* numbers of operations */
	uint32_t touched, written, transfers, rmw;
	const void *sites[SITES];
};
struct line {
	uintptr_t number;
	uint8_t holders, owner;   /* threads that have it; owner: the one that may write, or NOBODY */
	uint8_t touched;          /* by whom, since the last reset */
	uint32_t writes;          /* since then */
	struct use use[LINES_WORKERS][LINES_ACCOUNTS];
};
static struct line *lines;
static uint32_t *indexes, line_count; /* 0: free; else a place in lines, plus 1 */
static uint32_t calls[LINES_WORKERS][LINES_ACCOUNTS][3]; /* locks, allocations, system calls */
static uint32_t operation = 1;
static volatile int busy;
static __thread unsigned self = OTHER, part;
static __thread const char *stack_top;

static void *room(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void take(void)
{
	while (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE))
		__real_sched_yield();
	if (!lines) {
		lines = room(MOST_LINES * sizeof(*lines));
		indexes = room(INDEX * sizeof(*indexes));
	}
}

static void give(void) { __atomic_store_n(&busy, 0, __ATOMIC_RELEASE); }

static struct line *find(uintptr_t number)
{
	size_t i = number * UINT64_C(0x9e3779b97f4a7c15) >> 45;

	for (; indexes[i]; i = (i + 1) & (INDEX - 1))
		if (lines[indexes[i] - 1].number == number)
			return &lines[indexes[i] - 1];
	if (line_count == MOST_LINES)
		abort();
	indexes[i] = ++line_count;
	lines[line_count - 1] = (struct line){.number = number, .owner = NOBODY};
	return &lines[line_count - 1];
}

static void note_site(struct use *use, const void *site)
{
	for (unsigned i = 0; i < SITES; i++) {
		if (use->sites[i] == site)
			return;
		if (!use->sites[i]) {
			use->sites[i] = site;
			return;
		}
	}
}

/* A transfer: the access cannot go on with what this thread has, and somebody else has or had the line. */
static bool moves(struct line *line, bool write)
{
	uint8_t me = (uint8_t)(1u << self);
	bool had = line->holders & me, alone = line->holders == me;
	bool moved = line->holders && (write ? !alone : !had);

	if (write) {
		line->holders = me;
		line->owner = (uint8_t)self;
	} else if (!had) {
		line->holders |= me;
		line->owner = NOBODY;
	}
	return moved;
}

static void count_use(struct use *use, bool write, bool rmw, bool moved, const void *site)
{
	use->transfers += moved;
	use->rmw += rmw;
	note_site(use, site);
	if (use->seen != operation) {
		use->seen = operation;
		use->touched++;
	}
	if (write && use->seen_write != operation) {
		use->seen_write = operation;
		use->written++;
	}
}

static void look(const volatile void *at, size_t size, bool write, bool rmw, const void *site)
{
	uintptr_t first = (uintptr_t)at >> LINE_SHIFT, last = ((uintptr_t)at + (size ? size - 1 : 0)) >> LINE_SHIFT;

	if (self == NOBODY || !size)
		return;
	if (self < LINES_WORKERS && (const char *)at < stack_top && (const char *)at > (const char *)__builtin_frame_address(0))
		return;
	take();
	for (; first <= last; first++) {
		struct line *line = find(first);
		bool moved = moves(line, write);

		line->touched |= (uint8_t)(1u << self);
		if (write)
			line->writes++;
		if (self < LINES_WORKERS) {
			count_use(&line->use[self][part], write, rmw, moved, site);
			count_use(&line->use[self][LINES_WHOLE], write, rmw, moved, site);
		}
	}
	give();
}

static void count_call(unsigned which)
{
	if (self >= LINES_WORKERS)
		return;
	calls[self][part][which]++;
	calls[self][LINES_WHOLE][which]++;
}

/* ---- the driver's side ---------------------------------------------------------------------------------------------- */

void lines_drive(void) { self = NOBODY; }

void lines_begin(unsigned worker, unsigned account)
{
	operation += account == 0; /* workers take turns */
	part = account;
	stack_top = __builtin_frame_address(0);
	self = worker;
}

void lines_end(void) { self = NOBODY; }

void lines_reset(bool forget)
{
	take();
	if (forget) {
		madvise(lines, MOST_LINES * sizeof(*lines), MADV_DONTNEED);
		madvise(indexes, INDEX * sizeof(*indexes), MADV_DONTNEED);
		line_count = 0;
	}
	for (size_t i = 0; i < line_count; i++) {
		lines[i].touched = 0, lines[i].writes = 0;
		__real_memset(lines[i].use, 0, sizeof(lines[i].use));
	}
	__real_memset(calls, 0, sizeof(calls));
	give();
}

void lines_sum(unsigned worker, unsigned account, double operations, struct lines_count *out)
{
	*out = (struct lines_count){.private = 0};
	for (size_t i = 0; i < line_count; i++) {
		const struct line *line = &lines[i];
		const struct use *use = &line->use[worker][account];
		bool shared = line->touched & ~(1u << worker);

		if (!use->touched)
			continue;
		if (!shared)
			out->private += use->touched;
		else if (line->writes < operations * LINES_SELDOM)
			out->read_only += use->touched;
		else
			out->read_written += use->touched - use->written, out->written += use->written;
		out->transfers += use->transfers;
		if (use->transfers >= operations / 100) {
			uint32_t most = use->rmw > use->transfers ? use->rmw : use->transfers;

			out->busiest = most > out->busiest ? most : out->busiest;
		}
		*(shared ? &out->rmw_shared : &out->rmw_private) += use->rmw;
	}
	out->locks = calls[worker][account][0];
	out->allocations = calls[worker][account][1];
	out->system_calls = calls[worker][account][2];
	for (double *value = &out->private; value <= &out->system_calls; value++)
		*value /= operations;
}

double lines_written_in(unsigned worker, const void *from, size_t size, double operations)
{
	uintptr_t first = (uintptr_t)from >> LINE_SHIFT, last = ((uintptr_t)from + size - 1) >> LINE_SHIFT;
	double written = 0;

	for (size_t i = 0; i < line_count; i++)
		if (lines[i].number >= first && lines[i].number <= last && lines[i].touched & ~(1u << worker))
			written += lines[i].use[worker][LINES_WHOLE].written;
	return written / operations;
}

extern char __executable_start;

static void name_site(const void *site, FILE *out)
{
	char command[200], program[200], line[200] = "?";
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
	FILE *in;

	if (length < 0)
		return;
	program[length] = 0;
	snprintf(command, sizeof(command), "addr2line -fs -e '%.120s' %lx 2>/dev/null", program,
		 (unsigned long)((const char *)site - &__executable_start - 1));
	in = popen(command, "r");
	if (in && fgets(line, sizeof(line), in))
		line[strcspn(line, "\n")] = 0;
	if (in)
		pclose(in);
	fprintf(out, " %s", line);
}

void lines_sites(unsigned worker, unsigned account, double operations, FILE *out)
{
	for (size_t i = 0; i < line_count; i++) {
		const struct line *line = &lines[i];
		const struct use *use = &line->use[worker][account];

		if (!(line->touched & ~(1u << worker)) || use->touched < operations / 50)
			continue;
		fprintf(out, "      %.2f touched, %.2f written, %.2f moved%s:", use->touched / operations, use->written / operations,
			use->transfers / operations, line->writes < operations * LINES_SELDOM ? ", nobody writes it" : "");
		for (unsigned s = 0; s < SITES && use->sites[s]; s++)
			name_site(use->sites[s], out);
		fputc('\n', out);
	}
}

/* ---- plain accesses ------------------------------------------------------------------------------------------------- */

#define PLAIN(size)                                                                                 \
	void __tsan_read##size(void *a) { look(a, size, false, false, CALLER); }                   \
	void __tsan_write##size(void *a) { look(a, size, true, false, CALLER); }                   \
	void __tsan_unaligned_read##size(void *a) { look(a, size, false, false, CALLER); }         \
	void __tsan_unaligned_write##size(void *a) { look(a, size, true, false, CALLER); }         \
	void __tsan_volatile_read##size(void *a) { look(a, size, false, false, CALLER); }          \
	void __tsan_volatile_write##size(void *a) { look(a, size, true, false, CALLER); }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)
void __tsan_read_range(void *a, unsigned long size) { look(a, size, false, false, CALLER); }
void __tsan_write_range(void *a, unsigned long size) { look(a, size, true, false, CALLER); }
void __tsan_func_entry(void *where) { (void)where; }
void __tsan_func_exit(void) {}
void __tsan_init(void) {}

/* ---- atomics -------------------------------------------------------------------------------------------------------- */

#define RMW(bits, type, name, builtin)                                                              \
	type __tsan_atomic##bits##_##name(volatile type *a, type value, int order)                  \
	{                                                                                           \
		(void)order;                                                                        \
		look(a, sizeof(*a), true, true, CALLER);                                            \
		return builtin(a, value, __ATOMIC_SEQ_CST);                                         \
	}
#define CAS(bits, type, name)                                                                       \
	int __tsan_atomic##bits##_compare_exchange_##name(volatile type *a, type *expected, type value, int order, int failing) \
	{                                                                                           \
		(void)order, (void)failing;                                                         \
		look(a, sizeof(*a), true, true, CALLER);                                            \
		return __atomic_compare_exchange_n(a, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
	}
#define ATOMICS(bits, type)                                                                         \
	type __tsan_atomic##bits##_load(const volatile type *a, int order)                          \
	{                                                                                           \
		(void)order;                                                                        \
		look(a, sizeof(*a), false, false, CALLER);                                          \
		return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                        \
	}                                                                                           \
	void __tsan_atomic##bits##_store(volatile type *a, type value, int order)                   \
	{                                                                                           \
		look(a, sizeof(*a), true, order == __ATOMIC_SEQ_CST, CALLER);                       \
		__atomic_store_n(a, value, __ATOMIC_SEQ_CST);                                       \
	}                                                                                           \
	RMW(bits, type, exchange, __atomic_exchange_n)                                              \
	RMW(bits, type, fetch_add, __atomic_fetch_add)                                              \
	RMW(bits, type, fetch_sub, __atomic_fetch_sub)                                              \
	RMW(bits, type, fetch_and, __atomic_fetch_and)                                              \
	RMW(bits, type, fetch_or, __atomic_fetch_or)                                                \
	RMW(bits, type, fetch_xor, __atomic_fetch_xor)                                              \
	RMW(bits, type, fetch_nand, __atomic_fetch_nand)                                            \
	CAS(bits, type, strong)                                                                     \
	CAS(bits, type, weak)                                                                       \
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *a, type expected, type value, int order, int failing) \
	{                                                                                           \
		(void)order, (void)failing;                                                         \
		look(a, sizeof(*a), true, true, CALLER);                                            \
		__atomic_compare_exchange_n(a, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
		return expected;                                                                    \
	}
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
void __tsan_atomic_thread_fence(int order) { __atomic_thread_fence(order); }
void __tsan_atomic_signal_fence(int order) { (void)order; }

/* ---- calls outward (--wrap) ----------------------------------------------------------------------------------------- */

void *__wrap_memset(void *to, int byte, size_t size)
{
	look(to, size, true, false, CALLER);
	return __real_memset(to, byte, size);
}
void *__wrap_memcpy(void *to, const void *from, size_t size)
{
	look(from, size, false, false, CALLER);
	look(to, size, true, false, CALLER);
	return __real_memcpy(to, from, size);
}
int __wrap_memcmp(const void *a, const void *b, size_t size)
{
	look(a, size, false, false, CALLER);
	look(b, size, false, false, CALLER);
	return __real_memcmp(a, b, size);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	count_call(0);
	look(mutex, sizeof(*mutex), true, true, CALLER);
	return __real_pthread_mutex_lock(mutex);
}
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
	count_call(0);
	look(mutex, sizeof(*mutex), true, true, CALLER);
	return __real_pthread_mutex_trylock(mutex);
}
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	look(mutex, sizeof(*mutex), true, true, CALLER);
	return __real_pthread_mutex_unlock(mutex);
}

void *__wrap_malloc(size_t size)
{
	count_call(1);
	return __real_malloc(size);
}
void __wrap_free(void *block)
{
	count_call(1);
	__real_free(block);
}
void *__wrap_aligned_alloc(size_t align, size_t size)
{
	count_call(1);
	return __real_aligned_alloc(align, size);
}

long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
	va_list args;
	long a[6];

	va_start(args, number);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	count_call(2);
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
int __wrap_sched_yield(void)
{
	count_call(2);
	return __real_sched_yield();
}
