/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keys as text, and JSON written piece by piece: whatever the bytes, a parser reads back what is meant. */
#include <json-c/json.h>

#include "base/json.h"
#include "unit/cached.h"

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static void shown(const void *data, size_t size, const char *as)
{
	hapax_key key = hapax_key_bytes(data, size);
	char text[HPX_KEY_ROOM];

	memset(text, 'x', sizeof(text));
	CHECK_EQ(hpx_key_show(&key, text), strlen(as));
	CHECK_STR(text, as);
}

TEST(keys_that_can_be_read_are_shown_as_they_are)
{
	static const char most[] = "123456789 123456789 123456789 123456789 12345678";

	shown(NULL, 0, "");
	shown("a b\"\\%", 6, "a b\"\\%");
	shown("/srv/\xc3\xbc/\xe2\x82\xac/\xf0\x9f\x98\x80", 16, "/srv/\xc3\xbc/\xe2\x82\xac/\xf0\x9f\x98\x80");
	shown(most, 48, most);
	shown("123456789 123456789 123456789 123456789 123456789", 49, "123456789 123456789 123456789 123456789 12345678...");
	/* a character that does not fit goes whole */
	shown("123456789 123456789 123456789 123456789 1234567\xc3\xbc", 49,
	      "123456789 123456789 123456789 123456789 1234567...");
}

TEST(other_keys_are_numbers_or_hexadecimal)
{
	uint8_t one = 200;
	uint16_t two = 7;
	uint32_t four = 4000000000;
	uint64_t eight = UINT64_MAX - 1;
	char long_one[100];

	shown(&one, 1, "200");
	shown(&two, 2, "7");
	shown(&four, 4, "4000000000");
	shown(&eight, 8, "18446744073709551614");
	shown("\0\1\xff", 3, "0x0001ff");
	shown("a\nb", 3, "0x610a62");
	shown("\x7f\x7f\x7f", 3, "0x7f7f7f");
	memset(long_one, 1, sizeof(long_one));
	shown(long_one, 23, "0x0101010101010101010101010101010101010101010101");
	shown(long_one, 24, "0x0101010101010101010101010101010101010101010101...");
	shown(long_one, sizeof(long_one), "0x0101010101010101010101010101010101010101010101...");
}

TEST(what_is_no_utf8_is_not_shown_as_if_it_were)
{
	shown("ab\xc3", 3, "0x6162c3");             /* cut */
	shown("\xc0\xaf/", 3, "0xc0af2f");          /* longer than need be */
	shown("\xe0\x80\xaf", 3, "0xe080af");
	shown("\xed\xa0\x80", 3, "0xeda080");       /* half of a pair */
	shown("\xf4\x90\x80\x80/", 5, "0xf49080802f"); /* beyond the last */
	shown("\xc2\x85/", 3, "0xc2852f");          /* a control character */
	shown("\xe2\x80\xa8", 3, "0xe280a8");       /* a line separator */
	shown("\xff\xfe\xfd", 3, "0xfffefd");
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

struct text {
	char *text;
	size_t n, room;
	unsigned calls, fails_at;
};

static int keep(const char *text, size_t n, void *ctx)
{
	struct text *t = ctx;

	CHECK(n > 0);
	if (++t->calls == t->fails_at)
		return 77;
	CHECK(!t->fails_at || t->calls < t->fails_at);
	if (t->room < t->n + n + 1) {
		t->room = 2 * (t->n + n + 1);
		t->text = realloc(t->text, t->room);
		CHECK(t->text);
	}
	memcpy(t->text + t->n, text, n);
	t->n += n;
	t->text[t->n] = 0;
	return 0;
}

static struct json_object *parsed(const struct text *t)
{
	struct json_tokener *tokener = json_tokener_new_ex(32);
	struct json_object *object;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, t->text, (int)t->n + 1);
	if (json_tokener_get_error(tokener) != json_tokener_success)
		TEST_FAIL("%s in %s", json_tokener_error_desc(json_tokener_get_error(tokener)), t->text);
	json_tokener_free(tokener);
	return object;
}

