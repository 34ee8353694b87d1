/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reclaim/synchronize.c - waiting for readers on the spot, for those who may. */
#include "reclaim/internal.h"

void hpx_synchronize(void)
{
	if (hpx_in_section())
		return;
	hpx_gp_run();
	if (hpx_gp_due()) /* others' work, which this grace period may have made possible */
		hpx_gp_wake(NULL);
}
