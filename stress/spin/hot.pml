/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hot.pml - references that are counted in cells of the threads' own while an object is hot, and how they come back.
 *
 * One key, NO objects one after the other, each retained by the cache from its birth until somebody lets go of it. Workers
 * look the key up, take, retain, promote, demote, let go of the cache's reference, leave their thread and go on in another
 * one (with their reference), and release. Housekeeping demotes what it finds. One drainer. Every atomic operation of the
 * source is one step.
 *
 * A grace period is over as soon as the sections that were open at its beginning are: the least that one promises. For the
 * same reason a section begins in the step of the first access in it and ends in that of the last: what it holds up, it
 * holds up no longer than it must. Memory is not used again, but every touch of it is checked; the slot and blocks are.
 *
 * Checked: destroyed once, with no reference out, and all of them in the end (without housekeeping's help: it need not
 * come); no take succeeds on the dead; no touch of freed memory; a cell is written only while its slot serves that very
 * object; a slot is given to the next object empty; after a drain the count is exact; only the drainer waits for anything.
 *
 * With DRIFT the bias is so small that retains and releases of a hot object take the count past none and past all limits.
 *
 * Abstracted: which object deserves it (here anybody promotes at any time); death is one step, whoever runs it (count.pml
 * has its own); one slot, so that objects contend for it; orders in memory (hapax-stress model).
 */
#ifndef NW
#define NW 2     /* workers */
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef NO
#define NO 2     /* objects */
#endif
#ifndef NB
#define NB 2     /* blocks of cells; 1 or 2 */
#endif
#ifndef TICKS
#define TICKS 0  /* how often housekeeping may come */
#endif
#ifdef DRIFT
#define BIAS 1
#elif defined(BROKEN_BIAS_MISSING)
#define BIAS 0
#else
#define BIAS 16
#endif
#define FIELD 64 /* references are counted modulo this */
#define NONE 7

#define USED 1
#define RETIRED 2
#define FREED 3

typedef header {
	byte count;
	bool hot, slotted, dead;      /* HPX_HOT, HPX_SLT, HPX_DEAD */
	bool resident;                /* the cache has a reference */
	byte mem, wait;               /* wait: sections open at the retirement */
	byte held;                    /* ghost: references that are out, the cache's too */
	bool destroyed;               /* ghost */
};
header b[NO];

/* One slot, for which objects contend; its number is not in the model's words. */
#define FREE 0
#define CLAIMED 1
#define LIVE 2
#define DRAINING 3
byte state;
byte named = NONE;                    /* the slot's object */
bool locked;                          /* by the drainer, or the tick */
bool queued;                          /* retired: to be drained */
byte waited_for;                      /* sections open since before it was queued */
byte cell[NB];                        /* got - put, modulo FIELD */
byte serves = NONE;                   /* ghost: whose takes and releases the cells count */

byte pool;                            /* bit n: block n belongs to nobody */
byte entry = NONE;
byte made;
byte sections;                        /* bit w: process w is in a section */
byte ended;

#define ME (1 << me)
#define SEEN(o) assert(b[o].mem != FREED)
#define MOD(n) ((n) & (FIELD - 1))

