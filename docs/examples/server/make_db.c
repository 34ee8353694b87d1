/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The database of the example: the same for the same number of records, every time. */
#include "database.h"

#include <stdlib.h>
#include <string.h>

static uint64_t state;

static unsigned below(unsigned n) /* splitmix64 */
{
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (unsigned)(((z ^ z >> 31) >> 32) * n >> 32);
}

static const char *const nouns[] = {
	"river", "stone", "lantern", "harbour", "winter", "orchard", "copper", "silence", "thread", "meadow", "clock", "garden", "salt",
	"bridge", "paper", "ember", "window", "letter", "forest", "engine", "mirror", "valley", "compass", "market", "tower", "island",
	"feather", "shadow", "signal", "kettle", "morning", "needle", "canvas", "ladder", "pepper", "violin", "anchor", "candle",
	"desert", "empire", "falcon", "glacier", "hammer", "ivory", "jungle", "kernel", "linen", "marble", "notebook", "ocean",
};
static const char *const adjectives[] = {"quiet", "broken", "distant", "narrow", "golden", "patient", "heavy", "bright"};
static const char *const others[] = {
	"and", "of", "under", "beyond", "without", "before", "through", "between", "toward", "against", "was", "became", "turned", "kept",
	"carried", "opened", "remembered", "followed", "crossed", "waited", "<odd>", "\"so\"", "A&B",
};
#define PICK(list) list[below(sizeof(list) / sizeof((list)[0]))]

static const char *const countries[] = {"DE", "FR", "IN", "BR", "JP", "KE", "CA", "FI", "GR", "MX"};

static void sentence(struct text *text, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const char *word = below(3) ? below(4) ? PICK(nouns) : PICK(adjectives) : PICK(others);

		if (i == 0)
			text_printf(text, "%c%s", word[0] >= 'a' && word[0] <= 'z' ? word[0] - 32 : word[0], word + 1);
		else
			text_printf(text, below(23) ? " %s" : " *%s*", word);
	}
	text_str(text, ".");
}

static const char *ended(struct text *text)
{
	text_add(text, "", 1);
	return text->failed ? "" : text->data;
}

static int run(sqlite3 *handle, const char *statements)
{
	char *message = NULL;

	if (sqlite3_exec(handle, statements, NULL, NULL, &message) == SQLITE_OK)
		return 0;
	fprintf(stderr, "%s\n", message ? message : "out of memory");
	sqlite3_free(message);
	return -1;
}

struct insert {
	sqlite3_stmt *statement;
	int at, bad;
};

static struct insert insert_into(sqlite3 *handle, const char *statement)
{
	struct insert insert = {.at = 1};

	insert.bad = sqlite3_prepare_v2(handle, statement, -1, &insert.statement, NULL);
	return insert;
}

static void number(struct insert *insert, int64_t value)
{
	insert->bad |= insert->bad ? 0 : sqlite3_bind_int64(insert->statement, insert->at++, value);
}

static void string(struct insert *insert, const char *value)
{
	insert->bad |= insert->bad ? 0 : sqlite3_bind_text(insert->statement, insert->at++, value, -1, SQLITE_TRANSIENT);
}

static void row(struct insert *insert)
{
	if (!insert->bad && sqlite3_step(insert->statement) != SQLITE_DONE)
		insert->bad = 1;
	sqlite3_reset(insert->statement);
	insert->at = 1;
}

static int finish(struct insert *insert)
{
	sqlite3_finalize(insert->statement);
	return insert->bad;
}

