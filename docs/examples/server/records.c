/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records: connections to the database, the query of a page, its rendering. */
#define _GNU_SOURCE
#include "database.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- connections: as many as were ever needed at once ------------------------------------------------------------- */

struct database {
	char *path;
	pthread_mutex_t lock;
	struct connection *idle;
	_Atomic uint64_t queries;
};

static const char *const sql[STATEMENTS] = {
	[RECORD] = "SELECT r.title, r.body, r.category, r.price_cents, r.revision, a.name, a.country,"
		   " (SELECT count(*) FROM records o WHERE o.author_id = a.id)"
		   " FROM records r JOIN authors a ON a.id = r.author_id WHERE r.id = ?1",
	[COMMENTS] = "SELECT a.name, a.country, c.stars, c.text FROM comments c JOIN authors a ON a.id = c.author_id"
		     " WHERE c.record_id = ?1 ORDER BY c.stars DESC, c.id",
	/* those that share most tags with it */
	[SIMILAR] = "SELECT r.id, r.title, s.n FROM (SELECT o.record_id AS id, count(*) AS n FROM record_tags m"
		    " JOIN record_tags o ON o.tag_id = m.tag_id AND o.record_id <> ?1 WHERE m.record_id = ?1"
		    " GROUP BY o.record_id ORDER BY n DESC, o.record_id LIMIT 6) s JOIN records r ON r.id = s.id"
		    " ORDER BY s.n DESC, r.id",
	[WRITE] = "UPDATE records SET body = ?2, revision = revision + 1 WHERE id = ?1",
	[TENANT] = "SELECT name, currency, colour, rate_permille, discount_percent FROM tenants WHERE name = ?1",
	[PRICES] = "SELECT r.id, r.title, a.name, r.price_cents, (SELECT avg(c.stars) FROM comments c WHERE c.record_id = r.id)"
		   " FROM records r JOIN authors a ON a.id = r.author_id WHERE r.category = ?1"
		   " ORDER BY r.price_cents, r.id LIMIT 100",
};

static void connection_close(struct connection *connection)
{
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(connection->statements[i]);
	sqlite3_close(connection->handle);
	free(connection);
}

