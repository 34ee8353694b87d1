/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench/peers.hpp - the C and C++ subjects of this build. Peers are found by CMake and never part of the library;
 * peers of other languages are contenders of their own, in child processes.
 */
#ifndef HAPAX_BENCH_PEERS_HPP
#define HAPAX_BENCH_PEERS_HPP

#include "../peers/mutex_map.hpp"
#include "subject.hpp"
#ifdef HAVE_TBB
#include "../peers/tbb_map.hpp"
#endif

namespace bench {

template <class Subject> struct subject_tag {
	using type = Subject;
};

/* Calls visit(subject_tag<Subject>) for each, hapax first. */
template <class Key, class Visit> void each_subject(Visit &&visit)
{
	visit(subject_tag<hapax_subject<Key>>{});
	visit(subject_tag<mutex_map_subject<Key>>{});
#ifdef HAVE_TBB
	visit(subject_tag<tbb_map_subject<Key>>{});
#endif
}

} // namespace bench

#endif
