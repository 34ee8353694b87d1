/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/json.h - JSON written piece by piece, without memory; keys and names as text.
 *
 *      struct hpx_json j;
 *      hpx_json_begin(&j, write, ctx);
 *      hpx_json_open(&j, NULL, '{');
 *      hpx_json_number(&j, "pid", 12);
 *      hpx_json_close(&j, '}');
 *      status = hpx_json_end(&j);                            {"pid":12}
 *
 * In an array, and for the outermost value, `name` is NULL. Once the writer has returned something else than 0 it is not called
 * again. Whatever bytes keys and names have, the result is valid JSON in UTF-8.
 */
#ifndef HPX_JSON_H
#define HPX_JSON_H

#include <hapax/base.h>

#include "base/check.h"

struct hpx_json {
	hapax_write_fn write;
	void *ctx;
	int status; /* the writer's */
	bool comma; /* another value of this object or array was there before */
	size_t n;
	char text[1000]; /* not written yet */
};

void hpx_json_begin(struct hpx_json *j, hapax_write_fn write, void *ctx);
int hpx_json_end(struct hpx_json *j);    /* writes what is left: what the writer returned */
void hpx_json_raw(struct hpx_json *j, const char *text, size_t n); /* as it is; also for text that is no JSON */
void hpx_json_open(struct hpx_json *j, const char *name, char bracket);
void hpx_json_close(struct hpx_json *j, char bracket);
void hpx_json_number(struct hpx_json *j, const char *name, uint64_t value);
void hpx_json_signed(struct hpx_json *j, const char *name, int64_t value);
void hpx_json_decimal(struct hpx_json *j, const char *name, double value); /* finite; three places */
void hpx_json_bool(struct hpx_json *j, const char *name, bool value);
void hpx_json_null(struct hpx_json *j, const char *name);
void hpx_json_text(struct hpx_json *j, const char *name, const char *text);      /* NULL: null */
void hpx_json_key(struct hpx_json *j, const char *name, const hapax_key *key);   /* NULL: null */
void hpx_json_address(struct hpx_json *j, const char *name, const void *address); /* "0x..."; NULL: null */

/*
 * A key as text: printable UTF-8 as it is; 1, 2, 4 or 8 other bytes as an unsigned number in native byte order; others as "0x" and
 * hexadecimal digits. Of what is longer than 48 bytes the beginning and "...". Returns its length; it is terminated.
 */
#define HPX_KEY_SHOWN 48
#define HPX_KEY_ROOM (HPX_KEY_SHOWN + 4)
size_t hpx_key_show(const hapax_key *key, char text[HPX_KEY_ROOM]);

/* How many bytes the character has with which `text` begins; 0: it is not UTF-8. */
size_t hpx_utf8(const char *text, size_t n);

#endif
