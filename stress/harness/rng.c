/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rng.h"

#include <math.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

uint64_t hpx_checksum(const void *data, size_t size, uint64_t seed)
{
	const unsigned char *at = data;
	uint64_t sum = hpx_mix64(seed ^ size);
	uint64_t word;

	for (; size >= sizeof(word); at += sizeof(word), size -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sum = hpx_mix64(sum ^ word) + UINT64_C(0x9e3779b97f4a7c15);
	}
	word = 0;
	if (size)
		memcpy(&word, at, size);
	return hpx_mix64(sum ^ word);
}

uint64_t hpx_seed_random(void)
{
	struct timespec now;
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed))
		return seed;
	clock_gettime(CLOCK_REALTIME, &now);
	return hpx_mix64((uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec);
}

/* expm1(x) / x and log1p(x) / x, also where x is 0: they make exponent 1 no special case. */
static double expm1_over(double x) { return fabs(x) > 1e-8 ? expm1(x) / x : 1.0 + x / 2.0 * (1.0 + x / 3.0); }

static double log1p_over(double x) { return fabs(x) > 1e-8 ? log1p(x) / x : 1.0 - x * (0.5 - x / 3.0); }

/* The integral of x^-exponent, and its inverse. */
static double integral(const hpx_zipf *zipf, double x)
{
	double log_x = log(x);

	return expm1_over((1.0 - zipf->exponent) * log_x) * log_x;
}

static double integral_inverse(const hpx_zipf *zipf, double y)
{
	double t = y * (1.0 - zipf->exponent);

	if (t < -1.0)
		t = -1.0;
	return exp(log1p_over(t) * y);
}

void hpx_zipf_init(hpx_zipf *zipf, uint64_t n, double exponent)
{
	zipf->n = n;
	zipf->exponent = exponent;
	zipf->h_first = integral(zipf, 1.5) - 1.0;
	zipf->h_last = integral(zipf, (double)n + 0.5);
	zipf->shortcut = 2.0 - integral_inverse(zipf, integral(zipf, 2.5) - pow(2.0, -exponent));
}

uint64_t hpx_zipf_next(const hpx_zipf *zipf, hpx_rng *rng)
{
	for (;;) {
		double u = zipf->h_last + hpx_rng_unit(rng) * (zipf->h_first - zipf->h_last);
		double x = integral_inverse(zipf, u);
		double k = floor(x + 0.5);

		if (k < 1.0)
			k = 1.0;
		else if (k > (double)zipf->n)
			k = (double)zipf->n;
		if (k - x <= zipf->shortcut || u >= integral(zipf, k + 0.5) - pow(k, -zipf->exponent))
			return (uint64_t)k - 1;
	}
}
