/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leak reports as JSON: they say what hapax_leak_report() says, in valid JSON, whatever names and keys are made of. */
#include <errno.h>
#include <json-c/json.h>
#include <unistd.h>

#include "base/json.h"
#include "unit/leaks.h"

struct text {
	char *text;
	size_t n, room;
	unsigned calls, fails_at;
	int (*then)(void *then_ctx);
	void *then_ctx;
};

static int keep(const char *text, size_t n, void *ctx)
{
	struct text *t = ctx;

	CHECK(n > 0);
	t->calls++;
	if (t->calls == t->fails_at)
		return -1234;
	CHECK(!t->fails_at || t->calls < t->fails_at);
	if (t->room < t->n + n + 1) {
		t->room = 2 * (t->n + n + 1);
		t->text = realloc(t->text, t->room);
		CHECK(t->text);
	}
	memcpy(t->text + t->n, text, n);
	t->n += n;
	t->text[t->n] = 0;
	return t->then ? t->then(t->then_ctx) : 0;
}

static struct json_object *member(struct json_object *object, const char *name)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, name, &value))
		TEST_FAIL("no %s", name);
	return value;
}

static void text_is(struct json_object *object, const char *name, const char *text)
{
	struct json_object *value = member(object, name);

	CHECK_EQ(!value, !text);
	if (text)
		CHECK_STR(json_object_get_string(value), text);
}

static void address_is(struct json_object *object, const char *name, const void *address)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%jx", (uintmax_t)(uintptr_t)address);
	text_is(object, name, address ? text : NULL);
}

static void number_is(struct json_object *object, const char *name, uint64_t n)
{
	CHECK(json_object_is_type(member(object, name), json_type_int));
	CHECK_EQ(json_object_get_uint64(member(object, name)), n);
}

static void truth_is(struct json_object *object, const char *name, bool truth)
{
	CHECK(json_object_is_type(member(object, name), json_type_boolean));
	CHECK_EQ(json_object_get_boolean(member(object, name)), truth);
}

static void same_from(struct json_object *leak, const struct said *s)
{
	struct json_object *list = member(leak, "from"), *edge;

	CHECK_EQ(json_object_array_length(list), s->leak.n_from);
	for (size_t i = 0; i < s->leak.n_from; i++) {
		edge = json_object_array_get_idx(list, i);
		CHECK_EQ(json_object_object_length(edge), 3);
		address_is(edge, "object", s->from[i].object);
		text_is(edge, "type", s->from[i].type);
		if (s->from[i].offset == HAPAX_LEAK_THROUGH_HOLDER)
			CHECK(!member(edge, "offset"));
		else
			number_is(edge, "offset", s->from[i].offset);
	}
}

static void same_sites(struct json_object *leak, const struct said *s)
{
	struct json_object *list = member(leak, "sites"), *site;

	CHECK_EQ(json_object_array_length(list), s->leak.n_sites);
	for (size_t i = 0; i < s->leak.n_sites; i++) {
		site = json_object_array_get_idx(list, i);
		CHECK_EQ(json_object_object_length(site), 3);
		address_is(site, "address", s->site[i].address);
		text_is(site, "text", s->site[i].text);
		number_is(site, "taken", s->site[i].taken);
	}
}

/* `holder`: as the report has it, if that is no UTF-8. */
static void same_leak(struct json_object *leak, const struct said *s, const char *holder)
{
	hapax_key key = hapax_key_bytes(s->key, s->key_size);
	char text[HPX_KEY_ROOM];

	hpx_key_show(&key, text);
	CHECK_EQ(json_object_object_length(leak), 10);
	text_is(leak, "type", s->leak.type);
	address_is(leak, "object", s->leak.object);
	text_is(leak, "key", s->leak.key ? text : NULL);
	text_is(leak, "holder", !s->leak.holder ? NULL : holder ? holder : s->holder);
	truth_is(leak, "held", s->leak.held);
	truth_is(leak, "inherited", s->leak.inherited);
	truth_is(leak, "cycle", s->leak.cycle);
	number_is(leak, "count", s->leak.count);
	same_from(leak, s);
	same_sites(leak, s);
}

