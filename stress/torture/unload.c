/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unload.c - libhapax.so, opened beside the hapax that this program is linked with, used by threads, and closed while
 * they live: they end afterwards, and with them hapax's share of each.
 */
#include "disturb.h"

#include "harness/team.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SONAME "libhapax.so.0"

enum { USERS = 3, KEYS = 32 };

/* The calls that are made through it. */
static struct {
	__typeof__(&hapax_env_create) env_create;
	__typeof__(&hapax_env_destroy) env_destroy;
	__typeof__(&hapax_env_stats_get) env_stats;
	__typeof__(&hapax_reclaim) reclaim;
	__typeof__(&hapax_cache_create) create;
	__typeof__(&hapax_cache_get) get;
	__typeof__(&hapax_cache_destroy) destroy;
	__typeof__(&hapax_release) release;
} so;

struct user {
	hapax_cache *cache;
	hpx_rng rng;
	hpx_relaxed done;
	pthread_barrier_t *closed;
};

static hpx_relaxed destroyed;

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	(void)arg;
	(void)error;
	*(uint64_t *)object = hpx_mix64(*(const uint32_t *)key->data);
	return HAPAX_LOAD_OK;
}

static void destroy(void *object, void *arg)
{
	(void)arg;
	*(uint64_t *)object = 0;
	hpx_relaxed_add(&destroyed, 1);
}

static const hapax_type type = {HAPAX_TYPE_INIT, .name = "through the library", .size = sizeof(uint64_t),
				.destroy = destroy};

static void *user_main(void *arg)
{
	struct user *user = arg;

	for (unsigned i = 0; i < 500; i++) {
		uint32_t key = (uint32_t)hpx_rng_below(&user->rng, KEYS);
		void *object = NULL;
		int status = so.get(user->cache, HAPAX_KEY_OF(key), &object);

		if (hpx_sight_look(HPX_SIGHT_UNLOADED, !status && *(uint64_t *)object == hpx_mix64(key),
				   "a get gave %s", hapax_status_name(status)))
			so.release(object);
	}
	pthread_barrier_wait(user->closed); /* all calls are made */
	pthread_barrier_wait(user->closed); /* the library is closed */
	return NULL;
}

#define FIND(member, name) ((so.member = (__typeof__(so.member))(intptr_t)dlsym(library, name)) != NULL)

/* That of the build tree, DIR/libhapax.so.0 for DIR/bin/hapax-stress; else the one that is installed. */
static void *open_shared(void)
{
	char path[PATH_MAX + sizeof(SONAME)];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	char *slash;
	void *library = NULL;
	int up;

	path[n > 0 ? n : 0] = 0;
	for (up = 0; up < 2; up++) {
		slash = strrchr(path, '/');
		if (slash)
			*slash = 0;
	}
	if (slash) {
		strcat(path, "/" SONAME);
		library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	}
	return library ? library : dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
}

static void *open_library(void)
{
	void *library = open_shared();

	if (!library)
		return NULL;
	if (FIND(env_create, "hapax_env_create") && FIND(env_destroy, "hapax_env_destroy") &&
	    FIND(env_stats, "hapax_env_stats_get") && FIND(reclaim, "hapax_reclaim") &&
	    FIND(create, "hapax_cache_create") && FIND(get, "hapax_cache_get") &&
	    FIND(destroy, "hapax_cache_destroy") && FIND(release, "hapax_release"))
		return library;
	dlclose(library);
	return NULL;
}

static bool none_left(void *ctx)
{
	hapax_env_stats stats = {.size = sizeof(stats)};

	so.reclaim(ctx);
	return !so.env_stats(ctx, &stats) && stats.objects_born == stats.objects_freed;
}

static void run_once(hpx_torturer *self)
{
	hapax_env_options env_options = {HAPAX_ENV_OPTIONS_INIT, .seed = hpx_rng_next(&self->rng)};
	hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &type, .load = load};
	void *library = open_library();
	struct user users[USERS];
	pthread_t threads[USERS];
	pthread_barrier_t closed;
	hapax_cache *cache = NULL;
	hapax_env *env = NULL;

	if (!hpx_sight_look(HPX_SIGHT_UNLOADED, library != NULL, "no library: %.80s", library ? "" : dlerror())) {
		hpx_pause(HAPAX_SECOND);
		return;
	}
	if (so.env_create(&env, &env_options))
		abort();
	options.env = env;
	if (so.create(&cache, &options))
		abort();
	pthread_barrier_init(&closed, NULL, USERS + 1);
	for (unsigned i = 0; i < USERS; i++) {
		users[i] = (struct user){.cache = cache, .rng = {hpx_rng_next(&self->rng)}, .closed = &closed};
		if (pthread_create(&threads[i], NULL, user_main, &users[i]))
			abort();
	}
	pthread_barrier_wait(&closed);
	so.destroy(cache);
	hpx_sight_look(HPX_SIGHT_UNLOADED, hpx_await(none_left, env, HPX_TORTURE_PATIENCE), "objects are left");
	so.env_destroy(env);
	hpx_sight_look(HPX_SIGHT_UNLOADED, dlclose(library) == 0, "dlclose: %.80s", "failed");
	pthread_barrier_wait(&closed);
	for (unsigned i = 0; i < USERS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&closed);
	hpx_happened(&hpx_dlopens, 1);
}

static void run(hpx_torturer *self, unsigned which)
{
	(void)which;
	while (!hpx_stopping()) {
		run_once(self);
		hpx_pause(hpx_rng_below(&self->rng, 4 * HAPAX_MILLISECOND));
	}
}

static const char *lacking(void)
{
	return HPX_UNDER_ASAN || HPX_UNDER_TSAN ? "two copies of the library under a sanitizer" : NULL;
}

hpx_disturbance hpx_dlopens = {
	.name = "dlopen",
	.help = "libhapax.so opened, used by threads, and closed before they end",
	.field = "dlcloses",
	.label = "dlclose() before its threads end",
	.full = 1000,
	.threads = 1,
	.lacking = lacking,
	.run = run,
};
