/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* support/main.c - linked into programs that have no main() of their own. */
#include "support/runner.h"

int main(int argc, char **argv)
{
	return test_main(argc, argv);
}
