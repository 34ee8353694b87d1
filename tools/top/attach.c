/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "observe/segment.h"

#define NAME "/memfd:" HPX_SEGMENT_NAME " (deleted)"
#define LONGEST (64u << 20)    /* no snapshot is longer */

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- what /proc says --------------------------------------------------------------------------------------------- */

/* Reads /proc/PID/NAME, terminated. */
static bool proc_read(pid_t pid, const char *name, char *buffer, size_t room)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buffer, room - 1);
	close(fd);
	buffer[n > 0 ? n : 0] = 0;
	return n > 0;
}

void process_name(pid_t pid, struct text *name)
{
	char comm[64];

	if (!proc_read(pid, "comm", comm, sizeof(comm)))
		strcpy(comm, "?");
	comm[strcspn(comm, "\n")] = 0;
	text_foreign(name, (struct foreign){comm, strlen(comm)}, 64);
}

/* What follows the name in /proc/PID/stat: state, parent... */
static const char *proc_stat(pid_t pid, char *buffer, size_t room)
{
	const char *end = proc_read(pid, "stat", buffer, room) ? strrchr(buffer, ')') : NULL;

	return end && end[1] ? end + 2 : NULL;
}

uint64_t process_age_ns(pid_t pid)
{
	char buffer[1024];
	const char *at = proc_stat(pid, buffer, sizeof(buffer));
	struct timespec up;
	uint64_t begun, now;
	long hz = sysconf(_SC_CLK_TCK);
	int field;

	for (field = 3; at && field < 22; field++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	if (!at || hz <= 0 || clock_gettime(CLOCK_BOOTTIME, &up) != 0)
		return 0;
	begun = strtoull(at, NULL, 10) * (1000000000u / (uint64_t)hz);
	now = (uint64_t)up.tv_sec * 1000000000u + (uint64_t)up.tv_nsec;
	return now > begun ? now - begun : 0;
}

/* `pid` is one of the numbers that the process has, in the namespaces around it. */
static bool is_called(pid_t process, uint32_t pid)
{
	char buffer[4096];
	const char *at;
	char *end;

	if (pid == (uint32_t)process)
		return true;
	if (!proc_read(process, "status", buffer, sizeof(buffer)))
		return false;
	at = strstr(buffer, "\nNSpid:");
	for (at = at ? at + 7 : NULL; at; at = end) {
		unsigned long number = strtoul(at, &end, 10);

		if (end == at)
			break;
		if (number == pid)
			return true;
	}
	return false;
}

/* ---- the segment ------------------------------------------------------------------------------------------------- */

static uint32_t *word(const struct segment *s, size_t offset)
{
	return (uint32_t *)(void *)((char *)s->map + offset);
}

static bool get(const struct segment *s, void *to, size_t n, uint64_t offset)
{
	return pread(s->fd, to, n, (off_t)offset) == (ssize_t)n;
}

static bool get_told(const struct segment *s, uint32_t *told)
{
	return get(s, told, sizeof(*told), offsetof(struct hpx_segment, told));
}

/* Opened and looked at; NONE: another one may be better. */
static enum attached try_one(struct segment *s, char why[WHY])
{
	struct hpx_segment head;
	char name[64];

	s->fd = open(s->path, O_RDWR | O_CLOEXEC);
	if (s->fd < 0) {
		snprintf(why, WHY, "the statistics segment of process %d cannot be opened: %s", (int)s->pid, strerror(errno));
		return errno == EACCES || errno == EPERM ? ATTACH_DENIED : ATTACH_BAD;
	}
	if (!get(s, &head, sizeof(head), 0)) {
		snprintf(why, WHY, "the statistics segment of process %d is too short", (int)s->pid);
		return ATTACH_BAD;
	}
	if (memcmp(head.magic, HPX_SEGMENT_MAGIC, sizeof(head.magic)) != 0) {
		snprintf(why, WHY, "what process %d calls hapax-stats is no statistics segment of hapax", (int)s->pid);
		return ATTACH_BAD;
	}
	if (head.version > HPX_SEGMENT_VERSION) {
		snprintf(why, WHY, "the statistics segment of process %d has format version %u, which is newer than this program (%u)",
			 (int)s->pid, head.version, (unsigned)HPX_SEGMENT_VERSION);
		return ATTACH_BAD;
	}
	if (!is_called(s->pid, head.pid)) {
		snprintf(why, WHY,
			 "process %d has the statistics segment of process %u, from which it was forked, and none of its own yet",
			 (int)s->pid, head.pid);
		return ATTACH_NONE;
	}
	s->map = mmap(NULL, sizeof(head), PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	if (s->map == MAP_FAILED) {
		snprintf(name, sizeof(name), "%s", strerror(errno));
		snprintf(why, WHY, "the statistics segment of process %d cannot be mapped: %s", (int)s->pid, name);
		s->map = NULL;
		return ATTACH_BAD;
	}
	return ATTACHED;
}

enum attached segment_open(struct segment *s, pid_t pid, char why[WHY])
{
	enum attached result = ATTACH_NONE, one;
	char path[64], target[sizeof(NAME) + 1], message[WHY];
	struct dirent *entry;
	DIR *folder;
	ssize_t n;

	*s = (struct segment){.pid = pid, .fd = -1, .process = (int)syscall(SYS_pidfd_open, pid, 0)};
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	folder = opendir(path);
	if (!folder) {
		result = errno == EACCES || errno == EPERM ? ATTACH_DENIED : ATTACH_NONE;
		if (result == ATTACH_DENIED)
			snprintf(why, WHY, "no permission to look at process %d: its user or root may", (int)pid);
		else
			snprintf(why, WHY, "there is no process %d", (int)pid);
		segment_close(s);
		return result;
	}
	snprintf(why, WHY, "process %d has no statistics segment: it does not use hapax, has no cache yet, or was told not to have one",
		 (int)pid);
	while (result != ATTACHED && (entry = readdir(folder)) != NULL) {
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || strlen(entry->d_name) > 10)
			continue;
		snprintf(s->path, sizeof(s->path), "/proc/%d/fd/%.10s", (int)pid, entry->d_name);
		n = readlink(s->path, target, sizeof(target));
		if (n != (ssize_t)sizeof(NAME) - 1 || memcmp(target, NAME, sizeof(NAME) - 1) != 0)
			continue;
		one = try_one(s, message);
		if (one != ATTACHED && s->fd >= 0) {
			close(s->fd);
			s->fd = -1;
		}
		if (one == ATTACHED || result <= one) {
			strcpy(why, message);
			result = one;
		}
	}
	closedir(folder);
	if (result != ATTACHED)
		segment_close(s);
	return result;
}

void segment_close(struct segment *s)
{
	if (s->map)
		munmap(s->map, sizeof(struct hpx_segment));
	if (s->fd >= 0)
		close(s->fd);
	if (s->process >= 0)
		close(s->process);
	*s = (struct segment){.fd = -1, .process = -1};
}

/*
 * What is told is read before what is asked: whoever else asks at the same moment, and writes the same number, either
 * finds his answer after `before`, or has been seen here and the number here is a larger one.
 */
bool segment_ask(struct segment *s, char why[WHY])
{
	uint32_t ask;

	if (get_told(s, &s->before) && get(s, &ask, sizeof(ask), offsetof(struct hpx_segment, ask))) {
		ask++;
		if (pwrite(s->fd, &ask, sizeof(ask), offsetof(struct hpx_segment, ask)) == (ssize_t)sizeof(ask)) {
			syscall(SYS_futex, word(s, offsetof(struct hpx_segment, ask)), FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
			return true;
		}
	}
	snprintf(why, WHY, "the statistics segment of process %d cannot be read any more", (int)s->pid);
	return false;
}

/* One half, as the head describes it. */
static bool copy_half(const struct segment *s, unsigned half, struct text *text, char why[WHY])
{
	struct hpx_segment head;
	struct stat file;
	uint64_t end;

	if (!get(s, &head, sizeof(head), 0) || fstat(s->fd, &file) != 0) {
		snprintf(why, WHY, "the statistics segment of process %d cannot be read any more", (int)s->pid);
		return false;
	}
	end = (uint64_t)head.offset[half] + head.length[half];
	if (head.length[half] > head.capacity || head.length[half] > LONGEST || head.offset[half] < sizeof(head) ||
	    file.st_size < 0 || end > (uint64_t)file.st_size) {
		snprintf(why, WHY, "the statistics segment of process %d is damaged: %u bytes at %u of %lld", (int)s->pid,
			 head.length[half], head.offset[half], (long long)file.st_size);
		return false;
	}
	text->at = malloc((size_t)head.length[half] + 1);
	if (!text->at) {
		snprintf(why, WHY, "out of memory");
		return false;
	}
	text->n = head.length[half];
	text->room = text->n + 1;
	if (get(s, text->at, text->n, head.offset[half]))
		return true;
	snprintf(why, WHY, "the statistics segment of process %d cannot be read any more", (int)s->pid);
	text_drop(text);
	return false;
}

int segment_answer(struct segment *s, struct text *text, char why[WHY])
{
	uint32_t told, again;
	unsigned tries;
	bool whole;

	*text = (struct text){.at = NULL};
	for (tries = 0; tries < 4; tries++) {
		if (!get_told(s, &told)) {
			snprintf(why, WHY, "the statistics segment of process %d cannot be read any more", (int)s->pid);
			return -1;
		}
		if (told == s->before)
			return 0;
		__atomic_thread_fence(__ATOMIC_ACQUIRE); /* pairs with the publisher's release of `told` */
		whole = copy_half(s, told & 1, text, why);
		__atomic_thread_fence(__ATOMIC_ACQUIRE); /* the copy before the second look */
		if (get_told(s, &again) && again == told)
			return whole ? 1 : -1;
		text_drop(text); /* written meanwhile */
	}
	return 0;
}

void segment_wait(const struct segment *s, unsigned ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l};

	if (syscall(SYS_futex, word(s, offsetof(struct hpx_segment, told)), FUTEX_WAIT, s->before, &time, NULL, 0) != 0 &&
	    errno == EFAULT) /* the file has been cut: what comes next says so */
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

bool segment_alive(const struct segment *s, char why[WHY])
{
	struct pollfd end = {.fd = s->process, .events = POLLIN};
	char target[sizeof(NAME) + 1];
	ssize_t n;

	if (poll(&end, 1, 0) == 1 || ((n = readlink(s->path, target, sizeof(target))) < 0 && errno == ENOENT &&
				      access("/proc/self", F_OK) == 0 && !process_age_ns(s->pid))) {
		snprintf(why, WHY, "process %d has gone", (int)s->pid);
		return false;
	}
	n = readlink(s->path, target, sizeof(target));
	if (n != (ssize_t)sizeof(NAME) - 1 || memcmp(target, NAME, sizeof(NAME) - 1) != 0) {
		snprintf(why, WHY, "process %d has no statistics segment any more: it executes another program, or closed it",
			 (int)s->pid);
		return false;
	}
	return true;
}

void segment_silence(const struct segment *s, char why[WHY])
{
	char buffer[1024];
	const char *state = proc_stat(s->pid, buffer, sizeof(buffer));

	snprintf(why, WHY, "process %d does not answer%s", (int)s->pid,
		 !state			 ? ""
		 : *state == 'T'	 ? ": it is stopped (SIGSTOP)"
		 : *state == 't'	 ? ": it is stopped by a debugger"
		 : *state == 'D'	 ? ": it waits for a device"
		 : *state == 'Z'	 ? ": it has ended"
					 : ": its thread hapax-stats does not get to run, or there is none");
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

unsigned process_each(void (*found)(struct segment *s, void *ctx), void *ctx)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	struct segment s;
	pid_t *pids = NULL;
	char why[WHY], *end;
	size_t n = 0, room = 0, i;
	unsigned denied = 0;

	while (folder && (entry = readdir(folder)) != NULL) {
		long pid = strtol(entry->d_name, &end, 10);

		if (*end || pid <= 0 || pid == getpid())
			continue;
		if (n == room) {
			pid_t *more = realloc(pids, (room = room * 2 + 256) * sizeof(*pids));

			if (!more)
				break;
			pids = more;
		}
		pids[n++] = (pid_t)pid;
	}
	if (folder)
		closedir(folder);
	if (n)
		qsort(pids, n, sizeof(*pids), by_number);
	for (i = 0; i < n; i++) {
		enum attached result = segment_open(&s, pids[i], why);

		denied += result == ATTACH_DENIED;
		if (result == ATTACHED) {
			found(&s, ctx);
			segment_close(&s);
		}
	}
	free(pids);
	return denied;
}
