/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* alone.c - the torture as a program of its own, for builds that leave the rest of hapax-stress out. */
#include "torture.h"

#include <string.h>

#ifdef HPX_TORTURE_ALONE
int main(int argc, char **argv)
{
	bool named = argc > 1 && !strcmp(argv[1], "torture");

	return hpx_torture_main(argc - named, argv + named);
}
#endif
