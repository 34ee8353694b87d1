/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memo/args.h - a list of arguments as the bytes of one key, in words of 8 bytes.
 *
 *      owned:          the owner's identity
 *      each argument:  its size, in a typed memo | its tag << 32; its bytes, zeros after the last
 *      but, not typed: one argument of 8 bytes alone: those; one of none alone: ONLY, 0
 *
 * Every argument says how long it is before its bytes, so no list is the beginning of an argument of another one. The first
 * exception makes the most common list as long as its value, which is hashed and compared fastest; it is the only one of one
 * word, because the second exception, which no size can be taken for, gives up that length. So lists are equal exactly when
 * their encodings are, though none says how many arguments there are.
 *
 * Words, because a key is hashed and compared right after it was written: what is read so is what was written so, or the reads
 * would wait for the stores.
 *
 * Limits: the sizes together, 16 bytes for each argument and 16 for the list, at most HAPAX_KEY_MAX.
 */
#ifndef HPX_MEMO_ARGS_H
#define HPX_MEMO_ARGS_H

#include <hapax/memo.h>

#include "reclaim/reclaim.h"

#define HPX_ARGS_SMALL 256
/* What the inline part does without counting bytes: 8 + 4 * (8 + 40) fit into HPX_ARGS_SMALL. */
#define HPX_ARGS_FEW 4
#define HPX_ARGS_SHORT 40
#define HPX_ARGS_ONLY (UINT64_C(1) << 31)
_Static_assert(HAPAX_KEY_MAX < HPX_ARGS_ONLY, "a size could be taken for it");

struct hpx_args {
	unsigned char small[HPX_ARGS_SMALL] __attribute__((aligned(8)));
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

/* Writes a word, and says where the next one goes. */
static inline unsigned char *hpx_args_word(unsigned char *to, uint64_t word)
{
	memcpy(to, &word, 8);
	return to + 8;
}

/* Writes bytes as words: says where the next one goes. */
static inline unsigned char *hpx_args_bytes(unsigned char *to, const unsigned char *from, size_t size)
{
	uint64_t word;

	for (; size >= 8; size -= 8, from += 8) {
		memcpy(&word, from, 8);
		to = hpx_args_word(to, word);
	}
	if (!size)
		return to;
	word = 0;
	while (size--)
		word = word << 8 | from[size]; /* little and big ends alike: only equality counts */
	return hpx_args_word(to, word);
}

static inline unsigned char *hpx_args_value(unsigned char *to, const hapax_arg *arg)
{
	/* without data it has 8 bytes, or none */
	return HPX_LIKELY(!arg->data && arg->size) ? hpx_args_word(to, arg->value.u) : hpx_args_bytes(to, arg->data, arg->size);
}

/* Writes the list, for which there is room: says where it ends. */
static inline __attribute__((always_inline)) unsigned char *hpx_args_write(unsigned char *to, const void *owner, bool owned,
									   bool typed, const hapax_arg *args, size_t n)
{
	if (owned)
		to = hpx_args_word(to, (uint64_t)(uintptr_t)owner);
	if (n == 1 && !typed) {
		if (HPX_LIKELY(args->size == 8))
			return hpx_args_value(to, args);
		if (!args->size)
			return hpx_args_word(hpx_args_word(to, HPX_ARGS_ONLY), 0);
	}
	for (const hapax_arg *arg = args; arg < args + n; arg++) {
		to = hpx_args_word(to, arg->size | (typed ? (uint64_t)arg->tag << 32 : 0));
		to = hpx_args_value(to, arg);
	}
	return to;
}

/*
 * Encodes into a->key, which is valid until hpx_args_done(). `owned`: with the identity `owner`. Outside sections and locks.
 * Returns 0, HAPAX_ENULL (args NULL, n above 0), HAPAX_EKEY, HAPAX_EKEYSIZE or HAPAX_ENOMEM; after an error nothing is held.
 */
static inline __attribute__((always_inline)) int hpx_args_encode(struct hpx_args *a, hapax_env *env, const void *owner, bool owned, bool typed,
				  const hapax_arg *args, size_t n)
{
	if (HPX_UNLIKELY(n > HPX_ARGS_FEW || !args))
		return hpx_args_encode_slow(a, env, owner, owned, typed, args, n);
	for (const hapax_arg *arg = args; arg < args + n; arg++)
		if (HPX_UNLIKELY(arg->size > HPX_ARGS_SHORT || !hpx_arg_valid(arg)))
			return hpx_args_encode_slow(a, env, owner, owned, typed, args, n);
	a->large = NULL;
	a->key.data = a->small;
	a->key.size = (size_t)(hpx_args_write(a->small, owner, owned, typed, args, n) - a->small);
	return HAPAX_OK;
}

/* After an encoding that succeeded. */
static inline void hpx_args_done(struct hpx_args *a, hapax_env *env)
{
	if (HPX_UNLIKELY(a->large))
		hpx_free(env, a->large, a->large_size, 16);
}

#endif
