/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static hpx_file_id id_of(const struct stat *info)
{
	return (hpx_file_id){
		.device = info->st_dev,
		.inode = info->st_ino,
		.size = (uint64_t)info->st_size,
		.modified = info->st_mtim.tv_sec,
		.modified_ns = info->st_mtim.tv_nsec,
		.changed = info->st_ctim.tv_sec,
		.changed_ns = info->st_ctim.tv_nsec,
	};
}

static bool same_id(const hpx_file_id *a, const hpx_file_id *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified == b->modified &&
	       a->modified_ns == b->modified_ns && a->changed == b->changed && a->changed_ns == b->changed_ns;
}

static uint64_t seal_of(const hpx_file *file)
{
	return hpx_checksum(file->digest, sizeof(file->digest), file->life.key ^ hpx_mix64(file->life.serial));
}

/* Times of files are as coarse as the kernel's tick: a change right after another may leave the same one. */
static bool is_young(const hpx_file_id *id)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return id->changed + 2 >= now.tv_sec;
}

static int open_file(hpx_file *file, const char *path, uint64_t max_bytes, struct stat *info)
{
	void *map;

	/* not blocking: whatever was a file when the list was made may be a pipe now */
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (file->fd < 0)
		return errno;
	if (fstat(file->fd, info))
		return errno;
	if (!S_ISREG(info->st_mode))
		return EINVAL;
	if ((uint64_t)info->st_size > max_bytes)
		return EFBIG;
	if (info->st_size == 0)
		return 0;
	map = mmap(NULL, (size_t)info->st_size, PROT_READ, MAP_PRIVATE, file->fd, 0);
	if (map == MAP_FAILED)
		return errno;
	file->map = map;
	return 0;
}

/* Digests the mapping, chunk by chunk through the worker's buffer. */
static int digest_file(hpx_file *file, hpx_files_worker *worker)
{
	size_t size = file->id.size;

	file->first = hpx_checksum(NULL, 0, 0);
	if (EVP_DigestInit_ex2(worker->digest, worker->files->sha256, NULL) != 1)
		return ENOMEM;
	for (size_t at = 0; at < size; at += HPX_FILES_CHUNK) {
		size_t length = size - at < HPX_FILES_CHUNK ? size - at : HPX_FILES_CHUNK;

		if (hpx_guarded_copy(worker->chunk, file->map + at, length))
			return EIO;
		if (at == 0)
			file->first =
				hpx_checksum(worker->chunk, length < HPX_FILES_FIRST ? length : HPX_FILES_FIRST, 0);
		if (EVP_DigestUpdate(worker->digest, worker->chunk, length) != 1)
			return EIO;
	}
	return EVP_DigestFinal_ex(worker->digest, file->digest, NULL) == 1 ? 0 : EIO;
}

static void close_file(hpx_file *file)
{
	if (file->map)
		munmap((void *)file->map, file->id.size);
	if (file->fd >= 0)
		close(file->fd);
	file->map = NULL;
	file->fd = -1;
}

/* 0 or an errno. A file that changed while it was digested is ESTALE: its digest is of no contents it ever had. */
static int load_file(hpx_file *file, hpx_files_worker *worker, const char *path)
{
	struct stat info;
	hpx_file_id after;
	int error;

	file->fd = -1;
	error = open_file(file, path, worker->files->max_bytes, &info);
	if (file->fd >= 0 && file->map)
		file->id.size = (uint64_t)info.st_size; /* what close_file() unmaps */
	if (error)
		return error;
	file->id = id_of(&info);
	file->young = is_young(&file->id);
	error = digest_file(file, worker);
	if (fstat(file->fd, &info))
		return errno;
	after = id_of(&info);
	if (!same_id(&file->id, &after))
		return ESTALE;
	return error;
}

static void finish(hpx_file *file)
{
	uint64_t id = hpx_checksum(&file->id, sizeof(file->id), 1);
	uint64_t digest = hpx_checksum(file->digest, sizeof(file->digest), 2);

	file->word = (id << 32) | (digest >> 32);
	file->seal = seal_of(file);
}

int hpx_file_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	hpx_files *files = arg;
	hpx_files_worker *worker = hpx_files_self;
	const char *path = files->paths.paths[worker->wanted];
	hpx_file *file = object;
	int failed;

	hpx_oracle_enter_loader(&files->oracle, worker->wanted, &file->life);
	hpx_relaxed_bump(&worker->loads);
	worker->loaded = true;
	if (key->size != strlen(path) || memcmp(key->data, path, key->size) != 0)
		hpx_relaxed_add(&files->oracle.wrong, 1);
	failed = load_file(file, worker, path);
	if (failed) {
		/* the destructor does not run for an object that was not loaded */
		close_file(file);
		hpx_relaxed_bump(&worker->load_errors);
		hpx_relaxed_add(&files->errors[failed < HPX_FILES_ERRORS ? failed : 0], 1);
		error->code = failed;
	} else {
		finish(file);
	}
	hpx_oracle_leave_loader(&files->oracle, worker->wanted);
	return failed ? HAPAX_LOAD_FAIL : HAPAX_LOAD_OK;
}

void hpx_file_destroy(void *object, void *arg)
{
	hpx_files *files = arg;
	hpx_file *file = object;

	hpx_oracle_destroyed(&files->oracle, &file->life);
	close_file(file);
}

/* The digest against the one that this path had before: another one needs another identity. */
static void compare(hpx_files *files, const hpx_file *file, uint64_t path)
{
	uint64_t before = hpx_relaxed_get(&files->reference[path]);

	if (file->young || before == file->word)
		return;
	if (before >> 32 == file->word >> 32)
		hpx_relaxed_add(&files->oracle.wrong, 1);
	else if (hpx_relaxed_cas(&files->reference[path], &before, file->word) && before)
		hpx_relaxed_add(&files->changed, 1);
}

/* The mapped bytes themselves: still what was digested, or the file is not what it was. */
static void look_at(hpx_files *files, const hpx_file *file)
{
	unsigned char bytes[HPX_FILES_FIRST];
	size_t length = file->id.size < sizeof(bytes) ? file->id.size : sizeof(bytes);
	struct stat info;
	hpx_file_id now;

	if (!file->map)
		return;
	if (hpx_guarded_copy(bytes, file->map, length)) {
		hpx_relaxed_add(&files->shrunk, 1);
		return;
	}
	if (hpx_checksum(bytes, length, 0) == file->first || file->young)
		return;
	if (fstat(file->fd, &info)) {
		hpx_relaxed_add(&files->oracle.wrong, 1);
		return;
	}
	now = id_of(&info);
	hpx_relaxed_add(same_id(&now, &file->id) ? &files->oracle.wrong : &files->changed, 1);
}

void hpx_file_verify(hpx_files *files, hpx_file *file, uint64_t path, bool look)
{
	if (file->seal != seal_of(file)) {
		hpx_relaxed_add(&files->oracle.wrong, 1);
		return;
	}
	compare(files, file, path);
	if (look)
		look_at(files, file);
}
