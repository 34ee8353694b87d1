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
 *
 * Promotion. An object that several threads get and release all the time through a cache that holds it itself (a bound or a
 * retain option), or whose type may linger, is counted by each thread for itself while that lasts, without a shared write.
 * It is counted in one place again, a grace period after the cache has let go of it (eviction, removal, the cache's end), or
 * some ticks of 10 ms after it was used much. If nobody holds it any more by then, its death runs on a thread of the library's,
 * or in hapax_reclaim(), hapax_cache_maintain() or hapax_cache_destroy(), instead of in the last release. Not in exclusive
 * caches, nor with HAPAX_CACHE_NO_PROMOTION, nor in an environment without the reclaimer thread.
 */
#ifndef HAPAX_OBJECT_H
#define HAPAX_OBJECT_H

#include <hapax/base.h>
#include <hapax/env.h>
#include <hapax/status.h>

HAPAX_BEGIN_DECLS

enum {
	HAPAX_TYPE_NOT_WEAK = 1u << 0, /* no weak references, no tables: HAPAX_ENOTWEAK instead */
	HAPAX_TYPE_DEFERRED = 1u << 1, /* deaths run in hapax_run_deferred() or hapax_env_destroy(), not in the last release */
	/* May be promoted (below) also where no cache holds it: it may then die some ticks of 10 ms after its last release, and is
	 * found until then. */
	HAPAX_TYPE_MAY_LINGER = 1u << 2,
	/* May be borrowed (hapax_cache_borrow): its contents stay as they are until all borrows are over that its death may have
	 * overtaken. A destructor, and death callbacks, run after that, on a thread of the library's or in hapax_reclaim(). */
	HAPAX_TYPE_BORROW = 1u << 3
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
 * HAPAX_EOVERFLOW beyond 2^36 references. An error takes nothing.
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

/* Ends the latest borrow of this thread (hapax_cache_borrow). Deaths that its releases brought about since its first borrow
 * run here, when it is its last one. Thread: the one that borrowed. Section: as at the borrow. Blocks: as hapax_release. */
HAPAX_API void hapax_borrow_end(void);

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

/* The object's type. The caller holds the object, or it is called from its destructor or a callback of its death. */
HAPAX_API const hapax_type *hapax_type_of(const void *object);

/*
 * HAPAX_TYPE(name, struct_type, further members of hapax_type as designated initialisers); defines name_type and
 * functions that are their hapax_ namesakes with struct_type * for void *. What gives an object gives it in this type;
 * what takes one takes no other pointer, where `void *` would also take the address of a variable. They check nothing
 * else: that a table, memo or handle is of this type is up to its maker (a cache with a type refuses others). C only.
 *
 *      int name_new(env, struct_type **out)                        hapax_new(), without extra bytes
 *      int name_retain(struct_type *), void name_release(struct_type *)
 *      struct_type *name_weak_get(weak)                            hapax_weak_get()
 *      int name_get(cache, key, struct_type **out)                 hapax_cache_get()
 *      int name_put(cache, key, struct_type *)                     hapax_cache_put()
 *      int name_table_get(table, key, struct_type **out)           hapax_table_get()
 *      int name_table_put(table, key, struct_type *)               hapax_table_put()
 *      int name_map_get(map, void *key, struct_type **data)        hapax_weak_map_get()
 *      int name_map_put(map, void *key, struct_type *data)         hapax_weak_map_put()
 *      int name_call(memo, void *owner, args, n, struct_type **out)  hapax_memo_call()
 *
 * This header is enough for the macro; those of tables, caches, maps and memos are needed where they are called.
 */
#ifndef __cplusplus
#define HAPAX_TYPE(name_, struct_type, ...)                                                                          \
	static const hapax_type name_##_type = {HAPAX_TYPE_INIT, .name = #name_, .size = sizeof(struct_type),         \
						.align = _Alignof(struct_type), __VA_ARGS__};                        \
	HAPAX_TYPED int name_##_new(hapax_env *env_, struct_type **out_)                                               \
	HAPAX_TYPED_OUT(struct_type, hapax_new(env_, &name_##_type, 0, to_))                                         \
	HAPAX_TYPED int name_##_retain(struct_type *object_) { return hapax_retain(object_); }                         \
	__attribute__((unused)) static inline void name_##_release(struct_type *object_) { hapax_release(object_); }   \
	HAPAX_TYPED struct_type *name_##_weak_get(struct hapax_weak *weak_)                                            \
	{                                                                                                            \
		return (struct_type *)hapax_weak_get(weak_);                                                           \
	}                                                                                                            \
	HAPAX_TYPED int name_##_get(struct hapax_cache *cache_, hapax_key key_, struct_type **out_)                    \
	HAPAX_TYPED_OUT(struct_type, hapax_cache_get(cache_, key_, to_))                                             \
	HAPAX_TYPED int name_##_put(struct hapax_cache *cache_, hapax_key key_, struct_type *object_)                  \
	{                                                                                                            \
		return hapax_cache_put(cache_, key_, object_);                                                         \
	}                                                                                                            \
	HAPAX_TYPED int name_##_table_get(struct hapax_table *table_, hapax_key key_, struct_type **out_)              \
	HAPAX_TYPED_OUT(struct_type, hapax_table_get(table_, key_, to_))                                             \
	HAPAX_TYPED int name_##_table_put(struct hapax_table *table_, hapax_key key_, struct_type *object_)            \
	{                                                                                                            \
		return hapax_table_put(table_, key_, object_);                                                         \
	}                                                                                                            \
	HAPAX_TYPED int name_##_map_get(struct hapax_weak_map *map_, void *key_, struct_type **out_)                   \
	HAPAX_TYPED_OUT(struct_type, hapax_weak_map_get(map_, key_, to_))                                            \
	HAPAX_TYPED int name_##_map_put(struct hapax_weak_map *map_, void *key_, struct_type *data_)                   \
	{                                                                                                            \
		return hapax_weak_map_put(map_, key_, data_);                                                          \
	}                                                                                                            \
	HAPAX_TYPED int name_##_call(struct hapax_memo *memo_, void *owner_, const struct hapax_arg *args_, size_t n_, \
				     struct_type **out_)                                                             \
	HAPAX_TYPED_OUT(struct_type, hapax_memo_call(memo_, owner_, args_, n_, to_))                                 \
	struct name_##_hapax_type /* so that the macro's user writes the semicolon */

/* Parts of the above. */
#define HAPAX_TYPED __attribute__((unused, warn_unused_result)) static inline
#define HAPAX_TYPED_OUT(struct_type, call_)                                                                          \
	{                                                                                                            \
		void *object_ = NULL, **to_ = out_ ? &object_ : NULL;                                                  \
		int status_ = (call_);                                                                               \
		if (out_)                                                                                            \
			*out_ = (struct_type *)object_;                                                              \
		return status_;                                                                                      \
	}
#endif

/* Said here for the wrappers; their own headers have the whole of it. */
struct hapax_weak;
struct hapax_cache;
struct hapax_table;
struct hapax_weak_map;
struct hapax_memo;
struct hapax_arg;
HAPAX_API HAPAX_MUST_CHECK void *hapax_weak_get(struct hapax_weak *weak);
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_get(struct hapax_cache *cache, hapax_key key, void **out);
HAPAX_API HAPAX_MUST_CHECK int hapax_cache_put(struct hapax_cache *cache, hapax_key key, void *object);
HAPAX_API HAPAX_MUST_CHECK int hapax_table_get(struct hapax_table *table, hapax_key key, void **out);
HAPAX_API HAPAX_MUST_CHECK int hapax_table_put(struct hapax_table *table, hapax_key key, void *object);
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_get(struct hapax_weak_map *map, void *key, void **data);
HAPAX_API HAPAX_MUST_CHECK int hapax_weak_map_put(struct hapax_weak_map *map, void *key, void *data);
HAPAX_API HAPAX_MUST_CHECK int hapax_memo_call(struct hapax_memo *memo, void *owner, const struct hapax_arg *args,
					       size_t n, void **out);

HAPAX_END_DECLS

#endif
