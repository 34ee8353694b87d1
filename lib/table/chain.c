/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/chain.c - the entries of one flooded hash, beyond the first few.
 *
 *      line slot -> [word | first] -> [next | e1] -> [next | NULL] -> [next | e3] -> NULL
 *
 * Puts append at the end: the NULL there is what orders them. Unlinking sets a node's entry to NULL, for ever. Empty nodes
 * are taken out by whoever holds `pruning` (tried, never waited for; a holder that is stopped only lets the chain grow),
 * but never the last one, where somebody may be appending. A walker on a node that was taken out still gets to the end.
 */
#include "base/poison.h"
#include "table/core.h"

struct hpx_chain *hpx_chain_new(struct hpx_table *t, uint64_t h)
{
	struct hpx_chain *chain = hpx_pool_alloc(t->env, sizeof(*chain));

	if (!chain)
		return NULL;
	memset(chain, 0, sizeof(*chain));
	hpx_init(&chain->word, hpx_word_make(h, 0, 0) | HPX_W_CHAIN);
	return chain;
}

struct hpx_node *hpx_node_new(struct hpx_table *t)
{
	struct hpx_node *node = hpx_pool_alloc(t->env, sizeof(*node));

	if (node)
		memset(node, 0, sizeof(*node));
	return node;
}

/* A reader with a stale control word may be looking at it all the same. */
void hpx_chain_discard(struct hpx_table *t, struct hpx_chain *chain)
{
	HPX_POISON(&chain->link, sizeof(chain->link));
	hpx_pool_retire(t->env, chain, sizeof(*chain), &chain->link);
}

void hpx_node_discard(struct hpx_table *t, struct hpx_node *node)
{
	HPX_POISON(&node->link, sizeof(node->link));
	hpx_pool_retire(t->env, node, sizeof(*node), &node->link);
}

void hpx_chain_enlist(struct hpx_table *t, struct hpx_chain *chain)
{
	struct hpx_chain *head = hpx_load_relaxed(&t->chains); /* order: relaxed; the swap decides */

	do
		chain->all = head;
	while (!hpx_cas_release(&t->chains, &head, chain)); /* order: TABLE.END -> release */
}

/* The table's end: nobody is left. */
void hpx_chains_free(struct hpx_table *t)
{
	struct hpx_chain *chain = hpx_load_acquire(&t->chains), *all; /* order: -> TABLE.END acquire */

	for (; chain; chain = all) {
		struct hpx_node *node = hpx_load_acquire(&chain->first.next), *next; /* order: -> TABLE.CHAIN acquire */

		all = chain->all;
		for (; node; node = next) {
			next = hpx_load_acquire(&node->next); /* order: -> TABLE.CHAIN acquire */
			hpx_pool_free(t->env, node, sizeof(*node));
		}
		hpx_pool_free(t->env, chain, sizeof(*chain));
	}
}

bool hpx_chain_unlink(struct hpx_chain *chain, const void *e)
{
	/* order: -> TABLE.CHAIN acquire */
	for (struct hpx_node *n = hpx_load_acquire(&chain->first.next); n; n = hpx_load_acquire(&n->next)) {
		void *seen = hpx_load_relaxed(&n->entry); /* order: relaxed; compared, not looked into */

		if (seen == e)
			return hpx_cas_acq_rel(&n->entry, &seen, NULL); /* order: TABLE.LEAVE -> acq_rel */
	}
	return false;
}

void hpx_chain_prune(struct hpx_table *t, struct hpx_chain *chain)
{
	uint32_t idle = 0;
	struct hpx_node *before = &chain->first, *node, *next;

	if (!hpx_cas_acq_rel(&chain->pruning, &idle, 1)) /* order: TABLE.PRUNE -> acq_rel; `next` of the last pruner */
		return;
	/* order: -> TABLE.CHAIN acquire */
	for (node = hpx_load_acquire(&before->next); node && (next = hpx_load_acquire(&node->next)); node = next) {
		if (hpx_load_relaxed(&node->entry)) { /* order: relaxed; NULL is final */
			before = node;
			continue;
		}
		hpx_store_release(&before->next, next); /* order: TABLE.CHAIN -> release; not NULL: only we write it */
		hpx_node_discard(t, node);
	}
	hpx_store_release(&chain->pruning, 0); /* order: TABLE.PRUNE -> release */
}
