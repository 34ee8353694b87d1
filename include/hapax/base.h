/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/base.h - export and attribute macros, version, units of time, keys, text that is written.
 */
#ifndef HAPAX_BASE_H
#define HAPAX_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HAPAX_VERSION_MAJOR 0
#define HAPAX_VERSION_MINOR 1
#define HAPAX_VERSION_PATCH 0
#define HAPAX_VERSION_STRING "0.1.0"

#ifdef __cplusplus
#define HAPAX_BEGIN_DECLS extern "C" {
#define HAPAX_END_DECLS }
#else
#define HAPAX_BEGIN_DECLS
#define HAPAX_END_DECLS
#endif

#define HAPAX_API __attribute__((visibility("default")))
#define HAPAX_MUST_CHECK __attribute__((warn_unused_result))

/* Units of time. Every duration and deadline in hapax is in nanoseconds of the environment's monotonic clock. */
#define HAPAX_MICROSECOND UINT64_C(1000)
#define HAPAX_MILLISECOND UINT64_C(1000000)
#define HAPAX_SECOND UINT64_C(1000000000)

/* Deadlines. A deadline is an absolute instant of hapax_env_now(). */
#define HAPAX_NO_WAIT UINT64_C(0)    /* do not wait for anybody else */
#define HAPAX_FOREVER UINT64_MAX     /* wait as long as it takes */

/* The longest key, in bytes: 16 MiB. Longer ones are refused with HAPAX_EKEYSIZE. */
#define HAPAX_KEY_MAX ((size_t)1 << 24)

HAPAX_BEGIN_DECLS

/*
 * A key: any bytes, length included in its identity. Size 0 is the legal empty key whatever `data` is; NULL with a
 * size above 0 is refused with HAPAX_EKEY. hapax copies the bytes unless a table or cache says `borrow_keys`.
 */
typedef struct hapax_key {
	const void *data;
	size_t size;
} hapax_key;

static inline hapax_key hapax_key_bytes(const void *data, size_t size)
{
	hapax_key key;

	key.data = data;
	key.size = size;
	return key;
}

static inline hapax_key hapax_key_str(const char *text)
{
	return hapax_key_bytes(text, text ? strlen(text) : 0);
}

#define HAPAX_STR(text) hapax_key_str(text)                           /* a C string, without its final zero */
#define HAPAX_BYTES(data, size) hapax_key_bytes((data), (size))
#define HAPAX_KEY_OF(object) hapax_key_bytes(&(object), sizeof(object)) /* the bytes of a variable without padding */

/*
 * Takes text that hapax writes: n bytes (above 0), not terminated, valid during the call; pieces end anywhere. Another result than
 * 0 ends the writing, and the function that wrote returns it. Called outside locks and read sections, on the writing thread.
 */
typedef int (*hapax_write_fn)(const char *text, size_t n, void *ctx);

/* The version of the library that is linked, as "major.minor.patch". A static string; any thread; never blocks. */
HAPAX_API const char *hapax_version(void);

HAPAX_END_DECLS

#endif
