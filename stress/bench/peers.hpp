/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/peers.hpp - the C and C++ subjects of this build. Peers are found by CMake and never part of the library;
 * peers of other languages are contenders of their own, in child processes.
 */
#ifndef HAPAX_BENCH_PEERS_HPP
#define HAPAX_BENCH_PEERS_HPP

#include "../peers/mutex_map.hpp"
#include "options.hpp"
#include "subject.hpp"
#ifdef HAVE_TBB
#include "../peers/tbb_map.hpp"
#endif
#ifdef HAVE_LIBCUCKOO
#include "../peers/cuckoo_map.hpp"
#endif
#ifdef HAVE_BOOST_FLYWEIGHT
#include "../peers/flyweights.hpp"
#endif
#ifdef HAVE_GLIB
#include "../peers/glib_set.hpp"
#endif
#ifdef HAVE_LFHT
#include "../peers/lfht.hpp"
#endif

namespace bench {

template <class Subject> struct subject_tag {
	using type = Subject;
};

template <class Subject, class Visit> void visit_one(Visit &visit)
{
	if (takes_part(Subject::name()))
		visit(subject_tag<Subject>{});
}

/* Calls visit(subject_tag<Subject>) for each that takes part, hapax first. */
template <class Key, class Visit> void each_subject(Visit &&visit)
{
	visit_one<hapax_subject<Key>>(visit);
	visit_one<mutex_map_subject<Key>>(visit);
	visit_one<sharded_map_subject<Key>>(visit);
#ifdef HAVE_TBB
	visit_one<tbb_map_subject<Key>>(visit);
#endif
#ifdef HAVE_LIBCUCKOO
	visit_one<cuckoo_map_subject<Key>>(visit);
#endif
#ifdef HAVE_BOOST_FLYWEIGHT
	visit_one<flyweight_subject<Key>>(visit);
#endif
#ifdef HAVE_GLIB
	visit_one<glib_set_subject<Key>>(visit);
#endif
#ifdef HAVE_LFHT
	visit_one<lfht_subject<Key>>(visit);
#endif
}

} // namespace bench

#endif
