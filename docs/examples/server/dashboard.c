/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dashboard.h"

__asm__(".section .rodata\n"
	".global dashboard, dashboard_size\n"
	".balign 8\n"
	"dashboard_size: .quad 2f - 1f\n"
	"dashboard:\n"
	"1: .incbin \"" DASHBOARD_FILE "\"\n"
	"2: .byte 0\n"
	".previous\n");
