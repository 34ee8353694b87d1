/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests and responses. A response sends straight from the content that the store lent, and gives it back when the last byte
 * has gone out or the client has: nothing is copied, and what is evicted meanwhile stays until then.
 */
#define _GNU_SOURCE
#include "server.h"
#include "dashboard.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct http {
	struct MHD_Daemon *daemon;
	struct store *store;
	struct source *source;
	int listening; /* after the drain began: ours to close */
	_Atomic bool draining;
	_Atomic unsigned active;
	_Atomic uint64_t requests, sent, statuses[6]; /* by the first digit; 0: others */
};

/* Of a POST. Other requests need no memory of ours. */
struct upload {
	struct text text;
	bool too_long;
};
static struct upload no_upload;

struct exchange {
	struct http *http;
	struct MHD_Connection *connection;
	const char *method, *url;
};

typedef enum MHD_Result result;

/* ---- responses ---------------------------------------------------------------------------------------------------- */

static result send_response(struct exchange *x, unsigned status, struct MHD_Response *response)
{
	result queued;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	if (atomic_load_explicit(&x->http->draining, memory_order_relaxed))
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	queued = MHD_queue_response(x->connection, status, response);
	atomic_fetch_add_explicit(&x->http->statuses[status / 100 < 6 ? status / 100 : 0], 1, memory_order_relaxed);
	MHD_destroy_response(response); /* the connection holds it */
	return queued;
}

static result send_plain(struct exchange *x, unsigned status, const char *message)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(strlen(message), (void *)(uintptr_t)message,
									MHD_RESPMEM_PERSISTENT);

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, strncmp(x->url, "/record/", 8) ? "GET, HEAD" : "GET, HEAD, POST");
	if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
	return send_response(x, status, response);
}

