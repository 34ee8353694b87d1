/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report.h"

#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

FILE *hpx_human(const char *json) { return json && !strcmp(json, "-") ? stderr : stdout; }

char *hpx_grouped(char *buffer, uint64_t number)
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
	char *to = buffer;

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = 0;
	return buffer;
}

static char *with_unit(char *buffer, double value, const char *const *units, unsigned count, double step)
{
	unsigned unit = 0;

	while (unit + 1 < count && value >= step) {
		value /= step;
		unit++;
	}
	snprintf(buffer, 32, "%.*f %s", unit == 0 ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0, value, units[unit]);
	return buffer;
}

char *hpx_bytes(char *buffer, double bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};

	return with_unit(buffer, bytes, units, 5, 1024);
}

char *hpx_duration(char *buffer, double nanoseconds)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};

	return with_unit(buffer, nanoseconds, units, 4, 1000);
}

static double loads_per_life(const hpx_result *result)
{
	return result->lives ? (double)(result->loads - result->load_errors) / (double)result->lives : 0;
}

static uint64_t leaked(const hpx_result *result)
{
	uint64_t freed = result->env.objects_freed;

	return result->env.objects_born > freed ? result->env.objects_born - freed : 0;
}

static void row(FILE *to, const char *label, const char *text) { fprintf(to, "  %-28s %24s\n", label, text); }

static void row_count(FILE *to, const char *label, uint64_t number)
{
	char text[32];

	row(to, label, hpx_grouped(text, number));
}

static void row_share(FILE *to, const char *label, uint64_t part, uint64_t whole)
{
	char text[64];
	char number[32];

	snprintf(text, sizeof(text), "%s (%.1f %%)", hpx_grouped(number, part),
		 whole ? 100.0 * (double)part / (double)whole : 0);
	row(to, label, text);
}

static void show_latency(const hpx_result *result, FILE *to)
{
	static const struct {
		const char *label;
		double part;
	} rows[] = {{"get, median", 0.5}, {"get, p99", 0.99}, {"get, p99.9", 0.999}, {"get, longest", 1}};
	char text[32];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		row(to, rows[i].label, hpx_duration(text, (double)hpx_histogram_at(&result->latency, rows[i].part)));
}

static void show_garbage(const hpx_result *result, FILE *to)
{
	char text[80];
	char peak[32];
	char bound[32];

	snprintf(text, sizeof(text), "%s of %s", hpx_bytes(peak, (double)result->env.garbage_peak_bytes),
		 hpx_bytes(bound, (double)result->env.garbage_bound_bytes));
	row(to, "garbage, peak of bound", text);
}

void hpx_report_table(const hpx_result *result, FILE *to)
{
	char text[64];

	fprintf(to, "\nhapax-stress %s%s, hapax %s, seed 0x%llx\n", result->command,
		result->interrupted ? " (interrupted)" : "", hapax_version(), (unsigned long long)result->seed);
	snprintf(text, sizeof(text), "%u, %.2f s", result->threads, result->seconds);
	row(to, "threads, time", text);
	row_count(to, "requests", result->requests);
	row_count(to, "requests per second",
		  result->seconds > 0 ? (uint64_t)((double)result->requests / result->seconds) : 0);
	row_share(to, "hits", result->hits, result->requests);
	row_count(to, "loads", result->loads);
	row_count(to, "load errors", result->load_errors);
	for (unsigned i = 0; i < result->errors_used; i++) {
		snprintf(text, sizeof(text), "  %.40s", strerror(result->errors[i].error));
		row_count(to, text, result->errors[i].count);
	}
	row_count(to, "lives", result->lives);
	snprintf(text, sizeof(text), "%.3f", loads_per_life(result));
	row(to, "loads per life", text);
	row_count(to, "overlapping lives", result->overlapping_lives);
	row_count(to, "wrong values", result->wrong_values);
	for (unsigned i = 0; i < result->notes_used; i++)
		if (result->notes[i].label)
			row_count(to, result->notes[i].label, result->notes[i].value);
	row_count(to, "born", result->env.objects_born);
	row_count(to, "destroyed", result->env.objects_destroyed);
	row_count(to, "freed", result->env.objects_freed);
	row_count(to, "leaked", leaked(result));
	show_garbage(result, to);
	show_latency(result, to);
	if (!result->broken_used) {
		fputs("\nAll promises held.\n", to);
	} else {
		unsigned shown = result->broken_used < HPX_RESULT_BROKEN ? result->broken_used : HPX_RESULT_BROKEN;

		fprintf(to, "\n%u broken:\n", result->broken_used);
		for (unsigned i = 0; i < shown; i++)
			fprintf(to, "  %s\n", result->broken[i]);
		if (result->repeat[0])
			fprintf(to, "Again with: %s\n", result->repeat);
	}
	fflush(to);
}

/* --- JSON --- */