static int make_authors(sqlite3 *handle, unsigned authors, unsigned tags)
{
	struct insert author = insert_into(handle, "INSERT INTO authors VALUES (?1, ?2, ?3)");
	struct insert tag = insert_into(handle, "INSERT INTO tags VALUES (?1, ?2)");
	struct insert tenant = insert_into(handle, "INSERT INTO tenants VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
	static const char *const currencies[] = {"EUR", "USD", "GBP", "SEK"}, *const colours[] = {"#164", "#639", "#a30", "#069"};
	char name[64];
	int bad;

	for (unsigned i = 1; i <= authors; i++) {
		const char *first = PICK(nouns), *second = PICK(nouns);

		number(&author, i);
		snprintf(name, sizeof(name), "%c%s %c%s", first[0] - 32, first + 1, second[0] - 32, second + 1);
		string(&author, name);
		string(&author, PICK(countries));
		row(&author);
	}
	for (unsigned i = 1; i <= tags; i++) {
		number(&tag, i);
		snprintf(name, sizeof(name), "%s-%u", PICK(nouns), i);
		string(&tag, name);
		row(&tag);
	}
	for (unsigned i = 1; i <= 50; i++) {
		number(&tenant, i);
		snprintf(name, sizeof(name), "shop-%u", i);
		string(&tenant, name);
		string(&tenant, currencies[i % 4]);
		string(&tenant, colours[i / 4 % 4]);
		number(&tenant, 800 + (int64_t)below(4000));
		number(&tenant, below(30));
		row(&tenant);
	}
	bad = finish(&author);
	bad |= finish(&tag);
	return bad | finish(&tenant);
}

static int make_records(sqlite3 *handle, unsigned records, unsigned authors, unsigned tags)
{
	struct insert record = insert_into(handle, "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)");
	struct insert comment = insert_into(handle, "INSERT INTO comments VALUES (NULL, ?1, ?2, ?3, ?4)");
	struct insert tag = insert_into(handle, "INSERT OR IGNORE INTO record_tags VALUES (?1, ?2)");
	struct text text = {0};
	int bad;

	for (unsigned id = 1; id <= records; id++) {
		const char *adjective = PICK(adjectives), *first = PICK(nouns), *second = PICK(nouns);
		unsigned n;

		number(&record, id);
		text.size = 0;
		text_printf(&text, "The %s %s and the %s", adjective, first, second);
		string(&record, ended(&text));
		text.size = 0;
		for (n = 4 + below(8); n; n--) {
			sentence(&text, 6 + below(10));
			text_str(&text, n == 1 ? "" : below(4) ? " " : "\n\n");
		}
		string(&record, ended(&text));
		number(&record, 1 + below(authors));
		number(&record, below(CATEGORIES));
		number(&record, 199 + below(20000));
		row(&record);
		for (n = below(13); n; n--) {
			text.size = 0;
			sentence(&text, 5 + below(14));
			number(&comment, id);
			number(&comment, 1 + below(authors));
			number(&comment, 1 + below(5));
			string(&comment, ended(&text));
			row(&comment);
		}
		for (n = 0; n < 4; n++) {
			number(&tag, id);
			number(&tag, 1 + below(tags));
			row(&tag);
		}
	}
	bad = text.failed | finish(&record);
	text_free(&text);
	bad |= finish(&comment);
	return bad | finish(&tag);
}

static const char tables[] =
	"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;"
	"CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL);"
	"CREATE TABLE records (id INTEGER PRIMARY KEY, title TEXT NOT NULL, body TEXT NOT NULL, author_id INTEGER NOT NULL,"
	" category INTEGER NOT NULL, price_cents INTEGER NOT NULL, revision INTEGER NOT NULL);"
	"CREATE TABLE comments (id INTEGER PRIMARY KEY, record_id INTEGER NOT NULL, author_id INTEGER NOT NULL,"
	" stars INTEGER NOT NULL, text TEXT NOT NULL);"
	"CREATE TABLE tags (id INTEGER PRIMARY KEY, name TEXT NOT NULL);"
	"CREATE TABLE record_tags (record_id INTEGER NOT NULL, tag_id INTEGER NOT NULL, PRIMARY KEY (record_id, tag_id)) WITHOUT ROWID;"
	"CREATE TABLE tenants (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, currency TEXT NOT NULL, colour TEXT NOT NULL,"
	" rate_permille INTEGER NOT NULL, discount_percent INTEGER NOT NULL);";
static const char indexes[] =
	"CREATE INDEX comments_by_record ON comments (record_id);"
	"CREATE INDEX records_by_author ON records (author_id);"
	"CREATE INDEX records_by_category ON records (category, price_cents);"
	"CREATE INDEX tags_by_tag ON record_tags (tag_id, record_id);"
	"COMMIT; ANALYZE; PRAGMA synchronous = NORMAL; PRAGMA journal_mode = WAL;";

int database_make(const char *path, unsigned records)
{
	unsigned authors = records / 20 + 10, tags = records / 50 + 20;
	char temporary[4096], version[64];
	sqlite3 *handle = NULL;
	int bad;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new", path) >= sizeof(temporary)) {
		fprintf(stderr, "%s: the name is too long\n", path);
		return -1;
	}
	remove(temporary);
	state = 7;
	snprintf(version, sizeof(version), "PRAGMA user_version = %d", DATABASE_VERSION);
	if (sqlite3_open_v2(temporary, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK) {
		fprintf(stderr, "%s: %s\n", temporary, handle ? sqlite3_errmsg(handle) : "out of memory");
		sqlite3_close(handle);
		return -1;
	}
	bad = run(handle, tables) || make_authors(handle, authors, tags) || make_records(handle, records, authors, tags) ||
	      run(handle, indexes) || run(handle, version);
	if (bad)
		fprintf(stderr, "%s: %s\n", temporary, sqlite3_errmsg(handle));
	if (sqlite3_close(handle) != SQLITE_OK || bad || rename(temporary, path)) {
		if (!bad)
			perror(path);
		remove(temporary);
		return -1;
	}
	return 0;
}