static struct json_object *member(struct json_object *object, const char *name)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, name, &value))
		TEST_FAIL("no %s", name);
	return value;
}

TEST(every_kind_of_value_is_read_back)
{
	struct text t = {0};
	struct hpx_json j;
	struct json_object *object, *list;
	char bytes[256];

	for (int i = 0; i < 255; i++)
		bytes[i] = (char)(i + 1);
	bytes[255] = 0;
	hpx_json_begin(&j, keep, &t);
	hpx_json_open(&j, NULL, '{');
	hpx_json_number(&j, "most", UINT64_MAX);
	hpx_json_signed(&j, "least", INT64_MIN);
	hpx_json_bool(&j, "yes", true);
	hpx_json_null(&j, "none");
	hpx_json_text(&j, "a \"name\"\n", bytes);
	hpx_json_text(&j, "no text", NULL);
	hpx_json_key(&j, "no key", NULL);
	hpx_json_address(&j, "nowhere", NULL);
	hpx_json_address(&j, "somewhere", (void *)0xabcd0);
	hpx_json_open(&j, "empty", '[');
	hpx_json_close(&j, ']');
	hpx_json_open(&j, "list", '[');
	for (uint64_t i = 0; i < 1000; i++)
		hpx_json_number(&j, NULL, i);
	hpx_json_close(&j, ']');
	hpx_json_decimal(&j, "share", 0.12345);
	hpx_json_decimal(&j, "below", -2.0004);
	hpx_json_decimal(&j, "almost", 0.9996);
	hpx_json_close(&j, '}');
	CHECK_EQ(hpx_json_end(&j), 0);
	CHECK(t.calls > 1);
	object = parsed(&t);
	CHECK_EQ(json_object_get_uint64(member(object, "most")), UINT64_MAX);
	CHECK(json_object_get_int64(member(object, "least")) == INT64_MIN);
	CHECK(json_object_get_boolean(member(object, "yes")));
	CHECK(!member(object, "none") && !member(object, "no text") && !member(object, "no key") && !member(object, "nowhere"));
	CHECK_STR(json_object_get_string(member(object, "somewhere")), "0xabcd0");
	CHECK_EQ(json_object_array_length(member(object, "empty")), 0);
	list = member(object, "list");
	CHECK_EQ(json_object_array_length(list), 1000);
	for (size_t i = 0; i < 1000; i++)
		CHECK_EQ(json_object_get_uint64(json_object_array_get_idx(list, i)), i);
	CHECK_STR(json_object_get_string(member(object, "share")), "0.123");
	CHECK_STR(json_object_get_string(member(object, "below")), "-2.000");
	CHECK_STR(json_object_get_string(member(object, "almost")), "1.000");
	/* ASCII comes back, every byte that is no UTF-8 as U+FFFD */
	CHECK_EQ(json_object_get_string_len(member(object, "a \"name\"\n")), 127 + 3 * 128);
	CHECK(!memcmp(json_object_get_string(member(object, "a \"name\"\n")), bytes, 127));
	CHECK_STR(json_object_get_string(member(object, "a \"name\"\n")) + 127 + 3 * 127, "\xef\xbf\xbd");
	json_object_put(object);
	free(t.text);
}

TEST(a_writer_that_fails_is_not_called_again)
{
	for (unsigned at = 1; at < 5; at++) {
		struct text t = {.fails_at = at};
		struct hpx_json j;

		hpx_json_begin(&j, keep, &t);
		hpx_json_open(&j, NULL, '[');
		for (uint64_t i = 0; i < 2000; i++)
			hpx_json_number(&j, NULL, i);
		hpx_json_close(&j, ']');
		CHECK_EQ(hpx_json_end(&j), 77);
		CHECK_EQ(t.calls, at);
		free(t.text);
	}
}
