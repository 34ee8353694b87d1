/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * weak.pml - registrations on an object: callbacks and table records against the object's death.
 *
 * One object with its side record. Each worker holds a reference and may register a callback or a record, cancel it,
 * register again (a cancelled node is used again), and release; whoever is last runs the death. Checked: a registration
 * ends exactly once, fired or cancelled; its context is freed exactly once; a drop returns only when its callback is
 * over; every dropper is woken; nobody touches a freed node, side record or table record; all is freed in the end.
 *
 * Abstracted: a callback handle has one owner (`handles` is 1); the order of callbacks; drops inside callbacks
 * (HAPAX_INFLIGHT). An event is its value: a wait ends when the value has changed.
 */
#ifndef NW
#define NW 3     /* workers */
#endif
#ifndef NN
#define NN 2     /* nodes; without a free one a registration fails, as without memory */
#endif
#ifndef NR
#define NR 1     /* table records, likewise */
#endif
#ifndef OPS
#define OPS 2    /* operations each, beside giving back what it has in the end */
#endif

#define FREE 0
#define USED 1
#define RETIRED 2
#define NONE 7
#define CLOSED 6

#define ARMED 0
#define CANCELLED 1
#define FIRING 2
#define WAITED 3
#define FIRED 4

#define CALLBACK 0
#define RECORD 1

typedef node {
	byte state, refs;
	byte next, spare;
	bool kind, listed;      /* listed: has been armed before (its sequence) */
	byte mem, wait;
	byte rec;               /* of a RECORD */
	bool running;           /* ghost: user code runs */
	byte calls, freed;      /* ghost: of this registration; freed: its context */
};
typedef record {
	bool gone;
	byte reg;
	byte mem, wait;
};

node n[NN];
record r[NR];
byte count = NW;                 /* of the object */
bool dead;
byte regs = NONE, spare = NONE;  /* of the side record */
bool popping;
byte siderefs = 1;
byte sidemem = USED;
byte event;
byte sections;
byte start;

#define ME (1 << me)

inline read_lock() { assert(!(sections & ME)); sections = sections | ME }

