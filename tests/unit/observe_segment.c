/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The statistics segment, read as another process would: through /proc, asking and waiting on futexes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "observe/segment.h"
#include "unit/observed.h"

/* ---- the other side ---------------------------------------------------------------------------------------------- */

/* The descriptor of this process's segment; -1: it has none. */
static int segment_fd(void)
{
	char path[64], target[64];
	int found = -1;

	for (int fd = 0; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = 0;
		if (!strcmp(target, "/memfd:hapax-stats (deleted)")) {
			CHECK_EQ(found, -1); /* there is one */
			found = fd;
		}
	}
	return found;
}

struct reader {
	struct hpx_segment *map;
	size_t size;
};

static void reader_begin(struct reader *r)
{
	char path[64];
	struct stat st;
	int fd = segment_fd(), mine;

	CHECK(fd > STDERR_FILENO);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	mine = open(path, O_RDWR | O_CLOEXEC);
	CHECK(mine >= 0);
	CHECK_EQ(fstat(mine, &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0600);
	r->size = (size_t)st.st_size;
	r->map = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, mine, 0);
	CHECK(r->map != MAP_FAILED);
	close(mine);
	CHECK(!memcmp(r->map->magic, HPX_SEGMENT_MAGIC, 8));
	CHECK_EQ(r->map->version, HPX_SEGMENT_VERSION);
	CHECK_EQ(r->map->pid, getpid());
}

static void reader_end(struct reader *r) { munmap(r->map, r->size); }

static uint32_t told(struct reader *r) { return __atomic_load_n(&r->map->told, __ATOMIC_ACQUIRE); }

static struct json_object *asked(struct reader *r)
{
	uint32_t before = told(r), n;
	struct json_object *object;
	size_t offset, length;
	char *text;

	__atomic_add_fetch(&r->map->ask, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &r->map->ask, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	while ((n = told(r)) == before)
		syscall(SYS_futex, &r->map->told, FUTEX_WAIT, before, NULL, NULL, 0);
	offset = r->map->offset[n & 1];
	length = r->map->length[n & 1];
	CHECK(offset >= sizeof(*r->map) && length <= r->map->capacity && offset + length <= r->size);
	text = calloc(1, length + 1);
	memcpy(text, (char *)r->map + offset, length);
	object = parsed(text, length);
	free(text);
	return object;
}

/* Under ThreadSanitizer it comes only when it is asked for. */
#ifdef TEST_TSAN
#define BY_ITSELF TEST_SKIP("ThreadSanitizer lets the child of a process with threads start none")
#define ASK_FOR_IT CHECK_EQ(hapax_segment_enable(true), 0)
#else
#define BY_ITSELF ((void)0)
#define ASK_FOR_IT ((void)0)
#endif

static hapax_cache *first_cache(hapax_env *env, struct source *s)
{
	hapax_cache *cache = cache_with(env, s, 0);

	ASK_FOR_IT;
	return cache;
}

/* Until it is so: what a thread of the library does in the end. */
#define AWAIT(condition) while (!(condition)) usleep(1000)

/* ---- tests ------------------------------------------------------------------------------------------------------- */

TEST(it_comes_with_the_first_cache_and_answers)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	struct json_object *all;
	hapax_cache *cache, *second;
	struct reader r;

	CHECK_EQ(segment_fd(), -1);
	cache = first_cache(env, &s);
	reader_begin(&r);
	CHECK_EQ(told(&r), 0); /* nobody has asked */
	hapax_release(got(cache, "a"));
	all = asked(&r);
	CHECK_EQ(number_in(all, "pid"), getpid());
	CHECK_EQ(number_in(listed(all, "caches", "name", "tested"), "loads"), 1);
	CHECK_EQ(number_in(listed(all, "caches", "name", "tested"), "sampled_one_in"), 64); /* as long as somebody asks */
	json_object_put(all);
	second = first_cache(env, &s);
	CHECK(segment_fd() >= 0); /* one of them */
	for (int i = 0; i < 3; i++) {
		all = asked(&r);
		CHECK_EQ(json_object_array_length(field(all, "caches")), 2);
		CHECK(number_in(all, "monotonic_ns") == (int64_t)r.map->published_ns);
		json_object_put(all);
	}
	CHECK_EQ(told(&r), 4);
	reader_end(&r);
	hapax_cache_destroy(cache);
	hapax_cache_destroy(second);
	test_env_end(env);
}

