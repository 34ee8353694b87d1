/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that does everything from one epoll loop: asks the cache a thousand times, sends what is missing to a remote service,
 * takes its answers, completes the loads with them, and gets its objects. It never waits but in epoll_wait().
 *
 *      hapax_cache_get_queued()   asks, and returns at once, whether the object is there, is being loaded, or is not
 *      start (a cache option)     begins a load: here a message to the service. It gets a token and returns
 *      hapax_load_complete()      ends the load with the object, for all who asked meanwhile
 *      hapax_completions_fd()     is readable when gets are done: hapax_completions_take() gives them
 *
 * That no call ever blocks on a load needs no clock to be seen: the thread that asks is the one that completes. Had it waited for a
 * single load, nobody would be there to end it, and the program would never end.
 */
#define _GNU_SOURCE
#include <hapax/async.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUESTS = 1000, KEYS = 250 };

struct answer { unsigned key, square; };
HAPAX_TYPE(answer, struct answer, .destroy = NULL);

/* ---- the remote service: at the other end of a socket, in a thread of its own that knows nothing of hapax --------- */

static void *serve(void *arg)
{
	unsigned backlog[16], key, n = 0;
	int socket = *(int *)arg;
	struct answer answer;

	while (recv(socket, &key, sizeof(key), 0) == sizeof(key)) {
		backlog[n++] = key;
		while (n && (n == 16 || recv(socket, &key, sizeof(key), MSG_PEEK | MSG_DONTWAIT) < 0)) { /* the latest first */
			key = backlog[--n];
			answer = (struct answer){key, key * key};
			if (send(socket, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
				return NULL;
		}
	}
	return NULL;
}

/* ---- loads: messages to it and from it ---------------------------------------------------------------------------- */

struct client {
	int epoll, socket;
	hapax_load *loads[KEYS];     /* by key: there is never more than one load of a key */
	unsigned unsent[KEYS], n_unsent, served;
};

static void watch(struct client *client, int how)
{
	struct epoll_event event = {.events = EPOLLIN | (client->n_unsent ? EPOLLOUT : 0u), .data.fd = client->socket};

	(void)epoll_ctl(client->epoll, how, client->socket, &event);
}

/* What the socket takes now; the rest when it is writable again. */
static void send_orders(struct client *client)
{
	while (client->n_unsent && send(client->socket, &client->unsent[client->n_unsent - 1], sizeof(unsigned),
					MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		client->n_unsent--;
	watch(client, EPOLL_CTL_MOD);
}

/* Called once for each key that is absent and not being loaded, however many ask. */
static int begin(hapax_load *load, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct client *client = arg;
	unsigned number;

	memcpy(&number, key->data, sizeof(number));
	if (number >= KEYS) {
		error->code = ERANGE;
		return HAPAX_LOAD_FAIL;
	}
	client->loads[number] = load;
	client->unsent[client->n_unsent++] = number;
	send_orders(client);
	return 0;
}

static void take_answers(struct client *client)
{
	struct answer answer, *object;
	hapax_load *load;

	while (recv(client->socket, &answer, sizeof(answer), MSG_DONTWAIT) == sizeof(answer)) {
		load = client->loads[answer.key];
		client->loads[answer.key] = NULL;
		if (answer_new(NULL, &object) == HAPAX_OK) {
			*object = answer;
			(void)hapax_load_complete(load, object, NULL); /* consumes the reference */
		}
		hapax_load_drop(load); /* not completed: all who asked are told HAPAX_EABANDONED */
		client->served++;
	}
}

/* ---- the loop ------------------------------------------------------------------------------------------------------ */

static hapax_completion request[REQUESTS];
static struct answer *answers[REQUESTS];

/* All requests at once; then whatever comes, until all are answered. */
static int run(struct client *client, hapax_cache *cache, hapax_completions *queue)
{
	struct epoll_event events[2];
	unsigned i, key, taken = 0;
	hapax_completion *done;
	int n;

	for (i = 0; i < REQUESTS; i++) {
		key = i % KEYS;
		request[i].user = &answers[i];
		if (hapax_cache_get_queued(cache, HAPAX_KEY_OF(key), NULL, queue, &request[i]))
			return 1;
	}
	while (taken < REQUESTS) {
		n = epoll_wait(client->epoll, events, 2, -1);
		for (int e = 0; e < n; e++) {
			if (events[e].data.fd == client->socket) {
				if (events[e].events & EPOLLOUT)
					send_orders(client);
				take_answers(client);
				continue;
			}
			while ((done = hapax_completions_take(queue)) != NULL) {
				if (done->status != HAPAX_OK)
					return 1;
				*(struct answer **)done->user = done->object; /* ours now */
				taken++;
			}
		}
	}
	return 0;
}

int main(void)
{
	static struct client client;
	const hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &answer_type, .start = begin, .arg = &client};
	hapax_cache_stats stats = {.size = sizeof(stats)};
	struct epoll_event event = {.events = EPOLLIN};
	hapax_completions *queue;
	hapax_cache *cache;
	pthread_t thread;
	int ends[2], bad;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) || pthread_create(&thread, NULL, serve, &ends[1]))
		return 1;
	client.socket = ends[0];
	client.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (client.epoll < 0 || hapax_cache_create(&cache, &options) || hapax_completions_create(&queue, NULL))
		return 1;
	event.data.fd = hapax_completions_fd(queue);
	if (epoll_ctl(client.epoll, EPOLL_CTL_ADD, event.data.fd, &event))
		return 1;
	watch(&client, EPOLL_CTL_ADD);

	bad = run(&client, cache, queue);
	for (unsigned i = 0; i < REQUESTS && !bad; i++)
		bad = answers[i]->square != (i % KEYS) * (i % KEYS) || answers[i] != answers[i % KEYS];
	if (hapax_cache_stats_get(cache, &stats))
		return 1;
	printf("%d gets, %llu loads, one thread\n", REQUESTS, (unsigned long long)stats.loads);

	for (unsigned i = 0; i < REQUESTS; i++)
		hapax_release(answers[i]);
	shutdown(client.socket, SHUT_RDWR);
	pthread_join(thread, NULL);
	hapax_completions_destroy(queue);
	hapax_cache_destroy(cache);
	close(client.epoll);
	close(ends[0]);
	close(ends[1]);
	return !bad && stats.loads == KEYS && client.served == KEYS ? 0 : 1;
}
