/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

#include "harness/options.h"
#include "harness/report.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char reference_file[] = "reference-hit-ratios.csv";
static const char reference_header[] = "trace,algo,size_fraction,cache_size,hit_ratio";

/* The traces of the folder: which names mean what. */
static const struct ending {
	const char *text;
	hpx_trace_form form;
} endings[] = {
	{".u64.zst", {.command = "policy"}},
	{".kv.zst", {.command = "policy", .sized = true}},
	{".u64", {.command = "policy", .plain = true}},
	{".kv", {.command = "policy", .sized = true, .plain = true}},
};

struct file {
	char *name; /* in the folder */
	char *stem; /* without the ending */
	const hpx_trace_form *form;
};

struct files {
	size_t count, room;
	struct file *file;
};

static int no_memory(void) { return hpx_input_error("policy", "out of memory"); }

static const struct ending *ending_of(const char *name, size_t *stem)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		size_t size = strlen(endings[i].text);

		*stem = length - size;
		if (length > size && !strcmp(name + length - size, endings[i].text))
			return &endings[i];
	}
	return NULL;
}

/* A trace may be named by its file, or without the ending. */
static bool wanted(const struct file *file, const char *const *only, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!strcmp(only[i], file->name) || !strcmp(only[i], file->stem))
			return true;
	return !count;
}

static int by_name(const void *a, const void *b)
{
	const struct file *left = a;
	const struct file *right = b;
	int order = strcmp(left->stem, right->stem);

	return order ? order : (int)left->form->sized - (int)right->form->sized;
}

static int add_file(struct files *files, const char *name, const char *const *only, unsigned only_count)
{
	struct file file = {NULL, NULL, NULL};
	size_t stem;
	const struct ending *ending = ending_of(name, &stem);

	if (!ending)
		return 0;
	if (files->count == files->room) {
		size_t room = files->room ? 2 * files->room : 32;
		struct file *grown = realloc(files->file, room * sizeof(*grown));

		if (!grown)
			return no_memory();
		files->file = grown;
		files->room = room;
	}
	file.name = strdup(name);
	file.stem = strndup(name, stem);
	file.form = &ending->form;
	if (file.name && file.stem && wanted(&file, only, only_count)) {
		files->file[files->count++] = file;
		return 0;
	}
	ending = file.name && file.stem ? ending : NULL;
	free(file.name);
	free(file.stem);
	return ending ? 0 : no_memory();
}

static int check_files(const struct files *files, const char *folder, const char *const *only, unsigned only_count)
{
	for (unsigned i = 0; i < only_count; i++) {
		bool found = false;

		for (size_t k = 0; k < files->count; k++)
			found = found || wanted(&files->file[k], only + i, 1);
		if (!found)
			return hpx_input_error("policy", "--trace: no trace '%s' in '%s'", only[i], folder);
	}
	if (!files->count)
		return hpx_input_error("policy", "%s: no traces (*.u64.zst, *.kv.zst, *.u64, *.kv)", folder);
	for (size_t i = 1; i < files->count; i++)
		if (!by_name(&files->file[i - 1], &files->file[i]))
			return hpx_input_error("policy", "%s: '%s' and '%s' are the same trace", folder,
					       files->file[i - 1].name, files->file[i].name);
	return 0;
}

static int list(struct files *files, const char *folder, const char *const *only, unsigned only_count)
{
	struct dirent *entry;
	int status = 0;
	DIR *directory = opendir(folder);

	if (!directory)
		return hpx_input_error("policy", "%s: %s", folder, strerror(errno));
	for (;;) {
		errno = 0;
		entry = readdir(directory);
		if (!entry || status)
			break;
		status = add_file(files, entry->d_name, only, only_count);
	}
	if (!status && errno)
		status = hpx_input_error("policy", "%s: %s", folder, strerror(errno));
	closedir(directory);
	if (status)
		return status;
	if (files->count)
		qsort(files->file, files->count, sizeof(*files->file), by_name);
	return check_files(files, folder, only, only_count);
}

