/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hapax/auto.h - variables that give back what they hold when they go out of scope (GCC's and clang's cleanup
 * attribute).
 *
 *      HAPAX_AUTO(struct model *) m = NULL;                 an object: hapax_release()
 *      HAPAX_AUTO_WEAK(watch) = NULL;                       a handle: hapax_weak_drop()
 *      if (model_get(cache, key, &m))
 *              return -1;                                   nothing to clean up by hand, here or below
 *
 * It runs however the scope is left: at its end, by return, break, continue or goto; the last variable first, and
 * after the value of a return has been computed. Not by exit() or longjmp(); when a thread ends by pthread_exit() or
 * is cancelled only in code that is compiled with -fexceptions.
 *
 * The variable must be initialised where it is declared, if only with NULL, and neither goto nor case may jump past
 * that. It is for one reference at a time: assigning to it releases nothing, and loses what it held. Passing the
 * reference on, to the caller or to what consumes it: hapax_steal(m). Errors of a drop are not seen: hapax_weak_drop()
 * may say HAPAX_INFLIGHT, which only matters to who frees what the callback uses.
 *
 * What is declared first ends last. A table, cache or memo is best declared before what is got from it: objects that
 * are still alive when it is destroyed stay valid, but are reported. C only; C++ has hapax/hapax.hpp.
 */
#ifndef HAPAX_AUTO_H
#define HAPAX_AUTO_H

#include <hapax/async.h>
#include <hapax/bound.h>
#include <hapax/cache.h>
#include <hapax/env.h>
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
static inline void hapax_auto_map_iter(hapax_weak_map_iter **iter) { hapax_weak_map_close(*iter); }
static inline void hapax_auto_set_iter(hapax_weak_set_iter **iter) { hapax_weak_set_close(*iter); }
static inline void hapax_auto_error(hapax_load_error *error) { hapax_load_error_drop(error); }
static inline void hapax_auto_load(hapax_load **load) { hapax_load_drop(*load); }
static inline void hapax_auto_completions(hapax_completions **queue) { hapax_completions_destroy(*queue); }
static inline void hapax_auto_table(hapax_table **table) { hapax_table_destroy(*table); }
static inline void hapax_auto_cache(hapax_cache **cache) { hapax_cache_destroy(*cache); }
static inline void hapax_auto_memo(hapax_memo **memo) { hapax_memo_destroy(*memo); }
static inline void hapax_auto_weak_map(hapax_weak_map **map) { hapax_weak_map_destroy(*map); }
static inline void hapax_auto_weak_set(hapax_weak_set **set) { hapax_weak_set_destroy(*set); }
static inline void hapax_auto_interner(hapax_interner **interner) { hapax_interner_destroy(*interner); }
static inline void hapax_auto_env(hapax_env **env) { hapax_env_destroy(*env); }

/* clang-format off */
#define HAPAX_AUTO(pointer_type)     __attribute__((cleanup(hapax_auto_release))) pointer_type
/* What there is to give back once: dropped or closed. */
#define HAPAX_AUTO_WEAK(name)        __attribute__((cleanup(hapax_auto_weak))) hapax_weak *name
#define HAPAX_AUTO_BOUND(name)       __attribute__((cleanup(hapax_auto_bound))) hapax_bound *name
#define HAPAX_AUTO_FINALIZER(name)   __attribute__((cleanup(hapax_auto_finalizer))) hapax_finalizer *name
#define HAPAX_AUTO_ITER(name)        __attribute__((cleanup(hapax_auto_iter))) hapax_iter *name
#define HAPAX_AUTO_MAP_ITER(name)    __attribute__((cleanup(hapax_auto_map_iter))) hapax_weak_map_iter *name
#define HAPAX_AUTO_SET_ITER(name)    __attribute__((cleanup(hapax_auto_set_iter))) hapax_weak_set_iter *name
#define HAPAX_AUTO_LOAD(name)        __attribute__((cleanup(hapax_auto_load))) hapax_load *name
/* A record, not a pointer: HAPAX_AUTO_ERROR(error) = {0}; */
#define HAPAX_AUTO_ERROR(name)       __attribute__((cleanup(hapax_auto_error))) hapax_load_error name
/* What was created by the scope's owner: destroyed. */
#define HAPAX_AUTO_TABLE(name)       __attribute__((cleanup(hapax_auto_table))) hapax_table *name
#define HAPAX_AUTO_CACHE(name)       __attribute__((cleanup(hapax_auto_cache))) hapax_cache *name
#define HAPAX_AUTO_MEMO(name)        __attribute__((cleanup(hapax_auto_memo))) hapax_memo *name
#define HAPAX_AUTO_WEAK_MAP(name)    __attribute__((cleanup(hapax_auto_weak_map))) hapax_weak_map *name
#define HAPAX_AUTO_WEAK_SET(name)    __attribute__((cleanup(hapax_auto_weak_set))) hapax_weak_set *name
#define HAPAX_AUTO_INTERNER(name)    __attribute__((cleanup(hapax_auto_interner))) hapax_interner *name
#define HAPAX_AUTO_COMPLETIONS(name) __attribute__((cleanup(hapax_auto_completions))) hapax_completions *name
#define HAPAX_AUTO_ENV(name)         __attribute__((cleanup(hapax_auto_env))) hapax_env *name
/* clang-format on */

/* The value of a pointer variable, which is NULL afterwards. `variable` is evaluated once. */
#define hapax_steal(variable)                                                                                        \
	__extension__({                                                                                              \
		__typeof__(variable) *hapax_from_ = &(variable);                                                       \
		__typeof__(variable) hapax_stolen_ = *hapax_from_;                                                     \
		*hapax_from_ = NULL;                                                                                 \
		hapax_stolen_;                                                                                       \
	})

#endif
#endif
