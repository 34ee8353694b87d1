/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * count.pml - references, death, one live object per key, and memory that is used again.
 *
 * A key, blocks of memory whose addresses come back, side records, and workers that get or make the object of the key,
 * keep weak handles, upgrade them and release. Every shared word changes in one step per atomic operation of the source.
 * A block is used again as soon as the sections that were open at its retirement are over: the least a grace period
 * promises (reclaim.pml is about how it is kept). `gen` tells a block from its next life; it exists in the model only.
 *
 * Abstracted: the line of the table is one word (table.pml has the line); callbacks are in weak.pml.
 */
#ifndef NW
#define NW 3     /* workers */
#endif
#ifndef NM
#define NM 2     /* blocks for objects */
#endif
#ifndef OPS
#define OPS 2    /* operations each, beside giving back what it has in the end */
#endif
#define NS 2     /* side records */

#define FREE 0
#define USED 1
#define RETIRED 2
#define NONE 7

typedef block {
	byte refs;
	bool dead;
	byte side;            /* NONE: none; hpx_object.meta */
	byte mem, wait, gen;  /* wait: workers whose sections were open at the retirement */
	bool put, gone;       /* ghost: it was published; it was taken out of the table */
	bool destroyed;       /* ghost */
};
typedef record {
	byte object;          /* NONE: dead */
	byte refs;
	byte mem, wait, gen;
};

block b[NM];
record s[NS];
byte entry = NONE;            /* what the table has under the key */
byte sections;                /* bit w: worker w is in a section */
byte start;                   /* workers that may begin */

#define ME (1 << me)
#define SEEN(m, g) assert(b[m].mem != FREE && b[m].gen == g)

inline read_lock() { assert(!(sections & ME)); sections = sections | ME }

/* The end of a section is the end of the grace periods that waited for nothing else. */
inline read_unlock()
{
	d_step {
		sections = sections & ~ME;
		i = 0;
		do
		:: i < NM ->
			b[i].wait = b[i].wait & ~ME;
			if
			:: b[i].mem == RETIRED && b[i].wait == 0 -> b[i].mem = FREE; b[i].refs = 0; b[i].dead = 0;
				b[i].side = NONE; b[i].put = 0; b[i].gone = 0; b[i].destroyed = 0
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < NS ->
			s[i].wait = s[i].wait & ~ME;
			if
			:: s[i].mem == RETIRED && s[i].wait == 0 -> s[i].mem = FREE; s[i].object = NONE; s[i].refs = 0
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0
	}
}

inline retire_block(m)
{
	d_step {
		assert(b[m].mem == USED);
		b[m].mem = RETIRED;
#ifdef BROKEN_NO_GRACE_PERIOD
		b[m].wait = 0;
#else
		b[m].wait = sections;
#endif
		if
		:: b[m].wait == 0 -> b[m].mem = FREE; b[m].refs = 0; b[m].dead = 0;
			b[m].side = NONE; b[m].put = 0; b[m].gone = 0; b[m].destroyed = 0
		:: else
		fi
	}
}

/* mirrors hpx_take() in lib/object/object.h */
inline take(m, g, ok)
{
#ifdef BROKEN_PLAIN_COUNT
	d_step { SEEN(m, g); flag = b[m].dead; tmp = b[m].refs };
	d_step { SEEN(m, g); b[m].refs = tmp + 1; tmp = 0 };
#else
	d_step { SEEN(m, g); flag = b[m].dead; b[m].refs++ };
#endif
	if
#ifndef BROKEN_INCREMENT_FROM_ZERO
	:: flag -> d_step { SEEN(m, g); b[m].refs--; flag = 0; ok = 0 }
#endif
	:: else -> d_step { flag = 0; ok = 1; assert(!b[m].dead) } /* a holder's object lives */
	fi
}

/* mirrors hpx_side_drop() in lib/object/side.h */
inline side_drop(x)
{
	d_step {
		assert(s[x].mem == USED && s[x].refs > 0);
		s[x].refs--;
		if
		:: s[x].refs == 0 ->
			s[x].mem = RETIRED;
			s[x].wait = sections;
			if
			:: s[x].wait == 0 -> s[x].mem = FREE; s[x].object = NONE
			:: else
			fi
		:: else
		fi
	}
}

