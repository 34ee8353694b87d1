/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/status.c - names and sentences of statuses, the version. */
#include <hapax/base.h>
#include <hapax/status.h>

const char *hapax_version(void) { return HAPAX_VERSION_STRING; }

const char *hapax_status_name(int status)
{
	switch (status) {
#define NAME(name, value, text)                                                                                        \
	case (value):                                                                                                  \
		return #name;
		HAPAX_STATUS_LIST(NAME)
#undef NAME
	default:
		return "HAPAX_UNKNOWN";
	}
}

const char *hapax_status_text(int status)
{
	switch (status) {
#define TEXT(name, value, text)                                                                                        \
	case (value):                                                                                                  \
		return text;
		HAPAX_STATUS_LIST(TEXT)
#undef TEXT
	default:
		return "not a status of hapax";
	}
}
