/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * top/view.h - a snapshot as text: whole, for pipes, and as one screen.
 */
#ifndef TOP_VIEW_H
#define TOP_VIEW_H

#include "snapshot.h"

/* Everything, in columns that stay the same, without escape sequences. */
void view_plain(struct text *out, const struct snapshot *s, pid_t pid);

struct screen {
	unsigned rows, columns;
	bool attributes;     /* bold, reverse and colours */
	bool has_selected;
	uint64_t selected;   /* id of the cache whose keys and flights are shown */
	size_t first;        /* the first cache shown; view_screen() keeps the selected one in sight */
	enum order order;
	bool reverse, help;
	const char *message; /* "" or what is wrong; made by this program */
};

/* One screen: lines with their attributes, ready to be written from the top left corner. `s` may be NULL. */
void view_screen(struct text *out, struct screen *screen, const struct snapshot *s, pid_t pid);

#endif
