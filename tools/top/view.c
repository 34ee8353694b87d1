/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "view.h"

#include <hapax/base.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define KEYS 5 /* of each cache in plain text */
#define NAME_CELLS 60

/* ---- the columns of the caches ----------------------------------------------------------------------------------- */

struct column {
	const char *title;
	unsigned width, need; /* need: shown on screens at least this wide */
	void (*cell)(char *buffer, size_t room, const struct cache *c);
};

static void cell_id(char *b, size_t n, const struct cache *c) { snprintf(b, n, "%" PRIu64, c->id); }
static void cell_kind(char *b, size_t n, const struct cache *c)
{
	snprintf(b, n, "%s", c->kind.n == 5 && !memcmp(c->kind.at, "cache", 5) ? "cache"
			   : c->kind.n == 4 && !memcmp(c->kind.at, "memo", 4) ? "memo" : "?");
}
static void cell_gets(char *b, size_t n, const struct cache *c) { human_number(b, n, c->gets, true); }
static void cell_hit(char *b, size_t n, const struct cache *c) { human_percent(b, n, c->hit_share); }
static void cell_ever(char *b, size_t n, const struct cache *c) { human_percent(b, n, c->hit_share_ever); }
static void cell_loads(char *b, size_t n, const struct cache *c) { human_number(b, n, c->load_rate, true); }
static void cell_loading(char *b, size_t n, const struct cache *c) { human_number(b, n, (double)c->loading, false); }
static void cell_longest(char *b, size_t n, const struct cache *c)
{
	const struct flight *f = longest_flight(c);

	if (!f) {
		snprintf(b, n, "-");
		return;
	}
	if (!f->exact)
		*b++ = '>', n--;
	human_ns(b, n, f->age_ns);
}
static void cell_present(char *b, size_t n, const struct cache *c) { human_number(b, n, (double)c->present, false); }
static void cell_held(char *b, size_t n, const struct cache *c)
{
	char held[HUMAN], bound[HUMAN];
	bool by_weight = !c->bounded && c->weighed;

	human_number(held, sizeof(held), (double)(by_weight ? c->weight : c->retained), false);
	if (c->bounded || c->weighed)
		human_number(bound, sizeof(bound), (double)(by_weight ? c->bound_weight : c->bound), false);
	else
		strcpy(bound, "-");
	snprintf(b, n, "%s/%s%s", held, bound, by_weight ? "w" : "");
}
static void cell_demoted(char *b, size_t n, const struct cache *c) { human_number(b, n, (double)c->demoted, false); }
static void cell_evictions(char *b, size_t n, const struct cache *c) { human_number(b, n, c->eviction_rate, true); }
static void cell_stale(char *b, size_t n, const struct cache *c) { human_number(b, n, c->stale_rate, true); }
static void cell_negative(char *b, size_t n, const struct cache *c) { human_number(b, n, c->negative_rate, true); }

/* The name comes last: it alone may have blanks and any length. */
static const struct column columns[] = {
	{"ID", 4, 0, cell_id},
	{"KIND", 5, 130, cell_kind},
	{"GETS/s", 7, 0, cell_gets},
	{"HIT%", 5, 0, cell_hit},
	{"EVER%", 5, 90, cell_ever},
	{"LOADS/s", 7, 0, cell_loads},
	{"LOADING", 7, 0, cell_loading},
	{"LONGEST", 8, 0, cell_longest},
	{"PRESENT", 7, 0, cell_present},
	{"HELD/BOUND", 12, 80, cell_held},
	{"DEMOTED", 7, 100, cell_demoted},
	{"EVICT/s", 7, 110, cell_evictions},
	{"STALE/s", 7, 120, cell_stale},
	{"NEG/s", 6, 120, cell_negative},
};
#define COLUMNS (sizeof(columns) / sizeof(*columns))

static unsigned put_titles(struct text *out, unsigned width)
{
	unsigned used = 0;
	size_t i;

	for (i = 0; i < COLUMNS; i++)
		if (width >= columns[i].need) {
			text_printf(out, "%*s ", (int)columns[i].width, columns[i].title);
			used += columns[i].width + 1;
		}
	return used;
}

/* Returns the columns used; a cell that is too long moves what follows. */
static unsigned put_cells(struct text *out, const struct cache *c, unsigned width)
{
	char cell[2 * HUMAN + 8];
	unsigned used = 0;
	size_t i;

	for (i = 0; i < COLUMNS; i++)
		if (width >= columns[i].need) {
			columns[i].cell(cell, sizeof(cell), c);
			text_printf(out, "%*s ", (int)columns[i].width, cell);
			used += (unsigned)(strlen(cell) > columns[i].width ? strlen(cell) : columns[i].width) + 1;
		}
	return used;
}

