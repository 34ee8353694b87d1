/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flight.pml - one load per key, those who wait for it, and how it ends.
 *
 * One key of a cache whose objects are loaded in place, so that an entry is its object: workers get it (and load it,
 * join its load, or find it), remove it, or release all waiters as a cache does that closes. Loads succeed or fail, waits
 * may end at a deadline. Memory of entries comes back as soon as a grace period may end. Checked: one unfenced load or
 * object per key; nobody gets a half-loaded or a dead object; a joiner gets the outcome of the load it joined, however
 * late it wakes; every waiter is woken (a sleeping one in the end would be an invalid end state); all is freed.
 *
 * Abstracted: the table is one word (table.pml); the wait graph; shares of load errors; buckets: one, for the worst case.
 * What happens under its lock is one step: it touches one word beside what the lock guards.
 */
#ifndef NW
#define NW 3     /* workers */
#endif
#ifndef OPS
#define OPS 1    /* operations each */
#endif
#ifndef NE
#define NE 2     /* entries' memory */
#endif

#define FREE 0
#define USED 1
#define RETIRED 2
#define NONE 7

#define LOADING 1
#define WAITED 2
#define GONE 4

#define LANDED(w) (8 + (w))      /* a waiter's flight: an entry, or the landing of worker w */

#define CHOICES 4

mtype = { NOTHING, PENDING, GOT, FAILED, LATE, CLOSED };

typedef entry_of {
	byte word, refs;
	bool dead;
	byte mem, wait;
	bool loaded;           /* ghost */
	byte load;             /* ghost: which load it is */
};
typedef waiter {
	bool linked;
	byte flight;
	mtype outcome;
	byte object;
};

entry_of e[NE];
waiter q[NW];
byte entry = NONE;
bool closed;
byte event;
byte sections, start;
byte cur = NONE;               /* ghost: the unfenced load, or the live object, of the key */
byte loads;                    /* ghost: the last load's number */

#define ME (1 << me)
#define KNOWN(x) assert(e[x].mem != FREE)

inline read_lock() { assert(!(sections & ME)); sections = sections | ME }

inline freed(x)
{
	e[x].mem = FREE; e[x].word = 0; e[x].dead = 0; e[x].loaded = 0; e[x].load = 0; e[x].refs = 0
}

inline read_unlock()
{
	d_step {
		sections = sections & ~ME;
		i = 0;
		do
		:: i < NE ->
			e[i].wait = e[i].wait & ~ME;
			if
			:: e[i].mem == RETIRED && e[i].wait == 0 -> freed(i)
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0
	}
}

/* mirrors hpx_table_claim() in lib/table/core.c, after hpx_table_unlink() there; `before` is the word before */
inline claim(x)
{
	d_step {
		KNOWN(x);
		if
		:: entry == x ->
			entry = NONE;
			if
			:: cur == x -> cur = NONE
			:: else
			fi
		:: else
		fi
	};
	d_step { KNOWN(x); before = e[x].word; e[x].word = e[x].word | GONE }
}

/* mirrors hpx_take() in lib/object/object.h */
inline take(x)
{
	d_step { KNOWN(x); e[x].refs++; ok = !e[x].dead };
	if
	:: !ok -> d_step { KNOWN(x); e[x].refs-- }
	:: else
	fi
}

/* mirrors hpx_release() and die() in lib/object/death.c; count.pml has them in full */
inline release(x)
{
	d_step {
		assert(e[x].mem == USED && e[x].refs > 0 && !e[x].dead);
		e[x].refs--;
		ok = (e[x].refs == 0);
		if
		:: ok ->
			e[x].dead = 1;
			if
			:: cur == x -> cur = NONE
			:: else
			fi
		:: else
		fi
	};
	if
	:: ok ->
		read_lock();
		claim(x); /* mirrors hpx_cache_unlink() in lib/cache/change.c */
		read_unlock();
		d_step {
			assert(e[x].mem == USED);
			assert(!(e[x].word & LOADING)); /* a load lands before its object goes */
			e[x].mem = RETIRED;
			e[x].wait = sections;
			if
			:: e[x].wait == 0 -> freed(x)
			:: else
			fi;
			ok = 0; before = 0
		}
	:: else
	fi
}

/* mirrors hpx_flight_land() in lib/flight/flight.c: `before` is the word before, `landed` whether anybody waits */
inline land(x)
{
	before = e[x].word;
	do
	:: before & WAITED ->
		atomic { /* the lock */
			before = e[x].word;
			e[x].word = e[x].word & ~(LOADING | WAITED);
			i = 0;
			do
			:: i < NW ->
				if
				:: q[i].linked && q[i].flight == x -> q[i].flight = LANDED(me); landed = 1
				:: else
				fi;
				i++
			:: else -> break
			od;
			i = 0
		};
		break
	:: else ->
		d_step {
			ok = (e[x].word == before);
			if
			:: ok -> e[x].word = before & ~LOADING
			:: else -> before = e[x].word
			fi
		};
		if
		:: ok -> ok = 0; break
		:: else
		fi
	od
}

