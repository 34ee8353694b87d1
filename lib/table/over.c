/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table/over.c - a put over exactly one given entry.
 *
 * PROBLEM. Take the place of one entry, if it still is the present one, so that at no moment the key reads absent, and
 * nothing is installed when a removal or another put came first. The two entries may be in different lines, or arrays.
 *
 *               old                     new
 *      1        present                 PENDING     published in the tail beside it: nobody takes it for present
 *      2        REPLACED                PENDING     one compare-and-swap on old's word: here the put takes effect
 *      3        REPLACED                present     compare-and-swap
 *      4        (unlinked)              present
 *
 * A removal sets GONE in old's word, on which step 2 fails: then new is REFUSED (GONE alone) and was never present.
 * Puts are ordered by the tail, so from step 1 on each of them meets the PENDING entry, and brings it to its end before it
 * publishes its own. So does a lookup that met a REPLACED entry: nobody waits for a stopped putter. Who asks
 * meets one of:
 *
 *      old present, new PENDING            old is the answer; a put that wants to replace it does step 2 for it first
 *      old REPLACED, new PENDING           new is the answer, after step 3 done for it
 *      neither old, new PENDING            old was removed: absent; a put refuses it
 *
 * WHY IT HOLDS. A REPLACED and a PENDING entry that are in the table at one time belong together: a put over an entry
 * clears REPLACED ones that others left before it publishes, and none comes meanwhile but by another PENDING one. Likewise
 * a present one and a PENDING one: a put displaces nothing before the PENDING one is decided. At one time: so who met first
 * the one, then the other, looks whether the first is still there. A REPLACED one is unlinked only after step 3
 * (claim looks the key up first, put looks at the tail again): so a PENDING one without it lost to a removal. That is
 * judged on the PENDING entry's word after the search, whatever the order of the two in lines and lanes. Whoever puts over an
 * entry holds its object, so it does not die meanwhile. Nothing stale is installed: step 2 succeeds on the word of
 * a present entry only, and before a later put of the key publishes, the PENDING entry is decided.
 */
#include "table/core.h"

void hpx_over_install(void *e)
{
	/* order: relaxed; the swap decides */
	uint64_t w = hpx_load_relaxed(hpx_word(e));

	while (hpx_word_pending(w))
		/* order: FLIGHT.COMMIT -> acq_rel; after REPLACED of the older one, for who reads this word first */
		if (hpx_cas_acq_rel(hpx_word(e), &w, w & ~HPX_W_WAITED))
			return;
}

void hpx_over_refuse(void *e)
{
	/* order: relaxed; the swap decides */
	uint64_t w = hpx_load_relaxed(hpx_word(e));

	while (hpx_word_pending(w))
		/* order: TABLE.GONE -> acq_rel; against hpx_over_install on the same word */
		if (hpx_cas_acq_rel(hpx_word(e), &w, (w & ~HPX_W_WAITED) | HPX_W_GONE))
			return;
}

bool hpx_over_replace(void *e)
{
	/* order: relaxed; the swap decides */
	uint64_t w = hpx_load_relaxed(hpx_word(e));

	if (HPX_BROKEN(OVER_REMOVED)) {
		hpx_or_acq_rel(hpx_word(e), HPX_W_REPLACED); /* order: TABLE.GONE -> acq_rel; whoever was first */
		return true;
	}
	while (!(w & HPX_W_STATE))
		/* order: TABLE.GONE -> acq_rel; against a removal: one of the two is first */
		if (hpx_cas_acq_rel(hpx_word(e), &w, w | HPX_W_REPLACED))
			return true;
	return hpx_word_replaced(w);
}

bool hpx_table_supersede(struct hpx_table *t, void *old, void *fresh)
{
	HPX_STOP("table.over");
	if (!hpx_over_replace(old)) {
		hpx_over_refuse(fresh);
		hpx_table_unlink(t, fresh);
		return false;
	}
	HPX_STOP("table.replaced");
	hpx_over_install(fresh);
	hpx_table_unlink(t, old);
	return true;
}
