/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <hapax/hapax.h>
#include <stdio.h>

struct square { unsigned root, area; };

static int square_load(void *object, const hapax_key *key, void *arg, hapax_load_error *error)
{
	struct square *square = object; /* zeroed, ready to be filled */

	(void)arg, (void)error;
	memcpy(&square->root, key->data, sizeof(square->root));
	square->area = square->root * square->root;
	puts("loaded");
	return HAPAX_LOAD_OK;
}

static void square_destroy(void *object, void *arg)
{
	(void)object, (void)arg;
	puts("destroyed");
}

HAPAX_TYPE(square, struct square, .destroy = square_destroy);

int main(void)
{
	const hapax_cache_options options = {HAPAX_CACHE_OPTIONS_INIT, .type = &square_type, .load = square_load};
	struct square *one = NULL, *same = NULL;
	hapax_cache *cache;
	unsigned root = 12;

	if (hapax_cache_create(&cache, &options) != HAPAX_OK)
		return 1;
	if (square_get(cache, HAPAX_KEY_OF(root), &one) != HAPAX_OK || /* prints "loaded" */
	    square_get(cache, HAPAX_KEY_OF(root), &same) != HAPAX_OK)  /* the very same object */
		return 1;
	printf("%u, shared: %s\n", one->area, one == same ? "yes" : "no");
	hapax_release(same);
	hapax_release(one); /* the last user has gone: prints "destroyed" */
	hapax_cache_destroy(cache);
	return 0;
}
