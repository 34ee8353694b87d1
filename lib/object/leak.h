/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/leak.h - what hapax_leak_report() asks of the layers above, and how it puts the answers together.
 *
 * A report takes a reference to everything it finds and gives them back at its end, so that nothing that it looks at goes
 * meanwhile; what is counted is counted less these.
 */
#ifndef HPX_LEAK_H
#define HPX_LEAK_H

#include <hapax/leak.h>

#include "object/object.h"

struct hpx_leaks;

/* What a holder knows of one object. */
struct hpx_leak_found {
	struct hpx_object *object; /* with a reference, which is consumed */
	const struct hpx_object *keeper; /* as long as it lives the holder holds `object`: an edge of the graph. NULL: none */
	const char *holder;        /* NULL: none, the object was found by itself. Copied up to 31 bytes */
	const hapax_key *key;      /* NULL: none. Copied */
	bool held;                 /* one reference is the holder's */
	bool hidden;               /* no object of the program's: not reported */
};
/* 0 or HAPAX_ENOMEM. Outside sections and locks. */
int hpx_leaks_add(struct hpx_leaks *l, const struct hpx_leak_found *found);

/* Adds what its layer knows in `env`: 0 or HAPAX_ENOMEM. Outside sections and locks. Registered at load time. */
typedef int hpx_leak_source(hapax_env *env, struct hpx_leaks *l);
void hpx_leak_add_source(hpx_leak_source *source);

/* A key's first bytes, printable: true if there are more. */
#define HPX_KEY_TEXT (3 * 40 + 1)
bool hpx_key_text(const hapax_key *key, char text[HPX_KEY_TEXT]);

/* ---- leak.c and leak_graph.c ---- */

struct hpx_leak_node {
	struct hpx_object *object; /* one reference is ours */
	uint64_t count;            /* less that one */
	size_t first, n;           /* in `found`: what is known of it */
	bool hidden, inherited, cycle;
	const hapax_leak_edge *from;
	size_t n_from;
};

/* An object that was found, as it is kept. */
struct hpx_leak_kept {
	struct hpx_object *object; /* with a reference until it has a node */
	const struct hpx_object *keeper;
	size_t key, key_size; /* in `bytes` */
	bool has_key, held, hidden;
	char holder[32]; /* "": none */
};

struct hpx_leak_vector {
	void *block;
	size_t n, room, each, bytes;
};

struct hpx_leaks {
	hapax_env *env;
	struct hpx_leak_vector found; /* struct hpx_leak_kept; sorted by object once all are there */
	struct hpx_leak_vector bytes; /* of keys */
	struct hpx_leak_vector node;  /* struct hpx_leak_node, by address */
	struct hpx_leak_vector edge;  /* struct hpx_leak_arc, as they are found */
	struct hpx_leak_vector into;  /* hapax_leak_edge, by the object that is pointed to */
	struct hpx_leak_vector rest;  /* of objects that are not known one by one */
};

/* Room for `more` of them. 0 or HAPAX_ENOMEM. Outside sections and locks. */
int hpx_leak_room(struct hpx_leaks *l, struct hpx_leak_vector *v, size_t more);
void hpx_leak_vector_free(struct hpx_leaks *l, struct hpx_leak_vector *v);

struct hpx_leak_arc {
	size_t from, to, offset; /* nodes; HAPAX_LEAK_THROUGH_HOLDER */
};

/* Finds the edges between the nodes and the cycles: 0 or HAPAX_ENOMEM. */
int hpx_leak_graph(struct hpx_leaks *l);

#endif
