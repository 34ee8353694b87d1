/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/auto.h - variables that give back what they hold when they go out of scope (GCC's and clang's cleanup attribute).
 *
 *      HAPAX_AUTO(struct model *) m = NULL;                 an object: hapax_release()
 *      HAPAX_AUTO_WEAK(watch) = NULL;                       a handle: hapax_weak_drop()
 *
 * The variable must be initialised. Passing the reference on: hapax_steal(m), which also clears the variable. C only.
 */
#ifndef HAPAX_AUTO_H
#define HAPAX_AUTO_H

#include <hapax/bound.h>
#include <hapax/cache.h>
#include <hapax/finalizer.h>
#include <hapax/intern.h>
#include <hapax/memo.h>
#include <hapax/object.h>
#include <hapax/table.h>
#include <hapax/weak.h>
#include <hapax/weak_map.h>

#ifndef __cplusplus

static inline void hapax_auto_release(void *variable)
{
	void *object;

	memcpy(&object, variable, sizeof(object)); /* a pointer of any type */
	hapax_release(object);
}
static inline void hapax_auto_weak(hapax_weak **weak) { (void)hapax_weak_drop(*weak); }
static inline void hapax_auto_bound(hapax_bound **bound) { (void)hapax_bound_drop(*bound); }
static inline void hapax_auto_finalizer(hapax_finalizer **finalizer) { hapax_finalizer_drop(*finalizer); }
static inline void hapax_auto_iter(hapax_iter **iter) { hapax_iter_close(*iter); }
static inline void hapax_auto_table(hapax_table **table) { hapax_table_destroy(*table); }
static inline void hapax_auto_cache(hapax_cache **cache) { hapax_cache_destroy(*cache); }
static inline void hapax_auto_memo(hapax_memo **memo) { hapax_memo_destroy(*memo); }
static inline void hapax_auto_weak_map(hapax_weak_map **map) { hapax_weak_map_destroy(*map); }
static inline void hapax_auto_weak_set(hapax_weak_set **set) { hapax_weak_set_destroy(*set); }
static inline void hapax_auto_interner(hapax_interner **interner) { hapax_interner_destroy(*interner); }

/* clang-format off */
#define HAPAX_AUTO(pointer_type)  __attribute__((cleanup(hapax_auto_release))) pointer_type
#define HAPAX_AUTO_WEAK(name)     __attribute__((cleanup(hapax_auto_weak))) hapax_weak *name
#define HAPAX_AUTO_BOUND(name)    __attribute__((cleanup(hapax_auto_bound))) hapax_bound *name
#define HAPAX_AUTO_FINALIZER(name) __attribute__((cleanup(hapax_auto_finalizer))) hapax_finalizer *name
#define HAPAX_AUTO_ITER(name)     __attribute__((cleanup(hapax_auto_iter))) hapax_iter *name
#define HAPAX_AUTO_TABLE(name)    __attribute__((cleanup(hapax_auto_table))) hapax_table *name
#define HAPAX_AUTO_CACHE(name)    __attribute__((cleanup(hapax_auto_cache))) hapax_cache *name
#define HAPAX_AUTO_MEMO(name)     __attribute__((cleanup(hapax_auto_memo))) hapax_memo *name
#define HAPAX_AUTO_WEAK_MAP(name) __attribute__((cleanup(hapax_auto_weak_map))) hapax_weak_map *name
#define HAPAX_AUTO_WEAK_SET(name) __attribute__((cleanup(hapax_auto_weak_set))) hapax_weak_set *name
#define HAPAX_AUTO_INTERNER(name) __attribute__((cleanup(hapax_auto_interner))) hapax_interner *name
/* clang-format on */

/* The value of a pointer variable, which is NULL afterwards. */
#define hapax_steal(variable)                                                                                        \
	__extension__({                                                                                              \
		__typeof__(variable) stolen_ = (variable);                                                           \
		(variable) = NULL;                                                                                   \
		stolen_;                                                                                             \
	})

#endif
#endif