/* mirrors hpx_table_unlink() in lib/table/core.c: exactly this entry, or nothing */
inline unlink(m)
{
	d_step {
		if
#ifdef BROKEN_REMOVES_NEWER
		:: entry != NONE -> b[entry].gone = 1; entry = NONE
#else
		:: entry == m -> b[m].gone = 1; entry = NONE
#endif
		:: else
		fi
	}
}

/* mirrors death_begin() and death_finish() in lib/object/death.c */
inline die(m)
{
	d_step { assert(b[m].mem == USED && b[m].dead); x = b[m].side; g = 0 };
#ifndef BROKEN_RETIRE_BEFORE_UNLINK
	read_lock();
	unlink(m);
	read_unlock();
#endif
	if
	:: x != NONE ->
		s[x].object = NONE   /* mirrors hpx_side_die() in lib/object/side.c */
	:: else
	fi;
	d_step { assert(!b[m].destroyed); b[m].destroyed = 1 };
	if
	:: x != NONE -> side_drop(x); x = NONE
	:: else
	fi;
	retire_block(m);
#ifdef BROKEN_RETIRE_BEFORE_UNLINK
	read_lock();
	unlink(m);
	read_unlock();
#endif
}

/* mirrors hpx_release() in lib/object/death.c, with hpx_try_kill() there */
inline release(m)
{
	read_lock();
#ifdef BROKEN_PLAIN_COUNT
	d_step { assert(b[m].mem == USED && !b[m].dead && b[m].refs > 0); tmp = b[m].refs; g = b[m].gen };
	d_step { SEEN(m, g); last = (tmp == 1); b[m].refs = tmp - 1; tmp = 0 };
#else
	d_step { assert(b[m].mem == USED && !b[m].dead && b[m].refs > 0); last = (b[m].refs == 1); b[m].refs--; g = b[m].gen };
#endif
	if
	:: last ->
#ifdef BROKEN_CALLBACK_TWICE
		d_step { SEEN(m, g); last = (b[m].refs == 0 && !b[m].dead) };
		if
		:: last -> b[m].dead = 1
		:: else
		fi
#else
		d_step {
			SEEN(m, g);
			if
			:: b[m].refs == 0 && !b[m].dead -> b[m].dead = 1
			:: else -> last = 0
			fi
		}
#endif
	:: else
	fi;
	read_unlock();
	if
	:: last -> last = 0; die(m)
	:: else
	fi
}

/* mirrors hapax_weak_get() in lib/object/weak.c */
inline upgrade()
{
	read_lock();
	d_step { assert(s[handle].mem == USED); o = s[handle].object; if :: o != NONE -> g = b[o].gen :: else fi };
#ifdef BROKEN_USE_AFTER_UNLOCK
	read_unlock();
#endif
	if
	:: o != NONE ->
		take(o, g, ok);
		if
		:: ok -> ref = o
		:: else
		fi
	:: else
	fi;
#ifndef BROKEN_USE_AFTER_UNLOCK
	read_unlock();
#endif
	d_step { o = NONE; g = 0; ok = 0 }
}

/* mirrors hapax_weak_new() in lib/object/weak.c, and hpx_side_get() in lib/object/side.c */
inline weak_new()
{
	if
	:: b[ref].side == NONE ->
		atomic { /* a record of its own, which only this worker knows */
			(s[0].mem == FREE || s[1].mem == FREE);
			if
			:: s[0].mem == FREE -> x = 0
			:: else -> x = 1
			fi;
			s[x].mem = USED; s[x].gen = 1 - s[x].gen; s[x].refs = 1; s[x].object = ref
		};
		d_step {
			if
			:: b[ref].side == NONE -> b[ref].side = x
			:: else -> s[x].mem = FREE; s[x].refs = 0; s[x].object = NONE
			fi
		}
	:: else
	fi;
	d_step { handle = b[ref].side; assert(s[handle].mem == USED); s[handle].refs++; x = NONE }
}

