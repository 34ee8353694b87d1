/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peers/glib_set.hpp - GLib: a GHashTable under a GMutex, atomic counts in the objects, as GLib's own interned strings have
 * them: a count becomes zero only under the mutex, where gets raise it, so a found object is alive. Loads under the mutex.
 */
#ifndef HAPAX_PEER_GLIB_SET_HPP
#define HAPAX_PEER_GLIB_SET_HPP

#include <glib.h>

#include "../bench/subject.hpp"

namespace bench {

template <class Key> class glib_set_subject {
	struct object {
		Key key; /* first: the table is a set of these, looked up by key */
		gint refs;
		payload value;
	};
	GMutex mutex_;
	GHashTable *set_;

	static guint hash(gconstpointer key) { return static_cast<guint>(hasher<Key>()(*static_cast<const Key *>(key))); }
	static gboolean equal(gconstpointer a, gconstpointer b)
	{
		return *static_cast<const Key *>(a) == *static_cast<const Key *>(b);
	}

public:
	using ref = object *;
	static const char *name() { return "GLib GHashTable"; }

	explicit glib_set_subject(size_t) : set_(g_hash_table_new(hash, equal)) { g_mutex_init(&mutex_); }
	glib_set_subject(const glib_set_subject &) = delete;
	glib_set_subject &operator=(const glib_set_subject &) = delete;
	~glib_set_subject()
	{
		g_hash_table_destroy(set_);
		g_mutex_clear(&mutex_);
	}
	template <class Load> ref get(const Key &key, Load &&load)
	{
		g_mutex_lock(&mutex_);
		object *o = static_cast<object *>(g_hash_table_lookup(set_, &key));
		if (o) {
			g_atomic_int_inc(&o->refs);
		} else {
			o = static_cast<object *>(g_slice_alloc(sizeof *o));
			o->key = key;
			o->refs = 1;
			load(o->value);
			g_hash_table_add(set_, o);
		}
		g_mutex_unlock(&mutex_);
		return o;
	}
	static uint64_t value(const ref &r) { return r->value.word[0]; }
	void drop(ref &&o)
	{
		for (gint refs = g_atomic_int_get(&o->refs); refs > 1; refs = g_atomic_int_get(&o->refs))
			if (g_atomic_int_compare_and_exchange(&o->refs, refs, refs - 1))
				return;
		g_mutex_lock(&mutex_);
		bool last = g_atomic_int_dec_and_test(&o->refs);
		if (last)
			g_hash_table_remove(set_, &o->key);
		g_mutex_unlock(&mutex_);
		if (last)
			g_slice_free1(sizeof *o, o);
	}
};

} // namespace bench

#endif
