/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memo/args.c - lists of arguments that are long, many or wrong. */
#include "memo/args.h"

/* The encoded length, or an error. */
static int args_length(bool owned, bool typed, const hapax_arg *args, size_t n, size_t *length)
{
	size_t room = HAPAX_KEY_MAX, sizes = 0;

	if (n && !args)
		return HAPAX_ENULL;
	if (n > room / 16)
		return HAPAX_EKEYSIZE;
	room -= 16 * n;
	for (size_t i = 0; i < n; i++) {
		if (!hpx_arg_valid(&args[i]))
			return HAPAX_EKEY;
		if (args[i].size > room - sizes)
			return HAPAX_EKEYSIZE;
		sizes += args[i].size;
	}
	*length = sizes + (owned ? 8 : 0) + n * (typed ? 8 : 4);
	return HAPAX_OK;
}

int hpx_args_encode_slow(struct hpx_args *a, hapax_env *env, const void *owner, bool owned, bool typed,
			 const hapax_arg *args, size_t n)
{
	unsigned char *at = a->small;
	size_t length = 0;
	int rc = args_length(owned, typed, args, n, &length);

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
	a->key = hapax_key_bytes(at, length);
	if (owned) {
		memcpy(at, &owner, 8);
		at += 8;
	}
	for (size_t i = 0; i < n; i++) {
		uint32_t size = (uint32_t)args[i].size;

		if (typed) {
			memcpy(at, &args[i].tag, 4);
			at += 4;
		}
		memcpy(at, &size, 4);
		at += 4;
		memcpy(at, hapax_arg_data(&args[i]), size);
		at += size;
	}
	return HAPAX_OK;
}
