/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a key to its content. Keys are what stands in the address, so that tables of hot keys can be read. */
#include "server.h"

#include <stdlib.h>
#include <string.h>

enum outcome page_load(struct source *source, const char *key, struct content *content)
{
	if (!strncmp(key, "record/", 7))
		return record_load(source->database, strtoull(key + 7, NULL, 10), content);
	if (!strncmp(key, "files/", 6))
		return file_load(source, key + 6, content);
	return NONE;
}
