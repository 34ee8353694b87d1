/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* observe/shown.c - keys of which the beginning was seen, as text: of a memo, its arguments. */
#include "memo/args.h"
#include "memo/memo.h"
#include "observe/figures.h"

/* The first `known` bytes are there. What is not all there is shown as it is if it can be read, else in hexadecimal. */
static void show(const char *bytes, size_t known, size_t size, char text[HPX_KEY_ROOM])
{
	static const hapax_key nothing = {.size = 0};
	hapax_key key;
	size_t length;

	known = known < size ? known : size;
	/* what is cut in the middle of a character is readable before it */
	for (size_t back = 1; size > known && back < 4 && back <= known; back++)
		if ((bytes[known - back] & 0xc0) != 0x80) {
			known -= hpx_utf8(bytes + known - back, back) ? 0 : back;
			break;
		}
	key = known ? hapax_key_bytes(bytes, known) : nothing;
	length = hpx_key_show(&key, text);
	if (size <= known || length > HPX_KEY_SHOWN) /* its hexadecimal digits are cut already */
		return;
	if (known <= 8 && known && length != known)
		length = 0; /* a number that is not the whole one */
	memcpy(text + length, "...", 4);
}

/* The list of arguments (memo/args.h) with commas between them. */
static void show_arguments(bool typed, const char *bytes, size_t known, size_t size, char text[HPX_KEY_ROOM])
{
	char all[HPX_KEY_SHOWN / 8 * (HPX_KEY_ROOM + 2) + 8] = "", part[HPX_KEY_ROOM];
	size_t at = 0, n = 0, length;
	uint64_t word;

	while (at + 8 <= known && at < size) {
		memcpy(&word, bytes + at, 8);
		length = word & (HPX_ARGS_ONLY - 1);
		show(bytes + at + 8, known - at - 8, length, part);
		n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", at ? ", " : "", part);
		at += 8 + ((length + 7) & ~(size_t)7);
		if ((word & HPX_ARGS_ONLY) && !typed)
			at = size; /* one of no bytes alone, and a word that says nothing */
	}
	if (at < size)
		n += (size_t)snprintf(all + n, sizeof(all) - n, ", ...");
	show(all, n, n, text);
}

void hpx_key_begin_show(const hapax_cache *c, const void *bytes, size_t size, char text[HPX_KEY_ROOM])
{
	const struct hapax_memo *memo = c->client ? HPX_CONTAINER_OF(c->client, struct hapax_memo, client) : NULL;

	if (memo && (memo->typed || size != 8))
		show_arguments(memo->typed, bytes, size < HPX_KEY_SHOWN ? size : HPX_KEY_SHOWN, size, text);
	else
		show(bytes, HPX_KEY_SHOWN, size, text);
}
