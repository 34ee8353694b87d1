/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of the example server know of each other.
 *
 *      main.c          options, start, signals, the order in which it ends
 *      http.c          requests, statuses, responses (libmicrohttpd)
 *      pages.c         from a key to what makes its content: a record of the database or a file
 *      records.c       connections to the database, queries, rendering; tenants.c: price lists; files.c: files
 *      text.c          text that grows, escaped for HTML; templates
 *      make_db.c       the database of the example, the same every time
 *      store_hapax.c   what is kept in memory, by hapax; store_mutex.c: by one mutex and a hash table. A program has one of them
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* ---- options ------------------------------------------------------------------------------------------------------ */

struct options {
	const char *address, *database, *files;
	unsigned port;                /* 0: any; the one that was found is printed */
	unsigned threads;             /* of the pool; 0: one for each connection */
	uint64_t cache_bytes;         /* contents held in memory */
	uint64_t max_file;            /* longer files are sent from the disk */
	uint64_t ttl_ns, refresh_ns, negative_ttl_ns, stale_error_ns, tenant_idle_ns, deadline_ns, grace_ns;
	unsigned sample;              /* one request in so many is looked at for the table of hot keys */
};

/* ---- text --------------------------------------------------------------------------------------------------------- */

struct text {
	char *data;
	size_t size, room;
	bool failed; /* out of memory: what follows is dropped */
};

struct field {
	const char *name, *value;
};

void text_add(struct text *text, const char *data, size_t size);
void text_str(struct text *text, const char *string);
void text_html(struct text *text, const char *string); /* escaped; NULL: nothing */
void text_printf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* {{name}} stands for that field's value, escaped; {{{name}}} for the value as it is. Names that are not there stay. */
void text_template(struct text *text, const char *template, const struct field *fields, size_t n);
void text_free(struct text *text);

/* ---- contents ----------------------------------------------------------------------------------------------------- */

/* What is sent. Never changed once it is in a store, so that any number of responses may send from it at once. */
struct content {
	char *data;       /* NULL: a file that is too long to be kept: sent from the disk */
	size_t size;
	const char *type; /* of media; static */
	char etag[24];    /* with its quotes */
	time_t modified;  /* 0: not known */
};

/* What comes of looking for one. */
enum outcome {
	DONE = 0,
	NONE = 1,   /* there is no such thing */
	FAILED = 2, /* it could not be found out */
	LATE = 3,   /* somebody else's load took too long */
	CLOSED = 4  /* the store is being closed */
};

/* Takes what is in `text`. */
int content_take(struct content *content, struct text *text, const char *type);
void content_clear(struct content *content);

/* ---- where contents come from ------------------------------------------------------------------------------------- */

struct database;

struct source {
	struct database *database;
	int files; /* descriptor of the directory; -1: none */
	uint64_t max_file;
};

int database_open(struct database **out, const char *path);
void database_close(struct database *database); /* NULL: nothing */
uint64_t database_queries(struct database *database);
int database_make(const char *path, unsigned records);

enum outcome page_load(struct source *source, const char *key, struct content *content);

enum { RECORD_TEXT_MAX = 64 * 1024 };
enum outcome record_load(struct database *database, uint64_t id, struct content *content);
/* Changes the text of a record; the caller forgets what was kept of it. */
enum outcome record_write(struct database *database, uint64_t id, const char *text, size_t size);

/* A path below the directory: no empty, hidden or parent component. */
bool file_path_ok(const char *path);
enum outcome file_load(struct source *source, const char *path, struct content *content);
int file_open(struct source *source, const char *path, uint64_t *size); /* -1: not there */

enum { TENANT_NAME_MAX = 31, CATEGORIES = 40 };
struct tenant {
	char name[TENANT_NAME_MAX + 1], currency[4], colour[8];
	unsigned rate_permille, discount_percent;
};
enum outcome tenant_load(struct database *database, const char *name, struct tenant *tenant);
enum outcome prices_load(struct database *database, const struct tenant *tenant, unsigned category, struct content *content);

/* ---- stores: store_hapax.c or store_mutex.c -------------------------------------------------------------------- */

struct store;

struct store_counts {
	uint64_t hits, misses, loads, failures, entries, bytes;
};

enum metrics_format { METRICS_JSON, METRICS_PROMETHEUS };

enum { KEY_SIZE_MAX = 1023 };

extern const char store_name[];

int store_create(struct store **out, const struct options *options, struct source *source);
/* DONE: a content that is the caller's until it gives it back with store_release(), on any thread. */
enum outcome store_page(struct store *store, const char *key, const struct content **content);
enum outcome store_prices(struct store *store, const char *tenant, unsigned category, const struct content **content);
void store_release(const struct content *content);
/* What is under this key has been changed: no store_page() that begins now gives what was there before. */
void store_written(struct store *store, const char *key);
void store_tick(struct store *store); /* about once a second */
void store_counts(struct store *store, struct store_counts *counts);
/* False: this store has no such figures. */
bool store_metrics(struct store *store, enum metrics_format format, struct text *text);
/* No call in progress. False: something is still alive, and has been reported. */
bool store_destroy(struct store *store);

/* ---- http --------------------------------------------------------------------------------------------------------- */

struct http;

int http_start(struct http **out, const struct options *options, struct store *store, struct source *source);
unsigned http_port(const struct http *http);
/* Accepts no connection any more and ends those that are open with their next answer. */
void http_drain(struct http *http);
unsigned http_active(struct http *http); /* requests being answered */
void http_stop(struct http *http);

#endif
