/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * observe/segment.c - the statistics segment and the thread that publishes in it (segment.h).
 *
 *      UNSET --first cache--> RUNNING --hapax_segment_enable(false)--> OFF --hapax_segment_enable(true)--> RUNNING
 *
 * Problem: figures of a process that nobody has prepared for being looked at, at no cost as long as nobody looks. So nothing is
 * published until it is asked for: one thread sleeps on a futex in the file.
 *
 * A publisher is the file, its mapping and its thread. Whoever makes another one, or none, current gives the old one up: it is told
 * to stop, and its thread takes the mapping with it. So nobody waits for a snapshot in progress. The descriptor may have been
 * closed or used for something else by the application meanwhile: before it is closed it is looked at.
 *
 * Guarantees: whoever can open the file (the same user) can cause one snapshot every PAUSE_NS at most, and spoil what others read
 * from it, nothing else: of what is in the file the process reads `ask` alone, as a number that is different or not, and the file's
 * size is sealed. A forked child never writes to its parent's: its thread has not come along.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cache/sample.h"
#include "observe/figures.h"
#include "observe/segment.h"

#if defined(HPX_MODEL) || defined(HPX_NO_SEGMENT) /* where every thread and system call is accounted for */

void hpx_cache_created(hapax_env *env) { (void)env; }

int hapax_segment_enable(bool on) { return on ? HAPAX_ETHREAD : 0; }

#else

#define PAGE ((size_t)4096)
#define HALF ((size_t)1 << 20)
#define FILE_BYTES (PAGE + 2 * HALF)
#define PAUSE_NS 50000000L
#define ASKED_NS UINT64_C(5000000000) /* who has asked so long ago is asking no more */
#define SAMPLED 64 /* one hit in so many, of all caches, as long as somebody asks */
#define STACK ((size_t)512 << 10)

/* Of newer headers and kernels. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

struct publisher {
	struct hpx_segment *map;
	int fd;
	dev_t device; /* which file that was when it was opened */
	ino_t inode;
	unsigned refs; /* under the lock: for being current, for its thread */
	hpx_u32 stopped;
	uint32_t answered, told; /* its thread's */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct publisher *current; /* under the lock */
static bool off;                  /* under the lock: it has been told to be off */
static hpx_u32 settled;           /* a hint: there is nothing to be done for another cache */

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static bool is_ours(const struct publisher *p, int fd)
{
	struct stat st;

	return fd >= 0 && !fstat(fd, &st) && st.st_dev == p->device && st.st_ino == p->inode;
}

static void close_ours(const struct publisher *p, int fd)
{
	if (is_ours(p, fd))
		close(fd);
}

