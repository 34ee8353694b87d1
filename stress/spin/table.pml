/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table.pml - one home line, the array after it, and the entries in them.
 *
 * Two arrays of one line each; workers that look up, put, replace, remove and move, with the control word (tags, version,
 * FROZEN, DONE) and the slots changing as in lib/table. `cur` is what the table means: the sequential map that every
 * operation must agree with at one moment of its own. Checked: one present entry per key; no key absent for a moment
 * while it is replaced or moved; nothing comes back after its removal; no look at a freed entry; removed once.
 *
 * Abstracted: lines beyond the home (D, RAISING) and chains; every tag matches every key; an entry's object is its `dead`
 * flag (count.pml); a grace period is what is least promised (reclaim.pml).
 */
#ifndef NW
#define NW 3     /* workers */
#endif
#ifndef OPS
#define OPS 1    /* operations each */
#endif
#ifndef NE
#define NE 4     /* entries' memory */
#endif
#ifndef NSLOT
#define NSLOT 3
#endif
#ifndef KEYS
#define KEYS 2
#endif

#define FREE 0
#define USED 1
#define RETIRED 2
#define NONE 7

/* the control word: tags of the slots in bits 0..2, FROZEN, DONE (X), three bits of version */
#define LANE(j) (1 << (j))
#define TAGS 7
#define FROZEN 8
#define DONE 24
#define X 16
#define STATE 24
#define BUMP(c) (((c) & 31) | (((c) + 32) & 224))

#define CHOICES (6 * KEYS)

mtype = { LOOKUP, REMOVE, PUT, UNLINK, MOVE, RESULT };

typedef line { byte ctl; byte slot[NSLOT] };
typedef entry {
	byte key;
	bool gone;             /* GONE in its word */
	bool dead;             /* its object is */
	byte mem, wait;
	bool left;             /* ghost: it was unlinked */
};
line a[2];
entry e[NE];
byte root;
byte sections, start;
byte cur[KEYS] = NONE;            /* ghost: the map */
byte absent[KEYS];                /* ghost: worker w has seen the key absent since its operation began */
byte old[NW];                  /* ghost: entries that had left when worker w's operation began */

#define ME (1 << me)
#define KNOWN(x) assert(e[x].mem != FREE)

inline read_lock()
{
	d_step {
		sections = sections | ME;
		absent[0] = (absent[0] & ~ME) | (cur[0] == NONE -> ME : 0);
		absent[KEYS - 1] = (absent[KEYS - 1] & ~ME) | (cur[KEYS - 1] == NONE -> ME : 0);
		i = 0; old[me] = 0;
		do
		:: i < NE -> old[me] = old[me] | (((e[i].mem != FREE) && (e[i].left || e[i].dead)) -> (1 << i) : 0); i++
		:: else -> break
		od;
		i = 0
	}
}

inline freed(x)
{
	e[x].mem = FREE; e[x].gone = 0; e[x].dead = 0; e[x].left = 0; e[x].key = 0;
	old[0] = old[0] & ~(1 << x); old[1] = old[1] & ~(1 << x); old[NW - 1] = old[NW - 1] & ~(1 << x)
}

