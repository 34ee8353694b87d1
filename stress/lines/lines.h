/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lines/lines.h - which cache lines an operation touches, and with whom it shares them.
 *
 * The library's sources as they ship, compiled with the compiler's instrumentation for ThreadSanitizer, so that every access,
 * atomic or plain, liburcu's inlined read sections included, is a call; the runtime behind it is ours (record.c). What liburcu's
 * and ConcurrencyKit's own compiled code, the allocator and the kernel do is not seen, but calls to them are counted.
 *
 * Two threads take turns, one operation each. A line that both touch in a phase, and one of them writes, is shared and written.
 * Beside that the lines are followed as a cache-coherent machine would move them: each access that finds its line in
 * another thread's hands is a transfer. As the threads alternate, that is the most an operation can cost: none of them
 * ever finds a line where it left it if the other one wanted it.
 */
#ifndef LINES_H
#define LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Accounts: the parts of an operation, and all of it. */
/* Per operation: less often than batches of 64 close, it is something else that happened meanwhile (the reclaimer's tick, a bucket
 * that moved, what was left of an operation before), and no part of the operation. */
#define LINES_SELDOM 0.01
enum { LINES_WORKERS = 2, LINES_PARTS = 2, LINES_WHOLE = LINES_PARTS, LINES_ACCOUNTS };

/* What one worker did in a phase, summed over its operations. */
struct lines_count {
	double private;        /* lines nobody else touches: stripes, magazines, the reader's record; not its stack */
	double read_only;      /* lines that others touch too, and nobody writes */
	double read_written;   /* that others touch, that somebody writes, and this operation only reads */
	double written;        /* that others touch, and this operation writes */
	double transfers;      /* see above */
	double busiest;        /* those of the one line that moves most; or its read-modify-writes, if they are more: threads that
				  do not take turns may lose it before each */
	double rmw_shared;     /* atomic read-modify-writes in lines that others touch */
	double rmw_private;
	double locks;          /* of mutexes; they are read-modify-writes too */
	double allocations;    /* calls of the allocator, either way */
	double system_calls;
};

/* By the thread that drives, while the workers rest. Forgets what was counted; `forget`: and who has which line. */
void lines_reset(bool forget);
/* Of a worker, divided by `operations`. */
void lines_sum(unsigned worker, unsigned account, double operations, struct lines_count *out);
/* Lines that the worker shares in one operation of 50 or more, and the code that touched them. */
void lines_sites(unsigned worker, unsigned account, double operations, FILE *out);
/* How many lines with bytes of these the worker wrote and others touched. */
double lines_written_in(unsigned worker, const void *from, size_t size, double operations);

/* By a worker, around each part of an operation, in their order. */
void lines_begin(unsigned worker, unsigned part);
void lines_end(void);
/* The calling thread drives: it is not recorded. Others, which are neither, are recorded as somebody else. */
void lines_drive(void);

#endif
