/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reclaim.pml - numbered grace periods, who asks for them, the reclaimer's sleep, and the bound on garbage.
 *
 * Readers come and go; workers make memory unreachable and retire it, on the stack of deferred functions or in a batch of
 * their own with a stamp, and wait at the bound before they do; one reclaimer runs grace periods and sleeps when nothing
 * is wanted. Checked: no memory is freed while a section is open that began before its retirement; the reclaimer does not
 * sleep while something is wanted, and nobody waits at the bound for ever (each would be an invalid end state): so all
 * that is retired is freed; garbage stays below the bound and one more for each worker under way.
 *
 * Sequential consistency is assumed, as the source demands of these words; BROKEN_LOOK_THEN_SLEEP is what a store that is
 * delayed beyond the loads after it would come to. Time passes only when nothing else can happen (`timeout`): the
 * reclaimer's sleep has an end as long as there may be batches to free, and so has each step of a wait at the bound.
 */
#ifndef NW
#define NW 3       /* workers; each is also a reader */
#endif
#ifndef OPS
#define OPS 2      /* retirements or sections each */
#endif
#ifndef BOUND
#define BOUND 1    /* garbage at which creators wait */
#endif
#ifndef READERS
#define READERS 0  /* so many of the workers do nothing but enter and leave sections */
#endif
#define NB (NW * OPS)

#define NEVER 0
#define OUT 1      /* retired */
#define TAKEN 2
#define READY 3
#define FREED 4

typedef block {
	byte state;
	byte older;    /* ghost: sections that were open when it was retired, and still are */
	byte stamp;    /* of a batch; 0: on the stack of deferred functions */
};
block b[NB];
byte started = 1, done = 1, want = 1; /* hpx_gp_started, hpx_gp_done, want in lib/reclaim/grace.c */
bool deferred;                 /* something is on the stack */
bool unworked;
bool sleeping;                 /* the futex word */
byte sections;                 /* open now */
byte waited_for;               /* what synchronize_rcu() waits for */
byte garbage, waiters, room;   /* room: the value of the event */
byte ended;

#define ME (1 << me)

/* mirrors hpx_read_lock() and hpx_read_unlock() in lib/reclaim/section.h */
inline read_lock() { sections = sections | ME }
inline read_unlock()
{
	d_step {
		sections = sections & ~ME;
		waited_for = waited_for & ~ME;
		i = 0;
		do
		:: i < NB -> b[i].older = b[i].older & ~ME; i++
		:: else -> break
		od;
		i = 0
	}
}

inline free_block(x)
{
	assert(b[x].older == 0); /* every section that could see it is over */
	b[x].state = FREED; b[x].stamp = 0
}

/* mirrors hpx_gp_stamp() in lib/reclaim/grace.c */
inline gp_stamp()
{
#ifdef BROKEN_STAMP_EARLY
	stamp = started;
#else
	stamp = started + 1;
#endif
	do
	:: atomic { seen = want };
		if
		:: seen >= stamp -> break
		:: else ->
			d_step {
				ok = (want == seen);
				if
				:: ok -> want = stamp
				:: else
				fi
			};
			if
			:: ok -> break
			:: else
			fi
		fi
	od;
	atomic { seen = 0; ok = 0 }
}

/* mirrors wake_sleeper() in lib/reclaim/grace.c */
inline wake_sleeper()
{
	if
	:: sleeping -> sleeping = 0
	:: else
	fi
}

/* mirrors hpx_retire() in lib/reclaim/grace.c, or hpx_pool_retire() in lib/reclaim/pool.c with its batch closed */
inline retire(x)
{
	d_step { garbage++; assert(garbage <= BOUND + NW - 1) };
	d_step { b[x].older = sections; b[x].state = OUT }; /* unreachable from here on */
	if
	:: d_step { deferred = 1; b[x].stamp = 255 }; /* the push */
		gp_stamp();
		stamp = 0
	:: gp_stamp();
		d_step { b[x].stamp = stamp; stamp = 0 }
	fi;
#ifdef BROKEN_SLEEP_UNNOTICED
	skip
#else
	wake_sleeper()
#endif
}

/* mirrors hpx_garbage_sub() in lib/reclaim/garbage.c */
inline garbage_sub()
{
	garbage--;
	if
	:: waiters > 0 -> room++
	:: else
	fi
}

