/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trace.h"

#include "harness/options.h"
#include "harness/rng.h"
#include "harness/team.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct hpx_store_reader {
	sqlite3 *database;
	sqlite3_stmt *select;
};

void hpx_store_blob(uint64_t key, unsigned char *blob, size_t size)
{
	hpx_rng rng = {hpx_mix64(key)};

	while (size) {
		uint64_t word = hpx_rng_next(&rng);
		size_t length = size < sizeof(word) ? size : sizeof(word);

		memcpy(blob, &word, length);
		blob += length;
		size -= length;
	}
}

/* SQLite's integers are signed: the key's bits, whatever their sign. */
static sqlite3_int64 sql_key(uint64_t key)
{
	sqlite3_int64 bits;

	memcpy(&bits, &key, sizeof(bits));
	return bits;
}

static int insert_all(sqlite3 *database, const hpx_trace *trace, size_t blob, unsigned char *bytes)
{
	sqlite3_stmt *insert = NULL;
	int status = sqlite3_exec(database,
				  "PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
				  "CREATE TABLE blobs (key INTEGER PRIMARY KEY, value BLOB NOT NULL); BEGIN",
				  NULL, NULL, NULL);

	if (status == SQLITE_OK)
		status = sqlite3_prepare_v2(database, "INSERT INTO blobs VALUES (?1, ?2)", -1, &insert, NULL);
	for (uint64_t i = 0; status == SQLITE_OK && i < trace->count; i++) {
		if (hpx_interrupted()) {
			status = SQLITE_INTERRUPT;
			break;
		}
		hpx_store_blob(trace->keys[i], bytes, blob);
		sqlite3_bind_int64(insert, 1, sql_key(trace->keys[i]));
		/* a size of 0 is a blob too, not NULL: `bytes` is never NULL */
		sqlite3_bind_blob64(insert, 2, bytes, blob, SQLITE_STATIC);
		status = sqlite3_step(insert) == SQLITE_DONE ? SQLITE_OK : sqlite3_errcode(database);
		sqlite3_reset(insert);
	}
	sqlite3_finalize(insert);
	return status == SQLITE_OK ? sqlite3_exec(database, "COMMIT", NULL, NULL, NULL) : status;
}

/* A file of our own under that name; with "XXXXXX" at its end a fresh name. */
static int create_file(hpx_store *store, const char *path)
{
	const char *folder = getenv("TMPDIR");
	int fd;

	store->temporary = !path;
	if (path)
		store->path = strdup(path);
	else if (asprintf(&store->path, "%s/hapax-stress-XXXXXX", folder && *folder ? folder : "/tmp") < 0)
		store->path = NULL;
	if (!store->path)
		return hpx_input_error("trace", "out of memory");
	fd = path ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : mkostemp(store->path, O_CLOEXEC);
	if (fd < 0) {
		int status = hpx_input_error("trace", "--db: cannot create '%s': %s", store->path, strerror(errno));

		free(store->path);
		store->path = NULL;
		return status;
	}
	close(fd);
	return 0;
}

int hpx_store_create(hpx_store *store, const char *path, const hpx_trace *trace, size_t blob)
{
	unsigned char *bytes = malloc(blob ? blob : 1);
	sqlite3 *database = NULL;
	int status = create_file(store, path);

	if (status) {
		free(bytes);
		return status;
	}
	/* no counters behind one global mutex: the threads should meet in hapax, not there */
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	status = bytes ? sqlite3_open_v2(store->path, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL)
		       : SQLITE_NOMEM;
	if (status == SQLITE_OK)
		status = insert_all(database, trace, blob, bytes);
	if (status != SQLITE_OK)
		hpx_input_error("trace", "--db: '%s' cannot be filled: %s", store->path,
				status == SQLITE_INTERRUPT ? "interrupted" : sqlite3_errstr(status));
	sqlite3_close(database);
	free(bytes);
	if (status == SQLITE_OK)
		return 0;
	store->temporary = 1;
	hpx_store_fini(store);
	return HPX_EXIT_INPUT;
}

void hpx_store_fini(hpx_store *store)
{
	if (store->path && store->temporary)
		unlink(store->path);
	free(store->path);
	store->path = NULL;
}

/* "file:" with everything escaped that means something in a URI. */
static char *uri_of(const char *path)
{
	static const char suffix[] = "?immutable=1";
	char *uri = malloc(5 + 3 * strlen(path) + sizeof(suffix));
	char *to = uri;

	if (!uri)
		return NULL;
	to += sprintf(to, "file:");
	for (; *path; path++) {
		if (strchr("?#%", *path))
			to += sprintf(to, "%%%02x", (unsigned char)*path);
		else
			*to++ = *path;
	}
	memcpy(to, suffix, sizeof(suffix));
	return uri;
}

hpx_store_reader *hpx_store_open(const hpx_store *store)
{
	hpx_store_reader *reader = calloc(1, sizeof(*reader));
	char *uri = uri_of(store->path);
	int status = SQLITE_NOMEM;

	/* immutable: nobody writes any more, so readers need no file locks */
	if (reader && uri)
		status = sqlite3_open_v2(uri, &reader->database,
					 SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
	if (status == SQLITE_OK)
		status = sqlite3_exec(reader->database, "PRAGMA mmap_size = 1073741824", NULL, NULL, NULL);
	if (status == SQLITE_OK)
		status = sqlite3_prepare_v3(reader->database, "SELECT value FROM blobs WHERE key = ?1", -1,
					    SQLITE_PREPARE_PERSISTENT, &reader->select, NULL);
	free(uri);
	if (status == SQLITE_OK)
		return reader;
	hpx_input_error("trace", "--db: '%s' cannot be opened: %s", store->path, sqlite3_errstr(status));
	hpx_store_close(reader);
	return NULL;
}

void hpx_store_close(hpx_store_reader *reader)
{
	if (!reader)
		return;
	sqlite3_finalize(reader->select);
	sqlite3_close(reader->database);
	free(reader);
}

int hpx_store_fetch(hpx_store_reader *reader, uint64_t key, unsigned char *blob, size_t size)
{
	int status;

	sqlite3_bind_int64(reader->select, 1, sql_key(key));
	status = sqlite3_step(reader->select);
	if (status == SQLITE_ROW) {
		if ((size_t)sqlite3_column_bytes(reader->select, 0) == size) {
			if (size)
				memcpy(blob, sqlite3_column_blob(reader->select, 0), size);
			status = 0;
		} else {
			status = EIO;
		}
	} else {
		status = status == SQLITE_DONE ? ENOENT : EIO;
	}
	sqlite3_reset(reader->select);
	return status;
}
