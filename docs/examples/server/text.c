/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text that grows, escaped for HTML; templates; contents. */
#include "server.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static bool text_room(struct text *text, size_t size)
{
	size_t room = text->room ? text->room : 4096;
	char *data;

	if (text->failed)
		return false;
	if (text->room - text->size > size)
		return true;
	while (room - text->size <= size)
		room *= 2;
	data = realloc(text->data, room);
	if (!data) {
		text->failed = true;
		return false;
	}
	text->data = data;
	text->room = room;
	return true;
}

void text_add(struct text *text, const char *data, size_t size)
{
	if (!text_room(text, size))
		return;
	memcpy(text->data + text->size, data, size);
	text->size += size;
}

void text_str(struct text *text, const char *string)
{
	text_add(text, string, strlen(string));
}

void text_html(struct text *text, const char *string)
{
	size_t plain;

	while (string && *string) {
		plain = strcspn(string, "&<>\"'");
		text_add(text, string, plain);
		string += plain;
		switch (*string) {
		case '&': text_str(text, "&amp;"); break;
		case '<': text_str(text, "&lt;"); break;
		case '>': text_str(text, "&gt;"); break;
		case '"': text_str(text, "&quot;"); break;
		case '\'': text_str(text, "&#39;"); break;
		default: return;
		}
		string++;
	}
}

void text_printf(struct text *text, const char *format, ...)
{
	va_list arguments;
	int size;

	va_start(arguments, format);
	size = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (size < 0 || !text_room(text, (size_t)size))
		return;
	va_start(arguments, format);
	vsnprintf(text->data + text->size, (size_t)size + 1, format, arguments);
	va_end(arguments);
	text->size += (size_t)size;
}

static const char *field_value(const struct field *fields, size_t n, const char *name, size_t size)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(fields[i].name) == size && !memcmp(fields[i].name, name, size))
			return fields[i].value ? fields[i].value : "";
	return NULL;
}

void text_template(struct text *text, const char *template, const struct field *fields, size_t n)
{
	const char *open, *close, *name, *value;
	bool raw;

	while ((open = strstr(template, "{{")) != NULL) {
		raw = open[2] == '{';
		name = open + (raw ? 3 : 2);
		close = strstr(name, raw ? "}}}" : "}}");
		if (!close)
			break;
		value = field_value(fields, n, name, (size_t)(close - name));
		text_add(text, template, (size_t)(open - template));
		if (!value)
			text_add(text, open, (size_t)(close - open) + (raw ? 3 : 2));
		else if (raw)
			text_str(text, value);
		else
			text_html(text, value);
		template = close + (raw ? 3 : 2);
	}
	text_str(text, template);
}

void text_free(struct text *text)
{
	free(text->data);
	*text = (struct text){0};
}

int content_take(struct content *content, struct text *text, const char *type)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: tells versions of one page apart, not friend from foe */
	char *data;

	if (text->failed) {
		text_free(text);
		return -1;
	}
	for (size_t i = 0; i < text->size; i++)
		hash = (hash ^ (unsigned char)text->data[i]) * UINT64_C(0x100000001b3);
	data = realloc(text->data, text->size + 1); /* it is kept: no more than it needs */
	content->data = data ? data : text->data;
	content->size = text->size;
	content->type = type;
	snprintf(content->etag, sizeof(content->etag), "\"%016" PRIx64 "\"", hash);
	*text = (struct text){0};
	if (content->data)
		return 0;
	return -1;
}

void content_clear(struct content *content)
{
	free(content->data);
	content->data = NULL;
}
