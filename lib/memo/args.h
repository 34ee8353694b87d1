/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memo/args.h - a list of arguments as the bytes of one key.
 *
 *      owned:          the owner's identity, 8 bytes
 *      each argument:  its tag (4 bytes, typed only) | its size (4 bytes) | its bytes
 *
 * Every argument says how long it is before its bytes, so no list is the beginning of an argument of another one: lists are
 * equal exactly when their encodings are, though neither says how many arguments there are.
 *
 * Limits: the sizes together, and 16 bytes for each argument, at most HAPAX_KEY_MAX, whatever is encoded of it.
 */
#ifndef HPX_MEMO_ARGS_H
#define HPX_MEMO_ARGS_H

#include <hapax/memo.h>

#include "reclaim/reclaim.h"

#define HPX_ARGS_SMALL 256
/* What the inline part does without counting bytes: 8 + 4 * (8 + 40) fit into HPX_ARGS_SMALL. */
#define HPX_ARGS_FEW 4
#define HPX_ARGS_SHORT 40

struct hpx_args {
	unsigned char small[HPX_ARGS_SMALL];
	void *large; /* of large_size bytes; NULL: all is in `small` */
	size_t large_size;
	hapax_key key;
};

/* An argument in itself: bytes anywhere, or the 8 of its value. */
static inline bool hpx_arg_valid(const hapax_arg *arg)
{
	return arg->data || !arg->size || (arg->size == 8 && arg->tag > HAPAX_TAG_STRING);
}

int hpx_args_encode_slow(struct hpx_args *a, hapax_env *env, const void *owner, bool owned, bool typed,
			 const hapax_arg *args, size_t n);

/* Copies 0 to HPX_ARGS_SHORT bytes: words, the last of which overlaps the one before. */
static inline void hpx_args_copy(unsigned char *to, const unsigned char *from, size_t size)
{
	if (HPX_LIKELY(size >= 8)) {
		for (size_t i = 0; i < size - 8; i += 8)
			memcpy(to + i, from + i, 8);
		memcpy(to + size - 8, from + size - 8, 8);
	} else if (size >= 4) {
		memcpy(to, from, 4);
		memcpy(to + size - 4, from + size - 4, 4);
	} else if (size) {
		to[0] = from[0];
		to[size / 2] = from[size / 2];
		to[size - 1] = from[size - 1];
	}
}

/*
 * Encodes into a->key, which is valid until hpx_args_done(). `owned`: with the identity `owner`. Outside sections and locks.
 * Returns 0, HAPAX_ENULL (args NULL, n above 0), HAPAX_EKEY, HAPAX_EKEYSIZE or HAPAX_ENOMEM; after an error nothing is held.
 */
static inline int hpx_args_encode(struct hpx_args *a, hapax_env *env, const void *owner, bool owned, bool typed,
				  const hapax_arg *args, size_t n)
{
	unsigned char *at = a->small;

	if (HPX_UNLIKELY(n > HPX_ARGS_FEW || !args))
		return hpx_args_encode_slow(a, env, owner, owned, typed, args, n);
	if (owned) {
		memcpy(at, &owner, 8);
		at += 8;
	}
	for (const hapax_arg *arg = args; arg < args + n; arg++) {
		uint32_t size = (uint32_t)arg->size;

		if (HPX_UNLIKELY(arg->size > HPX_ARGS_SHORT || !hpx_arg_valid(arg)))
			return hpx_args_encode_slow(a, env, owner, owned, typed, args, n);
		if (typed) {
			memcpy(at, &arg->tag, 4);
			at += 4;
		}
		memcpy(at, &size, 4);
		at += 4;
		if (HPX_LIKELY(!arg->data)) /* the whole of it, of which 8 or none count */
			memcpy(at, &arg->value, 8);
		else
			hpx_args_copy(at, arg->data, size);
		at += size;
	}
	a->large = NULL;
	a->key = hapax_key_bytes(a->small, (size_t)(at - a->small));
	return HAPAX_OK;
}

/* After an encoding that succeeded. */
static inline void hpx_args_done(struct hpx_args *a, hapax_env *env)
{
	if (HPX_UNLIKELY(a->large))
		hpx_free(env, a->large, a->large_size, 16);
}

#endif
