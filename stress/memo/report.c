/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memo.h"

#include "harness/options.h"
#include "harness/report.h"

#include <json-c/json.h>
#include <string.h>

/* ---- for people -------------------------------------------------------------------------------------------------- */

static bool holds(const hpx_memo_row *row) { return row->ratio <= HPX_MEMO_BAR; }

static void hits_table(const struct hpx_memo_all *all, FILE *to)
{
	fprintf(to,
		"\nA hit and its release, processor time over that of a cache; medians of %llu rounds of %llu calls\n"
		"  %-26s %-18s %9s %8s %7s\n",
		(unsigned long long)all->order.rounds, (unsigned long long)all->order.calls, "", "over", "entries",
		"threads", "ratio");
	for (const hpx_memo_row *r = all->hits.row; r < all->hits.row + all->hits.used; r++) {
		if (r->subject == r->reference)
			continue;
		fprintf(to, "  %-26s %-18s %9llu %8u %7.2f", r->subject, r->reference, (unsigned long long)r->n,
			r->threads, r->ratio);
		if (r->judged)
			fprintf(to, "  at most %.1f: %s", HPX_MEMO_BAR, holds(r) ? "holds" : "MISSED");
		fputc('\n', to);
	}
}

static const char *const kinds[HPX_MEMO_KINDS] = {"that never called a memo", "that hold their result themselves",
						  "whose result a memo holds"};

static double mean(const hpx_memo_owners *o, unsigned kind)
{
	return o->deaths ? (double)o->total_ns[kind] / (double)o->deaths : 0;
}

static double over(double a, double b) { return b > 0 ? a / b : 0; }

static void memory_table(const hpx_memo_owners *o, FILE *to)
{
	char text[5][32];

	fprintf(to, "  memory of the environment: %s before, %s with all owners, %s after their death\n",
		hpx_bytes(text[0], (double)o->bytes_before), hpx_bytes(text[1], (double)o->bytes_with),
		hpx_bytes(text[2], (double)o->bytes_unused));
	fprintf(to, "  (tables shrink when used again), %s after %s, %llu bytes at its end\n",
		hpx_bytes(text[3], (double)o->bytes_after), "other owners came and went",
		(unsigned long long)o->bytes_end);
	fprintf(to, "  objects alive: %llu before, %llu after; results: %s, destroyed once %s\n",
		(unsigned long long)o->alive_before, (unsigned long long)o->alive_after,
		hpx_grouped(text[0], o->results), hpx_grouped(text[1], o->destroyed_once));
}

static void owners_table(const struct hpx_memo_all *all, FILE *to)
{
	const hpx_memo_owners *o = &all->owners;
	char text[4][32];

	fprintf(to, "\n%s owners of one result each die in random order, %llu threads; %llu generations\n",
		hpx_grouped(text[0], all->order.owners), (unsigned long long)all->order.threads,
		(unsigned long long)(all->order.generations - 1));
	fprintf(to, "  %-36s %10s %10s %10s %10s %7s\n", "one death of owners", "median", "p99", "longest", "mean", "ratio");
	for (unsigned k = 0; k < HPX_MEMO_KINDS; k++)
		fprintf(to, "  %-36s %10s %10s %10s %10s %7.2f\n", kinds[k],
			hpx_duration(text[0], (double)hpx_histogram_at(&o->death[k], 0.5)),
			hpx_duration(text[1], (double)hpx_histogram_at(&o->death[k], 0.99)),
			hpx_duration(text[2], (double)o->death[k].max), hpx_duration(text[3], mean(o, k)),
			over((double)hpx_histogram_at(&o->death[k], 0.5),
			     (double)hpx_histogram_at(&o->death[HPX_MEMO_PLAIN], 0.5)));
	memory_table(o, to);
	fprintf(to, "  one owner of %s results: %s for each at its death, %.2f times a release of as many objects\n",
		hpx_grouped(text[0], all->order.owned), hpx_duration(text[1], o->entry_ns),
		over(o->entry_ns, o->entry_plain_ns));
}

