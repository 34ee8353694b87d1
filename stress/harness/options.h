/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * options.h - command lines: "--name value" or "--name=value", checked against a table, with errors that say what is
 * wrong with which option.
 */
#ifndef HPX_STRESS_OPTIONS_H
#define HPX_STRESS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* Exit statuses, everywhere. */
enum { HPX_EXIT_HELD = 0, HPX_EXIT_BROKEN = 1, HPX_EXIT_INPUT = 2 };

typedef enum hpx_option_kind {
	HPX_OPTION_NUMBER, /* uint64_t; decimal or 0x... */
	HPX_OPTION_BYTES,  /* uint64_t; a number with an optional k, M or G (powers of 1024) */
	HPX_OPTION_REAL,   /* double */
	HPX_OPTION_TEXT,   /* const char *; not empty */
	HPX_OPTION_LIST,   /* hpx_option_list; may be given again; not empty */
	HPX_OPTION_FLAG	   /* bool; takes no value */
} hpx_option_kind;

enum { HPX_OPTION_LIST_MOST = 64 };

typedef struct hpx_option_list {
	unsigned count;
	const char *text[HPX_OPTION_LIST_MOST];
} hpx_option_list;

typedef struct hpx_option {
	const char *name; /* without the dashes; NULL ends a table */
	hpx_option_kind kind;
	void *to;	     /* keeps its default when the option is not given */
	double min, max;     /* inclusive; for numbers. max 0: no limits */
	const char *metavar; /* for --help */
	const char *help;
} hpx_option;

typedef struct hpx_usage {
	const char *command;  /* "files" */
	const char *summary;  /* a sentence or several, for --help */
	const char *operands; /* "FILE", or NULL for none */
	const hpx_option *options;
} hpx_usage;

/*
 * argv[0] is the sub-command. Returns -1: go on; otherwise leave with that exit status (--help was printed, or an error
 * was). With `operands` in the usage exactly one operand is required and stored in *operand.
 */
int hpx_options_parse(const hpx_usage *usage, int argc, char **argv, const char **operand);

/* Writes "hapax-stress COMMAND: " and the message to standard error. Returns HPX_EXIT_INPUT. */
int hpx_input_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
