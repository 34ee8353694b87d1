/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "text.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

static bool utf8 = true;   /* the output shows UTF-8 */
static bool classes;       /* the C library knows classes and widths of characters */

void text_locale(bool terminal)
{
	setlocale(LC_CTYPE, "");
	utf8 = !terminal || !strcmp(nl_langinfo(CODESET), "UTF-8");
	classes = setlocale(LC_CTYPE, "C.UTF-8") != NULL;
}

void text_add(struct text *t, const char *bytes, size_t n)
{
	if (t->room - t->n < n) {
		size_t room = (t->n + n) * 2 + 256;
		char *at = realloc(t->at, room);

		if (!at) {
			fputs("hapax-top: out of memory\n", stderr);
			abort();
		}
		t->at = at;
		t->room = room;
	}
	memcpy(t->at + t->n, bytes, n);
	t->n += n;
}

void text_put(struct text *t, const char *string)
{
	text_add(t, string, strlen(string));
}

void text_printf(struct text *t, const char *format, ...)
{
	char line[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (n > 0)
		text_add(t, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

void text_drop(struct text *t)
{
	free(t->at);
	*t = (struct text){.at = NULL};
}

/* ---- what others wrote ------------------------------------------------------------------------------------------- */

/* The character at `at` and how many bytes it has; -1: no UTF-8, one byte. */
static int32_t decode(const unsigned char *at, size_t n, size_t *length)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = at[0];
	size_t i, need = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;

	*length = 1;
	if (need == 1)
		return (int32_t)c;
	if (!need || need > n)
		return -1;
	c &= 0x7fu >> need;
	for (i = 1; i < need; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (at[i] & 0x3fu);
	}
	if (c < least[need] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return -1;
	*length = need;
	return (int32_t)c;
}

/* The columns that a character takes; -1: it is not to be shown as it is. */
static int cells_of(int32_t c)
{
	static const struct {
		int32_t from, to;
	} never[] = {{0x00ad, 0x00ad},  {0x061c, 0x061c}, {0x115f, 0x1160}, {0x180e, 0x180e},   {0x200b, 0x200f},
		     {0x2028, 0x202e},  {0x2060, 0x206f}, {0x3164, 0x3164}, {0xe000, 0xf8ff},   {0xfe00, 0xfe0f},
		     {0xfeff, 0xfeff},  {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0xe0000, 0x10ffff}};
	size_t i;

	if (c < 0x20 || (c >= 0x7f && c < 0xa0))
		return -1;
	if (c < 0x7f)
		return 1;
	for (i = 0; i < sizeof(never) / sizeof(*never); i++)
		if (c >= never[i].from && c <= never[i].to)
			return -1;
	if (!classes)
		return 1;
	return iswprint((wint_t)c) ? wcwidth((wchar_t)c) : -1;
}

size_t text_foreign(struct text *t, struct foreign f, size_t cells)
{
	const unsigned char *at = (const unsigned char *)f.at;
	size_t used = 0, fits = t->n, fits_used = 0, length, i;
	unsigned marks = 0; /* without a column of their own, on the last character */

	for (i = 0; i < f.n; i += length) {
		int32_t c = decode(at + i, f.n - i, &length);
		char shown[12];
		int width = c < 0 ? -1 : cells_of(c);

		marks = width == 0 ? marks + 1 : 0;
		if (width > 0 || (width == 0 && used && marks <= 2))
			width = c < 0x80 || utf8 ? width : -1;
		else
			width = -1;
		if (width >= 0) {
			memcpy(shown, at + i, length);
			shown[length] = 0;
		} else {
			width = snprintf(shown, sizeof(shown), c < 0 || c < 0x80 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%06x",
					 c < 0 ? at[i] : (unsigned)c);
		}
		if (used + (size_t)width > cells) {
			t->n = fits;
			if (cells)
				text_put(t, "~");
			return cells ? fits_used + 1 : 0;
		}
		text_put(t, shown);
		used += (size_t)width;
		if (used < cells) { /* there is room for the "~" */
			fits = t->n;
			fits_used = used;
		}
	}
	return used;
}

void text_json(struct text *t, struct foreign f)
{
	const unsigned char *at = (const unsigned char *)f.at;
	size_t length, i;

	for (i = 0; i < f.n; i += length) {
		int32_t c = decode(at + i, f.n - i, &length);

		if (c >= 0 && cells_of(c) >= 0)
			text_add(t, (const char *)at + i, length);
		else if (c < 0)
			text_put(t, "\\ufffd");
		else if (c < 0x10000)
			text_printf(t, "\\u%04x", (unsigned)c);
		else
			text_printf(t, "\\u%04x\\u%04x", 0xd800u + ((unsigned)(c - 0x10000) >> 10), 0xdc00u + ((unsigned)c & 0x3ffu));
	}
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static const char *scaled(char *buffer, size_t room, double value, double step, const char *const *units, bool fraction)
{
	unsigned unit = 0;

	while (units[unit + 1] && value >= 999.5) {
		value /= step;
		unit++;
	}
	if (value >= 1e15)
		snprintf(buffer, room, "huge");
	else
		snprintf(buffer, room, value < 99.95 && (unit || fraction) ? "%.1f%s" : "%.0f%s", value, units[unit]);
	return buffer;
}

const char *human_number(char *buffer, size_t room, double value, bool fraction)
{
	static const char *const units[] = {"", "k", "M", "G", "T", "P", "E", NULL};

	if (isnan(value))
		snprintf(buffer, room, "-");
	else if (value <= 0)
		snprintf(buffer, room, "0");
	else
		scaled(buffer, room, value, 1000, units, fraction);
	return buffer;
}

const char *human_bytes(char *buffer, size_t room, uint64_t bytes)
{
	static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB", NULL};

	return scaled(buffer, room, (double)bytes, 1024, units, false);
}

const char *human_ns(char *buffer, size_t room, uint64_t ns)
{
	uint64_t s = ns / 1000000000u;

	if (ns < 1000)
		snprintf(buffer, room, "%uns", (unsigned)ns);
	else if (ns < 1000000)
		snprintf(buffer, room, "%uus", (unsigned)(ns / 1000));
	else if (ns < 100000000)
		snprintf(buffer, room, "%u.%ums", (unsigned)(ns / 1000000), (unsigned)(ns / 100000 % 10));
	else if (ns < 1000000000)
		snprintf(buffer, room, "%ums", (unsigned)(ns / 1000000));
	else if (s < 60)
		snprintf(buffer, room, "%u.%us", (unsigned)s, (unsigned)(ns / 100000000 % 10));
	else if (s < 3600)
		snprintf(buffer, room, "%um%02us", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(buffer, room, "%uh%02um", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		snprintf(buffer, room, "%ud%02uh", (unsigned)(s / 86400), (unsigned)(s / 3600 % 24));
	return buffer;
}

const char *human_percent(char *buffer, size_t room, double share)
{
	if (isnan(share))
		snprintf(buffer, room, "-");
	else if (share > 0.9995 && share < 1) /* not everything: never shown as 100 */
		snprintf(buffer, room, "99.9");
	else
		snprintf(buffer, room, share >= 0.9995 ? "100" : "%.1f", share < 0 ? 0 : share * 100);
	return buffer;
}
