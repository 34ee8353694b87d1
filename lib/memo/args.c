/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memo/args.c - lists of arguments that are long, many or wrong. */
#include "memo/args.h"

/* Room for the encoding, 0 to 15 bytes more than it needs, or an error. */
static int args_room(const hapax_arg *args, size_t n, size_t *length)
{
	size_t room = HAPAX_KEY_MAX - 16, sizes = 0;

	if (n && !args)
		return HAPAX_ENULL;
	if (n > room / 16)
		return HAPAX_EKEYSIZE;
	room -= 16 * n;
	*length = 16;
	for (size_t i = 0; i < n; i++) {
		if (!hpx_arg_valid(&args[i]))
			return HAPAX_EKEY;
		if (args[i].size > room - sizes)
			return HAPAX_EKEYSIZE;
		sizes += args[i].size;
		*length += 8 + ((args[i].size + 7) & ~(size_t)7);
	}
	return HAPAX_OK;
}

int hpx_args_encode_slow(struct hpx_args *a, hapax_env *env, const void *owner, bool owned, bool typed,
			 const hapax_arg *args, size_t n)
{
	unsigned char *at = a->small;
	size_t length = 0;
	int rc = args_room(args, n, &length);

	a->large = NULL;
	a->key = hapax_key_bytes(NULL, 0);
	if (rc)
		return rc;
	if (length > sizeof(a->small)) {
		a->large = hpx_alloc(env, length, 16);
		if (!a->large)
			return HAPAX_ENOMEM;
		a->large_size = length;
		at = a->large;
	}
	a->key = hapax_key_bytes(at, (size_t)(hpx_args_write(at, owner, owned, typed, args, n) - at));
	return HAPAX_OK;
}
