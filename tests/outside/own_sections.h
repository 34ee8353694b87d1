/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * own_sections.h - the program's own use of liburcu: a section of the bp flavour, which is hapax's too, around one of the
 * memb flavour. Each flavour wants a file of its own.
 */
#ifndef OWN_SECTIONS_H
#define OWN_SECTIONS_H

/* Of a thread. */
void own_sections_begin(void);
void own_sections_end(void);
void own_sections_enter(void);
void own_sections_leave(void);
/* Waits for the sections of both, outside of them. */
void own_sections_synchronize(void);

/* The memb half. */
void own_memb_begin(void);
void own_memb_end(void);
void own_memb_enter(void);
void own_memb_leave(void);
void own_memb_synchronize(void);

#endif