/* Parses what is written of `env`, and compares it with what look() has got. */
static struct json_object *reported(hapax_env *env, struct text *t, const char *holder)
{
	struct json_tokener *tokener = json_tokener_new_ex(8);
	struct json_object *report, *list;

	errno = 5;
	CHECK_EQ(hapax_leak_report_json(env, keep, t), 0);
	CHECK_EQ(errno, 5);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	CHECK_EQ(t->text[t->n - 1], '\n');
	report = json_tokener_parse_ex(tokener, t->text, (int)t->n - 1);
	if (json_tokener_get_error(tokener) != json_tokener_success)
		TEST_FAIL("%s in %s", json_tokener_error_desc(json_tokener_get_error(tokener)), t->text);
	json_tokener_free(tokener);
	look(env);
	CHECK_EQ(json_object_object_length(report), 6);
	number_is(report, "format", 1);
	text_is(report, "version", hapax_version());
	number_is(report, "pid", (uint64_t)getpid());
	truth_is(report, "tracing", hapax_leak_tracing());
	number_is(report, "alive", objects);
	list = member(report, "leaks");
	CHECK_EQ(json_object_array_length(list), saids);
	for (size_t i = 0; i < saids; i++)
		same_leak(json_object_array_get_idx(list, i), &all[i], holder);
	return report;
}

static void report_end(struct json_object *report, struct text *t)
{
	json_object_put(report);
	free(t->text);
	*t = (struct text){0};
}

TEST(nothing_alive_is_an_empty_list)
{
	hapax_env *env = test_env();
	struct text t = {0};

	report_end(reported(env, &t, NULL), &t);
	CHECK_EQ(saids, 0);
	look_end();
	test_env_end(env);
}

TEST(a_report_has_everything_that_its_function_would_be_told)
{
	hapax_env *env = test_env();
	hapax_table *table = links_table(env);
	hapax_weak_map_options o = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env, .name = "notes"};
	hapax_weak_map *notes;
	struct link *a = link_new(env), *b = link_new(env), *note = link_new(env);
	struct item *items[40];
	struct text t = {0};
	char key[16];

	a->next = kept(b);
	b->next = kept(a);
	note->next = kept(a);
	table_put(table, HAPAX_STR("a \"b\"\\/\t"), a);
	table_put(table, HAPAX_KEY_OF(b->number), b);
	CHECK_EQ(hapax_weak_map_create(&notes, &o), 0);
	CHECK_EQ(hapax_weak_map_put(notes, a, note), 0);
	for (int i = 0; i < 40; i++) {
		items[i] = item_new(env, i);
		snprintf(key, sizeof(key), "item %d", i);
		if (i % 2)
			table_put(table, HAPAX_STR(key), items[i]);
	}
	report_end(reported(env, &t, NULL), &t);
	CHECK_EQ(objects, 43);
	CHECK(said_of(a, "links")->leak.cycle);
	CHECK(pointed_from(said_of(note, "notes"), a, HAPAX_LEAK_THROUGH_HOLDER));
	CHECK(said_of(note, "notes")->leak.held);
	for (int i = 0; i < 40; i++)
		hapax_release(items[i]);
	hapax_release(note);
	a->next = b->next = NULL;
	hapax_release(b);
	hapax_release(b);
	hapax_release(a);
	CHECK_EQ(hapax_weak_map_remove(notes, a), 0);
	hapax_release(a);
	report_end(reported(env, &t, NULL), &t);
	CHECK_EQ(objects, 0);
	table_end(table, 0);
	hapax_weak_map_destroy(notes);
	look_end();
	test_env_end(env);
}

/* One key of each single byte and of each pair with a quote, and a name that is no text. */
TEST(any_bytes_in_keys_and_names)
{
	hapax_env *env = test_env();
	hapax_table_options o = {HAPAX_TABLE_OPTIONS_INIT, .env = env, .name = "\"\\\n\xff<"};
	struct item *items[512];
	struct text t = {0};
	hapax_table *table;
	char key[3];

	CHECK_EQ(hapax_table_create(&table, &o), 0);
	for (int i = 0; i < 512; i++) {
		items[i] = item_new(env, i);
		key[0] = (char)(i & 255);
		key[1] = '"';
		key[2] = (char)(i & 255);
		table_put(table, HAPAX_BYTES(key, i < 256 ? 1 : 3), items[i]);
	}
	report_end(reported(env, &t, "\"\\\n\xef\xbf\xbd<"), &t);
	CHECK_EQ(saids, 512);
	for (int i = 0; i < 512; i++)
		hapax_release(items[i]);
	table_end(table, 0);
	look_end();
	test_env_end(env);
}

