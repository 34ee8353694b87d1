/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * object/leak.c - hapax_leak_report().
 *
 *      sources (tables, caches, maps; in tracing builds every object)  ->  found, a reference each
 *      sorted by object                                                ->  nodes, one reference each
 *      payloads looked through, cycles (leak_graph.c)                  ->  edges
 *      fn for each                                                         no lock, no section
 *      objects of each class less those that are nodes                 ->  the rest, by type
 *
 * The references are given back at the end: deaths that others left to us then run here.
 */
#include <errno.h>

#include "object/hot.h"
#include "object/internal.h"
#include "object/leak.h"
#include "object/trace.h"

#define SOURCES 8
static HPX_ATOMIC(hpx_leak_source *) sources[SOURCES];
static hpx_u32 source_count;

void hpx_leak_add_source(hpx_leak_source *source)
{
	uint32_t at = hpx_add_relaxed(&source_count, 1); /* order: LEAK.SOURCE relaxed; a place */

	if (at >= SOURCES)
		hpx_fatal(__FILE__, __LINE__, "too many sources of leak reports");
	hpx_store_release(&sources[at], source); /* order: LEAK.SOURCE -> release */
}

bool hapax_leak_tracing(void) { return HPX_TRACING; }

/* ---- room -------------------------------------------------------------------------------------------------------- */

int hpx_leak_room(struct hpx_leaks *l, struct hpx_leak_vector *v, size_t more)
{
	size_t room = v->room ? v->room : 16, bytes;
	void *block;

	if (v->room - v->n >= more)
		return 0;
	while (room - v->n < more)
		room *= 2;
	if (__builtin_mul_overflow(room, v->each, &bytes))
		return HAPAX_ENOMEM;
	block = hpx_alloc(l->env, bytes, 16);
	if (!block)
		return HAPAX_ENOMEM;
	if (v->n)
		memcpy(block, v->block, v->n * v->each);
	if (v->block)
		hpx_free(l->env, v->block, v->bytes, 16);
	v->block = block;
	v->room = room;
	v->bytes = bytes;
	return 0;
}

