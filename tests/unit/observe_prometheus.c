/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The figures in Prometheus' text format: that every line is of the format, that metrics are declared once and their samples
 * together, that each figure is the statistics' own, and that docs/metrics.md lists what there is and nothing else.
 */
#include "base/json.h"
#include "unit/memos.h"
#include "unit/observed.h"

/* ---- a strict reader --------------------------------------------------------------------------------------------- */

enum { MOST_SAMPLES = 4000, MOST_METRICS = 100, MOST_LABELS = 8 };

struct sample {
	char metric[64], labels[300]; /* as they were written */
	char label[MOST_LABELS][2][128]; /* name, value without escapes */
	unsigned label_count;
	double value;
	char number[48];
};

static struct {
	struct sample sample[MOST_SAMPLES];
	size_t samples;
	char metric[MOST_METRICS][64];
	bool counter[MOST_METRICS], seen[MOST_METRICS];
	size_t metrics;
} page;

static bool name_character(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static const char *take_name(const char *at, char *name, size_t room)
{
	size_t n = 0;

	while (name_character(*at, n == 0)) {
		CHECK(n + 1 < room);
		name[n++] = *at++;
	}
	name[n] = 0;
	CHECK(n > 0);
	return at;
}

static const char *take_text(const char *at, const char *text)
{
	if (strncmp(at, text, strlen(text)) != 0)
		TEST_FAIL("'%s' expected at '%.60s'", text, at);
	return at + strlen(text);
}

/* HELP and TYPE, of a metric that was not there before. */
static const char *take_head(const char *at)
{
	char *name = page.metric[page.metrics], again[64];
	size_t n;

	CHECK(page.metrics < MOST_METRICS);
	at = take_text(at, "# HELP ");
	at = take_name(at, name, sizeof(page.metric[0]));
	at = take_text(at, " ");
	n = strcspn(at, "\n");
	CHECK(n > 5 && at[n - 1] == '.');
	CHECK(!memchr(at, '\\', n));
	at = take_text(at + n, "\n# TYPE ");
	at = take_name(at, again, sizeof(again));
	CHECK_STR(again, name);
	page.counter[page.metrics] = !strncmp(at, " counter", 8);
	at = take_text(at, page.counter[page.metrics] ? " counter\n" : " gauge\n");
	for (size_t i = 0; i < page.metrics; i++)
		CHECK(strcmp(page.metric[i], name) != 0);
	/* names end in _total if they are counters, and only then */
	n = strlen(name);
	CHECK_EQ(n > 6 && !strcmp(name + n - 6, "_total"), page.counter[page.metrics]);
	CHECK(!strncmp(name, "hapax_", 6));
	page.metrics++;
	return at;
}

static const char *take_label(const char *at, struct sample *s)
{
	char *value = s->label[s->label_count][1];
	size_t n = 0, bytes;

	CHECK(s->label_count < MOST_LABELS);
	at = take_name(at, s->label[s->label_count][0], sizeof(s->label[0][0]));
	for (unsigned i = 0; i < s->label_count; i++)
		CHECK(strcmp(s->label[i][0], s->label[s->label_count][0]) != 0);
	at = take_text(at, "=\"");
	while (*at != '"') {
		CHECK(*at && *at != '\n');
		CHECK(n + 4 < sizeof(s->label[0][1]));
		if (*at == '\\') {
			CHECK(at[1] == '\\' || at[1] == '"' || at[1] == 'n');
			value[n++] = at[1] == 'n' ? '\n' : at[1];
			at += 2;
			continue;
		}
		bytes = hpx_utf8(at, strlen(at));
		CHECK(bytes > 0);
		memcpy(value + n, at, bytes);
		n += bytes;
		at += bytes;
	}
	value[n] = 0;
	s->label_count++;
	return at + 1;
}

static const char *take_sample(const char *at)
{
	struct sample *s = &page.sample[page.samples];
	const char *labels;
	size_t n;

	CHECK(page.samples < MOST_SAMPLES);
	memset(s, 0, sizeof(*s));
	at = take_name(at, s->metric, sizeof(s->metric));
	CHECK_STR(s->metric, page.metric[page.metrics - 1]); /* all of a metric together */
	labels = at;
	at = take_label(take_text(at, "{"), s);
	while (*at == ',')
		at = take_label(at + 1, s);
	at = take_text(at, "}");
	CHECK((size_t)(at - labels) < sizeof(s->labels));
	memcpy(s->labels, labels, (size_t)(at - labels));
	at = take_text(at, " ");
	n = strspn(at, "0123456789.");
	CHECK(n > 0 && n < sizeof(s->number) && at[n] == '\n');
	memcpy(s->number, at, n);
	s->value = strtod(s->number, NULL);
	for (size_t i = page.samples; i-- && !strcmp(page.sample[i].metric, s->metric);)
		CHECK(strcmp(page.sample[i].labels, s->labels) != 0);
	page.samples++;
	return at + n + 1;
}

static void read_page(void)
{
	struct text t = {.at = NULL};
	const char *at;
	size_t before = 0;

	page.samples = page.metrics = 0;
	CHECK_EQ(hapax_metrics_write(HAPAX_METRICS_PROMETHEUS, text_take, &t), 0);
	CHECK_EQ(strlen(t.at), t.n);
	for (at = t.at; *at;) {
		if (*at == '#') {
			CHECK(page.samples > before || !page.metrics); /* none without a sample */
			before = page.samples;
			at = take_head(at);
		} else {
			at = take_sample(at);
		}
	}
	CHECK(page.samples > before);
	if (getenv("HAPAX_SHOW_METRICS"))
		fputs(t.at, stdout);
	free(t.at);
}

/* NULL: there is none. `label`, `value`: one that it has; NULL: any. */
static const struct sample *sample_of(const char *metric, const char *label, const char *value, const char *second, const char *is)
{
	for (size_t i = 0; i < page.samples; i++) {
		const struct sample *s = &page.sample[i];
		bool first = !label, other = !second;

		for (unsigned l = 0; l < s->label_count; l++) {
			first = first || (!strcmp(s->label[l][0], label) && !strcmp(s->label[l][1], value));
			other = other || (!strcmp(s->label[l][0], second) && !strcmp(s->label[l][1], is));
		}
		if (first && other && !strcmp(s->metric, metric))
			return s;
	}
	return NULL;
}

static void value_is(const char *metric, const char *label, const char *value, uint64_t is)
{
	const struct sample *s = sample_of(metric, label, value, NULL, NULL);
	char number[24];

	if (!s)
		TEST_FAIL("no %s of %s %s", metric, label, value);
	snprintf(number, sizeof(number), "%ju", (uintmax_t)is);
	if (strcmp(s->number, number) != 0)
		TEST_FAIL("%s of %s %s is %s and not %s", metric, label, value, s->number, number);
}

static const char *label_of(const struct sample *s, const char *label)
{
	for (unsigned l = 0; s && l < s->label_count; l++)
		if (!strcmp(s->label[l][0], label))
			return s->label[l][1];
	TEST_FAIL("no label %s", label);
}

/* ---- what there is ----------------------------------------------------------------------------------------------- */

static hapax_cache *cache_of(hapax_env *env, struct source *s, const char *name, hapax_cache_options o)
{
	hapax_cache *cache = NULL;

	o.size = sizeof(o);
	o.env = env;
	o.type = &item_type;
	o.load = source_load;
	o.arg = s;
	o.name = name;
	s->env = env;
	CHECK_EQ(hapax_cache_create(&cache, &o), 0);
	return cache;
}

static const struct {
	const char *metric;
	size_t at;
} fields[] = {
#define FIELD(metric, field) {"hapax_cache_" metric, offsetof(hapax_cache_stats, field)}
	FIELD("hits_total", hits), FIELD("misses_total", misses), FIELD("waits_total", waits), FIELD("loads_total", loads),
	FIELD("load_successes_total", load_successes), FIELD("load_failures_total", load_failures),
	FIELD("load_novalues_total", load_novalues), FIELD("load_abandoned_total", load_abandoned),
	FIELD("superseded_total", superseded), FIELD("puts_total", puts), FIELD("removals_total", removals),
	FIELD("replacements_total", replacements), FIELD("collections_total", collections), FIELD("entries", size_now),
	FIELD("retained_entries", retained), FIELD("retained_weight", retained_weight), FIELD("demotions_total", demotions),
	FIELD("readmissions_total", readmissions), FIELD("demoted_hits_total", demoted_hits),
	FIELD("failed_upgrades_total", failed_upgrades), FIELD("evicted_weight_total", eviction_weight),
	FIELD("negative_hits_total", negative_hits), FIELD("stale_hits_total", stale_hits), FIELD("refreshes_total", refreshes),
	FIELD("refresh_failures_total", refresh_failures), FIELD("notifications_total", notifications),
	FIELD("listener_errors_total", listener_errors),
#undef FIELD
};

static void same_as_stats(hapax_cache *cache, const char *name)
{
	hapax_cache_stats stats = {.size = sizeof(stats)};
	const struct sample *s;
	char seconds[48];

	CHECK_EQ(hapax_cache_stats_get(cache, &stats), 0);
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		value_is(fields[i].metric, "cache", name, *(const uint64_t *)(const void *)((char *)&stats + fields[i].at));
	s = sample_of("hapax_cache_evictions_total", "cache", name, "cause", "size");
	CHECK(s && s->value == (double)stats.size_evictions);
	s = sample_of("hapax_cache_evictions_total", "cache", name, "cause", "expired");
	CHECK(s && s->value == (double)stats.expirations);
	s = sample_of("hapax_cache_load_seconds_total", "cache", name, NULL, NULL);
	snprintf(seconds, sizeof(seconds), "%ju.%09ju", (uintmax_t)(stats.load_ns / HAPAX_SECOND),
		 (uintmax_t)(stats.load_ns % HAPAX_SECOND));
	CHECK(s);
	CHECK_STR(s->number, seconds);
}

/* A load takes a second and a half and a nanosecond; of some keys there is no value. */
static int slowly(struct source *s, int load, void *item, const hapax_key *key)
{
	(void)s, (void)load, (void)item;
	fake_clock_advance(3 * HAPAX_SECOND / 2 + 1);
	return *(const char *)key->data == 'x' ? HAPAX_LOAD_NOVALUE : HAPAX_LOAD_OK;
}

static int told(const hapax_removal *removal, void *ctx)
{
	(void)removal, (void)ctx;
	return 1;
}

TEST(figures_of_caches_are_their_statistics)
{
	hapax_env *env = test_env_fake();
	struct source s = {.then = slowly};
	hapax_cache *plain = cache_of(env, &s, "plain", (hapax_cache_options){.size = 0});
	hapax_cache *bounded = cache_of(env, &s, "bounded",
					(hapax_cache_options){.max_entries = 2, .ttl_ns = 60 * HAPAX_SECOND, .on_removal = told,
							      .negative_ttl_ns = HAPAX_SECOND});
	struct item *a = got(plain, "a"), *b;
	void *out;

	hapax_release(got(plain, "a"));
	CHECK_EQ(hapax_cache_get(plain, HAPAX_STR("x"), &out), HAPAX_NOVALUE);
	b = got(bounded, "b");
	for (int i = 0; i < 5; i++)
		hapax_release(got(bounded, i % 2 ? "c" : "d"));
	hapax_release(got(bounded, "e"));
	hapax_release(got(bounded, "f"));
	CHECK_EQ(hapax_cache_get(bounded, HAPAX_STR("x"), &out), HAPAX_NOVALUE);
	CHECK_EQ(hapax_cache_get(bounded, HAPAX_STR("x"), &out), HAPAX_NEGATIVE);
	CHECK_EQ(hapax_cache_remove(bounded, HAPAX_STR("b")), 0);
	fake_clock_advance(100 * HAPAX_SECOND);
	hapax_release(got(bounded, "e"));
	read_page();
	same_as_stats(plain, "plain");
	same_as_stats(bounded, "bounded");
	CHECK(sample_of("hapax_cache_evictions_total", "cache", "bounded", "cause", "size")->value > 0);
	CHECK(sample_of("hapax_cache_evictions_total", "cache", "bounded", "cause", "expired")->value > 0);
	value_is("hapax_cache_hits_total", "cache", "plain", 1);
	value_is("hapax_cache_misses_total", "cache", "plain", 2);
	value_is("hapax_cache_demoted_entries", "cache", "plain", 1);
	value_is("hapax_cache_loads_in_flight", "cache", "plain", 0);
	value_is("hapax_cache_max_entries", "cache", "bounded", 2);
	CHECK_STR(sample_of("hapax_cache_load_seconds_total", "cache", "plain", NULL, NULL)->number, "3.000000002");
	CHECK_STR(sample_of("hapax_cache_oldest_load_seconds", "cache", "plain", NULL, NULL)->number, "0.000000000");
	CHECK(!sample_of("hapax_cache_max_entries", "cache", "plain", NULL, NULL));
	CHECK(!sample_of("hapax_cache_max_weight", NULL, NULL, NULL, NULL));
	hapax_release(a);
	hapax_release(b);
	hapax_cache_destroy(plain);
	hapax_cache_destroy(bounded);
	test_env_end(env);
}

/* A load that looks at itself, and at one that it is in. */
static int look_from_inside(struct source *s, int load, void *item, const hapax_key *key)
{
	(void)load, (void)item;
	fake_clock_advance(7 * HAPAX_SECOND);
	if (*(const char *)key->data == 'o') {
		hapax_release(got(s->cache, "inner"));
		return HAPAX_LOAD_OK;
	}
	read_page();
	value_is("hapax_cache_loads_in_flight", "cache", "busy", 2);
	CHECK_STR(sample_of("hapax_cache_oldest_load_seconds", "cache", "busy", NULL, NULL)->number, "14.000000000");
	CHECK_STR(sample_of("hapax_cache_oldest_load_seconds", "cache", "idle", NULL, NULL)->number, "0.000000000");
	value_is("hapax_cache_loads_in_flight", "cache", "idle", 0);
	return HAPAX_LOAD_OK;
}

TEST(loads_in_progress_and_the_age_of_the_oldest)
{
	hapax_env *env = test_env_fake();
	struct source s = {.then = look_from_inside};
	hapax_cache *busy = cache_of(env, &s, "busy", (hapax_cache_options){.max_entries = 5});
	hapax_cache *idle = cache_of(env, &s, "idle", (hapax_cache_options){.max_entries = 5});

	s.cache = busy;
	hapax_release(got(busy, "outer"));
	CHECK(page.samples > 0);
	read_page();
	value_is("hapax_cache_loads_in_flight", "cache", "busy", 0);
	CHECK_STR(sample_of("hapax_cache_oldest_load_seconds", "cache", "busy", NULL, NULL)->number, "0.000000000");
	hapax_cache_destroy(busy);
	hapax_cache_destroy(idle);
	test_env_end(env);
}

TEST(objects_and_garbage_by_environment)
{
	hapax_env_options eo = {HAPAX_ENV_OPTIONS_INIT, .garbage_bound = 1 << 20};
	hapax_env *env = test_env_options(&eo);
	struct item *items[3];
	char id[24];

	for (int i = 0; i < 3; i++)
		items[i] = item_new(env, i);
	hapax_release(items[0]);
	read_page();
	CHECK(sample_of("hapax_garbage_bytes", "env", "0", NULL, NULL)); /* the default one */
	snprintf(id, sizeof(id), "%s", label_of(sample_of("hapax_objects", "type", "item", NULL, NULL), "env"));
	CHECK(strcmp(id, "0") != 0);
	value_is("hapax_objects", "type", "item", 2);
	value_is("hapax_objects_created_total", "type", "item", 3);
	value_is("hapax_garbage_bound_bytes", "env", id, 1 << 20);
	value_is("hapax_reader_stalls_total", "env", id, 0);
	hapax_release(items[1]);
	hapax_release(items[2]);
	test_env_end(env);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

TEST(any_name_is_a_label_and_no_two_caches_are_one)
{
	static const char *const names[] = {"same", "same", "", "a\"b\\c\nd", "\xc3\xbc", "\xff", "\xfe", "\xef\xbf\xbd", ("\xef\xbf\xbd" "ff"),
					    "{}=,", "cut in the middle of a characte\xc3\xbc"};
	enum { N = sizeof(names) / sizeof(*names) };
	hapax_env *env = test_env();
	struct source s = {.loads = 0};
	hapax_cache *cache[N];
	hapax_type odd = {HAPAX_TYPE_INIT, .name = "odd \"type\"\\\n\xfd", .size = 8};
	void *object;

	for (int i = 0; i < N; i++)
		cache[i] = cache_of(env, &s, names[i], (hapax_cache_options){.size = 0});
	CHECK_EQ(hapax_new(env, &odd, 0, &object), 0);
	read_page();
	for (int i = 0; i < N; i++) {
		size_t found = 0;

		for (size_t k = 0; k < page.samples; k++)
			found += !strcmp(page.sample[k].metric, "hapax_cache_entries") &&
				 !strcmp(label_of(&page.sample[k], "cache"), names[i]);
		CHECK_EQ(found, i < 2 ? 2 : i < 5 || i == 9 || i == 8 ? 1 : 0); /* 8 is how 5 is shown */
	}
	CHECK(sample_of("hapax_cache_entries", "cache", "\xef\xbf\xbd" "ff", NULL, NULL));
	CHECK(sample_of("hapax_cache_entries", "cache", "\xef\xbf\xbd" "fe", NULL, NULL));
	CHECK(sample_of("hapax_cache_entries", "cache", "\xef\xbf\xbd" "ef\xef\xbf\xbd" "bf\xef\xbf\xbd" "bd", NULL, NULL));
	CHECK(sample_of("hapax_objects", "type", "odd \"type\"\\\n\xef\xbf\xbd" "fd", NULL, NULL));
	hapax_release(object);
	for (int i = 0; i < N; i++)
		hapax_cache_destroy(cache[i]);
	test_env_end(env);
}

TEST(caches_without_statistics_say_what_is_known)
{
	hapax_env *env = test_env();
	struct source s = {.loads = 0};
	hapax_cache *cache = cache_of(env, &s, "quiet", (hapax_cache_options){.flags = HAPAX_CACHE_NO_STATS, .max_entries = 5});

	hapax_release(got(cache, "a"));
	read_page();
	value_is("hapax_cache_entries", "cache", "quiet", 1);
	value_is("hapax_cache_retained_entries", "cache", "quiet", 1);
	value_is("hapax_cache_max_entries", "cache", "quiet", 5);
	CHECK(!sample_of("hapax_cache_hits_total", NULL, NULL, NULL, NULL));
	CHECK(!sample_of("hapax_cache_evictions_total", NULL, NULL, NULL, NULL));
	hapax_cache_destroy(cache);
	test_env_end(env);
}

/* ---- the writer, the table --------------------------------------------------------------------------------------- */

TEST(what_the_writer_returns_ends_the_page)
{
	hapax_env *env = test_env();
	struct source s = {.loads = 0};
	hapax_cache *cache = cache_of(env, &s, "pages", (hapax_cache_options){.size = 0});
	int at, status;

	for (at = 1;; at++) {
		struct text t = {.refuse_at = at, .refusal = 321};

		status = hapax_metrics_write(HAPAX_METRICS_PROMETHEUS, text_take, &t);
		free(t.at);
		if (!status)
			break;
		CHECK_EQ(status, 321);
		CHECK_EQ(t.calls, at);
	}
	CHECK(at > 3);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

/* "| `name` | counter | ..." */
static size_t documented(const char *table)
{
	char name[64];
	size_t n = 0;

	for (const char *at = table; (at = strstr(at, "\n| `hapax_")) != NULL;) {
		bool there = false;
		size_t i;

		at = take_name(at + 4, name, sizeof(name));
		for (i = 0; i < page.metrics && !there; i++)
			there = !strcmp(page.metric[i], name);
		if (!there)
			TEST_FAIL("docs/metrics.md has %s, which is not written", name);
		take_text(at, page.counter[i - 1] ? "` | counter | " : "` | gauge | ");
		CHECK(!page.seen[i - 1]);
		page.seen[i - 1] = true;
		n++;
	}
	return n;
}

TEST(docs_metrics_has_every_metric)
{
	hapax_env *env = test_env();
	struct source s = {.loads = 0};
	hapax_cache *entries = cache_of(env, &s, "entries", (hapax_cache_options){.max_entries = 5});
	hapax_cache *weight = cache_of(env, &s, "weight", (hapax_cache_options){.max_weight = 5});
	struct item *item = item_new(env, 1);
	FILE *file = fopen(HAPAX_SOURCE_DIR "/docs/metrics.md", "r");
	char *table = calloc(1, 1 << 20);

	CHECK(file && table && fread(table, 1, (1 << 20) - 1, file) > 0);
	fclose(file);
	read_page();
	value_is("hapax_cache_max_weight", "cache", "weight", 5);
	CHECK_EQ(documented(table), page.metrics);
	free(table);
	hapax_release(item);
	hapax_cache_destroy(entries);
	hapax_cache_destroy(weight);
	test_env_end(env);
}