/* Takes the text. */
static result send_text(struct exchange *x, struct text *text, const char *type)
{
	struct MHD_Response *response;

	if (text->failed) {
		text_free(text);
		return send_plain(x, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	}
	response = MHD_create_response_from_buffer(text->size, text->data, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		text_free(text);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	return send_response(x, MHD_HTTP_OK, response);
}

static result send_outcome(struct exchange *x, enum outcome outcome)
{
	switch (outcome) {
	case NONE: return send_plain(x, MHD_HTTP_NOT_FOUND, "not found\n");
	case LATE: return send_plain(x, MHD_HTTP_GATEWAY_TIMEOUT, "it takes too long\n");
	default: return send_plain(x, MHD_HTTP_SERVICE_UNAVAILABLE, "it cannot be had now\n");
	}
}

static void give_back(void *content)
{
	store_release(content);
}

static const char *header(struct exchange *x, const char *name)
{
	return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

/* The client has this very version. */
static bool has_it(struct exchange *x, const struct content *content)
{
	const char *etags = header(x, MHD_HTTP_HEADER_IF_NONE_MATCH), *since;
	struct tm when = {0};

	if (etags)
		return strstr(etags, content->etag) || !strcmp(etags, "*");
	since = content->modified ? header(x, MHD_HTTP_HEADER_IF_MODIFIED_SINCE) : NULL;
	return since && strptime(since, "%a, %d %b %Y %H:%M:%S GMT", &when) && content->modified <= timegm(&when);
}

static struct MHD_Response *from_disk(struct exchange *x)
{
	struct MHD_Response *response;
	uint64_t size;
	int fd = file_open(x->http->source, x->url + 7, &size);

	if (fd < 0)
		return NULL;
	response = MHD_create_response_from_fd64(size, fd);
	if (!response)
		close(fd);
	return response;
}

/* Takes the caller's hold on the content. */
static result send_content(struct exchange *x, const struct content *content)
{
	struct MHD_Response *response;
	unsigned status = MHD_HTTP_OK;
	char date[64];

	if (has_it(x, content)) {
		status = MHD_HTTP_NOT_MODIFIED;
		response = MHD_create_response_from_buffer(0, (void *)(uintptr_t)"", MHD_RESPMEM_PERSISTENT);
	} else if (content->data) {
		response = MHD_create_response_from_buffer_with_free_callback_cls(content->size, content->data, give_back,
										  (void *)(uintptr_t)content);
	} else {
		response = from_disk(x);
		if (!response) {
			store_release(content);
			return send_plain(x, MHD_HTTP_NOT_FOUND, "not found\n");
		}
	}
	if (!response) {
		store_release(content);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content->type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, content->etag);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
	if (content->modified) {
		struct tm when;

		gmtime_r(&content->modified, &when);
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &when);
		MHD_add_response_header(response, MHD_HTTP_HEADER_LAST_MODIFIED, date);
	}
	if (status == MHD_HTTP_OK && content->data)
		atomic_fetch_add_explicit(&x->http->sent, content->size, memory_order_relaxed);
	else
		store_release(content); /* the response has nothing of it */
	return send_response(x, status, response);
}

/* ---- what there is ------------------------------------------------------------------------------------------------ */

/* Decimal, one way to write it: so that one record has one key. */
static bool number_of(const char *digits, uint64_t max, uint64_t *value)
{
	size_t n = strspn(digits, "0123456789");

	if (n == 0 || digits[n] || n > 18 || (n > 1 && digits[0] == '0'))
		return false;
	*value = strtoull(digits, NULL, 10);
	return *value <= max;
}

static bool is_utf8(const char *text, size_t size)
{
	const unsigned char *at = (const unsigned char *)text, *end = at + size;

	while (at < end) {
		int more = *at < 0x80 ? 0 : *at >= 0xc2 && *at < 0xe0 ? 1 : (*at & 0xf0) == 0xe0 ? 2 : *at >= 0xf0 && *at < 0xf5 ? 3 : -1;

		if (more < 0 || end - at <= more || *at == 0 || (*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f) ||
		    (*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] > 0x8f))
			return false;
		for (at++; more; more--, at++)
			if ((*at & 0xc0) != 0x80)
				return false;
	}
	return true;
}

static result write_record(struct exchange *x, uint64_t id, struct upload *upload)
{
	enum outcome outcome;

	if (upload->too_long)
		return send_plain(x, MHD_HTTP_CONTENT_TOO_LARGE, "a record's text has at most 65536 bytes\n");
	if (upload->text.failed)
		return send_plain(x, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	if (!upload->text.size)
		return send_plain(x, MHD_HTTP_BAD_REQUEST, "the new text is missing\n");
	if (!is_utf8(upload->text.data, upload->text.size))
		return send_plain(x, MHD_HTTP_BAD_REQUEST, "the text is not UTF-8, or has a zero in it\n");
	outcome = record_write(x->http->source->database, id, upload->text.data, upload->text.size);
	if (outcome != DONE)
		return send_outcome(x, outcome);
	store_written(x->http->store, x->url + 1); /* before the answer: who has it reads the new text */
	return send_plain(x, MHD_HTTP_OK, "changed\n");
}

static result send_page(struct exchange *x)
{
	const struct content *content;
	enum outcome outcome = store_page(x->http->store, x->url + 1, &content);

	return outcome == DONE ? send_content(x, content) : send_outcome(x, outcome);
}

static result get_record(struct exchange *x)
{
	uint64_t id;

	if (!number_of(x->url + 8, INT64_MAX, &id))
		return send_plain(x, MHD_HTTP_BAD_REQUEST, "a record is a decimal number\n");
	return send_page(x);
}

static result get_file(struct exchange *x)
{
	if (!file_path_ok(x->url + 7))
		return send_plain(x, MHD_HTTP_FORBIDDEN, "empty and hidden names, and those that lead upwards, are refused\n");
	return send_page(x);
}

static result get_prices(struct exchange *x, const char *tenant, size_t size, const char *category)
{
	const struct content *content;
	char name[TENANT_NAME_MAX + 1];
	enum outcome outcome;
	uint64_t number;

	if (size == 0 || size > TENANT_NAME_MAX || strspn(tenant, "abcdefghijklmnopqrstuvwxyz0123456789-") < size)
		return send_plain(x, MHD_HTTP_BAD_REQUEST, "a tenant's name has 1 to 31 of a-z, 0-9 and -\n");
	if (!number_of(category, CATEGORIES - 1, &number))
		return send_plain(x, MHD_HTTP_BAD_REQUEST, "a category is a number from 0 to 39\n");
	memcpy(name, tenant, size);
	name[size] = 0;
	outcome = store_prices(x->http->store, name, (unsigned)number, &content);
	return outcome == DONE ? send_content(x, content) : send_outcome(x, outcome);
}

/* /t/NAME/prices/CATEGORY, or /prices/CATEGORY with a header X-Tenant */
static result get_tenant(struct exchange *x)
{
	const char *name, *rest;

	if (!strncmp(x->url, "/prices/", 8)) {
		name = header(x, "X-Tenant");
		if (!name)
			return send_plain(x, MHD_HTTP_BAD_REQUEST, "the header X-Tenant is missing\n");
		return get_prices(x, name, strlen(name), x->url + 8);
	}
	name = x->url + 3;
	rest = name + strcspn(name, "/");
	if (strncmp(rest, "/prices/", 8))
		return send_plain(x, MHD_HTTP_NOT_FOUND, "not found\n");
	return get_prices(x, name, (size_t)(rest - name), rest + 8);
}

static result get_dashboard(struct exchange *x)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(dashboard_size, (void *)(uintptr_t)dashboard,
									MHD_RESPMEM_PERSISTENT);

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/html; charset=utf-8");
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
	MHD_add_response_header(response, "Content-Security-Policy",
				"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:");
	return send_response(x, MHD_HTTP_OK, response);
}

static result get_health(struct exchange *x)
{
	if (atomic_load_explicit(&x->http->draining, memory_order_relaxed))
		return send_plain(x, MHD_HTTP_SERVICE_UNAVAILABLE, "ending\n");
	return send_plain(x, MHD_HTTP_OK, "ok\n");
}

/* What the server counts itself, by any store. */
static result get_server(struct exchange *x)
{
	struct store_counts c;
	struct text text = {0};

	store_counts(x->http->store, &c);
	text_printf(&text, "{\"store\":\"%s\",\"requests\":%" PRIu64 ",\"active\":%u,\"sent\":%" PRIu64 ",\"queries\":%" PRIu64
		    ",\"hits\":%" PRIu64 ",\"misses\":%" PRIu64 ",\"loads\":%" PRIu64 ",\"failures\":%" PRIu64 ",\"entries\":%" PRIu64
		    ",\"bytes\":%" PRIu64 "}\n",
		    store_name, atomic_load(&x->http->requests), atomic_load(&x->http->active), atomic_load(&x->http->sent),
		    database_queries(x->http->source->database), c.hits, c.misses, c.loads, c.failures, c.entries, c.bytes);
	return send_text(x, &text, "application/json");
}

static void add_metric(struct text *text, const char *name, const char *type, const char *help, uint64_t value)
{
	text_printf(text, "# HELP server_%s %s\n# TYPE server_%s %s\nserver_%s %" PRIu64 "\n", name, help, name, type, name, value);
}

static result get_metrics(struct exchange *x)
{
	struct text text = {0};

	(void)store_metrics(x->http->store, METRICS_PROMETHEUS, &text);
	add_metric(&text, "requests_total", "counter", "Requests.", atomic_load(&x->http->requests));
	add_metric(&text, "requests_active", "gauge", "Requests being answered.", atomic_load(&x->http->active));
	add_metric(&text, "database_queries_total", "counter", "Times that the database was asked for a page, a tenant or a list.",
		   database_queries(x->http->source->database));
	add_metric(&text, "sent_bytes_total", "counter", "Bytes of contents sent from memory.", atomic_load(&x->http->sent));
	text_str(&text, "# HELP server_responses_total Responses by class of status.\n# TYPE server_responses_total counter\n");
	for (unsigned i = 1; i < 6; i++)
		text_printf(&text, "server_responses_total{status=\"%uxx\"} %" PRIu64 "\n", i, atomic_load(&x->http->statuses[i]));
	return send_text(x, &text, "text/plain; version=0.0.4; charset=utf-8");
}

static result get_stats(struct exchange *x)
{
	struct text text = {0};

	if (store_metrics(x->http->store, METRICS_JSON, &text))
		return send_text(x, &text, "application/json");
	text_free(&text);
	return send_plain(x, MHD_HTTP_NOT_FOUND, "this store has no statistics\n");
}

static const struct route {
	const char *path;
	bool below; /* with anything after it */
	result (*get)(struct exchange *x);
} routes[] = {
	{"/record/", true, get_record}, {"/files/", true, get_file},         {"/t/", true, get_tenant},
	{"/prices/", true, get_tenant}, {"/", false, get_dashboard},         {"/metrics", false, get_metrics},
	{"/stats.json", false, get_stats}, {"/server.json", false, get_server}, {"/healthz", false, get_health},
};

static result answer_get(struct exchange *x)
{
	if (strlen(x->url) > KEY_SIZE_MAX)
		return send_plain(x, MHD_HTTP_URI_TOO_LONG, "the address is too long\n");
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
		if (routes[i].below ? !strncmp(x->url, routes[i].path, strlen(routes[i].path)) : !strcmp(x->url, routes[i].path))
			return routes[i].get(x);
	return send_plain(x, MHD_HTTP_NOT_FOUND, "not found\n");
}

static result answer_post(struct exchange *x, struct upload *upload)
{
	uint64_t id;

	if (strncmp(x->url, "/record/", 8))
		return send_plain(x, MHD_HTTP_METHOD_NOT_ALLOWED, "only records can be written\n");
	if (!number_of(x->url + 8, INT64_MAX, &id))
		return send_plain(x, MHD_HTTP_BAD_REQUEST, "a record is a decimal number\n");
	return write_record(x, id, upload);
}

/* ---- libmicrohttpd ------------------------------------------------------------------------------------------------ */

/* Called when the headers have come, for each piece of a body, and at its end. */
static result answer(void *context, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
		     const char *piece, size_t *size, void **state)
{
	struct exchange x = {context, connection, method, url};
	bool post = !strcmp(method, MHD_HTTP_METHOD_POST);
	struct upload *upload = *state;

	(void)version;
	if (!upload) {
		const char *length = header(&x, MHD_HTTP_HEADER_CONTENT_LENGTH);

		atomic_fetch_add_explicit(&x.http->active, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&x.http->requests, 1, memory_order_relaxed);
		*state = &no_upload;
		if (length && strtoull(length, NULL, 10) > RECORD_TEXT_MAX) /* answered before it is sent */
			return send_plain(&x, MHD_HTTP_CONTENT_TOO_LARGE, "a record's text has at most 65536 bytes\n");
		if (post && !(*state = calloc(1, sizeof(struct upload)))) {
			*state = &no_upload;
			return send_plain(&x, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
		}
		return MHD_YES;
	}
	if (*size) {
		if (upload != &no_upload && !upload->too_long) {
			upload->too_long = upload->text.size + *size > RECORD_TEXT_MAX;
			if (!upload->too_long)
				text_add(&upload->text, piece, *size);
		}
		*size = 0;
		return MHD_YES;
	}
	if (post)
		return answer_post(&x, upload);
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return send_plain(&x, MHD_HTTP_METHOD_NOT_ALLOWED, "GET, HEAD and POST are understood\n");
	return answer_get(&x);
}

static void completed(void *context, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode code)
{
	struct http *http = context;
	struct upload *upload = *state;

	(void)connection, (void)code;
	if (!upload)
		return;
	if (upload != &no_upload) {
		text_free(&upload->text);
		free(upload);
	}
	*state = NULL;
	atomic_fetch_sub_explicit(&http->active, 1, memory_order_relaxed);
}

int http_start(struct http **out, const struct options *options, struct store *store, struct source *source)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options->port)};
	unsigned flags = MHD_USE_ITC | MHD_USE_ERROR_LOG;
	struct http *http;

	if (inet_pton(AF_INET, options->address, &address.sin_addr) != 1) {
		fprintf(stderr, "%s: not an IPv4 address\n", options->address);
		return -1;
	}
	http = calloc(1, sizeof(*http));
	if (!http)
		return -1;
	http->store = store;
	http->source = source;
	http->listening = -1;
	flags |= options->threads ? MHD_USE_EPOLL_INTERNAL_THREAD : MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_THREAD_PER_CONNECTION;
	http->daemon = MHD_start_daemon(flags, (uint16_t)options->port, NULL, NULL, answer, http,
					MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address,
					MHD_OPTION_THREAD_POOL_SIZE, options->threads > 1 ? options->threads : 0u,
					MHD_OPTION_CONNECTION_LIMIT, 4096u, MHD_OPTION_CONNECTION_TIMEOUT, 60u,
					MHD_OPTION_NOTIFY_COMPLETED, completed, http, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u,
					MHD_OPTION_END);
	if (!http->daemon) {
		fprintf(stderr, "%s:%u: cannot listen there\n", options->address, options->port);
		free(http);
		return -1;
	}
	*out = http;
	return 0;
}

unsigned http_port(const struct http *http)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_LISTEN_FD);
	struct sockaddr_in address = {0};
	socklen_t size = sizeof(address);

	if (!info || getsockname(info->listen_fd, (struct sockaddr *)&address, &size))
		return 0;
	return ntohs(address.sin_port);
}

void http_drain(struct http *http)
{
	atomic_store_explicit(&http->draining, true, memory_order_relaxed);
	http->listening = MHD_quiesce_daemon(http->daemon);
}

unsigned http_active(struct http *http)
{
	return atomic_load_explicit(&http->active, memory_order_relaxed);
}

void http_stop(struct http *http)
{
	MHD_stop_daemon(http->daemon); /* ends the connections: responses give back what they hold */
	if (http->listening >= 0)
		close(http->listening);
	free(http);
}
