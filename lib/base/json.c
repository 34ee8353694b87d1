/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/json.c - JSON written piece by piece, keys as text. */
#include <inttypes.h>

#include "base/json.h"

/* ---- characters -------------------------------------------------------------------------------------------------- */

/* 0: it is not UTF-8. */
static uint32_t character(const char *text, size_t n, size_t *bytes)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* a longer form of a smaller one is none */
	const unsigned char *at = (const unsigned char *)text;
	size_t length = !n ? 0 : at[0] < 0x80 ? 1 : at[0] < 0xc0 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf8 ? 4 : 0;
	uint32_t c;

	*bytes = length && length <= n ? length : 0;
	if (!*bytes)
		return 0;
	c = length == 1 ? at[0] : at[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			*bytes = 0;
		c = c << 6 | (at[i] & 0x3f);
	}
	if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		*bytes = 0;
	return c;
}

size_t hpx_utf8(const char *text, size_t n)
{
	size_t bytes;

	character(text, n, &bytes);
	return bytes;
}

/* Neither a control character nor one that breaks lines. */
static bool printable(uint32_t c) { return c >= 0x20 && (c < 0x7f || c >= 0xa0) && c != 0x2028 && c != 0x2029; }

/* As many whole characters as fit; false: there is something that is not to be shown as it is. */
static bool readable(const char *data, size_t size, char *text, size_t *n)
{
	size_t bytes;

	for (*n = 0; *n < size; *n += bytes) {
		uint32_t c = character(data + *n, size - *n, &bytes);

		if (!bytes || !printable(c))
			return false;
		if (*n + bytes > HPX_KEY_SHOWN)
			break;
		memcpy(text + *n, data + *n, bytes);
	}
	return true;
}

static uint64_t number(const char *data, size_t size)
{
	uint64_t n = 0;

	for (size_t i = 0; i < size; i++) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		n = n << 8 | (unsigned char)data[size - 1 - i];
#else
		n = n << 8 | (unsigned char)data[i];
#endif
	}
	return n;
}

size_t hpx_key_show(const hapax_key *key, char text[HPX_KEY_ROOM])
{
	const char *data = key->data;
	size_t n, shown;

	if (readable(data, key->size, text, &n)) {
		shown = n;
	} else if (key->size <= 8 && !(key->size & (key->size - 1))) {
		shown = key->size;
		n = (size_t)snprintf(text, HPX_KEY_ROOM, "%" PRIu64, number(data, key->size));
	} else {
		n = (size_t)snprintf(text, HPX_KEY_ROOM, "0x");
		for (shown = 0; shown < key->size && n + 2 <= HPX_KEY_SHOWN; shown++)
			n += (size_t)snprintf(text + n, 3, "%02x", (unsigned char)data[shown]);
	}
	text[n] = 0;
	if (shown < key->size)
		n += (size_t)snprintf(text + n, HPX_KEY_ROOM - n, "...");
	return n;
}

/* ---- what is written --------------------------------------------------------------------------------------------- */

static void flush(struct hpx_json *j)
{
	size_t n = j->n;

	j->n = 0;
	if (n && !j->status)
		j->status = j->write(j->text, n, j->ctx);
}

void hpx_json_raw(struct hpx_json *j, const char *text, size_t n)
{
	while (n && !j->status) {
		size_t part = sizeof(j->text) - j->n;

		part = n < part ? n : part;
		memcpy(j->text + j->n, text, part);
		j->n += part;
		text += part;
		n -= part;
		if (j->n == sizeof(j->text))
			flush(j);
	}
}

static void put(struct hpx_json *j, const char *text) { hpx_json_raw(j, text, strlen(text)); }

/* What is not UTF-8 becomes U+FFFD, byte by byte. */
static void quoted(struct hpx_json *j, const char *text, size_t n)
{
	char code[8];
	size_t bytes;

	put(j, "\"");
	for (size_t i = 0; i < n; i += bytes ? bytes : 1) {
		uint32_t c = character(text + i, n - i, &bytes);

		if (!bytes) {
			put(j, "\xef\xbf\xbd");
		} else if (c == '"' || c == '\\') {
			snprintf(code, sizeof(code), "\\%c", (char)c);
			put(j, code);
		} else if (!printable(c)) {
			snprintf(code, sizeof(code), "\\u%04x", c & 0xffff);
			put(j, code);
		} else {
			hpx_json_raw(j, text + i, bytes);
		}
	}
	put(j, "\"");
}

static void named(struct hpx_json *j, const char *name)
{
	if (j->comma)
		put(j, ",");
	j->comma = true;
	if (name) {
		quoted(j, name, strlen(name));
		put(j, ":");
	}
}

void hpx_json_begin(struct hpx_json *j, hapax_write_fn write, void *ctx)
{
	j->write = write;
	j->ctx = ctx;
	j->status = 0;
	j->comma = false;
	j->n = 0;
}

int hpx_json_end(struct hpx_json *j)
{
	flush(j);
	return j->status;
}

void hpx_json_open(struct hpx_json *j, const char *name, char bracket)
{
	named(j, name);
	hpx_json_raw(j, &bracket, 1);
	j->comma = false;
}

void hpx_json_close(struct hpx_json *j, char bracket)
{
	hpx_json_raw(j, &bracket, 1);
	j->comma = true;
}

void hpx_json_number(struct hpx_json *j, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	named(j, name);
	put(j, text);
}

void hpx_json_signed(struct hpx_json *j, const char *name, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	named(j, name);
	put(j, text);
}

/* By whole numbers: the decimal point of printf() is the locale's. */
void hpx_json_decimal(struct hpx_json *j, const char *name, double value)
{
	uint64_t thousandths = (uint64_t)((value < 0 ? -value : value) * 1000 + 0.5);
	char text[48];

	snprintf(text, sizeof(text), "%s%" PRIu64 ".%03u", value < 0 && thousandths ? "-" : "", thousandths / 1000,
		 (unsigned)(thousandths % 1000));
	named(j, name);
	put(j, text);
}

void hpx_json_bool(struct hpx_json *j, const char *name, bool value)
{
	named(j, name);
	put(j, value ? "true" : "false");
}

void hpx_json_null(struct hpx_json *j, const char *name)
{
	named(j, name);
	put(j, "null");
}

void hpx_json_text(struct hpx_json *j, const char *name, const char *text)
{
	if (!text) {
		hpx_json_null(j, name);
		return;
	}
	named(j, name);
	quoted(j, text, strlen(text));
}

void hpx_json_key(struct hpx_json *j, const char *name, const hapax_key *key)
{
	char text[HPX_KEY_ROOM];

	if (!key) {
		hpx_json_null(j, name);
		return;
	}
	hpx_key_show(key, text);
	hpx_json_text(j, name, text);
}

void hpx_json_address(struct hpx_json *j, const char *name, const void *address)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIxPTR, (uintptr_t)address);
	hpx_json_text(j, name, address ? text : NULL);
}
