/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model alone, without the rest of hapax-stress: builds in seconds. Same command line. */
#include <string.h>

int hpx_model_main(int argc, char **argv);

int main(int argc, char **argv)
{
	char *bare[] = {(char[]){"model"}, NULL};

	if (argc > 1 && !strcmp(argv[1], "model"))
		return hpx_model_main(argc - 1, argv + 1);
	if (argc > 0)
		argv[0] = bare[0];
	return argc > 0 ? hpx_model_main(argc, argv) : hpx_model_main(1, bare);
}
