/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "own_sections.h"

#include <urcu-bp.h>

void own_sections_begin(void) { own_memb_begin(); }
void own_sections_end(void) { own_memb_end(); }

void own_sections_enter(void)
{
	rcu_read_lock();
	own_memb_enter();
}

void own_sections_leave(void)
{
	own_memb_leave();
	rcu_read_unlock();
}

void own_sections_synchronize(void)
{
	own_memb_synchronize();
	synchronize_rcu();
}
