/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "terminal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static bool entered, keys; /* keys: standard input is a terminal, too, and `before` is how it was */

bool terminal_write(struct text *text)
{
	size_t done = 0;

	while (done < text->n) {
		ssize_t n = write(STDOUT_FILENO, text->at + done, text->n - done);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd ready = {.fd = STDOUT_FILENO, .events = POLLOUT};

			poll(&ready, 1, 1000);
		} else if (n < 0 && errno != EINTR) {
			return false;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	text->n = 0;
	return true;
}

static void say(const char *sequence)
{
	struct text text = {.at = NULL};

	text_put(&text, sequence);
	terminal_write(&text);
	text_drop(&text);
}

bool terminal_enter(void)
{
	struct termios raw;

	if (!isatty(STDOUT_FILENO))
		return false;
	keys = tcgetattr(STDIN_FILENO, &before) == 0;
	if (keys) {
		raw = before;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		raw.c_cc[VMIN] = 0;
		raw.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	say("\033[?1049h\033[?25l\033[2J");
	entered = true;
	return true;
}

void terminal_leave(void)
{
	if (!entered)
		return;
	entered = false;
	say("\033[0m\033[?25h\033[?1049l");
	if (keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

void terminal_size(unsigned *rows, unsigned *columns)
{
	struct winsize size;

	*rows = 24;
	*columns = 80;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
		return;
	if (size.ws_row)
		*rows = size.ws_row;
	if (size.ws_col)
		*columns = size.ws_col;
}

static int byte(void)
{
	unsigned char c;
	ssize_t n;
	struct pollfd ready = {.fd = STDIN_FILENO, .events = POLLIN};

	if (!keys)
		return KEY_NONE;
	if (poll(&ready, 1, 0) <= 0)
		return KEY_NONE;
	n = read(STDIN_FILENO, &c, 1);
	return n == 1 ? c : n < 0 && (errno == EINTR || errno == EAGAIN) ? KEY_NONE : -1;
}

int terminal_key(void)
{
	int c = byte();

	if (c != '\033')
		return c;
	c = byte();
	if (c != '[' && c != 'O')
		return KEY_NONE;
	do /* parameters of keys that mean nothing here */
		c = byte();
	while ((c >= '0' && c <= '9') || c == ';');
	return c == 'A' ? KEY_UP : c == 'B' ? KEY_DOWN : c < 0 ? -1 : KEY_NONE;
}
