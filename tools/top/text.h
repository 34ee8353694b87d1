/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * top/text.h - text that grows, numbers for people, and names of others made fit for a terminal.
 */
#ifndef TOP_TEXT_H
#define TOP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	char *at; /* not terminated */
	size_t n, room;
};

void text_add(struct text *t, const char *bytes, size_t n);
void text_put(struct text *t, const char *string);
__attribute__((format(printf, 2, 3))) void text_printf(struct text *t, const char *format, ...);
void text_drop(struct text *t);

/* Bytes from another process. May be anything. */
struct foreign {
	const char *at;
	size_t n;
};

/* What the output can show beside ASCII; sets the locale. */
void text_locale(bool terminal);

/*
 * Appends foreign text in at most `cells` columns and returns how many it took; what is too long ends with "~". Control
 * characters, bytes that are no UTF-8 and characters that change the direction or the place of others come out as \x1b or
 * \u202e.
 */
size_t text_foreign(struct text *t, struct foreign f, size_t cells);
/* Appends JSON text that json-c has made, with escapes for whatever is no printable character. */
void text_json(struct text *t, struct foreign f);

/* Numbers: 999, 1.2k, 34.5M; less than 100 with a decimal where `fraction`. NAN: "-". Each at most 7 characters. */
const char *human_number(char *buffer, size_t room, double value, bool fraction);
const char *human_bytes(char *buffer, size_t room, uint64_t bytes);  /* 1.2 MiB */
const char *human_ns(char *buffer, size_t room, uint64_t ns);        /* 850us, 12.3ms, 3.2s, 4m05s, 2h13m, 5d03h */
const char *human_percent(char *buffer, size_t room, double share);  /* 97.3; NAN: "-" */
#define HUMAN 16 /* bytes of a buffer that is always enough */

#endif