TEST(the_variable_keeps_it_away_until_the_program_asks_for_it)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache;

	BY_ITSELF;
	setenv("HAPAX_SEGMENT", "off", 1);
	cache = first_cache(env, &s);
	CHECK_EQ(segment_fd(), -1);
	CHECK_EQ(hapax_segment_enable(true), 0);
	CHECK(segment_fd() >= 0);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(environments_without_threads_get_none)
{
	struct source s = {.loads = 0};
	hapax_env *env = quiet_env(HAPAX_ENV_NO_THREAD);
	hapax_cache *cache = first_cache(env, &s);

	BY_ITSELF;
	CHECK_EQ(segment_fd(), -1);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(off_means_off_until_on)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = first_cache(env, &s), *second;
	struct json_object *all;
	struct reader r;

	BY_ITSELF;
	reader_begin(&r);
	json_object_put(asked(&r));
	errno = 4711;
	CHECK_EQ(hapax_segment_enable(false), 0);
	CHECK_EQ(errno, 4711);
	CHECK_EQ(segment_fd(), -1);
	CHECK_EQ(hapax_segment_enable(false), 0);
	second = first_cache(env, &s);
	CHECK_EQ(segment_fd(), -1);
	reader_end(&r);
	errno = 4711;
	CHECK_EQ(hapax_segment_enable(true), 0);
	CHECK_EQ(hapax_segment_enable(true), 0);
	CHECK_EQ(errno, 4711);
	reader_begin(&r);
	all = asked(&r);
	CHECK_EQ(json_object_array_length(field(all, "caches")), 2);
	json_object_put(all);
	reader_end(&r);
	hapax_cache_destroy(cache);
	hapax_cache_destroy(second);
	test_env_end(env);
}

/* A daemon closes everything, and what it opens gets the numbers: that is left alone. */
TEST(closed_by_the_application_it_is_made_again)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = first_cache(env, &s);
	int fd = segment_fd(), other;
	struct reader r;

	close(fd);
	other = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(other, fd);
	CHECK_EQ(hapax_segment_enable(true), 0);
	CHECK(fcntl(other, F_GETFD) >= 0);
	reader_begin(&r);
	json_object_put(asked(&r));
	reader_end(&r);
	close(other);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

TEST(its_file_keeps_its_size_and_is_not_passed_on)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = first_cache(env, &s);
	int fd = segment_fd();
	struct stat st;

	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(ftruncate(fd, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(st.st_size, 4096 + (2 << 20));
	CHECK(st.st_blocks * 512 <= 4096); /* nobody has asked */
	hapax_cache_destroy(cache);
	test_env_end(env);
}

/* Whatever is in the file: the process goes on, and answers. */
TEST(what_is_written_to_it_does_no_harm)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = first_cache(env, &s);
	uint64_t random = test_stream(1);
	struct json_object *all;
	struct reader r;

	reader_begin(&r);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 8; i < 4096; i++)
			((unsigned char *)r.map)[i] = (unsigned char)test_random(&random);
		memset((char *)r.map + 4096, 0xff, r.size - 4096);
		all = asked(&r);
		CHECK(listed(all, "caches", "name", "tested"));
		json_object_put(all);
	}
	CHECK(told(&r) <= 8); /* its own number, whatever was there */
	reader_end(&r);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

/* The name and the blocked signals of a thread of this process; false: there is none of this name. */
static bool thread_named(const char *name, unsigned long long *blocked)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;
	bool found = false;

	CHECK(dir);
	while (!found && (e = readdir(dir))) {
		char path[300], line[128];
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		file = fopen(path, "r");
		while (file && fgets(line, sizeof(line), file)) {
			if (!strncmp(line, "Name:\t", 6))
				found = !strncmp(line + 6, name, strlen(name)) && line[6 + strlen(name)] == '\n';
			else if (found && sscanf(line, "SigBlk: %llx", blocked) == 1)
				break;
		}
		if (file)
			fclose(file);
	}
	closedir(dir);
	return found;
}

TEST(its_thread_has_a_name_takes_no_signal_and_ends_when_it_is_off)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	unsigned long long blocked = 0;
	hapax_cache *cache;

	CHECK(!thread_named("hapax-stats", &blocked));
	cache = first_cache(env, &s);
	AWAIT(thread_named("hapax-stats", &blocked));
	CHECK(blocked & 1ull << (SIGTERM - 1) && blocked & 1ull << (SIGUSR1 - 1) && blocked & 1ull << (SIGCHLD - 1));
	CHECK_EQ(hapax_segment_enable(false), 0);
	AWAIT(!thread_named("hapax-stats", &blocked));
	hapax_cache_destroy(cache);
	test_env_end(env);
}

