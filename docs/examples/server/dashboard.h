/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page that is served from /: dashboard.html, which the build puts into the program. */
#ifndef SERVER_DASHBOARD_H
#define SERVER_DASHBOARD_H

#include <stddef.h>

extern const char dashboard[];
extern const size_t dashboard_size;

#endif