void hpx_json_count(json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

json_object *hpx_latency_json(const hpx_histogram *latency)
{
	json_object *object = json_object_new_object();

	hpx_json_count(object, "p50", hpx_histogram_at(latency, 0.5));
	hpx_json_count(object, "p99", hpx_histogram_at(latency, 0.99));
	hpx_json_count(object, "p999", hpx_histogram_at(latency, 0.999));
	hpx_json_count(object, "max", latency->max);
	return object;
}

static json_object *errors_json(const hpx_result *result)
{
	json_object *object = json_object_new_object();

	for (unsigned i = 0; i < result->errors_used; i++) {
		const char *name = strerrorname_np(result->errors[i].error);
		char number[16];

		snprintf(number, sizeof(number), "%d", result->errors[i].error);
		hpx_json_count(object, name ? name : number, result->errors[i].count);
	}
	return object;
}

static json_object *broken_json(const hpx_result *result)
{
	json_object *array = json_object_new_array();

	for (unsigned i = 0; i < result->broken_used && i < HPX_RESULT_BROKEN; i++)
		json_object_array_add(array, json_object_new_string(result->broken[i]));
	return array;
}

int hpx_report_json(const hpx_result *result, const char *path)
{
	json_object *object = json_object_new_object();
	int status;

	json_object_object_add(object, "command", json_object_new_string(result->command));
	json_object_object_add(object, "version", json_object_new_string(hapax_version()));
	hpx_json_count(object, "seed", result->seed);
	hpx_json_count(object, "threads", result->threads);
	json_object_object_add(object, "seconds", json_object_new_double(result->seconds));
	json_object_object_add(object, "ok", json_object_new_boolean(!result->broken_used));
	json_object_object_add(object, "interrupted", json_object_new_boolean(result->interrupted));
	hpx_json_count(object, "requests", result->requests);
	hpx_json_count(object, "hits", result->hits);
	hpx_json_count(object, "loads", result->loads);
	hpx_json_count(object, "load_errors", result->load_errors);
	json_object_object_add(object, "load_errors_by_errno", errors_json(result));
	hpx_json_count(object, "lives", result->lives);
	json_object_object_add(object, "loads_per_life", json_object_new_double(loads_per_life(result)));
	hpx_json_count(object, "overlapping_lives", result->overlapping_lives);
	hpx_json_count(object, "wrong_values", result->wrong_values);
	hpx_json_count(object, "born", result->env.objects_born);
	hpx_json_count(object, "destroyed", result->env.objects_destroyed);
	hpx_json_count(object, "freed", result->env.objects_freed);
	hpx_json_count(object, "leaked", leaked(result));
	hpx_json_count(object, "garbage_peak_bytes", result->env.garbage_peak_bytes);
	hpx_json_count(object, "garbage_bound_bytes", result->env.garbage_bound_bytes);
	hpx_json_count(object, "garbage_waits", result->env.garbage_waits);
	hpx_json_count(object, "grace_periods", result->env.grace_periods);
	json_object_object_add(object, "latency_ns", hpx_latency_json(&result->latency));
	for (unsigned i = 0; i < result->notes_used; i++)
		hpx_json_count(object, result->notes[i].field, result->notes[i].value);
	json_object_object_add(object, "broken", broken_json(result));
	if (result->repeat[0])
		json_object_object_add(object, "repeat", json_object_new_string(result->repeat));
	status = hpx_json_write(result->command, object, path);
	json_object_put(object);
	return status;
}

int hpx_output_check(const char *command, const char *option, const char *path)
{
	char folder[PATH_MAX];
	struct stat info;

	if (!path || !strcmp(path, "-"))
		return 0;
	if (strlen(path) >= sizeof(folder) - 8)
		return hpx_input_error(command, "--%s: the path is too long", option);
	if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
		return hpx_input_error(command, "--%s: '%s' is a folder", option, path);
	strcpy(folder, path);
	if (access(dirname(folder), W_OK | X_OK)) {
		int error = errno;

		strcpy(folder, path);
		return hpx_input_error(command, "--%s: cannot write into '%s': %s", option, dirname(folder),
				       strerror(error));
	}
	return 0;
}

int hpx_json_check(const char *command, const char *json) { return hpx_output_check(command, "json", json); }

static int write_all(int fd, const char *text, size_t size)
{
	while (size) {
		ssize_t written = write(fd, text, size);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -1;
		text += written;
		size -= (size_t)written;
	}
	return 0;
}

static int write_renamed(const char *text, size_t size, const char *path)
{
	char temporary[PATH_MAX];
	mode_t mask = umask(0);
	int error;
	int fd;

	umask(mask);
	snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return errno;
	error = write_all(fd, text, size) || fchmod(fd, 0666 & ~mask) || fsync(fd) ? errno : 0;
	if (close(fd) && !error)
		error = errno;
	if (!error && rename(temporary, path))
		error = errno;
	if (error)
		unlink(temporary);
	return error;
}

int hpx_text_write(const char *command, const char *option, const char *text, size_t size, const char *path)
{
	int error;

	if (!strcmp(path, "-"))
		error = fflush(stdout) || write_all(STDOUT_FILENO, text, size) ? errno : 0;
	else
		error = write_renamed(text, size, path);
	if (error)
		return hpx_input_error(command, "--%s: cannot write '%s': %s", option, path, strerror(error));
	return 0;
}

int hpx_json_write(const char *command, json_object *object, const char *path)
{
	const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
									  JSON_C_TO_STRING_NOSLASHESCAPE);
	size_t size = text ? strlen(text) : 0;
	char *line = malloc(size + 1);
	int status;

	if (!text || !line) {
		free(line);
		return hpx_input_error(command, "--json: out of memory");
	}
	memcpy(line, text, size);
	line[size] = '\n';
	status = hpx_text_write(command, "json", line, size + 1, path);
	free(line);
	return status;
}
