/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int hpx_input_error(const char *command, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "hapax-stress %s: ", command);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return HPX_EXIT_INPUT;
}

static void print_help(const hpx_usage *usage)
{
	printf("Usage: hapax-stress %s [OPTIONS]%s%s\n\n%s\n\nOptions:\n", usage->command, usage->operands ? " " : "",
	       usage->operands ? usage->operands : "", usage->summary);
	for (const hpx_option *option = usage->options; option->name; option++) {
		char left[40];

		snprintf(left, sizeof(left), "--%s%s%s", option->name, option->metavar ? " " : "",
			 option->metavar ? option->metavar : "");
		printf("  %-20s %s\n", left, option->help);
	}
	printf("  %-20s %s\n\nExit status: 0 all promises held, 1 one was broken, 2 bad input or environment.\n",
	       "--help", "this text");
}

static bool in_range(const hpx_option *option, double value)
{
	return option->max == 0 || (value >= option->min && value <= option->max);
}

static int bad_value(const hpx_usage *usage, const hpx_option *option, const char *text, const char *what)
{
	if (option->max != 0)
		return hpx_input_error(usage->command, "--%s: '%s' is not %s from %.15g to %.15g", option->name, text,
				       what, option->min, option->max);
	return hpx_input_error(usage->command, "--%s: '%s' is not %s", option->name, text, what);
}

/* A whole number, or a number of bytes; -1: stored. */
static int store_number(const hpx_usage *usage, const hpx_option *option, const char *text)
{
	const char *what =
		option->kind == HPX_OPTION_BYTES ? "a number of bytes (k, M and G are understood)" : "a whole number";
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	unsigned long long number;
	unsigned shift = 0;
	char *end;

	/* strtoull takes signs and leading blanks */
	if (text[0] < '0' || text[0] > '9')
		return bad_value(usage, option, text, what);
	errno = 0;
	number = strtoull(text, &end, hex ? 16 : 10);
	if (errno)
		return bad_value(usage, option, text, what);
	if (option->kind == HPX_OPTION_BYTES && *end) {
		static const char units[] = "kKmMgG";
		const char *unit = strchr(units, *end);

		if (!unit || end[1])
			return bad_value(usage, option, text, what);
		shift = 10u * ((unsigned)(unit - units) / 2u + 1u);
		end++;
	}
	if (*end || (shift && number > UINT64_MAX >> shift))
		return bad_value(usage, option, text, what);
	number <<= shift;
	if (!in_range(option, (double)number))
		return bad_value(usage, option, text, what);
	*(uint64_t *)option->to = number;
	return -1;
}

static int store_in_list(const hpx_usage *usage, const hpx_option *option, const char *text)
{
	hpx_option_list *list = option->to;

	if (!*text)
		return hpx_input_error(usage->command, "--%s: the value is empty", option->name);
	if (list->count == HPX_OPTION_LIST_MOST)
		return hpx_input_error(usage->command, "--%s: given more than %d times", option->name,
				       HPX_OPTION_LIST_MOST);
	list->text[list->count++] = text;
	return -1;
}

static int store(const hpx_usage *usage, const hpx_option *option, const char *text)
{
	char *end;
	double real;

	switch (option->kind) {
	case HPX_OPTION_NUMBER:
	case HPX_OPTION_BYTES:
		return store_number(usage, option, text);
	case HPX_OPTION_REAL:
		real = strtod(text, &end);
		if (end == text || *end || !isfinite(real) || !in_range(option, real))
			return bad_value(usage, option, text, "a number");
		*(double *)option->to = real;
		return -1;
	case HPX_OPTION_TEXT:
		if (!*text)
			return hpx_input_error(usage->command, "--%s: the value is empty", option->name);
		*(const char **)option->to = text;
		return -1;
	case HPX_OPTION_LIST:
		return store_in_list(usage, option, text);
	case HPX_OPTION_FLAG:
		*(bool *)option->to = true;
		return -1;
	}
	return -1;
}

static const hpx_option *find_option(const hpx_option *options, const char *name, size_t length)
{
	for (; options->name; options++)
		if (strlen(options->name) == length && !memcmp(options->name, name, length))
			return options;
	return NULL;
}

int hpx_options_parse(const hpx_usage *usage, int argc, char **argv, const char **operand)
{
	const char *found = NULL;
	bool only_operands = false;

	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];
		const hpx_option *option;
		const char *value;
		size_t length;
		int status;

		if (only_operands || word[0] != '-' || !word[1]) {
			if (!usage->operands)
				return hpx_input_error(usage->command, "unexpected argument '%s' (see --help)", word);
			if (found)
				return hpx_input_error(usage->command, "one %s is enough: '%s' and '%s' were given",
						       usage->operands, found, word);
			found = word;
			continue;
		}
		if (!strcmp(word, "--")) {
			only_operands = true;
			continue;
		}
		if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
			print_help(usage);
			return HPX_EXIT_HELD;
		}
		length = strcspn(word, "=");
		option = word[1] == '-' ? find_option(usage->options, word + 2, length - 2) : NULL;
		if (!option)
			return hpx_input_error(usage->command, "unknown option '%.*s' (see --help)", (int)length, word);
		value = word[length] == '=' ? word + length + 1 : NULL;
		if (option->kind == HPX_OPTION_FLAG) {
			if (value)
				return hpx_input_error(usage->command, "--%s takes no value", option->name);
			value = "";
		} else if (!value) {
			if (++i == argc)
				return hpx_input_error(usage->command, "--%s needs a value", option->name);
			value = argv[i];
		}
		status = store(usage, option, value);
		if (status >= 0)
			return status;
	}
	if (usage->operands) {
		if (!found)
			return hpx_input_error(usage->command, "%s is missing (see --help)", usage->operands);
		*operand = found;
	}
	return -1;
}
