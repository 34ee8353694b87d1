/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * top/terminal.h - the terminal while a screen is shown: entered, left as it was, and what comes from it.
 */
#ifndef TOP_TERMINAL_H
#define TOP_TERMINAL_H

#include <stdbool.h>

#include "text.h"

enum {
	KEY_NONE = 0, /* nothing for now */
	KEY_UP = 256,
	KEY_DOWN
};

/* The alternate screen, keys as they are pressed, no echo. False: this is no terminal. */
bool terminal_enter(void);
/* As it was before; does nothing when it was not entered. */
void terminal_leave(void);
void terminal_size(unsigned *rows, unsigned *columns);
/* Writes it whole. False: the terminal has gone. */
bool terminal_write(struct text *text);
/* The next key that has been pressed; -1: there will be no more. Never waits. */
int terminal_key(void);

#endif