/* A sealed file of FILE_BYTES; none of the first three descriptors, which programs without them write messages to. */
static int make_file(void)
{
	struct rlimit limit;
	int fd, high;

	/* beyond the limit the system would send a signal */
	if (getrlimit(RLIMIT_FSIZE, &limit) || (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < FILE_BYTES))
		return -1;
	fd = memfd_create(HPX_SEGMENT_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) /* an older kernel */
		fd = memfd_create(HPX_SEGMENT_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd >= 0 && fd <= STDERR_FILENO) {
		high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		close(fd);
		fd = high;
	}
	if (fd < 0)
		return -1;
	if (fchmod(fd, S_IRUSR | S_IWUSR) || ftruncate(fd, FILE_BYTES) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void publisher_free(struct publisher *p)
{
	if (p->map != MAP_FAILED)
		munmap(p->map, FILE_BYTES);
	hpx_free(hpx_env_or_default(NULL), p, sizeof(*p), 16);
}

static void publisher_put(struct publisher *p)
{
	unsigned refs;

	pthread_mutex_lock(&lock);
	refs = --p->refs;
	pthread_mutex_unlock(&lock);
	if (!refs)
		publisher_free(p);
}

static struct publisher *publisher_new(void)
{
	struct publisher *p = hpx_alloc(hpx_env_or_default(NULL), sizeof(*p), 16);
	struct stat st = {.st_ino = 0};

	if (!p)
		return NULL;
	p->refs = 2;
	p->map = MAP_FAILED;
	p->fd = make_file();
	if (p->fd >= 0 && !fstat(p->fd, &st)) {
		p->device = st.st_dev;
		p->inode = st.st_ino;
		p->map = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	}
	if (p->map == MAP_FAILED) {
		if (p->fd >= 0)
			close(p->fd);
		publisher_free(p);
		return NULL;
	}
	madvise(p->map, FILE_BYTES, MADV_DONTDUMP);
	memcpy(p->map->magic, HPX_SEGMENT_MAGIC, sizeof(p->map->magic));
	p->map->version = HPX_SEGMENT_VERSION;
	p->map->pid = (uint32_t)getpid();
	p->map->capacity = HALF;
	return p;
}

/* ---- publishing -------------------------------------------------------------------------------------------------- */

struct half {
	char *at;
	size_t n;
};

static int into_half(const char *text, size_t n, void *ctx)
{
	struct half *half = ctx;

	if (n > HALF - half->n)
		return 1;
	memcpy(half->at + half->n, text, n);
	half->n += n;
	return 0;
}

static bool fits(const struct hpx_figures *f, struct hpx_json_limits limits, struct half *half)
{
	half->n = 0;
	return !hpx_figures_json(f, limits, into_half, half);
}

/* As much of it as there is room for, in whole caches; types go only when no cache is left. */
static void fill(const struct hpx_figures *f, struct half *half)
{
	struct hpx_json_limits limits = HPX_JSON_ALL;
	size_t low = 0, high = f->caches; /* low fit, or nothing does; high do not */

	if (fits(f, limits, half))
		return;
	limits.caches = 0;
	if (!fits(f, limits, half))
		limits.types = 0;
	while (high - low > 1) {
		limits.caches = low + (high - low) / 2;
		*(fits(f, limits, half) ? &low : &high) = limits.caches;
	}
	limits.caches = low;
	if (!fits(f, limits, half))
		half->n = 0;
}

static void publish(struct publisher *p)
{
	__attribute__((cleanup(hpx_figures_drop))) struct hpx_figures figures = {.envs = 0};
	uint32_t n = p->told + 1 ? p->told + 1 : 2, which = n & 1; /* never 0, and never twice the same half */
	size_t offset = PAGE + which * HALF;
	struct half half = {.at = (char *)p->map + offset};

	if (hpx_figures_gather(&figures))
		return; /* no memory: who asked asks again */
#ifndef HPX_SECTION_TSAN /* which knows no fences, and sees no other process */
	/* a reader in the other process that sees what follows sees that this half is not the one that was told last */
	__atomic_thread_fence(__ATOMIC_RELEASE);
#endif
	fill(&figures, &half);
	p->map->offset[which] = (uint32_t)offset;
	p->map->length[which] = (uint32_t)half.n;
	p->map->published_ns = figures.monotonic_ns;
	p->told = n;
	/* a release, for the reader in the other process: the text before its number */
	__atomic_store_n(&p->map->told, n, __ATOMIC_RELEASE);
	syscall(SYS_futex, &p->map->told, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Whoever looks at it wants to know which keys are asked for. A cache without memory for that, or without statistics, is left out. */
static void sample_all(unsigned one_in)
{
	hapax_cache *c = NULL;

	while ((c = hpx_cache_before(c)) != NULL)
		hpx_sample_set(c, one_in, false);
}

static uint64_t monotonic(void)
{
	struct timespec ts = {.tv_sec = 0};

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * HAPAX_SECOND + (uint64_t)ts.tv_nsec;
}

static void *publisher_run(void *arg)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS}, attention = {.tv_sec = ASKED_NS / HAPAX_SECOND};
	struct publisher *p = arg;
	uint64_t asked = 0;

	pthread_setname_np(pthread_self(), HPX_SEGMENT_NAME);
	hpx_thread_roam();
	/* order: SEGMENT.STOP relaxed; nothing comes with it */
	while (!hpx_load_relaxed(&p->stopped)) {
		uint32_t ask = __atomic_load_n(&p->map->ask, __ATOMIC_RELAXED);

		if (ask != p->answered) {
			p->answered = ask;
			asked = monotonic();
			sample_all(SAMPLED);
			publish(p);
		} else {
			syscall(SYS_futex, &p->map->ask, FUTEX_WAIT, p->answered, asked ? &attention : NULL, NULL, 0);
			if (asked && monotonic() - asked >= ASKED_NS) {
				asked = 0;
				sample_all(0);
			}
			if (__atomic_load_n(&p->map->ask, __ATOMIC_RELAXED) != p->answered)
				continue;
		}
		nanosleep(&pause, NULL); /* whatever is done to the file */
	}
	if (asked)
		sample_all(0);
	publisher_put(p);
	return NULL;
}

/* ---- beginning and ending ---------------------------------------------------------------------------------------- */

/* Not current any more: its thread, if there is one, ends by itself. Gives the caller's share up. */
static void publisher_stop(struct publisher *p)
{
	close_ours(p, p->fd);
	hpx_store_relaxed(&p->stopped, 1); /* order: SEGMENT.STOP relaxed; the wake-up follows */
	syscall(SYS_futex, &p->map->ask, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	publisher_put(p);
}

/* `asked`: also if it has been told to be off. Without memory for the file: HAPAX_ENOMEM. */
static int begin(bool asked)
{
	struct publisher *p = publisher_new();
	bool mine;

	if (!p)
		return HAPAX_ENOMEM;
	pthread_mutex_lock(&lock);
	mine = !current && (asked || !off);
	if (mine) {
		current = p;
		off = false;
	}
	pthread_mutex_unlock(&lock);
	if (!mine) { /* somebody else's is there */
		close_ours(p, p->fd);
		publisher_free(p);
		return 0;
	}
	if (hpx_thread_start(publisher_run, p, STACK))
		return 0;
	pthread_mutex_lock(&lock);
	p->refs--; /* the thread's */
	mine = current == p;
	if (mine)
		current = NULL;
	pthread_mutex_unlock(&lock);
	if (mine)
		publisher_stop(p);
	return HAPAX_ETHREAD;
}

int hapax_segment_enable(bool on)
{
	struct publisher *p, *lost = NULL;
	int rc = 0, saved = errno;

	pthread_mutex_lock(&lock);
	p = current;
	if (p && (!on || !is_ours(p, p->fd))) { /* the application has closed all descriptors, say */
		current = NULL;
		lost = p;
	}
	off = !on;
	pthread_mutex_unlock(&lock);
	/* order: SEGMENT.SETTLED relaxed; a hint */
	hpx_store_relaxed(&settled, !on);
	if (lost)
		publisher_stop(lost);
	if (on && (!p || lost))
		rc = begin(true);
	if (!rc)
		hpx_store_relaxed(&settled, 1);
	errno = saved;
	return rc;
}

__attribute__((unused)) static bool forbidden(void)
{
	const char *value = secure_getenv("HAPAX_SEGMENT");

	return value && !strcmp(value, "off");
}

void hpx_cache_created(hapax_env *env)
{
#ifdef HPX_SECTION_TSAN
	/* only when it is asked for: ThreadSanitizer lets the child of a process with threads start none, the application's neither */
	(void)env;
#else
	bool wanted;
	int saved;

	/* order: SEGMENT.SETTLED relaxed; a hint */
	if (HPX_LIKELY(hpx_load_relaxed(&settled)) || hpx_env_threadless(env))
		return;
	saved = errno;
	pthread_mutex_lock(&lock);
	wanted = !current && !off;
	pthread_mutex_unlock(&lock);
	if (!wanted || forbidden() || !begin(false))
		hpx_store_relaxed(&settled, 1);
	errno = saved;
#endif
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static void before_fork(void) { pthread_mutex_lock(&lock); }

static void after_fork(void) { pthread_mutex_unlock(&lock); }

/* The mapping is the parent's, whose thread is not here. */
static void child(void)
{
	struct publisher *p = current;

#ifdef HPX_SECTION_TSAN
	off = true; /* ThreadSanitizer ends a child that starts a thread */
#endif
	if (!p)
		return;
	current = NULL;
	close_ours(p, p->fd);
	publisher_free(p);
	if (!off)
		/* order: SEGMENT.SETTLED relaxed; the only thread */
		hpx_store_relaxed(&settled, !begin(false));
}

__attribute__((constructor)) static void watch_forks(void)
{
	hpx_fork_hook(HPX_FORK_BEFORE, before_fork);
	hpx_fork_hook(HPX_FORK_PARENT, after_fork);
	hpx_fork_hook(HPX_FORK_LOCKS, after_fork); /* its own thread has taken it */
	hpx_fork_hook(HPX_FORK_CONTENTS, child);
}

#endif