static void in_child(hapax_cache *cache)
{
	struct reader r;
	struct json_object *all;

	reader_begin(&r); /* checks the process's number */
	all = asked(&r);
	CHECK_EQ(number_in(all, "pid"), getpid());
	CHECK_EQ(number_in(listed(all, "caches", "name", "tested"), "loads"), 1);
	json_object_put(all);
	CHECK_EQ(told(&r), 1);
	reader_end(&r);
	CHECK_EQ(hapax_segment_enable(false), 0);
	CHECK_EQ(segment_fd(), -1);
	hapax_cache_destroy(cache);
}

TEST(a_forked_child_has_its_own)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache = first_cache(env, &s);
	struct reader r;
	int status;
	pid_t pid;

	BY_ITSELF;
	hapax_release(got(cache, "a"));
	reader_begin(&r);
	json_object_put(asked(&r));
	CHECK_EQ(told(&r), 1);
	hapax_before_fork(HAPAX_FORK_URCU);
	pid = fork();
	if (!pid) {
		hapax_after_fork_child(HAPAX_FORK_URCU);
		in_child(cache);
		_exit(0);
	}
	hapax_after_fork_parent(HAPAX_FORK_URCU);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(told(&r), 1); /* the child has written nothing here */
	CHECK_EQ(r.map->pid, getpid());
	json_object_put(asked(&r));
	CHECK_EQ(told(&r), 2);
	reader_end(&r);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

/* Where it is not to be had nobody hears of it, and the next cache tries again. */
TEST(without_it_caches_work_and_the_next_one_brings_it)
{
	struct rlimit before, none = {.rlim_cur = 1 << 20};
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	hapax_cache *cache, *second;

	BY_ITSELF;
	CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
	none.rlim_max = before.rlim_max;
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
	errno = 4711;
	cache = first_cache(env, &s);
	CHECK_EQ(errno, 4711);
	CHECK_EQ(hapax_segment_enable(true), HAPAX_ENOMEM);
	CHECK_EQ(errno, 4711);
	CHECK_EQ(segment_fd(), -1);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
	second = first_cache(env, &s);
	CHECK(segment_fd() >= 0);
	hapax_cache_destroy(cache);
	hapax_cache_destroy(second);
	test_env_end(env);
}

/* Descriptors 0 to 2, closed: what is written to them later is not to be written into the segment. */
TEST(standard_descriptors_are_left_alone)
{
	struct source s = {.loads = 0};
	hapax_env *env = test_env();
	int saved = dup(STDIN_FILENO), fd;
	hapax_cache *cache;

	close(STDIN_FILENO);
	cache = first_cache(env, &s);
	fd = segment_fd();
	CHECK_EQ(dup2(saved, STDIN_FILENO), STDIN_FILENO);
	CHECK(fd > STDERR_FILENO);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	hapax_cache_destroy(cache);
	test_env_end(env);
}

/* More caches than a snapshot has room for: as many as fit, whole, from the first. */
TEST(what_is_too_long_is_cut_at_whole_caches)
{
	enum { CACHES = 1500 };
	static hapax_cache *caches[CACHES];
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .name = "thirty-one characters of a name"};
	struct json_object *all, *list;
	struct reader r;
	size_t n;

#if defined(TEST_ASAN) || defined(TEST_TSAN)
	TEST_SKIP("a thousand caches are too much for sanitizers");
#endif
	for (int i = 0; i < CACHES; i++)
		CHECK_EQ(hapax_cache_create(&caches[i], &o), 0);
	reader_begin(&r);
	all = asked(&r);
	list = field(all, "caches");
	n = json_object_array_length(list);
	CHECK(n > 100 && n < CACHES);
	CHECK(json_object_get_boolean(field(all, "truncated")));
	CHECK(r.map->length[told(&r) & 1] > r.map->capacity - 4096); /* another one would not fit */
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(number_in(json_object_array_get_idx(list, i), "id"), i + 1);
	json_object_put(all);
	reader_end(&r);
	for (int i = 0; i < CACHES; i++)
		hapax_cache_destroy(caches[i]);
}
