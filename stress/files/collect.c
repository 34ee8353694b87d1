/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "files.h"

#include "harness/options.h"
#include "harness/team.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>

enum { COLLECT_MOST = 1000000, LARGE_MOST = 256 };

struct found {
	char *path;
	uint64_t size;
};

struct list {
	struct found *files;
	size_t count, room;
};

static int list_add(struct list *list, const char *path, uint64_t size)
{
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 4096;
		struct found *files = realloc(list->files, room * sizeof(*files));

		if (!files)
			return -1;
		list->files = files;
		list->room = room;
	}
	list->files[list->count].path = strdup(path);
	list->files[list->count].size = size;
	return list->files[list->count++].path ? 0 : -1;
}

/* Sorted folders: the same tree gives the same list, so that a seed means the same run. */
static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }

static int by_size_falling(const void *a, const void *b)
{
	const struct found *left = *(const struct found *const *)a;
	const struct found *right = *(const struct found *const *)b;

	return (left->size < right->size) - (left->size > right->size);
}

static int walk(hpx_paths *paths, struct list *list, const char *root, uint64_t max_bytes)
{
	char *roots[] = {(char *)root, NULL}; /* fts_open() does not write to it */
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR | FTS_COMFOLLOW, by_name);
	FTSENT *entry;
	int error = 0;

	if (!tree)
		return errno;
	while (!hpx_stopping() && list->count < COLLECT_MOST && (errno = 0, entry = fts_read(tree))) {
		if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR)
			paths->unreadable_folders++;
		if (entry->fts_info != FTS_F || !S_ISREG(entry->fts_statp->st_mode))
			continue;
		paths->seen++;
		if ((uint64_t)entry->fts_statp->st_size > max_bytes)
			paths->too_large++;
		else if (list_add(list, entry->fts_path, (uint64_t)entry->fts_statp->st_size))
			error = ENOMEM;
		if (error)
			break;
	}
	fts_close(tree);
	return error;
}

static void shuffle(struct list *list, uint64_t seed)
{
	hpx_rng rng = hpx_rng_stream(seed, UINT64_MAX);

	for (size_t i = list->count; i > 1; i--) {
		size_t other = hpx_rng_below(&rng, i);
		struct found swap = list->files[i - 1];

		list->files[i - 1] = list->files[other];
		list->files[other] = swap;
	}
}

/* Keeps the first `max_files` of the shuffled list, and notes which of them are large. */
static int keep(hpx_paths *paths, const struct list *list, uint64_t max_files)
{
	uint64_t count = list->count < max_files ? list->count : max_files;
	const struct found **order = calloc(count, sizeof(const struct found *));

	paths->paths = calloc(count, sizeof(char *));
	paths->large_count = count < LARGE_MOST ? count : LARGE_MOST;
	paths->large = calloc(paths->large_count, sizeof(uint64_t));
	if (!order || !paths->paths || !paths->large) {
		free(order);
		return ENOMEM;
	}
	for (uint64_t i = 0; i < count; i++) {
		paths->paths[i] = list->files[i].path;
		list->files[i].path = NULL;
		order[i] = &list->files[i];
	}
	paths->count = count;
	qsort(order, count, sizeof(order[0]), by_size_falling);
	for (uint64_t i = 0; i < paths->large_count; i++)
		paths->large[i] = (uint64_t)(order[i] - list->files);
	free(order);
	return 0;
}

int hpx_paths_collect(hpx_paths *paths, const char *root, uint64_t max_files, uint64_t max_bytes, uint64_t seed)
{
	struct list list = {NULL, 0, 0};
	struct stat info;
	int error;

	memset(paths, 0, sizeof(*paths));
	if (stat(root, &info))
		return hpx_input_error("files", "--root: '%s': %s", root, strerror(errno));
	if (!S_ISDIR(info.st_mode))
		return hpx_input_error("files", "--root: '%s' is not a folder", root);
	error = walk(paths, &list, root, max_bytes);
	if (!error && list.count) {
		shuffle(&list, seed);
		error = keep(paths, &list, max_files);
	}
	for (size_t i = 0; i < list.count; i++)
		free(list.files[i].path);
	free(list.files);
	if (error) {
		hpx_paths_free(paths);
		return hpx_input_error("files", "--root: '%s' cannot be listed: %s", root, strerror(error));
	}
	if (!paths->count)
		return hpx_input_error(
			"files",
			"--root: no regular files of at most %llu bytes below '%s' (%llu are larger, %llu "
			"folders could not be read)",
			(unsigned long long)max_bytes, root, (unsigned long long)paths->too_large,
			(unsigned long long)paths->unreadable_folders);
	return 0;
}

void hpx_paths_free(hpx_paths *paths)
{
	for (uint64_t i = 0; i < paths->count; i++)
		free(paths->paths[i]);
	free(paths->paths);
	free(paths->large);
	memset(paths, 0, sizeof(*paths));
}
