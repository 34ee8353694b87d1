/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

#include <stdarg.h>
#include <string.h>

const hpx_point *hpx_run_point(const hpx_run *run, const hpx_series *series, const hpx_contender *contender,
			       double fraction, unsigned threads)
{
	for (size_t i = 0; i < run->count; i++) {
		const hpx_point *point = &run->points[i];

		if (point->series == series && point->contender == contender && point->fraction == fraction &&
		    point->threads == threads)
			return point;
	}
	return NULL;
}

const hpx_point *hpx_run_lru(const hpx_run *run, const hpx_series *series, double fraction)
{
	for (size_t i = 0; i < run->count; i++) {
		const hpx_point *point = &run->points[i];

		if (point->series == series && point->fraction == fraction && point->threads == 1 &&
		    !strcmp(point->contender->name, "lru"))
			return point;
	}
	return NULL;
}

static void add(hpx_summary *sum, const hpx_series *series, double ratio, double byte_ratio, const hpx_point *lru)
{
	sum->points++;
	sum->mean_all += ratio;
	sum->mean_bytes += byte_ratio;
	if (series->production) {
		sum->production_points++;
		sum->mean_production += ratio;
	}
	if (lru) {
		double below = hpx_point_ratio(lru) - ratio;

		sum->compared++;
		if (below > HPX_POLICY_BELOW)
			sum->below++;
		if (below > sum->worst)
			sum->worst = below;
	}
}

static void divide(hpx_summary *sum)
{
	if (sum->points) {
		sum->mean_all /= sum->points;
		sum->mean_bytes /= sum->points;
	}
	if (sum->production_points)
		sum->mean_production /= sum->production_points;
}

hpx_summary hpx_run_summary(const hpx_run *run, const hpx_contender *contender, unsigned threads, bool weighted)
{
	hpx_summary sum = {0};

	for (size_t i = 0; i < run->count; i++) {
		const hpx_point *point = &run->points[i];

		if (point->contender != contender || point->threads != threads || point->series->weighted != weighted)
			continue;
		add(&sum, point->series, hpx_point_ratio(point), point->bytes > 0 ? point->hit_bytes / point->bytes : 0,
		    hpx_run_lru(run, point->series, point->fraction));
	}
	divide(&sum);
	return sum;
}

hpx_summary hpx_run_reference(const hpx_run *run, unsigned algorithm)
{
	hpx_summary sum = {0};

	/* every size of every trace has a point of exact LRU */
	for (size_t i = 0; i < run->count; i++) {
		const hpx_point *point = &run->points[i];
		const hpx_reference_row *row;

		if (point->series->weighted || point != hpx_run_lru(run, point->series, point->fraction))
			continue;
		row = hpx_reference_find(&run->input.reference, algorithm, point->series->name, point->fraction);
		if (row && row->size == point->size)
			add(&sum, point->series, row->ratio, 0, point);
	}
	divide(&sum);
	return sum;
}

void hpx_run_broken(hpx_run *run, const char *format, ...)
{
	va_list args;

	if (run->broken_used < sizeof(run->broken) / sizeof(run->broken[0])) {
		va_start(args, format);
		vsnprintf(run->broken[run->broken_used], sizeof(run->broken[0]), format, args);
		va_end(args);
	}
	run->broken_used++;
}
