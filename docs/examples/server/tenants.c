/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tenants, and the price list that each of them has for a category: in its currency, with its discount, in its colour. */
#include "database.h"

#include <string.h>

static void copy(char *to, size_t size, sqlite3_stmt *row, int column)
{
	const char *value = (const char *)sqlite3_column_text(row, column);

	snprintf(to, size, "%s", value ? value : "");
}

enum outcome tenant_load(struct database *database, const char *name, struct tenant *tenant)
{
	struct connection *connection = connection_take(database);
	enum outcome outcome = FAILED;
	sqlite3_stmt *statement;

	if (!connection)
		return FAILED;
	statement = connection->statements[TENANT];
	if (sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC) == SQLITE_OK) {
		switch (sqlite3_step(statement)) {
		case SQLITE_ROW:
			copy(tenant->name, sizeof(tenant->name), statement, 0);
			copy(tenant->currency, sizeof(tenant->currency), statement, 1);
			copy(tenant->colour, sizeof(tenant->colour), statement, 2);
			tenant->rate_permille = (unsigned)sqlite3_column_int(statement, 3);
			tenant->discount_percent = (unsigned)sqlite3_column_int(statement, 4);
			outcome = DONE;
			break;
		case SQLITE_DONE:
			outcome = NONE;
			break;
		default:
			fprintf(stderr, "tenant %s: %s\n", name, sqlite3_errmsg(connection->handle));
		}
	}
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	connection_give(database, connection);
	return outcome;
}

static const char list_head[] =
	"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{{tenant}}: category {{category}}</title>\n"
	"<style>body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}h1{color:{{colour}}}"
	"td:last-child{text-align:right}</style></head>\n<body><h1>{{tenant}}: category {{category}}</h1>\n"
	"<p>Prices in {{currency}}, {{discount}} % off.</p>\n<table>\n<tr><th>Title<th>Author<th>Stars<th>Price</tr>\n";
static const char list_row[] =
	"<tr><td><a href=\"/record/{{id}}\">{{title}}</a><td>{{author}}<td>{{stars}}<td>{{price}}</tr>\n";

static void render_price(struct text *page, const struct tenant *tenant, sqlite3_stmt *row)
{
	unsigned long long cents = (unsigned long long)sqlite3_column_int64(row, 3) * tenant->rate_permille *
				   (100 - tenant->discount_percent) / 100000;
	char price[32], stars[16];
	const struct field fields[] = {{"id", (const char *)sqlite3_column_text(row, 0)},
				       {"title", (const char *)sqlite3_column_text(row, 1)},
				       {"author", (const char *)sqlite3_column_text(row, 2)}, {"stars", stars}, {"price", price}};

	snprintf(price, sizeof(price), "%llu.%02llu", cents / 100, cents % 100);
	snprintf(stars, sizeof(stars), "%.1f", sqlite3_column_double(row, 4));
	text_template(page, list_row, fields, sizeof(fields) / sizeof(fields[0]));
}

enum outcome prices_load(struct database *database, const struct tenant *tenant, unsigned category, struct content *content)
{
	struct connection *connection = connection_take(database);
	char number[16], discount[16];
	const struct field fields[] = {{"tenant", tenant->name}, {"category", number}, {"colour", tenant->colour},
				       {"currency", tenant->currency}, {"discount", discount}};
	struct text page = {0};
	sqlite3_stmt *statement;
	int status;

	if (!connection)
		return FAILED;
	statement = connection->statements[PRICES];
	snprintf(number, sizeof(number), "%u", category);
	snprintf(discount, sizeof(discount), "%u", tenant->discount_percent);
	text_template(&page, list_head, fields, sizeof(fields) / sizeof(fields[0]));
	status = sqlite3_bind_int(statement, 1, (int)category);
	if (status == SQLITE_OK)
		while ((status = sqlite3_step(statement)) == SQLITE_ROW)
			render_price(&page, tenant, statement);
	if (status != SQLITE_DONE)
		fprintf(stderr, "prices of category %u: %s\n", category, sqlite3_errmsg(connection->handle));
	sqlite3_reset(statement);
	connection_give(database, connection);
	text_str(&page, "</table></body></html>\n");
	if (status == SQLITE_DONE)
		return content_take(content, &page, "text/html; charset=utf-8") ? FAILED : DONE;
	text_free(&page);
	return FAILED;
}
