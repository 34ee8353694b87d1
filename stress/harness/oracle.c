/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "oracle.h"

#include <stdlib.h>

enum { HOLDER_BITS = 16 };

static uint64_t holders_of(uint64_t word) { return word & ((1u << HOLDER_BITS) - 1); }

int hpx_oracle_init(hpx_oracle *oracle, uint64_t keys)
{
	*oracle = (hpx_oracle){.size = keys};
	oracle->keys = calloc(keys ? keys : 1, sizeof(*oracle->keys));
	return oracle->keys ? 0 : -1;
}

/* Under ThreadSanitizer the handover would be an edge of ours, from one loader to the next, that hides missing ones. */
#if defined(__SANITIZE_THREAD__)
#define HPX_WITNESS_WEAK 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HPX_WITNESS_WEAK 0
#endif
#endif
#ifndef HPX_WITNESS_WEAK
#define HPX_WITNESS_WEAK 1
#endif

static hapax_weak *swap_weak(hpx_oracle_key *key, hapax_weak *weak)
{
	/* order: ORACLE.WITNESS -> acq_rel; a handle changes owners here, and what it points to goes with it */
	/* order: -> ORACLE.WITNESS acq_rel; the other owner, through the same swap */
	return __atomic_exchange_n(&key->weak, weak, __ATOMIC_ACQ_REL);
}

void hpx_oracle_fini(hpx_oracle *oracle)
{
	for (uint64_t i = 0; oracle->keys && i < oracle->size; i++)
		(void)hapax_weak_drop(swap_weak(&oracle->keys[i], NULL));
	free(oracle->keys);
	oracle->keys = NULL;
}

void hpx_oracle_enter_loader(hpx_oracle *oracle, uint64_t key, hpx_life *life)
{
	hpx_oracle_key *slot = &oracle->keys[key];

	if (hpx_relaxed_add(&slot->loading, 1) != 0 && !oracle->loose)
		hpx_relaxed_add(&oracle->double_loads, 1);
	life->serial = hpx_relaxed_add(&oracle->serials, 1) + 1;
	life->key = key;
	hpx_relaxed_set(&life->state, HPX_LIFE_LOADED);
}

void hpx_oracle_born(hpx_oracle *oracle, uint64_t key, hpx_life *life)
{
	life->serial = hpx_relaxed_add(&oracle->serials, 1) + 1;
	life->key = key;
	hpx_relaxed_set(&life->seen, 1);
	hpx_relaxed_set(&life->state, HPX_LIFE_LOADED);
}

void hpx_oracle_leave_loader(hpx_oracle *oracle, uint64_t key)
{
	hpx_relaxed_add(&oracle->keys[key].loading, (uint64_t)-1);
}

void hpx_oracle_loaded(hpx_oracle *oracle, uint64_t key, void *object)
{
	hapax_weak *mine = NULL;
	hapax_weak *previous;

	if (oracle->loose || !HPX_WITNESS_WEAK)
		return;
	/* without memory this life goes unwitnessed by the next; the holders' word still sees it */
	if (hapax_weak_new(object, NULL, &mine))
		mine = NULL;
	previous = swap_weak(&oracle->keys[key], mine);
	if (hapax_weak_alive(previous))
		hpx_relaxed_add(&oracle->overlapping, 1);
	(void)hapax_weak_drop(previous);
}

void hpx_oracle_hold(hpx_oracle *oracle, uint64_t key, hpx_life *life)
{
	hpx_oracle_key *slot = &oracle->keys[key];
	uint64_t word = hpx_relaxed_get(&slot->holders);
	uint64_t next;

	if (life->key != key)
		hpx_relaxed_add(&oracle->wrong, 1);
	if (hpx_relaxed_get(&life->state) != HPX_LIFE_LOADED)
		hpx_relaxed_add(&oracle->destroyed_in_use, 1);
	if (!hpx_relaxed_get(&life->seen) && !hpx_relaxed_swap(&life->seen, 1))
		hpx_relaxed_add(&oracle->lives, 1);
	if (oracle->loose)
		return;
	do {
		if (holders_of(word) && word >> HOLDER_BITS != life->serial) {
			hpx_relaxed_add(&oracle->overlapping, 1);
			return; /* drop will see that the word is not ours */
		}
		next = (life->serial << HOLDER_BITS) + holders_of(word) + 1;
	} while (!hpx_relaxed_cas(&slot->holders, &word, next));
}

void hpx_oracle_drop(hpx_oracle *oracle, uint64_t key, const hpx_life *life)
{
	hpx_oracle_key *slot = &oracle->keys[key];
	uint64_t word = hpx_relaxed_get(&slot->holders);

	if (hpx_relaxed_get(&life->state) != HPX_LIFE_LOADED)
		hpx_relaxed_add(&oracle->destroyed_in_use, 1);
	if (oracle->loose)
		return;
	do {
		if (!holders_of(word) || word >> HOLDER_BITS != life->serial)
			return;
	} while (!hpx_relaxed_cas(&slot->holders, &word, word - 1));
}

void hpx_oracle_destroyed(hpx_oracle *oracle, hpx_life *life)
{
	if (hpx_relaxed_swap(&life->state, HPX_LIFE_DESTROYED) != HPX_LIFE_LOADED)
		hpx_relaxed_add(&oracle->destroyed_twice, 1);
	hpx_relaxed_add(&oracle->destructors, 1);
}
