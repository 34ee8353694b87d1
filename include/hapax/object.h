/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/object.h - reference-counted objects.
 *
 * An object pointer is the user's own struct; hapax keeps its header before it. The strong count is 64 bits wide and
 * sticky: the release that takes it to 0 and swaps 0 for DEAD kills the object, and nothing brings it back.
 *
 * Death, in this order, on the thread of the last release and before the outermost hapax_release() on that thread
 * returns: weak references read dead and table entries read absent (at once, everywhere); death callbacks, newest
 * first; the destructor; memory, after a grace period. Deaths caused by a death are queued, not recursive. Callbacks
 * and destructors run without any lock or read section of hapax's and may call anything.
 */
#ifndef HAPAX_OBJECT_H
#define HAPAX_OBJECT_H

#include <hapax/base.h>
#include <hapax/env.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

enum {
	HAPAX_TYPE_NOT_WEAK = 1u << 0, /* no weak references, no tables: HAPAX_ENOTWEAK instead */
	HAPAX_TYPE_DEFERRED = 1u << 1  /* deaths run in hapax_run_deferred(), not in the last release */
};

/*
 * A type. Usually static, made by HAPAX_TYPE(). It must outlive every object of it.
 * `destroy` gets the object and `arg`; NULL: nothing to do. It runs once, and not at all for an object whose loader
 * failed.
 */
typedef struct hapax_type {
	size_t struct_size; /* sizeof(hapax_type); HAPAX_TYPE_INIT sets it */
	const char *name;   /* for reports; NULL: "object" */
	size_t size;        /* bytes of payload, without flexible extra; may be 0 */
	size_t align;       /* power of two up to 4096; 0 and anything below 16: 16 */
	unsigned flags;     /* HAPAX_TYPE_* */
	void (*destroy)(void *object, void *arg);
	void *arg;
} hapax_type;

#define HAPAX_TYPE_INIT .struct_size = sizeof(hapax_type)

/* The most payload one object may have, flexible part included. */
#define HAPAX_OBJECT_MAX ((size_t)1 << 40)

/*
 * Returns 0 and a new object with one strong reference, its payload zeroed: type->size + extra bytes.
 * Owns: the caller, one reference. Thread: any. Section: outside. Blocks: at the garbage bound, for as long as it takes.
 * Fails: HAPAX_ENULL, HAPAX_ETYPE, HAPAX_EFLAGS, HAPAX_EALIGN, HAPAX_ESIZE, HAPAX_ENOMEM, HAPAX_EGARBAGE (without the
 * reclaimer thread, or inside a read section).
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_new(hapax_env *env, const hapax_type *type, size_t extra, void **out);

/*
 * Takes one more reference to an object that the caller holds. Thread: any. Section: either. Blocks: no. Order: none.
 * Fails: HAPAX_ENULL; HAPAX_EDEAD for an object whose death has begun (debug builds abort and name it);
 * HAPAX_EOVERFLOW beyond 2^46 references. An error takes nothing.
 */
HAPAX_API HAPAX_MUST_CHECK int hapax_retain(void *object);

/*
 * Gives one reference back; NULL is a no-op. The last one runs the object's death (see above). Cannot fail, needs no
 * memory, preserves errno.
 * Thread: any. Section: either. Blocks: no (user code that it runs may).
 * Order: everything done with the object before any release happens before its callbacks and destructor.
 * A release too many: debug builds abort and name the object; release builds ignore it where it can be seen.
 */
HAPAX_API void hapax_release(void *object);

/* The strong count now: a hint under concurrency, exact at rest; 0 once dead. Thread: any that holds the object. */
HAPAX_API uint64_t hapax_count(const void *object);

/*
 * A foreign resource (a FILE, a handle of another library) as an object: `close` (may be NULL) gets `pointer` once, when the
 * object dies. Its payload is a struct hapax_box. When the call fails the resource stays the caller's.
 * Owns, thread, section, blocks: as hapax_new. Fails: HAPAX_ENULL (out), HAPAX_ENOMEM, HAPAX_EGARBAGE.
 */
typedef struct hapax_box {
	void *pointer;
	void (*close)(void *pointer);
} hapax_box;
HAPAX_API HAPAX_MUST_CHECK int hapax_box_new(hapax_env *env, void *pointer, void (*close)(void *pointer), void **out);
/* The type of boxes, for caches that hold them. Static, valid for ever. */
HAPAX_API const hapax_type *hapax_box_type(void);

/* The object's type; needs a reference or a callback in progress. */
HAPAX_API const hapax_type *hapax_type_of(const void *object);

/*
 * Defines name_type for `struct_type` and the typed wrappers name_new(), name_get() (hapax/cache.h); further members of
 * hapax_type as designated initialisers.
 */
#ifndef __cplusplus
#define HAPAX_TYPE(name_, struct_type, ...)                                                                          \
	static const hapax_type name_##_type = {HAPAX_TYPE_INIT, .name = #name_, .size = sizeof(struct_type),         \
						.align = _Alignof(struct_type), __VA_ARGS__};                        \
	__attribute__((unused, warn_unused_result)) static inline int name_##_new(hapax_env *env_, struct_type **out_) \
	{                                                                                                            \
		void *object_ = NULL;                                                                                \
		int status_ = hapax_new(env_, &name_##_type, 0, out_ ? &object_ : NULL);                               \
		if (out_)                                                                                            \
			*out_ = (struct_type *)object_;                                                              \
		return status_;                                                                                      \
	}                                                                                                            \
	__attribute__((unused, warn_unused_result)) static inline int name_##_get(                                    \
		struct hapax_cache *cache_, hapax_key key_, struct_type **out_)                                        \
	{                                                                                                            \
		void *object_ = NULL;                                                                                \
		int status_ = hapax_cache_get(cache_, key_, out_ ? &object_ : NULL);                                   \
		if (out_)                                                                                            \
			*out_ = (struct_type *)object_;                                                              \
		return status_;                                                                                      \
	}                                                                                                            \
	__attribute__((unused)) static inline void name_##_release(struct_type *object_) { hapax_release(object_); }   \
	struct name_##_hapax_type /* so that the macro's user writes the semicolon */
#endif

/* Said here for the wrappers; hapax/cache.h has the whole of it. */
struct hapax_cache;
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get(struct hapax_cache *cache, hapax_key key, void **out);

HAPAX_END_DECLS

#endif