/* ---- lines that both forms have ---------------------------------------------------------------------------------- */

static void put_process(struct text *out, const struct snapshot *s, pid_t pid)
{
	char age[HUMAN], when[32] = "";
	time_t seconds = (time_t)(s->time_ns / 1000000000u);
	struct tm local;
	size_t memos = 0, i;
	uint64_t up = process_age_ns(pid);

	for (i = 0; i < s->ncaches; i++)
		memos += s->caches[i].kind.n == 4 && !memcmp(s->caches[i].kind.at, "memo", 4);
	if (localtime_r(&seconds, &local))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &local);
	text_printf(out, "%s  process %d ", when, (int)pid);
	text_foreign(out, s->program, 32);
	text_put(out, ", hapax ");
	text_foreign(out, s->version, 16);
	if (up)
		text_printf(out, ", up %s", human_ns(age, sizeof(age), up));
	text_printf(out, ", %zu cache%s, %zu memo%s", s->ncaches - memos, s->ncaches - memos == 1 ? "" : "s", memos,
		    memos == 1 ? "" : "s");
	if (s->truncated)
		text_put(out, " (and more, for which its segment has no room)");
}

static void put_environment(struct text *out, const struct environment *e)
{
	char garbage[HUMAN], bound[HUMAN], peak[HUMAN], rate[HUMAN];

	text_printf(out, "env %" PRIu64 ": garbage %s of %s (peak %s), grace periods %s/s, waited %" PRIu64 ", refused %" PRIu64
		    ", stalls %" PRIu64, e->id, human_bytes(garbage, sizeof(garbage), e->garbage),
		    human_bytes(bound, sizeof(bound), e->bound), human_bytes(peak, sizeof(peak), e->peak),
		    human_number(rate, sizeof(rate), e->grace_rate, true), e->waits, e->refusals, e->stalls);
	if (!e->stalled_tid)
		return;
	if (e->stalled_tid < 0) {
		text_put(out, ", last by a thread that is foreign to hapax");
		return;
	}
	text_printf(out, ", last by thread %" PRId64, e->stalled_tid);
	if (e->stalled_name.n) {
		text_put(out, " (");
		text_foreign(out, e->stalled_name, 16);
		text_put(out, ")");
	}
}

static void put_flight(struct text *out, const struct flight *f)
{
	char age[HUMAN];

	human_ns(age, sizeof(age), f->age_ns);
	text_printf(out, "%*s%s ", 9 - (int)strlen(age), f->exact ? "" : ">", age);
	if (f->tid > 0)
		text_printf(out, "%8" PRId64, f->tid);
	else /* it waits to be run, or its outcome is somebody's promise */
		text_printf(out, "%8s", "-");
	text_printf(out, " %7" PRIu64 "  ", f->waiters);
}

static void put_key(struct text *out, const struct hot_key *k)
{
	char share[HUMAN], samples[HUMAN];

	text_printf(out, "%6s %8s  ", human_percent(share, sizeof(share), k->share),
		    human_number(samples, sizeof(samples), (double)k->samples, false));
}

/* ---- plain ------------------------------------------------------------------------------------------------------- */

static void plain_types(struct text *out, const struct snapshot *s)
{
	char alive[HUMAN], born[HUMAN];
	bool title = false;
	size_t i, j;

	for (i = 0; i < s->nenvironments; i++)
		for (j = 0; j < s->environments[i].ntypes; j++) {
			const struct type *t = &s->environments[i].types[j];

			if (!title)
				text_printf(out, "\n%4s %7s %7s  %s\n", "ENV", "ALIVE", "BORN", "TYPE");
			title = true;
			text_printf(out, "%4" PRIu64 " %7s %7s  ", s->environments[i].id,
				    human_number(alive, sizeof(alive), (double)t->alive, false),
				    human_number(born, sizeof(born), (double)t->born, false));
			text_foreign(out, t->name, NAME_CELLS);
			text_put(out, "\n");
		}
}

static void plain_hottest(struct text *out, const struct snapshot *s)
{
	bool title = false;
	size_t i, j;

	for (i = 0; i < s->ncaches; i++)
		for (j = 0; j < s->caches[i].nhottest && j < KEYS; j++) {
			if (!title)
				text_printf(out, "\n%4s %6s %8s  %s\n", "ID", "SHARE%", "SAMPLES", "HOTTEST KEYS");
			title = true;
			text_printf(out, "%4" PRIu64 " ", s->caches[i].id);
			put_key(out, &s->caches[i].hottest[j]);
			text_foreign(out, s->caches[i].hottest[j].key, NAME_CELLS);
			text_put(out, "\n");
		}
}

