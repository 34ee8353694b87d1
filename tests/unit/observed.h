/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unit/observed.h - what the tests of observation share: the snapshot as JSON, and finding one's way in it. */
#ifndef TEST_OBSERVED_H
#define TEST_OBSERVED_H

#include <json-c/json.h>

#include "unit/cached.h"

struct text {
	char *at;
	size_t n;
	int calls, refuse_at, refusal; /* the call of that number is answered with refusal */
};

MAYBE_UNUSED static int text_take(const char *piece, size_t n, void *ctx)
{
	struct text *t = ctx;

	if (++t->calls == t->refuse_at)
		return t->refusal;
	t->at = realloc(t->at, t->n + n + 1);
	CHECK(t->at);
	memcpy(t->at + t->n, piece, n);
	t->n += n;
	t->at[t->n] = 0;
	return 0;
}

/* Strictly: nothing may follow, all of it is UTF-8. */
MAYBE_UNUSED static struct json_object *parsed(const char *text, size_t n)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *object;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, text, (int)n + 1);
	if (json_tokener_get_error(tokener) != json_tokener_success)
		TEST_FAIL("%s in %s", json_tokener_error_desc(json_tokener_get_error(tokener)), text);
	CHECK_EQ(json_tokener_get_parse_end(tokener), n);
	json_tokener_free(tokener);
	return object;
}

MAYBE_UNUSED static struct json_object *snapshot(void)
{
	struct text t = {.at = NULL};
	struct json_object *object;

	CHECK_EQ(hapax_metrics_write(HAPAX_METRICS_JSON, text_take, &t), 0);
	object = parsed(t.at, t.n);
	free(t.at);
	return object;
}

MAYBE_UNUSED static struct json_object *field(struct json_object *of, const char *name)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(of, name, &value))
		TEST_FAIL("there is no %s in %s", name, json_object_to_json_string(of));
	return value;
}

MAYBE_UNUSED static int64_t number_in(struct json_object *of, const char *name)
{
	struct json_object *value = field(of, name);

	CHECK_EQ(json_object_get_type(value), json_type_int);
	return json_object_get_int64(value);
}

MAYBE_UNUSED static const char *text_in(struct json_object *of, const char *name) { return json_object_get_string(field(of, name)); }

/* The element of the list `name` whose `key` has this text; NULL: none. */
MAYBE_UNUSED static struct json_object *listed(struct json_object *of, const char *name, const char *key, const char *text)
{
	struct json_object *list = field(of, name);

	CHECK_EQ(json_object_get_type(list), json_type_array);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		if (!strcmp(text_in(json_object_array_get_idx(list, i), key), text))
			return json_object_array_get_idx(list, i);
	return NULL;
}

#endif
