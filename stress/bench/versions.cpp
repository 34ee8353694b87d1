/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/versions.cpp - which peers this program was compiled with; those in other processes say it themselves. */
#include <string>

#include "rows.hpp"
#ifdef HAVE_TBB
#include <tbb/version.h>
#endif
#ifdef HAVE_BOOST_FLYWEIGHT
#include <boost/version.hpp>
#endif
#ifdef HAVE_GLIB
#include <glib.h>
#endif

namespace bench {

void note_own_versions()
{
#ifdef _GLIBCXX_RELEASE
	note_version("C++ library", "libstdc++ " + std::to_string(_GLIBCXX_RELEASE));
#endif
#ifdef HAVE_TBB
	note_version("oneTBB", std::to_string(TBB_VERSION_MAJOR) + "." + std::to_string(TBB_VERSION_MINOR));
#endif
#ifdef HAVE_BOOST_FLYWEIGHT
	note_version("Boost", BOOST_LIB_VERSION);
#endif
#ifdef HAVE_GLIB
	note_version("GLib", std::to_string(GLIB_MAJOR_VERSION) + "." + std::to_string(GLIB_MINOR_VERSION) + "." +
				     std::to_string(GLIB_MICRO_VERSION));
#endif
#ifdef LIBURCU_VERSION
	note_version("liburcu", LIBURCU_VERSION);
#endif
}

} // namespace bench