static void python_table(const struct hpx_memo_all *all, FILE *to)
{
	const hpx_memo_python *p = &all->python;
	char text[4][32];

	if (!p->used) {
		fprintf(to, "\nBeside CPython: not measured, %s\n", p->why_not);
		return;
	}
	fprintf(to, "\nBeside CPython %s, %llu threads of %s calls each, %s keys, Zipf 0.9; the function does next to nothing\n",
		p->version, (unsigned long long)all->order.threads, hpx_grouped(text[0], all->order.python_calls),
		hpx_grouped(text[1], all->order.python_keys));
	fputs(p->gil ? "  CPython's threads run one at a time: its global lock (GIL) serialises them.\n"
		     : "  This CPython runs without its global lock (GIL).\n",
	      to);
	fprintf(to, "  %-24s %10s %16s %12s %12s %7s %18s\n", "", "capacity", "calls per second", "hits", "misses", "ratio",
		"by processor time");
	for (const hpx_memo_python_row *r = p->row; r < p->row + p->used; r++)
		fprintf(to, "  %-24s %10s %16s %12s %12s %7.2f %18.2f\n", r->subject, hpx_grouped(text[0], r->capacity),
			hpx_grouped(text[1], (uint64_t)r->calls_per_second), hpx_grouped(text[2], r->hits),
			hpx_grouped(text[3], r->misses), r->ratio, r->cpu_ratio);
}

/* ---- for machines ------------------------------------------------------------------------------------------------ */

static void add_double(json_object *object, const char *name, double value)
{
	json_object_object_add(object, name, json_object_new_double(value));
}

static void add_text(json_object *object, const char *name, const char *value)
{
	json_object_object_add(object, name, json_object_new_string(value));
}

static json_object *hits_json(const hpx_memo_hits *hits)
{
	json_object *array = json_object_new_array();

	for (const hpx_memo_row *r = hits->row; r < hits->row + hits->used; r++) {
		json_object *o = json_object_new_object();

		add_text(o, "subject", r->subject);
		add_text(o, "reference", r->reference);
		hpx_json_count(o, "n", r->n);
		hpx_json_count(o, "threads", r->threads);
		add_double(o, "cpu_ns", r->ns);
		add_double(o, "ratio", r->ratio);
		json_object_array_add(array, o);
	}
	return array;
}

static json_object *bars_json(const hpx_memo_hits *hits)
{
	json_object *array = json_object_new_array();

	for (const hpx_memo_row *r = hits->row; r < hits->row + hits->used; r++) {
		json_object *o;
		char name[128];

		if (!r->judged)
			continue;
		snprintf(name, sizeof(name), "hit: %s over %s, n %llu, threads %u", r->subject, r->reference,
			 (unsigned long long)r->n, r->threads);
		o = json_object_new_object();
		add_text(o, "name", name);
		add_double(o, "ratio", r->ratio);
		add_double(o, "must", HPX_MEMO_BAR);
		json_object_object_add(o, "holds", json_object_new_boolean(holds(r)));
		json_object_array_add(array, o);
	}
	return array;
}

static json_object *owners_json(const struct hpx_memo_all *all)
{
	static const char *const names[HPX_MEMO_KINDS] = {"plain", "holding", "memo"};
	const hpx_memo_owners *o = &all->owners;
	json_object *object = json_object_new_object();

	hpx_json_count(object, "owners", all->order.owners);
	hpx_json_count(object, "deaths", o->deaths);
	for (unsigned k = 0; k < HPX_MEMO_KINDS; k++) {
		json_object *death = hpx_latency_json(&o->death[k]);

		add_double(death, "mean", mean(o, k));
		add_double(death, "ratio",
			   over((double)hpx_histogram_at(&o->death[k], 0.5),
				(double)hpx_histogram_at(&o->death[HPX_MEMO_PLAIN], 0.5)));
		add_double(death, "mean_ratio", over(mean(o, k), mean(o, HPX_MEMO_PLAIN)));
		json_object_object_add(object, names[k], death);
	}
	hpx_json_count(object, "results", o->results);
	hpx_json_count(object, "destroyed_once", o->destroyed_once);
	hpx_json_count(object, "destroyed_more", o->destroyed_twice);
	hpx_json_count(object, "not_destroyed", o->not_destroyed);
	hpx_json_count(object, "bytes_before", o->bytes_before);
	hpx_json_count(object, "bytes_with_owners", o->bytes_with);
	hpx_json_count(object, "bytes_unused", o->bytes_unused);
	hpx_json_count(object, "bytes_after", o->bytes_after);
	hpx_json_count(object, "bytes_at_end", o->bytes_end);
	hpx_json_count(object, "alive_before", o->alive_before);
	hpx_json_count(object, "alive_after", o->alive_after);
	hpx_json_count(object, "drain_ns", o->drain_ns);
	hpx_json_count(object, "entries_of_one", all->order.owned);
	add_double(object, "ns_per_entry_of_one", o->entry_ns);
	add_double(object, "ns_per_entry_of_one_ratio", over(o->entry_ns, o->entry_plain_ns));
	return object;
}

