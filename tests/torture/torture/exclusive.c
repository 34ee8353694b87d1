/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * torture/exclusive.c - a cache in exclusive mode: from the beginning of an object's load to the end of its destructor
 * there is no other object of its key, held or not.
 */
#include <string.h>
#include <unistd.h>

#include "torture/torture/parts.h"

enum { KEYS = 3, HELD = 2 };
#define MAGIC UINT64_C(0x65786c7573697665)

struct single {
	uint64_t magic;
	uint32_t key;
};

static hapax_cache *only;
static uint32_t instances[KEYS]; /* atomic */
static uint64_t begun, over;     /* atomic */
static __thread struct single *held[HELD];

static void destroy(void *object, void *arg)
{
	struct single *s = object;

	(void)arg;
	linger(2);
	if (!roll(16)) /* long enough for others to come and wait */
		usleep(200);
	if (s->magic != MAGIC)
		violation("exclusive: destructor of something that is no object");
	s->magic = 0;
	__atomic_fetch_add(&over, 1, RELAXED);
	if (__atomic_fetch_sub(&instances[s->key], 1, RELAXED) != 1)
		violation("exclusive: two instances of key %u when one ended", s->key);
}
HAPAX_TYPE(single, struct single, .destroy = destroy);

static int load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct single *s = object;
	uint32_t k;

	(void)arg;
	(void)error;
	memcpy(&k, key->data, sizeof(k));
	if (__atomic_load_n(&instances[k], RELAXED))
		violation("exclusive: a load of key %u while an instance exists", k);
	linger(4);
	if (!roll(16))
		return HAPAX_LOAD_NOVALUE;
	if (__atomic_fetch_add(&instances[k], 1, RELAXED))
		violation("exclusive: two instances of key %u", k);
	__atomic_fetch_add(&begun, 1, RELAXED);
	s->key = k;
	s->magic = MAGIC;
	return HAPAX_LOAD_OK;
}

bool exclusive_begin(hapax_env *env)
{
	hapax_cache_options o = {HAPAX_CACHE_OPTIONS_INIT, .env = env, .type = &single_type, .load = load,
				 .flags = HAPAX_CACHE_EXCLUSIVE};

	return hapax_cache_create(&only, &o) == 0;
}

static void let_go(unsigned i)
{
	struct single *s = held[i];

	held[i] = NULL;
	if (!s)
		return;
	if (s->magic != MAGIC)
		violation("exclusive: a held object was destroyed");
	hapax_release(s);
}

void exclusive_step(void)
{
	uint32_t key = roll(KEYS), i = roll(HELD);
	void *out = NULL;
	int rc;

	let_go(i);
	switch (roll(8)) {
	case 0:
		rc = hapax_cache_remove(only, HAPAX_KEY_OF(key));
		break;
	case 1:
		rc = hapax_cache_get_if_present(only, HAPAX_KEY_OF(key), &out);
		break;
	default:
		rc = hapax_cache_get(only, HAPAX_KEY_OF(key), &out);
	}
	if (rc != 0 && rc != HAPAX_MISS && rc != HAPAX_NOVALUE && rc != HAPAX_EBUSY)
		violation("exclusive: a call gave %s", hapax_status_name(rc));
	if (!out)
		return;
	held[i] = out;
	if (held[i]->magic != MAGIC || held[i]->key != key)
		violation("exclusive: a wrong object was given for key %u", key);
	linger(4);
}

void exclusive_leave(void)
{
	for (unsigned i = 0; i < HELD; i++)
		let_go(i);
}

void exclusive_judge(void)
{
	for (unsigned k = 0; k < KEYS; k++)
		if (instances[k])
			violation("exclusive: %u instances of key %u though nobody holds one", instances[k], k);
	if (begun != over)
		violation("exclusive: %llu loaded, %llu destroyed", (unsigned long long)begun, (unsigned long long)over);
}

void exclusive_end(void) { hapax_cache_destroy(only); }