/* Parts of steps: each stands inside a d_step. */
inline read_lock() { assert(!(sections & ME)); sections = sections | ME }
inline read_unlock()
{
	assert(sections & ME);
	sections = sections & ~ME;
	waited_for = waited_for & ~ME;
	i = 0;
	do
	:: i < NO ->
		b[i].wait = b[i].wait & ~ME;
		if
		:: b[i].mem == RETIRED && b[i].wait == 0 -> b[i].mem = FREED
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

/* mirrors hpx_cell_add() in lib/object/hot.h: in the thread's own block, where nobody else writes. */
inline stripe(o, by)
{
	SEEN(o);
	assert(serves == o && !b[o].dead);
	cell[block] = MOD(cell[block] + by);
	b[o].held = b[o].held + by;
	hot = 0
}

/* Callbacks, destructor, memory: outside sections. mirrors death_begin() and death_finish() in lib/object/death.c */
inline die(o)
{
	d_step {
		SEEN(o);
		assert(b[o].dead && b[o].held == 0 && !b[o].destroyed && !b[o].hot && !b[o].slotted && !b[o].resident);
		b[o].destroyed = 1;
		if
		:: entry == o -> entry = NONE
		:: else
		fi;
		b[o].wait = sections;
		b[o].mem = (sections -> RETIRED : FREED)
	}
}

/* Part of a step. */
inline add(o)
{
	SEEN(o);
	ok = !b[o].dead;
	b[o].count = MOD(b[o].count + 1);
	if
	:: ok ->
		b[o].held++;
#ifdef DRIFT
		assert(b[o].slotted || b[o].count < FIELD / 2) /* what looks like too many is none while it is slotted */
#else
		assert(b[o].count < FIELD / 2)
#endif
	:: else
	fi
}

/* mirrors hpx_try_kill() in lib/object/death.c: in the section in which the count became 0 */
inline try_kill(o)
{
	d_step {
		SEEN(o);
		if
#ifdef BROKEN_SLOTTED_KILLED
		:: b[o].count == 0 && !b[o].dead -> b[o].dead = 1; b[o].slotted = 0; b[o].hot = 0
#else
		:: b[o].count == 0 && !b[o].dead && !b[o].slotted -> b[o].dead = 1
#endif
		:: else -> last = 0
		fi;
		read_unlock()
	}
}

/* Part of a step: the drop, and the end of the section if there is no more to do in it. */
inline sub(o)
{
	SEEN(o);
#ifdef DRIFT
	assert(b[o].slotted || b[o].count > 0);
#else
	assert(b[o].count > 0); /* not released too often */
#endif
	b[o].count = MOD(b[o].count - 1);
	b[o].held--;
#ifdef BROKEN_SLOTTED_KILLED
	last = (b[o].count == 0);
#else
	last = (b[o].count == 0 && !b[o].slotted);
#endif
	if
	:: last
	:: else -> read_unlock()
	fi
}

/* mirrors hpx_release() in lib/object/death.c, and hpx_hot_put() in lib/object/hot.h. Who has a hint that is out of date
 * does not look at the word. */
inline release(o)
{
	if
	:: d_step { block != NONE -> read_lock(); SEEN(o); hot = b[o].hot };
		if
		:: d_step { hot -> stripe(o, -1); read_unlock() }
		:: d_step { !hot -> sub(o) }
		fi
	:: d_step { read_lock(); sub(o) }
	fi;
	if
	:: last ->
#ifdef BROKEN_KILL_OUTSIDE
		d_step { read_unlock() };
		d_step { read_lock() };
#endif
		try_kill(o);
		if
		:: last -> last = 0; die(o)
		:: else
		fi
	:: else
	fi
}

/* The one whose `and` cleared HOT retires the slot that the word named. mirrors hpx_hot_cool() in lib/object/hot.c */
inline cool(o)
{
	d_step {
		SEEN(o);
#ifdef BROKEN_HOT_TWO_DRAINS
		hot = b[o].slotted;
#else
		hot = b[o].hot;
#endif
		b[o].hot = 0
	};
	if
	:: d_step { hot ->
			hot = 0;
			state = DRAINING;
			queued = 1;
#ifndef BROKEN_HOT_NO_GRACE
			waited_for = sections
#endif
		}
	:: !hot
	fi
}

/* By the owner of a reference. mirrors promote() and hpx_hot_met() in lib/object/hot.c; and slot_claim() there */
inline promote(o)
{
	if
	:: state != FREE
	:: d_step { state == FREE -> state = CLAIMED; named = o;
#ifndef BROKEN_PROMOTE_OUTSIDE
			read_lock()
#endif
		};
		d_step { SEEN(o); hot = b[o].slotted; b[o].slotted = 1 };
		if
		:: hot ->
			named = NONE;
			d_step {
				hot = 0;
				state = FREE;
#ifndef BROKEN_PROMOTE_OUTSIDE
				read_unlock()
#endif
			}
		:: else ->
			d_step {
				SEEN(o);
				assert(!b[o].dead && b[o].slotted && !b[o].hot && serves == NONE && named == o);
				i = 0;
				do
				:: i < NB -> assert(cell[i] == 0); i++
				:: else -> break
				od;
				i = 0;
				serves = o;
				b[o].hot = 1;
				b[o].count = MOD(b[o].count + BIAS)
			};
			d_step {
				if
				:: state == CLAIMED -> assert(serves == o); state = LIVE /* no other promoter's */
				:: else
				fi
			};
#ifdef BROKEN_HOT_NOT_ASKED
			skip;
#else
			d_step { SEEN(o); hot = !b[o].resident };
			if
			:: hot -> cool(o)
			:: else
			fi;
#endif
#ifndef BROKEN_PROMOTE_OUTSIDE
			d_step { read_unlock() }
#endif
		fi
	fi
}

/*
 * Eviction, removal, expiry, clear: whoever clears the residency owns the cache's reference, and sees in what its drop of
 * it returns whether the object is hot. mirrors hpx_release_hold() in lib/object/death.c
 */
inline let_go(o)
{
#ifdef BROKEN_LOOK_FIRST
	d_step { SEEN(o); hot = b[o].hot };
	if
	:: hot -> cool(o)
	:: else
	fi;
#endif
	d_step { SEEN(o); flag = b[o].resident; b[o].resident = 0 };
	if
	:: flag ->
		flag = 0;
		d_step {
			read_lock();
#ifndef BROKEN_LOOK_FIRST
			hot = b[o].hot;
#endif
			if
			:: hot -> b[o].count = MOD(b[o].count - 1); b[o].held--
			:: else -> sub(o)
			fi
		};
		if
		:: hot -> cool(o); d_step { read_unlock() }
		:: last ->
			try_kill(o);
			if
			:: last -> last = 0; die(o)
			:: else
			fi
		:: !hot && !last
		fi
	:: else
	fi
}

/* The thread ends. Its reference goes to another one, which has another block, or the same, or none. */
inline change_thread()
{
	d_step {
		if
		:: block != NONE ->
#ifdef BROKEN_HOT_BLOCK_EMPTIED
			cell[block] = 0;
#endif
			pool = pool | (1 << block);
			block = NONE
		:: else
		fi
	};
	if
	:: d_step { (pool & 1) -> pool = pool & ~1; block = 0 }
	:: d_step { (pool & 2) -> pool = pool & ~2; block = 1 }
	:: true
	fi
}

/* A hit, or an object is made. mirrors hpx_take_hot() in lib/object/hot.h */
inline get()
{
	d_step {
		o = entry;
		if
		:: o != NONE -> read_lock()
		:: else
		fi
	};
	if
	:: o != NONE ->
		d_step { SEEN(o); hot = b[o].hot && block != NONE };
		d_step {
			if
			:: hot -> stripe(o, 1); ok = 1
			:: else -> add(o)
			fi;
			if
			:: ok -> read_unlock()
			:: else
			fi
		};
		if
		:: ok -> ok = 0
		:: else ->
			d_step { SEEN(o); b[o].count = MOD(b[o].count - 1) };
			d_step { /* mirrors clear() in lib/table/put.c */
				if
				:: entry == o -> entry = NONE
				:: else
				fi;
				o = NONE;
				read_unlock()
			}
		fi
	:: else
	fi;
	if
	:: o == NONE ->
		d_step { /* mirrors hpx_object_new() in lib/object/object.c, hpx_table_put() in lib/table/put.c */
			if
			:: entry == NONE && made < NO ->
				o = made;
				made++;
				b[o].mem = USED; b[o].count = 2; b[o].held = 2; b[o].resident = 1;
				entry = o
			:: else
			fi
		}
	:: else
	fi
}

proctype worker(byte me)
{
	byte o = NONE, i, block = (me < NB -> me : NONE), left = ROUNDS;
	bool hot, flag, last, ok;

	do
	:: left > 0 ->
		left--;
		get();
		if
		:: o != NONE ->
			if
			:: promote(o)
			:: let_go(o)
			:: cool(o)
			:: d_step { add(o); assert(ok); ok = 0 }; release(o) /* mirrors hapax_retain() in lib/object/object.c */
			:: true
			fi;
			if
			:: change_thread()
			:: true
			fi;
			d_step { SEEN(o); assert(!b[o].dead && !b[o].destroyed) };
			release(o);
			o = NONE
		:: else
		fi
	:: left == 0 -> break
	od;
	o = NONE;
	d_step {
		if
		:: block != NONE -> pool = pool | (1 << block); block = NONE
		:: else
		fi;
		ended++
	}
}

/* mirrors tick() in lib/object/hot.c: under the lock, what is LIVE is not drained. */
proctype housekeeping()
{
	byte o = NONE, left = TICKS;
	bool hot;

	do
	:: left > 0 ->
		left--;
		if
#ifdef BROKEN_TICK_UNLOCKED
		:: d_step { state == LIVE -> o = named };
#else
		:: d_step { state == LIVE && !locked -> locked = 1; o = named };
#endif
			assert(o != NONE);
			cool(o);
#ifndef BROKEN_TICK_UNLOCKED
			locked = 0;
#endif
			o = NONE
		:: true
		fi
	:: true -> break
	od;
	ended++
}

/*
 * mirrors drain() in lib/object/hot.c. `me`: where its sections are. From the end of the grace period on the cells are its
 * own. The death is another thread's, if need be much later.
 */
proctype drainer(byte me)
{
	byte o, i, sum;
	bool last;

	do
	:: d_step { queued && waited_for == 0 && !locked ->
			locked = 1;
			queued = 0;
			o = named;
			assert(serves == o);
			serves = NONE;
			sum = 0;
			i = 0;
			do
			:: i < NB ->
				sum = MOD(sum + cell[i]);
#if !defined(BROKEN_HOT_NOT_ZEROED) && !defined(BROKEN_SLOT_EARLY)
				cell[i] = 0;
#endif
				i++
			:: else -> break
			od;
			i = 0
		};
		d_step {
			read_lock();
			SEEN(o);
			assert(!b[o].dead && b[o].slotted && !b[o].hot);
#ifdef BROKEN_BIAS_KEPT
			b[o].count = MOD(b[o].count + sum);
#else
			b[o].count = MOD(b[o].count + sum - BIAS);
#endif
			b[o].slotted = 0;
			sum = 0;
			assert(b[o].count == b[o].held); /* exact */
			last = (b[o].count == 0);
			if
			:: last
			:: else -> read_unlock()
			fi
		};
		if
		:: last ->
#ifdef BROKEN_DRAIN_KILLS_OUTSIDE
			d_step { read_unlock() };
			d_step { read_lock() };
#endif
			try_kill(o)
		:: else
		fi;
		d_step { named = NONE; state = FREE };
#ifdef BROKEN_SLOT_EARLY
		d_step { cell[0] = 0; cell[NB - 1] = 0 };
#endif
		locked = 0;
		if
		:: last -> last = 0; die(o)
		:: else
		fi;
		o = 0
	:: ended == NW + 2 && !queued -> break
	od
}

/* In the end the cache lets go of all it has. */
init {
	byte o, i, me = NW + 1, block = NONE;
	bool hot, flag, last;

	atomic {
		b[0].mem = USED; b[0].count = 1; b[0].held = 1; b[0].resident = 1; made = 1;
		entry = 0;
		do
		:: i < NW -> run worker(i); i++
		:: else -> break
		od;
		i = 0;
		run housekeeping();
		run drainer(NW)
	};
	(ended == NW + 1);
	do
	:: o < made ->
		if
		:: b[o].resident -> let_go(o)
		:: else
		fi;
		o++
	:: else -> break
	od;
	ended++;
	(_nr_pr == 1);
	assert(entry == NONE && sections == 0 && state == FREE && !queued && serves == NONE && cell[0] == 0 && cell[NB - 1] == 0);
	o = 0;
	do
	:: o < made -> assert(b[o].destroyed && b[o].mem == FREED && b[o].held == 0); o++
	:: else -> break
	od
}