static void plain_flights(struct text *out, const struct snapshot *s)
{
	bool title = false;
	size_t i, j;

	for (i = 0; i < s->ncaches; i++)
		for (j = 0; j < s->caches[i].nflights && j < KEYS; j++) {
			const struct flight *f = &s->caches[i].flights[j];

			if (!title)
				text_printf(out, "\n%4s %9s %8s %7s  %s\n", "ID", "AGE", "THREAD", "WAITERS", "LONGEST FLIGHTS");
			title = true;
			text_printf(out, "%4" PRIu64 " ", s->caches[i].id);
			put_flight(out, f);
			text_foreign(out, f->key, NAME_CELLS);
			text_put(out, "\n");
		}
}

void view_plain(struct text *out, const struct snapshot *s, pid_t pid)
{
	size_t i;

	put_process(out, s, pid);
	text_put(out, "\n");
	for (i = 0; i < s->nenvironments; i++) {
		put_environment(out, &s->environments[i]);
		text_put(out, "\n");
	}
	text_put(out, "\n");
	put_titles(out, UINT32_MAX);
	text_put(out, " NAME\n");
	for (i = 0; i < s->ncaches; i++) {
		put_cells(out, &s->caches[i], UINT32_MAX);
		text_put(out, " ");
		text_foreign(out, s->caches[i].name, NAME_CELLS);
		text_put(out, "\n");
	}
	plain_types(out, s);
	plain_hottest(out, s);
	plain_flights(out, s);
}

/* ---- one screen -------------------------------------------------------------------------------------------------- */

/* The lines of a screen: each is made in `line`, cut to the width and written with its attribute. */
struct canvas {
	struct text *out, line;
	const struct screen *screen;
	unsigned row;
};

static void line_end(struct canvas *v, const char *attribute)
{
	bool marked = v->screen->attributes && *attribute;

	if (v->row < v->screen->rows) {
		if (v->row)
			text_put(v->out, "\r\n");
		text_put(v->out, "\033[K"); /* first: at the end of a full line it would take the last character */
		if (marked)
			text_printf(v->out, "\033[%sm", attribute);
		/* made of parts that are fit already: this cuts */
		text_foreign(v->out, (struct foreign){v->line.at, v->line.n}, v->screen->columns);
		if (marked)
			text_put(v->out, "\033[0m");
	}
	v->row++;
	v->line.n = 0;
}

static unsigned rows_left(const struct canvas *v)
{
	return v->row < v->screen->rows ? v->screen->rows - v->row : 0;
}

static void screen_types(struct canvas *v, const struct environment *e)
{
	char alive[HUMAN];
	size_t i;

	text_printf(&v->line, "env %" PRIu64 ": alive:", e->id);
	for (i = 0; i < e->ntypes && v->line.n < 4 * (size_t)v->screen->columns; i++) {
		text_put(&v->line, i ? ", " : " ");
		text_foreign(&v->line, e->types[i].name, 24);
		text_printf(&v->line, " %s", human_number(alive, sizeof(alive), (double)e->types[i].alive, false));
	}
	line_end(v, "");
}

static void screen_caches(struct canvas *v, struct screen *screen, const struct snapshot *s, unsigned rows)
{
	unsigned width = screen->columns, used;
	size_t i, at = 0;

	for (i = 0; i < s->ncaches; i++)
		if (s->caches[i].id == screen->selected)
			at = i;
	if (screen->first > at)
		screen->first = at;
	if (rows && at >= screen->first + rows)
		screen->first = at - rows + 1;
	if (screen->first + rows > s->ncaches)
		screen->first = s->ncaches > rows ? s->ncaches - rows : 0;
	text_put(&v->line, " ");
	used = put_titles(&v->line, width - 1);
	text_printf(&v->line, " NAME%s (by %s%s)", screen->first || s->ncaches > rows ? " ..." : "", order_names[screen->order],
		    screen->reverse ? ", reversed" : "");
	line_end(v, "7");
	for (i = screen->first; i < s->ncaches && i < screen->first + rows; i++) {
		const struct cache *c = &s->caches[i];
		bool selected = screen->has_selected && c->id == screen->selected;
		const struct flight *f = longest_flight(c);

		text_put(&v->line, selected ? ">" : " ");
		used = put_cells(&v->line, c, width - 1) + 2;
		text_put(&v->line, " ");
		text_foreign(&v->line, c->name, width > used ? width - used : 0);
		/* a load that takes long stands out */
		line_end(v, f && f->age_ns >= 1000000000u ? selected ? "1;33" : "33" : selected ? "1" : "");
	}
}