static json_object *python_json(const struct hpx_memo_all *all)
{
	const hpx_memo_python *p = &all->python;
	json_object *object = json_object_new_object(), *array = json_object_new_array();

	json_object_object_add(object, "ran", json_object_new_boolean(p->used != 0));
	add_text(object, p->used ? "version" : "why_not", p->used ? p->version : p->why_not);
	if (p->used)
		json_object_object_add(object, "gil", json_object_new_boolean(p->gil));
	hpx_json_count(object, "keys", all->order.python_keys);
	hpx_json_count(object, "calls_per_thread", all->order.python_calls);
	for (const hpx_memo_python_row *r = p->row; r < p->row + p->used; r++) {
		json_object *o = json_object_new_object();

		add_text(o, "subject", r->subject);
		hpx_json_count(o, "capacity", r->capacity);
		add_double(o, "seconds", r->seconds);
		add_double(o, "calls_per_second", r->calls_per_second);
		hpx_json_count(o, "hits", r->hits);
		hpx_json_count(o, "misses", r->misses);
		add_double(o, "ratio", r->ratio);
		add_double(o, "cpu_ns_per_call", r->cpu_ns);
		add_double(o, "cpu_ratio", r->cpu_ratio);
		json_object_array_add(array, o);
	}
	json_object_object_add(object, "rows", array);
	return object;
}

static int write_json(const struct hpx_memo_all *all, const char *path)
{
	json_object *object = json_object_new_object(), *said = json_object_new_array();
	const hpx_result *result = &all->result;
	int status;

	add_text(object, "command", "memo");
	add_text(object, "version", hapax_version());
	hpx_json_count(object, "seed", result->seed);
	hpx_json_count(object, "threads", result->threads);
	add_double(object, "seconds", result->seconds);
	json_object_object_add(object, "ok", json_object_new_boolean(!result->broken_used));
	hpx_json_count(object, "rounds", all->order.rounds);
	hpx_json_count(object, "calls", all->order.calls);
	json_object_object_add(object, "hits", hits_json(&all->hits));
	json_object_object_add(object, "bars", bars_json(&all->hits));
	json_object_object_add(object, "owners", owners_json(all));
	json_object_object_add(object, "python", python_json(all));
	for (unsigned i = 0; i < result->broken_used && i < HPX_RESULT_BROKEN; i++)
		json_object_array_add(said, json_object_new_string(result->broken[i]));
	json_object_object_add(object, "broken", said);
	status = hpx_json_write("memo", object, path);
	json_object_put(object);
	return status;
}

int hpx_memo_report(const struct hpx_memo_all *all, const char *json)
{
	const hpx_result *result = &all->result;
	FILE *to = hpx_human(json);
	int written = 0;

	fprintf(to, "\nhapax-stress memo, hapax %s, seed 0x%llx, %.1f s\n", hapax_version(),
		(unsigned long long)result->seed, result->seconds);
	hits_table(all, to);
	owners_table(all, to);
	python_table(all, to);
	for (unsigned i = 0; i < result->broken_used && i < HPX_RESULT_BROKEN; i++)
		fprintf(to, "  broken: %s\n", result->broken[i]);
	fputs(result->broken_used ? "\nPromises were broken, see above.\n" : "\nAll promises held.\n", to);
	fflush(to);
	if (json)
		written = write_json(all, json);
	return result->broken_used ? HPX_EXIT_BROKEN : written;
}
