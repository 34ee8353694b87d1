/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * report.h - the two faces of a result: the table for people and the JSON object for machines.
 */
#ifndef HPX_STRESS_REPORT_H
#define HPX_STRESS_REPORT_H

#include "result.h"

#include <stddef.h>

struct json_object;

/* Percentiles of a histogram; the caller's. */
struct json_object *hpx_latency_json(const hpx_histogram *latency);
void hpx_json_count(struct json_object *object, const char *name, uint64_t value);

void hpx_report_table(const hpx_result *result, FILE *to);

/* Returns 0, or HPX_EXIT_INPUT after a message. */
int hpx_report_json(const hpx_result *result, const char *path);

/*
 * Writes one JSON object to `path` so that a reader sees all of it or the file that was there before (a temporary file
 * in the same folder, then rename), or to standard output for "-". Returns 0, or HPX_EXIT_INPUT after a message.
 */
int hpx_json_write(const char *command, struct json_object *object, const char *path);

/* The same for text, for the option named `option`. */
int hpx_text_write(const char *command, const char *option, const char *text, size_t size, const char *path);

/* 1234567 as "1,234,567"; `buffer` of at least 32. Returns it. */
char *hpx_grouped(char *buffer, uint64_t number);
/* Bytes, or nanoseconds, with a unit; `buffer` of at least 32. Returns it. */
char *hpx_bytes(char *buffer, double bytes);
char *hpx_duration(char *buffer, double nanoseconds);

#endif