/* After the grace period. mirrors free_deferred() in lib/table/record.c */
inline mature()
{
	k = 0;
	do
	:: k < NN ->
		if
		:: n[k].mem == RETIRED && n[k].wait == 0 ->
			n[k].mem = FREE
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
	do
	:: k < NR ->
		if
		:: r[k].mem == RETIRED && r[k].wait == 0 -> r[k].mem = FREE; r[k].reg = NONE; r[k].gone = 0
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

inline read_unlock()
{
	d_step {
		sections = sections & ~ME;
		k = 0;
		do
		:: k < NN -> n[k].wait = n[k].wait & ~ME; k++
		:: else -> break
		od;
		k = 0;
		do
		:: k < NR -> r[k].wait = r[k].wait & ~ME; k++
		:: else -> break
		od;
		mature()
	}
}

/* mirrors hpx_side_drop() in lib/object/side.h */
inline side_drop()
{
	d_step {
		assert(sidemem == USED && siderefs > 0);
		siderefs--;
		if
		:: siderefs == 0 -> sidemem = FREE
		:: else
		fi
	}
}

/* mirrors hpx_reg_drop() in lib/object/side.c */
inline reg_drop(x)
{
	d_step {
		assert(n[x].mem == USED && n[x].refs > 0);
		n[x].refs--;
		if
		:: n[x].refs == 0 ->
			n[x].mem = RETIRED;
			n[x].wait = sections;
			mature();
			/* its reference. The memory is gone at once here; in the library after a grace period */
			assert(sidemem == USED && siderefs > 0);
			siderefs--;
			if
			:: siderefs == 0 -> sidemem = FREE
			:: else
			fi
		:: else
		fi
	}
}

/* mirrors hpx_reg_recycle() in lib/object/side.c */
inline recycle(x)
{
	assert(sidemem == USED);
	do
	:: h = spare;
		d_step { assert(n[x].mem == USED); n[x].spare = h };
		d_step {
			flag = (spare == h);
			if
			:: flag -> spare = x
			:: else
			fi
		};
		if
		:: flag -> break
		:: else
		fi
	od;
	atomic { h = NONE; flag = 0 }
}

/* mirrors hpx_reg_make() in lib/object/side.c, with spare_take() there */
inline reg_make()
{
	mine = NONE;
	if
	:: spare != NONE ->
		d_step { flag = popping; popping = 1 };
		if
		:: flag
		:: else ->
			do
			:: atomic { h = spare; if :: h != NONE -> assert(n[h].mem == USED) :: else fi };
				if
				:: h == NONE -> break
				:: else
				fi;
				d_step { assert(n[h].mem == USED); g = n[h].spare };
				d_step {
					flag = (spare == h);
					if
					:: flag -> spare = g
					:: else
					fi
				};
				if
				:: flag -> mine = h; break
				:: else
				fi
			od;
			popping = 0
		fi;
		atomic { flag = 0; h = NONE; g = NONE }
	:: else
	fi;
	if
	:: mine != NONE -> d_step { assert(n[mine].mem == USED); n[mine].refs++ }
	:: else ->
		d_step {
			k = 0;
			do
			:: k < NN && n[k].mem != FREE -> k++
			:: else -> break
			od;
			if
			:: k < NN ->
				mine = k;
				n[mine].mem = USED; n[mine].refs = 2; n[mine].state = CANCELLED; n[mine].listed = 0;
				n[mine].next = NONE; n[mine].spare = NONE;
				siderefs++
			:: else
			fi;
			k = 0
		}
	fi
}

/* mirrors hpx_reg_arm() in lib/object/side.c */
inline reg_arm(what)
{
	d_step {
		assert(n[mine].mem == USED && n[mine].state == CANCELLED && !n[mine].running);
		n[mine].kind = what; n[mine].calls = 0; n[mine].freed = 0; n[mine].rec = rec;
		if
		:: what == RECORD -> r[rec].reg = mine
		:: else
		fi
	};
	d_step { n[mine].state = ARMED; flag = n[mine].listed; n[mine].listed = 1 };
	if
	:: flag
	:: else ->
		do
		:: h = regs;
			assert(h != CLOSED); /* whoever registers holds the object */
			d_step { assert(n[mine].mem == USED); n[mine].next = h };
			d_step {
				flag = (regs == h);
				if
				:: flag -> regs = mine
				:: else
				fi
			};
			if
			:: flag -> break
			:: else
			fi
		od
	fi;
	atomic { flag = 0; h = NONE; reg = mine; mine = NONE }
}

/* mirrors hpx_reg_disarm() in lib/object/side.c */
inline disarm(x)
{
	d_step {
		assert(n[x].mem == USED);
		won = (n[x].state == ARMED);
		if
		:: won -> n[x].state = CANCELLED
		:: else
		fi
	}
}

/* mirrors node_drop() in lib/object/weak.c, with wait_fired() there */
inline node_drop()
{
#ifdef BROKEN_NODE_REUSED
	if
	:: n[reg].state == ARMED -> recycle(reg)
	:: else
	fi;
#endif
	disarm(reg);
	if
	:: won ->
		d_step { assert(!n[reg].running && n[reg].calls == 0 && n[reg].freed == 0); n[reg].freed++ };
#ifndef BROKEN_NODE_REUSED
		recycle(reg)
#else
		skip
#endif
	:: else ->
		do
#ifdef BROKEN_LOST_WAKEUP
		:: atomic {
				assert(n[reg].mem == USED && sidemem == USED);
				if
				:: n[reg].state == FIRING -> n[reg].state = WAITED; flag = 1
				:: else -> flag = (n[reg].state == WAITED)
				fi
			};
			if
			:: flag -> h = event; (event != h)
			:: else -> break
			fi
#else
		:: atomic { assert(n[reg].mem == USED && sidemem == USED); h = event };
			d_step {
				if
				:: n[reg].state == FIRING -> n[reg].state = WAITED; flag = 1
				:: else -> flag = (n[reg].state == WAITED)
				fi
			};
			if
#ifdef BROKEN_BARRIER_EARLY
			:: flag -> break
#else
			:: flag -> (event != h)
#endif
			:: else -> break
			fi
#endif
		od;
		atomic {
			flag = 0; h = NONE;
			/* the barrier: callback and ctx_free are over */
			assert(!n[reg].running && n[reg].calls == 1 && n[reg].freed == 1)
		}
	fi;
	reg_drop(reg);
	atomic { reg = NONE; won = 0 }
}

/* mirrors hpx_record_finish() in lib/table/record.c: hpx_reg_cancel() in lib/object/reg.c, then the memory */
inline record_finish(y)
{
	d_step { assert(r[y].mem == USED); z = r[y].reg };
	disarm(z);
	if
	:: won -> recycle(z)
	:: else
	fi;
	reg_drop(z);
	d_step {
		assert(r[y].mem == USED);
		r[y].mem = RETIRED; r[y].wait = sections;
		won = 0; z = NONE;
		mature()
	}
}

/* mirrors take_out() in lib/table/weak_table.c: the record is still in the table, or it is not there any more */
inline take_out()
{
	read_lock();
	d_step {
		/* a record leaves the table before it is retired: what is found in this section is not freed in it */
		flag = (r[rec].mem != USED || r[rec].reg != reg || r[rec].gone);
		if
		:: !flag -> r[rec].gone = 1
		:: else
		fi
	};
	if
	:: !flag -> record_finish(rec)
	:: else
	fi;
	read_unlock();
	atomic { flag = 0; reg = NONE; rec = NONE }
}

/* mirrors fire() in lib/object/side.c */
inline fire(x)
{
#ifdef BROKEN_CALLBACK_AND_CANCEL
	d_step { assert(n[x].mem == USED); won = (n[x].state == ARMED) };
	if
	:: won -> n[x].state = FIRING
	:: else
	fi;
#else
	d_step {
		assert(n[x].mem == USED);
		won = (n[x].state == ARMED);
		if
		:: won -> n[x].state = FIRING
		:: else
		fi
	};
#endif
	if
	:: won ->
		d_step { n[x].running = 1; n[x].calls++; assert(n[x].calls == 1 && n[x].freed == 0) };
		d_step { n[x].running = 0; assert(n[x].freed == 0); n[x].freed++ };
		d_step { assert(n[x].mem == USED); flag = (n[x].state == WAITED); n[x].state = FIRED };
		if
		:: flag -> d_step { assert(sidemem == USED); event++; flag = 0 }
		:: else
		fi
	:: else
	fi
}

/* mirrors tell() in lib/object/side.c, with died() in lib/table/record.c */
inline tell(x)
{
	read_lock();
	d_step {
		assert(n[x].mem == USED);
		won = (n[x].state == ARMED);
		if
		:: won -> n[x].state = FIRED; q = n[x].rec
		:: else
		fi
	};
	if
	:: won ->
		won = 0;
		d_step {
			assert(r[q].mem != FREE && r[q].reg == x);
			flag = r[q].gone;
#ifndef BROKEN_CLAIM_TWICE
			r[q].gone = 1
#endif
		};
#ifdef BROKEN_CLAIM_TWICE
		r[q].gone = 1;
#endif
		if
		:: !flag -> record_finish(q)
		:: else -> flag = 0
		fi;
		q = NONE
	:: else
	fi;
	read_unlock()
}

/* mirrors hpx_side_die() in lib/object/side.c, then hpx_side_fire() there */
inline die()
{
	d_step { p = regs; regs = CLOSED };
	callbacks = NONE; tail = NONE;
	do
	:: p != NONE ->
		d_step {
			assert(n[p].mem == USED);
			next = n[p].next; /* constant by now */
			flag = (n[p].state == ARMED && n[p].kind == CALLBACK);
			ok = (n[p].kind == RECORD)
		};
		if
		:: flag ->
			d_step {
				if
				:: tail == NONE -> callbacks = p
				:: else -> n[tail].next = p
				fi;
				tail = p; n[p].next = NONE; flag = 0
			}
		:: else ->
			if
			:: ok -> tell(p)
			:: else
			fi;
			reg_drop(p)
		fi;
		p = next
	:: else -> break
	od;
	tail = NONE; ok = 0;
	p = callbacks;
	do
	:: p != NONE ->
		next = n[p].next;
		fire(p);
		reg_drop(p);
		p = next
	:: else -> break
	od;
	atomic { callbacks = NONE; next = NONE; won = 0 };
	side_drop()
}

/* mirrors hpx_release() in lib/object/death.c; count.pml has it in full */
inline release()
{
	d_step { count--; ok = (count == 0); if :: ok -> dead = 1 :: else fi };
	ref = 0;
	if
	:: ok -> ok = 0; die()
	:: else
	fi
}

inline give_up()
{
	if
	:: rec == NONE -> node_drop()
	:: else -> take_out()
	fi
}

proctype worker(byte me)
{
	byte reg = NONE, rec = NONE, q = NONE, z = NONE, mine = NONE, h = NONE, g = NONE, k, p = NONE, next = NONE, tail = NONE, callbacks = NONE, left = OPS;
	bool ref = 1, flag, won, ok;

	(start);
	do
	:: left > 0 ->
		left--;
		if
		:: ref && reg == NONE ->
			if
			:: true
			:: d_step { /* mirrors hpx_record_new() in lib/table/record.c */
					r[0].mem == FREE || r[NR - 1].mem == FREE;
					if
					:: r[0].mem == FREE -> rec = 0
					:: else -> rec = NR - 1
					fi;
					r[rec].mem = USED
				}
			fi;
			reg_make();
			if
			:: mine == NONE && rec == NONE
			:: mine == NONE && rec != NONE -> d_step { r[rec].mem = FREE; rec = NONE }
			:: mine != NONE && rec == NONE -> reg_arm(CALLBACK)
			:: mine != NONE && rec != NONE -> reg_arm(RECORD)
			fi
		:: reg != NONE -> give_up()
		:: ref -> release()
		:: !ref && reg == NONE -> left = 0
		fi
	:: left == 0 -> break
	od;
	if
	:: ref -> release()
	:: else
	fi;
	if
	:: reg != NONE -> give_up()
	:: else
	fi
}

init {
	byte k;

	atomic {
		k = 0;
		do
		:: k < NN -> n[k].next = NONE; n[k].spare = NONE; k++
		:: else -> break
		od;
		k = 0;
		do
		:: k < NW -> run worker(k); k++
		:: else -> break
		od;
		start = 1
	};
	(_nr_pr == 1);
	assert(dead && regs == CLOSED && sidemem == FREE && !sections);
	k = 0;
	do
	:: k < NN ->
		assert(n[k].mem == FREE && !n[k].running);
		k++
	:: else -> break
	od;
	assert(r[0].mem == FREE && r[NR - 1].mem == FREE)
}