/* mirrors hpx_flight_complete() in lib/flight/flight.c */
inline complete(x, what)
{
	if
	:: landed ->
		landed = 0;
		d_step { /* the lock */
			i = 0;
			do
			:: i < NW ->
				if
				:: q[i].linked && q[i].flight == LANDED(me) ->
					q[i].linked = 0;
					q[i].outcome = what;
					q[i].object = x;
#ifndef BROKEN_WAITER_EARLY
					if
					:: what == GOT -> assert(e[x].mem == USED && e[x].refs > 0); e[x].refs++
					:: else
					fi
#endif
				:: else
				fi;
				i++
			:: else -> break
			od;
			i = 0
		};
		event++
	:: else
	fi
}

/* mirrors hpx_flight_join() in lib/flight/flight.c, with mark_waited(), enter(), over() and hpx_flight_await() there */
inline join(x)
{
	d_step { KNOWN(x); joined = e[x].load; q[me].outcome = NOTHING };
	do
	:: atomic { before = e[x].word };
		if
		:: !(before & LOADING) || (before & WAITED) -> break
		:: else ->
			d_step {
				ok = (e[x].word == before);
				if
				:: ok -> e[x].word = before | WAITED
				:: else
				fi
			};
			if
			:: ok -> ok = 0; break
			:: else
			fi
		fi
	od;
	if
	:: before & LOADING ->
		d_step { /* the lock */
		if
#ifndef BROKEN_CLOSE_MISSES_LATE
		:: closed -> q[me].outcome = CLOSED
#endif
		:: else ->
			if
#ifndef BROKEN_LOST_WAKEUP
			:: !(e[x].word & LOADING)
#endif
			:: else ->
					KNOWN(x);
					assert(!closed); /* who comes late is released, too */
					q[me].linked = 1; q[me].flight = x; q[me].outcome = PENDING
			fi
		fi;
		}
	:: else
	fi;
	read_unlock();
	d_step { before = 0; late = 0 };
	if
	:: q[me].outcome == NOTHING || q[me].outcome == CLOSED
	:: else ->
		do
		:: atomic { seen = event };
			ok = !q[me].linked;
			if
			:: ok -> break
			:: !ok && late ->
				d_step {
					if
					:: q[me].linked -> q[me].linked = 0; q[me].outcome = LATE
					:: else
					fi
				};
				break
			:: !ok && !late ->
				if
				:: (event != seen)
				:: deadline -> late = 1 /* it may pass at any time */
				fi
			fi
		od
	fi;
	atomic { seen = 0; late = 0; ok = 0 };
	d_step {
		assert(q[me].outcome != PENDING);
		if
		:: q[me].outcome == GOT -> ref = q[me].object; q[me].object = NONE
		:: else
		fi
	};
#ifdef BROKEN_WAITER_EARLY
	if
	:: ref != NONE -> e[ref].refs++
	:: else
	fi;
#endif
	d_step {
		if
		:: ref != NONE ->
			/* alive, loaded, and what the load that was joined came to */
			assert(e[ref].mem == USED && e[ref].refs > 0 && !e[ref].dead && e[ref].loaded && e[ref].load == joined)
		:: else
		fi;
		joined = 0
	}
}

/* mirrors publish() in lib/cache/load.c: `mine` is a new entry; without success it is released */
inline publish()
{
	atomic { /* mirrors create_in_place() in lib/cache/load.c */
		(e[0].mem == FREE || e[NE - 1].mem == FREE);
		if
		:: e[0].mem == FREE -> mine = 0
		:: else -> mine = NE - 1
		fi;
		loads++;
		e[mine].mem = USED; e[mine].word = LOADING; e[mine].refs = 1; e[mine].load = loads
	};
	read_lock();
	do
	:: atomic { o = entry };
		if
		:: o == NONE ->
			d_step {
				ok = (entry == NONE);
				if
				:: ok ->
					entry = mine;
					assert(cur == NONE); /* one load, or one live object, per key */
					cur = mine
				:: else
				fi
			};
			if
			:: ok -> ok = 0; won = 1; break
			:: else
			fi
		:: else -> /* mirrors meet() in lib/table/put.c for HPX_PUT_LOAD */
			d_step { KNOWN(o); before = e[o].word };
			if
			:: !(before & GONE) && (before & LOADING) -> break
			:: !(before & LOADING) && !(before & GONE) ->
				take(o);
				if
				:: ok -> found = o; ok = 0; break
				:: else
				fi
			:: else
			fi;
			d_step { /* mirrors clear() in lib/table/put.c */
				if
				:: entry == o -> entry = NONE
				:: else
				fi
			}
		fi
	od;
	read_unlock();
	atomic { before = 0; o = NONE };
	if
	:: won
	:: else -> /* mirrors unpublish() in lib/cache/load.c */
		d_step { e[mine].word = (e[mine].word | GONE) & ~LOADING };
		release(mine);
		mine = NONE
	fi;
	if
	:: found != NONE -> release(found); found = NONE
	:: else
	fi
}

