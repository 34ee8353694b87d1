/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An event loop that gets a thousand objects without ever waiting for one: hapax_cache_get_queued() asks, the queue's
 * descriptor says when something has come, hapax_completions_take() takes it. The loads are served by another thread, as
 * a database client or a remote service would: `start` hands it the load's token, and it completes the token later.
 */
#include <hapax/async.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { REQUESTS = 1000, KEYS = 250 };

struct answer { unsigned key, square; };
HAPAX_TYPE(answer, struct answer, .destroy = NULL);

/* ---- the service: a queue of orders and a thread that works them off ---------------------------------------------- */

struct order {
	struct order *next;
	hapax_load *load;
	unsigned key;
};

struct service {
	pthread_mutex_t lock;
	pthread_cond_t come;
	struct order *first, **last;
	int over;
	unsigned served;
};

static struct order *next_order(struct service *s)
{
	struct order *order;

	pthread_mutex_lock(&s->lock);
	while (!s->first && !s->over)
		pthread_cond_wait(&s->come, &s->lock);
	order = s->first;
	if (order) {
		s->first = order->next;
		if (!s->first)
			s->last = &s->first;
	}
	pthread_mutex_unlock(&s->lock);
	return order;
}

static void *serve(void *arg)
{
	struct service *s = arg;
	struct answer *answer;
	struct order *order;

	while ((order = next_order(s)) != NULL) {
		if (answer_new(NULL, &answer) == HAPAX_OK) {
			answer->key = order->key;
			answer->square = order->key * order->key;
			(void)hapax_load_complete(order->load, answer, NULL); /* consumes the reference */
		}
		hapax_load_drop(order->load); /* not completed: everybody who waits is told HAPAX_EABANDONED */
		free(order);
		s->served++;
	}
	return NULL;
}

/* Called once for each key that is absent and not being loaded, however many ask. */
static int begin(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct order *order = malloc(sizeof(*order));
	struct service *s = arg;

	if (!order) {
		error->code = 1;
		return HAPAX_LOAD_FAIL;
	}
	order->next = NULL;
	order->load = load;
	memcpy(&order->key, key->data, sizeof(order->key));
	pthread_mutex_lock(&s->lock);
	*s->last = order;
	s->last = &order->next;
	pthread_cond_signal(&s->come);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------ */

int main(void)
{
	struct service service = {.lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};
	const hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &answer_type, .start = begin, .arg = &service};
	static hapax_completion request[REQUESTS];
	static void *answers[REQUESTS];
	hapax_cache_stats stats = {.size = sizeof(stats)};
	struct epoll_event event = {.events = EPOLLIN};
	hapax_completions *queue;
	hapax_completion *done;
	unsigned i, key, taken = 0;
	hapax_cache *cache;
	pthread_t thread;
	int loop;

	service.last = &service.first;
	if (hapax_cache_create(&cache, &options) || hapax_completions_create(&queue, NULL) ||
	    pthread_create(&thread, NULL, serve, &service))
		return 1;
	loop = epoll_create1(EPOLL_CLOEXEC);
	if (loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, hapax_completions_fd(queue), &event))
		return 1;

	for (i = 0; i < REQUESTS; i++) {
		key = i % KEYS;
		request[i].user = &answers[i];
		if (hapax_cache_get_queued(cache, HAPAX_KEY_OF(key), NULL, queue, &request[i])) /* never waits */
			return 1;
	}
	while (taken < REQUESTS) {
		if (epoll_wait(loop, &event, 1, -1) < 0)
			continue;
		while ((done = hapax_completions_take(queue)) != NULL) {
			if (done->status != HAPAX_OK)
				return 1;
			*(void **)done->user = done->object; /* ours now */
			taken++;
		}
	}
	for (i = 0; i < REQUESTS; i++) {
		const struct answer *answer = answers[i];

		if (answer->square != (i % KEYS) * (i % KEYS) || answer != answers[i % KEYS])
			return 1;
	}
	if (hapax_cache_stats_get(cache, &stats))
		return 1;
	printf("%u gets, %llu loads\n", taken, (unsigned long long)stats.loads);

	for (i = 0; i < REQUESTS; i++)
		hapax_release(answers[i]);
	pthread_mutex_lock(&service.lock);
	service.over = 1;
	pthread_cond_signal(&service.come);
	pthread_mutex_unlock(&service.lock);
	pthread_join(thread, NULL);
	hapax_completions_destroy(queue);
	hapax_cache_destroy(cache);
	close(loop);
	return stats.loads == KEYS && service.served == KEYS ? 0 : 1;
}
