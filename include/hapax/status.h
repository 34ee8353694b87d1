/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/status.h - what functions return: 0 (done), a positive outcome, or a negative error.
 *
 * An out-object is NULL unless the call returned 0. A call that returned an error changed nothing that can be observed
 * (statistics aside) and leaked nothing. errno is neither set nor disturbed.
 */
#ifndef HAPAX_STATUS_H
#define HAPAX_STATUS_H

#include <hapax/base.h>

/* clang-format off */
#define HAPAX_STATUS_LIST(X) \
	X(HAPAX_OK,           0, "done") \
	X(HAPAX_MISS,         1, "nothing present under this key") \
	X(HAPAX_NOVALUE,      2, "the loader says that there is no value for this key") \
	X(HAPAX_NEGATIVE,     3, "a remembered negative result") \
	X(HAPAX_INFLIGHT,     4, "somebody else is loading it, or the callback is still running") \
	X(HAPAX_EMPTY,        5, "nothing there to take") \
	X(HAPAX_DEAD,         6, "the object is dead") \
	X(HAPAX_ENULL,       -1, "a required pointer is NULL") \
	X(HAPAX_EKEY,        -2, "the key is NULL with a size above 0") \
	X(HAPAX_EKEYSIZE,    -3, "the key is longer than HAPAX_KEY_MAX") \
	X(HAPAX_EOPTSIZE,    -4, "an options structure has a size this library does not know") \
	X(HAPAX_EOPTION,     -5, "an option's value is not allowed, or contradicts another") \
	X(HAPAX_EFLAGS,      -6, "unknown flags") \
	X(HAPAX_ETYPE,       -7, "the type descriptor is invalid, or not the one this cache holds") \
	X(HAPAX_ESIZE,       -8, "the object's size overflows") \
	X(HAPAX_EALIGN,      -9, "the alignment is not a power of two, or above 4096") \
	X(HAPAX_ENOTWEAK,   -10, "the type does not support weak references") \
	X(HAPAX_EDEAD,      -11, "the object's death has begun") \
	X(HAPAX_EOVERFLOW,  -12, "a count is at its limit") \
	X(HAPAX_EHASH,      -13, "the key's hash function reported an error") \
	X(HAPAX_ENOMEM,     -14, "out of memory") \
	X(HAPAX_ETHREAD,    -15, "a thread or thread-specific key could not be created") \
	X(HAPAX_EGARBAGE,   -16, "the bound on garbage is reached and the call may not wait") \
	X(HAPAX_ETIMEDOUT,  -17, "the deadline passed; whatever was waited for goes on") \
	X(HAPAX_ECLOSED,    -18, "the cache is closed") \
	X(HAPAX_EABANDONED, -19, "the loading thread vanished without a result") \
	X(HAPAX_EBUSY,      -20, "the old exclusive instance is still held") \
	X(HAPAX_EDEADLK,    -21, "waiting would be waiting for oneself") \
	X(HAPAX_ELOADER,    -22, "the loader failed; its own code is in the load error") \
	X(HAPAX_ENOLOADER,  -23, "the cache has no loader and the call gave none") \
	X(HAPAX_EFOREIGN,   -24, "the object belongs to another environment") \
	X(HAPAX_EWEIGHT,    -25, "the weigher's answer is 2^62 or more") \
	X(HAPAX_ECALLBACK,  -26, "a callback of the caller's reported an error") \
	X(HAPAX_ETOKEN,     -27, "the load has been completed already")
/* clang-format on */

HAPAX_BEGIN_DECLS

typedef enum hapax_status {
#define HAPAX_STATUS_ENUM(name, value, text) name = (value),
	HAPAX_STATUS_LIST(HAPAX_STATUS_ENUM)
#undef HAPAX_STATUS_ENUM
} hapax_status;

/* The name ("HAPAX_ENOMEM") and a sentence for a status. Static strings, never NULL; any thread; never blocks. */
HAPAX_API const char *hapax_status_name(int status);
HAPAX_API const char *hapax_status_text(int status);

HAPAX_END_DECLS

#endif
