/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "watch.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "terminal.h"
#include "view.h"

struct watch {
	struct segment *segment;
	uint64_t interval_ns;
	struct snapshot *now;
	struct screen screen;
	char message[WHY];
	bool asking, dirty, quit;
	uint64_t asked_ns, next_ns, said_ns; /* said: when silence was last spoken of */
	int signal;                          /* that ended it */
};

/* ---- figures ----------------------------------------------------------------------------------------------------- */

static void take(struct watch *w, struct text *text)
{
	struct snapshot *s = snapshot_parse((struct foreign){text->at, text->n}, w->message);

	w->dirty = true;
	if (!s)
		return;
	w->message[0] = 0;
	snapshot_compare(s, w->now);
	snapshot_sort(s, w->screen.order, w->screen.reverse);
	snapshot_drop(w->now);
	w->now = s;
	if (!w->screen.has_selected && s->ncaches) {
		w->screen.has_selected = true;
		w->screen.selected = s->caches[0].id;
	}
}

/* False: the segment is of no use any more. */
static bool work(struct watch *w, uint64_t now, char why[WHY])
{
	struct text text;
	int answer;

	if (!w->asking && now >= w->next_ns) {
		if (!segment_ask(w->segment, why))
			return false;
		w->asking = true;
		w->asked_ns = w->said_ns = now;
	}
	if (!w->asking)
		return true;
	answer = segment_answer(w->segment, &text, w->message);
	if (answer) {
		if (answer > 0)
			take(w, &text);
		text_drop(&text);
		w->dirty = true;
		w->asking = false;
		w->next_ns = w->asked_ns + w->interval_ns > now ? w->asked_ns + w->interval_ns : now;
	} else if (now - w->said_ns >= PATIENCE_NS) { /* the question stays asked */
		char silent[WHY], age[HUMAN];

		segment_silence(w->segment, silent);
		snprintf(w->message, WHY, "%.*s (for %s)", WHY - 40, silent, human_ns(age, sizeof(age), now - w->asked_ns));
		w->said_ns = now - PATIENCE_NS + 1000000000u;
		w->dirty = true;
	}
	return true;
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static void reorder(struct watch *w)
{
	if (w->now)
		snapshot_sort(w->now, w->screen.order, w->screen.reverse);
}

static size_t selected(const struct watch *w)
{
	size_t i;

	for (i = 0; w->screen.has_selected && i < w->now->ncaches; i++)
		if (w->now->caches[i].id == w->screen.selected)
			return i;
	return 0;
}

static void choose(struct watch *w, size_t at)
{
	if (at >= w->now->ncaches)
		return;
	w->screen.has_selected = true;
	w->screen.selected = w->now->caches[at].id;
}

static void pressed(struct watch *w, int key)
{
	static const char order_keys[ORDERS + 1] = "ghlfpdeni";
	const char *order = key > 0 && key < 128 ? strchr(order_keys, key) : NULL;

	w->dirty = true;
	if (key == 'q')
		w->quit = true;
	else if (key == '?')
		w->screen.help = !w->screen.help;
	else if (key == 'r')
		w->screen.reverse = !w->screen.reverse;
	else if (order)
		w->screen.order = (enum order)(order - order_keys);
	else if (!w->now)
		return;
	else if ((key == KEY_UP || key == 'k') && selected(w) > 0)
		choose(w, selected(w) - 1);
	else if (key == KEY_DOWN || key == 'j')
		choose(w, selected(w) + 1);
	else if (key >= '1' && key <= '9')
		choose(w, w->screen.first + (size_t)(key - '1'));
	reorder(w);
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static void signalled(struct watch *w, int fd)
{
	struct signalfd_siginfo info;
	sigset_t stop;

	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		w->dirty = true;
		if (info.ssi_signo == SIGWINCH)
			continue;
		if (info.ssi_signo == SIGTSTP) { /* stopped as any program, with the terminal in order meanwhile */
			terminal_leave();
			sigemptyset(&stop);
			sigaddset(&stop, SIGTSTP);
			raise(SIGTSTP);
			sigprocmask(SIG_UNBLOCK, &stop, NULL);
			sigprocmask(SIG_BLOCK, &stop, NULL);
			terminal_enter();
			continue;
		}
		w->signal = (int)info.ssi_signo;
	}
}

static bool draw(struct watch *w, struct text *out)
{
	const char *none = getenv("NO_COLOR");

	terminal_size(&w->screen.rows, &w->screen.columns);
	w->screen.attributes = !none || !*none;
	w->screen.message = w->message;
	view_screen(out, &w->screen, w->now, w->segment->pid);
	w->dirty = false;
	return terminal_write(out);
}

static int run(struct watch *w, int signals, char why[WHY])
{
	struct text out = {.at = NULL};
	bool input = true;
	int status = 0, key;

	while (!w->quit && !w->signal) {
		struct pollfd from[] = {{.fd = signals, .events = POLLIN}, {.fd = input ? STDIN_FILENO : -1, .events = POLLIN},
					{.fd = w->segment->process, .events = POLLIN}};
		uint64_t now = now_ns(), waited;
		int ms;

		if (!segment_alive(w->segment, why) || !work(w, now, why)) {
			status = 1;
			break;
		}
		if (w->dirty && !draw(w, &out)) {
			snprintf(why, WHY, "the terminal has gone");
			status = 1;
			break;
		}
		/* an answer comes within a millisecond or so, unless something is the matter */
		waited = w->asking ? (now_ns() - w->asked_ns) / 1000000u : 0;
		ms = w->asking ? (int)(waited < 20 ? 2 : waited < 400 ? waited / 10 : 40) : (int)((w->next_ns - now) / 1000000u) + 1;
		if (poll(from, 3, ms < 1000 ? ms : 1000) <= 0)
			continue;
		signalled(w, signals);
		while (!w->quit && from[1].revents && (key = terminal_key()) != KEY_NONE) {
			if (key < 0) {
				input = false;
				break;
			}
			pressed(w, key);
		}
	}
	text_drop(&out);
	return status;
}

int watch(struct segment *s, uint64_t interval_ns, enum order order, char why[WHY])
{
	struct watch w = {.segment = s, .interval_ns = interval_ns, .dirty = true, .screen = {.order = order}};
	sigset_t set;
	int signals, status;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals < 0 || !terminal_enter()) {
		snprintf(why, WHY, "the terminal cannot be used");
		return 1;
	}
	status = run(&w, signals, why);
	terminal_leave();
	close(signals);
	snapshot_drop(w.now);
	if (w.signal) { /* ended by it, as without a screen */
		signal(w.signal, SIG_DFL);
		raise(w.signal);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
	}
	return status;
}