static struct connection *connection_open(const char *path)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		return NULL;
	if (sqlite3_open_v2(path, &connection->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		goto failed;
	sqlite3_busy_timeout(connection->handle, 2000);
	if (sqlite3_exec(connection->handle, "PRAGMA mmap_size = 1073741824; PRAGMA synchronous = NORMAL", NULL, NULL, NULL))
		goto failed;
	for (int i = 0; i < STATEMENTS; i++)
		if (sqlite3_prepare_v3(connection->handle, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &connection->statements[i], NULL))
			goto failed;
	return connection;
failed:
	fprintf(stderr, "%s: %s\n", path, sqlite3_errmsg(connection->handle));
	connection_close(connection);
	return NULL;
}

struct connection *connection_take(struct database *database)
{
	struct connection *connection;

	atomic_fetch_add_explicit(&database->queries, 1, memory_order_relaxed);
	pthread_mutex_lock(&database->lock);
	connection = database->idle;
	if (connection)
		database->idle = connection->next;
	pthread_mutex_unlock(&database->lock);
	return connection ? connection : connection_open(database->path);
}

void connection_give(struct database *database, struct connection *connection)
{
	pthread_mutex_lock(&database->lock);
	connection->next = database->idle;
	database->idle = connection;
	pthread_mutex_unlock(&database->lock);
}

uint64_t database_queries(struct database *database)
{
	return atomic_load_explicit(&database->queries, memory_order_relaxed);
}

static int version_of(const char *path)
{
	sqlite3_stmt *statement = NULL;
	sqlite3 *handle = NULL;
	int version = -1;

	if (sqlite3_open_v2(path, &handle, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
	    sqlite3_prepare_v2(handle, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		version = sqlite3_column_int(statement, 0);
	else
		fprintf(stderr, "%s: %s\n", path, handle ? sqlite3_errmsg(handle) : "out of memory");
	sqlite3_finalize(statement);
	sqlite3_close(handle);
	return version;
}

int database_open(struct database **out, const char *path)
{
	struct database *database;
	int version = version_of(path);

	if (version < 0)
		return -1;
	if (version != DATABASE_VERSION) {
		fprintf(stderr, "%s: not a database of this example: make it with --make-db\n", path);
		return -1;
	}
	database = calloc(1, sizeof(*database));
	if (!database || !(database->path = strdup(path))) {
		free(database);
		return -1;
	}
	pthread_mutex_init(&database->lock, NULL);
	*out = database;
	return 0;
}

void database_close(struct database *database)
{
	struct connection *connection;

	if (!database)
		return;
	while ((connection = database->idle) != NULL) {
		database->idle = connection->next;
		connection_close(connection);
	}
	pthread_mutex_destroy(&database->lock);
	free(database->path);
	free(database);
}

/* ---- the page ----------------------------------------------------------------------------------------------------- */

static const char page_head[] =
	"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{{title}}</title>\n"
	"<style>body{font:16px/1.5 sans-serif;max-width:44em;margin:2em auto;padding:0 1em}h1{margin-bottom:0}"
	".meta{color:#666}li{margin:.6em 0}.stars{color:#b60}</style></head>\n<body><article>\n<h1>{{title}}</h1>\n"
	"<p class=\"meta\">by {{author}} ({{country}}), one of {{works}} works &middot; category {{category}} &middot; {{price}} &middot;"
	" revision {{revision}}</p>\n";
static const char comment_item[] =
	"<li><span class=\"stars\" title=\"{{stars}} of 5\">{{{drawn}}}</span> <b>{{author}}</b> ({{country}}): {{text}}</li>\n";
static const char similar_item[] = "<li><a href=\"/record/{{id}}\">{{title}}</a>, {{shared}} tags in common</li>\n";
static const char page_foot[] = "</article></body></html>\n";

static const char *column(sqlite3_stmt *statement, int i)
{
	const char *value = (const char *)sqlite3_column_text(statement, i);

	return value ? value : "";
}

/* Paragraphs end with an empty line; *words* are set off; the rest is text. */
static void render_body(struct text *page, const char *body)
{
	bool strong = false;
	char plain[512];
	size_t n;

	text_str(page, "<p>");
	while (*body) {
		n = strcspn(body, "*\n");
		if (n >= sizeof(plain))
			n = sizeof(plain) - 1;
		memcpy(plain, body, n);
		plain[n] = 0;
		text_html(page, plain);
		body += n;
		if (*body == '*') {
			strong = !strong;
			text_str(page, strong ? "<strong>" : "</strong>");
			body++;
		} else if (*body == '\n') {
			bool paragraph = body[1] == '\n';

			text_str(page, strong && paragraph ? "</strong>" : "");
			strong = strong && !paragraph;
			text_str(page, paragraph ? "</p>\n<p>" : "\n");
			body += strspn(body, "\n");
		}
	}
	text_str(page, strong ? "</strong></p>\n" : "</p>\n");
}

static void render_record(struct text *page, sqlite3_stmt *row)
{
	char price[32];
	int cents = sqlite3_column_int(row, 3);
	const struct field fields[] = {{"title", column(row, 0)}, {"author", column(row, 5)}, {"country", column(row, 6)},
				       {"works", column(row, 7)}, {"category", column(row, 2)}, {"price", price},
				       {"revision", column(row, 4)}};

	snprintf(price, sizeof(price), "%d.%02d", cents / 100, cents % 100);
	text_template(page, page_head, fields, sizeof(fields) / sizeof(fields[0]));
	render_body(page, column(row, 1));
}

static void render_comment(struct text *page, sqlite3_stmt *row)
{
	static const char *const drawn[] = {"", "&#9733;", "&#9733;&#9733;", "&#9733;&#9733;&#9733;", "&#9733;&#9733;&#9733;&#9733;",
					    "&#9733;&#9733;&#9733;&#9733;&#9733;"};
	int stars = sqlite3_column_int(row, 2);
	const struct field fields[] = {{"author", column(row, 0)}, {"country", column(row, 1)}, {"stars", column(row, 2)},
				       {"drawn", drawn[stars < 0 ? 0 : stars > 5 ? 5 : stars]}, {"text", column(row, 3)}};

	text_template(page, comment_item, fields, sizeof(fields) / sizeof(fields[0]));
}

static void render_similar(struct text *page, sqlite3_stmt *row)
{
	const struct field fields[] = {{"id", column(row, 0)}, {"title", column(row, 1)}, {"shared", column(row, 2)}};

	text_template(page, similar_item, fields, sizeof(fields) / sizeof(fields[0]));
}

/* Renders every row of a statement about one record: how many there were, or -1. */
static int render_rows(struct connection *connection, enum statement which, uint64_t id, struct text *page,
		       void (*render)(struct text *page, sqlite3_stmt *row))
{
	sqlite3_stmt *statement = connection->statements[which];
	int rows = 0, status;

	status = sqlite3_bind_int64(statement, 1, (sqlite3_int64)id);
	if (status == SQLITE_OK)
		while ((status = sqlite3_step(statement)) == SQLITE_ROW) {
			render(page, statement);
			rows++;
		}
	if (status != SQLITE_DONE)
		fprintf(stderr, "record %" PRIu64 ": %s\n", id, sqlite3_errmsg(connection->handle));
	sqlite3_reset(statement);
	return status == SQLITE_DONE ? rows : -1;
}

enum outcome record_load(struct database *database, uint64_t id, struct content *content)
{
	struct connection *connection = connection_take(database);
	enum outcome outcome = FAILED;
	struct text page = {0};
	int rows;

	if (!connection)
		return FAILED;
	if (sqlite3_exec(connection->handle, "BEGIN", NULL, NULL, NULL) != SQLITE_OK) /* one state of the tables for all three */
		goto given;
	rows = render_rows(connection, RECORD, id, &page, render_record);
	if (rows == 0)
		outcome = NONE;
	if (rows <= 0)
		goto done;
	text_str(&page, "<h2>Comments</h2>\n<ul>\n");
	if (render_rows(connection, COMMENTS, id, &page, render_comment) < 0)
		goto done;
	text_str(&page, "</ul>\n<h2>Similar</h2>\n<ol>\n");
	if (render_rows(connection, SIMILAR, id, &page, render_similar) < 0)
		goto done;
	text_str(&page, "</ol>\n");
	text_str(&page, page_foot);
	outcome = DONE;
done:
	sqlite3_exec(connection->handle, "COMMIT", NULL, NULL, NULL);
given:
	connection_give(database, connection);
	if (outcome == DONE)
		return content_take(content, &page, "text/html; charset=utf-8") ? FAILED : DONE;
	text_free(&page);
	return outcome;
}

enum outcome record_write(struct database *database, uint64_t id, const char *text, size_t size)
{
	struct connection *connection = connection_take(database);
	sqlite3_stmt *statement;
	enum outcome outcome = FAILED;

	if (!connection)
		return FAILED;
	statement = connection->statements[WRITE];
	if (sqlite3_bind_int64(statement, 1, (sqlite3_int64)id) == SQLITE_OK &&
	    sqlite3_bind_text(statement, 2, text, (int)size, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(statement) == SQLITE_DONE)
		outcome = sqlite3_changes(connection->handle) ? DONE : NONE;
	else
		fprintf(stderr, "record %" PRIu64 ": %s\n", id, sqlite3_errmsg(connection->handle));
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	connection_give(database, connection);
	return outcome;
}
