/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A weak map that is destroyed by a destructor of its data, in calls that go on after that. */
#include <hapax/weak_map.h>

#include "unit/item.h"

static void destroy_map(struct item *item, void *arg)
{
	hapax_weak_map **map = arg;

	(void)item;
	hapax_weak_map_destroy(*map);
	*map = NULL;
}

TEST(SD_35_a_copy_into_a_map_that_data_which_it_replaces_destroys)
{
	hapax_env *env = test_env();
	hapax_weak_map *source, *target;
	struct item *key[3], *data = item_new(env, 10), *last = item_new(env, 11);
	size_t copied = 7;

	CHECK_EQ(hapax_weak_map_create(&source, &(hapax_weak_map_options){HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env}), HAPAX_OK);
	CHECK_EQ(hapax_weak_map_create(&target, &(hapax_weak_map_options){HAPAX_WEAK_MAP_OPTIONS_INIT, .env = env}), HAPAX_OK);
	last->on_destroy = destroy_map;
	last->arg = &target;
	for (int i = 0; i < 3; i++) {
		key[i] = item_new(env, i);
		CHECK_EQ(hapax_weak_map_put(source, key[i], data), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_put(target, key[i], last), HAPAX_OK);
	}
	/* its last holder is the entry that is replaced first */
	for (int i = 0; i < 3; i++) {
		void *first_key, *first_data;
		hapax_weak_map_iter *iter;

		CHECK_EQ(hapax_weak_map_iterate(source, &iter), HAPAX_OK);
		CHECK_EQ(hapax_weak_map_next(iter, &first_key, &first_data), HAPAX_OK);
		if (first_key != key[i])
			CHECK_EQ(hapax_weak_map_remove(target, key[i]), HAPAX_OK);
		hapax_weak_map_close(iter);
	}
	hapax_release(last);
	CHECK(target);
	CHECK_EQ(hapax_weak_map_copy(target, source, &copied), HAPAX_ECLOSED);
	CHECK(!target);
	CHECK_EQ(copied, 1);
	for (int i = 0; i < 3; i++)
		hapax_release(key[i]);
	hapax_weak_map_destroy(source);
	hapax_release(data);
	test_env_end(env);
}