void hpx_leak_vector_free(struct hpx_leaks *l, struct hpx_leak_vector *v)
{
	if (v->block)
		hpx_free(l->env, v->block, v->bytes, 16);
	v->block = NULL;
	v->n = v->room = 0;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

static int keep(struct hpx_leaks *l, const struct hpx_leak_found *found)
{
	struct hpx_leak_kept *kept;
	int status = hpx_leak_room(l, &l->found, 1);

	if (!status && found->key)
		status = hpx_leak_room(l, &l->bytes, found->key->size);
	if (status)
		return status;
	kept = (struct hpx_leak_kept *)l->found.block + l->found.n++;
	*kept = (struct hpx_leak_kept){.object = found->object, .keeper = found->keeper, .held = found->held,
				       .hidden = found->hidden, .has_key = found->key != NULL, .key = l->bytes.n};
	for (size_t i = 0; found->holder && i + 1 < sizeof(kept->holder) && found->holder[i]; i++)
		kept->holder[i] = found->holder[i];
	if (found->key && found->key->size) {
		kept->key_size = found->key->size;
		memcpy((char *)l->bytes.block + l->bytes.n, found->key->data, found->key->size);
		l->bytes.n += found->key->size;
	}
	return 0;
}

int hpx_leaks_add(struct hpx_leaks *l, const struct hpx_leak_found *found)
{
	int status = keep(l, found);

	if (status)
		hpx_release(found->object);
	return status;
}

#if HPX_TRACING

static int find_traced(struct hpx_leaks *l)
{
	struct hpx_leak_vector v = {.each = sizeof(struct hpx_object *)};
	int status = 0;

	for (unsigned i = 0; i < HPX_TRACE_STRIPES && !status; i++) {
		struct hpx_object **o;
		bool all;
		size_t n;

		do {
			hpx_read_lock();
			all = hpx_trace_stripe(l->env, i, v.block, v.room, &n);
			hpx_read_unlock();
			if (!all)
				status = hpx_leak_room(l, &v, n);
		} while (!all && !status);
		o = v.block;
		for (size_t j = 0; all && j < n; j++) {
			if (!status)
				status = hpx_leaks_add(l, &(struct hpx_leak_found){.object = o[j]});
			else
				hpx_release(o[j]);
		}
	}
	hpx_leak_vector_free(l, &v);
	return status;
}

#else

static int find_traced(struct hpx_leaks *l)
{
	(void)l;
	return 0;
}

static inline bool hpx_trace_incomplete(void) { return true; }

#endif

static int find(struct hpx_leaks *l)
{
	int status = find_traced(l);

	for (unsigned i = 0; i < SOURCES && !status; i++) {
		hpx_leak_source *source = hpx_load_acquire(&sources[i]); /* order: -> LEAK.SOURCE acquire */

		if (source)
			status = source(l->env, l);
	}
	return status;
}

/* By address; of one object what is known of a holder first, and holders as they were asked: keys are in that order. */
static int by_object(const void *left, const void *right)
{
	const struct hpx_leak_kept *a = left, *b = right;

	if (a->object != b->object)
		return (uintptr_t)a->object < (uintptr_t)b->object ? -1 : 1;
	if (!*a->holder != !*b->holder)
		return *a->holder ? -1 : 1;
	return a->key < b->key ? -1 : a->key > b->key;
}

/* Sorts what was found into nodes, which take one reference of each object over; the others are given back. */
static int make_nodes(struct hpx_leaks *l)
{
	struct hpx_leak_kept *kept = l->found.block;
	struct hpx_leak_node *node = NULL;
	int status = hpx_leak_room(l, &l->node, l->found.n);

	if (status || !l->found.n)
		return status;
	qsort(kept, l->found.n, sizeof(*kept), by_object);
	for (size_t i = 0; i < l->found.n; i++) {
		if (!node || node->object != kept[i].object) {
			node = (struct hpx_leak_node *)l->node.block + l->node.n++;
			*node = (struct hpx_leak_node){.object = kept[i].object, .first = i};
		} else {
			hpx_release(kept[i].object);
		}
		kept[i].object = NULL;
		node->n++;
		node->hidden |= kept[i].hidden;
	}
	node = l->node.block;
	for (size_t i = 0; i < l->node.n; i++) {
		node[i].count = hpx_refs(node[i].object) - 1; /* a hint, less the reference that we hold */
		/* order: OBJECT.FLAG relaxed; set at a fork */
		node[i].inherited = hpx_load_relaxed(&node[i].object->count) & HPX_INHERITED;
	}
	return 0;
}

/* ---- those that are not known one by one ------------------------------------------------------------------------- */

struct rest {
	const hapax_type *type;
	const char *name;
	uint64_t alive;
	uint32_t class;
};

struct rest_walk {
	struct hpx_leaks *l;
	size_t n;
};

/* In a section. */
static void rest_of(struct hpx_class *c, void *ctx)
{
	struct rest_walk *walk = ctx;
	struct hpx_leak_vector *v = &walk->l->rest;
	uint64_t destroyed = hpx_counters_sum(&c->counters, HPX_CLASS_DESTROYED); /* first: rather too many alive than negative */
	uint64_t born = hpx_counters_sum(&c->counters, HPX_CLASS_BORN);

	if (born <= destroyed)
		return;
	walk->n++;
	if (v->n < v->room)
		((struct rest *)v->block)[v->n++] = (struct rest){
			.type = c->type, .name = c->type->name ? c->type->name : "object", .alive = born - destroyed, .class = c->id};
}

static int by_class(const void *left, const void *right)
{
	const struct rest *a = left, *b = right;

	return a->class < b->class ? -1 : a->class > b->class;
}

static int by_type(const void *left, const void *right)
{
	const struct rest *a = left, *b = right;

	return (uintptr_t)a->type < (uintptr_t)b->type ? -1 : (uintptr_t)a->type > (uintptr_t)b->type;
}

static void less_node(struct hpx_leaks *l, struct hpx_object *o)
{
	struct rest key = {.class = hpx_class_of(o)->id};
	struct rest *found = l->rest.n ? bsearch(&key, l->rest.block, l->rest.n, sizeof(key), by_class) : NULL;

	if (found && found->alive)
		found->alive--;
}

/* Objects of each type beyond the nodes; called with the nodes still held. */
static int find_rest(struct hpx_leaks *l)
{
	struct rest_walk walk;
	struct rest *rest;
	size_t n = 0;

	if (HPX_TRACING && !hpx_trace_incomplete())
		return 0;
	do {
		int status;

		l->rest.n = 0;
		status = hpx_leak_room(l, &l->rest, n);
		if (status)
			return status;
		walk = (struct rest_walk){.l = l};
		hpx_read_lock();
		hpx_class_each(l->env, rest_of, &walk);
		hpx_read_unlock();
		n = walk.n;
		rest = l->rest.block;
	} while (n > l->rest.n);
	if (!l->rest.n)
		return 0;
	qsort(rest, l->rest.n, sizeof(*rest), by_class);
	for (size_t i = 0; i < l->node.n; i++)
		less_node(l, ((struct hpx_leak_node *)l->node.block)[i].object);
	qsort(rest, l->rest.n, sizeof(*rest), by_type);
	n = 0;
	for (size_t i = 1; i < l->rest.n; i++) {
		if (rest[i].type == rest[n].type)
			rest[n].alive += rest[i].alive;
		else
			rest[++n] = rest[i];
	}
	l->rest.n = n + 1;
	return 0;
}

/* ---- telling ----------------------------------------------------------------------------------------------------- */

bool hpx_key_text(const hapax_key *key, char text[HPX_KEY_TEXT])
{
	size_t i, n = 0;

	for (i = 0; i < key->size && i < 40; i++) {
		unsigned char byte = ((const unsigned char *)key->data)[i];

		if (byte > 32 && byte < 127 && byte != '%')
			text[n++] = (char)byte;
		else
			n += (size_t)snprintf(text + n, 4, "%%%02X", byte);
	}
	text[n] = 0;
	return i < key->size;
}

static void to_log(const hapax_leak *leak, void *ctx)
{
	hapax_env *env = ctx;
	char key[HPX_KEY_TEXT] = "";
	bool cut = leak->key && hpx_key_text(leak->key, key);

	if (!leak->object) {
		hpx_env_log(env, HAPAX_LOG_WARNING, "alive: %llu of type %s", (unsigned long long)leak->count, leak->type);
		return;
	}
	hpx_env_log(env, HAPAX_LOG_WARNING, "alive: %s %p%s%s%s%s%s%s, %llu reference%s%s%s", leak->type, leak->object,
		    leak->holder ? leak->held ? ", held by " : ", known to " : "", leak->holder ? leak->holder : "",
		    leak->key ? " under key \"" : "", key, leak->key ? "\"" : "", cut ? "..." : "",
		    (unsigned long long)leak->count, leak->count == 1 ? "" : "s", leak->inherited ? ", inherited by fork" : "",
		    leak->cycle ? ", in a cycle" : "");
	for (size_t i = 0; i < leak->n_sites; i++)
		hpx_env_log(env, HAPAX_LOG_WARNING, "  taken %llu time%s at %s", (unsigned long long)leak->sites[i].taken,
			    leak->sites[i].taken == 1 ? "" : "s", leak->sites[i].text);
	for (size_t i = 0; i < leak->n_from; i++) {
		if (leak->from[i].offset == HAPAX_LEAK_THROUGH_HOLDER)
			hpx_env_log(env, HAPAX_LOG_WARNING, "  kept as long as %s %p is alive", leak->from[i].type,
				    leak->from[i].object);
		else
			hpx_env_log(env, HAPAX_LOG_WARNING, "  pointer at offset %zu of %s %p", leak->from[i].offset,
				    leak->from[i].type, leak->from[i].object);
	}
}

struct teller {
	void (*fn)(const hapax_leak *leak, void *ctx);
	void *ctx;
};

static void tell(const struct teller *t, const hapax_leak *leak)
{
	HPX_USER_CODE(frame, NULL);

	t->fn(leak, t->ctx);
}

#if HPX_TRACING

struct named {
	hapax_leak_site site[HPX_TRACE_SITES + 1];
	char text[HPX_TRACE_SITES + 1][192];
};

static void name_sites(hapax_leak *leak, struct hpx_object *o, struct named *named)
{
	struct hpx_trace_site site[HPX_TRACE_SITES + 1];

	leak->n_sites = hpx_trace_sites(o, site);
	leak->sites = leak->n_sites ? named->site : NULL;
	for (size_t i = 0; i < leak->n_sites; i++) {
		hpx_trace_name(site[i].address, named->text[i], sizeof(named->text[i]));
		named->site[i] = (hapax_leak_site){site[i].address, named->text[i], site[i].taken};
	}
}

#else

struct named {
	char nothing;
};

static void name_sites(hapax_leak *leak, struct hpx_object *o, struct named *named) { (void)leak, (void)o, (void)named; }

#endif

/* Once for each holder that knows it, or once. */
static void tell_node(struct hpx_leaks *l, const struct hpx_leak_node *node, const struct teller *t)
{
	const struct hpx_leak_kept *kept = (struct hpx_leak_kept *)l->found.block + node->first;
	hapax_leak leak = {.size = sizeof(leak), .type = hpx_object_name(node->object), .object = hpx_payload(node->object),
			   .inherited = node->inherited, .cycle = node->cycle, .count = node->count,
			   .from = node->from, .n_from = node->n_from};
	struct named named;
	hapax_key key;

	name_sites(&leak, node->object, &named);
	for (size_t i = 0; i < node->n; i++) {
		if (!*kept[i].holder && i)
			break; /* as said: those without come last */
		key = hapax_key_bytes(kept[i].key_size ? (char *)l->bytes.block + kept[i].key : "", kept[i].key_size);
		leak.key = kept[i].has_key ? &key : NULL;
		leak.holder = *kept[i].holder ? kept[i].holder : NULL;
		leak.held = kept[i].held;
		tell(t, &leak);
	}
}

static size_t tell_all(struct hpx_leaks *l, const struct teller *t)
{
	const struct hpx_leak_node *node = l->node.block;
	const struct rest *rest = l->rest.block;
	size_t told = 0;

	for (size_t i = 0; i < l->node.n; i++) {
		if (node[i].hidden || !node[i].count)
			continue; /* those without a reference but ours die when it is given back */
		tell_node(l, &node[i], t);
		told++;
	}
	for (size_t i = 0; i < l->rest.n; i++) {
		if (!rest[i].alive)
			continue;
		tell(t, &(hapax_leak){.size = sizeof(hapax_leak), .type = rest[i].name, .count = rest[i].alive});
		told += rest[i].alive;
	}
	return told;
}

/* ---- the report -------------------------------------------------------------------------------------------------- */

static void given_back(struct hpx_leaks **given);

/* Runs deaths, which may leave the thread: then the cleanup handler goes on. */
static void give_back(struct hpx_leaks *given)
{
	struct hpx_leaks *l __attribute__((cleanup(given_back))) = given;

	while (l->node.n)
		hpx_release(((struct hpx_leak_node *)l->node.block)[--l->node.n].object);
	while (l->found.n) {
		struct hpx_object *o = ((struct hpx_leak_kept *)l->found.block)[--l->found.n].object;

		if (o)
			hpx_release(o);
	}
}

static void given_back(struct hpx_leaks **given)
{
	if (HPX_UNLIKELY((*given)->node.n || (*given)->found.n))
		give_back(*given);
}

static void leaks_end(struct hpx_leaks *l)
{
	give_back(l);
	hpx_leak_vector_free(l, &l->found);
	hpx_leak_vector_free(l, &l->bytes);
	hpx_leak_vector_free(l, &l->node);
	hpx_leak_vector_free(l, &l->edge);
	hpx_leak_vector_free(l, &l->into);
	hpx_leak_vector_free(l, &l->rest);
	hpx_env_drop(l->env);
}

size_t hapax_leak_report(hapax_env *env, void (*fn)(const hapax_leak *leak, void *ctx), void *ctx)
{
	struct teller teller = {fn, ctx};
	int saved = errno, status;
	size_t told;

	env = hpx_env_or_default(env);
	hpx_enter();
	hpx_env_hold(env);
	if (!fn)
		teller = (struct teller){to_log, env};
	{
		struct hpx_leaks l __attribute__((cleanup(leaks_end))) = {
			.env = env,
			.found.each = sizeof(struct hpx_leak_kept),
			.bytes.each = 1,
			.node.each = sizeof(struct hpx_leak_node),
			.edge.each = sizeof(struct hpx_leak_arc),
			.into.each = sizeof(hapax_leak_edge),
			.rest.each = sizeof(struct rest),
		};

		status = find(&l);
		if (!status)
			status = make_nodes(&l);
		if (!status)
			status = hpx_leak_graph(&l);
		if (!status)
			status = find_rest(&l);
		told = status ? SIZE_MAX : tell_all(&l, &teller);
	}
	errno = saved;
	return told;
}