/* ---- the writer -------------------------------------------------------------------------------------------------- */

TEST(no_writer_is_an_error)
{
	hapax_env *env = test_env();

	CHECK_EQ(hapax_leak_report_json(env, NULL, NULL), HAPAX_ENULL);
	CHECK_EQ(hapax_leak_report_json(NULL, NULL, NULL), HAPAX_ENULL);
	test_env_end(env);
}

TEST(what_the_writer_returns_ends_the_report)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *items[100];
	unsigned at;

	for (int i = 0; i < 100; i++) {
		items[i] = item_new(env, i);
		table_put(table, HAPAX_KEY_OF(i), items[i]);
	}
	for (at = 1;; at++) {
		struct text t = {.fails_at = at};
		int status = hapax_leak_report_json(env, keep, &t);

		free(t.text);
		if (!status)
			break;
		CHECK_EQ(status, -1234);
		CHECK_EQ(t.calls, at);
	}
	CHECK(at > 5);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(hapax_count(items[i]), 1);
		hapax_release(items[i]);
	}
	table_end(table, 0);
	test_env_end(env);
}

/* So many that the writer is called in the middle of the report. */
enum { MANY = 30 };

static void many(hapax_env *env, hapax_table *table, struct item *items[MANY])
{
	for (int i = 0; i < MANY; i++) {
		items[i] = item_new(env, i);
		table_put(table, HAPAX_KEY_OF(i), items[i]);
	}
}

struct calling {
	hapax_env *env;
	hapax_table *table;
	struct item *items[MANY];
	unsigned inner;
};

static int call_everything(void *ctx)
{
	struct calling *c = ctx;
	struct item *item = item_new(c->env, 2);
	struct text t = {0};

	if (c->inner++)
		return hapax_release(item), 0;
	CHECK_EQ(hapax_table_put(c->table, HAPAX_STR("more"), item), 0);
	CHECK_EQ(hapax_leak_report_json(c->env, keep, &t), 0);
	CHECK(strstr(t.text, "\"more\""));
	free(t.text);
	hapax_release(item);
	hapax_reclaim(c->env);
	for (int i = 0; i < MANY; i++) {
		CHECK_EQ(hapax_count(c->items[i]), 2); /* one is the report's, which is in the middle */
		hapax_release(c->items[i]);
		CHECK(item_is_alive(c->items[i]));
	}
	hapax_table_destroy(c->table);
	return 0;
}

TEST(the_writer_may_call_everything)
{
	hapax_env *env = test_env();
	struct calling c = {.env = env, .table = table_new(env)};
	struct text t = {.then = call_everything, .then_ctx = &c};

	items_reset();
	many(env, c.table, c.items);
	CHECK_EQ(hapax_leak_report_json(env, keep, &t), 0);
	CHECK(c.inner > 1);
	free(t.text);
	look(env);
	CHECK_EQ(objects, 0);
	look_end();
	test_env_end(env);
}

#ifndef __clang__ /* which does not unwind cleanups: it aborts (death.c) */

static int leave_thread(void *ctx)
{
	free(((struct text *)ctx)->text);
	pthread_exit(NULL);
}

static void *report_and_leave(void *env)
{
	struct text t = {.then = leave_thread};

	t.then_ctx = &t;
	if (hapax_leak_report_json(env, keep, &t))
		TEST_FAIL("the report returned");
	TEST_FAIL("the report returned");
}

TEST(a_writer_that_leaves_its_thread_leaves_nothing_held)
{
	hapax_env *env = test_env();
	hapax_table *table = table_new(env);
	struct item *items[MANY];

	many(env, table, items);
	test_join(test_thread(report_and_leave, env));
	for (int i = 0; i < MANY; i++) {
		CHECK_EQ(hapax_count(items[i]), 1);
		hapax_release(items[i]);
	}
	table_end(table, 0);
	test_env_end(env);
}

#endif
