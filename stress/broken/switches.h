/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * broken/switches.h - the faults that can be put into lib/ on purpose (lib/base/broken.h), one at a time.
 *
 *      X(name, what is wrong, lanes that answer for it)
 *
 * run.py reads this list too. A lane that answers for a fault must catch it within 20 seeds; what the other lanes see of it
 * is shown in docs/canaries.md all the same. The first nine are those of every library of this kind, the rest are ours.
 */
#ifndef HPX_BROKEN_SWITCHES_H
#define HPX_BROKEN_SWITCHES_H

#define HPX_BROKEN_SWITCHES(X) \
	X(NO_GRACE_PERIOD, "retired memory is used again at once", \
	  "oracle asan tsan model-pct:upgrade-death model-exhaustive:upgrade-death") \
	X(PLAIN_COUNT, "taking and dropping references is a plain load and a plain store", \
	  "oracle asan tsan model-races:counts") \
	X(PUBLISH_BEFORE_INIT, "a loading object can be found as if it were loaded", \
	  "oracle tsan model-pct:load-join model-exhaustive:load-join-two") \
	X(REMOVES_NEWER, "a death removes whatever is under its key by then", \
	  "oracle model-pct:death-put model-exhaustive:death-put") \
	X(CALLBACK_TWICE, "death is decided by a load and a store: two releases may both run it", \
	  "oracle model-pct:lookup-death,cascade") \
	X(RELAXED_RELEASE, "the last release orders nothing", \
	  "tsan model-races:last-release model-weak:last-release") \
	X(INCREMENT_FROM_ZERO, "a dead object can be taken", \
	  "oracle asan tsan model-pct:upgrade-death model-exhaustive:upgrade-death") \
	X(USE_AFTER_UNLOCK, "the section is left between finding an object and taking it", \
	  "model-pct:upgrade-death asan") \
	X(RETIRE_BEFORE_UNLINK, "an object is retired before its entry is unlinked", \
	  "model-pct:death-get-peek") \
	X(CALLBACK_AND_CANCEL, "a callback starts by a load and a store: a drop may cancel it all the same", \
	  "oracle model-pct:callback-cancel") \
	X(FREEZE_MISSED, "a mover copies a home without freezing it", \
	  "model-pct:grow-replace,grow-death oracle") \
	X(COPY_UNCHECKED, "a delayed mover does not look whether its home has been moved", \
	  "model-pct:grow-death unit:sd_release") \
	X(SLOT_REUSED, "a slot is cleared whatever has become of it: the version is not compared", \
	  "oracle model-pct:grow-death,grow-remove") \
	X(MISS_UNCHECKED, "a lookup that found nothing does not look whether the line has changed", \
	  "model-pct:replace-look unit:table_stress") \
	X(CLAIM_TWICE, "GONE is set by a load and a store: two removers may both account for it", \
	  "model-pct:cache-removes,cache-remove-pop oracle") \
	X(FENCED_UNREGISTERS, "a fenced load takes out the entry of its successor", \
	  "oracle model-pct:fence-put") \
	X(WAITER_EARLY, "who waited for a load takes its own reference after it has woken up", \
	  "oracle asan model-pct:load-die") \
	X(LOST_WAKEUP, "a joiner goes to sleep without looking whether the load is over", \
	  "model-pct:load-join oracle") \
	X(CLOSE_MISSES_LATE, "a closed cache lets those join who come late", \
	  "spin") \
	X(BOUND_IGNORED, "creation does not wait at the bound on garbage", \
	  "oracle unit:cx_mem model-pct:garbage-bound") \
	X(STAMP_EARLY, "a batch is used again one grace period too early", \
	  "tsan-strict model-pct:upgrade-death") \
	X(BARRIER_EARLY, "dropping a handle does not wait for its callback", \
	  "model-pct:callback-barrier oracle") \
	X(NODE_REUSED, "a registration's node is offered for reuse before it is disarmed", \
	  "model-pct:callback-recycled") \
	X(OVER_REMOVED, "a put over an entry does not look whether that was removed before", \
	  "model-pct:over-remove,compute-remove model-exhaustive:over-remove") \
	X(OVER_UNDECIDED, "a put takes out an entry that is being put over another one, and leaves the other undecided", \
	  "model-pct:over-put,over-put-far") \
	X(REPLACED_UNSETTLED, "a lookup that meets a replaced entry does not look for the one in its place", \
	  "model-pct:over-put,over-row model-exhaustive:over-over") \
	X(TOLD_TWICE, "a death does not look whether its entry was accounted for", \
	  "model-pct:tier-cause-loaded model-exhaustive:tier-cause-loaded") \
	X(ADMIT_BORROWS, "what the cache retains it takes no reference to", \
	  "model-pct:tier-readmit,tier-evict-put") \
	X(EVICT_REMOVES, "a bound takes entries out instead of letting go of objects", \
	  "model-pct:tier-readmit,tier-readmit-again") \
	X(ARRIVAL_FORGOTTEN, "who keeps the bound does not look for what arrived meanwhile", \
	  "model-pct:tier-settle") \
	X(EXPIRED_GIVEN, "a value is handed out at the very instant of its end", \
	  "model-pct:expire-get,expire-put") \
	X(EXPIRY_UNCHECKED, "an expired entry is taken out though it has been written anew meanwhile", \
	  "model-pct:expire-touch-look") \
	X(TIMER_EARLY, "a timer is freed without a grace period", \
	  "model-pct:expire-death model-races:expire-death") \
	X(DEFERRED_TWICE, "deferred deaths are taken by a load and a store: two threads may run them", \
	  "oracle model-pct:deferred-deaths model-exhaustive:deferred-deaths") \
	X(EXCLUSIVE_EARLY, "an exclusive key is free before the destructor has returned", \
	  "model-pct:exclusive-death oracle") \
	X(ITERATOR_PINS_TWO, "an iterator keeps the item before the current one alive", \
	  "unit:py_it,sd_cache model-pct:iterate-deaths") \
	X(ITERATOR_PINS_NONE, "an iterator lets go of the current item", \
	  "oracle asan model-pct:iterate-deaths") \
	X(IDENT_TAKEN_TWICE, "data is taken out of a weak map by a load and a store: two may both have it", \
	  "model-pct:map-pop-two,map-put-pop model-exhaustive:map-pop-two") \
	X(IDENT_OVER_TWICE, "data is put over other data whatever has become of that", \
	  "model-pct:map-replace-two,map-put-pop model-exhaustive:map-replace-two") \
	X(IDENT_DEATH_TOO, "a key's death takes what the end of its map is taking out", \
	  "model-pct:map-death-end") \
	X(FINALIZER_TWICE, "a finalizer is taken by a load and a store: a death and a caller may both run it", \
	  "model-pct:finalizer-run,finalizer-run-two model-exhaustive:finalizer-run-two") \
	X(BOUND_TOLD_TWICE, "a bound callback is told by a load and a store: each of two deaths may tell it", \
	  "model-pct:bound-deaths") \
	X(ROOM_CLOSED_IN_TWO, "an owner's death marks its results by a load and a store: one that leaves just then counts on", \
	  "model-pct:memo-death-evict,memo-evict-two model-exhaustive:memo-death-evict") \
	X(PARTING_LOST, "of two owners that die at once one is forgotten, with its results", \
	  "model-exhaustive:memo-death-both") \
	X(HOT_NO_GRACE, "the cells of a demoted object are summed while they may still be written", \
	  "model-pct:hot-drain,hot-exit,hot-again") \
	X(HOT_TWO_DRAINS, "two who demote an object both drain its slot", \
	  "model-pct:hot-demoters") \
	X(HOT_NOT_ZEROED, "a slot is given to the next object with the last one's counts", \
	  "model-pct:hot-reuse") \
	X(HOT_NOT_ASKED, "a promotion does not look again whether the object is still held by its cache", \
	  "model-pct:hot-evict,hot-remove") \
	X(HOT_BLOCK_EMPTIED, "the cells of a thread that ends are forgotten", \
	  "model-pct:hot-exit") \
	X(HOT_RELAXED_DRAIN, "the end of a drain orders nothing", \
	  "model-races:hot-death") \
	X(RELAXED_COMMIT, "the end of a load orders nothing", \
	  "tsan model-races:load-join model-weak:load-join") \
	X(RELAXED_PUBLISH, "putting an entry into its slot orders nothing", \
	  "tsan model-races:publish model-weak:publish") \
	X(RELAXED_SIDE, "publishing a side record orders nothing", \
	  "tsan model-races:weak-share model-weak:weak-share") \
	X(RELAXED_FIRED, "the end of a callback orders nothing", \
	  "model-races:callback-cancel-two") \
	X(LISTED_DROPPED, "a listing takes a handle of a registration whose last one has been dropped", \
	  "model-pct:list-recycle,list-two,list-room model-exhaustive:list-recycle") \
	X(RELAXED_LIST, "the end of a registration orders nothing for a listing", \
	  "model-races:list-recycle") \
	X(RELAXED_DONE, "the end of a grace period orders nothing", \
	  "model-races:history-cache-long")

#endif
