/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unit/maps.h - shorthands for tests of weak maps and weak sets; keys, data and members are items. */
#ifndef TEST_MAPS_H
#define TEST_MAPS_H

#include "unit/item.h"

MAYBE_UNUSED static hapax_weak_map *map_new(hapax_env *env)
{
	hapax_weak_map_options options = {HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env, .name = "tested"};
	hapax_weak_map *map = NULL;

	CHECK_EQ(hapax_weak_map_create(&map, &options), HAPAX_OK);
	CHECK(map);
	return map;
}

/* At rest: the structure is sound and has `size` entries. */
MAYBE_UNUSED static void map_check(hapax_weak_map *map, size_t size)
{
	char message[256] = "";

	if (hapax_testing_check_weak_map(map, message, sizeof(message)))
		TEST_FAIL("weak map check: %s", message);
	CHECK_EQ(hapax_weak_map_size(map), size);
}

MAYBE_UNUSED static void map_end(hapax_weak_map *map, size_t size)
{
	map_check(map, size);
	hapax_weak_map_destroy(map);
}

/* The data of a key, not kept, or NULL: the map, or somebody else, keeps it. */
MAYBE_UNUSED static struct item *map_peek(hapax_weak_map *map, void *key)
{
	void *data = (void *)1;
	int present = hapax_weak_map_contains(map, key), status = hapax_weak_map_get(map, key, &data);

	if (status == HAPAX_MISS) {
		CHECK(!data);
		CHECK_EQ(present, 0);
		return NULL;
	}
	CHECK_EQ(status, HAPAX_OK);
	CHECK(data);
	CHECK_EQ(present, 1);
	hapax_release(data);
	return data;
}

/* Puts data and gives up the caller's reference: the map alone keeps it. */
MAYBE_UNUSED static struct item *map_give(hapax_weak_map *map, void *key, struct item *data)
{
	int status = hapax_weak_map_put(map, key, data);

	CHECK_EQ(status, HAPAX_OK);
	hapax_release(data);
	return data;
}

MAYBE_UNUSED static hapax_weak_map_iter *map_iterate(hapax_weak_map *map)
{
	hapax_weak_map_iter *iter = NULL;

	CHECK_EQ(hapax_weak_map_iterate(map, &iter), HAPAX_OK);
	CHECK(iter);
	return iter;
}

MAYBE_UNUSED static hapax_weak_set *set_new(hapax_env *env)
{
	hapax_weak_set_options options = {HAPAX_WEAK_SET_OPTIONS_INIT, .env = env, .name = "tested"};
	hapax_weak_set *set = NULL;

	CHECK_EQ(hapax_weak_set_create(&set, &options), HAPAX_OK);
	CHECK(set);
	return set;
}

MAYBE_UNUSED static void set_check(hapax_weak_set *set, size_t size)
{
	char message[256] = "";

	if (hapax_testing_check_weak_set(set, message, sizeof(message)))
		TEST_FAIL("weak set check: %s", message);
	CHECK_EQ(hapax_weak_set_size(set), size);
}

MAYBE_UNUSED static void set_end(hapax_weak_set *set, size_t size)
{
	set_check(set, size);
	hapax_weak_set_destroy(set);
}

/* Frees what can be freed and makes one more item, until it is where `address` was: NULL, if that memory does not come again
 * (with AddressSanitizer it comes late). */
MAYBE_UNUSED static struct item *item_at(hapax_env *env, int id, const void *address)
{
	enum { MOST = 4096 };
	struct item **tried = calloc(MOST, sizeof(*tried)), *found = NULL;
	unsigned n = 0;

	CHECK(tried);
	while (!found && n < MOST) {
		if (n % 512 == 0)
			hapax_testing_drain(env);
		tried[n] = item_new(env, id);
		if (tried[n] == address)
			found = tried[n];
		else
			n++;
	}
	while (n > 0)
		hapax_release(tried[--n]);
	free(tried);
	return found;
}

#endif