/* mirrors hpx_load_conclude() in lib/cache/load.c, with commit() and fail() there */
inline run_load()
{
	if
	:: d_step { e[mine].loaded = 1 };
		land(mine);
		/* what nobody fenced is installed */
		assert((before & GONE) || entry == mine || (e[mine].word & GONE) || cur != mine);
#ifdef BROKEN_FENCED_UNREGISTERS
		if
		:: before & GONE -> entry = NONE
		:: else
		fi;
#endif
		before = 0;
		complete(mine, GOT);
		ref = mine
	:: true ->
		read_lock();
		claim(mine);
		read_unlock();
		land(mine);
		before = 0;
		complete(mine, FAILED);
		release(mine)
	fi;
	atomic { mine = NONE; won = 0 }
}

/* mirrors hpx_cache_resolve() in lib/cache/miss.c, with wait_for() there; at most `tries` times */
inline get()
{
	tries = 2;
	do
	:: tries > 0 && ref == NONE ->
		tries--;
		read_lock();
		o = entry; /* mirrors hpx_table_lookup() in lib/table/core.c */
		if
		:: o != NONE -> d_step { KNOWN(o); before = e[o].word }
		:: else
		fi;
		if
		:: o != NONE && (before & LOADING) && !(before & GONE) ->
#ifdef BROKEN_PUBLISH_BEFORE_INIT
			take(o);
			if
			:: ok -> ref = o; assert(e[o].loaded)
			:: else
			fi;
			read_unlock();
#else
			join(o);
			if
			:: q[me].outcome == NOTHING
			:: else -> tries = 0
			fi;
#endif
			atomic { o = NONE; before = 0 }
		:: else ->
			if
			:: o != NONE && !(before & GONE) ->
				take(o);
				if
				:: ok -> d_step { ok = 0; ref = o; assert(e[o].loaded) }
				:: else
				fi
			:: else
			fi;
			read_unlock();
			atomic { o = NONE; before = 0 };
			if
			:: ref == NONE ->
				publish();
				if
				:: won -> run_load(); tries = 0
				:: else
				fi
			:: else
			fi
		fi
	:: else -> break
	od;
	if
	:: ref != NONE -> release(ref); ref = NONE
	:: else
	fi;
	atomic { q[me].outcome = NOTHING; tries = 0 }
}

/* mirrors try_remove() in lib/cache/change.c, with fence() there */
inline remove()
{
	read_lock();
	o = entry;
	if
	:: o != NONE -> claim(o)
	:: else
	fi;
	read_unlock();
	atomic { o = NONE; before = 0 }
}

/* mirrors hpx_flight_release_all() in lib/flight/flight.c */
inline release_all()
{
	d_step {
		closed = 1;
		i = 0;
		do
		:: i < NW ->
			if
			:: q[i].linked -> q[i].linked = 0; q[i].outcome = CLOSED
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0
	};
	event++
}

/* `what`: the first operation, chosen for it; later ones it chooses */
proctype worker(byte me, what)
{
	byte left = OPS, o = NONE, ref = NONE, mine = NONE, found = NONE, before, i, seen, joined, tries;
	bool later, ok, won, landed, late, deadline;

	(start);
	do
	:: left > 0 ->
		left--;
		do
		:: what == CHOICES -> what = 0; later = 1
		:: later && what < CHOICES - 1 -> what++
		:: what < CHOICES -> later = 0; break
		od;
		if
		:: what == 0 -> what = CHOICES; release_all()
		:: what == 1 -> what = CHOICES; remove()
		:: what >= 2 -> deadline = (what == 2); what = CHOICES; get(); deadline = 0
		fi
	:: left == 0 -> break
	od
}

init {
	byte i, what;

	atomic {
		i = 0;
		do
		:: i < NW -> q[i].flight = NONE; q[i].object = NONE; i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < NW ->
			/* Workers differ in their numbers only: every combination of first operations, in one order. */
#ifdef PLAN /* or one combination, a digit for each */
			what = (i == 0 -> PLAN / 100 : (i == 1 -> PLAN / 10 % 10 : PLAN % 10));
#else
			do
			:: what < CHOICES - 1 -> what++
			:: break
			od;
#endif
			run worker(i, what);
			i++
		:: else -> break
		od;
		start = 1;
		what = 0
	};
	(_nr_pr == 1);
	assert(entry == NONE && cur == NONE);
	i = 0;
	do
	:: i < NE -> assert(e[i].mem == FREE); i++
	:: else -> break
	od
}
