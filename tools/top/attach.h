/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * top/attach.h - the statistics segment of another process: found, asked, read.
 *
 * The other process is not trusted: it may be broken, or somebody else's. Nothing in the segment is read through a mapping,
 * where a file cut short would be a SIGBUS, but with pread(); the mapping serves the futex calls alone, which fail then.
 */
#ifndef TOP_ATTACH_H
#define TOP_ATTACH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "text.h"

#define WHY 256 /* room for a message */

enum attached {
	ATTACHED = 0,
	ATTACH_NONE,   /* there is no such process, or it has no segment */
	ATTACH_DENIED, /* it may not be looked at */
	ATTACH_BAD     /* there is one, which cannot be used */
};

struct segment {
	pid_t pid;
	int fd, process; /* the segment; a pidfd, or -1 */
	char path[64];   /* of the segment in /proc */
	void *map;       /* one page, for futex calls only */
	uint32_t before; /* the publication that was there when it was last asked */
};

/* Opens the segment of `pid`; else `why` says what is the matter. */
enum attached segment_open(struct segment *s, pid_t pid, char why[WHY]);
void segment_close(struct segment *s);

/* Asks for a snapshot. False: the segment cannot be used any more. */
bool segment_ask(struct segment *s, char why[WHY]);
/* 1: the answer is in `text`, which the caller drops; 0: not there yet; -1: it is unusable, and `why` says how. */
int segment_answer(struct segment *s, struct text *text, char why[WHY]);
/* Sleeps until there may be an answer, or so many milliseconds have passed. */
void segment_wait(const struct segment *s, unsigned ms);
/* The process is there, and the segment still its own. */
bool segment_alive(const struct segment *s, char why[WHY]);
/* Why there is no answer, as far as the system knows. */
void segment_silence(const struct segment *s, char why[WHY]);

/* Of a process, from /proc. */
void process_name(pid_t pid, struct text *name); /* made fit for a terminal; "?" if it is not known */
uint64_t process_age_ns(pid_t pid);              /* 0: not known */
/* Calls `found` for every process whose segment can be opened, by number. Returns how many could not be looked at. */
unsigned process_each(void (*found)(struct segment *s, void *ctx), void *ctx);

uint64_t now_ns(void); /* monotonic */

#endif
