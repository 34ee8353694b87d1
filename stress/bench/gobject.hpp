/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/gobject.hpp - GObject, where it is installed: an object with the benchmark's payload. */
#ifndef HAPAX_BENCH_GOBJECT_HPP
#define HAPAX_BENCH_GOBJECT_HPP

#ifdef HAVE_GOBJECT

#include <glib-object.h>

#include "subject.hpp"

namespace bench {

struct gobject_payload {
	GObject parent;
	payload data;
};

inline GType gobject_payload_type()
{
	static const GType type = g_type_register_static_simple(G_TYPE_OBJECT, "hapax_bench_payload", sizeof(GObjectClass), nullptr,
								sizeof(gobject_payload), nullptr, GTypeFlags(0));
	return type;
}

} // namespace bench

#endif
#endif
