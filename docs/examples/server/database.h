/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What records.c, tenants.c and make_db.c know of the database. */
#ifndef SERVER_DATABASE_H
#define SERVER_DATABASE_H

#include "server.h"

#include <sqlite3.h>

enum { DATABASE_VERSION = 1 }; /* of the tables: PRAGMA user_version */

enum statement { RECORD, COMMENTS, SIMILAR, WRITE, TENANT, PRICES, STATEMENTS };

struct connection {
	struct connection *next;
	sqlite3 *handle;
	sqlite3_stmt *statements[STATEMENTS];
};

/* A connection with its statements prepared, for the caller alone; NULL: it could not be opened. Counts as one query. */
struct connection *connection_take(struct database *database);
void connection_give(struct database *database, struct connection *connection);

#endif
