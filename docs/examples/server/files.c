/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files below one directory. Each component is opened in the one before, and no symbolic link is followed, so nothing outside
 * can be reached, whatever somebody moves about meanwhile. Contents are read, not mapped: a mapping of a file that gets shorter while
 * it is being sent would end the process. */
#define _GNU_SOURCE
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COMPONENT_MAX = 255 };

bool file_path_ok(const char *path)
{
	size_t size;

	for (;; path += size + 1) {
		size = strcspn(path, "/");
		if (size == 0 || size > COMPONENT_MAX || path[0] == '.')
			return false;
		if (!path[size])
			return true;
	}
}

static const char *media_type(const char *path)
{
	static const char *const types[][2] = {
		{".html", "text/html; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
		{".js", "text/javascript; charset=utf-8"}, {".json", "application/json"},
		{".txt", "text/plain; charset=utf-8"}, {".md", "text/plain; charset=utf-8"},
		{".c", "text/plain; charset=utf-8"}, {".h", "text/plain; charset=utf-8"},
		{".svg", "image/svg+xml"}, {".png", "image/png"}, {".jpg", "image/jpeg"}, {".pdf", "application/pdf"},
	};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(dot, types[i][0]))
			return types[i][1];
	return "application/octet-stream";
}

/* A descriptor of the regular file, or -1 and errno. */
static int open_below(int directory, const char *path, struct stat *status)
{
	char component[COMPONENT_MAX + 1];
	int parent = directory, fd = -1, saved;
	size_t size;

	for (;; path += size + 1) {
		bool last;

		size = strcspn(path, "/");
		last = !path[size];
		memcpy(component, path, size);
		component[size] = 0;
		fd = openat(parent, component, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (last ? 0 : O_DIRECTORY));
		saved = errno;
		if (parent != directory)
			close(parent);
		errno = saved;
		if (fd < 0 || last)
			break;
		parent = fd;
	}
	if (fd < 0)
		return -1;
	if (fstat(fd, status)) {
		saved = errno;
	} else if (!S_ISREG(status->st_mode)) {
		saved = ENOENT;
	} else {
		return fd;
	}
	close(fd);
	errno = saved;
	return -1;
}

static bool is_absent(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP || error == EACCES || error == ENAMETOOLONG || error == EISDIR ||
	       error == ENXIO;
}

int file_open(struct source *source, const char *path, uint64_t *size)
{
	struct stat status;
	int fd = source->files < 0 || !file_path_ok(path) ? -1 : open_below(source->files, path, &status);

	if (fd >= 0)
		*size = (uint64_t)status.st_size;
	return fd;
}

enum outcome file_load(struct source *source, const char *path, struct content *content)
{
	struct stat status;
	size_t got = 0;
	ssize_t n = 0;
	int fd;

	if (source->files < 0 || !file_path_ok(path))
		return NONE;
	fd = open_below(source->files, path, &status);
	if (fd < 0)
		return is_absent(errno) ? NONE : FAILED;
	content->size = (size_t)status.st_size;
	content->type = media_type(path);
	content->modified = status.st_mtim.tv_sec;
	snprintf(content->etag, sizeof(content->etag), "\"%" PRIx64 "-%" PRIx64 "\"",
		 (uint64_t)status.st_size & UINT64_C(0xffffffff),
		 ((uint64_t)status.st_mtim.tv_sec * 1000000000u + (uint64_t)status.st_mtim.tv_nsec) & UINT64_C(0xffffffffffff));
	if ((uint64_t)status.st_size <= source->max_file) {
		content->data = malloc(content->size + 1);
		while (content->data && got < content->size) {
			n = read(fd, content->data + got, content->size - got);
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				break;
			got += (size_t)n;
		}
		if (!content->data || n < 0) {
			content_clear(content);
			close(fd);
			return FAILED;
		}
		content->size = got; /* less, if it got shorter meanwhile */
	}
	close(fd);
	return DONE;
}
