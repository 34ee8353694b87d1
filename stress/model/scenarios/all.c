/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* scenarios/all.c - the list of all scenarios, by file. Litmus tests have a list of their own. */
#include "model/model.h"

/* clang-format off */
#define SCENARIOS(X) \
	X(upgrade_death) X(upgrade_again) X(lookup_death) X(last_release) X(counts) X(two_deaths) \
	X(cascade) X(death_put) X(death_put_look) X(death_get_or_put) X(deferred_deaths) \
	X(callback_cancel) X(callback_cancel_two) X(callback_dup) X(callback_sibling) X(callback_cross) \
	X(callback_recycled) X(weak_share) X(weak_starved) X(weak_drops) X(callback_put) \
	X(callback_barrier) X(with_live) \
	X(list_recycle) X(list_room) X(list_two) \
	X(put_put) X(replace_look) X(publish) X(get_or_put) X(remove_pop) X(remove_replace) X(remove_if) \
	X(clear_put) X(pop_any_twice) X(two_tables) X(table_end) X(copy_death) X(put_starved) \
	X(grow_look) X(grow_put) X(grow_put_look) X(grow_replace) X(grow_replace_look) X(grow_death) \
	X(grow_remove) X(grow_death_put) X(grow_grow) X(grow_shrink) X(grow_get_or_put) X(grow_iterate) \
	X(grow_iterate_death) X(grow_starved) X(raise_put) X(raise_two) X(chain_death) X(chain_death_put) \
	X(chain_put) X(chain_death_last) X(chain_grow) \
	X(load_join) X(load_join_two) X(load_join_made) X(load_die) X(load_die_two) X(load_die_made) \
	X(load_fail) X(load_fail_two) X(load_novalue) X(load_recovers) X(load_timeout) X(load_timeout_two) \
	X(fence_by_remove) X(fence_by_remove_made) X(fence_by_remove_three) X(fence_by_pop) \
	X(fence_by_clear) X(fence_twice) X(fence_by_put) X(fence_by_put_made) X(fence_by_put_three) \
	X(fence_failing) X(fence_by_offer) \
	X(abandon) X(abandon_three) X(abandon_bare) X(self_wait) X(load_pair) X(load_ring) X(load_puts) \
	X(refuse_share) X(refuse_look) X(refuse_death) X(refuse_fail) X(close_get) X(close_load) \
	X(close_late) X(destroy_load) X(destroy_inside) \
	X(token_twice) X(token_fail) X(token_join) X(token_wait) X(token_drop) X(token_fence) X(token_close) \
	X(token_destroy) X(token_close_join) \
	X(death_get) X(death_get_made) X(death_get_peek) X(death_get_get) X(cache_death_put) \
	X(cache_death_put_get) X(cache_put_put) X(cache_remove_pop) X(cache_removes) X(cache_remove_death) \
	X(cache_remove_death_made) X(cache_clear_death) X(destroy_death) X(destroy_death_made) \
	X(destroy_all) X(cache_starved) X(cache_put_starved) \
	X(exclusive_gets) X(exclusive_two) X(exclusive_made) X(exclusive_death) X(exclusive_death_made) \
	X(exclusive_death_two) X(exclusive_held) X(exclusive_held_one) X(exclusive_busy) \
	X(exclusive_fence) X(exclusive_fence_made) X(exclusive_put) X(exclusive_own) X(exclusive_cross) \
	X(exclusive_close) \
	X(garbage_bound) X(garbage_bound_three) X(garbage_wait) X(garbage_refuse) X(garbage_put) \
	X(garbage_get) \
	X(iterate_remove) X(iterate_death) X(iterate_deaths) X(iterate_replace) X(iterate_clear) \
	X(iterate_clear_deaths) X(iterate_end) X(iterate_cache_load) \
	X(over_remove_two) X(over_put_two) X(over_over_two) X(over_remove) X(over_remove_far) \
	X(over_remove_chain) X(over_clear) X(over_put) X(over_put_far) \
	X(over_put_chain) X(over_over) X(over_over_far) X(over_row) X(over_row_far) X(over_offer) X(over_death) \
	X(over_iterate) X(over_iterate_far) X(over_grow) X(over_grow_far) X(over_grow_put) \
	X(over_grow_remove) X(over_compute) X(compute_remove) \
	X(tier_evict_put) X(tier_evict_get) X(tier_evict_ask) X(tier_settle) X(tier_readmit) X(tier_readmit_two) \
	X(tier_readmit_exact) X(tier_readmit_again) X(tier_readmit_death) X(tier_cause) X(tier_cause_loaded) \
	X(tier_cause_back) X(tier_arrival) X(tier_replace) X(tier_clear) X(tier_clear_evict) X(tier_clear_replace) \
	X(tier_bound) \
	X(tier_recorded) X(tier_destroy) \
	X(hot_promoters) X(hot_gets) X(hot_upgrade) X(hot_remove) X(hot_remove_two) X(hot_evict) \
	X(hot_evict_two) X(hot_drain) X(hot_demoters) X(hot_again) X(hot_reuse) X(hot_exit) X(hot_death) X(hot_bury) X(hot_look) X(hot_look_drain) \
	X(expire_put) X(expire_get) X(expire_get_two) X(expire_touch) X(expire_touch_look) X(expire_same) \
	X(expire_death) X(expire_death_put) X(expire_remove) X(expire_sweeps) X(expire_settle) X(deadline_settle) \
	X(lapse_get) X(lapse_get_two) \
	X(negative_put) X(refresh_look) X(refresh_put) X(refresh_remove) \
	X(env_end) X(env_end_alone) X(env_end_handle) X(env_end_deferred) X(reclaim_two) X(reclaim_look) X(memory_again) \
	X(memory_again_three) X(memory_handle) X(thread_shares) X(thread_shares_two) X(thread_blocks) \
	X(env_two) \
	X(history_table) X(history_table_key) X(history_table_resized) X(history_table_long) \
	X(history_cache) X(history_cache_key) X(history_cache_long) \
	X(map_death_put) X(map_death_remove) X(map_death_pop) X(map_death_get) X(map_death_clear) X(map_death_end) \
	X(map_death_iterate) X(map_death_pop_any) X(map_death_clear_pop) X(map_death_put_clear) X(map_death_two) \
	X(map_death_copy) X(map_again) X(map_again_iterate) X(map_replace_get) X(map_replace_two) X(map_remove_get) \
	X(map_pop_two) X(map_put_pop) X(map_offer) X(map_offer_pop) X(set_death_pop) X(set_death_add) X(set_death_end) \
	X(set_death_clear) \
	X(memo_death_call) X(memo_death_two) X(memo_same) X(memo_find) X(memo_death_end) X(memo_death_hold) \
	X(memo_death_both) X(memo_death_end_two) X(memo_death_evict) X(memo_evict_two) X(memo_death_clear) \
	X(memo_death_clear_call) X(memo_death_clear_own) X(memo_death_clear_other) X(memo_clear_two) X(memo_forget) \
	X(memo_death_info) X(memo_again) \
	X(finalizer_run) X(finalizer_run_two) X(finalizer_detach) X(finalizer_detach_run) X(finalizer_drop) \
	X(finalizer_peek) X(finalizer_all) X(finalizer_all_two) X(bound_call) X(bound_deaths) X(bound_deaths_call) \
	X(bound_drop) X(bound_drop_deaths) X(bound_drop_call)
/* clang-format on */

#define DECLARE(name) extern const struct model_scenario model_##name;
SCENARIOS(DECLARE)

#define ADDRESS(name) &model_##name,
const struct model_scenario *const model_scenarios[] = {SCENARIOS(ADDRESS) NULL};
