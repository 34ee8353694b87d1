/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fuzz/replay.c - a fuzz target as a plain program: runs each file, and each file of each folder, that it is given. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "fuzz/fuzz.h"

static unsigned files;

static int run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data;
	size_t size;
	long end;

	if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0 || fseek(file, 0, SEEK_SET)) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 2;
	}
	size = (size_t)end;
	data = malloc(size ? size : 1); /* exactly as long: reading beyond is seen */
	if (!data || fread(data, 1, size, file) != size) {
		fprintf(stderr, "%s: cannot be read\n", path);
		return 2;
	}
	fclose(file);
	if (getenv("HAPAX_FUZZ_TRACE") || getenv("HAPAX_FUZZ_NAMES"))
		fprintf(stderr, "-- %s\n", path);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	files++;
	return 0;
}

static int run_folder(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	int status = 0;

	if (!folder) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 2;
	}
	while ((entry = readdir(folder)) && !status) {
		char file[4096];
		struct stat info;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (!stat(file, &info) && S_ISREG(info.st_mode))
			status = run_file(file);
	}
	closedir(folder);
	return status;
}

/* A folder that is not there yet (no regressions so far) holds nothing; a run of nothing at all is an error. */
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct stat info;
		int status;

		if (stat(argv[i], &info)) {
			if (errno == ENOENT)
				continue;
			fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
			return 2;
		}
		status = S_ISDIR(info.st_mode) ? run_folder(argv[i]) : run_file(argv[i]);
		if (status)
			return status;
	}
	printf("%u inputs\n", files);
	return files ? 0 : 2;
}