static void drop(struct files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		free(files->file[i].name);
		free(files->file[i].stem);
	}
	free(files->file);
}

/* What all keys weigh, each with its last size. */
static int weigh_all(const hpx_trace *trace, uint64_t *bytes)
{
	uint32_t *last = calloc(trace->count, sizeof(*last));

	if (!last)
		return no_memory();
	for (uint64_t i = 0; i < trace->requests; i++)
		last[trace->order[i]] = trace->sizes[i] ? trace->sizes[i] : 1;
	*bytes = 0;
	for (uint64_t i = 0; i < trace->count; i++)
		*bytes += last[i];
	free(last);
	return 0;
}

static int add_series(hpx_input *input, const char *stem, hpx_trace *trace, bool weighted)
{
	hpx_series *series = &input->series[input->count];

	if (asprintf(&series->name, "%s%s", stem, weighted ? ".kv" : "") < 0) {
		series->name = NULL;
		return no_memory();
	}
	series->trace = trace;
	series->weighted = weighted;
	series->production = strncmp(stem, "lirs-", 5) != 0 && strncmp(stem, "addr-", 5) != 0;
	input->count++;
	return weighted ? weigh_all(trace, &series->bytes) : 0;
}

static int read_traces(hpx_input *input, const struct files *files, const char *folder, FILE *to)
{
	char keys[32];
	char requests[32];
	int status = 0;

	input->trace = calloc(files->count, sizeof(*input->trace));
	input->series = calloc(2 * files->count, sizeof(*input->series));
	if (!input->trace || !input->series)
		return no_memory();
	for (size_t i = 0; i < files->count && !status; i++) {
		const struct file *file = &files->file[i];
		hpx_trace *trace = &input->trace[i];
		char *path;

		if (asprintf(&path, "%s/%s", folder, file->name) < 0)
			return no_memory();
		status = hpx_trace_read_as(trace, path, file->form);
		free(path);
		if (status)
			return status;
		input->traces++;
		fprintf(to, "%-28s %12s requests for %10s keys\n", file->name, hpx_grouped(requests, trace->requests),
			hpx_grouped(keys, trace->count));
		/* sorted: what has no sizes comes first */
		if (!file->form->sized || !i || strcmp(files->file[i - 1].stem, file->stem) != 0)
			status = add_series(input, file->stem, trace, false);
		if (!status && file->form->sized)
			status = add_series(input, file->stem, trace, true);
	}
	return status;
}

/* --- what others reach --- */

int hpx_reference_algorithm(const hpx_reference *reference, const char *name)
{
	for (unsigned i = 0; i < reference->algorithms; i++)
		if (!strcmp(reference->algorithm[i], name))
			return (int)i;
	return -1;
}

const hpx_reference_row *hpx_reference_find(const hpx_reference *reference, unsigned algorithm, const char *trace,
					    double fraction)
{
	for (size_t i = 0; i < reference->count; i++) {
		const hpx_reference_row *row = &reference->rows[i];

		if (row->algorithm == algorithm && fabs(row->fraction - fraction) < 1e-9 && !strcmp(row->trace, trace))
			return row;
	}
	return NULL;
}

static int algorithm_index(hpx_reference *reference, const char *name)
{
	int index = hpx_reference_algorithm(reference, name);
	char **grown;

	if (index >= 0)
		return index;
	grown = realloc(reference->algorithm, (reference->algorithms + 1) * sizeof(*grown));
	if (!grown)
		return -1;
	reference->algorithm = grown;
	grown[reference->algorithms] = strdup(name);
	return grown[reference->algorithms] ? (int)reference->algorithms++ : -1;
}

/* Cuts a line at its commas: false unless there are exactly five fields, none empty. */
static bool cut(char *line, char **field)
{
	for (unsigned i = 0; i < 5; i++) {
		char *end = strchr(line, ',');

		if ((end != NULL) != (i < 4) || line == end || !*line)
			return false;
		field[i] = line;
		if (end) {
			*end = 0;
			line = end + 1;
		}
	}
	return true;
}