/* mirrors hapax_table_get() in lib/table/weak_table.c, then hpx_table_put() in lib/table/put.c for a new object */
inline get()
{
	read_lock();
	d_step { o = entry; if :: o != NONE -> g = b[o].gen :: else fi };
#ifdef BROKEN_USE_AFTER_UNLOCK
	read_unlock();
#endif
	if
	:: o != NONE ->
		take(o, g, ok);
		if
		:: ok -> ref = o
		:: else
		fi
	:: else
	fi;
#ifndef BROKEN_USE_AFTER_UNLOCK
	read_unlock();
#endif
	d_step { o = NONE; g = 0; ok = 0 };
	if
	:: ref == NONE ->
		atomic { /* mirrors hpx_object_new() in lib/object/object.c */
			(b[0].mem == FREE || b[NM - 1].mem == FREE || b[NM / 2].mem == FREE);
			if
			:: b[0].mem == FREE -> mine = 0
			:: b[0].mem != FREE && b[NM - 1].mem == FREE -> mine = NM - 1
			:: else -> mine = NM / 2
			fi;
			b[mine].mem = USED;
			b[mine].gen = (b[mine].gen + 1) % 4;
			b[mine].refs = 1
		};
		read_lock();
again:
		true;
		d_step { o = entry; if :: o != NONE -> g = b[o].gen :: else fi };
		if
		:: o != NONE ->
			take(o, g, ok); /* mirrors meet() in lib/table/put.c */
			if
			:: ok -> ref = o
			:: else ->
				d_step { /* mirrors clear() in lib/table/put.c */
					if
					:: entry == o -> entry = NONE; b[o].gone = 1
					:: else
					fi
				};
				goto again
			fi
		:: else ->
			d_step {
				ok = (entry == NONE);
				if
				:: ok ->
					entry = mine;
					b[mine].put = 1;
					i = 0;
					do
					:: i < NM ->
						/* one live object per key */
						assert(i == mine || b[i].mem != USED || !b[i].put || b[i].dead);
						i++
					:: else -> break
					od;
					i = 0
				:: else
				fi
			};
			if
			:: ok -> ref = mine; mine = NONE
			:: else -> goto again
			fi
		fi;
		read_unlock();
		d_step { o = NONE; g = 0; ok = 0 };
		if
		:: mine != NONE -> release(mine); mine = NONE
		:: else
		fi
	:: else
	fi
}

proctype worker(byte me)
{
	byte ref = NONE, handle = 0, mine = NONE, o = NONE, x = NONE, g, i, tmp, left = OPS;
	bool ok, flag, last;

	(start);
	if
	:: me == 0 -> ref = 0
	:: else
	fi;
	do
	:: left > 0 ->
		left--;
		if
		:: ref == NONE -> get()
		:: ref == NONE && handle != NONE -> upgrade()
		:: ref != NONE -> assert(b[ref].mem == USED && !b[ref].dead); release(ref); ref = NONE
		:: ref != NONE && handle == NONE -> weak_new()
		:: handle != NONE -> side_drop(handle); handle = NONE
		fi
	:: left == 0 -> break
	od;
	if
	:: ref != NONE -> assert(b[ref].mem == USED && !b[ref].dead); release(ref); ref = NONE
	:: else
	fi;
	if
	:: handle != NONE -> side_drop(handle); handle = NONE
	:: else
	fi
}

/* An object in the table that worker 0 holds; all have a weak handle to it. */
init {
	byte i;

	atomic {
		i = 0;
		do
		:: i < NM -> b[i].side = NONE; i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < NS -> s[i].object = NONE; i++
		:: else -> break
		od;
		b[0].mem = USED; b[0].refs = 1; b[0].put = 1; b[0].side = 0;
		s[0].mem = USED; s[0].refs = 1 + NW; s[0].object = 0;
		entry = 0;
		i = 0;
		do
		:: i < NW -> run worker(i); i++
		:: else -> break
		od;
		start = 1
	};
	(_nr_pr == 1);
	assert(entry == NONE && sections == 0);
	i = 0;
	do
	:: i < NM -> assert(b[i].mem == FREE); i++
	:: else -> break
	od;
	assert(s[0].mem == FREE && s[1].mem == FREE)
}
