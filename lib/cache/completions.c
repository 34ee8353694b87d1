/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cache/completions.c - finished gets in a queue, with a descriptor that an event loop can wait for.
 *
 * The descriptor is an eventfd that is written when the queue ceases to be empty and read when it becomes empty, both
 * under the queue's lock: readable exactly while there is something to take. Nothing waits under that lock, and no user
 * code runs under it; the completions are the application's memory, so that queueing needs none.
 * Gets under way count as users of the queue. One that ends after the queue was destroyed gives its result back without
 * touching its completion, and the last one frees the queue.
 * A forked child has the queues, with a descriptor of its own behind the same number: a shared one would have parent
 * and child take each other's wake-ups away.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cache/completions.h"
#include "object/trace.h"

struct hapax_completions {
	struct hapax_completions *next, **link; /* list of all; under list_lock */
	hapax_env *env;
	int fd;
	pthread_mutex_t lock; /* of what follows */
	hapax_completion *first, **last;
	uint64_t users;       /* gets under way, and one for the handle */
	bool destroyed;
};

/* Before a queue's lock where both are held. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hapax_completions *all;

/* ---- the descriptor, under the queue's lock ----------------------------------------------------------------------- */

static void raise_fd(int fd)
{
	uint64_t one = 1;
	int saved = errno;

	while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
		;
	errno = saved;
}

static void lower_fd(int fd)
{
	uint64_t value;
	int saved = errno;

	while (read(fd, &value, sizeof value) < 0 && errno == EINTR)
		;
	errno = saved;
}

/* ---- making and ending -------------------------------------------------------------------------------------------- */

int hapax_completions_create(hapax_completions **out, hapax_env *env)
{
	struct hapax_completions *q;
	int saved = errno;

	if (!out)
		return HAPAX_ENULL;
	*out = NULL;
	hpx_thread_ready();
	env = hpx_env_or_default(env);
	q = hpx_alloc(env, sizeof *q, 16);
	if (!q)
		return HAPAX_ENOMEM;
	q->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	errno = saved;
	if (q->fd < 0) {
		hpx_free(env, q, sizeof *q, 16);
		return HAPAX_ETHREAD;
	}
	hpx_env_hold(env);
	q->env = env;
	pthread_mutex_init(&q->lock, NULL);
	q->last = &q->first;
	q->users = 1;
	pthread_mutex_lock(&list_lock);
	q->next = all;
	if (all)
		all->link = &q->next;
	q->link = &all;
	all = q;
	pthread_mutex_unlock(&list_lock);
	*out = q;
	return 0;
}

/* Nobody uses it any more. */
static void queue_free(struct hapax_completions *q)
{
	hapax_env *env = q->env;
	int saved = errno;

	pthread_mutex_lock(&list_lock);
	*q->link = q->next;
	if (q->next)
		q->next->link = q->link;
	pthread_mutex_unlock(&list_lock);
	close(q->fd);
	pthread_mutex_destroy(&q->lock);
	hpx_free(env, q, sizeof *q, 16);
	hpx_env_drop(env);
	errno = saved;
}

/* Under the lock, which it leaves: one user less. */
static void leave(struct hapax_completions *q)
{
	bool last = --q->users == 0;

	pthread_mutex_unlock(&q->lock);
	if (last)
		queue_free(q);
}

static void give_back(void *object, hapax_load_error *error)
{
	if (object)
		hapax_release(object);
	hapax_load_error_drop(error);
}

void hapax_completions_destroy(hapax_completions *queue)
{
	hapax_completion *left, *next;

	if (!queue)
		return;
	pthread_mutex_lock(&queue->lock);
	queue->destroyed = true;
	left = queue->first;
	queue->first = NULL;
	queue->last = &queue->first;
	leave(queue);
	for (; left; left = next) {
		next = left->next;
		give_back(left->object, &left->error);
	}
}

int hapax_completions_fd(const hapax_completions *queue)
{
	return queue ? queue->fd : -1;
}

/* ---- in and out --------------------------------------------------------------------------------------------------- */

void hpx_completions_expect(hapax_completions *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->users++;
	pthread_mutex_unlock(&queue->lock);
}

void hpx_completions_forget(hapax_completions *queue)
{
	pthread_mutex_lock(&queue->lock);
	leave(queue);
}

void hpx_completions_put(hapax_completions *queue, hapax_completion *completion, int status, void *object,
			 hapax_load_error *error)
{
	bool given;

	pthread_mutex_lock(&queue->lock);
	given = !queue->destroyed;
	if (given) {
		completion->next = NULL;
		completion->queue = queue;
		completion->status = status;
		completion->object = object;
		completion->error = *error;
		*error = (hapax_load_error){.code = 0};
		if (!queue->first)
			raise_fd(queue->fd);
		*queue->last = completion;
		queue->last = &completion->next;
	}
	leave(queue);
	if (!given)
		give_back(object, error);
}

hapax_completion *hapax_completions_take(hapax_completions *queue)
{
	hapax_completion *completion;

	if (!queue)
		return NULL;
	pthread_mutex_lock(&queue->lock);
	completion = queue->first;
	if (completion) {
		queue->first = completion->next;
		if (!queue->first) {
			queue->last = &queue->first;
			lower_fd(queue->fd);
		}
		completion->next = NULL;
		completion->queue = NULL;
	}
	pthread_mutex_unlock(&queue->lock);
	HPX_TAKEN(completion ? completion->object : NULL);
	return completion;
}

/* ---- fork --------------------------------------------------------------------------------------------------------- */

static void before(void)
{
	struct hapax_completions *q;

	pthread_mutex_lock(&list_lock);
	for (q = all; q; q = q->next)
		pthread_mutex_lock(&q->lock);
}

/* In parent and child: by the thread that has taken them. */
static void after(void)
{
	struct hapax_completions *q;

	for (q = all; q; q = q->next)
		pthread_mutex_unlock(&q->lock);
	pthread_mutex_unlock(&list_lock);
}

/* Without a descriptor to be had the queue works, but shares the parent's. */
static void child_descriptors(void)
{
	struct hapax_completions *q;
	int fd;

	for (q = all; q; q = q->next) {
		fd = eventfd(q->first ? 1 : 0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (fd < 0 || dup3(fd, q->fd, O_CLOEXEC) < 0)
			hpx_env_log(q->env, HAPAX_LOG_WARNING,
				    "a queue of completions shares its descriptor with the parent process");
		if (fd >= 0)
			close(fd);
	}
}

__attribute__((constructor)) static void register_fork(void)
{
	hpx_fork_hook(HPX_FORK_BEFORE, before);
	hpx_fork_hook(HPX_FORK_PARENT, after);
	hpx_fork_hook(HPX_FORK_LOCKS, after);
	hpx_fork_hook(HPX_FORK_CONTENTS, child_descriptors);
}
