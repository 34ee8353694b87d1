/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * top/watch.h - the screen: refreshed until somebody quits, or the process has gone.
 */
#ifndef TOP_WATCH_H
#define TOP_WATCH_H

#include "attach.h"
#include "snapshot.h"

#define PATIENCE_NS 3000000000u /* a process that has not answered for so long is said not to */

/* Returns the exit status, with the terminal as it was; `why` says what a status other than 0 is for. */
int watch(struct segment *s, uint64_t interval_ns, enum order order, char why[WHY]);

#endif