static void screen_details(struct canvas *v, const struct cache *c)
{
	char number[HUMAN], other[HUMAN];
	size_t i, keys;

	line_end(v, "");
	text_put(&v->line, "cache ");
	text_foreign(&v->line, c->name, v->screen->columns / 3);
	if (c->counted)
		text_printf(&v->line, ": %s loads, %s failed", human_number(number, sizeof(number), (double)c->loads, false),
			    human_number(other, sizeof(other), (double)c->load_failures, false));
	else
		text_put(&v->line, ": keeps no statistics");
	if (c->loads)
		text_printf(&v->line, ", %s each", human_ns(number, sizeof(number), c->load_ns / c->loads));
	if (c->weighed)
		text_printf(&v->line, ", weight %s of %s", human_number(number, sizeof(number), (double)c->weight, false),
			    human_number(other, sizeof(other), (double)c->bound_weight, false));
	line_end(v, "1");
	if (c->nflights) {
		text_printf(&v->line, "%10s %8s %7s  %s", "AGE", "THREAD", "WAITERS", "LONGEST FLIGHTS");
		line_end(v, "4");
		/* the keys get half of what is left, if they need it */
		keys = c->nhottest ? (c->nhottest + 1 < rows_left(v) / 2 ? c->nhottest + 1 : rows_left(v) / 2) : 0;
		for (i = 0; i < c->nflights && rows_left(v) > keys; i++) {
			text_put(&v->line, " ");
			put_flight(&v->line, &c->flights[i]);
			text_foreign(&v->line, c->flights[i].key, v->screen->columns);
			line_end(v, c->flights[i].age_ns >= 1000000000u ? "33" : "");
		}
	}
	text_printf(&v->line, "%10s %8s  HOTTEST KEYS", "SHARE%", "SAMPLES");
	if (c->sampled_one_in)
		text_printf(&v->line, " (one get in %" PRIu64 " is looked at)", c->sampled_one_in);
	line_end(v, "4");
	for (i = 0; i < c->nhottest && rows_left(v); i++) {
		text_put(&v->line, "    ");
		put_key(&v->line, &c->hottest[i]);
		text_foreign(&v->line, c->hottest[i].key, v->screen->columns);
		line_end(v, "");
	}
}

static void screen_help(struct canvas *v)
{
	static const char *const lines[] = {
		"Up, Down, k, j     select a cache; its flights and hottest keys are shown below",
		"1 ... 9            select the first ... ninth cache shown",
		"g h l f p d e n i  order by gets, hit share (least first), loads, longest flight,",
		"                   present, demoted, evictions, name, id",
		"r                  the other way round",
		"?                  this text, and back",
		"q                  quit",
	};
	size_t i;

	line_end(v, "");
	for (i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		text_put(&v->line, lines[i]);
		line_end(v, "");
	}
}

void view_screen(struct text *out, struct screen *screen, const struct snapshot *s, pid_t pid)
{
	struct canvas v = {.out = out, .screen = screen};
	const struct cache *chosen = NULL;
	unsigned rows;
	size_t i;

	text_put(out, "\033[H");
	if (*screen->message) {
		text_put(&v.line, screen->message);
		line_end(&v, "1;31");
	}
	if (!s) {
		text_printf(&v.line, "hapax-top %s: process %d, waiting for its figures (q quits)", HAPAX_VERSION_STRING, (int)pid);
		line_end(&v, "1");
	} else {
		put_process(&v.line, s, pid);
		text_put(&v.line, " (? for help)");
		line_end(&v, "1");
		for (i = 0; i < s->nenvironments && i < 3; i++) {
			put_environment(&v.line, &s->environments[i]);
			line_end(&v, s->environments[i].bound && s->environments[i].garbage >= s->environments[i].bound ? "31" : "");
			screen_types(&v, &s->environments[i]);
		}
		if (i < s->nenvironments) {
			text_printf(&v.line, "%zu more environments", s->nenvironments - i);
			line_end(&v, "");
		}
	}
	if (screen->help) {
		screen_help(&v);
	} else if (s) {
		for (i = 0; screen->has_selected && i < s->ncaches; i++)
			if (s->caches[i].id == screen->selected)
				chosen = &s->caches[i];
		line_end(&v, "");
		rows = rows_left(&v) ? rows_left(&v) - 1 : 0;
		if (chosen && rows >= 8 && s->ncaches > rows / 2)
			rows /= 2;
		screen_caches(&v, screen, s, rows);
		if (chosen)
			screen_details(&v, chosen);
	}
	if (v.row < screen->rows)
		text_put(out, "\r\n\033[J");
	text_drop(&v.line);
}