inline read_unlock()
{
	d_step {
		sections = sections & ~ME;
		absent[0] = absent[0] & ~ME; absent[KEYS - 1] = absent[KEYS - 1] & ~ME; old[me] = 0;
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

inline retire(x)
{
	d_step {
		assert(e[x].mem == USED);
		e[x].mem = RETIRED;
#ifdef BROKEN_NO_GRACE_PERIOD
		e[x].wait = 0;
#else
		e[x].wait = sections;
#endif
		if
		:: e[x].wait == 0 -> freed(x)
		:: else
		fi
	}
}

/* mirrors mark_gone() in lib/table/put.c and hpx_table_claim() in lib/table/core.c: who is first retires the entry */
inline mark_gone(x)
{
#ifdef BROKEN_CLAIM_TWICE
	d_step { KNOWN(x); flag = e[x].gone };
	d_step { e[x].gone = 1 };
#else
	d_step { KNOWN(x); flag = e[x].gone; e[x].gone = 1 };
#endif
	if
	:: !flag -> retire(x)
	:: else -> flag = 0
	fi
}

/* The compare-and-swap of a control word that takes `x` out of array `w`: what the map loses by it. */
inline leaves(x)
{
	assert(!e[x].left || e[x].dead);
	e[x].left = 1;
	if
	:: cur[e[x].key] == x -> cur[e[x].key] = NONE; absent[e[x].key] = (1 << NW) - 1
	:: else
	fi
}

/* mirrors freeze() in lib/table/resize.c */
inline freeze()
{
#ifdef BROKEN_FREEZE_MISSED
	mc = a[0].ctl
#else
	d_step { mc = a[0].ctl; if :: !(mc & FROZEN) -> mc = (mc | FROZEN) & ~X; a[0].ctl = mc :: else fi }
#endif
}

/* mirrors hpx_claim_slot() in lib/table/core.c */
inline claim_slot(w, word, x, lane)
{
	lane = 0;
	do
	:: claim != NONE -> break
	:: claim == NONE && lane == NSLOT -> break
	:: claim == NONE && lane < NSLOT ->
		d_step {
			if
			:: !(word & LANE(lane)) && a[w].slot[lane] == NONE -> a[w].slot[lane] = x; claim = lane
			:: else
			fi;
			lane++
		}
	od;
	lane = 0
}

/* mirrors hpx_claim_drop() in lib/table/core.c */
inline claim_drop(w)
{
	if
	:: claim != NONE -> d_step { a[w].slot[claim] = NONE; claim = NONE }
	:: else
	fi
}

/* mirrors copy() in lib/table/resize.c, with find_copy() there: entry `x` into array 1 */
inline copy(x)
{
	done = 0;
	do
	:: atomic { pc = a[1].ctl; lane = 0; there = 0 }; /* mirrors hpx_tail_read() in lib/table/core.c */
		do
		:: lane < NSLOT && !there ->
			if
			:: pc & LANE(lane) ->
				flag = (a[1].slot[lane] == x);
				if
				:: flag -> there = (a[1].ctl == pc -> 1 : 2); flag = 0
				:: else
				fi
			:: else
			fi;
			lane++
		:: else -> break
		od;
		lane = 0;
		if
		:: there == 1 -> there = 0; break
		:: there == 2 -> there = 0
		:: else ->
#ifndef BROKEN_COPY_UNCHECKED
			done = ((a[0].ctl & DONE) == DONE);
#endif
			if
			:: done -> break
			:: else
			fi;
			claim_slot(1, pc, x, lane);
			if
			:: claim == NONE /* reserved by others for a moment; in fact one line more is taken */
			:: else ->
				d_step {
					flag = (a[1].ctl == pc);
					if
					:: flag ->
						a[1].ctl = BUMP(pc | LANE(claim));
						assert(e[x].mem != FREE && !e[x].left) /* nothing comes back */
					:: else
					fi
				};
				if
				:: flag -> claim = NONE; flag = 0; break
				:: else
				fi
			fi
		fi
	od;
	claim_drop(1);
	pc = 0
}

/* mirrors hpx_move_home() in lib/table/resize.c, for array 0 */
inline move_home()
{
	freeze();
	if
	:: (mc & DONE) == DONE
	:: else ->
		do
		:: ml < NSLOT && !done ->
			if
			:: mc & LANE(ml) ->
				d_step { mx = a[0].slot[ml]; assert(mx != NONE && e[mx].mem != FREE) };
				copy(mx)
			:: else
			fi;
			ml++
		:: else -> break
		od;
		if
		:: !done -> a[0].ctl = a[0].ctl | DONE
		:: else
		fi
	fi;
	d_step { done = 0; mx = 0; ml = 0; mc = 0 }
}

/* One attempt. Mirrors hpx_table_seek() in lib/table/core.c, with seek_home() and seek_decide() there. */
inline seek()
{
	atomic { c = a[w].ctl; j = 0; found = NONE; again = 0 };
	if
	:: (c & DONE) == DONE -> w = 1
	:: else ->
		do
		:: j < NSLOT && found == NONE && !again ->
			if
			:: c & LANE(j) ->
				x = a[w].slot[j];
				if
				:: x != NONE ->
					d_step { KNOWN(x); flag = (e[x].key == key); gone = e[x].gone };
					if
					:: flag ->
						flag = 0;
						again = (a[w].ctl != c);
						if
						:: !again && !gone ->
							d_step { KNOWN(x); if :: !e[x].dead -> found = x :: else fi };
							if
							:: found == NONE -> again = (a[w].ctl != c)
							:: else
							fi
						:: else
						fi
					:: else
					fi
				:: else
				fi
			:: else
			fi;
			j++
		:: else -> break
		od;
#ifndef BROKEN_MISS_UNCHECKED
		if
		:: found == NONE && !again && (c & TAGS) -> again = (a[w].ctl != c)
		:: else
		fi;
#endif
		if
		:: found != NONE -> phase = (op == REMOVE -> UNLINK : RESULT)
		:: found == NONE && !again && ((a[w].ctl ^ c) & STATE) == 0 ->
			phase = RESULT;
			assert(absent[key] & ME) /* a miss: it was absent at some moment */
		:: else
		fi;
		if
		:: found != NONE ->
			d_step {
				assert(!(old[me] & (1 << found))); /* a hit: it was there at some moment */
				if
				:: op == REMOVE -> victim = found; w = root
				:: else
				fi;
				found = NONE
			}
		:: else
		fi
	fi;
	atomic { x = 0; c = 0; j = 0; gone = 0; again = 0 }
}

/* One attempt. Mirrors hpx_table_unlink() in lib/table/core.c, and what hpx_table_claim() there does next. */
inline unlink()
{
	atomic { c = a[w].ctl; j = 0; again = 0 };
	if
	:: c & FROZEN -> phase = MOVE
	:: else ->
		do
		:: j < NSLOT && !again && phase == UNLINK ->
			if
			:: c & LANE(j) ->
				x = a[w].slot[j];
				if
#ifdef BROKEN_REMOVES_NEWER
				:: x != NONE && e[x].key == key ->
#else
				:: x == victim ->
#endif
					d_step {
#ifdef BROKEN_SLOT_REUSED
						again = 0;
						a[w].ctl = a[w].ctl & ~LANE(j);
						if
						:: a[w].slot[j] != NONE -> leaves(a[w].slot[j])
						:: else
						fi
#else
						again = (a[w].ctl != c);
						if
						:: !again -> a[w].ctl = c & ~LANE(j); leaves(x)
						:: else
						fi
#endif
					};
					if
					:: !again -> a[w].slot[j] = NONE; phase = RESULT
					:: else
					fi
				:: else
				fi
			:: else
			fi;
			j++
		:: else -> break
		od;
		if
		:: !again -> mark_gone(victim); phase = RESULT
		:: else
		fi
	fi;
	atomic { x = 0; c = 0; j = 0; again = 0 }
}

/* One attempt. Mirrors attempt() in lib/table/put.c, with search_line(), meet(), clear() and published() there. */
inline put()
{
	atomic { c = a[w].ctl; j = 0; again = 0; older = NONE };
	if
	:: c & FROZEN -> claim_drop(w); phase = MOVE
	:: else ->
		do
		:: j < NSLOT && !again && phase == PUT ->
			if
			:: c & LANE(j) ->
				x = a[w].slot[j];
				if
				:: x != NONE ->
					d_step { KNOWN(x); flag = (e[x].key == key); gone = e[x].gone };
					if
					:: flag ->
						flag = 0;
						again = (a[w].ctl != c);
						if
						:: again
						:: else ->
							d_step { KNOWN(x); ok = (!gone && !e[x].dead) };
							if
							:: ok && !replace -> phase = RESULT
							:: ok && replace -> assert(older == NONE); older = j
							:: else ->
								d_step {
									if
									:: a[w].ctl == c -> a[w].ctl = c & ~LANE(j); leaves(x); flag = 1
									:: else
									fi;
									again = 1
								};
								if
								:: flag -> d_step { a[w].slot[j] = NONE; flag = 0 }
								:: else
								fi
							fi;
							ok = 0
						fi
					:: else
					fi
				:: else
				fi
			:: else
			fi;
			j++
		:: else -> break
		od;
		if
		:: phase == RESULT || again
		:: else ->
			claim_slot(w, c, mine, lane);
			if
			:: claim == NONE && w == 0 -> phase = MOVE
			:: claim == NONE && w == 1 -> phase = RESULT /* no room anywhere: in fact one line more */
			:: else ->
				if
				:: older != NONE -> x = a[w].slot[older]
				:: else -> x = NONE
				fi;
				d_step {
					flag = (a[w].ctl == c);
					if
					:: flag ->
						a[w].ctl = BUMP((c & ~(older == NONE -> 0 : LANE(older))) | LANE(claim));
						assert(cur[key] == NONE || cur[key] == x); /* one present entry per key */
						cur[key] = mine;
						if
						:: x != NONE -> e[x].left = 1
						:: else
						fi
					:: else
					fi
				};
				if
				:: flag ->
					atomic { claim = NONE; mine = NONE; flag = 0; phase = RESULT };
					if
					:: x != NONE -> a[w].slot[older] = NONE; mark_gone(x)
					:: else
					fi
				:: else
				fi
			fi
		fi
	fi;
	atomic { x = 0; c = 0; j = 0; gone = 0; again = 0; older = NONE };
	if
	:: phase == RESULT ->
		claim_drop(w);
		if
		:: mine != NONE -> retire(mine); mine = NONE
		:: else
		fi
	:: else
	fi
}

/* `what`: the first operation, chosen for it; later ones it chooses */
proctype worker(byte me, what)
{
	byte left = OPS, key, w, c, j, x, i, mine = NONE, claim = NONE, older = NONE, found = NONE, victim = NONE;
	byte pc, lane, there, mc, ml, mx;
	bool later, replace, flag, ok, gone, again, done;
	mtype op, phase;

	(start);
	do
	:: left > 0 ->
		left--;
		do
		:: what == CHOICES -> what = 0; later = 1
		:: later && what < CHOICES - 1 -> what++
		:: what < CHOICES -> later = 0; break
		od;
		atomic {
			key = what / 6;
			if
			:: what % 6 == 0 -> op = LOOKUP
			:: what % 6 == 1 -> op = REMOVE
			:: what % 6 == 2 -> op = UNLINK
			:: what % 6 == 3 -> op = MOVE
			:: what % 6 == 4 -> op = PUT
			:: what % 6 == 5 -> op = PUT; replace = 1
			fi;
			what = CHOICES
		};
		if
		:: op == PUT ->
			d_step { /* mirrors hpx_record_new() in lib/table/record.c */
				i = 0;
				do
				:: i < NE && e[i].mem != FREE -> i++
				:: else -> break
				od;
				if
				:: i < NE -> mine = i; e[i].mem = USED; e[i].key = key
				:: else -> op = MOVE /* no memory */
				fi;
				i = 0
			}
		:: else
		fi;
		read_lock();
		w = root;
		phase = op;
		if
		:: op == UNLINK ->
			d_step { /* mirrors tell() in lib/object/side.c: the object of what is there now dies, and its record is told */
				victim = cur[key];
				if
				:: victim != NONE -> e[victim].dead = 1; cur[key] = NONE; absent[key] = (1 << NW) - 1
				:: else -> phase = RESULT
				fi
			}
		:: else
		fi;
		do
		:: phase == LOOKUP || phase == REMOVE -> seek()
		:: phase == UNLINK -> unlink()
		:: phase == PUT -> put()
		:: phase == MOVE ->
			move_home();
			d_step {
				if
				:: op == MOVE -> phase = RESULT; root = 1 /* mirrors hpx_move_some() in lib/table/resize.c */
				:: op == REMOVE -> phase = UNLINK
				:: else -> phase = op
				fi;
				w = 1
			}
		:: phase == RESULT -> break
		od;
		read_unlock();
		atomic { phase = 0; op = 0; victim = NONE; replace = 0; w = 0; key = 0 }
	:: left == 0 -> break
	od
}

/* One key is there. */
init {
	byte i, what;

	atomic {
		i = 0;
		do
		:: i < NSLOT -> a[0].slot[i] = NONE; a[1].slot[i] = NONE; i++
		:: else -> break
		od;
		e[0].mem = USED; e[0].key = 0;
		a[0].slot[0] = 0; a[0].ctl = LANE(0);
		cur[0] = 0;
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
	/* what is published is what the map says, and what is not is free */
	i = 0;
	do
	:: i < NE -> assert(e[i].mem == FREE || (e[i].mem == USED && cur[e[i].key] == i)); i++
	:: else -> break
	od
}