/* mirrors hpx_pool_poll() in lib/reclaim/pool.c: the owner takes its matured batches back */
inline pool_poll()
{
	x = me * OPS;
	do
	:: x < (me + 1) * OPS ->
		d_step {
			ok = (b[x].state == OUT && b[x].stamp > 0 && b[x].stamp < 255 && b[x].stamp <= done);
			if
			:: ok -> free_block(x)
			:: else
			fi
		};
		if
		:: ok -> garbage_sub()
		:: else
		fi;
		x++
	:: else -> break
	od;
	atomic { x = 0; ok = 0 }
}

/* mirrors hpx_admit() in lib/reclaim/garbage.c, with wait_for_room() there */
inline admit()
{
	if
#ifdef BROKEN_BOUND_IGNORED
	:: true
#else
	:: garbage < BOUND
#endif
	:: else ->
		waiters++;
		do
		:: atomic { event = room };
			if
			:: garbage < BOUND -> break
			:: else
			fi;
			gp_stamp();
			stamp = 0;
			wake_sleeper(); /* mirrors hpx_gp_hurry() in lib/reclaim/grace.c */
			true;
			if
			:: room != event
			:: timeout
			fi;
			pool_poll()
		od;
		waiters--;
		event = 0
	fi
}

proctype worker(byte me)
{
	byte left = OPS, x, i, stamp, seen, event;
	bool ok, inside;

	do
	:: left > 0 ->
		left--;
		if
		:: read_lock(); read_unlock()
		:: me < NW - READERS ->
			admit();
			if
			:: read_lock(); inside = 1
			:: inside = 0
			fi;
			retire(me * OPS + left);
			if
			:: inside -> read_unlock(); inside = 0
			:: else
			fi
		fi
	:: left == 0 -> break
	od;
	ended++
}

/* mirrors hpx_gp_due() in lib/reclaim/grace.c */
#define DUE (want > done || deferred || unworked)

/* mirrors hpx_gp_run() in lib/reclaim/grace.c */
inline gp_run()
{
	d_step {
		deferred = 0;
		x = 0;
		do
		:: x < NB ->
			if
			:: b[x].state == OUT && b[x].stamp == 255 -> b[x].state = TAKEN
			:: else
			fi;
			x++
		:: else -> break
		od;
		x = 0
	};
	d_step { started++; number = started };
#ifdef BROKEN_NO_GRACE_PERIOD
	waited_for = 0;
#else
	waited_for = sections;
#endif
	(waited_for == 0); /* synchronize_rcu() */
	d_step {
		x = 0;
		do
		:: x < NB ->
			if
			:: b[x].state == TAKEN -> b[x].state = READY; unworked = 1
			:: else
			fi;
			x++
		:: else -> break
		od;
		x = 0
	};
	done = number
}

/* mirrors hpx_gp_work() in lib/reclaim/grace.c: run_ready() there, and hpx_pool_harvest() in lib/reclaim/pool.c */
inline gp_work()
{
	unworked = 0;
	do
	:: x < NB ->
		d_step {
			ok = (b[x].state == READY || (b[x].state == OUT && b[x].stamp > 0 && b[x].stamp < 255 && b[x].stamp <= done));
			if
			:: ok -> free_block(x)
			:: else
			fi
		};
		if
		:: ok -> garbage_sub(); ok = 0
		:: else
		fi;
		x++
	:: else -> break
	od;
	x = 0
}

/* mirrors reclaimer() in lib/reclaim/grace.c, with fall_asleep() there */
active proctype reclaimer()
{
	byte x, number;
	bool ok, due, tidy = 1;

	do
	:: due = DUE;
		if
		:: due -> due = 0; gp_run(); gp_work(); tidy = 0
		:: else ->
#ifdef BROKEN_LOOK_THEN_SLEEP
			due = DUE;
			sleeping = 1;
#else
			sleeping = 1;
			due = DUE;
#endif
			if
			:: due -> sleeping = 0; due = 0
			:: else ->
end:
				if
				:: !sleeping
				:: timeout && !tidy && sleeping -> sleeping = 0
				fi
			fi;
			due = DUE;
			if
			:: !due && !tidy -> gp_work(); tidy = 1
			:: else -> due = 0
			fi
		fi
	od
}

init {
	byte i;

	atomic {
		i = 0;
		do
		:: i < NW -> run worker(i); i++
		:: else -> break
		od
	};
	(ended == NW && sleeping && !DUE && timeout);
	/* All is freed; but a batch that its owner pushed long after its stamp may wait for the owner to come back. */
	i = 0;
	do
	:: i < NB ->
		assert(b[i].state == NEVER || b[i].state == FREED ||
		       (b[i].state == OUT && b[i].stamp > 0 && b[i].stamp <= done));
		i++
	:: else -> break
	od
}
