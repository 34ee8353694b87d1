/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reclaim/synchronize.c - waiting for readers on the spot, for those who may. */
#include "reclaim/internal.h"

void hpx_synchronize(void)
{
	if (!hpx_in_section())
		hpx_gp_run();
}
