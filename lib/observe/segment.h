/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * observe/segment.h - the statistics segment: what a process shares with whoever asks it for figures.
 *
 * A memory file that in /proc/PID/fd reads "/memfd:hapax-stats (deleted)". Who wants figures maps it shared, adds 1 to `ask` and wakes
 * that futex (shared, not private); the process writes one snapshot (JSON, as hapax_metrics_write()) and wakes `told`.
 *
 * Publication n is in half n & 1. A reader loads told = n (acquire; 0: nothing yet), copies that half's text, and begins again unless
 * `told` is still n. Neither side may trust what the other wrote: a reader checks offset and length against the size of the file
 * and parses with limits; the process reads nothing but `ask`. `pid` other than the process's: a forked child's copy of its
 * parent's segment; the child has none of its own yet.
 */
#ifndef HPX_SEGMENT_H
#define HPX_SEGMENT_H

#include <stdint.h>

#define HPX_SEGMENT_NAME "hapax-stats"
#define HPX_SEGMENT_MAGIC "hapax-s1" /* without its final zero */
#define HPX_SEGMENT_VERSION 1

struct hpx_segment {
	char magic[8];
	uint32_t version, pid;
	uint32_t ask, told;    /* futexes */
	uint64_t published_ns; /* CLOCK_MONOTONIC */
	uint32_t capacity;     /* of each half, in bytes */
	uint32_t length[2], offset[2]; /* of the texts, from the beginning of the file */
};

#endif
