/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/trace.h - debug builds: a table beside the objects, of those that are alive and of where references were taken.
 *
 * Every public function that gives a reference to the program ends with HPX_TAKEN(payload) or returns HPX_TAKEN_OUT(status, out):
 * in builds that trace, the place that called it is counted for the object. Releases cannot be matched with takes, so what is
 * known is how many references there are now, and where references came from. References that hapax takes for itself are no
 * site's. In other builds all of this is nothing.
 *
 * What cannot be recorded for lack of memory is lost, and nothing else happens.
 */
#ifndef HPX_TRACE_H
#define HPX_TRACE_H

#include "object/object.h"

#if defined(HPX_DEBUG) && !defined(HPX_MODEL)
#define HPX_TRACING 1
#else
#define HPX_TRACING 0
#endif

#define HPX_TRACE_SITES 16 /* of one object; what is taken elsewhere counts for a last one without address */

struct hpx_trace_site {
	const void *address; /* of the instruction after the call */
	uint64_t taken;
	uint64_t last; /* which of the object's takes this was */
};

#if HPX_TRACING

/* The public function's caller. Only there: what is inlined into it has the same one. */
#define HPX_TAKEN(payload) hpx_trace_take((payload), __builtin_return_address(0))
#define HPX_TAKEN_OUT(status, out) hpx_trace_out((status), (out), __builtin_return_address(0))
/* Given to a function of the program, as its argument: the address is inside it, as those after calls are. */
#define HPX_TAKEN_BY(payload, function) hpx_trace_take((payload), (const void *)((uintptr_t)(function) + 1))

/*
 * First in public functions that call others: what those take counts for this one's caller, or for nobody (what is given back
 * before it returns). The outermost caller counts, and nobody if anyone says so in between; not for calls that the program's
 * own functions make meanwhile.
 */
#define HPX_TAKES_FOR_CALLER HPX_TAKES_FOR_(__builtin_return_address(0))
#define HPX_TAKES_NOTHING HPX_TAKES_FOR_(NULL)
#define HPX_TAKES_FOR_(site_)                                                                                         \
	struct hpx_trace_scope scope_ __attribute__((cleanup(hpx_trace_leave), unused)) = hpx_trace_enter(site_)
struct hpx_trace_scope {
	const void *site;
	const struct hpx_frame *frames;
	bool on;
};
struct hpx_trace_scope hpx_trace_enter(const void *site);
void hpx_trace_leave(struct hpx_trace_scope *before);

void hpx_trace_born(struct hpx_object *o);
void hpx_trace_gone(struct hpx_object *o);
void hpx_trace_take(const void *payload, const void *site); /* payload NULL: nothing */
static inline int hpx_trace_out(int status, void *const *out, const void *site)
{
	if (status == 0 && out)
		hpx_trace_take(*out, site);
	return status;
}

/* In a section: those of one stripe (below HPX_TRACE_STRIPES) that are alive in `env`, with a reference each, in into[0..*n).
 * False: there are more than `room`: *n of them, and no reference was taken. */
#define HPX_TRACE_STRIPES 256
bool hpx_trace_stripe(hapax_env *env, unsigned stripe, struct hpx_object **into, size_t room, size_t *n);
/* Most taken first, of those the latest first: how many. */
size_t hpx_trace_sites(struct hpx_object *o, struct hpx_trace_site into[HPX_TRACE_SITES + 1]);
/* Some were lost for lack of memory. */
bool hpx_trace_incomplete(void);
/* "function+0x1f (program)", or "program+0x123" where no symbol is known: what addr2line -e program takes. */
void hpx_trace_name(const void *address, char *text, size_t size);
/* ", taken at A (2), B (1)" or nothing. */
void hpx_trace_describe(struct hpx_object *o, char *text, size_t size);

#else

#define HPX_TAKEN(payload) ((void)0)
#define HPX_TAKEN_OUT(status, out) (status)
#define HPX_TAKEN_BY(payload, function) ((void)0)
#define HPX_TAKES_FOR_CALLER ((void)0)
#define HPX_TAKES_NOTHING ((void)0)
static inline void hpx_trace_born(struct hpx_object *o) { (void)o; }
static inline void hpx_trace_gone(struct hpx_object *o) { (void)o; }
static inline void hpx_trace_describe(struct hpx_object *o, char *text, size_t size)
{
	(void)o;
	if (size)
		*text = 0;
}

#endif
#endif
