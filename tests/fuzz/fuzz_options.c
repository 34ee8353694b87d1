/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz/fuzz_options.c - the parser of command lines (stress/harness/options.c) against a second one that decides from the
 * text, character by character, what each word means.
 *
 * The input is the words, each ended by a zero byte. The first byte says whether there is an operand.
 */
#include <errno.h>
#include <math.h>

#include "fuzz/fuzz.h"

/* Messages go nowhere. */
static FILE *nowhere(void)
{
	static FILE *file;

	if (!file)
		file = fopen("/dev/null", "w");
	FUZZ_CHECK(file, "/dev/null");
	return file;
}
#pragma push_macro("stderr")
#pragma push_macro("stdout")
#undef stderr
#undef stdout
#define stderr nowhere()
#define stdout nowhere()
#define printf(...) fprintf(nowhere(), __VA_ARGS__)
#include "harness/options.c"
#undef printf
#pragma pop_macro("stderr")
#pragma pop_macro("stdout")

enum { WORDS = 16 };

struct values {
	uint64_t number, limited, bytes;
	double real;
	const char *text;
	bool flag;
};

/* ---- the second parser -------------------------------------------------------------------------------------------- */

/* Digits in base 10 or, after 0x, 16. False: not a number, or above 64 bits. */
static bool digits(const char **at, uint64_t *out)
{
	const char *p = *at;
	unsigned base = 10, n = 0;
	uint64_t value = 0;

	/* "0x" alone is the number 0 and an x */
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		base = 16;
		p += 2;
	}
	for (;; p++, n++) {
		unsigned digit = *p >= '0' && *p <= '9' ? (unsigned)(*p - '0') :
				 *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a') + 10 :
				 *p >= 'A' && *p <= 'F' ? (unsigned)(*p - 'A') + 10 : 99;

		if (digit >= base)
			break;
		if (value > (UINT64_MAX - digit) / base)
			return false;
		value = value * base + digit;
	}
	if (!n)
		return false;
	*at = p;
	*out = value;
	return true;
}

static bool whole(const char *text, bool units, uint64_t *out)
{
	uint64_t n;
	unsigned shift;

	if (!digits(&text, &n))
		return false;
	if (*text && units) {
		shift = *text == 'k' || *text == 'K' ? 10 : *text == 'm' || *text == 'M' ? 20 :
			*text == 'g' || *text == 'G' ? 30 : 0;
		if (!shift || n >> (64 - shift))
			return false;
		n <<= shift;
		text++;
	}
	*out = n;
	return !*text;
}

static bool real(const char *text, double *out)
{
	char *end;

	*out = strtod(text, &end);
	return end != text && !*end && isfinite(*out);
}

/* -1: as good as it gets; otherwise the exit status. */
static int expect(char **words, int n, bool wants_operand, struct values *v, const char **operand)
{
	bool over = false;

	for (int i = 0; i < n; i++) {
		char *w = words[i], *value, name[80];
		size_t length = strcspn(w, "=");

		if (over || *w != '-' || !w[1]) {
			if (!wants_operand || *operand)
				return 2;
			*operand = w;
			continue;
		}
		if (!strcmp(w, "--")) {
			over = true;
			continue;
		}
		if (!strcmp(w, "--help") || !strcmp(w, "-h"))
			return 0;
		if (length >= sizeof(name))
			return 2;
		memcpy(name, w, length);
		name[length] = 0;
		value = w[length] ? w + length + 1 : NULL;
		if (!strcmp(name, "--flag")) {
			if (value)
				return 2;
			v->flag = true;
			continue;
		}
		if (strcmp(name, "--number") && strcmp(name, "--limited") && strcmp(name, "--bytes") &&
		    strcmp(name, "--real") && strcmp(name, "--text"))
			return 2;
		if (!value && ++i == n)
			return 2;
		if (!value)
			value = words[i];
		switch (name[2]) {
		case 'n': if (!whole(value, false, &v->number)) return 2; break;
		case 'l': if (!whole(value, false, &v->limited) || v->limited < 3 || v->limited > 64) return 2; break;
		case 'b': if (!whole(value, true, &v->bytes) || v->bytes > (UINT64_C(1) << 40)) return 2; break;
		case 'r': if (!real(value, &v->real) || v->real < 0.5 || v->real > 2) return 2; break;
		default: if (!*value) return 2; v->text = value;
		}
	}
	return wants_operand && !*operand ? 2 : -1;
}

/* ---- both --------------------------------------------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct values got = {.number = 7, .limited = 7, .bytes = 7, .real = 1}, expected = got;
	const hpx_option options[] = {
		{"number", HPX_OPTION_NUMBER, &got.number, 0, 0, "N", "a number"},
		{"limited", HPX_OPTION_NUMBER, &got.limited, 3, 64, "N", "a number from 3 to 64"},
		{"bytes", HPX_OPTION_BYTES, &got.bytes, 0, (double)(UINT64_C(1) << 40), "BYTES", "so many"},
		{"real", HPX_OPTION_REAL, &got.real, 0.5, 2, "X", "a factor"},
		{"text", HPX_OPTION_TEXT, &got.text, 0, 0, "TEXT", "a text"},
		{"flag", HPX_OPTION_FLAG, &got.flag, 0, 0, NULL, "on"},
		{NULL, HPX_OPTION_FLAG, NULL, 0, 0, NULL, NULL},
	};
	bool wants_operand = size && data[0] & 1;
	const hpx_usage usage = {"fuzz", "Nothing.", wants_operand ? "FILE" : NULL, options};
	const char *operand = NULL, *expected_operand = NULL;
	char *copy, *words[WORDS + 2] = {(char[]){"fuzz"}};
	int n = 1, status, should;

	if (size < 2)
		return 0;
	copy = malloc(size);
	FUZZ_CHECK(copy, "memory");
	memcpy(copy, data + 1, size - 1);
	copy[size - 1] = 0;
	for (size_t at = 0; at < size && n <= WORDS; at += strlen(copy + at) + 1)
		words[n++] = copy + at;
	status = hpx_options_parse(&usage, n, words, &operand);
	should = expect(words + 1, n - 1, wants_operand, &expected, &expected_operand);
	FUZZ_CHECK(status == should, "%d, not %d", status, should);
	if (status < 0) {
		FUZZ_CHECK(operand == expected_operand, "the operand");
		FUZZ_CHECK(got.number == expected.number + fuzz_wrong("NUMBER") && got.limited == expected.limited &&
			   got.bytes == expected.bytes, "numbers");
		FUZZ_CHECK(got.real >= 0.5 && got.real <= 2 && !(got.real < expected.real) && !(got.real > expected.real),
			   "reals");
		FUZZ_CHECK(got.text == expected.text && got.flag == expected.flag, "text or flag");
	}
	free(copy);
	return 0;
}