static bool real(const char *text, double most, double *to)
{
	char *end;

	if (strchr("0123456789.", *text) == NULL)
		return false;
	*to = strtod(text, &end);
	return !*end && *to >= 0 && *to <= most;
}

/* NULL, or what is wrong with the line. */
static const char *parse_row(hpx_reference *reference, char *line, size_t *room)
{
	hpx_reference_row row = {0};
	char *field[5];
	double size;
	int algorithm;

	if (!cut(line, field))
		return "not five fields";
	if (!real(field[2], 1, &row.fraction))
		return "size_fraction is not a number from 0 to 1";
	if (!real(field[3], 1e15, &size) || floor(size) != size)
		return "cache_size is not a whole number";
	if (!real(field[4], 1, &row.ratio))
		return "hit_ratio is not a number from 0 to 1";
	if (reference->count == *room) {
		size_t more = *room ? 2 * *room : 1024;
		hpx_reference_row *grown = realloc(reference->rows, more * sizeof(*grown));

		if (!grown)
			return "out of memory";
		reference->rows = grown;
		*room = more;
	}
	algorithm = algorithm_index(reference, field[1]);
	row.trace = strdup(field[0]);
	if (algorithm < 0 || !row.trace) {
		free(row.trace);
		return "out of memory";
	}
	row.algorithm = (unsigned)algorithm;
	row.size = (uint64_t)size;
	reference->rows[reference->count++] = row;
	return NULL;
}

static int read_reference(hpx_reference *reference, const char *folder)
{
	unsigned long long offset = 0;
	const char *wrong = NULL;
	char *line = NULL;
	size_t line_room = 0;
	size_t room = 0;
	bool first = true;
	int status = 0;
	ssize_t length;
	char *path;
	FILE *file;

	if (asprintf(&path, "%s/%s", folder, reference_file) < 0)
		return no_memory();
	file = fopen(path, "re");
	if (!file && errno != ENOENT)
		status = hpx_input_error("policy", "%s: %s", path, strerror(errno));
	while (file && !wrong && (length = getline(&line, &line_room, file)) >= 0) {
		size_t end = (size_t)length;

		if (strlen(line) != end)
			wrong = "a zero byte";
		while (end && (line[end - 1] == '\n' || line[end - 1] == '\r'))
			line[--end] = 0;
		if (!wrong && first && strcmp(line, reference_header) != 0)
			wrong = "the header is another one";
		else if (!wrong && !first)
			wrong = parse_row(reference, line, &room);
		first = false;
		if (!wrong)
			offset += (unsigned long long)length;
	}
	if (wrong)
		status = hpx_input_error("policy", "%s: offset %llu: %s", path, offset, wrong);
	else if (file && ferror(file))
		status = hpx_input_error("policy", "%s: offset %llu: %s", path, offset, strerror(errno));
	else if (file && first)
		status = hpx_input_error("policy", "%s: offset 0: the file is empty", path);
	if (file)
		fclose(file);
	free(line);
	free(path);
	return status;
}

int hpx_policy_input(hpx_input *input, const char *folder, const char *const *only, unsigned only_count, FILE *to)
{
	struct files files = {0, 0, NULL};
	int status;

	memset(input, 0, sizeof(*input));
	status = list(&files, folder, only, only_count);
	if (!status)
		status = read_reference(&input->reference, folder);
	if (!status)
		status = read_traces(input, &files, folder, to);
	drop(&files);
	if (status)
		hpx_policy_input_free(input);
	return status;
}

void hpx_policy_input_free(hpx_input *input)
{
	for (size_t i = 0; i < input->traces; i++)
		hpx_trace_free(&input->trace[i]);
	for (size_t i = 0; i < input->count; i++)
		free(input->series[i].name);
	for (size_t i = 0; i < input->reference.count; i++)
		free(input->reference.rows[i].trace);
	for (unsigned i = 0; i < input->reference.algorithms; i++)
		free(input->reference.algorithm[i]);
	free(input->trace);
	free(input->series);
	free(input->reference.rows);
	free(input->reference.algorithm);
	memset(input, 0, sizeof(*input));
}
